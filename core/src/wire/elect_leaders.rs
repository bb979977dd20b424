//! ElectLeaders. KIP-183, KIP-460 (kinds of elections).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Elects leaders. API key 43.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 43, versions = "0-2", flexible = "2+")]
pub struct ElectLeadersRequest {
    /// 0 elects preferred leaders, 1 a replica that may lack records where none that has them all is there.
    #[wire(versions = "1+")]
    pub election_type: i8,
    /// The partitions; null for all.
    #[wire(nullable = "0+")]
    pub topic_partitions: Option<Vec<ElectLeadersTopic>>,
    /// How long to wait for the elections.
    #[wire(default = 60_000)]
    pub timeout_ms: i32,
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ElectLeadersTopic {
    /// Its name.
    pub topic: Str,
    /// Their indexes.
    pub partitions: Vec<i32>,
}

/// What became of the elections.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 43, versions = "0-2", flexible = "2+")]
pub struct ElectLeadersResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// What went wrong with the request as a whole; 0 if nothing did.
    #[wire(versions = "1+")]
    pub error_code: i16,
    /// The result for each topic.
    pub replica_election_results: Vec<ReplicaElectionResult>,
}

/// What became of a topic's elections.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ReplicaElectionResult {
    /// Its name.
    pub topic: Str,
    /// The result for each partition.
    pub partition_result: Vec<ElectionPartitionResult>,
}

/// What became of one election.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ElectionPartitionResult {
    /// The partition's index.
    pub partition_id: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+")]
    pub error_message: Option<Str>,
}
