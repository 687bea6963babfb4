//! Settings of a topic: Kafka's names and defaults, typed and checked once.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use crate::{
    Error, Result,
    batch::{Compression, TimestampType},
};

/// What becomes of old records (`cleanup.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CleanupPolicy {
    /// Segments beyond `retention.ms` or `retention.bytes` are deleted.
    pub is_delete: bool,
    /// Only the last record of each key is kept.
    pub is_compact: bool,
}

/// The settings of one topic. `Default` has Kafka's defaults.
///
/// ```
/// use std::collections::BTreeMap;
/// use log_store::TopicConfig;
///
/// let given = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
/// let config = TopicConfig::from_map(&given)?;
/// assert!(config.cleanup_policy.is_compact);
/// assert_eq!(config.segment_bytes, 1 << 30);
/// # Ok::<(), log_store::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy`. Default: delete.
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type`: batches arrive compressed like this, or as their producer chose (`None`, the default).
    pub compression: Option<Compression>,
    /// `delete.retention.ms`: how long compaction keeps a tombstone. Default: 24 hours.
    pub delete_retention: Duration,
    /// `file.delete.delay.ms`. Default: 60 s. Kept and shown, without effect: files of deleted segments go at once, and
    /// who reads one still holds it open.
    pub file_delete_delay: Duration,
    /// `index.interval.bytes`: bytes of batches between two index entries. Default: 4,096.
    pub index_interval_bytes: u32,
    /// `max.compaction.lag.ms`: compaction is forced after this long. Default: never (`None`).
    pub compaction_lag_max: Option<Duration>,
    /// `max.message.bytes`: largest batch. Default: 1 MiB + 12.
    pub message_bytes_max: u32,
    /// `message.timestamp.type`. Default: the producer's time.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.after.max.ms`: how far ahead of the clock a timestamp may be. Default: 1 hour.
    pub timestamp_after_max: Option<Duration>,
    /// `message.timestamp.before.max.ms`: how far behind the clock a timestamp may be. Default: any (`None`).
    pub timestamp_before_max: Option<Duration>,
    /// `min.cleanable.dirty.ratio`: share of uncompacted bytes from which compaction starts. Default: 0.5.
    pub dirty_ratio_min: f64,
    /// `min.compaction.lag.ms`: younger records are not compacted. Default: 0.
    pub compaction_lag_min: Duration,
    /// `preallocate`: give a segment its whole size when it is created. Default: false.
    pub preallocate: bool,
    /// `retention.bytes` of each partition. Default: unlimited (`None`).
    pub retention_bytes: Option<u64>,
    /// `retention.ms`. Default: 7 days; `None` is for ever.
    pub retention: Option<Duration>,
    /// `segment.bytes`. Default: 1 GiB.
    pub segment_bytes: u32,
    /// `segment.index.bytes`: largest index file. Default: 10 MiB.
    pub segment_index_bytes: u32,
    /// `segment.jitter.ms`. Default: 0. Kept and shown, without effect: one process has no herd to scatter.
    pub segment_jitter: Duration,
    /// `segment.ms`: a segment is sealed at this age. Default: 7 days.
    pub segment_age: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Smallest `segment.bytes`. (Kafka's own limit is 1 MiB since 4.0, for the sake of file handles; small segments are
/// how tests and small disks see retention and compaction work.)
const SEGMENT_BYTES_MIN: i64 = 1024;

/// Settings that Kafka knows: kept and shown, without effect. Most mean nothing without replicas; when to sync
/// (`flush.messages`, `flush.ms`) is decided for the whole log, by its durability.
const WITHOUT_EFFECT: [&str; 7] = [
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "leader.replication.throttled.replicas",
    "message.downconversion.enable",
    "min.insync.replicas",
    "unclean.leader.election.enable",
];

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            cleanup_policy: CleanupPolicy { is_delete: true, is_compact: false },
            compression: None,
            delete_retention: DAY,
            file_delete_delay: Duration::from_secs(60),
            index_interval_bytes: 4096,
            compaction_lag_max: None,
            message_bytes_max: (1 << 20) + 12,
            timestamp_type: TimestampType::CreateTime,
            timestamp_after_max: Some(Duration::from_secs(60 * 60)),
            timestamp_before_max: None,
            dirty_ratio_min: 0.5,
            compaction_lag_min: Duration::ZERO,
            preallocate: false,
            retention_bytes: None,
            retention: Some(7 * DAY),
            segment_bytes: 1 << 30,
            segment_index_bytes: 10 << 20,
            segment_jitter: Duration::ZERO,
            segment_age: 7 * DAY,
        }
    }
}

