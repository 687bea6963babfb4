//! What a running application does, seen from outside.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    GUARANTEES,
    counting::{WAIT, World},
};
use crate::{
    ProcessingGuarantee::AtLeastOnce,
    runtime::{Metric, State, StreamThreadState},
    time::ManualClock,
};

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

#[test]
fn words_are_counted_into_store_changelog_and_output() {
    for guarantee in GUARANTEES {
        let world = World::new(1);
        world.say(&["a", "b", "a"]);
        let streams = world.run(world.config(guarantee));
        world.wait_until_consumed();
        world.say(&["a", "c"]);
        world.wait_until_consumed();
        assert!(streams.close(WAIT));
        let expected = counts(&[("a", 3), ("b", 1), ("c", 1)]);
        assert_eq!(world.last_counts("counts"), expected, "{guarantee:?}");
        assert_eq!(world.last_counts("app-counts-changelog"), expected, "{guarantee:?}");
        assert_eq!(world.read("counts").len(), 5, "one result for each word");
        assert_eq!(streams.metric(Metric::ProcessTotal), 5);
        assert!(streams.lags().unwrap().iter().all(|lag| lag.lag == 0));
    }
}

#[test]
fn a_restart_goes_on_where_the_last_run_ended() {
    for guarantee in GUARANTEES {
        let world = World::new(2);
        for run in 1..=3 {
            world.say(&["a", "b", "a", "b"]);
            let streams = world.run(world.config(guarantee));
            world.wait_until_consumed();
            drop(streams);
            assert_eq!(world.last_counts("counts"), counts(&[("a", 2 * run), ("b", 2 * run)]));
        }
        assert_eq!(world.read("counts").len(), 12, "nothing counted twice");
    }
}

#[test]
fn a_store_without_its_files_is_rebuilt_from_the_changelog() {
    let world = World::new(1);
    world.say(&["a", "a", "b"]);
    drop({
        let streams = world.run(world.config(AtLeastOnce));
        world.wait_until_consumed();
        streams
    });
    world.disk.wipe();
    world.journal.take();
    world.say(&["a"]);
    let streams = world.run(world.config(AtLeastOnce));
    world.wait_until_consumed();
    drop(streams);
    assert_eq!(world.last_counts("counts"), counts(&[("a", 3), ("b", 1)]));
}

#[test]
fn a_store_that_is_ahead_of_its_changelog_is_rebuilt_not_believed() {
    let world = World::new(1);
    world.say(&["a", "a", "b"]);
    drop({
        let streams = world.run(world.config(AtLeastOnce));
        world.wait_until_consumed();
        streams
    });
    world.disk.set_checkpoint(0, log_store::Offset::new(1_000));
    world.journal.take();
    world.say(&["b"]);
    let streams = world.run(world.config(AtLeastOnce));
    world.wait_until_consumed();
    assert_eq!(streams.metric(Metric::StoresRebuiltTotal), 1);
    drop(streams);
    assert!(world.journal.take().contains(&"reset 0_0".to_owned()));
    assert_eq!(world.last_counts("counts"), counts(&[("a", 2), ("b", 2)]));
}

#[test]
fn an_application_without_work_sleeps_until_it_is_closed() {
    let world = World::new(1);
    let hour = Duration::from_secs(3_600);
    let streams = world.run(world.config(AtLeastOnce).poll_wait(hour));
    // Time for a loop that does not sleep to show itself.
    std::thread::sleep(Duration::from_millis(50));
    let polls = streams.metric(Metric::PollTotal);
    assert!(polls < 20, "{polls} polls, each of which may sleep for an hour");
    assert!(streams.close(WAIT), "a close wakes it");
    assert_eq!(streams.state(), State::NotRunning);
}

#[test]
fn states_follow_each_other_as_in_kafka_streams() {
    let world = World::new(1);
    let streams = world.streams(world.config(AtLeastOnce));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    streams.set_state_listener(move |next, _| log.lock().push(next));
    assert_eq!(streams.state(), State::Created);
    streams.start().unwrap();
    streams.wait_for(State::Running, WAIT).unwrap();
    assert_eq!(streams.threads(), [("app-StreamThread-1".to_owned(), StreamThreadState::Running)]);
    assert!(streams.start().unwrap_err().to_string().contains("cannot be started"));
    assert!(streams.clean_up().is_err(), "not while it runs");
    assert!(streams.close(WAIT) && streams.close(WAIT), "twice is no error");
    let deadline = Instant::now() + WAIT;
    while heard.lock().len() < 4 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(*heard.lock(), [State::Rebalancing, State::Running, State::PendingShutdown, State::NotRunning]);
    assert!(streams.wait_for(State::Running, WAIT).is_err(), "it will not run again");
    streams.clean_up().unwrap();
}

#[test]
fn the_handle_can_be_awaited() {
    let world = World::new(1);
    let streams = world.streams(world.config(AtLeastOnce));
    streams.start().unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        streams.reached(State::Running).await.unwrap();
        assert_eq!(streams.closed().await, State::NotRunning);
        assert!(streams.reached(State::Running).await.is_err());
    });
}

