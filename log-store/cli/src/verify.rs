//! `verify`: checks every file of the log against the others.

use std::process::ExitCode;

use clap::Parser;
use log_store::{
    TopicName,
    embedded::inspect::{Finding, Scope, Severity, verify},
};
use serde_json::json;

use crate::{
    log::{Data, topic_partition},
    output::Output,
};

/// Checks checksums, records, offsets, indexes, producer snapshots and checkpoints, and changes nothing.
///
/// Exit code 1 means that something is damaged. What an interrupted write left behind is only noted: the next opening
/// takes care of it. While another process has the log open, what is not yet checkpointed is left out.
#[derive(Parser)]
pub(crate) struct Args {
    /// Only this topic, or partition (as in clicks-0).
    #[arg(value_name = "TOPIC[-PARTITION]")]
    name: Option<String>,
}

pub(crate) fn run(args: &Args, data: &Data, out: &mut Output) -> anyhow::Result<ExitCode> {
    let directory = data.directory()?;
    let scope = match &args.name {
        None => Scope::All,
        Some(name) => scope(name)?,
    };
    let mut printed = Ok(());
    let verified = verify(&directory, &scope, &mut |finding| {
        if printed.is_ok() {
            printed = print(finding, out);
        }
    })?;
    printed?;
    if let Some(holder) = &verified.open_elsewhere {
        eprintln!("logctl: the log is open ({holder}); only what is checkpointed was verified");
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

/// A topic's name may itself end with a number: the partition counts only if it is asked for as one.
fn scope(name: &str) -> anyhow::Result<Scope> {
    match topic_partition(name) {
        Ok(partition) => Ok(Scope::Partition(partition)),
        Err(_) => Ok(Scope::Topic(TopicName::new(name)?)),
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
