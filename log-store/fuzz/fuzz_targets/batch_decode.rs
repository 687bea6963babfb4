//! `cargo +nightly fuzz run batch_decode`: see [`log_store_fuzz::batch_decode`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log_store_fuzz::batch_decode(bytes));
