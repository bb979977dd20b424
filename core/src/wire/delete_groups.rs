//! DeleteGroups: forgets groups without members and what they committed. KIP-229.

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Deletes groups. API key 42.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 42, versions = "0-2", flexible = "2+")]
pub struct DeleteGroupsRequest {
    /// The groups.
    pub groups_names: Vec<Str>,
}

/// What became of the groups.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 42, versions = "0-2", flexible = "2+")]
pub struct DeleteGroupsResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// The result for each group.
    pub results: Vec<DeletableGroupResult>,
}

/// What became of one group.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DeletableGroupResult {
    /// Its id.
    pub group_id: Str,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
}
