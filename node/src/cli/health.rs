//! `seedlog cluster health`: what is wrong with a cluster, on one screen, and what to do about it.
//!
//! Everything comes from the client protocol: what one broker says of all, and who answers when asked. The one time in that
//! protocol is when the controller heard of a node last: since when something is wrong is known where a silent node is the cause.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use seedlog_core::wire::DescribeClusterResponse;
use serde::Serialize;
use tokio::task::JoinSet;

use super::output::{CliError, CliResult, Output};
use super::remote::RemoteArgs;
use super::topic::all_topics;
use crate::client::health::{self, Heard};
use crate::client::{Cluster, PartitionView, TopicView, admin};

/// How long brokers and the controller may take: longer is a finding.
const PATIENCE_MAX: Duration = Duration::from_secs(5);
/// Brokers that are asked at once.
const BROKERS_AT_ONCE: usize = 32;
/// Partitions that a finding names on a screen; JSON has all of them.
const NAMED_MAX: usize = 6;

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found out about a cluster.
struct View {
    brokers: Vec<BrokerView>,
    /// Why nothing can be decided, if so.
    controller: Option<String>,
    heard: Heard,
    topics: Vec<TopicView>,
    /// By topic, or why they are not known.
    min_insync: Result<BTreeMap<String, usize>, String>,
}

struct BrokerView {
    id: i32,
    endpoint: String,
    fenced: bool,
    /// Why it does not answer, if so.
    silence: Option<String>,
}

#[derive(Debug, Serialize)]
struct Health {
    /// No finding is an error.
    healthy: bool,
    cluster_id: String,
    brokers: usize,
    topics: usize,
    partitions: usize,
    findings: Vec<Finding>,
    /// By the controller's clock.
    #[serde(skip)]
    now_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// Something does not work, or works without the replicas that it should have.
    Error,
    /// It works, and could be better.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct Finding {
    /// Stable: what programs go by.
    finding: &'static str,
    severity: Severity,
    /// For people.
    what: String,
    /// What to do about it.
    then: String,
    /// Since when, in ms since 1970 by the controller's clock; `null` where nobody knows.
    since_ms: Option<i64>,
    brokers: Vec<i32>,
    partitions: Vec<PartitionName>,
}

#[derive(Debug, Clone, Serialize)]
struct PartitionName {
    topic: String,
    partition: i32,
}

/// What may be wrong with partitions.
struct Kind<'a> {
    finding: &'static str,
    severity: Severity,
    what: &'static str,
    then: String,
    is_it: &'a dyn Fn(&TopicView, &PartitionView) -> bool,
    /// Whose doing it is.
    brokers: &'a dyn Fn(&PartitionView) -> Vec<i32>,
}

/// Does what `seedlog cluster health` says.
pub(super) async fn run(args: &HealthArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    let patience = args.remote.request_timeout();
    let described = admin::describe_cluster(&cluster, patience).await?;
    let view = look(&cluster, &described, patience.min(PATIENCE_MAX)).await?;
    let findings = view.judge(args.remote.servers());
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let health = Health {
        healthy: errors == 0,
        cluster_id: described.cluster_id.to_string(),
        brokers: view.brokers.len(),
        topics: view.topics.len(),
        partitions: view.topics.iter().map(|topic| topic.partitions.len()).sum(),
        findings,
        now_ms: view.heard.now_ms,
    };
    if args.json {
        output.json(&health)?;
    } else {
        output.line(&health.text())?;
    }
    match errors {
        0 => Ok(()),
        1 => Err(CliError::Unhealthy(
            "the cluster is not healthy: 1 thing is wrong; above stands what to do".to_owned(),
        )),
        many => Err(CliError::Unhealthy(format!(
            "the cluster is not healthy: {many} things are wrong; above stands what to do"
        ))),
    }
}

async fn look(cluster: &Cluster, described: &DescribeClusterResponse, patience: Duration) -> CliResult<View> {
    let brokers = look_at_brokers(described, patience).await;
    let topics = all_topics(cluster).await?;
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    let (heard, controller) = match health::ask_controller(cluster, patience).await {
        Ok(heard) => (heard, None),
        Err(error) => (Heard::default(), Some(error.to_string())),
    };
    let min_insync = health::min_insync_replicas(cluster, &names).await.map_err(|error| error.to_string());
    Ok(View { brokers, controller, heard, topics, min_insync })
}

