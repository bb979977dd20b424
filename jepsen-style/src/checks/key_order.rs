//! Key order: what one process sent with one key is read in the order in which it was sent. Of two of its records with that
//! key in one partition, the one that was sent first, without overlap, is read at the higher offset. Source: Kafka's promise
//! for producers ("messages sent by a producer to a particular topic partition will be appended in the order they are sent",
//! its documentation, §4.6), restricted to keys; Jepsen's workload sees it as nonmonotonic-send where both were acknowledged.
//!
//! Acknowledgements are not needed, so sends of unknown outcome are judged where they were read; one that never ended
//! overlaps with all that follow. Values that are at two offsets count where they are first; failed sends are aborted reads.

use super::{Cases, capital, example};
use crate::facts::{Facts, KeyId, LogEntry, Map, Outcome, PartitionId, Read, SendId, SentId};
use crate::history::Process;
use crate::verdict::{Anomaly, AnomalyKind, Example};

/// A record that was sent and read.
#[derive(Debug, Clone, Copy)]
struct Seen<'a> {
    id: SentId,
    read: &'a Read,
}

pub(super) fn check(facts: &Facts) -> Option<Anomaly> {
    let mut is_seen = facts.by_value(false);
    let mut cases = Cases::new();
    for (_, log) in facts.logs() {
        // Of those at lower offsets: the one whose send began last, and the last one of each send of several records.
        let mut latest: Map<(Process, KeyId), Seen<'_>> = Map::default();
        let mut latest_of_send: Map<(SendId, KeyId), Seen<'_>> = Map::default();
        for shared in log.entries().chunk_by(|one, other| one.offset == other.offset) {
            let [entry] = shared else { continue };
            let Some((key, seen)) = sent_with_key(facts, entry) else { continue };
            if std::mem::replace(&mut is_seen[entry.value.0], true) {
                continue;
            }
            let id = facts.sent(seen.id).send;
            let send = facts.send(id);
            let last = latest.entry((send.process, key)).or_insert(seen);
            let last_send = facts.send_of(facts.sent(last.id));
            if send.ended_before(last_send) {
                cases.add(send.invoked, last_send.invoked, (seen, *last));
            } else if last.id < seen.id {
                *last = seen;
            }
            if send.has_several() {
                let last = latest_of_send.entry((id, key)).or_insert(seen);
                if seen.id < last.id {
                    cases.add(send.invoked, send.invoked, (seen, *last));
                } else {
                    *last = seen;
                }
            }
        }
    }
    cases.anomaly(AnomalyKind::KeyOrder, |(first, second)| tell(facts, first, second))
}

fn sent_with_key<'a>(facts: &'a Facts, entry: &LogEntry) -> Option<(KeyId, Seen<'a>)> {
    let (read, _) = entry.read?;
    let id = facts.sent_as(entry.value)?;
    let sent = facts.sent(id);
    let is_possible = match facts.send_of(sent).outcome {
        Outcome::Acked(_) | Outcome::Unknown => true,
        Outcome::Failed(_) => false,
    };
    Some((sent.key.filter(|_| is_possible)?, Seen { id, read: facts.read(read) }))
}

fn tell(facts: &Facts, first: Seen<'_>, second: Seen<'_>) -> Example {
    let [(sent, value), (other, other_value)] = [first, second].map(|seen| {
        let sent = facts.sent(seen.id);
        (sent, facts.value(sent.value))
    });
    let (one, next) = (facts.send_of(sent), facts.send_of(other));
    let key = sent.key.map_or("", |key| facts.key(key));
    let partition: PartitionId = first.read.partition;
    let words = format!(
        "{} sent value {value} with key {key:?} ({}) and then value {other_value} with the same key ({}). In {} they are \
         in the other order: {other_value} was read at offset {} ({}), {value} at offset {} ({}).",
        capital(&one.process.to_string()),
        one.span(),
        next.invoked,
        facts.partition(partition),
        second.read.offset,
        second.read.line,
        first.read.offset,
        first.read.line,
    );
    let lines = one.lines().chain([next.invoked, first.read.line, second.read.line]);
    let processes = [one.process, first.read.process, second.read.process];
    let records = [first, second].map(|seen| facts.place_of_read(seen.read));
    example(words, lines, processes, records.to_vec())
}
