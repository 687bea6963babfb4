//! A disk whose syncs take for ever: who sends is told in time, nothing is lost or doubled, and the rest of the log is
//! not harmed.

use std::{any::Any, io, path::PathBuf, sync::Arc, thread, time::Duration};

use log_store::{
    Error, RecordView, Result, TopicName,
    client::{LogClient, Producer, ProducerConfig, SharedClient},
    embedded::{
        EmbeddedLog, LogConfig,
        storage::{Directory, Entry, MemoryDirectory, OpenMode, SegmentFile},
    },
    records::{ProducerRecord, RecordProducer, RecordProducerConfig},
};
use parking_lot::{Condvar, Mutex};

use crate::support::{create, partition, produce, read};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether syncs may end.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
    /// Files that are open, and the most that were at a time.
    files: Mutex<(usize, usize)>,
}

#[derive(Debug, Default)]
struct GateState {
    /// What the path of a file contains whose syncs wait; an empty text is in all.
    shut_for: Option<&'static str>,
    waiting: usize,
}

impl Gate {
    fn shut(&self) {
        self.shut_for("");
    }

    fn shut_for(&self, part: &'static str) {
        self.state.lock().shut_for = Some(part);
    }

    fn open(&self) {
        self.state.lock().shut_for = None;
        self.changed.notify_all();
    }

    fn pass(&self, path: &str) {
        let mut state = self.state.lock();
        let must_wait = |state: &mut GateState| state.shut_for.is_some_and(|part| path.contains(part));
        if must_wait(&mut state) {
            state.waiting += 1;
            self.changed.notify_all();
            self.changed.wait_while(&mut state, must_wait);
            state.waiting -= 1;
        }
    }

    /// Returns once somebody is at the gate.
    fn wait_for_somebody(&self) {
        let result = self.changed.wait_while_for(&mut self.state.lock(), |state| state.waiting == 0, PATIENCE);
        assert!(!result.timed_out(), "nobody has begun a sync");
    }
}

/// A disk whose syncs wait at the gate.
#[derive(Debug)]
struct SlowDisk {
    disk: MemoryDirectory,
    gate: Arc<Gate>,
}

struct SlowFile {
    path: String,
    file: Arc<dyn SegmentFile>,
    gate: Arc<Gate>,
}

impl Directory for SlowDisk {
    fn locate(&self, path: &str) -> PathBuf {
        self.disk.locate(path)
    }

    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>> {
        self.disk.lock()
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn SegmentFile>> {
        let file = self.disk.open(path, mode)?;
        let mut files = self.gate.files.lock();
        files.0 += 1;
        files.1 = files.1.max(files.0);
        drop(files);
        Ok(Arc::new(SlowFile { path: path.to_owned(), file, gate: Arc::clone(&self.gate) }))
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.gate.pass(path);
        self.disk.sync_dir(path)
    }
}

impl Drop for SlowFile {
    fn drop(&mut self) {
        self.gate.files.lock().0 -= 1;
    }
}

impl SegmentFile for SlowFile {
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
        self.gate.pass(&self.path);
        self.file.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.file.preallocate(len)
    }
}

/// A log that lets 10,000 bytes wait for a sync.
fn slow_log() -> (EmbeddedLog, Arc<Gate>) {
    slow_log_with(LogConfig { unsynced_bytes_max: 10_000, ..LogConfig::default() })
}

fn slow_log_with(config: LogConfig) -> (EmbeddedLog, Arc<Gate>) {
    let gate = Arc::<Gate>::default();
    let disk = SlowDisk { disk: MemoryDirectory::new(), gate: Arc::clone(&gate) };
    let log = EmbeddedLog::open_in(Arc::new(disk), config).unwrap();
    create(&log, "t", 1, &[]);
    (log, gate)
}

fn impatient() -> ProducerConfig {
    ProducerConfig { block_max: Duration::from_millis(20), batch_bytes: 1_000, ..ProducerConfig::default() }
}

/// A value of a hundred bytes.
fn value(number: usize) -> String {
    format!("{number:0100}")
}

/// The numbers below `count` are in the log, once and in order, and nothing else.
fn check(log: &EmbeddedLog, count: usize) {
    assert_eq!(read(log, &partition("t", 0)), (0..count).map(value).collect::<Vec<_>>());
}

/// Sends numbers from `first` on until one is refused. Returns the refused one and why.
fn send_until_refused(producer: &mut dyn Producer, first: usize) -> (usize, Error) {
    let handle = producer.open(&partition("t", 0)).unwrap();
    for number in first..first + 1_000 {
        if let Err(error) = producer.send(handle, RecordView::new(1, None, Some(value(number).as_bytes()))) {
            return (number, error);
        }
    }
    panic!("10,000 bytes and a batch or two are enough for a hundred records or so");
}

#[test]
fn a_send_behind_a_sync_that_hangs_fails_in_time_and_nothing_is_lost() {
    let (log, gate) = slow_log();
    let mut producer = log.producer(&impatient()).unwrap();
    gate.shut();
    let mut sent = 0;
    // Each time it is told, and the memory that it has does not grow beyond an open batch.
    for _ in 0..3 {
        let (refused, error) = send_until_refused(&mut *producer, sent);
        assert!(matches!(error, Error::TimedOut { waited_ms: 20, .. }), "{error}");
        assert!(error.to_string().contains("a sync of the log's files"), "{error}");
        sent = refused;
    }
    assert!(sent < 300, "{sent} records of a hundred bytes are more than may wait, and be under way");
    gate.open();
    let handle = producer.open(&partition("t", 0)).unwrap();
    let last = value(sent);
    // The disk is well again, but whether it is so in time is not for this test to say.
    while let Err(error) = producer.send(handle, RecordView::new(1, None, Some(last.as_bytes()))) {
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    }
    producer.flush().unwrap();
    check(&log, sent + 1);
}

