//! A member of a classic group.

use crate::group::records::MemberMetadata;
use crate::ids::Uuid;
use crate::replica::WaiterId;
use crate::wire::Str;
use crate::wire::join_group::JoinGroupRequestProtocol;
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;

/// What a member takes besides what it says, about.
pub(super) const MEMBER_BYTES: usize = 512;

/// What of a name goes into an id that is given out, at most: ids are repeated wherever a member is named.
const ID_NAME_BYTES_MAX: usize = 255;

/// An id that was never given out. `name` is what the client, or its place, calls itself; it helps who looks at groups.
pub(in crate::group) fn new_id(name: &str, fresh: Uuid) -> Str {
    format!("{}-{}", Str::beginning(name, ID_NAME_BYTES_MAX).as_str(), fresh.hyphenated()).into()
}

/// A member.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::group) struct Member {
    /// Its place, if it is a static one (KIP-345).
    pub(in crate::group) instance_id: Option<Str>,
    pub(in crate::group) client_id: Str,
    pub(in crate::group) client_host: Str,
    /// How long it may take to join again, in ms.
    pub(in crate::group) rebalance_timeout_ms: i32,
    /// How long it may be silent, in ms.
    pub(in crate::group) session_timeout_ms: i32,
    /// What it speaks, and what it tells the others in each, the best first.
    pub(in crate::group) protocols: Vec<(Str, Bytes)>,
    /// What it was given.
    pub(in crate::group) assignment: Bytes,
    /// Its JoinGroup waits for the others.
    pub(in crate::group) joining: Option<WaiterId>,
    /// Its SyncGroup waits for the leader's.
    pub(in crate::group) syncing: Option<WaiterId>,
    /// It was never told its id: nothing but its JoinGroup shows that it is there.
    pub(in crate::group) is_new: bool,
}

impl Member {
    /// It speaks this.
    pub(in crate::group) fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// What it tells the others in a protocol.
    pub(in crate::group) fn metadata(&self, protocol: &str) -> Bytes {
        let spoken = self.protocols.iter().find(|(name, _)| name == protocol);
        spoken.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// It says what it said before.
    pub(super) fn says_the_same(&self, protocols: &[JoinGroupRequestProtocol]) -> bool {
        let said = protocols.iter().map(|protocol| (&protocol.name, &protocol.metadata));
        self.protocols.iter().map(|(name, metadata)| (name, metadata)).eq(said)
    }

    /// Bytes that it takes, without what it was given: that is in the log.
    pub(super) fn bytes(&self) -> usize {
        let protocols: usize =
            self.protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum();
        let names = self.client_id.len() + self.instance_id.as_ref().map_or(0, |name| name.len());
        protocols + names + MEMBER_BYTES
    }

    /// Bytes that it takes in the group's record, at most: whichever of its protocols is agreed on.
    pub(in crate::group) fn record_bytes_most(&self) -> usize {
        self.bytes() + self.client_host.len() + self.assignment.len()
    }

    pub(super) fn session_ms(&self) -> u64 {
        u64::try_from(self.session_timeout_ms).unwrap_or(0)
    }

    pub(super) fn rebalance_ms(&self) -> u64 {
        u64::try_from(self.rebalance_timeout_ms).unwrap_or(0)
    }

    /// As the log keeps it.
    pub(super) fn written(&self, member_id: &Str, protocol: &str, assignment: Bytes) -> MemberMetadata {
        MemberMetadata {
            member_id: member_id.clone(),
            group_instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: self.rebalance_timeout_ms,
            session_timeout: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment,
        }
    }

    /// As the log has it.
    pub(super) fn restored(written: &MemberMetadata, protocol: &Str) -> Self {
        Self {
            instance_id: written.group_instance_id.clone(),
            client_id: written.client_id.clone(),
            client_host: written.client_host.clone(),
            rebalance_timeout_ms: match written.rebalance_timeout {
                -1 => written.session_timeout,
                given => given,
            },
            session_timeout_ms: written.session_timeout,
            protocols: alloc::vec![(protocol.clone(), written.subscription.clone())],
            assignment: written.assignment.clone(),
            joining: None,
            syncing: None,
            is_new: false,
        }
    }
}

/// Copies that do not keep the frame.
pub(in crate::group) fn kept(protocols: &[JoinGroupRequestProtocol]) -> Vec<(Str, Bytes)> {
    let kept = protocols.iter().map(|it| (it.name.detached(), Bytes::copy_from_slice(&it.metadata)));
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client id or a place may take all that a string of the protocol may: its member's id would take more, in no record.
    #[test]
    fn an_id_begins_as_the_client_is_called_and_fits_wherever_members_are_named() {
        let fresh = Uuid([7; 16]);
        let tail = "-07070707-0707-0707-0707-070707070707";
        assert_eq!(new_id("ann", fresh).as_str(), format!("ann{tail}"));
        assert_eq!(new_id("", fresh).as_str(), tail);
        let long = "é".repeat(16_383);
        assert_eq!(new_id(&long, fresh).as_str(), format!("{}{tail}", "é".repeat(127)));
    }
}
