//! The records of consumer groups (KIP-848).
//!
//! Shapes: `ConsumerGroup*Key.json` and their values in Kafka 4.3's group coordinator. Keys are of version 0 whatever their kind.

use super::{RecordProblem, read, read_value, written};
use crate::ids::Uuid;
use crate::wire::{Message, Str, Wire};
use alloc::vec::Vec;
use bytes::Bytes;

/// A record of a consumer group. Without a value it is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerRecord {
    /// The group has this epoch. Kind 3.
    Group(GroupKey, Option<ConsumerGroupMetadataValue>),
    /// What the group knows of its topics; not written since Kafka 4.1 (KIP-1101). Kind 4.
    PartitionMetadata(GroupKey, Option<ConsumerGroupPartitionMetadataValue>),
    /// What a member said. Kind 5.
    Member(MemberKey, Option<ConsumerGroupMemberMetadataValue>),
    /// The epoch that the targets are for. Kind 6.
    TargetEpoch(GroupKey, Option<TargetAssignmentMetadataValue>),
    /// What a member is to read in the end. Kind 7.
    Target(MemberKey, Option<TargetAssignmentMemberValue>),
    /// What a member reads. Kind 8.
    Current(MemberKey, Option<CurrentMemberAssignmentValue>),
    /// The topics that a pattern stands for. Kind 16.
    Pattern(PatternKey, Option<RegularExpressionValue>),
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Wire)]
#[wire(versions = "0")]
pub struct GroupKey {
    /// The group.
    pub group: Str,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Wire)]
#[wire(versions = "0")]
pub struct MemberKey {
    /// The group.
    pub group: Str,
    /// The member.
    pub member: Str,
}

/// A pattern that members of a group subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Wire)]
#[wire(versions = "0")]
pub struct PatternKey {
    /// The group.
    pub group: Str,
    /// The pattern.
    pub pattern: Str,
}

/// A group's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire)]
#[wire(versions = "0", flexible = "0+")]
pub struct ConsumerGroupMetadataValue {
    /// The number of its last change.
    pub epoch: i32,
    /// A digest of the topics that it reads as they were then (KIP-1101).
    #[wire(tag = 0, tagged = "0+")]
    pub metadata_hash: i64,
}

/// What earlier releases of Kafka kept of topics.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(versions = "0", flexible = "0+")]
pub struct ConsumerGroupPartitionMetadataValue {
    /// The topics.
    pub topics: Vec<TopicMetadata>,
}

/// A topic as it was.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct TopicMetadata {
    /// Its id.
    pub topic_id: Uuid,
    /// Its name.
    pub topic_name: Str,
    /// How many partitions it had.
    pub num_partitions: i32,
    /// Where they were.
    pub partition_metadata: Vec<PartitionRacks>,
}

/// A partition as it was.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct PartitionRacks {
    /// Its index.
    pub partition: i32,
    /// The racks of its replicas.
    pub racks: Vec<Str>,
}

/// What a member said.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(versions = "0", flexible = "0+")]
pub struct ConsumerGroupMemberMetadataValue {
    /// Its name as a static member.
    #[wire(nullable = "0+")]
    pub instance_id: Option<Str>,
    /// Its rack.
    #[wire(nullable = "0+")]
    pub rack_id: Option<Str>,
    /// What its client calls itself.
    pub client_id: Str,
    /// Where it is.
    pub client_host: Str,
    /// The topics that it wants by name.
    pub subscribed_topic_names: Vec<Str>,
    /// The pattern of topics that it wants.
    #[wire(nullable = "0+")]
    pub subscribed_topic_regex: Option<Str>,
    /// How long it may take to give up partitions, in ms.
    #[wire(default = -1)]
    pub rebalance_timeout_ms: i32,
    /// The assignor that it prefers.
    #[wire(nullable = "0+")]
    pub server_assignor: Option<Str>,
    /// What it said in the classic protocol, if it speaks that.
    #[wire(nullable = "0+", default = null, tag = 0, tagged = "0+")]
    pub classic_member_metadata: Option<ClassicMemberMetadata>,
}

/// What a member said in the classic protocol.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ClassicMemberMetadata {
    /// How long it may be silent, in ms.
    pub session_timeout_ms: i32,
    /// What it speaks, the best first.
    pub supported_protocols: Vec<ClassicProtocol>,
}

/// A protocol of a classic member.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ClassicProtocol {
    /// Its name.
    pub name: Str,
    /// What the member says in it.
    pub metadata: Bytes,
}

