//! The journal's writer: entries become groups, groups go to the disk one at a time, files follow each other.
//!
//! ```text
//!  push --> | group being filled | --> | closed | --> in flight (one) --> written --> synced --> vouched
//! ```
//!
//! * A group is whatever arrived while the previous one was being written; it is closed earlier only at its greatest size,
//!   and only between two steps (SAFETY J7).
//! * A write never allocates: files are filled with zeros ahead of it, so that a full disk stops that and not a write. What
//!   is filled is the reserve from which everything accepted is still written.
//! * A group says up to where the journal was on disk before it. Once it is on disk itself, that much is *vouched* for
//!   (SAFETY J3); an idle writer adds an empty group to say so (SAFETY J4).

use super::buffers::{AlignedBuffer, Pool, aligned_copy};
use super::disk::{Completion, Disk, Lane, Open, Then};
use super::index::{GroupNumber, Home, Index, JournalFile};
use super::metrics::Counters;
use super::options::{Identity, StoreOptions};
use bytes::Bytes;
use seedlog_core::config::FlushMode;
use seedlog_core::ids::{Lsn, Offset};
use seedlog_core::journal::format::GroupPlace;
use seedlog_core::journal::{Entry, FILE_HEADER_BYTES, FileHeader, GroupWriter};
use seedlog_core::records::BatchHeader;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{future::Future, pin::Pin};
use tokio::time::Instant;

/// A group is closed at the end of a step from here on: a usual step more still fits into the largest pooled buffer.
const GROUP_BYTES_CLOSE: usize = 3 << 20;
/// How far ahead of the writer zeros are written, least and most.
const ZERO_AHEAD_BYTES: (u64, u64) = (1 << 20, 16 << 20);
/// Most zeros in one step.
const ZERO_STEP_BYTES: u64 = 4 << 20;
/// How long the writer is idle before it adds an empty group.
const IDLE: Duration = Duration::from_millis(1);
/// How long a full disk is left alone.
pub(super) const SPACE_RETRY: Duration = Duration::from_secs(1);

/// The name of a journal file.
pub(super) fn journal_path(log_dir: &Path, seq: u64) -> PathBuf {
    log_dir.join(format!("journal-{seq:020}.log"))
}

/// Reads a name that [`journal_path`] made.
pub(super) fn parse_journal_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("journal-")?.strip_suffix(".log")?;
    let is_ours = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_ours { digits.parse().ok() } else { None }
}

/// The file that groups are written to.
#[derive(Debug)]
pub(super) struct Current<F> {
    pub(super) file: Arc<JournalFile<F>>,
    pub(super) salt: u64,
    /// Where the next group goes.
    pub(super) position: u64,
    /// Up to here writes allocate nothing.
    pub(super) zeroed_to: u64,
    pub(super) capacity: u64,
}

/// The file after it: named, in the folder for good, without a header.
#[derive(Debug)]
struct Next<F> {
    seq: u64,
    file: F,
    zeroed_to: u64,
}

/// A file that takes no more groups.
#[derive(Debug)]
pub(super) struct Old<F> {
    pub(super) file: Arc<JournalFile<F>>,
    /// The last entry it holds.
    pub(super) last_lsn: Lsn,
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct Filling {
    writer: GroupWriter<AlignedBuffer>,
    /// Its number in the index once it holds a batch.
    group: Option<GroupNumber>,
    /// It holds something that waits for the sync in any mode (SAFETY J6).
    wants_sync: bool,
}

#[derive(Debug)]
struct InFlight {
    write: Completion<()>,
    last_lsn: Lsn,
    durable: Lsn,
    group: Option<GroupNumber>,
    then: Then,
    wants_sync: bool,
    started: Instant,
}

#[derive(Debug)]
struct Syncing {
    syncs: VecDeque<Completion<()>>,
    to: Lsn,
    durable: Lsn,
    started: Instant,
}

/// Work ahead of the writer that the store carries out for it.
pub(super) type Preparation<F> = Pin<Box<dyn Future<Output = Prepared<F>> + Send>>;

/// What came of it.
#[derive(Debug)]
pub(super) enum Prepared<F> {
    /// The next file is there.
    File { seq: u64, result: io::Result<(F, u64)> },
    /// Zeros are there.
    Zeros { seq: u64, to: u64, result: io::Result<()> },
}

/// What the writer has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// The ends moved.
    Moved,
    /// A write or sync failed: the end of this writer (SAFETY J10).
    Failed(String),
}

