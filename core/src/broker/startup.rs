//! From what recovery left to a broker that serves: registration, new leader epochs, removals that were not finished.

use super::{Broker, Drop, JournalProgress, Phase, ProducerIds, Timer};
use crate::cluster::records::MetadataRecord;
use crate::config::Config;
use crate::fetch::Sessions;
use crate::ids::{BrokerEpoch, LeaderEpoch, Lsn, TopicPartition, Uuid};
use crate::journal::Entry;
use crate::output::{Output, Outputs, StoreCommand};
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
        let replicas: BTreeMap<TopicPartition, Replica> = recovered
            .partitions
            .into_iter()
            .map(|(partition, held)| (partition, Replica::new(held)))
            .collect();
        let with_producers = replicas.iter().filter(|(_, replica)| !replica.log().producers().is_empty());
        let drops = recovered.drops.into_iter().map(|(id, partitions)| (id, Drop { partitions, op: None }));
        Self {
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
                // Earlier runs left files that only a snapshot lets go of; how large they are, nobody counted.
                bytes_since_snapshot: if end > Lsn::ZERO { config.snapshot_journal_bytes } else { 0 },
            },
            working: recovered.image.clone(),
            committed: recovered.image,
            undecided: VecDeque::new(),
            producer_ids: ProducerIds::default(),
            with_producers: with_producers.map(|(&partition, _)| partition).collect(),
            replicas,
            conns: BTreeMap::new(),
            produce_waits: BTreeMap::new(),
            sessions: Sessions::default(),
            offsets_waits: BTreeMap::new(),
            reads: BTreeMap::new(),
            drops: drops.collect(),
            drop_ops: BTreeMap::new(),
            timers: BTreeSet::from([(now.mono, Timer::Start)]),
            next_number: 0,
            snapshot_op: None,
            disk_is_full: false,
            halting: None,
            moved: Vec::new(),
            config,
        }
    }

    /// The first thing a run does: it numbers itself, begins a term as the only voter, and registers (SAFETY R2).
    pub(super) fn register(&mut self, out: &mut Outputs) {
        self.phase = Phase::Registering;
        self.journal(Entry::Started { boot: self.boot }, out);
        let epoch = LeaderEpoch(self.working.epoch().0 + 1);
        let listeners =
            self.config.listeners.iter().map(|listener| (listener.host.clone(), listener.port)).collect();
        let register = MetadataRecord::RegisterBroker {
            node_id: self.config.node_id,
            // The offset of the registration's own record: unique and growing (KIP-631).
            broker_epoch: BrokerEpoch(self.working.end().0 + 1),
            incarnation: self.config.incarnation,
            rack: self.config.rack.clone(),
            listeners,
        };
        let leader_change = MetadataRecord::LeaderChange { leader: self.config.node_id, epoch };
        self.append_metadata(alloc::vec![leader_change, register], out);
        let unfinished: Vec<Uuid> = self.drops.keys().copied().collect();
        for topic_id in unfinished {
            self.drop_files(topic_id, out);
        }
    }

    /// This node's registration is committed: it leads what it led before, in new epochs.
    pub(super) fn on_registered(&mut self, out: &mut Outputs) {
        let led: Vec<(TopicPartition, LeaderEpoch)> = self.committed.led_by(self.config.node_id).collect();
        for (partition, epoch) in led {
            self.lead(partition, epoch, out);
        }
        if self.phase == Phase::Registering {
            self.phase = Phase::Serving;
        }
        self.timers.insert((self.now.mono + super::PRODUCER_EXPIRY_CHECK_MS, Timer::ProducerExpiry));
    }

    /// Becomes leader of a partition, unless records of it are lost: those are given up by name and not served.
    pub(super) fn lead(&mut self, partition: TopicPartition, epoch: LeaderEpoch, out: &mut Outputs) {
        let replica = self.replicas.entry(partition).or_insert_with(|| Replica::new(Default::default()));
        if replica.damage().is_some() || !matches!(self.phase, Phase::Registering | Phase::Serving) {
            return;
        }
        let entry = replica.lead(partition, epoch);
        self.journal(entry, out);
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
