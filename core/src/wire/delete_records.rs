//! DeleteRecords: moves the start of partitions' logs. KIP-107.

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Deletes the records before an offset. API key 21.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 21, versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsRequest {
    /// The topics.
    pub topics: Vec<DeleteRecordsTopic>,
    /// How long to wait for all live replicas, in ms.
    pub timeout_ms: i32,
}

/// What to delete of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DeleteRecordsTopic {
    /// The topic.
    pub name: Str,
    /// Its partitions.
    pub partitions: Vec<DeleteRecordsPartition>,
}

/// What to delete of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DeleteRecordsPartition {
    /// The partition.
    pub partition_index: i32,
    /// Records before this offset are deleted; -1 stands for the high watermark.
    pub offset: i64,
}

/// How far records were deleted.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 21, versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// The answers by topic.
    pub topics: Vec<DeleteRecordsTopicResult>,
}

/// The answers about one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DeleteRecordsTopicResult {
    /// The topic.
    pub name: Str,
    /// The answers by partition.
    pub partitions: Vec<DeleteRecordsPartitionResult>,
}

/// The answer about one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DeleteRecordsPartitionResult {
    /// The partition.
    pub partition_index: i32,
    /// The least log start of all live replicas; -1 with an error.
    pub low_watermark: i64,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
}
