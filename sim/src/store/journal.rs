//! Groups and journal files: one group in flight at a time, small files that are recycled with their old bytes in them.

use super::index::{BatchRef, Place, Unwritten};
use super::lane::Op;
use super::{DiskNow, Done, Signal, Store};
use crate::disk::{Disk, Inode};
use crate::hash::hash64;
use bytes::Bytes;
use seedlog_core::config::FlushMode;
use seedlog_core::ids::{Lsn, Offset, TopicPartition};
use seedlog_core::journal::format::GroupPlace;
use seedlog_core::journal::{AppendEntry, Entry, FILE_HEADER_BYTES, FileHeader, GroupWriter, QuorumChain};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader};

/// Spare files that wait to be recycled; more are removed.
const SPARES_MAX: usize = 2;

/// A journal file that takes groups or holds something.
#[derive(Debug)]
pub(super) struct JournalFile {
    pub(super) name: String,
    pub(super) inode: Inode,
    pub(super) salt: u64,
    pub(super) capacity: u64,
    pub(super) position: u64,
    /// The last entry in it; zero while it has none that count.
    pub(super) last_lsn: Lsn,
    /// Its groups, for the judges and for bit flips.
    pub(super) groups: Vec<GroupAt>,
}

/// Where a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupAt {
    /// Its position in the file.
    pub at: u64,
    /// Its size with padding.
    pub bytes: u64,
    /// Where its table starts, from its own start.
    pub table_at: u64,
    /// Size of its table.
    pub table_bytes: u64,
    /// Its first entry.
    pub first: Lsn,
    /// Its last entry.
    pub last: Lsn,
}

/// The group that collects entries.
#[derive(Debug)]
pub(super) struct OpenGroup {
    writer: GroupWriter<Vec<u8>>,
    /// Something in it waits for the disk whatever the mode (SAFETY J6).
    is_urgent: bool,
    appends: Vec<(AppendEntry, Lsn, u32)>,
}

/// The group on its way to the disk.
#[derive(Debug)]
pub(super) struct Group {
    last: Lsn,
    entries: u32,
    seq: u64,
    at: GroupAt,
    bytes: Bytes,
    appends: Vec<(AppendEntry, Lsn, u32)>,
}

impl OpenGroup {
    pub(super) fn new(first_lsn: Lsn, quorum: QuorumChain) -> Self {
        Self {
            writer: GroupWriter::new(Vec::new(), first_lsn, quorum),
            is_urgent: false,
            appends: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writer.entries() == 0
    }
}

impl Store {
    /// Takes an entry of the journal; its number.
    pub fn push(&mut self, entry: &Entry, batch: Option<(&BatchHeader, &[u8])>) -> Lsn {
        let placed = self.open.writer.push(entry, batch);
        self.pushed = placed.lsn;
        self.open.is_urgent |= waits_for_sync(entry);
        self.follow(entry, placed.lsn);
        if let (Entry::Append(append), Some((header, bytes))) = (entry, batch) {
            self.open.appends.push((*append, placed.lsn, placed.at));
            let unwritten = Unwritten {
                base: append.base_offset,
                next: append.next_offset(),
                lsn: placed.lsn,
                bytes: stamped(header, bytes),
            };
            self.index.push_unwritten(append.partition, unwritten);
        }
        placed.lsn
    }

