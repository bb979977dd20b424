//! The door: from a frame to a request that the core may decide on. Runs on the connection's task, so that decoding and
//! checksums cost the core nothing. What passes is well formed: versions, text and batches were checked here.

use crate::errors::ErrorCode;
use crate::ids::Uuid;
use crate::records::{BatchError, Compression, ProducedBatch};
use crate::wire::{
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, ApiKey, ConsumerGroupDescribeRequest,
    ConsumerGroupHeartbeatRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeAclsRequest, DescribeClientQuotasRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeQuorumRequest, DescribeTopicPartitionsRequest,
    DescribeUserScramCredentialsRequest, ElectLeadersRequest, FetchRequest, FindCoordinatorRequest,
    HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest,
    LeaveGroupRequest, ListConfigResourcesRequest, ListGroupsRequest, ListOffsetsRequest,
    ListPartitionReassignmentsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest, Request, RequestBody, Str,
    SyncGroupRequest, UpdateFeaturesRequest, WireError, decode_request_within,
};
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// A request as the core takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRequest {
    /// The API's version, which decides details of the answer.
    pub api_version: i16,
    /// What the client calls itself.
    pub client_id: Option<Str>,
    /// What it asks for.
    pub body: ClientBody,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientBody {
    /// Append record batches.
    Produce(Produce),
    /// Read record batches.
    Fetch(FetchRequest),
    /// Find offsets.
    ListOffsets(ListOffsetsRequest),
    /// Describe topics and brokers.
    Metadata(MetadataRequest),
    /// Say which APIs there are.
    ApiVersions,
    /// The same, in a version that is not served: the answer is of version 0 and says so (KIP-511).
    UnknownApiVersions,
    /// What the controller decides or knows.
    Controller(ControllerRequest),
    /// What a group's coordinator decides or knows.
    Group(GroupRequest),
    /// Move the start of logs.
    DeleteRecords(DeleteRecordsRequest),
    /// Assign a producer id.
    InitProducerId(InitProducerIdRequest),
    /// Which broker keeps a group or a transactional id.
    FindCoordinator(FindCoordinatorRequest),
    /// Describe settings.
    DescribeConfigs(DescribeConfigsRequest),
    /// List what has settings.
    ListConfigResources(ListConfigResourcesRequest),
    /// Describe the cluster.
    DescribeCluster(DescribeClusterRequest),
    /// Describe who may do what.
    DescribeAcls(DescribeAclsRequest),
    /// Describe the sizes of logs.
    DescribeLogDirs(DescribeLogDirsRequest),
    /// Describe quotas.
    DescribeClientQuotas(DescribeClientQuotasRequest),
    /// Describe SCRAM credentials.
    DescribeUserScramCredentials(DescribeUserScramCredentialsRequest),
    /// Move the levels of features.
    UpdateFeatures(UpdateFeaturesRequest),
    /// Describe the producers of partitions.
    DescribeProducers(DescribeProducersRequest),
    /// Describe partitions, a page at a time.
    DescribeTopicPartitions(DescribeTopicPartitionsRequest),
    /// Find the end of a leader epoch.
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
}

