//! What is told of metrics is held against their table: `docs/metrics.md` is written from it (`UPDATE_DOCS=1` writes it,
//! without that it must be as it would be written), and the dashboard and the alerts name nothing else.

use seedlog::metrics::survey::{GROUP_PARTS_SHOWN_MAX, PARTITIONS_SHOWN_MAX};
use seedlog::metrics::table::{ALL, Definition, Shown};
use seedlog::metrics::{OTHER_TOPICS, TOPIC_LABELS_MAX};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/metrics.md";
const DASHBOARD: &str = "deploy/grafana/seedlog.json";
const RULES: &str = "deploy/prometheus/seedlog-rules.yml";

/// Where each name comes from, by its prefix; the first that fits.
const SECTIONS: &[(&str, &str, &str)] = &[
    (
        "Brokers",
        "kafka_server_",
        "Kafka's `kafka.server` beans. Lines without the label `topic` count all topics: select `topic=\"\"` or `topic!=\"\"`, \
         as with Kafka, and never sum over both.",
    ),
    ("Requests", "kafka_network_", "Kafka's `kafka.network` beans."),
    (
        "Controllers",
        "kafka_controller_",
        "Kafka's `kafka.controller` beans. All controllers show what they know of the cluster, as in Kafka: take the maximum, \
         or what the active one says, not the sum.",
    ),
    (
        "Consumer groups",
        "kafka_consumergroup_",
        "As kafka_exporter has them. Each group is shown by its coordinator alone, so that sums over nodes are right. A lag is \
         shown where the coordinator has a replica of the partition, and is left out elsewhere rather than guessed: with as many \
         replicas as brokers it is always there, otherwise take \
         `sum by (topic, partition) (kafka_topic_partition_current_offset) - on (topic, partition) group_right \
         sum by (consumergroup, topic, partition) (kafka_consumergroup_current_offset)`, which is the same over all nodes. Where \
         the coordinator follows, the end of the log is what it last heard, and the lag is a little too small while records come. A \
         commit that is not yet on all in-sync replicas is shown already.",
    ),
    (
        "The cluster, and each partition",
        "kafka_",
        "As kafka_exporter has them. Each is shown by one node, so that sums over nodes are right: by the active controller, \
         or by the leader of the partition.",
    ),
    ("The node itself", "seedlog_", "In base units: seconds, bytes, totals."),
    ("The process", "process_", "As Prometheus' own clients have them; on Linux."),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package has a folder around it").to_owned()
}

fn intro() -> String {
    format!(
        "# Metrics\n\n\
         `GET /metrics` on `admin.listener` (127.0.0.1:9644 unless told otherwise) gives every number of a node in the OpenMetrics \
         text format. Names\n\
         that Kafka's exporters made common are spelled as theirs (Prometheus' JMX exporter with its configuration for Kafka in \
         lower case, and\n\
         kafka_exporter), so that dashboards and alerts carry over without a process beside the node. What Kafka has and is not \
         here is not\n\
         counted yet.\n\n\
         ```yaml\n\
         scrape_configs:\n  \
           - job_name: seedlog\n    \
             params: {{ detail: [partition] }}   # only for lines of each partition\n    \
             static_configs:\n      \
               - targets: ['127.0.0.1:9644']\n\
         ```\n\n\
         How many lines there are: the first {TOPIC_LABELS_MAX} topics that are written or read have lines of their own, until \
         they are deleted; all others\n\
         share `topic=\"{OTHER_TOPICS}\"`, which no topic can be called. Lines of each partition come with \
         `/metrics?detail=partition` only, {PARTITIONS_SHOWN_MAX} partitions\n\
         from a node at most; how many are left out is there as well. Groups have a line for each, and for each topic; lines of \
         their partitions come with the\n\
         details. Groups and the partitions that they committed offsets of are {GROUP_PARTS_SHOWN_MAX} together at most from a \
         node, in the order of their names within a partition\n\
         of `__consumer_offsets`; a group is shown whole or not at all, and `seedlog_consumergroups_left_out` says how many are not.\n\n\
         What a scrape costs: counters are read as they are. For the rest the node looks at its partitions and groups, 512 at a time \
         between its other\n\
         work; without a scrape it does not look. A node that reads its journal, or has no time within 2 seconds, shows the \
         counters alone.\n\n\
         `deploy/grafana/seedlog.json` is a dashboard for Grafana, `deploy/prometheus/seedlog-rules.yml` has alerts for Prometheus.\n\n\
         This page is generated: `UPDATE_DOCS=1 cargo test -p seedlog --test metrics_page`.\n"
    )
}