async fn look_at_brokers(described: &DescribeClusterResponse, patience: Duration) -> Vec<BrokerView> {
    let mut brokers = Vec::with_capacity(described.brokers.len());
    for some in described.brokers.chunks(BROKERS_AT_ONCE) {
        let mut asked = JoinSet::new();
        for broker in some {
            let (id, fenced) = (broker.broker_id, broker.is_fenced);
            let endpoint = super::cluster::endpoint(&broker.host, broker.port);
            asked.spawn(async move {
                let silence = health::reach(&endpoint, patience).await.err().map(|error| error.reason());
                BrokerView { id, endpoint, fenced, silence }
            });
        }
        while let Some(asked) = asked.join_next().await {
            // A task that panicked is a defect of ours: its broker is not passed over in silence.
            brokers.push(asked.expect("asking a broker does not panic"));
        }
    }
    brokers.sort_by_key(|broker| broker.id);
    brokers
}

impl Health {
    fn text(&self) -> String {
        let Self { cluster_id, brokers, topics, partitions, .. } = self;
        let size =
            format!("cluster {cluster_id}  brokers {brokers}  topics {topics}  partitions {partitions}");
        let state = if self.healthy { "healthy" } else { "not healthy" };
        let mut lines = vec![format!("{state}  {size}")];
        for finding in &self.findings {
            let severity = match finding.severity {
                Severity::Error => "error  ",
                Severity::Warning => "warning",
            };
            lines.push(format!("{severity}  {}", finding.what));
            lines.extend(
                finding.since_ms.map(|since| format!("         since: {}", since_text(since, self.now_ms))),
            );
            lines.push(format!("         next: {}", finding.then));
        }
        lines.join("\n")
    }
}

impl View {
    /// What is wrong, the worst first. `servers` goes into the commands that are proposed.
    fn judge(&self, servers: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(self.controller.as_ref().map(|why| Finding {
            finding: "no_controller",
            severity: Severity::Error,
            what: format!("no controller decides: {why}"),
            then: "start a majority of the controllers; their logs say whom they cannot reach".to_owned(),
            since_ms: None,
            brokers: Vec::new(),
            partitions: Vec::new(),
        }));
        findings
            .extend(self.brokers.iter().filter_map(|broker| broker.judge(self.silent_since(&[broker.id]))));
        findings.extend(self.judge_partitions(servers));
        if let Err(why) = &self.min_insync {
            findings.push(Finding {
                finding: "min_insync_unknown",
                severity: Severity::Warning,
                what: format!("whether enough replicas are in sync is not known: {why}"),
                then: "ask another broker with --bootstrap-server, or for permission on the topics' settings"
                    .to_owned(),
                since_ms: None,
                brokers: Vec::new(),
                partitions: Vec::new(),
            });
        }
        findings
    }

