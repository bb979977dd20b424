//! Follows every consumer through the history: where it stood before each record that it read.
//!
//! ```text
//!   first poll, assign, subscribe, crash ──> Beginning   the log's beginning, or where its group left off
//!   assign or seek with an offset ─────────> At          the next record is the first at or behind it
//!   seek without offset, poll of type info > Elsewhere   nobody knows
//!   a record is read ──────────────────────> At          behind it
//! ```
//!
//! What a consumer reads of a partition from one jump to the next is a run. Steps to the very next offset are not kept.

use std::collections::BTreeMap;

use super::{Facts, Move, Moved, PartitionId, ReadId, RunId};
use crate::history::{Line, Offset, Process};

/// What the consumers did.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) leaps: Vec<Leap>,
    pub(crate) runs: Vec<Run>,
    /// By read.
    run_of: Vec<RunId>,
    pub(crate) finals: Vec<FinalRead>,
}

impl Walk {
    pub(crate) fn run_of(&self, read: ReadId) -> RunId {
        self.run_of[read.0]
    }
}

/// A step to another offset than the next one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leap {
    pub(crate) from: Origin,
    pub(crate) to: ReadId,
    /// Both records are of one poll.
    pub(crate) is_internal: bool,
}

/// From where a consumer goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin {
    /// It read this record.
    Read(ReadId),
    /// It was told to begin here.
    Told { offset: Offset, line: Line },
}

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) partition: PartitionId,
    /// From where on it would have seen everything.
    pub(crate) from: Offset,
    /// The highest offset that it read.
    pub(crate) highest: ReadId,
}

/// A process has read partitions to their ends.
#[derive(Debug)]
pub(crate) struct FinalRead {
    pub(crate) process: Process,
    pub(crate) line: Line,
    /// Each with the offset from which on it should have seen everything, and what it did read.
    pub(crate) partitions: Vec<(PartitionId, Offset, Option<RunId>)>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Stand {
    #[default]
    Beginning,
    Elsewhere,
    At {
        next: Offset,
        from: Origin,
        run: Option<RunId>,
    },
}

/// Where a consumer stands.
#[derive(Debug, Default)]
struct Consumer {
    stands: BTreeMap<PartitionId, Stand>,
    /// In all other partitions.
    others: Stand,
}

impl Consumer {
    fn forget(&mut self, others: Stand) {
        self.stands.clear();
        self.others = others;
    }

    fn set(&mut self, partition: PartitionId, offset: Option<Offset>, line: Line) {
        let stand = offset.map_or(Stand::Elsewhere, |offset| {
            let from = Origin::Told { offset, line };
            Stand::At { next: offset, from, run: None }
        });
        self.stands.insert(partition, stand);
    }

    fn stand(&self, partition: PartitionId) -> Stand {
        self.stands.get(&partition).copied().unwrap_or(self.others)
    }
}

pub(super) fn walk(facts: &Facts) -> Walk {
    let mut walk = Walk::default();
    let mut consumers: BTreeMap<Process, Consumer> = BTreeMap::new();
    for Move { process, line, what } in facts.moves() {
        let consumer = consumers.entry(*process).or_default();
        match what {
            Moved::Polled { reads, assignment, rebalanced } => {
                if let Some(assignment) = assignment {
                    consumer.stands.retain(|partition, _| assignment.contains(partition));
                }
                for partition in rebalanced {
                    consumer.stands.remove(partition);
                }
                let first = ReadId(reads.start);
                for read in reads.clone().map(ReadId) {
                    walk.on_read(facts, consumer, first, read, rebalanced);
                }
            }
            Moved::Astray => consumer.forget(Stand::Elsewhere),
            Moved::Began(positions) => {
                consumer.forget(Stand::Beginning);
                let told = positions.iter().filter(|(_, offset)| offset.is_some());
                told.for_each(|(partition, offset)| consumer.set(*partition, *offset, *line));
            }
            Moved::Sought(positions) => {
                positions.iter().for_each(|(partition, offset)| consumer.set(*partition, *offset, *line));
            }
            Moved::Final(partitions) => {
                let all = || (0..facts.partitions.len()).map(PartitionId).collect();
                let partitions = partitions.clone().unwrap_or_else(all);
                walk.on_final(*process, *line, consumer, &partitions);
            }
        }
    }
    walk
}

impl Walk {
    /// `first` is the first record of the same poll.
    fn on_read(
        &mut self,
        facts: &Facts,
        consumer: &mut Consumer,
        first: ReadId,
        id: ReadId,
        rebalanced: &[PartitionId],
    ) {
        let read = facts.read(id);
        let (from, run) = match consumer.stand(read.partition) {
            Stand::Beginning => (Offset(0), None),
            Stand::Elsewhere => (read.offset, None),
            Stand::At { next, from, run } => {
                if next != read.offset && !rebalanced.contains(&read.partition) {
                    let is_internal = matches!(from, Origin::Read(before) if before >= first);
                    self.leaps.push(Leap { from, to: id, is_internal });
                }
                (next, run)
            }
        };
        let run = run.unwrap_or_else(|| {
            self.runs.push(Run { partition: read.partition, from, highest: id });
            RunId(self.runs.len() - 1)
        });
        let highest = &mut self.runs[run.0].highest;
        if facts.read(*highest).offset < read.offset {
            *highest = id;
        }
        self.run_of.push(run);
        let next = read.offset.next();
        consumer.stands.insert(read.partition, Stand::At { next, from: Origin::Read(id), run: Some(run) });
    }

    fn on_final(&mut self, process: Process, line: Line, consumer: &Consumer, partitions: &[PartitionId]) {
        let mut covered = Vec::new();
        for &partition in partitions {
            match consumer.stand(partition) {
                Stand::Beginning => covered.push((partition, Offset(0), None)),
                Stand::Elsewhere => {}
                Stand::At { run: Some(run), .. } => {
                    covered.push((partition, self.runs[run.0].from, Some(run)));
                }
                Stand::At { next, run: None, .. } => covered.push((partition, next, None)),
            }
        }
        self.finals.push(FinalRead { process, line, partitions: covered });
    }
}
