//! What the next round of writing behind takes from the index, and what is known of it once it is written.

use super::{Batch, Group, GroupNumber, Index, JournalFile};
use bytes::Bytes;
use seedlog_core::ids::{Lsn, TopicPartition};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// The most batches of a round, but for those of its last group: planning it and taking note of it holds up everything else.
const ROUND_BATCHES_MAX: u64 = 1 << 16;
/// A round writes to no more partitions than get so much each on the average, if it writes what it may. What a partition costs does
/// not depend on how much it gets: of more of them a round takes a part, and all that is there for those.
const PARTITION_BYTES_MIN: u64 = 16 << 10;
/// What a round reads back from the journal at most, and holds in memory meanwhile, but for a last group.
const READ_BACK_BYTES_MAX: u64 = 16 << 20;

/// Batches of one partition that go to its segments.
#[derive(Debug)]
pub(in crate::store) struct Job<F> {
    pub(in crate::store) partition: TopicPartition,
    pub(in crate::store) batches: Vec<Batch>,
    /// Where they stand, in their order.
    pub(in crate::store) sources: Vec<Source<F>>,
}

impl<F> Job<F> {
    pub(in crate::store) fn bytes(&self) -> u64 {
        self.batches.iter().map(|batch| u64::from(batch.bytes)).sum()
    }

    /// Its batches, by where they stand.
    pub(in crate::store) fn parts(&self) -> impl Iterator<Item = (&GroupPlace<F>, &[Batch])> {
        let mut rest = self.batches.as_slice();
        self.sources.iter().map(move |source| {
            let (of_source, after) = rest.split_at(source.batches);
            rest = after;
            (&source.place, of_source)
        })
    }
}

/// A group that batches of a job stand in.
#[derive(Debug)]
pub(in crate::store) struct Source<F> {
    pub(in crate::store) place: GroupPlace<F>,
    /// So many batches, one behind the other in the job.
    pub(in crate::store) batches: usize,
}

/// Where a whole group can be read.
#[derive(Debug)]
pub(in crate::store) enum GroupPlace<F> {
    /// Here it is.
    Memory(Bytes),
    /// In a journal file, from this position on.
    Journal(Arc<JournalFile<F>>, u64),
}

impl<F> Index<F> {
    /// Batches of whole groups up to `durable`, oldest groups first, that go to segments next: about `bytes_max` bytes, fewer if
    /// those are many batches or mean to read much back from the journal. Where they are of many partitions they are those of
    /// some, which take their turns.
    ///
    /// Until [`Index::segmented`] or [`Index::unplan`] is called nothing else may be planned.
    pub(in crate::store) fn plan_round(&mut self, durable: Lsn, bytes_max: u64) -> Vec<Job<F>> {
        let (mut bytes, mut batches, mut read_back) = (0, 0, 0);
        let mut partitions = BTreeSet::new();
        let mut last = None;
        let partitions_max = usize::try_from(bytes_max / PARTITION_BYTES_MIN).unwrap_or(usize::MAX).max(1);
        for (number, group) in (self.first_group..).zip(&self.groups) {
            // So many rounds have them all, and share them.
            let rounds = partitions.len().div_ceil(partitions_max).max(1) as u64;
            let is_enough = bytes >= rounds * bytes_max
                || batches >= rounds * ROUND_BATCHES_MAX
                || read_back >= READ_BACK_BYTES_MAX;
            if group.last_lsn > durable || is_enough {
                break;
            }
            batches += u64::from(group.unsegmented);
            read_back += self.read_back_bytes(number);
            bytes += group.unsegmented_bytes;
            if group.unsegmented > 0 {
                partitions.extend(group.partitions.iter().copied());
            }
            last = Some(GroupNumber(number));
        }
        let Some(last) = last else { return Vec::new() };
        let from = self.round_at.take().map_or(Bound::Unbounded, Bound::Excluded);
        let behind = partitions.range((from, Bound::Unbounded));
        let in_turn = behind.chain(&partitions).take(partitions.len());
        let jobs = in_turn.filter_map(|&partition| self.job(partition, last)).take(partitions_max);
        let jobs: Vec<Job<F>> = jobs.collect();
        if jobs.len() < partitions.len() {
            self.round_at = jobs.last().map(|job| job.partition);
        }
        for job in &jobs {
            let held = self.partitions.get_mut(&job.partition).expect("a job is of a partition that is here");
            assert!(held.planned == 0, "one round at a time");
            held.planned = job.batches.len();
        }
        jobs
    }

