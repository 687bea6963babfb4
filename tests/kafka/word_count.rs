//! Word count on a real broker: unchanged, with both guarantees, through kills, rebalances and frozen processes.

use std::{thread, time::Duration};

use log_store::client::LogClient;
use rustix::process::{Pid, Signal, kill_process};
use streams_dsl::prelude::State;
use streams_tests::broker::Broker;
use tempfile::TempDir;

use crate::{
    application::{Application, PATIENCE, Process},
    words::Lines,
};

fn application(broker: &Broker, id: &str, exactly_once: bool) -> Application {
    Application { broker: broker.address().to_owned(), id: id.to_owned(), exactly_once, threads: 1 }
}

/// Counts on threads of this process.
fn count_in_process(id: &str, exactly_once: bool) {
    let Some(broker) = Broker::shared() else { return };
    let application = Application { threads: 2, ..application(broker, id, exactly_once) };
    let mut lines = Lines::new(&application, 3);
    lines.write(2_000);
    let folder = TempDir::new().unwrap();
    let streams = application.streams(folder.path());
    streams.start().unwrap();
    streams.wait_for(State::Running, PATIENCE).unwrap();
    lines.check_exact();
    lines.write(500);
    lines.check_exact();
    assert!(streams.close(PATIENCE));
    assert!(streams.error().is_none(), "{:?}", streams.error());
}

#[test]
fn at_least_once_counts_every_word() {
    count_in_process("alos", false);
}

#[test]
fn exactly_once_counts_every_word() {
    count_in_process("eos", true);
}

#[test]
fn kills_change_no_count_under_exactly_once() {
    let Some(broker) = Broker::shared() else { return };
    let application = application(broker, "killed", true);
    let mut lines = Lines::new(&application, 2);
    let folder = TempDir::new().unwrap();
    for round in 0..4 {
        lines.write(2_000);
        let process = application.start(folder.path());
        thread::sleep(Duration::from_millis(100 + 150 * round));
        process.kill();
    }
    let process = application.start(folder.path());
    lines.check_exact();
    process.close();
}

/// Waits until the group has so many members, all of which have something to read.
fn await_members(application: &Application, count: usize) {
    let mut admin = application.client().admin().unwrap();
    let since = std::time::Instant::now();
    loop {
        let group = admin.describe_group(&application.id).unwrap();
        let members = group.map(|group| group.members).unwrap_or_default();
        if members.len() == count && members.iter().all(|member| !member.partitions.is_empty()) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{members:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_second_process_shares_the_partitions_and_takes_over_when_the_first_dies() {
    let Some(broker) = Broker::shared() else { return };
    let application = application(broker, "shared", true);
    let mut lines = Lines::new(&application, 4);
    let folders = (TempDir::new().unwrap(), TempDir::new().unwrap());
    lines.write(1_000);
    let first = application.start(folders.0.path());
    lines.write(1_000);
    let second = application.start(folders.1.path());
    await_members(&application, 2);
    lines.write(1_000);
    lines.check_exact();
    // In the middle of its work.
    lines.write(1_000);
    thread::sleep(Duration::from_millis(150));
    first.kill();
    lines.write(1_000);
    lines.check_exact();
    await_members(&application, 1);
    second.close();
}

fn signal(process: &Process, signal: Signal) {
    kill_process(Pid::from_raw(process.id().try_into().unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn a_frozen_process_is_fenced_and_joins_anew() {
    let Some(broker) = Broker::shared() else { return };
    let application = application(broker, "frozen", true);
    let mut lines = Lines::new(&application, 2);
    let folders = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (first, second) = (application.start(folders.0.path()), application.start(folders.1.path()));
    await_members(&application, 2);
    lines.write(1_000);
    thread::sleep(Duration::from_millis(100));
    signal(&first, Signal::STOP);
    lines.write(1_000);
    // The group drops it, its transaction is aborted, the other does its work.
    lines.check_exact();
    await_members(&application, 1);
    signal(&first, Signal::CONT);
    lines.write(1_000);
    lines.check_exact();
    await_members(&application, 2);
    lines.write(1_000);
    lines.check_exact();
    first.close();
    second.close();
}
