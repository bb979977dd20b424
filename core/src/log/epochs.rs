//! Which leader epoch each part of a log was written in: the epoch cache of KIP-101.
//!
//! An entry means "from this offset on, records are of this epoch". It is made when a leader is elected, before it
//! appends, or by the first batch of a new epoch on a follower. Epochs and start offsets both grow strictly; epoch 0 is
//! an epoch like any other.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ids::{LeaderEpoch, Offset};

/// An epoch and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Offset of its first record, present or to come.
    pub start: Offset,
}

/// Answer to "where does this epoch end?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch of the log that is no larger than the requested one.
    pub epoch: LeaderEpoch,
    /// Where the next one starts, or the log's end.
    pub end: Offset,
}

/// The epochs of one log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EpochCache {
    entries: Vec<EpochStart>,
}

impl EpochCache {
    /// Records that `epoch` starts at `start`. Entries at or behind `start` never got a record and give way; an epoch
    /// that is already the latest keeps its start.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        assert!(epoch.0 >= 0, "epochs begin at 0");
        if let Some(latest) = self.latest() {
            assert!(epoch >= latest, "a log never goes back to an older epoch");
            if epoch == latest {
                return;
            }
        }
        self.truncate_from(start);
        self.entries.push(EpochStart { epoch, start });
    }

    /// Removes the epochs that start at or behind the log's new end (A7: also when no record is cut).
    pub fn truncate_from(&mut self, end: Offset) {
        let keep = self.entries.partition_point(|entry| entry.start < end);
        self.entries.truncate(keep);
    }

    /// Removes the epochs that end at or before the log's new start; the one that reaches over it begins there.
    pub fn advance_start(&mut self, start: Offset) {
        let covering = self.entries.partition_point(|entry| entry.start <= start);
        if let Some(last) = covering.checked_sub(1) {
            self.entries.drain(..last);
            self.entries[0].start = start;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The latest epoch.
    #[must_use]
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// The epoch that the record at `offset` is of, if the log knows.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start <= offset);
        after.checked_sub(1).map(|i| self.entries[i].epoch)
    }

    /// Where the largest epoch up to `requested` ends, as OffsetForLeaderEpoch answers it (KIP-101, KIP-279). An epoch
    /// before the oldest known one ends where that one starts: its records are gone. `None` for an epoch that is newer
    /// than all, or -1.
    #[must_use]
    pub fn end_of(&self, requested: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        if requested.0 < 0 {
            return None;
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= requested);
        match (higher.checked_sub(1).map(|i| self.entries[i].epoch), self.entries.get(higher)) {
            (Some(epoch), Some(next)) => Some(EpochEnd { epoch, end: next.start }),
            (None, Some(next)) => Some(EpochEnd { epoch: requested, end: next.start }),
            (Some(epoch), None) => (epoch == requested).then_some(EpochEnd { epoch, end: log_end }),
            (None, None) => None,
        }
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// Panics unless epochs and starts grow strictly and stay within the log (S9).
    pub fn check_invariants(&self, start: Offset, end: Offset) {
        assert!(self.entries.is_sorted_by(|a, b| a.epoch < b.epoch), "epochs grow strictly");
        assert!(self.entries.is_sorted_by(|a, b| a.start < b.start), "epoch starts grow strictly");
        assert!(self.entries.iter().all(|entry| entry.epoch.0 >= 0), "epochs begin at 0");
        assert!(self.entries.last().is_none_or(|entry| entry.start <= end), "no epoch starts behind the end");
        assert!(
            self.entries.get(1).is_none_or(|entry| entry.start > start),
            "one epoch at most reaches the start"
        );
    }
}
