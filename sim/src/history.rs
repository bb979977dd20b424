//! What the clients of a run asked for and learned, in that order: kept small while the run lasts, told as the history that
//! `seedlog-checker` reads. Every client knows only what it saw; what it was not told is of unknown outcome here too.
//!
//! Left out: topics that come and go, and partitions of which more was lost than their topic promises to survive.

use crate::judges::truth::Truth;
use crate::trace::NOWHERE;
use seedlog_checker::history::{
    Event, HistoryWriter, Offset, Operation, Partition, Phase, Position, Process, Read, Sent, Value,
};
use seedlog_core::ids::{self, TopicPartition, Uuid};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Whose a note is says nothing.
const NARRATOR: Process = Process(0);

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    told: Vec<Told>,
    names: BTreeMap<Uuid, String>,
    beyond: BTreeSet<TopicPartition>,
}

/// The records of a produced batch: they have one outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Who produced it.
    pub client: u32,
    /// Its number among those of that client.
    pub number: u64,
    /// How many records it has.
    pub records: u32,
}

/// What a producer knows of a batch in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged by all replicas in sync, at this offset if one was named.
    Acked(Option<u64>),
    /// Refused before anything was appended, every time.
    Refused,
    /// Nobody knows, for this reason.
    Unknown(&'static str),
}

#[derive(Debug)]
struct Told {
    at_us: u64,
    client: u32,
    what: What,
}

#[derive(Debug)]
enum What {
    Send { partition: TopicPartition, batch: Batch, repeats: bool },
    Outcome { partition: TopicPartition, batch: Batch, outcome: Outcome },
    Read { partition: TopicPartition, from: u64, batches: Vec<(u64, Batch)> },
    Seek { partition: TopicPartition, to: u64 },
    Trim { partition: TopicPartition, to: Option<u64>, phase: Phase },
    Final(Vec<TopicPartition>),
}

impl History {
    /// A batch is about to leave for the first time. `repeats`: its client sends again without idempotence.
    pub fn on_send(&mut self, at_us: u64, partition: TopicPartition, batch: Batch, repeats: bool) {
        self.tell(at_us, batch.client, What::Send { partition, batch, repeats });
    }

    /// Its producer knows what became of a batch, or will never know.
    pub fn on_outcome(&mut self, at_us: u64, partition: TopicPartition, batch: Batch, outcome: Outcome) {
        self.tell(at_us, batch.client, What::Outcome { partition, batch, outcome });
    }

    /// A reader that is at `from` was given batches, each with its base offset.
    pub fn on_read(
        &mut self,
        at_us: u64,
        client: u32,
        (partition, from): (TopicPartition, u64),
        batches: Vec<(u64, Batch)>,
    ) {
        self.tell(at_us, client, What::Read { partition, from, batches });
    }

    /// A reader begins at an offset, or goes there.
    pub fn on_seek(&mut self, at_us: u64, client: u32, partition: TopicPartition, to: u64) {
        self.tell(at_us, client, What::Seek { partition, to });
    }

    /// Records before an offset are to be deleted, or, without one, all that are committed; or that was answered.
    pub fn on_trim(
        &mut self,
        at_us: u64,
        client: u32,
        (partition, to): (TopicPartition, Option<u64>),
        phase: Phase,
    ) {
        self.tell(at_us, client, What::Trim { partition, to, phase });
    }

    /// Records before an offset expire.
    pub fn on_expired(&mut self, at_us: u64, partition: TopicPartition, to: ids::Offset) {
        let to = u64::try_from(to.0).ok();
        for phase in [Phase::Invoke, Phase::Info] {
            self.on_trim(at_us, NOWHERE, (partition, to), phase);
        }
    }

    /// A reader has read these up to their ends, and nothing is acknowledged any more.
    pub fn on_final(&mut self, at_us: u64, client: u32, partitions: Vec<TopicPartition>) {
        self.tell(at_us, client, What::Final(partitions));
    }

    /// Learns topics' names, and what is beyond the promise.
    pub fn close(&mut self, truth: &Truth) {
        self.names = truth.topics.iter().map(|(&id, topic)| (id, topic.name.clone())).collect();
        self.beyond = truth.logs.keys().copied().filter(|&partition| truth.is_beyond(partition)).collect();
    }

