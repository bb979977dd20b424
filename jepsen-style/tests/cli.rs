//! The command line as a contract: help, exit codes, JSON, standard input.

#![expect(clippy::unwrap_used, reason = "a helper fails as its test does")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn checker(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seedlog-checker"));
    command.args(args).env_clear().env("COLUMNS", "100").env("NO_COLOR", "1");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that does not read its input may be gone already.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn history(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories").join(name)
}

#[test]
fn help() {
    for (name, args) in [("help", &["--help"][..]), ("help_check", &["check", "--help"])] {
        let output = checker(args, "");
        assert_eq!(output.status.code(), Some(0));
        insta::assert_snapshot!(name, text(&output.stdout));
    }
}

#[test]
fn code_0_is_valid_and_1_is_not() {
    for (name, code, says) in [("valid-whole.jsonl", 0, "valid\n"), ("lost-write.jsonl", 1, "not valid\n")] {
        let path = history(name);
        let output = checker(&["check", path.to_str().unwrap()], "");
        assert_eq!(output.status.code(), Some(code));
        assert!(text(&output.stdout).starts_with(&format!("{}: {says}", path.display())));
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn code_2_names_the_line_or_the_mistake() {
    let path = history("malformed-twice.jsonl");
    let output = checker(&["check", path.to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let due = format!("error: {}: line 4: value 1 is sent for a second time, after line 2\n", path.display());
    assert_eq!(text(&output.stderr), due);

    for args in [&["check"][..], &["check", "a", "b"], &["judge", "-"], &["check", "no/such/file"], &[]] {
        let output = checker(args, "");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_ne!(text(&output.stderr), "", "{args:?}");
    }
    let output = checker(&["check", "-"], "");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr), "error: -: line 1: the history is empty\n");
}

#[test]
fn a_folder_is_no_history() {
    let output = checker(&["check", env!("CARGO_MANIFEST_DIR")], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("line 1: it cannot be read: "));
}

#[test]
fn json_is_one_object() {
    let input = std::fs::read_to_string(history("lost-write-and-skip.jsonl")).unwrap();
    let output = checker(&["check", "-", "--json"], &input);
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stdout);
    assert_eq!(line.lines().count(), 1);
    let verdict: serde_json::Value = serde_json::from_str(&line).unwrap();
    insta::assert_json_snapshot!(verdict);
}
