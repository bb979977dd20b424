//! From an accepted journal back to the state of a broker: replay of the snapshot's suffix, and what is given up by name
//! where the journal has holes (SAFETY J5).

use crate::cluster::image::Image;
use crate::cluster::records::MetadataRecord;
use crate::cluster::snapshot::{Ballot, Cluster, Damage, PartitionSnapshot, QuorumSnapshot, Snapshot};
use crate::ids::{Lsn, Offset, TopicPartition, Uuid};
use crate::journal::entry::Located;
use crate::journal::recovery::{JournalSource, RecoveryError};
use crate::journal::{AppendEntry, Entry, GroupRef, LsnRange, Plan};
use crate::log::{Compaction, Log, ProducerTable, Truncated};
use crate::quorum::log::{MetadataEntry, MetadataLog};
use crate::records::{BATCH_HEADER_BYTES, BatchHeader};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// What a broker starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// What the node knows of the quorum.
    pub quorum: QuorumSnapshot,
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
    /// The journal has holes: a partition of the recovered metadata that has no log here may have lost all of it.
    pub has_holes: bool,
    /// Logs that may lack their last records: something behind the journal's end was cut that nothing vouched for
    /// (SAFETY J4).
    pub doubtful: BTreeSet<TopicPartition>,
    /// They are so since this recovery: the run writes it down.
    pub is_newly_doubtful: bool,
}

/// One partition's log as recovered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveredPartition {
    /// Its log as numbers.
    pub log: Log,
    /// The end of what was known to be committed. It may be old.
    pub high_watermark: Offset,
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
/// entry above the snapshot that is in force, with its file's number and its group's position, so that a store can index
/// it: batches that are damaged, or stand behind what a log lost, are in no log.
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
    /// The metadata log.
    log: MetadataLog,
    /// Parts of a snapshot of the metadata.
    image: Vec<u8>,
}

