//! One partition on this node: its log, its role, how far it is durable, and who waits for that.
//!
//! Knows nothing of topics, requests or connections: a waiter is a number that is handed back when its time has come.

use crate::cluster::snapshot::Damage;
use crate::config::TopicDefaults;
use crate::ids::{LeaderEpoch, Lsn, Offset, ProducerId, TopicPartition};
use crate::journal::{AppendEntry, Entry};
use crate::log::{AppendCheck, AppendError, AppendLimits, Log, SegmentLimits};
use crate::output::Output;
use crate::records::{ProducedBatch, TimestampType, stamped_header};
use crate::recovered::RecoveredPartition;
use crate::time::WallMs;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

/// What this node is for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It takes appends and answers fetches in `epoch`.
    Leader(Leader),
    /// It is not told yet, or no longer: after a restart nothing is led before the controller names a new epoch
    /// (SAFETY R2).
    Idle,
}

/// What only a leader has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// The end of what every in-sync replica has on disk.
    pub high_watermark: Offset,
    /// Requests that wait for the high watermark to reach an offset.
    waiters: BTreeSet<(Offset, Waiter)>,
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

/// One partition on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    log: Log,
    /// The end of what is durable here, by the mode of the cluster's data partitions (SAFETY J6).
    durable_end: Offset,
    /// Ends of appends that are not durable yet.
    in_flight: VecDeque<(Lsn, Offset)>,
    role: Role,
    damage: Option<Damage>,
}

/// What an accepted batch got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The high watermark that means it is committed.
    pub committed_at: Offset,
    /// Its append time, where the topic's timestamps are the broker's; otherwise -1.
    pub log_append_time_ms: i64,
    /// It was there already.
    pub duplicate: bool,
}

/// The limits of appending to one partition.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The topic's settings in force.
    pub topic: TopicDefaults,
    /// Producers remembered in a partition.
    pub producers_max: usize,
}

impl Replica {
    /// A replica as recovery left it: everything in its log is on disk.
    #[must_use]
    pub fn new(recovered: RecoveredPartition) -> Self {
        let mut log = recovered.log;
        log.forget_undo_below(log.end());
        let durable_end = log.end();
        Self { log, durable_end, in_flight: VecDeque::new(), role: Role::Idle, damage: recovered.damage }
    }

    /// Becomes leader in `epoch`. Gives out the journal entry that says so, which precedes every append (SAFETY R6).
    pub fn lead(&mut self, partition: TopicPartition, epoch: LeaderEpoch) -> Entry {
        assert!(self.damage.is_none(), "a partition that lost records is not led");
        assert!(
            self.log.latest_epoch().is_none_or(|latest| latest < epoch),
            "each start leads in a new epoch"
        );
        self.log.begin_epoch(epoch);
        // The only in-sync replica: what it has on disk is committed.
        let high_watermark = self.durable_end;
        self.role = Role::Leader(Leader { epoch, high_watermark, waiters: BTreeSet::new() });
        Entry::EpochStart { partition, epoch, start: self.log.end() }
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
        let stamps = limits.topic.log_append_time;
        match self.log.check_append(&batch.header, now, &append_limits(limits))? {
            AppendCheck::Duplicate { base_offset, last_offset, max_timestamp, .. } => {
                // SAFETY R10: a duplicate waits for what its original waits for.
                let log_append_time_ms = if stamps { max_timestamp } else { -1 };
                let committed_at = last_offset.plus(1);
                Ok((Accepted { base_offset, committed_at, log_append_time_ms, duplicate: true }, None))
            }
            AppendCheck::Append => {
                let segment = SegmentLimits {
                    segment_bytes: u64::from(limits.topic.segment_bytes),
                    segment_ms: i64::MAX,
                };
                let header =
                    stamped_header(&batch.header, self.log.end(), leader.epoch, stamps.then_some(now));
                let roll = self.log.plan_roll(&header, now, &segment);
                if roll {
                    self.log.roll();
                }
                let appended = self.log.append(&header, now);
                assert!(!appended.new_epoch, "an epoch begins in the log before its first append");
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
                let output = Output::Journal { entry, batch: Some((header, batch.bytes.clone())) };
                let accepted = Accepted {
                    base_offset: header.base_offset,
                    committed_at: self.log.end(),
                    log_append_time_ms: if stamps { now.0 } else { -1 },
                    duplicate: false,
                };
                Ok((accepted, Some(output)))
            }
        }
    }

    /// The last append took this number in the journal.
    pub fn appended_as(&mut self, lsn: Lsn) {
        assert!(self.in_flight.back().is_none_or(|&(last, _)| last < lsn), "entries are numbered in order");
        self.in_flight.push_back((lsn, self.log.end()));
    }

    /// The journal is durable up to `lsn`. Gives back the waiters whose records are now committed; `None` when nothing
    /// moved.
    pub fn on_durable(&mut self, lsn: Lsn) -> Option<Vec<Waiter>> {
        let mut moved = false;
        while let Some(&(first, end)) = self.in_flight.front()
            && first <= lsn
        {
            self.durable_end = end;
            self.in_flight.pop_front();
            moved = true;
        }
        if !moved {
            return None;
        }
        let durable_end = self.durable_end;
        let Role::Leader(leader) = &mut self.role else {
            return None;
        };
        assert!(leader.high_watermark <= durable_end, "the high watermark is backed by the disk");
        leader.high_watermark = durable_end;
        self.log.forget_undo_below(durable_end);
        let later = leader.waiters.split_off(&(durable_end.plus(1), Waiter { id: WaiterId(0), part: 0 }));
        let done = core::mem::replace(&mut leader.waiters, later);
        Some(done.into_iter().map(|(_, waiter)| waiter).collect())
    }

    /// `waiter` waits until the high watermark reaches `offset`. `false`: it has.
    pub fn wait_for(&mut self, offset: Offset, waiter: Waiter) -> bool {
        let Role::Leader(leader) = &mut self.role else { unreachable!("the broker asks only a leader") };
        if leader.high_watermark >= offset {
            return false;
        }
        leader.waiters.insert((offset, waiter));
        true
    }

    /// `waiter` waits no longer.
    pub fn forget_waiter(&mut self, offset: Offset, waiter: Waiter) {
        if let Role::Leader(leader) = &mut self.role {
            leader.waiters.remove(&(offset, waiter));
        }
    }

    /// Everyone who waits, in the order of the offsets; nobody does afterwards.
    pub fn take_waiters(&mut self) -> Vec<Waiter> {
        match &mut self.role {
            Role::Leader(leader) => {
                core::mem::take(&mut leader.waiters).into_iter().map(|(_, waiter)| waiter).collect()
            }
            Role::Idle => Vec::new(),
        }
    }

    /// Producers that are idle for longer than `expiration_ms`: the caller journals that they vanish (SAFETY R10).
    pub fn expire_producers(&mut self, now: WallMs, expiration_ms: i64) -> Vec<ProducerId> {
        let expired = self.log.plan_expiry(now, expiration_ms);
        self.log.expire(&expired);
        expired
    }

    /// The leader's part, if this node leads.
    #[must_use]
    pub fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Idle => None,
        }
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

    /// What must hold after every step that touched the replica (S5, S6).
    pub fn check_invariants(&self) {
        assert!(self.durable_end <= self.log.end());
        assert!(self.in_flight.is_empty() == (self.durable_end == self.log.end()));
        if let Role::Leader(leader) = &self.role {
            assert!(self.log.start() <= leader.high_watermark || self.log.end() == self.log.start());
            assert!(leader.high_watermark <= self.durable_end);
            assert!(self.log.latest_epoch() == Some(leader.epoch));
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
