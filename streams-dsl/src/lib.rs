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
//! Operators come as `x` and, with a name, serdes or a store, as `x_with(.., options)`.
//!
//! | on | operators |
//! |---|---|
//! | [`StreamsBuilder`] | `stream`, `table`, `global_table`, `add_state_store`, `build` |
//! | [`KStream`], record by record | `filter`, `filter_not`, `map`, `map_values`, `flat_map`, `flat_map_values`, `select_key`, `peek`, `print`, `for_each`, `merge`, `split` |
//! | [`KStream`], own processors | `process`, `process_values` |
//! | [`KStream`], through topics | `to`, `to_extracted`, `repartition`, `to_table` |
//! | [`KStream`], grouped | `group_by`, `group_by_key`; then `count`, `reduce`, `aggregate`, `cogroup`, `windowed_by` |
//! | [`KStream`], joined | `join`, `left_join`, `outer_join` within [`JoinWindows`]; `join_table`, `left_join_table`; `join_global`, `left_join_global` |
//! | [`KTable`] | `filter`, `filter_not`, `map_values`, `transform_values`, `suppress`, `suppress_until_window_closes`, `to_stream`, `to_stream_as` |
//! | [`KTable`], grouped | `group_by`; then `count`, `reduce`, `aggregate` |
//! | [`KTable`], joined | `join`, `left_join`, `outer_join`; `join_foreign_key`, `left_join_foreign_key` |
//! | windows | [`TimeWindows`] (tumbling, hopping), [`SlidingWindows`], [`SessionWindows`], [`UnlimitedWindows`] |

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

/// The README's programs, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// What the compiler promises: programs that must not compile, each beside one that must.
#[cfg(doctest)]
#[doc = include_str!("promises.md")]
struct Promises;
