//! What members of a consumer group may do with its offsets: commit and fetch in their own epoch.

use super::state::Consumer;
use crate::errors::ErrorCode;
use crate::ids::Uuid;
use crate::wire::OffsetCommitRequest;

/// OffsetCommit names a member's epoch from this version on (KIP-848).
const EPOCHS_FROM: i16 = 9;

/// Who commits may, in these partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::group) enum MayCommit<'a> {
    /// In all.
    All,
    /// It is behind its group, and may in those that it has had since its epoch (KIP-1251).
    Since(&'a str, i32),
}

impl Consumer {
    /// Whether who asks may commit.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH, ILLEGAL_GENERATION, UNSUPPORTED_VERSION.
    pub(in crate::group) fn check_commit<'a>(
        &self,
        request: &'a OffsetCommitRequest,
        version: i16,
    ) -> Result<MayCommit<'a>, ErrorCode> {
        let (epoch, id) = (request.generation_id_or_member_epoch, &request.member_id);
        // Nobody is in it, and nobody says to be.
        if epoch < 0 && self.members.is_empty() {
            return Ok(MayCommit::All);
        }
        let said = self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?;
        if !said.is_classic() && version < EPOCHS_FROM {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let known = self.current(id).epoch;
        if epoch == known {
            Ok(MayCommit::All)
        } else if epoch > known {
            Err(stale(said.is_classic()))
        } else {
            Ok(MayCommit::Since(id, epoch))
        }
    }

    /// The same for one partition.
    ///
    /// # Errors
    /// STALE_MEMBER_EPOCH, ILLEGAL_GENERATION.
    pub(in crate::group) fn check_partition(
        &self,
        may: MayCommit<'_>,
        topic_id: Uuid,
        partition: i32,
    ) -> Result<(), ErrorCode> {
        let MayCommit::Since(id, epoch) = may else { return Ok(()) };
        let held = self.currents.get(id).and_then(|current| current.holds(topic_id, partition));
        if held.is_some_and(|since| since <= epoch) {
            return Ok(());
        }
        Err(stale(self.members.get(id).is_some_and(super::member::Said::is_classic)))
    }

    /// Whether who asks may fetch offsets. Who says nothing of itself may.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH, ILLEGAL_GENERATION.
    pub(in crate::group) fn check_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if member.is_none() && epoch < 0 {
            return Ok(());
        }
        let id = member.unwrap_or_default();
        let said = self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?;
        if self.current(id).epoch == epoch { Ok(()) } else { Err(stale(said.is_classic())) }
    }
}

fn stale(is_classic: bool) -> ErrorCode {
    if is_classic { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch }
}
