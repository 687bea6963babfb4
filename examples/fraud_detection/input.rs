//! The file of transactions, and the order in which its events happen.
//!
//! Invariant: a label becomes an event of its own, at the time of its transaction plus the delay. Nothing else of the
//! labels goes into the topic, and scenarios never do: they are for the evaluation only.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use anyhow::{Context, bail};
use flate2::{Crc, read::MultiGzDecoder};

use crate::transaction::{COLUMNS, Event, HEADER, PAYMENT_COLUMNS, VERDICT_COLUMNS};

/// Longest row, so that a file without line ends cannot fill the memory.
const ROW_BYTES_MAX: u64 = 64 << 10;

/// A file of transactions, in memory: it is read before the clock starts.
pub(crate) struct Input {
    /// In order of time.
    pub(crate) rows: Vec<Row>,
    /// Of the whole text.
    pub(crate) checksum: u32,
    delay_ms: i64,
}

/// A row of the file.
pub(crate) struct Row {
    /// The row without its labels, or, if it is malformed, as it is.
    payment: String,
    /// See [`Event::Verdict`].
    verdict: Option<String>,
    /// 0 if the row is malformed.
    card: i64,
    /// That of the row before, if it has none.
    pub(crate) time_ms: i64,
    /// `None` for a row that is no transaction, or has no labels.
    pub(crate) truth: Option<Truth>,
}

/// What the labels say.
#[derive(Clone, Copy)]
pub(crate) struct Truth {
    pub(crate) id: i64,
    pub(crate) is_fraud: bool,
    pub(crate) scenario: u8,
}

/// A record of the topic of card events.
pub(crate) struct Outgoing<'a> {
    pub(crate) card: i64,
    pub(crate) time_ms: i64,
    pub(crate) row: &'a str,
    pub(crate) is_payment: bool,
}

impl Input {
    /// Reads a file.
    pub(crate) fn read(path: &Path, delay_ms: i64) -> anyhow::Result<Input> {
        let failed = || format!("cannot read the input {}", path.display());
        let mut file = BufReader::with_capacity(1 << 18, File::open(path).with_context(failed)?);
        let is_compressed = file.fill_buf().with_context(failed)?.starts_with(&[0x1f, 0x8b]);
        let mut from: Box<dyn BufRead> = if is_compressed {
            Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(file)))
        } else {
            Box::new(file)
        };
        let mut input = Input { rows: Vec::new(), checksum: 0, delay_ms };
        let mut checksum = Crc::new();
        let mut bytes = Vec::new();
        let mut last_ms = 0;
        for number in 1_u64.. {
            bytes.clear();
            from.as_mut().take(ROW_BYTES_MAX + 1).read_until(b'\n', &mut bytes).with_context(failed)?;
            if bytes.is_empty() && number > 1 {
                break;
            }
            if bytes.len() as u64 > ROW_BYTES_MAX {
                bail!("{}, line {number} is longer than {ROW_BYTES_MAX} bytes", path.display());
            }
            checksum.update(&bytes);
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end_matches(['\n', '\r']);
            if number == 1 {
                if text.trim_start_matches('\u{feff}') != HEADER {
                    bail!("{} is no file of card transactions: its first line must be {HEADER}", path.display());
                }
            } else if !text.is_empty() {
                let row = Row::new(text, last_ms);
                last_ms = row.time_ms;
                input.rows.push(row);
            }
        }
        input.checksum = checksum.sum();
        // Rows of a second or two may have changed places; those of equal time stay as they are.
        input.rows.sort_by_key(|row| row.time_ms);
        Ok(input)
    }

    /// From this time on transactions are held out: after two thirds of the time.
    pub(crate) fn held_out_from_ms(&self) -> i64 {
        let mut known = self.rows.iter().filter(|row| row.truth.is_some()).map(|row| row.time_ms);
        let first = known.next().unwrap_or(0);
        let last = known.next_back().unwrap_or(first);
        first + (last - first) / 3 * 2
    }

    /// Everything that happens until the last transaction, in order: at equal times a verdict before a payment.
    pub(crate) fn events(&self) -> impl Iterator<Item = Outgoing<'_>> {
        let mut judged = 0;
        let mut paid = 0;
        std::iter::from_fn(move || {
            let next = self.rows.get(paid)?;
            // No verdict comes before its payment, even without delay.
            while judged < paid && self.rows[judged].time_ms.saturating_add(self.delay_ms) <= next.time_ms {
                let row = &self.rows[judged];
                judged += 1;
                if let Some(verdict) = &row.verdict {
                    let time_ms = row.time_ms.saturating_add(self.delay_ms);
                    return Some(Outgoing { card: row.card, time_ms, row: verdict, is_payment: false });
                }
            }
            paid += 1;
            Some(Outgoing { card: next.card, time_ms: next.time_ms, row: &next.payment, is_payment: true })
        })
    }
}

