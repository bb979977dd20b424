//! Lanes: operations in order, the first of them under way; what a crash makes of that.

use super::SimFile;
use super::files::{Files, GroupSeen};
use bytes::Bytes;
use seedlog::store::disk::{Completer, DirEntry, Lane, Open, Room};
use seedlog_core::journal::format::GroupPrefix;
use seedlog_sim::disk::{Inode, SECTOR_BYTES};
use seedlog_sim::hash::hash64;
use seedlog_sim::rng::Stream;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::sync::Notify;

/// Who waits for an operation.
pub(crate) struct Done<T>(Completer<T>);

impl<T> Done<T> {
    pub(super) fn new(completer: Completer<T>) -> Self {
        Self(completer)
    }

    pub(super) fn with(self, result: io::Result<T>) {
        self.0.complete(result);
    }
}

/// An operation with whoever waits for it; `Changes` are several that need no open file, one after the other until one fails.
pub(crate) enum Op {
    Changes { works: VecDeque<Work>, done: Done<()> },
    Unit { work: Work, done: Done<()> },
    List { dir: String, done: Done<Vec<DirEntry>> },
    Open { name: String, how: Open, done: Done<SimFile> },
    Read { inode: Inode, position: u64, bytes: usize, then: Box<dyn FnOnce(io::Result<Bytes>) + Send> },
    Length { inode: Inode, done: Done<u64> },
    Room { done: Done<Room> },
    Run { work: Box<dyn FnOnce() + Send> },
}

/// An operation that changes something and gives nothing back; `WriteFile` opens the file, too.
#[derive(Debug)]
pub(crate) enum Work {
    CreateDir { dir: String },
    Write { inode: Inode, position: u64, buffers: Vec<Bytes>, sync: bool },
    WriteFile { name: String, position: u64, bytes: Bytes },
    Sync { inode: Inode },
    SyncDir { dir: String },
    SyncAll,
    SetLength { inode: Inode, bytes: u64 },
    Rename { from: String, to: String },
    Remove { name: String },
    RemoveDir { dir: String },
}

/// An operation that was carried out and not reported.
pub(crate) struct Finished(Box<dyn FnOnce() + Send>);

impl Finished {
    fn new<T: Send + 'static>(done: Done<T>, result: io::Result<T>) -> Self {
        Self(Box::new(move || done.with(result)))
    }

    /// Reports it.
    pub(crate) fn complete(self) {
        (self.0)();
    }
}

/// What whoever watches wants to know.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DiskEvent {
    /// A group of the journal is in the page cache.
    Written(GroupSeen),
    /// A group of the journal is on the platter.
    Synced(GroupSeen),
    /// A sync failed.
    SyncFailed {
        /// In the journal's lane.
        journal: bool,
    },
    /// A journal file got a new name.
    Recycled,
    /// A cold read was served from a journal file or a segment.
    ColdRead {
        /// From a journal file.
        journal: bool,
    },
}

impl Op {
    pub(super) fn unit(work: Work, done: Done<()>) -> Self {
        Self::Unit { work, done }
    }

    /// Carries it out at once, as a whole.
    pub(super) fn carry_out(self, files: &mut Files) -> Finished {
        match self {
            Self::Unit { work, done } => Finished::new(done, work.carry_out(files)),
            Self::Changes { works, done } => {
                let result = works.into_iter().try_for_each(|work| work.carry_out(files));
                Finished::new(done, result)
            }
            Self::List { dir, done } => Finished::new(done, files.list(&dir)),
            Self::Open { name, how, done } => Finished::new(done, files.open(&name, how).map(SimFile)),
            Self::Read { inode, position, bytes, then } => {
                let read = files.read(inode, position, bytes).map(Bytes::from);
                Finished(Box::new(move || then(read)))
            }
            Self::Length { inode, done } => Finished::new(done, Ok(files.disk.content(inode).len() as u64)),
            Self::Room { done } => Finished::new(done, Ok(files.room_left())),
            Self::Run { work } => Finished(work),
        }
    }

