//! Plays every history in `tests/histories/` to the judge. The first line of each says what is to be found, and why; what the
//! judge says in full is the snapshot beside it.

#![expect(clippy::unwrap_used, reason = "a helper fails as its test does")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use seedlog_checker::history::{HistoryReader, Operation};
use seedlog_checker::judge;
use seedlog_checker::verdict::{AnomalyKind, Verdict};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

/// All histories by name, in order.
fn histories() -> Vec<(String, String)> {
    let paths = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let histories = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let mut histories: Vec<_> = histories
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    histories.sort_unstable();
    histories
}

/// What the first line says is to be found: `malformed`, `valid`, or anomalies.
fn due(text: &str) -> String {
    let Some(first) = HistoryReader::new(text.as_bytes()).next() else { return "malformed".to_owned() };
    let Operation::Note(story) = first.unwrap().operation else { panic!("a history begins with its story") };
    story.split_once(": ").unwrap().0.to_owned()
}

fn found(verdict: &Verdict) -> String {
    if verdict.valid {
        return "valid".to_owned();
    }
    verdict.anomalies.iter().map(|anomaly| anomaly.kind.name()).collect::<Vec<_>>().join(", ")
}

#[test]
fn every_history_gets_the_verdict_that_it_names() {
    let mut wrong = Vec::new();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (name, text) in histories() {
        let (found, told) = match judge(text.as_bytes()) {
            Ok(verdict) => (found(&verdict), verdict.to_string()),
            Err(error) => ("malformed".to_owned(), error.to_string()),
        };
        if due(&text) != found {
            wrong.push(format!("{name}: due {}, found {found}", due(&text)));
        }
        settings.bind(|| insta::assert_snapshot!(name, told));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_anomaly_has_a_history_and_a_near_miss_is_valid() {
    let histories = histories();
    let found: BTreeSet<AnomalyKind> = histories
        .iter()
        .filter_map(|(_, text)| judge(text.as_bytes()).ok())
        .flat_map(|verdict| verdict.anomalies.into_iter().map(|anomaly| anomaly.kind))
        .collect();
    assert_eq!(found, AnomalyKind::ALL.into_iter().collect());
    assert!(histories.iter().filter(|(name, _)| name.starts_with("valid-nearly-")).count() >= 8);
}

/// The lines of an example are enough: a history of these lines alone has the anomaly.
#[test]
fn an_example_is_a_counter_example() {
    for (name, text) in histories() {
        let Ok(verdict) = judge(text.as_bytes()) else { continue };
        for anomaly in verdict.anomalies {
            let lines: Vec<&str> = text.lines().collect();
            let kept = (1..).zip(&lines).filter(|(number, line)| {
                let is_told = anomaly.example.lines.iter().any(|line| line.0 == *number);
                is_told || is_needed(line)
            });
            let kept: String = kept.map(|(_, line)| format!("{line}\n")).collect();
            let again = judge(kept.as_bytes()).unwrap();
            let is_found = again.anomalies.iter().any(|found| found.kind == anomaly.kind);
            assert!(is_found, "{name}: {}\n{kept}{again}", anomaly.example.words);
        }
    }
}

/// Sends are kept whole, and so is what moves a consumer: an example does not repeat them.
fn is_needed(line: &str) -> bool {
    !line.contains("\"f\":\"poll\"")
}
