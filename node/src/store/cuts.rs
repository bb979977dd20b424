//! Cuts: a replica's log loses its tail, or begins anew (SAFETY R1, R7), and the store must never give the old bytes for
//! the offsets that are written again.
//!
//! ```text
//!  push(Cut) ── at once ──► index, table of segments: nothing new is read from behind the cut
//!      └─────── vouched ──► files of segments that are gone are removed; the one that was cut is trimmed
//!                              └─── then ──► a snapshot may be written, and the journal file with the cut released
//! ```
//!
//! Until the cut is certain to be on the disk its segments stay where they are, and no snapshot is taken: a crash may take
//! the cut back (SAFETY J8, J9). A cut segment takes no more batches and its files only ever get shorter, and that only
//! when the folder is opened: leases from before go on reading what they read. A reset is a cut below every offset.
//!
//! A swap takes those that a cleaning pass has written anew in the same way. A log's start takes whole segments from the front,
//! all of them if nothing is left of the log: nothing is written by their names again, and they go beside the rest
//! ([`removals`](super::removals)).

use super::Store;
use super::disk::{Disk, Lane, Open};
use super::duties::Done;
use super::reader::SegmentRead;
use super::removals::{Removals, remove};
use super::replay::TakenTable;
use super::segment::{
    LINE_BYTES, Segment, SegmentName, SegmentTable, Tail, cut, partition_dir, segment_path, side_path, swap,
};
use seedlog_core::ids::{Lsn, Offset, TopicPartition};
use seedlog_core::journal::Entry;
use seedlog_core::log::Compaction;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Where a reset cuts.
const BELOW_ALL: Offset = Offset(i64::MIN);

/// Cuts that are not done.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    /// The last cut.
    through: Lsn,
    /// Where partitions were cut while something was written to segments or removed.
    meanwhile: BTreeMap<TopicPartition, Offset>,
    /// A round is under way: it may write to the last segment that a log had when it began.
    round: bool,
    /// Where logs start that do not start at 0.
    starts: BTreeMap<TopicPartition, Offset>,
    /// Segments that the starts have passed.
    removals: Removals,
    pending: BTreeMap<TopicPartition, Pending>,
}

/// What is to be done to a partition's files.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Segments that are gone as a whole.
    gone: BTreeSet<SegmentName>,
    /// The one that was cut.
    trim: Option<Offset>,
    /// Those whose files are longer than they are, and which nobody reads yet.
    shorten: Vec<Offset>,
    /// Segments that are gone may be there by names that nobody knows any more: they were written behind after the last snapshot.
    sweep: bool,
}

impl Pending {
    /// Segments are no longer part of the log, and are to be removed.
    fn let_go(&mut self, gone: &[SegmentName]) {
        self.spare(gone);
        self.gone.extend(gone);
    }

    /// Segments are no longer part of the log: nothing else is to be done to them.
    fn spare(&mut self, gone: &[SegmentName]) {
        let is_gone = |base: Offset| gone.iter().any(|name| name.base == base);
        self.shorten.retain(|base| !is_gone(*base));
        self.trim = self.trim.filter(|base| !is_gone(*base));
    }
}

/// A log's cut, as an entry says it.
pub(super) fn cut_of(entry: &Entry) -> Option<(TopicPartition, Offset)> {
    match entry {
        Entry::Cut { partition, to } => Some((*partition, *to)),
        Entry::Reset { partition, .. } => Some((*partition, BELOW_ALL)),
        Entry::Append(_)
        | Entry::EpochStart { .. }
        | Entry::Metadata { .. }
        | Entry::ProducersExpired { .. }
        | Entry::Dropped { .. }
        | Entry::Started { .. }
        | Entry::Stopped
        | Entry::Founded { .. }
        | Entry::Vote { .. }
        | Entry::MetadataCut { .. }
        | Entry::MetadataImage { .. }
        | Entry::Dropping { .. }
        | Entry::Trusted { .. }
        | Entry::Damaged { .. }
        | Entry::LogStart { .. }
        | Entry::Compacted { .. } => None,
    }
}

impl Cuts {
    /// What is left to do to the segments of a folder, whose table shows every cut up to `shows`.
    pub(super) fn found(table: &SegmentTable, shows: Lsn) -> Self {
        let mut cuts = Self { through: shows, ..Self::default() };
        for (&partition, segments) in table {
            for segment in segments {
                match segment.tail {
                    Tail::Growing | Tail::Short => {}
                    Tail::Cut => cuts.of(partition).trim = Some(segment.base),
                    Tail::Trimmed => cuts.of(partition).shorten.push(segment.base),
                }
            }
        }
        cuts
    }

