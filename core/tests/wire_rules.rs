//! The rules of the wire one by one: what is answered to whom, what is refused and with which error, what may be lost on
//! the way to an older version, and that records are not copied.

use bytes::Bytes;
use seedlog_core::{
    errors::ErrorCode,
    ids::Uuid,
    wire::{
        self, APIS, ApiKey, ApiMessage, Message, Records, Request, RequestBody, Response, Str, VersionRange,
        Wire, WireError,
        api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse},
        create_topics::CreatableTopicResult,
        delete_topics::DeleteTopicsRequest,
        fetch::{
            FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, ForgottenTopic,
            LeaderIdAndEpoch, NodeEndpoint, PartitionData,
        },
        metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic},
        offset_for_leader_epoch::OffsetForLeaderEpochRequest,
        produce::{PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData},
    },
};

#[test]
fn the_apis_are_those_of_kafka_4_3_with_its_exceptions() {
    let table: Vec<_> = APIS
        .iter()
        .map(|api| {
            (api.api_key.as_i16(), api.api_key.name(), api.advertised.to_string(), api.served.to_string())
        })
        .map(|(key, name, advertised, served)| format!("{key} {name} {advertised} {served}"))
        .collect();
    assert_eq!(
        table,
        [
            "0 Produce 0-13 3-13",
            "1 Fetch 4-18 4-18",
            "2 ListOffsets 1-11 1-11",
            "3 Metadata 0-13 0-13",
            "8 OffsetCommit 2-10 2-10",
            "9 OffsetFetch 1-10 1-10",
            "10 FindCoordinator 0-6 0-6",
            "11 JoinGroup 0-9 0-9",
            "12 Heartbeat 0-4 0-4",
            "13 LeaveGroup 0-5 0-5",
            "14 SyncGroup 0-5 0-5",
            "15 DescribeGroups 0-6 0-6",
            "16 ListGroups 0-5 0-5",
            "18 ApiVersions 0-4 0-4",
            "19 CreateTopics 2-7 2-7",
            "20 DeleteTopics 1-6 1-6",
            "21 DeleteRecords 0-2 0-2",
            "22 InitProducerId 0-5 0-5",
            "23 OffsetForLeaderEpoch 2-4 2-4",
            "29 DescribeAcls 1-3 1-3",
            "32 DescribeConfigs 1-4 1-4",
            "33 AlterConfigs 0-2 0-2",
            "35 DescribeLogDirs 1-5 1-5",
            "37 CreatePartitions 0-3 0-3",
            "42 DeleteGroups 0-2 0-2",
            "43 ElectLeaders 0-2 0-2",
            "44 IncrementalAlterConfigs 0-1 0-1",
            "45 AlterPartitionReassignments 0-1 0-1",
            "46 ListPartitionReassignments 0 0",
            "47 OffsetDelete 0 0",
            "48 DescribeClientQuotas 0-1 0-1",
            "50 DescribeUserScramCredentials 0 0",
            "55 DescribeQuorum 0-2 0-2",
            "57 UpdateFeatures 0-2 0-2",
            "60 DescribeCluster 0-2 0-2",
            "61 DescribeProducers 0 0",
            "68 ConsumerGroupHeartbeat 0-1 0-1",
            "69 ConsumerGroupDescribe 0-1 0-1",
            "74 ListConfigResources 0-1 0-1",
            "75 DescribeTopicPartitions 0 0",
        ]
    );
    for api in APIS {
        assert_eq!(api.api_key.support(), api);
        assert_eq!(ApiKey::from_i16(api.api_key.as_i16()), Some(api.api_key));
    }
    assert_eq!(ApiKey::from_i16(4), None);
    assert_eq!(ProduceRequest::KEY, 0);
}

/// A version 1 header of a request without a client id, and nothing after it.
fn header(api_key: i16, version: i16) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(api_key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(9_i32.to_be_bytes());
    frame.extend((-1_i16).to_be_bytes());
    frame
}

#[test]
fn what_is_not_served_is_told_apart() {
    let body = |api_key, version| {
        let mut frame = header(api_key, version);
        frame.extend([0xde, 0xad]);
        let decoded = wire::decode_request(frame.into()).expect("the header is readable");
        assert_eq!((decoded.header.correlation_id, decoded.header.client_id), (9, None));
        decoded.body
    };
    assert_eq!(body(18, 5), RequestBody::UnknownApiVersions);
    assert_eq!(body(18, i16::MAX), RequestBody::UnknownApiVersions);
    assert_eq!(body(18, -1), RequestBody::UnknownApiVersions);
    assert_eq!(body(0, 2), RequestBody::UnknownVersion(ApiKey::Produce));
    assert_eq!(body(1, 19), RequestBody::UnknownVersion(ApiKey::Fetch));
    assert_eq!(body(22, 6), RequestBody::UnknownVersion(ApiKey::InitProducerId));
    assert_eq!(body(9999, 0), RequestBody::UnknownApi);
    assert!(wire::decode_request(Bytes::from_static(&[0, 18, 0])).is_err());
}

