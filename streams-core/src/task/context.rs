//! All that is around the nodes of one task: stores, output, time, and where the current record comes from.

use std::{any::Any, sync::Arc, time::Duration};

use log_store::{Headers, HeadersView, RecordView, TopicName, TopicPartition};

use super::{
    TaskId,
    dead_letter::DeadLetter,
    punctuation_queue::PunctuationQueue,
    record_collector::{RecordCollector, Route},
};
use crate::{
    error::{BoxError, Error},
    handler::{Handlers, Response},
    processor::{ProcessResult, Punctuation, PunctuationType, RecordMetadata},
    serde::{Encoded, SerdeError},
    state::StateStore,
};

/// Where the record that is being processed entered the topology.
#[derive(Debug)]
pub(super) struct Origin {
    /// Input partition; `None` inside a punctuation.
    pub(super) partition: Option<TopicPartition>,
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) headers: Headers,
}

impl Origin {
    /// A punctuation at `timestamp`.
    pub(super) const fn punctuation(timestamp: i64) -> Self {
        Origin { partition: None, offset: -1, timestamp, headers: Headers::new() }
    }
}

/// What a task is made of besides its nodes.
pub(crate) struct TaskParts {
    pub(crate) id: TaskId,
    pub(crate) application_id: Arc<str>,
    /// Names of the nodes, by arena index.
    pub(crate) node_names: Vec<String>,
    pub(crate) stores: Vec<Box<dyn StateStore>>,
    /// For each node, the stores that it is connected to.
    pub(crate) connections: Vec<Vec<u32>>,
    pub(crate) collector: RecordCollector,
    /// For each of its own stores, if it is restored from an input topic instead of a changelog, that input's queue. Stores
    /// beyond these are global ones.
    pub(crate) source_changelogs: Vec<Option<u32>>,
    pub(crate) handlers: Handlers,
    /// Topic that takes the records which the handlers are asked about.
    pub(crate) dead_letter_topic: Option<Arc<str>>,
}

/// The surroundings of a task's nodes.
pub(crate) struct TaskContext {
    parts: TaskParts,
    node: u32,
    pub(super) origin: Origin,
    pub(super) stream_time: i64,
    pub(super) wall_clock_time: i64,
    pub(super) stream_punctuations: PunctuationQueue,
    pub(super) wall_punctuations: PunctuationQueue,
    punctuations: u32,
    commit_requested: bool,
    dropped_records: u64,
    uses_global_stores: bool,
    /// Letters whose records are still to be looked up, once the nodes are done.
    dead_letters: Vec<DeadLetter>,
    /// Progress that processors keep beside the committed offsets.
    processor_metadata: Vec<(String, i64)>,
}

impl TaskContext {
    pub(super) fn new(parts: TaskParts, wall_clock_time: i64) -> Self {
        TaskContext {
            parts,
            node: 0,
            origin: Origin::punctuation(-1),
            stream_time: -1,
            wall_clock_time,
            stream_punctuations: PunctuationQueue::new(),
            wall_punctuations: PunctuationQueue::new(),
            punctuations: 0,
            commit_requested: false,
            dropped_records: 0,
            uses_global_stores: false,
            dead_letters: Vec::new(),
            processor_metadata: Vec::new(),
        }
    }

    /// The stores that a node is connected to, by their place.
    pub(super) fn stores_of(&self, node: u32) -> &[u32] {
        self.parts.connections.get(node as usize).map_or(&[], Vec::as_slice)
    }

    /// Marks `node` as the one that runs now.
    #[inline]
    pub(crate) fn enter(&mut self, node: u32) {
        self.node = node;
    }

    /// The node that runs now.
    #[inline]
    pub(crate) fn node(&self) -> u32 {
        self.node
    }

    /// The current node failed: either the error goes up, or the processing exception handler lets the task go on at
    /// `came_from`, without the record.
    #[cold]
    pub(crate) fn on_processing_error(&mut self, error: BoxError, came_from: u32) -> ProcessResult {
        // Failures of stores and log, and what a handler has decided already, concern the whole task.
        if error.is::<Error>() {
            return Err(error);
        }
        let error = self.processing_error(error.to_string());
        self.write_dead_letter(&error);
        match self.parts.handlers.processing.handle(&error) {
            Response::Fail => Err(error.into()),
            Response::Continue => {
                self.dropped_records += 1;
                self.enter(came_from);
                Ok(())
            }
        }
    }

    /// The error of the current node on the current record.
    pub(super) fn processing_error(&self, reason: String) -> Error {
        let partition = self.origin.partition.as_ref();
        Error::Processing {
            node: self.node_name().to_owned(),
            task: self.parts.id.to_string(),
            topic: partition.map_or_else(|| "punctuation".to_owned(), |p| p.topic.to_string()),
            partition: partition.map_or(0, |p| p.partition),
            offset: self.origin.offset,
            reason,
        }
    }

