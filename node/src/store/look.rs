//! Look-ups by timestamp: which batch, by the segments' side files and the index; which record, by looking into that batch.

use super::disk::{Disk, Lane};
use super::index::{Batch, Index, Place};
use super::lease::{Expected, JournalRun, read_journal_run};
use super::pieces::{PIECE_BYTES, PieceBatch};
use super::reader::{ReadError, SegmentFiles, SegmentRead};
use super::segment::{Segment, SegmentTable, Tail, end_of};
use crate::codec;
use bytes::Bytes;
use seedlog_core::ids::Offset;
use seedlog_core::input::ReadResult;
use seedlog_core::output::{Extent, Look};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader, RecordIter};
use std::sync::Arc;

/// Batches of the index that a look-up takes along. The first one nearly always holds the record; it does not where the
/// extent begins inside of it.
const CANDIDATES_MAX: usize = 4;

/// A look-up with all that it needs, taken when the output was taken (SAFETY R8).
#[derive(Debug)]
pub(super) struct LookUp<D: Disk> {
    disk: D,
    extent: Extent,
    look: Look,
    decompressed_bytes_max: usize,
    segments: Vec<SegmentRead<D>>,
    batches: Vec<(Batch, Place<D::File>)>,
}

/// A record: its offset and its timestamp.
type Found = Option<(Offset, i64)>;

impl<D: Disk> LookUp<D> {
    pub(super) fn take(
        disk: &D,
        extent: &Extent,
        look: Look,
        decompressed_bytes_max: usize,
        (index, table, files): (&Index<D::File>, &SegmentTable, &Arc<SegmentFiles<D>>),
    ) -> Self {
        let of_partition = table.get(&extent.partition).map_or(&[][..], Vec::as_slice);
        let segments = of_partition
            .iter()
            .filter(|segment| segment.next > extent.from && segment.base < extent.to)
            .filter(|segment| match look {
                Look::Timestamp(target) => segment.max_timestamp >= target,
                Look::MaxTimestamp => true,
            })
            .map(|segment| SegmentRead::take(files, extent.partition, *segment))
            .collect();
        let from = extent.from.max(end_of(of_partition));
        let batches = index.behind(extent.partition, from).take_while(|batch| batch.next <= extent.to);
        let batches: Vec<Batch> = match look {
            Look::Timestamp(target) => {
                batches.filter(|batch| batch.max_timestamp >= target).take(CANDIDATES_MAX).copied().collect()
            }
            Look::MaxTimestamp => {
                let (mut begins_within, mut best): (Vec<Batch>, Vec<Batch>) = (Vec::new(), Vec::new());
                for batch in batches {
                    // Its greatest timestamp may be that of a record in front of the extent.
                    if batch.base < extent.from {
                        begins_within.push(*batch);
                    } else if best.first().is_none_or(|first| batch.max_timestamp > first.max_timestamp) {
                        best.insert(0, *batch);
                        best.truncate(CANDIDATES_MAX);
                    }
                }
                begins_within.append(&mut best);
                begins_within
            }
        };
        let batches = batches.into_iter().map(|batch| (batch, index.place(&batch))).collect();
        Self { disk: disk.clone(), extent: *extent, look, decompressed_bytes_max, segments, batches }
    }

    /// Does it.
    pub(super) async fn run(self) -> ReadResult {
        let found = match self.look {
            Look::Timestamp(target) => self.first_since(target).await,
            Look::MaxTimestamp => self.greatest().await,
        };
        match found {
            Ok(Some((offset, timestamp_ms))) => ReadResult::Found { offset, timestamp_ms },
            Ok(None) => ReadResult::NotFound,
            Err(error) => {
                tracing::warn!("a look-up by timestamp in {} failed: {error}", self.extent.partition);
                ReadResult::Failed
            }
        }
    }

