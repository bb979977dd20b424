//! A journal in memory with a page cache above its disk: what a node writes, what a crash leaves, and the truth to judge
//! recovery by. Knows what was written; never how recovery decides.

#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use seedlog_core::cluster::records::{MetadataRecord, PartitionState};
use seedlog_core::cluster::snapshot::{PartitionSnapshot, Snapshot};
use seedlog_core::cluster::topic_config::TopicConfig;
use seedlog_core::ids::{
    BrokerEpoch, LeaderEpoch, Lsn, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicPartition,
    Uuid,
};
use seedlog_core::journal::entry::Located;
use seedlog_core::journal::format::{GroupPlace, GroupPrefix, rewrite_group};
use seedlog_core::journal::recovery::{JournalSource, RecoveryError, recover};
use seedlog_core::journal::{
    AppendEntry, Entry, FILE_HEADER_BYTES, FileHeader, GroupWriter, Plan, QuorumChain,
};
use seedlog_core::records::{BatchBuilder, BatchHeader};
use seedlog_core::recovered::{Recovered, ReplayError, replay};
use seedlog_core::rng::Random;
use seedlog_core::time::WallMs;
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Disks write this much at once.
pub(crate) const SECTOR: usize = 512;
/// Small files, so that journals roll often.
pub(crate) const FILE_BYTES: usize = 40 * 1024;

pub(crate) type Files = BTreeMap<u64, Vec<u8>>;

/// Files as recovery reads them.
pub(crate) struct Memory<'a>(pub &'a Files);

impl JournalSource for Memory<'_> {
    type Error = Infallible;

    fn files(&self) -> Vec<u64> {
        self.0.keys().copied().collect()
    }

    fn with_file<T>(&mut self, seq: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T, Infallible> {
        Ok(read(&self.0[&seq]))
    }
}

/// What recovery says of a journal.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    pub(crate) recovered: Result<Recovered, ReplayError<Infallible>>,
    /// The entries that a store was told of.
    pub(crate) visited: Vec<(u64, u64, Located)>,
}

pub(crate) fn read(files: &Files, snapshot: Option<&Snapshot>) -> Result<Outcome, RecoveryError<Infallible>> {
    let through = snapshot.map_or(Lsn::ZERO, |snapshot| snapshot.through);
    let mut source = Memory(files);
    let plan = recover(&mut source, through)?;
    let mut visited = Vec::new();
    let recovered = replay(&mut source, &plan, snapshot.cloned(), &mut |seq, position, located| {
        visited.push((seq, position, located.clone()));
    });
    Ok(Outcome { plan, recovered, visited })
}

/// A file: what reads see, and what a power cut leaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub(crate) cache: Vec<u8>,
    disk: Vec<u8>,
}

/// A group that counts: no recovery cut it.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) seq: u64,
    pub(crate) position: usize,
    pub(crate) prefix: GroupPrefix,
    pub(crate) bytes: Vec<u8>,
}

impl Written {
    /// The lsns of its entries.
    pub(crate) fn lsns(&self) -> std::ops::RangeInclusive<u64> {
        self.prefix.first_lsn.0..=self.prefix.last_lsn().0
    }
}

/// An entry and its batch as it stands in the journal.
pub(crate) type Told = (Entry, Option<Bytes>);

/// What follows from the entries so far: only as much as is needed to write the next one.
#[derive(Debug, Clone, Default)]
struct Model {
    metadata_end: i64,
    boot: u64,
    next_producer_id: i64,
    partitions: BTreeMap<TopicPartition, (Offset, LeaderEpoch)>,
    topics: Vec<Uuid>,
}

