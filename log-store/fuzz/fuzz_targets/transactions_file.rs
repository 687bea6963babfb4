//! `cargo +nightly fuzz run transactions_file`: see [`log_store_fuzz::transactions_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log_store_fuzz::transactions_file(bytes));
