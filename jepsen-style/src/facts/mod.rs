//! What a history says, with numbers for names: sends with their outcomes, reads, each partition's log as the clients know it,
//! what was deleted of it, and where each consumer stood. Checks read it and nothing else; `intake` fills it, one event at a time.

pub(crate) mod intake;
mod log;
mod trims;
mod walk;

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::ops::Range;

use indexmap::{IndexMap, IndexSet};

use crate::history::{Line, Offset, Partition, Process, Value};

pub(crate) use log::{Log, LogEntry};
pub(crate) use trims::{Trim, Trims};
pub(crate) use walk::{FinalRead, Leap, Origin, Walk};

/// The same hashes in every process.
type Hashed = BuildHasherDefault<DefaultHasher>;
pub(crate) type Map<K, V> = IndexMap<K, V, Hashed>;
pub(crate) type Set<T> = IndexSet<T, Hashed>;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TopicId(pub(crate) usize);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PartitionId(pub(crate) usize);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KeyId(pub(crate) usize);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ValueId(pub(crate) usize);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SendId(pub(crate) usize);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SentId(pub(crate) usize);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ReadId(pub(crate) usize);
/// What a consumer reads of a partition between two jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RunId(pub(crate) usize);

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nobody knows. It never ends: it may take effect at any later time.
    Unknown,
    /// Acknowledged on this line.
    Acked(Line),
    /// Certainly not done, as this line says.
    Failed(Line),
}

/// One send: some records with one outcome.
#[derive(Debug, Clone)]
pub(crate) struct Send {
    pub(crate) process: Process,
    pub(crate) invoked: Line,
    pub(crate) outcome: Outcome,
    /// Its records, in order.
    records: Range<usize>,
}

impl Send {
    /// Whether it has more than one record.
    pub(crate) fn has_several(&self) -> bool {
        self.records.len() > 1
    }

    pub(crate) fn acked(&self) -> Option<Line> {
        match self.outcome {
            Outcome::Acked(line) => Some(line),
            Outcome::Unknown | Outcome::Failed(_) => None,
        }
    }

    /// Where it ended, if it ever did.
    pub(crate) fn ended(&self) -> Option<Line> {
        match self.outcome {
            Outcome::Unknown => None,
            Outcome::Acked(line) | Outcome::Failed(line) => Some(line),
        }
    }

    /// Whether it had ended, in whatever way, when `other` began.
    pub(crate) fn ended_before(&self, other: &Self) -> bool {
        self.ended().is_some_and(|ended| ended < other.invoked)
    }
}

/// A record of a send.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) send: SendId,
    pub(crate) topic: TopicId,
    pub(crate) partition: Option<PartitionId>,
    pub(crate) key: Option<KeyId>,
    pub(crate) value: ValueId,
    pub(crate) offset: Option<Offset>,
    /// It may be at several places.
    pub(crate) repeats: bool,
}

/// A record that a poll returned.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) process: Process,
    pub(crate) line: Line,
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
    pub(crate) key: Option<KeyId>,
    pub(crate) value: ValueId,
}

/// What moves a consumer.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) process: Process,
    pub(crate) line: Line,
    pub(crate) what: Moved,
}

#[derive(Debug)]
pub(crate) enum Moved {
    /// A poll returned these reads.
    Polled { reads: Range<usize>, assignment: Option<Vec<PartitionId>>, rebalanced: Vec<PartitionId> },
    /// Nobody knows what a poll returned.
    Astray,
    /// All positions are forgotten; these are where it begins.
    Began(Vec<(PartitionId, Option<Offset>)>),
    /// It went elsewhere in these.
    Sought(Vec<(PartitionId, Option<Offset>)>),
    /// It has read these, or all, to their ends.
    Final(Option<Vec<PartitionId>>),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    topics: Set<String>,
    partitions: Vec<(TopicId, u32)>,
    keys: Set<String>,
    /// With the record that was sent, if one was.
    values: Map<Value, Option<SentId>>,
    sends: Vec<Send>,
    sent: Vec<Sent>,
    reads: Vec<Read>,
    moves: Vec<Move>,
    trims: Trims,
    /// By partition, once all events are there.
    logs: Vec<Log>,
    walk: Walk,
}

impl Facts {
    /// All events are there: builds what is derived from them.
    fn close(&mut self) {
        self.logs = log::build(self);
        self.walk = walk::walk(self);
    }

    pub(crate) fn send(&self, id: SendId) -> &Send {
        &self.sends[id.0]
    }

    pub(crate) fn sends(&self) -> impl Iterator<Item = (SendId, &Send)> {
        self.sends.iter().enumerate().map(|(id, send)| (SendId(id), send))
    }

    pub(crate) fn sent(&self, id: SentId) -> &Sent {
        &self.sent[id.0]
    }

    pub(crate) fn send_of(&self, sent: &Sent) -> &Send {
        self.send(sent.send)
    }

    /// The records of a send, in order.
    pub(crate) fn records_of(&self, send: &Send) -> impl Iterator<Item = (SentId, &Sent)> {
        let numbers = send.records.clone();
        numbers.clone().map(SentId).zip(&self.sent[numbers])
    }

    /// All records that were sent, in the order of their invocations.
    pub(crate) fn all_sent(&self) -> impl Iterator<Item = (SentId, &Sent)> {
        self.sent.iter().enumerate().map(|(id, sent)| (SentId(id), sent))
    }

    /// The record that was sent with this value.
    pub(crate) fn sent_as(&self, value: ValueId) -> Option<SentId> {
        self.values[value.0]
    }

    pub(crate) fn read(&self, id: ReadId) -> &Read {
        &self.reads[id.0]
    }

    /// All reads, in order.
    pub(crate) fn reads(&self) -> impl Iterator<Item = (ReadId, &Read)> {
        self.reads.iter().enumerate().map(|(id, read)| (ReadId(id), read))
    }

    pub(crate) fn moves(&self) -> &[Move] {
        &self.moves
    }

    pub(crate) fn trims(&self) -> &Trims {
        &self.trims
    }

    pub(crate) fn log(&self, partition: PartitionId) -> &Log {
        &self.logs[partition.0]
    }

    pub(crate) fn logs(&self) -> impl Iterator<Item = (PartitionId, &Log)> {
        self.logs.iter().enumerate().map(|(id, log)| (PartitionId(id), log))
    }

    pub(crate) fn walk(&self) -> &Walk {
        &self.walk
    }

    /// One of these for each value.
    pub(crate) fn by_value<T: Clone>(&self, start: T) -> Vec<T> {
        vec![start; self.values.len()]
    }

    pub(crate) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(crate) fn value(&self, id: ValueId) -> &Value {
        let (value, _) = self.values.get_index(id.0).expect("numbers of values are given out by this map");
        value
    }

    pub(crate) fn key(&self, id: KeyId) -> &str {
        &self.keys[id.0]
    }

    pub(crate) fn topic(&self, id: TopicId) -> &str {
        &self.topics[id.0]
    }

    pub(crate) fn topic_of(&self, id: PartitionId) -> TopicId {
        self.partitions[id.0].0
    }

    pub(crate) fn partition(&self, id: PartitionId) -> Partition {
        let (topic, index) = self.partitions[id.0];
        Partition::new(self.topic(topic), index)
    }
}
