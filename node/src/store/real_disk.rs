//! The disk of the operating system: a thread a lane, positioned reads and writes, and direct ones where that is possible.
//!
//! Threads exist here and nowhere else in the store. Dropping the last handle lets the queues run dry and ends the threads,
//! so that nothing is written behind the back of whoever opens the folder next.

use super::disk::{Change, Completion, DirEntry, Disk, Lane, Open, Room, Then, completion};
use bytes::Bytes;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::buffers::{ALIGN_BYTES, aligned_zeros};
use super::read_buffers::ReadBuffers;

/// Operations that may wait in a lane. The store has few at a time; readers are bounded by their connections.
const QUEUE_MAX: usize = 4096;
/// Buffers in one vectored write: the least that any system allows.
const VECTORS_MAX: usize = 1024;
/// Fewer whole blocks are not worth a call of their own.
const BODY_BYTES_MIN: usize = 64 << 10;

type Work = Box<dyn FnOnce() + Send>;

/// How the real disk is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RealDiskOptions {
    /// `disk.direct.io`: write journal and segments past the page cache where the file system can do that.
    pub direct: bool,
    /// `cold.read.threads`.
    pub cold_read_threads: usize,
}

impl Default for RealDiskOptions {
    fn default() -> Self {
        Self { direct: true, cold_read_threads: 2 }
    }
}

/// The operating system's disk.
#[derive(Debug, Clone)]
pub struct RealDisk {
    inner: Arc<Inner>,
}

/// An open file, with a second descriptor for direct writes.
#[derive(Debug, Clone)]
pub struct RealFile(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    buffered: File,
    direct: Option<File>,
}

#[derive(Debug)]
struct Inner {
    journal: Queue,
    prepare: Queue,
    background: Queue,
    cold: Queue,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    read_buffers: ReadBuffers,
}

/// What the threads know of each other.
#[derive(Debug)]
struct Shared {
    /// Direct writes are wanted, and none was refused so far.
    direct: AtomicBool,
    /// The refusal was logged.
    warned: AtomicBool,
}

#[derive(Debug)]
struct Queue(Option<SyncSender<Work>>);

impl RealDisk {
    /// Starts the threads.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn new(options: RealDiskOptions) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { direct: AtomicBool::new(options.direct), warned: AtomicBool::new(false) });
        let mut threads = Vec::new();
        let mut start = |name: &str, count: usize| -> io::Result<Queue> {
            let (sender, receiver) = sync_channel::<Work>(QUEUE_MAX);
            let receiver = Arc::new(Mutex::new(receiver));
            for _ in 0..count.max(1) {
                let receiver = Arc::clone(&receiver);
                threads.push(thread::Builder::new().name(name.to_owned()).spawn(move || serve(&receiver))?);
            }
            Ok(Queue(Some(sender)))
        };
        let journal = start("journal", 1)?;
        let prepare = start("prepare", 1)?;
        let background = start("segments", 1)?;
        let cold = start("cold-read", options.cold_read_threads)?;
        let read_buffers = ReadBuffers::default();
        Ok(Self {
            inner: Arc::new(Inner { journal, prepare, background, cold, threads, shared, read_buffers }),
        })
    }

    /// Journal and segments are written past the page cache; `false` once the file system refused it.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.inner.shared.direct.load(Ordering::Relaxed)
    }

    fn submit<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Completion<T> {
        let (completer, completion) = completion();
        let queue = match lane {
            Lane::Journal => &self.inner.journal,
            Lane::Prepare => &self.inner.prepare,
            Lane::Background => &self.inner.background,
            Lane::Cold => &self.inner.cold,
        };
        let work = Box::new(move || completer.complete(work()));
        let sender = queue.0.as_ref().expect("queues are closed only when the last handle is dropped");
        // A full queue drops the work and with it its completer: the completion then says so.
        drop(sender.try_send(work));
        completion
    }
}

