import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's own Java client: its cases, and what it does while nodes go away.
 *
 * <pre>
 * Clients cases                             every case that needs one node
 * Clients groups                            those of them that are about groups
 * Clients compacted                         those of them that are about compacted topics
 * Clients wide TOPIC PARTITIONS             a topic with very many partitions, which exists
 * Clients history java TOPIC HISTORY STOP   writes and reads until the file STOP is there
 * Clients member TOPIC STOP PROTOCOL:GROUP:OUT...
 *                                           reads in groups until the file STOP is there
 * </pre>
 *
 * $BOOTSTRAP names the nodes. Each case is one line, "pass SUITE: NAME" or "FAIL ...: WHY". $CODECS_OF, when set, is a command that
 * prints the codecs of a topic's batches, $COMMITTED_OF one that prints what a group has committed.
 */
public final class Clients {
    private static final String BOOTSTRAP = System.getenv("BOOTSTRAP");
    private static final int MIB = 1 << 20;
    private static final int PARTITIONS = 3;
    private static final int READ_MS_MAX = 60_000;
    private static final int DELIVERY_MS_MAX = 100_000;
    private static final int UNANSWERED_MAX = 300;
    private static final Duration PAUSE = Duration.ofMillis(20);

    private static boolean anyFailed = false;

    public static void main(String[] words) throws Exception {
        switch (words[0]) {
            case "cases" -> cases();
            case "groups" -> Groups.cases();
            case "compacted" -> Compacted.cases();
            case "wide" -> check("fleet", "java: metadata: a topic of " + words[2] + " partitions",
                () -> wide(words[1], Integer.parseInt(words[2])));
            case "member" -> Member.run(words[1], Path.of(words[2]), List.of(words).subList(3, words.length));
            case "history" -> anyFailed = !history(words[2], Path.of(words[3]), Path.of(words[4]));
            default -> throw new IllegalArgumentException("cases, groups, wide, member or history");
        }
        System.exit(anyFailed ? 1 : 0);
    }

