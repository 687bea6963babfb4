//! A case as it was written down: a program, its settings, its input, and what the JVM did with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use log_store::{Header, HeadersView, RecordView};
use serde_json::Value;

/// One line of a case file.
pub(crate) struct Case {
    /// Unique name.
    pub(crate) id: String,
    /// What the case is about.
    pub(crate) family: String,
    /// Operations in order.
    pub(crate) program: Vec<Value>,
    /// Settings of the application under Kafka's names.
    pub(crate) config: BTreeMap<String, String>,
    /// What is fed in.
    pub(crate) input: Vec<Step>,
    /// What came out of the JVM.
    pub(crate) expect: Observed,
}

/// One element of the input.
#[derive(Debug)]
pub(crate) enum Step {
    /// A record.
    Record(Sent),
    /// The wall clock moves.
    AdvanceWall(u64),
}

/// A record that was piped in or sent out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Index of the input element that caused it.
    pub(crate) step: usize,
    pub(crate) topic: String,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// `None` where the producer left it out.
    pub(crate) timestamp: Option<i64>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Sent {
    /// Shows the record as it is given to a log or a driver.
    pub(crate) fn with_view<R>(&self, show: impl FnOnce(RecordView<'_>) -> R) -> R {
        let header = |(key, value): &(String, Option<Vec<u8>>)| Header {
            key: key.clone(),
            value: value.clone().map(Into::into),
        };
        let headers: Vec<Header> = self.headers.iter().map(header).collect();
        show(RecordView {
            timestamp: self.timestamp.expect("an input has a time"),
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: HeadersView::Listed(&headers),
        })
    }
}

/// Everything that can be observed of a run.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) describe: Option<String>,
    pub(crate) output: Vec<Sent>,
    pub(crate) changelog: Vec<Sent>,
    pub(crate) repartition: Vec<Sent>,
    pub(crate) internal_topics: BTreeMap<String, InternalTopic>,
    pub(crate) copartition: BTreeSet<BTreeSet<String>>,
    /// Absent after an error.
    pub(crate) stores: Option<BTreeMap<String, StoreRows>>,
    /// Absent after an error.
    pub(crate) dropped_records: Option<u64>,
    pub(crate) error: Option<Failure>,
}

/// A topic that the topology needs for itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InternalTopic {
    /// `changelog`, `windowed-changelog`, `versioned-changelog` or `repartition`.
    pub(crate) kind: String,
    /// Number of partitions, if the program fixes it.
    pub(crate) partitions: Option<u32>,
    pub(crate) config: BTreeMap<String, String>,
}

/// Contents of a store at the end.
#[derive(Debug, PartialEq)]
pub(crate) struct StoreRows {
    pub(crate) kind: String,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// Where a program was refused or stopped.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// `build`, `start` or `input`.
    pub(crate) stage: String,
    /// Index of the input element, at stage `input`.
    pub(crate) step: Option<usize>,
    /// For information.
    pub(crate) message: String,
}

/// Reads all `*.jsonl` and `*.jsonl.gz` of a folder, in the order of their names.
pub(crate) fn load(folder: &Path) -> Vec<Case> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a folder entry").path()).collect();
    files.retain(|file| {
        let name = file.to_string_lossy();
        name.ends_with(".jsonl") || name.ends_with(".jsonl.gz")
    });
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let bytes = fs::File::open(&file).unwrap_or_else(|error| panic!("cannot open {}: {error}", file.display()));
        let reader: Box<dyn Read> = if file.extension().is_some_and(|extension| extension == "gz") {
            Box::new(flate2::read::MultiGzDecoder::new(bytes))
        } else {
            Box::new(bytes)
        };
        for (number, line) in BufReader::new(reader).lines().enumerate() {
            let place = || format!("{}, line {}", file.display(), number + 1);
            let line = line.unwrap_or_else(|error| panic!("{}: {error}", place()));
            if !line.trim().is_empty() {
                let json = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error}", place()));
                cases.push(parse_case(&json));
            }
        }
    }
    cases
}

fn parse_case(json: &Value) -> Case {
    let setting = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let config = json["config"].as_object().into_iter().flatten();
    Case {
        id: text(&json["id"]),
        family: text(&json["family"]),
        program: list(&json["program"]).to_vec(),
        config: config.map(|(name, value)| (name.clone(), setting(value))).collect(),
        input: list(&json["input"]).iter().enumerate().map(|(step, json)| parse_step(step, json)).collect(),
        expect: parse_expect(&json["expect"]),
    }
}

fn parse_step(step: usize, json: &Value) -> Step {
    match json["advance_wall_ms"].as_u64() {
        Some(millis) => Step::AdvanceWall(millis),
        None => Step::Record(parse_sent(step, json)),
    }
}

fn parse_expect(json: &Value) -> Observed {
    let records = |field: &str| -> Vec<Sent> {
        list(&json[field])
            .iter()
            .map(|sent| parse_sent(sent["step"].as_u64().expect("a step") as usize, sent))
            .collect()
    };
    let stores = json["stores"].as_object().map(|stores| {
        let rows = |store: &Value| list(&store["rows"]).iter().map(|row| list(row).to_vec()).collect();
        stores
            .iter()
            .map(|(name, store)| (name.clone(), StoreRows { kind: text(&store["kind"]), rows: rows(store) }))
            .collect()
    });
    let names = |group: &Value| list(group).iter().map(text).collect();
    let error = &json["error"];
    Observed {
        describe: json["describe"].as_str().map(str::to_owned),
        output: records("output"),
        changelog: records("changelog"),
        repartition: records("repartition"),
        internal_topics: list(&json["internal_topics"]).iter().map(|t| (text(&t["name"]), parse_topic(t))).collect(),
        copartition: list(&json["copartition"]).iter().map(names).collect(),
        stores,
        dropped_records: json["dropped_records"].as_u64(),
        error: error.is_object().then(|| Failure {
            stage: text(&error["stage"]),
            step: error["step"].as_u64().map(|step| step as usize),
            message: format!("{}: {}", text(&error["class"]), error["message"].as_str().unwrap_or("")),
        }),
    }
}

fn parse_topic(json: &Value) -> InternalTopic {
    let config = json["config"].as_object().into_iter().flatten();
    InternalTopic {
        kind: text(&json["kind"]),
        partitions: json["partitions"].as_u64().map(|partitions| partitions as u32),
        config: config.map(|(name, value)| (name.clone(), text(value))).collect(),
    }
}

fn parse_sent(step: usize, json: &Value) -> Sent {
    let field = |name: &str| match (&json[name], &json[format!("{name}_hex")]) {
        (Value::String(text), _) => Some(text.clone().into_bytes()),
        (_, Value::String(hex)) => Some(unhex(hex)),
        _ => None,
    };
    let header = |pair: &Value| {
        let value = match &pair[1] {
            Value::Null => None,
            Value::String(text) => Some(text.clone().into_bytes()),
            other => Some(unhex(&text(&other["hex"]))),
        };
        (text(&pair[0]), value)
    };
    Sent {
        step,
        topic: text(&json["topic"]),
        key: field("key"),
        value: field("value"),
        timestamp: json["ts"].as_i64(),
        headers: list(&json["headers"]).iter().map(header).collect(),
    }
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_else(|| panic!("expected text, found {json}")).to_owned()
}

fn list(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex")).collect()
}
