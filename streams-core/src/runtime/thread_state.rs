//! One stream thread without its thread: what to do next, and nothing else.
//!
//! [`ThreadState::step`] takes one [`Event`] and returns the [`Command`]s it causes. It does no I/O, reads no clock and
//! never blocks; `thread.rs` owns the thread and obeys, in order.
//!
//! Invariant: a task that has processed anything is committed before it is closed cleanly, and its partitions are
//! acknowledged only after it is closed.
//!
//! Invariant: after a failed commit, or after a loss, no task keeps what it has not committed: every task is closed
//! dirty, the producer is renewed, and what is still ours begins again from the committed offsets. One way back for
//! every failure, since a store never holds uncommitted data on disk and replays only the tail of its changelog.

use std::collections::{BTreeMap, BTreeSet};

use crate::task::TaskId;

/// What a stream thread is doing, in Kafka Streams' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamThreadState {
    /// Made, not at work.
    Created,
    /// Joining its group.
    Starting,
    /// Partitions have been taken away; others may follow.
    PartitionsRevoked,
    /// Has tasks whose stores are being restored.
    PartitionsAssigned,
    /// Every task it has is processing.
    Running,
    /// Closing.
    PendingShutdown,
    /// Gone.
    Dead,
}

/// Everything that can happen to a stream thread. Closed on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It has subscribed.
    Started,
    /// These tasks are now ours, beside those that were.
    Assigned(BTreeSet<TaskId>),
    /// These tasks go to somebody else as soon as we let go.
    Revoked(BTreeSet<TaskId>),
    /// These tasks are somebody else's already.
    Lost(BTreeSet<TaskId>),
    /// The stores of this task are complete.
    Restored(TaskId),
    /// Time, volume or a processor asks for a commit.
    CommitDue,
    /// The commit under way is durable.
    Committed,
    /// A commit, or work towards one, failed.
    Failed(Failure),
    /// The application closes.
    Shutdown,
}

/// What a failure means for the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The outcome is unknown, or a wait was too long: begin again from what is committed.
    Retriable,
    /// Another member or a newer producer has taken over: begin again as a new member.
    Fenced,
    /// Beginning again would not help.
    Fatal,
}

/// Everything a stream thread asks of the world outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Tell the application.
    Enter(StreamThreadState),
    /// Make these tasks and fill their stores.
    Restore(BTreeSet<TaskId>),
    /// Its stores are complete: begin to process.
    Run(TaskId),
    /// Commit everything that running tasks have done. Answered by `Committed` or `Failed`.
    Commit,
    /// Let these tasks go; what they did is committed.
    CloseClean(BTreeSet<TaskId>),
    /// Let these tasks go without what is uncommitted.
    CloseDirty(BTreeSet<TaskId>),
    /// Take back the open transaction and go on with a new producer.
    RenewProducer,
    /// Give up the revoked partitions of these tasks.
    Acknowledge(BTreeSet<TaskId>),
    /// Leave the group and enter it as a new member.
    Rejoin,
    /// Leave the group for good.
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskState {
    Restoring,
    Running,
    /// Ran, and goes to somebody else with the next commit.
    Revoked,
    /// Was being restored, and goes to somebody else.
    RevokedUnrestored,
}

/// Invariant: a task is in one state; there are no tasks before `Starting` and after `Dead`.
#[derive(Debug)]
pub(crate) struct ThreadState {
    state: StreamThreadState,
    tasks: BTreeMap<TaskId, TaskState>,
}

impl ThreadState {
    pub(crate) fn new() -> Self {
        ThreadState { state: StreamThreadState::Created, tasks: BTreeMap::new() }
    }

    pub(crate) fn state(&self) -> StreamThreadState {
        self.state
    }

