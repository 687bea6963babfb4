//! Topics and partitions on local disk, in Apache Kafka's own file format.
//!
//! An embedded log: open a directory, create topics, append and fetch. There is no server. What lies on disk are
//! Kafka's record batches, segments and indexes, so Kafka's own tools read it.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//!
//! use log_store::{
//!     RecordView, TopicName, TopicPartition,
//!     client::{Consumer, ConsumerConfig, LogClient, NewTopic, Polled, Producer, ProducerConfig, StartAt},
//!     embedded::{EmbeddedLog, LogConfig, storage::MemoryDirectory},
//! };
//!
//! // `EmbeddedLog::open(path, …)` for a directory on disk.
//! let log = EmbeddedLog::open_in(Arc::new(MemoryDirectory::new()), LogConfig::default())?;
//! let clicks = TopicName::new("clicks")?;
//! log.admin()?.create_topics(&[NewTopic::new(clicks.clone(), 1)])?;
//! let partition = TopicPartition::new(clicks, 0);
//!
//! let mut producer = log.producer(&ProducerConfig::default())?;
//! let handle = producer.open(&partition)?;
//! producer.send(handle, RecordView::new(1_700_000_000_000, Some(b"alice"), Some(b"home")))?;
//! producer.flush()?; // on disk, synced
//!
//! let mut consumer = log.consumer(&ConsumerConfig::default())?;
//! consumer.assign(&[(partition, StartAt::Beginning)])?;
//! let Polled::Batch(batch) = consumer.poll(Duration::from_secs(1))? else { panic!("a record is there") };
//! let mut cursor = batch.cursor();
//! let record = cursor.advance()?.expect("one record");
//! assert_eq!(cursor.view(&record).key, Some(&b"alice"[..]));
//! # Ok::<(), log_store::Error>(())
//! ```
//!
//! | [`embedded::Durability`] | acknowledged means | a power cut loses |
//! |---|---|---|
//! | `Fsync` (default) | synced | nothing acknowledged |
//! | `Interval` | appended | at most the interval |
//! | `Never` | appended | what the system had not written |
//!
//! A crash of the process alone never loses what was appended.

pub mod batch;
pub mod client;
pub mod clock;
mod config;
pub mod embedded;
mod error;
mod partitioner;
mod position;
mod record;
pub mod records;
mod topic;

pub use config::{CleanupPolicy, TopicConfig};
pub use error::{Error, ErrorKind, Result};
pub use partitioner::{murmur2, partition_of};
pub use position::Offset;
pub use record::{Header, Headers, HeadersView, NO_TIMESTAMP, RecordView};
pub use topic::{TopicName, TopicPartition};
