//! Cleaning: a compacted log is read from its start, and what is left of it is written to new segments beside the old ones
//! ([`seedlog_core::records::Cleaner`] says what that is).
//!
//! ```text
//!  order ─► keys: the dirty part is read, the last offset of each key noted ─┐
//!                                                                             ▼
//!           write: all segments are read again, new ones written ─► synced ─► Compacted ─► the journal says so ─► swap (`cuts`)
//! ```
//!
//! A pass goes on beside all else, a piece of about 1 MiB at a time: its processor work stands in the queue of cold reads, its
//! writes in that of write-behind, and neither holds a place while the other is waited for. Memory: the table of keys
//! ([`super::StoreOptions::cleaner_keys_bytes_max`]), one piece read and one written, one batch decompressed.
//!
//! Until the swap the log is there twice, as it was and as it is left. A pass begins no new segment that could leave less room on
//! the disk than [`super::StoreOptions::free_bytes_min`].
//!
//! What a pass wrote and nobody swapped in is removed when the next one begins; after a crash, when the partition's next one
//! does.

use super::Store;
use super::StoreEvent;
use super::disk::{Disk, Lane, is_out_of_space};
use super::duties::Done;
use super::new_segments::{NewSegments, Place};
use super::pieces::{PIECE_BYTES, Piece};
use super::reader::{ReadError, SegmentRead};
use super::segment::{Segment, SegmentName, Tail, partition_dir, segment_path, side_path};
use crate::codec;
use bytes::Bytes;
use seedlog_core::ids::{Lsn, Offset, OpId, TopicPartition, Uuid};
use seedlog_core::log::{Compaction, CompactionOrder, CompactionResult, SegmentAge};
use seedlog_core::records::{
    BATCH_HEADER_BYTES, BatchHeader, Cleaner, Cleaning, KeyOffsets, Payload, RecordIter,
};
use seedlog_core::time::WallMs;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What is under way, and what is left of what was.
#[derive(Debug, Default)]
pub(super) struct Passes {
    /// The log that is being cleaned, and how its pass is told to end.
    now: Option<(TopicPartition, Arc<AtomicBool>)>,
    /// Files that the last pass wrote, until they are swapped in.
    unswapped: Option<(TopicPartition, Lsn, Vec<SegmentName>)>,
    /// Partitions in whose folders nothing of an earlier run is left.
    tidied: BTreeSet<TopicPartition>,
}

impl Passes {
    /// A topic is to be removed: `true` if a pass must end before.
    pub(super) fn stop(&self, topic_id: Uuid) -> bool {
        match &self.now {
            Some((partition, stop)) if partition.topic_id == topic_id => {
                stop.store(true, Ordering::Relaxed);
                true
            }
            Some(_) | None => false,
        }
    }

    /// What the pass of this number wrote is the log's.
    pub(super) fn on_swapped(&mut self, made: Lsn) {
        self.unswapped.take_if(|(_, number, _)| *number == made);
    }
}

impl<D: Disk> Store<D> {
    /// Cleans a log if that is worth it; ends with [`StoreEvent::Compacted`].
    pub fn compact(&mut self, op: OpId, order: CompactionOrder) {
        let last = self.segments.get(&order.partition).and_then(|segments| segments.last());
        if last.is_none_or(|last| last.next < order.up_to) {
            // The next order finds them.
            self.ask_round();
        }
        let segments = self.segments.get(&order.partition).map_or(&[][..], Vec::as_slice);
        // A round may be adding to the last one.
        let grows = |segment: &Segment| segment.tail == Tail::Growing && segment.next < order.sealed_to;
        let last = segments.last().filter(|last| grows(last));
        let whole = segments[..segments.len() - last.iter().len()]
            .iter()
            .take_while(|segment| segment.next <= order.up_to);
        let ages: Vec<SegmentAge> = whole
            .clone()
            .map(|segment| SegmentAge {
                next: segment.next,
                bytes: segment.bytes,
                max_timestamp: segment.max_timestamp,
            })
            .collect();
        let Some(end) = order.end(&ages) else {
            self.events.push_back(StoreEvent::Compacted { op, result: CompactionResult::NotDue });
            return;
        };
        let segments = whole.take_while(|segment| segment.next <= end);
        let segments =
            segments.map(|segment| SegmentRead::take(&self.files, order.partition, *segment)).collect();
        let stop = Arc::new(AtomicBool::new(false));
        self.cleaning.now = Some((order.partition, Arc::clone(&stop)));
        let is_tidy = !self.cleaning.tidied.insert(order.partition);
        let pass = Pass {
            place: Place {
                disk: self.disk.clone(),
                log_dir: self.options.log_dir.clone(),
                partition: order.partition,
                made: order.made,
                segment_bytes: order.segment_bytes,
                interval_bytes: self.options.index_interval_bytes,
                free_bytes_min: self.options.free_bytes_min,
            },
            keys_bytes_max: self.options.cleaner_keys_bytes_max,
            decompressed_bytes_max: self.options.decompressed_bytes_max,
            pace: Pace::new(self.options.cleaner_bytes_per_second_max),
            leftovers: self.cleaning.unswapped.take(),
            untidy: (!is_tidy).then(|| self.cuts.files_of(order.partition, &self.segments)),
            stop,
            segments,
            order,
        };
        self.tasks.push(Box::pin(async move { Done::Compacted { op, outcome: pass.run().await } }));
    }

