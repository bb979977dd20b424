//! What a node's logs must hold, kept beside the node and never asked of it: one shadow log a partition, and the journal as
//! it was given out (INVARIANTS.md, "cheap oracle").

use crate::hash::{hash64, mix};
use seedlog_core::cluster::records::MetadataRecord;
use seedlog_core::ids::{Lsn, Offset, ProducerId, TopicPartition, Uuid};
use seedlog_core::journal::{AppendEntry, Entry};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader, RecordIter};
use seedlog_core::recovered::Recovered;
use std::collections::{BTreeMap, BTreeSet};

/// One node's truth.
#[derive(Debug, Default)]
pub struct Oracle {
    /// By partition; deleted ones stay.
    pub logs: BTreeMap<TopicPartition, ShadowLog>,
    /// By id; deleted ones stay.
    pub topics: BTreeMap<Uuid, ShadowTopic>,
    /// The journal's entries; lsn 1 is the first.
    pub journal: Vec<Ghost>,
    /// What faults did to bytes that were durable.
    pub flips: Vec<Flip>,
    /// With flush=interval: unsynced entries may be gone since a power cut or a failed sync.
    pub unsynced_excused: bool,
}

/// One partition.
#[derive(Debug, Clone, Default)]
pub struct ShadowLog {
    /// Its batches in order.
    pub batches: Vec<ShadowBatch>,
    /// Part of it was lost to a fault that allows it; the node must not serve it any more.
    pub given_up: bool,
    /// The highest watermark that left the node.
    pub high_watermark: Offset,
    /// Producers that lost batches to a power cut under flush=interval: if nothing of one is left, nobody knows what it
    /// wrote, and Kafka takes its next batch whatever its sequence (KIP-360).
    pub forgotten: BTreeSet<ProducerId>,
}

/// One batch as it was appended.
#[derive(Debug, Clone)]
pub struct ShadowBatch {
    /// Its stamped header.
    pub header: BatchHeader,
    /// Its entry in the journal.
    pub lsn: Lsn,
    /// Hash of all its bytes as stamped.
    pub whole: u64,
    /// Hash of its payload.
    pub payload: u64,
    /// Its records' timestamps.
    pub timestamps: Vec<i64>,
    /// An acknowledgement left.
    pub acked: bool,
    /// It was sent to a reader.
    pub served: bool,
}

/// One topic.
#[derive(Debug, Clone)]
pub struct ShadowTopic {
    /// Its name.
    pub name: String,
    /// The entry that made it.
    pub created: Lsn,
    /// The entry that removed it.
    pub removed: Option<Lsn>,
    /// A client was told that it exists.
    pub acked: bool,
}

/// One entry of the journal as it was given out.
#[derive(Debug, Clone)]
pub struct Ghost {
    /// The entry.
    pub entry: Entry,
    /// Hash of its batch as stamped; 0 without one.
    pub whole: u64,
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

impl ShadowLog {
    /// The offset that the next batch takes.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, |batch| batch.header.next_offset())
    }

    /// The batch that begins at an offset.
    #[must_use]
    pub fn at(&self, base: Offset) -> Option<&ShadowBatch> {
        self.index_of(base).map(|at| &self.batches[at])
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, base: Offset) -> Option<&mut ShadowBatch> {
        self.index_of(base).map(|at| &mut self.batches[at])
    }

    fn index_of(&self, base: Offset) -> Option<usize> {
        self.batches.binary_search_by_key(&base, |batch| batch.header.base_offset).ok()
    }

    /// What is at or behind `end` is gone, as flush=interval allows.
    pub fn excuse(&mut self, end: Offset) {
        let gone = self.batches.iter().filter(|batch| batch.header.base_offset >= end);
        self.forgotten.extend(
            gone.filter(|batch| batch.header.has_producer_id()).map(|batch| batch.header.producer_id),
        );
    }

