//! Who votes, and the one rule by which that changes: one member at a time (Raft section 4.1 of the thesis, KIP-853).
//!
//! ```text
//!   observer ── it has what is committed ──► Add: counts from the append on ── committed ──► the next change may begin
//!   voter ──────────────────────────────► Remove: counts no more ─────────── committed ──► it steps down, if it led
//! ```
//!
//! Of two lists that differ by one member any two majorities share a voter, so the list in force may be the last in the log,
//! committed or not, and goes back with the entry if that is cut. It holds for neighbours only: a second change waits for the
//! commit of the first, and the first of a term for the commit of the term's own first entry, which commits what an earlier
//! leader left behind.
//!
//! A member is a node with its disk: a wiped voter is another one, that is admitted after the old one is removed. Taking one
//! for the other in a single step would be two changes at once.

use super::Quorum;
use crate::cluster::records::{MetadataRecord, Voter};
use crate::ids::NodeId;
use alloc::vec::Vec;
use core::fmt;

/// Most members of a quorum.
pub const VOTERS_MAX: usize = 31;

/// A change of the quorum's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoterChange {
    /// An observer becomes a voter.
    Add(Voter),
    /// A voter becomes an observer, or is gone.
    Remove(Voter),
}

/// Why a change is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoterRefusal {
    /// Another node decides, or this one not yet: no entry of its own term is committed.
    NotController,
    /// The change before is not committed.
    ChangeOpen,
    /// The node is a member, with this disk or another one that must be removed first.
    AlreadyVoter,
    /// No such member: not under this id, or with another disk.
    NotVoter,
    /// It is no observer of this leader, or lacks what is committed.
    NotCaughtUp,
    /// Nobody would be left to vote, or too many would be.
    Size,
    /// Of the members that there would be no majority is heard and has what is committed: nothing could be committed.
    NoMajority,
}

impl fmt::Display for VoterRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotController => "this node does not decide",
            Self::ChangeOpen => "the change before is not committed",
            Self::AlreadyVoter => "a node of this id is a voter",
            Self::NotVoter => "it is no voter",
            Self::NotCaughtUp => "it does not have what is committed",
            Self::Size => "a quorum has at least one voter and not too many",
            Self::NoMajority => "too few of the voters that would be left keep up",
        })
    }
}

impl core::error::Error for VoterRefusal {}

impl Quorum {
    /// The members after a change. `committed`: the members by the committed metadata; `is_heard`: a node was heard lately.
    ///
    /// # Errors
    /// [`VoterRefusal`].
    pub fn plan_voters(
        &self,
        change: VoterChange,
        committed: &[Voter],
        is_heard: impl Fn(NodeId) -> bool,
    ) -> Result<Vec<Voter>, VoterRefusal> {
        // A leader of a new term does not know yet whether its predecessor's change is committed
        // (https://groups.google.com/g/raft-dev/c/t4xj6dJTP6E).
        if self.leading().is_none_or(|leader| self.committed <= leader.epoch_start) {
            return Err(VoterRefusal::NotController);
        }
        if self.voters != committed {
            return Err(VoterRefusal::ChangeOpen);
        }
        let mut voters = self.voters.clone();
        match change {
            VoterChange::Add(voter) => {
                if voters.iter().any(|member| member.node_id == voter.node_id) {
                    return Err(VoterRefusal::AlreadyVoter);
                }
                if !self.keeps_up(&voter) {
                    return Err(VoterRefusal::NotCaughtUp);
                }
                voters.push(voter);
                voters.sort_unstable();
            }
            VoterChange::Remove(voter) => {
                let at = voters.iter().position(|member| *member == voter).ok_or(VoterRefusal::NotVoter)?;
                voters.remove(at);
            }
        }
        if voters.is_empty() || voters.len() > VOTERS_MAX {
            return Err(VoterRefusal::Size);
        }
        let able = voters
            .iter()
            .filter(|voter| **voter == self.me || is_heard(voter.node_id) && self.keeps_up(voter));
        if able.count() <= voters.len() / 2 {
            return Err(VoterRefusal::NoMajority);
        }
        assert!(differ_by_one(&self.voters, &voters), "one member at a time");
        Ok(voters)
    }

    /// The lists of voters that an entry names come one member at a time from the one in force: no leader of ours writes others.
    #[must_use]
    pub fn may_follow(&self, records: &[MetadataRecord]) -> bool {
        let mut before = self.voters();
        records.iter().all(|record| {
            let MetadataRecord::Voters { voters } = record else { return true };
            differ_by_one(core::mem::replace(&mut before, voters), voters)
        })
    }

    /// It copies this leader's log and has all that is committed.
    #[must_use]
    pub fn keeps_up(&self, voter: &Voter) -> bool {
        let follower = self.leading().and_then(|leader| leader.followers.get(&voter.node_id));
        let acked = follower.filter(|_| self.is_followed_by(voter)).and_then(|progress| progress.acked());
        acked.is_some_and(|acked| acked >= self.committed)
    }
}

