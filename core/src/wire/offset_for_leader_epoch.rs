//! OffsetForLeaderEpoch: where an epoch ends in the leader's log, by which a client or follower finds out whether and where
//! it diverged. KIP-101, KIP-279, KIP-320.

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks where epochs end. API key 23.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 23, versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochRequest {
    /// The follower that asks; -1 for a consumer, -2 for a debugger, which may look above the high watermark.
    #[wire(versions = "3+", default = -2, ignorable)]
    pub replica_id: i32,
    /// The questions by topic.
    pub topics: Vec<OffsetForLeaderTopic>,
}

/// The questions about one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetForLeaderTopic {
    /// The topic.
    pub topic: Str,
    /// The questions by partition.
    pub partitions: Vec<OffsetForLeaderPartition>,
}

/// The question about one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetForLeaderPartition {
    /// The partition.
    pub partition: i32,
    /// The leader epoch that the client knows; -1 turns fencing off.
    #[wire(versions = "2+", default = -1, ignorable)]
    pub current_leader_epoch: i32,
    /// The epoch asked about.
    pub leader_epoch: i32,
}

/// Where the epochs end.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 23, versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    /// The answers by topic.
    pub topics: Vec<OffsetForLeaderTopicResult>,
}

/// The answers about one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetForLeaderTopicResult {
    /// The topic.
    pub topic: Str,
    /// The answers by partition.
    pub partitions: Vec<EpochEndOffset>,
}

/// The answer about one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct EpochEndOffset {
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The partition.
    pub partition: i32,
    /// The largest epoch not above the one asked about; -1 if there is none.
    #[wire(versions = "1+", default = -1, ignorable)]
    pub leader_epoch: i32,
    /// The offset after its last record; -1 if there is none.
    #[wire(default = -1)]
    pub end_offset: i64,
}
