//! `verify`: checks every file of the log against the others.

use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use log_store::{
    TopicName,
    embedded::{
        inspect::{Finding, Scope, Severity, verify},
        storage::Directory,
    },
};
use serde_json::json;

use crate::{
    log::{Data, topic_partition, topics},
    output::{Output, say},
};

/// Checks checksums, records, offsets, indexes, producer snapshots and checkpoints, and changes nothing.
///
/// Exit code 1 means that something is damaged. What an interrupted write left behind is only noted: the next opening
/// takes care of it. While another process has the log open, what is not yet checkpointed is left out.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  logctl --data ./data verify
  logctl --data ./data verify clicks-0 || echo damaged
  logctl --data ./data --json verify | jq .what")]
pub(crate) struct Args {
    /// Only this topic, or partition (as in clicks-0).
    #[arg(value_name = "TOPIC[-PARTITION]")]
    name: Option<String>,
}

pub(crate) fn run(args: &Args, data: &Data, out: &mut Output) -> anyhow::Result<ExitCode> {
    let directory = data.directory()?;
    let scope = match &args.name {
        None => Scope::All,
        Some(name) => scope(&directory, name)?,
    };
    let mut printed = Ok(());
    let verified = verify(&directory, &scope, &mut |finding| {
        if printed.is_ok() {
            printed = print(finding, out);
        }
    })?;
    printed?;
    if let Some(holder) = &verified.open_elsewhere {
        say(format_args!("the log is open ({holder}); only what is checkpointed was verified"));
    }
    out.result(
        format_args!(
            "{} partitions, {} segments, {} batches, {} records, {} bytes: {} errors, {} notes",
            verified.partitions,
            verified.segments,
            verified.batches,
            verified.records,
            verified.bytes,
            verified.errors,
            verified.notes
        ),
        || {
            json!({
                "partitions": verified.partitions, "segments": verified.segments, "batches": verified.batches,
                "records": verified.records, "bytes": verified.bytes, "errors": verified.errors,
                "notes": verified.notes, "openElsewhere": verified.open_elsewhere,
            })
        },
    )?;
    Ok(if verified.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A topic's name may itself end with a number: a topic of the whole name comes first. Without a readable table of topics
/// everything may be asked for, since that is then among the findings.
fn scope(directory: &dyn Directory, name: &str) -> anyhow::Result<Scope> {
    let topics = topics(directory).ok();
    let is_topic =
        |name: &TopicName| topics.as_ref().is_none_or(|topics| topics.iter().any(|topic| topic.name == *name));
    let whole = TopicName::new(name).ok();
    if let Some(topic) = whole.as_ref().filter(|topic| topics.is_some() && is_topic(topic)) {
        return Ok(Scope::Topic(topic.clone()));
    }
    match (topic_partition(name), whole) {
        (Ok(partition), _) if is_topic(&partition.topic) => Ok(Scope::Partition(partition)),
        (Err(_), Some(topic)) if is_topic(&topic) => Ok(Scope::Topic(topic)),
        _ => bail!("unknown topic or partition: {name}; `topics list` shows all topics"),
    }
}

fn print(finding: &Finding, out: &mut Output) -> std::io::Result<()> {
    let severity = match finding.severity {
        Severity::Note => "note",
        Severity::Error => "error",
    };
    let place = finding.position.map(|position| format!(" at byte {position}")).unwrap_or_default();
    out.result(
        format_args!("{severity}: {}{place}: {}", finding.file.display(), finding.what),
        || json!({"severity": severity, "file": finding.file, "position": finding.position, "what": finding.what}),
    )
}
