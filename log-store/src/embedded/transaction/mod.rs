//! Transactions: all or nothing over many partitions.
//!
//! A commit, step by step:
//!
//! 1. the producer's last batches are appended, and nothing joins the transaction any more;
//! 2. the partitions are synced: all of the data is durable, and still undecided;
//! 3. one record in `transactions.log` is written and synced: **this is the commit**;
//! 4. a marker is appended to each partition and the committed offsets become those of the group; not synced;
//! 5. the epoch is raised, and the producer may begin again.
//!
//! A crash before 3 leaves a transaction that is aborted when the log is opened again; a crash after it leaves one whose
//! missing markers are written then. An abort has only steps 1, 4 and 5.

mod broker;
mod coordinator;
mod decisions;
mod session;
mod timer;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};

use broker::TRANSACTIONS_TOPIC;
pub(crate) use coordinator::Identity;
use coordinator::{Coordinator, Ending, Init};
use decisions::Decisions;
pub(crate) use decisions::{FILE_NAME, Recovered, recover};
pub(crate) use session::Session;

use super::{Durability, log::Inner, partition::Partition, producer_state::OpenTransaction};
use crate::{
    Error, Result, TopicPartition,
    batch::{self, Marker, MarkerKind},
    clock::Clock,
};

/// Longest transactional id, in bytes.
const ID_BYTES_MAX: usize = 1000;

/// Producer ids are made durable so many at a time.
const ID_BLOCK: i64 = 1000;

/// A transactional id that nobody uses for so long is forgotten, and its producer fenced (Kafka's
/// `transactional.id.expiration.ms`).
const IDLE_MAX_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// The transactions of an open log.
pub(crate) struct Transactions {
    state: Mutex<State>,
    /// A transaction ended.
    ended: Condvar,
    /// The timer has something new to look at.
    timed: Condvar,
    decisions: Decisions,
    clock: Arc<dyn Clock>,
    opened: Duration,
}

struct State {
    coordinator: Coordinator,
    ids: Ids,
    has_timer: bool,
    is_closed: bool,
}

/// The producer ids that may be given away: each once, not even again after a crash.
struct Ids {
    next: i64,
    /// Where the durable ones end.
    reserved: i64,
    /// The file says that `next` was not given: none is given any more.
    is_closed: bool,
}

impl Ids {
    fn are_used_up(&self) -> bool {
        self.next == self.reserved
    }

    /// Up to where the next ones are to be made durable.
    fn more(&self) -> Result<i64> {
        self.check()?;
        let used_up =
            || Error::Invalid(format!("the producer ids are used up: the log knows one of {}", self.reserved - 1));
        self.reserved.checked_add(ID_BLOCK).ok_or_else(used_up)
    }

    fn check(&self) -> Result<()> {
        if self.is_closed { Err(Error::Poisoned { reason: "the log was closed".to_owned() }) } else { Ok(()) }
    }

    fn fresh(&mut self, decisions: &Decisions) -> Result<i64> {
        self.check()?;
        if self.are_used_up() {
            let more = self.more()?;
            decisions.reserve_ids(more)?;
            self.reserved = more;
        }
        self.next += 1;
        Ok(self.next - 1)
    }
}

impl Transactions {
    /// Begins this run's transactions. Those of an earlier run are finished by then (see [`finish_earlier`]).
    pub(crate) fn open(
        directory: Arc<dyn super::storage::Directory>,
        kept: Recovered,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let next_id = kept.next_producer_id;
        // The first ids become durable with the file itself: no producer waits for them.
        let reserved = next_id.saturating_add(ID_BLOCK);
        let kept = Recovered { next_producer_id: reserved, ..kept };
        Ok(Transactions {
            state: Mutex::new(State {
                coordinator: Coordinator::default(),
                ids: Ids { next: next_id, reserved, is_closed: false },
                has_timer: false,
                is_closed: false,
            }),
            ended: Condvar::new(),
            timed: Condvar::new(),
            decisions: Decisions::create(directory, &kept)?,
            opened: clock.monotonic(),
            clock,
        })
    }

    /// A producer id that was never given before, not even before a crash.
    pub(crate) fn fresh_id(&self) -> Result<i64> {
        self.reserve_ids()?;
        self.state.lock().ids.fresh(&self.decisions)
    }

    /// True if the next producer id waits for the disk.
    pub(crate) fn is_out_of_ids(&self) -> bool {
        self.state.lock().ids.are_used_up()
    }

