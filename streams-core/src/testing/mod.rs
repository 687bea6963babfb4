//! A topology without a log, threads or files: records in, records out, on a clock that stands still.
//!
//! ([`SteppedStreams`] is for simulations: the whole application, with log, threads and crashes, driven by hand.)
//!
//! [`TopologyTestDriver`] behaves as Kafka Streams' own, so that its tests carry over: every topic has one partition, the
//! whole topology is one task, and a commit follows each record.
//!
//! ```
//! use streams_core::{
//!     Record, StreamsConfig,
//!     processor::{ProcessResult, Processor, ProcessorContext},
//!     testing::TopologyTestDriver,
//!     topology::{Sink, Source, Topology},
//! };
//!
//! struct Shout;
//!
//! impl Processor<String, String, String, String> for Shout {
//!     fn process(
//!         &mut self,
//!         record: Record<String, String>,
//!         ctx: &mut ProcessorContext<'_, String, String>,
//!     ) -> ProcessResult {
//!         let loud = record.value.to_uppercase();
//!         ctx.forward(record.with_value(loud))
//!     }
//! }
//!
//! let mut topology = Topology::new();
//! topology
//!     .add_source(Source::<String, String>::new("source", "whispers"))
//!     .add_processor("shout", &["source"], || Shout)
//!     .add_sink(Sink::<String, String>::new("sink", "shouts"), &["shout"]);
//!
//! let config = StreamsConfig::builder("app").state_dir("unused").build()?;
//! let driver = TopologyTestDriver::new(&topology, config)?;
//! let whispers = driver.create_input_topic::<String, String>("whispers");
//! let shouts = driver.create_output_topic::<String, String>("shouts");
//!
//! whispers.pipe_input_at("alice".into(), "hello".into(), 10)?;
//! assert_eq!(shouts.read_key_value()?, Some(("alice".into(), "HELLO".into())));
//! assert!(shouts.is_empty());
//! # Ok::<(), streams_core::Error>(())
//! ```

mod capture;
mod driver;
mod engine;
mod stepped;
mod topic;

pub use capture::ProducedRecord;
pub use driver::{InternalTopic, TopologyTestDriver};
pub use stepped::{SteppedStreams, SteppedThread};
pub use topic::{TestInputTopic, TestOutputTopic};

#[cfg(test)]
mod tests;
