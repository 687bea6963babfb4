//! What happens to writers while a checkpoint is made beside them.

use std::{any::Any, io, path::PathBuf, sync::Arc};

use log_store::{
    RecordView, Result, TopicPartition,
    client::LogClient,
    embedded::{
        EmbeddedLog, LogConfig,
        storage::{CrashPlan, Directory, Entry, MemoryDirectory, OpenMode, SegmentFile},
    },
};
use parking_lot::Mutex;

use crate::support::{create, open_in, partition, read};

/// Called with the name of a file before it is synced, in the order of the syncs.
type BeforeSync = Box<dyn FnMut(&str) -> bool + Send>;

/// A directory in memory that calls somebody before each sync of a file, until that one has had enough.
#[derive(Clone)]
struct Watched {
    files: MemoryDirectory,
    before_sync: Arc<Mutex<Option<BeforeSync>>>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.files.fmt(f)
    }
}

struct WatchedFile {
    path: String,
    file: Arc<dyn SegmentFile>,
    before_sync: Arc<Mutex<Option<BeforeSync>>>,
}

impl Directory for Watched {
    fn locate(&self, path: &str) -> PathBuf {
        self.files.locate(path)
    }

    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>> {
        self.files.lock()
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.files.create_dir(path)
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn SegmentFile>> {
        let (file, before_sync) = (self.files.open(path, mode)?, Arc::clone(&self.before_sync));
        Ok(Arc::new(WatchedFile { path: path.to_owned(), file, before_sync }))
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        self.files.list(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.files.remove(path)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.files.remove_dir(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.files.sync_dir(path)
    }
}

impl SegmentFile for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, position: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(position, out)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(position, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        // Taken out for the call: what it does syncs, too.
        let called = self.before_sync.lock().take();
        if let Some(mut called) = called
            && called(&self.path)
        {
            *self.before_sync.lock() = Some(called);
        }
        self.file.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.file.preallocate(len)
    }
}

/// Sends a record to `to` in a batch of its own; durable if `is_flushed`.
fn send(log: &EmbeddedLog, to: &TopicPartition, value: &str, is_flushed: bool) {
    let config = log_store::client::ProducerConfig { batch_bytes: 1, ..Default::default() };
    let mut producer = log.producer(&config).unwrap();
    let handle = producer.open(to).unwrap();
    producer.send(handle, RecordView::new(1, None, Some(value.as_bytes()))).unwrap();
    if is_flushed {
        producer.flush().unwrap();
    } else {
        // The batch that is full is appended when the next record comes, which is never flushed itself.
        producer.send(handle, RecordView::new(1, None, Some(b"never"))).unwrap();
    }
}

/// A checkpoint syncs what it claims, and leaves to the writers what they wait for: while it is at work a segment is sealed
/// unsynced, and a writer waits for a sync. What was acknowledged then must be there after a power cut.
#[test]
fn a_writer_beside_a_checkpoint_has_its_sealed_segments_synced() {
    let files = MemoryDirectory::new();
    let directory = Watched { files: files.clone(), before_sync: Arc::default() };
    let before_sync = Arc::clone(&directory.before_sync);
    let config = LogConfig { checkpoint_bytes: 10_000, preallocate_bytes: 0, ..LogConfig::default() };
    // Without threads of its own the log makes the checkpoint where it becomes due.
    let clock = Arc::new(log_store::clock::ManualClock::new(0));
    let log = EmbeddedLog::open_stepped(Arc::new(directory), config, clock).unwrap();
    create(&log, "a", 1, &[]);
    create(&log, "b", 1, &[("segment.bytes", "1024")]);
    let (a, b) = (partition("a", 0), partition("b", 0));
    send(&log, &a, "before", true);
    send(&log, &b, "before", true);

    let (seen, meddler) = (Arc::new(Mutex::new(None)), log.clone());
    let (after_cut, b_again) = (Arc::clone(&seen), b.clone());
    let mut has_rolled = false;
    *before_sync.lock() = Some(Box::new(move |path| {
        // The checkpoint is at the first topic …
        if path.starts_with("a-0/") && path.ends_with(".snapshot") {
            let big = "x".repeat(900);
            send(&meddler, &b_again, &big, false);
            send(&meddler, &b_again, &big, false);
            has_rolled = true;
        }
        // … and now it holds in its hands what it syncs of the second.
        if has_rolled && path.starts_with("b-0/") {
            send(&meddler, &b_again, "acknowledged", true);
            *after_cut.lock() = Some(files.crash(CrashPlan::LoseAll));
            return false;
        }
        true
    }));
    send(&log, &a, &"y".repeat(20_000), true);

    let after_cut = seen.lock().take().expect("the checkpoint has come to the second topic");
    assert_eq!(read(&open_in(&after_cut), &b).last().map(String::as_str), Some("acknowledged"));
}
