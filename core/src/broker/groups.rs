//! Requests about groups: to whom each goes, and what topics they speak of. What is decided about a group is in
//! [`crate::group`], how it is written and when it leaves in `coordinators`.

use super::Broker;
use super::coordinators::Parked;
use super::group_refusals::{MANY_GROUPS_FROM, refuse, refuse_for_many, refuse_for_one};
use super::group_topics::GroupTopics;
use crate::door::GroupRequest;
use crate::errors::ErrorCode;
use crate::group::{Caller, CommitTopic, Effects, FetchTopic, Groups};
use crate::ids::{ConnId, Offset, RequestNumber, TopicPartition, Uuid};
use crate::output::Outputs;
use crate::replica::WaiterId;
use crate::wire::consumer_group_describe::DescribedConsumerGroup;
use crate::wire::delete_groups::DeletableGroupResult;
use crate::wire::describe_groups::DescribedGroup;
use crate::wire::offset_commit::OffsetCommitRequestTopic;
use crate::wire::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::wire::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DeleteGroupsRequest, DeleteGroupsResponse,
    DescribeGroupsRequest, DescribeGroupsResponse, ListGroupsRequest, ListGroupsResponse, OffsetFetchRequest,
    OffsetFetchResponse, Response, Str,
};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Requests name topics by id from this version of OffsetCommit and OffsetFetch on (KIP-848).
const BY_ID_FROM: i16 = 10;

/// A request and where its answer goes.
struct Asked {
    conn: ConnId,
    number: RequestNumber,
    version: i16,
}

impl Broker {
    /// A client asks a group's coordinator.
    pub(super) fn on_group_request(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        client: (i16, Option<Str>),
        request: GroupRequest,
        out: &mut Outputs,
    ) {
        let (version, client_id) = client;
        let asked = Asked { conn, number, version };
        if !self.is_serving() || !self.has_room_to_wait() {
            let response = refuse(&request, version, ErrorCode::CoordinatorNotAvailable);
            self.reply(conn, number, response, out);
            return;
        }
        let mut rests_on = Vec::new();
        let response = match &request {
            GroupRequest::OffsetFetch(fetch) => self.offset_fetch(version, fetch, &mut rests_on),
            GroupRequest::ListGroups(list) => self.list_groups(list, &mut rests_on),
            GroupRequest::DescribeGroups(describe) => self.describe_groups(version, describe, &mut rests_on),
            GroupRequest::DeleteGroups(delete) => self.delete_groups(delete, &mut rests_on, out),
            GroupRequest::ConsumerGroupDescribe(describe) => self.describe_consumers(describe, &mut rests_on),
            GroupRequest::JoinGroup(_)
            | GroupRequest::SyncGroup(_)
            | GroupRequest::Heartbeat(_)
            | GroupRequest::LeaveGroup(_)
            | GroupRequest::OffsetCommit(_)
            | GroupRequest::OffsetDelete(_)
            | GroupRequest::ConsumerGroupHeartbeat(_) => {
                self.on_request_to_one(&asked, client_id.as_ref(), &request, out);
                return;
            }
        };
        match response {
            Ok(response) => {
                let refusal = Box::new(refuse_for_many(&request, version));
                self.leave_when_committed((conn, number), response, refusal, &rests_on, out);
            }
            Err(code) => self.reply(conn, number, refuse(&request, version, code), out),
        }
    }

