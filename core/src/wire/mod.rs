//! Kafka's protocol: plain structs with versions as attributes, one file an API. Versions end here: the broker sees
//! values, never bytes or versions.
//!
//! ```text
//!   frame ──► decode_request ──► Request ──► (broker) ──► Response ──► encode_response ──► Chain
//!             Decoder                                                  Encoder
//! ```
//!
//! A frame comes from anybody: reading it never panics, never allocates more than a small multiple of its bytes
//! (`Decoder`), and cuts strings and records out of it instead of copying. Writing hangs records into the `Chain`
//! uncopied (`Encoder`). The types of fields are in `field` and `types`, what the derive saw is kept as data in `schema`.
//!
//! Not here: what a request means, frames' length limits (the connection), record batches (`records`).

mod decoder;
mod encoder;
mod error;
mod field;
mod schema;
mod types;

pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod describe_user_scram_credentials;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod header;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;
pub mod update_features;

pub use alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
pub use alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};
pub use api_versions::{ApiVersionsRequest, ApiVersionsResponse};
pub use consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
pub use consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
pub use create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
pub use create_topics::{CreateTopicsRequest, CreateTopicsResponse};
pub use decoder::{Decoder, TaggedFields};
pub use delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
pub use delete_records::{DeleteRecordsRequest, DeleteRecordsResponse};
pub use delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
pub use describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
pub use describe_client_quotas::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
pub use describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
pub use describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse};
pub use describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
pub use describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
pub use describe_producers::{DescribeProducersRequest, DescribeProducersResponse};
pub use describe_quorum::{DescribeQuorumRequest, DescribeQuorumResponse};
pub use describe_topic_partitions::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
pub use describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
pub use elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};
pub use encoder::{Chain, Encoder};
pub use error::WireError;
pub use fetch::{FetchRequest, FetchResponse};
pub use field::{ApiMessage, Field, Message, Nullable, Wire};
pub use find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
pub use header::{RequestHeader, ResponseHeader};
pub use heartbeat::{HeartbeatRequest, HeartbeatResponse};
pub use incremental_alter_configs::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
pub use init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
pub use join_group::{JoinGroupRequest, JoinGroupResponse};
pub use leave_group::{LeaveGroupRequest, LeaveGroupResponse};
pub use list_config_resources::{ListConfigResourcesRequest, ListConfigResourcesResponse};
pub use list_groups::{ListGroupsRequest, ListGroupsResponse};
pub use list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
pub use list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
pub use metadata::{MetadataRequest, MetadataResponse};
pub use offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
pub use offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
pub use offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
pub use offset_for_leader_epoch::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
pub use produce::{ProduceRequest, ProduceResponse};
pub use schema::{DefaultValue, FieldSchema, Kind, StructSchema, VersionRange};
pub use seedlog_wire_derive::Wire;
pub use sync_group::{SyncGroupRequest, SyncGroupResponse};
pub use types::{Float64, Records, Str};
pub use update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use bytes::Bytes;

