//! The handle: one running application, as the program that started it sees it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use log_store::{
    Offset, TopicPartition,
    client::{OffsetSpec, SharedClient},
};
use parking_lot::Mutex;

use super::{
    application::{Application, UncaughtExceptionHandler},
    fingerprint::Fingerprint,
    instances,
    lifecycle::{State, StateListener},
    metrics::Metric,
    restore_progress::RestoreListener,
    settings::Settings,
    startup,
    thread_state::StreamThreadState,
};
use crate::{
    Error, Result, StreamsConfig,
    query::{Places, QueryableStore, StoreQueryParameters},
    time::{Clock, SystemClock},
    topology::Topology,
};

/// How long a handle that is dropped waits for its threads. Uncommitted work is never lost, only done again.
const DROP_WAIT: Duration = Duration::from_secs(10);

/// How often a wait for the end of the work looks.
const IDLE_TICK: Duration = Duration::from_millis(2);

/// An application: a topology that runs on a log (Kafka Streams' `KafkaStreams`).
///
/// Building and starting are plain calls. Waiting exists twice: blocking ([`Streams::wait_for`], [`Streams::close`]) and
/// as futures that need no particular runtime ([`Streams::reached`], [`Streams::closed`]).
///
/// A handle that is dropped closes its application.
pub struct Streams {
    app: Arc<Application>,
    topology: Topology,
    config: StreamsConfig,
    /// Held while the application starts, cleans up, or changes its threads.
    changing: Mutex<()>,
}

/// What of an input partition is not processed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LagInfo {
    /// The partition.
    pub partition: TopicPartition,
    /// Committed position; `None` before the first commit.
    pub current: Option<Offset>,
    /// Where the readable part of the partition ends.
    pub end: Offset,
    /// Offsets between the two: an upper bound of the records.
    pub lag: u64,
}

impl Streams {
    /// An application that is not started yet.
    ///
    /// # Errors
    ///
    /// [`Error::Topology`] lists everything that is wrong with the topology.
    pub fn new(topology: Topology, config: StreamsConfig, client: SharedClient) -> Result<Self> {
        Self::with_clock(topology, config, client, Arc::new(SystemClock::new()))
    }

    /// An application that takes its time from `clock`.
    ///
    /// # Errors
    ///
    /// As [`Streams::new`].
    pub fn with_clock(
        topology: Topology,
        config: StreamsConfig,
        client: SharedClient,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        topology.validate()?;
        topology.validate_sink_topics()?;
        let settings = Settings::new(&config, &*client);
        let app = Arc::new(Application::new(client, settings, clock, false));
        Ok(Streams { app, topology, config, changing: Mutex::new(()) })
    }

    /// Checks and creates what the application needs, and starts its threads. Returns when they are on their way: wait
    /// for [`State::Running`] to know that they work.
    ///
    /// # Errors
    ///
    /// Source topics that are missing, internal topics or local state that do not fit, a directory that cannot be
    /// used. The application is then as before, and may be started again when the cause is mended.
    pub fn start(&self) -> Result<()> {
        let _changing = self.changing.lock();
        if self.state() != State::Created {
            return Err(Error::IllegalState(format!(
                "application {} is {} and cannot be started; make a new Streams",
                self.config.application_id,
                self.state()
            )));
        }
        let started = startup::prepare(&self.topology, &self.config, &self.app.client, None)?;
        self.app.set_started(started);
        instances::register(&self.app);
        self.app.lifecycle.enter(State::Rebalancing);
        self.app.begin().map_err(|error| {
            let error = Arc::new(error);
            self.app.shut_down_with(Arc::clone(&error));
            Error::IllegalState(error.to_string())
        })
    }

    /// What the application is doing.
    #[must_use]
    pub fn state(&self) -> State {
        self.app.lifecycle.state()
    }

    /// The first error that stopped a thread or the application.
    #[must_use]
    pub fn error(&self) -> Option<Arc<Error>> {
        self.app.lifecycle.error()
    }

