//! Payments that a model has scored and that wait for their verdicts.
//!
//! They are written down one after the other in pages of a state store. A page is written when a commit comes, and deleted
//! when nobody on it waits any more; a row for each payment would be written once and deleted once. Bounded: the oldest page
//! goes when there are more than [`PAGES_MAX`].

use std::collections::VecDeque;

use hashbrown::HashMap;
use streams_core::{
    processor::StoreHandle,
    serde::{Encoded, SerdeError},
    state::KeyValueStore,
};
use streams_dsl::prelude::*;

use crate::features::Features;

const EXAMPLES_PER_PAGE: usize = 64;
/// So many payments may wait: 262,144.
const PAGES_MAX: usize = 4_096;

/// A payment as a model saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Example {
    id: i64,
    pub(crate) features: Features,
    /// The score that it was given.
    pub(crate) score: f32,
    is_waiting: bool,
}

/// Examples with consecutive numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page {
    examples: Vec<Example>,
    /// Not as its store has it.
    is_changed: bool,
}

/// The store of the pages, by their numbers.
pub(crate) type Pages = KeyValueStore<u64, Page>;

/// The pages in memory.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pages: VecDeque<Page>,
    /// Number of the first page.
    first: u64,
    /// Where each payment is: the number of its example, counted through all pages.
    numbers: HashMap<i64, u64>,
    /// Pages that have left the memory, but not the store.
    gone: Vec<u64>,
}

const PER_PAGE: u64 = EXAMPLES_PER_PAGE as u64;

impl Waiting {
    /// Reads all pages.
    pub(crate) fn open<K, V>(
        ctx: &mut ProcessorContext<'_, K, V>,
        store: StoreHandle<Pages>,
    ) -> ProcessResult<Waiting> {
        let mut waiting = Waiting::default();
        for row in ctx.store(store).all()? {
            let (number, page) = row?;
            waiting.restore(number, page);
        }
        Ok(waiting)
    }

    /// Takes up a page that comes after those before it.
    fn restore(&mut self, number: u64, page: Page) {
        if self.pages.is_empty() {
            self.first = number;
        }
        // Between pages that wait some may be gone.
        self.pages.resize((number - self.first) as usize, Page::default());
        for (example, number) in page.examples.iter().zip(number * PER_PAGE..) {
            if example.is_waiting {
                self.numbers.insert(example.id, number);
            }
        }
        self.pages.push_back(page);
    }

    /// Adds a payment.
    pub(crate) fn add(&mut self, id: i64, features: Features, score: f32) {
        if self.pages.back().is_none_or(|page| page.examples.len() == EXAMPLES_PER_PAGE) {
            self.pages.push_back(Page::default());
            if self.pages.len() > PAGES_MAX {
                self.forget_oldest();
            }
        }
        let last = self.pages.len() - 1;
        let page = &mut self.pages[last];
        let number = (self.first + last as u64) * PER_PAGE + page.examples.len() as u64;
        page.examples.push(Example { id, features, score, is_waiting: true });
        page.is_changed = true;
        if let Some(before) = self.numbers.insert(id, number) {
            // The same payment again: its verdict is about this one.
            self.release(before);
        }
    }

    /// Removes a payment whose verdict has come; `None` if it does not wait.
    pub(crate) fn take(&mut self, id: i64) -> Option<Example> {
        let number = self.numbers.remove(&id)?;
        let example = self.release(number);
        while self.pages.front().is_some_and(Page::is_done) {
            self.forget_oldest();
        }
        example
    }

    /// Puts what has changed into the store.
    pub(crate) fn save<K, V>(
        &mut self,
        ctx: &mut ProcessorContext<'_, K, V>,
        store: StoreHandle<Pages>,
    ) -> ProcessResult {
        for number in self.gone.drain(..) {
            ctx.store(store).delete(&number)?;
        }
        for (page, number) in self.pages.iter_mut().zip(self.first..) {
            if std::mem::take(&mut page.is_changed) {
                ctx.store(store).put(&number, page.clone())?;
            }
        }
        Ok(())
    }

    fn release(&mut self, number: u64) -> Option<Example> {
        let page = self.pages.get_mut((number / PER_PAGE).checked_sub(self.first)? as usize)?;
        let example = page.examples.get_mut((number % PER_PAGE) as usize)?;
        example.is_waiting = false;
        page.is_changed = true;
        Some(*example)
    }

    fn forget_oldest(&mut self) {
        let Some(page) = self.pages.pop_front() else { return };
        for (example, number) in page.examples.iter().zip(self.first * PER_PAGE..) {
            if self.numbers.get(&example.id) == Some(&number) {
                self.numbers.remove(&example.id);
            }
        }
        self.gone.push(self.first);
        self.first += 1;
    }
}

