//! CreateTopics. KIP-4, KIP-464 (defaults for partitions and replicas), KIP-525 (configuration in the response), KIP-599
//! (quota), KIP-516 (topic ids).

use crate::{
    ids::Uuid,
    wire::{Str, Wire},
};
use alloc::vec::Vec;

/// Creates topics. API key 19.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 19, versions = "2-7", flexible = "5+")]
pub struct CreateTopicsRequest {
    /// The topics.
    pub topics: Vec<CreatableTopic>,
    /// How long to wait until all brokers know them.
    #[wire(default = 60_000)]
    pub timeout_ms: i32,
    /// Whether only to check.
    #[wire(versions = "1+", default = false)]
    pub validate_only: bool,
}

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct CreatableTopic {
    /// Its name.
    pub name: Str,
    /// How many partitions; -1 for the cluster's default or where `assignments` says.
    pub num_partitions: i32,
    /// How many replicas; -1 for the cluster's default or where `assignments` says.
    pub replication_factor: i16,
    /// Which brokers are to have which partition; empty leaves it to the controller.
    pub assignments: Vec<CreatableReplicaAssignment>,
    /// Configuration that differs from the defaults.
    pub configs: Vec<CreatableTopicConfig>,
}

/// The brokers for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct CreatableReplicaAssignment {
    /// The partition.
    pub partition_index: i32,
    /// The brokers, the preferred leader first.
    pub broker_ids: Vec<i32>,
}

/// One configuration entry.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct CreatableTopicConfig {
    /// Its name.
    pub name: Str,
    /// Its value.
    #[wire(nullable = "0+")]
    pub value: Option<Str>,
}

/// What became of the topics.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 19, versions = "2-7", flexible = "5+")]
pub struct CreateTopicsResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    /// The result for each topic.
    pub topics: Vec<CreatableTopicResult>,
}

/// What became of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct CreatableTopicResult {
    /// The topic.
    pub name: Str,
    /// Its id.
    #[wire(versions = "7+", ignorable)]
    pub topic_id: Uuid,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(versions = "1+", nullable = "0+", ignorable)]
    pub error_message: Option<Str>,
    /// Why `configs` is null.
    #[wire(versions = "5+", tag = 0, tagged = "5+", ignorable)]
    pub topic_config_error_code: i16,
    /// How many partitions it has.
    #[wire(versions = "5+", default = -1, ignorable)]
    pub num_partitions: i32,
    /// How many replicas each has.
    #[wire(versions = "5+", default = -1, ignorable)]
    pub replication_factor: i16,
    /// Its configuration; null if the client may not see it.
    #[wire(versions = "5+", nullable = "5+", ignorable)]
    pub configs: Option<Vec<CreatableTopicConfigs>>,
}

/// One configuration entry of a created topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct CreatableTopicConfigs {
    /// Its name.
    #[wire(versions = "5+")]
    pub name: Str,
    /// Its value.
    #[wire(versions = "5+", nullable = "5+")]
    pub value: Option<Str>,
    /// Whether it cannot be changed.
    #[wire(versions = "5+")]
    pub read_only: bool,
    /// Where the value comes from, by Kafka's numbers.
    #[wire(versions = "5+", default = -1, ignorable)]
    pub config_source: i8,
    /// Whether the value is a secret.
    #[wire(versions = "5+")]
    pub is_sensitive: bool,
}
