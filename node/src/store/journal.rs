//! The journal's writer: entries become groups, groups go to the disk one at a time. Its files are in `files`.
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

mod files;

pub(super) use files::{Current, Old, Prepared, SPACE_RETRY, journal_path, parse_journal_name};

use super::buffers::{ALIGN_BYTES, AlignedBuffer, Pool};
use super::disk::{Completion, Disk, Lane, Then};
use super::index::{GroupNumber, Home, Index, JournalFile};
use super::metrics::Counters;
use super::options::{Identity, StoreOptions};
use bytes::Bytes;
use files::Next;
use seedlog_core::config::FlushMode;
use seedlog_core::ids::Lsn;
use seedlog_core::journal::format::GroupPlace;
use seedlog_core::journal::{Entry, FILE_HEADER_BYTES, GroupWriter, QuorumChain};
use seedlog_core::records::BatchHeader;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{future::Future, pin::Pin};
use tokio::time::Instant;

/// A group is closed at the end of a step from here on: a usual step more still fits into the largest pooled buffer.
const GROUP_BYTES_CLOSE: usize = 3 << 20;
/// Size of the chunks that groups are cut from, least and most.
const CHUNK_BYTES: (usize, usize) = (64 << 10, 8 << 20);
/// How long the writer is idle before it adds an empty group.
const IDLE: Duration = Duration::from_millis(1);

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
    bytes: u64,
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

/// Chunks are a small part of the cache, and large enough for two groups of the greatest usual size.
fn pool(tail_cache_bytes: usize) -> Pool {
    let chunk_bytes =
        (tail_cache_bytes / 16).next_multiple_of(ALIGN_BYTES).clamp(CHUNK_BYTES.0, CHUNK_BYTES.1);
    Pool::new(chunk_bytes, tail_cache_bytes / 8)
}

/// What follows the write of a group that is acknowledged once it is on disk.
fn then_always() -> Then {
    // H5: the sync comes later, and the acknowledgement does not wait for it.
    #[cfg(feature = "museum")]
    if seedlog_core::museum::is_on(seedlog_core::museum::Exhibit::H5) {
        return Then::Nothing;
    }
    Then::Sync
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
    reads_ahead: bool,
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
    /// Bytes of those groups, and how many of them are synced before it is time: batches go to segments once they are vouched for,
    /// two syncs later.
    unsynced_bytes: u64,
    unsynced_bytes_max: u64,
    /// What the last written group vouches for once it is synced.
    vouches: Lsn,
    next_lsn: Lsn,
    quorum: QuorumChain,
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
    pub(super) quorum: QuorumChain,
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
            reads_ahead: options.reads_ahead,
            random,
            pool: pool(options.tail_cache_bytes),
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
            unsynced_bytes: 0,
            unsynced_bytes_max: options.write_behind_bytes / 4,
            vouches: start.end,
            next_lsn: start.end.next(),
            quorum: start.quorum,
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
        batch: Option<(&BatchHeader, &Bytes)>,
    ) -> Lsn {
        let filling = self.filling.get_or_insert_with(|| Filling {
            writer: GroupWriter::new(self.pool.take(self.group_bytes_recent), self.next_lsn, self.quorum),
            group: None,
            wants_sync: false,
        });
        let placed = filling.writer.push(entry, batch.map(|(header, batch)| (header, &batch[..])));
        match (entry, batch) {
            (Entry::Append(append), Some((header, batch))) => {
                let group = *filling.group.get_or_insert_with(|| index.begin_group());
                index.push(group, append, placed.at, header.max_timestamp);
                if self.reads_ahead {
                    index.keep_loose(group, placed.at, *header, batch.clone());
                }
            }
            (
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
                | Entry::Cut { .. }
                | Entry::Reset { .. }
                | Entry::Dropping { .. }
                | Entry::Trusted { .. }
                | Entry::Damaged { .. }
                | Entry::LogStart { .. }
                | Entry::Compacted { .. },
                _,
            ) => filling.wants_sync = true,
        }
        self.next_lsn = filling.writer.next_lsn();
        self.quorum = filling.writer.quorum();
        placed.lsn
    }

    /// A step's entries are complete: a large group may be closed here.
    pub(super) fn end_step(&mut self) {
        if self.filling.as_ref().is_some_and(|filling| filling.writer.padded_bytes() >= GROUP_BYTES_CLOSE) {
            let mut filling = self.filling.take().expect("it was looked at above");
            filling.writer.close();
            self.closed.push_back(filling);
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
            FlushMode::Always => then_always(),
            FlushMode::Interval => Then::Nothing,
        };
        self.counters.groups += 1;
        self.counters.entries += u64::from(prefix.entries);
        self.counters.journal_bytes += bytes;
        let write = self.disk.write_at(Lane::Journal, &self.current.file.file, write_at, buffers, then);
        self.in_flight = Some(InFlight {
            write,
            bytes,
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
                self.unsynced_bytes += group.bytes;
                let is_much = self.unsynced_bytes >= self.unsynced_bytes_max;
                if group.wants_sync || is_much || self.flush_interval.is_zero() {
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
        self.unsynced_bytes = 0;
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
            let writer = GroupWriter::new(self.pool.take(0), self.next_lsn, self.quorum);
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

    /// Memory of all group buffers in use.
    pub(super) fn buffer_bytes(&self) -> usize {
        self.pool.used_bytes()
    }
}
