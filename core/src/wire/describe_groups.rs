//! DescribeGroups: the state and the members of groups. KIP-345 (static members), KIP-430 (authorized operations), KIP-1043
//! (errors in words, version 6).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;
use bytes::Bytes;

/// Asks about groups. API key 15.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 15, versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsRequest {
    /// The groups.
    pub groups: Vec<Str>,
    /// Whether to tell what the client may do to them (KIP-430).
    #[wire(versions = "3+")]
    pub include_authorized_operations: bool,
}

/// The groups.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 15, versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// Each group.
    pub groups: Vec<DescribedGroup>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribedGroup {
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words (KIP-1043).
    #[wire(versions = "6+", nullable = "6+", default = null)]
    pub error_message: Option<Str>,
    /// Its id.
    pub group_id: Str,
    /// Its state, by Kafka's names; empty with an error.
    pub group_state: Str,
    /// What it is for; empty if nobody said.
    pub protocol_type: Str,
    /// The protocol that its members follow; empty while they follow none.
    pub protocol_data: Str,
    /// Its members.
    pub members: Vec<DescribedGroupMember>,
    /// What the client may do to it as bits; the least number if that was not asked (KIP-430).
    #[wire(versions = "3+", default = -2_147_483_648)]
    pub authorized_operations: i32,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribedGroupMember {
    /// Its id.
    pub member_id: Str,
    /// Its name as a static member; null for a dynamic one (KIP-345).
    #[wire(versions = "4+", nullable = "4+", default = null, ignorable)]
    pub group_instance_id: Option<Str>,
    /// What its client called itself when it joined.
    pub client_id: Str,
    /// Where it joined from.
    pub client_host: Str,
    /// What it told the leader under the protocol.
    pub member_metadata: Bytes,
    /// What the leader assigned to it.
    pub member_assignment: Bytes,
}
