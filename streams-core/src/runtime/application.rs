//! What the threads of one application share, and what follows when one of them changes its state or ends.
//!
//! Invariant: the last stream thread to end closes what the threads shared and makes the final transition; nobody waits
//! for a thread while holding a lock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use log_store::client::SharedClient;
use parking_lot::Mutex;

use super::{
    blueprint::Blueprint,
    control::Control,
    global_stores::GlobalStores,
    global_thread::{self, GlobalThread},
    lifecycle::{Lifecycle, State},
    metrics::{Metric, Metrics},
    queries::Queries,
    restorer::Restorer,
    settings::Settings,
    standby::Standbys,
    standby_thread::StandbyThread,
    startup::Started,
    thread::StreamThread,
    thread_state::StreamThreadState,
};
use crate::{Error, Result, time::Clock};

/// Before a thread is replaced: a record that kills every thread must not keep a core busy.
pub(super) const REPLACEMENT_PAUSE: Duration = Duration::from_millis(100);

/// What to do about an error that ended a stream thread (Kafka Streams' `StreamThreadExceptionResponse`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamThreadExceptionResponse {
    /// Start a new thread in its place; it goes on from the last commit.
    ReplaceThread,
    /// Close this application instance, which ends in [`State::Error`]. The default.
    ShutdownClient,
    /// Close every instance of the application that this process has made with the same log client; all end in
    /// [`State::Error`].
    ShutdownApplication,
}

/// Decides what follows when a stream thread has ended with an error. Called by that thread.
pub type UncaughtExceptionHandler = Arc<dyn Fn(&Error) -> StreamThreadExceptionResponse + Send + Sync>;

/// Everything the threads of one application share.
pub(crate) struct Application {
    pub(crate) client: SharedClient,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) restorer: Restorer,
    pub(crate) queries: Arc<Queries>,
    pub(crate) standbys: Arc<Standbys>,
    standby_thread: Mutex<Option<StandbyThread>>,
    pub(crate) uncaught: Mutex<Option<UncaughtExceptionHandler>>,
    /// Known once the application has started.
    started: OnceLock<Started>,
    paused: AtomicBool,
    threads: Mutex<BTreeMap<u32, Thread>>,
}

struct Thread {
    control: Arc<Control>,
    state: StreamThreadState,
    handle: Option<JoinHandle<()>>,
}

impl Application {
    pub(crate) fn new(client: SharedClient, settings: Settings, clock: Arc<dyn Clock>, is_stepped: bool) -> Self {
        let metrics = Arc::new(Metrics::default());
        let shared = (Arc::clone(&client), Arc::clone(&metrics), Arc::clone(&clock));
        let restorer = Restorer::new(shared.0, &settings, shared.1, shared.2, is_stepped);
        Application {
            client,
            settings,
            clock,
            metrics,
            lifecycle: Lifecycle::new(),
            restorer,
            queries: Arc::default(),
            standbys: Arc::default(),
            standby_thread: Mutex::default(),
            uncaught: Mutex::default(),
            started: OnceLock::new(),
            paused: AtomicBool::new(false),
            threads: Mutex::default(),
        }
    }

    /// The topology as it lies on the log.
    pub(crate) fn blueprint(&self) -> &Blueprint {
        &self.started().blueprint
    }

    /// Identity of this instance across restarts.
    pub(crate) fn process_id(&self) -> &str {
        &self.started().process_id
    }

    /// The topology as it lies on the log, if the application has been started.
    pub(crate) fn blueprint_if_started(&self) -> Result<&Blueprint> {
        let started = self.started.get().map(|started| &started.blueprint);
        started.ok_or_else(|| {
            Error::IllegalState(format!("application {} has not been started", self.settings.application_id))
        })
    }

    /// The stores that all tasks may read.
    pub(crate) fn global_stores(&self) -> &GlobalStores {
        &self.started().global_stores
    }

    fn started(&self) -> &Started {
        self.started.get().expect("threads start when everything they need is there")
    }

    /// Once, before the first thread.
    pub(crate) fn set_started(&self, started: Started) {
        assert!(self.started.set(started).is_ok(), "an application starts once");
    }

