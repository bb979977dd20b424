//! DescribeUserScramCredentials: which users have SCRAM credentials. KIP-554.

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks for users. API key 50.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 50, versions = "0", flexible = "0+")]
pub struct DescribeUserScramCredentialsRequest {
    /// The users; null or none for all.
    #[wire(nullable = "0+")]
    pub users: Option<Vec<UserName>>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct UserName {
    /// Its name.
    pub name: Str,
}

/// The users.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 50, versions = "0", flexible = "0+")]
pub struct DescribeUserScramCredentialsResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+")]
    pub error_message: Option<Str>,
    /// Each user.
    pub results: Vec<DescribeUserScramCredentialsResult>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribeUserScramCredentialsResult {
    /// Its name.
    pub user: Str,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+")]
    pub error_message: Option<Str>,
    /// What it has.
    pub credential_infos: Vec<CredentialInfo>,
}

/// One credential.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct CredentialInfo {
    /// The mechanism, by Kafka's numbers.
    pub mechanism: i8,
    /// Rounds of hashing.
    pub iterations: i32,
}
