import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Records in and out of the broker. On standard input and output a record is: 1, its partition (4 bytes), its time
 * (8 bytes), and key and value, each behind its length (4 bytes, -1 for null). A 0 ends them.
 */
final class Topics {
    private static final int BATCH_BYTES = 256 * 1024;

    /** {@code create|load|read BROKER TOPIC PARTITIONS [SETTING=VALUE …]}. */
    public static void main(String[] args) throws Exception {
        int partitions = Integer.parseInt(args[3]);
        switch (args[0]) {
            case "create" -> create(args[1], args[2], partitions, List.of(args).subList(4, args.length));
            case "load" -> load(args[1], args[2]);
            case "read" -> read(args[1], args[2], partitions);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    private static void create(String broker, String topic, int partitions, List<String> settings) throws Exception {
        Map<String, String> configs = new HashMap<>();
        for (String setting : settings) {
            String[] pair = setting.split("=", 2);
            configs.put(pair[0], pair[1]);
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all().get();
        }
    }

    private static void load(String broker, String topic) throws IOException {
        Properties config = new Properties();
        config.put("bootstrap.servers", broker);
        config.put("batch.size", BATCH_BYTES);
        config.put("linger.ms", 20);
        var in = new DataInputStream(new BufferedInputStream(System.in, BATCH_BYTES));
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            while (in.readByte() == 1) {
                int partition = in.readInt();
                long time = in.readLong();
                producer.send(new ProducerRecord<>(topic, partition, time, bytes(in), bytes(in)), (sent, failure) -> {
                    if (failure != null) {
                        failure.printStackTrace();
                        Runtime.getRuntime().halt(1);
                    }
                });
            }
        }
    }

    private static byte[] bytes(DataInputStream in) throws IOException {
        int length = in.readInt();
        return length < 0 ? null : in.readNBytes(length);
    }

    /** All committed records that there are now. */
    private static void read(String broker, String topic, int count) throws IOException {
        Properties config = new Properties();
        config.put("bootstrap.servers", broker);
        config.put("isolation.level", "read_committed");
        List<TopicPartition> partitions = new ArrayList<>();
        for (int number = 0; number < count; number++) partitions.add(new TopicPartition(topic, number));
        var out = new DataOutputStream(new BufferedOutputStream(System.out, BATCH_BYTES));
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    out.writeByte(1);
                    out.writeInt(record.partition());
                    out.writeLong(record.timestamp());
                    write(out, record.key());
                    write(out, record.value());
                }
            }
        }
        out.writeByte(0);
        out.flush();
    }

    private static void write(DataOutputStream out, byte[] bytes) throws IOException {
        out.writeInt(bytes == null ? -1 : bytes.length);
        if (bytes != null) out.write(bytes);
    }
}
