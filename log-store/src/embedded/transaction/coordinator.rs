//! Transactional ids and what each may do next. Decides only: writes nothing, waits for nothing, reads no clock.
//!
//! ```text
//!            add                prepare               complete
//!   Idle ───────────▶ Ongoing ───────────▶ Ending ───────────────▶ Idle, epoch + 1
//!                        │                    ▲
//!                        └── timeout, init ───┘   (always an abort; the old epoch is fenced)
//! ```
//!
//! Every end of a transaction raises the epoch (KIP-890), so nothing that arrives late can become part of the next
//! one. The markers carry the raised epoch, which makes each partition refuse the old one, too.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{Error, Result, TopicPartition, batch::MarkerKind};

/// Who writes: batches carry both numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

impl Identity {
    /// Epoch of the markers that end a transaction with data of this identity: it fences them. (No producer of ours has
    /// the last epoch, but a file can name it.)
    pub(crate) fn marker_epoch(self) -> i16 {
        self.epoch.saturating_add(1)
    }
}

/// A transaction that is being ended: its markers are to be written, then [`Coordinator::complete`] called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) transactional_id: Arc<str>,
    /// Of the transaction's data.
    pub(crate) identity: Identity,
    pub(crate) kind: MarkerKind,
    /// Where it wrote.
    pub(crate) partitions: BTreeSet<TopicPartition>,
}

/// The answer to [`Coordinator::init`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Init {
    /// The producer may begin. All before it are fenced.
    Ready(Identity),
    /// A predecessor's transaction must be aborted first; then ask again.
    AbortFirst(Ending),
    /// A predecessor's transaction is being ended by another thread: wait until it is, then ask again.
    Wait,
}

/// Source of producer ids that were never given before.
pub(crate) type FreshId<'a> = &'a mut dyn FnMut() -> Result<i64>;

#[derive(Debug)]
enum State {
    Idle,
    Ongoing { since_ms: u64, partitions: BTreeSet<TopicPartition> },
    Ending,
}

#[derive(Debug)]
struct Transactional {
    identity: Identity,
    timeout_ms: u64,
    state: State,
    last_use_ms: u64,
}

impl Transactional {
    /// Leaves the epoch behind. The last one is for markers only, so that a marker's epoch always exists.
    fn raise(&mut self, fresh: FreshId<'_>) -> Result<()> {
        self.identity = if self.identity.epoch >= i16::MAX - 1 {
            Identity { producer_id: fresh()?, epoch: 0 }
        } else {
            Identity { epoch: self.identity.epoch + 1, ..self.identity }
        };
        Ok(())
    }
}

/// The transactional ids in use since the log was opened. What an earlier process left open is ended when the log is
/// opened, so there is nothing to load.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    ids: HashMap<Arc<str>, Transactional>,
}

impl Coordinator {
    /// Makes a new producer the owner of `transactional_id`.
    ///
    /// # Errors
    ///
    /// Only those of `fresh`.
    pub(crate) fn init(
        &mut self,
        transactional_id: &Arc<str>,
        timeout_ms: u64,
        now_ms: u64,
        fresh: FreshId<'_>,
    ) -> Result<Init> {
        let Some(known) = self.ids.get_mut(transactional_id) else {
            let identity = Identity { producer_id: fresh()?, epoch: 0 };
            let one = Transactional { identity, timeout_ms, state: State::Idle, last_use_ms: now_ms };
            self.ids.insert(Arc::clone(transactional_id), one);
            return Ok(Init::Ready(identity));
        };
        match &known.state {
            State::Ending => Ok(Init::Wait),
            State::Ongoing { .. } => Ok(Init::AbortFirst(end(transactional_id, known, MarkerKind::Abort))),
            State::Idle => {
                known.raise(fresh)?;
                known.timeout_ms = timeout_ms;
                known.last_use_ms = now_ms;
                Ok(Init::Ready(known.identity))
            }
        }
    }

    /// Makes `partition` part of the transaction of `identity`, which begins with its first partition. To be called
    /// before anything is written there.
    ///
    /// # Errors
    ///
    /// `ProducerFenced`.
    pub(crate) fn add(
        &mut self,
        transactional_id: &str,
        identity: Identity,
        partition: &TopicPartition,
        now_ms: u64,
    ) -> Result<()> {
        let known = self.owned(transactional_id, identity)?;
        known.last_use_ms = now_ms;
        match &mut known.state {
            State::Ongoing { partitions, .. } => {
                partitions.insert(partition.clone());
                Ok(())
            }
            State::Idle => {
                known.state = State::Ongoing { since_ms: now_ms, partitions: BTreeSet::from([partition.clone()]) };
                Ok(())
            }
            State::Ending => Err(over(transactional_id, identity)),
        }
    }

