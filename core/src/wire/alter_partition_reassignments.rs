//! AlterPartitionReassignments. KIP-455; KIP-860 (guarding the replication factor).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Moves partitions to other brokers. API key 45.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 45, versions = "0-1", flexible = "0+")]
pub struct AlterPartitionReassignmentsRequest {
    /// How long to wait for the decision.
    #[wire(default = 60_000)]
    pub timeout_ms: i32,
    /// A partition may get more or fewer replicas.
    #[wire(versions = "1+", default = true)]
    pub allow_replication_factor_change: bool,
    /// The partitions by topic.
    pub topics: Vec<ReassignableTopic>,
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ReassignableTopic {
    /// Its name.
    pub name: Str,
    /// The partitions.
    pub partitions: Vec<ReassignablePartition>,
}

/// A partition, and where it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ReassignablePartition {
    /// Its index.
    pub partition_index: i32,
    /// The brokers, the preferred leader first; null takes back a reassignment that is going on.
    #[wire(nullable = "0+", default = null)]
    pub replicas: Option<Vec<i32>>,
}

/// What became of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 45, versions = "0-1", flexible = "0+")]
pub struct AlterPartitionReassignmentsResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// As it was asked.
    #[wire(versions = "1+", default = true, ignorable)]
    pub allow_replication_factor_change: bool,
    /// What went wrong with the request as a whole; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+")]
    pub error_message: Option<Str>,
    /// The result for each topic.
    pub responses: Vec<ReassignableTopicResponse>,
}

/// What became of a topic's partitions.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ReassignableTopicResponse {
    /// Its name.
    pub name: Str,
    /// The result for each partition.
    pub partitions: Vec<ReassignablePartitionResponse>,
}

/// What became of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ReassignablePartitionResponse {
    /// Its index.
    pub partition_index: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+")]
    pub error_message: Option<Str>,
}
