//! The same work given to Kafka Streams, right after: its own broker, its own topology (`rival/`), our records.
//!
//! The input is copied from our log to the broker and the results are copied back, so that one generator and one check
//! serve both. Needs `java` (a JDK) and `mvn`; Kafka comes from Maven Central, once.

use std::{
    fs,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, anyhow, ensure};
use log_store::RecordView;
use serde::Serialize;
use streams_tests::{broker::Broker, jvm::Jvm};
use tempfile::TempDir;

use crate::{
    Common, Guarantee,
    application::Bench,
    usage::{Figures, Process, Usage},
};

/// Our topic that takes the rival's results.
const RESULTS: &str = "rival-results";

/// What the rival is to do.
pub(crate) struct Work<'a> {
    /// A topology of `rival/Topologies.java`.
    pub(crate) topology: &'static str,
    pub(crate) inputs: &'a [&'static str],
    pub(crate) output: &'static str,
    /// What the rates count.
    pub(crate) records: u64,
    pub(crate) expect: Expect<'a>,
}

/// What shows that the rival has done it.
pub(crate) enum Expect<'a> {
    /// Its results, in the topic of ours that is given.
    Results(&'a dyn Fn(&str) -> anyhow::Result<()>),
    /// As many restored records as `records` says.
    Restored,
}

/// The rival's figures, and how many times ours are better.
#[derive(Serialize)]
pub(crate) struct Comparison {
    rival: Theirs,
    ratio: Ratio,
}

#[derive(Serialize)]
struct Theirs {
    #[serde(flatten)]
    figures: Figures,
    /// Parts of `cpu_seconds` and `peak_rss_bytes`: our log does the broker's work inside.
    broker_cpu_seconds: f64,
    broker_peak_rss_bytes: u64,
    /// Records that were restored, where that is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<u64>,
}

/// Above 1, ours is better.
#[derive(Serialize)]
struct Ratio {
    by_clock: f64,
    per_cpu_second: f64,
    memory: f64,
}

/// Lets Kafka Streams do `work` on the records that lie in the inputs of `bench`.
pub(crate) fn run(bench: &Bench, common: &Common, work: &Work<'_>, ours: &Usage) -> anyhow::Result<Comparison> {
    let rival = Rival::start(common)?;
    for topic in work.inputs {
        rival.create(topic, bench.partitions(), &[])?;
        rival.load(bench, topic)?;
    }
    // As word count's, and harmless to the others: nothing is cleaned within the run.
    rival.create(work.output, bench.partitions(), &["cleanup.policy=compact"])?;
    let theirs = rival.measure(common, work)?;
    match work.expect {
        Expect::Results(check) => {
            rival.fetch(bench, work.output)?;
            check(RESULTS).context("of the rival")?;
        }
        Expect::Restored => {
            ensure!(theirs.restored >= work.records, "the rival has restored only {} records", theirs.restored);
        }
    }
    let ratio = |ours: f64, theirs: f64| theirs / ours;
    let comparison = Comparison {
        ratio: Ratio {
            by_clock: ratio(ours.seconds, theirs.usage.seconds),
            per_cpu_second: ratio(ours.cpu_seconds, theirs.usage.cpu_seconds),
            memory: ratio(ours.peak_rss_bytes as f64, theirs.usage.peak_rss_bytes as f64),
        },
        rival: Theirs {
            figures: theirs.usage.figures(work.records),
            broker_cpu_seconds: theirs.broker_cpu_seconds,
            broker_peak_rss_bytes: theirs.broker_peak_rss_bytes,
            restored: (theirs.restored > 0).then_some(theirs.restored),
        },
    };
    Ok(comparison)
}

/// A broker, and our Java programs.
pub(crate) struct Rival {
    /// Ends before the folder goes.
    broker: Broker,
    classpath: String,
    /// Compiled classes, and the application's state.
    folder: TempDir,
}

struct Measured {
    /// Application and broker together.
    usage: Usage,
    broker_cpu_seconds: f64,
    broker_peak_rss_bytes: u64,
    restored: u64,
}