    /// A request to one group, about its members or its offsets.
    fn on_request_to_one(
        &mut self,
        asked: &Asked,
        client_id: Option<&Str>,
        request: &GroupRequest,
        out: &mut Outputs,
    ) {
        let partition = match self.groups_to_change(group_of(request), request) {
            Ok(partition) => partition,
            Err(code) => {
                self.note_heartbeat(request, code);
                let response = refuse_for_one(request, asked.version, code);
                self.reply(asked.conn, asked.number, response, out);
                return;
            }
        };
        let ticket = self.next_waiter();
        let refusal = Box::new(refuse(request, asked.version, ErrorCode::NotCoordinator));
        let parked = Parked { partition, conn: asked.conn, number: asked.number, refusal };
        self.coordinators.park(ticket, parked);
        if let Some(effects) = self.ask(partition, ticket, asked, client_id, request) {
            self.apply(partition, effects, out);
        }
        self.arm_groups(partition);
        if self.coordinators.is_parked(ticket)
            && let Some(conn) = self.conns.get_mut(&asked.conn)
        {
            conn.waiters.insert(ticket);
        }
    }

    /// A member of a consumer group was heard of, though nothing can be decided: it is not silent.
    fn note_heartbeat(&mut self, request: &GroupRequest, code: ErrorCode) {
        let now = self.now;
        let known = GroupTopics { image: &self.committed, version: self.coordinators.topics_version };
        if let (GroupRequest::ConsumerGroupHeartbeat(heartbeat), ErrorCode::CoordinatorNotAvailable) =
            (request, code)
            && let Some(partition) = self.partition_of_group(&heartbeat.group_id)
            && let Some(groups) = self.coordinators.groups_mut(partition)
        {
            groups.on_heartbeat_unheard(now, heartbeat, &known);
            self.arm_groups(partition);
        }
    }

    /// The partition of a group whose log can take what may come of a request.
    fn groups_to_change(&self, group: &str, request: &GroupRequest) -> Result<TopicPartition, ErrorCode> {
        // Offsets may be committed without a name: that is all.
        let needs_name = !matches!(
            request,
            // A heartbeat's own rules say so in words.
            GroupRequest::OffsetCommit(_) | GroupRequest::ConsumerGroupHeartbeat(_)
        );
        if group.is_empty() && needs_name {
            return Err(ErrorCode::InvalidGroupId);
        }
        let partition = self.partition_of_group(group).ok_or(ErrorCode::NotCoordinator)?;
        self.coordinators.groups(partition)?;
        match (self.can_write_groups(partition), request) {
            // It changes nothing that is written.
            (Err(ErrorCode::CoordinatorNotAvailable), GroupRequest::Heartbeat(_)) => Ok(partition),
            (outcome, _) => outcome.map(|()| partition),
        }
    }

    fn ask(
        &mut self,
        partition: TopicPartition,
        ticket: WaiterId,
        asked: &Asked,
        client_id: Option<&Str>,
        request: &GroupRequest,
    ) -> Option<Effects> {
        let now = self.now;
        let mut topics = Vec::new();
        if let GroupRequest::OffsetCommit(commit) = request {
            topics.extend(commit.topics.iter().map(|topic| self.commit_topic(topic, asked.version)));
        }
        let host = self.conns.get(&asked.conn).map(|conn| host_of(&conn.peer)).unwrap_or_default();
        let image = &self.committed;
        let known = GroupTopics { image, version: self.coordinators.topics_version };
        let held_bytes = self.coordinators.member_bytes();
        let groups = self.coordinators.groups_mut(partition)?;
        Some(match request {
            GroupRequest::JoinGroup(join) => {
                let client_id = client_id.map(Str::as_str).unwrap_or_default();
                let caller = Caller { ticket, client_id, host: &host, version: asked.version };
                groups.on_join(now, join, &caller, (self.random.uuid(), held_bytes), &known)
            }
            GroupRequest::SyncGroup(sync) => groups.on_sync(now, sync, ticket, &known),
            GroupRequest::Heartbeat(heartbeat) => groups.on_heartbeat(now, heartbeat, ticket, &known),
            GroupRequest::LeaveGroup(leave) => groups.on_leave(now, leave, (ticket, asked.version), &known),
            GroupRequest::OffsetCommit(commit) => {
                groups.on_offset_commit(now, commit, &topics, (ticket, asked.version))
            }
            GroupRequest::OffsetDelete(delete) => {
                let exists = |topic: &str, index: i32| {
                    let partitions = image.topic_named(topic).map_or(0, |(_, topic)| topic.partitions.len());
                    usize::try_from(index).is_ok_and(|index| index < partitions)
                };
                groups.on_offset_delete(delete, exists, ticket)
            }
            GroupRequest::ConsumerGroupHeartbeat(heartbeat) => {
                let client_id = client_id.map(Str::as_str).unwrap_or_default();
                let caller = Caller { ticket, client_id, host: &host, version: asked.version };
                groups.on_consumer_heartbeat(
                    now,
                    heartbeat,
                    &caller,
                    (self.random.uuid(), held_bytes),
                    &known,
                )
            }
            GroupRequest::OffsetFetch(_)
            | GroupRequest::ListGroups(_)
            | GroupRequest::DescribeGroups(_)
            | GroupRequest::ConsumerGroupDescribe(_)
            | GroupRequest::DeleteGroups(_) => unreachable!("requests to several groups go another way"),
        })
    }

