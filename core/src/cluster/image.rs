//! The cluster as the metadata log describes it up to some offset. Its durable form is in `form`.

mod form;

use crate::cluster::assignment::Assignment;
use crate::cluster::decide::normalized;
use crate::cluster::group_config::GroupConfig;
use crate::cluster::records::{MetadataRecord, PartitionState, Voter};
use crate::cluster::topic_config::TopicConfig;
use crate::ids::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, RunId, TopicPartition, Uuid,
};
use crate::quorum::voters::differ_by_one;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerImage {
    /// The number of its registration.
    pub epoch: BrokerEpoch,
    /// Its folder's incarnation.
    pub incarnation: Uuid,
    /// The run that registered.
    pub run: RunId,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Advertised hosts and ports, by listener.
    pub listeners: Vec<(String, u16)>,
    /// Where other nodes reach it.
    pub peer_listener: Option<(String, u16)>,
    /// It is not heard of.
    pub fenced: bool,
    /// It hands over what it leads, in order to stop.
    pub shutting_down: bool,
}

impl BrokerImage {
    /// It may lead and be in an ISR.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.shutting_down
    }
}

/// A partition's assignment and state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionImage {
    /// Brokers that hold it.
    pub assignment: Assignment,
    /// Who leads it and who may.
    pub state: PartitionState,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicImage {
    /// Its name.
    pub name: String,
    /// Its own settings.
    pub config: TopicConfig,
    /// `min.insync.replicas` as it is in force.
    pub min_insync_replicas: i32,
    /// Its partitions by index.
    pub partitions: Vec<PartitionImage>,
}

/// The state that replaying the metadata log from its start gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    topics: BTreeMap<Uuid, TopicImage>,
    names: BTreeMap<String, Uuid>,
    /// Names by their form with `_` for `.`, where they have either.
    normalized: BTreeMap<String, String>,
    brokers: BTreeMap<NodeId, BrokerImage>,
    voters: Vec<Voter>,
    next_producer_id: ProducerId,
    leader: Option<NodeId>,
    epoch: LeaderEpoch,
    end: Offset,
    partitions: usize,
    /// Settings of groups, where they have any.
    group_configs: BTreeMap<String, GroupConfig>,
}

impl Image {
    /// An image before the first entry.
    #[must_use]
    pub fn founded(voters: Vec<Voter>) -> Self {
        Self { voters, ..Self::default() }
    }

    /// Applies the entry at `offset`: all of its records.
    pub fn replay(&mut self, offset: Offset, records: &[MetadataRecord]) {
        assert!(offset == self.end, "metadata records are replayed in order, each once");
        self.end = offset.plus(1);
        for record in records {
            self.replay_record(record);
        }
    }

    fn add_topic(&mut self, topic_id: Uuid, topic: TopicImage) {
        self.names.insert(topic.name.clone(), topic_id);
        if let Some(normal) = normalized(&topic.name) {
            self.normalized.insert(normal, topic.name.clone());
        }
        let old = self.topics.insert(topic_id, topic);
        assert!(old.is_none(), "a topic id is drawn once");
    }

    fn remove_topic(&mut self, topic_id: Uuid) {
        let topic = self.topics.remove(&topic_id).expect("a topic that is removed exists");
        self.names.remove(&topic.name);
        if let Some(normal) = normalized(&topic.name) {
            self.normalized.remove(&normal);
        }
        self.partitions -= topic.partitions.len();
    }

    fn register(&mut self, node_id: NodeId, broker: BrokerImage) {
        self.brokers.insert(node_id, broker);
        let led = self.topics.values_mut().flat_map(|topic| &mut topic.partitions);
        for partition in led.filter(|partition| partition.state.leader == Some(node_id)) {
            partition.state.end_leadership();
        }
    }

    fn configure_group(&mut self, group: &str, config: &GroupConfig) {
        if config.is_empty() {
            self.group_configs.remove(group);
        } else {
            self.group_configs.insert(group.into(), config.clone());
        }
    }

