//! Takes events one by one: matches completions with what was invoked, gives names their numbers, and refuses what cannot be
//! the history of anything.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{
    Facts, KeyId, Map, Move, Moved, Outcome, PartitionId, Read, Send, SendId, Sent, SentId, TopicId, Trim,
    ValueId,
};
use crate::history::{self, Event, Line, Malformed, Operation, Phase, Polled, Position, Process, Value};
use crate::verdict::Summary;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    facts: Facts,
    summary: Summary,
    line: u64,
    index: Option<u64>,
    /// Sends under way, by the value of their first record.
    sends_open: Map<ValueId, SendId>,
    /// What a process's consumer has under way.
    open: BTreeMap<Process, (&'static str, Line)>,
    /// The trims that a process has under way: the first of them, and how many.
    open_trims: BTreeMap<Process, Range<usize>>,
    processes: BTreeSet<Process>,
    /// By topic, the numbers of its partitions.
    partitions: Vec<BTreeMap<u32, PartitionId>>,
    /// Most records are of the topic of the one before.
    topic: TopicId,
}

impl Intake {
    /// Takes the next event.
    pub(crate) fn on_event(&mut self, event: &Event) -> Result<(), Malformed> {
        self.line += 1;
        let line = Line(self.line);
        self.on_event_at(line, event).map_err(|what| Malformed { line, what })
    }

    /// There are no more events.
    pub(crate) fn close(mut self) -> (Facts, Summary) {
        self.facts.close();
        self.summary.lines = self.line;
        self.summary.processes = self.processes.len() as u64;
        self.summary.partitions = self.facts.partitions.len() as u64;
        for send in &self.facts.sends {
            let records = send.records.len() as u64;
            self.summary.sends.count(send.outcome, 1);
            self.summary.records_sent.count(send.outcome, records);
        }
        self.summary.records_read = self.facts.reads.len() as u64;
        (self.facts, self.summary)
    }

    fn on_event_at(&mut self, line: Line, event: &Event) -> Result<(), String> {
        if let (Some(before), Some(index)) = (self.index, event.index)
            && index <= before
        {
            return Err(format!("index {index} does not grow: the one before is {before}"));
        }
        self.index = event.index.or(self.index);
        let Event { process, phase, .. } = *event;
        match &event.operation {
            Operation::Note(_) => return Ok(()),
            Operation::Send(records) if phase == Phase::Invoke => self.on_send(line, process, records)?,
            Operation::Send(records) => self.on_sent(line, process, phase, records)?,
            Operation::Trim(positions) if phase == Phase::Invoke => self.on_trim(line, process, positions)?,
            Operation::Trim(positions) => self.on_trimmed(line, process, phase, positions)?,
            Operation::Poll(_)
            | Operation::Assign(_)
            | Operation::Subscribe(_)
            | Operation::Seek(_)
            | Operation::Crash
            | Operation::Final(_) => self.on_consumer(line, event)?,
        }
        self.processes.insert(process);
        Ok(())
    }

    fn on_send(&mut self, line: Line, process: Process, records: &[history::Sent]) -> Result<(), String> {
        let send = SendId(self.facts.sends.len());
        let first = self.facts.sent.len();
        let none = first..first;
        self.facts.sends.push(Send { process, invoked: line, outcome: Outcome::Unknown, records: none });
        for record in records {
            let value = self.value_id(&record.value);
            if let Some(earlier) = self.facts.values[value.0] {
                let earlier = self.facts.send_of(self.facts.sent(earlier)).invoked;
                return Err(format!("value {} is sent for a second time, after {earlier}", record.value));
            }
            self.facts.values[value.0] = Some(SentId(self.facts.sent.len()));
            let topic = self.topic_id(&record.topic);
            let partition = record.partition.map(|index| self.partition_id(topic, index));
            let key = record.key.as_deref().map(|key| self.key_id(key));
            let repeats = record.repeats;
            self.facts.sent.push(Sent { send, topic, partition, key, value, offset: None, repeats });
        }
        self.facts.sends[send.0].records.end = self.facts.sent.len();
        let opened = self.facts.sent.get(first).ok_or("a send has at least one record")?;
        self.sends_open.insert(opened.value, send);
        Ok(())
    }

