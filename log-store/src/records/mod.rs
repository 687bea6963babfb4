//! Producing and consuming single records, for programs that talk to a log themselves.
//!
//! [`RecordProducer`] and [`RecordConsumer`] stand on the traits of [`crate::client`], so they work on any log: they add
//! what Kafka's own clients add. The producer chooses partitions, gathers records into batches, bounds what waits, and
//! tells of each record what became of it; the consumer hands out single records, keeps positions, commits them and
//! follows topics by pattern. Both block, and both are friendly to async: a delivery is a future, [`RecordSink`] a
//! `Sink`, [`RecordStream`] a `Stream`, on any executor.
//!
//! The engine uses none of this: it works on whole batches.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//!
//! use log_store::{
//!     TopicName,
//!     client::{ConsumerConfig, LogClient, NewTopic, SharedClient},
//!     embedded::{EmbeddedLog, LogConfig, storage::MemoryDirectory},
//!     records::{ProducerRecord, RecordConsumer, RecordConsumerConfig, RecordProducer, RecordProducerConfig},
//! };
//!
//! let log: SharedClient = Arc::new(EmbeddedLog::open_in(Arc::new(MemoryDirectory::new()), LogConfig::default())?);
//! let clicks = TopicName::new("clicks")?;
//! log.admin()?.create_topics(&[NewTopic::new(clicks.clone(), 4)])?;
//!
//! let producer = RecordProducer::new(&log, RecordProducerConfig::default())?;
//! let delivery = producer.send(ProducerRecord::new(clicks.clone(), "home").with_key("alice"))?;
//! let metadata = delivery.wait().expect("the disk works"); // or `.await`
//! assert_eq!(metadata.offset.value(), 0);
//!
//! let group = ConsumerConfig { group_id: "readers".to_owned(), ..ConsumerConfig::default() };
//! let mut consumer = RecordConsumer::new(&log, RecordConsumerConfig { consumer: group, ..Default::default() })?;
//! consumer.subscribe(&[clicks])?;
//! let mut records = consumer.poll(Duration::from_secs(1))?;
//! while records.is_empty() {
//!     records = consumer.poll(Duration::from_secs(1))?;
//! }
//! assert_eq!(records[0].value.as_deref(), Some(&b"home"[..]));
//! consumer.commit()?;
//! # Ok::<(), log_store::Error>(())
//! ```

mod consumer;
mod delivery;
mod partitioner;
mod producer;
mod record;
mod sender;
mod sink;
mod stream;

pub use consumer::{Rebalance, RecordConsumer, RecordConsumerConfig};
pub use delivery::{Delivered, Delivery};
pub use partitioner::{Partitioner, StickyPartitioner};
pub use producer::{RecordProducer, RecordProducerConfig};
pub use record::{ConsumerRecord, ProducerRecord, RecordMetadata};
pub use sink::RecordSink;
pub use stream::RecordStream;
