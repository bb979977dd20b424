import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.UnknownMemberIdException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** The Java client in groups of the classic protocol, and what it can ask about them. Members poll in turns, on one thread. */
final class Groups {
    private static final int PARTITIONS = 4;
    private static final int MS_MAX = 20_000;
    /** What a member that reads too much would have read by then. */
    private static final int QUIET_MS = 150;
    private static final Duration TURN = Duration.ofMillis(20);
    private static final String RANGE = RangeAssignor.class.getName();
    private static final String COOPERATIVE = CooperativeStickyAssignor.class.getName();

    private Groups() {}

    static void cases() {
        check("commit, close, go on where it was", Groups::goesOn);
        check("two share, one leaves, the other takes all", Groups::twoShare);
        check("a chosen offset is committed, and gone back to", Groups::chosenOffset);
        check("commits on their own, as the client does by itself", Groups::autoCommit);
        check("a static member comes back without a rebalance, and is fenced", Groups::staticMember);
        check("cooperative-sticky moves no more than it has to", Groups::cooperative);
        check("a member that is removed joins again", Groups::removed);
        check("a commit of one that was away for too long is refused", Groups::lateCommit);
        check("list, describe, alter and delete offsets, delete", Groups::admin);
    }

    private static void check(String name, Callable<String> run) {
        Clients.check("java", "client: groups: " + name, run);
    }

    /** A consumer in a group, which counts what is taken from it. */
    private static final class Member implements ConsumerRebalanceListener, AutoCloseable {
        final KafkaConsumer<byte[], byte[]> library;
        int lost = 0;

        Member(String group, Object... more) {
            Map<String, Object> options = Clients.with("group.id", group, "auto.offset.reset", "earliest", "fetch.max.wait.ms", 50,
                "enable.auto.commit", false, "session.timeout.ms", 6_000, "heartbeat.interval.ms", 100,
                "partition.assignment.strategy", RANGE);
            for (int at = 0; at < more.length; at += 2) {
                options.put((String) more[at], more[at + 1]);
            }
            library = new KafkaConsumer<>(options, new ByteArrayDeserializer(), new ByteArrayDeserializer());
            library.subscribe(List.of(group), this);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            lost += partitions.size();
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {}

        Set<Integer> assigned() {
            Set<Integer> partitions = new TreeSet<>();
            library.assignment().forEach(at -> partitions.add(at.partition()));
            return partitions;
        }

        @Override
        public void close() {
            library.close();
        }
    }

    /**
     * Reads until the file `stop` is there: a line for each record, "PARTITION OFFSET VALUE". It commits behind each poll; what is
     * refused meanwhile is read again by whoever gets the partition.
     */
    static void member(String group, String topic, Path out, Path stop) throws IOException {
        Map<String, Object> options = Clients.with("group.id", group, "auto.offset.reset", "earliest", "fetch.max.wait.ms", 50,
            "enable.auto.commit", false, "session.timeout.ms", 6_000, "heartbeat.interval.ms", 100,
            "partition.assignment.strategy", RANGE);
        try (BufferedWriter file = Files.newBufferedWriter(out);
            var consumer = new KafkaConsumer<>(options, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            while (!Files.exists(stop)) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
                for (ConsumerRecord<byte[], byte[]> each : records) {
                    file.write(each.partition() + " " + each.offset() + " " + new String(each.value(), StandardCharsets.UTF_8) + "\n");
                }
                file.flush();
                try {
                    if (!records.isEmpty()) {
                        consumer.commitSync(Duration.ofSeconds(5));
                    }
                } catch (KafkaException passing) {
                    System.err.println(passing);
                }
            }
        }
    }

    /** A new topic, whose name the group has too. */
    private static String topic(String name) throws Exception {
        String topic = "client-group-" + name;
        Clients.create(topic, PARTITIONS, 1, Map.of());
        return topic;
    }

