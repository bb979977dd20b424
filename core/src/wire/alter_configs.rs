//! AlterConfigs: all settings of a resource are replaced by others. KIP-133; clients that know IncrementalAlterConfigs use
//! that.

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Replaces settings. API key 33.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 33, versions = "0-2", flexible = "2+")]
pub struct AlterConfigsRequest {
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
    /// All that is to be set from here on.
    pub configs: Vec<AlterableConfig>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct AlterableConfig {
    /// Its name.
    pub name: Str,
    /// Its value.
    #[wire(nullable = "0+")]
    pub value: Option<Str>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 33, versions = "0-2", flexible = "2+")]
pub struct AlterConfigsResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// Each resource.
    pub responses: Vec<AlterConfigsResourceResponse>,
}

/// What became of one resource; that of IncrementalAlterConfigs looks the same.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct AlterConfigsResourceResponse {
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+")]
    pub error_message: Option<Str>,
    /// What it is, by Kafka's numbers.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: Str,
}
