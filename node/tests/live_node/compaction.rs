//! Compacted topics on a node that runs: the policy `compact,delete`, and records that must not wait longer than they may.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use crate::support::{Node, Place, wait_for};

/// A node that looks for something to clean and something too old several times a second.
fn place() -> Place {
    Place::with_small_journal()
        .with("log.retention.check.interval.ms", "100")
        .with("log.cleaner.backoff.ms", "100")
}

/// What is left of a topic of one partition: offset, key and value of each record.
fn left(node: &Node, topic: &str) -> Vec<(u64, String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let args = ["consume", "--topic", topic, "--from-beginning", "--timeout-ms", "2000"];
    let records = node.json(&args).into_iter();
    records.map(|it| (it["offset"].as_u64().unwrap(), text(&it["key"]), text(&it["value"]))).collect()
}

fn write(node: &Node, topic: &str, records: impl Iterator<Item = (u64, String)>) {
    let lines: Vec<String> = records.map(|(key, value)| format!("key-{key}={value}")).collect();
    node.produce(&["--topic", topic, "--key-separator", "="], lines.join("\n").as_bytes());
}

#[test]
fn with_both_policies_old_values_go_and_so_do_old_segments() {
    let place = place();
    let node = place.start();
    let mut create = vec!["topic", "create", "--topic", "t"];
    for config in ["cleanup.policy=compact,delete", "min.cleanable.dirty.ratio=0.01", "segment.bytes=1048576"]
    {
        create.extend(["--config", config]);
    }
    node.ok(&create);
    // Four segments of ten keys, and one key that nobody writes again in front of them.
    let value = |number: u64| format!("{number:08}").repeat(2_000);
    write(&node, "t", [(99, "first".to_owned())].into_iter());
    write(&node, "t", (0..280).map(|number| (number % 10, value(number))));
    let cleaned = wait_for("old values to go", || Some(left(&node, "t")).filter(|left| left.len() < 150));
    assert_eq!(cleaned[0], (0, "key-99".to_owned(), "first".to_owned()));
    let last: BTreeMap<&String, &String> = cleaned.iter().map(|(_, key, value)| (key, value)).collect();
    for number in 270..280 {
        assert!(*last[&format!("key-{}", number % 10)] == value(number), "the last value of {number}");
    }
    assert_eq!(last.len(), 11);

    node.ok(&["config", "alter", "--topic", "t", "--set", "retention.bytes=1"]);
    let kept = wait_for("old segments to go", || Some(left(&node, "t")).filter(|left| left[0].0 > 0));
    assert_eq!(kept.last(), cleaned.last());
    assert!(kept.iter().all(|record| cleaned.contains(record)), "what is left is as it was");
    node.stop();
}

/// `max.compaction.lag.ms` (KIP-354): however little is dirty, and however young the segment that takes appends is.
#[test]
fn what_has_waited_long_enough_is_cleaned_with_the_next_record() {
    let place = place();
    let node = place.start();
    for (topic, lag) in [("soon", "max.compaction.lag.ms=500"), ("late", "max.compaction.lag.ms=86400000")] {
        let configs = ["cleanup.policy=compact", "min.cleanable.dirty.ratio=1.0", lag];
        let args = configs.iter().flat_map(|config| ["--config", config]);
        node.ok(&["topic", "create", "--topic", topic].into_iter().chain(args).collect::<Vec<_>>());
        write(&node, topic, (0..3).map(|number| (7, format!("value-{number}"))));
    }
    // The next record finds the segment too old, by its own time.
    thread::sleep(Duration::from_millis(600));
    for topic in ["soon", "late"] {
        write(&node, topic, [(8, "later".to_owned())].into_iter());
    }
    let values = |topic| left(&node, topic).into_iter().map(|it| it.2).collect::<Vec<_>>();
    wait_for("old values to go", || (values("soon") == ["value-2", "later"]).then_some(()));
    assert_eq!(values("late"), ["value-0", "value-1", "value-2", "later"]);
    node.stop();
}
