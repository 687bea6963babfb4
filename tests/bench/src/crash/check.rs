//! What must have come out, by a plain map, beside what did.

use std::collections::HashMap;

use anyhow::Context;
use streams_dsl::prelude::*;

use super::{
    program::{COUNTED, COUNTS, LINES, TOTALLED, TOTALS, Totals, line_number},
    text::{Text, WINDOW_MS, number_of, share_of},
};
use crate::application::Bench;

/// Start and group of a window.
type WindowKey = (i64, u64);

/// What is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Lines that were acknowledged and are gone, and updates that nobody sees.
    pub(crate) lost: u64,
    /// Lines and updates that are there twice.
    pub(crate) duplicated: u64,
    /// Rows of stores, and results, that are not what a plain map has.
    pub(crate) diverged: u64,
}

/// The plain map.
pub(crate) struct Expected {
    counts: Vec<i64>,
    totals: HashMap<WindowKey, Totals>,
    pub(crate) words: u64,
}

impl Expected {
    /// Of everything that the lines' partitions hold.
    pub(crate) fn new(text: Text, ends: &[u64]) -> anyhow::Result<Self> {
        let mut expected = Expected { counts: vec![0; usize::try_from(text.keys)?], totals: HashMap::new(), words: 0 };
        for (partition, end) in ends.iter().enumerate() {
            for line in (0..*end).map(|offset| line_number(offset, partition, ends.len())) {
                let start = text.time(line).div_euclid(WINDOW_MS) * WINDOW_MS;
                for word in text.words(line) {
                    expected.counts[usize::try_from(word)?] += 1;
                    expected.words += 1;
                    let (bucket, value) = share_of(word);
                    let totals = expected.totals.entry((start, bucket)).or_default();
                    totals.count += 1;
                    totals.sum += value;
                }
            }
        }
        Ok(expected)
    }
}

impl Wrong {
    /// Reads the lines again: each partition must hold its own, in order, as many as were acknowledged.
    pub(crate) fn lines(&mut self, bench: &Bench, text: Text, fed: &[u64]) -> anyhow::Result<()> {
        let partitions = fed.len();
        let (mut next, mut spelled) = (vec![0_u64; partitions], String::new());
        bench.read(LINES, |key, line| {
            let Some(number) = key.and_then(|key| Some(u64::from_be_bytes(key.try_into().ok()?))) else {
                self.diverged += 1;
                return;
            };
            text.write(number, &mut spelled);
            self.diverged += u64::from(line != Some(spelled.as_bytes()));
            let (partition, offset) = (number as usize % partitions, number / partitions as u64);
            self.step(&mut next[partition], offset);
        })?;
        for (next, fed) in next.iter().zip(fed) {
            self.lost += fed.saturating_sub(*next);
        }
        Ok(())
    }

    /// Compares the running application's stores.
    pub(crate) fn stores(&mut self, streams: &Streams, expected: &Expected) -> anyhow::Result<()> {
        let kind = QueryableStoreTypes::key_value_store::<String, i64>();
        let counts = streams.store(StoreQueryParameters::from_name_and_type(COUNTS, kind))?;
        let mut found = 0;
        for row in counts.all()? {
            let (word, count) = row?;
            let known = number_of(&word).and_then(|number| expected.counts.get(usize::try_from(number).ok()?));
            self.diverged += u64::from(known != Some(&count));
            found += 1;
        }
        let words = expected.counts.iter().filter(|count| **count > 0).count() as u64;
        self.diverged += words.saturating_sub(found);

        let kind = QueryableStoreTypes::window_store::<u64, Totals>();
        let totals = streams.store(StoreQueryParameters::from_name_and_type(TOTALS, kind))?.all()?;
        for (window, found) in &totals {
            let known = expected.totals.get(&(window.window.start, window.key));
            self.diverged += u64::from(known != Some(found));
        }
        self.diverged += (expected.totals.len() as u64).saturating_sub(totals.len() as u64);
        Ok(())
    }

    /// Follows every update that readers of committed records see: each count comes once, after the one before.
    pub(crate) fn results(&mut self, bench: &Bench, expected: &Expected) -> anyhow::Result<()> {
        let mut counts = vec![0_u64; expected.counts.len()];
        bench.read(COUNTED, |word, count| {
            let number = word.and_then(|word| number_of(std::str::from_utf8(word).ok()?));
            let known = number.and_then(|number| counts.get_mut(usize::try_from(number).ok()?));
            let count = count.and_then(|count| Some(i64::from_be_bytes(count.try_into().ok()?)));
            match (known, count) {
                (Some(known), Some(count)) => self.update(known, count),
                _ => self.diverged += 1,
            }
        })?;
        for (expected, found) in expected.counts.iter().zip(&counts) {
            self.last(*expected, *found);
        }

        let serde = <Totals as Data>::Serde::default();
        let mut totals: HashMap<WindowKey, (u64, Totals)> = HashMap::with_capacity(expected.totals.len());
        bench.read(TOTALLED, |window, found| {
            let window = window.and_then(|window| {
                let (start, bucket) = std::str::from_utf8(window).ok()?.split_once(' ')?;
                Some((start.parse().ok()?, bucket.parse().ok()?))
            });
            match (window, Serde::<Totals>::deserialize(&serde, found)) {
                (Some(window), Ok(found)) => {
                    let known = totals.entry(window).or_default();
                    self.update(&mut known.0, found.count);
                    known.1 = found;
                }
                _ => self.diverged += 1,
            }
        })?;
        for (window, expected) in &expected.totals {
            let (count, found) = totals.get(window).copied().unwrap_or_default();
            self.last(expected.count, count);
            self.diverged += u64::from(found != *expected);
        }
        self.diverged += (totals.len() as u64).saturating_sub(expected.totals.len() as u64);
        Ok(())
    }

    fn update(&mut self, known: &mut u64, count: i64) {
        match u64::try_from(count).ok().and_then(|count| count.checked_sub(1)) {
            Some(before) => self.step(known, before),
            None => self.diverged += 1,
        }
    }

    /// `next` is what should come, and `came` what did.
    fn step(&mut self, next: &mut u64, came: u64) {
        if came < *next {
            self.duplicated += 1;
        } else {
            self.lost += came - *next;
            *next = came + 1;
        }
    }

    /// The last update of a key.
    fn last(&mut self, expected: i64, found: u64) {
        let expected = expected.unsigned_abs();
        self.lost += expected.saturating_sub(found);
        self.duplicated += found.saturating_sub(expected);
    }

    /// Folders that were set aside as damaged.
    pub(crate) fn set_aside(folder: &std::path::Path) -> anyhow::Result<u64> {
        let mut found = 0;
        for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.contains("damaged") {
                found += 1;
            } else if path.is_dir() {
                found += Self::set_aside(&path)?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_losses_and_steps_back_are_duplicates() {
        let (mut wrong, mut known) = (Wrong::default(), 0);
        for count in [1, 2, 2, 5, 4] {
            wrong.update(&mut known, count);
        }
        assert_eq!(wrong, Wrong { lost: 2, duplicated: 2, diverged: 0 });
        wrong.last(7, known);
        assert_eq!(wrong, Wrong { lost: 4, duplicated: 2, diverged: 0 });
        wrong.update(&mut known, 0);
        assert_eq!(wrong.diverged, 1);
    }
}