    /// Lets others have the state directory, with nothing closed: as if the process had ended.
    pub(crate) fn release_directory(&self) {
        if let Some(started) = self.started.get() {
            started.release();
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
        self.restorer.set_paused(paused);
        for thread in self.threads.lock().values() {
            thread.control.wake();
        }
    }

    /// Starts what the application begins with: the thread that fills global stores, which starts the others when they
    /// are complete; without global stores the stream threads at once.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<()> {
        if self.settings.standby_replicas > 0 {
            *self.standby_thread.lock() = Some(StandbyThread::start(self)?);
        }
        let Some(blueprint) = &self.started().global else { return self.spawn_configured() };
        let thread = GlobalThread::new(Arc::clone(self), blueprint, self.global_stores())?;
        let entry = Thread { control: thread.control(), state: StreamThreadState::Created, handle: None };
        self.remember(global_thread::INDEX, entry);
        let app = Arc::clone(self);
        let body = move || {
            if let Err(error) = contained("the thread of the global stores", || thread.run()) {
                app.shut_down_with(Arc::new(error));
            }
            app.ended(global_thread::INDEX);
        };
        let name = format!("{}-GlobalStreamThread", self.settings.client_id);
        let handle = self.launch(global_thread::INDEX, name, body)?;
        if let Some(thread) = self.threads.lock().get_mut(&global_thread::INDEX) {
            thread.handle = Some(handle);
        }
        Ok(())
    }

    /// Starts as many stream threads as the configuration says.
    pub(crate) fn spawn_configured(self: &Arc<Self>) -> Result<()> {
        self.spawn(1..=self.settings.stream_threads)
    }

    fn launch(&self, index: u32, name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
        std::thread::Builder::new().name(name).spawn(body).map_err(|error| {
            self.forget(index);
            Error::IllegalState(format!("cannot start a thread: {error}"))
        })
    }

    /// Starts stream threads. All of them are in the group before the first one polls: no task is given to one thread
    /// only to be taken away for the next.
    pub(crate) fn spawn(self: &Arc<Self>, indices: impl IntoIterator<Item = u32>) -> Result<()> {
        let mut made = Vec::new();
        for index in indices {
            let mut thread = StreamThread::new(Arc::clone(self), index)?;
            let entry = Thread { control: thread.control(), state: StreamThreadState::Created, handle: None };
            self.remember(index, entry);
            let joined = thread.join();
            made.push((index, thread));
            if let Err(error) = joined {
                made.iter().for_each(|(index, _)| self.forget(*index));
                return Err(error);
            }
        }
        for (index, thread) in made {
            let app = Arc::clone(self);
            let body = move || app.run(index, thread);
            let handle = self.launch(index, self.settings.thread_name(index), body)?;
            if let Some(thread) = self.threads.lock().get_mut(&index) {
                thread.handle = Some(handle);
            }
        }
        Ok(())
    }

    /// Takes in a stream thread that its maker drives.
    pub(crate) fn adopt(&self, index: u32, control: Arc<Control>) {
        self.remember(index, Thread { control, state: StreamThreadState::Created, handle: None });
    }

    fn remember(&self, index: u32, thread: Thread) {
        let mut threads = self.threads.lock();
        threads.insert(index, thread);
        self.count(&threads);
    }

    fn forget(&self, index: u32) {
        let mut threads = self.threads.lock();
        threads.remove(&index);
        self.count(&threads);
    }

    fn count(&self, threads: &BTreeMap<u32, Thread>) {
        let alive = threads.keys().filter(|index| **index != global_thread::INDEX).count();
        self.metrics.set(Metric::AliveStreamThreads, alive as u64);
    }

    /// Life of one stream thread, with its replacements.
    fn run(self: &Arc<Self>, index: u32, mut thread: StreamThread) {
        loop {
            let outcome = contained(&self.settings.thread_name(index), || thread.run());
            let Err(error) = outcome else { break };
            self.metrics.add(Metric::FailedStreamThreads, 1);
            let error = Arc::new(error);
            match self.decide(&error) {
                StreamThreadExceptionResponse::ReplaceThread if self.lifecycle.state().is_running_or_rebalancing() => {
                    self.clock.sleep(REPLACEMENT_PAUSE);
                    match self.replace(index) {
                        Ok(replacement) => {
                            thread = replacement;
                            continue;
                        }
                        Err(error) => self.shut_down_with(Arc::new(error)),
                    }
                }
                StreamThreadExceptionResponse::ReplaceThread => self.lifecycle.report(error),
                StreamThreadExceptionResponse::ShutdownClient => self.shut_down_with(error),
                StreamThreadExceptionResponse::ShutdownApplication => {
                    for instance in super::instances::of(self) {
                        instance.shut_down_with(Arc::clone(&error));
                    }
                }
            }
            break;
        }
        self.ended(index);
    }

