//! Reading segments: find the stretch, read it in pieces of about 1 MiB, check it against the side file, walk its batches.
//!
//! A reader that goes on where one stopped finds what follows in memory: its place is remembered, and the next piece is read while
//! the last one is on its way to the client. Pieces are kept for others who read the same ([`super::pieces`]). A short look at some
//! place takes no more than it needs, and nothing of it is kept.

use super::disk::{Disk, Lane, Open};
use super::pieces::{Piece, PieceKey, Pieces, Slot};
use super::segment::{LINE_BYTES, Line, Segment, SegmentName, Tail, segment_path, side_path};
use bytes::Bytes;
use seedlog_core::ids::{Offset, TopicPartition, Uuid};
use seedlog_core::records::NO_TIMESTAMP;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines that are read at once.
const PAGE_LINES: u64 = 256;
/// Places of a segment where readers stopped.
const PLACES_MAX: usize = 4;

/// Why bytes cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// They are not there: the files went with their topic.
    #[error("the offsets asked for are not in this node's files")]
    Gone,
    /// They are not there, and should be: they were lost in a damaged journal.
    #[error("the offsets asked for were lost to damage on disk; restore them from another replica or a copy")]
    Lost,
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
    pieces: Pieces,
}

#[derive(Debug)]
struct Cache<F> {
    /// Each with the clock of its last use.
    open: BTreeMap<(TopicPartition, SegmentName), Used<F>>,
    clock: u64,
    /// How often segments of a name were cut away as a whole: another one may have the name since.
    lives: BTreeMap<(TopicPartition, SegmentName), u64>,
}

type Used<F> = (u64, Arc<OpenSegment<F>>);

/// A segment's two files.
#[derive(Debug)]
pub(super) struct OpenSegment<F> {
    /// No others have or had it.
    number: u64,
    data: F,
    side: F,
    /// Where readers stopped, the latest last. Readers mostly go on there.
    places: Mutex<VecDeque<Stop>>,
}

/// Where a reader stopped.
#[derive(Debug, Clone)]
struct Stop {
    /// The offset that comes next.
    offset: Offset,
    /// The piece that holds it begins here.
    place: Place,
    /// Its stretch is so many behind that.
    stretches: usize,
}

/// Where a stretch begins.
#[derive(Debug, Clone, Default)]
struct Place {
    /// Number of its line.
    line: u64,
    /// Position in the file.
    start: u64,
    /// Lines from there on, as far as they were read.
    lines: VecDeque<Line>,
}

impl Place {
    /// Takes the line in front.
    fn pass(&mut self) -> Option<Line> {
        let line = self.lines.pop_front()?;
        (self.line, self.start) = (self.line + 1, line.position);
        Some(line)
    }

    /// Goes to the end of a piece that begins here.
    fn skip(&mut self, piece: &Piece) {
        let lines = self.lines.len().min(piece.stretches());
        self.lines.drain(..lines);
        self.line += piece.stretches() as u64;
        self.start += piece.bytes.len() as u64;
    }
}

/// The stretches of a piece.
#[derive(Debug)]
struct Span {
    line: u64,
    start: u64,
    stretches: Vec<Line>,
    bytes: usize,
}

impl<D: Disk> SegmentFiles<D> {
    /// At most `open_max` segments are open, and `pieces_bytes_max` bytes of pieces kept.
    pub(super) fn new(disk: D, log_dir: PathBuf, open_max: usize, pieces_bytes_max: usize) -> Self {
        let cache = Mutex::new(Cache { open: BTreeMap::new(), clock: 0, lives: BTreeMap::new() });
        let pieces = Pieces::new(pieces_bytes_max as u64);
        Self { disk, log_dir, open_max: open_max.max(1), cache, pieces }
    }

    /// The segment's files if they are open.
    pub(super) fn cached(
        &self,
        partition: TopicPartition,
        name: SegmentName,
    ) -> Option<Arc<OpenSegment<D::File>>> {
        let mut cache = self.lock();
        cache.clock += 1;
        let clock = cache.clock;
        let (used, open) = cache.open.get_mut(&(partition, name))?;
        *used = clock;
        Some(Arc::clone(open))
    }

    /// Which of the segments that had or have this name is the present one.
    pub(super) fn life(&self, partition: TopicPartition, name: SegmentName) -> u64 {
        self.lock().lives.get(&(partition, name)).copied().unwrap_or(0)
    }

