//! Windowed keys, as Kafka lays them out: the key, then its window in eight-byte big-endian milliseconds.

use super::{Data, Encoded, Serde, SerdeError, SharedSerde, default_serde};

/// A span of event time, in milliseconds. Whether `end` belongs to it depends on the kind: not for time windows, yes for
/// session windows (the times of their first and last record).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// Where it begins.
    pub start: i64,
    /// Where it ends.
    pub end: i64,
}

impl Window {
    /// The window from `start` to `end`.
    #[must_use]
    pub const fn new(start: i64, end: i64) -> Self {
        Window { start, end }
    }

    /// The time window of `size_ms` from `start`; its end stops at the end of time.
    #[must_use]
    pub const fn of_size(start: i64, size_ms: i64) -> Self {
        Window { start, end: start.saturating_add(size_ms) }
    }
}

/// A key within one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Windowed<K> {
    /// The key.
    pub key: K,
    /// Its window.
    pub window: Window,
}

impl<K> Windowed<K> {
    /// `key` within `window`.
    pub const fn new(key: K, window: Window) -> Self {
        Windowed { key, window }
    }
}

/// Time-windowed keys: `key | start`. The size of the windows is not in the bytes, so a reader must know it.
pub struct TimeWindowedSerde<K> {
    inner: SharedSerde<K>,
    size_ms: i64,
}

impl<K> TimeWindowedSerde<K> {
    /// Keys of `inner` in windows of `size_ms`.
    #[must_use]
    pub fn new(inner: SharedSerde<K>, size_ms: i64) -> Self {
        TimeWindowedSerde { inner, size_ms }
    }
}

impl<K: Data> Default for TimeWindowedSerde<K> {
    /// Windows of unknown size: they are read with an end at the end of time.
    fn default() -> Self {
        TimeWindowedSerde { inner: default_serde(), size_ms: i64::MAX }
    }
}

/// The default is for time windows; keys of sessions have their serde from the table that they come from.
impl<K: Data> Data for Windowed<K> {
    type Serde = TimeWindowedSerde<K>;

    fn is_null(&self) -> bool {
        self.key.is_null()
    }
}

impl<K: 'static> Serde<Windowed<K>> for TimeWindowedSerde<K> {
    fn serialize(&self, value: &Windowed<K>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        let _ = self.inner.serialize(&value.key, out)?;
        out.extend_from_slice(&value.window.start.to_be_bytes());
        Ok(Encoded::Bytes)
    }

    fn partition_bytes<'a>(&self, serialized: &'a [u8]) -> &'a [u8] {
        &serialized[..serialized.len().saturating_sub(8)]
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Windowed<K>, SerdeError> {
        let (key, [start]) = split_times(bytes)?;
        Ok(Windowed::new(self.inner.deserialize(Some(key))?, Window::of_size(start, self.size_ms)))
    }
}

/// Session-windowed keys: `key | end | start`.
pub struct SessionWindowedSerde<K> {
    inner: SharedSerde<K>,
}

impl<K> SessionWindowedSerde<K> {
    /// Keys of `inner` in sessions.
    #[must_use]
    pub fn new(inner: SharedSerde<K>) -> Self {
        SessionWindowedSerde { inner }
    }
}

impl<K: 'static> Serde<Windowed<K>> for SessionWindowedSerde<K> {
    fn serialize(&self, value: &Windowed<K>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        let _ = self.inner.serialize(&value.key, out)?;
        out.extend_from_slice(&value.window.end.to_be_bytes());
        out.extend_from_slice(&value.window.start.to_be_bytes());
        Ok(Encoded::Bytes)
    }

    fn partition_bytes<'a>(&self, serialized: &'a [u8]) -> &'a [u8] {
        &serialized[..serialized.len().saturating_sub(16)]
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Windowed<K>, SerdeError> {
        let (key, [end, start]) = split_times(bytes)?;
        Ok(Windowed::new(self.inner.deserialize(Some(key))?, Window::new(start, end)))
    }
}

/// Splits `N` times off the end of a windowed key.
fn split_times<const N: usize>(bytes: Option<&[u8]>) -> Result<(&[u8], [i64; N]), SerdeError> {
    let bytes = bytes.ok_or_else(|| SerdeError::new("null where a windowed key is expected"))?;
    let Some(key_length) = bytes.len().checked_sub(8 * N) else {
        return Err(SerdeError::new(format!("{} bytes are too short for a windowed key", bytes.len())));
    };
    let (key, times) = bytes.split_at(key_length);
    let mut split = [0; N];
    for (time, eight) in split.iter_mut().zip(times.chunks_exact(8)) {
        *time = i64::from_be_bytes(eight.try_into().expect("chunks of eight"));
    }
    Ok((key, split))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both bytes seen in changelogs and sinks of Apache Kafka Streams 4.3.
    #[test]
    fn windowed_keys_are_laid_out_as_kafka_does() {
        let mut out = Vec::new();
        let time = TimeWindowedSerde::new(default_serde::<String>(), 10);
        let key = Windowed::new("a".to_owned(), Window::new(20, 30));
        let _ = time.serialize(&key, &mut out).unwrap();
        assert_eq!(out, *b"a\0\0\0\0\0\0\0\x14");
        assert_eq!(time.deserialize(Some(&out)).unwrap(), key);
        assert_eq!(time.partition_bytes(&out), b"a");

        out.clear();
        let session = SessionWindowedSerde::new(default_serde::<String>());
        let _ = session.serialize(&key, &mut out).unwrap();
        assert_eq!(out, *b"a\0\0\0\0\0\0\0\x1e\0\0\0\0\0\0\0\x14");
        assert_eq!(session.deserialize(Some(&out)).unwrap(), key);
        assert_eq!(session.partition_bytes(&out), b"a");
    }

    #[test]
    fn a_windowed_key_that_is_too_short_is_refused() {
        let session = SessionWindowedSerde::new(default_serde::<Vec<u8>>());
        assert!(session.deserialize(Some(&[0; 15])).is_err());
        assert!(session.deserialize(None).is_err());
        assert!(session.deserialize(Some(&[0; 16])).is_ok());
    }

    #[test]
    fn the_end_of_a_window_stops_at_the_end_of_time() {
        assert_eq!(Window::of_size(i64::MAX - 1, 10).end, i64::MAX);
    }
}