    /// The bytes of the journal that a group which is in memory no more takes, up to the next one.
    fn read_back_bytes(&self, number: u64) -> u64 {
        let group =
            |number: u64| usize::try_from(number - self.first_group).ok().and_then(|at| self.groups.get(at));
        let Some(this) = group(number).filter(|group| group.bytes.is_none()) else { return 0 };
        let position = |group: &Group<F>| group.home.as_ref().map(|home| (home.file.seq, home.position));
        match (position(this), group(number + 1).and_then(position)) {
            (Some((seq, from)), Some((next_seq, to))) if seq == next_seq => to.saturating_sub(from),
            _ => this.unsegmented_bytes,
        }
    }

    fn job(&self, partition: TopicPartition, last: GroupNumber) -> Option<Job<F>> {
        let held = self.partitions.get(&partition)?;
        let due = held.batches.range(held.segmented..).take_while(|batch| batch.group <= last);
        let batches: Vec<Batch> = due.copied().collect();
        let sources = batches
            .chunk_by(|one, next| one.group == next.group)
            .map(|of_group| Source { place: self.group_place(of_group[0].group), batches: of_group.len() });
        let sources = sources.collect();
        (!batches.is_empty()).then_some(Job { partition, batches, sources })
    }

    /// Where a durable group stands that has batches which are in no segment.
    fn group_place(&self, number: GroupNumber) -> GroupPlace<F> {
        let group = self.group(number).expect("a group stays while a batch of it is in no segment");
        if let Some(bytes) = &group.bytes {
            return GroupPlace::Memory(bytes.clone());
        }
        let home = group.home.as_ref().expect("a group has a home until all its batches are in segments");
        GroupPlace::Journal(Arc::clone(&home.file), home.position)
    }

    /// A round came to nothing: its batches are to be planned again.
    pub(in crate::store) fn unplan(&mut self) {
        for held in self.partitions.values_mut() {
            held.planned = 0;
        }
    }

