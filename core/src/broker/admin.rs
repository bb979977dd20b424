//! What clients ask to change: topics, and producer ids of their own.

use super::configs::{refuse_alteration, refuse_incremental};
use super::describe_quorum::refuse_description;
use super::{Broker, Pending, Requester};
use crate::cluster::decide::{decide_create_topics, decide_delete_topics};
use crate::door::ClientRequest;
use crate::errors::ErrorCode;
use crate::ids::{BrokerEpoch, ConnId, NodeId, ProducerId, RequestNumber, Uuid};
use crate::output::Outputs;
use crate::peer::PeerBody;
use crate::wire::alter_configs::AlterConfigsResourceResponse;
use crate::wire::create_topics::CreatableTopicResult;
use crate::wire::delete_topics::DeletableTopicResult;
use crate::wire::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    InitProducerIdRequest, InitProducerIdResponse, Request, Response, Str,
};
use alloc::boxed::Box;

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

    pub(super) fn on_create_topics(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        version: i16,
        request: CreateTopicsRequest,
        out: &mut Outputs,
    ) {
        let full = self.disk_is_full.then_some((
            ErrorCode::KafkaStorageError,
            "The disk of this broker is nearly full: free some room or add a disk.",
        ));
        if let Some((code, why)) = self.metadata_refusal().or(full) {
            self.reply(conn, number, refuse_creation(&request, code, why), out);
        } else if self.controller.is_some() {
            self.create_topics(Requester::Client { conn, number }, &request, out);
        } else {
            self.forward(conn, number, version, Request::CreateTopics(request), out);
        }
    }

    pub(super) fn on_delete_topics(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        version: i16,
        request: DeleteTopicsRequest,
        out: &mut Outputs,
    ) {
        if let Some((code, why)) = self.metadata_refusal() {
            self.reply(conn, number, refuse_deletion(&request, code, why), out);
        } else if self.controller.is_some() {
            self.delete_topics(Requester::Client { conn, number }, &request, out);
        } else {
            self.forward(conn, number, version, Request::DeleteTopics(request), out);
        }
    }

    /// The controller creates topics, for a client here or of another broker.
    pub(super) fn create_topics(&mut self, to: Requester, request: &CreateTopicsRequest, out: &mut Outputs) {
        let random = &mut self.random;
        let Some(controller) = &self.controller else { return };
        let decision = decide_create_topics(&controller.working, &self.config, request, || random.uuid());
        // Also a refusal rests on what it saw: it leaves when that is committed (SAFETY C1).
        let offset = self.decide(decision.records, out);
        let response = Box::new(Response::CreateTopics(decision.response));
        self.answer_at(offset, Pending::Ready { to, response }, out);
    }

    /// The controller deletes topics.
    pub(super) fn delete_topics(&mut self, to: Requester, request: &DeleteTopicsRequest, out: &mut Outputs) {
        let Some(controller) = &self.controller else { return };
        let decision = decide_delete_topics(&controller.working, request);
        let offset = self.decide(decision.records, out);
        let response = Box::new(Response::DeleteTopics(decision.response));
        self.answer_at(offset, Pending::Ready { to, response }, out);
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

    pub(super) fn on_init_producer_id(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &InitProducerIdRequest,
        out: &mut Outputs,
    ) {
        let refuse = |code: ErrorCode| {
            Response::InitProducerId(InitProducerIdResponse {
                error_code: code.code(),
                ..InitProducerIdResponse::default()
            })
        };
        if request.transactional_id.is_some() {
            // Transactions are not served: FindCoordinator, which precedes this call, says so.
            self.reply(conn, number, refuse(ErrorCode::InvalidRequest), out);
        } else if let Some((code, _)) = self.metadata_refusal() {
            let code =
                if code == ErrorCode::NotController { ErrorCode::CoordinatorNotAvailable } else { code };
            self.reply(conn, number, refuse(code), out);
        } else {
            self.producer_ids.waiting.push_back((conn, number));
            self.give_producer_ids(out);
        }
    }

    /// Gives ids to those who wait, and asks for a block when there are none left.
    fn give_producer_ids(&mut self, out: &mut Outputs) {
        while self.producer_ids.next < self.producer_ids.end
            && let Some((conn, number)) = self.producer_ids.waiting.pop_front()
        {
            let producer_id = self.producer_ids.next;
            self.producer_ids.next = ProducerId(producer_id.0 + 1);
            let response = InitProducerIdResponse {
                error_code: ErrorCode::None.code(),
                producer_id: producer_id.0,
                producer_epoch: 0,
                ..InitProducerIdResponse::default()
            };
            self.reply(conn, number, Response::InitProducerId(response), out);
        }
        if !self.producer_ids.waiting.is_empty() && !self.producer_ids.asked && self.is_serving() {
            self.producer_ids.asked = true;
            self.want_producer_ids(out);
            self.arm_resend();
        }
    }

    /// Asks the controller for a block; again, as long as none has come.
    pub(super) fn want_producer_ids(&mut self, out: &mut Outputs) {
        if let Some(broker_epoch) = self.membership.broker_epoch {
            self.send_to_controller(PeerBody::WantProducerIds { broker_epoch }, out);
        }
    }

    /// A block is committed. Only the run that asked uses it, and only one block at a time: another one is left unused.
    pub(super) fn on_producer_ids(
        &mut self,
        node: NodeId,
        broker_epoch: BrokerEpoch,
        (first, next): (ProducerId, ProducerId),
        out: &mut Outputs,
    ) {
        let is_own = node == self.config.node_id && self.membership.broker_epoch == Some(broker_epoch);
        if is_own && self.producer_ids.asked {
            self.producer_ids.asked = false;
            self.producer_ids.next = first;
            self.producer_ids.end = next;
            self.give_producer_ids(out);
        }
    }
}