#[test]
fn a_producer_that_needs_an_id_fails_in_time_and_goes_on_later() {
    let (log, gate) = slow_log();
    create(&log, "ids", 1, &[]);
    // Ids are made durable a thousand at a time, the first with the log. What these producers send is never in the way.
    for _ in 0..1_000 {
        produce(&log, &partition("ids", 0), &["x"]).unwrap();
    }
    gate.shut();
    let mut producer = log.producer(&impatient()).unwrap();
    let (refused, error) = send_until_refused(&mut *producer, 0);
    assert!(matches!(error, Error::TimedOut { waited_ms: 20, .. }), "{error}");
    assert!(error.to_string().contains("producer ids"), "{error}");
    gate.open();
    let handle = producer.open(&partition("t", 0)).unwrap();
    let last = value(refused);
    while let Err(error) = producer.send(handle, RecordView::new(1, None, Some(last.as_bytes()))) {
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    }
    producer.flush().unwrap();
    check(&log, refused + 1);
}

#[test]
fn a_large_transaction_is_on_its_way_to_the_disk_before_its_commit() {
    let (log, gate) = slow_log_with(LogConfig::default());
    gate.shut_for("t-0/");
    let config = ProducerConfig { transactional_id: Some("large".into()), ..ProducerConfig::default() };
    let mut producer = log.producer(&config).unwrap();
    producer.init_transactions().unwrap();
    producer.begin().unwrap();
    let handle = producer.open(&partition("t", 0)).unwrap();
    // Eight megabytes and more; nobody waits for the disk, which has begun all the same.
    const COUNT: usize = 80_000;
    for number in 0..COUNT {
        producer.send(handle, RecordView::new(1, None, Some(value(number).as_bytes()))).unwrap();
    }
    gate.wait_for_somebody();
    gate.open();
    producer.commit().unwrap();
    check(&log, COUNT);
}

#[test]
fn a_topic_may_be_deleted_while_it_is_synced() {
    let (log, gate) = slow_log();
    create(&log, "kept", 1, &[]);
    gate.shut_for("t-0/");
    thread::scope(|scope| {
        // Whether it hears of the deletion is its own matter: nobody will ask for the record.
        let sender = scope.spawn(|| produce(&log, &partition("t", 0), &["gone"]));
        gate.wait_for_somebody();
        log.admin().unwrap().delete_topics(&[partition("t", 0).topic]).unwrap();
        gate.open();
        let _ = sender.join().unwrap();
    });
    produce(&log, &partition("kept", 0), &["here"]).unwrap();
    assert_eq!(read(&log, &partition("kept", 0)), ["here"]);
}

#[test]
fn a_transaction_that_misses_a_send_can_only_be_aborted() {
    let (log, gate) = slow_log();
    let config = ProducerConfig { transactional_id: Some("x".to_owned()), ..impatient() };
    let mut producer = log.producer(&config).unwrap();
    producer.init_transactions().unwrap();
    producer.begin().unwrap();
    gate.shut();
    let (_, error) = send_until_refused(&mut *producer, 0);
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    gate.open();
    let refused = producer.commit().unwrap_err().to_string();
    assert!(refused.contains("abort it"), "{refused}");
    producer.abort().unwrap();
    check(&log, 0);
}

#[test]
fn a_producer_of_records_is_told_in_time_and_delivers_the_rest() {
    let (log, gate) = slow_log();
    let client: SharedClient = Arc::new(log.clone());
    let config = RecordProducerConfig { producer: impatient(), buffer_bytes: 5_000, ..RecordProducerConfig::default() };
    let producer = RecordProducer::new(&client, config).unwrap();
    gate.shut();
    let mut deliveries = Vec::new();
    let error = loop {
        let record = ProducerRecord::new(partition("t", 0).topic, value(deliveries.len()));
        match producer.send(record) {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => break error,
        }
        assert!(deliveries.len() < 1_000, "5,000 bytes are enough for so many");
    };
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    gate.open();
    let sent = deliveries.len();
    for delivery in deliveries {
        delivery.wait().unwrap();
    }
    check(&log, sent);
}

#[test]
fn few_files_are_open_however_many_partitions_there_are() {
    const PARTITIONS: u32 = 300;
    const FILES_MAX: usize = 60;
    /// Five of each partition wait for a sync while its only segment is replaced.
    const RETIRING_MAX: usize = 5 * 17 + FILES_MAX;
    let gate = Arc::<Gate>::default();
    let disk = MemoryDirectory::new();
    let open = || {
        let disk = SlowDisk { disk: disk.clone(), gate: Arc::clone(&gate) };
        let config = LogConfig { open_files_max: 16, ..LogConfig::default() };
        EmbeddedLog::open_in(Arc::new(disk), config).unwrap()
    };
    let log = open();
    create(&log, "t", PARTITIONS, &[("retention.ms", "-1")]);
    for number in 0..PARTITIONS {
        produce(&log, &partition("t", number), &["x"]).unwrap();
    }
    // Looks at the age of each.
    log.clean().unwrap();
    log.close().unwrap();
    let log = open();
    for number in 0..PARTITIONS {
        read(&log, &partition("t", number));
    }
    log.clean().unwrap();
    let most = gate.files.lock().1;
    assert!(most < FILES_MAX, "{most} files were open at a time");
    // All of it is decades old.
    let topic = TopicName::new("t").unwrap();
    log.alter_topic(&topic, &[("retention.ms".to_owned(), None)].into()).unwrap();
    assert!(log.clean().unwrap().deleted_bytes > 0);
    log.close().unwrap();
    let most = gate.files.lock().1;
    assert!(most < RETIRING_MAX, "{most} files were open at a time");
}
