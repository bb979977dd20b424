//! What was asked to be deleted from the front of logs: records before it may be missing, each from its trim's `invoke` on.

use super::PartitionId;
use crate::history::{Line, Offset};

/// What one trim asks of one partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trim {
    pub(super) partition: PartitionId,
    pub(super) invoked: Line,
    /// Its completion, of whatever type.
    pub(super) ended: Option<Line>,
    /// Records before it may be gone; `None`: any record.
    pub(super) before: Option<Offset>,
    /// It was certainly not done.
    pub(super) failed: bool,
}

/// All trims of a history.
#[derive(Debug, Default)]
pub(crate) struct Trims(pub(super) Vec<Trim>);

impl Trims {
    fn of(&self, partition: PartitionId) -> impl Iterator<Item = &Trim> {
        self.0.iter().filter(move |trim| trim.partition == partition && !trim.failed)
    }

    /// Below it, records of a partition may be gone at a line.
    pub(crate) fn bound(&self, partition: PartitionId, at: Line) -> Offset {
        let begun = self.of(partition).filter(|trim| trim.invoked < at);
        begun.map(|trim| trim.before.unwrap_or(Offset(u64::MAX))).max().unwrap_or(Offset(0))
    }

    /// The same at the end of the history.
    pub(crate) fn last_bound(&self, partition: PartitionId) -> Offset {
        self.bound(partition, Line(u64::MAX))
    }

    /// A record whose offset nobody knows may be gone at a line, if it was sent at another one.
    pub(crate) fn may_have_taken(&self, partition: PartitionId, sent: Line, at: Line) -> bool {
        self.of(partition).any(|trim| trim.invoked < at && trim.ended.is_none_or(|ended| ended > sent))
    }
}
