//! A modelled disk: files of 512-byte sectors behind a page cache that outlives a process and not a power cut.
//!
//! ```text
//!   write ──► cache (dirty sector) ──sync──► platter
//!                │                             │
//!   process kill: both stay          power cut: each dirty sector kept or lost, in any order; the rest is the platter
//! ```
//!
//! * Names are durable after [`Disk::sync_dir`] only: until then a power cut may undo each creation, rename or removal.
//! * After a sync that failed the cache says clean and the platter does not have it (fsyncgate, ATC'20); such a sector reads
//!   well until it is evicted.
//!
//! Not here: how long things take, and who asks for them (`store`).

use crate::rng::Stream;
use std::collections::BTreeMap;

/// What a disk writes as a whole.
pub const SECTOR_BYTES: usize = 512;

/// Number of a file's content, whatever its name is at the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Inode(usize);

/// One machine's disk.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    /// Changes of names since the last [`Disk::sync_dir`].
    unsynced: Vec<NameChange>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Link { name: String, inode: Inode },
    Unlink { name: String },
    Rename { from: String, to: String, inode: Inode },
}

impl NameChange {
    /// The name that is there, or gone, afterwards.
    fn name(&self) -> &str {
        match self {
            Self::Link { name, .. } | Self::Unlink { name } => name,
            Self::Rename { to, .. } => to,
        }
    }
}

/// The folder that a name stands in; a folder's own name ends in a slash.
#[must_use]
pub fn folder_of(name: &str) -> &str {
    name.trim_end_matches('/').rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[derive(Debug, Clone, Default)]
struct File {
    cache: Vec<u8>,
    platter: Vec<u8>,
    /// One bit a sector: the cache is newer and the kernel knows it.
    dirty: Vec<u64>,
    dirty_count: usize,
    /// Sectors that the kernel takes for clean and that the platter does not have.
    betrayed: Vec<usize>,
    /// It was cut to so many bytes since its last sync, and the platter may not know.
    cut_to: Option<usize>,
}

/// A disk to be read: through the page cache, or behind it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    disk: &'a Disk,
    platter: bool,
}

/// What a power cut did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PowerCut {
    /// Dirty sectors that reached the platter.
    pub kept: usize,
    /// Dirty sectors that did not.
    pub lost: usize,
    /// Files with some of both.
    pub torn: usize,
}

impl Disk {
    /// The file of this name.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<Inode> {
        self.names.get(name).copied()
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Creates an empty file in place of what had the name before.
    pub fn create(&mut self, name: &str) -> Inode {
        let inode = Inode(self.files.len());
        self.files.push(File::default());
        self.names.insert(name.to_owned(), inode);
        self.unsynced.push(NameChange::Link { name: name.to_owned(), inode });
        inode
    }

