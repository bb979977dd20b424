//! Poll skip: a consumer goes on behind a record that it should have read next. Two records that it reads of a partition one
//! after the other, or the place where it was told to begin and the first that it reads, have an offset between them at which
//! a record is known to be: acknowledged, or read by anybody. Inside one poll: int-poll-skip. Source: `poll-skip` and
//! `int-poll-skip` of jepsen.tests.kafka.
//!
//! Not across assign, subscribe, seek, crash, a poll of unknown outcome, or a rebalance of the partition. Offsets at which
//! nothing is known to be (transaction markers, sends that failed) are no gaps, nor are those that a trim asked to delete
//! before.

use super::{Cases, Scope, capital, example};
use crate::facts::{Facts, Leap, LogEntry, Origin};
use crate::history::{Line, Offset};
use crate::verdict::{Anomaly, AnomalyKind, Example};

pub(super) fn check(facts: &Facts, scope: Scope) -> Option<Anomaly> {
    let mut cases = Cases::new();
    for leap in &facts.walk().leaps {
        if leap.is_internal == (scope == Scope::Inside)
            && let Some(skipped) = skipped(facts, leap)
        {
            cases.add(facts.origin(leap.from).1, facts.read(leap.to).line, (leap, skipped));
        }
    }
    let kind = match scope {
        Scope::Between => AnomalyKind::PollSkip,
        Scope::Inside => AnomalyKind::IntPollSkip,
    };
    cases.anomaly(kind, |(leap, skipped)| tell(facts, leap, skipped))
}

/// The first record that lies between.
fn skipped<'a>(facts: &'a Facts, leap: &Leap) -> Option<&'a LogEntry> {
    let to = facts.read(leap.to);
    let (next, _) = facts.origin(leap.from);
    let next = next.max(facts.trims().bound(to.partition, to.line));
    facts.log(to.partition).from(next).first().filter(|entry| entry.offset < to.offset)
}

fn tell(facts: &Facts, leap: &Leap, skipped: &LogEntry) -> Example {
    let to = facts.read(leap.to);
    let step = facts.step(leap);
    let words = format!(
        "{step}. It skipped offset {}, which holds value {} ({}).",
        skipped.offset,
        facts.value(skipped.value),
        facts.evidence(skipped)
    );
    let lines = [facts.origin(leap.from).1, to.line, skipped.since()];
    let records = vec![facts.place(to.partition, skipped.offset, skipped.value), facts.place_of_read(to)];
    example(words, lines, [to.process, facts.witness(skipped)], records)
}

impl Facts {
    /// The offset that a consumer was due to read next, and where it stands that it was.
    pub(super) fn origin(&self, origin: Origin) -> (Offset, Line) {
        match origin {
            Origin::Read(read) => (self.read(read).offset.next(), self.read(read).line),
            Origin::Told { offset, line } => (offset, line),
        }
    }

    /// From where to where, in words.
    pub(super) fn step(&self, leap: &Leap) -> String {
        let to = self.read(leap.to);
        let process = to.process;
        match leap.from {
            Origin::Read(from) if leap.is_internal => {
                let from = self.at(to.partition, self.read(from).offset);
                format!("In one poll ({}) {process} read {from} and then offset {}", to.line, to.offset)
            }
            Origin::Read(from) => {
                let (from, line) = (self.at(to.partition, self.read(from).offset), self.read(from).line);
                let process = capital(&process.to_string());
                format!("{process} read {from} ({line}) and then offset {} ({})", to.offset, to.line)
            }
            Origin::Told { offset, line } => {
                let (process, from) = (capital(&process.to_string()), self.at(to.partition, offset));
                format!(
                    "{process} was told to begin at {from} ({line}) and read offset {} first ({})",
                    to.offset, to.line
                )
            }
        }
    }
}
