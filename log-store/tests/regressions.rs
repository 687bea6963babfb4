//! What the fuzzer found once (`fuzz/regressions/TARGET/…`), and bytes near to what is right, through the functions that
//! the fuzzer runs.

#[expect(unreachable_pub, reason = "the library of the fuzz targets")]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::{fs, path::Path};

use log_store::{
    Offset, RecordView,
    batch::{BatchBuilder, Compression, Marker, MarkerKind, ProducerStamp, header, marker},
};
use proptest::{prelude::*, sample::Index};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 4] = [
    ("batch_decode", fuzz::batch_decode),
    ("segment_recover", fuzz::segment_recover),
    ("small_files", fuzz::small_files),
    ("group_offsets", fuzz::group_offsets),
];

#[test]
fn what_was_found_once_is_not_found_again() {
    for (name, target) in TARGETS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(name);
        // No finding, no directory.
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let bytes = fs::read(entry.expect("a readable directory").path()).expect("a readable file");
            target(&bytes);
        }
    }
}

/// Batches as a producer writes them.
fn batches() -> impl Strategy<Value = Vec<u8>> {
    let batch = (1_u32..20, prop::sample::select(&Compression::ALL), any::<bool>());
    prop::collection::vec(batch, 1..4).prop_map(|batches| {
        let (mut bytes, mut next) = (Vec::new(), 0);
        for (count, compression, is_transactional) in batches {
            let mut builder = BatchBuilder::new();
            for index in 0..count {
                let record = RecordView::new(i64::from(index), Some(b"key"), Some(b"a value of some length"));
                builder.append(record).expect("a small record");
            }
            let stamp = ProducerStamp { id: 0, epoch: 0, sequence: 0, is_transactional };
            let mut batch = builder.finish(if is_transactional { stamp } else { ProducerStamp::NONE }, compression);
            if is_transactional {
                let mut end = marker(0, 1, 0, Marker { kind: MarkerKind::Abort, coordinator_epoch: 0 });
                header::set_base_offset(&mut end, Offset::new(u64::from(count)));
                batch.extend_from_slice(&end);
            }
            header::set_base_offset(&mut batch, Offset::new(next));
            next += u64::from(count);
            bytes.extend_from_slice(&batch);
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_batches_are_survived(mut bytes in batches(), at: Index, byte: u8, end: Index) {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        fuzz::batch_decode(&bytes);
        fuzz::segment_recover(&bytes);
        bytes.truncate(end.index(bytes.len()));
        fuzz::segment_recover(&bytes);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for (_, target) in TARGETS {
            target(&bytes);
        }
    }

    /// Numbers that are small are nearer to what a file holds.
    #[test]
    fn any_small_numbers_are_survived(which: u8, numbers in prop::collection::vec(0_u32..9, 0..40)) {
        let mut bytes = vec![which];
        bytes.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        fuzz::small_files(&bytes);
        fuzz::group_offsets(&bytes);
    }
}
