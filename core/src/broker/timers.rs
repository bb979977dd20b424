//! The broker's timers: one queue, each timer armed once at most.

use super::WaiterId;
use crate::fetch::SessionKey;
use crate::ids::{TopicPartition, Uuid};
use crate::time::MonoMs;
use alloc::collections::{BTreeMap, BTreeSet};

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The first step.
    Start,
    /// A request that waits for several partitions has waited long enough.
    Parts(WaiterId),
    /// A fetch has.
    Fetch(SessionKey),
    /// A forwarded request has.
    Forward(u64),
    /// Files of a deleted topic could not be removed.
    Drop(Uuid),
    /// Logs are looked at for what is too old or too much.
    Retention,
    /// Idle producers are looked for.
    ProducerExpiry,
    /// Voters that are blank look for each other.
    Founding,
    /// The quorum's leader was silent for too long.
    Election,
    /// The quorum's leader lets itself be heard.
    QuorumBeat,
    /// What was sent to peers and not answered is looked at.
    Resend,
    /// A member of a partition's ISR may have fallen behind for too long.
    Lag(TopicPartition),
    /// The controller lets a silent broker go.
    BrokerSessions,
    /// The broker lets itself be heard by the controller.
    BrokerBeat,
    /// Leadership is moved back to preferred leaders.
    Rebalance,
    /// A stopping broker has tried long enough to hand over what it leads.
    Shutdown,
}

impl Timer {
    /// For logs and traces.
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Parts(_) => "request timeout",
            Self::Fetch(_) => "fetch wait",
            Self::Forward(_) => "forward timeout",
            Self::Drop(_) => "retry of a removal",
            Self::Retention => "retention",
            Self::ProducerExpiry => "producer expiry",
            Self::Founding => "founding",
            Self::Election => "election",
            Self::QuorumBeat => "quorum beat",
            Self::Resend => "resend",
            Self::Lag(_) => "replica lag",
            Self::BrokerSessions => "broker sessions",
            Self::BrokerBeat => "broker beat",
            Self::Rebalance => "rebalance",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Timers {
    by_time: BTreeSet<(MonoMs, Timer)>,
    by_timer: BTreeMap<Timer, MonoMs>,
}

impl Timers {
    /// Arms a timer, in place of what it was armed for.
    pub(super) fn arm(&mut self, at: MonoMs, timer: Timer) {
        if let Some(old) = self.by_timer.insert(timer, at) {
            self.by_time.remove(&(old, timer));
        }
        self.by_time.insert((at, timer));
    }

    /// Arms a timer, unless it is armed for an earlier moment.
    pub(super) fn arm_by(&mut self, at: MonoMs, timer: Timer) {
        if self.by_timer.get(&timer).is_none_or(|&armed| at < armed) {
            self.arm(at, timer);
        }
    }

    /// A timer that is not needed.
    pub(super) fn disarm(&mut self, timer: Timer) {
        if let Some(at) = self.by_timer.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    /// The next timer that is due.
    pub(super) fn pop_due(&mut self, now: MonoMs) -> Option<Timer> {
        let &(at, timer) = self.by_time.first().filter(|(at, _)| *at <= now)?;
        self.by_time.remove(&(at, timer));
        self.by_timer.remove(&timer);
        Some(timer)
    }

    /// The next timer.
    pub(super) fn first(&self) -> Option<(MonoMs, Timer)> {
        self.by_time.first().copied()
    }

    /// None is left.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
