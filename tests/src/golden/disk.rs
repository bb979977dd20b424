//! A disk for journal files: what a process sees of each, and what is on the platter. A crash leaves both, a power cut the
//! platter and those unsynced sectors that the script names.

use seedlog_core::journal::recovery::JournalSource;
use std::collections::BTreeMap;
use std::convert::Infallible;

const SECTOR_BYTES: usize = 512;

#[derive(Default)]
pub(super) struct Disk {
    files: BTreeMap<u64, File>,
}

#[derive(Default)]
struct File {
    seen: Vec<u8>,
    platter: Vec<u8>,
}

impl Disk {
    pub(super) fn write(&mut self, seq: u64, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).expect("files are small here");
        let seen = &mut self.files.entry(seq).or_default().seen;
        seen.resize(seen.len().max(at + bytes.len()), 0);
        seen[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn sync(&mut self, seq: u64) {
        if let Some(file) = self.files.get_mut(&seq) {
            file.platter.clone_from(&file.seen);
        }
    }

    /// What a process sees from a place on.
    pub(super) fn read(&self, seq: u64, at: u64) -> &[u8] {
        let at = usize::try_from(at).expect("files are small here");
        self.files.get(&seq).and_then(|file| file.seen.get(at..)).unwrap_or_default()
    }

    /// The power fails: of the sectors that differ, counted from 1, those in `kept` are on the platter, the others are not.
    /// Gives back how many differed, and how many of them are kept.
    pub(super) fn power_cut(&mut self, kept: &[usize]) -> (usize, usize) {
        let mut unsynced = 0;
        for file in self.files.values_mut() {
            // Sectors that nobody wrote read as zeros.
            file.platter.resize(file.seen.len(), 0);
            for (new, old) in file.seen.chunks(SECTOR_BYTES).zip(file.platter.chunks_mut(SECTOR_BYTES)) {
                if new != old {
                    unsynced += 1;
                    if kept.contains(&unsynced) {
                        old.copy_from_slice(new);
                    }
                }
            }
            file.seen.clone_from(&file.platter);
        }
        self.files.retain(|_, file| file.platter.iter().any(|&byte| byte != 0));
        (unsynced, kept.iter().filter(|&&number| (1..=unsynced).contains(&number)).count())
    }

    /// A bit rots, and the page cache does not hide it.
    pub(super) fn flip(&mut self, seq: u64, at: u64) {
        let at = usize::try_from(at).expect("files are small here");
        let file = self.files.get_mut(&seq).expect("what was written has a file");
        for bytes in [&mut file.seen, &mut file.platter] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1;
            }
        }
    }
}

impl JournalSource for Disk {
    type Error = Infallible;

    fn files(&self) -> Vec<u64> {
        self.files.keys().copied().collect()
    }

    fn with_file<T>(&mut self, seq: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T, Infallible> {
        Ok(read(self.read(seq, 0)))
    }
}
