//! Reading segments: find the stretch, read it in pieces of about 1 MiB, check it against the side file, walk its batches.

use super::disk::{Disk, Lane, Open};
use super::segment::{LINE_BYTES, Line, Segment, Tail, segment_path, side_path, stretch_crc};
use bytes::Bytes;
use seedlog_core::ids::{Offset, TopicPartition, Uuid};
use seedlog_core::records::{BatchHeader, Batches, NO_TIMESTAMP};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A piece of a cold read ends at the first stretch that would make it larger.
pub(super) const PIECE_BYTES: u64 = 1 << 20;
/// Lines that are read at once.
const PAGE_LINES: u64 = 128;

/// Why bytes cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// They are not there: the files went with their topic, or the offsets were lost in a damaged journal.
    #[error("the offsets asked for are not in this node's files")]
    Gone,
    /// They are there and not what was written.
    #[error("{0}: the data is damaged on disk; restore it from another replica or a copy")]
    Damaged(String),
    /// The disk fails.
    #[error("the disk cannot be read: {0}")]
    Disk(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        let kind = error.kind();
        if kind == ErrorKind::NotFound {
            Self::Gone
        } else if kind == ErrorKind::UnexpectedEof {
            Self::Damaged("a file is shorter than it was".to_owned())
        } else {
            Self::Disk(error.to_string())
        }
    }
}

/// Segments that are open for reading: a bounded number, the least recently used one goes.
#[derive(Debug)]
pub(super) struct SegmentFiles<D: Disk> {
    disk: D,
    log_dir: PathBuf,
    open_max: usize,
    cache: Mutex<Cache<D::File>>,
}

#[derive(Debug)]
struct Cache<F> {
    /// By partition and base offset, each with the clock of its last use.
    open: BTreeMap<(TopicPartition, Offset), Used<F>>,
    clock: u64,
    /// How often segments of a name were cut away as a whole: another one may have the name since.
    lives: BTreeMap<(TopicPartition, Offset), u64>,
}

type Used<F> = (u64, Arc<OpenSegment<F>>);

/// A segment's two files.
#[derive(Debug)]
pub(super) struct OpenSegment<F> {
    data: F,
    side: F,
    /// Where the last reader stopped: the offset and the line of its stretch. The next reader mostly goes on there.
    hint: Mutex<Option<(Offset, u64)>>,
}

impl<D: Disk> SegmentFiles<D> {
    pub(super) fn new(disk: D, log_dir: PathBuf, open_max: usize) -> Self {
        let cache = Mutex::new(Cache { open: BTreeMap::new(), clock: 0, lives: BTreeMap::new() });
        Self { disk, log_dir, open_max: open_max.max(1), cache }
    }

    /// The segment's files if they are open.
    pub(super) fn cached(
        &self,
        partition: TopicPartition,
        base: Offset,
    ) -> Option<Arc<OpenSegment<D::File>>> {
        let mut cache = self.lock();
        cache.clock += 1;
        let clock = cache.clock;
        let (used, open) = cache.open.get_mut(&(partition, base))?;
        *used = clock;
        Some(Arc::clone(open))
    }

    /// Which of the segments that had or have this name is the present one.
    pub(super) fn life(&self, partition: TopicPartition, base: Offset) -> u64 {
        self.lock().lives.get(&(partition, base)).copied().unwrap_or(0)
    }