    async fn first_since(&self, target: i64) -> Result<Found, ReadError> {
        for segment in &self.segments {
            // The line's timestamp counts from the segment's start; the extent may begin behind that record.
            let covered = segment.segment.base < self.extent.from;
            let mut cursor = if covered {
                segment.seek(self.extent.from).await?
            } else {
                segment.seek_timestamp(target).await?
            };
            while let Some(piece) = cursor.next_piece(PIECE_BYTES).await? {
                for batch in &piece.batches {
                    if self.holds(&segment.segment, batch) && batch.max_timestamp >= target {
                        let found = self.search(piece.slice(batch.range())).await?;
                        if found.is_some() {
                            return Ok(found);
                        }
                    }
                }
            }
        }
        for (batch, place) in &self.batches {
            let found = self.search(self.load(batch, place).await?).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    async fn greatest(&self) -> Result<Found, ReadError> {
        let mut best: Found = None;
        for segment in &self.segments {
            let is_beaten = best.is_some_and(|(_, timestamp)| timestamp >= segment.segment.max_timestamp);
            if is_beaten {
                continue;
            }
            // What a cut took away counts in the greatest timestamp until the segment is trimmed.
            let exact = segment.segment.tail != Tail::Cut;
            let whole =
                segment.segment.base >= self.extent.from && segment.segment.next <= self.extent.to && exact;
            let found = if whole {
                self.greatest_in(segment, segment.seek_timestamp(segment.segment.max_timestamp).await?, true)
                    .await?
            } else {
                let from = self.extent.from.max(segment.segment.base);
                self.greatest_in(segment, segment.seek(from).await?, false).await?
            };
            best = later(best, found);
        }
        for (batch, place) in &self.batches {
            if best.is_none_or(|(_, timestamp)| batch.max_timestamp > timestamp) {
                best = later(best, self.search(self.load(batch, place).await?).await?);
            }
        }
        Ok(best.filter(|(_, timestamp)| *timestamp >= 0))
    }

    /// The greatest from the cursor on; `at_once`: the first batch with the segment's greatest timestamp is it.
    async fn greatest_in(
        &self,
        segment: &SegmentRead<D>,
        mut cursor: super::reader::Cursor<'_, D>,
        at_once: bool,
    ) -> Result<Found, ReadError> {
        let mut begins_within: Found = None;
        let mut best: Option<(i64, Bytes)> = None;
        'pieces: while let Some(piece) = cursor.next_piece(PIECE_BYTES).await? {
            for batch in piece.batches.iter().filter(|batch| self.holds(&segment.segment, batch)) {
                let timestamp = batch.max_timestamp;
                if batch.base < self.extent.from {
                    begins_within = self.search(piece.slice(batch.range())).await?;
                    continue;
                }
                if best.as_ref().is_none_or(|(best, _)| timestamp > *best) {
                    best = Some((timestamp, piece.slice(batch.range())));
                }
                if at_once && timestamp >= segment.segment.max_timestamp {
                    break 'pieces;
                }
            }
        }
        match best {
            Some((_, batch)) => Ok(later(begins_within, self.search(batch).await?)),
            None => Ok(begins_within),
        }
    }

    fn holds(&self, segment: &Segment, batch: &PieceBatch) -> bool {
        batch.next > self.extent.from && batch.next <= self.extent.to.min(segment.next)
    }

    async fn load(&self, batch: &Batch, place: &Place<D::File>) -> Result<Bytes, ReadError> {
        match place {
            Place::Memory(bytes) => Ok(bytes.clone()),
            Place::Journal(file, position) => {
                let bytes = u64::from(batch.bytes);
                let batches = vec![Expected::of(batch)];
                let run = JournalRun { file: Arc::clone(file), position: *position, batches, bytes };
                read_journal_run(&self.disk, &run, 1, bytes).await
            }
            Place::Segment | Place::Unfinished => Err(ReadError::Gone),
        }
    }

    /// Looks into one batch.
    async fn search(&self, batch: Bytes) -> Result<Found, ReadError> {
        let (look, from, budget) = (self.look, self.extent.from, self.decompressed_bytes_max);
        self.disk.run(Lane::Cold, move || search(&batch, look, from, budget)).await?
    }
}

fn later(best: Found, found: Found) -> Found {
    match (best, found) {
        (Some(best), Some(found)) => Some(if found.1 > best.1 { found } else { best }),
        (best, None) => best,
        (None, found) => found,
    }
}

fn search(batch: &[u8], look: Look, from: Offset, budget: usize) -> Result<Found, ReadError> {
    let damaged = |what: String| ReadError::Damaged(format!("a batch at offset {from} or behind: {what}"));
    let header = BatchHeader::parse(batch).map_err(|error| damaged(error.to_string()))?;
    let codec = header.compression().ok_or_else(|| damaged("its codec is unknown".to_owned()))?;
    let payload = codec::decompress(codec, &batch[BATCH_HEADER_BYTES..], budget);
    let payload = payload.map_err(|error| damaged(error.to_string()))?;
    let records = RecordIter::new(&header, &payload)
        .map_while(|record| record.ok().map(|record| (record.offset, record.timestamp)))
        .filter(|(offset, _)| *offset >= from);
    Ok(match look {
        Look::Timestamp(target) => records.into_iter().find(|(_, timestamp)| *timestamp >= target),
        Look::MaxTimestamp => records.reduce(|best, next| if next.1 > best.1 { next } else { best }),
    })
}
