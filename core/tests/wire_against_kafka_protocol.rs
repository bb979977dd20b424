//! The codec against the crate `kafka-protocol`, written by other people from the same schemas: for every message and
//! every version that both know, both must read the same random bodies and write them back byte for byte.

mod wire_support;

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages as theirs,
    protocol::{Decodable, Encodable, Message as TheirMessage},
};
use seedlog_core::wire::{self, ApiKey, RequestBody, Str};
use wire_support::{Rng, body, for_all, subjects};

/// `body` read and written again by `kafka-protocol`; `None` for a version that it does not know.
fn through_theirs(message: &str, body: &Bytes, version: i16) -> Option<Bytes> {
    macro_rules! dispatch {
        ($($request:ident $response:ident;)+) => {
            match message {
                $(
                    stringify!($request) => again::<theirs::$request>(body, version),
                    stringify!($response) => again::<theirs::$response>(body, version),
                )+
                other => panic!("kafka-protocol is not asked about {other}"),
            }
        };
    }
    dispatch! {
        RequestHeader ResponseHeader;
        ProduceRequest ProduceResponse;
        FetchRequest FetchResponse;
        ListOffsetsRequest ListOffsetsResponse;
        MetadataRequest MetadataResponse;
        ApiVersionsRequest ApiVersionsResponse;
        CreateTopicsRequest CreateTopicsResponse;
        DeleteTopicsRequest DeleteTopicsResponse;
        DeleteRecordsRequest DeleteRecordsResponse;
        FindCoordinatorRequest FindCoordinatorResponse;
        InitProducerIdRequest InitProducerIdResponse;
        DescribeClusterRequest DescribeClusterResponse;
        DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
        CreatePartitionsRequest CreatePartitionsResponse;
        ElectLeadersRequest ElectLeadersResponse;
        AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse;
        ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
        DescribeConfigsRequest DescribeConfigsResponse;
        AlterConfigsRequest AlterConfigsResponse;
        IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
        ListConfigResourcesRequest ListConfigResourcesResponse;
        DescribeAclsRequest DescribeAclsResponse;
        DescribeLogDirsRequest DescribeLogDirsResponse;
        DescribeClientQuotasRequest DescribeClientQuotasResponse;
        DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse;
        DescribeQuorumRequest DescribeQuorumResponse;
        UpdateFeaturesRequest UpdateFeaturesResponse;
        DescribeProducersRequest DescribeProducersResponse;
        OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
        OffsetCommitRequest OffsetCommitResponse;
        OffsetFetchRequest OffsetFetchResponse;
        JoinGroupRequest JoinGroupResponse;
        HeartbeatRequest HeartbeatResponse;
        LeaveGroupRequest LeaveGroupResponse;
        SyncGroupRequest SyncGroupResponse;
        DescribeGroupsRequest DescribeGroupsResponse;
        ListGroupsRequest ListGroupsResponse;
        DeleteGroupsRequest DeleteGroupsResponse;
        OffsetDeleteRequest OffsetDeleteResponse;
        ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
        ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse;
    }
}

fn again<M: TheirMessage + Decodable + Encodable>(body: &Bytes, version: i16) -> Option<Bytes> {
    if version < M::VERSIONS.min || version > M::VERSIONS.max {
        return None;
    }
    let mut input = body.clone();
    let message = M::decode(&mut input, version).expect("kafka-protocol reads it");
    assert!(input.is_empty(), "kafka-protocol reads all of it");
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("kafka-protocol writes it");
    Some(out.freeze())
}

#[test]
fn both_read_and_write_the_same_bytes_in_every_version() {
    let mut unknown = Vec::new();
    for_all(150, |subject, version, rng| {
        let name = subject.described.schema.name;
        let body = body(rng, &subject.described, version).bytes;
        let ours = (subject.read)(body.clone(), version).again;
        assert_eq!(ours.as_ref(), Ok(&body), "{name} version {version}, ours");
        match through_theirs(name, &body, version) {
            Some(theirs) => assert_eq!(theirs, body, "{name} version {version}, theirs"),
            None => unknown.push((name, version)),
        }
    });
    unknown.dedup();
    assert_eq!(
        unknown,
        [
            ("ListOffsetsRequest", 11),
            ("ListOffsetsResponse", 11),
            ("InitProducerIdRequest", 6),
            ("DescribeLogDirsRequest", 5),
            ("DescribeLogDirsResponse", 5),
            ("OffsetCommitRequest", 10),
            ("OffsetFetchRequest", 10)
        ],
        "what kafka-protocol 0.18 lags behind"
    );
}

#[test]
fn request_frames_carry_the_header_that_kafka_protocol_writes() {
    for subject in subjects().iter().filter(|subject| subject.described.schema.name.ends_with("Request")) {
        let api_key = subject.key.and_then(ApiKey::from_i16).expect("every request has a key");
        let served = api_key.support().served;
        for version in served.min..=served.max {
            let mut rng = Rng(version as u64);
            let body = body(&mut rng, &subject.described, version).bytes;
            let client = (version % 2 == 0).then(|| Str::from("kcat"));
            let header = theirs::RequestHeader::default()
                .with_request_api_key(api_key.as_i16())
                .with_request_api_version(version)
                .with_correlation_id(7)
                .with_client_id(client.as_ref().map(|text| text.to_string().into()));
            let their_key = theirs::ApiKey::try_from(api_key.as_i16()).expect("they know the API");
            let mut frame = BytesMut::new();
            header
                .encode(&mut frame, their_key.request_header_version(version))
                .expect("they write the header");
            frame.extend_from_slice(&body);
            let frame = frame.freeze();

            let decoded = wire::decode_request(frame.clone()).expect("we read the frame");
            assert_eq!(decoded.header.correlation_id, 7);
            assert_eq!(decoded.header.client_id, client);
            let RequestBody::Known(request) = decoded.body else { panic!("{api_key:?} {version} is served") };
            assert_eq!(request.api_key(), api_key);
            let ours =
                wire::encode_request(version, 7, client.as_ref(), &request).expect("we write the frame");
            assert_eq!(ours.to_bytes()[..4], (frame.len() as i32).to_be_bytes());
            assert_eq!(ours.to_bytes()[4..], frame);
        }
    }
}

#[test]
fn response_frames_carry_the_header_that_kafka_protocol_writes() {
    for subject in subjects().iter().filter(|subject| subject.described.schema.name.ends_with("Response")) {
        let api_key = subject.key.and_then(ApiKey::from_i16).expect("every response has a key");
        let versions = subject.described.versions;
        for version in versions.min..=versions.max {
            let mut rng = Rng(version as u64);
            let body = body(&mut rng, &subject.described, version).bytes;
            let their_key = theirs::ApiKey::try_from(api_key.as_i16()).expect("they know the API");
            let mut frame = BytesMut::new();
            theirs::ResponseHeader::default()
                .with_correlation_id(-3)
                .encode(&mut frame, their_key.response_header_version(version))
                .expect("they write the header");
            frame.extend_from_slice(&body);
            let frame = frame.freeze();

            let (correlation_id, response) =
                wire::decode_response(api_key, version, frame.clone()).expect("we read the frame");
            assert_eq!(correlation_id, -3);
            let ours = wire::encode_response(version, -3, &response).expect("we write the frame");
            assert_eq!(ours.to_bytes()[..4], (frame.len() as i32).to_be_bytes());
            assert_eq!(ours.to_bytes()[4..], frame);
        }
    }
}
