//! S9 the epoch cache (INVARIANTS.md 3a; KIP-101, KAFKA-7415, KAFKA-10432): leader epochs and their start offsets grow strictly, and
//! are those that the entries of the journal add up to.

use super::node_log::NodeLog;
use seedlog_core::log::Log;

/// Checks the epochs that a node knows of a log.
///
/// # Errors
/// How they differ.
pub fn check(log: &Log, shadow: &NodeLog) -> Result<(), String> {
    let entries: Vec<_> = log.epochs().entries().iter().map(|entry| (entry.epoch, entry.start)).collect();
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 >= pair[1].0 || pair[0].1 >= pair[1].1) {
        return Err(format!("epochs do not grow: {:?} stands before {:?}", pair[0], pair[1]));
    }
    if entries != shadow.epochs {
        return Err(format!(
            "the epochs are {entries:?}; the entries of the journal say {:?}",
            shadow.epochs
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::{append, batch_in, begin, oracle, partition};
    use seedlog_core::ids::{LeaderEpoch, Offset};
    use seedlog_core::time::WallMs;

    #[test]
    fn a_missing_and_a_misplaced_epoch_are_found() {
        let mut shadow = oracle(1);
        append(&mut shadow, 3, 2);
        let shadow = &shadow.logs[&partition()];
        let log = |epochs: &[i32]| {
            let mut log = Log::default();
            for (base, &epoch) in (0..).step_by(2).zip(epochs) {
                let (header, _) = batch_in(epoch, base, i32::try_from(base).unwrap());
                log.append(&header, WallMs(100));
            }
            log
        };
        assert_eq!(check(&log(&[1, 3]), shadow), Ok(()));
        assert!(check(&log(&[1, 1]), shadow).is_err());
        let mut early = log(&[1, 3]);
        early.begin_epoch(LeaderEpoch(9));
        assert!(check(&early, shadow).unwrap_err().contains("LeaderEpoch(9)"));
        assert_eq!(early.end(), Offset(4));
    }

    #[test]
    fn an_epoch_of_which_all_is_deleted_and_that_stays_is_found() {
        let mut shadow = oracle(1);
        append(&mut shadow, 3, 2);
        let mut log = Log::default();
        for (epoch, base) in [(1, 0), (3, 2)] {
            log.append(&batch_in(epoch, base, 0).0, WallMs(100));
        }
        begin(&mut shadow, 3);
        assert!(check(&log, &shadow.logs[&partition()]).is_err());
        log.advance_start(Offset(3));
        assert_eq!(check(&log, &shadow.logs[&partition()]), Ok(()));
    }
}
