//! One partition on this node: its log, its role, how far it is durable and committed, and who waits for that.
//!
//! * [`session`]: the follower's side of a replication session; * [`progress`]: the leader's side; both are shared with the
//!   metadata log (SAFETY Q2); * [`leader`]: ISR and high watermark; * [`durable`]: what the disk has.
//!
//! Knows nothing of topics, requests or connections: a waiter is a number that is handed back when its time has come.

pub mod durable;
pub mod leader;
pub mod progress;
pub mod session;

pub use leader::Leader;

use crate::cluster::records::PartitionState;
use crate::cluster::snapshot::Damage;
use crate::cluster::topic_config::TopicSettings;
use crate::ids::{LeaderEpoch, Lsn, NodeId, Offset, ProducerId, TopicPartition};
use crate::journal::{AppendEntry, Entry};
use crate::log::{
    AppendCheck, AppendError, AppendLimits, Compaction, Log, ProducerTable, SegmentLimits, Truncated,
};
use crate::museum::exhibit;
use crate::output::Output;
use crate::records::{BatchHeader, ProducedBatch, TimestampType, stamped_header};
use crate::recovered::RecoveredPartition;
use crate::time::{MonoMs, WallMs};
use alloc::vec::Vec;
use durable::DurableEnd;
use progress::PeerRun;
use session::Session;

/// What this node is for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It takes appends and answers fetches in an epoch.
    Leader(Leader),
    /// It copies another node's log.
    Follower(Session),
    /// It is not told yet, or nobody leads: after a restart nothing is led before the controller names a new epoch
    /// (SAFETY R2).
    Idle,
}

/// Number of a waiting request, given by the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId(pub u64);

/// One part of a waiting request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiter {
    /// The request.
    pub id: WaiterId,
    /// Which of its parts.
    pub part: u32,
}

/// What a waiter waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The high watermark is there (acks=all).
    Committed(Offset),
    /// This node's disk has it (acks=1).
    Durable(Offset),
    /// Every live replica's log starts there or later (DeleteRecords).
    Deleted(Offset),
}

impl Until {
    /// The offset.
    #[must_use]
    pub fn offset(self) -> Offset {
        match self {
            Self::Committed(offset) | Self::Durable(offset) | Self::Deleted(offset) => offset,
        }
    }
}

/// One partition on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    log: Log,
    /// What is durable here, by the mode of the cluster's data partitions (SAFETY J6).
    durable: DurableEnd,
    /// Where the log starts on the disk: what others are told. The log's own start is ahead of it for a moment.
    durable_start: Offset,
    /// The end of what is committed, as far as this node knows.
    high_watermark: Offset,
    /// The newest leader epoch that its committed metadata named (SAFETY R4).
    epoch: Option<LeaderEpoch>,
    role: Role,
    damage: Option<Damage>,
    /// The leader epoch in which this run gave the copy up: what it acknowledged until then may count with its leader.
    given_up_in: Option<LeaderEpoch>,
}

/// What an accepted batch got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The end that means it is committed, or durable.
    pub end: Offset,
    /// Its append time, where the topic's timestamps are the broker's; otherwise -1.
    pub log_append_time_ms: i64,
    /// It was there already.
    pub duplicate: bool,
}

/// The limits of appending to one partition.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The topic's settings in force.
    pub topic: TopicSettings,
    /// When the partition begins a new segment.
    pub segment: SegmentLimits,
    /// Producers remembered in a partition.
    pub producers_max: usize,
}

impl Replica {
    /// A replica as recovery left it: everything in its log is on disk. How much of it is committed, a leader will say.
    #[must_use]
    pub fn new(recovered: RecoveredPartition) -> Self {
        let log = recovered.log;
        let durable = DurableEnd::new(log.end());
        let durable_start = log.start();
        let high_watermark = recovered.high_watermark.max(durable_start);
        let damage = recovered.damage;
        Self {
            log,
            durable,
            durable_start,
            high_watermark,
            epoch: None,
            role: Role::Idle,
            damage,
            given_up_in: None,
        }
    }

