//! `kill -9` at random moments, again and again: is anything lost, repeated or wrong, and how soon does it run again?

mod check;
mod program;
mod rounds;
mod text;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use serde::Serialize;

pub(crate) use self::text::mix;
use self::{
    check::{Expected, Wrong},
    program::{ends, prepare, topology},
    rounds::{Program, Told},
    text::Text,
};
use crate::{
    Common, Guarantee, Setup,
    application::{Bench, READY_WAIT, close, folder, start, wait_until_done},
    number, print,
};

/// One start in so many is killed before or about when it runs; the others under load.
const EARLY_KILL: u64 = 4;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Kills
    #[arg(long, default_value = "100", value_parser = number, value_name = "N")]
    rounds: u64,

    /// Keys in the store; they are all there before the first kill
    #[arg(long, default_value = "10k", value_parser = number, value_name = "N")]
    keys: u64,

    /// Words a second while the program runs
    #[arg(long, default_value = "100k", value_parser = number, value_name = "N")]
    rate: u64,

    /// A kill comes at most so many milliseconds after the program runs
    #[arg(long, default_value_t = 1_000, value_name = "MS")]
    up_ms: u64,

    /// Decides the moments of the kills
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,

    /// JSON lines of the same work by Kafka Streams, with `seconds_to_running` each; prints the ratio of the medians
    #[arg(long, value_name = "FILE")]
    rival_file: Option<PathBuf>,

    /// Is the program that is killed, in this folder
    #[arg(long, hide = true, value_name = "DIR")]
    child: Option<PathBuf>,

    #[arg(long, hide = true, default_value_t = 0)]
    began_ms: i64,

    /// Ends once the store has all keys
    #[arg(long, hide = true)]
    fill: bool,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report {
    bench: &'static str,
    #[serde(flatten)]
    setup: Setup,
    keys: u64,
    rounds: u64,
    /// Of the rounds, those that were killed before the application ran.
    killed_before_running: u64,
    /// Counted in the end.
    words: u64,
    lost: u64,
    duplicated: u64,
    diverged: u64,
    stores_wiped: u64,
    /// From process start to RUNNING, after a kill.
    median_ms_to_running: f64,
    max_ms_to_running: f64,
    /// Records that a start restored from changelogs.
    median_restored: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rival_median_ms_to_running: Option<f64>,
    /// How many times as long the rival takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    seconds: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let began = Instant::now();
    let began_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let mut common = options.common.clone();
    // Every update is passed on, so that each can be checked.
    common.cache = Some(common.cache.unwrap_or(0));
    if let Some(child) = &options.child {
        let text = Text { keys: options.keys.max(1), began_ms: options.began_ms };
        return program::run(options, child, text);
    }
    let rival = options.rival_file.as_deref().map(rival_median).transpose()?;
    let text = Text { keys: options.keys.max(1), began_ms };
    let folder = folder(&common)?;
    let path = folder.path();
    prepare(&Bench::at(path, &common)?)?;

    let mut told = Told::new(common.partitions());
    Program::start(options, path, text, true)?.finish(&mut told)?;
    // That start found nothing to do.
    told.to_running.clear();
    told.restored.clear();
    for round in 0..options.rounds {
        kill_once(options, path, text, round, &mut told)?;
    }

    let bench = Bench::at(path, &common)?;
    let expected = Expected::new(text, &ends(&bench)?)?;
    let streams = bench.application(topology()?)?;
    start(&streams)?;
    wait_until_done(&streams)?;
    let mut wrong = Wrong::default();
    wrong.stores(&streams, &expected)?;
    close(&streams)?;
    wrong.lines(&bench, text, &told.fed)?;
    wrong.results(&bench, &expected)?;
    let stores_wiped = told.wiped + Wrong::set_aside(path)?;

    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
    let median_ms_to_running = median(&mut told.to_running).map_or(f64::NAN, millis);
    print(
        common.json,
        &Report {
            bench: "crash",
            setup: common.setup(),
            keys: text.keys,
            rounds: options.rounds,
            killed_before_running: told.killed_before_running,
            words: expected.words,
            lost: wrong.lost,
            duplicated: wrong.duplicated,
            diverged: wrong.diverged,
            stores_wiped,
            median_ms_to_running,
            max_ms_to_running: told.to_running.last().copied().map_or(f64::NAN, millis),
            median_restored: median(&mut told.restored).unwrap_or(0),
            rival_median_ms_to_running: rival,
            ratio: rival.map(|rival| rival / median_ms_to_running),
            seconds: began.elapsed().as_secs_f64(),
        },
    )?;
    let Wrong { lost, duplicated, diverged } = wrong;
    let is_repeated = duplicated > 0 && common.guarantee == Guarantee::ExactlyOnce;
    let has_diverged = diverged > 0 && common.guarantee == Guarantee::ExactlyOnce;
    if lost > 0 || is_repeated || has_diverged || stores_wiped > 0 {
        bail!("{lost} lost, {duplicated} duplicated, {diverged} diverged, {stores_wiped} stores wiped");
    }
    Ok(())
}

/// One start and its kill: mostly under load, sometimes before it runs.
fn kill_once(
    options: &Options,
    folder: &std::path::Path,
    text: Text,
    round: u64,
    told: &mut Told,
) -> anyhow::Result<()> {
    let random = mix(options.seed.wrapping_mul(1_000_003).wrapping_add(round));
    let mut program = Program::start(options, folder, text, false)?;
    let is_running = if round % EARLY_KILL == EARLY_KILL - 1 {
        let usual = median(&mut told.to_running.clone()).unwrap_or(Duration::from_millis(50));
        let micros = random % u64::try_from((usual * 5 / 4).as_micros())?.max(1);
        program.listen(told, Instant::now() + Duration::from_micros(micros), false)?
    } else {
        if !program.listen(told, Instant::now() + READY_WAIT, true)? {
            bail!("round {round}: not running within {} s", READY_WAIT.as_secs());
        }
        let up = Duration::from_millis(random % options.up_ms.max(1));
        program.listen(told, Instant::now() + up, false)?;
        true
    };
    let has_run = program.kill(told)? || is_running;
    told.killed_before_running += u64::from(!has_run);
    Ok(())
}

/// The middle one; sorts them.
fn median<T: Copy + Ord>(values: &mut [T]) -> Option<T> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// The median of `seconds_to_running` in lines of JSON, in milliseconds.
fn rival_median(file: &std::path::Path) -> anyhow::Result<f64> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let line: serde_json::Value = serde_json::from_str(line)?;
        found.extend(line.get("seconds_to_running").and_then(serde_json::Value::as_f64));
    }
    found.sort_unstable_by(f64::total_cmp);
    let median = found.get(found.len() / 2);
    Ok(median.with_context(|| format!("no line of {} has seconds_to_running", file.display()))? * 1e3)
}