/// A lane's thread.
fn serve(receiver: &Mutex<Receiver<Work>>) {
    loop {
        let received = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = received else { return };
        work();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for queue in [&mut self.journal, &mut self.prepare, &mut self.background, &mut self.cold] {
            queue.0 = None;
        }
        for thread in self.threads.drain(..) {
            // A lane's own thread drops the last handle when a piece of work held it.
            if thread.thread().id() != thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

impl Disk for RealDisk {
    type File = RealFile;
    type Lock = File;

    fn lock_now(&self, path: &Path) -> io::Result<Option<File>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read_now(&self, path: &Path, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        File::open(path)?.read_to_end(into)?;
        Ok(())
    }

    fn list(&self, lane: Lane, dir: &Path) -> Completion<Vec<DirEntry>> {
        let dir = dir.to_owned();
        self.submit(lane, move || list(&dir))
    }

    fn change(&self, lane: Lane, changes: Vec<Change>) -> Completion<()> {
        self.submit(lane, move || changes.into_iter().try_for_each(carry_out))
    }

    fn open(&self, lane: Lane, path: &Path, how: Open) -> Completion<RealFile> {
        let path = path.to_owned();
        let shared = Arc::clone(&self.inner.shared);
        self.submit(lane, move || open(&path, how, &shared))
    }

    fn write_at(
        &self,
        lane: Lane,
        file: &RealFile,
        position: u64,
        buffers: Vec<Bytes>,
        then: Then,
    ) -> Completion<()> {
        let file = file.clone();
        let shared = Arc::clone(&self.inner.shared);
        self.submit(lane, move || {
            file.0.write(position, &buffers, &shared)?;
            match then {
                Then::Nothing => Ok(()),
                Then::Sync => file.0.buffered.sync_data(),
            }
        })
    }

    fn zero(&self, lane: Lane, file: &RealFile, from: u64, to: u64) -> Completion<()> {
        let file = file.clone();
        let shared = Arc::clone(&self.inner.shared);
        self.submit(lane, move || {
            let zeros = aligned_zeros(1 << 20);
            let mut at = from;
            while at < to {
                let step = usize::try_from(to - at).map_or(zeros.len(), |left| left.min(zeros.len()));
                file.0.write(at, &[zeros.slice(..step)], &shared)?;
                at += step as u64;
            }
            file.0.buffered.sync_data()
        })
    }

    fn read_and<T: Send + 'static>(
        &self,
        lane: Lane,
        file: &RealFile,
        position: u64,
        bytes: usize,
        work: impl FnOnce(io::Result<Bytes>) -> io::Result<T> + Send + 'static,
    ) -> Completion<T> {
        let file = file.clone();
        let buffers = self.inner.read_buffers.clone();
        self.submit(lane, move || work(buffers.read(&file.0.buffered, position, bytes)))
    }

    fn sync(&self, lane: Lane, file: &RealFile) -> Completion<()> {
        let file = file.clone();
        self.submit(lane, move || file.0.buffered.sync_data())
    }

    fn sync_dir(&self, lane: Lane, dir: &Path) -> Completion<()> {
        let dir = dir.to_owned();
        self.submit(lane, move || File::open(dir)?.sync_all())
    }

    fn sync_file_system(&self, lane: Lane, dir: &Path) -> Completion<()> {
        let dir = dir.to_owned();
        self.submit(lane, move || Ok(rustix::fs::syncfs(File::open(dir)?)?))
    }

    fn length(&self, lane: Lane, file: &RealFile) -> Completion<u64> {
        let file = file.clone();
        self.submit(lane, move || Ok(file.0.buffered.metadata()?.len()))
    }

    fn set_length(&self, lane: Lane, file: &RealFile, bytes: u64) -> Completion<()> {
        let file = file.clone();
        self.submit(lane, move || file.0.buffered.set_len(bytes))
    }

    fn rename(&self, lane: Lane, from: &Path, to: &Path) -> Completion<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.submit(lane, move || fs::rename(from, to))
    }

    fn remove_dir(&self, lane: Lane, path: &Path) -> Completion<()> {
        let path = path.to_owned();
        self.submit(lane, move || gone(fs::remove_dir_all(path)))
    }

    fn room(&self, lane: Lane, dir: &Path) -> Completion<Room> {
        let dir = dir.to_owned();
        self.submit(lane, move || {
            let stat = rustix::fs::statvfs(&dir)?;
            Ok(Room {
                total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
                free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            })
        })
    }

    fn run<T: Send + 'static>(&self, lane: Lane, work: impl FnOnce() -> T + Send + 'static) -> Completion<T> {
        self.submit(lane, move || Ok(work()))
    }
}

