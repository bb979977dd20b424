//! Cleaning passes: the core says what is left of a log ([`Cleaner`]), the background lane writes it to files of their own, and
//! the entry that says so swaps them in (SAFETY J8).
//!
//! A new file begins with a sealed table of its batches, in place of the node's side file: the first bytes of a batch are not
//! under its CRC, so that a flipped bit there would name other offsets (SAFETY J5; seed 3,680).

use super::fill::read_batch;
use super::index::BatchRef;
use super::lane::Op;
use super::snapshot::{StoredBatch, segment_prefix};
use super::{Done, LaneId, Store};
use crate::disk::Disk;
use bytes::Bytes;
use seedlog_core::ids::{Lsn, Offset, OpId, TopicPartition};
use seedlog_core::journal::format::{seal, unseal};
use seedlog_core::log::{CompactedSegment, Compaction, CompactionOrder, CompactionResult};
use seedlog_core::records::{
    BATCH_HEADER_BYTES, BatchHeader, Cleaner, Cleaning, KeyOffsets, Payload, RecordIter,
};
use std::collections::BTreeSet;

const MAGIC: [u8; 8] = *b"SIMTABLE";

/// A batch as it stands in a segment, and where it does.
type Found = (BatchRef, BatchHeader, Bytes);

/// A new segment: its numbers, its name, its batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewSegment {
    segment: CompactedSegment,
    name: String,
    table: Vec<StoredBatch>,
    bytes: Vec<u8>,
}

impl NewSegment {
    /// What its file holds.
    fn content(&self) -> Vec<u8> {
        [&seal(MAGIC, &self.table), &self.bytes[..]].concat()
    }
}

impl Store {
    /// Cleans a log if that is worth it. Gives how that ended, unless it takes its time: then a signal says so.
    pub fn compact(
        &mut self,
        op: OpId,
        order: &CompactionOrder,
        (disk, is_full): (&Disk, bool),
    ) -> Option<CompactionResult> {
        let partition = order.partition;
        let log = self.index.log(partition);
        let last = log.iter().rfind(|batch| batch.place.in_segment);
        let grows = last.is_some_and(|last| last.next < order.sealed_to);
        let growing = if grows { self.segments.active_inode(partition, disk) } else { None };
        // A snapshot may be adding to the last file.
        let growing = log.iter().find(|batch| Some(batch.place.inode) == growing).map(|batch| batch.base);
        let up_to = growing.map_or(order.up_to, |growing| order.up_to.min(growing));
        let header_at = |base| self.index.find(partition, base).and_then(|batch| read_batch(batch, disk));
        let timestamp = |base| header_at(base).map_or(-1, |(header, _)| header.max_timestamp);
        let (ages, _) = self.index.ages(partition, up_to, timestamp);
        let Some(end) = order.end(&ages) else { return Some(CompactionResult::NotDue) };
        if is_full {
            return Some(CompactionResult::Failed);
        }
        let held = log.iter().take_while(|batch| batch.place.in_segment && batch.next <= end);
        let found: Option<Vec<Found>> = held
            .map(|batch| read_batch(batch, disk).map(|(header, bytes)| (*batch, header, bytes)))
            .collect();
        // What is damaged is found by whoever reads it.
        let Some(found) = found else { return Some(CompactionResult::Failed) };
        let segments = clean(order, &found, self.config.cleaner_keys_max);
        let (Some((first, last)), Some((segments, cleaned_to, tombstones_gone_to))) =
            (found.first().zip(found.last()), segments)
        else {
            return Some(CompactionResult::Failed);
        };
        let compaction = Compaction {
            made: order.made,
            from: first.0.base,
            to: last.0.next,
            cleaned_to,
            tombstones_gone_to,
            segments: segments.iter().map(|new| new.segment).collect(),
        };
        let mut ops = Vec::new();
        for new in &segments {
            let name = || new.name.clone();
            ops.extend([
                Op::Create { name: name() },
                Op::Write { name: name(), at: 0, bytes: new.content() },
                Op::Sync { name: name() },
            ]);
        }
        ops.extend([Op::SyncDir, Op::Done(Done::Compacted { op, partition, compaction })]);
        self.lanes[LaneId::Background as usize].extend(ops);
        None
    }

