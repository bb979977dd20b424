//! Which batches stand where, as long as they are not only in segments; and the tail cache, which is nothing but the groups'
//! own buffers.
//!
//! ```text
//! groups     | evicted, in segments: gone | evicted | in memory | in memory | being filled |
//! a batch's  |          segments          | journal |            its group's buffer         |
//! ```
//!
//! A batch leaves the index when a synced segment holds it and its group's buffer is evicted, or when a cut takes it away.
//! Eviction takes whole groups, oldest first; it loses nothing, because what is evicted stands in a journal file or in a
//! segment.

use bytes::Bytes;
use seedlog_core::ids::{LeaderEpoch, Lsn, Offset, TopicPartition, Uuid};
use seedlog_core::journal::AppendEntry;
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

mod rounds;
pub(super) use rounds::{GroupPlace, Job, Source};

/// An open journal file. Clones of the `Arc` are what keeps it from being recycled (SAFETY R8).
#[derive(Debug)]
pub(super) struct JournalFile<F> {
    pub(super) seq: u64,
    pub(super) file: F,
}

/// Where a written group stands.
#[derive(Debug)]
pub(super) struct Home<F> {
    pub(super) file: Arc<JournalFile<F>>,
    pub(super) position: u64,
}

impl<F> Clone for Home<F> {
    fn clone(&self) -> Self {
        Self { file: Arc::clone(&self.file), position: self.position }
    }
}

/// Number of a group that holds batches; counts from the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupNumber(u64);

/// One batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) max_timestamp: i64,
    group: GroupNumber,
    /// Bytes from the start of the group.
    pub(super) at: u32,
    pub(super) bytes: u32,
    pub(super) epoch: LeaderEpoch,
    pub(super) roll: bool,
}

impl Batch {
    /// It has no records: what a cleaning pass left of others, copied from a leader.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes as usize == BATCH_HEADER_BYTES
    }
}

/// Where a batch can be read.
#[derive(Debug)]
pub(super) enum Place<F> {
    /// Here it is.
    Memory(Bytes),
    /// In a journal file, from this position on.
    Journal(Arc<JournalFile<F>>, u64),
    /// Only in a segment: [`Index`] does not know where.
    Segment,
    /// Its group is not complete: nobody may see it.
    Unfinished,
}

#[derive(Debug)]
struct Group<F> {
    /// The last lsn; the greatest there is while the group is being filled.
    last_lsn: Lsn,
    bytes: Option<Bytes>,
    memory_bytes: usize,
    home: Option<Home<F>>,
    /// While it is being filled: its batches as they came, for those who may read ahead of the journal.
    loose: Vec<Loose>,
    /// The operating system has it.
    written: bool,
    /// Batches that no synced segment holds.
    unsegmented: u32,
    unsegmented_bytes: u64,
    partitions: BTreeSet<TopicPartition>,
}

/// A batch of a group that is being filled: its stamped header, and the batch as the client sent it.
#[derive(Debug)]
struct Loose {
    at: u32,
    header: BatchHeader,
    batch: Bytes,
}

#[derive(Debug, Default)]
struct Partition {
    batches: VecDeque<Batch>,
    /// So many batches at the front are in synced segments.
    segmented: usize,
    /// So many batches behind those are being written to segments.
    planned: usize,
}

/// The index of batches.
#[derive(Debug)]
pub(super) struct Index<F> {
    partitions: BTreeMap<TopicPartition, Partition>,
    groups: VecDeque<Group<F>>,
    /// Number of the first group of `groups`.
    first_group: u64,
    /// The last entry of the group before that: all its batches, and those before them, are in segments.
    gone_through: Lsn,
    /// Groups before this one have no buffer.
    evicted_to: u64,
    batches: usize,
    cached_bytes: usize,
    /// Batches that no synced segment holds, and their bytes.
    unsegmented: usize,
    unsegmented_bytes: u64,
    /// The last partition that a round of a part of them wrote to: the next one goes on behind it.
    round_at: Option<TopicPartition>,
}

