//! A small stand-in for the core: it writes what a core would write, remembers every batch, and checks what comes back.

use bytes::Bytes;
use seedlog::store::disk::Disk;
use seedlog::store::real_disk::{RealDisk, RealDiskOptions};
use seedlog::store::{OpenReport, Store, StoreError, StoreEvent, StoreOptions};
use seedlog_core::cluster::records::{MetadataRecord, PartitionState};
use seedlog_core::cluster::snapshot::{PartitionSnapshot, QuorumSnapshot, Snapshot};
use seedlog_core::cluster::topic_config::TopicConfig;
use seedlog_core::config::FlushMode;
use seedlog_core::ids::{
    Generation, LeaderEpoch, Lsn, NodeId, Offset, OpId, PartitionIndex, TopicPartition, Uuid,
};
use seedlog_core::journal::{AppendEntry, Entry, QuorumChain};
use seedlog_core::log::Log;
use seedlog_core::output::{Extent, StoreCommand};
use seedlog_core::quorum::log::{MetadataEntry, MetadataLog};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchBuilder, BatchHeader};
use seedlog_core::recovered::Recovered;
use seedlog_core::time::WallMs;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The only term.
const EPOCH: LeaderEpoch = LeaderEpoch(1);

/// A batch as it must read back.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    pub(crate) bytes: Bytes,
}

/// A store with a model of what is in it.
pub(crate) struct Node<D: Disk> {
    pub(crate) store: Store<D>,
    pub(crate) report: OpenReport,
    pub(crate) recovered: Recovered,
    pub(crate) model: Model,
}

/// What was written, across restarts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) partitions: BTreeMap<TopicPartition, Vec<Expected>>,
    /// The entries of the metadata log.
    pub(crate) metadata: Vec<Vec<u8>>,
    pub(crate) synced: Lsn,
    pub(crate) last: Lsn,
    pub(crate) next_op: u64,
    /// Where logs begin that were reset, or whose starts were moved.
    pub(crate) starts: BTreeMap<TopicPartition, Offset>,
    /// Everything that was done to logs, by the number of its entry.
    pub(crate) history: Vec<(Lsn, TopicPartition, Act)>,
    /// What is appended after a cut differs from what was there before.
    pub(crate) cuts: i32,
}

/// What was done to a log.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Append(Expected),
    Cut(Offset),
    Reset(Offset),
    Start(Offset),
    Drop,
}

impl Model {
    /// A log's state after all that its history says.
    fn act(&mut self, partition: TopicPartition, act: Act) {
        let batches = self.partitions.get_mut(&partition).expect("it was created");
        match act {
            Act::Append(batch) => batches.push(batch),
            Act::Cut(to) => batches.retain(|batch| batch.next <= to),
            Act::Drop => {
                batches.clear();
                self.starts.remove(&partition);
            }
            Act::Reset(start) => {
                batches.clear();
                self.starts.insert(partition, start);
            }
            Act::Start(start) => {
                batches.retain(|batch| batch.next > start);
                self.starts.insert(partition, start);
            }
        }
    }

    /// As it was after the entry `end`.
    fn roll_back(&mut self, end: Lsn) {
        self.partitions.values_mut().for_each(Vec::clear);
        self.starts.clear();
        self.history.retain(|(lsn, _, _)| *lsn <= end);
        for (_, partition, act) in self.history.clone() {
            self.act(partition, act);
        }
    }
}

pub(crate) const NODE: NodeId = NodeId(1);

pub(crate) fn topic(number: u8) -> Uuid {
    Uuid([number; 16])
}

pub(crate) fn partition(topic_number: u8, index: i32) -> TopicPartition {
    TopicPartition { topic_id: topic(topic_number), partition: PartitionIndex(index) }
}

/// Small files, so that little data goes a long way.
pub(crate) fn options(dir: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(dir.to_owned(), NODE, Uuid([0x1; 16]));
    options.journal_file_bytes = 256 << 10;
    options.write_behind_bytes = 128 << 10;
    options.tail_cache_bytes = 2 << 20;
    options.cold_cache_bytes = 1 << 20;
    options
}

pub(crate) fn real_disk(direct: bool) -> RealDisk {
    RealDisk::new(RealDiskOptions { direct, cold_read_threads: 2 }).expect("threads start")
}

pub(crate) fn salts(seed: u64) -> Box<dyn FnMut() -> u64 + Send> {
    let mut state = seed;
    Box::new(move || {
        // SplitMix64: good enough to tell files apart in a test.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 27)
    })
}

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("it ends") })
}

