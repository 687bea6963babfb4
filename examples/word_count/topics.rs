//! The topics of the application: making them, forgetting them, reading the result.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
    time::Duration,
};

use anyhow::{Context, bail};
use log_store::{
    TopicName, TopicPartition,
    client::{ConsumerConfig, Isolation, NewTopic, OffsetSpec, Polled, SharedClient, StartAt},
};

use crate::input::LINE_BYTES_MAX;

pub(crate) const APPLICATION: &str = "word-count";
pub(crate) const LINES: &str = "lines";
pub(crate) const COUNTS: &str = "word-counts";

/// A record holds a line; a line may be one word, which is then key and value.
pub(crate) const MESSAGE_BYTES_MAX: usize = 2 * LINE_BYTES_MAX + (1 << 10);

/// The topics of the application on one log.
pub(crate) struct Topics {
    client: SharedClient,
}

impl Topics {
    pub(crate) fn new(client: SharedClient) -> Self {
        Topics { client }
    }

    pub(crate) fn client(&self) -> SharedClient {
        SharedClient::clone(&self.client)
    }

    /// Makes the topics that are missing; the number of partitions.
    pub(crate) fn create(&self, wanted: u32, is_explicit: bool) -> anyhow::Result<u32> {
        let mut admin = self.client.admin()?;
        let (lines, counts) = (TopicName::new(LINES)?, TopicName::new(COUNTS)?);
        let partitions = match admin.describe_topic(&lines)? {
            Some(known) if is_explicit && known.partitions != wanted => bail!(
                "the data folder has topics of {} partitions, not {wanted}: leave --partitions out, or choose another \
                 folder with --data",
                known.partitions
            ),
            Some(known) => known.partitions,
            None => wanted,
        };
        let new = |name: &TopicName| {
            NewTopic::new(name.clone(), partitions).with_config("max.message.bytes", MESSAGE_BYTES_MAX.to_string())
        };
        for topic in [new(&lines), new(&counts).with_config("cleanup.policy", "compact")] {
            if admin.describe_topic(&topic.name)?.is_none() {
                admin.create_topics(&[topic])?;
            }
        }
        Ok(partitions)
    }

    /// Forgets all that was derived from the lines: offsets, counts, changelog and repartition topics.
    pub(crate) fn forget_results(&self) -> anyhow::Result<()> {
        let mut admin = self.client.admin()?;
        admin.delete_group(APPLICATION)?;
        let internal = format!("{APPLICATION}-");
        let mut topics = admin.list_topics()?;
        topics.retain(|topic| topic.as_str() == COUNTS || topic.as_str().starts_with(&internal));
        admin.delete_topics(&topics)?;
        Ok(())
    }

    /// The last count of each word.
    pub(crate) fn counts(&self) -> anyhow::Result<HashMap<String, i64>> {
        let mut admin = self.client.admin()?;
        let topic = TopicName::new(COUNTS)?;
        let partitions = admin.describe_topic(&topic)?.context("the topic of counts is gone")?.partitions;
        let mut consumer = self.client.consumer(&ConsumerConfig::default())?;
        let mut left = HashMap::new();
        for number in 0..partitions {
            let partition = TopicPartition::new(topic.clone(), number);
            let end = admin.list_offset(&partition, OffsetSpec::Latest(Isolation::ReadCommitted))?;
            let start = admin.list_offset(&partition, OffsetSpec::Earliest)?;
            if let Some(end) = end.filter(|end| Some(*end) > start) {
                left.insert(partition, end);
            }
        }
        let from_start: Vec<_> = left.keys().map(|partition| (partition.clone(), StartAt::Beginning)).collect();
        consumer.assign(&from_start)?;
        let mut counts = HashMap::new();
        while !left.is_empty() {
            let Polled::Batch(batch) = consumer.poll(Duration::from_secs(1))? else { continue };
            let mut records = batch.cursor();
            while let Some(at) = records.advance()? {
                let record = records.view(&at);
                let (Some(word), Some(count)) = (record.key, record.value) else { continue };
                let count = i64::from_be_bytes(count.try_into().context("a count is 8 bytes")?);
                counts.insert(std::str::from_utf8(word)?.to_owned(), count);
            }
            if left.get(&batch.partition).is_some_and(|end| batch.next >= *end) {
                left.remove(&batch.partition);
            }
        }
        Ok(counts)
    }
}

/// Writes the `top` most frequent words; of equally frequent ones the first in the alphabet first.
pub(crate) fn show_most_frequent(counts: &HashMap<String, i64>, top: usize) {
    let mut words: Vec<_> = counts.iter().collect();
    words.sort_unstable_by(|(one, ones), (other, others)| others.cmp(ones).then_with(|| one.cmp(other)));
    let mut out = BufWriter::new(io::stdout().lock());
    for (word, count) in words.into_iter().take(top) {
        // Whoever reads our output may have enough.
        if writeln!(out, "{count:>10}  {word}").is_err() {
            return;
        }
    }
}
