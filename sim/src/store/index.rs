//! Where each batch of each partition stands.

use crate::disk::Inode;
use seedlog_core::ids::{LeaderEpoch, Lsn, Offset, TopicPartition, Uuid};
use seedlog_core::output::Extent;
use std::collections::BTreeMap;

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

/// All batches that can be read.
#[derive(Debug, Default)]
pub(super) struct Index(BTreeMap<TopicPartition, Vec<BatchRef>>);

impl Index {
    /// Adds a batch at the end of its partition.
    pub(super) fn push(&mut self, partition: TopicPartition, batch: BatchRef) {
        let log = self.0.entry(partition).or_default();
        assert!(log.last().is_none_or(|last| last.next <= batch.base), "batches are indexed in order");
        log.push(batch);
    }

    /// The batches of an extent: from the one that holds `from`, before `to`.
    #[must_use]
    pub(super) fn covering(&self, extent: &Extent) -> &[BatchRef] {
        let Some(log) = self.0.get(&extent.partition) else { return &[] };
        let first = log.partition_point(|batch| batch.next <= extent.from);
        let end = log.partition_point(|batch| batch.next <= extent.to);
        log.get(first..end).unwrap_or(&[])
    }

    /// The batch that begins at an offset.
    #[must_use]
    pub(super) fn find(&self, partition: TopicPartition, base: Offset) -> Option<&BatchRef> {
        let log = self.0.get(&partition)?;
        log.binary_search_by_key(&base, |batch| batch.base).ok().map(|at| &log[at])
    }

    /// A batch was copied to another place.
    pub(super) fn moved(&mut self, partition: TopicPartition, base: Offset, place: Place) {
        let Some(log) = self.0.get_mut(&partition) else { return };
        if let Ok(at) = log.binary_search_by_key(&base, |batch| batch.base) {
            log[at].place = place;
        }
    }

    /// Forgets a topic.
    pub(super) fn drop_topic(&mut self, topic_id: Uuid) {
        self.0.retain(|partition, _| partition.topic_id != topic_id);
    }

    /// Keeps some partitions only.
    pub(super) fn retain(&mut self, keep: impl Fn(TopicPartition) -> bool) {
        self.0.retain(|&partition, _| keep(partition));
    }

    /// Partitions with their batches.
    pub(super) fn logs(&self) -> impl Iterator<Item = (TopicPartition, &[BatchRef])> {
        self.0.iter().map(|(&partition, log)| (partition, log.as_slice()))
    }

    /// Whether a batch stands in this file.
    #[must_use]
    pub(super) fn refers_to(&self, inode: Inode) -> bool {
        self.0.values().flatten().any(|batch| batch.place.inode == inode)
    }
}
