//! `docs/compatibility.md` is written from what Kafka's own tools say to Seedlog and to Apache Kafka (`clients/tools`):
//! `UPDATE_DOCS=1` writes it, without that it must be as it would be written.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/compatibility.md";
/// Characters of an answer that a cell shows; the transcripts have all of it.
const CELL_CHARS_MAX: usize = 200;

/// Lines in front of what is said: another one tells more.
const PREAMBLES: [&str; 2] =
    ["Error while executing config command with args", "WARNING: Due to limitations in metric names"];

const HEAD: &str = "# Kafka's tools

What the tools of Apache Kafka 4.3.1 say to Seedlog and to Apache Kafka 4.3.1: the same commands in the same order, three nodes each,
`num.partitions=3`, `default.replication.factor=3`, `min.insync.replicas=2`, `offsets.topic.num.partitions=1`,
`group.initial.rebalance.delay.ms=0`, `group.consumer.heartbeat.interval.ms=500`. `--bootstrap-server` is left out. A step that
\"stays\" works beside those behind it. `clients/run.sh tools` runs them against Seedlog and compares every line with what is kept in
[seedlog.txt](../clients/tools/seedlog.txt); `clients/tools/kafka.sh` writes [kafka.txt](../clients/tools/kafka.txt). Ids, addresses,
folders, times and rates are taken out of both. \"same\" means the same output and exit code, line by line. A cell shows one line: the
first one, or where they differ the first that does; a number in front is how many lines only that one has.

This page is generated: `UPDATE_DOCS=1 cargo test -p seedlog-tests --test compatibility_doc`.
";

/// One line of steps.txt that is run.
struct Step {
    heading: Option<String>,
    line: String,
    files: Vec<(String, String)>,
    input: Vec<String>,
    why: Option<String>,
}

/// What was said to one step, and how it ended as the last line.
struct Answer {
    line: String,
    said: Vec<String>,
}

fn tools_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a folder").join("clients/tools")
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut heading, mut files) = (None, Vec::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(title) = line.strip_prefix("## ") {
            heading = Some(title.to_owned());
        } else if let Some(file) = line.strip_prefix("file ") {
            let (name, content) = file.split_once(' ').expect("a file has a name and a text");
            files.push((name.to_owned(), content.trim_matches('\'').to_owned()));
        } else if line.starts_with("kafka-") || line.starts_with("node ") {
            steps.push(Step {
                heading: heading.take(),
                line: line.to_owned(),
                files: std::mem::take(&mut files),
                input: Vec::new(),
                why: None,
            });
        } else if let Some(input) = line.strip_prefix("< ") {
            steps.last_mut().expect("it belongs to a step").input.push(input.to_owned());
        } else if let Some(why) = line.strip_prefix("why: ") {
            steps.last_mut().expect("it belongs to a step").why = Some(why.to_owned());
        }
    }
    steps
}

fn answers(text: &str) -> Vec<Answer> {
    let mut answers: Vec<Answer> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(step) => answers.push(Answer { line: step.to_owned(), said: Vec::new() }),
            None => {
                answers.last_mut().expect("an answer begins with its step").said.push(line.trim().to_owned())
            }
        }
    }
    answers
}

/// Text of a cell: as it was said, cut where it gets long.
fn cell(said: &str) -> String {
    let mut text: String = said.chars().take(CELL_CHARS_MAX).collect();
    if text.len() < said.len() {
        text.push('…');
    }
    let text = text.replace(['\t', '\n'], " ").replace('|', "\\|");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// The line that tells most: the first one that is no preamble.
fn telling<'a>(lines: &[&'a String]) -> Option<&'a String> {
    let tells = |line: &&&String| !PREAMBLES.iter().any(|preamble| line.starts_with(preamble));
    lines.iter().find(tells).or(lines.first()).copied()
}

/// What stands for an answer where both are the same.
fn in_short(answer: &Answer) -> String {
    telling(&answer.said.iter().collect::<Vec<_>>()).map_or_else(String::new, |line| cell(line))
}

/// The line that only this one has, with how many there are.
fn only_in(one: &Answer, other: &Answer) -> String {
    let only: Vec<&String> = one.said.iter().filter(|line| !other.said.contains(line)).collect();
    match (telling(&only), only.len()) {
        (None, _) => "nothing more".to_owned(),
        (Some(line), 1) => cell(line),
        (Some(line), lines) => format!("({lines}) {}", cell(line)),
    }
}

fn asked(step: &Step) -> String {
    let mut text = String::new();
    for (name, content) in &step.files {
        let _ = write!(text, "{name}: {}<br>", cell(content));
    }
    text.push_str(&cell(&step.line));
    for line in &step.input {
        let _ = write!(text, "<br>&lt; {}", cell(line));
    }
    text
}

fn page(steps: &[Step], kafka: &[Answer], seedlog: &[Answer]) -> String {
    let same = kafka.iter().zip(seedlog).filter(|(kafka, seedlog)| kafka.said == seedlog.said).count();
    let mut page = format!("{HEAD}\nOf {} steps {same} are the same.\n", steps.len());
    for ((step, kafka), seedlog) in steps.iter().zip(kafka).zip(seedlog) {
        if let Some(heading) = &step.heading {
            let _ = write!(page, "\n## {heading}\n\n| asked | Kafka 4.3.1 | Seedlog |\n|---|---|---|\n");
        }
        let (theirs, ours) = if kafka.said == seedlog.said {
            (in_short(kafka), "same".to_owned())
        } else {
            let why = step.why.as_deref().unwrap_or_default();
            (only_in(kafka, seedlog), format!("{}<br>{why}", only_in(seedlog, kafka)))
        };
        let _ = writeln!(page, "| {} | {theirs} | {ours} |", asked(step));
    }
    page
}

#[test]
fn the_page_about_the_tools_says_what_they_said() {
    let folder = tools_folder();
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let (steps, kafka, seedlog) =
        (steps(&read("steps.txt")), answers(&read("kafka.txt")), answers(&read("seedlog.txt")));
    let lines = |answers: &[Answer]| answers.iter().map(|answer| answer.line.clone()).collect::<Vec<_>>();
    let wanted: Vec<String> = steps.iter().map(|step| step.line.clone()).collect();
    assert_eq!(lines(&kafka), wanted, "kafka.txt is of other steps: clients/tools/kafka.sh writes it");
    assert_eq!(
        lines(&seedlog),
        wanted,
        "seedlog.txt is of other steps: UPDATE=1 clients/run.sh tools writes it"
    );

    let page = page(&steps, &kafka, &seedlog);
    let path = folder.join("../..").join(PAGE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let mut wrong = Vec::new();
    for ((step, kafka), seedlog) in steps.iter().zip(&kafka).zip(&seedlog) {
        if (kafka.said != seedlog.said) != step.why.is_some() {
            wrong.push(step.line.clone());
        }
    }
    assert!(wrong.is_empty(), "a step that differs has a \"why: \", and no other: {wrong:#?}");
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "{PAGE} is not what UPDATE_DOCS=1 would write"
    );
}
