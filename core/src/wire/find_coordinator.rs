//! FindCoordinator: which broker keeps a group or a transactional id. KIP-699 (several keys, version 4), KIP-890, KIP-932
//! (share groups, version 6).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks for coordinators. API key 10.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 10, versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorRequest {
    /// The group or transactional id, up to version 3.
    #[wire(versions = "0-3")]
    pub key: Str,
    /// 0 for a group, 1 for a transactional id, 2 for a share group.
    #[wire(versions = "1+", default = 0)]
    pub key_type: i8,
    /// The keys, from version 4 on.
    #[wire(versions = "4+")]
    pub coordinator_keys: Vec<Str>,
}

/// The coordinators.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 10, versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    #[wire(versions = "0-3")]
    pub error_code: i16,
    /// The same in words.
    #[wire(versions = "1-3", nullable = "1-3", ignorable)]
    pub error_message: Option<Str>,
    /// The coordinator.
    #[wire(versions = "0-3")]
    pub node_id: i32,
    /// Its host.
    #[wire(versions = "0-3")]
    pub host: Str,
    /// Its port.
    #[wire(versions = "0-3")]
    pub port: i32,
    /// The coordinators by key, from version 4 on.
    #[wire(versions = "4+")]
    pub coordinators: Vec<Coordinator>,
}

/// The coordinator of one key.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct Coordinator {
    /// The key.
    pub key: Str,
    /// The coordinator.
    pub node_id: i32,
    /// Its host.
    pub host: Str,
    /// Its port.
    pub port: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "4+", ignorable)]
    pub error_message: Option<Str>,
}
