//! What the store does beside the journal: rounds of writing behind, snapshots, drops, room on the disk.
//!
//! Each is a future that the store polls among its other work; its result changes the store's tables in one go. A drop or a cut
//! excludes rounds, removals and the other one, so that a round never writes into a folder or a file that is being removed.

use super::Store;
use super::StoreEvent;
use super::clean::Outcome;
use super::disk::{Disk, Lane, Room, is_out_of_space};
use super::error::StoreError;
use super::folder::{SNAPSHOT, replace};
use super::journal::{Prepared, SPACE_RETRY};
use super::recovery::{SNAPSHOT_MAGIC, StoreSnapshot};
use super::removals::remove;
use super::segment::{Segment, SegmentTable, parse_partition_dir};
use super::segments::{Round, RoundError, Written};
use seedlog_core::cluster::snapshot::Snapshot;
use seedlog_core::ids::{Lsn, OpId, TopicPartition, Uuid};
use seedlog_core::input::{LogDir, ReadResult};
use seedlog_core::journal::format::seal;
use seedlog_core::records::ProducedBatch;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// A change of free room that is worth telling.
const SPACE_CHANGE_BYTES: u64 = 16 << 20;
/// How often the room on the disk is looked at while there is some.
const SPACE_LOOK: Duration = Duration::from_secs(5);

/// A piece of work that advances while the store waits.
pub(super) type Task<F> = Pin<Box<dyn Future<Output = Done<F>> + Send>>;

/// What a piece of work came to.
#[derive(Debug)]
pub(super) enum Done<F> {
    Prepared(Prepared<F>),
    Look { op: OpId, result: ReadResult },
    Batches { op: OpId, batches: Option<Vec<ProducedBatch>> },
    Round(Result<Vec<Written>, RoundError>),
    Snapshot { op: OpId, through: Lsn, result: Result<(), StoreError> },
    Dropped { op: OpId, result: io::Result<()> },
    Cut(io::Result<Vec<(TopicPartition, Segment)>>),
    SegmentsRemoved(io::Result<()>),
    Removed { op: Option<OpId> },
    Compacted { op: OpId, outcome: Outcome },
    Space(io::Result<Room>),
    Measured { op: OpId, sizes: Vec<(TopicPartition, u64)>, room: io::Result<Room> },
}

/// What is under way and what waits.
#[derive(Debug, Default)]
pub(super) struct Duties {
    /// A round is being written.
    round: bool,
    /// Segments that their logs' starts have passed are being removed.
    removal: bool,
    /// A topic is being dropped, or segments are being cut.
    alone: bool,
    round_retry_at: Option<Instant>,
    /// Batches up to here are wanted in segments, however few there are: some that are complete are still in the journal.
    asked_through: Lsn,
    /// Nothing more was vouched for than at this lsn when a round found nothing to do.
    nothing_due_at: Option<Lsn>,
    snapshot: Option<(OpId, Box<Snapshot>)>,
    /// The snapshot's file is being written.
    writing_snapshot: bool,
    pub(super) drops: VecDeque<(OpId, Uuid)>,
    looking_for_space: bool,
    space_at: Option<Instant>,
    free_reported: Option<u64>,
    /// The last round found no room. Only the next one shows that there is some again.
    segments_full: bool,
}

impl<D: Disk> Store<D> {
    pub(super) fn ask_snapshot(&mut self, op: OpId, snapshot: Box<Snapshot>) {
        if self.duties.snapshot.is_some() || self.duties.writing_snapshot {
            let result = Err("another snapshot is being written".to_owned());
            self.events.push_back(StoreEvent::StoreDone { op, result });
            return;
        }
        self.duties.nothing_due_at = None;
        self.duties.snapshot = Some((op, snapshot));
    }

    /// Starts whatever is due; `true` if something new must be polled.
    pub(super) fn start_due(&mut self) -> bool {
        let before = self.tasks.len();
        for work in self.journal.prepare() {
            self.tasks.push(Box::pin(async move { Done::Prepared(work.await) }));
        }
        // First of all: one round may follow the other without a pause.
        self.start_snapshot();
        if !self.duties.alone {
            self.start_files();
        }
        self.tasks.len() > before
    }

