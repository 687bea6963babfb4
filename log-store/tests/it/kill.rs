//! `kill -9` at random moments: a process that writes transactions over eight partitions is killed again and again.
//!
//! Each transaction moves money between the partitions, so what a reader of committed records finds of it adds up to
//! zero, or it finds nothing of it. A reader follows the files all the time, beside the writers and over all their
//! deaths; every fourth time the log is also opened between two lives, and read as its users read it.
//!
//! `KILLS=5000 cargo test -p log-store kill` runs longer than the usual [`KILLS`]; `KILL_SEED` replays the moments (as
//! far as a process can be replayed).

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use log_store::{
    Offset, RecordView, TopicPartition,
    client::{CommittedOffset, FetchedBatch, GroupMetadata, Isolation, LogClient, Producer, ProducerConfig},
    embedded::{
        EmbeddedLog, LogConfig,
        inspect::{self, PartitionReader, Scope, Severity},
        storage::{Directory, FileDirectory},
    },
};

use crate::support::{Random, create, partition};

const KILLS: u64 = 200;
const PARTITIONS: u32 = 8;
/// Writers in the process, each with a transactional id of its own; their transactions overlap in all partitions.
const WRITERS: u64 = 2;
/// How long a process lives, in every fourth round: while it starts, opens the log and recovers it.
const CHILDHOOD_US: usize = 40_000;
/// How many transactions it begins otherwise, whatever the machine, before it dies within this time.
const LIFE_TRANSACTIONS: usize = 8;
const LAST_US: usize = 10_000;
const DATA: &str = "LOG_STORE_KILL_DATA";

/// `writer`, number of its transaction, and what it moves: `1 17 -250`.
type Entry = (u64, u64, i64);

fn entry(value: &[u8]) -> Entry {
    let text = str::from_utf8(value).unwrap();
    let mut words = text.split(' ').map(|word| word.parse::<i64>().unwrap());
    let mut next = || words.next().unwrap();
    (next().unsigned_abs(), next().unsigned_abs(), next())
}

fn transfers(number: u32) -> TopicPartition {
    partition("transfers", number)
}

fn config() -> LogConfig {
    LogConfig {
        // Everything that happens now and then, happens often.
        clean_interval: Some(Duration::from_millis(5)),
        checkpoint_bytes: 20_000,
        preallocate_bytes: 16_384,
        ..LogConfig::default()
    }
}

/// Not a test: the process that is killed.
#[test]
#[ignore = "the process that the other test kills"]
fn the_writer() {
    let Some(data) = env::var_os(DATA).map(PathBuf::from) else { return };
    let log = EmbeddedLog::open(data.join("log"), config()).unwrap();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (log, data) = (&log, &data);
            scope.spawn(move || write(log, data, writer));
        }
    });
}

/// Writes transactions until the process is killed.
fn write(log: &EmbeddedLog, data: &Path, writer: u64) {
    let id = Some(format!("writer-{writer}"));
    let mut producer = log.producer(&ProducerConfig { transactional_id: id, ..ProducerConfig::default() }).unwrap();
    producer.init_transactions().unwrap();
    // Behind all numbers that were used before.
    let path = data.join(format!("begun-{writer}"));
    let mut number = fs::metadata(&path).map_or(0, |begun| begun.len());
    let mut begun = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    let mut done = fs::OpenOptions::new().append(true).create(true).open(data.join("acknowledged")).unwrap();
    let group = GroupMetadata { group_id: format!("group-{writer}"), generation: -1, member_id: String::new() };
    let mut random = Random(u64::from(std::process::id()) << 8 | writer);
    loop {
        begun.write_all(b".").unwrap();
        number += 1;
        producer.begin().unwrap();
        // One in four is taken back.
        let is_aborted = number.is_multiple_of(4);
        send(&mut *producer, writer, number, &mut random);
        let offset = CommittedOffset { offset: Offset::new(number), metadata: String::new() };
        producer.send_offsets(&[(transfers(0), offset)], &group).unwrap();
        if is_aborted {
            producer.abort().unwrap();
        } else {
            producer.commit().unwrap();
            // What a process has handed to the system survives its death.
            done.write_all(format!("{writer} {number}\n").as_bytes()).unwrap();
        }
    }
}

