//! From an accepted journal back to the state of a broker: replay of the snapshot's suffix, and what is given up by name
//! where the journal has holes (SAFETY J5).

use crate::cluster::image::Image;
use crate::cluster::records::MetadataRecord;
use crate::cluster::snapshot::{Damage, PartitionSnapshot, Snapshot};
use crate::ids::{Lsn, Offset, PartitionIndex, TopicPartition, Uuid};
use crate::journal::entry::Located;
use crate::journal::recovery::{JournalSource, RecoveryError};
use crate::journal::{AppendEntry, Entry, GroupRef, LsnRange, Plan};
use crate::log::Log;
use crate::records::{BATCH_HEADER_BYTES, BatchHeader};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

/// What a broker starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// The committed metadata.
    pub image: Image,
    /// The logs, with what is lost of them.
    pub partitions: BTreeMap<TopicPartition, RecoveredPartition>,
    /// Deleted topics whose files may still be there, with their number of partitions.
    pub drops: BTreeMap<Uuid, i32>,
    /// The last lsn; the next entry takes the one after it.
    pub end: Lsn,
    /// Number of the last run; 0 on an empty disk.
    pub boot: u64,
    /// The last run stopped in order.
    pub clean: bool,
}

/// One partition's log as recovered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveredPartition {
    /// Its log as numbers.
    pub log: Log,
    /// What of it is lost.
    pub damage: Option<Damage>,
}

/// Why a node must not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayError<E> {
    /// The journal cannot be read.
    Journal(RecoveryError<E>),
    /// Committed metadata is lost: the node no longer knows what it holds.
    MetadataLost {
        /// The first metadata offset that is missing.
        from: Offset,
    },
    /// The journal contradicts itself where its checksums are right: a defect, or files from elsewhere.
    Contradiction {
        /// The entry.
        lsn: Lsn,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl<E: fmt::Display> fmt::Display for ReplayError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::MetadataLost { from } => write!(
                f,
                "the journal is damaged where it held metadata from offset {from} on: this node cannot start without it; \
                 restore its folder from a copy, or move the folder away and start the node empty"
            ),
            Self::Contradiction { lsn, what } => write!(
                f,
                "journal entry {lsn}: {what}; the files do not belong together: restore the folder from a copy"
            ),
        }
    }
}

/// Reads the accepted groups once more, in order, and replays their entries onto the snapshot. `visit` is told of every
/// entry above the snapshot that is intact, with its file's number and its group's position, so that a store can index it.
///
/// # Errors
/// [`ReplayError`]: the node must not start.
pub fn replay<S: JournalSource>(
    source: &mut S,
    plan: &Plan,
    snapshot: Option<Snapshot>,
    visit: &mut dyn FnMut(u64, u64, &Located),
) -> Result<Recovered, ReplayError<S::Error>> {
    let mut replay = Replay::new(snapshot, &plan.damage);
    let mut rest = plan.groups.as_slice();
    while let Some(first) = rest.first() {
        let seq = first.seq;
        let count = rest.iter().take_while(|group| group.seq == seq).count();
        let (of_file, after) = rest.split_at(count);
        rest = after;
        source
            .with_file(seq, |bytes| of_file.iter().try_for_each(|group| replay.group(group, bytes, visit)))
            .map_err(|error| ReplayError::Journal(RecoveryError::Source(error)))?
            .map_err(Refusal::into_error)?;
    }
    replay.finish(plan).map_err(Refusal::into_error)
}

/// [`ReplayError`] without the journal's reading errors.
enum Refusal {
    MetadataLost(Offset),
    Contradiction(Lsn, &'static str),
}

impl Refusal {
    fn into_error<E>(self) -> ReplayError<E> {
        match self {
            Self::MetadataLost(from) => ReplayError::MetadataLost { from },
            Self::Contradiction(lsn, what) => ReplayError::Contradiction { lsn, what },
        }
    }
}

struct Replay<'a> {
    state: Recovered,
    /// Lost ranges of the journal, in order.
    holes: &'a [LsnRange],
    /// Logs by the last entry that proves them whole.
    proven: BTreeMap<TopicPartition, Lsn>,
}

