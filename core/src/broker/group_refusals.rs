//! What a request about groups is told when nothing is done: the code stands where clients look for it.

use crate::door::GroupRequest;
use crate::errors::ErrorCode;
use crate::wire::consumer_group_describe::DescribedConsumerGroup;
use crate::wire::delete_groups::DeletableGroupResult;
use crate::wire::describe_groups::DescribedGroup;
use crate::wire::offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::wire::offset_fetch::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use crate::wire::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatResponse,
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupResponse, ListGroupsResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse,
    Response, Str, SyncGroupResponse,
};

/// OffsetFetch asks for many groups from this version on (KIP-709).
pub(super) const MANY_GROUPS_FROM: i16 = 8;

/// The answer to a request to one group whose coordinator cannot be asked. Where clients know no better, it is what Kafka says.
pub(super) fn refuse_for_one(request: &GroupRequest, version: i16, code: ErrorCode) -> Response {
    match (request, code) {
        // Clients take this code for fatal here, and there is nothing wrong: the member has its session.
        (GroupRequest::Heartbeat(_), ErrorCode::CoordinatorLoadInProgress) => {
            refuse(request, version, ErrorCode::None)
        }
        // The rebalance that it belongs to is forgotten.
        (GroupRequest::SyncGroup(_), ErrorCode::CoordinatorLoadInProgress) => {
            refuse(request, version, ErrorCode::RebalanceInProgress)
        }
        _ => refuse(request, version, code),
    }
}

/// The answer to a request about several groups where what it rests on is not committed.
pub(super) fn refuse_for_many(request: &GroupRequest, version: i16) -> Response {
    // A list is of one node, so there is no other one to look for: clients ask it again after this code only.
    let is_list = matches!(request, GroupRequest::ListGroups(_));
    let code = if is_list { ErrorCode::CoordinatorNotAvailable } else { ErrorCode::NotCoordinator };
    refuse(request, version, code)
}

/// The answer to a request that was refused as a whole: the code stands where clients look for it in this version.
pub(super) fn refuse(request: &GroupRequest, version: i16, code: ErrorCode) -> Response {
    let error_code = code.code();
    match request {
        GroupRequest::JoinGroup(request) => refuse_join(request, version, code).into(),
        GroupRequest::SyncGroup(_) => SyncGroupResponse { error_code, ..SyncGroupResponse::default() }.into(),
        GroupRequest::Heartbeat(_) => HeartbeatResponse { throttle_time_ms: 0, error_code }.into(),
        GroupRequest::LeaveGroup(_) => {
            LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }.into()
        }
        GroupRequest::OffsetCommit(request) => refuse_commit(request, code).into(),
        GroupRequest::OffsetFetch(request) => refuse_offsets(request, version, code).into(),
        GroupRequest::ListGroups(_) => {
            ListGroupsResponse { error_code, ..ListGroupsResponse::default() }.into()
        }
        GroupRequest::DescribeGroups(request) => refuse_description(request, code).into(),
        GroupRequest::DeleteGroups(request) => refuse_deletion(request, code).into(),
        GroupRequest::OffsetDelete(_) => {
            OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() }.into()
        }
        GroupRequest::ConsumerGroupHeartbeat(_) => {
            ConsumerGroupHeartbeatResponse { error_code, ..ConsumerGroupHeartbeatResponse::default() }.into()
        }
        GroupRequest::ConsumerGroupDescribe(request) => refuse_consumers(request, code).into(),
    }
}

fn refuse_join(request: &JoinGroupRequest, version: i16, code: ErrorCode) -> JoinGroupResponse {
    /// Before this version the protocol's name cannot be null.
    const NO_PROTOCOL_FROM: i16 = 7;
    JoinGroupResponse {
        error_code: code.code(),
        protocol_name: (version < NO_PROTOCOL_FROM).then(Str::default),
        member_id: request.member_id.detached(),
        ..JoinGroupResponse::default()
    }
}

fn refuse_commit(request: &OffsetCommitRequest, code: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: code.code(),
        });
        OffsetCommitResponseTopic {
            name: topic.name.detached(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        }
    });
    OffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }
}