impl Rival {
    pub(crate) fn start(common: &Common) -> anyhow::Result<Self> {
        let jvm = Jvm::find().context("the rival needs `java` (a JDK, 17 or later) and `mvn` on the path")?;
        let folder = match &common.data {
            Some(data) => TempDir::new_in(data)?,
            None => TempDir::new()?,
        };
        let classes = folder.path().join("classes");
        let sources = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("rival"))?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<PathBuf>>>()?;
        let compiled = Command::new("javac")
            .args(["-cp", jvm.classpath(), "-d"])
            .arg(&classes)
            .args(sources)
            .status()
            .context("cannot run javac")?;
        ensure!(compiled.success(), "javac refused the rival's sources");
        let classpath = format!("{}:{}", classes.display(), jvm.classpath());
        Ok(Rival { broker: Broker::for_measuring(jvm, folder.path()), classpath, folder })
    }

    /// A JVM as it comes: its own choice of collector and of heap.
    fn java(&self, program: &str) -> Command {
        let mut command = Command::new("java");
        command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", &self.classpath, program]);
        command
    }

    fn topics(&self, verb: &str, topic: &str, partitions: u32) -> Command {
        let mut command = self.java("Topics");
        command.args([verb, self.broker.address(), topic, &partitions.to_string()]);
        command
    }

    pub(crate) fn create(&self, topic: &str, partitions: u32, settings: &[&str]) -> anyhow::Result<()> {
        let ended = self.topics("create", topic, partitions).args(settings).status()?;
        ensure!(ended.success(), "the broker did not create {topic}");
        Ok(())
    }

    /// Copies a topic of ours to the broker.
    fn load(&self, bench: &Bench, topic: &str) -> anyhow::Result<()> {
        let mut feed = self.feed(topic, bench.partitions())?;
        bench.records(topic, |partition, record| feed.send(partition, record))?;
        feed.end()
    }

    /// Where to write the records of a topic.
    pub(crate) fn feed(&self, topic: &str, partitions: u32) -> anyhow::Result<Feed> {
        let mut program = Piped::start(&mut self.topics("load", topic, partitions))?;
        let to = BufWriter::new(program.input.take().context("the standard input of a child")?);
        Ok(Feed { program, to })
    }

    /// Copies its results to our log.
    fn fetch(&self, bench: &Bench, topic: &str) -> anyhow::Result<()> {
        bench.create(RESULTS, &[])?;
        let mut writer = bench.writer(RESULTS)?;
        let mut program = Piped::start(&mut self.topics("read", topic, bench.partitions()))?;
        let from = &mut program.output;
        let (mut key, mut value) = (Vec::new(), Vec::new());
        while u8::from_be_bytes(read_array(from)?) == 1 {
            let partition = u32::from_be_bytes(read_array(from)?);
            let time = i64::from_be_bytes(read_array(from)?);
            let key = read_bytes(from, &mut key)?;
            let value = read_bytes(from, &mut value)?;
            writer.send(u64::from(partition), RecordView::new(time, key, value))?;
        }
        writer.flush()?;
        program.end()
    }

    fn measure(&self, common: &Common, work: &Work<'_>) -> anyhow::Result<Measured> {
        let mut program = self.application(common, work.topology, work.inputs, &[])?;
        let processes = [Process(program.child.id()), Process(self.broker.id())];

        let [began] = program.said("begin")?;
        let before = processes.map(Process::used);
        processes.iter().for_each(|process| process.reset_peak());
        let [ended, restored] = program.said("end")?;
        let after = processes.map(Process::used);
        program.end()?;

        let cpu_seconds = [0, 1].map(|at| after[at].cpu_seconds - before[at].cpu_seconds);
        Ok(Measured {
            usage: Usage {
                seconds: (ended - began) as f64 / 1e9,
                cpu_seconds: cpu_seconds.iter().sum(),
                bytes_written: after.iter().map(|used| used.bytes_written).sum::<u64>()
                    - before.iter().map(|used| used.bytes_written).sum::<u64>(),
                peak_rss_bytes: after.iter().map(|used| used.peak_rss_bytes).sum(),
            },
            broker_cpu_seconds: cpu_seconds[1],
            broker_peak_rss_bytes: after[1].peak_rss_bytes,
            restored,
        })
    }

    /// Starts the application with a topology of `rival/Topologies.java`; all starts have one folder for their state.
    pub(crate) fn application(
        &self,
        common: &Common,
        topology: &str,
        inputs: &[&str],
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Piped> {
        let mut command = self.java("Application");
        command.args([topology, &inputs.join(",")]);
        let state = self.folder.path().join("state");
        let mut set = |name: &str, value: &str| {
            command.arg(format!("{name}={value}"));
        };
        set("application.id", "bench");
        set("bootstrap.servers", self.broker.address());
        set("state.dir", &state.display().to_string());
        set("auto.offset.reset", "earliest");
        set("num.stream.threads", &common.threads.to_string());
        set(
            "processing.guarantee",
            match common.guarantee {
                Guarantee::ExactlyOnce => "exactly_once_v2",
                Guarantee::AtLeastOnce => "at_least_once",
            },
        );
        if let Some(millis) = common.commit_ms {
            set("commit.interval.ms", &millis.to_string());
        }
        if let Some(bytes) = common.cache {
            set("statestore.cache.max.bytes", &bytes.to_string());
        }
        for (name, value) in settings {
            set(name, value);
        }
        Piped::start(&mut command)
    }
}

