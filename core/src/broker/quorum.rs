//! The quorum's messages, timers and journal entries: elections, and the metadata log from leader to followers.

use super::Broker;
use super::journal::Deferred;
use super::timers::Timer;
use crate::cluster::records::MetadataRecord;
use crate::ids::{LeaderEpoch, NodeId, Offset, RunId, SessionNumber, TopicPartition};
use crate::journal::Entry;
use crate::museum::exhibit;
use crate::output::Outputs;
use crate::peer::{Beat, BeatReply, PeerBody, Vote, VoteReply};
use crate::quorum::log::MetadataEntry;
use crate::quorum::{Poll, QuorumLeader, Role};
use crate::replica::progress::{PeerRun, Progress};
use crate::replica::session::Session;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

impl Broker {
    /// The node belongs to a cluster: it votes, follows, or stands.
    pub(super) fn begin_quorum(&mut self, out: &mut Outputs) {
        if self.quorum.is_voter() && self.quorum.voters().len() == 1 && self.config.roles.controller {
            self.stand(out); // Nobody else could.
            return;
        }
        self.arm_election();
        self.arm_resend();
    }

    pub(super) fn arm_resend(&mut self) {
        self.timers.arm_by(self.now.mono + self.config.timings.resend_ms, Timer::Resend);
    }

    /// Draws how long this voter waits before it asks for votes: apart from the others, so that one of them is first.
    fn arm_election(&mut self) {
        let least = self.config.timings.election_timeout_ms;
        let wait = least + self.random.below(least);
        self.timers.arm(self.now.mono + wait, Timer::Election);
    }

    /// The connection to the leader broke: it may have died. Pre-votes keep a wrong guess harmless.
    pub(super) fn on_leader_lost(&mut self, node: NodeId) {
        if self.quorum.session().is_some_and(|session| session.leader() == node) && self.may_stand() {
            self.quorum.heard_at = None;
            let wait = self.random.below(self.config.timings.quorum_beat_ms) + 1;
            self.timers.arm_by(self.now.mono + wait, Timer::Election);
        }
    }

    /// Timer: the leader was silent for too long, or an election came to nothing.
    pub(super) fn on_election(&mut self, out: &mut Outputs) {
        self.arm_election();
        if !self.may_stand() || matches!(self.quorum.role, Role::Leader(_)) {
            if !matches!(self.quorum.role, Role::Leader(_)) {
                self.quorum.role = Role::Unattached;
                self.arm_resend();
            }
            return;
        }
        let came_to_nothing = matches!(self.quorum.role, Role::PreCandidate(_));
        let mut poll = Poll::default();
        poll.grant(self.config.node_id, self.quorum.is_doubtful);
        let would_win = self.quorum.wins(&poll);
        self.quorum.role = Role::PreCandidate(poll);
        if would_win {
            self.stand(out);
        } else {
            self.ask_for_votes(true, false, out);
            if came_to_nothing {
                // It may be a voter no more: then those that lead do not know that it does not know.
                self.seek_leader(out);
            }
        }
    }

    fn ask_for_votes(&mut self, is_pre_vote: bool, is_handed_over: bool, out: &mut Outputs) {
        let epoch = self.quorum.epoch();
        let vote = |voter| Vote {
            voter,
            epoch: if is_pre_vote { LeaderEpoch(epoch.0 + 1) } else { epoch },
            last_epoch: self.quorum.log.last_epoch(),
            end: self.quorum.log.log().end(),
            is_pre_vote,
            is_handed_over,
        };
        let me = self.config.node_id;
        let votes: Vec<(NodeId, Vote)> = self
            .quorum
            .voters()
            .iter()
            .filter(|voter| voter.node_id != me)
            .map(|voter| (voter.node_id, vote(voter.incarnation)))
            .collect();
        for (node, vote) in votes {
            self.send(node, None, PeerBody::Vote(vote), out);
        }
    }

    /// Stands in a new term: with its own vote on disk it asks the others.
    pub(super) fn stand(&mut self, out: &mut Outputs) {
        if !self.is_writable() {
            return;
        }
        let epoch = LeaderEpoch(self.quorum.epoch().0 + 1);
        self.leave_leadership(out);
        self.quorum.enter(epoch);
        self.quorum.vote_for(self.config.node_id);
        self.quorum.role = Role::Candidate(Poll::default());
        self.arm_election();
        let lsn = self.journal(Entry::Vote { epoch, candidate: Some(self.config.node_id) }, out);
        self.after_sync(lsn, Deferred::Stand { epoch }, out);
    }

