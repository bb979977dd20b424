//! A disk that passes everything on to another one, until it is told to fail.

use bytes::Bytes;
use seedlog::store::disk::{Change, Completion, DirEntry, Disk, Lane, Open, Room, Then, completion};
use seedlog::store::real_disk::{RealDisk, RealFile};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

#[derive(Debug, Clone)]
pub(crate) struct FaultyDisk {
    inner: RealDisk,
    pub(crate) faults: Arc<Faults>,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Nothing can be allocated.
    pub(crate) full: AtomicBool,
    /// Syncs fail: those of the journal's lane, those of the background's.
    pub(crate) journal_sync_fails: AtomicBool,
    pub(crate) background_sync_fails: AtomicBool,
    /// Writes of the journal are neither done nor refused.
    pub(crate) journal_stalls: AtomicBool,
    /// So many refusals for want of room.
    pub(crate) refused: AtomicU64,
    /// So many bytes were read for readers.
    pub(crate) cold_bytes: AtomicU64,
    /// Reads for readers fail.
    pub(crate) cold_reads_fail: AtomicBool,
    /// So many files are open, and were at the most.
    pub(crate) open_files: AtomicU64,
    pub(crate) open_files_max: AtomicU64,
    /// How many more files and writes of the background there is room for, plus 1; 0: no end.
    pub(crate) room_ends_after: AtomicU64,
    /// Holds operations back.
    pub(crate) gate: Gate,
    /// Holds removals of segments back.
    pub(crate) removals: Gate,
}

/// Lets a number of operations through that begin, continue or end a change, and holds all later ones back until it is opened
/// again.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// So many more, plus 1; 0: it stands open.
    left: AtomicU64,
    /// One was held back.
    pub(crate) reached: Notify,
    opened: Notify,
}

impl Gate {
    pub(crate) fn close_after(&self, operations: u64) {
        self.left.store(operations + 1, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.left.store(0, Ordering::SeqCst);
        self.opened.notify_waiters();
    }

    fn is_closed(&self) -> bool {
        self.left.load(Ordering::SeqCst) != 0
    }

    /// One more operation: `false` if it has to wait.
    fn enter(&self) -> bool {
        let count = |left: u64| match left {
            0 => None,
            1 => Some(1),
            more => Some(more - 1),
        };
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count) {
            Ok(1) => {
                self.reached.notify_one();
                false
            }
            Ok(_) | Err(_) => true,
        }
    }

    async fn wait(&self) {
        loop {
            let opened = self.opened.notified();
            if !self.is_closed() {
                return;
            }
            opened.await;
        }
    }
}

/// An open file that is counted.
#[derive(Debug, Clone)]
pub(crate) struct CountedFile {
    inner: RealFile,
    _open: Arc<OpenFile>,
}

#[derive(Debug)]
struct OpenFile(Arc<Faults>);

impl OpenFile {
    fn new(faults: Arc<Faults>) -> Self {
        let open = faults.open_files.fetch_add(1, Ordering::SeqCst) + 1;
        faults.open_files_max.fetch_max(open, Ordering::SeqCst);
        Self(faults)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.0.open_files.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FaultyDisk {
    pub(crate) fn new(inner: RealDisk) -> Self {
        Self { inner, faults: Arc::default() }
    }

    fn is_full(&self) -> bool {
        let full = self.faults.full.load(Ordering::SeqCst);
        self.faults.refused.fetch_add(u64::from(full), Ordering::SeqCst);
        full
    }

    /// Room for one file or write less.
    fn has_room(&self, lane: Lane) -> bool {
        let count = |left: u64| (left > 1).then(|| left - 1);
        let ends = &self.faults.room_ends_after;
        let left = ends.load(Ordering::SeqCst);
        if lane != Lane::Background || left == 0 {
            return true;
        }
        ends.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count).is_ok()
    }

    /// Carries an operation out, once the gate lets it through.
    fn gated<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&RealDisk) -> Completion<T> + Send + 'static,
    ) -> Completion<T> {
        self.gated_by(|faults| &faults.gate, operation)
    }

    fn gated_by<T: Send + 'static>(
        &self,
        gate: fn(&Faults) -> &Gate,
        operation: impl FnOnce(&RealDisk) -> Completion<T> + Send + 'static,
    ) -> Completion<T> {
        if gate(&self.faults).enter() {
            return operation(&self.inner);
        }
        let (completer, completion) = completion();
        let (inner, faults) = (self.inner.clone(), Arc::clone(&self.faults));
        tokio::spawn(async move {
            gate(&faults).wait().await;
            completer.complete(operation(&inner).await);
        });
        completion
    }

    fn change_one(&self, lane: Lane, change: Change) -> Completion<()> {
        let has_room = match &change {
            Change::CreateDir(_) => !self.is_full(),
            // A file that may be new, and a write.
            Change::Write { .. } => !self.is_full() && self.has_room(lane) && self.has_room(lane),
            Change::Remove(_) => true,
        };
        if !has_room {
            return no_room();
        }
        let is_of_segment = |path: &Path| path.extension().is_some_and(|it| it == "log" || it == "index");
        match change {
            Change::CreateDir(_) => self.inner.change(lane, vec![change]),
            Change::Remove(ref path) if is_of_segment(path) && self.faults.removals.is_closed() => {
                self.gated_by(|faults| &faults.removals, move |disk| disk.change(lane, vec![change]))
            }
            Change::Write { .. } | Change::Remove(_) => {
                self.gated(move |disk| disk.change(lane, vec![change]))
            }
        }
    }

    fn sync_fails(&self, lane: Lane) -> bool {
        match lane {
            Lane::Journal => self.faults.journal_sync_fails.load(Ordering::SeqCst),
            Lane::Background => self.faults.background_sync_fails.load(Ordering::SeqCst),
            Lane::Prepare | Lane::Cold => false,
        }
    }
}

