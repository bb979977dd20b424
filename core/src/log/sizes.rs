//! How many bytes lie between two offsets, from a few marks: enough to answer a fetch's `min_bytes` and to bound what an
//! extent may hold, without an index of batches.
//!
//! Estimates err on one side only: never below the truth, so that no fetch waits for bytes that are there. They are exact
//! between marks. Marks are dense at the tail and thin out towards the start, so that the error stays below
//! `MARK_SPACING_BYTES` plus one batch, or about a third of the distance to the log's end, for the last hundreds of
//! megabytes; further back it may be larger.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ids::Offset;

/// Most marks a log keeps.
pub const MARKS_MAX: usize = 64;
/// Least distance of two marks at the tail, in bytes.
pub const MARK_SPACING_BYTES: u64 = 16 * 1024;

/// A batch begins at `offset` and at byte `position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    offset: Offset,
    position: u64,
}

/// Cumulative sizes of one log. Positions count bytes appended and mean nothing outside of this type.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sizes {
    marks: Vec<Mark>,
    /// Position of the log's end.
    end: u64,
}

impl Sizes {
    /// Adds a batch at the end of the log.
    pub fn append(&mut self, base_offset: Offset, bytes: u32) {
        let due = self.marks.last().is_none_or(|last| self.end - last.position >= MARK_SPACING_BYTES);
        if due {
            if self.marks.len() == MARKS_MAX {
                self.thin();
            }
            self.push(base_offset);
        }
        self.end += u64::from(bytes);
    }

    /// Cuts the log at `offset`. Between two marks the cut's position is taken as that of the second: what follows is
    /// exact again, what reaches over the cut is over-estimated. Returns by how many bytes the end went back.
    pub fn truncate_to(&mut self, offset: Offset) -> u64 {
        let position = self.position_after(offset);
        let keep = self.marks.partition_point(|mark| mark.offset < offset);
        self.marks.truncate(keep);
        let cut = self.end - position;
        self.end = position;
        if self.marks.len() == MARKS_MAX {
            self.thin();
        }
        self.push(offset);
        cut
    }

    /// Forgets marks that only the part before `start` needs.
    pub fn advance_start(&mut self, start: Offset) {
        let after = self.marks.partition_point(|mark| mark.offset <= start);
        self.marks.drain(..after.saturating_sub(1));
    }

    /// An upper bound of the bytes in `from..to`, both within the log; exact where both are marks or the end.
    #[must_use]
    pub fn between(&self, from: Offset, to: Offset, log_end: Offset) -> u64 {
        if from >= to {
            return 0;
        }
        let high = if to >= log_end { self.end } else { self.position_after(to) };
        high - self.position_before(from)
    }

    /// Panics unless marks grow and are bounded.
    pub fn check_invariants(&self, log_end: Offset) {
        assert!(self.marks.len() <= MARKS_MAX, "marks are bounded");
        assert!(self.marks.is_sorted_by(|a, b| a.offset < b.offset), "marks' offsets grow");
        assert!(self.marks.is_sorted_by(|a, b| a.position <= b.position), "marks' positions never go back");
        let last = self.marks.last();
        assert!(
            last.is_none_or(|mark| mark.offset <= log_end && mark.position <= self.end),
            "marks are in the log"
        );
    }

    fn push(&mut self, offset: Offset) {
        debug_assert!(self.marks.last().is_none_or(|last| last.offset < offset), "marks are pushed in order");
        self.marks.push(Mark { offset, position: self.end });
    }

    fn position_before(&self, offset: Offset) -> u64 {
        let after = self.marks.partition_point(|mark| mark.offset <= offset);
        after.checked_sub(1).map_or(0, |i| self.marks[i].position)
    }

    fn position_after(&self, offset: Offset) -> u64 {
        let at = self.marks.partition_point(|mark| mark.offset < offset);
        self.marks.get(at).map_or(self.end, |mark| mark.position)
    }

    /// Removes marks, newest to oldest, wherever the gap that this leaves is small beside its distance from the end.
    fn thin(&mut self) {
        let mut kept: Vec<Mark> = Vec::with_capacity(MARKS_MAX);
        for i in (0..self.marks.len()).rev() {
            let mark = self.marks[i];
            let removable = match (kept.last(), i.checked_sub(1)) {
                (Some(newer), Some(older)) => {
                    let gap = newer.position - self.marks[older].position;
                    gap <= (self.end - newer.position) / 4
                }
                (None, _) | (_, None) => false,
            };
            if !removable {
                kept.push(mark);
            }
        }
        if kept.len() == MARKS_MAX {
            // The log is longer than the marks can tell at that precision: give up the second oldest.
            kept.remove(MARKS_MAX - 2);
        }
        kept.reverse();
        self.marks = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_of_a_log_that_has_all_its_marks_keeps_them_bounded() {
        let mut sizes = Sizes::default();
        let batch_bytes = u32::try_from(MARK_SPACING_BYTES / 4).expect("small");
        let mut end = 0;
        while sizes.marks.len() < MARKS_MAX {
            sizes.append(Offset(end), batch_bytes);
            end += 1;
        }
        // Behind the last mark, so that none goes.
        sizes.append(Offset(end), batch_bytes);
        sizes.append(Offset(end + 1), batch_bytes);
        sizes.truncate_to(Offset(end + 1));
        sizes.check_invariants(Offset(end + 1));
    }
}
