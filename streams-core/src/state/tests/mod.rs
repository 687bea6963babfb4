//! What every kind of store must keep through commits, aborts, restarts and crashes, told by models.

mod faults;
mod key_value;
mod session;
mod versioned;
mod window;

use std::{fs, path::Path};

use log_store::{Headers, HeadersView, Offset, RecordView};
use tempfile::TempDir;

use super::{ChangelogSink, StateDirectory, StateSettings, StateStore, StoreBuilder, StoreContext, TypedStoreBuilder};
use crate::{Result, task::TaskId};

const TASK: TaskId = TaskId { subtopology: 0, partition: 0 };

/// One record of a changelog.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Logged {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    headers: Headers,
}

/// A transaction's records.
#[derive(Default)]
struct Sink(Vec<Logged>);

impl ChangelogSink for Sink {
    fn log(&mut self, key: &[u8], value: Option<&[u8]>, timestamp: i64, headers: HeadersView<'_>) -> Result<()> {
        let headers = headers.to_headers();
        self.0.push(Logged { key: key.to_vec(), value: value.map(<[u8]>::to_vec), timestamp, headers });
        Ok(())
    }
}

/// A store with its changelog and its files, driven as a task drives it.
struct Stage<S> {
    builder: TypedStoreBuilder<S>,
    store: Option<S>,
    /// Committed records. A commit also leaves a marker, which takes an offset.
    log: Vec<Option<Logged>>,
    /// Records that the last restore read.
    replayed: usize,
    files: TempDir,
}

impl<S: StateStore> Stage<S> {
    fn new(builder: TypedStoreBuilder<S>) -> Self {
        let files = tempfile::tempdir().unwrap();
        let mut stage = Stage { builder, store: None, log: Vec::new(), replayed: 0, files };
        stage.open();
        stage
    }

    fn store(&mut self) -> &mut S {
        self.store.as_mut().unwrap()
    }

    fn context(&self) -> StoreContext {
        let directory = StateDirectory::open("app", StateSettings::new(self.files.path())).unwrap();
        directory.open_task(TASK).unwrap()
    }

    fn open(&mut self) {
        self.store = Some(self.builder.build_typed(&self.context()).unwrap());
        self.restore();
    }

    fn end(&self) -> Offset {
        Offset::new(self.log.len() as u64)
    }

    fn restore(&mut self) {
        if *self.builder.changelog() == super::Changelog::Disabled {
            return;
        }
        let end = self.end();
        let store = self.store.as_mut().unwrap();
        let start = store.checkpoint().unwrap_or(Offset::ZERO);
        assert!(start <= end, "the files claim {start}, the changelog ends at {end}");
        self.replayed = 0;
        for offset in start.value()..end.value() {
            if let Some(logged) = &self.log[offset as usize] {
                let view = RecordView {
                    headers: HeadersView::from(&logged.headers),
                    ..RecordView::new(logged.timestamp, Some(&logged.key), logged.value.as_deref())
                };
                store.restore(Offset::new(offset), view).unwrap();
                self.replayed += 1;
            }
        }
        store.restored(end).unwrap();
    }

    fn commit(&mut self) {
        let mut sink = Sink::default();
        self.store().write_changelog(&mut sink).unwrap();
        self.log.extend(sink.0.into_iter().map(Some));
        self.log.push(None);
        let end = self.end();
        self.store().committed(Some(end)).unwrap();
    }

    fn abort(&mut self) {
        self.store().rollback().unwrap();
        self.restore();
    }

    /// A clean stop and start.
    fn restart(&mut self) {
        let mut store = self.store.take().unwrap();
        store.close().unwrap();
        drop(store);
        self.open();
    }

    /// `kill -9`: goes on with the files as they lie there at this moment.
    fn crash(&mut self) {
        let after = tempfile::tempdir().unwrap();
        copy(self.files.path(), after.path());
        drop(self.store.take());
        self.files = after;
        self.open();
    }

    /// What the last commit logged.
    fn last_logged(&self) -> Vec<Logged> {
        let mut records: Vec<Logged> = self.log.iter().rev().skip(1).map_while(Clone::clone).collect();
        records.reverse();
        records
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn headers(names: &[&str]) -> Headers {
    let mut headers = Headers::new();
    for name in names {
        headers.add(*name, None);
    }
    headers
}

#[test]
fn a_store_of_every_kind_is_a_trait_object_that_can_be_known_again() {
    use std::any::Any;

    let builder = key_value::builder(true);
    let store: Box<dyn StateStore> = builder.build(&StoreContext::in_memory(TASK)).unwrap();
    let any: Box<dyn Any> = store;
    assert!(any.downcast::<super::KeyValueStore<String, i64>>().is_ok());
}