    /// Gives a file another name, in place of what had that name before. Nothing happens if there is no such file.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(inode) = self.names.remove(from) {
            self.names.insert(to.to_owned(), inode);
            self.unsynced.push(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        }
    }

    /// Removes a name. Who holds the inode still reads it, as on Unix.
    pub fn unlink(&mut self, name: &str) {
        if self.names.remove(name).is_some() {
            self.unsynced.push(NameChange::Unlink { name: name.to_owned() });
        }
    }

    /// Makes all names durable.
    pub fn sync_dir(&mut self) {
        self.unsynced.clear();
        self.durable_names.clone_from(&self.names);
    }

    /// Makes the names of one folder durable, and those of no other.
    pub fn sync_names_in(&mut self, folder: &str) {
        for change in std::mem::take(&mut self.unsynced) {
            if folder_of(change.name()) == folder {
                self.apply_durably(change);
            } else {
                self.unsynced.push(change);
            }
        }
    }

    /// Gives everything under a folder another name, durably at once: what that takes apart is not modelled.
    pub fn rename_folder(&mut self, from: &str, to: &str) {
        for names in [&mut self.names, &mut self.durable_names] {
            let under = |name: &str| name.strip_prefix(from).is_some_and(|rest| rest.starts_with('/'));
            let moved: Vec<String> = names.keys().filter(|name| under(name)).cloned().collect();
            for name in moved {
                if let Some(inode) = names.remove(&name) {
                    names.insert(format!("{to}{}", &name[from.len()..]), inode);
                }
            }
        }
        self.unsynced.retain(|change| !change.name().starts_with(from));
    }

    /// Removes every name that `keep` does not want, also from the platter: what a folder that is gone took with it.
    pub fn retain_names(&mut self, keep: impl Fn(&Self, &str) -> bool) {
        let lost: Vec<String> = self.names.keys().filter(|name| !keep(self, name)).cloned().collect();
        for name in lost {
            self.names.remove(&name);
            self.durable_names.remove(&name);
        }
    }

    /// The content as a process sees it.
    #[must_use]
    pub fn content(&self, inode: Inode) -> &[u8] {
        &self.files[inode.0].cache
    }

    /// Some bytes as a process sees them; `None` past the end.
    #[must_use]
    pub fn read(&self, inode: Inode, at: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(at).ok()?;
        self.files[inode.0].cache.get(at..at.checked_add(len)?)
    }

    /// The content as it is on the platter.
    #[must_use]
    pub fn platter(&self, inode: Inode) -> &[u8] {
        &self.files[inode.0].platter
    }

    /// Whether the platter has what a process sees in this place: the judges' look behind the page cache.
    #[must_use]
    pub fn is_on_platter(&self, inode: Inode, at: u64, len: usize) -> bool {
        let file = &self.files[inode.0];
        let Ok(at) = usize::try_from(at) else { return false };
        let seen = file.cache.get(at..at + len);
        seen.is_some() && seen == file.platter.get(at..at + len)
    }

    /// Writes into the page cache; a file grows as needed.
    pub fn write(&mut self, inode: Inode, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).expect("modelled files fit into memory");
        self.files[inode.0].write(at, bytes);
    }

    /// Cuts a file that is longer.
    pub fn truncate(&mut self, inode: Inode, bytes: u64) {
        let bytes = usize::try_from(bytes).expect("modelled files fit into memory");
        self.files[inode.0].truncate(bytes);
    }

    /// Brings a file's dirty sectors to the platter.
    pub fn sync(&mut self, inode: Inode) {
        self.files[inode.0].sync();
    }

    /// A sync that fails: some sectors reach the platter, all are taken for clean.
    pub fn sync_failing(&mut self, inode: Inode, rng: &mut Stream) {
        let file = &mut self.files[inode.0];
        file.settle_cut();
        for sector in file.take_dirty() {
            if rng.chance(500) {
                file.persist(sector);
            } else if !file.betrayed.contains(&sector) {
                file.betrayed.push(sector);
            }
        }
    }

    /// Reads sectors that the kernel took for clean from the platter again, some of them.
    pub fn evict(&mut self, rng: &mut Stream) {
        for file in &mut self.files {
            for sector in std::mem::take(&mut file.betrayed) {
                if rng.chance(500) {
                    file.reload(sector);
                } else {
                    file.betrayed.push(sector);
                }
            }
        }
    }

    /// The power fails and comes back: of what was not synced, each sector and each name is there or is not.
    pub fn power_cut(&mut self, rng: &mut Stream) -> PowerCut {
        let mut cut = PowerCut::default();
        // A drive with little in its queue loses all or nothing more often than it tears.
        let kept_per_mille = rng.pick(&[0, 100, 500, 800, 950, 1_000]);
        for file in &mut self.files {
            file.power_cut(rng, kept_per_mille, &mut cut);
        }
        for change in std::mem::take(&mut self.unsynced) {
            if rng.chance(500) {
                self.apply_durably(change);
            }
        }
        self.names.clone_from(&self.durable_names);
        cut
    }

    /// As the worst power cut: nothing that was not synced is there.
    pub fn lose_unsynced(&mut self) {
        for file in &mut self.files {
            file.take_dirty();
            file.betrayed.clear();
            file.cut_to = None;
            file.cache.clone_from(&file.platter);
        }
        self.unsynced.clear();
        self.names.clone_from(&self.durable_names);
    }

    fn apply_durably(&mut self, change: NameChange) {
        match change {
            NameChange::Link { name, inode } => {
                self.durable_names.insert(name, inode);
            }
            NameChange::Unlink { name } => {
                self.durable_names.remove(&name);
            }
            NameChange::Rename { from, to, inode } => {
                // The name may have been taken by another file meanwhile, whose creation was undone: leave that one.
                if self.durable_names.get(&from) == Some(&inode) {
                    self.durable_names.remove(&from);
                }
                self.durable_names.insert(to, inode);
            }
        }
    }

    /// Flips one bit on the platter; in the page cache as well if `cached`.
    pub fn flip(&mut self, inode: Inode, at: u64, bit: u8, cached: bool) {
        let file = &mut self.files[inode.0];
        let Ok(at) = usize::try_from(at) else { return };
        if let Some(byte) = file.platter.get_mut(at) {
            *byte ^= 1 << (bit % 8);
        }
        if cached && !file.is_dirty(at / SECTOR_BYTES) && at < file.cache.len() {
            file.cache[at] ^= 1 << (bit % 8);
        } else if at < file.cache.len() && !file.betrayed.contains(&(at / SECTOR_BYTES)) {
            // The cache is right until it is evicted.
            file.betrayed.push(at / SECTOR_BYTES);
        }
    }

    /// No sector is taken for clean that the platter does not have.
    #[must_use]
    pub fn is_honest(&self) -> bool {
        self.files.iter().all(|file| file.betrayed.is_empty())
    }

    /// Drops the content of files that no name and nobody in `held` refers to.
    pub fn forget_unnamed(&mut self, held: impl Fn(Inode) -> bool) {
        for index in 0..self.files.len() {
            let inode = Inode(index);
            let in_changes = self.unsynced.iter().any(|change| match change {
                NameChange::Link { inode: other, .. } | NameChange::Rename { inode: other, .. } => {
                    *other == inode
                }
                NameChange::Unlink { .. } => false,
            });
            let named = self.names.values().chain(self.durable_names.values()).any(|&other| other == inode);
            if !named && !in_changes && !held(inode) {
                self.files[index] = File::default();
            }
        }
    }

    /// Bytes of all files that have a name.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.names.values().map(|inode| self.files[inode.0].cache.len() as u64).sum()
    }

    /// The disk as a process sees it.
    #[must_use]
    pub fn seen(&self) -> View<'_> {
        View { disk: self, platter: false }
    }

    /// The disk as it would be after a power cut that loses all that was not synced.
    #[must_use]
    pub fn on_platter(&self) -> View<'_> {
        View { disk: self, platter: true }
    }
}

