//! Topics, brokers, producer ids: what the metadata says, and what clients ask to change in it.

use super::{Broker, Drop, Pending};
use crate::cluster::decide::{
    self, PRODUCER_ID_BLOCK, decide_create_topics, decide_delete_topics, decide_producer_ids,
};
use crate::cluster::image::TopicImage;
use crate::cluster::records::MetadataRecord;
use crate::config::AdvertisedListener;
use crate::door::{ClientBody, ClientRequest};
use crate::errors::ErrorCode;
use crate::ids::{
    ConnId, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, RequestNumber, TopicPartition, Uuid,
};
use crate::journal::Entry;
use crate::output::Outputs;
use crate::replica::Replica;
use crate::wire::api_versions::ApiVersion;
use crate::wire::create_topics::{CreatableTopic, CreatableTopicResult};
use crate::wire::delete_topics::DeletableTopicResult;
use crate::wire::describe_cluster::DescribeClusterBroker;
use crate::wire::find_coordinator::Coordinator;
use crate::wire::metadata::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use crate::wire::{
    APIS, ApiKey, ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, DescribeClusterRequest, DescribeClusterResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest,
    MetadataResponse, Response, Str,
};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

impl Broker {
    /// Appends records to the metadata log and shows them in the working image (SAFETY C1: replay at append). Gives back
    /// the offset that must be committed before anything that rests on them leaves.
    pub(super) fn append_metadata(&mut self, records: Vec<MetadataRecord>, out: &mut Outputs) -> Offset {
        for record in records {
            let offset = self.working.end();
            self.working.replay(offset, &record);
            let entry = Entry::Metadata { offset, epoch: self.working.epoch(), record: record.encode() };
            let lsn = self.journal(entry, out);
            self.journal.metadata.push_back((lsn, offset, record));
        }
        self.working.end()
    }

    /// A metadata record is on disk: with a single voter that commits it.
    pub(super) fn commit_metadata(&mut self, offset: Offset, record: &MetadataRecord, out: &mut Outputs) {
        let removed_partitions = match record {
            MetadataRecord::RemoveTopic { topic_id } => {
                self.committed.topic(*topic_id).map_or(0, |topic| topic.partitions.len())
            }
            MetadataRecord::LeaderChange { .. }
            | MetadataRecord::RegisterBroker { .. }
            | MetadataRecord::Topic { .. }
            | MetadataRecord::Partition { .. }
            | MetadataRecord::ProducerIds { .. } => 0,
        };
        self.committed.replay(offset, record);
        match record {
            MetadataRecord::LeaderChange { .. } | MetadataRecord::Topic { .. } => {}
            MetadataRecord::RegisterBroker { node_id, .. } => {
                if *node_id == self.config.node_id {
                    self.on_registered(out);
                }
            }
            MetadataRecord::Partition { topic_id, partition, leader, leader_epoch, .. } => {
                let partition = TopicPartition { topic_id: *topic_id, partition: *partition };
                self.on_partition_created(partition, *leader, *leader_epoch, out);
            }
            MetadataRecord::RemoveTopic { topic_id } => {
                self.on_topic_removed(*topic_id, removed_partitions, out)
            }
            MetadataRecord::ProducerIds { next } => self.on_producer_ids(*next, out),
        }
        self.answer_committed(out);
    }

    fn on_partition_created(
        &mut self,
        partition: TopicPartition,
        leader: NodeId,
        epoch: LeaderEpoch,
        out: &mut Outputs,
    ) {
        let old = self.replicas.insert(partition, Replica::new(Default::default()));
        assert!(old.is_none(), "a partition is created once");
        if leader == self.config.node_id {
            self.lead(partition, epoch, out);
        }
    }

    fn on_topic_removed(&mut self, topic_id: Uuid, partitions: usize, out: &mut Outputs) {
        let partitions = i32::try_from(partitions).expect("partitions are numbered by i32");
        for index in 0..partitions {
            let partition = TopicPartition { topic_id, partition: PartitionIndex(index) };
            if let Some(mut replica) = self.replicas.remove(&partition) {
                for waiter in replica.take_waiters() {
                    self.on_part_failed(waiter, ErrorCode::UnknownTopicOrPartition, out);
                }
            }
            self.with_producers.remove(&partition);
            self.moved.push(partition);
        }
        self.drops.insert(topic_id, Drop { partitions, op: None });
        self.drop_files(topic_id, out);
    }