/// Any two majorities, one of each list, have a member in common.
#[must_use]
pub fn differ_by_one(one: &[Voter], other: &[Voter]) -> bool {
    let only = |of: &[Voter], without: &[Voter]| of.iter().filter(|voter| !without.contains(voter)).count();
    only(one, other) + only(other, one) <= 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::image::Image;
    use crate::cluster::snapshot::QuorumSnapshot;
    use crate::ids::{LeaderEpoch, Offset, RunId, SessionNumber, TopicPartition, Uuid};
    use crate::peer::Open;
    use crate::quorum::log::MetadataEntry;
    use crate::quorum::{QuorumLeader, Role};
    use crate::replica::progress::{PeerRun, Progress};
    use crate::time::MonoMs;

    fn voters(nodes: &[(i32, u8)]) -> Vec<Voter> {
        let voter = |&(node, folder)| Voter { node_id: NodeId(node), incarnation: Uuid([folder; 16]) };
        nodes.iter().map(voter).collect()
    }

    #[test]
    fn another_disk_is_another_member() {
        let three = voters(&[(1, 0), (2, 0), (3, 0)]);
        assert!(differ_by_one(&three, &three));
        assert!(differ_by_one(&three, &voters(&[(1, 0), (3, 0)])));
        assert!(differ_by_one(&three, &voters(&[(1, 0), (2, 0), (3, 0), (4, 0)])));
        assert!(!differ_by_one(&three, &voters(&[(1, 0), (2, 1), (3, 0)])));
        assert!(!differ_by_one(&three, &voters(&[(1, 0)])));
    }

    /// A follower opens its session with so much in its log.
    fn opened(number: u64, end: i64) -> Open {
        Open {
            partition: TopicPartition::METADATA,
            epoch: LeaderEpoch(2),
            number: SessionNumber(number),
            last_epoch: Some(LeaderEpoch(2)),
            end: Offset(end),
            tombstones_gone_to: Offset::ZERO,
            reset_bytes: None,
        }
    }

    /// Node 1 leads nodes 2 and 3 in a term that began at offset 1; all have one entry of the term before.
    fn leader() -> Quorum {
        let members = voters(&[(1, 0), (2, 0), (3, 0)]);
        let snapshot = QuorumSnapshot { image: Image::founded(members.clone()), ..QuorumSnapshot::default() };
        let (mut quorum, _) = Quorum::new(members[0], snapshot, false);
        let _ = quorum.log.append(MetadataEntry { epoch: LeaderEpoch(1), records: Vec::new() });
        quorum.enter(LeaderEpoch(2));
        let follower = |member: &Voter| {
            let mut progress = Progress::new(MonoMs(0));
            let peer = PeerRun { incarnation: member.incarnation, run: RunId(1) };
            progress.on_opened(MonoMs(0), peer, &opened(1, 1));
            (member.node_id, progress)
        };
        quorum.role = Role::Leader(QuorumLeader {
            epoch_start: Offset(1),
            followers: members[1..].iter().map(follower).collect(),
            heard: alloc::collections::BTreeMap::new(),
            beat: 0,
        });
        quorum
    }

    #[test]
    fn a_leader_that_changes_two_members_at_once_is_not_followed() {
        let quorum = leader();
        let named = |nodes: &[(i32, u8)]| MetadataRecord::Voters { voters: voters(nodes) };
        assert!(quorum.may_follow(&[named(&[(1, 0), (2, 0)])]));
        assert!(quorum.may_follow(&[named(&[(1, 0), (2, 0)]), named(&[(1, 0)])]));
        assert!(!quorum.may_follow(&[named(&[(1, 0)])]));
        assert!(!quorum.may_follow(&[named(&[(1, 0), (2, 0), (3, 1)])]));
    }

    #[test]
    fn a_term_changes_nothing_before_an_entry_of_its_own_is_committed() {
        let mut quorum = leader();
        let committed = quorum.voters().to_vec();
        let change = VoterChange::Remove(committed[2]);
        quorum.commit(Offset(1));
        assert_eq!(quorum.plan_voters(change, &committed, |_| true), Err(VoterRefusal::NotController));
        let _ = quorum.log.append(MetadataEntry { epoch: LeaderEpoch(2), records: Vec::new() });
        quorum.commit(Offset(2));
        // Node 2 has not acknowledged the new entry.
        assert_eq!(quorum.plan_voters(change, &committed, |_| true), Err(VoterRefusal::NoMajority));
        let (leader, _) = quorum.leader_mut().expect("it leads");
        let peer = PeerRun { incarnation: committed[1].incarnation, run: RunId(1) };
        let progress = leader.followers.get_mut(&NodeId(2)).unwrap();
        progress.on_opened(MonoMs(0), peer, &opened(2, 2));
        assert_eq!(quorum.plan_voters(change, &committed, |_| true), Ok(voters(&[(1, 0), (2, 0)])));
        assert_eq!(quorum.plan_voters(change, &committed, |_| false), Err(VoterRefusal::NoMajority));
        assert_eq!(
            quorum.plan_voters(change, &committed[..2], |_| true),
            Err(VoterRefusal::ChangeOpen),
            "what the log says and the metadata does not is open"
        );
        let add = |member| quorum.plan_voters(VoterChange::Add(member), &committed, |_| true);
        assert_eq!(add(voters(&[(2, 1)])[0]), Err(VoterRefusal::AlreadyVoter));
        assert_eq!(add(voters(&[(4, 0)])[0]), Err(VoterRefusal::NotCaughtUp));
        let wiped = VoterChange::Remove(voters(&[(2, 1)])[0]);
        assert_eq!(quorum.plan_voters(wiped, &committed, |_| true), Err(VoterRefusal::NotVoter));
    }
}
