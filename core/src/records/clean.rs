//! Cleaning: what is left of the batches of a compacted log, whose readers want the last value of each key (KIP-58, KIP-534).
//!
//! ```text
//!  before   | a=1 b=1 | a=2 |   c=1   | a=3 |        offsets 0..2, 2..3, 3..4, 4..5
//!  after    |     b=1 | ... |   c=1   | a=3 |        `...` is an empty batch: a header that says 2..3 and holds nothing
//! ```
//!
//! Offsets never change, and no batch is left out: what stands between two others is said by an empty batch, which runs of
//! them share. So a log has no gap after cleaning either, and a gap means damage as it did before. An empty batch has the
//! leader epoch of what it stands for and ends with it: where epochs begin is the same in every copy of a log. A batch that
//! keeps a record keeps its bounds.
//!
//! Both stores clean with this, the node's and the simulator's; reading, decompressing and writing are theirs.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::hash::Hasher;

use bytes::Bytes;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::museum::exhibit;
use crate::records::batch::{Attributes, BATCH_HEADER_BYTES, BatchHeader, NO_TIMESTAMP, ProducedBatch};
use crate::records::build::{seal, write_record};
use crate::records::iter::{Record, RecordError, RecordIter};
use crate::time::WallMs;

/// Most offsets that one empty batch stands for: indexes count offsets in 32 bits.
pub const EMPTY_SPAN_MAX: i64 = 1 << 30;
/// What a key takes in memory.
const SLOT_BYTES: usize = size_of::<Slot>();
const SLOTS_MIN: usize = 1 << 10;

/// The offset of the last record of each key, in bounded memory. Keys are kept as hashes of 128 bits under a key that nobody
/// outside knows (SipHash-1-3), so that nobody can make two of them meet.
#[derive(Debug)]
pub struct KeyOffsets {
    hash_key: [u64; 2],
    /// A power of two of them.
    slots: Vec<Slot>,
    used: usize,
    slots_max: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: [u64; 2],
    /// Below 0: free.
    offset: i64,
}

const FREE: Slot = Slot { hash: [0; 2], offset: -1 };

impl KeyOffsets {
    /// Keeps as many keys as find room in about `bytes_max`, and 768 in any case.
    #[must_use]
    pub fn new(hash_key: [u64; 2], bytes_max: usize) -> Self {
        // While it grows, half as much is in use besides.
        let slots_max = (bytes_max / SLOT_BYTES * 2 / 3).max(SLOTS_MIN);
        let slots_max =
            if slots_max.is_power_of_two() { slots_max } else { slots_max.next_power_of_two() / 2 };
        Self { hash_key, slots: alloc::vec![FREE; SLOTS_MIN], used: 0, slots_max }
    }

    /// A record with this key stands at `offset`, behind all that were noted before. `false`: there is no room.
    #[must_use]
    pub fn note(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        let at = self.place(hash);
        if self.slots[at].offset < 0 {
            if self.used >= self.slots.len() / 4 * 3 {
                if self.slots.len() >= self.slots_max {
                    return false;
                }
                self.grow();
                return self.note(key, offset);
            }
            self.used += 1;
        }
        self.slots[at] = Slot { hash, offset: offset.0 };
        true
    }

    /// Where the last record with this key stands, of those that were noted.
    #[must_use]
    pub fn last(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.slots[self.place(self.hash(key))];
        (slot.offset >= 0).then_some(Offset(slot.offset))
    }

    /// So many keys were noted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// None was noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let mut hasher = SipHasher13::new_with_keys(self.hash_key[0], self.hash_key[1]);
        hasher.write(key);
        let hash = hasher.finish128();
        [hash.h1, hash.h2]
    }

    /// The slot of a hash, or the free one that it would take.
    fn place(&self, hash: [u64; 2]) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = usize::try_from(hash[0] & mask as u64).expect("below the number of slots");
        while self.slots[at].offset >= 0 && self.slots[at].hash != hash {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let larger = alloc::vec![FREE; self.slots.len() * 2];
        for slot in core::mem::replace(&mut self.slots, larger) {
            if slot.offset >= 0 {
                let at = self.place(slot.hash);
                self.slots[at] = slot;
            }
        }
    }
}

/// A batch's payload, decompressed, and how one is compressed again in the batch's codec.
#[derive(Debug)]
pub struct Payload<'a, C> {
    /// The records, uncompressed.
    pub records: &'a [u8],
    /// Compresses records of this batch; `None`: that failed.
    pub compress: C,
}

/// What a pass goes by.
#[derive(Debug, Clone, Copy)]
pub struct Cleaning<'a> {
    /// The last records of keys below `mapped_to`.
    pub keys: &'a KeyOffsets,
    /// Batches from here on stay as they are.
    pub mapped_to: Offset,
    /// Tombstones from here on stay.
    pub tombstones_to: Offset,
    /// The clock of the pass.
    pub now: WallMs,
    /// How long tombstones stay from the first pass on that sees them (`delete.retention.ms`).
    pub delete_retention_ms: i64,
    /// Last offsets of the last batches of producers that are known still: such a batch stays, if without records, because
    /// who copies the log learns of its producer from it (KAFKA-5490).
    pub producers_last: &'a BTreeSet<Offset>,
}

