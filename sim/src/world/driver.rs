//! The driver of a process: steps the broker, does what its outputs ask for, and brings it what the store has to say.

use super::World;
use super::node::{Node, State, clock, moment};
use super::queue::{LaneId, What, pace};
use crate::judges::assembly;
use crate::marks::Mark;
use crate::plan::Flush;
use crate::store::Signal;
use crate::trace::{Kind, input_number};
use bytes::Bytes;
use seedlog_core::door::ClientBody;
use seedlog_core::ids::OpId;
use seedlog_core::input::{Input, LogDir, ReadResult};
use seedlog_core::journal::Entry;
use seedlog_core::log::{CompactionOrder, CompactionResult};
use seedlog_core::output::{HaltReason, Output, Outputs, StoreCommand};
use seedlog_core::records::BatchHeader;

/// A walk through all logs takes so long, at least.
const LOOK_US: u64 = 2_000;

impl World {
    /// One step of a broker and everything that its outputs ask for.
    pub(super) fn step(&mut self, at: usize, input: Input) {
        let node = &mut self.nodes[at];
        let clocks = node.clocks();
        let State::Up(process) = &mut node.state else { return };
        if process.stopped {
            return;
        }
        if let Input::Request { request, .. } = &input
            && let ClientBody::DeleteRecords(request) = &request.body
        {
            assembly::on_delete_records(&mut self.truth, Some(&process.seen), request);
        }
        let code = input_number(&input);
        let was_read = matches!(input, Input::BatchesRead { .. });
        let was_pass = matches!(input, Input::Compacted { result: CompactionResult::Done(_), .. });
        self.answers_late = !matches!(input, Input::Request { .. });
        let mut outputs = Outputs::new();
        let heard = self.aloud.then(|| format!("{input:?}"));
        process.broker.step(clock(self.now_us, process.started_us, clocks), input, &mut outputs);
        self.steps += 1;
        let last = process.broker.last_lsn().0;
        let count = outputs.len();
        let taken = if count > 1 && node.cut.is_some() { 1 + node.driver.index(count - 1) } else { count };
        self.note_at(at, Kind::Step, [code, count as u64, last]);
        if let Some(heard) = heard {
            self.trace.say(heard);
            outputs.iter().for_each(|output| self.trace.say(format!("  {output:?}")));
        }
        self.take_entries(at, &outputs);
        if was_pass && !outputs.iter().any(is_swap) {
            self.mark(Mark::PassRefused);
        }
        self.observe(at, &outputs);
        self.witness(at, |witness, broker| {
            broker.into_iter().for_each(|broker| witness.on_groups(broker, &outputs, was_read));
        });
        self.observe_voters(at);
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
        let (_, drift_ppm) = node.clocks();
        let (life, late, spurious) = (node.life, node.late(), node.driver.chance(10));
        let spurious_us = self.now_us + node.driver.below(50_000);
        let State::Up(process) = &mut node.state else { return };
        if !process.submit_scheduled && process.store.has_entries() {
            process.submit_scheduled = true;
            self.queue.push(self.now_us + late.min(300), What::Submit { node: at, life });
        }
        if let Some((mono, _)) = process.broker.wake_at() {
            let due = moment(mono, process.started_us, drift_ppm);
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
            Output::Journal { entry, batch } => self.on_entry_out(at, &entry, batch.as_ref()),
            Output::Send { to, message, batches } => self.on_send(at, to, message, batches),
            Output::Read { op, extent, look } => {
                let node = &mut self.nodes[at];
                let (life, late) = (node.life, node.late());
                let Some(process) = node.process() else { return };
                let id = process.next_id();
                let pending = process.store.take_look(&extent, look);
                process.looks.insert(id, (op, pending));
                self.queue.push(self.now_us + late + 20, What::Look { node: at, life, id });
            }
            Output::ReadBatches { op, extent } => {
                let node = &mut self.nodes[at];
                let (life, late) = (node.life, node.fill_late());
                let Some(process) = node.process() else { return };
                let id = process.next_id();
                let pending = process.store.take_extent(&extent);
                process.reads.insert(id, (op, extent, pending));
                self.queue.push(self.now_us + late + 20, What::ReadBack { node: at, life, id });
            }
            Output::FindExpired { op, partition, up_to, retention } => {
                let Node { state, oracle, .. } = &mut self.nodes[at];
                let State::Up(process) = state else { return };
                let log = oracle.logs.get(&partition);
                let timestamp = |base| {
                    log.and_then(|log| log.at(base)).map_or(-1, |held| held.batch.header.max_timestamp)
                };
                let start = process.store.find_expired(partition, up_to, &retention, timestamp);
                let found = |offset| ReadResult::Found { offset, timestamp_ms: -1 };
                let result = start.map_or(ReadResult::NotFound, found);
                self.input_late(at, LOOK_US, Input::ReadDone { op, result });
            }
            Output::Compact { op, order } => self.on_compact(at, op, &order),
            Output::MeasureLogs { op, partitions } => {
                // How large they are is nobody's business here.
                let sizes = partitions.into_iter().map(|partition| (partition, 0)).collect();
                let dir = LogDir { path: "logs".to_owned(), total_bytes: None, usable_bytes: None, sizes };
                self.mark(Mark::LogsMeasured);
                self.input_late(at, LOOK_US, Input::LogsMeasured { op, dir });
            }
            Output::Store { op, command } => self.on_command(at, op, command),
            Output::Halt { reason } => self.on_halt(at, &reason),
        }
    }