    /// Begins the end of a transaction: from here on nothing joins it, and no timeout takes it back. `None` if it
    /// wrote nothing: then there is nothing to end.
    ///
    /// # Errors
    ///
    /// `ProducerFenced`.
    pub(crate) fn prepare(
        &mut self,
        transactional_id: &str,
        identity: Identity,
        kind: MarkerKind,
    ) -> Result<Option<Ending>> {
        let id = self.ids.get_key_value(transactional_id).map(|(id, _)| Arc::clone(id));
        let known = self.owned(transactional_id, identity)?;
        match (&known.state, id) {
            (State::Ongoing { .. }, Some(id)) => Ok(Some(end(&id, known, kind))),
            (State::Ending, _) => Err(over(transactional_id, identity)),
            _ => Ok(None),
        }
    }

    /// Gives a transaction back that could not be decided, with nothing written: it is open again.
    pub(crate) fn reopen(&mut self, ending: Ending, now_ms: u64) {
        if let Some(known) = self.ids.get_mut(&ending.transactional_id) {
            known.state = State::Ongoing { since_ms: now_ms, partitions: ending.partitions };
        }
    }

    /// Ends the end: all markers are written. Returns the identity for what comes next.
    ///
    /// # Errors
    ///
    /// Only those of `fresh`.
    pub(crate) fn complete(&mut self, transactional_id: &str, fresh: FreshId<'_>) -> Result<Identity> {
        let known = self.ids.get_mut(transactional_id).expect("an ending transaction is known");
        known.raise(fresh)?;
        known.state = State::Idle;
        Ok(known.identity)
    }

    /// Begins the abort of every transaction that was open for longer than its timeout.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<Ending> {
        let mut endings = Vec::new();
        for (id, known) in &mut self.ids {
            if let State::Ongoing { since_ms, .. } = known.state
                && now_ms.saturating_sub(since_ms) > known.timeout_ms
            {
                endings.push(end(id, known, MarkerKind::Abort));
            }
        }
        endings.sort_unstable_by(|a, b| a.transactional_id.cmp(&b.transactional_id));
        endings
    }

    /// Forgets ids without a transaction that nobody used for `age_max_ms`. A producer that is idle for so long is
    /// fenced.
    pub(crate) fn forget_idle(&mut self, now_ms: u64, age_max_ms: u64) {
        self.ids.retain(|_, known| {
            !matches!(known.state, State::Idle) || now_ms.saturating_sub(known.last_use_ms) <= age_max_ms
        });
    }

    /// Time until a transaction can be too old, one that begins now included; `None` if there is no id.
    pub(crate) fn next_timeout_ms(&self, now_ms: u64) -> Option<u64> {
        let left = |known: &Transactional| match known.state {
            State::Ongoing { since_ms, .. } => (since_ms + known.timeout_ms + 1).saturating_sub(now_ms),
            State::Idle | State::Ending => known.timeout_ms + 1,
        };
        self.ids.values().map(left).min()
    }

    fn owned(&mut self, transactional_id: &str, identity: Identity) -> Result<&mut Transactional> {
        let fenced = |current| Error::ProducerFenced {
            transactional_id: transactional_id.to_owned(),
            ours: identity.epoch,
            current,
        };
        match self.ids.get_mut(transactional_id) {
            Some(known) if known.identity == identity => Ok(known),
            Some(known) => Err(fenced(known.identity.epoch)),
            None => Err(fenced(-1)),
        }
    }
}

/// A producer does one thing at a time: if its transaction is being ended, somebody else does that.
fn over(transactional_id: &str, identity: Identity) -> Error {
    let current = identity.marker_epoch();
    Error::ProducerFenced { transactional_id: transactional_id.to_owned(), ours: identity.epoch, current }
}