/// Records on their way to a topic of the broker.
pub(crate) struct Feed {
    program: Piped,
    to: BufWriter<ChildStdin>,
}

impl Feed {
    pub(crate) fn send(&mut self, partition: u32, record: RecordView<'_>) -> anyhow::Result<()> {
        let to = &mut self.to;
        to.write_all(&[1])?;
        to.write_all(&partition.to_be_bytes())?;
        to.write_all(&record.timestamp.to_be_bytes())?;
        write_bytes(to, record.key)?;
        write_bytes(to, record.value)
    }

    /// Hands what was sent to the program that feeds.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.to.flush()?)
    }

    /// Returns when the broker has all of it.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        self.to.write_all(&[0])?;
        self.to.flush()?;
        drop(self.to);
        self.program.end()
    }
}

/// A program of ours in Java that is told and tells something.
pub(crate) struct Piped {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Piped {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run java")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("the standard output of a child")?);
        Ok(Piped { child, input, output })
    }

    /// Waits for the line that begins with `word`; the numbers behind it.
    pub(crate) fn said<const N: usize>(&mut self, word: &str) -> anyhow::Result<[u64; N]> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        ensure!(words.next() == Some(word), "the rival's application ended without a word on its {word}");
        let numbers = words.map(str::parse).collect::<Result<Vec<_>, _>>()?;
        numbers.try_into().map_err(|_| anyhow!("the rival's application said {line:?}"))
    }

    /// Has it end in order: its standard input ends, and it is waited for.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        drop(self.input.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "a program of the rival ended with {status}");
        Ok(())
    }
}

impl Drop for Piped {
    /// `kill -9`: a program that was not waited for is of no use to anyone.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_bytes(to: &mut impl Write, bytes: Option<&[u8]>) -> anyhow::Result<()> {
    let length = bytes.map_or(Ok(-1), |bytes| i32::try_from(bytes.len()))?;
    to.write_all(&length.to_be_bytes())?;
    Ok(to.write_all(bytes.unwrap_or_default())?)
}

fn read_array<const N: usize>(from: &mut impl Read) -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).context("the rival's results end in the middle")?;
    Ok(bytes)
}

/// Into `buffer`, whose allocation is used again.
fn read_bytes<'a>(from: &mut impl Read, buffer: &'a mut Vec<u8>) -> anyhow::Result<Option<&'a [u8]>> {
    let length = i32::from_be_bytes(read_array(from)?);
    let Ok(length) = u64::try_from(length) else { return Ok(None) };
    buffer.clear();
    let read = from.take(length).read_to_end(buffer)?;
    ensure!(read as u64 == length, "the rival's results end in the middle");
    Ok(Some(buffer))
}
