//! Custom processors, with their stores and punctuations.

use std::{sync::Arc, time::Duration};

use log_store::{Header, Headers};
use streams_core::{
    Error,
    processor::{Punctuation, RecordMetadata, StoreHandle},
    serde::default_serde,
    state::{KeyValueStore, StoreBuilder},
    topology::ProcessorSupplier,
};
use streams_dsl::{FixedKeyContext, FixedKeyProcessor, FixedKeyProcessorSupplier, FixedKeyRecord, prelude::*};

use super::{Node, Op, Program};
use crate::functions::{self, Fn2, Text, number, or_null};

type Store = KeyValueStore<Text, Text>;

pub(super) fn apply(program: &mut Program, op: Op<'_>) -> Result<(), Error> {
    let supplier = Supplier::of(op);
    let mut processed = Processed::new();
    if let Some(name) = op.text("name") {
        processed = processed.with_name(name);
    }
    if let (Some(store), false) = (&supplier.store, supplier.brings_store) {
        if program.added_stores.insert(store.name().to_owned()) {
            program.builder.add_state_store(Arc::clone(store));
        }
        processed = processed.with_state_stores([store.name()]);
    }
    let stream = program.stream(op, "in");
    let stream = match op.need("op") {
        "process" => stream.process_with(supplier, processed),
        _ => stream.process_values_with(supplier, processed),
    };
    program.keep(op, Node::Stream(stream))
}

/// Makes the processors of one operation.
struct Supplier {
    function: Function,
    punctuate: Option<Punctuate>,
    store: Option<Arc<dyn StoreBuilder>>,
    /// The supplier itself brings the store; else it was added to the builder.
    brings_store: bool,
}

/// What a processor does with each record.
#[derive(Clone)]
enum Function {
    Forward,
    Swallow,
    Dedupe,
    CountPerKey,
    Buffer,
    ShiftTime(i64),
    Rekey(Fn2<Text>),
    AddHeader(String, String),
    RemoveHeader(String),
    HeaderToValue(String),
    Metadata,
    StreamTime,
    RangeAll,
    Enrich,
    Twice,
}

impl Function {
    fn of(text: &str) -> Function {
        let (name, arg) = text.split_once(':').unwrap_or((text, ""));
        match name {
            "forward" => Function::Forward,
            "swallow" => Function::Swallow,
            "dedupe" => Function::Dedupe,
            "count_per_key" => Function::CountPerKey,
            "buffer" => Function::Buffer,
            "shift_time" => Function::ShiftTime(arg.parse().expect("milliseconds")),
            "rekey" => Function::Rekey(functions::key(arg)),
            "add_header" => {
                let (name, value) = arg.split_once(':').expect("a name and a value");
                Function::AddHeader(name.to_owned(), value.to_owned())
            }
            "remove_header" => Function::RemoveHeader(arg.to_owned()),
            "header_to_value" => Function::HeaderToValue(arg.to_owned()),
            "metadata" => Function::Metadata,
            "stream_time" => Function::StreamTime,
            "range_all" => Function::RangeAll,
            "enrich" => Function::Enrich,
            "twice" => Function::Twice,
            _ => panic!("unknown processor {text:?}"),
        }
    }
}

/// What a processor does when time says so.
#[derive(Clone)]
struct Punctuate {
    kind: PunctuationType,
    interval: Duration,
    function: String,
}

impl Supplier {
    fn of(op: Op<'_>) -> Supplier {
        let spec = op.part("store");
        let punctuate = op.part("punctuate").map(|spec| Punctuate {
            kind: match spec.need("type") {
                "wall" => PunctuationType::WallClockTime,
                _ => PunctuationType::StreamTime,
            },
            interval: Duration::from_millis(spec.count("interval_ms").expect("milliseconds")),
            function: spec.need("fn").to_owned(),
        });
        Supplier {
            function: Function::of(op.need("fn")),
            punctuate,
            store: spec.map(store_builder),
            brings_store: spec.is_some_and(|spec| spec.text("attach") == Some("supplier")),
        }
    }

    fn make(&self) -> Custom {
        Custom {
            function: self.function.clone(),
            punctuate: self.punctuate.clone(),
            store_name: self.store.as_ref().map(|store| store.name().to_owned()),
            store: None,
            seen: 0,
        }
    }

    fn brought(&self) -> Vec<Arc<dyn StoreBuilder>> {
        self.store.iter().filter(|_| self.brings_store).cloned().collect()
    }
}