    fn commit_topic(&self, topic: &OffsetCommitRequestTopic, version: i16) -> Result<CommitTopic, ErrorCode> {
        let (topic_id, image) = if version >= BY_ID_FROM {
            let image = self.committed.topic(topic.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
            (topic.topic_id, image)
        } else {
            self.committed.topic_named(&topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)?
        };
        Ok(CommitTopic { name: image.name.as_str().into(), topic_id, partitions: image.partitions.len() })
    }

    /// The groups of a partition that may be told of, and what such an answer rests on.
    fn groups_to_read(&self, group: &str) -> Result<(TopicPartition, &Groups), ErrorCode> {
        let partition = self.partition_of_group(group).ok_or(ErrorCode::NotCoordinator)?;
        let groups = self.coordinators.groups(partition)?;
        let replica = self.leader_of(partition).map_err(|_| ErrorCode::NotCoordinator)?;
        if self.is_cut_off(replica) {
            return Err(ErrorCode::NotCoordinator);
        }
        Ok((partition, groups))
    }

    fn offset_fetch(
        &self,
        version: i16,
        request: &OffsetFetchRequest,
        rests_on: &mut Vec<(TopicPartition, Offset)>,
    ) -> Result<Response, ErrorCode> {
        if version >= MANY_GROUPS_FROM {
            let groups = request.groups.iter().map(|group| {
                self.fetch_group(group, version, rests_on).unwrap_or_else(|code| OffsetFetchResponseGroup {
                    group_id: group.group_id.detached(),
                    error_code: code.code(),
                    ..OffsetFetchResponseGroup::default()
                })
            });
            Ok(OffsetFetchResponse { groups: groups.collect(), ..OffsetFetchResponse::default() }.into())
        } else {
            let group = self.fetch_group(&single_group(request), version, rests_on)?;
            Ok(single_response(group).into())
        }
    }

    fn fetch_group(
        &self,
        group: &OffsetFetchRequestGroup,
        version: i16,
        rests_on: &mut Vec<(TopicPartition, Offset)>,
    ) -> Result<OffsetFetchResponseGroup, ErrorCode> {
        let (partition, groups) = self.groups_to_read(&group.group_id)?;
        groups.check_fetch(&group.group_id, group.member_id.as_deref(), group.member_epoch)?;
        rests_on.push((partition, groups.rests_on(&group.group_id)));
        Ok(self.fetch_offsets(groups, group, version))
    }

    /// The offsets of one group: those that are asked for, or all.
    fn fetch_offsets(
        &self,
        groups: &Groups,
        wanted: &OffsetFetchRequestGroup,
        version: i16,
    ) -> OffsetFetchResponseGroup {
        let id = &wanted.group_id;
        let named = |name: &str, topic_id, partitions| OffsetFetchResponseTopics {
            name: name.into(),
            topic_id,
            partitions,
        };
        let topics = match &wanted.topics {
            Some(topics) => topics.iter().map(|topic| self.fetch_topic(groups, id, topic, version)).collect(),
            None => {
                let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
                for (topic, index, committed) in groups.all_committed(id) {
                    let Some((topic_id, _)) = self.committed.topic_named(topic) else { continue };
                    if !committed.is_of(topic_id) {
                        continue;
                    }
                    if topics.last().is_none_or(|last| last.name != *topic) {
                        topics.push(named(topic, topic_id, Vec::new()));
                    }
                    if let Some(last) = topics.last_mut() {
                        last.partitions.push(fetched(index, Ok(Some(committed))));
                    }
                }
                topics
            }
        };
        OffsetFetchResponseGroup { group_id: id.detached(), topics, error_code: ErrorCode::None.code() }
    }

    fn fetch_topic(
        &self,
        groups: &Groups,
        group: &str,
        wanted: &OffsetFetchRequestTopics,
        version: i16,
    ) -> OffsetFetchResponseTopics {
        let by_id = version >= BY_ID_FROM;
        let found = if by_id {
            self.committed.topic(wanted.topic_id).map(|topic| (wanted.topic_id, topic))
        } else {
            self.committed.topic_named(&wanted.name)
        };
        let known = found.map(|(topic_id, image)| FetchTopic { name: &image.name, topic_id });
        let partitions = wanted.partition_indexes.iter().map(|&index| {
            let committed = match &known {
                Some(topic) => Ok(groups.committed(group, topic, index)),
                None if by_id => Err(ErrorCode::UnknownTopicId),
                // As in Kafka, nothing was committed for a topic that is not there.
                None => Ok(None),
            };
            fetched(index, committed)
        });
        OffsetFetchResponseTopics {
            name: wanted.name.detached(),
            topic_id: known.as_ref().map_or(wanted.topic_id, |topic| topic.topic_id),
            partitions: partitions.collect(),
        }
    }

    /// Those of all partitions, or none: a list that lacks some would be taken for whole.
    fn list_groups(
        &self,
        request: &ListGroupsRequest,
        rests_on: &mut Vec<(TopicPartition, Offset)>,
    ) -> Result<Response, ErrorCode> {
        let mut listed = Vec::new();
        for partition in self.coordinators.partitions() {
            let groups = self.coordinators.groups(partition)?;
            let leader = self.leader_of(partition).ok().filter(|replica| !self.is_cut_off(replica));
            leader.ok_or(ErrorCode::CoordinatorNotAvailable)?;
            rests_on.push((partition, groups.all_rest_on()));
            listed.extend(groups.list(request));
        }
        Ok(ListGroupsResponse { groups: listed, ..ListGroupsResponse::default() }.into())
    }

    fn describe_groups(
        &self,
        version: i16,
        request: &DescribeGroupsRequest,
        rests_on: &mut Vec<(TopicPartition, Offset)>,
    ) -> Result<Response, ErrorCode> {
        let described = request.groups.iter().map(|id| match self.groups_to_read(id) {
            Ok((partition, groups)) => {
                rests_on.push((partition, groups.rests_on(id)));
                groups.describe(id, version)
            }
            Err(code) => DescribedGroup {
                error_code: code.code(),
                group_id: id.detached(),
                ..DescribedGroup::default()
            },
        });
        Ok(DescribeGroupsResponse { throttle_time_ms: 0, groups: described.collect() }.into())
    }

    fn describe_consumers(
        &self,
        request: &ConsumerGroupDescribeRequest,
        rests_on: &mut Vec<(TopicPartition, Offset)>,
    ) -> Result<Response, ErrorCode> {
        let topics = self.group_topics();
        let named =
            |id: &Str| if id.is_empty() { Err(ErrorCode::InvalidGroupId) } else { self.groups_to_read(id) };
        let described = request.group_ids.iter().map(|id| match named(id) {
            Ok((partition, groups)) => {
                rests_on.push((partition, groups.rests_on(id)));
                groups.describe_consumers(id, &topics)
            }
            Err(code) => DescribedConsumerGroup {
                error_code: code.code(),
                group_id: id.detached(),
                ..DescribedConsumerGroup::default()
            },
        });
        Ok(ConsumerGroupDescribeResponse { throttle_time_ms: 0, groups: described.collect() }.into())
    }

    fn delete_groups(
        &mut self,
        request: &DeleteGroupsRequest,
        rests_on: &mut Vec<(TopicPartition, Offset)>,
        out: &mut Outputs,
    ) -> Result<Response, ErrorCode> {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for id in &request.groups_names {
            let outcome = self.delete_group(id, out).map(|rest| rests_on.push(rest));
            let error_code = outcome.err().unwrap_or(ErrorCode::None).code();
            results.push(DeletableGroupResult { group_id: id.detached(), error_code });
        }
        Ok(DeleteGroupsResponse { throttle_time_ms: 0, results }.into())
    }

    fn delete_group(&mut self, id: &Str, out: &mut Outputs) -> Result<(TopicPartition, Offset), ErrorCode> {
        let (partition, groups) = self.groups_to_read(id)?;
        let records = groups.decide_delete(&id.detached())?;
        self.can_write_groups(partition)?;
        self.append_group_records(partition, &records, out);
        let rests_on = self.coordinators.groups(partition)?.rests_on(id);
        Ok((partition, rests_on))
    }
}

/// The group of a request that is about one.
fn group_of(request: &GroupRequest) -> &str {
    match request {
        GroupRequest::JoinGroup(request) => &request.group_id,
        GroupRequest::SyncGroup(request) => &request.group_id,
        GroupRequest::Heartbeat(request) => &request.group_id,
        GroupRequest::LeaveGroup(request) => &request.group_id,
        GroupRequest::OffsetCommit(request) => &request.group_id,
        GroupRequest::OffsetDelete(request) => &request.group_id,
        GroupRequest::ConsumerGroupHeartbeat(request) => &request.group_id,
        GroupRequest::OffsetFetch(_)
        | GroupRequest::ListGroups(_)
        | GroupRequest::DescribeGroups(_)
        | GroupRequest::ConsumerGroupDescribe(_)
        | GroupRequest::DeleteGroups(_) => "",
    }
}

/// A client's address as Kafka writes it: without the port, behind a slash.
fn host_of(peer: &str) -> String {
    let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host);
    alloc::format!("/{}", host.trim_start_matches('[').trim_end_matches(']'))
}

