//! `cargo +nightly fuzz run index_files`: see [`log_store_fuzz::index_files`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log_store_fuzz::index_files(bytes));
