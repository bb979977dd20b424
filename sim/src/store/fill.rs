//! Reading: places are taken when the output is (SAFETY R8), bytes are read later, and every batch is checked against what
//! the journal's table says of it before it leaves.

use super::Store;
use super::index::BatchRef;
use crate::disk::Disk;
use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_core::input::ReadResult;
use seedlog_core::output::{Extent, Fill, Look, Reply};
use seedlog_core::records::{
    BATCH_HEADER_BYTES, BatchHeader, Compression, find_by_timestamp, max_timestamp_record, verify_crc,
};
use seedlog_core::wire::{Records, Response};

/// A reply whose records are still to be read.
#[derive(Debug)]
pub struct PendingFill {
    reply: Reply,
    parts: Vec<Part>,
}

/// What one fill takes.
#[derive(Debug)]
struct Part {
    fill: Fill,
    batches: Vec<(BatchRef, Option<Bytes>)>,
}

/// What may still go into an answer. Only what is read takes room: a partition that cannot be read starves no other.
struct Room {
    left: u64,
    is_empty: bool,
}

/// A look-up whose batches are still to be read.
#[derive(Debug)]
pub struct PendingLook {
    batches: Vec<BatchRef>,
    from: Offset,
    look: Look,
}

/// Batches for a peer that are still to be read.
#[derive(Debug)]
pub struct PendingSend {
    partition: TopicPartition,
    batches: Vec<(BatchRef, Option<Bytes>)>,
    unwritten: Vec<Bytes>,
}

/// What a fill read, for the judges and the marks.
#[derive(Debug, Default)]
pub struct Served {
    /// Batches by partition, in order.
    pub batches: Vec<(TopicPartition, BatchRef, Bytes)>,
    /// Batches that failed their check.
    pub damaged: Vec<(TopicPartition, BatchRef)>,
    /// From the tail cache, from journal files, from segments.
    pub sources: [usize; 3],
}

impl Store {
    /// Takes the places that a reply's records are read from.
    pub fn take(&mut self, reply: Reply) -> PendingFill {
        let mut parts = Vec::with_capacity(reply.fills.len());
        for &fill in &reply.fills {
            let most = u64::from(fill.extent.bytes_max);
            let mut taken = 0;
            let mut batches = Vec::new();
            for batch in self.index.covering(&fill.extent) {
                taken += u64::from(batch.bytes);
                if taken > most && !batches.is_empty() {
                    break;
                }
                batches.push((*batch, self.tail_bytes(fill.extent.partition, batch.base)));
            }
            for (batch, cached) in &batches {
                if cached.is_none() {
                    self.pin(batch.place.inode);
                }
            }
            parts.push(Part { fill, batches });
        }
        PendingFill { reply, parts }
    }

    /// Takes the places of a run of batches for a peer: those on their way to the disk are among them.
    pub fn take_extent(&mut self, extent: &Extent) -> PendingSend {
        let most = u64::from(extent.bytes_max);
        let (mut taken, mut batches, mut unwritten) = (0, Vec::new(), Vec::new());
        let mut fits = |bytes: u64, is_first: bool| {
            taken += bytes;
            taken <= most || is_first
        };
        let mut next = extent.from;
        let mut full = false;
        for batch in self.index.covering(extent) {
            full = !fits(u64::from(batch.bytes), batches.is_empty());
            if full {
                break;
            }
            next = batch.next;
            batches.push((*batch, self.tail_bytes(extent.partition, batch.base)));
        }
        for batch in self.index.unwritten(extent) {
            let is_first = batches.is_empty() && unwritten.is_empty();
            full |= !fits(batch.bytes.len() as u64, is_first);
            if full || batch.base > next && !is_first {
                break;
            }
            next = batch.next;
            unwritten.push(batch.bytes.clone());
        }
        for (batch, cached) in &batches {
            if cached.is_none() {
                self.pin(batch.place.inode);
            }
        }
        PendingSend { partition: extent.partition, batches, unwritten }
    }

    /// Reads what was taken, up to the first batch that cannot be read; and which one that is.
    pub fn fill_extent(
        &mut self,
        pending: PendingSend,
        disk: &Disk,
    ) -> (Vec<Bytes>, Option<(TopicPartition, Offset)>) {
        let mut damaged = None;
        let mut read = Vec::new();
        for (batch, cached) in pending.batches {
            let was_pinned = cached.is_none();
            if damaged.is_none() {
                match cached.or_else(|| read_batch(&batch, disk).map(|(_, bytes)| bytes)) {
                    Some(bytes) => read.push(bytes),
                    None => damaged = Some((pending.partition, batch.base)),
                }
            }
            if was_pinned {
                self.unpin(batch.place.inode);
            }
        }
        if damaged.is_none() {
            read.extend(pending.unwritten);
        }
        (read, damaged)
    }

    fn tail_bytes(&self, partition: TopicPartition, base: Offset) -> Option<Bytes> {
        let found = self.tail.iter().find(|(held, at, _)| *held == partition && *at == base);
        found.map(|(_, _, bytes)| bytes.clone())
    }

