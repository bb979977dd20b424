//! S32 a follower's acknowledged end is a checked prefix of the leader's log, and durable (INVARIANTS.md, SAFETY R1).

use super::oracle::NodeLog;
use seedlog_core::ids::{LeaderEpoch, Lsn, Offset};
use std::sync::Arc;

/// A follower acknowledges `end` to the leader of an epoch. `durable`: the last entry on its platter.
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
    for at in follower.agreed.1..count {
        let own = &follower.batches[at].batch;
        let Some(held) = leader.batches.get(at).map(|held| &held.batch) else {
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
    use crate::judges::oracle::tests::{append, oracle, partition};

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
}
