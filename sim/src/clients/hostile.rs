//! What somebody sends who means harm: requests of every API with the most extreme contents, cut short, with flipped bits, with
//! counts and versions that are not true, under roles that are not theirs, of nodes alone, or no requests at all.
//!
//! It names no topic of the good clients where a broker would obey: what it may ask for like anybody else it may have, and good
//! clients must not miss what is theirs.

use super::catalog::stable_name;
use crate::rng::Stream;
use bytes::Bytes;
use seedlog_core::ids::Uuid;
use seedlog_core::records::BatchBuilder;
use seedlog_core::wire::create_topics::CreatableTopic;
use seedlog_core::wire::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use seedlog_core::wire::delete_topics::DeleteTopicState;
use seedlog_core::wire::describe_configs::DescribeConfigsResource;
use seedlog_core::wire::describe_log_dirs::DescribableLogDirTopic;
use seedlog_core::wire::describe_topic_partitions::TopicRequest;
use seedlog_core::wire::fetch::{FetchPartition, FetchTopic, ReplicaState};
use seedlog_core::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use seedlog_core::wire::metadata::MetadataRequestTopic;
use seedlog_core::wire::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use seedlog_core::wire::produce::{PartitionProduceData, TopicProduceData};
use seedlog_core::wire::{
    APIS, ApiKey, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, DescribeTopicPartitionsRequest, FetchRequest, FindCoordinatorRequest,
    InitProducerIdRequest, LENGTH_PREFIX_BYTES, ListOffsetsRequest, MetadataRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, Records, Request, RequestBody, Str, decode_request,
    encode_request,
};

/// APIs of Kafka that nodes use among each other, or that Seedlog has no door for: a client's connection must not have them.
pub const OF_NODES: [i16; 21] =
    [4, 5, 6, 7, 27, 52, 53, 54, 56, 58, 59, 62, 63, 64, 67, 70, 73, 80, 81, 82, 84];

/// Wait that a fetch may ask for without being called patient.
const WAIT_MS_MAX: i32 = 20_000;
/// A length that says to be followed by more than anybody has.
const LYING_COUNTS: [&[u8]; 6] = [
    &[0xff, 0xff, 0xff, 0xff],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0, 0x0f, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
];

/// A frame, and what must come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shot {
    /// With its length prefix.
    pub frame: Bytes,
    /// What must come of it.
    pub outcome: Outcome,
    /// It asks to be let wait for longer than a run goes on.
    pub is_patient: bool,
}

/// What must come of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The connection ends: it is no request, or none for clients.
    Closed,
    /// Nothing is answered (acks=0); the connection may end.
    Silent,
    /// An answer in this API and version, with this correlation id.
    Answer {
        /// The API.
        api: ApiKey,
        /// The version of the answer.
        version: i16,
        /// What comes back with it.
        correlation_id: i32,
        /// It claims to come from another node: it must be refused.
        is_forged: bool,
    },
}

/// Draws a frame.
#[must_use]
pub fn draw(rng: &mut Stream) -> Shot {
    loop {
        let (api, body, may_spoil) = draw_body(rng);
        let mut body = body;
        if may_spoil && rng.chance(600) {
            spoil(rng, &mut body);
        }
        let body = Bytes::from(body);
        if let Some((outcome, is_patient)) = judge(api, &body) {
            let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
            return Shot { frame: [&length[..], &body].concat().into(), outcome, is_patient };
        }
    }
}

/// What must come of a body that was made for `api`. `None`: it has become a request of another API, which might be obeyed.
fn judge(api: ApiKey, body: &Bytes) -> Option<(Outcome, bool)> {
    let key = body.first_chunk().map(|key| i16::from_be_bytes(*key));
    let Ok(decoded) = decode_request(body.clone()) else { return Some((Outcome::Closed, false)) };
    let header = decoded.header;
    let answer = |version: i16, is_forged: bool| Outcome::Answer {
        api,
        version,
        correlation_id: header.correlation_id,
        is_forged,
    };
    match decoded.body {
        RequestBody::UnknownVersion(_) | RequestBody::UnknownApi => Some((Outcome::Closed, false)),
        RequestBody::UnknownApiVersions => (api == ApiKey::ApiVersions).then(|| (answer(0, false), false)),
        RequestBody::Known(_) if key != Some(api.as_i16()) => None,
        RequestBody::Known(Request::Produce(produce)) if produce.acks == 0 => Some((Outcome::Silent, false)),
        RequestBody::Known(Request::Fetch(fetch)) => {
            let is_forged = fetch.replica_id >= 0 || fetch.replica_state.replica_id >= 0;
            let is_patient = !is_forged && fetch.max_wait_ms > WAIT_MS_MAX;
            Some((answer(header.api_version, is_forged), is_patient))
        }
        RequestBody::Known(_) => Some((answer(header.api_version, false), false)),
    }
}

