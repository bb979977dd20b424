//! The modelled driver store of one process: the core's real journal bytes on a modelled disk, segments, snapshots, fills.
//!
//! ```text
//!   Output::Journal ─► open group ─► journal lane: (new file) write, sync ─► Durable
//!   Output::Store   ─► background lane: segments, snapshot, drop          ─► StoreDone, files released
//!   Output::Reply   ─► fill: places taken at once, bytes read late
//! ```
//!
//! * [`lane`]: disk operations that take time; * `journal`: groups and files; * `index`: where batches are; * `snapshot`:
//!   segments, snapshots, drops; * `compaction`: cleaning passes; * `fill`: reading; * `start`: recovery.
//!
//! Not here: what a crash of the machine does (`disk`), when the world calls (`world`).

mod compaction;
mod fill;
mod index;
mod journal;
pub mod lane;
mod snapshot;
mod start;

pub use fill::{PendingFill, PendingLook, PendingSend};
pub use index::{BatchRef, Place};
pub use journal::GroupAt;
pub use journal::stamped;
pub use start::{Reading, StartError, Visited, read};

use crate::disk::{Disk, Inode};
use crate::rng::Stream;
use bytes::Bytes;
use index::Index;
use journal::{Group, JournalFile, OpenGroup};
use lane::{Finished, Lane, Op, Pace};
use seedlog_core::cluster::snapshot::Snapshot;
use seedlog_core::config::FlushMode;
use seedlog_core::ids::{Lsn, NodeId, Offset, OpId, TopicPartition, Uuid};
use seedlog_core::log::{Compaction, Retention};
use snapshot::Segments;
use start::Fresh;
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

/// What a store is told of its node.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The node.
    pub node_id: NodeId,
    /// Its folder's incarnation.
    pub incarnation: Uuid,
    /// When data counts as durable.
    pub flush: FlushMode,
    /// Size of a journal file.
    pub file_bytes: u64,
    /// Batches that the tail cache holds.
    pub tail_batches: usize,
    /// About so many keys a cleaning pass takes at most.
    pub cleaner_keys_max: usize,
}

/// Which lane an operation runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LaneId {
    /// Groups, journal files, recovery.
    Journal = 0,
    /// Segments, snapshots, drops.
    Background = 1,
}

/// Ends of scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Done {
    FileReady { seq: u64, salt: u64, name: String, first_lsn: Lsn, recycled: bool },
    GroupWritten,
    Synced { through: Lsn },
    Recovered,
    SnapshotTaken { op: OpId, through: Lsn },
    SegmentsSynced { moved: Vec<(TopicPartition, BatchRef, String)> },
    TopicDropped { op: OpId, topic_id: Uuid, files: u64 },
    Compacted { op: OpId, partition: TopicPartition, compaction: Compaction },
}

/// What the world must know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The written end or the synced end moved.
    Durable,
    /// Everything up to here is truly on the platter.
    Platter(Lsn),
    /// A store command ended.
    StoreDone(OpId),
    /// A sync failed, or there is no room for a file.
    DiskFailed(&'static str),
    /// Recovery is done: the broker may start.
    Recovered,
    /// A group went to the disk: first lsn, entries, bytes.
    GroupWrite(Lsn, u32, usize),
    /// A group is written: the last entry, a hash of its bytes.
    GroupWritten(Lsn, u64),
    /// A file is ready: number, first lsn, whether it was used before.
    FileReady(u64, Lsn, bool),
    /// A file holds nothing that is needed.
    FileReleased(u64, Lsn, bool),
    /// A snapshot is being written: through, batches moved, bytes.
    Snapshot(Lsn, usize, usize),
    /// A snapshot is in place.
    SnapshotDone(Lsn),
    /// A topic's files are gone.
    Dropped(OpId, u64),
    /// A cleaning pass has written new segments.
    Compacted(OpId, TopicPartition, Compaction),
}