    /// A swap that the table does not show is done again.
    pub(super) fn replay_swap(
        &mut self,
        lsn: Lsn,
        (partition, compaction): (TopicPartition, &Compaction),
        table: &mut SegmentTable,
    ) {
        self.through = self.through.max(lsn);
        self.swap(partition, compaction, table);
        self.of(partition).sweep = true;
    }

    /// A cut that the table does not show is done again.
    pub(super) fn replay(
        &mut self,
        lsn: Lsn,
        (partition, to): (TopicPartition, Offset),
        table: &mut SegmentTable,
    ) {
        self.through = self.through.max(lsn);
        self.cut_table(partition, to, table);
    }

    /// A log is cut, and its next segments may be called as those that its start has passed.
    fn take_back_removals(&mut self, partition: TopicPartition, to: Offset) {
        let gone = self.removals.taken_back(partition, to);
        if !gone.is_empty() {
            self.of(partition).let_go(&gone);
        }
    }

    /// Every cut that the table shows is certain to be on the disk, and done.
    pub(super) fn is_settled(&self, vouched: Lsn) -> bool {
        self.pending.is_empty() && self.through <= vouched
    }

    /// Nothing may be written to segments before these are done.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Cuts that are pending can be done: no recovery takes them back.
    pub(super) fn are_due(&self, vouched: Lsn) -> bool {
        self.is_pending() && self.through <= vouched
    }

    /// A round begins, and does not know of later cuts.
    pub(super) fn begin_round(&mut self) {
        self.meanwhile.clear();
        self.round = true;
    }

    /// The round has ended, and the table shows what it has written.
    pub(super) fn end_round(&mut self, table: &SegmentTable) {
        self.round = false;
        self.removals.round_ended(table);
    }

    /// Segments whose files are there for a reason: the log has them, or a crash may give them back to it (SAFETY J8).
    pub(super) fn files_of(&self, partition: TopicPartition, table: &SegmentTable) -> BTreeSet<SegmentName> {
        let held = table.get(&partition).into_iter().flatten().map(Segment::name);
        let gone = self.pending.get(&partition).into_iter().flat_map(|pending| &pending.gone).copied();
        held.chain(gone).chain(self.removals.names_of(partition)).collect()
    }

    /// What a snapshot says of the segments, once the cuts are settled.
    pub(super) fn taken(&self, table: &SegmentTable) -> TakenTable {
        TakenTable { segments: self.removals.with_table(table), shows: self.through }
    }

    /// Segments that a log's start has passed, and that can be removed now. Until [`Cuts::removed`] there are no others.
    pub(super) fn start_removals(&mut self, vouched: Lsn) -> Vec<(TopicPartition, Vec<SegmentName>)> {
        self.removals.start(vouched)
    }

    /// They are removed.
    pub(super) fn removed(&mut self) {
        self.removals.done();
    }

    /// Keeps only the partitions that `keep` names.
    pub(super) fn retain(&mut self, keep: impl Fn(TopicPartition) -> bool) {
        self.pending.retain(|partition, _| keep(*partition));
        self.removals.retain(&keep);
        self.starts.retain(|partition, _| keep(*partition));
    }

    /// A log starts at `start`: segments that end there or before go.
    pub(super) fn set_start(
        &mut self,
        partition: TopicPartition,
        start: Offset,
        table: &mut SegmentTable,
    ) -> Vec<SegmentName> {
        if start > Offset::ZERO {
            self.starts.insert(partition, start);
        }
        self.take_front(partition, table)
    }

    /// Where a log starts.
    pub(super) fn start_of(&self, partition: TopicPartition) -> Offset {
        self.starts.get(&partition).copied().unwrap_or_default()
    }

    /// Takes the segments from the table that lie before the log's start.
    fn take_front(&mut self, partition: TopicPartition, table: &mut SegmentTable) -> Vec<SegmentName> {
        let Some(&start) = self.starts.get(&partition) else { return Vec::new() };
        let Some(segments) = table.get_mut(&partition) else { return Vec::new() };
        let before = segments.partition_point(|segment| segment.next <= start);
        let gone: Vec<Segment> = segments.drain(..before).collect();
        let is_all = segments.is_empty();
        if is_all {
            table.remove(&partition);
        }
        let names: Vec<SegmentName> = gone.iter().map(Segment::name).collect();
        if let Some(pending) = self.pending.get_mut(&partition) {
            pending.spare(&names);
        }
        self.removals.push(partition, gone, is_all && self.round);
        names
    }