/// Writes an enum over requests that go the same way, and its way to and from single requests.
macro_rules! requests {
    (
        $(#[$whole:meta])*
        $body:ident($requests:ident)
        $($(#[$doc:meta])* $api:ident($request:ident),)+
    ) => {
        $(#[$whole])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $requests {
            $($(#[$doc])* $api($request),)+
        }

        impl $requests {
            /// The API that it belongs to.
            #[must_use]
            pub const fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$api(_) => ApiKey::$api,)+
                }
            }
        }

        impl From<$requests> for Request {
            fn from(request: $requests) -> Self {
                match request {
                    $($requests::$api(request) => request.into(),)+
                }
            }
        }

        $(
            impl From<$request> for ClientBody {
                fn from(request: $request) -> Self {
                    Self::$body($requests::$api(request))
                }
            }
        )+
    };
}

requests! {
    /// What only the controller decides or knows: brokers pass it on (SAFETY K2).
    Controller(ControllerRequest)
    /// Create topics.
    CreateTopics(CreateTopicsRequest),
    /// Delete topics.
    DeleteTopics(DeleteTopicsRequest),
    /// Give topics more partitions.
    CreatePartitions(CreatePartitionsRequest),
    /// Elect leaders.
    ElectLeaders(ElectLeadersRequest),
    /// Replace all settings of something.
    AlterConfigs(AlterConfigsRequest),
    /// Change single settings of something.
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    /// Move partitions to other brokers.
    AlterPartitionReassignments(AlterPartitionReassignmentsRequest),
    /// List the partitions that move.
    ListPartitionReassignments(ListPartitionReassignmentsRequest),
    /// Say who votes, and how far everybody is.
    DescribeQuorum(DescribeQuorumRequest),
}

impl ControllerRequest {
    /// It needs room on disks.
    #[must_use]
    pub fn makes_partitions(&self) -> bool {
        matches!(self, Self::CreateTopics(_) | Self::CreatePartitions(_))
    }
}

requests! {
    /// What a group's coordinator decides or knows.
    Group(GroupRequest)
    /// Enter a group or its next generation.
    JoinGroup(JoinGroupRequest),
    /// Hand in and fetch assignments.
    SyncGroup(SyncGroupRequest),
    /// Stay a member.
    Heartbeat(HeartbeatRequest),
    /// Take members out.
    LeaveGroup(LeaveGroupRequest),
    /// Commit offsets.
    OffsetCommit(OffsetCommitRequest),
    /// Find committed offsets.
    OffsetFetch(OffsetFetchRequest),
    /// List groups.
    ListGroups(ListGroupsRequest),
    /// Describe groups and their members.
    DescribeGroups(DescribeGroupsRequest),
    /// Delete groups.
    DeleteGroups(DeleteGroupsRequest),
    /// Delete committed offsets.
    OffsetDelete(OffsetDeleteRequest),
    /// Be a member of a consumer group.
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest),
    /// Describe consumer groups and their members.
    ConsumerGroupDescribe(ConsumerGroupDescribeRequest),
}

/// A Produce request whose batches were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produce {
    /// The producer's transactional id; `None` without transactions.
    pub transactional_id: Option<Str>,
    /// Who must have the records before the answer.
    pub acks: Acks,
    /// How long to wait for them, in ms.
    pub timeout_ms: u32,
    /// The batches by topic.
    pub topics: Vec<ProduceTopic>,
}

/// The `acks` of a Produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// 0: no answer at all.
    None,
    /// 1: the leader.
    Leader,
    /// -1: every in-sync replica.
    All,
    /// Anything else: refused with INVALID_REQUIRED_ACKS.
    Invalid,
}

/// The batches for one topic, named by name (up to version 12) or by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceTopic {
    /// The name; empty from version 13 on.
    pub name: Str,
    /// The id; zero up to version 12.
    pub topic_id: Uuid,
    /// The batches by partition.
    pub partitions: Vec<ProducePartition>,
}

/// The batch for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartition {
    /// The partition's index as the client wrote it.
    pub index: i32,
    /// The batch, or why it is refused.
    pub batch: Result<ProducedBatch, Refused>,
}

/// Why the door refuses a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The batch itself is wrong.
    Batch(BatchError),
    /// zstd needs Produce 7 (KIP-110).
    ZstdTooEarly,
    /// The record at this place in the batch has no key, and its topic is compacted.
    WithoutKey(i32),
    /// Its topic is compacted, and what is compressed in it is not what its codec writes.
    Unreadable,
    /// Its topic is compacted, and it is larger when decompressed than anybody looks into.
    TooLargeInside,
}