/// librdkafka 2.16 ends a Metadata request for all topics with bytes too many, and Kafka reads past them.
#[test]
fn bytes_behind_a_request_are_not_read() {
    let request = Request::from(DeleteTopicsRequest::default());
    let exact = wire::encode_request(5, 1, None, &request).expect("written").to_bytes().slice(4..);
    let longer = Bytes::from([&exact[..], &[1, 0, 0]].concat());
    assert_eq!(wire::decode_request(longer), wire::decode_request(exact));
}

#[test]
fn api_versions_is_answered_under_a_header_without_tags() {
    let response = Response::from(ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![ApiVersion { api_key: 18, min_version: 0, max_version: 4 }],
        ..ApiVersionsResponse::default()
    });
    let version_0 = wire::encode_response(0, 7, &response).expect("encodes");
    assert_eq!(
        version_0.to_bytes()[..],
        [0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4],
        "length, correlation id, error, one API"
    );
    let version_3 = wire::encode_response(3, 7, &response).expect("encodes");
    assert_eq!(
        version_3.to_bytes()[..],
        [0, 0, 0, 19, 0, 0, 0, 7, 0, 35, 2, 0, 18, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0],
        "no tags after the correlation id; tags after each struct"
    );
    assert_eq!(version_3.pieces().len(), 1, "a small response is one buffer");
    let read = wire::decode_response(ApiKey::ApiVersions, 3, version_3.to_bytes().slice(4..));
    assert_eq!(read, Ok((7, response)));
}

#[test]
fn the_request_header_becomes_flexible_with_the_body() {
    let request = Request::from(ApiVersionsRequest::default());
    let client = Str::from("c");
    let old = wire::encode_request(2, 1, Some(&client), &request).expect("encodes").to_bytes();
    assert_eq!(old[..], [0, 0, 0, 11, 0, 18, 0, 2, 0, 0, 0, 1, 0, 1, b'c']);
    let new = wire::encode_request(3, 1, Some(&client), &request).expect("encodes").to_bytes();
    assert_eq!(new[..], [0, 0, 0, 15, 0, 18, 0, 3, 0, 0, 0, 1, 0, 1, b'c', 0, 1, 1, 0]);
}