/// A request's body with its header, the API that it is of, and whether it may be spoiled: what would be obeyed if a bit turned
/// back is left as it is.
fn draw_body(rng: &mut Stream) -> (ApiKey, Vec<u8>, bool) {
    let api = APIS[rng.index(APIS.len())].api_key;
    // Half of all are of the two that brokers do most for.
    let api = rng.pick(&[api, api, ApiKey::Fetch, ApiKey::Produce]);
    let support = api.support();
    let version = i16::try_from(rng.range(0, 20)).unwrap_or(0).clamp(support.served.min, support.served.max);
    let correlation_id = rng.pick(&[0, 0, 7, -1, i32::MIN, i32::MAX]);
    let client_id = match rng.below(4) {
        0 => None,
        1 => Some(Str::from("h".repeat(20_000))),
        _ => Some(Str::from_static("hostile")),
    };
    let (request, may_spoil) = draw_request(rng, api);
    let empty = |api| (request_of(api), true);
    let encode = |request: &Request| encode_request(version, correlation_id, client_id.as_ref(), request);
    // Not every version can carry everything.
    let (chain, may_spoil) = match encode(&request) {
        Ok(chain) => (Some(chain), may_spoil),
        Err(_) => (encode(&empty(api).0).ok(), true),
    };
    let frame = chain.map(|chain| chain.to_bytes()).unwrap_or_default();
    (api, frame.get(LENGTH_PREFIX_BYTES..).unwrap_or_default().to_vec(), may_spoil)
}

/// Makes a request into something that is none, or that says what nobody should.
fn spoil(rng: &mut Stream, body: &mut Vec<u8>) {
    let len = body.len().max(1);
    match rng.below(8) {
        0 => body.truncate(rng.index(len)),
        1 | 2 => {
            for _ in 0..rng.range(1, 8) {
                let at = rng.index(len);
                if let Some(byte) = body.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
            }
        }
        3 | 4 => {
            let (at, lie) = (rng.index(len), rng.pick(&LYING_COUNTS));
            for (byte, lie) in body.iter_mut().skip(at).zip(lie) {
                *byte = *lie;
            }
        }
        5 => put(body, 2, rng.pick(&[-1, i16::MIN, i16::MAX, 19, 99])),
        6 => put(body, 0, rng.pick(&OF_NODES)),
        _ => {
            let count = rng.index(400);
            *body = rng.bytes(count);
        }
    }
}

fn put(body: &mut [u8], at: usize, number: i16) {
    if let Some(place) = body.get_mut(at..at + 2) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}

/// How many of something: mostly few, sometimes many, rarely very many. What is in each of them is fewer, or a run would do
/// little else than write frames.
fn many(rng: &mut Stream, is_inner: bool) -> u64 {
    match rng.below(100) {
        0..10 => 0,
        10..80 => rng.range(1, 4),
        80..98 if is_inner => rng.range(5, 20),
        80..98 => rng.range(20, 80),
        _ if is_inner => 100,
        _ => 2_000,
    }
}

/// A topic that there is not; some names are longer than any topic's.
fn nowhere(rng: &mut Stream, number: u64) -> Str {
    let name = format!("hostile-{number}");
    Str::from(if rng.chance(20) { name.repeat(100) } else { name })
}

/// A partition that may be there, or never.
fn index(rng: &mut Stream) -> i32 {
    rng.pick(&[0, 0, 1, 2, 7, -1, i32::MIN, i32::MAX])
}

fn number(rng: &mut Stream) -> i64 {
    rng.pick(&[0, 1, 5, -1, -2, -3, -9, i64::MIN, i64::MAX])
}

fn small(rng: &mut Stream) -> i32 {
    rng.pick(&[0, 1, 2, -1, i32::MIN, i32::MAX])
}

fn each<T>(rng: &mut Stream, mut make: impl FnMut(&mut Stream, u64) -> T) -> Vec<T> {
    (0..many(rng, false)).map(|at| make(rng, at)).collect()
}

/// The same within one of many.
fn each_of<T>(rng: &mut Stream, mut make: impl FnMut(&mut Stream) -> T) -> Vec<T> {
    (0..many(rng, true)).map(|_| make(rng)).collect()
}

