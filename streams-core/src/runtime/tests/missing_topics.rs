//! Topics that go, or lose their beginning, under an application.

use log_store::{Offset, TopicName, TopicPartition, client::NewTopic};

use super::{
    GUARANTEES,
    counting::{WAIT, World},
};
use crate::{
    ProcessingGuarantee::{AtLeastOnce, ExactlyOnceV2},
    runtime::{Metric, State},
};

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// A topic is deleted under a running application: it ends, and says which.
#[track_caller]
fn check_deleted(deleted: &str, parts: &[&str]) {
    for guarantee in GUARANTEES {
        let world = World::new(1);
        world.say(&["a"]);
        let streams = world.run(world.config(guarantee));
        world.wait_until_consumed();
        world.log.admin().unwrap().delete_topics(&[topic(deleted)]).unwrap();
        if deleted != "words" {
            world.say(&["a"]);
        }
        let error = streams.wait_for(State::NotRunning, WAIT).unwrap_err().to_string();
        assert_eq!(streams.state(), State::Error, "{guarantee:?}: {error}");
        for part in parts {
            assert!(error.contains(part), "{guarantee:?}: {part:?} is not in {error}");
        }
        let found = world.log.admin().unwrap().describe_topic(&topic(deleted)).unwrap();
        assert_eq!(found, None, "it is not made again in silence");
    }
}

#[test]
fn fault_45_a_source_topic_that_is_deleted_ends_the_application_by_name() {
    check_deleted("words", &["words"]);
}

#[test]
fn fault_45_a_sink_topic_that_is_deleted_ends_the_application_by_name() {
    check_deleted("counts", &["counts", "create"]);
}

#[test]
fn fault_47_a_changelog_that_is_deleted_ends_the_application_by_name() {
    check_deleted("app-counts-changelog", &["app-counts-changelog"]);
}

#[test]
fn fault_46_a_source_topic_made_anew_is_read_from_its_beginning() {
    let world = World::new(1);
    world.say(&["a", "a", "a"]);
    let streams = world.run(world.config(ExactlyOnceV2));
    world.wait_until_consumed();
    assert!(streams.close(WAIT));
    let mut admin = world.log.admin().unwrap();
    admin.delete_topics(&[topic("words")]).unwrap();
    admin.create_topics(&[NewTopic::new(topic("words"), 1)]).unwrap();
    world.say(&["b"]);
    let streams = world.run(world.config(ExactlyOnceV2));
    world.wait_until_consumed();
    assert!(streams.close(WAIT));
    assert_eq!(world.last_counts("counts").into_iter().collect::<Vec<_>>(), [("a".into(), 3), ("b".into(), 1)]);
}

#[test]
fn fault_48_a_store_that_is_behind_the_beginning_of_its_changelog_is_rebuilt_from_what_is_there() {
    let world = World::new(1);
    world.say(&["a", "b", "a", "c"]);
    let streams = world.run(world.config(AtLeastOnce));
    world.wait_until_consumed();
    assert!(streams.close(WAIT));
    let changelog = TopicPartition::new(topic("app-counts-changelog"), 0);
    world.disk.set_checkpoint(0, Offset::ZERO);
    world.log.admin().unwrap().delete_records(&[(changelog, Offset::new(1))]).unwrap();
    world.journal.take();
    let streams = world.run(world.config(AtLeastOnce));
    assert_eq!(streams.metric(Metric::StoresRebuiltTotal), 1);
    assert!(
        world.journal.take().contains(&"reset 0_0".to_owned()),
        "what its files hold is not mixed with what is left"
    );
}
