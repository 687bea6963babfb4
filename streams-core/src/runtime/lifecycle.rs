//! The states of an application, which may follow which, and everybody who waits for one.
//!
//! Invariant: a state is entered only from a state whose row in the table of legal transitions names it; the listener
//! hears every transition, once, in order, and outside all locks (it may close the application).

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::Error;

/// What a [`super::Streams`] is doing, in Kafka Streams' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Built, not started.
    Created,
    /// Starting, restoring stores, or partitions are moving.
    Rebalancing,
    /// All threads process.
    Running,
    /// Closing.
    PendingShutdown,
    /// Closed.
    NotRunning,
    /// Closing after an error.
    PendingError,
    /// Closed after an error.
    Error,
}

impl State {
    /// True if `next` may follow.
    #[must_use]
    pub const fn may_become(self, next: State) -> bool {
        use State::*;
        matches!(
            (self, next),
            (Created, Rebalancing | PendingShutdown)
                | (Rebalancing, Running | PendingShutdown | PendingError)
                | (Running, Rebalancing | PendingShutdown | PendingError)
                | (PendingShutdown, NotRunning)
                | (PendingError, Error)
        )
    }

    /// True if nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, State::NotRunning | State::Error)
    }

    /// True while threads may be at work and no end is in sight.
    #[must_use]
    pub const fn is_running_or_rebalancing(self) -> bool {
        matches!(self, State::Rebalancing | State::Running)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Created => "CREATED",
            State::Rebalancing => "REBALANCING",
            State::Running => "RUNNING",
            State::PendingShutdown => "PENDING_SHUTDOWN",
            State::NotRunning => "NOT_RUNNING",
            State::PendingError => "PENDING_ERROR",
            State::Error => "ERROR",
        })
    }
}

/// Told of each transition: the new state and the one before.
pub type StateListener = Arc<dyn Fn(State, State) + Send + Sync>;

/// The one state of an application, and who waits for it.
pub(crate) struct Lifecycle {
    inner: Mutex<Inner>,
    changed: Condvar,
    watched: watch::Sender<State>,
}

struct Inner {
    state: State,
    /// The first error that any part reported.
    error: Option<Arc<Error>>,
    listener: Option<StateListener>,
    /// Transitions that the listener has not heard yet; whoever finds `telling` false tells them.
    untold: VecDeque<(State, State)>,
    telling: bool,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Lifecycle {
            inner: Mutex::new(Inner {
                state: State::Created,
                error: None,
                listener: None,
                untold: VecDeque::new(),
                telling: false,
            }),
            changed: Condvar::new(),
            watched: watch::Sender::new(State::Created),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.inner.lock().state
    }

    pub(crate) fn set_listener(&self, listener: StateListener) {
        self.inner.lock().listener = Some(listener);
    }

    /// Keeps the first error; later ones follow from it.
    pub(crate) fn report(&self, error: Arc<Error>) {
        self.inner.lock().error.get_or_insert(error);
    }

    pub(crate) fn error(&self) -> Option<Arc<Error>> {
        self.inner.lock().error.clone()
    }

    /// Goes to `next` if that is legal from here; false (and nothing happens) if not.
    pub(crate) fn enter(&self, next: State) -> bool {
        {
            let mut inner = self.inner.lock();
            let before = inner.state;
            if !before.may_become(next) {
                return false;
            }
            inner.state = next;
            if inner.listener.is_some() {
                inner.untold.push_back((next, before));
            }
            self.watched.send_replace(next);
            self.changed.notify_all();
            tracing::info!(from = %before, to = %next, "state transition");
        }
        self.tell();
        true
    }

