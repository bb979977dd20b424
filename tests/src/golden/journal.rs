//! The journal as a driver keeps it: groups one at a time, recovery into a fresh file (SAFETY J2, J3). One file a run.

use super::disk::Disk;
use seedlog_core::config::FlushMode;
use seedlog_core::ids::{Lsn, NodeId, TopicPartition, Uuid};
use seedlog_core::journal::entry::Located;
use seedlog_core::journal::format::{GroupPlace, rewrite_group};
use seedlog_core::journal::recovery::recover;
use seedlog_core::journal::{Entry, FILE_HEADER_BYTES, FileHeader, GroupWriter, Plan};
use seedlog_core::records::BatchHeader;
use seedlog_core::recovered::{Recovered, replay};
use std::collections::BTreeMap;

/// The incarnation of a node's folder; a wiped one gets another.
pub(super) fn incarnation(node: NodeId, folder: u8) -> Uuid {
    let mut bytes = *b"golden---folder--";
    bytes[14] = b'0' + u8::try_from(node.0).expect("few nodes");
    bytes[15] = b'a' + folder;
    Uuid(bytes[..16].try_into().expect("sixteen bytes"))
}

/// A group that was written, and where.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) seq: u64,
    pub(super) at: u64,
    pub(super) entries: Vec<Located>,
    /// The last lsn that was on disk when it was written.
    pub(super) states: Lsn,
}

/// Where a batch stands: its entry, its file, its group.
pub(super) type Place = (Located, u64, u64);
/// All batches that can be read.
pub(super) type Index = BTreeMap<TopicPartition, Vec<Place>>;

/// The writer.
pub(super) struct Journal {
    seq: u64,
    position: u64,
    flush: FlushMode,
    filling: GroupWriter<Vec<u8>>,
    entries: Vec<Located>,
    pub(super) written: Lsn,
    pub(super) synced: Lsn,
    /// What the last group on disk vouches for.
    pub(super) vouched: Lsn,
    /// What the last written group states.
    stated: Lsn,
}

/// What a disk says at a start.
pub(super) struct Reading {
    pub(super) plan: Plan,
    pub(super) recovered: Recovered,
    index: Index,
}

/// Reads the journal.
pub(super) fn read(disk: &mut Disk) -> Result<Reading, String> {
    let plan = recover(disk, Lsn::ZERO).map_err(|error| error.to_string())?;
    let mut index = Index::new();
    let recovered = replay(disk, &plan, None, &mut |seq, group, located| {
        note(&mut index, located, seq, group);
    });
    Ok(Reading { recovered: recovered.map_err(|error| error.to_string())?, plan, index })
}

/// Notes where a batch stands, or that batches stand nowhere any more.
pub(super) fn note(index: &mut Index, located: &Located, seq: u64, group: u64) {
    match &located.entry {
        Entry::Append(append) => {
            index.entry(append.partition).or_default().push((located.clone(), seq, group));
        }
        Entry::Cut { partition, to } => index
            .entry(*partition)
            .or_default()
            .retain(|(held, ..)| matches!(&held.entry, Entry::Append(append) if append.next_offset() <= *to)),
        Entry::Reset { partition, .. } => {
            index.remove(partition);
        }
        Entry::LogStart { partition, start } => index.entry(*partition).or_default().retain(
            |(held, ..)| matches!(&held.entry, Entry::Append(append) if append.next_offset() > *start),
        ),
        Entry::Compacted { .. }
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
        | Entry::Dropping { .. }
        | Entry::Trusted { .. }
        | Entry::Damaged { .. } => {}
    }
}

