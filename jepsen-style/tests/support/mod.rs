//! Histories of a log that does what it should: a tiny model of partitions, producers whose sends overlap, time out and come
//! late, and consumers that jump about. Everything is drawn from a seed.

use std::collections::BTreeMap;

use seedlog_checker::history::{
    Event, Offset, Operation, Partition, Phase, Polled, Position, Process, Read, Sent, Value,
};

/// How large a history is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) steps: usize,
    pub(crate) producers: u64,
    pub(crate) consumers: u64,
    pub(crate) partitions: u32,
}

/// The process that reads everything at the end.
pub(crate) const LAST_READER: Process = Process(999);

/// A history in which everything is as it should be.
pub(crate) fn history(seed: u64, size: Size) -> Vec<Event> {
    let mut model = Model::new(seed, size);
    for _ in 0..size.steps {
        model.step();
    }
    model.read_to_the_end();
    model.events
}

/// The same as text.
pub(crate) fn text(events: &[Event]) -> String {
    events.iter().map(|event| event.to_line() + "\n").collect()
}

/// Numbers from a seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Below `bound`, or 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).expect("a length is a u64");
        usize::try_from(self.next() % bound).expect("below a length")
    }

    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

/// A send under way.
#[derive(Debug)]
struct Open {
    process: Process,
    records: Vec<Sent>,
    /// Where its records went, once they did.
    applied: Option<Vec<(u32, Offset)>>,
    /// The client has given up on it.
    is_given_up: bool,
}

/// A record in the log.
#[derive(Debug)]
struct Record {
    value: Value,
    key: Option<String>,
}

#[derive(Debug)]
struct Model {
    rng: Rng,
    size: Size,
    events: Vec<Event>,
    /// By offset; markers take an offset and are not read.
    logs: Vec<Vec<Option<Record>>>,
    open: Vec<Open>,
    positions: BTreeMap<Process, BTreeMap<u32, usize>>,
    values: i64,
}

impl Model {
    fn new(seed: u64, size: Size) -> Self {
        let logs = (0..size.partitions).map(|_| Vec::new()).collect();
        let (events, open, positions) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { rng: Rng(seed), size, events, logs, open, positions, values: 0 }
    }