impl<'a> Replay<'a> {
    fn new(snapshot: Option<Snapshot>, holes: &'a [LsnRange]) -> Self {
        let mut state = Recovered::default();
        if let Some(snapshot) = snapshot {
            state.end = snapshot.through;
            state.boot = snapshot.boot;
            let listed = snapshot.partitions.into_iter().map(restore_partition);
            state.partitions = every_partition(&snapshot.image).chain(listed).collect();
            state.image = snapshot.image;
            state.drops = snapshot.drops.into_iter().collect();
        }
        Self { state, holes, proven: BTreeMap::new() }
    }

    fn group(
        &mut self,
        group: &GroupRef,
        file: &[u8],
        visit: &mut dyn FnMut(u64, u64, &Located),
    ) -> Result<(), Refusal> {
        let unreadable =
            Refusal::Contradiction(group.prefix.first_lsn, "its group changed while it was read");
        let start = usize::try_from(group.position).ok().filter(|&start| start < file.len());
        let Some(bytes) = start.map(|start| &file[start..]) else {
            return Err(unreadable);
        };
        let entries = group.prefix.entries(bytes).map_err(|_| unreadable)?;
        let known = self.state.end;
        for located in entries.iter().filter(|located| located.lsn > known) {
            let damaged = group.damaged.contains(&located.lsn);
            self.entry(located, bytes, damaged)?;
            self.state.end = located.lsn;
            if !damaged {
                visit(group.seq, group.position, located);
            }
        }
        Ok(())
    }

    fn entry(&mut self, located: &Located, group: &[u8], damaged: bool) -> Result<(), Refusal> {
        let lsn = located.lsn;
        match &located.entry {
            Entry::Append(append) => self.append(located, append, group, damaged)?,
            Entry::EpochStart { partition, epoch, start } => {
                let Some(held) = self.held(*partition) else { return Ok(()) };
                if *start > held.log.end() {
                    held.lose(*start);
                } else if held.damage.is_none() {
                    held.log.begin_epoch(*epoch);
                    self.proven.insert(*partition, lsn);
                }
            }
            Entry::Metadata { offset, record, .. } => {
                if *offset != self.state.image.end() {
                    return Err(Refusal::MetadataLost(self.state.image.end()));
                }
                let record =
                    MetadataRecord::decode(record).map_err(|what| Refusal::Contradiction(lsn, what))?;
                self.metadata(*offset, &record);
            }
            Entry::ProducersExpired { partition, producers } => {
                if let Some(held) = self.held(*partition) {
                    held.log.expire(producers);
                }
            }
            Entry::Dropped { topic_id } => {
                self.state.drops.remove(topic_id);
            }
            Entry::Started { boot } => self.state.boot = *boot,
            Entry::Cut { partition, to } => {
                if let Some(held) = self.held(*partition)
                    && held.damage.is_none()
                    && (held.log.start()..=held.log.end()).contains(to)
                {
                    // Producers that cannot be taken back are gone.
                    let _ = held.log.truncate_to(*to);
                }
            }
            Entry::Reset { partition, start, .. } => {
                if let Some(held) = self.held(*partition) {
                    held.log.reset_to(*start);
                    held.damage = None;
                }
            }
            Entry::Stopped
            | Entry::Founded { .. }
            | Entry::Vote { .. }
            | Entry::MetadataCut { .. }
            | Entry::MetadataImage { .. }
            | Entry::Dropping { .. }
            | Entry::Trusted { .. } => {}
        }
        Ok(())
    }

    fn append(
        &mut self,
        located: &Located,
        append: &AppendEntry,
        group: &[u8],
        damaged: bool,
    ) -> Result<(), Refusal> {
        let Some(held) = self.held(append.partition) else { return Ok(()) };
        if append.base_offset < held.log.end() {
            return Err(Refusal::Contradiction(located.lsn, "it appends where the log already has records"));
        }
        if append.base_offset > held.log.end() {
            held.lose(append.base_offset);
        }
        if damaged {
            held.lose(append.next_offset());
        }
        if held.damage.is_some() {
            return Ok(());
        }
        let start = located.payload_at as usize;
        let header = group.get(start..start + BATCH_HEADER_BYTES).map(BatchHeader::parse);
        let Some(Ok(header)) = header else {
            return Err(Refusal::Contradiction(located.lsn, "its batch has no valid header"));
        };
        if !held.log.follows(&header) {
            return Err(Refusal::Contradiction(located.lsn, "its batch does not follow its log"));
        }
        if append.roll {
            held.log.roll();
        }
        held.log.append(&header, append.append_time);
        // What recovery accepted stays: nothing of it will be taken back.
        held.log.forget_undo_below(held.log.end());
        self.proven.insert(append.partition, located.lsn);
        Ok(())
    }

