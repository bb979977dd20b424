//! One partition's log as numbers: where it starts and ends, which epochs and producers wrote it, about how many bytes lie
//! where. Record bytes live in the journal and the segments; replication, commitment and roles are `replica`'s.
//!
//! `check_append` and `plan_*` only look. `append`, `truncate_to`, `advance_start`, `begin_epoch`, `expire` and `roll` apply
//! what the journal holds; leader, follower and recovery call the same ones in the same order and get equal logs. No clock
//! enters: what depends on time was decided before it was journaled.

mod compaction;
mod epochs;
mod producers;
mod retention;
mod sizes;
mod snapshot;

pub use compaction::{CompactedSegment, Compaction, CompactionOrder, CompactionResult, CompactionRules};
pub use epochs::{EpochCache, EpochEnd, EpochStart};
pub use producers::{BATCHES_KEPT, KeptBatch, ProducerState, ProducerTable, SequenceCheck, UNDO_MAX};
pub use retention::{Retention, SegmentAge};
pub use sizes::{MARK_SPACING_BYTES, MARKS_MAX, Sizes};
pub use snapshot::LogSnapshot;

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::errors::ErrorCode;
use crate::ids::{Generation, LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::records::{BatchHeader, NO_TIMESTAMP, TimestampType};
use crate::time::WallMs;

/// Why a leader does not append a client's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// A timestamp is further from the broker's clock than the topic allows (KIP-937).
    InvalidTimestamp,
    /// A newer epoch of this producer has written here (KIP-98).
    InvalidProducerEpoch {
        /// The epoch that this partition knows.
        current: ProducerEpoch,
    },
    /// A gap in the producer's sequence numbers, or a batch older than the five that are kept.
    OutOfOrderSequence {
        /// What would have been next.
        expected: i32,
        /// What the batch says.
        found: i32,
    },
    /// A batch outside of a transaction, while one of its producer's is open here.
    TransactionOpen,
    /// One more producer than the partition keeps; expiry will make room.
    TooManyProducers,
    /// More batches of producers are not committed than a follower could take back; commits will make room.
    TooManyUncommitted,
}

impl AppendError {
    /// The code that a Produce response carries.
    ///
    /// Too many producers is a quota, and its code is one that clients retry: nothing was appended, so a later try leaves
    /// no gap in the sequence. A fatal code would make the producer give up records that it can still place.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::InvalidTimestamp => ErrorCode::InvalidTimestamp,
            Self::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::TransactionOpen => ErrorCode::InvalidTxnState,
            Self::TooManyProducers | Self::TooManyUncommitted => ErrorCode::ThrottlingQuotaExceeded,
        }
    }
}

impl core::fmt::Display for AppendError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::InvalidTimestamp => f.write_str("a timestamp is out of the range that the topic allows"),
            Self::InvalidProducerEpoch { current } => {
                write!(f, "the producer's epoch {current} has written here")
            }
            Self::OutOfOrderSequence { expected, found } => {
                write!(f, "out of order sequence number {found}, expected {expected}")
            }
            Self::TransactionOpen => f.write_str("the producer has an open transaction in this partition"),
            Self::TooManyProducers => f.write_str("the partition keeps no more producers"),
            Self::TooManyUncommitted => f.write_str("too many batches of producers are not committed yet"),
        }
    }
}

impl core::error::Error for AppendError {}

/// What a topic and the broker allow of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendLimits {
    /// `message.timestamp.type`. Timestamps are checked only where they are the producer's.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_ms_max: i64,
    /// Most producers that the partition keeps state of.
    pub producers_max: usize,
    /// Whether a producer that is not known here must begin at sequence 0, as it must under transaction version 2
    /// (KAFKA-18202). In a log that never held a record every producer must.
    pub first_sequence_zero: bool,
}

