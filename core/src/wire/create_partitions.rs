//! CreatePartitions. KIP-195, KIP-599 (quota).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Gives topics more partitions. API key 37.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 37, versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsRequest {
    /// The topics.
    pub topics: Vec<CreatePartitionsTopic>,
    /// How long to wait until they are there.
    pub timeout_ms: i32,
    /// Only checks what is asked for.
    pub validate_only: bool,
}

/// A topic that is to have more partitions.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct CreatePartitionsTopic {
    /// Its name.
    pub name: Str,
    /// How many partitions it is to have in all.
    pub count: i32,
    /// Replicas of each new partition, in order; null leaves them to the controller.
    #[wire(nullable = "0+")]
    pub assignments: Option<Vec<CreatePartitionsAssignment>>,
}

/// Replicas of a new partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct CreatePartitionsAssignment {
    /// The brokers, the preferred leader first.
    pub broker_ids: Vec<i32>,
}

/// What became of the topics.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 37, versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// The result for each topic.
    pub results: Vec<CreatePartitionsTopicResult>,
}

/// What became of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct CreatePartitionsTopicResult {
    /// Its name.
    pub name: Str,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+", default = null)]
    pub error_message: Option<Str>,
}
