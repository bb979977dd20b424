//! One segment, stretch by stretch: the side file's lines, the stretches' checksums, each batch's own, and their order.

use super::{Done, unreadable};
use crate::store::disk::{Disk, Lane, Open};
use crate::store::segment::{LINE_BYTES, Line, Segment, segment_path, side_path, stretch_crc};
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_core::records::{BatchError, BatchHeader, check_batch};
use std::path::{Path, PathBuf};

/// Lines that are read at once.
const LINES_AT_ONCE: u64 = 2_048;
/// A stretch is never longer than 64 KiB and a batch: what claims more is no stretch.
const STRETCH_BYTES_MAX: u64 = (i32::MAX as u64) + (64 << 10);

/// The first thing in a segment that is not as it was written.
#[derive(Debug)]
pub(super) struct Unsound {
    pub(super) path: PathBuf,
    pub(super) position: u64,
    pub(super) what: String,
}

/// Checks a segment up to its end, as the table states it; what files hold behind that was never vouched for. Gives the
/// number of batches.
pub(super) async fn check<D: Disk>(
    (disk, dir, done): (&D, &Path, Done<'_>),
    partition: TopicPartition,
    segment: &Segment,
) -> Result<u64, Unsound> {
    let mut check = Check {
        disk,
        done,
        partition,
        segment,
        log: segment_path(dir, partition, segment.name()),
        side: side_path(dir, partition, segment.name()),
        position: 0,
        next: segment.base,
        batches: 0,
    };
    check.run().await?;
    Ok(check.batches)
}

struct Check<'a, D> {
    disk: &'a D,
    done: Done<'a>,
    partition: TopicPartition,
    segment: &'a Segment,
    log: PathBuf,
    side: PathBuf,
    /// Where the stretch begins that is checked next.
    position: u64,
    /// The least offset that may follow.
    next: Offset,
    batches: u64,
}

impl<D: Disk> Check<'_, D> {
    async fn run(&mut self) -> Result<(), Unsound> {
        let open = |path: &Path| self.disk.open(Lane::Background, path, Open::Read);
        let side = open(&self.side).await.map_err(|error| unreadable(&self.side, 0, &error))?;
        let log = open(&self.log).await.map_err(|error| unreadable(&self.log, 0, &error))?;
        let mut number = 0;
        while number < self.segment.lines && self.next < self.segment.next {
            let count = LINES_AT_ONCE.min(self.segment.lines - number);
            let at = number * LINE_BYTES as u64;
            let bytes = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(LINE_BYTES);
            // A segment that was cut has fewer lines than the table may say: read what is there.
            let length = self.disk.length(Lane::Background, &side).await;
            let left = length.map_err(|error| unreadable(&self.side, at, &error))?.saturating_sub(at);
            let bytes = bytes.min(usize::try_from(left).unwrap_or(usize::MAX)) / LINE_BYTES * LINE_BYTES;
            if bytes == 0 {
                return Err(self.wrong_side(at, "the file ends too early"));
            }
            let lines = self.disk.read_at(Lane::Background, &side, at, bytes).await;
            let lines = lines.map_err(|error| unreadable(&self.side, at, &error))?;
            for line in lines.chunks_exact(LINE_BYTES) {
                if self.next >= self.segment.next {
                    break;
                }
                let place = number * LINE_BYTES as u64;
                let line = Line::decode(self.partition, self.segment.base, number, line);
                let line =
                    line.ok_or_else(|| self.wrong_side(place, "the line does not match its checksum"))?;
                let bytes = line.position.checked_sub(self.position);
                let bytes = bytes.filter(|bytes| (1..=STRETCH_BYTES_MAX).contains(bytes));
                let bytes = bytes.ok_or_else(|| self.wrong_side(place, "the line is out of order"))?;
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                let read = self.disk.read_at(Lane::Background, &log, self.position, bytes).await;
                let stretch = read.map_err(|error| unreadable(&self.log, self.position, &error))?;
                self.stretch(&line, &stretch)?;
                (self.done)(stretch.len() as u64);
                number += 1;
            }
        }
        if self.next < self.segment.next {
            let what = format!("it ends at offset {}, not at {}", self.next, self.segment.next);
            return Err(Unsound { path: self.log.clone(), position: self.position, what });
        }
        Ok(())
    }

    /// Batches first: they name the place more closely.
    fn stretch(&mut self, line: &Line, stretch: &[u8]) -> Result<(), Unsound> {
        let mut at = 0;
        let mut next = self.next;
        while at < stretch.len() {
            let rest = &stretch[at..];
            let header = BatchHeader::parse(rest).map_err(|error| self.wrong_batch(at, next, error))?;
            let batch = rest.get(..header.batch_bytes as usize);
            let batch = batch.ok_or_else(|| self.wrong_batch(at, next, BatchError::Incomplete))?;
            check_batch(batch).map_err(|error| self.wrong_batch(at, next, error))?;
            if header.base_offset < next {
                let what = format!("batch at offset {} stands behind offset {next}", header.base_offset);
                return Err(self.wrong_log(at, what));
            }
            next = header.next_offset();
            at += batch.len();
            // What was cut away is not part of the log.
            self.batches += u64::from(next <= self.segment.next);
        }
        let crc =
            crc32c::crc32c_append(stretch_crc(self.partition, self.segment.base, self.position), stretch);
        if crc != line.crc {
            let what = format!(
                "{} bytes from offset {} on belong to another place: they do not match the checksum in the index",
                stretch.len(),
                self.next
            );
            return Err(self.wrong_log(0, what));
        }
        if next != line.next {
            let what = format!("its stretch ends at offset {next}, the index says {}", line.next);
            return Err(self.wrong_log(0, what));
        }
        self.position = line.position;
        self.next = next;
        Ok(())
    }

    fn wrong_batch(&self, at: usize, next: Offset, error: BatchError) -> Unsound {
        self.wrong_log(at, format!("the batch at offset {next} is not what was written: {error}"))
    }

    fn wrong_log(&self, at: usize, what: String) -> Unsound {
        Unsound { path: self.log.clone(), position: self.position + at as u64, what }
    }

    fn wrong_side(&self, position: u64, what: &str) -> Unsound {
        Unsound { path: self.side.clone(), position, what: what.to_owned() }
    }
}
