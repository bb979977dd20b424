//! Pieces of segments: whole stretches, about 1 MiB, that were read and checked once and are kept for whoever reads them next.
//!
//! What a segment holds at a place never changes, so that a piece is right for as long as its files are open. Pieces are read ahead of readers that go on where they stopped; those are kept until they were asked for, up to half of
//! the room.

use super::reader::ReadError;
use super::segment::{Line, stretch_crc};
use bytes::Bytes;
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_core::records::Batches;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::SetOnce;

/// A piece ends at the first stretch that would make it larger; it is smaller where the room is.
pub(super) const PIECE_BYTES: u64 = 1 << 20;
/// There is room for so many pieces at least.
const PIECES_MIN: u64 = 8;
/// A piece that was read ahead is given up once so many others were asked for: its reader is gone.
const PATIENCE: u64 = 256;

/// A batch in a piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct PieceBatch {
    /// Its first offset.
    pub(super) base: Offset,
    /// The offset after its last.
    pub(super) next: Offset,
    pub(super) max_timestamp: i64,
    /// It stands for records that a cleaner removed.
    pub(super) is_empty: bool,
    start: u32,
    end: u32,
}

impl PieceBatch {
    /// Where it stands in the piece.
    pub(super) fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Whole stretches of a segment, checked.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) batches: Vec<PieceBatch>,
    /// Where the stretches end in `bytes`.
    ends: Vec<u32>,
}

impl Piece {
    /// Checks every stretch by its CRC and finds the batches. `None`: damaged.
    pub(super) fn check(
        partition: TopicPartition,
        base: Offset,
        start: u64,
        stretches: &[Line],
        bytes: Bytes,
    ) -> Option<Self> {
        let mut batches = Vec::new();
        let mut ends = Vec::with_capacity(stretches.len());
        let mut from = 0;
        for line in stretches {
            let to = u32::try_from(line.position.checked_sub(start)?).ok()?;
            let stretch = bytes.get(from as usize..to as usize)?;
            let seed = stretch_crc(partition, base, start + u64::from(from));
            if crc32c::crc32c_append(seed, stretch) != line.crc {
                return None;
            }
            let mut walk = Batches::new(stretch);
            for (header, range) in &mut walk {
                batches.push(PieceBatch {
                    base: header.base_offset,
                    next: header.next_offset(),
                    max_timestamp: header.max_timestamp,
                    is_empty: header.record_count == 0,
                    start: from + u32::try_from(range.start).ok()?,
                    end: from + u32::try_from(range.end).ok()?,
                });
            }
            if walk.end() != stretch.len() {
                return None;
            }
            from = to;
            ends.push(to);
        }
        Some(Self { bytes, batches, ends })
    }

    /// How many stretches it holds.
    pub(super) fn stretches(&self) -> usize {
        self.ends.len()
    }

    /// How many of its stretches come before the one that a batch stands in.
    pub(super) fn stretches_before(&self, batch: &PieceBatch) -> usize {
        self.ends.partition_point(|&end| end <= batch.start)
    }

    /// Its batches in `range`. Few of them are copied, so that they do not keep the whole piece in memory.
    pub(super) fn slice(&self, range: Range<usize>) -> Bytes {
        if range.len() < self.bytes.len() / 4 {
            Bytes::copy_from_slice(&self.bytes[range])
        } else {
            self.bytes.slice(range)
        }
    }
}

/// Which piece: of a segment's open files, from one of its lines on. Not by the segment's name, which another one may get while
/// somebody still reads from the files of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PieceKey {
    pub(super) files: u64,
    pub(super) line: u64,
}

/// A piece that is there, or will be.
pub(super) type Slot = Arc<SetOnce<Result<Arc<Piece>, ReadError>>>;

/// The pieces that are kept.
#[derive(Debug)]
pub(super) struct Pieces {
    bytes_max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: BTreeMap<PieceKey, Kept>,
    clock: u64,
    bytes: u64,
    /// What of that was read ahead and not asked for.
    ahead_bytes: u64,
}

