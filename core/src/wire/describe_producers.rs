//! DescribeProducers: which producers a partition knows. KIP-664.

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks for the producers of partitions. API key 61.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 61, versions = "0", flexible = "0+")]
pub struct DescribeProducersRequest {
    /// The topics.
    pub topics: Vec<TopicRequest>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct TopicRequest {
    /// Its name.
    pub name: Str,
    /// Its partitions.
    pub partition_indexes: Vec<i32>,
}

/// The producers.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 61, versions = "0", flexible = "0+")]
pub struct DescribeProducersResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<TopicResponse>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct TopicResponse {
    /// Its name.
    pub name: Str,
    /// Its partitions.
    pub partitions: Vec<PartitionResponse>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct PartitionResponse {
    /// Its index.
    pub partition_index: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+", default = null)]
    pub error_message: Option<Str>,
    /// Its producers.
    pub active_producers: Vec<ProducerState>,
}

/// One producer.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ProducerState {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// The sequence number of its last record; -1 if unknown.
    #[wire(default = -1)]
    pub last_sequence: i32,
    /// The timestamp of its last batch, in ms; -1 if unknown.
    #[wire(default = -1)]
    pub last_timestamp: i64,
    /// The epoch of its transactions' coordinator; -1 if none has written here.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins; -1 without one.
    #[wire(default = -1)]
    pub current_txn_start_offset: i64,
}
