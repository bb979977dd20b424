//! Old segments go while producers write and after a kill, and what is left is whole.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::support::{Node, Place, wait_for};

fn start_of(node: &Node, topic: &str) -> u64 {
    let described = &node.json(&["topic", "describe", "--topic", topic])[0][0];
    described["partitions"][0]["earliest_offset"].as_u64().unwrap()
}

/// First offsets of the segments on the disk, in order.
fn segments(place: &Place) -> Vec<u64> {
    let folders = fs::read_dir(place.data()).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.filter(|path| path.is_dir()).flat_map(|path| fs::read_dir(path).unwrap());
    let mut bases: Vec<u64> = files
        .filter_map(|file| file.unwrap().file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .collect();
    bases.sort_unstable();
    bases
}

#[test]
fn old_segments_go_and_what_is_left_is_whole() {
    let mut place = Place::with_small_journal().with("log.retention.check.interval.ms", "100");
    let mut node = place.start();
    place.set("listeners", &node.listeners());
    node.ok(&["topic", "create", "--topic", "t", "--config", "retention.bytes=3145728"]);
    // Incompressible enough: each record is its own number, many times over.
    let line = |number: u64| format!("{number:08}").repeat(2_000);
    let mut written = 0;
    for round in 0..3 {
        let lines: Vec<String> = (written..written + 700).map(line).collect();
        node.produce(&["--topic", "t"], lines.join("\n").as_bytes());
        written += 700;
        let before = if round == 0 { 0 } else { written - 1_400 };
        wait_for("old segments to go", || (start_of(&node, "t") > before).then_some(()));
        if round == 1 {
            let start = start_of(&node, "t");
            node.kill();
            node = place.start();
            assert!(start_of(&node, "t") >= start, "a start that was told does not go back");
        }
    }
    // Until everything is in segments, more of them go.
    wait_for("the start to stand still", || {
        let before = start_of(&node, "t");
        thread::sleep(Duration::from_secs(1));
        (start_of(&node, "t") == before).then_some(())
    });
    // Files go once the start is on the disk: the one that holds it is the first.
    let start = wait_for("their files to go", || {
        let start = start_of(&node, "t");
        let first = segments(&place).into_iter().rev().find(|&base| base <= start)?;
        (segments(&place).first() == Some(&first)).then_some(start)
    });
    let left = node.json(&["consume", "--topic", "t", "--from-beginning", "--timeout-ms", "3000"]);
    for (number, record) in (start..).zip(&left) {
        assert_eq!(record["offset"], number);
        assert_eq!(record["value"].as_str().unwrap(), line(number));
    }
    assert_eq!(start + left.len() as u64, written);
    assert!(left.len() >= (3 << 20) / 16_200, "no more goes than leaves retention.bytes: {}", left.len());
    node.stop();
}
