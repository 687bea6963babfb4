//! One task at work: a record through the nodes, time to the punctuators, dirty state to the changelogs.
//!
//! A task owns its queues, nodes and stores, and borrows its thread's producer for the length of each call. After an
//! error nothing of it may be committed: its thread rolls it back or closes it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use log_store::{
    Offset, TopicPartition,
    client::{CommittedOffset, FetchedBatch, Producer},
};

use super::{
    commit_metadata,
    context::{Origin, TaskContext, TaskParts},
    dead_letter::DeadLetter,
    partition_group::PartitionGroup,
    record_queue::{HeadError, RecordQueue},
    source_node::ErasedSource,
};
use crate::{
    error::{BoxError, Error, Result},
    handler::Response,
    processor::erased::{NodeCell, at_node},
    state::{ChangelogSink, StateStore},
};

/// One input partition of a task that is to be made.
pub(crate) struct Input {
    pub(crate) partition: TopicPartition,
    /// Arena index and name of its source node.
    pub(crate) source_index: u32,
    pub(crate) source_name: String,
    pub(crate) source: Box<dyn ErasedSource>,
    /// Where the group's offsets say that processing goes on, with the partition's time.
    pub(crate) committed: Option<CommittedOffset>,
}

/// One sub-topology on one partition number.
pub(crate) struct StreamTask {
    nodes: Vec<NodeCell>,
    group: PartitionGroup,
    context: TaskContext,
    /// Queue of the record that `context.origin` tells of.
    origin_queue: Option<u32>,
    /// Positions that the last commit covered, by queue.
    committed: Vec<Option<Offset>>,
}

impl StreamTask {
    /// A task whose stores are restored and whose nodes are not yet initialised.
    pub(crate) fn new(nodes: Vec<NodeCell>, inputs: Vec<Input>, parts: TaskParts, wall_clock_time: i64) -> Self {
        let mut context = TaskContext::new(parts, wall_clock_time);
        let mut committed = Vec::with_capacity(inputs.len());
        let queues = inputs.into_iter().map(|input| {
            let (time, metadata) = match &input.committed {
                Some(offset) => commit_metadata::decode(&offset.metadata),
                None => (commit_metadata::UNKNOWN, Vec::new()),
            };
            for (key, value) in metadata {
                let known = context.processor_metadata(&key).unwrap_or(value);
                context.set_processor_metadata(&key, known.max(value));
            }
            // Stream time survives a restart: it is the greatest of the partitions' times.
            context.stream_time = context.stream_time.max(time);
            committed.push(input.committed.map(|offset| offset.offset));
            let children = &nodes[input.source_index as usize].children;
            let stores = children.iter().flat_map(|child| context.stores_of(*child)).copied().collect();
            RecordQueue::new(input.partition, input.source_index, input.source_name, input.source, time, stores)
        });
        let group = PartitionGroup::new(queues.collect());
        StreamTask { nodes, group, context, origin_queue: None, committed }
    }

    /// Initialises the nodes, parents first.
    pub(crate) fn init(&mut self, producer: &mut Box<dyn Producer>) -> Result<()> {
        self.with_producer(producer, |task| {
            for index in 0..task.nodes.len() as u32 {
                at_node(&mut task.nodes, index, &mut task.context, |node, at| node.init(at))
                    .map_err(|error| task.fatal(error))?;
            }
            Ok(())
        })
    }

    /// Queues records of one of the task's partitions.
    ///
    /// # Errors
    ///
    /// Gives the batch back if the partition is not the task's.
    pub(crate) fn add_records(&mut self, batch: FetchedBatch) -> Result<(), FetchedBatch> {
        self.group.push(batch)
    }

    /// Bytes that wait in the queue of `partition`.
    pub(crate) fn buffered_bytes(&self, partition: &TopicPartition) -> usize {
        let queue = self.group.queues.iter().find(|queue| queue.partition == *partition);
        queue.map_or(0, RecordQueue::buffered_bytes)
    }

