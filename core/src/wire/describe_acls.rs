//! DescribeAcls: who may do what. KIP-140, KIP-290 (patterns), KIP-373 (users as resources).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks for the rules that a filter takes in. API key 29.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 29, versions = "1-3", flexible = "2+")]
pub struct DescribeAclsRequest {
    /// What the rule is about, by Kafka's numbers.
    pub resource_type_filter: i8,
    /// Its name; null for any.
    #[wire(nullable = "0+")]
    pub resource_name_filter: Option<Str>,
    /// What names are taken for, by Kafka's numbers.
    #[wire(versions = "1+", default = 3)]
    pub pattern_type_filter: i8,
    /// Whom the rule is about; null for anybody.
    #[wire(nullable = "0+")]
    pub principal_filter: Option<Str>,
    /// From where; null for anywhere.
    #[wire(nullable = "0+")]
    pub host_filter: Option<Str>,
    /// What is done, by Kafka's numbers.
    pub operation: i8,
    /// Whether it is allowed or denied, by Kafka's numbers.
    pub permission_type: i8,
}

/// The rules.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 29, versions = "1-3", flexible = "2+")]
pub struct DescribeAclsResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+")]
    pub error_message: Option<Str>,
    /// What there are rules about.
    pub resources: Vec<DescribeAclsResource>,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribeAclsResource {
    /// What it is, by Kafka's numbers.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: Str,
    /// What the name is taken for, by Kafka's numbers.
    #[wire(versions = "1+", default = 3)]
    pub pattern_type: i8,
    /// The rules about it.
    pub acls: Vec<AclDescription>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct AclDescription {
    /// Whom it is about.
    pub principal: Str,
    /// From where.
    pub host: Str,
    /// What is done, by Kafka's numbers.
    pub operation: i8,
    /// Whether it is allowed or denied, by Kafka's numbers.
    pub permission_type: i8,
}
