//! Recovery as a driver does it: read the snapshot and the journal, write what is not vouched for into a fresh file under a
//! new salt, and only then start (SAFETY J2).

use super::index::{Index, Place};
use super::journal::{GroupAt, JournalFile, OpenGroup, batch_ref, journal_name, journal_seq};
use super::lane::{Lane, Op};
use super::snapshot::{Segments, Stored, load};
use super::{Done, Store, StoreConfig};
use crate::disk::{Disk, Inode, View};
use crate::rng::Stream;
use seedlog_core::ids::{Lsn, Offset, TopicPartition};
use seedlog_core::journal::format::rewrite_group;
use seedlog_core::journal::recovery::{JournalSource, recover};
use seedlog_core::journal::{Entry, FILE_HEADER_BYTES, GroupRef, Plan};
use seedlog_core::recovered::{Recovered, replay};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// What a disk says when it is read at a start; nothing is changed yet.
#[derive(Debug)]
pub struct Reading {
    /// The verdict over the journal.
    pub plan: Plan,
    /// The state.
    pub recovered: Recovered,
    /// What the snapshot holds; zero without one.
    pub through: Lsn,
    /// Every entry above the snapshot that is intact.
    pub visited: Vec<Visited>,
    stored: Option<Stored>,
    inodes: BTreeMap<u64, Inode>,
}

/// An entry that was replayed, and where it stands.
#[derive(Debug, Clone)]
pub struct Visited {
    /// Its number.
    pub lsn: Lsn,
    /// The entry.
    pub entry: Entry,
    /// Its file.
    pub inode: Inode,
    /// Where its batch begins in the file.
    pub at: u64,
    seq: u64,
    group: u64,
}

/// Why a store does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartError {
    /// What is on the disk forbids it.
    Refused(String),
    /// There is no room for the fresh file.
    NoSpace,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::NoSpace => f.write_str("no space left on device"),
        }
    }
}

/// The file that recovery writes, until it is there.
#[derive(Debug)]
pub(super) struct Fresh {
    seq: u64,
    salt: u64,
    name: String,
    groups: Vec<GroupAt>,
    last_lsn: Lsn,
    position: u64,
    /// Batches that were written again: partition, first offset and entry, place in the file.
    moved: Vec<(TopicPartition, (Offset, Lsn), u64)>,
}

struct DiskSource<'a> {
    disk: View<'a>,
    inodes: &'a BTreeMap<u64, Inode>,
}

impl JournalSource for DiskSource<'_> {
    type Error = String;

    fn files(&self) -> Vec<u64> {
        self.inodes.keys().copied().collect()
    }

    fn with_file<T>(&mut self, seq: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T, String> {
        let inode = self.inodes.get(&seq).ok_or_else(|| format!("journal file {seq} is not there"))?;
        Ok(read(self.disk.content(*inode)))
    }
}

/// Reads a disk as recovery does.
///
/// # Errors
/// [`StartError::Refused`].
pub fn read(disk: View<'_>) -> Result<Reading, StartError> {
    let refused = |why: &dyn fmt::Display| StartError::Refused(why.to_string());
    let mut stored = load(disk).map_err(|error| refused(&error))?;
    let inodes: BTreeMap<u64, Inode> =
        disk.names().filter_map(|(name, inode)| Some((journal_seq(name)?, inode))).collect();
    let mut source = DiskSource { disk, inodes: &inodes };
    let through = stored.as_ref().map_or(Lsn::ZERO, |stored| stored.core.through);
    let plan = recover(&mut source, through).map_err(|error| refused(&error))?;
    let snapshot = stored.as_mut().map(|stored| stored.core.clone());
    let mut visited = Vec::new();
    let recovered = replay(&mut source, &plan, snapshot, &mut |seq, group, located| {
        visited.push(Visited {
            lsn: located.lsn,
            entry: located.entry.clone(),
            inode: inodes[&seq],
            at: group + u64::from(located.payload_at),
            seq,
            group,
        });
    })
    .map_err(|error| refused(&error))?;
    Ok(Reading { plan, recovered, through, visited, stored, inodes })
}

