//! One machine: its disk, its clocks, and the process on it with its connections. What happens to them is in `driver`,
//! `answer`, `life` and `net`.

use super::queue::What;
use crate::disk::Disk;
use crate::judges::node_log::NodeLog;
use crate::judges::oracle::Oracle;
use crate::judges::sight::Seen;
use crate::plan::{ClusterPlan, Flush, NodePlan};
use crate::rng::{Purpose, Stream};
use crate::store::{DiskNow, PendingFill, PendingLook, PendingSend, Reading, Store};
use bytes::Bytes;
use seedlog_core::broker::Broker;
use seedlog_core::cluster::records::Voter;
use seedlog_core::door::Acks;
use seedlog_core::ids::{ConnId, Lsn, NodeId, OpId, RequestNumber, TopicPartition, Uuid};
use seedlog_core::output::Extent;
use seedlog_core::peer::PeerMessage;
use seedlog_core::time::{MonoMs, Now, WallMs};
use std::collections::BTreeMap;

/// The monotonic clock's origin is nobody's business but not 0.
pub(super) const MONO_ORIGIN_MS: u64 = 1_000;

/// One machine.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) numbers: NodePlan,
    pub(super) flush: Flush,
    pub(super) node_id: NodeId,
    /// Its folder: another one has another incarnation.
    pub(super) incarnation: Uuid,
    pub(super) disk: Disk,
    pub(super) disk_rng: Stream,
    pub(super) driver: Stream,
    pub(super) seeds: Stream,
    pub(super) oracle: Oracle,
    /// What was on its disk may be gone since, and the controller does not know yet.
    pub(super) is_suspect: bool,
    pub(super) state: State,
    /// Number of the process; events carry it.
    pub(super) life: u64,
    pub(super) boots: u64,
    pub(super) boot_token: u64,
    pub(super) wall_jump_ms: i64,
    /// It stands still until then; 0 if it does not.
    pub(super) paused_until: u64,
    /// What came meanwhile, in order.
    pub(super) deferred: Vec<What>,
    pub(super) slow_factor: u64,
    pub(super) disk_full: bool,
    pub(super) sync_fails: bool,
    /// The next step with several outputs is cut short, by a power cut if true.
    pub(super) cut: Option<(bool, u64)>,
    /// How long an orderly stop lasts.
    pub(super) stopped_us: u64,
    /// Process kills since the last start, for the marks.
    pub(super) killed: bool,
}

/// What runs on a machine.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing; a start may be scheduled.
    Down,
    /// A recovery.
    Recovering(Box<Recovering>),
    /// A broker.
    Up(Box<Process>),
    /// It cannot start, and a fault explains it.
    Dead,
}

/// A recovery: what was read, and the store that writes the fresh file.
#[derive(Debug)]
pub(super) struct Recovering {
    pub(super) reading: Reading,
    pub(super) store: Store,
    pub(super) rewritten: Option<(usize, Lsn)>,
}

/// A broker with its driver.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) broker: Broker,
    pub(super) store: Store,
    pub(super) started_us: u64,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    pub(super) fills: BTreeMap<u64, (ConnId, RequestNumber, PendingFill, u64)>,
    pub(super) looks: BTreeMap<u64, (OpId, PendingLook)>,
    pub(super) reads: BTreeMap<u64, (OpId, Extent, PendingSend)>,
    pub(super) sends: BTreeMap<u64, (NodeId, Box<PeerMessage>, PendingSend)>,
    /// What the judges saw of the broker last.
    pub(super) seen: Seen,
    /// The quorum's members by a change that is in its log and not committed.
    pub(super) open_voters: Option<Vec<Voter>>,
    /// The step under way cut its metadata log.
    pub(super) cuts_metadata: bool,
    pub(super) next_id: u64,
    pub(super) durable_scheduled: bool,
    pub(super) groups_untold: u32,
    pub(super) submit_scheduled: bool,
    pub(super) idle_scheduled: bool,
    pub(super) wake_us: Option<u64>,
    /// The broker has ended in order; the journal is being closed.
    pub(super) stopped: bool,
}

/// A connection at the node's end.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) client: usize,
    pub(super) next_number: u64,
    pub(super) next_out: u64,
    /// How the answers that are due are written: version and correlation id.
    pub(super) due: BTreeMap<u64, (i16, i32)>,
    /// acks of Produce requests.
    pub(super) acks: BTreeMap<u64, Acks>,
    /// Answers that are ready; `None` for those that are never sent.
    pub(super) ready: BTreeMap<u64, Option<Bytes>>,
    pub(super) filling: usize,
    pub(super) closing: bool,
}

