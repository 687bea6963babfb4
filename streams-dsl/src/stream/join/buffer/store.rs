//! The buffer's store: rows in a key-value store, logged without timestamps as Kafka Streams does.

use std::{any::Any, sync::Arc};

use log_store::{Headers, HeadersView, NO_TIMESTAMP, Offset, RecordView};
use streams_core::{
    Error, Result,
    processor::ProcessResult,
    serde::{Data, SharedSerde},
    state::{
        Changelog, ChangelogSink, KeyValueStore, StateStore, StoreBuilder, StoreContext, Stores, TypedStoreBuilder,
    },
};

use super::rows::{BufferedKey, BufferedRow, KeySerde, RowSerde};
use crate::{graph::lower::Wiring, stream::repartition::Serdes, table::materialize::serde_or_default};

/// What the buffer of a join is to be.
pub(in crate::stream::join) struct BufferSpec<K, V> {
    name: String,
    serdes: Serdes<K, V>,
    grace_ms: i64,
}

impl<K: Data, V: Data> BufferSpec<K, V> {
    pub(in crate::stream::join) fn new(name: String, serdes: Serdes<K, V>, grace_ms: i64) -> Arc<Self> {
        Arc::new(BufferSpec { name, serdes, grace_ms })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn grace_ms(&self) -> i64 {
        self.grace_ms
    }

    pub(super) fn key_serde(&self) -> SharedSerde<K> {
        serde_or_default(self.serdes.key.as_ref())
    }

    pub(in crate::stream::join) fn build(self: &Arc<Self>, wiring: &Wiring<'_>) -> Arc<dyn StoreBuilder> {
        wiring.store(self, || {
            let value = serde_or_default(self.serdes.value.as_ref());
            Arc::new(JoinBufferBuilder(Stores::key_value_store_builder(
                Stores::persistent_key_value_store(&*self.name),
                Arc::new(KeySerde),
                Arc::new(RowSerde(value)),
            )))
        })
    }
}

type Rows<V> = KeyValueStore<BufferedKey, BufferedRow<V>>;

/// Records of one task that wait.
pub(super) struct JoinBuffer<V> {
    pub(super) rows: Rows<V>,
}

impl<V: Data> JoinBuffer<V> {
    /// Times of the first and of the last record, if there are any.
    pub(super) fn span(&mut self) -> ProcessResult<Option<(i64, i64)>> {
        let first = self.rows.all()?.next().transpose()?;
        let last = self.rows.reverse_all()?.next().transpose()?;
        Ok(first.zip(last).map(|((first, _), (last, _))| (first.timestamp, last.timestamp)))
    }
}

struct JoinBufferBuilder<V>(TypedStoreBuilder<Rows<V>>);

impl<V: Data> StoreBuilder for JoinBufferBuilder<V> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn changelog(&self) -> &Changelog {
        self.0.changelog()
    }

    fn is_persistent(&self) -> bool {
        self.0.is_persistent()
    }

    fn is_caching(&self) -> bool {
        false
    }

    fn build(&self, context: &StoreContext) -> Result<Box<dyn StateStore>> {
        let rows: Box<dyn Any> = self.0.build(context)?;
        match rows.downcast() {
            Ok(rows) => Ok(Box::new(JoinBuffer::<V> { rows: *rows })),
            Err(_) => Err(Error::IllegalState(format!("store {} is not what was asked for", self.name()))),
        }
    }
}

impl<V: Data> StateStore for JoinBuffer<V> {
    fn name(&self) -> &str {
        self.rows.name()
    }

    fn set_record_context(&mut self, timestamp: i64, headers: &Headers) {
        self.rows.set_record_context(timestamp, headers);
    }

    fn dirty_bytes(&self) -> usize {
        self.rows.dirty_bytes()
    }

    fn needs_commit(&self) -> bool {
        self.rows.needs_commit()
    }

    fn write_changelog(&mut self, sink: &mut dyn ChangelogSink) -> Result<()> {
        self.rows.write_changelog(&mut Untimed(sink))
    }

    fn committed(&mut self, changelog_end: Option<Offset>) -> Result<()> {
        self.rows.committed(changelog_end)
    }

    fn rollback(&mut self) -> Result<()> {
        self.rows.rollback()
    }

    fn checkpoint(&self) -> Option<Offset> {
        self.rows.checkpoint()
    }

    fn restore(&mut self, offset: Offset, record: RecordView<'_>) -> Result<()> {
        self.rows.restore(offset, record)
    }

    fn restored(&mut self, next: Offset) -> Result<()> {
        self.rows.restored(next)
    }

    fn reset(&mut self, reason: &str) -> Result<()> {
        self.rows.reset(reason)
    }

    fn flush(&mut self) -> Result<()> {
        self.rows.flush()
    }

    fn close(&mut self) -> Result<()> {
        self.rows.close()
    }
}

/// Passes changelog records on without their times: those of the records are in the rows.
struct Untimed<'a>(&'a mut dyn ChangelogSink);

impl ChangelogSink for Untimed<'_> {
    fn log(&mut self, key: &[u8], value: Option<&[u8]>, _timestamp: i64, headers: HeadersView<'_>) -> Result<()> {
        self.0.log(key, value, NO_TIMESTAMP, headers)
    }
}
