//! S8 candidates have everything (INVARIANTS.md 3a, KIP-966): every member of ISR and ELR in the committed metadata has every
//! committed record.

use super::node_log::NodeLog;
use super::s5::check_holds;
use super::truth::TrueLog;
use seedlog_core::ids::{Lsn, NodeId};

/// `node` may become leader, by the committed metadata.
///
/// # Errors
/// What it lacks.
pub fn check_candidate(truth: &TrueLog, node: NodeId, log: &mut NodeLog, what: &str) -> Result<(), String> {
    let end = truth.end();
    check_holds(truth, log, Lsn(u64::MAX), end).map_err(|lacks| {
        format!("node {node} is in the {what}, everything below {end} is committed, and it {lacks}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::{append, oracle, partition};
    use crate::judges::truth::tests::true_log;

    #[test]
    fn a_candidate_that_lacks_a_record_is_found() {
        let truth = true_log(&oracle(3));
        let mut short = oracle(2);
        let log = short.logs.get_mut(&partition()).unwrap();
        assert!(check_candidate(&truth, NodeId(2), log, "ELR").unwrap_err().contains("ELR"));
    }

    #[test]
    fn a_candidate_with_another_record_is_found() {
        let truth = true_log(&oracle(2));
        let mut other = oracle(1);
        append(&mut other, 2, 2);
        let log = other.logs.get_mut(&partition()).unwrap();
        let says = check_candidate(&truth, NodeId(2), log, "ISR").unwrap_err();
        assert!(says.contains("another record at offset 2"), "{says}");
    }
}
