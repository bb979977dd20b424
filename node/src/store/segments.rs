//! Writing behind: batches go from the journal to the segments of their partitions, a round at a time.
//!
//! A round is planned by the store between two events and carried out here without touching the store. What it wrote counts
//! only when everything of it is synced; a round that fails is forgotten, and the next one writes the same bytes to the same
//! places.

use super::buffers::Stage;
use super::disk::{Change, Completion, Disk, Lane, Open, Then, is_out_of_space};
use super::index::{Batch, GroupPlace, Job, Source};
use super::lease::{Expected, is_intact};
use super::pieces::PIECE_BYTES;
use super::read_back::Stretches;
use super::removals::SINGLE_SYNCS_MAX;
use super::segment::{LINE_BYTES, LineMaker, Segment, Tail, partition_dir, segment_path, side_path};
use bytes::Bytes;
use futures_util::stream::{FuturesOrdered, StreamExt};
use seedlog_core::ids::{Offset, TopicPartition};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Less than this is not written past the page cache, and needs no file that is opened for it.
const DIRECT_BYTES_MIN: u64 = 64 << 10;
/// So many partitions with less than that for each are written together.
const TOGETHER_MAX: usize = 128;

/// What a round writes.
#[derive(Debug)]
pub(super) struct Round<D: Disk> {
    pub(super) disk: D,
    pub(super) log_dir: PathBuf,
    pub(super) interval_bytes: u32,
    /// The batches, each partition with its last segment.
    pub(super) jobs: Vec<(Job<D::File>, Option<Segment>)>,
}

/// What a partition's part of a round did.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) partition: TopicPartition,
    /// Its last segment as it is after the round, if it had one and it grew, and the new ones.
    pub(super) segments: Vec<Segment>,
    /// Batches that could not be read back from the journal and are lost.
    pub(super) damaged: u64,
    /// The first of them.
    pub(super) damaged_from: Option<Offset>,
    pub(super) bytes: u64,
}

/// Why a round counts for nothing.
#[derive(Debug)]
pub(super) enum RoundError {
    /// There is no room; tried again later.
    Full,
    /// A disk fails (SAFETY J10).
    Failed(String),
}

impl From<io::Error> for RoundError {
    fn from(error: io::Error) -> Self {
        if is_out_of_space(&error) { Self::Full } else { Self::Failed(error.to_string()) }
    }
}

/// What a round's parts share: what its end must sync, and memory for one piece after the other.
struct Shared<F>(Mutex<Held<F>>);

struct Held<F> {
    /// Files to be synced one by one. Of a round with more of them none is kept open: it may have one for each partition.
    files: Vec<F>,
    has_many_files: bool,
    dirs: Vec<PathBuf>,
    /// Those that nobody uses.
    stages: Vec<Stage>,
}

impl<F> Shared<F> {
    fn new(has_many_files: bool) -> Self {
        Self(Mutex::new(Held { files: Vec::new(), has_many_files, dirs: Vec::new(), stages: Vec::new() }))
    }

    fn held(&self) -> MutexGuard<'_, Held<F>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A segment's files were written.
    fn wrote(&self, data: F, side: F, stage: Stage) {
        let mut held = self.held();
        held.stages.push(stage);
        if held.has_many_files {
            return;
        }
        held.files.extend([data, side]);
        if held.files.len() > SINGLE_SYNCS_MAX {
            held.files.clear();
            held.has_many_files = true;
        }
    }
}

impl<D: Disk> Round<D> {
    /// Writes and syncs everything.
    pub(super) async fn run(self) -> Result<Vec<Written>, RoundError> {
        let stretches = Stretches::read(&self.disk, self.jobs.iter().map(|(job, _)| job)).await?;
        let shared = Shared::new(self.is_scattered());
        let mut written = Vec::with_capacity(self.jobs.len());
        let runs = self.jobs.chunk_by(|(one, _), (next, _)| self.is_little(one) && self.is_little(next));
        // While the disk is at the one, the next one is made ready.
        let mut parts = FuturesOrdered::new();
        for jobs in runs.flat_map(|run| run.chunks(TOGETHER_MAX)) {
            if parts.len() > usize::from(self.is_scattered()) {
                written.extend(parts.next().await.transpose()?.into_iter().flatten());
            }
            parts.push_back(self.write(jobs, &stretches, &shared));
        }
        while let Some(part) = parts.next().await {
            written.extend(part?);
        }
        drop(parts);
        let mut shared = shared.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if shared.has_many_files {
            self.disk.sync_file_system(Lane::Background, &self.log_dir).await?;
            return Ok(written);
        }
        for file in &shared.files {
            self.disk.sync(Lane::Background, file).await?;
        }
        if !shared.dirs.is_empty() {
            shared.dirs.push(self.log_dir.clone());
        }
        for dir in &shared.dirs {
            self.disk.sync_dir(Lane::Background, dir).await?;
        }
        Ok(written)
    }

