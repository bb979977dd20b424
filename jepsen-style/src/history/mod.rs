//! The history: what the clients of a log did and saw, as events in the order in which one recorder wrote them down.
//!
//! A history is a text of JSON objects, one a line; the n-th line holds the n-th event. The order of the lines is the order of
//! real time: an `invoke` is written before its request leaves, a completion after its answer came. `time_us` is for people.
//!
//! ```text
//! {"index":0,"time_us":10,"process":1,"type":"invoke","f":"send","value":[{"topic":"t","partition":0,"key":"a","value":7}]}
//! {"index":1,"time_us":95,"process":1,"type":"ok","f":"send","value":[{"topic":"t","partition":0,"key":"a","value":7,"offset":0}]}
//! {"index":2,"time_us":99,"process":2,"type":"ok","f":"assign","value":[{"topic":"t","partition":0,"offset":0}]}
//! {"index":3,"time_us":160,"process":2,"type":"ok","f":"poll","value":[{"topic":"t","partition":0,"key":"a","value":7,"offset":0}]}
//! {"index":4,"time_us":170,"process":2,"type":"ok","f":"final"}
//! ```
//!
//! # Every line
//!
//! | field | needed | what |
//! |---|---|---|
//! | `index` | no | a number that grows from line to line |
//! | `time_us` | yes | microseconds since some beginning |
//! | `process` | yes | the number of a client: one producer and one consumer at most |
//! | `type` | yes | `invoke`: asked for. `ok`: done. `fail`: certainly not done. `info`: nobody knows |
//! | `f` | yes | one of the functions below |
//! | `value` | see below | what the function is about |
//! | `error` | no | why it is `fail` or `info`, in words |
//!
//! A field that is not named here is an error: misspelt fields would be judged as missing ones.
//!
//! # `send`
//!
//! `value`: the records of one request or one transaction, in order; all of them have its outcome, so records that can be
//! acknowledged apart are sends apart. Each has `topic`, `value` (a string or an integer that no other send of the history
//! has) and may have `key` and `partition` (needed when `ok`). A completion repeats the records of its `invoke`, by whose
//! values the two are matched, so a process may have several sends under way. `offset`: where it was acknowledged; it is
//! missing when the broker acknowledged without saying where, and never in an `invoke`. A send without completion is `info`.
//! `repeats`, optional, in an `invoke`: `true` when the client may have it appended several times, because it sends again what
//! was not answered and is not idempotent.
//!
//! # `poll`
//!
//! `value`, when `ok`: the records in the order in which the client handed them out, each with `topic`, `partition`, `offset`,
//! `value` and perhaps `key`. `assignment` (topics and partitions), optional: what the consumer had; positions in other
//! partitions are forgotten. `rebalanced`, optional: partitions that came or went during the poll; what was read of them is
//! not compared with anything before, nor with itself. After an `info` poll nobody knows where the consumer stands.
//!
//! # Where a consumer stands
//!
//! * `assign`: `value` is the new assignment, with `offset` where the consumer was told to begin. Without `offset` it begins
//!   where its group left off or at the log's beginning. All earlier positions are forgotten.
//! * `subscribe`: `value` is a list of topics. All earlier positions are forgotten.
//! * `seek`: `value` is a list of partitions; without `offset`, nobody knows where to (the log's end, a timestamp).
//! * `crash`: the client was thrown away with what it had under way. All positions are forgotten.
//!
//! An `invoke` of these and of polls may be left out; a process has one of them under way at a time.
//!
//! # `trim`
//!
//! `value`: partitions whose records are to be deleted, each with the `offset` before which; without it, up to where the log is
//! committed when the request is done. A completion repeats the partitions of the `invoke`, which it needs, and when `ok` has
//! in `offset` where each log starts. A process has one under way at a time, beside a consumer's operation; one without
//! completion is `info`. From the `invoke` on, records before that offset may be missing, and a consumer may go on behind
//! them without a seek: those of a trim without offset up to the one in its completion, or any, if that is not `ok`. What a
//! trim that failed asked for must be there. Deleted records that are read all the same are no anomaly: the poll may be older.
//!
//! # The end
//!
//! `final`, when `ok`: since it was last assigned, this process has read the partitions in `value` (all, when it is missing)
//! up to their ends as they were after the last acknowledgement above. Without it nothing is known to be unseen.
//!
//! `note`: a string for people. It is not judged.