    /// Sees to it that the next producer id is durable. Others do what they do meanwhile.
    pub(crate) fn reserve_ids(&self) -> Result<()> {
        let more = {
            let ids = &self.state.lock().ids;
            if !ids.are_used_up() {
                return Ok(());
            }
            ids.more()?
        };
        self.decisions.reserve_ids(more)?;
        let ids = &mut self.state.lock().ids;
        // A close in between has said that they were not given.
        ids.check()?;
        ids.reserved = ids.reserved.max(more);
        Ok(())
    }

    /// Keeps nothing in the file of decisions but what a damaged partition needs. All markers are durable.
    pub(crate) fn close(&self) -> Result<()> {
        let unused = {
            let ids = &mut self.state.lock().ids;
            ids.is_closed = true;
            ids.next
        };
        self.decisions.close(unused)
    }

    /// Milliseconds of a clock that does not jump.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from((self.clock.monotonic() - self.opened).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Inner {
    /// Makes a new producer the owner of `transactional_id`: older ones are fenced, and what they left open is aborted.
    pub(crate) fn init_transactions(
        self: &Arc<Self>,
        transactional_id: &Arc<str>,
        timeout_ms: u64,
    ) -> Result<Identity> {
        if transactional_id.is_empty() || transactional_id.len() > ID_BYTES_MAX {
            return Err(Error::Invalid(format!("a transactional id has 1 to {ID_BYTES_MAX} bytes")));
        }
        let all = &self.transactions;
        loop {
            self.shared.check()?;
            all.reserve_ids()?;
            let mut state = all.state.lock();
            let State { coordinator, ids, .. } = &mut *state;
            let mut fresh = || ids.fresh(&all.decisions);
            match coordinator.init(transactional_id, timeout_ms, all.now_ms(), &mut fresh)? {
                Init::Ready(identity) => {
                    if self.shared.has_threads && !std::mem::replace(&mut state.has_timer, true) {
                        timer::start(self);
                    }
                    all.timed.notify_all();
                    return Ok(identity);
                }
                Init::AbortFirst(ending) => {
                    drop(state);
                    self.finish(ending)?;
                }
                Init::Wait => all.ended.wait(&mut state),
            }
        }
    }

    /// Makes a partition part of the producer's transaction: before the first batch of the transaction there.
    pub(crate) fn add_to_transaction(
        &self,
        transactional_id: &str,
        identity: Identity,
        partition: &TopicPartition,
    ) -> Result<()> {
        let now_ms = self.transactions.now_ms();
        self.transactions.state.lock().coordinator.add(transactional_id, identity, partition, now_ms)
    }

    /// Commits or aborts the producer's transaction; all its batches are appended. Returns the identity for the next
    /// one, or `None` if nothing was written in this one.
    ///
    /// # Errors
    ///
    /// `ProducerFenced`: it was aborted. `Io` for a full disk: it is still open. Others: unknown, until the log is opened
    /// again.
    pub(crate) fn end_transaction(
        &self,
        transactional_id: &str,
        identity: Identity,
        kind: MarkerKind,
    ) -> Result<Option<Identity>> {
        self.shared.check()?;
        let prepared = self.transactions.state.lock().coordinator.prepare(transactional_id, identity, kind)?;
        prepared.map(|ending| self.finish(ending)).transpose()
    }

    /// Aborts what is open: the log is being closed.
    pub(crate) fn abort_open_transactions(&self) -> Result<()> {
        let endings = {
            let mut state = self.transactions.state.lock();
            state.is_closed = true;
            self.transactions.timed.notify_all();
            state.coordinator.expire(u64::MAX)
        };
        endings.into_iter().try_for_each(|ending| self.finish(ending).map(drop))
    }

    /// Aborts what was open for too long.
    pub(crate) fn abort_expired(&self) -> Result<()> {
        let now_ms = self.transactions.now_ms();
        let endings = {
            let mut state = self.transactions.state.lock();
            state.coordinator.forget_idle(now_ms, IDLE_MAX_MS);
            state.coordinator.expire(now_ms)
        };
        endings.into_iter().try_for_each(|ending| {
            tracing::warn!(
                transactional_id = &*ending.transactional_id,
                "aborting a transaction that was open for longer than its timeout"
            );
            self.finish(ending).map(drop)
        })
    }

