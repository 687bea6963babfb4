//! The write-back layer: what every kind of store shares.
//!
//! ```text
//! typed store → RowStore ─┬─ Cache     groups of deserialised rows, by the bytes of their key
//!                         ├─ Writes    which rows are uncommitted, committed, held back
//!                         └─ Backend   the same rows as bytes, some commits older
//! ```
//!
//! A group is all rows of one key: one for a key-value store, all windows of the key for a window store. A group is in
//! memory as a whole or not at all, and leaves only when every row of it has reached the backend.

mod budget;
mod cache;
mod format;
mod group;
mod key;
mod publish;
mod row_buffer;
mod row_store;
mod scan;
mod view;
mod writes;

pub(crate) use budget::LayerBudget;
pub use budget::MemoryBudget;
pub(crate) use format::{Codec, Format, LoadError, LogRow};
pub(crate) use group::{Group, Many, Row, Single};
pub(crate) use key::KeyBytes;
pub(crate) use row_buffer::RowBuffer;
pub(crate) use row_store::{RowStore, RowStoreParts};
pub(crate) use scan::{Direction, Found, MergedRows};
pub(crate) use view::{Closed, View};
