//! The checks, one anomaly a file with its definition and source, and what they share: counting cases, keeping the smallest,
//! and naming things in words.

mod aborted_read;
mod duplicate;
mod inconsistent_offsets;
mod key_order;
mod lost_write;
mod nonmonotonic_poll;
mod nonmonotonic_send;
mod phantom;
mod poll_skip;
mod unseen;

use crate::facts::{Facts, LogEntry, PartitionId, Read, Send, Sent, ValueId};
use crate::history::{Line, Offset, Process};
use crate::verdict::{Anomaly, AnomalyKind, Example, NotJudged, Place, Summary, Verdict};

/// All checks on all facts.
pub(crate) fn verdict(facts: &Facts, summary: Summary) -> Verdict {
    let anomalies: Vec<Anomaly> =
        AnomalyKind::ALL.into_iter().filter_map(|kind| check(facts, kind)).collect();
    let mut not_judged = Vec::new();
    if facts.walk().finals.is_empty() {
        not_judged.push(NotJudged { kind: AnomalyKind::Unseen, why: "no process has made a final read" });
    }
    if !facts.has_keys() {
        not_judged.push(NotJudged { kind: AnomalyKind::KeyOrder, why: "no record has a key" });
    }
    Verdict { valid: anomalies.is_empty(), anomalies, not_judged, summary }
}

fn check(facts: &Facts, kind: AnomalyKind) -> Option<Anomaly> {
    match kind {
        AnomalyKind::LostWrite => lost_write::check(facts),
        AnomalyKind::Unseen => unseen::check(facts),
        AnomalyKind::AbortedRead => aborted_read::check(facts),
        AnomalyKind::Phantom => phantom::check(facts),
        AnomalyKind::InconsistentOffsets => inconsistent_offsets::check(facts),
        AnomalyKind::Duplicate => duplicate::check(facts),
        AnomalyKind::PollSkip => poll_skip::check(facts, Scope::Between),
        AnomalyKind::IntPollSkip => poll_skip::check(facts, Scope::Inside),
        AnomalyKind::NonmonotonicPoll => nonmonotonic_poll::check(facts, Scope::Between),
        AnomalyKind::IntNonmonotonicPoll => nonmonotonic_poll::check(facts, Scope::Inside),
        AnomalyKind::NonmonotonicSend => nonmonotonic_send::check(facts, Scope::Between),
        AnomalyKind::IntNonmonotonicSend => nonmonotonic_send::check(facts, Scope::Inside),
        AnomalyKind::KeyOrder => key_order::check(facts),
    }
}

/// Where two records that are compared stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// In two operations of one process.
    Between,
    /// In one operation: what Jepsen's names begin with `int-` for.
    Inside,
}

/// Counts cases and keeps the smallest: the one whose lines are nearest to each other, the first of those.
#[derive(Debug)]
struct Cases<T> {
    count: u64,
    smallest: Option<((u64, Line), T)>,
}

impl<T> Cases<T> {
    fn new() -> Self {
        Self { count: 0, smallest: None }
    }

    fn add(&mut self, one: Line, other: Line, case: T) {
        self.count += 1;
        let size = (one.0.abs_diff(other.0), one.max(other));
        if self.smallest.as_ref().is_none_or(|(smallest, _)| size < *smallest) {
            self.smallest = Some((size, case));
        }
    }

    fn anomaly(self, kind: AnomalyKind, tell: impl FnOnce(T) -> Example) -> Option<Anomaly> {
        let (_, case) = self.smallest?;
        Some(Anomaly { kind, count: self.count, example: tell(case) })
    }
}

/// Puts an example together; lines and processes are put in order.
fn example(
    words: String,
    lines: impl IntoIterator<Item = Line>,
    processes: impl IntoIterator<Item = Process>,
    records: Vec<Place>,
) -> Example {
    let mut lines: Vec<Line> = lines.into_iter().collect();
    lines.sort_unstable();
    lines.dedup();
    let mut processes: Vec<Process> = processes.into_iter().collect();
    processes.sort_unstable();
    processes.dedup();
    Example { words, lines, processes, records }
}

/// A sentence begins with it.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl Send {
    /// Where it stands, in words.
    fn span(&self) -> String {
        self.ended()
            .map_or_else(|| self.invoked.to_string(), |end| format!("lines {} to {}", self.invoked.0, end.0))
    }

    fn lines(&self) -> impl Iterator<Item = Line> + use<> {
        [self.invoked].into_iter().chain(self.ended())
    }
}

impl Facts {
    /// Offset and partition, in words.
    fn at(&self, partition: PartitionId, offset: Offset) -> String {
        format!("offset {offset} of {}", self.partition(partition))
    }

    /// How an entry of a log is known, in words.
    fn evidence(&self, entry: &LogEntry) -> String {
        match (entry.acked, entry.read) {
            (Some((_, acked)), read) if read.is_none_or(|(_, read)| acked < read) => {
                format!("acknowledged, {acked}")
            }
            (_, Some((read, line))) => format!("read by {}, {line}", self.read(read).process),
            (Some((_, acked)), None) => format!("acknowledged, {acked}"),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// Who made an entry of a log known.
    fn witness(&self, entry: &LogEntry) -> Process {
        match (entry.acked, entry.read) {
            (Some((sent, acked)), read) if read.is_none_or(|(_, read)| acked < read) => {
                self.send_of(self.sent(sent)).process
            }
            (_, Some((read, _))) => self.read(read).process,
            (Some((sent, _)), None) => self.send_of(self.sent(sent)).process,
            (None, None) => Process(0),
        }
    }

    fn place(&self, partition: PartitionId, offset: Offset, value: ValueId) -> Place {
        Place::new(self.partition(partition), Some(offset), self.value(value))
    }

    fn place_of_read(&self, read: &Read) -> Place {
        self.place(read.partition, read.offset, read.value)
    }

    fn place_of_sent(&self, sent: &Sent) -> Place {
        let topic = self.topic(sent.topic).to_owned();
        let partition = sent.partition.map(|partition| self.partition(partition).index);
        Place { topic, partition, offset: sent.offset, value: self.value(sent.value).clone() }
    }
}
