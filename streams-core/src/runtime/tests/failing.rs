//! What an application does when something fails: user code, the log, any call of a commit.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use log_store::{TopicName, client::NewTopic};

use super::{
    GUARANTEES,
    counting::{WAIT, World, read_texts},
    faulty_log::{MakeError, When},
};
use crate::{
    ExceptionHandler,
    ProcessingGuarantee::{self, AtLeastOnce, ExactlyOnceV2},
    runtime::{Metric, State, StreamThreadExceptionResponse::*, application::REPLACEMENT_PAUSE},
};

/// The order of calls between two records and the end of their commit.
#[track_caller]
fn check_order(guarantee: ProcessingGuarantee, expected: &[&str]) {
    let world = World::new(1);
    let streams = world.run(world.config(guarantee).commit_interval(Duration::from_millis(50)));
    world.say(&["a"]);
    world.wait_until_consumed();
    drop(streams);
    let calls = world.journal.take();
    let mut from = 0;
    for call in expected {
        let found = calls[from..].iter().position(|made| made == call);
        from += 1 + found.unwrap_or_else(|| panic!("{call:?} is missing after {from} in {calls:#?}"));
    }
}

#[test]
fn at_least_once_makes_results_durable_before_positions() {
    check_order(
        AtLeastOnce,
        &[
            "send counts",
            "write changelog",
            "send app-counts-changelog",
            "flush",
            "commit offsets words-0@1",
            "store committed",
        ],
    );
}

#[test]
fn exactly_once_makes_results_and_positions_one_transaction() {
    check_order(
        ExactlyOnceV2,
        &[
            "begin",
            "send counts",
            "write changelog",
            "send app-counts-changelog",
            "send offsets words-0@1",
            "commit",
            "store committed",
        ],
    );
}

const TIMED_OUT: MakeError = || log_store::Error::TimedOut { what: "a test".into(), waited_ms: 1 };
const FENCED: MakeError =
    || log_store::Error::ProducerFenced { transactional_id: "a test".into(), ours: 1, current: 2 };
const BROKEN: MakeError = || log_store::Error::Poisoned { reason: "a test".into() };

