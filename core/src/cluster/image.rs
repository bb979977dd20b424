//! The cluster as the metadata log describes it up to some offset.

use crate::cluster::decide::normalized;
use crate::cluster::records::MetadataRecord;
use crate::cluster::topic_config::TopicConfig;
use crate::ids::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, TopicPartition, Uuid,
};
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
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Advertised hosts and ports, by listener.
    pub listeners: Vec<(String, u16)>,
}

/// A partition's assignment and leadership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionImage {
    /// Brokers that hold it, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Its leader.
    pub leader: NodeId,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicImage {
    /// Its name.
    pub name: String,
    /// Its own settings.
    pub config: TopicConfig,
    /// Its partitions by index.
    pub partitions: Vec<PartitionImage>,
}

/// The state that replaying the metadata log from its start gives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Image {
    topics: BTreeMap<Uuid, TopicImage>,
    names: BTreeMap<String, Uuid>,
    /// Names by their form with `_` for `.`, where they have either.
    normalized: BTreeMap<String, String>,
    brokers: BTreeMap<NodeId, BrokerImage>,
    next_producer_id: ProducerId,
    epoch: LeaderEpoch,
    end: Offset,
    partitions: usize,
}

impl Image {
    /// Applies the record at `offset`.
    pub fn replay(&mut self, offset: Offset, record: &MetadataRecord) {
        assert!(offset == self.end, "metadata records are replayed in order, each once");
        self.end = offset.plus(1);
        match record {
            MetadataRecord::LeaderChange { epoch, .. } => {
                assert!(*epoch >= self.epoch, "terms only grow");
                self.epoch = *epoch;
            }
            MetadataRecord::RegisterBroker { node_id, broker_epoch, incarnation, rack, listeners } => {
                self.brokers.insert(
                    *node_id,
                    BrokerImage {
                        epoch: *broker_epoch,
                        incarnation: *incarnation,
                        rack: rack.clone(),
                        listeners: listeners.clone(),
                    },
                );
                let led = self.topics.values_mut().flat_map(|topic| &mut topic.partitions);
                for partition in led.filter(|partition| partition.leader == *node_id) {
                    partition.leader_epoch.0 += 1;
                }
            }
            MetadataRecord::Topic { topic_id, name, config } => {
                let topic = TopicImage { name: name.clone(), config: *config, partitions: Vec::new() };
                let old = self.topics.insert(*topic_id, topic);
                assert!(old.is_none(), "a topic id is drawn once");
                self.names.insert(name.clone(), *topic_id);
                if let Some(normal) = normalized(name) {
                    self.normalized.insert(normal, name.clone());
                }
            }
            MetadataRecord::Partition { topic_id, partition, replicas, leader, leader_epoch } => {
                let topic = self.topics.get_mut(topic_id).expect("a partition's record follows its topic's");
                assert!(topic.partitions.len() == partition.0 as usize, "partitions come in order");
                topic.partitions.push(PartitionImage {
                    replicas: replicas.clone(),
                    leader: *leader,
                    leader_epoch: *leader_epoch,
                });
                self.partitions += 1;
            }
            MetadataRecord::RemoveTopic { topic_id } => {
                let topic = self.topics.remove(topic_id).expect("a topic that is removed exists");
                self.names.remove(&topic.name);
                if let Some(normal) = normalized(&topic.name) {
                    self.normalized.remove(&normal);
                }
                self.partitions -= topic.partitions.len();
            }
            MetadataRecord::ProducerIds { next } => {
                assert!(*next > self.next_producer_id, "producer ids are given once");
                self.next_producer_id = *next;
            }
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

    /// Partitions that a broker leads, with their epochs.
    pub fn led_by(&self, node: NodeId) -> impl Iterator<Item = (TopicPartition, LeaderEpoch)> {
        self.topics.iter().flat_map(move |(&topic_id, topic)| {
            (0..).zip(&topic.partitions).filter(move |(_, partition)| partition.leader == node).map(
                move |(index, partition)| {
                    (TopicPartition { topic_id, partition: PartitionIndex(index) }, partition.leader_epoch)
                },
            )
        })
    }

    /// What must hold of every image; O(topics).
    pub fn check_invariants(&self) {
        assert!(self.names.len() == self.topics.len());
        let mut partitions = 0;
        for (topic_id, topic) in &self.topics {
            assert!(self.names.get(&topic.name) == Some(topic_id));
            partitions += topic.partitions.len();
            for partition in &topic.partitions {
                // S13: the leader is a replica.
                assert!(partition.replicas.contains(&partition.leader));
            }
        }
        assert!(partitions == self.partitions);
    }
}
