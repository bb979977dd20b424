//! Looking at groups and doing away with them: ListGroups, DescribeGroups, DeleteGroups, OffsetDelete.

use super::classic::{Classic, Phase};
use super::records::GroupRecord;
use super::subscription::{CONSUMER_PROTOCOL_TYPE, subscribed_topics};
use super::{Effects, Group, Groups, offsets};
use crate::errors::ErrorCode;
use crate::replica::WaiterId;
use crate::wire::describe_groups::{DescribedGroup, DescribedGroupMember};
use crate::wire::list_groups::ListedGroup;
use crate::wire::offset_delete::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use crate::wire::{ListGroupsRequest, OffsetDeleteRequest, OffsetDeleteResponse, Str};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;
use core::ops::Bound::{Excluded, Unbounded};

/// The type of groups whose members assign (KIP-848), as Kafka spells it on the wire: its tools spell it otherwise.
const CLASSIC: &str = "classic";
/// The type of groups whose coordinator assigns.
const CONSUMER: &str = "consumer";
/// What Kafka calls a group that is not there.
const DEAD: &str = "Dead";
/// From here on a group that is not there is an error (KIP-1043).
const NOT_FOUND_FROM: i16 = 6;

impl Groups {
    /// ListGroups: those that the filters let through.
    pub fn list<'a>(&'a self, request: &'a ListGroupsRequest) -> impl Iterator<Item = ListedGroup> + 'a {
        // As in Kafka, blanks around a state do not count.
        let is_state = |wanted: &Str, group: &Group| wanted.trim().eq_ignore_ascii_case(group.state());
        let is_kind = |wanted: &Str, group: &Group| wanted.eq_ignore_ascii_case(group.kind());
        let (states, kinds) = (&request.states_filter, &request.types_filter);
        let groups = self.groups.iter().filter(move |(_, group)| {
            (states.is_empty() || states.iter().any(|wanted| is_state(wanted, group)))
                && (kinds.is_empty() || kinds.iter().any(|wanted| is_kind(wanted, group)))
        });
        groups.map(|(id, group)| ListedGroup {
            group_id: id.clone(),
            protocol_type: if group.consumer.is_there() {
                Str::from_static(CONSUMER_PROTOCOL_TYPE)
            } else {
                group.classic.protocol_type.clone().unwrap_or_default()
            },
            group_state: Str::from_static(group.state()),
            group_type: Str::from_static(group.kind()),
        })
    }

    /// The first group behind one, in the order of their names, and how many members it has; for who looks at a little at a
    /// time.
    #[must_use]
    pub fn next_after(&self, after: Option<&Str>) -> Option<(&Str, usize)> {
        let from = after.map_or(Unbounded, Excluded);
        let (id, group) = self.groups.range::<Str, _>((from, Unbounded)).next()?;
        Some((id, group.size()))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.groups.len()
    }

    /// DescribeGroups, of one group.
    #[must_use]
    pub fn describe(&self, id: &Str, version: i16) -> DescribedGroup {
        let group = self.groups.get(id);
        let Some(group) = group.filter(|group| !group.consumer.is_there()) else {
            let is_error = version >= NOT_FOUND_FROM;
            let code = if is_error { ErrorCode::GroupIdNotFound } else { ErrorCode::None };
            let why = match group {
                Some(_) => format!("Group {id} is not a classic group."),
                None => format!("Group {id} not found."),
            };
            return DescribedGroup {
                error_code: code.code(),
                error_message: is_error.then(|| Str::message(&why)),
                group_id: id.detached(),
                group_state: Str::from_static(DEAD),
                ..DescribedGroup::default()
            };
        };
        let classic = &group.classic;
        DescribedGroup {
            error_code: ErrorCode::None.code(),
            error_message: None,
            group_id: id.detached(),
            group_state: Str::from_static(classic.phase.name()),
            protocol_type: classic.protocol_type.clone().unwrap_or_default(),
            // What they agreed on is told once all act on it.
            protocol_data: match classic.phase {
                Phase::Stable => classic.protocol.clone().unwrap_or_default(),
                Phase::Empty | Phase::Preparing(_) | Phase::Completing => Str::default(),
            },
            members: described_members(classic),
            ..DescribedGroup::default()
        }
    }