    /// Processes up to `limit` records in the order of their timestamps, and the stream-time punctuations between them;
    /// says how many.
    ///
    /// With several input partitions of which one has no record, `may_proceed` is asked with the empty partitions: while
    /// one of them has records in the log that are on their way, going on would take records out of order.
    ///
    /// # Errors
    ///
    /// What the handlers did not forgive; failures of stores and log always.
    pub(crate) fn process(
        &mut self,
        producer: &mut Box<dyn Producer>,
        limit: usize,
        wall_clock_time: i64,
        may_proceed: &mut dyn FnMut(&mut dyn Iterator<Item = &TopicPartition>) -> bool,
    ) -> Result<usize> {
        self.context.wall_clock_time = wall_clock_time;
        self.with_producer(producer, |task| {
            for queue in 0..task.group.queues.len() as u32 {
                task.fill(queue)?;
            }
            let mut processed = 0;
            while processed < limit {
                if task.group.is_waiting_for_input() && !may_proceed(&mut task.group.empty_partitions()) {
                    break;
                }
                // One unwind boundary for a whole run of records: it costs nothing until a closure panics.
                let run = catch_unwind(AssertUnwindSafe(|| task.process_run(limit, &mut processed)));
                match run {
                    Ok(result) => {
                        if !result? {
                            break;
                        }
                    }
                    Err(panic) => {
                        task.on_panic(&*panic)?;
                        processed += 1;
                    }
                }
            }
            Ok(processed)
        })
    }

    /// True while there is a record to process.
    pub(crate) fn has_records(&self) -> bool {
        self.group.has_records() || self.group.queues.iter().any(|queue| queue.buffered_bytes() > 0)
    }

    /// Processes until `processed` reaches `limit` or a queue becomes empty; true if there may be more to do.
    fn process_run(&mut self, limit: usize, processed: &mut usize) -> Result<bool> {
        while *processed < limit {
            let Some(queue) = self.group.poll() else { return Ok(false) };
            self.process_head(queue)?;
            *processed += 1;
            self.punctuate_stream_time()?;
            self.fill(queue)?;
            if self.group.queues.len() > 1 && self.group.queues[queue as usize].head().is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[inline]
    fn process_head(&mut self, queue: u32) -> Result<()> {
        let records = &mut self.group.queues[queue as usize];
        let Some(head) = records.head() else { return Ok(()) };
        let context = &mut self.context;
        if self.origin_queue != Some(queue) {
            self.origin_queue = Some(queue);
            context.origin.partition = Some(records.partition.clone());
        }
        context.origin.offset = head.offset.as_i64();
        context.origin.timestamp = head.timestamp;
        context.origin.headers.clone_from(&head.headers);
        context.stream_time = context.stream_time.max(head.timestamp);
        // Consumed before it is processed: a record that fails and is forgiven must not come again.
        records.consume_head();
        let source = records.source_index;
        let forwarded = records.source.forward(&mut self.nodes, source, context);
        if self.context.has_dead_letters() {
            self.send_dead_letters(Some(queue))?;
        }
        match forwarded {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fatal(error)),
        }
    }

    /// Sends the letters that the nodes have written; the record that they tell of is in `queue`, if in any.
    #[cold]
    fn send_dead_letters(&mut self, queue: Option<u32>) -> Result<()> {
        for letter in self.context.take_dead_letters() {
            let of_letter = |queue: &&mut RecordQueue| letter.partition.as_ref() == Some(&queue.partition);
            let queue = queue.map(|queue| &mut self.group.queues[queue as usize]).filter(of_letter);
            let raw = queue.and_then(|queue| queue.raw(letter.offset));
            let (key, value) = raw.map_or((None, None), |raw| (raw.key, raw.value));
            self.context.send_dead_letter(&letter, key, value)?;
        }
        Ok(())
    }

    /// Sends a letter about the record that `queue` could not read.
    #[cold]
    fn send_undecoded(&mut self, queue: u32, error: &Error) -> Result<()> {
        let Error::Deserialization { offset, .. } = error else { return Ok(()) };
        let queue = &mut self.group.queues[queue as usize];
        let partition = queue.partition.clone();
        let Some(raw) = queue.raw(*offset) else { return Ok(()) };
        let letter = DeadLetter::new(error, Some(&partition), *offset, raw.timestamp, raw.headers.to_headers());
        self.context.send_dead_letter(&letter, raw.key, raw.value)
    }

    fn fill(&mut self, queue: u32) -> Result<()> {
        loop {
            let filled = self.group.fill(queue, self.context.wall_clock_time, self.context.stores());
            self.context.add_dropped(self.group.queues[queue as usize].take_skipped());
            match filled {
                Ok(()) => return Ok(()),
                Err(HeadError::Batch(error)) => return Err(error),
                Err(HeadError::Record(error)) => {
                    if self.context.keeps_dead_letters() {
                        self.send_undecoded(queue, &error)?;
                    }
                    if self.context.handlers().deserialization.handle(&error) == Response::Fail {
                        return Err(error);
                    }
                    self.context.add_dropped(1);
                }
            }
        }
    }

    fn punctuate_stream_time(&mut self) -> Result<()> {
        let now = self.context.stream_time;
        if self.context.stream_punctuations.next_due().is_none_or(|due| due > now) {
            return Ok(());
        }
        let origin_queue = self.origin_queue;
        let record = std::mem::replace(&mut self.context.origin, Origin::punctuation(now));
        while let Some(due) = self.context.stream_punctuations.take_due(now) {
            self.punctuate(due.node, due.punctuation, now)?;
        }
        // What caching holds back is mostly the record's doing, and is passed on as such at the commit that may follow.
        self.origin_queue = origin_queue;
        self.context.origin = record;
        Ok(())
    }

    /// Runs the wall-clock punctuations that are due.
    ///
    /// # Errors
    ///
    /// As [`StreamTask::process`].
    pub(crate) fn punctuate_wall_clock(&mut self, producer: &mut Box<dyn Producer>, now: i64) -> Result<()> {
        self.context.wall_clock_time = now;
        if self.next_wall_clock_punctuation().is_none_or(|due| due > now) {
            return Ok(());
        }
        self.with_producer(producer, |task| {
            while let Some(due) = task.context.wall_punctuations.take_due(now) {
                let run = catch_unwind(AssertUnwindSafe(|| task.punctuate(due.node, due.punctuation, now)));
                run.unwrap_or_else(|panic| task.on_panic(&*panic))?;
            }
            Ok(())
        })
    }

    /// When the next wall-clock punctuation is due.
    pub(crate) fn next_wall_clock_punctuation(&self) -> Option<i64> {
        self.context.wall_punctuations.next_due()
    }

    fn punctuate(&mut self, node: u32, punctuation: crate::processor::Punctuation, time: i64) -> Result<()> {
        self.origin_queue = None;
        self.context.origin = Origin::punctuation(time);
        let result =
            at_node(&mut self.nodes, node, &mut self.context, |node, at| node.punctuate(punctuation, time, at));
        let result = result.or_else(|error| self.context.on_processing_error(error, node));
        if self.context.has_dead_letters() {
            self.send_dead_letters(None)?;
        }
        match result {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fatal(error)),
        }
    }

