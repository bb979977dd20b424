//! Everything the core knows at one lsn, so that the journal before it can go.

use crate::cluster::image::Image;
use crate::cluster::records::Voter;
use crate::ids::{LeaderEpoch, Lsn, NodeId, Offset, TopicPartition, Uuid};
use crate::journal::QuorumChain;
use crate::log::LogSnapshot;
use crate::quorum::log::MetadataLogSnapshot;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Offsets of a partition that were acknowledged once and can no longer be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The first such offset.
    pub from: Offset,
    /// The offset after the last, where it is known.
    pub to: Option<Offset>,
}

/// One partition in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionSnapshot {
    /// The partition.
    pub partition: TopicPartition,
    /// Its log as numbers.
    pub log: LogSnapshot,
    /// The end of what was known to be committed. It may be old.
    pub high_watermark: Offset,
    /// What of it is lost; such a partition is not served.
    pub damage: Option<Damage>,
}

/// The cluster that a node belongs to, and its founders (SAFETY Q1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its id.
    pub id: Uuid,
    /// Its first voters.
    pub voters: Vec<Voter>,
}

/// The node's term and vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ballot {
    /// The term.
    pub epoch: LeaderEpoch,
    /// Whom it voted for in it.
    pub candidate: Option<NodeId>,
}

/// What a node must not forget of the quorum.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuorumSnapshot {
    /// The cluster; `None` for a node that is blank.
    pub cluster: Option<Cluster>,
    /// Term and vote.
    pub ballot: Ballot,
    /// Committed metadata. The log behind it may or may not be.
    pub image: Image,
    /// The metadata log.
    pub log: MetadataLogSnapshot,
    /// The digest of all entries that this comes from.
    pub chain: QuorumChain,
}

/// The core's state after the entry `through`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last entry that shows in it.
    pub through: Lsn,
    /// Number of the run that wrote it.
    pub boot: u64,
    /// The quorum's part.
    pub quorum: QuorumSnapshot,
    /// The partitions that this node holds, in order; those without any history are left out.
    pub partitions: Vec<PartitionSnapshot>,
    /// Deleted topics whose files may still be there, with their number of partitions.
    pub drops: Vec<(Uuid, i32)>,
    /// Logs that may lack their last records (SAFETY J4).
    pub doubtful: Vec<TopicPartition>,
}
