//! OffsetCommit: how far a group has come in partitions. KIP-211 (retention is the broker's, version 5), KIP-320 (leader
//! epochs), KIP-345 (static members), KIP-848 (member epochs, version 9; topic ids, version 10).

use crate::{
    ids::Uuid,
    wire::{Str, Wire},
};
use alloc::vec::Vec;

/// Commits offsets for a group. API key 8.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 8, versions = "2-10", flexible = "8+")]
pub struct OffsetCommitRequest {
    /// The group.
    pub group_id: Str,
    /// The generation, or the member's epoch (KIP-848); -1 from somebody who is no member.
    #[wire(versions = "1+", default = -1, ignorable)]
    pub generation_id_or_member_epoch: i32,
    /// The member; empty from somebody who is none.
    #[wire(versions = "1+", ignorable)]
    pub member_id: Str,
    /// Its name as a static member; null for a dynamic one (KIP-345).
    #[wire(versions = "7+", nullable = "7+", default = null)]
    pub group_instance_id: Option<Str>,
    /// How long the offsets are to be kept, in ms; -1 leaves that to the broker (KIP-211).
    #[wire(versions = "2-4", default = -1, ignorable)]
    pub retention_time_ms: i64,
    /// The offsets by topic.
    pub topics: Vec<OffsetCommitRequestTopic>,
}

/// The offsets in one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetCommitRequestTopic {
    /// The topic, by name.
    #[wire(versions = "0-9", ignorable)]
    pub name: Str,
    /// The topic, by id.
    #[wire(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    /// The offsets by partition.
    pub partitions: Vec<OffsetCommitRequestPartition>,
}

/// The offset in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetCommitRequestPartition {
    /// The partition.
    pub partition_index: i32,
    /// The offset of the record to be read next.
    pub committed_offset: i64,
    /// The leader epoch of the last record that was read; -1 if it is not known (KIP-320).
    #[wire(versions = "6+", default = -1, ignorable)]
    pub committed_leader_epoch: i32,
    /// Whatever the client wants to keep with it.
    #[wire(nullable = "0+")]
    pub committed_metadata: Option<Str>,
}

/// What became of the offsets.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 8, versions = "2-10", flexible = "8+")]
pub struct OffsetCommitResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    /// The results by topic.
    pub topics: Vec<OffsetCommitResponseTopic>,
}

/// What became of the offsets in one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetCommitResponseTopic {
    /// The topic, by name.
    #[wire(versions = "0-9", ignorable)]
    pub name: Str,
    /// The topic, by id.
    #[wire(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    /// The results by partition.
    pub partitions: Vec<OffsetCommitResponsePartition>,
}

/// What became of the offset in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetCommitResponsePartition {
    /// The partition.
    pub partition_index: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
}
