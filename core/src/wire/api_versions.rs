//! ApiVersions: what a broker can do; the first request on a connection. KIP-35, KIP-511 (the client says what it is),
//! KIP-584 (features). Its response header is version 0 for ever.

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks which APIs there are. API key 18.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 18, versions = "0-4", flexible = "3+")]
pub struct ApiVersionsRequest {
    /// What the client is.
    #[wire(versions = "3+", ignorable)]
    pub client_software_name: Str,
    /// Its version.
    #[wire(versions = "3+", ignorable)]
    pub client_software_version: Str,
}

/// The APIs that there are.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 18, versions = "0-4", flexible = "3+")]
pub struct ApiVersionsResponse {
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The APIs.
    pub api_keys: Vec<ApiVersion>,
    /// How long the client was held back for its quota.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// The features that the broker can do. Before version 4, one whose least version is 0 must be left out
    /// (KAFKA-17011).
    #[wire(versions = "3+", tag = 0, tagged = "3+", ignorable)]
    pub supported_features: Vec<SupportedFeatureKey>,
    /// The epoch of `finalized_features`; -1 if unknown.
    #[wire(versions = "3+", tag = 1, tagged = "3+", default = -1, ignorable)]
    pub finalized_features_epoch: i64,
    /// The features that the cluster has switched on.
    #[wire(versions = "3+", tag = 2, tagged = "3+", ignorable)]
    pub finalized_features: Vec<FinalizedFeatureKey>,
    /// From the time of the move away from ZooKeeper: always false.
    #[wire(versions = "3+", tag = 3, tagged = "3+", default = false, ignorable)]
    pub zk_migration_ready: bool,
}

/// The versions of one API.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ApiVersion {
    /// The API.
    pub api_key: i16,
    /// The first version.
    pub min_version: i16,
    /// The last version.
    pub max_version: i16,
}

/// A feature that the broker can do.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct SupportedFeatureKey {
    /// The feature.
    #[wire(versions = "3+")]
    pub name: Str,
    /// Its first version.
    #[wire(versions = "3+")]
    pub min_version: i16,
    /// Its last version.
    #[wire(versions = "3+")]
    pub max_version: i16,
}

/// A feature that the cluster has switched on.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct FinalizedFeatureKey {
    /// The feature.
    #[wire(versions = "3+")]
    pub name: Str,
    /// The highest level in use.
    #[wire(versions = "3+")]
    pub max_version_level: i16,
    /// The lowest level in use.
    #[wire(versions = "3+")]
    pub min_version_level: i16,
}