    fn on_compact(&mut self, at: usize, op: OpId, order: &CompactionOrder) {
        let ended = match self.nodes[at].store_and_disk() {
            Some((store, now)) => store.compact(op, order, (now.disk, now.full)),
            None => return,
        };
        if let Some(result) = ended {
            self.input_late(at, LOOK_US, Input::Compacted { op, result });
        }
        self.kick(at);
    }

    fn on_command(&mut self, at: usize, op: OpId, command: StoreCommand) {
        let mut signals = Vec::new();
        if let Some((store, now)) = self.nodes[at].store_and_disk() {
            store.command(op, command, now.disk, &mut signals);
        }
        self.on_signals(at, signals);
        self.kick(at);
    }

    fn on_entry_out(&mut self, at: usize, entry: &Entry, batch: Option<&(BatchHeader, Bytes)>) {
        let batch = batch.map(|(header, bytes)| (header, &bytes[..]));
        if let Some(process) = self.nodes[at].process() {
            process.store.push(entry, batch);
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
        let background = node.numbers.background_factor;
        for lane in [LaneId::Journal, LaneId::Background] {
            let Some((store, now)) = node.store_and_disk() else { return };
            let factor = match lane {
                LaneId::Journal => factor,
                LaneId::Background => factor * background,
            };
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
        let Flush::Interval { sync_ms } = node.flush else { return };
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
            Signal::GroupWritten(last, hash) => {
                self.note_at(at, Kind::GroupWritten, [last.0, hash, 0]);
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
            Signal::Compacted(op, partition, compaction) => {
                let bytes = compaction.segments.iter().map(|segment| segment.bytes).sum();
                self.note_at(at, Kind::Compacted, [op.0, compaction.segments.len() as u64, bytes]);
                self.judge_compaction(at, partition);
                let pass_ms = self.plan.cluster.tables.map_or(0, |tables| tables.pass_ms);
                let pass_us = self.nodes[at].driver.below(pass_ms * 1_000 + 1);
                self.input_late(
                    at,
                    pass_us,
                    Input::Compacted { op, result: CompactionResult::Done(compaction) },
                );
            }
            Signal::Dropped(op, files) => {
                self.note_at(at, Kind::Dropped, [op.0, files, 0]);
                if files > 0 {
                    self.mark(Mark::FilesDropped);
                }
            }
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
        self.queue
            .push(self.now_us + least_us + late, What::Input { node: at, life, input: Box::new(input) });
    }
}

/// New segments become a log's.
fn is_swap(output: &Output) -> bool {
    matches!(output, Output::Journal { entry: Entry::Compacted { .. }, .. })
}