fn send(producer: &mut dyn Producer, writer: u64, number: u64, random: &mut Random) {
    let mut sum = 0;
    for to in 0..PARTITIONS {
        let handle = producer.open(&transfers(to)).unwrap();
        let amount = if to + 1 == PARTITIONS { -sum } else { random.below(1_000) as i64 - 500 };
        sum += amount;
        let value = format!("{writer} {number} {amount}");
        producer.send(handle, RecordView::new(number as i64, None, Some(value.as_bytes()))).unwrap();
        // Some of it lies in the file before the end of the transaction.
        if random.below(4) == 0 {
            producer.flush().unwrap();
        }
    }
    let handle = producer.open(&partition("accounts", 0)).unwrap();
    let (key, value) = (writer.to_string(), number.to_string());
    producer.send(handle, RecordView::new(0, Some(key.as_bytes()), Some(value.as_bytes()))).unwrap();
}

/// What readers have found: of each transaction, its partitions and its sum.
#[derive(Default, PartialEq, Eq, Debug)]
struct Seen(BTreeMap<(u64, u64), (BTreeSet<u32>, i64)>);

impl Seen {
    fn add(&mut self, batch: &FetchedBatch) {
        let from = batch.partition.partition;
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance().unwrap() {
            let (writer, number, amount) = entry(cursor.view(&record).value.unwrap());
            assert!(!number.is_multiple_of(4), "transaction {number} of {writer} was aborted, and is seen in {from}");
            let (partitions, sum) = self.0.entry((writer, number)).or_default();
            assert!(partitions.insert(from), "transaction {number} of {writer} is twice in {from}");
            *sum += amount;
        }
    }

    /// Between two lives all transactions are decided: each that is there is there in all partitions.
    fn check(&self, data: &Path) {
        for ((writer, number), (partitions, sum)) in &self.0 {
            assert_eq!(partitions.len(), PARTITIONS as usize, "transaction {number} of {writer}: {partitions:?}");
            assert_eq!(*sum, 0, "transaction {number} of {writer}");
        }
        for line in fs::read_to_string(data.join("acknowledged")).unwrap_or_default().lines() {
            let (writer, number) = line.split_once(' ').unwrap();
            let key = (writer.parse().unwrap(), number.parse().unwrap());
            assert!(self.0.contains_key(&key), "transaction {number} of {writer} was acknowledged and is lost");
        }
    }

    fn last_of(&self, writer: u64) -> Option<u64> {
        self.0.keys().filter(|(of, _)| *of == writer).map(|(_, number)| *number).max()
    }
}

/// Reads the files without opening the log, whatever happens to it.
struct Follower {
    readers: Vec<PartitionReader>,
    seen: Seen,
}

impl Follower {
    fn new(log: &Path) -> Self {
        let directory: Arc<dyn Directory> = Arc::new(FileDirectory::new(log).unwrap());
        let reader = |number| {
            let directory = Arc::clone(&directory);
            PartitionReader::new(directory, transfers(number), Offset::ZERO, Isolation::ReadCommitted).unwrap()
        };
        Follower { readers: (0..PARTITIONS).map(reader).collect(), seen: Seen::default() }
    }

    fn look(&mut self) {
        for reader in &mut self.readers {
            while let Some(batch) = reader.next_batch().unwrap() {
                self.seen.add(&batch);
            }
        }
    }
}

/// Opens the log, as the next process would, and holds what its users find against all that must be true.
fn open_and_check(data: &Path) -> Seen {
    let log = EmbeddedLog::open(data.join("log"), config()).unwrap();
    let mut seen = Seen::default();
    for number in 0..PARTITIONS {
        crate::support::each_batch(&log, &transfers(number), |batch| seen.add(batch));
    }
    seen.check(data);
    let mut accounts = BTreeMap::new();
    crate::support::each_batch(&log, &partition("accounts", 0), |batch| {
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance().unwrap() {
            let view = cursor.view(&record);
            let number = |bytes: Option<&[u8]>| str::from_utf8(bytes.unwrap()).unwrap().parse::<u64>().unwrap();
            accounts.insert(number(view.key), number(view.value));
        }
    });
    for writer in 0..WRITERS {
        let last = seen.last_of(writer);
        assert_eq!(accounts.get(&writer).copied(), last, "the compacted topic, of writer {writer}");
        let offsets = log.admin().unwrap().group_offsets(&format!("group-{writer}")).unwrap();
        assert_eq!(offsets.first().map(|(_, at)| at.offset.value()), last, "the group of writer {writer}");
    }
    log.close().unwrap();
    seen
}

