//! S16 election safety (INVARIANTS.md 3a; Raft section 5.2): one leader a term of the quorum and one a leader epoch of a
//! partition; a vote is on disk before it is told. S31 goes with it (SAFETY R2): nobody leads in an epoch that it led in
//! before it was started anew.

use super::Judge;
use super::oracle::Oracle;
use super::truth::Life;
use seedlog_core::ids::{LeaderEpoch, NodeId};
use std::collections::BTreeMap;

/// A process leads in a term or an epoch.
///
/// # Errors
/// Another one led in it (S16), or an earlier run of the same machine (S31).
pub fn check_leader(
    leaders: &mut BTreeMap<LeaderEpoch, Life>,
    epoch: LeaderEpoch,
    life: Life,
) -> Result<(), (Judge, String)> {
    match leaders.get(&epoch) {
        None => {
            leaders.insert(epoch, life);
            Ok(())
        }
        Some(known) if *known == life => Ok(()),
        Some(known) if known.machine == life.machine => {
            Err((Judge::S31, format!("it leads in {epoch}, in which it led before it was started anew")))
        }
        Some(known) => {
            Err((Judge::S16, format!("it leads in {epoch}, and so did machine {}", known.machine)))
        }
    }
}

/// A node says that it votes for a candidate.
///
/// # Errors
/// It may say otherwise after a crash.
pub fn check_vote(oracle: &Oracle, term: LeaderEpoch, candidate: NodeId) -> Result<(), String> {
    let (mut wrote, mut is_durable) = (false, false);
    for (voted, durable) in oracle.votes_in(term) {
        if voted != candidate {
            return Err(format!("it votes for {candidate} in term {term}, and for {voted} as well"));
        }
        wrote = true;
        is_durable |= durable;
    }
    match (wrote, is_durable) {
        (_, true) => Ok(()),
        (true, false) => Err(format!("it votes for {candidate} in term {term}, and that is not on disk")),
        (false, _) => Err(format!("it votes for {candidate} in term {term} and wrote nothing of it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::ids::Lsn;
    use seedlog_core::journal::Entry;

    #[test]
    fn two_leaders_of_an_epoch_are_found() {
        let mut leaders = BTreeMap::new();
        let (one, again, two) =
            (Life { machine: 1, life: 1 }, Life { machine: 1, life: 2 }, Life { machine: 2, life: 1 });
        let mut check = |life| check_leader(&mut leaders, LeaderEpoch(7), life).map_err(|(judge, _)| judge);
        assert_eq!(check(one), Ok(()));
        assert_eq!(check(one), Ok(()));
        assert_eq!(check(again), Err(Judge::S31));
        assert_eq!(check(two), Err(Judge::S16));
    }

    #[test]
    fn a_vote_that_is_not_on_disk_is_found() {
        let mut oracle = Oracle::default();
        let vote = Entry::Vote { epoch: LeaderEpoch(3), candidate: Some(NodeId(2)) };
        assert!(check_vote(&oracle, LeaderEpoch(3), NodeId(2)).unwrap_err().contains("wrote nothing"));
        oracle.on_entry(Lsn(1), &vote, None);
        assert!(check_vote(&oracle, LeaderEpoch(3), NodeId(2)).unwrap_err().contains("not on disk"));
        oracle.on_platter(Lsn(1));
        assert_eq!(check_vote(&oracle, LeaderEpoch(3), NodeId(2)), Ok(()));
        assert!(check_vote(&oracle, LeaderEpoch(3), NodeId(1)).unwrap_err().contains("as well"));
    }
}