    /// Forgets what is at or behind `end`.
    pub fn truncate(&mut self, end: Offset) {
        let keep = self.batches.partition_point(|batch| batch.header.base_offset < end);
        self.batches.truncate(keep);
        self.high_watermark = self.high_watermark.min(end);
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

    /// An entry was given out. Gives back the shadow batch if it appends one.
    pub fn on_entry(
        &mut self,
        lsn: Lsn,
        entry: &Entry,
        batch: Option<(&BatchHeader, &[u8])>,
    ) -> Option<ShadowBatch> {
        assert!(lsn == self.end().next(), "entries are numbered in order");
        let shadow = batch.map(|(header, bytes)| shadow_of(header, bytes, lsn));
        let whole = shadow.as_ref().map_or(0, |shadow| shadow.whole);
        self.journal.push(Ghost { entry: entry.clone(), whole, durable: false });
        if let Entry::Metadata { record, .. } = entry {
            match MetadataRecord::decode(record) {
                Ok(MetadataRecord::Topic { topic_id, name, .. }) => {
                    let topic = ShadowTopic { name, created: lsn, removed: None, acked: false };
                    self.topics.insert(topic_id, topic);
                }
                Ok(MetadataRecord::RemoveTopic { topic_id }) => {
                    if let Some(topic) = self.topics.get_mut(&topic_id) {
                        topic.removed = Some(lsn);
                    }
                }
                Ok(
                    MetadataRecord::LeaderChange { .. }
                    | MetadataRecord::RegisterBroker { .. }
                    | MetadataRecord::Partition { .. }
                    | MetadataRecord::ProducerIds { .. },
                )
                | Err(_) => {}
            }
        }
        if let (Entry::Append(append), Some(shadow)) = (entry, &shadow) {
            self.logs.entry(append.partition).or_default().batches.push(shadow.clone());
        }
        shadow
    }

    /// Entries up to `through` are truly on the platter.
    pub fn on_platter(&mut self, through: Lsn) {
        for ghost in self.journal.iter_mut().take(usize::try_from(through.0).unwrap_or(usize::MAX)).rev() {
            if ghost.durable {
                break;
            }
            ghost.durable = true;
        }
    }

    /// Recovery ended at `end`: what is behind it never was.
    pub fn on_recovered(&mut self, end: Lsn) {
        self.journal.truncate(usize::try_from(end.0).unwrap_or(usize::MAX));
        self.unsynced_excused = false;
        self.topics.retain(|_, topic| topic.created <= end);
        for topic in self.topics.values_mut() {
            topic.removed = topic.removed.filter(|&removed| removed <= end);
        }
        let topics = &self.topics;
        self.logs.retain(|partition, _| topics.contains_key(&partition.topic_id));
    }

    /// A recovery has ended: what it does not have never was, and what it gave up is given up. Gives back whether
    /// acknowledged records are gone, which a judge has excused.
    pub fn take_over(&mut self, recovered: &Recovered) -> bool {
        let mut excused = false;
        for (partition, log) in &mut self.logs {
            let held = recovered.partitions.get(partition);
            if held.is_some_and(|held| held.damage.is_some()) {
                log.given_up = true;
            }
            if let Some(held) = held
                && !log.given_up
            {
                let end = held.log.end();
                excused |= log.batches.iter().any(|batch| batch.header.base_offset >= end && batch.acked);
                if self.unsynced_excused {
                    log.excuse(end);
                }
                log.truncate(end);
            }
        }
        self.on_recovered(recovered.end);
        excused
    }

    /// The topic that has this name.
    #[must_use]
    pub fn topic_named(&self, name: &str) -> Option<Uuid> {
        let live = self.topics.iter().filter(|(_, topic)| topic.name == name && topic.removed.is_none());
        live.map(|(&topic_id, _)| topic_id).next_back()
    }

    /// Whether a topic exists.
    #[must_use]
    pub fn is_live(&self, topic_id: Uuid) -> bool {
        self.topics.get(&topic_id).is_some_and(|topic| topic.removed.is_none())
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
                later.filter(|ghost| ghost.durable).any(|ghost| partition_of(&ghost.entry) == Some(partition))
            };
            hit || (flip.whole_group && !proven())
        })
    }

    /// Whether the entry's record bytes or its group were hit by a flip.
    #[must_use]
    pub fn was_hit(&self, lsn: Lsn) -> bool {
        self.flips.iter().any(|flip| (flip.first..=flip.last).contains(&lsn))
    }
}

/// The partition that an entry is about.
#[must_use]
pub fn partition_of(entry: &Entry) -> Option<TopicPartition> {
    match entry {
        Entry::Append(AppendEntry { partition, .. })
        | Entry::EpochStart { partition, .. }
        | Entry::ProducersExpired { partition, .. } => Some(*partition),
        Entry::Metadata { .. } | Entry::Dropped { .. } | Entry::Started { .. } | Entry::Stopped => None,
    }
}

/// The hash of a batch as it stands in a log.
#[must_use]
pub fn whole_hash(stamped: &[u8]) -> u64 {
    let (header, payload) = stamped.split_at(BATCH_HEADER_BYTES.min(stamped.len()));
    mix(hash64(header), hash64(payload))
}

fn shadow_of(header: &BatchHeader, bytes: &[u8], lsn: Lsn) -> ShadowBatch {
    let mut stamped = [0; BATCH_HEADER_BYTES];
    header.write(&mut stamped);
    let payload = &bytes[BATCH_HEADER_BYTES..];
    let hash = hash64(payload);
    ShadowBatch {
        header: *header,
        lsn,
        whole: mix(hash64(&stamped), hash),
        payload: hash,
        timestamps: RecordIter::new(header, payload)
            .map_while(|record| record.ok().map(|r| r.timestamp))
            .collect(),
        acked: false,
        served: false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use seedlog_core::ids::{LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId};
    use seedlog_core::records::BatchBuilder;
    use seedlog_core::time::WallMs;

    /// The partition of all planted violations.
    pub(crate) fn partition() -> TopicPartition {
        TopicPartition { topic_id: Uuid([1; 16]), partition: PartitionIndex(0) }
    }

    /// A batch of two records at `base`, by producer 9.
    pub(crate) fn batch(base: i64, sequence: i32) -> (BatchHeader, bytes::Bytes) {
        let mut builder = BatchBuilder::new().stamped(Offset(base), LeaderEpoch(1)).producer(
            ProducerId(9),
            ProducerEpoch(0),
            sequence,
        );
        builder.add(100, None, Some(format!("value {base}").as_bytes()), &[]);
        builder.add(101, None, Some(b"second"), &[]);
        let bytes = builder.finish();
        (BatchHeader::parse(&bytes).unwrap(), bytes)
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

    /// An oracle that saw `count` batches.
    pub(crate) fn oracle(count: i64) -> Oracle {
        let mut oracle = Oracle::default();
        let topic = ShadowTopic { name: "t".to_owned(), created: Lsn(1), removed: None, acked: true };
        oracle.topics.insert(partition().topic_id, topic);
        for index in 0..count {
            let (header, bytes) = batch(index * 2, i32::try_from(index * 2).unwrap());
            let lsn = oracle.end().next();
            oracle.on_entry(lsn, &entry(&header), Some((&header, &bytes)));
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
        assert_eq!(oracle.logs[&partition()].at(Offset(2)).unwrap().whole, whole_hash(&bytes));
        oracle.on_recovered(Lsn(2));
        assert_eq!(oracle.end(), Lsn(2));
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
