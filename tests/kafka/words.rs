//! Lines into a topic, counts out of one: what word count must have made of them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{ConsumerConfig, LogClient, NewTopic, Polled, Producer, ProducerConfig, StartAt},
};

use crate::application::{Application, PATIENCE};

/// Different words.
const WORDS: u64 = 97;

/// The counts that came out for each word, in order.
pub(crate) type Shown = BTreeMap<String, Vec<i64>>;

/// The input of an application, and what is known to be in it.
pub(crate) struct Lines {
    application: Application,
    producer: Box<dyn Producer>,
    partitions: u32,
    random: u64,
    occurrences: BTreeMap<String, i64>,
}

impl Lines {
    /// Makes the application's topics.
    pub(crate) fn new(application: &Application, partitions: u32) -> Lines {
        let client = application.client();
        let new = |topic| NewTopic::new(TopicName::new(topic).unwrap(), partitions);
        client.admin().unwrap().create_topics(&[new(application.input()), new(application.output())]).unwrap();
        let producer = client.producer(&ProducerConfig::default()).unwrap();
        let random = 0x9e37_79b9_7f4a_7c15;
        Lines { application: application.clone(), producer, partitions, random, occurrences: BTreeMap::new() }
    }

    /// Writes `count` lines of five words.
    pub(crate) fn write(&mut self, count: u32) {
        let topic = TopicName::new(self.application.input()).unwrap();
        // Kafka keeps seven days: what is older is deleted whenever it looks.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        for _ in 0..count {
            let words: Vec<String> = (0..5).map(|_| format!("word-{}", self.random() % WORDS)).collect();
            let partition = (self.random() % u64::from(self.partitions)) as u32;
            let to = self.producer.open(&TopicPartition::new(topic.clone(), partition)).unwrap();
            self.producer.send(to, RecordView::new(now, None, Some(words.join(" ").as_bytes()))).unwrap();
            for word in words {
                *self.occurrences.entry(word).or_default() += 1;
            }
        }
        self.producer.flush().unwrap();
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// What every word's counts must be, if each occurrence is counted once: 1, 2, 3, …
    pub(crate) fn expected(&self) -> Shown {
        self.occurrences.iter().map(|(word, count)| (word.clone(), (1..=*count).collect())).collect()
    }

    /// Reads the committed counts until each word has been counted as often as it was written.
    pub(crate) fn await_counts(&self) -> Shown {
        let client = self.application.client();
        let mut consumer = client.consumer(&ConsumerConfig::default()).unwrap();
        let topic = TopicName::new(self.application.output()).unwrap();
        let partitions = (0..self.partitions).map(|number| TopicPartition::new(topic.clone(), number));
        let from_start: Vec<_> = partitions.map(|partition| (partition, StartAt::Beginning)).collect();
        consumer.assign(&from_start).unwrap();
        let (mut shown, since) = (Shown::new(), Instant::now());
        let mut missing = self.occurrences.len();
        while missing > 0 {
            assert!(since.elapsed() < PATIENCE, "{missing} words are not counted to their end");
            let Polled::Batch(batch) = consumer.poll(Duration::from_secs(1)).unwrap() else { continue };
            let mut records = batch.cursor();
            while let Some(at) = records.advance().unwrap() {
                let record = records.view(&at);
                let word = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                let count = i64::from_be_bytes(record.value.unwrap().try_into().unwrap());
                missing -= usize::from(self.occurrences.get(&word) == Some(&count));
                shown.entry(word).or_default().push(count);
            }
        }
        shown
    }

    /// Waits until all is counted; under exactly-once every count must have come out once, in order.
    #[track_caller]
    pub(crate) fn check_exact(&self) {
        let (shown, expected) = (self.await_counts(), self.expected());
        for (word, counts) in &expected {
            let (found, wanted) = (shown.get(word).map_or(&[][..], Vec::as_slice), counts.as_slice());
            let place = found.iter().zip(wanted).position(|(one, other)| one != other);
            let place = place.unwrap_or(found.len().min(wanted.len()));
            let around = |counts: &[i64]| counts[place.saturating_sub(3)..counts.len().min(place + 4)].to_vec();
            assert_eq!(
                around(found),
                around(wanted),
                "{word}, from count {place} on; {} counts of {}",
                found.len(),
                wanted.len()
            );
        }
        assert_eq!(shown.len(), expected.len(), "no word appears from nowhere");
    }
}
