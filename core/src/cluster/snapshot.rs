//! Everything the core knows at one lsn, so that the journal before it can go.

use crate::cluster::image::Image;
use crate::ids::{Lsn, Offset, TopicPartition, Uuid};
use crate::log::LogSnapshot;
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
    /// What of it is lost; such a partition is not served.
    pub damage: Option<Damage>,
}

/// The core's state after the entry `through`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last entry that shows in it.
    pub through: Lsn,
    /// Number of the run that wrote it.
    pub boot: u64,
    /// The metadata.
    pub image: Image,
    /// The partitions that this node holds, in order; those without any history are left out.
    pub partitions: Vec<PartitionSnapshot>,
    /// Deleted topics whose files may still be there, with their number of partitions.
    pub drops: Vec<(Uuid, i32)>,
}