impl Page {
    fn is_done(&self) -> bool {
        self.examples.len() == EXAMPLES_PER_PAGE && self.examples.iter().all(|example| !example.is_waiting)
    }
}

impl Data for Page {
    type Serde = Layout;
}

/// Pages as bytes. Most of what is written at a commit are pages, so they are copied and not described field by field.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout;

impl Serde<Page> for Layout {
    fn serialize(&self, page: &Page, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        for Example { id, features, score, is_waiting } in &page.examples {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&score.to_le_bytes());
            out.push(u8::from(*is_waiting));
            features.write(out);
        }
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Page, SerdeError> {
        let mut rest = bytes.unwrap_or_default();
        let mut page = Page::default();
        while !rest.is_empty() {
            let (example, after) = read(rest).ok_or_else(|| SerdeError::new("no page of examples"))?;
            page.examples.push(example);
            rest = after;
        }
        Ok(page)
    }
}

fn read(bytes: &[u8]) -> Option<(Example, &[u8])> {
    let (id, rest) = bytes.split_first_chunk()?;
    let (score, rest) = rest.split_first_chunk()?;
    let (is_waiting, rest) = rest.split_first()?;
    let (features, rest) = Features::read(rest)?;
    let (id, score, is_waiting) = (i64::from_le_bytes(*id), f32::from_le_bytes(*score), *is_waiting == 1);
    Some((Example { id, features, score, is_waiting }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(ids: std::ops::Range<i64>) -> Waiting {
        let mut waiting = Waiting::default();
        ids.for_each(|id| waiting.add(id, Features::default(), id as f32));
        waiting
    }

    /// As it is after a restart.
    fn reopened(waiting: &Waiting) -> Waiting {
        let mut other = Waiting::default();
        for (page, number) in waiting.pages.iter().zip(waiting.first..) {
            let mut bytes = Vec::new();
            let _ = Layout.serialize(page, &mut bytes).unwrap();
            other.restore(number, Layout.deserialize(Some(&bytes)).unwrap());
        }
        other
    }

    #[test]
    fn a_payment_waits_for_one_verdict() {
        let mut waiting = with(0..200);
        assert_eq!(waiting.take(70).map(|example| example.score), Some(70.0));
        assert_eq!(waiting.take(70), None, "the verdict has come before");
        assert_eq!(waiting.take(200), None, "nobody has paid that");
    }

    #[test]
    fn pages_go_when_nobody_on_them_waits() {
        let per_page = EXAMPLES_PER_PAGE as i64;
        let mut waiting = with(0..3 * per_page);
        (1..2 * per_page).for_each(|id| assert!(waiting.take(id).is_some()));
        assert_eq!((waiting.first, waiting.pages.len()), (0, 3), "the first payment still waits");
        assert!(waiting.take(0).is_some());
        assert_eq!((waiting.first, waiting.pages.len()), (2, 1));
        assert_eq!(waiting.gone, [0, 1]);
        assert!(waiting.take(2 * per_page).is_some());
    }

    #[test]
    fn a_restart_changes_nothing() {
        let mut waiting = with(0..1_000);
        for id in (0..900).filter(|id| id % 5 != 0) {
            waiting.take(id);
        }
        let mut other = reopened(&waiting);
        assert_eq!(other.numbers, waiting.numbers);
        for id in 0..1_100 {
            waiting.add(2_000 + id, Features::default(), 0.5);
            other.add(2_000 + id, Features::default(), 0.5);
            assert_eq!(waiting.take(id), other.take(id), "{id}");
        }
    }

    #[test]
    fn a_payment_that_comes_again_has_one_verdict() {
        let mut waiting = with(7..8);
        waiting.add(7, Features::default(), 0.2);
        for mut waiting in [reopened(&waiting), waiting] {
            assert_eq!(waiting.take(7).map(|example| example.score), Some(0.2));
            assert_eq!(reopened(&waiting).take(7), None);
            assert_eq!(waiting.take(7), None);
        }
    }

    #[test]
    fn what_has_waited_too_long_makes_place() {
        let kept = (EXAMPLES_PER_PAGE * PAGES_MAX) as i64;
        let mut waiting = with(0..kept + 1);
        assert_eq!(waiting.take(0), None);
        assert!(waiting.take(EXAMPLES_PER_PAGE as i64).is_some());
        assert_eq!(waiting.pages.len(), PAGES_MAX);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let mut bytes = Vec::new();
        let _ = Layout.serialize(&with(0..1).pages[0], &mut bytes).unwrap();
        for end in 1..bytes.len() {
            assert!(Layout.deserialize(Some(&bytes[..end])).is_err(), "{end}");
        }
    }
}