    private static void cases() {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            for (boolean idempotent : List.of(true, false)) {
                check("java", "client: round trip: codec=" + codec + " idempotent=" + idempotent, () -> roundTrip(codec, idempotent));
            }
        }
        check("java", "client: records: 1 MiB, and one that is too large", Clients::large);
        check("java", "client: consumer: from an offset; ends; offsets by time", Clients::startingPoints);
        Groups.cases();
        Compacted.cases();
    }

    /** Runs a case, which returns what is wrong or null, and prints its line. */
    static void check(String suite, String name, Callable<String> run) {
        String problem;
        try {
            problem = run.call();
        } catch (Exception error) {
            problem = error.toString();
        }
        anyFailed |= problem != null;
        String line = problem == null ? "pass " + suite + ": " + name : "FAIL " + suite + ": " + name + ": " + problem;
        System.out.println(line.replace("\n", " | "));
    }

    static Map<String, Object> with(Object... pairs) {
        Map<String, Object> options = new HashMap<>(Map.of("bootstrap.servers", BOOTSTRAP, "reconnect.backoff.max.ms", 500));
        for (int at = 0; at < pairs.length; at += 2) {
            options.put((String) pairs[at], pairs[at + 1]);
        }
        return options;
    }

    static void create(String topic, int partitions, int replicas, Map<String, String> settings) throws Exception {
        try (Admin admin = Admin.create(with())) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) replicas).configs(settings))).all().get(20, TimeUnit.SECONDS);
        }
    }

    static KafkaProducer<byte[], byte[]> producer(String codec, boolean idempotent) {
        Map<String, Object> options = with("acks", "all", "compression.type", codec, "enable.idempotence", idempotent, "linger.ms", 5,
            "delivery.timeout.ms", DELIVERY_MS_MAX, "request.timeout.ms", 5_000, "max.block.ms", DELIVERY_MS_MAX, "max.request.size", 4 * MIB);
        if (!idempotent) {
            // One request at a time, so that a retry does not overtake what follows it.
            options.put("max.in.flight.requests.per.connection", 1);
        }
        return new KafkaProducer<>(options, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Reads the partitions from 0 up to, and without, `to` from an offset on. */
    private static KafkaConsumer<byte[], byte[]> consumer(String topic, int from, int to, long offset) {
        Map<String, Object> options = with("auto.offset.reset", "none", "enable.auto.commit", false, "fetch.max.wait.ms", 50);
        KafkaConsumer<byte[], byte[]> consumer =
            new KafkaConsumer<>(options, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        List<TopicPartition> assigned = new ArrayList<>();
        for (int partition = from; partition < to; partition++) {
            assigned.add(new TopicPartition(topic, partition));
        }
        consumer.assign(assigned);
        assigned.forEach(partition -> consumer.seek(partition, offset));
        return consumer;
    }

    /** Sends the records and waits; their offsets in order. */
    private static List<Long> write(KafkaProducer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> records) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (ProducerRecord<byte[], byte[]> record : records) {
            sent.add(producer.send(record));
        }
        producer.flush();
        List<Long> offsets = new ArrayList<>();
        for (Future<RecordMetadata> each : sent) {
            offsets.add(each.get().offset());
        }
        return offsets;
    }

    /** Reads as many records as were sent: what is not as it was sent, by partition in order. */
    private static String compare(
        KafkaConsumer<byte[], byte[]> consumer, List<ProducerRecord<byte[], byte[]>> sent, List<Long> offsets) {
        List<ConsumerRecord<byte[], byte[]>> got = new ArrayList<>();
        long deadline = System.currentTimeMillis() + READ_MS_MAX;
        while (got.size() < sent.size() && System.currentTimeMillis() < deadline) {
            consumer.poll(Duration.ofMillis(200)).forEach(got::add);
        }
        if (got.size() != sent.size()) {
            return got.size() + " records, want " + sent.size();
        }
        for (int partition : new TreeSet<>(sent.stream().map(ProducerRecord::partition).toList())) {
            List<ConsumerRecord<byte[], byte[]>> found = got.stream().filter(record -> record.partition() == partition).toList();
            int at = 0;
            for (int number = 0; number < sent.size(); number++) {
                if (sent.get(number).partition() != partition) {
                    continue;
                }
                String problem = at < found.size() ? difference(sent.get(number), offsets.get(number), found.get(at)) : "missing";
                if (problem != null) {
                    return "partition " + partition + ", record " + at + ": " + problem;
                }
                at++;
            }
        }
        return null;
    }

    private static String difference(ProducerRecord<byte[], byte[]> want, long offset, ConsumerRecord<byte[], byte[]> got) {
        if (got.offset() != offset) {
            return "at " + got.offset() + ", acknowledged at " + offset;
        }
        if (!Arrays.equals(got.key(), want.key()) || !Arrays.equals(got.value(), want.value())) {
            return "key or value is not as it was sent";
        }
        if (want.timestamp() != got.timestamp()) {
            return "the timestamp is " + got.timestamp() + ", want " + want.timestamp();
        }
        if (!want.headers().equals(got.headers())) {
            return "the headers are " + got.headers() + ", want " + want.headers();
        }
        return null;
    }

    private static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    /** Bytes that no codec makes smaller. */
    private static byte[] noise(int size) {
        byte[] noise = new byte[size];
        new Random().nextBytes(noise);
        return noise;
    }

    /** Records of two partitions with all that a record can have. */
    private static List<ProducerRecord<byte[], byte[]>> shapes(String topic) {
        String[] values = {"plain", null, "", "日本語 é \0", "compressible ".repeat(100)};
        String[] keys = {"key", null, ""};
        List<Header> some = List.of(new RecordHeader("one", bytes("1")), new RecordHeader("one", bytes("2")),
            new RecordHeader("", new byte[0]), new RecordHeader("null", (byte[]) null), new RecordHeader("ключ", new byte[] {-1}));
        long began = System.currentTimeMillis() - 3_600_000;
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int round = 0; round < 5; round++) {
            for (String value : values) {
                for (String key : keys) {
                    for (List<Header> headers : List.of(List.<Header>of(), some)) {
                        int number = records.size();
                        records.add(new ProducerRecord<>(topic, number % 2, began + number * 1_000L, bytes(key), bytes(value), headers));
                    }
                }
            }
        }
        records.add(new ProducerRecord<>(topic, 1, began, null, noise(100_000)));
        return records;
    }

    private static String codecProblem(String topic, String codec) throws Exception {
        String command = System.getenv("CODECS_OF");
        if (command == null) {
            return null;
        }
        List<String> words = new ArrayList<>(List.of(command.split(" ")));
        words.add(topic);
        Process process = new ProcessBuilder(words).start();
        String found = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).trim();
        return found.equals(codec) ? null : "the codec in the log is " + found;
    }

    private static String roundTrip(String codec, boolean idempotent) throws Exception {
        String topic = "client-" + codec + "-" + idempotent;
        create(topic, 2, 1, Map.of());
        List<ProducerRecord<byte[], byte[]>> records = shapes(topic);
        List<Long> offsets;
        try (var producer = producer(codec, idempotent)) {
            offsets = write(producer, records);
        }
        try (var consumer = consumer(topic, 0, 2, 0)) {
            String problem = compare(consumer, records, offsets);
            return problem != null ? problem : codecProblem(topic, codec);
        }
    }

    private static String large() throws Exception {
        String topic = "client-large";
        create(topic, 1, 1, Map.of("max.message.bytes", String.valueOf(3 * MIB)));
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        List<Long> offsets = new ArrayList<>();
        try (var producer = producer("none", true)) {
            for (long number = 0; number < 3; number++) {
                records.add(new ProducerRecord<>(topic, 0, 1_000 + number, bytes("large"), noise(MIB)));
                offsets.addAll(write(producer, records.subList((int) number, (int) number + 1)));
            }
            try {
                write(producer, List.of(new ProducerRecord<>(topic, 0, 1_000L, null, noise(3 * MIB))));
                return "a record above the topic's limit was acknowledged";
            } catch (ExecutionException error) {
                if (!(error.getCause() instanceof RecordTooLargeException)) {
                    return "a record above the topic's limit: " + error.getCause();
                }
            }
        }
        try (var consumer = consumer(topic, 0, 1, 0)) {
            return compare(consumer, records, offsets);
        }
    }

    private static String startingPoints() throws Exception {
        String topic = "client-starts";
        create(topic, 2, 1, Map.of());
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int number = 0; number < 100; number++) {
            records.add(new ProducerRecord<>(topic, 1, 1_000L + number * 10, null, bytes(String.valueOf(number))));
        }
        List<Long> offsets;
        try (var producer = producer("none", true)) {
            offsets = write(producer, records);
        }
        TopicPartition partition = new TopicPartition(topic, 1);
        try (var consumer = consumer(topic, 0, 2, 0)) {
            Map<TopicPartition, Long> ends = consumer.endOffsets(consumer.assignment());
            if (!ends.equals(Map.of(new TopicPartition(topic, 0), 0L, partition, 100L))) {
                return "the ends are " + ends;
            }
            List<Long> byTime = new ArrayList<>();
            for (long timestamp : new long[] {0, 1_335, 1_990, 1_991}) {
                OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, timestamp)).get(partition);
                byTime.add(found == null ? -1 : found.offset());
            }
            if (!byTime.equals(List.of(0L, 34L, 99L, -1L))) {
                return "the offsets by time are " + byTime;
            }
        }
        try (var consumer = consumer(topic, 1, 2, 37)) {
            return compare(consumer, records.subList(37, 100), offsets.subList(37, 100));
        }
    }

    private static String wide(String topic, int partitions) throws Exception {
        try (var producer = producer("none", true)) {
            long led = producer.partitionsFor(topic).stream().filter(partition -> partition.leader() != null).count();
            if (led != partitions) {
                return led + " partitions with a leader, want " + partitions;
            }
            List<ProducerRecord<byte[], byte[]>> record =
                List.of(new ProducerRecord<>(topic, partitions - 1, 1_000L, null, bytes("java")));
            List<Long> offsets = write(producer, record);
            try (var consumer = consumer(topic, partitions - 1, partitions, offsets.get(0))) {
                return compare(consumer, record, offsets);
            }
        }
    }

    /** One event a line, in the order in which they happened: the producer answers on a thread of its own. */
    private static final class History {
        private final BufferedWriter file;
        private final long started = System.nanoTime();

        History(Path path) throws IOException {
            file = Files.newBufferedWriter(path);
        }

        synchronized void write(int process, String phase, String function, String more) {
            try {
                file.write(String.format("{\"time_us\": %d, \"process\": %d, \"type\": \"%s\", \"f\": \"%s\"%s}\n",
                    (System.nanoTime() - started) / 1_000, process, phase, function, more));
                file.flush();
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        }

        static String record(String topic, int partition, String value, long offset) {
            String place = offset < 0 ? "" : ", \"offset\": " + offset;
            return String.format("{\"topic\": \"%s\", \"partition\": %d, \"key\": \"k\", \"value\": \"%s\"%s}", topic, partition, value, place);
        }
    }

    /** An idempotent producer of numbered records. */
    private static final class Writer {
        private final KafkaProducer<byte[], byte[]> producer = producer("none", true);
        private final String topic;
        private final History history;
        private int sent = 0;
        private int acked = 0;
        private final List<Exception> givenUp = new ArrayList<>();

        Writer(String topic, History history) {
            this.topic = topic;
            this.history = history;
        }

        private synchronized int unanswered() {
            return sent - acked - givenUp.size();
        }

        void writeSome() {
            for (int some = 0; some < 3 && unanswered() < UNANSWERED_MAX; some++) {
                int partition = sent % PARTITIONS;
                String value = String.valueOf(sent);
                synchronized (this) {
                    sent++;
                }
                history.write(0, "invoke", "send", ", \"value\": [" + History.record(topic, partition, value, -1) + "]");
                producer.send(new ProducerRecord<>(topic, partition, bytes("k"), bytes(value)),
                    (metadata, error) -> onDone(partition, value, metadata, error));
            }
        }

        private synchronized void onDone(int partition, String value, RecordMetadata metadata, Exception error) {
            if (error != null) {
                givenUp.add(error);
                history.write(0, "info", "send", ", \"value\": [" + History.record(topic, partition, value, -1) + "]");
                return;
            }
            acked++;
            // A producer whose batch was there already may not be told where: the offset is -1 then.
            history.write(0, "ok", "send", ", \"value\": [" + History.record(topic, partition, value, metadata.offset()) + "]");
        }
    }

    /** A consumer of all partitions from their starts. */
    private static final class Tail {
        private final int process;
        private final History history;
        private final KafkaConsumer<byte[], byte[]> consumer;

        Tail(int process, String topic, History history) {
            this.process = process;
            this.history = history;
            List<String> starts = new ArrayList<>();
            for (int partition = 0; partition < PARTITIONS; partition++) {
                starts.add(String.format("{\"topic\": \"%s\", \"partition\": %d, \"offset\": 0}", topic, partition));
            }
            history.write(process, "ok", "assign", ", \"value\": [" + String.join(", ", starts) + "]");
            consumer = consumer(topic, 0, PARTITIONS, 0);
        }

        void read(Duration timeout) {
            List<String> records = new ArrayList<>();
            for (ConsumerRecord<byte[], byte[]> each : consumer.poll(timeout)) {
                String value = new String(each.value(), StandardCharsets.UTF_8);
                records.add(History.record(each.topic(), each.partition(), value, each.offset()));
            }
            if (!records.isEmpty()) {
                history.write(process, "ok", "poll", ", \"value\": [" + String.join(", ", records) + "]");
            }
        }

        void readToEnds() {
            long deadline = System.currentTimeMillis() + READ_MS_MAX;
            Map<TopicPartition, Long> ends = consumer.endOffsets(consumer.assignment());
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                if (System.currentTimeMillis() > deadline) {
                    throw new IllegalStateException("not read to the ends in " + READ_MS_MAX + " ms: " + ends);
                }
                read(Duration.ofMillis(100));
            }
            history.write(process, "ok", "final", "");
        }
    }

    /** Writes and reads until the file `stop` is there, then reads all to the end; whether everything was acknowledged. */
    private static boolean history(String topic, Path path, Path stop) throws Exception {
        History history = new History(path);
        create(topic, PARTITIONS, 3, Map.of("min.insync.replicas", "2"));
        Writer writer = new Writer(topic, history);
        Tail tail = new Tail(1, topic, history);
        while (!Files.exists(stop)) {
            writer.writeSome();
            tail.read(PAUSE);
        }
        writer.producer.flush();
        for (Tail reader : List.of(tail, new Tail(2, topic, history))) {
            reader.readToEnds();
        }
        writer.givenUp.stream().limit(3).forEach(error -> System.out.println("given up: " + error));
        System.out.println("note: " + writer.sent + " records, " + writer.acked + " acknowledged");
        return writer.acked == writer.sent;
    }
}
