//! From what recovery left to a broker that serves: registration, new leader epochs, removals that were not finished.

use super::compacted::CompactedTopics;
use super::compaction::CompactionRound;
use super::coordinators::Coordinators;
use super::follow::Opening;
use super::founding::Founding;
use super::journal::{Deferred, JournalProgress};
use super::log_dirs::LogDirs;
use super::membership::Membership;
use super::peers::InTurns;
use super::retention::RetentionRound;
use super::timers::{Timer, Timers};
use super::{Broker, Counts, Drop, Phase, ProducerIds};
use crate::cluster::records::Voter;
use crate::config::Config;
use crate::fetch::Sessions;
use crate::ids::{Lsn, TopicPartition, Uuid};
use crate::journal::Entry;
use crate::output::{Output, Outputs, StoreCommand};
use crate::quorum::Quorum;
use crate::recovered::Recovered;
use crate::replica::Replica;
use crate::rng::Random;
use crate::time::Now;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

impl Broker {
    /// A broker as recovery left it. It acts from its first step on, which [`Broker::wake_at`] asks for at once. `seed` is
    /// fresh at each start (SAFETY C2).
    #[must_use]
    pub fn new(config: Config, seed: u64, recovered: Recovered, now: Now) -> Self {
        let end = recovered.end;
        let logs = recovered.partitions.into_iter();
        let replicas: BTreeMap<TopicPartition, Replica> =
            logs.map(|(partition, held)| (partition, Replica::new(held))).collect();
        let with_producers = replicas.iter().filter(|(_, replica)| !replica.log().producers().is_empty());
        let me = Voter { node_id: config.node_id, incarnation: config.incarnation };
        let is_doubtful = recovered.doubtful.contains(&TopicPartition::METADATA);
        let chain = recovered.quorum.chain;
        let (quorum, committed) = Quorum::new(me, recovered.quorum, is_doubtful);
        let mut broker = Self {
            random: Random::new(seed),
            now,
            phase: Phase::New,
            boot: recovered.boot + 1,
            journal: JournalProgress {
                last: end,
                written: end,
                synced: end,
                data: VecDeque::new(),
                metadata: VecDeque::new(),
                after_sync: VecDeque::new(),
                chain,
                // Earlier runs left files that only a snapshot lets go of; how large they are, nobody counted.
                bytes_since_snapshot: if end > Lsn::ZERO { config.snapshot_journal_bytes } else { 0 },
            },
            coordinators: Coordinators::new(committed.end()),
            committed,
            encoded_image: None,
            quorum,
            founding: Founding::default(),
            is_successor: false,
            is_newly_doubtful: recovered.is_newly_doubtful,
            controller: None,
            membership: Membership {
                was_unclean: end > Lsn::ZERO && !recovered.clean,
                ..Membership::default()
            },
            peers: BTreeMap::new(),
            forwards: BTreeMap::new(),
            doubtful: recovered.doubtful,
            opening: Opening::default(),
            proposing: InTurns::default(),
            producer_ids: ProducerIds::default(),
            with_producers: with_producers.map(|(&partition, _)| partition).collect(),
            replicas,
            conns: BTreeMap::new(),
            parts_waits: BTreeMap::new(),
            deleting: BTreeSet::new(),
            retention: RetentionRound::default(),
            compaction: CompactionRound::default(),
            compacted: CompactedTopics::default(),
            sessions: Sessions::default(),
            offsets_waits: BTreeMap::new(),
            log_dirs: LogDirs::default(),
            reads: BTreeMap::new(),
            drops: unfinished(recovered.drops),
            drop_ops: BTreeMap::new(),
            timers: Timers::default(),
            next_number: 0,
            snapshot_op: None,
            disk_is_full: false,
            counts: Counts::default(),
            halting: None,
            moved: Vec::new(),
            config,
        };
        broker.timers.arm(now.mono, Timer::Start);
        if recovered.has_holes {
            broker.mark_lost();
        }
        broker
    }

    /// The first thing a run does: it numbers itself. Nothing leaves before that is on disk, so that no two runs of a node
    /// ever speak under one number.
    pub(super) fn start(&mut self, out: &mut Outputs) {
        self.phase = Phase::Starting;
        self.find_compacted();
        let lsn = self.journal(Entry::Started { boot: self.boot, is_doubtful: self.is_newly_doubtful }, out);
        self.after_sync(lsn, Deferred::Begin, out);
    }

    /// Removals that an earlier run did not finish.
    pub(super) fn unfinished_drops(&mut self, out: &mut Outputs) {
        let unfinished: Vec<Uuid> = self.drops.keys().copied().collect();
        for topic_id in unfinished {
            self.drop_files(topic_id, out);
        }
    }

    /// Asks the store to remove a deleted topic's files (SAFETY J8: the topic's removal is in the journal already).
    pub(super) fn drop_files(&mut self, topic_id: Uuid, out: &mut Outputs) {
        let op = self.next_op();
        let Some(drop) = self.drops.get_mut(&topic_id).filter(|drop| drop.op.is_none()) else { return };
        drop.op = Some(op);
        let partitions = drop.partitions;
        self.drop_ops.insert(op, topic_id);
        out.push(Output::Store { op, command: StoreCommand::Drop { topic_id, partitions } });
    }

    /// The last entry given out.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.journal.last
    }
}

/// Removals of files that recovery found begun.
fn unfinished(drops: impl IntoIterator<Item = (Uuid, i32)>) -> BTreeMap<Uuid, Drop> {
    drops.into_iter().map(|(topic_id, partitions)| (topic_id, Drop { partitions, op: None })).collect()
}
