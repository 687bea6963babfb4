//! The language of Kafka Streams for Rust: [`KStream`], [`KTable`], windows and joins, typed.
//!
//! ```
//! use streams_dsl::prelude::*;
//!
//! let builder = StreamsBuilder::new();
//! builder
//!     .stream::<(), String>("lines")
//!     .flat_map_values(|(), line| line.split(' ').map(str::to_lowercase).collect::<Vec<_>>())
//!     .group_by(|(), word| word.clone())
//!     .count_with(Materialized::new("counts"))
//!     .to_stream()
//!     .to("word-counts");
//! let topology = builder.build()?;
//! assert!(topology.describe().to_string().contains("counts-repartition"));
//! # Ok::<(), streams_core::Error>(())
//! ```
//!
//! Two chapters more: [time and windows](guide::time_and_windows), and
//! [coming from Kafka Streams in Java](guide::coming_from_java).
//!
#![doc = include_str!("../docs/operators.md")]

mod aggregate;
mod buffer;
mod builder;
mod config;
mod graph;
mod options;
mod stream;
mod table;
mod window;

pub use aggregate::{
    CogroupedKStream, KGroupedStream, KGroupedTable, Ranked, RankedSerde, SessionWindowedCogroupedKStream,
    SessionWindowedKStream, TimeWindowedCogroupedKStream, TimeWindowedKStream, Windows,
};
pub use builder::StreamsBuilder;
pub use config::{Optimization, TopologyConfig};
pub use options::{
    Branched, BufferConfig, Consumed, Grouped, Joined, Materialized, Named, Printed, Processed, Produced,
    Repartitioned, StoreType, StreamJoined, Suppressed, TableJoined, TransformedValues,
};
pub use stream::{
    BranchedKStream, Field, FixedKeyContext, FixedKeyProcessor, FixedKeyProcessorSupplier, FixedKeyRecord, KStream,
};
pub use table::{GlobalKTable, KTable, TransformerContext, ValueTransformer};
pub use window::{EmitStrategy, JoinWindows, SessionWindows, SlidingWindows, TimeWindows, UnlimitedWindows};

/// What a program needs: the DSL, and from the crates below the types that appear in it.
pub mod prelude {
    pub use log_store::embedded::{EmbeddedLog, LogConfig};
    pub use streams_core::{
        Change, EmbeddedStreams, ProcessingGuarantee, Record, StreamPartitioner, StreamsConfig,
        processor::{ProcessResult, Processor, ProcessorContext, PunctuationType},
        query::{Consistency, QueryableStoreTypes, StoreQueryParameters},
        runtime::{RestoreListener, RestoreProgress, State, Streams},
        serde::{Bincode, Data, Json, Postcard, Serde, Window, Windowed},
        state::Stores,
        time::TimestampExtractor,
        topology::{TopicPattern, Topology},
    };

    pub use crate::{
        Branched, BranchedKStream, BufferConfig, CogroupedKStream, Consumed, EmitStrategy, GlobalKTable, Grouped,
        JoinWindows, Joined, KGroupedStream, KGroupedTable, KStream, KTable, Materialized, Named, Optimization,
        Printed, Processed, Produced, Ranked, Repartitioned, SessionWindowedKStream, SessionWindows, SlidingWindows,
        StoreType, StreamJoined, StreamsBuilder, Suppressed, TableJoined, TimeWindowedKStream, TimeWindows,
        TopologyConfig, UnlimitedWindows,
    };
}

/// Chapters to read.
pub mod guide {
    #[doc = include_str!("../docs/time_and_windows.md")]
    pub mod time_and_windows {}

    #[doc = include_str!("../docs/coming_from_java.md")]
    pub mod coming_from_java {}
}

/// The README's programs, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// What the compiler promises: programs that must not compile, each beside one that must.
#[cfg(doctest)]
#[doc = include_str!("promises.md")]
struct Promises;