    /// How long it takes, in µs. madsim's shortest sleep is a ms: what is faster is done at once.
    fn micros(&self, rng: &mut Stream) -> u64 {
        let (at_once, slow_us) = match self {
            Self::Unit { work: Work::Write { buffers, sync, .. }, .. } => {
                let bytes: usize = buffers.iter().map(Bytes::len).sum();
                (if *sync { 300 } else { 600 }, 1_500 + bytes as u64 / 500)
            }
            Self::Unit { work: Work::Sync { .. } | Work::SyncDir { .. } | Work::SyncAll, .. } => (300, 2_500),
            Self::Read { .. } => (500, 2_000),
            Self::Unit { .. } | Self::Changes { .. } | Self::List { .. } | Self::Open { .. } => (800, 1_500),
            Self::Length { .. } | Self::Room { .. } | Self::Run { .. } => (950, 1_200),
        };
        if rng.chance(at_once) { 0 } else { rng.range(1_000, slow_us) }
    }
}

impl Work {
    fn carry_out(self, files: &mut Files) -> io::Result<()> {
        match self {
            Self::CreateDir { dir } => files.create_dir(&dir)?,
            Self::Write { inode, mut position, buffers, sync } => {
                for buffer in buffers {
                    files.write(inode, position, &buffer)?;
                    position += buffer.len() as u64;
                }
                if sync {
                    files.disk.sync(inode);
                }
            }
            Self::WriteFile { name, position, bytes } => {
                let inode = files.open(&name, Open::Write)?;
                files.write(inode, position, &bytes)?;
            }
            Self::Sync { inode } => files.disk.sync(inode),
            Self::SyncDir { dir } => files.disk.sync_names_in(&dir),
            Self::SyncAll => files.sync_all(),
            Self::SetLength { inode, bytes } => files.set_length(inode, bytes)?,
            Self::Rename { from, to } => files.rename(&from, &to)?,
            Self::Remove { name } => files.disk.unlink(&name),
            Self::RemoveDir { dir } => files.remove_dir(&dir),
        }
        Ok(())
    }

    /// The process dies while this is under way: it happens in part. `true` if a write was cut.
    fn carry_out_in_part(self, files: &mut Files, rng: &mut Stream) -> bool {
        match self {
            Self::Write { inode, mut position, buffers, sync: _ } => {
                let sectors: usize = buffers.iter().map(|buffer| buffer.len().div_ceil(SECTOR_BYTES)).sum();
                let done = if rng.chance(500) { sectors } else { rng.index(sectors + 1) };
                let mut left = done * SECTOR_BYTES;
                for mut buffer in buffers {
                    buffer.truncate(left);
                    left -= buffer.len();
                    // Where there is no room nothing is written, and nobody is left to be told.
                    let _ = files.write(inode, position, &buffer);
                    position += buffer.len() as u64;
                }
                done < sectors
            }
            Self::WriteFile { name, position, bytes } => match files.open(&name, Open::Write) {
                Ok(inode) => Self::Write { inode, position, buffers: vec![bytes], sync: false }
                    .carry_out_in_part(files, rng),
                Err(_) => false,
            },
            Self::SyncDir { .. } | Self::SyncAll => false,
            work @ (Self::CreateDir { .. }
            | Self::Sync { .. }
            | Self::SetLength { .. }
            | Self::Rename { .. }
            | Self::Remove { .. }
            | Self::RemoveDir { .. }) => {
                if rng.chance(500) {
                    // As above.
                    let _ = work.carry_out(files);
                }
                false
            }
        }
    }
}

/// All lanes of a machine.
pub(crate) struct Lanes {
    lanes: [Queue; 4],
    /// What a dead process still waits for: until its tasks are gone nobody may tell them that it will never come.
    unheard: Vec<Box<dyn Send>>,
    /// Groups that are written and not synced.
    unsynced: Vec<GroupSeen>,
    /// A sync of the journal failed: what lies behind in another file may come to the platter, but nobody can count on it.
    has_gap: bool,
    /// Groups of the journal that are on the platter, as far as they were seen.
    pub groups: Vec<GroupSeen>,
    /// The next sync fails.
    pub sync_fails: bool,
    /// Every operation takes so many times longer.
    pub slow_factor: u64,
    /// Segments and snapshots take so many times longer than the journal.
    pub background_factor: u64,
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    ops: VecDeque<Op>,
    busy: bool,
    /// Rises with every crash: what was begun before is not finished after.
    epoch: u64,
    word: Arc<Notify>,
}