    pub(super) fn on_compacted(&mut self, op: OpId, outcome: Outcome) {
        let partition = self.cleaning.now.take().map(|(partition, _)| partition);
        let result = match outcome {
            Outcome::Done { compaction, names, bytes_read, bytes_written } => {
                self.journal.counters.compacted_bytes += bytes_read;
                self.journal.counters.compaction_written_bytes += bytes_written;
                self.journal.counters.compactions += 1;
                self.cleaning.unswapped = partition.map(|partition| (partition, compaction.made, names));
                CompactionResult::Done(compaction)
            }
            Outcome::Nothing(why) => {
                if let Some(partition) = partition {
                    tracing::warn!("{partition} is not compacted this time: {why}");
                }
                CompactionResult::Failed
            }
            Outcome::Damaged { from, what } => {
                tracing::warn!("a log is not compacted: {what}");
                if let Some(partition) = partition {
                    self.rot.report(partition, from);
                }
                CompactionResult::Failed
            }
            Outcome::DiskFailed(error) => {
                self.fail(format!("a segment cannot be cleaned: {error}"));
                return;
            }
        };
        self.events.push_back(StoreEvent::Compacted { op, result });
    }
}

/// How a pass ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// New segments are on disk.
    Done { compaction: Compaction, names: Vec<SegmentName>, bytes_read: u64, bytes_written: u64 },
    /// All is as it was.
    Nothing(String),
    /// A segment is not what was written, in the batches from an offset on.
    Damaged { from: Offset, what: String },
    /// A new segment cannot be written (SAFETY J10).
    DiskFailed(io::Error),
}

/// Why a pass ends early.
enum Stop {
    Read(Offset, ReadError),
    Write(io::Error),
    Told,
    TooManyKeys,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Holds a pass back to so many bytes a second, read and written together.
struct Pace {
    bytes_per_second_max: Option<u64>,
    begun: Instant,
    bytes: u64,
}

impl Pace {
    fn new(bytes_per_second_max: Option<u64>) -> Self {
        Self { bytes_per_second_max, begun: Instant::now(), bytes: 0 }
    }

    async fn spend(&mut self, bytes: u64) {
        if let Some(due) = self.due_after(bytes) {
            sleep_until(self.begun + due).await;
        }
    }

    /// How long after it began a pass may go on that has read and written so much more.
    fn due_after(&mut self, bytes: u64) -> Option<Duration> {
        let rate = self.bytes_per_second_max?;
        self.bytes += bytes;
        Some(Duration::from_millis(self.bytes.saturating_mul(1_000) / rate.max(1)))
    }
}

struct Pass<D: Disk> {
    place: Place<D>,
    keys_bytes_max: usize,
    decompressed_bytes_max: usize,
    pace: Pace,
    leftovers: Option<(TopicPartition, Lsn, Vec<SegmentName>)>,
    /// The segments that the log may have, if files of an earlier run may be beside them.
    untidy: Option<BTreeSet<SegmentName>>,
    stop: Arc<AtomicBool>,
    /// All of the log up to where the pass may go.
    segments: Vec<SegmentRead<D>>,
    order: CompactionOrder,
}

/// What the pieces' work shares.
struct Rules {
    keys: KeyOffsets,
    mapped_to: Offset,
    tombstones_to: Offset,
    now: WallMs,
    delete_retention_ms: i64,
    producers_last: BTreeSet<Offset>,
}

impl<D: Disk> Pass<D> {
    async fn run(mut self) -> Outcome {
        if let Err(error) = self.tidy().await {
            return Outcome::DiskFailed(error);
        }
        let mut new =
            NewSegments::new(self.place.clone(), self.segments.iter().map(|read| read.segment.bytes).sum());
        let result = self.make(&mut new).await;
        let (bytes_written, names) = (new.bytes(), new.into_names());
        let stop = match result {
            Ok((compaction, bytes_read)) => {
                return Outcome::Done { compaction, names, bytes_read, bytes_written };
            }
            Err(stop) => stop,
        };
        if let Err(error) = self.remove(self.order.partition, &names).await {
            return Outcome::DiskFailed(error);
        }
        match stop {
            Stop::Read(from, ReadError::Damaged(what)) => Outcome::Damaged { from, what },
            Stop::Read(_, error @ (ReadError::Gone | ReadError::Lost | ReadError::Disk(_))) => {
                Outcome::Nothing(error.to_string())
            }
            Stop::Write(error) if is_out_of_space(&error) => {
                Outcome::Nothing("there is no room for its new segments".to_owned())
            }
            Stop::Write(error) => Outcome::DiskFailed(error),
            Stop::Told => Outcome::Nothing("its topic is being removed".to_owned()),
            Stop::TooManyKeys => Outcome::Nothing(
                "log.cleaner.dedupe.buffer.size is too small for the keys of its first batch".to_owned(),
            ),
        }
    }

