//! Phantom: somebody read a value that nobody had sent by then, or that was sent to another partition or with another key.
//! Jepsen's workload has no name for it; INVARIANTS calls for it as S14 (topic identity), S18 (recovery never invents) and S24
//! (no silent corruption).
//!
//! A record without a key in the read is not compared by key: the reader may not have told it.

use super::{Cases, capital, example};
use crate::facts::{Facts, Read};
use crate::verdict::{Anomaly, AnomalyKind};

pub(super) fn check(facts: &Facts) -> Option<Anomaly> {
    let mut cases = Cases::new();
    for (_, read) in facts.reads() {
        if is_phantom(facts, read) {
            let sent = facts.sent_as(read.value).map(|sent| facts.send_of(facts.sent(sent)).invoked);
            cases.add(sent.unwrap_or(read.line), read.line, read);
        }
    }
    cases.anomaly(AnomalyKind::Phantom, |read| {
        let found = format!(
            "{} read value {} at {} ({})",
            capital(&read.process.to_string()),
            facts.value(read.value),
            facts.at(read.partition, read.offset),
            read.line
        );
        let place = facts.place_of_read(read);
        let Some(sent) = facts.sent_as(read.value).map(|sent| facts.sent(sent)) else {
            let words = format!("{found}. Nobody sent it.");
            return example(words, [read.line], [read.process], vec![place]);
        };
        let send = facts.send_of(sent);
        let key = |key: Option<_>| key.map_or("no key".to_owned(), |key| format!("key {:?}", facts.key(key)));
        let words = if send.invoked > read.line {
            format!("{found}. It was sent only afterwards, by {} ({}).", send.process, send.invoked)
        } else if is_elsewhere(facts, read) {
            let partition = sent.partition.map(|partition| facts.partition(partition).to_string());
            let sent_to = partition.unwrap_or_else(|| facts.topic(sent.topic).to_owned());
            format!(
                "{found}. {} sent it to {sent_to} ({}).",
                capital(&send.process.to_string()),
                send.invoked
            )
        } else {
            let (was, is) = (key(sent.key), key(read.key));
            let sender = capital(&send.process.to_string());
            format!("{found}, with {is}. {sender} sent it with {was} ({}).", send.invoked)
        };
        let records = vec![facts.place_of_sent(sent), place];
        example(words, [send.invoked, read.line], [send.process, read.process], records)
    })
}

fn is_phantom(facts: &Facts, read: &Read) -> bool {
    let Some(sent) = facts.sent_as(read.value).map(|sent| facts.sent(sent)) else { return true };
    let has_other_key = read.key.is_some() && read.key != sent.key;
    facts.send_of(sent).invoked > read.line || is_elsewhere(facts, read) || has_other_key
}

fn is_elsewhere(facts: &Facts, read: &Read) -> bool {
    let sent = facts.sent_as(read.value).map(|sent| facts.sent(sent));
    sent.is_some_and(|sent| {
        sent.topic != facts.topic_of(read.partition)
            || sent.partition.is_some_and(|partition| partition != read.partition)
    })
}