/// The answer to a request that the controller would have decided; `None` for any other.
pub(super) fn refuse_request(request: &Request, code: ErrorCode, why: &'static str) -> Option<Response> {
    if let Request::CreateTopics(request) = request {
        Some(refuse_creation(request, code, why))
    } else if let Request::DeleteTopics(request) = request {
        Some(refuse_deletion(request, code, why))
    } else if let Request::IncrementalAlterConfigs(request) = request {
        Some(refuse_incremental(request, code, why))
    } else if let Request::AlterConfigs(request) = request {
        Some(refuse_alteration(request, code, why))
    } else if let Request::DescribeQuorum(_) = request {
        Some(refuse_description(code, why))
    } else {
        None
    }
}

/// An answer that was to be sent once its records are committed, and will not be. Refusals rest on what is not committed as well:
/// that a topic exists already may be the work of a request that comes to nothing (SAFETY C1).
pub(super) fn refused(response: Response, code: ErrorCode) -> Response {
    let why = Some(Str::from_static("The controller changed; the request may have been carried out."));
    let refuse_altered = |resources: &mut [AlterConfigsResourceResponse]| {
        for resource in resources {
            resource.error_code = code.code();
            resource.error_message.clone_from(&why);
        }
    };
    match response {
        Response::CreateTopics(mut response) => {
            for topic in &mut response.topics {
                topic.error_code = code.code();
                topic.error_message.clone_from(&why);
            }
            Response::CreateTopics(response)
        }
        Response::DeleteTopics(mut response) => {
            for topic in &mut response.responses {
                topic.error_code = code.code();
                topic.error_message.clone_from(&why);
            }
            Response::DeleteTopics(response)
        }
        Response::IncrementalAlterConfigs(mut response) => {
            refuse_altered(&mut response.responses);
            Response::IncrementalAlterConfigs(response)
        }
        Response::AlterConfigs(mut response) => {
            refuse_altered(&mut response.responses);
            Response::AlterConfigs(response)
        }
        Response::Produce(_)
        | Response::Fetch(_)
        | Response::ListOffsets(_)
        | Response::Metadata(_)
        | Response::ApiVersions(_)
        | Response::InitProducerId(_)
        | Response::FindCoordinator(_)
        | Response::DescribeCluster(_)
        | Response::DescribeTopicPartitions(_)
        | Response::DescribeAcls(_)
        | Response::DescribeLogDirs(_)
        | Response::DescribeClientQuotas(_)
        | Response::DescribeUserScramCredentials(_)
        | Response::DescribeQuorum(_)
        | Response::UpdateFeatures(_)
        | Response::DescribeProducers(_)
        | Response::DeleteRecords(_)
        | Response::DescribeConfigs(_)
        | Response::ListConfigResources(_)
        | Response::OffsetForLeaderEpoch(_) => response,
    }
}

fn refuse_creation(request: &CreateTopicsRequest, code: ErrorCode, why: &'static str) -> Response {
    let topics = request.topics.iter().map(|topic| CreatableTopicResult {
        name: topic.name.clone(),
        error_code: code.code(),
        error_message: Some(Str::from_static(why)),
        ..CreatableTopicResult::default()
    });
    Response::CreateTopics(CreateTopicsResponse { throttle_time_ms: 0, topics: topics.collect() })
}

fn refuse_deletion(request: &DeleteTopicsRequest, code: ErrorCode, why: &'static str) -> Response {
    let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::ZERO));
    let by_state = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
    let responses = by_name.chain(by_state).map(|(name, topic_id)| DeletableTopicResult {
        name,
        topic_id,
        error_code: code.code(),
        error_message: Some(Str::from_static(why)),
    });
    Response::DeleteTopics(DeleteTopicsResponse { throttle_time_ms: 0, responses: responses.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_seen_before_its_commit_is_told_when_the_controller_changes() {
        let decided = [ErrorCode::None, ErrorCode::TopicAlreadyExists, ErrorCode::UnknownTopicOrPartition];
        let late = ErrorCode::RequestTimedOut;
        let created = decided
            .map(|code| CreatableTopicResult { error_code: code.code(), ..CreatableTopicResult::default() });
        let created = CreateTopicsResponse { throttle_time_ms: 0, topics: created.into() };
        let Response::CreateTopics(created) = refused(Response::CreateTopics(created), late) else {
            panic!("it stays what it is");
        };
        assert!(created.topics.iter().all(|topic| topic.error_code == late.code()));
        let deleted = decided
            .map(|code| DeletableTopicResult { error_code: code.code(), ..DeletableTopicResult::default() });
        let deleted = DeleteTopicsResponse { throttle_time_ms: 0, responses: deleted.into() };
        let Response::DeleteTopics(deleted) = refused(Response::DeleteTopics(deleted), late) else {
            panic!("it stays what it is");
        };
        assert!(deleted.responses.iter().all(|topic| topic.error_code == late.code()));
    }
}
