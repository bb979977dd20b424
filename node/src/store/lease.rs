//! A claim on record bytes that is taken together with the output that names them (SAFETY R8), and redeemed when the answer
//! is written: at once where the bytes are in memory, after a read where they are not.
//!
//! A lease reads from one kind of place only, so it may give fewer bytes than the extent holds; whoever reads asks again.
//!
//! Consumers see what is committed, so a batch whose group is still being filled is not for them; peers are sent it at once,
//! from the header that was stamped and the batch as the client sent it.

use super::disk::{Disk, Lane};
use super::index::{Batch, Index, JournalFile, Place};
use super::pieces::PIECE_BYTES;
use super::reader::{ReadError, SegmentFiles, SegmentRead};
use super::rot::Rot;
use super::segment::{SegmentTable, end_of};
use bytes::Bytes;
use seedlog_core::ids::{LeaderEpoch, Offset, TopicPartition};
use seedlog_core::output::Extent;
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader, ProducedBatch, verify_crc};
use std::sync::Arc;

/// Record bytes, ready to be written behind each other.
pub type Chain = Vec<Bytes>;

/// A claim on the record bytes of an extent.
#[derive(Debug)]
pub struct Lease<D: Disk> {
    partition: TopicPartition,
    rot: Arc<Rot>,
    from: Offset,
    to: Offset,
    bytes_max: u32,
    source: Source<D>,
    reader: Reader,
    /// Where a consumer goes on behind a cleaned segment of which nothing is left from `from` on.
    behind: Option<Box<Self>>,
}

#[derive(Debug)]
enum Source<D: Disk> {
    Memory(Vec<Run>),
    Journal(D, Vec<JournalRun<D::File>>),
    Segment(SegmentRead<D>),
    /// Who reads may not see the first batch yet.
    Missing,
    /// Nothing holds the first offset.
    Lost,
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// A consumer: without batches that have no records, if there are others.
    Consumer {
        /// Also what is not in the journal yet: others have it on their disks.
        is_ahead: bool,
    },
    /// A follower, or the node itself: everything, also what is not in the journal yet.
    Follower,
}

impl Reader {
    fn is_ahead(self) -> bool {
        match self {
            Self::Consumer { is_ahead } => is_ahead,
            Self::Follower => true,
        }
    }

    fn skips_empty(self) -> bool {
        matches!(self, Self::Consumer { .. })
    }
}

/// Batches that stand behind each other in one buffer, or one batch in two.
#[derive(Debug)]
struct Run {
    /// The start of the batch, when its header stands elsewhere.
    head: Bytes,
    bytes: Bytes,
    /// Where the batches end.
    ends: Vec<usize>,
}

/// Batches that stand behind each other in one journal file.
#[derive(Debug)]
pub(super) struct JournalRun<F> {
    pub(super) file: Arc<JournalFile<F>>,
    pub(super) position: u64,
    pub(super) batches: Vec<Expected>,
    pub(super) bytes: u64,
}

/// What a batch's header must say where its own CRC does not cover it: offset, size and leader epoch are stamped later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    base: Offset,
    bytes: u32,
    epoch: LeaderEpoch,
}

impl Expected {
    pub(super) fn of(batch: &Batch) -> Self {
        Self { base: batch.base, bytes: batch.bytes, epoch: batch.epoch }
    }
}

