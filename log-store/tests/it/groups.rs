//! Consumer groups as members see them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use log_store::{
    Error, Offset, RecordView, TopicName, TopicPartition,
    client::{
        Assignor, CommittedOffset, Consumer, ConsumerConfig, CopartitionGroup, LogClient, OffsetReset, Polled,
        ProducerConfig, Subscription,
    },
    embedded::{
        EmbeddedLog,
        storage::{CrashPlan, MemoryDirectory},
    },
};

use crate::support::{create, open_in, partition, produce};

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3_600);
/// When a test gives up.
const DEADLINE: Duration = Duration::from_secs(30);

fn config() -> ConsumerConfig {
    ConsumerConfig { group_id: "app".to_owned(), client_id: "test".to_owned(), ..ConsumerConfig::default() }
}

fn subscription(topics: &[&str]) -> Subscription {
    let group = |topic: &&str| CopartitionGroup { topics: vec![TopicName::new(topic).unwrap()] };
    Subscription { groups: topics.iter().map(group).collect(), ..Subscription::default() }
}

fn member(log: &EmbeddedLog, topics: &[&str]) -> Box<dyn Consumer> {
    let mut consumer = log.consumer(&config()).unwrap();
    consumer.subscribe(&subscription(topics)).unwrap();
    consumer
}

/// The next event as text; batches are passed over.
fn event(consumer: &mut dyn Consumer) -> String {
    let show = |partitions: &[TopicPartition]| partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    for _ in 0..100 {
        return match consumer.poll(Duration::from_millis(20)).unwrap() {
            Polled::Batch(_) => continue,
            Polled::Assigned(partitions) => format!("+ {}", show(&partitions)),
            Polled::Revoked(partitions) => format!("- {}", show(&partitions)),
            Polled::Lost(partitions) => format!("lost {}", show(&partitions)),
            Polled::Idle => "idle".to_owned(),
        };
    }
    panic!("only batches");
}

fn values(consumer: &mut dyn Consumer) -> Vec<String> {
    let mut values = Vec::new();
    while let Polled::Batch(batch) = consumer.poll(Duration::from_millis(50)).unwrap() {
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance().unwrap() {
            values.push(String::from_utf8(cursor.view(&record).value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

fn at(offset: u64) -> CommittedOffset {
    CommittedOffset { offset: Offset::new(offset), metadata: String::new() }
}

#[test]
fn a_second_member_gets_its_share_after_the_first_has_let_go() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 2, &[]);
    let mut first = member(&log, &["t"]);
    assert_eq!(event(&mut *first), "+ t-0 t-1");
    let mut second = member(&log, &["t"]);
    assert_eq!(event(&mut *second), "idle");
    assert_eq!(event(&mut *first), "- t-1");
    first.commit(&[(partition("t", 0), at(0)), (partition("t", 1), at(0))]).unwrap();
    first.acknowledge(&[partition("t", 1)]).unwrap();
    assert_eq!(event(&mut *second), "+ t-1");
    let fenced = first.commit(&[(partition("t", 1), at(0))]).unwrap_err();
    assert!(matches!(fenced, Error::MemberFenced { .. }), "{fenced}");
    drop(second);
    assert_eq!(event(&mut *first), "+ t-1");
}

#[test]
fn a_rebalance_wakes_a_member_that_waits() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 2, &[]);
    let mut first = member(&log, &["t"]);
    assert_eq!(event(&mut *first), "+ t-0 t-1");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(first.poll(HOUR)).unwrap());
    // Time to begin waiting; if it is not enough, the member need not be woken, which is right, too.
    thread::sleep(Duration::from_millis(20));
    let _second = member(&log, &["t"]);
    assert!(matches!(told.recv_timeout(DEADLINE), Ok(Ok(Polled::Revoked(_)))));
}

#[test]
fn no_record_of_a_revoked_partition_follows_its_revocation() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 2, &[]);
    let mut first = member(&log, &["t"]);
    assert_eq!(event(&mut *first), "+ t-0 t-1");
    produce(&log, &partition("t", 1), &["a"]).unwrap();
    let mut second = member(&log, &["t"]);
    let mut is_revoked = false;
    for _ in 0..10 {
        match first.poll(Duration::from_millis(5)).unwrap() {
            Polled::Revoked(_) => {
                is_revoked = true;
                produce(&log, &partition("t", 1), &["b"]).unwrap();
            }
            Polled::Batch(batch) => assert!(!is_revoked, "a batch of {} came after", batch.partition),
            _ => {}
        }
    }
    assert!(is_revoked);
    first.commit(&[(partition("t", 1), at(1))]).unwrap();
    first.acknowledge(&[partition("t", 1)]).unwrap();
    assert_eq!(event(&mut *second), "+ t-1");
    assert_eq!(values(&mut *second), ["b"], "it goes on where the first one committed");
}

