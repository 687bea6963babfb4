import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Arrays;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.Suppressed.BufferConfig;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.WindowStore;

/** The twins of the topologies in tests/bench/src, operator for operator, as a user of Kafka Streams writes them. */
final class Topologies {
    private static final Serde<Long> LONG = Serdes.Long();
    private static final Serde<String> STRING = Serdes.String();
    private static final Serde<byte[]> BYTES = Serdes.ByteArray();

    /** What makes numbers again of the words that tests/bench/src/crash/text.rs makes of them. */
    private static final long UNSCRAMBLE = 0xf1de83e19937733dL;

    static Topology named(String name) {
        StreamsBuilder builder = new StreamsBuilder();
        switch (name) {
            case "windows" -> windows(builder);
            case "sessions" -> sessions(builder);
            case "stream-join" -> streamJoin(builder);
            case "foreign-key-join" -> foreignKeyJoin(builder);
            case "word-count" -> wordCount(builder);
            case "stateless" -> stateless(builder);
            case "restore" -> lastValues(builder);
            case "crash" -> countsAndTotals(builder);
            default -> throw new IllegalArgumentException("no topology " + name);
        }
        return builder.build();
    }

    private static void windows(StreamsBuilder builder) {
        builder.stream("left", Consumed.with(LONG, LONG))
            .groupByKey(Grouped.with(LONG, LONG))
            .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofSeconds(10)))
            .count()
            .suppress(Suppressed.untilWindowCloses(BufferConfig.unbounded()))
            .toStream()
            .map((card, count) -> KeyValue.pair(card.key(), count))
            .to("out", Produced.with(LONG, LONG));
    }

    private static void sessions(StreamsBuilder builder) {
        builder.stream("left", Consumed.with(LONG, LONG))
            .groupByKey(Grouped.with(LONG, LONG))
            .windowedBy(SessionWindows.ofInactivityGapWithNoGrace(Duration.ofMillis(100)))
            .count()
            .suppress(Suppressed.untilWindowCloses(BufferConfig.unbounded()))
            .toStream()
            .map((visitor, count) -> KeyValue.pair(visitor.key(), count))
            .to("out", Produced.with(LONG, LONG));
    }

    private static void streamJoin(StreamsBuilder builder) {
        builder.stream("left", Consumed.with(LONG, LONG))
            .join(
                builder.stream("right", Consumed.with(LONG, LONG)),
                (left, right) -> left + right,
                JoinWindows.ofTimeDifferenceWithNoGrace(Duration.ofSeconds(1)),
                StreamJoined.with(LONG, LONG, LONG))
            .to("out", Produced.with(LONG, LONG));
    }

    private static void foreignKeyJoin(StreamsBuilder builder) {
        builder.table("left", Consumed.with(LONG, LONG))
            .<Long, Long, Long>join(
                builder.table("right", Consumed.with(LONG, LONG)),
                product -> product,
                (order, price) -> price,
                Materialized.with(LONG, LONG))
            .toStream()
            .to("out", Produced.with(LONG, LONG));
    }

    private static void wordCount(StreamsBuilder builder) {
        builder.stream("lines", Consumed.with(BYTES, STRING))
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with(STRING, STRING))
            .count(Materialized.as("counts"))
            .toStream()
            .to("word-counts", Produced.with(STRING, LONG));
    }

    private static void stateless(StreamsBuilder builder) {
        builder.stream("in", Consumed.with(LONG, BYTES))
            .filter((key, value) -> key % 10 != 0)
            .mapValues(value -> {
                byte[] rotated = new byte[value.length];
                System.arraycopy(value, 1, rotated, 0, value.length - 1);
                rotated[value.length - 1] = value[0];
                return rotated;
            })
            .to("out", Produced.with(LONG, BYTES));
    }

    private static void lastValues(StreamsBuilder builder) {
        builder.stream("updates", Consumed.with(BYTES, BYTES))
            .groupByKey(Grouped.with(BYTES, BYTES))
            .reduce((old, fresh) -> fresh, Materialized.as("values"))
            .toStream()
            .to("out", Produced.with(BYTES, BYTES));
    }

    private static void countsAndTotals(StreamsBuilder builder) {
        KStream<byte[], String> words = builder.stream("lines", Consumed.with(BYTES, STRING))
            .flatMapValues(line -> Arrays.asList(line.split(" ")));
        words.groupBy((key, word) -> word, Grouped.with(STRING, STRING))
            .count(Materialized.as("counts"))
            .toStream()
            .to("counted", Produced.with(STRING, LONG));
        words.map((key, word) -> {
                long number = Long.parseUnsignedLong(word, 16) * UNSCRAMBLE - 1;
                return KeyValue.pair(number % 64, number % 1_000);
            })
            .groupByKey(Grouped.with(LONG, LONG))
            .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(1), Duration.ofHours(24)))
            .aggregate(
                () -> new Totals(0, 0),
                (key, value, totals) -> new Totals(totals.count() + 1, totals.sum() + value),
                Materialized.<Long, Totals, WindowStore<Bytes, byte[]>>as("totals").withValueSerde(Totals.SERDE))
            .toStream()
            .map((window, totals) -> KeyValue.pair(window.window().start() + " " + window.key(), totals))
            .to("totalled", Produced.with(STRING, Totals.SERDE));
    }

    private record Totals(long count, long sum) {
        static final Serde<Totals> SERDE = Serdes.serdeFrom(
            (topic, totals) -> totals == null
                ? null
                : ByteBuffer.allocate(16).putLong(totals.count()).putLong(totals.sum()).array(),
            (topic, bytes) -> {
                if (bytes == null) return null;
                ByteBuffer buffer = ByteBuffer.wrap(bytes);
                return new Totals(buffer.getLong(), buffer.getLong());
            });
    }
}
