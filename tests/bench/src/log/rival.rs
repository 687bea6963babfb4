//! Kafka's own two programs, right after, on a broker of their own: ProducerPerformance and ConsumerPerformance, with
//! records and batches as large as ours. Needs `java` (a JDK) and `mvn`; Kafka comes from Maven Central, once.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde::Serialize;
use streams_tests::{broker::Broker, jvm::Jvm};
use tempfile::TempDir;

use super::{Options, append, append::Speed};
use crate::usage::{Process, children_cpu_seconds};

const PRODUCER: &str = "org.apache.kafka.tools.ProducerPerformance";
const CONSUMER: &str = "org.apache.kafka.tools.ConsumerPerformance";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

/// Kafka's figures, and how many times ours are better.
#[derive(Serialize)]
pub(super) struct Comparison {
    rival: Theirs,
    ratio: Ratios,
}

/// As the programs tell them: without their start, and without the first rebalance of the consumer. The processor time is
/// all of theirs and the broker's: our log does the broker's work inside.
#[derive(Serialize)]
struct Theirs {
    append: Speed,
    /// `flush.messages=1`.
    append_synced: Speed,
    fetch: Speed,
}

#[derive(Serialize)]
struct Ratios {
    append: Ratio,
    append_synced: Ratio,
    fetch: Ratio,
}

/// Above 1, ours is better.
#[derive(Serialize)]
struct Ratio {
    by_clock: f64,
    per_cpu_second: f64,
}

pub(super) fn run(options: &Options, ours: &append::Report) -> anyhow::Result<Comparison> {
    let jvm = Jvm::find().context("the rival needs `java` (a JDK, 17 or later) and `mvn` on the path")?;
    let folder = options.folder()?;
    let rival = Rival { broker: Broker::for_measuring(jvm, folder.path()), jvm, options, _folder: folder };
    rival.create("plain", &[])?;
    let append = rival.append("plain")?;
    let fetch = rival.fetch("plain")?;
    rival.create("synced", &["--config", "flush.messages=1"])?;
    let append_synced = rival.append("synced")?;
    let ratio = |ours: &Speed, theirs: &Speed| Ratio {
        by_clock: ours.records_per_second / theirs.records_per_second,
        per_cpu_second: ours.records_per_cpu_second / theirs.records_per_cpu_second,
    };
    Ok(Comparison {
        ratio: Ratios {
            append: ratio(&ours.append, &append),
            append_synced: ratio(&ours.append_synced, &append_synced),
            fetch: ratio(&ours.fetch, &fetch),
        },
        rival: Theirs { append, append_synced, fetch },
    })
}

/// A broker, and what starts programs for it.
struct Rival<'a> {
    /// Ends before the folder goes.
    broker: Broker,
    jvm: &'a Jvm,
    options: &'a Options,
    _folder: TempDir,
}

impl Rival<'_> {
    /// A JVM as it comes: its own choice of collector and of heap. Returns what it says.
    fn run(&self, program: &str, topic: &str, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("java");
        command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", self.jvm.classpath(), program]);
        command.args(["--bootstrap-server", self.broker.address(), "--topic", topic]).args(args);
        let output = command.stderr(Stdio::inherit()).output().context("cannot run java")?;
        ensure!(output.status.success(), "{program} ended with {}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn create(&self, topic: &str, settings: &[&str]) -> anyhow::Result<()> {
        let partitions = ["--create", "--partitions", "1", "--replication-factor", "1"];
        self.run(TOPICS, topic, &[&partitions, settings].concat()).map(drop)
    }

    /// `5000000 records sent, 1320000.0 records/sec (…`
    fn append(&self, topic: &str) -> anyhow::Result<Speed> {
        let (records, size) = (self.options.records.to_string(), self.options.size.to_string());
        let batch = format!("batch.size={}", self.options.batch);
        let args = ["--num-records", &records, "--record-size", &size, "--throughput", "-1"];
        self.measured(PRODUCER, topic, &[&args[..], &["--command-property", "acks=all", &batch]].concat(), |last| {
            last.split(", ").nth(1)?.strip_suffix(')')?.split(' ').next()?.parse().ok()
        })
    }

    /// The last of ten columns is the rate, without the time of the first rebalance.
    fn fetch(&self, topic: &str) -> anyhow::Result<Speed> {
        let records = self.options.records.to_string();
        let args = ["--num-records", &records, "--hide-header"];
        self.measured(CONSUMER, topic, &args, |last| last.split(", ").nth(9)?.parse().ok())
    }

    /// The rate that stands in the last line of what a program says.
    fn measured(
        &self,
        program: &str,
        topic: &str,
        args: &[&str],
        rate: impl Fn(&str) -> Option<f64>,
    ) -> anyhow::Result<Speed> {
        let cpu = || Process(self.broker.id()).used().cpu_seconds + children_cpu_seconds();
        let before = cpu();
        let said = self.run(program, topic, args)?;
        let records_per_second = said.trim_end().lines().last().and_then(&rate);
        Ok(Speed {
            records_per_second: records_per_second.with_context(|| format!("{program} gave no figures: {said}"))?,
            records_per_cpu_second: self.options.records as f64 / (cpu() - before),
        })
    }
}
