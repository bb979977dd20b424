//! One machine: its disk, its clocks, and the process on it with its connections. What happens to them is in `driver`,
//! `answer`, `life` and `net`.

use super::queue::What;
use crate::disk::Disk;
use crate::judges::oracle::Oracle;
use crate::plan::{Flush, NodePlan};
use crate::rng::{Purpose, Stream};
use crate::store::{DiskNow, PendingFill, PendingLook, Reading, Store};
use bytes::Bytes;
use seedlog_core::broker::Broker;
use seedlog_core::ids::{ConnId, Lsn, OpId, RequestNumber};
use seedlog_core::time::{MonoMs, Now, WallMs};
use std::collections::BTreeMap;

/// The monotonic clock's origin is nobody's business but not 0.
pub(super) const MONO_ORIGIN_MS: u64 = 1_000;

/// One machine.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) numbers: NodePlan,
    pub(super) seed: u64,
    pub(super) index: u64,
    pub(super) disk: Disk,
    pub(super) disk_rng: Stream,
    pub(super) driver: Stream,
    pub(super) seeds: Stream,
    pub(super) oracle: Oracle,
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
    /// Answers that are ready; `None` for those that are never sent.
    pub(super) ready: BTreeMap<u64, Option<Bytes>>,
    pub(super) filling: usize,
    pub(super) closing: bool,
}

impl Node {
    pub(super) fn new(seed: u64, index: u64, numbers: &NodePlan) -> Self {
        Self {
            numbers: numbers.clone(),
            seed,
            index,
            disk: Disk::default(),
            disk_rng: Stream::new(seed, Purpose::Disk, index),
            driver: Stream::new(seed, Purpose::Driver, index),
            seeds: Stream::new(seed, Purpose::Brokers, index),
            oracle: Oracle::default(),
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
        self.numbers.flush == Flush::Always
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

pub(super) fn clock(now_us: u64, started_us: u64, wall_jump_ms: i64) -> Now {
    let virtual_ms = i64::try_from(now_us / 1_000).unwrap_or(i64::MAX);
    Now {
        mono: MonoMs((now_us - started_us) / 1_000 + MONO_ORIGIN_MS),
        wall: WallMs(super::WALL_START_MS + virtual_ms + wall_jump_ms),
    }
}