    /// What an entry other than an append does to what can be read. Segments are cut with the next snapshot, which waits
    /// for the entry (SAFETY J8, J9): what stands behind the cut in a file is never read again.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only what concerns the question is looked at")]
    pub(super) fn follow(&mut self, entry: &Entry, lsn: Lsn) {
        match entry {
            Entry::Cut { partition, to } => {
                if self.index.cut(*partition, *to) {
                    self.segments.close(*partition);
                }
            }
            Entry::Reset { partition, .. } => {
                self.index.clear(*partition);
                self.segments.close(*partition);
            }
            // Written batches alone: what is on its way to the disk arrives there first.
            Entry::LogStart { partition, start } => self.index.take_front(*partition, *start),
            Entry::Compacted { partition, compaction } => self.swap(*partition, compaction, lsn),
            Entry::Dropping { topic_id, .. } => self.index.drop_topic(*topic_id),
            Entry::Append(_)
            | Entry::EpochStart { .. }
            | Entry::Metadata { .. }
            | Entry::ProducersExpired { .. }
            | Entry::Dropped { .. }
            | Entry::Started { .. }
            | Entry::Stopped
            | Entry::Founded { .. }
            | Entry::Vote { .. }
            | Entry::MetadataCut { .. }
            | Entry::MetadataImage { .. }
            | Entry::Trusted { .. }
            | Entry::Damaged { .. } => return,
        }
        self.tail.retain(|(partition, base, _)| match entry {
            Entry::Cut { partition: of, to } => partition != of || base < to,
            Entry::Reset { partition: of, .. } => partition != of,
            Entry::LogStart { partition: of, start } => partition != of || base >= start,
            Entry::Dropping { topic_id, .. } => partition.topic_id != *topic_id,
            _ => true,
        });
        if let Some((_, _, needs)) = &mut self.waiting_snapshot {
            // The table lacks what the entry took away: it counts only together with the entry.
            *needs = lsn;
        }
    }

    /// Sends the open group to the disk, unless one is in flight.
    pub fn submit(&mut self, now: &mut DiskNow<'_>, signals: &mut Vec<Signal>) {
        if !self.open.is_empty() {
            self.send(now, signals);
        }
    }

    /// Sends a group without entries that vouches for those before it, if there is something to vouch for and nothing
    /// to write (SAFETY J4).
    pub fn vouch(&mut self, now: &mut DiskNow<'_>, signals: &mut Vec<Signal>) {
        if self.journal_is_idle() && self.synced > self.stated {
            self.send(now, signals);
        }
    }

    fn send(&mut self, now: &mut DiskNow<'_>, signals: &mut Vec<Signal>) {
        if self.in_flight.is_some() || self.preparing || self.failed {
            return;
        }
        let need = self.open.writer.padded_bytes() as u64;
        let (&seq, file) = self.files.last_key_value().expect("a started store has a file");
        if file.position + need > file.capacity {
            self.prepare_file(need, now, signals);
            return;
        }
        let (position, salt, name) = (file.position, file.salt, file.name.clone());
        let next = OpenGroup::new(self.open.writer.next_lsn(), self.open.writer.quorum());
        let group = std::mem::replace(&mut self.open, next);
        let place = GroupPlace { seq, salt, position, durable: self.synced };
        let (prefix, bytes) = group.writer.finish(place);
        self.stated = self.stated.max(place.durable);
        let at = GroupAt {
            at: position,
            bytes: bytes.len() as u64,
            table_at: u64::from(prefix.table_at),
            table_bytes: u64::from(prefix.table_bytes),
            first: prefix.first_lsn,
            last: prefix.last_lsn(),
        };
        let last = prefix.last_lsn();
        signals.push(Signal::GroupWrite(prefix.first_lsn, prefix.entries, bytes.len()));
        self.journal_lane([
            Op::Write { name: name.clone(), at: position, bytes: bytes.clone() },
            Op::Done(Done::GroupWritten),
        ]);
        let file = self.files.get_mut(&seq).expect("found above");
        file.position += at.bytes;
        self.in_flight = Some(Group {
            last,
            entries: prefix.entries,
            seq,
            at,
            bytes: Bytes::from(bytes),
            appends: group.appends,
        });
        // Under flush=interval the driver syncs data on its own time; an empty group is worth nothing unsynced.
        if self.config.flush == FlushMode::Always || prefix.entries == 0 || group.is_urgent {
            self.journal_lane([Op::Sync { name }, Op::Done(Done::Synced { through: last })]);
        }
    }

