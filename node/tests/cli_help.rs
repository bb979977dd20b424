//! The command line as a contract: help texts, wrong arguments, wrong addresses, exit codes. No broker is needed.

#![expect(clippy::unwrap_used, reason = "a helper fails as its test does")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::{Command, Output, Stdio};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

/// Runs the binary with nothing of the caller's environment: no settings in variables, one width for every help text.
fn seedlog(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seedlog"));
    command.args(args).env_clear().env("COLUMNS", "100").env("NO_COLOR", "1").stdin(Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_of_every_command() {
    for (name, command) in [
        ("seedlog", &[][..]),
        ("node", &["node"]),
        ("cluster", &["cluster"]),
        ("cluster_describe", &["cluster", "describe"]),
        ("cluster_health", &["cluster", "health"]),
        ("topic", &["topic"]),
        ("topic_create", &["topic", "create"]),
        ("topic_list", &["topic", "list"]),
        ("topic_describe", &["topic", "describe"]),
        ("topic_delete", &["topic", "delete"]),
        ("group", &["group"]),
        ("group_list", &["group", "list"]),
        ("group_describe", &["group", "describe"]),
        ("group_delete", &["group", "delete"]),
        ("group_reset_offsets", &["group", "reset-offsets"]),
        ("config", &["config"]),
        ("config_describe", &["config", "describe"]),
        ("config_alter", &["config", "alter"]),
        ("config_explain", &["config", "explain"]),
        ("log", &["log"]),
        ("log_dump", &["log", "dump"]),
        ("log_verify", &["log", "verify"]),
        ("proto", &["proto"]),
        ("proto_decode", &["proto", "decode"]),
        ("doctor", &["doctor"]),
        ("man", &["man"]),
        ("produce", &["produce"]),
        ("consume", &["consume"]),
        ("dev", &["dev"]),
        ("demo", &["demo"]),
        ("completions", &["completions"]),
    ] {
        let output = seedlog(&[command, &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0), "{name}");
        insta::assert_snapshot!(name, text(&output.stdout));
    }
}

#[test]
fn wrong_usage_is_code_2_and_says_what_to_do() {
    let cases: &[&[&str]] = &[
        &["topic", "create"],
        &["topic", "create", "--topic", "a", "--partitions", "0"],
        &["topic", "create", "--topic", "a", "--config", "retention.ms"],
        &["config", "describe"],
        &["config", "describe", "--topic", "a", "--broker", "1"],
        &["config", "describe", "--topic", "a", "--group", "g"],
        &["config", "alter", "--topic", "a"],
        &["config", "alter", "--set", "retention.ms=1"],
        &["config", "alter", "--topic", "a", "--group", "g", "--set", "retention.ms=1"],
        &["config", "alter", "--topic", "a", "--set", "retention.ms"],
        &["config", "explain"],
        &["produce", "--topic", "a", "--acks", "2"],
        &["produce", "--topic", "a", "--acks", "1", "--idempotent"],
        &["produce", "--topic", "a", "--compression-codec", "zip"],
        &["produce", "--topic", "a", "--property", "parse.keys=true"],
        &["produce", "--topic", "a", "--key-separator", ""],
        &["produce", "--topic", "a", "--value", "v", "--file", "f"],
        &["consume", "--topic", "a", "--from-beginning", "--offset", "3"],
        &["consume", "--topic", "a", "--offset", "soon"],
        &["consume", "--topic", "a", "--from-time", "yesterday"],
        &["consume", "--topic", "a", "--max-messages", "0"],
        &["consume", "--topic", "a", "-b", "localhost"],
        &["consume", "--topic", "a", "--group", "g", "--offset", "3"],
        &["consume", "--topic", "a", "--group", "g", "--partition", "0"],
        &["consume", "--topic", "a", "--group", ""],
        &["consume", "--topic", "a", "--group-instance-id", "i"],
        &["consume", "--topic", "a", "--topic", "b", "--partition", "0"],
        &["group", "describe", "--groups", "g"],
        &["group", "delete"],
        &["group", "reset-offsets", "--group", "g", "--to-latest"],
        &["group", "reset-offsets", "--group", "g", "--topic", "a"],
        &["group", "reset-offsets", "--group", "g", "--topic", "a", "--all-topics", "--to-latest"],
        &["group", "reset-offsets", "--group", "g", "--topic", "a", "--to-latest", "--shift-by", "1"],
        &["group", "reset-offsets", "--group", "g", "--topic", "a", "--from-file", "f"],
        &["group", "reset-offsets", "--group", "g", "--from-file", "f", "--to-latest"],
        &["group", "reset-offsets", "--group", "g", "--topic", "a:x", "--to-latest"],
        &["group", "reset-offsets", "--group", "g", "--topic", "a", "--to-datetime", "yesterday"],
        &["group", "reset-offsets", "--group", "g", "--topic", "a", "--by-duration", "1h"],
        &["group", "reset-offsets", "--group", "g", "--topic", "a", "--to-latest", "--execute", "--dry-run"],
        &["topic", "list", "--brokers", "a:1,:2"],
        &["node", "--log-format", "xml"],
        &["completions", "tcsh"],
        &["log", "dump"],
        &["log", "verify", "--from", "3"],
        &["log", "dump", "x", "--max", "0"],
        &["proto", "decode", "00120"],
        &["proto", "decode", "00 1x"],
        &["proto", "decode", "00", "--response", "Metadat:1"],
        &["proto", "decode", "00", "--response", "Metadata:99"],
        &["topics"],
    ];
    let mut all = String::new();
    for args in cases {
        let output = seedlog(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{args:?}");
        let first: String = text(&output.stderr).split("\n\n").next().unwrap_or_default().trim().to_owned();
        let shown: Vec<&str> = args.iter().map(|&arg| if arg.is_empty() { "''" } else { arg }).collect();
        all += &format!("$ seedlog {}\n{first}\n\n", shown.join(" "));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_broker_that_is_not_there_is_code_1_and_one_sentence() {
    // A port that is taken, so that nobody else gets it, and on which nobody listens.
    let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&held, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddr::try_from(getsockname(&held).unwrap()).unwrap().to_string();
    let refused = io::Error::from(Errno::CONNREFUSED);
    for args in [
        &["topic", "list"][..],
        &["cluster", "health", "--request-timeout-ms", "200"],
        &["topic", "create", "--topic", "a", "--request-timeout-ms", "200"],
        &["produce", "--topic", "a", "--value", "v", "--delivery-timeout-ms", "200"],
        &["consume", "--topic", "a"],
        &["group", "list", "--request-timeout-ms", "200"],
        &["group", "describe", "--group", "g", "--request-timeout-ms", "200"],
    ] {
        let output = seedlog(&[args, &["-b", &address]].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(
            text(&output.stderr),
            format!(
                "error: cannot connect to {address}: {refused}; check that a broker runs there, or name another one with \
                 --bootstrap-server\n"
            ),
            "{args:?}"
        );
    }
    // DNS has no labels of 64 characters, so that no name server is asked.
    let nowhere = format!("{}.invalid:9092", "x".repeat(64));
    let output = seedlog(&["topic", "list", "-b", &nowhere]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with(&format!("error: cannot connect to {nowhere}: ")));
}

#[test]
fn version_and_completions() {
    assert_eq!(text(&seedlog(&["version"]).stdout), format!("seedlog {}\n", env!("CARGO_PKG_VERSION")));
    let json: serde_json::Value = serde_json::from_slice(&seedlog(&["version", "--json"]).stdout).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        let output = seedlog(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("bootstrap-server"), "{shell}");
    }
}

#[test]
fn a_configuration_is_shown_without_starting_a_node() {
    let output =
        seedlog(&["node", "--show-config", "--override", "node.id=7", "--override", "log.dirs=/nowhere"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("node.id=7"), "{}", text(&output.stdout));
    let output = seedlog(&["node", "--show-config", "--override", "node.idd=7"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("node.id"), "{}", text(&output.stderr));
}

#[test]
fn a_setting_is_explained() {
    let mut all = String::new();
    for key in [
        "segment.ms",
        "min.insync.replicas",
        "retention.ms",
        "cleanup.policy",
        "consumer.session.timeout.ms",
        "consumer.assignment.interval.ms",
        "listeners",
        "background.threads",
    ] {
        let output = seedlog(&["config", "explain", key]);
        assert_eq!(output.status.code(), Some(0), "{key}");
        all += &format!("$ seedlog config explain {key}\n{}\n", text(&output.stdout));
    }
    for key in ["retention.m", "consumer.session.timeout", "log_segment_bytes", "what"] {
        let output = seedlog(&["config", "explain", key]);
        assert_eq!(output.status.code(), Some(1), "{key}");
        assert!(output.stdout.is_empty(), "{key}");
        all += &format!("$ seedlog config explain {key}\n{}\n", text(&output.stderr));
    }
    insta::assert_snapshot!(all);
    let json: serde_json::Value =
        serde_json::from_slice(&seedlog(&["config", "explain", "segment.ms", "--json"]).stdout).unwrap();
    assert_eq!((&json[0]["type"], &json[0]["default"]), (&"long".into(), &"604800000".into()));
}
