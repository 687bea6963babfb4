//! The offset of a time, in logs of batches of several sizes.

use std::time::Instant;

use anyhow::ensure;
use log_store::{
    client::{LogClient, OffsetSpec, ProducerConfig},
    embedded::{Durability, EmbeddedLog},
};
use serde::Serialize;

use super::{Options, append::append, create, partition};

/// Kafka's `batch.size`.
const KAFKAS_BATCH_BYTES: usize = 16 << 10;
const LOOK_UPS: u64 = 2_000;

#[derive(Serialize)]
pub(super) struct Report {
    time_lookups: Vec<LookUp>,
}

#[derive(Serialize)]
struct LookUp {
    batch_bytes: usize,
    mean_us: f64,
    p99_us: f64,
}

pub(super) fn run(options: &Options) -> anyhow::Result<Report> {
    let sizes = [KAFKAS_BATCH_BYTES, ProducerConfig::default().batch_bytes, options.batch];
    let time_lookups = sizes.into_iter().map(|batch_bytes| in_batches(batch_bytes, options)).collect::<Result<_, _>>();
    Ok(Report { time_lookups: time_lookups? })
}

fn in_batches(batch_bytes: usize, options: &Options) -> anyhow::Result<LookUp> {
    let home = options.folder()?;
    let log = options.open(home.path(), Durability::Never)?;
    create(&log, "times", 1, &[])?;
    append(&log, "times", batch_bytes, options)?;
    log.close()?;
    let log = options.open(home.path(), Durability::Never)?;
    let mut times = look_up(&log, options)?;
    log.close()?;
    times.sort_unstable_by(f64::total_cmp);
    Ok(LookUp {
        batch_bytes,
        mean_us: times.iter().sum::<f64>() / times.len() as f64,
        p99_us: times[times.len() * 99 / 100],
    })
}

/// Microseconds of each of some look-ups all over the log.
fn look_up(log: &EmbeddedLog, options: &Options) -> anyhow::Result<Vec<f64>> {
    let (of, mut admin) = (partition("times", 0)?, log.admin()?);
    let mut times = Vec::new();
    for number in 0..LOOK_UPS {
        let time = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % options.records;
        let begun = Instant::now();
        let found = admin.list_offset(&of, OffsetSpec::Timestamp(i64::try_from(time)?))?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
        ensure!(found.map(log_store::Offset::value) == Some(time), "{found:?} at time {time}");
    }
    Ok(times)
}