impl<F> Index<F> {
    pub(super) fn new() -> Self {
        Self {
            partitions: BTreeMap::new(),
            groups: VecDeque::new(),
            first_group: 0,
            gone_through: Lsn::ZERO,
            evicted_to: 0,
            batches: 0,
            cached_bytes: 0,
            unsegmented: 0,
            unsegmented_bytes: 0,
            round_at: None,
        }
    }

    /// Begins a group that is about to be filled.
    pub(super) fn begin_group(&mut self) -> GroupNumber {
        self.groups.push_back(Group {
            last_lsn: Lsn(u64::MAX),
            bytes: None,
            memory_bytes: 0,
            home: None,
            loose: Vec::new(),
            written: false,
            unsegmented: 0,
            unsegmented_bytes: 0,
            partitions: BTreeSet::new(),
        });
        GroupNumber(self.first_group + self.groups.len() as u64 - 1)
    }

    /// Adds a batch to a group that is being filled.
    pub(super) fn push(&mut self, group: GroupNumber, append: &AppendEntry, at: u32, max_timestamp: i64) {
        let batch = Batch {
            base: append.base_offset,
            next: append.next_offset(),
            max_timestamp,
            group,
            at,
            bytes: append.batch_bytes,
            epoch: append.epoch,
            roll: append.roll,
        };
        let partition = self.partitions.entry(append.partition).or_default();
        assert!(
            partition.batches.back().is_none_or(|last| last.next <= batch.base),
            "a partition's batches come in the order of their offsets"
        );
        partition.batches.push_back(batch);
        self.batches += 1;
        self.unsegmented += 1;
        self.unsegmented_bytes += u64::from(append.batch_bytes);
        let group = self.group_mut(group).expect("a group that is being filled is in the index");
        group.unsegmented += 1;
        group.unsegmented_bytes += u64::from(append.batch_bytes);
        group.partitions.insert(append.partition);
    }

    /// Keeps a batch as it came until its group is complete, so that it can be sent to peers at once.
    pub(super) fn keep_loose(&mut self, group: GroupNumber, at: u32, header: BatchHeader, batch: Bytes) {
        let group = self.group_mut(group).expect("a group that is being filled is in the index");
        group.loose.push(Loose { at, header, batch });
    }

    /// A group is complete and has its place. It can be read from its buffer at once, from its file once it is written.
    pub(super) fn complete(
        &mut self,
        number: GroupNumber,
        last_lsn: Lsn,
        home: Home<F>,
        buffer: Option<(Bytes, usize)>,
    ) {
        let memory = buffer.as_ref().map_or(0, |(_, memory)| *memory);
        let group = self.group_mut(number).expect("a group stays in the index until it is written");
        group.last_lsn = last_lsn;
        group.home = Some(home);
        group.loose = Vec::new();
        group.written = buffer.is_none();
        group.bytes = buffer.map(|(bytes, _)| bytes);
        group.memory_bytes = memory;
        self.cached_bytes += memory;
        if self.group(number).is_some_and(|group| group.unsegmented == 0) {
            self.release_home(number);
        }
    }

    /// The operating system has the group's bytes.
    pub(super) fn written(&mut self, number: GroupNumber) {
        if let Some(group) = self.group_mut(number) {
            group.written = true;
        }
    }

    /// Evicts buffers, oldest first: until no more than `cached_max` bytes are cached, and until the index takes no more than
    /// `index_max` bytes itself as far as that helps.
    pub(super) fn evict(&mut self, cached_max: usize, index_max: usize) {
        loop {
            let number = GroupNumber(self.evicted_to.max(self.first_group));
            let Some(group) = self.group(number).filter(|group| group.written) else { break };
            // A batch that is in no segment stays in the index in any case.
            let index_shrinks = group.unsegmented == 0;
            let is_due = self.cached_bytes > cached_max || self.memory_bytes() > index_max && index_shrinks;
            if !is_due {
                break;
            }
            self.evict_group(number);
        }
    }

    fn evict_group(&mut self, number: GroupNumber) {
        let Some(group) = self.group_mut(number) else { return };
        group.bytes = None;
        let memory = std::mem::take(&mut group.memory_bytes);
        let partitions: Vec<TopicPartition> = group.partitions.iter().copied().collect();
        self.cached_bytes -= memory;
        self.evicted_to = number.0 + 1;
        for partition in partitions {
            self.prune(partition);
        }
        self.pop_groups();
    }

