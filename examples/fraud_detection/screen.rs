//! A live table of the last alerts. It appears on a terminal only.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::scoring::Decision;

/// Alerts that are shown.
const SHOWN: usize = 12;
/// Columns of the terminal that the table may use.
const WIDTH: usize = 118;
/// The table is drawn again at most so often.
const REDRAW: Duration = Duration::from_millis(100);

/// The table; alerts come from the stream threads.
pub(crate) struct Screen {
    is_terminal: bool,
    table: Mutex<Table>,
}

struct Table {
    last: VecDeque<Decision>,
    alerts: u64,
    drawn: Option<Instant>,
    is_shown: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let table = Table { last: VecDeque::new(), alerts: 0, drawn: None, is_shown: false };
        Screen { is_terminal: io::stderr().is_terminal(), table: Mutex::new(table) }
    }

    /// Adds an alert.
    pub(crate) fn alert(&self, alert: &Decision) {
        if !self.is_terminal {
            return;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.alerts += 1;
        if table.last.len() == SHOWN {
            table.last.pop_front();
        }
        table.last.push_back(alert.clone());
    }

    /// Draws the table over the one before, if it is time.
    pub(crate) fn show(&self, transactions: u64, lag: u64) {
        if !self.is_terminal {
            return;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        table.drawn = Some(Instant::now());
        let mut text = String::new();
        if std::mem::replace(&mut table.is_shown, true) {
            // Up to the first line of the table, and clear from there on.
            text = format!("\x1b[{}A\x1b[J", SHOWN + 2);
        }
        text += &format!("{transactions} transactions, {} alerts, {lag} records to go\n", table.alerts);
        text += &clipped(&format!(
            "{:>9} {:>7} {:>8} {:>10} {:>5}  {}",
            "payment", "card", "terminal", "amount", "score", "reasons"
        ));
        for place in 0..SHOWN {
            text += &table.last.get(place).map_or_else(|| "\n".to_owned(), line);
        }
        // Whoever watched may have gone; the work goes on.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

fn line(alert: &Decision) -> String {
    let Decision { transaction, card, terminal, amount, score, reasons, .. } = alert;
    clipped(&format!("{transaction:>9} {card:>7} {terminal:>8} {amount:>10.2} {score:>5.2}  {}", reasons.join("; ")))
}

fn clipped(line: &str) -> String {
    let mut line: String = line.chars().take(WIDTH).collect();
    line.push('\n');
    line
}