    /// DeleteGroups, of one group.
    ///
    /// # Errors
    /// GROUP_ID_NOT_FOUND; NON_EMPTY_GROUP: it has members.
    pub fn decide_delete(&self, id: &Str) -> Result<Vec<GroupRecord>, ErrorCode> {
        let group = self.groups.get(id).ok_or(ErrorCode::GroupIdNotFound)?;
        if group.classic.phase != Phase::Empty || group.consumer.size() > 0 {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let mut records: Vec<GroupRecord> = group.offsets.tombstones(id, |_, _, _| true).collect();
        records.extend(group.consumer.tombstones(id).into_iter().map(GroupRecord::Consumer));
        if group.written.is_some() {
            records.push(Group::tombstone(id));
        }
        Ok(records)
    }

    /// OffsetDelete (KIP-496).
    #[must_use]
    pub fn on_offset_delete(
        &self,
        request: &OffsetDeleteRequest,
        exists: impl Fn(&str, i32) -> bool,
        ticket: WaiterId,
    ) -> Effects {
        let id = request.group_id.detached();
        let (group, subscribed) = match self.offsets_to_delete_from(&id) {
            Ok(found) => found,
            Err(code) => {
                let response =
                    OffsetDeleteResponse { error_code: code.code(), ..OffsetDeleteResponse::default() };
                return Effects::answer(id, ticket, response);
            }
        };
        let mut records = Vec::new();
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let code = if !exists(&topic.name, index) {
                    ErrorCode::UnknownTopicOrPartition
                } else if subscribed.as_ref().is_none_or(|subscribed| subscribed.contains(&topic.name)) {
                    ErrorCode::GroupSubscribedToTopic
                } else {
                    let held = group.offsets.get(&topic.name, index);
                    records.extend(held.map(|_| offsets::tombstone(&id, &topic.name.detached(), index)));
                    ErrorCode::None
                };
                OffsetDeleteResponsePartition { partition_index: index, error_code: code.code() }
            });
            OffsetDeleteResponseTopic { name: topic.name.detached(), partitions: partitions.collect() }
        });
        let response = OffsetDeleteResponse {
            error_code: ErrorCode::None.code(),
            throttle_time_ms: 0,
            topics: topics.collect(),
        };
        Effects { records, ..Effects::answer(id.clone(), ticket, response) }
    }

    /// A group, and the topics whose offsets must stay because members read them; `None`: they have not said yet, and it may be
    /// any.
    fn offsets_to_delete_from(&self, id: &Str) -> Result<(&Group, Option<BTreeSet<Str>>), ErrorCode> {
        let group = self.groups.get(id).ok_or(ErrorCode::GroupIdNotFound)?;
        let classic = &group.classic;
        let is_consumer = classic.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE);
        if group.consumer.is_there() {
            Ok((group, Some(group.consumer.subscribed_topics())))
        } else if classic.phase == Phase::Empty {
            Ok((group, Some(BTreeSet::new())))
        } else if is_consumer {
            Ok((group, classic.subscribed()))
        } else {
            Err(ErrorCode::NonEmptyGroup)
        }
    }
}

impl Group {
    /// Kafka's name of its state.
    fn state(&self) -> &'static str {
        if self.consumer.is_there() { self.consumer.state() } else { self.classic.phase.name() }
    }

    /// Kafka's name of its kind.
    fn kind(&self) -> &'static str {
        if self.consumer.is_there() { CONSUMER } else { CLASSIC }
    }
}

impl Classic {
    /// What all members read; `None`: nobody knows.
    fn subscribed(&self) -> Option<BTreeSet<Str>> {
        let protocol = self.protocol.as_deref()?;
        let topics = self.members.values().map(|member| subscribed_topics(&member.metadata(protocol)));
        topics.collect::<Option<Vec<_>>>().map(|topics| topics.into_iter().flatten().collect())
    }
}

fn described_members(classic: &Classic) -> Vec<DescribedGroupMember> {
    let protocol = classic.protocol.as_deref().filter(|_| classic.phase == Phase::Stable);
    let members = classic.members.iter().map(|(id, member)| DescribedGroupMember {
        member_id: id.clone(),
        group_instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        member_metadata: protocol.map(|protocol| member.metadata(protocol)).unwrap_or_default(),
        // What it reads is told also while the members are called together, as Kafka does.
        member_assignment: member.assignment.clone(),
    });
    members.collect()
}
