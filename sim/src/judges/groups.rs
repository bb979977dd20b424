//! What groups were told, whoever coordinated them: who owns what in which generation, and how far each partition was
//! committed. S22 and S23 read it; simulated members and the committed group log write it.

use super::{Judge, s22, s23};
use seedlog_core::group::records::{GroupRecord, OffsetCommitKey};
use seedlog_core::wire::Str;
use std::collections::{BTreeMap, BTreeSet};

/// A partition that a group reads: topic and index.
pub type Slot = (Str, i32);

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    by_id: BTreeMap<Str, Group>,
    /// How long offsets outlive their group, in µs, where that is judged.
    retention_us: Option<u64>,
    /// A coordinator could not read part of its log, and nobody else had it.
    has_gaps: bool,
}

/// One group.
#[derive(Debug, Default)]
pub struct Group {
    /// Who owns what.
    pub owners: s23::Owners,
    /// How far partitions were committed.
    pub offsets: BTreeMap<Slot, s22::Committed>,
    /// When a member was heard by its coordinator.
    pub contact: s22::Contact,
    /// What its own settings ever said of how often members are to be heard, in ms.
    pub heartbeats_ms: BTreeSet<i32>,
}

impl Groups {
    /// None yet, of a run in which offsets outlive their group for so long.
    #[must_use]
    pub fn new(retention_us: Option<u64>) -> Self {
        Self { by_id: BTreeMap::new(), retention_us, has_gaps: false }
    }

    /// A coordinator could not read part of its log: whatever it says of groups from here on is excused.
    pub fn excuse(&mut self) {
        self.has_gaps = true;
    }

    /// What coordinators say is judged.
    #[must_use]
    pub fn are_judged(&self) -> bool {
        !self.has_gaps
    }

    /// What is known of a group.
    pub fn group(&mut self, id: &Str) -> &mut Group {
        self.by_id.entry(id.clone()).or_default()
    }

    /// Who owns what in a group, if anything is known of it.
    #[must_use]
    pub fn owners(&self, id: &Str) -> Option<&s23::Owners> {
        self.by_id.get(id).map(|group| &group.owners)
    }

    /// A record of the group log is committed.
    ///
    /// # Errors
    /// A committed offset goes back, or vanishes though its group lives (S22); a partition has two owners (S23).
    pub fn on_committed(&mut self, now_us: u64, record: &GroupRecord) -> Result<(), (Judge, String)> {
        if self.has_gaps {
            return Ok(());
        }
        let retention_us = self.retention_us;
        match record {
            GroupRecord::Offset(key, value) => {
                let group = self.group(&key.group);
                let is_beyond = group.owners.is_beyond();
                let slot = group.offsets.entry(slot(key)).or_default();
                let said = match value {
                    Some(value) => {
                        let said = slot.on_logged(now_us, value.offset);
                        if is_beyond { Ok(()) } else { said }
                    }
                    None => slot.on_forgotten(now_us, &group.contact, retention_us),
                };
                let named = |says| format!("{}: {}-{}: {says}", key.group, key.topic, key.partition);
                said.map_err(|says| (Judge::S22, named(says)))
            }
            GroupRecord::Consumer(record) => {
                let said = self.group(record.group()).owners.on_consumer(record);
                said.map_err(|says| (Judge::S23, format!("{}: {says}", record.group())))
            }
            GroupRecord::Classic(key, None) => {
                self.group(&key.group).owners.begin_anew();
                Ok(())
            }
            GroupRecord::Classic(key, Some(value)) => {
                let said = self.group(&key.group).owners.on_logged(value);
                said.map_err(|says| (Judge::S23, format!("{}: {says}", key.group)))
            }
        }
    }
}

fn slot(key: &OffsetCommitKey) -> Slot {
    (key.topic.clone(), key.partition)
}
