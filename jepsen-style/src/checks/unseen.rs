//! Unseen: a process read a partition to its end after a record of it had been acknowledged, or had been read by anybody, and
//! did not see the record. Source: `unseen` of jepsen.tests.kafka, which asks whether anybody ever polled it; here the final
//! read itself must return it, so that a record that was seen once and has vanished since is found as well.
//!
//! It is judged only where the history has a `final`, and from the offset at which that process began. What a trim asked to
//! delete before the `final` need not be there.

use super::{Cases, capital, example};
use crate::facts::{Facts, FinalRead, LogEntry, PartitionId, RunId, Sent, Set, ValueId};
use crate::history::{Line, Process};
use crate::verdict::{Anomaly, AnomalyKind, Example};

/// A record that was not seen.
enum Missed<'a> {
    /// It has a place in the log.
    Entry(&'a LogEntry),
    /// It was acknowledged without an offset.
    Unplaced(&'a Sent, Line),
}

pub(super) fn check(facts: &Facts) -> Option<Anomaly> {
    let seen = seen(facts);
    let mut cases = Cases::new();
    for last in &facts.walk().finals {
        for &(partition, from, run) in &last.partitions {
            let is_seen = |value| run.is_some_and(|run| seen.contains(&(run, value)));
            let log = facts.log(partition);
            let from = from.max(facts.trims().bound(partition, last.line));
            for entry in log.from(from) {
                if entry.since() < last.line && !is_seen(entry.value) {
                    cases.add(entry.since(), last.line, (last, partition, Missed::Entry(entry)));
                }
            }
            for &sent in log.unplaced() {
                let sent = facts.sent(sent);
                let send = facts.send_of(sent);
                let acked = send.acked().filter(|acked| *acked < last.line);
                let may_be_gone = facts.trims().may_have_taken(partition, send.invoked, last.line);
                if let Some(acked) = acked.filter(|_| !may_be_gone && !is_seen(sent.value)) {
                    cases.add(acked, last.line, (last, partition, Missed::Unplaced(sent, acked)));
                }
            }
        }
    }
    cases.anomaly(AnomalyKind::Unseen, |(last, partition, missed)| tell(facts, last, partition, &missed))
}

/// What the processes that made final reads read in the runs that these ended.
fn seen(facts: &Facts) -> Set<(RunId, ValueId)> {
    let walk = facts.walk();
    let finals = walk.finals.iter().flat_map(|last| &last.partitions);
    let runs: Set<RunId> = finals.filter_map(|(_, _, run)| *run).collect();
    let reads = facts.reads().map(|(id, read)| (walk.run_of(id), read.value));
    reads.filter(|(run, _)| runs.contains(run)).collect()
}

fn tell(facts: &Facts, last: &FinalRead, partition: PartitionId, missed: &Missed<'_>) -> Example {
    let log = facts.partition(partition);
    let (how, line, process, place): (String, Line, Process, _) = match missed {
        Missed::Entry(entry) => {
            let at = format!("is at {} ({})", facts.at(partition, entry.offset), facts.evidence(entry));
            let how = format!("value {} {at}", facts.value(entry.value));
            (how, entry.since(), facts.witness(entry), facts.place(partition, entry.offset, entry.value))
        }
        Missed::Unplaced(sent, acked) => {
            let how = format!("value {} was acknowledged in {log} ({acked})", facts.value(sent.value));
            (how, *acked, facts.send_of(sent).process, facts.place_of_sent(sent))
        }
    };
    let words = format!(
        "{}. {} then read {log} to its end ({}) and did not see it.",
        capital(&how),
        capital(&last.process.to_string()),
        last.line
    );
    example(words, [line, last.line], [process, last.process], vec![place])
}