    /// Starts work on segments, unless what must be done alone waits for what is under way.
    fn start_files(&mut self) {
        let drops = self.duties.drops.front().is_some_and(|(_, topic_id)| !self.cleaning.stop(*topic_id));
        let cuts = self.cuts.are_due(self.journal.vouched());
        if drops || cuts {
            self.duties.alone = !self.duties.round && !self.duties.removal;
            match self.duties.drops.pop_front_if(|_| drops && self.duties.alone) {
                Some((op, topic_id)) => self.start_drop(op, topic_id),
                None if self.duties.alone => self.start_cuts(),
                None => {}
            }
            return;
        }
        if !self.duties.removal {
            self.start_removal();
        }
        if !self.duties.round && !self.cuts.is_pending() && self.is_round_due() {
            self.start_round();
        }
    }

    fn start_removal(&mut self) {
        let gone = self.cuts.start_removals(self.journal.vouched());
        if gone.is_empty() {
            return;
        }
        self.duties.removal = true;
        let (disk, dir) = (self.disk.clone(), self.options.log_dir.clone());
        self.tasks.push(Box::pin(async move { Done::SegmentsRemoved(remove(&disk, &dir, &gone).await) }));
    }

    fn is_round_due(&self) -> bool {
        let lagging = self.index.unsegmented_bytes() >= self.options.write_behind_bytes;
        let index_filling = self.index.unsegmented_memory_bytes() >= self.options.index_bytes_max / 4;
        let for_snapshot = self
            .duties
            .snapshot
            .as_ref()
            .is_some_and(|(_, snapshot)| !self.index.is_segmented_through(snapshot.through));
        let is_asked = || !self.index.is_segmented_through(self.duties.asked_through);
        let has_batches = self.index.unsegmented_bytes() > 0;
        has_batches
            && (lagging || index_filling || for_snapshot || is_asked())
            && self.duties.round_retry_at.is_none()
            && self.duties.nothing_due_at != Some(self.journal.vouched())
    }

    /// Batches are to go to segments now, however few there are.
    pub(super) fn ask_round(&mut self) {
        self.duties.asked_through = self.journal.vouched();
        self.duties.nothing_due_at = None;
    }

    fn start_round(&mut self) {
        // Only what no recovery can cut goes to segments: they are never ahead of the journal.
        let jobs = self.index.plan_round(self.journal.vouched(), self.options.write_behind_bytes);
        if jobs.is_empty() {
            self.duties.nothing_due_at = Some(self.journal.vouched());
            self.duties.segments_full = false;
            return;
        }
        let last = |segments: &Vec<Segment>| segments.last().copied();
        let jobs = jobs.into_iter().map(|job| {
            let segment = self.segments.get(&job.partition).and_then(last);
            (job, segment)
        });
        let round = Round {
            disk: self.disk.clone(),
            log_dir: self.options.log_dir.clone(),
            interval_bytes: self.options.index_interval_bytes,
            jobs: jobs.collect(),
        };
        self.duties.round = true;
        self.cuts.begin_round();
        self.tasks.push(Box::pin(async move { Done::Round(round.run().await) }));
    }

    fn start_snapshot(&mut self) {
        let Some((_, snapshot)) = &self.duties.snapshot else { return };
        let through = snapshot.through;
        let vouched = self.journal.vouched();
        let ready = vouched >= through && self.index.is_segmented_through(through);
        if !ready || !self.cuts.is_settled(vouched) || self.duties.round || self.duties.alone {
            return;
        }
        let (op, snapshot) = self.duties.snapshot.take().expect("it was looked at above");
        self.duties.writing_snapshot = true;
        let file = StoreSnapshot { core: *snapshot, table: self.cuts.taken(&self.segments) };
        let (disk, dir) = (self.disk.clone(), self.options.log_dir.clone());
        self.tasks.push(Box::pin(async move {
            let result = write_snapshot(&disk, &dir, file).await;
            Done::Snapshot { op, through, result }
        }));
    }

    fn start_drop(&mut self, op: OpId, topic_id: Uuid) {
        self.index.drop_topic(topic_id);
        self.segments.retain(|partition, _| partition.topic_id != topic_id);
        self.files.forget_topic(topic_id);
        self.cuts.retain(|partition| partition.topic_id != topic_id);
        let (disk, dir) = (self.disk.clone(), self.options.log_dir.clone());
        self.tasks.push(Box::pin(async move {
            let result = remove_topic(&disk, &dir, topic_id).await;
            Done::Dropped { op, result }
        }));
    }

