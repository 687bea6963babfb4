//! The write path, top to bottom.

use std::sync::Arc;

use bytes::BytesMut;

use super::{Log, Partition, tail::Chunk};
use crate::{
    Error, Offset, Result, TopicConfig,
    batch::{BatchHeader, TimestampType, header},
    clock::Clock,
    embedded::{
        producer_state::Verdict,
        segment::{AppendFailure, AppendSettings},
    },
};

/// Where an append went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Offset of its first record.
    pub(crate) base: Offset,
    /// The offset after its last one.
    pub(crate) next: Offset,
}

impl Partition {
    /// Appends whole batches: gives them their offsets, writes them, shows them to readers. They are not synced.
    ///
    /// # Errors
    ///
    /// If the disk is full nothing was appended and a later append may succeed. After any other failure of a write the
    /// log is poisoned.
    pub(crate) fn append(self: &Arc<Self>, mut batches: BytesMut) -> Result<Appended> {
        self.append_from(&mut batches)
    }

    /// As [`Partition::append`]; after an error `batches` can be given again.
    pub(crate) fn append_from(self: &Arc<Self>, batches: &mut BytesMut) -> Result<Appended> {
        self.shared.check()?;
        let config = self.config();
        let size = batches.len();
        // What nobody reads, as most changelogs, need not stay in memory; whoever comes later finds it in the file.
        let is_watched = self.is_watched();
        let appended = {
            let mut log = self.log()?;
            let headers = place(batches, &log, &config, &*self.shared.clock)?;
            if let Verdict::Duplicate { first, last } = self.check_producers(&log, batches, &headers)? {
                return Ok(Appended { base: first, next: last.next() });
            }
            log.is_ended = false;
            self.note_open_files(&mut log);
            self.write(&mut log, &config, batches, &headers)?;
            let base = log.log_end;
            let next = headers.last().map_or(base, BatchHeader::next_offset);
            log.log_end = next;
            // The batches are in the file, so what follows from them must be, too.
            self.follow_producers(&mut log, batches, &headers).inspect_err(|error| {
                self.shared.poison(&error.to_string());
            })?;
            let bytes = batches.split();
            if is_watched {
                log.tail.push(Chunk { base, next, bytes: compact(bytes) });
            } else {
                log.tail.clear();
            }
            let newly = !std::mem::replace(&mut log.is_dirty, true);
            // Under the lock: whoever sees this partition dirty must find it in the list of the next sync.
            self.shared.syncer.note(self, newly, size as u64);
            Appended { base, next }
        };
        if is_watched {
            self.shared.fresh.charge(self, size);
        }
        self.notify();
        Ok(appended)
    }

    fn write(&self, log: &mut Log, config: &TopicConfig, bytes: &[u8], headers: &[BatchHeader]) -> Result<()> {
        if let Err(error) = self.make_room(log, config, headers, bytes.len() as u64) {
            // A roll that stopped for want of space goes on where it stopped; any other failure leaves doubt.
            if !error.is_storage_full() {
                self.shared.poison(&error.to_string());
            }
            return Err(error);
        }
        let settings = AppendSettings {
            index_interval_bytes: config.index_interval_bytes,
            preallocate_bytes: if config.preallocate {
                config.segment_bytes
            } else {
                self.shared.config.preallocate_bytes
            },
            segment_bytes: u64::from(config.segment_bytes),
        };
        let active = log.segments.last_mut().expect("make_room leaves an active segment");
        active.append(&*self.shared.directory, bytes, headers, settings).map_err(|failure| match failure {
            AppendFailure::Refused(error) => error,
            AppendFailure::Unknown(error) => {
                self.shared.poison(&error.to_string());
                error
            }
        })
    }
}

/// Gives each batch its offset and epoch; returns the headers as they are then.
fn place(batches: &mut BytesMut, log: &Log, config: &TopicConfig, clock: &dyn Clock) -> Result<Vec<BatchHeader>> {
    let mut headers = Vec::with_capacity(1);
    let mut position = 0;
    let mut next = log.log_end;
    while position < batches.len() {
        let refused = |reason: String| Error::Invalid(format!("append of a malformed batch: {reason}"));
        let rest = &mut batches[position..];
        let parsed = BatchHeader::parse(rest).map_err(|malformed| refused(malformed.to_string()))?;
        let batch = rest.get_mut(..parsed.len_bytes).ok_or_else(|| refused("bytes are missing".to_owned()))?;
        if parsed.len_bytes > config.message_bytes_max as usize {
            return Err(Error::Invalid(format!(
                "batch of {} bytes is larger than the topic's max.message.bytes, {}",
                parsed.len_bytes, config.message_bytes_max
            )));
        }
        header::set_base_offset(batch, next);
        header::set_leader_epoch(batch, log.leader_epoch);
        let mut max_timestamp = parsed.max_timestamp;
        if config.timestamp_type == TimestampType::LogAppendTime && !parsed.is_control {
            max_timestamp = clock.wall_clock_ms();
            header::set_max_timestamp(batch, TimestampType::LogAppendTime, max_timestamp);
        }
        headers.push(BatchHeader { base_offset: next, leader_epoch: log.leader_epoch, max_timestamp, ..parsed });
        next = next.plus(u64::from(parsed.last_offset_delta) + 1);
        position += parsed.len_bytes;
    }
    if headers.is_empty() {
        return Err(Error::Invalid("append of no batch".to_owned()));
    }
    Ok(headers)
}

/// Shared bytes that do not keep much more memory alive than they are long.
fn compact(batches: BytesMut) -> bytes::Bytes {
    if batches.capacity() > 2 * batches.len() { bytes::Bytes::copy_from_slice(&batches) } else { batches.freeze() }
}
