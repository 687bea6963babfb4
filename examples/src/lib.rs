//! What the examples share of a command line.

use std::{
    env, fmt,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    process,
};

use anyhow::Context;
use clap::ValueEnum;
use streams_core::ProcessingGuarantee;

/// What a crash may do to the results.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Guarantee {
    /// Nothing
    #[value(alias = "exactly_once_v2", alias = "exactly_once", alias = "eos")]
    ExactlyOnce,
    /// Records that were being processed may count twice
    #[value(alias = "at_least_once", alias = "alos")]
    AtLeastOnce,
}

impl From<Guarantee> for ProcessingGuarantee {
    fn from(guarantee: Guarantee) -> Self {
        match guarantee {
            Guarantee::ExactlyOnce => ProcessingGuarantee::ExactlyOnceV2,
            Guarantee::AtLeastOnce => ProcessingGuarantee::AtLeastOnce,
        }
    }
}

/// The folder that was chosen, or that of `application` where programs of this user keep data, by the custom of the
/// system.
///
/// # Errors
///
/// If none was chosen, and the user has no home folder.
pub fn data_folder(chosen: Option<&Path>, application: &str) -> anyhow::Result<PathBuf> {
    if let Some(chosen) = chosen {
        return Ok(chosen.to_owned());
    }
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = if cfg!(windows) {
        set("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        set("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")))
    };
    let data = data.context("no home folder is known: choose one with --data")?;
    Ok(data.join("kafka-streams-rs").join(application))
}

/// Writes a result to standard output. False if nobody reads it any more, as after `| head`: that is no error, but nothing
/// more needs to be written. (`println!` would panic.)
///
/// # Errors
///
/// If it cannot be written for another reason, for instance to a full disk.
pub fn print(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// Like the macro of this name that every program has, for output that may end in `| head`: what nobody reads is left out,
/// where the other would panic. `use examples::println;` puts it in that one's place.
#[macro_export]
macro_rules! println {
    ($($line:tt)*) => {
        $crate::print_line(format_args!($($line)*))
    };
}

/// What [`println!`](crate::println!) does. Ends the program if standard output cannot be written to, for instance because
/// of a full disk.
pub fn print_line(line: fmt::Arguments<'_>) {
    if let Err(error) = print(&format!("{line}\n")) {
        say(format_args!("error: cannot write to standard output: {error}"));
        process::exit(1);
    }
}

/// Says something on standard error. That nobody listens is no reason to stop. (`eprintln!` would panic.)
pub fn say(text: impl fmt::Display) {
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
