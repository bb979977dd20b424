//! LeaveGroup: members go, of their own accord or sent away. KIP-345 (several at once, version 3), KIP-800 (reasons).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Takes members out of a group. API key 13.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 13, versions = "0-5", flexible = "4+")]
pub struct LeaveGroupRequest {
    /// The group.
    pub group_id: Str,
    /// The member, up to version 2.
    #[wire(versions = "0-2")]
    pub member_id: Str,
    /// The members, from version 3 on.
    #[wire(versions = "3+")]
    pub members: Vec<MemberIdentity>,
}

/// A member that goes.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct MemberIdentity {
    /// Its id; empty for a static member that is sent away by its name.
    #[wire(versions = "3+")]
    pub member_id: Str,
    /// Its name as a static member; null for a dynamic one (KIP-345).
    #[wire(versions = "3+", nullable = "3+", default = null)]
    pub group_instance_id: Option<Str>,
    /// Why it goes, for the log (KIP-800).
    #[wire(versions = "5+", nullable = "5+", default = null, ignorable)]
    pub reason: Option<Str>,
}

/// What became of them.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 13, versions = "0-5", flexible = "4+")]
pub struct LeaveGroupResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong with the request as a whole; 0 if nothing did.
    pub error_code: i16,
    /// The result for each member, from version 3 on.
    #[wire(versions = "3+")]
    pub members: Vec<MemberResponse>,
}

/// What became of one member.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct MemberResponse {
    /// Its id, as it was asked.
    #[wire(versions = "3+")]
    pub member_id: Str,
    /// Its name as a static member, as it was asked.
    #[wire(versions = "3+", nullable = "3+")]
    pub group_instance_id: Option<Str>,
    /// What went wrong; 0 if nothing did.
    #[wire(versions = "3+")]
    pub error_code: i16,
}
