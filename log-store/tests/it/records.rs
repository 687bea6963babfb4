//! Single records: sent and told of, read and committed, blocking and async.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt, executor::block_on, stream};
use log_store::{
    Error, TopicName, TopicPartition,
    client::{ConsumerConfig, ProducerConfig, SharedClient, StartAt},
    embedded::{
        EmbeddedLog, LogConfig,
        storage::{Faults, MemoryDirectory},
    },
    records::{
        ConsumerRecord, Partitioner, ProducerRecord, Rebalance, RecordConsumer, RecordConsumerConfig, RecordProducer,
        RecordProducerConfig,
    },
};

use crate::support::{at, create, partition, read};

const WAIT: Duration = Duration::from_secs(5);

fn log(topic: &str, partitions: u32) -> (EmbeddedLog, SharedClient, MemoryDirectory) {
    let directory = MemoryDirectory::new();
    // Room in the file is not asked for in advance, so that a full disk is full at once.
    let config = LogConfig { preallocate_bytes: 0, ..LogConfig::default() };
    let log = EmbeddedLog::open_in(Arc::new(directory.clone()), config).unwrap();
    create(&log, topic, partitions, &[]);
    let client: SharedClient = Arc::new(log.clone());
    (log, client, directory)
}

fn to(topic: &str, value: impl std::fmt::Display) -> ProducerRecord {
    ProducerRecord::new(TopicName::new(topic).unwrap(), value.to_string())
}

fn producer(client: &SharedClient) -> RecordProducer {
    RecordProducer::new(client, RecordProducerConfig::default()).unwrap()
}

fn consumer(client: &SharedClient, group: &str) -> RecordConsumer {
    let consumer = ConsumerConfig { group_id: group.to_owned(), ..ConsumerConfig::default() };
    let config = RecordConsumerConfig {
        consumer,
        auto_commit: Some(Duration::ZERO),
        metadata_age_max: Duration::from_millis(20),
        ..RecordConsumerConfig::default()
    };
    RecordConsumer::new(client, config).unwrap()
}

/// Polls until `count` records came.
fn take(consumer: &mut RecordConsumer, count: usize) -> Vec<ConsumerRecord> {
    let deadline = Instant::now() + 6 * WAIT;
    let mut records = Vec::new();
    while records.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records came", records.len());
        records.extend(consumer.poll(Duration::from_millis(50)).unwrap());
    }
    records
}

fn values(records: &[ConsumerRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.value.as_deref().unwrap().to_vec()).unwrap()).collect()
}

#[test]
fn each_record_is_told_its_own_offset_whatever_batch_it_was_in() {
    let (log, client, _) = log("t", 3);
    let config = ProducerConfig { batch_bytes: 200, ..ProducerConfig::default() };
    let config = RecordProducerConfig { producer: config, ..RecordProducerConfig::default() };
    let producer = RecordProducer::new(&client, config).unwrap();
    let deliveries: Vec<_> = (0..500)
        .map(|number| (number, producer.send(to("t", number).with_key(format!("key {}", number % 7))).unwrap()))
        .collect();
    let mut expected: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (number, delivery) in deliveries {
        let metadata = delivery.wait().unwrap();
        let of_partition = expected.entry(metadata.partition.partition).or_default();
        assert_eq!(metadata.offset.value(), of_partition.len() as u64);
        of_partition.push(number.to_string());
    }
    for (number, expected) in expected {
        assert_eq!(read(&log, &partition("t", number)), expected);
    }
}

#[test]
fn key_value_time_and_headers_arrive() {
    let (_, client, _) = log("t", 2);
    let sent = to("t", "v").with_key("k").with_timestamp(42).with_header("h", "1").with_header("h", "2");
    producer(&client).send(sent.clone().with_partition(1)).unwrap().wait().unwrap();
    let mut reader = consumer(&client, "");
    reader.assign(&[(partition("t", 1), StartAt::Beginning)]).unwrap();
    let record = take(&mut reader, 1).remove(0);
    assert_eq!((record.key, record.value, record.headers), (sent.key, sent.value, sent.headers));
    assert_eq!(record.timestamp, 42);
}

