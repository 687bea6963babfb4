//! `produce`: lines become records.

use std::{
    fmt::Display,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Parser, ValueEnum, builder::NonEmptyStringValueParser};
use log_store::{
    Header, Headers, RecordView, TopicName,
    batch::Compression,
    client::{LogClient, PartitionHandle, Producer, ProducerConfig},
    partition_of,
};
use serde_json::{Value, json};

use crate::{
    log::{Data, partitions, topic_name},
    output::Output,
    record_text::bytes_of,
};

/// Longest line, so that input without line ends cannot fill the memory.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Writes each line of standard input, or of files, as a record. All of them are durable when it ends; after an error,
/// those before the bad line are.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  echo 'hello' | logctl --data ./data produce greetings
  logctl --data ./data produce clicks --key-separator , --null-value NULL clicks.csv
  echo '{\"key\":\"alice\",\"value\":{\"page\":\"home\"},\"timestamp\":1700000000000,\"headers\":[{\"key\":\"trace\",\"value\":\"7\"}]}' |
    logctl --data ./data produce clicks --format json")]
pub(crate) struct Args {
    #[arg(value_parser = topic_name)]
    topic: TopicName,

    /// Files to read; standard input if there is none.
    files: Vec<PathBuf>,

    /// What a line is.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// What stands between key and value in a line of text. Without it, records have no key.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    key_separator: Option<String>,

    /// A key or value of this text is null (a null value deletes the key in a compacted topic).
    #[arg(long, value_name = "TEXT")]
    null_value: Option<String>,

    /// A header of every record; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    /// To this partition. Otherwise the key decides, as in Kafka; records without a key take turns.
    #[arg(long)]
    partition: Option<u32>,

    /// Milliseconds since 1970 for every record. Default: now.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    timestamp: Option<i64>,

    /// Compression of the batches.
    #[arg(long, value_name = "CODEC", default_value = "none", value_parser = compression)]
    compression: Compression,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// The value, or key and value with a separator between them.
    Text,
    /// An object with any of key, value, headers, timestamp and partition, as `consume --json` prints it.
    Json,
}

/// One record of a line.
struct Line {
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Headers,
    timestamp: Option<i64>,
    partition: Option<u32>,
}

pub(crate) fn run(args: &Args, data: &Data, out: &mut Output) -> anyhow::Result<()> {
    let directory = data.directory()?;
    let all = partitions(&directory, &args.topic, &[])?;
    // An unknown one is named before anything is read.
    if let Some(missing) = args.partition.filter(|partition| *partition as usize >= all.len()) {
        bail!(no_partition(args, all.len(), missing));
    }
    let log = data.open()?;
    let config = ProducerConfig { compression: args.compression, ..ProducerConfig::default() };
    let mut target = Target { producer: log.producer(&config)?, handles: Vec::new(), turn: 0, count: 0 };
    for partition in all {
        target.handles.push(target.producer.open(&partition)?);
    }
    let sent = send_all(args, &mut target);
    // Also after an error: what was before the bad line is written.
    target.producer.flush()?;
    let count = target.count;
    drop(target);
    log.close()?;
    sent.with_context(|| format!("{count} records were written to {}, and then", args.topic))?;
    out.result(
        format_args!("{count} records written to {}", args.topic),
        || json!({"topic": args.topic.as_str(), "records": count}),
    )?;
    Ok(())
}

fn send_all(args: &Args, target: &mut Target) -> anyhow::Result<()> {
    if args.files.is_empty() {
        let stdin = io::stdin();
        // What somebody types is safe once the line is finished.
        let is_typed = stdin.is_terminal();
        target.send_lines(args, stdin.lock(), "standard input", is_typed)?;
    }
    for path in &args.files {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        target.send_lines(args, BufReader::new(file), &path.display().to_string(), false)?;
    }
    Ok(())
}

/// Where records go.
struct Target {
    producer: Box<dyn Producer>,
    handles: Vec<PartitionHandle>,
    /// Who gets the next record without a key.
    turn: usize,
    count: u64,
}