/// Writes a log anew, batch by batch in order.
#[derive(Debug, Default)]
pub struct Cleaner {
    gap: Option<Gap>,
    /// A batch stayed as it was, whatever it holds: older values of any key may stand there, and so tombstones behind it stay.
    is_blind: bool,
    tombstones_gone_to: Offset,
}

/// Offsets of which nothing is left, of one epoch.
#[derive(Debug, Clone, Copy)]
struct Gap {
    base: Offset,
    next: Offset,
    epoch: LeaderEpoch,
}

/// What is left of a batch.
enum Left {
    Whole,
    /// Its header alone, for what it says of its producer.
    Header,
    Nothing,
    Some {
        header: BatchHeader,
        records: Vec<u8>,
    },
}

/// What comes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    /// Something later has its key.
    Superseded,
    /// A tombstone whose time is over.
    Expired,
}

impl Cleaner {
    /// Begins at the log's start.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next batch: `whole` is all of it as it stands in the log. Gives batches to be written through `write`.
    ///
    /// # Errors
    /// Its records cannot be read. It stays as it is, and so may older values of its keys.
    pub fn add<C: FnOnce(&[u8]) -> Option<Vec<u8>>>(
        &mut self,
        rules: &Cleaning<'_>,
        header: &BatchHeader,
        whole: &Bytes,
        payload: Payload<'_, C>,
        write: &mut impl FnMut(BatchHeader, Bytes),
    ) -> Result<(), RecordError> {
        let left = rules.left_of(header, payload.records, self.is_blind);
        let ((left, mut gone_to), result) = match left {
            Ok(left) => (left, Ok(())),
            Err(error) => {
                self.is_blind = true;
                ((Left::Whole, Offset::ZERO), Err(error))
            }
        };
        match left {
            Left::Whole => {
                self.end_gap(write);
                write(*header, whole.clone());
            }
            Left::Header => {
                self.end_gap(write);
                let header = BatchHeader {
                    record_count: 0,
                    max_timestamp: NO_TIMESTAMP,
                    base_timestamp: NO_TIMESTAMP,
                    attributes: plain(header.attributes),
                    ..*header
                };
                give(seal(header, &[]), write);
            }
            Left::Nothing => self.skip(header, write),
            Left::Some { header: new, records } => {
                self.end_gap(write);
                match (payload.compress)(&records) {
                    Some(records) => give(seal(new, &records), write),
                    None => {
                        self.is_blind = true;
                        gone_to = Offset::ZERO;
                        write(*header, whole.clone());
                    }
                }
            }
        }
        self.tombstones_gone_to = self.tombstones_gone_to.max(gone_to);
        result
    }

    /// Takes the next batch as it is: nobody can look into it.
    pub fn keep(&mut self, header: &BatchHeader, whole: Bytes, write: &mut impl FnMut(BatchHeader, Bytes)) {
        self.end_gap(write);
        self.is_blind = true;
        write(*header, whole);
    }

    /// Behind the last tombstone so far that was dropped because its time was over, or 0.
    #[must_use]
    pub fn tombstones_gone_to(&self) -> Offset {
        self.tombstones_gone_to
    }

    /// Ends the pass, or one segment of it.
    pub fn end_gap(&mut self, write: &mut impl FnMut(BatchHeader, Bytes)) {
        if let Some(Gap { base, next, epoch }) = self.gap.take() {
            give(empty_batch(base, next, epoch), write);
        }
    }

    fn skip(&mut self, header: &BatchHeader, write: &mut impl FnMut(BatchHeader, Bytes)) {
        let (next, epoch) = (header.next_offset(), header.leader_epoch);
        match &mut self.gap {
            Some(gap)
                if gap.epoch == epoch
                    && gap.next == header.base_offset
                    && next.0 - gap.base.0 <= EMPTY_SPAN_MAX =>
            {
                gap.next = next;
            }
            Some(_) | None => {
                self.end_gap(write);
                self.gap = Some(Gap { base: header.base_offset, next, epoch });
            }
        }
    }
}