impl<D: Disk> Node<D> {
    pub(crate) async fn open(options: StoreOptions, disk: D, model: Model) -> Result<Self, StoreError> {
        let seed = model.last.0 * 1000 + 17;
        let (store, recovered, report) = Store::open(options, disk, salts(seed)).await?;
        let mut model = model;
        model.last = recovered.end;
        model.synced = recovered.end;
        let known = usize::try_from(recovered.quorum.log.log.end.0).expect("few");
        model.metadata.truncate(known);
        assert_eq!(model.metadata.len(), known, "metadata is not invented");
        Ok(Self { store, report, recovered, model })
    }

    /// Opens a folder and cuts the model to what came back, which must reach at least `acknowledged`.
    pub(crate) async fn reopen(options: StoreOptions, disk: D, model: Model) -> Self {
        let acknowledged = model.synced;
        let mut node = Self::open(options, disk, model).await.expect("it opens");
        assert!(node.recovered.end >= acknowledged, "{} < {acknowledged}", node.recovered.end);
        node.cut_model();
        node
    }

    /// The model holds what the recovered logs say, no more; what is gone was never acknowledged.
    pub(crate) fn cut_model(&mut self) {
        self.model.roll_back(self.recovered.end);
        for partition in self.model.partitions.keys().copied().collect::<Vec<_>>() {
            let held = self.recovered.partitions.get(&partition);
            let end = held.map_or(Offset(0), |held| held.log.end());
            if held.is_none_or(|held| held.damage.is_some()) {
                self.model.history.push((self.recovered.end, partition, Act::Cut(end)));
                self.model.act(partition, Act::Cut(end));
            }
            assert_eq!(self.end(partition), end, "the log is what its entries say");
        }
    }

    pub(crate) fn entry(&mut self, entry: &Entry) {
        self.model.last = self.store.push(entry, None);
    }

    fn metadata(&mut self, records: &[MetadataRecord]) {
        let offset = Offset(i64::try_from(self.model.metadata.len()).expect("few"));
        let records = MetadataRecord::encode(records);
        self.model.metadata.push(records.clone());
        self.entry(&Entry::Metadata { offset, epoch: EPOCH, records });
    }

    pub(crate) fn create_topic(&mut self, number: u8, partitions: i32) {
        if self.model.metadata.is_empty() {
            self.metadata(&[MetadataRecord::LeaderChange { leader: NODE, epoch: EPOCH }]);
        }
        let topic_id = topic(number);
        let name = format!("topic-{number}");
        let config = TopicConfig::default();
        let mut records = vec![MetadataRecord::Topic { topic_id, name, config, min_insync_replicas: 1 }];
        for index in 0..partitions {
            records.push(MetadataRecord::Partition {
                topic_id,
                partition: PartitionIndex(index),
                replicas: vec![NODE],
                state: PartitionState::first(NODE, vec![NODE]),
            });
            self.model.partitions.insert(partition(number, index), Vec::new());
        }
        self.metadata(&records);
        self.store.end_step();
    }

    pub(crate) fn end(&self, partition: TopicPartition) -> Offset {
        self.model.partitions[&partition].last().map_or(self.start(partition), |last| last.next)
    }

    pub(crate) fn start(&self, partition: TopicPartition) -> Offset {
        self.model.starts.get(&partition).copied().unwrap_or(Offset(0))
    }

    /// Where a log may be cut, in order.
    pub(crate) fn boundaries(&self, partition: TopicPartition) -> Vec<Offset> {
        let batches = &self.model.partitions[&partition];
        // A start within a batch is no place for a cut.
        let start =
            Some(self.start(partition)).filter(|&start| batches.first().is_none_or(|b| b.base == start));
        start.into_iter().chain(batches.iter().map(|batch| batch.next)).collect()
    }

    pub(crate) fn cut(&mut self, partition: TopicPartition, to: Offset) {
        self.entry(&Entry::Cut { partition, to });
        self.acted(partition, Act::Cut(to));
    }

    pub(crate) fn reset(&mut self, partition: TopicPartition, start: Offset) {
        self.entry(&Entry::Reset {
            partition,
            start,
            producers: Vec::new(),
            tombstones_gone_to: Offset::ZERO,
        });
        self.acted(partition, Act::Reset(start));
    }

    pub(crate) fn move_start(&mut self, partition: TopicPartition, start: Offset) {
        self.entry(&Entry::LogStart { partition, start });
        self.acted(partition, Act::Start(start));
    }

    /// Drops a topic, as far as its begin in the journal or to the end.
    pub(crate) async fn drop_topic(&mut self, number: u8, partitions: i32, is_done: bool) {
        let topic_id = topic(number);
        self.entry(&Entry::Dropping { topic_id, partitions });
        for index in 0..partitions {
            self.acted(partition(number, index), Act::Drop);
        }
        self.sync().await;
        if is_done {
            let op = self.op();
            self.store.command(op, StoreCommand::Drop { topic_id, partitions });
            assert_eq!(self.done(op).await, StoreEvent::StoreDone { op, result: Ok(()) });
            self.entry(&Entry::Dropped { topic_id });
            self.sync().await;
        }
    }

