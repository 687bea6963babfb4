//! The program that is killed: it feeds itself, counts words, and adds them up over time.

use std::{
    io::{Read, Write},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{Isolation, OffsetSpec},
};
use serde::{Deserialize, Serialize};
use streams_dsl::prelude::*;

use super::{
    Options,
    text::{Text, WINDOW_MS, WORDS_PER_LINE, number_of, share_of},
};
use crate::application::{Bench, READY_WAIT, Writer, close, wait_until_done};

pub(crate) const LINES: &str = "lines";
pub(crate) const COUNTS: &str = "counts";
pub(crate) const TOTALS: &str = "totals";
pub(crate) const COUNTED: &str = "counted";
pub(crate) const TOTALLED: &str = "totalled";

/// Time between two flushes of lines.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// No window closes while the benchmark runs, and no line comes too late.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// How often, and to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) count: i64,
    pub(crate) sum: i64,
}

impl Data for Totals {
    type Serde = Bincode;
}

/// Word count beside a windowed aggregate. Every single update is passed on, so that a lost or repeated one shows.
pub(crate) fn topology() -> anyhow::Result<Topology> {
    let builder = StreamsBuilder::new();
    let words = builder
        .stream::<Vec<u8>, String>(LINES)
        .flat_map_values(|_, line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    words.group_by(|_, word| word.clone()).count_with(Materialized::new(COUNTS)).to_stream().to(COUNTED);
    words
        .flat_map(|_, word| {
            number_of(&word).map(|number| {
                let (bucket, value) = share_of(number);
                (bucket, value)
            })
        })
        .group_by_key()
        .windowed_by(TimeWindows::of_size_and_grace(Duration::from_millis(WINDOW_MS.unsigned_abs()), GRACE))
        .aggregate_with(
            Totals::default,
            |_, value, totals| Totals { count: totals.count + 1, sum: totals.sum + value },
            Materialized::new(TOTALS),
        )
        .to_stream()
        .map(|window, totals| (format!("{} {}", window.window.start, window.key), totals))
        .to(TOTALLED);
    Ok(builder.build()?)
}

/// Makes the topics.
pub(crate) fn prepare(bench: &Bench) -> anyhow::Result<()> {
    for topic in [LINES, COUNTED, TOTALLED] {
        bench.create(topic, &[("retention.ms", "-1")])?;
    }
    Ok(())
}

/// Runs in `folder` until it is killed, and tells on standard output, a line each:
///
/// ```text
/// restored STORE PARTITION START RECORDS
/// running
/// fed PARTITION END
/// ```
pub(crate) fn run(options: &Options, folder: &Path, text: Text) -> anyhow::Result<()> {
    end_with_parent();
    let bench = Bench::at(folder, &options.common)?;
    let streams = bench.application(topology()?)?;
    let listener: Arc<dyn RestoreListener> = Arc::new(Tell);
    streams.set_restore_listener(listener);
    streams.start()?;
    streams.wait_for(State::Running, READY_WAIT)?;
    tell("running")?;
    let mut feeder = Feeder::new(&bench, text)?;
    if options.fill {
        feeder.feed(text.vocabulary_lines())?;
        wait_until_done(&streams)?;
        return close(&streams);
    }
    let began = Instant::now();
    let lines_per_second = options.rate.div_ceil(WORDS_PER_LINE);
    let mut fed = 0;
    loop {
        let due = (began.elapsed().as_secs_f64() * lines_per_second as f64) as u64;
        feeder.feed(due - fed)?;
        fed = due;
        if let Some(error) = streams.error() {
            bail!("the application stopped: {error}");
        }
        thread::sleep(TICK);
    }
}

/// Ends the process when the one that started it is gone.
fn end_with_parent() {
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
}

/// Writes lines where an earlier run left off.
struct Feeder {
    writer: Writer,
    text: Text,
    /// The next offset of each partition: a line's number is its offset times their number, and its partition.
    ends: Vec<u64>,
    turn: usize,
    line: String,
}

impl Feeder {
    fn new(bench: &Bench, text: Text) -> anyhow::Result<Self> {
        Ok(Feeder { writer: bench.writer(LINES)?, text, ends: ends(bench)?, turn: 0, line: String::new() })
    }

    /// Writes so many lines, and tells when they are durable.
    fn feed(&mut self, lines: u64) -> anyhow::Result<()> {
        let partitions = self.ends.len();
        for _ in 0..lines {
            let partition = self.turn;
            self.turn = (partition + 1) % partitions;
            let number = line_number(self.ends[partition], partition, partitions);
            self.ends[partition] += 1;
            self.text.write(number, &mut self.line);
            let key = number.to_be_bytes();
            let record = RecordView::new(self.text.time(number), Some(&key), Some(self.line.as_bytes()));
            self.writer.send(partition as u64, record)?;
        }
        self.writer.flush()?;
        for (partition, end) in self.ends.iter().enumerate() {
            tell(&format!("fed {partition} {end}"))?;
        }
        Ok(())
    }
}

/// The number of the line at an offset of a partition.
pub(crate) fn line_number(offset: u64, partition: usize, partitions: usize) -> u64 {
    offset * partitions as u64 + partition as u64
}

/// Where each partition of the lines ends.
pub(crate) fn ends(bench: &Bench) -> anyhow::Result<Vec<u64>> {
    let mut admin = bench.client().admin()?;
    let topic = TopicName::new(LINES)?;
    let mut end = |partition| {
        let partition = TopicPartition::new(topic.clone(), partition);
        let end = admin.list_offset(&partition, OffsetSpec::Latest(Isolation::ReadUncommitted))?;
        Ok(end.with_context(|| format!("{partition} has no end"))?.value())
    };
    (0..bench.partitions()).map(&mut end).collect()
}

struct Tell;

impl RestoreListener for Tell {
    fn on_restore_end(&self, progress: &RestoreProgress) {
        let RestoreProgress { store, changelog, start, records, .. } = progress;
        // A parent that is gone is noticed elsewhere.
        let _ = tell(&format!("restored {store} {} {start} {records}", changelog.partition));
    }
}

fn tell(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
