//! Keeps the records of one side for those of the other.

use std::sync::Arc;

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    serde::Data,
    state::{TimestampedWindowStore, ValueAndTimestamp},
    topology::Topology,
};

use super::stores::WindowSpec;
use crate::graph::{Write, lower::Wiring};

pub(super) struct KeepInWindow<K, V> {
    name: Arc<str>,
    store: Option<StoreHandle<TimestampedWindowStore<K, V>>>,
}

impl KeepInWindow<(), ()> {
    /// Writes the node and its store.
    pub(super) fn write<K: Data, V: Data>(spec: Arc<WindowSpec<K, V>>) -> Write {
        Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let name: Arc<str> = spec.name().into();
            topology
                .add_processor::<_, K, V, K, V>(wiring.name(), wiring.parents(), move || KeepInWindow {
                    name: Arc::clone(&name),
                    store: None,
                })
                .add_state_store(spec.build(wiring), &[wiring.name()]);
        })
    }
}

impl<K: Data, V: Data> Processor<K, V, K, V> for KeepInWindow<K, V> {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        self.store = Some(ctx.store_handle(&self.name)?);
        Ok(())
    }

    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        // The record looks for others before others can find it.
        ctx.forward(record.clone())?;
        let Record { key, value, timestamp, headers } = record;
        if key.is_null() {
            return Ok(());
        }
        let store = ctx.store(self.store.expect("found when the processor was initialised"));
        if value.is_null() {
            // Nothing is kept, but a sequence number goes by and the changelog sees the key, as in Kafka Streams.
            store.delete(&key, timestamp)?;
        } else {
            store.put(&key, timestamp, ValueAndTimestamp { value, timestamp, headers })?;
        }
        Ok(())
    }
}
