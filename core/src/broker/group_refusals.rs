//! What a request about groups is told when nothing is done: the code stands where clients look for it.

use crate::door::GroupRequest;
use crate::errors::ErrorCode;
use crate::wire::delete_groups::DeletableGroupResult;
use crate::wire::describe_groups::DescribedGroup;
use crate::wire::offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::wire::offset_fetch::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use crate::wire::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupResponse, ListGroupsResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse,
    Response, Str, SyncGroupResponse,
};

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
    const GROUPS_FROM: i16 = 8;
    const WHOLE_CODE_FROM: i16 = 2;
    let error_code = code.code();
    let none = OffsetFetchResponse::default();
    if version >= GROUPS_FROM {
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

fn refuse_deletion(request: &DeleteGroupsRequest, code: ErrorCode) -> DeleteGroupsResponse {
    let results = request
        .groups_names
        .iter()
        .map(|group_id| DeletableGroupResult { group_id: group_id.detached(), error_code: code.code() });
    DeleteGroupsResponse { throttle_time_ms: 0, results: results.collect() }
}
