//! One machine: its disk, its clocks, and the process on it. Steps the broker and does what its outputs ask for.

use super::World;
use super::queue::{LaneId, What, pace};
use crate::disk::Disk;
use crate::judges::oracle::Oracle;
use crate::judges::{Judge, s6, s12, s24, s25};
use crate::marks::Mark;
use crate::plan::{Flush, NodePlan};
use crate::rng::{Purpose, Stream};
use crate::store::{DiskNow, PendingFill, PendingLook, Reading, Signal, Store};
use crate::trace::Kind;
use bytes::Bytes;
use seedlog_core::broker::Broker;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{ConnId, Lsn, Offset, OpId, PartitionIndex, RequestNumber, TopicPartition, Uuid};
use seedlog_core::input::Input;
use seedlog_core::journal::Entry;
use seedlog_core::output::{HaltReason, Output, Outputs, Reply, StoreCommand};
use seedlog_core::records::BatchHeader;
use seedlog_core::time::{MonoMs, Now, WallMs};
use seedlog_core::wire::{FetchResponse, ProduceResponse, Response};
use std::collections::BTreeMap;

/// The monotonic clock's origin is nobody's business but not 0.
const MONO_ORIGIN_MS: u64 = 1_000;

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
    pub(super) paused_until: u64,
    pub(super) slow_factor: u64,
    pub(super) disk_full: bool,
    pub(super) sync_fails: bool,
    /// The next step with several outputs is cut short, by a power cut if true.
    pub(super) cut: Option<(bool, u64)>,
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
    next_id: u64,
    durable_scheduled: bool,
    groups_untold: u32,
    submit_scheduled: bool,
    idle_scheduled: bool,
    wake_us: Option<u64>,
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
            slow_factor: 1,
            disk_full: false,
            sync_fails: false,
            cut: None,
            killed: false,
        }
    }

    pub(super) fn flushes_always(&self) -> bool {
        self.numbers.flush == Flush::Always
    }

    /// How late the driver is this time, in µs.
    pub(super) fn late(&mut self) -> u64 {
        if self.numbers.late_us == 0 || self.driver.chance(400) { 0 } else { self.driver.below(self.numbers.late_us) }
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

    fn store_and_disk(&mut self) -> Option<(&mut Store, DiskNow<'_>)> {
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

    fn next_id(&mut self) -> u64 {
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

impl World {
    /// One step of a broker and everything that its outputs ask for.
    pub(super) fn step(&mut self, at: usize, input: Input) {
        let node = &mut self.nodes[at];
        let wall_jump_ms = node.wall_jump_ms;
        let State::Up(process) = &mut node.state else { return };
        if process.stopped {
            return;
        }
        let code = input_code(&input);
        let mut outputs = Outputs::new();
        process.broker.step(clock(self.now_us, process.started_us, wall_jump_ms), input, &mut outputs);
        self.steps += 1;
        let last = process.broker.last_lsn().0;
        let count = outputs.len();
        let taken = if count > 1 && node.cut.is_some() { 1 + node.driver.index(count - 1) } else { count };
        self.note_at(at, Kind::Step, [code, count as u64, last]);
        for output in outputs.drain(..taken) {
            self.on_output(at, output);
        }
        if taken < count {
            self.cut_short(at, taken, count);
            return;
        }
        self.after_step(at);
    }

    /// The process dies between two outputs: those behind never happen.
    fn cut_short(&mut self, at: usize, taken: usize, count: usize) {
        self.note_at(at, Kind::CutShort, [taken as u64, count as u64, 0]);
        self.mark(Mark::StepCutShort);
        if let Some((power, down_us)) = self.nodes[at].cut.take() {
            self.crash(at, power, down_us);
        }
    }

    fn after_step(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let (life, late, spurious) = (node.life, node.late(), node.driver.chance(10));
        let spurious_us = self.now_us + node.driver.below(50_000);
        let State::Up(process) = &mut node.state else { return };
        if !process.submit_scheduled && process.store.has_entries() {
            process.submit_scheduled = true;
            self.queue.push(self.now_us + late.min(300), What::Submit { node: at, life });
        }
        if let Some((mono, _)) = process.broker.wake_at() {
            let due = process.started_us + mono.0.saturating_sub(MONO_ORIGIN_MS) * 1_000;
            let due = due.max(self.now_us) + late;
            if process.wake_us.is_none_or(|scheduled| due < scheduled) {
                process.wake_us = Some(due);
                self.queue.push(due, What::Wake { node: at, life, at_us: due });
            }
        }
        if spurious {
            self.queue.push(spurious_us, What::Input { node: at, life, input: Box::new(Input::Wake) });
        }
    }

    pub(super) fn on_broker_wake(&mut self, at: usize, at_us: u64) {
        if let Some(process) = self.nodes[at].process() {
            if process.wake_us != Some(at_us) {
                return; // An earlier one was scheduled since.
            }
            process.wake_us = None;
            self.step(at, Input::Wake);
        }
    }

    fn on_output(&mut self, at: usize, output: Output) {
        match output {
            Output::Reply { conn, number, response } => self.on_reply(at, conn, number, response),
            Output::Close { conn, .. } => self.close_conn(at, conn),
            Output::Journal { entry, batch } => self.on_entry(at, &entry, batch.as_ref()),
            Output::Read { op, extent, look } => {
                let node = &mut self.nodes[at];
                let (life, late) = (node.life, node.late());
                let Some(process) = node.process() else { return };
                let id = process.next_id();
                let pending = process.store.take_look(&extent, look);
                process.looks.insert(id, (op, pending));
                self.queue.push(self.now_us + late + 20, What::Look { node: at, life, id });
            }
            Output::Store { op, command } => self.on_command(at, op, command),
            Output::Halt { reason } => self.on_halt(at, &reason),
        }
    }

    fn on_command(&mut self, at: usize, op: OpId, command: StoreCommand) {
        let mut signals = Vec::new();
        if let Some((store, now)) = self.nodes[at].store_and_disk() {
            store.command(op, command, now.disk, &mut signals);
        }
        self.on_signals(at, signals);
        self.kick(at);
    }

    fn on_entry(&mut self, at: usize, entry: &Entry, batch: Option<&(BatchHeader, Bytes)>) {
        let node = &mut self.nodes[at];
        let batch = batch.map(|(header, bytes)| (header, &bytes[..]));
        let Some(process) = node.process() else { return };
        let lsn = process.store.push(entry, batch);
        let shadow = node.oracle.on_entry(lsn, entry, batch);
        if let (Entry::Append(append), Some(shadow)) = (entry, shadow) {
            let said = s25::check_last(&node.oracle.logs[&append.partition]);
            let produced = self.register.check(shadow.payload, append.base_offset);
            self.hear(Judge::S25, at, said);
            self.hear(Judge::S24, at, produced);
        }
    }

    fn on_halt(&mut self, at: usize, reason: &HaltReason) {
        let clean = *reason == HaltReason::Stopped;
        let node = &mut self.nodes[at];
        let boots = node.boots;
        self.note_at(at, Kind::Halt, [boots, u64::from(clean), 0]);
        if !clean {
            let down_us = 100_000 + self.nodes[at].driver.below(400_000);
            self.crash(at, false, down_us);
            return;
        }
        self.close_all_conns(at);
        let Some(process) = self.nodes[at].process() else { return };
        process.stopped = true;
        // A group that vouches for the last entry makes the stop one that recovery believes.
        self.on_idle(at);
    }

    /// Lets the store go on: starts operations in both lanes.
    pub(super) fn kick(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let (life, factor) = (node.life, node.slow_factor);
        for lane in [LaneId::Journal, LaneId::Background] {
            let Some((store, now)) = node.store_and_disk() else { return };
            if let Some(micros) = store.start_lane(lane, pace(factor), now.rng) {
                self.queue.push(self.now_us + micros, What::LaneDone { node: at, life, lane });
            }
        }
    }

    pub(super) fn on_lane_done(&mut self, at: usize, lane: LaneId) {
        let mut signals = Vec::new();
        if let Some((store, mut now)) = self.nodes[at].store_and_disk() {
            store.finish_lane(lane, &mut now, &mut signals);
        }
        self.on_signals(at, signals);
        self.kick(at);
        self.end_if_stopped(at);
    }

    fn end_if_stopped(&mut self, at: usize) {
        let Some(process) = self.nodes[at].process() else { return };
        if process.stopped && process.store.journal_is_idle() {
            if process.store.wants_to_vouch() {
                self.on_idle(at);
            } else {
                self.end_in_order(at);
            }
        }
    }

    pub(super) fn on_submit(&mut self, at: usize) {
        let mut signals = Vec::new();
        if let Some(process) = self.nodes[at].process() {
            process.submit_scheduled = false;
        }
        if let Some((store, mut now)) = self.nodes[at].store_and_disk() {
            store.submit(&mut now, &mut signals);
        }
        self.on_signals(at, signals);
        self.kick(at);
    }

    pub(super) fn on_idle(&mut self, at: usize) {
        let mut signals = Vec::new();
        if let Some(process) = self.nodes[at].process() {
            process.idle_scheduled = false;
        }
        if let Some((store, mut now)) = self.nodes[at].store_and_disk() {
            store.vouch(&mut now, &mut signals);
        }
        self.on_signals(at, signals);
        self.kick(at);
        self.end_if_stopped(at);
    }

    pub(super) fn on_sync_tick(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let life = node.life;
        let Flush::Interval { sync_ms } = node.numbers.flush else { return };
        if let Some(process) = node.process() {
            process.store.sync_interval();
            self.queue.push(self.now_us + sync_ms * 1_000, What::SyncTick { node: at, life });
            self.kick(at);
        }
    }

    pub(super) fn on_durable(&mut self, at: usize) {
        let Some(process) = self.nodes[at].process() else { return };
        process.durable_scheduled = false;
        let merged = std::mem::take(&mut process.groups_untold) > 1;
        let input = Input::Durable { written: process.store.written(), synced: process.store.synced() };
        if merged {
            self.mark(Mark::DurableMerged);
        }
        self.step(at, input);
    }

    pub(super) fn on_signals(&mut self, at: usize, signals: Vec<Signal>) {
        for signal in signals {
            self.on_signal(at, signal);
        }
    }

    fn on_signal(&mut self, at: usize, signal: Signal) {
        match signal {
            Signal::Durable => self.schedule_durable(at),
            Signal::Platter(through) => {
                self.nodes[at].oracle.on_platter(through);
                self.note_at(at, Kind::GroupSynced, [through.0, 0, 0]);
                self.schedule_idle(at);
            }
            Signal::StoreDone(op) => self.input_late(at, 0, Input::StoreDone { op, result: Ok(()) }),
            Signal::DiskFailed(why) => {
                self.note_at(at, Kind::SyncFailed, [0, 0, 0]);
                self.on_disk_failed(at, why);
            }
            Signal::Recovered => self.on_recovered(at),
            Signal::GroupWrite(first, entries, bytes) => {
                self.note_at(at, Kind::GroupWrite, [first.0, u64::from(entries), bytes as u64]);
            }
            Signal::GroupWritten(last) => {
                self.note_at(at, Kind::GroupWritten, [last.0, 0, 0]);
                if let Some(process) = self.nodes[at].process() {
                    process.groups_untold += 1;
                }
            }
            Signal::FileReady(seq, first, recycled) => {
                self.note_at(at, Kind::FileReady, [seq, first.0, u64::from(recycled)]);
                if recycled {
                    self.mark(Mark::FileRecycled);
                }
            }
            Signal::FileReleased(seq, last, pinned) => {
                self.note_at(at, Kind::FileReleased, [seq, last.0, 0]);
                if pinned {
                    self.mark(Mark::LateFill);
                }
            }
            Signal::Snapshot(through, batches, bytes) => {
                self.note_at(at, Kind::Snapshot, [through.0, batches as u64, bytes as u64]);
            }
            Signal::SnapshotDone(through) => {
                self.note_at(at, Kind::SnapshotDone, [through.0, 0, 0]);
                self.mark(Mark::SnapshotTaken);
            }
            Signal::Dropped(op, files) => self.note_at(at, Kind::Dropped, [op.0, files, 0]),
        }
    }

    fn schedule_durable(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let (life, late) = (node.life, node.late());
        if let Some(process) = node.process()
            && !process.durable_scheduled
        {
            process.durable_scheduled = true;
            self.queue.push(self.now_us + late, What::Durable { node: at, life });
        }
    }

    fn schedule_idle(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let life = node.life;
        if let Some(process) = node.process()
            && !process.idle_scheduled
        {
            process.idle_scheduled = true;
            self.queue.push(self.now_us + 1_000, What::Idle { node: at, life });
        }
    }

    /// An input that arrives late.
    pub(super) fn input_late(&mut self, at: usize, least_us: u64, input: Input) {
        let node = &mut self.nodes[at];
        let (life, late) = (node.life, node.late());
        self.queue.push(self.now_us + least_us + late, What::Input { node: at, life, input: Box::new(input) });
    }

    fn on_reply(&mut self, at: usize, conn: ConnId, number: RequestNumber, response: Option<Box<Reply>>) {
        let Some(reply) = response else {
            self.reply_ready(at, conn, number, None);
            return;
        };
        match &reply.response {
            Response::Produce(produced) => self.judge_acks(at, produced),
            Response::Fetch(fetched) => self.judge_published(at, fetched),
            Response::ListOffsets(_)
            | Response::Metadata(_)
            | Response::ApiVersions(_)
            | Response::CreateTopics(_)
            | Response::DeleteTopics(_)
            | Response::InitProducerId(_)
            | Response::OffsetForLeaderEpoch(_)
            | Response::DescribeCluster(_) => {}
        }
        let node = &mut self.nodes[at];
        let (life, late) = (node.life, node.late());
        let State::Up(process) = &mut node.state else { return };
        let pending = process.store.take(*reply);
        if pending.is_empty() {
            let (reply, _) = process.store.fill(pending, &node.disk);
            self.reply_ready(at, conn, number, Some(reply));
            return;
        }
        let id = process.next_id();
        if let Some(conn) = process.conns.get_mut(&conn) {
            conn.filling += 1;
        }
        process.fills.insert(id, (conn, number, pending, late));
        self.queue.push(self.now_us + late, What::Fill { node: at, life, id });
    }

    pub(super) fn on_fill(&mut self, at: usize, id: u64) {
        let node = &mut self.nodes[at];
        let State::Up(process) = &mut node.state else { return };
        let Some((conn, number, pending, late)) = process.fills.remove(&id) else { return };
        let (reply, served) = process.store.fill(pending, &node.disk);
        if let Some(conn) = process.conns.get_mut(&conn) {
            conn.filling -= 1;
        }
        let bytes: usize = served.batches.iter().map(|(_, _, bytes)| bytes.len()).sum();
        self.note_at(at, Kind::Fill, [conn.0, bytes as u64, late]);
        for (mark, count) in [Mark::ReadFromTail, Mark::ReadFromJournal, Mark::ReadFromSegment].into_iter().zip(served.sources) {
            if count > 0 {
                self.mark(mark);
            }
        }
        if !served.damaged.is_empty() {
            self.mark(Mark::DamageRefusedAtRead);
        }
        for (partition, batch, bytes) in &served.batches {
            let oracle = &mut self.nodes[at].oracle;
            let said = s24::check_served(oracle.logs.get(partition), *partition, bytes);
            if let Some(batch) = oracle.logs.get_mut(partition).and_then(|log| log.at_mut(batch.base)) {
                batch.served = true;
            }
            self.hear(Judge::S24, at, said);
        }
        self.reply_ready(at, conn, number, Some(reply));
    }

    pub(super) fn on_look(&mut self, at: usize, id: u64) {
        let node = &mut self.nodes[at];
        let State::Up(process) = &mut node.state else { return };
        let Some((op, pending)) = process.looks.remove(&id) else { return };
        let result = process.store.look(&pending, &node.disk);
        self.step(at, Input::ReadDone { op, result });
    }

    /// S12, and what S1 will ask for later.
    fn judge_acks(&mut self, at: usize, response: &ProduceResponse) {
        for topic in &response.responses {
            let Some(topic_id) = resolve(&self.nodes[at].oracle, topic.topic_id, &topic.name) else { continue };
            for part in topic.partition_responses.iter().filter(|part| part.error_code == 0) {
                let partition = TopicPartition { topic_id, partition: PartitionIndex(part.index) };
                let base = Offset(part.base_offset);
                let node = &mut self.nodes[at];
                let always = node.flushes_always();
                let State::Up(process) = &node.state else { return };
                let found = process.store.find(partition, base);
                let on_platter = found.map(|batch| process.store.is_on_platter(batch, &node.disk));
                let lsn = node.oracle.logs.get(&partition).and_then(|log| log.at(base)).map(|batch| batch.lsn);
                let hit = lsn.is_some_and(|lsn| node.oracle.was_hit(lsn));
                let said = s12::check_ack(node.oracle.logs.get(&partition), partition, base, on_platter);
                if let Some(batch) = node.oracle.logs.get_mut(&partition).and_then(|log| log.at_mut(base)) {
                    batch.acked = true;
                }
                if always && !hit {
                    self.hear(Judge::S12, at, said);
                }
            }
        }
    }

    fn judge_published(&mut self, at: usize, response: &FetchResponse) {
        for topic in &response.responses {
            let Some(topic_id) = resolve(&self.nodes[at].oracle, topic.topic_id, &topic.topic) else { continue };
            for data in topic.partitions.iter().filter(|data| data.error_code == ErrorCode::None.code()) {
                let partition = TopicPartition { topic_id, partition: PartitionIndex(data.partition_index) };
                let published = s6::Published {
                    log_start: data.log_start_offset,
                    last_stable: data.last_stable_offset,
                    high_watermark: data.high_watermark,
                };
                let log = self.nodes[at].oracle.logs.entry(partition).or_default();
                let said = s6::check_published(log, published).map_err(|says| format!("{partition}: {says}"));
                self.hear(Judge::S6, at, said);
            }
        }
    }
}

/// The topic that an answer is about, by id or name.
fn resolve(oracle: &Oracle, topic_id: Uuid, name: &str) -> Option<Uuid> {
    if topic_id == Uuid::ZERO { oracle.topic_named(name) } else { Some(topic_id) }
}

fn input_code(input: &Input) -> u64 {
    match input {
        Input::ConnOpened { .. } => 1,
        Input::Request { .. } => 2,
        Input::ConnClosed { .. } => 3,
        Input::Durable { .. } => 4,
        Input::ReadDone { .. } => 5,
        Input::StoreDone { .. } => 6,
        Input::DiskFailed { .. } => 7,
        Input::Space { .. } => 8,
        Input::Wake => 9,
        Input::Stop => 10,
    }
}