    /// New segments are on disk: they are kept in mind until they are swapped in.
    pub(super) fn on_compacted(&mut self, partition: TopicPartition, compaction: &Compaction, disk: &Disk) {
        let batches = self.find_compacted(partition, compaction, disk);
        self.compacted = Some((partition, compaction.made, batches));
    }

    /// The batches of new segments, but for those whose files are gone again: at a recovery a later pass, whose entry follows, may
    /// have taken the place of some (seed 3,680).
    fn find_compacted(
        &mut self,
        partition: TopicPartition,
        compaction: &Compaction,
        disk: &Disk,
    ) -> Vec<BatchRef> {
        let mut batches = Vec::new();
        for segment in &compaction.segments {
            let name = name_of(partition, segment.base, compaction.made);
            let Some(inode) = disk.lookup(&name) else { continue };
            self.segments.name(inode, &name);
            let table: Vec<StoredBatch> =
                unseal(MAGIC, disk.content(inode)).expect("bits flip in batches alone");
            let behind = seal(MAGIC, &table).len() as u64;
            batches.extend(table.into_iter().map(|batch| batch.in_segment(inode, behind)));
        }
        batches
    }

    /// The batches of new segments that are not swapped in yet.
    pub fn compacted<'a>(&'a self, disk: &'a Disk) -> impl Iterator<Item = Bytes> + 'a {
        let batches = self.compacted.iter().flat_map(|(_, _, batches)| batches);
        batches.filter_map(|batch| read_batch(batch, disk).map(|(_, bytes)| bytes))
    }

    /// The entry `lsn` swaps new segments in. What they take the place of is removed once that is on disk.
    pub(super) fn swap(&mut self, partition: TopicPartition, compaction: &Compaction, lsn: Lsn) {
        let is_it = |(of, made, _): &mut (TopicPartition, Lsn, Vec<BatchRef>)| {
            *of == partition && *made == compaction.made
        };
        let Some((_, _, mut batches)) = self.compacted.take_if(is_it) else { return };
        batches.iter_mut().for_each(|batch| batch.lsn = lsn);
        let replaced = self.index.swap(partition, (compaction.from, compaction.to), batches);
        let mut inodes: BTreeSet<_> =
            replaced.iter().filter(|batch| batch.place.in_segment).map(|batch| batch.place.inode).collect();
        for batch in self.index.log(partition) {
            inodes.remove(&batch.place.inode);
        }
        let names = inodes.iter().filter_map(|inode| self.segments.name_of(*inode)).collect();
        self.waiting_unlinks.push_back((lsn, names));
        self.tail
            .retain(|(of, base, _)| *of != partition || *base < compaction.from || *base >= compaction.to);
        self.segments.close(partition);
    }

    /// Files whose place others have taken go once the entry that says so is on disk.
    pub(super) fn plan_waiting_unlinks(&mut self) {
        while let Some((_, names)) = self.waiting_unlinks.pop_front_if(|(lsn, _)| *lsn <= self.synced) {
            let lane = &mut self.lanes[LaneId::Background as usize];
            lane.extend(names.into_iter().map(|name| Op::Unlink { name }));
            lane.extend([Op::SyncDir]);
        }
    }
}

fn name_of(partition: TopicPartition, base: Offset, made: Lsn) -> String {
    format!("{}-{:012}-{}-made-{made}", segment_prefix(partition.topic_id), base.0, partition.partition)
}

