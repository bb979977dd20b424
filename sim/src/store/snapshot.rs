//! Segments, snapshots and the removal of topics: what lets journal files go (SAFETY J9).

use super::index::{BatchRef, Place};
use super::lane::Op;
use super::{Done, LaneId, Signal, Store};
use crate::disk::{Disk, Inode, View};
use seedlog_core::cluster::snapshot::Snapshot;
use seedlog_core::ids::{LeaderEpoch, Lsn, Offset, OpId, TopicPartition, Uuid};
use seedlog_core::journal::format::{FormatError, seal, unseal};
use seedlog_core::output::StoreCommand;
use seedlog_core::records::BatchHeader;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The snapshot that counts.
pub(super) const SNAPSHOT: &str = "snapshot";
const SNAPSHOT_NEXT: &str = "snapshot.next";
const MAGIC: [u8; 8] = *b"SIMSNAP1";

/// The segment files.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// The one that takes batches, with its length.
    active: BTreeMap<TopicPartition, (String, u64)>,
    names: BTreeMap<Inode, String>,
    planned: BTreeSet<String>,
}

/// The snapshot file: the core's part and the store's table.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) core: Snapshot,
    pub(super) files: Vec<String>,
    pub(super) logs: Vec<(TopicPartition, Vec<StoredBatch>)>,
}

/// One batch in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredBatch {
    base: Offset,
    next: Offset,
    lsn: Lsn,
    epoch: LeaderEpoch,
    crc: u32,
    bytes: u32,
    roll: bool,
    file: u32,
    at: u64,
}

impl StoredBatch {
    /// A batch that stands at a place of a file.
    pub(super) fn new(batch: &BatchRef, (file, at): (u32, u64)) -> Self {
        let BatchRef { base, next, lsn, epoch, crc, bytes, roll, place: _ } = *batch;
        Self { base, next, lsn, epoch, crc, bytes, roll, file, at }
    }

    /// A batch that a pass left: the first of its file, or so many bytes behind it.
    pub(super) fn cleaned(header: &BatchHeader, is_first: bool, at: u64) -> Self {
        Self {
            base: header.base_offset,
            next: header.next_offset(),
            lsn: Lsn::ZERO,
            epoch: header.leader_epoch,
            crc: header.crc,
            bytes: header.batch_bytes,
            roll: is_first,
            file: 0,
            at,
        }
    }

    /// It, so many bytes behind where it says that it stands.
    pub(super) fn in_segment(self, inode: Inode, behind: u64) -> BatchRef {
        let Self { base, next, lsn, epoch, crc, bytes, roll, file: _, at } = self;
        let place = Place { inode, at: behind + at, in_segment: true };
        BatchRef { base, next, lsn, epoch, crc, bytes, roll, place }
    }
}

/// What a snapshot's script is made of while it is planned.
#[derive(Default)]
struct Planned {
    ops: Vec<Op<Done>>,
    touched: BTreeSet<String>,
    moved: Vec<(TopicPartition, BatchRef, String)>,
    files: Vec<String>,
    logs: Vec<(TopicPartition, Vec<StoredBatch>)>,
}

impl Segments {
    /// A file that is read has a name.
    pub(super) fn name(&mut self, inode: Inode, name: &str) {
        self.names.insert(inode, name.to_owned());
        self.planned.insert(name.to_owned());
    }

    /// The name of a file that is read.
    pub(super) fn name_of(&self, inode: Inode) -> Option<String> {
        self.names.get(&inode).cloned()
    }

    /// The file that takes a partition's batches.
    pub(super) fn active_inode(&self, partition: TopicPartition, disk: &Disk) -> Option<Inode> {
        self.active.get(&partition).and_then(|(name, _)| disk.lookup(name))
    }

    /// The next batch of a partition opens a new segment.
    pub(super) fn close(&mut self, partition: TopicPartition) {
        self.active.remove(&partition);
    }
}

impl Store {
    /// Takes a store command.
    pub fn command(&mut self, op: OpId, command: StoreCommand, disk: &Disk, signals: &mut Vec<Signal>) {
        match command {
            StoreCommand::Snapshot { snapshot } => {
                let needs = snapshot.through;
                self.waiting_snapshot = Some((op, snapshot, needs));
                self.plan_waiting_snapshot(disk, signals);
            }
            StoreCommand::Drop { topic_id, partitions: _ } => {
                self.waiting_drops.push_back((self.pushed, op, topic_id));
                self.plan_waiting_drops(disk);
            }
        }
    }

    /// A snapshot shows entries that are still on their way to the disk: it is written when they are there.
    pub(super) fn plan_waiting_snapshot(&mut self, disk: &Disk, signals: &mut Vec<Signal>) {
        let synced = self.synced;
        if let Some((op, snapshot, _)) = self.waiting_snapshot.take_if(|(_, _, needs)| *needs <= synced) {
            let (through, batches, bytes) = self.plan_snapshot(op, *snapshot, disk);
            signals.push(Signal::Snapshot(through, batches, bytes));
        }
    }

