//! A run: messages of one partition, one after the other, on their way to become one batch.

use bytes::Bytes;
use log_store::{Header, HeadersView, Offset, RecordView, Result, TopicPartition, batch::BatchBuilder};
use rdkafka::{Message, message::Headers as _};

use crate::convert;

/// Messages of one partition, one after the other.
pub(crate) struct Run {
    pub(crate) partition: TopicPartition,
    pub(crate) start: Offset,
    pub(crate) next: Offset,
}

impl Run {
    /// A run that begins with `message`, and the builder with it.
    pub(crate) fn begin(
        mut builder: BatchBuilder,
        message: &impl Message,
        offset: Offset,
    ) -> Result<(Self, BatchBuilder)> {
        let partition = convert::topic_partition(message.topic(), message.partition())?;
        append(&mut builder, 0, message)?;
        Ok((Run { partition, start: offset, next: offset.next() }, builder))
    }

    /// True if a message continues this run.
    pub(crate) fn takes(&self, topic: &str, partition: i32, offset: Offset) -> bool {
        topic == self.partition.topic.as_str()
            && u32::try_from(partition) == Ok(self.partition.partition)
            && offset >= self.next
            && u32::try_from(offset.offsets_since(self.start)).is_ok()
    }

    /// Adds a message that the run [takes](Run::takes).
    pub(crate) fn push(&mut self, builder: &mut BatchBuilder, message: &impl Message, offset: Offset) -> Result<()> {
        let delta = u32::try_from(offset.offsets_since(self.start)).unwrap_or(u32::MAX);
        append(builder, delta, message)?;
        self.next = offset.next();
        Ok(())
    }
}

fn append<M: Message>(builder: &mut BatchBuilder, delta: u32, message: &M) -> Result<()> {
    let headers: Vec<Header> = message.headers().map_or_else(Vec::new, |headers| {
        let owned = |header: rdkafka::message::Header<'_, &[u8]>| Header {
            key: header.key.to_owned(),
            value: header.value.map(Bytes::copy_from_slice),
        };
        headers.iter().map(owned).collect()
    });
    builder.append_at(
        delta,
        RecordView {
            timestamp: message.timestamp().to_millis().unwrap_or(log_store::NO_TIMESTAMP),
            key: message.key(),
            value: message.payload(),
            headers: HeadersView::Listed(&headers),
        },
    )
}
