//! The journal: what is given out to it, how far it is on disk, and what waits for that (SAFETY J7).

use super::{Broker, Phase};
use crate::cluster::snapshot::{Cluster, PartitionSnapshot, Snapshot};
use crate::config::FlushMode;
use crate::ids::{LeaderEpoch, Lsn, NodeId, Offset, RunId, TopicPartition};
use crate::journal::{Entry, QuorumChain};
use crate::log::Log;
use crate::museum::exhibit;
use crate::output::{HaltReason, Output, Outputs, StoreCommand};
use crate::peer::PeerBody;
use crate::replica::session::Session;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// What a group takes of the journal beyond its entries, at most: it ends on a block, and an idle writer adds an empty one
/// that vouches for it (SAFETY J4).
const GROUP_PADDING_BYTES: u64 = 8 << 10;

/// How far the journal got, and what waits for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JournalProgress {
    /// The last entry given out.
    pub(super) last: Lsn,
    pub(super) written: Lsn,
    pub(super) synced: Lsn,
    /// Data appends that are not durable yet.
    pub(super) data: VecDeque<(Lsn, TopicPartition)>,
    /// Entries of the metadata log that are not on disk yet.
    pub(super) metadata: VecDeque<Lsn>,
    /// What is done once an entry is on disk.
    pub(super) after_sync: VecDeque<(Lsn, Deferred)>,
    /// The digest of the entries that the quorum rests on.
    pub(super) chain: QuorumChain,
    /// Bytes that the journal has grown by since the last snapshot, roughly and rather too many.
    pub(super) bytes_since_snapshot: u64,
}

/// What is done once an entry is on disk (SAFETY J7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deferred {
    /// The run has a number.
    Begin,
    /// The node belongs to a cluster.
    Founded { cluster: Cluster, tell: Option<NodeId> },
    /// The candidate has its own vote.
    Stand { epoch: LeaderEpoch },
    /// A log is given up.
    TellDamage { partition: TopicPartition },
    /// A log's start has moved.
    LogStart { partition: TopicPartition, start: Offset },
    /// Something is said to another node.
    Send { to: NodeId, run: RunId, body: PeerBody },
}

impl Broker {
    pub(super) fn on_durable(&mut self, written: Lsn, synced: Lsn, out: &mut Outputs) {
        assert!(synced <= written);
        assert!(written <= self.journal.last, "the driver cannot have written what was not given out");
        if written > self.journal.written {
            self.journal.bytes_since_snapshot += GROUP_PADDING_BYTES;
        }
        self.journal.written = self.journal.written.max(written);
        self.journal.synced = self.journal.synced.max(synced);
        // H5: an acknowledgement that does not wait for the sync is lost with the next power cut.
        let data = match self.config.flush {
            FlushMode::Always => exhibit!(H5, self.journal.synced, self.journal.written),
            FlushMode::Interval => self.journal.written,
        };
        while let Some(&(lsn, partition)) = self.journal.data.front()
            && lsn <= data
        {
            self.journal.data.pop_front();
            self.on_append_durable(lsn, partition, out);
        }
        // D1: metadata counts before it is on disk.
        let metadata = exhibit!(D1, self.journal.synced, self.journal.written);
        let mut metadata_moved = false;
        while let Some(&lsn) = self.journal.metadata.front()
            && lsn <= metadata
        {
            self.journal.metadata.pop_front();
            metadata_moved |= self.quorum.log.on_durable(lsn);
        }
        if metadata_moved {
            self.on_metadata_durable(out);
        }
        while let Some((lsn, _)) = self.journal.after_sync.front()
            && *lsn <= self.journal.synced
            && let Some((_, deferred)) = self.journal.after_sync.pop_front()
        {
            self.on_synced(deferred, out);
        }
        self.open_settled(out);
        if let Phase::Stopping { last } = self.phase
            && last <= self.journal.synced
        {
            self.halting = Some(HaltReason::Stopped);
        }
    }

    fn on_append_durable(&mut self, lsn: Lsn, partition: TopicPartition, out: &mut Outputs) {
        // The topic may have been deleted since.
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        if replica.on_durable(lsn) {
            if replica.leader().is_some() {
                self.advance_watermark(partition, out);
            } else {
                self.on_copy_durable(partition);
            }
        }
    }

    /// The metadata log is further on this disk: its leader may commit, a follower says so.
    fn on_metadata_durable(&mut self, out: &mut Outputs) {
        self.advance_metadata(out);
        if let Some(session) = self.quorum.session()
            && let Some((number, _)) = session.open()
        {
            let (leader, epoch) = (session.leader(), session.epoch());
            let durable = self.quorum.log.durable().end();
            self.acknowledge_metadata(leader, epoch, number, durable, None);
        }
    }

