//! What lies in the data folder of a program that does not run: its topics are written and read here.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{ConsumerConfig, Isolation, LogClient, NewTopic, Polled, ProducerConfig, StartAt},
    embedded::{EmbeddedLog, LogConfig},
};
use streams_tests::Counts;

/// Records of one flush: enough batches for the indexes to have entries.
const FLUSH_RECORDS: usize = 50;

/// The log of a data folder.
pub(crate) fn log(data: &Path) -> EmbeddedLog {
    EmbeddedLog::open(data.join("log"), LogConfig::default()).unwrap()
}

/// Partition 0 of a topic.
pub(crate) fn partition(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), 0)
}

/// The time: topics that are kept for a week delete what is older.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Makes topics of one partition.
pub(crate) fn create(data: &Path, topics: &[&str]) {
    let log = log(data);
    let topics = topics.iter().map(|topic| NewTopic::new(TopicName::new(topic).unwrap(), 1));
    log.admin().unwrap().create_topics(&topics.collect::<Vec<_>>()).unwrap();
    log.close().unwrap();
}

/// Appends keys and values to partition 0.
pub(crate) fn append<'a>(
    data: &Path,
    topic: &str,
    records: impl IntoIterator<Item = (Option<&'a str>, Option<&'a str>)>,
) {
    let log = log(data);
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let handle = producer.open(&partition(topic)).unwrap();
    let now = now_ms();
    for (number, (key, value)) in records.into_iter().enumerate() {
        // Each a little later, so that the index of times has entries, too.
        let record = RecordView::new(now + number as i64, key.map(str::as_bytes), value.map(str::as_bytes));
        producer.send(handle, record).unwrap();
        if number % FLUSH_RECORDS == 0 {
            producer.flush().unwrap();
        }
    }
    producer.flush().unwrap();
    drop(producer);
    log.close().unwrap();
}

/// Shows every committed record of a topic.
fn for_each(data: &Path, topic: &str, mut each: impl FnMut(RecordView<'_>)) {
    let log = log(data);
    let name = TopicName::new(topic).unwrap();
    let partitions = log.admin().unwrap().describe_topic(&name).unwrap().expect("the topic is there").partitions;
    let config = ConsumerConfig { isolation: Isolation::ReadCommitted, ..ConsumerConfig::default() };
    for number in 0..partitions {
        let mut consumer = log.consumer(&config).unwrap();
        let partition = TopicPartition::new(name.clone(), number);
        consumer.assign(&[(partition.clone(), StartAt::Beginning)]).unwrap();
        let end = consumer.end_offset(&partition, Isolation::ReadCommitted).unwrap();
        while consumer.position(&partition).unwrap() < end {
            let Polled::Batch(batch) = consumer.poll(Duration::from_secs(1)).unwrap() else { continue };
            let mut records = batch.cursor();
            while let Some(at) = records.advance().unwrap() {
                each(records.view(&at));
            }
        }
    }
    log.close().unwrap();
}

/// The last count of each word in a topic of counts.
pub(crate) fn counts(data: &Path, topic: &str) -> Counts {
    let mut counts = Counts::new();
    for_each(data, topic, |record| {
        let word = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        counts.insert(word, u64::from_be_bytes(record.value.unwrap().try_into().unwrap()));
    });
    counts
}

/// The lines in the topic that word count reads: what it must have counted in the end.
pub(crate) fn lines(data: &Path) -> String {
    let mut text = String::new();
    for_each(data, "lines", |record| {
        text.push_str(std::str::from_utf8(record.value.unwrap()).unwrap());
        text.push('\n');
    });
    text
}
