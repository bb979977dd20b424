//! The store: the journal on the disk, the segments behind it, and the bytes that consumers read.
//!
//! ```text
//!             push, flush                 write behind, in rounds
//!  driver ------------------> journal.rs ------------------------> segments.rs
//!    |                            |                                     |
//!    | lease, look                | group buffers                       | files of a partition
//!    v                            v                                     v
//!  lease.rs, look.rs <------- index.rs (tail cache)   reader.rs <--- segment.rs (side file)
//! ```
//!
//! One task owns a [`Store`]: it pushes what the core gives out, asks for leases, and waits for [`Store::next_event`]
//! between its other business. The store starts no tasks or threads; all of its own work advances inside `next_event`, and
//! ends with it. What touches the operating system is behind [`disk::Disk`].
//!
//! * [`disk`], [`real_disk`]: the disk; * [`buffers`]: memory of groups; * [`journal`]: the writer; * [`recovery`], [`folder`]:
//!   opening; * [`index`]: what is not only in segments; * [`segment`], [`segments`], [`reader`]: segments as numbers, written,
//!   read; * [`lease`], [`look`]: reading; * [`duties`]: rounds, snapshots and drops; * [`cuts`]: logs that lose their tails;
//!   * [`removals`]: logs that lose their fronts; * [`clean`]: logs that are compacted; * [`inspect`]: a folder looked at while no node uses it.

pub mod buffers;
mod clean;
mod cuts;
pub mod disk;
mod duties;
mod error;
mod folder;
mod index;
#[cfg(not(madsim))]
pub mod inspect;
mod journal;
mod lease;
mod look;
mod metrics;
mod new_segments;
mod options;
mod pieces;
mod read_back;
mod read_buffers;
mod reader;
pub mod real_disk;
mod recovery;
mod removals;
mod replay;
mod rot;
mod segment;
mod segments;

pub use error::StoreError;
pub use lease::{Chain, Lease};
pub use metrics::Counters;
pub use options::{Identity, StoreOptions};
pub use reader::ReadError;
pub use real_disk::{RealDisk, RealDiskOptions};
pub use recovery::OpenReport;

use bytes::Bytes;
use clean::Passes;
use cuts::Cuts;
use disk::{Disk, Lane};
use duties::{Duties, Task};
use index::Index;
use journal::{Journal, Progress};
use lease::{Reader, read_back};
use look::LookUp;
use reader::SegmentFiles;
use rot::Rot;
use seedlog_core::ids::{Lsn, Offset, OpId, TopicPartition};
use seedlog_core::input::{LogDir, ReadResult};
use seedlog_core::journal::Entry;
use seedlog_core::log::{CompactionResult, Retention, SegmentAge};
use seedlog_core::output::{Extent, Look, StoreCommand};
use seedlog_core::records::{BatchHeader, NO_TIMESTAMP, ProducedBatch};
use seedlog_core::recovered::Recovered;
use segment::SegmentTable;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// What the store has to tell; each is an input of the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEvent {
    /// How far the journal got.
    Durable {
        /// The last lsn handed to the operating system.
        written: Lsn,
        /// The last lsn on disk.
        synced: Lsn,
    },
    /// A look-up ended.
    ReadDone {
        /// The operation.
        op: OpId,
        /// What was found.
        result: ReadResult,
    },
    /// Batches were read back.
    BatchesRead {
        /// The operation.
        op: OpId,
        /// The batches; `None`: they cannot be read or are damaged.
        batches: Option<Vec<ProducedBatch>>,
    },
    /// A cleaning pass ended.
    Compacted {
        /// The operation.
        op: OpId,
        /// How.
        result: CompactionResult,
    },
    /// The sizes of logs are known.
    LogsMeasured {
        /// The operation.
        op: OpId,
        /// Where they are, and how large.
        dir: LogDir,
    },
    /// A command ended.
    StoreDone {
        /// The operation.
        op: OpId,
        /// Done, or why not.
        result: Result<(), String>,
    },
    /// Something that was on disk cannot be read back.
    Damaged {
        /// The partition.
        partition: TopicPartition,
        /// What was asked for, or found, begins here.
        from: Offset,
    },
    /// The journal or a segment cannot be written or synced: the last event (SAFETY J10).
    DiskFailed {
        /// What the operating system said.
        reason: String,
    },
    /// Room that is left.
    Space {
        /// Bytes that may still be written, prepared room of the journal included; 0 once the disk is full.
        free_bytes: u64,
    },
    /// [`Store::is_full`] is over by what was done beside the journal: who holds appends back may go on.
    Room,
}