fn section_of(definition: &Definition) -> &'static str {
    SECTIONS
        .iter()
        .find(|(_, prefix, _)| definition.name.starts_with(prefix))
        .expect("a name has a section")
        .0
}

fn row(definition: &Definition) -> String {
    let Definition { kind, unit, labels, shown, help, worry, .. } = definition;
    let names: Vec<String> = match definition.samples().as_slice() {
        [one] => vec![format!("`{one}`")],
        several => several.iter().map(|name| format!("`{name}`")).collect(),
    };
    let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
    let by = match shown {
        Shown::Always => "",
        Shown::ByControllers => " (controllers)",
        Shown::ByActiveController => " (the active controller)",
        Shown::PerPartition => " (with `?detail=partition`)",
        Shown::ByCoordinator => " (the group's coordinator)",
        Shown::PerGroupPartition => " (the group's coordinator, with `?detail=partition`)",
    };
    format!(
        "| {} | {} | {unit} | {} | {help}{by} | {worry} |\n",
        names.join(", "),
        kind.name(),
        labels.join(", ")
    )
}

fn page() -> String {
    let mut text = intro();
    for (title, _, about) in SECTIONS {
        text += &format!(
            "\n## {title}\n\n{about}\n\n| name | type | unit | labels | what it says | when to worry |\n|---|---|---|---|---|---|\n"
        );
        for definition in ALL.iter().filter(|definition| section_of(definition) == *title) {
            text += &row(definition);
        }
    }
    text
}

#[test]
fn the_page_about_metrics_says_what_the_table_says() {
    let (path, text) = (root().join(PAGE), page());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{PAGE} is not what UPDATE_DOCS=1 would write");
}

#[test]
fn names_are_told_once_and_follow_their_rules() {
    let mut names = BTreeSet::new();
    for definition in ALL {
        assert!(
            definition.samples().iter().all(|name| names.insert(name.clone())),
            "{} is told twice",
            definition.name
        );
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(definition.name.chars().all(is_name), "{}", definition.name);
        // The exposition adds a full stop.
        assert!(!definition.help.is_empty() && !definition.help.ends_with('.'), "{}", definition.name);
    }
}

/// Words of PromQL that stand where a metric could.
const WORDS: &[&str] = &["and", "or", "unless", "by", "on", "without", "ignoring", "bool"];
/// Labels that Prometheus adds, and those of a kind of metric.
const COMMON_LABELS: &[&str] = &["job", "instance", "le"];