/// Writes the enums over all APIs and the calls that go by them, from one table.
macro_rules! apis {
    ($($api:ident $request:ident $response:ident, advertised $min:literal - $max:literal, served from $served:literal;)+) => {
        /// The APIs that exist here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ApiKey {
            $(
                #[doc = concat!("[`", stringify!($request), "`]")]
                $api,
            )+
        }

        /// What is advertised and what is served of every API, by key.
        pub const APIS: &[ApiSupport] = &[$(
            ApiSupport {
                api_key: ApiKey::$api,
                advertised: VersionRange { min: $min, max: $max },
                served: VersionRange { min: $served, max: $max },
                request: Described::of::<$request>(),
                response: Described::of::<$response>(),
            },
        )+];

        impl ApiKey {
            /// The API with this number on the wire, if it exists here.
            #[must_use]
            pub const fn from_i16(key: i16) -> Option<Self> {
                match key {
                    $(<$request as ApiMessage>::KEY => Some(Self::$api),)+
                    _ => None,
                }
            }

            /// Its number on the wire.
            #[must_use]
            pub const fn as_i16(self) -> i16 {
                match self {
                    $(Self::$api => <$request as ApiMessage>::KEY,)+
                }
            }

            /// Kafka's name for it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$api => stringify!($api),)+
                }
            }
        }

        /// A request of any API.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Request {
            $(
                #[doc = concat!("[`", stringify!($request), "`]")]
                $api($request),
            )+
        }

        /// A response of any API.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Response {
            $(
                #[doc = concat!("[`", stringify!($response), "`]")]
                $api($response),
            )+
        }

        impl Request {
            /// The request of an API in which every field has its default.
            #[must_use]
            pub fn empty(api_key: ApiKey) -> Self {
                match api_key {
                    $(ApiKey::$api => $request::default().into(),)+
                }
            }

            /// The API that it belongs to.
            #[must_use]
            pub const fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$api(_) => ApiKey::$api,)+
                }
            }

            fn decode(api_key: ApiKey, input: &mut Decoder) -> Result<Self, WireError> {
                match api_key {
                    $(ApiKey::$api => $request::decode_whole(input).map(Self::$api),)+
                }
            }

            fn encode(&self, out: &mut Encoder) -> Result<(), WireError> {
                match self {
                    $(Self::$api(request) => request.encode_whole(out),)+
                }
            }
        }

        impl Response {
            /// The API that it belongs to.
            #[must_use]
            pub const fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$api(_) => ApiKey::$api,)+
                }
            }

            fn decode(api_key: ApiKey, input: &mut Decoder) -> Result<Self, WireError> {
                match api_key {
                    $(ApiKey::$api => $response::decode_whole(input).map(Self::$api),)+
                }
            }

            fn encode(&self, out: &mut Encoder) -> Result<(), WireError> {
                match self {
                    $(Self::$api(response) => response.encode_whole(out),)+
                }
            }
        }

        $(
            impl From<$request> for Request {
                fn from(request: $request) -> Self {
                    Self::$api(request)
                }
            }

            impl From<$response> for Response {
                fn from(response: $response) -> Self {
                    Self::$api(response)
                }
            }

            const _: () = assert!(<$request as ApiMessage>::KEY == <$response as ApiMessage>::KEY);
            const _: () = assert!(<$request as Message>::VERSIONS.min == $served);
            const _: () = assert!(<$request as Message>::VERSIONS.max >= $max);
            const _: () = assert!(<$response as Message>::VERSIONS.min == $served);
            const _: () = assert!(<$response as Message>::VERSIONS.max >= $max);
        )+
    };
}

// Those of Kafka 4.3. Produce says 0 and refuses 0-2, as Kafka does: librdkafka otherwise stops compressing
// (KAFKA-18659); for its lz4 it looks at FindCoordinator. InitProducerId 6 exists but is unstable in Kafka 4.3.
apis! {
    Produce ProduceRequest ProduceResponse, advertised 0 - 13, served from 3;
    Fetch FetchRequest FetchResponse, advertised 4 - 18, served from 4;
    ListOffsets ListOffsetsRequest ListOffsetsResponse, advertised 1 - 11, served from 1;
    Metadata MetadataRequest MetadataResponse, advertised 0 - 13, served from 0;
    OffsetCommit OffsetCommitRequest OffsetCommitResponse, advertised 2 - 10, served from 2;
    OffsetFetch OffsetFetchRequest OffsetFetchResponse, advertised 1 - 10, served from 1;
    FindCoordinator FindCoordinatorRequest FindCoordinatorResponse, advertised 0 - 6, served from 0;
    JoinGroup JoinGroupRequest JoinGroupResponse, advertised 0 - 9, served from 0;
    Heartbeat HeartbeatRequest HeartbeatResponse, advertised 0 - 4, served from 0;
    LeaveGroup LeaveGroupRequest LeaveGroupResponse, advertised 0 - 5, served from 0;
    SyncGroup SyncGroupRequest SyncGroupResponse, advertised 0 - 5, served from 0;
    DescribeGroups DescribeGroupsRequest DescribeGroupsResponse, advertised 0 - 6, served from 0;
    ListGroups ListGroupsRequest ListGroupsResponse, advertised 0 - 5, served from 0;
    ApiVersions ApiVersionsRequest ApiVersionsResponse, advertised 0 - 4, served from 0;
    CreateTopics CreateTopicsRequest CreateTopicsResponse, advertised 2 - 7, served from 2;
    DeleteTopics DeleteTopicsRequest DeleteTopicsResponse, advertised 1 - 6, served from 1;
    DeleteRecords DeleteRecordsRequest DeleteRecordsResponse, advertised 0 - 2, served from 0;
    InitProducerId InitProducerIdRequest InitProducerIdResponse, advertised 0 - 5, served from 0;
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse, advertised 2 - 4, served from 2;
    DescribeAcls DescribeAclsRequest DescribeAclsResponse, advertised 1 - 3, served from 1;
    DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse, advertised 1 - 4, served from 1;
    AlterConfigs AlterConfigsRequest AlterConfigsResponse, advertised 0 - 2, served from 0;
    DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse, advertised 1 - 5, served from 1;
    CreatePartitions CreatePartitionsRequest CreatePartitionsResponse, advertised 0 - 3, served from 0;
    DeleteGroups DeleteGroupsRequest DeleteGroupsResponse, advertised 0 - 2, served from 0;
    ElectLeaders ElectLeadersRequest ElectLeadersResponse, advertised 0 - 2, served from 0;
    IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse, advertised 0 - 1, served from 0;
    AlterPartitionReassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse, advertised 0 - 1, served from 0;
    ListPartitionReassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse, advertised 0 - 0, served from 0;
    OffsetDelete OffsetDeleteRequest OffsetDeleteResponse, advertised 0 - 0, served from 0;
    DescribeClientQuotas DescribeClientQuotasRequest DescribeClientQuotasResponse, advertised 0 - 1, served from 0;
    DescribeUserScramCredentials DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse, advertised 0 - 0, served from 0;
    DescribeQuorum DescribeQuorumRequest DescribeQuorumResponse, advertised 0 - 2, served from 0;
    UpdateFeatures UpdateFeaturesRequest UpdateFeaturesResponse, advertised 0 - 2, served from 0;
    DescribeCluster DescribeClusterRequest DescribeClusterResponse, advertised 0 - 2, served from 0;
    DescribeProducers DescribeProducersRequest DescribeProducersResponse, advertised 0 - 0, served from 0;
    ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse, advertised 0 - 1, served from 0;
    ConsumerGroupDescribe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse, advertised 0 - 1, served from 0;
    ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse, advertised 0 - 1, served from 0;
    DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse, advertised 0 - 0, served from 0;
}

