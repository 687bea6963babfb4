//! `delete-records`: drops the front of a partition.

use anyhow::Context;
use clap::Parser;
use log_store::{
    Offset, TopicPartition,
    client::{Isolation, LogClient, OffsetSpec},
};
use serde_json::json;

use crate::{
    log::{Data, topic_partition},
    output::Output,
};

/// Drops the records of a partition before an offset. They cannot be brought back.
#[derive(Parser)]
#[command(after_help = "Example: logctl --data ./data delete-records clicks-0 --before-offset 1000")]
pub(crate) struct Args {
    #[arg(value_name = "TOPIC-PARTITION", value_parser = topic_partition)]
    partition: TopicPartition,

    /// The first offset that stays; -1 drops everything there is.
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true)]
    before_offset: i64,
}

pub(crate) fn run(args: &Args, data: &Data, out: &mut Output) -> anyhow::Result<()> {
    let log = data.open()?;
    let mut admin = log.admin()?;
    let end = admin.list_offset(&args.partition, OffsetSpec::Latest(Isolation::ReadUncommitted))?;
    let before = match args.before_offset {
        -1 => end.context("the end of a partition is always known")?,
        offset => Offset::from_i64(offset).context("--before-offset must be an offset, or -1")?,
    };
    admin.delete_records(&[(args.partition.clone(), before)])?;
    drop(admin);
    log.close()?;
    out.result(
        format_args!("{} starts at offset {before}", args.partition),
        || json!({"partition": args.partition.to_string(), "lowWatermark": before.value()}),
    )?;
    Ok(())
}
