//! A member of a consumer group as the log has it: what it said, and how far it is with what it is to read.

use crate::group::ConsumerSettings;
use crate::group::assignor::Partitions;
use crate::group::records::consumer::{
    ConsumerGroupMemberMetadataValue, CurrentMemberAssignmentValue, CurrentPartitions,
};
use crate::ids::Uuid;
use crate::wire::Str;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What a member said.
pub(super) type Said = ConsumerGroupMemberMetadataValue;

/// What a member takes besides what it says, about.
const MEMBER_BYTES: usize = 512;

impl Said {
    /// The pattern that it subscribed to. An empty one takes it back.
    pub(super) fn pattern(&self) -> Option<&Str> {
        self.subscribed_topic_regex.as_ref().filter(|pattern| !pattern.is_empty())
    }

    /// It speaks the classic protocol.
    pub(super) fn is_classic(&self) -> bool {
        self.classic_member_metadata.is_some()
    }

    /// How long it may be silent, in ms. In the classic protocol it says so itself.
    pub(super) fn session_ms(&self, settings: &ConsumerSettings) -> u64 {
        let own = self.classic_member_metadata.as_ref().map(|classic| classic.session_timeout_ms);
        own.map_or(settings.session_timeout_ms, |own| u64::try_from(own).unwrap_or(0))
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let topics: usize =
            self.subscribed_topic_names.iter().map(|name| name.len() + size_of::<Str>()).sum();
        let classic = self.classic_member_metadata.iter().flat_map(|classic| &classic.supported_protocols);
        let protocols: usize = classic.map(|protocol| protocol.name.len() + protocol.metadata.len()).sum();
        let names = [self.pattern(), self.instance_id.as_ref(), self.rack_id.as_ref(), Some(&self.client_id)];
        let names: usize = names.into_iter().flatten().map(|name| name.len()).sum();
        MEMBER_BYTES + topics + protocols + names
    }
}

/// Partitions by topic, each with the epoch in which the member got it (KIP-1251).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::group) struct Held(pub(super) BTreeMap<Uuid, BTreeMap<i32, i32>>);

impl Held {
    pub(super) fn insert(&mut self, topic_id: Uuid, partition: i32, epoch: i32) {
        self.0.entry(topic_id).or_default().insert(partition, epoch);
    }

    /// The epoch in which the member got a partition; `None`: it has it not.
    pub(super) fn epoch(&self, topic_id: Uuid, partition: i32) -> Option<i32> {
        self.0.get(&topic_id)?.get(&partition).copied()
    }

    pub(super) fn contains(&self, topic_id: Uuid, partition: i32) -> bool {
        self.epoch(topic_id, partition).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each with its epoch.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Uuid, i32, i32)> + '_ {
        self.0.iter().flat_map(|(&topic_id, partitions)| {
            partitions.iter().map(move |(&at, &epoch)| (topic_id, at, epoch))
        })
    }

    /// The partitions by topic.
    pub(super) fn by_topic(&self) -> impl Iterator<Item = (Uuid, Vec<i32>)> + '_ {
        self.0.iter().map(|(&topic_id, partitions)| (topic_id, partitions.keys().copied().collect()))
    }

    /// All of these, in one epoch.
    pub(super) fn in_epoch(partitions: &Partitions, epoch: i32) -> Self {
        let mut held = Self::default();
        partitions.iter().for_each(|(topic_id, partition)| held.insert(topic_id, partition, epoch));
        held
    }

    fn read(written: &[CurrentPartitions], member_epoch: i32) -> Self {
        let mut held = Self::default();
        for of_topic in written {
            let epochs = of_topic.assignment_epochs.as_ref();
            for (at, &partition) in of_topic.partitions.iter().enumerate() {
                let epoch = epochs.and_then(|epochs| epochs.get(at)).copied().unwrap_or(member_epoch);
                held.insert(of_topic.topic_id, partition, epoch);
            }
        }
        held
    }

    fn written(&self) -> Vec<CurrentPartitions> {
        let of_topics = self.0.iter().map(|(&topic_id, partitions)| CurrentPartitions {
            topic_id,
            partitions: partitions.keys().copied().collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
        });
        of_topics.collect()
    }
}

/// What a member waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    /// Nothing.
    #[default]
    Stable,
    /// It is to let go of partitions, and has not said yet that it did.
    Unrevoked,
    /// Others have not let go yet of what it is to read.
    Unreleased,
    /// Something that another release knows of.
    Unknown(i8),
}

impl State {
    fn read(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::Unrevoked,
            2 => Self::Unreleased,
            _ => Self::Unknown(number),
        }
    }

    fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::Unrevoked => 1,
            Self::Unreleased => 2,
            Self::Unknown(number) => number,
        }
    }
}

/// How far a member is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Current {
    /// Its epoch.
    pub(super) epoch: i32,
    /// The one before: it asks with that again if it did not hear of this one.
    pub(super) previous: i32,
    pub(super) state: State,
    /// What it reads.
    pub(super) assigned: Held,
    /// What it is to let go of.
    pub(super) revoking: Held,
}

impl Current {
    /// Where a member begins.
    pub(super) fn of_newcomer() -> Self {
        Self { previous: -1, ..Self::default() }
    }

    /// It has come to the target of this epoch.
    pub(super) fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == State::Stable && self.epoch == target_epoch
    }

    /// It has it, or was told to let go of it and may still read it.
    pub(super) fn holds(&self, topic_id: Uuid, partition: i32) -> Option<i32> {
        self.assigned.epoch(topic_id, partition).or_else(|| self.revoking.epoch(topic_id, partition))
    }

    /// Everything that nobody else may have.
    pub(super) fn all(&self) -> impl Iterator<Item = (Uuid, i32)> + '_ {
        self.assigned.iter().chain(self.revoking.iter()).map(|(topic_id, partition, _)| (topic_id, partition))
    }

    pub(super) fn read(value: &CurrentMemberAssignmentValue) -> Self {
        Self {
            epoch: value.member_epoch,
            previous: value.previous_member_epoch,
            state: State::read(value.state),
            assigned: Held::read(&value.assigned_partitions, value.member_epoch),
            revoking: Held::read(&value.partitions_pending_revocation, value.member_epoch),
        }
    }

    pub(super) fn written(&self) -> CurrentMemberAssignmentValue {
        CurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous,
            state: self.state.number(),
            assigned_partitions: self.assigned.written(),
            partitions_pending_revocation: self.revoking.written(),
        }
    }
}
