//! The quorum: who may write the metadata log. Raft's election (with pre-vote and check-quorum) over the same log, sessions
//! and acknowledgements as data partitions; committed by a majority of the voters in the leader's own term (SAFETY Q2).
//!
//! ```text
//!                 silence               majority says it would        majority votes
//!   Unattached ───────────► PreCandidate ───────────────► Candidate ───────────────► Leader
//!    ▲   ▲ └──── a leader's beat ────► Follower ── silence ──► PreCandidate             │
//!    │   └────────── a higher term ────────┴───────────────────────┴───────────────────┤
//!    └───────────────────────── no majority heard of (check-quorum) ───────────────────┘
//! ```
//!
//! State and rules only; messages, timers and the journal are `broker::quorum`'s.

pub mod log;
pub mod voters;

use crate::cluster::image::Image;
use crate::cluster::records::Voter;
use crate::cluster::snapshot::{Ballot, Cluster, QuorumSnapshot};
use crate::ids::{LeaderEpoch, NodeId, Offset, Uuid};
use crate::museum::exhibit;
use crate::peer::Vote;
use crate::replica::progress::Progress;
use crate::replica::session::Session;
use crate::time::MonoMs;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use log::MetadataLog;

/// One node's part in the quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    me: Voter,
    /// The cluster that the node belongs to; `None` while it is blank.
    pub cluster: Option<Cluster>,
    /// Term and vote.
    ballot: Ballot,
    /// The log.
    pub log: MetadataLog,
    /// Members, by the last record in the log that names them.
    voters: Vec<Voter>,
    /// This node is a member by one of the lists that may be in force elsewhere.
    may_count: bool,
    /// The end of what is committed, as far as this node knows.
    committed: Offset,
    /// What it is at the moment.
    pub role: Role,
    /// When the leader was heard last.
    pub heard_at: Option<MonoMs>,
    /// Its log may lack its last entries (SAFETY J4).
    pub is_doubtful: bool,
    /// Where its log ended when this run began.
    began_at: Offset,
}

/// What a node is in the quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It knows no leader.
    Unattached,
    /// It copies the leader's log.
    Follower(Session),
    /// It asks whether it would be elected.
    PreCandidate(Poll),
    /// It stands.
    Candidate(Poll),
    /// It leads.
    Leader(QuorumLeader),
}

/// The answers to a candidate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Poll {
    /// Who said yes, and whether with a doubtful log.
    grants: BTreeMap<NodeId, bool>,
}

/// What only a leader has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumLeader {
    /// Where its term begins.
    pub epoch_start: Offset,
    /// All that copy the log: voters and observers.
    pub followers: BTreeMap<NodeId, Progress>,
    /// When each was heard last.
    pub heard: BTreeMap<NodeId, MonoMs>,
    /// The last beat.
    pub beat: u64,
}

impl Quorum {
    /// The quorum as recovery left it: a follower in its old term, whatever it was (SAFETY R2).
    #[must_use]
    pub fn new(me: Voter, snapshot: QuorumSnapshot, is_doubtful: bool) -> (Self, Image) {
        let log = MetadataLog::new(snapshot.log);
        let epoch = snapshot.ballot.epoch.max(log.last_epoch());
        let candidate = snapshot.ballot.candidate.filter(|_| epoch == snapshot.ballot.epoch);
        let committed = snapshot.image.end();
        let began_at = log.log().end();
        let mut quorum = Self {
            me,
            cluster: snapshot.cluster,
            ballot: Ballot { epoch, candidate },
            log,
            voters: Vec::new(),
            may_count: false,
            committed,
            role: Role::Unattached,
            heard_at: None,
            is_doubtful,
            began_at,
        };
        quorum.refresh_voters(&snapshot.image);
        (quorum, snapshot.image)
    }

