//! `cargo +nightly fuzz run broker_transactions`: see [`log_store_fuzz::broker_transactions`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log_store_fuzz::broker_transactions(bytes));
