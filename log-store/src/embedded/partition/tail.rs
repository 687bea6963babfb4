//! The batches appended last, still in memory: a reader close behind its writer gets them by reference count.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::Offset;

/// What one append brought: one or more whole batches.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    pub(crate) bytes: Bytes,
}

/// Chunks without a gap between them, the last of which ends at the log end. What is dropped goes from the front.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    chunks: VecDeque<Chunk>,
}

impl Tail {
    /// Adds the newest.
    pub(crate) fn push(&mut self, chunk: Chunk) {
        self.chunks.push_back(chunk);
    }

    /// Drops all: what comes next is not put here.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
    }

    /// Drops the oldest.
    pub(crate) fn pop(&mut self) {
        self.chunks.pop_front();
    }

    /// The chunks from the one that holds `offset` on; `None` if it is not here.
    pub(crate) fn from(&self, offset: Offset) -> Option<impl Iterator<Item = &Chunk>> {
        if self.chunks.front()?.base > offset {
            return None;
        }
        let first = self.chunks.partition_point(|chunk| chunk.next <= offset);
        Some(self.chunks.range(first..))
    }
}
