//! Consumer groups: who reads what, and how far.

mod assignor;
mod membership;
mod record;
