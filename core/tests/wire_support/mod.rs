//! What the wire's tests share: every message as a `Subject`, and a writer of random bodies that knows only the static
//! schema. The writer is a second encoder, written apart from the first, so that the two can disagree.

#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use seedlog_core::wire::{
    APIS, ApiSupport, Decoder, DefaultValue, Described, FieldSchema, Kind, Message, RequestHeader,
    ResponseHeader, StructSchema, WireError, alter_configs, alter_partition_reassignments, api_versions,
    consumer_group_describe, consumer_group_heartbeat, create_partitions, create_topics, delete_groups,
    delete_records, delete_topics, describe_acls, describe_client_quotas, describe_cluster, describe_configs,
    describe_groups, describe_log_dirs, describe_producers, describe_quorum, describe_topic_partitions,
    describe_user_scram_credentials, elect_leaders, fetch, find_coordinator, heartbeat,
    incremental_alter_configs, init_producer_id, join_group, leave_group, list_config_resources, list_groups,
    list_offsets, list_partition_reassignments, metadata, offset_commit, offset_delete, offset_fetch,
    offset_for_leader_epoch, produce, sync_group, update_features,
};

/// One message type, with its type erased.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) key: Option<i16>,
    pub(crate) described: Described,
    pub(crate) read: fn(Bytes, i16) -> Read,
    pub(crate) recode: fn(Bytes, i16, i16) -> Result<Bytes, WireError>,
}

/// What came of reading a body.
pub(crate) struct Read {
    /// The value written again in the same version; `Err` if it could not be read.
    pub(crate) again: Result<Bytes, WireError>,
    pub(crate) reserved: usize,
    pub(crate) reserved_max: usize,
}

fn read<M: Message>(body: Bytes, version: i16) -> Read {
    let mut input = Decoder::new(body, version, M::FLEXIBLE.contains(version));
    let value = M::decode_whole(&mut input).and_then(|value| input.finish().map(|()| value));
    let again = value.map(|value| value.to_chain(version).expect("what was read can be written").to_bytes());
    Read { again, reserved: input.reserved(), reserved_max: input.reserved_max() }
}

fn recode<M: Message>(body: Bytes, from: i16, to: i16) -> Result<Bytes, WireError> {
    Ok(M::from_bytes(body, from)?.to_chain(to)?.to_bytes())
}

fn subject<M: Message>(name: &'static str) -> Subject {
    let names =
        |api: &&ApiSupport| [api.request.schema.name, api.response.schema.name].contains(&M::SCHEMA.name);
    Subject {
        name,
        key: APIS.iter().find(names).map(|api| api.api_key.as_i16()),
        described: Described::of::<M>(),
        read: read::<M>,
        recode: recode::<M>,
    }
}

/// All requests, responses and headers.
pub(crate) fn subjects() -> Vec<Subject> {
    macro_rules! subjects {
        ($($module:ident $request:ident $response:ident;)+) => {
            vec![
                subject::<RequestHeader>("RequestHeader"),
                subject::<ResponseHeader>("ResponseHeader"),
                $(
                    subject::<$module::$request>(stringify!($request)),
                    subject::<$module::$response>(stringify!($response)),
                )+
            ]
        };
    }
    let subjects = subjects! {
        produce ProduceRequest ProduceResponse;
        fetch FetchRequest FetchResponse;
        list_offsets ListOffsetsRequest ListOffsetsResponse;
        metadata MetadataRequest MetadataResponse;
        api_versions ApiVersionsRequest ApiVersionsResponse;
        create_topics CreateTopicsRequest CreateTopicsResponse;
        delete_topics DeleteTopicsRequest DeleteTopicsResponse;
        delete_records DeleteRecordsRequest DeleteRecordsResponse;
        find_coordinator FindCoordinatorRequest FindCoordinatorResponse;
        init_producer_id InitProducerIdRequest InitProducerIdResponse;
        describe_cluster DescribeClusterRequest DescribeClusterResponse;
        describe_topic_partitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
        describe_configs DescribeConfigsRequest DescribeConfigsResponse;
        create_partitions CreatePartitionsRequest CreatePartitionsResponse;
        elect_leaders ElectLeadersRequest ElectLeadersResponse;
        alter_configs AlterConfigsRequest AlterConfigsResponse;
        alter_partition_reassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse;
        list_partition_reassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
        incremental_alter_configs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
        list_config_resources ListConfigResourcesRequest ListConfigResourcesResponse;
        describe_acls DescribeAclsRequest DescribeAclsResponse;
        describe_log_dirs DescribeLogDirsRequest DescribeLogDirsResponse;
        describe_client_quotas DescribeClientQuotasRequest DescribeClientQuotasResponse;
        describe_user_scram_credentials DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse;
        describe_quorum DescribeQuorumRequest DescribeQuorumResponse;
        update_features UpdateFeaturesRequest UpdateFeaturesResponse;
        describe_producers DescribeProducersRequest DescribeProducersResponse;
        offset_for_leader_epoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
        offset_commit OffsetCommitRequest OffsetCommitResponse;
        offset_fetch OffsetFetchRequest OffsetFetchResponse;
        join_group JoinGroupRequest JoinGroupResponse;
        heartbeat HeartbeatRequest HeartbeatResponse;
        leave_group LeaveGroupRequest LeaveGroupResponse;
        sync_group SyncGroupRequest SyncGroupResponse;
        describe_groups DescribeGroupsRequest DescribeGroupsResponse;
        list_groups ListGroupsRequest ListGroupsResponse;
        delete_groups DeleteGroupsRequest DeleteGroupsResponse;
        offset_delete OffsetDeleteRequest OffsetDeleteResponse;
        consumer_group_heartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
        consumer_group_describe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse;
    };
    assert_eq!(subjects.len(), 2 + 2 * APIS.len(), "every API is here");
    subjects
}

