//! S23 single owner (INVARIANTS.md 3a). In one generation of a classic group a partition has one owner at most, a member is told
//! to read what the committed log gives it, and what a member of a former generation commits is refused. In a consumer group
//! (KIP-848) no two members have a partition at once, a member's epoch never goes back, nobody loses a partition that it still
//! reads, unless it is expelled, and what somebody commits who does not have the partition is refused.

use bytes::Bytes;
use seedlog_core::group::records::GroupMetadataValue;
use seedlog_core::group::records::consumer::{
    ConsumerRecord, CurrentMemberAssignmentValue, CurrentPartitions,
};
use seedlog_core::group::subscription::assignment;
use seedlog_core::ids::{PartitionIndex, TopicPartition};
use seedlog_core::wire::Str;
use std::collections::{BTreeMap, BTreeSet};

/// What a member reads.
pub type Parts = BTreeSet<TopicPartition>;

/// Who owns what, by the committed log.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    /// What the log gave, by member and generation, as long as the group was a classic one.
    given: BTreeMap<(Str, i32), Bytes>,
    /// What it gave while the group was a consumer group, by member and its epoch: what a member has to give up is taken from it
    /// within one epoch.
    stages: BTreeMap<(Str, i32), BTreeSet<Parts>>,
    generation: i32,
    /// What the members of a consumer group have; `None`: it is none.
    consumers: Option<Consumers>,
    /// The group became a consumer group where its coordinator had not heard of a topic that members had given each other. As
    /// with Kafka, they go on as if it was theirs, and so may others.
    is_beyond: bool,
    /// What clients read, whatever the log says.
    reading: BTreeMap<Str, Parts>,
}

/// The members of a consumer group.
#[derive(Debug, Clone, Default)]
struct Consumers {
    epoch: i32,
    /// Each with its epoch, and all that nobody else may read.
    members: BTreeMap<Str, (i32, Parts)>,
    /// What each is to read in the end.
    targets: BTreeMap<Str, Parts>,
}

/// Whose commits count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InForce {
    /// Those of this generation's members.
    Generation(i32),
    /// The member that asks may commit these partitions.
    Owned(Parts),
}

impl Owners {
    /// The group was forgotten: its generations begin anew.
    pub fn begin_anew(&mut self) {
        self.generation = 0;
    }

    /// The generation in force, or what a member of a consumer group has.
    #[must_use]
    pub fn in_force(&self, member: &Str) -> InForce {
        match &self.consumers {
            None => InForce::Generation(self.generation),
            Some(_) if self.is_beyond => InForce::Generation(0),
            Some(consumers) => {
                let owned = consumers.members.get(member).map(|(_, owned)| owned.clone());
                InForce::Owned(owned.unwrap_or_default())
            }
        }
    }

