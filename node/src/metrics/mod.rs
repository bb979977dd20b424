//! What a node counts, in a registry of its own: several nodes in a process do not mix. Kafka's names are those that
//! its JMX exporter gives, in lower case, so that dashboards carry over; ours are `seedlog_*` in base units. All of them
//! are in [`table`]; what is only looked at when somebody asks is in [`survey`].
//!
//! Handles are cheap to clone and to touch (an atomic each, a short lock for histograms). Take those of a topic, a
//! request or a part once and keep them: finding them takes a lock.

mod process;
pub mod survey;
pub mod table;
mod text;
mod times;

pub use times::RecentTimes;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use survey::{Desk, Survey, Wish};
use table::Definition;

/// As many topics are told apart; the others share the label [`OTHER_TOPICS`].
pub const TOPIC_LABELS_MAX: usize = 1000;
/// The label of the topics beyond [`TOPIC_LABELS_MAX`]; no topic can be called so.
pub const OTHER_TOPICS: &str = "(other)";
/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What consumers fetch counts under this name too: Kafka tells consumers from followers.
const FETCH_CONSUMER: &str = "FetchConsumer";

/// A topic; all of them have a line without the label, as in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TopicLabel(Option<String>);

impl EncodeLabelSet for TopicLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        match &self.0 {
            Some(topic) => EncodeLabel::encode(&("topic", topic.as_str()), encoder.encode_label()),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    request: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: &'static str,
}

/// A part of the memory budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryPart {
    /// The newest records.
    TailCache,
    /// Old records that were read, or are read ahead.
    ColdCache,
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
    /// Its label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TailCache => "tail_cache",
            Self::ColdCache => "cold_cache",
            Self::Requests => "requests",
            Self::Replies => "replies",
            Self::Peers => "peers",
            Self::Core => "core",
        }
    }
}

/// The counters of a topic, or of all topics.
#[derive(Debug)]
struct Traffic {
    messages_in: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    produce_requests: Counter,
    failed_produce_requests: Counter,
    fetch_requests: Counter,
}

/// The counters of one topic. What they count is counted for all topics as well.
#[derive(Debug, Clone)]
pub struct TopicMetrics {
    own: Arc<Traffic>,
    all: Arc<Traffic>,
}

impl TopicMetrics {
    /// Records came from a producer.
    pub fn produced(&self, records: u64, bytes: u64) {
        for traffic in [&self.own, &self.all] {
            traffic.messages_in.inc_by(records);
            traffic.bytes_in.inc_by(bytes);
        }
    }

    /// A producer sent batches to so many partitions.
    pub fn produce_asked(&self, partitions: u64) {
        self.own.produce_requests.inc_by(partitions);
        self.all.produce_requests.inc_by(partitions);
    }

    /// So many of those failed.
    pub fn produce_failed(&self, partitions: u64) {
        self.own.failed_produce_requests.inc_by(partitions);
        self.all.failed_produce_requests.inc_by(partitions);
    }

    /// A consumer is told of so many partitions.
    pub fn fetch_answered(&self, partitions: u64) {
        self.own.fetch_requests.inc_by(partitions);
        self.all.fetch_requests.inc_by(partitions);
    }

    /// Record bytes went to a consumer.
    pub fn consumed(&self, bytes: u64) {
        self.own.bytes_out.inc_by(bytes);
        self.all.bytes_out.inc_by(bytes);
    }
}

/// The counters of one kind of request.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    requests: Counter,
    of_consumers: Option<Counter>,
    seconds: Histogram,
}