impl Cleaning<'_> {
    /// What is left of a batch, and the offset behind the last of its tombstones whose time is over.
    fn left_of(
        &self,
        header: &BatchHeader,
        records: &[u8],
        is_blind: bool,
    ) -> Result<(Left, Offset), RecordError> {
        let mut gone_to = Offset::ZERO;
        if header.base_offset >= self.mapped_to || header.is_control() {
            return Ok((Left::Whole, gone_to));
        }
        let is_of_producer = header.has_producer_id() && self.producers_last.contains(&header.last_offset());
        let has_horizon = header.attributes.has_delete_horizon();
        let mut kept: Vec<Record<'_>> = Vec::new();
        let mut keeps_tombstone = false;
        for record in RecordIter::new(header, records) {
            let record = record?;
            match self.fate_of(header, &record, is_blind) {
                Fate::Stays => {
                    keeps_tombstone |= record.value.is_none();
                    kept.push(record);
                }
                Fate::Superseded => {}
                Fate::Expired => gone_to = record.offset.plus(1),
            }
        }
        let begins_horizon = keeps_tombstone && !has_horizon;
        if kept.is_empty() {
            let is_header = header.record_count == 0;
            let left = match (is_of_producer, is_header) {
                (true, true) => Left::Whole,
                (true, false) => Left::Header,
                (false, _) => Left::Nothing,
            };
            return Ok((left, gone_to));
        }
        if i64::try_from(kept.len()) == Ok(i64::from(header.record_count)) && !begins_horizon {
            return Ok((Left::Whole, gone_to));
        }
        Ok((self.rewrite(header, &kept, begins_horizon), gone_to))
    }

    fn fate_of(&self, header: &BatchHeader, record: &Record<'_>, is_blind: bool) -> Fate {
        // Nobody who wants the last value of each key wants a record without one.
        let Some(key) = record.key else { return Fate::Superseded };
        if self.keys.last(key).is_some_and(|last| last > record.offset) {
            return Fate::Superseded;
        }
        // A batch's first pass left nothing older of the keys that it deletes, as far as it could see, and told how long readers
        // may take to see it.
        let has_horizon = header.attributes.has_delete_horizon();
        let is_over = has_horizon && self.now.0 > header.base_timestamp && record.offset < self.tombstones_to;
        // F5: a tombstone goes with the values that it deletes, before slow readers have seen it.
        let stays = record.value.is_some() || is_blind || !exhibit!(F5, is_over, true);
        if stays { Fate::Stays } else { Fate::Expired }
    }

    fn rewrite(&self, header: &BatchHeader, kept: &[Record<'_>], begins_horizon: bool) -> Left {
        let horizon = self.now.0.saturating_add(self.delete_retention_ms);
        let base_timestamp = if begins_horizon { horizon } else { header.base_timestamp };
        let attributes =
            if begins_horizon { header.attributes.with_delete_horizon() } else { header.attributes };
        let mut records = Vec::new();
        for record in kept {
            let offset_delta = i32::try_from(record.offset.0 - header.base_offset.0)
                .expect("a record stands within its batch");
            let deltas = (record.timestamp.wrapping_sub(base_timestamp), offset_delta);
            write_record(&mut records, deltas, (record.key, record.value), record.headers);
        }
        let max_timestamp = kept.iter().map(|record| record.timestamp).max().unwrap_or(NO_TIMESTAMP);
        let record_count = i32::try_from(kept.len()).expect("no more than there were");
        let header = BatchHeader { attributes, base_timestamp, max_timestamp, record_count, ..*header };
        Left::Some { header, records }
    }
}

/// Without what says how the payload is to be read: there is none.
fn plain(attributes: Attributes) -> Attributes {
    Attributes::default().with_transactional(attributes.is_transactional())
}

fn give(batch: Bytes, write: &mut impl FnMut(BatchHeader, Bytes)) {
    let header = BatchHeader::parse(&batch).expect("it was made here");
    write(header, batch);
}

/// A batch that says that nothing is left of `base..next`, all of which was written in `epoch`.
#[must_use]
pub fn empty_batch(base: Offset, next: Offset, epoch: LeaderEpoch) -> Bytes {
    let last_offset_delta = i32::try_from(next.0 - base.0 - 1).expect("a span of offsets fits into a batch");
    let header = BatchHeader {
        base_offset: base,
        batch_bytes: 0,
        leader_epoch: epoch,
        crc: 0,
        attributes: Attributes::default(),
        last_offset_delta,
        base_timestamp: NO_TIMESTAMP,
        max_timestamp: NO_TIMESTAMP,
        producer_id: ProducerId(-1),
        producer_epoch: ProducerEpoch(-1),
        base_sequence: -1,
        record_count: 0,
    };
    seal(header, &[])
}

/// Of an empty batch that begins before `end` and reaches over it, the part behind: its bounds are where a cleaner found them,
/// and a copy of the log may end anywhere between. `None` for any other batch.
#[must_use]
pub fn rest_of_empty(header: &BatchHeader, end: Offset) -> Option<ProducedBatch> {
    let says_nothing_else = header.record_count == 0
        && header.batch_bytes as usize == BATCH_HEADER_BYTES
        && !header.has_producer_id()
        && !header.is_control();
    let reaches_over = header.base_offset < end && end < header.next_offset();
    (says_nothing_else && reaches_over).then(|| {
        let bytes = empty_batch(end, header.next_offset(), header.leader_epoch);
        ProducedBatch { header: BatchHeader::parse(&bytes).expect("it was made here"), bytes }
    })
}
