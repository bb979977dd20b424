//! The segments of a folder that is opened: the table of its snapshot, and on it what the journal took away afterwards.
//!
//! ```text
//!  journal   ──┬── Append ── Cut ── Append ── Compacted ──┬── Append ── Cut ──►
//!              └ the core's state                         └ the table was taken: it shows all of these
//! ```
//!
//! The table is taken later than the core's state that it stands beside, when every cut that it shows was certain and done
//! ([`Cuts::is_settled`]). What it shows must not be done to it again: a cut would take segments that were written since, and a
//! swap would put a former life's segments in the place of a later one's.

use super::cuts::{Cuts, cut_of};
use super::index::Index;
use super::segment::{Segment, SegmentTable, end_of};
use seedlog_core::ids::{Lsn, Offset, TopicPartition, Uuid};
use seedlog_core::journal::Entry;
use seedlog_core::journal::entry::Located;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The table of segments, as a snapshot holds it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct TakenTable {
    pub(super) segments: Vec<(TopicPartition, Vec<Segment>)>,
    /// The last cut, reset or swap when it was taken: it shows that one, and all before.
    pub(super) shows: Lsn,
}

/// Segments while the journal is replayed.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) table: SegmentTable,
    pub(super) cuts: Cuts,
    shows: Lsn,
    /// Topics that were dropped behind the core's state. What the table had of them is gone, and with it what it showed.
    dropped: BTreeSet<Uuid>,
}

impl Replay {
    pub(super) fn new(taken: TakenTable) -> Self {
        let table: SegmentTable = taken.segments.into_iter().collect();
        let cuts = Cuts::found(&table, taken.shows);
        Self { table, cuts, shows: taken.shows, dropped: BTreeSet::new() }
    }

    /// Does again what an entry took away: it may have been done in part.
    pub(super) fn visit<F>(&mut self, located: &Located, index: &mut Index<F>) {
        if let Some((partition, to)) = cut_of(&located.entry) {
            index.cut(partition, to);
            if self.is_new(located.lsn, partition) {
                self.cuts.replay(located.lsn, (partition, to), &mut self.table);
            }
        }
        if let Entry::Compacted { partition, compaction } = &located.entry
            && self.is_new(located.lsn, *partition)
        {
            // What the pass made holds what the index has of the log up to there.
            index.take_front(*partition, compaction.to);
            self.cuts.replay_swap(located.lsn, (*partition, compaction), &mut self.table);
        }
        if let Entry::Dropping { topic_id, .. } = &located.entry {
            // The topic may come back to this node: nothing of its former life belongs to the next one.
            index.drop_topic(*topic_id);
            self.table.retain(|partition, _| partition.topic_id != *topic_id);
            self.cuts.retain(|partition| partition.topic_id != *topic_id);
            self.dropped.insert(*topic_id);
        }
    }

    /// The offset after the last batch that a partition's segments hold.
    pub(super) fn end_of(&self, partition: TopicPartition) -> Offset {
        self.table.get(&partition).map_or(Offset::ZERO, |segments| end_of(segments))
    }

    fn is_new(&self, lsn: Lsn, partition: TopicPartition) -> bool {
        lsn > self.shows || self.dropped.contains(&partition.topic_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::segment::Tail;
    use seedlog_core::ids::PartitionIndex;
    use seedlog_core::log::{CompactedSegment, Compaction};

    const LOG: TopicPartition = TopicPartition { topic_id: Uuid([7; 16]), partition: PartitionIndex(3) };

    fn segment(base: i64, next: i64, made: u64) -> Segment {
        let tail = if made == 0 { Tail::Growing } else { Tail::Short };
        Segment { next: Offset(next), bytes: 100, made: Lsn(made), tail, ..Segment::new(Offset(base)) }
    }

    /// A pass put one segment in the place of all in `from..to`.
    fn compacted(made: u64, from: i64, to: i64) -> Entry {
        let one = CompactedSegment {
            base: Offset(from),
            next: Offset(to),
            bytes: 100,
            lines: 0,
            max_timestamp: segment(from, to, made).max_timestamp,
        };
        let compaction = Compaction {
            made: Lsn(made),
            from: Offset(from),
            to: Offset(to),
            cleaned_to: Offset(to),
            tombstones_gone_to: Offset::ZERO,
            segments: vec![one],
        };
        Entry::Compacted { partition: LOG, compaction: Box::new(compaction) }
    }

    fn cut(to: i64) -> Entry {
        Entry::Cut { partition: LOG, to: Offset(to) }
    }

    fn reset(start: i64) -> Entry {
        Entry::Reset {
            partition: LOG,
            start: Offset(start),
            producers: Vec::new(),
            tombstones_gone_to: Offset::ZERO,
        }
    }

    /// A table, and these entries replayed on it; the first has number 11.
    fn replayed(segments: &[Segment], shows: u64, entries: &[Entry]) -> Replay {
        let taken = TakenTable { segments: vec![(LOG, segments.to_vec())], shows: Lsn(shows) };
        let mut replay = Replay::new(taken);
        let mut index = Index::<()>::new();
        for (lsn, entry) in (11..).zip(entries) {
            replay.visit(&Located { lsn: Lsn(lsn), entry: entry.clone(), payload_at: 0 }, &mut index);
        }
        replay
    }

    #[test]
    fn what_the_table_shows_is_not_done_to_it_again() {
        for (segments, entries) in [
            // The pass read what was written behind the cut.
            (vec![segment(0, 80, 9), segment(80, 90, 0)], vec![cut(50), compacted(9, 0, 80)]),
            // The log began anew, behind the pass, and its segments end elsewhere.
            (vec![segment(30, 90, 0)], vec![compacted(9, 0, 80), reset(30)]),
            (vec![segment(0, 60, 12), segment(60, 90, 0)], vec![compacted(9, 0, 80), reset(0)]),
        ] {
            let replay = replayed(&segments, 12, &entries);
            assert_eq!(replay.table[&LOG], segments, "{entries:?}");
            assert!(replay.cuts.is_settled(Lsn(12)) && !replay.cuts.is_settled(Lsn(11)));
        }
    }

    #[test]
    fn what_came_after_the_table_was_taken_is_done() {
        let segments = [segment(0, 80, 9), segment(80, 90, 0), segment(90, 95, 0)];
        let replay = replayed(&segments, 12, &[cut(50), compacted(9, 0, 80), cut(85)]);
        let last = Segment { tail: Tail::Cut, ..segment(80, 85, 0) };
        assert_eq!(replay.table[&LOG], [segments[0], last]);
        let replay = replayed(&segments, 12, &[cut(50), compacted(9, 0, 80), compacted(13, 0, 90)]);
        assert_eq!(replay.table[&LOG], [segment(0, 90, 13), segments[2]]);
        let replay = replayed(&segments, 12, &[cut(50), compacted(9, 0, 80), reset(0)]);
        assert!(replay.table.is_empty() && replay.cuts.is_pending());
    }

    #[test]
    fn a_table_shows_nothing_of_a_topic_that_was_dropped_since() {
        let dropping = Entry::Dropping { topic_id: LOG.topic_id, partitions: 4 };
        let replay = replayed(&[segment(0, 80, 9)], 13, &[dropping, cut(50), compacted(10, 0, 40)]);
        assert_eq!(replay.table[&LOG], [segment(0, 40, 10)]);
    }
}
