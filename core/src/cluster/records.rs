//! The records of the metadata log. Durable format: postcard behind a format byte; new variants and fields go to the end.
//!
//! One entry of the log is a list of records that take effect together: a decision is in the metadata whole or not at all.

use crate::cluster::assignment::Assignment;
use crate::cluster::group_config::GroupConfig;
use crate::cluster::topic_config::TopicConfig;
use crate::ids::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, ProducerId, RunId,
    TopicPartition, Uuid,
};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Version of the encoding of all records. Format 3 has one kind of record more, and topics' settings in their second form;
/// formats 4 and 5 one kind more each.
const FORMAT: u8 = 5;
/// The oldest one that is read: of what is in it, all is still written alike or known by its first byte.
const FORMAT_MIN: u8 = 2;

/// A member of the quorum: a node is one only with the disk that it was admitted with (SAFETY Q1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Voter {
    /// The node.
    pub node_id: NodeId,
    /// Its folder's incarnation.
    pub incarnation: Uuid,
}

/// A replica whose log may lack its last records, as it said when it registered (SAFETY J4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// The replica.
    pub node: NodeId,
    /// The latest epoch of its log.
    pub epoch: Option<LeaderEpoch>,
    /// The end of its log.
    pub end: Offset,
}

/// Who leads a partition and who may: all of what changes in a partition's life.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartitionState {
    /// The leader; `None` while there is none that may lead.
    pub leader: Option<NodeId>,
    /// The leader's epoch; grows with every change of leader.
    pub leader_epoch: LeaderEpoch,
    /// Number of this state.
    pub partition_epoch: PartitionEpoch,
    /// In-sync replicas, in the order of the assignment.
    pub isr: Vec<NodeId>,
    /// Eligible leader replicas (KIP-966): not in sync, but with every committed record.
    pub elr: Vec<NodeId>,
    /// Members of the ELR that may lack their last records: they lead only when all of ISR and ELR are in doubt, the
    /// longest first (SAFETY J4). Nobody in the ISR is in doubt.
    pub doubts: Vec<Doubt>,
    /// Who may lead, by name, while ISR and ELR are empty: the last that had every committed record, until it did not stop
    /// in order (SAFETY R5; KIP-966's last known leader).
    pub last_known: Option<NodeId>,
    /// The latest leader epoch whose leader may have lacked committed records when it was elected: logs that end in an older
    /// epoch may be cut below their own watermark (SAFETY R7).
    pub unclean_epoch: Option<LeaderEpoch>,
}

impl PartitionState {
    /// The state that a partition is created with.
    #[must_use]
    pub fn first(leader: NodeId, isr: Vec<NodeId>) -> Self {
        assert!(isr.contains(&leader), "the leader is in sync");
        Self { leader: Some(leader), isr, ..Self::default() }
    }

