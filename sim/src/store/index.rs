//! Where each batch of each partition stands, and the bytes of those that are not written yet.

use crate::disk::Inode;
use bytes::Bytes;
use seedlog_core::ids::{LeaderEpoch, Lsn, Offset, TopicPartition, Uuid};
use seedlog_core::log::SegmentAge;
use seedlog_core::output::Extent;
use std::collections::{BTreeMap, VecDeque};

/// Where a batch's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub inode: Inode,
    /// Where in it.
    pub at: u64,
    /// It is a segment, not a journal file.
    pub in_segment: bool,
}

/// One batch: what is known of it without reading it, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRef {
    /// Its first offset.
    pub base: Offset,
    /// The offset after its last.
    pub next: Offset,
    /// The journal entry that appended it.
    pub lsn: Lsn,
    /// The epoch it was appended in.
    pub epoch: LeaderEpoch,
    /// Its CRC as the journal's table states it.
    pub crc: u32,
    /// Its size.
    pub bytes: u32,
    /// It opens a segment.
    pub roll: bool,
    /// Where it is.
    pub place: Place,
}

/// A batch that is on its way to the disk.
#[derive(Debug, Clone)]
pub(super) struct Unwritten {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) lsn: Lsn,
    pub(super) bytes: Bytes,
}

/// All batches that can be read.
#[derive(Debug, Default)]
pub(super) struct Index {
    written: BTreeMap<TopicPartition, Vec<BatchRef>>,
    /// What comes behind the written ones: it can be read by those who do not wait for the disk.
    unwritten: BTreeMap<TopicPartition, VecDeque<Unwritten>>,
}

impl Index {
    /// Adds a batch at the end of its partition.
    pub(super) fn push(&mut self, partition: TopicPartition, batch: BatchRef) {
        let log = self.written.entry(partition).or_default();
        assert!(log.last().is_none_or(|last| last.next <= batch.base), "batches are indexed in order");
        log.push(batch);
    }

    /// A batch was taken into a group.
    pub(super) fn push_unwritten(&mut self, partition: TopicPartition, batch: Unwritten) {
        self.unwritten.entry(partition).or_default().push_back(batch);
    }

    /// The entry's batch is written: its bytes, unless it was cut off meanwhile.
    pub(super) fn take_written(&mut self, partition: TopicPartition, lsn: Lsn) -> Option<Bytes> {
        let batches = self.unwritten.get_mut(&partition)?;
        let first = batches.front().filter(|batch| batch.lsn == lsn).map(|batch| batch.bytes.clone())?;
        batches.pop_front();
        if batches.is_empty() {
            self.unwritten.remove(&partition);
        }
        Some(first)
    }

    /// Batches of an extent that are not written yet.
    pub(super) fn unwritten(&self, extent: &Extent) -> impl Iterator<Item = &Unwritten> {
        let batches = self.unwritten.get(&extent.partition).into_iter().flatten();
        batches.filter(|batch| batch.next > extent.from && batch.next <= extent.to)
    }

    /// A partition's log ends at `to`. `true`: something of it stood in a segment.
    pub(super) fn cut(&mut self, partition: TopicPartition, to: Offset) -> bool {
        if let Some(batches) = self.unwritten.get_mut(&partition) {
            batches.retain(|batch| batch.next <= to);
        }
        let Some(log) = self.written.get_mut(&partition) else { return false };
        let keep = log.partition_point(|batch| batch.next <= to);
        let in_segment = log[keep..].iter().any(|batch| batch.place.in_segment);
        log.truncate(keep);
        in_segment
    }

    /// A partition's log starts at `start`: batches that end there or before are gone.
    pub(super) fn take_front(&mut self, partition: TopicPartition, start: Offset) {
        let Some(log) = self.written.get_mut(&partition) else { return };
        let before = log.partition_point(|batch| batch.next <= start);
        log.drain(..before);
    }

    /// A partition's log begins anew, or is gone.
    pub(super) fn clear(&mut self, partition: TopicPartition) {
        self.written.remove(&partition);
        self.unwritten.remove(&partition);
    }

