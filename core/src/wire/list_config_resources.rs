//! ListConfigResources: what has settings. KIP-714 (version 0, which lists subscriptions to clients' metrics), KIP-1142.

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks what has settings. API key 74.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 74, versions = "0-1", flexible = "0+")]
pub struct ListConfigResourcesRequest {
    /// Of which kinds, by Kafka's numbers; none asks for all.
    #[wire(versions = "1+")]
    pub resource_types: Vec<i8>,
}

/// What has settings.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 74, versions = "0-1", flexible = "0+")]
pub struct ListConfigResourcesResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// Each resource.
    pub config_resources: Vec<ConfigResource>,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ConfigResource {
    /// Its name.
    pub resource_name: Str,
    /// What it is, by Kafka's numbers.
    #[wire(versions = "1+", default = 16, ignorable)]
    pub resource_type: i8,
}
