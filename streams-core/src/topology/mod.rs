//! The topology: sources, processors, stores and sinks, connected.

mod node;

pub use node::{Sink, Source};
