//! A file system on the bare world's disk: folders are names that end in a slash.

use seedlog::store::disk::{DirEntry, Open, Room};
use seedlog_core::ids::Lsn;
use seedlog_core::journal::format::GroupPrefix;
use seedlog_sim::disk::{Disk, Inode, PowerCut, folder_of};
use seedlog_sim::rng::Stream;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Room on a disk that is not full.
const FREE_BYTES: u64 = 1 << 30;

/// One machine's files.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The sectors.
    pub disk: Disk,
    /// There is no room.
    pub full: bool,
    /// Room was refused so often.
    pub refused: u64,
}

/// A group of the journal that was written.
#[derive(Debug, Clone, Copy)]
pub struct GroupSeen {
    /// Its file.
    pub inode: Inode,
    /// Where in the file.
    pub at: u64,
    /// Its prefix.
    pub prefix: GroupPrefix,
    /// Hash of its bytes.
    pub hash: u64,
}

impl GroupSeen {
    /// Its last entry.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.prefix.last_lsn()
    }
}

/// A path as a name: without a slash in front or at its end.
pub(super) fn name_of(path: &Path) -> String {
    path.to_string_lossy().trim_matches('/').to_owned()
}

/// A segment's file that a cleaning pass made: `<base>-<number>.log` in a partition's folder.
fn is_of_pass(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let stem = name.rsplit('/').next().and_then(|file| file.strip_suffix(".log"));
    stem.and_then(|stem| stem.split_once('-')).is_some_and(|(base, made)| is_number(base) && is_number(made))
}

fn not_found() -> io::Error {
    ErrorKind::NotFound.into()
}

impl Files {
    fn room(&mut self) -> io::Result<()> {
        if self.full {
            self.refused += 1;
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Bytes that are free.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        if self.full { 0 } else { FREE_BYTES.saturating_sub(self.disk.used_bytes()) }
    }

    /// Its size, and what is free of it.
    #[must_use]
    pub fn room_left(&self) -> Room {
        Room { total_bytes: FREE_BYTES, free_bytes: self.free_bytes() }
    }

    pub(super) fn has_dir(&self, dir: &str) -> bool {
        dir.is_empty() || self.disk.lookup(&format!("{dir}/")).is_some()
    }

    pub(super) fn create_dir(&mut self, dir: &str) -> io::Result<()> {
        let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        for end in ends {
            let name = format!("{}/", &dir[..end]);
            if self.disk.lookup(&name).is_none() {
                self.room()?;
                self.disk.create(&name);
            }
        }
        // What a machine is set up with is there: the data folder's own folder was synced by whoever made it.
        self.disk.sync_names_in("");
        Ok(())
    }

    pub(super) fn open(&mut self, name: &str, how: Open) -> io::Result<Inode> {
        match self.disk.lookup(name) {
            Some(inode) => Ok(inode),
            None if how == Open::Read || !self.has_dir(folder_of(name)) => Err(not_found()),
            None => {
                self.room()?;
                Ok(self.disk.create(name))
            }
        }
    }

    pub(super) fn read_whole(&mut self, name: &str, into: &mut Vec<u8>) -> io::Result<()> {
        let inode = self.disk.lookup(name).ok_or_else(not_found)?;
        into.extend_from_slice(self.disk.content(inode));
        Ok(())
    }

    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        if !self.has_dir(dir) {
            return Err(not_found());
        }
        let inside = self.disk.seen().names().filter(|(name, _)| folder_of(name) == dir && *name != "/");
        let inside = inside.filter(|(name, _)| *name != format!("{dir}/"));
        let entries = inside.map(|(name, inode)| DirEntry {
            name: name.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned(),
            is_dir: name.ends_with('/'),
            bytes: self.disk.content(inode).len() as u64,
        });
        Ok(entries.collect())
    }

    pub(super) fn write(&mut self, inode: Inode, at: u64, bytes: &[u8]) -> io::Result<()> {
        if at + bytes.len() as u64 > self.disk.content(inode).len() as u64 {
            self.room()?;
        }
        self.disk.write(inode, at, bytes);
        Ok(())
    }

    pub(super) fn read(&self, inode: Inode, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let bytes = self.disk.read(inode, at, len).ok_or(ErrorKind::UnexpectedEof)?;
        Ok(bytes.to_vec())
    }

    pub(super) fn set_length(&mut self, inode: Inode, bytes: u64) -> io::Result<()> {
        let length = self.disk.content(inode).len() as u64;
        if bytes < length {
            self.disk.truncate(inode, bytes);
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(bytes - length).unwrap_or(0)];
        self.write(inode, length, &zeros)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let dir = format!("{from}/");
        if self.disk.lookup(from).is_some() {
            self.disk.rename(from, to);
        } else if self.disk.lookup(&dir).is_some() {
            self.disk.rename_folder(from, to);
        } else {
            return Err(not_found());
        }
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, dir: &str) {
        let under = format!("{dir}/");
        let names: Vec<String> =
            self.disk.names().filter(|name| name.starts_with(&under)).map(str::to_owned).collect();
        for name in names.iter().rev() {
            self.disk.unlink(name);
        }
    }

    pub(super) fn sync_all(&mut self) {
        let inodes: Vec<Inode> = self.disk.seen().names().map(|(_, inode)| inode).collect();
        for inode in inodes {
            self.disk.sync(inode);
        }
        self.disk.sync_dir();
    }

    /// A cleaning pass is writing segments, or has written what is not all on the disk.
    #[must_use]
    pub fn has_unsynced_pass(&self) -> bool {
        self.disk.seen().names().filter(|(name, _)| is_of_pass(name)).any(|(name, inode)| {
            self.disk.on_platter().lookup(name) != Some(inode)
                || self.disk.platter(inode) != self.disk.content(inode)
        })
    }

    /// The machine loses its power and has it again. Says what became of sectors, and how many names are others than before.
    pub fn power_cut(&mut self, rng: &mut Stream) -> (PowerCut, usize) {
        let before: Vec<String> = self.disk.names().map(str::to_owned).collect();
        let cut = self.disk.power_cut(rng);
        self.drop_orphans();
        let after: Vec<String> = self.disk.names().map(str::to_owned).collect();
        let lost = before.iter().filter(|name| !after.contains(name)).count();
        let back = after.iter().filter(|name| !before.contains(name)).count();
        (cut, lost + back)
    }

    /// The files as they would be after a power cut that loses all that was not synced.
    #[must_use]
    pub fn on_platter(&self) -> Self {
        let mut files = self.clone();
        files.full = false;
        files.disk.lose_unsynced();
        files.drop_orphans();
        files
    }

    fn drop_orphans(&mut self) {
        // A folder may stand in one that is lost: as deep as folders are here.
        for _ in 0..3 {
            self.disk.retain_names(|disk, name| {
                let folder = folder_of(name);
                folder.is_empty() || disk.lookup(&format!("{folder}/")).is_some()
            });
        }
    }
}
