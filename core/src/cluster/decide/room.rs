//! What one decision may take: it is one entry of the metadata log, which must fit into one message to a peer.

use super::topics::Refusal;
use crate::cluster::topic_config::TopicConfig;
use crate::errors::ErrorCode;
use alloc::string::ToString;

/// Bytes of all records of a decision that a client asked for.
const ENTRY_BYTES_MAX: usize = 4 << 20;
/// Bytes of one topic's settings.
const SETTINGS_BYTES_MAX: usize = 1 << 20;
/// About what a record of a partition takes, without the lists of its replicas.
pub(super) const PARTITION_BYTES: usize = 48;
/// Of a node's id, in each of the lists that it may be in.
const NODE_BYTES: usize = 10;

/// What is left of an entry.
pub(super) struct Room(usize);

impl Room {
    /// All of it.
    pub(super) fn whole() -> Self {
        Self(ENTRY_BYTES_MAX)
    }

    /// Takes a part, or nothing if that is not left.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(too_much)?;
        Ok(())
    }

    /// Takes a topic's settings and `others` bytes of other records.
    pub(super) fn take_settings(&mut self, own: &TopicConfig, others: usize) -> Result<(), Refusal> {
        if own.bytes() > SETTINGS_BYTES_MAX {
            return Err(too_much());
        }
        self.take(own.bytes() + others)
    }
}

/// What a record of a partition with so many replicas takes.
pub(super) fn partition_bytes(replicas: usize) -> usize {
    PARTITION_BYTES + NODE_BYTES * replicas
}

fn too_much() -> Refusal {
    (ErrorCode::PolicyViolation, "One request cannot carry so much: send several.".to_string())
}
