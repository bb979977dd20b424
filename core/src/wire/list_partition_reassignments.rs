//! ListPartitionReassignments. KIP-455.

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Lists the reassignments that are going on. API key 46.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 46, versions = "0", flexible = "0+")]
pub struct ListPartitionReassignmentsRequest {
    /// How long to wait for the answer.
    #[wire(default = 60_000)]
    pub timeout_ms: i32,
    /// The partitions by topic; null for all.
    #[wire(nullable = "0+", default = null)]
    pub topics: Option<Vec<ListPartitionReassignmentsTopics>>,
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ListPartitionReassignmentsTopics {
    /// Its name.
    pub name: Str,
    /// Their indexes.
    pub partition_indexes: Vec<i32>,
}

/// The reassignments.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 46, versions = "0", flexible = "0+")]
pub struct ListPartitionReassignmentsResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+")]
    pub error_message: Option<Str>,
    /// Those of each topic that has any.
    pub topics: Vec<OngoingTopicReassignment>,
}

/// The reassignments of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OngoingTopicReassignment {
    /// Its name.
    pub name: Str,
    /// Its partitions that move.
    pub partitions: Vec<OngoingPartitionReassignment>,
}

/// One that moves.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OngoingPartitionReassignment {
    /// Its index.
    pub partition_index: i32,
    /// All brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those that are added.
    pub adding_replicas: Vec<i32>,
    /// Those that are removed.
    pub removing_replicas: Vec<i32>,
}