    /// Calls `listener(new, old)` at every transition from now on, in order. It may use this handle; it must not block,
    /// since the thread that made the transition waits for it.
    pub fn set_state_listener(&self, listener: impl Fn(State, State) + Send + Sync + 'static) {
        let listener: StateListener = Arc::new(listener);
        self.app.lifecycle.set_listener(listener);
    }

    /// Asks `handler` what to do when a stream thread has ended with an error. Default: close the application.
    pub fn set_uncaught_exception_handler(&self, handler: UncaughtExceptionHandler) {
        *self.app.uncaught.lock() = Some(handler);
    }

    /// Tells `listener` how restores go on.
    pub fn set_restore_listener(&self, listener: Arc<dyn RestoreListener>) {
        self.app.restorer.set_listener(listener);
    }

    /// Waits until the application is in `state`.
    ///
    /// # Errors
    ///
    /// [`log_store::Error::TimedOut`] after `timeout`; if the application ends in another state, the error that ended it.
    pub fn wait_for(&self, state: State, timeout: Duration) -> Result<()> {
        let reached = self.app.lifecycle.wait(timeout, |now| now == state || now.is_final());
        match reached {
            Some(reached) if reached == state => Ok(()),
            Some(reached) => Err(self.ended_as(reached)),
            None => Err(Error::Log(log_store::Error::TimedOut {
                what: format!("application {} is {} and not {state} yet", self.config.application_id, self.state()),
                waited_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            })),
        }
    }

    /// The same as a future.
    ///
    /// # Errors
    ///
    /// If the application ends in another state, the error that ended it.
    pub async fn reached(&self, state: State) -> Result<()> {
        let reached = self.app.lifecycle.reached(|now| now == state || now.is_final()).await;
        if reached == state { Ok(()) } else { Err(self.ended_as(reached)) }
    }

