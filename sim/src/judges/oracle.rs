//! What one folder holds, kept beside the node and never asked of it: the journal as it was given out, and the logs that it
//! adds up to (INVARIANTS.md, "cheap oracle"). What the cluster as a whole has promised is in [`super::truth`].

use super::node_log::{Held, NodeLog};
use super::shadow::ShadowBatch;
use crate::hash::hash64;
use seedlog_core::ids::{LeaderEpoch, Lsn, NodeId, TopicPartition};
use seedlog_core::journal::{AppendEntry, Entry};
use seedlog_core::recovered::Recovered;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One folder's truth.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Its logs after the last entry given out.
    pub logs: BTreeMap<TopicPartition, NodeLog>,
    /// Its metadata log.
    pub metadata: NodeMetadata,
    /// The journal's entries; lsn 1 is the first.
    pub journal: Vec<Ghost>,
    /// The last entry that is on the platter.
    pub durable: Lsn,
    /// What faults did to bytes that were durable.
    pub flips: Vec<Flip>,
    /// With flush=interval: unsynced entries may be gone since a power cut or a failed sync.
    pub unsynced_excused: bool,
}

/// A node's metadata log.
#[derive(Debug, Clone, Default)]
pub struct NodeMetadata {
    /// The offset of its first entry: what is before came as a snapshot.
    pub start: i64,
    /// Its entries.
    pub entries: Vec<HeldEntry>,
    /// Up to here it is known to be the true one.
    pub matched: i64,
}

/// An entry of the metadata log on a node.
#[derive(Debug, Clone)]
pub struct HeldEntry {
    /// Its term.
    pub epoch: LeaderEpoch,
    /// Its records.
    pub records: Arc<[u8]>,
    /// Hash of them.
    pub hash: u64,
    /// The entry of the journal.
    pub lsn: Lsn,
}

/// One entry of the journal as it was given out.
#[derive(Debug, Clone)]
pub struct Ghost {
    /// The entry.
    pub entry: Entry,
    /// Its batch, if it has one.
    pub batches: Vec<Arc<ShadowBatch>>,
    /// Hash of the bytes that an append brought, header included.
    pub whole: Option<u64>,
    /// If it moves a log's start: what is true of the partition before that.
    pub front: Vec<Arc<ShadowBatch>>,
    /// It was on the platter at some time, and nothing but a flip takes it from there.
    pub durable: bool,
}

/// A bit that was flipped under durable bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flip {
    /// The first entry that may be unreadable.
    pub first: Lsn,
    /// The last.
    pub last: Lsn,
    /// Not only record bytes: the group's prefix or table.
    pub whole_group: bool,
}

impl NodeMetadata {
    /// The offset that the next entry takes.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.start + i64::try_from(self.entries.len()).unwrap_or(i64::MAX)
    }

    /// The entry at an offset.
    #[must_use]
    pub fn at(&self, offset: i64) -> Option<&HeldEntry> {
        self.entries.get(usize::try_from(offset - self.start).ok()?)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only what concerns the question is looked at")]
    fn follow(&mut self, lsn: Lsn, entry: &Entry) {
        match entry {
            Entry::Metadata { epoch, records, .. } => self.entries.push(HeldEntry {
                epoch: *epoch,
                records: records.as_slice().into(),
                hash: hash64(records),
                lsn,
            }),
            Entry::MetadataCut { to } => {
                self.entries.truncate(usize::try_from(to.0 - self.start).unwrap_or(0));
                self.matched = self.matched.min(to.0);
            }
            Entry::MetadataImage { end, from, total, bytes, .. } if from + bytes.len() as u64 == *total => {
                *self = Self { start: end.0, entries: Vec::new(), matched: end.0 };
            }
            _ => {}
        }
    }
}

/// What entries add up to.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The logs.
    pub logs: BTreeMap<TopicPartition, NodeLog>,
    /// The metadata log.
    pub metadata: NodeMetadata,
}

impl Replayed {
    fn follow(&mut self, lsn: Lsn, ghost: &Ghost) {
        follow(&mut self.logs, lsn, ghost);
        self.metadata.follow(lsn, &ghost.entry);
    }
}

