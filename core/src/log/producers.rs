//! Idempotent producers of one partition: who wrote what last, which batches are duplicates, and how to take changes back.
//!
//! The rules are those of Kafka's ProducerStateManager and ProducerAppendInfo (KIP-98, KIP-360). The table is a function
//! of the appended headers, of the append times that travel with them, and of journaled expiries; so it comes out the
//! same at the leader, at its followers and at recovery (SAFETY R10).

use alloc::boxed::Box;
use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ids::{Offset, ProducerEpoch, ProducerId};
use crate::log::AppendError;
use crate::records::{BatchHeader, next_sequence};
use crate::time::WallMs;

/// Batches remembered for each producer; clients keep no more in flight to a partition (KIP-98).
pub const BATCHES_KEPT: usize = 5;
/// Most changes that can be taken back. A leader takes no more batches of producers above its high watermark: a follower that
/// must cut them, down to that watermark, would lose the producers of what is left.
pub const UNDO_MAX: usize = 4096;

/// A batch that a producer wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeptBatch {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Last offset less base offset, and last sequence less base sequence.
    pub last_offset_delta: i32,
    /// Sequence number of its first record.
    pub base_sequence: i32,
    /// Its maximum timestamp as stamped, in milliseconds.
    pub max_timestamp: i64,
}

impl KeptBatch {
    fn of(header: &BatchHeader) -> Self {
        Self {
            base_offset: header.base_offset,
            last_offset_delta: header.last_offset_delta,
            base_sequence: header.base_sequence,
            max_timestamp: header.max_timestamp,
        }
    }

    /// Offset of its last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// Sequence number of its last record.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        next_sequence(self.base_sequence, self.last_offset_delta)
    }
}

/// What a partition knows of one producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerState {
    /// The newest epoch seen.
    pub epoch: ProducerEpoch,
    /// When the latest batch or marker was appended, by the clock of the leader that appended it.
    pub last_append: WallMs,
    /// Where the producer's open transaction begins.
    pub transaction_start: Option<Offset>,
    /// How many of `kept` are in use; the rest are zeros.
    kept_count: u8,
    kept: [KeptBatch; BATCHES_KEPT],
}

impl ProducerState {
    fn new(epoch: ProducerEpoch) -> Self {
        Self {
            epoch,
            last_append: WallMs(0),
            transaction_start: None,
            kept_count: 0,
            kept: [KeptBatch::default(); BATCHES_KEPT],
        }
    }

    /// The latest batches of this epoch, oldest first; five at most.
    #[must_use]
    pub fn batches(&self) -> &[KeptBatch] {
        &self.kept[..usize::from(self.kept_count)]
    }

    /// Remembers a batch; returns the one that fell out.
    fn push(&mut self, batch: KeptBatch) -> Option<KeptBatch> {
        let count = usize::from(self.kept_count);
        if count < BATCHES_KEPT {
            self.kept[count] = batch;
            self.kept_count += 1;
            return None;
        }
        let dropped = self.kept[0];
        self.kept.rotate_left(1);
        self.kept[BATCHES_KEPT - 1] = batch;
        Some(dropped)
    }

    /// Forgets batches that end at `start` or behind. `false`: nothing is left of what it had.
    fn forget_from(&mut self, start: Offset) -> bool {
        let had = self.kept_count;
        let kept = self.batches().partition_point(|batch| batch.last_offset() < start);
        self.kept[kept..].fill(KeptBatch::default());
        self.kept_count = u8::try_from(kept).expect("five at most");
        self.transaction_start = self.transaction_start.filter(|begin| *begin < start);
        kept > 0 || had == 0
    }

    /// Takes the latest `push` back.
    fn pop(&mut self, dropped: Option<KeptBatch>) {
        assert!(self.kept_count > 0, "a push that is taken back left a batch");
        match dropped {
            Some(batch) => {
                self.kept.rotate_right(1);
                self.kept[0] = batch;
            }
            None => {
                self.kept_count -= 1;
                self.kept[usize::from(self.kept_count)] = KeptBatch::default();
            }
        }
    }
}

/// How to take one append back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Undo {
    base_offset: Offset,
    last_offset: Offset,
    producer_id: ProducerId,
    change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Change {
    /// A batch or marker of the epoch that was known.
    Same { pushed: bool, dropped: Option<KeptBatch>, last_append: WallMs, transaction_start: Option<Offset> },
    /// A new producer, or a new epoch, which forgets the older one's batches.
    Replaced { previous: Option<Box<ProducerState>> },
}

// A partition whose watermark stands still holds up to `UNDO_MAX` of these.
const _: () = assert!(size_of::<Undo>() <= 96);

/// What a batch is to the producer that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceCheck {
    /// The next one: append it.
    Next,
    /// One of the last five, sent again.
    Duplicate(KeptBatch),
}

/// The producers of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProducerTable {
    // Boxed, because a tree's node has room for eleven values and most partitions have one producer.
    entries: BTreeMap<ProducerId, Box<ProducerState>>,
    /// Changes above the high watermark, oldest first.
    undo: VecDeque<Undo>,
    /// The least offset that `truncate_to` can go back to.
    undo_floor: Offset,
}