    private static void send(String topic, int from, int to) throws Exception {
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
    private static List<Set<Integer>> read(List<Member> members, int from, int to) {
        Map<Integer, Integer> next = new TreeMap<>();
        List<Set<Integer>> readBy = new ArrayList<>();
        members.forEach(member -> readBy.add(new TreeSet<>()));
        int missing = (to - from) * PARTITIONS;
        long deadline = System.currentTimeMillis() + MS_MAX;
        long quiet = Long.MAX_VALUE;
        while (System.currentTimeMillis() < quiet) {
            for (int at = 0; at < members.size(); at++) {
                for (ConsumerRecord<byte[], byte[]> each : members.get(at).library.poll(TURN)) {
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
    private static void awaitShares(List<Member> members, int... want) {
        long deadline = System.currentTimeMillis() + MS_MAX;
        while (true) {
            Set<Integer> all = new HashSet<>();
            List<Integer> got = new ArrayList<>();
            for (Member member : members) {
                if (!member.library.poll(TURN).isEmpty()) {
                    throw new IllegalStateException("read while nothing is written");
                }
                all.addAll(member.assigned());
                got.add(member.assigned().size());
            }
            List<Integer> wanted = new ArrayList<>();
            for (int each : want) {
                wanted.add(each);
            }
            if (got.equals(wanted) && all.size() == PARTITIONS) {
                return;
            }
            if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("the members have " + got + " partitions after " + MS_MAX + " ms, want " + wanted);
            }
        }
    }

    /** What a group has committed, as this client and another one are told; "-" where there is nothing. */
    private static String committedProblem(String group, String want) throws Exception {
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

    private static String all(int offset) {
        return (offset + " ").repeat(PARTITIONS).trim();
    }

    private static String goesOn() throws Exception {
        String topic = topic("goes-on");
        for (int from = 0; from < 75; from += 25) {
            send(topic, from, from + 25);
            try (Member member = new Member(topic)) {
                read(List.of(member), from, from + 25);
                member.library.commitSync();
            }
            String problem = committedProblem(topic, all(from + 25));
            if (problem != null) {
                return problem;
            }
        }
        return null;
    }

    private static String twoShare() throws Exception {
        String topic = topic("share");
        try (Member first = new Member(topic)) {
            awaitShares(List.of(first), PARTITIONS);
            try (Member second = new Member(topic)) {
                awaitShares(List.of(first, second), 2, 2);
                send(topic, 0, 10);
                List<Set<Integer>> readBy = read(List.of(first, second), 0, 10);
                if (!readBy.equals(List.of(first.assigned(), second.assigned()))) {
                    return "the members read partitions " + readBy;
                }
                first.library.commitSync();
                second.library.commitSync();
            }
            awaitShares(List.of(first), PARTITIONS);
            send(topic, 10, 20);
            read(List.of(first), 10, 20);
            first.library.commitSync();
        }
        return committedProblem(topic, all(20));
    }

    private static String chosenOffset() throws Exception {
        String topic = topic("chosen");
        send(topic, 0, 10);
        try (Member member = new Member(topic)) {
            read(List.of(member), 0, 10);
            Map<TopicPartition, OffsetAndMetadata> chosen = new HashMap<>();
            for (TopicPartition at : member.library.assignment()) {
                chosen.put(at, new OffsetAndMetadata(7, "why: ключ"));
            }
            member.library.commitSync(chosen);
            Map<TopicPartition, OffsetAndMetadata> found = member.library.committed(member.library.assignment());
            if (!found.equals(chosen)) {
                return "committed is " + found;
            }
            found.forEach(member.library::seek);
            read(List.of(member), 7, 10);
        }
        try (Member member = new Member(topic)) {
            read(List.of(member), 7, 10);
        }
        return committedProblem(topic, all(7));
    }

    private static String autoCommit() throws Exception {
        String topic = topic("auto");
        send(topic, 0, 10);
        try (Member member = new Member(topic, "enable.auto.commit", true, "auto.commit.interval.ms", 100)) {
            read(List.of(member), 0, 10);
            member.library.poll(Duration.ofMillis(150));
            String problem = null;
            for (int attempt = 0; attempt < 20; attempt++) {
                member.library.poll(Duration.ofMillis(50));
                problem = committedProblem(topic, all(10));
                if (problem == null) {
                    break;
                }
            }
            if (problem != null) {
                return problem;
            }
            send(topic, 10, 20);
            read(List.of(member), 10, 20);
        }
        return committedProblem(topic, all(20));
    }

    private static String staticMember() throws Exception {
        String topic = topic("static");
        try (Member first = new Member(topic, "group.instance.id", "one")) {
            awaitShares(List.of(first), PARTITIONS);
            Member second = new Member(topic, "group.instance.id", "two");
            awaitShares(List.of(first, second), 2, 2);
            Set<Integer> had = second.assigned();
            int lost = first.lost;
            int generation = second.library.groupMetadata().generationId();
            // A static member does not leave when it is closed.
            second.close();
            second = new Member(topic, "group.instance.id", "two");
            awaitShares(List.of(first, second), 2, 2);
            if (!second.assigned().equals(had) || first.lost != lost || second.library.groupMetadata().generationId() != generation) {
                return "it had " + had + " in generation " + generation + " and has " + second.assigned() + " in "
                    + second.library.groupMetadata().generationId() + "; the other one lost " + (first.lost - lost);
            }
            try (Member usurper = new Member(topic, "group.instance.id", "two")) {
                awaitShares(List.of(first, usurper), 2, 2);
                long deadline = System.currentTimeMillis() + MS_MAX;
                while (true) {
                    try {
                        second.library.poll(TURN);
                    } catch (FencedInstanceIdException wanted) {
                        break;
                    }
                    if (System.currentTimeMillis() > deadline) {
                        return "a second one of the name does not fence the first";
                    }
                }
                second.close();
                awaitShares(List.of(first, usurper), 2, 2);
                return first.lost == lost ? null : "the other one lost " + (first.lost - lost);
            }
        } finally {
            try (Admin admin = Admin.create(Clients.with())) {
                admin.removeMembersFromConsumerGroup(topic, new RemoveMembersFromConsumerGroupOptions()).all().get();
            }
        }
    }

    private static String cooperative() throws Exception {
        String topic = topic("cooperative");
        Member first = new Member(topic, "partition.assignment.strategy", COOPERATIVE);
        awaitShares(List.of(first), PARTITIONS);
        try (Member second = new Member(topic, "partition.assignment.strategy", COOPERATIVE)) {
            awaitShares(List.of(first, second), 2, 2);
            send(topic, 0, 5);
            read(List.of(first, second), 0, 5);
            if (first.lost != 2 || second.lost != 0) {
                return "the members lost " + first.lost + " and " + second.lost + " partitions";
            }
            first.library.commitSync();
            second.library.commitSync();
            first.close();
            awaitShares(List.of(second), PARTITIONS);
            send(topic, 5, 10);
            read(List.of(second), 5, 10);
            return second.lost == 0 ? null : "the second member lost " + second.lost + " partitions when the first one left";
        }
    }

    /** An administrator takes a member out; the member finds out and joins again. */
    private static String removed() throws Exception {
        String topic = topic("removed");
        try (Member member = new Member(topic, "group.instance.id", "one"); Admin admin = Admin.create(Clients.with())) {
            awaitShares(List.of(member), PARTITIONS);
            int generation = member.library.groupMetadata().generationId();
            RemoveMembersFromConsumerGroupOptions one = new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")));
            admin.removeMembersFromConsumerGroup(topic, one).all().get();
            long deadline = System.currentTimeMillis() + MS_MAX;
            while (member.library.groupMetadata().generationId() <= generation) {
                member.library.poll(TURN);
                if (System.currentTimeMillis() > deadline) {
                    return "the generation is still " + generation + " after " + MS_MAX + " ms";
                }
            }
            awaitShares(List.of(member), PARTITIONS);
            send(topic, 0, 5);
            read(List.of(member), 0, 5);
            admin.removeMembersFromConsumerGroup(topic, one).all().get();
            return null;
        }
    }

    /** Two of a group; one does not poll for longer than it may, and its partitions are the other's. */
    private static String lateCommit() throws Exception {
        String topic = topic("late");
        send(topic, 0, 5);
        try (Member late = new Member(topic, "max.poll.interval.ms", 500); Member other = new Member(topic)) {
            read(List.of(late), 0, 5);
            long deadline = System.currentTimeMillis() + MS_MAX;
            while (other.assigned().size() < PARTITIONS) {
                other.library.poll(TURN);
                if (System.currentTimeMillis() > deadline) {
                    return "the other one has " + other.assigned() + " after " + MS_MAX + " ms";
                }
            }
            try {
                late.library.commitSync();
                return "the late commit is taken";
            } catch (CommitFailedException wanted) {
                return committedProblem(topic, "- - - -");
            }
        }
    }

    /** What was refused, by its cause. */
    private static String refusalProblem(String what, Class<?> want, Future<?> asked) throws InterruptedException {
        try {
            asked.get();
            return what + ": it is not refused";
        } catch (ExecutionException error) {
            return want.isInstance(error.getCause()) ? null : what + ": " + error.getCause() + ", want " + want;
        }
    }

    private static String admin() throws Exception {
        String topic = topic("admin");
        TopicPartition one = new TopicPartition(topic, 1);
        List<String> problems = new ArrayList<>();
        try (Admin admin = Admin.create(Clients.with())) {
            send(topic, 0, 10);
            try (Member member = new Member(topic)) {
                read(List.of(member), 0, 10);
                member.library.commitSync();
                ConsumerGroupDescription described = admin.describeConsumerGroups(List.of(topic)).all().get().get(topic);
                if (described.groupState() != GroupState.STABLE || described.members().size() != 1
                    || described.members().iterator().next().assignment().topicPartitions().size() != PARTITIONS
                    || !described.partitionAssignor().equals("range")) {
                    problems.add("described with a member: " + described);
                }
                problems.add(refusalProblem("deleting a group that has a member", GroupNotEmptyException.class,
                    admin.deleteConsumerGroups(List.of(topic)).all()));
                problems.add(refusalProblem("altering what a member reads", UnknownMemberIdException.class,
                    admin.alterConsumerGroupOffsets(topic, Map.of(one, new OffsetAndMetadata(3))).all()));
                problems.add(refusalProblem("deleting an offset of what is read", GroupSubscribedToTopicException.class,
                    admin.deleteConsumerGroupOffsets(topic, Set.of(one)).all()));
            }
            ConsumerGroupDescription empty = admin.describeConsumerGroups(List.of(topic)).all().get().get(topic);
            if (empty.groupState() != GroupState.EMPTY || !empty.members().isEmpty()) {
                problems.add("described without members: " + empty);
            }
            if (!listed(admin, ListGroupsOptions.forConsumerGroups()).contains(topic)
                || !listed(admin, new ListGroupsOptions().inGroupStates(Set.of(GroupState.EMPTY))).contains(topic)
                || listed(admin, new ListGroupsOptions().inGroupStates(Set.of(GroupState.STABLE))).contains(topic)) {
                problems.add("listed are " + listed(admin, new ListGroupsOptions()));
            }
            long end = admin.listOffsets(Map.of(one, OffsetSpec.latest())).partitionResult(one).get().offset();
            admin.alterConsumerGroupOffsets(topic, Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(3),
                new TopicPartition(topic, 2), new OffsetAndMetadata(0), one, new OffsetAndMetadata(end - 1))).all().get();
            problems.add(committedProblem(topic, "3 9 0 10"));
            admin.deleteConsumerGroupOffsets(topic, Set.of(one)).all().get();
            problems.add(committedProblem(topic, "3 - 0 10"));
            admin.deleteConsumerGroups(List.of(topic)).all().get();
            if (listed(admin, new ListGroupsOptions()).contains(topic)) {
                problems.add("it is listed after its deletion");
            }
            problems.add(refusalProblem("deleting it again", GroupIdNotFoundException.class,
                admin.deleteConsumerGroups(List.of(topic)).all()));
            problems.add(refusalProblem("describing it", GroupIdNotFoundException.class,
                admin.describeConsumerGroups(List.of(topic)).all()));
            problems.add(committedProblem(topic, "- - - -"));
        }
        problems.removeIf(problem -> problem == null);
        return problems.isEmpty() ? null : String.join("; ", problems);
    }

    private static Set<String> listed(Admin admin, ListGroupsOptions options) throws Exception {
        Set<String> groups = new TreeSet<>();
        for (GroupListing each : admin.listGroups(options).all().get()) {
            groups.add(each.groupId());
        }
        return groups;
    }
}
