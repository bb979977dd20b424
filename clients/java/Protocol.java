import java.util.Locale;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** `group.protocol`, with what a member sets for it alone: in the consumer protocol times and assignors are the group's. */
enum Protocol {
    CLASSIC("session.timeout.ms", 6_000, "heartbeat.interval.ms", 100, "partition.assignment.strategy", RangeAssignor.class.getName()),
    CONSUMER;

    private final Object[] settings;

    Protocol(Object... settings) {
        this.settings = settings;
    }

    String word() {
        return name().toLowerCase(Locale.ROOT);
    }

    KafkaConsumer<byte[], byte[]> consumer(String group, Object... more) {
        Map<String, Object> options = Clients.with("group.id", group, "auto.offset.reset", "earliest", "fetch.max.wait.ms", 50,
            "enable.auto.commit", false, "group.protocol", word());
        put(options, settings);
        put(options, more);
        return new KafkaConsumer<>(options, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static void put(Map<String, Object> options, Object[] pairs) {
        for (int at = 0; at < pairs.length; at += 2) {
            options.put((String) pairs[at], pairs[at + 1]);
        }
    }
}