impl Model {
    fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Append(append) => {
                let held = self.partitions.get_mut(&append.partition).expect("appends go to what exists");
                *held = (append.next_offset(), append.epoch);
            }
            Entry::EpochStart { partition, epoch, .. } => {
                if let Some(held) = self.partitions.get_mut(partition) {
                    held.1 = *epoch;
                }
            }
            Entry::Metadata { records, .. } => {
                self.metadata_end += 1;
                for record in MetadataRecord::decode(records).expect("the model wrote it") {
                    match record {
                        MetadataRecord::Topic { topic_id, .. } => self.topics.push(topic_id),
                        MetadataRecord::Partition { topic_id, partition, .. } => {
                            let partition = TopicPartition { topic_id, partition };
                            self.partitions.insert(partition, (Offset::ZERO, LeaderEpoch(-1)));
                        }
                        MetadataRecord::RemoveTopic { topic_id } => {
                            self.topics.retain(|topic| *topic != topic_id);
                        }
                        MetadataRecord::ProducerIds { next, .. } => self.next_producer_id = next.0,
                        MetadataRecord::LeaderChange { .. }
                        | MetadataRecord::Voters { .. }
                        | MetadataRecord::RegisterBroker { .. }
                        | MetadataRecord::BrokerState { .. }
                        | MetadataRecord::PartitionChange { .. }
                        | MetadataRecord::Reassignment { .. }
                        | MetadataRecord::TopicConfig { .. }
                        | MetadataRecord::GroupConfig { .. } => {}
                    }
                }
            }
            Entry::Dropping { topic_id, .. } => {
                self.partitions.retain(|partition, _| partition.topic_id != *topic_id);
            }
            Entry::Started { boot, .. } => self.boot = *boot,
            Entry::ProducersExpired { .. }
            | Entry::Dropped { .. }
            | Entry::Stopped
            | Entry::Founded { .. }
            | Entry::Vote { .. }
            | Entry::MetadataCut { .. }
            | Entry::MetadataImage { .. }
            | Entry::Cut { .. }
            | Entry::Reset { .. }
            | Entry::Trusted { .. }
            | Entry::Damaged { .. }
            | Entry::LogStart { .. }
            | Entry::Compacted { .. } => {}
        }
    }
}

/// Where the fresh file's writing is interrupted (SAFETY J2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupted {
    AfterGroups,
    AfterSync,
    AfterHeader,
    Never,
}

/// The journal of one node.
#[derive(Debug, Clone)]
pub(crate) struct Rig {
    pub(crate) files: BTreeMap<u64, Stored>,
    pub(crate) groups: Vec<Written>,
    /// Groups that a recovery copied, with the number of the file that has the copy.
    pub(crate) copied: Vec<(Written, u64)>,
    /// Every entry of the history that counts, by lsn from 1.
    pub(crate) truth: Vec<Told>,
    pub(crate) written: u64,
    pub(crate) synced: u64,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) random: Random,
    pub(crate) flush_always: bool,
    /// The node's driver states in the fresh file's header that all of it is on disk, the simulator's does not.
    pub(crate) header_vouches: bool,
    model: Model,
    spares: Vec<u64>,
    current: (u64, u64, usize),
    next_seq: u64,
    names: u64,
}

impl Rig {
    pub(crate) fn new(seed: u64, flush_always: bool) -> Self {
        let mut rig = Self {
            files: BTreeMap::new(),
            groups: Vec::new(),
            copied: Vec::new(),
            truth: Vec::new(),
            written: 0,
            synced: 0,
            snapshot: None,
            random: Random::new(seed),
            flush_always,
            header_vouches: seed.is_multiple_of(2),
            model: Model::default(),
            spares: Vec::new(),
            current: (0, 0, usize::MAX),
            next_seq: 1,
            names: 0,
        };
        rig.restart();
        rig
    }

    // ---- entries ----

    pub(crate) fn push(&mut self, entry: Entry, batch: Option<Bytes>) {
        self.model.apply(&entry);
        self.truth.push((entry, batch));
    }

    pub(crate) fn metadata(&mut self, records: &[MetadataRecord]) {
        let offset = Offset(self.model.metadata_end);
        let records = MetadataRecord::encode(records);
        self.push(Entry::Metadata { offset, epoch: LeaderEpoch(0), records }, None);
    }

    pub(crate) fn create_topic(&mut self, partitions: i32) {
        self.names += 1;
        let topic_id = self.random.uuid();
        let name = format!("topic-{}", self.names);
        let config = TopicConfig::default();
        let mut records = vec![MetadataRecord::Topic { topic_id, name, config, min_insync_replicas: 1 }];
        records.extend((0..partitions).map(|index| MetadataRecord::Partition {
            topic_id,
            partition: PartitionIndex(index),
            replicas: vec![NodeId(1)],
            state: PartitionState::first(NodeId(1), vec![NodeId(1)]),
        }));
        self.metadata(&records);
        for index in 0..partitions {
            self.begin_epoch(TopicPartition { topic_id, partition: PartitionIndex(index) });
        }
    }

