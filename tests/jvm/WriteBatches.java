// Writes a segment with Kafka's own classes: what tests/kafka/read.rs expects to find in it.
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;

public class WriteBatches {
    static final int RECORDS = 200;

    static SimpleRecord record(int i) {
        byte[] key = i % 7 == 0 ? null : ("key-" + i).getBytes(StandardCharsets.UTF_8);
        byte[] value = i % 11 == 0 ? null : "v".repeat(i * 5).getBytes(StandardCharsets.UTF_8);
        Header[] headers = i % 5 != 0 ? new Header[0] : new Header[] {
            new RecordHeader("twice", new byte[] {(byte) i}), new RecordHeader("twice", (byte[]) null)};
        // Time goes back now and then.
        return new SimpleRecord(1_000_000 + i * 37 % 100, key, value, headers);
    }

    public static void main(String[] args) throws Exception {
        ByteBuffer out = ByteBuffer.allocate(4 << 20);
        long offset = 0;
        SimpleRecord[] records = new SimpleRecord[RECORDS];
        for (int i = 0; i < RECORDS; i++) records[i] = record(i);
        for (CompressionType type : CompressionType.values()) {
            Compression codec = Compression.of(type).build();
            out.put(MemoryRecords.withRecords(offset, codec, 3, records).buffer());
            offset += RECORDS;
            try (MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 20),
                    RecordBatch.MAGIC_VALUE_V2, codec, TimestampType.LOG_APPEND_TIME, offset, 7_777_777L)) {
                for (SimpleRecord record : records) builder.append(record);
                out.put(builder.build().buffer());
            }
            offset += RECORDS;
            out.put(MemoryRecords.withTransactionalRecords(offset, codec, 42, (short) 1, 2147483600, 3, records).buffer());
            offset += RECORDS;
            ControlRecordType end = type == CompressionType.GZIP ? ControlRecordType.ABORT : ControlRecordType.COMMIT;
            out.put(MemoryRecords.withEndTransactionMarker(offset, 8_888_888L, 3, 42, (short) 1,
                new EndTransactionMarker(end, 17)).buffer());
            offset += 1;
        }
        out.flip();
        byte[] bytes = new byte[out.remaining()];
        out.get(bytes);
        Files.write(Path.of(args[0]), bytes);
    }
}
