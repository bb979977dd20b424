//! `seedlog dev`, `seedlog demo` and `seedlog cluster`, with one node each: real processes that are started, killed and
//! started again.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn seedlog(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seedlog"));
    command.args(args).env_clear().env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn ok(args: &[&str]) -> String {
    let output = seedlog(args).output().expect("it runs");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it prints text")
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&ok(args)).expect("it prints JSON")
}

/// A `seedlog dev` that serves.
struct Dev {
    child: Child,
    lines: Vec<String>,
}

impl Dev {
    fn start(args: &[&str]) -> Self {
        let mut child = seedlog(&["dev"])
            .args(args)
            .env("SEEDLOG_NODE_ID", "77")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("it is a pipe");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut dev = Self { child, lines: Vec::new() };
        while dev.lines.last().is_none_or(|line| !line.starts_with("Ctrl-C")) {
            dev.lines.push(lines.recv_timeout(PATIENCE).expect("it serves in time"));
        }
        dev
    }

    fn bootstrap(&self) -> &str {
        let line = self.lines.iter().find_map(|line| line.strip_prefix("bootstrap server: "));
        line.expect("it says where to connect")
    }

    fn word_after(&self, word: &str) -> &str {
        let mut words = self.lines[0].split_whitespace().skip_while(|found| *found != word).skip(1);
        words.next().expect("the first line tells about the node")
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process");
        kill_process(pid, signal).expect("it runs");
    }

    fn end(self) -> Output {
        let started = Instant::now();
        let output = self.child.wait_with_output().expect("it ends");
        assert!(started.elapsed() < PATIENCE);
        output
    }
}

