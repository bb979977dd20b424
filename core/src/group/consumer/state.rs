//! What the log says of a consumer group. Changed by replay only; a tombstone may name what is not there.

use super::member::{Current, Said};
use crate::group::assignor::Partitions;
use crate::group::records::consumer::{
    ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataValue, ConsumerRecord, GroupKey, MemberKey,
    PatternKey, RegularExpressionValue, TargetAssignmentMemberValue, TargetAssignmentMetadataValue,
    TargetPartitions,
};
use crate::group::settings::ConsumerSettings;
use crate::ids::Uuid;
use crate::time::WallMs;
use crate::wire::Str;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The epoch that a group begins in, which nobody writes.
pub(super) const FIRST_EPOCH: i32 = 1;

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::group) struct Consumer {
    /// Its epoch and the digest of its topics; `None`: it is in the first epoch.
    head: Option<ConsumerGroupMetadataValue>,
    /// What a release of Kafka before 4.1 wrote in place of the digest.
    partition_metadata: Option<ConsumerGroupPartitionMetadataValue>,
    /// The epoch that the targets are for, and when they were made.
    target_head: Option<TargetAssignmentMetadataValue>,
    pub(super) members: BTreeMap<Str, Said>,
    pub(super) targets: BTreeMap<Str, Partitions>,
    pub(super) currents: BTreeMap<Str, Current>,
    /// The topics of patterns.
    pub(super) patterns: BTreeMap<Str, RegularExpressionValue>,
    /// Who has each partition. Follows from `currents`.
    owners: BTreeMap<Uuid, BTreeMap<i32, Str>>,
    /// The ids of static members by their names. Follows from `members`.
    pub(super) statics: BTreeMap<Str, Str>,
    /// How many members subscribed to each pattern. Follows from `members`.
    subscribers: BTreeMap<Str, usize>,
    /// Bytes that members and patterns take.
    bytes: usize,
}

impl Consumer {
    /// Something is written of it.
    pub(in crate::group) fn is_there(&self) -> bool {
        self.head.is_some() || !self.members.is_empty()
    }

    /// Nothing is written of it, not even what makes no group.
    pub(in crate::group) fn is_blank(&self) -> bool {
        !self.is_there()
            && self.partition_metadata.is_none()
            && self.target_head.is_none()
            && self.targets.is_empty()
            && self.currents.is_empty()
            && self.patterns.is_empty()
    }

    /// The number of its last change. As in Kafka a group begins in an epoch whose targets are there, and nobody has any: who comes
    /// is in it at once, and there is something to assign from the first change on.
    pub(super) fn epoch(&self) -> i32 {
        self.head.map_or(FIRST_EPOCH, |head| head.epoch)
    }

    pub(super) fn metadata_hash(&self) -> i64 {
        self.head.map_or(0, |head| head.metadata_hash)
    }

    /// The change that its targets are for.
    pub(super) fn target_epoch(&self) -> i32 {
        self.target_head.map_or(FIRST_EPOCH, |head| head.assignment_epoch)
    }

    /// When its targets were made, in ms since the epoch; 0 if nobody said.
    pub(super) fn assigned_at(&self) -> i64 {
        self.target_head.map_or(0, |head| head.assignment_timestamp)
    }

    pub(super) fn has_partition_metadata(&self) -> bool {
        self.partition_metadata.is_some()
    }

    /// How far a member is.
    pub(super) fn current(&self, member: &str) -> Current {
        self.currents.get(member).cloned().unwrap_or_else(Current::of_newcomer)
    }

    /// Who has a partition.
    pub(super) fn owner(&self, topic_id: Uuid, partition: i32) -> Option<&Str> {
        self.owners.get(&topic_id)?.get(&partition)
    }

    /// Members that subscribed to a pattern.
    pub(super) fn subscribers(&self, pattern: &str) -> usize {
        self.subscribers.get(pattern).copied().unwrap_or(0)
    }

    /// Its targets are old enough for new ones (KIP-1263).
    pub(super) fn may_assign(&self, now: WallMs, settings: &ConsumerSettings) -> bool {
        let at = self.assigned_at();
        // A clock that was set back is no reason to wait.
        at == 0 || now.0 < at || now.0 - at >= settings.assignment_interval_ms
    }

    /// Somebody subscribed to a pattern.
    pub(super) fn has_subscribed_patterns(&self) -> bool {
        !self.subscribers.is_empty()
    }

    /// Bytes that members told of themselves, and that their patterns stand for.
    pub(in crate::group) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many members it has.
    pub(in crate::group) fn size(&self) -> usize {
        self.members.len()
    }

    /// Applies a record.
    pub(in crate::group) fn replay(&mut self, record: &ConsumerRecord) {
        match record {
            ConsumerRecord::Group(_, value) => self.head = *value,
            ConsumerRecord::PartitionMetadata(_, value) => self.partition_metadata.clone_from(value),
            ConsumerRecord::TargetEpoch(_, value) => self.target_head = *value,
            ConsumerRecord::Member(key, value) => self.replay_member(&key.member, value.as_ref()),
            ConsumerRecord::Target(key, Some(value)) => {
                let mut target = Partitions::default();
                for of_topic in &value.topic_partitions {
                    of_topic.partitions.iter().for_each(|&it| target.insert(of_topic.topic_id, it));
                }
                self.targets.insert(key.member.detached(), target);
            }
            ConsumerRecord::Target(key, None) => {
                self.targets.remove(&key.member);
            }
            ConsumerRecord::Current(key, value) => {
                self.replay_current(&key.member, value.as_ref().map(Current::read));
            }
            ConsumerRecord::Pattern(key, value) => {
                let old = self.patterns.remove(&key.pattern);
                self.bytes -= old.as_ref().map_or(0, bytes_of);
                if let Some(value) = value {
                    let mut found = value.clone();
                    found.topics.sort_unstable();
                    self.bytes += bytes_of(&found);
                    self.patterns.insert(key.pattern.detached(), found);
                }
            }
        }
    }

