//! `Suppressed`: which updates of a table are held back, for how long, and in how much memory.

use std::{collections::BTreeMap, time::Duration};

/// When the buffer lets an update go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// When its window can change no more.
    WindowCloses,
    /// When stream time has passed the first update of its key by this much.
    TimeLimit(Duration),
}

/// What happens when the buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferFull {
    /// The oldest updates go on early.
    Emit,
    /// The application stops.
    ShutDown,
}

/// How much a suppression buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferConfig {
    pub(crate) records_max: Option<u64>,
    pub(crate) bytes_max: Option<u64>,
    pub(crate) full: BufferFull,
    /// Topic settings of the changelog; `None` if the buffer is not logged.
    pub(crate) logging: Option<BTreeMap<String, String>>,
}

impl BufferConfig {
    /// As much as there is: memory is the limit.
    #[must_use]
    pub fn unbounded() -> Self {
        BufferConfig { records_max: None, bytes_max: None, full: BufferFull::ShutDown, logging: Some(BTreeMap::new()) }
    }

    /// At most this many keys; when full, the oldest updates go on early.
    #[must_use]
    pub fn max_records(records: u64) -> Self {
        BufferConfig { records_max: Some(records), full: BufferFull::Emit, ..BufferConfig::unbounded() }
    }

    /// At most this many bytes of serialised keys and values; when full, the oldest updates go on early.
    #[must_use]
    pub fn max_bytes(bytes: u64) -> Self {
        BufferConfig { bytes_max: Some(bytes), full: BufferFull::Emit, ..BufferConfig::unbounded() }
    }

    /// Limits the number of keys too.
    #[must_use]
    pub fn with_max_records(mut self, records: u64) -> Self {
        self.records_max = Some(records);
        self
    }

    /// Limits the number of bytes too.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.bytes_max = Some(bytes);
        self
    }

    /// When full, the oldest updates go on before their time. Not for final results.
    #[must_use]
    pub fn emit_early_when_full(mut self) -> Self {
        self.full = BufferFull::Emit;
        self
    }

    /// When full, the application stops.
    #[must_use]
    pub fn shut_down_when_full(mut self) -> Self {
        self.full = BufferFull::ShutDown;
        self
    }

    /// Logs the buffer to a changelog topic with these topic settings. The default, without settings.
    #[must_use]
    pub fn with_logging_enabled(mut self, config: BTreeMap<String, String>) -> Self {
        self.logging = Some(config);
        self
    }

    /// Logs nothing: what is buffered when the application stops is lost.
    #[must_use]
    pub fn with_logging_disabled(mut self) -> Self {
        self.logging = None;
        self
    }
}

/// Which updates of a table are held back, and until when.
#[derive(Clone, Debug)]
pub struct Suppressed {
    pub(crate) name: Option<String>,
    pub(crate) until: Until,
    pub(crate) buffer: BufferConfig,
}

impl Suppressed {
    /// One result for each window, when it has closed. Only for tables of windows; deletions are not passed on.
    ///
    /// The buffer must not let results go early: a configuration that would is refused at build time.
    #[must_use]
    pub fn until_window_closes(buffer: BufferConfig) -> Self {
        Suppressed { name: None, until: Until::WindowCloses, buffer }
    }

    /// At most one update of a key within `wait` of stream time, counted from the first one that is held back.
    #[must_use]
    pub fn until_time_limit(wait: Duration, buffer: BufferConfig) -> Self {
        Suppressed { name: None, until: Until::TimeLimit(wait), buffer }
    }

    /// Names the node, and the buffer's store: `{name}-store`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}