/// A small generator (splitmix64): the same seed gives the same bytes everywhere.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Writes random bodies of one message in one version.
pub(crate) struct Writer<'a> {
    rng: &'a mut Rng,
    version: i16,
    flexible: bool,
    /// Unknown tagged fields to sprinkle in, from a generator of their own.
    unknown: Option<Rng>,
    out: Vec<u8>,
    /// Where counts and lengths stand, and how many bytes they take.
    lengths: Vec<(usize, usize)>,
}

/// A random body and where its counts and lengths stand.
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    pub(crate) lengths: Vec<(usize, usize)>,
}

/// A random body in canonical form: what an encoder has to write for the value in it.
pub(crate) fn body(rng: &mut Rng, described: &Described, version: i16) -> Body {
    write(rng, described, version, None)
}

/// The same body that `body` would have written, with unknown tagged fields in it.
pub(crate) fn body_with_unknown_tags(rng: &mut Rng, described: &Described, version: i16) -> Body {
    let unknown = Rng(rng.0 ^ 0x5eed);
    write(rng, described, version, Some(unknown))
}

fn write(rng: &mut Rng, described: &Described, version: i16, unknown: Option<Rng>) -> Body {
    let flexible = described.flexible.contains(version);
    let mut writer = Writer { rng, version, flexible, unknown, out: Vec::new(), lengths: Vec::new() };
    writer.structure(described.schema);
    Body { bytes: writer.out.into(), lengths: writer.lengths }
}

