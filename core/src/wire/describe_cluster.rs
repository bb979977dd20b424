//! DescribeCluster: the brokers or controllers and the cluster's id. KIP-700, KIP-919 (controllers), KIP-1073 (fenced
//! brokers).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks about the cluster. API key 60.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 60, versions = "0-2", flexible = "0+")]
pub struct DescribeClusterRequest {
    /// Whether to say what the client may do to the cluster.
    pub include_cluster_authorized_operations: bool,
    /// 1 asks about brokers, 2 about controllers.
    #[wire(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    /// Whether to list fenced brokers too.
    #[wire(versions = "2+")]
    pub include_fenced_brokers: bool,
}

/// The cluster.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 60, versions = "0-2", flexible = "0+")]
pub struct DescribeClusterResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+", default = null)]
    pub error_message: Option<Str>,
    /// What `brokers` lists: 1 brokers, 2 controllers.
    #[wire(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    /// The cluster.
    pub cluster_id: Str,
    /// The leading controller, or from a broker any broker; -1 for none.
    #[wire(default = -1)]
    pub controller_id: i32,
    /// The brokers or controllers.
    pub brokers: Vec<DescribeClusterBroker>,
    /// What the client may do to the cluster, one bit each; the smallest number if it did not ask.
    #[wire(default = i32::MIN)]
    pub cluster_authorized_operations: i32,
}

/// One broker or controller.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribeClusterBroker {
    /// Its id.
    pub broker_id: i32,
    /// Its host.
    pub host: Str,
    /// Its port.
    pub port: i32,
    /// Its rack, if it has one.
    #[wire(nullable = "0+", default = null)]
    pub rack: Option<Str>,
    /// Whether it is fenced.
    #[wire(versions = "2+")]
    pub is_fenced: bool,
}
