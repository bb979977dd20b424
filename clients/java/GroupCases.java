import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.function.Consumer;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;

/** What the cases of groups share: topics that are named as their groups, members that poll in turns, on one thread, and what is waited for. */
abstract class GroupCases {
    static final int PARTITIONS = 4;
    static final int MS_MAX = Member.MS_MAX;
    /** What a member that reads too much would have read by then. */
    private static final int QUIET_MS = 150;

    /** A new topic, whose name the group has too. */
    static String topic(String name) throws Exception {
        String topic = "client-group-" + name;
        Clients.create(topic, PARTITIONS, 1, Map.of());
        return topic;
    }

    static void send(String topic, int from, int to) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer("none", true)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int number = from; number < to; number++) {
                for (int partition = 0; partition < PARTITIONS; partition++) {
                    byte[] value = String.valueOf(number).getBytes(StandardCharsets.UTF_8);
                    sent.add(producer.send(new ProducerRecord<>(topic, partition, null, value)));
                }
            }
            for (Future<RecordMetadata> each : sent) {
                each.get();
            }
        }
    }

    /** Lets the members read until each partition has given these numbers, in order, once; which partitions each read. */
    static List<Set<Integer>> read(List<Member> members, int from, int to) {
        Map<Integer, Integer> next = new TreeMap<>();
        List<Set<Integer>> readBy = new ArrayList<>();
        members.forEach(member -> readBy.add(new TreeSet<>()));
        int missing = (to - from) * PARTITIONS;
        long deadline = System.currentTimeMillis() + MS_MAX;
        long quiet = Long.MAX_VALUE;
        while (System.currentTimeMillis() < quiet) {
            for (int at = 0; at < members.size(); at++) {
                for (ConsumerRecord<byte[], byte[]> each : members.get(at).poll()) {
                    int want = next.getOrDefault(each.partition(), from);
                    String value = new String(each.value(), StandardCharsets.UTF_8);
                    if (each.offset() != want || !value.equals(String.valueOf(want))) {
                        throw new IllegalStateException("read " + value + " at " + each.offset() + " of partition " + each.partition()
                            + ", want " + want);
                    }
                    next.put(each.partition(), want + 1);
                    readBy.get(at).add(each.partition());
                    missing--;
                }
            }
            if (missing == 0 && quiet == Long.MAX_VALUE) {
                quiet = System.currentTimeMillis() + QUIET_MS;
            }
            if (missing < 0 || System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("read up to " + next + " after " + MS_MAX + " ms, want " + to);
            }
        }
        return readBy;
    }

    /** Waits until the members have so many partitions, and all of them together. */
    static void awaitShares(List<Member> members, int... want) {
        awaitShares(PARTITIONS, members, want);
    }

    /** Waits until the members have so many partitions, and of all topics together so many different ones. */
    static void awaitShares(int partitions, List<Member> members, int... want) {
        awaitShares(partitions, members, Arrays.stream(want).boxed().toList(), shares -> {});
    }

    /** The same, whoever has which share; they are given from the least on. */
    static void awaitSharesInAnyOrder(int partitions, List<Member> members, int... want) {
        awaitShares(partitions, members, Arrays.stream(want).boxed().toList(), shares -> shares.sort(null));
    }

    private static void awaitShares(int partitions, List<Member> members, List<Integer> want, Consumer<List<Integer>> arrange) {
        long deadline = System.currentTimeMillis() + MS_MAX;
        while (true) {
            Set<TopicPartition> all = new HashSet<>();
            List<Integer> got = new ArrayList<>();
            for (Member member : members) {
                if (!member.poll().isEmpty()) {
                    throw new IllegalStateException("read while nothing is written");
                }
                all.addAll(member.library.assignment());
                got.add(member.library.assignment().size());
            }
            arrange.accept(got);
            if (got.equals(want) && all.size() == partitions) {
                return;
            }
            if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("the members have " + got + " partitions after " + MS_MAX + " ms, want " + want);
            }
        }
    }

    /** What a group has committed, as this client and another one are told; "-" where there is nothing. */
    static String committedProblem(String group, String want) throws Exception {
        List<String> got = new ArrayList<>();
        try (Admin admin = Admin.create(Clients.with())) {
            Map<TopicPartition, OffsetAndMetadata> found = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
            for (int partition = 0; partition < PARTITIONS; partition++) {
                OffsetAndMetadata at = found.get(new TopicPartition(group, partition));
                got.add(at == null ? "-" : String.valueOf(at.offset()));
            }
        }
        if (!String.join(" ", got).equals(want)) {
            return "committed are " + got + ", want " + want;
        }
        String command = System.getenv("COMMITTED_OF");
        if (command == null) {
            return null;
        }
        List<String> words = new ArrayList<>(List.of(command.split(" ")));
        words.addAll(List.of(group, group));
        Process process = new ProcessBuilder(words).start();
        String told = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).trim();
        return told.equals(want) ? null : "committed, as another client is told: " + told + ", want " + want;
    }

    static String all(int offset) {
        return (offset + " ").repeat(PARTITIONS).trim();
    }

    /** What was refused, by its cause. */
    static String refusalProblem(String what, Class<?> want, Future<?> asked) throws InterruptedException {
        try {
            asked.get();
            return what + ": it is not refused";
        } catch (ExecutionException error) {
            return want.isInstance(error.getCause()) ? null : what + ": " + error.getCause() + ", want " + want;
        }
    }
}
