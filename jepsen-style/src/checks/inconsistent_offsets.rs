//! Inconsistent offsets: acknowledgements and reads name two values at one offset of a partition. Source:
//! `inconsistent-offsets` of jepsen.tests.kafka.
//!
//! Offsets that nobody names, as those of transaction markers, are no anomaly.

use super::{Cases, example};
use crate::facts::Facts;
use crate::verdict::{Anomaly, AnomalyKind};

pub(super) fn check(facts: &Facts) -> Option<Anomaly> {
    let mut cases = Cases::new();
    for (partition, log) in facts.logs() {
        for shared in log.entries().chunk_by(|one, other| one.offset == other.offset) {
            if let [one, other, ..] = shared {
                cases.add(one.since(), other.since(), (partition, one, other));
            }
        }
    }
    cases.anomaly(AnomalyKind::InconsistentOffsets, |(partition, one, other)| {
        let words = format!(
            "{} holds two values: {} ({}) and {} ({}).",
            super::capital(&facts.at(partition, one.offset)),
            facts.value(one.value),
            facts.evidence(one),
            facts.value(other.value),
            facts.evidence(other)
        );
        let places = [one, other].map(|entry| facts.place(partition, entry.offset, entry.value));
        let witnesses = [one, other].map(|entry| facts.witness(entry));
        example(words, [one.since(), other.since()], witnesses, places.to_vec())
    })
}
