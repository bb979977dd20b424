//! ListGroups: the groups that a broker coordinates. KIP-518 (states, version 4), KIP-848 (types, version 5).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks for groups. API key 16.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 16, versions = "0-5", flexible = "3+")]
pub struct ListGroupsRequest {
    /// Only groups in these states; none stands for all (KIP-518).
    #[wire(versions = "4+")]
    pub states_filter: Vec<Str>,
    /// Only groups of these types; none stands for all (KIP-848).
    #[wire(versions = "5+")]
    pub types_filter: Vec<Str>,
}

/// The groups.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 16, versions = "0-5", flexible = "3+")]
pub struct ListGroupsResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// Each group.
    pub groups: Vec<ListedGroup>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ListedGroup {
    /// Its id.
    pub group_id: Str,
    /// What it is for; empty if nobody said.
    pub protocol_type: Str,
    /// Its state, by Kafka's names (KIP-518).
    #[wire(versions = "4+", ignorable)]
    pub group_state: Str,
    /// Its type, by Kafka's names (KIP-848).
    #[wire(versions = "5+", ignorable)]
    pub group_type: Str,
}
