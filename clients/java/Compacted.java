import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * The cases about compacted topics: $COMPACTED is a folder with a file for each topic that the node has cleaned; without it there are
 * none. Its first line is "END GAP LASTGAP": where the topic ends, and offsets of which nothing is left, far from the end and close to
 * it. Then comes a line of each record, "OFFSET TIMESTAMP KEY VALUE", with "-" for null. The group java-TOPIC is to go on at GAP.
 */
final class Compacted {
    private static final List<String> TOPICS = List.of("compacted-brief", "compacted-long");
    private static final int READ_MS_MAX = 20_000;
    private static final int QUIET_MS = 150;
    private static final Duration TURN = Duration.ofMillis(50);

    private final TopicPartition partition;
    private final List<String> left;
    private final long end;
    private final long gap;
    private final long lastGap;

    private Compacted(String topic) throws IOException {
        List<String> lines = Files.readAllLines(Path.of(System.getenv("COMPACTED"), topic));
        String[] bounds = lines.get(0).split(" ");
        partition = new TopicPartition(topic, 0);
        left = lines.subList(1, lines.size());
        end = Long.parseLong(bounds[0]);
        gap = Long.parseLong(bounds[1]);
        lastGap = Long.parseLong(bounds[2]);
    }

    static void cases() {
        if (System.getenv("COMPACTED") == null) {
            return;
        }
        check("read from the start, and from where nothing is left", () -> readAll(1 << 20));
        check("fetches of a batch each", () -> readAll(1));
        check("a group goes on where nothing is left, commits the end", Compacted::inGroup);
        check("a record without a key is refused", Compacted::keyless);
    }

    private static void check(String name, Callable<String> run) {
        Clients.check("java", "client: a compacted topic: " + name, run);
    }

    private static KafkaConsumer<String, String> consumer(Object... more) {
        Map<String, Object> options = Clients.with(more);
        options.putAll(Map.of("enable.auto.commit", false, "auto.offset.reset", "none", "fetch.max.wait.ms", 50));
        return new KafkaConsumer<>(options, new StringDeserializer(), new StringDeserializer());
    }

    private static String line(ConsumerRecord<String, String> record) {
        String value = record.value() == null ? "-" : record.value();
        return record.offset() + " " + record.timestamp() + " " + record.key() + " " + value;
    }

    private List<String> since(long offset) {
        return left.stream().filter(line -> Long.parseLong(line.substring(0, line.indexOf(' '))) >= offset).toList();
    }

    private static String difference(List<String> want, List<String> got) {
        if (want.size() != got.size()) {
            return got.size() + " records, want " + want.size();
        }
        for (int at = 0; at < want.size(); at++) {
            if (!want.get(at).equals(got.get(at))) {
                return "read " + got.get(at) + ", want " + want.get(at);
            }
        }
        return null;
    }

    /** A fetch of one byte has one batch. */
    private static String readAll(int bytesMax) throws IOException {
        for (String topic : TOPICS) {
            Compacted cleaned = new Compacted(topic);
            for (long offset : new long[] {0, cleaned.gap, cleaned.lastGap}) {
                String problem = cleaned.readFrom(offset, bytesMax);
                if (problem != null) {
                    return topic + " from " + offset + ": " + problem;
                }
            }
        }
        return null;
    }

    private String readFrom(long offset, int bytesMax) {
        List<String> got = new ArrayList<>();
        try (var consumer = consumer("max.partition.fetch.bytes", bytesMax)) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, offset);
            long deadline = System.currentTimeMillis() + READ_MS_MAX;
            while (consumer.position(partition) < end) {
                if (System.currentTimeMillis() > deadline) {
                    return "at " + consumer.position(partition) + " after " + READ_MS_MAX + " ms, the end is " + end;
                }
                consumer.poll(TURN).forEach(record -> got.add(line(record)));
            }
            if (consumer.currentLag(partition).orElse(-1) != 0) {
                return "the lag is " + consumer.currentLag(partition);
            }
        }
        return difference(since(offset), got);
    }

    private static String inGroup() throws Exception {
        for (String topic : TOPICS) {
            Compacted cleaned = new Compacted(topic);
            // The second one finds nothing new.
            for (List<String> want : List.of(cleaned.since(cleaned.gap), List.<String>of())) {
                String problem = cleaned.readInGroup(want);
                if (problem != null) {
                    return topic + ": " + problem;
                }
            }
        }
        return null;
    }

    private String readInGroup(List<String> want) throws Exception {
        String group = "java-" + partition.topic();
        List<String> got = new ArrayList<>();
        try (var consumer = consumer("group.id", group, "session.timeout.ms", 6_000, "heartbeat.interval.ms", 100)) {
            consumer.subscribe(List.of(partition.topic()));
            long deadline = System.currentTimeMillis() + READ_MS_MAX;
            long quiet = Long.MAX_VALUE;
            while (System.currentTimeMillis() < Math.min(quiet, deadline)) {
                consumer.poll(TURN).forEach(record -> got.add(line(record)));
                boolean isThere = !consumer.assignment().isEmpty() && consumer.position(partition) == end;
                if (isThere && quiet == Long.MAX_VALUE) {
                    quiet = System.currentTimeMillis() + QUIET_MS;
                }
            }
            if (quiet == Long.MAX_VALUE) {
                return got.size() + " records in " + READ_MS_MAX + " ms, and not at the end";
            }
            consumer.commitSync();
        }
        try (Admin admin = Admin.create(Clients.with())) {
            OffsetAndMetadata committed =
                admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition);
            if (committed == null || committed.offset() != end) {
                return "committed is " + committed + ", want the end, " + end;
            }
        }
        return difference(want, got);
    }

    private static String keyless() throws Exception {
        byte[] value = "no key".getBytes(StandardCharsets.UTF_8);
        try (var producer = Clients.producer("none", true)) {
            producer.send(new ProducerRecord<>("compacted-keys", 0, null, value)).get();
            return "it is acknowledged";
        } catch (ExecutionException error) {
            return error.getCause() instanceof InvalidRecordException ? null : "it is refused otherwise: " + error.getCause();
        }
    }
}