    /// Writes a letter about `error` on the current record, if there is a topic for it.
    fn write_dead_letter(&mut self, error: &Error) {
        if self.parts.dead_letter_topic.is_some() {
            let Origin { partition, offset, timestamp, headers } = &self.origin;
            self.dead_letters.push(DeadLetter::new(error, partition.as_ref(), *offset, *timestamp, headers.clone()));
        }
    }

    /// True if there are letters to be sent.
    #[inline]
    pub(super) fn has_dead_letters(&self) -> bool {
        !self.dead_letters.is_empty()
    }

    pub(super) fn take_dead_letters(&mut self) -> Vec<DeadLetter> {
        std::mem::take(&mut self.dead_letters)
    }

    /// True if the records which the handlers are asked about are to be kept.
    pub(super) fn keeps_dead_letters(&self) -> bool {
        self.parts.dead_letter_topic.is_some()
    }

    /// Sends a letter with the bytes of its record.
    pub(super) fn send_dead_letter(
        &mut self,
        letter: &DeadLetter,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), Error> {
        let Some(topic) = &self.parts.dead_letter_topic else { return Ok(()) };
        let collector = &mut self.parts.collector;
        let route = collector.route(topic)?;
        let partition = collector.default_partition(route, key);
        let headers = HeadersView::from(&letter.headers);
        collector.send(route, partition, RecordView { timestamp: letter.timestamp, key, value, headers })
    }

    fn node_name(&self) -> &str {
        self.parts.node_names.get(self.node as usize).map_or("", String::as_str)
    }

    pub(crate) fn handlers(&self) -> &Handlers {
        &self.parts.handlers
    }

    pub(crate) fn connected_store(&mut self, node: u32, name: &str) -> ProcessResult<u32> {
        let connected = self.parts.connections.get(node as usize).map_or(&[][..], Vec::as_slice);
        let found = connected.iter().find(|store| self.parts.stores[**store as usize].name() == name);
        if let Some(found) = found.copied() {
            self.uses_global_stores |= found as usize >= self.parts.source_changelogs.len();
            return Ok(found);
        }
        Err(format!("processor {} is not connected to a store called {name:?}", self.node_name()).into())
    }

    /// True if a node has asked for a store beyond the task's own.
    pub(super) fn uses_global_stores(&self) -> bool {
        self.uses_global_stores
    }

    /// A record with this time and these headers is passed on: from here on they are the context's, as far as they
    /// differ. Gives back what [`Self::restore`] needs afterwards.
    #[inline]
    pub(crate) fn adopt(&mut self, timestamp: i64, headers: &Headers) -> Option<(i64, Headers)> {
        let origin = &mut self.origin;
        if origin.timestamp == timestamp && origin.headers.is_same(headers) {
            return None;
        }
        let timestamp = std::mem::replace(&mut origin.timestamp, timestamp);
        Some((timestamp, std::mem::replace(&mut origin.headers, headers.clone())))
    }

    /// Undoes [`Self::adopt`].
    #[inline]
    pub(crate) fn restore(&mut self, context: Option<(i64, Headers)>) {
        if let Some((timestamp, headers)) = context {
            self.origin.timestamp = timestamp;
            self.origin.headers = headers;
        }
    }

    /// The store behind an index, told on behalf of which record it is used.
    #[inline]
    pub(crate) fn store_in_hand<S: StateStore>(&mut self, index: u32) -> Option<&mut S> {
        let store = self.parts.stores.get_mut(index as usize)?;
        store.set_record_context(self.origin.timestamp, &self.origin.headers);
        let store: &mut dyn Any = &mut **store;
        store.downcast_mut()
    }

    #[inline]
    pub(crate) fn store_of<S: StateStore>(&mut self, index: u32) -> Option<&mut S> {
        let store: &mut dyn Any = &mut **self.parts.stores.get_mut(index as usize)?;
        store.downcast_mut()
    }

    pub(crate) fn stores(&mut self) -> &mut [Box<dyn StateStore>] {
        &mut self.parts.stores
    }

    pub(super) fn into_stores(self) -> Vec<Box<dyn StateStore>> {
        self.parts.stores
    }

    /// Stores together with the collector that takes their changelogs.
    pub(super) fn stores_and_collector(&mut self) -> (&mut [Box<dyn StateStore>], &mut RecordCollector) {
        (&mut self.parts.stores, &mut self.parts.collector)
    }

    /// The queue whose topic stands for the changelog of store `index`.
    pub(super) fn source_changelog(&self, index: usize) -> Option<u32> {
        self.parts.source_changelogs.get(index).copied().flatten()
    }

    #[inline]
    pub(crate) fn collector(&mut self) -> &mut RecordCollector {
        &mut self.parts.collector
    }

    /// What a serde made of a result: `None` if the production exception handler leaves the record out.
    #[inline]
    pub(crate) fn check_serialized(
        &mut self,
        result: Result<Encoded, SerdeError>,
        route: Route,
        part: &str,
    ) -> ProcessResult<Option<Encoded>> {
        match result {
            Ok(encoded) => Ok(Some(encoded)),
            Err(error) => {
                self.on_production_error(route, format!("the {part} cannot be serialized: {error}"))?;
                Ok(None)
            }
        }
    }