/// The text with everything between these removed; what was removed is collected.
fn without(text: &str, open: char, close: char) -> (String, Vec<String>) {
    let (mut kept, mut removed, mut inside) = (String::new(), Vec::new(), None::<String>);
    for c in text.chars() {
        match &mut inside {
            Some(_) if c == close => {
                kept.push(' ');
                removed.extend(inside.take());
            }
            Some(inner) => inner.push(c),
            None if c == open => inside = Some(String::new()),
            None => kept.push(c),
        }
    }
    assert!(inside.is_none(), "{text}: {open} is not closed");
    (kept, removed)
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Every metric of an expression, with the labels that its matchers name.
fn metrics_of(expression: &str) -> Vec<(String, Vec<String>)> {
    let (unquoted, _) = without(expression, '"', '"');
    let (unquoted, _) = without(&unquoted, '[', ']');
    let mut found = Vec::new();
    let mut rest = unquoted.as_str();
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
        let before = rest[..at].chars().next_back();
        let end = rest[at..].find(|c| !is_of_name(c)).map_or(rest.len(), |length| at + length);
        let (word, after) = (&rest[at..end], rest[end..].trim_start());
        rest = &rest[end..];
        if before.is_some_and(|c| c.is_ascii_digit() || c == '$') {
            continue; // A duration or a variable.
        }
        if ["by", "on", "without", "ignoring"].contains(&word) {
            rest = &rest[rest.find(')').expect("labels are in parentheses")..];
        } else if !WORDS.contains(&word)
            && !["(", "by ", "without "].iter().any(|next| after.starts_with(next))
        {
            let mut labels = Vec::new();
            if let Some(matchers) = after.strip_prefix('{') {
                let matchers = &matchers[..matchers.find('}').expect("matchers are in braces")];
                let names =
                    matchers.split(',').map(|matcher| matcher.split(['=', '!']).next().unwrap_or_default());
                labels.extend(names.map(|name| name.trim().to_owned()));
                rest = &rest[rest.find('}').expect("matchers are in braces")..];
            }
            found.push((word.to_owned(), labels));
        }
    }
    found
}

/// What is wrong with an expression.
fn wrong(expression: &str) -> Vec<String> {
    let metrics = metrics_of(expression);
    let mut wrong = Vec::new();
    if metrics.is_empty() {
        wrong.push(format!("no metric in {expression}"));
    }
    for (name, labels) in metrics {
        if name == "up" {
            continue; // Prometheus' own.
        }
        let Some(definition) = ALL.iter().find(|definition| definition.samples().contains(&name)) else {
            wrong.push(format!("{name} is no metric, in {expression}"));
            continue;
        };
        let known = |label: &&String| {
            definition.labels.contains(&label.as_str()) || COMMON_LABELS.contains(&label.as_str())
        };
        wrong.extend(
            labels.iter().filter(|label| !known(label)).map(|label| format!("{name} has no label {label}")),
        );
    }
    wrong
}

/// Every `expr` and every query of a variable.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if key == "expr" => found.push(text.to_owned()),
                    Some(text) if key == "query" => {
                        let asked = text.strip_prefix("label_values(").and_then(|text| text.rsplit_once(','));
                        found.extend(asked.map(|(metric, _)| metric.to_owned()));
                    }
                    Some(_) | None => expressions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_that_exist() {
    let dashboard = fs::read_to_string(root().join(DASHBOARD)).expect("the dashboard is there");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("the dashboard is JSON");
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 40, "{asked:?}");
    let rules = fs::read_to_string(root().join(RULES)).expect("the rules are there");
    let of_rules: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert_eq!(of_rules.len(), rules.lines().filter(|line| line.contains("- alert: ")).count());
    asked.extend(of_rules.iter().map(|expression| (*expression).to_owned()));
    let wrong: Vec<String> = asked.iter().flat_map(|expression| wrong(expression)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn names_are_found_in_expressions() {
    let expression = r#"sum by (topic) (rate(a_total{job=~"$job",topic!="b_total"}[$__rate_interval])) / on (c) d{e="}"} > 0.5 and up"#;
    let found: Vec<String> = metrics_of(expression).into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, ["a_total", "d", "up"]);
    assert_eq!(metrics_of(expression)[0].1, ["job", "topic"]);
    let fine = r#"increase(kafka_server_brokertopicmetrics_bytesin_total{topic=""}[1h]) or vector(0)"#;
    assert!(wrong(fine).is_empty());
    for expression in ["kafka_server_brokertopicmetrics_bytesin", "kafka_brokers{topic=\"a\"}", "vector(0)"] {
        assert!(!wrong(expression).is_empty(), "{expression}");
    }
}
