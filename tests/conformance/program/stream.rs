//! Operations on streams.

use std::sync::{Arc, Mutex};

use streams_core::{
    Error,
    time::{Extractable, TimestampExtractor},
};
use streams_dsl::prelude::*;

use super::{Key, Node, Op, Program, Shown, key_function, named_or_not, node::on_any_stream, predicate, table};
use crate::functions::{self, Text};

pub(super) fn apply(program: &mut Program, op: Op<'_>) -> Result<(), Error> {
    match op.need("op") {
        "stream" => {
            let topics: Vec<String> = op.0["topics"]
                .as_array()
                .expect("topics")
                .iter()
                .map(|t| t.as_str().expect("a topic").to_owned())
                .collect();
            let stream = program.builder.stream_with(topics, consumed(op));
            program.keep(op, Node::Stream(stream))
        }
        "filter" | "filter_not" => {
            let node = on_any_stream!(program.node(op, "in"), stream => filter(&stream, op), other => table::filter(other, op)?);
            program.keep(op, node)
        }
        "map" => {
            let (key, value) = (key_function(op), functions::value(op.need("value_fn")));
            let both = move |k: Text, v: Text| {
                let (k, v) = (k.as_deref(), v.as_deref());
                (key(k, v), value(k, v))
            };
            let stream = program.stream(op, "in");
            program.keep(op, Node::Stream(named_or_not!(op, stream, map, map_with, both)))
        }
        "map_values" => {
            let node = match program.node(op, "in") {
                Node::Stream(stream) => Node::Stream(map_values(&stream, op)),
                Node::CountStream(stream) => Node::Stream(map_values(&stream, op)),
                Node::WindowedStream(stream) => Node::WindowedStream(map_values(&stream, op)),
                Node::WindowedCountStream(stream) => Node::WindowedStream(map_values(&stream, op)),
                other => table::map_values(other, op)?,
            };
            program.keep(op, node)
        }
        "flat_map" => {
            let several = functions::flat_map(op.need("fn"));
            let several = move |k: Text, v: Text| several(k.as_deref(), v.as_deref());
            let stream = program.stream(op, "in");
            program.keep(op, Node::Stream(named_or_not!(op, stream, flat_map, flat_map_with, several)))
        }
        "flat_map_values" => {
            let several = functions::flat_map_values(op.need("fn"));
            let several = move |k: &Text, v: Text| several(k.as_deref(), v.as_deref());
            let stream = program.stream(op, "in");
            program.keep(op, Node::Stream(named_or_not!(op, stream, flat_map_values, flat_map_values_with, several)))
        }
        "select_key" => {
            let node = match program.node(op, "in") {
                Node::Stream(stream) => Node::Stream(select_key(&stream, op)),
                Node::CountStream(stream) => Node::CountStream(select_key(&stream, op)),
                Node::WindowedStream(stream) => Node::Stream(select_key(&stream, op)),
                Node::WindowedCountStream(stream) => Node::CountStream(select_key(&stream, op)),
                _ => no_stream(op),
            };
            program.keep(op, node)
        }
        "peek" => {
            let node = on_any_stream!(program.node(op, "in"), stream => peek(&stream, op), _other => no_stream(op));
            program.keep(op, node)
        }
        "foreach" => {
            match program.node(op, "in") {
                Node::Stream(stream) => for_each(&stream, op),
                Node::CountStream(stream) => for_each(&stream, op),
                Node::WindowedStream(stream) => for_each(&stream, op),
                Node::WindowedCountStream(stream) => for_each(&stream, op),
                _ => no_stream(op),
            }
            Ok(())
        }
        "merge" => {
            let (one, other) = (program.stream(op, "in"), program.stream(op, "other"));
            program.keep(op, Node::Stream(named_or_not!(op, one, merge, merge_with, &other)))
        }
        "split" => split(program, op),
        "repartition" => {
            let mut repartitioned = Repartitioned::new();
            if let Some(name) = op.text("name") {
                repartitioned = repartitioned.with_name(name);
            }
            if let Some(partitions) = op.count("partitions") {
                repartitioned = repartitioned.with_number_of_partitions(partitions as u32);
            }
            let stream = program.stream(op, "in").repartition_with(repartitioned);
            program.keep(op, Node::Stream(stream))
        }
        "to" => {
            match program.node(op, "in") {
                Node::Stream(stream) => to(&stream, op),
                Node::CountStream(stream) => to(&stream, op),
                Node::WindowedStream(stream) => to(&stream, op),
                Node::WindowedCountStream(stream) => to(&stream, op),
                _ => no_stream(op),
            }
            Ok(())
        }
        other => panic!("{other:?} is no operation on streams"),
    }
}