    fn change_partition(
        &mut self,
        topic_id: Uuid,
        partition: PartitionIndex,
        state: &PartitionState,
    ) -> &mut PartitionImage {
        let topic = self.topics.get_mut(&topic_id).expect("a partition that changes exists");
        let held = topic.partitions.get_mut(partition.0 as usize).expect("so does its index");
        assert!(state.partition_epoch > held.state.partition_epoch, "partition epochs grow (S11)");
        assert!(state.leader_epoch >= held.state.leader_epoch, "leader epochs do not go back (S11)");
        held.state = state.clone();
        held
    }

    fn replay_record(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::LeaderChange { leader, epoch } => {
                assert!(*epoch >= self.epoch, "terms only grow");
                self.leader = Some(*leader);
                self.epoch = *epoch;
            }
            MetadataRecord::Voters { voters } => {
                assert!(differ_by_one(&self.voters, voters), "one member at a time (Raft section 4.1)");
                self.voters.clone_from(voters);
            }
            MetadataRecord::RegisterBroker {
                node_id,
                broker_epoch,
                incarnation,
                run,
                rack,
                listeners,
                peer_listener,
            } => {
                let broker = BrokerImage {
                    epoch: *broker_epoch,
                    incarnation: *incarnation,
                    run: *run,
                    rack: rack.clone(),
                    listeners: listeners.clone(),
                    peer_listener: peer_listener.clone(),
                    fenced: false,
                    shutting_down: false,
                };
                self.register(*node_id, broker);
            }
            MetadataRecord::BrokerState { node_id, fenced, shutting_down } => {
                let broker = self.brokers.get_mut(node_id).expect("only a registered broker has a state");
                broker.fenced = *fenced;
                broker.shutting_down = *shutting_down;
            }
            MetadataRecord::Topic { topic_id, name, config, min_insync_replicas } => {
                let topic = TopicImage {
                    name: name.clone(),
                    config: config.clone(),
                    min_insync_replicas: *min_insync_replicas,
                    partitions: Vec::new(),
                };
                self.add_topic(*topic_id, topic);
            }
            MetadataRecord::Partition { topic_id, partition, replicas, state } => {
                let topic = self.topics.get_mut(topic_id).expect("a partition's record follows its topic's");
                assert!(topic.partitions.len() == partition.0 as usize, "partitions come in order");
                let assignment = Assignment::settled(replicas.clone());
                topic.partitions.push(PartitionImage { assignment, state: state.clone() });
                self.partitions += 1;
            }
            MetadataRecord::PartitionChange { topic_id, partition, state } => {
                self.change_partition(*topic_id, *partition, state);
            }
            MetadataRecord::Reassignment { topic_id, partition, assignment, state } => {
                self.change_partition(*topic_id, *partition, state).assignment = assignment.clone();
            }
            MetadataRecord::RemoveTopic { topic_id } => self.remove_topic(*topic_id),
            MetadataRecord::ProducerIds { next, .. } => {
                assert!(*next > self.next_producer_id, "producer ids are given once");
                self.next_producer_id = *next;
            }
            MetadataRecord::TopicConfig { topic_id, config, min_insync_replicas } => {
                let topic = self.topics.get_mut(topic_id).expect("a topic that is configured exists");
                topic.config = config.clone();
                topic.min_insync_replicas = *min_insync_replicas;
            }
            MetadataRecord::GroupConfig { group, config } => self.configure_group(group, config),
        }
    }

    /// The offset after the last record that shows here.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// The term of the last leader.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The last leader, if there was one.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The quorum's members.
    #[must_use]
    pub fn voters(&self) -> &[Voter] {
        &self.voters
    }

    /// The topics by id.
    #[must_use]
    pub fn topics(&self) -> &BTreeMap<Uuid, TopicImage> {
        &self.topics
    }

    /// The topics' ids by name.
    #[must_use]
    pub fn names(&self) -> &BTreeMap<String, Uuid> {
        &self.names
    }

    /// The registered brokers.
    #[must_use]
    pub fn brokers(&self) -> &BTreeMap<NodeId, BrokerImage> {
        &self.brokers
    }

    /// The first producer id that was never given to a broker.
    #[must_use]
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// Settings of groups by their names; those that have none are left out.
    #[must_use]
    pub fn group_configs(&self) -> &BTreeMap<String, GroupConfig> {
        &self.group_configs
    }

    /// A group's own settings, if it has any.
    #[must_use]
    pub fn group_config(&self, group: &str) -> Option<&GroupConfig> {
        self.group_configs.get(group)
    }

    /// Partitions of all topics.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// A topic by id.
    #[must_use]
    pub fn topic(&self, topic_id: Uuid) -> Option<&TopicImage> {
        self.topics.get(&topic_id)
    }

    /// A topic by name, with its id.
    #[must_use]
    pub fn topic_named(&self, name: &str) -> Option<(Uuid, &TopicImage)> {
        let topic_id = *self.names.get(name)?;
        Some((topic_id, self.topics.get(&topic_id).expect("a name stands for a topic that exists")))
    }

    /// The topic whose name has this form with `_` for `.`.
    #[must_use]
    pub fn colliding(&self, normal: &str) -> Option<&str> {
        self.normalized.get(normal).map(String::as_str)
    }

    /// A partition.
    #[must_use]
    pub fn partition(&self, partition: TopicPartition) -> Option<&PartitionImage> {
        let index = usize::try_from(partition.partition.0).ok()?;
        self.topics.get(&partition.topic_id)?.partitions.get(index)
    }

    /// All partitions.
    pub fn all_partitions(&self) -> impl Iterator<Item = (TopicPartition, &PartitionImage)> {
        self.topics.iter().flat_map(|(&topic_id, topic)| {
            (0..).zip(&topic.partitions).map(move |(index, partition)| {
                (TopicPartition { topic_id, partition: PartitionIndex(index) }, partition)
            })
        })
    }

    /// Partitions that a broker holds.
    pub fn held_by(&self, node: NodeId) -> impl Iterator<Item = (TopicPartition, &PartitionImage)> {
        self.all_partitions().filter(move |(_, partition)| partition.replicas().contains(&node))
    }

    /// What must hold of every image; O(topics).
    pub fn check_invariants(&self) {
        assert!(self.names.len() == self.topics.len());
        let mut partitions = 0;
        for (topic_id, topic) in &self.topics {
            assert!(self.names.get(&topic.name) == Some(topic_id));
            partitions += topic.partitions.len();
            for partition in &topic.partitions {
                partition.check_invariants();
            }
        }
        assert!(partitions == self.partitions);
        assert!(self.group_configs.values().all(|config| !config.is_empty()), "no settings are no entry");
    }
}

