import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.UnknownMemberIdException;
import org.apache.kafka.common.errors.UnreleasedInstanceIdException;

/** The Java client in groups of both protocols, and what it can ask about them; what only one of them has is ConsumerGroups. */
final class Groups extends GroupCases {
    private static final String COOPERATIVE = CooperativeStickyAssignor.class.getName();

    private Groups() {}

    /** A case that is run in both protocols. */
    private interface Case {
        String run(Protocol protocol) throws Exception;
    }

    static void cases() {
        for (Protocol protocol : Protocol.values()) {
            check(protocol, "commit, close, go on where it was", Groups::goesOn);
            check(protocol, "two share, one leaves, the other takes all", Groups::twoShare);
            check(protocol, "a chosen offset is committed, and gone back to", Groups::chosenOffset);
            check(protocol, "commits on their own, as the client does by itself", Groups::autoCommit);
            check(protocol, "a static member comes back without a rebalance; a second of its name", Groups::staticMember);
            check(protocol, "no more is moved than has to be", Groups::movesLittle);
            check(protocol, "a member that is removed joins again", Groups::removed);
            check(protocol, "a commit of one that was away for too long is refused", Groups::lateCommit);
            check(protocol, "list, describe, alter and delete offsets, delete", Groups::admin);
        }
        ConsumerGroups.cases();
    }

    private static void check(Protocol protocol, String name, Case run) {
        check(protocol.word() + ": " + name, () -> run.run(protocol));
    }

    static void check(String name, Callable<String> run) {
        Clients.check("java", "client: groups: " + name, run);
    }

