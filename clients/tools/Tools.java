import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.common.utils.Exit;

/**
 * Kafka's own tools, one after the other in one process, as a start costs more than their work.
 *
 * <p>{@code Tools run STEPS BOOTSTRAP NODES NODE_SH OUT} runs what the file STEPS says and writes the transcript OUT; a node
 * that a step stops or starts is {@code NODE_SH stop|start NODES/node-ID}. {@code Tools compare WANT GOT} says one line a step.
 */
public final class Tools {
    private static final int STEP_SECONDS_MAX = 40;
    /** What a tool changed has to be known on every node before the next one asks any of them. */
    private static final int PAUSE_MS = 200;
    /** Replicas that move are there. */
    private static final int MOVE_MS = 3000;
    /** A tool that stays has begun its work. */
    private static final int STAY_MS = 5000;
    private static final Map<String, String> MAIN_CLASSES = new LinkedHashMap<>();

    static {
        String tools = "org.apache.kafka.tools.";
        MAIN_CLASSES.put("kafka-topics.sh", tools + "TopicCommand");
        MAIN_CLASSES.put("kafka-configs.sh", "kafka.admin.ConfigCommand");
        MAIN_CLASSES.put("kafka-console-producer.sh", tools + "ConsoleProducer");
        MAIN_CLASSES.put("kafka-console-consumer.sh", tools + "consumer.ConsoleConsumer");
        MAIN_CLASSES.put("kafka-get-offsets.sh", tools + "GetOffsetShell");
        MAIN_CLASSES.put("kafka-delete-records.sh", tools + "DeleteRecordsCommand");
        MAIN_CLASSES.put("kafka-log-dirs.sh", tools + "LogDirsCommand");
        MAIN_CLASSES.put("kafka-leader-election.sh", tools + "LeaderElectionCommand");
        MAIN_CLASSES.put("kafka-reassign-partitions.sh", tools + "reassign.ReassignPartitionsCommand");
        MAIN_CLASSES.put("kafka-metadata-quorum.sh", tools + "MetadataQuorumCommand");
        MAIN_CLASSES.put("kafka-features.sh", tools + "FeatureCommand");
        MAIN_CLASSES.put("kafka-broker-api-versions.sh", tools + "BrokerApiVersionsCommand");
        MAIN_CLASSES.put("kafka-cluster.sh", tools + "ClusterTool");
        MAIN_CLASSES.put("kafka-verifiable-producer.sh", tools + "VerifiableProducer");
        MAIN_CLASSES.put("kafka-producer-perf-test.sh", tools + "ProducerPerformance");
        MAIN_CLASSES.put("kafka-replica-verification.sh", tools + "ReplicaVerificationTool");
        MAIN_CLASSES.put("kafka-consumer-groups.sh", tools + "consumer.group.ConsumerGroupCommand");
        MAIN_CLASSES.put("kafka-groups.sh", tools + "GroupsCommand");
        MAIN_CLASSES.put("kafka-verifiable-consumer.sh", tools + "VerifiableConsumer");
        MAIN_CLASSES.put("kafka-consumer-perf-test.sh", tools + "ConsumerPerformance");
        MAIN_CLASSES.put("kafka-e2e-latency.sh", tools + "EndToEndLatency");
        MAIN_CLASSES.put("kafka-transactions.sh", tools + "TransactionsCommand");
        MAIN_CLASSES.put("kafka-acls.sh", tools + "AclCommand");
    }

    /** One line of STEPS with what belongs to it. */
    private static final class Step {
        final String line;
        final List<String> words;
        final StringBuilder input = new StringBuilder();
        boolean anyOrder;
        int endAfterSeconds;
        int staysForSteps;

        Step(String line) {
            this.line = line;
            this.words = split(line);
        }

        /** Works until somebody ends it, or says its last words in a hook of the virtual machine. */
        boolean isApart() {
            return endAfterSeconds > 0 || is("kafka-verifiable-producer.sh") || is("kafka-verifiable-consumer.sh");
        }

        /** Its columns are as wide as what stands in them. */
        boolean isTable() {
            return is("kafka-consumer-groups.sh") || is("kafka-groups.sh");
        }

        boolean is(String word) {
            return words.get(0).equals(word);
        }
    }

    /** Thrown instead of ending the process: an Error, so that no tool takes it for a failure of its own. */
    private static final class Ended extends Error {
        Ended() {
            super("the tool ended", null, false, false);
        }
    }

    private final String bootstrap;
    private final Path nodes;
    private final String nodeScript;
    private final List<Runnable> atExit = new ArrayList<>();
    /** What runs beside the steps, by the number of steps that are still to be run with it. */
    private final Map<Process, Integer> beside = new LinkedHashMap<>();
    private volatile Integer exitCode;
    private ByteArrayOutputStream said = new ByteArrayOutputStream();
    private volatile int saidBeforeExit;
    private volatile int saidBeforeHooks;