    fn replay_member(&mut self, id: &Str, value: Option<&Said>) {
        let old = self.members.remove(id);
        self.bytes -= old.as_ref().map_or(0, |old| id.len() + old.bytes());
        if let Some(pattern) = old.as_ref().and_then(Said::pattern)
            && let Some(count) = self.subscribers.get_mut(pattern)
        {
            *count -= 1;
            if *count == 0 {
                self.subscribers.remove(pattern);
            }
        }
        // Another member may have taken the place meanwhile.
        if let Some(place) = old.and_then(|old| old.instance_id)
            && self.statics.get(&place) == Some(id)
        {
            self.statics.remove(&place);
        }
        let Some(value) = value else { return };
        let mut said = value.clone();
        said.subscribed_topic_names.sort_unstable();
        said.subscribed_topic_names.dedup();
        self.bytes += id.len() + said.bytes();
        if let Some(pattern) = said.pattern() {
            *self.subscribers.entry(pattern.clone()).or_default() += 1;
        }
        let id = id.detached();
        if let Some(place) = &said.instance_id {
            self.statics.insert(place.clone(), id.clone());
        }
        self.members.insert(id, said);
    }

    fn replay_current(&mut self, id: &Str, current: Option<Current>) {
        if let Some(old) = self.currents.remove(id) {
            for (topic_id, partition) in old.all() {
                self.disown(id, topic_id, partition);
            }
        }
        let Some(current) = current else { return };
        let id = id.detached();
        for (topic_id, partition) in current.all() {
            self.owners.entry(topic_id).or_default().insert(partition, id.clone());
        }
        self.currents.insert(id, current);
    }

    fn disown(&mut self, id: &Str, topic_id: Uuid, partition: i32) {
        let Some(of_topic) = self.owners.get_mut(&topic_id) else { return };
        if of_topic.get(&partition) == Some(id) {
            of_topic.remove(&partition);
            if of_topic.is_empty() {
                self.owners.remove(&topic_id);
            }
        }
    }

    /// The records that it comes from.
    pub(in crate::group) fn written<'a>(
        &'a self,
        group: &'a Str,
    ) -> impl Iterator<Item = ConsumerRecord> + 'a {
        let key = || GroupKey { group: group.clone() };
        let of_member = |member: &Str| MemberKey { group: group.clone(), member: member.clone() };
        let of_pattern = |pattern: &Str| PatternKey { group: group.clone(), pattern: pattern.clone() };
        let head = self.head.map(|value| ConsumerRecord::Group(key(), Some(value)));
        let old = self.partition_metadata.clone();
        let old = old.map(|value| ConsumerRecord::PartitionMetadata(key(), Some(value)));
        let target_head = self.target_head.map(|value| ConsumerRecord::TargetEpoch(key(), Some(value)));
        let members = self.members.iter();
        let members =
            members.map(move |(id, said)| ConsumerRecord::Member(of_member(id), Some(said.clone())));
        let targets = self.targets.iter();
        let targets = targets
            .map(move |(id, target)| ConsumerRecord::Target(of_member(id), Some(target_value(target))));
        let currents = self.currents.iter();
        let currents = currents
            .map(move |(id, current)| ConsumerRecord::Current(of_member(id), Some(current.written())));
        let patterns = self.patterns.iter();
        let patterns = patterns
            .map(move |(pattern, value)| ConsumerRecord::Pattern(of_pattern(pattern), Some(value.clone())));
        head.into_iter()
            .chain(old)
            .chain(target_head)
            .chain(members)
            .chain(targets)
            .chain(currents)
            .chain(patterns)
    }

    /// Tombstones for all that is written of it, in the order that Kafka writes them.
    pub(in crate::group) fn tombstones(&self, group: &Str) -> Vec<ConsumerRecord> {
        let key = || GroupKey { group: group.clone() };
        let of_member = |member: &Str| MemberKey { group: group.clone(), member: member.clone() };
        let mut records = Vec::new();
        records.extend(self.currents.keys().map(|id| ConsumerRecord::Current(of_member(id), None)));
        records.extend(self.targets.keys().map(|id| ConsumerRecord::Target(of_member(id), None)));
        records.extend(self.target_head.map(|_| ConsumerRecord::TargetEpoch(key(), None)));
        records.extend(self.members.keys().map(|id| ConsumerRecord::Member(of_member(id), None)));
        let of_pattern = |pattern: &Str| PatternKey { group: group.clone(), pattern: pattern.clone() };
        records.extend(self.patterns.keys().map(|it| ConsumerRecord::Pattern(of_pattern(it), None)));
        records
            .extend(self.partition_metadata.iter().map(|_| ConsumerRecord::PartitionMetadata(key(), None)));
        records.extend(self.head.map(|_| ConsumerRecord::Group(key(), None)));
        records
    }
}

/// A target as the log has it.
pub(super) fn target_value(target: &Partitions) -> TargetAssignmentMemberValue {
    let topic_partitions = target.0.iter().map(|(&topic_id, partitions)| TargetPartitions {
        topic_id,
        partitions: partitions.iter().copied().collect(),
    });
    TargetAssignmentMemberValue { topic_partitions: topic_partitions.collect() }
}

fn bytes_of(pattern: &RegularExpressionValue) -> usize {
    pattern.topics.iter().map(|name| name.len() + size_of::<Str>()).sum()
}