impl Store {
    /// A store over what was read; its journal lane writes the fresh file and then reports that recovery is done.
    ///
    /// # Errors
    /// [`StartError::NoSpace`].
    pub fn start(
        config: StoreConfig,
        reading: &Reading,
        disk: &Disk,
        rng: &mut Stream,
        full: bool,
    ) -> Result<Self, StartError> {
        let plan = &reading.plan;
        let mut store = Self {
            config,
            lanes: [Lane::default(), Lane::default()],
            open: OpenGroup::new(plan.end.next(), reading.recovered.quorum.chain),
            in_flight: None,
            files: BTreeMap::new(),
            spares: VecDeque::new(),
            next_seq: plan.next_seq + 1,
            preparing: false,
            written: plan.end,
            synced: plan.end,
            stated: Lsn::ZERO,
            index: Index::default(),
            tail: VecDeque::new(),
            pins: BTreeMap::new(),
            segments: Segments::default(),
            fresh: None,
            waiting_snapshot: None,
            compacted: None,
            waiting_unlinks: VecDeque::new(),
            waiting_drops: VecDeque::new(),
            pushed: plan.end,
            vouched: Lsn::ZERO,
            interval_syncing: false,
            failed: false,
        };
        store.adopt_files(reading, disk);
        store.adopt_batches(reading, disk);
        store.write_fresh(reading, disk, rng, full)?;
        Ok(store)
    }

    /// Files from the first that holds something needed stay; older ones are spare, in order.
    fn adopt_files(&mut self, reading: &Reading, disk: &Disk) {
        let first_live = reading.plan.groups.iter().map(|group| group.seq).min();
        // Behind a hole a group without entries may be all that proves what the quorum rests on: nothing is recycled.
        let first_live =
            if reading.plan.damage.is_empty() { first_live } else { reading.inodes.keys().next().copied() };
        for (&seq, &inode) in &reading.inodes {
            if first_live.is_none_or(|first| seq < first) {
                self.spares.push_back((seq, journal_name(seq)));
                continue;
            }
            let groups: Vec<&GroupRef> =
                reading.plan.groups.iter().filter(|group| group.seq == seq).collect();
            self.files.insert(
                seq,
                JournalFile {
                    name: journal_name(seq),
                    inode,
                    salt: groups.first().map_or(0, |group| group.prefix.salt),
                    capacity: 0,
                    position: disk.content(inode).len() as u64,
                    last_lsn: groups.last().map_or(Lsn::ZERO, |group| group.prefix.last_lsn()),
                    groups: groups.iter().map(|group| group_at(group, group.position)).collect(),
                },
            );
        }
    }

    fn adopt_batches(&mut self, reading: &Reading, disk: &Disk) {
        if let Some(stored) = &reading.stored {
            self.load_table(&stored.files, &stored.logs, disk);
        }
        for visited in &reading.visited {
            if let Entry::Append(append) = &visited.entry {
                let place = Place { inode: visited.inode, at: visited.at, in_segment: false };
                self.index.push(append.partition, batch_ref(append, visited.lsn, place));
            } else {
                if let Entry::Compacted { partition, compaction } = &visited.entry {
                    // A later pass may have taken its place, and its files.
                    self.on_compacted(*partition, compaction, disk);
                }
                self.follow(&visited.entry, visited.lsn);
            }
        }
        self.index.retain(|partition| reading.recovered.partitions.contains_key(&partition));
    }

