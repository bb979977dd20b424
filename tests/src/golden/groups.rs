//! Groups in scenarios: members, generations and what they have read.

use super::World;
use super::say::{or_error, value};
use super::words::{Line, number};
use bytes::Bytes;
use seedlog_core::group::records::GroupRecord;
use seedlog_core::group::subscription::{assignment, assignment_bytes, subscribed_topics};
use seedlog_core::group::{GroupSettings, MigrationPolicy};
use seedlog_core::ids::Uuid;
use seedlog_core::wire::delete_groups::DeletableGroupResult;
use seedlog_core::wire::describe_groups::{DescribedGroup, DescribedGroupMember};
use seedlog_core::wire::join_group::{JoinGroupRequestProtocol, JoinGroupResponseMember};
use seedlog_core::wire::leave_group::{MemberIdentity, MemberResponse};
use seedlog_core::wire::list_groups::ListedGroup;
use seedlog_core::wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use seedlog_core::wire::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use seedlog_core::wire::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use seedlog_core::wire::sync_group::SyncGroupRequestAssignment;
use seedlog_core::wire::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, Request, Response, Str, SyncGroupRequest, SyncGroupResponse,
};

/// The commands of this file; `version` is the one that was asked for, if any.
pub(super) fn request(line: &mut Line, version: Option<i16>) -> Result<Request, String> {
    match &*line.verb.clone() {
        "find-coordinator" => find(line, version),
        "join" => join(line),
        "sync-group" => sync(line),
        "heartbeat" => Ok(HeartbeatRequest {
            group_id: next_group(line)?,
            generation_id: line.take_number("generation", -1)?,
            member_id: member(line),
            group_instance_id: instance(line),
        }
        .into()),
        "leave" => leave(line, version),
        "commit" => commit(line),
        "committed" => committed(line, version),
        "groups" => {
            let filter = |text: Option<String>| text.map(Str::from).into_iter().collect();
            let (states_filter, types_filter) = (filter(line.take("state")), filter(line.take("type")));
            Ok(ListGroupsRequest { states_filter, types_filter }.into())
        }
        "describe-groups" => {
            let groups = rest(line);
            Ok(DescribeGroupsRequest { groups, ..Default::default() }.into())
        }
        "delete-groups" => Ok(DeleteGroupsRequest { groups_names: rest(line) }.into()),
        "delete-offsets" => delete_offsets(line),
        verb => Err(format!("{verb}: no such command")),
    }
}

/// `find-coordinator readers`; also `kind=1` for that of a transaction.
fn find(line: &mut Line, version: Option<i16>) -> Result<Request, String> {
    let (key, key_type) = (next_group(line)?, line.take_number("kind", 0)?);
    Ok(match version {
        Some(..4) => FindCoordinatorRequest { key, key_type, ..Default::default() },
        None | Some(4..) => {
            FindCoordinatorRequest { coordinator_keys: vec![key], key_type, ..Default::default() }
        }
    }
    .into())
}

pub(super) fn found(found: &FindCoordinatorResponse) -> Vec<String> {
    let line = |key: &str, node: i32, code, why: Option<&Str>| {
        format!("{key}{}", or_error(code, why, format!("node {node}")))
    };
    if found.coordinators.is_empty() {
        return vec![line("", found.node_id, found.error_code, found.error_message.as_ref())];
    }
    let lines = found
        .coordinators
        .iter()
        .map(|one| line(&format!("{}: ", one.key), one.node_id, one.error_code, one.error_message.as_ref()));
    lines.collect()
}

/// What groups may do unless a script says otherwise: one partition keeps them all.
pub(super) fn of_broker() -> GroupSettings {
    GroupSettings { topic_partitions: 1, ..GroupSettings::default() }
}

/// Sets one of the settings, by Kafka's name.
pub(super) fn set(settings: &mut GroupSettings, name: &str, value: &str) -> Result<(), String> {
    const MINUTE_MS: i64 = 60_000;
    match name {
        "group.initial.rebalance.delay.ms" => settings.initial_rebalance_delay_ms = number(value)?,
        "group.consumer.migration.policy" => {
            settings.consumer.migration = MigrationPolicy::named(value).ok_or("no policy")?;
        }
        "group.consumer.max.size" => settings.consumer.members_max = number(value)?,
        "group.consumer.assignment.interval.ms" => {
            settings.consumer.assignment_interval_ms = number(value)?;
        }
        "group.max.size" => settings.members_max = number(value)?,
        "offsets.retention.minutes" => settings.offsets_retention_ms = MINUTE_MS * number::<i64>(value)?,
        "offsets.topic.num.partitions" => settings.topic_partitions = number(value)?,
        _ => return Err(format!("{name}: no setting of groups")),
    }
    Ok(())
}

