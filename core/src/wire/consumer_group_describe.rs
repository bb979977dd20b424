//! ConsumerGroupDescribe: the state and the members of consumer groups. KIP-848, KIP-1099 (kinds of members, version 1).

use crate::ids::Uuid;
use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks about consumer groups. API key 69.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 69, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupDescribeRequest {
    /// The groups.
    pub group_ids: Vec<Str>,
    /// Whether to tell what the client may do to them (KIP-430).
    pub include_authorized_operations: bool,
}

/// The groups.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 69, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupDescribeResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// Each group.
    pub groups: Vec<DescribedConsumerGroup>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribedConsumerGroup {
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(nullable = "0+", default = null)]
    pub error_message: Option<Str>,
    /// Its id.
    pub group_id: Str,
    /// Its state, by Kafka's names; empty with an error.
    pub group_state: Str,
    /// The number of its last change.
    pub group_epoch: i32,
    /// The change that its assignment is for.
    pub assignment_epoch: i32,
    /// The assignor in use.
    pub assignor_name: Str,
    /// Its members.
    pub members: Vec<DescribedConsumer>,
    /// What the client may do to it as bits; the least number if that was not asked (KIP-430).
    #[wire(default = -2_147_483_648)]
    pub authorized_operations: i32,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribedConsumer {
    /// Its id.
    pub member_id: Str,
    /// Its name as a static member.
    #[wire(nullable = "0+", default = null)]
    pub instance_id: Option<Str>,
    /// Its rack.
    #[wire(nullable = "0+", default = null)]
    pub rack_id: Option<Str>,
    /// Its epoch.
    pub member_epoch: i32,
    /// What its client calls itself.
    pub client_id: Str,
    /// Where it is.
    pub client_host: Str,
    /// The topics that it wants by name.
    pub subscribed_topic_names: Vec<Str>,
    /// The pattern of topics that it wants.
    #[wire(nullable = "0+", default = null)]
    pub subscribed_topic_regex: Option<Str>,
    /// What it reads.
    pub assignment: DescribedAssignment,
    /// What it is to read in the end.
    pub target_assignment: DescribedAssignment,
    /// -1 unknown, 0 a member of the classic protocol, 1 of the consumer protocol (KIP-1099).
    #[wire(versions = "1+", default = -1, ignorable)]
    pub member_type: i8,
}

/// An assignment.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribedAssignment {
    /// The partitions by topic.
    pub topic_partitions: Vec<DescribedPartitions>,
}

/// Partitions of an assignment.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribedPartitions {
    /// The topic.
    pub topic_id: Uuid,
    /// Its name.
    pub topic_name: Str,
    /// The partitions.
    pub partitions: Vec<i32>,
}
