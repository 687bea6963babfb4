//! Word count: lines of text in a topic, their words counted in a store, the counts in another topic.
//!
//! ```sh
//! cargo run --example word-count                                # the text of this repository
//! cargo run --example word-count -- --input FILE FOLDER         # your own; a second run goes on counting
//! cargo run --example word-count -- --input -                   # counts appear while you type
//! cargo run -p examples --features kafka --example word-count -- --bootstrap-servers localhost:9092    # on a cluster
//! ```
//!
//! Everything is kept in one folder, which is printed. `--rebuild` throws the local state away and restores it from the
//! changelog topic; `--reset` forgets all that was derived and counts the input topic again from its beginning.

mod args;
mod feed;
mod input;
mod progress;
mod topics;
mod topology;

use std::{
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::{self, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use args::Args;
use clap::Parser;
use feed::Feed;
use input::Input;
use log_store::client::SharedClient;
use progress::Progress;
use serde::Serialize;
use streams_dsl::prelude::*;
use topics::{APPLICATION, Topics};
use topology::Tally;
use tracing_subscriber::EnvFilter;

/// How often the program looks whether there is something to show, or nothing left to do.
const TICK: Duration = Duration::from_millis(20);
/// A clean close is a commit and a few files: more than this means that the disk hangs.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// The last line of standard output under `--json`.
#[derive(Serialize)]
struct Summary {
    lines: u64,
    words: u64,
    distinct: usize,
    seconds: f64,
    words_per_second: f64,
}

fn main() -> ExitCode {
    // What log and engine have to say: a torn end that was cut off, a store that is rebuilt.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let (stop_all, is_pressed) = (Arc::clone(&stop), AtomicBool::new(false));
    let on_ctrl_c = move || {
        // Who presses it twice does not want to wait for a close in order; the next run recovers.
        if is_pressed.swap(true, Ordering::Relaxed) {
            process::exit(130);
        }
        stop_all.store(true, Ordering::Relaxed);
    };
    ctrlc::set_handler(on_ctrl_c).context("cannot listen for Ctrl-C")?;

    // Nothing is made on disk before the input is known to exist.
    let input = match args.input.as_deref() {
        Some(paths) => Input::of(paths)?,
        // Replaying needs no new text.
        None if args.rebuild || args.reset => Input::of(&[])?,
        None => Input::of_repository(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no repository")?)?,
    };
    let data = data_folder(args)?;
    eprintln!("data is kept in {}", data.display());
    let (client, log) = open_log(args, &data)?;
    let topics = Topics::new(client);
    if args.reset {
        topics.forget_results()?;
    }
    let partitions = args.partitions.unwrap_or(u32::try_from(args.threads)?);
    let partitions = topics.create(partitions, args.partitions.is_some())?;

    let started = Instant::now();
    let tally = Arc::new(Tally::new(input.reads_stdin));
    let config = StreamsConfig::builder(APPLICATION)
        .processing_guarantee(args.guarantee.into())
        .num_stream_threads(args.threads)
        .state_dir(data.join("state"))
        .topic_setting("max.message.bytes", topics::MESSAGE_BYTES_MAX.to_string())
        .build()?;
    let streams = Streams::new(topology::word_count(&tally)?, config, topics.client())?;
    if args.reset || args.rebuild {
        streams.clean_up()?;
    }
    let progress = Progress::new(input.bytes);
    streams.set_restore_listener(progress.restore_listener());
    streams.start()?;
    let mut feed = Feed::start(input, topics.client(), partitions, &stop, &progress);
    let outcome = count(&streams, &mut feed, &tally, &stop, &progress);
    let counts = if matches!(outcome, Ok(Outcome::Done)) { counts(&streams) } else { Ok(Vec::new()) };
    // Also after an error: the feed must not outlive the log.
    stop.store(true, Ordering::Relaxed);
    let is_read = feed.stop();
    if !streams.close(CLOSE_WAIT) {
        bail!("not closed after {} s: is the disk of {} busy?", CLOSE_WAIT.as_secs(), data.display());
    }
    if let Some(error) = streams.error() {
        bail!("{error}");
    }
    progress.finish();
    let is_read = is_read?;
    if outcome? == Outcome::Interrupted {
        close_log(log)?;
        let rest = if is_read { "" } else { "; lines that were still waiting to be read are not in it" };
        eprintln!("stopped; the next run goes on from what is in the topic{rest}");
        return Ok(());
    }

    let counts = counts?;
    let seconds = started.elapsed().as_secs_f64();
    let distinct = counts.len();
    topics::show_most_frequent(counts, args.top);
    let (lines, words) = tally.lines_and_words();
    let words_per_second = words as f64 / seconds;
    eprintln!("{lines} lines, {words} words, {distinct} different ones, {seconds:.2} s");
    if args.json {
        let summary = Summary { lines, words, distinct, seconds, words_per_second };
        println!("{}", serde_json::to_string(&summary)?);
    }
    close_log(log)?;
    Ok(())
}

/// Where the topics are; the embedded log is to be closed in the end.
fn open_log(args: &Args, data: &Path) -> anyhow::Result<(SharedClient, Option<EmbeddedLog>)> {
    if let Some(servers) = &args.bootstrap_servers {
        return Ok((kafka(servers)?, None));
    }
    let log = EmbeddedLog::open(data.join("log"), LogConfig::default())?;
    Ok((Arc::new(log.clone()), Some(log)))
}

#[cfg(feature = "kafka")]
fn kafka(servers: &str) -> anyhow::Result<SharedClient> {
    Ok(Arc::new(log_store_kafka::KafkaClient::new(servers)))
}

#[cfg(not(feature = "kafka"))]
fn kafka(_servers: &str) -> anyhow::Result<SharedClient> {
    bail!("this program was built without Kafka: cargo run -p examples --example word-count --features kafka -- …")
}

fn close_log(log: Option<EmbeddedLog>) -> anyhow::Result<()> {
    log.map_or(Ok(()), EmbeddedLog::close)?;
    Ok(())
}

/// How the counting ended.
#[derive(PartialEq, Eq)]
enum Outcome {
    /// Everything is counted.
    Done,
    /// Ctrl-C.
    Interrupted,
}

/// Waits until everything is counted, or Ctrl-C. Shows what changes meanwhile.
fn count(
    streams: &Streams,
    feed: &mut Feed,
    tally: &Tally,
    stop: &AtomicBool,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(Outcome::Interrupted);
        }
        if let Some(error) = streams.error() {
            bail!("{error}");
        }
        let is_fed = feed.is_finished()?;
        tally.show_updates();
        let lag: u64 = streams.lags()?.iter().map(|partition| partition.lag).sum();
        if streams.state() == State::Running {
            progress.show(tally.lines_and_words(), lag);
            if is_fed && lag == 0 {
                tally.show_updates();
                return Ok(Outcome::Done);
            }
        }
        std::thread::sleep(TICK);
    }
}

/// Every word with its count, from the store of the running application.
fn counts(streams: &Streams) -> anyhow::Result<Vec<(String, i64)>> {
    let kind = QueryableStoreTypes::key_value_store::<String, i64>();
    // All lines are committed, but a commit is in the log a moment before others see its rows: the stream thread knows.
    let query =
        StoreQueryParameters::from_name_and_type(topology::STORE, kind).with_consistency(Consistency::LastWrite);
    let store = streams.store(query)?;
    Ok(store.all()?.collect::<Result<_, _>>()?)
}

fn data_folder(args: &Args) -> anyhow::Result<PathBuf> {
    let data = examples::data_folder(args.data.as_deref(), "word-count")?;
    fs::create_dir_all(&data)
        .with_context(|| format!("cannot create the data folder {}: choose another with --data", data.display()))?;
    Ok(data)
}