#[test]
fn records_linger_for_each_other_and_share_a_sync() {
    let (_, client, directory) = log("t", 1);
    let config = RecordProducerConfig { linger: Duration::from_millis(300), ..RecordProducerConfig::default() };
    let producer = RecordProducer::new(&client, config).unwrap();
    producer.send(to("t", "first")).unwrap().wait().unwrap();
    let (before, begun) = (directory.syncs(), Instant::now());
    let deliveries: Vec<_> = (0..100).map(|number| producer.send(to("t", number)).unwrap()).collect();
    for delivery in deliveries {
        delivery.wait().unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(290), "{:?}", begun.elapsed());
    assert_eq!(directory.syncs(), before + 1);
    // A flush does not linger.
    let begun = Instant::now();
    let delivery = producer.send(to("t", "last")).unwrap();
    producer.flush().unwrap();
    delivery.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_millis(250), "{:?}", begun.elapsed());
}

#[test]
fn a_producer_without_memory_waits_and_then_fails() {
    let (log, client, directory) = log("t", 1);
    let config = RecordProducerConfig {
        producer: ProducerConfig { block_max: Duration::from_millis(100), ..ProducerConfig::default() },
        buffer_bytes: 10_000,
        ..RecordProducerConfig::default()
    };
    let producer = RecordProducer::new(&client, config).unwrap();
    producer.send(to("t", 0)).unwrap().wait().unwrap();
    directory.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let mut deliveries = Vec::new();
    let begun = Instant::now();
    let refused = loop {
        match producer.send(to("t", deliveries.len() + 1)) {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => break error,
        }
        assert!(deliveries.len() < 1_000, "10,000 bytes are enough for so many");
    };
    assert!(matches!(refused, Error::TimedOut { .. }), "{refused}");
    assert!(begun.elapsed() >= Duration::from_millis(100));
    // Once there is space again nothing was lost, and the producer goes on.
    directory.set_faults(Faults::default());
    let count = deliveries.len() + 1;
    for delivery in deliveries {
        delivery.wait().unwrap();
    }
    producer.send(to("t", count)).unwrap().wait().unwrap();
    let expected: Vec<String> = (0..=count).map(|number| number.to_string()).collect();
    assert_eq!(read(&log, &partition("t", 0)), expected);
}

#[test]
fn what_was_reported_as_failed_does_not_come_later() {
    let (log, client, directory) = log("t", 1);
    let config = RecordProducerConfig { delivery_timeout: Duration::ZERO, ..RecordProducerConfig::default() };
    let producer = RecordProducer::new(&client, config).unwrap();
    directory.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let failed = producer.send(to("t", "no")).unwrap().wait().unwrap_err();
    assert!(failed.is_storage_full(), "{failed}");
    directory.set_faults(Faults::default());
    assert_eq!(producer.send(to("t", "yes")).unwrap().wait().unwrap().offset.value(), 0);
    assert_eq!(read(&log, &partition("t", 0)), ["yes"]);
}

#[test]
fn a_record_that_is_refused_hurts_no_other() {
    let (log, client, _) = log("t", 1);
    let producer = producer(&client);
    let before = producer.send(to("t", "before")).unwrap();
    let large = producer.send(to("t", "x".repeat(3 << 20))).unwrap();
    let after = producer.send(to("t", "after")).unwrap();
    assert!(matches!(*large.wait().unwrap_err(), Error::Invalid(_)));
    assert_eq!((before.wait().unwrap().offset.value(), after.wait().unwrap().offset.value()), (0, 1));
    assert_eq!(read(&log, &partition("t", 0)), ["before", "after"]);
    assert!(matches!(producer.send(to("t", "").with_partition(1)), Err(Error::Invalid(_))));
    assert!(matches!(producer.send(to("u", "")), Err(Error::UnknownTopic { .. })));
    producer.close();
    assert!(matches!(producer.send(to("t", "")), Err(Error::Invalid(_))));
}

#[test]
fn a_callback_is_told_and_a_partitioner_of_ones_own_is_asked() {
    struct ByLength;
    impl Partitioner for ByLength {
        fn partition(&self, record: &ProducerRecord, partitions: u32) -> u32 {
            record.value.as_ref().map_or(0, |value| value.len() as u32) % partitions
        }
    }
    let (log, client, _) = log("t", 4);
    let config = RecordProducerConfig { partitioner: Some(Arc::new(ByLength)), ..RecordProducerConfig::default() };
    let producer = RecordProducer::new(&client, config).unwrap();
    let (told, tellings) = mpsc::channel();
    for value in ["", "a", "ab", "abc", "abcd"] {
        let told = told.clone();
        producer.send_with(to("t", value), move |delivered| told.send(delivered.unwrap().partition).unwrap()).unwrap();
    }
    producer.close();
    drop(told);
    let mut numbers: Vec<u32> = tellings.iter().map(|partition| partition.partition).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 0, 1, 2, 3]);
    assert_eq!(read(&log, &partition("t", 0)), ["", "abcd"]);
}

