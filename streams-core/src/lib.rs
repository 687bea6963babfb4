//! The engine of Kafka Streams for Rust.

mod error;
pub mod processor;
mod record;
pub mod serde;
pub mod state;
pub mod task;
pub mod topology;

pub use error::{BoxError, Error, Result};
pub use record::{Change, Record};
