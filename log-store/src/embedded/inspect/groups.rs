//! What consumer groups have committed, read beside whoever has the log open.

use std::{collections::BTreeMap, sync::Arc};

use super::{Contents, PartitionReader, open};
use crate::{
    Offset, Result, TopicPartition,
    client::{CommittedOffset, Isolation},
    embedded::{
        group::{
            OFFSETS_TOPIC,
            record::{decode_key, decode_value},
        },
        storage::Directory,
    },
};

/// One record of `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedOffset {
    /// The group.
    pub group: String,
    /// The partition that it reads.
    pub partition: TopicPartition,
    /// Where it is; `None` deletes.
    pub committed: Option<CommittedOffset>,
}

/// Reads a record of `__consumer_offsets`; `None` if it is of another kind (a broker keeps members there, too) or damaged.
#[must_use]
pub fn decode_group_record(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<DecodedOffset> {
    let key = decode_key(key?)?;
    let committed = value.map(|value| decode_value(value).ok_or(())).transpose().ok()?;
    Some(DecodedOffset { group: key.group, partition: key.partition, committed })
}

/// All committed offsets of all groups, as they are in the files now: what an open transaction holds is left out.
///
/// # Errors
///
/// `Corrupt` for damage in the topic, `Io`.
pub fn group_offsets(
    directory: &Arc<dyn Directory>,
) -> Result<BTreeMap<String, BTreeMap<TopicPartition, CommittedOffset>>> {
    let mut groups: BTreeMap<String, BTreeMap<TopicPartition, CommittedOffset>> = BTreeMap::new();
    let Contents::Topics(topics) = open(&**directory, "topics")? else { return Ok(groups) };
    let Some(topic) = topics.into_iter().find(|topic| topic.name.as_str() == OFFSETS_TOPIC) else { return Ok(groups) };
    for number in 0..topic.partitions {
        let id = TopicPartition::new(topic.name.clone(), number);
        let mut reader = PartitionReader::new(Arc::clone(directory), id, Offset::ZERO, Isolation::ReadCommitted)?;
        while let Some(batch) = reader.next_batch()? {
            let mut cursor = batch.cursor();
            while let Some(record) = cursor.advance()? {
                let view = cursor.view(&record);
                let Some(decoded) = decode_group_record(view.key, view.value) else { continue };
                let offsets = groups.entry(decoded.group).or_default();
                match decoded.committed {
                    Some(committed) => _ = offsets.insert(decoded.partition, committed),
                    None => _ = offsets.remove(&decoded.partition),
                }
            }
        }
    }
    groups.retain(|_, offsets| !offsets.is_empty());
    Ok(groups)
}