    /// Reads what was taken and completes the reply.
    pub fn fill(&mut self, pending: PendingFill, disk: &Disk) -> (Reply, Served) {
        let PendingFill { mut reply, parts } = pending;
        let mut served = Served::default();
        let mut omitted = Vec::new();
        let mut room = Room { left: u64::from(reply.fill_bytes_max), is_empty: true };
        for part in parts {
            let (records, intact) = self.read_part(&part, disk, &mut room, &mut served);
            let Response::Fetch(response) = &mut reply.response else {
                unreachable!("only fetches are filled")
            };
            let data = &mut response.responses[part.fill.topic].partitions[part.fill.partition];
            if !intact {
                data.error_code = ErrorCode::KafkaStorageError.code();
            } else if records.is_empty() && part.fill.omit_if_empty {
                omitted.push((part.fill.topic, part.fill.partition));
            }
            data.records = Some(records);
        }
        omitted.sort_unstable();
        if let Response::Fetch(response) = &mut reply.response {
            for (topic, partition) in omitted.into_iter().rev() {
                response.responses[topic].partitions.remove(partition);
            }
            response.responses.retain(|topic| !topic.partitions.is_empty());
        }
        (reply, served)
    }

    fn read_part(
        &mut self,
        part: &Part,
        disk: &Disk,
        room: &mut Room,
        served: &mut Served,
    ) -> (Records, bool) {
        let mut records = Records::default();
        let partition = part.fill.extent.partition;
        for (batch, cached) in &part.batches {
            if cached.is_none() {
                self.unpin(batch.place.inode);
            }
        }
        let most = room.left.min(u64::from(part.fill.extent.bytes_max));
        let mut taken = 0;
        for (batch, cached) in &part.batches {
            let size = u64::from(batch.bytes);
            // KIP-74: the first batch of an answer is sent whatever its size.
            if taken + size > most && !room.is_empty {
                break;
            }
            let source = match (cached, batch.place.in_segment) {
                (Some(_), _) => 0,
                (None, false) => 1,
                (None, true) => 2,
            };
            served.sources[source] += 1;
            let Some(bytes) = cached.clone().or_else(|| read_batch(batch, disk).map(|(_, bytes)| bytes))
            else {
                // What was read before the damage is good; a reader that comes back meets the error first.
                served.damaged.push((partition, *batch));
                return (records, taken > 0);
            };
            served.batches.push((partition, *batch, bytes.clone()));
            records.push(bytes);
            taken += size;
            room.left = room.left.saturating_sub(size);
            room.is_empty = false;
        }
        (records, true)
    }

    /// Takes the places of a look-up.
    pub fn take_look(&mut self, extent: &Extent, look: Look) -> PendingLook {
        let batches = self.index.covering(extent).to_vec();
        for batch in &batches {
            self.pin(batch.place.inode);
        }
        PendingLook { batches, from: extent.from, look }
    }

    /// Looks up what was asked for.
    pub fn look(&mut self, pending: &PendingLook, disk: &Disk) -> ReadResult {
        for batch in &pending.batches {
            self.unpin(batch.place.inode);
        }
        let mut best: Option<(Offset, i64)> = None;
        for batch in &pending.batches {
            let Some((header, bytes)) = read_batch(batch, disk) else { return ReadResult::Failed };
            assert!(header.compression() == Some(Compression::None), "simulated clients do not compress");
            let payload = &bytes[BATCH_HEADER_BYTES..];
            match pending.look {
                Look::Timestamp(target) => {
                    let found = find_by_timestamp(&header, payload, pending.from, target);
                    if let Some((offset, timestamp_ms)) = found {
                        return ReadResult::Found { offset, timestamp_ms };
                    }
                }
                Look::MaxTimestamp => {
                    let found = max_timestamp_record(&header, payload, pending.from);
                    best = match (best, found) {
                        (Some(best), Some(found)) if found.1 <= best.1 => Some(best),
                        (best, found) => found.or(best),
                    };
                }
            }
        }
        best.map_or(ReadResult::NotFound, |(offset, timestamp_ms)| ReadResult::Found { offset, timestamp_ms })
    }

    /// Where a batch stands.
    #[must_use]
    pub fn find(&self, partition: TopicPartition, base: Offset) -> Option<&BatchRef> {
        self.index.find(partition, base)
    }

    /// All batches in segments, for bit flips.
    pub fn in_segments(&self) -> impl Iterator<Item = (TopicPartition, &BatchRef)> {
        let all =
            self.index.logs().flat_map(|(partition, log)| log.iter().map(move |batch| (partition, batch)));
        all.filter(|(_, batch)| batch.place.in_segment)
    }
}

impl PendingFill {
    /// Whether a file is among those that this holds.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.batches.is_empty())
    }
}

/// Reads a batch and checks it against its reference: header fields outside of the batch's CRC included.
pub(super) fn read_batch(batch: &BatchRef, disk: &Disk) -> Option<(BatchHeader, Bytes)> {
    let bytes = disk.read(batch.place.inode, batch.place.at, batch.bytes as usize)?;
    let header = BatchHeader::parse(bytes).ok()?;
    let intact = header.base_offset == batch.base
        && header.next_offset() == batch.next
        && header.leader_epoch == batch.epoch
        && header.crc == batch.crc
        && header.batch_bytes == batch.bytes
        && verify_crc(bytes);
    intact.then(|| (header, Bytes::copy_from_slice(bytes)))
}
