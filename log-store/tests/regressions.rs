//! What the fuzzer found once (`fuzz/regressions/TARGET/…`), and bytes near to what is right, through the functions that
//! the fuzzer runs.

#[expect(unreachable_pub, reason = "the library of the fuzz targets")]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::{fs, io::Read, path::Path};

use log_store::{
    Offset, RecordView,
    batch::{self, BatchBuilder, Compression, Marker, MarkerKind, ProducerStamp, header, marker},
};
use proptest::{prelude::*, sample::Index};

#[test]
fn what_was_found_once_is_not_found_again() {
    for (name, target) in fuzz::TARGETS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(name);
        // No finding, no directory.
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let bytes = fs::read(entry.expect("a readable directory").path()).expect("a readable file");
            target(&bytes);
        }
    }
}

/// With a folder in the environment as `SEEDS` they are written there, one folder for each target, for the fuzzer.
#[test]
fn every_target_has_seeds_and_survives_them() {
    let seeds = fuzz::seeds::all();
    if let Some(corpus) = std::env::var_os("SEEDS") {
        for (number, (target, bytes)) in seeds.iter().enumerate() {
            let folder = Path::new(&corpus).join(target);
            fs::create_dir_all(&folder).expect("a folder that can be made");
            fs::write(folder.join(format!("seed-{number}")), bytes).expect("a file that can be written");
        }
    }
    for (name, target) in fuzz::TARGETS {
        let own: Vec<_> = seeds.iter().filter(|(of, _)| *of == name).collect();
        assert!(own.len() >= 2, "{name} has {} seeds", own.len());
        own.iter().for_each(|(_, bytes)| target(bytes));
    }
}

/// Batches that Kafka's own classes wrote, in all codecs.
fn of_kafka() -> Vec<u8> {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/formats/kafka-4.3.1/batches.log.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(packed).expect("a fixture")).read_to_end(&mut bytes).expect("gzip");
    bytes
}

/// Each mutation is of one batch or of the whole file: bytes changed, doubled, cut out, or numbers that claim too much.
#[test]
fn no_mutation_of_a_real_segment_is_more_than_an_error() {
    let rounds = std::env::var("MUTATIONS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(400);
    let whole = of_kafka();
    let batches: Vec<&[u8]> = batch::batches(&whole).map(|found| found.expect("a whole batch").bytes).collect();
    let mut seed = 0_u64;
    let mut random = move |limit: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % limit
    };
    for _ in 0..rounds {
        let mut bytes = batches[random(batches.len())].to_vec();
        bytes.extend_from_slice(batches[random(batches.len())]);
        for _ in 0..=random(3) {
            // The headers are where numbers are.
            let at = if random(2) == 0 { random(61) } else { random(bytes.len()) };
            match random(5) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = [0, 0x7f, 0x80, 0xff][random(4)],
                2 => bytes.truncate(at.max(1)),
                3 => _ = bytes.drain(at..(at + 1 + random(20)).min(bytes.len())),
                _ => {
                    let claim = [i32::MAX, i32::MIN, -1, 0, 1 << 30][random(5)].to_be_bytes();
                    let end = (at + 4).min(bytes.len());
                    bytes[at..end].copy_from_slice(&claim[..end - at]);
                }
            }
            if bytes.len() < 62 {
                break;
            }
        }
        // What the checksum protects is reached only with a right one.
        if random(2) == 0 && bytes.len() > 21 {
            let first = usize::try_from(i32::from_be_bytes(bytes[8..12].try_into().expect("four bytes"))).unwrap_or(0);
            let end = (12 + first).clamp(21, bytes.len());
            let checksum = crc32c::crc32c(&bytes[21..end]);
            bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        }
        fuzz::decode(&bytes);
        fuzz::recover(&bytes);
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
        fuzz::decode(&bytes);
        fuzz::recover(&bytes);
        bytes.truncate(end.index(bytes.len()));
        fuzz::recover(&bytes);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for (_, target) in fuzz::TARGETS {
            target(&bytes);
        }
    }

    /// Numbers that are small are nearer to what a file holds.
    #[test]
    fn any_small_numbers_are_survived(which: u8, numbers in prop::collection::vec(0_u32..9, 0..40)) {
        let mut bytes = vec![which];
        bytes.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        for (_, target) in fuzz::TARGETS {
            target(&bytes);
        }
    }
}