/// What the targets are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire)]
#[wire(versions = "0", flexible = "0+")]
pub struct TargetAssignmentMetadataValue {
    /// The group's epoch that they were made for.
    pub assignment_epoch: i32,
    /// When, in ms since the epoch; 0 if nobody said (KIP-1263).
    #[wire(tag = 0, tagged = "0+", ignorable)]
    pub assignment_timestamp: i64,
}

/// A member's target.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(versions = "0", flexible = "0+")]
pub struct TargetAssignmentMemberValue {
    /// The partitions by topic.
    pub topic_partitions: Vec<TargetPartitions>,
}

/// Partitions of a target.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct TargetPartitions {
    /// The topic.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// Where a member is.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(versions = "0", flexible = "0+")]
pub struct CurrentMemberAssignmentValue {
    /// Its epoch.
    pub member_epoch: i32,
    /// The one before, with which it asks again if it did not hear of this one.
    pub previous_member_epoch: i32,
    /// What it waits for, as Kafka numbers that.
    pub state: i8,
    /// What it reads.
    pub assigned_partitions: Vec<CurrentPartitions>,
    /// What it is to give up.
    pub partitions_pending_revocation: Vec<CurrentPartitions>,
}

/// Partitions that a member has.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct CurrentPartitions {
    /// The topic.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<i32>,
    /// The epoch in which the member got each (KIP-1251); null: that of the member.
    #[wire(nullable = "0+", default = null, tag = 0, tagged = "0+")]
    pub assignment_epochs: Option<Vec<i32>>,
}

/// The topics of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(versions = "0", flexible = "0+")]
pub struct RegularExpressionValue {
    /// Their names.
    pub topics: Vec<Str>,
    /// How far the metadata log was when they were looked for.
    pub version: i64,
    /// When that was, in ms since the epoch.
    pub timestamp: i64,
}

const GROUP_KIND: i16 = 3;
const PARTITION_METADATA_KIND: i16 = 4;
const MEMBER_KIND: i16 = 5;
const TARGET_EPOCH_KIND: i16 = 6;
const TARGET_KIND: i16 = 7;
const CURRENT_KIND: i16 = 8;
const PATTERN_KIND: i16 = 16;

/// The one layout of keys and values.
const LAYOUT: i16 = 0;

impl ConsumerRecord {
    /// The group that it is about.
    #[must_use]
    pub fn group(&self) -> &Str {
        match self {
            Self::Group(key, _) => &key.group,
            Self::PartitionMetadata(key, _) => &key.group,
            Self::TargetEpoch(key, _) => &key.group,
            Self::Member(key, _) => &key.group,
            Self::Target(key, _) => &key.group,
            Self::Current(key, _) => &key.group,
            Self::Pattern(key, _) => &key.group,
        }
    }

    /// It says that something is gone.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        match self {
            Self::Group(_, value) => value.is_none(),
            Self::PartitionMetadata(_, value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::TargetEpoch(_, value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
            Self::Pattern(_, value) => value.is_none(),
        }
    }

    pub(super) fn encode(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        match self {
            Self::Group(key, value) => pair(key, GROUP_KIND, value.as_ref()),
            Self::PartitionMetadata(key, value) => pair(key, PARTITION_METADATA_KIND, value.as_ref()),
            Self::Member(key, value) => pair(key, MEMBER_KIND, value.as_ref()),
            Self::TargetEpoch(key, value) => pair(key, TARGET_EPOCH_KIND, value.as_ref()),
            Self::Target(key, value) => pair(key, TARGET_KIND, value.as_ref()),
            Self::Current(key, value) => pair(key, CURRENT_KIND, value.as_ref()),
            Self::Pattern(key, value) => pair(key, PATTERN_KIND, value.as_ref()),
        }
    }

    /// Reads one of its kinds; `key` is behind the number of the kind.
    pub(super) fn decode(kind: i16, key: Bytes, value: Option<&[u8]>) -> Result<Self, RecordProblem> {
        match kind {
            GROUP_KIND => Ok(Self::Group(read(key, LAYOUT)?, read_value(value)?)),
            PARTITION_METADATA_KIND => Ok(Self::PartitionMetadata(read(key, LAYOUT)?, read_value(value)?)),
            MEMBER_KIND => Ok(Self::Member(read(key, LAYOUT)?, read_value(value)?)),
            TARGET_EPOCH_KIND => Ok(Self::TargetEpoch(read(key, LAYOUT)?, read_value(value)?)),
            TARGET_KIND => Ok(Self::Target(read(key, LAYOUT)?, read_value(value)?)),
            CURRENT_KIND => Ok(Self::Current(read(key, LAYOUT)?, read_value(value)?)),
            PATTERN_KIND => Ok(Self::Pattern(read(key, LAYOUT)?, read_value(value)?)),
            _ => Err(RecordProblem::UnknownKind(kind)),
        }
    }
}

