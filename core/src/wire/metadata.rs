//! Metadata: which brokers there are, and who leads which partition. KIP-430 (authorized operations), KIP-516 (topic
//! ids), KIP-700 (cluster operations moved to DescribeCluster), KIP-1102 (rebootstrap, version 13).

use crate::{
    ids::Uuid,
    wire::{Str, Wire},
};
use alloc::vec::Vec;

/// Asks about brokers and topics. API key 3.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 3, versions = "0-13", flexible = "9+")]
pub struct MetadataRequest {
    /// The topics asked about. All of them: null, or in version 0 an empty list.
    #[wire(nullable = "1+")]
    pub topics: Option<Vec<MetadataRequestTopic>>,
    /// Whether topics that do not exist may be created on the way.
    #[wire(versions = "4+", default = true)]
    pub allow_auto_topic_creation: bool,
    /// Whether to say what the client may do to the cluster.
    #[wire(versions = "8-10")]
    pub include_cluster_authorized_operations: bool,
    /// Whether to say what the client may do to each topic.
    #[wire(versions = "8+")]
    pub include_topic_authorized_operations: bool,
}

/// One topic asked about.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct MetadataRequestTopic {
    /// The topic, by id; meant from version 12.
    #[wire(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    /// The topic, by name.
    #[wire(nullable = "10+")]
    pub name: Option<Str>,
}

/// Brokers and topics.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 3, versions = "0-13", flexible = "9+")]
pub struct MetadataResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    /// The brokers that live.
    pub brokers: Vec<MetadataResponseBroker>,
    /// The cluster.
    #[wire(versions = "2+", nullable = "2+", default = null, ignorable)]
    pub cluster_id: Option<Str>,
    /// The broker that takes requests for the controller.
    #[wire(versions = "1+", default = -1, ignorable)]
    pub controller_id: i32,
    /// The topics.
    pub topics: Vec<MetadataResponseTopic>,
    /// What the client may do to the cluster, one bit each; the smallest number if it did not ask.
    #[wire(versions = "8-10", default = i32::MIN)]
    pub cluster_authorized_operations: i32,
    /// What is wrong with the whole request; 0 if nothing is.
    #[wire(versions = "13+", ignorable)]
    pub error_code: i16,
}

/// One broker.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct MetadataResponseBroker {
    /// The broker.
    pub node_id: i32,
    /// Its host.
    pub host: Str,
    /// Its port.
    pub port: i32,
    /// Its rack, if it has one.
    #[wire(versions = "1+", nullable = "1+", default = null, ignorable)]
    pub rack: Option<Str>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct MetadataResponseTopic {
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The topic's name; null for an id that no topic has.
    #[wire(nullable = "12+")]
    pub name: Option<Str>,
    /// The topic's id; zero for a name that no topic has.
    #[wire(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    /// Whether the cluster keeps it for itself.
    #[wire(versions = "1+", default = false, ignorable)]
    pub is_internal: bool,
    /// Its partitions.
    pub partitions: Vec<MetadataResponsePartition>,
    /// What the client may do to it, one bit each; the smallest number if it did not ask.
    #[wire(versions = "8+", default = i32::MIN)]
    pub topic_authorized_operations: i32,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct MetadataResponsePartition {
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The partition.
    pub partition_index: i32,
    /// Its leader; -1 for none.
    pub leader_id: i32,
    /// The leader's epoch; -1 if unknown.
    #[wire(versions = "7+", default = -1, ignorable)]
    pub leader_epoch: i32,
    /// All its replicas.
    pub replica_nodes: Vec<i32>,
    /// Those in the ISR.
    pub isr_nodes: Vec<i32>,
    /// Those that are not to be reached.
    #[wire(versions = "5+", ignorable)]
    pub offline_replicas: Vec<i32>,
}