fn failed<T>(error: io::Error) -> Completion<T> {
    let (completer, completion) = completion();
    completer.complete(Err(error));
    completion
}

fn no_room<T>() -> Completion<T> {
    failed(io::ErrorKind::StorageFull.into())
}

fn broken<T>() -> Completion<T> {
    failed(io::Error::other("input/output error"))
}

impl Disk for FaultyDisk {
    type File = CountedFile;
    type Lock = <RealDisk as Disk>::Lock;

    fn lock_now(&self, path: &Path) -> io::Result<Option<Self::Lock>> {
        self.inner.lock_now(path)
    }
    fn read_now(&self, path: &Path, into: &mut Vec<u8>) -> io::Result<()> {
        self.inner.read_now(path, into)
    }
    fn list(&self, lane: Lane, dir: &Path) -> Completion<Vec<DirEntry>> {
        self.inner.list(lane, dir)
    }
    fn change(&self, lane: Lane, changes: Vec<Change>) -> Completion<()> {
        let (completer, completion) = completion();
        let disk = self.clone();
        tokio::spawn(async move {
            let mut result = Ok(());
            for change in changes {
                result = disk.change_one(lane, change).await;
                if result.is_err() {
                    break;
                }
            }
            completer.complete(result);
        });
        completion
    }
    fn open(&self, lane: Lane, path: &Path, how: Open) -> Completion<CountedFile> {
        if how != Open::Read && (self.is_full() || !self.has_room(lane)) {
            return no_room();
        }
        let (completer, completion) = completion();
        let path = path.to_owned();
        let open = match how {
            Open::Read => self.inner.open(lane, &path, how),
            Open::Write | Open::Direct => self.gated(move |disk| disk.open(lane, &path, how)),
        };
        let faults = Arc::clone(&self.faults);
        tokio::spawn(async move {
            let counted =
                open.await.map(|inner| CountedFile { inner, _open: Arc::new(OpenFile::new(faults)) });
            completer.complete(counted);
        });
        completion
    }
    fn write_at(
        &self,
        lane: Lane,
        file: &CountedFile,
        position: u64,
        buffers: Vec<Bytes>,
        then: Then,
    ) -> Completion<()> {
        if then == Then::Sync && self.sync_fails(lane) {
            return broken();
        }
        if lane == Lane::Journal && self.faults.journal_stalls.load(Ordering::SeqCst) {
            let (completer, completion) = completion();
            std::mem::forget(completer);
            return completion;
        }
        // The journal writes where there is room already: were it to allocate, this disk would tell.
        match lane {
            Lane::Background if self.is_full() || !self.has_room(lane) => no_room(),
            Lane::Journal | Lane::Prepare | Lane::Background | Lane::Cold => {
                let file = file.inner.clone();
                self.gated(move |disk| disk.write_at(lane, &file, position, buffers, then))
            }
        }
    }
    fn zero(&self, lane: Lane, file: &CountedFile, from: u64, to: u64) -> Completion<()> {
        if self.is_full() { no_room() } else { self.inner.zero(lane, &file.inner, from, to) }
    }
    fn read_and<T: Send + 'static>(
        &self,
        lane: Lane,
        file: &CountedFile,
        position: u64,
        bytes: usize,
        work: impl FnOnce(io::Result<Bytes>) -> io::Result<T> + Send + 'static,
    ) -> Completion<T> {
        if lane == Lane::Cold {
            self.faults.cold_bytes.fetch_add(bytes as u64, Ordering::SeqCst);
            if self.faults.cold_reads_fail.load(Ordering::SeqCst) {
                let (completer, completion) = completion();
                completer.complete(work(Err(io::Error::other("input/output error"))));
                return completion;
            }
        }
        self.inner.read_and(lane, &file.inner, position, bytes, work)
    }
    fn sync(&self, lane: Lane, file: &CountedFile) -> Completion<()> {
        if self.sync_fails(lane) {
            return broken();
        }
        let file = file.inner.clone();
        self.gated(move |disk| disk.sync(lane, &file))
    }
    fn sync_dir(&self, lane: Lane, dir: &Path) -> Completion<()> {
        let dir = dir.to_owned();
        self.gated(move |disk| disk.sync_dir(lane, &dir))
    }
    fn sync_file_system(&self, lane: Lane, dir: &Path) -> Completion<()> {
        if self.sync_fails(lane) { broken() } else { self.inner.sync_file_system(lane, dir) }
    }
    fn length(&self, lane: Lane, file: &CountedFile) -> Completion<u64> {
        self.inner.length(lane, &file.inner)
    }
    fn set_length(&self, lane: Lane, file: &CountedFile, bytes: u64) -> Completion<()> {
        let file = file.inner.clone();
        self.gated(move |disk| disk.set_length(lane, &file, bytes))
    }
    fn rename(&self, lane: Lane, from: &Path, to: &Path) -> Completion<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.gated(move |disk| disk.rename(lane, &from, &to))
    }
    fn remove_dir(&self, lane: Lane, path: &Path) -> Completion<()> {
        let path = path.to_owned();
        self.gated(move |disk| disk.remove_dir(lane, &path))
    }
    fn room(&self, lane: Lane, dir: &Path) -> Completion<Room> {
        self.inner.room(lane, dir)
    }
    fn run<T: Send + 'static>(&self, lane: Lane, work: impl FnOnce() -> T + Send + 'static) -> Completion<T> {
        self.inner.run(lane, work)
    }
}