#[test]
fn a_silent_member_loses_its_partitions_and_comes_back_as_another() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[]);
    let config = ConsumerConfig { max_poll_interval: Duration::from_millis(60), ..config() };
    let mut silent = log.consumer(&config).unwrap();
    silent.subscribe(&subscription(&["t"])).unwrap();
    assert_eq!(event(&mut *silent), "+ t-0");
    let old = silent.group();
    let mut other = log.consumer(&config).unwrap();
    other.subscribe(&subscription(&["t"])).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut seen = String::new();
    while seen != "+ t-0" {
        assert!(Instant::now() < deadline);
        seen = event(&mut *other);
    }
    let fenced = silent.commit(&[(partition("t", 0), at(1))]).unwrap_err();
    assert!(matches!(fenced, Error::MemberFenced { .. }), "{fenced}");
    // The same fence holds inside a transaction.
    let transactional = ProducerConfig { transactional_id: Some("x".to_owned()), ..ProducerConfig::default() };
    let mut producer = log.producer(&transactional).unwrap();
    producer.init_transactions().unwrap();
    producer.begin().unwrap();
    let fenced = producer.send_offsets(&[(partition("t", 0), at(1))], &old).unwrap_err();
    assert!(matches!(fenced, Error::MemberFenced { .. }), "{fenced}");
    producer.abort().unwrap();

    assert_eq!(event(&mut *silent), "lost t-0");
    assert_eq!(event(&mut *silent), "idle");
    assert_ne!(silent.group().member_id, old.member_id);
}

#[test]
fn two_members_share_two_sub_topologies() {
    let log = open_in(&MemoryDirectory::new());
    for topic in ["left", "right", "single"] {
        create(&log, topic, if topic == "single" { 1 } else { 2 }, &[]);
    }
    let names = |topics: &[&str]| topics.iter().map(|topic| TopicName::new(topic).unwrap()).collect();
    let wanted = Subscription {
        groups: vec![
            CopartitionGroup { topics: names(&["left", "right"]) },
            CopartitionGroup { topics: names(&["single"]) },
        ],
        ..Subscription::default()
    };
    let mut members: Vec<_> = (0..2).map(|_| log.consumer(&config()).unwrap()).collect();
    for member in &mut members {
        member.subscribe(&wanted).unwrap();
    }
    let mut assigned: Vec<String> = members.iter_mut().map(|member| event(&mut **member)).collect();
    assigned.sort_unstable();
    assert_eq!(assigned, ["+ left-0 right-0 single-0", "+ left-1 right-1"]);
}

#[test]
fn kafkas_assignors_can_be_chosen() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "a", 3, &[]);
    create(&log, "b", 3, &[]);
    for (assignor, expected) in [
        (Assignor::Range, ["+ a-0 a-1 b-0 b-1", "+ a-2 b-2"]),
        (Assignor::RoundRobin, ["+ a-0 a-2 b-1", "+ a-1 b-0 b-2"]),
    ] {
        let config = ConsumerConfig { assignor, ..config() };
        let mut members: Vec<_> = (0..2).map(|_| log.consumer(&config).unwrap()).collect();
        for member in &mut members {
            member.subscribe(&subscription(&["a", "b"])).unwrap();
        }
        let assigned: Vec<String> = members.iter_mut().map(|member| event(&mut **member)).collect();
        assert_eq!(assigned, expected);
    }
}

#[test]
fn a_group_goes_on_where_it_committed_after_a_power_cut() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[]);
    produce(&log, &partition("t", 0), &["a", "b", "c"]).unwrap();
    let mut consumer = member(&log, &["t"]);
    assert_eq!(event(&mut *consumer), "+ t-0");
    let committed = CommittedOffset { offset: Offset::new(2), metadata: "here".to_owned() };
    consumer.commit(&[(partition("t", 0), committed.clone())]).unwrap();
    let image = directory.crash(CrashPlan::LoseAll);
    std::mem::forget((consumer, log));

    let log = open_in(&image);
    let mut consumer = member(&log, &["t"]);
    assert_eq!(consumer.committed(&[partition("t", 0)]).unwrap(), [Some(committed)]);
    assert_eq!(event(&mut *consumer), "+ t-0");
    assert_eq!(values(&mut *consumer), ["c"]);
}