    private Tools(String bootstrap, Path nodes, String nodeScript) {
        this.bootstrap = bootstrap;
        this.nodes = nodes;
        this.nodeScript = nodeScript;
    }

    public static void main(String[] args) throws Exception {
        if (args.length == 6 && args[0].equals("run")) {
            new Tools(args[2], Path.of(args[3]), args[4]).run(read(Path.of(args[1])), Path.of(args[5]));
            // Threads of tools that did not end must not keep this process.
            Runtime.getRuntime().halt(0);
        } else if (args.length == 3 && args[0].equals("compare")) {
            System.exit(compare(Path.of(args[1]), Path.of(args[2])) ? 0 : 1);
        } else {
            System.err.println("usage: Tools run STEPS BOOTSTRAP NODES NODE_SH OUT | Tools compare WANT GOT");
            System.exit(2);
        }
    }

    private static List<Step> read(Path file) throws IOException {
        List<Step> steps = new ArrayList<>();
        for (String line : Files.readAllLines(file)) {
            if (line.isBlank() || line.startsWith("#") || line.startsWith("why: ")) {
                continue;
            }
            Step last = steps.isEmpty() ? null : steps.get(steps.size() - 1);
            if (line.startsWith("< ")) {
                last.input.append(line.substring(2).replace("\\t", "\t")).append('\n');
            } else if (line.equals("order: any")) {
                last.anyOrder = true;
            } else if (line.startsWith("end after: ")) {
                last.endAfterSeconds = Integer.parseInt(line.substring(11).replace(" s", ""));
            } else if (line.startsWith("stays for: ")) {
                last.staysForSteps = Integer.parseInt(line.substring(11).replace(" steps", ""));
            } else {
                steps.add(new Step(line));
            }
        }
        return steps;
    }

    /** Splits at blanks; what is between single quotes stays together. */
    private static List<String> split(String line) {
        List<String> words = new ArrayList<>();
        Matcher word = Pattern.compile("'([^']*)'|(\\S+)").matcher(line);
        while (word.find()) {
            words.add(word.group(1) != null ? word.group(1) : word.group(2));
        }
        return words;
    }

    private void run(List<Step> steps, Path out) throws Exception {
        Exit.setExitProcedure((code, message) -> end(code));
        Exit.setHaltProcedure((code, message) -> end(code));
        Exit.setShutdownHookAdder((name, hook) -> atExit.add(hook));
        StringBuilder transcript = new StringBuilder();
        for (Step step : steps) {
            if (step.is("file")) {
                Files.writeString(Path.of(step.words.get(1)), step.words.get(2).replace("\\n", "\n"));
                continue;
            }
            transcript.append("$ ").append(step.line).append('\n');
            if (step.is("node")) {
                moveNode(step.words.get(1), step.words.get(2));
            } else if (step.staysForSteps > 0) {
                Process process = start(step, ProcessBuilder.Redirect.DISCARD);
                beside.put(process, step.staysForSteps + 1);
                Thread.sleep(STAY_MS);
                transcript.append(process.isAlive() ? "stays\n" : "exit " + process.exitValue() + "\n");
            } else {
                String said = step.isApart() ? runApart(step) : runHere(step);
                for (String line : new Normaliser(bootstrap, nodes).lines(said, step.anyOrder, step.isTable())) {
                    transcript.append("  ").append(line).append('\n');
                }
                transcript.append(exitCode == null ? "not ended\n" : "exit " + exitCode + "\n");
            }
            Files.writeString(out, transcript);
            endWhatHasStayed();
            Thread.sleep(step.is("kafka-reassign-partitions.sh") && step.words.contains("--execute") ? MOVE_MS : PAUSE_MS);
        }
    }

    private void endWhatHasStayed() throws Exception {
        beside.replaceAll((process, steps) -> steps - 1);
        List<Process> over = beside.keySet().stream().filter(process -> beside.get(process) == 0).toList();
        // All at once: who is left alone reads on with another generation.
        over.forEach(Process::destroy);
        for (Process process : over) {
            process.waitFor();
            beside.remove(process);
        }
    }

    private void end(int code) {
        if (exitCode == null) {
            exitCode = code;
            saidBeforeExit = said.size();
        }
        throw new Ended();
    }

    private void moveNode(String verb, String id) throws Exception {
        Process process = new ProcessBuilder(nodeScript, verb, nodes.resolve("node-" + id).toString())
                .redirectOutput(ProcessBuilder.Redirect.DISCARD).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        if (process.waitFor() != 0) {
            throw new IOException("node " + id + " does not " + verb);
        }
        // Its replicas leave and join the in-sync replicas.
        Thread.sleep(3000);
    }

    /** The arguments with the servers' addresses, where the tool wants them. */
    private List<String> arguments(Step step) {
        List<String> arguments = new ArrayList<>(step.words.subList(1, step.words.size()));
        String tool = step.words.get(0);
        if (tool.equals("kafka-replica-verification.sh")) {
            arguments.addAll(0, List.of("--broker-list", bootstrap));
        } else if (tool.equals("kafka-cluster.sh")) {
            // Its command stands first.
            arguments.addAll(List.of("--bootstrap-server", bootstrap));
        } else {
            arguments.addAll(0, List.of("--bootstrap-server", bootstrap));
        }
        return arguments;
    }