impl TopicConfig {
    /// Reads settings under Kafka's names; what is absent has its default.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the setting, its value and what is allowed.
    pub fn from_map(given: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = TopicConfig::default();
        for (name, value) in given {
            config.set(name, value)?;
        }
        if config.compaction_lag_max.is_some_and(|max| config.compaction_lag_min > max) {
            return Err(Error::Invalid("min.compaction.lag.ms is greater than max.compaction.lag.ms".to_owned()));
        }
        Ok(config)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let setting = Setting { name, value };
        match name {
            "cleanup.policy" => self.cleanup_policy = setting.cleanup_policy()?,
            "compression.type" => self.compression = setting.compression()?,
            "delete.retention.ms" => self.delete_retention = setting.duration()?,
            "file.delete.delay.ms" => self.file_delete_delay = setting.duration()?,
            "index.interval.bytes" => self.index_interval_bytes = setting.size(0)?,
            "max.compaction.lag.ms" => self.compaction_lag_max = setting.bounded_duration()?,
            "max.message.bytes" => self.message_bytes_max = setting.size(0)?,
            "message.timestamp.type" => self.timestamp_type = setting.timestamp_type()?,
            "message.timestamp.after.max.ms" => self.timestamp_after_max = setting.bounded_duration()?,
            "message.timestamp.before.max.ms" => self.timestamp_before_max = setting.bounded_duration()?,
            "min.cleanable.dirty.ratio" => self.dirty_ratio_min = setting.ratio()?,
            "min.compaction.lag.ms" => self.compaction_lag_min = setting.duration()?,
            "preallocate" => self.preallocate = setting.parse("true or false")?,
            "retention.bytes" => self.retention_bytes = u64::try_from(setting.number(-1)?).ok(),
            "retention.ms" => self.retention = setting.unlimited_duration()?,
            "segment.bytes" => self.segment_bytes = setting.size(SEGMENT_BYTES_MIN)?,
            "segment.index.bytes" => self.segment_index_bytes = setting.size(24)?,
            "segment.jitter.ms" => self.segment_jitter = setting.duration()?,
            "segment.ms" => self.segment_age = Duration::from_millis(setting.number(1)?.unsigned_abs()),
            _ if WITHOUT_EFFECT.contains(&name) => {}
            _ => return Err(Error::Invalid(format!("unknown topic setting {name:?}"))),
        }
        Ok(())
    }
}

/// One setting being read.
struct Setting<'a> {
    name: &'a str,
    value: &'a str,
}

impl Setting<'_> {
    fn refused(&self, expected: impl fmt::Display) -> Error {
        Error::Invalid(format!("topic setting {}={:?}: expected {expected}", self.name, self.value))
    }

    fn parse<T: FromStr>(&self, expected: &str) -> Result<T> {
        self.value.trim().parse().map_err(|_| self.refused(expected))
    }

    fn number(&self, least: i64) -> Result<i64> {
        let number: i64 = self.parse("a whole number")?;
        if number < least { Err(self.refused(format_args!("at least {least}"))) } else { Ok(number) }
    }

    fn size(&self, least: i64) -> Result<u32> {
        let number = self.number(least)?;
        i32::try_from(number).map(i32::unsigned_abs).map_err(|_| self.refused("at most 2147483647"))
    }

    fn duration(&self) -> Result<Duration> {
        Ok(Duration::from_millis(self.number(0)?.unsigned_abs()))
    }

    /// -1 is unlimited.
    fn unlimited_duration(&self) -> Result<Option<Duration>> {
        Ok(u64::try_from(self.number(-1)?).ok().map(Duration::from_millis))
    }

    /// Java's largest `long` is unlimited.
    fn bounded_duration(&self) -> Result<Option<Duration>> {
        let number = self.number(0)?;
        Ok((number != i64::MAX).then(|| Duration::from_millis(number.unsigned_abs())))
    }

    fn ratio(&self) -> Result<f64> {
        let ratio: f64 = self.parse("a number from 0 to 1")?;
        if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(self.refused("a number from 0 to 1")) }
    }

    fn cleanup_policy(&self) -> Result<CleanupPolicy> {
        let mut policy = CleanupPolicy { is_delete: false, is_compact: false };
        for word in self.value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "delete" => policy.is_delete = true,
                "compact" => policy.is_compact = true,
                _ => return Err(self.refused("compact, delete, or both with a comma between")),
            }
        }
        Ok(policy)
    }

    fn compression(&self) -> Result<Option<Compression>> {
        Ok(match self.value.trim() {
            "producer" => None,
            "uncompressed" | "none" => Some(Compression::None),
            "gzip" => Some(Compression::Gzip),
            "snappy" => Some(Compression::Snappy),
            "lz4" => Some(Compression::Lz4),
            "zstd" => Some(Compression::Zstd),
            _ => return Err(self.refused("producer, uncompressed, gzip, snappy, lz4 or zstd")),
        })
    }

    fn timestamp_type(&self) -> Result<TimestampType> {
        match self.value.trim() {
            "CreateTime" => Ok(TimestampType::CreateTime),
            "LogAppendTime" => Ok(TimestampType::LogAppendTime),
            _ => Err(self.refused("CreateTime or LogAppendTime")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<TopicConfig> {
        TopicConfig::from_map(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        for (name, value) in [
            ("cleanup.policy", "shred"),
            ("compression.type", "rar"),
            ("retention.ms", "-2"),
            ("retention.ms", "soon"),
            ("segment.bytes", "1"),
            ("segment.bytes", "2147483648"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("message.timestamp.type", "Noon"),
            ("no.such.setting", "1"),
        ] {
            let error = read(name, value).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn kafkas_sentinels_mean_what_they_mean_there() {
        assert_eq!(read("retention.ms", "-1").unwrap().retention, None);
        assert_eq!(read("retention.bytes", "-1").unwrap().retention_bytes, None);
        assert_eq!(read("max.compaction.lag.ms", "9223372036854775807").unwrap().compaction_lag_max, None);
        let both = read("cleanup.policy", "compact, delete").unwrap().cleanup_policy;
        assert!(both.is_compact && both.is_delete);
        assert_eq!(read("min.insync.replicas", "2").unwrap(), TopicConfig::default());
    }
}
