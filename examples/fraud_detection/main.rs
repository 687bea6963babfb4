//! Fraud detection: payments in a topic, scored as they come, alerts with reasons in another; and how good they are.
//!
//! ```sh
//! cargo run --example fraud-detection                        # 58,938 labelled transactions that come with it
//! cargo run --example fraud-detection -- --input FILE        # another file of the same shape
//! cargo run --example fraud-detection -- --speed 86400       # a day a second: watch the alerts
//! ```
//!
//! The model learns in the first two thirds of the time, from labels that become known `--label-delay` after their
//! transactions; the last third is scored with what was learned then, and measured. [`topology`] draws how.

mod activity;
mod args;
mod card;
mod evaluation;
mod features;
mod feed;
mod input;
mod learner;
mod model;
mod run_file;
mod scoring;
mod screen;
mod terminal;
mod threshold;
mod topology;
mod transaction;
mod waiting;

use std::{
    collections::{HashMap, HashSet},
    env,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use args::Args;
use clap::Parser;
use evaluation::Evaluation;
use feed::Feed;
use input::Input;
use log_store::{
    TopicName,
    client::{NewTopic, SharedClient},
};
use run_file::RunFile;
use scoring::Decision;
use screen::Screen;
use serde::Serialize;
use streams_core::typed_records::read_records;
use streams_dsl::prelude::*;
use transaction::Malformed;

/// How often the program looks whether there is something to show, or nothing left to do.
const TICK: Duration = Duration::from_millis(2);
/// Each commit writes both models: more often would be work for nothing, less often would let alerts wait.
const COMMIT_INTERVAL: Duration = Duration::from_millis(20);
const START_WAIT: Duration = Duration::from_secs(300);
/// A clean close is a commit and a few files: more than this means that the disk hangs.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// The last line of standard output under `--json`.
#[derive(Serialize)]
struct Summary {
    transactions: usize,
    malformed: usize,
    alerts: usize,
    #[serde(flatten)]
    evaluation: Evaluation,
    /// From the first record that was fed until all results were committed. Reading the file before, and measuring after
    /// it, are not in it.
    seconds: f64,
    /// Transactions in one of these seconds; their verdicts are not counted.
    events_per_second: f64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            examples::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let pressed = Arc::clone(&stop);
    ctrlc::set_handler(move || pressed.store(true, Ordering::Relaxed)).context("cannot listen for Ctrl-C")?;
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("fraud_detection/data/card-transactions.csv.gz");
    let path = args.input.clone().unwrap_or_else(own);
    let input = Arc::new(Input::read(&path, i64::try_from(args.label_delay.as_millis())?)?);

    let data = examples::data_folder(args.data.as_deref(), topology::APPLICATION)?;
    let run_file = RunFile {
        checksum: input.checksum,
        rows: input.rows.len(),
        label_delay_seconds: args.label_delay.as_secs(),
        is_finished: false,
    };
    run_file.begin(&data, args.reset)?;
    examples::say(format_args!("data is kept in {}", data.display()));
    let log = EmbeddedLog::open(data.join("log"), LogConfig::default())?;
    let client: SharedClient = Arc::new(log.clone());
    create_topics(&client)?;

    let screen = Arc::new(Screen::new());
    let alerts = Arc::clone(&screen);
    let topology = topology::fraud_detection(input.held_out_from_ms(), move |alert| alerts.alert(alert))?;
    let config = StreamsConfig::builder(topology::APPLICATION)
        .processing_guarantee(args.guarantee.into())
        .num_stream_threads(usize::from(args.threads))
        .state_dir(data.join("state"))
        .commit_interval(COMMIT_INTERVAL)
        .build()?;
    let streams = Streams::new(topology, config, SharedClient::clone(&client))?;
    streams.start()?;
    streams.wait_for(State::Running, START_WAIT)?;

    let started = Instant::now();
    let mut feed = Feed::start(Arc::clone(&input), &client, args.speed, &stop)?;
    let outcome = watch(&streams, &mut feed, &stop, &screen);
    let seconds = started.elapsed().as_secs_f64();
    // Also after an error: the feed must not outlive the log.
    stop.store(true, Ordering::Relaxed);
    let fed = feed.stop();
    if !streams.close(CLOSE_WAIT) {
        bail!("not closed after {} s: is the disk of {} busy?", CLOSE_WAIT.as_secs(), data.display());
    }
    if let Some(error) = streams.error() {
        bail!("{error}");
    }
    fed?;
    if outcome? == Outcome::Interrupted {
        log.close()?;
        examples::say("stopped; the next run goes on from here");
        return Ok(());
    }

    let scores: HashMap<i64, f32> = read_all(&client, topology::SCORES)?.into_iter().collect();
    let alerts: HashSet<i64> =
        read_all::<i64, Decision>(&client, topology::ALERTS)?.iter().map(|(_, alert)| alert.transaction).collect();
    let malformed = read_all::<i64, Malformed>(&client, topology::MALFORMED)?.len();
    let summary = Summary {
        transactions: input.rows.len() - malformed,
        malformed,
        alerts: alerts.len(),
        evaluation: evaluation::evaluate(&input, &scores, &alerts),
        seconds,
        events_per_second: feed.transactions() as f64 / seconds,
    };
    let mut text = shown(&summary);
    if let Some(path) = &args.scores {
        write_scores(path, scores).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        text += &format!("{}\n", serde_json::to_string(&summary)?);
    }
    examples::print(&text).context("cannot write to standard output")?;
    log.close()?;
    run_file.finish(&data)
}

/// How the run ended.
#[derive(PartialEq, Eq)]
enum Outcome {
    /// Everything is scored.
    Done,
    /// Ctrl-C.
    Interrupted,
}

/// Waits until everything is scored, or Ctrl-C. Shows alerts meanwhile.
fn watch(streams: &Streams, feed: &mut Feed, stop: &AtomicBool, screen: &Screen) -> anyhow::Result<Outcome> {
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(Outcome::Interrupted);
        }
        if let Some(error) = streams.error() {
            bail!("{error}");
        }
        let is_fed = feed.is_finished()?;
        let lag: u64 = streams.lags()?.iter().map(|partition| partition.lag).sum();
        screen.show(feed.transactions(), lag);
        if is_fed && lag == 0 && streams.state() == State::Running {
            return Ok(Outcome::Done);
        }
        std::thread::sleep(TICK);
    }
}

