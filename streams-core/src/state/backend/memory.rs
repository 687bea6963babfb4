//! An ordered map: rows of in-memory stores.

use std::{collections::BTreeMap, ops::Bound};

use log_store::Offset;

use super::{Backend, Cursor, KeyRange};
use crate::{
    Result,
    state::layer::{Direction, KeyBytes, RowBuffer},
};

/// Rows in memory. Gone at the end of the process.
#[derive(Clone, Default)]
pub(crate) struct MemoryBackend {
    rows: BTreeMap<KeyBytes, Box<[u8]>>,
    position: Option<Offset>,
}

type Range<'a> = std::collections::btree_map::Range<'a, KeyBytes, Box<[u8]>>;

struct MemoryCursor<'a> {
    rest: Range<'a>,
    direction: Direction,
    row: Option<(&'a [u8], &'a [u8])>,
}

impl Cursor for MemoryCursor<'_> {
    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.row
    }

    fn advance(&mut self) -> Result<()> {
        let row = match self.direction {
            Direction::Forward => self.rest.next(),
            Direction::Backward => self.rest.next_back(),
        };
        self.row = row.map(|(key, value)| (key.as_slice(), &**value));
        Ok(())
    }
}

impl Backend for MemoryBackend {
    fn get(&self, row: &mut Vec<u8>) -> Result<bool> {
        let Some(value) = self.rows.get(&row[..]) else { return Ok(false) };
        row.extend_from_slice(value);
        Ok(true)
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, direction: Direction) -> Result<Box<dyn Cursor + '_>> {
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = match to {
            // A range that ends before it begins is empty.
            Some(to) if to < from => self.rows.range::<[u8], _>((Bound::Excluded(from), Bound::Included(from))),
            _ => self.rows.range::<[u8], _>((Bound::Included(from), end)),
        };
        let mut cursor = MemoryCursor { rest, direction, row: None };
        cursor.advance()?;
        Ok(Box::new(cursor))
    }

    fn scan_group(&self, prefix: &[u8]) -> Result<Box<dyn Cursor + '_>> {
        self.scan(prefix, super::prefix_end(prefix).as_deref(), Direction::Forward)
    }

    fn apply(&mut self, rows: &RowBuffer, dropped: &[KeyRange], position: Option<Offset>) -> Result<()> {
        let fresh = |(key, value): (&[u8], Option<&[u8]>)| value.map(|value| (KeyBytes::new(key), value.into()));
        if self.rows.is_empty() {
            self.rows = rows.iter().filter_map(fresh).collect();
        } else {
            for (key, value) in rows.iter() {
                match value {
                    None => drop(self.rows.remove(key)),
                    Some(value) => match self.rows.get_mut(key) {
                        Some(row) => *row = value.into(),
                        None => drop(self.rows.insert(KeyBytes::new(key), value.into())),
                    },
                }
            }
        }
        for (from, to) in dropped {
            let gone: Vec<KeyBytes> = self
                .rows
                .range::<[u8], _>((Bound::Included(&from[..]), Bound::Excluded(&to[..])))
                .map(|row| row.0.clone())
                .collect();
            for key in gone {
                self.rows.remove(&key);
            }
        }
        self.position = position.or(self.position);
        Ok(())
    }

    fn position(&self) -> Option<Offset> {
        self.position
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn approximate_rows(&self) -> u64 {
        self.rows.len() as u64
    }

    fn reset(&mut self, _reason: &str) -> Result<()> {
        *self = MemoryBackend::default();
        Ok(())
    }
}
