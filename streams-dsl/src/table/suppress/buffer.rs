//! The buffer: updates that are held back, ordered by the time from which they wait. In memory, restored from its
//! changelog.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    path::PathBuf,
    sync::Arc,
};

use log_store::{Headers, HeadersView, NO_TIMESTAMP, Offset, RecordView};
use streams_core::{
    Error, Record, Result,
    processor::ProcessResult,
    serde::{Data, Encoded, SerdeError, SharedSerde},
    state::{Changelog, ChangelogCleanup, ChangelogSink, StateStore, StoreBuilder, StoreContext},
};

use super::row::{Row, Values, decode};
use crate::{
    buffer::{RecordContext, header},
    graph::lower::Wiring,
    options::BufferConfig,
};

/// What a buffer is to be.
pub(super) struct BufferSpec<K, V> {
    name: String,
    serdes: Serdes<K, V>,
    counts_bytes: bool,
    changelog: Changelog,
}

struct Serdes<K, V> {
    key: SharedSerde<K>,
    value: SharedSerde<V>,
}

impl<K, V> Clone for Serdes<K, V> {
    fn clone(&self) -> Self {
        Serdes { key: Arc::clone(&self.key), value: Arc::clone(&self.value) }
    }
}

impl<K: Data, V: Data> BufferSpec<K, V> {
    pub(super) fn new(name: String, key: SharedSerde<K>, value: SharedSerde<V>, config: &BufferConfig) -> Arc<Self> {
        let changelog = match &config.logging {
            Some(config) => Changelog::Topic { cleanup: ChangelogCleanup::Compact, config: config.clone() },
            None => Changelog::Disabled,
        };
        let counts_bytes = config.bytes_max.is_some();
        Arc::new(BufferSpec { name, serdes: Serdes { key, value }, counts_bytes, changelog })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn build(self: &Arc<Self>, wiring: &Wiring<'_>) -> Arc<dyn StoreBuilder> {
        wiring.store(self, || Arc::new(BufferBuilder(Arc::clone(self))))
    }
}

struct BufferBuilder<K, V>(Arc<BufferSpec<K, V>>);

impl<K: Data, V: Data> StoreBuilder for BufferBuilder<K, V> {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn changelog(&self) -> &Changelog {
        &self.0.changelog
    }

    fn is_persistent(&self) -> bool {
        false
    }

    fn is_caching(&self) -> bool {
        false
    }

    fn build(&self, _context: &StoreContext) -> Result<Box<dyn StateStore>> {
        Ok(Box::new(SuppressBuffer {
            name: self.0.name.clone(),
            serdes: self.0.serdes.clone(),
            counts_bytes: self.0.counts_bytes,
            is_logged: self.0.changelog != Changelog::Disabled,
            rows: BTreeMap::new(),
            times: HashMap::new(),
            leaving: None,
            undo: HashMap::new(),
            bytes: 0,
        }))
    }
}

/// Serialised key of a row, and the time from which it waits.
type Waiting<K, V> = Option<(i64, Row<K, V>)>;

/// Updates of one task that are held back.
pub(super) struct SuppressBuffer<K, V> {
    name: String,
    serdes: Serdes<K, V>,
    counts_bytes: bool,
    is_logged: bool,
    /// By the time from which they wait, then by serialised key.
    rows: BTreeMap<(i64, Vec<u8>), Row<K, V>>,
    /// The time from which the update of each key waits.
    times: HashMap<Vec<u8>, i64>,
    /// Serialised key of the update that is being passed on, and what those after the buffer knew before.
    leaving: Option<(Vec<u8>, Option<V>)>,
    /// What the keys touched since the last commit were then: for the changelog, and for going back.
    undo: HashMap<Vec<u8>, Waiting<K, V>>,
    bytes: u64,
}

impl<K: Data, V: Data> SuppressBuffer<K, V> {
    fn key_bytes(&self, key: &K) -> Result<Vec<u8>, SerdeError> {
        let mut bytes = Vec::new();
        if self.serdes.key.serialize(key, &mut bytes)? == Encoded::Null {
            return Err(SerdeError::new("an update with a null key cannot be held back"));
        }
        Ok(bytes)
    }

    /// Holds an update back: from `time` on, unless one of its key waits already, whose place it takes.
    pub(super) fn put(
        &mut self,
        time: i64,
        record: Record<K, streams_core::Change<V>>,
        context: RecordContext,
    ) -> ProcessResult {
        let key = self.key_bytes(&record.key)?;
        let time = self.times.get(&key).copied().unwrap_or(time);
        let before = self.rows.get(&(time, key.clone())).cloned();
        let prior = match &before {
            Some(row) => row.prior.clone(),
            None => record.value.old.clone(),
        };
        let mut row = Row { key: record.key, prior, change: record.value, context, bytes: 0 };
        if self.counts_bytes {
            row.bytes = Values::of(&row, &self.serdes.value)?.counted_bytes(&key, &row.context);
        }
        self.undo.entry(key.clone()).or_insert_with(|| before.map(|row| (time, row)));
        self.place(time, key, row);
        Ok(())
    }

