//! The topology, and what is counted beside it for the screen.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use streams_dsl::prelude::*;

use crate::{
    progress::Progress,
    topics::{COUNTS, LINES},
};

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
            let tally = Arc::clone(&lines);
            tally.lines.fetch_add(1, Ordering::Relaxed);
            words(line).inspect(move |_| _ = tally.words.fetch_add(1, Ordering::Relaxed))
        })
        .group_by(|(), word| word.clone())
        .count_with(Materialized::new(STORE))
        .to_stream()
        .peek(move |word, count| updates.update(word, *count))
        .to(COUNTS);
    builder.build()
}

/// The words of a line: maximal runs of Unicode alphanumerics, in lower case. One after the other, since the words of a
/// long line take far more memory than the line.
fn words(line: String) -> impl Iterator<Item = String> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &line[at..];
        let start = rest.find(char::is_alphanumeric)?;
        let end = rest[start..].find(|c: char| !c.is_alphanumeric()).map_or(rest.len(), |length| start + length);
        at += end;
        Some(rest[start..end].to_lowercase())
    })
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

    fn update(&self, word: &str, count: Option<i64>) {
        if let (Some(updates), Some(count)) = (&self.updates, count) {
            updates.lock().unwrap_or_else(PoisonError::into_inner).insert(word.to_owned(), count);
        }
    }

    /// Lines and words of this run.
    pub(crate) fn lines_and_words(&self) -> (u64, u64) {
        (self.lines.load(Ordering::Relaxed), self.words.load(Ordering::Relaxed))
    }

    /// Writes the counts that have changed; false if nobody reads them any more.
    pub(crate) fn show_updates(&self, progress: &Progress) -> io::Result<bool> {
        let Some(updates) = &self.updates else { return Ok(true) };
        let changed = std::mem::take(&mut *updates.lock().unwrap_or_else(PoisonError::into_inner));
        if changed.is_empty() {
            return Ok(true);
        }
        let mut text = String::new();
        for (word, count) in changed.iter().take(SHOWN_MAX) {
            text += &format!("{count:>10}  {word}\n");
        }
        let is_read = progress.beside(|| examples::print(&text))?;
        if changed.len() > SHOWN_MAX {
            progress.say(&format!("… and {} more", changed.len() - SHOWN_MAX));
        }
        Ok(is_read)
    }
}
