//! DescribeClientQuotas: what users, clients and addresses are held to. KIP-546.

use crate::wire::{Float64, Str, Wire};
use alloc::vec::Vec;

/// Asks for the quotas that a filter takes in. API key 48.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 48, versions = "0-1", flexible = "1+")]
pub struct DescribeClientQuotasRequest {
    /// The parts of the filter.
    pub components: Vec<ComponentData>,
    /// Leaves out who is also of a type that the filter does not name.
    pub strict: bool,
}

/// One part of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ComponentData {
    /// `user`, `client-id` or `ip`.
    pub entity_type: Str,
    /// 0: this name; 1: the default; 2: any name.
    pub match_type: i8,
    /// The name; null where none belongs.
    #[wire(name = "match", nullable = "0+")]
    pub name: Option<Str>,
}

/// The quotas.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 48, versions = "0-1", flexible = "1+")]
pub struct DescribeClientQuotasResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+")]
    pub error_message: Option<Str>,
    /// Who has quotas; null if something went wrong.
    #[wire(nullable = "0+")]
    pub entries: Option<Vec<EntryData>>,
}

/// The quotas of one entity.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct EntryData {
    /// What the entity is made of.
    pub entity: Vec<EntityData>,
    /// Its quotas.
    pub values: Vec<ValueData>,
}

/// One part of an entity.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct EntityData {
    /// `user`, `client-id` or `ip`.
    pub entity_type: Str,
    /// The name; null for the default.
    #[wire(nullable = "0+")]
    pub entity_name: Option<Str>,
}

/// One quota.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ValueData {
    /// Its key.
    pub key: Str,
    /// Its value.
    pub value: Float64,
}
