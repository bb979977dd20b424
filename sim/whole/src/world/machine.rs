//! One machine: its disk, its clocks, and the process on it. What happens to them is in `life` and `faults`.

use super::{PEER_PORT, PORT};
use crate::disk::{Files, Lanes, SimDisk};
use crate::net::Host;
use madsim::task::NodeId;
use seedlog::config::{
    CleanerSettings, ClusterConfig, DirectIo, Endpoint, Flush as NodeFlush, Internals, Listener,
    MemoryBudget, NodeConfig, TimestampType,
};
use seedlog::run::Stopper;
use seedlog_core::cluster::records::Voter;
use seedlog_core::config::{CleanupPolicy, TopicDefaults};
use seedlog_core::door::Acks;
use seedlog_core::group::GroupSettings;
use seedlog_core::ids::{ConnId, LeaderEpoch, NodeId as BrokerId, OpId, RequestNumber, RunId, Uuid};
use seedlog_sim::judges::assembly::Folder;
use seedlog_sim::judges::oracle::Oracle;
use seedlog_sim::judges::sight::Seen;
use seedlog_sim::marks::Mark;
use seedlog_sim::plan::{ClusterPlan, Flush, NodePlan, Plan};
use seedlog_sim::rng::{Purpose, Stream};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Machine {
    pub(super) numbers: NodePlan,
    pub(super) cluster: ClusterPlan,
    /// Nodes that lost their disks become voters again by themselves.
    admits_voters: bool,
    /// Number of the node that its folder belongs to. Where a folder was set aside, two machines have one.
    pub(super) node: u32,
    /// Nodes of the cluster.
    nodes: u32,
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
    /// That input brought batches of its own log back.
    pub(super) reads_back: bool,
    /// Its folder, once a recovery told which.
    pub(super) incarnation: Uuid,
    /// What was on its disk may be gone since, and the controller does not know yet.
    pub(super) is_suspect: bool,
    /// What the judges saw of the broker last.
    pub(super) seen: Seen,
    /// Nodes that it was told cannot be reached.
    pub(super) lost: BTreeSet<BrokerId>,
    /// What it says of itself, once it was stepped.
    pub(super) view: Option<View>,
    /// acks of the Produce requests that are under way.
    pub(super) acks: BTreeMap<(ConnId, RequestNumber), Acks>,
    /// What the end of a store command means for the marks.
    pub(super) commands: BTreeMap<OpId, Mark>,
}

