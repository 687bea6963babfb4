//! The topics of the application: making them, forgetting them, reading the result.

use std::io::{self, BufWriter, Write};

use anyhow::bail;
use log_store::{
    TopicName,
    client::{NewTopic, SharedClient},
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
        // The lines are what everything can be counted from again: they do not age.
        let lines = new(&lines).with_config("retention.ms", "-1");
        for topic in [lines, new(&counts).with_config("cleanup.policy", "compact")] {
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
}

/// Writes the `top` most frequent words; of equally frequent ones the first in the alphabet first.
pub(crate) fn show_most_frequent(mut words: Vec<(String, i64)>, top: usize) {
    words.sort_unstable_by(|(one, ones), (other, others)| others.cmp(ones).then_with(|| one.cmp(other)));
    let mut out = BufWriter::new(io::stdout().lock());
    for (word, count) in words.into_iter().take(top) {
        // Whoever reads our output may have enough.
        if writeln!(out, "{count:>10}  {word}").is_err() {
            return;
        }
    }
}