fn pair<K: Message, V: Message>(key: &K, kind: i16, value: Option<&V>) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut bytes = written(key, LAYOUT);
    bytes[..size_of::<i16>()].copy_from_slice(&kind.to_be_bytes());
    (bytes, value.map(|value| written(value, LAYOUT)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::records::GroupRecord;
    use alloc::vec;

    fn round_trip(record: ConsumerRecord) {
        let record = GroupRecord::Consumer(record);
        let (key, value) = record.encode();
        let back = GroupRecord::decode(Some(&key), value.as_deref()).expect("what was written is read");
        assert_eq!(back, record);
    }

    #[test]
    fn a_groups_epoch_is_written_as_kafka_writes_it() {
        let key = GroupKey { group: "g".into() };
        let value = ConsumerGroupMetadataValue { epoch: 7, metadata_hash: 9 };
        let (key, value) = GroupRecord::Consumer(ConsumerRecord::Group(key, Some(value))).encode();
        assert_eq!(key, [&[0, 3, 0, 1][..], b"g"].concat());
        assert_eq!(value.expect("a value"), [0, 0, 0, 0, 0, 7, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn what_a_member_reads_is_written_as_kafka_writes_it() {
        let key = MemberKey { group: "g".into(), member: "m".into() };
        let assigned = CurrentPartitions {
            topic_id: Uuid([5; 16]),
            partitions: vec![2],
            assignment_epochs: Some(vec![3]),
        };
        let value = CurrentMemberAssignmentValue {
            member_epoch: 3,
            previous_member_epoch: 2,
            state: 1,
            assigned_partitions: vec![assigned],
            partitions_pending_revocation: vec![],
        };
        let (key, value) = GroupRecord::Consumer(ConsumerRecord::Current(key, Some(value))).encode();
        assert_eq!(key, [&[0, 8, 0, 1][..], b"g", &[0, 1], b"m"].concat());
        let head = [0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 1, 2];
        let part = [2, 0, 0, 0, 2, 1, 0, 5, 2, 0, 0, 0, 3];
        assert_eq!(value.expect("a value"), [&head[..], &[5; 16], &part, &[1, 0]].concat());
    }

    #[test]
    fn records_come_back_as_they_were() {
        let (group, member) =
            (GroupKey { group: "g".into() }, MemberKey { group: "g".into(), member: "m".into() });
        let classic = ClassicMemberMetadata {
            session_timeout_ms: 45_000,
            supported_protocols: vec![ClassicProtocol {
                name: "range".into(),
                metadata: Bytes::from_static(b"m"),
            }],
        };
        let said = ConsumerGroupMemberMetadataValue {
            instance_id: Some("i".into()),
            subscribed_topic_names: vec!["t".into()],
            rebalance_timeout_ms: 5,
            classic_member_metadata: Some(classic),
            ..Default::default()
        };
        let old = TopicMetadata {
            topic_name: "t".into(),
            partition_metadata: vec![PartitionRacks { partition: 1, racks: vec!["r".into()] }],
            ..Default::default()
        };
        let topics = ConsumerGroupPartitionMetadataValue { topics: vec![old] };
        let target = TargetPartitions { topic_id: Uuid([1; 16]), partitions: vec![0, 4] };
        let epoch = TargetAssignmentMetadataValue { assignment_epoch: 4, assignment_timestamp: 99 };
        let pattern = PatternKey { group: "g".into(), pattern: "o.*".into() };
        let found = RegularExpressionValue { topics: vec!["orders".into()], version: 5, timestamp: 6 };
        round_trip(ConsumerRecord::Group(group.clone(), None));
        round_trip(ConsumerRecord::PartitionMetadata(group.clone(), Some(topics)));
        round_trip(ConsumerRecord::Member(member.clone(), Some(said)));
        round_trip(ConsumerRecord::TargetEpoch(group, Some(epoch)));
        let targets = TargetAssignmentMemberValue { topic_partitions: vec![target] };
        round_trip(ConsumerRecord::Target(member.clone(), Some(targets)));
        round_trip(ConsumerRecord::Current(member, None));
        round_trip(ConsumerRecord::Pattern(pattern, Some(found)));
    }
}