    private static String mainClass(Step step) {
        String name = MAIN_CLASSES.get(step.words.get(0));
        if (name == null) {
            throw new IllegalArgumentException("there is no tool " + step.words.get(0));
        }
        return name;
    }

    private String runHere(Step step) throws Exception {
        PrintStream stdout = System.out;
        PrintStream stderr = System.err;
        said = new ByteArrayOutputStream();
        saidBeforeExit = Integer.MAX_VALUE;
        saidBeforeHooks = 0;
        PrintStream both = new PrintStream(said, true, StandardCharsets.UTF_8);
        exitCode = null;
        atExit.clear();
        System.setIn(new ByteArrayInputStream(step.input.toString().getBytes(StandardCharsets.UTF_8)));
        System.setOut(both);
        System.setErr(both);
        try {
            Thread tool = new Thread(() -> callMain(mainClass(step), arguments(step)), "tool");
            tool.setDaemon(true);
            tool.start();
            tool.join(TimeUnit.SECONDS.toMillis(STEP_SECONDS_MAX));
            if (tool.isAlive()) {
                tool.interrupt();
                tool.join(2000);
                exitCode = null;
            }
        } finally {
            System.setOut(stdout);
            System.setErr(stderr);
        }
        // A tool that catches everything tells of Ended, which nobody sees where the process really ends.
        byte[] bytes = said.toByteArray();
        if (saidBeforeExit >= saidBeforeHooks) {
            return new String(bytes, StandardCharsets.UTF_8);
        }
        return new String(bytes, 0, saidBeforeExit, StandardCharsets.UTF_8)
                + new String(bytes, saidBeforeHooks, bytes.length - saidBeforeHooks, StandardCharsets.UTF_8);
    }

    /** As the virtual machine would: main, what is to be done at the exit, the exit code. */
    private void callMain(String name, List<String> arguments) {
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) arguments.toArray(new String[0]));
        } catch (InvocationTargetException e) {
            if (!(e.getCause() instanceof Ended)) {
                e.getCause().printStackTrace();
                exitCode = 1;
            }
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
        saidBeforeHooks = said.size();
        for (Runnable hook : atExit) {
            hook.run();
        }
        if (exitCode == null) {
            exitCode = 0;
        }
    }

    private Process start(Step step, ProcessBuilder.Redirect output) throws IOException {
        List<String> command = new ArrayList<>(List.of(ProcessHandle.current().info().command().orElse("java"),
                "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp", System.getProperty("java.class.path"),
                "-Dlog4j2.configurationFile=" + System.getProperty("log4j2.configurationFile"), mainClass(step)));
        command.addAll(arguments(step));
        return new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(output).start();
    }

    /** In a process of its own, which is ended after its time. */
    private String runApart(Step step) throws Exception {
        Path said = Files.createTempFile("tool", ".said");
        Process process = start(step, ProcessBuilder.Redirect.to(said.toFile()));
        int seconds = step.endAfterSeconds > 0 ? step.endAfterSeconds : STEP_SECONDS_MAX;
        exitCode = process.waitFor(seconds, TimeUnit.SECONDS) ? process.exitValue() : null;
        process.destroy();
        process.waitFor();
        String text = Files.readString(said);
        Files.delete(said);
        return text;
    }

    private static List<String> steps(Path transcript) throws IOException {
        String text = "\n" + Files.readString(transcript);
        return Arrays.asList(text.split("\n\\$ ")).stream().skip(1).map(String::stripTrailing).toList();
    }

    /** Both transcripts step by step: what is kept, and what was seen now. */
    private static boolean compare(Path wantFile, Path gotFile) throws IOException {
        List<String> want = steps(wantFile);
        List<String> got = steps(gotFile);
        boolean same = want.size() == got.size();
        if (!same) {
            System.out.println("FAIL tools: all steps: " + got.size() + ", want " + want.size());
        }
        for (int at = 0; at < Math.min(want.size(), got.size()); at++) {
            String name = want.get(at).lines().findFirst().orElse("");
            if (want.get(at).equals(got.get(at))) {
                System.out.println("pass tools: " + name);
            } else {
                same = false;
                System.out.println("FAIL tools: " + name + ": " + firstDifference(want.get(at), got.get(at)));
            }
        }
        return same;
    }

    private static String firstDifference(String want, String got) {
        List<String> wanted = want.lines().toList();
        List<String> seen = got.lines().toList();
        for (int at = 0; ; at++) {
            String one = at < wanted.size() ? wanted.get(at) : "nothing more";
            String other = at < seen.size() ? seen.get(at) : "nothing more";
            if (!one.equals(other)) {
                return "got «" + other.strip() + "», want «" + one.strip() + "»";
            }
        }
    }
}