    /// Opens the segment that had the name in its life `life`.
    async fn open(
        &self,
        partition: TopicPartition,
        base: Offset,
        life: u64,
    ) -> Result<Arc<OpenSegment<D::File>>, ReadError> {
        let open = self.cached(partition, base);
        if self.life(partition, base) != life {
            return Err(ReadError::Gone);
        }
        if let Some(open) = open {
            return Ok(open);
        }
        let data = self.disk.open(Lane::Cold, &segment_path(&self.log_dir, partition, base), Open::Read);
        let side = self.disk.open(Lane::Cold, &side_path(&self.log_dir, partition, base), Open::Read);
        let open = Arc::new(OpenSegment { data: data.await?, side: side.await?, hint: Mutex::new(None) });
        let mut cache = self.lock();
        if cache.lives.get(&(partition, base)).copied().unwrap_or(0) != life {
            return Err(ReadError::Gone);
        }
        if cache.open.len() >= self.open_max {
            let oldest = cache.open.iter().min_by_key(|(_, (used, _))| *used).map(|(&key, _)| key);
            if let Some(oldest) = oldest {
                cache.open.remove(&oldest);
            }
        }
        cache.clock += 1;
        let clock = cache.clock;
        cache.open.insert((partition, base), (clock, Arc::clone(&open)));
        drop(cache);
        Ok(open)
    }

    /// Closes what is open of a topic. Leases that were taken keep their files.
    pub(super) fn forget_topic(&self, topic_id: Uuid) {
        let mut cache = self.lock();
        cache.open.retain(|(partition, _), _| partition.topic_id != topic_id);
        cache.lives.retain(|(partition, _), _| partition.topic_id != topic_id);
    }

    /// A segment was cut away as a whole: its name is free. Leases that have its files open keep them, others find nothing.
    pub(super) fn forget_segment(&self, partition: TopicPartition, base: Offset) {
        let mut cache = self.lock();
        cache.open.remove(&(partition, base));
        *cache.lives.entry((partition, base)).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Cache<D::File>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A segment that is about to be read, as far as it was synced when the lease was taken.
#[derive(Debug)]
pub(super) struct SegmentRead<D: Disk> {
    pub(super) files: Arc<SegmentFiles<D>>,
    pub(super) partition: TopicPartition,
    pub(super) segment: Segment,
    /// [`SegmentFiles::life`] when the lease was taken.
    pub(super) life: u64,
    /// Its files, where they were open when the lease was taken.
    pub(super) open: Option<Arc<OpenSegment<D::File>>>,
}

/// A batch in a piece.
#[derive(Debug, Clone)]
pub(super) struct PieceBatch {
    pub(super) header: BatchHeader,
    pub(super) range: Range<usize>,
    /// The number of its stretch's line.
    line: u64,
}

/// Whole stretches of a segment, checked.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) batches: Vec<PieceBatch>,
}

/// Reads a segment from a stretch on.
#[derive(Debug)]
pub(super) struct Cursor<'a, D: Disk> {
    read: &'a SegmentRead<D>,
    open: Arc<OpenSegment<D::File>>,
    /// Number of the first of `lines`.
    line: u64,
    /// Where its stretch begins.
    start: u64,
    lines: VecDeque<Line>,
}

impl<D: Disk> SegmentRead<D> {
    /// Batches from the one that holds `from` to `to` at the latest: as many as fit into `bytes_max`, and the first in any
    /// case when `may_exceed` says so.
    pub(super) async fn read(
        &self,
        from: Offset,
        to: Offset,
        bytes_max: u64,
        may_exceed: bool,
    ) -> Result<Vec<Bytes>, ReadError> {
        let to = to.min(self.segment.next);
        let mut cursor = self.seek(from).await?;
        let mut chain = Vec::new();
        let mut taken = 0;
        let mut due = None;
        while let Some(piece) = cursor.next_piece(bytes_max.saturating_sub(taken)).await? {
            let first = piece.batches.partition_point(|batch| batch.header.next_offset() <= from);
            if chain.is_empty()
                && piece.batches.get(first).is_none_or(|batch| batch.header.base_offset > from)
            {
                return Err(ReadError::Gone);
            }
            let mut end = None;
            let mut stopped = None;
            for batch in &piece.batches[first..] {
                let bytes = batch.range.len() as u64;
                let fits = taken + bytes <= bytes_max || (taken == 0 && may_exceed);
                // What was damaged before it came here is missing: whoever asks for it is refused, nobody reads past it.
                let follows = due.is_none_or(|due| due == batch.header.base_offset);
                if !fits || !follows || batch.header.next_offset() > to {
                    stopped = Some(batch);
                    break;
                }
                due = Some(batch.header.next_offset());
                taken += bytes;
                end = Some(batch.range.end);
            }
            if let Some(end) = end {
                chain.push(piece.bytes.slice(piece.batches[first].range.start..end));
            }
            if let Some(batch) = stopped {
                *cursor.open.hint() = Some((batch.header.base_offset, batch.line));
                break;
            }
            if taken >= bytes_max {
                break;
            }
        }
        Ok(chain)
    }