impl<'a> Replay<'a> {
    fn new(snapshot: Option<Snapshot>, holes: &'a [LsnRange]) -> Self {
        let mut state = Recovered::default();
        if let Some(snapshot) = snapshot {
            state.end = snapshot.through;
            state.boot = snapshot.boot;
            state.partitions = snapshot.partitions.into_iter().map(restore_partition).collect();
            state.quorum = snapshot.quorum;
            state.drops = snapshot.drops.into_iter().collect();
            state.doubtful = snapshot.doubtful.into_iter().collect();
        }
        let log = MetadataLog::new(core::mem::take(&mut state.quorum.log));
        Self { state, holes, proven: BTreeMap::new(), log, image: Vec::new() }
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
            let in_force = self.entry(located, bytes, damaged)?;
            self.state.end = located.lsn;
            if in_force {
                visit(group.seq, group.position, located);
            }
        }
        Ok(())
    }

    /// Gives back whether a store has to follow it.
    fn entry(&mut self, located: &Located, group: &[u8], damaged: bool) -> Result<bool, Refusal> {
        let lsn = located.lsn;
        self.state.quorum.chain = self.state.quorum.chain.with(&located.entry);
        match &located.entry {
            Entry::Append(append) => return self.append(located, append, group, damaged),
            Entry::EpochStart { partition, epoch, start } => {
                let held = self.state.partitions.entry(*partition).or_default();
                if *start != held.log.end() {
                    // An append or a cut was lost in a hole before.
                    held.lose(*start);
                } else if held.damage.is_none() {
                    held.log.begin_epoch(*epoch);
                    self.proven.insert(*partition, lsn);
                }
            }
            Entry::Cut { partition, to } => {
                let held = self.state.partitions.entry(*partition).or_default();
                if *to > held.log.end() {
                    held.lose(*to);
                } else if held.damage.is_none() {
                    held.cut(*to);
                }
            }
            Entry::Reset { partition, start, producers, tombstones_gone_to } => {
                let held = self.state.partitions.entry(*partition).or_default();
                held.log.reset_to(*start, *tombstones_gone_to);
                held.log.replace_producers(postcard::from_bytes(producers).unwrap_or_default());
                held.high_watermark = *start;
                held.damage = None;
                self.proven.insert(*partition, lsn);
            }
            Entry::ProducersExpired { partition, producers } => {
                if let Some(held) = self.held(*partition) {
                    held.log.expire(producers);
                }
            }
            Entry::Dropping { topic_id, partitions } => {
                self.state.partitions.retain(|partition, _| partition.topic_id != *topic_id);
                self.state.drops.insert(*topic_id, *partitions);
            }
            Entry::Dropped { topic_id } => {
                self.state.drops.remove(topic_id);
            }
            Entry::Trusted { partition } => {
                self.state.doubtful.remove(partition);
            }
            Entry::Damaged { partition, from } => {
                if let Some(held) = self.held(*partition) {
                    held.damage = Some(Damage { from: *from, to: None });
                }
            }
            Entry::LogStart { partition, start } => {
                self.held(*partition).into_iter().for_each(|held| held.advance_start(*start));
            }
            Entry::Compacted { partition, compaction } => {
                self.held(*partition).into_iter().for_each(|held| held.compacted(compaction));
            }
            Entry::Started { boot, is_doubtful } => {
                self.state.boot = *boot;
                if *is_doubtful {
                    self.doubt_all();
                }
            }
            Entry::Stopped => {}
            Entry::Metadata { .. }
            | Entry::MetadataCut { .. }
            | Entry::MetadataImage { .. }
            | Entry::Founded { .. }
            | Entry::Vote { .. } => self.quorum(lsn, &located.entry)?,
        }
        Ok(true)
    }

    fn quorum(&mut self, lsn: Lsn, entry: &Entry) -> Result<(), Refusal> {
        let quorum = &mut self.state.quorum;
        let log = &mut self.log;
        let contradiction = |what| Refusal::Contradiction(lsn, what);
        match entry {
            Entry::Metadata { offset, epoch, records } => {
                if *offset != log.log().end() {
                    return Err(Refusal::MetadataLost(log.log().end()));
                }
                MetadataRecord::decode(records).map_err(contradiction)?;
                if *epoch < log.last_epoch() {
                    return Err(contradiction("it goes back to an older term"));
                }
                log.append(MetadataEntry { epoch: *epoch, records: records.clone() });
            }
            Entry::MetadataCut { to } => {
                if *to > log.log().end() || *to < log.log().start() {
                    return Err(Refusal::MetadataLost(log.log().end()));
                }
                log.cut(*to);
            }
            Entry::MetadataImage { end, epoch, from, total, bytes } => {
                if *from == 0 {
                    self.image.clear();
                }
                self.image.extend_from_slice(bytes);
                if self.image.len() as u64 == *total {
                    let image = postcard::from_bytes(&self.image)
                        .map_err(|_| contradiction("its snapshot of the metadata cannot be read"))?;
                    quorum.image = image;
                    log.reset(*end, *epoch);
                    self.image = Vec::new();
                }
            }
            Entry::Founded { cluster_id, voters } => {
                quorum.image = Image::founded(voters.clone());
                quorum.cluster = Some(Cluster { id: *cluster_id, voters: voters.clone() });
            }
            Entry::Vote { epoch, candidate } => {
                quorum.ballot = Ballot { epoch: *epoch, candidate: *candidate };
            }
            Entry::Append(_)
            | Entry::EpochStart { .. }
            | Entry::ProducersExpired { .. }
            | Entry::Dropped { .. }
            | Entry::Started { .. }
            | Entry::Stopped
            | Entry::Cut { .. }
            | Entry::Reset { .. }
            | Entry::Dropping { .. }
            | Entry::Trusted { .. }
            | Entry::Damaged { .. }
            | Entry::LogStart { .. }
            | Entry::Compacted { .. } => unreachable!("the caller took these"),
        }
        Ok(())
    }

    /// Gives back whether the batch is in its log.
    fn append(
        &mut self,
        located: &Located,
        append: &AppendEntry,
        group: &[u8],
        damaged: bool,
    ) -> Result<bool, Refusal> {
        // What a hole took may have been a cut, or the begin of another log.
        let behind_hole = self.holes.iter().any(|hole| hole.first < located.lsn);
        let held = self.state.partitions.entry(append.partition).or_default();
        let reaches_over_start = held.log.is_empty() && append.next_offset() > held.log.end();
        if append.base_offset < held.log.end() && !reaches_over_start && held.damage.is_none() {
            if !behind_hole {
                let what = "it appends where the log already has records";
                return Err(Refusal::Contradiction(located.lsn, what));
            }
            held.lose(append.next_offset());
        }
        if append.base_offset > held.log.end() {
            held.lose(append.base_offset);
        }
        if damaged {
            held.lose(append.next_offset());
        }
        if held.damage.is_some() {
            return Ok(false);
        }
        let start = located.payload_at as usize;
        let header = group.get(start..start + BATCH_HEADER_BYTES).map(BatchHeader::parse);
        let Some(Ok(header)) = header else {
            return Err(Refusal::Contradiction(located.lsn, "its batch has no valid header"));
        };
        if !held.log.follows(&header) {
            if behind_hole {
                held.lose(append.next_offset());
                return Ok(false);
            }
            return Err(Refusal::Contradiction(located.lsn, "its batch does not follow its log"));
        }
        if append.roll {
            held.log.roll();
        }
        held.log.append(&header, append.append_time);
        held.log.forget_undo_below(held.high_watermark);
        self.proven.insert(append.partition, located.lsn);
        Ok(true)
    }

    fn doubt_all(&mut self) {
        self.state.doubtful = self.state.partitions.keys().copied().collect();
        self.state.doubtful.insert(TopicPartition::METADATA);
    }

    /// The partition, unless its topic was deleted by an earlier entry.
    fn held(&mut self, partition: TopicPartition) -> Option<&mut RecoveredPartition> {
        self.state.partitions.get_mut(&partition)
    }

    fn finish(mut self, plan: &Plan) -> Result<Recovered, Refusal> {
        // A later group with the same digest proves that no hole before it held what the quorum rests on.
        let last_hole = self.holes.last().copied();
        let quorum_whole = match (plan.quorum, last_hole) {
            (Some(stated), _) => stated == self.state.quorum.chain,
            (None, hole) => hole.is_none(),
        };
        if !quorum_whole {
            return Err(Refusal::MetadataLost(self.log.log().end()));
        }
        self.state.has_holes = last_hole.is_some();
        // A hole may hold the numbers of runs: each of its entries may have been one (SAFETY R2).
        self.state.boot += self.holes.iter().map(|hole| hole.last.0 + 1 - hole.first.0).sum::<u64>();
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
        self.state.is_newly_doubtful = plan.is_doubtful;
        if plan.is_doubtful {
            self.doubt_all();
        }
        self.state.quorum.log = self.log.to_snapshot();
        self.state.quorum.image.check_invariants();
        Ok(self.state)
    }
}