impl<D: Disk> Lease<D> {
    pub(super) fn take(
        extent: &Extent,
        reader: Reader,
        (disk, rot): (&D, &Arc<Rot>),
        (index, segments, files): (&Index<D::File>, &SegmentTable, &Arc<SegmentFiles<D>>),
    ) -> Self {
        let (from, to, bytes_max) = (extent.from, extent.to, extent.bytes_max);
        let source = if from >= to {
            Source::Memory(Vec::new())
        } else {
            let of_index = || index.from(extent.partition, from).take_while(|batch| batch.next <= to);
            // A copy of a cleaned log has empty batches here as well.
            let skips_empty = reader.skips_empty() && of_index().any(|batch| !batch.is_empty());
            let mut batches = of_index().skip_while(|batch| skips_empty && batch.is_empty()).peekable();
            let place = batches.peek().map(|first| index.place(first));
            match place {
                Some(Place::Memory(_)) => {
                    Source::Memory(memory_runs(index, (reader.is_ahead(), skips_empty), batches, bytes_max))
                }
                Some(Place::Unfinished) if reader.is_ahead() => {
                    Source::Memory(memory_runs(index, (true, skips_empty), batches, bytes_max))
                }
                Some(Place::Journal(..)) => {
                    Source::Journal(disk.clone(), journal_runs(index, skips_empty, batches, bytes_max))
                }
                // One that the extent has no more than a part of.
                None if index.from(extent.partition, from).next().is_some() => Source::Missing,
                Some(Place::Segment) | None => segment_source(extent, segments, files),
                Some(Place::Unfinished) => Source::Missing,
            }
        };
        let (partition, rot) = (extent.partition, Arc::clone(rot));
        Self { partition, rot, from, to, bytes_max, source, reader, behind: None }
    }

    /// Where a consumer is to go on, if the segment that it reads may have nothing but empty batches from here on.
    pub(super) fn cleaned_to(&self) -> Option<Offset> {
        let Source::Segment(read) = &self.source else { return None };
        let goes_on = self.reader.skips_empty() && read.segment.is_cleaned() && read.segment.next < self.to;
        goes_on.then_some(read.segment.next)
    }

    /// The bytes behind are given where here are none.
    pub(super) fn go_on_with(&mut self, behind: Self) {
        self.behind = Some(Box::new(behind));
    }

    /// The bytes, if they are in memory: whole batches, at most `bytes_max` bytes (and no more than the extent asks for),
    /// except that the first batch is given in any case when `may_exceed` says so (KIP-74). `None`: [`Lease::resolve`] them.
    #[must_use]
    pub fn resolve_now(&self, bytes_max: u32, may_exceed: bool) -> Option<Chain> {
        match &self.source {
            Source::Memory(runs) => Some(take_runs(runs, bytes_max.min(self.bytes_max), may_exceed)),
            Source::Journal(..) | Source::Segment(_) | Source::Missing | Source::Lost => None,
        }
    }

    /// The bytes, wherever they are; as [`Lease::resolve_now`].
    ///
    /// # Errors
    /// [`ReadError`]: the partition's part of the answer becomes an error.
    pub async fn resolve(self, bytes_max: u32, may_exceed: bool) -> Result<Chain, ReadError> {
        let skips_empty = self.reader.skips_empty();
        let read = self.read(bytes_max, (may_exceed, skips_empty)).await;
        let is_segment = matches!(self.source, Source::Segment(_));
        if !(is_segment && skips_empty && may_exceed && read.as_ref().is_ok_and(Vec::is_empty)) {
            return read;
        }
        if let Some(behind) = &self.behind {
            let read = behind.read(bytes_max, (may_exceed, skips_empty)).await;
            if read.as_ref().is_ok_and(|chain| !chain.is_empty()) {
                return read;
            }
        }
        // The reader cannot go on without them.
        self.read(bytes_max, (may_exceed, false)).await
    }

    async fn read(
        &self,
        bytes_max: u32,
        (may_exceed, skips_empty): (bool, bool),
    ) -> Result<Chain, ReadError> {
        let limit = bytes_max.min(self.bytes_max);
        let read = match &self.source {
            Source::Memory(runs) => Ok(take_runs(runs, limit, may_exceed)),
            Source::Journal(disk, runs) => read_journal(disk, runs, u64::from(limit), may_exceed).await,
            Source::Segment(read) => {
                read.read(self.from, self.to, u64::from(limit), (may_exceed, skips_empty)).await
            }
            Source::Missing => Err(ReadError::Gone),
            Source::Lost => Err(ReadError::Lost),
        };
        // A loss is told again: when the core heard of it first, there may have been no other copy, so that it kept this one.
        if let Err(ReadError::Damaged(_) | ReadError::Lost) = &read {
            self.rot.report(self.partition, self.from);
        }
        read
    }
}