    fn judge_partitions(&self, servers: &str) -> Vec<Finding> {
        let none = BTreeMap::new();
        let min_insync = self.min_insync.as_ref().unwrap_or(&none);
        let is_under_min = |topic: &TopicView, partition: &PartitionView| {
            let wanted = min_insync.get(topic.name.as_str()).copied().unwrap_or(1);
            // As Kafka counts: no more can be in sync than there are replicas.
            partition.isr.len() < wanted.min(partition.replicas.len())
        };
        let describe =
            format!("`seedlog topic describe --under-replicated-partitions -b {servers}` shows them");
        let start = format!("start the brokers that are missing, or see their logs; {describe}");
        let missing = |partition: &PartitionView| {
            let out = partition.replicas.iter().filter(|id| !partition.isr.contains(id));
            out.copied().collect::<Vec<i32>>()
        };
        let offline = |partition: &PartitionView| partition.offline.clone();
        let nobody = |_: &PartitionView| Vec::new();
        let kinds: [Kind<'_>; 5] = [
            Kind {
                finding: "partition_without_leader",
                severity: Severity::Error,
                what: "without a leader (no writes, no reads)",
                then: format!("start the brokers that hold them, or see their logs: records may be lost; {describe}"),
                is_it: &|_, partition| partition.leader.is_none(),
                brokers: &missing,
            },
            Kind {
                finding: "partition_under_min_isr",
                severity: Severity::Error,
                what: "under min.insync.replicas (writes with acks=all are refused)",
                then: start.clone(),
                is_it: &|topic, partition| partition.leader.is_some() && is_under_min(topic, partition),
                brokers: &missing,
            },
            Kind {
                finding: "partition_under_replicated",
                severity: Severity::Error,
                what: "under-replicated",
                then: start,
                is_it: &|topic, partition| {
                    let is_short = partition.isr.len() < partition.replicas.len();
                    partition.leader.is_some() && is_short && !is_under_min(topic, partition)
                },
                brokers: &missing,
            },
            Kind {
                finding: "replica_offline",
                severity: Severity::Error,
                what: "with replicas on brokers that are not there",
                then: "start those brokers; one that is gone for good is replaced by an empty node with its node.id"
                    .to_owned(),
                is_it: &|_, partition| !partition.offline.is_empty(),
                brokers: &offline,
            },
            Kind {
                finding: "leader_not_preferred",
                severity: Severity::Warning,
                what: "not led by the first of their replicas (load may be uneven)",
                then: "wait: controllers move leaderships back while the first replica is in sync".to_owned(),
                is_it: &|_, partition| {
                    partition.leader.is_some_and(|leader| partition.replicas.first() != Some(&leader))
                },
                brokers: &nobody,
            },
        ];
        kinds.iter().filter_map(|kind| self.find(kind)).collect()
    }

    /// All partitions of a kind as one finding.
    fn find(&self, kind: &Kind<'_>) -> Option<Finding> {
        let (mut partitions, mut brokers) = (Vec::new(), Vec::new());
        for topic in &self.topics {
            for (&partition, view) in topic.partitions.iter().filter(|(_, view)| (kind.is_it)(topic, view)) {
                partitions.push(PartitionName { topic: topic.name.to_string(), partition });
                brokers.extend((kind.brokers)(view));
            }
        }
        brokers.sort_unstable();
        brokers.dedup();
        (!partitions.is_empty()).then(|| Finding {
            finding: kind.finding,
            severity: kind.severity,
            what: format!("{} {}: {}", count(partitions.len()), kind.what, names(&partitions)),
            then: kind.then.clone(),
            since_ms: self.silent_since(&brokers),
            brokers,
            partitions,
        })
    }

    /// When the first of these brokers that do not answer was heard of last.
    fn silent_since(&self, brokers: &[i32]) -> Option<i64> {
        let silent =
            self.brokers.iter().filter(|broker| broker.silence.is_some() && brokers.contains(&broker.id));
        silent.filter_map(|broker| self.heard.last_ms.get(&broker.id).copied()).min()
    }
}

impl BrokerView {
    fn judge(&self, since_ms: Option<i64>) -> Option<Finding> {
        let Self { id, endpoint, .. } = self;
        let (finding, what, then) = match (self.fenced, &self.silence) {
            (false, None) => return None,
            (true, Some(silence)) => (
                "broker_fenced",
                format!("broker {id} ({endpoint}) is fenced and does not answer: {silence}"),
                "start it with `seedlog node --config FILE`; if it runs, its log says why nobody reaches it",
            ),
            (true, None) => (
                "broker_fenced",
                format!("broker {id} ({endpoint}) answers, but is fenced: it leads nothing"),
                "wait while it catches up after a start; then its log says why the controller does not hear it",
            ),
            (false, Some(silence)) => (
                "broker_unreachable",
                format!("broker {id} ({endpoint}) does not answer: {silence}"),
                "check that it runs, and that its advertised.listeners can be reached from here",
            ),
        };
        Some(Finding {
            finding,
            severity: Severity::Error,
            what,
            then: then.to_owned(),
            since_ms,
            brokers: vec![*id],
            partitions: Vec::new(),
        })
    }
}

/// A time, and how long ago that is.
fn since_text(since_ms: i64, now_ms: i64) -> String {
    let at = jiff::Timestamp::from_second(since_ms / 1_000);
    let at = at.map_or_else(|_| format!("{since_ms} ms"), |at| at.to_string());
    let seconds = (now_ms - since_ms).max(0) / 1_000;
    let ago = match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    };
    format!("{at}, {ago} ago")
}

fn count(partitions: usize) -> String {
    if partitions == 1 { "1 partition".to_owned() } else { format!("{partitions} partitions") }
}

