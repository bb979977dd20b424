//! What the core needs to know before its first step. Every queue, table and answer has its limit here.

use crate::group::GroupSettings;
use crate::ids::{NodeId, Uuid};
use crate::log::CompactionRules;
use crate::settings::BrokerSetting;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A listener as clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertisedListener {
    /// Host name or address.
    pub host: String,
    /// Port, 1 to 65535.
    pub port: u16,
}

/// When an append counts as durable on this node (SAFETY J6). Metadata always waits for the sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// After the sync: the default.
    Always,
    /// After the write; the driver syncs at an interval of its own.
    Interval,
}

/// `cleanup.policy`: what becomes of old records. Neither: they stay for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// The last record of each key is kept.
    pub compact: bool,
    /// Whole segments go by age and size.
    pub delete: bool,
}

impl CleanupPolicy {
    /// Reads Kafka's list of words.
    #[must_use]
    pub fn parse(words: &str) -> Self {
        let has = |wanted| words.split(',').any(|word| word.trim() == wanted);
        Self { compact: has("compact"), delete: has("delete") }
    }

    /// The list, as Kafka spells it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match (self.compact, self.delete) {
            (true, true) => "compact,delete",
            (true, false) => "compact",
            (false, true) => "delete",
            (false, false) => "",
        }
    }
}

/// Defaults of topic settings, from the broker's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicDefaults {
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`; `None` is the lesser of 3 and the number of brokers.
    pub replication_factor: Option<i16>,
    /// `min.insync.replicas`; `None` is a majority of the replicas.
    pub min_insync_replicas: Option<i32>,
    /// `log.segment.bytes`.
    pub segment_bytes: u32,
    /// `log.roll.ms`.
    pub segment_ms: i64,
    /// `log.roll.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `message.max.bytes`: the greatest size of a batch, header included.
    pub message_bytes_max: u32,
    /// `log.message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
    /// `log.message.timestamp.before.max.ms`.
    pub timestamp_before_ms_max: i64,
    /// `log.message.timestamp.after.max.ms`.
    pub timestamp_after_ms_max: i64,
    /// `log.retention.ms`; below 0 for ever.
    pub retention_ms: i64,
    /// `log.retention.bytes`; below 0 without a limit.
    pub retention_bytes: i64,
    /// `log.cleanup.policy`.
    pub cleanup: CleanupPolicy,
    /// The `log.cleaner` settings that a topic may have its own of.
    pub compaction: CompactionRules,
}

impl TopicDefaults {
    /// Kafka's defaults of `log.cleaner`.
    pub const COMPACTION: CompactionRules = CompactionRules {
        dirty_ppm_min: 500_000,
        lag_ms_min: 0,
        lag_ms_max: i64::MAX,
        delete_retention_ms: 86_400_000,
    };
}

/// The core's configuration. Fixed for the life of a [`crate::broker::Broker`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `node.id`.
    pub node_id: NodeId,
    /// `cluster.id`: the id that a cluster is founded with, and the only one that this node joins. `None`: any, and a
    /// founder draws one.
    pub cluster_id: Option<Uuid>,
    /// This folder's incarnation.
    pub incarnation: Uuid,
    /// `process.roles`.
    pub roles: Roles,
    /// The nodes of `controller.quorum.voters`: who founds the cluster, and whom a node asks who leads.
    pub voters: Vec<NodeId>,
    /// `controller.quorum.auto.join.enable`: the active controller makes voters of them again with the disks that they have.
    pub admits_voters: bool,
    /// Timings of quorum, replication and registration.
    pub timings: Timings,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Listeners in the order of their `ListenerId`.
    pub listeners: Vec<AdvertisedListener>,
    /// Where other nodes reach this one; `None` for a node that has no others.
    pub peer_listener: Option<AdvertisedListener>,
    /// What that listener is called: `controller.listener.names`.
    pub peer_listener_name: String,
    /// Where the nodes of `controller.quorum.voters` listen for others. What brokers register is newer; of a voter that is no
    /// broker nothing else tells.
    pub voter_listeners: BTreeMap<NodeId, AdvertisedListener>,
    /// `flush`.
    pub flush: FlushMode,
    /// Defaults for topics.
    pub topic: TopicDefaults,
    /// Consumer groups.
    pub groups: GroupSettings,
    /// What clients are told of this broker's settings, in the order of their keys.
    pub settings: Vec<BrokerSetting>,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: u64,
    /// `producer.id.expiration.check.interval.ms`: how often idle producers are looked for.
    pub producer_expiry_check_ms: u64,
    /// `log.retention.check.interval.ms`.
    pub retention_check_ms: u64,
    /// `log.cleaner.backoff.ms`; `None`: `log.cleaner.enable` is off.
    pub cleaner_backoff_ms: Option<u64>,
    /// Producers remembered in a partition.
    pub producers_per_partition_max: usize,
    /// Partitions this node may hold.
    pub partitions_max: usize,
    /// Partitions one topic may be created with.
    pub partitions_per_topic_max: i32,
    /// Bytes that settings of groups may take in the metadata, with the groups' names and their places.
    pub group_configs_bytes_max: usize,
    /// `fetch.max.bytes`: the greatest answer to a fetch, in bytes.
    pub fetch_bytes_max: u32,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: usize,
    /// Partitions that all fetch sessions may hold together.
    pub fetch_session_partitions_max: usize,
    /// Requests that may wait in the core at a time (produce, fetch, metadata); more are refused.
    pub waiters_max: usize,
    /// Bytes of record batches that may be on their way to one peer, and of metadata in one message.
    pub peer_window_bytes: u64,
    /// Entries of the metadata log kept in memory for peers that lag; those that lag further get a snapshot.
    pub metadata_entries_max: usize,
    /// Appends are refused while the disk has less room than this, in bytes.
    pub disk_free_bytes_min: u64,
    /// A snapshot is asked for when the journal has grown by this since the last one, in bytes.
    pub snapshot_journal_bytes: u64,
}