impl RequestMetrics {
    /// A request was answered, so long after it was read.
    pub fn answered(&self, took: Duration) {
        self.requests.inc();
        if let Some(of_consumers) = &self.of_consumers {
            of_consumers.inc();
        }
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
    desk: Desk,
    topics_known: Mutex<BTreeSet<String>>,
    traffic: TrafficFamilies,
    /// Of all topics.
    all_traffic: Arc<Traffic>,
    requests: Family<RequestLabel, Counter>,
    request_seconds: Family<RequestLabel, Histogram>,
    journal_sync_seconds: Histogram,
    memory_budget_bytes: Family<PartLabel, Gauge>,
    connections: Gauge,
    net: NetMetrics,
    peers: PeerMetrics,
}

/// The counters of topics, by topic.
#[derive(Debug, Clone, Default)]
struct TrafficFamilies {
    messages_in: Family<TopicLabel, Counter>,
    bytes_in: Family<TopicLabel, Counter>,
    bytes_out: Family<TopicLabel, Counter>,
    produce_requests: Family<TopicLabel, Counter>,
    failed_produce_requests: Family<TopicLabel, Counter>,
    fetch_requests: Family<TopicLabel, Counter>,
}

impl TrafficFamilies {
    fn all(&self) -> [(&'static Definition, &Family<TopicLabel, Counter>); 6] {
        [
            (&table::MESSAGES_IN, &self.messages_in),
            (&table::BYTES_IN, &self.bytes_in),
            (&table::BYTES_OUT, &self.bytes_out),
            (&table::PRODUCE_REQUESTS, &self.produce_requests),
            (&table::FAILED_PRODUCE_REQUESTS, &self.failed_produce_requests),
            (&table::FETCH_REQUESTS, &self.fetch_requests),
        ]
    }

    fn of(&self, label: &TopicLabel) -> Arc<Traffic> {
        Arc::new(Traffic {
            messages_in: self.messages_in.get_or_create_owned(label),
            bytes_in: self.bytes_in.get_or_create_owned(label),
            bytes_out: self.bytes_out.get_or_create_owned(label),
            produce_requests: self.produce_requests.get_or_create_owned(label),
            failed_produce_requests: self.failed_produce_requests.get_or_create_owned(label),
            fetch_requests: self.fetch_requests.get_or_create_owned(label),
        })
    }
}

/// Everything that one node counts; a clone counts into the same numbers.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

impl Metrics {
    /// All counters at zero.
    pub fn new() -> Self {
        let traffic = TrafficFamilies::default();
        let mut inner = Inner {
            registry: Registry::default(),
            desk: Desk::new(),
            topics_known: Mutex::default(),
            all_traffic: traffic.of(&TopicLabel(None)),
            traffic,
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            journal_sync_seconds: seconds(),
            memory_budget_bytes: Family::default(),
            connections: Gauge::default(),
            net: NetMetrics::default(),
            peers: PeerMetrics::default(),
        };
        inner.register();
        Self(Arc::new(inner))
    }

    /// The handle of a topic; of all other topics once [`TOPIC_LABELS_MAX`] are known.
    pub fn topic(&self, name: &str) -> TopicMetrics {
        let mut known = self.0.topics_known.lock().unwrap_or_else(PoisonError::into_inner);
        let room = known.len() < TOPIC_LABELS_MAX;
        let own = known.contains(name) || (room && known.insert(name.to_owned()));
        let label = TopicLabel(Some(if own { name } else { OTHER_TOPICS }.to_owned()));
        TopicMetrics { own: self.0.traffic.of(&label), all: Arc::clone(&self.0.all_traffic) }
    }

    /// A topic was deleted: its lines go, and its place is free.
    pub fn forget_topic(&self, name: &str) {
        let mut known = self.0.topics_known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.remove(name) {
            let label = TopicLabel(Some(name.to_owned()));
            for (_, family) in self.0.traffic.all() {
                family.remove(&label);
            }
        }
    }

    /// The handle of a kind of request, by Kafka's name of it, such as `Produce`.
    pub fn request(&self, api: &'static str) -> RequestMetrics {
        let counter = |request| self.0.requests.get_or_create_owned(&RequestLabel { request });
        RequestMetrics {
            requests: counter(api),
            of_consumers: consumers_name(api).map(counter),
            seconds: self.0.request_seconds.get_or_create_owned(&RequestLabel { request: api }),
        }
    }

    /// A sync of the journal took so long.
    pub fn journal_synced(&self, took: Duration) {
        self.0.journal_sync_seconds.observe(took.as_secs_f64());
    }

