//! From one protocol to the other while members are there (KIP-848, "Consumer group migration").
//!
//! ```text
//!   classic group ── a member of the consumer protocol joins ──► consumer group, with members of both
//!        ▲                                                                │
//!        └──────────── the last member of the consumer protocol is gone ──┘
//! ```
//!
//! Members keep their ids, and what they read: a group that changes takes nothing from anybody by itself.

use super::member::{Current, Held, Said};
use super::state::{Consumer, FIRST_EPOCH, target_value};
use super::{Refusal, Watch};
use crate::errors::ErrorCode;
use crate::group::assignor::Partitions;
use crate::group::classic::{Classic, Member, Phase};
use crate::group::records::GroupRecord;
use crate::group::records::consumer::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupMetadataValue, ConsumerRecord, GroupKey, MemberKey,
    TargetAssignmentMetadataValue,
};
use crate::group::subscription::{
    CONSUMER_PROTOCOL_TYPE, NamedPartitions, Subscription, assignment, assignment_bytes, subscription,
};
use crate::group::topics::Topics;
use crate::group::{Deadline, Effects, Group, Groups};
use crate::ids::Uuid;
use crate::replica::WaiterId;
use crate::time::Now;
use crate::wire::{Response, Str};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;

/// What a consumer group begins with.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    pub(super) base: Consumer,
    /// What is written for that.
    pub(super) records: Vec<GroupRecord>,
}

impl Groups {
    /// A consumer group in place of a classic one.
    ///
    /// # Errors
    /// GROUP_ID_NOT_FOUND: it cannot become one.
    pub(super) fn upgrade(&self, id: &Str, group: &Group, topics: &dyn Topics) -> Result<Beginning, Refusal> {
        // Its offsets stay.
        let tombstone = group.written.is_some().then(|| Group::tombstone(id));
        let mut beginning = Beginning { base: Consumer::default(), records: tombstone.into_iter().collect() };
        let classic = &group.classic;
        if classic.is_empty() {
            return Ok(beginning);
        }
        let cannot = |why: &str| {
            let why = format!("Cannot upgrade classic group {id} to consumer group because {why}.");
            Refusal::new(ErrorCode::GroupIdNotFound, why)
        };
        let is_consumer = classic.protocol_type.as_deref().is_none_or(|kind| kind == CONSUMER_PROTOCOL_TYPE);
        if !self.settings.consumer.migration.upgrades() {
            return Err(cannot("online upgrade is disabled"));
        } else if !is_consumer {
            return Err(cannot("the group does not use the consumer embedded protocol"));
        } else if classic.members.len() > self.settings.consumer.members_max {
            return Err(cannot("the group size exceeds the consumer group maximum size"));
        }
        let malformed = || cannot("the embedded consumer protocol is malformed");
        let upgraded = upgraded(id, classic, topics).ok_or_else(malformed)?;
        for record in upgraded {
            beginning.base.replay(&record);
            beginning.records.push(GroupRecord::Consumer(record));
        }
        Ok(beginning)
    }

    /// A classic group is one no more: who waits there is told to ask again. Its members have a session in the new one.
    pub(super) fn on_upgraded(&mut self, id: &Str, begun: &Consumer, now: Now) -> Vec<(WaiterId, Response)> {
        let effects = self.at(id, now, Classic::dissolve);
        assert!(effects.records.is_empty(), "what is written of it was decided before");
        for (member, said) in &begun.members {
            let at = now.mono + said.session_ms(&self.settings.consumer);
            self.deadlines.arm(at, Deadline::Session(id.clone(), member.clone()));
        }
        if let Some(group) = self.groups.get_mut(id) {
            group.watch = Watch::default();
        }
        if begun.size() > 0 {
            tracing::info!("group {id}: its classic members are in a consumer group from here on");
        }
        effects.answers
    }

    /// A group of which some members go may become a classic one: nobody is left who speaks the consumer protocol.
    fn can_downgrade(&self, group: &Consumer, removed: &BTreeSet<Str>) -> bool {
        let mut left = group.members.iter().filter(|(id, _)| !removed.contains(*id)).map(|(_, said)| said);
        let count = group.members.len() - removed.iter().filter(|id| group.members.contains_key(*id)).count();
        self.settings.consumer.migration.downgrades()
            && (1..=self.settings.members_max).contains(&count)
            && left.all(Said::is_classic)
    }