fn no_stream(op: Op<'_>) -> ! {
    panic!("{} is no stream", op.need("in"))
}

fn for_each<K: Key, V: Shown>(stream: &KStream<K, V>, op: Op<'_>) {
    named_or_not!(op, stream, for_each, for_each_with, |_, _| {});
}

fn filter<K: Key, V: Shown>(stream: &KStream<K, V>, op: Op<'_>) -> KStream<K, V> {
    match op.need("op") {
        "filter" => named_or_not!(op, stream, filter, filter_with, predicate(op)),
        _ => named_or_not!(op, stream, filter_not, filter_not_with, predicate(op)),
    }
}

fn map_values<K: Key, V: Shown>(stream: &KStream<K, V>, op: Op<'_>) -> KStream<K, Text> {
    let mapper = value_function::<K, V>(op);
    named_or_not!(op, stream, map_values, map_values_with, mapper)
}

/// A function that gives a value.
pub(super) fn value_function<K: Key, V: Shown>(op: Op<'_>) -> impl Fn(&K, V) -> Text + Send + Sync + 'static {
    let name = op.need("fn");
    // What a count is shown as is its decimal text already.
    let mapper = functions::value(if name == "long_to_string" { "identity" } else { name });
    move |key, value| mapper(key.inner(), value.shown().as_deref())
}

fn select_key<K: Key, V: Shown>(stream: &KStream<K, V>, op: Op<'_>) -> KStream<Text, V> {
    let mapper = K::key_function(op);
    let mapper = move |key: &K, value: &V| mapper(key, value.shown().as_deref());
    named_or_not!(op, stream, select_key, select_key_with, mapper)
}

fn peek<K: Key, V: Shown>(stream: &KStream<K, V>, op: Op<'_>) -> KStream<K, V> {
    named_or_not!(op, stream, peek, peek_with, |_, _| {})
}

fn split(program: &mut Program, op: Op<'_>) -> Result<(), Error> {
    let stream = program.stream(op, "in");
    let mut split = named_or_not!(op, stream, split, split_with);
    // A consumer gets the branch while the split is described, as in the programs of the JVM.
    let branches = Arc::new(Mutex::new(Vec::new()));
    let branched = |branch: Op<'_>| {
        let (kept, id) = (Arc::clone(&branches), branch.need("id").to_owned());
        let branched = Branched::with_consumer(move |stream| kept.lock().expect("not poisoned").push((id, stream)));
        match branch.text("name") {
            Some(name) => branched.with_name(name),
            None => branched,
        }
    };
    for branch in op.parts("branches") {
        split = split.branch_with(predicate(branch), branched(branch));
    }
    match op.part("default") {
        Some(rest) => split.default_branch_with(branched(rest)),
        None => split.no_default_branch(),
    };
    for (id, stream) in branches.lock().expect("not poisoned").drain(..) {
        program.results.insert(id, Node::Stream(stream));
    }
    Ok(())
}

fn to<K: Key, V: Shown>(stream: &KStream<K, V>, op: Op<'_>) {
    let mut produced = Produced::new();
    if let Some(name) = op.text("name") {
        produced = produced.with_name(name);
    }
    match op.text("topic_fn") {
        Some(text) => {
            let topic = functions::topic(text);
            let produced = produced.with_extractor_name("TOPIC-EXTRACTOR");
            stream.to_extracted_with(move |record, _| topic(record.value.shown().as_deref()), produced);
        }
        None => stream.to_with(op.need("topic"), produced),
    }
}

pub(super) fn consumed(op: Op<'_>) -> Consumed<Text, Text> {
    let mut consumed = Consumed::new();
    if let Some(name) = op.text("name") {
        consumed = consumed.with_name(name);
    }
    let Some(extractor) = op.text("extractor") else { return consumed };
    consumed.with_timestamp_extractor(match extractor {
        "fail" => TimestampExtractor::FailOnInvalidTimestamp,
        "log_and_skip" => TimestampExtractor::LogAndSkipOnInvalidTimestamp,
        "use_partition_time" => TimestampExtractor::UsePartitionTimeOnInvalidTimestamp,
        "embedded" => TimestampExtractor::custom(embedded),
        other => panic!("unknown extractor {other:?}"),
    })
}

/// The integer after the last `@` of the value, else the record's own timestamp.
fn embedded(record: &Extractable<'_, Text, Text>) -> i64 {
    let text = record.value.as_deref().and_then(|value| value.rsplit_once('@'));
    text.and_then(|(_, number)| number.parse().ok()).unwrap_or(record.timestamp)
}
