//! `cargo +nightly fuzz run segment_recover`: see [`log_store_fuzz::segment_recover`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log_store_fuzz::segment_recover(bytes));
