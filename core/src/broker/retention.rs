//! Retention: a leader asks the store, every now and then, which segments of its logs are too old or too many, and moves the
//! logs' starts behind them; followers learn of the starts as of any other (SAFETY R7).

use super::Broker;
use super::timers::Timer;
use crate::ids::{OpId, TopicPartition};
use crate::input::ReadResult;
use crate::log::Retention;
use crate::output::{Output, Outputs};
use crate::time::WallMs;
use alloc::collections::BTreeMap;
use core::ops::Bound;

/// Partitions that are looked at in one step.
const LOOKED_AT_MAX: usize = 1_000;
/// How long until the next ones are, in ms.
const PAUSE_MS: u64 = 50;

/// A round through the partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RetentionRound {
    /// The last partition that was looked at; `None` between two rounds.
    last: Option<TopicPartition>,
    /// Questions to the store.
    asked: BTreeMap<OpId, TopicPartition>,
}

impl Broker {
    /// The next round begins after `log.retention.check.interval.ms`.
    pub(super) fn arm_retention(&mut self) {
        self.timers.arm(self.now.mono + self.config.retention_check_ms, Timer::Retention);
    }

    /// Timer: the next partitions of a round, or the first ones of the next.
    pub(super) fn on_retention(&mut self, out: &mut Outputs) {
        if !self.is_writable() {
            return;
        }
        if !self.retention.asked.is_empty() {
            self.timers.arm(self.now.mono + PAUSE_MS, Timer::Retention);
            return;
        }
        let from = self.retention.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        let mut questions = alloc::vec::Vec::new();
        for (&partition, replica) in self.replicas.range((from, Bound::Unbounded)).take(LOOKED_AT_MAX) {
            last = Some(partition);
            let up_to = replica.high_watermark();
            let is_led = replica.leader().is_some() && replica.damage().is_none();
            if is_led && replica.log().start() < up_to {
                questions.push((partition, up_to));
            }
        }
        for (partition, up_to) in questions {
            let retention = self.retention_of(partition);
            if !retention.is_unlimited() {
                let op = self.next_op();
                self.retention.asked.insert(op, partition);
                out.push(Output::FindExpired { op, partition, up_to, retention });
            }
        }
        self.retention.last = last;
        if last.is_some() {
            self.timers.arm(self.now.mono + PAUSE_MS, Timer::Retention);
        } else {
            self.arm_retention();
        }
    }

    fn retention_of(&self, partition: TopicPartition) -> Retention {
        let settings = self.topic_settings(partition);
        let oldest = settings.retention_ms.map(|ms| WallMs(self.now.wall.0.saturating_sub(ms)));
        Retention { oldest, bytes_min: settings.retention_bytes }
    }

    /// The store has looked. `false`: the question was another's.
    pub(super) fn on_expired_found(&mut self, op: OpId, result: ReadResult, out: &mut Outputs) -> bool {
        let Some(partition) = self.retention.asked.remove(&op) else { return false };
        let leads = self.replicas.get(&partition).is_some_and(|replica| replica.leader().is_some());
        if let ReadResult::Found { offset, .. } = result
            && leads
        {
            self.advance_start(partition, offset, out);
        }
        true
    }
}
