//! Topics of a test, typed.

use std::{cell::Cell, time::Duration};

use log_store::{HeadersView, RecordView};

use super::{capture::ProducedRecord, driver::TopologyTestDriver};
use crate::{
    Error, Record, Result,
    serde::{Encoded, SerdeError, SharedSerde},
};

/// Puts records into a topic that the topology reads.
pub struct TestInputTopic<K, V> {
    driver: TopologyTestDriver,
    topic: String,
    key: SharedSerde<K>,
    value: SharedSerde<V>,
    /// Time of the next record that comes without one.
    next_timestamp: Cell<i64>,
    auto_advance: Duration,
}

impl<K: 'static, V: 'static> TestInputTopic<K, V> {
    pub(super) fn new(driver: TopologyTestDriver, topic: String, key: SharedSerde<K>, value: SharedSerde<V>) -> Self {
        let next_timestamp = Cell::new(driver.wall_clock_ms());
        TestInputTopic { driver, topic, key, value, next_timestamp, auto_advance: Duration::ZERO }
    }

    /// Records without a time of their own begin at `start` and lie `step` apart. Default: the wall clock of the driver
    /// when the topic was made, all at the same time.
    #[must_use]
    pub fn with_timestamps(mut self, start: i64, step: Duration) -> Self {
        self.next_timestamp = Cell::new(start);
        self.auto_advance = step;
        self
    }

    /// Moves the time of the next record without a time of its own.
    pub fn advance_time(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.next_timestamp.set(self.next_timestamp.get().saturating_add(millis));
    }

    /// Pipes a record at the topic's own time.
    ///
    /// # Errors
    ///
    /// As [`TopologyTestDriver::pipe_record`].
    pub fn pipe_input(&self, key: K, value: V) -> Result<()> {
        let timestamp = self.next_timestamp.get();
        self.advance_time(self.auto_advance);
        self.pipe_input_at(key, value, timestamp)
    }

    /// Pipes a record at `timestamp`.
    ///
    /// # Errors
    ///
    /// As [`TopologyTestDriver::pipe_record`].
    pub fn pipe_input_at(&self, key: K, value: V, timestamp: i64) -> Result<()> {
        self.pipe_record(&Record::new(key, value, timestamp))
    }

    /// Pipes a record with its time and headers.
    ///
    /// # Errors
    ///
    /// As [`TopologyTestDriver::pipe_record`].
    pub fn pipe_record(&self, record: &Record<K, V>) -> Result<()> {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let refused = |part: &str, error: SerdeError| {
            Error::IllegalState(format!("{}: the {part} of the test record cannot be serialized: {error}", self.topic))
        };
        let key_form = self.key.serialize(&record.key, &mut key).map_err(|error| refused("key", error))?;
        let value_form = self.value.serialize(&record.value, &mut value).map_err(|error| refused("value", error))?;
        let view = RecordView {
            timestamp: record.timestamp,
            key: (key_form == Encoded::Bytes).then_some(&key),
            value: (value_form == Encoded::Bytes).then_some(&value),
            headers: HeadersView::from(&record.headers),
        };
        self.driver.pipe_record(&self.topic, view)
    }

    /// Pipes records one after the other, at the topic's own time.
    ///
    /// # Errors
    ///
    /// As [`TopologyTestDriver::pipe_record`].
    pub fn pipe_key_values(&self, records: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        records.into_iter().try_for_each(|(key, value)| self.pipe_input(key, value))
    }
}

/// Reads the records that the topology sends to a topic.
pub struct TestOutputTopic<K, V> {
    driver: TopologyTestDriver,
    topic: String,
    key: SharedSerde<K>,
    value: SharedSerde<V>,
}

impl<K: 'static, V: 'static> TestOutputTopic<K, V> {
    pub(super) fn new(driver: TopologyTestDriver, topic: String, key: SharedSerde<K>, value: SharedSerde<V>) -> Self {
        TestOutputTopic { driver, topic, key, value }
    }

    /// Takes the next record; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If it is no record of these types. It is taken all the same.
    pub fn read_record(&self) -> Result<Option<Record<K, V>>> {
        self.driver.take_next(&self.topic).map(|record| self.decode(record)).transpose()
    }

    /// Takes the next record without time and headers; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`TestOutputTopic::read_record`].
    pub fn read_key_value(&self) -> Result<Option<(K, V)>> {
        Ok(self.read_record()?.map(|record| (record.key, record.value)))
    }

    /// Takes all records.
    ///
    /// # Errors
    ///
    /// As [`TestOutputTopic::read_record`].
    pub fn read_records(&self) -> Result<Vec<Record<K, V>>> {
        let mut records = Vec::new();
        while let Some(record) = self.read_record()? {
            records.push(record);
        }
        Ok(records)
    }

    /// Takes all records without times and headers.
    ///
    /// # Errors
    ///
    /// As [`TestOutputTopic::read_record`].
    pub fn read_key_values(&self) -> Result<Vec<(K, V)>> {
        Ok(self.read_records()?.into_iter().map(|record| (record.key, record.value)).collect())
    }

    /// Number of records that wait to be read.
    #[must_use]
    pub fn queue_size(&self) -> usize {
        self.driver.queue_size(&self.topic)
    }

    /// True if no record waits to be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue_size() == 0
    }

    fn decode(&self, record: ProducedRecord) -> Result<Record<K, V>> {
        let refused = |part: &str, error: SerdeError| {
            Error::IllegalState(format!("{}: the {part} is no value of the output topic's type: {error}", self.topic))
        };
        let key = self.key.deserialize(record.key.as_deref()).map_err(|error| refused("key", error))?;
        let value = self.value.deserialize(record.value.as_deref()).map_err(|error| refused("value", error))?;
        Ok(Record { key, value, timestamp: record.timestamp, headers: record.headers })
    }
}