fn end(id: &Arc<str>, known: &mut Transactional, kind: MarkerKind) -> Ending {
    let partitions = match std::mem::replace(&mut known.state, State::Ending) {
        State::Ongoing { partitions, .. } => partitions,
        State::Idle | State::Ending => BTreeSet::new(),
    };
    Ending { transactional_id: Arc::clone(id), identity: known.identity, kind, partitions }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::TopicName;

    const TIMEOUT_MS: u64 = 1_000;

    /// Drives a coordinator and keeps its answers short.
    struct Driver {
        coordinator: Coordinator,
        next_id: i64,
        now_ms: u64,
    }

    impl Driver {
        fn new() -> Self {
            Driver { coordinator: Coordinator::default(), next_id: 100, now_ms: 0 }
        }

        fn init(&mut self) -> Init {
            let Driver { coordinator, next_id, now_ms } = self;
            let mut fresh = || {
                *next_id += 1;
                Ok(*next_id)
            };
            coordinator.init(&Arc::from("app"), TIMEOUT_MS, *now_ms, &mut fresh).unwrap()
        }

        fn ready(&mut self) -> Identity {
            match self.init() {
                Init::Ready(identity) => identity,
                other => panic!("{other:?}"),
            }
        }

        fn add(&mut self, identity: Identity, number: u32) -> Result<()> {
            self.coordinator.add("app", identity, &partition(number), self.now_ms)
        }

        fn prepare(&mut self, identity: Identity, kind: MarkerKind) -> Result<Option<Ending>> {
            self.coordinator.prepare("app", identity, kind)
        }

        fn complete(&mut self) -> Identity {
            let Driver { coordinator, next_id, .. } = self;
            let mut fresh = || {
                *next_id += 1;
                Ok(*next_id)
            };
            coordinator.complete("app", &mut fresh).unwrap()
        }
    }

    fn partition(number: u32) -> TopicPartition {
        TopicPartition::new(TopicName::new("t").unwrap(), number)
    }

    fn is_fenced<T: std::fmt::Debug>(result: Result<T>) -> bool {
        matches!(result, Err(Error::ProducerFenced { .. }))
    }

    #[test]
    fn every_end_raises_the_epoch() {
        let mut driver = Driver::new();
        let mut identity = driver.ready();
        for (epoch, kind) in [(0, MarkerKind::Commit), (1, MarkerKind::Abort), (2, MarkerKind::Commit)] {
            assert_eq!(identity.epoch, epoch);
            driver.add(identity, 0).unwrap();
            let ending = driver.prepare(identity, kind).unwrap().unwrap();
            assert_eq!((ending.kind, ending.identity.marker_epoch()), (kind, epoch + 1));
            let next = driver.complete();
            assert!(is_fenced(driver.add(identity, 0)), "a late write joins nothing");
            identity = next;
        }
    }

    #[test]
    fn a_new_producer_fences_the_older_one_and_aborts_what_it_left() {
        let mut driver = Driver::new();
        let old = driver.ready();
        driver.add(old, 3).unwrap();
        let Init::AbortFirst(ending) = driver.init() else { panic!() };
        assert_eq!(ending.partitions, BTreeSet::from([partition(3)]));
        assert_eq!(ending.kind, MarkerKind::Abort);
        assert_eq!(driver.init(), Init::Wait, "another thread waits for the end");
        driver.complete();
        let new = driver.ready();
        assert_eq!(new.producer_id, old.producer_id);
        assert!(new.epoch > old.epoch);
        assert!(is_fenced(driver.add(old, 4)));
        assert!(is_fenced(driver.prepare(old, MarkerKind::Commit)));
        driver.add(new, 4).unwrap();
    }

    #[test]
    fn a_transaction_that_is_open_too_long_is_aborted_and_its_producer_fenced() {
        let mut driver = Driver::new();
        let identity = driver.ready();
        driver.now_ms = 50;
        driver.add(identity, 0).unwrap();
        driver.now_ms = 50 + TIMEOUT_MS;
        driver.add(identity, 1).unwrap();
        assert_eq!(driver.coordinator.expire(driver.now_ms), []);
        assert_eq!(driver.coordinator.next_timeout_ms(driver.now_ms), Some(1));
        driver.now_ms += 1;
        let expired = driver.coordinator.expire(driver.now_ms);
        assert_eq!(expired[0].partitions, BTreeSet::from([partition(0), partition(1)]));
        driver.complete();
        assert!(is_fenced(driver.prepare(identity, MarkerKind::Commit)));
        assert_eq!(driver.coordinator.next_timeout_ms(driver.now_ms), Some(TIMEOUT_MS + 1));
    }

    #[test]
    fn a_transaction_that_is_being_committed_does_not_expire() {
        let mut driver = Driver::new();
        let identity = driver.ready();
        driver.add(identity, 0).unwrap();
        driver.prepare(identity, MarkerKind::Commit).unwrap().unwrap();
        assert_eq!(driver.coordinator.expire(u64::MAX), []);
        assert!(driver.add(identity, 1).is_err(), "nothing joins it any more");
        assert!(driver.prepare(identity, MarkerKind::Abort).is_err());
    }

    #[test]
    fn a_transaction_without_a_write_ends_without_a_marker() {
        let mut driver = Driver::new();
        let identity = driver.ready();
        assert_eq!(driver.prepare(identity, MarkerKind::Commit).unwrap(), None);
        driver.add(identity, 0).unwrap();
    }

    #[test]
    fn the_last_epoch_is_for_a_marker_only() {
        let mut driver = Driver::new();
        let first = driver.ready();
        driver.coordinator.ids.get_mut("app").unwrap().identity.epoch = i16::MAX - 1;
        let identity = Identity { epoch: i16::MAX - 1, ..first };
        driver.add(identity, 0).unwrap();
        let ending = driver.prepare(identity, MarkerKind::Commit).unwrap().unwrap();
        assert_eq!(ending.identity.marker_epoch(), i16::MAX);
        let next = driver.complete();
        assert_eq!(next.epoch, 0);
        assert_ne!(next.producer_id, first.producer_id);
    }

    #[test]
    fn an_idle_id_is_forgotten_and_its_producer_fenced() {
        let mut driver = Driver::new();
        let identity = driver.ready();
        driver.coordinator.forget_idle(10, 10);
        driver.add(identity, 0).unwrap();
        driver.coordinator.forget_idle(100, 10);
        driver.prepare(identity, MarkerKind::Commit).unwrap().unwrap();
        driver.complete();
        driver.coordinator.forget_idle(100, 10);
        assert!(is_fenced(driver.add(identity, 0)));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Init(usize),
        Add(usize, u32),
        Prepare(usize, bool),
        Complete,
        Wait(u64),
        Expire,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3_usize).prop_map(Step::Init),
            (0..3_usize, 0..4_u32).prop_map(|(who, number)| Step::Add(who, number)),
            (0..3_usize, any::<bool>()).prop_map(|(who, commit)| Step::Prepare(who, commit)),
            Just(Step::Complete),
            (0..2_000_u64).prop_map(Step::Wait),
            Just(Step::Expire),
        ]
    }

    proptest! {
        /// Three producers fight for one id. At most the newest ever gets anything done; a transaction ends exactly
        /// once, with exactly its partitions; no identity is ever used for two transactions.
        #[test]
        fn one_producer_one_transaction_one_end(steps in prop::collection::vec(step(), 0..80)) {
            let mut driver = Driver::new();
            let mut owners: [Option<Identity>; 3] = [None; 3];
            let mut open: Option<(Identity, BTreeSet<TopicPartition>)> = None;
            let mut ending: Option<usize> = None;
            let mut ended = std::collections::HashSet::new();
            let mut newest = 0;
            for step in steps {
                match step {
                    Step::Init(who) => match driver.init() {
                        Init::Ready(identity) => {
                            prop_assert!(open.is_none() && ending.is_none());
                            prop_assert!(!owners.contains(&Some(identity)), "an identity was given twice");
                            owners[who] = Some(identity);
                            newest = who;
                        }
                        Init::AbortFirst(end) => {
                            let (identity, partitions) = open.take().unwrap();
                            prop_assert_eq!((end.identity, end.partitions), (identity, partitions));
                            prop_assert!(ended.insert(end.identity));
                            ending = Some(who);
                        }
                        Init::Wait => prop_assert!(ending.is_some()),
                    },
                    Step::Add(who, number) => {
                        let Some(identity) = owners[who] else { continue };
                        let added = driver.add(identity, number).is_ok();
                        if added {
                            prop_assert_eq!(who, newest);
                            prop_assert!(!ended.contains(&identity));
                            open.get_or_insert((identity, BTreeSet::new())).1.insert(partition(number));
                        }
                    }
                    Step::Prepare(who, commit) => {
                        let Some(identity) = owners[who] else { continue };
                        let kind = if commit { MarkerKind::Commit } else { MarkerKind::Abort };
                        if let Ok(Some(end)) = driver.prepare(identity, kind) {
                            let (identity, partitions) = open.take().unwrap();
                            prop_assert_eq!((end.identity, end.partitions), (identity, partitions));
                            prop_assert!(ended.insert(end.identity));
                            ending = Some(who);
                        }
                    }
                    Step::Complete => {
                        if let Some(who) = ending.take() {
                            let next = driver.complete();
                            // Only the producer that ended it itself goes on.
                            if owners[who].is_some_and(|identity| ended.contains(&identity)) && who == newest {
                                owners[who] = Some(next);
                            }
                        }
                    }
                    Step::Wait(ms) => driver.now_ms += ms,
                    Step::Expire => {
                        for end in driver.coordinator.expire(driver.now_ms) {
                            let (identity, partitions) = open.take().unwrap();
                            prop_assert_eq!((end.identity, end.partitions), (identity, partitions));
                            prop_assert!(ended.insert(end.identity));
                            // Nobody is told the next identity.
                            owners[newest] = None;
                            ending = Some(newest);
                        }
                    }
                }
            }
        }
    }
}
