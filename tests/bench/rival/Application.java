import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.CloseOptions.GroupMembershipOperation;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.StateRestoreListener;

/**
 * One topology of {@link Topologies}, run once. Says {@code begin NANOS} where the measurement begins and
 * {@code end NANOS RESTORED} where it ends, and closes when its standard input does. The one that is killed says
 * {@code running RESTORED}.
 */
final class Application {
    /** How often it is asked whether all is committed: the error of the measured time. */
    private static final Duration TICK = Duration.ofMillis(50);

    private final String topology;
    private final List<String> inputs;
    private final Properties config;
    private final AtomicLong restored = new AtomicLong();

    /** {@code TOPOLOGY INPUT,INPUT… SETTING=VALUE…}. */
    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        for (String setting : List.of(args).subList(2, args.length)) {
            String[] pair = setting.split("=", 2);
            config.put(pair[0], pair[1]);
        }
        var application = new Application(args[0], List.of(args[1].split(",")), config);
        switch (args[0]) {
            case "restore" -> application.measureRestore();
            case "crash" -> application.runUntilKilled();
            default -> application.measureThroughput();
        }
    }

    private Application(String topology, List<String> inputs, Properties config) {
        this.topology = topology;
        this.inputs = inputs;
        this.config = config;
    }

    /** From RUNNING, so without the start of the JVM and the first rebalance, until all is committed. */
    private void measureThroughput() throws Exception {
        KafkaStreams streams = running();
        System.out.println("begin " + System.nanoTime());
        awaitCommitted();
        end(streams);
    }

    /** From the start, in a JVM that has just done the same work, until RUNNING. */
    private void measureRestore() throws Exception {
        KafkaStreams streams = running();
        awaitCommitted();
        close(streams);
        streams.cleanUp();
        restored.set(0);
        System.out.println("begin " + System.nanoTime());
        end(running());
    }

    /** Or, if its standard input ends before that, until all is committed. */
    private void runUntilKilled() throws Exception {
        KafkaStreams streams = running();
        System.out.println("running " + restored.get());
        while (System.in.read() >= 0) { }
        awaitCommitted();
        close(streams);
    }

    private void end(KafkaStreams streams) throws Exception {
        System.out.println("end " + System.nanoTime() + " " + restored.get());
        while (System.in.read() >= 0) { }
        close(streams);
    }

    private KafkaStreams running() throws InterruptedException {
        KafkaStreams streams = new KafkaStreams(Topologies.named(topology), config);
        CountDownLatch running = new CountDownLatch(1);
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) running.countDown();
        });
        streams.setUncaughtExceptionHandler(failure -> {
            failure.printStackTrace();
            Runtime.getRuntime().halt(1);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setGlobalStateRestoreListener(new StateRestoreListener() {
            @Override
            public void onRestoreStart(TopicPartition partition, String store, long from, long to) { }

            @Override
            public void onBatchRestored(TopicPartition partition, String store, long offset, long records) {
                restored.addAndGet(records);
            }

            @Override
            public void onRestoreEnd(TopicPartition partition, String store, long records) { }
        });
        streams.start();
        running.await();
        return streams;
    }

    /** A member that leaves for good, so that the next one need not wait until its session ends. */
    private static void close(KafkaStreams streams) {
        streams.close(CloseOptions.groupMembershipOperation(GroupMembershipOperation.LEAVE_GROUP)
            .withTimeout(Duration.ofSeconds(60)));
    }

    /**
     * Waits until the application has committed its inputs, and all that it sends to itself, to their ends. What is
     * committed is asked before where the ends are: an input that is committed can add nothing to what comes behind it.
     */
    private void awaitCommitted() throws Exception {
        String id = config.getProperty("application.id");
        // Each thread's transactions leave a marker behind the last record.
        long markers = config.getProperty("processing.guarantee").equals("exactly_once_v2")
            ? Long.parseLong(config.getProperty("num.stream.threads")) : 0;
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", config.getProperty("bootstrap.servers")))) {
            List<TopicPartition> sources = sources(admin, id);
            while (true) {
                var committed = admin.listConsumerGroupOffsets(id).partitionsToOffsetAndMetadata().get();
                Map<TopicPartition, OffsetSpec> question = new HashMap<>();
                for (TopicPartition source : sources) question.put(source, OffsetSpec.latest());
                boolean isDone = true;
                for (var end : admin.listOffsets(question).all().get().entrySet()) {
                    var offset = committed.get(end.getKey());
                    long behind = end.getValue().offset() - (offset == null ? 0 : offset.offset());
                    isDone &= behind <= (inputs.contains(end.getKey().topic()) ? 0 : markers);
                }
                if (isDone) return;
                Thread.sleep(TICK.toMillis());
            }
        }
    }

    /** The partitions of the inputs, of repartition topics and of the two topics between tables that join by foreign key. */
    private List<TopicPartition> sources(Admin admin, String id) throws Exception {
        List<String> topics = new ArrayList<>(inputs);
        for (String topic : admin.listTopics().names().get()) {
            if (topic.startsWith(id + "-") && (topic.endsWith("-repartition") || topic.endsWith("-topic"))) topics.add(topic);
        }
        List<TopicPartition> partitions = new ArrayList<>();
        for (var topic : admin.describeTopics(topics).allTopicNames().get().values()) {
            for (var partition : topic.partitions()) partitions.add(new TopicPartition(topic.name(), partition.partition()));
        }
        return partitions;
    }
}
