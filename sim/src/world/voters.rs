//! Changes of the quorum's members: what an operator wants is asked of whoever decides, and what came of it is marked.

use super::World;
use super::node::{State, incarnation};
use super::queue::What;
use crate::marks::Mark;
use crate::plan::{FaultKind, VoterStep, VoterWish};
use seedlog_core::broker::Broker;
use seedlog_core::cluster::records::Voter;
use seedlog_core::ids::NodeId;
use seedlog_core::input::Input;
use seedlog_core::quorum::voters::VoterChange;

/// How long until a wish that was refused is uttered again.
const AGAIN_US: u64 = 150_000;
/// So often at most.
const TRIES_MAX: u32 = 60;

impl World {
    pub(super) fn on_voter_step(&mut self, index: usize, tries: u32) {
        if self.phase != super::Phase::Stormy {
            return;
        }
        let step = self.plan.voters[index];
        if self.try_voter_step(&step) == Tried::Done || tries >= TRIES_MAX {
            return;
        }
        self.queue.push(self.now_us + AGAIN_US, What::Voters { index, tries: tries + 1 });
    }

    fn try_voter_step(&mut self, step: &VoterStep) -> Tried {
        let Some(asked) = self.controller_to_ask() else { return Tried::Again };
        let Some(broker) = self.broker(asked) else { return Tried::Again };
        let voters = broker.quorum().voters();
        let slot = &self.nodes[step.node as usize];
        let wanted = Voter { node_id: slot.node_id, incarnation: slot.incarnation };
        let member = voters.iter().find(|voter| voter.node_id == wanted.node_id).copied();
        let (change, is_last) = match (step.wish, member) {
            (VoterWish::Remove, None) => return Tried::Done,
            (VoterWish::Admit, Some(member)) if member == wanted => return Tried::Done,
            (VoterWish::Remove, Some(member)) => (VoterChange::Remove(member), true),
            (VoterWish::Admit, Some(member)) => (VoterChange::Remove(member), false),
            (VoterWish::Admit, None) => (VoterChange::Add(wanted), true),
        };
        let Ok(after) = broker.plan_voters(change) else { return Tried::Again };
        if !self.keeps_the_promise(&after) {
            return Tried::Again;
        }
        let leader = self.nodes[asked].node_id;
        if change
            == VoterChange::Remove(Voter { node_id: leader, incarnation: self.nodes[asked].incarnation })
        {
            self.mark(Mark::LeaderRemovesItself);
        }
        if let Some(for_us) = step.isolates_us {
            self.isolate(leader, for_us);
        }
        self.step(asked, Input::ChangeVoters { change });
        if is_last { Tried::Done } else { Tried::Again }
    }

    /// Of several nodes that believe to decide, the one that is wrong: what it begins comes to nothing.
    fn controller_to_ask(&self) -> Option<usize> {
        let decides = |at: &usize| {
            self.nodes[*at].paused_until == 0 && self.broker(*at).is_some_and(Broker::is_controller)
        };
        (0..self.nodes.len())
            .filter(decides)
            .min_by_key(|at| self.broker(*at).map(|broker| broker.quorum().epoch()))
    }

    fn broker(&self, at: usize) -> Option<&Broker> {
        match &self.nodes[at].state {
            State::Up(process) => Some(&process.broker),
            State::Down | State::Recovering(_) | State::Dead => None,
        }
    }

    /// A majority of the voters keeps its disks (`plan::faults`).
    fn keeps_the_promise(&self, voters: &[Voter]) -> bool {
        let losers = self.plan.losers();
        let keeps = voters.iter().filter(|voter| !losers.contains(&Self::broker_of(voter.node_id)));
        keeps.count() > voters.len() / 2
    }

    fn isolate(&mut self, node: NodeId, for_us: u64) {
        let node = Self::broker_of(node);
        let others = (0..u32::try_from(self.plan.nodes.len()).unwrap_or(0)).filter(|&other| other != node);
        let pairs = others.flat_map(|other| [[node, other], [other, node]]).collect();
        self.begin_link_fault(FaultKind::Cut { pairs, for_us, told_us: None, keeps: false });
    }

    /// After a step: was a change that was not committed taken back?
    pub(super) fn observe_voters(&mut self, at: usize) {
        let State::Up(process) = &mut self.nodes[at].state else { return };
        let was_cut = std::mem::take(&mut process.cuts_metadata);
        let voters = process.broker.quorum().voters();
        let committed = process.broker.image().voters();
        let was_open = match &process.open_voters {
            Some(open) if open == voters => return,
            open => open.is_some(),
        };
        let is_open = voters != committed;
        if !was_open && !is_open {
            return;
        }
        // A snapshot, or several commits in one step, may hide that it was committed.
        let is_rolled_back = was_cut && process.open_voters.as_deref().is_some_and(|open| open != committed);
        process.open_voters = is_open.then(|| voters.to_vec());
        if is_rolled_back {
            self.mark(Mark::VotersRolledBack);
        }
    }

    /// The members changed, by what is committed.
    pub(super) fn on_voters_committed(&mut self, voters: Vec<Voter>) {
        let before = std::mem::replace(&mut self.voters, voters);
        if self.voters.len() < before.len() {
            self.mark(Mark::VoterRemoved);
        }
        let added: Vec<Voter> = self.voters.iter().filter(|voter| !before.contains(voter)).copied().collect();
        for voter in added {
            self.mark(Mark::VoterAdded);
            if voter.incarnation != incarnation(self.plan.seed, u64::from(Self::broker_of(voter.node_id))) {
                self.mark(Mark::WipedVoterAdmitted);
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Tried {
    Done,
    Again,
}