    fn write_fresh(
        &mut self,
        reading: &Reading,
        disk: &Disk,
        rng: &mut Stream,
        full: bool,
    ) -> Result<(), StartError> {
        let plan = &reading.plan;
        let (seq, salt) = (plan.next_seq, rng.bits());
        let name = journal_name(seq);
        let mut fresh = Fresh {
            seq,
            salt,
            name: name.clone(),
            groups: Vec::new(),
            last_lsn: Lsn::ZERO,
            position: FILE_HEADER_BYTES as u64,
            moved: Vec::new(),
        };
        let mut writes = Vec::new();
        for group in plan.rewrite() {
            writes.push(fresh.rewrite(group, reading, disk, plan)?);
        }
        let capacity = self.config.file_bytes.max(fresh.position);
        let spare = self.spares.front().and_then(|(_, name)| disk.lookup(name));
        let spare_fits = spare.is_some_and(|inode| disk.content(inode).len() as u64 >= capacity);
        if spare_fits && rng.chance(500) {
            let (_, from) = self.spares.pop_front().expect("it is the front");
            // The snapshot by which the file is spare may have its name in the page cache alone.
            self.journal_lane([Op::SyncDir, Op::Rename { from, to: name.clone() }]);
        } else if full {
            return Err(StartError::NoSpace);
        } else {
            let zeros = vec![0; usize::try_from(capacity).expect("files are small here")];
            self.journal_lane([
                Op::Create { name: name.clone() },
                Op::Write { name: name.clone(), at: 0, bytes: zeros },
            ]);
        }
        // Groups first, then the header: only with it does the file void what it replaces.
        self.journal_lane(writes);
        let durable = plan.fresh_place(salt, FILE_HEADER_BYTES as u64).durable;
        let header = self.header(seq, salt, plan.fresh_first_lsn(), durable, plan.cut_at()).encode();
        self.stated = durable;
        self.fresh = Some(fresh);
        self.journal_lane([
            Op::Sync { name: name.clone() },
            Op::Write { name: name.clone(), at: 0, bytes: header },
            Op::Sync { name },
            Op::SyncDir,
            Op::Done(Done::Recovered),
        ]);
        Ok(())
    }

    pub(super) fn on_recovered(&mut self, disk: &Disk) {
        let fresh = self.fresh.take().expect("recovery ends once");
        self.on_file_ready(fresh.seq, fresh.salt, fresh.name, disk);
        let file = self.files.get_mut(&fresh.seq).expect("it was made ready");
        self.vouched = self.stated;
        file.groups = fresh.groups;
        file.last_lsn = fresh.last_lsn;
        file.position = fresh.position;
        let inode = file.inode;
        for (partition, of, at) in fresh.moved {
            self.index.moved(partition, of, Place { inode, at, in_segment: false });
        }
    }

    /// The groups that recovery wrote again: how many, and their first lsn.
    #[must_use]
    pub fn rewritten(&self) -> Option<(usize, Lsn)> {
        let fresh = self.fresh.as_ref()?;
        Some((fresh.groups.len(), fresh.groups.first()?.first))
    }
}

impl Fresh {
    fn rewrite(
        &mut self,
        group: &GroupRef,
        reading: &Reading,
        disk: &Disk,
        plan: &Plan,
    ) -> Result<Op<Done>, StartError> {
        let len = group.prefix.padded_bytes();
        let bytes = disk.read(reading.inodes[&group.seq], group.position, len);
        let mut bytes =
            bytes.ok_or_else(|| StartError::Refused("a group leaves its file".to_owned()))?.to_vec();
        let position = self.position;
        rewrite_group(&mut bytes, plan.fresh_place(self.salt, position))
            .map_err(|error| StartError::Refused(error.to_string()))?;
        for visited in &reading.visited {
            if let Entry::Append(append) = &visited.entry
                && (visited.seq, visited.group) == (group.seq, group.position)
            {
                let at = position + (visited.at - visited.group);
                self.moved.push((append.partition, (append.base_offset, visited.lsn), at));
            }
        }
        self.groups.push(group_at(group, position));
        self.last_lsn = group.prefix.last_lsn();
        self.position += len as u64;
        Ok(Op::Write { name: self.name.clone(), at: position, bytes })
    }
}

fn group_at(group: &GroupRef, at: u64) -> GroupAt {
    GroupAt {
        at,
        bytes: group.prefix.padded_bytes() as u64,
        table_at: u64::from(group.prefix.table_at),
        table_bytes: u64::from(group.prefix.table_bytes),
        first: group.prefix.first_lsn,
        last: group.prefix.last_lsn(),
    }
}