impl Recovered {
    /// A topic's name, whether its record is known to be committed or not.
    #[must_use]
    pub fn topic_name(&self, topic_id: Uuid) -> Option<String> {
        if let Some(topic) = self.quorum.image.topic(topic_id) {
            return Some(topic.name.clone());
        }
        let records =
            self.quorum.log.entries.iter().filter_map(|entry| MetadataRecord::decode(&entry.records).ok());
        records.flatten().find_map(|record| match record {
            MetadataRecord::Topic { topic_id: found, name, .. } => (found == topic_id).then_some(name),
            MetadataRecord::LeaderChange { .. }
            | MetadataRecord::Voters { .. }
            | MetadataRecord::RegisterBroker { .. }
            | MetadataRecord::BrokerState { .. }
            | MetadataRecord::Partition { .. }
            | MetadataRecord::PartitionChange { .. }
            | MetadataRecord::Reassignment { .. }
            | MetadataRecord::RemoveTopic { .. }
            | MetadataRecord::ProducerIds { .. }
            | MetadataRecord::TopicConfig { .. }
            | MetadataRecord::GroupConfig { .. } => None,
        })
    }
}

impl RecoveredPartition {
    /// Everything from the log's end up to `to` is gone; what follows cannot be served.
    fn lose(&mut self, to: Offset) {
        let from = self.damage.map_or(self.log.end(), |damage| damage.from);
        self.damage = Some(Damage { from, to: Some(to) });
    }

    fn advance_start(&mut self, start: Offset) {
        if self.damage.is_some() {
            return;
        }
        if start > self.log.end() {
            self.lose(start);
        } else {
            self.log.advance_start(start);
            // Only what is committed is deleted.
            self.high_watermark = self.high_watermark.max(start);
        }
    }

    fn compacted(&mut self, compaction: &Compaction) {
        if self.damage.is_some() {
            return;
        }
        if compaction.to > self.log.end() {
            self.lose(compaction.to);
        } else {
            self.log.compacted(compaction.cleaned_to, compaction.tombstones_gone_to);
            // Only what is committed is cleaned.
            self.high_watermark = self.high_watermark.max(compaction.to);
        }
    }

    fn cut(&mut self, to: Offset) {
        let to = to.max(self.log.start());
        if let Truncated::ProducersLost = self.log.truncate_to(to) {
            self.log.replace_producers(ProducerTable::default());
        }
        self.high_watermark = self.high_watermark.min(to);
    }
}

fn restore_partition(held: PartitionSnapshot) -> (TopicPartition, RecoveredPartition) {
    (
        held.partition,
        RecoveredPartition {
            log: Log::from_snapshot(held.log),
            high_watermark: held.high_watermark,
            damage: held.damage,
        },
    )
}

/// Offsets that are lost, for logs and reports: `topic-partition [from, to)`.
#[must_use]
pub fn lost_offsets(recovered: &Recovered) -> Vec<(TopicPartition, Damage)> {
    recovered.partitions.iter().filter_map(|(&partition, held)| Some((partition, held.damage?))).collect()
}