    fn acted(&mut self, partition: TopicPartition, act: Act) {
        self.store.end_step();
        self.model.cuts += i32::from(!matches!(act, Act::Append(_)));
        self.model.history.push((self.model.last, partition, act.clone()));
        self.model.act(partition, act);
    }

    /// Appends a batch of `records` records of `bytes` bytes each.
    pub(crate) fn append(&mut self, partition: TopicPartition, records: usize, bytes: usize, roll: bool) {
        let base = self.end(partition);
        let mut builder = BatchBuilder::new();
        for record in 0..records {
            let mark = format!("{partition}/{}/{}/", base.0 + record as i64, self.model.cuts);
            let mut value = mark.into_bytes();
            value.resize(bytes.max(value.len()), b'x');
            builder.add(1_000 + base.0 * 10 + record as i64, None, Some(&value), &[]);
        }
        self.append_batch(partition, &builder.finish(), roll);
    }

    pub(crate) fn append_batch(&mut self, partition: TopicPartition, batch: &[u8], roll: bool) {
        let base = self.end(partition);
        let mut header = BatchHeader::parse(batch).expect("a batch");
        let epoch = LeaderEpoch(1 + self.model.cuts);
        header.base_offset = base;
        header.leader_epoch = epoch;
        let append = AppendEntry {
            partition,
            base_offset: base,
            offsets: u32::try_from(header.last_offset_delta + 1).expect("few"),
            epoch,
            batch_bytes: header.batch_bytes,
            crc: header.crc,
            roll,
            append_time: WallMs(5_000),
        };
        let lsn = self.store.push(&Entry::Append(append), Some((&header, &Bytes::copy_from_slice(batch))));
        let mut stamped = [0; BATCH_HEADER_BYTES];
        header.write(&mut stamped);
        let mut bytes = batch.to_vec();
        bytes[..BATCH_HEADER_BYTES].copy_from_slice(&stamped);
        let expected = Expected { base, next: append.next_offset(), bytes: bytes.into() };
        self.model.last = lsn;
        self.acted(partition, Act::Append(expected));
    }

    /// Flushes and waits until everything is synced; gives the other events that came.
    pub(crate) async fn sync(&mut self) -> Vec<StoreEvent> {
        self.store.flush();
        let mut others = Vec::new();
        while self.model.synced < self.model.last {
            match self.store.next_event().await {
                StoreEvent::Durable { written, synced } => {
                    assert!(synced <= written);
                    assert!(synced >= self.model.synced);
                    self.model.synced = synced;
                }
                StoreEvent::DiskFailed { reason } => panic!("the disk failed: {reason}"),
                other @ (StoreEvent::ReadDone { .. }
                | StoreEvent::BatchesRead { .. }
                | StoreEvent::StoreDone { .. }
                | StoreEvent::LogsMeasured { .. }
                | StoreEvent::Compacted { .. }
                | StoreEvent::Damaged { .. }
                | StoreEvent::Space { .. }
                | StoreEvent::Room) => {
                    others.push(other);
                }
            }
        }
        others
    }

    /// Waits for the end of an operation.
    pub(crate) async fn done(&mut self, op: OpId) -> StoreEvent {
        loop {
            let event = self.store.next_event().await;
            match &event {
                StoreEvent::ReadDone { op: done, .. }
                | StoreEvent::BatchesRead { op: done, .. }
                | StoreEvent::StoreDone { op: done, .. }
                | StoreEvent::LogsMeasured { op: done, .. }
                | StoreEvent::Compacted { op: done, .. }
                    if *done == op =>
                {
                    return event;
                }
                StoreEvent::Durable { synced, .. } => self.model.synced = *synced,
                StoreEvent::DiskFailed { reason } => panic!("the disk failed: {reason}"),
                StoreEvent::ReadDone { .. }
                | StoreEvent::BatchesRead { .. }
                | StoreEvent::StoreDone { .. }
                | StoreEvent::LogsMeasured { .. }
                | StoreEvent::Compacted { .. }
                | StoreEvent::Damaged { .. }
                | StoreEvent::Space { .. }
                | StoreEvent::Room => {}
            }
        }
    }

