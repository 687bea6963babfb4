//! Brings the events into their topic, on a thread of its own, at the speed that was asked for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{OffsetSpec, ProducerConfig, SharedClient},
};

use crate::{input::Input, topology::CARD_EVENTS};

/// Longest sleep of a paced replay: then it looks whether it is still wanted.
const NAP: Duration = Duration::from_millis(50);
/// What is due within this time is sent at once.
const EARLY: Duration = Duration::from_millis(2);

/// The feeding thread.
pub(crate) struct Feed {
    thread: Option<JoinHandle<anyhow::Result<()>>>,
    /// Transactions that this run has brought.
    transactions: Arc<AtomicU64>,
}

/// The partition of card events. There is one: verdicts of all cards form one model.
fn target() -> anyhow::Result<TopicPartition> {
    Ok(TopicPartition::new(TopicName::new(CARD_EVENTS)?, 0))
}

impl Feed {
    /// Starts after the events that are in the topic already.
    pub(crate) fn start(
        input: Arc<Input>,
        client: &SharedClient,
        speed: Option<f64>,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Feed> {
        let there =
            client.admin()?.list_offset(&target()?, OffsetSpec::Latest(log_store::client::Isolation::ReadCommitted))?;
        let skipped = there.map_or(0, |end| end.offsets_since(log_store::Offset::ZERO));
        let transactions = Arc::new(AtomicU64::new(0));
        let (client, stop, counted) = (SharedClient::clone(client), Arc::clone(stop), Arc::clone(&transactions));
        let thread = thread::spawn(move || feed(&input, &client, speed, skipped, &stop, &counted));
        Ok(Feed { thread: Some(thread), transactions })
    }

    /// True once all events are in the topic.
    pub(crate) fn is_finished(&mut self) -> anyhow::Result<bool> {
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) {
            thread.join().map_err(|_| anyhow::anyhow!("the thread that feeds the topic panicked"))??;
        }
        Ok(self.thread.is_none())
    }

    /// Waits for the end of a feed that was told to stop.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        while !self.is_finished()? {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    pub(crate) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }
}

fn feed(
    input: &Input,
    client: &SharedClient,
    speed: Option<f64>,
    skipped: u64,
    stop: &AtomicBool,
    transactions: &AtomicU64,
) -> anyhow::Result<()> {
    let mut producer = client.producer(&ProducerConfig::default())?;
    let target = producer.open(&target()?)?;
    let mut events = input.events().skip(usize::try_from(skipped)?).peekable();
    let Some(first_ms) = events.peek().map(|event| event.time_ms) else { return Ok(()) };
    let started = Instant::now();
    for event in events {
        if let Some(speed) = speed {
            let since_ms = u64::try_from(event.time_ms - first_ms).context("events are in order of time")?;
            let due = Duration::from_secs_f64(since_ms as f64 / 1_000.0 / speed);
            if due > started.elapsed() + EARLY {
                producer.flush()?;
            }
            while !stop.load(Ordering::Relaxed)
                && let Some(wait) = due.checked_sub(started.elapsed())
            {
                thread::sleep(wait.min(NAP));
            }
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = event.card.to_be_bytes();
        producer.send(target, RecordView::new(event.time_ms, Some(&key), Some(event.row.as_bytes())))?;
        if event.is_payment {
            transactions.fetch_add(1, Ordering::Relaxed);
        }
    }
    producer.flush()?;
    Ok(())
}