    /// A classic group takes the place of a consumer group, without those who go, and its members are called together. `None`: it
    /// stays what it is.
    pub(super) fn downgrade(
        &mut self,
        id: &Str,
        removed: &BTreeSet<Str>,
        now: Now,
        topics: &dyn Topics,
    ) -> Option<Effects> {
        let consumer = &self.groups.get(id)?.consumer;
        if !self.can_downgrade(consumer, removed) {
            return None;
        }
        let tombstones = consumer.tombstones(id).into_iter().map(GroupRecord::Consumer);
        let mut records: Vec<GroupRecord> = tombstones.collect();
        let epoch = consumer.epoch();
        let members: Vec<(Str, Member)> = consumer
            .members
            .iter()
            .filter(|(member, _)| !removed.contains(*member))
            .filter_map(|(member, said)| {
                Some((member.clone(), classic_member(consumer, member, said, topics)?))
            })
            .collect();
        // All that is known of a classic group is one record.
        let bytes: usize = members.iter().map(|(member, said)| member.len() + said.record_bytes_most()).sum();
        if bytes > self.settings.record_bytes_max {
            return None;
        }
        for member in consumer.members.keys().cloned().collect::<Vec<Str>>() {
            self.disarm_member(id, &member);
        }
        self.deadlines.disarm(Deadline::Lookup(id.clone()));
        tracing::info!("group {id}: only classic members are left, and it is a classic group from here on");
        let mut effects = self.at(id, now, |classic, turn| classic.take_over(epoch, members, turn));
        records.append(&mut effects.records);
        effects.records = records;
        Some(effects)
    }
}

/// The records of a consumer group with the members of a classic one; `None`: they say what no consumer says.
fn upgraded(id: &Str, classic: &Classic, topics: &dyn Topics) -> Option<Vec<ConsumerRecord>> {
    let key = || GroupKey { group: id.clone() };
    // Epoch 0 is that of members who are about to join; nobody has anything of generation 0.
    let epoch = classic.generation.max(FIRST_EPOCH);
    let mut all: BTreeMap<&Str, (Said, Partitions)> = BTreeMap::new();
    let mut taken: BTreeSet<(Uuid, i32)> = BTreeSet::new();
    let mut claims: Vec<(&Str, NamedPartitions)> = Vec::new();
    for (member, one) in &classic.members {
        let said = said_by(one, classic.protocol.as_deref())?;
        let mut has = Partitions::default();
        for part in known(&assignment(&one.assignment)?, topics).iter().filter(|part| taken.insert(*part)) {
            has.insert(part.0, part.1);
        }
        claims.push((member, said.1.owned));
        all.insert(member, (said.0, has));
    }
    // Who joins again may go on reading what it has (KIP-429): nobody else gets that before it says that it stopped.
    for (member, owned) in claims {
        for part in known(&owned, topics).iter().filter(|part| taken.insert(*part)) {
            all.get_mut(member)?.1.insert(part.0, part.1);
        }
    }
    let of_member = |member: &Str| MemberKey { group: id.clone(), member: member.clone() };
    let mut records = Vec::new();
    records.extend(
        all.iter().map(|(member, (said, _))| ConsumerRecord::Member(of_member(member), Some(said.clone()))),
    );
    records.push(ConsumerRecord::Group(key(), Some(ConsumerGroupMetadataValue { epoch, metadata_hash: 0 })));
    records.extend(
        all.iter()
            .map(|(member, (_, has))| ConsumerRecord::Target(of_member(member), Some(target_value(has)))),
    );
    // Nobody assigned yet: the first targets need not wait.
    let head = TargetAssignmentMetadataValue { assignment_epoch: epoch, assignment_timestamp: 0 };
    records.push(ConsumerRecord::TargetEpoch(key(), Some(head)));
    records.extend(all.iter().map(|(member, (_, has))| {
        let assigned = Held::in_epoch(has, epoch);
        let current = Current { epoch, previous: epoch, assigned, ..Current::default() };
        ConsumerRecord::Current(of_member(member), Some(current.written()))
    }));
    Some(records)
}

