//! One partition's log as a node's journal adds it up ([`super::oracle`]), beginning at whatever start.

use super::shadow::ShadowBatch;
use seedlog_core::ids::{LeaderEpoch, Lsn, Offset};
use std::sync::Arc;

/// One partition's log on one node.
#[derive(Debug, Clone, Default)]
pub struct NodeLog {
    /// Its batches in order from offset 0 on: deleted ones stay, and what a log that begins anew above 0 never had is filled in
    /// with what is true, so that the n-th batch of all logs is the same one.
    pub batches: Vec<Held>,
    /// Where it starts, and which entry said so; those before it as well, and those of the log that a reset
    /// took the place of. None yet: 0.
    pub starts: Vec<(Lsn, Offset)>,
    /// Leader epochs and where they begin, as the entries say.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Part of it was lost to a fault that allows it; it is refilled or not served any more.
    pub given_up: bool,
    /// So many of its first batches are known to be those of the true log.
    pub matched: usize,
    /// So many of its first batches are known to be those of the leader of an epoch (S32).
    pub agreed: (LeaderEpoch, usize),
}

/// A batch in a node's log.
#[derive(Debug, Clone)]
pub struct Held {
    /// It.
    pub batch: Arc<ShadowBatch>,
    /// The entry that appended it, or that deleted it unseen.
    pub lsn: Lsn,
}

impl NodeLog {
    /// The offset that the next batch takes.
    #[must_use]
    pub fn end(&self) -> Offset {
        let end = self.batches.last().map_or(Offset::ZERO, |held| held.batch.header.next_offset());
        end.max(self.start())
    }

    /// Where it starts.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.starts.last().map_or(Offset::ZERO, |(_, start)| *start)
    }

    /// Where it starts by the entries up to `durable`.
    #[must_use]
    pub fn start_at(&self, durable: Lsn) -> Offset {
        let told = self.starts.iter().rev().find(|(lsn, _)| *lsn <= durable);
        told.map_or(Offset::ZERO, |(_, start)| *start)
    }

    /// The batch that begins at an offset.
    #[must_use]
    pub fn at(&self, base: Offset) -> Option<&Held> {
        let at = self.batches.binary_search_by_key(&base, |held| held.batch.header.base_offset).ok()?;
        Some(&self.batches[at])
    }

    /// How many batches lie below `end`.
    #[must_use]
    pub fn count_below(&self, end: Offset) -> usize {
        self.batches.partition_point(|held| held.batch.header.next_offset() <= end)
    }

    /// It ends at `to`.
    pub(super) fn cut(&mut self, to: Offset) {
        self.batches.truncate(self.count_below(to));
        let left = self.batches.len();
        self.matched = self.matched.min(left);
        self.agreed.1 = self.agreed.1.min(left);
        while self.epochs.last().is_some_and(|(_, start)| *start >= to) {
            self.epochs.pop();
        }
    }

    /// A batch comes that reaches over the start: what is filled in before that, and never was in one log with it, is in its way.
    pub(super) fn make_way_for(&mut self, base: Offset) {
        let start = self.start();
        while self.batches.pop_if(|last| (base..start).contains(&last.batch.header.last_offset())).is_some() {
        }
        self.matched = self.matched.min(self.batches.len());
        self.agreed.1 = self.agreed.1.min(self.batches.len());
    }

    /// What is before `start` is gone; `front` is what is true there. Records that never were true go too.
    pub(super) fn begin_at(&mut self, lsn: Lsn, start: Offset, front: &[Arc<ShadowBatch>]) {
        let kept = self.batches.split_off(self.count_below(start));
        let own = std::mem::take(&mut self.batches);
        let same = own.iter().zip(front).take_while(|(held, batch)| held.batch.whole == batch.whole).count();
        self.batches.extend(own.into_iter().take(same));
        self.batches.extend(front[same..].iter().map(|batch| Held { batch: Arc::clone(batch), lsn }));
        self.batches.extend(kept);
        self.matched = self.matched.min(same);
        self.agreed.1 = self.agreed.1.min(same);
        self.starts.push((lsn, start));
        // As the cache has it: one epoch at most reaches over the start.
        let covering = self.epochs.partition_point(|(_, begin)| *begin <= start);
        if let Some(last) = covering.checked_sub(1) {
            self.epochs.drain(..last);
            self.epochs[0].1 = start;
        }
    }

    /// What comes from `start` on is of this epoch.
    pub(super) fn begin_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            // An epoch without records is forgotten when the next begins at the same place.
            while self.epochs.last().is_some_and(|(_, other)| *other >= start) {
                self.epochs.pop();
            }
            self.epochs.push((epoch, start));
        }
    }
}
