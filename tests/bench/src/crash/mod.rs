//! `kill -9` at random moments, again and again: is anything lost, repeated or wrong, and how soon does it run again?

mod check;
mod program;
mod rival;
mod rounds;
mod text;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{bail, ensure};
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

    /// Kills and starts Kafka Streams in the same way afterwards, and prints the ratio of the medians; needs `java` and `mvn`
    #[arg(long)]
    rival: bool,

    /// Kills of Kafka Streams; each is a kill of ours, too
    #[arg(long, default_value = "3", value_parser = number, value_name = "N")]
    rival_rounds: u64,

    /// Milliseconds under load before these kills: long enough that RocksDB has written files, as it has in service
    #[arg(long, default_value_t = 15_000, value_name = "MS")]
    rival_up_ms: u64,

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
    #[serde(flatten)]
    restarts: Restarts,
    #[serde(flatten)]
    comparison: Option<Comparison>,
    seconds: f64,
}

/// Starts after kills that came when the program had run for `rival_up_ms`.
#[derive(Serialize)]
struct Comparison {
    after_long_runs: Restarts,
    rival: Restarts,
    /// How many times as long the rival takes from process start to RUNNING.
    ratio: f64,
}

/// Figures of starts that came after a kill.
#[derive(Serialize)]
struct Restarts {
    /// From process start to RUNNING.
    median_ms_to_running: f64,
    max_ms_to_running: f64,
    /// Records that a start restored from changelogs.
    median_restored: u64,
}

impl Restarts {
    /// Of each start, how long it took and what it restored.
    fn new(to_running: &mut [Duration], restored: &mut [u64]) -> Self {
        let median_ms_to_running = median(to_running).map_or(f64::NAN, millis);
        Restarts {
            median_ms_to_running,
            // The median has sorted them.
            max_ms_to_running: to_running.last().copied().map_or(f64::NAN, millis),
            median_restored: median(restored).unwrap_or(0),
        }
    }
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
    let long = options.rival.then(|| kill_after_long_runs(options, path, text, &mut told)).transpose()?;

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

    drop(bench);
    let comparison = match long {
        None => None,
        Some(after_long_runs) => {
            let rival = rival::run(options, &common, text)?;
            let ratio = rival.median_ms_to_running / after_long_runs.median_ms_to_running;
            Some(Comparison { after_long_runs, rival, ratio })
        }
    };
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
            restarts: Restarts::new(&mut told.to_running, &mut told.restored),
            comparison,
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
fn kill_once(options: &Options, folder: &Path, text: Text, round: u64, told: &mut Told) -> anyhow::Result<()> {
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

/// As the rival is killed; their starts are kept apart.
fn kill_after_long_runs(options: &Options, folder: &Path, text: Text, told: &mut Told) -> anyhow::Result<Restarts> {
    ensure!(options.rival_rounds > 0, "--rival-rounds must be at least 1");
    let before = (std::mem::take(&mut told.to_running), std::mem::take(&mut told.restored));
    for round in 0..=options.rival_rounds {
        let mut program = Program::start(options, folder, text, false)?;
        program.listen(told, Instant::now() + READY_WAIT, true)?;
        if round < options.rival_rounds {
            program.listen(told, Instant::now() + Duration::from_millis(options.rival_up_ms), false)?;
        }
        program.kill(told)?;
    }
    // The first start came after a short run.
    let long = Restarts::new(&mut told.to_running[1..], &mut told.restored[1..]);
    (told.to_running, told.restored) = before;
    Ok(long)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The middle one; sorts them.
fn median<T: Copy + Ord>(values: &mut [T]) -> Option<T> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}
