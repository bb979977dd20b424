//! Answers to ListOffsets and OffsetForLeaderEpoch against the shadow log. What clients asked to delete may be there or not.

use super::Context;
use crate::judges::Judge;
use crate::judges::truth::TrueLog;
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_core::wire::{ListOffsetsResponse, OffsetForLeaderEpochResponse};

/// How far a log was acknowledged.
pub(super) fn acked_end(log: Option<&TrueLog>) -> Offset {
    let last = log.and_then(|log| log.batches.iter().rev().find(|held| held.acked));
    last.map_or(Offset::ZERO, |held| held.batch.header.next_offset())
}

/// Judges an answer to ListOffsets against the shadow log. `acked` is zero where a leader may answer that others have replaced
/// without its knowing.
fn check_offsets(
    log: &TrueLog,
    timestamp: i64,
    acked: Offset,
    (found, found_ms): (i64, i64),
) -> Result<(), String> {
    let end = log.end().0;
    if found > end {
        return Err(format!("ListOffsets({timestamp}) gives {found}, behind the log's end {end}"));
    }
    // Those before what clients asked to delete are gone, or will be.
    let kept = |&(offset, _): &(i64, i64)| offset >= log.asked.0;
    let records = || {
        log.batches.iter().map(|held| &held.batch).flat_map(|batch| {
            let stamp = |index: usize, at: &i64| {
                (batch.header.base_offset.0 + i64::try_from(index).unwrap_or(0), *at)
            };
            batch.timestamps.iter().enumerate().map(move |(index, at)| stamp(index, at))
        })
    };
    match timestamp {
        -1 if found < acked.0 => {
            Err(format!("the end is given as {found}, up to {acked} was acknowledged before"))
        }
        -2 if found < 0 || found > log.asked.0 => Err(format!(
            "the start is given as {found}, and what clients asked to delete is before {}",
            log.asked
        )),
        -3 => match records().find(|&(offset, _)| offset == found) {
            Some((_, at)) if at != found_ms => {
                Err(format!("the record at {found} has timestamp {at}, not {found_ms}"))
            }
            Some((offset, at)) => match records()
                .take_while(|&(other, _)| other < acked.0)
                .filter(kept)
                .find(|&(_, t)| t > at)
            {
                Some((other, later)) => Err(format!("{offset} has {at} and {other} has the greater {later}")),
                None => Ok(()),
            },
            None if acked > log.asked => Err(format!("no record at {found} for the greatest timestamp")),
            None => Ok(()),
        },
        0.. if found >= 0 => {
            let due = records().filter(kept).find(|&(_, at)| at >= timestamp);
            match records().find(|&(offset, _)| offset == found) {
                Some((_, at)) if at != found_ms => {
                    Err(format!("the record at {found} has timestamp {at}, not {found_ms}"))
                }
                Some((_, at)) if at < timestamp => {
                    Err(format!("{found} is given for {timestamp}, and has timestamp {at}"))
                }
                None => Err(format!("{found} is given for {timestamp}, and no record is there")),
                Some(_) => match due.filter(|&(offset, _)| offset < found) {
                    Some((offset, at)) => {
                        Err(format!("from {timestamp} on the first is {offset}, with {at}, not {found}"))
                    }
                    None => Ok(()),
                },
            }
        }
        0.. => match records().filter(kept).find(|&(_, at)| at >= timestamp) {
            Some((offset, _)) if offset < acked.0 => {
                Err(format!("nothing found from {timestamp} on, though {offset} is there"))
            }
            Some(_) | None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Judges an answer to ListOffsets for a timestamp or a place, asked when the log's acknowledged part ended at `acked`.
pub(super) fn judge_offsets(
    ctx: &mut Context<'_>,
    partition: TopicPartition,
    (timestamp, acked): (i64, Offset),
    response: &ListOffsetsResponse,
) {
    let Some(answer) = response.topics.first().and_then(|topic| topic.partitions.first()) else { return };
    let Some(log) = ctx.truth.logs.get(&partition).filter(|log| !log.is_beyond) else { return };
    if answer.error_code != 0 {
        return;
    }
    let acked = if ctx.brokers == 1 { acked } else { Offset::ZERO };
    let said = check_offsets(log, timestamp, acked, (answer.offset, answer.timestamp));
    ctx.hear(Judge::S6, said.map_err(|says| format!("{partition}: {says}")));
}

/// Judges an answer to where an epoch ends, likewise.
pub(super) fn judge_epoch(
    ctx: &mut Context<'_>,
    partition: TopicPartition,
    (epoch, acked): (i32, Offset),
    response: &OffsetForLeaderEpochResponse,
) {
    let Some(answer) = response.topics.first().and_then(|topic| topic.partitions.first()) else { return };
    let Some(log) = ctx.truth.logs.get(&partition).filter(|log| !log.is_beyond) else { return };
    // A leader that was replaced without its knowing answers of what it has.
    if answer.error_code != 0 || answer.end_offset < 0 || ctx.brokers > 1 {
        return;
    }
    let end = Offset(answer.end_offset);
    let mut headers =
        log.batches.iter().map(|held| &held.batch.header).filter(|header| header.base_offset >= log.asked);
    let wrong = headers.find(|header| {
        let (older, behind) = (header.leader_epoch.0 <= epoch, header.base_offset >= end);
        (older && behind && header.base_offset < acked) || (!older && !behind)
    });
    let said = match wrong {
        Some(header) => Err(format!(
            "{partition}: epoch {epoch} is said to end at {end}, and offset {} has epoch {}",
            header.base_offset, header.leader_epoch
        )),
        None => Ok(()),
    };
    ctx.hear(Judge::S6, said);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::oracle;
    use crate::judges::truth::tests::true_log;

    #[test]
    fn wrong_answers_to_list_offsets_are_found() {
        // Two batches of two records each, with timestamps 100 and 101.
        let log = true_log(&oracle(2));
        let check = |timestamp, answer| check_offsets(&log, timestamp, Offset(4), answer);
        assert_eq!(check(-1, (4, -1)), Ok(()));
        assert!(check(-1, (2, -1)).is_err());
        assert!(check(-1, (5, -1)).is_err());
        assert!(check(-2, (1, -1)).is_err());
        assert_eq!(check(-3, (1, 101)), Ok(()));
        assert!(check(-3, (0, 100)).is_err());
        assert_eq!(check(101, (1, 101)), Ok(()));
        assert!(check(101, (3, 101)).is_err());
        assert!(check(100, (-1, -1)).is_err());
        assert_eq!(check(102, (-1, -1)), Ok(()));
        assert!(check(102, (3, 101)).is_err());
    }

    #[test]
    fn what_was_asked_to_be_deleted_may_be_there_or_not() {
        let mut log = true_log(&oracle(2));
        log.ask(Offset(1));
        let check = |log: &TrueLog, timestamp, answer| check_offsets(log, timestamp, Offset(4), answer);
        assert_eq!(check(&log, -2, (1, -1)), Ok(()));
        assert!(check(&log, -2, (2, -1)).unwrap_err().contains("asked to delete is before 1"));
        assert_eq!(check(&log, 100, (0, 100)), Ok(()));
        assert_eq!(check(&log, 100, (1, 101)), Ok(()));
        assert!(check(&log, 100, (2, 100)).unwrap_err().contains("the first is 1"));
        assert!(check(&log, -3, (-1, -1)).is_err());
        log.ask(Offset(4));
        assert_eq!(check(&log, -3, (-1, -1)), Ok(()));
        assert_eq!(check(&log, 100, (-1, -1)), Ok(()));
    }
}