    /// Removes what earlier passes left.
    async fn tidy(&mut self) -> io::Result<()> {
        if let Some((partition, _, names)) = self.leftovers.take() {
            self.remove(partition, &names).await?;
        }
        let Some(known) = self.untidy.take() else { return Ok(()) };
        let dir = partition_dir(&self.place.log_dir, self.order.partition);
        let entries = match self.place.disk.list(Lane::Background, &dir).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let found = entries.iter().filter_map(|entry| SegmentName::parse(&entry.name));
        let left: BTreeSet<SegmentName> =
            found.filter(|name| name.made > Lsn::ZERO && !known.contains(name)).collect();
        self.remove(self.order.partition, &left.into_iter().collect::<Vec<_>>()).await
    }

    async fn remove(&self, partition: TopicPartition, names: &[SegmentName]) -> io::Result<()> {
        for &name in names {
            self.place
                .disk
                .remove(Lane::Background, &segment_path(&self.place.log_dir, partition, name))
                .await?;
            self.place
                .disk
                .remove(Lane::Background, &side_path(&self.place.log_dir, partition, name))
                .await?;
        }
        Ok(())
    }

    async fn make(&mut self, new: &mut NewSegments<D>) -> Result<(Compaction, u64), Stop> {
        let (keys, mapped_to) = self.note_keys().await?;
        let rules = Arc::new(Rules {
            keys,
            mapped_to,
            tombstones_to: self.order.tombstones_to,
            now: self.order.now,
            delete_retention_ms: self.order.rules.delete_retention_ms,
            producers_last: self.order.producers_last.iter().copied().collect(),
        });
        self.segments.retain(|read| read.segment.base < mapped_to);
        let (from, to) = match (self.segments.first(), self.segments.last()) {
            (Some(first), Some(last)) => (first.segment.base, last.segment.next),
            _ => return Err(Stop::TooManyKeys),
        };
        let mut bytes_read = 0;
        let mut cleaner = Cleaner::new();
        for at in 0..self.segments.len() {
            let segment = self.segments[at].segment;
            let ends = at + 1 == self.segments.len();
            let mut cursor =
                self.segments[at].seek(segment.base).await.map_err(|e| Stop::Read(segment.base, e))?;
            loop {
                let piece = cursor.next_piece(PIECE_BYTES).await.map_err(|e| Stop::Read(segment.base, e))?;
                let is_last = piece.is_none() && ends;
                if piece.is_none() && !is_last {
                    break;
                }
                let bytes = piece.as_ref().map_or(0, |piece| piece.bytes.len());
                bytes_read += bytes as u64;
                let cleaned = self.clean(cleaner, piece, (segment.next, is_last), &rules).await?;
                cleaner = cleaned.cleaner;
                let before = new.bytes();
                new.write(&cleaned.batches).await?;
                if is_last {
                    break;
                }
                self.pace.spend(bytes as u64 + new.bytes() - before).await;
            }
        }
        let compaction = Compaction {
            made: self.order.made,
            from,
            to,
            cleaned_to: mapped_to.min(to),
            tombstones_gone_to: cleaner.tombstones_gone_to(),
            segments: new.finish().await?,
        };
        Ok((compaction, bytes_read))
    }

