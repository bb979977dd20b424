//! Coordinating: for each partition of `__consumer_offsets` that this node leads, its groups, from the load of the log to the
//! end of the leadership (SAFETY C1).
//!
//! ```text
//!   leads ──► Waiting ── its epoch is committed ──► Reading ── log's end ──► Active ── leads no more ──► gone
//!                                                    ▲   │
//!                                                    └───┘ a piece of the log
//! ```
//!
//! Nobody else appends to these partitions, so what was read when a leader's epoch is committed is all there is.

use super::Broker;
use super::group_topics::GroupTopics;
use super::timers::Timer;
use super::waits::{Answer, WaitPart};
use crate::errors::ErrorCode;
use crate::group::records::{GroupRecord, RecordProblem};
use crate::group::{Effects, Groups, OFFSETS_TOPIC};
use crate::ids::{ConnId, Offset, OpId, RequestNumber, TopicPartition};
use crate::museum::exhibit;
use crate::output::{Extent, Output, Outputs};
use crate::records::{BATCH_HEADER_BYTES, BatchBuilder, Compression, ProducedBatch, RecordIter};
use crate::replica::{Leader, Until, WaiterId};
use crate::wire::{Response, Str};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

/// How long after a failed read of the log it is read again, in ms.
const LOAD_RETRY_MS: u64 = 1_000;
/// Groups that are looked at in one step, for what is due or may be forgotten.
const LOOKED_AT_MAX: usize = 100;
/// How long until the next ones are, in ms.
const PAUSE_MS: u64 = 50;

/// All that this node coordinates.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Coordinators {
    by_partition: BTreeMap<TopicPartition, Coordinator>,
    /// Those whose logs are not committed yet.
    waiting: BTreeSet<TopicPartition>,
    /// Requests that wait for other members.
    parked: BTreeMap<WaiterId, Parked>,
    reads: BTreeMap<OpId, TopicPartition>,
    expiry: ExpiryRound,
    /// The image's end when topics, their partitions or racks changed last.
    pub(super) topics_version: i64,
}

/// The coordinator of the groups in one partition.
#[derive(Debug, Clone, PartialEq)]
struct Coordinator {
    groups: Groups,
    phase: LoadPhase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadPhase {
    /// For what is in the log to be committed.
    Waiting,
    /// The log is read, up to an offset so far, at which so many attempts failed.
    Reading(Offset, u32),
    /// It answers.
    Active,
}

/// A request that waits for other members.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parked {
    pub(super) partition: TopicPartition,
    pub(super) conn: ConnId,
    pub(super) number: RequestNumber,
    /// What is said if this node stops coordinating.
    pub(super) refusal: Box<Response>,
}

/// Where the search for what may be forgotten is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct ExpiryRound {
    partition: Option<TopicPartition>,
    /// The last group that was looked at.
    group: Option<Str>,
}

impl Coordinators {
    /// None yet, on an image up to `end`.
    pub(super) fn new(end: Offset) -> Self {
        Self { topics_version: end.0, ..Self::default() }
    }

    /// Requests that wait for other members.
    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    pub(super) fn park(&mut self, ticket: WaiterId, parked: Parked) {
        self.parked.insert(ticket, parked);
    }

    /// It still waits.
    pub(super) fn is_parked(&self, ticket: WaiterId) -> bool {
        self.parked.contains_key(&ticket)
    }

    /// Its connection is gone. That the member asked stands: others need not wait for it to ask again.
    pub(super) fn forget(&mut self, ticket: WaiterId) {
        self.parked.remove(&ticket);
    }

    /// The groups of a partition, if they may be asked.
    ///
    /// # Errors
    /// NOT_COORDINATOR; COORDINATOR_LOAD_IN_PROGRESS.
    pub(super) fn groups(&self, partition: TopicPartition) -> Result<&Groups, ErrorCode> {
        let coordinator = self.by_partition.get(&partition).ok_or(ErrorCode::NotCoordinator)?;
        match coordinator.phase {
            LoadPhase::Active => Ok(&coordinator.groups),
            LoadPhase::Waiting | LoadPhase::Reading(..) => Err(ErrorCode::CoordinatorLoadInProgress),
        }
    }

