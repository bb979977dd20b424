//! The command line as a contract: help texts, wrong arguments, wrong addresses, exit codes. No broker is needed.

use std::process::Output;

use assert_cmd::Command;

fn seedlog(args: &[&str]) -> Output {
    // Without a terminal clap wraps at the width that the definition names.
    let mut command = Command::cargo_bin("seedlog").expect("cargo builds the binary for its tests");
    command.args(args).env_remove("COLUMNS").env("NO_COLOR", "1").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_of_every_command() {
    for (name, command) in [
        ("seedlog", &[][..]),
        ("node", &["node"]),
        ("topic", &["topic"]),
        ("topic_create", &["topic", "create"]),
        ("topic_list", &["topic", "list"]),
        ("topic_describe", &["topic", "describe"]),
        ("topic_delete", &["topic", "delete"]),
        ("produce", &["produce"]),
        ("consume", &["consume"]),
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
        &["topic", "list", "--brokers", "a:1,:2"],
        &["node", "--log-format", "xml"],
        &["completions", "tcsh"],
        &["topics"],
    ];
    let mut all = String::new();
    for args in cases {
        let output = seedlog(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{args:?}");
        let first: String = text(&output.stderr).split("\n\n").next().unwrap_or_default().trim().to_owned();
        all += &format!("$ seedlog {}\n{first}\n\n", args.join(" "));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_broker_that_is_not_there_is_code_1_and_one_sentence() {
    // Port 1 on loopback: nobody listens there.
    for args in [
        &["topic", "list", "-b", "127.0.0.1:1"][..],
        &["topic", "create", "--topic", "a", "-b", "127.0.0.1:1", "--request-timeout-ms", "200"],
        &["produce", "--topic", "a", "--value", "v", "-b", "127.0.0.1:1", "--delivery-timeout-ms", "200"],
        &["consume", "--topic", "a", "-b", "127.0.0.1:1"],
    ] {
        let output = seedlog(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let stderr = text(&output.stderr);
        assert_eq!(
            stderr,
            "error: cannot connect to 127.0.0.1:1: Connection refused (os error 111); check that a broker runs there, \
             or name another one with --bootstrap-server\n",
            "{args:?}"
        );
    }
    let output = seedlog(&["topic", "list", "-b", "no-such-host.invalid:9092"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: cannot connect to no-such-host.invalid:9092: "));
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
    let output = seedlog(&["node", "--show-config", "--override", "node.id=7", "--override", "log.dirs=/nowhere"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("node.id=7"), "{}", text(&output.stdout));
    let output = seedlog(&["node", "--show-config", "--override", "node.idd=7"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("node.id"), "{}", text(&output.stderr));
}