impl Refused {
    /// Kafka's code for it.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Batch(error) => error.code(),
            Self::ZstdTooEarly => ErrorCode::UnsupportedCompressionType,
            Self::WithoutKey(_) | Self::Unreadable => ErrorCode::InvalidRecord,
            // Clients send what is in it in several batches then.
            Self::TooLargeInside => ErrorCode::MessageTooLarge,
        }
    }

    /// The record that is the reason, by its place in the batch.
    #[must_use]
    pub fn record(self) -> Option<i32> {
        match self {
            Self::WithoutKey(record) => Some(record),
            Self::Batch(_) | Self::ZstdTooEarly | Self::Unreadable | Self::TooLargeInside => None,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(error) => error.fmt(f),
            Self::ZstdTooEarly => f.write_str("zstd needs version 7 of Produce"),
            Self::WithoutKey(_) => f.write_str("a compacted topic takes no record without a key"),
            Self::Unreadable => f.write_str("what is compressed in the batch cannot be read"),
            Self::TooLargeInside => f.write_str(
                "the batch takes too much when it is decompressed, and a compacted topic's batches are looked into",
            ),
        }
    }
}

/// A request that passed, and what its answer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The API.
    pub api_key: ApiKey,
    /// The version that the answer is written in.
    pub reply_version: i16,
    /// Comes back in the answer.
    pub correlation_id: i32,
    /// Bytes of memory that the request takes besides its frame.
    pub tables_bytes: usize,
    /// The request for the core.
    pub request: ClientRequest,
}

/// Why a connection is closed instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoorError {
    /// The frame is not a request.
    Wire(WireError),
    /// An API that is not served, or a version of one that is not: Kafka closes the connection.
    NotServed {
        /// The API's key as the client wrote it.
        api_key: i16,
        /// The version.
        api_version: i16,
    },
}

impl fmt::Display for DoorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => error.fmt(f),
            Self::NotServed { api_key, api_version } => {
                write!(f, "API {api_key} is not served in version {api_version}")
            }
        }
    }
}

impl core::error::Error for DoorError {}

/// Reads a frame, which is without its length prefix, and checks all that can be checked without the broker's state.
///
/// # Errors
/// [`DoorError`]: the connection must be closed.
pub fn admit(frame: Bytes) -> Result<Admitted, DoorError> {
    admit_within(frame, usize::MAX)
}

/// As [`admit`], of a request that takes at most so many bytes of memory besides its frame.
///
/// # Errors
/// [`DoorError`]: the connection must be closed.
pub fn admit_within(frame: Bytes, tables_bytes_max: usize) -> Result<Admitted, DoorError> {
    let decoded = decode_request_within(frame, tables_bytes_max).map_err(DoorError::Wire)?;
    let tables_bytes = if let RequestBody::Known(Request::Produce(request)) = &decoded.body {
        checked_bytes(request)
    } else {
        decoded.tables_bytes
    };
    if tables_bytes > tables_bytes_max {
        return Err(DoorError::Wire(WireError::Memory { place: "ProduceRequest.topic_data", at: 0 }));
    }
    let header = decoded.header;
    let not_served = DoorError::NotServed { api_key: header.api_key, api_version: header.api_version };
    let (api_key, reply_version, body) = match decoded.body {
        RequestBody::Known(request) => {
            (request.api_key(), header.api_version, client_body(request, header.api_version))
        }
        RequestBody::UnknownApiVersions => (ApiKey::ApiVersions, 0, ClientBody::UnknownApiVersions),
        RequestBody::UnknownVersion(_) | RequestBody::UnknownApi => return Err(not_served),
    };
    Ok(Admitted {
        api_key,
        tables_bytes,
        reply_version,
        correlation_id: header.correlation_id,
        request: ClientRequest { api_version: reply_version, client_id: header.client_id, body },
    })
}

