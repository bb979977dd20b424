//! What only a partition's leader has: its followers, the maximal ISR, the high watermark's rule, and who waits for it.

use crate::cluster::records::PartitionState;
use crate::ids::{LeaderEpoch, NodeId, Offset, PartitionEpoch};
use crate::museum::exhibit;
use crate::replica::progress::Progress;
use crate::replica::{Waiter, WaiterId};
use crate::time::MonoMs;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// A partition's leader in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// Where its epoch begins.
    pub epoch_start: Offset,
    /// The state that it knows to be committed.
    pub partition_epoch: PartitionEpoch,
    /// The committed ISR.
    isr: Vec<NodeId>,
    /// Members of any ISR that was proposed for the state after this one: whichever of the proposals is accepted, however
    /// late, the high watermark respects it (KIP-497, SAFETY R3).
    proposed: BTreeSet<NodeId>,
    /// When the last proposal was made that is not decided yet.
    asked_at: Option<MonoMs>,
    /// `min.insync.replicas`.
    min_insync: usize,
    followers: BTreeMap<NodeId, Progress>,
    /// Requests that wait for the high watermark to reach an offset.
    committed_waiters: BTreeSet<(Offset, Waiter)>,
    /// Requests that wait for this node's disk alone (acks=1).
    durable_waiters: BTreeSet<(Offset, Waiter)>,
    /// Requests that wait for records to be deleted from every live replica.
    deleted_waiters: BTreeSet<(Offset, Waiter)>,
}

impl Leader {
    /// A leader at the begin of its epoch. Followers count as caught up now.
    #[must_use]
    pub fn new(
        now: MonoMs,
        me: NodeId,
        state: &PartitionState,
        replicas: &[NodeId],
        epoch_start: Offset,
        min_insync: usize,
    ) -> Self {
        let others = replicas.iter().filter(|&&node| node != me);
        Self {
            epoch: state.leader_epoch,
            epoch_start,
            partition_epoch: state.partition_epoch,
            isr: state.isr.clone(),
            proposed: BTreeSet::new(),
            asked_at: None,
            min_insync,
            followers: others.map(|&node| (node, Progress::new(now))).collect(),
            committed_waiters: BTreeSet::new(),
            durable_waiters: BTreeSet::new(),
            deleted_waiters: BTreeSet::new(),
        }
    }

    /// Those who wait for the same node in its last epoch wait for it in this one: what they wait for is in the same log.
    pub(super) fn take_over_waiters(&mut self, before: &mut Self) {
        self.committed_waiters.append(&mut before.committed_waiters);
        self.durable_waiters.append(&mut before.durable_waiters);
        self.deleted_waiters.append(&mut before.deleted_waiters);
    }

    /// A newer state of the same leader epoch is committed.
    pub fn on_state(&mut self, state: &PartitionState, min_insync: usize) {
        assert!(state.leader_epoch == self.epoch, "another epoch is another leader");
        assert!(state.partition_epoch > self.partition_epoch, "partition epochs grow (S11)");
        self.partition_epoch = state.partition_epoch;
        self.isr.clone_from(&state.isr);
        self.proposed.clear();
        self.asked_at = None;
        self.min_insync = min_insync;
    }

    /// The high watermark that the acknowledgements allow, given this node's own durable end; `None` while the ISR is
    /// smaller than `min.insync.replicas` (SAFETY R3).
    #[must_use]
    pub fn committed_end(&self, me: NodeId, own_durable: Offset) -> Option<Offset> {
        // N4 and C7: the watermark moves however small the ISR is.
        let enough = exhibit!(N4, exhibit!(C7, self.has_enough_in_sync(), true), true);
        if !enough {
            return None;
        }
        // C2: a smaller ISR counts as soon as it is proposed, before the controller has accepted it.
        let members = exhibit!(
            C2,
            self.maximal_isr(),
            if self.proposed.is_empty() { self.maximal_isr() } else { self.proposed.clone() }
        );
        let ends = members
            .iter()
            .filter(|&&node| node != me)
            .map(|node| self.followers.get(node).and_then(Progress::acked).unwrap_or(Offset::ZERO));
        Some(ends.fold(own_durable, Offset::min))
    }

    /// The committed ISR has `min.insync.replicas` members.
    #[must_use]
    pub fn has_enough_in_sync(&self) -> bool {
        self.isr.len() >= self.min_insync
    }

    /// The ISR that should be proposed at `now`, if it differs from the committed one or a proposal has to be taken back;
    /// `None` while one is being decided. `is_eligible` says which followers the controller would take (KIP-841).
    #[must_use]
    pub fn plan_isr(
        &self,
        me: NodeId,
        now: MonoMs,
        lag_ms: u64,
        (log_end, high_watermark): (Offset, Offset),
        is_eligible: impl Fn(NodeId) -> bool,
    ) -> Option<Vec<NodeId>> {
        if self.asked_at.is_some() {
            return None;
        }
        // C1: a follower joins at the high watermark, which may be older than the leader's epoch.
        let joins_at = exhibit!(C1, high_watermark.max(self.epoch_start), high_watermark);
        let belongs = |node: NodeId, progress: &Progress| {
            if self.isr.contains(&node) {
                progress.is_in_sync(now, lag_ms, log_end)
            } else {
                // Who would fall out again at once does not join: with the watermark below the log's end that is not the same.
                progress.acked().is_some_and(|acked| acked >= joins_at)
                    && progress.is_in_sync(now, lag_ms, log_end)
                    && is_eligible(node)
            }
        };
        let wanted: Vec<NodeId> = core::iter::once(me)
            .chain(
                self.followers
                    .iter()
                    .filter(|&(&node, progress)| belongs(node, progress))
                    .map(|(&node, _)| node),
            )
            .collect();
        let same = wanted.len() == self.isr.len() && wanted.iter().all(|node| self.isr.contains(node));
        // A refused proposal may still be accepted when it arrives once more: it is over only with the next state.
        (!same || !self.proposed.is_empty()).then_some(wanted)
    }

