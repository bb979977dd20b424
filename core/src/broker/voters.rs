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
            self.decide(alloc::vec![MetadataRecord::Voters { voters }], out);
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