#[test]
fn a_paused_application_processes_nothing_and_goes_on_when_resumed() {
    let world = World::new(1);
    let streams = world.run(world.config(AtLeastOnce));
    streams.pause();
    world.say(&["a"]);
    // It is still a member of its group, and polls: more than once since the word was there.
    let polls = streams.metric(Metric::PollTotal);
    let deadline = Instant::now() + WAIT;
    while streams.metric(Metric::PollTotal) < polls + 3 {
        assert!(Instant::now() < deadline, "a paused application polls");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(streams.metric(Metric::ProcessTotal), 0);
    assert!(streams.is_paused());
    streams.resume();
    world.wait_until_consumed();
    assert_eq!(streams.metric(Metric::ProcessTotal), 1);
}

#[test]
fn fault_23_a_wall_clock_that_jumps_stops_nothing() {
    const HOUR_MS: i64 = 3_600_000;
    for guarantee in GUARANTEES {
        let world = World::new(1);
        let now = 1_700_000_000_000;
        let clock = Arc::new(ManualClock::new(now));
        let config = world.config(guarantee).build().unwrap();
        let client = Arc::clone(&world.client);
        let streams =
            super::super::Streams::with_clock(world.topology(), config, client, Arc::clone(&clock) as _).unwrap();
        streams.start().unwrap();
        streams.wait_for(State::Running, WAIT).unwrap();
        std::thread::scope(|scope| {
            let is_done = Arc::new(AtomicBool::new(false));
            let (ticking, until) = (Arc::clone(&clock), Arc::clone(&is_done));
            // Time goes on; only its name jumps.
            scope.spawn(move || {
                let began = Instant::now();
                while !until.load(Ordering::Relaxed) && began.elapsed() < WAIT * 5 {
                    ticking.advance(Duration::from_millis(5));
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            for wall_clock_ms in [now, now + HOUR_MS, now - HOUR_MS, now] {
                clock.set_wall_clock(wall_clock_ms);
                world.say(&["a"]);
                world.wait_until_consumed();
            }
            is_done.store(true, Ordering::Relaxed);
        });
        assert!(streams.close(WAIT));
        assert_eq!(world.last_counts("counts")["a"], 4, "{guarantee:?}");
    }
}

#[test]
fn where_little_happens_stores_are_saved_from_time_to_time() {
    let world = World::new(1);
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let config = world.config(crate::ProcessingGuarantee::ExactlyOnceV2).build().unwrap();
    let client = Arc::clone(&world.client);
    let streams = super::super::Streams::with_clock(world.topology(), config, client, Arc::clone(&clock) as _).unwrap();
    streams.start().unwrap();
    streams.wait_for(State::Running, WAIT).unwrap();
    let is_saved = || world.journal.take().iter().any(|call| call == "save 0_0");
    world.say(&["a"]);
    let began = Instant::now();
    while world.last_counts("counts").is_empty() {
        assert!(began.elapsed() < WAIT, "{:?}", world.journal.take());
        clock.advance(Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!is_saved(), "it is too early");
    let began = Instant::now();
    while !is_saved() {
        assert!(began.elapsed() < WAIT);
        clock.advance(Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(streams.close(WAIT));
}

#[test]
fn a_missing_source_topic_is_named() {
    let world = World::new(1);
    let mut topology = crate::topology::Topology::new();
    topology
        .add_source(crate::topology::Source::<String, String>::new("source", "nowhere"))
        .add_sink(crate::topology::Sink::<String, String>::new("sink", "counts"), &["source"]);
    let config = world.config(AtLeastOnce).build().unwrap();
    let streams = super::super::Streams::new(topology, config, Arc::clone(&world.client)).unwrap();
    let error = streams.start().unwrap_err().to_string();
    assert!(error.contains("nowhere") && error.contains("create"), "{error}");
    assert_eq!(streams.state(), State::Created, "mend the cause and start again");
}

#[test]
fn slow_records_do_not_delay_a_close() {
    let world = World::new(1);
    world.say(&vec!["slow!"; 500]);
    let streams = world.run(world.config(AtLeastOnce));
    while streams.metric(Metric::ProcessTotal) < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let closing = Instant::now();
    assert!(streams.close(WAIT));
    assert!(closing.elapsed() < Duration::from_secs(1), "closed after {:?}", closing.elapsed());
    let processed = streams.metric(Metric::ProcessTotal);
    assert_eq!(world.read("counts").len() as u64, processed, "what was processed is committed, and nothing else");
}

#[test]
fn uncommitted_state_that_outgrows_its_bound_is_committed_ahead_of_time() {
    let world = World::new(1);
    let hour = Duration::from_secs(3_600);
    let config = world.config(crate::ProcessingGuarantee::ExactlyOnceV2).commit_interval(hour);
    let streams = world.run(config.statestore_uncommitted_max_bytes(16 * 3));
    world.say(&["a", "b", "c"]);
    world.wait_until_consumed();
    assert!(streams.metric(Metric::CommitTotal) >= 1);
}