/// What a classic member said, in terms of a consumer group.
fn said_by(member: &Member, protocol: Option<&str>) -> Option<(Said, Subscription)> {
    let first = member.protocols.first().map(|(name, _)| &**name)?;
    let protocol = protocol.filter(|protocol| member.speaks(protocol)).unwrap_or(first);
    let subscription = subscription(&member.metadata(protocol))?;
    let protocols = member.protocols.iter().map(|(name, metadata)| (name.clone(), metadata.clone()));
    let said = said_of(&subscription, (member.session_timeout_ms, protocols.collect()));
    let said = Said {
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        ..said
    };
    Some((said, subscription))
}

/// What a subscription says, and the rest of what a classic member says.
pub(super) fn said_of(
    subscription: &Subscription,
    (session_timeout_ms, protocols): (i32, Vec<(Str, Bytes)>),
) -> Said {
    let mut topics: Vec<Str> = subscription.topics.iter().map(Str::detached).collect();
    topics.sort_unstable();
    topics.dedup();
    let protocols = protocols.into_iter().map(|(name, metadata)| ClassicProtocol { name, metadata });
    Said {
        rack_id: subscription.rack.as_ref().map(Str::detached),
        subscribed_topic_names: topics,
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms,
            supported_protocols: protocols.collect(),
        }),
        ..Said::default()
    }
}

/// Partitions of topics that exist, by their ids.
pub(super) fn known(named: &NamedPartitions, topics: &dyn Topics) -> Partitions {
    let mut parts = Partitions::default();
    for (name, indexes) in named {
        let Some(topic_id) = topics.id_of(name) else { continue };
        let exists = |index: &i32| usize::try_from(*index).is_ok_and(|at| at < topics.partitions(topic_id));
        indexes.iter().filter(|index| exists(index)).for_each(|&index| parts.insert(topic_id, index));
    }
    parts
}

/// What a member of the classic protocol is given, in a layout that it knows.
pub(super) fn classic_assignment<'a>(
    said: &Said,
    parts: impl Iterator<Item = (Uuid, Vec<i32>)> + 'a,
    topics: &dyn Topics,
) -> Bytes {
    let protocols = said.classic_member_metadata.iter().flat_map(|classic| &classic.supported_protocols);
    let version = protocols.filter_map(|it| subscription(&it.metadata)).map(|it| it.version).next();
    let mut named: NamedPartitions =
        parts.filter_map(|(topic_id, indexes)| Some((topics.name_of(topic_id)?.into(), indexes))).collect();
    named.sort_unstable();
    assignment_bytes(version.unwrap_or(0), &named)
}

/// A member of a consumer group as one of a classic group, with all that it may still read: where Kafka takes its target, somebody
/// who joins while the members are called together could be given what another one has not let go of yet.
fn classic_member(group: &Consumer, id: &Str, said: &Said, topics: &dyn Topics) -> Option<Member> {
    let classic = said.classic_member_metadata.as_ref()?;
    let mut has = Partitions::default();
    group.current(id).all().for_each(|(topic_id, partition)| has.insert(topic_id, partition));
    let has = has.0.into_iter().map(|(topic_id, parts)| (topic_id, parts.into_iter().collect()));
    let assignment = classic_assignment(said, has, topics);
    let protocols = classic.supported_protocols.iter().map(|it| (it.name.clone(), it.metadata.clone()));
    Some(Member {
        instance_id: said.instance_id.clone(),
        client_id: said.client_id.clone(),
        client_host: said.client_host.clone(),
        rebalance_timeout_ms: said.rebalance_timeout_ms,
        session_timeout_ms: classic.session_timeout_ms,
        protocols: protocols.collect(),
        assignment,
        joining: None,
        syncing: None,
        is_new: false,
    })
}

/// Where a group with these members stands.
impl Classic {
    /// It has the members of a consumer group of this epoch, who are called together.
    fn take_over(&mut self, epoch: i32, members: Vec<(Str, Member)>, turn: &mut crate::group::Turn<'_>) {
        assert!(self.phase == Phase::Empty && self.is_idle(), "nobody was in it");
        self.protocol_type = Some(Str::from_static(CONSUMER_PROTOCOL_TYPE));
        self.generation = epoch;
        for (id, member) in members {
            self.adopt(id, member, turn);
        }
        self.resume(turn);
    }
}
