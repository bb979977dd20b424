//! Heartbeat: a member of a group is alive, and hears whether the group rebalances. KIP-345 (static members).

use crate::wire::{Str, Wire};

/// Says that a member is alive. API key 12.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 12, versions = "0-4", flexible = "4+")]
pub struct HeartbeatRequest {
    /// The group.
    pub group_id: Str,
    /// The generation that the member is in.
    pub generation_id: i32,
    /// The member.
    pub member_id: Str,
    /// Its name as a static member; null for a dynamic one (KIP-345).
    #[wire(versions = "3+", nullable = "3+", default = null)]
    pub group_instance_id: Option<Str>,
}

/// Whether it is still a member.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 12, versions = "0-4", flexible = "4+")]
pub struct HeartbeatResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong, also that the group rebalances; 0 if nothing did.
    pub error_code: i16,
}