impl Row {
    fn new(text: &str, last_ms: i64) -> Row {
        let commas: Vec<usize> = text.match_indices(',').map(|(at, _)| at).collect();
        // What has no place for labels goes into the topic as it is, and from there to the dead letters.
        let whole = Row { payment: text.to_owned(), verdict: None, card: 0, time_ms: last_ms, truth: None };
        if commas.len() != COLUMNS - 1 {
            return whole;
        }
        let (payment, labels) = text.split_at(commas[PAYMENT_COLUMNS - 1]);
        let Ok(Event::Payment(known)) = Event::parse(payment.as_bytes()) else { return whole };
        let mut row = Row { card: known.card, time_ms: known.time_ms, ..whole };
        let mut labels = labels.split(',').skip(1);
        if let (Some(label @ ("0" | "1")), Some(Ok(scenario))) = (labels.next(), labels.next().map(str::parse)) {
            row.payment.truncate(payment.len());
            row.verdict = Some(format!("{},{label}", &text[..commas[VERDICT_COLUMNS - 2]]));
            row.truth = Some(Truth { id: known.id, is_fraud: label == "1", scenario });
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(delay_ms: i64, rows: &[&str]) -> Input {
        let mut rows: Vec<Row> = rows.iter().map(|text| Row::new(text, 0)).collect();
        rows.sort_by_key(|row| row.time_ms);
        Input { rows, checksum: 0, delay_ms }
    }

    fn row(id: u32, second: u32, is_fraud: u32) -> String {
        format!("{id},1970-01-01 00:00:{second:02},7,8,9.5,CP,1,2,3,4,5,6,{second},0,{is_fraud},0")
    }

    /// `id@time` for payments, `id!time` for verdicts, in seconds.
    fn order(delay_ms: i64, rows: &[String]) -> Vec<String> {
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let shown = |event: Outgoing<'_>| {
            let id = event.row.split(',').next().unwrap_or_default();
            format!("{id}{}{}", if event.is_payment { '@' } else { '!' }, event.time_ms / 1_000)
        };
        input(delay_ms, &rows).events().map(shown).collect()
    }

    #[test]
    fn a_verdict_comes_when_its_delay_is_over_and_not_before() {
        let rows = [row(1, 0, 1), row(2, 9, 0), row(3, 10, 0), row(4, 30, 0)];
        assert_eq!(order(10_000, &rows), ["1@0", "2@9", "1!10", "3@10", "2!19", "3!20", "4@30"]);
    }

    #[test]
    fn without_delay_a_verdict_still_comes_after_its_payment() {
        assert_eq!(order(0, &[row(1, 5, 1), row(2, 5, 0)]), ["1@5", "1!5", "2@5"]);
    }

    #[test]
    fn rows_come_in_order_of_time() {
        assert_eq!(order(60_000, &[row(1, 20, 0), row(2, 5, 0)]), ["2@5", "1@20"]);
    }

    #[test]
    fn a_payment_carries_no_label_and_a_malformed_row_is_left_as_it_is() {
        let rows = [row(1, 0, 1), "no,row".to_owned(), row(2, 0, 7)];
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let input = input(0, &rows);
        assert_eq!(input.rows[0].payment.split(',').count(), 14);
        assert_eq!(input.rows[0].verdict.as_deref(), Some("1,1970-01-01 00:00:00,7,8,9.5,1"));
        assert_eq!(input.rows[1].payment, "no,row");
        assert_eq!(input.rows[2].payment, rows[2], "a label that is none makes the row malformed");
        assert!(input.rows[2].verdict.is_none());
    }
}