    fn write(&mut self, process: Process, phase: Phase, operation: Operation) {
        let time_us = 10 * u64::try_from(self.events.len()).expect("a length is a u64");
        self.events.push(Event::new(time_us, process, phase, operation));
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..25 => self.invoke(),
            25..45 => self.apply(),
            45..70 => self.complete(),
            70..96 => self.poll(),
            _ => self.jump(),
        }
    }

    fn invoke(&mut self) {
        let process = Process(self.rng.next() % self.size.producers);
        if self.open.iter().filter(|open| open.process == process && !open.is_given_up).count() >= 2 {
            return;
        }
        let count = if self.rng.percent(80) { 1 } else { 2 + self.rng.below(2) };
        let records = (0..count).map(|_| self.record()).collect::<Vec<_>>();
        let told: Vec<Sent> = records
            .iter()
            .map(|sent| Sent { partition: sent.partition.filter(|_| self.rng.percent(70)), ..sent.clone() })
            .collect();
        self.write(process, Phase::Invoke, Operation::Send(told));
        self.open.push(Open { process, records, applied: None, is_given_up: false });
    }

    fn record(&mut self) -> Sent {
        self.values += 1;
        let value = match self.values {
            number if number % 7 == 0 => Value::Text(format!("value {number}")),
            number => Value::Integer(number),
        };
        let key = u32::try_from(self.rng.below(6)).expect("below 6");
        let sent = Sent::new("t", value);
        let partitions = self.size.partitions;
        if key == 5 {
            let any = self.rng.next() % u64::from(partitions);
            return sent.partition(u32::try_from(any).expect("below the number of partitions"));
        }
        sent.partition(key % partitions).key(format!("key {key}"))
    }

    /// The log takes a send, whether or not somebody still waits for it.
    fn apply(&mut self) {
        let at = self.rng.below(self.open.len());
        let Some(open) = self.open.get_mut(at).filter(|open| open.applied.is_none()) else { return };
        let mut places = Vec::new();
        for sent in &open.records {
            let partition = sent.partition.expect("the model knows it");
            let log = &mut self.logs[partition as usize];
            if self.rng.percent(5) {
                log.push(None);
            }
            places.push((partition, Offset(log.len() as u64)));
            log.push(Some(Record { value: sent.value.clone(), key: sent.key.clone() }));
        }
        open.applied = Some(places);
        if open.is_given_up {
            self.open.swap_remove(at);
        }
    }

    fn complete(&mut self) {
        let at = self.rng.below(self.open.len());
        let Some(open) = self.open.get(at).filter(|open| !open.is_given_up) else { return };
        let process = open.process;
        let mut records = open.records.clone();
        let is_applied = open.applied.is_some();
        if self.rng.percent(8) {
            self.write(process, Phase::Info, Operation::Send(records));
            if is_applied {
                self.open.swap_remove(at);
            } else {
                self.open[at].is_given_up = true;
            }
            return;
        }
        if !is_applied {
            if self.rng.percent(20) {
                self.open.swap_remove(at);
                self.write(process, Phase::Fail, Operation::Send(records));
            }
            return;
        }
        let places = self.open.swap_remove(at).applied.unwrap_or_default();
        let tells = !self.rng.percent(5);
        for (sent, (partition, offset)) in records.iter_mut().zip(places) {
            sent.partition = Some(partition);
            sent.offset = Some(offset).filter(|_| tells);
        }
        self.write(process, Phase::Ok, Operation::Send(records));
    }

    fn consumer(&mut self) -> Process {
        Process(100 + self.rng.next() % self.size.consumers)
    }

    fn poll(&mut self) {
        let process = self.consumer();
        if self.rng.percent(50) {
            self.write(process, Phase::Invoke, Operation::Poll(Polled::default()));
        }
        let mut rebalanced = Vec::new();
        if self.rng.percent(3) {
            let partition = u32::try_from(self.rng.below(self.logs.len())).expect("it was a u32");
            self.positions.entry(process).or_default().insert(partition, 0);
            rebalanced.push(Partition::new("t", partition));
        }
        let records = self.read(process, 6);
        if self.rng.percent(3) {
            // It may have got them, or not.
            self.write(process, Phase::Info, Operation::Poll(Polled::default()));
            return;
        }
        let all = || (0..self.size.partitions).map(|index| Partition::new("t", index)).collect();
        let assignment = records.len().is_multiple_of(2).then(all);
        self.write(process, Phase::Ok, Operation::Poll(Polled { records, assignment, rebalanced }));
    }

    /// The next records of some partitions.
    fn read(&mut self, process: Process, records_max: usize) -> Vec<Read> {
        let positions = self.positions.entry(process).or_default();
        let mut records = Vec::new();
        for _ in 0..2 * records_max {
            let partition = u32::try_from(self.rng.below(self.logs.len())).expect("it was a u32");
            let position = positions.entry(partition).or_insert(0);
            let log = &self.logs[partition as usize];
            let next = log
                .iter()
                .enumerate()
                .skip(*position)
                .find_map(|(offset, record)| Some((offset, record.as_ref()?)));
            let Some((offset, Record { value, key })) = next else { continue };
            *position = offset + 1;
            let read = Read::new(Partition::new("t", partition), Offset(offset as u64), value.clone());
            records.push(Read { key: key.clone(), ..read });
            if records.len() == records_max {
                break;
            }
        }
        records
    }

    fn jump(&mut self) {
        let process = self.consumer();
        let partition = u32::try_from(self.rng.below(self.logs.len())).expect("it was a u32");
        let offset = self.rng.below(self.logs[partition as usize].len() + 1);
        let position = |offset| Position { partition: Partition::new("t", partition), offset };
        let told = position(Some(Offset(offset as u64)));
        let (phase, operation, at) = match self.rng.below(6) {
            0 => (Phase::Ok, Operation::Assign(vec![told]), Some((true, offset))),
            1 => (Phase::Ok, Operation::Assign(vec![position(None)]), Some((true, 0))),
            2 => (Phase::Ok, Operation::Seek(vec![told]), Some((false, offset))),
            3 => (Phase::Ok, Operation::Seek(vec![position(None)]), Some((false, offset))),
            4 => (Phase::Ok, Operation::Subscribe(vec!["t".to_owned()]), Some((true, 0))),
            _ => (Phase::Info, Operation::Crash, Some((true, 0))),
        };
        if let Some((forgets, offset)) = at {
            let positions = self.positions.entry(process).or_default();
            if forgets {
                positions.clear();
            }
            positions.insert(partition, offset);
        }
        self.write(process, phase, operation);
    }

    fn read_to_the_end(&mut self) {
        let positions = (0..self.size.partitions).map(|index| Partition::new("t", index));
        let positions = positions.map(|partition| Position { partition, offset: Some(Offset(0)) }).collect();
        self.write(LAST_READER, Phase::Ok, Operation::Assign(positions));
        let records = |log: &Vec<Option<Record>>| log.iter().flatten().count();
        let mut left: usize = self.logs.iter().map(records).sum();
        while left > 0 {
            let records = self.read(LAST_READER, 20);
            left -= records.len();
            self.write(LAST_READER, Phase::Ok, Operation::Poll(records.into()));
        }
        self.write(LAST_READER, Phase::Ok, Operation::Final(None));
    }
}
