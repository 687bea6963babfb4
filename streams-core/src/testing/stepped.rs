//! An application whose threads are driven by hand: for simulations of many instances, on one thread of the system.
//!
//! Nothing here waits and nothing happens by itself: stream threads move by [`SteppedThread::turn`], restores by
//! [`SteppedStreams::restore`], standby tasks by [`SteppedStreams::step_standbys`], time by the clock that was given.

use std::{fmt, sync::Arc};

use log_store::client::SharedClient;

use crate::{
    Result, StreamsConfig,
    runtime::{Application, Settings, StandbyWork, StreamThread, startup},
    state::{SimulatedDisk, StateStore},
    task::TaskId,
    time::Clock,
    topology::Topology,
};

/// One instance of an application. When it is dropped, it gives up its state directory as a killed process does: nothing
/// is committed or closed.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use log_store::{TopicName, client::{LogClient, NewTopic}};
/// use log_store::embedded::{EmbeddedLog, LogConfig, storage::MemoryDirectory};
/// use streams_core::{
///     StreamsConfig,
///     state::SimulatedDisk,
///     testing::SteppedStreams,
///     time::ManualClock,
///     topology::{Sink, Source, Topology},
/// };
///
/// let log = EmbeddedLog::open_in(Arc::new(MemoryDirectory::new()), LogConfig::default())?;
/// log.admin()?.create_topics(&[NewTopic::new(TopicName::new("in")?, 1), NewTopic::new(TopicName::new("out")?, 1)])?;
/// let mut topology = Topology::new();
/// topology
///     .add_source(Source::<String, String>::new("source", "in"))
///     .add_sink(Sink::<String, String>::new("sink", "out"), &["source"]);
///
/// # let state = tempfile::tempdir().unwrap();
/// let config = StreamsConfig::builder("app").state_dir(state.path()).poll_wait(Duration::ZERO).build()?;
/// let clock = Arc::new(ManualClock::new(0));
/// let app = SteppedStreams::start(&topology, &config, Arc::new(log), clock, &SimulatedDisk::new(10))?;
/// let mut thread = app.spawn(1)?;
/// thread.turn();
/// thread.close();
/// while thread.turn() {}
/// assert!(thread.end().is_none());
/// # Ok::<(), streams_core::Error>(())
/// ```
pub struct SteppedStreams {
    app: Arc<Application>,
    /// Where there are to be standby tasks.
    standby: Option<StandbyWork>,
}

/// One stream thread of a [`SteppedStreams`].
pub struct SteppedThread {
    app: Arc<Application>,
    index: u32,
    thread: StreamThread,
}

impl SteppedStreams {
    /// Makes everything ready that [`crate::runtime::Streams::start`] makes ready, without threads. Persistent stores keep
    /// their rows on `disk`.
    ///
    /// # Errors
    ///
    /// As [`crate::runtime::Streams::new`] and [`crate::runtime::Streams::start`].
    pub fn start(
        topology: &Topology,
        config: &StreamsConfig,
        client: SharedClient,
        clock: Arc<dyn Clock>,
        disk: &SimulatedDisk,
    ) -> Result<Self> {
        topology.validate()?;
        let settings = Settings::new(config, &*client);
        let app = Arc::new(Application::new(client, settings, clock, true));
        let started = startup::prepare(topology, config, &app.client, Some(disk))?;
        app.set_started(started);
        let standby = (app.settings.standby_replicas > 0).then(|| StandbyWork::new(&app)).transpose()?;
        Ok(SteppedStreams { app, standby })
    }

    /// A new stream thread that has joined the group. Its number decides its transactional id: two threads of one
    /// number fence each other.
    ///
    /// # Errors
    ///
    /// If the log refuses.
    pub fn spawn(&self, index: u32) -> Result<SteppedThread> {
        let mut thread = StreamThread::new(Arc::clone(&self.app), index)?;
        self.app.adopt(index, thread.control());
        thread.join()?;
        Ok(SteppedThread { app: Arc::clone(&self.app), index, thread })
    }

    /// Takes a restore one step on; false if there is none.
    pub fn restore(&self) -> bool {
        self.app.restorer.step()
    }

    /// One step of the thread that keeps standby tasks, if there are to be any. After an error it has ended, with its
    /// tasks closed.
    ///
    /// # Errors
    ///
    /// What ended it.
    pub fn step_standbys(&mut self) -> Result<()> {
        let Some(work) = &mut self.standby else { return Ok(()) };
        let worked = work.step();
        if worked.is_err() {
            let closed = work.close();
            self.standby = None;
            return worked.and(closed);
        }
        Ok(())
    }

    /// Calls `visit` with every store of its standby tasks that has a changelog.
    pub fn with_standby_stores(&self, visit: &mut dyn FnMut(TaskId, &mut dyn StateStore)) {
        self.app.standbys.visit(visit);
    }
}

impl Drop for SteppedStreams {
    fn drop(&mut self) {
        self.app.restorer.forget();
        self.app.release_directory();
    }
}

impl SteppedThread {
    /// One turn of the thread's loop. False once the thread is at its end.
    pub fn turn(&mut self) -> bool {
        self.thread.turn()
    }

    /// Asks the thread to commit, close its tasks and leave: what the next turns do.
    pub fn close(&self) {
        self.thread.control().close();
    }

    /// Calls `visit` with every store of its running tasks.
    pub fn with_stores(&mut self, visit: &mut dyn FnMut(TaskId, &mut dyn StateStore)) {
        for (id, task) in self.thread.running() {
            task.stores().iter_mut().for_each(|store| visit(id, &mut **store));
        }
    }

    /// Lets go of the thread, and says which error ended it.
    #[must_use]
    pub fn end(self) -> Option<crate::Error> {
        self.app.ended(self.index);
        self.thread.outcome().err()
    }
}

impl fmt::Debug for SteppedStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SteppedStreams({})", self.app.settings.application_id)
    }
}

impl fmt::Debug for SteppedThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.app.settings.thread_name(self.index))
    }
}