    /// It goes to so many files that they are not synced one by one.
    fn is_scattered(&self) -> bool {
        2 * self.jobs.len() > SINGLE_SYNCS_MAX
    }

    fn is_little(&self, job: &Job<D::File>) -> bool {
        self.is_scattered() && job.bytes() < DIRECT_BYTES_MIN
    }

    /// Writes several partitions that get little, or one.
    async fn write(
        &self,
        jobs: &[(Job<D::File>, Option<Segment>)],
        stretches: &Stretches,
        shared: &Shared<D::File>,
    ) -> Result<Vec<Written>, RoundError> {
        match jobs {
            [(job, last)] if !self.is_little(job) => {
                Ok(vec![self.write_partition(job, *last, stretches, shared).await?])
            }
            jobs => self.write_together(jobs, stretches).await,
        }
    }

    async fn write_partition(
        &self,
        job: &Job<D::File>,
        last: Option<Segment>,
        stretches: &Stretches,
        shared: &Shared<D::File>,
    ) -> Result<Written, RoundError> {
        let mut written = Written::nothing(job.partition);
        let mut segment = last;
        let mut rest = Rest::of(job);
        while let Some(first) = rest.batches.first() {
            let current = segment_for(segment, first);
            let end = rest.batches.len() - of_one_segment(rest.batches);
            let current = self
                .write_segment((job.partition, current), (&mut rest, end), stretches, &mut written, shared)
                .await?;
            written.segments.push(current);
            segment = Some(current);
        }
        Ok(written)
    }

    /// Writes what is little for each of some partitions, in two operations for all of them.
    async fn write_together(
        &self,
        jobs: &[(Job<D::File>, Option<Segment>)],
        stretches: &Stretches,
    ) -> Result<Vec<Written>, RoundError> {
        let mut parts = Vec::with_capacity(jobs.len());
        for (job, last) in jobs {
            let mut rest = Rest::of(job);
            let mut segments = Vec::new();
            while let Some(first) = rest.batches.first() {
                let count = of_one_segment(rest.batches);
                segments.push((*first, self.load(rest.take(count), stretches).await?));
            }
            parts.push(Little { partition: job.partition, last: *last, segments });
        }
        let (log_dir, interval_bytes) = (self.log_dir.clone(), self.interval_bytes);
        let together = self.disk.run(Lane::Background, move || {
            let mut changes = Vec::new();
            let written = parts.into_iter().map(|part| part.write(&log_dir, interval_bytes, &mut changes));
            (written.collect(), changes)
        });
        let (written, changes) = together.await?;
        self.disk.change(Lane::Background, changes).await?;
        Ok(written)
    }

