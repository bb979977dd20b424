//! What a node counts, in a registry of its own: several nodes in a process do not mix. Kafka's names are those that
//! its JMX exporter gives, in lower case, so that dashboards carry over; ours are `seedlog_*` in base units.
//!
//! Handles are cheap to clone and to touch (an atomic each, a short lock for histograms). Take those of a topic, a
//! request or a part once and keep them: finding them takes a lock.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// As many topics are told apart; the others share the label [`OTHER_TOPICS`].
pub const TOPIC_LABELS_MAX: usize = 1000;
/// The label of the topics beyond [`TOPIC_LABELS_MAX`]; no topic can be called so.
pub const OTHER_TOPICS: &str = "(other)";
/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    request: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// A part of the memory budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryPart {
    /// The newest records.
    TailCache,
    /// Requests that are not answered.
    Requests,
    /// Replies that are not written.
    Replies,
    /// Record batches of other nodes that are not in the journal.
    Peers,
    /// The core's state.
    Core,
}

impl MemoryPart {
    fn label(self) -> PartLabel {
        let part = match self {
            Self::TailCache => "tail_cache",
            Self::Requests => "requests",
            Self::Replies => "replies",
            Self::Peers => "peers",
            Self::Core => "core",
        };
        PartLabel { part }
    }
}

/// What bytes on the disk are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskWrite {
    /// The journal.
    Journal,
    /// Segments and their indexes.
    Segments,
    /// Everything else.
    Other,
}

impl DiskWrite {
    fn label(self) -> KindLabel {
        let kind = match self {
            Self::Journal => "journal",
            Self::Segments => "segments",
            Self::Other => "other",
        };
        KindLabel { kind }
    }
}

/// The counters of one topic.
#[derive(Debug, Clone)]
pub struct TopicMetrics {
    messages_in: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    produced_bytes: Counter,
}

impl TopicMetrics {
    /// Records came from a producer.
    pub fn produced(&self, records: u64, bytes: u64) {
        self.messages_in.inc_by(records);
        self.bytes_in.inc_by(bytes);
        self.produced_bytes.inc_by(bytes);
    }

    /// Record bytes went to a consumer.
    pub fn consumed(&self, bytes: u64) {
        self.bytes_out.inc_by(bytes);
    }
}

/// The counters of one kind of request.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    requests: Counter,
    seconds: Histogram,
}

impl RequestMetrics {
    /// A request was answered, so long after it was read.
    pub fn answered(&self, took: Duration) {
        self.requests.inc();
        self.seconds.observe(took.as_secs_f64());
    }
}

/// The counters of the door to the network.
#[derive(Debug, Clone, Default)]
pub struct NetMetrics {
    /// Connections refused for a cap.
    pub refused: Counter,
    /// Frames or requests that closed their connection.
    pub bad_requests: Counter,
    /// Bytes of frames from clients.
    pub read_bytes: Counter,
    /// Bytes written to clients.
    pub written_bytes: Counter,
}

/// The counters of the streams to other nodes and from them.
#[derive(Debug, Clone, Default)]
pub struct PeerMetrics {
    /// Nodes whose control stream is there.
    pub connected: Gauge,
    /// Bytes written to other nodes.
    pub sent_bytes: Counter,
    /// Bytes of messages from other nodes.
    pub received_bytes: Counter,
    /// Messages that found no stream, or no room in its queue.
    pub dropped: Counter,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    topics_known: Mutex<BTreeSet<String>>,
    messages_in: Family<TopicLabel, Counter>,
    bytes_in: Family<TopicLabel, Counter>,
    bytes_out: Family<TopicLabel, Counter>,
    requests: Family<RequestLabel, Counter>,
    request_seconds: Family<RequestLabel, Histogram>,
    partitions: Gauge,
    leaders: Gauge,
    under_replicated: Gauge,
    active_controller: Gauge,
    journal_groups: Counter,
    journal_written_bytes: Counter,
    journal_sync_seconds: Histogram,
    produced_bytes: Counter,
    disk_written_bytes: Family<KindLabel, Counter>,
    memory_budget_bytes: Family<PartLabel, Gauge>,
    memory_used_bytes: Family<PartLabel, Gauge>,
    connections: Gauge,
    net: NetMetrics,
    peers: PeerMetrics,
}