    /// The stretch that holds `from`.
    pub(super) async fn seek(&self, from: Offset) -> Result<Cursor<'_, D>, ReadError> {
        let open = self.open().await?;
        let hint = open.hint().filter(|(offset, _)| *offset == from).map(|(_, line)| line);
        let line = match hint {
            Some(line) => line,
            None => self.first_line(&open, |line| line.next > from).await?,
        };
        self.cursor(open, line).await
    }

    /// The first stretch up to whose end a timestamp of at least `target` occurs.
    pub(super) async fn seek_timestamp(&self, target: i64) -> Result<Cursor<'_, D>, ReadError> {
        let open = self.open().await?;
        let line = self.first_line(&open, |line| line.max_timestamp >= target).await?;
        self.cursor(open, line).await
    }

    async fn open(&self) -> Result<Arc<OpenSegment<D::File>>, ReadError> {
        match &self.open {
            Some(open) => Ok(Arc::clone(open)),
            None => self.files.open(self.partition, self.segment.base, self.life).await,
        }
    }

    /// The segment without the stretches behind the one in which it was cut.
    pub(super) async fn trimmed(&self) -> Result<Segment, ReadError> {
        let mut segment = self.segment;
        let open = self.open().await?;
        let mut cursor = self.seek(Offset(segment.next.0 - 1)).await?;
        segment.max_timestamp = match cursor.line.checked_sub(1) {
            Some(before) => self.line(&open, before).await?.max_timestamp,
            None => NO_TIMESTAMP,
        };
        let piece = cursor.next_piece(0).await?.ok_or(ReadError::Gone)?;
        let left = piece.batches.iter().filter(|batch| batch.header.next_offset() <= segment.next);
        let timestamps = left.map(|batch| batch.header.max_timestamp);
        segment.max_timestamp = timestamps.fold(segment.max_timestamp, i64::max);
        (segment.bytes, segment.lines, segment.tail) = (cursor.start, cursor.line, Tail::Trimmed);
        Ok(segment)
    }

    async fn cursor(&self, open: Arc<OpenSegment<D::File>>, line: u64) -> Result<Cursor<'_, D>, ReadError> {
        let start = match line.checked_sub(1) {
            Some(before) => self.line(&open, before).await?.position,
            None => 0,
        };
        Ok(Cursor { read: self, open, line, start, lines: VecDeque::new() })
    }

    /// The first line for which `holds` is true; it must be false up to some line and true from there on.
    async fn first_line(
        &self,
        open: &OpenSegment<D::File>,
        holds: impl Fn(&Line) -> bool,
    ) -> Result<u64, ReadError> {
        let (mut low, mut high) = (0, self.segment.lines);
        while high - low > PAGE_LINES {
            let middle = low + (high - low) / 2;
            if holds(&self.line(open, middle).await?) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let page = self.lines(open, low..high).await?;
        Ok(low + page.iter().position(holds).unwrap_or(page.len()) as u64)
    }

    async fn line(&self, open: &OpenSegment<D::File>, number: u64) -> Result<Line, ReadError> {
        let lines = self.lines(open, number..number + 1).await?;
        lines
            .first()
            .copied()
            .ok_or_else(|| ReadError::Damaged("a side file is shorter than it was".to_owned()))
    }

    async fn lines(&self, open: &OpenSegment<D::File>, range: Range<u64>) -> Result<Vec<Line>, ReadError> {
        let count = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
        if count == 0 {
            return Ok(Vec::new());
        }
        let position = range.start * LINE_BYTES as u64;
        let bytes = self.files.disk.read_at(Lane::Cold, &open.side, position, count * LINE_BYTES).await?;
        let lines = range.zip(bytes.chunks_exact(LINE_BYTES)).map(|(number, line)| {
            Line::decode(self.partition, self.segment.base, number, line).ok_or_else(|| {
                ReadError::Damaged(format!(
                    "line {number} of the side file of segment {} of {}",
                    self.segment.base, self.partition
                ))
            })
        });
        lines.collect()
    }
}