    /// Writes batches from the front of `rest` to a segment, until `end` of them are left.
    async fn write_segment(
        &self,
        (partition, mut segment): (TopicPartition, Segment),
        (rest, end): (&mut Rest<'_, D::File>, usize),
        stretches: &Stretches,
        written: &mut Written,
        shared: &Shared<D::File>,
    ) -> Result<Segment, RoundError> {
        let disk = &self.disk;
        if segment.bytes == 0 {
            let dir = partition_dir(&self.log_dir, partition);
            disk.create_dir(Lane::Background, &dir).await?;
            shared.held().dirs.push(dir);
        }
        let data_path = segment_path(&self.log_dir, partition, segment.name());
        let bytes: u64 = rest.batches[..rest.batches.len() - end].iter().map(|it| u64::from(it.bytes)).sum();
        let how = if bytes < DIRECT_BYTES_MIN { Open::Write } else { Open::Direct };
        let data = disk.open(Lane::Background, &data_path, how);
        let side_path = side_path(&self.log_dir, partition, segment.name());
        let side = disk.open(Lane::Background, &side_path, Open::Write);
        let (data, side) = (data.await?, side.await?);
        let mut stage = shared.held().stages.pop().unwrap_or_default();
        let mut writes = Vec::new();
        while rest.batches.len() > end {
            let count = piece_batches(&rest.batches[..rest.batches.len() - end]);
            let is_last = rest.batches.len() - count == end;
            let loaded = self.load(rest.take(count), stretches).await?;
            let maker = LineMaker::new(partition, segment, self.interval_bytes);
            let side_position = segment.lines * LINE_BYTES as u64;
            let piece =
                disk.run(Lane::Background, move || Piece::make(maker, &loaded, stage, is_last)).await?;
            written.note(&piece, segment.bytes);
            segment = piece.segment;
            stage = piece.stage;
            // While these are written the next piece is made ready.
            settle(&mut writes).await?;
            let (position, bytes) = piece.data;
            if !bytes.is_empty() {
                writes.push(disk.write_at(Lane::Background, &data, position, vec![bytes], Then::Nothing));
            }
            let lines = vec![piece.lines.into()];
            writes.push(disk.write_at(Lane::Background, &side, side_position, lines, Then::Nothing));
        }
        settle(&mut writes).await?;
        shared.wrote(data, side, stage);
        Ok(segment)
    }

    /// The bytes that a piece's batches stand in, from memory or as they were read back from the journal. Of what is not there
    /// there are none.
    async fn load(
        &self,
        piece: Vec<Part<'_, D::File>>,
        stretches: &Stretches,
    ) -> Result<Vec<Loaded>, RoundError> {
        let mut loaded = Vec::with_capacity(piece.len());
        for Part { batches, place } in piece {
            match place {
                GroupPlace::Memory(bytes) => {
                    loaded.push(Loaded {
                        batches: batches.to_vec(),
                        bytes: bytes.clone(),
                        from: 0,
                        is_checked: true,
                    });
                }
                GroupPlace::Journal(file, group) => {
                    for batch in batches {
                        let position = group + u64::from(batch.at);
                        let bytes = match stretches.get(file.seq, position, batch.bytes) {
                            Some(bytes) => bytes,
                            None => match self
                                .disk
                                .read_at(Lane::Background, &file.file, position, batch.bytes as usize)
                                .await
                            {
                                Ok(bytes) => bytes,
                                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Bytes::new(),
                                Err(error) => {
                                    let why = format!("the disk cannot be read: {error}");
                                    return Err(RoundError::Failed(why));
                                }
                            },
                        };
                        let (batches, from) = (vec![*batch], batch.at);
                        loaded.push(Loaded { batches, bytes, from, is_checked: false });
                    }
                }
            }
        }
        Ok(loaded)
    }
}

/// What of a job is to be written yet.
struct Rest<'a, F> {
    batches: &'a [Batch],
    sources: &'a [Source<F>],
    /// So many batches of the first source were taken.
    taken: usize,
}

/// Batches that stand in one group.
struct Part<'a, F> {
    batches: &'a [Batch],
    place: &'a GroupPlace<F>,
}

impl<'a, F> Rest<'a, F> {
    fn of(job: &'a Job<F>) -> Self {
        Self { batches: &job.batches, sources: &job.sources, taken: 0 }
    }

    /// Takes so many batches from the front.
    fn take(&mut self, count: usize) -> Vec<Part<'a, F>> {
        let mut parts = Vec::new();
        let mut left = count;
        while left > 0
            && let Some((source, later)) = self.sources.split_first()
        {
            let now = left.min(source.batches - self.taken);
            let (batches, rest) = self.batches.split_at(now);
            self.batches = rest;
            parts.push(Part { batches, place: &source.place });
            left -= now;
            self.taken += now;
            if self.taken == source.batches {
                (self.sources, self.taken) = (later, 0);
            }
        }
        parts
    }
}

/// Batches and the bytes that they stand in.
#[derive(Debug)]
struct Loaded {
    batches: Vec<Batch>,
    bytes: Bytes,
    /// Where in their group the bytes begin.
    from: u32,
    /// The bytes are those that were written, and need no look.
    is_checked: bool,
}

/// What is written at once, about 1 MiB.
struct Piece {
    /// The segment with it.
    segment: Segment,
    lines: Vec<u8>,
    /// Where it goes, and what it is.
    data: (u64, Bytes),
    stage: Stage,
    /// Batches that are not what was written.
    lost: Vec<Batch>,
}