    /// Answers everything whose metadata is committed.
    fn answer_committed(&mut self, out: &mut Outputs) {
        while let Some((offset, _)) = self.undecided.front()
            && *offset <= self.committed.end()
        {
            let (_, pending) = self.undecided.pop_front().expect("the front is there");
            match pending {
                Pending::Ready { conn, number, response } => self.reply(conn, number, *response, out),
                Pending::Metadata { conn, number, request } => {
                    if let ClientBody::Metadata(metadata) = &request.body {
                        let response = self.describe_topics(conn, request.api_version, metadata);
                        self.reply(conn, number, response, out);
                    }
                }
            }
        }
    }

    /// Sends a response once the metadata is committed up to `offset`: at once if it is.
    fn reply_at(
        &mut self,
        offset: Offset,
        conn: ConnId,
        number: RequestNumber,
        response: Response,
        out: &mut Outputs,
    ) {
        if offset <= self.committed.end() {
            self.reply(conn, number, response, out);
        } else {
            self.undecided.push_back((offset, Pending::Ready { conn, number, response: Box::new(response) }));
        }
    }

    /// Why nothing can be written to the metadata log, if so.
    fn metadata_refusal(&self) -> Option<(ErrorCode, &'static str)> {
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
        request: &CreateTopicsRequest,
        out: &mut Outputs,
    ) {
        let full = self.disk_is_full.then_some((
            ErrorCode::KafkaStorageError,
            "The disk of this broker is nearly full: free some room or add a disk.",
        ));
        if let Some((code, why)) = self.metadata_refusal().or(full) {
            let topics = request.topics.iter().map(|topic| CreatableTopicResult {
                name: topic.name.clone(),
                error_code: code.code(),
                error_message: Some(Str::from_static(why)),
                ..CreatableTopicResult::default()
            });
            let response = CreateTopicsResponse { throttle_time_ms: 0, topics: topics.collect() };
            self.reply(conn, number, Response::CreateTopics(response), out);
            return;
        }
        let random = &mut self.random;
        let decision = decide_create_topics(&self.working, &self.config, request, || random.uuid());
        // Also a refusal rests on what it saw: it leaves when that is committed (SAFETY C1).
        let offset = self.append_metadata(decision.records, out);
        self.reply_at(offset, conn, number, Response::CreateTopics(decision.response), out);
    }

