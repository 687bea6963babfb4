//! An update that is held back, in Kafka Streams' bytes.
//!
//! ```text
//! where it came from | prior value | old value | new value | buffer time i64
//! ```
//!
//! Values are preceded by their length (i32): -1 is null, -2 an old value that equals the prior one.

use streams_core::{
    Change,
    serde::{Data, Encoded, SerdeError, SharedSerde},
};

use crate::buffer::{RecordContext, put_bytes, take_bytes, take_exact, take_i32, take_i64};

/// Length of an old value that is the prior value too.
const SAME_AS_PRIOR: i32 = -2;

/// An update that is held back.
#[derive(Clone, Debug)]
pub(super) struct Row<K, V> {
    pub(super) key: K,
    /// The value before the first of the updates that this one stands for.
    pub(super) prior: Option<V>,
    pub(super) change: Change<V>,
    pub(super) context: RecordContext,
    /// Bytes that it counts for, if the buffer is limited by bytes.
    pub(super) bytes: u64,
}

/// The serialised values of a row.
pub(super) struct Values {
    prior: Option<Vec<u8>>,
    old: Option<Vec<u8>>,
    new: Option<Vec<u8>>,
}

impl Values {
    pub(super) fn of<K, V: Data>(row: &Row<K, V>, serde: &SharedSerde<V>) -> Result<Self, SerdeError> {
        let bytes = |value: Option<&V>| -> Result<Option<Vec<u8>>, SerdeError> {
            let Some(value) = value else { return Ok(None) };
            let mut out = Vec::new();
            Ok((serde.serialize(value, &mut out)? == Encoded::Bytes).then_some(out))
        };
        Ok(Values {
            prior: bytes(row.prior.as_ref())?,
            old: bytes(row.change.old.as_ref())?,
            new: bytes(row.change.new.as_ref())?,
        })
    }

    /// Bytes that a row counts for: buffer time, key, values and where it came from.
    pub(super) fn counted_bytes(&self, key: &[u8], context: &RecordContext) -> u64 {
        let length = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let old = if self.old == self.prior { 0 } else { length(&self.old) };
        let total = 8 + key.len() + length(&self.prior) + old + length(&self.new) + context.memory_bytes();
        total as u64
    }

    pub(super) fn encode(
        &self,
        context: &RecordContext,
        buffer_time: i64,
        out: &mut Vec<u8>,
    ) -> Result<(), SerdeError> {
        context.encode(out)?;
        put_bytes(out, self.prior.as_deref())?;
        match &self.old {
            Some(_) if self.old == self.prior => out.extend_from_slice(&SAME_AS_PRIOR.to_be_bytes()),
            old => put_bytes(out, old.as_deref())?,
        }
        put_bytes(out, self.new.as_deref())?;
        out.extend_from_slice(&buffer_time.to_be_bytes());
        Ok(())
    }
}

/// Reads a row of the changelog, with its buffer time.
pub(super) fn decode<K, V: Data>(
    key: K,
    mut bytes: &[u8],
    serde: &SharedSerde<V>,
) -> Result<(i64, Row<K, V>), SerdeError> {
    let bytes = &mut bytes;
    let value = |bytes: Option<&[u8]>| bytes.map(|bytes| serde.deserialize(Some(bytes))).transpose();
    let context = RecordContext::decode(bytes)?;
    let prior = value(take_bytes(bytes)?)?;
    let old = match take_i32(bytes)? {
        SAME_AS_PRIOR => prior.clone(),
        -1 => None,
        length => value(Some(take_exact(bytes, length)?))?,
    };
    let new = value(take_bytes(bytes)?)?;
    let buffer_time = take_i64(bytes)?;
    Ok((buffer_time, Row { key, prior, change: Change::new(new, old), context, bytes: 0 }))
}

#[cfg(test)]
mod tests {
    use log_store::Headers;
    use proptest::prelude::*;
    use streams_core::serde::default_serde;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_read_back(prior: Option<String>, old: Option<String>, new: Option<String>, time: i64) {
            let context = RecordContext { timestamp: 5, headers: Headers::new(), metadata: None };
            let change = Change::new(new, old);
            let row = Row { key: (), prior, change, context, bytes: 0 };
            let mut out = Vec::new();
            Values::of(&row, &default_serde()).unwrap().encode(&row.context, time, &mut out).unwrap();
            let (read_time, read) = decode((), &out, &default_serde::<String>()).unwrap();
            prop_assert_eq!((read_time, read.prior, read.change), (time, row.prior, row.change));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = decode((), &bytes, &default_serde::<String>());
        }
    }
}