impl Piece {
    /// Gathers the batches and makes their lines; each is looked at and copied while the processor has it at hand.
    fn make(mut maker: LineMaker, loaded: &[Loaded], mut stage: Stage, is_last: bool) -> Self {
        let batches = || loaded.iter().flat_map(|loaded| &loaded.batches);
        stage.begin(maker.position(), batches().map(|batch| batch.bytes as usize).sum());
        let mut lost = Vec::new();
        for Loaded { batches, bytes, from, is_checked } in loaded {
            for batch in batches {
                let at = (batch.at - from) as usize;
                let bytes = bytes.get(at..at + batch.bytes as usize).unwrap_or_default();
                if *is_checked || is_intact(bytes, &[Expected::of(batch)]) {
                    maker.add(bytes, batch.next, batch.max_timestamp);
                    stage.extend(bytes);
                } else {
                    lost.push(*batch);
                }
            }
        }
        let (segment, lines) = maker.finish();
        let data = stage.finish(is_last);
        Self { segment, lines, data, stage, lost }
    }
}

/// The segment that a batch and those behind it go to, behind the one that was written last.
fn segment_for(last: Option<Segment>, first: &Batch) -> Segment {
    let goes_on = |segment: &Segment| segment.tail == Tail::Growing && !(first.roll && segment.bytes > 0);
    last.filter(goes_on).unwrap_or_else(|| Segment::new(first.base))
}

/// How many batches from the front go to one segment: the flag of the first of them is used up, the next flag ends it.
fn of_one_segment(batches: &[Batch]) -> usize {
    1 + batches[1..].iter().take_while(|batch| !batch.roll).count()
}

/// What goes to a partition that gets little, by segment, with the first batch of each.
struct Little {
    partition: TopicPartition,
    last: Option<Segment>,
    segments: Vec<(Batch, Vec<Loaded>)>,
}

impl Little {
    /// Adds what is to be written to the disk.
    fn write(self, log_dir: &Path, interval_bytes: u32, changes: &mut Vec<Change>) -> Written {
        let Self { partition, mut last, segments } = self;
        let mut written = Written::nothing(partition);
        for (first, loaded) in segments {
            let segment = segment_for(last, &first);
            if segment.bytes == 0 {
                changes.push(Change::CreateDir(partition_dir(log_dir, partition)));
            }
            let maker = LineMaker::new(partition, segment, interval_bytes);
            let piece = Piece::make(maker, &loaded, Stage::default(), true);
            written.note(&piece, segment.bytes);
            written.segments.push(piece.segment);
            last = Some(piece.segment);
            let Piece { data: (position, bytes), lines, .. } = piece;
            let path = segment_path(log_dir, partition, segment.name());
            changes.push(Change::Write { path, position, bytes });
            let path = side_path(log_dir, partition, segment.name());
            let position = segment.lines * LINE_BYTES as u64;
            changes.push(Change::Write { path, position, bytes: lines.into() });
        }
        written
    }
}

impl Written {
    fn nothing(partition: TopicPartition) -> Self {
        Self { partition, segments: Vec::new(), damaged: 0, damaged_from: None, bytes: 0 }
    }

    /// A piece was made for a segment that had so many bytes before.
    fn note(&mut self, piece: &Piece, bytes_before: u64) {
        piece.lost.iter().for_each(|batch| self.lose(batch));
        self.bytes += piece.segment.bytes - bytes_before;
    }

    /// A batch cannot be read back from the journal.
    fn lose(&mut self, batch: &Batch) {
        tracing::error!(
            "offsets {} to {} of {} are lost in the journal",
            batch.base,
            batch.next,
            self.partition
        );
        self.damaged += 1;
        self.damaged_from.get_or_insert(batch.base);
    }
}

/// Waits for writes that were submitted.
async fn settle(writes: &mut Vec<Completion<()>>) -> Result<(), RoundError> {
    for write in writes.drain(..) {
        write.await?;
    }
    Ok(())
}

/// How many batches from the front make a piece: about 1 MiB, one at least.
fn piece_batches(batches: &[Batch]) -> usize {
    let mut bytes = 0;
    let count = batches.iter().take_while(|batch| {
        let fits = bytes < PIECE_BYTES;
        bytes += u64::from(batch.bytes);
        fits
    });
    count.count().max(1)
}
