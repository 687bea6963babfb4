//! `cargo +nightly fuzz run snapshot_files`: see [`log_store_fuzz::snapshot_files`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log_store_fuzz::snapshot_files(bytes));
