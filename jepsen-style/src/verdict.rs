//! The verdict: the anomalies that were found, each with its smallest counter-example, in words and as JSON.

use std::fmt;

use serde::Serialize;

use crate::facts::Outcome;
use crate::history::{Line, Offset, Partition, Process, Value};

/// What must not be. In this order they are reported: first what loses or invents data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnomalyKind {
    /// Acknowledged, read past, and never read.
    LostWrite,
    /// Acknowledged or read, and missing from a final read.
    Unseen,
    /// Read although its send failed: Adya's G1a.
    AbortedRead,
    /// Read although nobody sent it, or not there.
    Phantom,
    /// Two values at one offset.
    InconsistentOffsets,
    /// One value at two offsets.
    Duplicate,
    /// A consumer leaves out a record between two polls.
    PollSkip,
    /// The same inside one poll.
    IntPollSkip,
    /// A consumer goes back between two polls.
    NonmonotonicPoll,
    /// The same inside one poll.
    IntNonmonotonicPoll,
    /// A producer's later send gets an earlier offset.
    NonmonotonicSend,
    /// The same inside one send.
    IntNonmonotonicSend,
    /// Values of one producer and key are read in another order than they were sent.
    KeyOrder,
}

impl AnomalyKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::LostWrite,
        Self::Unseen,
        Self::AbortedRead,
        Self::Phantom,
        Self::InconsistentOffsets,
        Self::Duplicate,
        Self::PollSkip,
        Self::IntPollSkip,
        Self::NonmonotonicPoll,
        Self::IntNonmonotonicPoll,
        Self::NonmonotonicSend,
        Self::IntNonmonotonicSend,
        Self::KeyOrder,
    ];

    /// Its name, as reports have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LostWrite => "lost-write",
            Self::Unseen => "unseen",
            Self::AbortedRead => "aborted-read",
            Self::Phantom => "phantom",
            Self::InconsistentOffsets => "inconsistent-offsets",
            Self::Duplicate => "duplicate",
            Self::PollSkip => "poll-skip",
            Self::IntPollSkip => "int-poll-skip",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::IntNonmonotonicPoll => "int-nonmonotonic-poll",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::IntNonmonotonicSend => "int-nonmonotonic-send",
            Self::KeyOrder => "key-order",
        }
    }
}

/// What is to be said of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// No anomaly was found.
    pub valid: bool,
    /// Those that were found, one entry a kind.
    pub anomalies: Vec<Anomaly>,
    /// What the history does not allow to be judged, and why.
    pub not_judged: Vec<NotJudged>,
    /// What was judged.
    pub summary: Summary,
}

/// One kind of anomaly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// Which.
    pub kind: AnomalyKind,
    /// How often.
    pub count: u64,
    /// The smallest of them: the one whose lines are nearest to each other, the first of those.
    pub example: Example,
}

/// A counter-example: what these few lines say must not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// What happened.
    pub words: String,
    /// Where it stands, in order.
    pub lines: Vec<Line>,
    /// Who did it.
    pub processes: Vec<Process>,
    /// With which records.
    pub records: Vec<Place>,
}

/// A value where it was sent or read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The topic's name.
    pub topic: String,
    /// The partition, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// The offset, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// The value.
    pub value: Value,
}

/// A kind of anomaly that could not have been found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotJudged {
    /// Which.
    pub kind: AnomalyKind,
    /// Why.
    pub why: &'static str,
}

/// Numbers by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// Acknowledged.
    pub acked: u64,
    /// Certainly not done.
    pub failed: u64,
    /// Without a known outcome.
    pub unknown: u64,
}

/// What was judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Lines of the history.
    pub lines: u64,
    /// Clients.
    pub processes: u64,
    /// Partitions that were named.
    pub partitions: u64,
    /// Sends.
    pub sends: Outcomes,
    /// The records in them.
    pub records_sent: Outcomes,
    /// Polls that returned, with or without records.
    pub polls: u64,
    /// Records in them.
    pub records_read: u64,
    /// Final reads.
    pub finals: u64,
}

impl Place {
    pub(crate) fn new(partition: Partition, offset: Option<Offset>, value: &Value) -> Self {
        Self { topic: partition.topic, partition: Some(partition.index), offset, value: value.clone() }
    }
}

impl Outcomes {
    pub(crate) fn count(&mut self, outcome: Outcome, more: u64) {
        let counter = match outcome {
            Outcome::Acked(_) => &mut self.acked,
            Outcome::Failed(_) => &mut self.failed,
            Outcome::Unknown => &mut self.unknown,
        };
        *counter += more;
    }

    fn total(self) -> u64 {
        self.acked + self.failed + self.unknown
    }
}

impl fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// For a person: the anomalies, then the numbers.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.valid {
            writeln!(f, "valid")?;
        } else {
            writeln!(f, "not valid")?;
        }
        for Anomaly { kind, count, example } in &self.anomalies {
            let times = if *count == 1 { "once".to_owned() } else { format!("{count} times, the smallest") };
            writeln!(f, "\n{kind}, {times}:\n  {}", example.words)?;
        }
        write!(f, "\n{}", self.summary)?;
        for NotJudged { kind, why } in &self.not_judged {
            writeln!(f, "{kind} was not judged: {why}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acked, failed, unknown } = self;
        write!(f, "{acked} acknowledged, {failed} failed, {unknown} unknown")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lines, processes, partitions, sends, records_sent, polls, records_read, finals } = self;
        let [clients, partitions] = [many(*processes, "process", "es"), many(*partitions, "partition", "s")];
        writeln!(f, "lines       {lines}, of {clients} and {partitions}")?;
        writeln!(f, "sends       {} ({sends})", sends.total())?;
        writeln!(f, "records     {} ({records_sent})", records_sent.total())?;
        let [records, ends] = [many(*records_read, "record", "s"), many(*finals, "final read", "s")];
        writeln!(f, "polls       {polls}, with {records}; {ends}")
    }
}

fn many(number: u64, one: &str, more: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { more })
}