#[test]
fn many_threads_share_a_producer_and_each_keeps_its_order() {
    let (log, client, _) = log("t", 1);
    let producer = producer(&client);
    thread::scope(|scope| {
        for who in 0..8 {
            let producer = &producer;
            scope.spawn(move || {
                for number in 0..100 {
                    let delivery = producer.send(to("t", format!("{who} {number}"))).unwrap();
                    if number % 10 == 0 {
                        delivery.wait().unwrap();
                    }
                }
            });
        }
    });
    producer.flush().unwrap();
    let all = read(&log, &partition("t", 0));
    assert_eq!(all.len(), 800);
    for who in 0..8 {
        let own: Vec<&str> = all.iter().filter_map(|value| value.strip_prefix(&format!("{who} "))).collect();
        assert_eq!(own, (0..100).map(|number: u32| number.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn a_transaction_of_records_and_positions_is_all_or_nothing() {
    let (log, client, _) = log("in", 1);
    create(&log, "out", 2, &[]);
    producer(&client).send(to("in", "x")).unwrap().wait().unwrap();
    let config = ProducerConfig { transactional_id: Some("app".to_owned()), ..ProducerConfig::default() };
    let config = RecordProducerConfig { producer: config, ..RecordProducerConfig::default() };
    let producer = RecordProducer::new(&client, config).unwrap();
    let mut reader = RecordConsumer::new(
        &client,
        RecordConsumerConfig {
            consumer: ConsumerConfig { group_id: "g".to_owned(), ..ConsumerConfig::default() },
            auto_commit: None,
            ..RecordConsumerConfig::default()
        },
    )
    .unwrap();
    reader.subscribe(&[TopicName::new("in").unwrap()]).unwrap();
    take(&mut reader, 1);
    for commit in [false, true] {
        producer.begin().unwrap();
        producer.send(to("out", commit).with_partition(0)).unwrap();
        producer.send(to("out", commit).with_partition(1)).unwrap();
        producer.send_offsets(reader.positions(), reader.group()).unwrap();
        if commit {
            producer.commit().unwrap()
        } else {
            producer.abort().unwrap()
        }
        let committed = reader.committed(&[partition("in", 0)]).unwrap();
        assert_eq!(committed[0].as_ref().map(|at| at.offset.value()), commit.then_some(1));
    }
    assert_eq!(read(&log, &partition("out", 0)), ["true"]);
    assert_eq!(read(&log, &partition("out", 1)), ["true"]);
}

#[test]
fn a_group_goes_on_where_it_was_and_what_was_not_handed_out_is_not_committed() {
    let (_, client, _) = log("t", 1);
    let producer = producer(&client);
    for number in 0..100 {
        producer.send(to("t", number)).unwrap();
    }
    producer.flush().unwrap();
    let topics = [TopicName::new("t").unwrap()];
    let mut config = RecordConsumerConfig { records_max: 30, ..RecordConsumerConfig::default() };
    config.consumer.group_id = "g".to_owned();
    let mut seen = Vec::new();
    for count in [30, 30, 30, 10] {
        let mut reader = RecordConsumer::new(&client, config.clone()).unwrap();
        reader.subscribe(&topics).unwrap();
        let records = take(&mut reader, count);
        assert_eq!(records.len(), count);
        assert_eq!(reader.position(&partition("t", 0)), Some(records.last().unwrap().offset.next()));
        seen.extend(values(&records));
        // Automatic, with the end.
        reader.close().unwrap();
    }
    assert_eq!(seen, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    // By hand, and not at all.
    config.auto_commit = None;
    config.consumer.group_id = "h".to_owned();
    for (commit, first) in [(false, "0"), (true, "0"), (false, "30"), (false, "30")] {
        let mut reader = RecordConsumer::new(&client, config.clone()).unwrap();
        reader.subscribe(&topics).unwrap();
        assert_eq!(values(&take(&mut reader, 1))[0], first);
        if commit {
            reader.commit().unwrap();
        }
    }
}

#[test]
fn a_paused_partition_waits_with_all_that_was_not_handed_out() {
    let (_, client, _) = log("t", 2);
    let producer = producer(&client);
    for number in 0..40 {
        producer.send(to("t", number).with_partition(number % 2)).unwrap();
    }
    producer.flush().unwrap();
    let config = RecordConsumerConfig { records_max: 5, ..RecordConsumerConfig::default() };
    let mut reader = RecordConsumer::new(&client, config).unwrap();
    let (even, odd) = (partition("t", 0), partition("t", 1));
    reader.assign(&[(even.clone(), StartAt::Beginning), (odd.clone(), StartAt::Beginning)]).unwrap();
    let mut records = take(&mut reader, 5);
    let first = records[0].partition.clone();
    reader.pause(std::slice::from_ref(&first)).unwrap();
    assert_eq!(reader.paused(), std::slice::from_ref(&first));
    let others = take(&mut reader, 20);
    assert!(others.iter().all(|record| record.partition != first));
    assert!(reader.poll(Duration::from_millis(20)).unwrap().is_empty());
    reader.resume(std::slice::from_ref(&first));
    records.extend(take(&mut reader, 15));
    let offsets: Vec<u64> = records.iter().map(|record| record.offset.value()).collect();
    assert_eq!(offsets, (0..20).collect::<Vec<_>>(), "the rest of the batch came once, after the pause");
}

#[test]
fn a_reader_goes_to_an_offset_a_time_the_beginning_and_the_end() {
    let (_, client, _) = log("t", 1);
    let producer = producer(&client);
    for number in 0..50 {
        producer.send(to("t", number).with_timestamp(1_000 + number)).unwrap();
    }
    producer.flush().unwrap();
    let t = partition("t", 0);
    let config = RecordConsumerConfig { records_max: 1, ..RecordConsumerConfig::default() };
    let mut reader = RecordConsumer::new(&client, config).unwrap();
    reader.assign(&[(t.clone(), at(7))]).unwrap();
    assert_eq!(values(&take(&mut reader, 1)), ["7"]);
    reader.seek(&t, at(20)).unwrap();
    assert_eq!(reader.position(&t).unwrap().value(), 20);
    assert_eq!(values(&take(&mut reader, 1)), ["20"]);
    reader.seek_to_time(&t, 1_033).unwrap();
    assert_eq!(values(&take(&mut reader, 1)), ["33"]);
    reader.seek(&t, StartAt::Beginning).unwrap();
    assert_eq!(values(&take(&mut reader, 1)), ["0"]);
    for end in [StartAt::End, StartAt::Offset(log_store::Offset::new(50))] {
        reader.seek(&t, end).unwrap();
        assert!(reader.poll(Duration::from_millis(10)).unwrap().is_empty());
    }
    reader.seek_to_time(&t, 5_000).unwrap();
    producer.send(to("t", "new")).unwrap().wait().unwrap();
    assert_eq!(values(&take(&mut reader, 1)), ["new"]);
    assert!(reader.seek(&partition("u", 0), StartAt::End).is_err());
}

#[test]
fn a_pattern_takes_topics_that_come_later() {
    let (log, client, _) = log("click.eu", 1);
    create(&log, "other", 1, &[]);
    let producer = producer(&client);
    let mut reader = consumer(&client, "g");
    assert!(matches!(reader.subscribe_pattern("click.(").unwrap_err(), Error::Invalid(_)));
    reader.subscribe_pattern(r"click\..*").unwrap();
    for (topic, value) in [("click.eu", "1"), ("other", "x"), ("click.us", "2"), ("noclick.us", "y")] {
        if !["click.eu", "other"].contains(&topic) {
            create(&log, topic, 1, &[]);
        }
        producer.send(to(topic, value)).unwrap().wait().unwrap();
    }
    assert_eq!(values(&take(&mut reader, 2)), ["1", "2"]);
    assert!(reader.poll(Duration::from_millis(50)).unwrap().is_empty());
}

#[test]
fn members_share_the_topic_and_a_rebalance_loses_and_repeats_nothing() {
    let (_, client, _) = log("t", 4);
    let topics = [TopicName::new("t").unwrap()];
    let is_over = AtomicBool::new(false);
    let next = AtomicU64::new(0);
    let told = std::sync::Mutex::new(BTreeSet::new());
    let seen: Vec<u64> = thread::scope(|scope| {
        scope.spawn(|| {
            let producer = producer(&client);
            while !is_over.load(Ordering::SeqCst) {
                let number = next.fetch_add(1, Ordering::SeqCst);
                producer.send(to("t", number).with_partition((number % 4) as u32)).unwrap();
                thread::sleep(Duration::from_micros(200));
            }
            producer.flush().unwrap();
        });
        let member = |life: Duration| {
            let (client, topics, told) = (client.clone(), &topics, &told);
            move || {
                let mut reader = consumer(&client, "g");
                let (tell, tellings) = mpsc::channel();
                reader.on_rebalance(move |rebalance| drop(tell.send(rebalance.clone())));
                reader.subscribe(topics).unwrap();
                let (begun, mut seen) = (Instant::now(), Vec::new());
                while begun.elapsed() < life {
                    let records = reader.poll(Duration::from_millis(5)).unwrap();
                    seen.extend(values(&records).iter().map(|value| value.parse::<u64>().unwrap()));
                }
                reader.close().unwrap();
                for rebalance in tellings.try_iter() {
                    let mut told = told.lock().unwrap();
                    told.insert(match rebalance {
                        Rebalance::Assigned(_) => "assigned",
                        Rebalance::Revoked(_) => "revoked",
                        Rebalance::Lost(_) => "lost",
                    });
                }
                seen
            }
        };
        let first = scope.spawn(member(Duration::from_millis(600)));
        thread::sleep(Duration::from_millis(150));
        let second = scope.spawn(member(Duration::from_millis(250)));
        let mut seen = second.join().unwrap();
        seen.extend(first.join().unwrap());
        is_over.store(true, Ordering::SeqCst);
        seen
    });
    // What nobody had read yet.
    let mut rest = consumer(&client, "g");
    rest.subscribe(&topics).unwrap();
    let sent = next.load(Ordering::SeqCst) as usize;
    let mut seen: Vec<u64> = seen;
    let left = sent - seen.iter().collect::<BTreeSet<_>>().len();
    seen.extend(values(&take(&mut rest, left)).iter().map(|value| value.parse::<u64>().unwrap()));
    seen.sort_unstable();
    assert_eq!(seen, (0..sent as u64).collect::<Vec<_>>());
    assert!(told.lock().unwrap().is_superset(&BTreeSet::from(["assigned", "revoked"])), "{told:?}");
}

#[test]
fn a_sink_and_a_stream_work_on_any_executor() {
    let (_, client, _) = log("t", 1);
    // Less memory than the records need: the sink has to wait.
    let config = RecordProducerConfig { buffer_bytes: 2_000, ..RecordProducerConfig::default() };
    let producer = Arc::new(RecordProducer::new(&client, config).unwrap());
    let mut reader = consumer(&client, "g");
    reader.subscribe(&[TopicName::new("t").unwrap()]).unwrap();
    block_on(async {
        let mut sink = producer.sink();
        sink.send_all(&mut stream::iter((0..500).map(|number| Ok(to("t", number))))).await.unwrap();
        let metadata = producer.send(to("t", 500)).unwrap().await.unwrap();
        assert_eq!(metadata.offset.value(), 500);

        let mut records = reader.into_stream().unwrap();
        for number in 0..200 {
            assert_eq!(values(&[records.next().await.unwrap().unwrap()]), [number.to_string()]);
        }
        drop(records);
    });
    // What was not taken from the stream is not lost to the group.
    let mut reader = consumer(&client, "g");
    reader.subscribe(&[TopicName::new("t").unwrap()]).unwrap();
    assert_eq!(values(&take(&mut reader, 1))[0], "200");
}

#[test]
fn a_stream_waits_for_what_comes_later() {
    let (_, client, _) = log("t", 1);
    let mut reader = consumer(&client, "");
    reader.assign(&[(TopicPartition::new(TopicName::new("t").unwrap(), 0), StartAt::Beginning)]).unwrap();
    let mut records = reader.into_stream().unwrap();
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        producer(&client).send(to("t", "late")).unwrap().wait().unwrap();
    });
    assert_eq!(values(&[block_on(records.next()).unwrap().unwrap()]), ["late"]);
    writer.join().unwrap();
}