/// The nth call of a kind fails, in this way: the results are what they would be without.
#[track_caller]
fn check_fault(guarantee: ProcessingGuarantee, call: &'static str, nth: usize, when: When, error: MakeError) {
    let label = format!("{guarantee:?}: {call} {nth} fails {when:?}: {}", error());
    let world = World::new(1);
    let streams = world.streams(world.config(guarantee));
    streams.set_uncaught_exception_handler(Arc::new(|_| ReplaceThread));
    streams.start().unwrap();
    streams.wait_for(State::Running, WAIT).unwrap();
    world.journal.fail(call, nth, when, error);
    let mut said = 0;
    let deadline = Instant::now() + WAIT;
    while world.journal.is_fault_pending() {
        assert!(Instant::now() < deadline, "{label}: never happened");
        world.say(&["a", "b"]);
        said += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    world.say(&["a", "b"]);
    said += 1;
    world.wait_until_consumed();
    streams.wait_for(State::Running, WAIT).unwrap_or_else(|error| panic!("{label}: {error}"));
    assert!(streams.close(WAIT), "{label}");
    for topic in ["counts", "app-counts-changelog"] {
        let counts = world.last_counts(topic);
        for word in ["a", "b"] {
            let count = counts[word];
            match guarantee {
                ExactlyOnceV2 => assert_eq!(count, said, "{label}: {word} in {topic}"),
                AtLeastOnce => assert!(count >= said, "{label}: {word} in {topic} lost {}", said - count),
            }
        }
    }
    if guarantee == ExactlyOnceV2 {
        assert_eq!(world.read("counts").len() as u64, 2 * said, "{label}: results");
    }
}

#[test]
fn a_failure_of_any_call_loses_nothing() {
    let mut cases = Vec::new();
    for guarantee in GUARANTEES {
        let calls: &[&'static str] = match guarantee {
            AtLeastOnce => &["send", "flush", "commit offsets"],
            ExactlyOnceV2 => &["begin", "send", "send offsets", "commit"],
        };
        for call in calls {
            for error in [TIMED_OUT, FENCED, BROKEN] {
                for when in [When::Before, When::After] {
                    cases.extend([0, 3].map(|nth| (guarantee, *call, nth, when, error)));
                }
            }
        }
    }
    // They mostly wait, each in a world of its own.
    for some in cases.chunks(12) {
        std::thread::scope(|scope| {
            for (guarantee, call, nth, when, error) in some {
                scope.spawn(|| check_fault(*guarantee, call, *nth, *when, *error));
            }
        });
    }
}

#[test]
fn a_second_failure_on_the_way_back_ends_the_thread_and_its_replacement_goes_on() {
    for guarantee in GUARANTEES {
        for call in ["producer", "committed"] {
            let world = World::new(1);
            let streams = world.streams(world.config(guarantee));
            streams.set_uncaught_exception_handler(Arc::new(|_| ReplaceThread));
            streams.start().unwrap();
            streams.wait_for(State::Running, WAIT).unwrap();
            world.journal.fail(call, 0, When::Before, TIMED_OUT);
            world.say(&["a"]);
            world.wait_until_consumed();
            // Nothing has asked for a new producer or for offsets yet: a timeout in the middle of work does.
            world.journal.fail("send", 0, When::Before, TIMED_OUT);
            world.say(&["a"]);
            world.wait_until_consumed();
            assert_eq!(streams.metric(Metric::FailedStreamThreads), 1, "{guarantee:?} {call}");
            assert!(streams.close(WAIT));
            assert!(world.last_counts("counts")["a"] >= 2);
        }
    }
}

#[test]
fn a_panic_names_node_and_record_and_ends_the_application() {
    for (word, reason) in [("panic!", "a word that panics"), ("error!", "a word that fails")] {
        for guarantee in GUARANTEES {
            let world = World::new(1);
            world.say(&["a", "b"]);
            let streams = world.run(world.config(guarantee));
            world.wait_until_consumed();
            world.say(&[word, "c"]);
            let error = streams.wait_for(State::NotRunning, WAIT).unwrap_err().to_string();
            for part in ["ERROR", "count", "0_0", "words-0", "offset 2", reason] {
                assert!(error.contains(part), "{part:?} not in {error}");
            }
            assert_eq!(streams.state(), State::Error);
            assert_eq!(world.last_counts("counts").len(), 2, "what came before stays, what failed is not committed");
            assert!(streams.close(WAIT), "closing what has ended is no error");
        }
    }
}

#[test]
fn a_handler_may_leave_a_failed_record_out() {
    for guarantee in GUARANTEES {
        let world = World::new(1);
        world.say(&["a", "panic!", "b", "error!", "a"]);
        let config = world.config(guarantee).processing_exception_handler(ExceptionHandler::log_and_continue());
        let streams = world.run(config);
        world.wait_until_consumed();
        assert!(streams.close(WAIT));
        assert_eq!(world.read("counts"), [("a".into(), 1), ("b".into(), 1), ("a".into(), 2)]);
        assert_eq!(streams.metric(Metric::DroppedRecordsTotal), 2);
    }
}

#[test]
fn what_is_left_out_lies_in_the_dead_letter_topic() {
    for guarantee in GUARANTEES {
        let world = World::new(1);
        let config = || {
            let go_on = ExceptionHandler::log_and_continue();
            world.config(guarantee).processing_exception_handler(go_on).dead_letter_topic("dead")
        };
        let error = world.streams(config()).start().unwrap_err().to_string();
        assert!(error.contains("topic dead does not exist; create it"), "{error}");
        world.log.admin().unwrap().create_topics(&[NewTopic::new(TopicName::new("dead").unwrap(), 1)]).unwrap();
        world.say(&["a", "panic!", "b", "error!", "a"]);
        let streams = world.run(config());
        world.wait_until_consumed();
        assert!(streams.close(WAIT));
        let letter = |word: &str| ("k".to_owned(), word.to_owned());
        assert_eq!(read_texts(&world.log, "dead", 2), [letter("panic!"), letter("error!")]);
        assert_eq!(world.last_counts("counts").len(), 2, "a and b");
    }
}

#[test]
fn a_record_that_kills_every_thread_keeps_no_core_busy_and_can_be_closed() {
    let world = World::new(1);
    world.say(&["error!"]);
    let streams = world.streams(world.config(AtLeastOnce));
    streams.set_uncaught_exception_handler(Arc::new(|_| ReplaceThread));
    let began = Instant::now();
    streams.start().unwrap();
    let failed = || streams.metric(Metric::FailedStreamThreads);
    while failed() < 4 {
        assert!(began.elapsed() < WAIT, "{} threads failed", failed());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(began.elapsed() >= REPLACEMENT_PAUSE * 3, "four threads in {:?}", began.elapsed());
    assert!(streams.close(WAIT));
    assert_eq!(streams.state(), State::NotRunning);
}

#[test]
fn the_whole_application_is_shut_down_where_that_is_asked() {
    let world = World::new(1);
    let other_directory = tempfile::tempdir().unwrap();
    let one = world.run(world.config(AtLeastOnce));
    let other = world.streams(world.config(AtLeastOnce).state_dir(other_directory.path()));
    for instance in [&one, &other] {
        instance.set_uncaught_exception_handler(Arc::new(|_| ShutdownApplication));
    }
    other.start().unwrap();
    world.say(&["error!"]);
    for instance in [&one, &other] {
        assert!(instance.wait_for(State::NotRunning, WAIT).is_err());
        assert_eq!(instance.state(), State::Error);
        assert!(instance.error().unwrap().to_string().contains("a word that fails"));
    }
}