    /// An ISR is proposed.
    pub fn on_proposed(&mut self, now: MonoMs, isr: &[NodeId]) {
        self.proposed.extend(isr.iter().copied());
        self.asked_at = Some(now);
    }

    /// The controller refused, or did not answer: what was proposed may be proposed again.
    pub fn on_undecided(&mut self) {
        self.asked_at = None;
    }

    /// When the last proposal was made that is not decided yet.
    #[must_use]
    pub fn asked_at(&self) -> Option<MonoMs> {
        self.asked_at
    }

    /// The first moment at which a member of the ISR may fall out of it.
    #[must_use]
    pub fn lag_deadline(&self, lag_ms: u64, log_end: Offset) -> Option<MonoMs> {
        let members = self.followers.iter().filter(|(node, _)| self.isr.contains(node));
        let behind = members.filter(|(_, progress)| progress.acked().is_none_or(|acked| acked < log_end));
        behind.map(|(_, progress)| progress.lag_deadline(lag_ms)).min()
    }

    /// It has others in its maximal ISR, and none of them acknowledged anything within `silence_ms`.
    #[must_use]
    pub fn is_alone(&self, me: NodeId, now: MonoMs, silence_ms: u64) -> bool {
        let members = self.maximal_isr();
        let is_heard = |node: &NodeId| {
            let heard_at = self.followers.get(node).and_then(Progress::heard_at);
            heard_at.is_some_and(|at| now - at < silence_ms)
        };
        members.len() > 1 && !members.iter().any(|node| *node != me && is_heard(node))
    }

    /// The committed ISR.
    #[must_use]
    pub fn isr(&self) -> &[NodeId] {
        &self.isr
    }

    /// Members of the committed ISR and of every proposal for the next: the maximal ISR.
    pub fn maximal_isr(&self) -> BTreeSet<NodeId> {
        self.isr.iter().chain(&self.proposed).copied().collect()
    }

    /// The followers.
    #[must_use]
    pub fn followers(&self) -> &BTreeMap<NodeId, Progress> {
        &self.followers
    }

    /// A follower.
    pub fn follower_mut(&mut self, node: NodeId) -> Option<&mut Progress> {
        self.followers.get_mut(&node)
    }

    /// All followers.
    pub fn followers_mut(&mut self) -> impl Iterator<Item = (NodeId, &mut Progress)> {
        self.followers.iter_mut().map(|(&node, progress)| (node, progress))
    }

    /// `waiter` waits until the high watermark reaches `offset`.
    pub(super) fn wait_committed(&mut self, offset: Offset, waiter: Waiter) {
        self.committed_waiters.insert((offset, waiter));
    }

    /// `waiter` waits until this node's disk has everything up to `offset`.
    pub(super) fn wait_durable(&mut self, offset: Offset, waiter: Waiter) {
        self.durable_waiters.insert((offset, waiter));
    }

    /// `waiter` waits until every live replica's log starts at `offset` or later.
    pub(super) fn wait_deleted(&mut self, offset: Offset, waiter: Waiter) {
        self.deleted_waiters.insert((offset, waiter));
    }

    /// Somebody waits for records to be deleted.
    #[must_use]
    pub fn awaits_deletion(&self) -> bool {
        !self.deleted_waiters.is_empty()
    }

    /// Those who wait for a low watermark up to this one.
    pub(super) fn take_deleted(&mut self, low_watermark: Offset) -> Vec<Waiter> {
        take_up_to(&mut self.deleted_waiters, low_watermark)
    }

    /// `waiter` waits no longer.
    pub(super) fn forget_waiter(&mut self, offset: Offset, waiter: Waiter) {
        self.committed_waiters.remove(&(offset, waiter));
        self.durable_waiters.remove(&(offset, waiter));
        self.deleted_waiters.remove(&(offset, waiter));
    }

    /// Those whose offsets are reached, in their order.
    pub(super) fn take_reached(&mut self, high_watermark: Offset, durable: Offset) -> Vec<Waiter> {
        let mut reached = take_up_to(&mut self.committed_waiters, high_watermark);
        reached.extend(take_up_to(&mut self.durable_waiters, durable));
        reached
    }

    /// Everyone.
    pub(super) fn take_waiters(&mut self) -> Vec<Waiter> {
        let committed = core::mem::take(&mut self.committed_waiters);
        let durable = core::mem::take(&mut self.durable_waiters);
        let deleted = core::mem::take(&mut self.deleted_waiters);
        committed.into_iter().chain(durable).chain(deleted).map(|(_, waiter)| waiter).collect()
    }
}

fn take_up_to(waiters: &mut BTreeSet<(Offset, Waiter)>, end: Offset) -> Vec<Waiter> {
    let later = waiters.split_off(&(end.plus(1), Waiter { id: WaiterId(0), part: 0 }));
    core::mem::replace(waiters, later).into_iter().map(|(_, waiter)| waiter).collect()
}