    /// The batches of an extent: from the one that holds `from`, before `to`.
    #[must_use]
    pub(super) fn covering(&self, extent: &Extent) -> &[BatchRef] {
        let Some(log) = self.written.get(&extent.partition) else { return &[] };
        let first = log.partition_point(|batch| batch.next <= extent.from);
        let end = log.partition_point(|batch| batch.next <= extent.to);
        log.get(first..end).unwrap_or(&[])
    }

    /// A log's segments that end at `up_to` or before, oldest first, and the bytes of all behind them. When a batch was written,
    /// `timestamp` knows.
    pub(super) fn ages(
        &self,
        partition: TopicPartition,
        up_to: Offset,
        timestamp: impl Fn(Offset) -> i64,
    ) -> (Vec<SegmentAge>, u64) {
        let log = self.written.get(&partition).map_or(&[][..], Vec::as_slice);
        let in_segments = log.partition_point(|batch| batch.place.in_segment);
        let mut ages = Vec::new();
        let mut behind: u64 = log[in_segments..].iter().map(|batch| u64::from(batch.bytes)).sum();
        behind +=
            self.unwritten.get(&partition).into_iter().flatten().map(|it| it.bytes.len() as u64).sum::<u64>();
        for segment in log[..in_segments].chunk_by(|one, other| one.place.inode == other.place.inode) {
            let next = segment[segment.len() - 1].next;
            let bytes = segment.iter().map(|batch| u64::from(batch.bytes)).sum();
            if next > up_to {
                behind += bytes;
                continue;
            }
            let timestamps = segment.iter().map(|batch| timestamp(batch.base));
            ages.push(SegmentAge { next, bytes, max_timestamp: timestamps.max().unwrap_or(-1) });
        }
        (ages, behind)
    }

    /// A partition's batches that are written.
    #[must_use]
    pub(super) fn log(&self, partition: TopicPartition) -> &[BatchRef] {
        self.written.get(&partition).map_or(&[], Vec::as_slice)
    }

    /// Batches take the place of those within `from..to`, which are given back.
    pub(super) fn swap(
        &mut self,
        partition: TopicPartition,
        (from, to): (Offset, Offset),
        batches: Vec<BatchRef>,
    ) -> Vec<BatchRef> {
        let log = self.written.entry(partition).or_default();
        let from = log.partition_point(|batch| batch.base < from);
        let to = log.partition_point(|batch| batch.base < to);
        log.splice(from..to.max(from), batches).collect()
    }

    /// The batch that begins at an offset.
    #[must_use]
    pub(super) fn find(&self, partition: TopicPartition, base: Offset) -> Option<&BatchRef> {
        let log = self.written.get(&partition)?;
        log.binary_search_by_key(&base, |batch| batch.base).ok().map(|at| &log[at])
    }

    /// The batch of an entry was copied to another place, unless another one stands at its offset by now.
    pub(super) fn moved(&mut self, partition: TopicPartition, (base, lsn): (Offset, Lsn), place: Place) {
        let Some(log) = self.written.get_mut(&partition) else { return };
        if let Ok(at) = log.binary_search_by_key(&base, |batch| batch.base)
            && log[at].lsn == lsn
        {
            log[at].place = place;
        }
    }

    /// Forgets a topic.
    pub(super) fn drop_topic(&mut self, topic_id: Uuid) {
        self.written.retain(|partition, _| partition.topic_id != topic_id);
        self.unwritten.retain(|partition, _| partition.topic_id != topic_id);
    }

    /// Keeps some partitions only.
    pub(super) fn retain(&mut self, keep: impl Fn(TopicPartition) -> bool) {
        self.written.retain(|&partition, _| keep(partition));
    }

    /// Partitions with their batches.
    pub(super) fn logs(&self) -> impl Iterator<Item = (TopicPartition, &[BatchRef])> {
        self.written.iter().map(|(&partition, log)| (partition, log.as_slice()))
    }

    /// Whether a batch stands in this file.
    #[must_use]
    pub(super) fn refers_to(&self, inode: Inode) -> bool {
        self.written.values().flatten().any(|batch| batch.place.inode == inode)
    }
}
