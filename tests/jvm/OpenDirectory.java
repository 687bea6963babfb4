// Opens the partitions of a log directory with the broker's own class, UnifiedLog, and tells what it finds: one line for
// each partition, with words that tests/kafka/directory.rs compares. Arguments: directory; `clean`, `crashed`, or `cleaned`
// for a clean one whose compacted topics the broker's own Cleaner compacts first.
import java.io.File;
import java.nio.file.Files;
import java.util.*;
import java.util.stream.*;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.storage.log.FetchIsolation;
import org.apache.kafka.server.util.KafkaScheduler;
import org.apache.kafka.storage.internals.log.*;
import org.apache.kafka.storage.internals.utils.Throttler;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

public class OpenDirectory {
    public static void main(String[] args) throws Exception {
        File home = new File(args[0]);
        boolean isClean = !args[1].equals("crashed");
        boolean compacts = args[1].equals("cleaned");
        Map<String, Long> starts = offsets(new File(home, "log-start-offset-checkpoint"));
        Map<String, Long> recovered = offsets(new File(home, "recovery-point-offset-checkpoint"));
        KafkaScheduler scheduler = new KafkaScheduler(1);
        scheduler.startup();
        File[] partitions = home.listFiles(file -> file.isDirectory() && file.getName().matches(".+-\\d+"));
        Arrays.sort(partitions);
        for (File partition : partitions) {
            String name = partition.getName();
            UnifiedLog log = UnifiedLog.create(partition, new LogConfig(Map.of("retention.ms", "-1",
                    "cleanup.policy", name.startsWith("compacted") ? "compact" : "delete")),
                starts.getOrDefault(name, 0L), recovered.getOrDefault(name, 0L), scheduler, new BrokerTopicStats(),
                Time.SYSTEM, 900_000, new ProducerStateManagerConfig(86_400_000, false), 600_000,
                new LogDirFailureChannel(1), isClean, Optional.empty());
            log.updateHighWatermark(log.logEndOffset());
            if (compacts && name.startsWith("compacted")) compact(log);
            System.out.printf("partition %s start %d end %d stable %d segments %s%n", name, log.logStartOffset(), log.logEndOffset(),
                log.lastStableOffset(), log.logSegments().stream().map(s -> "" + s.baseOffset()).collect(Collectors.joining(",")));
            read(log);
            for (AbortedTxn aborted : log.collectAbortedTransactions(log.logStartOffset(), log.logEndOffset()))
                System.out.printf("aborted %d from %d to %d%n", aborted.producerId(), aborted.firstOffset(), aborted.lastOffset());
            log.activeProducers().stream().sorted(Comparator.comparingLong(p -> p.producerId())).forEach(p ->
                System.out.printf("producer %d epoch %d sequence %d open %d%n", p.producerId(), p.producerEpoch(), p.lastSequence(),
                    p.currentTxnStartOffset()));
            for (long time : new long[] {0, 500, 1_003, 1_500, 9_999_999})
                System.out.printf("time %d at %d%n", time, log.fetchOffsetByTimestamp(time, Optional.empty())
                    .timestampAndOffsetOpt().map(found -> found.offset).orElse(-1L));
            // A broker goes on writing.
            log.roll();
            log.close();
        }
        scheduler.shutdown();
    }

    static void compact(UnifiedLog log) throws Exception {
        log.roll();
        log.updateHighWatermark(log.logEndOffset());
        Cleaner cleaner = new Cleaner(0, new SkimpyOffsetMap(1 << 20), 1 << 16, 1 << 20, 0.9,
            new Throttler(Double.MAX_VALUE, 300, "cleaner", "bytes", Time.SYSTEM), Time.SYSTEM, partition -> { });
        long end = cleaner.clean(new LogToClean(log, log.logStartOffset(), log.lastStableOffset(), true)).getKey();
        System.out.printf("compacted %s to %d%n", log.name(), end);
    }

    static void read(UnifiedLog log) throws Exception {
        long from = log.logStartOffset();
        while (from < log.logEndOffset()) {
            long before = from;
            for (RecordBatch batch : log.read(from, 1 << 20, FetchIsolation.LOG_END, true).records.batches()) {
                batch.ensureValid();
                from = batch.nextOffset();
                if (batch.isControlBatch()) continue;
                for (org.apache.kafka.common.record.internal.Record record : batch) {
                    if (record.offset() < before) continue;
                    long[] hash = {0xcbf29ce484222325L};
                    add(hash, record.hasKey() ? bytes(record.key()) : null);
                    add(hash, record.hasValue() ? bytes(record.value()) : null);
                    for (Header header : record.headers()) {
                        add(hash, header.key().getBytes());
                        add(hash, header.value());
                    }
                    System.out.printf("record %d %d %d%n", record.offset(), record.timestamp(), hash[0] >>> 11);
                }
            }
            if (from == before) throw new IllegalStateException("nothing at " + from);
        }
    }

    static byte[] bytes(java.nio.ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes;
    }

    /** FNV-1a, nulls told from empty. */
    static void add(long[] hash, byte[] bytes) {
        step(hash, bytes == null ? 0 : 1);
        if (bytes != null) for (byte b : bytes) step(hash, b & 0xff);
    }

    static void step(long[] hash, int value) {
        hash[0] = (hash[0] ^ value) * 0x100000001b3L;
    }

    static Map<String, Long> offsets(File file) throws Exception {
        Map<String, Long> offsets = new HashMap<>();
        if (!file.exists()) return offsets;
        List<String> lines = Files.readAllLines(file.toPath());
        for (String line : lines.subList(2, lines.size())) {
            String[] words = line.split(" ");
            offsets.put(words[0] + "-" + words[1], Long.valueOf(words[2]));
        }
        return offsets;
    }
}
