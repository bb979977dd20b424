//! Duplicate: one value is at more than one place of the log, as acknowledgements and reads tell. Source: `duplicate` of
//! jepsen.tests.kafka. Values are sent once, so two places mean that the log, or the client beneath, appended twice.
//!
//! What a client without idempotence sends again may be at several places: its `repeats` says so.
//! Reading one place twice is no duplicate; within one run of a consumer it is a [nonmonotonic poll](super::nonmonotonic_poll).

use super::{Cases, capital, example};
use crate::facts::Facts;
use crate::verdict::{Anomaly, AnomalyKind};

pub(super) fn check(facts: &Facts) -> Option<Anomaly> {
    let mut first = facts.by_value(None);
    let mut cases = Cases::new();
    for (partition, log) in facts.logs() {
        for entry in log.entries() {
            if facts.sent_as(entry.value).is_some_and(|sent| facts.sent(sent).repeats) {
                continue;
            }
            let Some((earlier, place)) = first[entry.value.0] else {
                first[entry.value.0] = Some((partition, entry));
                continue;
            };
            let case: [(_, &crate::facts::LogEntry); 2] = [(earlier, place), (partition, entry)];
            cases.add(place.since(), entry.since(), case);
        }
    }
    cases.anomaly(AnomalyKind::Duplicate, |places| {
        let [one, other] = places.map(|(partition, entry)| {
            format!("at {} ({})", facts.at(partition, entry.offset), facts.evidence(entry))
        });
        let value = places[0].1.value;
        let send = facts.sent_as(value).map(|sent| facts.send_of(facts.sent(sent)));
        let sent = send.map_or_else(String::new, |send| {
            format!(" was sent once, by {} ({}), and", send.process, send.invoked)
        });
        let words =
            format!("{} is {one} and {other}.", capital(&format!("value {}{sent}", facts.value(value))));
        let lines = places.map(|(_, entry)| entry.since()).into_iter().chain(send.map(|send| send.invoked));
        let processes = places.map(|(_, entry)| facts.witness(entry)).into_iter();
        let records = places.map(|(partition, entry)| facts.place(partition, entry.offset, value));
        example(words, lines, processes.chain(send.map(|send| send.process)), records.to_vec())
    })
}