    /// Steps 2 to 5.
    fn finish(&self, ending: Ending) -> Result<Identity> {
        let all = &self.transactions;
        let decided = match ending.kind {
            MarkerKind::Abort => None,
            MarkerKind::Commit => match self.decide(&ending) {
                Ok(decided) => Some(decided),
                Err(error) => {
                    // Nothing was written, so it is as before; any other failure has poisoned the log.
                    all.state.lock().coordinator.reopen(ending, all.now_ms());
                    all.ended.notify_all();
                    return Err(error);
                }
            },
        };
        let written = ending.partitions.iter().try_for_each(|name| match self.partition(name) {
            Ok(partition) => {
                write_marker(&partition, ending.identity.producer_id, ending.identity.marker_epoch(), ending.kind)
            }
            // It was deleted in between.
            Err(_) => Ok(()),
        });
        if let Err(error) = written {
            self.shared.poison(&format!("a transaction is decided, but its markers cannot be written: {error}"));
            return Err(error);
        }
        self.end_offsets(ending.identity.producer_id, ending.kind);
        if let Some(decided) = decided {
            all.decisions.settle(decided);
            self.compact_decisions()?;
        }
        let mut state = all.state.lock();
        let State { coordinator, ids, .. } = &mut *state;
        let mut fresh = || ids.fresh(&all.decisions);
        let next = coordinator.complete(&ending.transactional_id, &mut fresh);
        all.ended.notify_all();
        next
    }

    fn decide(&self, ending: &Ending) -> Result<decisions::Decided> {
        let durable = self.shared.config.durability == Durability::Fsync;
        if durable {
            self.sync()?;
        }
        let decided = self.transactions.decisions.commit(ending.identity, &ending.transactional_id, durable);
        decided.inspect_err(|error| {
            if matches!(error, Error::Poisoned { .. }) {
                self.shared.poison(&error.to_string());
            }
        })
    }

    /// Keeps the file of decisions short.
    fn compact_decisions(&self) -> Result<()> {
        let Some(position) = self.transactions.decisions.compaction_due() else { return Ok(()) };
        // All markers of what goes are durable after this.
        self.sync()?;
        let dropped = self.transactions.decisions.drop_before(position);
        dropped.inspect_err(|error| self.shared.poison(&error.to_string()))
    }
}

/// What an earlier run had decided, where there is no `transactions.log`: nothing, or what a broker wrote down.
///
/// # Errors
///
/// `Corrupt` if a broker left transactions open, and its decisions cannot be read.
pub(crate) fn recover_without_file<'a>(
    partitions: impl Iterator<Item = &'a Arc<Partition>> + Clone,
) -> Result<Recovered> {
    let mut brokers =
        partitions.clone().filter(|partition| partition.id.topic.as_str() == TRANSACTIONS_TOPIC).peekable();
    if brokers.peek().is_none() {
        return Ok(Recovered::default());
    }
    for partition in partitions.filter(|partition| partition.id.topic.as_str() != TRANSACTIONS_TOPIC) {
        match partition.producers_left() {
            Ok((open, _)) if open.is_empty() => {}
            // A damaged partition may have some when it is mended.
            Ok(_) | Err(Error::Corrupt { .. }) => return broker::recover(brokers),
            Err(error) => return Err(error),
        }
    }
    Ok(Recovered::default())
}

fn write_marker(partition: &Arc<Partition>, producer_id: i64, epoch: i16, kind: MarkerKind) -> Result<()> {
    let marker = Marker { kind, coordinator_epoch: 0 };
    match partition.append(batch::marker(producer_id, epoch, partition.now_ms(), marker)) {
        Ok(_) | Err(Error::UnknownTopic { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Ends every transaction that an earlier run left open in these partitions, as `transactions.log` says. Returns what
/// this run begins with: producer ids above all that are known, and decisions that a damaged partition still needs. The
/// markers are not synced.
pub(crate) fn finish_earlier<'a>(
    partitions: impl IntoIterator<Item = &'a Arc<Partition>>,
    recovered: Recovered,
) -> Result<Recovered> {
    let mut kept = Recovered { committed: HashMap::new(), ..recovered };
    for partition in partitions {
        let (open, producer_id_max) = match partition.producers_left() {
            Ok(left) => left,
            Err(Error::Corrupt { .. }) => {
                kept.committed.clone_from(&recovered.committed);
                continue;
            }
            Err(error) => return Err(error),
        };
        kept.next_producer_id = kept.next_producer_id.max(producer_id_max.saturating_add(1));
        for OpenTransaction { producer_id, epoch, .. } in open {
            let identity = Identity { producer_id, epoch };
            let kind = if recovered.committed.contains_key(&identity) { MarkerKind::Commit } else { MarkerKind::Abort };
            tracing::info!(partition = %partition.id, producer_id, epoch, ?kind, "ending a transaction of an earlier run");
            write_marker(partition, producer_id, identity.marker_epoch(), kind)?;
        }
    }
    Ok(kept)
}
