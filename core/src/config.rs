//! What the core needs to know before its first step. Every queue, table and answer has its limit here.

use crate::ids::{NodeId, Uuid};
use alloc::string::String;
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

/// Defaults of topic settings, from the broker's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicDefaults {
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `log.segment.bytes`.
    pub segment_bytes: u32,
    /// `message.max.bytes`: the greatest size of a batch, header included.
    pub message_bytes_max: u32,
    /// `log.message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
    /// `log.message.timestamp.before.max.ms`.
    pub timestamp_before_ms_max: i64,
    /// `log.message.timestamp.after.max.ms`.
    pub timestamp_after_ms_max: i64,
}

/// The core's configuration. Fixed for the life of a [`crate::broker::Broker`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `node.id`.
    pub node_id: NodeId,
    /// The cluster.
    pub cluster_id: Uuid,
    /// This folder's incarnation.
    pub incarnation: Uuid,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Listeners in the order of their `ListenerId`.
    pub listeners: Vec<AdvertisedListener>,
    /// `flush`.
    pub flush: FlushMode,
    /// Defaults for topics.
    pub topic: TopicDefaults,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: u64,
    /// Producers remembered in a partition.
    pub producers_per_partition_max: usize,
    /// Partitions this node may hold.
    pub partitions_max: usize,
    /// Partitions one topic may be created with.
    pub partitions_per_topic_max: i32,
    /// `fetch.max.bytes`: the greatest answer to a fetch, in bytes.
    pub fetch_bytes_max: u32,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: usize,
    /// Partitions one fetch session may hold.
    pub fetch_session_partitions_max: usize,
    /// Requests that may wait in the core at a time (produce, fetch, metadata); more are refused.
    pub waiters_max: usize,
    /// Appends are refused while the disk has less room than this, in bytes.
    pub disk_free_bytes_min: u64,
    /// A snapshot is asked for when the journal has grown by this since the last one, in bytes.
    pub snapshot_journal_bytes: u64,
}

impl Config {
    /// A configuration for one node with Kafka's defaults where Seedlog has none of its own.
    #[must_use]
    pub fn new(node_id: NodeId, cluster_id: Uuid, incarnation: Uuid, listener: AdvertisedListener) -> Self {
        Self {
            node_id,
            cluster_id,
            incarnation,
            rack: None,
            listeners: alloc::vec![listener],
            flush: FlushMode::Always,
            topic: TopicDefaults {
                partitions: 1,
                replication_factor: 1,
                min_insync_replicas: 1,
                segment_bytes: 1 << 30,
                message_bytes_max: 1_048_588,
                log_append_time: false,
                timestamp_before_ms_max: i64::MAX,
                timestamp_after_ms_max: 3_600_000,
            },
            auto_create_topics: true,
            producer_id_expiration_ms: 86_400_000,
            producers_per_partition_max: 100_000,
            partitions_max: 1_000_000,
            partitions_per_topic_max: 100_000,
            fetch_bytes_max: 55 << 20,
            fetch_sessions_max: 1_000,
            fetch_session_partitions_max: 100_000,
            waiters_max: 100_000,
            disk_free_bytes_min: 128 << 20,
            snapshot_journal_bytes: 64 << 20,
        }
    }
}
