//! Typed records of topics, written and read outside of any topology: an application's input and its results.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use log_store::{
    HeadersView, RecordView, TopicName, TopicPartition,
    client::{
        ConsumerConfig, Isolation, LogClient, OffsetSpec, PartitionHandle, Polled, Producer, ProducerConfig, StartAt,
    },
};

use crate::{
    Error, Record, Result,
    partitioner::partition_of,
    serde::{Data, Encoded, SerdeError, SharedSerde, default_serde},
};

/// Longest time between two batches of a topic that is being read to its end.
const BATCH_WAIT: Duration = Duration::from_secs(30);

/// Writes typed records to a topic: to the partition that the key belongs to, as Kafka's clients choose it; records
/// without a key to one partition after the other.
///
/// ```
/// # use std::sync::Arc;
/// # use log_store::{TopicName, client::{Admin, LogClient, NewTopic}, embedded::{EmbeddedLog, LogConfig, storage::MemoryDirectory}};
/// use streams_core::{Record, typed_records::{RecordWriter, read_records}};
///
/// # let log = EmbeddedLog::open_in(Arc::new(MemoryDirectory::new()), LogConfig::default())?;
/// # log.admin()?.create_topics(&[NewTopic::new(TopicName::new("clicks")?, 3)])?;
/// let mut clicks = RecordWriter::<String, i64>::new(&log, "clicks")?;
/// clicks.send(&Record::new("alice".to_owned(), 7, 1_000))?;
/// clicks.flush()?;
/// assert_eq!(read_records::<String, i64>(&log, "clicks")?[0].value, 7);
/// # Ok::<(), streams_core::Error>(())
/// ```
pub struct RecordWriter<K, V> {
    producer: Box<dyn Producer>,
    topic: TopicName,
    targets: Vec<PartitionHandle>,
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
    key: Vec<u8>,
    value: Vec<u8>,
    /// Where the next record without a key goes.
    turn: usize,
}

impl<K: Data, V: Data> RecordWriter<K, V> {
    /// A writer of an existing topic.
    ///
    /// # Errors
    ///
    /// If there is no such topic, or the log cannot be reached.
    pub fn new(client: &dyn LogClient, topic: &str) -> Result<Self> {
        let topic = TopicName::new(topic)?;
        let partitions = partitions_of(client, &topic)?;
        let mut producer = client.producer(&ProducerConfig::default())?;
        let targets = (0..partitions)
            .map(|partition| producer.open(&TopicPartition::new(topic.clone(), partition)))
            .collect::<Result<_, _>>()?;
        let (key_serde, value_serde) = (default_serde(), default_serde());
        Ok(RecordWriter {
            producer,
            topic,
            targets,
            key_serde,
            value_serde,
            key: Vec::new(),
            value: Vec::new(),
            turn: 0,
        })
    }

    /// Adds a record to the open batch of its partition.
    ///
    /// # Errors
    ///
    /// If key or value has no bytes, or the log refuses the record.
    pub fn send(&mut self, record: &Record<K, V>) -> Result<()> {
        let refused = |part: &str, error: &SerdeError| {
            Error::IllegalState(format!("{}: the {part} cannot be serialized: {error}", self.topic))
        };
        self.key.clear();
        self.value.clear();
        let key = self.key_serde.serialize(&record.key, &mut self.key).map_err(|error| refused("key", &error))?;
        let value =
            self.value_serde.serialize(&record.value, &mut self.value).map_err(|error| refused("value", &error))?;
        let count = u32::try_from(self.targets.len()).expect("fewer than 4 billion partitions");
        let target = if key == Encoded::Bytes {
            partition_of(self.key_serde.partition_bytes(&self.key), count) as usize
        } else {
            self.turn = (self.turn + 1) % self.targets.len();
            self.turn
        };
        let view = RecordView {
            timestamp: record.timestamp,
            key: (key == Encoded::Bytes).then_some(&self.key),
            value: (value == Encoded::Bytes).then_some(&self.value),
            headers: HeadersView::from(&record.headers),
        };
        Ok(self.producer.send(self.targets[target], view)?)
    }

    /// Returns once everything sent is in the log.
    ///
    /// # Errors
    ///
    /// The first failure since the last flush.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.producer.flush()?)
    }
}

/// All committed records of a topic, partition by partition, up to where it ends now.
///
/// # Errors
///
/// If there is no such topic, a record is not of these types, or the log cannot be read.
pub fn read_records<K: Data, V: Data>(client: &dyn LogClient, topic: &str) -> Result<Vec<Record<K, V>>> {
    let topic = TopicName::new(topic)?;
    let (key_serde, value_serde) = (default_serde::<K>(), default_serde::<V>());
    let mut admin = client.admin()?;
    let mut left = HashMap::new();
    for number in 0..partitions_of(client, &topic)? {
        let partition = TopicPartition::new(topic.clone(), number);
        let start = admin.list_offset(&partition, OffsetSpec::Earliest)?;
        let end = admin.list_offset(&partition, OffsetSpec::Latest(Isolation::ReadCommitted))?;
        if let Some(end) = end.filter(|end| Some(*end) > start) {
            left.insert(partition, end);
        }
    }
    let from_start: Vec<_> = left.keys().map(|partition| (partition.clone(), StartAt::Beginning)).collect();
    let mut consumer = client.consumer(&ConsumerConfig::default())?;
    consumer.assign(&from_start)?;
    let mut found: Vec<(u32, Record<K, V>)> = Vec::new();
    let mut last_batch = Instant::now();
    while !left.is_empty() {
        let Polled::Batch(batch) = consumer.poll(Duration::from_secs(1))? else {
            if last_batch.elapsed() > BATCH_WAIT {
                let waited_ms = u64::try_from(BATCH_WAIT.as_millis()).unwrap_or(u64::MAX);
                return Err(log_store::Error::TimedOut { what: format!("reading {topic}"), waited_ms }.into());
            }
            continue;
        };
        last_batch = Instant::now();
        let partition = &batch.partition;
        let mut records = batch.cursor();
        while let Some(at) = records.advance()? {
            let view = records.view(&at);
            let malformed = |part: &str, error: SerdeError| {
                Error::IllegalState(format!("{partition}: a {part} is not of the type it is read as: {error}"))
            };
            let key = key_serde.deserialize(view.key).map_err(|error| malformed("key", error))?;
            let value = value_serde.deserialize(view.value).map_err(|error| malformed("value", error))?;
            let record = Record { key, value, timestamp: view.timestamp, headers: view.headers.to_headers() };
            found.push((partition.partition, record));
        }
        if left.get(partition).is_some_and(|end| batch.next >= *end) {
            left.remove(partition);
        }
    }
    // Batches of several partitions come in turns.
    found.sort_by_key(|(partition, _)| *partition);
    Ok(found.into_iter().map(|(_, record)| record).collect())
}

fn partitions_of(client: &dyn LogClient, topic: &TopicName) -> Result<u32> {
    match client.admin()?.describe_topic(topic)? {
        Some(known) => Ok(known.partitions),
        None => Err(log_store::Error::UnknownTopic { name: topic.to_string() }.into()),
    }
}