fn follow(logs: &mut BTreeMap<TopicPartition, NodeLog>, lsn: Lsn, ghost: &Ghost) {
    match &ghost.entry {
        Entry::Append(append) => {
            let log = logs.entry(append.partition).or_default();
            // The first batch of an empty log may reach over its start.
            log.begin_epoch(append.epoch, append.base_offset.max(log.end()));
            log.make_way_for(append.base_offset);
            for batch in &ghost.batches {
                log.batches.push(Held { batch: Arc::clone(batch), lsn });
            }
        }
        Entry::EpochStart { partition, epoch, start } => {
            logs.entry(*partition).or_default().begin_epoch(*epoch, *start);
        }
        Entry::Cut { partition, to } => logs.entry(*partition).or_default().cut(*to),
        Entry::Reset { partition, start, .. } => {
            let log = logs.entry(*partition).or_default();
            *log = NodeLog { starts: std::mem::take(&mut log.starts), ..NodeLog::default() };
            log.begin_at(lsn, *start, &ghost.front);
        }
        Entry::LogStart { partition, start } => {
            logs.entry(*partition).or_default().begin_at(lsn, *start, &ghost.front);
        }
        Entry::Dropping { topic_id, .. } => logs.retain(|partition, _| partition.topic_id != *topic_id),
        Entry::Damaged { partition, .. } => logs.entry(*partition).or_default().given_up = true,
        // What a cleaned log stands for is what was appended.
        Entry::Compacted { .. }
        | Entry::Metadata { .. }
        | Entry::MetadataCut { .. }
        | Entry::MetadataImage { .. }
        | Entry::ProducersExpired { .. }
        | Entry::Dropped { .. }
        | Entry::Started { .. }
        | Entry::Stopped
        | Entry::Founded { .. }
        | Entry::Vote { .. }
        | Entry::Trusted { .. } => {}
    }
}

impl Oracle {
    /// The entry with this number.
    #[must_use]
    pub fn ghost(&self, lsn: Lsn) -> Option<&Ghost> {
        self.journal.get(usize::try_from(lsn.0.checked_sub(1)?).ok()?)
    }

    /// The last entry given out.
    #[must_use]
    pub fn end(&self) -> Lsn {
        Lsn(self.journal.len() as u64)
    }

    /// An entry was given out, with its batch.
    pub fn on_entry(&mut self, lsn: Lsn, entry: &Entry, batch: Option<Arc<ShadowBatch>>) {
        let whole = batch.as_ref().map(|batch| batch.whole);
        self.on_append(lsn, entry, batch.into_iter().collect(), whole);
    }

    /// The same, with all batches that the one that is appended stands for, and the hash of its bytes.
    pub fn on_append(&mut self, lsn: Lsn, entry: &Entry, batches: Vec<Arc<ShadowBatch>>, whole: Option<u64>) {
        let ghost = Ghost { entry: entry.clone(), batches, whole, front: Vec::new(), durable: false };
        self.on_ghost(lsn, ghost);
    }

    /// An entry was given out that moves a log's start; `front` is what is true before that.
    pub fn on_start(&mut self, lsn: Lsn, entry: &Entry, front: Vec<Arc<ShadowBatch>>) {
        let (batches, whole) = (Vec::new(), None);
        self.on_ghost(lsn, Ghost { entry: entry.clone(), batches, whole, front, durable: false });
    }

    fn on_ghost(&mut self, lsn: Lsn, ghost: Ghost) {
        assert!(lsn == self.end().next(), "entries are numbered in order");
        follow(&mut self.logs, lsn, &ghost);
        self.metadata.follow(lsn, &ghost.entry);
        self.journal.push(ghost);
    }

    /// Entries up to `through` are truly on the platter.
    pub fn on_platter(&mut self, through: Lsn) {
        self.durable = self.durable.max(through);
        for ghost in self.journal.iter_mut().take(usize::try_from(through.0).unwrap_or(usize::MAX)).rev() {
            if ghost.durable {
                break;
            }
            ghost.durable = true;
        }
    }

    /// What the entries up to `end` add up to.
    #[must_use]
    pub fn replay(&self, end: Lsn) -> Replayed {
        let mut replayed = Replayed::default();
        for (lsn, ghost) in (1..).zip(self.journal.iter().take(usize::try_from(end.0).unwrap_or(usize::MAX)))
        {
            replayed.follow(Lsn(lsn), ghost);
        }
        replayed
    }

    /// Recovery ended at `end`: what is behind it never was, and what was given out adds up to `replayed`.
    pub fn on_recovered(&mut self, end: Lsn, mut replayed: Replayed) {
        self.journal.truncate(usize::try_from(end.0).unwrap_or(usize::MAX));
        self.durable = self.durable.min(end);
        self.unsynced_excused = false;
        for (partition, log) in &mut replayed.logs {
            if let Some(old) = self.logs.get(partition) {
                // Only what came behind the recovered end can differ.
                let same =
                    old.batches.iter().zip(&log.batches).take_while(|(a, b)| Arc::ptr_eq(&a.batch, &b.batch));
                log.matched = old.matched.min(same.count());
                log.given_up = old.given_up;
            }
        }
        self.logs = replayed.logs;
        self.metadata = replayed.metadata;
    }