    pub(super) fn on_group_written(&mut self, now: &mut DiskNow<'_>, signals: &mut Vec<Signal>) {
        let group = self.in_flight.take().expect("a group that was written was in flight");
        let file = self.files.get_mut(&group.seq).expect("a file with a group in flight stays");
        file.groups.push(group.at);
        if group.entries > 0 {
            file.last_lsn = group.last;
            self.written = group.last;
        }
        let inode = file.inode;
        for (append, lsn, payload_at) in group.appends {
            let place = Place { inode, at: group.at.at + u64::from(payload_at), in_segment: false };
            let Some(bytes) = self.index.take_written(append.partition, lsn) else { continue };
            self.index.push(append.partition, batch_ref(&append, lsn, place));
            self.remember(append.partition, append.base_offset, bytes);
        }
        signals.push(Signal::GroupWritten(self.written, hash64(&group.bytes)));
        if group.entries > 0 {
            signals.push(Signal::Durable);
        }
        // With flush=always the sync is next in the lane and the group after it waits for that.
        if self.config.flush == FlushMode::Interval {
            self.submit(now, signals);
        }
    }

    fn remember(&mut self, partition: TopicPartition, base: Offset, bytes: Bytes) {
        self.tail.push_back((partition, base, bytes));
        while self.tail.len() > self.config.tail_batches {
            self.tail.pop_front();
        }
    }

    /// Syncs the journal: what flush=interval does at its interval.
    pub fn sync_interval(&mut self) {
        if self.failed || self.synced >= self.written || self.interval_syncing {
            return;
        }
        self.interval_syncing = true;
        let (_, file) = self.files.last_key_value().expect("a started store has a file");
        let name = file.name.clone();
        let through = self.written;
        self.journal_lane([Op::Sync { name }, Op::Done(Done::Synced { through })]);
    }

    /// Makes the next file ready: recycled with its old bytes, or filled with zeros.
    fn prepare_file(&mut self, need: u64, now: &mut DiskNow<'_>, signals: &mut Vec<Signal>) {
        let capacity = self.config.file_bytes.max(FILE_HEADER_BYTES as u64 + need);
        let seq = self.next_seq;
        let name = journal_name(seq);
        let salt = now.rng.bits();
        let first_lsn = self.open.writer.next_lsn();
        let first_lsn = Lsn(first_lsn.0 - u64::from(self.open.writer.entries()));
        let mut ops = Vec::new();
        let mut durable = self.synced;
        if self.synced < self.written {
            // Under flush=interval the file that is left must not be forgotten by later syncs.
            let (_, left) = self.files.last_key_value().expect("a started store has a file");
            ops.push(Op::Sync { name: left.name.clone() });
            ops.push(Op::Done(Done::Synced { through: self.written }));
            durable = self.written;
        }
        let fits = |(_, name): &(u64, String)| {
            now.disk.lookup(name).is_some_and(|inode| {
                now.disk.content(inode).len() as u64 >= capacity && !self.pins.contains_key(&inode)
            })
        };
        let recycled = self.spares.front().is_some_and(fits);
        if recycled {
            let (_, spare) = self.spares.pop_front().expect("it is the front");
            ops.push(Op::Rename { from: spare, to: name.clone() });
        } else if now.full {
            self.fail("write: no space left on device", signals);
            return;
        } else {
            ops.push(Op::Create { name: name.clone() });
            let zeros = vec![0; usize::try_from(capacity).expect("files are small here")];
            ops.push(Op::Write { name: name.clone(), at: 0, bytes: zeros });
        }
        let header = self.header(seq, salt, first_lsn, durable, None);
        ops.push(Op::Write { name: name.clone(), at: 0, bytes: header.encode() });
        ops.push(Op::Sync { name: name.clone() });
        ops.push(Op::SyncDir);
        ops.push(Op::Done(Done::FileReady { seq, salt, name, first_lsn, recycled }));
        self.preparing = true;
        self.next_seq += 1;
        self.stated = self.stated.max(durable);
        self.journal_lane(ops);
    }

