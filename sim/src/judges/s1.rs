//! S1 acked durability (INVARIANTS.md 3a) and S3 leader completeness: a new leader has every record below the true high
//! watermark; if one that it lacks was acknowledged to a producer or shown to a reader, that is S1. At the end everything
//! that was acknowledged is read once more.

use super::Judge;
use super::node_log::NodeLog;
use super::truth::TrueLog;
use seedlog_core::ids::{LeaderEpoch, Offset, TopicPartition};

/// Checks a leader at the begin of its epoch.
///
/// # Errors
/// What it lacks, and which of the two judges says so.
pub fn check_leader(
    truth: &TrueLog,
    log: &mut NodeLog,
    partition: TopicPartition,
    epoch: LeaderEpoch,
) -> Result<(), (Judge, String)> {
    // One that learns late that it was elected has nothing of what its successors committed, and commits nothing itself.
    let has_successor = truth.leaders.keys().next_back().is_some_and(|latest| *latest > epoch);
    if truth.is_beyond || has_successor || truth.is_held_by(log) {
        return Ok(());
    }
    let lacks = &truth.batches[log.matched..];
    let Some(first) = lacks.first() else { return Ok(()) };
    let offset = first.batch.header.base_offset;
    let says = |what: String| {
        format!(
            "{partition}: the leader of epoch {epoch} lacks offset {offset}: {what}; its log ends at {}",
            log.end()
        )
    };
    match lacks.iter().find(|held| held.acked || held.served) {
        Some(owed) => {
            let what = if owed.acked { "was acknowledged" } else { "was shown to a reader" };
            Err((Judge::S1, says(format!("offset {} {what}", owed.batch.header.base_offset))))
        }
        None => Err((Judge::S3, says(format!("everything below {} is committed", truth.end())))),
    }
}

/// Checks what a reader of everything got at the end: `read_to` is how far.
///
/// # Errors
/// What was acknowledged and cannot be read.
pub fn check_read(truth: &TrueLog, partition: TopicPartition, read_to: Offset) -> Result<(), String> {
    let behind = truth.batches.iter().filter(|held| held.batch.header.next_offset() > read_to);
    match behind.clone().find(|held| held.acked || held.served) {
        Some(lost) if !truth.is_beyond => Err(format!(
            "{partition}: offset {} was acknowledged and cannot be read: readers end at {read_to}",
            lost.batch.header.base_offset
        )),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::Oracle;
    use crate::judges::oracle::tests::{append, oracle, partition, reset};
    use crate::judges::truth::Life;
    use crate::judges::truth::tests::true_log;

    #[test]
    fn a_leader_that_lacks_what_was_acknowledged_is_found() {
        let mut truth = true_log(&oracle(3));
        let check = |truth: &TrueLog, batches| {
            let mut held = oracle(batches);
            let log = held.logs.get_mut(&partition()).unwrap();
            check_leader(truth, log, partition(), LeaderEpoch(2)).map_err(|(judge, _)| judge)
        };
        assert_eq!(check(&truth, 3), Ok(()));
        assert_eq!(check(&truth, 2), Err(Judge::S3));
        truth.batches[2].served = true;
        assert_eq!(check(&truth, 2), Err(Judge::S1));
        let life = Life { machine: 1, life: 1 };
        truth.leaders.insert(LeaderEpoch(3), life);
        assert_eq!(check(&truth, 2), Ok(()));
        truth.leaders.clear();
        truth.is_beyond = true;
        assert_eq!(check(&truth, 2), Ok(()));
    }

    #[test]
    fn a_leader_with_another_record_in_its_place_is_found() {
        let mut truth = true_log(&oracle(3));
        truth.batches[1].acked = true;
        let mut other = oracle(1);
        append(&mut other, 2, 2);
        append(&mut other, 2, 4);
        let log = other.logs.get_mut(&partition()).unwrap();
        let (judge, says) = check_leader(&truth, log, partition(), LeaderEpoch(3)).unwrap_err();
        assert_eq!(judge, Judge::S1);
        assert!(says.contains("offset 2 was acknowledged"), "{says}");
    }

    #[test]
    fn a_leader_that_begins_where_records_were_deleted_lacks_what_is_behind_alone() {
        let whole = oracle(3);
        let truth = true_log(&whole);
        let mut held = reset(&whole, 3);
        let check = |held: &mut Oracle| {
            let log = held.logs.get_mut(&partition()).unwrap();
            check_leader(&truth, log, partition(), LeaderEpoch(2)).map_err(|(judge, _)| judge)
        };
        assert_eq!(check(&mut held), Err(Judge::S3));
        append(&mut held, 1, 2);
        assert_eq!(check(&mut held), Err(Judge::S3));
        append(&mut held, 1, 4);
        assert_eq!(check(&mut held), Ok(()));
    }

    #[test]
    fn the_last_reader_must_get_everything() {
        let mut truth = true_log(&oracle(3));
        truth.batches[1].acked = true;
        assert_eq!(check_read(&truth, partition(), Offset(4)), Ok(()));
        assert!(check_read(&truth, partition(), Offset(2)).is_err());
        truth.is_beyond = true;
        assert_eq!(check_read(&truth, partition(), Offset(2)), Ok(()));
    }
}
