//! Producers with transactions, zombies among them, readers, groups, retention and compaction against a model, with
//! power cuts in between and disks that fail in every way.
//!
//! What was acknowledged is there, once and in order; what was aborted is never seen by a reader of committed records;
//! nothing else appears; a transaction whose commit failed is all there or not at all, offsets of groups included; and
//! cleaning takes only what it may.
//!
//! An ordinary run makes the same operations each time, so that it does not fail by chance, and more than 100,000 of them
//! have an effect, which the test counts. `MODEL_CASES` makes it longer and different; the seed is printed, and
//! `MODEL_SEED` repeats it. A failing case is printed, shrunk, and kept in `proptest-regressions`, from where it replays
//! first.
//!
//! The tests are alive: each of these mutants was made by hand, one at a time, and each made this test fail, unless another
//! one is named.
//!
//! * Append: what is appended is not noted for the next sync; producers are not told of a batch; the tail in memory has a
//!   wrong end; the files of a sealed segment are not synced; the name of a new segment is not synced.
//! * Recovery: a checksum is not looked at; a segment that is missing between two others is passed over; snapshots of
//!   producers behind the recovery point are believed; what was deleted counts as lost; the index of aborted transactions
//!   that opening rebuilds is not durable (`transactions`); recovery keeps an empty segment that a power cut has brought
//!   back (`cleaning`).
//! * Transactions: the decision is written before the data is synced; it is not synced itself; opening aborts what the
//!   decisions call committed, or commits what they do not mention; the epoch does not rise when a producer takes over; a
//!   producer with an older epoch may add partitions, one with a failed send may commit (`transactions`); what has timed
//!   out is committed; the last stable offset is the log end; readers are not told of aborted transactions.
//! * Groups: offsets count when they are sent; of two commits the one counts whose transaction ends last; those of aborted
//!   transactions count.
//! * Compaction and retention: aborted records count as the last of their key; records behind the last stable offset are
//!   compacted; the index of a compacted segment forgets what was aborted; nothing is checkpointed before; readers do not
//!   get past what was compacted away, the old segments stay beside the new one, an opening forgets a swap that a crash
//!   interrupted, segments go before the log start is written down, or segments before it are looked at like the others
//!   (`cleaning`).

mod truth;
mod world;

use proptest::prelude::*;

use self::world::{COUNTS, GROUPS, IDS, SLOTS, TARGETS, World};
use crate::support::{Failing, failing, is_longer_run, model_config};

/// Keys of the topic that is compacted.
const KEYS: u8 = 5;

#[derive(Clone, Debug)]
enum Op {
    /// A new producer in this slot takes over a transactional id.
    TakeOver {
        slot: usize,
        id: usize,
    },
    /// Records in the transaction of a slot, which begins one if none is open: keys, and whether they are deleted, where
    /// keys count.
    Send {
        slot: usize,
        to: usize,
        records: Vec<(u8, bool)>,
        is_flushed: bool,
    },
    /// Offsets of a group in the transaction of a slot.
    Offsets {
        slot: usize,
        group: usize,
    },
    End {
        slot: usize,
        is_commit: bool,
    },
    /// Records outside of transactions.
    Plain {
        to: usize,
        records: Vec<(u8, bool)>,
        is_flushed: bool,
    },
    /// Offsets of a group outside of transactions.
    Commit {
        group: usize,
    },
    /// Retention and compaction.
    Clean,
    /// Deletes the front of a partition, up to this part of it.
    Trim {
        percent: u64,
    },
    /// Time passes: transactions and tombstones become old.
    Wait {
        seconds: u64,
    },
    /// Everything is read and compared.
    Look,
    Crash {
        seed: u64,
    },
    Close,
    /// The disk fails, from some call on.
    Fail(Failing),
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS;
    let records = || prop::collection::vec((0..KEYS, prop::bool::weighted(0.2)), 1..4);
    prop_oneof![
        3 => (slot(), 0..IDS).prop_map(|(slot, id)| Op::TakeOver { slot, id }),
        16 => (slot(), 0..TARGETS, records(), any::<bool>())
            .prop_map(|(slot, to, records, is_flushed)| Op::Send { slot, to, records, is_flushed }),
        3 => (slot(), 0..GROUPS).prop_map(|(slot, group)| Op::Offsets { slot, group }),
        10 => (slot(), prop::bool::weighted(0.7)).prop_map(|(slot, is_commit)| Op::End { slot, is_commit }),
        7 => (0..TARGETS, records(), any::<bool>())
            .prop_map(|(to, records, is_flushed)| Op::Plain { to, records, is_flushed }),
        2 => (0..GROUPS).prop_map(|group| Op::Commit { group }),
        4 => Just(Op::Clean),
        1 => (0..=100_u64).prop_map(|percent| Op::Trim { percent }),
        2 => (10..50_u64).prop_map(|seconds| Op::Wait { seconds }),
        1 => Just(Op::Look),
        2 => any::<u64>().prop_map(|seed| Op::Crash { seed }),
        1 => Just(Op::Close),
        2 => failing().prop_map(Op::Fail),
    ]
}

proptest! {
    #![proptest_config(model_config(1_500))]

    fn any_operations_in_any_order(ops in prop::collection::vec(op(), 1..160)) {
        let mut world = World::new();
        for op in &ops {
            world.step(op);
        }
        world.finish();
    }
}

#[test]
fn transactions_are_all_or_nothing_whatever_happens() {
    any_operations_in_any_order();
    println!("{COUNTS}");
    if !is_longer_run() {
        COUNTS.check();
    }
}