impl Writer<'_> {
    fn structure(&mut self, schema: &StructSchema) {
        for field in schema.fields {
            let tagged = field.tag.is_some_and(|(_, versions)| versions.contains(self.version));
            if field.versions.contains(self.version) && !tagged {
                self.field(field);
            }
        }
        if self.flexible {
            self.tagged_fields(schema);
        }
    }

    fn tagged_fields(&mut self, schema: &StructSchema) {
        let mut tagged = Vec::new();
        for field in schema.fields {
            let Some((tag, versions)) = field.tag else { continue };
            if versions.contains(self.version) && self.rng.one_in(2) {
                let value = self.aside(|writer| writer.field(field));
                let default = self.aside(|writer| writer.default(field));
                // The canonical form leaves out what is at its default.
                if value != default {
                    tagged.push((tag, value));
                }
            }
        }
        if let Some(unknown) = &mut self.unknown {
            let mut tag = 5;
            while unknown.one_in(2) {
                tag += 1 + unknown.below(200) as u32;
                let value = (0..unknown.below(9)).map(|_| unknown.next() as u8).collect();
                tagged.push((tag, value));
            }
        }
        tagged.sort_by_key(|(tag, _)| *tag);
        self.varint(tagged.len() as u32);
        for (tag, value) in tagged {
            self.varint(tag);
            self.varint(value.len() as u32);
            self.out.extend(value);
        }
    }

    fn aside(&mut self, write: impl FnOnce(&mut Self)) -> Vec<u8> {
        let (out, lengths) = (std::mem::take(&mut self.out), std::mem::take(&mut self.lengths));
        write(self);
        self.lengths = lengths;
        std::mem::replace(&mut self.out, out)
    }

    fn field(&mut self, field: &FieldSchema) {
        let flexible = self.flexible;
        self.flexible = flexible && !field.inflexible;
        if field.nullable.contains(self.version) && self.rng.one_in(3) {
            self.null(&field.kind);
        } else {
            if matches!(field.kind, Kind::Struct(_)) && field.nullable.contains(self.version) {
                self.out.push(1);
            }
            self.value(&field.kind);
        }
        self.flexible = flexible;
    }

    fn null(&mut self, kind: &Kind) {
        match kind {
            Kind::Struct(_) => self.out.push(0xff),
            Kind::String if !self.flexible => self.out.extend((-1_i16).to_be_bytes()),
            Kind::String | Kind::Bytes | Kind::Records | Kind::Array(_) => {
                if self.flexible {
                    self.out.push(0);
                } else {
                    self.out.extend((-1_i32).to_be_bytes());
                }
            }
            Kind::Bool
            | Kind::Int8
            | Kind::Int16
            | Kind::Int32
            | Kind::Int64
            | Kind::Uint16
            | Kind::Uint32
            | Kind::Float64
            | Kind::Uuid => panic!("{kind:?} cannot be null"),
        }
    }

    fn value(&mut self, kind: &Kind) {
        match kind {
            Kind::Bool => {
                let value = self.rng.below(2) as u8;
                self.out.push(value);
            }
            Kind::Int8 => self.number(1),
            Kind::Int16 | Kind::Uint16 => self.number(2),
            Kind::Int32 | Kind::Uint32 => self.number(4),
            Kind::Int64 | Kind::Float64 => self.number(8),
            Kind::Uuid => self.number(16),
            Kind::String => {
                let text = self.text();
                self.length(text.len(), 2);
                self.out.extend(text.into_bytes());
            }
            Kind::Bytes | Kind::Records => {
                let length = if self.rng.one_in(8) { 200 } else { self.rng.below(40) };
                self.length(length, 4);
                for _ in 0..length {
                    let byte = self.rng.next() as u8;
                    self.out.push(byte);
                }
            }
            Kind::Array(element) => {
                let short = !matches!(element, Kind::Struct(_));
                let count = if short && self.rng.one_in(16) { 130 } else { self.rng.below(4) };
                self.length(count, 4);
                for _ in 0..count {
                    self.value(element);
                }
            }
            Kind::Struct(schema) => self.structure(schema),
        }
    }

    fn default(&mut self, field: &FieldSchema) {
        match (field.default, &field.kind) {
            (DefaultValue::Null, kind) => self.null(kind),
            (DefaultValue::Number(value), kind) => {
                let width = match kind {
                    Kind::Bool | Kind::Int8 => 1,
                    Kind::Int16 | Kind::Uint16 => 2,
                    Kind::Int32 | Kind::Uint32 => 4,
                    Kind::Int64 => 8,
                    Kind::Float64
                    | Kind::Uuid
                    | Kind::String
                    | Kind::Bytes
                    | Kind::Records
                    | Kind::Array(_)
                    | Kind::Struct(_) => {
                        panic!("{kind:?} is no number")
                    }
                };
                self.out.extend(&value.to_be_bytes()[8 - width..]);
            }
            (DefaultValue::Zero, kind) => match kind {
                Kind::Bool | Kind::Int8 => self.out.push(0),
                Kind::Int16 | Kind::Uint16 => self.out.extend([0; 2]),
                Kind::Int32 | Kind::Uint32 => self.out.extend([0; 4]),
                Kind::Int64 | Kind::Float64 => self.out.extend([0; 8]),
                Kind::Uuid => self.out.extend([0; 16]),
                Kind::String => self.length(0, 2),
                Kind::Bytes | Kind::Records | Kind::Array(_) => self.length(0, 4),
                Kind::Struct(schema) => {
                    for field in schema.fields {
                        if field.versions.contains(self.version) {
                            self.default(field);
                        }
                    }
                    if self.flexible {
                        self.out.push(0);
                    }
                }
            },
        }
    }

    /// A number of `width` bytes, with a liking for the ends of its range.
    fn number(&mut self, width: usize) {
        let bytes = match self.rng.below(6) {
            0 => [0; 16],
            1 => [0xff; 16],
            2 => std::array::from_fn(|i| if i == 0 { 0x7f } else { 0xff }),
            3 => std::array::from_fn(|i| if i == 0 { 0x80 } else { 0 }),
            _ => std::array::from_fn(|_| self.rng.next() as u8),
        };
        self.out.extend(&bytes[..width]);
    }

    fn text(&mut self) -> String {
        let length = match self.rng.below(24) {
            0 => 126,
            1 => 127,
            2 => 300,
            _ => self.rng.below(12),
        };
        (0..length)
            .map(|_| if self.rng.one_in(9) { 'ß' } else { char::from(b'a' + self.rng.below(26) as u8) })
            .collect()
    }

    fn length(&mut self, length: usize, width: usize) {
        let at = self.out.len();
        if self.flexible {
            self.varint(length as u32 + 1);
        } else if width == 2 {
            self.out.extend((length as i16).to_be_bytes());
        } else {
            self.out.extend((length as i32).to_be_bytes());
        }
        self.lengths.push((at, self.out.len() - at));
    }

    fn varint(&mut self, value: u32) {
        varint(&mut self.out, value);
    }
}

/// Appends an unsigned varint.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let group = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(group);
            return;
        }
        out.push(group | 0x80);
    }
}

/// For every message, version and seed: `check(subject, version, generator)`.
pub(crate) fn for_all(seeds: u64, mut check: impl FnMut(&Subject, i16, &mut Rng)) {
    for subject in subjects() {
        for version in subject.described.versions.min..=subject.described.versions.max {
            for seed in 0..seeds {
                let mut rng = Rng((seed << 8) ^ version as u64 ^ ((subject.name.len() as u64) << 32));
                check(&subject, version, &mut rng);
            }
        }
    }
}