    /// This candidate's own vote is on disk.
    pub(super) fn on_stood(&mut self, epoch: LeaderEpoch, out: &mut Outputs) {
        if self.quorum.epoch() != epoch || !matches!(self.quorum.role, Role::Candidate(_)) {
            return;
        }
        self.ask_for_votes(false, self.is_successor, out);
        self.is_successor = false;
        self.count_vote(self.config.node_id, self.quorum.is_doubtful, out);
    }

    pub(super) fn on_vote(&mut self, from: NodeId, peer: PeerRun, vote: &Vote, out: &mut Outputs) {
        // Who is a member, the candidate's log says: it counts, and it may know of a change that this node does not (Raft
        // section 4.2 of the thesis). D4: a wiped disk votes under its old id.
        let is_member = exhibit!(D4, vote.voter == self.config.incarnation, true);
        if !is_member || !self.is_writable() {
            return;
        }
        let own_epoch = self.quorum.epoch();
        let reply = |own_epoch, is_granted, is_doubtful| VoteReply {
            epoch: vote.epoch,
            own_epoch,
            is_pre_vote: vote.is_pre_vote,
            is_granted,
            is_doubtful,
        };
        let hears_leader = self.hears_leader();
        if vote.is_pre_vote {
            let is_granted = vote.epoch > own_epoch && self.quorum.is_up_to_date(vote) && !hears_leader;
            let body = PeerBody::VoteReply(reply(own_epoch, is_granted, self.quorum.is_doubtful));
            self.send(from, Some(peer.run), body, out);
            return;
        }
        if vote.epoch < own_epoch || vote.epoch > own_epoch && hears_leader && !vote.is_handed_over {
            // A term that nobody asked for does not disturb a leader that is heard (KIP-996).
            let body = PeerBody::VoteReply(reply(own_epoch, false, false));
            self.send(from, Some(peer.run), body, out);
            return;
        }
        if vote.epoch > own_epoch {
            self.leave_leadership(out);
            self.quorum.enter(vote.epoch);
        }
        let is_granted = self.quorum.is_up_to_date(vote)
            && self.quorum.may_vote_for(from)
            && self.quorum.leader().is_none();
        if is_granted {
            self.quorum.vote_for(from);
            self.arm_election();
        }
        let candidate = self.quorum.ballot().candidate;
        let lsn = self.journal(Entry::Vote { epoch: vote.epoch, candidate }, out);
        let body = PeerBody::VoteReply(reply(vote.epoch, is_granted, self.quorum.is_doubtful));
        // D3: the vote leaves before it is on disk.
        let lsn = exhibit!(D3, lsn, crate::ids::Lsn::ZERO);
        self.after_sync(lsn, Deferred::Send { to: from, run: peer.run, body }, out);
    }

