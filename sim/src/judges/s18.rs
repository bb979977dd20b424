//! S18 recovery (INVARIANTS.md 3a): what is recovered is a prefix of what was written, reaches at least as far as what was
//! durable, invents nothing; and a second recovery, from the platter alone, finds the same.

use super::node_log::NodeLog;
use super::oracle::{Oracle, Replayed, partition_of};
use super::shadow::whole_hash;
use crate::disk::Disk;
use crate::store::Reading;
use seedlog_core::ids::{Lsn, Offset};
use seedlog_core::journal::Entry;
use seedlog_core::recovered::Recovered;
use std::collections::BTreeSet;

/// Checks a recovery against the journal as it was given out.
///
/// # Errors
/// What was lost or invented.
pub fn check(oracle: &Oracle, replayed: &Replayed, reading: &Reading, disk: &Disk) -> Result<(), String> {
    check_bounds(oracle, reading.plan.end)?;
    for visited in &reading.visited {
        let Some(ghost) = oracle.ghost(visited.lsn) else {
            return Err(format!("entry {} was never written", visited.lsn));
        };
        if ghost.entry != visited.entry {
            return Err(format!(
                "entry {} is recovered as {:?} and was written as {:?}",
                visited.lsn, visited.entry, ghost.entry
            ));
        }
        if let Entry::Append(append) = &visited.entry {
            let bytes = disk.read(visited.inode, visited.at, append.batch_bytes as usize);
            if bytes.map(whole_hash) != ghost.whole {
                return Err(format!(
                    "entry {}: the record bytes of {} offset {} are not those that were written",
                    visited.lsn, append.partition, append.base_offset
                ));
            }
        }
    }
    check_holes(oracle, reading)?;
    check_ends(oracle, replayed, &reading.recovered)
}

/// Checks a recovery of which only the outcome is seen.
///
/// # Errors
/// What was lost or invented.
pub fn check_outcome(oracle: &Oracle, replayed: &Replayed, recovered: &Recovered) -> Result<(), String> {
    check_bounds(oracle, recovered.end)?;
    check_ends(oracle, replayed, recovered)
}

fn check_bounds(oracle: &Oracle, end: Lsn) -> Result<(), String> {
    let durable = oracle.journal.iter().rposition(|ghost| ghost.durable).map_or(0, |at| at as u64 + 1);
    if end.0 < durable {
        return Err(format!("recovery ends at entry {end}, entry {durable} was on disk"));
    }
    if end > oracle.end() {
        return Err(format!("recovery ends at entry {end}, only {} were written", oracle.end()));
    }
    Ok(())
}

/// Every durable entry above the snapshot was replayed, or a flip explains the hole, or that its log was given up before.
fn check_holes(oracle: &Oracle, reading: &Reading) -> Result<(), String> {
    let visited: BTreeSet<Lsn> = reading.visited.iter().map(|visited| visited.lsn).collect();
    for number in reading.through.0 + 1..=reading.plan.end.0 {
        let lsn = Lsn(number);
        let Some(ghost) = oracle.ghost(lsn).filter(|ghost| ghost.durable) else { continue };
        let given_up =
            || partition_of(&ghost.entry).is_some_and(|partition| oracle.may_be_given_up(partition));
        if !visited.contains(&lsn) && !oracle.was_hit(lsn) && !given_up() {
            return Err(format!(
                "entry {lsn} was on disk and is a hole after recovery, though no fault touched it"
            ));
        }
    }
    Ok(())
}

/// The logs' numbers agree with what the entries up to the recovered end add up to.
fn check_ends(oracle: &Oracle, replayed: &Replayed, recovered: &Recovered) -> Result<(), String> {
    for (&partition, held) in &recovered.partitions {
        let excused = oracle.logs.get(&partition).is_some_and(|log| log.given_up);
        let replayed = replayed.logs.get(&partition);
        let end = replayed.map_or(Offset::ZERO, NodeLog::end);
        let start = replayed.map_or(Offset::ZERO, NodeLog::start);
        if let Some(damage) = held.damage {
            // After a hole, metadata that is older than the journal names topics that the journal has dropped since: of those
            // nothing is lost (seed 9,538).
            let has_dropped = replayed.is_none();
            if !excused && !has_dropped && !oracle.may_be_given_up(partition) {
                return Err(format!(
                    "{partition}: the node gives it up from {}, though no fault touched it",
                    damage.from
                ));
            }
        } else if !excused && held.log.end() != end {
            return Err(format!(
                "{partition}: the recovered log ends at {}, its entries at {end}",
                held.log.end()
            ));
        } else if !excused && held.log.start() != start && !oracle.may_be_given_up(partition) {
            return Err(format!(
                "{partition}: the recovered log starts at {}, by its entries at {start}",
                held.log.start()
            ));
        }
    }
    for (&partition, log) in &replayed.logs {
        if log.end() == Offset::ZERO || recovered.partitions.contains_key(&partition) {
            continue;
        }
        // What a hole took whole, the node gives up by its metadata (SAFETY J5).
        let is_excused = recovered.has_holes && oracle.may_be_given_up(partition);
        if !is_excused {
            return Err(format!(
                "{partition}: nothing of it is recovered, and its entries end at {}",
                log.end()
            ));
        }
    }
    let end = recovered.quorum.log.log.end.0;
    if end != replayed.metadata.end() {
        return Err(format!(
            "the recovered metadata ends at {end}, its entries at {}",
            replayed.metadata.end()
        ));
    }
    Ok(())
}