/// The code is each group's from version 8 on, the request's from 2 on, and each partition's before.
fn refuse_offsets(request: &OffsetFetchRequest, version: i16, code: ErrorCode) -> OffsetFetchResponse {
    const WHOLE_CODE_FROM: i16 = 2;
    let error_code = code.code();
    let none = OffsetFetchResponse::default();
    if version >= MANY_GROUPS_FROM {
        let groups = request.groups.iter().map(|group| OffsetFetchResponseGroup {
            group_id: group.group_id.detached(),
            error_code,
            ..OffsetFetchResponseGroup::default()
        });
        return OffsetFetchResponse { groups: groups.collect(), ..none };
    }
    if version >= WHOLE_CODE_FROM {
        return OffsetFetchResponse { error_code, ..none };
    }
    let topics = request.topics.iter().flatten().map(|topic| {
        let partitions =
            topic.partition_indexes.iter().map(|&partition_index| OffsetFetchResponsePartition {
                partition_index,
                committed_offset: -1,
                metadata: Some(Str::default()),
                error_code,
                ..OffsetFetchResponsePartition::default()
            });
        OffsetFetchResponseTopic { name: topic.name.detached(), partitions: partitions.collect() }
    });
    OffsetFetchResponse { topics: topics.collect(), ..none }
}

fn refuse_description(request: &DescribeGroupsRequest, code: ErrorCode) -> DescribeGroupsResponse {
    let groups = request.groups.iter().map(|group_id| DescribedGroup {
        error_code: code.code(),
        group_id: group_id.detached(),
        ..DescribedGroup::default()
    });
    DescribeGroupsResponse { throttle_time_ms: 0, groups: groups.collect() }
}

fn refuse_consumers(
    request: &ConsumerGroupDescribeRequest,
    code: ErrorCode,
) -> ConsumerGroupDescribeResponse {
    let groups = request.group_ids.iter().map(|group_id| DescribedConsumerGroup {
        error_code: code.code(),
        group_id: group_id.detached(),
        ..DescribedConsumerGroup::default()
    });
    ConsumerGroupDescribeResponse { throttle_time_ms: 0, groups: groups.collect() }
}

