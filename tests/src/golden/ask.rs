//! Requests: from a command to a frame, and through the door to the broker.

use super::node::WALL_START_MS;
use super::words::Line;
use super::{Frame, World, consumers, described, groups, partitions, settings};
use bytes::Bytes;
use seedlog_core::door::admit;
use seedlog_core::ids::{ProducerEpoch, ProducerId};
use seedlog_core::input::Input;
use seedlog_core::records::{BatchBuilder, Compression};
use seedlog_core::wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use seedlog_core::wire::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use seedlog_core::wire::describe_topic_partitions::{Cursor, TopicRequest};
use seedlog_core::wire::fetch::{FetchPartition, FetchTopic};
use seedlog_core::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use seedlog_core::wire::metadata::MetadataRequestTopic;
use seedlog_core::wire::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use seedlog_core::wire::produce::{PartitionProduceData, TopicProduceData};
use seedlog_core::wire::{
    ApiKey, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeTopicPartitionsRequest,
    FetchRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest,
    ProduceRequest, Request, Str, encode_request,
};

/// How long a client waits for what it asks for, if the script does not say.
const TIMEOUT_MS: i32 = 30_000;

impl World {
    /// Sends a request and lets the broker answer, or not.
    pub(super) fn ask(&mut self, line: &mut Line) -> Result<(), String> {
        self.process()?;
        let version = line.take("version").map(|version| super::words::number(&version)).transpose()?;
        let request = self.request(line, version)?;
        let conn = self.connect(&line.client)?;
        let api = request.api_key();
        let version = version.unwrap_or_else(|| version_of(api));
        let name = line.client.clone();
        let client = self.process()?.clients.get_mut(&name).ok_or("the connection is gone")?;
        let number = client.send(&line.verb, api, version);
        let correlation_id = i32::try_from(number.0).map_err(|error| error.to_string())?;
        let frame = encode_request(version, correlation_id, Some(&Str::from(&*name)), &request);
        // Without its length: the connection has read that.
        let frame = frame.map_err(|error| error.to_string())?.to_bytes().slice(4..);
        self.frames.push(Frame { api, version, is_answer: false, bytes: frame.clone() });
        let admitted = admit(frame).map_err(|error| error.to_string())?;
        self.asked = Some((conn, number));
        self.step(Input::Request { conn, number, request: admitted.request });
        self.settle();
        let client = self.up.as_ref().and_then(|process| process.clients.get(&name));
        if client.is_some_and(|client| client.due.contains_key(&number.0)) {
            self.said.push("waits".to_owned());
        }
        Ok(())
    }

    fn request(&mut self, line: &mut Line, version: Option<i16>) -> Result<Request, String> {
        match &*line.verb.clone() {
            "create" => create(line),
            "delete" => {
                let topic_names = vec![next_name(line)?];
                Ok(DeleteTopicsRequest { topic_names, timeout_ms: TIMEOUT_MS, ..Default::default() }.into())
            }
            "metadata" => {
                let name = next_name(line)?;
                let topic = match line.take("by-id") {
                    None => MetadataRequestTopic { name: Some(name), ..Default::default() },
                    // As Kafka's consumer asks: with an empty name.
                    Some(_) => {
                        let named = self.process()?.broker.image().topic_named(&name);
                        let topic_id = named.map(|(topic_id, _)| topic_id).ok_or("no such topic")?;
                        MetadataRequestTopic { topic_id, name: Some(Str::default()) }
                    }
                };
                let allow_auto_topic_creation = line.take("auto-create").is_some();
                Ok(MetadataRequest {
                    topics: Some(vec![topic]),
                    allow_auto_topic_creation,
                    ..Default::default()
                }
                .into())
            }
            "produce" => self.produce(line),
            "fetch" => self.fetch(line),
            "offsets" => offsets(line),
            "delete-records" => delete_records(line),
            "epoch-end" => epoch_end(line),
            "describe" => describe(line),
            "grow" => partitions::grow(line),
            "elect" => partitions::elect(line),
            "move" => partitions::reassign(line),
            "moving" => partitions::list_moving(line),
            "settings" | "alter" | "replace-settings" | "resources" => settings::request(line),
            "quorum" | "log-dirs" | "producers" | "acls" | "quotas" | "features" | "scram-users"
            | "update-features" => described::request(line),
            "find-coordinator" | "join" | "sync-group" | "heartbeat" | "leave" | "commit" | "committed"
            | "groups" | "describe-groups" | "delete-groups" | "delete-offsets" => {
                Ok(self.with_ids(groups::request(line, version)?))
            }
            "consume" => self.consume(line),
            "describe-consumers" => Ok(consumers::describe(line)),
            "init-producer" => {
                let none = InitProducerIdRequest { transaction_timeout_ms: TIMEOUT_MS, ..Default::default() };
                Ok(none.into())
            }
            verb => Err(format!("{verb}: no such command")),
        }
    }

