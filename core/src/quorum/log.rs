//! The metadata log on this node: its numbers, and its last entries, which are small enough to be kept in memory.

use crate::cluster::image::Image;
use crate::cluster::records::{MetadataRecord, Voter};
use crate::ids::{LeaderEpoch, Lsn, Offset};
use crate::journal::Entry;
use crate::log::{Log, LogSnapshot, Truncated};
use crate::replica::durable::DurableEnd;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataEntry {
    /// The term of the leader that wrote it.
    pub epoch: LeaderEpoch,
    /// Its records, encoded.
    pub records: Vec<u8>,
}

/// The metadata log from its start on, as recovery or a snapshot left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataLogSnapshot {
    /// Its numbers. It starts at the end of the image that stands before it.
    pub log: LogSnapshot,
    /// Its entries.
    pub entries: Vec<MetadataEntry>,
    /// The term of the entry before its start.
    pub base_epoch: LeaderEpoch,
}

impl Default for MetadataLogSnapshot {
    fn default() -> Self {
        Self { log: Log::default().to_snapshot(), entries: Vec::new(), base_epoch: LeaderEpoch(0) }
    }
}

/// The metadata log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataLog {
    log: Log,
    entries: VecDeque<MetadataEntry>,
    base_epoch: LeaderEpoch,
    durable: DurableEnd,
}

impl MetadataLog {
    /// The log as recovery left it: all of it is on disk.
    #[must_use]
    pub fn new(snapshot: MetadataLogSnapshot) -> Self {
        let log = Log::from_snapshot(snapshot.log);
        assert!(log.end().0 - log.start().0 == i64::try_from(snapshot.entries.len()).unwrap_or(i64::MAX));
        let durable = DurableEnd::new(log.end());
        Self { log, entries: snapshot.entries.into(), base_epoch: snapshot.base_epoch, durable }
    }

    /// All of it.
    #[must_use]
    pub fn to_snapshot(&self) -> MetadataLogSnapshot {
        MetadataLogSnapshot {
            log: self.log.to_snapshot(),
            entries: self.entries.iter().cloned().collect(),
            base_epoch: self.base_epoch,
        }
    }

    /// Appends an entry. Gives out the journal entry; the caller says its lsn with [`MetadataLog::appended_as`].
    pub fn append(&mut self, entry: MetadataEntry) -> Entry {
        assert!(entry.epoch >= self.last_epoch(), "terms only grow");
        let offset = self.log.end();
        self.log.append_entry(entry.epoch);
        let journaled = Entry::Metadata { offset, epoch: entry.epoch, records: entry.records.clone() };
        self.entries.push_back(entry);
        journaled
    }

    /// The last append took this number in the journal.
    pub fn appended_as(&mut self, lsn: Lsn) {
        self.durable.appended(lsn, self.log.end());
    }

    /// Cuts the log at `to`.
    pub fn cut(&mut self, to: Offset) -> Entry {
        self.durable.cut(to);
        let keep = usize::try_from(to.0 - self.log.start().0).expect("a cut lies within the log");
        self.entries.truncate(keep);
        match self.log.truncate_to(to) {
            Truncated::Done | Truncated::ProducersLost => {}
        }
        Entry::MetadataCut { to }
    }

    /// Begins anew behind a snapshot of everything before `end`.
    pub fn reset(&mut self, end: Offset, epoch: LeaderEpoch) {
        self.log.reset_to(end, Offset::ZERO);
        self.entries.clear();
        self.base_epoch = epoch;
        self.durable.reset(end);
    }

    /// Forgets committed entries beyond the last `keep`: who needs them gets a snapshot.
    pub fn trim(&mut self, committed: Offset, keep: usize) {
        while self.entries.len() > keep && self.log.start() < committed {
            if let Some(gone) = self.entries.pop_front() {
                self.base_epoch = gone.epoch;
                let start = self.log.start().plus(1);
                self.log.advance_start(start);
            }
        }
    }

    /// The entries from `from` up to `to`, at most about `bytes_max` of them, and at least one.
    #[must_use]
    pub fn read(&self, from: Offset, to: Offset, bytes_max: u64) -> Vec<(LeaderEpoch, Vec<u8>)> {
        let skip = usize::try_from(from.0 - self.log.start().0).expect("read within the log");
        let count = usize::try_from(to.0 - from.0).expect("in order");
        let mut bytes = 0;
        let mut found = Vec::new();
        for entry in self.entries.iter().skip(skip).take(count) {
            bytes += entry.records.len() as u64;
            if !found.is_empty() && bytes > bytes_max {
                break;
            }
            found.push((entry.epoch, entry.records.clone()));
        }
        found
    }

    /// The records of the entry at `offset`.
    #[must_use]
    pub fn records_at(&self, offset: Offset) -> Option<Vec<MetadataRecord>> {
        let index = usize::try_from(offset.0 - self.log.start().0).ok()?;
        let entry = self.entries.get(index)?;
        Some(MetadataRecord::decode(&entry.records).expect("an entry is checked before it is appended"))
    }

    /// The voters by the image, and by every record behind it that names them: the last list is in force from its append on.
    #[must_use]
    pub fn voter_lists(&self, image: &Image) -> Vec<Vec<Voter>> {
        let mut lists = alloc::vec![image.voters().to_vec()];
        let mut at = image.end().max(self.log.start());
        while let Some(records) = self.records_at(at) {
            at = at.plus(1);
            lists.extend(records.into_iter().filter_map(|record| match record {
                MetadataRecord::Voters { voters } => Some(voters),
                MetadataRecord::LeaderChange { .. }
                | MetadataRecord::RegisterBroker { .. }
                | MetadataRecord::BrokerState { .. }
                | MetadataRecord::Topic { .. }
                | MetadataRecord::Partition { .. }
                | MetadataRecord::PartitionChange { .. }
                | MetadataRecord::Reassignment { .. }
                | MetadataRecord::RemoveTopic { .. }
                | MetadataRecord::ProducerIds { .. }
                | MetadataRecord::TopicConfig { .. }
                | MetadataRecord::GroupConfig { .. } => None,
            }));
        }
        lists
    }

    /// The term of the last entry.
    #[must_use]
    pub fn last_epoch(&self) -> LeaderEpoch {
        self.log.latest_epoch().unwrap_or(self.base_epoch).max(self.base_epoch)
    }

    /// The term of the entry before the log's start.
    #[must_use]
    pub fn base_epoch(&self) -> LeaderEpoch {
        self.base_epoch
    }

    /// The term of the entry before `offset`, which is in the log, or its start.
    #[must_use]
    pub fn epoch_before(&self, offset: Offset) -> Option<LeaderEpoch> {
        let start = self.log.start();
        if offset > start {
            self.log.epoch_at(Offset(offset.0 - 1))
        } else {
            (offset == start && start > Offset::ZERO).then_some(self.base_epoch)
        }
    }

    /// The log's numbers.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What is durable of it.
    #[must_use]
    pub fn durable(&self) -> &DurableEnd {
        &self.durable
    }

    /// The journal is durable up to `lsn`. `true`: the durable end moved.
    pub fn on_durable(&mut self, lsn: Lsn) -> bool {
        self.durable.on_durable(lsn)
    }

    /// What must hold after every step.
    pub fn check_invariants(&self) {
        assert!(self.durable.end() <= self.log.end());
        assert!(
            self.log.end().0 - self.log.start().0 == i64::try_from(self.entries.len()).unwrap_or(i64::MAX)
        );
    }
}
