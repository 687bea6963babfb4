//! Running a topology: threads, restores, commits, and the handle that the user holds.
//!
//! `thread_state` decides what a stream thread does next, `thread` obeys; `committer` makes work final, `restorer` fills
//! stores; `lifecycle` is what the outside sees.

mod application;
pub(crate) mod blueprint;
mod cleaner;
mod committer;
mod control;
mod fingerprint;
pub(crate) mod global_stores;
mod global_thread;
mod inputs;
mod instances;
mod internal_topics;
mod lifecycle;
mod metrics;
mod orphans;
mod pace;
mod process_id;
mod purge;
pub(crate) mod queries;
pub(crate) mod restore_progress;
mod restorer;
mod settings;
mod standby;
mod standby_thread;
pub(crate) mod startup;
mod streams;
mod thread;
mod thread_state;

#[cfg(test)]
mod tests;

pub(crate) use application::Application;
pub use application::{StreamThreadExceptionResponse, UncaughtExceptionHandler};
pub use lifecycle::{State, StateListener};
pub use metrics::Metric;
pub use restore_progress::{RestoreListener, RestoreProgress};
pub(crate) use settings::Settings;
pub(crate) use standby_thread::StandbyWork;
pub use streams::{LagInfo, Streams};
pub(crate) use thread::StreamThread;
pub use thread_state::StreamThreadState;