    /// Calls the listener outside the lock. One caller at a time, so that it hears transitions in order; a transition
    /// made by the listener itself is told when it returns.
    fn tell(&self) {
        loop {
            let (listener, (next, before)) = {
                let mut inner = self.inner.lock();
                if inner.telling {
                    return;
                }
                let Some(transition) = inner.untold.pop_front() else { return };
                let Some(listener) = inner.listener.clone() else { continue };
                inner.telling = true;
                (listener, transition)
            };
            // A listener that panics must not take the thread that changed the state with it.
            let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| listener(next, before)));
            if told.is_err() {
                tracing::error!(%next, "the state listener panicked");
            }
            self.inner.lock().telling = false;
        }
    }

    /// Waits until `wanted` holds; false after `timeout`.
    pub(crate) fn wait(&self, timeout: Duration, wanted: impl Fn(State) -> bool) -> Option<State> {
        let deadline = Instant::now().checked_add(timeout);
        let mut inner = self.inner.lock();
        while !wanted(inner.state) {
            match deadline {
                Some(deadline) => {
                    if self.changed.wait_until(&mut inner, deadline).timed_out() && !wanted(inner.state) {
                        return None;
                    }
                }
                None => self.changed.wait(&mut inner),
            }
        }
        Some(inner.state)
    }

    /// The same for futures. Needs no particular runtime.
    pub(crate) async fn reached(&self, wanted: impl Fn(State) -> bool) -> State {
        let mut watched = self.watched.subscribe();
        // The sender lives in `self`, so the channel cannot close while this waits.
        let state = watched.wait_for(|state| wanted(*state)).await.map(|state| *state);
        state.unwrap_or_else(|_| self.state())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [State; 7] = [
        State::Created,
        State::Rebalancing,
        State::Running,
        State::PendingShutdown,
        State::NotRunning,
        State::PendingError,
        State::Error,
    ];

    #[test]
    fn only_the_listed_transitions_are_legal() {
        let legal = "CREATED>REBALANCING CREATED>PENDING_SHUTDOWN REBALANCING>RUNNING REBALANCING>PENDING_SHUTDOWN \
                     REBALANCING>PENDING_ERROR RUNNING>REBALANCING RUNNING>PENDING_SHUTDOWN RUNNING>PENDING_ERROR \
                     PENDING_SHUTDOWN>NOT_RUNNING PENDING_ERROR>ERROR";
        let mut found = Vec::new();
        for from in ALL {
            for to in ALL.into_iter().filter(|to| from.may_become(*to)) {
                found.push(format!("{from}>{to}"));
            }
        }
        assert_eq!(found.join(" "), legal);
        assert!(ALL.iter().all(|state| state.is_final() == ALL.iter().all(|next| !state.may_become(*next))));
    }

    #[test]
    fn the_listener_hears_every_transition_in_order_even_those_it_makes() {
        let lifecycle = Arc::new(Lifecycle::new());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (in_listener, log) = (Arc::downgrade(&lifecycle), Arc::clone(&heard));
        lifecycle.set_listener(Arc::new(move |next, before| {
            log.lock().push((before, next));
            if next == State::Running {
                assert!(in_listener.upgrade().unwrap().enter(State::PendingShutdown));
            }
        }));
        assert!(lifecycle.enter(State::Rebalancing));
        assert!(!lifecycle.enter(State::NotRunning), "not from REBALANCING");
        assert!(lifecycle.enter(State::Running));
        assert_eq!(
            *heard.lock(),
            [
                (State::Created, State::Rebalancing),
                (State::Rebalancing, State::Running),
                (State::Running, State::PendingShutdown)
            ]
        );
    }

    #[test]
    fn a_wait_ends_with_the_state_or_with_the_time() {
        let lifecycle = Arc::new(Lifecycle::new());
        assert_eq!(lifecycle.wait(Duration::from_millis(5), |state| state == State::Running), None);
        let other = Arc::clone(&lifecycle);
        let mover = std::thread::spawn(move || {
            other.enter(State::Rebalancing);
            other.enter(State::Running);
        });
        assert_eq!(lifecycle.wait(Duration::from_secs(10), |state| state == State::Running), Some(State::Running));
        mover.join().unwrap();
    }

    #[test]
    fn the_first_error_stays() {
        let lifecycle = Lifecycle::new();
        lifecycle.report(Arc::new(Error::Config("first".into())));
        lifecycle.report(Arc::new(Error::Config("second".into())));
        assert_eq!(lifecycle.error().unwrap().to_string(), "first");
    }
}