/// Lanes in the order in which a machine keeps them.
pub(crate) const LANES: [Lane; 4] = [Lane::Journal, Lane::Prepare, Lane::Background, Lane::Cold];

fn index_of(lane: Lane) -> usize {
    match lane {
        Lane::Journal => 0,
        Lane::Prepare => 1,
        Lane::Background => 2,
        Lane::Cold => 3,
    }
}

impl Lanes {
    pub(crate) fn new(background_factor: u64) -> Self {
        Self {
            lanes: Default::default(),
            unheard: Vec::new(),
            unsynced: Vec::new(),
            has_gap: false,
            groups: Vec::new(),
            sync_fails: false,
            slow_factor: 1,
            background_factor,
        }
    }

    /// What a lane's worker waits for.
    pub(crate) fn word(&self, lane: Lane) -> Arc<Notify> {
        Arc::clone(&self.lanes[index_of(lane)].word)
    }

    pub(crate) fn push(&mut self, lane: Lane, op: Op) {
        let queue = &mut self.lanes[index_of(lane)];
        queue.ops.push_back(op);
        queue.word.notify_one();
    }

    /// Begins the next operation: µs until it ends, and the crash count that it belongs to.
    pub(crate) fn begin(&mut self, lane: Lane, rng: &mut Stream) -> Option<(u64, u64)> {
        let factor = match lane {
            // A thousandth of the bare world's factor: operations here take a ms where they take a µs there.
            Lane::Background => self.slow_factor * (self.background_factor / 300).max(1),
            Lane::Journal | Lane::Prepare | Lane::Cold => self.slow_factor,
        };
        let queue = &mut self.lanes[index_of(lane)];
        let op = queue.ops.front()?;
        queue.busy = true;
        Some((op.micros(rng) * factor, queue.epoch))
    }

    /// Ends the operation that was begun, unless a crash came between.
    pub(crate) fn finish(
        &mut self,
        lane: Lane,
        epoch: u64,
        files: &mut Files,
        rng: &mut Stream,
        events: &mut Vec<DiskEvent>,
    ) -> Option<Finished> {
        let queue = &mut self.lanes[index_of(lane)];
        if queue.epoch != epoch {
            return None;
        }
        queue.busy = false;
        let op = queue.ops.pop_front()?;
        match op {
            Op::Unit { work: Work::Write { inode, position, buffers, sync: true }, done } => {
                // A write and its sync are two: a crash may fall between them.
                let written = self.note_groups(lane, inode, position, &buffers, events);
                let work = Work::Write { inode, position, buffers, sync: false };
                if let Err(error) = work.carry_out(files) {
                    return Some(Finished::new(done, Err(error)));
                }
                self.unsynced.extend(written);
                self.lanes[index_of(lane)].ops.push_front(Op::unit(Work::Sync { inode }, done));
                None
            }
            Op::Unit { work: Work::Write { inode, position, buffers, sync: false }, done } => {
                let written = self.note_groups(lane, inode, position, &buffers, events);
                self.unsynced.extend(written);
                let work = Work::Write { inode, position, buffers, sync: false };
                Some(Finished::new(done, work.carry_out(files)))
            }
            Op::Unit { work: Work::Sync { inode }, done } => {
                if std::mem::take(&mut self.sync_fails) {
                    files.disk.sync_failing(inode, rng);
                    self.unsynced.retain(|group| group.inode != inode);
                    self.has_gap |= lane == Lane::Journal;
                    events.push(DiskEvent::SyncFailed { journal: lane == Lane::Journal });
                    return Some(Finished::new(done, Err(io::Error::other("input/output error"))));
                }
                files.disk.sync(inode);
                self.note_synced(inode, files, events);
                Some(Finished::new(done, Ok(())))
            }
            Op::Changes { mut works, done } => {
                let result = works.pop_front().map_or(Ok(()), |work| work.carry_out(files));
                if result.is_err() || works.is_empty() {
                    return Some(Finished::new(done, result));
                }
                // A crash may fall between two of them.
                self.lanes[index_of(lane)].ops.push_front(Op::Changes { works, done });
                None
            }
            Op::Unit { work: Work::Rename { from, to }, done } => {
                if from.contains("journal-") {
                    events.push(DiskEvent::Recycled);
                }
                Some(Finished::new(done, files.rename(&from, &to)))
            }
            read @ Op::Read { inode, .. } => {
                if lane == Lane::Cold {
                    let name = files.disk.seen().names().find(|&(_, other)| other == inode);
                    let journal = name.is_some_and(|(name, _)| name.contains("journal-"));
                    events.push(DiskEvent::ColdRead { journal });
                }
                Some(read.carry_out(files))
            }
            other @ (Op::Unit { .. }
            | Op::List { .. }
            | Op::Open { .. }
            | Op::Length { .. }
            | Op::Room { .. }
            | Op::Run { .. }) => Some(other.carry_out(files)),
        }
    }