/// Extreme contents for an API, and whether they may be spoiled.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others change something, and are drawn apart")]
fn draw_request(rng: &mut Stream, api: ApiKey) -> (Request, bool) {
    let request: Request = match api {
        ApiKey::Produce => return draw_produce(rng),
        ApiKey::Fetch => draw_fetch(rng).into(),
        ApiKey::ListOffsets => {
            let topics = each(rng, |rng, at| {
                let partitions = each_of(rng, |rng| ListOffsetsPartition {
                    partition_index: index(rng),
                    current_leader_epoch: small(rng),
                    timestamp: number(rng),
                });
                ListOffsetsTopic { name: readable(rng, at), partitions }
            });
            ListOffsetsRequest { replica_id: small(rng), topics, ..ListOffsetsRequest::default() }.into()
        }
        ApiKey::OffsetForLeaderEpoch => {
            let topics = each(rng, |rng, at| {
                let partitions = each_of(rng, |rng| OffsetForLeaderPartition {
                    partition: index(rng),
                    current_leader_epoch: small(rng),
                    leader_epoch: small(rng),
                });
                OffsetForLeaderTopic { topic: readable(rng, at), partitions }
            });
            OffsetForLeaderEpochRequest { replica_id: small(rng), topics }.into()
        }
        ApiKey::Metadata => {
            let topics = each(rng, |rng, at| MetadataRequestTopic {
                name: Some(nowhere(rng, at)),
                ..MetadataRequestTopic::default()
            });
            let topics = rng.chance(800).then_some(topics);
            MetadataRequest { topics, allow_auto_topic_creation: true, ..MetadataRequest::default() }.into()
        }
        ApiKey::DescribeTopicPartitions => {
            let topics = each(rng, |rng, at| TopicRequest { name: nowhere(rng, at) });
            let response_partition_limit = small(rng);
            DescribeTopicPartitionsRequest { topics, response_partition_limit, cursor: None }.into()
        }
        ApiKey::DescribeLogDirs => {
            let topics = each(rng, |rng, at| DescribableLogDirTopic {
                topic: readable(rng, at),
                partitions: each_of(rng, index),
            });
            DescribeLogDirsRequest { topics: rng.chance(500).then_some(topics) }.into()
        }
        ApiKey::DescribeConfigs => {
            let resources = each(rng, |rng, at| DescribeConfigsResource {
                resource_type: rng.pick(&[0, 2, 4, 8, 16, 32, -1, 127]),
                resource_name: readable(rng, at),
                configuration_keys: None,
            });
            DescribeConfigsRequest { resources, include_synonyms: true, include_documentation: true }.into()
        }
        _ => draw_change(rng, api),
    };
    (request, true)
}

/// Something that brokers would obey, of what there is not.
#[expect(clippy::wildcard_enum_match_arm, reason = "what has no contents of its own is sent empty")]
fn draw_change(rng: &mut Stream, api: ApiKey) -> Request {
    match api {
        ApiKey::CreateTopics => {
            let topics = each(rng, |rng, _| CreatableTopic {
                // No single bit makes a good name of this one.
                name: Str::from("/".repeat(rng.pick(&[8, 300]))),
                num_partitions: small(rng),
                replication_factor: rng.pick(&[-1, 0, 1, 3, i16::MIN, i16::MAX]),
                ..CreatableTopic::default()
            });
            CreateTopicsRequest { topics, timeout_ms: small(rng), validate_only: false }.into()
        }
        ApiKey::DeleteTopics => {
            let topics = each(rng, |rng, at| DeleteTopicState {
                name: Some(nowhere(rng, at)),
                ..DeleteTopicState::default()
            });
            let topic_names = each(rng, nowhere);
            match rng.chance(500) {
                true => DeleteTopicsRequest { topics, timeout_ms: small(rng), ..Default::default() }.into(),
                false => {
                    DeleteTopicsRequest { topic_names, timeout_ms: small(rng), ..Default::default() }.into()
                }
            }
        }
        ApiKey::DeleteRecords => {
            let topics = each(rng, |rng, at| {
                let partitions = each_of(rng, |rng| DeleteRecordsPartition {
                    partition_index: index(rng),
                    offset: number(rng),
                });
                DeleteRecordsTopic { name: nowhere(rng, at), partitions }
            });
            DeleteRecordsRequest { topics, timeout_ms: small(rng) }.into()
        }
        ApiKey::InitProducerId => InitProducerIdRequest {
            transactional_id: rng.chance(500).then(|| Str::from_static("hostile")),
            transaction_timeout_ms: small(rng),
            ..InitProducerIdRequest::default()
        }
        .into(),
        ApiKey::FindCoordinator => {
            let coordinator_keys = each(rng, nowhere);
            let key_type = rng.pick(&[0, 1, 2, -1, 127]);
            FindCoordinatorRequest { key_type, coordinator_keys, ..FindCoordinatorRequest::default() }.into()
        }
        api => request_of(api),
    }
}

/// A topic that clients may ask about: one of theirs, or none.
fn readable(rng: &mut Stream, number: u64) -> Str {
    if rng.chance(300) { Str::from(stable_name(rng.index(2))) } else { nowhere(rng, number) }
}

