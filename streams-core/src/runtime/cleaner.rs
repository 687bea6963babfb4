//! Removes the directories of tasks that have moved elsewhere (`state.cleanup.delay.ms`).

use std::{
    sync::{Arc, mpsc},
    time::{Duration, SystemTime},
};

use crate::{Error, Result, state::StateDirectory};

/// The thread that cleans up. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Cleaner {
    _alive: mpsc::Sender<()>,
}

impl Cleaner {
    /// Looks once for each `delay`. `directory` answers `None` when the application has ended.
    pub(crate) fn start(
        name: String,
        delay: Duration,
        directory: impl Fn() -> Option<Arc<StateDirectory>> + Send + 'static,
    ) -> Result<Self> {
        let (alive, ended) = mpsc::channel();
        let body = move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(delay) {
                let Some(directory) = directory() else { return };
                match directory.remove_unused(delay, SystemTime::now()) {
                    Ok(removed) if removed.is_empty() => {}
                    Ok(removed) => tracing::info!(tasks = ?removed, "removed the state of tasks that moved elsewhere"),
                    Err(error) => {
                        tracing::warn!(%error, "the state of tasks that moved elsewhere could not be removed")
                    }
                }
            }
        };
        let started = std::thread::Builder::new().name(name).spawn(body);
        started.map_err(|error| Error::IllegalState(format!("cannot start a thread: {error}")))?;
        Ok(Cleaner { _alive: alive })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{state::StateSettings, task::TaskId};

    #[test]
    fn directories_of_tasks_that_are_gone_are_removed_after_the_delay() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = StateDirectory::open("app", StateSettings::new(temporary.path())).unwrap();
        let (gone, here) = (TaskId { subtopology: 0, partition: 0 }, TaskId { subtopology: 0, partition: 1 });
        drop(directory.open_task(gone).unwrap());
        let _held = directory.open_task(here).unwrap();
        let shared = Arc::clone(&directory);
        let cleaner = Cleaner::start("cleaner".into(), Duration::from_millis(20), move || Some(Arc::clone(&shared)));
        let deadline = Instant::now() + Duration::from_secs(20);
        while directory.tasks().unwrap() != [here] {
            assert!(Instant::now() < deadline, "{:?}", directory.tasks());
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(cleaner);
    }
}
