//! Instances that stop answering, lose their tasks to others, and come back in the middle of what they did.

use std::time::{Duration, Instant};

use super::{
    GUARANTEES,
    counting::{WAIT, World},
};
use crate::{
    ProcessingGuarantee::{self, AtLeastOnce, ExactlyOnceV2},
    runtime::{Metric, Streams},
};

/// A member that does not poll for this long is dropped.
const SESSION: Duration = Duration::from_millis(400);

const WORDS: [&str; 2] = ["a", "b"];

/// Longer than a transaction may stay open.
const PATIENCE: Duration = Duration::from_secs(60);

fn impatient(world: &World, guarantee: ProcessingGuarantee) -> Streams {
    *world.journal.poll_interval.lock() = Some(SESSION);
    world.run(world.config(guarantee))
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An instance is stopped at `call`, another does its work, and it comes back.
#[track_caller]
fn check(guarantee: ProcessingGuarantee, call: &'static str) {
    let label = format!("{guarantee:?}, stopped at {call}");
    let world = World::new(2);
    let first = impatient(&world, guarantee);
    world.say(&WORDS);
    world.wait_until_consumed();
    world.journal.freeze_at(call);
    world.say(&WORDS);
    wait_until("somebody is stopped", || world.journal.is_frozen());
    std::thread::sleep(SESSION * 2);

    let other = world.elsewhere();
    let second = impatient(&other, guarantee);
    world.say(&WORDS);
    let results = || world.last_counts("counts");
    // Nothing fences what a producer without transactions still had to send: at-least-once can go back to counts that were
    // true when somebody was stopped, in Kafka Streams too.
    let least = |count| if guarantee == ExactlyOnceV2 { count } else { 1 };
    world.wait_until_consumed();
    wait_until("the other has counted all", || results().values().filter(|count| **count >= least(3)).count() == 2);

    world.journal.thaw();
    world.say(&WORDS);
    world.wait_until_consumed();
    wait_until("all is counted", || results().values().filter(|count| **count >= least(4)).count() == 2);
    wait_until("the one that came back has noticed", || first.metric(Metric::TaskMigratedTotal) > 0 || call == "poll");
    let expected = [("a".to_owned(), 4), ("b".to_owned(), 4)].into();
    match guarantee {
        ExactlyOnceV2 => {
            assert_eq!(results(), expected, "{label}");
            assert_eq!(world.last_counts("app-counts-changelog"), expected, "{label}");
            assert_eq!(world.read("counts").len(), 8, "{label}: {:?}", world.read("counts"));
        }
        AtLeastOnce => assert!(results().values().all(|count| *count >= least(4)), "{label}: {:?}", results()),
    }
    for streams in [&first, &second] {
        assert!(streams.close(WAIT), "{label}");
        assert_eq!(streams.error().map(|error| error.to_string()), None, "{label}");
    }
}

#[test]
fn one_that_was_stopped_between_two_commits_loses_its_tasks_quietly() {
    for guarantee in GUARANTEES {
        check(guarantee, "poll");
    }
}

#[test]
fn one_that_was_stopped_before_its_commit_is_fenced_at_least_once() {
    check(AtLeastOnce, "commit offsets");
    check(AtLeastOnce, "flush");
}

#[test]
fn one_that_was_stopped_in_a_transaction_is_fenced() {
    check(ExactlyOnceV2, "send");
}

#[test]
fn one_that_was_stopped_before_its_offsets_were_added_is_fenced() {
    check(ExactlyOnceV2, "send offsets");
}