fn client_body(request: Request, version: i16) -> ClientBody {
    match request {
        Request::CreateTopics(request) => request.into(),
        Request::DeleteTopics(request) => request.into(),
        Request::CreatePartitions(request) => request.into(),
        Request::ElectLeaders(request) => request.into(),
        Request::AlterPartitionReassignments(request) => request.into(),
        Request::ListPartitionReassignments(request) => request.into(),
        Request::AlterConfigs(request) => request.into(),
        Request::IncrementalAlterConfigs(request) => request.into(),
        Request::JoinGroup(request) => request.into(),
        Request::SyncGroup(request) => request.into(),
        Request::Heartbeat(request) => request.into(),
        Request::LeaveGroup(request) => request.into(),
        Request::OffsetCommit(request) => request.into(),
        Request::OffsetFetch(request) => request.into(),
        Request::ListGroups(request) => request.into(),
        Request::DescribeGroups(request) => request.into(),
        Request::DeleteGroups(request) => request.into(),
        Request::OffsetDelete(request) => request.into(),
        Request::ConsumerGroupHeartbeat(request) => request.into(),
        Request::ConsumerGroupDescribe(request) => request.into(),
        Request::Produce(request) => ClientBody::Produce(check_produce(request, version)),
        Request::Fetch(request) => ClientBody::Fetch(request),
        Request::ListOffsets(request) => ClientBody::ListOffsets(request),
        Request::Metadata(request) => ClientBody::Metadata(request),
        Request::ApiVersions(_) => ClientBody::ApiVersions,
        Request::DeleteRecords(request) => ClientBody::DeleteRecords(request),
        Request::InitProducerId(request) => ClientBody::InitProducerId(request),
        Request::FindCoordinator(request) => ClientBody::FindCoordinator(request),
        Request::DescribeConfigs(request) => ClientBody::DescribeConfigs(request),
        Request::ListConfigResources(request) => ClientBody::ListConfigResources(request),
        Request::DescribeCluster(request) => ClientBody::DescribeCluster(request),
        Request::DescribeAcls(request) => ClientBody::DescribeAcls(request),
        Request::DescribeLogDirs(request) => ClientBody::DescribeLogDirs(request),
        Request::DescribeClientQuotas(request) => ClientBody::DescribeClientQuotas(request),
        Request::DescribeUserScramCredentials(request) => ClientBody::DescribeUserScramCredentials(request),
        Request::DescribeQuorum(request) => request.into(),
        Request::UpdateFeatures(request) => ClientBody::UpdateFeatures(request),
        Request::DescribeProducers(request) => ClientBody::DescribeProducers(request),
        Request::DescribeTopicPartitions(request) => ClientBody::DescribeTopicPartitions(request),
        Request::OffsetForLeaderEpoch(request) => ClientBody::OffsetForLeaderEpoch(request),
    }
}

/// What [`check_produce`] makes of a request: more than what was decoded, for each partition has its batch's header.
fn checked_bytes(request: &ProduceRequest) -> usize {
    let partitions: usize = request.topic_data.iter().map(|topic| topic.partition_data.len()).sum();
    request.topic_data.len() * size_of::<ProduceTopic>() + partitions * size_of::<ProducePartition>()
}

fn check_produce(request: ProduceRequest, version: i16) -> Produce {
    let check = |records: Option<crate::wire::Records>| {
        let bytes = records.map(|records| records.to_bytes()).unwrap_or_default();
        // The topic's own limit is the core's to check: the frame's limit bounds the bytes here.
        let batch = ProducedBatch::parse(bytes, u32::MAX).map_err(Refused::Batch)?;
        if version < 7 && batch.header.compression() == Some(Compression::Zstd) {
            return Err(Refused::ZstdTooEarly);
        }
        Ok(batch)
    };
    let topics = request.topic_data.into_iter().map(|topic| ProduceTopic {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic
            .partition_data
            .into_iter()
            .map(|partition| ProducePartition { index: partition.index, batch: check(partition.records) })
            .collect(),
    });
    Produce {
        transactional_id: request.transactional_id,
        acks: match request.acks {
            0 => Acks::None,
            1 => Acks::Leader,
            -1 => Acks::All,
            _ => Acks::Invalid,
        },
        timeout_ms: u32::try_from(request.timeout_ms).unwrap_or(0),
        topics: topics.collect(),
    }
}
