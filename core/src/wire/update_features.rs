//! UpdateFeatures: moves the levels of the cluster's features. KIP-584, KIP-778 (validate only, unsafe downgrades).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Sets the levels of features. API key 57.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 57, versions = "0-2", flexible = "0+")]
pub struct UpdateFeaturesRequest {
    /// How long to wait, in ms.
    #[wire(default = 60_000)]
    pub timeout_ms: i32,
    /// The features.
    pub feature_updates: Vec<FeatureUpdateKey>,
    /// Whether to say only what would come of it.
    #[wire(versions = "1+", default = false)]
    pub validate_only: bool,
}

/// One feature.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct FeatureUpdateKey {
    /// Its name.
    pub feature: Str,
    /// The level from here on; 0 switches it off.
    pub max_version_level: i16,
    /// Version 0's word for downgrades.
    #[wire(versions = "0")]
    pub allow_downgrade: bool,
    /// 1: a greater level; 2: a lower one that loses nothing; 3: a lower one, whatever it loses.
    #[wire(versions = "1+", default = 1)]
    pub upgrade_type: i8,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 57, versions = "0-2", flexible = "0+")]
pub struct UpdateFeaturesResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+")]
    pub error_message: Option<Str>,
    /// Each feature.
    #[wire(versions = "0-1", ignorable)]
    pub results: Vec<UpdatableFeatureResult>,
}

/// One feature.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct UpdatableFeatureResult {
    /// Its name.
    #[wire(versions = "0-1")]
    pub feature: Str,
    /// What went wrong; 0 if nothing did.
    #[wire(versions = "0-1")]
    pub error_code: i16,
    /// The same in words.
    #[wire(versions = "0-1", nullable = "0+")]
    pub error_message: Option<Str>,
}
