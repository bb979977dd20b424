//! The store's disk: each lane does its operations one after the other, and each takes time, over the bare world's sectors
//! and page cache.
//!
//! ```text
//!   store ── submit ──► lane: [ under way | waiting ... ] ──► Files ──► seedlog_sim::disk
//!     ◄── completion ──────┘            │
//!                              kill or power cut: what is under way is done in part, what waits never
//! ```
//!
//! A handle belongs to one life of a process: what a dead one still submits reaches nothing. Names are durable after a sync of
//! their folder alone, and a folder that was lost takes what is in it along.
//!
//! Files: `files` is the file system, `lane` the queues and crashes.

mod files;
mod lane;
#[cfg(test)]
mod tests;

pub use files::{Files, GroupSeen};
pub(crate) use lane::{DiskEvent, LANES, Lanes, Op};

use crate::world::Shared;
use bytes::Bytes;
use files::name_of;
use lane::Work;
use seedlog::store::disk::{Change, Completion, DirEntry, Disk, Lane, Open, Room, Then, completion};
use seedlog_sim::disk::Inode;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A handle of a machine's disk.
#[derive(Clone)]
pub struct SimDisk {
    behind: Behind,
}

#[derive(Clone)]
enum Behind {
    /// A machine's lanes, for one life of its process.
    Machine { shared: Shared, at: usize, life: u64 },
    /// Files by themselves: everything is done at once.
    Files(Arc<Mutex<Files>>),
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

/// An open file.
#[derive(Debug, Clone, Copy)]
pub struct SimFile(pub(crate) Inode);

/// Holds the folder of a life; the next life has locks of its own.
#[derive(Debug)]
pub struct SimLock;

impl SimDisk {
    /// The disk of a machine, for one life of its process.
    #[must_use]
    pub fn of(shared: Shared, at: usize, life: u64) -> Self {
        Self { behind: Behind::Machine { shared, at, life } }
    }

    /// A disk that nobody else uses and that takes no time.
    #[must_use]
    pub fn alone(files: Files) -> Self {
        Self { behind: Behind::Files(Arc::new(Mutex::new(files))) }
    }

    fn submit<T>(&self, lane: Lane, op: impl FnOnce(lane::Done<T>) -> Op) -> Completion<T> {
        let (completer, completion) = completion();
        let op = op(lane::Done::new(completer));
        match &self.behind {
            Behind::Machine { shared, at, life } => shared.submit(*at, *life, lane, op),
            Behind::Files(files) => {
                let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
                op.carry_out(&mut files).complete();
            }
        }
        completion
    }

    fn with_files<T>(&self, look: impl FnOnce(&mut Files) -> io::Result<T>) -> io::Result<T> {
        match &self.behind {
            Behind::Machine { shared, at, life } => shared.with_files(*at, *life, look),
            Behind::Files(files) => look(&mut files.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn lock_now(&self, path: &Path) -> io::Result<Option<SimLock>> {
        self.with_files(|files| files.open(&name_of(path), Open::Write).map(|_| Some(SimLock)))
    }

    fn read_now(&self, path: &Path, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        self.with_files(|files| files.read_whole(&name_of(path), into))
    }

    fn list(&self, lane: Lane, dir: &Path) -> Completion<Vec<DirEntry>> {
        let dir = name_of(dir);
        self.submit(lane, |done| Op::List { dir, done })
    }

    fn change(&self, lane: Lane, changes: Vec<Change>) -> Completion<()> {
        let works = changes.into_iter().map(|change| match change {
            Change::CreateDir(dir) => Work::CreateDir { dir: name_of(&dir) },
            Change::Write { path, position, bytes } => {
                Work::WriteFile { name: name_of(&path), position, bytes }
            }
            Change::Remove(path) => Work::Remove { name: name_of(&path) },
        });
        let works = works.collect();
        self.submit(lane, |done| Op::Changes { works, done })
    }

    fn open(&self, lane: Lane, path: &Path, how: Open) -> Completion<SimFile> {
        let name = name_of(path);
        self.submit(lane, |done| Op::Open { name, how, done })
    }

    fn write_at(
        &self,
        lane: Lane,
        file: &SimFile,
        position: u64,
        buffers: Vec<Bytes>,
        then: Then,
    ) -> Completion<()> {
        let sync = then == Then::Sync;
        self.submit(lane, |done| Op::unit(Work::Write { inode: file.0, position, buffers, sync }, done))
    }

    fn zero(&self, lane: Lane, file: &SimFile, from: u64, to: u64) -> Completion<()> {
        let zeros = Bytes::from(vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)]);
        let work = Work::Write { inode: file.0, position: from, buffers: vec![zeros], sync: true };
        self.submit(lane, |done| Op::unit(work, done))
    }

    fn read_and<T: Send + 'static>(
        &self,
        lane: Lane,
        file: &SimFile,
        position: u64,
        bytes: usize,
        work: impl FnOnce(io::Result<Bytes>) -> io::Result<T> + Send + 'static,
    ) -> Completion<T> {
        let inode = file.0;
        self.submit(lane, |done| Op::Read {
            inode,
            position,
            bytes,
            then: Box::new(move |read| done.with(work(read))),
        })
    }

    fn sync(&self, lane: Lane, file: &SimFile) -> Completion<()> {
        self.submit(lane, |done| Op::unit(Work::Sync { inode: file.0 }, done))
    }

    fn sync_dir(&self, lane: Lane, dir: &Path) -> Completion<()> {
        self.submit(lane, |done| Op::unit(Work::SyncDir { dir: name_of(dir) }, done))
    }

    fn sync_file_system(&self, lane: Lane, _dir: &Path) -> Completion<()> {
        self.submit(lane, |done| Op::unit(Work::SyncAll, done))
    }

    fn length(&self, lane: Lane, file: &SimFile) -> Completion<u64> {
        let inode = file.0;
        self.submit(lane, |done| Op::Length { inode, done })
    }

    fn set_length(&self, lane: Lane, file: &SimFile, bytes: u64) -> Completion<()> {
        self.submit(lane, |done| Op::unit(Work::SetLength { inode: file.0, bytes }, done))
    }

    fn rename(&self, lane: Lane, from: &Path, to: &Path) -> Completion<()> {
        let work = Work::Rename { from: name_of(from), to: name_of(to) };
        self.submit(lane, |done| Op::unit(work, done))
    }

    fn remove_dir(&self, lane: Lane, path: &Path) -> Completion<()> {
        self.submit(lane, |done| Op::unit(Work::RemoveDir { dir: name_of(path) }, done))
    }

    fn room(&self, lane: Lane, _dir: &Path) -> Completion<Room> {
        self.submit(lane, |done| Op::Room { done })
    }

    fn run<T: Send + 'static>(&self, lane: Lane, work: impl FnOnce() -> T + Send + 'static) -> Completion<T> {
        self.submit(lane, |done| Op::Run { work: Box::new(move || done.with(Ok(work()))) })
    }
}