impl<'a> View<'a> {
    /// The file of this name.
    #[must_use]
    pub fn lookup(self, name: &str) -> Option<Inode> {
        self.all().get(name).copied()
    }

    /// All names, in order, with their files.
    pub fn names(self) -> impl Iterator<Item = (&'a str, Inode)> {
        self.all().iter().map(|(name, &inode)| (name.as_str(), inode))
    }

    /// The content of a file.
    #[must_use]
    pub fn content(self, inode: Inode) -> &'a [u8] {
        if self.platter { self.disk.platter(inode) } else { self.disk.content(inode) }
    }

    fn all(self) -> &'a BTreeMap<String, Inode> {
        if self.platter { &self.disk.durable_names } else { &self.disk.names }
    }
}

impl File {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        // A write past the end makes a hole of zeros, which is as unsynced as the write itself.
        let from = at.min(self.cache.len());
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache[at..end].copy_from_slice(bytes);
        for sector in from / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            self.mark_dirty(sector);
        }
    }

    fn truncate(&mut self, bytes: usize) {
        if bytes >= self.cache.len() {
            return;
        }
        self.cache.truncate(bytes);
        let sectors = bytes.div_ceil(SECTOR_BYTES);
        for sector in self.take_dirty().into_iter().filter(|&sector| sector < sectors) {
            self.mark_dirty(sector);
        }
        self.betrayed.retain(|&sector| sector < sectors);
        self.cut_to = Some(self.cut_to.map_or(bytes, |before| before.min(bytes)));
    }

    /// The platter hears of cuts.
    fn settle_cut(&mut self) {
        if let Some(bytes) = self.cut_to.take() {
            self.platter.truncate(bytes);
        }
    }

    fn mark_dirty(&mut self, sector: usize) {
        if self.dirty.len() <= sector / 64 {
            self.dirty.resize(sector / 64 + 1, 0);
        }
        let bit = 1 << (sector % 64);
        if self.dirty[sector / 64] & bit == 0 {
            self.dirty[sector / 64] |= bit;
            self.dirty_count += 1;
        }
        if !self.betrayed.is_empty() {
            self.betrayed.retain(|&other| other != sector);
        }
    }

    fn is_dirty(&self, sector: usize) -> bool {
        self.dirty.get(sector / 64).is_some_and(|word| word & (1 << (sector % 64)) != 0)
    }

    /// The dirty sectors in order; afterwards none is.
    fn take_dirty(&mut self) -> Vec<usize> {
        let mut sectors = Vec::with_capacity(self.dirty_count);
        if self.dirty_count > 0 {
            for (index, word) in self.dirty.iter_mut().enumerate() {
                let mut rest = std::mem::take(word);
                while rest != 0 {
                    sectors.push(index * 64 + rest.trailing_zeros() as usize);
                    rest &= rest - 1;
                }
            }
            self.dirty_count = 0;
        }
        sectors
    }

    fn sync(&mut self) {
        self.settle_cut();
        if self.dirty_count == 0 {
            return;
        }
        // Growing zeros first keeps the length right even where the last sectors were written by nobody.
        if self.platter.len() < self.cache.len() {
            self.platter.resize(self.cache.len(), 0);
        }
        for sector in self.take_dirty() {
            self.persist(sector);
        }
    }

    fn persist(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.cache.len());
        if self.platter.len() < end {
            self.platter.resize(end, 0);
        }
        self.platter[start..end].copy_from_slice(&self.cache[start..end]);
    }

    fn reload(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.cache.len());
        for at in start..end {
            self.cache[at] = self.platter.get(at).copied().unwrap_or(0);
        }
    }

    fn power_cut(&mut self, rng: &mut Stream, kept_per_mille: u64, cut: &mut PowerCut) {
        let before = *cut;
        if self.cut_to.is_some() && rng.chance(500) {
            self.settle_cut();
        }
        self.cut_to = None;
        for sector in self.take_dirty() {
            if rng.chance(kept_per_mille) {
                self.persist(sector);
                cut.kept += 1;
            } else {
                cut.lost += 1;
            }
        }
        let (kept, lost) = (cut.kept > before.kept, cut.lost > before.lost);
        if lost || !self.betrayed.is_empty() || self.cache.len() != self.platter.len() {
            self.cache.clone_from(&self.platter);
        }
        self.betrayed.clear();
        if kept && lost {
            cut.torn += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;
    use proptest::prelude::*;

    fn rng(seed: u64) -> Stream {
        Stream::new(seed, Purpose::Disk, 0)
    }

    #[test]
    fn a_sync_outlives_a_power_cut_and_a_name_needs_its_own() {
        let (mut lost, mut kept) = (false, false);
        for seed in 0..64 {
            let mut disk = Disk::default();
            let named = disk.create("named");
            disk.write(named, 0, b"synced");
            disk.sync(named);
            disk.sync_dir();
            let late = disk.create("late");
            disk.write(late, 0, b"x");
            disk.sync(late);
            disk.power_cut(&mut rng(seed));
            assert_eq!(disk.lookup("named").map(|inode| disk.content(inode)), Some(&b"synced"[..]));
            match disk.lookup("late") {
                Some(inode) => {
                    assert_eq!(disk.content(inode), b"x");
                    kept = true;
                }
                None => lost = true,
            }
        }
        assert!(lost && kept);
    }

    #[test]
    fn a_cut_without_a_sync_may_come_undone() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let mut disk = Disk::default();
            let file = disk.create("f");
            disk.sync_dir();
            disk.write(file, 0, &[1; 3 * SECTOR_BYTES]);
            disk.sync(file);
            disk.truncate(file, 700);
            assert_eq!((disk.content(file).len(), disk.platter(file).len()), (700, 3 * SECTOR_BYTES));
            let mut synced = disk.clone();
            synced.sync(file);
            synced.power_cut(&mut rng(seed));
            assert_eq!(synced.content(file), [1; 700]);
            // What is written behind a cut stands behind zeros, not behind what was there.
            synced.write(file, 800, b"x");
            assert_eq!(synced.content(file)[700..], [&[0; 100][..], b"x"].concat());
            disk.power_cut(&mut rng(seed));
            lengths.insert(disk.content(file).len());
            assert!(disk.content(file).iter().all(|&byte| byte == 1));
        }
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [700, 3 * SECTOR_BYTES]);
    }

    #[test]
    fn a_folders_sync_leaves_the_names_of_others() {
        let mut kept = 0;
        for seed in 0..64 {
            let mut disk = Disk::default();
            for name in ["a/", "b/", "a/f", "b/f"] {
                disk.create(name);
            }
            disk.sync_names_in("");
            disk.sync_names_in("a");
            disk.power_cut(&mut rng(seed));
            assert!(disk.lookup("a/f").is_some());
            kept += usize::from(disk.lookup("b/f").is_some());
            disk.retain_names(|disk, name| {
                folder_of(name).is_empty() || disk.lookup(&format!("{}/", folder_of(name))).is_some()
            });
            assert!(disk.lookup("a/f").is_some());
            disk.rename_folder("a", "c");
            assert_eq!((disk.lookup("a/f"), disk.lookup("c/f").is_some()), (None, true));
        }
        assert!((1..64).contains(&kept));
    }

    #[test]
    fn a_lost_rename_leaves_the_old_name() {
        let mut seen = (false, false);
        for seed in 0..64 {
            let mut disk = Disk::default();
            let file = disk.create("tmp");
            disk.write(file, 0, b"new");
            disk.sync(file);
            disk.sync_dir();
            disk.rename("tmp", "final");
            disk.power_cut(&mut rng(seed));
            match (disk.lookup("tmp"), disk.lookup("final")) {
                (Some(_), None) => seen.0 = true,
                (None, Some(_)) => seen.1 = true,
                other => panic!("a rename is one step: {other:?}"),
            }
        }
        assert_eq!(seen, (true, true));
    }

    #[test]
    fn after_a_failed_sync_the_cache_says_what_the_platter_does_not_have() {
        let mut disk = Disk::default();
        let file = disk.create("f");
        disk.write(file, 0, &[7; 16 * SECTOR_BYTES]);
        disk.sync_failing(file, &mut rng(3));
        disk.sync(file);
        assert_eq!(disk.content(file), &[7; 16 * SECTOR_BYTES]);
        assert!(!disk.is_on_platter(file, 0, 16 * SECTOR_BYTES));
        // Writing it again makes it dirty again, and a sync that succeeds is one.
        disk.write(file, 0, &[7; 16 * SECTOR_BYTES]);
        disk.sync(file);
        assert!(disk.is_on_platter(file, 0, 16 * SECTOR_BYTES));
    }

    proptest! {
        #[test]
        fn a_power_cut_keeps_every_synced_sector_and_invents_none(
            seed: u64,
            writes in proptest::collection::vec((0usize..40, 1usize..2_000, any::<u8>(), any::<bool>()), 1..20),
        ) {
            let mut disk = Disk::default();
            let file = disk.create("f");
            disk.sync_dir();
            let mut versions: Vec<Vec<u8>> = vec![Vec::new()];
            let mut synced = 0;
            for (at, len, value, sync) in writes {
                disk.write(file, (at * 100) as u64, &vec![value; len]);
                versions.push(disk.content(file).to_vec());
                if sync {
                    disk.sync(file);
                    synced = versions.len() - 1;
                    prop_assert_eq!(disk.platter(file), disk.content(file));
                }
            }
            disk.power_cut(&mut rng(seed));
            let after = disk.content(file);
            prop_assert!(after.len() >= versions[synced].len());
            for (sector, bytes) in after.chunks(SECTOR_BYTES).enumerate() {
                let start = sector * SECTOR_BYTES;
                // Each sector is that of the last sync, or of the end; nothing in between was asked of the disk alone.
                let of = |version: &Vec<u8>| {
                    let mut whole = version.get(start..).unwrap_or(&[]).to_vec();
                    whole.resize(whole.len().max(bytes.len()), 0);
                    whole[..bytes.len()] == *bytes
                };
                prop_assert!(of(&versions[synced]) || of(&versions[versions.len() - 1]));
            }
        }

        #[test]
        fn a_process_kill_is_nothing_to_the_disk_and_its_platter_is_the_worst_power_cut(seed: u64, len in 1usize..5_000) {
            let mut disk = Disk::default();
            let file = disk.create("f");
            disk.sync_dir();
            disk.write(file, 0, &vec![1; len]);
            disk.sync(file);
            disk.write(file, 0, &vec![2; len]);
            prop_assert_eq!(disk.content(file), &vec![2; len]);
            let worst = disk.on_platter();
            prop_assert_eq!(worst.content(file), &vec![1; len]);
            disk.evict(&mut rng(seed));
            prop_assert_eq!(disk.content(file), &vec![2; len]);
        }
    }
}