    /// Lets the store do what it has to do for a while.
    pub(crate) async fn idle(&mut self, time: Duration) {
        let work = async {
            loop {
                match self.store.next_event().await {
                    StoreEvent::Durable { synced, .. } => self.model.synced = synced,
                    StoreEvent::DiskFailed { reason } => panic!("the disk failed: {reason}"),
                    StoreEvent::ReadDone { .. }
                    | StoreEvent::BatchesRead { .. }
                    | StoreEvent::StoreDone { .. }
                    | StoreEvent::LogsMeasured { .. }
                    | StoreEvent::Compacted { .. }
                    | StoreEvent::Damaged { .. }
                    | StoreEvent::Space { .. }
                    | StoreEvent::Room => {}
                }
            }
        };
        drop(tokio::time::timeout(time, work).await);
    }

    pub(crate) fn op(&mut self) -> OpId {
        self.model.next_op += 1;
        OpId(self.model.next_op)
    }

    /// The core's part of a snapshot, as the model has it.
    pub(crate) fn snapshot(&self) -> Box<Snapshot> {
        let mut log = MetadataLog::new(Default::default());
        let mut chain = QuorumChain::default();
        for records in &self.model.metadata {
            let entry = log.append(MetadataEntry { epoch: EPOCH, records: records.clone() });
            chain = chain.with(&entry);
        }
        let quorum = QuorumSnapshot { log: log.to_snapshot(), chain, ..QuorumSnapshot::default() };
        let partitions = self.model.partitions.iter().map(|(&partition, batches)| {
            let mut log = Log::new(Generation(0));
            log.reset_to(self.start(partition), Offset::ZERO);
            for batch in batches {
                log.append(&BatchHeader::parse(&batch.bytes).expect("a batch"), WallMs(5_000));
            }
            PartitionSnapshot { partition, high_watermark: log.start(), log: log.to_snapshot(), damage: None }
        });
        Box::new(Snapshot {
            through: self.model.last,
            boot: 1,
            quorum,
            partitions: partitions.collect(),
            drops: Vec::new(),
            doubtful: Vec::new(),
        })
    }

    /// Takes a snapshot and waits for it.
    pub(crate) async fn take_snapshot(&mut self) {
        self.sync().await;
        let op = self.op();
        let snapshot = self.snapshot();
        self.store.command(op, StoreCommand::Snapshot { snapshot });
        let done = self.done(op).await;
        assert_eq!(done, StoreEvent::StoreDone { op, result: Ok(()) });
    }

    pub(crate) fn extent(&self, partition: TopicPartition, from: Offset, bytes_max: u32) -> Extent {
        Extent { partition, generation: Generation(0), from, to: self.end(partition), bytes_max }
    }

    /// Reads every partition from its start to its end in steps of `bytes_max` and compares.
    pub(crate) async fn check_all(&self, bytes_max: u32) {
        for (&partition, batches) in &self.model.partitions {
            let mut read = Vec::new();
            let mut from = self.start(partition);
            while from < self.end(partition) {
                let lease = self.store.lease(&self.extent(partition, from, bytes_max));
                let chain = match lease.resolve_now(bytes_max, true) {
                    Some(chain) => chain,
                    None => lease.resolve(bytes_max, true).await.unwrap_or_else(|error| {
                        panic!("{partition} from {from}: {error}");
                    }),
                };
                let start = read.len();
                chain.iter().for_each(|bytes| read.extend_from_slice(bytes));
                let next = batches.iter().take_while({
                    let mut at =
                        batches.iter().take_while(|b| b.next <= from).map(|b| b.bytes.len()).sum::<usize>();
                    assert_eq!(at, start, "reads go on where they stopped");
                    let end = read.len();
                    move |batch| {
                        if batch.next > from {
                            at += batch.bytes.len();
                        }
                        at <= end
                    }
                });
                let next = next.last().map_or(from, |batch| batch.next);
                assert!(next > from, "{partition}: a read from {from} gives nothing");
                let largest = batches.iter().map(|batch| batch.bytes.len()).max().unwrap_or(0);
                assert!(read.len() - start <= (bytes_max as usize).max(largest), "the limit is kept");
                from = next;
            }
            let expected: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes.to_vec()).collect();
            assert!(read == expected, "{partition}: {} bytes read, {} expected", read.len(), expected.len());
        }
    }
}

/// Opens again in the same process: what the operating system was still given to do ends first.
pub(crate) async fn open_when_free<D: Disk>(options: &StoreOptions, disk: D, model: Model) -> Node<D> {
    loop {
        match Node::open(options.clone(), disk.clone(), model.clone()).await {
            Err(StoreError::InUse(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Ok(mut node) => {
                assert!(node.recovered.end >= model.synced, "{} < {}", node.recovered.end, model.synced);
                node.cut_model();
                return node;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn interval(options: &mut StoreOptions, every: Duration) {
    options.flush = FlushMode::Interval;
    options.flush_interval = every;
}