    /// What its members commit is not judged.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.is_beyond
    }

    /// A client reads these partitions, and no others.
    pub fn on_reading(&mut self, member: &Str, parts: Parts) {
        if parts.is_empty() {
            self.reading.remove(member);
        } else {
            self.reading.insert(member.clone(), parts);
        }
    }

    /// A member of a consumer group that reads these has all that it is to have.
    #[must_use]
    pub fn is_settled(&self, member: &Str, parts: &Parts) -> bool {
        let target = self.consumers.as_ref().and_then(|consumers| consumers.targets.get(member));
        target.map_or(parts.is_empty(), |target| target == parts)
    }

    /// The log gives members of a classic group what they read.
    ///
    /// # Errors
    /// Two of them the same, or a generation that is over is in force again.
    pub fn on_logged(&mut self, value: &GroupMetadataValue) -> Result<(), String> {
        let generation = value.generation;
        if generation < self.generation {
            return Err(format!("generation {generation} begins behind generation {}", self.generation));
        }
        self.generation = generation;
        let mut taken = BTreeSet::new();
        for member in &value.members {
            let parts = assignment(&member.assignment).unwrap_or_default();
            let parts = parts.iter().flat_map(|(topic, indexes)| indexes.iter().map(move |at| (topic, *at)));
            if let Some((topic, index)) =
                parts.filter(|(topic, at)| !taken.insert(((*topic).clone(), *at))).last()
            {
                return Err(format!("{topic}-{index} has two owners in generation {generation}"));
            }
            self.given.insert((member.member_id.clone(), generation), member.assignment.clone());
        }
        Ok(())
    }

    /// The log says something of a consumer group.
    ///
    /// # Errors
    /// Two members have a partition, one loses it while it reads, or an epoch goes back.
    pub fn on_consumer(&mut self, record: &ConsumerRecord) -> Result<(), String> {
        match record {
            ConsumerRecord::Group(_, Some(value)) => {
                let consumers = self.consumers.get_or_insert_default();
                if value.epoch < consumers.epoch {
                    return Err(format!("epoch {} begins behind epoch {}", value.epoch, consumers.epoch));
                }
                consumers.epoch = value.epoch;
                Ok(())
            }
            ConsumerRecord::Group(_, None) => {
                self.consumers = None;
                Ok(())
            }
            ConsumerRecord::Current(key, Some(value)) => self.on_current(&key.member, value),
            ConsumerRecord::Current(key, None) => {
                // Expelled, or gone: whatever it still reads it reads for itself.
                let consumers = self.consumers.get_or_insert_default();
                consumers.members.remove(&key.member);
                Ok(())
            }
            ConsumerRecord::Target(key, value) => {
                let targets = &mut self.consumers.get_or_insert_default().targets;
                let parts = value
                    .iter()
                    .flat_map(|value| &value.topic_partitions)
                    .flat_map(|topic| topic.partitions.iter().map(|index| partition(topic.topic_id, *index)));
                targets.insert(key.member.clone(), parts.collect());
                Ok(())
            }
            ConsumerRecord::PartitionMetadata(..)
            | ConsumerRecord::Member(..)
            | ConsumerRecord::TargetEpoch(..)
            | ConsumerRecord::Pattern(..) => Ok(()),
        }
    }

    fn on_current(&mut self, member: &Str, value: &CurrentMemberAssignmentValue) -> Result<(), String> {
        let assigned = parts_of(&value.assigned_partitions);
        let owned = &assigned | &parts_of(&value.partitions_pending_revocation);
        let epoch = value.member_epoch;
        self.stages.entry((member.clone(), epoch)).or_default().insert(assigned);
        let given = self.given.get(&(member.clone(), epoch)).and_then(assignment).unwrap_or_default();
        let given: usize = given.iter().map(|(_, indexes)| indexes.len()).sum();
        let consumers = self.consumers.get_or_insert_default();
        let members = &mut consumers.members;
        let before = members.insert(member.clone(), (epoch, owned.clone()));
        self.is_beyond |= before.is_none() && given > owned.len();
        if let Some((before, had)) = before {
            // A static member that is away for a while has epoch -2.
            if epoch >= 0 && epoch < before {
                return Err(format!("{member} is in epoch {epoch} after epoch {before}"));
            }
            let lost = &had - &owned;
            if let Some(read) =
                self.reading.get(member).and_then(|reading| reading.intersection(&lost).next())
            {
                return Err(format!("{member} has lost {read}, and reads it still"));
            }
        }
        let others = members.iter().filter(|(other, _)| *other != member);
        let twice =
            others.flat_map(|(other, (_, parts))| parts.intersection(&owned).map(move |part| (part, other)));
        match twice.last() {
            Some((part, other)) => {
                Err(format!("{part} belongs to {member} in epoch {epoch}, and to {other}"))
            }
            None => Ok(()),
        }
    }

    /// A member was told what it reads, in the classic protocol; `parts` are what the bytes say.
    ///
    /// # Errors
    /// The log does not give it that.
    pub fn check_told(
        &self,
        generation: i32,
        member: &Str,
        told: &Bytes,
        parts: &Parts,
    ) -> Result<(), String> {
        match self.given.get(&(member.clone(), generation)) {
            Some(given) if given == told => Ok(()),
            given if self.consumers.is_none() && !self.stages.contains_key(&(member.clone(), generation)) => {
                Err(format!(
                    "{member} is told to read {told:?} in generation {generation}, and the committed log gives it {given:?}"
                ))
            }
            _ => self.check_stage(generation, member, parts),
        }
    }

    /// The same in a consumer group.
    ///
    /// # Errors
    /// The log did never give it that in this epoch.
    pub fn check_stage(&self, epoch: i32, member: &Str, told: &Parts) -> Result<(), String> {
        match self.stages.get(&(member.clone(), epoch)) {
            Some(stages) if stages.contains(told) => Ok(()),
            stages => Err(format!(
                "{member} is told to read {told:?} in epoch {epoch}, and the committed log gave it {stages:?}"
            )),
        }
    }
}