fn is_there(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

#[test]
fn a_cluster_keeps_its_data_and_ports_in_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("dev").display().to_string();
    let dev = Dev::start(&["--nodes", "1", "--dir", &dir, "--port", "0"]);
    let servers = dev.bootstrap().to_owned();
    assert!(dev.lines.iter().any(|line| line.trim() == format!("kcat -b {servers} -P -t greetings")));
    ok(&["produce", "-b", &servers, "--topic", "t", "--value", "kept"]);
    let described = json(&["cluster", "describe", "-b", &servers, "--json"]);
    assert_eq!(described["brokers"][0]["broker"], 1, "settings of this shell are not the node's");
    assert_eq!(described["controller"], 1);
    let table = ok(&["cluster", "describe", "-b", &servers]);
    assert!(table.contains(&servers) && table.contains("active"), "{table}");
    let table = ok(&["topic", "describe", "-b", &servers, "--topic", "t"]);
    assert!(table.contains("STATE") && table.contains("in sync"), "{table}");
    let under = json(&["topic", "describe", "-b", &servers, "--under-replicated-partitions", "--json"]);
    assert_eq!(under, serde_json::json!([]));
    let node = dev.word_after("process").to_owned();
    dev.signal(Signal::INT);
    assert!(dev.end().status.success());
    assert!(!is_there(&node));

    let dev = Dev::start(&["--dir", &dir]);
    assert_eq!(dev.bootstrap(), servers);
    assert_eq!(
        ok(&["consume", "-b", &servers, "--topic", "t", "--from-beginning", "--max-messages", "1"]),
        "kept\n"
    );
    dev.signal(Signal::TERM);
    assert!(dev.end().status.success());

    let refused = seedlog(&["dev", "--dir", &dir, "--nodes", "3"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("holds a cluster of 1, not of 3"), "{said}");
}

#[test]
fn a_temporary_cluster_leaves_nothing() {
    let dev = Dev::start(&["--nodes", "1", "--port", "0"]);
    let log = dev.word_after("log").to_owned();
    assert!(fs::exists(&log).expect("it can be looked for"));
    dev.signal(Signal::INT);
    assert!(dev.end().status.success());
    assert!(!fs::exists(Path::new(&log).parent().expect("a folder")).expect("it can be looked for"));
}

#[test]
fn a_node_that_dies_is_told() {
    let dev = Dev::start(&["--nodes", "1", "--port", "0"]);
    let node: i32 = dev.word_after("process").parse().expect("a number");
    kill_process(Pid::from_raw(node).expect("a process"), Signal::KILL).expect("it runs");
    let output = dev.end();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("node 1 ended by itself") && said.contains("no node is left"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_demo_of_one_node_loses_nothing() {
    let report = json(&["demo", "--nodes", "1", "--records", "20000", "--json"]);
    assert_eq!(
        (&report["clean"], &report["nodes"], &report["killed_node"]),
        (&true.into(), &1.into(), &1.into())
    );
    assert_eq!((&report["acknowledged"], &report["read"]), (&20_000.into(), &20_000.into()));
    let told = ok(&["demo", "--nodes", "1", "--records", "5000"]);
    assert!(told.contains("node 1 was killed with SIGKILL in the middle"), "{told}");
}

#[test]
fn the_demo_kills_the_leader_of_three_nodes_and_loses_nothing() {
    let report = json(&["demo", "--nodes", "3", "--records", "60000", "--json"]);
    assert_eq!((&report["clean"], &report["nodes"]), (&true.into(), &3.into()));
    assert_eq!((&report["acknowledged"], &report["read"]), (&60_000.into(), &60_000.into()));
}

#[test]
fn a_cluster_of_three_outlives_the_loss_of_one_and_takes_it_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("dev").display().to_string();
    let dev = Dev::start(&["--dir", &dir, "--port", "0"]);
    let servers = dev.bootstrap().to_owned();
    ok(&["topic", "create", "-b", &servers, "--topic", "t", "--partitions", "3"]);
    ok(&["produce", "-b", &servers, "--topic", "t", "--key", "k", "--value", "one"]);
    let node: i32 = dev.word_after("process").parse().expect("a number");
    kill_process(Pid::from_raw(node).expect("a process"), Signal::KILL).expect("it runs");
    ok(&["produce", "-b", &servers, "--topic", "t", "--key", "k", "--value", "two"]);
    let read = ["consume", "-b", &servers, "--topic", "t", "--from-beginning", "--max-messages", "2"];
    assert_eq!(ok(&read), "one\ntwo\n");
    let missing = || {
        let under = json(&["topic", "describe", "-b", &servers, "--under-replicated-partitions", "--json"]);
        under
            .as_array()
            .expect("a list")
            .iter()
            .map(|topic| topic["partitions"].as_array().map_or(0, Vec::len))
            .sum::<usize>()
    };
    wait_for(|| missing() == 3);
    dev.signal(Signal::INT);
    dev.end();

    let dev = Dev::start(&["--dir", &dir]);
    assert_eq!(dev.bootstrap(), servers);
    wait_for(|| missing() == 0);
    assert_eq!(ok(&read), "one\ntwo\n");
    let described = json(&["cluster", "describe", "-b", &servers, "--json"]);
    assert_eq!(described["brokers"].as_array().map(Vec::len), Some(3));
    dev.signal(Signal::INT);
    assert!(dev.end().status.success());
}

fn wait_for(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it does not come to that");
        thread::sleep(Duration::from_millis(100));
    }
}

/// What `seedlog cluster health` finds, by exit code, kind of finding and the brokers it names.
fn health(servers: &str) -> (i32, Vec<(String, Vec<i64>)>) {
    let output = seedlog(&["cluster", "health", "-b", servers, "--json"]).output().expect("it runs");
    let health: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let code = output.status.code().expect("it ends by itself");
    assert_eq!(health["healthy"], code == 0, "{health}");
    let findings = health["findings"].as_array().expect("a list").iter().map(|finding| {
        let brokers = finding["brokers"].as_array().into_iter().flatten().filter_map(Value::as_i64);
        (finding["finding"].as_str().expect("a word").to_owned(), brokers.collect())
    });
    (code, findings.collect())
}

#[test]
fn a_healthy_node_is_one_line() {
    let dev = Dev::start(&["--nodes", "1", "--port", "0"]);
    let servers = dev.bootstrap().to_owned();
    ok(&["topic", "create", "-b", &servers, "--topic", "t", "--partitions", "2"]);
    let told = ok(&["cluster", "health", "-b", &servers]);
    assert!(told.starts_with("healthy  cluster ") && told.lines().count() == 1, "{told}");
    assert!(told.ends_with("brokers 1  topics 1  partitions 2\n"), "{told}");
    assert_eq!(health(&servers), (0, vec![]));
    dev.signal(Signal::INT);
    assert!(dev.end().status.success());
}

#[test]
fn what_is_wrong_with_a_cluster_is_named() {
    let dev = Dev::start(&["--nodes", "3", "--port", "0"]);
    let servers = dev.bootstrap().to_owned();
    ok(&["topic", "create", "-b", &servers, "--topic", "t", "--partitions", "3"]);
    wait_for(|| health(&servers) == (0, vec![]));

    let processes: Vec<i32> = dev
        .lines
        .iter()
        .filter_map(|line| line.split_once("  process ")?.1.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(processes.len(), 3);
    let kill = |node: usize| {
        let process = Pid::from_raw(processes[node - 1]).expect("a process");
        kill_process(process, Signal::KILL).expect("it runs");
    };
    kill(3);
    // Until the controller misses it, it is a broker that does not answer.
    wait_for(|| health(&servers).1.first().is_some_and(|(kind, of)| kind == "broker_fenced" && *of == [3]));
    let (code, findings) = health(&servers);
    assert_eq!(code, 3);
    let of =
        |kind: &str| findings.iter().find(|(found, _)| found == kind).map(|(_, brokers)| brokers.clone());
    assert_eq!(of("partition_under_replicated"), Some(vec![3]), "{findings:?}");
    assert_eq!(of("replica_offline"), Some(vec![3]), "{findings:?}");
    assert_eq!(of("no_controller"), None, "{findings:?}");
    let output = seedlog(&["cluster", "health", "-b", &servers]).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains("error    broker 3 (127.0.0.1:") && told.contains("is fenced and does not answer"),
        "{told}"
    );
    assert!(told.contains("3 partitions under-replicated: t-0, t-1, t-2"), "{told}");
    assert!(told.contains("         next: start"), "{told}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && said.contains("the cluster is not healthy"), "{said}");

    kill(2);
    // A controller that was cut off from its majority notices after an election timeout.
    let finds = |kind: &str, of: &[i64]| {
        let (code, findings) = health(&servers);
        code == 3 && findings.iter().any(|(found, brokers)| found == kind && brokers == of)
    };
    assert!(finds("broker_unreachable", &[2]), "nobody is left who could fence it");
    wait_for(|| finds("no_controller", &[]));
    dev.signal(Signal::INT);
    dev.end();
}

#[test]
fn no_node_outlives_the_command_that_started_it() {
    let mut dev = Dev::start(&["--nodes", "1", "--port", "0"]);
    let node = dev.word_after("process").to_owned();
    let folder = Path::new(dev.word_after("log")).parent().expect("a folder").to_owned();
    dev.child.kill().expect("it runs");
    dev.child.wait().expect("it ends");
    let deadline = Instant::now() + PATIENCE;
    while is_there(&node) {
        assert!(Instant::now() < deadline, "the node runs on");
        thread::sleep(Duration::from_millis(10));
    }
    fs::remove_dir_all(folder).expect("it is left behind");
}

#[test]
fn a_client_goes_on_to_the_next_server_of_its_list() {
    let dev = Dev::start(&["--nodes", "1", "--port", "0"]);
    let servers = format!("127.0.0.1:1,{}", dev.bootstrap());
    ok(&["produce", "-b", &servers, "--topic", "t", "--value", "v"]);
    assert_eq!(ok(&["topic", "list", "-b", &servers]), "t\n");
    dev.signal(Signal::INT);
    assert!(dev.end().status.success());
}

#[test]
fn settings_are_described_and_altered() {
    let dev = Dev::start(&["--nodes", "1", "--port", "0"]);
    let servers = dev.bootstrap().to_owned();
    fn with<'a>(args: &[&'a str], servers: &'a str) -> Vec<&'a str> {
        [args, &["-b", servers]].concat()
    }
    fn alter<'a>(changes: &[&'a str], servers: &'a str) -> Vec<&'a str> {
        with(&[&["config", "alter", "--topic", "t"], changes].concat(), servers)
    }
    ok(&with(&["topic", "create", "--topic", "t", "--config", "retention.ms=1000"], &servers));
    assert_eq!(
        ok(&with(&["config", "describe", "--topic", "t"], &servers)),
        " KEY           VALUE  SOURCE\n retention.ms  1000   topic\n"
    );
    assert_eq!(ok(&alter(&["--set", "segment.ms=5000", "--dry-run"], &servers)), "would alter topic t\n");
    assert_eq!(
        ok(&alter(&["--set", "segment.ms=6000", "--delete", "retention.ms"], &servers)),
        "altered topic t\n"
    );
    let set = json(&with(&["config", "describe", "--topic", "t", "--json"], &servers));
    assert_eq!(set.as_array().map(Vec::len), Some(1), "{set}");
    assert_eq!(
        (&set[0]["key"], &set[0]["value"], &set[0]["source"]),
        (&"segment.ms".into(), &"6000".into(), &"topic".into())
    );
    let all = json(&with(&["config", "describe", "--topic", "t", "--all", "--json"], &servers));
    assert_eq!(all.as_array().map(Vec::len), Some(33));
    let node = json(&with(&["config", "describe", "--broker", "1", "--json"], &servers));
    let keys: Vec<&str> = node.as_array().into_iter().flatten().filter_map(|it| it["key"].as_str()).collect();
    assert!(keys.contains(&"listeners") && !keys.contains(&"num.partitions"), "{keys:?}");
    for (args, why) in [
        (alter(&["--set", "segment.mss=1"], &servers), "Unknown topic config name: segment.mss"),
        (alter(&["--set", "segment.mss=1"], &servers), "did you mean segment.ms?"),
        (alter(&["--set", "segment.ms=0"], &servers), "it must be a number from 1 to"),
        (with(&["config", "describe", "--topic", "nowhere"], &servers), "nowhere"),
        (
            with(&["config", "alter", "--topic", "nowhere", "--set", "segment.ms=1"], &servers),
            "The topic 'nowhere' does not exist.",
        ),
    ] {
        let output = seedlog(&args).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(why), "{args:?}: {said}");
    }
    dev.signal(Signal::INT);
    assert!(dev.end().status.success());
}