/// The batches of an extent that this node reads for itself, in a buffer of their own: nothing else is held by them.
pub(super) async fn read_back<D: Disk>(
    disk: D,
    lease: Lease<D>,
    extent: Extent,
) -> Option<Vec<ProducedBatch>> {
    let partition = extent.partition;
    let chain = match lease.resolve(extent.bytes_max, true).await {
        Ok(chain) => chain,
        Err(error) => {
            tracing::warn!("batches of {partition} from {} on cannot be read back: {error}", extent.from);
            return None;
        }
    };
    let admitted = disk.run(Lane::Cold, move || extent.admit(&chain.concat().into())).await.ok().flatten();
    if admitted.is_none() {
        tracing::warn!("batches of {partition} from {} on are not there as they were written", extent.from);
    }
    admitted
}

/// The segment that holds the extent's first offset.
fn segment_source<D: Disk>(
    extent: &Extent,
    segments: &SegmentTable,
    files: &Arc<SegmentFiles<D>>,
) -> Source<D> {
    let of_partition = segments.get(&extent.partition).map_or(&[][..], Vec::as_slice);
    if end_of(of_partition) <= extent.from {
        return Source::Lost;
    }
    let at = of_partition.partition_point(|segment| segment.next <= extent.from);
    Source::Segment(SegmentRead::take(files, extent.partition, of_partition[at]))
}

/// Batches from the front, until they pass `bytes_max`: the first in any case, so that it can be had.
fn up_to<'a>(batches: impl Iterator<Item = &'a Batch>, bytes_max: u32) -> impl Iterator<Item = &'a Batch> {
    let mut bytes = 0_u64;
    batches.take_while(move |batch| {
        let is_first = bytes == 0;
        bytes += u64::from(batch.bytes);
        is_first || bytes <= u64::from(bytes_max)
    })
}

fn memory_runs<'a, F>(
    index: &Index<F>,
    (is_ahead, skips_empty): (bool, bool),
    batches: impl Iterator<Item = &'a Batch>,
    bytes_max: u32,
) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut last: Option<(&Batch, usize)> = None;
    let mut previous_next = None;
    for batch in up_to(batches, bytes_max) {
        let gap = previous_next.is_some_and(|next| next != batch.base);
        if gap {
            break;
        }
        if skips_empty && batch.is_empty() {
            previous_next = Some(batch.next);
            continue;
        }
        let Some((buffer, at)) = index.buffer(batch) else {
            let loose = index.loose(batch).filter(|_| is_ahead);
            let Some((header, bytes)) = loose else { break };
            previous_next = Some(batch.next);
            runs.push(loose_run(header, bytes));
            last = None;
            continue;
        };
        previous_next = Some(batch.next);
        let size = batch.bytes as usize;
        match (last, runs.last_mut()) {
            (Some((before, start)), Some(run)) if Index::<F>::follows(before, batch) => {
                run.bytes = buffer.slice(start..at + size);
                run.ends.push(at + size - start);
                last = Some((batch, start));
            }
            (Some(_) | None, Some(_) | None) => {
                let bytes = buffer.slice(at..at + size);
                runs.push(Run { head: Bytes::new(), bytes, ends: vec![size] });
                last = Some((batch, at));
            }
        }
    }
    runs
}

/// A batch as it came, behind its stamped header.
fn loose_run(header: &BatchHeader, batch: &Bytes) -> Run {
    let mut head = [0; BATCH_HEADER_BYTES];
    header.write(&mut head);
    let ends = vec![batch.len()];
    Run { head: Bytes::copy_from_slice(&head), bytes: batch.slice(BATCH_HEADER_BYTES..), ends }
}