    pub(crate) fn remove_topic(&mut self, at: usize) {
        if let Some(&topic_id) = self.model.topics.get(at % self.model.topics.len().max(1)) {
            let held = self.model.partitions.keys().filter(|held| held.topic_id == topic_id).count();
            self.metadata(&[MetadataRecord::RemoveTopic { topic_id }]);
            let partitions = i32::try_from(held).expect("few");
            self.push(Entry::Dropping { topic_id, partitions }, None);
        }
    }

    pub(crate) fn producer_ids(&mut self) {
        let first = ProducerId(self.model.next_producer_id);
        let next = ProducerId(first.0 + 1000);
        let (node_id, broker_epoch) = (NodeId(1), BrokerEpoch(1));
        self.metadata(&[MetadataRecord::ProducerIds { node_id, broker_epoch, first, next }]);
    }

    fn begin_epoch(&mut self, partition: TopicPartition) {
        let (start, epoch) = self.model.partitions[&partition];
        self.push(Entry::EpochStart { partition, epoch: LeaderEpoch(epoch.0 + 1), start }, None);
    }

    pub(crate) fn expire(&mut self, at: usize) {
        if let Some(partition) = self.partition(at) {
            self.push(Entry::ProducersExpired { partition, producers: vec![ProducerId(0)] }, None);
        }
    }

    pub(crate) fn partition(&self, at: usize) -> Option<TopicPartition> {
        self.model.partitions.keys().nth(at % self.model.partitions.len().max(1)).copied()
    }

    pub(crate) fn append(&mut self, at: usize, records: usize, value: &[u8]) {
        let Some(partition) = self.partition(at) else { return };
        let (base, epoch) = self.model.partitions[&partition];
        // One producer writes each partition without a gap.
        let sequence = i32::try_from(base.0).expect("small");
        let mut batch =
            BatchBuilder::new().stamped(base, epoch).producer(ProducerId(0), ProducerEpoch(0), sequence);
        for _ in 0..records.max(1) {
            batch.add(1_000, None, Some(value), &[]);
        }
        let batch = batch.finish();
        let header = BatchHeader::parse(&batch).expect("the builder builds batches");
        let entry = AppendEntry {
            partition,
            base_offset: base,
            offsets: u32::try_from(header.last_offset_delta).expect("small") + 1,
            epoch,
            batch_bytes: header.batch_bytes,
            crc: header.crc,
            append_time: WallMs(1_000),
            roll: false,
        };
        self.push(Entry::Append(entry), Some(batch));
    }

    // ---- groups and files ----

    /// Writes what is queued as one group.
    pub(crate) fn write(&mut self) {
        if (self.written as usize) < self.truth.len() {
            self.write_group();
            if self.flush_always {
                self.sync();
            }
        }
    }

    /// Adds a group without entries, which vouches for what is on disk.
    pub(crate) fn vouch(&mut self) {
        self.write();
        self.write_group();
        self.sync();
    }

    fn write_group(&mut self) {
        let first = self.written as usize;
        let before = self.truth[..first].iter();
        let quorum = before.fold(QuorumChain::default(), |chain, (entry, _)| chain.with(entry));
        let mut writer = GroupWriter::new(Vec::new(), Lsn(self.written + 1), quorum);
        for (entry, batch) in &self.truth[first..] {
            let header = batch.as_ref().map(|batch| BatchHeader::parse(batch).expect("the model built it"));
            writer.push(entry, header.as_ref().zip(batch.as_deref()));
        }
        if self.current.2.saturating_add(writer.padded_bytes()) > FILE_BYTES.max(self.capacity()) {
            self.roll(writer.padded_bytes());
        }
        let (seq, salt, position) = self.current;
        let place = GroupPlace { seq, salt, position: position as u64, durable: Lsn(self.synced) };
        let (prefix, bytes) = writer.finish(place);
        self.put(seq, position, &bytes);
        self.current.2 += bytes.len();
        self.written = self.truth.len() as u64;
        self.groups.push(Written { seq, position, prefix, bytes });
    }

    fn capacity(&self) -> usize {
        self.files.get(&self.current.0).map_or(0, |file| file.cache.len())
    }

    pub(crate) fn sync(&mut self) {
        self.sync_file(self.current.0);
        self.synced = self.written;
    }