    pub(super) fn on_delete_topics(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &DeleteTopicsRequest,
        out: &mut Outputs,
    ) {
        if let Some((code, why)) = self.metadata_refusal() {
            let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::ZERO));
            let by_state = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
            let responses = by_name.chain(by_state).map(|(name, topic_id)| DeletableTopicResult {
                name,
                topic_id,
                error_code: code.code(),
                error_message: Some(Str::from_static(why)),
            });
            let response = DeleteTopicsResponse { throttle_time_ms: 0, responses: responses.collect() };
            self.reply(conn, number, Response::DeleteTopics(response), out);
            return;
        }
        let decision = decide_delete_topics(&self.working, request);
        let offset = self.append_metadata(decision.records, out);
        self.reply_at(offset, conn, number, Response::DeleteTopics(decision.response), out);
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
            let record = decide_producer_ids(&self.working);
            self.append_metadata(alloc::vec![record], out);
        }
    }

    fn on_producer_ids(&mut self, next: ProducerId, out: &mut Outputs) {
        if self.producer_ids.asked {
            self.producer_ids.asked = false;
            self.producer_ids.end = next;
            self.producer_ids.next = ProducerId(next.0 - PRODUCER_ID_BLOCK);
            self.give_producer_ids(out);
        }
    }

    pub(super) fn on_metadata(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: ClientRequest,
        out: &mut Outputs,
    ) {
        let ClientBody::Metadata(metadata) = &request.body else {
            unreachable!("the caller looked at the body")
        };
        let create = self.topics_to_create(metadata);
        if create.is_empty() {
            let response = self.describe_topics(conn, request.api_version, metadata);
            self.reply(conn, number, response, out);
            return;
        }
        let create = CreateTopicsRequest { topics: create, timeout_ms: 0, validate_only: false };
        let random = &mut self.random;
        let decision = decide_create_topics(&self.working, &self.config, &create, || random.uuid());
        let offset = self.append_metadata(decision.records, out);
        if offset <= self.committed.end() {
            // Nothing could be created: describing says why.
            let response = self.describe_topics(conn, request.api_version, metadata);
            self.reply(conn, number, response, out);
        } else {
            let pending = Pending::Metadata { conn, number, request: Box::new(request) };
            self.undecided.push_back((offset, pending));
        }
    }

    /// Topics that a Metadata request names, that do not exist, and that it allows to create.
    fn topics_to_create(&self, request: &MetadataRequest) -> Vec<CreatableTopic> {
        let allowed = self.config.auto_create_topics
            && request.allow_auto_topic_creation
            && self.metadata_refusal().is_none()
            && !self.disk_is_full;
        if !allowed {
            return Vec::new();
        }
        let named = request.topics.iter().flatten().filter_map(|topic| topic.name.clone());
        named
            .filter(|name| self.working.topic_named(name).is_none())
            .map(|name| CreatableTopic {
                name,
                num_partitions: -1,
                replication_factor: -1,
                ..CreatableTopic::default()
            })
            .collect()
    }

    fn describe_topics(&self, conn: ConnId, version: i16, request: &MetadataRequest) -> Response {
        let topics = match &request.topics {
            None => {
                self.committed.topics().iter().map(|(&id, topic)| self.describe_topic(id, topic)).collect()
            }
            // Version 0 has no null: there an empty list means all (KIP-4).
            Some(topics) if topics.is_empty() && version == 0 => {
                self.committed.topics().iter().map(|(&id, topic)| self.describe_topic(id, topic)).collect()
            }
            Some(topics) => {
                topics.iter().map(|topic| self.describe_named(topic.name.as_ref(), topic.topic_id)).collect()
            }
        };
        let brokers = self.committed.brokers().iter().map(|(&node_id, broker)| {
            let listener = self.listener_of(conn, node_id, &broker.listeners);
            MetadataResponseBroker {
                node_id: node_id.0,
                host: listener.host.into(),
                port: i32::from(listener.port),
                rack: broker.rack.as_deref().map(Str::from),
            }
        });
        Response::Metadata(MetadataResponse {
            brokers: brokers.collect(),
            cluster_id: Some(self.config.cluster_id.to_string().into()),
            controller_id: self.config.node_id.0,
            topics,
            ..MetadataResponse::default()
        })
    }

    fn describe_named(&self, name: Option<&Str>, topic_id: Uuid) -> MetadataResponseTopic {
        let (found, unknown) = match name {
            Some(name) => (self.committed.topic_named(name), ErrorCode::UnknownTopicOrPartition),
            None => {
                (self.committed.topic(topic_id).map(|topic| (topic_id, topic)), ErrorCode::UnknownTopicId)
            }
        };
        if let Some((topic_id, topic)) = found {
            return self.describe_topic(topic_id, topic);
        }
        let invalid = name.is_some_and(|name| decide::check_topic_name(name).is_err());
        let code = if invalid { ErrorCode::InvalidTopicException } else { unknown };
        MetadataResponseTopic {
            error_code: code.code(),
            name: name.cloned(),
            topic_id,
            ..MetadataResponseTopic::default()
        }
    }

    fn describe_topic(&self, topic_id: Uuid, topic: &TopicImage) -> MetadataResponseTopic {
        let partitions = (0..).zip(&topic.partitions).map(|(index, partition)| {
            let replicas: Vec<i32> = partition.replicas.iter().map(|node| node.0).collect();
            MetadataResponsePartition {
                error_code: ErrorCode::None.code(),
                partition_index: index,
                leader_id: partition.leader.0,
                leader_epoch: partition.leader_epoch.0,
                isr_nodes: replicas.clone(),
                replica_nodes: replicas,
                offline_replicas: Vec::new(),
            }
        });
        MetadataResponseTopic {
            error_code: ErrorCode::None.code(),
            name: Some(topic.name.as_str().into()),
            topic_id,
            is_internal: false,
            partitions: partitions.collect(),
            ..MetadataResponseTopic::default()
        }
    }

    /// Where a broker listens, for a client that came through the listener of `conn`.
    fn listener_of(
        &self,
        conn: ConnId,
        node: NodeId,
        listeners: &[(alloc::string::String, u16)],
    ) -> AdvertisedListener {
        let index = self.conns.get(&conn).map_or(0, |conn| usize::from(conn.listener.0));
        // Of itself a node knows the latest: a port that the system chose is not in an older registration.
        if node == self.config.node_id
            && let Some(own) = self.config.listeners.get(index).or_else(|| self.config.listeners.first())
        {
            return own.clone();
        }
        let found = listeners.get(index).or_else(|| listeners.first()).cloned();
        let (host, port) = found.unwrap_or_default();
        AdvertisedListener { host, port }
    }

    /// Nobody keeps groups or transactional ids here. Clients that read whole lists of keys (version 4) take an unknown code
    /// for final and show the message. Older ones are librdkafka, which asks as soon as a `group.id` is set, although its
    /// consumer may be told its partitions: to them the coordinator is not there yet, which is no error.
    pub(super) fn on_find_coordinator(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        version: i16,
        request: FindCoordinatorRequest,
        out: &mut Outputs,
    ) {
        const LISTS_FROM: i16 = 4;
        const QUIET_UP_TO: i16 = 2;
        let code = if version <= QUIET_UP_TO {
            ErrorCode::CoordinatorNotAvailable
        } else {
            ErrorCode::UnsupportedVersion
        };
        let message = Some(Str::from_static(
            "Consumer groups and transactions are not served: assign partitions to consumers.",
        ));
        let response = if version >= LISTS_FROM {
            let coordinators = request.coordinator_keys.into_iter().map(|key| Coordinator {
                key: key.detached(),
                node_id: -1,
                host: Str::default(),
                port: -1,
                error_code: code.code(),
                error_message: message.clone(),
            });
            FindCoordinatorResponse {
                coordinators: coordinators.collect(),
                ..FindCoordinatorResponse::default()
            }
        } else {
            FindCoordinatorResponse {
                error_code: code.code(),
                error_message: message,
                node_id: -1,
                port: -1,
                ..FindCoordinatorResponse::default()
            }
        };
        self.reply(conn, number, Response::FindCoordinator(response), out);
    }

    pub(super) fn on_describe_cluster(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &DescribeClusterRequest,
        out: &mut Outputs,
    ) {
        /// The request asks for brokers.
        const BROKERS: i8 = 1;
        if request.endpoint_type != BROKERS {
            let why = "Only brokers can be described through this listener.";
            let code = if request.endpoint_type == 2 {
                ErrorCode::MismatchedEndpointType
            } else {
                ErrorCode::UnsupportedEndpointType
            };
            let response = DescribeClusterResponse {
                error_code: code.code(),
                error_message: Some(Str::from_static(why)),
                endpoint_type: BROKERS,
                ..DescribeClusterResponse::default()
            };
            self.reply(conn, number, Response::DescribeCluster(response), out);
            return;
        }
        let brokers = self.committed.brokers().iter().map(|(&node_id, broker)| {
            let listener = self.listener_of(conn, node_id, &broker.listeners);
            DescribeClusterBroker {
                broker_id: node_id.0,
                host: listener.host.into(),
                port: i32::from(listener.port),
                rack: broker.rack.as_deref().map(Str::from),
                is_fenced: false,
            }
        });
        let response = DescribeClusterResponse {
            endpoint_type: BROKERS,
            cluster_id: format!("{}", self.config.cluster_id).into(),
            controller_id: self.config.node_id.0,
            brokers: brokers.collect(),
            ..DescribeClusterResponse::default()
        };
        self.reply(conn, number, Response::DescribeCluster(response), out);
    }

    pub(super) fn on_api_versions(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        version: i16,
        error: ErrorCode,
        out: &mut Outputs,
    ) {
        let described = |api: &&crate::wire::ApiSupport| {
            // A client whose version we do not know is told of this API alone (KIP-511).
            error == ErrorCode::None || api.api_key == ApiKey::ApiVersions
        };
        let api_keys = APIS.iter().filter(described).map(|api| ApiVersion {
            api_key: api.api_key.as_i16(),
            min_version: api.advertised.min,
            max_version: api.advertised.max,
        });
        let response = ApiVersionsResponse {
            error_code: error.code(),
            api_keys: api_keys.collect(),
            // No feature is advertised before it works (SAFETY K3); the epoch is the metadata's offset.
            finalized_features_epoch: if version >= 3 { self.committed.end().0 } else { -1 },
            ..ApiVersionsResponse::default()
        };
        self.reply(conn, number, Response::ApiVersions(response), out);
    }
}