#[test]
fn records_are_neither_copied_in_nor_out() {
    let batch = Bytes::from(vec![7; 1000]);
    let tail = Bytes::from(vec![8; 500]);
    let partition = |pieces: &[&Bytes]| PartitionData {
        records: Some(pieces.iter().copied().cloned().collect()),
        ..PartitionData::default()
    };
    let response = Response::from(FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: "t".into(),
            partitions: vec![partition(&[&batch, &tail]), partition(&[])],
            ..FetchableTopicResponse::default()
        }],
        ..FetchResponse::default()
    });
    for version in 4..=12 {
        let chain = wire::encode_response(version, 1, &response).expect("encodes");
        let pieces = chain.pieces();
        assert_eq!(pieces.len(), 4, "head, two pieces of records, the rest");
        assert_eq!((pieces[1].as_ptr(), pieces[1].len()), (batch.as_ptr(), 1000));
        assert_eq!((pieces[2].as_ptr(), pieces[2].len()), (tail.as_ptr(), 500));
        assert_eq!(chain.len(), pieces.iter().map(Bytes::len).sum::<usize>());
        assert_eq!(chain.to_bytes()[..4], (chain.len() as i32 - 4).to_be_bytes());
        let (_, read) =
            wire::decode_response(ApiKey::Fetch, version, chain.to_bytes().slice(4..)).expect("decodes");
        assert_eq!(read.api_key(), ApiKey::Fetch);
    }

    let request = ProduceRequest {
        topic_data: vec![TopicProduceData {
            partition_data: vec![PartitionProduceData { index: 0, records: Some(Records::from(batch)) }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let frame = request.to_chain(9).expect("encodes").to_bytes();
    let read = ProduceRequest::from_bytes(frame.clone(), 9).expect("decodes");
    let records = read.topic_data[0].partition_data[0].records.as_ref().expect("sent");
    assert!(frame.as_ptr_range().contains(&records.pieces()[0].as_ptr()), "a slice of the frame");
}

#[test]
fn defaults_are_kafkas_and_options_start_as_none() {
    let request = FetchRequest::default();
    assert_eq!((request.replica_id, request.max_bytes, request.session_epoch), (-1, i32::MAX, -1));
    assert_eq!(request.replica_state.replica_epoch, -1);
    assert_eq!(OffsetForLeaderEpochRequest::default().replica_id, -2);
    assert_eq!(PartitionProduceResponse::default().log_append_time_ms, -1);
    assert_eq!(PartitionProduceResponse::default().current_leader.leader_id, -1);
    assert!(MetadataRequest::default().allow_auto_topic_creation);
    assert_eq!(MetadataResponse::default().cluster_authorized_operations, i32::MIN);
    assert_eq!(CreatableTopicResult::default().configs, None);
}

#[test]
fn a_value_that_a_version_has_no_field_for_is_dropped_only_if_ignorable() {
    let forgotten =
        FetchRequest { forgotten_topics_data: vec![ForgottenTopic::default()], ..FetchRequest::default() };
    assert_eq!(
        forgotten.to_chain(6).map(|_| ()),
        Err(WireError::NotInThisVersion { place: "FetchRequest.forgotten_topics_data", version: 6 })
    );
    assert!(forgotten.to_chain(7).is_ok());

    let racked = FetchRequest { rack_id: "r".into(), session_epoch: 5, ..FetchRequest::default() };
    let read = FetchRequest::from_bytes(racked.to_chain(6).expect("ignorable").to_bytes(), 6);
    assert_eq!(read, Ok(FetchRequest::default()));

    let endpoints =
        FetchResponse { node_endpoints: vec![NodeEndpoint::default()], ..FetchResponse::default() };
    assert!(endpoints.to_chain(15).is_err(), "a tagged field is a field");
    assert!(endpoints.to_chain(16).is_ok());

    let follower = FetchRequest { replica_id: 3, ..FetchRequest::default() };
    assert!(follower.to_chain(14).is_ok());
    assert!(follower.to_chain(15).is_err(), "versions end, too");

    let named = FetchTopic { topic: "t".into(), topic_id: Uuid([1; 16]), partitions: vec![] };
    let both = FetchRequest { topics: vec![named], ..FetchRequest::default() };
    for version in 4..=18 {
        let read =
            FetchRequest::from_bytes(both.to_chain(version).expect("names and ids").to_bytes(), version);
        let topic = &read.expect("decodes").topics[0];
        assert_eq!((topic.topic == "t", topic.topic_id == Uuid([1; 16])), (version < 13, version >= 13));
    }
}

#[test]
fn null_stands_only_where_it_is_permitted() {
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    assert_eq!(all.to_chain(0).map(|_| ()), Err(WireError::Null { place: "MetadataRequest.topics" }));
    assert_eq!(all.to_chain(1).expect("null from version 1").to_bytes()[..], [0xff; 4]);
    let null = Bytes::from_static(&[0xff; 4]);
    assert_eq!(MetadataRequest::from_bytes(null.clone(), 1).map(|request| request.topics), Ok(None));
    assert_eq!(
        MetadataRequest::from_bytes(null, 0),
        Err(WireError::Null { place: "MetadataRequest.topics" })
    );

    let by_id = MetadataResponse {
        topics: vec![MetadataResponseTopic { topic_id: Uuid([2; 16]), ..MetadataResponseTopic::default() }],
        ..MetadataResponse::default()
    };
    assert!(by_id.to_chain(11).is_err());
    assert!(by_id.to_chain(12).is_ok());
    let topic = MetadataRequestTopic::default();
    assert_eq!(topic.name, None);
}

#[test]
fn tagged_fields_are_written_in_order_and_only_if_they_say_something() {
    let mut partition = PartitionData::default();
    let body = |partition: &PartitionData| {
        let topic = FetchableTopicResponse {
            partitions: vec![partition.clone()],
            ..FetchableTopicResponse::default()
        };
        let response = FetchResponse { responses: vec![topic], ..FetchResponse::default() };
        response.to_chain(12).expect("encodes").to_bytes()
    };
    let plain = body(&partition);
    assert_eq!(plain[plain.len() - 4..], [0, 0, 0, 0], "records null, then three structs without tags");
    partition.current_leader = LeaderIdAndEpoch { leader_id: 1, leader_epoch: 2 };
    partition.snapshot_id.epoch = 3;
    let tagged = body(&partition);
    assert_eq!(
        tagged[plain.len() - 3..],
        [
            &[2][..],
            &[1, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0],
            &[2, 13, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 3, 0],
            &[0, 0]
        ]
        .concat()
    );
}

/// An ApiVersions request of version 3 with these bytes for its tagged fields.
fn with_tags(tags: &[u8]) -> Result<ApiVersionsResponse, WireError> {
    let body = [&[0, 0, 1, 0, 0, 0, 0][..], tags].concat();
    ApiVersionsResponse::from_bytes(body.into(), 3)
}

#[test]
fn tags_come_in_order_once_and_with_their_true_size() {
    let epoch = [1, 8, 0, 0, 0, 0, 0, 0, 0, 5];
    let ready = [3, 1, 1];
    let both = with_tags(&[&[2], &epoch[..], &ready].concat()).expect("in order");
    assert_eq!((both.finalized_features_epoch, both.zk_migration_ready), (5, true));

    let refused = |tags: &[&[u8]]| with_tags(&tags.concat()).expect_err("refused");
    assert!(matches!(refused(&[&[2], &ready, &epoch]), WireError::Tags { .. }));
    assert!(matches!(refused(&[&[2], &ready, &ready]), WireError::Tags { .. }));
    assert!(matches!(refused(&[&[2], &[7, 0], &[7, 0]]), WireError::Tags { .. }), "unknown ones as well");
    assert!(matches!(refused(&[&[0xff, 0xff, 0xff, 0xff, 0x0f], &ready]), WireError::Tags { .. }));
    assert!(matches!(refused(&[&[1], &[3, 2, 1, 0]]), WireError::TagSize { .. }), "longer than its value");
    assert!(
        matches!(refused(&[&[1], &[1, 7, 0, 0, 0, 0, 0, 0, 0, 5]]), WireError::Truncated { .. }),
        "shorter"
    );
    assert!(matches!(refused(&[&[1], &[9, 100, 0]]), WireError::Truncated { .. }), "beyond the frame");
}

#[test]
fn malformed_values_are_named() {
    let delete =
        |version, bytes: &[u8]| DeleteTopicsRequest::from_bytes(Bytes::copy_from_slice(bytes), version);
    let place = "DeleteTopicsRequest.topic_names";
    let error = |version, bytes: &[u8]| delete(version, bytes).expect_err("refused");
    assert_eq!(error(1, &[0, 0, 0, 1, 0, 1, 0xff, 0, 0, 0, 0]), WireError::Utf8 { place, at: 6 });
    assert_eq!(error(1, &[0, 0, 0, 2, 0, 1, b'a']), WireError::Count { place, at: 4, count: 2 });
    assert_eq!(error(1, &[0xff, 0xff, 0xff, 0xfe]), WireError::Length { place, at: 4, length: -2 });
    assert_eq!(
        error(1, &[0, 0, 0, 0, 0, 0]),
        WireError::Truncated { place: "DeleteTopicsRequest.timeout_ms", at: 6, missing: 2 }
    );
    assert_eq!(error(1, &[0; 9]), WireError::Trailing { bytes: 1 });
    assert_eq!(error(4, &[0x80; 8]), WireError::Varint { place, at: 0 });
    assert_eq!(error(4, &[0xff, 0xff, 0xff, 0xff, 0x1f]), WireError::Varint { place, at: 0 });
    assert_eq!(error(7, &[]), WireError::Version { api_key: None, version: 7 });
    assert_eq!(error(1, &[0; 9]).to_string(), "1 bytes follow the end of the message");
    // A compact string may not be longer than an old one.
    let long = [&[2, 0x81, 0x80, 0x02][..], &[b'a'; 0x8000], &[0, 0, 0, 0, 0]].concat();
    assert_eq!(error(4, &long), WireError::Length { place, at: 4, length: 0x8000 });
    let too_long = DeleteTopicsRequest {
        topic_names: vec![Str::from("a".repeat(0x8000))],
        ..DeleteTopicsRequest::default()
    };
    assert_eq!(too_long.to_chain(4).map(|_| ()), Err(WireError::TooLong { place, length: 0x8000 }));
}

#[test]
fn a_million_empty_strings_are_refused_and_a_million_names_are_not() {
    // Each empty string is one byte of the frame and the size of a `Str` in memory.
    let strings = |text: &str, count: usize| {
        let mut body =
            vec![0x81 | ((count & 0x7f) as u8), 0x80 | ((count >> 7) & 0x7f) as u8, (count >> 14) as u8];
        for _ in 0..count {
            body.push(text.len() as u8 + 1);
            body.extend(text.as_bytes());
        }
        body.extend([0; 5]);
        DeleteTopicsRequest::from_bytes(body.into(), 4)
    };
    let count = 1 << 20;
    assert!(matches!(strings("", count), Err(WireError::Memory { .. })));
    let named = strings("t", count).expect("the shortest names are let through");
    assert_eq!(named.topic_names.len(), count);
}

#[test]
fn the_schema_is_there_to_be_compared() {
    let schema = FetchRequest::SCHEMA;
    assert_eq!(schema.name, "FetchRequest");
    let cluster_id = &schema.fields[0];
    assert_eq!(cluster_id.name, "cluster_id");
    assert_eq!(cluster_id.tag, Some((0, VersionRange { min: 12, max: i16::MAX })));
    assert_eq!(cluster_id.nullable.to_string(), "12+");
    assert_eq!(schema.fields[1].versions.to_string(), "0-14");
}