    /// The leader leads no more in its epoch, and nobody follows it yet (SAFETY R2).
    pub fn end_leadership(&mut self) {
        self.leader = None;
        self.leader_epoch.0 += 1;
        self.partition_epoch.0 += 1;
    }
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
    /// Who votes. Takes effect at the append; differs from the list before by one member at most (Raft section 4.1 of the
    /// thesis).
    Voters {
        /// All of them.
        voters: Vec<Voter>,
    },
    /// A broker's run registered. Ends every leader epoch that the broker held (SAFETY R2): what it led has no leader, in
    /// the next leader epoch.
    RegisterBroker {
        /// The broker.
        node_id: NodeId,
        /// The number of this registration: the offset of its own entry (KIP-631).
        broker_epoch: BrokerEpoch,
        /// The folder's incarnation.
        incarnation: Uuid,
        /// The run.
        run: RunId,
        /// `broker.rack`.
        rack: Option<String>,
        /// Advertised hosts and ports, by listener.
        listeners: Vec<(String, u16)>,
        /// Where other nodes reach it.
        peer_listener: Option<(String, u16)>,
    },
    /// A broker is fenced or not, and leads or is about to stop.
    BrokerState {
        /// The broker.
        node_id: NodeId,
        /// It is not heard of: it leads nothing and is in no ISR.
        fenced: bool,
        /// It hands over what it leads, in order to stop.
        shutting_down: bool,
    },
    /// A topic exists.
    Topic {
        /// Its id.
        topic_id: Uuid,
        /// Its name.
        name: String,
        /// Its own settings.
        config: TopicConfig,
        /// `min.insync.replicas` as it is in force. Settled here, because leaders and controller must act on the same value
        /// (SAFETY R3), which the configurations of nodes need not have.
        min_insync_replicas: i32,
    },
    /// A partition of a topic exists.
    Partition {
        /// The topic.
        topic_id: Uuid,
        /// Its index; partitions come in order.
        partition: PartitionIndex,
        /// Brokers that hold it, the preferred leader first.
        replicas: Vec<NodeId>,
        /// Its first state.
        state: PartitionState,
    },
    /// A partition's leader, ISR or ELR changed.
    PartitionChange {
        /// The topic.
        topic_id: Uuid,
        /// Its index.
        partition: PartitionIndex,
        /// The state from here on.
        state: PartitionState,
    },
    /// A topic is deleted.
    RemoveTopic {
        /// The topic.
        topic_id: Uuid,
    },
    /// Producer ids from `first` up to `next` belong to a broker; those below `next` are not given again (SAFETY K2).
    ProducerIds {
        /// The broker.
        node_id: NodeId,
        /// Its registration: a later run does not use what an earlier one was given.
        broker_epoch: BrokerEpoch,
        /// The first id of the block.
        first: ProducerId,
        /// The first id that is still free.
        next: ProducerId,
    },
    /// A topic's settings changed. Where `min.insync.replicas` did, changes of all its partitions stand in the same entry
    /// (SAFETY R3).
    TopicConfig {
        /// The topic.
        topic_id: Uuid,
        /// All of its own settings from here on.
        config: TopicConfig,
        /// `min.insync.replicas` as it is in force.
        min_insync_replicas: i32,
    },
    /// A partition's replicas change (KIP-455). Whoever leads from here on does so in a new leader epoch: what leader and
    /// followers said to each other before counts no more (SAFETY R1).
    Reassignment {
        /// The topic.
        topic_id: Uuid,
        /// Its index.
        partition: PartitionIndex,
        /// The replicas from here on.
        assignment: Assignment,
        /// The state from here on.
        state: PartitionState,
    },
    /// A group's settings changed. It need not exist.
    GroupConfig {
        /// The group's name.
        group: String,
        /// All of its own settings from here on.
        config: GroupConfig,
    },
}

impl MetadataRecord {
    /// The partition whose replicas it names, and these.
    #[must_use]
    pub fn replicas(&self) -> Option<(TopicPartition, &[NodeId])> {
        let (topic_id, partition, replicas) = match self {
            Self::Partition { topic_id, partition, replicas, .. } => {
                (topic_id, partition, replicas.as_slice())
            }
            Self::Reassignment { topic_id, partition, assignment, .. } => {
                (topic_id, partition, assignment.replicas())
            }
            Self::LeaderChange { .. }
            | Self::Voters { .. }
            | Self::RegisterBroker { .. }
            | Self::BrokerState { .. }
            | Self::Topic { .. }
            | Self::PartitionChange { .. }
            | Self::RemoveTopic { .. }
            | Self::ProducerIds { .. }
            | Self::TopicConfig { .. }
            | Self::GroupConfig { .. } => return None,
        };
        Some((TopicPartition { topic_id: *topic_id, partition: *partition }, replicas))
    }

    /// The bytes of one entry of the metadata log.
    #[must_use]
    pub fn encode(records: &[Self]) -> Vec<u8> {
        postcard::to_extend(records, alloc::vec![FORMAT])
            .expect("in-memory serialisation of plain data cannot fail")
    }

    /// Reads [`MetadataRecord::encode`]'s bytes.
    ///
    /// # Errors
    /// A sentence that says whether another release wrote the entry or it is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Vec<Self>, &'static str> {
        match bytes.split_first() {
            Some((FORMAT_MIN..=FORMAT, body)) => {
                postcard::from_bytes(body).map_err(|_| "a metadata record cannot be read")
            }
            Some((&format, _)) if format > FORMAT => Err("a metadata record was written by a newer release"),
            Some(_) | None => Err("a metadata record has no known format"),
        }
    }
}
