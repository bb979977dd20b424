//! IncrementalAlterConfigs: single settings of topics and brokers are changed. KIP-339.

use crate::wire::alter_configs::AlterConfigsResourceResponse;
use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Changes settings. API key 44.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 44, versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsRequest {
    /// Of what.
    pub resources: Vec<AlterConfigsResource>,
    /// Whether only to check.
    pub validate_only: bool,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct AlterConfigsResource {
    /// What it is, by Kafka's numbers.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: Str,
    /// The changes.
    pub configs: Vec<AlterableConfig>,
}

/// The change of one setting.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct AlterableConfig {
    /// Its name.
    pub name: Str,
    /// 0: set, 1: delete, 2: append to a list, 3: take from a list.
    pub config_operation: i8,
    /// The value, or a part of it.
    #[wire(nullable = "0+")]
    pub value: Option<Str>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 44, versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// Each resource.
    pub responses: Vec<AlterConfigsResourceResponse>,
}