    fn decide(&self, error: &Error) -> StreamThreadExceptionResponse {
        let handler = self.uncaught.lock().clone();
        let Some(handler) = handler else { return StreamThreadExceptionResponse::ShutdownClient };
        let decided = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handler(error)));
        decided.unwrap_or(StreamThreadExceptionResponse::ShutdownClient)
    }

    fn replace(self: &Arc<Self>, index: u32) -> Result<StreamThread> {
        let mut thread = StreamThread::new(Arc::clone(self), index)?;
        if let Some(entry) = self.threads.lock().get_mut(&index) {
            entry.control = thread.control();
        }
        // Closing may have been asked of the thread that is no more.
        if !self.lifecycle.state().is_running_or_rebalancing() {
            thread.control().close();
        }
        thread.join()?;
        Ok(thread)
    }

    /// A stream thread says what it is doing.
    pub(crate) fn thread_entered(&self, index: u32, state: StreamThreadState) {
        let all_running = {
            let mut threads = self.threads.lock();
            if let Some(thread) = threads.get_mut(&index) {
                thread.state = state;
            }
            threads.values().all(|thread| thread.state == StreamThreadState::Running)
        };
        match state {
            StreamThreadState::Running if all_running => {
                self.lifecycle.enter(State::Running);
            }
            StreamThreadState::PartitionsAssigned | StreamThreadState::PartitionsRevoked => {
                self.lifecycle.enter(State::Rebalancing);
            }
            _ => {}
        }
    }

    /// Ends the application because of `error`.
    pub(crate) fn shut_down_with(&self, error: Arc<Error>) {
        self.lifecycle.report(error);
        self.lifecycle.enter(State::PendingError);
        self.close_threads();
        self.finish_if_last();
    }

    /// Asks all threads to close. The last one makes the final transition.
    pub(crate) fn shut_down(&self) {
        self.lifecycle.enter(State::PendingShutdown);
        self.close_threads();
        self.finish_if_last();
    }

    fn close_threads(&self) {
        for thread in self.threads.lock().values() {
            thread.control.close();
        }
    }

    pub(crate) fn ended(&self, index: u32) {
        self.forget(index);
        let all_running = {
            let threads = self.threads.lock();
            !threads.is_empty() && threads.values().all(|thread| thread.state == StreamThreadState::Running)
        };
        if all_running {
            self.lifecycle.enter(State::Running);
        }
        self.finish_if_last();
    }

    fn finish_if_last(&self) {
        if !self.threads.lock().is_empty() {
            return;
        }
        let next = match self.lifecycle.state() {
            State::PendingShutdown => State::NotRunning,
            State::PendingError => State::Error,
            _ => return,
        };
        self.restorer.close();
        let standby_thread = self.standby_thread.lock().take();
        if let Some(Err(error)) = standby_thread.map(StandbyThread::end) {
            self.lifecycle.report(Arc::new(error));
        }
        if let Some(started) = self.started.get()
            && let Err(error) = started.close()
        {
            self.lifecycle.report(Arc::new(error));
        }
        self.lifecycle.enter(next);
    }

    /// Numbers of the stream threads that are there.
    pub(crate) fn thread_indices(&self) -> Vec<u32> {
        self.threads.lock().keys().copied().filter(|index| *index != global_thread::INDEX).collect()
    }

    /// Names and states of the stream threads.
    pub(crate) fn thread_states(&self) -> Vec<(String, StreamThreadState)> {
        let threads = self.threads.lock();
        let threads = threads.iter().filter(|(index, _)| **index != global_thread::INDEX);
        threads.map(|(index, thread)| (self.settings.thread_name(*index), thread.state)).collect()
    }

    /// True on a stream thread of this application.
    pub(crate) fn is_own_thread(&self) -> bool {
        let this = std::thread::current().id();
        let is_this = |thread: &Thread| thread.handle.as_ref().is_some_and(|handle| handle.thread().id() == this);
        self.threads.lock().values().any(is_this)
    }

    /// Asks thread `index` to close; its handle, to wait for it.
    pub(crate) fn remove_thread(&self, index: u32) -> Option<JoinHandle<()>> {
        let mut threads = self.threads.lock();
        let thread = threads.get_mut(&index)?;
        thread.control.close();
        thread.handle.take()
    }
}

/// Runs a thread's work; a panic of ours becomes an error.
fn contained(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    worked.unwrap_or_else(|panic| Err(Error::IllegalState(format!("{name} panicked: {}", panic_text(&*panic)))))
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