/// The store of one process.
#[derive(Debug)]
pub struct Store {
    config: StoreConfig,
    lanes: [Lane<Done>; 2],
    open: OpenGroup,
    in_flight: Option<Group>,
    /// Journal files by number: those that hold something, and the last one, which takes groups.
    files: BTreeMap<u64, JournalFile>,
    /// Files to be recycled, oldest first.
    spares: VecDeque<(u64, String)>,
    next_seq: u64,
    preparing: bool,
    written: Lsn,
    synced: Lsn,
    /// The greatest lsn that a group on its way to the disk states to be durable.
    stated: Lsn,
    index: Index,
    tail: VecDeque<(TopicPartition, Offset, Bytes)>,
    pins: BTreeMap<Inode, u32>,
    segments: Segments,
    fresh: Option<Fresh>,
    /// A snapshot, and the entry that must be on disk before it is planned.
    waiting_snapshot: Option<(OpId, Box<Snapshot>, Lsn)>,
    /// New segments that are not swapped in yet: whose, of which pass, and their batches.
    compacted: Option<(TopicPartition, Lsn, Vec<BatchRef>)>,
    /// Files that others have taken the place of, and the entry that must be on disk before they go.
    waiting_unlinks: VecDeque<(Lsn, Vec<String>)>,
    /// Removals that wait for their entry to be on disk.
    waiting_drops: VecDeque<(Lsn, OpId, Uuid)>,
    /// The last entry taken.
    pushed: Lsn,
    /// The greatest lsn that a group on the platter states to be durable.
    vouched: Lsn,
    interval_syncing: bool,
    failed: bool,
}

/// A disk as the store meets it at one moment.
pub struct DiskNow<'a> {
    /// The disk.
    pub disk: &'a mut Disk,
    /// Its randomness.
    pub rng: &'a mut Stream,
    /// There is no room for new files.
    pub full: bool,
    /// The next sync fails; taken when it has.
    pub sync_fails: &'a mut bool,
}

impl Store {
    /// Where a log is to start so that nothing too old or too much is in front; `timestamp` knows when the batch at an offset was
    /// written.
    #[must_use]
    pub fn find_expired(
        &self,
        partition: TopicPartition,
        up_to: Offset,
        retention: &Retention,
        timestamp: impl Fn(Offset) -> i64,
    ) -> Option<Offset> {
        let (ages, behind) = self.index.ages(partition, up_to, timestamp);
        retention.start(&ages, behind)
    }

    /// Starts what can be started in a lane: µs until it ends.
    pub fn start_lane(&mut self, lane: LaneId, pace: Pace, rng: &mut Stream) -> Option<u64> {
        if self.failed { None } else { self.lanes[lane as usize].start(pace, rng) }
    }

    /// Ends a lane's operation.
    pub fn finish_lane(&mut self, lane: LaneId, now: &mut DiskNow<'_>, signals: &mut Vec<Signal>) {
        let slot = &mut self.lanes[lane as usize];
        if self.failed && !slot.is_busy() {
            return; // It was the end of a script, which nobody is told of after a failure.
        }
        let fails = slot.is_syncing() && std::mem::take(now.sync_fails);
        match slot.finish(now.disk, fails, now.rng) {
            Finished::Next => {}
            Finished::SyncFailed => self.fail("sync: input/output error", signals),
            Finished::Done(done) => self.on_done(done, now, signals),
        }
    }

    fn fail(&mut self, why: &'static str, signals: &mut Vec<Signal>) {
        self.failed = true;
        signals.push(Signal::DiskFailed(why));
        // Never retried, never trusted (SAFETY J10): nothing more is written.
        self.lanes.iter_mut().for_each(Lane::halt);
    }

    fn on_done(&mut self, done: Done, now: &mut DiskNow<'_>, signals: &mut Vec<Signal>) {
        match done {
            Done::FileReady { seq, salt, name, first_lsn, recycled } => {
                self.on_file_ready(seq, salt, name, now.disk);
                signals.push(Signal::FileReady(seq, first_lsn, recycled));
                self.submit(now, signals);
            }
            Done::GroupWritten => self.on_group_written(now, signals),
            Done::Synced { through } => {
                self.synced = self.synced.max(through);
                self.interval_syncing = false;
                // A group that was sent meanwhile states more than what is on the platter by this sync.
                if self.in_flight.is_none() && !self.preparing {
                    self.vouched = self.stated;
                }
                self.plan_waiting_snapshot(now.disk, signals);
                self.plan_waiting_drops(now.disk);
                self.plan_waiting_unlinks();
                signals.push(Signal::Platter(through));
                signals.push(Signal::Durable);
                self.submit(now, signals);
            }
            Done::Recovered => {
                self.on_recovered(now.disk);
                signals.push(Signal::Recovered);
            }
            Done::SegmentsSynced { moved } => self.on_segments_synced(moved, now.disk),
            Done::SnapshotTaken { op, through } => {
                self.on_snapshot_done(through, now.disk, signals);
                signals.push(Signal::SnapshotDone(through));
                signals.push(Signal::StoreDone(op));
            }
            Done::Compacted { op, partition, compaction } => {
                self.on_compacted(partition, &compaction, now.disk);
                signals.push(Signal::Compacted(op, partition, compaction));
            }
            Done::TopicDropped { op, topic_id, files } => {
                self.index.drop_topic(topic_id);
                signals.push(Signal::Dropped(op, files));
                signals.push(Signal::StoreDone(op));
            }
        }
    }