/// `process.roles`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It holds partitions and serves clients.
    pub broker: bool,
    /// It is a member of the quorum that it is configured to be in.
    pub controller: bool,
}

/// How long things may take, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// `controller.quorum.election.timeout.ms`: silence of the leader after which a voter stands; the wait is drawn
    /// between this and twice this.
    pub election_timeout_ms: u64,
    /// How often a leader of the quorum is heard of.
    pub quorum_beat_ms: u64,
    /// `broker.heartbeat.interval.ms`.
    pub broker_beat_ms: u64,
    /// `broker.session.timeout.ms`: silence after which a broker is fenced.
    pub broker_session_ms: u64,
    /// Silence after which a broker is fenced whose connection was lost.
    pub lost_broker_ms: u64,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_ms_max: u64,
    /// How long an answer of a peer is waited for before the question is repeated.
    pub resend_ms: u64,
    /// How long a request waits for the controller before its outcome is called unknown.
    pub forward_ms: u64,
    /// `controlled.shutdown`: how long a stopping broker tries to hand over what it leads.
    pub shutdown_ms: u64,
    /// `leader.imbalance.check.interval.seconds`; 0: leadership is not moved back by itself.
    pub rebalance_ms: u64,
}

impl Timings {
    /// Silence after which a leader of the quorum counts a voter as gone.
    #[must_use]
    pub fn quorum_patience_ms(&self) -> u64 {
        self.election_timeout_ms * 2
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            election_timeout_ms: 1_000,
            quorum_beat_ms: 200,
            broker_beat_ms: 500,
            broker_session_ms: 9_000,
            lost_broker_ms: 1_000,
            replica_lag_ms_max: 30_000,
            resend_ms: 300,
            forward_ms: 30_000,
            shutdown_ms: 10_000,
            rebalance_ms: 300_000,
        }
    }
}

impl Config {
    /// One of [`Config::settings`].
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&BrokerSetting> {
        let at = self.settings.binary_search_by(|setting| setting.key.cmp(key)).ok()?;
        self.settings.get(at)
    }

    /// A configuration for one node with Kafka's defaults where Seedlog has none of its own.
    #[must_use]
    pub fn new(node_id: NodeId, incarnation: Uuid, listener: AdvertisedListener) -> Self {
        Self {
            node_id,
            cluster_id: None,
            incarnation,
            roles: Roles { broker: true, controller: true },
            voters: alloc::vec![node_id],
            admits_voters: true,
            timings: Timings::default(),
            rack: None,
            listeners: alloc::vec![listener],
            peer_listener: None,
            peer_listener_name: "CONTROLLER".to_string(),
            voter_listeners: BTreeMap::new(),
            flush: FlushMode::Always,
            topic: TopicDefaults {
                partitions: 1,
                replication_factor: None,
                min_insync_replicas: None,
                segment_bytes: 1 << 30,
                segment_ms: 604_800_000,
                segment_jitter_ms: 0,
                message_bytes_max: 1_048_588,
                log_append_time: false,
                timestamp_before_ms_max: i64::MAX,
                timestamp_after_ms_max: 3_600_000,
                retention_ms: 604_800_000,
                retention_bytes: -1,
                cleanup: CleanupPolicy { compact: false, delete: true },
                compaction: TopicDefaults::COMPACTION,
            },
            groups: GroupSettings::default(),
            settings: Vec::new(),
            auto_create_topics: true,
            producer_id_expiration_ms: 86_400_000,
            producer_expiry_check_ms: 600_000,
            retention_check_ms: 300_000,
            cleaner_backoff_ms: Some(15_000),
            producers_per_partition_max: 100_000,
            partitions_max: 1_000_000,
            partitions_per_topic_max: 20_000,
            group_configs_bytes_max: 4 << 20,
            fetch_bytes_max: 55 << 20,
            fetch_sessions_max: 1_000,
            fetch_session_partitions_max: 100_000,
            waiters_max: 100_000,
            peer_window_bytes: 16 << 20,
            metadata_entries_max: 10_000,
            disk_free_bytes_min: 128 << 20,
            snapshot_journal_bytes: 64 << 20,
        }
    }
}
