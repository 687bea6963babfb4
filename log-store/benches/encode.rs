//! Records into one batch. Answers one question: what do framing and checksum cost per record?

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use log_store::{
    RecordView,
    batch::{BatchBuilder, Compression, ProducerStamp},
};

const RECORDS: u32 = 1_000;
const VALUE: [u8; 100] = [0xa5; 100];

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    for compression in Compression::ALL {
        group.bench_function(BenchmarkId::from_parameter(compression.name()), |bencher| {
            let mut builder = BatchBuilder::with_capacity(256 << 10);
            let mut key = *b"user-00000000000";
            bencher.iter(|| {
                for index in 0..RECORDS {
                    key[12..].copy_from_slice(&index.to_be_bytes());
                    let timestamp = 1_700_000_000_000 + i64::from(index);
                    builder.append(RecordView::new(timestamp, Some(&key), Some(&VALUE))).expect("it is small");
                }
                let batch = builder.finish(ProducerStamp::NONE, compression);
                assert!(batch.len() > 1_000, "work was done");
                batch
            });
        });
    }
}

criterion_group!(benches, encode);
criterion_main!(benches);
