//! Makes the work of a stream thread final: one path for both guarantees.
//!
//! ```text
//! flush processors  ->  changelogs  ->  input positions  ->  commit (durable)  ->  stores let go
//! ```
//!
//! Exactly-once writes the first three into one transaction of the thread. At-least-once makes outputs and changelogs
//! durable first and the positions after them, so a crash in between repeats work and loses none.
//!
//! Invariant: after an error in any step nothing more is committed with this producer; [`Committer::renew`] makes a new
//! one, which fences the old and takes back what it left open.

use std::collections::BTreeMap;

use log_store::{
    TopicPartition,
    client::{CommittedOffset, Consumer, Producer, ProducerConfig, SharedClient},
};

use super::{global_stores::GlobalStores, thread_state::Failure};
use crate::{
    Error, Result,
    task::{TaskId, stream_task::StreamTask},
};

/// The producer of one stream thread, and whether it has a transaction open.
pub(crate) struct Committer {
    client: SharedClient,
    /// Transactional exactly if the guarantee is exactly-once.
    config: ProducerConfig,
    producer: Option<Box<dyn Producer>>,
    in_transaction: bool,
    /// Something may have been sent, or read, since the last commit.
    has_work: bool,
    /// Something may have been sent since the last flush.
    has_unflushed: bool,
    /// What the last commit covered.
    positions: Vec<(TopicPartition, CommittedOffset)>,
}

impl Committer {
    /// A committer without a producer; [`Committer::renew`] makes the first.
    pub(crate) fn new(client: SharedClient, config: ProducerConfig) -> Self {
        Committer {
            client,
            config,
            producer: None,
            in_transaction: false,
            has_work: false,
            has_unflushed: false,
            positions: Vec::new(),
        }
    }

    fn is_transactional(&self) -> bool {
        self.config.transactional_id.is_some()
    }

    /// Drops what is uncommitted and goes on with a new producer.
    ///
    /// # Errors
    ///
    /// If the log cannot be reached, or refuses the transactional id.
    pub(crate) fn renew(&mut self) -> Result<()> {
        self.abandon();
        let mut producer = self.client.producer(&self.config)?;
        if self.is_transactional() {
            producer.init_transactions()?;
        }
        self.producer = Some(producer);
        Ok(())
    }

    /// Takes back what is uncommitted, if the log lets it, and gives up the producer. What cannot be aborted now is
    /// taken back when the next producer of the same transactional id appears, or when the transaction times out.
    pub(crate) fn abandon(&mut self) {
        if let Some(mut producer) = self.producer.take()
            && self.in_transaction
            && let Err(error) = producer.abort()
        {
            tracing::warn!(%error, "the open transaction could not be aborted; it is fenced or times out");
        }
        self.in_transaction = false;
        self.has_work = false;
        self.has_unflushed = false;
    }

    /// Lets others see outputs before the next commit. Inside a transaction nobody could: then it waits for the commit.
    ///
    /// # Errors
    ///
    /// As [`Committer::commit`].
    pub(crate) fn flush_outputs(&mut self) -> Result<()> {
        if self.has_unflushed && !self.is_transactional() {
            self.producer()?.flush()?;
            self.has_unflushed = false;
        }
        Ok(())
    }

    /// The producer, for tasks that are about to work: under exactly-once inside a transaction.
    ///
    /// # Errors
    ///
    /// If the transaction cannot be opened.
    #[inline]
    pub(crate) fn producer(&mut self) -> Result<&mut Box<dyn Producer>> {
        let Some(producer) = &mut self.producer else {
            return Err(Error::IllegalState(
                "the stream thread has no producer: an earlier one could not be made".into(),
            ));
        };
        if self.config.transactional_id.is_some() && !self.in_transaction {
            producer.begin()?;
            self.in_transaction = true;
        }
        Ok(producer)
    }

    /// A task has worked with the producer: there is something to commit.
    #[inline]
    pub(crate) fn mark_work(&mut self) {
        self.has_work = true;
        self.has_unflushed = true;
    }

    /// True if a commit would make something durable.
    pub(crate) fn has_work(&self) -> bool {
        self.has_work
    }

    /// Commits everything that `tasks` have done. False if there was nothing.
    ///
    /// # Errors
    ///
    /// Nothing of it may be assumed to be committed, and nothing to be not; see [`failure_of`].
    pub(crate) fn commit(
        &mut self,
        tasks: &mut BTreeMap<TaskId, StreamTask>,
        consumer: &mut dyn Consumer,
        globals: &GlobalStores,
    ) -> Result<bool> {
        if !self.has_work {
            return Ok(false);
        }
        let producer = self.producer()?;
        for task in tasks.values_mut() {
            globals.lend_if_used(task, |task| task.flush(producer))?;
        }
        for task in tasks.values_mut() {
            task.write_changelogs(producer)?;
        }
        self.positions = tasks.values().flat_map(StreamTask::positions).collect();
        if self.is_transactional() {
            self.commit_transaction(consumer)?;
        } else {
            // Outputs and changelogs first: positions may only ever lie behind what they led to.
            self.producer()?.flush()?;
            if !self.positions.is_empty() {
                consumer.commit(&self.positions)?;
            }
        }
        self.has_work = false;
        self.has_unflushed = false;
        let Some(producer) = &mut self.producer else { return Ok(true) };
        for task in tasks.values_mut() {
            task.committed(producer)?;
        }
        Ok(true)
    }

    fn commit_transaction(&mut self, consumer: &dyn Consumer) -> Result<()> {
        self.producer()?;
        let Some(producer) = &mut self.producer else { return Ok(()) };
        if !self.positions.is_empty() {
            producer.send_offsets(&self.positions, &consumer.group())?;
        }
        producer.commit()?;
        self.in_transaction = false;
        Ok(())
    }

    /// Input positions that the last commit made final.
    pub(crate) fn positions(&self) -> &[(TopicPartition, CommittedOffset)] {
        &self.positions
    }
}

/// What an error means for the stream thread that it stopped.
pub(crate) fn failure_of(error: &Error) -> Failure {
    use log_store::Error as Log;
    match error {
        Error::Log(Log::ProducerFenced { .. } | Log::MemberFenced { .. } | Log::OutOfOrderSequence { .. }) => {
            Failure::Fenced
        }
        Error::Log(Log::TimedOut { .. }) => Failure::Retriable,
        _ => Failure::Fatal,
    }
}