/// The writer.
pub(super) struct Journal<D: Disk> {
    disk: D,
    log_dir: PathBuf,
    identity: Identity,
    file_bytes: u64,
    spares_max: usize,
    flush: FlushMode,
    flush_interval: Duration,
    random: Box<dyn FnMut() -> u64 + Send>,
    pool: Pool,
    current: Current<D::File>,
    next: Option<Next<D::File>>,
    next_seq: u64,
    old: VecDeque<Old<D::File>>,
    spares: Vec<(PathBuf, D::File, u64)>,
    filling: Option<Filling>,
    closed: VecDeque<Filling>,
    in_flight: Option<InFlight>,
    syncing: Option<Syncing>,
    /// Files with groups that were written and not synced.
    unsynced: Vec<Arc<JournalFile<D::File>>>,
    /// What the last written group vouches for once it is synced.
    vouches: Lsn,
    next_lsn: Lsn,
    metadata_end: Offset,
    written: Lsn,
    synced: Lsn,
    vouched: Lsn,
    /// Where zeros must reach for the group that waits for them.
    wants_zeros_to: u64,
    wants_next: bool,
    preparing: bool,
    zeroing: bool,
    /// No room was found, and when it is looked for again.
    full_until: Option<Instant>,
    idle_at: Option<Instant>,
    sync_at: Option<Instant>,
    /// Another sync is to follow the one under way at once.
    sync_again: bool,
    group_bytes_recent: usize,
    failed: bool,
    pub(super) counters: Counters,
}

/// Where the writer starts.
pub(super) struct Start<F> {
    pub(super) current: Current<F>,
    pub(super) old: VecDeque<Old<F>>,
    pub(super) end: Lsn,
    pub(super) metadata_end: Offset,
}

impl<D: Disk> Journal<D> {
    pub(super) fn new(
        disk: D,
        options: &StoreOptions,
        identity: Identity,
        random: Box<dyn FnMut() -> u64 + Send>,
        start: Start<D::File>,
    ) -> Self {
        Self {
            disk,
            log_dir: options.log_dir.clone(),
            identity,
            file_bytes: options.journal_file_bytes,
            spares_max: options.journal_spare_files_max,
            flush: options.flush,
            flush_interval: options.flush_interval,
            random,
            pool: Pool::new((options.tail_cache_bytes / 4).min(32 << 20)),
            next_seq: start.current.file.seq + 1,
            current: start.current,
            next: None,
            old: start.old,
            spares: Vec::new(),
            filling: None,
            closed: VecDeque::new(),
            in_flight: None,
            syncing: None,
            unsynced: Vec::new(),
            vouches: start.end,
            next_lsn: start.end.next(),
            metadata_end: start.metadata_end,
            written: start.end,
            synced: start.end,
            vouched: start.end,
            wants_zeros_to: 0,
            wants_next: false,
            preparing: false,
            zeroing: false,
            full_until: None,
            idle_at: None,
            sync_at: None,
            sync_again: false,
            group_bytes_recent: 0,
            failed: false,
            counters: Counters::default(),
        }
    }

    /// Adds an entry to the group being filled.
    pub(super) fn push(
        &mut self,
        index: &mut Index<D::File>,
        entry: &Entry,
        batch: Option<(&BatchHeader, &[u8])>,
    ) -> Lsn {
        let filling = self.filling.get_or_insert_with(|| Filling {
            writer: GroupWriter::new(
                self.pool.take(self.group_bytes_recent),
                self.next_lsn,
                self.metadata_end,
            ),
            group: None,
            wants_sync: false,
        });
        let placed = filling.writer.push(entry, batch);
        match (entry, batch) {
            (Entry::Append(append), Some((header, _))) => {
                let group = *filling.group.get_or_insert_with(|| index.begin_group());
                index.push(group, append, placed.at, header.max_timestamp);
            }
            (
                Entry::Append(_)
                | Entry::EpochStart { .. }
                | Entry::Metadata { .. }
                | Entry::ProducersExpired { .. }
                | Entry::Dropped { .. }
                | Entry::Started { .. }
                | Entry::Stopped,
                _,
            ) => filling.wants_sync = true,
        }
        self.next_lsn = filling.writer.next_lsn();
        self.metadata_end = filling.writer.metadata_end();
        placed.lsn
    }

