//! One application, now in Java, now in Rust: same `application.id`, same topology, same topics. Each goes on with the
//! state, the positions and the records in between that the other has left.

use std::path::Path;

use log_store::{TopicName, client::LogClient};
use streams_tests::{
    broker::Broker,
    jvm::{Jvm, source},
};
use tempfile::TempDir;

use crate::{
    application::{Application, Process},
    words::Lines,
};

/// The same application, as Kafka Streams runs it.
fn start_java(application: &Application, directory: &Path) -> Process {
    let jvm = Jvm::find().unwrap();
    let guarantee = if application.exactly_once { "exactly_once_v2" } else { "at_least_once" };
    let arguments = [&application.broker, &application.id, guarantee, directory.to_str().unwrap()];
    Process::start(jvm.command(&source("WordCount.java"), &arguments))
}

fn hand_over(id: &str, exactly_once: bool) {
    let Some(broker) = Broker::shared() else { return };
    let application = Application { broker: broker.address().to_owned(), id: id.to_owned(), exactly_once, threads: 1 };
    let mut lines = Lines::new(&application, 2);
    let (java, rust) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let topics = || -> Vec<TopicName> {
        let mut topics = application.client().admin().unwrap().list_topics().unwrap();
        topics.retain(|topic| topic.as_str().starts_with(&application.id));
        topics
    };
    let mut known = None;
    for turn in 0..4 {
        lines.write(700);
        // Each has its own folder, where it finds state that is old when its second turn comes.
        let process =
            if turn % 2 == 0 { start_java(&application, java.path()) } else { application.start(rust.path()) };
        lines.check_exact();
        process.close();
        let topics = topics();
        assert_eq!(known.get_or_insert_with(|| topics.clone()), &topics, "in turn {turn} topics appeared");
    }
}

#[test]
fn java_and_rust_take_turns_exactly_once() {
    hand_over("turns-eos", true);
}

#[test]
fn java_and_rust_take_turns_at_least_once() {
    hand_over("turns-alos", false);
}
