//! A replay is the same every time, in this process and in another, and reads the same way: one event a line.

use seedlog_checker::judge;
use seedlog_sim::judges::Enabled;
use seedlog_sim::plan::{Plan, Scenario};
use seedlog_sim::run::{run_plan, run_seed};
use std::path::Path;
use std::process::{Command, Output};

fn simulator(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seedlog-sim"));
    command.args(arguments).output().expect("the binary that was built with this test runs")
}

fn says(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_same_seed_gives_the_same_hash() {
    for seed in [3, 5, 8] {
        let run = || run_seed(Scenario::Standard, seed, Enabled::all(), false).trace;
        let (one, two) = (run(), run());
        assert_eq!((one.count(), one.hash()), (two.count(), two.hash()), "seed {seed}");
    }
    let hash = |seed| run_seed(Scenario::Standard, seed, Enabled::all(), false).trace.hash();
    assert_ne!(hash(3), hash(5));
}

#[test]
fn two_processes_agree() {
    let output = simulator(&["twice", "6"]);
    assert!(output.status.success(), "{}", says(&output));
    assert!(says(&output).starts_with("two processes agree on "), "{}", says(&output));
}

#[test]
fn a_short_plan_reads_line_by_line() {
    let plan: Plan = serde_json::from_str(include_str!("plans/short.json")).expect("the plan is one");
    let outcome = run_plan(plan, Enabled::all(), true);
    assert_eq!(outcome.verdict, None);
    let lines: Vec<String> = outcome.trace.lines().map(|line| without_hashes(&line)).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

/// Hashes change with every byte of the formats; the columns do not.
fn without_hashes(line: &str) -> String {
    let (rolling, event) = line.split_at(8);
    assert!(u32::from_str_radix(rolling, 16).is_ok(), "the first column is the rolling hash: {line}");
    match event.split_once(" hash=") {
        Some((before, hash)) if u64::from_str_radix(hash, 16).is_ok() => {
            format!("{:8}{before} hash=(hash)", "(hash)")
        }
        Some(_) | None => format!("{:8}{event}", "(hash)"),
    }
}

#[test]
fn a_range_names_its_marks_and_a_replay_ends_with_the_hash() {
    let run = simulator(&["run", "--seeds", "2..4"]);
    assert_eq!(run.status.code(), Some(0), "{}", says(&run));
    assert!(
        says(&run).contains("a torn tail was cut") && says(&run).ends_with("nothing found\n"),
        "{}",
        says(&run)
    );
    let replay = simulator(&["replay", "2"]);
    assert_eq!(replay.status.code(), Some(0));
    let outcome = run_seed(Scenario::Standard, 2, Enabled::all(), false);
    assert!(says(&replay).contains(&format!("trace {:016x}", outcome.trace.hash())));
}

#[test]
fn what_clients_saw_is_written_and_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/short.json");
    let plan = folder.to_str().expect("the project's path is text");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("history-of-a-short-plan.jsonl");
    let file = file.to_str().expect("a path of this test's own");
    let replay = simulator(&["replay", "1", "--plan", plan, "--history", file]);
    assert_eq!(replay.status.code(), Some(0), "{}", says(&replay));
    let written = std::fs::read(file).expect("the file was written");
    let verdict = judge(written.as_slice()).expect("it is a history");
    assert!(verdict.valid, "{verdict}");
    // One producer of three batches with a record each; the last reader is the only one.
    let summary = verdict.summary;
    assert_eq!((summary.records_sent.acked, summary.records_read, summary.finals), (3, 3, 1), "{verdict}");
}

#[test]
fn a_history_is_the_same_every_time() {
    let history = || {
        let mut text = Vec::new();
        run_seed(Scenario::Standard, 3, Enabled::all(), false).history.write(&mut text).expect("to memory");
        text
    };
    let text = history();
    assert!(text.len() > 1_000, "it is more than its first line");
    assert!(text == history(), "two histories of one seed differ");
}

#[test]
fn a_command_that_cannot_be_carried_out_exits_with_2() {
    for arguments in
        [&["run", "--seeds", "5..5"][..], &["run"], &["replay", "x"], &["replay", "1", "--plan", "nowhere"]]
    {
        assert_eq!(simulator(arguments).status.code(), Some(2), "{arguments:?}");
    }
    #[cfg(not(feature = "museum"))]
    {
        let output = simulator(&["run", "--seeds", "0..1", "--exhibit", "H5"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("cargo sim"));
    }
}