/// The new segments, up to where each key stands once at most, and up to where tombstones are gone. `None`: not even the first
/// batch's keys find room.
fn clean(
    order: &CompactionOrder,
    found: &[Found],
    keys_max: usize,
) -> Option<(Vec<NewSegment>, Offset, Offset)> {
    let mut keys = KeyOffsets::new(order.hash_key, 0);
    let mut mapped_to = order.dirty_from;
    for (batch, header, bytes) in found.iter().filter(|(batch, ..)| batch.next > order.dirty_from) {
        if keys.len() >= keys_max && mapped_to > order.dirty_from {
            break;
        }
        let records = RecordIter::new(header, &bytes[BATCH_HEADER_BYTES..]).map_while(Result::ok);
        let dirty = records.filter(|record| record.offset >= order.dirty_from);
        for (key, offset) in dirty.filter_map(|record| Some((record.key?, record.offset))) {
            if !keys.note(key, offset) {
                return None;
            }
        }
        mapped_to = batch.next;
    }
    let producers_last = order.producers_last.iter().copied().collect();
    let rules = Cleaning {
        keys: &keys,
        mapped_to,
        tombstones_to: order.tombstones_to,
        now: order.now,
        delete_retention_ms: order.rules.delete_retention_ms,
        producers_last: &producers_last,
    };
    let mut segments: Vec<NewSegment> = Vec::new();
    let mut put = |header: BatchHeader, bytes: Bytes| {
        let size = u64::from(header.batch_bytes);
        let is_full = segments.last().is_none_or(|last| last.segment.bytes + size > order.segment_bytes);
        if is_full {
            let base = header.base_offset;
            let name = name_of(order.partition, base, order.made);
            let segment = CompactedSegment { base, next: base, bytes: 0, lines: 0, max_timestamp: -1 };
            segments.push(NewSegment { segment, name, table: Vec::new(), bytes: Vec::new() });
        }
        let new = segments.last_mut().expect("it was begun");
        new.table.push(StoredBatch::cleaned(&header, is_full, new.bytes.len() as u64));
        new.bytes.extend_from_slice(&bytes);
        new.segment.bytes += size;
        new.segment.next = header.next_offset();
        new.segment.max_timestamp = new.segment.max_timestamp.max(header.max_timestamp);
    };
    let mut cleaner = Cleaner::new();
    for (_, header, bytes) in found {
        let records = &bytes[BATCH_HEADER_BYTES..];
        let payload = Payload { records, compress: |records: &[u8]| Some(records.to_vec()) };
        cleaner.add(&rules, header, bytes, payload, &mut put).ok()?;
    }
    cleaner.end_gap(&mut put);
    Some((segments, mapped_to, cleaner.tombstones_gone_to()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{run, started};
    use super::*;
    use crate::judges::oracle::tests::{batch, partition};
    use crate::rng::{Purpose, Stream};
    use crate::store::stamped;

    #[test]
    fn a_flipped_bit_in_a_cleaned_batch_names_no_other_offsets() {
        let (mut disk, mut rng) = (Disk::default(), Stream::new(1, Purpose::Disk, 0));
        let mut store = started(&mut disk, &mut rng);
        let (header, bytes) = batch(0, 0);
        let whole = stamped(&header, &bytes);
        let segment = CompactedSegment {
            base: Offset(0),
            next: header.next_offset(),
            bytes: whole.len() as u64,
            lines: 0,
            max_timestamp: header.max_timestamp,
        };
        let name = name_of(partition(), Offset(0), Lsn(7));
        let table = vec![StoredBatch::cleaned(&header, true, 0)];
        let new = NewSegment { segment, name: name.clone(), table, bytes: whole.to_vec() };
        let write = Op::Write { name: name.clone(), at: 0, bytes: new.content() };
        let sync = Op::Sync { name: name.clone() };
        store.lanes[LaneId::Background as usize].extend([Op::Create { name: name.clone() }, write, sync]);
        run(&mut store, &mut disk, &mut rng);
        let (from, to) = (Offset(0), header.next_offset());
        let compaction = Compaction {
            made: Lsn(7),
            from,
            to,
            cleaned_to: to,
            tombstones_gone_to: Offset::ZERO,
            segments: vec![segment],
        };
        let found = store.find_compacted(partition(), &compaction, &disk);
        assert_eq!((found[0].base, found[0].next), (from, to));
        assert!(read_batch(&found[0], &disk).is_some());
        let inode = disk.lookup(&name).expect("it was written");
        disk.flip(inode, found[0].place.at + 5, 6, true);
        assert_eq!(store.find_compacted(partition(), &compaction, &disk), found);
        assert!(read_batch(&found[0], &disk).is_none(), "who reads it is told");
    }
}
