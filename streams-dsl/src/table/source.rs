//! Tables read from a topic or a stream.

use std::{collections::BTreeSet, sync::Arc};

use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::{Data, Encoded, Serde, SerdeError, SharedSerde},
    time::{Extractable, TimestampExtractor},
    topology::{Source, Topology},
};

use super::{
    KTable, View,
    materialize::{Kept, StoreSpec, serde_or_default},
    not_null,
};
use crate::{
    graph::{
        Graph, GraphNode, Place, SharedGraph, Step, TableKind,
        lower::Wiring,
        naming::{self, Given},
    },
    options::{Consumed, Materialized},
    stream::Field,
};

pub(crate) const TABLE_SOURCE: &str = "KTABLE-SOURCE-";

/// A table that reads `topic`.
pub(crate) fn table_of_topic<K: Data, V: Data>(
    graph: &SharedGraph,
    topic: String,
    consumed: Consumed<K, V>,
    materialized: Materialized<K, V>,
) -> KTable<K, V> {
    let mut materialized = materialized;
    // What the topic holds is what the store holds.
    materialized.key_serde = consumed.key_serde.clone().or(materialized.key_serde);
    materialized.value_serde = consumed.value_serde.clone().or(materialized.value_serde);
    let consumed = Consumed {
        key_serde: materialized.key_serde.clone(),
        value_serde: materialized.value_serde.clone(),
        ..consumed
    };
    let (key_serde, value_serde) = (consumed.key_serde.clone(), consumed.value_serde.clone());
    let mut locked = graph.lock();
    let is_named = materialized.store_name.is_some();
    let history = materialized.history();
    let store = materialized.store_name(&mut locked, &format!("{topic}-"));
    let (source, name) = source_names(&mut locked, consumed.name.clone());
    let spec = StoreSpec::new(store.clone(), materialized);
    let source_name = source.clone();
    let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let spec = spec.clone();
        topology.add_source(nullable_source(&source_name, &topic, &consumed));
        let store = wiring.is_materialized().then(|| Arc::<str>::from(spec.name.as_str()));
        let sends_old_values = wiring.sends_old_values();
        let kept_in = store.clone();
        topology.add_processor(wiring.name(), &[&source_name], move || {
            TableSource::<K, V>::new(kept_in.as_deref(), sends_old_values)
        });
        if store.is_some() {
            let source_topic = wiring.reuses_source_topic().then_some(&*topic);
            topology.add_state_store(spec.build(wiring, source_topic), &[wiring.name()]);
        }
    });
    let node = GraphNode::new(name.clone(), Step::TableSource, write)
        .table(TableKind::Source { is_named })
        .versioned(Some(history.is_some()));
    let id = locked.add(node, &[Graph::ROOT]);
    drop(locked);
    let place =
        Place { graph: graph.clone(), node: id, name: name.into(), sources: Arc::new(BTreeSet::from([source])) };
    KTable::new(place, key_serde, value_serde, is_named.then(|| store.clone()), View::of_store(&store, history))
}

/// Names of a table's source node and of its processor.
pub(crate) fn source_names(graph: &mut Graph, name: Option<String>) -> (String, String) {
    let name = Given(name);
    let source = name.suffixed_or_generate(graph, "-source", naming::SOURCE);
    (source, name.or_generate(graph, TABLE_SOURCE))
}

/// A source whose null values are deletions.
pub(crate) fn nullable_source<K: Data, V: Data>(
    name: &str,
    topic: &str,
    consumed: &Consumed<K, V>,
) -> Source<K, Option<V>> {
    let key = serde_or_default(consumed.key_serde.as_ref());
    let value: SharedSerde<Option<V>> = Arc::new(Nullable(serde_or_default(consumed.value_serde.as_ref())));
    let source =
        Source::with_serdes(name, topic, key, value).with_timestamp_extractor(of_nullable(&consumed.extractor));
    match consumed.reset {
        Some(reset) => source.with_offset_reset(reset),
        None => source,
    }
}

