//! L3 every live replica rejoins its ISR and the logs become equal, and L2 changes of an ISR complete (INVARIANTS.md 3a): asked
//! when all faults have ended.

use super::Judge;
use super::node_log::NodeLog;
use super::truth::Truth;
use seedlog_core::cluster::image::PartitionImage;
use seedlog_core::ids::{NodeId, Offset, TopicPartition};

/// Checks all partitions of the committed metadata that are owed and inside of the promise. `log_of` gives the copy of a node.
///
/// # Errors
/// What is not whole yet, and whose it is.
pub fn check_all<'a>(
    truth: &Truth,
    is_owed: impl Fn(TopicPartition) -> bool,
    log_of: impl Fn(NodeId, TopicPartition) -> Option<&'a NodeLog>,
) -> Result<(), (Judge, String)> {
    for (partition, held) in truth.image.all_partitions() {
        if !is_owed(partition) || truth.is_beyond(partition) {
            continue;
        }
        let copies = held.replicas().iter().map(|&node| (node, log_of(node, partition)));
        check(held, copies).map_err(|(judge, says)| (judge, format!("{partition}: {says}")))?;
    }
    Ok(())
}

/// Checks a partition of the committed metadata, all of whose replicas are alive, with the copies of each.
///
/// # Errors
/// What is not whole yet, and whose it is.
pub fn check<'a>(
    held: &PartitionImage,
    mut copies: impl Iterator<Item = (NodeId, Option<&'a NodeLog>)>,
) -> Result<(), (Judge, String)> {
    let state = &held.state;
    let Some(leader) = state.leader else {
        return Err((Judge::L3, format!("nobody leads; ISR {:?}, ELR {:?}", state.isr, state.elr)));
    };
    if state.isr.len() < held.replicas().len() {
        return Err((
            Judge::L2,
            format!("the ISR is {:?} of {:?}, led by {leader}", state.isr, held.replicas()),
        ));
    }
    if held.assignment.is_moving() {
        return Err((Judge::L2, format!("it moves still: {:?}", held.assignment)));
    }
    let Some((first, one)) = copies.next() else { return Ok(()) };
    let start = |log: Option<&NodeLog>| log.map_or(Offset::ZERO, NodeLog::start);
    // What is deleted is of no interest any more.
    let hashes = |log: Option<&NodeLog>| -> Vec<u64> {
        let held = log.into_iter().flat_map(|log| &log.batches[log.count_below(log.start())..]);
        held.map(|held| held.batch.whole).collect()
    };
    let (one_start, one) = (start(one), hashes(one));
    for (node, log) in copies {
        if start(log) != one_start {
            let says = format!(
                "the log of node {first} starts at {one_start}, that of node {node} at {}",
                start(log)
            );
            return Err((Judge::L3, says));
        }
        let other = hashes(log);
        if one != other {
            let at = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
            return Err((
                Judge::L3,
                format!(
                    "the logs of nodes {first} and {node} are not equal: {} and {} batches, equal up to number {at}",
                    one.len(),
                    other.len()
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::Oracle;
    use crate::judges::oracle::tests::{append, begin, oracle, partition, reset};
    use seedlog_core::cluster::assignment::Assignment;
    use seedlog_core::cluster::records::PartitionState;

    #[test]
    fn a_small_isr_a_missing_leader_and_unequal_logs_are_found() {
        let replicas = vec![NodeId(1), NodeId(2)];
        let (whole, short) = (oracle(3), oracle(2));
        let check = |state: PartitionState, other| {
            let held = PartitionImage { assignment: Assignment::settled(replicas.clone()), state };
            let copies = [(NodeId(1), whole.logs.get(&partition())), (NodeId(2), other)];
            check(&held, copies.into_iter()).map_err(|(judge, _)| judge)
        };
        let state = PartitionState::first(NodeId(1), replicas.clone());
        assert_eq!(check(state.clone(), whole.logs.get(&partition())), Ok(()));
        assert_eq!(check(state.clone(), short.logs.get(&partition())), Err(Judge::L3));
        let alone = PartitionState::first(NodeId(1), vec![NodeId(1)]);
        assert_eq!(check(alone, whole.logs.get(&partition())), Err(Judge::L2));
        let headless = PartitionState { leader: None, ..state };
        assert_eq!(check(headless, whole.logs.get(&partition())), Err(Judge::L3));
    }

    #[test]
    fn unequal_starts_are_found_and_what_is_deleted_is_not_compared() {
        let replicas = vec![NodeId(1), NodeId(2)];
        let state = PartitionState::first(NodeId(1), replicas.clone());
        let held = PartitionImage { assignment: Assignment::settled(replicas), state };
        let check = |one: &Oracle, other: &Oracle| {
            let copies = [(NodeId(1), one.logs.get(&partition())), (NodeId(2), other.logs.get(&partition()))];
            check(&held, copies.into_iter())
        };
        let mut one = oracle(3);
        begin(&mut one, 3);
        let mut other = reset(&one, 3);
        append(&mut other, 1, 2);
        append(&mut other, 1, 4);
        assert_eq!(check(&one, &other), Ok(()));
        begin(&mut other, 5);
        assert!(check(&one, &other).unwrap_err().1.contains("starts at 3, that of node 2 at 5"));
        begin(&mut one, 5);
        assert_eq!(check(&one, &other), Ok(()));
    }
}
