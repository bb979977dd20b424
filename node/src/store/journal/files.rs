//! The journal's files: the one that takes groups, the one that is made ready behind it, those that are full, and those that
//! wait to be used again.
//!
//! Which bytes go into them, and when they are synced, is the writer's business (`journal`).

use super::Journal;
use crate::store::buffers::aligned_copy;
use crate::store::disk::{Disk, Lane, Open, is_out_of_space};
use crate::store::index::{Index, JournalFile};
use bytes::Bytes;
use seedlog_core::ids::Lsn;
use seedlog_core::journal::{FILE_HEADER_BYTES, FileHeader};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How far ahead of the writer zeros are written, least and most.
const ZERO_AHEAD_BYTES: (u64, u64) = (1 << 20, 16 << 20);
/// Most zeros in one step.
const ZERO_STEP_BYTES: u64 = 4 << 20;
/// How long a full disk is left alone.
pub(in crate::store) const SPACE_RETRY: Duration = Duration::from_secs(1);

/// The name of a journal file.
pub(in crate::store) fn journal_path(log_dir: &Path, seq: u64) -> PathBuf {
    log_dir.join(format!("journal-{seq:020}.log"))
}

/// Reads a name that [`journal_path`] made.
pub(in crate::store) fn parse_journal_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("journal-")?.strip_suffix(".log")?;
    let is_ours = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_ours { digits.parse().ok() } else { None }
}

/// The file that groups are written to.
#[derive(Debug)]
pub(in crate::store) struct Current<F> {
    pub(in crate::store) file: Arc<JournalFile<F>>,
    pub(in crate::store) salt: u64,
    /// Where the next group goes.
    pub(in crate::store) position: u64,
    /// Up to here writes allocate nothing.
    pub(in crate::store) zeroed_to: u64,
    pub(in crate::store) capacity: u64,
}

/// The file after it: named, in the folder for good, without a header.
#[derive(Debug)]
pub(super) struct Next<F> {
    seq: u64,
    file: F,
    zeroed_to: u64,
}

/// A file that takes no more groups.
#[derive(Debug)]
pub(in crate::store) struct Old<F> {
    pub(in crate::store) file: Arc<JournalFile<F>>,
    /// The last entry it holds.
    pub(in crate::store) last_lsn: Lsn,
    pub(in crate::store) bytes: u64,
}

/// Work ahead of the writer that the store carries out for it.
pub(in crate::store) type Preparation<F> = Pin<Box<dyn Future<Output = Prepared<F>> + Send>>;

/// What came of it.
#[derive(Debug)]
pub(in crate::store) enum Prepared<F> {
    /// The next file is there.
    File { seq: u64, result: io::Result<(F, u64)> },
    /// Zeros are there.
    Zeros { seq: u64, to: u64, result: io::Result<()> },
}

impl<D: Disk> Journal<D> {
    /// There is a place of zeros for a group of this size; if not, it is asked for.
    pub(super) fn is_place_ready(&mut self, bytes: u64) -> bool {
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

    /// Goes to the next file; gives its header, which is written with its first group.
    pub(super) fn roll(&mut self, first_lsn: Lsn, bytes: u64) -> Bytes {
        let next = self.next.take().expect("the next file was there when the place was looked for");
        let salt = (self.random)();
        let header = FileHeader {
            seq: next.seq,
            salt,
            first_lsn,
            durable: self.synced,
            node_id: self.identity.node_id,
            incarnation: self.identity.incarnation,
            cut_at: None,
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

    /// What should be made ready ahead of the writer.
    pub(in crate::store) fn prepare(&mut self) -> Vec<Preparation<D::File>> {
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
        // Half of it is left before more is written: a sync for each small group would get in the way of its own.
        let is_low = current.zeroed_to < (current.position + ahead / 2).max(wanted);
        if is_low && current.zeroed_to < target && !self.wants_next {
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
    pub(in crate::store) fn on_prepared(
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
            Err(error) if is_out_of_space(&error) => {
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
    pub(in crate::store) fn release(&mut self, through: Lsn) -> Vec<PathBuf> {
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

    /// Bytes of all journal files.
    pub(in crate::store) fn file_bytes(&self) -> u64 {
        self.old.iter().map(|old| old.bytes).sum::<u64>() + self.current.position
    }

    /// Room that was made ready and is not used.
    pub(in crate::store) fn reserve_bytes(&self) -> u64 {
        self.current.zeroed_to.saturating_sub(self.current.position)
            + self.next.as_ref().map_or(0, |next| next.zeroed_to)
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