#[test]
fn settings_of_groups_are_described_and_altered() {
    const SESSION: &str = "consumer.session.timeout.ms";
    const BEAT: &str = "consumer.heartbeat.interval.ms";
    let dev = Dev::start(&["--nodes", "1", "--port", "0"]);
    let servers = dev.bootstrap().to_owned();
    let of_group = |what: &str, more: &[&str]| {
        let args = ["config", what, "--group", "g", "-b", &servers];
        let args = args.iter().chain(more);
        args.map(|arg| (*arg).to_owned()).collect::<Vec<String>>()
    };
    let done = |what: &str, more: &[&str]| {
        let args = of_group(what, more);
        ok(&args.iter().map(String::as_str).collect::<Vec<&str>>())
    };
    let shown = |more: &[&str]| -> Value {
        serde_json::from_str(&done("describe", &[&["--json"], more].concat())).expect("it is JSON")
    };
    // Nobody has heard of the group.
    assert_eq!(shown(&[]), serde_json::json!([]));
    assert_eq!(
        done("alter", &["--set", "consumer.session.timeout.ms=50000", "--dry-run"]),
        "would alter group g\n"
    );
    assert_eq!(shown(&[]), serde_json::json!([]));
    let set = ["--set", "consumer.session.timeout.ms=50000", "--set", "consumer.heartbeat.interval.ms=6000"];
    assert_eq!(done("alter", &set), "altered group g\n");
    let changes = ["--set", "consumer.session.timeout.ms=55000", "--delete", BEAT, "--json"];
    assert_eq!(done("alter", &changes), "{\"altered\":true,\"group\":\"g\"}\n");
    assert_eq!(
        done("describe", &[]),
        " KEY                          VALUE  SOURCE\n consumer.session.timeout.ms  55000  group\n"
    );
    let all = shown(&["--all"]);
    let told: Vec<(&str, &str, &str)> = (all.as_array().into_iter().flatten())
        .filter_map(|it| Some((it["key"].as_str()?, it["value"].as_str()?, it["source"].as_str()?)))
        .collect();
    let expected = [
        ("consumer.assignment.interval.ms", "1000", "default"),
        (BEAT, "5000", "default"),
        (SESSION, "55000", "group"),
    ];
    assert_eq!(told, expected);
    for (more, why) in [
        (["--set", "consumer.session.timeout=50000"], "Unknown group config name: consumer.session.timeout"),
        (["--set", "consumer.session.timeout=50000"], "did you mean consumer.session.timeout.ms?"),
        (["--set", "consumer.session.timeout.ms=1"], "group.consumer.min.session.timeout.ms"),
        (["--set", "retention.ms=1"], "Unknown group config name: retention.ms"),
    ] {
        let args = of_group("alter", &more);
        let output =
            seedlog(&args.iter().map(String::as_str).collect::<Vec<&str>>()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(why), "{args:?}: {said}");
    }
    assert_eq!(done("alter", &["--delete", SESSION]), "altered group g\n");
    assert_eq!(shown(&[]), serde_json::json!([]));
    dev.signal(Signal::INT);
    assert!(dev.end().status.success());
}
