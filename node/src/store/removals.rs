//! Segments that a log's start has passed: their files go beside everything else that the store does.
//!
//! Nothing is written by their names again, so rounds need not wait for them: new segments begin behind the start. Two things can
//! come between. A round that is under way may write to a log's last segment, which is held back until the round ends. And a log
//! that begins anew may come to the same names: then they are [`Removals::taken_back`], and go with the cut.
//!
//! A start that is not certain to be on the disk has removed nothing (SAFETY J8). A snapshot does not wait: it lists what is to be
//! removed as if it were there, and the next start of the node finds it before the log's start.

use super::disk::{Change, Disk, Lane};
use super::segment::{Segment, SegmentName, SegmentTable, partition_dir, segment_path, side_path};
use seedlog_core::ids::{Lsn, Offset, TopicPartition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

/// Segments that one piece of work removes, but for a last log's: cuts and drops wait for it.
const REMOVED_MAX: usize = 4_096;
/// Work that changed more folders or files than this ends with one sync of the whole file system.
pub(super) const SINGLE_SYNCS_MAX: usize = 16;

/// Segments of one log.
#[derive(Debug, Clone)]
struct Passed {
    partition: TopicPartition,
    /// Oldest first.
    segments: Vec<Segment>,
    /// The entry that moved the start.
    lsn: Lsn,
}

/// What is to be removed.
#[derive(Debug, Default)]
pub(super) struct Removals {
    /// The last entry that moved a start.
    through: Lsn,
    waiting: VecDeque<Passed>,
    /// Being removed.
    under_way: Vec<Passed>,
    /// What the round under way may be writing to.
    held: Vec<Passed>,
}

impl Removals {
    /// A log's start moves.
    pub(super) fn moved(&mut self, lsn: Lsn) {
        self.through = lsn;
    }

    /// The start has passed segments; a round may be writing to the last of them.
    pub(super) fn push(
        &mut self,
        partition: TopicPartition,
        mut segments: Vec<Segment>,
        may_be_written: bool,
    ) {
        let lsn = self.through;
        if let Some(last) = segments.pop_if(|_| may_be_written) {
            self.held.push(Passed { partition, segments: vec![last], lsn });
        }
        if !segments.is_empty() {
            self.waiting.push_back(Passed { partition, segments, lsn });
        }
    }

    /// No round is under way any more. What it has written more of is part of its log again.
    pub(super) fn round_ended(&mut self, table: &SegmentTable) {
        for mut passed in std::mem::take(&mut self.held) {
            let known = table.get(&passed.partition).map_or(&[][..], Vec::as_slice);
            passed.segments.retain(|held| known.iter().all(|known| known.name() != held.name()));
            if !passed.segments.is_empty() {
                self.waiting.push_back(passed);
            }
        }
    }

    /// A log is cut at `to`: segments behind it may get names that are here. Gives those.
    pub(super) fn taken_back(&mut self, partition: TopicPartition, to: Offset) -> Vec<SegmentName> {
        let mut names = Vec::new();
        let is_behind = |segment: &Segment| segment.next > to;
        for passed in self.waiting.iter_mut().chain(&mut self.held) {
            if passed.partition == partition {
                names.extend(passed.segments.extract_if(.., |it| is_behind(it)).map(|it| it.name()));
            }
        }
        let is_empty = |passed: &Passed| passed.segments.is_empty();
        self.waiting.retain(|passed| !is_empty(passed));
        self.held.retain(|passed| !is_empty(passed));
        // Those go once more, when nobody else writes.
        let under_way = self.under_way.iter().filter(|passed| passed.partition == partition);
        names.extend(
            under_way.flat_map(|passed| &passed.segments).filter(|it| is_behind(it)).map(Segment::name),
        );
        names
    }

    /// Keeps only the partitions that `keep` names.
    pub(super) fn retain(&mut self, keep: impl Fn(TopicPartition) -> bool) {
        self.waiting.retain(|passed| keep(passed.partition));
        self.held.retain(|passed| keep(passed.partition));
    }

    /// What goes next: no recovery that ends at `vouched` or later can take it back. Until [`Removals::done`] there is nothing more.
    pub(super) fn start(&mut self, vouched: Lsn) -> Vec<(TopicPartition, Vec<SegmentName>)> {
        assert!(self.under_way.is_empty(), "one removal at a time");
        let mut count = 0;
        while count < REMOVED_MAX
            && let Some(passed) = self.waiting.pop_front_if(|passed| passed.lsn <= vouched)
        {
            count += passed.segments.len();
            self.under_way.push(passed);
        }
        let names = |passed: &Passed| passed.segments.iter().map(Segment::name).collect();
        self.under_way.iter().map(|passed| (passed.partition, names(passed))).collect()
    }

    /// What was started has gone, for good.
    pub(super) fn done(&mut self) {
        self.under_way.clear();
    }

    /// A log's segments that are here.
    pub(super) fn names_of(&self, partition: TopicPartition) -> impl Iterator<Item = SegmentName> {
        let passed = self.under_way.iter().chain(&self.waiting).chain(&self.held);
        passed.filter(move |it| it.partition == partition).flat_map(|it| &it.segments).map(Segment::name)
    }

    /// The table with what is yet to be removed in front.
    pub(super) fn with_table(&self, table: &SegmentTable) -> Vec<(TopicPartition, Vec<Segment>)> {
        let mut whole: BTreeMap<TopicPartition, Vec<Segment>> = BTreeMap::new();
        for passed in self.under_way.iter().chain(&self.waiting) {
            whole.entry(passed.partition).or_default().extend(&passed.segments);
        }
        for (partition, segments) in table {
            whole.entry(*partition).or_default().extend(segments);
        }
        whole.into_iter().collect()
    }
}

/// Removes segments of several logs; may be done again.
///
/// # Errors
/// As the operating system says.
pub(super) async fn remove<D: Disk>(
    disk: &D,
    log_dir: &Path,
    gone: &[(TopicPartition, Vec<SegmentName>)],
) -> io::Result<()> {
    let lane = Lane::Background;
    let mut removals = Vec::new();
    for (partition, names) in gone {
        for &name in names {
            removals.push(Change::Remove(segment_path(log_dir, *partition, name)));
            removals.push(Change::Remove(side_path(log_dir, *partition, name)));
        }
    }
    disk.change(lane, removals).await?;
    let changed: BTreeSet<TopicPartition> = gone.iter().map(|(partition, _)| *partition).collect();
    let dirs: Vec<PathBuf> = changed.into_iter().map(|partition| partition_dir(log_dir, partition)).collect();
    if dirs.len() > SINGLE_SYNCS_MAX {
        return disk.sync_file_system(lane, log_dir).await;
    }
    for dir in &dirs {
        disk.sync_dir(lane, dir).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::ids::{PartitionIndex, Uuid};

    const LOG: TopicPartition = TopicPartition { topic_id: Uuid([7; 16]), partition: PartitionIndex(3) };

    fn segments(bases: std::ops::Range<i64>) -> Vec<Segment> {
        let segment = |base| Segment { next: Offset(base + 10), bytes: 100, ..Segment::new(Offset(base)) };
        bases.step_by(10).map(segment).collect()
    }

    fn bases(started: &[(TopicPartition, Vec<SegmentName>)]) -> Vec<i64> {
        started.iter().flat_map(|(_, names)| names).map(|name| name.base.0).collect()
    }

    #[test]
    fn what_no_sync_vouches_for_stays() {
        let mut removals = Removals::default();
        removals.moved(Lsn(5));
        removals.push(LOG, segments(0..20), false);
        removals.moved(Lsn(9));
        removals.push(LOG, segments(20..30), false);
        assert_eq!(bases(&removals.start(Lsn(4))), [0; 0]);
        assert_eq!(bases(&removals.start(Lsn(8))), [0, 10]);
        removals.done();
        assert_eq!(bases(&removals.start(Lsn(9))), [20]);
    }

    #[test]
    fn a_segment_that_a_round_may_be_writing_to_waits_for_its_end() {
        for grew in [false, true] {
            let mut removals = Removals::default();
            removals.push(LOG, segments(0..30), true);
            assert_eq!(bases(&removals.start(Lsn(0))), [0, 10]);
            removals.done();
            let table = SegmentTable::from([(LOG, segments(if grew { 20..30 } else { 30..40 }))]);
            removals.round_ended(&table);
            let expected: &[i64] = if grew { &[] } else { &[20] };
            assert_eq!(bases(&removals.start(Lsn(0))), expected);
        }
    }

    #[test]
    fn a_cut_takes_over_what_may_be_written_by_the_same_name() {
        let mut removals = Removals::default();
        removals.push(LOG, segments(0..20), false);
        removals.start(Lsn(0));
        removals.push(LOG, segments(20..50), true);
        let taken: Vec<i64> =
            removals.taken_back(LOG, Offset(10)).into_iter().map(|name| name.base.0).collect();
        assert_eq!(taken, [20, 30, 40, 10]);
        removals.done();
        removals.round_ended(&SegmentTable::new());
        assert_eq!(bases(&removals.start(Lsn(0))), [0; 0]);
    }

    #[test]
    fn a_snapshot_lists_what_is_to_be_removed_in_front() {
        let mut removals = Removals::default();
        removals.push(LOG, segments(0..20), false);
        removals.start(Lsn(0));
        removals.push(LOG, segments(20..30), false);
        let table = SegmentTable::from([(LOG, segments(30..40))]);
        assert_eq!(removals.with_table(&table), [(LOG, segments(0..40))]);
    }
}
