//! S5 the high watermark is backed (INVARIANTS.md 3a, SAFETY R3): when a leader's watermark moves, every member of its maximal
//! ISR has everything below it, by the look of a ghost at its disk; with flush=always on the platter.

use super::node_log::NodeLog;
use super::truth::TrueLog;
use seedlog_core::ids::{Lsn, NodeId, Offset};

/// Whether a node's log holds everything that is true below `end`, down to its platter.
///
/// # Errors
/// What it lacks.
pub(super) fn check_holds(
    truth: &TrueLog,
    log: &mut NodeLog,
    durable: Lsn,
    end: Offset,
) -> Result<(), String> {
    let compared = truth.compare(log);
    let count = truth.batches.partition_point(|held| held.batch.header.next_offset() <= end);
    if log.matched < count {
        let lacks = truth.batches[log.matched].batch.header.base_offset;
        let what = if compared.is_err() { "has another record at" } else { "does not have" };
        return Err(format!("{what} offset {lacks}: its log ends at {}", log.end()));
    }
    match count.checked_sub(1).map(|last| log.batches[last].lsn) {
        Some(lsn) if lsn > durable => {
            Err(format!("has offsets below {end} in entry {lsn}, and only {durable} is on its platter"))
        }
        Some(_) | None => Ok(()),
    }
}

/// A leader's watermark is at the true end; `node` is a member of its maximal ISR.
///
/// # Errors
/// What the member lacks.
pub fn check_backed(truth: &TrueLog, node: NodeId, log: &mut NodeLog, durable: Lsn) -> Result<(), String> {
    let end = truth.end();
    check_holds(truth, log, durable, end)
        .map_err(|what| format!("the watermark is at {end}, and node {node} of the maximal ISR {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::{append, oracle, partition};
    use crate::judges::truth::tests::true_log;

    #[test]
    fn a_member_that_lacks_a_record_or_has_it_in_its_cache_only_is_found() {
        let truth = true_log(&oracle(3));
        let mut held = oracle(3);
        let log = held.logs.get_mut(&partition()).unwrap();
        assert_eq!(check_backed(&truth, NodeId(2), log, Lsn(3)), Ok(()));
        assert!(check_backed(&truth, NodeId(2), log, Lsn(2)).unwrap_err().contains("platter"));
        let mut short = oracle(2);
        let log = short.logs.get_mut(&partition()).unwrap();
        assert!(check_backed(&truth, NodeId(2), log, Lsn(3)).unwrap_err().contains("does not have offset 4"));
    }

    #[test]
    fn a_member_with_another_record_is_found() {
        let truth = true_log(&oracle(2));
        let mut other = oracle(1);
        append(&mut other, 2, 2);
        let log = other.logs.get_mut(&partition()).unwrap();
        let says = check_backed(&truth, NodeId(2), log, Lsn(9)).unwrap_err();
        assert!(says.contains("another record at offset 2"), "{says}");
    }
}