#[test]
fn a_topic_may_begin_elsewhere_than_the_consumer() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "early", 1, &[]);
    create(&log, "late", 1, &[]);
    produce(&log, &partition("early", 0), &["e"]).unwrap();
    produce(&log, &partition("late", 0), &["l"]).unwrap();
    let mut consumer = log.consumer(&config()).unwrap();
    let wanted = Subscription {
        offset_resets: vec![(TopicName::new("late").unwrap(), OffsetReset::Latest)],
        ..subscription(&["early", "late"])
    };
    consumer.subscribe(&wanted).unwrap();
    assert_eq!(event(&mut *consumer), "+ early-0 late-0");
    assert_eq!(values(&mut *consumer), ["e"]);
}

#[test]
fn groups_are_listed_described_reset_and_deleted() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 2, &[]);
    let mut admin = log.admin().unwrap();
    assert!(admin.list_groups().unwrap().is_empty());
    assert_eq!(admin.describe_group("app").unwrap(), None);
    let mut consumer = member(&log, &["t"]);
    assert_eq!(event(&mut *consumer), "+ t-0 t-1");
    consumer.commit(&[(partition("t", 0), at(3))]).unwrap();
    assert_eq!(admin.list_groups().unwrap(), ["app"]);
    let members = admin.describe_group("app").unwrap().unwrap().members;
    assert_eq!((members.len(), members[0].client_id.as_str()), (1, "test"));
    assert_eq!(members[0].partitions, [partition("t", 0), partition("t", 1)]);
    assert!(admin.alter_group_offsets("app", &[(partition("t", 0), at(0))]).is_err(), "it has members");
    assert!(admin.delete_group("app").is_err(), "it has members");

    consumer.unsubscribe().unwrap();
    admin.alter_group_offsets("app", &[(partition("t", 0), at(1))]).unwrap();
    assert_eq!(admin.group_offsets("app").unwrap(), [(partition("t", 0), at(1))]);
    assert!(admin.list_topics().unwrap().iter().all(|topic| topic.as_str() == "t"), "its own topic is not listed");
    admin.delete_group("app").unwrap();
    admin.delete_group("app").unwrap();
    assert!(admin.list_groups().unwrap().is_empty());
    assert!(admin.group_offsets("app").unwrap().is_empty());
}

#[test]
fn a_topic_created_again_is_read_from_its_beginning() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[]);
    produce(&log, &partition("t", 0), &["old"]).unwrap();
    let mut admin = log.admin().unwrap();
    admin.alter_group_offsets("app", &[(partition("t", 0), at(1))]).unwrap();
    admin.delete_topics(&[TopicName::new("t").unwrap()]).unwrap();
    assert!(admin.group_offsets("app").unwrap().is_empty());
    create(&log, "t", 1, &[]);
    produce(&log, &partition("t", 0), &["new"]).unwrap();
    let mut consumer = member(&log, &["t"]);
    assert_eq!(event(&mut *consumer), "+ t-0");
    assert_eq!(values(&mut *consumer), ["new"]);
}

#[test]
fn offsets_that_an_open_transaction_is_about_to_decide_are_waited_for() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[]);
    let transactional = ProducerConfig { transactional_id: Some("x".to_owned()), ..ProducerConfig::default() };
    let mut producer = log.producer(&transactional).unwrap();
    producer.init_transactions().unwrap();
    producer.begin().unwrap();
    let handle = producer.open(&partition("t", 0)).unwrap();
    producer.send(handle, RecordView::new(0, None, Some(b"x"))).unwrap();
    let consumer = log.consumer(&config()).unwrap();
    producer.send_offsets(&[(partition("t", 0), at(5))], &consumer.group()).unwrap();
    let is_decided = Arc::new(AtomicBool::new(false));
    let asking = thread::spawn({
        let (mut consumer, is_decided) = (consumer, Arc::clone(&is_decided));
        move || (consumer.committed(&[partition("t", 0)]).unwrap(), is_decided.load(Ordering::SeqCst))
    });
    // Time for an answer that does not wait.
    thread::sleep(Duration::from_millis(20));
    is_decided.store(true, Ordering::SeqCst);
    producer.commit().unwrap();
    assert_eq!(asking.join().unwrap(), (vec![Some(at(5))], true));
}