    /// The term.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.ballot.epoch
    }

    /// Term and vote.
    #[must_use]
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// The end of what is committed, as far as this node knows.
    #[must_use]
    pub fn committed(&self) -> Offset {
        self.committed
    }

    /// The members.
    #[must_use]
    pub fn voters(&self) -> &[Voter] {
        &self.voters
    }

    /// The members were changed, or a change was cut off or committed.
    pub fn refresh_voters(&mut self, image: &Image) {
        let mut lists = self.log.voter_lists(image);
        self.may_count = lists.iter().any(|list| list.contains(&self.me));
        self.voters = lists.pop().expect("the image's is among them");
    }

    /// This node is a member.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.has_voter(self.me.node_id, self.me.incarnation)
    }

    /// This node is a member, or is none only by a change that it does not know to be committed: others may need its vote,
    /// and will not get it if its log is longer than theirs. So it stands, without counting itself (Raft section 4.2.2 of the
    /// thesis).
    #[must_use]
    pub fn may_stand(&self) -> bool {
        self.may_count || self.is_voter()
    }

    /// A node is a member, with the disk that it has.
    #[must_use]
    pub fn has_voter(&self, node_id: NodeId, incarnation: Uuid) -> bool {
        // D4: a wiped disk votes under its old id.
        self.voters
            .iter()
            .any(|voter| voter.node_id == node_id && exhibit!(D4, voter.incarnation == incarnation, true))
    }

    /// Members other than this node.
    pub fn other_voters(&self) -> impl Iterator<Item = NodeId> {
        self.voters.iter().map(|voter| voter.node_id).filter(|node| *node != self.me.node_id)
    }

    /// Enters a higher term, without a vote.
    pub fn enter(&mut self, epoch: LeaderEpoch) {
        assert!(epoch > self.ballot.epoch, "terms only grow (S11)");
        self.ballot = Ballot { epoch, candidate: None };
        self.role = Role::Unattached;
    }

    /// Votes in the term.
    pub fn vote_for(&mut self, candidate: NodeId) {
        assert!(self.ballot.candidate.is_none_or(|voted| voted == candidate), "one vote a term (S16)");
        self.ballot.candidate = Some(candidate);
    }

    /// A candidate's log has all that this one has (Raft section 5.4.1).
    #[must_use]
    pub fn is_up_to_date(&self, vote: &Vote) -> bool {
        (vote.last_epoch, vote.end) >= (self.log.last_epoch(), self.log.log().end())
    }

    /// The vote is free, or the candidate's already.
    #[must_use]
    pub fn may_vote_for(&self, candidate: NodeId) -> bool {
        self.ballot.candidate.is_none_or(|voted| voted == candidate)
    }

    /// Enough said yes: a majority whose logs are in no doubt, or all (SAFETY J4).
    #[must_use]
    pub fn wins(&self, poll: &Poll) -> bool {
        let of_voters =
            poll.grants.iter().filter(|(node, _)| self.voters.iter().any(|v| v.node_id == **node));
        let (firm, doubtful): (Vec<_>, Vec<_>) = of_voters.partition(|(_, is_doubtful)| !**is_doubtful);
        firm.len() >= self.majority() || firm.len() + doubtful.len() == self.voters.len()
    }

    /// More than half.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// The end that a majority of the voters has on disk, if the leader's own term reaches it (Raft section 5.4.2). A leader
    /// that is no member does not count itself.
    #[must_use]
    pub fn majority_end(&self) -> Option<Offset> {
        let Role::Leader(leader) = &self.role else { return None };
        let mut ends: Vec<Offset> = self
            .voters
            .iter()
            .map(|voter| {
                if *voter == self.me {
                    self.log.durable().end()
                } else {
                    let follower =
                        leader.followers.get(&voter.node_id).filter(|_| self.is_followed_by(voter));
                    follower.and_then(Progress::acked).unwrap_or(Offset::ZERO)
                }
            })
            .collect();
        ends.sort_unstable();
        let end = *ends.get(ends.len().checked_sub(self.majority())?)?;
        // B2: entries of older terms are committed by counting replicas.
        let of_own_term = exhibit!(B2, end > leader.epoch_start, true);
        (of_own_term && end > self.committed).then_some(end)
    }

    /// What was committed before this run began is there again, and more: the log is no longer in doubt (SAFETY J4).
    #[must_use]
    pub fn is_past_doubt(&self) -> bool {
        self.committed > self.began_at
    }

    /// It is the voter itself that copies this leader's log, not another folder under its name (SAFETY Q1).
    #[must_use]
    pub fn is_followed_by(&self, voter: &Voter) -> bool {
        let session = self.leading().and_then(|leader| leader.followers.get(&voter.node_id)?.session());
        session.is_some_and(|(_, peer)| peer.incarnation == voter.incarnation)
    }

    /// What is committed goes up to `end`.
    pub fn commit(&mut self, end: Offset) {
        assert!(end >= self.committed, "the committed end does not go back (S4)");
        assert!(end <= self.log.log().end(), "what is committed is in the log (S4)");
        self.committed = end;
    }

    /// The leader that this node follows or is, with the term.
    #[must_use]
    pub fn leader(&self) -> Option<(NodeId, LeaderEpoch)> {
        match &self.role {
            Role::Follower(session) => Some((session.leader(), self.epoch())),
            Role::Leader(_) => Some((self.me.node_id, self.epoch())),
            Role::Unattached | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// The leader's part, and the log.
    pub fn leader_mut(&mut self) -> Option<(&mut QuorumLeader, &MetadataLog)> {
        match &mut self.role {
            Role::Leader(leader) => Some((leader, &self.log)),
            Role::Follower(_) | Role::Unattached | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// The leader's part.
    #[must_use]
    pub fn leading(&self) -> Option<&QuorumLeader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Follower(_) | Role::Unattached | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// The follower's session, and the log.
    pub fn session_mut(&mut self) -> Option<(&mut Session, &MetadataLog)> {
        match &mut self.role {
            Role::Follower(session) => Some((session, &self.log)),
            Role::Leader(_) | Role::Unattached | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// The follower's session.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        match &self.role {
            Role::Follower(session) => Some(session),
            Role::Leader(_) | Role::Unattached | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// How far a follower may see: voters everything, observers what is committed.
    #[must_use]
    pub fn limit_of(&self, node: NodeId) -> Offset {
        let is_voter = self.voters.iter().any(|voter| voter.node_id == node && self.is_followed_by(voter));
        if is_voter { self.log.log().end() } else { self.committed }
    }

    /// What must survive a crash. `image` is the committed one.
    #[must_use]
    pub fn to_snapshot(&self, image: &Image, chain: crate::journal::QuorumChain) -> QuorumSnapshot {
        QuorumSnapshot {
            cluster: self.cluster.clone(),
            ballot: self.ballot,
            image: image.clone(),
            log: self.log.to_snapshot(),
            chain,
        }
    }

    /// What must hold after every step.
    pub fn check_invariants(&self) {
        self.log.check_invariants();
        assert!(self.committed <= self.log.log().end());
        assert!(self.log.last_epoch() <= self.epoch());
    }
}

impl Poll {
    /// A voter says yes.
    pub fn grant(&mut self, node: NodeId, is_doubtful: bool) {
        self.grants.insert(node, is_doubtful);
    }
}
