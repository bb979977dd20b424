//! Nonmonotonic poll: a consumer goes back. Of two records that it reads of a partition one after the other, the second has
//! the same offset or a lower one; or the first that it reads lies before the place where it was told to begin. Inside one
//! poll: int-nonmonotonic-poll. Source: `nonmonotonic-poll` and `int-nonmonotonic-poll` of jepsen.tests.kafka.
//!
//! Not across assign, subscribe, seek, crash, a poll of unknown outcome, or a rebalance of the partition.

use super::{Cases, Scope, example};
use crate::facts::{Facts, Origin};
use crate::verdict::{Anomaly, AnomalyKind};

pub(super) fn check(facts: &Facts, scope: Scope) -> Option<Anomaly> {
    let mut cases = Cases::new();
    for leap in &facts.walk().leaps {
        let (next, line) = facts.origin(leap.from);
        let to = facts.read(leap.to);
        if leap.is_internal == (scope == Scope::Inside) && to.offset < next {
            cases.add(line, to.line, leap);
        }
    }
    let kind = match scope {
        Scope::Between => AnomalyKind::NonmonotonicPoll,
        Scope::Inside => AnomalyKind::IntNonmonotonicPoll,
    };
    cases.anomaly(kind, |leap| {
        let to = facts.read(leap.to);
        let mut records = vec![facts.place_of_read(to)];
        if let Origin::Read(from) = leap.from {
            records.insert(0, facts.place_of_read(facts.read(from)));
        }
        let (_, line) = facts.origin(leap.from);
        let words = format!("{}. It went back.", facts.step(leap));
        example(words, [line, to.line], [to.process], records)
    })
}
