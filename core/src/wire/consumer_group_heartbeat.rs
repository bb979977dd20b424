//! ConsumerGroupHeartbeat: everything that a member of a consumer group says to its coordinator, and is told. KIP-848, KIP-1082
//! (members make their own ids, version 1).

use crate::ids::Uuid;
use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// A member joins, lives, changes what it wants, or leaves. API key 68.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 68, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupHeartbeatRequest {
    /// The group.
    pub group_id: Str,
    /// The member's id.
    pub member_id: Str,
    /// Its epoch; 0 to join, -1 to leave, -2 to leave and come back as the same static member.
    pub member_epoch: i32,
    /// Its name as a static member; null if it is none, or said so before.
    #[wire(nullable = "0+", default = null)]
    pub instance_id: Option<Str>,
    /// Its rack; null if it has none, or said so before.
    #[wire(nullable = "0+", default = null)]
    pub rack_id: Option<Str>,
    /// How long it may take to give up partitions, in ms; -1 if it said so before.
    #[wire(default = -1)]
    pub rebalance_timeout_ms: i32,
    /// The topics that it wants; null if it said so before.
    #[wire(nullable = "0+", default = null)]
    pub subscribed_topic_names: Option<Vec<Str>>,
    /// A pattern of the topics that it wants; null if it said so before.
    #[wire(versions = "1+", nullable = "1+", default = null)]
    pub subscribed_topic_regex: Option<Str>,
    /// The assignor that it prefers; null if it prefers none, or said so before.
    #[wire(nullable = "0+", default = null)]
    pub server_assignor: Option<Str>,
    /// The partitions that it reads; null if they are what it said before.
    #[wire(nullable = "0+", default = null)]
    pub topic_partitions: Option<Vec<OwnedPartitions>>,
}

/// Partitions that a member reads.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct OwnedPartitions {
    /// The topic.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// What the member is to do.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 68, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupHeartbeatResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+", default = null)]
    pub error_message: Option<Str>,
    /// The member's id.
    #[wire(nullable = "0+", default = null)]
    pub member_id: Option<Str>,
    /// Its epoch from here on.
    pub member_epoch: i32,
    /// When it is to be heard of again, in ms.
    pub heartbeat_interval_ms: i32,
    /// What it is to read; null if that is what it was told before.
    #[wire(nullable = "0+", default = null)]
    pub assignment: Option<HeartbeatAssignment>,
}

/// What a member is to read.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct HeartbeatAssignment {
    /// The partitions by topic.
    pub topic_partitions: Vec<AssignedPartitions>,
}

/// Partitions that a member is to read.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct AssignedPartitions {
    /// The topic.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<i32>,
}
