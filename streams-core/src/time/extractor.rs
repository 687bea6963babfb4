//! Which event time a record has.

use std::{fmt, sync::Arc};

/// A record whose event time is asked for.
#[derive(Debug)]
pub struct Extractable<'a, K, V> {
    /// Its key.
    pub key: &'a K,
    /// Its value.
    pub value: &'a V,
    /// Timestamp that it carries, -1 if none.
    pub timestamp: i64,
    /// Greatest timestamp of its partition so far, -1 before the first record.
    pub partition_time: i64,
    /// The clock on the wall, in milliseconds.
    pub wall_clock_time: i64,
}

/// Decides the event time of each record of a source. A negative answer drops the record (and counts it).
pub enum TimestampExtractor<K, V> {
    /// The record's own timestamp; a negative one stops the application. The default.
    FailOnInvalidTimestamp,
    /// The record's own timestamp; records with a negative one are dropped.
    LogAndSkipOnInvalidTimestamp,
    /// The record's own timestamp, or the partition's time where it is negative; fails if there is none either.
    UsePartitionTimeOnInvalidTimestamp,
    /// The clock on the wall: processing time.
    WallclockTimestampExtractor,
    /// A function of yours.
    Custom(CustomExtractor<K, V>),
}

type CustomExtractor<K, V> = Arc<dyn Fn(&Extractable<'_, K, V>) -> i64 + Send + Sync>;

impl<K, V> TimestampExtractor<K, V> {
    /// An extractor of your own.
    pub fn custom(extract: impl Fn(&Extractable<'_, K, V>) -> i64 + Send + Sync + 'static) -> Self {
        TimestampExtractor::Custom(Arc::new(extract))
    }

    /// The event time of `record`.
    ///
    /// # Errors
    ///
    /// A text that says what is wrong with the timestamp and which extractor would accept it.
    #[inline]
    pub fn extract(&self, record: &Extractable<'_, K, V>) -> Result<i64, String> {
        match self {
            _ if record.timestamp >= 0 && !matches!(self, Self::WallclockTimestampExtractor | Self::Custom(_)) => {
                Ok(record.timestamp)
            }
            TimestampExtractor::Custom(extract) => Ok(extract(record)),
            TimestampExtractor::WallclockTimestampExtractor => Ok(record.wall_clock_time),
            TimestampExtractor::LogAndSkipOnInvalidTimestamp => Ok(record.timestamp),
            TimestampExtractor::UsePartitionTimeOnInvalidTimestamp if record.partition_time >= 0 => {
                Ok(record.partition_time)
            }
            TimestampExtractor::UsePartitionTimeOnInvalidTimestamp => Err(format!(
                "timestamp {} is negative, and no earlier record gives the partition a time",
                record.timestamp
            )),
            TimestampExtractor::FailOnInvalidTimestamp => Err(format!(
                "timestamp {} is negative; choose LogAndSkipOnInvalidTimestamp to drop such records, or another extractor",
                record.timestamp
            )),
        }
    }
}

impl<K, V> Clone for TimestampExtractor<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::FailOnInvalidTimestamp => Self::FailOnInvalidTimestamp,
            Self::LogAndSkipOnInvalidTimestamp => Self::LogAndSkipOnInvalidTimestamp,
            Self::UsePartitionTimeOnInvalidTimestamp => Self::UsePartitionTimeOnInvalidTimestamp,
            Self::WallclockTimestampExtractor => Self::WallclockTimestampExtractor,
            Self::Custom(extract) => Self::Custom(Arc::clone(extract)),
        }
    }
}

impl<K, V> fmt::Debug for TimestampExtractor<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FailOnInvalidTimestamp => "FailOnInvalidTimestamp",
            Self::LogAndSkipOnInvalidTimestamp => "LogAndSkipOnInvalidTimestamp",
            Self::UsePartitionTimeOnInvalidTimestamp => "UsePartitionTimeOnInvalidTimestamp",
            Self::WallclockTimestampExtractor => "WallclockTimestampExtractor",
            Self::Custom(_) => "Custom",
        })
    }
}

/// What gives event times to sources that name no extractor (`default.timestamp.extractor`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultTimestampExtractor {
    /// [`TimestampExtractor::FailOnInvalidTimestamp`].
    #[default]
    FailOnInvalidTimestamp,
    /// [`TimestampExtractor::LogAndSkipOnInvalidTimestamp`].
    LogAndSkipOnInvalidTimestamp,
    /// [`TimestampExtractor::UsePartitionTimeOnInvalidTimestamp`].
    UsePartitionTimeOnInvalidTimestamp,
    /// [`TimestampExtractor::WallclockTimestampExtractor`].
    WallclockTimestampExtractor,
}

impl<K, V> From<DefaultTimestampExtractor> for TimestampExtractor<K, V> {
    fn from(extractor: DefaultTimestampExtractor) -> Self {
        match extractor {
            DefaultTimestampExtractor::FailOnInvalidTimestamp => Self::FailOnInvalidTimestamp,
            DefaultTimestampExtractor::LogAndSkipOnInvalidTimestamp => Self::LogAndSkipOnInvalidTimestamp,
            DefaultTimestampExtractor::UsePartitionTimeOnInvalidTimestamp => Self::UsePartitionTimeOnInvalidTimestamp,
            DefaultTimestampExtractor::WallclockTimestampExtractor => Self::WallclockTimestampExtractor,
        }
    }
}
