//! A change of a consumer group in the making: what was decided so far, on top of what the log says. It ends as records, and
//! nothing changes before these are replayed.

use super::member::{Current, Said};
use super::state::{Consumer, target_value};
use crate::group::assignor::Partitions;
use crate::group::records::GroupRecord;
use crate::group::records::consumer::{
    ConsumerGroupMetadataValue, ConsumerRecord, GroupKey, MemberKey, PatternKey, RegularExpressionValue,
    TargetAssignmentMetadataValue,
};
use crate::group::topics::{Topics, metadata_hash};
use crate::time::WallMs;
use crate::wire::Str;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// A group as it will be.
pub(super) struct Decision<'a> {
    pub(super) group: &'a Str,
    /// What the log says.
    pub(super) base: &'a Consumer,
    pub(super) topics: &'a dyn Topics,
    pub(super) now: WallMs,
    /// What is to be written.
    pub(super) records: Vec<GroupRecord>,
    /// Members that came or said something new.
    changed: BTreeMap<Str, Said>,
    /// Members that go.
    pub(super) removed: BTreeSet<Str>,
    /// Patterns that were looked up anew.
    looked_up: BTreeMap<Str, RegularExpressionValue>,
    epoch: i32,
}

impl<'a> Decision<'a> {
    pub(super) fn new(group: &'a Str, base: &'a Consumer, topics: &'a dyn Topics, now: WallMs) -> Self {
        Self {
            group,
            base,
            topics,
            now,
            records: Vec::new(),
            changed: BTreeMap::new(),
            removed: BTreeSet::new(),
            looked_up: BTreeMap::new(),
            epoch: base.epoch(),
        }
    }

    /// The group's epoch, with what was decided.
    pub(super) fn epoch(&self) -> i32 {
        self.epoch
    }

    /// The members, with what was decided.
    pub(super) fn members(&self) -> impl Iterator<Item = (&Str, &Said)> {
        let stays = |id: &&Str| !self.removed.contains(*id) && !self.changed.contains_key(*id);
        let base = self.base.members.iter().filter(move |(id, _)| stays(id));
        base.chain(&self.changed)
    }

    /// The topics that a pattern stands for, if it was looked up.
    pub(super) fn topics_of(&self, pattern: &str) -> Option<&[Str]> {
        let found = self.looked_up.get(pattern).or_else(|| self.base.patterns.get(pattern));
        found.map(|found| &found.topics[..])
    }

    /// A member said something.
    pub(super) fn put_member(&mut self, id: &Str, said: Said) {
        let record = ConsumerRecord::Member(self.member_key(id), Some(said.clone()));
        self.put(record);
        self.changed.insert(id.clone(), said);
    }

    /// What a member is to read in the end.
    pub(super) fn put_target(&mut self, id: &Str, target: &Partitions) {
        self.put(ConsumerRecord::Target(self.member_key(id), Some(target_value(target))));
    }

    /// The targets are for the group's epoch.
    pub(super) fn put_target_epoch(&mut self) {
        let value =
            TargetAssignmentMetadataValue { assignment_epoch: self.epoch, assignment_timestamp: self.now.0 };
        self.put(ConsumerRecord::TargetEpoch(self.group_key(), Some(value)));
    }

    /// How far a member is.
    pub(super) fn put_current(&mut self, id: &Str, current: &Current) {
        self.put(ConsumerRecord::Current(self.member_key(id), Some(current.written())));
    }

    /// The topics of a pattern.
    pub(super) fn put_pattern(&mut self, pattern: &Str, found: RegularExpressionValue) {
        let key = PatternKey { group: self.group.clone(), pattern: pattern.clone() };
        self.put(ConsumerRecord::Pattern(key, Some(found.clone())));
        self.looked_up.insert(pattern.clone(), found);
    }

    /// A member goes, with all that is written of it.
    pub(super) fn remove(&mut self, id: &Str) {
        let key = self.member_key(id);
        self.put(ConsumerRecord::Current(key.clone(), None));
        self.put(ConsumerRecord::Target(key.clone(), None));
        self.put(ConsumerRecord::Member(key, None));
        self.removed.insert(id.clone());
    }

    /// Patterns that nobody subscribes to any more are forgotten.
    pub(super) fn forget_patterns(&mut self) {
        let wanted: BTreeSet<&Str> = self.members().filter_map(|(_, said)| said.pattern()).collect();
        let unused = self.base.patterns.keys().filter(|pattern| !wanted.contains(pattern));
        for pattern in unused.cloned().collect::<Vec<Str>>() {
            let key = PatternKey { group: self.group.clone(), pattern };
            self.put(ConsumerRecord::Pattern(key, None));
        }
    }

    /// The group is in a new epoch if something changed, or if its topics are not what they were.
    pub(super) fn update_epoch(&mut self, has_changed: bool) {
        let metadata_hash = metadata_hash(self.subscribed().into_iter(), self.topics);
        if !has_changed && metadata_hash == self.base.metadata_hash() {
            return;
        }
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        let value = ConsumerGroupMetadataValue { epoch: self.epoch, metadata_hash };
        self.put(ConsumerRecord::Group(self.group_key(), Some(value)));
        if self.base.has_partition_metadata() {
            self.put(ConsumerRecord::PartitionMetadata(self.group_key(), None));
        }
    }

    /// The topics that members want, by name or by pattern.
    fn subscribed(&self) -> BTreeSet<&str> {
        // Members of a group mostly say the same: each such list is looked at once.
        let lists: BTreeSet<&[Str]> =
            self.members().map(|(_, said)| &said.subscribed_topic_names[..]).collect();
        let patterns: BTreeSet<&Str> = self.members().filter_map(|(_, said)| said.pattern()).collect();
        let of_patterns = patterns.into_iter().filter_map(|pattern| self.topics_of(pattern));
        lists.into_iter().chain(of_patterns).flatten().map(Str::as_str).collect()
    }

    fn put(&mut self, record: ConsumerRecord) {
        self.records.push(GroupRecord::Consumer(record));
    }

    fn group_key(&self) -> GroupKey {
        GroupKey { group: self.group.clone() }
    }

    fn member_key(&self, member: &Str) -> MemberKey {
        MemberKey { group: self.group.clone(), member: member.clone() }
    }
}