    /// The same, to do something to them.
    pub(super) fn groups_mut(&mut self, partition: TopicPartition) -> Option<&mut Groups> {
        let coordinator = self.by_partition.get_mut(&partition)?;
        (coordinator.phase == LoadPhase::Active).then_some(&mut coordinator.groups)
    }

    /// The log of a partition's groups has been read in part.
    pub(super) fn is_reading(&self, partition: TopicPartition) -> bool {
        let coordinator = self.by_partition.get(&partition);
        coordinator.is_some_and(|coordinator| matches!(coordinator.phase, LoadPhase::Reading(..)))
    }

    /// Bytes that members told of themselves, in all partitions.
    pub(super) fn member_bytes(&self) -> usize {
        self.by_partition.values().map(|coordinator| coordinator.groups.member_bytes()).sum()
    }

    /// The partitions whose groups are here, also those that are being loaded.
    pub(super) fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.by_partition.keys().copied()
    }
}

impl Broker {
    /// The groups that this node coordinates, by partition; not those whose logs are still read.
    pub fn coordinated(&self) -> impl Iterator<Item = (TopicPartition, &Groups)> {
        let active = self.coordinators.by_partition.iter().filter(|(_, it)| it.phase == LoadPhase::Active);
        active.map(|(&partition, coordinator)| (partition, &coordinator.groups))
    }

    /// The first of them from a partition on; for who looks at a little at a time.
    #[must_use]
    pub fn next_coordinated(&self, from: Option<TopicPartition>) -> Option<(TopicPartition, &Groups)> {
        let from = from.map_or(Bound::Unbounded, Bound::Included);
        let mut rest = self.coordinators.by_partition.range((from, Bound::Unbounded));
        let (&partition, coordinator) = rest.find(|(_, it)| it.phase == LoadPhase::Active)?;
        Some((partition, &coordinator.groups))
    }

    /// This node leads a partition from here on.
    pub(super) fn begin_coordinating(&mut self, partition: TopicPartition) {
        let topic = self.committed.topic(partition.topic_id);
        // Who leads on in a new epoch has its groups, and begins anew if it has not.
        let is_active = self.coordinators.groups(partition).is_ok();
        if is_active || topic.is_none_or(|topic| topic.name != OFFSETS_TOPIC) {
            return;
        }
        let coordinator = Coordinator { groups: Groups::new(self.config.groups), phase: LoadPhase::Waiting };
        self.coordinators.by_partition.insert(partition, coordinator);
        self.coordinators.reads.retain(|_, read| *read != partition);
        self.coordinators.waiting.insert(partition);
    }

    /// This node leads a partition no more: who waits here is sent elsewhere.
    pub(super) fn stop_coordinating(&mut self, partition: TopicPartition, out: &mut Outputs) {
        if self.coordinators.by_partition.remove(&partition).is_none() {
            return;
        }
        self.timers.disarm(Timer::Groups(partition));
        self.coordinators.waiting.remove(&partition);
        self.coordinators.reads.retain(|_, read| *read != partition);
        let parked = self.coordinators.parked.iter().filter(|(_, parked)| parked.partition == partition);
        for ticket in parked.map(|(&ticket, _)| ticket).collect::<Vec<_>>() {
            let Some(parked) = self.coordinators.parked.remove(&ticket) else { continue };
            self.unpark(ticket, parked.conn);
            self.reply(parked.conn, parked.number, *parked.refusal, out);
        }
    }

