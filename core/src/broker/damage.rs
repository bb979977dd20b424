//! A copy that rots while the node runs (SAFETY J5): the node gives the log up, leaves ISR and ELR, and is filled again by
//! whoever leads then. What it acknowledged before says nothing of what it has from then on, so the leader epoch ends with it:
//! a leader that heard those acknowledgements would bring it back into the ISR at once, whatever is left of its log.

use super::Broker;
use super::journal::Deferred;
use crate::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::output::Outputs;
use alloc::vec::Vec;

/// Partitions that one beat names; the next one names the others.
const LOST_MAX: usize = 1_000;

impl Broker {
    /// The store cannot read a batch back.
    pub(super) fn on_damaged(&mut self, partition: TopicPartition, from: Offset, out: &mut Outputs) {
        let is_writable = self.is_writable();
        let Some(replica) = self.replicas.get(&partition) else { return };
        let holds = replica.log().start() <= from && from < replica.log().end();
        if !holds || replica.damage().is_some() || !is_writable {
            return;
        }
        if self.is_only_copy(partition) {
            return; // Nobody could give it back: what can still be read is worth more than nothing.
        }
        self.step_down(partition, out);
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let entry = replica.give_up(partition, from);
        let lsn = self.journal(entry, out);
        // Were it forgotten, this node would come back to the ISR with what it has.
        self.journal.after_sync.push_back((lsn, Deferred::TellDamage { partition }));
    }

    /// That a log is given up is on disk.
    pub(super) fn on_damage_noted(&mut self, partition: TopicPartition, out: &mut Outputs) {
        if self.replicas.get(&partition).is_none_or(|replica| replica.damage().is_none()) {
            return;
        }
        if self.is_given_up_and_counted_on(partition) {
            self.membership.lost.insert(partition);
            self.on_broker_beat_due(out);
        } else {
            self.assume_role(partition, out);
        }
    }

    /// The committed metadata has this node in ISR or ELR.
    pub(super) fn is_member(&self, partition: TopicPartition) -> bool {
        let me = self.config.node_id;
        self.committed
            .partition(partition)
            .is_some_and(|held| held.state.isr.contains(&me) || held.state.elr.contains(&me))
    }

    /// A copy that was given up is counted on still: this node is a member, or a leader goes by what it acknowledged before, and
    /// may have proposed it.
    pub(super) fn is_given_up_and_counted_on(&self, partition: TopicPartition) -> bool {
        let Some(replica) = self.replicas.get(&partition).filter(|replica| replica.damage().is_some()) else {
            return false;
        };
        let in_epoch = replica.given_up_in();
        self.is_member(partition) || in_epoch.is_some_and(|epoch| self.leader_epoch(partition) <= Some(epoch))
    }

    fn leader_epoch(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        self.committed.partition(partition).map(|held| held.state.leader_epoch)
    }

    /// Copies that were given up, which the cluster still counts on.
    pub(super) fn lost_copies(&mut self) -> Vec<(TopicPartition, LeaderEpoch)> {
        let mut lost = core::mem::take(&mut self.membership.lost);
        lost.retain(|&partition| self.is_given_up_and_counted_on(partition));
        let told = lost.iter().filter_map(|&partition| Some((partition, self.leader_epoch(partition)?)));
        let told = told.take(LOST_MAX).collect();
        self.membership.lost = lost;
        told
    }
}
