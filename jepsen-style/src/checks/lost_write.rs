//! Lost write: a record was acknowledged at an offset, somebody read that offset's partition past it, and nobody ever read
//! the record from that partition. Source: `lost-write` of jepsen.tests.kafka.
//!
//! *Past it*: a consumer that began at or before the offset read a higher one, or found another value at this one. A consumer
//! that was not told where to begin is taken to have begun at the log's beginning; one that sought elsewhere is a witness only
//! from the first offset that it read. Sends of unknown outcome are never lost, what a trim asked to delete is not either, and
//! what nobody read past is [`unseen`].
//!
//! [`unseen`]: super::unseen

use super::{Cases, example};
use crate::facts::{Facts, PartitionId, Read};
use crate::history::Offset;
use crate::verdict::{Anomaly, AnomalyKind};

pub(super) fn check(facts: &Facts) -> Option<Anomaly> {
    let mut is_read = facts.by_value(false);
    for (_, read) in facts.reads() {
        let sent = facts.sent_as(read.value).map(|sent| facts.sent(sent));
        if sent.is_some_and(|sent| sent.partition == Some(read.partition)) {
            is_read[read.value.0] = true;
        }
    }
    let passed = passed(facts);
    let mut cases = Cases::new();
    for (_, sent) in facts.all_sent() {
        let send = facts.send_of(sent);
        let (Some(acked), Some(partition), Some(offset)) = (send.acked(), sent.partition, sent.offset) else {
            continue;
        };
        let is_trimmed = offset < facts.trims().last_bound(partition);
        if !is_read[sent.value.0] && !is_trimmed && is_within(&passed[partition.0], offset) {
            cases.add(send.invoked, acked, (sent, partition, offset));
        }
    }
    cases.anomaly(AnomalyKind::LostWrite, |(sent, partition, offset)| {
        let send = facts.send_of(sent);
        let witness = nearest(facts, partition, offset);
        let reader = witness.map_or_else(String::new, |read| {
            format!(", though {} read offset {} ({})", read.process, read.offset, read.line)
        });
        let words = format!(
            "{} sent value {}, which was acknowledged at {} ({}). Nobody ever read it{reader}.",
            super::capital(&send.process.to_string()),
            facts.value(sent.value),
            facts.at(partition, offset),
            send.span(),
        );
        let lines = send.lines().chain(witness.map(|read| read.line));
        let processes = [send.process].into_iter().chain(witness.map(|read| read.process));
        let records = [facts.place_of_sent(sent)].into_iter();
        example(
            words,
            lines,
            processes,
            records.chain(witness.map(|read| facts.place_of_read(read))).collect(),
        )
    })
}

/// By partition: what consumers read past, as ranges that do not touch, in order.
fn passed(facts: &Facts) -> Vec<Vec<(Offset, Offset)>> {
    let mut ranges: Vec<Vec<(Offset, Offset)>> = vec![Vec::new(); facts.logs().count()];
    for run in &facts.walk().runs {
        let highest = facts.read(run.highest).offset;
        if run.from <= highest {
            ranges[run.partition.0].push((run.from, highest));
        }
    }
    for ranges in &mut ranges {
        ranges.sort_unstable();
        ranges.dedup_by(|later, earlier| {
            let touches = later.0 <= earlier.1;
            if touches {
                earlier.1 = earlier.1.max(later.1);
            }
            touches
        });
    }
    ranges
}

fn is_within(ranges: &[(Offset, Offset)], offset: Offset) -> bool {
    let behind = ranges.partition_point(|(from, _)| *from <= offset);
    behind.checked_sub(1).is_some_and(|at| offset <= ranges[at].1)
}

/// The read that passed an offset by the least, the first of those.
fn nearest(facts: &Facts, partition: PartitionId, offset: Offset) -> Option<&Read> {
    let walk = facts.walk();
    let passing = facts.reads().filter(|(id, read)| {
        read.partition == partition && read.offset >= offset && walk.runs[walk.run_of(*id).0].from <= offset
    });
    passing.map(|(_, read)| read).min_by_key(|read| (read.offset, read.line))
}