impl ProcessorSupplier<Text, Text, Text, Text> for Supplier {
    type Processor = Custom;

    fn get(&self) -> Custom {
        self.make()
    }

    fn stores(&self) -> Vec<Arc<dyn StoreBuilder>> {
        self.brought()
    }
}

impl FixedKeyProcessorSupplier<Text, Text, Text> for Supplier {
    type Processor = Custom;

    fn get(&self) -> Custom {
        self.make()
    }

    fn stores(&self) -> Vec<Arc<dyn StoreBuilder>> {
        self.brought()
    }
}

fn store_builder(spec: Op<'_>) -> Arc<dyn StoreBuilder> {
    let name = spec.need("name");
    let supplier = match spec.text("type") {
        Some("in_memory") => Stores::in_memory_key_value_store(name),
        _ => Stores::persistent_key_value_store(name),
    };
    let mut builder = Stores::key_value_store_builder(supplier, default_serde::<Text>(), default_serde::<Text>());
    builder = match spec.flag("caching") {
        Some(true) => builder.with_caching_enabled(),
        Some(false) => builder.with_caching_disabled(),
        None => builder,
    };
    if spec.flag("logging") == Some(false) {
        builder = builder.with_logging_disabled();
    }
    Arc::new(builder)
}

struct Custom {
    function: Function,
    punctuate: Option<Punctuate>,
    store_name: Option<String>,
    store: Option<StoreHandle<Store>>,
    /// Records that this instance was given.
    seen: u64,
}

fn put(store: &mut Store, key: &Text, value: Text) -> ProcessResult {
    match value {
        Some(_) => store.put(key, value)?,
        None => drop(store.delete(key)?),
    }
    Ok(())
}

fn get(store: &mut Store, key: &Text) -> ProcessResult<Text> {
    Ok(store.get(key)?.cloned().flatten())
}

/// `number(store) + 1`, put and returned.
fn count(store: &mut Store, key: &Text) -> ProcessResult<Text> {
    let count = Some((number(get(store, key)?.as_deref()) + 1).to_string());
    put(store, key, count.clone())?;
    Ok(count)
}

fn with_header(headers: &Headers, name: &str, value: &str) -> Headers {
    let added = Header { key: name.to_owned(), value: Some(value.as_bytes().to_vec().into()) };
    headers.as_slice().iter().cloned().chain([added]).collect()
}

/// The text of the last header of that name.
fn header_text(headers: &Headers, name: &str) -> Text {
    let header = headers.last(name)?;
    Some(header.value.as_ref().map_or("null".to_owned(), |value| String::from_utf8_lossy(value).into_owned()))
}

fn origin(metadata: Option<RecordMetadata>) -> String {
    metadata.map_or("null:-1:-1".to_owned(), |at| format!("{}:{}:{}", at.topic, at.partition, at.offset))
}

impl Custom {
    fn store<'c>(&self, ctx: &'c mut ProcessorContext<'_, Text, Text>) -> &'c mut Store {
        ctx.store(self.store.expect("this processor has a store"))
    }
}

