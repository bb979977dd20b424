import java.io.BufferedWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;

/** A consumer in a group, which counts what is taken from it. */
final class Member implements ConsumerRebalanceListener, AutoCloseable {
    /** How long anything is waited for. */
    static final int MS_MAX = 20_000;
    private static final Duration TURN = Duration.ofMillis(20);

    final KafkaConsumer<byte[], byte[]> library;
    int lost = 0;

    /** Reads the topic that has the group's name. */
    Member(Protocol protocol, String group, Object... more) {
        library = protocol.consumer(group, more);
        library.subscribe(List.of(group), this);
    }

    /** Reads these topics. */
    Member(Protocol protocol, String group, List<String> topics, Object... more) {
        library = protocol.consumer(group, more);
        library.subscribe(topics, this);
    }

    /** Reads what the coordinator finds. */
    Member(String group, SubscriptionPattern topics) {
        library = Protocol.CONSUMER.consumer(group);
        library.subscribe(topics, this);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        lost += partitions.size();
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {}

    /** Its turn. */
    ConsumerRecords<byte[], byte[]> poll() {
        return library.poll(TURN);
    }

    Set<Integer> assigned() {
        Set<Integer> partitions = new TreeSet<>();
        library.assignment().forEach(at -> partitions.add(at.partition()));
        return partitions;
    }

    int epoch() {
        return library.groupMetadata().generationId();
    }

    /** Polls until it is thrown this. */
    <E extends KafkaException> E awaitThrown(Class<E> want) {
        long deadline = System.currentTimeMillis() + MS_MAX;
        while (System.currentTimeMillis() < deadline) {
            try {
                poll();
            } catch (KafkaException thrown) {
                if (want.isInstance(thrown)) {
                    return want.cast(thrown);
                }
                throw thrown;
            }
        }
        throw new IllegalStateException("there is no " + want.getSimpleName() + " after " + MS_MAX + " ms");
    }

    @Override
    public void close() {
        library.close();
    }

    /**
     * Members "PROTOCOL:GROUP:OUT", each on a thread of its own, read until the file `stop` is there: a line of OUT for each record,
     * "PARTITION OFFSET VALUE". They commit behind each poll; what is refused meanwhile is read again by whoever gets the partition.
     */
    static void run(String topic, Path stop, List<String> members) throws InterruptedException {
        List<Thread> threads = new ArrayList<>();
        for (String member : members) {
            String[] words = member.split(":");
            Protocol protocol = Protocol.valueOf(words[0].toUpperCase(Locale.ROOT));
            threads.add(new Thread(() -> read(protocol, words[1], topic, Path.of(words[2]), stop)));
        }
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            thread.join();
        }
    }

    private static void read(Protocol protocol, String group, String topic, Path out, Path stop) {
        try (BufferedWriter file = Files.newBufferedWriter(out); var consumer = protocol.consumer(group)) {
            consumer.subscribe(List.of(topic));
            while (!Files.exists(stop)) {
                try {
                    ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
                    for (ConsumerRecord<byte[], byte[]> each : records) {
                        file.write(each.partition() + " " + each.offset() + " " + new String(each.value(), StandardCharsets.UTF_8) + "\n");
                    }
                    file.flush();
                    if (!records.isEmpty()) {
                        consumer.commitSync(Duration.ofSeconds(5));
                    }
                } catch (KafkaException passing) {
                    System.err.println(group + " " + passing);
                }
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
