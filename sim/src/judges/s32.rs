//! S32 a follower's acknowledged end is a checked prefix of the leader's log, and durable (INVARIANTS.md, SAFETY R1).

use super::node_log::NodeLog;
use seedlog_core::ids::{LeaderEpoch, Lsn, Offset};
use std::sync::Arc;

/// A follower acknowledges `end` to the leader of an epoch. `durable`: the last entry on its platter. What one of them has deleted
/// is none of its log any more: where more was lost than is promised to survive, a follower may have something else there, until it
/// is told where the log starts.
///
/// # Errors
/// Where its log is not the leader's, or not on disk.
pub fn check_ack(
    leader: &NodeLog,
    follower: &mut NodeLog,
    epoch: LeaderEpoch,
    end: Offset,
    durable: Lsn,
) -> Result<(), String> {
    if end > follower.end() {
        return Err(format!("it acknowledges {end}, and its log ends at {}", follower.end()));
    }
    if follower.agreed.0 != epoch {
        follower.agreed = (epoch, 0);
    }
    let count = follower.count_below(end);
    let start = follower.start().max(leader.start());
    let from = follower.agreed.1.max(follower.count_below(start));
    let first = follower.batches.get(from).map_or(Offset::ZERO, |held| held.batch.header.base_offset);
    let theirs = leader.batches.partition_point(|held| held.batch.header.base_offset < first);
    for at in from..count {
        let own = &follower.batches[at].batch;
        let Some(held) = leader.batches.get(theirs + at - from).map(|held| &held.batch) else {
            return Err(format!("it acknowledges {end}, and the log of its leader ends at {}", leader.end()));
        };
        if !Arc::ptr_eq(own, held) && own.whole != held.whole {
            return Err(format!(
                "it acknowledges {end}, and at offset {} it has a record of epoch {}, its leader one of epoch {}",
                own.header.base_offset, own.header.leader_epoch, held.header.leader_epoch
            ));
        }
    }
    follower.agreed.1 = follower.agreed.1.max(count);
    match count.checked_sub(1).map(|last| follower.batches[last].lsn) {
        Some(lsn) if lsn > durable => Err(format!(
            "it acknowledges {end}, which is in entry {lsn}, and only {durable} is on its platter"
        )),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::Oracle;
    use crate::judges::oracle::tests::{append, begin, oracle, partition, reset};

    #[test]
    fn an_acknowledgement_of_what_is_not_the_leaders_or_not_on_disk_is_found() {
        let mut leader = oracle(1);
        append(&mut leader, 2, 2);
        let leader = &leader.logs[&partition()];
        let mut held = oracle(2);
        let follower = held.logs.get_mut(&partition()).unwrap();
        let mut check = |end, durable| check_ack(leader, follower, LeaderEpoch(2), Offset(end), Lsn(durable));
        assert_eq!(check(2, 2), Ok(()));
        assert!(check(2, 0).unwrap_err().contains("platter"));
        assert!(check(4, 2).unwrap_err().contains("at offset 2 it has a record of epoch 1"));
        assert!(check(6, 2).unwrap_err().contains("its log ends at 4"));
    }

    #[test]
    fn what_the_leader_has_deleted_is_not_compared() {
        let mut leader = oracle(1);
        append(&mut leader, 2, 2);
        append(&mut leader, 2, 4);
        let mut held = oracle(1);
        append(&mut held, 3, 2);
        append(&mut held, 2, 4);
        let check = |leader: &Oracle, held: &mut Oracle| {
            let follower = held.logs.get_mut(&partition()).unwrap();
            check_ack(&leader.logs[&partition()], follower, LeaderEpoch(3), Offset(6), Lsn(9))
        };
        assert!(check(&leader, &mut held).unwrap_err().contains("at offset 2"));
        begin(&mut leader, 4);
        assert_eq!(check(&leader, &mut held), Ok(()));
    }

    #[test]
    fn what_a_follower_has_deleted_is_not_compared_and_a_reset_has_to_be_on_disk() {
        let leader = oracle(4);
        let mut held = oracle(1);
        append(&mut held, 2, 2);
        append(&mut held, 2, 4);
        let theirs = &leader.logs[&partition()];
        let check = |held: &mut Oracle, end, durable| {
            let follower = held.logs.get_mut(&partition()).unwrap();
            check_ack(theirs, follower, LeaderEpoch(3), Offset(end), Lsn(durable))
        };
        assert!(check(&mut held, 4, 9).unwrap_err().contains("at offset 2"));
        begin(&mut held, 4);
        assert_eq!(check(&mut held, 4, 9), Ok(()));
        assert!(check(&mut held, 6, 9).unwrap_err().contains("at offset 4"));
        let mut held = reset(&leader, 5);
        assert!(check(&mut held, 5, 0).unwrap_err().contains("platter"));
        assert_eq!(check(&mut held, 5, 1), Ok(()));
        append(&mut held, 1, 4);
        assert_eq!(check(&mut held, 6, 2), Ok(()));
        append(&mut held, 2, 6);
        assert!(check(&mut held, 8, 3).unwrap_err().contains("at offset 6"));
    }
}
