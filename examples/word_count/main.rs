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
//! changelog topic; `--reset` forgets all that was derived and counts the input topic again from its beginning. A run that
//! was interrupted goes on when it is started again with the same input.

mod args;
mod feed;
mod input;
mod lines;
mod progress;
mod topics;
mod topology;
mod unfinished;

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
use feed::{Feed, Stopped, Work};
use input::Input;
use log_store::client::SharedClient;
use progress::{Progress, Reading};
use serde::Serialize;
use streams_dsl::prelude::*;
use topics::{APPLICATION, MostFrequent, Topics};
use topology::Tally;
use tracing_subscriber::EnvFilter;
use unfinished::Unfinished;

/// How often the program looks whether there is something to show, or nothing left to do.
const TICK: Duration = Duration::from_millis(20);
/// A clean close is a commit and a few files: more than this means that the disk hangs.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// The last line of standard output under `--json`.
#[derive(Serialize)]
struct Summary {
    lines: u64,
    words: u64,
    /// Nothing if the run was interrupted: the store is not read through then.
    distinct: Option<usize>,
    seconds: f64,
    words_per_second: f64,
}

fn main() -> ExitCode {
    let progress = Progress::default();
    // What log and engine have to say: a torn end that was cut off, a store that is rebuilt.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(progress.clone())
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
    let done = run(&Args::parse(), &progress);
    progress.finish();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            examples::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, progress: &Progress) -> anyhow::Result<()> {
    // Nothing is made on disk before the input is known to exist; and while it is looked for Ctrl-C just ends the program.
    let input = match args.input.as_deref() {
        Some(paths) => Input::of(paths)?,
        // Replaying needs no new text.
        None if args.rebuild || args.reset => Input::of(&[])?,
        None => Input::of_repository(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no repository")?)?,
    };
    let stop = stop_on_ctrl_c()?;
    let data = data_folder(args)?;
    progress.say(&format!("data is kept in {}", data.display()));
    let (client, log) = open_log(args, &data)?;
    let topics = Topics::new(client);
    if args.reset {
        topics.forget_results()?;
    }
    let partitions = args.partitions.unwrap_or(u32::try_from(args.threads)?);
    let partitions = topics.create(partitions, args.partitions.is_some())?;
    if args.threads > partitions as usize {
        let threads = args.threads;
        progress.say(&format!(
            "of {threads} threads {partitions} can work: one for each partition of the topics that are there"
        ));
    }

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
    let reading = progress.reading(if input.reads_stdin { 0 } else { input.bytes });
    streams.set_restore_listener(progress.restore_listener(partitions));
    // On a cluster others may write into the same topic.
    let unfinished = match log {
        Some(_) => Unfinished::begin(&data, &input, topics.ends(partitions)?, progress)?,
        None => Unfinished::not_kept(partitions as usize),
    };
    let (client, taken, has_input) = (topics.client(), unfinished.taken.clone(), !input.is_empty());
    let work =
        Work { input, client, taken, stop: Arc::clone(&stop), progress: progress.clone(), reading: reading.clone() };
    let mut feed = Feed::start(work);
    let run = Run { streams: &streams, tally: &tally, stop: &stop, progress, reading: &reading };
    let outcome = run.count(&mut feed, args.top);
    let seconds = started.elapsed().as_secs_f64();
    // Also after an error: the feed must not outlive the log.
    stop.store(true, Ordering::Relaxed);
    let stopped = feed.stop();
    if !streams.close(CLOSE_WAIT) {
        bail!("not closed after {} s: is the disk of {} busy?", CLOSE_WAIT.as_secs(), data.display());
    }
    if let Some(error) = streams.error() {
        bail!("{error}");
    }
    progress.finish();
    let (stopped, counted) = (stopped?, outcome?);
    log.map_or(Ok(()), EmbeddedLog::close)?;

    let (lines, words) = tally.lines_and_words();
    let words_per_second = words as f64 / seconds;
    let distinct = counted.as_ref().map(|words| words.distinct);
    let mut text = counted.map(MostFrequent::into_text).unwrap_or_default();
    match distinct {
        Some(distinct) => {
            unfinished.finish()?;
            examples::say(format_args!("{lines} lines, {words} words, {distinct} different ones, {seconds:.2} s"));
        }
        None if has_input => examples::say(interrupted(&stopped, unfinished.is_kept())),
        None => examples::say("stopped; the next run goes on from here"),
    }
    if args.json {
        let summary = Summary { lines, words, distinct, seconds, words_per_second };
        text += &format!("{}\n", serde_json::to_string(&summary)?);
    }
    examples::print(&text).context("cannot write to standard output")?;
    Ok(())
}

/// True once Ctrl-C was pressed.
fn stop_on_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
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
    Ok(stop)
}

/// What somebody who pressed Ctrl-C should know.
fn interrupted(stopped: &Stopped, can_go_on: bool) -> String {
    let taken = match stopped {
        Stopped::AtTheEnd => "all lines of the input are taken".to_owned(),
        Stopped::After(place) => format!("the input is taken up to {place}"),
        Stopped::Waiting => "lines that were still waiting to be read are not taken".to_owned(),
    };
    let again = match (stopped, can_go_on) {
        (_, true) => ", and with the same --input after it",
        (Stopped::Waiting, false) => "",
        (_, false) => "; the same --input would be counted once more",
    };
    format!("stopped: {taken}; the next run goes on from there{again}")
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

/// A run, while it goes on.
struct Run<'a> {
    streams: &'a Streams,
    tally: &'a Tally,
    stop: &'a AtomicBool,
    progress: &'a Progress,
    reading: &'a Reading,
}

impl Run<'_> {
    /// Waits until everything is counted, and shows what changes meanwhile. The most frequent words; nothing after Ctrl-C,
    /// or when nobody reads what is shown.
    fn count(&self, feed: &mut Feed, top: usize) -> anyhow::Result<Option<MostFrequent>> {
        self.streams.start()?;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if let Some(error) = self.streams.error() {
                bail!("{error}");
            }
            let is_fed = feed.is_finished()?;
            if !self.tally.show_updates(self.progress)? {
                return Ok(None);
            }
            let lag: u64 = self.streams.lags()?.iter().map(|partition| partition.lag).sum();
            if self.streams.state() == State::Running {
                self.reading.show(self.tally.lines_and_words(), lag);
                if is_fed && lag == 0 {
                    self.tally.show_updates(self.progress)?;
                    return self.most_frequent(top);
                }
            }
            std::thread::sleep(TICK);
        }
    }

    /// From the store of the running application.
    fn most_frequent(&self, top: usize) -> anyhow::Result<Option<MostFrequent>> {
        let kind = QueryableStoreTypes::key_value_store::<String, i64>();
        // All lines are committed, but a commit is in the log a moment before others see its rows: the stream thread knows.
        let query =
            StoreQueryParameters::from_name_and_type(topology::STORE, kind).with_consistency(Consistency::LastWrite);
        let store = self.streams.store(query)?;
        let mut words = MostFrequent::new(top);
        for row in store.all()? {
            let (word, count) = row?;
            words.add(word, count);
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        Ok(Some(words))
    }
}

fn data_folder(args: &Args) -> anyhow::Result<PathBuf> {
    let data = examples::data_folder(args.data.as_deref(), "word-count")?;
    fs::create_dir_all(&data)
        .with_context(|| format!("cannot create the data folder {}: choose another with --data", data.display()))?;
    Ok(data)
}