/// Everything that one node counts; a clone counts into the same numbers.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

impl Metrics {
    /// All counters at zero.
    pub fn new() -> Self {
        let mut inner = Inner {
            registry: Registry::default(),
            topics_known: Mutex::default(),
            messages_in: Family::default(),
            bytes_in: Family::default(),
            bytes_out: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            partitions: Gauge::default(),
            leaders: Gauge::default(),
            under_replicated: Gauge::default(),
            active_controller: Gauge::default(),
            journal_groups: Counter::default(),
            journal_written_bytes: Counter::default(),
            journal_sync_seconds: seconds(),
            produced_bytes: Counter::default(),
            disk_written_bytes: Family::default(),
            memory_budget_bytes: Family::default(),
            memory_used_bytes: Family::default(),
            connections: Gauge::default(),
            net: NetMetrics::default(),
            peers: PeerMetrics::default(),
        };
        inner.register_kafka();
        inner.register_own();
        Self(Arc::new(inner))
    }

    /// The handle of a topic; of all other topics once [`TOPIC_LABELS_MAX`] are known.
    pub fn topic(&self, name: &str) -> TopicMetrics {
        let mut known = self.0.topics_known.lock().unwrap_or_else(PoisonError::into_inner);
        let room = known.len() < TOPIC_LABELS_MAX;
        let own = known.contains(name) || (room && known.insert(name.to_owned()));
        let label = TopicLabel { topic: if own { name } else { OTHER_TOPICS }.to_owned() };
        TopicMetrics {
            messages_in: self.0.messages_in.get_or_create_owned(&label),
            bytes_in: self.0.bytes_in.get_or_create_owned(&label),
            bytes_out: self.0.bytes_out.get_or_create_owned(&label),
            produced_bytes: self.0.produced_bytes.clone(),
        }
    }

    /// A topic was deleted: its lines go, and its place is free.
    pub fn forget_topic(&self, name: &str) {
        let mut known = self.0.topics_known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.remove(name) {
            let label = TopicLabel { topic: name.to_owned() };
            for family in [&self.0.messages_in, &self.0.bytes_in, &self.0.bytes_out] {
                family.remove(&label);
            }
        }
    }

    /// The handle of a kind of request, by Kafka's name of it, such as `Produce`.
    pub fn request(&self, api: &'static str) -> RequestMetrics {
        let label = RequestLabel { request: api };
        RequestMetrics {
            requests: self.0.requests.get_or_create_owned(&label),
            seconds: self.0.request_seconds.get_or_create_owned(&label),
        }
    }

    /// How many partitions this node has, leads, and leads with fewer replicas in sync than it should.
    pub fn set_partitions(&self, all: usize, led: usize, under_replicated: usize) {
        self.0.partitions.set(gauge_value(all));
        self.0.leaders.set(gauge_value(led));
        self.0.under_replicated.set(gauge_value(under_replicated));
    }

    /// Whether this node is the controller.
    pub fn set_active_controller(&self, active: bool) {
        self.0.active_controller.set(i64::from(active));
    }

    /// A group of so many bytes went to the journal. Counts as bytes on the disk too.
    pub fn journal_group_written(&self, bytes: u64) {
        self.0.journal_groups.inc();
        self.0.journal_written_bytes.inc_by(bytes);
        self.disk_written(DiskWrite::Journal, bytes);
    }

    /// A sync of the journal took so long.
    pub fn journal_synced(&self, took: Duration) {
        self.0.journal_sync_seconds.observe(took.as_secs_f64());
    }