    /// Sessions that waited for the disk are opened.
    fn open_settled(&mut self, out: &mut Outputs) {
        let waits = |session: &Session| session.open().is_none() && !session.has_asked();
        if self.quorum.log.durable().is_settled() && self.quorum.session().is_some_and(waits) {
            self.open_metadata(out);
        }
        let ready: Vec<TopicPartition> = self
            .opening
            .unasked()
            .filter(|partition| {
                self.replicas.get(partition).is_some_and(|replica| {
                    replica.durable().is_settled() && replica.session().is_some_and(waits)
                })
            })
            .collect();
        for partition in ready {
            self.open_session(partition, out);
        }
    }

    /// Does something once the entry `lsn` is on disk: at once, if it is.
    pub(super) fn after_sync(&mut self, lsn: Lsn, deferred: Deferred, out: &mut Outputs) {
        if lsn <= self.journal.synced {
            self.on_synced(deferred, out);
        } else {
            self.journal.after_sync.push_back((lsn, deferred));
        }
    }

    fn on_synced(&mut self, deferred: Deferred, out: &mut Outputs) {
        match deferred {
            Deferred::Begin => {
                if self.phase == Phase::Starting {
                    self.phase = Phase::Running;
                    self.begin(out);
                }
            }
            Deferred::Founded { cluster, tell } => self.on_founded(cluster, tell, out),
            Deferred::Stand { epoch } => self.on_stood(epoch, out),
            Deferred::TellDamage { partition } => self.on_damage_noted(partition, out),
            Deferred::LogStart { partition, start } => self.on_log_start_synced(partition, start, out),
            Deferred::Send { to, run, body } => self.send(to, Some(run), body, out),
        }
    }

    /// Gives out an entry without a batch.
    pub(super) fn journal(&mut self, entry: Entry, out: &mut Outputs) -> Lsn {
        let bytes = match &entry {
            Entry::Metadata { records, .. } => records.len() as u64,
            Entry::MetadataImage { bytes, .. } => bytes.len() as u64,
            Entry::Reset { producers, .. } => producers.len() as u64,
            Entry::Append(_)
            | Entry::EpochStart { .. }
            | Entry::ProducersExpired { .. }
            | Entry::Dropped { .. }
            | Entry::Started { .. }
            | Entry::Stopped
            | Entry::Founded { .. }
            | Entry::Vote { .. }
            | Entry::MetadataCut { .. }
            | Entry::Cut { .. }
            | Entry::Dropping { .. }
            | Entry::Trusted { .. }
            | Entry::Damaged { .. }
            | Entry::LogStart { .. }
            | Entry::Compacted { .. } => 0,
        };
        self.journal.chain = self.journal.chain.with(&entry);
        self.journal_output(Output::Journal { entry, batch: None }, bytes, out)
    }

    pub(super) fn journal_output(&mut self, output: Output, bytes: u64, out: &mut Outputs) -> Lsn {
        /// About what an entry takes in a group's table.
        const ENTRY_BYTES: u64 = 64;
        assert!(
            !matches!(self.phase, Phase::Stopping { .. } | Phase::Halted),
            "the last entry of a run was written"
        );
        self.journal.last = self.journal.last.next();
        self.journal.bytes_since_snapshot += bytes + ENTRY_BYTES;
        out.push(output);
        self.journal.last
    }

    pub(super) fn plan_snapshot(&mut self, out: &mut Outputs) {
        let due = self.journal.bytes_since_snapshot >= self.config.snapshot_journal_bytes;
        if !due || self.snapshot_op.is_some() || self.phase != Phase::Running {
            return;
        }
        let op = self.next_op();
        self.snapshot_op = Some(op);
        self.journal.bytes_since_snapshot = 0;
        let snapshot = Box::new(self.snapshot());
        out.push(Output::Store { op, command: StoreCommand::Snapshot { snapshot } });
    }

    /// Everything the core knows after the last entry given out.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        // A log that was reset has a start, and no epoch before its first batch.
        let is_known = |log: &Log| log.latest_epoch().is_some() || log.end() > Offset::ZERO;
        let partitions =
            self.replicas.iter().filter(|(_, replica)| replica.damage().is_some() || is_known(replica.log()));
        Snapshot {
            through: self.journal.last,
            boot: self.boot,
            quorum: self.quorum.to_snapshot(&self.committed, self.journal.chain),
            partitions: partitions
                .map(|(&partition, replica)| PartitionSnapshot {
                    partition,
                    log: replica.log().to_snapshot(),
                    high_watermark: replica.high_watermark(),
                    damage: replica.damage(),
                })
                .collect(),
            drops: self.drops.iter().map(|(&topic_id, drop)| (topic_id, drop.partitions)).collect(),
            doubtful: self.doubtful.iter().copied().collect(),
        }
    }
}