    /// Waits until the application runs and every record in its input topics is processed and committed. More may come
    /// at any time: for whoever knows that the input has ended. Global tables are not waited for.
    ///
    /// # Errors
    ///
    /// [`log_store::Error::TimedOut`] after `timeout`; if the application ends, the error that ended it.
    pub fn wait_until_idle(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        self.wait_for(State::Running, timeout)?;
        loop {
            let state = self.state();
            if state.is_final() || self.error().is_some() {
                return Err(self.ended_as(state));
            }
            let lag: u64 = self.lags()?.iter().map(|partition| partition.lag).sum();
            if lag == 0 && state == State::Running {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Log(log_store::Error::TimedOut {
                    what: format!("application {} has {lag} records to go", self.config.application_id),
                    waited_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
                }));
            }
            std::thread::sleep(IDLE_TICK);
        }
    }

    fn ended_as(&self, state: State) -> Error {
        let id = &self.config.application_id;
        Error::IllegalState(match self.error() {
            Some(error) => format!("application {id} is {state}: {error}"),
            None => format!("application {id} is {state}"),
        })
    }

    /// Closes the application: threads commit what they have done, close their stores and leave the group. True once all
    /// that has happened; false if it takes longer than `timeout` (it goes on all the same).
    ///
    /// Closing an application that is closed does nothing.
    pub fn close(&self, timeout: Duration) -> bool {
        self.app.shut_down();
        self.app.lifecycle.wait(timeout, State::is_final).is_some()
    }

    /// Closes the application and waits until that is done, as a future. Ends in [`State::NotRunning`] or, if an error
    /// came first, in [`State::Error`].
    pub async fn closed(&self) -> State {
        self.app.shut_down();
        self.app.lifecycle.reached(State::is_final).await
    }

    /// Starts one more stream thread; its name. `None` if the application is not running.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn add_stream_thread(&self) -> Result<Option<String>> {
        let _changing = self.changing.lock();
        if !self.state().is_running_or_rebalancing() {
            return Ok(None);
        }
        let taken = self.app.thread_indices();
        let index = (1..).find(|index| !taken.contains(index)).expect("threads are fewer than numbers");
        self.app.spawn([index])?;
        Ok(Some(self.app.settings.thread_name(index)))
    }

    /// Ends one stream thread, the one that was added last: it commits, and its tasks go to the others. Its name, or `None`
    /// if there is none, or if it needs longer than `timeout` (it ends all the same).
    pub fn remove_stream_thread(&self, timeout: Duration) -> Option<String> {
        let _changing = self.changing.lock();
        let index = self.app.thread_indices().into_iter().next_back()?;
        let handle = self.app.remove_thread(index)?;
        let deadline = Instant::now() + timeout;
        while !handle.is_finished() {
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(self.app.settings.thread_name(index))
    }

    /// Names and states of the stream threads.
    #[must_use]
    pub fn threads(&self) -> Vec<(String, StreamThreadState)> {
        self.app.thread_states()
    }

    /// Stops processing, punctuation and restores; membership in the group goes on, so no task moves.
    pub fn pause(&self) {
        self.app.set_paused(true);
    }

    /// Undoes [`Streams::pause`].
    pub fn resume(&self) {
        self.app.set_paused(false);
    }

    /// True after [`Streams::pause`].
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.app.is_paused()
    }

    /// What the application has counted so far.
    #[must_use]
    pub fn metric(&self, metric: Metric) -> u64 {
        self.app.metrics.get(metric)
    }

    /// Reads a store of this instance from other threads than its own (interactive queries): key-value, window, session
    /// and versioned stores, all partitions that are here, consistent to the last commit or, if asked, to the last
    /// write. See [`crate::query`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidStateStore`] if there is no such store of such a type, or if it is not ready: ask again when the
    /// application is in [`State::Running`].
    pub fn store<S: QueryableStore>(&self, query: StoreQueryParameters<S>) -> Result<S::ReadOnly> {
        let places = Places::find(&self.app, query.name, query.partition, query.consistency)?;
        S::read_only(places)
    }

    /// Every input partition of the application with what of it is not committed yet.
    ///
    /// # Errors
    ///
    /// If the log cannot be reached, or the application has not been started.
    pub fn lags(&self) -> Result<Vec<LagInfo>> {
        let blueprint = self.app.blueprint_if_started()?;
        let mut admin = self.app.client.admin()?;
        let committed = admin.group_offsets(&self.config.application_id)?;
        let latest = OffsetSpec::Latest(self.app.settings.isolation());
        let lags = blueprint.inputs().into_iter().map(|partition| {
            let current = committed.iter().find(|(known, _)| *known == partition).map(|(_, offset)| offset.offset);
            let end = admin.list_offset(&partition, latest)?.unwrap_or(Offset::ZERO);
            let from = match current {
                Some(current) => current,
                None => admin.list_offset(&partition, OffsetSpec::Earliest)?.unwrap_or(Offset::ZERO),
            };
            Ok(LagInfo { partition, current, end, lag: end.offsets_since(from) })
        });
        lags.collect()
    }

    /// Deletes the application's local state; the next start rebuilds it from the changelogs. Offsets and topics stay.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] while the application runs; the directory if it cannot be deleted.
    pub fn clean_up(&self) -> Result<()> {
        let _changing = self.changing.lock();
        if !(self.state() == State::Created || self.state().is_final()) {
            return Err(Error::IllegalState(format!(
                "application {} is {}: close it before its state is deleted",
                self.config.application_id,
                self.state()
            )));
        }
        let directory = startup::open_directory(&self.topology, &self.config, None)?;
        directory.clean_up()?;
        Fingerprint::remove(directory.path())
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("application_id", &self.config.application_id)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.app.shut_down();
        // A thread of the application cannot wait for itself.
        if !self.app.is_own_thread() {
            self.app.lifecycle.wait(DROP_WAIT, State::is_final);
        }
    }
}
