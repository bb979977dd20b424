//! Compaction: whether a log is worth a cleaning pass, up to where, and what a pass that was made does to the log's numbers
//! (`cleanup.policy=compact`, KIP-58, KIP-354). The store knows the segments and does the work, the broker knows the settings
//! and decides; both stores, the node's and the simulator's, ask here.
//!
//! ```text
//!   order ───────► the store reads the segments, writes new ones beside them, syncs them ───────► Compaction
//!                                                                                                     │
//!   old files go ◄── on disk ── Entry::Compacted: from here on the new segments are the log's ◄────────┘
//! ```
//!
//! Each replica cleans its own copy: offsets stay, so that nobody needs to agree on when.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, Lsn, Offset, TopicPartition};
use crate::log::SegmentAge;
use crate::time::WallMs;

/// When a log is worth a pass, and how long its tombstones stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionRules {
    /// `min.cleanable.dirty.ratio` in parts per million.
    pub dirty_ppm_min: u32,
    /// `min.compaction.lag.ms`.
    pub lag_ms_min: i64,
    /// `max.compaction.lag.ms`; `i64::MAX` for none.
    pub lag_ms_max: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
}

/// A question to the store, and what to do if the answer is yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionOrder {
    /// The log.
    pub partition: TopicPartition,
    /// Which life of it.
    pub generation: Generation,
    /// Names the new files: no other pass of this node has it.
    pub made: Lsn,
    /// Where the log starts.
    pub start: Offset,
    /// The end of what a pass has been through: each key stands there once at most.
    pub dirty_from: Offset,
    /// Only segments that end here or before: all of them is committed, and none is the one that takes appends.
    pub up_to: Offset,
    /// Where the one that takes appends begins. The last segment that a store has may be on its way there still: it grows, unless
    /// it ends here.
    pub sealed_to: Offset,
    /// Tombstones from here on stay: a follower is on its way to them.
    pub tombstones_to: Offset,
    /// The clock of the pass.
    pub now: WallMs,
    /// The settings.
    pub rules: CompactionRules,
    /// `segment.bytes`: small segments are put together up to this size.
    pub segment_bytes: u64,
    /// Last offsets of the last batches of producers that the log knows, in order.
    pub producers_last: Vec<Offset>,
    /// Under which keys are hashed.
    pub hash_key: [u64; 2],
}

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompactionResult {
    /// The log was not worth one.
    NotDue,
    /// It came to nothing, and the log is as it was: there is no room, or its files went meanwhile.
    Failed,
    /// New segments are on disk.
    Done(Compaction),
}

/// Segments that take the place of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// Names the new files.
    pub made: Lsn,
    /// The segments within `from..to` are replaced.
    pub from: Offset,
    /// A bound of segments.
    pub to: Offset,
    /// Each key stands once at most below this.
    pub cleaned_to: Offset,
    /// Behind the last tombstone whose time was over and that is in none of them; 0 for none.
    pub tombstones_gone_to: Offset,
    /// The new segments, without gaps.
    pub segments: Vec<CompactedSegment>,
}

/// One new segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactedSegment {
    /// Where it begins.
    pub base: Offset,
    /// The offset after its last.
    pub next: Offset,
    /// Its size.
    pub bytes: u64,
    /// Lines of its side file.
    pub lines: u64,
    /// The greatest timestamp of its records in ms; below 0 for none.
    pub max_timestamp: i64,
}

