//! JoinGroup: a member enters a group or its next generation. KIP-62 (rebalance timeout), KIP-345 (static members),
//! KIP-394 (the member id comes first, version 4), KIP-559 (protocol in the answer), KIP-800 (reasons), KIP-814 (a static
//! leader that must not assign).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;
use bytes::Bytes;

/// Joins a group. API key 11.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 11, versions = "0-9", flexible = "6+")]
pub struct JoinGroupRequest {
    /// The group.
    pub group_id: Str,
    /// A member that is silent for so long is out, in ms.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for this member to join again, in ms; -1 is the session timeout (KIP-62).
    #[wire(versions = "1+", default = -1, ignorable)]
    pub rebalance_timeout_ms: i32,
    /// The member, as the coordinator named it; empty for a new one.
    pub member_id: Str,
    /// The name that a static member keeps over restarts; null for a dynamic one (KIP-345).
    #[wire(versions = "5+", nullable = "5+", default = null)]
    pub group_instance_id: Option<Str>,
    /// What the group is for: `consumer`, `connect` and the like.
    pub protocol_type: Str,
    /// The protocols that the member can follow, the one it prefers first.
    pub protocols: Vec<JoinGroupRequestProtocol>,
    /// Why it joins, for the log (KIP-800).
    #[wire(versions = "8+", nullable = "8+", default = null, ignorable)]
    pub reason: Option<Str>,
}

/// A protocol that a member can follow.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct JoinGroupRequestProtocol {
    /// Its name.
    pub name: Str,
    /// What the member tells the leader under it.
    pub metadata: Bytes,
}

/// The generation that was joined.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 11, versions = "0-9", flexible = "6+")]
pub struct JoinGroupResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The generation; -1 for none.
    #[wire(default = -1)]
    pub generation_id: i32,
    /// What the group is for (KIP-559).
    #[wire(versions = "7+", nullable = "7+", default = null, ignorable)]
    pub protocol_type: Option<Str>,
    /// The protocol that all members can follow; empty, or null from version 7 on, for none.
    #[wire(nullable = "7+")]
    pub protocol_name: Option<Str>,
    /// The member that assigns.
    pub leader: Str,
    /// The leader leaves the assignment as it is (KIP-814).
    #[wire(versions = "9+", default = false)]
    pub skip_assignment: bool,
    /// The member, as the coordinator names it.
    pub member_id: Str,
    /// All members, for the leader; nobody for others.
    pub members: Vec<JoinGroupResponseMember>,
}

/// A member of the generation.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct JoinGroupResponseMember {
    /// Its id.
    pub member_id: Str,
    /// Its name as a static member; null for a dynamic one (KIP-345).
    #[wire(versions = "5+", nullable = "5+", default = null, ignorable)]
    pub group_instance_id: Option<Str>,
    /// What it told under the chosen protocol.
    pub metadata: Bytes,
}
