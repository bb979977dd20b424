//! Requests that only the controller decides or knows the answer of (SAFETY K2): any broker takes them, the controller's answer leaves once what it
//! rests on is committed (SAFETY C1).

use super::describe_quorum::refuse_description;
use super::{Broker, Pending, Requester};
use crate::cluster::decide::{
    Decision, decide_alter_configs, decide_alter_partition_reassignments, decide_create_partitions,
    decide_create_topics, decide_delete_topics, decide_elect_leaders, decide_incremental_alter_configs,
    list_partition_reassignments,
};
use crate::cluster::records::MetadataRecord;
use crate::door::{ClientRequest, ControllerRequest};
use crate::errors::ErrorCode;
use crate::ids::{ConnId, RequestNumber, Uuid};
use crate::output::Outputs;
use crate::wire::alter_configs::AlterConfigsResourceResponse;
use crate::wire::create_partitions::CreatePartitionsTopicResult;
use crate::wire::create_topics::CreatableTopicResult;
use crate::wire::delete_topics::DeletableTopicResult;
use crate::wire::elect_leaders::{ElectionPartitionResult, ReplicaElectionResult};
use crate::wire::{
    AlterConfigsResponse, AlterPartitionReassignmentsResponse, CreatePartitionsRequest,
    CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, ElectLeadersRequest, ElectLeadersResponse, IncrementalAlterConfigsResponse,
    ListPartitionReassignmentsResponse, Response, Str,
};
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Broker {
    /// Why nothing can be asked of the controller, if so.
    pub(super) fn metadata_refusal(&self) -> Option<(ErrorCode, &'static str)> {
        if !self.is_serving() {
            Some((ErrorCode::NotController, "This node is starting or stopping."))
        } else if !self.has_room_to_wait() {
            Some((ErrorCode::ThrottlingQuotaExceeded, "Too many requests wait on this broker."))
        } else {
            None
        }
    }

    /// A client asks for something that the controller decides.
    pub(super) fn on_controller_request(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        version: i16,
        request: ControllerRequest,
        out: &mut Outputs,
    ) {
        let full = (self.disk_is_full && request.makes_partitions()).then_some((
            ErrorCode::KafkaStorageError,
            "The disk of this broker is nearly full: free some room or add a disk.",
        ));
        if let Some((code, why)) = self.metadata_refusal().or(full) {
            self.reply(conn, number, refuse(&request, version, code, why), out);
        } else if self.controller.is_some() {
            self.decide_request(Requester::Client { conn, number, version }, request, out);
        } else {
            self.forward(conn, number, version, request, out);
        }
    }

    /// The controller decides, for a client here or of another broker. Also a refusal rests on what it saw: it leaves when
    /// that is committed (SAFETY C1).
    pub(super) fn decide_request(&mut self, to: Requester, request: ControllerRequest, out: &mut Outputs) {
        let random = &mut self.random;
        let Some(controller) = &self.controller else { return };
        let (image, config) = (&controller.working, &self.config);
        let (records, response) = match &request {
            ControllerRequest::CreateTopics(request) => {
                answered(decide_create_topics(image, config, request, || random.uuid()))
            }
            ControllerRequest::DeleteTopics(request) => answered(decide_delete_topics(image, request)),
            ControllerRequest::CreatePartitions(request) => {
                answered(decide_create_partitions(image, config, request))
            }
            ControllerRequest::ElectLeaders(request) => answered(decide_elect_leaders(image, request)),
            ControllerRequest::AlterPartitionReassignments(request) => {
                answered(decide_alter_partition_reassignments(image, request))
            }
            ControllerRequest::ListPartitionReassignments(request) => {
                (Vec::new(), list_partition_reassignments(image, request).into())
            }
            ControllerRequest::AlterConfigs(request) => {
                answered(decide_alter_configs(image, config, request))
            }
            ControllerRequest::IncrementalAlterConfigs(request) => {
                answered(decide_incremental_alter_configs(image, config, request))
            }
            ControllerRequest::DescribeQuorum(request) => return self.describe_quorum(to, request, out),
        };
        let offset = self.decide(records, out);
        let (request, response) = (Box::new(request), Box::new(response));
        self.answer_at(offset, Pending::Decided { to, request, response }, out);
    }

    /// The controller creates topics that a Metadata request names.
    pub(super) fn create_then_describe(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        create: &CreateTopicsRequest,
        request: ClientRequest,
        out: &mut Outputs,
    ) {
        let random = &mut self.random;
        let Some(controller) = &self.controller else { return };
        let decision = decide_create_topics(&controller.working, &self.config, create, || random.uuid());
        let offset = self.decide(decision.records, out);
        self.answer_at(offset, Pending::Metadata { conn, number, request: Box::new(request) }, out);
    }
}

