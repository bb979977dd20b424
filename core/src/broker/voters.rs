//! Changes of the quorum's members: made by the active controller, ended by the removed leader's stepping down.

use super::Broker;
use crate::cluster::records::{MetadataRecord, Voter};
use crate::ids::NodeId;
use crate::output::Outputs;
use crate::quorum::voters::{VoterChange, VoterRefusal};
use alloc::vec::Vec;

impl Broker {
    /// Who would vote after a change, or why this node does not make it. [`crate::input::Input::ChangeVoters`] makes it.
    ///
    /// # Errors
    /// [`VoterRefusal`].
    pub fn plan_voters(&self, change: VoterChange) -> Result<Vec<Voter>, VoterRefusal> {
        if self.controller.is_none() || self.phase != super::Phase::Running {
            return Err(VoterRefusal::NotController);
        }
        let is_heard = |node: NodeId| {
            let heard_at = self.quorum.leading().and_then(|leader| leader.heard.get(&node));
            heard_at.is_some_and(|&at| self.now.mono - at < self.config.timings.quorum_patience_ms())
        };
        self.quorum.plan_voters(change, self.committed.voters(), is_heard)
    }

    /// Somebody wants the members changed. What is refused changes nothing; what is begun shows in the metadata.
    pub(super) fn on_change_voters(&mut self, change: VoterChange, out: &mut Outputs) {
        if let Ok(voters) = self.plan_voters(change) {
            self.set_voters(voters, out);
        }
    }

    fn set_voters(&mut self, voters: Vec<Voter>, out: &mut Outputs) {
        self.decide(alloc::vec![MetadataRecord::Voters { voters }], out);
    }

    /// A node that `controller.quorum.voters` names, and whose disk was replaced, is a voter again once it has what is
    /// committed: its former self is removed first (SAFETY Q1). One change at a time, the next one with the next look.
    pub(super) fn admit_configured(&mut self, out: &mut Outputs) {
        if !self.config.admits_voters || self.controller.is_none() {
            return;
        }
        let mut wanted = self.config.voters.iter().filter_map(|&node| self.wanted_change(node));
        if let Some(voters) = wanted.find_map(|change| self.plan_voters(change).ok()) {
            self.set_voters(voters, out);
        }
    }

    fn wanted_change(&self, node: NodeId) -> Option<VoterChange> {
        let (_, peer) = self.quorum.leading()?.followers.get(&node)?.session()?;
        let present = Voter { node_id: node, incarnation: peer.incarnation };
        // Two folders under one id: the one that the cluster knows as its broker is meant, as long as that is alive.
        let known = self.committed.brokers().get(&node).filter(|broker| broker.is_active());
        if known.is_some_and(|broker| broker.incarnation != present.incarnation)
            || !self.quorum.keeps_up(&present)
        {
            return None;
        }
        match self.quorum.voters().iter().find(|voter| voter.node_id == node) {
            Some(member) if *member == present => None,
            Some(member) => Some(VoterChange::Remove(*member)),
            None => Some(VoterChange::Add(present)),
        }
    }

    /// A leader leads until its own removal is committed, and counts itself no more (Raft section 4.2.2 of the thesis). The
    /// others were told what is committed before: one of them stands at once.
    pub(super) fn step_down_if_removed(&mut self, out: &mut Outputs) {
        let is_removed = self.quorum.leading().is_some()
            && !self.quorum.is_voter()
            && self.quorum.voters() == self.committed.voters();
        if is_removed {
            self.hand_over_quorum(out);
            self.leave_leadership(out);
            self.arm_resend();
        }
    }
}
