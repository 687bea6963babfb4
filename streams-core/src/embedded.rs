//! [`EmbeddedStreams`]: an application and the log that it runs on, in one folder.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use log_store::{
    TopicName,
    client::{LogClient, NewTopic},
    embedded::{EmbeddedLog, LogConfig},
};

use crate::{
    Error, Record, Result, StreamsConfig, StreamsConfigBuilder,
    runtime::{State, Streams},
    serde::Data,
    topology::Topology,
    typed_records::{RecordWriter, read_records},
};

/// An application that is not done within this time hangs.
const IDLE_WAIT: Duration = Duration::from_secs(300);
/// A clean close is a commit and a few files.
const CLOSE_WAIT: Duration = Duration::from_secs(60);

/// A topology that runs on an embedded log, both in one folder: the shortest way from a topology to results on disk.
///
/// Topics that the topology names and that do not exist yet are made, with one partition each. Everything is the real
/// thing: threads, transactions, RocksDB. For a topology without any of it see [`crate::testing::TopologyTestDriver`].
///
/// ```
/// use streams_core::{
///     EmbeddedStreams, Record,
///     processor::{ProcessResult, Processor, ProcessorContext},
///     topology::{Sink, Source, Topology},
/// };
///
/// struct Double;
///
/// impl Processor<String, i64, String, i64> for Double {
///     fn process(&mut self, record: Record<String, i64>, ctx: &mut ProcessorContext<'_, String, i64>) -> ProcessResult {
///         let twice = record.value * 2;
///         ctx.forward(record.with_value(twice))
///     }
/// }
///
/// let mut topology = Topology::new();
/// topology
///     .add_source(Source::<String, i64>::new("source", "numbers"))
///     .add_processor("double", &["source"], || Double)
///     .add_sink(Sink::<String, i64>::new("sink", "doubles"), &["double"]);
///
/// let app = EmbeddedStreams::temporary("doubling", topology)?;
/// app.write("numbers", [("a".to_owned(), 1_i64, 10), ("b".to_owned(), 2, 20)])?;
/// app.run_until_idle()?;
/// let doubles = app.read::<String, i64>("doubles")?;
/// assert_eq!(doubles.iter().map(|record| record.value).collect::<Vec<_>>(), [2, 4]);
/// app.close()?;
/// # Ok::<(), streams_core::Error>(())
/// ```
pub struct EmbeddedStreams {
    streams: Streams,
    log: EmbeddedLog,
    /// The folder, if it goes with this.
    temporary: Option<PathBuf>,
    is_closed: bool,
}

impl EmbeddedStreams {
    /// Opens or makes the folder: topics lie in `log` below it, state in `state`. Nothing runs yet.
    ///
    /// # Errors
    ///
    /// If the topology or the settings are not valid, or the folder cannot be used.
    pub fn open(folder: impl AsRef<Path>, config: StreamsConfigBuilder, topology: Topology) -> Result<Self> {
        let folder = folder.as_ref();
        let config = config.state_dir(folder.join("state")).build()?;
        let log = EmbeddedLog::open(folder.join("log"), LogConfig::default())?;
        let mut admin = log.admin()?;
        for topic in topology.topic_names().chain(config.dead_letter_topic.as_deref()) {
            let topic = TopicName::new(topic)?;
            if admin.describe_topic(&topic)?.is_none() {
                admin.create_topics(&[NewTopic::new(topic, 1)])?;
            }
        }
        let streams = Streams::new(topology, config, Arc::new(log.clone()))?;
        Ok(EmbeddedStreams { streams, log, temporary: None, is_closed: false })
    }

    /// As [`EmbeddedStreams::open`], in a new folder among the system's temporary ones, which goes with the value.
    ///
    /// # Errors
    ///
    /// As [`EmbeddedStreams::open`].
    pub fn temporary(application_id: impl Into<String>, topology: Topology) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("embedded-streams-{}-{number}", process::id()));
        let mut opened = Self::open(&folder, StreamsConfig::builder(application_id), topology)?;
        opened.temporary = Some(folder);
        Ok(opened)
    }

    /// Writes records (key, value, timestamp in milliseconds) to a topic; they are on disk when this returns.
    ///
    /// # Errors
    ///
    /// As [`RecordWriter::send`].
    pub fn write<K: Data, V: Data>(&self, topic: &str, records: impl IntoIterator<Item = (K, V, i64)>) -> Result<()> {
        let mut writer = RecordWriter::new(&self.log, topic)?;
        for (key, value, timestamp) in records {
            writer.send(&Record::new(key, value, timestamp))?;
        }
        writer.flush()
    }

    /// Starts the application if it does not run yet, and waits until everything in its topics is processed and
    /// committed.
    ///
    /// # Errors
    ///
    /// What stopped the application; [`log_store::Error::TimedOut`] if it is not done after five minutes.
    pub fn run_until_idle(&self) -> Result<()> {
        if self.streams.state() == State::Created {
            self.streams.start()?;
        }
        self.streams.wait_until_idle(IDLE_WAIT)
    }

    /// All committed records of a topic.
    ///
    /// # Errors
    ///
    /// As [`read_records`].
    pub fn read<K: Data, V: Data>(&self, topic: &str) -> Result<Vec<Record<K, V>>> {
        read_records(&self.log, topic)
    }

    /// The last committed value of each key in a topic: the table that the topic is. Rows that were deleted are null.
    ///
    /// # Errors
    ///
    /// As [`read_records`].
    pub fn read_latest<K: Data + Ord, V: Data>(&self, topic: &str) -> Result<BTreeMap<K, V>> {
        let records = self.read(topic)?;
        Ok(records.into_iter().map(|Record { key, value, .. }| (key, value)).collect())
    }

    /// The application.
    #[must_use]
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &EmbeddedLog {
        &self.log
    }

    /// Closes the application, then the log: another can open the folder. Dropping the value does so, too, but tells of
    /// no error.
    ///
    /// # Errors
    ///
    /// The error that had stopped the application; [`Error::IllegalState`] if it does not close within a minute; what
    /// could not be written of the log.
    pub fn close(mut self) -> Result<()> {
        self.close_both()
    }

    fn close_both(&mut self) -> Result<()> {
        self.is_closed = true;
        let in_time = self.streams.close(CLOSE_WAIT);
        // Also after an error: what is committed is in order, and whoever comes next needs the folder.
        let log = self.log.clone().close();
        if !in_time {
            let seconds = CLOSE_WAIT.as_secs();
            return Err(Error::IllegalState(format!("the application has not closed after {seconds} s")));
        }
        match self.streams.error() {
            Some(error) => Err(Error::IllegalState(error.to_string())),
            None => Ok(log?),
        }
    }
}

impl Drop for EmbeddedStreams {
    fn drop(&mut self) {
        if !self.is_closed {
            // Whoever wants to know calls `close`.
            let _ = self.close_both();
        }
        if let Some(folder) = &self.temporary {
            // What stays in the temporary folder is the system's to clean up.
            let _ = fs::remove_dir_all(folder);
        }
    }
}
