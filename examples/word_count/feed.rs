//! Brings the lines into their topic, on a thread of its own: reading may wait for somebody who types.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{PartitionHandle, ProducerConfig, SharedClient},
};

use crate::{
    input::{Input, Next},
    progress::Progress,
    topics::LINES,
};

/// Lines that go to one partition before the next has its turn.
const RUN: u64 = 1_000;

/// How long an interrupted feed may take to finish its batch. One that waits for typed input never does.
const STOP_WAIT: Duration = Duration::from_millis(300);

/// The feeding thread.
pub(crate) struct Feed {
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Feed {
    pub(crate) fn start(
        input: Input,
        client: SharedClient,
        partitions: u32,
        stop: &Arc<AtomicBool>,
        progress: &Progress,
    ) -> Feed {
        let (stop, progress) = (Arc::clone(stop), progress.clone());
        Feed { thread: Some(thread::spawn(move || feed(&input, &client, partitions, &stop, &progress))) }
    }

    /// True once all lines are in the topic.
    pub(crate) fn is_finished(&mut self) -> anyhow::Result<bool> {
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) {
            thread.join().map_err(|_| anyhow::anyhow!("the thread that reads the input panicked"))??;
        }
        Ok(self.thread.is_none())
    }

    /// Waits a moment for an interrupted feed to write what it has read; true if all that was read is in the topic.
    pub(crate) fn stop(&mut self) -> anyhow::Result<bool> {
        let deadline = Instant::now() + STOP_WAIT;
        while !self.is_finished()? {
            if Instant::now() > deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(true)
    }
}

fn feed(
    input: &Input,
    client: &SharedClient,
    partitions: u32,
    stop: &AtomicBool,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut producer = client.producer(&ProducerConfig::default())?;
    let topic = TopicName::new(LINES)?;
    let targets: Vec<PartitionHandle> = (0..partitions)
        .map(|partition| producer.open(&TopicPartition::new(topic.clone(), partition)))
        .collect::<Result<_, _>>()?;
    let mut targets = targets.into_iter().cycle();
    let mut target = targets.next().context("a topic has a partition")?;
    let mut now = wall_clock_ms();
    let mut sent = 0_u64;
    input.for_each_line(|line, next| {
        producer.send(target, RecordView::new(now, None, Some(line.as_bytes())))?;
        sent += 1;
        if sent.is_multiple_of(RUN) {
            target = targets.next().context("a topic has a partition")?;
            now = wall_clock_ms();
        }
        // Whoever types waits for the answer.
        if input.reads_stdin && next == Next::MayWait {
            now = wall_clock_ms();
            producer.flush()?;
        }
        progress.read(line.len() as u64 + 1);
        Ok(!stop.load(Ordering::Relaxed))
    })?;
    producer.flush()?;
    Ok(())
}

fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
