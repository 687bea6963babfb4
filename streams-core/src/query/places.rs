//! The tasks that have a store, and how they are asked.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use super::Consistency;
use crate::{
    Error, Result,
    runtime::{
        Application, State,
        queries::{GLOBAL_STORES, Place, Question},
    },
    state::StateStore,
    task::TaskId,
};

/// How long a stream thread may take to answer: it may be in the middle of a long call of user code.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Every task of an instance that has a store, as it was when it was asked for.
pub(crate) struct Places {
    app: Arc<Application>,
    store: String,
    pub(super) consistency: Consistency,
    places: Vec<Place>,
    generation: u64,
    /// The store has no task, and belongs to the whole instance.
    is_global: bool,
}

impl Places {
    /// Finds the tasks that have `store`.
    pub(crate) fn find(
        app: &Arc<Application>,
        store: String,
        partition: Option<u32>,
        consistency: Consistency,
    ) -> Result<Self> {
        let state = app.lifecycle.state();
        let generation = app.queries.generation();
        let mut places = app.queries.places(&store);
        let places_here = places.len();
        let is_global = places.iter().any(|place| place.task == GLOBAL_STORES);
        // As in Kafka Streams, a global store is read whole, whatever partition is asked for.
        places.retain(|place| is_global || partition.is_none_or(|partition| place.task.partition == partition));
        let found = Places { app: Arc::clone(app), store, consistency, places, generation, is_global };
        // A global store stays where it is while tasks move.
        if state != State::Running && !(is_global && state == State::Rebalancing) {
            return Err(found.invalid(format!("application {} is {state}, not RUNNING", app.settings.application_id)));
        }
        if found.places.is_empty() {
            return Err(found.invalid(match partition {
                Some(partition) if places_here > 0 => format!("partition {partition} of it is not on this instance"),
                _ => "no task on this instance has a store of this name".to_owned(),
            }));
        }
        Ok(found)
    }

    pub(super) fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::InvalidStateStore { store: self.store.clone(), reason: reason.into() }
    }

    pub(super) fn wrong_type(&self, wanted: &str) -> Error {
        self.invalid(format!("it is no {wanted}; ask for it with the type that it was made with"))
    }

    /// The same tasks have the store as when it was asked for; a global one never moves.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_global || self.app.queries.generation() == self.generation {
            return Ok(());
        }
        Err(self.invalid("tasks have moved since it was asked for; ask Streams::store again"))
    }

    /// The published form of each task's store.
    pub(super) fn published(&mut self) -> Result<Vec<crate::runtime::queries::Published>> {
        self.app.queries.want(&self.store);
        let mut waiting = Vec::new();
        for place in self.places.iter().filter(|place| place.published.is_none()) {
            let (queries, store, task) = (Arc::clone(&self.app.queries), self.store.clone(), place.task);
            waiting.push(self.question(place, true, move |found| {
                let published = found.publish()?;
                queries.published(task, &store, published.clone());
                Ok(published)
            })?);
        }
        let mut fresh = waiting.into_iter().map(|answer| self.wait(&answer)).collect::<Result<Vec<_>>>()?.into_iter();
        let mut published = Vec::new();
        for place in &self.places {
            let known = place.published.clone().or_else(|| fresh.next().flatten());
            published.push(known.ok_or_else(|| self.wrong_type("key-value store"))?);
        }
        Ok(published)
    }

    /// Asks every task, in order; what they answer.
    pub(super) fn ask<R: Send + 'static>(
        &self,
        ask: impl Fn(&mut dyn StateStore) -> Result<R> + Clone + Send + 'static,
    ) -> Result<Vec<R>> {
        self.check()?;
        let needs_commit = self.consistency == Consistency::LastCommit;
        let asked = self.places.iter().map(|place| self.question(place, needs_commit, ask.clone()));
        let asked: Vec<_> = asked.collect::<Result<_>>()?;
        asked.iter().map(|answer| self.wait(answer)).collect()
    }

    fn question<R: Send + 'static>(
        &self,
        place: &Place,
        needs_commit: bool,
        ask: impl FnOnce(&mut dyn StateStore) -> Result<R> + Send + 'static,
    ) -> Result<mpsc::Receiver<Result<R>>> {
        if self.app.is_own_thread() {
            return Err(self.invalid("a stream thread cannot wait for stream threads; use the processor's own store"));
        }
        let (sender, receiver) = mpsc::channel();
        let (store, task) = (self.store.clone(), place.task);
        let gone = Error::InvalidStateStore { store: store.clone(), reason: moved(task) };
        let answer = move |found: Option<&mut dyn StateStore>| {
            // A serde of the user may panic on what is asked for.
            let answered = found.map_or(Err(gone), |found| {
                let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask(found)));
                asked.unwrap_or_else(|_| {
                    Err(Error::InvalidStateStore { store, reason: "a serde of it panicked".to_owned() })
                })
            });
            // Who asked may have stopped waiting.
            let _ = sender.send(answered);
        };
        let store = self.store.clone();
        place.control.ask(Question { task, store, needs_commit, answer: Box::new(answer) });
        Ok(receiver)
    }

    fn wait<R>(&self, answer: &mpsc::Receiver<Result<R>>) -> Result<R> {
        match answer.recv_timeout(ANSWER_WAIT) {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(self.invalid(format!("its thread did not answer within {} s", ANSWER_WAIT.as_secs())))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(self.invalid("its thread has ended")),
        }
    }
}

fn moved(task: TaskId) -> String {
    format!("task {task} has moved; ask Streams::store again")
}