    pub(super) fn header(
        &self,
        seq: u64,
        salt: u64,
        first_lsn: Lsn,
        durable: Lsn,
        cut_at: Option<Lsn>,
    ) -> FileHeader {
        FileHeader {
            seq,
            salt,
            first_lsn,
            durable,
            node_id: self.config.node_id,
            incarnation: self.config.incarnation,
            cut_at,
        }
    }

    pub(super) fn on_file_ready(&mut self, seq: u64, salt: u64, name: String, disk: &Disk) {
        let inode = disk.lookup(&name).expect("a file that was made ready is there");
        let file = JournalFile {
            name,
            inode,
            salt,
            capacity: disk.content(inode).len() as u64,
            position: FILE_HEADER_BYTES as u64,
            last_lsn: Lsn::ZERO,
            groups: Vec::new(),
        };
        self.files.insert(seq, file);
        self.preparing = false;
    }

    /// Files whose entries are all at or below `through` go, oldest first: a younger file may void groups of an older
    /// one, which would come back without it.
    pub(super) fn release_files(&mut self, through: Lsn, signals: &mut Vec<Signal>) {
        while self.files.len() > 1 {
            let (&seq, file) = self.files.first_key_value().expect("it has more than one");
            if file.last_lsn > through {
                break;
            }
            let pinned = self.pins.contains_key(&file.inode);
            signals.push(Signal::FileReleased(seq, file.last_lsn, pinned));
            let file = self.files.remove(&seq).expect("it is the first");
            self.spares.push_back((seq, file.name));
        }
        while self.spares.len() > SPARES_MAX {
            let (_, name) = self.spares.pop_front().expect("it has more than the most");
            // In the lane that recycles, so that the removal of an older file is durable before a younger one changes.
            self.journal_lane([Op::Unlink { name }, Op::SyncDir]);
        }
    }

    /// Groups of live files, with the inode: what the judges look behind and what bits are flipped in.
    pub fn groups(&self) -> impl Iterator<Item = (Inode, &GroupAt)> {
        self.files.values().flat_map(|file| file.groups.iter().map(move |group| (file.inode, group)))
    }
}

/// `flush=interval` is a setting of data: votes, metadata, incarnations and truncations wait for the sync (SAFETY J6).
fn waits_for_sync(entry: &Entry) -> bool {
    match entry {
        Entry::Append(_)
        | Entry::EpochStart { .. }
        | Entry::ProducersExpired { .. }
        | Entry::Dropped { .. }
        | Entry::Trusted { .. } => false,
        Entry::Metadata { .. }
        | Entry::Started { .. }
        | Entry::Stopped
        | Entry::Founded { .. }
        | Entry::Vote { .. }
        | Entry::MetadataCut { .. }
        | Entry::MetadataImage { .. }
        | Entry::Cut { .. }
        | Entry::Reset { .. }
        | Entry::Dropping { .. }
        | Entry::Damaged { .. }
        | Entry::LogStart { .. }
        | Entry::Compacted { .. } => true,
    }
}

/// A batch as it stands in a log.
#[must_use]
pub fn stamped(header: &BatchHeader, bytes: &[u8]) -> Bytes {
    let mut whole = bytes.to_vec();
    if let Some(head) = whole.first_chunk_mut::<BATCH_HEADER_BYTES>() {
        header.write(head);
    }
    Bytes::from(whole)
}

/// The name of a journal file.
pub(super) fn journal_name(seq: u64) -> String {
    format!("journal-{seq:06}")
}

/// The number in a journal file's name.
pub(super) fn journal_seq(name: &str) -> Option<u64> {
    name.strip_prefix("journal-")?.parse().ok()
}

pub(super) fn batch_ref(append: &AppendEntry, lsn: Lsn, place: Place) -> BatchRef {
    BatchRef {
        base: append.base_offset,
        next: append.next_offset(),
        lsn,
        epoch: append.epoch,
        crc: append.crc,
        bytes: append.batch_bytes,
        roll: append.roll,
        place,
    }
}