impl ProducerTable {
    /// Decides about a client's batch with a producer id. `first_sequence_zero`: a producer that is not known
    /// here must begin at 0.
    ///
    /// # Errors
    /// `InvalidProducerEpoch`, `OutOfOrderSequence`, `TransactionOpen`, `TooManyProducers`.
    pub fn check(
        &self,
        header: &BatchHeader,
        first_sequence_zero: bool,
        producers_max: usize,
    ) -> Result<SequenceCheck, AppendError> {
        assert!(header.has_producer_id(), "batches without a producer are not checked");
        let Some(state) = self.entries.get(&header.producer_id) else {
            // KIP-360: retention may have taken the state along with the records, so any sequence may be the next.
            if first_sequence_zero && header.base_sequence != 0 {
                return Err(AppendError::OutOfOrderSequence { expected: 0, found: header.base_sequence });
            }
            if self.entries.len() >= producers_max {
                return Err(AppendError::TooManyProducers);
            }
            return Ok(SequenceCheck::Next);
        };
        if let Some(batch) = state.duplicate_of(header) {
            return Ok(SequenceCheck::Duplicate(batch));
        }
        if header.producer_epoch < state.epoch {
            return Err(AppendError::InvalidProducerEpoch { current: state.epoch });
        }
        let expected = match state.batches().last() {
            Some(last) if header.producer_epoch == state.epoch => next_sequence(last.last_sequence(), 1),
            Some(_) | None => 0,
        };
        if header.base_sequence != expected {
            return Err(AppendError::OutOfOrderSequence { expected, found: header.base_sequence });
        }
        if state.transaction_start.is_some() && !header.is_transactional() {
            return Err(AppendError::TransactionOpen);
        }
        Ok(SequenceCheck::Next)
    }

    /// Takes in a batch or marker that entered the log: at the leader, at a follower and at replay alike. Sequences were
    /// checked by the leader that appended it first and are not checked again.
    pub fn append(&mut self, header: &BatchHeader, append_time: WallMs) {
        assert!(header.has_producer_id(), "batches without a producer leave no trace");
        assert!(
            self.undo.back().is_none_or(|last| last.last_offset < header.base_offset),
            "appends go forward"
        );
        let entry = self.entries.entry(header.producer_id);
        let mut replaced = None;
        let state = match entry {
            Entry::Vacant(vacant) => {
                replaced = Some(None);
                vacant.insert(Box::new(ProducerState::new(header.producer_epoch)))
            }
            Entry::Occupied(occupied) => {
                let state = occupied.into_mut();
                // A leader takes only what goes on, from a producer that it knows: where this does not, it had forgotten the
                // producer (SAFETY R10), and so does whoever copies or replays the batch.
                if state.epoch != header.producer_epoch || !state.is_continued_by(header) {
                    let mut fresh = Box::new(ProducerState::new(header.producer_epoch));
                    fresh.transaction_start = state.transaction_start;
                    replaced = Some(Some(core::mem::replace(state, fresh)));
                }
                state
            }
        };
        let (last_append, transaction_start) = (state.last_append, state.transaction_start);
        let mut dropped = None;
        // Coordinators write under a producer's id without sequences: nothing to recognise later.
        let pushed = !header.is_control() && header.base_sequence >= 0;
        if header.is_control() {
            // A marker ends the transaction; with a new epoch it also starts the sequences anew (KIP-890).
            state.transaction_start = None;
        } else {
            if pushed {
                dropped = state.push(KeptBatch::of(header));
            }
            if header.is_transactional() && transaction_start.is_none() {
                state.transaction_start = Some(header.base_offset);
            }
        }
        state.last_append = append_time;
        let change = match replaced {
            Some(previous) => Change::Replaced { previous },
            None => Change::Same { pushed, dropped, last_append, transaction_start },
        };
        self.remember(Undo {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            producer_id: header.producer_id,
            change,
        });
    }

    /// Takes back what was appended at `offset` and above. Returns `false`, with the table empty, when that lies below
    /// what can be undone: the caller must bring a table from elsewhere.
    #[must_use]
    pub fn truncate_to(&mut self, offset: Offset) -> bool {
        if offset < self.undo_floor {
            self.clear();
            self.undo_floor = offset;
            return false;
        }
        while let Some(undo) = self.undo.pop_back_if(|undo| undo.base_offset >= offset) {
            self.take_back(undo);
        }
        assert!(
            self.undo.back().is_none_or(|last| last.last_offset < offset),
            "logs are cut between batches"
        );
        true
    }

    /// Gives up the means to take back what lies below the high watermark.
    pub fn forget_undo_below(&mut self, high_watermark: Offset) {
        while self.undo.pop_front_if(|undo| undo.base_offset < high_watermark).is_some() {}
        self.undo_floor = self.undo_floor.max(high_watermark);
        if self.undo.is_empty() && self.undo.capacity() > 64 {
            self.undo.shrink_to(0);
        }
    }