fn refuse_deletion(request: &DeleteGroupsRequest, code: ErrorCode) -> DeleteGroupsResponse {
    let results = request
        .groups_names
        .iter()
        .map(|group_id| DeletableGroupResult { group_id: group_id.detached(), error_code: code.code() });
    DeleteGroupsResponse { throttle_time_ms: 0, results: results.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::{ClientBody, admit};
    use crate::wire::join_group::JoinGroupRequestProtocol;
    use crate::wire::leave_group::MemberIdentity;
    use crate::wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    use crate::wire::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
    use crate::wire::{
        APIS, ApiKey, ConsumerGroupHeartbeatRequest, HeartbeatRequest, LeaveGroupRequest, ListGroupsRequest,
        OffsetDeleteRequest, Request, SyncGroupRequest, decode_response, encode_request, encode_response,
    };
    use alloc::vec;
    use alloc::vec::Vec;

    fn name(text: &'static str) -> Str {
        Str::from_static(text)
    }

    /// Something of each API, as a client of that version sends it.
    fn requests(version: i16) -> [Request; 12] {
        let leaving = MemberIdentity { member_id: name("m"), ..MemberIdentity::default() };
        let leave = match version {
            ..3 => LeaveGroupRequest { member_id: name("m"), ..LeaveGroupRequest::default() },
            3.. => LeaveGroupRequest { members: vec![leaving], ..LeaveGroupRequest::default() },
        };
        let indexes = vec![0, 1];
        let topic = OffsetFetchRequestTopic { name: name("t"), partition_indexes: indexes };
        let group = OffsetFetchRequestGroup { group_id: name("g"), ..OffsetFetchRequestGroup::default() };
        let fetch = match version {
            ..8 => OffsetFetchRequest { topics: Some(vec![topic]), ..OffsetFetchRequest::default() },
            8.. => OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() },
        };
        let partitions = vec![OffsetCommitRequestPartition::default(); 2];
        let topic = OffsetCommitRequestTopic { name: name("t"), partitions, ..Default::default() };
        let protocols = vec![JoinGroupRequestProtocol::default()];
        [
            JoinGroupRequest { member_id: name("m"), protocols, ..JoinGroupRequest::default() }.into(),
            SyncGroupRequest::default().into(),
            HeartbeatRequest::default().into(),
            leave.into(),
            OffsetCommitRequest { topics: vec![topic], ..OffsetCommitRequest::default() }.into(),
            fetch.into(),
            ListGroupsRequest::default().into(),
            DescribeGroupsRequest { groups: vec![name("g"); 2], ..DescribeGroupsRequest::default() }.into(),
            DeleteGroupsRequest { groups_names: vec![name("g"); 2] }.into(),
            OffsetDeleteRequest::default().into(),
            ConsumerGroupHeartbeatRequest::default().into(),
            ConsumerGroupDescribeRequest { group_ids: vec![name("g"); 2], ..Default::default() }.into(),
        ]
    }

    /// The codes in an answer, with that of the whole first.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only answers about groups are asked for")]
    fn codes(response: &Response) -> Vec<i16> {
        match response {
            Response::JoinGroup(it) => vec![it.error_code],
            Response::SyncGroup(it) => vec![it.error_code],
            Response::Heartbeat(it) => vec![it.error_code],
            Response::LeaveGroup(it) => {
                let members = it.members.iter().map(|member| member.error_code);
                core::iter::once(it.error_code).chain(members).collect()
            }
            Response::OffsetCommit(it) => {
                it.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code).collect()
            }
            Response::OffsetFetch(it) => {
                let whole = (it.error_code != 0).then_some(it.error_code);
                let parts = it.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code);
                whole.into_iter().chain(parts).chain(it.groups.iter().map(|it| it.error_code)).collect()
            }
            Response::ListGroups(it) => vec![it.error_code],
            Response::DescribeGroups(it) => it.groups.iter().map(|group| group.error_code).collect(),
            Response::DeleteGroups(it) => it.results.iter().map(|group| group.error_code).collect(),
            Response::OffsetDelete(it) => vec![it.error_code],
            Response::ConsumerGroupHeartbeat(it) => vec![it.error_code],
            Response::ConsumerGroupDescribe(it) => it.groups.iter().map(|group| group.error_code).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_refusal_says_so_in_every_version_where_clients_look_for_it() {
        let code = ErrorCode::NotCoordinator;
        for api in APIS {
            for version in api.served.min..=api.served.max {
                let Some(request) = requests(version).into_iter().find(|it| it.api_key() == api.api_key)
                else {
                    continue;
                };
                let frame = encode_request(version, 1, None, &request).expect("it can be written");
                let admitted = admit(frame.to_bytes().slice(4..)).expect("it is well formed");
                let ClientBody::Group(request) = admitted.request.body else { panic!("it goes elsewhere") };
                let response = refuse(&request, version, code);
                let frame = encode_response(version, 1, &response).expect("the version can say it");
                let frame = frame.to_bytes().slice(4..);
                let (_, read) = decode_response(api.api_key, version, frame).expect("it is read");
                let several = match (api.api_key, version) {
                    (
                        ApiKey::OffsetCommit
                        | ApiKey::DescribeGroups
                        | ApiKey::DeleteGroups
                        | ApiKey::ConsumerGroupDescribe,
                        _,
                    )
                    | (ApiKey::OffsetFetch, 1) => 2,
                    _ => 1,
                };
                let said = codes(&read);
                assert_eq!(said, vec![code.code(); several], "{} {version}", api.api_key.name());
                if let Response::JoinGroup(joined) = read {
                    assert_eq!((joined.generation_id, &*joined.member_id), (-1, "m"));
                    assert_eq!(joined.protocol_name.is_none(), version >= 7);
                }
            }
        }
    }
}