    fn note_groups(
        &self,
        lane: Lane,
        inode: Inode,
        position: u64,
        buffers: &[Bytes],
        events: &mut Vec<DiskEvent>,
    ) -> Vec<GroupSeen> {
        let mut seen = Vec::new();
        let mut at = position;
        for buffer in buffers.iter().filter(|_| lane == Lane::Journal) {
            if let Ok(prefix) = GroupPrefix::read(buffer) {
                let group = GroupSeen { inode, at, prefix, hash: hash64(buffer) };
                events.push(DiskEvent::Written(group));
                seen.push(group);
            }
            at += buffer.len() as u64;
        }
        seen
    }

    fn note_synced(&mut self, inode: Inode, files: &Files, events: &mut Vec<DiskEvent>) {
        for group in std::mem::take(&mut self.unsynced) {
            if group.inode != inode {
                self.unsynced.push(group);
            } else if !self.has_gap && files.disk.is_on_platter(inode, group.at, group.prefix.padded_bytes())
            {
                events.push(DiskEvent::Synced(group));
                self.groups.push(group);
            }
        }
    }

    /// A new process starts: the last one is gone with all its tasks.
    pub(crate) fn forget_the_dead(&mut self) {
        self.unheard.clear();
    }

    /// The process dies: what is under way is done in part, what waits never. How many writes were cut, and cold reads.
    pub(crate) fn crash(&mut self, files: &mut Files, rng: &mut Stream) -> (usize, usize) {
        let (mut writes, mut reads) = (0, 0);
        for queue in &mut self.lanes {
            queue.epoch += 1;
            let busy = std::mem::take(&mut queue.busy);
            let under_way = if busy { queue.ops.pop_front() } else { None };
            self.unheard.extend(queue.ops.drain(..).map(|op| Box::new(op) as Box<dyn Send>));
            match under_way {
                Some(Op::Unit { work, done }) => {
                    writes += usize::from(work.carry_out_in_part(files, rng));
                    self.unheard.push(Box::new(done));
                }
                Some(Op::Changes { mut works, done }) => {
                    let first = works.pop_front();
                    writes += usize::from(first.is_some_and(|work| work.carry_out_in_part(files, rng)));
                    self.unheard.push(Box::new(done));
                }
                Some(read @ Op::Read { .. }) => {
                    reads += 1;
                    self.unheard.push(Box::new(read));
                }
                Some(
                    other @ (Op::List { .. }
                    | Op::Open { .. }
                    | Op::Length { .. }
                    | Op::Room { .. }
                    | Op::Run { .. }),
                ) => self.unheard.push(Box::new(other)),
                None => {}
            }
        }
        self.unsynced.clear();
        self.has_gap = false;
        (writes, reads)
    }
}
