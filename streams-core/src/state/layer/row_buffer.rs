//! Many rows as bytes, on their way to a backend: collected, sorted, the last write of each key kept.

/// Marks a deletion.
const DELETED: u32 = u32::MAX;

/// So many rows are fetched into the processor's cache at a time.
const AHEAD: usize = 16;

/// So much memory, for bytes and for places each, a buffer keeps while it is not used.
const KEPT_BYTES: usize = 64 << 10;

/// Where one row lies.
#[derive(Clone, Copy)]
struct Place {
    /// The first bytes of its key that differ from other keys'.
    prefix: u64,
    at: u32,
    key_length: u32,
    value_length: u32,
}

/// Rows in one piece of memory.
#[derive(Clone, Default)]
pub(crate) struct RowBuffer {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl RowBuffer {
    /// Adds a row: `key` and `value` append theirs; a key is never empty. `value` answers false for a deletion.
    pub(crate) fn push<E>(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let at = self.bytes.len();
        key(&mut self.bytes);
        let value_at = self.bytes.len();
        let is_present = match value(&mut self.bytes) {
            Ok(is_present) => is_present,
            Err(error) => {
                self.bytes.truncate(at);
                return Err(error);
            }
        };
        let narrow = |length: usize| u32::try_from(length).expect("a buffer is taken away long before 4 GiB");
        let value_length = if is_present { narrow(self.bytes.len() - value_at) } else { DELETED };
        let key_length = narrow(value_at - at);
        // The prefix is made when the rows are sorted.
        let place = Place { prefix: 0, at: narrow(at), key_length, value_length };
        self.places.push(place);
        Ok(())
    }

    /// Adds a row that exists as bytes.
    pub(crate) fn push_bytes(&mut self, key: &[u8], value: Option<&[u8]>) {
        let added: Result<(), std::convert::Infallible> = self.push(
            |out| out.extend_from_slice(key),
            |out| {
                out.extend_from_slice(value.unwrap_or_default());
                Ok(value.is_some())
            },
        );
        let Ok(()) = added;
    }

    /// Bytes collected.
    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes.len() + self.places.len() * size_of::<Place>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// A byte of each of the two lines of memory that most rows lie in.
    fn first_and_last(&self, place: &Place) -> u8 {
        let length = if place.value_length == DELETED { 0 } else { place.value_length };
        self.bytes[place.at as usize] ^ self.bytes[(place.at + place.key_length + length) as usize - 1]
    }

    fn key(&self, place: Place) -> &[u8] {
        &self.bytes[place.at as usize..place.at as usize + place.key_length as usize]
    }

    /// Sorts by key and keeps the last write of each.
    pub(crate) fn sort(&mut self) {
        let bytes = &self.bytes;
        let key = |place: &Place| &bytes[place.at as usize..place.at as usize + place.key_length as usize];
        // What all keys begin with tells nothing: the bytes after it decide nearly every comparison, and lie beside the
        // place, so that sorting hardly touches the keys.
        let first = self.places.first().map_or(&[][..], key);
        let common = self.places.iter().fold(first.len(), |common, place| {
            let pairs = key(place).iter().zip(&first[..common]);
            pairs.take_while(|(a, b)| a == b).count()
        });
        for place in &mut self.places {
            let rest = &key(place)[common..];
            let mut eight = [0; 8];
            let length = rest.len().min(8);
            eight[..length].copy_from_slice(&rest[..length]);
            place.prefix = u64::from_be_bytes(eight);
        }
        let order =
            |a: &Place, b: &Place| a.prefix.cmp(&b.prefix).then_with(|| key(a)[common..].cmp(&key(b)[common..]));
        if !self.places.is_sorted_by(|a, b| order(a, b).is_lt()) {
            // Later writes first among equals: the first of each key is the one to keep.
            self.places.sort_unstable_by(|a, b| order(a, b).then(b.at.cmp(&a.at)));
            self.places.dedup_by(|later, kept| order(later, kept).is_eq());
        }
    }

    /// The rows, in their present order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.places.chunks(AHEAD).flat_map(|places| {
            // Sorted rows lie anywhere in memory. Looked at one after the other each would be waited for; looked at
            // together, the waits overlap.
            std::hint::black_box(places.iter().fold(0, |sum: u8, place| sum ^ self.first_and_last(place)));
            places.iter().map(|place| {
                let value_at = place.at as usize + place.key_length as usize;
                let value = match place.value_length {
                    DELETED => None,
                    length => Some(&self.bytes[value_at..value_at + length as usize]),
                };
                (self.key(*place), value)
            })
        })
    }

    /// Empties the buffer, keeping its memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    /// Empties the buffer, keeping no more than a little of its memory: there is one for each store.
    pub(crate) fn clear_and_shrink(&mut self) {
        self.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.places.shrink_to(KEPT_BYTES / size_of::<Place>());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::RowBuffer;

    proptest! {
        #[test]
        fn sorting_keeps_the_last_write_of_each_key(
            rows in vec((vec(0u8..3, 1..12), any::<Option<[u8; 2]>>()), 0..60),
        ) {
            let mut buffer = RowBuffer::default();
            let mut model = BTreeMap::new();
            for (key, value) in &rows {
                buffer.push_bytes(key, value.as_ref().map(|value| &value[..]));
                model.insert(key.clone(), *value);
            }
            buffer.sort();
            let sorted: Vec<_> = buffer.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
            let expected: Vec<_> = model.into_iter().map(|(key, value)| (key, value.map(|v| v.to_vec()))).collect();
            prop_assert_eq!(sorted, expected);
        }
    }
}