/// A request of a version that asks for one group, as one that asks for several.
fn single_group(request: &OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = request.topics.as_ref().map(|topics| {
        let topics = topics.iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name.clone(),
            topic_id: Uuid::ZERO,
            partition_indexes: topic.partition_indexes.clone(),
        });
        topics.collect()
    });
    OffsetFetchRequestGroup {
        group_id: request.group_id.clone(),
        topics,
        ..OffsetFetchRequestGroup::default()
    }
}

fn single_response(group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|it| OffsetFetchResponsePartition {
                partition_index: it.partition_index,
                committed_offset: it.committed_offset,
                committed_leader_epoch: it.committed_leader_epoch,
                metadata: it.metadata,
                error_code: it.error_code,
            })
            .collect(),
    });
    OffsetFetchResponse { topics: topics.collect(), ..OffsetFetchResponse::default() }
}

fn fetched(
    partition_index: i32,
    committed: Result<Option<&crate::group::Committed>, ErrorCode>,
) -> OffsetFetchResponsePartitions {
    /// What stands for no offset.
    const NONE: i64 = -1;
    let (error_code, committed) = match committed {
        Ok(committed) => (ErrorCode::None, committed),
        Err(code) => (code, None),
    };
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.map_or(NONE, |committed| committed.offset),
        committed_leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch),
        metadata: Some(committed.map(|committed| committed.metadata.clone()).unwrap_or_default()),
        error_code: error_code.code(),
    }
}