fn create_topics(client: &SharedClient) -> anyhow::Result<()> {
    let mut admin = client.admin()?;
    for topic in topology::TOPICS {
        let topic = TopicName::new(topic)?;
        if admin.describe_topic(&topic)?.is_none() {
            admin.create_topics(&[NewTopic::new(topic, 1).with_config("retention.ms", "-1")])?;
        }
    }
    Ok(())
}

fn read_all<K: Data, V: Data>(client: &SharedClient, topic: &str) -> anyhow::Result<Vec<(K, V)>> {
    let records = read_records(&**client, topic)?;
    Ok(records.into_iter().map(|record| (record.key, record.value)).collect())
}

fn write_scores(path: &Path, scores: HashMap<i64, f32>) -> std::io::Result<()> {
    let mut scores: Vec<(i64, f32)> = scores.into_iter().collect();
    scores.sort_unstable_by_key(|(transaction, _)| *transaction);
    let mut out = BufWriter::new(File::create(path)?);
    writeln!(out, "TRANSACTION_ID,SCORE")?;
    for (transaction, score) in scores {
        writeln!(out, "{transaction},{score}")?;
    }
    out.flush()
}

fn shown(summary: &Summary) -> String {
    let Summary { transactions, malformed, alerts, evaluation, seconds, events_per_second } = summary;
    let mut text = format!(
        "{transactions} transactions, {malformed} malformed rows, {alerts} alerts, {seconds:.2} s \
         ({events_per_second:.0} transactions/s)\n\n"
    );
    let Evaluation { held_out, held_out_frauds, precision, recall, f1, best_f1, auc_pr, .. } = evaluation;
    text += &format!("the last third of the time: {held_out} transactions, {held_out_frauds} frauds\n");
    text += &format!("  precision of the alerts        {precision:.3}\n");
    text += &format!("  recall of the alerts           {recall:.3}\n");
    text += &format!("  F1 of the alerts               {f1:.3}\n");
    text += &format!("  best F1 of any threshold       {best_f1:.3}\n");
    text += &format!("  area under precision-recall    {auc_pr:.3}\n");
    text += &format!(
        "  precision at top 100 per day   {:.3} (at most {:.3})\n",
        evaluation.precision_at_100_per_day, evaluation.best_precision_at_100_per_day
    );
    for (number, scenario) in &evaluation.scenarios {
        let (frauds, found, recall) = (scenario.frauds, scenario.found, scenario.recall);
        text += &format!("  recall of scenario {number}           {recall:.3} ({found} of {frauds})\n");
    }
    text
}
