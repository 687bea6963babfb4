//! The topology, and what is counted beside it for the screen.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use streams_dsl::prelude::*;

use crate::topics::{COUNTS, LINES};

/// The store of the counts.
pub(crate) const STORE: &str = "counts";

/// Changed words that are shown at once; the rest of a large paste is only counted.
const SHOWN_MAX: usize = 50;

/// Lines → words → groups → counts.
pub(crate) fn word_count(tally: &Arc<Tally>) -> streams_core::Result<Topology> {
    let builder = StreamsBuilder::new();
    let (lines, updates) = (Arc::clone(tally), Arc::clone(tally));
    builder
        .stream::<(), String>(LINES)
        .flat_map_values(move |(), line| {
            let words: Vec<String> = words(&line).collect();
            lines.add(words.len());
            words
        })
        .group_by(|(), word| word.clone())
        .count_with(Materialized::new(STORE))
        .to_stream()
        .peek(move |word, count| updates.update(word, *count))
        .to(COUNTS);
    builder.build()
}

/// The words of a line: maximal runs of Unicode alphanumerics, in lower case.
fn words(line: &str) -> impl Iterator<Item = String> {
    line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// What this run has done, for the screen.
pub(crate) struct Tally {
    lines: AtomicU64,
    words: AtomicU64,
    /// Words whose count has changed since they were last shown, where somebody watches.
    updates: Option<Mutex<BTreeMap<String, i64>>>,
}

impl Tally {
    pub(crate) fn new(is_watched: bool) -> Self {
        Tally { lines: AtomicU64::new(0), words: AtomicU64::new(0), updates: is_watched.then(Mutex::default) }
    }

    fn add(&self, words: usize) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        self.words.fetch_add(words as u64, Ordering::Relaxed);
    }

    fn update(&self, word: &str, count: Option<i64>) {
        if let (Some(updates), Some(count)) = (&self.updates, count) {
            updates.lock().unwrap_or_else(PoisonError::into_inner).insert(word.to_owned(), count);
        }
    }

    /// Lines and words of this run.
    pub(crate) fn lines_and_words(&self) -> (u64, u64) {
        (self.lines.load(Ordering::Relaxed), self.words.load(Ordering::Relaxed))
    }

    /// Writes the counts that have changed.
    pub(crate) fn show_updates(&self) {
        let Some(updates) = &self.updates else { return };
        let changed = std::mem::take(&mut *updates.lock().unwrap_or_else(PoisonError::into_inner));
        if changed.is_empty() {
            return;
        }
        let mut out = io::stdout().lock();
        // Whoever reads our output may have gone; the counting goes on.
        for (word, count) in changed.iter().take(SHOWN_MAX) {
            let _ = writeln!(out, "{count:>10}  {word}");
        }
        if changed.len() > SHOWN_MAX {
            let _ = writeln!(io::stderr(), "… and {} more", changed.len() - SHOWN_MAX);
        }
        let _ = out.flush();
    }
}