    /// What a cleaning pass made takes the place of what it read.
    pub(super) fn swap(
        &mut self,
        partition: TopicPartition,
        compaction: &Compaction,
        table: &mut SegmentTable,
    ) -> Vec<SegmentName> {
        let mut gone = swap(table.entry(partition).or_default(), compaction);
        if !gone.is_empty() {
            self.of(partition).let_go(&gone);
        }
        // What the log no longer had when the pass ended.
        gone.extend(self.take_front(partition, table));
        gone
    }

    fn of(&mut self, partition: TopicPartition) -> &mut Pending {
        self.pending.entry(partition).or_default()
    }

    /// Cuts the table; gives the segments that are gone.
    fn cut_table(
        &mut self,
        partition: TopicPartition,
        to: Offset,
        table: &mut SegmentTable,
    ) -> Vec<SegmentName> {
        let Some(segments) = table.get_mut(&partition) else { return Vec::new() };
        let gone = cut(segments, to);
        let trim = segments.last().filter(|last| last.tail == Tail::Cut).map(|last| last.base);
        if segments.is_empty() {
            table.remove(&partition);
        }
        if !gone.is_empty() || trim.is_some() {
            let pending = self.of(partition);
            pending.let_go(&gone);
            pending.shorten.retain(|base| Some(*base) != trim);
            pending.trim = trim;
        }
        gone
    }
}

impl<D: Disk> Store<D> {
    /// An entry was pushed: if it takes something away from a log, at its end or its start, the store follows.
    pub(super) fn on_pushed(&mut self, entry: &Entry, lsn: Lsn) {
        if let Entry::LogStart { partition, start } = entry {
            self.cuts.removals.moved(lsn);
            let gone = self.cuts.set_start(*partition, *start, &mut self.segments);
            self.forget_segments(*partition, gone);
        }
        if let Entry::Compacted { partition, compaction } = entry {
            self.cuts.through = lsn;
            let gone = self.cuts.swap(*partition, compaction, &mut self.segments);
            self.forget_segments(*partition, gone);
            // What is cached is what was there before.
            self.index.take_front(*partition, compaction.to);
            self.cleaning.on_swapped(compaction.made);
        }
        let Some((partition, to)) = cut_of(entry) else { return };
        self.cuts.through = lsn;
        if let Entry::Reset { .. } = entry {
            self.cuts.starts.remove(&partition);
        }
        let least = self.cuts.meanwhile.entry(partition).or_insert(to);
        *least = to.min(*least);
        self.index.cut(partition, to);
        self.cuts.take_back_removals(partition, to);
        self.cut_segments(partition, to);
    }

    /// A round wrote segments of a partition: what was taken away meanwhile is no part of them.
    pub(super) fn cut_written(&mut self, partition: TopicPartition) {
        if let (Some(pending), Some(segments)) =
            (self.cuts.pending.get_mut(&partition), self.segments.get(&partition))
        {
            // It has written more of a segment that was gone.
            pending.gone.retain(|name| segments.iter().all(|segment| segment.name() != *name));
        }
        if let Some(&to) = self.cuts.meanwhile.get(&partition) {
            self.cut_segments(partition, to);
        }
        let gone = self.cuts.take_front(partition, &mut self.segments);
        self.forget_segments(partition, gone);
    }

    fn cut_segments(&mut self, partition: TopicPartition, to: Offset) {
        let gone = self.cuts.cut_table(partition, to, &mut self.segments);
        self.forget_segments(partition, gone);
    }

    fn forget_segments(&self, partition: TopicPartition, gone: Vec<SegmentName>) {
        for name in gone {
            self.files.forget_segment(partition, name);
        }
    }

    /// Starts what is pending.
    pub(super) fn start_cuts(&mut self) {
        let work =
            CutWork { disk: self.disk.clone(), log_dir: self.options.log_dir.clone(), jobs: self.cut_jobs() };
        self.tasks.push(Box::pin(async move { Done::Cut(work.run().await) }));
    }