/// `join readers range 'a' roundrobin 'b' member=m-1`: the protocols with what is said under each; without that, a
/// subscription to the topics of `reads=orders,payments`.
fn join(line: &mut Line) -> Result<Request, String> {
    let group_id = next_group(line)?;
    let mut owned: Vec<(Str, Vec<i32>)> = Vec::new();
    for part in line.take("owns").iter().flat_map(|text| text.split(',')) {
        let (topic, index) = part.rsplit_once('-').ok_or_else(|| format!("{part}: not a partition"))?;
        owned.push((Str::from(topic), vec![number(index)?]));
    }
    let subscription = line.take("reads").map(|topics| subscription(&topics, &owned)).unwrap_or_default();
    let mut protocols = Vec::new();
    while let Some(name) = line.next_plain() {
        let metadata = line.next_value().map_or_else(|| subscription.clone(), Bytes::from);
        protocols.push(JoinGroupRequestProtocol { name: Str::from(name), metadata });
    }
    Ok(JoinGroupRequest {
        group_id,
        session_timeout_ms: line.take_number("session", 10_000)?,
        rebalance_timeout_ms: line.take_number("rebalance", 30_000)?,
        member_id: member(line),
        group_instance_id: instance(line),
        protocol_type: line.take("type").map_or_else(|| Str::from_static("consumer"), Str::from),
        protocols,
        reason: None,
    }
    .into())
}

/// `sync-group readers member=m-1 generation=1 m-1 'a' m-2 'parts:orders-0'`: the assignments, from the leader; partitions in
/// the form of consumers behind `parts:`.
fn sync(line: &mut Line) -> Result<Request, String> {
    let group_id = next_group(line)?;
    let mut assignments = Vec::new();
    while let Some(name) = line.next_plain() {
        let assignment = handed_out(line.next_value().unwrap_or_default())?;
        assignments.push(SyncGroupRequestAssignment { member_id: Str::from(name), assignment });
    }
    Ok(SyncGroupRequest {
        group_id,
        generation_id: line.take_number("generation", -1)?,
        member_id: member(line),
        group_instance_id: instance(line),
        protocol_type: line.take("type").map(Str::from),
        protocol_name: line.take("protocol").map(Str::from),
        assignments,
    }
    .into())
}

fn handed_out(said: Vec<u8>) -> Result<Bytes, String> {
    let Some(parts) = said.strip_prefix(b"parts:") else { return Ok(Bytes::from(said)) };
    let text = String::from_utf8_lossy(parts);
    let part = |part: &str| {
        let (topic, index) = part.rsplit_once('-').ok_or_else(|| format!("{part}: not a partition"))?;
        Ok::<_, String>((Str::from(topic), vec![number(index)?]))
    };
    let parts: Result<Vec<_>, String> = text.split(',').map(part).collect();
    Ok(assignment_bytes(1, &parts?))
}

/// `leave readers m-1 m-2`, or `leave readers instance=i-1`.
fn leave(line: &mut Line, version: Option<i16>) -> Result<Request, String> {
    let group_id = next_group(line)?;
    let mut ids = rest(line);
    if version.is_some_and(|version| version < 3) {
        let member_id = ids.pop().ok_or("which member?")?;
        return Ok(LeaveGroupRequest { group_id, member_id, ..Default::default() }.into());
    }
    let instance = instance(line);
    if ids.is_empty() {
        ids.push(Str::default());
    }
    let identity =
        |member_id| MemberIdentity { member_id, group_instance_id: instance.clone(), reason: None };
    let members = ids.into_iter().map(identity).collect();
    Ok(LeaveGroupRequest { group_id, members, ..Default::default() }.into())
}

/// `commit readers orders-0 orders-1 'metadata' at=5 epoch=0`; of a member with `member=` and `generation=`.
fn commit(line: &mut Line) -> Result<Request, String> {
    let group_id = next_group(line)?;
    let committed = OffsetCommitRequestPartition {
        committed_offset: line.take_number("at", 0)?,
        committed_leader_epoch: line.take_number("epoch", -1)?,
        ..Default::default()
    };
    let by_topic = line.rest_by_topic()?;
    let metadata = line.next_value().unwrap_or_default();
    let metadata = Str::from(String::from_utf8(metadata).map_err(|error| error.to_string())?);
    let committed = OffsetCommitRequestPartition { committed_metadata: Some(metadata), ..committed };
    let partition =
        |&partition_index: &i32| OffsetCommitRequestPartition { partition_index, ..committed.clone() };
    let topics = by_topic.into_iter().map(|(name, indexes)| OffsetCommitRequestTopic {
        name,
        partitions: indexes.iter().map(partition).collect(),
        ..Default::default()
    });
    Ok(OffsetCommitRequest {
        group_id,
        generation_id_or_member_epoch: line.take_number("generation", -1)?,
        topics: topics.collect(),
        member_id: member(line),
        group_instance_id: instance(line),
        retention_time_ms: line.take_number("retention", -1)?,
    }
    .into())
}

