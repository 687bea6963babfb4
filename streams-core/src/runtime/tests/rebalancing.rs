//! Tasks on the move: between threads, between instances, and after a crash at any call.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    GUARANTEES,
    counting::{WAIT, World},
};
use crate::{
    ProcessingGuarantee::{self, AtLeastOnce, ExactlyOnceV2},
    runtime::{Metric, State, StreamThreadState, Streams},
};

const WORDS: [&str; 4] = ["a", "b", "c", "d"];

/// Every word has been said this often: what must have come out?
#[track_caller]
fn check_counts(world: &World, guarantee: ProcessingGuarantee, said: u64, label: &str) {
    world.wait_until_consumed();
    for topic in ["counts", "app-counts-changelog"] {
        let counts = world.last_counts(topic);
        match guarantee {
            ExactlyOnceV2 => {
                let expected: BTreeMap<String, u64> = WORDS.map(|word| (word.to_owned(), said)).into();
                assert_eq!(counts, expected, "{label}: {topic}");
            }
            AtLeastOnce => assert!(counts.values().all(|count| *count >= said), "{label}: {counts:?} of {said}"),
        }
    }
    if guarantee == ExactlyOnceV2 {
        assert_eq!(world.read("counts").len() as u64, 4 * said, "{label}: results");
    }
}

fn wait_running(streams: &Streams) {
    streams.wait_for(State::Running, WAIT).unwrap();
}

#[test]
fn threads_share_the_tasks_and_may_come_and_go() {
    for guarantee in GUARANTEES {
        let world = World::new(4);
        let streams = world.run(world.config(guarantee).num_stream_threads(2));
        let mut said = 0;
        let mut say = || {
            world.say(&WORDS);
            said += 1;
            said
        };
        let label = format!("{guarantee:?}");
        check_counts(&world, guarantee, say(), &label);
        assert_eq!(streams.add_stream_thread().unwrap().as_deref(), Some("app-StreamThread-3"));
        check_counts(&world, guarantee, say(), &label);
        wait_running(&streams);
        assert_eq!(streams.metric(Metric::AliveStreamThreads), 3);
        assert_eq!(streams.remove_stream_thread(WAIT).as_deref(), Some("app-StreamThread-3"));
        assert_eq!(streams.remove_stream_thread(WAIT).as_deref(), Some("app-StreamThread-2"));
        check_counts(&world, guarantee, say(), &label);
        wait_running(&streams);
        assert_eq!(streams.threads(), [("app-StreamThread-1".to_owned(), StreamThreadState::Running)]);
        assert!(streams.close(WAIT));
        assert_eq!(streams.error().map(|error| error.to_string()), None);
        assert_eq!(streams.add_stream_thread().unwrap(), None);
    }
}

#[test]
fn more_threads_than_tasks_are_idle_and_running() {
    let world = World::new(1);
    let streams = world.run(world.config(ExactlyOnceV2).num_stream_threads(3));
    assert!(streams.threads().iter().all(|(_, state)| *state == StreamThreadState::Running));
    world.say(&["a"]);
    world.wait_until_consumed();
    assert!(streams.close(WAIT));
}

#[test]
fn instances_take_over_from_each_other_without_loss_or_repetition() {
    for guarantee in GUARANTEES {
        let world = World::new(4);
        let stop = AtomicBool::new(false);
        let said = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    world.say(&WORDS);
                    said.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            let mut before = world.run(world.config(guarantee));
            let mut worlds = Vec::new();
            for _ in 0..4 {
                let next = world.elsewhere();
                let after = next.run(next.config(guarantee));
                std::thread::sleep(Duration::from_millis(30));
                assert!(before.close(WAIT));
                assert_eq!(before.error().map(|error| error.to_string()), None);
                before = after;
                worlds.push(next);
            }
            stop.store(true, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(10));
            world.wait_until_consumed();
            assert!(before.close(WAIT));
        });
        check_counts(&world, guarantee, said.into_inner(), &format!("{guarantee:?}"));
    }
}

/// The log is gone for the application after this many calls; then it is started again.
fn check_crash(guarantee: ProcessingGuarantee, calls: i64) {
    let label = format!("{guarantee:?} dies after {calls} calls");
    let world = World::new(4);
    let mut said = 1;
    world.say(&WORDS);
    world.journal.die_after(calls);
    let streams = world.streams(world.config(guarantee));
    let deadline = Instant::now() + WAIT;
    // It may die before it runs.
    if streams.start().is_ok() {
        while !streams.state().is_final() {
            assert!(Instant::now() < deadline, "{label}: it lives");
            world.say(&WORDS);
            said += 1;
            std::thread::sleep(Duration::from_millis(3));
        }
    }
    assert!(world.journal.is_dead(), "{label}: {:?}", streams.error());
    drop(streams);
    let world = world.reborn();
    let streams = world.run(world.config(guarantee));
    world.say(&WORDS);
    said += 1;
    check_counts(&world, guarantee, said, &label);
    assert!(streams.close(WAIT), "{label}");
}

#[test]
fn a_crash_after_any_number_of_calls_loses_nothing() {
    for guarantee in GUARANTEES {
        let cases: Vec<i64> = (0..60).chain((60..200).step_by(11)).collect();
        for some in cases.chunks(12) {
            std::thread::scope(|scope| {
                for calls in some {
                    scope.spawn(|| check_crash(guarantee, *calls));
                }
            });
        }
    }
}

#[test]
fn an_application_that_is_closed_while_it_restores_goes_on_later() {
    let world = World::new(4);
    world.say(&WORDS.repeat(50));
    drop({
        let streams = world.run(world.config(ExactlyOnceV2));
        world.wait_until_consumed();
        streams
    });
    for wait_ms in [0, 1, 2, 5, 10] {
        world.disk.wipe();
        let streams = world.streams(world.config(ExactlyOnceV2));
        streams.start().unwrap();
        std::thread::sleep(Duration::from_millis(wait_ms));
        let closing = Instant::now();
        assert!(streams.close(WAIT));
        assert!(closing.elapsed() < Duration::from_secs(1), "closed after {:?}", closing.elapsed());
        assert_eq!(streams.error().map(|error| error.to_string()), None);
    }
    world.say(&WORDS);
    let _streams = world.run(world.config(ExactlyOnceV2));
    check_counts(&world, ExactlyOnceV2, 51, "after many closes");
}

#[test]
fn two_applications_on_one_log_do_not_know_each_other() {
    let world = World::new(1);
    let other = World { state_dir: tempfile::tempdir().unwrap(), ..world.elsewhere() };
    let topic = log_store::TopicName::new("other-counts-changelog").unwrap();
    world.log.admin().unwrap().create_topics(&[log_store::client::NewTopic::new(topic, 1)]).unwrap();
    let one = world.run(world.config(ExactlyOnceV2));
    let config = crate::StreamsConfig::builder("other").state_dir(other.state_dir.path());
    let two = Streams::new(other.topology(), config.build().unwrap(), Arc::clone(&other.client)).unwrap();
    two.start().unwrap();
    wait_running(&two);
    world.say(&["a", "a"]);
    let deadline = Instant::now() + WAIT;
    while world.read("counts").len() < 4 {
        assert!(Instant::now() < deadline, "{:?}", world.read("counts"));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((one.metric(Metric::ProcessTotal), two.metric(Metric::ProcessTotal)), (2, 2));
}