    fn sync_file(&mut self, seq: u64) {
        if let Some(file) = self.files.get_mut(&seq) {
            file.disk.clone_from(&file.cache);
        }
    }

    /// All that was written gets to disk, without anybody being told.
    pub(crate) fn settle(&mut self) {
        for file in self.files.values_mut() {
            file.disk.clone_from(&file.cache);
        }
    }

    /// Goes on in the next file: recycled with its old bytes in it, or zeros.
    pub(crate) fn roll(&mut self, need: usize) {
        self.sync();
        let capacity = FILE_BYTES.max(FILE_HEADER_BYTES + need);
        let (seq, salt) = (self.next_seq, self.random.next_u64());
        self.next_seq += 1;
        let recycled = self.take_spare(capacity);
        self.files.insert(seq, recycled.unwrap_or_else(|| empty(capacity)));
        let header = self.header(seq, salt, Lsn(self.written + 1), Lsn(self.synced));
        self.put(seq, 0, &header.encode());
        self.current = (seq, salt, FILE_HEADER_BYTES);
        self.sync();
    }

    /// The oldest spare file, if it is large enough: a younger one may void groups of an older one, so it goes later.
    fn take_spare(&mut self, capacity: usize) -> Option<Stored> {
        self.spares.first().filter(|seq| self.files[seq].cache.len() >= capacity)?;
        self.files.remove(&self.spares.remove(0))
    }

    fn header(&self, seq: u64, salt: u64, first_lsn: Lsn, durable: Lsn) -> FileHeader {
        let incarnation = Uuid([2; 16]);
        FileHeader { seq, salt, first_lsn, durable, node_id: NodeId(1), incarnation, cut_at: None }
    }

