//! Features: what is known of a payment, cut into bins, each bin a place in a table of weights.
//!
//! Because everything is cut into bins, a linear model can draw any curve through each feature; where two features mean
//! more together than alone, each pair of their bins has a place of its own.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

/// One of `count` bins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bin {
    index: u16,
    count: u16,
}

impl Bin {
    /// `value` between `least` and `most`, both included; what lies outside counts as the nearer one.
    pub(crate) fn of(value: i32, least: i32, most: i32) -> Bin {
        let index = (value.clamp(least, most) - least) as u16;
        Bin { index, count: (most - least + 1) as u16 }
    }

    /// The power of `base` below `value`, between `least` and `most`. What is not positive is the least.
    pub(crate) fn log(value: f32, base: f32, least: i32, most: i32) -> Bin {
        let power = if value > 0.0 { (value.ln() / base.ln()).floor() as i32 } else { least };
        Bin::of(power, least, most)
    }

    /// Both bins as one.
    pub(crate) fn with(self, other: Bin) -> Bin {
        Bin { index: self.index * other.count + other.index, count: self.count * other.count }
    }
}

/// Features that a payment can have.
pub(crate) const FEATURES_MAX: usize = 32;
/// Length, end, and two bytes for each place.
const BYTES_MAX: usize = 3 + 2 * FEATURES_MAX;

/// The features of one payment: of each its place. Which bins a feature has never depends on the payment, so that a
/// place always means the same.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Features {
    places: [u16; FEATURES_MAX],
    len: u8,
    /// First place of the next feature.
    end: u16,
}

impl Features {
    /// Adds the next feature.
    pub(crate) fn add(&mut self, bin: Bin) {
        self.places[usize::from(self.len)] = self.end + bin.index;
        self.len += 1;
        self.end += bin.count;
    }

    /// As bytes that [`Features::read`] reads.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes()[..self.len_bytes()]);
    }

    fn len_bytes(&self) -> usize {
        3 + 2 * usize::from(self.len)
    }

    /// As bytes, and zeros behind them: all places at once take less time than a few of them one after the other.
    fn bytes(&self) -> [u8; BYTES_MAX] {
        let mut bytes = [0; BYTES_MAX];
        let [e0, e1] = self.end.to_le_bytes();
        bytes[..3].copy_from_slice(&[self.len, e0, e1]);
        for (bytes, place) in bytes[3..].as_chunks_mut::<2>().0.iter_mut().zip(self.places) {
            *bytes = place.to_le_bytes();
        }
        bytes
    }

    /// The features at the beginning of `bytes`, and what comes after them.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Features, &[u8])> {
        let ([len, end @ ..], rest) = bytes.split_first_chunk::<3>()?;
        let mut features = Features { len: *len, end: u16::from_le_bytes(*end), ..Features::default() };
        let (places, rest) = rest.split_at_checked(2 * usize::from(*len))?;
        let known = features.places.get_mut(..usize::from(*len))?;
        for (place, bytes) in known.iter_mut().zip(places.as_chunks::<2>().0) {
            *place = u16::from_le_bytes(*bytes);
        }
        Some((features, rest))
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = usize> {
        self.places[..usize::from(self.len)].iter().map(|place| usize::from(*place))
    }

    /// Number of places that all features together have.
    pub(crate) fn end(&self) -> usize {
        usize::from(self.end)
    }
}

/// As one piece of bytes, which is copied, instead of thirty numbers.
impl Serialize for Features {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes()[..self.len_bytes()])
    }
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Features;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("the bytes of features")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Features, E> {
                match Features::read(bytes) {
                    Some((features, [])) => Ok(features),
                    _ => Err(E::custom("no features")),
                }
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_come_back_from_their_bytes() {
        let mut features = Features::default();
        features.add(Bin::of(3, 0, 7));
        features.add(Bin::of(1, 0, 1).with(Bin::log(100.0, 10.0, -1, 4)));
        let mut bytes = Vec::new();
        features.write(&mut bytes);
        assert_eq!(Features::read(&bytes), Some((features, &[][..])));
        assert_eq!(Features::read(&[&bytes[..], &[7, 8]].concat()), Some((features, &[7, 8][..])));
        for end in 0..bytes.len() {
            assert_eq!(Features::read(&bytes[..end]), None, "{end}");
        }
        assert_eq!(Features::read(&[u8::MAX; 3 + 2 * 255]), None, "more features than there can be");
    }
}
