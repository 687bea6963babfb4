//! Operations on tables.

use streams_core::Error;
use streams_dsl::prelude::*;

use super::{
    Key, Node, Op, Program, Shown, named, named_or_not, node::on_any_table, predicate, store, store_and_name, stream,
};
use crate::functions::Text;

pub(super) fn apply(program: &mut Program, op: Op<'_>) -> Result<(), Error> {
    let node = match op.need("op") {
        "table" => {
            let store = store(op)?.unwrap_or_default();
            Node::Table(program.builder.table_with(op.need("topic"), stream::consumed(op), store))
        }
        "global_table" => {
            let store = store(op)?.unwrap_or_default();
            Node::Global(program.builder.global_table_with(op.need("topic"), stream::consumed(op), store))
        }
        "to_table" => {
            let stream = program.stream(op, "in");
            Node::Table(match has_options(op) {
                false => stream.to_table(),
                true => stream.to_table_with(options(op)?),
            })
        }
        "to_stream" => match (program.node(op, "in"), op.has("key_fn")) {
            (Node::Table(table), false) => Node::Stream(to_stream(&table, op)),
            (Node::Table(table), true) => Node::Stream(rekeyed(&to_stream(&table, op), op)),
            (Node::WindowedTable(table), false) => Node::WindowedStream(to_stream(&table, op)),
            (Node::WindowedTable(table), true) => Node::Stream(rekeyed(&to_stream(&table, op), op)),
            (Node::Counts(table), false) => Node::CountStream(to_count_stream(&table, op)),
            (Node::Counts(table), true) => Node::CountStream(rekeyed(&to_count_stream(&table, op), op)),
            (Node::WindowedCounts(table), false) => Node::WindowedCountStream(to_count_stream(&table, op)),
            (Node::WindowedCounts(table), true) => Node::CountStream(rekeyed(&to_count_stream(&table, op), op)),
            _ => panic!("{} is no table", op.need("in")),
        },
        "suppress" => suppress(program.node(op, "in"), op)?,
        other => panic!("{other:?} is no operation on tables"),
    };
    program.keep(op, node)
}

/// Values that are null may be, so that one option is enough.
fn to_stream<K: Key>(table: &KTable<K, Text>, op: Op<'_>) -> KStream<K, Text> {
    match named(op) {
        None => table.to_stream_as(Option::flatten),
        Some(name) => table.to_stream_as_with(Option::flatten, name),
    }
}

fn to_count_stream<K: Key>(table: &KTable<K, i64>, op: Op<'_>) -> KStream<K, Option<i64>> {
    named_or_not!(op, table, to_stream, to_stream_with)
}

/// `toStream` with a mapper is two steps in one.
fn rekeyed<K: Key, V: Shown>(stream: &KStream<K, V>, op: Op<'_>) -> KStream<Text, V> {
    let mapper = K::key_function(op);
    stream.select_key(move |key, value: &V| mapper(key, value.shown().as_deref()))
}

pub(super) fn filter(node: Node, op: Op<'_>) -> Result<Node, Error> {
    Ok(on_any_table!(node, table => filter_table(&table, op)?, panic!("{} cannot be filtered", op.need("in"))))
}

fn filter_table<K: Key, V: Shown>(table: &KTable<K, V>, op: Op<'_>) -> Result<KTable<K, V>, Error> {
    Ok(match (op.need("op"), has_options(op)) {
        ("filter", false) => table.filter(predicate(op)),
        ("filter", true) => table.filter_with(predicate(op), options(op)?),
        (_, false) => table.filter_not(predicate(op)),
        (_, true) => table.filter_not_with(predicate(op), options(op)?),
    })
}

pub(super) fn has_options(op: Op<'_>) -> bool {
    named(op).is_some() || op.has("store")
}

/// A name, a store, or both.
pub(super) fn options<K, V>(op: Op<'_>) -> Result<Materialized<K, V>, Error> {
    match (op.has("store"), named(op)) {
        (false, Some(name)) => Ok(name.into()),
        _ => store_and_name(op),
    }
}

pub(super) fn map_values(node: Node, op: Op<'_>) -> Result<Node, Error> {
    Ok(match node {
        Node::Table(table) => Node::Table(map_table_values(&table, op)?),
        Node::Counts(table) => Node::Table(map_table_values(&table, op)?),
        Node::WindowedTable(table) => Node::WindowedTable(map_table_values(&table, op)?),
        Node::WindowedCounts(table) => Node::WindowedTable(map_table_values(&table, op)?),
        _ => panic!("{} has no values", op.need("in")),
    })
}

fn map_table_values<K: Key, V: Shown>(table: &KTable<K, V>, op: Op<'_>) -> Result<KTable<K, Text>, Error> {
    let mapper = stream::value_function::<K, V>(op);
    Ok(match has_options(op) {
        false => table.map_values(mapper),
        true => table.map_values_with(mapper, options(op)?),
    })
}

fn suppress(node: Node, op: Op<'_>) -> Result<Node, Error> {
    let mut buffer = match (op.count("max_records"), op.count("max_bytes")) {
        (Some(records), Some(bytes)) => BufferConfig::max_records(records).with_max_bytes(bytes),
        (Some(records), None) => BufferConfig::max_records(records),
        (None, Some(bytes)) => BufferConfig::max_bytes(bytes),
        (None, None) => BufferConfig::unbounded(),
    };
    if op.has("max_records") || op.has("max_bytes") {
        buffer = match op.text("full") {
            Some("shutdown") => buffer.shut_down_when_full(),
            _ => buffer.emit_early_when_full(),
        };
    }
    if op.flag("logging") == Some(false) {
        buffer = buffer.with_logging_disabled();
    }
    let until_close = op.need("mode") == "window_close";
    let mut suppressed = match until_close {
        true => Suppressed::until_window_closes(buffer),
        false => Suppressed::until_time_limit(op.duration("wait_ms")?, buffer),
    };
    if let Some(name) = op.text("name") {
        suppressed = suppressed.with_name(name);
    }
    Ok(match node {
        Node::WindowedTable(table) if until_close => {
            Node::WindowedTable(table.suppress_until_window_closes(suppressed))
        }
        Node::WindowedCounts(table) if until_close => {
            Node::WindowedCounts(table.suppress_until_window_closes(suppressed))
        }
        node => on_any_table!(node, table => table.suppress(suppressed), panic!("{} is no table", op.need("in"))),
    })
}