fn carry_out(change: Change) -> io::Result<()> {
    match change {
        Change::CreateDir(dir) => fs::create_dir_all(dir),
        Change::Write { path, position, bytes } => {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            file.write_all_at(&bytes, position)
        }
        Change::Remove(path) => gone(fs::remove_file(path)),
    }
}

/// A removal of what is not there has happened.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(()) | Err(_) => result,
    }
}

fn list(dir: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        entries.push(DirEntry { name, is_dir: metadata.is_dir(), bytes: metadata.len() });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn open(path: &PathBuf, how: Open, shared: &Shared) -> io::Result<RealFile> {
    let mut options = OpenOptions::new();
    options.read(true);
    if how != Open::Read {
        options.write(true).create(true).truncate(false);
    }
    let buffered = options.open(path)?;
    let direct = if how == Open::Direct && shared.direct.load(Ordering::Relaxed) {
        let flags = OFlags::DIRECT.bits().cast_signed();
        match OpenOptions::new().write(true).custom_flags(flags).open(path) {
            Ok(file) => Some(file),
            Err(error) => {
                shared.refuse_direct(&error);
                None
            }
        }
    } else {
        None
    };
    Ok(RealFile(Arc::new(Handles { buffered, direct })))
}

impl Shared {
    fn refuse_direct(&self, error: &io::Error) {
        self.direct.store(false, Ordering::Relaxed);
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the file system of log.dirs refuses direct writes ({error}): journal and segments are written through \
                 the page cache, which takes more processor time and memory bandwidth"
            );
        }
    }
}

impl Handles {
    /// Writes past the page cache what fills whole blocks and is aligned, the rest through it.
    fn write(&self, position: u64, buffers: &[Bytes], shared: &Shared) -> io::Result<()> {
        let direct = self.direct.as_ref().filter(|_| shared.direct.load(Ordering::Relaxed));
        let Some(direct) = direct else { return write_all(&self.buffered, position, buffers) };
        let is_aligned = |buffer: &[u8]| {
            buffer.len().is_multiple_of(ALIGN_BYTES) && buffer.as_ptr().addr().is_multiple_of(ALIGN_BYTES)
        };
        let result = match buffers {
            _ if position.is_multiple_of(ALIGN_BYTES as u64) && buffers.iter().all(|it| is_aligned(it)) => {
                write_all(direct, position, buffers)
            }
            [one] => {
                let (head, body, tail) = blocks(position, one);
                if body.len() < BODY_BYTES_MIN || !is_aligned(body) {
                    return write_all(&self.buffered, position, buffers);
                }
                let body_at = position + head.len() as u64;
                write_all(&self.buffered, position, &[head])?;
                write_all(&self.buffered, body_at + body.len() as u64, &[tail])?;
                write_all(direct, body_at, &[body])
            }
            _ => return write_all(&self.buffered, position, buffers),
        };
        match result {
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                shared.refuse_direct(&error);
                write_all(&self.buffered, position, buffers)
            }
            result => result,
        }
    }
}

/// What fills whole blocks of the file, what comes before it, and what comes after it.
fn blocks(position: u64, bytes: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let head = usize::try_from(position.next_multiple_of(ALIGN_BYTES as u64) - position).unwrap_or(0);
    let (head, rest) = bytes.split_at(head.min(bytes.len()));
    let (body, tail) = rest.split_at(rest.len() / ALIGN_BYTES * ALIGN_BYTES);
    (head, body, tail)
}

/// Writes all buffers, however many calls that takes.
fn write_all(file: &File, mut position: u64, buffers: &[impl AsRef<[u8]>]) -> io::Result<()> {
    let slices = buffers.iter().map(AsRef::as_ref).filter(|buffer| !buffer.is_empty());
    let mut rest: Vec<IoSlice<'_>> = slices.map(IoSlice::new).collect();
    let mut rest = rest.as_mut_slice();
    while !rest.is_empty() {
        let batch = &rest[..rest.len().min(VECTORS_MAX)];
        match rustix::io::pwritev(file, batch, position) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