fn journal_runs<'a, F>(
    index: &Index<F>,
    skips_empty: bool,
    batches: impl Iterator<Item = &'a Batch>,
    bytes_max: u32,
) -> Vec<JournalRun<F>> {
    let mut runs: Vec<JournalRun<F>> = Vec::new();
    let mut last: Option<&Batch> = None;
    let mut previous_next = None;
    for batch in up_to(batches, bytes_max) {
        let gap = previous_next.is_some_and(|next| next != batch.base);
        let Place::Journal(file, position) = index.place(batch) else { break };
        if gap {
            break;
        }
        previous_next = Some(batch.next);
        if skips_empty && batch.is_empty() {
            continue;
        }
        match (last, runs.last_mut()) {
            (Some(before), Some(run))
                if Index::<F>::follows(before, batch)
                    && run.bytes + u64::from(batch.bytes) <= PIECE_BYTES =>
            {
                run.batches.push(Expected::of(batch));
                run.bytes += u64::from(batch.bytes);
            }
            (Some(_) | None, Some(_) | None) => runs.push(JournalRun {
                file,
                position,
                batches: vec![Expected::of(batch)],
                bytes: u64::from(batch.bytes),
            }),
        }
        last = Some(batch);
    }
    runs
}

fn take_runs(runs: &[Run], bytes_max: u32, may_exceed: bool) -> Chain {
    let mut left = bytes_max as usize;
    let mut chain = Vec::with_capacity(runs.len());
    for run in runs {
        let fit = run.ends.partition_point(|&end| end <= left);
        let count = if fit == 0 && chain.is_empty() && may_exceed { 1 } else { fit };
        let Some(last) = count.checked_sub(1) else { break };
        let end = run.ends[last];
        left = left.saturating_sub(end);
        if !run.head.is_empty() {
            chain.push(run.head.clone());
        }
        chain.push(run.bytes.slice(..end - run.head.len()));
        if count < run.ends.len() {
            break;
        }
    }
    chain
}

async fn read_journal<D: Disk>(
    disk: &D,
    runs: &[JournalRun<D::File>],
    bytes_max: u64,
    may_exceed: bool,
) -> Result<Chain, ReadError> {
    let mut chain = Vec::with_capacity(runs.len());
    let mut left = bytes_max;
    for run in runs {
        let mut wanted = 0;
        let mut count = 0;
        for Expected { bytes, .. } in &run.batches {
            let fits = wanted + u64::from(*bytes) <= left || (wanted == 0 && chain.is_empty() && may_exceed);
            if !fits {
                break;
            }
            wanted += u64::from(*bytes);
            count += 1;
        }
        if count == 0 {
            break;
        }
        chain.push(read_journal_run(disk, run, count, wanted).await?);
        left = left.saturating_sub(wanted);
        if count < run.batches.len() {
            break;
        }
    }
    Ok(chain)
}

/// Reads the first `count` batches of a run, which are `bytes` long, and checks them.
pub(super) async fn read_journal_run<D: Disk>(
    disk: &D,
    run: &JournalRun<D::File>,
    count: usize,
    bytes: u64,
) -> Result<Bytes, ReadError> {
    let size = usize::try_from(bytes).map_err(|_| ReadError::Gone)?;
    let expected = run.batches[..count].to_vec();
    let read = disk.read_and(Lane::Cold, &run.file.file, run.position, size, move |read| {
        read.map(|bytes| is_intact(&bytes, &expected).then_some(bytes))
    });
    read.await?.ok_or_else(|| {
        ReadError::Damaged(format!("journal file {} behind byte {}", run.file.seq, run.position))
    })
}

/// The bytes are exactly the batches that are expected.
pub(super) fn is_intact(bytes: &[u8], expected: &[Expected]) -> bool {
    let mut rest = bytes;
    for &Expected { base, bytes, epoch } in expected {
        let Some((batch, after)) = rest.split_at_checked(bytes as usize) else { return false };
        let header = BatchHeader::parse(batch);
        let right = header.is_ok_and(|header| {
            header.base_offset == base && header.batch_bytes == bytes && header.leader_epoch == epoch
        });
        if !right || !verify_crc(batch) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}
