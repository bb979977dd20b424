//! Which segments of a log are too old or too many (`retention.ms`, `retention.bytes`). The store knows the segments, the
//! broker the settings and the clock; both stores, the node's and the simulator's, ask here.

use crate::ids::Offset;
use crate::time::WallMs;

/// How long records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Segments whose latest record is older than this go; `None`: none is too old.
    pub oldest: Option<WallMs>,
    /// Oldest segments go as long as the rest is at least as large, in bytes; `None`: there is no limit.
    pub bytes_min: Option<u64>,
}

/// What retention sees of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentAge {
    /// The offset after its last record.
    pub next: Offset,
    /// Its size.
    pub bytes: u64,
    /// The greatest timestamp of its records in ms; below 0 for none.
    pub max_timestamp: i64,
}

impl Retention {
    /// It keeps everything.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.oldest.is_none() && self.bytes_min.is_none()
    }

    /// Where a log is to start, given its segments, oldest first, and how many bytes of it are in none yet. Segments go from
    /// the front, and only whole: behind the first one that stays, nothing goes. `None`: all stay. A segment without timestamps
    /// has no age.
    #[must_use]
    pub fn start(&self, segments: &[SegmentAge], unsegmented_bytes: u64) -> Option<Offset> {
        let mut bytes = unsegmented_bytes + segments.iter().map(|segment| segment.bytes).sum::<u64>();
        let expired = segments.iter().take_while(|segment| {
            let is_old = segment.max_timestamp >= 0
                && self.oldest.is_some_and(|oldest| segment.max_timestamp < oldest.0);
            let left = bytes - segment.bytes;
            let is_surplus = self.bytes_min.is_some_and(|least| left >= least);
            bytes = left;
            is_old || is_surplus
        });
        expired.last().map(|segment| segment.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(ages: &[(i64, u64, i64)]) -> alloc::vec::Vec<SegmentAge> {
        let segment = |&(next, bytes, max_timestamp)| SegmentAge { next: Offset(next), bytes, max_timestamp };
        ages.iter().map(segment).collect()
    }

    #[test]
    fn old_segments_go_up_to_the_first_that_is_not() {
        let retention = Retention { oldest: Some(WallMs(100)), bytes_min: None };
        let start = |ages: &[(i64, u64, i64)]| retention.start(&segments(ages), 0);
        assert_eq!(start(&[(10, 5, 100), (20, 5, 50)]), None);
        assert_eq!(start(&[(10, 5, 99), (20, 5, 100), (30, 5, 5)]), Some(Offset(10)));
        assert_eq!(start(&[(10, 5, 7), (20, 5, 99)]), Some(Offset(20)));
        assert_eq!(start(&[(10, 5, -1), (20, 5, 50)]), None);
        assert_eq!(start(&[]), None);
    }

    #[test]
    fn no_more_goes_than_leaves_what_is_to_be_kept() {
        let of_three = segments(&[(10, 100, 0), (20, 100, 0), (30, 100, 0)]);
        let start = |bytes_min, unsegmented_bytes| {
            Retention { oldest: None, bytes_min: Some(bytes_min) }.start(&of_three, unsegmented_bytes)
        };
        assert_eq!(start(300, 0), None);
        assert_eq!(start(201, 0), None);
        assert_eq!(start(200, 0), Some(Offset(10)));
        assert_eq!(start(201, 1), Some(Offset(10)));
        assert_eq!(start(99, 0), Some(Offset(20)));
        assert_eq!(start(0, 0), Some(Offset(30)));
        assert!(Retention { oldest: None, bytes_min: None }.is_unlimited());
    }

    #[test]
    fn age_and_size_count_for_each_segment() {
        let retention = Retention { oldest: Some(WallMs(100)), bytes_min: Some(150) };
        let ages = segments(&[(10, 100, 500), (20, 100, 50), (30, 100, 500), (40, 50, 500)]);
        assert_eq!(retention.start(&ages, 0), Some(Offset(20)));
    }
}