fn start(data: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "kill::the_writer", "--ignored", "--nocapture"]).env(DATA, data);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn two_hundred_kills_break_no_transaction() {
    let number = |name: &str, usual| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let kills = number("KILLS", KILLS);
    let seed = number("KILL_SEED", u64::from(std::process::id()));
    println!("KILL_SEED={seed}");
    let home = tempfile::tempdir().unwrap();
    let data = home.path();
    {
        let log = EmbeddedLog::open(data.join("log"), config()).unwrap();
        create(&log, "transfers", PARTITIONS, &[("segment.bytes", "65536"), ("retention.ms", "-1")]);
        let often = [("cleanup.policy", "compact"), ("segment.bytes", "2048"), ("min.cleanable.dirty.ratio", "0.01")];
        create(&log, "accounts", 1, &often);
        log.close().unwrap();
    }
    let is_over = AtomicBool::new(false);
    let followed = thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let mut follower = Follower::new(&data.join("log"));
            while !is_over.load(Ordering::SeqCst) {
                follower.look();
                thread::sleep(Duration::from_millis(1));
            }
            follower.look();
            follower.seen
        });
        // Whatever fails below must end the follower, too.
        let killed = std::panic::catch_unwind(|| kill_again_and_again(data, kills, &mut Random(seed)));
        is_over.store(true, Ordering::SeqCst);
        let followed = follower.join();
        if let Err(panic) = killed {
            std::panic::resume_unwind(panic);
        }
        followed.unwrap()
    });
    let seen = open_and_check(data);
    let differs = |a: &Seen, b: &Seen| {
        let differs = a.0.iter().filter(|(key, found)| b.0.get(*key) != Some(*found));
        differs.map(|(key, found)| format!("{key:?} in {:?}", found.0)).collect::<Vec<_>>()
    };
    assert_eq!(differs(&followed, &seen), [""; 0], "who followed the files has seen what is not there");
    assert_eq!(differs(&seen, &followed), [""; 0], "who followed the files has missed what is there");
    let directory = FileDirectory::new(data.join("log")).unwrap();
    inspect::verify(&directory, &Scope::All, &mut |finding| {
        assert!(finding.severity != Severity::Error, "{finding:?}");
    })
    .unwrap();
    println!("{} transactions over {kills} lives", seen.0.len());
    assert!(seen.0.len() as u64 > kills / 4, "only {} transactions: the writers had no time", seen.0.len());
}

fn kill_again_and_again(data: &Path, kills: u64, random: &mut Random) {
    for round in 0..kills {
        let mut child = start(data);
        if round % 4 == 3 {
            thread::sleep(Duration::from_micros(random.below(CHILDHOOD_US) as u64));
        } else {
            let enough = begun(data) + 1 + random.below(LIFE_TRANSACTIONS) as u64;
            while begun(data) < enough && child.try_wait().unwrap().is_none() {
                thread::sleep(Duration::from_micros(200));
            }
            thread::sleep(Duration::from_micros(random.below(LAST_US) as u64));
        }
        assert!(child.try_wait().unwrap().is_none(), "round {round}: {}", said(child));
        child.kill().unwrap();
        child.wait().unwrap();
        // The others are recovered by the writer itself.
        if round % 4 == 1 {
            open_and_check(data);
        }
    }
    open_and_check(data);
}

/// Transactions that were ever begun.
fn begun(data: &Path) -> u64 {
    (0..WRITERS).map(|writer| fs::metadata(data.join(format!("begun-{writer}"))).map_or(0, |begun| begun.len())).sum()
}

fn said(mut child: Child) -> String {
    let mut text = String::new();
    if let Some(mut err) = child.stderr.take() {
        let _ = std::io::Read::read_to_string(&mut err, &mut text);
    }
    text
}