    /// Entries wait for a group.
    #[must_use]
    pub fn has_entries(&self) -> bool {
        !self.open.is_empty()
    }

    /// There is something durable that no group states to be.
    #[must_use]
    pub fn wants_to_vouch(&self) -> bool {
        self.synced > self.stated && !self.failed
    }

    /// How far a group on the platter vouches.
    #[must_use]
    pub fn vouched(&self) -> Lsn {
        self.vouched
    }

    /// Whether a batch and all of its group are on the platter.
    #[must_use]
    pub fn is_on_platter(&self, batch: &BatchRef, disk: &Disk) -> bool {
        let place = batch.place;
        if place.in_segment {
            return disk.is_on_platter(place.inode, place.at, batch.bytes as usize);
        }
        self.group_of(place).is_some_and(|group| {
            disk.is_on_platter(place.inode, group.at, usize::try_from(group.bytes).unwrap_or(0))
        })
    }

    /// The entries that stand with a batch on the platter or not at all: those of its group, until it is in a segment.
    #[must_use]
    pub fn companions(&self, batch: &BatchRef) -> RangeInclusive<u64> {
        self.group_of(batch.place).map_or(batch.lsn.0..=batch.lsn.0, |group| group.first.0..=group.last.0)
    }

    fn group_of(&self, place: Place) -> Option<&GroupAt> {
        let file = self.files.values().find(|file| file.inode == place.inode)?;
        file.groups.iter().rev().find(|group| group.at <= place.at)
    }

    /// How far the journal is written.
    #[must_use]
    pub fn written(&self) -> Lsn {
        self.written
    }

    /// How far the journal is synced.
    #[must_use]
    pub fn synced(&self) -> Lsn {
        self.synced
    }

    /// A disk operation failed: the process is about to halt.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Nothing is waiting to be written or under way in the journal.
    #[must_use]
    pub fn journal_is_idle(&self) -> bool {
        self.lanes[LaneId::Journal as usize].is_idle() && self.open.is_empty() && self.in_flight.is_none()
    }

    /// The process dies: operations under way are done in part.
    pub fn crash(&mut self, disk: &mut Disk, rng: &mut Stream) {
        for lane in &mut self.lanes {
            lane.crash(disk, rng);
        }
    }

    /// Whether somebody still reads this file.
    #[must_use]
    pub fn holds(&self, inode: Inode) -> bool {
        self.pins.contains_key(&inode)
            || self.files.values().any(|file| file.inode == inode)
            || self.index.refers_to(inode)
    }

    fn pin(&mut self, inode: Inode) {
        *self.pins.entry(inode).or_insert(0) += 1;
    }

    fn unpin(&mut self, inode: Inode) {
        let count = self.pins.get_mut(&inode).expect("what is unpinned was pinned");
        *count -= 1;
        if *count == 0 {
            self.pins.remove(&inode);
        }
    }

