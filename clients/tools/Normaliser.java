import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** Takes out of what a tool says what differs from one run to the next: ids, addresses, folders, times, rates. */
final class Normaliser {
    private static final Pattern STACK = Pattern.compile("\\s+at [\\w.$/<>@-]+\\(.*\\)|\\s*\\.\\.\\. \\d+ more");
    private static final String UUID = "[A-Za-z0-9_-]{22}";
    private static final String[][] RULES = {
        {"(TopicId: |\"topicId\":\"|Cluster ID: |\"directoryId\": \"|ClusterId: +)" + UUID, "$1<uuid>"},
        // Columns are as wide as what stands in them.
        {" +\t", "\t"},
        {" +$", ""},
        // kafka-metadata-quorum describe: who leads the quorum is not decided by the steps.
        {"^(LeaderId|LeaderEpoch|HighWatermark|MaxFollowerLag|MaxFollowerLagTimeMs):( +)-?\\d+", "$1:$2<number>"},
        {"^\\d+\t" + UUID + "\t\\d+\t\\d+\t-?\\d+\t-?\\d+\t(\\w+)", "<node>\t<uuid>\t<offset>\t<lag>\t<time>\t<time>\t$1"},
        // Members of groups
        {"(\\w)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "$1-<uuid>"},
        {"([Mm]ember|owned by) " + UUID, "$1 <uuid>"},
        {UUID + "(\\s+(\\S+\\s+)?/127\\.0\\.0\\.1)", "<uuid>$1"},
        {"\"(commit|expire|currentState)Timestamp\":\\d+", "\"$1Timestamp\":<time>"},
        // kafka-consumer-groups: who coordinates a group is not decided by the steps.
        {"host-\\d:9092\\s+\\(\\d\\)", "<node>"},
        // kafka-consumer-perf-test, kafka-e2e-latency
        {"(test-group)-\\d+", "$1-<number>"},
        {"^\\d{4}-[-\\d :]+, \\d{4}-[-\\d :]+, ([\\d.]+), [\\d.]+, (\\d+), .*", "<time>, <time>, $1, <rate>, $2, <rates>"},
        {"^(\\d+)\t[\\d.]+$", "$1\t<time>"},
        {"^(Avg latency|Percentiles): .*", "$1: <times>"},
        // kafka-producer-perf-test
        {"(records sent), .*", "$1, <rates>"},
        // kafka-verifiable-producer
        {"\"timestamp\":\\d+", "\"timestamp\":<time>"},
        {"\"(target|avg)_throughput\":[-0-9.]+", "\"$1_throughput\":<rate>"},
        // kafka-log-dirs
        {"\"size\":[1-9]\\d*", "\"size\":<bytes>"},
        {"\"(total|usable)Bytes\":-?\\d+", "\"$1Bytes\":<bytes>"},
        {"\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d[,.]\\d{3}", "<time>"},
        {"\\d+ ms has passed", "<number> ms has passed"},
        {"(TimeoutException): .*", "$1: <what was tried>"},
        {"(voters) \\[ReplicaKey.*\\]", "$1 <voters>"},
        {"(Local controller) \\d+", "$1 <node>"},
        {"(Epoch): \\d+$", "$1: <number>"},
        // Any node is asked.
        {"(on) host-\\d:9092 \\(id: \\d ", "$1 <node> ("},
        {"(adminclient-)\\d+", "$1<number>"},
        {"(console-consumer-)\\d+", "$1<number>"},
    };

    /** Lists of kafka-topics --describe whose order tells nothing. */
    private static final Pattern LIST = Pattern.compile("(?<=\\t(Isr|Elr|Configs): )[^\\t]+");

    private final List<String[]> addresses = new ArrayList<>();
    private final String nodes;

    Normaliser(String bootstrap, Path nodes) {
        String[] servers = bootstrap.split(",");
        for (int at = 0; at < servers.length; at++) {
            String[] hostAndPort = servers[at].split(":");
            addresses.add(new String[] {hostAndPort[0] + "(:|\\s+)" + hostAndPort[1] + "\\b", "host-" + (at + 1) + "$19092"});
        }
        this.nodes = nodes.toString();
    }

    /** The lines of a tool's output. In any order means: each once, sorted, and JSON with one object a line. */
    List<String> lines(String said, boolean anyOrder, boolean isTable) {
        List<String> lines = new ArrayList<>();
        // Records of __consumer_offsets have no end of line; how many there are depends on how long a consumer was there.
        if (said.startsWith("{\"key\":{\"type\"")) {
            said = said.replaceAll("\\}(?=\\{|ERROR)", "}\n").replaceAll("(Processed a total of) \\d+", "$1 <number>");
        }
        for (String line : (anyOrder ? said.replaceAll("(\\},|\\[)(?=\\{)", "$1\n") : said).split("\n")) {
            if (STACK.matcher(line).matches() || line.isBlank()) {
                continue;
            }
            for (String[] address : addresses) {
                line = line.replaceAll(address[0], address[1]);
            }
            line = line.replaceAll("127\\.0\\.0\\.1:\\d+", "host:9093").replaceAll(Pattern.quote(nodes) + "/node-(\\d)/[\\w/-]*", "/data/node-$1");
            if (isTable) {
                line = line.replaceAll(" {2,}", "  ");
            }
            for (String[] rule : RULES) {
                line = line.replaceAll(rule[0], rule[1]);
            }
            line = LIST.matcher(line).replaceAll(list -> Matcher.quoteReplacement(sorted(list.group())));
            lines.add(anyOrder ? line.replaceAll("(\\}),$|[\\]}]+$", "$1") : line);
        }
        return anyOrder ? new ArrayList<>(new TreeSet<>(lines)) : lines;
    }

    private static String sorted(String list) {
        return Arrays.stream(list.split(",")).sorted().collect(Collectors.joining(","));
    }
}