/// Copies what no later group vouches for into the fresh file, without its header: until that is there, nothing is changed.
pub(super) fn write_groups(disk: &mut Disk, plan: &Plan) -> Vec<Group> {
    let (seq, salt) = (plan.next_seq, salt(plan.next_seq));
    let mut position = FILE_HEADER_BYTES as u64;
    let mut moved = Vec::new();
    for group in plan.rewrite() {
        let mut bytes = disk.read(group.seq, group.position)[..group.prefix.padded_bytes()].to_vec();
        let prefix = rewrite_group(&mut bytes, plan.fresh_place(salt, position));
        let prefix = prefix.expect("the plan names intact groups");
        let entries = prefix.entries(&bytes).expect("the plan names intact groups");
        disk.write(seq, position, &bytes);
        moved.push(Group { seq, at: position, entries, states: prefix.durable });
        position += bytes.len() as u64;
    }
    moved
}

impl Journal {
    /// Ends a recovery: the fresh file gets its header, and from then on it counts. Reads everything once more as it is
    /// then, which must come to the same.
    pub(super) fn begin(
        disk: &mut Disk,
        reading: &Reading,
        flush: FlushMode,
        (node_id, incarnation): (NodeId, Uuid),
    ) -> (Self, Index) {
        let plan = &reading.plan;
        let seq = plan.next_seq;
        disk.sync(seq);
        let header = FileHeader {
            seq,
            salt: salt(seq),
            first_lsn: plan.fresh_first_lsn(),
            durable: Lsn(plan.fresh_first_lsn().0 - 1),
            node_id,
            incarnation,
            cut_at: plan.cut_at(),
        };
        disk.write(seq, 0, &header.encode());
        disk.sync(seq);
        let again = read(disk).expect("what was accepted once is accepted again");
        assert_eq!(
            again.recovered.quorum, reading.recovered.quorum,
            "a second recovery knows the same metadata"
        );
        assert_eq!(again.recovered.partitions, reading.recovered.partitions, "and the same logs");
        assert_eq!(again.plan.end, plan.end, "and the same end");
        let bytes = disk.read(seq, 0).len().max(FILE_HEADER_BYTES) as u64;
        let journal = Self {
            seq,
            position: bytes,
            flush,
            filling: GroupWriter::new(Vec::new(), plan.end.next(), reading.recovered.quorum.chain),
            entries: Vec::new(),
            written: plan.end,
            synced: plan.end,
            vouched: header.durable,
            stated: header.durable,
        };
        (journal, again.index)
    }

    pub(super) fn push(&mut self, entry: Entry, batch: Option<(&BatchHeader, &[u8])>) {
        let placed = self.filling.push(&entry, batch);
        self.entries.push(Located { lsn: placed.lsn, entry, payload_at: placed.at });
    }

    pub(super) fn has_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The last entry given to it.
    pub(super) fn last(&self) -> Lsn {
        Lsn(self.filling.next_lsn().0 - 1)
    }

    /// Writes the group that was filled, an empty one included, into the page cache.
    pub(super) fn write(&mut self, disk: &mut Disk) -> Result<Group, String> {
        if self.flush == FlushMode::Always && self.written > self.synced {
            return Err("one group is in flight: sync it first".to_owned());
        }
        let next = GroupWriter::new(Vec::new(), self.filling.next_lsn(), self.filling.quorum());
        let filled = std::mem::replace(&mut self.filling, next);
        let place =
            GroupPlace { seq: self.seq, salt: salt(self.seq), position: self.position, durable: self.synced };
        let (prefix, bytes) = filled.finish(place);
        disk.write(self.seq, self.position, &bytes);
        self.position += bytes.len() as u64;
        self.written = prefix.last_lsn();
        self.stated = prefix.durable;
        let entries = std::mem::take(&mut self.entries);
        Ok(Group { seq: self.seq, at: place.position, entries, states: prefix.durable })
    }

    pub(super) fn sync(&mut self, disk: &mut Disk) {
        disk.sync(self.seq);
        self.synced = self.written;
        self.vouched = self.stated;
    }

    /// There is something on disk that no group on disk states to be there.
    pub(super) fn wants_to_vouch(&self) -> bool {
        !self.has_entries() && self.written == self.synced && self.synced > self.vouched
    }
}

/// A real one is random: nobody outside may guess it (SAFETY J1).
fn salt(seq: u64) -> u64 {
    0x05ee_d106_0000_0000 | seq
}