    /// Opens the segment that had the name in its life `life`.
    async fn open(
        &self,
        partition: TopicPartition,
        name: SegmentName,
        life: u64,
    ) -> Result<Arc<OpenSegment<D::File>>, ReadError> {
        let open = self.cached(partition, name);
        if self.life(partition, name) != life {
            return Err(ReadError::Gone);
        }
        if let Some(open) = open {
            return Ok(open);
        }
        let data = self.disk.open(Lane::Cold, &segment_path(&self.log_dir, partition, name), Open::Read);
        let side = self.disk.open(Lane::Cold, &side_path(&self.log_dir, partition, name), Open::Read);
        let (data, side) = (data.await?, side.await?);
        let mut cache = self.lock();
        if cache.lives.get(&(partition, name)).copied().unwrap_or(0) != life {
            return Err(ReadError::Gone);
        }
        if cache.open.len() >= self.open_max {
            let oldest = cache.open.iter().min_by_key(|(_, (used, _))| *used).map(|(&key, _)| key);
            let closed = oldest.and_then(|oldest| cache.open.remove(&oldest));
            self.forget_pieces(closed);
        }
        cache.clock += 1;
        let clock = cache.clock;
        let open = Arc::new(OpenSegment { number: clock, data, side, places: Mutex::default() });
        // Another reader may have opened it meanwhile.
        let before = cache.open.insert((partition, name), (clock, Arc::clone(&open)));
        self.forget_pieces(before);
        drop(cache);
        Ok(open)
    }

    /// Closes what is open of a topic. Leases that were taken keep their files.
    pub(super) fn forget_topic(&self, topic_id: Uuid) {
        let mut cache = self.lock();
        let closed = cache.open.extract_if(.., |(partition, _), _| partition.topic_id == topic_id);
        self.forget_pieces(closed.map(|(_, used)| used));
        cache.lives.retain(|(partition, _), _| partition.topic_id != topic_id);
    }

    /// A segment was cut away as a whole: its name is free. Leases that have its files open keep them, others find nothing.
    pub(super) fn forget_segment(&self, partition: TopicPartition, name: SegmentName) {
        let mut cache = self.lock();
        self.forget_pieces(cache.open.remove(&(partition, name)));
        *cache.lives.entry((partition, name)).or_default() += 1;
    }

    fn forget_pieces(&self, closed: impl IntoIterator<Item = Used<D::File>>) {
        closed.into_iter().for_each(|(_, open)| self.pieces.forget(open.number));
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

/// Reads a segment from a stretch on.
#[derive(Debug)]
pub(super) struct Cursor<'a, D: Disk> {
    read: &'a SegmentRead<D>,
    open: Arc<OpenSegment<D::File>>,
    place: Place,
}

impl<D: Disk> SegmentRead<D> {
    /// A claim on a segment as it is now.
    pub(super) fn take(files: &Arc<SegmentFiles<D>>, partition: TopicPartition, segment: Segment) -> Self {
        let (life, open) = (files.life(partition, segment.name()), files.cached(partition, segment.name()));
        Self { files: Arc::clone(files), partition, segment, life, open }
    }

    /// Batches from the one that holds `from` to `to` at the latest: as many as fit into `bytes_max`, and the first in any
    /// case when `may_exceed` says so. `skips_empty`: without those that have no records, and nothing where there are no others.
    pub(super) async fn read(
        &self,
        from: Offset,
        to: Offset,
        bytes_max: u64,
        (may_exceed, skips_empty): (bool, bool),
    ) -> Result<Vec<Bytes>, ReadError> {
        let to = to.min(self.segment.next);
        let open = self.open().await?;
        let (mut cursor, goes_on) = match self.resume(&open, from) {
            Some(place) => (Cursor { read: self, open, place }, true),
            None => (self.seek(from).await?, false),
        };
        // Who asks for little at some place looks, and may not read on.
        let reads_on = goes_on || bytes_max >= self.files.pieces.piece_bytes() / 4;
        let mut chain = Vec::new();
        let mut taken = 0;
        let mut due = None;
        while chain.is_empty() || cursor.is_worth_more(bytes_max.saturating_sub(taken), bytes_max) {
            cursor.read_lines().await?;
            let begun = cursor.place.clone();
            let left = bytes_max.saturating_sub(taken);
            let piece = if reads_on {
                cursor.next_shared_piece(left).await?
            } else {
                cursor.next_piece(left).await?.map(Arc::new)
            };
            let Some(piece) = piece else { break };
            let first = piece.batches.partition_point(|batch| batch.next <= from);
            if due.is_none() && piece.batches.get(first).is_none_or(|batch| batch.base > from) {
                return Err(ReadError::Lost);
            }
            let mut given: Option<Range<usize>> = None;
            let mut stopped = None;
            for batch in &piece.batches[first..] {
                let is_skipped = skips_empty && batch.is_empty;
                let bytes = if is_skipped { 0 } else { batch.range().len() as u64 };
                let fits = taken + bytes <= bytes_max || (taken == 0 && may_exceed);
                // What was damaged before it came here is missing: whoever asks for it is refused, nobody reads past it.
                let follows = due.is_none_or(|due| due == batch.base);
                if !fits || !follows || batch.next > to {
                    stopped = Some(batch);
                    break;
                }
                due = Some(batch.next);
                taken += bytes;
                if is_skipped {
                    chain.extend(given.take().map(|range| piece.slice(range)));
                } else {
                    given.get_or_insert_with(|| batch.range()).end = batch.range().end;
                }
            }
            chain.extend(given.map(|range| piece.slice(range)));
            if let Some(batch) = stopped {
                let rest = piece.bytes.len() - batch.range().start;
                let stretches = piece.stretches_before(batch);
                cursor.stop(Stop { offset: batch.base, place: begun, stretches });
                if reads_on && rest as u64 <= bytes_max {
                    cursor.read_ahead().await;
                }
                return Ok(chain);
            }
        }
        if let Some(offset) = due {
            if reads_on {
                cursor.read_ahead().await;
            }
            cursor.stop(Stop { offset, place: cursor.place.clone(), stretches: 0 });
        }
        Ok(chain)
    }

