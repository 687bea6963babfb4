//! Key-value stores as other threads read them.

use std::sync::Arc;

use super::{
    ValueAndTimestamp,
    backend::prefix_end,
    key_value::ROW,
    layer::{Closed, Codec, Direction, View},
};
use crate::{
    Error, Result,
    serde::{Encoded, SerdeError, SharedSerde},
};

/// Rows that a scan reads at once, under one lock and of one commit.
const PAGE_ROWS: usize = 512;

/// The committed rows of one task's store.
pub(crate) struct KeyValueReader<K, V> {
    pub(super) name: String,
    pub(super) view: Arc<View>,
    pub(super) key_serde: SharedSerde<K>,
    pub(super) codec: Arc<dyn Codec<V>>,
}

/// Which keys a scan reads, as serialised bytes.
pub(crate) struct Span {
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    direction: Direction,
}

/// Rows, and where the next ones begin.
pub(crate) struct Rows<K, V> {
    pub(crate) rows: Vec<(K, V)>,
    pub(crate) rest: Option<Span>,
}

/// A reader whose values are of the type that was asked for.
pub(crate) trait ReadKeyValue<K, V>: Send + Sync {
    fn get(&self, key: &K) -> Result<Option<V>>;
    /// The span from one key to another, both included.
    fn span(&self, from: Option<&K>, to: Option<&K>, direction: Direction) -> Result<Span>;
    fn page(&self, span: Span) -> Result<Rows<K, V>>;
    fn approximate_rows(&self) -> Result<u64>;
}

impl Span {
    /// Keys whose serialised form begins with `prefix`.
    pub(crate) fn of_prefix(prefix: &[u8]) -> Self {
        let from = [&[ROW], prefix].concat();
        Span { to: prefix_end(&from), from, direction: Direction::Forward }
    }
}

impl<K: 'static, V> KeyValueReader<K, V> {
    fn closed(&self, _: Closed) -> Error {
        let reason = "its task has moved, or begins again from its last commit; ask Streams::store again".to_owned();
        Error::InvalidStateStore { store: self.name.clone(), reason }
    }

    #[cold]
    fn unfit(&self, what: &str, error: &SerdeError) -> Error {
        let reason = format!("the {what} does not fit its serde: {error}");
        Error::InvalidStateStore { store: self.name.clone(), reason }
    }

    /// Appends the key under which the backend has the row.
    fn row_key(&self, key: &K, out: &mut Vec<u8>) -> Result<()> {
        out.push(ROW);
        match self.key_serde.serialize(key, out) {
            Ok(Encoded::Bytes) => Ok(()),
            Ok(Encoded::Null) => Err(self.unfit("key", &SerdeError::new("it is null"))),
            Err(error) => Err(self.unfit("key", &error)),
        }
    }
}

impl<K: 'static, V: 'static> ReadKeyValue<K, V> for KeyValueReader<K, V> {
    fn get(&self, key: &K) -> Result<Option<V>> {
        let mut row = Vec::with_capacity(64);
        self.row_key(key, &mut row)?;
        let length = row.len();
        if !self.view.get(&mut row).map_err(|closed| self.closed(closed))?? {
            return Ok(None);
        }
        self.codec.decode_row(&row[length..]).map(Some).map_err(|error| self.unfit("stored value", &error))
    }

    fn span(&self, from: Option<&K>, to: Option<&K>, direction: Direction) -> Result<Span> {
        let mut span = Span { direction, ..Span::of_prefix(&[]) };
        if let Some(from) = from {
            span.from.clear();
            self.row_key(from, &mut span.from)?;
        }
        if let Some(to) = to {
            let mut end = Vec::new();
            self.row_key(to, &mut end)?;
            // The least key after it, so that it is included.
            end.push(0);
            span.to = Some(end);
        }
        Ok(span)
    }

    fn page(&self, mut span: Span) -> Result<Rows<K, V>> {
        let page = self.view.page(&span.from, span.to.as_deref(), span.direction, PAGE_ROWS);
        let page = page.map_err(|closed| self.closed(closed))??;
        let rest = match page.rows.last() {
            Some((last, _)) if page.has_more => {
                match span.direction {
                    Direction::Forward => {
                        span.from.clone_from(last);
                        span.from.push(0);
                    }
                    Direction::Backward => span.to = Some(last.clone()),
                }
                Some(span)
            }
            _ => None,
        };
        let mut rows = Vec::with_capacity(page.rows.len());
        for (key, value) in &page.rows {
            let key = self.key_serde.deserialize(Some(&key[1..]));
            let key = key.map_err(|error| self.unfit("stored key", &error))?;
            let value = self.codec.decode_row(value).map_err(|error| self.unfit("stored value", &error))?;
            rows.push((key, value));
        }
        Ok(Rows { rows, rest })
    }

    fn approximate_rows(&self) -> Result<u64> {
        self.view.approximate_rows().map_err(|closed| self.closed(closed))
    }
}

/// The values of a timestamped store without their times.
pub(crate) struct WithoutTimes<K, V>(pub(crate) Arc<KeyValueReader<K, ValueAndTimestamp<V>>>);

impl<K: 'static, V: 'static> ReadKeyValue<K, V> for WithoutTimes<K, V> {
    fn get(&self, key: &K) -> Result<Option<V>> {
        Ok(self.0.get(key)?.map(|found| found.value))
    }

    fn span(&self, from: Option<&K>, to: Option<&K>, direction: Direction) -> Result<Span> {
        self.0.span(from, to, direction)
    }

    fn page(&self, span: Span) -> Result<Rows<K, V>> {
        let Rows { rows, rest } = self.0.page(span)?;
        Ok(Rows { rows: rows.into_iter().map(|(key, found)| (key, found.value)).collect(), rest })
    }

    fn approximate_rows(&self) -> Result<u64> {
        self.0.approximate_rows()
    }
}