    /// The last offsets of the keys of the dirty part, as far as there is memory for them, and how far that is.
    async fn note_keys(&mut self) -> Result<(KeyOffsets, Offset), Stop> {
        let mut keys = KeyOffsets::new(self.order.hash_key, self.keys_bytes_max);
        let mut mapped_to = self.order.dirty_from;
        for read in &self.segments {
            let segment = read.segment;
            if segment.next <= self.order.dirty_from {
                continue;
            }
            let from = segment.base.max(self.order.dirty_from);
            let mut cursor = read.seek(from).await.map_err(|e| Stop::Read(from, e))?;
            while let Some(piece) = cursor.next_piece(PIECE_BYTES).await.map_err(|e| Stop::Read(from, e))? {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Stop::Told);
                }
                let (bytes, budget, dirty_from) =
                    (piece.bytes.len(), self.decompressed_bytes_max, self.order.dirty_from);
                let work = move || {
                    let mut to = mapped_to;
                    let mut is_full = false;
                    for (header, whole) in batches(&piece, segment.next) {
                        is_full = !note(&mut keys, &header, &whole, dirty_from, budget);
                        if is_full {
                            break;
                        }
                        to = to.max(header.next_offset());
                    }
                    (keys, to, is_full)
                };
                let (noted, to, is_full) = self.place.disk.run(Lane::Cold, work).await?;
                (keys, mapped_to) = (noted, to);
                if is_full {
                    return if mapped_to > self.order.dirty_from {
                        Ok((keys, mapped_to))
                    } else {
                        Err(Stop::TooManyKeys)
                    };
                }
                self.pace.spend(bytes as u64).await;
            }
        }
        Ok((keys, mapped_to))
    }

    /// What is left of a piece. `is_last`: nothing comes behind it.
    async fn clean(
        &self,
        mut cleaner: Cleaner,
        piece: Option<Piece>,
        (end, is_last): (Offset, bool),
        rules: &Arc<Rules>,
    ) -> Result<Cleaned, Stop> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Stop::Told);
        }
        let (rules, budget) = (Arc::clone(rules), self.decompressed_bytes_max);
        let work = move || {
            let mut left = Vec::new();
            let mut put = |header: BatchHeader, bytes: Bytes| left.push((header, bytes));
            let cleaning = Cleaning {
                keys: &rules.keys,
                mapped_to: rules.mapped_to,
                tombstones_to: rules.tombstones_to,
                now: rules.now,
                delete_retention_ms: rules.delete_retention_ms,
                producers_last: &rules.producers_last,
            };
            for (header, whole) in piece.iter().flat_map(|piece| batches(piece, end)) {
                clean_batch(&mut cleaner, &cleaning, (&header, whole), budget, &mut put);
            }
            if is_last {
                cleaner.end_gap(&mut put);
            }
            Cleaned { cleaner, batches: left }
        };
        Ok(self.place.disk.run(Lane::Cold, work).await?)
    }
}

struct Cleaned {
    cleaner: Cleaner,
    batches: Vec<(BatchHeader, Bytes)>,
}

/// The batches of a piece that are part of a log that ends at `end`.
fn batches(piece: &Piece, end: Offset) -> impl Iterator<Item = (BatchHeader, Bytes)> {
    let held = piece.batches.iter().filter(move |batch| batch.next <= end);
    held.filter_map(|batch| {
        let whole = piece.bytes.slice(batch.range());
        Some((BatchHeader::parse(&whole).ok()?, whole))
    })
}

/// Notes the keys of a batch. `false`: there is no room for all of them. Of a batch that cannot be read nothing is known, and
/// older records of its keys stay.
fn note(keys: &mut KeyOffsets, header: &BatchHeader, whole: &[u8], from: Offset, budget: usize) -> bool {
    if header.is_control() || header.record_count == 0 {
        return true;
    }
    let Some(codec) = header.compression() else { return true };
    let Ok(payload) = codec::decompress(codec, &whole[BATCH_HEADER_BYTES..], budget) else { return true };
    let records: Result<Vec<_>, _> = RecordIter::new(header, &payload).collect();
    let Ok(records) = records else { return true };
    let dirty = records.iter().filter(|record| record.offset >= from);
    dirty.filter_map(|record| Some((record.key?, record.offset))).all(|(key, offset)| keys.note(key, offset))
}

fn clean_batch(
    cleaner: &mut Cleaner,
    cleaning: &Cleaning<'_>,
    (header, whole): (&BatchHeader, Bytes),
    budget: usize,
    put: &mut impl FnMut(BatchHeader, Bytes),
) {
    let codec = header.compression();
    let payload = codec.and_then(|codec| {
        Some((codec, codec::decompress(codec, &whole[BATCH_HEADER_BYTES..], budget).ok()?))
    });
    let Some((codec, payload)) = payload else {
        tracing::warn!(
            "the batch at offset {} cannot be decompressed and stays as it is",
            header.base_offset
        );
        cleaner.keep(header, whole.clone(), put);
        return;
    };
    let records =
        Payload { records: &payload, compress: |records: &[u8]| codec::compress(codec, records).ok() };
    if let Err(error) = cleaner.add(cleaning, header, &whole, records, put) {
        tracing::warn!("the batch at offset {} stays as it is: {error}", header.base_offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_goes_on_when_its_rate_allows_for_all_that_it_has_done() {
        let mut pace = Pace::new(Some(1_000));
        assert_eq!(pace.due_after(500), Some(Duration::from_millis(500)));
        assert_eq!(pace.due_after(2_000), Some(Duration::from_millis(2_500)));
        assert_eq!(Pace::new(None).due_after(u64::MAX), None);
    }
}