    /// A leader was heard of so lately that an election would disturb it.
    fn hears_leader(&self) -> bool {
        let lately = |at| self.now.mono - at < self.config.timings.election_timeout_ms;
        match &self.quorum.role {
            Role::Leader(_) => true,
            Role::Follower(_) => self.quorum.heard_at.is_some_and(lately),
            Role::Unattached | Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    pub(super) fn on_vote_reply(
        &mut self,
        from: NodeId,
        peer: PeerRun,
        reply: &VoteReply,
        out: &mut Outputs,
    ) {
        if self.enter_if_newer(reply.own_epoch, out) || !self.quorum.has_voter(from, peer.incarnation) {
            return;
        }
        let own = self.quorum.epoch();
        let counts = match &self.quorum.role {
            Role::PreCandidate(_) => reply.is_pre_vote && reply.epoch.0 == own.0 + 1,
            Role::Candidate(_) => !reply.is_pre_vote && reply.epoch == own,
            Role::Unattached | Role::Follower(_) | Role::Leader(_) => false,
        };
        if counts && reply.is_granted {
            self.count_vote(from, reply.is_doubtful, out);
        }
    }

    fn count_vote(&mut self, node: NodeId, is_doubtful: bool, out: &mut Outputs) {
        if !self.is_writable() {
            return; // A run that ends leads nothing.
        }
        let poll = match &mut self.quorum.role {
            Role::PreCandidate(poll) | Role::Candidate(poll) => {
                poll.grant(node, is_doubtful);
                poll.clone()
            }
            Role::Unattached | Role::Follower(_) | Role::Leader(_) => return,
        };
        if !self.quorum.wins(&poll) {
            return;
        }
        if matches!(self.quorum.role, Role::PreCandidate(_)) {
            self.stand(out);
        } else {
            self.become_leader(out);
        }
    }

    /// Another term is newer: whatever this node was in the older one, it is no longer. `true`: it was so.
    pub(super) fn enter_if_newer(&mut self, epoch: LeaderEpoch, out: &mut Outputs) -> bool {
        if epoch <= self.quorum.epoch() || !self.is_writable() {
            return false;
        }
        self.leave_leadership(out);
        self.quorum.enter(epoch);
        self.journal(Entry::Vote { epoch, candidate: None }, out);
        if self.quorum.may_stand() {
            self.arm_election();
        }
        self.arm_resend();
        true
    }

    fn become_leader(&mut self, out: &mut Outputs) {
        let now = self.now.mono;
        let others: Vec<NodeId> = self.quorum.other_voters().collect();
        self.quorum.role = Role::Leader(QuorumLeader {
            epoch_start: self.quorum.log.log().end(),
            followers: others.iter().map(|&node| (node, Progress::new(now))).collect(),
            heard: others.iter().map(|&node| (node, now)).collect::<BTreeMap<_, _>>(),
            beat: 0,
        });
        self.timers.disarm(Timer::Election);
        let epoch = self.quorum.epoch();
        let change = MetadataRecord::LeaderChange { leader: self.config.node_id, epoch };
        self.append_entry(epoch, &[change], out);
        self.on_quorum_beat(out);
    }

    /// What only a leader or the controller has goes: who waits for it is told to look elsewhere.
    pub(super) fn leave_leadership(&mut self, out: &mut Outputs) {
        if let Role::Leader(leader) = &self.quorum.role {
            let in_flight: Vec<NodeId> = leader.followers.keys().copied().collect();
            self.quorum.role = Role::Unattached;
            for node in in_flight {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.busy.remove(TopicPartition::METADATA);
                }
            }
            self.timers.disarm(Timer::QuorumBeat);
            self.resign_controller(out);
        }
    }

    /// Timer: the leader lets itself be heard, and looks whether it still hears a majority (Raft section 6.2 of the thesis).
    pub(super) fn on_quorum_beat(&mut self, out: &mut Outputs) {
        let now = self.now.mono;
        let patience_ms = self.config.timings.quorum_patience_ms();
        let voters: Vec<NodeId> = self.quorum.other_voters().collect();
        let counts_itself = usize::from(self.quorum.is_voter());
        let majority = self.quorum.majority();
        let epoch = self.quorum.epoch();
        let Some((leader, log)) = self.quorum.leader_mut() else { return };
        // A follower that a beat tells of no session opens one.
        for progress in leader.followers.values_mut().filter(|progress| progress.is_below(log.log())) {
            progress.close();
        }
        let heard = |node: &NodeId| leader.heard.get(node).is_some_and(|&at| now - at < patience_ms);
        let hears_majority = voters.iter().filter(|node| heard(node)).count() + counts_itself >= majority;
        if !hears_majority {
            self.leave_leadership(out);
            self.arm_election();
            self.arm_resend();
            return;
        }
        leader.beat += 1;
        let number = leader.beat;
        // An observer that is silent for long is gone.
        let gone: Vec<NodeId> = leader
            .heard
            .iter()
            .filter(|&(node, &at)| !voters.contains(node) && now - at > 10 * patience_ms)
            .map(|(&node, _)| node)
            .collect();
        for node in gone {
            leader.heard.remove(&node);
            leader.followers.remove(&node);
        }
        let sessions: Vec<(NodeId, Option<(RunId, SessionNumber)>)> = leader
            .followers
            .iter()
            .map(|(&node, progress)| (node, progress.session().map(|(number, peer)| (peer.run, number))))
            .collect();
        for (node, session) in sessions {
            self.send(node, None, PeerBody::Beat(Beat { epoch, number, session }), out);
        }
        self.timers.arm(now + self.config.timings.quorum_beat_ms, Timer::QuorumBeat);
    }

    pub(super) fn on_beat(&mut self, from: NodeId, peer: PeerRun, beat: &Beat, out: &mut Outputs) {
        if beat.epoch >= self.quorum.epoch() {
            self.enter_if_newer(beat.epoch, out);
            if self.quorum.epoch() != beat.epoch || matches!(self.quorum.role, Role::Leader(_)) {
                return;
            }
            self.quorum.heard_at = Some(self.now.mono);
            if self.quorum.may_stand() {
                self.arm_election();
            } else {
                self.timers.arm(self.now.mono + 4 * self.config.timings.election_timeout_ms, Timer::Election);
            }
            self.follow_quorum(from, beat.epoch, out);
            // The leader knows another session, or none: what it sends would reach nobody.
            let own = self.quorum.session().and_then(Session::open);
            let me = self.run();
            if own.is_some_and(|(number, run)| run != peer.run || beat.session != Some((me, number))) {
                if let Some((session, _)) = self.quorum.session_mut() {
                    session.reopen();
                }
                self.open_metadata(out);
            }
        }
        let reply = BeatReply { epoch: self.quorum.epoch(), number: beat.number };
        self.send(from, Some(peer.run), PeerBody::BeatReply(reply), out);
    }

    /// Follows the leader of the term, if it does not yet.
    pub(super) fn follow_quorum(&mut self, leader: NodeId, epoch: LeaderEpoch, out: &mut Outputs) {
        let follows = self
            .quorum
            .session()
            .is_some_and(|session| session.leader() == leader && session.epoch() == epoch);
        if follows || leader == self.config.node_id {
            return;
        }
        self.quorum.role = Role::Follower(Session::new(leader, epoch));
        self.open_metadata(out);
        self.on_controller_known(out);
    }

    pub(super) fn on_beat_reply(&mut self, from: NodeId, reply: &BeatReply, out: &mut Outputs) {
        if self.enter_if_newer(reply.epoch, out) {
            return;
        }
        let (now, epoch) = (self.now.mono, self.quorum.epoch());
        if let Some((leader, _)) = self.quorum.leader_mut()
            && reply.epoch == epoch
        {
            leader.heard.insert(from, now);
        }
    }

    /// The leader stops and names this node to stand without waiting.
    pub(super) fn on_resign(
        &mut self,
        from: NodeId,
        epoch: LeaderEpoch,
        successor: NodeId,
        out: &mut Outputs,
    ) {
        let follows = self.quorum.leader() == Some((from, epoch));
        if follows && successor == self.config.node_id && self.may_stand() {
            self.is_successor = true;
            self.stand(out);
        } else if follows {
            self.quorum.heard_at = None;
        }
    }

    /// Hands the lead of the quorum to the voter that is furthest.
    pub(super) fn hand_over_quorum(&mut self, out: &mut Outputs) {
        let epoch = self.quorum.epoch();
        let voters: Vec<NodeId> = self.quorum.other_voters().collect();
        let Some(leader) = self.quorum.leading() else { return };
        let best = leader
            .followers
            .iter()
            .filter(|(node, progress)| voters.contains(node) && progress.acked().is_some())
            .max_by_key(|(node, progress)| (progress.acked(), core::cmp::Reverse(**node)));
        let Some((&successor, _)) = best else { return };
        for node in voters {
            self.send(node, None, PeerBody::Resign { epoch, successor }, out);
        }
        self.leave_leadership(out);
        self.arm_election();
    }

    /// Appends an entry as the leader of the term, and sends it on.
    pub(super) fn append_entry(
        &mut self,
        epoch: LeaderEpoch,
        records: &[MetadataRecord],
        out: &mut Outputs,
    ) -> Offset {
        let before = self.quorum.log.log().end();
        let entry = MetadataEntry { epoch, records: MetadataRecord::encode(records) };
        self.take_entry(entry, records, out);
        let end = self.quorum.log.log().end();
        let now = self.now.mono;
        let Some((leader, _)) = self.quorum.leader_mut() else { unreachable!("only a leader appends") };
        leader.followers.values_mut().for_each(|progress| progress.on_appended(now, (before, end)));
        let followers: Vec<NodeId> = leader.followers.keys().copied().collect();
        for node in followers {
            self.push_metadata(node, out);
        }
        end
    }

    /// Appends an entry, of this leader or another one, and journals it. `records` are those that it encodes.
    pub(super) fn take_entry(&mut self, entry: MetadataEntry, records: &[MetadataRecord], out: &mut Outputs) {
        let names_voters = records.iter().any(|record| matches!(record, MetadataRecord::Voters { .. }));
        let journaled = self.quorum.log.append(entry);
        let lsn = self.journal(journaled, out);
        self.quorum.log.appended_as(lsn);
        self.journal.metadata.push_back(lsn);
        if names_voters {
            self.quorum.refresh_voters(&self.committed);
        }
    }
}