    /// Becomes leader, or goes on as one in a new epoch, with those who wait. Gives out the journal entry that says so, which
    /// precedes every append (SAFETY R6).
    pub fn lead(
        &mut self,
        partition: TopicPartition,
        now: MonoMs,
        (me, replicas): (NodeId, &[NodeId]),
        state: &PartitionState,
        min_insync: usize,
    ) -> Entry {
        let epoch = state.leader_epoch;
        assert!(self.damage.is_none(), "a partition that lost records is not led");
        assert!(self.epoch.is_none_or(|known| known <= epoch), "leader epochs grow (S11)");
        assert!(
            // N1 gets past this, to show what comes of it.
            self.log.latest_epoch().is_none_or(|latest| exhibit!(N1, latest < epoch, latest <= epoch)),
            "each leader begins a new epoch (S31)"
        );
        self.epoch = Some(epoch);
        self.log.begin_epoch(epoch);
        let start = self.log.end();
        let mut leader = Leader::new(now, me, state, replicas, start, min_insync);
        if let Role::Leader(before) = &mut self.role {
            leader.take_over_waiters(before);
        }
        self.role = Role::Leader(leader);
        Entry::EpochStart { partition, epoch, start }
    }

    /// Follows a leader. Those who waited for this node to commit something are given back by [`Replica::take_waiters`]
    /// before.
    pub fn follow(&mut self, leader: NodeId, epoch: LeaderEpoch) {
        assert!(self.epoch.is_none_or(|known| known <= epoch), "leader epochs grow (S11)");
        self.epoch = Some(epoch);
        self.role = Role::Follower(Session::new(leader, epoch));
    }

    /// Nobody leads.
    pub fn idle(&mut self, epoch: LeaderEpoch) {
        assert!(self.epoch.is_none_or(|known| known <= epoch), "leader epochs grow (S11)");
        self.epoch = Some(epoch);
        self.role = Role::Idle;
    }

    /// Appends a client's batch, unless it is there already. The caller gives `entry`'s output its lsn with
    /// [`Replica::appended_as`].
    ///
    /// # Errors
    /// [`AppendError`]; nothing has changed then.
    pub fn append(
        &mut self,
        partition: TopicPartition,
        batch: &ProducedBatch,
        now: WallMs,
        limits: &Limits,
    ) -> Result<(Accepted, Option<Output>), AppendError> {
        let Role::Leader(leader) = &self.role else {
            unreachable!("the broker asks only a leader to append")
        };
        let epoch = leader.epoch;
        let stamps = limits.topic.log_append_time;
        match self.log.check_append(&batch.header, now, &append_limits(limits))? {
            AppendCheck::Duplicate { base_offset, last_offset, max_timestamp, .. } => {
                // SAFETY R10: a duplicate waits for what its original waits for.
                let log_append_time_ms = if stamps { max_timestamp } else { -1 };
                let end = last_offset.plus(1);
                Ok((Accepted { base_offset, end, log_append_time_ms, duplicate: true }, None))
            }
            AppendCheck::Append => {
                let header = stamped_header(&batch.header, self.log.end(), epoch, stamps.then_some(now));
                let output = self.append_stamped(partition, &header, batch, now, &limits.segment);
                let accepted = Accepted {
                    base_offset: header.base_offset,
                    end: self.log.end(),
                    log_append_time_ms: if stamps { now.0 } else { -1 },
                    duplicate: false,
                };
                Ok((accepted, Some(output)))
            }
        }
    }

    /// Appends a leader's batch as it is. The caller checked the session and that the batch begins at the log's end or
    /// behind it; segments and their age are this node's own business, so it counts from its own clock.
    pub fn append_copy(
        &mut self,
        partition: TopicPartition,
        batch: &ProducedBatch,
        now: WallMs,
        segment: &SegmentLimits,
    ) -> Output {
        assert!(matches!(self.role, Role::Follower(_)), "only a follower copies");
        assert!(self.log.follows(&batch.header), "the session was checked");
        self.append_stamped(partition, &batch.header, batch, now, segment)
    }