/// Records for topics that there are not, or for one of the good clients' with a batch that is no good.
fn draw_produce(rng: &mut Stream) -> (Request, bool) {
    let mut builder = BatchBuilder::new();
    let value = rng.bytes(40);
    builder.add(crate::world::WALL_START_MS, None, Some(&value), &[]);
    let mut batch = builder.finish().to_vec();
    let targets_one = rng.chance(400);
    if targets_one {
        // What is behind the CRC counts for it: no such batch is ever good.
        let at = CRC_END + rng.index(batch.len() - CRC_END);
        batch[at] ^= 1 << rng.below(8);
    }
    let batch = Bytes::from(batch);
    let part = |rng: &mut Stream| PartitionProduceData {
        index: if targets_one { 0 } else { index(rng) },
        records: rng.chance(900).then(|| Records::from(batch.clone())),
    };
    let topic_data = if targets_one {
        let name = Str::from(stable_name(0));
        vec![TopicProduceData { name, partition_data: vec![part(rng)], ..Default::default() }]
    } else {
        each(rng, |rng, at| TopicProduceData {
            name: nowhere(rng, at),
            topic_id: Uuid([0xee; 16]),
            partition_data: each_of(rng, part),
        })
    };
    let request = ProduceRequest {
        transactional_id: rng.chance(100).then(|| Str::from_static("hostile")),
        acks: rng.pick(&[-1, -1, 1, 0, 2, i16::MIN]),
        timeout_ms: small(rng),
        topic_data,
    };
    (request.into(), !targets_one)
}

/// Where the part of a batch begins that its CRC covers.
const CRC_END: usize = 21;

/// Fetches of too much, for too long, in sessions without end, and in the name of nodes.
fn draw_fetch(rng: &mut Stream) -> FetchRequest {
    let claims = if rng.chance(250) { rng.pick(&[0, 1, 2, 3, i32::MAX]) } else { -1 };
    let by_state = rng.chance(500);
    let topics = each(rng, |rng, at| FetchTopic {
        topic: readable(rng, at),
        topic_id: Uuid([0xee; 16]),
        partitions: (0..rng.range(1, 3))
            .map(|_| FetchPartition {
                partition: index(rng),
                current_leader_epoch: small(rng),
                fetch_offset: number(rng),
                last_fetched_epoch: small(rng),
                partition_max_bytes: small(rng),
                ..FetchPartition::default()
            })
            .collect(),
    });
    FetchRequest {
        replica_id: if by_state { -1 } else { claims },
        replica_state: ReplicaState { replica_id: if by_state { claims } else { -1 }, replica_epoch: -1 },
        max_wait_ms: rng.pick(&[0, -1, 100, 5_000, WAIT_MS_MAX, i32::MAX]),
        min_bytes: rng.pick(&[0, 1, -1, i32::MAX]),
        max_bytes: small(rng),
        session_id: rng.pick(&[0, 0, 1, -1, i32::MAX]),
        session_epoch: rng.pick(&[0, 0, 0, -1, 1, 2, i32::MAX, i32::MIN]),
        topics,
        ..FetchRequest::default()
    }
}

/// An empty request of an API.
fn request_of(api: ApiKey) -> Request {
    if api == ApiKey::Metadata {
        // Of no topic: without a list it asks for all of them.
        return MetadataRequest { topics: Some(Vec::new()), ..Default::default() }.into();
    }
    if api == ApiKey::OffsetFetch {
        // Version 1 must have a list.
        return OffsetFetchRequest { topics: Some(Vec::new()), ..Default::default() }.into();
    }
    Request::empty(api)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn frames_are_of_every_kind_and_a_function_of_the_stream() {
        let shots = |seed| {
            let mut rng = Stream::new(seed, Purpose::Hostile, 1);
            (0..5_000).map(|_| draw(&mut rng)).collect::<Vec<_>>()
        };
        let drawn = shots(1);
        assert_eq!(drawn, shots(1));
        assert_ne!(drawn, shots(2));
        let of = |is: &dyn Fn(&Shot) -> bool| drawn.iter().filter(|shot| is(shot)).count();
        assert!(of(&|shot| shot.outcome == Outcome::Closed) > 300);
        assert!(of(&|shot| shot.outcome == Outcome::Silent) > 30);
        assert!(of(&|shot| matches!(shot.outcome, Outcome::Answer { is_forged: true, .. })) > 30);
        assert!(of(&|shot| shot.is_patient) > 20);
        assert!(of(&|shot| shot.frame.len() > 100_000) > 0);
        for api in APIS {
            let is_it =
                |shot: &Shot| matches!(shot.outcome, Outcome::Answer { api: it, .. } if it == api.api_key);
            assert!(of(&is_it) > 0, "{}", api.api_key.name());
        }
    }
}
