//! Operations on tables.

use streams_dsl::prelude::*;

use super::{Key, Node, Op, Program, Shown, named, named_or_not, predicate, store, store_and_name, stream};
use crate::functions::Text;

pub(super) fn apply(program: &mut Program, op: Op<'_>) {
    match op.need("op") {
        "table" => {
            let table =
                program.builder.table_with(op.need("topic"), stream::consumed(op), store(op).unwrap_or_default());
            program.keep(op, Node::Table(table));
        }
        "to_stream" => {
            let node = match program.node(op, "in") {
                Node::Table(table) => Node::Stream(rekeyed(to_stream(&table, op), op)),
                Node::Counts(table) => {
                    Node::CountStream(rekeyed(named_or_not!(op, table, to_stream, to_stream_with), op))
                }
                _ => panic!("{} is no table", op.need("in")),
            };
            program.keep(op, node);
        }
        other => panic!("{other:?} is no operation on tables"),
    }
}

/// Values that are null may be, so that one option is enough.
fn to_stream<K: Key>(table: &KTable<K, Text>, op: Op<'_>) -> KStream<K, Text> {
    match named(op) {
        None => table.to_stream_as(Option::flatten),
        Some(name) => table.to_stream_as_with(Option::flatten, name),
    }
}

/// `toStream` with a mapper is two steps in one.
fn rekeyed<V: Shown>(stream: KStream<Text, V>, op: Op<'_>) -> KStream<Text, V> {
    match op.has("key_fn") {
        false => stream,
        true => {
            let mapper = Text::key_function(op);
            stream.select_key(move |key, value: &V| mapper(key, value.shown().as_deref()))
        }
    }
}

pub(super) fn filter(table: Node, op: Op<'_>) -> Node {
    match table {
        Node::Table(table) => Node::Table(filter_table(&table, op)),
        Node::Counts(table) => Node::Counts(filter_table(&table, op)),
        _ => panic!("{} cannot be filtered", op.need("in")),
    }
}

fn filter_table<K: Key, V: Shown>(table: &KTable<K, V>, op: Op<'_>) -> KTable<K, V> {
    match (op.need("op"), named(op).is_some() || op.has("store")) {
        ("filter", false) => table.filter(predicate(op)),
        ("filter", true) => table.filter_with(predicate(op), options(op)),
        (_, false) => table.filter_not(predicate(op)),
        (_, true) => table.filter_not_with(predicate(op), options(op)),
    }
}

/// A name, a store, or both.
fn options<K, V>(op: Op<'_>) -> Materialized<K, V> {
    match (op.has("store"), named(op)) {
        (false, Some(name)) => name.into(),
        _ => store_and_name(op),
    }
}

pub(super) fn map_values(table: Node, op: Op<'_>) -> Node {
    match table {
        Node::Table(table) => Node::Table(map_table_values(&table, op)),
        Node::Counts(table) => Node::Table(map_table_values(&table, op)),
        _ => panic!("{} has no values", op.need("in")),
    }
}

fn map_table_values<K: Key, V: Shown>(table: &KTable<K, V>, op: Op<'_>) -> KTable<K, Text> {
    let mapper = stream::value_function::<K, V>(op);
    match named(op).is_some() || op.has("store") {
        false => table.map_values(mapper),
        true => table.map_values_with(mapper, options(op)),
    }
}
