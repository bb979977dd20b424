//! Nonmonotonic send: a process sent a record to a partition after its send of another one there had been acknowledged, and
//! the later one was acknowledged at the same offset or a lower one. Inside one send, whose records are in order:
//! int-nonmonotonic-send. Source: `nonmonotonic-send` and `int-nonmonotonic-send` of jepsen.tests.kafka.
//!
//! Sends that overlap may be appended in any order. Gaps between offsets are others' records: no anomaly.

use std::collections::BTreeMap;

use super::{Cases, Scope, capital, example};
use crate::facts::{Facts, Map, PartitionId, Send, Sent};
use crate::history::{Line, Offset, Process};
use crate::verdict::{Anomaly, AnomalyKind, Example};

type Pair<'a> = (&'a Sent, &'a Sent);

/// What a process had acknowledged in a partition by some line.
struct Acked<'a> {
    by: Line,
    highest: Offset,
    sent: &'a Sent,
}

pub(super) fn check(facts: &Facts, scope: Scope) -> Option<Anomaly> {
    let mut acked: Vec<(Line, &Send)> =
        facts.sends().filter_map(|(_, send)| send.acked().map(|line| (line, send))).collect();
    acked.sort_unstable_by_key(|(line, _)| *line);
    match scope {
        Scope::Between => {
            between(facts, &acked).anomaly(AnomalyKind::NonmonotonicSend, |pair| tell(facts, pair))
        }
        Scope::Inside => {
            inside(facts, &acked).anomaly(AnomalyKind::IntNonmonotonicSend, |pair| tell(facts, pair))
        }
    }
}

fn between<'a>(facts: &'a Facts, acked: &[(Line, &'a Send)]) -> Cases<Pair<'a>> {
    let mut cases = Cases::new();
    // Each entry holds the highest offset up to its line.
    let mut earlier: Map<(Process, PartitionId), Vec<Acked<'_>>> = Map::default();
    for &(by, send) in acked {
        for (_, sent) in facts.records_of(send) {
            let (Some(partition), Some(offset)) = (sent.partition, sent.offset) else { continue };
            let before = earlier.entry((send.process, partition)).or_default();
            let ended = before.partition_point(|acked| acked.by < send.invoked);
            if let Some(first) = ended.checked_sub(1).map(|last| &before[last])
                && offset <= first.highest
            {
                cases.add(first.by, send.invoked, (first.sent, sent));
            }
            let (highest, sent) = match before.last() {
                Some(last) if last.highest >= offset => (last.highest, last.sent),
                Some(_) | None => (offset, sent),
            };
            before.push(Acked { by, highest, sent });
        }
    }
    cases
}

fn inside<'a>(facts: &'a Facts, acked: &[(Line, &'a Send)]) -> Cases<Pair<'a>> {
    let mut cases = Cases::new();
    for &(line, send) in acked {
        let mut last: BTreeMap<PartitionId, (Offset, &Sent)> = BTreeMap::new();
        for (_, sent) in facts.records_of(send) {
            let (Some(partition), Some(offset)) = (sent.partition, sent.offset) else { continue };
            if let Some((before, first)) = last.insert(partition, (offset, sent))
                && offset <= before
            {
                cases.add(send.invoked, line, (first, sent));
            }
        }
    }
    cases
}

fn tell(facts: &Facts, (first, second): Pair<'_>) -> Example {
    let (one, other) = (facts.send_of(first), facts.send_of(second));
    let process = capital(&one.process.to_string());
    let [first_value, second_value] = [first, second].map(|sent| facts.value(sent.value));
    let at = |sent: &Sent| sent.offset.map_or_else(String::new, |offset| format!("offset {offset}"));
    let partition = first.partition.map_or_else(String::new, |id| facts.partition(id).to_string());
    let (at_first, at_second) = (at(first), at(second));
    let words = if first.send == second.send {
        format!(
            "In one send ({}) {} sent value {first_value} and then value {second_value} to {partition}. They were \
             acknowledged in the other order: {first_value} at {at_first}, {second_value} at {at_second}.",
            one.span(),
            one.process
        )
    } else {
        format!(
            "{process} sent value {first_value} to {partition}, and it was acknowledged at {at_first} ({}). Then it sent \
             value {second_value} there, which was acknowledged at {at_second} ({}).",
            one.span(),
            other.span()
        )
    };
    let records = [first, second].map(|sent| facts.place_of_sent(sent));
    example(words, one.lines().chain(other.lines()), [one.process], records.to_vec())
}