    /// What `event` makes necessary.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Command> {
        if self.state == StreamThreadState::Dead {
            return Vec::new();
        }
        match event {
            Event::Started => self.enter(StreamThreadState::Starting),
            Event::Assigned(tasks) => self.on_assigned(tasks),
            Event::Revoked(tasks) => self.on_revoked(&tasks),
            Event::Lost(tasks) => self.on_lost(&tasks),
            Event::Restored(task) => self.on_restored(task),
            Event::CommitDue => self.commit_if_running(),
            Event::Committed => self.on_committed(),
            Event::Failed(failure) => self.on_failed(failure),
            Event::Shutdown => self.on_shutdown(),
        }
    }

    fn on_assigned(&mut self, tasks: BTreeSet<TaskId>) -> Vec<Command> {
        if self.is_closing() {
            return Vec::new();
        }
        let new: BTreeSet<TaskId> = tasks.into_iter().filter(|task| !self.tasks.contains_key(task)).collect();
        self.tasks.extend(new.iter().map(|task| (*task, TaskState::Restoring)));
        let mut commands = self.enter(StreamThreadState::PartitionsAssigned);
        if !new.is_empty() {
            commands.push(Command::Restore(new));
        }
        commands.extend(self.run_if_complete());
        commands
    }

    fn on_revoked(&mut self, tasks: &BTreeSet<TaskId>) -> Vec<Command> {
        let mut some_ran = false;
        for (_, state) in self.tasks.iter_mut().filter(|(task, _)| tasks.contains(task)) {
            *state = match *state {
                TaskState::Running | TaskState::Revoked => TaskState::Revoked,
                TaskState::Restoring | TaskState::RevokedUnrestored => TaskState::RevokedUnrestored,
            };
            some_ran |= *state == TaskState::Revoked;
        }
        // Commit before close: a revoked task keeps what it has already processed.
        if some_ran { vec![Command::Commit] } else { self.let_go_of_revoked() }
    }

    fn on_lost(&mut self, tasks: &BTreeSet<TaskId>) -> Vec<Command> {
        let lost: BTreeSet<TaskId> = self.tasks.keys().copied().filter(|task| tasks.contains(task)).collect();
        if lost.is_empty() {
            return Vec::new();
        }
        let none_ran = lost.iter().all(|task| self.tasks[task] == TaskState::Restoring);
        self.tasks.retain(|task, _| !lost.contains(task));
        let mut commands = vec![Command::CloseDirty(lost)];
        commands.extend(self.enter(StreamThreadState::PartitionsRevoked));
        if !none_ran {
            // One transaction holds the work of all tasks: if a part must not be committed, nothing may.
            commands.extend(self.begin_again());
        }
        commands.extend(self.run_if_complete());
        commands
    }

    fn on_restored(&mut self, task: TaskId) -> Vec<Command> {
        match self.tasks.get_mut(&task) {
            Some(state @ TaskState::Restoring) => *state = TaskState::Running,
            // Taken away while it was restored: the news comes too late.
            _ => return Vec::new(),
        }
        let mut commands = vec![Command::Run(task)];
        commands.extend(self.run_if_complete());
        commands
    }

    fn commit_if_running(&self) -> Vec<Command> {
        let any_ran = self.tasks.values().any(|state| matches!(state, TaskState::Running | TaskState::Revoked));
        if any_ran { vec![Command::Commit] } else { Vec::new() }
    }

    fn on_committed(&mut self) -> Vec<Command> {
        if self.is_closing() { self.die(Command::CloseClean) } else { self.let_go_of_revoked() }
    }

    fn on_failed(&mut self, failure: Failure) -> Vec<Command> {
        if self.is_closing() || failure == Failure::Fatal {
            return self.die(Command::CloseDirty);
        }
        let (revoked, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.tasks)
            .into_iter()
            .partition(|(_, state)| matches!(state, TaskState::Revoked | TaskState::RevokedUnrestored));
        self.tasks = kept.into_iter().collect();
        let mut commands = Vec::new();
        let revoked: BTreeSet<TaskId> = revoked.into_iter().map(|(task, _)| task).collect();
        if !revoked.is_empty() {
            commands.push(Command::CloseDirty(revoked.clone()));
        }
        if failure == Failure::Fenced {
            let mine: BTreeSet<TaskId> = std::mem::take(&mut self.tasks).into_keys().collect();
            if !mine.is_empty() {
                commands.push(Command::CloseDirty(mine));
            }
            commands.extend([Command::RenewProducer, Command::Rejoin]);
            commands.extend(self.enter(StreamThreadState::PartitionsRevoked));
            return commands;
        }
        commands.extend(self.begin_again());
        if !revoked.is_empty() {
            commands.push(Command::Acknowledge(revoked));
        }
        commands.extend(self.run_if_complete());
        commands
    }

    fn on_shutdown(&mut self) -> Vec<Command> {
        if self.is_closing() {
            return Vec::new();
        }
        let mut commands = self.enter(StreamThreadState::PendingShutdown);
        let commit = self.commit_if_running();
        commands.extend(if commit.is_empty() { self.die(Command::CloseClean) } else { commit });
        commands
    }

    /// Every task that is ours begins again from what is committed.
    fn begin_again(&mut self) -> Vec<Command> {
        let ran = self.tasks.iter().filter(|(_, state)| **state == TaskState::Running);
        let ran: BTreeSet<TaskId> = ran.map(|(task, _)| *task).collect();
        self.tasks.extend(ran.iter().map(|task| (*task, TaskState::Restoring)));
        if ran.is_empty() {
            return vec![Command::RenewProducer];
        }
        let mut commands = vec![Command::CloseDirty(ran.clone()), Command::RenewProducer];
        commands.extend(self.enter(StreamThreadState::PartitionsAssigned));
        commands.push(Command::Restore(ran));
        commands
    }

    fn let_go_of_revoked(&mut self) -> Vec<Command> {
        let revoked = |state: &TaskState| matches!(state, TaskState::Revoked | TaskState::RevokedUnrestored);
        let gone: BTreeSet<TaskId> =
            self.tasks.iter().filter(|(_, state)| revoked(state)).map(|(task, _)| *task).collect();
        if gone.is_empty() {
            return Vec::new();
        }
        self.tasks.retain(|_, state| !revoked(state));
        let mut commands = vec![Command::CloseClean(gone.clone()), Command::Acknowledge(gone)];
        commands.extend(self.enter(StreamThreadState::PartitionsRevoked));
        commands.extend(self.run_if_complete());
        commands
    }

    fn die(&mut self, close: fn(BTreeSet<TaskId>) -> Command) -> Vec<Command> {
        let mut commands = self.enter(StreamThreadState::PendingShutdown);
        let tasks: BTreeSet<TaskId> = std::mem::take(&mut self.tasks).into_keys().collect();
        if !tasks.is_empty() {
            commands.push(close(tasks));
        }
        commands.push(Command::Leave);
        commands.extend(self.enter(StreamThreadState::Dead));
        commands
    }

    /// A thread runs when it waits for no store.
    fn run_if_complete(&mut self) -> Vec<Command> {
        let complete = self.tasks.values().all(|state| *state == TaskState::Running);
        if complete && !self.is_closing() { self.enter(StreamThreadState::Running) } else { Vec::new() }
    }

    fn is_closing(&self) -> bool {
        matches!(self.state, StreamThreadState::PendingShutdown | StreamThreadState::Dead)
    }

    fn enter(&mut self, state: StreamThreadState) -> Vec<Command> {
        if self.state == state {
            return Vec::new();
        }
        self.state = state;
        vec![Command::Enter(state)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `0` is task 0_0, `1` is task 0_1, …
    fn tasks(text: &str) -> BTreeSet<TaskId> {
        text.bytes().map(|digit| TaskId { subtopology: 0, partition: u32::from(digit - b'0') }).collect()
    }

    fn event(text: &str) -> Event {
        let (name, of) = text.split_once(' ').unwrap_or((text, ""));
        match name {
            "start" => Event::Started,
            "assign" => Event::Assigned(tasks(of)),
            "revoke" => Event::Revoked(tasks(of)),
            "lose" => Event::Lost(tasks(of)),
            "restored" => Event::Restored(*tasks(of).first().unwrap()),
            "due" => Event::CommitDue,
            "committed" => Event::Committed,
            "retriable" => Event::Failed(Failure::Retriable),
            "fenced" => Event::Failed(Failure::Fenced),
            "fatal" => Event::Failed(Failure::Fatal),
            "shutdown" => Event::Shutdown,
            other => panic!("{other}"),
        }
    }

    fn text(command: &Command) -> String {
        let list = |tasks: &BTreeSet<TaskId>| tasks.iter().map(|task| task.partition.to_string()).collect::<String>();
        match command {
            Command::Enter(state) => format!("{state:?}"),
            Command::Restore(tasks) => format!("restore {}", list(tasks)),
            Command::Run(task) => format!("run {}", task.partition),
            Command::Commit => "commit".into(),
            Command::CloseClean(tasks) => format!("close {}", list(tasks)),
            Command::CloseDirty(tasks) => format!("drop {}", list(tasks)),
            Command::RenewProducer => "renew".into(),
            Command::Acknowledge(tasks) => format!("acknowledge {}", list(tasks)),
            Command::Rejoin => "rejoin".into(),
            Command::Leave => "leave".into(),
        }
    }

    /// After `before` (events, separated by commas), `last` causes `expected`.
    #[track_caller]
    fn check(before: &str, last: &str, expected: &str) {
        let mut state = ThreadState::new();
        for step in before.split(", ").filter(|step| !step.is_empty()) {
            state.step(event(step));
        }
        let commands: Vec<String> = state.step(event(last)).iter().map(text).collect();
        assert_eq!(commands.join(", "), expected, "after {before:?}, on {last:?}");
    }

    const RUNNING: &str = "start, assign 01, restored 0, restored 1";

    #[test]
    fn a_thread_runs_when_its_last_task_is_restored() {
        check("", "start", "Starting");
        check("start", "assign 01", "PartitionsAssigned, restore 01");
        check("start, assign 01", "restored 0", "run 0");
        check("start, assign 01, restored 0", "restored 1", "run 1, Running");
        check("start", "assign ", "PartitionsAssigned, Running");
        check(RUNNING, "assign 2", "PartitionsAssigned, restore 2");
        check(RUNNING, "assign 01", "PartitionsAssigned, Running");
    }

    #[test]
    fn a_task_processes_while_another_is_restored() {
        check("start, assign 01, restored 0", "due", "commit");
    }

    #[test]
    fn a_revoked_task_is_committed_before_it_is_closed() {
        check(RUNNING, "revoke 0", "commit");
        check(&format!("{RUNNING}, revoke 0"), "committed", "close 0, acknowledge 0, PartitionsRevoked, Running");
        check(&format!("{RUNNING}, revoke 01"), "committed", "close 01, acknowledge 01, PartitionsRevoked, Running");
    }

    #[test]
    fn a_task_that_never_ran_needs_no_commit() {
        check("start, assign 01", "revoke 0", "close 0, acknowledge 0, PartitionsRevoked");
        check("start, assign 01, restored 1", "revoke 0", "close 0, acknowledge 0, PartitionsRevoked, Running");
        check("start, assign 0", "lose 0", "drop 0, PartitionsRevoked, Running");
    }

    #[test]
    fn a_lost_task_takes_the_open_transaction_with_it() {
        check(RUNNING, "lose 0", "drop 0, PartitionsRevoked, drop 1, renew, PartitionsAssigned, restore 1");
        check(RUNNING, "lose 01", "drop 01, PartitionsRevoked, renew, Running");
        check(RUNNING, "lose 5", "");
    }

    #[test]
    fn news_of_a_task_that_is_gone_is_ignored() {
        check("start, assign 0, revoke 0", "restored 0", "");
        check("start", "restored 3", "");
    }

    #[test]
    fn a_commit_of_unknown_outcome_begins_again_from_what_is_committed() {
        check(RUNNING, "retriable", "drop 01, renew, PartitionsAssigned, restore 01");
        check("start, assign 01, restored 0", "retriable", "drop 0, renew, restore 0");
        check(
            &format!("{RUNNING}, revoke 0"),
            "retriable",
            "drop 0, drop 1, renew, PartitionsAssigned, restore 1, acknowledge 0",
        );
        check(&format!("{RUNNING}, revoke 01"), "retriable", "drop 01, renew, acknowledge 01");
    }

    #[test]
    fn a_fenced_thread_drops_everything_and_joins_anew() {
        check(RUNNING, "fenced", "drop 01, renew, rejoin, PartitionsRevoked");
        check("start, assign 01, restored 0", "fenced", "drop 01, renew, rejoin, PartitionsRevoked");
        check(&format!("{RUNNING}, fenced"), "assign 1", "PartitionsAssigned, restore 1");
    }

    #[test]
    fn a_fatal_error_commits_nothing() {
        check(RUNNING, "fatal", "PendingShutdown, drop 01, leave, Dead");
        check(&format!("{RUNNING}, fatal"), "due", "");
    }

    #[test]
    fn a_closing_thread_commits_closes_and_leaves() {
        check(RUNNING, "shutdown", "PendingShutdown, commit");
        check(&format!("{RUNNING}, shutdown"), "committed", "close 01, leave, Dead");
        check(&format!("{RUNNING}, shutdown"), "shutdown", "");
        check(&format!("{RUNNING}, shutdown"), "assign 2", "");
        check(&format!("{RUNNING}, shutdown"), "retriable", "drop 01, leave, Dead");
        check("start, assign 01", "shutdown", "PendingShutdown, close 01, leave, Dead");
        check("", "shutdown", "PendingShutdown, leave, Dead");
    }

    #[test]
    fn nothing_is_due_without_a_running_task() {
        check("start, assign 0", "due", "");
        check("start", "due", "");
    }

    proptest::proptest! {
        /// Whatever happens, in whatever order: tasks are made once, closed once, run only in between; a clean close
        /// follows a commit; nobody is asked for anything after the end.
        #[test]
        fn commands_make_sense_in_every_order(
            steps in proptest::collection::vec((0usize..9, 0u8..16), 0..60)
        ) {
            let mut state = ThreadState::new();
            let mut made = BTreeSet::new();
            let mut running = BTreeSet::new();
            let mut committed = true;
            let mut dead = false;
            state.step(Event::Started);
            let mut queue: Vec<Event> = Vec::new();
            for (kind, bits) in steps {
                let set: BTreeSet<TaskId> =
                    (0..4).filter(|bit| bits & 1 << bit != 0).map(|partition| TaskId { subtopology: 0, partition }).collect();
                queue.push(match kind {
                    0 | 1 => Event::Assigned(set),
                    2 => Event::Revoked(set),
                    3 => Event::Lost(set),
                    4 | 5 => match set.first() { Some(task) => Event::Restored(*task), None => Event::CommitDue },
                    6 => Event::CommitDue,
                    7 => Event::Failed([Failure::Retriable, Failure::Fenced, Failure::Fatal][usize::from(bits % 3)]),
                    _ => Event::Shutdown,
                });
                while let Some(event) = queue.pop() {
                    if matches!(event, Event::Committed) { committed = true; }
                    for command in state.step(event) {
                        assert!(!dead, "{command:?} after the end");
                        match command {
                            Command::Restore(tasks) => for task in tasks { assert!(made.insert(task), "{task} made twice"); },
                            Command::Run(task) => { assert!(made.contains(&task)); running.insert(task); committed = false; }
                            Command::Commit => {
                                assert!(!running.is_empty());
                                // The thread commits at once and answers; here every third commit fails.
                                queue.push(if bits % 3 == 0 { Event::Failed(Failure::Retriable) } else { Event::Committed });
                            }
                            Command::CloseClean(tasks) => for task in tasks {
                                assert!(made.remove(&task), "{task} closed without being there");
                                assert!(!running.remove(&task) || committed, "{task} closed with work uncommitted");
                            },
                            Command::CloseDirty(tasks) => for task in tasks { assert!(made.remove(&task)); running.remove(&task); },
                            Command::Acknowledge(tasks) => assert!(tasks.is_disjoint(&made), "acknowledged before closed"),
                            Command::Enter(StreamThreadState::Dead) => { assert!(made.is_empty()); dead = true; }
                            Command::Enter(StreamThreadState::Running) => assert_eq!(made, running),
                            Command::Enter(_) | Command::RenewProducer | Command::Rejoin | Command::Leave => {}
                        }
                    }
                }
                committed = running.is_empty();
            }
        }
    }
}