    private static String goesOn(Protocol protocol) throws Exception {
        String topic = topic(protocol.word() + "-goes-on");
        for (int from = 0; from < 75; from += 25) {
            send(topic, from, from + 25);
            try (Member member = new Member(protocol, topic)) {
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

    private static String twoShare(Protocol protocol) throws Exception {
        String topic = topic(protocol.word() + "-share");
        try (Member first = new Member(protocol, topic)) {
            awaitShares(List.of(first), PARTITIONS);
            try (Member second = new Member(protocol, topic)) {
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

    private static String chosenOffset(Protocol protocol) throws Exception {
        String topic = topic(protocol.word() + "-chosen");
        send(topic, 0, 10);
        try (Member member = new Member(protocol, topic)) {
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
        try (Member member = new Member(protocol, topic)) {
            read(List.of(member), 7, 10);
        }
        return committedProblem(topic, all(7));
    }

    private static String autoCommit(Protocol protocol) throws Exception {
        String topic = topic(protocol.word() + "-auto");
        send(topic, 0, 10);
        try (Member member = new Member(protocol, topic, "enable.auto.commit", true, "auto.commit.interval.ms", 100)) {
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

    private static String staticMember(Protocol protocol) throws Exception {
        String topic = topic(protocol.word() + "-static");
        try (Member first = new Member(protocol, topic, "group.instance.id", "one")) {
            awaitShares(List.of(first), PARTITIONS);
            Member second = new Member(protocol, topic, "group.instance.id", "two");
            awaitShares(List.of(first, second), 2, 2);
            Set<Integer> had = second.assigned();
            int lost = first.lost;
            int generation = second.epoch();
            // A static member does not leave when it is closed.
            second.close();
            second = new Member(protocol, topic, "group.instance.id", "two");
            awaitShares(List.of(first, second), 2, 2);
            if (!second.assigned().equals(had) || first.lost != lost || second.epoch() != generation) {
                return "it had " + had + " in generation " + generation + " and has " + second.assigned() + " in "
                    + second.epoch() + "; the other one lost " + (first.lost - lost);
            }
            return secondOfTheName(protocol, topic, first, second);
        } finally {
            try (Admin admin = Admin.create(Clients.with())) {
                admin.removeMembersFromConsumerGroup(topic, new RemoveMembersFromConsumerGroupOptions()).all().get();
            }
        }
    }

    /** The classic protocol gives the place to the one who comes, the consumer protocol leaves it with the one who is there. */
    private static String secondOfTheName(Protocol protocol, String topic, Member first, Member second) {
        int lost = first.lost;
        try (Member usurper = new Member(protocol, topic, "group.instance.id", "two")) {
            if (protocol == Protocol.CLASSIC) {
                awaitShares(List.of(first, usurper), 2, 2);
                second.awaitThrown(FencedInstanceIdException.class);
                second.close();
                awaitShares(List.of(first, usurper), 2, 2);
            } else {
                usurper.awaitThrown(UnreleasedInstanceIdException.class);
                awaitShares(List.of(first, second), 2, 2);
                second.close();
            }
        }
        return first.lost == lost ? null : "the other one lost " + (first.lost - lost);
    }

    private static String movesLittle(Protocol protocol) throws Exception {
        String topic = topic(protocol.word() + "-moves-little");
        // In the consumer protocol there is nothing else.
        Object[] chosen = protocol == Protocol.CLASSIC ? new Object[] {"partition.assignment.strategy", COOPERATIVE} : new Object[0];
        Member first = new Member(protocol, topic, chosen);
        awaitShares(List.of(first), PARTITIONS);
        try (Member second = new Member(protocol, topic, chosen)) {
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
    private static String removed(Protocol protocol) throws Exception {
        String topic = topic(protocol.word() + "-removed");
        try (Member member = new Member(protocol, topic, "group.instance.id", "one"); Admin admin = Admin.create(Clients.with())) {
            RemoveMembersFromConsumerGroupOptions one = new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")));
            for (int from = 0; from < 10; from += 5) {
                // Also so that no question about offsets is on its way when the member is taken out.
                send(topic, from, from + 5);
                read(List.of(member), from, from + 5);
                member.library.commitSync();
                int epoch = member.epoch();
                admin.removeMembersFromConsumerGroup(topic, one).all().get();
                long deadline = System.currentTimeMillis() + MS_MAX;
                while (member.epoch() <= epoch) {
                    member.poll();
                    if (System.currentTimeMillis() > deadline) {
                        return "the epoch is still " + epoch + " after " + MS_MAX + " ms";
                    }
                }
                awaitShares(List.of(member), PARTITIONS);
            }
            send(topic, 10, 15);
            read(List.of(member), 10, 15);
            admin.removeMembersFromConsumerGroup(topic, one).all().get();
            return null;
        }
    }

    /** Two of a group; one does not poll for longer than it may, and its partitions are the other's. */
    private static String lateCommit(Protocol protocol) throws Exception {
        String topic = topic(protocol.word() + "-late");
        send(topic, 0, 5);
        try (Member late = new Member(protocol, topic, "max.poll.interval.ms", 500); Member other = new Member(protocol, topic)) {
            read(List.of(late), 0, 5);
            long deadline = System.currentTimeMillis() + MS_MAX;
            while (other.assigned().size() < PARTITIONS) {
                other.poll();
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

    private static String admin(Protocol protocol) throws Exception {
        String topic = topic(protocol.word() + "-admin");
        TopicPartition one = new TopicPartition(topic, 1);
        List<String> problems = new ArrayList<>();
        try (Admin admin = Admin.create(Clients.with())) {
            send(topic, 0, 10);
            try (Member member = new Member(protocol, topic)) {
                read(List.of(member), 0, 10);
                member.library.commitSync();
                ConsumerGroupDescription described = admin.describeConsumerGroups(List.of(topic)).all().get().get(topic);
                if (described.groupState() != GroupState.STABLE || described.members().size() != 1
                    || described.members().iterator().next().assignment().topicPartitions().size() != PARTITIONS
                    || !described.partitionAssignor().equals(protocol == Protocol.CLASSIC ? "range" : "uniform")
                    || !atItsTarget(protocol, described)) {
                    problems.add("described with a member: " + described);
                }
                for (Protocol each : Protocol.values()) {
                    ListGroupsOptions ofType = new ListGroupsOptions().withTypes(Set.of(GroupType.parse(each.word())));
                    if (listed(admin, ofType).contains(topic) != (each == protocol)) {
                        problems.add("of type " + each + " are listed " + listed(admin, ofType));
                    }
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

    /** What the consumer protocol tells beside that, of a group of one: all epochs are the group's, and its target is what the member has. */
    private static boolean atItsTarget(Protocol protocol, ConsumerGroupDescription described) {
        MemberDescription member = described.members().iterator().next();
        if (protocol == Protocol.CLASSIC) {
            return described.type() == GroupType.CLASSIC && described.groupEpoch().isEmpty() && member.memberEpoch().isEmpty()
                && member.targetAssignment().isEmpty() && member.upgraded().isEmpty();
        }
        return described.type() == GroupType.CONSUMER && described.groupEpoch().orElse(0) > 0
            && described.targetAssignmentEpoch().equals(described.groupEpoch()) && member.memberEpoch().equals(described.groupEpoch())
            && member.targetAssignment().equals(Optional.of(member.assignment())) && member.upgraded().equals(Optional.of(true));
    }

    private static Set<String> listed(Admin admin, ListGroupsOptions options) throws Exception {
        Set<String> groups = new TreeSet<>();
        for (GroupListing each : admin.listGroups(options).all().get()) {
            groups.add(each.groupId());
        }
        return groups;
    }
}
