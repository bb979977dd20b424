//! S1 acked durability (INVARIANTS.md 3a): what was acknowledged, or shown to a reader, is in the log after every recovery
//! and is read at the end, unless a fault that no single copy survives took it.

use super::oracle::{Oracle, ShadowBatch, ShadowLog};
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_core::recovered::Recovered;

/// Checks a recovery, before the oracle takes over its end.
///
/// # Errors
/// What was acknowledged and is gone.
pub fn check_recovered(oracle: &Oracle, recovered: &Recovered) -> Result<(), String> {
    for (&topic_id, topic) in oracle.topics.iter().filter(|(_, topic)| topic.acked && topic.removed.is_none())
    {
        if recovered.image.topic(topic_id).is_none() {
            return Err(format!("topic {} ({topic_id}) was acknowledged and is gone", topic.name));
        }
    }
    for (&partition, log) in &oracle.logs {
        let removed = oracle.topics.get(&partition.topic_id).is_none_or(|topic| topic.removed.is_some());
        if removed || log.given_up {
            continue;
        }
        let held = recovered.partitions.get(&partition);
        let end = held.map_or(Offset::ZERO, |held| held.log.end());
        if let Some(damage) = held.and_then(|held| held.damage) {
            if !oracle.may_be_given_up(partition) {
                return Err(unexcused(oracle, partition, log, damage.from));
            }
            continue;
        }
        if let Some(lost) = first_owed(oracle, log, end) {
            return Err(format!(
                "{partition}: offset {} (entry {}) was {} and the recovered log ends at {end}",
                lost.header.base_offset,
                lost.lsn,
                if lost.acked { "acknowledged" } else { "shown to a reader" },
            ));
        }
    }
    Ok(())
}

/// Checks what a reader of everything got at the end: `read_to` is how far.
///
/// # Errors
/// What was acknowledged and cannot be read.
pub fn check_read(oracle: &Oracle, partition: TopicPartition, read_to: Offset) -> Result<(), String> {
    let Some(log) = oracle.logs.get(&partition).filter(|log| !log.given_up) else { return Ok(()) };
    match first_owed(oracle, log, read_to) {
        Some(lost) => Err(format!(
            "{partition}: offset {} was acknowledged and cannot be read: readers end at {read_to}",
            lost.header.base_offset
        )),
        None => Ok(()),
    }
}

/// The first batch at or behind `end` that must not be missing.
fn first_owed<'a>(oracle: &Oracle, log: &'a ShadowLog, end: Offset) -> Option<&'a ShadowBatch> {
    log.batches.iter().filter(|batch| batch.header.next_offset() > end).find(|batch| {
        let excused = oracle.unsynced_excused && oracle.ghost(batch.lsn).is_none_or(|ghost| !ghost.durable);
        (batch.acked || batch.served) && !excused
    })
}

fn unexcused(oracle: &Oracle, partition: TopicPartition, log: &ShadowLog, from: Offset) -> String {
    let owed = first_owed(oracle, log, from);
    match owed {
        Some(batch) => format!(
            "{partition}: offset {} (entry {}) was acknowledged and the node gives the partition up from {from}, \
             though no fault touched it",
            batch.header.base_offset, batch.lsn
        ),
        None => {
            format!("{partition}: the node gives the partition up from {from}, though no fault touched it")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::Flip;
    use crate::judges::oracle::tests::{batch, oracle, partition};
    use seedlog_core::cluster::snapshot::Damage;
    use seedlog_core::ids::Lsn;
    use seedlog_core::recovered::RecoveredPartition;
    use seedlog_core::time::WallMs;

    fn recovered(batches: i64, damage: Option<Damage>) -> Recovered {
        let mut held = RecoveredPartition { damage, ..RecoveredPartition::default() };
        for index in 0..batches {
            let (header, _) = batch(index * 2, i32::try_from(index * 2).unwrap());
            held.log.append(&header, WallMs(100));
        }
        let mut recovered = Recovered::default();
        recovered.partitions.insert(partition(), held);
        recovered
    }

    fn shadow() -> Oracle {
        let mut oracle = oracle(3);
        // The topic's own record is not part of these tests.
        oracle.topics.values_mut().for_each(|topic| topic.acked = false);
        oracle
    }

    #[test]
    fn an_acknowledged_batch_that_is_gone_is_found() {
        let mut oracle = shadow();
        assert_eq!(check_recovered(&oracle, &recovered(2, None)), Ok(()));
        oracle.logs.get_mut(&partition()).unwrap().batches[2].acked = true;
        assert!(check_recovered(&oracle, &recovered(2, None)).unwrap_err().contains("offset 4"));
        assert_eq!(check_recovered(&oracle, &recovered(3, None)), Ok(()));
    }

    #[test]
    fn a_batch_that_a_reader_saw_counts_and_flush_interval_excuses_the_unsynced() {
        let mut oracle = shadow();
        oracle.logs.get_mut(&partition()).unwrap().batches[2].served = true;
        assert!(check_recovered(&oracle, &recovered(2, None)).unwrap_err().contains("shown to a reader"));
        oracle.unsynced_excused = true;
        assert_eq!(check_recovered(&oracle, &recovered(2, None)), Ok(()));
        oracle.on_platter(Lsn(3));
        assert!(check_recovered(&oracle, &recovered(2, None)).is_err());
    }

    #[test]
    fn giving_up_needs_a_fault() {
        let mut oracle = shadow();
        let damage = Some(Damage { from: Offset(2), to: None });
        assert!(check_recovered(&oracle, &recovered(1, damage)).is_err());
        oracle.flips.push(Flip { first: Lsn(2), last: Lsn(2), whole_group: false });
        assert_eq!(check_recovered(&oracle, &recovered(1, damage)), Ok(()));
    }

    #[test]
    fn a_topic_that_was_acknowledged_must_be_there() {
        let oracle = oracle(0);
        assert!(check_recovered(&oracle, &Recovered::default()).unwrap_err().contains("topic t"));
    }

    #[test]
    fn the_last_reader_must_get_everything() {
        let mut oracle = shadow();
        oracle.logs.get_mut(&partition()).unwrap().batches[1].acked = true;
        assert_eq!(check_read(&oracle, partition(), Offset(4)), Ok(()));
        assert!(check_read(&oracle, partition(), Offset(2)).is_err());
    }
}