    /// The partition's log ends at `to` from here on: what lies behind goes.
    pub(super) fn cut(&mut self, partition: TopicPartition, to: Offset) {
        let Some(held) = self.partitions.get_mut(&partition) else { return };
        let keep = held.batches.partition_point(|batch| batch.next <= to);
        let gone: Vec<Batch> = held.batches.drain(keep..).collect();
        let in_segments = held.segmented.saturating_sub(keep);
        held.segmented -= in_segments;
        held.planned = held.planned.min(keep - held.segmented);
        self.batches -= gone.len();
        for batch in &gone[in_segments..] {
            self.leave_group(batch.group, 1, batch.bytes.into());
        }
        self.prune(partition);
        self.pop_groups();
    }

    /// Takes away what ends at `to` or before: it is in segments, whatever is known here.
    pub(super) fn take_front(&mut self, partition: TopicPartition, to: Offset) {
        let Some(held) = self.partitions.get_mut(&partition) else { return };
        let count = held.batches.partition_point(|batch| batch.next <= to);
        let gone: Vec<Batch> = held.batches.drain(..count).collect();
        let in_segments = held.segmented.min(count);
        held.segmented -= in_segments;
        self.batches -= gone.len();
        for batch in &gone[in_segments..] {
            self.leave_group(batch.group, 1, batch.bytes.into());
        }
        self.prune(partition);
        self.pop_groups();
    }

    /// Forgets everything of a topic.
    pub(super) fn drop_topic(&mut self, topic_id: Uuid) {
        let of_topic: Vec<TopicPartition> =
            self.partitions.keys().copied().filter(|partition| partition.topic_id == topic_id).collect();
        for partition in of_topic {
            self.drop_partition(partition);
        }
        self.pop_groups();
    }

    /// Keeps only the partitions that `keep` names.
    pub(super) fn retain(&mut self, keep: impl Fn(TopicPartition) -> bool) {
        let others: Vec<TopicPartition> =
            self.partitions.keys().copied().filter(|partition| !keep(*partition)).collect();
        for partition in others {
            self.drop_partition(partition);
        }
        self.pop_groups();
    }

    fn drop_partition(&mut self, partition: TopicPartition) {
        let Some(held) = self.partitions.remove(&partition) else { return };
        self.batches -= held.batches.len();
        for batch in held.batches.range(held.segmented..) {
            self.leave_group(batch.group, 1, batch.bytes.into());
        }
    }

    /// Batches no longer need their group's place in the journal.
    fn leave_group(&mut self, number: GroupNumber, batches: u32, bytes: u64) {
        self.unsegmented -= batches as usize;
        self.unsegmented_bytes -= bytes;
        let group = self.group_mut(number).expect("a group stays while a batch of it is in no segment");
        group.unsegmented -= batches;
        group.unsegmented_bytes -= bytes;
        if group.unsegmented == 0 {
            self.release_home(number);
        }
    }

    /// Lets go of the journal file of a group that is in segments, unless its write is still under way.
    fn release_home(&mut self, number: GroupNumber) {
        if let Some(group) = self.group_mut(number) {
            group.home = None;
        }
    }

    /// Batches in segments whose buffers are evicted leave from the front.
    fn prune(&mut self, partition: TopicPartition) {
        let Some(held) = self.partitions.get_mut(&partition) else { return };
        while held.segmented > 0 {
            let number = held.batches.front().expect("segmented batches are in the list").group;
            let cached = number
                .0
                .checked_sub(self.first_group)
                .and_then(|at| self.groups.get(usize::try_from(at).ok()?))
                .is_some_and(|group| group.bytes.is_some());
            if cached {
                break;
            }
            held.batches.pop_front();
            held.segmented -= 1;
            self.batches -= 1;
        }
        if held.batches.is_empty() {
            self.partitions.remove(&partition);
        }
    }

    fn pop_groups(&mut self) {
        while let Some(front) = self.groups.front() {
            let done = front.written && front.bytes.is_none() && front.unsegmented == 0;
            if !done {
                break;
            }
            self.gone_through = front.last_lsn;
            self.groups.pop_front();
            self.first_group += 1;
        }
    }