    /// The oracle goes on from where a recovery ended. Gives back whether records are gone that were committed.
    pub fn take_over(&mut self, recovered: &Recovered) -> bool {
        let replayed = self.replay(recovered.end);
        let mut lost = false;
        for (partition, log) in &mut self.logs {
            let held = recovered.partitions.get(partition);
            // Of a log that it does not name, a hole took all that there was.
            log.given_up |= held.map_or(recovered.has_holes, |held| held.damage.is_some());
            let left = replayed.logs.get(partition).map_or(0, |log| log.batches.len());
            lost |= left < log.matched;
        }
        self.on_recovered(recovered.end, replayed);
        lost
    }

    /// For whom the node voted in a term, by its entries: each with whether it is on disk.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only what concerns the question is looked at")]
    pub fn votes_in(&self, term: LeaderEpoch) -> impl Iterator<Item = (NodeId, bool)> {
        // Terms only grow: what is older is behind the first entry of an older term.
        let votes = self.journal.iter().rev().filter_map(|ghost| match ghost.entry {
            Entry::Vote { epoch, candidate } => Some((epoch, candidate, ghost.durable)),
            _ => None,
        });
        let of_term =
            votes.take_while(move |(epoch, ..)| *epoch >= term).filter(move |(epoch, ..)| *epoch == term);
        of_term.filter_map(|(_, candidate, durable)| Some((candidate?, durable)))
    }

    /// Whether faults allow that a partition was given up (SAFETY J5): its records were hit, or a group was hit whose
    /// table is lost, and nothing later proves the partition whole.
    #[must_use]
    pub fn may_be_given_up(&self, partition: TopicPartition) -> bool {
        self.flips.iter().any(|flip| {
            let hit = (flip.first.0..=flip.last.0).any(|lsn| {
                self.ghost(Lsn(lsn)).is_some_and(|ghost| partition_of(&ghost.entry) == Some(partition))
            });
            let proven = || {
                let later = self.journal.iter().skip(usize::try_from(flip.last.0).unwrap_or(usize::MAX));
                later.filter(|ghost| ghost.durable).any(|ghost| proven_by(&ghost.entry) == Some(partition))
            };
            hit || (flip.whole_group && !proven())
        })
    }

    /// Whether a flip hit an entry that moved this log's start: a recovery that finds a hole there, and the log whole, goes on
    /// from the start before (seed 899).
    #[must_use]
    pub fn lost_a_start(&self, partition: TopicPartition) -> bool {
        let moved = |lsn: u64| {
            let ghost = self.ghost(Lsn(lsn));
            ghost.is_some_and(
                |ghost| matches!(&ghost.entry, Entry::LogStart { partition: of, .. } if *of == partition),
            )
        };
        self.flips.iter().any(|flip| (flip.first.0..=flip.last.0).any(moved))
    }

    /// Whether the entry's record bytes or its group were hit by a flip.
    #[must_use]
    pub fn was_hit(&self, lsn: Lsn) -> bool {
        self.flips.iter().any(|flip| (flip.first..=flip.last).contains(&lsn))
    }
}

/// The log that an entry proves whole up to there: it says where the log ended, or begins it anew (seed 1,004 of the whole world).
fn proven_by(entry: &Entry) -> Option<TopicPartition> {
    let goes_on = matches!(entry, Entry::Append(_) | Entry::EpochStart { .. } | Entry::Reset { .. });
    partition_of(entry).filter(|_| goes_on)
}

