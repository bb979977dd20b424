//! Compaction: every replica has the store clean its own copy of a compacted log, one log at a time (`cleanup.policy=compact`).
//!
//! What the store did counts from the moment that the journal says so, and only if the log is still the one that was read.

use super::Broker;
use super::timers::Timer;
use crate::ids::{Generation, Offset, OpId, TopicPartition};
use crate::journal::Entry;
use crate::log::{Compaction, CompactionOrder, CompactionResult, KeptBatch};
use crate::museum::exhibit;
use crate::output::{Output, Outputs};
use crate::replica::Replica;
use crate::replica::progress::Progress;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Bound;

/// Partitions that are looked at in one step.
const LOOKED_AT_MAX: usize = 1_000;
/// How long until the next ones are, in ms.
const PAUSE_MS: u64 = 50;

/// A round through the partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CompactionRound {
    /// The last partition that was looked at; `None` between two rounds.
    last: Option<TopicPartition>,
    /// What the store is about.
    pass: Option<Pass>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pass {
    op: OpId,
    partition: TopicPartition,
    generation: Generation,
    /// Where the log started.
    start: Offset,
}

impl Broker {
    /// The next round begins after `log.cleaner.backoff.ms`.
    pub(super) fn arm_compaction(&mut self) {
        if let Some(backoff_ms) = self.config.cleaner_backoff_ms {
            self.timers.arm(self.now.mono + backoff_ms, Timer::Compaction);
        }
    }

    /// Timer: the next log of a round, or the first one of the next.
    pub(super) fn on_compaction(&mut self, out: &mut Outputs) {
        if !self.is_writable() || self.compaction.pass.is_some() {
            return;
        }
        let from = self.compaction.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        let mut next = None;
        for &partition in self.replicas.range((from, Bound::Unbounded)).take(LOOKED_AT_MAX).map(|(p, _)| p) {
            last = Some(partition);
            next = self.compaction_order(partition);
            if next.is_some() {
                break;
            }
        }
        self.compaction.last = last;
        if let Some(mut order) = next {
            order.hash_key = [self.random.next_u64(), self.random.next_u64()];
            let op = self.next_op();
            let CompactionOrder { partition, generation, start, .. } = order;
            self.compaction.pass = Some(Pass { op, partition, generation, start });
            out.push(Output::Compact { op, order: Box::new(order) });
        } else if last.is_some() {
            self.timers.arm(self.now.mono + PAUSE_MS, Timer::Compaction);
        } else {
            self.arm_compaction();
        }
    }

    /// What the store is asked of a log, if it may have anything to clean.
    fn compaction_order(&self, partition: TopicPartition) -> Option<CompactionOrder> {
        let settings = self.topic_settings(partition);
        let replica = self.replicas.get(&partition)?;
        let log = replica.log();
        // F6: records that a change of leader cuts off again take older ones of their keys with them.
        let committed = exhibit!(F6, replica.high_watermark(), log.end());
        let sealed_to = log.active_segment().base;
        let up_to = committed.min(sealed_to);
        let dirty_from = log.cleaned_to().max(log.start());
        let is_due = settings.is_compacted && dirty_from < up_to;
        if !is_due || replica.damage().is_some() || self.coordinators.is_reading(partition) {
            return None;
        }
        let last_offsets = log.producers().iter().filter_map(|(_, state)| state.batches().last());
        let last_offsets = last_offsets.map(KeptBatch::last_offset);
        let mut producers_last: Vec<Offset> =
            last_offsets.filter(|offset| log.start() <= *offset && *offset < up_to).collect();
        producers_last.sort_unstable();
        Some(CompactionOrder {
            partition,
            generation: log.generation(),
            made: self.journal.last,
            start: log.start(),
            dirty_from,
            up_to,
            sealed_to,
            tombstones_to: self.tombstones_to(replica),
            now: self.now.wall,
            rules: settings.compaction,
            segment_bytes: u64::from(settings.segment_bytes),
            producers_last,
            hash_key: [0; 2],
        })
    }

    /// Tombstones stay for followers that are on their way to them: one that copies all of a log must come to its end some time,
    /// however short the time is that tombstones stay.
    fn tombstones_to(&self, replica: &Replica) -> Offset {
        let (now, lag_ms) = (self.now.mono, self.config.timings.replica_lag_ms_max);
        let followers = replica.leader().into_iter().flat_map(|leader| leader.followers().values());
        let heard = followers.filter(|progress| progress.heard_at().is_some_and(|at| now - at <= lag_ms));
        heard.filter_map(Progress::acked).min().unwrap_or(Offset(i64::MAX))
    }

    /// The store has ended a pass.
    pub(super) fn on_compacted(&mut self, op: OpId, result: CompactionResult, out: &mut Outputs) {
        let Some(pass) = self.compaction.pass.take_if(|pass| pass.op == op) else { return };
        if !self.is_writable() {
            return;
        }
        match result {
            CompactionResult::Done(compaction) => self.swap_in(pass, compaction, out),
            CompactionResult::NotDue | CompactionResult::Failed => {}
        }
        self.timers.arm(self.now.mono, Timer::Compaction);
    }

    /// Gives the log its new segments, unless it is another one by now: then the store lets go of them (SAFETY J8).
    fn swap_in(&mut self, pass: Pass, mut compaction: Compaction, out: &mut Outputs) {
        let partition = pass.partition;
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        // What was read may have been cut off or begun anew since.
        if replica.log().generation() != pass.generation || replica.damage().is_some() {
            return;
        }
        // A load that has read a record must come to its tombstone, which the pass may have dropped.
        if self.coordinators.is_reading(partition) {
            return;
        }
        // F8: as if segments were counted, and not named: what went from the front meanwhile is taken from what lives.
        let to = compaction.to;
        compaction.to = exhibit!(F8, to, to.plus(replica.log().start().0 - pass.start.0));
        replica.compacted(&compaction);
        self.journal(Entry::Compacted { partition, compaction: Box::new(compaction) }, out);
    }
}
