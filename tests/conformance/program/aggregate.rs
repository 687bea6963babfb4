//! Grouping, windowing and aggregating.

use streams_core::Error;
use streams_dsl::prelude::*;

use super::{
    Key, Node, Op, Program, Shown, key_function, store_and_name,
    windows::{AnyWindows, emit_strategy, windows},
};
use crate::functions::{self, Text};

pub(super) fn apply(program: &mut Program, op: Op<'_>) -> Result<(), Error> {
    let node = match op.need("op") {
        "group_by_key" => Node::Grouped(program.stream(op, "in").group_by_key_with(grouped(op))),
        "group_by" => {
            let mapper = key_function(op);
            let mapper = move |key: &Text, value: &Text| mapper(key.as_deref(), value.as_deref());
            Node::Grouped(program.stream(op, "in").group_by_with(mapper, grouped(op)))
        }
        "group_table" => match program.node(op, "in") {
            Node::Table(table) => Node::GroupedTable(group_table(&table, op)),
            Node::WindowedTable(table) => Node::GroupedTable(group_table(&table, op)),
            _ => panic!("{} is no table of texts", op.need("in")),
        },
        "windowed_by" => windowed_by(program, op)?,
        "count" => match program.node(op, "in") {
            Node::Grouped(grouped) => Node::Counts(grouped.count_with(store_and_name(op)?)),
            Node::GroupedTable(grouped) => Node::Counts(grouped.count_with(store_and_name(op)?)),
            Node::TimeWindowed(windowed) => Node::WindowedCounts(windowed.count_with(store_and_name(op)?)),
            Node::SessionWindowed(windowed) => Node::WindowedCounts(windowed.count_with(store_and_name(op)?)),
            _ => not_grouped(op),
        },
        "reduce" => {
            let next = |field| reducer(op, field);
            match program.node(op, "in") {
                Node::Grouped(grouped) => Node::Table(grouped.reduce_with(next("reducer"), store_and_name(op)?)),
                Node::GroupedTable(grouped) => {
                    Node::Table(grouped.reduce_with(next("adder"), next("subtractor"), store_and_name(op)?))
                }
                Node::TimeWindowed(windowed) => {
                    Node::WindowedTable(windowed.reduce_with(next("reducer"), store_and_name(op)?))
                }
                Node::SessionWindowed(windowed) => {
                    Node::WindowedTable(windowed.reduce_with(next("reducer"), store_and_name(op)?))
                }
                _ => not_grouped(op),
            }
        }
        "aggregate" => {
            let (first, next) = (initializer(op), |field| aggregator(op, field));
            match program.node(op, "in") {
                Node::Grouped(grouped) => Node::Table(grouped.aggregate_with(first, next("agg"), store_and_name(op)?)),
                Node::GroupedTable(grouped) => {
                    Node::Table(grouped.aggregate_with(first, next("adder"), next("subtractor"), store_and_name(op)?))
                }
                Node::TimeWindowed(windowed) => {
                    Node::WindowedTable(windowed.aggregate_with(first, next("agg"), store_and_name(op)?))
                }
                Node::SessionWindowed(windowed) => {
                    Node::WindowedTable(windowed.aggregate_with(first, next("agg"), merger(op), store_and_name(op)?))
                }
                _ => not_grouped(op),
            }
        }
        "cogroup" => cogroup(program, op)?,
        other => panic!("{other:?} is no aggregation"),
    };
    program.keep(op, node)
}

fn not_grouped(op: Op<'_>) -> ! {
    panic!("{} is not grouped", op.need("in"))
}

fn group_table<K: Key>(table: &KTable<K, Text>, op: Op<'_>) -> KGroupedTable<Text, Text> {
    let (key, value) = (K::key_function(op), functions::value(op.need("value_fn")));
    let both = move |k: &K, v: &Text| {
        let v = v.shown();
        (key(k, v.as_deref()), value(k.inner(), v.as_deref()))
    };
    table.group_by_with(both, grouped(op))
}

fn windowed_by(program: &Program, op: Op<'_>) -> Result<Node, Error> {
    let Node::Grouped(grouped) = program.node(op, "in") else { not_grouped(op) };
    let windowed = match windows(op.part("window").expect("windows"))? {
        AnyWindows::Session(windows) => {
            let windowed = grouped.windowed_by(windows);
            return Ok(Node::SessionWindowed(match emit_strategy(op) {
                Some(emit) => windowed.emit_strategy(emit),
                None => windowed,
            }));
        }
        AnyWindows::Time(windows) => grouped.windowed_by(windows),
        AnyWindows::Sliding(windows) => grouped.windowed_by(windows),
        AnyWindows::Unlimited(windows) => grouped.windowed_by(windows),
    };
    Ok(Node::TimeWindowed(match emit_strategy(op) {
        Some(emit) => windowed.emit_strategy(emit),
        None => windowed,
    }))
}

fn cogroup(program: &Program, op: Op<'_>) -> Result<Node, Error> {
    let mut cogrouped: Option<CogroupedKStream<Text, Text>> = None;
    for input in op.parts("inputs") {
        let Node::Grouped(grouped) = program.node(input, "in") else { not_grouped(input) };
        let next = aggregator(input, "agg");
        cogrouped = Some(match cogrouped {
            None => grouped.cogroup(next),
            Some(cogrouped) => cogrouped.cogroup(&grouped, next),
        });
    }
    let cogrouped = cogrouped.expect("a cogroup has inputs");
    let first = initializer(op);
    let Some(window) = op.part("window") else {
        return Ok(Node::Table(cogrouped.aggregate_with(first, store_and_name(op)?)));
    };
    let windowed = match windows(window)? {
        AnyWindows::Session(windows) => {
            let windowed = cogrouped.windowed_by(windows);
            return Ok(Node::WindowedTable(windowed.aggregate_with(first, merger(op), store_and_name(op)?)));
        }
        AnyWindows::Time(windows) => cogrouped.windowed_by(windows),
        AnyWindows::Sliding(windows) => cogrouped.windowed_by(windows),
        AnyWindows::Unlimited(windows) => cogrouped.windowed_by(windows),
    };
    Ok(Node::WindowedTable(windowed.aggregate_with(first, store_and_name(op)?)))
}

fn grouped(op: Op<'_>) -> Grouped<Text, Text> {
    match op.text("name") {
        Some(name) => Grouped::new().with_name(name),
        None => Grouped::new(),
    }
}

fn initializer(op: Op<'_>) -> impl Fn() -> Text + Send + Sync + 'static {
    let first = functions::initializer(op.need("init"));
    move || first.clone()
}

fn aggregator(op: Op<'_>, field: &str) -> impl Fn(&Text, &Text, Text) -> Text + Send + Sync + 'static {
    let next = functions::aggregator(op.need(field));
    move |key, value, aggregate| next(key.as_deref(), value.as_deref(), aggregate.as_deref())
}

fn reducer(op: Op<'_>, field: &str) -> impl Fn(Text, Text) -> Text + Send + Sync + 'static {
    let next = functions::reducer(op.need(field));
    move |old, value| next(old.as_deref(), value.as_deref())
}

fn merger(op: Op<'_>) -> impl Fn(&Text, Text, Text) -> Text + Send + Sync + 'static {
    let merge = functions::merger(op.need("merger"));
    move |_, one, other| merge(one.as_deref(), other.as_deref())
}
