//! `cargo +nightly fuzz run small_files`: see [`log_store_fuzz::small_files`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log_store_fuzz::small_files(bytes));
