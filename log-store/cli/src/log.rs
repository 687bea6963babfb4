//! The log that the command line names.

use std::{fs, io::ErrorKind, path::PathBuf, sync::Arc};

use anyhow::{Context, bail};
use log_store::{
    Offset, TopicName, TopicPartition,
    client::{Isolation, TopicDescription},
    embedded::{
        EmbeddedLog, LogConfig,
        inspect::{self, Contents, PartitionReader},
        storage::{Directory, FileDirectory},
    },
};

/// The directory of `--data`.
pub(crate) struct Data(Option<PathBuf>);

impl Data {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Data(path)
    }

    fn path(&self) -> anyhow::Result<&PathBuf> {
        let given = self.0.as_ref().filter(|path| !path.as_os_str().is_empty());
        given.context("which log? say --data DIR, or set LOGCTL_DATA")
    }

    /// The directory itself, of a log that exists.
    pub(crate) fn directory(&self) -> anyhow::Result<FileDirectory> {
        let path = self.path()?;
        // A typing error must not make a new log.
        match fs::metadata(path.join("meta.properties")) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                bail!("there is no log in {}; `topics create` makes one", path.display());
            }
            Err(error) => return Err(error).with_context(|| format!("cannot look into {}", path.display())),
        }
        Ok(FileDirectory::new(path)?)
    }

    /// Opens a log that exists.
    pub(crate) fn open(&self) -> anyhow::Result<EmbeddedLog> {
        self.directory()?;
        self.open_or_create()
    }

    /// Opens the log, or makes a new one.
    pub(crate) fn open_or_create(&self) -> anyhow::Result<EmbeddedLog> {
        Ok(EmbeddedLog::open(self.path()?, LogConfig::default())?)
    }
}

/// The topics of the table, read beside whoever has the log open.
pub(crate) fn topics(directory: &dyn Directory) -> anyhow::Result<Vec<TopicDescription>> {
    match inspect::open(directory, "topics")? {
        Contents::Topics(topics) => Ok(topics),
        _ => bail!("the table of topics is something else"),
    }
}

/// A topic that exists.
pub(crate) fn topic(directory: &dyn Directory, name: &TopicName) -> anyhow::Result<TopicDescription> {
    let found = topics(directory)?.into_iter().find(|topic| topic.name == *name);
    found.with_context(|| format!("unknown topic {name}; `topics list` shows all"))
}

/// The partitions of a topic: those asked for, or all.
pub(crate) fn partitions(
    directory: &dyn Directory,
    name: &TopicName,
    asked: &[u32],
) -> anyhow::Result<Vec<TopicPartition>> {
    let count = topic(directory, name)?.partitions;
    if let Some(missing) = asked.iter().find(|partition| **partition >= count) {
        bail!("topic {name} has partitions 0 to {}, not {missing}", count - 1);
    }
    // Each once, in order.
    let numbers = (0..count).filter(|number| asked.is_empty() || asked.contains(number));
    Ok(numbers.map(|number| TopicPartition::new(name.clone(), number)).collect())
}

/// Where a partition ends, read beside whoever has the log open; `None` if there is none of that name.
pub(crate) fn end_beside(directory: &Arc<dyn Directory>, id: &TopicPartition) -> anyhow::Result<Option<Offset>> {
    if !topics(&**directory)?.iter().any(|topic| topic.name == id.topic && id.partition < topic.partitions) {
        return Ok(None);
    }
    let mut reader = PartitionReader::new(Arc::clone(directory), id.clone(), Offset::ZERO, Isolation::ReadUncommitted)?;
    reader.seek_to_end()?;
    Ok(Some(reader.position()))
}

/// A topic's name, for clap.
pub(crate) fn topic_name(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).map_err(|error| error.to_string())
}

/// `TOPIC-PARTITION`, for clap.
pub(crate) fn topic_partition(text: &str) -> Result<TopicPartition, String> {
    let (topic, number) = text.rsplit_once('-').ok_or("expected TOPIC-PARTITION, as in clicks-0")?;
    let number = number.parse().map_err(|_| "expected TOPIC-PARTITION, as in clicks-0")?;
    Ok(TopicPartition::new(topic_name(topic)?, number))
}
