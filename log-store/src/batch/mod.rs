//! Record batch v2: the checksummed unit of append and fetch.

pub(crate) mod varint;
