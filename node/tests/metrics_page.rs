//! `docs/metrics.md` is written from the table of metrics: `UPDATE_DOCS=1` writes it, without that it must be as it would be
//! written.

use seedlog::metrics::survey::PARTITIONS_SHOWN_MAX;
use seedlog::metrics::table::{ALL, Definition, Shown};
use seedlog::metrics::{OTHER_TOPICS, TOPIC_LABELS_MAX};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/metrics.md";

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
        "The cluster, and each partition",
        "kafka_",
        "As kafka_exporter has them. Each is shown by one node, so that sums over nodes are right: by the active controller, \
         or by the leader of the partition.",
    ),
    ("The node itself", "seedlog_", "In base units: seconds, bytes, totals."),
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
         here cannot be\n\
         true today: there are no consumer groups, hence no lag.\n\n\
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
         from a node at most; how many are left out is there as well.\n\n\
         What a scrape costs: counters are read as they are. For the rest the node looks at its partitions, 512 at a time between \
         its other\n\
         work; without a scrape it does not look. A node that reads its journal, or has no time within 2 seconds, shows the \
         counters alone.\n\n\
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
