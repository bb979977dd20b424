//! The headers in front of every request and response. Which version of a header goes with which version of an API is
//! decided in `wire` (KIP-482).

use crate::wire::{Str, Wire};

/// In front of every request. Version 2 has tagged fields; the client id keeps its old-style length, so that a broker
/// can read the header of an ApiVersions request that is newer than itself.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(versions = "1-2", flexible = "2+")]
pub struct RequestHeader {
    /// Which API.
    #[wire(name = "request_api_key")]
    pub api_key: i16,
    /// In which version the body is written.
    #[wire(name = "request_api_version")]
    pub api_version: i16,
    /// Comes back in the response's header.
    pub correlation_id: i32,
    /// What the client calls itself.
    #[wire(versions = "1+", nullable = "1+", flexible = "none")]
    pub client_id: Option<Str>,
}

/// In front of every response. Version 1 has tagged fields.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(versions = "0-1", flexible = "1+")]
pub struct ResponseHeader {
    /// The correlation id of the request that this answers.
    pub correlation_id: i32,
}