    /// What became of a send: a record that the log refuses goes to the production exception handler, anything else
    /// stops the task.
    #[inline(always)]
    pub(crate) fn check_sent(&mut self, result: Result<(), Error>, route: Route) -> ProcessResult {
        match result {
            Ok(()) => Ok(()),
            Err(error) => self.on_refused(error, route),
        }
    }

    #[cold]
    fn on_refused(&mut self, error: Error, route: Route) -> ProcessResult {
        match error {
            Error::Log(log_store::Error::Invalid(reason)) | Error::Production { reason, .. } => {
                self.on_production_error(route, reason)
            }
            error => Err(error.into()),
        }
    }

    #[cold]
    fn on_production_error(&mut self, route: Route, reason: String) -> ProcessResult {
        let topic = self.parts.collector.topic(route).to_owned();
        let error = Error::Production { topic, node: self.node_name().to_owned(), reason };
        self.write_dead_letter(&error);
        match self.parts.handlers.production.handle(&error) {
            Response::Fail => Err(error.into()),
            Response::Continue => {
                self.dropped_records += 1;
                Ok(())
            }
        }
    }

    pub(crate) fn schedule(&mut self, interval: Duration, kind: PunctuationType) -> Punctuation {
        let punctuation = Punctuation(self.punctuations);
        self.punctuations += 1;
        let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX / 2).max(1);
        match kind {
            PunctuationType::StreamTime => self.stream_punctuations.schedule(self.node, punctuation, 0, interval),
            PunctuationType::WallClockTime => {
                let first = self.wall_clock_time.saturating_add(interval);
                self.wall_punctuations.schedule(self.node, punctuation, first, interval);
            }
        }
        punctuation
    }

    pub(crate) fn cancel(&mut self, punctuation: Punctuation) {
        self.stream_punctuations.cancel(punctuation);
        self.wall_punctuations.cancel(punctuation);
    }

    pub(crate) fn request_commit(&mut self) {
        self.commit_requested = true;
    }

    /// True once after a request.
    pub(super) fn take_commit_request(&mut self) -> bool {
        std::mem::take(&mut self.commit_requested)
    }

    pub(crate) fn record_metadata(&self) -> Option<RecordMetadata> {
        let partition = self.origin.partition.as_ref()?;
        Some(RecordMetadata {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            offset: self.origin.offset,
        })
    }

    /// The current record is now one that came from elsewhere. Gives back where the one before came from.
    pub(crate) fn set_record_metadata(&mut self, metadata: Option<&RecordMetadata>) -> Option<RecordMetadata> {
        let before = self.record_metadata();
        // The name was a topic's when the record came; what no topic can be called is no origin.
        self.origin.partition =
            metadata.and_then(|of| Some(TopicPartition::new(TopicName::new(&of.topic).ok()?, of.partition)));
        self.origin.offset = metadata.map_or(-1, |of| of.offset);
        before
    }

    #[inline]
    pub(crate) fn offset(&self) -> i64 {
        self.origin.offset
    }

    #[inline]
    pub(crate) fn timestamp(&self) -> i64 {
        self.origin.timestamp
    }

    pub(crate) fn headers(&self) -> Headers {
        self.origin.headers.clone()
    }

    #[inline]
    pub(crate) fn stream_time(&self) -> i64 {
        self.stream_time
    }

    #[inline]
    pub(crate) fn wall_clock_time(&self) -> i64 {
        self.wall_clock_time
    }

    pub(crate) fn id(&self) -> TaskId {
        self.parts.id
    }

    pub(crate) fn application_id(&self) -> &str {
        &self.parts.application_id
    }

    #[cold]
    pub(crate) fn drop_record(&mut self, reason: &'static str) {
        self.dropped_records += 1;
        let (node, task) = (self.node_name(), self.parts.id);
        tracing::debug!(%task, node, offset = self.origin.offset, reason, "record dropped");
    }

    /// Counts records that never entered the topology.
    pub(super) fn add_dropped(&mut self, count: u64) {
        self.dropped_records += count;
    }

    /// Records that operators have dropped so far.
    pub(crate) fn dropped_records(&self) -> u64 {
        self.dropped_records
    }

    /// Progress called `key` that a processor keeps beside the committed offsets (emit-on-close).
    pub(crate) fn processor_metadata(&self, key: &str) -> Option<i64> {
        self.processor_metadata.iter().find(|(known, _)| known == key).map(|(_, value)| *value)
    }

    /// Sets progress called `key`; committed with the next offsets.
    pub(crate) fn set_processor_metadata(&mut self, key: &str, value: i64) {
        match self.processor_metadata.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value,
            None => self.processor_metadata.push((key.to_owned(), value)),
        }
    }

    pub(super) fn all_processor_metadata(&self) -> &[(String, i64)] {
        &self.processor_metadata
    }
}