impl Target {
    fn send_lines(&mut self, args: &Args, mut lines: impl BufRead, name: &str, is_typed: bool) -> anyhow::Result<()> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if read.with_context(|| format!("cannot read {name}"))? == 0 {
                break;
            }
            self.send_line(args, &line).with_context(|| format!("{name}, line {number}"))?;
            if is_typed {
                self.producer.flush()?;
            }
        }
        Ok(())
    }

    fn send_line(&mut self, args: &Args, line: &[u8]) -> anyhow::Result<()> {
        let line = match line.strip_suffix(b"\n") {
            Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
            None if line.len() as u64 == LINE_BYTES_MAX => bail!("longer than {LINE_BYTES_MAX} bytes"),
            None => line,
        };
        match parse(args, line)? {
            Some(record) => self.send(args, &record),
            None => Ok(()),
        }
    }

    fn send(&mut self, args: &Args, record: &Line) -> anyhow::Result<()> {
        let count = self.handles.len();
        let partition = match (record.partition.or(args.partition), &record.key) {
            (Some(partition), _) => partition as usize,
            (None, Some(key)) => partition_of(key, count as u32) as usize,
            (None, None) => {
                self.turn = (self.turn + 1) % count;
                self.turn
            }
        };
        let Some(handle) = self.handles.get(partition) else {
            bail!(no_partition(args, count, partition));
        };
        let timestamp = match record.timestamp.or(args.timestamp) {
            Some(timestamp) => timestamp,
            None => now_ms()?,
        };
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        self.producer.send(*handle, RecordView { timestamp, key, value, headers: (&record.headers).into() })?;
        self.count += 1;
        Ok(())
    }
}

fn no_partition(args: &Args, count: usize, missing: impl Display) -> String {
    format!("topic {} has partitions 0 to {}, not {missing}", args.topic, count - 1)
}

/// The record of a line; `None` for an empty line of JSON.
fn parse(args: &Args, line: &[u8]) -> anyhow::Result<Option<Line>> {
    match args.format {
        Format::Text => parse_text(args, line).map(Some),
        Format::Json if line.is_empty() => Ok(None),
        Format::Json => parse_json(args, &serde_json::from_slice(line)?).map(Some),
    }
}

fn parse_text(args: &Args, line: &[u8]) -> anyhow::Result<Line> {
    let part = |bytes: &[u8]| {
        let is_null = args.null_value.as_ref().is_some_and(|null| null.as_bytes() == bytes);
        (!is_null).then(|| Bytes::copy_from_slice(bytes))
    };
    let (key, value) = match &args.key_separator {
        None => (None, part(line)),
        Some(separator) => {
            let separator = separator.as_bytes();
            let at = line.windows(separator.len()).position(|window| window == separator);
            let at = at.context("no key separator in the line")?;
            (part(&line[..at]), part(&line[at + separator.len()..]))
        }
    };
    Ok(Line { key, value, headers: fixed_headers(args), timestamp: None, partition: None })
}

fn parse_json(args: &Args, value: &Value) -> anyhow::Result<Line> {
    let object = value.as_object().context("a line must be a JSON object")?;
    let mut line = Line { key: None, value: None, headers: fixed_headers(args), timestamp: None, partition: None };
    for (name, value) in object {
        match name.as_str() {
            "key" => line.key = bytes_of(value)?,
            "value" => line.value = bytes_of(value)?,
            "timestamp" => line.timestamp = Some(value.as_i64().context("\"timestamp\" must be a number")?),
            "partition" => {
                let partition = value.as_u64().and_then(|number| u32::try_from(number).ok());
                line.partition = Some(partition.context("\"partition\" must be a number from 0")?);
            }
            "headers" => {
                for header in value.as_array().context("\"headers\" must be a list")? {
                    let key = header["key"].as_str().context("a header needs a \"key\"")?;
                    line.headers.add(key, bytes_of(&header["value"])?);
                }
            }
            // What `consume --json` says, too.
            "topic" | "offset" => {}
            other => bail!("unknown field {other:?}"),
        }
    }
    Ok(line)
}

fn fixed_headers(args: &Args) -> Headers {
    let header = |(key, value): &(String, String)| Header { key: key.clone(), value: Some(value.clone().into()) };
    args.header.iter().map(header).collect()
}

fn now_ms() -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(i64::try_from(now.as_millis())?)
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn compression(text: &str) -> Result<Compression, String> {
    let found = Compression::ALL.into_iter().find(|codec| codec.name() == text);
    found.ok_or_else(|| format!("expected one of {}", Compression::ALL.map(Compression::name).join(", ")))
}