    fn cut_jobs(&mut self) -> Vec<CutJob<D>> {
        let mut jobs = Vec::with_capacity(self.cuts.pending.len());
        for (partition, pending) in std::mem::take(&mut self.cuts.pending) {
            let segments = self.segments.get(&partition).map_or(&[][..], Vec::as_slice);
            let find = |base: Offset| segments.iter().find(|segment| segment.base == base).copied();
            jobs.push(CutJob {
                partition,
                gone: pending.gone,
                trim: pending.trim.and_then(find).map(|segment| SegmentRead {
                    open: None,
                    ..SegmentRead::take(&self.files, partition, segment)
                }),
                shorten: pending.shorten.into_iter().filter_map(find).collect(),
                known: pending.sweep.then(|| self.cuts.files_of(partition, &self.segments)),
            });
        }
        jobs
    }

    /// The files are as the table says.
    pub(super) fn on_cut(&mut self, result: io::Result<Vec<(TopicPartition, Segment)>>) {
        match result {
            Ok(changed) => {
                for (partition, segment) in changed {
                    let segments = self.segments.get_mut(&partition);
                    let held =
                        segments.and_then(|list| list.iter_mut().find(|held| held.name() == segment.name()));
                    // It may have been cut again.
                    if let Some(held) = held.filter(|held| held.next == segment.next) {
                        *held = segment;
                    }
                }
            }
            Err(error) => self.fail(format!("a segment cannot be cut: {error}")),
        }
    }
}

/// What is to be done to one partition's files.
struct CutJob<D: Disk> {
    partition: TopicPartition,
    gone: BTreeSet<SegmentName>,
    trim: Option<SegmentRead<D>>,
    shorten: Vec<Segment>,
    /// What was written behind and is none of these goes: no round is under way, and the next one writes its segments anew.
    known: Option<BTreeSet<SegmentName>>,
}

struct CutWork<D: Disk> {
    disk: D,
    log_dir: PathBuf,
    jobs: Vec<CutJob<D>>,
}

impl<D: Disk> CutWork<D> {
    /// Does it; each part may be done again. Gives segments as they are from here on.
    async fn run(self) -> io::Result<Vec<(TopicPartition, Segment)>> {
        let mut gone = Vec::new();
        for job in &self.jobs {
            let mut of_log = job.gone.clone();
            if let Some(known) = &job.known {
                of_log.extend(strays(&self.disk, &self.log_dir, job.partition, known).await?);
            }
            if !of_log.is_empty() {
                gone.push((job.partition, of_log.into_iter().collect()));
            }
        }
        remove(&self.disk, &self.log_dir, &gone).await?;
        let mut changed = Vec::new();
        for job in self.jobs {
            if let Some(read) = job.trim {
                let segment = read.segment;
                let trimmed = read.trimmed().await.unwrap_or_else(|error| {
                    tracing::warn!("segment {} of {} is not trimmed: {error}", segment.base, job.partition);
                    Segment { tail: Tail::Short, ..segment }
                });
                changed.push((job.partition, trimmed));
            }
            for segment in job.shorten {
                shorten(&self.disk, &self.log_dir, job.partition, &segment).await?;
                changed.push((job.partition, Segment { tail: Tail::Short, ..segment }));
            }
        }
        Ok(changed)
    }
}

/// Segments that were written behind and that nobody knows.
async fn strays<D: Disk>(
    disk: &D,
    log_dir: &Path,
    partition: TopicPartition,
    known: &BTreeSet<SegmentName>,
) -> io::Result<Vec<SegmentName>> {
    let entries = match disk.list(Lane::Background, &partition_dir(log_dir, partition)).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let found = entries.iter().filter_map(|entry| SegmentName::parse(&entry.name));
    Ok(found.filter(|name| name.made == Lsn::ZERO && !known.contains(name)).collect())
}

/// Takes from a segment's files what is no longer part of it.
async fn shorten<D: Disk>(
    disk: &D,
    log_dir: &Path,
    partition: TopicPartition,
    segment: &Segment,
) -> io::Result<()> {
    let lane = Lane::Background;
    let sizes = [
        (segment_path(log_dir, partition, segment.name()), segment.bytes),
        (side_path(log_dir, partition, segment.name()), segment.lines * LINE_BYTES as u64),
    ];
    for (path, bytes) in sizes {
        let file = disk.open(lane, &path, Open::Write).await?;
        if disk.length(lane, &file).await? > bytes {
            disk.set_length(lane, &file, bytes).await?;
            disk.sync(lane, &file).await?;
        }
    }
    Ok(())
}