/// What is advertised and what is served of one API.
#[derive(Debug, PartialEq, Eq)]
pub struct ApiSupport {
    /// The API.
    pub api_key: ApiKey,
    /// What ApiVersions says.
    pub advertised: VersionRange,
    /// What is answered.
    pub served: VersionRange,
    /// Its request as data.
    pub request: Described,
    /// Its response as data.
    pub response: Described,
}

/// A message as data.
#[derive(Debug, PartialEq, Eq)]
pub struct Described {
    /// The versions that exist.
    pub versions: VersionRange,
    /// Those with compact lengths and tagged fields.
    pub flexible: VersionRange,
    /// Its fields.
    pub schema: &'static StructSchema,
}

impl Described {
    /// The description of a message.
    #[must_use]
    pub const fn of<M: Message>() -> Self {
        Self { versions: M::VERSIONS, flexible: M::FLEXIBLE, schema: M::SCHEMA }
    }
}

impl ApiKey {
    /// What is advertised and served of it.
    #[must_use]
    pub fn support(self) -> &'static ApiSupport {
        // Both lists come from one table, in one order.
        &APIS[self as usize]
    }

    /// Kafka's rule: a flexible body has a flexible header (KIP-482).
    fn request_header_version(self, version: i16) -> i16 {
        if self.support().request.flexible.contains(version) { 2 } else { 1 }
    }

    /// The same, but a client reads an ApiVersions response before it knows what the broker speaks (KIP-511).
    fn response_header_version(self, version: i16) -> i16 {
        i16::from(self != Self::ApiVersions && self.support().response.flexible.contains(version))
    }
}

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedRequest {
    /// Its header.
    pub header: RequestHeader,
    /// What it asks, as far as it can be understood.
    pub body: RequestBody,
    /// Bytes of memory that it takes besides its frame.
    pub tables_bytes: usize,
}

/// The body of a request that arrived. What is not served is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large variant")]
pub enum RequestBody {
    /// A request to be served.
    Known(Request),
    /// An ApiVersions request of a version not served: to be answered in version 0 with UNSUPPORTED_VERSION (KIP-511).
    UnknownApiVersions,
    /// A version not served of another API: Kafka closes the connection.
    UnknownVersion(ApiKey),
    /// An API that does not exist here: Kafka closes the connection.
    UnknownApi,
}

