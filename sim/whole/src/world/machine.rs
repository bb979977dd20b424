//! One machine: its disk, its clocks, and the process on it. What happens to them is in `life` and `faults`.

use super::PORT;
use crate::disk::{Files, Lanes, SimDisk};
use madsim::task::NodeId;
use seedlog::config::{
    ClusterConfig, DirectIo, Endpoint, Flush as NodeFlush, Listener, MemoryBudget, NodeConfig, TimestampType,
};
use seedlog::run::Stopper;
use seedlog_core::door::Acks;
use seedlog_core::ids::{ConnId, OpId, RequestNumber, Uuid};
use seedlog_sim::judges::oracle::Oracle;
use seedlog_sim::judges::sight::Seen;
use seedlog_sim::marks::Mark;
use seedlog_sim::plan::{ClusterPlan, Flush, NodePlan};
use seedlog_sim::rng::{Purpose, Stream};
use std::collections::BTreeMap;

pub(super) struct Machine {
    pub(super) numbers: NodePlan,
    pub(super) cluster: ClusterPlan,
    pub(super) index: u64,
    pub(super) id: NodeId,
    pub(super) files: Files,
    pub(super) lanes: Lanes,
    pub(super) disk_rng: Stream,
    pub(super) chance: Stream,
    pub(super) seeds: Stream,
    pub(super) oracle: Oracle,
    pub(super) state: State,
    /// Number of the process; what a dead one does reaches nothing.
    pub(super) life: u64,
    pub(super) boots: u64,
    pub(super) boot_token: u64,
    pub(super) wall_jump_ms: i64,
    /// It stands still until then; 0 if it does not.
    pub(super) paused_until: u64,
    /// What the next kill is; a process kill if nobody said.
    pub(super) blow: Option<Blow>,
    /// The next step with several outputs is cut short by this.
    pub(super) cut: Option<Blow>,
    /// How long an orderly stop lasts.
    pub(super) stopped_us: u64,
    pub(super) stopper: Option<Stopper<SimDisk>>,
    /// The power is off.
    pub(super) dark: bool,
    /// A process kill since the last start, for the marks.
    pub(super) killed: bool,
    /// The input of the step under way, and how many of its outputs were seen.
    pub(super) step: (u64, u64),
    /// Its folder, once a recovery told which.
    pub(super) incarnation: Uuid,
    /// What the judges saw of the broker last.
    pub(super) seen: Seen,
    /// acks of the Produce requests that are under way.
    pub(super) acks: BTreeMap<(ConnId, RequestNumber), Acks>,
    /// What the end of a store command means for the marks.
    pub(super) commands: BTreeMap<OpId, Mark>,
}

/// What runs on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing; a start is ordered.
    Down,
    /// A recovery.
    Recovering,
    /// A broker.
    Up,
    /// It cannot start, and a fault explains it.
    Dead,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blow {
    pub(super) power: bool,
    pub(super) down_us: u64,
    /// The process has ended by itself.
    pub(super) orderly: bool,
}

impl Machine {
    pub(super) fn new(seed: u64, index: u64, numbers: &NodePlan, cluster: &ClusterPlan, id: NodeId) -> Self {
        Self {
            numbers: numbers.clone(),
            cluster: cluster.clone(),
            index,
            id,
            files: Files::default(),
            lanes: Lanes::new(numbers.background_factor),
            disk_rng: Stream::new(seed, Purpose::Disk, index),
            chance: Stream::new(seed, Purpose::Driver, index),
            seeds: Stream::new(seed, Purpose::Brokers, index),
            oracle: Oracle::default(),
            state: State::Down,
            life: 0,
            boots: 0,
            boot_token: 0,
            wall_jump_ms: 0,
            paused_until: 0,
            blow: None,
            cut: None,
            stopped_us: 0,
            stopper: None,
            dark: false,
            killed: false,
            step: (0, 0),
            incarnation: Uuid::ZERO,
            seen: Seen::default(),
            acks: BTreeMap::new(),
            commands: BTreeMap::new(),
        }
    }

    pub(super) fn flushes_always(&self) -> bool {
        self.cluster.flush == Flush::Always
    }

    /// The name of the broker.
    pub(super) fn node_id(&self) -> seedlog_core::ids::NodeId {
        seedlog_core::ids::NodeId(i32::try_from(self.index).unwrap_or(0) + 1)
    }

    /// What the process writes was shown to the oracle before.
    pub(super) fn is_watched(&self) -> bool {
        self.state == State::Up
    }

    pub(super) fn down_us(&mut self) -> u64 {
        100_000 + self.chance.below(400_000)
    }

    /// The process's configuration: small numbers, so that every limit is met.
    pub(super) fn config(&self, idle_ms: u64) -> NodeConfig {
        let (flush, flush_interval_ms) = match self.cluster.flush {
            Flush::Always => (NodeFlush::Always, 1_000),
            Flush::Interval { sync_ms } => (NodeFlush::Interval, sync_ms),
        };
        let ip = super::host_of(usize::try_from(self.index).unwrap_or(0)).ip().to_string();
        let bind = Endpoint { name: "PLAINTEXT".to_owned(), host: Some(ip.clone()), port: PORT };
        NodeConfig {
            node_id: self.node_id().0,
            cluster_id: None,
            rack: None,
            cluster: self.cluster_config(),
            listeners: vec![Listener { bind, advertised_host: ip, advertised_port: PORT }],
            admin_listener: None,
            log_dir: "/data".into(),
            auto_create_topics: false,
            partitions_default: 1,
            replication_factor_default: None,
            insync_replicas_min: None,
            message_bytes_max: 1 << 20,
            request_bytes_max: 4 << 20,
            fetch_bytes_max: 4 << 20,
            fetch_sessions_max: 2,
            producer_id_expiration_ms: 86_400_000,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_ms_max: u64::MAX,
            timestamp_after_ms_max: u64::MAX,
            segment_bytes: self.numbers.segment_bytes,
            index_interval_bytes: 4_096,
            flush,
            flush_interval_ms,
            journal_file_bytes: self.numbers.file_bytes,
            journal_bytes_max: (self.numbers.snapshot_bytes * 4).clamp(2 << 20, 64 << 20),
            group_bytes_max: 4 << 20,
            direct_io: DirectIo::Auto,
            disk_free_bytes_min: 1 << 20,
            cold_read_threads: 1,
            connections_max: 100,
            connections_per_ip_max: 100,
            connection_idle_ms_max: Some(idle_ms),
            memory: MemoryBudget {
                total_bytes: 40 << 20,
                // 64 KiB a batch of the bare world's cache; without any the store takes no appends.
                tail_cache_bytes: (self.numbers.tail_batches.max(2) as u64) << 17,
                requests_bytes: 1 << 20,
                replies_bytes: 2 << 20,
                peers_bytes: 0,
                core_bytes: 16 << 20,
            },
        }
    }

    fn cluster_config(&self) -> ClusterConfig {
        let timings = self.cluster.timings;
        ClusterConfig {
            is_broker: true,
            is_controller: true,
            voters: BTreeMap::new(),
            peer_listener: None,
            election_timeout_ms: timings.election,
            heartbeat_interval_ms: timings.broker_beat,
            session_timeout_ms: timings.session,
            replica_lag_ms_max: timings.lag,
            rebalance_interval_ms: (timings.rebalance > 0).then_some(timings.rebalance),
        }
    }
}