    fn plan_snapshot(&mut self, op: OpId, snapshot: Snapshot, disk: &Disk) -> (Lsn, usize, usize) {
        let through = snapshot.through;
        let mut planned = Planned::default();
        let held: BTreeSet<TopicPartition> = snapshot.partitions.iter().map(|held| held.partition).collect();
        let logs: Vec<_> = self.index.logs().map(|(partition, log)| (partition, log.to_vec())).collect();
        for (partition, log) in logs {
            if held.contains(&partition) {
                self.plan_log(partition, log.iter().filter(|batch| batch.lsn <= through), disk, &mut planned);
            }
        }
        let Planned { mut ops, touched, moved, files, logs } = planned;
        ops.extend(touched.into_iter().map(|name| Op::Sync { name }));
        ops.push(Op::SyncDir);
        let batches = moved.len();
        ops.push(Op::Done(Done::SegmentsSynced { moved }));
        let bytes = seal(MAGIC, &Stored { core: snapshot, files, logs });
        let size = bytes.len();
        let next = || SNAPSHOT_NEXT.to_owned();
        ops.extend([
            Op::Create { name: next() },
            Op::Write { name: next(), at: 0, bytes },
            Op::Sync { name: next() },
            Op::Rename { from: next(), to: SNAPSHOT.to_owned() },
            Op::SyncDir,
            Op::Done(Done::SnapshotTaken { op, through }),
        ]);
        self.lanes[LaneId::Background as usize].extend(ops);
        (through, batches, size)
    }

    fn plan_log<'a>(
        &mut self,
        partition: TopicPartition,
        batches: impl Iterator<Item = &'a BatchRef>,
        disk: &Disk,
        planned: &mut Planned,
    ) {
        let mut stored = Vec::new();
        for batch in batches {
            let (name, at) = if batch.place.in_segment {
                let name =
                    self.segments.names.get(&batch.place.inode).expect("a segment that is read has a name");
                (name.clone(), batch.place.at)
            } else {
                let bytes = disk.read(batch.place.inode, batch.place.at, batch.bytes as usize);
                let bytes = bytes.expect("a batch lies within its journal file").to_vec();
                let (name, at) = self.segment_for(partition, batch, &mut planned.ops);
                planned.ops.push(Op::Write { name: name.clone(), at, bytes });
                planned.touched.insert(name.clone());
                planned.moved.push((
                    partition,
                    BatchRef { place: Place { at, ..batch.place }, ..*batch },
                    name.clone(),
                ));
                (name, at)
            };
            if planned.files.last() != Some(&name) {
                planned.files.push(name);
            }
            let file = u32::try_from(planned.files.len() - 1).expect("files are few");
            stored.push(StoredBatch::new(batch, (file, at)));
        }
        if !stored.is_empty() {
            planned.logs.push((partition, stored));
        }
    }

    /// Where the next batch of a partition goes.
    fn segment_for(
        &mut self,
        partition: TopicPartition,
        batch: &BatchRef,
        ops: &mut Vec<Op<Done>>,
    ) -> (String, u64) {
        if batch.roll || !self.segments.active.contains_key(&partition) {
            // The entry is part of the name: after a cut another segment may begin at the same offset.
            let name = format!("{}-{:012}", segment_prefix(partition.topic_id), batch.base.0);
            let name = format!("{name}-{}-{}", partition.partition, batch.lsn);
            ops.push(Op::Create { name: name.clone() });
            self.segments.planned.insert(name.clone());
            self.segments.active.insert(partition, (name, 0));
        }
        let (name, len) = self.segments.active.get_mut(&partition).expect("made above");
        let at = *len;
        *len += u64::from(batch.bytes);
        (name.clone(), at)
    }

    pub(super) fn on_segments_synced(&mut self, moved: Vec<(TopicPartition, BatchRef, String)>, disk: &Disk) {
        for (partition, batch, name) in moved {
            let inode = disk.lookup(&name).expect("a segment that was synced is there");
            self.segments.names.insert(inode, name);
            self.index.moved(
                partition,
                (batch.base, batch.lsn),
                Place { inode, at: batch.place.at, in_segment: true },
            );
        }
    }

    pub(super) fn on_snapshot_done(&mut self, through: Lsn, disk: &mut Disk, signals: &mut Vec<Signal>) {
        self.release_files(through, signals);
        disk.forget_unnamed(|inode| self.holds(inode));
    }

    /// Files are removed once the entry that says so is on disk (SAFETY J8).
    pub(super) fn plan_waiting_drops(&mut self, disk: &Disk) {
        while let Some((_, op, topic_id)) = self.waiting_drops.pop_front_if(|(lsn, ..)| *lsn <= self.synced) {
            self.plan_drop(op, topic_id, disk);
        }
    }

    fn plan_drop(&mut self, op: OpId, topic_id: Uuid, disk: &Disk) {
        let prefix = segment_prefix(topic_id);
        let planned = self.segments.planned.iter().map(String::as_str);
        let names: BTreeSet<String> =
            disk.names().chain(planned).filter(|name| name.starts_with(&prefix)).map(str::to_owned).collect();
        self.segments.active.retain(|partition, _| partition.topic_id != topic_id);
        let files = names.len() as u64;
        let lane = &mut self.lanes[LaneId::Background as usize];
        lane.extend(names.into_iter().map(|name| Op::Unlink { name }));
        lane.extend([Op::SyncDir, Op::Done(Done::TopicDropped { op, topic_id, files })]);
    }

    /// Takes over a snapshot's table.
    pub(super) fn load_table(
        &mut self,
        files: &[String],
        logs: &[(TopicPartition, Vec<StoredBatch>)],
        disk: &Disk,
    ) {
        for (partition, batches) in logs {
            for batch in batches {
                let name = &files[batch.file as usize];
                // A topic that was being dropped has lost its files already.
                let Some(inode) = disk.lookup(name) else { continue };
                self.segments.name(inode, name);
                self.index.push(*partition, batch.in_segment(inode, 0));
                self.segments.active.insert(*partition, (name.clone(), batch.at + u64::from(batch.bytes)));
            }
        }
    }
}

/// The snapshot on a disk, if there is one.
pub(super) fn load(disk: View<'_>) -> Result<Option<Stored>, FormatError> {
    disk.lookup(SNAPSHOT).map(|inode| unseal(MAGIC, disk.content(inode))).transpose()
}

pub(super) fn segment_prefix(topic_id: Uuid) -> String {
    format!("segment-{topic_id}")
}
