//! DescribeConfigs: the settings of topics and brokers. KIP-133, KIP-226 (sources and synonyms), KIP-569 (types and
//! documentation).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks for settings. API key 32.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 32, versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsRequest {
    /// Of what.
    pub resources: Vec<DescribeConfigsResource>,
    /// Whether to tell of the other places that a value may come from.
    #[wire(default = false)]
    pub include_synonyms: bool,
    /// Whether to tell what settings do.
    #[wire(versions = "3+", default = false)]
    pub include_documentation: bool,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribeConfigsResource {
    /// What it is, by Kafka's numbers.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: Str,
    /// The settings; null for all.
    #[wire(nullable = "0+")]
    pub configuration_keys: Option<Vec<Str>>,
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 32, versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// Each resource.
    pub results: Vec<DescribeConfigsResult>,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribeConfigsResult {
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+")]
    pub error_message: Option<Str>,
    /// What it is, by Kafka's numbers.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: Str,
    /// Its settings.
    pub configs: Vec<DescribeConfigsResourceResult>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribeConfigsResourceResult {
    /// Its name.
    pub name: Str,
    /// Its value in force; null where there is none, and for a secret.
    #[wire(nullable = "0+")]
    pub value: Option<Str>,
    /// Whether it cannot be changed.
    pub read_only: bool,
    /// Where the value comes from, by Kafka's numbers.
    #[wire(default = -1, ignorable)]
    pub config_source: i8,
    /// Whether the value is a secret.
    pub is_sensitive: bool,
    /// The places that the value may come from, the one that counts first.
    #[wire(ignorable)]
    pub synonyms: Vec<DescribeConfigsSynonym>,
    /// What values look like, by Kafka's numbers.
    #[wire(versions = "3+", default = 0, ignorable)]
    pub config_type: i8,
    /// What it does.
    #[wire(versions = "3+", nullable = "0+", ignorable)]
    pub documentation: Option<Str>,
}

/// One place that a value may come from.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribeConfigsSynonym {
    /// The setting's name there.
    pub name: Str,
    /// Its value there.
    #[wire(nullable = "0+")]
    pub value: Option<Str>,
    /// The place, by Kafka's numbers.
    pub source: i8,
}
