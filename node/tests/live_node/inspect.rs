//! `seedlog log`: the folder of a node that was killed is told as it is, damage is named with its place, and nothing in the
//! folder changes by being looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::support::{Place, copy_data, damage, seedlog, wait_for};

const MARK: &str = "the-record-that-is-hit";

/// Every file below a folder: when it was changed last, and what it holds.
fn state_of(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut state = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            state.extend(state_of(&path));
        } else {
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            state.insert(path.clone(), (changed, fs::read(path).unwrap()));
        }
    }
    state
}

/// Runs a command that must leave the folder as it is; its exit code and what it prints.
fn look(place: &Place, args: &[&str]) -> (i32, String, String) {
    let before = state_of(&place.data());
    let output = seedlog(args).output().unwrap();
    assert!(before == state_of(&place.data()), "{args:?} changed the folder");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn verify(place: &Place) -> (i32, Value) {
    let (code, stdout, stderr) = look(place, &["log", "verify", "--json", place.data().to_str().unwrap()]);
    assert!(!stderr.contains("panicked"), "{stderr}");
    let verified: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
    assert_eq!(verified["whole"], code == 0, "{verified}");
    (code, verified)
}

fn dump(place: &Place, path: &Path, args: &[&str]) -> Vec<Value> {
    let path = path.to_str().unwrap();
    let (code, stdout, stderr) = look(place, &[&["log", "dump", "--json", path], args].concat());
    assert_eq!(code, 0, "{stderr}");
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn damages(verified: &Value) -> Vec<&Value> {
    let findings = verified["findings"].as_array().unwrap();
    findings.iter().filter(|finding| finding["finding"] == "damage").collect()
}

/// A folder with some records in the journal, whose node was killed.
fn killed() -> Place {
    let place = Place::new();
    let node = place.start();
    node.ok(&["topic", "create", "--topic", "t", "--partitions", "1"]);
    for value in ["before", MARK, "behind"] {
        node.ok(&["produce", "--topic", "t", "--key", "k", "--value", value, "--idempotent"]);
    }
    node.kill();
    place
}

/// A folder with records in segments, vouched for by a snapshot, whose node was killed.
fn killed_with_segments() -> Place {
    let place = Place::with_small_journal();
    let node = place.start();
    let lines: Vec<String> = (0..400).map(|number| format!("{number:08}").repeat(2_000)).collect();
    node.produce(&["--topic", "t"], lines.join("\n").as_bytes());
    wait_for("snapshot", || place.data().join("snapshot").exists().then_some(()));
    node.kill();
    place
}

fn segments(place: &Place, ending: &str) -> Vec<PathBuf> {
    let folders = fs::read_dir(place.data()).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.filter(|path| path.is_dir()).flat_map(|path| fs::read_dir(path).unwrap());
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(ending));
    files.sort();
    files
}

#[test]
fn a_folder_in_use_is_not_looked_into() {
    let place = Place::new();
    let mut node = place.start();
    let journal = place.journal()[0].display().to_string();
    let data = place.data().display().to_string();
    for args in [&["log", "verify", &data], &["log", "dump", &data], &["log", "dump", &journal]] {
        let output = seedlog(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("in use by a running node: stop the node first"), "{said}");
        assert!(output.stdout.is_empty());
    }
    node.is_sound();
    node.stop();
    assert_eq!(verify(&place).1["stopped_in_order"], true);
}

#[test]
fn a_killed_node_has_what_it_acknowledged() {
    let place = killed();
    let (code, verified) = verify(&place);
    assert_eq!((code, &verified["stopped_in_order"], &verified["node_id"]), (0, &json!(false), &json!(1)));
    let partition = &verified["partitions"][0];
    assert_eq!(
        (
            &partition["topic"],
            &partition["start_offset"],
            &partition["end_offset"],
            &partition["journal_batches"]
        ),
        (&json!("t"), &json!(0), &json!(3), &json!(3))
    );
    let (_, text, _) = look(&place, &["log", "verify", place.data().to_str().unwrap()]);
    assert!(text.contains("did not stop in order") && text.contains("every checksum is right"), "{text}");

    let lines = dump(&place, &place.data(), &[]);
    let appends: Vec<&Value> = lines.iter().filter(|line| line["entry"] == "append").collect();
    let offsets: Vec<u64> = appends.iter().map(|line| line["base_offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, [0, 1, 2]);
    for append in &appends {
        let batch = &append["batch"];
        assert_eq!((&append["is_intact"], &batch["crc_is_right"]), (&json!(true), &json!(true)));
        assert_eq!((&batch["record_count"], &batch["base_sequence"]), (&json!(1), &json!(0)), "{append}");
        assert!(batch["producer_id"].as_i64() >= Some(0) && batch["max_timestamp"].as_i64() > Some(0));
    }
    for entry in ["founded", "vote", "metadata", "epoch_start", "started"] {
        assert!(lines.iter().any(|line| line["entry"] == entry), "{entry} is missing");
    }
    // Page by page it is the same.
    let lsns: Vec<u64> = lines.iter().map(|line| line["lsn"].as_u64().unwrap()).collect();
    let (mut paged, mut from) = (Vec::new(), 0);
    loop {
        let page = dump(&place, &place.data(), &["--from", &from.to_string(), "--max", "4"]);
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        from = last["lsn"].as_u64().unwrap() + 1;
        paged.extend(page);
    }
    assert_eq!(paged, lines);
    assert!(lsns.is_sorted());

    let with_records = dump(&place, &place.journal()[0], &["--records"]);
    let values: Vec<&Value> = with_records.iter().filter_map(|line| line.get("record")).collect();
    let values: Vec<&Value> = values.into_iter().map(|record| &record["value"]).collect();
    assert_eq!(values, [&json!("before"), &json!(MARK), &json!("behind")]);
    let (_, text, said) =
        look(&place, &["log", "dump", "--records", "--max", "1", place.data().to_str().unwrap()]);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(said.contains("there is more: go on with --from 2"), "{said}");

    let node = place.start();
    assert_eq!(node.read("t", 3).len(), 3, "and the node starts as if nobody had looked");
    node.stop();
}

#[test]
fn segments_are_read_and_checked() {
    let place = killed_with_segments();
    let (code, verified) = verify(&place);
    let partition = &verified["partitions"][0];
    assert_eq!((code, &partition["end_offset"]), (0, &json!(400)), "{verified}");
    assert!(partition["segments"].as_u64() > Some(0), "{partition}");
    assert!(partition["segment_batches"].as_u64() > Some(0), "{partition}");

    let files = segments(&place, ".log");
    let folder = files[0].parent().unwrap();
    assert_eq!(folder.file_name().unwrap().to_str(), partition["folder"].as_str());
    let batches = dump(&place, folder, &[]);
    let mut next = 0;
    for batch in &batches {
        assert_eq!((&batch["base_offset"], &batch["crc_is_right"]), (&json!(next), &json!(true)));
        next = batch["last_offset"].as_u64().unwrap() + 1;
    }
    assert!(next > 0);
    let middle = next / 2;
    let from = dump(&place, folder, &["--from", &middle.to_string(), "--max", "1"]);
    let (first, last) = (from[0]["base_offset"].as_u64().unwrap(), from[0]["last_offset"].as_u64().unwrap());
    assert!((first..=last).contains(&middle));
}

#[test]
fn damage_in_the_journal_is_named_with_its_place() {
    let place = killed();
    assert_eq!(damage(&place.journal(), MARK.as_bytes()), 1);
    let (code, verified) = verify(&place);
    assert_eq!(code, 1);
    let damages = damages(&verified);
    let file = place.journal()[0].clone();
    let found = damages.iter().find(|found| found["file"] == file.display().to_string()).unwrap();
    // One bit of the first byte is another.
    let hit =
        fs::read(&file).unwrap().windows(MARK.len()).position(|bytes| bytes[1..] == MARK.as_bytes()[1..]);
    let hit = hit.unwrap() as u64;
    let position = found["position"].as_u64().unwrap();
    assert!(position < hit && hit < position + 200, "{position} {hit}");
    assert!(found["what"].as_str().unwrap().contains("offset 1 is not what was written"), "{found}");
    assert!(found["then"].as_str().unwrap().contains("start the node"), "{found}");
    assert!(
        damages.iter().any(|it| it["what"].as_str().unwrap().contains("records from offset 1")),
        "{damages:?}"
    );
    let (code, text, said) = look(&place, &["log", "verify", place.data().to_str().unwrap()]);
    assert!(
        code == 1 && text.contains(&format!("at byte {position}: ")) && said.contains("damaged"),
        "{text}{said}"
    );
    let lines = dump(&place, &place.data(), &[]);
    let intact: Vec<&Value> =
        lines.iter().filter(|line| line["entry"] == "append").map(|line| &line["is_intact"]).collect();
    assert_eq!(intact, [&json!(true), &json!(false), &json!(true)]);
}

#[test]
fn damaged_metadata_is_named() {
    let place = Place::new();
    let node = place.start();
    node.ok(&["topic", "create", "--topic", "a-topic-by-name"]);
    node.stop();
    assert!(damage(&place.journal(), b"a-topic-by-name") > 0);
    let (code, verified) = verify(&place);
    let damages = damages(&verified);
    assert_eq!(code, 1);
    assert!(damages[0]["position"].as_u64() > Some(0), "{damages:?}");
    assert!(damages.iter().any(|it| it["what"].as_str().unwrap().contains("held metadata")), "{damages:?}");
    assert!(damages.iter().all(|it| it["then"].is_string()), "{damages:?}");
}

#[test]
fn damage_in_segments_is_named_with_its_place() {
    let place = killed_with_segments();
    let flip = |place: &Place, ending: &str| {
        let file = segments(place, ending)[0].clone();
        let mut bytes = fs::read(&file).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        (file, at as u64)
    };
    for ending in [".log", ".index"] {
        let copy = Place::new();
        copy_data(&place, &copy);
        let (file, at) = flip(&copy, ending);
        let (code, verified) = verify(&copy);
        let damages = damages(&verified);
        assert_eq!((code, damages.len()), (1, 1), "{damages:?}");
        assert_eq!(damages[0]["file"], file.display().to_string());
        let position = damages[0]["position"].as_u64().unwrap();
        assert!(position <= at && at < position + 400_000, "{position} {at}");
    }
    for ending in [".log", ".index"] {
        let copy = Place::new();
        copy_data(&place, &copy);
        let file = segments(&copy, ending)[0].clone();
        fs::remove_file(&file).unwrap();
        let (code, verified) = verify(&copy);
        let damages = damages(&verified);
        assert_eq!((code, &damages[0]["file"]), (1, &json!(file.display().to_string())));
        assert_eq!(damages[0]["what"], "the file is not there");
    }
    for (name, cut) in [("snapshot", true), ("snapshot", false)] {
        let copy = Place::new();
        copy_data(&place, &copy);
        let file = copy.data().join(name);
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        if cut {
            bytes.truncate(middle)
        } else {
            bytes[middle] ^= 1
        }
        fs::write(&file, bytes).unwrap();
        let (code, verified) = verify(&copy);
        assert_eq!((code, &damages(&verified)[0]["file"]), (1, &json!(file.display().to_string())));
    }
}

#[test]
fn a_torn_end_is_a_note_and_no_damage() {
    let place = killed();
    let (_, before) = verify(&place);
    let file = place.journal()[0].clone();
    let mut bytes = fs::read(&file).unwrap();
    let written = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let end = written.next_multiple_of(4096);
    // Nothing vouches for the last group. It is empty and vouches for the record before it, or it is that record's, if the kill
    // came sooner.
    bytes[end - 4096] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (code, verified) = verify(&place);
    let entry = |verified: &Value| verified["last_entry"].as_u64().unwrap();
    let lost = entry(&before) - entry(&verified);
    assert!(lost <= 1, "{before} {verified}");
    assert_eq!((code, &verified["partitions"][0]["end_offset"]), (0, &json!(3 - lost)), "{verified}");
}

#[test]
fn what_is_no_folder_of_a_node_is_said_to_be_none() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    fs::write(place.file("notes.txt"), "hello").unwrap();
    let missing = place.file("missing");
    for (args, why) in [
        (["log", "verify", place.data().to_str().unwrap()], "holds nothing of a node"),
        (["log", "verify", missing.to_str().unwrap()], "there is no such folder"),
        (["log", "dump", place.data().to_str().unwrap()], "neither a folder of a node"),
        (["log", "dump", place.file("notes.txt").to_str().unwrap()], "neither a folder of a node"),
        (["log", "dump", missing.to_str().unwrap()], "missing"),
    ] {
        let (code, stdout, stderr) = look(&place, &args);
        assert!(code == 1 && stdout.is_empty() && stderr.contains(why), "{args:?}: {stderr}");
    }
}