    fn produce(&self, line: &mut Line) -> Result<Request, String> {
        let acks = match line.take("acks").as_deref() {
            None | Some("all") => -1,
            Some(number) => super::words::number(number)?,
        };
        let timeout_ms = line.take_number("timeout", TIMEOUT_MS)?;
        let now = WALL_START_MS + i64::try_from(self.now_ms).map_err(|error| error.to_string())?;
        let timestamp = line.take_number("at", now)?;
        let producer = ProducerId(line.take_number("producer", -1)?);
        let (epoch, sequence) = (line.take_number("epoch", -1)?, line.take_number("seq", -1)?);
        let is_corrupt = line.take("crc").is_some();
        let codec = match line.take("codec").as_deref() {
            None => Compression::None,
            Some("zstd") => Compression::Zstd,
            Some(codec) => return Err(format!("codec={codec}")),
        };
        let mut topic_data: Vec<TopicProduceData> = Vec::new();
        while let Some((topic, index)) = line.next_partition()? {
            let mut batch = BatchBuilder::new().producer(producer, ProducerEpoch(epoch), sequence);
            while let Some(value) = line.next_value() {
                batch.add(timestamp, None, Some(&value), &[]);
            }
            // The broker takes compressed records as they are.
            let mut bytes = batch.finish_with(codec, <[u8]>::to_vec).to_vec();
            if is_corrupt && let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            let data = PartitionProduceData { index, records: Some(Bytes::from(bytes).into()) };
            let name = Str::from(topic);
            match topic_data.iter_mut().find(|known| known.name == name) {
                Some(known) => known.partition_data.push(data),
                None => topic_data.push(TopicProduceData {
                    name,
                    partition_data: vec![data],
                    ..Default::default()
                }),
            }
        }
        Ok(ProduceRequest { acks, timeout_ms, topic_data, ..Default::default() }.into())
    }

    fn fetch(&mut self, line: &mut Line) -> Result<Request, String> {
        let (fetch_offset, partition_max_bytes) = (line.take_number("from", 0)?, 1 << 20);
        let current_leader_epoch = line.take_number("epoch", -1)?;
        let last_fetched_epoch = line.take_number("last-epoch", -1)?;
        let mut topics: Vec<FetchTopic> = Vec::new();
        while let Some((topic, partition)) = line.next_partition()? {
            let wanted = FetchPartition {
                partition,
                current_leader_epoch,
                fetch_offset,
                last_fetched_epoch,
                partition_max_bytes,
                ..Default::default()
            };
            let topic = Str::from(topic);
            match topics.iter_mut().find(|known| known.topic == topic) {
                Some(known) => known.partitions.push(wanted),
                None => {
                    // Versions that go by id take this one, older ones the name.
                    let named = self.process()?.broker.image().topic_named(&topic);
                    let topic_id = named.map(|(topic_id, _)| topic_id).unwrap_or_default();
                    topics.push(FetchTopic { topic, topic_id, partitions: vec![wanted] });
                }
            }
        }
        let replica_id = line.take_number("replica", -1)?;
        let (session_id, session_epoch) = match line.take("session").as_deref() {
            None => (0, -1),
            Some("open") => (0, 0),
            Some(word) => {
                let session = self.process()?.clients.get(&line.client).and_then(|client| client.session);
                let (id, next) = session.ok_or("it has no session")?;
                match word {
                    "next" => (id, next),
                    "same" => (id, next - 1),
                    "unknown" => (id + 1, next),
                    _ => return Err(format!("session={word}")),
                }
            }
        };
        let request = FetchRequest {
            replica_id,
            max_wait_ms: line.take_number("wait", 0)?,
            min_bytes: line.take_number("min-bytes", 1)?,
            max_bytes: line.take_number("max-bytes", 1 << 20)?,
            session_id,
            session_epoch,
            topics,
            ..Default::default()
        };
        Ok(request.into())
    }
}