    /// So many bytes were written to the disk; [`Self::journal_group_written`] counts the journal's itself.
    pub fn disk_written(&self, kind: DiskWrite, bytes: u64) {
        self.0.disk_written_bytes.get_or_create(&kind.label()).inc_by(bytes);
    }

    /// The size of a part of the memory budget.
    pub fn set_memory_budget(&self, part: MemoryPart, bytes: u64) {
        self.0.memory_budget_bytes.get_or_create(&part.label()).set(gauge_value(bytes));
    }

    /// What of a part is taken; keep the gauge where it changes often.
    pub fn memory_used(&self, part: MemoryPart) -> Gauge {
        self.0.memory_used_bytes.get_or_create_owned(&part.label())
    }

    /// A client connected.
    pub fn connection_opened(&self) {
        self.0.connections.inc();
    }

    /// A client's connection ended.
    pub fn connection_closed(&self) {
        self.0.connections.dec();
    }

    /// The handle of the door to the network.
    pub fn net(&self) -> NetMetrics {
        self.0.net.clone()
    }

    /// The handle of the streams to other nodes.
    pub fn peers(&self) -> PeerMetrics {
        self.0.peers.clone()
    }

    /// Everything in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn register_kafka(&mut self) {
        let r = &mut self.registry;
        let topic = "kafka_server_brokertopicmetrics";
        r.register(format!("{topic}_messagesin"), "Records from producers", self.messages_in.clone());
        r.register(format!("{topic}_bytesin"), "Record bytes from producers", self.bytes_in.clone());
        r.register(format!("{topic}_bytesout"), "Record bytes to consumers", self.bytes_out.clone());
        r.register(
            "kafka_network_requestmetrics_requests",
            "Requests that were answered",
            self.requests.clone(),
        );
        let replicas = "kafka_server_replicamanager";
        r.register(format!("{replicas}_partitioncount"), "Partitions on this node", self.partitions.clone());
        r.register(
            format!("{replicas}_leadercount"),
            "Partitions that this node leads",
            self.leaders.clone(),
        );
        r.register(
            format!("{replicas}_underreplicatedpartitions"),
            "Partitions that this node leads with a replica out of sync",
            self.under_replicated.clone(),
        );
        r.register(
            "kafka_controller_kafkacontroller_activecontrollercount",
            "1 on the node that is the controller",
            self.active_controller.clone(),
        );
    }

    fn register_own(&mut self) {
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        let r = &mut self.registry.sub_registry_with_prefix("seedlog");
        r.register("build", "The release that runs", build);
        r.register("request_seconds", "From a request read to its answer", self.request_seconds.clone());
        r.register("journal_groups", "Groups written to the journal", self.journal_groups.clone());
        r.register(
            "journal_written_bytes",
            "Bytes written to the journal",
            self.journal_written_bytes.clone(),
        );
        r.register("journal_sync_seconds", "Syncs of the journal", self.journal_sync_seconds.clone());
        r.register(
            "produced_bytes",
            "Record bytes from producers, of all topics",
            self.produced_bytes.clone(),
        );
        r.register("disk_written_bytes", "Bytes written to the disk", self.disk_written_bytes.clone());
        r.register("memory_budget_bytes", "Parts of the memory budget", self.memory_budget_bytes.clone());
        r.register("memory_used_bytes", "What of each part is taken", self.memory_used_bytes.clone());
        r.register("connections", "Open client connections", self.connections.clone());
        let net = &self.net;
        r.register("connections_refused", "Connections refused for a limit", net.refused.clone());
        r.register(
            "bad_requests",
            "Requests that cannot be read and ended their connection",
            net.bad_requests.clone(),
        );
        r.register("network_read_bytes", "Bytes read from clients", net.read_bytes.clone());
        r.register("network_written_bytes", "Bytes written to clients", net.written_bytes.clone());
        let peers = &self.peers;
        r.register("peers_connected", "Other nodes that are connected", peers.connected.clone());
        r.register("peer_sent_bytes", "Bytes written to other nodes", peers.sent_bytes.clone());
        r.register("peer_received_bytes", "Bytes of messages from other nodes", peers.received_bytes.clone());
        r.register(
            "peer_messages_dropped",
            "Messages to other nodes without a stream or room",
            peers.dropped.clone(),
        );
    }
}

