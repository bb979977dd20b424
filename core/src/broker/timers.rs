//! What the broker's timers are for.

use super::WaiterId;
use crate::fetch::SessionKey;
use crate::ids::{TopicPartition, Uuid};

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
    /// Compacted logs are looked at.
    Compaction,
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
    /// Something is due in a group that is kept in a partition.
    Groups(TopicPartition),
    /// Offsets are looked for that nobody needs any more.
    GroupExpiry,
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
            Self::Compaction => "compaction",
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
            Self::Groups(_) => "groups",
            Self::GroupExpiry => "group expiry",
        }
    }
}

/// The queue.
pub(super) type Timers = crate::timers::Timers<Timer>;
