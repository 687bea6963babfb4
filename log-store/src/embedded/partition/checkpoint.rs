//! What is written down about a partition, so that opening it again is short.

use std::{io, sync::Arc};

use super::{Partition, Slot};
use crate::{
    Error, Offset, Result,
    embedded::{segment::Segment, storage::SegmentFile},
};

impl Partition {
    /// After a crash: opens the partition now. One that turns out to be damaged stays so, alone.
    pub(crate) fn recover_if_possible(&self) -> Result<()> {
        match self.log() {
            Ok(_) => Ok(()),
            Err(error @ Error::Corrupt { .. }) => {
                tracing::error!(partition = %self.id, %error, "a partition is damaged and cannot be used");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Brings what recovery needs up to the log end, if records came since the last time: the batches, the indexes and a
    /// snapshot of the producers, all synced. Appends go on meanwhile, and so do their syncs: what those wait for is not
    /// taken from them, since they might acknowledge before it is synced here.
    pub(crate) fn prepare_checkpoint(self: &Arc<Self>) -> Result<()> {
        let directory = &*self.shared.directory;
        let (files, end, has_new_names) = {
            let Slot::Open(log) = &mut *self.slot.lock() else { return Ok(()) };
            if log.log_end <= log.checkpointed {
                return Ok(());
            }
            self.note_open_files(log);
            let has_new_names = log.has_new_names;
            let mut files = vec![self.take_snapshot(log)?];
            // The snapshot's name matters to the checkpoint alone.
            log.has_new_names = has_new_names;
            self.drop_old_snapshots(log)?;
            if let Some(active) = log.segments.last_mut() {
                files.extend(active.store_indexes(directory)?);
                files.push(active.file(directory)?);
            }
            files.extend(log.unsynced.iter().cloned());
            (files, log.log_end, has_new_names)
        };
        let sync = || {
            self.sync_files(files.iter().map(|file| &**file))?;
            directory.sync_dir(&self.directory_name).map_err(|error| self.failure("sync", error))?;
            // The partition's own name.
            if has_new_names { directory.sync_dir("").map_err(|error| self.failure("sync", error)) } else { Ok(()) }
        };
        match sync() {
            // Its topic was deleted meanwhile.
            Err(_) if matches!(*self.slot.lock(), Slot::Deleted) => return Ok(()),
            // What is in the files after a failed sync, nobody knows.
            synced => synced.inspect_err(|error| self.shared.poison(&error.to_string()))?,
        }
        if let Slot::Open(log) = &mut *self.slot.lock() {
            log.recovery_point = log.recovery_point.max(end);
            log.checkpointed = end;
        }
        Ok(())
    }

    /// The recovery point that may be written down.
    pub(crate) fn checkpointed(&self) -> Offset {
        match &*self.slot.lock() {
            Slot::Open(log) => log.checkpointed,
            Slot::Closed | Slot::Damaged { .. } => self.known.recovery_point,
            Slot::Deleted => Offset::ZERO,
        }
    }

    /// The log start, where the segments do not tell it.
    pub(crate) fn log_start_to_note(&self) -> Option<Offset> {
        match &*self.slot.lock() {
            Slot::Open(log) => {
                let base = log.segments.first().map_or(Offset::ZERO, |segment| segment.base);
                (log.log_start > base).then_some(log.log_start)
            }
            Slot::Closed | Slot::Damaged { .. } => self.known.log_start,
            Slot::Deleted => None,
        }
    }

    /// Ends the active segment's files, durably. Nothing is appended any more.
    pub(crate) fn seal_for_close(&self) -> Result<()> {
        let Slot::Open(log) = &mut *self.slot.lock() else { return Ok(()) };
        if !log.is_ended
            && let Some(active) = log.segments.last_mut()
        {
            let mut files = active.seal(&*self.shared.directory)?;
            files.extend(std::mem::take(&mut log.unsynced));
            files.push(self.take_snapshot(log)?);
            self.drop_old_snapshots(log)?;
            self.sync_files(files.iter().map(|file| &**file))?;
            let synced = self.shared.directory.sync_dir(&self.directory_name);
            synced.map_err(|error| self.failure("sync", error))?;
            // There may be thousands.
            log.segments.iter_mut().for_each(Segment::release);
        }
        log.is_ended = true;
        log.recovery_point = log.log_end;
        log.checkpointed = log.log_end;
        Ok(())
    }

    /// Removes the partition with its files. Whoever still holds it gets `UnknownTopic`.
    pub(crate) fn delete(&self) -> Result<()> {
        let directory = &*self.shared.directory;
        *self.slot.lock() = Slot::Deleted;
        self.notify();
        let id = u128::from_be_bytes(self.topic_id);
        // Kafka's name for it; the topic is cut so that the whole stays a legal file name.
        let topic = self.id.topic.as_str();
        let end = format!("-{}.{id:032x}-delete", self.id.partition);
        let renamed = format!("{}{end}", &topic[..topic.len().min(255 - end.len())]);
        match directory.rename(&self.directory_name, &renamed) {
            Ok(()) => directory.remove_dir(&renamed).map_err(|error| self.failure("remove", error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failure("rename", error)),
        }
    }

    fn sync_files<'a>(&self, files: impl Iterator<Item = &'a dyn SegmentFile>) -> Result<()> {
        for file in files {
            file.sync().map_err(|error| self.failure("sync", error))?;
        }
        Ok(())
    }

    fn failure(&self, operation: &'static str, error: io::Error) -> Error {
        Error::io(operation, self.shared.directory.locate(&self.directory_name), error)
    }
}
