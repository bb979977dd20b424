//! ListOffsets: finds offsets by timestamp, or the log's start and end. KIP-79, KIP-207 (leader epochs), KIP-734 (largest
//! timestamp), KIP-405, KIP-1005 and KIP-1023 (tiered storage), KIP-1075 (timeout).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks for offsets. API key 2.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 2, versions = "1-11", flexible = "6+")]
pub struct ListOffsetsRequest {
    /// The follower that asks; -1 for a consumer.
    pub replica_id: i32,
    /// 0 asks up to the high watermark, 1 up to the last stable offset.
    #[wire(versions = "2+")]
    pub isolation_level: i8,
    /// The questions by topic.
    pub topics: Vec<ListOffsetsTopic>,
    /// How long to wait where remote storage must be asked.
    #[wire(versions = "10+", ignorable)]
    pub timeout_ms: i32,
}

/// The questions about one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ListOffsetsTopic {
    /// The topic.
    pub name: Str,
    /// The questions by partition.
    pub partitions: Vec<ListOffsetsPartition>,
}

/// The question about one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ListOffsetsPartition {
    /// The partition.
    pub partition_index: i32,
    /// The leader epoch that the client knows; -1 turns fencing off.
    #[wire(versions = "4+", default = -1, ignorable)]
    pub current_leader_epoch: i32,
    /// The time asked for; negative numbers name places: -1 the end, -2 the start, -3 the largest timestamp, -4 the
    /// local start, -5 the end of what is tiered, -6 the start of what is yet to be tiered.
    pub timestamp: i64,
}

/// The offsets found.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 2, versions = "1-11", flexible = "6+")]
pub struct ListOffsetsResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    /// The answers by topic.
    pub topics: Vec<ListOffsetsTopicResponse>,
}

/// The answers about one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ListOffsetsTopicResponse {
    /// The topic.
    pub name: Str,
    /// The answers by partition.
    pub partitions: Vec<ListOffsetsPartitionResponse>,
}

/// The answer about one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ListOffsetsPartitionResponse {
    /// The partition.
    pub partition_index: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The timestamp of the record found; -1 if a place was asked for or none was found.
    #[wire(versions = "1+", default = -1)]
    pub timestamp: i64,
    /// The offset found; -1 for none.
    #[wire(versions = "1+", default = -1)]
    pub offset: i64,
    /// The epoch of that offset; -1 if unknown.
    #[wire(versions = "4+", default = -1)]
    pub leader_epoch: i32,
}