#[derive(Debug)]
struct Kept {
    slot: Slot,
    bytes: u64,
    /// The clock of its last use.
    used: u64,
    is_ahead: bool,
}

impl Pieces {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    /// The size of a usual piece.
    pub(super) fn piece_bytes(&self) -> u64 {
        PIECE_BYTES.min(self.bytes_max / PIECES_MIN)
    }

    /// What a piece counts with: its bytes, and about as much for its batches as small ones take.
    fn bytes_kept(&self, bytes: u64) -> u64 {
        (bytes + bytes / 4).max(self.piece_bytes() / 16)
    }

    pub(super) fn holds(&self, key: &PieceKey) -> bool {
        self.lock().kept.contains_key(key)
    }

    /// The slot of a piece that a reader waits for, and whether the caller has to fill it.
    pub(super) fn ask(&self, key: PieceKey, bytes: u64) -> (Slot, bool) {
        let mut state = self.lock();
        state.clock += 1;
        let clock = state.clock;
        if let Some(kept) = state.find(&key) {
            kept.used = clock;
            let slot = Arc::clone(&kept.slot);
            if std::mem::take(&mut kept.is_ahead) {
                let bytes = kept.bytes;
                state.ahead_bytes -= bytes;
            }
            return (slot, false);
        }
        (state.keep(key, self.bytes_kept(bytes), false, self.bytes_max), true)
    }

    /// The slot of a piece that a reader may come to, for the caller to fill. `None`: it is there, or there is no room for it.
    pub(super) fn ask_ahead(&self, key: PieceKey, bytes: u64) -> Option<Slot> {
        let mut state = self.lock();
        if state.find(&key).is_some() {
            return None;
        }
        let bytes = self.bytes_kept(bytes);
        let is_full = |state: &State| state.ahead_bytes + bytes > self.bytes_max / 2;
        if is_full(&state) {
            state.forget_abandoned();
        }
        (!is_full(&state)).then(|| state.keep(key, bytes, true, self.bytes_max))
    }