    /// Its events, the first of which is a note about it.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        let note = Event::new(0, NARRATOR, Phase::Info, Operation::Note(self.story()));
        [note].into_iter().chain(self.told.iter().filter_map(|told| self.event(told)))
    }

    /// Writes it, one event a line.
    ///
    /// # Errors
    /// What the output says.
    pub fn write(&self, output: impl io::Write) -> io::Result<()> {
        let mut writer = HistoryWriter::new(output);
        self.events().try_for_each(|event| writer.write(event))?;
        writer.flush()
    }

    fn tell(&mut self, at_us: u64, client: u32, what: What) {
        self.told.push(Told { at_us, client, what });
    }

    fn story(&self) -> String {
        let mut story = "what the clients of a simulated run saw, in its own time".to_owned();
        if !self.beyond.is_empty() {
            let names: Vec<String> =
                self.beyond.iter().map(|&partition| self.name(partition).to_string()).collect();
            story += "; left out, because more was lost than is promised to survive: ";
            story += &names.join(", ");
        }
        story
    }

    fn event(&self, told: &Told) -> Option<Event> {
        let Told { at_us, client, what } = told;
        let event = |phase, operation| Event::new(*at_us, Process(u64::from(*client)), phase, operation);
        let is_in = |partition: &TopicPartition| !self.beyond.contains(partition);
        match what {
            What::Send { partition, batch, repeats } if is_in(partition) => {
                Some(event(Phase::Invoke, self.send(*partition, *batch, None, *repeats)))
            }
            What::Outcome { partition, batch, outcome } if is_in(partition) => {
                let (phase, base, error) = match *outcome {
                    Outcome::Acked(base) => (Phase::Ok, base, None),
                    Outcome::Refused => (Phase::Fail, None, Some("refused")),
                    Outcome::Unknown(why) => (Phase::Info, None, Some(why)),
                };
                let event = event(phase, self.send(*partition, *batch, base, false));
                Some(Event { error: error.map(str::to_owned), ..event })
            }
            What::Read { partition, from, batches } if is_in(partition) => {
                Some(event(Phase::Ok, self.poll(*partition, *from, batches)))
            }
            What::Seek { partition, to } if is_in(partition) => {
                let position = Position { partition: self.name(*partition), offset: Some(Offset(*to)) };
                Some(event(Phase::Ok, Operation::Seek(vec![position])))
            }
            What::Trim { partition, to, phase } if is_in(partition) => {
                let position = Position { partition: self.name(*partition), offset: to.map(Offset) };
                Some(event(*phase, Operation::Trim(vec![position])))
            }
            What::Final(partitions) => {
                let read = partitions.iter().filter(|partition| is_in(partition));
                let read = read.map(|&partition| self.name(partition)).collect();
                Some(event(Phase::Ok, Operation::Final(Some(read))))
            }
            What::Send { .. }
            | What::Outcome { .. }
            | What::Read { .. }
            | What::Seek { .. }
            | What::Trim { .. } => None,
        }
    }

    fn send(&self, partition: TopicPartition, batch: Batch, base: Option<u64>, repeats: bool) -> Operation {
        let Partition { topic, index } = self.name(partition);
        let record = |number: u32| Sent {
            topic: topic.clone(),
            partition: Some(index),
            key: None,
            value: batch.value(number),
            offset: base.map(|base| Offset(base + u64::from(number))),
            repeats,
        };
        Operation::Send((0..batch.records).map(record).collect())
    }

    /// A client skips what stands in front of the offset that it asked for.
    fn poll(&self, partition: TopicPartition, from: u64, batches: &[(u64, Batch)]) -> Operation {
        let partition = self.name(partition);
        let of = |&(base, batch): &(u64, Batch)| {
            (0..batch.records).map(move |number| (base + u64::from(number), batch.value(number)))
        };
        let records = batches.iter().flat_map(of).filter(|(offset, _)| *offset >= from);
        let records: Vec<Read> =
            records.map(|(offset, value)| Read::new(partition.clone(), Offset(offset), value)).collect();
        Operation::Poll(records.into())
    }

    fn name(&self, partition: TopicPartition) -> Partition {
        let topic = self.names.get(&partition.topic_id).cloned();
        let topic = topic.unwrap_or_else(|| partition.topic_id.to_string());
        Partition::new(topic, u32::try_from(partition.partition.0).unwrap_or(u32::MAX))
    }
}

impl Batch {
    /// What the value of a record begins with.
    fn value(self, number: u32) -> Value {
        Value::Text(format!("c{} b{} r{number}", self.client, self.number))
    }
}
