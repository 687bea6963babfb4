//! The small files beside the partitions: Kafka's offset checkpoints, `meta.properties`, the mark of a clean close.

use std::{collections::BTreeMap, fmt::Write as _, io};

use super::{
    storage::{Directory, read_small, write_atomically},
    topics_file::TOPICS,
};
use crate::{
    Error, Offset, Result, TopicName, TopicPartition,
    topic::{decode_id, encode_id},
};

/// Per partition: everything before this offset is synced.
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// Per partition whose records were deleted from the front.
pub(crate) const LOG_STARTS: &str = "log-start-offset-checkpoint";
/// Per compacted partition: everything before this offset was compacted.
pub(crate) const CLEANER: &str = "cleaner-offset-checkpoint";
/// There after a clean close.
pub(crate) const CLEAN: &str = ".kafka_cleanshutdown";
/// Identity of the log.
pub(crate) const META: &str = "meta.properties";

/// One offset for each of some partitions.
pub(crate) type Offsets = BTreeMap<TopicPartition, Offset>;

/// Reads an offset checkpoint; `None` if it is missing or damaged, which costs a longer recovery and no more.
pub(crate) fn read_offsets(directory: &dyn Directory, name: &str) -> Result<Option<Offsets>> {
    let Some(bytes) = read_small(directory, name)? else { return Ok(None) };
    let offsets = parse_offsets(&bytes);
    if offsets.is_none() {
        tracing::warn!(file = %directory.locate(name).display(), "ignoring a damaged checkpoint");
    }
    Ok(offsets)
}

pub(crate) fn parse_offsets(bytes: &[u8]) -> Option<Offsets> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    if lines.next()? != "0" {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let mut offsets = Offsets::new();
    for line in lines {
        let mut words = line.split(' ');
        let topic = TopicName::new(words.next()?).ok()?;
        let partition = words.next()?.parse().ok()?;
        let offset = Offset::from_i64(words.next()?.parse().ok()?)?;
        offsets.insert(TopicPartition::new(topic, partition), offset);
    }
    (offsets.len() == count).then_some(offsets)
}

/// Replaces an offset checkpoint.
pub(crate) fn write_offsets(directory: &dyn Directory, name: &str, offsets: &Offsets) -> Result<()> {
    let mut text = format!("0\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        let _ = writeln!(text, "{} {} {offset}", partition.topic, partition.partition);
    }
    write_atomically(directory, name, text.as_bytes())
}

/// Whether the log was closed in order. The mark goes before anything else happens, so that a crash from here on is
/// seen as one.
pub(crate) fn take_clean_mark(directory: &dyn Directory) -> Result<bool> {
    match directory.remove(CLEAN).and_then(|()| directory.sync_dir("")) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", directory.locate(CLEAN), error)),
    }
}

/// Marks the log as closed in order.
pub(crate) fn write_clean_mark(directory: &dyn Directory) -> Result<()> {
    write_atomically(directory, CLEAN, b"{\"version\":0,\"brokerEpoch\":-1}")
}

/// Writes `meta.properties` if there is none.
///
/// # Errors
///
/// `Invalid` if the directory holds something else, so that a typing error mixes no log with other files.
pub(crate) fn ensure_meta(directory: &dyn Directory) -> Result<()> {
    if read_small(directory, META)?.is_none() {
        if read_small(directory, TOPICS)?.is_none() {
            check_is_empty(directory)?;
        }
        let (cluster, own) = (encode_id(random_id()), encode_id(random_id()));
        let text = format!("version=1\ncluster.id={cluster}\nnode.id=1\ndirectory.id={own}\n");
        write_atomically(directory, META, text.as_bytes())?;
    }
    Ok(())
}

/// A new log needs a place of its own; hidden files and what the system puts on every disk may be there.
fn check_is_empty(directory: &dyn Directory) -> Result<()> {
    let root = directory.locate("");
    let entries = directory.list("").map_err(|error| Error::io("list", root.clone(), error))?;
    let is_other = |name: &str| !name.starts_with('.') && !name.ends_with(".tmp") && name != "lost+found";
    match entries.iter().find(|entry| is_other(&entry.name)) {
        None => Ok(()),
        Some(other) => Err(Error::Invalid(format!(
            "{} holds no log, but other files ({}): choose an empty directory",
            root.display(),
            other.name
        ))),
    }
}

/// True for the directory of a partition that was deleted: `TOPIC-PARTITION.ID-delete`.
pub(crate) fn is_deleted(name: &str) -> bool {
    let id = name.strip_suffix("-delete").and_then(|name| name.rsplit_once('.')).map(|(_, id)| id);
    id.is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The topic's id in a partition directory that Kafka made.
pub(crate) fn read_topic_id(directory: &dyn Directory, partition_directory: &str) -> Result<Option<[u8; 16]>> {
    let bytes = read_small(directory, &format!("{partition_directory}/partition.metadata"))?;
    let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    Ok(text.lines().find_map(|line| decode_id(line.strip_prefix("topic_id: ")?.trim())))
}

/// Sixteen random bytes of version 4, like Java's.
pub(crate) fn random_id() -> [u8; 16] {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random = || RandomState::new().build_hasher().finish().to_be_bytes();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&random());
    id[8..].copy_from_slice(&random());
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_deletion_left_behind_is_taken_for_it() {
        for name in
            ["clicks-0.0123456789abcdef0123456789abcdef-delete", "a.b-7.0123456789ABCDEF0123456789ABCDEF-delete"]
        {
            assert!(is_deleted(name), "{name}");
        }
        for name in
            ["things-to-delete", "-delete", "clicks-0.0123-delete", "clicks-0.0123456789abcdef0123456789abcdeg-delete"]
        {
            assert!(!is_deleted(name), "{name}");
        }
    }
}