/// When a leader or follower begins a new segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentLimits {
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.ms`, counted from the segment's first append.
    pub segment_ms: i64,
}

/// What to do with a client's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendCheck {
    /// Stamp it and append it.
    Append,
    /// It is in the log. Answer as for the original, once the original is committed (SAFETY R10).
    Duplicate {
        /// Offset of the original's first record.
        base_offset: Offset,
        /// Offset of the original's last record.
        last_offset: Offset,
        /// The original's maximum timestamp: its append time where the topic's timestamps are the broker's.
        max_timestamp: i64,
        /// The log's start.
        log_start: Offset,
    },
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Whether the batch is the first that this log knows of its epoch.
    pub new_epoch: bool,
}

/// What a truncation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Truncated {
    /// All went back to what it was at the cut.
    Done,
    /// The cut lies below what producers can be taken back to, and their table is empty: the caller must bring one with
    /// [`Log::replace_producers`] before the log takes appends.
    ProducersLost,
}

/// The segment that appends go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveSegment {
    /// Offset that it begins at.
    pub base: Offset,
    /// Bytes appended to it; after a truncation an upper bound.
    pub bytes: u64,
    /// When its first batch was appended.
    pub opened: Option<WallMs>,
}

impl ActiveSegment {
    fn empty(base: Offset) -> Self {
        Self { base, bytes: 0, opened: None }
    }
}

/// The numbers of one partition's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    start: Offset,
    end: Offset,
    generation: Generation,
    epochs: EpochCache,
    producers: ProducerTable,
    sizes: Sizes,
    active: ActiveSegment,
    /// The end of what a cleaning pass has been through.
    cleaned_to: Offset,
    /// Behind the last tombstone that a cleaning pass dropped, in this log or in the one that it was copied from.
    tombstones_gone_to: Offset,
}

// An idle partition may take 1 KiB in the core, replica state included (DESIGN 3).
const _: () = assert!(size_of::<Log>() <= 256);

impl Default for Log {
    fn default() -> Self {
        Self::new(Generation(0))
    }
}

impl Log {
    /// An empty log from offset 0. Allocates nothing.
    #[must_use]
    pub fn new(generation: Generation) -> Self {
        Self {
            start: Offset::ZERO,
            end: Offset::ZERO,
            generation,
            epochs: EpochCache::default(),
            producers: ProducerTable::default(),
            sizes: Sizes::default(),
            active: ActiveSegment::empty(Offset::ZERO),
            cleaned_to: Offset::ZERO,
            tombstones_gone_to: Offset::ZERO,
        }
    }

    /// Applies the append of a stamped batch. `append_time` is the wall clock of the leader that appended it first; it is
    /// journaled and pushed with the batch, so that every replica and every replay counts from the same instant.
    ///
    /// Panics when the batch does not follow the log's end or goes back to an older epoch: [`Log::follows`] tells before.
    /// A batch may leave offsets out, as a cleaned log does. The first batch of an empty log may reach over its start: the
    /// log was reset to a start within a batch of its leader's.
    pub fn append(&mut self, stamped: &BatchHeader, append_time: WallMs) -> Appended {
        assert!(self.follows(stamped), "a batch follows the log's end, stamped with its leader's epoch");
        let first_offset = stamped.base_offset.max(self.end);
        let new_epoch = self.epochs.latest() != Some(stamped.leader_epoch);
        if new_epoch {
            self.epochs.assign(stamped.leader_epoch, first_offset);
        }
        if stamped.has_producer_id() {
            self.producers.append(stamped, append_time);
        }
        self.sizes.append(first_offset, stamped.batch_bytes);
        self.active.bytes += u64::from(stamped.batch_bytes);
        self.active.opened.get_or_insert(append_time);
        self.end = stamped.next_offset();
        self.assert_bounds();
        Appended { base_offset: stamped.base_offset, last_offset: stamped.last_offset(), new_epoch }
    }

    /// Applies the append of one entry of the metadata log, which takes one offset and whose bytes are not kept here.
    pub fn append_entry(&mut self, epoch: LeaderEpoch) {
        if self.epochs.latest() != Some(epoch) {
            self.epochs.assign(epoch, self.end);
        }
        self.end = self.end.plus(1);
        self.assert_bounds();
    }

    /// Applies the start of a leader's epoch at the log's end, before its first append (KAFKA-7415).
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        self.epochs.assign(epoch, self.end);
        self.assert_bounds();
    }

    /// Cuts the log at `offset`, the boundary of a batch within the log, and takes back what came after. A cut at the end
    /// still removes epochs that begin there (KAFKA-10706); only one below it makes a new generation.
    pub fn truncate_to(&mut self, offset: Offset) -> Truncated {
        assert!(offset >= self.start, "a log is never cut below its start; it is reset");
        assert!(offset <= self.end, "a cut lies within the log");
        self.epochs.truncate_from(offset);
        if offset == self.end {
            return Truncated::Done;
        }
        self.bump_generation();
        let cut_bytes = self.sizes.truncate_to(offset);
        if offset <= self.active.base {
            self.active = ActiveSegment::empty(offset);
        } else {
            self.active.bytes = self.active.bytes.saturating_sub(cut_bytes);
        }
        self.end = offset;
        self.cleaned_to = self.cleaned_to.min(offset);
        let producers_undone = self.producers.truncate_to(offset);
        self.assert_bounds();
        if producers_undone { Truncated::Done } else { Truncated::ProducersLost }
    }

    /// Empties the log and starts it anew at `offset`: a follower that its leader cannot bring further (SAFETY R7).
    /// `tombstones_gone_to` is the leader's, whose log is copied from here on.
    pub fn reset_to(&mut self, offset: Offset, tombstones_gone_to: Offset) {
        self.bump_generation();
        *self = Self {
            start: offset,
            end: offset,
            active: ActiveSegment::empty(offset),
            tombstones_gone_to,
            ..Self::new(self.generation)
        };
        self.assert_bounds();
    }

    /// Takes a producer table from elsewhere: the leader's at a reset, or one rebuilt from headers.
    pub fn replace_producers(&mut self, producers: ProducerTable) {
        self.producers = producers;
        self.producers.forget_undo_below(self.end);
        self.producers.check_invariants(self.end);
    }

    /// Moves the start forward, by retention or DeleteRecords. A log of which nothing is left begins a new segment.
    /// `false` when it is there or further already. Producers stay: that their records are gone does not mean that they
    /// are (KIP-360).
    pub fn advance_start(&mut self, offset: Offset) -> bool {
        assert!(offset <= self.end, "a start behind the end is a reset");
        if offset <= self.start {
            return false;
        }
        self.start = offset;
        self.epochs.advance_start(offset);
        self.sizes.advance_start(offset);
        if self.is_empty() {
            self.roll(); // No segment is left either.
        }
        self.assert_bounds();
        true
    }

    /// Begins a new segment at the log's end.
    pub fn roll(&mut self) {
        self.active = ActiveSegment::empty(self.end);
    }

    /// Applies a cleaning pass: below `to` each key stands once at most, and below `tombstones_gone_to` tombstones were dropped.
    /// Panics when it went past the log's end.
    pub fn compacted(&mut self, to: Offset, tombstones_gone_to: Offset) {
        self.cleaned_to = self.cleaned_to.max(to);
        self.tombstones_gone_to = self.tombstones_gone_to.max(tombstones_gone_to);
        self.assert_bounds();
    }

    /// Removes producers by a decision that the journal holds (SAFETY R10).
    pub fn expire(&mut self, ids: &[ProducerId]) {
        self.producers.expire(ids);
    }

    /// Gives up the means to truncate below the high watermark without losing the producers.
    pub fn forget_undo_below(&mut self, high_watermark: Offset) {
        self.producers.forget_undo_below(high_watermark.min(self.end));
    }

    /// Decides about a client's batch, at the leader. Changes nothing: the table follows the append (KAFKA-6683).
    ///
    /// A duplicate is recognised before its timestamps are looked at: it was accepted when they were in range.
    ///
    /// # Errors
    /// Any [`AppendError`].
    pub fn check_append(
        &self,
        header: &BatchHeader,
        now: WallMs,
        limits: &AppendLimits,
    ) -> Result<AppendCheck, AppendError> {
        if header.has_producer_id() {
            // KAFKA-15591: where nothing was ever written, a later sequence can only have overtaken an earlier one.
            let first_sequence_zero = limits.first_sequence_zero || self.end == Offset::ZERO;
            match self.producers.check(header, first_sequence_zero, limits.producers_max)? {
                SequenceCheck::Next if self.producers.is_full_of_undo() => {
                    return Err(AppendError::TooManyUncommitted);
                }
                SequenceCheck::Next => {}
                SequenceCheck::Duplicate(batch) => {
                    return Ok(AppendCheck::Duplicate {
                        base_offset: batch.base_offset,
                        last_offset: batch.last_offset(),
                        max_timestamp: batch.max_timestamp,
                        log_start: self.start,
                    });
                }
            }
        }
        match limits.timestamp_type {
            TimestampType::CreateTime => check_timestamps(header, now, limits)?,
            TimestampType::LogAppendTime => {}
        }
        Ok(AppendCheck::Append)
    }

    /// Whether `header` may be appended next: it begins at the log's end or behind, or reaches over an empty log's start, in
    /// the latest epoch or a newer one.
    #[must_use]
    pub fn follows(&self, header: &BatchHeader) -> bool {
        let reaches_over_start = self.is_empty() && header.next_offset() > self.end;
        (header.base_offset >= self.end || reaches_over_start)
            && header.leader_epoch.0 >= 0
            && self.epochs.latest().is_none_or(|latest| header.leader_epoch >= latest)
    }

    /// Whether the active segment should end before a batch of `next` is appended.
    #[must_use]
    pub fn plan_roll(&self, next: &BatchHeader, now: WallMs, limits: &SegmentLimits) -> bool {
        // A cut that took all of it ended the segment before, which a cleaning pass may have read: nothing may join that one.
        let Some(opened) = self.active.opened else { return self.active.base > self.start };
        let full = self.active.bytes + u64::from(next.batch_bytes) > limits.segment_bytes;
        let old = now.0.saturating_sub(opened.0) >= limits.segment_ms;
        // Indexes of a segment count offsets from its base in 32 bits, as Kafka's do.
        let too_far =
            self.end.0 + i64::from(next.last_offset_delta) - self.active.base.0 > i64::from(i32::MAX);
        full || old || too_far
    }

    /// Producers that may be expired: idle for `expiration_ms`, all committed, no transaction open.
    #[must_use]
    pub fn plan_expiry(&self, now: WallMs, expiration_ms: i64) -> Vec<ProducerId> {
        self.producers.plan_expiry(now, expiration_ms)
    }

    /// Where `epoch` ends in this log; see [`EpochCache::end_of`].
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs.end_of(epoch, self.end)
    }

    /// The epoch that the record at `offset` was written in. `None` outside of the log.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let inside = self.start <= offset && offset < self.end;
        if inside { self.epochs.epoch_at(offset) } else { None }
    }

    /// The latest epoch, with or without records.
    #[must_use]
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest()
    }

    /// An upper bound of the bytes in `from..to`; see [`Sizes`]. Offsets outside of the log are moved to its bounds.
    #[must_use]
    pub fn bytes_between(&self, from: Offset, to: Offset) -> u64 {
        self.sizes.between(from.max(self.start), to.min(self.end), self.end)
    }

    /// It holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Offset of the first record that still exists.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.start
    }

    /// Offset that the next record takes.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// How often the log was rewritten (SAFETY R8).
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The end of what a cleaning pass has been through, or 0.
    #[must_use]
    pub fn cleaned_to(&self) -> Offset {
        self.cleaned_to
    }

    /// Behind the last tombstone that was dropped after its time, or 0.
    #[must_use]
    pub fn tombstones_gone_to(&self) -> Offset {
        self.tombstones_gone_to
    }

    /// A copy that ends at `end` may hold what a tombstone deleted that this log has no more: were it brought further, a deleted
    /// key would stay in it for good. One that was begun when the tombstone was gone already (it says up to where they were) got
    /// nothing of the key: below a tombstone that was dropped each key stands once at most.
    #[must_use]
    pub fn has_tombstones_gone_for(&self, end: Offset, gone_to_for_copy: Offset) -> bool {
        misses_tombstones((end, gone_to_for_copy), self.tombstones_gone_to)
    }

    /// The same of this log, as a copy of one of which tombstones are gone up to `gone_to`.
    #[must_use]
    pub fn misses_tombstones(&self, gone_to: Offset) -> bool {
        misses_tombstones((self.end, self.tombstones_gone_to), gone_to)
    }

    /// The leader epochs.
    #[must_use]
    pub fn epochs(&self) -> &EpochCache {
        &self.epochs
    }

    /// The idempotent producers.
    #[must_use]
    pub fn producers(&self) -> &ProducerTable {
        &self.producers
    }

    /// The segment that appends go to.
    #[must_use]
    pub fn active_segment(&self) -> ActiveSegment {
        self.active
    }

    /// Panics unless all parts agree. Costs what the log's tables hold.
    pub fn check_invariants(&self) {
        self.assert_bounds();
        self.epochs.check_invariants(self.start, self.end);
        self.producers.check_invariants(self.end);
        self.sizes.check_invariants(self.end);
    }

    fn bump_generation(&mut self) {
        self.generation =
            Generation(self.generation.0.checked_add(1).expect("a log is not rewritten 2^32 times"));
    }

    fn assert_bounds(&self) {
        assert!(Offset::ZERO <= self.start, "offsets begin at 0");
        assert!(self.start <= self.end, "a log's start is never behind its end");
        assert!(self.active.base <= self.end, "the active segment begins in the log");
        assert!(self.cleaned_to <= self.end, "what was cleaned is in the log");
    }
}

fn misses_tombstones((end, gone_to_for_copy): (Offset, Offset), gone_to: Offset) -> bool {
    end < gone_to && gone_to_for_copy < gone_to
}

/// KIP-937, by the header alone: base and maximum timestamp stand for all records between them.
fn check_timestamps(header: &BatchHeader, now: WallMs, limits: &AppendLimits) -> Result<(), AppendError> {
    let in_range = |timestamp: i64| {
        timestamp == NO_TIMESTAMP
            || now.0.saturating_sub(timestamp) <= limits.timestamp_before_ms_max
                && timestamp.saturating_sub(now.0) <= limits.timestamp_after_ms_max
    };
    if in_range(header.base_timestamp) && in_range(header.max_timestamp) {
        Ok(())
    } else {
        Err(AppendError::InvalidTimestamp)
    }
}
