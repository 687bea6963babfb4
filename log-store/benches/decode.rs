//! One batch into records. Answers one question: what does it cost to reach each record, and what does the checksum add?

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use log_store::{
    Offset, RecordView, TopicName, TopicPartition,
    batch::{BatchBuilder, Compression, ProducerStamp, header},
    client::FetchedBatch,
};

const RECORDS: u32 = 1_000;

fn batch(compression: Compression) -> FetchedBatch {
    let mut builder = BatchBuilder::new();
    for index in 0..RECORDS {
        let key = format!("user-{index:011}");
        let timestamp = 1_700_000_000_000 + i64::from(index);
        builder.append(RecordView::new(timestamp, Some(key.as_bytes()), Some(&[0xa5; 100]))).expect("it is small");
    }
    FetchedBatch {
        partition: TopicPartition::new(TopicName::new("clicks").expect("a legal name"), 0),
        bytes: builder.finish(ProducerStamp::NONE, compression).freeze(),
        start: Offset::ZERO,
        next: Offset::new(u64::from(RECORDS)),
        aborted: [].into(),
    }
}

/// Reads all records as the engine does, and touches each key and value.
fn read(batch: &FetchedBatch) -> usize {
    let mut cursor = batch.cursor();
    let mut bytes = 0;
    while let Some(at) = cursor.advance().expect("well formed") {
        let record = cursor.view(&at);
        bytes += black_box(record.key).map_or(0, <[u8]>::len) + black_box(record.value).map_or(0, <[u8]>::len);
    }
    assert_eq!(bytes, RECORDS as usize * 116, "work was done");
    bytes
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    for compression in Compression::ALL {
        let batch = batch(compression);
        group.bench_function(BenchmarkId::from_parameter(compression.name()), |bencher| bencher.iter(|| read(&batch)));
    }
    let batch = batch(Compression::None);
    group.bench_function("none_verified", |bencher| {
        bencher.iter(|| {
            header::verify(&batch.bytes).expect("the checksum is right");
            read(&batch)
        });
    });
}

criterion_group!(benches, decode);
criterion_main!(benches);