mod line;
mod reader;
mod writer;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use reader::{HistoryError, HistoryReader, LINE_BYTES_MAX, Malformed};
pub use writer::HistoryWriter;

/// A client: one producer and one consumer at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Process(pub u64);

/// A position in a partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// The one behind it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A line of a history; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Line(pub u64);

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number in it.
    pub index: u32,
}

impl Partition {
    /// Partition `index` of `topic`.
    pub fn new(topic: impl Into<String>, index: u32) -> Self {
        Self { topic: topic.into(), index }
    }
}

/// What a record holds: the history's name for it. No two sends have the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It was asked for.
    Invoke,
    /// It was done.
    Ok,
    /// It was certainly not done.
    Fail,
    /// Nobody knows whether it was, or ever will be, done.
    Info,
}

/// A line of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// A number that grows from line to line.
    pub index: Option<u64>,
    /// Microseconds since some beginning.
    pub time_us: u64,
    /// Who.
    pub process: Process,
    /// How far.
    pub phase: Phase,
    /// What.
    pub operation: Operation,
    /// Why it failed or is unknown.
    pub error: Option<String>,
}

/// What a process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Appends records.
    Send(Vec<Sent>),
    /// Reads the next records of what it is assigned.
    Poll(Polled),
    /// Takes partitions, and forgets others.
    Assign(Vec<Position>),
    /// Joins the readers of topics.
    Subscribe(Vec<String>),
    /// Goes elsewhere in partitions that it has.
    Seek(Vec<Position>),
    /// Loses what it has in memory.
    Crash,
    /// Deletes the records before these offsets, or all.
    Trim(Vec<Position>),
    /// Has read these partitions, or all, to their ends.
    Final(Option<Vec<Partition>>),
    /// A remark.
    Note(String),
}

impl Operation {
    /// As `f` has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Send(_) => "send",
            Self::Poll(_) => "poll",
            Self::Assign(_) => "assign",
            Self::Subscribe(_) => "subscribe",
            Self::Seek(_) => "seek",
            Self::Crash => "crash",
            Self::Trim(_) => "trim",
            Self::Final(_) => "final",
            Self::Note(_) => "note",
        }
    }
}

/// A record that is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its topic.
    pub topic: String,
    /// Its partition; nobody may know it before it is acknowledged.
    pub partition: Option<u32>,
    /// Its key.
    pub key: Option<String>,
    /// What it holds.
    pub value: Value,
    /// Where it was acknowledged.
    pub offset: Option<Offset>,
    /// It may be appended several times: its client sends again, and is not idempotent.
    pub repeats: bool,
}

impl Sent {
    /// A record for any partition of `topic`, without key.
    pub fn new(topic: impl Into<String>, value: impl Into<Value>) -> Self {
        let (topic, value) = (topic.into(), value.into());
        Self { topic, partition: None, key: None, value, offset: None, repeats: false }
    }

    /// The same for this partition.
    #[must_use]
    pub fn partition(self, partition: u32) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// The same with this key.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// The same, acknowledged at this offset.
    #[must_use]
    pub fn at(self, offset: Offset) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// The same from a client that may have it appended several times.
    #[must_use]
    pub fn repeating(self) -> Self {
        Self { repeats: true, ..self }
    }
}

/// What a poll returned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Polled {
    /// In the order in which the client handed them out.
    pub records: Vec<Read>,
    /// What the consumer had, where the writer knows.
    pub assignment: Option<Vec<Partition>>,
    /// Partitions that came or went during the poll.
    pub rebalanced: Vec<Partition>,
}

impl From<Vec<Read>> for Polled {
    fn from(records: Vec<Read>) -> Self {
        Self { records, ..Self::default() }
    }
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Of which partition.
    pub partition: Partition,
    /// Where.
    pub offset: Offset,
    /// Its key.
    pub key: Option<String>,
    /// What it holds.
    pub value: Value,
}

impl Read {
    /// A record without key.
    pub fn new(partition: Partition, offset: Offset, value: impl Into<Value>) -> Self {
        Self { partition, offset, key: None, value: value.into() }
    }

    /// The same with this key.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}

/// Where a consumer begins in a partition, or a log does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: Partition,
    /// The offset of the next record, if one was named.
    pub offset: Option<Offset>,
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.0)
    }
}

/// As Kafka writes it: the topic, a dash, the number.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Text(value) => write!(f, "{value:?}"),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        })
    }
}
