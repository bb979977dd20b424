//! OffsetDelete: forgets what a group committed in topics that it does not read. KIP-496.

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Deletes committed offsets. API key 47.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 47, versions = "0")]
pub struct OffsetDeleteRequest {
    /// The group.
    pub group_id: Str,
    /// The partitions by topic.
    pub topics: Vec<OffsetDeleteRequestTopic>,
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetDeleteRequestTopic {
    /// The topic.
    pub name: Str,
    /// Its partitions.
    pub partitions: Vec<OffsetDeleteRequestPartition>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetDeleteRequestPartition {
    /// The partition.
    pub partition_index: i32,
}

/// What became of the offsets.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 47, versions = "0")]
pub struct OffsetDeleteResponse {
    /// What went wrong with the request as a whole; 0 if nothing did.
    pub error_code: i16,
    /// How long the client was held back for its quota.
    #[wire(ignorable)]
    pub throttle_time_ms: i32,
    /// The results by topic.
    pub topics: Vec<OffsetDeleteResponseTopic>,
}

/// What became of the offsets in one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetDeleteResponseTopic {
    /// The topic.
    pub name: Str,
    /// The results by partition.
    pub partitions: Vec<OffsetDeleteResponsePartition>,
}

/// What became of the offset in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetDeleteResponsePartition {
    /// The partition.
    pub partition_index: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
}
