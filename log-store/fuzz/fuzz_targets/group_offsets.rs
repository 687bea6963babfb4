//! `cargo +nightly fuzz run group_offsets`: see [`log_store_fuzz::group_offsets`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log_store_fuzz::group_offsets(bytes));
