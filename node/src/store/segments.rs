//! Writing behind: batches go from the journal to the segments of their partitions, a round at a time.
//!
//! A round is planned by the store between two events and carried out here without touching the store. What it wrote counts
//! only when everything of it is synced; a round that fails is forgotten, and the next one writes the same bytes to the same
//! places.

use super::disk::{Disk, Lane, Open, Then, is_out_of_space};
use super::index::{Batch, Job, Place};
use super::lease::{Expected, is_intact};
use super::read_back::Stretches;
use super::reader::PIECE_BYTES;
use super::segment::{LINE_BYTES, LineMaker, Segment, Tail, partition_dir, segment_path, side_path};
use bytes::Bytes;
use seedlog_core::ids::{Offset, TopicPartition};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// A round with more files than this ends with one sync of the whole file system.
const SINGLE_SYNCS_MAX: usize = 16;

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

/// Files that the round's end must sync.
struct Touched<F> {
    files: Vec<F>,
    dirs: Vec<PathBuf>,
}

impl<D: Disk> Round<D> {
    /// Writes and syncs everything.
    pub(super) async fn run(self) -> Result<Vec<Written>, RoundError> {
        let stretches = Stretches::read(&self.disk, self.jobs.iter().map(|(job, _)| job)).await?;
        let mut touched = Touched { files: Vec::new(), dirs: Vec::new() };
        let mut written = Vec::with_capacity(self.jobs.len());
        for (job, last) in &self.jobs {
            written.push(self.write_partition(job, *last, &stretches, &mut touched).await?);
        }
        if touched.files.len() > SINGLE_SYNCS_MAX {
            self.disk.sync_file_system(Lane::Background, &self.log_dir).await?;
            return Ok(written);
        }
        for file in &touched.files {
            self.disk.sync(Lane::Background, file).await?;
        }
        if !touched.dirs.is_empty() {
            touched.dirs.push(self.log_dir.clone());
        }
        for dir in &touched.dirs {
            self.disk.sync_dir(Lane::Background, dir).await?;
        }
        Ok(written)
    }

    async fn write_partition(
        &self,
        job: &Job<D::File>,
        last: Option<Segment>,
        stretches: &Stretches,
        touched: &mut Touched<D::File>,
    ) -> Result<Written, RoundError> {
        let mut written = Written {
            partition: job.partition,
            segments: Vec::new(),
            damaged: 0,
            damaged_from: None,
            bytes: 0,
        };
        let mut segment = last;
        let mut rest = job.batches.as_slice();
        while let Some((first, _)) = rest.first() {
            let fresh = segment
                .is_none_or(|segment| segment.tail != Tail::Growing || first.roll && segment.bytes > 0);
            let mut current = match segment {
                Some(segment) if !fresh => segment,
                Some(_) | None => Segment::new(first.base),
            };
            // The flag of the first batch is used up; the next flag ends this segment.
            let count = 1 + rest[1..].iter().take_while(|(batch, _)| !batch.roll).count();
            let (of_segment, after) = rest.split_at(count);
            current = self
                .write_segment((job.partition, current), of_segment, stretches, &mut written, touched)
                .await?;
            written.segments.push(current);
            segment = Some(current);
            rest = after;
        }
        Ok(written)
    }

    async fn write_segment(
        &self,
        (partition, mut segment): (TopicPartition, Segment),
        batches: &[(Batch, Place<D::File>)],
        stretches: &Stretches,
        written: &mut Written,
        touched: &mut Touched<D::File>,
    ) -> Result<Segment, RoundError> {
        let disk = &self.disk;
        if segment.bytes == 0 {
            let dir = partition_dir(&self.log_dir, partition);
            disk.create_dir(Lane::Background, &dir).await?;
            touched.dirs.push(dir);
        }
        let data_path = segment_path(&self.log_dir, partition, segment.base);
        let data = disk.open(Lane::Background, &data_path, Open::Write).await?;
        let side = disk
            .open(Lane::Background, &side_path(&self.log_dir, partition, segment.base), Open::Write)
            .await?;
        let mut rest = batches;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(piece_batches(rest));
            rest = after;
            let loaded = self.load(piece, stretches, written).await?;
            let maker = LineMaker::new(partition, segment, self.interval_bytes);
            let position = segment.bytes;
            let side_position = segment.lines * LINE_BYTES as u64;
            let buffers: Vec<Bytes> = loaded.iter().map(|(_, bytes)| bytes.clone()).collect();
            let (grown, lines) = disk.run(Lane::Background, move || make_lines(maker, &loaded)).await?;
            disk.write_at(Lane::Background, &data, position, buffers, Then::Nothing).await?;
            disk.write_at(Lane::Background, &side, side_position, vec![lines.into()], Then::Nothing).await?;
            written.bytes += grown.bytes - segment.bytes;
            segment = grown;
        }
        touched.files.push(data);
        touched.files.push(side);
        Ok(segment)
    }

    /// The bytes of a piece's batches, from memory or as they were read back from the journal. What is not intact is lost, and
    /// told.
    async fn load(
        &self,
        piece: &[(Batch, Place<D::File>)],
        stretches: &Stretches,
        written: &mut Written,
    ) -> Result<Vec<(Batch, Bytes)>, RoundError> {
        let mut loaded = Vec::with_capacity(piece.len());
        let mut unchecked = Vec::new();
        for (batch, place) in piece {
            match place {
                Place::Memory(bytes) => loaded.push((*batch, bytes.clone())),
                Place::Journal(file, position) => {
                    let bytes = match stretches.get(file.seq, *position, batch.bytes) {
                        Some(bytes) => bytes,
                        None => match self
                            .disk
                            .read_at(Lane::Background, &file.file, *position, batch.bytes as usize)
                            .await
                        {
                            Ok(bytes) => bytes,
                            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                                written.lose(batch);
                                continue;
                            }
                            Err(error) => {
                                return Err(RoundError::Failed(format!("the disk cannot be read: {error}")));
                            }
                        },
                    };
                    unchecked.push((loaded.len(), Expected::of(batch), bytes.clone()));
                    loaded.push((*batch, bytes));
                }
                Place::Segment | Place::Unfinished => {
                    unreachable!("a round is planned of durable batches that are in no segment")
                }
            }
        }
        if unchecked.is_empty() {
            return Ok(loaded);
        }
        let check = move || {
            let lost = unchecked.into_iter().filter(|(_, expected, bytes)| !is_intact(bytes, &[*expected]));
            lost.map(|(at, ..)| at).collect::<BTreeSet<usize>>()
        };
        let lost = self.disk.run(Lane::Background, check).await?;
        lost.iter().for_each(|&at| written.lose(&loaded[at].0));
        let mut at = 0..;
        loaded.retain(|_| at.next().is_some_and(|at| !lost.contains(&at)));
        Ok(loaded)
    }
}

impl Written {
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

/// How many batches from the front make a piece: about 1 MiB, one at least.
fn piece_batches<F>(batches: &[(Batch, Place<F>)]) -> usize {
    let mut bytes = 0;
    let count = batches.iter().take_while(|(batch, _)| {
        let fits = bytes < PIECE_BYTES;
        bytes += u64::from(batch.bytes);
        fits
    });
    count.count().max(1)
}

fn make_lines(mut maker: LineMaker, batches: &[(Batch, Bytes)]) -> (Segment, Vec<u8>) {
    for (batch, bytes) in batches {
        maker.add(bytes, batch.next, batch.max_timestamp);
    }
    maker.finish()
}