    /// The batches of a partition that were planned are in a synced segment: those that no cut took away meanwhile.
    pub(in crate::store) fn segmented(&mut self, partition: TopicPartition) {
        let Some(held) = self.partitions.get_mut(&partition) else { return };
        let from = held.segmented;
        let count = std::mem::take(&mut held.planned);
        held.segmented += count;
        assert!(held.segmented <= held.batches.len(), "only batches of the index go to segments");
        let mut left: Vec<(GroupNumber, u32, u64)> = Vec::new();
        for batch in held.batches.range(from..from + count) {
            match left.last_mut() {
                Some((group, batches, bytes)) if *group == batch.group => {
                    *batches += 1;
                    *bytes += u64::from(batch.bytes);
                }
                Some(_) | None => left.push((batch.group, 1, batch.bytes.into())),
            }
        }
        for (group, batches, bytes) in left {
            self.leave_group(group, batches, bytes);
        }
        self.prune(partition);
        self.pop_groups();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Home;
    use super::*;
    use seedlog_core::ids::{LeaderEpoch, Offset, PartitionIndex, Uuid};
    use seedlog_core::journal::AppendEntry;
    use seedlog_core::time::WallMs;
    use std::collections::BTreeMap;

    const BATCH_BYTES: u32 = 100;
    const PARTITIONS: i32 = 10;
    /// A round has room for four of the partitions.
    const ROUND_BYTES: u64 = 4 * PARTITION_BYTES_MIN;

    fn partition(index: i32) -> TopicPartition {
        TopicPartition { topic_id: Uuid([7; 16]), partition: PartitionIndex(index) }
    }

    /// Groups with a batch for each partition. The first of them is at lsn 1.
    fn index(groups: u64) -> Index<()> {
        let mut index = Index::new();
        let file = Arc::new(JournalFile { seq: 1, file: () });
        for number in 0..groups {
            let group = index.begin_group();
            for at in 0..PARTITIONS {
                let append = AppendEntry {
                    partition: partition(at),
                    base_offset: Offset(number.cast_signed()),
                    offsets: 1,
                    epoch: LeaderEpoch(0),
                    batch_bytes: BATCH_BYTES,
                    crc: 0,
                    roll: false,
                    append_time: WallMs(0),
                };
                index.push(group, &append, at.cast_unsigned() * BATCH_BYTES, 0);
            }
            let home = Home { file: Arc::clone(&file), position: number * 4096 };
            index.complete(group, Lsn(number + 1), home, Some((Bytes::from(vec![0; 1000]), 1000)));
            index.written(group);
        }
        index
    }

    fn written(index: &mut Index<()>, jobs: &[Job<()>]) -> Vec<i32> {
        jobs.iter().for_each(|job| index.segmented(job.partition));
        jobs.iter().map(|job| job.partition.partition.0).collect()
    }

    #[test]
    fn many_partitions_take_their_turns_with_all_that_is_there_for_each() {
        let mut index = index(3);
        let mut turns = Vec::new();
        for round in 0..3 {
            assert!(!index.is_segmented_through(Lsn(1)), "round {round}");
            let jobs = index.plan_round(Lsn(2), ROUND_BYTES);
            assert!(jobs.iter().all(|job| job.batches.len() == 2), "two of the groups are on disk");
            assert!(jobs.iter().all(|job| job.bytes() == 2 * u64::from(BATCH_BYTES)));
            turns.push(written(&mut index, &jobs));
        }
        assert_eq!(turns, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
        assert!(index.is_segmented_through(Lsn(2)) && index.plan_round(Lsn(2), ROUND_BYTES).is_empty());
        let jobs = index.plan_round(Lsn(3), ROUND_BYTES);
        assert_eq!(written(&mut index, &jobs), [0, 1, 2, 3], "behind the last one is the first");
    }

    #[test]
    fn a_part_goes_on_where_it_came_to_although_more_came_for_those_before() {
        let mut index = index(8);
        let mut written_to: BTreeMap<i32, usize> = BTreeMap::new();
        for durable in 1..=8 {
            let jobs = index.plan_round(Lsn(durable), ROUND_BYTES);
            assert_eq!(jobs.len(), 4);
            for at in written(&mut index, &jobs) {
                *written_to.entry(at).or_default() += 1;
            }
        }
        let counts: Vec<usize> = written_to.into_values().collect();
        assert_eq!(counts, [4, 4, 3, 3, 3, 3, 3, 3, 3, 3]);
    }

    /// Rounds that were asked for went on for ever once the groups before the front one were gone.
    #[test]
    fn what_has_left_the_index_is_in_segments() {
        let mut index = index(3);
        let jobs = index.plan_round(Lsn(2), u64::MAX);
        assert_eq!(written(&mut index, &jobs).len(), PARTITIONS as usize);
        index.evict(0, 0);
        assert_eq!(index.groups.len(), 1, "the third is in no segment");
        assert!(index.is_segmented_through(Lsn(2)) && !index.is_segmented_through(Lsn(3)));
    }

    #[test]
    fn a_round_that_failed_is_planned_again() {
        let mut index = index(1);
        let of = |jobs: &[Job<()>]| jobs.iter().map(|job| job.partition.partition.0).collect::<Vec<_>>();
        let jobs = index.plan_round(Lsn(1), ROUND_BYTES);
        assert_eq!(of(&jobs), [0, 1, 2, 3]);
        index.unplan();
        let mut turns = Vec::new();
        while !index.is_segmented_through(Lsn(1)) {
            let jobs = index.plan_round(Lsn(1), ROUND_BYTES);
            turns.extend(written(&mut index, &jobs));
        }
        turns.sort_unstable();
        assert_eq!(turns, (0..PARTITIONS).collect::<Vec<_>>());
    }
}