    fn place(&mut self, time: i64, key: Vec<u8>, row: Row<K, V>) {
        self.bytes += row.bytes;
        self.times.insert(key.clone(), time);
        match self.rows.entry((time, key)) {
            Entry::Occupied(mut known) => self.bytes -= known.insert(row).bytes,
            Entry::Vacant(free) => {
                free.insert(row);
            }
        }
    }

    fn remove(&mut self, key: &[u8]) -> Waiting<K, V> {
        let time = self.times.remove(key)?;
        let row = self.rows.remove(&(time, key.to_vec()))?;
        self.bytes -= row.bytes;
        Some((time, row))
    }

    /// The time from which the first update waits.
    pub(super) fn first_time(&self) -> Option<i64> {
        self.rows.first_key_value().map(|((time, _), _)| *time)
    }

    /// Takes the update out that has waited longest. Until it has [left](Self::left), lookups find what was known before.
    pub(super) fn pop(&mut self) -> Option<Row<K, V>> {
        let ((time, key), row) = self.rows.pop_first()?;
        self.times.remove(&key);
        self.bytes -= row.bytes;
        self.leaving = Some((key.clone(), row.prior.clone()));
        self.undo.entry(key).or_insert_with(|| Some((time, row.clone())));
        Some(row)
    }

    /// All after the buffer know the update that was taken out.
    pub(super) fn left(&mut self) {
        self.leaving = None;
    }

    /// Number of keys that wait.
    pub(super) fn records(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Bytes that wait, if they are counted.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The value that those after the buffer know of `key`, if an update of it waits.
    pub(super) fn prior(&self, key: &K) -> Result<Option<Option<V>>, SerdeError> {
        let key = self.key_bytes(key)?;
        if let Some((leaving, prior)) = &self.leaving
            && *leaving == key
        {
            return Ok(Some(prior.clone()));
        }
        let Some(time) = self.times.get(&key) else { return Ok(None) };
        Ok(self.rows.get(&(*time, key)).map(|row| row.prior.clone()))
    }

    fn error(&self, reason: &SerdeError) -> Error {
        Error::Store { store: self.name.clone(), directory: PathBuf::new(), reason: reason.to_string() }
    }
}

impl<K: Data, V: Data> StateStore for SuppressBuffer<K, V> {
    fn name(&self) -> &str {
        &self.name
    }

    fn dirty_bytes(&self) -> usize {
        self.undo.len() * size_of::<Row<K, V>>()
    }

    fn write_changelog(&mut self, sink: &mut dyn ChangelogSink) -> Result<()> {
        if !self.is_logged {
            return Ok(());
        }
        // Version 3 of Kafka Streams' format.
        let version: Headers = [header("v", &[3])].into_iter().collect();
        let mut bytes = Vec::new();
        for key in self.undo.keys() {
            let waiting = self.times.get(key).and_then(|time| Some((*time, self.rows.get(&(*time, key.clone()))?)));
            match waiting {
                None => sink.log(key, None, NO_TIMESTAMP, HeadersView::EMPTY)?,
                Some((time, row)) => {
                    bytes.clear();
                    Values::of(row, &self.serdes.value)
                        .and_then(|values| values.encode(&row.context, time, &mut bytes))
                        .map_err(|reason| self.error(&reason))?;
                    sink.log(key, Some(&bytes), NO_TIMESTAMP, HeadersView::from(&version))?;
                }
            }
        }
        Ok(())
    }

    fn committed(&mut self, _changelog_end: Option<Offset>) -> Result<()> {
        self.undo.clear();
        Ok(())
    }

    fn rollback(&mut self) -> Result<()> {
        self.leaving = None;
        for (key, before) in std::mem::take(&mut self.undo) {
            self.remove(&key);
            if let Some((time, row)) = before {
                self.place(time, key, row);
            }
        }
        Ok(())
    }

    fn checkpoint(&self) -> Option<Offset> {
        None
    }

    fn restore(&mut self, _offset: Offset, record: RecordView<'_>) -> Result<()> {
        let Some(key_bytes) = record.key else { return Ok(()) };
        self.remove(key_bytes);
        let Some(value) = record.value else { return Ok(()) };
        let read = self.serdes.key.deserialize(Some(key_bytes));
        let read = read.and_then(|key| decode(key, value, &self.serdes.value)).and_then(|(time, mut row)| {
            if self.counts_bytes {
                row.bytes = Values::of(&row, &self.serdes.value)?.counted_bytes(key_bytes, &row.context);
            }
            Ok((time, row))
        });
        let (time, row) = read.map_err(|reason| self.error(&reason))?;
        self.place(time, key_bytes.to_vec(), row);
        Ok(())
    }

    fn restored(&mut self, _next: Offset) -> Result<()> {
        Ok(())
    }

    fn reset(&mut self, _reason: &str) -> Result<()> {
        self.rows.clear();
        self.times.clear();
        self.leaving = None;
        self.undo.clear();
        self.bytes = 0;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