/// 50 microseconds to 26 seconds, each bucket twice the one before.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

fn gauge_value(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_names_that_dashboards_ask_for() {
        let metrics = Metrics::new();
        metrics.topic("a").produced(3, 100);
        metrics.topic("a").consumed(50);
        metrics.request("Produce").answered(Duration::from_millis(1));
        metrics.set_partitions(5, 4, 1);
        metrics.set_active_controller(true);
        metrics.journal_group_written(4096);
        metrics.journal_synced(Duration::from_micros(94));
        metrics.disk_written(DiskWrite::Segments, 100);
        metrics.set_memory_budget(MemoryPart::TailCache, 1024);
        metrics.memory_used(MemoryPart::TailCache).set(10);
        metrics.connection_opened();
        metrics.net().refused.inc();
        metrics.net().written_bytes.inc_by(7);
        let text = metrics.encode().unwrap();
        for line in [
            "kafka_server_brokertopicmetrics_messagesin_total{topic=\"a\"} 3",
            "kafka_server_brokertopicmetrics_bytesin_total{topic=\"a\"} 100",
            "kafka_server_brokertopicmetrics_bytesout_total{topic=\"a\"} 50",
            "kafka_network_requestmetrics_requests_total{request=\"Produce\"} 1",
            "kafka_server_replicamanager_partitioncount 5",
            "kafka_server_replicamanager_leadercount 4",
            "kafka_server_replicamanager_underreplicatedpartitions 1",
            "kafka_controller_kafkacontroller_activecontrollercount 1",
            "seedlog_build_info{version=\"0.1.0\"} 1",
            "seedlog_request_seconds_count{request=\"Produce\"} 1",
            "seedlog_journal_groups_total 1",
            "seedlog_journal_written_bytes_total 4096",
            "seedlog_journal_sync_seconds_count 1",
            "seedlog_produced_bytes_total 100",
            "seedlog_disk_written_bytes_total{kind=\"journal\"} 4096",
            "seedlog_disk_written_bytes_total{kind=\"segments\"} 100",
            "seedlog_memory_budget_bytes{part=\"tail_cache\"} 1024",
            "seedlog_memory_used_bytes{part=\"tail_cache\"} 10",
            "seedlog_connections 1",
            "seedlog_connections_refused_total 1",
            "seedlog_bad_requests_total 0",
            "seedlog_network_read_bytes_total 0",
            "seedlog_network_written_bytes_total 7",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn topics_beyond_the_limit_share_a_line_and_deleted_ones_make_room() {
        let metrics = Metrics::new();
        for index in 0..TOPIC_LABELS_MAX + 5 {
            metrics.topic(&format!("t{index}")).produced(1, 1);
        }
        let lines = |metrics: &Metrics| {
            let text = metrics.encode().unwrap();
            text.lines()
                .filter(|line| line.starts_with("kafka_server_brokertopicmetrics_messagesin_total{"))
                .count()
        };
        assert_eq!(lines(&metrics), TOPIC_LABELS_MAX + 1);
        assert!(metrics.encode().unwrap().contains("messagesin_total{topic=\"(other)\"} 5"));
        metrics.forget_topic("t0");
        metrics.topic("late").produced(1, 1);
        assert!(metrics.encode().unwrap().contains("messagesin_total{topic=\"late\"} 1"));
        assert_eq!(lines(&metrics), TOPIC_LABELS_MAX + 1);
    }
}
