//! One operation of a program, as it stands in the JSON.

use std::time::Duration;

use serde_json::Value;
use streams_core::Error;

/// Access to the fields of an operation (or of a part of one: a store, a window, a branch). A field that must be there
/// and is not panics: the case cannot be run.
#[derive(Clone, Copy)]
pub(super) struct Op<'a>(pub(super) &'a Value);

impl<'a> Op<'a> {
    pub(super) fn has(self, field: &str) -> bool {
        !self.0[field].is_null()
    }

    /// Text that may be absent.
    pub(super) fn text(self, field: &str) -> Option<&'a str> {
        self.0[field].as_str()
    }

    pub(super) fn need(self, field: &str) -> &'a str {
        self.text(field).unwrap_or_else(|| panic!("{} lacks {field}", self.0))
    }

    pub(super) fn number(self, field: &str) -> i64 {
        self.0[field].as_i64().unwrap_or_else(|| panic!("{} lacks the number {field}", self.0))
    }

    /// A number that may be absent.
    pub(super) fn count(self, field: &str) -> Option<u64> {
        self.0[field].as_u64()
    }

    /// A length of time. A negative one, which Kafka refuses when it is used, cannot even be written in Rust: that is our
    /// refusal.
    pub(super) fn duration(self, field: &str) -> Result<Duration, Error> {
        let millis = self.number(field);
        let positive = u64::try_from(millis);
        positive.map(Duration::from_millis).map_err(|_| Error::Config(format!("{field}: {millis} ms is no Duration")))
    }

    pub(super) fn flag(self, field: &str) -> Option<bool> {
        self.0[field].as_bool()
    }

    pub(super) fn part(self, field: &str) -> Option<Op<'a>> {
        self.has(field).then(|| Op(&self.0[field]))
    }

    pub(super) fn parts(self, field: &str) -> impl Iterator<Item = Op<'a>> {
        self.0[field].as_array().into_iter().flatten().map(Op)
    }
}
