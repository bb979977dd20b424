//! What is said of topics and brokers: Metadata, DescribeCluster, ApiVersions.

use super::{Broker, features};
use crate::cluster::decide::check_topic_name;
use crate::cluster::image::TopicImage;
use crate::config::AdvertisedListener;
use crate::door::{ClientBody, ClientRequest};
use crate::errors::ErrorCode;
use crate::group::is_internal;
use crate::ids::{ConnId, NodeId, RequestNumber, Uuid};
use crate::output::Outputs;
use crate::wire::api_versions::ApiVersion;
use crate::wire::create_topics::CreatableTopic;
use crate::wire::describe_cluster::DescribeClusterBroker;
use crate::wire::metadata::{
    MetadataRequestTopic, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::wire::{
    APIS, ApiKey, ApiVersionsResponse, CreateTopicsRequest, DescribeClusterRequest, DescribeClusterResponse,
    MetadataRequest, MetadataResponse, Response, Str,
};
use alloc::string::ToString;
use alloc::vec::Vec;

/// A topic that nobody has, asked for by its id, has no name in an answer of Metadata from this version on.
const NO_NAME_FROM: i16 = 12;
/// ApiVersions tells features from this version on.
const FEATURES_FROM: i16 = 3;

/// The name that a topic is asked for by; `None`: it is asked for by its id. Kafka's consumer sends an empty name beside an id.
fn named(topic: &MetadataRequestTopic) -> Option<&Str> {
    topic.name.as_ref().filter(|name| topic.topic_id == Uuid::ZERO || !name.is_empty())
}

impl Broker {
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
            self.describe_for(conn, number, &request, out);
            return;
        }
        self.create_first(conn, number, create, request, out);
    }

    /// Has topics created, here or by the controller, and answers the request with what there is then.
    pub(super) fn create_first(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        topics: Vec<CreatableTopic>,
        request: ClientRequest,
        out: &mut Outputs,
    ) {
        let create = CreateTopicsRequest { topics, timeout_ms: 0, validate_only: false };
        if self.controller.is_some() {
            self.create_then_describe(conn, number, &create, request, out);
        } else {
            self.forward_creation(conn, number, create, request, out);
        }
    }

    /// Answers a request that may have created topics, with what there is.
    pub(super) fn describe_for(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &ClientRequest,
        out: &mut Outputs,
    ) {
        let version = request.api_version;
        if let ClientBody::Metadata(metadata) = &request.body {
            let response = self.describe_topics(conn, version, metadata);
            self.reply(conn, number, response, out);
        } else if let ClientBody::FindCoordinator(find) = &request.body {
            self.tell_coordinator(conn, number, version, find, out);
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
        let named = request.topics.iter().flatten().filter_map(named).cloned();
        named
            .filter(|name| self.committed.topic_named(name).is_none())
            .filter_map(|name| {
                if is_internal(&name) {
                    return self.offsets_topic();
                }
                Some(CreatableTopic {
                    name,
                    num_partitions: -1,
                    replication_factor: -1,
                    ..CreatableTopic::default()
                })
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
                topics.iter().map(|topic| self.describe_named(named(topic), topic.topic_id)).collect()
            }
        };
        let mut topics: Vec<MetadataResponseTopic> = topics;
        for topic in topics.iter_mut().filter(|_| version < NO_NAME_FROM) {
            topic.name.get_or_insert_default();
        }
        let alive = self.committed.brokers().iter().filter(|(_, broker)| !broker.fenced);
        let brokers = alive.map(|(&node_id, broker)| {
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
            cluster_id: self.cluster_id().map(|id| id.to_string().into()),
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
        let invalid = name.is_some_and(|name| check_topic_name(name).is_err());
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
            let state = &partition.state;
            let nobody_has_it = state.isr.is_empty() && state.elr.is_empty() && state.last_known.is_none();
            let code = match state.leader {
                Some(_) => ErrorCode::None,
                // Its records were lost (SAFETY J5): waiting for a leader is in vain.
                None if nobody_has_it => ErrorCode::KafkaStorageError,
                None => ErrorCode::LeaderNotAvailable,
            };
            MetadataResponsePartition {
                error_code: code.code(),
                partition_index: index,
                leader_id: state.leader.map_or(-1, |node| node.0),
                leader_epoch: state.leader_epoch.0,
                isr_nodes: NodeId::numbers(&state.isr),
                replica_nodes: NodeId::numbers(partition.replicas()),
                offline_replicas: self.offline_replicas(partition),
            }
        });
        MetadataResponseTopic {
            error_code: ErrorCode::None.code(),
            name: Some(topic.name.as_str().into()),
            topic_id,
            is_internal: is_internal(&topic.name),
            partitions: partitions.collect(),
            ..MetadataResponseTopic::default()
        }
    }

    /// The cluster, once the node belongs to one.
    #[must_use]
    pub fn cluster_id(&self) -> Option<Uuid> {
        self.quorum.cluster.as_ref().map(|cluster| cluster.id)
    }

    /// Where a broker listens, for a client that came through the listener of `conn`.
    pub(super) fn listener_of(
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
        let wanted = self
            .committed
            .brokers()
            .iter()
            .filter(|(_, broker)| request.include_fenced_brokers || !broker.fenced);
        let brokers = wanted.map(|(&node_id, broker)| {
            let listener = self.listener_of(conn, node_id, &broker.listeners);
            DescribeClusterBroker {
                broker_id: node_id.0,
                host: listener.host.into(),
                port: i32::from(listener.port),
                rack: broker.rack.as_deref().map(Str::from),
                is_fenced: broker.fenced,
            }
        });
        let response = DescribeClusterResponse {
            endpoint_type: BROKERS,
            cluster_id: self.cluster_id().unwrap_or_default().to_string().into(),
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
        let mut response = ApiVersionsResponse {
            error_code: error.code(),
            api_keys: api_keys.collect(),
            ..ApiVersionsResponse::default()
        };
        if version >= FEATURES_FROM && error == ErrorCode::None {
            // No feature is advertised before it works (SAFETY K3); the epoch is the metadata's offset.
            response.finalized_features_epoch = self.committed.end().0;
            response.supported_features = features::supported();
            response.finalized_features = features::finalized();
        }
        self.reply(conn, number, Response::ApiVersions(response), out);
    }
}