    /// Lets every processor forward what it held back, parents first. The first step of a commit.
    ///
    /// # Errors
    ///
    /// As [`StreamTask::process`].
    pub(crate) fn flush(&mut self, producer: &mut Box<dyn Producer>) -> Result<()> {
        self.with_producer(producer, |task| {
            for index in 0..task.nodes.len() as u32 {
                let run = catch_unwind(AssertUnwindSafe(|| {
                    at_node(&mut task.nodes, index, &mut task.context, |node, at| node.flush(at))
                        .or_else(|error| task.context.on_processing_error(error, index))
                }));
                match run {
                    Ok(result) => result.map_err(|error| task.fatal(error))?,
                    Err(panic) => task.on_panic(&*panic)?,
                }
                if task.context.has_dead_letters() {
                    task.send_dead_letters(None)?;
                }
            }
            Ok(())
        })
    }

    /// Writes every dirty entry of every store to its changelog, once. The second step of a commit.
    ///
    /// # Errors
    ///
    /// Failures of stores and log.
    pub(crate) fn write_changelogs(&mut self, producer: &mut Box<dyn Producer>) -> Result<()> {
        self.with_producer(producer, |task| {
            let (stores, collector) = task.context.stores_and_collector();
            let mut refused = 0;
            for (index, store) in stores.iter_mut().enumerate() {
                match collector.changelog(index)? {
                    Some(mut changelog) => store.write_changelog(&mut changelog)?,
                    None => store.write_changelog(&mut NotLogged)?,
                }
                refused += store.take_refused();
            }
            task.context.add_dropped(refused);
            Ok(())
        })
    }

