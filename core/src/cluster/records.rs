//! The records of the metadata log. Durable format: postcard behind a format byte; new variants and fields go to the end.

use crate::cluster::topic_config::TopicConfig;
use crate::ids::{BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, ProducerId, Uuid};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Version of the encoding of all records.
const FORMAT: u8 = 1;

/// A member of the quorum: a node is one only with the disk that it was admitted with (SAFETY Q1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Voter {
    /// The node.
    pub node_id: NodeId,
    /// Its folder's incarnation.
    pub incarnation: Uuid,
}

/// One change of the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataRecord {
    /// A leader's term begins (Raft section 8, KIP-595).
    LeaderChange {
        /// The leader.
        leader: NodeId,
        /// Its term.
        epoch: LeaderEpoch,
    },
    /// A broker's incarnation registered. Ends every leader epoch that the broker held (SAFETY R2): each partition it led
    /// goes to the next leader epoch.
    RegisterBroker {
        /// The broker.
        node_id: NodeId,
        /// The number of this registration.
        broker_epoch: BrokerEpoch,
        /// The folder's incarnation.
        incarnation: Uuid,
        /// `broker.rack`.
        rack: Option<String>,
        /// Advertised hosts and ports, by listener.
        listeners: Vec<(String, u16)>,
    },
    /// A topic exists.
    Topic {
        /// Its id.
        topic_id: Uuid,
        /// Its name.
        name: String,
        /// Its own settings.
        config: TopicConfig,
    },
    /// A partition of a topic exists.
    Partition {
        /// The topic.
        topic_id: Uuid,
        /// Its index; partitions come in order.
        partition: PartitionIndex,
        /// Brokers that hold it, the preferred leader first.
        replicas: Vec<NodeId>,
        /// The leader.
        leader: NodeId,
        /// The leader's epoch.
        leader_epoch: LeaderEpoch,
    },
    /// A topic is deleted.
    RemoveTopic {
        /// The topic.
        topic_id: Uuid,
    },
    /// Producer ids below `next` are given to brokers and are not given again (SAFETY K2).
    ProducerIds {
        /// The first id that is still free.
        next: ProducerId,
    },
}

impl MetadataRecord {
    /// The record's bytes in the metadata log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, alloc::vec![FORMAT])
            .expect("in-memory serialisation of plain data cannot fail")
    }

    /// Reads [`MetadataRecord::encode`]'s bytes.
    ///
    /// # Errors
    /// A sentence that says whether a newer release wrote the record or it is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        match bytes.split_first() {
            Some((&FORMAT, body)) => {
                postcard::from_bytes(body).map_err(|_| "a metadata record cannot be read")
            }
            Some((&format, _)) if format > FORMAT => Err("a metadata record was written by a newer release"),
            Some(_) | None => Err("a metadata record has no known format"),
        }
    }
}
