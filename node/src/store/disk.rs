//! The disk as the store sees it: submit now, completion later.
//!
//! A trait of ours, so that a simulated disk can stand in for [`super::real_disk::RealDisk`]: nothing above it touches a
//! file, a thread or a clock of the operating system. Operations of one [`Lane`] are carried out in the order in which they
//! were submitted; operations of different lanes in any order.

use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// Who asks; each lane is served by itself, so that no one waits for another's disk time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Groups of the journal and their syncs: everything that an acknowledgement waits for.
    Journal,
    /// Journal files that are made ready ahead of their use.
    Prepare,
    /// Segments and snapshots: large, and in no hurry.
    Background,
    /// Reads of what is no longer in memory. Not ordered among each other.
    Cold,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; created empty if it does not exist.
    Write,
    /// As [`Open::Write`], past the page cache where the file system can do that, and for what of a write fills aligned
    /// blocks.
    Direct,
}

/// What follows a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing: the bytes may be in a cache.
    Nothing,
    /// The file's data is on disk when the operation completes.
    Sync,
}

/// A change that needs no file to be held open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A folder and those above it are created; one that exists is success.
    CreateDir(PathBuf),
    /// Bytes are written into a file, which is created if it does not exist. They may be in a cache.
    Write {
        /// The file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What.
        bytes: Bytes,
    },
    /// A file is removed; one that does not exist is success.
    Remove(PathBuf),
}

/// A line of a folder's listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name; entries whose name is not UTF-8 are not ours and not listed.
    pub name: String,
    /// It is a folder.
    pub is_dir: bool,
    /// Its size.
    pub bytes: u64,
}

/// A file system's size, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// As a whole.
    pub total_bytes: u64,
    /// Left for us.
    pub free_bytes: u64,
}

/// The result of a submitted operation, when it comes.
#[derive(Debug)]
pub struct Completion<T>(oneshot::Receiver<io::Result<T>>);

/// The other end of a [`Completion`].
#[derive(Debug)]
pub struct Completer<T>(oneshot::Sender<io::Result<T>>);

/// An operation's two ends.
#[must_use]
pub fn completion<T>() -> (Completer<T>, Completion<T>) {
    let (sender, receiver) = oneshot::channel();
    (Completer(sender), Completion(receiver))
}

impl<T> Completer<T> {
    /// Reports the result. Nobody may be waiting any more: that is fine.
    pub fn complete(self, result: io::Result<T>) {
        drop(self.0.send(result));
    }
}

impl<T> Future for Completion<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|received| received.unwrap_or_else(|_| Err(io::Error::other("the disk was shut down"))))
    }
}

/// A disk. Clones are handles of the same one.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file. Clones are handles of the same one, which is closed with the last of them.
    type File: Clone + fmt::Debug + Send + Sync + 'static;
    /// Holds a folder against other processes until it is dropped.
    type Lock: fmt::Debug + Send + Sync + 'static;

    /// Locks a file, creating it; `None` if another process holds it. At start only: may block.
    ///
    /// # Errors
    /// As the operating system says.
    fn lock_now(&self, path: &Path) -> io::Result<Option<Self::Lock>>;

    /// Reads a whole file into `into`, replacing what it holds. At start only: may block. It exists because recovery is a
    /// pure function over one file after the other, called before anything else runs.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_now(&self, path: &Path, into: &mut Vec<u8>) -> io::Result<()>;

    /// Lists a folder, by name.
    fn list(&self, lane: Lane, dir: &Path) -> Completion<Vec<DirEntry>>;
    /// Carries changes out one after the other. The first that fails ends it: those before it stay. With many that are small most
    /// of the time would go by between one operation's end and the next one's beginning.
    fn change(&self, lane: Lane, changes: Vec<Change>) -> Completion<()>;
    /// Creates a folder and those above it; one that exists is success.
    fn create_dir(&self, lane: Lane, dir: &Path) -> Completion<()> {
        self.change(lane, vec![Change::CreateDir(dir.to_owned())])
    }
    /// Opens a file.
    fn open(&self, lane: Lane, path: &Path, how: Open) -> Completion<Self::File>;
    /// Writes buffers one behind the other from `position` on.
    fn write_at(
        &self,
        lane: Lane,
        file: &Self::File,
        position: u64,
        buffers: Vec<Bytes>,
        then: Then,
    ) -> Completion<()>;
    /// Fills `from..to` with zeros and syncs, so that writes there allocate nothing.
    fn zero(&self, lane: Lane, file: &Self::File, from: u64, to: u64) -> Completion<()>;
    /// Reads exactly `bytes` bytes; a shorter file is an error.
    fn read_at(&self, lane: Lane, file: &Self::File, position: u64, bytes: usize) -> Completion<Bytes> {
        self.read_and(lane, file, position, bytes, |read| read)
    }
    /// As [`Disk::read_at`], and gives what was read to `work`, as [`Disk::run`] does.
    fn read_and<T: Send + 'static>(
        &self,
        lane: Lane,
        file: &Self::File,
        position: u64,
        bytes: usize,
        work: impl FnOnce(io::Result<Bytes>) -> io::Result<T> + Send + 'static,
    ) -> Completion<T>;
    /// Brings a file's data and length to the disk (fdatasync). A failure is final (SAFETY J10).
    fn sync(&self, lane: Lane, file: &Self::File) -> Completion<()>;
    /// Brings a folder's entries to the disk.
    fn sync_dir(&self, lane: Lane, dir: &Path) -> Completion<()>;
    /// Brings everything on the folder's file system to the disk.
    fn sync_file_system(&self, lane: Lane, dir: &Path) -> Completion<()>;
    /// A file's length.
    fn length(&self, lane: Lane, file: &Self::File) -> Completion<u64>;
    /// Cuts a file, or extends it with zeros.
    fn set_length(&self, lane: Lane, file: &Self::File, bytes: u64) -> Completion<()>;
    /// Renames a file or folder, replacing a file of the new name.
    fn rename(&self, lane: Lane, from: &Path, to: &Path) -> Completion<()>;
    /// Removes a file; one that does not exist is success.
    fn remove(&self, lane: Lane, path: &Path) -> Completion<()> {
        self.change(lane, vec![Change::Remove(path.to_owned())])
    }
    /// Removes a folder with all it holds; one that does not exist is success.
    fn remove_dir(&self, lane: Lane, path: &Path) -> Completion<()>;
    /// How large the folder's file system is, and what is left of it for us.
    fn room(&self, lane: Lane, dir: &Path) -> Completion<Room>;
    /// Runs work of the processor where it holds up no one but the lane: checksums and decompression.
    fn run<T: Send + 'static>(&self, lane: Lane, work: impl FnOnce() -> T + Send + 'static) -> Completion<T>;
}

/// The disk is full, or the quota is used up.
#[must_use]
pub fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