    /// Lets go of journal files, then reports the operation that waited for that.
    pub(super) fn release(&mut self, through: Lsn, op: Option<OpId>) {
        let paths = self.journal.release(through);
        let disk = self.disk.clone();
        self.tasks.push(Box::pin(async move {
            for path in paths {
                if let Err(error) = disk.remove(Lane::Prepare, &path).await {
                    tracing::warn!("{} is no longer needed and cannot be removed: {error}", path.display());
                }
            }
            Done::Removed { op }
        }));
    }

    pub(super) fn on_done(&mut self, done: Done<D::File>) {
        match done {
            Done::Prepared(prepared) => match self.journal.on_prepared(prepared, &mut self.index) {
                Ok(true) => {}
                Ok(false) => self.report_space(0),
                Err(reason) => self.fail(reason),
            },
            Done::Look { op, result } => self.events.push_back(StoreEvent::ReadDone { op, result }),
            Done::Batches { op, batches } => self.events.push_back(StoreEvent::BatchesRead { op, batches }),
            Done::Round(result) => self.on_round(result),
            Done::Snapshot { op, through, result } => self.on_snapshot(op, through, result),
            Done::Dropped { op, result } => {
                self.duties.alone = false;
                let result = result.map_err(|error| format!("a topic's files cannot be removed: {error}"));
                self.events.push_back(StoreEvent::StoreDone { op, result });
            }
            Done::Cut(result) => {
                self.duties.alone = false;
                self.on_cut(result);
            }
            Done::SegmentsRemoved(Ok(())) => {
                self.duties.removal = false;
                self.cuts.removed();
            }
            Done::SegmentsRemoved(Err(error)) => self.fail(format!("segments cannot be removed: {error}")),
            Done::Removed { op: Some(op) } => {
                self.events.push_back(StoreEvent::StoreDone { op, result: Ok(()) });
            }
            Done::Removed { op: None } => {}
            Done::Compacted { op, outcome } => self.on_compacted(op, outcome),
            Done::Space(result) => self.on_space(result),
            Done::Measured { op, sizes, room } => self.on_measured(op, sizes, room),
        }
    }

    fn on_round(&mut self, result: Result<Vec<Written>, RoundError>) {
        self.duties.round = false;
        self.duties.nothing_due_at = None;
        match result {
            Ok(written) => {
                self.duties.segments_full = false;
                self.journal.counters.rounds += 1;
                for part in written {
                    self.journal.counters.segment_bytes += part.bytes;
                    self.journal.counters.damaged_batches += part.damaged;
                    if let Some(from) = part.damaged_from {
                        self.rot.report(part.partition, from);
                    }
                    add_segments(&mut self.segments, &part);
                    self.index.segmented(part.partition);
                    self.cut_written(part.partition);
                }
                self.cuts.end_round(&self.segments);
                // Where the index is full nothing else may come that makes room.
                self.evict();
            }
            Err(RoundError::Full) => {
                self.index.unplan();
                self.cuts.end_round(&self.segments);
                self.duties.segments_full = true;
                self.duties.round_retry_at = Some(Instant::now() + SPACE_RETRY);
                // What made it due may not be so any more, and appends, which would make another one due, are refused.
                self.duties.asked_through = self.journal.vouched();
                self.report_space(0);
            }
            Err(RoundError::Failed(reason)) => self.fail(format!("a segment cannot be written: {reason}")),
        }
    }

    fn on_snapshot(&mut self, op: OpId, through: Lsn, result: Result<(), StoreError>) {
        self.duties.writing_snapshot = false;
        match result {
            Ok(()) => {
                self.journal.counters.snapshots += 1;
                self.release(through, Some(op));
            }
            Err(StoreError::Disk { source, .. }) if is_out_of_space(&source) => {
                self.report_space(0);
                let result = Err("there is no room for the snapshot".to_owned());
                self.events.push_back(StoreEvent::StoreDone { op, result });
            }
            Err(error) => self.fail(error.to_string()),
        }
    }