    fn append_stamped(
        &mut self,
        partition: TopicPartition,
        header: &BatchHeader,
        batch: &ProducedBatch,
        now: WallMs,
        segment: &SegmentLimits,
    ) -> Output {
        let roll = self.log.plan_roll(header, now, segment);
        if roll {
            self.log.roll();
        }
        self.log.append(header, now);
        let entry = Entry::Append(AppendEntry {
            partition,
            base_offset: header.base_offset,
            offsets: u32::try_from(header.last_offset_delta).expect("checked at the door") + 1,
            epoch: header.leader_epoch,
            batch_bytes: header.batch_bytes,
            crc: header.crc,
            append_time: now,
            roll,
        });
        Output::Journal { entry, batch: Some((*header, batch.bytes.clone())) }
    }

    /// The last append took this number in the journal.
    pub fn appended_as(&mut self, lsn: Lsn) {
        self.durable.appended(lsn, self.log.end());
    }

    /// The journal is durable up to `lsn`. `true`: the durable end moved.
    pub fn on_durable(&mut self, lsn: Lsn) -> bool {
        self.durable.on_durable(lsn)
    }

    /// Moves the leader's high watermark as far as acknowledgements allow. `true`: it moved.
    pub fn advance_high_watermark(&mut self, me: NodeId) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let Some(end) = leader.committed_end(me, self.durable.end()) else { return false };
        self.raise_high_watermark(end)
    }

    /// Takes a leader's word for what is committed, as far as this log is checked. `true`: the watermark moved.
    pub fn on_leader_high_watermark(&mut self, high_watermark: Offset) -> bool {
        self.raise_high_watermark(high_watermark.min(self.log.end()))
    }

    fn raise_high_watermark(&mut self, end: Offset) -> bool {
        assert!(end <= self.log.end(), "what is committed is in the log (S4)");
        if end <= self.high_watermark {
            return false;
        }
        self.high_watermark = end;
        self.log.forget_undo_below(end);
        true
    }

    /// Waiters whose offset is committed or durable by now.
    pub fn take_reached(&mut self) -> Vec<Waiter> {
        let (high_watermark, durable) = (self.high_watermark, self.durable.end());
        match &mut self.role {
            Role::Leader(leader) => leader.take_reached(high_watermark, durable),
            Role::Follower(_) | Role::Idle => Vec::new(),
        }
    }

    /// `waiter` waits. `false`: there is nothing to wait for.
    pub fn wait_for(&mut self, until: Until, waiter: Waiter) -> bool {
        let (high_watermark, durable) = (self.high_watermark, self.durable.end());
        let Role::Leader(leader) = &mut self.role else { unreachable!("the broker asks only a leader") };
        match until {
            Until::Committed(offset) if high_watermark < offset => leader.wait_committed(offset, waiter),
            Until::Durable(offset) if durable < offset => leader.wait_durable(offset, waiter),
            // How far the others are, the broker looks once it has asked them all.
            Until::Deleted(offset) => leader.wait_deleted(offset, waiter),
            Until::Committed(_) | Until::Durable(_) => return false,
        }
        true
    }

    /// `waiter` waits no longer.
    pub fn forget_waiter(&mut self, until: Until, waiter: Waiter) {
        if let Role::Leader(leader) = &mut self.role {
            leader.forget_waiter(until.offset(), waiter);
        }
    }

    /// Everyone who waits; nobody does afterwards.
    pub fn take_waiters(&mut self) -> Vec<Waiter> {
        match &mut self.role {
            Role::Leader(leader) => leader.take_waiters(),
            Role::Follower(_) | Role::Idle => Vec::new(),
        }
    }

    /// Cuts a follower's log at `to`, while its session opens (SAFETY R1). `None`: the cut would take back what is committed,
    /// which no leader may ask for (SAFETY R7), unless `unclean_epoch`, whose leader may have lacked committed records, is
    /// newer than this log.
    pub fn cut(
        &mut self,
        partition: TopicPartition,
        to: Offset,
        unclean_epoch: Option<LeaderEpoch>,
    ) -> Option<Entry> {
        let Role::Follower(session) = &self.role else { unreachable!("only a follower cuts its log") };
        assert!(session.open().is_none(), "a log is cut only while its session opens");
        let is_older = unclean_epoch.is_some_and(|unclean| self.log.latest_epoch() < Some(unclean));
        if exhibit!(A1, to < self.high_watermark && !is_older, false) {
            return None;
        }
        // A1: whatever the leader has, the follower keeps only what it knows to be committed.
        let to = exhibit!(A1, to, self.high_watermark.min(self.log.end()));
        self.durable.cut(to);
        if let Truncated::ProducersLost = self.log.truncate_to(to) {
            // Leaders keep what is not committed below what can be taken back: this is an unclean leader's cut. The producers
            // of what is left come with the next batches; until then they are unknown, as after a reset.
            self.log.replace_producers(ProducerTable::default());
        }
        self.high_watermark = self.high_watermark.min(to);
        Some(Entry::Cut { partition, to })
    }

    /// A12: cuts a log that is being followed, as a late message says.
    pub(crate) fn cut_without_asking(&mut self, partition: TopicPartition, to: Offset) -> Entry {
        self.durable.cut(to);
        if let Truncated::ProducersLost = self.log.truncate_to(to) {
            self.log.replace_producers(ProducerTable::default());
        }
        self.high_watermark = self.high_watermark.min(to);
        Entry::Cut { partition, to }
    }

    /// Moves the log's start, as far as is committed, by DeleteRecords, retention or a leader's word. Gives out the journal
    /// entry; `None`: it is there already. Once that is on disk, [`Replica::on_start_durable`] is told.
    pub fn advance_start(&mut self, partition: TopicPartition, to: Offset) -> Option<Entry> {
        let start = to.min(self.high_watermark);
        self.log.advance_start(start).then_some(Entry::LogStart { partition, start })
    }

    /// A cleaning pass was made, of what is committed.
    pub fn compacted(&mut self, compaction: &Compaction) {
        self.log.compacted(compaction.cleaned_to, compaction.tombstones_gone_to);
    }

    /// The log's start is on disk. `true`: others may be told of a new one.
    pub fn on_start_durable(&mut self, start: Offset) -> bool {
        let start = start.min(self.log.start());
        let moved = start > self.durable_start;
        self.durable_start = self.durable_start.max(start);
        moved
    }

    /// At the leader: the least of the log starts of this node and those followers that are live, as they are on disk.
    /// `live` gives a live broker's run: what an earlier one said may have been of another disk.
    #[must_use]
    pub fn low_watermark(&self, live: impl Fn(NodeId) -> Option<PeerRun>) -> Offset {
        let followers = self.leader().into_iter().flat_map(|leader| leader.followers());
        let starts = followers.filter_map(|(&node, progress)| Some(progress.log_start(live(node)?)));
        starts.fold(self.durable_start, Offset::min)
    }

    /// Those who wait for records to be deleted up to `low_watermark` or less.
    pub fn take_deleted(&mut self, low_watermark: Offset) -> Vec<Waiter> {
        match &mut self.role {
            Role::Leader(leader) => leader.take_deleted(low_watermark),
            Role::Follower(_) | Role::Idle => Vec::new(),
        }
    }

    /// Empties a follower's log and begins it anew at `start` (SAFETY R7), with the leader's producers and up to where it has
    /// dropped tombstones. The caller gives the entry's number with [`Replica::reset_as`].
    pub fn reset(
        &mut self,
        partition: TopicPartition,
        (start, tombstones_gone_to): (Offset, Offset),
        producers: Vec<u8>,
    ) -> Entry {
        let table: ProducerTable = postcard::from_bytes(&producers).unwrap_or_default();
        self.log.reset_to(start, tombstones_gone_to);
        self.log.replace_producers(table);
        self.durable.reset(start);
        // The new one is told once it is on disk, like any other.
        self.durable_start = self.durable_start.min(start);
        self.high_watermark = start;
        self.damage = None;
        self.given_up_in = None;
        Entry::Reset { partition, start, producers, tombstones_gone_to }
    }

    /// The last reset took this number in the journal.
    pub fn reset_as(&mut self, lsn: Lsn) {
        self.durable.reset_as(lsn);
    }

    /// Part of the log cannot be read back: nothing of it counts any more (SAFETY J5). Gives out the journal entry.
    pub fn give_up(&mut self, partition: TopicPartition, from: Offset) -> Entry {
        self.damage = Some(Damage { from, to: None });
        self.given_up_in = self.epoch;
        self.role = Role::Idle;
        Entry::Damaged { partition, from }
    }

    /// Producers vanish, by a decision that the caller journals (SAFETY R10).
    pub fn expire_producers(&mut self, producers: &[ProducerId]) {
        self.log.expire(producers);
    }

    /// The leader's part, if this node leads.
    #[must_use]
    pub fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Follower(_) | Role::Idle => None,
        }
    }

    /// The leader's part, and the log.
    pub fn leader_mut(&mut self) -> Option<(&mut Leader, &Log)> {
        match &mut self.role {
            Role::Leader(leader) => Some((leader, &self.log)),
            Role::Follower(_) | Role::Idle => None,
        }
    }

    /// The follower's session, if this node follows.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        match &self.role {
            Role::Follower(session) => Some(session),
            Role::Leader(_) | Role::Idle => None,
        }
    }

    /// The follower's session, and the log.
    pub fn session_mut(&mut self) -> Option<(&mut Session, &Log)> {
        match &mut self.role {
            Role::Follower(session) => Some((session, &self.log)),
            Role::Leader(_) | Role::Idle => None,
        }
    }

    /// The newest leader epoch that the metadata named.
    #[must_use]
    pub fn epoch(&self) -> Option<LeaderEpoch> {
        self.epoch
    }

    /// The end of what is committed, as far as this node knows.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Where the log starts, as far as others are told.
    #[must_use]
    pub fn durable_start(&self) -> Offset {
        self.durable_start
    }

    /// What is durable here.
    #[must_use]
    pub fn durable(&self) -> &DurableEnd {
        &self.durable
    }

    /// The leader knows how far its log is committed: before, readers are not told of ends (SAFETY R6).
    #[must_use]
    pub fn knows_committed(&self) -> bool {
        self.leader().is_some_and(|leader| self.high_watermark >= leader.epoch_start)
    }

    /// The log's numbers.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What is lost of it; such a partition is not served.
    #[must_use]
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// The leader epoch in which this run gave the copy up, until it begins anew.
    #[must_use]
    pub fn given_up_in(&self) -> Option<LeaderEpoch> {
        self.given_up_in
    }

    /// What must hold after every step that touched the replica (S4, S5, S6).
    pub fn check_invariants(&self) {
        assert!(self.durable.end() <= self.log.end());
        assert!(self.durable_start <= self.log.start());
        assert!(self.log.start() <= self.high_watermark);
        assert!(self.high_watermark <= self.log.end());
        if let Role::Leader(leader) = &self.role {
            assert!(self.log.latest_epoch() == Some(leader.epoch));
            assert!(leader.epoch_start <= self.log.end());
        }
    }
}

fn append_limits(limits: &Limits) -> AppendLimits {
    let timestamp_type =
        if limits.topic.log_append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
    AppendLimits {
        timestamp_type,
        timestamp_before_ms_max: limits.topic.timestamp_before_ms_max,
        timestamp_after_ms_max: limits.topic.timestamp_after_ms_max,
        producers_max: limits.producers_max,
        first_sequence_zero: false,
    }
}
