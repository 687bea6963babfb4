//! `cargo +nightly fuzz run checkpoint_files`: see [`log_store_fuzz::checkpoint_files`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log_store_fuzz::checkpoint_files(bytes));
