//! Joins.

use std::{sync::Arc, time::Duration};

use streams_core::Error;
use streams_dsl::prelude::*;

use super::{
    Key, Node, Op, Program, key_function, named_or_not, store,
    table::{has_options, options},
};
use crate::functions::{self, Fn3, Text};

pub(super) fn apply(program: &mut Program, op: Op<'_>) -> Result<(), Error> {
    let node = match op.need("op") {
        "stream_stream_join" => Node::Stream(stream_stream(program, op)?),
        "stream_table_join" => Node::Stream(stream_table(program, op)?),
        "stream_global_join" => Node::Stream(stream_global(program, op)),
        "table_table_join" => match (program.node(op, "in"), program.node(op, "other")) {
            (Node::Table(one), Node::Table(other)) => Node::Table(table_table(&one, &other, op)?),
            (Node::WindowedTable(one), Node::WindowedTable(other)) => {
                Node::WindowedTable(table_table(&one, &other, op)?)
            }
            _ => panic!("these cannot be joined"),
        },
        "fk_join" => Node::Table(foreign_key(program, op)?),
        other => panic!("{other:?} is no join"),
    };
    program.keep(op, node)
}

fn joiner(op: Op<'_>) -> Fn3 {
    functions::joiner(op.need("joiner"))
}

/// A joiner of two values that are there.
fn both<K: Key>(joiner: Fn3) -> impl Fn(&K, &Text, &Text) -> Text + Send + Sync + 'static {
    move |key, left, right| joiner(key.inner(), left.as_deref(), right.as_deref())
}

/// A joiner whose right value may be missing.
fn left<K: Key>(joiner: Fn3) -> impl Fn(&K, &Text, Option<&Text>) -> Text + Send + Sync + 'static {
    move |key, left, right| joiner(key.inner(), left.as_deref(), right.and_then(Option::as_deref))
}

/// A joiner either of whose values may be missing.
fn outer<K: Key>(joiner: Fn3) -> impl Fn(&K, Option<&Text>, Option<&Text>) -> Text + Send + Sync + 'static {
    move |key, left, right| joiner(key.inner(), left.and_then(Option::as_deref), right.and_then(Option::as_deref))
}

fn stream_stream(program: &Program, op: Op<'_>) -> Result<KStream<Text, Text>, Error> {
    let (one, other) = (program.stream(op, "in"), program.stream(op, "other"));
    let window = op.part("window").expect("a window");
    let (before, after) = (window.number("before_ms"), window.number("after_ms"));
    let difference = Duration::from_millis(before.unsigned_abs().max(after.unsigned_abs()));
    let windows = match window.has("grace_ms") {
        true => JoinWindows::of_time_difference_and_grace(difference, window.duration("grace_ms")?),
        false => JoinWindows::of_time_difference_with_no_grace(difference),
    };
    let windows = windows.before_ms(before).after_ms(after);
    let mut joined = StreamJoined::new();
    if let Some(name) = op.text("name") {
        joined = joined.with_name(name);
    }
    if let Some(name) = op.text("store_name") {
        joined = joined.with_store_name(name);
    }
    if op.text("store_type") == Some("in_memory") {
        joined = joined.with_store_type(StoreType::InMemory);
    }
    if op.flag("logging") == Some(false) {
        joined = joined.with_logging_disabled();
    }
    Ok(match op.need("kind") {
        "inner" => one.join_with(&other, both(joiner(op)), windows, joined),
        "left" => one.left_join_with(&other, left(joiner(op)), windows, joined),
        "outer" => one.outer_join_with(&other, outer(joiner(op)), windows, joined),
        kind => panic!("unknown kind {kind:?}"),
    })
}

fn stream_table(program: &Program, op: Op<'_>) -> Result<KStream<Text, Text>, Error> {
    let (stream, table) = (program.stream(op, "in"), program.table(op, "other"));
    let mut joined = Joined::new();
    if let Some(name) = op.text("name") {
        joined = joined.with_name(name);
    }
    if op.has("grace_ms") {
        joined = joined.with_grace_period(op.duration("grace_ms")?);
    }
    Ok(match op.need("kind") {
        "inner" => stream.join_table_with(&table, both(joiner(op)), joined),
        _ => stream.left_join_table_with(&table, left(joiner(op)), joined),
    })
}

fn stream_global(program: &Program, op: Op<'_>) -> KStream<Text, Text> {
    let stream = program.stream(op, "in");
    let Node::Global(table) = program.node(op, "other") else { panic!("{} is no global table", op.need("other")) };
    let mapper = key_function(op);
    let mapper = move |key: &Text, value: &Text| mapper(key.as_deref(), value.as_deref());
    match op.need("kind") {
        "inner" => named_or_not!(op, stream, join_global, join_global_with, &table, mapper, both(joiner(op))),
        _ => named_or_not!(op, stream, left_join_global, left_join_global_with, &table, mapper, left(joiner(op))),
    }
}

fn table_table<K: Key>(one: &KTable<K, Text>, other: &KTable<K, Text>, op: Op<'_>) -> Result<KTable<K, Text>, Error> {
    // Joiners of tables see no key.
    let of_values = joiner(op);
    let of_values: Fn3 = Arc::new(move |_, l, r| of_values(None, l, r));
    Ok(match (op.need("kind"), has_options(op)) {
        ("inner", false) => one.join(other, both(of_values)),
        ("inner", true) => one.join_with(other, both(of_values), options(op)?),
        ("left", false) => one.left_join(other, left(of_values)),
        ("left", true) => one.left_join_with(other, left(of_values), options(op)?),
        ("outer", false) => one.outer_join(other, outer(of_values)),
        ("outer", true) => one.outer_join_with(other, outer(of_values), options(op)?),
        (kind, _) => panic!("unknown kind {kind:?}"),
    })
}

fn foreign_key(program: &Program, op: Op<'_>) -> Result<KTable<Text, Text>, Error> {
    let (one, other) = (program.table(op, "in"), program.table(op, "other"));
    let key = functions::foreign_key(op.need("fk"));
    let extractor = move |k: &Text, v: &Text| key(k.as_deref(), v.as_deref()).map(Some);
    let of_values = joiner(op);
    let of_values: Fn3 = Arc::new(move |_, l, r| of_values(None, l, r));
    let mut joined = TableJoined::new();
    if let Some(name) = op.text("name") {
        joined = joined.with_name(name);
    }
    if let Some(store) = store(op)? {
        joined = joined.with_materialized(store);
    }
    Ok(match op.need("kind") {
        "inner" => one.join_foreign_key_with(&other, extractor, both(of_values), joined),
        _ => one.left_join_foreign_key_with(&other, extractor, left(of_values), joined),
    })
}