    /// Positions that are not committed yet, with what Kafka Streams keeps beside them. The third step of a commit.
    pub(crate) fn positions(&self) -> Vec<(TopicPartition, CommittedOffset)> {
        let processor = self.context.all_processor_metadata();
        let queues = self.group.queues.iter().zip(&self.committed);
        let moved = queues.filter_map(|(queue, committed)| {
            let position = queue.position().filter(|position| Some(*position) != *committed)?;
            let metadata = commit_metadata::encode(queue.partition_time, processor);
            Some((queue.partition.clone(), CommittedOffset { offset: position, metadata }))
        });
        moved.collect()
    }

    /// The commit is durable: stores may let go of what it covered. The last step of a commit.
    ///
    /// # Errors
    ///
    /// Failures of stores.
    pub(crate) fn committed(&mut self, producer: &mut Box<dyn Producer>) -> Result<()> {
        for (committed, queue) in self.committed.iter_mut().zip(&self.group.queues) {
            *committed = queue.position().or(*committed);
        }
        self.with_producer(producer, |task| {
            for index in 0..task.context.stores().len() {
                let source = task.context.source_changelog(index);
                let end = match source {
                    Some(queue) => task.group.queues[queue as usize].position(),
                    None => task.context.collector().changelog_end(index),
                };
                task.context.stores()[index].committed(end)?;
            }
            Ok(())
        })
    }

    /// True once after a processor asked for a commit.
    pub(crate) fn take_commit_request(&mut self) -> bool {
        self.context.take_commit_request()
    }

    /// Bytes of uncommitted state.
    pub(crate) fn dirty_bytes(&mut self) -> usize {
        self.context.stores().iter().map(|store| store.dirty_bytes()).sum()
    }

    /// Closes the nodes and gives the stores back, for closing or for another task of the same id.
    pub(crate) fn close(mut self) -> Vec<Box<dyn StateStore>> {
        for node in &mut self.nodes {
            // A panic while closing must not keep the others from being closed.
            let _ = catch_unwind(AssertUnwindSafe(|| node.processor.close()));
        }
        self.context.into_stores()
    }

    /// True if a node reads a global store: they must be lent to the task whenever it runs.
    pub(crate) fn uses_global_stores(&self) -> bool {
        self.context.uses_global_stores()
    }

    /// Records dropped by operators, handlers and extractors so far.
    pub(crate) fn dropped_records(&self) -> u64 {
        self.context.dropped_records()
    }

    /// The stores, by the order in which the topology added them.
    pub(crate) fn stores(&mut self) -> &mut [Box<dyn StateStore>] {
        self.context.stores()
    }

    #[inline]
    fn with_producer<R>(&mut self, producer: &mut Box<dyn Producer>, call: impl FnOnce(&mut Self) -> R) -> R {
        self.context.collector().swap_producer(producer);
        let result = call(self);
        self.context.collector().swap_producer(producer);
        result
    }

    /// An error that stops the task, as the crate's own type.
    #[cold]
    fn fatal(&self, error: BoxError) -> Error {
        match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(other) => self.context.processing_error(other.to_string()),
        }
    }

    /// User code panicked at the current node: contained, and treated like an error of the same node.
    #[cold]
    fn on_panic(&mut self, panic: &(dyn std::any::Any + Send)) -> Result<()> {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let reason = format!("panicked: {}", text.unwrap_or_else(|| "no message".to_owned()));
        let node = self.context.node();
        let result = self.context.on_processing_error(reason.into(), node);
        if self.context.has_dead_letters() {
            self.send_dead_letters(self.origin_queue)?;
        }
        result.map_err(|error| self.fatal(error))?;
        for queue in 0..self.group.queues.len() as u32 {
            self.fill(queue)?;
        }
        Ok(())
    }
}

/// Stands for the changelog of a store that has none.
pub(crate) struct NotLogged;

impl ChangelogSink for NotLogged {
    fn log(&mut self, _: &[u8], _: Option<&[u8]>, _: i64, _: log_store::HeadersView<'_>) -> Result<()> {
        Ok(())
    }
}
