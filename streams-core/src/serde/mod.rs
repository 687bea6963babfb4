//! Values to bytes and back.
//!
//! A [`Serde`] turns one type into bytes and back; [`Data`] names the serde that a type has unless another is given,
//! so standard types need none at the call site and a struct of yours gets one with one line:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use streams_core::serde::{Data, Json};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Payment { card: u64, cents: i64 }
//!
//! impl Data for Payment { type Serde = Json; }
//! ```
//!
//! **Null is typed.** `String` promises bytes that are not null; `Option<String>` sees nulls; `()` is always null and
//! ignores what it reads. A null where the type cannot hold one is a deserialization error, like any malformed record.

mod format;
mod primitive;
mod windowed;

use std::{fmt, sync::Arc};

pub use format::{Bincode, Json, Postcard};
pub use primitive::{BytesSerde, NumberSerde, OptionSerde, StringSerde, UnitSerde, UuidSerde};
pub use windowed::{SessionWindowedSerde, TimeWindowedSerde, Window, Windowed};

/// Whether a value became bytes or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Encoded {
    /// Bytes were appended (perhaps none: an empty string is not null).
    Bytes,
    /// The value is null; nothing was appended.
    Null,
}

/// Bytes that are no value of the type, or a value that has no bytes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SerdeError(pub String);

impl SerdeError {
    /// An error with this text.
    pub fn new(text: impl fmt::Display) -> Self {
        SerdeError(text.to_string())
    }
}

/// Turns values of `T` into bytes and back. Shared between threads; holds no state of a record.
pub trait Serde<T>: Send + Sync + 'static {
    /// Appends the bytes of `value` to `out`.
    ///
    /// # Errors
    ///
    /// If the value has no representation.
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<Encoded, SerdeError>;

    /// Which of the bytes of a serialised key choose its partition: all of them. A windowed key goes where its key goes.
    fn partition_bytes<'a>(&self, serialized: &'a [u8]) -> &'a [u8] {
        serialized
    }

    /// Reads a value; `None` is null.
    ///
    /// # Errors
    ///
    /// If the bytes are no such value, or null where the type has none.
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<T, SerdeError>;
}

/// A serde shared by the nodes and stores that use it.
pub type SharedSerde<T> = Arc<dyn Serde<T>>;

/// A type that can be a key or a value of a topic, with the serde it has unless another is given.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key or a value: it has no serde",
    label = "this type has no serde",
    note = "one line gives it one: `impl Data for {Self} {{ type Serde = Json; }}`, or `Postcard`, `Bincode`, one of your own"
)]
pub trait Data: Clone + Send + Sync + 'static {
    /// The serde used when none is given.
    type Serde: Serde<Self> + Default;

    /// True if this value is written as null. Operators that drop null keys or values ask this.
    #[inline]
    fn is_null(&self) -> bool {
        false
    }
}

/// The serde of `T` when none is given.
#[must_use]
pub fn default_serde<T: Data>() -> SharedSerde<T> {
    Arc::new(T::Serde::default())
}