    /// Where a reader goes on that stopped before `from`.
    fn resume(&self, open: &OpenSegment<D::File>, from: Offset) -> Option<Place> {
        if from == self.segment.base {
            return Some(Place::default());
        }
        let Stop { mut place, stretches, .. } =
            open.places().iter().rev().find(|stop| stop.offset == from).cloned()?;
        // Whoever stopped there may have known a longer segment.
        let known = self.segment.lines.checked_sub(place.line)?;
        place.lines.truncate(usize::try_from(known).unwrap_or(usize::MAX));
        // Without the piece, only what is still to be read of it is read.
        if stretches > 0 && !self.files.pieces.holds(&open.piece(place.line)) {
            for _ in 0..stretches {
                place.pass()?;
            }
        }
        Some(place)
    }

    /// The stretch that holds `from`.
    pub(super) async fn seek(&self, from: Offset) -> Result<Cursor<'_, D>, ReadError> {
        let open = self.open().await?;
        let line = self.first_line(&open, |line| line.next > from).await?;
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
            None => self.files.open(self.partition, self.segment.name(), self.life).await,
        }
    }

    /// The segment without the stretches behind the one in which it was cut.
    pub(super) async fn trimmed(&self) -> Result<Segment, ReadError> {
        let mut segment = self.segment;
        let open = self.open().await?;
        let mut cursor = self.seek(Offset(segment.next.0 - 1)).await?;
        segment.max_timestamp = match cursor.place.line.checked_sub(1) {
            Some(before) => self.line(&open, before).await?.max_timestamp,
            None => NO_TIMESTAMP,
        };
        let piece = cursor.next_piece(0).await?.ok_or(ReadError::Gone)?;
        let left = piece.batches.iter().filter(|batch| batch.next <= segment.next);
        segment.max_timestamp = left.map(|batch| batch.max_timestamp).fold(segment.max_timestamp, i64::max);
        (segment.bytes, segment.lines, segment.tail) = (cursor.place.start, cursor.place.line, Tail::Trimmed);
        Ok(segment)
    }

    async fn cursor(&self, open: Arc<OpenSegment<D::File>>, line: u64) -> Result<Cursor<'_, D>, ReadError> {
        let start = match line.checked_sub(1) {
            Some(before) => self.line(&open, before).await?.position,
            None => 0,
        };
        let place = Place { line, start, lines: VecDeque::new() };
        Ok(Cursor { read: self, open, place })
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
    /// The next whole stretches: about `bytes_wanted`, a piece at most, one stretch at least. `None` at the end.
    pub(super) async fn next_piece(&mut self, bytes_wanted: u64) -> Result<Option<Piece>, ReadError> {
        let Some(span) = self.next_span(bytes_wanted).await? else { return Ok(None) };
        let (data, start, bytes) = (&self.open.data, span.start, span.bytes);
        let check = self.read.check(span);
        let piece =
            self.read.files.disk.read_and(Lane::Cold, data, start, bytes, move |read| Ok(check(read)));
        piece.await?.map(Some)
    }

    /// The next piece as all share it. Of one that is no larger than `bytes_wanted` the following one is begun as well.
    async fn next_shared_piece(&mut self, bytes_wanted: u64) -> Result<Option<Arc<Piece>>, ReadError> {
        let mut place = self.place.clone();
        let Some(span) = self.next_span(u64::MAX).await? else { return Ok(None) };
        let is_small = span.bytes as u64 <= bytes_wanted;
        let key = self.open.piece(span.line);
        let (slot, is_empty) = self.read.files.pieces.ask(key, span.bytes as u64);
        if is_empty {
            self.fill(span, &slot);
        }
        if is_small {
            self.read_ahead().await;
        }
        let piece = slot.wait().await.clone()?;
        if place.line + piece.stretches() as u64 != self.place.line {
            // It was made when the segment was shorter, or is longer by now.
            place.skip(&piece);
            self.place = place;
        }
        Ok(Some(piece))
    }

    /// Begins to read the next piece, if there is one and room for it. What is wrong with it is told to whoever asks for it.
    async fn read_ahead(&mut self) {
        let here = self.place.clone();
        let span = self.next_span(u64::MAX).await;
        // What was read of the side file stays.
        let behind = std::mem::replace(&mut self.place, here);
        let Ok(Some(span)) = span else { return };
        self.place.lines = span.stretches.iter().copied().chain(behind.lines).collect();
        let key = self.open.piece(span.line);
        if let Some(slot) = self.read.files.pieces.ask_ahead(key, span.bytes as u64) {
            self.fill(span, &slot);
        }
    }

    /// Reads a piece into its slot.
    fn fill(&self, span: Span, slot: &Slot) {
        let filler = Filler(Arc::clone(slot));
        let (data, start, bytes) = (&self.open.data, span.start, span.bytes);
        let check = self.read.check(span);
        drop(self.read.files.disk.read_and(Lane::Cold, data, start, bytes, move |read| {
            filler.fill(check(read).map(Arc::new));
            Ok(())
        }));
    }

    /// Reads lines of the side file, where none is at hand.
    async fn read_lines(&mut self) -> Result<(), ReadError> {
        let place = &mut self.place;
        if place.lines.is_empty() {
            let lines = place.line..(place.line + PAGE_LINES).min(self.read.segment.lines);
            place.lines = self.read.lines(&self.open, lines).await?.into();
        }
        Ok(())
    }

    /// The next whole stretches: about `bytes_wanted`, a piece at most, one stretch at least. `None` at the end.
    async fn next_span(&mut self, bytes_wanted: u64) -> Result<Option<Span>, ReadError> {
        let bytes_wanted = bytes_wanted.min(self.read.files.pieces.piece_bytes());
        let (line, start) = (self.place.line, self.place.start);
        let damaged = || ReadError::Damaged(format!("the side file of {}", self.read.describe()));
        let mut stretches = Vec::new();
        loop {
            self.read_lines().await?;
            let place = &mut self.place;
            let Some(next) = place.lines.front() else { break };
            if !stretches.is_empty() && next.position.saturating_sub(start) > bytes_wanted {
                break;
            }
            if next.position <= place.start || next.position > self.read.segment.bytes {
                return Err(damaged());
            }
            stretches.extend(place.pass());
        }
        if stretches.is_empty() {
            return Ok(None);
        }
        let bytes = usize::try_from(self.place.start - start).map_err(|_| damaged())?;
        Ok(Some(Span { line, start, stretches, bytes }))
    }

    /// There is more, and it makes sense to look at it for the `left` bytes of `bytes_max` that may be given.
    fn is_worth_more(&self, left: u64, bytes_max: u64) -> bool {
        let next = self.place.lines.front().map(|line| line.position.saturating_sub(self.place.start));
        left > 0 && (next.is_none_or(|next| next <= left) || left > bytes_max / 2)
    }

    /// Whoever goes on from here finds the place.
    fn stop(&self, stop: Stop) {
        let mut places = self.open.places();
        places.retain(|other| other.offset != stop.offset);
        if places.len() >= PLACES_MAX {
            places.pop_front();
        }
        places.push_back(stop);
    }
}

impl<D: Disk> SegmentRead<D> {
    fn describe(&self) -> String {
        format!("segment {} of {}", self.segment.base, self.partition)
    }

    /// Makes a piece of what was read.
    fn check(
        &self,
        span: Span,
    ) -> impl FnOnce(io::Result<Bytes>) -> Result<Piece, ReadError> + Send + 'static {
        let (partition, base, what) = (self.partition, self.segment.base, self.describe());
        move |read| {
            let Span { start, stretches, bytes, .. } = span;
            Piece::check(partition, base, start, &stretches, read?).ok_or_else(|| {
                ReadError::Damaged(format!("{what} between bytes {start} and {}", start + bytes as u64))
            })
        }
    }
}

impl<F> OpenSegment<F> {
    fn piece(&self, line: u64) -> PieceKey {
        PieceKey { files: self.number, line }
    }

    fn places(&self) -> MutexGuard<'_, VecDeque<Stop>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills a slot, with an error where the disk never came to it.
struct Filler(Slot);

impl Filler {
    fn fill(&self, read: Result<Arc<Piece>, ReadError>) {
        // Whoever comes second has nothing to add.
        drop(self.0.set(read));
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.fill(Err(ReadError::Disk("it took no more reads".to_owned())));
    }
}