    /// Batches from the one that holds `from` up to the end. Empty when none holds it.
    pub(super) fn from(&self, partition: TopicPartition, from: Offset) -> impl Iterator<Item = &Batch> {
        let held = self.partitions.get(&partition);
        let at = held.map_or(0, |held| held.batches.partition_point(|batch| batch.next <= from));
        let found = held.and_then(|held| held.batches.get(at)).is_some_and(|first| first.base <= from);
        held.filter(|_| found).into_iter().flat_map(move |held| held.batches.range(at..))
    }

    /// Batches of a partition that end behind `from`, whether or not one holds it.
    pub(super) fn behind(&self, partition: TopicPartition, from: Offset) -> impl Iterator<Item = &Batch> {
        let held = self.partitions.get(&partition);
        let at = held.map_or(0, |held| held.batches.partition_point(|batch| batch.next <= from));
        held.into_iter().flat_map(move |held| held.batches.range(at..))
    }

    /// Where a batch can be read.
    pub(super) fn place(&self, batch: &Batch) -> Place<F> {
        let Some(group) = self.group(batch.group) else { return Place::Segment };
        if let Some(bytes) = &group.bytes {
            let at = batch.at as usize;
            return Place::Memory(bytes.slice(at..at + batch.bytes as usize));
        }
        match &group.home {
            Some(home) => Place::Journal(Arc::clone(&home.file), home.position + u64::from(batch.at)),
            None if group.written => Place::Segment,
            None => Place::Unfinished,
        }
    }

    /// A batch of the same group stands right behind this one in its bytes.
    pub(super) fn follows(first: &Batch, second: &Batch) -> bool {
        first.group == second.group && first.at + first.bytes == second.at
    }

    /// The buffer of a batch's group and where the batch stands in it.
    pub(super) fn buffer(&self, batch: &Batch) -> Option<(&Bytes, usize)> {
        Some((self.group(batch.group)?.bytes.as_ref()?, batch.at as usize))
    }

    /// A batch of a group that is not complete: its stamped header, and its bytes as they came.
    pub(super) fn loose(&self, batch: &Batch) -> Option<(&BatchHeader, &Bytes)> {
        let loose = &self.group(batch.group)?.loose;
        let found = loose.get(loose.binary_search_by_key(&batch.at, |loose| loose.at).ok()?)?;
        Some((&found.header, &found.batch))
    }

    /// Every batch up to `lsn` is in synced segments.
    pub(super) fn is_segmented_through(&self, lsn: Lsn) -> bool {
        // A group's first lsn is the one after its predecessor's last, but groups without batches are not listed: a group
        // is looked at when its last lsn may reach below, which asks for too much at worst.
        let mut floor = self.gone_through;
        for group in &self.groups {
            if floor >= lsn {
                return true;
            }
            if group.unsegmented > 0 {
                return false;
            }
            floor = group.last_lsn;
        }
        true
    }

    /// The offset after the last batch of a partition here.
    pub(super) fn end(&self, partition: TopicPartition) -> Option<Offset> {
        Some(self.partitions.get(&partition)?.batches.back()?.next)
    }

    pub(super) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Bytes of batches that no synced segment holds.
    pub(super) fn unsegmented_bytes(&self) -> u64 {
        self.unsegmented_bytes
    }

    /// Memory that the index takes for batches that no synced segment holds, about.
    pub(super) fn unsegmented_memory_bytes(&self) -> usize {
        self.unsegmented * size_of::<Batch>()
    }

    /// Memory that the index itself takes, about.
    pub(super) fn memory_bytes(&self) -> usize {
        self.batches * size_of::<Batch>() + self.partitions.len() * size_of::<(TopicPartition, Partition)>()
    }

    fn group(&self, number: GroupNumber) -> Option<&Group<F>> {
        self.groups.get(usize::try_from(number.0.checked_sub(self.first_group)?).ok()?)
    }

    fn group_mut(&mut self, number: GroupNumber) -> Option<&mut Group<F>> {
        self.groups.get_mut(usize::try_from(number.0.checked_sub(self.first_group)?).ok()?)
    }
}