impl CompactionOrder {
    /// Up to where a pass goes, given the log's segments, oldest first, as far as they end at `up_to` or before. `None`: it is
    /// not worth it yet.
    #[must_use]
    pub fn end(&self, segments: &[SegmentAge]) -> Option<Offset> {
        let is_clean = |segment: &&SegmentAge| segment.next <= self.dirty_from;
        let is_old_enough = |segment: &&SegmentAge| {
            self.rules.lag_ms_min == 0
                || segment.max_timestamp <= self.now.0.saturating_sub(self.rules.lag_ms_min)
        };
        let clean = segments.iter().take_while(is_clean);
        let behind = &segments[clean.clone().count()..];
        let dirty = behind.iter().take_while(is_old_enough);
        let end = dirty.clone().last()?.next;
        let clean_bytes: u64 = clean.clone().map(|segment| segment.bytes).sum();
        let dirty_bytes: u64 = dirty.map(|segment| segment.bytes).sum();
        // Nobody wrote into the first dirty segment before the last clean one ended, so that this errs towards early. But as
        // producers date records, the clean ones may be younger.
        let latest = |segment: Option<&SegmentAge>| segment.map_or(i64::MIN, |segment| segment.max_timestamp);
        let since = latest(clean.last()).min(latest(behind.first()));
        let is_overdue =
            self.rules.lag_ms_max < i64::MAX && since <= self.now.0.saturating_sub(self.rules.lag_ms_max);
        let all = u128::from(clean_bytes) + u128::from(dirty_bytes);
        let is_dirty = u128::from(dirty_bytes) * 1_000_000 > all * u128::from(self.rules.dirty_ppm_min);
        (is_dirty || is_overdue).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PartitionIndex, Uuid};

    const HOUR_MS: i64 = 3_600_000;

    fn order(dirty_from: i64, rules: CompactionRules) -> CompactionOrder {
        CompactionOrder {
            partition: TopicPartition { topic_id: Uuid([1; 16]), partition: PartitionIndex(0) },
            generation: Generation(0),
            made: Lsn(1),
            start: Offset(0),
            dirty_from: Offset(dirty_from),
            up_to: Offset(40),
            sealed_to: Offset(40),
            tombstones_to: Offset(i64::MAX),
            now: WallMs(10 * HOUR_MS),
            rules,
            segment_bytes: 1 << 20,
            producers_last: Vec::new(),
            hash_key: [0; 2],
        }
    }

    fn rules(dirty_ppm_min: u32) -> CompactionRules {
        CompactionRules { dirty_ppm_min, lag_ms_min: 0, lag_ms_max: i64::MAX, delete_retention_ms: 0 }
    }

    /// Segments of ten offsets, each with its size and the hour of its last record.
    fn segments(of: &[(u64, i64)]) -> Vec<SegmentAge> {
        let segment = |(index, &(bytes, hour)): (usize, &(u64, i64))| SegmentAge {
            next: Offset(10 * (index as i64 + 1)),
            bytes,
            max_timestamp: hour * HOUR_MS,
        };
        of.iter().enumerate().map(segment).collect()
    }

    #[test]
    fn the_dirty_part_must_be_large_enough() {
        let of_three = segments(&[(100, 1), (50, 2), (49, 3)]);
        assert_eq!(order(10, rules(500_000)).end(&of_three), None);
        assert_eq!(order(10, rules(490_000)).end(&of_three), Some(Offset(30)));
        assert_eq!(order(0, rules(999_999)).end(&of_three), Some(Offset(30)));
        assert_eq!(order(30, rules(0)).end(&of_three), None, "nothing is new");
        assert_eq!(order(0, rules(0)).end(&[]), None);
    }

    #[test]
    fn young_records_wait() {
        let of_three = segments(&[(100, 1), (100, 8), (100, 3)]);
        let young = CompactionRules { lag_ms_min: 3 * HOUR_MS, ..rules(0) };
        assert_eq!(order(0, young).end(&of_three), Some(Offset(10)));
        assert_eq!(order(10, young).end(&of_three), None);
    }

    #[test]
    fn what_has_waited_long_is_due_however_little_it_is() {
        let of_two = segments(&[(1_000, 4), (1, 9)]);
        let within = |hours: i64| {
            order(10, CompactionRules { lag_ms_max: hours * HOUR_MS, ..rules(900_000) }).end(&of_two)
        };
        assert_eq!(within(7), None);
        assert_eq!(within(6), Some(Offset(20)));
        // A clean record that its producer dated ahead makes no other one wait.
        let ahead = segments(&[(1_000, 99), (1, 4)]);
        let overdue = CompactionRules { lag_ms_max: 6 * HOUR_MS, ..rules(900_000) };
        assert_eq!(order(10, overdue).end(&ahead), Some(Offset(20)));
    }
}