/// What a broker says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) run: RunId,
    pub(super) leader: Option<(BrokerId, LeaderEpoch)>,
    pub(super) is_controller: bool,
    pub(super) is_serving: bool,
    /// Its quorum log is in doubt.
    pub(super) is_doubtful: bool,
    /// It has a change of the voters that is not committed.
    pub(super) has_open_voters: bool,
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
    /// A machine with an empty disk.
    pub(super) fn new(plan: &Plan, index: u64, id: NodeId) -> Self {
        let seed = plan.seed;
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        // Beyond the nodes' own there are machines for folders that are set aside: they get the numbers with the folder.
        let (numbers, state) = match plan.nodes.get(at) {
            Some(numbers) => (numbers, State::Down),
            None => (&plan.nodes[0], State::Dead),
        };
        Self {
            numbers: numbers.clone(),
            cluster: plan.cluster.clone(),
            admits_voters: plan.admits_voters,
            node: super::number_of(at),
            nodes: super::number_of(plan.nodes.len()),
            id,
            files: Files::default(),
            lanes: Lanes::new(numbers.background_factor),
            disk_rng: Stream::new(seed, Purpose::Disk, index),
            chance: Stream::new(seed, Purpose::Driver, index),
            seeds: Stream::new(seed, Purpose::Brokers, index),
            oracle: Oracle::default(),
            state,
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
            reads_back: false,
            incarnation: Uuid::ZERO,
            is_suspect: false,
            seen: Seen::default(),
            lost: BTreeSet::new(),
            view: None,
            acks: BTreeMap::new(),
            commands: BTreeMap::new(),
        }
    }

    pub(super) fn flushes_always(&self) -> bool {
        self.cluster.flush == Flush::Always
    }

    /// The name of the broker.
    pub(super) fn node_id(&self) -> BrokerId {
        node_id_of(self.node)
    }

    /// The folder is set aside on another machine, and this one has an empty disk.
    pub(super) fn give_away(&mut self, to: &mut Self) {
        to.node = self.node;
        to.numbers = self.numbers.clone();
        to.files = std::mem::take(&mut self.files);
        to.lanes.groups = std::mem::take(&mut self.lanes.groups);
        to.oracle = std::mem::take(&mut self.oracle);
        to.incarnation = std::mem::replace(&mut self.incarnation, Uuid::ZERO);
        // Its power was cut: with flush=interval it may lack what it acknowledged.
        to.is_suspect = !to.flushes_always();
        to.state = State::Down;
        self.is_suspect = false;
    }

    /// The folder is lost.
    pub(super) fn lose_folder(&mut self) {
        self.files = Files::default();
        self.lanes.groups.clear();
        self.oracle = Oracle::default();
        self.incarnation = Uuid::ZERO;
        self.is_suspect = false;
    }

    /// It does not start, or its disk rotted before it does.
    pub(super) fn is_broken(&self) -> bool {
        self.state == State::Dead || self.state != State::Up && !self.oracle.flips.is_empty()
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
        NodeConfig {
            node_id: self.node_id().0,
            cluster_id: None,
            rack: None,
            cluster: self.cluster_config(),
            listeners: vec![self.listener("PLAINTEXT", PORT)],
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
            segment_ms: self.cluster.tables.map_or(604_800_000, |tables| tables.segment_ms),
            segment_jitter_ms: 0,
            retention_ms: None,
            retention_bytes: None,
            retention_check_ms: self.cluster.retention_check_ms.unwrap_or(300_000),
            cleaner: self.cleaner(),
            groups: self.cluster.groups.map_or_else(GroupSettings::default, |groups| groups.settings()),
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
            connections_per_ip_overrides: BTreeMap::new(),
            connection_rate_max: u32::MAX,
            connection_idle_ms_max: Some(idle_ms),
            request_arrival_ms: 30_000,
            queued_request_bytes_max: None,
            memory: MemoryBudget {
                total_bytes: 40 << 20,
                // 64 KiB a batch of the bare world's cache; without any the store takes no appends.
                tail_cache_bytes: (self.numbers.tail_batches.max(2) as u64) << 17,
                // Pieces of a few batches, so that there is something to read ahead.
                cold_cache_bytes: 64 << 10,
                requests_bytes: 1 << 20,
                replies_bytes: 2 << 20,
                // Less than a batch or two of the greatest: whoever sends has to wait for whoever writes.
                peers_bytes: if self.nodes > 1 { 64 << 10 } else { 0 },
                core_bytes: 16 << 20,
            },
        }
    }

    fn cleaner(&self) -> CleanerSettings {
        let tables = self.cluster.tables;
        CleanerSettings {
            backoff_ms: tables.map(|tables| tables.backoff_ms),
            keys_bytes_max: 1 << 20,
            bytes_per_second_max: tables.and_then(|tables| tables.bytes_per_second_max()),
            policy: CleanupPolicy { compact: false, delete: true },
            rules: tables.map_or(TopicDefaults::COMPACTION, |tables| tables.rules()),
        }
    }

    /// A listener at the node's own address, whichever machine its folder is on.
    fn listener(&self, name: &str, port: u16) -> Listener {
        let host = Host::Node(self.node).ip().to_string();
        let bind = Endpoint { name: name.to_owned(), host: Some(host.clone()), port };
        Listener { bind, advertised_host: host, advertised_port: port }
    }

    fn cluster_config(&self) -> ClusterConfig {
        let timings = self.cluster.timings;
        let is_alone = self.nodes == 1;
        let voters = (0..self.nodes).filter(|_| !is_alone);
        ClusterConfig {
            is_broker: true,
            is_controller: true,
            voters: voters
                .map(|node| (node_id_of(node).0, (Host::Node(node).ip().to_string(), PEER_PORT)))
                .collect(),
            admits_voters: self.admits_voters,
            peer_listener: (!is_alone).then(|| self.listener("CONTROLLER", PEER_PORT)),
            election_timeout_ms: timings.election,
            heartbeat_interval_ms: timings.broker_beat,
            session_timeout_ms: timings.session,
            replica_lag_ms_max: timings.lag,
            rebalance_interval_ms: (timings.rebalance > 0).then_some(timings.rebalance),
            internals: Some(Internals {
                lost_broker_ms: timings.lost,
                resend_ms: timings.resend,
                forward_ms: timings.forward,
                shutdown_ms: timings.shutdown,
                peer_window_bytes: self.cluster.peer_window_bytes,
                metadata_entries_max: self.cluster.metadata_entries_max,
            }),
        }
    }
}

/// The name of a node's broker.
pub(super) fn node_id_of(node: u32) -> BrokerId {
    BrokerId(i32::try_from(node).unwrap_or(0) + 1)
}

impl Folder for Machine {
    fn voter(&self) -> Voter {
        Voter { node_id: self.node_id(), incarnation: self.incarnation }
    }

    fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    fn oracle_mut(&mut self) -> &mut Oracle {
        &mut self.oracle
    }

    fn is_suspect(&self) -> bool {
        self.is_suspect
    }

    fn clear(&mut self) {
        self.is_suspect = false;
    }

    fn flushes_always(&self) -> bool {
        Self::flushes_always(self)
    }

    fn is_dead(&self) -> bool {
        self.state == State::Dead
    }

    fn run(&self) -> Option<RunId> {
        self.view.map(|view| view.run)
    }

    fn seen(&self) -> Option<&Seen> {
        (self.state == State::Up).then_some(&self.seen)
    }

    fn seen_mut(&mut self) -> Option<&mut Seen> {
        (self.state == State::Up).then_some(&mut self.seen)
    }
}