impl PartitionImage {
    /// Brokers that hold it, the preferred leader first.
    #[must_use]
    pub fn replicas(&self) -> &[NodeId] {
        self.assignment.replicas()
    }

    /// The replica that is to lead when it can: the first.
    #[must_use]
    pub fn preferred(&self) -> NodeId {
        *self.replicas().first().expect("a partition has a replica")
    }

    /// S13: leader in ISR (or none), ISR and ELR within the replicas and apart.
    pub fn check_invariants(&self) {
        let (state, replicas) = (&self.state, self.replicas());
        self.assignment.check_invariants();
        assert!(state.leader.is_none_or(|leader| state.isr.contains(&leader)), "the leader is in sync");
        assert!(state.isr.iter().all(|node| replicas.contains(node)), "the ISR are replicas");
        assert!(state.elr.iter().all(|node| replicas.contains(node)), "the ELR are replicas");
        assert!(state.elr.iter().all(|node| !state.isr.contains(node)), "ISR and ELR are apart");
        assert!(state.doubts.iter().all(|doubt| state.elr.contains(&doubt.node)), "only the ELR have doubts");
        let is_held = !state.isr.is_empty() || !state.elr.is_empty();
        assert!(!is_held || state.last_known.is_none(), "a last known leader is for who has nobody else");
    }
}