/// Checks that recovering once more, after a power cut that loses everything unsynced, finds the same.
///
/// # Errors
/// What would be different.
pub fn check_again(first: &Reading, second: &Reading) -> Result<(), String> {
    check_same(&first.recovered, &second.recovered)
}

/// As [`check_again`], of outcomes.
///
/// # Errors
/// What would be different.
pub fn check_same(one: &Recovered, two: &Recovered) -> Result<(), String> {
    if one.end != two.end {
        return Err(format!(
            "a second recovery, without the page cache, ends at {} and not at {}",
            two.end, one.end
        ));
    }
    if one.quorum != two.quorum {
        return Err("a second recovery, without the page cache, finds other metadata".to_owned());
    }
    if one.partitions != two.partitions {
        let differs =
            one.partitions.iter().find(|(partition, held)| two.partitions.get(partition) != Some(held));
        return Err(format!(
            "a second recovery, without the page cache, finds another log of {}",
            differs.map_or_else(|| "some partition".to_owned(), |(partition, _)| partition.to_string())
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::Flip;
    use crate::judges::oracle::tests::{batch, begin, entry, oracle, partition, reset};
    use seedlog_core::ids::{LeaderEpoch, Lsn, NodeId, PartitionIndex, TopicPartition, Uuid};
    use seedlog_core::journal::format::GroupPlace;
    use seedlog_core::journal::{FILE_HEADER_BYTES, FileHeader, GroupWriter, QuorumChain};
    use seedlog_core::log::Log;
    use seedlog_core::recovered::RecoveredPartition;
    use seedlog_core::time::WallMs;

    fn checked(oracle: &Oracle, reading: &Reading, disk: &Disk) -> Result<(), String> {
        check(oracle, &oracle.replay(reading.plan.end), reading, disk)
    }

    /// A disk whose journal holds `count` batches in one group each, of which the last is changed by `spoil`.
    fn disk(count: i64, spoil: impl Fn(&mut Vec<u8>)) -> Disk {
        let mut disk = Disk::default();
        let file = disk.create("journal-000001");
        disk.sync_dir();
        let header = FileHeader {
            seq: 1,
            salt: 5,
            first_lsn: Lsn(1),
            durable: Lsn(0),
            node_id: NodeId(1),
            incarnation: Uuid::ZERO,
            cut_at: None,
        };
        disk.write(file, 0, &header.encode());
        let mut position = FILE_HEADER_BYTES as u64;
        for index in 0..count {
            let (header, bytes) = batch(index * 2, i32::try_from(index * 2).unwrap());
            let first = Lsn(u64::try_from(index).unwrap() + 1);
            let mut writer = GroupWriter::new(Vec::new(), first, QuorumChain::default());
            writer.push(&entry(&header), Some((&header, &bytes)));
            let place = GroupPlace { seq: 1, salt: 5, position, durable: Lsn(first.0 - 1) };
            let (_, mut group) = writer.finish(place);
            if index == count - 1 {
                spoil(&mut group);
            }
            disk.write(file, position, &group);
            position += group.len() as u64;
        }
        disk.sync(file);
        disk
    }

    #[test]
    fn a_lost_tail_and_an_invented_one_are_found() {
        let mut oracle = oracle(3);
        oracle.on_platter(Lsn(3));
        let whole = disk(3, |_| {});
        assert_eq!(checked(&oracle, &crate::store::read(whole.seen()).unwrap(), &whole), Ok(()));
        let short = disk(2, |_| {});
        assert!(
            checked(&oracle, &crate::store::read(short.seen()).unwrap(), &short)
                .unwrap_err()
                .contains("was on disk")
        );
        let long = disk(4, |_| {});
        assert!(
            checked(&oracle, &crate::store::read(long.seen()).unwrap(), &long)
                .unwrap_err()
                .contains("only 3")
        );
    }

    #[test]
    fn other_bytes_behind_a_valid_table_are_found() {
        let oracle = oracle(3);
        let whole = disk(3, |_| {});
        let reading = crate::store::read(whole.seen()).unwrap();
        // What H3 does: the scan is not repeated on the bytes, which have changed since they were written.
        let mut other = whole;
        let inode = other.lookup("journal-000001").unwrap();
        other.flip(inode, reading.visited[2].at + 70, 1, true);
        assert!(checked(&oracle, &reading, &other).unwrap_err().contains("not those that were written"));
    }

    #[test]
    fn a_hole_needs_a_fault() {
        let mut oracle = oracle(3);
        oracle.on_platter(Lsn(3));
        let whole = disk(3, |_| {});
        let mut reading = crate::store::read(whole.seen()).unwrap();
        reading.visited.remove(1);
        assert!(checked(&oracle, &reading, &whole).unwrap_err().contains("hole"));
    }

    #[test]
    fn a_log_that_is_recovered_with_another_start_is_found() {
        let mut oracle = oracle(2);
        begin(&mut oracle, 3);
        let mut log = Log::default();
        for base in [0, 2] {
            log.append(&batch(base, i32::try_from(base).unwrap()).0, WallMs(100));
        }
        let mut held = RecoveredPartition { log, high_watermark: Offset(0), damage: None };
        let check = |held: &RecoveredPartition| {
            let partitions = [(partition(), held.clone())].into();
            let recovered = Recovered { end: Lsn(3), partitions, ..Recovered::default() };
            check_ends(&oracle, &oracle.replay(Lsn(3)), &recovered)
        };
        assert!(check(&held).unwrap_err().contains("starts at 0, by its entries at 3"));
        held.log.advance_start(Offset(3));
        assert_eq!(check(&held), Ok(()));
    }

    // Seed 4,170: the only entry of a log was its reset, in a group that was hit.
    #[test]
    fn a_log_that_is_not_recovered_at_all_needs_a_hole_and_is_given_up() {
        let mut oracle = reset(&oracle(2), 4);
        oracle.on_platter(Lsn(1));
        let mut recovered = Recovered { end: Lsn(1), ..Recovered::default() };
        let check =
            |oracle: &Oracle, recovered: &Recovered| check_ends(oracle, &oracle.replay(Lsn(1)), recovered);
        assert!(check(&oracle, &recovered).unwrap_err().contains("its entries end at 4"));
        recovered.has_holes = true;
        assert!(check(&oracle, &recovered).is_err());
        oracle.flips.push(Flip { first: Lsn(1), last: Lsn(1), whole_group: true });
        assert_eq!(check(&oracle, &recovered), Ok(()));
        oracle.take_over(&recovered);
        assert!(oracle.logs[&partition()].given_up);
    }

    #[test]
    fn a_second_recovery_that_differs_is_found() {
        let (three, two) = (disk(3, |_| {}), disk(2, |_| {}));
        let (three, two) =
            (crate::store::read(three.seen()).unwrap(), crate::store::read(two.seen()).unwrap());
        assert_eq!(check_again(&three, &three), Ok(()));
        assert!(check_again(&three, &two).unwrap_err().contains("ends at 2 and not at 3"));
    }

    #[test]
    fn behind_a_lost_group_only_what_goes_on_where_a_log_ended_proves_it_whole() {
        let other = TopicPartition { partition: PartitionIndex(1), ..partition() };
        let may_be_given_up = |later: Entry| {
            let mut oracle = oracle(3);
            oracle.flips.push(Flip { first: Lsn(1), last: Lsn(1), whole_group: true });
            oracle.on_entry(Lsn(4), &later, None);
            oracle.on_platter(Lsn(4));
            oracle.may_be_given_up(other)
        };
        assert!(may_be_given_up(Entry::Stopped));
        assert!(may_be_given_up(Entry::ProducersExpired { partition: other, producers: Vec::new() }));
        assert!(may_be_given_up(Entry::LogStart { partition: other, start: Offset(0) }));
        assert!(!may_be_given_up(Entry::EpochStart {
            partition: other,
            epoch: LeaderEpoch(2),
            start: Offset(0)
        }));
    }
}
