//! Money transfer: exactly once, whatever crashes.
//!
//! Each transfer takes from one account and gives to another. Reading a transfer, changing balances and writing the
//! bookings is one transaction, so money neither vanishes nor appears: not when the program stops in the middle, which
//! this one does on purpose.

use std::{
    collections::BTreeMap,
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use examples::println;
use serde::{Deserialize, Serialize};
use streams_dsl::prelude::*;

const ACCOUNTS: u64 = 10;
const TRANSFERS: u64 = 2_000;
const FIRST_BALANCE: i64 = 1_000;

#[derive(Clone, Serialize, Deserialize)]
struct Transfer {
    from: u64,
    to: u64,
    cents: i64,
}

impl Data for Transfer {
    type Serde = Json;
}

/// `transfers_before_crash`: after so many the processor fails, once.
fn bank(transfers_before_crash: Option<u64>) -> streams_core::Result<Topology> {
    let seen = Arc::new(AtomicU64::new(0));
    let builder = StreamsBuilder::new();
    builder
        .stream::<u64, Transfer>("transfers")
        // Both halves of a transfer come out of one record, so they are in one transaction.
        .flat_map(move |_number, transfer| {
            if Some(seen.fetch_add(1, Ordering::Relaxed)) == transfers_before_crash {
                panic!("the lights went out");
            }
            [(transfer.from, -transfer.cents), (transfer.to, transfer.cents)]
        })
        .group_by_key()
        .aggregate_with(|| FIRST_BALANCE, |_, cents, balance: i64| balance + cents, Materialized::new("balances"))
        .to_stream()
        .to("balances");
    builder.build()
}

fn main() -> anyhow::Result<()> {
    // A panic in a processor stops the application with an error; its text is not what this is about.
    std::panic::set_hook(Box::new(|_| {}));
    let folder = env::temp_dir().join(format!("money-transfer-{}", std::process::id()));
    // Exactly-once is the default. With `ProcessingGuarantee::AtLeastOnce` the sum below would be wrong.
    let config = || StreamsConfig::builder("money-transfer").processing_guarantee(ProcessingGuarantee::ExactlyOnceV2);

    let app = EmbeddedStreams::open(&folder, config(), bank(Some(TRANSFERS / 2))?)?;
    let transfer = |number: u64| Transfer {
        from: number * 7 % ACCOUNTS,
        to: number * 3 % ACCOUNTS + u64::from(number.is_multiple_of(5)),
        cents: (number % 97).cast_signed(),
    };
    app.write("transfers", (0..TRANSFERS).map(|number| (number, transfer(number), number.cast_signed())))?;
    let stopped = app.run_until_idle();
    println!("the first run stopped: {}", stopped.is_err());
    drop(app);

    // The same folder again: what was committed is there, what was not is done now.
    let app = EmbeddedStreams::open(&folder, config(), bank(None)?)?;
    app.run_until_idle()?;
    let balances: BTreeMap<u64, i64> = app.read_latest("balances")?;
    app.close()?;
    fs::remove_dir_all(&folder)?;

    let mut expected: BTreeMap<u64, i64> = BTreeMap::new();
    for Transfer { from, to, cents } in (0..TRANSFERS).map(transfer) {
        *expected.entry(from).or_insert(FIRST_BALANCE) -= cents;
        *expected.entry(to).or_insert(FIRST_BALANCE) += cents;
    }
    println!("every balance is right: {}", balances == expected);
    let money: i64 = balances.values().sum();
    println!("{} accounts, {money} cents, as many as there were", balances.len());
    anyhow::ensure!(balances == expected, "got {balances:?}, expected {expected:?}");
    Ok(())
}