    fn put(&mut self, seq: u64, at: usize, bytes: &[u8]) {
        let file = &mut self.files.get_mut(&seq).expect("written files exist").cache;
        if file.len() < at + bytes.len() {
            file.resize(at + bytes.len(), 0);
        }
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Takes a snapshot of all that is on disk and releases the files that it covers.
    pub(crate) fn take_snapshot(&mut self) {
        if self.synced > 0 {
            self.snapshot = Some(snapshot_of(&self.state_at(self.synced)));
        }
        let of_file = |seq: u64| self.groups.iter().filter(move |group| group.seq == seq);
        let last = |seq: u64| of_file(seq).map(|group| group.prefix.last_lsn().0).max().unwrap_or(0);
        let held = |seq: &&u64| !self.spares.contains(*seq);
        let releasable = self
            .files
            .keys()
            .filter(held)
            .take_while(|&&seq| seq != self.current.0 && last(seq) <= self.synced);
        let released: Vec<u64> = releasable.copied().collect();
        self.groups.retain(|group| !released.contains(&group.seq));
        self.copied.retain(|(group, _)| !released.contains(&group.seq));
        self.spares.extend(released);
    }

    /// The bytes as reads see them.
    pub(crate) fn bytes(&self) -> Files {
        self.files.iter().map(|(&seq, file)| (seq, file.cache.clone())).collect()
    }

    /// The state that the first `end` entries give, read from a journal that holds nothing else.
    pub(crate) fn state_at(&self, end: u64) -> Recovered {
        let mut writer = GroupWriter::new(Vec::new(), Lsn(1), QuorumChain::default());
        for (entry, batch) in &self.truth[..end as usize] {
            let header = batch.as_ref().map(|batch| BatchHeader::parse(batch).expect("the model built it"));
            writer.push(entry, header.as_ref().zip(batch.as_deref()));
        }
        let place = GroupPlace { seq: 1, salt: 1, position: FILE_HEADER_BYTES as u64, durable: Lsn::ZERO };
        let mut file = self.header(1, 1, Lsn(1), Lsn::ZERO).encode();
        if end > 0 {
            file.extend(writer.finish(place).1);
        }
        let outcome = read(&Files::from([(1, file)]), None).expect("memory can be read");
        outcome.recovered.expect("an intact journal is recovered")
    }

    // ---- crashes ----

    /// Each sector that was not synced is on disk, is not, or was torn to zeros; in no order.
    pub(crate) fn power_cut(&mut self) {
        for file in self.files.values_mut() {
            file.disk.resize(file.cache.len(), 0);
            for (new, old) in file.cache.chunks_mut(SECTOR).zip(file.disk.chunks(SECTOR)) {
                if new != old {
                    match self.random.next_u64() % 8 {
                        0..4 => {}
                        4..7 => new.copy_from_slice(old),
                        _ => new.fill(0),
                    }
                }
            }
            file.disk.clone_from(&file.cache);
        }
    }

    /// Reads the journal back, writes the fresh file, and begins the next run. `None`: recovery refused.
    pub(crate) fn restart(&mut self) -> Option<Outcome> {
        let outcome = read(&self.bytes(), self.snapshot.as_ref()).expect("memory can be read");
        outcome.recovered.as_ref().ok()?;
        self.write_fresh(&outcome.plan, Interrupted::Never);
        self.begin_run();
        Some(outcome)
    }

    /// The first entries of a run: it numbers itself and leads in new epochs.
    pub(crate) fn begin_run(&mut self) {
        self.push(Entry::Started { boot: self.model.boot + 1, is_doubtful: false }, None);
        let led: Vec<TopicPartition> = self.model.partitions.keys().copied().collect();
        for partition in led {
            self.begin_epoch(partition);
        }
    }

    /// Writes what is accepted above the vouched lsn into a fresh file: groups, sync, header, sync.
    pub(crate) fn write_fresh(&mut self, plan: &Plan, interrupted: Interrupted) {
        let (seq, salt) = (plan.next_seq, self.random.next_u64());
        self.next_seq = seq + 1;
        let old = self.bytes();
        let recycle = self.random.next_u64().is_multiple_of(2);
        let spare = if recycle { self.take_spare(FILE_BYTES) } else { None };
        self.files.insert(seq, spare.unwrap_or_else(|| empty(FILE_BYTES)));
        self.current = (seq, salt, FILE_HEADER_BYTES);
        let first = plan.fresh_first_lsn();
        let mut fresh = Vec::new();
        for group in plan.rewrite() {
            let (start, position) = (group.position as usize, self.current.2);
            let mut bytes = old[&group.seq][start..start + group.prefix.padded_bytes()].to_vec();
            let place = plan.fresh_place(salt, position as u64);
            let prefix = rewrite_group(&mut bytes, place).expect("an accepted group is a group");
            self.put(seq, position, &bytes);
            self.current.2 += bytes.len();
            fresh.push(Written { seq, position, prefix, bytes });
        }
        if interrupted == Interrupted::AfterGroups {
            return;
        }
        self.sync_file(seq);
        if interrupted == Interrupted::AfterSync {
            return;
        }
        let durable = if self.header_vouches { plan.end } else { Lsn(first.0 - 1) };
        let header = self.header(seq, salt, first, durable);
        self.put(seq, 0, &header.encode());
        if interrupted == Interrupted::AfterHeader {
            return;
        }
        self.sync_file(seq);
        let kept = |group: &Written| {
            let cut = group.prefix.first_lsn;
            cut < first || cut == first && group.prefix.entries == 0
        };
        let (kept, voided): (Vec<_>, Vec<_>) = self.groups.drain(..).partition(kept);
        self.groups = kept;
        let accepted = |group: &Written| group.prefix.last_lsn() <= plan.end;
        self.copied.extend(voided.into_iter().filter(accepted).map(|group| (group, seq)));
        self.groups.extend(fresh);
        self.truth.truncate(plan.end.0 as usize);
        self.model = Model::default();
        for (entry, _) in &self.truth {
            self.model.apply(entry);
        }
        self.written = plan.end.0;
        self.synced = plan.end.0;
    }
}

fn empty(capacity: usize) -> Stored {
    Stored { cache: vec![0; capacity], disk: vec![0; capacity] }
}

/// A snapshot as a broker in this state would take it.
pub(crate) fn snapshot_of(state: &Recovered) -> Snapshot {
    let known = state.partitions.iter().filter(|(_, held)| held.log.latest_epoch().is_some());
    let partitions = known.map(|(&partition, held)| PartitionSnapshot {
        partition,
        log: held.log.to_snapshot(),
        high_watermark: held.high_watermark,
        damage: held.damage,
    });
    Snapshot {
        through: state.end,
        boot: state.boot,
        quorum: state.quorum.clone(),
        partitions: partitions.collect(),
        drops: state.drops.iter().map(|(&topic_id, &partitions)| (topic_id, partitions)).collect(),
        doubtful: state.doubtful.iter().copied().collect(),
    }
}
