import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.errors.InvalidRegularExpression;
import org.apache.kafka.common.errors.UnsupportedAssignorException;

/** The Java client in groups of the consumer protocol (KIP-848): assignors, expressions, and members of both protocols in one group. */
final class ConsumerGroups extends GroupCases {
    private ConsumerGroups() {}

    static void cases() {
        Groups.check("consumer: the coordinator's assignors", ConsumerGroups::assignors);
        Groups.check("consumer: an assignor that is not there is refused", ConsumerGroups::noSuchAssignor);
        Groups.check("consumer: an expression takes topics that come later", ConsumerGroups::expression);
        Groups.check("consumer: an expression that is none is refused", ConsumerGroups::noExpression);
        Groups.check("classic to consumer and back, online", ConsumerGroups::migration);
        Groups.check("classic to consumer and back, a group without members", ConsumerGroups::migrationOfEmpty);
    }

    /** Two members that read two topics of three partitions: by `range` one has two of each topic, by `uniform` each has three in all. */
    private static String assignors() throws Exception {
        List<String> topics = List.of("client-assignor-a", "client-assignor-b");
        for (String topic : topics) {
            Clients.create(topic, 3, 1, Map.of());
        }
        String problem = assignedBy("range", topics, 2, 4);
        return problem != null ? problem : assignedBy("uniform", topics, 3, 3);
    }

    private static String assignedBy(String assignor, List<String> topics, int less, int more) throws Exception {
        String group = "client-assignor-" + assignor;
        Object[] chosen = {"group.remote.assignor", assignor};
        try (Member first = new Member(Protocol.CONSUMER, group, topics, chosen)) {
            awaitShares(6, List.of(first), 6);
            try (Member second = new Member(Protocol.CONSUMER, group, topics, chosen)) {
                // Whose id comes first is not decided here.
                awaitSharesInAnyOrder(6, List.of(first, second), less, more);
                String described = describe(group).partitionAssignor();
                return described.equals(assignor) ? null : "the group's assignor is " + described + ", want " + assignor;
            }
        }
    }

    private static String noSuchAssignor() throws Exception {
        try (Member member = new Member(Protocol.CONSUMER, topic("no-assignor"), "group.remote.assignor", "none such")) {
            member.awaitThrown(UnsupportedAssignorException.class);
            return null;
        }
    }

    /** One reads by expression, one by name: what the expression finds is shared with nobody, and the other topic by both. */
    private static String expression() throws Exception {
        String topic = topic("expression-1");
        try (Member member = new Member(topic, new SubscriptionPattern("client-group-expression-[0-9]"))) {
            awaitShares(PARTITIONS, List.of(member), PARTITIONS);
            String later = topic("expression-2");
            topic("expression-none");
            awaitShares(2 * PARTITIONS, List.of(member), 2 * PARTITIONS);
            send(later, 0, 10);
            read(List.of(member), 0, 10);
            try (Member other = new Member(Protocol.CONSUMER, topic, List.of(topic))) {
                awaitShares(2 * PARTITIONS, List.of(member, other), 4, 4);
                if (other.library.assignment().stream().anyMatch(at -> !at.topic().equals(topic))) {
                    return "the member that reads " + topic + " has " + other.library.assignment();
                }
            }
            awaitShares(2 * PARTITIONS, List.of(member), 2 * PARTITIONS);
            return null;
        }
    }

    private static String noExpression() throws Exception {
        for (String wrong : List.of("client-group-(", "client-group-(?=a)", "(a)\\1")) {
            try (Member member = new Member("client-no-expression", new SubscriptionPattern(wrong))) {
                member.awaitThrown(InvalidRegularExpression.class);
            }
        }
        return null;
    }

    /** Records are written at each step; each is read once, whichever protocol the group is of by then. */
    private static String migration() throws Exception {
        String topic = topic("migration");
        Member classic = new Member(Protocol.CLASSIC, topic);
        awaitShares(List.of(classic), PARTITIONS);
        readOn(topic, 0, classic);
        String problem = typeProblem("one of the classic protocol", topic, GroupType.CLASSIC);
        Member consumer = new Member(Protocol.CONSUMER, topic);
        awaitShares(List.of(classic, consumer), 2, 2);
        readOn(topic, 10, classic, consumer);
        problem = first(problem, typeProblem("one of each protocol", topic, GroupType.CONSUMER, false, true));
        classic.close();
        awaitShares(List.of(consumer), PARTITIONS);
        readOn(topic, 20, consumer);
        problem = first(problem, typeProblem("the classic one left", topic, GroupType.CONSUMER, true));
        Member back = new Member(Protocol.CLASSIC, topic);
        awaitShares(List.of(consumer, back), 2, 2);
        readOn(topic, 30, consumer, back);
        problem = first(problem, typeProblem("a classic one came", topic, GroupType.CONSUMER, false, true));
        consumer.close();
        awaitShares(List.of(back), PARTITIONS);
        readOn(topic, 40, back);
        problem = first(problem, typeProblem("only a classic one is left", topic, GroupType.CLASSIC));
        back.close();
        return first(problem, committedProblem(topic, all(50)));
    }

    private static String migrationOfEmpty() throws Exception {
        String topic = topic("migration-of-empty");
        String problem = null;
        int from = 0;
        for (Protocol protocol : List.of(Protocol.CLASSIC, Protocol.CONSUMER, Protocol.CLASSIC)) {
            try (Member member = new Member(protocol, topic)) {
                awaitShares(List.of(member), PARTITIONS);
                readOn(topic, from, member);
                from += 10;
                problem = first(problem, typeProblem("alone", topic, GroupType.parse(protocol.word())));
            }
        }
        return first(problem, committedProblem(topic, all(from)));
    }

    /** Ten numbers more are written, read and committed. */
    private static void readOn(String topic, int from, Member... members) throws Exception {
        send(topic, from, from + 10);
        read(List.of(members), from, from + 10);
        for (Member member : members) {
            member.library.commitSync();
        }
    }

    private static String first(String one, String other) {
        return one != null ? one : other;
    }

    /** The group is of this type, as it is listed and described; which of its members are of the consumer protocol, where that is asked. */
    private static String typeProblem(String when, String group, GroupType want, Boolean... upgraded) throws Exception {
        try (Admin admin = Admin.create(Clients.with())) {
            for (GroupListing each : admin.listGroups().all().get()) {
                if (each.groupId().equals(group) && !each.type().equals(Optional.of(want))) {
                    return when + ": listed is " + each;
                }
            }
        }
        ConsumerGroupDescription described = describe(group);
        List<Boolean> got = described.members().stream().flatMap(member -> member.upgraded().stream()).sorted().toList();
        boolean asWanted = described.type() == want && (upgraded.length == 0 || got.equals(List.of(upgraded)));
        return asWanted ? null : when + ": described is " + described;
    }

    private static ConsumerGroupDescription describe(String group) throws Exception {
        try (Admin admin = Admin.create(Clients.with())) {
            return admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        }
    }
}