fn names(partitions: &[PartitionName]) -> String {
    let named = partitions.iter().take(NAMED_MAX);
    let named: Vec<String> = named.map(|it| format!("{}-{}", it.topic, it.partition)).collect();
    match partitions.len().saturating_sub(NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use seedlog_core::wire::Str;

    use super::*;

    fn partition(leader: Option<i32>, replicas: &[i32], isr: &[i32], offline: &[i32]) -> PartitionView {
        PartitionView {
            leader,
            error_code: 0,
            leader_epoch: 3,
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
            offline: offline.to_vec(),
        }
    }

    fn topic(name: &str, partitions: Vec<PartitionView>) -> TopicView {
        TopicView {
            name: Str::from(name),
            id: Default::default(),
            internal: false,
            partitions: (0..).zip(partitions).collect(),
        }
    }

    fn broker(id: i32, fenced: bool, silence: Option<&str>) -> BrokerView {
        BrokerView { id, endpoint: format!("h{id}:9092"), fenced, silence: silence.map(str::to_owned) }
    }

    fn shown(view: &View) -> String {
        let findings = view.judge("h1:9092");
        let healthy = findings.iter().all(|finding| finding.severity == Severity::Warning);
        let health = Health {
            healthy,
            cluster_id: "id".to_owned(),
            brokers: view.brokers.len(),
            topics: view.topics.len(),
            partitions: view.topics.iter().map(|topic| topic.partitions.len()).sum(),
            findings,
            now_ms: view.heard.now_ms,
        };
        format!("{}\n{}", health.text(), serde_json::to_string_pretty(&health).unwrap())
    }

    #[test]
    fn nothing_wrong_is_one_line() {
        let view = View {
            brokers: vec![broker(1, false, None)],
            controller: None,
            heard: Heard::default(),
            topics: vec![topic("t", vec![partition(Some(1), &[1], &[1], &[])])],
            // More than there are replicas: as many as there are is enough.
            min_insync: Ok([("t".to_owned(), 2)].into()),
        };
        assert_eq!(
            shown(&view).lines().next(),
            Some("healthy  cluster id  brokers 1  topics 1  partitions 1")
        );
        assert!(view.judge("h1:9092").is_empty());
    }

    #[test]
    fn everything_that_is_wrong_is_named_the_worst_first() {
        let view = View {
            brokers: vec![
                broker(1, false, None),
                broker(2, false, Some("refused")),
                broker(3, true, Some("late")),
                broker(4, true, None),
            ],
            controller: Some("nobody answers".to_owned()),
            // Broker 3 two hours and a half before, broker 4 just now.
            heard: Heard {
                now_ms: 1_795_000_000_000,
                last_ms: [(3, 1_794_991_000_000), (4, 1_795_000_000_000)].into(),
            },
            topics: vec![
                topic(
                    "t",
                    vec![
                        partition(None, &[3, 4], &[], &[3]),
                        partition(Some(1), &[1, 2, 3], &[1], &[3]),
                        partition(Some(2), &[1, 2, 3], &[1, 2], &[3]),
                        partition(Some(1), &[1, 2], &[1, 2], &[]),
                    ],
                ),
                topic("many", (0..9).map(|_| partition(Some(2), &[1, 2], &[1, 2], &[])).collect()),
            ],
            min_insync: Ok([("t".to_owned(), 2), ("many".to_owned(), 2)].into()),
        };
        insta::assert_snapshot!(shown(&view));
    }

    #[test]
    fn a_leader_elsewhere_is_a_warning_and_no_illness() {
        let view = View {
            brokers: vec![broker(1, false, None), broker(2, false, None)],
            controller: None,
            heard: Heard::default(),
            topics: vec![topic("t", vec![partition(Some(2), &[1, 2], &[1, 2], &[])])],
            min_insync: Err("not permitted".to_owned()),
        };
        let findings = view.judge("h1:9092");
        let kinds: Vec<&str> = findings.iter().map(|finding| finding.finding).collect();
        assert_eq!(kinds, ["leader_not_preferred", "min_insync_unknown"]);
        assert!(findings.iter().all(|finding| finding.severity == Severity::Warning));
        assert!(shown(&view).starts_with("healthy  "));
    }
}
