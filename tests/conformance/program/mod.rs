//! Programs: from the operations of a case to a topology, through the public DSL.
//!
//! Keys and values are texts that may be null; counts are `i64`. Functions applied to windowed keys see the inner key.

mod aggregate;
mod join;
mod node;
mod op;
mod process;
mod stream;
mod table;
mod windows;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use node::{Key, Node, Shown};
use op::Op;
use serde_json::Value;
use streams_core::{Error, state::StoreFormat};
use streams_dsl::prelude::*;

use crate::functions::{self, Fn2, Text};

/// Builds the topology of `program`.
///
/// # Errors
///
/// If it is refused.
pub(crate) fn build(program: &[Value], config: &BTreeMap<String, String>) -> Result<Topology, Error> {
    let mut described = Program {
        builder: StreamsBuilder::with_config(topology_config(config)?),
        results: BTreeMap::new(),
        added_stores: BTreeSet::new(),
    };
    for op in program {
        described.apply(Op(op))?;
    }
    described.builder.build()
}

fn topology_config(config: &BTreeMap<String, String>) -> Result<TopologyConfig, Error> {
    // The test driver of the JVM sets both throttles to 0.
    let mut built = TopologyConfig {
        emit_interval: Duration::ZERO,
        outer_join_emit_interval: Duration::ZERO,
        ..TopologyConfig::default()
    };
    let millis = |text: &str| Duration::from_millis(text.parse().expect("milliseconds"));
    for (name, value) in config {
        match name.as_str() {
            "topology.optimization" => built.optimization = value.parse()?,
            "dsl.store.format" if value == "HEADERS" => built.store_format = StoreFormat::Headers,
            "ensure.explicit.internal.resource.naming" => {
                built.ensure_explicit_internal_resource_naming = value == "true";
            }
            "__emit.interval.ms.kstreams.windowed.aggregation__" => built.emit_interval = millis(value),
            "__emit.interval.ms.kstreams.outer.join.spurious.results.fix__" => {
                built.outer_join_emit_interval = millis(value);
            }
            // A setting of the running application, not of its shape.
            "statestore.cache.max.bytes" => {}
            _ => panic!("unknown setting {name} = {value}"),
        }
    }
    Ok(built)
}

struct Program {
    builder: StreamsBuilder,
    results: BTreeMap<String, Node>,
    /// Stores that were added for processors.
    added_stores: BTreeSet<String>,
}

impl Program {
    fn apply(&mut self, op: Op<'_>) -> Result<(), Error> {
        match op.need("op") {
            "stream" | "filter" | "filter_not" | "map" | "map_values" | "flat_map" | "flat_map_values"
            | "select_key" | "peek" | "foreach" | "merge" | "split" | "repartition" | "to" => stream::apply(self, op),
            "table" | "global_table" | "to_table" | "to_stream" | "suppress" => table::apply(self, op),
            "group_by_key" | "group_by" | "group_table" | "windowed_by" | "count" | "reduce" | "aggregate"
            | "cogroup" => aggregate::apply(self, op),
            "stream_stream_join" | "stream_table_join" | "stream_global_join" | "table_table_join" | "fk_join" => {
                join::apply(self, op)
            }
            "process" | "process_values" => process::apply(self, op),
            other => panic!("unknown operation {other:?}"),
        }
    }

    fn node(&self, op: Op<'_>, field: &str) -> Node {
        let id = op.need(field);
        self.results.get(id).unwrap_or_else(|| panic!("no result is called {id:?}")).clone()
    }

    fn keep(&mut self, op: Op<'_>, node: Node) -> Result<(), Error> {
        self.results.insert(op.need("id").to_owned(), node);
        Ok(())
    }

    /// The stream of texts in `field`.
    fn stream(&self, op: Op<'_>, field: &str) -> KStream<Text, Text> {
        match self.node(op, field) {
            Node::Stream(stream) => stream,
            _ => panic!("{} is no stream of texts", op.need(field)),
        }
    }

    /// The table of texts in `field`.
    fn table(&self, op: Op<'_>, field: &str) -> KTable<Text, Text> {
        match self.node(op, field) {
            Node::Table(table) => table,
            _ => panic!("{} is no table of texts", op.need(field)),
        }
    }
}

fn named(op: Op<'_>) -> Option<Named> {
    op.text("name").map(Named::new)
}

/// Calls the plain operator, or its twin with a name.
macro_rules! named_or_not {
    ($op:expr, $receiver:expr, $plain:ident, $with:ident $(, $argument:expr)*) => {
        match $crate::program::named($op) {
            None => $receiver.$plain($($argument),*),
            Some(name) => $receiver.$with($($argument,)* name),
        }
    };
}
use named_or_not;

/// The `Materialized` of the operation's `store`; `None` where it has none.
fn store<K, V>(op: Op<'_>) -> Result<Option<Materialized<K, V>>, Error> {
    let Some(spec) = op.part("store") else { return Ok(None) };
    let mut built = match (spec.text("name"), spec.has("versioned_ms")) {
        (Some(name), true) => Materialized::versioned(name, spec.duration("versioned_ms")?),
        (Some(name), false) => Materialized::new(name),
        (None, _) => Materialized::unnamed(),
    };
    if spec.has("segment_ms") {
        built = built.with_segment_interval(spec.duration("segment_ms")?);
    }
    if spec.text("type") == Some("in_memory") {
        built = built.with_store_type(StoreType::InMemory);
    }
    built = match spec.flag("caching") {
        Some(true) => built.with_caching_enabled(),
        Some(false) => built.with_caching_disabled(),
        None => built,
    };
    if spec.flag("logging") == Some(false) {
        built = built.with_logging_disabled();
    }
    if spec.has("retention_ms") {
        built = built.with_retention(spec.duration("retention_ms")?);
    }
    Ok(Some(built))
}

/// The same where the operation has a store in any case, with the operation's name.
fn store_and_name<K, V>(op: Op<'_>) -> Result<Materialized<K, V>, Error> {
    let store = store(op)?.unwrap_or_else(Materialized::unnamed);
    Ok(match op.text("name") {
        Some(name) => store.with_processor_name(name),
        None => store,
    })
}

fn predicate<K: Key, V: Shown>(op: Op<'_>) -> impl Fn(&K, &V) -> bool + Send + Sync + 'static {
    let wanted = functions::predicate(op.need("pred"));
    move |key, value| wanted(key.inner(), value.shown().as_deref())
}

/// A function that gives a key; on windowed keys it sees the inner one.
fn key_function(op: Op<'_>) -> Fn2<Text> {
    functions::key(op.need("key_fn"))
}
