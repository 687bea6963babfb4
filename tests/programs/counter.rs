//! A small application as a program, for tests of what its user sees.
//!
//! `counter DATA TOPIC STORE` counts the records of TOPIC by key in STORE, on the log and the state in DATA, and ends when
//! nothing is left to read, or with an error. Where a value is `panic!` its closure panics; with `FORGIVE` in the environment
//! records that cannot be read or processed are left out.

use std::{
    env,
    error::Error,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use streams_core::ExceptionHandler;
use streams_dsl::prelude::*;
use tracing_subscriber::EnvFilter;

const WAIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let mut next = || args.next().ok_or("usage: counter DATA TOPIC STORE");
    let (data, topic, store) = (PathBuf::from(next()?), next()?, next()?);

    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>(&topic)
        .map_values(|_, value| {
            assert!(value != "panic!", "a value that panics");
            value
        })
        .group_by_key()
        .count_with(Materialized::new(store))
        .to_stream()
        .to("counts");
    let topology = builder.build()?;

    let log = EmbeddedLog::open(data.join("log"), LogConfig::default())?;
    let mut config = StreamsConfig::builder("counter").state_dir(data.join("state"));
    if env::var_os("FORGIVE").is_some() {
        let go_on = ExceptionHandler::log_and_continue();
        config = config.deserialization_exception_handler(go_on.clone()).processing_exception_handler(go_on);
    }
    let streams = Streams::new(topology, config.build()?, Arc::new(log.clone()))?;
    let counted = count(&streams);
    streams.close(WAIT);
    counted?;
    log.close()?;
    Ok(())
}

fn count(streams: &Streams) -> Result<(), Box<dyn Error>> {
    streams.start()?;
    let deadline = Instant::now() + WAIT;
    while streams.state() != State::Running || streams.lags()?.iter().any(|partition| partition.lag > 0) {
        if let Some(error) = streams.error() {
            return Err(error.to_string().into());
        }
        if Instant::now() > deadline {
            return Err("not done in time".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