    /// A step's entries are complete: a large group may be closed here.
    pub(super) fn end_step(&mut self) {
        if self.filling.as_ref().is_some_and(|filling| filling.writer.padded_bytes() >= GROUP_BYTES_CLOSE) {
            self.closed.extend(self.filling.take());
        }
    }

    /// Starts the next group's write, if none is in flight and its place is ready.
    pub(super) fn submit(&mut self, index: &mut Index<D::File>) {
        if self.in_flight.is_some() || self.failed {
            return;
        }
        let waiting = self.closed.front().or(self.filling.as_ref());
        let Some(bytes) = waiting.map(|filling| filling.writer.padded_bytes() as u64) else { return };
        if !self.is_place_ready(bytes) {
            return;
        }
        let filling = self.closed.pop_front().or_else(|| self.filling.take());
        let filling = filling.expect("one of the two was looked at above");
        self.write(filling, index);
    }

    /// There is a place of zeros for a group of this size; if not, it is asked for.
    fn is_place_ready(&mut self, bytes: u64) -> bool {
        let header = FILE_HEADER_BYTES as u64;
        let rolls = self.current.position > header && self.current.position + bytes > self.current.capacity;
        if rolls {
            self.wants_next = true;
            let Some(next) = &self.next else { return false };
            self.wants_zeros_to = header + bytes;
            next.zeroed_to >= header + bytes
        } else {
            self.current.capacity = self.current.capacity.max(self.current.position + bytes);
            self.wants_zeros_to = self.current.position + bytes;
            self.current.zeroed_to >= self.current.position + bytes
        }
    }

    fn write(&mut self, filling: Filling, index: &mut Index<D::File>) {
        let bytes = filling.writer.padded_bytes() as u64;
        let mut buffers = Vec::with_capacity(2);
        let mut write_at = self.current.position;
        if self.current.position > FILE_HEADER_BYTES as u64
            && self.current.position + bytes > self.current.capacity
        {
            let first_lsn = Lsn(filling.writer.next_lsn().0 - u64::from(filling.writer.entries()));
            buffers.push(self.roll(first_lsn, bytes));
            write_at = 0;
        }
        self.wants_zeros_to = 0;
        self.wants_next = false;
        let position = self.current.position;
        let place = GroupPlace {
            seq: self.current.file.seq,
            salt: self.current.salt,
            position,
            durable: self.synced,
        };
        let (prefix, buffer) = filling.writer.finish(place);
        let memory_bytes = buffer.memory_bytes();
        let frozen = buffer.freeze();
        assert!(frozen.len() as u64 == bytes, "a group takes the room that was made for it");
        self.group_bytes_recent = frozen.len().max(self.group_bytes_recent / 2);
        buffers.push(frozen.clone());
        if let Some(group) = filling.group {
            let home = Home { file: Arc::clone(&self.current.file), position };
            index.complete(group, prefix.last_lsn(), home, Some((frozen, memory_bytes)));
        }
        let then = match self.flush {
            FlushMode::Always => Then::Sync,
            FlushMode::Interval => Then::Nothing,
        };
        self.counters.groups += 1;
        self.counters.entries += u64::from(prefix.entries);
        self.counters.journal_bytes += bytes;
        let write = self.disk.write_at(Lane::Journal, &self.current.file.file, write_at, buffers, then);
        self.in_flight = Some(InFlight {
            write,
            last_lsn: prefix.last_lsn(),
            durable: prefix.durable,
            group: filling.group,
            then,
            wants_sync: filling.wants_sync,
            started: Instant::now(),
        });
        self.current.position += bytes;
        self.idle_at = None;
    }