/// The extractor for values that may be deletions: a deletion has the time of its own record.
fn of_nullable<K: Field, V: Field>(extractor: &TimestampExtractor<K, V>) -> TimestampExtractor<K, Option<V>> {
    match extractor {
        TimestampExtractor::FailOnInvalidTimestamp => TimestampExtractor::FailOnInvalidTimestamp,
        TimestampExtractor::LogAndSkipOnInvalidTimestamp => TimestampExtractor::LogAndSkipOnInvalidTimestamp,
        TimestampExtractor::UsePartitionTimeOnInvalidTimestamp => {
            TimestampExtractor::UsePartitionTimeOnInvalidTimestamp
        }
        TimestampExtractor::WallclockTimestampExtractor => TimestampExtractor::WallclockTimestampExtractor,
        TimestampExtractor::Custom(extract) => {
            let extract = Arc::clone(extract);
            TimestampExtractor::custom(move |record: &Extractable<'_, K, Option<V>>| match record.value {
                None => record.timestamp,
                Some(value) => extract(&Extractable {
                    key: record.key,
                    value,
                    timestamp: record.timestamp,
                    partition_time: record.partition_time,
                    wall_clock_time: record.wall_clock_time,
                }),
            })
        }
    }
}

/// A serde of values that may be null.
pub(crate) struct Nullable<V>(pub(crate) SharedSerde<V>);

impl<V: Data> Serde<Option<V>> for Nullable<V> {
    #[inline]
    fn serialize(&self, value: &Option<V>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        match value {
            Some(value) => self.0.serialize(value, out),
            None => Ok(Encoded::Null),
        }
    }

    #[inline]
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Option<V>, SerdeError> {
        match bytes {
            Some(bytes) => self.0.deserialize(Some(bytes)).map(Some),
            None => Ok(None),
        }
    }
}

/// Turns records into updates of a table, and keeps the table if somebody needs it.
pub(crate) struct TableSource<K, V> {
    kept: Option<Kept<K, V>>,
}

impl<K: Data, V: Data> TableSource<K, V> {
    pub(crate) fn new(store: Option<&str>, sends_old_values: bool) -> Self {
        TableSource { kept: store.map(|name| Kept::new(name, sends_old_values)) }
    }

    fn update(&mut self, record: Record<K, Option<V>>, ctx: &mut ProcessorContext<'_, K, Change<V>>) -> ProcessResult {
        if record.key.is_null() {
            ctx.drop_record("null key");
            return Ok(());
        }
        let Record { key, value, timestamp, headers } = record;
        let new = value.and_then(not_null);
        let Some(kept) = &self.kept else {
            return ctx.forward(Record { key, value: Change::new(new, None), timestamp, headers });
        };
        let old = match kept.sends_old_values() && !kept.is_caching() {
            true => kept.store().get(ctx, &key)?.map(|row| row.value),
            false => None,
        };
        kept.put(ctx, Record { key, value: Change::new(new, old), timestamp, headers })
    }
}

impl<K: Data, V: Data> Processor<K, Option<V>, K, Change<V>> for TableSource<K, V> {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Change<V>>) -> ProcessResult {
        self.kept.as_mut().map_or(Ok(()), |kept| kept.init(ctx))
    }

    fn process(&mut self, record: Record<K, Option<V>>, ctx: &mut ProcessorContext<'_, K, Change<V>>) -> ProcessResult {
        self.update(record, ctx)
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, K, Change<V>>) -> ProcessResult {
        self.kept.as_ref().map_or(Ok(()), |kept| kept.flush(ctx))
    }
}

/// The same for the records of a stream.
pub(crate) struct StreamToTable<K, V>(pub(crate) TableSource<K, V>);

impl<K: Data, V: Data> Processor<K, V, K, Change<V>> for StreamToTable<K, V> {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Change<V>>) -> ProcessResult {
        self.0.init(ctx)
    }

    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, Change<V>>) -> ProcessResult {
        let Record { key, value, timestamp, headers } = record;
        self.0.update(Record { key, value: Some(value), timestamp, headers }, ctx)
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, K, Change<V>>) -> ProcessResult {
        self.0.flush(ctx)
    }
}