/// The partition that an entry is about.
#[must_use]
pub fn partition_of(entry: &Entry) -> Option<TopicPartition> {
    match entry {
        Entry::Append(AppendEntry { partition, .. })
        | Entry::EpochStart { partition, .. }
        | Entry::ProducersExpired { partition, .. }
        | Entry::Cut { partition, .. }
        | Entry::Reset { partition, .. }
        | Entry::Damaged { partition, .. }
        | Entry::LogStart { partition, .. }
        | Entry::Compacted { partition, .. } => Some(*partition),
        Entry::Metadata { .. }
        | Entry::MetadataCut { .. }
        | Entry::MetadataImage { .. }
        | Entry::Dropped { .. }
        | Entry::Dropping { .. }
        | Entry::Started { .. }
        | Entry::Stopped
        | Entry::Founded { .. }
        | Entry::Vote { .. }
        | Entry::Trusted { .. } => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::judges::shadow::{shadow_of, whole_hash};
    use seedlog_core::ids::Offset;
    use seedlog_core::ids::{LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, Uuid};
    use seedlog_core::records::BatchBuilder;
    use seedlog_core::records::BatchHeader;
    use seedlog_core::time::WallMs;

    /// The partition of all planted violations.
    pub(crate) fn partition() -> TopicPartition {
        TopicPartition { topic_id: Uuid([1; 16]), partition: PartitionIndex(0) }
    }

    /// A batch of two records at `base` in an epoch, by producer 9.
    pub(crate) fn batch_in(epoch: i32, base: i64, sequence: i32) -> (BatchHeader, bytes::Bytes) {
        let mut builder = BatchBuilder::new().stamped(Offset(base), LeaderEpoch(epoch)).producer(
            ProducerId(9),
            ProducerEpoch(0),
            sequence,
        );
        builder.add(100, None, Some(format!("value {base} of {epoch}").as_bytes()), &[]);
        builder.add(101, None, Some(b"second"), &[]);
        let bytes = builder.finish();
        (BatchHeader::parse(&bytes).unwrap(), bytes)
    }

    /// The same in epoch 1.
    pub(crate) fn batch(base: i64, sequence: i32) -> (BatchHeader, bytes::Bytes) {
        batch_in(1, base, sequence)
    }

    /// The entry that appends it.
    pub(crate) fn entry(header: &BatchHeader) -> Entry {
        Entry::Append(AppendEntry {
            partition: partition(),
            base_offset: header.base_offset,
            offsets: 2,
            epoch: header.leader_epoch,
            batch_bytes: header.batch_bytes,
            crc: header.crc,
            append_time: WallMs(100),
            roll: false,
        })
    }

    /// Appends a batch.
    pub(crate) fn append(oracle: &mut Oracle, epoch: i32, base: i64) {
        let (header, bytes) = batch_in(epoch, base, i32::try_from(base).unwrap());
        let lsn = oracle.end().next();
        oracle.on_entry(lsn, &entry(&header), Some(Arc::new(shadow_of(&header, &bytes))));
    }

    /// The batches of an oracle that end at `start` or before.
    pub(crate) fn front(of: &Oracle, start: i64) -> Vec<Arc<ShadowBatch>> {
        let log = &of.logs[&partition()];
        log.batches[..log.count_below(Offset(start))].iter().map(|held| Arc::clone(&held.batch)).collect()
    }

    /// The log starts there from now on.
    pub(crate) fn begin(oracle: &mut Oracle, start: i64) {
        let front = front(oracle, start);
        let entry = Entry::LogStart { partition: partition(), start: Offset(start) };
        oracle.on_start(oracle.end().next(), &entry, front);
    }

    /// An oracle whose first entry is a reset to `start`; what is before that is as in `of`.
    pub(crate) fn reset(of: &Oracle, start: i64) -> Oracle {
        let mut oracle = Oracle::default();
        let entry = Entry::Reset {
            partition: partition(),
            start: Offset(start),
            producers: Vec::new(),
            tombstones_gone_to: Offset::ZERO,
        };
        oracle.on_start(Lsn(1), &entry, front(of, start));
        oracle
    }

    /// An oracle that saw `count` batches.
    pub(crate) fn oracle(count: i64) -> Oracle {
        let mut oracle = Oracle::default();
        for index in 0..count {
            append(&mut oracle, 1, index * 2);
        }
        oracle
    }

    #[test]
    fn the_shadow_log_follows_the_entries_and_recovery() {
        let mut oracle = oracle(3);
        assert_eq!(oracle.logs[&partition()].end(), Offset(6));
        oracle.on_platter(Lsn(2));
        assert_eq!(oracle.journal.iter().filter(|ghost| ghost.durable).count(), 2);
        let (_, bytes) = batch(2, 2);
        assert_eq!(oracle.logs[&partition()].at(Offset(2)).unwrap().batch.whole, whole_hash(&bytes));
        oracle.logs.get_mut(&partition()).unwrap().matched = 3;
        let replayed = oracle.replay(Lsn(2));
        oracle.on_recovered(Lsn(2), replayed);
        assert_eq!((oracle.end(), oracle.logs[&partition()].matched), (Lsn(2), 2));
    }

    #[test]
    fn a_cut_that_never_reached_the_disk_is_undone_by_recovery() {
        let mut oracle = oracle(3);
        oracle.on_entry(Lsn(4), &Entry::Cut { partition: partition(), to: Offset(2) }, None);
        append(&mut oracle, 4, 2);
        assert_eq!(oracle.logs[&partition()].end(), Offset(4));
        assert_eq!(
            oracle.logs[&partition()].epochs,
            [(LeaderEpoch(1), Offset(0)), (LeaderEpoch(4), Offset(2))]
        );
        let replayed = oracle.replay(Lsn(3));
        oracle.on_recovered(Lsn(3), replayed);
        assert_eq!(oracle.logs[&partition()].end(), Offset(6));
    }

    #[test]
    fn a_log_that_starts_later_has_the_same_batches_at_the_same_places() {
        let mut whole = oracle(3);
        append(&mut whole, 2, 6);
        begin(&mut whole, 3);
        let log = &whole.logs[&partition()];
        assert_eq!((log.start(), log.end(), log.batches.len()), (Offset(3), Offset(8), 4));
        assert_eq!(log.epochs, [(LeaderEpoch(1), Offset(3)), (LeaderEpoch(2), Offset(6))]);
        assert_eq!((log.start_at(Lsn(4)), log.start_at(Lsn(5))), (Offset(0), Offset(3)));
        // The first batch of a log that was reset reaches over its start.
        let mut other = reset(&whole, 3);
        assert_eq!(other.logs[&partition()].end(), Offset(3));
        append(&mut other, 1, 2);
        let log = &other.logs[&partition()];
        assert_eq!((log.start(), log.end(), log.batches.len()), (Offset(3), Offset(4), 2));
        assert_eq!(log.epochs, [(LeaderEpoch(1), Offset(3))]);
        assert_eq!(log.batches[0].batch.whole, whole.logs[&partition()].batches[0].batch.whole);
        let replayed = other.replay(Lsn(1));
        assert_eq!(replayed.logs[&partition()].end(), Offset(3));
    }

    #[test]
    fn a_record_that_never_was_true_goes_with_those_that_are_deleted() {
        let whole = oracle(3);
        let mut other = oracle(1);
        append(&mut other, 2, 2);
        append(&mut other, 3, 4);
        let entry = Entry::LogStart { partition: partition(), start: Offset(4) };
        other.on_start(Lsn(4), &entry, front(&whole, 4));
        let (log, truth) = (&other.logs[&partition()], &whole.logs[&partition()]);
        assert_eq!(log.batches[1].batch.whole, truth.batches[1].batch.whole);
        assert_eq!((log.batches[0].lsn, log.batches[1].lsn, log.batches[2].lsn), (Lsn(1), Lsn(4), Lsn(3)));
    }

    #[test]
    fn a_reset_that_is_not_on_disk_yet_leaves_the_start_where_it_was() {
        let mut oracle = oracle(3);
        begin(&mut oracle, 3);
        let before = oracle.logs[&partition()].clone();
        let entry = |start| Entry::Reset {
            partition: partition(),
            start: Offset(start),
            producers: Vec::new(),
            tombstones_gone_to: Offset::ZERO,
        };
        oracle.on_start(Lsn(5), &entry(5), Vec::new());
        oracle.on_start(Lsn(6), &entry(0), Vec::new());
        let log = &oracle.logs[&partition()];
        assert_eq!((before.start_at(Lsn(4)), log.start_at(Lsn(4))), (Offset(3), Offset(3)));
        assert_eq!(
            (log.start_at(Lsn(5)), log.start_at(Lsn(6)), log.end()),
            (Offset(5), Offset(0), Offset(0))
        );
    }

    /// Seed 15,202: a leader alone had a record that nobody else got, and the log that it got instead begins within a batch there.
    #[test]
    fn what_was_filled_in_makes_way_for_a_batch_that_reaches_over_the_start() {
        let mut oracle = reset(&oracle(2), 4);
        append(&mut oracle, 2, 3);
        let bases = |oracle: &Oracle| -> Vec<i64> {
            oracle.logs[&partition()].batches.iter().map(|held| held.batch.header.base_offset.0).collect()
        };
        assert_eq!(bases(&oracle), [0, 3]);
        append(&mut oracle, 2, 5);
        assert_eq!(bases(&oracle), [0, 3, 5]);
    }

    #[test]
    fn a_lost_table_excuses_what_nothing_later_proves() {
        let mut oracle = oracle(3);
        oracle.on_platter(Lsn(3));
        assert!(!oracle.may_be_given_up(partition()));
        let other = TopicPartition { partition: PartitionIndex(7), ..partition() };
        oracle.flips.push(Flip { first: Lsn(1), last: Lsn(1), whole_group: true });
        assert!(oracle.may_be_given_up(partition()));
        assert!(oracle.may_be_given_up(other));
        oracle.flips[0].whole_group = false;
        assert!(oracle.may_be_given_up(partition()));
        assert!(!oracle.may_be_given_up(other));
    }
}