    /// Goes to the next file; gives its header, which is written with its first group.
    fn roll(&mut self, first_lsn: Lsn, bytes: u64) -> Bytes {
        let next = self.next.take().expect("the next file was there when the place was looked for");
        let salt = (self.random)();
        let header = FileHeader {
            seq: next.seq,
            salt,
            first_lsn,
            durable: self.synced,
            cluster_id: self.identity.cluster_id,
            node_id: self.identity.node_id,
            incarnation: self.identity.incarnation,
        };
        let current = Current {
            file: Arc::new(JournalFile { seq: next.seq, file: next.file }),
            salt,
            position: FILE_HEADER_BYTES as u64,
            zeroed_to: next.zeroed_to,
            capacity: self.file_bytes.max(FILE_HEADER_BYTES as u64 + bytes),
        };
        let old = std::mem::replace(&mut self.current, current);
        self.old.push_back(Old {
            file: old.file,
            last_lsn: Lsn(first_lsn.0 - 1),
            bytes: old.zeroed_to.max(old.position),
        });
        aligned_copy(&header.encode())
    }

    /// Waits for the write or the sync that is under way. Both ends may have moved when it is ready.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, index: &mut Index<D::File>) -> Poll<Progress> {
        if let Some(in_flight) = &mut self.in_flight
            && let Poll::Ready(result) = Pin::new(&mut in_flight.write).poll(cx)
        {
            let in_flight = self.in_flight.take().expect("it was there a line above");
            return match result {
                Ok(()) => self.on_written(&in_flight, index),
                Err(error) => self.fail("write", &error),
            };
        }
        if let Some(syncing) = &mut self.syncing {
            while let Some(first) = syncing.syncs.front_mut() {
                match Pin::new(first).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => return self.fail("sync", &error),
                    Poll::Ready(Ok(())) => drop(syncing.syncs.pop_front()),
                }
            }
            let syncing = self.syncing.take().expect("it was there a line above");
            return self.on_synced(&syncing);
        }
        Poll::Pending
    }

    fn on_written(&mut self, group: &InFlight, index: &mut Index<D::File>) -> Poll<Progress> {
        assert!(group.last_lsn >= self.written, "groups are written in order");
        self.written = group.last_lsn;
        if let Some(number) = group.group {
            index.written(number);
        }
        match group.then {
            Then::Sync => {
                self.synced = group.last_lsn;
                self.vouched = self.vouched.max(group.durable);
                self.counters.on_sync(group.started.elapsed());
            }
            Then::Nothing => {
                self.vouches = group.durable;
                if self.unsynced.last().is_none_or(|last| last.seq != self.current.file.seq) {
                    self.unsynced.push(Arc::clone(&self.current.file));
                }
                let due = Instant::now() + self.flush_interval;
                self.sync_at.get_or_insert(due);
                if group.wants_sync || self.flush_interval.is_zero() {
                    self.start_sync();
                }
            }
        }
        self.rest();
        self.submit(index);
        Poll::Ready(Progress::Moved)
    }

    fn on_synced(&mut self, syncing: &Syncing) -> Poll<Progress> {
        self.counters.on_sync(syncing.started.elapsed());
        self.synced = syncing.to;
        self.vouched = self.vouched.max(syncing.durable);
        if std::mem::take(&mut self.sync_again) {
            self.start_sync();
        }
        self.rest();
        Poll::Ready(Progress::Moved)
    }

    /// Syncs everything written so far, unless a sync is under way.
    pub(super) fn start_sync(&mut self) {
        if self.syncing.is_some() {
            self.sync_again = true;
            return;
        }
        if self.unsynced.is_empty() {
            return;
        }
        let syncs = self.unsynced.iter().map(|file| self.disk.sync(Lane::Journal, &file.file)).collect();
        self.syncing =
            Some(Syncing { syncs, to: self.written, durable: self.vouches, started: Instant::now() });
        // A group that is in flight belongs to the next sync: its file is listed again when it is written.
        self.unsynced.clear();
        self.sync_at = None;
    }

    fn fail(&mut self, what: &str, error: &io::Error) -> Poll<Progress> {
        self.failed = true;
        self.in_flight = None;
        self.syncing = None;
        Poll::Ready(Progress::Failed(format!("a {what} of the journal failed: {error}")))
    }

    /// Nothing is to be written: an empty group is due soon, if something is on disk that no group vouches for.
    fn rest(&mut self) {
        if self.is_idle() && self.synced > self.vouched {
            self.idle_at = Some(Instant::now() + IDLE);
        }
    }

    /// Adds an empty group that vouches for all that is on disk.
    pub(super) fn vouch(&mut self, index: &mut Index<D::File>) {
        self.idle_at = None;
        if self.is_idle() && self.synced > self.vouched {
            let writer = GroupWriter::new(self.pool.take(0), self.next_lsn, self.metadata_end);
            self.closed.push_back(Filling { writer, group: None, wants_sync: true });
            self.submit(index);
        }
    }

    /// The next time at which [`Journal::on_timer`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.idle_at, self.sync_at, self.full_until].into_iter().flatten().min()
    }

    pub(super) fn on_timer(&mut self, now: Instant, index: &mut Index<D::File>) {
        if self.failed {
            (self.idle_at, self.sync_at, self.full_until) = (None, None, None);
            return;
        }
        if self.idle_at.is_some_and(|at| at <= now) {
            self.vouch(index);
        }
        if self.sync_at.is_some_and(|at| at <= now) {
            self.sync_at = None;
            self.start_sync();
        }
        if self.full_until.is_some_and(|until| until <= now) {
            self.full_until = None;
        }
    }

    /// What should be made ready ahead of the writer.
    pub(super) fn prepare(&mut self) -> Vec<Preparation<D::File>> {
        let mut work: Vec<Preparation<D::File>> = Vec::new();
        if self.failed || self.full_until.is_some() {
            return work;
        }
        if !self.zeroing
            && let Some((file, seq, from, to)) = self.zeros_due()
        {
            self.zeroing = true;
            let zeros = self.disk.zero(Lane::Prepare, &file, from, to);
            work.push(Box::pin(async move { Prepared::Zeros { seq, to, result: zeros.await } }));
        }
        let next_due = self.wants_next || self.current.position > self.current.capacity / 2;
        if !self.preparing && self.next.is_none() && next_due {
            self.preparing = true;
            let seq = self.next_seq;
            let (disk, log_dir, spare) = (self.disk.clone(), self.log_dir.clone(), self.spares.pop());
            work.push(Box::pin(async move {
                Prepared::File { seq, result: make_file(&disk, &log_dir, seq, spare).await }
            }));
        }
        work
    }

    /// Which zeros are written next: a file, its number, from and to.
    fn zeros_due(&self) -> Option<(D::File, u64, u64, u64)> {
        let (least, most) = ZERO_AHEAD_BYTES;
        let current = &self.current;
        let wanted = if self.wants_next { 0 } else { self.wants_zeros_to };
        let ahead = (2 * current.position).clamp(least, most);
        let target = (current.position + ahead).min(current.capacity).max(wanted);
        if current.zeroed_to < target && !self.wants_next {
            let step = (current.zeroed_to + ZERO_STEP_BYTES).min(current.capacity);
            let to = target.min(step).max(wanted);
            return Some((current.file.file.clone(), current.file.seq, current.zeroed_to, to));
        }
        let next = self.next.as_ref()?;
        let wanted = if self.wants_next { self.wants_zeros_to } else { 0 };
        let target = self.file_bytes.max(wanted);
        let to = target.min(next.zeroed_to + ZERO_STEP_BYTES).max(wanted);
        (next.zeroed_to < target).then(|| (next.file.clone(), next.seq, next.zeroed_to, to))
    }

    /// Takes what was made ready; `Ok(false)` when the disk is full.
    pub(super) fn on_prepared(
        &mut self,
        prepared: Prepared<D::File>,
        index: &mut Index<D::File>,
    ) -> Result<bool, String> {
        let result = match prepared {
            Prepared::File { seq, result } => {
                self.preparing = false;
                result.map(|(file, zeroed_to)| {
                    self.next_seq = seq + 1;
                    self.next = Some(Next { seq, file, zeroed_to });
                })
            }
            Prepared::Zeros { seq, to, result } => {
                self.zeroing = false;
                result.map(|()| {
                    if self.current.file.seq == seq {
                        self.current.zeroed_to = self.current.zeroed_to.max(to);
                    } else if let Some(next) = self.next.as_mut().filter(|next| next.seq == seq) {
                        next.zeroed_to = next.zeroed_to.max(to);
                    }
                })
            }
        };
        match result {
            Ok(()) => {
                self.submit(index);
                Ok(true)
            }
            Err(error) if super::disk::is_out_of_space(&error) => {
                self.full_until = Some(Instant::now() + SPACE_RETRY);
                Ok(false)
            }
            Err(error) => {
                self.failed = true;
                Err(format!("a journal file cannot be prepared: {error}"))
            }
        }
    }

    /// Lets go of files that hold nothing above `through`. Those that nobody reads are kept for use again, as many as
    /// allowed; the others are to be removed: their paths.
    pub(super) fn release(&mut self, through: Lsn) -> Vec<PathBuf> {
        let mut removed = Vec::new();
        for old in std::mem::take(&mut self.old) {
            if old.last_lsn > through {
                self.old.push_back(old);
                continue;
            }
            let path = journal_path(&self.log_dir, old.file.seq);
            // A lease may still read the file: then its name goes, and its bytes with the last handle (SAFETY R8).
            match Arc::try_unwrap(old.file) {
                Ok(file) if old.bytes == self.file_bytes && self.spares.len() < self.spares_max => {
                    self.spares.push((path, file.file, old.bytes));
                }
                Ok(_) | Err(_) => removed.push(path),
            }
        }
        removed
    }

    /// Nothing is to be written, and nothing is being written.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.syncing.is_none() && self.filling.is_none() && self.closed.is_empty()
    }

    pub(super) fn written(&self) -> Lsn {
        self.written
    }

    pub(super) fn synced(&self) -> Lsn {
        self.synced
    }

    /// Up to here a cut can never be the verdict of a recovery.
    pub(super) fn vouched(&self) -> Lsn {
        self.vouched
    }

    /// Ends the writer: something else of the store failed for good.
    pub(super) fn halt(&mut self) {
        self.failed = true;
    }

    pub(super) fn is_full(&self) -> bool {
        self.full_until.is_some()
    }

    /// Bytes of groups that wait for their turn.
    pub(super) fn queued_bytes(&self) -> usize {
        self.closed.iter().chain(&self.filling).map(|filling| filling.writer.padded_bytes()).sum()
    }

    /// Bytes of all journal files.
    pub(super) fn file_bytes(&self) -> u64 {
        self.old.iter().map(|old| old.bytes).sum::<u64>() + self.current.position
    }

    /// Room that was made ready and is not used.
    pub(super) fn reserve_bytes(&self) -> u64 {
        self.current.zeroed_to.saturating_sub(self.current.position)
            + self.next.as_ref().map_or(0, |next| next.zeroed_to)
    }

    /// Memory of all group buffers in use.
    pub(super) fn buffer_bytes(&self) -> usize {
        self.pool.used_bytes()
    }
}

/// Makes the next file: a spare one under its new name, whose old bytes the salt tells, or an empty one.
async fn make_file<D: Disk>(
    disk: &D,
    log_dir: &Path,
    seq: u64,
    spare: Option<(PathBuf, D::File, u64)>,
) -> io::Result<(D::File, u64)> {
    let path = journal_path(log_dir, seq);
    let made = match spare {
        Some((old_path, file, bytes)) => {
            disk.rename(Lane::Prepare, &old_path, &path).await?;
            (file, bytes)
        }
        None => (disk.open(Lane::Prepare, &path, Open::Direct).await?, 0),
    };
    disk.sync_dir(Lane::Prepare, log_dir).await?;
    Ok(made)
}
