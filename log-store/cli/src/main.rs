//! `logctl`: look inside an embedded log, and change it from the outside.
//!
//! Results go to standard output, one line (or with `--json` one JSON object) each; everything else goes to standard
//! error. The exit code is 0, or 1 after an error or a finding of `verify`, or 2 for a wrong command line.

mod consume;
mod delete_records;
mod dump;
mod groups;
mod log;
mod output;
mod produce;
mod record_text;
mod stats;
mod topics;
mod verify;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{log::Data, output::Output};

const EXAMPLES: &str = "\
Examples:
  logctl --data ./data topics create clicks --partitions 4 --config retention.ms=3600000
  printf 'alice:home\\nbob:cart\\n' | logctl --data ./data produce clicks --key-separator :
  logctl --data ./data consume clicks --from-beginning --print key,timestamp | head
  logctl --data ./data --json topics describe clicks
  logctl --data ./data verify
  logctl dump ./data/clicks-0/00000000000000000000.log --records";

/// Look inside an embedded log, and change it from the outside.
///
/// A log is a directory in Apache Kafka's format. One process at a time has it open: most commands need it to
/// themselves and say who holds it otherwise; those that only look read beside it.
#[derive(Parser)]
#[command(name = "logctl", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    /// Directory of the log.
    #[arg(long, global = true, value_name = "DIR", env = "LOGCTL_DATA")]
    data: Option<PathBuf>,

    /// Print JSON, one object a line.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create, list, describe, alter and delete topics.
    #[command(subcommand)]
    Topics(topics::Command),
    /// Write lines of standard input, or of a file, as records.
    Produce(produce::Args),
    /// Read records and print them.
    Consume(consume::Args),
    /// List, describe, reset and delete consumer groups.
    #[command(subcommand)]
    Groups(groups::Command),
    /// Drop the records of a partition before an offset.
    DeleteRecords(delete_records::Args),
    /// Show what files hold: batches, records, indexes, producers, checkpoints.
    Dump(dump::Args),
    /// Check every file of the log against the others.
    Verify(verify::Args),
    /// Count what topics hold.
    Stats(stats::Args),
    /// Print a script that completes command lines.
    #[command(after_help = "Example: source <(logctl completions bash)")]
    Completions {
        /// For this shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What the log has to say: a torn end that was cut off, a rebuilt index.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
    match run(cli) {
        Ok(code) => code,
        // The reader of a pipe has seen enough: `logctl consume … | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut out = Output::new(cli.json);
    let data = Data::new(cli.data);
    let mut code = ExitCode::SUCCESS;
    match cli.command {
        Command::Topics(command) => topics::run(command, &data, &mut out)?,
        Command::Produce(args) => produce::run(&args, &data, &mut out)?,
        Command::Consume(args) => consume::run(&args, &data, &mut out)?,
        Command::Groups(command) => groups::run(&command, &data, &mut out)?,
        Command::DeleteRecords(args) => delete_records::run(&args, &data, &mut out)?,
        Command::Dump(args) => dump::run(&args, &mut out)?,
        Command::Verify(args) => code = verify::run(&args, &data, &mut out)?,
        Command::Stats(args) => stats::run(&args, &data, &mut out)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "logctl", &mut script);
            out.bytes(&script)?;
        }
    }
    out.flush()?;
    Ok(code)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_one = |cause: &&(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(|cause| is_one(&cause))
}
