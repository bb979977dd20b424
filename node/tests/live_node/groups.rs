//! Consumer groups as a person sees them: members that share a topic, stop and go on, and the commands that look at a group,
//! move it and delete it.

use super::metrics::three;
use super::support::{Node, PATIENCE, Place, read_lines, wait_for, wait_for_exit};
use rustix::process::{Pid, Signal, kill_process};
use seedlog::client::{Cluster, ConnectionOptions};
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::consumer_group_heartbeat::OwnedPartitions;
use seedlog_core::wire::create_partitions::CreatePartitionsTopic;
use seedlog_core::wire::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, CreatePartitionsRequest, Request,
    Response, Str,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;
use std::thread;

/// A node whose groups begin without waiting for more members, and lose silent ones soon.
fn place() -> Place {
    Place::new()
        .with("group.initial.rebalance.delay.ms", "0")
        .with("group.min.session.timeout.ms", "1")
        .with("offsets.topic.num.partitions", "3")
}

/// A `seedlog consume --group` that runs. It is killed when this value goes away.
struct Reader {
    child: Child,
    lines: Receiver<String>,
}

impl Reader {
    fn start(node: &Node, args: &[&str]) -> Self {
        let mut command = node.client(&[&["consume", "--topic", "t", "--from-beginning"], args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to stop; what it printed and nobody took yet.
    fn stop(mut self) -> Vec<String> {
        self.signal(Signal::INT);
        assert_eq!(wait_for_exit(&mut self.child).code(), Some(0), "{}", self.said());
        self.lines.iter().collect()
    }

    /// What it said on standard error until its end.
    fn said(&mut self) -> String {
        std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Either it is gone already or it goes now.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

/// Records with a key and the same value, so that they are spread over the partitions.
fn records(from: usize, to: usize) -> (Vec<String>, Vec<u8>) {
    let values: Vec<String> = (from..to).map(|number| format!("record-{number:03}")).collect();
    let lines: Vec<String> = values.iter().map(|value| format!("{value}={value}")).collect();
    (values, lines.join("\n").into_bytes())
}

fn described(node: &Node, group: &str) -> Value {
    node.json(&["group", "describe", "--group", group])[0][0].clone()
}

/// The partitions of `t` by member, once the group is as it is wanted.
fn shared(node: &Node, members: usize) -> BTreeMap<String, BTreeSet<u64>> {
    wait_for("group that is settled", || {
        let output = node.run(&["group", "describe", "--group", "g", "--json"]);
        let group: Value = serde_json::from_slice(&output.stdout).ok()?;
        let found = group[0]["members"].as_array()?;
        (group[0]["state"] == "Stable" && found.len() == members).then(|| {
            let partitions = |member: &Value| {
                member["assignment"]["t"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
            };
            found.iter().map(|it| (it["member"].as_str().unwrap().to_owned(), partitions(it))).collect()
        })
    })
}

/// Runs commands one after the other and writes down what they print, as a person sees it.
fn transcript(node: &Node, commands: &[&[&str]]) -> String {
    let mut all = String::new();
    for args in commands {
        let output = node.run(args);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap().replace(node.address(), "HOST:PORT");
        all += &format!("$ seedlog {}\n{text}", args.join(" "));
        let code = output.status.code().unwrap();
        all += &if code == 0 { "\n".to_owned() } else { format!("exit code {code}\n\n") };
    }
    all
}

#[test]
fn a_group_is_listed_described_moved_and_deleted() {
    let place = place();
    let node = place.start();
    node.ok(&["topic", "create", "--topic", "t", "--partitions", "2"]);
    for partition in ["0", "1"] {
        for time in ["1000", "2000", "3000"] {
            let args = ["produce", "--topic", "t", "--partition", partition, "--value", "v"];
            node.ok(&[&args[..], &["--timestamp", time]].concat());
        }
    }
    let read = ["consume", "--topic", "t", "--group", "readers", "--from-beginning", "--max-messages", "6"];
    assert_eq!(node.ok(&read).lines().count(), 6);
    node.produce(&["--topic", "t", "--partition", "1"], b"behind\nbehind\n");
    let reset = |args: &[&'static str]| {
        [&["group", "reset-offsets", "--group", "readers"][..], args].concat().leak() as &[&str]
    };
    let describe = ["group", "describe", "--group", "readers"];
    let seen = transcript(
        &node,
        &[
            &["group", "list"],
            &["group", "list", "--json"],
            &["group", "list", "--state", "stable"],
            &["group", "list", "--type", "classic", "--state", "empty,dead"],
            &describe,
            &["group", "describe", "--json"],
            reset(&["--topic", "t", "--to-earliest"]),
            reset(&["--topic", "t:1", "--shift-by", "-2", "--json"]),
            reset(&["--topic", "t", "--to-datetime", "1970-01-01T00:00:02"]),
            reset(&["--topic", "t", "--by-duration", "PT1H"]),
            reset(&["--all-topics", "--to-current"]),
            reset(&["--topic", "t:7", "--to-latest"]),
            reset(&["--topic", "elsewhere", "--to-latest"]),
            &describe,
            reset(&["--topic", "t:0", "--to-offset", "1", "--topic", "t:1", "--execute"]),
            &describe,
            &["group", "reset-offsets", "--group", "new", "--topic", "t:0", "--shift-by", "1"],
            &["group", "reset-offsets", "--group", "new", "--all-topics", "--to-latest"],
            &["group", "reset-offsets", "--group", "new", "--topic", "t:0", "--to-latest", "--execute"],
            &["group", "list"],
            &["group", "delete", "--group", "readers", "--group", "new"],
            &["group", "delete", "--group", "readers", "--if-exists"],
            &["group", "delete", "--group", "readers"],
            &describe,
            &["group", "list"],
        ],
    );
    insta::assert_snapshot!(seen);
    node.stop();
}

#[test]
fn a_group_is_moved_to_what_stands_in_a_file() {
    let place = place();
    let node = place.start();
    node.ok(&["topic", "create", "--topic", "t", "--partitions", "3"]);
    node.produce(&["--topic", "t", "--partition", "2"], b"a\nb\nc\n");
    let file = place.file("offsets");
    let reset = |lines: &str, code: i32| {
        fs::write(&file, lines).unwrap();
        let args = ["group", "reset-offsets", "--group", "g", "--execute", "--json", "--from-file"];
        let output = node.run(&[&args[..], &[file.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let moved: Value = serde_json::from_str(&reset("t,2,1\n\nt,0,9\n", 0)).unwrap();
    assert_eq!(
        moved["partitions"],
        json!([
            { "topic": "t", "partition": 0, "old_offset": null, "new_offset": 0 },
            { "topic": "t", "partition": 2, "old_offset": null, "new_offset": 1 },
        ])
    );
    for (lines, said) in [
        ("", "has no lines"),
        ("t,0,1\nt,1\n", "line 2: write topic,partition,offset"),
        ("t,0,1\nt,0,1\n", "line 2: t-0 stands there twice"),
        ("t,3,1\n", "t has no partition 3"),
        ("u,0,1\n", "topic u: UNKNOWN_TOPIC_OR_PARTITION"),
    ] {
        let refused = reset(lines, 1);
        assert!(refused.contains(said), "{refused}");
    }
    assert_eq!(described(&node, "g")["total_lag"], 2, "what is refused changes nothing");
    node.stop();
}

#[test]
fn a_group_goes_on_where_it_was_moved_to() {
    let place = place();
    let node = place.start();
    node.produce(&["--topic", "t"], b"a\nb\nc\n");
    let read = ["consume", "--topic", "t", "--group", "g", "--from-beginning", "--max-messages"];
    assert_eq!(node.ok(&[&read[..], &["3"]].concat()), "a\nb\nc\n");
    node.ok(&["group", "reset-offsets", "--group", "g", "--all-topics", "--to-offset", "1", "--execute"]);
    assert_eq!(node.ok(&[&read[..], &["2"]].concat()), "b\nc\n");
    node.stop();
}

#[test]
fn a_live_group_is_left_alone() {
    let place = place();
    let node = place.start();
    node.produce(&["--topic", "t"], b"a\nb\n");
    let reader = Reader::start(&node, &["--group", "g"]);
    assert_eq!(reader.lines.recv_timeout(PATIENCE).unwrap(), "a");
    let reset = ["group", "reset-offsets", "--group", "g", "--topic", "t", "--to-earliest"];
    for args in [&reset[..], &[&reset[..], &["--execute"]].concat()] {
        let refused = node.refuses(1, args);
        assert!(
            refused.contains("group g has members") && refused.contains("stop its consumers"),
            "{refused}"
        );
    }
    let refused = node.refuses(1, &["group", "delete", "--group", "g"]);
    assert!(refused.contains("NON_EMPTY_GROUP; stop its members first"), "{refused}");
    wait_for("commit of what was read", || (described(&node, "g")["total_lag"] == 0).then_some(()));
    let group = described(&node, "g");
    assert_eq!(
        (&group["state"], &group["protocol"], &group["partitions"][0]["member"]),
        (&json!("Stable"), &json!("range"), &group["members"][0]["member"])
    );
    reader.stop();
    assert_eq!(described(&node, "g")["state"], "Empty", "it left");
    node.ok(&[&reset[..], &["--execute"]].concat());
    assert_eq!(described(&node, "g")["total_lag"], 2);
    node.ok(&["group", "delete", "--group", "g"]);
    node.stop();
}

#[test]
fn members_share_partitions_and_take_over_from_who_ends() {
    let place = place();
    let node = place.start();
    node.ok(&["topic", "create", "--topic", "t", "--partitions", "4"]);
    let member = || Reader::start(&node, &["--group", "g", "--session-timeout-ms", "5000"]);
    let (first, mut second) = (member(), member());
    let shares = shared(&node, 2);
    assert!(shares.values().all(|partitions| partitions.len() == 2), "{shares:?}");
    assert_eq!(shares.values().flatten().collect::<BTreeSet<_>>().len(), 4, "{shares:?}");

    let (mut sent, lines) = records(0, 100);
    node.produce(&["--topic", "t", "--key-separator", "="], &lines);
    wait_for("commits of all", || (described(&node, "g")["total_lag"] == 0).then_some(()));
    let mut printed = first.stop();
    assert!(!printed.is_empty(), "it had its share");
    assert_eq!(shared(&node, 1).values().map(BTreeSet::len).collect::<Vec<_>>(), [4]);

    let (more, lines) = records(100, 150);
    node.produce(&["--topic", "t", "--key-separator", "="], &lines);
    sent.extend(more);
    wait_for("commits of all", || (described(&node, "g")["total_lag"] == 0).then_some(()));
    // Killed, it neither commits nor leaves: the group waits for its session to end.
    second.signal(Signal::KILL);
    wait_for_exit(&mut second.child);
    printed.extend(second.lines.iter());
    assert_eq!(printed.len(), 150, "nothing is printed twice while nobody is killed");

    let (more, lines) = records(150, 200);
    node.produce(&["--topic", "t", "--key-separator", "="], &lines);
    sent.extend(more);
    let third = member();
    wait_for("commits of all", || (described(&node, "g")["total_lag"] == 0).then_some(()));
    printed.extend(third.stop());
    printed.sort();
    assert_eq!(printed, sent, "each is printed, and what was committed is not printed again");
    node.stop();
}

/// Asks the node, which is every group's coordinator.
fn ask(node: &Node, request: impl Into<Request>) -> Response {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::new(vec![node.address().to_owned()], ConnectionOptions::default());
        cluster.any().await.unwrap().call(request).await.unwrap()
    })
}

/// What a member of a consumer group (KIP-848) says, and is told. `None`: the coordinator is not ready.
fn heartbeat(
    node: &Node,
    member: &str,
    epoch: i32,
    topics: &[OwnedPartitions],
) -> Option<ConsumerGroupHeartbeatResponse> {
    let request = ConsumerGroupHeartbeatRequest {
        group_id: Str::from("g"),
        member_id: Str::from(member),
        member_epoch: epoch,
        instance_id: Some(Str::from(format!("instance-{member}"))),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![Str::from("t")]),
        server_assignor: Some(Str::from("range")),
        topic_partitions: Some(topics.to_vec()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let Response::ConsumerGroupHeartbeat(told) = ask(node, request) else { panic!("it is told nothing") };
    let is_ready = told.error_code != ErrorCode::NotCoordinator.code();
    assert!(told.error_code == 0 || !is_ready, "{told:?}");
    is_ready.then_some(told)
}

#[test]
fn a_group_that_the_coordinator_assigns_is_described_with_its_members() {
    let place = place();
    let node = place.start();
    node.ok(&["topic", "create", "--topic", "t", "--partitions", "3"]);
    node.produce(&["--topic", "t", "--partition", "2"], b"a\nb\n");
    // Whoever asks for the coordinator has one made.
    assert_eq!(node.run(&["group", "describe", "--group", "g"]).status.code(), Some(1));
    let mut epochs = BTreeMap::from([("one", 0), ("two", 0)]);
    let mut owned: BTreeMap<&str, Vec<OwnedPartitions>> = BTreeMap::new();
    wait_for("partitions of all members", || {
        for (member, epoch) in &mut epochs {
            let held = owned.entry(member).or_default();
            let told = heartbeat(&node, member, *epoch, held)?;
            *epoch = told.member_epoch;
            if let Some(assignment) = told.assignment {
                let assigned = assignment.topic_partitions.into_iter();
                *held = assigned
                    .map(|of| OwnedPartitions { topic_id: of.topic_id, partitions: of.partitions })
                    .collect();
            }
        }
        let counts = owned.values().map(|held| held.iter().map(|of| of.partitions.len()).sum::<usize>());
        (counts.collect::<Vec<_>>() == [2, 1]).then_some(())
    });
    assert_eq!(node.ok(&["group", "list", "--type", "consumer"]), "g\n");
    let group = wait_for("stable group", || Some(described(&node, "g")).filter(|it| it["state"] == "Stable"));
    assert_eq!((&group["type"], &group["protocol"]), (&json!("consumer"), &json!("range")), "{group}");
    let members: Vec<(&Value, &Value, &Value)> = group["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["member"], &it["group_instance_id"], &it["assignment"]))
        .collect();
    let (one, two) = (json!({"t": [0, 1]}), json!({"t": [2]}));
    let expected =
        [(&json!("one"), &json!("instance-one"), &one), (&json!("two"), &json!("instance-two"), &two)];
    assert_eq!(members, expected);
    let last = &group["partitions"][2];
    assert_eq!((&last["log_end_offset"], &last["member"]), (&json!(2), &json!("two")), "{group}");
    let text = node.ok(&["group", "describe", "--group", "g"]);
    assert!(text.contains("type consumer") && text.contains("t:0,1") && text.contains("members 2"), "{text}");
    node.stop();
}

/// Gives the topic `t` more partitions.
fn widen(node: &Node, partitions: i32) {
    let topic =
        CreatePartitionsTopic { name: Str::from("t"), count: partitions, ..CreatePartitionsTopic::default() };
    let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
    let Response::CreatePartitions(answer) = ask(node, request) else { panic!("it is no answer") };
    assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
}

#[test]
fn the_next_generation_reads_partitions_that_are_new() {
    let place = place();
    let node = place.start();
    node.produce(&["--topic", "t"], b"old\n");
    let first = Reader::start(&node, &["--group", "g"]);
    assert_eq!(first.lines.recv_timeout(PATIENCE).unwrap(), "old");
    widen(&node, 2);
    node.produce(&["--topic", "t", "--partition", "1"], b"new\n");
    let second = Reader::start(&node, &["--group", "g"]);
    let shares = shared(&node, 2);
    assert!(shares.values().all(|partitions| partitions.len() == 1), "{shares:?}");
    wait_for("commits of all", || (described(&node, "g")["total_lag"] == 0).then_some(()));
    let printed = [first.stop(), second.stop()].concat();
    assert_eq!(printed, ["new"], "the old one was taken above");
    node.stop();
}

#[test]
fn who_comes_next_goes_on_where_the_last_one_stopped() {
    let place = place();
    let node = place.start();
    node.produce(&["--topic", "t"], b"a\nb\nc\nd\n");
    node.produce(&["--topic", "u"], b"x\n");
    let read = |count: &str| {
        let args = ["consume", "--topic", "t", "--group", "g", "--from-beginning", "--max-messages", count];
        node.ok(&args)
    };
    assert_eq!(read("1"), "a\n");
    assert_eq!(read("2"), "b\nc\n");
    assert_eq!(described(&node, "g")["partitions"][0]["committed_offset"], 3);
    let rest = ["consume", "--topic", "t", "--topic", "u", "--group", "g", "--from-beginning"];
    let rest = node.json(&[&rest[..], &["--max-messages", "2"]].concat());
    let rest: BTreeSet<(&str, &str)> = rest
        .iter()
        .map(|record| (record["topic"].as_str().unwrap(), record["value"].as_str().unwrap()))
        .collect();
    assert_eq!(rest, BTreeSet::from([("t", "d"), ("u", "x")]));

    // Who begins at the end commits that, so that nothing that comes while nobody reads is passed over.
    assert_eq!(node.ok(&["consume", "--topic", "t", "--group", "late", "--timeout-ms", "1"]), "");
    node.produce(&["--topic", "t"], b"e\n");
    assert_eq!(node.ok(&["consume", "--topic", "t", "--group", "late", "--max-messages", "1"]), "e\n");
    node.stop();
}

#[test]
fn a_static_member_is_replaced_by_who_has_its_name() {
    let place = place();
    let node = place.start();
    node.produce(&["--topic", "t"], b"a\n");
    let named = ["--group", "g", "--group-instance-id", "one"];
    let mut first = Reader::start(&node, &named);
    assert_eq!(first.lines.recv_timeout(PATIENCE).unwrap(), "a");
    wait_for("commit of what was read", || (described(&node, "g")["total_lag"] == 0).then_some(()));
    let second = Reader::start(&node, &named);
    assert_eq!(wait_for_exit(&mut first.child).code(), Some(1));
    let said = first.said();
    assert!(said.contains("FENCED_INSTANCE_ID") && said.contains("--group-instance-id"), "{said}");
    node.produce(&["--topic", "t"], b"b\n");
    assert_eq!(second.lines.recv_timeout(PATIENCE).unwrap(), "b");
    second.stop();
    // It keeps its place for when it comes back.
    assert_eq!(described(&node, "g")["members"][0]["group_instance_id"], "one");
    node.stop();
}

#[test]
fn a_group_outlives_its_coordinator() {
    let places: Vec<Place> =
        three().into_iter().map(|place| place.with("group.initial.rebalance.delay.ms", "0")).collect();
    let mut nodes: Vec<Node> = thread::scope(|scope| {
        let starting: Vec<_> =
            places.iter().map(|place| scope.spawn(|| place.start_with(1).may_complain())).collect();
        starting.into_iter().map(|starting| starting.join().unwrap()).collect()
    });
    nodes[0].ok(&["topic", "create", "--topic", "t", "--partitions", "3", "--replication-factor", "3"]);
    let (mut sent, lines) = records(0, 50);
    nodes[0].produce(&["--topic", "t", "--key-separator", "="], &lines);
    let first = ["consume", "--topic", "t", "--group", "g", "--from-beginning", "--max-messages", "1"];
    let first = nodes[0].ok(&first).trim_end().to_owned();
    let listed = nodes[0].json(&["group", "list"])[0][0].clone();
    let coordinator = usize::try_from(listed["coordinator"].as_u64().unwrap()).unwrap() - 1;
    nodes.swap(0, coordinator);
    let reader = Reader::start(&nodes[1], &["--group", "g"]);
    wait_for("commits of all", || (described(&nodes[1], "g")["total_lag"] == 0).then_some(()));
    nodes.remove(0).kill();
    let (more, lines) = records(50, 100);
    nodes[0].produce(&["--topic", "t", "--key-separator", "="], &lines);
    sent.extend(more);
    // Whoever is asked looks for the coordinator until there is one.
    wait_for("commits of all", || {
        let group = nodes[0].run(&["group", "describe", "--group", "g", "--json"]);
        let group: Value = serde_json::from_slice(&group.stdout).ok()?;
        (group[0]["total_lag"] == 0).then_some(())
    });
    let printed: BTreeSet<String> = reader.stop().into_iter().chain([first]).collect();
    assert!(printed.into_iter().eq(sent), "each is printed, some perhaps twice");
}
