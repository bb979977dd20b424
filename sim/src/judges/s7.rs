//! S7 no truncation below the true high watermark (INVARIANTS.md 3a): what a node cuts off was never committed; a leader cuts
//! nothing at all (leader append-only). A log that lost records to a fault may begin anew (SAFETY J5).

use super::node_log::NodeLog;
use super::truth::TrueLog;
use seedlog_core::ids::Offset;

/// A node's log is about to end at `to`.
///
/// # Errors
/// The committed record that goes.
pub fn check_cut(truth: &TrueLog, log: &mut NodeLog, to: Offset) -> Result<(), String> {
    if truth.is_beyond || log.given_up {
        return Ok(());
    }
    // Only a batch that is the true one counts: a divergent one may have to go although its place is committed.
    let agrees = truth.compare(log);
    let kept = log.count_below(to);
    match log.batches.get(kept) {
        Some(gone) if kept < log.matched => Err(format!(
            "the log is cut at {to}, and offset {} of epoch {} is committed",
            gone.batch.header.base_offset, gone.batch.header.leader_epoch
        )),
        Some(_) | None => {
            let _ = agrees;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::{append, oracle, partition};
    use crate::judges::truth::tests::true_log;

    #[test]
    fn a_cut_of_a_committed_record_is_found_and_one_of_a_divergent_record_is_none() {
        let truth = true_log(&oracle(2));
        let mut held = oracle(2);
        append(&mut held, 2, 4);
        let log = held.logs.get_mut(&partition()).unwrap();
        assert_eq!(check_cut(&truth, log, Offset(4)), Ok(()));
        assert!(check_cut(&truth, log, Offset(2)).unwrap_err().contains("offset 2"));
        log.given_up = true;
        assert_eq!(check_cut(&truth, log, Offset(0)), Ok(()));
        let mut other = oracle(1);
        append(&mut other, 2, 2);
        let log = other.logs.get_mut(&partition()).unwrap();
        assert_eq!(check_cut(&truth, log, Offset(2)), Ok(()));
    }
}