/// `committed readers orders-0 orders-1`; without partitions, of all.
fn committed(line: &mut Line, version: Option<i16>) -> Result<Request, String> {
    let group_id = next_group(line)?;
    let require_stable = line.take("stable").is_some();
    let topics = line.rest_by_topic()?;
    if version.is_some_and(|version| version < 8) {
        let topic = |(name, partition_indexes)| OffsetFetchRequestTopic { name, partition_indexes };
        let topics = (!topics.is_empty()).then(|| topics.into_iter().map(topic).collect());
        return Ok(OffsetFetchRequest { group_id, topics, require_stable, ..Default::default() }.into());
    }
    let topic = |(name, partition_indexes)| OffsetFetchRequestTopics {
        name,
        partition_indexes,
        ..Default::default()
    };
    let topics = (!topics.is_empty()).then(|| topics.into_iter().map(topic).collect());
    let group = OffsetFetchRequestGroup {
        group_id,
        topics,
        member_id: line.take("member").map(Str::from),
        member_epoch: line.take_number("generation", -1)?,
    };
    let groups = vec![group];
    Ok(OffsetFetchRequest { groups, require_stable, ..Default::default() }.into())
}

/// `delete-offsets readers orders-0`.
fn delete_offsets(line: &mut Line) -> Result<Request, String> {
    let group_id = next_group(line)?;
    let partition = |partition_index| OffsetDeleteRequestPartition { partition_index };
    let topics = line.rest_by_topic()?.into_iter().map(|(name, indexes)| OffsetDeleteRequestTopic {
        name,
        partitions: indexes.into_iter().map(partition).collect(),
    });
    Ok(OffsetDeleteRequest { group_id, topics: topics.collect() }.into())
}

/// As consumers write it: a version, the topics, no data of the assignor's, and what is owned.
fn subscription(topics: &str, owned: &[(Str, Vec<i32>)]) -> Bytes {
    let topics: Vec<&str> = topics.split(',').collect();
    let short = |length: usize| u16::try_from(length).expect("scenarios are short").to_be_bytes();
    let long = |length: usize| u32::try_from(length).expect("scenarios are short").to_be_bytes();
    let mut bytes = vec![0, 1];
    bytes.extend(long(topics.len()));
    for topic in topics {
        bytes.extend(short(topic.len()));
        bytes.extend(topic.as_bytes());
    }
    bytes.extend([0xff; 4]);
    bytes.extend(long(owned.len()));
    for (topic, partitions) in owned {
        bytes.extend(short(topic.len()));
        bytes.extend(topic.as_bytes());
        bytes.extend(long(partitions.len()));
        partitions.iter().for_each(|partition| bytes.extend(partition.to_be_bytes()));
    }
    Bytes::from(bytes)
}

/// What a member was given: partitions, or whatever its leader said.
fn given(bytes: &Bytes) -> String {
    match assignment(bytes).filter(|_| !bytes.is_empty()) {
        Some(parts) if parts.is_empty() => "nothing".to_owned(),
        Some(parts) => {
            let parts = parts
                .iter()
                .flat_map(|(topic, indexes)| indexes.iter().map(move |index| format!("{topic}-{index}")));
            parts.collect::<Vec<_>>().join(" ")
        }
        None => value(bytes),
    }
}

/// What a member says to the others.
fn told(metadata: &Bytes) -> String {
    match subscribed_topics(metadata) {
        Some(topics) => format!("reads {}", topics.iter().map(Str::as_str).collect::<Vec<_>>().join(" ")),
        None => value(metadata),
    }
}

