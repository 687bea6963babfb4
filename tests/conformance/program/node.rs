//! What an operation gives, and keys and values as the functions of programs see them.

use std::borrow::Cow;

use streams_dsl::prelude::*;

use super::{Op, key_function};
use crate::functions::Text;

/// What an operation gave, under its id.
#[derive(Clone)]
pub(super) enum Node {
    Stream(KStream<Text, Text>),
    CountStream(KStream<Text, Option<i64>>),
    WindowedStream(KStream<Windowed<Text>, Text>),
    WindowedCountStream(KStream<Windowed<Text>, Option<i64>>),
    Table(KTable<Text, Text>),
    Counts(KTable<Text, i64>),
    WindowedTable(KTable<Windowed<Text>, Text>),
    WindowedCounts(KTable<Windowed<Text>, i64>),
    Global(GlobalKTable<Text, Text>),
    Grouped(KGroupedStream<Text, Text>),
    GroupedTable(KGroupedTable<Text, Text>),
    TimeWindowed(TimeWindowedKStream<Text, Text>),
    SessionWindowed(SessionWindowedKStream<Text, Text>),
}

/// Applies an operator to any kind of stream; the result is of the same kind.
macro_rules! on_any_stream {
    ($node:expr, $stream:ident => $result:expr, $other:ident => $otherwise:expr) => {
        match $node {
            Node::Stream($stream) => Node::Stream($result),
            Node::CountStream($stream) => Node::CountStream($result),
            Node::WindowedStream($stream) => Node::WindowedStream($result),
            Node::WindowedCountStream($stream) => Node::WindowedCountStream($result),
            $other => $otherwise,
        }
    };
}

/// Applies an operator to any kind of table; the result is of the same kind.
macro_rules! on_any_table {
    ($node:expr, $table:ident => $result:expr, $otherwise:expr) => {
        match $node {
            Node::Table($table) => Node::Table($result),
            Node::Counts($table) => Node::Counts($result),
            Node::WindowedTable($table) => Node::WindowedTable($result),
            Node::WindowedCounts($table) => Node::WindowedCounts($result),
            _ => $otherwise,
        }
    };
}

pub(super) use {on_any_stream, on_any_table};

/// A key, plain or windowed.
pub(super) trait Key: Data + PartialEq {
    /// The key without its window.
    fn inner(&self) -> Option<&str>;

    /// The function `key_fn`, which gives a plain key.
    fn key_function(op: Op<'_>) -> impl Fn(&Self, Option<&str>) -> Text + Send + Sync + 'static;
}

impl Key for Text {
    fn inner(&self) -> Option<&str> {
        self.as_deref()
    }

    fn key_function(op: Op<'_>) -> impl Fn(&Self, Option<&str>) -> Text + Send + Sync + 'static {
        let mapper = key_function(op);
        move |key, value| mapper(key.as_deref(), value)
    }
}

impl Key for Windowed<Text> {
    fn inner(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn key_function(op: Op<'_>) -> impl Fn(&Self, Option<&str>) -> Text + Send + Sync + 'static {
        type Mapper = Box<dyn Fn(&Windowed<Text>, Option<&str>) -> Text + Send + Sync>;
        let mapper: Mapper = match op.need("key_fn") {
            "window_key" => Box::new(|windowed, _| windowed.key.clone()),
            "window_string" => Box::new(|Windowed { key, window }, _| {
                Some(format!("{}@{}/{}", key.as_deref().unwrap_or("null"), window.start, window.end))
            }),
            _ => {
                let mapper = key_function(op);
                Box::new(move |windowed, value| mapper(windowed.inner(), value))
            }
        };
        mapper
    }
}

/// A value as functions see it.
pub(super) trait Shown: Data {
    fn shown(&self) -> Option<Cow<'_, str>>;
}

impl Shown for Text {
    fn shown(&self) -> Option<Cow<'_, str>> {
        self.as_deref().map(Cow::Borrowed)
    }
}

impl Shown for i64 {
    fn shown(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Owned(self.to_string()))
    }
}

impl Shown for Option<i64> {
    fn shown(&self) -> Option<Cow<'_, str>> {
        self.map(|count| Cow::Owned(count.to_string()))
    }
}