    /// A segment's files are found no more.
    pub(super) fn forget(&self, files: u64) {
        let mut state = self.lock();
        let lines = PieceKey { files, line: 0 }..=PieceKey { files, line: u64::MAX };
        let gone: Vec<PieceKey> = state.kept.range(lines).map(|(&key, _)| key).collect();
        gone.iter().for_each(|key| state.remove(key));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The piece, unless reading it failed: then it is to be read again.
    fn find(&mut self, key: &PieceKey) -> Option<&mut Kept> {
        if self.kept.get(key)?.slot.get().is_some_and(Result::is_err) {
            self.remove(key);
        }
        self.kept.get_mut(key)
    }

    fn keep(&mut self, key: PieceKey, bytes: u64, is_ahead: bool, bytes_max: u64) -> Slot {
        let slot = Slot::default();
        self.bytes += bytes;
        self.ahead_bytes += if is_ahead { bytes } else { 0 };
        self.kept.insert(key, Kept { slot: Arc::clone(&slot), bytes, used: self.clock, is_ahead });
        while self.bytes > bytes_max && self.evict_oldest() {}
        slot
    }

    fn remove(&mut self, key: &PieceKey) {
        if let Some(kept) = self.kept.remove(key) {
            self.bytes -= kept.bytes;
            self.ahead_bytes -= if kept.is_ahead { kept.bytes } else { 0 };
        }
    }

    fn forget_abandoned(&mut self) {
        let clock = self.clock;
        let is_abandoned = |kept: &Kept| kept.is_ahead && clock - kept.used > PATIENCE;
        let gone: Vec<PieceKey> =
            self.kept.iter().filter(|(_, kept)| is_abandoned(kept)).map(|(&key, _)| key).collect();
        gone.iter().for_each(|key| self.remove(key));
    }

    /// Gives up what was asked for the longest ago. What was read ahead stays: it has a limit of its own.
    fn evict_oldest(&mut self) -> bool {
        let asked = self.kept.iter().filter(|(_, kept)| !kept.is_ahead);
        let oldest = asked.min_by_key(|(_, kept)| kept.used).map(|(&key, _)| key);
        oldest.inspect(|key| self.remove(key)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    fn key(line: u64) -> PieceKey {
        PieceKey { files: 5, line }
    }

    fn fill(slot: &Slot) {
        let piece = Piece { bytes: Bytes::new(), batches: Vec::new(), ends: Vec::new() };
        slot.set(Ok(Arc::new(piece))).unwrap();
    }

    #[test]
    fn the_piece_that_was_asked_for_the_longest_ago_goes_first() {
        // Room for four pieces of 100 KiB, which count with a quarter more.
        let pieces = Pieces::new(500 * KIB);
        for line in 0..4 {
            let (slot, is_empty) = pieces.ask(key(line), 100 * KIB);
            assert!(is_empty);
            fill(&slot);
        }
        assert!(!pieces.ask(key(0), 100 * KIB).1, "it is there");
        assert!(pieces.ask(key(4), 100 * KIB).1);
        let kept: Vec<u64> = (0..5).filter(|&line| pieces.holds(&key(line))).collect();
        assert_eq!(kept, [0, 2, 3, 4]);
    }

    #[test]
    fn what_is_read_ahead_has_half_of_the_room_until_somebody_asks_for_it() {
        let pieces = Pieces::new(1000 * KIB);
        for line in 0..4 {
            fill(&pieces.ask_ahead(key(line), 100 * KIB).unwrap());
        }
        assert!(pieces.ask_ahead(key(1), 100 * KIB).is_none(), "it is there");
        assert!(pieces.ask_ahead(key(4), 100 * KIB).is_none(), "there is no room");
        for line in 10..100 {
            pieces.ask(key(line), 100 * KIB);
        }
        assert!((0..4).all(|line| pieces.holds(&key(line))), "those who read now do not drive it out");
        assert!(!pieces.ask(key(0), 100 * KIB).1);
        assert!(pieces.ask_ahead(key(4), 100 * KIB).is_some());
        for line in 100..500 {
            pieces.ask(key(line), 100 * KIB);
        }
        assert!(pieces.ask_ahead(key(5), 100 * KIB).is_some(), "nobody came for the others");
        assert!(!pieces.holds(&key(1)));
    }

    #[test]
    fn what_could_not_be_read_is_read_again_and_what_is_forgotten_takes_no_room() {
        let pieces = Pieces::new(1000 * KIB);
        let (slot, _) = pieces.ask(key(0), 100 * KIB);
        assert!(!pieces.ask(key(0), 100 * KIB).1, "somebody reads it");
        slot.set(Err(ReadError::Gone)).unwrap();
        assert!(pieces.ask(key(0), 100 * KIB).1);
        let ahead = pieces.ask_ahead(key(1), 100 * KIB).unwrap();
        ahead.set(Err(ReadError::Gone)).unwrap();
        assert!(pieces.ask_ahead(key(1), 100 * KIB).is_some());
        pieces.forget(4);
        assert!(pieces.holds(&key(0)));
        pieces.forget(5);
        assert!(!pieces.holds(&key(0)) && !pieces.holds(&key(1)));
        let state = pieces.lock();
        assert_eq!((state.bytes, state.ahead_bytes), (0, 0));
    }

    #[test]
    fn few_batches_of_a_piece_do_not_keep_all_of_it() {
        let bytes = Bytes::from(vec![7; 1000]);
        let piece = Piece { bytes: bytes.clone(), batches: Vec::new(), ends: Vec::new() };
        let is_shared = |slice: &Bytes| bytes.as_ptr_range().contains(&slice.as_ptr());
        assert!(!is_shared(&piece.slice(100..300)));
        assert!(is_shared(&piece.slice(100..400)));
    }
}