/// Reads a request from a frame, which is without its length prefix. What follows the message in the frame is not read, as in
/// Kafka: librdkafka 2.16 ends a Metadata request of version 13 with bytes too many.
pub fn decode_request(frame: Bytes) -> Result<DecodedRequest, WireError> {
    decode_request_within(frame, usize::MAX)
}

/// As [`decode_request`], of a request that takes at most so many bytes of memory besides its frame.
///
/// # Errors
/// [`WireError::Memory`] where it takes more.
pub fn decode_request_within(frame: Bytes, tables_bytes_max: usize) -> Result<DecodedRequest, WireError> {
    let mut input = Decoder::new(frame.clone(), 1, false);
    let api_key = ApiKey::from_i16(i16::from_be_bytes(input.array()?));
    let version = i16::from_be_bytes(input.array()?);
    let served = api_key.filter(|api_key| api_key.support().served.contains(version));

    // Up to the client id all headers are alike, whatever the request.
    let header_version = served.map_or(1, |api_key| api_key.request_header_version(version));
    let mut input = Decoder::new(frame, header_version, RequestHeader::FLEXIBLE.contains(header_version));
    input.reserve_at_most(tables_bytes_max);
    let header = RequestHeader::decode_whole(&mut input)?;
    let body = match (api_key, served) {
        (_, Some(api_key)) => {
            input.set_version(version, api_key.support().request.flexible.contains(version));
            RequestBody::Known(Request::decode(api_key, &mut input)?)
        }
        (Some(ApiKey::ApiVersions), None) => RequestBody::UnknownApiVersions,
        (Some(api_key), None) => RequestBody::UnknownVersion(api_key),
        (None, None) => RequestBody::UnknownApi,
    };
    Ok(DecodedRequest { header, body, tables_bytes: input.reserved() })
}

/// Writes a response as a frame, which begins with its length prefix.
pub fn encode_response(version: i16, correlation_id: i32, response: &Response) -> Result<Chain, WireError> {
    let api_key = response.api_key();
    let header_version = api_key.response_header_version(version);
    let mut out = Encoder::new(header_version, ResponseHeader::FLEXIBLE.contains(header_version));
    out.put_slice(&[0; LENGTH_PREFIX_BYTES]);
    ResponseHeader { correlation_id }.encode_whole(&mut out)?;
    out.set_version(version, api_key.support().response.flexible.contains(version));
    response.encode(&mut out).map_err(|error| name_api(error, api_key))?;
    out.finish_frame()
}

/// Writes a request as a frame, which begins with its length prefix.
pub fn encode_request(
    version: i16,
    correlation_id: i32,
    client_id: Option<&Str>,
    request: &Request,
) -> Result<Chain, WireError> {
    let api_key = request.api_key();
    let header_version = api_key.request_header_version(version);
    let mut out = Encoder::new(header_version, RequestHeader::FLEXIBLE.contains(header_version));
    out.put_slice(&[0; LENGTH_PREFIX_BYTES]);
    let header = RequestHeader {
        api_key: api_key.as_i16(),
        api_version: version,
        correlation_id,
        client_id: client_id.cloned(),
    };
    header.encode_whole(&mut out)?;
    out.set_version(version, api_key.support().request.flexible.contains(version));
    request.encode(&mut out).map_err(|error| name_api(error, api_key))?;
    out.finish_frame()
}

/// Reads a response and its correlation id from a frame, which is without its length prefix. `api_key` and `version`
/// are those of the request, which the reader remembers.
pub fn decode_response(api_key: ApiKey, version: i16, frame: Bytes) -> Result<(i32, Response), WireError> {
    let header_version = api_key.response_header_version(version);
    let mut input = Decoder::new(frame, header_version, ResponseHeader::FLEXIBLE.contains(header_version));
    let header = ResponseHeader::decode_whole(&mut input)?;
    input.set_version(version, api_key.support().response.flexible.contains(version));
    let response = Response::decode(api_key, &mut input).map_err(|error| name_api(error, api_key))?;
    input.finish()?;
    Ok((header.correlation_id, response))
}

/// Before every frame stands its length.
pub const LENGTH_PREFIX_BYTES: usize = 4;

fn name_api(error: WireError, api_key: ApiKey) -> WireError {
    if let WireError::Version { api_key: None, version } = error {
        return WireError::Version { api_key: Some(api_key), version };
    }
    error
}