impl Processor<Text, Text, Text, Text> for Custom {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, Text, Text>) -> ProcessResult {
        if let Some(name) = &self.store_name {
            self.store = Some(ctx.store_handle(name)?);
        }
        if let Some(punctuate) = &self.punctuate {
            ctx.schedule(punctuate.interval, punctuate.kind);
        }
        Ok(())
    }

    fn process(&mut self, record: Record<Text, Text>, ctx: &mut ProcessorContext<'_, Text, Text>) -> ProcessResult {
        self.seen += 1;
        let shown = |record: &Record<Text, Text>| or_null(record.value.as_deref()).to_owned();
        match &self.function {
            Function::Forward => ctx.forward(record),
            Function::Swallow => Ok(()),
            Function::Dedupe | Function::CountPerKey if record.key.is_none() => Ok(()),
            Function::Dedupe => {
                let store = self.store(ctx);
                if get(store, &record.key)? == record.value {
                    return Ok(());
                }
                put(store, &record.key, record.value.clone())?;
                ctx.forward(record)
            }
            Function::CountPerKey => {
                let count = count(self.store(ctx), &record.key)?;
                ctx.forward(record.with_value(count))
            }
            Function::Buffer if record.key.is_none() => Ok(()),
            Function::Buffer => put(self.store(ctx), &record.key, record.value),
            Function::ShiftTime(by) => {
                let timestamp = (record.timestamp + by).max(0);
                ctx.forward(record.with_timestamp(timestamp))
            }
            Function::Rekey(mapper) => {
                let key = mapper(record.key.as_deref(), record.value.as_deref());
                ctx.forward(record.with_key(key))
            }
            Function::AddHeader(name, value) => {
                let headers = with_header(&record.headers, name, value);
                ctx.forward(record.with_headers(headers))
            }
            Function::RemoveHeader(name) => {
                let mut headers = record.headers.clone();
                headers.remove(name);
                ctx.forward(record.with_headers(headers))
            }
            Function::HeaderToValue(name) => {
                let value = header_text(&record.headers, name);
                ctx.forward(record.with_value(value))
            }
            Function::Metadata => {
                let value = format!("{}[{}]", shown(&record), origin(ctx.record_metadata()));
                ctx.forward(record.with_value(Some(value)))
            }
            Function::StreamTime => {
                let value = format!("{}[{}]", shown(&record), ctx.stream_time());
                ctx.forward(record.with_value(Some(value)))
            }
            Function::RangeAll => {
                let store = self.store(ctx);
                if record.key.is_some() {
                    put(store, &record.key, record.value.clone())?;
                }
                let mut rows = Vec::new();
                for row in store.all()? {
                    let (key, value) = row?;
                    rows.push(format!("{}={}", or_null(key.as_deref()), or_null(value.as_deref())));
                }
                ctx.forward(record.with_value(Some(rows.join(";"))))
            }
            Function::Enrich | Function::Twice => Err("only for values".into()),
        }
    }

    fn punctuate(&mut self, _: Punctuation, now: i64, ctx: &mut ProcessorContext<'_, Text, Text>) -> ProcessResult {
        let punctuate = self.punctuate.as_ref().expect("scheduled");
        let record = |key: &str, value: String| Record::new(Some(key.to_owned()), Some(value), now);
        match punctuate.function.as_str() {
            "counter" => ctx.forward(record("punct", self.seen.to_string())),
            "clock" => {
                let value = format!("{}/{}", ctx.stream_time(), ctx.wall_clock_time());
                ctx.forward(record("clock", value))
            }
            "drain" => {
                let rows = self.store(ctx).all()?.collect::<Result<Vec<_>, _>>()?;
                for (key, value) in rows {
                    ctx.forward(Record::new(key.clone(), value, now))?;
                    self.store(ctx).delete(&key)?;
                }
                Ok(())
            }
            other => panic!("unknown punctuator {other:?}"),
        }
    }
}

impl FixedKeyProcessor<Text, Text, Text> for Custom {
    fn init(&mut self, ctx: &mut FixedKeyContext<'_, '_, Text, Text>) -> ProcessResult {
        if let Some(name) = &self.store_name {
            self.store = Some(ctx.store_handle(name)?);
        }
        Ok(())
    }

    fn process(
        &mut self,
        record: FixedKeyRecord<Text, Text>,
        ctx: &mut FixedKeyContext<'_, '_, Text, Text>,
    ) -> ProcessResult {
        let store = self.store;
        let shown = or_null(record.value().as_deref()).to_owned();
        match &self.function {
            Function::Forward => ctx.forward(record),
            Function::CountPerKey if record.key().is_none() => Ok(()),
            Function::CountPerKey => {
                let count = count(ctx.store(store.expect("a store")), record.key())?;
                ctx.forward(record.with_value(count))
            }
            Function::Enrich => {
                let mut old = None;
                if record.key().is_some() {
                    let store = ctx.store(store.expect("a store"));
                    old = get(store, record.key())?;
                    put(store, record.key(), record.value().clone())?;
                }
                ctx.forward(record.with_value(Some(format!("{}>{shown}", or_null(old.as_deref())))))
            }
            Function::ShiftTime(by) => {
                let timestamp = (record.timestamp() + by).max(0);
                ctx.forward(record.with_timestamp(timestamp))
            }
            Function::HeaderToValue(name) => {
                let value = header_text(record.headers(), name);
                ctx.forward(record.with_value(value))
            }
            Function::AddHeader(name, value) => {
                let headers = with_header(record.headers(), name, value);
                ctx.forward(record.with_headers(headers))
            }
            Function::Metadata => {
                let value = format!("{shown}[{}]", origin(ctx.record_metadata()));
                ctx.forward(record.with_value(Some(value)))
            }
            Function::Twice => {
                ctx.forward(record.clone())?;
                ctx.forward(record.with_value(Some(format!("{shown}'"))))
            }
            _ => Err("not for values".into()),
        }
    }
}
