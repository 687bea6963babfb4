//! The topics of the application: making them, forgetting them, reading the result.

use std::{cmp::Reverse, collections::BinaryHeap};

use anyhow::bail;
use log_store::{
    Offset, TopicName, TopicPartition,
    client::{Isolation, NewTopic, OffsetSpec, SharedClient},
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

    /// Where each partition of the lines ends.
    pub(crate) fn ends(&self, partitions: u32) -> anyhow::Result<Vec<u64>> {
        let mut admin = self.client.admin()?;
        let lines = TopicName::new(LINES)?;
        let mut end = |partition| {
            let partition = TopicPartition::new(lines.clone(), partition);
            let end = admin.list_offset(&partition, OffsetSpec::Latest(Isolation::ReadUncommitted))?;
            Ok(end.map_or(0, |end| end.offsets_since(Offset::ZERO)))
        };
        (0..partitions).map(&mut end).collect()
    }

    /// Forgets all that was derived from the lines: offsets, counts, changelog and repartition topics.
    pub(crate) fn forget_results(&self) -> anyhow::Result<()> {
        let mut admin = self.client.admin()?;
        let internal = format!("{APPLICATION}-");
        let mut topics = admin.list_topics()?;
        topics.retain(|topic| topic.as_str() == COUNTS || topic.as_str().starts_with(&internal));
        admin.delete_topics(&topics)?;
        // Last: with offsets and without a changelog a run is refused, without offsets and with counts it would count twice.
        admin.delete_group(APPLICATION)?;
        Ok(())
    }
}

/// The most frequent words, of however many; of equally frequent ones the first in the alphabet.
pub(crate) struct MostFrequent {
    top: usize,
    /// The least frequent one lies on top.
    words: BinaryHeap<Reverse<(i64, Reverse<String>)>>,
    /// How many words there were.
    pub(crate) distinct: usize,
}

impl MostFrequent {
    pub(crate) fn new(top: usize) -> Self {
        MostFrequent { top, words: BinaryHeap::new(), distinct: 0 }
    }

    pub(crate) fn add(&mut self, word: String, count: i64) {
        self.distinct += 1;
        self.words.push(Reverse((count, Reverse(word))));
        if self.words.len() > self.top {
            self.words.pop();
        }
    }

    /// One line for each, the most frequent first.
    pub(crate) fn into_text(self) -> String {
        let mut text = String::new();
        for Reverse((count, Reverse(word))) in self.words.into_sorted_vec() {
            text += &format!("{count:>10}  {word}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most_frequent(top: usize, words: &[(&str, i64)]) -> (usize, String) {
        let mut most = MostFrequent::new(top);
        for (word, count) in words {
            most.add((*word).to_owned(), *count);
        }
        (most.distinct, most.into_text().split_whitespace().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_most_frequent_come_first_and_of_equal_ones_the_first_in_the_alphabet() {
        let words = [("b", 2), ("d", 1), ("a", 2), ("c", 7), ("e", 1)];
        assert_eq!(most_frequent(9, &words), (5, "7 c 2 a 2 b 1 d 1 e".to_owned()));
        assert_eq!(most_frequent(4, &words), (5, "7 c 2 a 2 b 1 d".to_owned()));
        assert_eq!(most_frequent(0, &words), (5, String::new()));
    }
}
