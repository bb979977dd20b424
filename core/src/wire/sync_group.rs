//! SyncGroup: the leader hands in the assignments of a generation, every member fetches its own. KIP-345 (static members),
//! KIP-559 (the protocol is said again, version 5).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;
use bytes::Bytes;

/// Hands in assignments and asks for one's own. API key 14.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 14, versions = "0-5", flexible = "4+")]
pub struct SyncGroupRequest {
    /// The group.
    pub group_id: Str,
    /// The generation that the member joined.
    pub generation_id: i32,
    /// The member.
    pub member_id: Str,
    /// Its name as a static member; null for a dynamic one (KIP-345).
    #[wire(versions = "3+", nullable = "3+", default = null)]
    pub group_instance_id: Option<Str>,
    /// What the member thinks the group is for; null if it does not say (KIP-559).
    #[wire(versions = "5+", nullable = "5+", default = null, ignorable)]
    pub protocol_type: Option<Str>,
    /// The protocol that it thinks was chosen; null if it does not say (KIP-559).
    #[wire(versions = "5+", nullable = "5+", default = null, ignorable)]
    pub protocol_name: Option<Str>,
    /// The assignments, from the leader; none from others.
    pub assignments: Vec<SyncGroupRequestAssignment>,
}

/// What one member is assigned.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct SyncGroupRequestAssignment {
    /// The member.
    pub member_id: Str,
    /// Its assignment, which only members read.
    pub assignment: Bytes,
}

/// The member's assignment.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 14, versions = "0-5", flexible = "4+")]
pub struct SyncGroupResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// What the group is for (KIP-559).
    #[wire(versions = "5+", nullable = "5+", default = null, ignorable)]
    pub protocol_type: Option<Str>,
    /// The protocol that was chosen (KIP-559).
    #[wire(versions = "5+", nullable = "5+", default = null, ignorable)]
    pub protocol_name: Option<Str>,
    /// The assignment, as the leader wrote it.
    pub assignment: Bytes,
}