    /// Asks how much room there is.
    pub(super) fn look_for_space(&mut self) {
        if !std::mem::replace(&mut self.duties.looking_for_space, true) {
            let room = self.disk.room(Lane::Prepare, &self.options.log_dir);
            self.tasks.push(Box::pin(async move { Done::Space(room.await) }));
        }
    }

    fn on_space(&mut self, result: io::Result<Room>) {
        self.duties.looking_for_space = false;
        // What found no room may have been deleted since: then no round follows.
        self.duties.segments_full &= self.index.unsegmented_bytes() > 0;
        let is_full = self.journal.is_full() || self.duties.segments_full;
        self.duties.space_at = Some(Instant::now() + if is_full { SPACE_RETRY } else { SPACE_LOOK });
        match result {
            Ok(room) if !is_full => {
                self.report_space(room.free_bytes.saturating_add(self.journal.reserve_bytes()));
            }
            Ok(_) => self.report_space(0),
            Err(error) => tracing::warn!("the room on the disk cannot be read: {error}"),
        }
    }

    /// The sizes were taken when they were asked for; the room is that of now.
    fn on_measured(&mut self, op: OpId, sizes: Vec<(TopicPartition, u64)>, room: io::Result<Room>) {
        if let Err(error) = &room {
            tracing::warn!("the room on the disk cannot be read: {error}");
        }
        let log_dir = &self.options.log_dir;
        let path = std::path::absolute(log_dir).unwrap_or_else(|_| log_dir.clone());
        let dir = LogDir {
            path: path.to_string_lossy().into_owned(),
            total_bytes: room.as_ref().ok().map(|room| room.total_bytes),
            usable_bytes: room.as_ref().ok().map(|room| room.free_bytes),
            sizes,
        };
        self.events.push_back(StoreEvent::LogsMeasured { op, dir });
    }

    fn report_space(&mut self, free_bytes: u64) {
        let worth_telling = self.duties.free_reported.is_none_or(|last| {
            last.abs_diff(free_bytes) >= SPACE_CHANGE_BYTES || (free_bytes == 0) != (last == 0)
        });
        if worth_telling {
            self.duties.free_reported = Some(free_bytes);
            self.events.push_back(StoreEvent::Space { free_bytes });
        }
    }

    /// When the store must look after itself even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let own = [self.duties.round_retry_at, self.duties.space_at];
        own.into_iter().chain([self.journal.deadline()]).flatten().min()
    }

    pub(super) fn on_timer(&mut self, now: Instant) {
        if self.duties.round_retry_at.is_some_and(|at| at <= now) {
            self.duties.round_retry_at = None;
        }
        if self.duties.space_at.is_some_and(|at| at <= now) {
            self.duties.space_at = None;
            self.look_for_space();
        }
    }
}

fn add_segments(table: &mut SegmentTable, written: &Written) {
    let of_partition = table.entry(written.partition).or_default();
    for segment in &written.segments {
        match of_partition.last_mut() {
            Some(last) if last.name() == segment.name() => *last = *segment,
            Some(_) | None => of_partition.push(*segment),
        }
    }
}

async fn write_snapshot<D: Disk>(disk: &D, dir: &Path, file: StoreSnapshot) -> Result<(), StoreError> {
    let sealed = disk.run(Lane::Background, move || seal(SNAPSHOT_MAGIC, &file)).await;
    let sealed = sealed.map_err(StoreError::disk("cannot write", dir.join(SNAPSHOT)))?;
    replace(disk, dir, SNAPSHOT, sealed.into()).await
}

/// Removes the folders of a topic's partitions, as many as there are.
async fn remove_topic<D: Disk>(disk: &D, dir: &Path, topic_id: Uuid) -> io::Result<()> {
    let entries = disk.list(Lane::Background, dir).await?;
    let of_topic = entries.iter().filter(|entry| entry.is_dir).filter(|entry| {
        parse_partition_dir(&entry.name).is_some_and(|partition| partition.topic_id == topic_id)
    });
    let paths: Vec<PathBuf> = of_topic.map(|entry| dir.join(&entry.name)).collect();
    for path in &paths {
        disk.remove_dir(Lane::Background, path).await?;
    }
    if !paths.is_empty() {
        disk.sync_dir(Lane::Background, dir).await?;
    }
    Ok(())
}