    /// What a log knows that begins anew at `start`, empty, while this one has records up to `committed` and behind: what the
    /// records from there on say, its own copies of them will tell again. What was forgotten for a record that may yet be cut
    /// off is remembered.
    #[must_use]
    pub fn before(&self, start: Offset, committed: Offset) -> Self {
        let mut table = self.clone();
        while let Some(undo) = table.undo.pop_back_if(|undo| undo.base_offset >= committed) {
            table.take_back(undo);
        }
        table.undo.clear();
        table.undo_floor = start;
        table.entries.retain(|_, state| state.forget_from(start));
        table
    }

    /// Producers that may go: no open transaction, nothing left to undo, and idle for `expiration_ms` or longer.
    #[must_use]
    pub fn plan_expiry(&self, now: WallMs, expiration_ms: i64) -> Vec<ProducerId> {
        let idle = |state: &ProducerState| now.0.saturating_sub(state.last_append.0) >= expiration_ms;
        let undoable: BTreeSet<ProducerId> = self.undo.iter().map(|undo| undo.producer_id).collect();
        self.entries
            .iter()
            .filter(|(id, state)| state.transaction_start.is_none() && idle(state) && !undoable.contains(id))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Removes producers by a decision that the journal holds. A later truncation does not bring them back.
    pub fn expire(&mut self, ids: &[ProducerId]) {
        for id in ids {
            if self.entries.remove(id).is_some() {
                self.undo.retain(|undo| undo.producer_id != *id);
            }
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self { undo_floor: self.undo_floor, ..Self::default() };
    }

    /// One more append could not be taken back.
    #[must_use]
    pub fn is_full_of_undo(&self) -> bool {
        self.undo.len() >= UNDO_MAX
    }

    /// What is known of one producer.
    #[must_use]
    pub fn state(&self, id: ProducerId) -> Option<&ProducerState> {
        self.entries.get(&id).map(|state| &**state)
    }

    /// All producers, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerState)> {
        self.entries.iter().map(|(id, state)| (*id, &**state))
    }

    /// Number of producers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Panics unless the table is in order: batches below the log's end, sequences without gaps (S25), undo bounded.
    pub fn check_invariants(&self, log_end: Offset) {
        assert!(self.undo.len() <= UNDO_MAX, "what can be taken back is bounded");
        assert!(
            self.undo.iter().is_sorted_by(|a, b| a.last_offset < b.base_offset),
            "what can be taken back is in the log's order"
        );
        assert!(
            self.undo.back().is_none_or(|undo| undo.last_offset < log_end),
            "undo entries lie in the log"
        );
        for state in self.entries.values() {
            assert!(
                state.batches().iter().all(|batch| batch.last_offset() < log_end),
                "kept batches lie in the log"
            );
            assert!(
                state.batches().is_sorted_by(|a, b| a.last_offset() < b.base_offset),
                "kept batches are in order"
            );
            let gapless = state
                .batches()
                .windows(2)
                .all(|pair| pair[1].base_sequence == next_sequence(pair[0].last_sequence(), 1));
            assert!(gapless, "kept sequences have no gaps");
            assert!(
                state.transaction_start.is_none_or(|start| start < log_end),
                "a transaction begins in the log"
            );
        }
    }

    fn remember(&mut self, undo: Undo) {
        if self.undo.len() == UNDO_MAX
            && let Some(oldest) = self.undo.pop_front()
        {
            self.undo_floor = self.undo_floor.max(oldest.last_offset.plus(1));
        }
        self.undo.push_back(undo);
    }

    fn take_back(&mut self, undo: Undo) {
        match undo.change {
            Change::Replaced { previous: None } => {
                self.entries.remove(&undo.producer_id).expect("an expired producer has no undo entries");
            }
            Change::Replaced { previous: Some(previous) } => {
                self.entries
                    .insert(undo.producer_id, previous)
                    .expect("an expired producer has no undo entries");
            }
            Change::Same { pushed, dropped, last_append, transaction_start } => {
                let state =
                    self.entries.get_mut(&undo.producer_id).expect("an expired producer has no undo entries");
                if pushed {
                    state.pop(dropped);
                }
                state.last_append = last_append;
                state.transaction_start = transaction_start;
            }
        }
    }
}

impl ProducerState {
    /// The batch is the next one by its sequence, or bears none.
    fn is_continued_by(&self, header: &BatchHeader) -> bool {
        let bears_sequence = !header.is_control() && header.base_sequence >= 0;
        let next = self.batches().last().map(|last| next_sequence(last.last_sequence(), 1));
        !bears_sequence || next.is_none_or(|next| next == header.base_sequence)
    }

    /// The kept batch with exactly the header's epoch and sequence range.
    fn duplicate_of(&self, header: &BatchHeader) -> Option<KeptBatch> {
        if header.producer_epoch != self.epoch {
            return None;
        }
        self.batches()
            .iter()
            .find(|batch| {
                batch.base_sequence == header.base_sequence
                    && batch.last_offset_delta == header.last_offset_delta
            })
            .copied()
    }
}
