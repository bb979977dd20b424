//! DeleteTopics. KIP-4, KIP-599 (quota), KIP-516 (topic ids, version 6).

use crate::{
    ids::Uuid,
    wire::{Str, Wire},
};
use alloc::vec::Vec;

/// Deletes topics. API key 20.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 20, versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsRequest {
    /// The topics, by name or id.
    #[wire(versions = "6+")]
    pub topics: Vec<DeleteTopicState>,
    /// The topics, by name.
    #[wire(versions = "0-5", ignorable)]
    pub topic_names: Vec<Str>,
    /// How long to wait until they are gone.
    pub timeout_ms: i32,
}

/// A topic to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DeleteTopicState {
    /// The topic, by name; null if by id.
    #[wire(versions = "6+", nullable = "6+", default = null)]
    pub name: Option<Str>,
    /// The topic, by id; zero if by name.
    #[wire(versions = "6+")]
    pub topic_id: Uuid,
}

/// What became of the topics.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 20, versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// The result for each topic.
    pub responses: Vec<DeletableTopicResult>,
}

/// What became of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DeletableTopicResult {
    /// The topic's name; null for an id that the client may not resolve.
    #[wire(nullable = "6+")]
    pub name: Option<Str>,
    /// The topic's id.
    #[wire(versions = "6+", ignorable)]
    pub topic_id: Uuid,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(versions = "5+", nullable = "5+", default = null, ignorable)]
    pub error_message: Option<Str>,
}