/// The store of one node.
pub struct Store<D: Disk> {
    disk: D,
    options: StoreOptions,
    identity: Identity,
    journal: Journal<D>,
    index: Index<D::File>,
    segments: SegmentTable,
    files: Arc<SegmentFiles<D>>,
    duties: Duties,
    cuts: Cuts,
    cleaning: Passes,
    tasks: Vec<Task<D::File>>,
    rot: Arc<Rot>,
    events: VecDeque<StoreEvent>,
    /// The ends that were reported last.
    reported: (Lsn, Lsn),
    timer: Option<Pin<Box<Sleep>>>,
    failed: bool,
    /// Held until everything else is gone.
    _lock: D::Lock,
}

impl<D: Disk> fmt::Debug for Store<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("log_dir", &self.options.log_dir)
            .field("reported", &self.reported)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl<D: Disk> Store<D> {
    /// Opens a data folder, reading back what is there. `random` gives the salts of journal files: numbers that nobody
    /// outside can guess (SAFETY J1).
    ///
    /// # Errors
    /// [`StoreError`]: the node must not start.
    pub async fn open(
        options: StoreOptions,
        disk: D,
        mut random: Box<dyn FnMut() -> u64 + Send>,
    ) -> Result<(Self, Recovered, OpenReport), StoreError> {
        let folder = folder::enter(&disk, &options).await?;
        let salt = random();
        let opened = recovery::open(&disk, &options, folder.identity, folder.first_use, salt).await?;
        let end = opened.start.end;
        let clean_up = opened.report.damage.is_empty() && !opened.report.cut;
        let mut store = Self {
            journal: Journal::new(disk.clone(), &options, folder.identity, random, opened.start),
            index: opened.index,
            segments: opened.segments,
            files: Arc::new(SegmentFiles::new(
                disk.clone(),
                options.log_dir.clone(),
                options.open_segments_max,
                options.cold_cache_bytes,
            )),
            duties: Duties::default(),
            cuts: opened.cuts,
            cleaning: Passes::default(),
            tasks: Vec::new(),
            rot: Arc::default(),
            events: VecDeque::new(),
            reported: (end, end),
            timer: None,
            failed: false,
            identity: folder.identity,
            disk,
            options,
            _lock: folder.lock,
        };
        if clean_up {
            store.release(opened.through, None);
        }
        store.look_for_space();
        Ok((store, opened.recovered, opened.report))
    }

    /// Adds an entry to the journal: for an append with its stamped header and the batch as the client sent it. Gives the
    /// entry's number. A store that failed takes nothing more: its numbers stand still.
    pub fn push(&mut self, entry: &Entry, batch: Option<(&BatchHeader, &Bytes)>) -> Lsn {
        if self.failed {
            return self.journal.written();
        }
        self.journal.counters.batch_bytes += u64::from(entry.payload_bytes());
        let lsn = self.journal.push(&mut self.index, entry, batch);
        self.on_pushed(entry, lsn);
        lsn
    }

    /// All entries of a step were pushed: they go into one group (SAFETY J7).
    pub fn end_step(&mut self) {
        self.journal.end_step();
    }

    /// Starts to write what was pushed, unless a group is in flight: then it follows by itself.
    pub fn flush(&mut self) {
        self.end_step();
        self.journal.submit(&mut self.index);
    }

    /// Claims the record bytes of an extent for a consumer; to be called when the output that names it is taken (SAFETY R8).
    ///
    /// A consumer is not given batches that have no records: several libraries fall over them, or ask for them for ever. Only
    /// where nothing else follows it gets them, to go on behind.
    #[must_use]
    pub fn lease(&self, extent: &Extent) -> Lease<D> {
        self.lease_of_consumer(extent, Reader::Consumer { is_ahead: false })
    }

    /// The same in a cluster: what others have on their disks is committed, and may still be on its way to this one's.
    #[must_use]
    pub fn lease_of_cluster(&self, extent: &Extent) -> Lease<D> {
        self.lease_of_consumer(extent, Reader::Consumer { is_ahead: true })
    }

    fn lease_of_consumer(&self, extent: &Extent, reader: Reader) -> Lease<D> {
        let places = (&self.index, &self.segments, &self.files);
        let take = |extent: &Extent| Lease::take(extent, reader, (&self.disk, &self.rot), places);
        let mut lease = take(extent);
        if let Some(from) = lease.cleaned_to() {
            lease.go_on_with(take(&Extent { from, ..*extent }));
        }
        lease
    }

    /// As [`Store::lease`], for a follower: with batches that are not in the journal yet, when
    /// [`StoreOptions::reads_ahead`] says so.
    #[must_use]
    pub fn lease_ahead(&self, extent: &Extent) -> Lease<D> {
        let places = (&self.index, &self.segments, &self.files);
        Lease::take(extent, Reader::Follower, (&self.disk, &self.rot), places)
    }

    /// Looks something up; ends with [`StoreEvent::ReadDone`].
    pub fn look(&mut self, op: OpId, extent: &Extent, look: Look) {
        let places = (&self.index, &self.segments, &self.files);
        let look_up = LookUp::take(&self.disk, extent, look, self.options.decompressed_bytes_max, places);
        self.tasks.push(Box::pin(async move { duties::Done::Look { op, result: look_up.run().await } }));
    }

    /// Reads batches back, also those that are not in the journal yet, as [`Store::lease_ahead`]; ends with
    /// [`StoreEvent::BatchesRead`].
    pub fn read_batches(&mut self, op: OpId, extent: Extent) {
        let read = read_back(self.disk.clone(), self.lease_ahead(&extent), extent);
        self.tasks.push(Box::pin(async move { duties::Done::Batches { op, batches: read.await } }));
    }

    /// Looks which segments of a log go by its retention; ends with [`StoreEvent::ReadDone`].
    pub fn find_expired(
        &mut self,
        op: OpId,
        partition: TopicPartition,
        up_to: Offset,
        retention: &Retention,
    ) {
        let segments = self.segments.get(&partition).map_or(&[][..], Vec::as_slice);
        let end = segment::end_of(segments);
        let ages: Vec<SegmentAge> = segments
            .iter()
            .take_while(|segment| segment.next <= up_to)
            .map(|segment| SegmentAge {
                next: segment.next,
                bytes: segment.bytes,
                max_timestamp: segment.max_timestamp,
            })
            .collect();
        let rest = segments[ages.len()..].iter().map(|segment| segment.bytes).sum::<u64>();
        // Only a limit in bytes needs the sum.
        let behind = retention.bytes_min.map_or(0, |_| {
            self.index.behind(partition, end).map(|batch| u64::from(batch.bytes)).sum::<u64>()
        });
        let result = match retention.start(&ages, rest + behind) {
            Some(offset) => ReadResult::Found { offset, timestamp_ms: NO_TIMESTAMP },
            None => ReadResult::NotFound,
        };
        self.events.push_back(StoreEvent::ReadDone { op, result });
    }

    /// Looks how large logs are: what their segments hold, and what is on its way there. Ends with [`StoreEvent::LogsMeasured`].
    pub fn measure(&mut self, op: OpId, partitions: &[TopicPartition]) {
        let sizes = partitions.iter().map(|&partition| {
            let segments = self.segments.get(&partition).map_or(&[][..], Vec::as_slice);
            // What lies before the start may still be in memory.
            let from = segment::end_of(segments).max(self.cuts.start_of(partition));
            let behind = self.index.behind(partition, from);
            let bytes = segments.iter().map(|segment| segment.bytes).sum::<u64>()
                + behind.map(|batch| u64::from(batch.bytes)).sum::<u64>();
            (partition, bytes)
        });
        let sizes = sizes.collect();
        let room = self.disk.room(Lane::Prepare, &self.options.log_dir);
        self.tasks.push(Box::pin(async move { duties::Done::Measured { op, sizes, room: room.await } }));
    }

    /// Carries out a command; ends with [`StoreEvent::StoreDone`].
    pub fn command(&mut self, op: OpId, command: StoreCommand) {
        match command {
            StoreCommand::Snapshot { snapshot } => self.ask_snapshot(op, snapshot),
            StoreCommand::Drop { topic_id, .. } => self.duties.drops.push_back((op, topic_id)),
        }
    }

    /// Waits for the next event. May be dropped and called again at any time: nothing is lost.
    pub async fn next_event(&mut self) -> StoreEvent {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// No more appends should be admitted: the journal, the index or the queue is as large as it may be, or the disk is
    /// full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free_budget() == 0
    }

    /// Bytes of batches that may be pushed before the store is full, by the tightest of its limits.
    #[must_use]
    pub fn free_budget(&self) -> usize {
        let queue = self.options.queued_bytes_max.saturating_sub(self.journal.queued_bytes());
        let journal = self.options.journal_bytes_max.saturating_sub(self.journal.file_bytes());
        let journal = usize::try_from(journal).unwrap_or(usize::MAX);
        // Beyond the cache batches would have to be read back to be written behind, which is slower than all else: who
        // writes is held back early and briefly rather than late and for seconds.
        let behind_max =
            (self.options.tail_cache_bytes as u64 / 4 * 3).max(3 * self.options.write_behind_bytes);
        let behind = behind_max.saturating_sub(self.index.unsegmented_bytes());
        let journal = journal.min(usize::try_from(behind).unwrap_or(usize::MAX));
        let index_full = self.index.memory_bytes() >= self.options.index_bytes_max;
        if index_full || self.journal.is_full() || self.failed { 0 } else { queue.min(journal) }
    }

    /// Whose folder it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.journal.counters
    }

    /// As [`Store::counters`], to set the hook.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.journal.counters
    }

    /// Memory of group buffers: those kept for readers, and all whose slices somebody holds.
    #[must_use]
    pub fn cache_bytes(&self) -> (usize, usize) {
        (self.index.cached_bytes(), self.journal.buffer_bytes())
    }

    /// Bytes of batches that are in the journal only.
    #[must_use]
    pub fn unsegmented_bytes(&self) -> u64 {
        self.index.unsegmented_bytes()
    }

    /// Bytes of all journal files.
    #[must_use]
    pub fn journal_file_bytes(&self) -> u64 {
        self.journal.file_bytes()
    }

    /// Writes and syncs all that was pushed, adds a group that vouches for it, and lets go of the folder.
    ///
    /// # Errors
    /// The disk failed; what was reported durable is.
    pub async fn close(mut self) -> Result<(), String> {
        poll_fn(|cx| {
            loop {
                if let Some(StoreEvent::DiskFailed { reason }) = self.events.back() {
                    return Poll::Ready(Err(reason.clone()));
                }
                self.flush();
                if self.journal.is_idle() {
                    if self.journal.synced() < self.journal.written() {
                        self.journal.start_sync();
                    } else if self.journal.vouched() < self.journal.synced() {
                        self.journal.vouch(&mut self.index);
                    } else {
                        return Poll::Ready(Ok(()));
                    }
                }
                if self.poll_progress(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<StoreEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            if let Poll::Ready((partition, from)) = self.rot.poll_next(cx) {
                return Poll::Ready(StoreEvent::Damaged { partition, from });
            }
            if self.poll_progress(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// One step of the store's own work, the journal first.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.failed {
            return Poll::Pending;
        }
        if let Poll::Ready(progress) = self.journal.poll(cx, &mut self.index) {
            match progress {
                Progress::Moved => self.report_ends(),
                Progress::Failed(reason) => self.fail(reason),
            }
            return Poll::Ready(());
        }
        if let Poll::Ready(done) = self.poll_tasks(cx) {
            let was_full = self.is_full();
            self.on_done(done);
            if was_full && !self.is_full() {
                self.events.push_back(StoreEvent::Room);
            }
            return Poll::Ready(());
        }
        if self.start_due() {
            return Poll::Ready(());
        }
        let now = Instant::now();
        match self.deadline() {
            Some(at) if at <= now => {
                self.timer = None;
                self.journal.on_timer(now, &mut self.index);
                self.on_timer(now);
                Poll::Ready(())
            }
            Some(at) => self.poll_timer(at, cx),
            None => Poll::Pending,
        }
    }

    fn poll_timer(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.as_ref().is_none_or(|timer| timer.deadline() != at) {
            self.timer = Some(Box::pin(sleep_until(at)));
        }
        let timer = self.timer.as_mut().expect("it was set above");
        timer.as_mut().poll(cx)
    }

    fn poll_tasks(&mut self, cx: &mut Context<'_>) -> Poll<duties::Done<D::File>> {
        for at in 0..self.tasks.len() {
            if let Poll::Ready(done) = self.tasks[at].as_mut().poll(cx) {
                drop(self.tasks.swap_remove(at));
                return Poll::Ready(done);
            }
        }
        Poll::Pending
    }

    fn report_ends(&mut self) {
        let ends = (self.journal.written(), self.journal.synced());
        if ends != self.reported {
            self.reported = ends;
            self.events.push_back(StoreEvent::Durable { written: ends.0, synced: ends.1 });
        }
        self.evict();
    }

    /// Gives up cached groups beyond the limits. Batches that are in segments and cached take room in the index as well.
    fn evict(&mut self) {
        self.index.evict(self.options.tail_cache_bytes, self.options.index_bytes_max / 4 * 3);
    }

    fn fail(&mut self, reason: String) {
        self.failed = true;
        self.journal.halt();
        self.tasks.clear();
        self.events.push_back(StoreEvent::DiskFailed { reason });
    }
}