/// A commit of a generation was accepted for these partitions; `in_force` was so when it was sent.
///
/// # Errors
/// A later generation was in force, or a partition was not the member's.
pub fn check_commit(generation: i32, accepted: &Parts, in_force: &InForce) -> Result<(), String> {
    match in_force {
        InForce::Generation(in_force) if generation < *in_force => Err(format!(
            "a commit of generation {generation} is accepted, and {in_force} was in force when it was sent"
        )),
        InForce::Generation(_) => Ok(()),
        InForce::Owned(owned) => match accepted.difference(owned).next() {
            Some(part) => Err(format!(
                "a commit of {part} in epoch {generation} is accepted, and it was not the member's when it was sent"
            )),
            None => Ok(()),
        },
    }
}

fn partition(topic_id: seedlog_core::ids::Uuid, index: i32) -> TopicPartition {
    TopicPartition { topic_id, partition: PartitionIndex(index) }
}

fn parts_of(topics: &[CurrentPartitions]) -> Parts {
    let parts = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|index| partition(topic.topic_id, *index)));
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::group::records::MemberMetadata;
    use seedlog_core::group::records::consumer::{ConsumerGroupMetadataValue, GroupKey, MemberKey};
    use seedlog_core::group::subscription::assignment_bytes;
    use seedlog_core::ids::Uuid;

    fn bytes(indexes: &[i32]) -> Bytes {
        assignment_bytes(0, &[("t".into(), indexes.to_vec())])
    }

    fn record(generation: i32, members: &[(&str, &[i32])]) -> GroupMetadataValue {
        let members = members.iter().map(|(id, indexes)| MemberMetadata {
            member_id: (*id).into(),
            assignment: bytes(indexes),
            ..MemberMetadata::default()
        });
        GroupMetadataValue { generation, members: members.collect(), ..GroupMetadataValue::default() }
    }

    #[test]
    fn two_owners_and_what_no_log_gives_are_found() {
        let mut owners = Owners::default();
        let check = |owners: &Owners, generation, indexes: &[i32]| {
            owners.check_told(generation, &"b".into(), &bytes(indexes), &Parts::new())
        };
        assert_eq!(owners.on_logged(&record(1, &[("a", &[0, 1]), ("b", &[2])])), Ok(()));
        assert_eq!(check(&owners, 1, &[2]), Ok(()));
        assert!(check(&owners, 1, &[0]).unwrap_err().contains("gives it"));
        assert!(check(&owners, 2, &[2]).is_err());
        let twice = record(2, &[("a", &[1]), ("b", &[1])]);
        assert!(owners.on_logged(&twice).unwrap_err().contains("t-1 has two owners"));
        assert!(owners.on_logged(&record(1, &[])).unwrap_err().contains("behind generation 2"));
        owners.begin_anew();
        assert_eq!(owners.on_logged(&record(1, &[("c", &[1])])), Ok(()));
    }

    #[test]
    fn a_zombie_is_found() {
        let check = |in_force| check_commit(1, &Parts::new(), &InForce::Generation(in_force));
        assert_eq!(check(1), Ok(()));
        assert!(check(2).unwrap_err().contains("2 was in force"));
    }

    fn parts(indexes: &[i32]) -> Parts {
        indexes.iter().map(|index| partition(Uuid([1; 16]), *index)).collect()
    }

    /// The log says that a member has `assigned`, and is to give up `revoking`.
    fn current(member: &str, epoch: i32, assigned: &[i32], revoking: &[i32]) -> ConsumerRecord {
        let topic = |partitions: &[i32]| {
            let partitions = partitions.to_vec();
            vec![CurrentPartitions { topic_id: Uuid([1; 16]), partitions, assignment_epochs: None }]
        };
        let value = CurrentMemberAssignmentValue {
            member_epoch: epoch,
            previous_member_epoch: epoch,
            state: 0,
            assigned_partitions: topic(assigned),
            partitions_pending_revocation: topic(revoking),
        };
        ConsumerRecord::Current(MemberKey { group: "g".into(), member: member.into() }, Some(value))
    }

    #[test]
    fn a_partition_that_is_given_before_it_is_given_up_is_found() {
        let mut owners = Owners::default();
        assert_eq!(owners.on_consumer(&current("a", 1, &[0, 1], &[])), Ok(()));
        owners.on_reading(&"a".into(), parts(&[0, 1]));
        assert_eq!(owners.on_consumer(&current("a", 1, &[0], &[1])), Ok(()));
        assert_eq!(owners.check_stage(1, &"a".into(), &parts(&[0])), Ok(()));
        assert!(owners.check_stage(2, &"a".into(), &parts(&[0])).is_err());
        let given = owners.clone().on_consumer(&current("b", 2, &[1], &[]));
        assert!(given.unwrap_err().contains("belongs to b in epoch 2, and to a"));
        let taken = owners.clone().on_consumer(&current("a", 2, &[0], &[]));
        assert!(taken.unwrap_err().contains("reads it still"));
        owners.on_reading(&"a".into(), parts(&[0]));
        assert_eq!(owners.on_consumer(&current("a", 2, &[0], &[])), Ok(()));
        assert_eq!(owners.on_consumer(&current("b", 2, &[1], &[])), Ok(()));
        assert!(owners.on_consumer(&current("b", 1, &[1], &[])).unwrap_err().contains("after epoch 2"));
        let key = GroupKey { group: "g".into() };
        let epoch = |epoch| ConsumerGroupMetadataValue { epoch, metadata_hash: 0 };
        assert_eq!(owners.on_consumer(&ConsumerRecord::Group(key.clone(), Some(epoch(3)))), Ok(()));
        assert!(owners.on_consumer(&ConsumerRecord::Group(key, Some(epoch(2)))).is_err());
    }

    #[test]
    fn who_is_expelled_may_read_and_not_commit() {
        let mut owners = Owners::default();
        assert_eq!(owners.on_consumer(&current("a", 1, &[0], &[])), Ok(()));
        owners.on_reading(&"a".into(), parts(&[0]));
        let in_force = owners.in_force(&"a".into());
        assert_eq!(check_commit(1, &parts(&[0]), &in_force), Ok(()));
        let key = MemberKey { group: "g".into(), member: "a".into() };
        assert_eq!(owners.on_consumer(&ConsumerRecord::Current(key, None)), Ok(()));
        assert_eq!(owners.on_consumer(&current("b", 2, &[0], &[])), Ok(()));
        let in_force = owners.in_force(&"a".into());
        assert!(check_commit(1, &parts(&[0]), &in_force).unwrap_err().contains("not the member's"));
    }
}
