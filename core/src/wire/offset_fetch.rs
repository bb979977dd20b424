//! OffsetFetch: how far groups have come. KIP-320 (leader epochs), KIP-447 (waiting out transactions), KIP-709 (several
//! groups, version 8), KIP-848 (member epochs, version 9; topic ids, version 10).

use crate::{
    ids::Uuid,
    wire::{Str, Wire},
};
use alloc::vec::Vec;

/// Asks for committed offsets. API key 9.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 9, versions = "1-10", flexible = "6+")]
pub struct OffsetFetchRequest {
    /// The group, up to version 7.
    #[wire(versions = "0-7")]
    pub group_id: Str,
    /// The topics, up to version 7; null asks about all that the group has offsets in.
    #[wire(versions = "0-7", nullable = "2-7")]
    pub topics: Option<Vec<OffsetFetchRequestTopic>>,
    /// The groups, from version 8 on (KIP-709).
    #[wire(versions = "8+")]
    pub groups: Vec<OffsetFetchRequestGroup>,
    /// An offset that an open transaction may change is not to be told (KIP-447).
    #[wire(versions = "7+", default = false)]
    pub require_stable: bool,
}

/// Partitions of a topic, up to version 7.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetFetchRequestTopic {
    /// The topic.
    #[wire(versions = "0-7")]
    pub name: Str,
    /// The partitions.
    #[wire(versions = "0-7")]
    pub partition_indexes: Vec<i32>,
}

/// One group, from version 8 on.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetFetchRequestGroup {
    /// Its id.
    #[wire(versions = "8+")]
    pub group_id: Str,
    /// The member that asks; null if none does (KIP-848).
    #[wire(versions = "9+", nullable = "9+", default = null, ignorable)]
    pub member_id: Option<Str>,
    /// Its epoch; -1 if no member asks (KIP-848).
    #[wire(versions = "9+", default = -1, ignorable)]
    pub member_epoch: i32,
    /// The topics; null asks about all that the group has offsets in.
    #[wire(versions = "8+", nullable = "8+")]
    pub topics: Option<Vec<OffsetFetchRequestTopics>>,
}

/// Partitions of a topic, from version 8 on.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetFetchRequestTopics {
    /// The topic, by name.
    #[wire(versions = "8-9", ignorable)]
    pub name: Str,
    /// The topic, by id.
    #[wire(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    /// The partitions.
    #[wire(versions = "8+")]
    pub partition_indexes: Vec<i32>,
}

/// The committed offsets.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 9, versions = "1-10", flexible = "6+")]
pub struct OffsetFetchResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    /// The offsets by topic, up to version 7.
    #[wire(versions = "0-7")]
    pub topics: Vec<OffsetFetchResponseTopic>,
    /// What went wrong with the request as a whole; 0 if nothing did.
    #[wire(versions = "2-7", default = 0, ignorable)]
    pub error_code: i16,
    /// The offsets by group, from version 8 on (KIP-709).
    #[wire(versions = "8+")]
    pub groups: Vec<OffsetFetchResponseGroup>,
}

/// The offsets in one topic, up to version 7.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetFetchResponseTopic {
    /// The topic.
    #[wire(versions = "0-7")]
    pub name: Str,
    /// The offsets by partition.
    #[wire(versions = "0-7")]
    pub partitions: Vec<OffsetFetchResponsePartition>,
}

/// The offset in one partition, up to version 7.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetFetchResponsePartition {
    /// The partition.
    #[wire(versions = "0-7")]
    pub partition_index: i32,
    /// The offset of the record to be read next; -1 if none was committed.
    #[wire(versions = "0-7")]
    pub committed_offset: i64,
    /// The leader epoch that was committed with it; -1 if none was (KIP-320).
    #[wire(versions = "5-7", default = -1, ignorable)]
    pub committed_leader_epoch: i32,
    /// What the client wanted to keep with it.
    #[wire(versions = "0-7", nullable = "0-7")]
    pub metadata: Option<Str>,
    /// What went wrong; 0 if nothing did.
    #[wire(versions = "0-7")]
    pub error_code: i16,
}

/// The offsets of one group, from version 8 on.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetFetchResponseGroup {
    /// Its id.
    #[wire(versions = "8+")]
    pub group_id: Str,
    /// The offsets by topic.
    #[wire(versions = "8+")]
    pub topics: Vec<OffsetFetchResponseTopics>,
    /// What went wrong with the group; 0 if nothing did.
    #[wire(versions = "8+", default = 0)]
    pub error_code: i16,
}

/// The offsets in one topic, from version 8 on.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetFetchResponseTopics {
    /// The topic, by name.
    #[wire(versions = "8-9", ignorable)]
    pub name: Str,
    /// The topic, by id.
    #[wire(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    /// The offsets by partition.
    #[wire(versions = "8+")]
    pub partitions: Vec<OffsetFetchResponsePartitions>,
}

/// The offset in one partition, from version 8 on.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OffsetFetchResponsePartitions {
    /// The partition.
    #[wire(versions = "8+")]
    pub partition_index: i32,
    /// The offset of the record to be read next; -1 if none was committed.
    #[wire(versions = "8+")]
    pub committed_offset: i64,
    /// The leader epoch that was committed with it; -1 if none was (KIP-320).
    #[wire(versions = "8+", default = -1, ignorable)]
    pub committed_leader_epoch: i32,
    /// What the client wanted to keep with it.
    #[wire(versions = "8+", nullable = "8+")]
    pub metadata: Option<Str>,
    /// What went wrong; 0 if nothing did.
    #[wire(versions = "8+")]
    pub error_code: i16,
}