impl<D: Disk> Cursor<'_, D> {
    /// The next whole stretches: about `bytes_wanted`, 1 MiB at most, one stretch at least. `None` at the end.
    pub(super) async fn next_piece(&mut self, bytes_wanted: u64) -> Result<Option<Piece>, ReadError> {
        let wanted = bytes_wanted.min(PIECE_BYTES);
        let first = self.line;
        let start = self.start;
        let mut stretches = Vec::new();
        loop {
            if self.lines.is_empty() {
                let lines = self.line..(self.line + PAGE_LINES).min(self.read.segment.lines);
                self.lines = self.read.lines(&self.open, lines).await?.into();
            }
            let Some(next) = self.lines.front() else { break };
            if !stretches.is_empty() && next.position.saturating_sub(start) > wanted {
                break;
            }
            if next.position <= self.start {
                return Err(ReadError::Damaged(format!("the side file of {}", self.read.describe())));
            }
            self.start = next.position;
            self.line += 1;
            stretches.push(*next);
            self.lines.pop_front();
        }
        let Some(last) = stretches.last() else { return Ok(None) };
        let bytes = usize::try_from(last.position - start)
            .ok()
            .filter(|_| last.position <= self.read.segment.bytes)
            .ok_or_else(|| ReadError::Damaged(format!("the side file of {}", self.read.describe())))?;
        let disk = &self.read.files.disk;
        let bytes = disk.read_at(Lane::Cold, &self.open.data, start, bytes).await?;
        let (partition, base) = (self.read.partition, self.read.segment.base);
        let check =
            disk.run(Lane::Cold, move || check_piece(partition, base, start, first, &stretches, bytes));
        let piece = check.await?;
        piece.map(Some).ok_or_else(|| {
            ReadError::Damaged(format!("{} between bytes {start} and {}", self.read.describe(), self.start))
        })
    }
}

impl<D: Disk> SegmentRead<D> {
    fn describe(&self) -> String {
        format!("segment {} of {}", self.segment.base, self.partition)
    }
}

impl<F> OpenSegment<F> {
    fn hint(&self) -> MutexGuard<'_, Option<(Offset, u64)>> {
        self.hint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks every stretch of a piece by its CRC and finds the batches. `None`: damaged.
fn check_piece(
    partition: TopicPartition,
    base: Offset,
    start: u64,
    first_line: u64,
    stretches: &[Line],
    bytes: Bytes,
) -> Option<Piece> {
    let mut batches = Vec::new();
    let mut from = 0;
    for (number, line) in (first_line..).zip(stretches) {
        let to = usize::try_from(line.position.checked_sub(start)?).ok()?;
        let stretch = bytes.get(from..to)?;
        let seed = stretch_crc(partition, base, start + from as u64);
        if crc32c::crc32c_append(seed, stretch) != line.crc {
            return None;
        }
        let mut walk = Batches::new(stretch);
        for (header, range) in &mut walk {
            batches.push(PieceBatch { header, range: from + range.start..from + range.end, line: number });
        }
        if walk.end() != stretch.len() {
            return None;
        }
        from = to;
    }
    Some(Piece { bytes, batches })
}