    fn unpark(&mut self, ticket: WaiterId, conn: ConnId) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.waiters.remove(&ticket);
        }
    }

    /// Begins to read logs whose leadership is committed by now.
    pub(super) fn load_groups(&mut self, out: &mut Outputs) {
        let is_due = |partition: &TopicPartition| {
            self.replicas.get(partition).is_some_and(|replica| replica.knows_committed())
        };
        let due: Vec<TopicPartition> =
            self.coordinators.waiting.iter().copied().filter(|partition| is_due(partition)).collect();
        for partition in due {
            self.coordinators.waiting.remove(&partition);
            self.read_groups(partition, out);
        }
    }

    /// Reads the next piece of a log; at its end, begins to answer.
    fn read_groups(&mut self, partition: TopicPartition, out: &mut Outputs) {
        let Some(replica) = self.replicas.get(&partition).filter(|replica| replica.knows_committed()) else {
            return;
        };
        let (start, end, generation) =
            (replica.log().start(), replica.high_watermark(), replica.log().generation());
        let op = self.next_op();
        let now = self.now;
        let Some(coordinator) = self.coordinators.by_partition.get_mut(&partition) else { return };
        let (from, failures) = match coordinator.phase {
            LoadPhase::Waiting => (start, 0),
            LoadPhase::Reading(from, failures) => (from.max(start), failures),
            LoadPhase::Active => return,
        };
        if from >= end {
            coordinator.phase = LoadPhase::Active;
            let topics = GroupTopics { image: &self.committed, version: self.coordinators.topics_version };
            coordinator.groups.on_loaded(now, &topics);
            self.arm_groups(partition);
            return;
        }
        coordinator.phase = LoadPhase::Reading(from, failures);
        self.coordinators.reads.insert(op, partition);
        let bytes_max = self.config.groups.load_bytes;
        out.push(Output::ReadBatches {
            op,
            extent: Extent { partition, generation, from, to: end, bytes_max },
        });
    }

    /// A piece of a log was read.
    pub(super) fn on_batches_read(
        &mut self,
        op: OpId,
        batches: Option<Vec<ProducedBatch>>,
        out: &mut Outputs,
    ) {
        let Some(partition) = self.coordinators.reads.remove(&op) else { return };
        let is_only_copy = self.is_only_copy(partition);
        let Some(coordinator) = self.coordinators.by_partition.get_mut(&partition) else { return };
        let LoadPhase::Reading(from, failures) = &mut coordinator.phase else { return };
        // G4: a tombstone of what compaction has taken away ends the load.
        let batches = exhibit!(G4, batches, batches.filter(|read| !orphans(&coordinator.groups, read)));
        if let Some(batches) = batches {
            for batch in &batches {
                let next = batch.header.next_offset();
                replay_batch(&mut coordinator.groups, partition, batch, next);
                (*from, *failures) = (next, 0);
            }
        } else if *failures > 0 && is_only_copy {
            // Nobody could give it back: groups that lack a record are worth more than none.
            tracing::error!(
                "{partition}: the record of groups at offset {from} is unreadable and passed over"
            );
            coordinator.groups.on_gap();
            *from = from.plus(1);
        } else {
            // It may have been a passing trouble. If it is damage, and others have it, this node stops leading.
            *failures += 1;
            self.timers.arm(self.now.mono + LOAD_RETRY_MS, Timer::Groups(partition));
            return;
        }
        self.read_groups(partition, out);
    }

    /// By what is committed, nobody else has what this node has of a partition.
    pub(super) fn is_only_copy(&self, partition: TopicPartition) -> bool {
        let held = self.committed.partition(partition);
        let members = held.into_iter().flat_map(|held| held.state.isr.iter().chain(&held.state.elr));
        members.copied().all(|node| node == self.config.node_id)
    }

    /// Timer: something is due in a group, or a log is to be read again.
    pub(super) fn on_groups_due(&mut self, partition: TopicPartition, out: &mut Outputs) {
        if self.coordinators.groups(partition).is_err() {
            self.read_groups(partition, out);
            return;
        }
        // Without a log that takes records nothing is decided: members keep what they have.
        if self.can_write_groups(partition).is_err() {
            self.timers.arm(self.now.mono + LOAD_RETRY_MS, Timer::Groups(partition));
            return;
        }
        let now = self.now;
        for _ in 0..LOOKED_AT_MAX {
            let topics = GroupTopics { image: &self.committed, version: self.coordinators.topics_version };
            let groups = self.coordinators.groups_mut(partition);
            let Some(effects) = groups.and_then(|groups| groups.on_due(now, &topics)) else { break };
            self.apply(partition, effects, out);
        }
        self.arm_groups(partition);
    }

    pub(super) fn arm_groups(&mut self, partition: TopicPartition) {
        let Ok(groups) = self.coordinators.groups(partition) else { return };
        match groups.next_due() {
            Some(at) => self.timers.arm(at, Timer::Groups(partition)),
            None => self.timers.disarm(Timer::Groups(partition)),
        }
    }

    /// The log takes records.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE; NOT_COORDINATOR.
    pub(super) fn can_write_groups(&self, partition: TopicPartition) -> Result<(), ErrorCode> {
        let replica = self.leader_of(partition).map_err(|_| ErrorCode::NotCoordinator)?;
        if self.is_cut_off(replica) || self.phase != super::Phase::Running {
            return Err(ErrorCode::NotCoordinator);
        }
        let has_enough = replica.leader().is_some_and(Leader::has_enough_in_sync);
        if !has_enough || self.disk_is_full {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        Ok(())
    }

    /// Writes what was decided, and answers once that is committed.
    pub(super) fn apply(&mut self, partition: TopicPartition, effects: Effects, out: &mut Outputs) {
        self.append_group_records(partition, &effects.records, out);
        let Ok(groups) = self.coordinators.groups(partition) else { return };
        let rests_on = groups.rests_on(&effects.group);
        for (ticket, response) in effects.answers {
            let Some(parked) = self.coordinators.parked.remove(&ticket) else { continue };
            self.unpark(ticket, parked.conn);
            let to = (parked.conn, parked.number);
            self.leave_when_committed(to, response, parked.refusal, &[(partition, rests_on)], out);
        }
    }

    /// Answers once all that the answer rests on is committed. After `offsets.commit.timeout.ms`, or if this node stops
    /// coordinating, the refusal leaves: the outcome is unknown then.
    pub(super) fn leave_when_committed(
        &mut self,
        (conn, number): (ConnId, RequestNumber),
        response: Response,
        refusal: Box<Response>,
        rests_on: &[(TopicPartition, Offset)],
        out: &mut Outputs,
    ) {
        let parts = rests_on
            .iter()
            .map(|&(partition, end)| WaitPart::new(partition, Until::Committed(end), (0, 0)))
            .collect();
        let answer = Answer::Group { response: Box::new(response), refusal };
        let timeout_ms = self.config.groups.commit_timeout_ms;
        self.wait_for_parts(conn, number, (answer, parts), timeout_ms, out);
    }

    /// Appends records to a partition of groups and shows them there at once (SAFETY C1). In several batches only if one
    /// would be too large.
    pub(super) fn append_group_records(
        &mut self,
        partition: TopicPartition,
        records: &[GroupRecord],
        out: &mut Outputs,
    ) {
        let now = self.now.wall.0;
        let bytes_max = self.config.groups.record_bytes_max;
        let mut rest = records;
        while !rest.is_empty() {
            let mut builder = BatchBuilder::new();
            let mut taken = 0;
            for record in rest {
                let (key, value) = record.encode();
                let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
                if taken > 0 && builder.batch_bytes() + bytes > bytes_max {
                    break;
                }
                builder.add(now, Some(&key), value.as_deref(), &[]);
                taken += 1;
            }
            let batch =
                ProducedBatch::parse(builder.finish(), u32::MAX).expect("a batch of our own is whole");
            let settings = self.topic_settings(partition);
            let accepted = self.append_batch(partition, &settings, &batch, out);
            let end = accepted.expect("a leader takes a batch that has no producer").end;
            let (written, left) = rest.split_at(taken);
            if let Some(groups) = self.coordinators.groups_mut(partition) {
                written.iter().for_each(|record| groups.replay(end, record));
            }
            rest = left;
        }
    }

    /// The search for what may be forgotten begins after `offsets.retention.check.interval.ms`.
    pub(super) fn arm_group_expiry(&mut self) {
        self.timers.arm(self.now.mono + self.config.groups.offsets_check_ms, Timer::GroupExpiry);
    }

    /// Timer: the next groups of a round, or the first ones of the next.
    pub(super) fn on_group_expiry(&mut self, out: &mut Outputs) {
        let after = core::mem::take(&mut self.coordinators.expiry);
        let next = match (after.partition, &after.group) {
            (Some(partition), Some(_)) => Some(partition),
            (last, _) => self.coordinators.partitions().find(|partition| Some(*partition) > last),
        };
        let Some(partition) = next else {
            self.arm_group_expiry();
            return;
        };
        let mut group = after.group;
        for _ in 0..LOOKED_AT_MAX {
            group = self.forget_offsets_of_next(partition, group.as_ref(), out);
            if group.is_none() {
                break;
            }
        }
        self.arm_groups(partition);
        self.coordinators.expiry = ExpiryRound { partition: Some(partition), group };
        self.timers.arm(self.now.mono + PAUSE_MS, Timer::GroupExpiry);
    }

    /// Looks at the group behind `after`. Gives back which it was.
    fn forget_offsets_of_next(
        &mut self,
        partition: TopicPartition,
        after: Option<&Str>,
        out: &mut Outputs,
    ) -> Option<Str> {
        self.can_write_groups(partition).ok()?;
        let topic_id = |name: &str| self.committed.topic_named(name).map(|(topic_id, _)| topic_id);
        let groups = self.coordinators.groups(partition).ok()?;
        let (id, records) = groups.decide_expiry(self.now, after, topic_id)?;
        self.append_group_records(partition, &records, out);
        Some(id)
    }
}