    fn on_sent(
        &mut self,
        line: Line,
        process: Process,
        phase: Phase,
        records: &[history::Sent],
    ) -> Result<(), String> {
        let opened = records.first().and_then(|record| self.facts.values.get_index_of(&record.value));
        let Some(send) = opened.and_then(|value| self.sends_open.swap_remove(&ValueId(value))) else {
            let first =
                records.first().map_or_else(String::new, |record| format!(" of value {}", record.value));
            return Err(format!("{process} has no send{first} under way that this could end"));
        };
        let Send { process: sender, invoked, records: numbers, .. } = self.facts.send(send).clone();
        if sender != process || numbers.len() != records.len() {
            return Err(format!(
                "this does not end the send of {invoked}: that is of {sender}, with {} records",
                numbers.len()
            ));
        }
        for (number, record) in numbers.zip(records) {
            self.complete(number, record, phase == Phase::Ok)
                .map_err(|what| format!("value {}: {what} ({invoked})", record.value))?;
        }
        self.facts.sends[send.0].outcome = match phase {
            Phase::Ok => Outcome::Acked(line),
            Phase::Fail => Outcome::Failed(line),
            Phase::Info | Phase::Invoke => Outcome::Unknown,
        };
        Ok(())
    }

    /// One record of a completion against the one that was invoked.
    fn complete(
        &mut self,
        number: usize,
        record: &history::Sent,
        is_acked: bool,
    ) -> Result<(), &'static str> {
        let Sent { topic, partition, key, value, .. } = self.facts.sent[number];
        let completed = record.partition.map(|index| self.partition_id(topic, index));
        if self.facts.value(value) != &record.value {
            return Err("the send that this ends has another value here");
        }
        if self.facts.topic(topic) != record.topic {
            return Err("it was sent to another topic");
        }
        if key.map(|key| self.facts.key(key)) != record.key.as_deref() {
            return Err("it was sent with another key");
        }
        if completed.is_some() && partition.is_some() && completed != partition {
            return Err("it was sent to another partition");
        }
        let sent = &mut self.facts.sent[number];
        sent.partition = completed.or(partition);
        if is_acked {
            sent.offset = record.offset;
            if sent.partition.is_none() {
                return Err("it was acknowledged without a partition");
            }
        }
        Ok(())
    }

    fn on_trim(&mut self, line: Line, process: Process, positions: &[Position]) -> Result<(), String> {
        if let Some(open) = self.open_trims.get(&process) {
            let since = self.facts.trims.0[open.start].invoked;
            return Err(format!("{process} has another trim under way, since {since}"));
        }
        let first = self.facts.trims.0.len();
        for (partition, before) in self.positions(positions, true) {
            self.facts.trims.0.push(Trim { partition, invoked: line, ended: None, before, failed: false });
        }
        self.open_trims.insert(process, first..self.facts.trims.0.len());
        Ok(())
    }

    fn on_trimmed(
        &mut self,
        line: Line,
        process: Process,
        phase: Phase,
        positions: &[Position],
    ) -> Result<(), String> {
        let open = self.open_trims.remove(&process);
        let open = open.ok_or_else(|| format!("{process} has no trim under way that this could end"))?;
        let positions = self.positions(positions, phase == Phase::Ok);
        let trims = &mut self.facts.trims.0[open];
        if !trims.iter().map(|trim| trim.partition).eq(positions.iter().map(|(partition, _)| *partition)) {
            let since = trims[0].invoked;
            return Err(format!("this does not end the trim of {since}: that is of other partitions"));
        }
        for (trim, (_, start)) in trims.iter_mut().zip(positions) {
            trim.ended = Some(line);
            trim.failed = phase == Phase::Fail;
            trim.before = trim.before.or(start);
        }
        Ok(())
    }

    fn on_consumer(&mut self, line: Line, event: &Event) -> Result<(), String> {
        let Event { process, phase, .. } = *event;
        let name = event.operation.name();
        let is_crash = event.operation == Operation::Crash;
        if phase == Phase::Invoke {
            if let Some((open, since)) = self.open.get(&process).filter(|_| !is_crash) {
                return Err(format!("{process} has another operation under way, {open} since {since}"));
            }
            self.open.insert(process, (name, line));
            return Ok(());
        }
        if let Some((open, since)) = self.open.remove(&process)
            && open != name
            && !is_crash
        {
            return Err(format!(
                "{process} has another operation under way, {open} since {since}: {name} cannot end it"
            ));
        }
        if phase == Phase::Fail {
            return Ok(());
        }
        let is_known = phase == Phase::Ok;
        let what = match &event.operation {
            Operation::Poll(polled) if is_known => self.on_polled(line, process, polled),
            Operation::Poll(_) => Moved::Astray,
            Operation::Assign(positions) => Moved::Began(self.positions(positions, is_known)),
            Operation::Seek(positions) => Moved::Sought(self.positions(positions, is_known)),
            Operation::Subscribe(_) | Operation::Crash => Moved::Began(Vec::new()),
            Operation::Final(_) if !is_known => return Ok(()),
            Operation::Final(partitions) => {
                self.summary.finals += 1;
                Moved::Final(partitions.as_ref().map(|partitions| self.partitions(partitions)))
            }
            Operation::Send(_) | Operation::Trim(_) | Operation::Note(_) => return Ok(()),
        };
        self.facts.moves.push(Move { process, line, what });
        Ok(())
    }

    fn on_polled(&mut self, line: Line, process: Process, polled: &Polled) -> Moved {
        self.summary.polls += 1;
        let first = self.facts.reads.len();
        for record in &polled.records {
            let topic = self.topic_id(&record.partition.topic);
            let partition = self.partition_id(topic, record.partition.index);
            let key = record.key.as_deref().map(|key| self.key_id(key));
            let value = self.value_id(&record.value);
            self.facts.reads.push(Read { process, line, partition, offset: record.offset, key, value });
        }
        Moved::Polled {
            reads: first..self.facts.reads.len(),
            assignment: polled.assignment.as_ref().map(|partitions| self.partitions(partitions)),
            rebalanced: self.partitions(&polled.rebalanced),
        }
    }

    fn positions(
        &mut self,
        positions: &[Position],
        is_known: bool,
    ) -> Vec<(PartitionId, Option<history::Offset>)> {
        let position = |position: &Position| {
            let topic = self.topic_id(&position.partition.topic);
            let offset = position.offset.filter(|_| is_known);
            (self.partition_id(topic, position.partition.index), offset)
        };
        positions.iter().map(position).collect()
    }

    fn partitions(&mut self, partitions: &[history::Partition]) -> Vec<PartitionId> {
        let number = |partition: &history::Partition| {
            let topic = self.topic_id(&partition.topic);
            self.partition_id(topic, partition.index)
        };
        partitions.iter().map(number).collect()
    }

    fn topic_id(&mut self, topic: &str) -> TopicId {
        if self.facts.topics.get_index(self.topic.0).is_some_and(|last| last == topic) {
            return self.topic;
        }
        let known = self.facts.topics.get_index_of(topic);
        self.topic = TopicId(known.unwrap_or_else(|| self.facts.topics.insert_full(topic.to_owned()).0));
        self.partitions.resize_with(self.facts.topics.len(), BTreeMap::new);
        self.topic
    }

    fn partition_id(&mut self, topic: TopicId, index: u32) -> PartitionId {
        let next = PartitionId(self.facts.partitions.len());
        let id = *self.partitions[topic.0].entry(index).or_insert(next);
        if id == next {
            self.facts.partitions.push((topic, index));
        }
        id
    }

    fn key_id(&mut self, key: &str) -> KeyId {
        let known = self.facts.keys.get_index_of(key);
        KeyId(known.unwrap_or_else(|| self.facts.keys.insert_full(key.to_owned()).0))
    }

    fn value_id(&mut self, value: &Value) -> ValueId {
        let known = self.facts.values.get_index_of(value);
        ValueId(known.unwrap_or_else(|| self.facts.values.insert_full(value.clone(), None).0))
    }
}
