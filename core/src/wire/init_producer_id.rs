//! InitProducerId: gives a producer its id and epoch. KIP-98, KIP-360 (an epoch after a loss), KIP-588 (fencing),
//! KIP-890, KIP-939 (two-phase commit, version 6, which Kafka 4.3 keeps unstable and nobody advertises).

use crate::wire::{Str, Wire};

/// Asks for a producer id. API key 22.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 22, versions = "0-6", flexible = "2+")]
pub struct InitProducerIdRequest {
    /// The transactional id; null without transactions.
    #[wire(nullable = "0+")]
    pub transactional_id: Option<Str>,
    /// After how long an idle transaction is aborted.
    pub transaction_timeout_ms: i32,
    /// The id that the producer has; -1 for none.
    #[wire(versions = "3+", default = -1)]
    pub producer_id: i64,
    /// The epoch that the producer has; -1 for none.
    #[wire(versions = "3+", default = -1)]
    pub producer_epoch: i16,
    /// Whether an outside coordinator decides the transactions.
    #[wire(versions = "6+", default = false)]
    pub enable_2pc: bool,
    /// Whether to keep a prepared transaction instead of aborting it.
    #[wire(versions = "6+", default = false)]
    pub keep_prepared_txn: bool,
}

/// The producer's id and epoch.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 22, versions = "0-6", flexible = "2+")]
pub struct InitProducerIdResponse {
    /// How long the client was held back for its quota.
    #[wire(ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The producer's id.
    #[wire(default = -1)]
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The producer id of the transaction that was kept; -1 for none.
    #[wire(versions = "6+", default = -1)]
    pub ongoing_txn_producer_id: i64,
    /// Its epoch.
    #[wire(versions = "6+", default = -1)]
    pub ongoing_txn_producer_epoch: i16,
}