/// A record of the groups' topic; `None`: it is of another one.
pub(super) fn record(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<String> {
    let record = GroupRecord::decode(Some(key?), value).ok()?;
    Some(match record {
        GroupRecord::Offset(key, value) => {
            let offset = value.map_or("forgotten".to_owned(), |value| format!("offset {}", value.offset));
            format!("[{}: {}-{} {offset}]", key.group, key.topic, key.partition)
        }
        GroupRecord::Consumer(record) => super::consumers::record(&record),
        GroupRecord::Classic(key, None) => format!("[{}: gone]", key.group),
        GroupRecord::Classic(key, Some(value)) => {
            let members = value.members.iter().map(|member| format!(" {}", member.member_id));
            let members: String = members.collect();
            let members = if members.is_empty() { " none".to_owned() } else { members };
            format!("[{}: generation {}, members{members}]", key.group, value.generation)
        }
    })
}

/// A name, or `''`.
fn next_group(line: &mut Line) -> Result<Str, String> {
    if let Some(name) = line.next_value() {
        return String::from_utf8(name).map(Str::from).map_err(|error| error.to_string());
    }
    line.next_plain().map(Str::from).ok_or_else(|| "which group?".to_owned())
}

fn rest(line: &mut Line) -> Vec<Str> {
    std::iter::from_fn(|| line.next_plain()).map(Str::from).collect()
}

fn member(line: &mut Line) -> Str {
    line.take("member").map(Str::from).unwrap_or_default()
}

fn instance(line: &mut Line) -> Option<Str> {
    line.take("instance").map(Str::from)
}

pub(super) fn joined(joined: &JoinGroupResponse) -> Vec<String> {
    let refused = or_error(joined.error_code, None, String::new());
    if joined.error_code != 0 {
        let named = !joined.member_id.is_empty();
        return vec![if named { format!("{refused}, member {}", joined.member_id) } else { refused }];
    }
    let member = |one: &JoinGroupResponseMember| {
        format!("{}{}: {}", one.member_id, named(one.group_instance_id.as_ref()), told(&one.metadata))
    };
    let protocol = joined.protocol_name.as_deref().unwrap_or("none");
    let skips = if joined.skip_assignment { ", keeps the assignment" } else { "" };
    let whole = format!(
        "generation {}, protocol {protocol}, leader {}, member {}{skips}",
        joined.generation_id, joined.leader, joined.member_id
    );
    std::iter::once(whole).chain(joined.members.iter().map(member)).collect()
}

pub(super) fn synced(synced: &SyncGroupResponse) -> Vec<String> {
    vec![or_error(synced.error_code, None, format!("assigned {}", given(&synced.assignment)))]
}

pub(super) fn beaten(beaten: &HeartbeatResponse) -> Vec<String> {
    vec![or_error(beaten.error_code, None, "a member".to_owned())]
}

pub(super) fn left(left: &LeaveGroupResponse) -> Vec<String> {
    if left.error_code != 0 || left.members.is_empty() {
        return vec![or_error(left.error_code, None, "left".to_owned())];
    }
    let line = |one: &MemberResponse| {
        let said = or_error(one.error_code, None, "left".to_owned());
        let name = format!("{}{}", one.member_id, named(one.group_instance_id.as_ref()));
        format!("{}: {said}", name.trim_start())
    };
    left.members.iter().map(line).collect()
}

pub(super) fn commits(commits: &OffsetCommitResponse) -> Vec<String> {
    let parts = commits.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|part| (&topic.name, part.partition_index, part.error_code))
    });
    let line =
        |(topic, index, code)| format!("{topic}-{index}: {}", or_error(code, None, "committed".to_owned()));
    parts.map(line).collect()
}

pub(super) fn offsets(found: &OffsetFetchResponse) -> Vec<String> {
    let old = found.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|part| {
            let place = (part.committed_offset, part.committed_leader_epoch);
            offset_line(&topic.name, part.partition_index, place, part.metadata.as_ref(), part.error_code)
        })
    });
    let whole = (found.error_code != 0).then(|| or_error(found.error_code, None, String::new()));
    let new = found.groups.iter().flat_map(|group| {
        let refused = (group.error_code != 0)
            .then(|| format!("{}: {}", group.group_id, or_error(group.error_code, None, String::new())));
        let parts = group.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|part| {
                let place = (part.committed_offset, part.committed_leader_epoch);
                offset_line(&topic.name, part.partition_index, place, part.metadata.as_ref(), part.error_code)
            })
        });
        refused.into_iter().chain(parts)
    });
    let lines: Vec<String> = whole.into_iter().chain(old).chain(new).collect();
    if lines.is_empty() { vec!["none".to_owned()] } else { lines }
}

