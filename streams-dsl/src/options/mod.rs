//! What an operator can be told beyond its functions: one small builder for each.
//!
//! An operator `x` has a twin `x_with` that takes its options as the last argument. Nothing has to be set: serdes come
//! from the types, names from Kafka Streams' counter.

mod branched;
mod consumed;
mod grouped;
mod joined;
mod materialized;
mod named;
mod printed;
mod processed;
mod produced;
mod repartitioned;
mod stream_joined;
mod suppressed;
mod table_joined;
mod transformed_values;

pub use branched::Branched;
pub(crate) use branched::Chain;
pub use consumed::Consumed;
pub use grouped::Grouped;
pub use joined::Joined;
pub use materialized::{Materialized, StoreType};
pub use named::Named;
pub(crate) use printed::Format;
pub use printed::Printed;
pub use processed::Processed;
pub use produced::Produced;
pub use repartitioned::Repartitioned;
pub use stream_joined::StreamJoined;
pub use suppressed::{BufferConfig, Suppressed};
pub(crate) use suppressed::{BufferFull, Until};
pub use table_joined::TableJoined;
pub use transformed_values::TransformedValues;
