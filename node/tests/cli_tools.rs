//! Commands that need no broker: frames as named fields, the machine's fitness, completions and manual pages.

#![expect(clippy::unwrap_used, reason = "a helper fails as its test does")]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use seedlog_core::wire::{MetadataRequest, Str, encode_request};
use serde_json::{Value, json};

fn seedlog(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seedlog"));
    command.args(args).env_clear().env("COLUMNS", "100").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = seedlog(args).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), stderr)
}

/// A Metadata request of version 12 for one topic, with its length.
fn metadata_request() -> String {
    use seedlog_core::wire::metadata::MetadataRequestTopic;
    let topic = MetadataRequestTopic { name: Some(Str::from("orders")), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    let frame = encode_request(12, 7, Some(&Str::from("me")), &request.into()).unwrap().to_bytes();
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn frames_are_named_fields() {
    let hex = metadata_request();
    let mut all = String::new();
    let shown = [
        &["proto", "decode", &hex][..],
        &["proto", "decode", &hex, "--json"],
        &["proto", "decode", &hex[8..60]],
        &["proto", "decode", "0012 0004 00000001 ffff 00"],
        &["proto", "decode", "03e7 0000 00000001 ffff"],
        &["proto", "decode", "0003 0063 00000001 ffff"],
        // ApiVersions in version 3: one API, and an unknown tagged field.
        &[
            "proto",
            "decode",
            "--response",
            "ApiVersions:3",
            "00000009 0000 02 0003 0000 000c 00 00000000 01 63 02 beef",
        ],
        &["proto", "decode", "--response", "3:12", "00000009 00 00000000 02 00000001", "--json"],
        &["proto", "decode", "--response", "Metadata:0", "00000063 00000000 00000000 ff"],
    ];
    for args in shown {
        let (code, stdout, stderr) = run(args);
        all += &format!("$ seedlog {}\n{stdout}{stderr}exit code {code}\n\n", args.join(" "));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_frame_comes_from_standard_input_too() {
    let mut child =
        seedlog(&["proto", "decode", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let hex = metadata_request();
    let lines: Vec<&str> = hex.as_bytes().chunks(16).map(|line| str::from_utf8(line).unwrap()).collect();
    child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let frame: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(frame["body"]["topics"][0]["name"], "orders");
    assert_eq!(frame["error"], Value::Null);
}

#[test]
fn a_machine_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let config = folder.path().join("server.properties");
    let text =
        format!("log.dirs={}\nlisteners=PLAINTEXT://127.0.0.1:0\nadmin.listener=off\n", data.display());
    fs::write(&config, text).unwrap();
    let args = ["doctor", "--config", config.to_str().unwrap()];
    let (_, stdout, stderr) = run(&[&args[..], &["--json"]].concat());
    let diagnosis: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
    let checks = diagnosis["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().map(|check| check["check"].as_str().unwrap()).collect();
    for name in [
        "config",
        "descriptors",
        "clock",
        "clock_sync",
        "folder",
        "free_bytes",
        "file_system",
        "sync",
        "direct_io",
        "port",
        "advertised",
        "memory",
        "swap",
    ] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    let of = |name: &str| checks.iter().find(|check| check["check"] == name).unwrap();
    assert_eq!((&of("port")["state"], &of("folder")["state"]), (&json!("ok"), &json!("ok")));
    assert!(of("sync")["found"].as_str().unwrap().contains("in the median"));
    assert!(checks.iter().all(|check| check["then"].is_string() != (check["state"] == "ok")), "{diagnosis}");
    assert!(!data.exists(), "nothing is created");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "and nothing is left behind");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = format!("listeners=PLAINTEXT://{}", taken.local_addr().unwrap());
    let (code, stdout, stderr) = run(&[&args[..], &["--override", &listeners]].concat());
    assert_eq!(code, 3, "{stdout}");
    assert!(stdout.contains("fail  port") && stdout.contains("next: stop what listens there"), "{stdout}");
    assert!(stderr.contains("failed"), "{stderr}");
    fs::write(&data, "a file").unwrap();
    let (code, stdout, _) = run(&args);
    assert!(code == 3 && stdout.contains("is no folder"), "{stdout}");
    let (code, stdout, _) = run(&["doctor", "--override", "node.idd=7"]);
    assert!(code == 3 && stdout.contains("fail  config") && stdout.contains("ok    clock"), "{stdout}");
}

#[test]
fn the_completion_for_bash_is_bash_and_names_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("seedlog.bash");
    let (code, text, _) = run(&["completions", "bash"]);
    assert_eq!(code, 0);
    fs::write(&script, &text).unwrap();
    let checked = Command::new("bash").arg("-n").arg(&script).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let commands =
        "node cluster topic group config produce consume log proto doctor dev demo version man completions";
    for shell in ["bash", "zsh", "fish"] {
        let (_, text, _) = run(&["completions", shell]);
        for command in commands.split(' ').chain(["health", "verify", "decode"]) {
            assert!(text.contains(command), "{shell} does not know {command}");
        }
    }
    // What a person gets who presses Tab.
    let ask = format!(
        "source {}; COMP_WORDS=(seedlog cluster h); COMP_CWORD=2; _seedlog seedlog h cluster; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let offered = Command::new("bash").args(["-c", &ask]).output().unwrap();
    let offered = String::from_utf8(offered.stdout).unwrap();
    assert!(offered.split_whitespace().any(|word| word == "health"), "{offered}");
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    let (code, stdout, stderr) = run(&["man", "--dir", dir.to_str().unwrap()]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("man -l"), "{stdout}");
    for (page, word) in [
        ("seedlog.1", "doctor"),
        ("seedlog-cluster-health.1", "bootstrap"),
        ("seedlog-log-verify.1", "FOLDER"),
        ("seedlog-topic-create.1", "partitions"),
    ] {
        let text = fs::read_to_string(dir.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".TH ") && text.contains(word), "{page}: {text}");
    }
    let (code, page, _) = run(&["man"]);
    assert!(code == 0 && page == fs::read_to_string(dir.join("seedlog.1")).unwrap());
    fs::write(folder.path().join("file"), "").unwrap();
    let (code, _, stderr) = run(&["man", "--dir", folder.path().join("file").to_str().unwrap()]);
    assert!(code == 1 && stderr.contains("file"), "{stderr}");
}
