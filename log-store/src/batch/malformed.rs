//! Why bytes are not a record batch.

use std::{borrow::Cow, path::PathBuf};

use crate::Error;

/// Bytes that are not what they should be, without the place: the one who knows the file adds it with
/// [`Malformed::at`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(Cow<'static, str>);

impl Malformed {
    #[cold]
    pub(crate) fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Malformed(reason.into())
    }

    /// The error with its place: byte `position` of `file`.
    #[must_use]
    pub fn at(self, file: impl Into<PathBuf>, position: u64) -> Error {
        Error::Corrupt { file: file.into(), position, reason: self.0.into_owned() }
    }
}
