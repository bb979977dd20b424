//! Aborted read: somebody read a value whose send has certainly failed. Source: Adya's phenomenon G1a ("Weak Consistency",
//! 1999, §3), `G1a` of jepsen.tests.kafka.
//!
//! A send of unknown outcome may be read; so may one that fails after all only where the client cannot know it, and then its
//! writer says `info`, not `fail`.

use super::{Cases, capital, example};
use crate::facts::{Facts, Outcome};
use crate::verdict::{Anomaly, AnomalyKind};

pub(super) fn check(facts: &Facts) -> Option<Anomaly> {
    let mut cases = Cases::new();
    for (_, read) in facts.reads() {
        let Some(sent) = facts.sent_as(read.value).map(|sent| facts.sent(sent)) else { continue };
        match facts.send_of(sent).outcome {
            Outcome::Failed(failed) => cases.add(failed, read.line, (sent, read)),
            Outcome::Acked(_) | Outcome::Unknown => {}
        }
    }
    cases.anomaly(AnomalyKind::AbortedRead, |(sent, read)| {
        let send = facts.send_of(sent);
        let words = format!(
            "{} sent value {}, and the send failed ({}). {} read it at {} ({}).",
            capital(&send.process.to_string()),
            facts.value(sent.value),
            send.span(),
            capital(&read.process.to_string()),
            facts.at(read.partition, read.offset),
            read.line
        );
        let lines = send.lines().chain([read.line]);
        example(words, lines, [send.process, read.process], vec![facts.place_of_read(read)])
    })
}