impl Node {
    /// A machine with an empty disk. `index` tells it from all others; `folder` tells its folder from all others.
    pub(super) fn new(
        seed: u64,
        (index, folder): (u64, u64),
        node_id: NodeId,
        numbers: &NodePlan,
        cluster: &ClusterPlan,
    ) -> Self {
        Self {
            numbers: numbers.clone(),
            flush: cluster.flush,
            node_id,
            incarnation: incarnation(seed, folder),
            disk: Disk::default(),
            disk_rng: Stream::new(seed, Purpose::Disk, index),
            driver: Stream::new(seed, Purpose::Driver, index),
            seeds: Stream::new(seed, Purpose::Brokers, index),
            oracle: Oracle::default(),
            is_suspect: false,
            state: State::Down,
            life: 0,
            boots: 0,
            boot_token: 0,
            wall_jump_ms: 0,
            paused_until: 0,
            deferred: Vec::new(),
            slow_factor: 1,
            disk_full: false,
            sync_fails: false,
            cut: None,
            stopped_us: 0,
            killed: false,
        }
    }

    pub(super) fn flushes_always(&self) -> bool {
        self.flush == Flush::Always
    }

    /// How far its wall clock jumped, in ms, and how fast its clocks run.
    pub(super) fn clocks(&self) -> (i64, i64) {
        (self.wall_jump_ms, self.numbers.drift_ppm)
    }

    /// What its folder holds of a partition.
    pub(super) fn log(&self, partition: TopicPartition) -> Option<&NodeLog> {
        self.oracle.logs.get(&partition)
    }

    /// How late the driver is this time, in µs.
    pub(super) fn late(&mut self) -> u64 {
        if self.numbers.late_us == 0 || self.driver.chance(400) {
            0
        } else {
            self.driver.below(self.numbers.late_us)
        }
    }

    /// How late a fetch is filled this time, in µs.
    pub(super) fn fill_late(&mut self) -> u64 {
        if self.driver.chance(self.numbers.stalls_per_mille) {
            self.driver.below(1_000_000)
        } else {
            self.late()
        }
    }

    pub(super) fn process(&mut self) -> Option<&mut Process> {
        match &mut self.state {
            State::Up(process) => Some(process),
            State::Down | State::Recovering(_) | State::Dead => None,
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        match &self.state {
            State::Up(process) => process.broker.is_serving(),
            State::Down | State::Recovering(_) | State::Dead => false,
        }
    }

    pub(super) fn store_and_disk(&mut self) -> Option<(&mut Store, DiskNow<'_>)> {
        let store = match &mut self.state {
            State::Up(process) => &mut process.store,
            State::Recovering(recovering) => &mut recovering.store,
            State::Down | State::Dead => return None,
        };
        let now = DiskNow {
            disk: &mut self.disk,
            rng: &mut self.disk_rng,
            full: self.disk_full,
            sync_fails: &mut self.sync_fails,
        };
        Some((store, now))
    }
}

impl Process {
    pub(super) fn new(broker: Broker, store: Store, started_us: u64) -> Self {
        Self {
            broker,
            store,
            started_us,
            conns: BTreeMap::new(),
            fills: BTreeMap::new(),
            looks: BTreeMap::new(),
            reads: BTreeMap::new(),
            sends: BTreeMap::new(),
            seen: Seen::default(),
            open_voters: None,
            cuts_metadata: false,
            next_id: 0,
            durable_scheduled: false,
            groups_untold: 0,
            submit_scheduled: false,
            idle_scheduled: false,
            wake_us: None,
            stopped: false,
        }
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// The clocks of a process that started at `started_us`, on a machine whose clocks drift.
pub(super) fn clock(now_us: u64, started_us: u64, node: (i64, i64)) -> Now {
    let (wall_jump_ms, drift_ppm) = node;
    let drifted = |micros: u64| {
        let micros = i128::from(micros);
        micros + micros * i128::from(drift_ppm) / 1_000_000
    };
    let mono = u64::try_from(drifted(now_us - started_us) / 1_000).unwrap_or(0);
    let wall = i64::try_from(drifted(now_us) / 1_000).unwrap_or(i64::MAX);
    Now { mono: MonoMs(mono + MONO_ORIGIN_MS), wall: WallMs(super::WALL_START_MS + wall + wall_jump_ms) }
}

/// The first moment at which such a process's monotonic clock shows `at`.
pub(super) fn moment(at: MonoMs, started_us: u64, drift_ppm: i64) -> u64 {
    let shown_us = i128::from(at.0.saturating_sub(MONO_ORIGIN_MS)) * 1_000;
    let micros = shown_us * 1_000_000 / (1_000_000 + i128::from(drift_ppm)) + i128::from(drift_ppm != 0) * 2;
    started_us + u64::try_from(micros).unwrap_or(u64::MAX / 2)
}

/// The incarnation of a folder.
pub(super) fn incarnation(seed: u64, folder: u64) -> Uuid {
    let mut bytes = [2; 16];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes[8..].copy_from_slice(&(folder + 1).to_be_bytes());
    Uuid(bytes)
}