    fn metadata(&mut self, offset: Offset, record: &MetadataRecord) {
        if let MetadataRecord::RemoveTopic { topic_id } = record {
            let partitions = self.state.image.topic(*topic_id).map_or(0, |topic| topic.partitions.len());
            let partitions = i32::try_from(partitions).expect("partitions are numbered by i32");
            self.state.drops.insert(*topic_id, partitions);
            for index in 0..partitions {
                let partition = TopicPartition { topic_id: *topic_id, partition: PartitionIndex(index) };
                self.state.partitions.remove(&partition);
            }
        }
        self.state.image.replay(offset, record);
        if let MetadataRecord::Partition { topic_id, partition, .. } = record {
            let partition = TopicPartition { topic_id: *topic_id, partition: *partition };
            self.state.partitions.insert(partition, RecoveredPartition::default());
            // Created after every hole so far: nothing of it can be in one of them.
            self.proven.insert(partition, self.state.end.next());
        }
    }

    /// The partition, unless its topic was deleted by an earlier entry.
    fn held(&mut self, partition: TopicPartition) -> Option<&mut RecoveredPartition> {
        self.state.partitions.get_mut(&partition)
    }

    fn finish(mut self, plan: &Plan) -> Result<Recovered, Refusal> {
        let end = self.state.image.end();
        // A later group that names the same metadata end proves that no hole before it held metadata.
        let last_hole = self.holes.last().copied();
        let metadata_whole = match (plan.metadata_end, last_hole) {
            (Some(stated), _) => stated == end,
            (None, hole) => hole.is_none(),
        };
        if !metadata_whole {
            return Err(Refusal::MetadataLost(end));
        }
        if let Some(hole) = last_hole {
            for (partition, held) in &mut self.state.partitions {
                // Proof is a later entry that goes on where the log ended (SAFETY J5).
                if held.damage.is_none() && self.proven.get(partition).is_none_or(|&lsn| lsn < hole.first) {
                    held.damage = Some(Damage { from: held.log.end(), to: None });
                }
            }
        }
        self.state.end = plan.end;
        self.state.clean = plan.clean;
        self.state.image.check_invariants();
        Ok(self.state)
    }
}

impl RecoveredPartition {
    /// Everything from the log's end up to `to` is gone; what follows cannot be served.
    fn lose(&mut self, to: Offset) {
        let from = self.damage.map_or(self.log.end(), |damage| damage.from);
        self.damage = Some(Damage { from, to: Some(to) });
    }
}

/// Partitions without any history, which a snapshot leaves out.
fn every_partition(image: &Image) -> impl Iterator<Item = (TopicPartition, RecoveredPartition)> {
    image.topics().iter().flat_map(|(&topic_id, topic)| {
        (0..).zip(&topic.partitions).map(move |(index, _)| {
            (TopicPartition { topic_id, partition: PartitionIndex(index) }, RecoveredPartition::default())
        })
    })
}

fn restore_partition(held: PartitionSnapshot) -> (TopicPartition, RecoveredPartition) {
    (held.partition, RecoveredPartition { log: Log::from_snapshot(held.log), damage: held.damage })
}

/// The state of a broker as a [`Snapshot`]'s list of partitions.
pub(crate) fn partition_snapshot(
    partition: TopicPartition,
    log: &Log,
    damage: Option<Damage>,
) -> PartitionSnapshot {
    PartitionSnapshot { partition, log: log.to_snapshot(), damage }
}

/// Offsets that are lost, for logs and reports: `topic-partition [from, to)`.
#[must_use]
pub fn lost_offsets(recovered: &Recovered) -> Vec<(TopicPartition, Damage)> {
    recovered.partitions.iter().filter_map(|(&partition, held)| Some((partition, held.damage?))).collect()
}