fn answered<T: Into<Response>>(decision: Decision<T>) -> (Vec<MetadataRecord>, Response) {
    (decision.records, decision.response.into())
}

/// The answer to a request about which nothing was decided, or nobody can say what was.
pub(super) fn refuse(
    request: &ControllerRequest,
    version: i16,
    code: ErrorCode,
    why: &'static str,
) -> Response {
    match request {
        ControllerRequest::CreateTopics(request) => refuse_creation(request, code, why).into(),
        ControllerRequest::DeleteTopics(request) => refuse_deletion(request, code, why).into(),
        ControllerRequest::CreatePartitions(request) => refuse_partitions(request, code, why).into(),
        ControllerRequest::ElectLeaders(request) => refuse_elections(request, version, code, why).into(),
        ControllerRequest::AlterPartitionReassignments(request) => AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            error_code: code.code(),
            error_message: Some(Str::from_static(why)),
            ..AlterPartitionReassignmentsResponse::default()
        }
        .into(),
        ControllerRequest::ListPartitionReassignments(_) => ListPartitionReassignmentsResponse {
            error_code: code.code(),
            error_message: Some(Str::from_static(why)),
            ..ListPartitionReassignmentsResponse::default()
        }
        .into(),
        ControllerRequest::AlterConfigs(request) => {
            let resources = request.resources.iter().map(|it| (it.resource_type, &it.resource_name));
            let responses = refuse_resources(resources, code, why);
            AlterConfigsResponse { throttle_time_ms: 0, responses }.into()
        }
        ControllerRequest::IncrementalAlterConfigs(request) => {
            let resources = request.resources.iter().map(|it| (it.resource_type, &it.resource_name));
            let responses = refuse_resources(resources, code, why);
            IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses }.into()
        }
        ControllerRequest::DescribeQuorum(_) => refuse_description(code, why).into(),
    }
}

fn refuse_creation(
    request: &CreateTopicsRequest,
    code: ErrorCode,
    why: &'static str,
) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|topic| CreatableTopicResult {
        name: topic.name.detached(),
        error_code: code.code(),
        error_message: Some(Str::from_static(why)),
        ..CreatableTopicResult::default()
    });
    CreateTopicsResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn refuse_deletion(
    request: &DeleteTopicsRequest,
    code: ErrorCode,
    why: &'static str,
) -> DeleteTopicsResponse {
    let by_name = request.topic_names.iter().map(|name| (Some(name), Uuid::ZERO));
    let by_state = request.topics.iter().map(|topic| (topic.name.as_ref(), topic.topic_id));
    let responses = by_name.chain(by_state).map(|(name, topic_id)| DeletableTopicResult {
        name: name.map(Str::detached),
        topic_id,
        error_code: code.code(),
        error_message: Some(Str::from_static(why)),
    });
    DeleteTopicsResponse { throttle_time_ms: 0, responses: responses.collect() }
}

fn refuse_partitions(
    request: &CreatePartitionsRequest,
    code: ErrorCode,
    why: &'static str,
) -> CreatePartitionsResponse {
    let results = request.topics.iter().map(|topic| CreatePartitionsTopicResult {
        name: topic.name.detached(),
        error_code: code.code(),
        error_message: Some(Str::from_static(why)),
    });
    CreatePartitionsResponse { throttle_time_ms: 0, results: results.collect() }
}

fn refuse_elections(
    request: &ElectLeadersRequest,
    version: i16,
    code: ErrorCode,
    why: &'static str,
) -> ElectLeadersResponse {
    /// Before this version there is no code for the request as a whole.
    const WHOLE_CODE_FROM: i16 = 1;
    let refused = |&partition_id: &i32| ElectionPartitionResult {
        partition_id,
        error_code: code.code(),
        error_message: Some(Str::from_static(why)),
    };
    let topics = request.topic_partitions.iter().flatten().map(|topic| ReplicaElectionResult {
        topic: topic.topic.detached(),
        partition_result: topic.partitions.iter().map(refused).collect(),
    });
    let error_code = if version >= WHOLE_CODE_FROM { code } else { ErrorCode::None };
    ElectLeadersResponse {
        throttle_time_ms: 0,
        error_code: error_code.code(),
        replica_election_results: topics.collect(),
    }
}

fn refuse_resources<'a>(
    resources: impl Iterator<Item = (i8, &'a Str)>,
    code: ErrorCode,
    why: &'static str,
) -> Vec<AlterConfigsResourceResponse> {
    let refused = resources.map(|(resource_type, resource_name)| AlterConfigsResourceResponse {
        error_code: code.code(),
        error_message: Some(Str::from_static(why)),
        resource_type,
        resource_name: resource_name.detached(),
    });
    refused.collect()
}
