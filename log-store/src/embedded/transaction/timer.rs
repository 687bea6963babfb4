//! Aborts transactions that are open for too long. One thread, which sleeps until the next one can be.

use std::{
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use super::Transactions;
use crate::embedded::log::Inner;

/// Longest sleep: ids that nobody uses are looked at then.
const SLEEP_MAX: Duration = Duration::from_secs(60 * 60);

/// Starts the thread. It ends with the log.
pub(super) fn start(log: &Arc<Inner>) {
    let transactions = Arc::clone(&log.transactions);
    let log = Arc::downgrade(log);
    let spawned = thread::Builder::new().name("log-transactions".to_owned()).spawn(move || run(&transactions, &log));
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot start the thread that aborts transactions which are open for too long");
    }
}

fn run(transactions: &Transactions, log: &Weak<Inner>) {
    loop {
        {
            let mut state = transactions.state.lock();
            if state.is_closed {
                return;
            }
            let next = state.coordinator.next_timeout_ms(transactions.now_ms());
            let sleep = next.map_or(SLEEP_MAX, Duration::from_millis).min(SLEEP_MAX);
            if !transactions.timed.wait_for(&mut state, sleep).timed_out() {
                continue;
            }
        }
        let Some(log) = log.upgrade() else { return };
        // A failure poisons the log, which tells everybody else.
        if log.abort_expired().is_err() {
            return;
        }
    }
}
