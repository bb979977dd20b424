//! A journal that comes back other than it was written: what nobody can have been promised is cut, everything else is
//! named and never passed over (SAFETY J3, J5).

use std::fs::{self, OpenOptions};
use std::io::Write;

use serde_json::{Value, json};

use crate::support::{Place, copy_data, damage};

const MARK: &str = "the-record-that-is-hit";

/// A folder with two topics, in one of which the middle record can be found in the journal; stopped in order.
fn furnished() -> Place {
    let place = Place::new();
    let node = place.start();
    for topic in ["victim", "other"] {
        for value in ["before", MARK, "behind"] {
            let value = if topic == "victim" { value } else { "intact" };
            node.ok(&["produce", "--topic", topic, "--value", value]);
        }
    }
    node.stop();
    place
}

#[test]
fn a_damaged_record_is_named_and_its_partition_is_not_served() {
    let place = furnished();
    assert_eq!(damage(&place.journal(), MARK.as_bytes()), 1);
    let mut node = place.start().may_complain();
    let lost = node.log().into_iter().find(|line| line["level"] == "ERROR").unwrap()["fields"].clone();
    assert_eq!(
        (&lost["topic"], &lost["partition"], &lost["from"], &lost["to"]),
        (&json!("victim"), &json!(0), &json!(1), &json!("2"))
    );
    assert!(lost["message"].as_str().unwrap().contains("delete the topic"), "{lost}");

    assert_eq!(node.read("other", 3).len(), 3);
    node.ok(&["produce", "--topic", "other", "--value", "v"]);
    for args in [
        &["produce", "--topic", "victim", "--value", "v", "--delivery-timeout-ms", "300"][..],
        &["consume", "--topic", "victim", "--from-beginning", "--request-timeout-ms", "300"],
    ] {
        let refused = node.refuses(1, args);
        assert!(refused.contains("KAFKA_STORAGE_ERROR") && refused.contains("the broker's log"), "{refused}");
    }
    let output = node.run(&["topic", "describe", "--json"]);
    assert_eq!(output.status.code(), Some(3), "what is found is not as it should be");
    let described: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ends: Vec<&Value> =
        described.as_array().unwrap().iter().map(|t| &t["partitions"][0]["latest_offset"]).collect();
    assert_eq!(ends, [&json!(4), &Value::Null]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("victim-0: KAFKA_STORAGE_ERROR"), "{stderr}");

    node.is_sound();
    node.stop();
    // A restart forgets nothing of it.
    let node = place.start().may_complain();
    assert_eq!(node.run(&["topic", "describe"]).status.code(), Some(3));
    node.ok(&["topic", "delete", "--topic", "victim"]);
    node.ok(&["produce", "--topic", "victim", "--value", "again"]);
    node.stop();
    let node = place.start();
    assert_eq!((node.ends("victim"), node.ends("other")), (vec![1], vec![4]));
    node.stop();
}

#[test]
fn damaged_metadata_is_a_refusal() {
    let place = furnished();
    assert!(damage(&place.journal(), b"victim") > 0);
    for _ in 0..2 {
        let refusal = place.refusal();
        assert!(refusal.contains("damaged where it held metadata from offset"), "{refusal}");
        assert!(refusal.contains("restore its folder from a copy"), "{refusal}");
    }
}

#[test]
fn a_torn_end_is_cut() {
    let place = Place::new();
    let node = place.start();
    let lines: Vec<String> = (0..200).map(|number| format!("record {number}")).collect();
    node.produce(&["--topic", "t"], lines.join("\n").as_bytes());
    // Killed while it is idle: the last groups are vouched for, behind them is what was filled with zeros.
    node.ok(&["topic", "describe", "--topic", "t"]);
    node.kill();
    let journal = place.journal();
    for end in ["garbage", "shorter", "half a block"] {
        let copy = Place::new();
        copy_data(&place, &copy);
        let path = copy.data().join(journal.last().unwrap().file_name().unwrap());
        let bytes = fs::read(&path).unwrap();
        let written = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        let written = written.next_multiple_of(4096);
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        match end {
            "garbage" => {
                let garbage: Vec<u8> = (0..bytes.len() - written).map(|i| (i * 31 % 251) as u8).collect();
                let content = [&bytes[..written], &garbage].concat();
                file.write_all(&content).unwrap();
            }
            "shorter" => file.set_len(written as u64).unwrap(),
            _ => file.set_len(written as u64 + 700).unwrap(),
        }
        drop(file);
        let node = copy.start();
        assert_eq!(node.ends("t"), [200], "{end}");
        node.ok(&["produce", "--topic", "t", "--value", "and on"]);
        assert_eq!(node.read("t", 201)[200]["value"], "and on");
        node.stop();
    }
}

#[test]
fn a_snapshot_that_is_damaged_or_has_lost_its_journal_is_a_refusal() {
    // The smallest journal: a snapshot is due after a quarter of it.
    let place = Place::new()
        .with("journal.file.bytes", "1048576")
        .with("journal.bytes.max", "8388608")
        .with("group.bytes.max", "524288")
        .with("message.max.bytes", "262144");
    let node = place.start();
    let lines = vec!["x".repeat(10_000); 600];
    node.produce(&["--topic", "t"], lines.join("\n").as_bytes());
    let snapshot = place.data().join("snapshot");
    crate::support::wait_for("snapshot", || snapshot.exists().then_some(()));
    node.stop();
    let mut bytes = fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&snapshot, &bytes).unwrap();
    let refusal = place.refusal();
    assert!(
        refusal.contains("snapshot: ") && refusal.contains("restore the folder from a copy"),
        "{refusal}"
    );
    bytes[middle] ^= 1;
    fs::write(&snapshot, bytes).unwrap();
    let node = place.start();
    assert_eq!(node.ends("t"), [600]);
    node.stop();

    // Without its journal the folder ends where the snapshot does, and what was acknowledged since is gone.
    for entry in fs::read_dir(place.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("journal-") {
            fs::remove_file(path).unwrap();
        }
    }
    let refusal = place.refusal();
    assert!(refusal.contains("holds data but no journal files"), "{refusal}");
}
