//! Keeps the global stores up to date: every partition of their topics, outside any group.
//!
//! The stores are complete up to the end of their topics, as that was at the start, before the first stream thread
//! begins. A store whose topic has one partition goes on from its checkpoint; files of several partitions have no single
//! position, and are filled anew.

use std::{collections::BTreeMap, sync::Arc};

use log_store::{
    Offset, TopicPartition,
    client::{CommittedOffset, Consumer, ConsumerConfig, Polled, Producer, ProducerConfig, StartAt},
};

use super::{
    application::Application, blueprint::Blueprint, control::Control, global_stores::GlobalStores,
    queries::GLOBAL_STORES, thread_state::StreamThreadState,
};
use crate::{
    Result,
    task::stream_task::{NotLogged, StreamTask},
};

/// Number under which the application knows this thread: stream threads count from 1.
pub(crate) const INDEX: u32 = 0;

/// Records between two looks at the clock and at the control.
const RUN_RECORDS: usize = 1_000;

/// What fills the global stores.
pub(crate) struct GlobalThread {
    app: Arc<Application>,
    control: Arc<Control>,
    consumer: Box<dyn Consumer>,
    /// Processors of global stores have no children: nothing is ever sent.
    producer: Box<dyn Producer>,
    /// One for each partition.
    tasks: BTreeMap<TopicPartition, StreamTask>,
    ends: BTreeMap<TopicPartition, Offset>,
}

impl GlobalThread {
    /// Reads the topics of `blueprint`, the part of the topology that fills global stores, into `stores`.
    pub(crate) fn new(app: Arc<Application>, blueprint: &Blueprint, stores: &GlobalStores) -> Result<Self> {
        let client_id = format!("{}-GlobalStreamThread", app.settings.client_id);
        let isolation = app.settings.isolation();
        let config = ConsumerConfig { client_id: client_id.clone(), isolation, ..ConsumerConfig::default() };
        let mut consumer = app.client.consumer(&config)?;
        let producer = app.client.producer(&ProducerConfig { client_id, ..ProducerConfig::default() })?;
        let partitions = blueprint.inputs();
        let mut ends = BTreeMap::new();
        for partition in &partitions {
            ends.insert(partition.clone(), consumer.end_offset(partition, isolation)?);
        }
        let starts = starts(&partitions, &ends, stores)?;
        consumer.assign(&starts)?;
        let wall_clock_time = app.clock.wall_clock_ms();
        let mut tasks = BTreeMap::new();
        for (partition, start) in &starts {
            let Some(task) = blueprint.task_of(partition) else { continue };
            let committed = match start {
                StartAt::Offset(offset) => CommittedOffset { offset: *offset, metadata: String::new() },
                _ => CommittedOffset::default(),
            };
            let committed = [(partition.clone(), committed)].into();
            tasks.insert(
                partition.clone(),
                blueprint.make_task(task, stores.vacant().collect(), &committed, wall_clock_time),
            );
        }
        let control = Arc::new(Control::new(consumer.waker()));
        Ok(GlobalThread { app, control, consumer, producer, tasks, ends })
    }

    pub(crate) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// Fills the stores, starts the stream threads, and goes on until it is asked to close.
    pub(crate) fn run(mut self) -> Result<()> {
        self.app.thread_entered(INDEX, StreamThreadState::PartitionsAssigned);
        let app = Arc::clone(&self.app);
        let stores = app.global_stores();
        for task in self.tasks.values_mut() {
            stores.lend(task, |task| task.init(&mut self.producer))?;
        }
        let mut is_complete = false;
        while !self.control.is_closing() {
            if !is_complete && self.has_reached_ends() {
                is_complete = true;
                self.app.queries.opened(GLOBAL_STORES, &self.control, &mut stores.lock())?;
                self.app.thread_entered(INDEX, StreamThreadState::Running);
                self.app.spawn_configured()?;
            }
            self.answer_questions(stores);
            self.turn(stores)?;
        }
        for (_, task) in std::mem::take(&mut self.tasks) {
            task.close();
        }
        Ok(())
    }

    fn has_reached_ends(&self) -> bool {
        let reached = |(partition, end): (&TopicPartition, &Offset)| {
            self.consumer.position(partition).is_some_and(|position| position >= *end)
        };
        self.ends.iter().all(reached)
    }

    /// Answers what other threads ask about the stores. All that was read is committed between two turns.
    fn answer_questions(&self, stores: &GlobalStores) {
        for question in self.control.take_questions() {
            let mut stores = stores.lock();
            let store = stores.iter_mut().find(|store| store.name() == question.store);
            (question.answer)(store.map(|store| &mut **store));
        }
    }

    fn turn(&mut self, stores: &GlobalStores) -> Result<()> {
        let Polled::Batch(batch) = self.consumer.poll(self.app.settings.poll_wait)? else { return Ok(()) };
        let partition = batch.partition.clone();
        let next = batch.next;
        let Some(task) = self.tasks.get_mut(&partition) else { return Ok(()) };
        if task.add_records(batch).is_err() {
            return Ok(());
        }
        while task.has_records() && !self.control.is_closing() {
            let wall_clock_time = self.app.clock.wall_clock_ms();
            let producer = &mut self.producer;
            stores.lend(task, |task| task.process(producer, RUN_RECORDS, wall_clock_time, &mut |_| true))?;
        }
        if task.has_records() {
            return Ok(());
        }
        // What is read is final: the stores need not hold it back.
        let end = (self.tasks.len() == 1).then_some(next);
        for store in stores.lock().iter_mut() {
            store.write_changelog(&mut NotLogged)?;
            store.committed(end)?;
        }
        Ok(())
    }
}

impl Drop for GlobalThread {
    fn drop(&mut self) {
        self.app.queries.closed(GLOBAL_STORES, &self.control);
        // Whoever waits for an answer learns that there will be none.
        self.control.end();
    }
}

/// Where reading begins; makes sure that the stores hold exactly what lies before.
fn starts(
    partitions: &[TopicPartition],
    ends: &BTreeMap<TopicPartition, Offset>,
    stores: &GlobalStores,
) -> Result<Vec<(TopicPartition, StartAt)>> {
    let mut stores = stores.lock();
    if let ([partition], [store]) = (partitions, &mut stores[..])
        && let Some(checkpoint) = store.checkpoint()
        && checkpoint <= ends[partition]
    {
        store.restored(checkpoint)?;
        return Ok(vec![(partition.clone(), StartAt::Offset(checkpoint))]);
    }
    for store in stores.iter_mut() {
        store.reset("global stores are filled from the beginning of their topics")?;
        store.restored(Offset::ZERO)?;
    }
    Ok(partitions.iter().map(|partition| (partition.clone(), StartAt::Beginning)).collect())
}
