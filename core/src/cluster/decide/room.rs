//! What one decision may take: it is one entry of the metadata log, which must fit into one message to a peer.

use super::topics::Refusal;
use crate::cluster::group_config::GroupConfig;
use crate::cluster::topic_config::TopicConfig;
use crate::errors::ErrorCode;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};

/// Bytes of all records of a decision that a client asked for.
const ENTRY_BYTES_MAX: usize = 4 << 20;
/// Bytes of one topic's settings.
const SETTINGS_BYTES_MAX: usize = 1 << 20;
/// About what a record of a partition takes, without the lists of its replicas.
pub(super) const PARTITION_BYTES: usize = 48;
/// Of a node's id, in each of the lists that it may be in.
const NODE_BYTES: usize = 10;

/// What is left of an entry.
pub(super) struct Room {
    bytes: usize,
    /// What is left of what settings of groups may take in the metadata.
    group_bytes: usize,
}

impl Room {
    /// All of it.
    pub(super) fn whole() -> Self {
        Self { bytes: ENTRY_BYTES_MAX, group_bytes: 0 }
    }

    /// The entry may have settings of groups, beside those that there are.
    pub(super) fn has_groups(&mut self, held: &BTreeMap<String, GroupConfig>, bytes_max: usize) {
        let bytes = held.iter().map(|(group, config)| config.bytes(group)).sum();
        self.group_bytes = bytes_max.saturating_sub(bytes);
    }

    /// Takes a part, or nothing if that is not left.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(too_much)?;
        Ok(())
    }

    /// Takes a topic's settings and `others` bytes of other records.
    pub(super) fn take_settings(&mut self, own: &TopicConfig, others: usize) -> Result<(), Refusal> {
        if own.bytes() > SETTINGS_BYTES_MAX {
            return Err(too_much());
        }
        self.take(own.bytes() + others)
    }

    /// Takes a group's settings, in place of those that it has. Taking some away needs no room among the groups.
    pub(super) fn take_group(
        &mut self,
        group: &str,
        held: Option<&GroupConfig>,
        own: &GroupConfig,
    ) -> Result<(), Refusal> {
        let more = own.bytes(group).saturating_sub(held.map_or(0, |held| held.bytes(group)));
        if more > self.group_bytes && !own.is_empty() {
            let why =
                "Settings of groups take all the room that they may: delete those of groups that are gone.";
            return Err((ErrorCode::PolicyViolation, why.to_string()));
        }
        self.take(own.bytes(group))?;
        self.group_bytes = self.group_bytes.saturating_sub(more);
        Ok(())
    }
}

/// What a record of a partition with so many replicas takes.
pub(super) fn partition_bytes(replicas: usize) -> usize {
    PARTITION_BYTES + NODE_BYTES * replicas
}

fn too_much() -> Refusal {
    (ErrorCode::PolicyViolation, "One request cannot carry so much: send several.".to_string())
}
