//! Grouping and aggregating.

use streams_dsl::prelude::*;

use super::{Node, Op, Program, key_function, store_and_name};
use crate::functions::{self, Text};

pub(super) fn apply(program: &mut Program, op: Op<'_>) {
    let node = match op.need("op") {
        "group_by_key" => Node::Grouped(program.stream(op, "in").group_by_key_with(grouped(op))),
        "group_by" => {
            let mapper = key_function(op);
            let mapper = move |key: &Text, value: &Text| mapper(key.as_deref(), value.as_deref());
            Node::Grouped(program.stream(op, "in").group_by_with(mapper, grouped(op)))
        }
        "count" => match program.node(op, "in") {
            Node::Grouped(grouped) => Node::Counts(grouped.count_with(store_and_name(op))),
            _ => panic!("{} is not grouped", op.need("in")),
        },
        "reduce" => match program.node(op, "in") {
            Node::Grouped(grouped) => Node::Table(grouped.reduce_with(reducer(op, "reducer"), store_and_name(op))),
            _ => panic!("{} is not grouped", op.need("in")),
        },
        "aggregate" => match program.node(op, "in") {
            Node::Grouped(grouped) => {
                Node::Table(grouped.aggregate_with(initializer(op), aggregator(op, "agg"), store_and_name(op)))
            }
            _ => panic!("{} is not grouped", op.need("in")),
        },
        other => panic!("{other:?} is no aggregation"),
    };
    program.keep(op, node);
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