    fn journal_lane(&mut self, ops: impl IntoIterator<Item = Op<Done>>) {
        self.lanes[LaneId::Journal as usize].extend(ops);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::{batch, entry, partition};
    use crate::rng::Purpose;
    use seedlog_core::ids::Generation;
    use seedlog_core::output::Extent;
    use seedlog_core::records::ProducedBatch;

    /// Runs both lanes until nothing is left to do.
    pub(super) fn run(store: &mut Store, disk: &mut Disk, rng: &mut Stream) {
        let (mut sync_fails, mut signals) = (false, Vec::new());
        while [LaneId::Journal, LaneId::Background].into_iter().any(|lane| {
            let begun = store.start_lane(lane, Pace { factor: 1 }, rng).is_some();
            if begun {
                let mut now = DiskNow { disk, rng, full: false, sync_fails: &mut sync_fails };
                store.finish_lane(lane, &mut now, &mut signals);
            }
            begun
        }) {}
    }

    pub(super) fn started(disk: &mut Disk, rng: &mut Stream) -> Store {
        let config = StoreConfig {
            node_id: NodeId(1),
            incarnation: Uuid::ZERO,
            flush: FlushMode::Always,
            file_bytes: 64 << 10,
            tail_batches: 0,
            cleaner_keys_max: 1_000,
        };
        let reading = read(disk.seen()).expect("an empty disk is one");
        let mut store = Store::start(config, &reading, disk, rng, false).expect("there is room");
        run(&mut store, disk, rng);
        store
    }

    #[test]
    fn batches_of_one_group_are_companions_and_a_flip_under_one_is_one_under_the_other() {
        let (mut disk, mut rng) = (Disk::default(), Stream::new(1, Purpose::Disk, 0));
        let mut store = started(&mut disk, &mut rng);
        for base in [0, 2] {
            let (header, bytes) = batch(base, i32::try_from(base).unwrap());
            store.push(&entry(&header), Some((&header, &bytes)));
        }
        let mut sync_fails = false;
        let mut now = DiskNow { disk: &mut disk, rng: &mut rng, full: false, sync_fails: &mut sync_fails };
        store.submit(&mut now, &mut Vec::new());
        run(&mut store, &mut disk, &mut rng);
        let find = |base| *store.find(partition(), Offset(base)).expect("it was written");
        let (first, second) = (find(0), find(2));
        assert_eq!(store.companions(&first), first.lsn.0..=second.lsn.0);
        assert_eq!(store.companions(&second), store.companions(&first));
        assert!(store.is_on_platter(&second, &disk));
        disk.flip(first.place.inode, first.place.at + 70, 0, false);
        assert!(!store.is_on_platter(&second, &disk));
    }

    #[test]
    fn batches_come_back_written_or_not_and_end_where_one_is_damaged() {
        let (mut disk, mut rng) = (Disk::default(), Stream::new(1, Purpose::Disk, 0));
        let mut store = started(&mut disk, &mut rng);
        let mut written = Vec::new();
        for base in [0, 2, 4] {
            let (header, bytes) = batch(base, i32::try_from(base).unwrap());
            store.push(&entry(&header), Some((&header, &bytes)));
            written.push(bytes);
        }
        let extent = |from, bytes_max| Extent {
            partition: partition(),
            generation: Generation(0),
            from: Offset(from),
            to: Offset(6),
            bytes_max,
        };
        let read = |store: &mut Store, disk: &Disk, extent: Extent| {
            let pending = store.take_extent(&extent);
            let (read, damaged) = store.fill_extent(pending, disk);
            let admitted = extent.admit(&read.concat().into());
            let offset = |batch: &ProducedBatch| batch.header.base_offset.0;
            (admitted.map(|read| read.iter().map(offset).collect::<Vec<_>>()), damaged.map(|(_, at)| at.0))
        };
        assert_eq!(read(&mut store, &disk, extent(0, 1_000_000)), (Some(vec![0, 2, 4]), None));
        let mut sync_fails = false;
        let mut now = DiskNow { disk: &mut disk, rng: &mut rng, full: false, sync_fails: &mut sync_fails };
        store.submit(&mut now, &mut Vec::new());
        run(&mut store, &mut disk, &mut rng);
        assert_eq!(read(&mut store, &disk, extent(0, 1_000_000)), (Some(vec![0, 2, 4]), None));
        assert_eq!(read(&mut store, &disk, extent(3, 1)), (Some(vec![2]), None), "from within a batch");
        let two = u32::try_from(written[0].len() + written[1].len()).unwrap();
        assert_eq!(read(&mut store, &disk, extent(0, two)), (Some(vec![0, 2]), None));
        assert_eq!(read(&mut store, &disk, extent(6, two)), (Some(vec![]), None));
        let second = *store.find(partition(), Offset(2)).expect("it was written");
        disk.flip(second.place.inode, second.place.at + 70, 0, true);
        assert_eq!(read(&mut store, &disk, extent(0, 1_000_000)), (Some(vec![0]), Some(2)));
        assert_eq!(read(&mut store, &disk, extent(2, 1_000_000)), (None, Some(2)));
        assert_eq!(read(&mut store, &disk, extent(4, 1_000_000)), (Some(vec![4]), None));
    }
}