fn offset_line(topic: &Str, index: i32, place: (i64, i32), metadata: Option<&Str>, code: i16) -> String {
    let said = match place {
        (-1, _) => "none".to_owned(),
        (offset, -1) => format!("offset {offset}"),
        (offset, epoch) => format!("offset {offset}, epoch {epoch}"),
    };
    let metadata = metadata.filter(|text| !text.is_empty());
    let metadata = metadata.map_or_else(String::new, |text| format!(", {}", value(text.as_bytes())));
    format!("{topic}-{index}: {}", or_error(code, None, said + &metadata))
}

pub(super) fn listed(list: &ListGroupsResponse) -> Vec<String> {
    if list.error_code != 0 || list.groups.is_empty() {
        return vec![or_error(list.error_code, None, "none".to_owned())];
    }
    let line = |one: &ListedGroup| {
        let kind = if one.protocol_type.is_empty() { "no protocol" } else { &*one.protocol_type };
        format!("{}: {kind}, {}, {}", one.group_id, one.group_state, one.group_type)
    };
    list.groups.iter().map(line).collect()
}

pub(super) fn described(described: &DescribeGroupsResponse) -> Vec<String> {
    let member = |one: &DescribedGroupMember| {
        let (said, got) = (told(&one.member_metadata), given(&one.member_assignment));
        let (id, name) = (&one.member_id, named(one.group_instance_id.as_ref()));
        format!("{id}{name}: {} at {}, said {said}, assigned {got}", one.client_id, one.client_host)
    };
    let lines = |group: &DescribedGroup| {
        let kind = if group.protocol_type.is_empty() { "no protocol" } else { &*group.protocol_type };
        let said = format!("{}, {kind}, {}", group.group_state, value(group.protocol_data.as_bytes()));
        let whole = or_error(group.error_code, group.error_message.as_ref(), said);
        let whole = std::iter::once(format!("{}: {whole}", group.group_id));
        whole.chain(group.members.iter().map(member)).collect::<Vec<_>>()
    };
    described.groups.iter().flat_map(lines).collect()
}

pub(super) fn deleted(deleted: &DeleteGroupsResponse) -> Vec<String> {
    let line = |one: &DeletableGroupResult| {
        format!("{}: {}", one.group_id, or_error(one.error_code, None, "deleted".to_owned()))
    };
    deleted.results.iter().map(line).collect()
}

pub(super) fn forgotten(deleted: &OffsetDeleteResponse) -> Vec<String> {
    if deleted.error_code != 0 {
        return vec![or_error(deleted.error_code, None, String::new())];
    }
    let parts = deleted.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|part| (&topic.name, part.partition_index, part.error_code))
    });
    let line =
        |(topic, index, code)| format!("{topic}-{index}: {}", or_error(code, None, "forgotten".to_owned()));
    parts.map(line).collect()
}

impl World {
    /// The id of a topic; of one that is gone, what it was; none of one that never was.
    pub(super) fn topic_id(&mut self, name: &str) -> Uuid {
        let known =
            self.names.iter().filter(|(_, known)| **known == *name).map(|(topic_id, _)| *topic_id).max();
        let named = self.broker().and_then(|broker| broker.image().topic_named(name));
        named.map(|(topic_id, _)| topic_id).or(known).unwrap_or_default()
    }

    /// A request that names topics by their ids from some version on.
    pub(super) fn with_ids(&mut self, mut request: Request) -> Request {
        let mut topics = |name: &str| self.topic_id(name);
        if let Request::OffsetCommit(commit) = &mut request {
            commit.topics.iter_mut().for_each(|topic| topic.topic_id = topics(&topic.name));
        } else if let Request::OffsetFetch(fetch) = &mut request {
            let wanted = fetch.groups.iter_mut().flat_map(|group| &mut group.topics).flatten();
            wanted.for_each(|topic| topic.topic_id = topics(&topic.name));
        }
        request
    }

    /// An answer with the names of topics that it has the ids of.
    pub(super) fn with_names(&self, mut response: Response) -> Response {
        let named = |topic_id: Uuid, name: &mut Str| {
            if name.is_empty() {
                *name = self.names.get(&topic_id).map_or("?", String::as_str).into();
            }
        };
        if let Response::OffsetCommit(commits) = &mut response {
            commits.topics.iter_mut().for_each(|topic| named(topic.topic_id, &mut topic.name));
        } else if let Response::OffsetFetch(found) = &mut response {
            let topics = found.groups.iter_mut().flat_map(|group| &mut group.topics);
            topics.for_each(|topic| named(topic.topic_id, &mut topic.name));
        }
        response
    }
}

/// A static member's name in brackets.
fn named(instance: Option<&Str>) -> String {
    instance.map_or_else(String::new, |name| format!(" ({name})"))
}