/// The latest version in which topics go by name: scenarios are to be read.
fn version_of(api: ApiKey) -> i16 {
    match api {
        ApiKey::Produce | ApiKey::Fetch | ApiKey::Metadata => 12,
        ApiKey::ListOffsets => 10,
        ApiKey::JoinGroup | ApiKey::OffsetCommit | ApiKey::OffsetFetch => 9,
        ApiKey::CreateTopics => 7,
        ApiKey::DeleteTopics | ApiKey::InitProducerId => 5,
        ApiKey::ApiVersions | ApiKey::OffsetForLeaderEpoch | ApiKey::Heartbeat => 4,
        ApiKey::FindCoordinator | ApiKey::DescribeGroups => 6,
        ApiKey::SyncGroup | ApiKey::LeaveGroup | ApiKey::ListGroups => 5,
        ApiKey::CreatePartitions => 3,
        ApiKey::DescribeCluster | ApiKey::DeleteRecords | ApiKey::ElectLeaders | ApiKey::AlterConfigs => 2,
        ApiKey::DescribeConfigs => 4,
        ApiKey::IncrementalAlterConfigs
        | ApiKey::ConsumerGroupHeartbeat
        | ApiKey::ConsumerGroupDescribe
        | ApiKey::ListConfigResources
        | ApiKey::AlterPartitionReassignments => 1,
        ApiKey::DescribeQuorum | ApiKey::UpdateFeatures | ApiKey::DeleteGroups => 2,
        ApiKey::DescribeLogDirs => 5,
        ApiKey::DescribeAcls => 3,
        ApiKey::DescribeClientQuotas => 1,
        ApiKey::DescribeTopicPartitions
        | ApiKey::OffsetDelete
        | ApiKey::DescribeProducers
        | ApiKey::ListPartitionReassignments
        | ApiKey::DescribeUserScramCredentials => 0,
    }
}

/// `describe orders payments limit=2 from=orders-3`; without names, all topics.
fn describe(line: &mut Line) -> Result<Request, String> {
    let response_partition_limit = line.take_number("limit", 2_000)?;
    let cursor = match line.take("from") {
        None => None,
        Some(place) => {
            let (topic, index) = place.rsplit_once('-').ok_or("from which partition?")?;
            Some(Cursor { topic_name: Str::from(topic), partition_index: super::words::number(index)? })
        }
    };
    let names = std::iter::from_fn(|| line.next_plain());
    let topics = names.map(|name| TopicRequest { name: Str::from(name) }).collect();
    Ok(DescribeTopicPartitionsRequest { topics, response_partition_limit, cursor }.into())
}

fn next_name(line: &mut Line) -> Result<Str, String> {
    line.next_plain().map(Str::from).ok_or_else(|| "which topic?".to_owned())
}

fn create(line: &mut Line) -> Result<Request, String> {
    let setting = |(name, value): (String, String)| CreatableTopicConfig {
        name: Str::from(name),
        value: Some(Str::from(value)),
    };
    let topic = CreatableTopic {
        name: next_name(line)?,
        num_partitions: line.take_number("partitions", 1)?,
        replication_factor: line.take_number("replicas", 1)?,
        configs: line.take_settings().into_iter().map(setting).collect(),
        ..Default::default()
    };
    Ok(CreateTopicsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS, validate_only: false }.into())
}

fn offsets(line: &mut Line) -> Result<Request, String> {
    let (topic, partition_index) = line.next_partition()?.ok_or("of which partition?")?;
    let timestamp = match line.next_plain().as_deref() {
        Some("latest") => -1,
        Some("earliest") => -2,
        Some("max-timestamp") => -3,
        Some(time) => super::words::number(time)?,
        None => return Err("which offset?".to_owned()),
    };
    let current_leader_epoch = line.take_number("epoch", -1)?;
    let partitions = vec![ListOffsetsPartition { partition_index, current_leader_epoch, timestamp }];
    let topics = vec![ListOffsetsTopic { name: Str::from(topic), partitions }];
    Ok(ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }.into())
}

/// `delete-records orders-0 before=4`; without an offset, up to the high watermark.
fn delete_records(line: &mut Line) -> Result<Request, String> {
    let (topic, partition_index) = line.next_partition()?.ok_or("of which partition?")?;
    let partitions =
        vec![DeleteRecordsPartition { partition_index, offset: line.take_number("before", -1)? }];
    let topics = vec![DeleteRecordsTopic { name: Str::from(topic), partitions }];
    Ok(DeleteRecordsRequest { topics, timeout_ms: line.take_number("timeout", TIMEOUT_MS)? }.into())
}

fn epoch_end(line: &mut Line) -> Result<Request, String> {
    let (topic, partition) = line.next_partition()?.ok_or("of which partition?")?;
    let leader_epoch = line.take_number("epoch", 0)?;
    let partitions = vec![OffsetForLeaderPartition { partition, leader_epoch, ..Default::default() }];
    let topics = vec![OffsetForLeaderTopic { topic: Str::from(topic), partitions }];
    Ok(OffsetForLeaderEpochRequest { replica_id: -1, topics }.into())
}