/// Shows the records of a batch. What cannot be read is passed over, as in Kafka: a group that is lost is better than all.
fn replay_batch(groups: &mut Groups, partition: TopicPartition, batch: &ProducedBatch, end: Offset) {
    let header = &batch.header;
    if header.is_control() {
        return;
    }
    if header.compression() != Some(Compression::None) {
        tracing::error!("{partition}: a batch of groups at offset {} is compressed", header.base_offset);
        return;
    }
    let payload = batch.bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default();
    for record in RecordIter::new(header, payload) {
        let Ok(record) = record else {
            tracing::error!(
                "{partition}: a record of groups behind offset {} is unreadable",
                header.base_offset
            );
            return;
        };
        match GroupRecord::decode(record.key, record.value) {
            Ok(decoded) => groups.replay(end, &decoded),
            Err(problem @ RecordProblem::UnknownKind(_)) => {
                tracing::debug!("{partition}: passed over at offset {}: {problem}", record.offset);
            }
            Err(problem) => tracing::error!("{partition}: at offset {}: {problem}", record.offset),
        }
    }
}

/// A tombstone among these is of something that nothing before it speaks of (G4).
#[cfg(feature = "museum")]
fn orphans(groups: &Groups, batches: &[ProducedBatch]) -> bool {
    let mut known: BTreeSet<_> = groups.written().map(|record| record.encode().0).collect();
    for batch in batches {
        let payload = batch.bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default();
        for record in RecordIter::new(&batch.header, payload).map_while(Result::ok) {
            let Some(key) = record.key else { continue };
            if record.value.is_none() && !known.remove(key) {
                return true;
            }
            if record.value.is_some() {
                known.insert(key.to_vec());
            }
        }
    }
    false
}