    /// The size of a part of the memory budget.
    pub fn set_memory_budget(&self, part: MemoryPart, bytes: u64) {
        let label = PartLabel { part: part.name() };
        self.0.memory_budget_bytes.get_or_create(&label).set(i64::try_from(bytes).unwrap_or(i64::MAX));
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

    /// From here on scrapes wake the driver with `ring`, which gives `false` once there is none.
    pub fn on_wish(&self, ring: impl Fn() -> bool + Send + Sync + 'static) {
        self.0.desk.set_bell(Box::new(ring));
    }

    /// What somebody wishes to know and nobody looks for yet; the driver answers with [`Metrics::surveyed`].
    pub fn take_wish(&self) -> Option<Wish> {
        self.0.desk.take_wish()
    }

    /// The driver has looked.
    pub fn surveyed(&self, survey: Survey) {
        self.0.desk.give(survey);
    }

    /// Everything in the OpenMetrics text format: what is counted, and what the driver finds now, if there is one and it
    /// answers soon. `details` adds lines for each partition.
    ///
    /// # Errors
    /// None that a string gives.
    pub async fn scrape(&self, details: bool) -> Result<String, fmt::Error> {
        let survey = self.0.desk.look(details).await;
        self.encode(survey.as_deref(), details)
    }

    fn encode(&self, survey: Option<&Survey>, details: bool) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.0.registry)?;
        // Lines without a label are as the exporters write them: some who read them are no parsers.
        let mut text = text.replace("{} ", " ");
        if let Some(survey) = survey {
            text::write_survey(&mut text, survey, details)?;
        }
        text::write_process(&mut text, &process::numbers())?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn register(&mut self) {
        let traffic = self.traffic.clone();
        for (definition, family) in traffic.all() {
            self.add(definition, family.clone());
        }
        self.add(&table::REQUESTS, self.requests.clone());
        self.add(&table::BUILD, Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        self.add(&table::REQUEST_SECONDS, self.request_seconds.clone());
        self.add(&table::JOURNAL_SYNC_SECONDS, self.journal_sync_seconds.clone());
        self.add(&table::MEMORY_BUDGET_BYTES, self.memory_budget_bytes.clone());
        self.add(&table::CONNECTIONS, self.connections.clone());
        let net = self.net.clone();
        self.add(&table::CONNECTIONS_REFUSED, net.refused);
        self.add(&table::BAD_REQUESTS, net.bad_requests);
        self.add(&table::NETWORK_READ_BYTES, net.read_bytes);
        self.add(&table::NETWORK_WRITTEN_BYTES, net.written_bytes);
        let peers = self.peers.clone();
        self.add(&table::PEERS_CONNECTED, peers.connected);
        self.add(&table::PEER_SENT_BYTES, peers.sent_bytes);
        self.add(&table::PEER_RECEIVED_BYTES, peers.received_bytes);
        self.add(&table::PEER_DROPPED, peers.dropped);
    }

    fn add(&mut self, definition: &Definition, metric: impl Metric) {
        self.registry.register(definition.name, definition.help, metric);
    }
}

/// The second name that a request counts under.
pub(crate) fn consumers_name(api: &str) -> Option<&'static str> {
    (api == "Fetch").then_some(FETCH_CONSUMER)
}

/// 50 microseconds to 26 seconds, each bucket twice the one before.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(metrics: &Metrics) -> String {
        metrics.encode(None, false).unwrap()
    }

    #[test]
    fn lines_have_the_names_that_dashboards_ask_for() {
        let metrics = Metrics::new();
        metrics.topic("a").produced(3, 100);
        metrics.topic("b").produced(1, 10);
        metrics.topic("a").consumed(50);
        metrics.request("Produce").answered(Duration::from_millis(1));
        metrics.request("Fetch").answered(Duration::from_millis(1));
        metrics.journal_synced(Duration::from_micros(94));
        metrics.set_memory_budget(MemoryPart::TailCache, 1024);
        metrics.connection_opened();
        metrics.net().refused.inc();
        metrics.net().written_bytes.inc_by(7);
        let text = encode(&metrics);
        for line in [
            "kafka_server_brokertopicmetrics_messagesin_total 4",
            "kafka_server_brokertopicmetrics_messagesin_total{topic=\"a\"} 3",
            "kafka_server_brokertopicmetrics_bytesin_total 110",
            "kafka_server_brokertopicmetrics_bytesin_total{topic=\"a\"} 100",
            "kafka_server_brokertopicmetrics_bytesout_total 50",
            "kafka_server_brokertopicmetrics_bytesout_total{topic=\"a\"} 50",
            "kafka_network_requestmetrics_requests_total{request=\"Produce\"} 1",
            "kafka_network_requestmetrics_requests_total{request=\"Fetch\"} 1",
            "kafka_network_requestmetrics_requests_total{request=\"FetchConsumer\"} 1",
            "seedlog_build_info{version=\"0.1.0\"} 1",
            "seedlog_request_seconds_count{request=\"Produce\"} 1",
            "seedlog_journal_sync_seconds_count 1",
            "seedlog_memory_budget_bytes{part=\"tail_cache\"} 1024",
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
            let text = encode(metrics);
            text.lines()
                .filter(|line| line.starts_with("kafka_server_brokertopicmetrics_messagesin_total{"))
                .count()
        };
        assert_eq!(lines(&metrics), TOPIC_LABELS_MAX + 1);
        assert!(encode(&metrics).contains("messagesin_total{topic=\"(other)\"} 5"));
        metrics.forget_topic("t0");
        metrics.topic("late").produced(1, 1);
        assert!(encode(&metrics).contains("messagesin_total{topic=\"late\"} 1"));
        assert_eq!(lines(&metrics), TOPIC_LABELS_MAX + 1);
    }
}
