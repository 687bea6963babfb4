// Writes topics through a real broker, and what its own consumers then find in them, as one JSON object a line: the
// fixture that tests/kafka/directory.rs opens. Arguments: bootstrap servers, file to write.
import java.io.PrintWriter;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

public class WriteTopics {
    static String bootstrap;
    static PrintWriter out;

    static KafkaProducer<String, String> producer(String... settings) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "linger.ms", 5));
        for (int i = 0; i < settings.length; i += 2) config.put(settings[i], settings[i + 1]);
        return new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(String isolation, String group) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "isolation.level", isolation,
            "auto.offset.reset", "earliest", "enable.auto.commit", false));
        if (group != null) config.put("group.id", group);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static ProducerRecord<String, String> record(String topic, int i) {
        List<Header> headers = i % 5 != 0 ? List.of() : List.of(
            new RecordHeader("twice", new byte[] {(byte) i}), new RecordHeader("twice", (byte[]) null));
        return new ProducerRecord<>(topic, i % 3, 1_700_000_000_000L + i * 37 % 1000, i % 7 == 0 ? null : "key-" + i % 40,
            i % 11 == 0 ? null : "value " + i + " " + "v".repeat(i % 60), headers);
    }

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        out = new PrintWriter(args[1], "UTF-8");
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            Map<String, String> small = Map.of("segment.ms", "300", "retention.ms", "-1", "index.interval.bytes", "1000");
            Map<String, String> compacted = new HashMap<>(small);
            compacted.putAll(Map.of("cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.01",
                "delete.retention.ms", "86400000", "segment.ms", "100"));
            Map<String, String> append = new HashMap<>(small);
            append.put("message.timestamp.type", "LogAppendTime");
            List<NewTopic> topics = new ArrayList<>();
            topics.add(new NewTopic("append-time", 3, (short) 1).configs(append));
            topics.add(new NewTopic("transactions", 3, (short) 1).configs(small));
            topics.add(new NewTopic("compacted", 3, (short) 1).configs(compacted));
            topics.add(new NewTopic("trimmed", 3, (short) 1).configs(small));
            for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd"))
                topics.add(new NewTopic("plain." + codec, 3, (short) 1).configs(small));
            admin.createTopics(topics).all().get();

            for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
                try (KafkaProducer<String, String> to = producer("compression.type", codec)) {
                    for (int i = 0; i < 300; i++) {
                        to.send(record("plain." + codec, i));
                        if (i % 50 == 0) to.flush();
                    }
                }
            }
            try (KafkaProducer<String, String> to = producer()) {
                for (int i = 0; i < 100; i++) to.send(record("append-time", i));
                for (int i = 0; i < 900; i++) to.send(record("trimmed", i));
                for (int i = 0; i < 1500; i++) {
                    // No null keys in a compacted topic.
                    var one = record("compacted", i);
                    to.send(new ProducerRecord<>(one.topic(), one.partition(), one.timestamp(), "key-" + i % 40, one.value()));
                    if (i % 20 == 0) to.flush();
                }
            }
            admin.deleteRecords(Map.of(new TopicPartition("trimmed", 1), RecordsToDelete.beforeOffset(123))).all().get();
            transactions();
            // The cleaner has done its work once the front of the topic is thin.
            long deadline = System.currentTimeMillis() + 60_000;
            while (records("compacted", "read_uncommitted") > 900 && System.currentTimeMillis() < deadline) {
                try (KafkaProducer<String, String> to = producer()) {
                    for (int i = 0; i < 3; i++) to.send(new ProducerRecord<>("compacted", i, "key-0", "again"));
                }
                Thread.sleep(2000);
            }
            for (NewTopic topic : topics) {
                for (String isolation : List.of("read_uncommitted", "read_committed")) describe(topic.name(), isolation, true);
                times(admin, topic.name());
            }
        }
        out.close();
    }

    /** Two producers whose transactions overlap, one of them aborting now and then; a group's offsets among them. */
    static void transactions() throws Exception {
        try (KafkaProducer<String, String> a = producer("transactional.id", "a");
             KafkaProducer<String, String> b = producer("transactional.id", "b", "compression.type", "lz4");
             KafkaProducer<String, String> plain = producer();
             KafkaConsumer<byte[], byte[]> reader = consumer("read_committed", "readers")) {
            a.initTransactions();
            b.initTransactions();
            reader.subscribe(List.of("plain.none"));
            while (reader.poll(Duration.ofMillis(200)).isEmpty()) { }
            for (int i = 0; i < 40; i++) {
                a.beginTransaction();
                b.beginTransaction();
                for (int j = 0; j < 12; j++) {
                    a.send(record("transactions", i * 12 + j));
                    b.send(record("transactions", 10_000 + i * 12 + j));
                    if (j % 5 == 0) plain.send(record("transactions", 20_000 + i * 12 + j));
                }
                a.flush();
                plain.flush();
                b.flush();
                Map<TopicPartition, OffsetAndMetadata> offsets = Map.of(
                    new TopicPartition("plain.none", i % 3), new OffsetAndMetadata(i, "after " + i));
                a.sendOffsetsToTransaction(offsets, reader.groupMetadata());
                if (i % 3 == 1) a.abortTransaction(); else a.commitTransaction();
                if (i % 5 == 2) b.abortTransaction(); else b.commitTransaction();
            }
            // Left open, in the middle of everything.
            KafkaProducer<String, String> open = producer("transactional.id", "open", "transaction.timeout.ms", "900000");
            open.initTransactions();
            open.beginTransaction();
            for (int j = 0; j < 6; j++) open.send(record("transactions", 30_000 + j));
            open.flush();
            for (int j = 0; j < 6; j++) plain.send(record("transactions", 40_000 + j));
            plain.flush();
            for (var committed : reader.committed(Set.of(new TopicPartition("plain.none", 0),
                    new TopicPartition("plain.none", 1), new TopicPartition("plain.none", 2))).entrySet()) {
                if (committed.getValue() == null) continue;
                out.printf("{\"group\":\"readers\",\"topic\":\"plain.none\",\"partition\":%d,\"offset\":%d,\"metadata\":\"%s\"}%n",
                    committed.getKey().partition(), committed.getValue().offset(), committed.getValue().metadata());
            }
            reader.unsubscribe();
        }
    }

    static long records(String topic, String isolation) { return describe(topic, isolation, false); }

    /** All records as the consumer gives them: offset, timestamp, and a hash of key, value and headers. */
    static long describe(String topic, String isolation, boolean print) {
        long count = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(isolation, null)) {
            for (int partition = 0; partition < 3; partition++) {
                TopicPartition one = new TopicPartition(topic, partition);
                consumer.assign(List.of(one));
                consumer.seekToBeginning(List.of(one));
                long begin = consumer.position(one), end = consumer.endOffsets(List.of(one)).get(one);
                StringBuilder records = new StringBuilder();
                while (consumer.position(one) < end) {
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                        count++;
                        records.append(records.isEmpty() ? "" : ",").append('[').append(record.offset()).append(',')
                            .append(record.timestamp()).append(',').append(hash(record)).append(']');
                    }
                }
                if (print) out.printf("{\"topic\":\"%s\",\"partition\":%d,\"isolation\":\"%s\",\"start\":%d,\"end\":%d,\"records\":[%s]}%n",
                    topic, partition, isolation, begin, end, records);
            }
        }
        return count;
    }

    /** FNV-1a of key, value and headers, nulls told from empty. */
    static long hash(ConsumerRecord<byte[], byte[]> record) {
        long[] hash = {0xcbf29ce484222325L};
        add(hash, record.key());
        add(hash, record.value());
        for (Header header : record.headers()) {
            add(hash, header.key().getBytes());
            add(hash, header.value());
        }
        // Fits in the integers of JSON.
        return hash[0] >>> 11;
    }

    static void add(long[] hash, byte[] bytes) {
        step(hash, bytes == null ? 0 : 1);
        if (bytes != null) for (byte b : bytes) step(hash, b & 0xff);
    }

    static void step(long[] hash, int value) {
        hash[0] = (hash[0] ^ value) * 0x100000001b3L;
    }

    /** Look-ups by time. */
    static void times(Admin admin, String topic) throws Exception {
        for (int partition = 0; partition < 3; partition++) {
            TopicPartition one = new TopicPartition(topic, partition);
            for (long time : new long[] {0, 1_700_000_000_000L, 1_700_000_000_333L, 1_700_000_000_500L, 1_700_000_000_998L, 9_999_999_999_999L}) {
                var found = admin.listOffsets(Map.of(one, OffsetSpec.forTimestamp(time))).all().get().get(one);
                out.printf("{\"topic\":\"%s\",\"partition\":%d,\"time\":%d,\"offset\":%d,\"timestamp\":%d}%n",
                    topic, partition, time, found.offset(), found.timestamp());
            }
        }
    }
}
