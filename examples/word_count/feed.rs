//! Brings the lines into their topic, on a thread of its own: reading may wait for somebody who types.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{ProducerConfig, SharedClient},
};

use crate::{
    input::{Input, Place},
    lines::Next,
    progress::{Progress, Reading},
    topics::LINES,
};

/// Lines that go to one partition before the next has its turn.
const RUN: u64 = 1_000;

/// How long an interrupted feed may take to finish its batch. One that waits for typed input never does.
const STOP_WAIT: Duration = Duration::from_millis(300);

/// The feeding thread.
pub(crate) struct Feed {
    thread: Option<JoinHandle<anyhow::Result<Option<Place>>>>,
    /// The last line that is in the topic, if the thread was stopped before the end.
    stopped_after: Option<Place>,
}

/// Where an interrupted feed was.
pub(crate) enum Stopped {
    /// All lines are in the topic.
    AtTheEnd,
    /// This line is the last in the topic.
    After(Place),
    /// It still waits for a line.
    Waiting,
}

/// What the thread works on.
pub(crate) struct Work {
    pub(crate) input: Input,
    pub(crate) client: SharedClient,
    /// For each partition: so many of its lines are in the topic already.
    pub(crate) taken: Vec<u64>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) progress: Progress,
    pub(crate) reading: Reading,
}

impl Feed {
    pub(crate) fn start(work: Work) -> Feed {
        Feed { thread: Some(thread::spawn(move || work.feed())), stopped_after: None }
    }

    /// True once the thread has ended.
    pub(crate) fn is_finished(&mut self) -> anyhow::Result<bool> {
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) {
            let ended = thread.join().map_err(|_| anyhow::anyhow!("the thread that reads the input panicked"))?;
            self.stopped_after = ended?;
        }
        Ok(self.thread.is_none())
    }

    /// Waits a moment for an interrupted feed to write what it has read.
    pub(crate) fn stop(&mut self) -> anyhow::Result<Stopped> {
        let deadline = Instant::now() + STOP_WAIT;
        while !self.is_finished()? {
            if Instant::now() > deadline {
                return Ok(Stopped::Waiting);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(self.stopped_after.take().map_or(Stopped::AtTheEnd, Stopped::After))
    }
}

impl Work {
    /// The line after which it was told to stop, or nothing if all lines are in the topic.
    fn feed(mut self) -> anyhow::Result<Option<Place>> {
        let mut producer = self.client.producer(&ProducerConfig::default())?;
        let mut targets = Vec::new();
        for (partition, taken) in (0_u32..).zip(std::mem::take(&mut self.taken)) {
            let handle = producer.open(&TopicPartition::new(TopicName::new(LINES)?, partition))?;
            targets.push((handle, taken));
        }
        let mut now = wall_clock_ms();
        let (mut lines, mut target) = (0_u64, 0);
        let stopped = self.input.for_each_line(&self.progress, |line, next| {
            lines += 1;
            let (partition, taken) = &mut targets[target];
            if *taken > 0 {
                *taken -= 1;
            } else {
                producer.send(*partition, RecordView::new(now, None, Some(line.as_bytes())))?;
            }
            if lines.is_multiple_of(RUN) {
                target = (target + 1) % targets.len();
                now = wall_clock_ms();
            }
            // Whoever types waits for the answer.
            if self.input.reads_stdin && next == Next::MayWait {
                now = wall_clock_ms();
                producer.flush()?;
            }
            self.reading.read(line.len() as u64 + 1);
            Ok(!self.stop.load(Ordering::Relaxed))
        })?;
        producer.flush()?;
        Ok(stopped)
    }
}

fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
