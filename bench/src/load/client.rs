//! What a load needs to know and to prepare: one request at a time over a connection that blocks.

use super::LoadError;
use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::Uuid;
use seedlog_core::wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use seedlog_core::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use seedlog_core::wire::metadata::MetadataRequestTopic;
use seedlog_core::wire::{
    ApiKey, CreateTopicsRequest, DeleteTopicsRequest, FindCoordinatorRequest, ListOffsetsRequest,
    MetadataRequest, MetadataResponse, Request, Response, Str, decode_response, encode_request,
};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// An answer that does not come in this time does not come.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long before a broker that is not ready is asked again.
const AGAIN: Duration = Duration::from_millis(5);
/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A connection to one broker.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    next_id: i32,
}

/// Who leads each partition of a topic: the broker's address by partition, without gaps from 0 on.
pub type Leaders = Vec<SocketAddr>;

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// As the system says.
    pub fn connect(address: SocketAddr) -> Result<Self, LoadError> {
        Ok(Self { stream: connect(address)?, next_id: 0 })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The connection breaks, or what comes is no answer.
    pub fn ask(&mut self, request: impl Into<Request>, version: i16) -> Result<Response, LoadError> {
        let request = request.into();
        let api = request.api_key();
        self.next_id += 1;
        let id = self.next_id;
        let frame = encode_request(version, id, Some(&client_id()), &request)?.to_bytes();
        self.stream.write_all(&frame)?;
        let answer = self.read_frame()?;
        let (answered, response) = decode_response(api, version, answer)?;
        if answered == id { Ok(response) } else { Err(LoadError::unexpected(api, "of another request")) }
    }

    fn read_frame(&mut self) -> Result<Bytes, LoadError> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > ANSWER_BYTES_MAX {
            return Err(LoadError::Refused(format!("an answer of {length} bytes")));
        }
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// Creates a topic and waits until each of its partitions has a leader.
    ///
    /// # Errors
    /// It is refused, or some partition has no leader in time.
    pub fn create_topic(&mut self, topic: &NewTopic<'_>) -> Result<Leaders, LoadError> {
        let config = |(name, value): &(&str, String)| CreatableTopicConfig {
            name: Str::from(*name),
            value: Some(Str::from(value.as_str())),
        };
        let wanted = CreatableTopic {
            name: Str::from(topic.name),
            num_partitions: topic.partitions,
            replication_factor: topic.replicas,
            configs: topic.configs.iter().map(config).collect(),
            ..CreatableTopic::default()
        };
        let timeout_ms = i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX);
        let request = CreateTopicsRequest { topics: vec![wanted], timeout_ms, validate_only: false };
        let Response::CreateTopics(response) = self.ask(request, 5)? else {
            return Err(LoadError::unexpected(ApiKey::CreateTopics, "of another kind"));
        };
        for answer in &response.topics {
            check(ApiKey::CreateTopics, answer.error_code)?;
        }
        self.leaders(topic.name, usize::try_from(topic.partitions).unwrap_or(0))
    }

    /// Who leads the partitions of a topic, once each has a leader.
    ///
    /// # Errors
    /// Some have none for too long.
    pub fn leaders(&mut self, name: &str, partitions: usize) -> Result<Leaders, LoadError> {
        let began = Instant::now();
        loop {
            if let Some(leaders) = self.leaders_now(name)?
                && leaders.len() >= partitions
            {
                return Ok(leaders);
            }
            if began.elapsed() > PATIENCE {
                return Err(LoadError::Refused(format!("{name} has partitions without a leader")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Brokers that the cluster knows.
    ///
    /// # Errors
    /// There is no answer.
    pub fn brokers(&mut self) -> Result<usize, LoadError> {
        Ok(self.metadata(None, 5)?.brokers.len())
    }

    /// Where all brokers of the cluster are.
    ///
    /// # Errors
    /// There is no answer.
    pub fn broker_addresses(&mut self) -> Result<Vec<SocketAddr>, LoadError> {
        let brokers = self.metadata(None, 5)?.brokers;
        brokers.iter().map(|broker| address(&broker.host, broker.port)).collect()
    }

    /// The id of a topic.
    ///
    /// # Errors
    /// There is no such topic.
    pub fn topic_id(&mut self, name: &str) -> Result<Uuid, LoadError> {
        let response = self.metadata(Some(name), 12)?;
        let topic = response.topics.first();
        let topic = topic.ok_or_else(|| LoadError::unexpected(ApiKey::Metadata, "empty"))?;
        check(ApiKey::Metadata, topic.error_code)?;
        Ok(topic.topic_id)
    }

    /// What is known of a topic, or of the brokers alone.
    fn metadata(&mut self, topic: Option<&str>, version: i16) -> Result<MetadataResponse, LoadError> {
        let named =
            |name| MetadataRequestTopic { name: Some(Str::from(name)), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: Some(topic.map(named).into_iter().collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let Response::Metadata(response) = self.ask(request, version)? else {
            return Err(LoadError::unexpected(ApiKey::Metadata, "of another kind"));
        };
        Ok(response)
    }

    /// Who leads the partitions of a topic; `None` if it is not there, or some have no leader.
    ///
    /// # Errors
    /// There is no answer.
    pub fn leaders_now(&mut self, name: &str) -> Result<Option<Leaders>, LoadError> {
        let response = self.metadata(Some(name), 5)?;
        let mut brokers = BTreeMap::new();
        for broker in &response.brokers {
            brokers.insert(broker.node_id, address(&broker.host, broker.port)?);
        }
        let Some(topic) = response.topics.first().filter(|topic| topic.error_code == 0) else {
            return Ok(None);
        };
        let mut leaders = BTreeMap::new();
        for partition in &topic.partitions {
            let Some(address) = brokers.get(&partition.leader_id).copied() else { return Ok(None) };
            leaders.insert(partition.partition_index, address);
        }
        Ok(Some(leaders.into_values().collect()))
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// It is refused.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), LoadError> {
        let names = vec![Str::from(name)];
        let request = DeleteTopicsRequest { topic_names: names, topics: Vec::new(), timeout_ms: 60_000 };
        let Response::DeleteTopics(response) = self.ask(request, 4)? else {
            return Err(LoadError::unexpected(ApiKey::DeleteTopics, "of another kind"));
        };
        response.responses.iter().try_for_each(|answer| check(ApiKey::DeleteTopics, answer.error_code))
    }

    /// Where a partition's log ends, as its leader says. A broker may learn later than others that it leads.
    ///
    /// # Errors
    /// It does not lead the partition for too long.
    pub fn end_offset(&mut self, name: &str, partition: i32) -> Result<i64, LoadError> {
        let began = Instant::now();
        loop {
            match self.end_offset_now(name, partition) {
                Err(LoadError::Refused(_)) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(AGAIN);
                }
                end => return end,
            }
        }
    }

    fn end_offset_now(&mut self, name: &str, partition: i32) -> Result<i64, LoadError> {
        let ends = self.offsets(name, &[partition], END)?;
        ends.first().copied().ok_or_else(|| LoadError::unexpected(ApiKey::ListOffsets, "empty"))
    }

    /// Where the logs of some partitions end ([`END`]) or start ([`START`]), in their order, as their leader says.
    ///
    /// # Errors
    /// It does not lead one of them.
    pub fn offsets(&mut self, name: &str, partitions: &[i32], which: i64) -> Result<Vec<i64>, LoadError> {
        let wanted = |&partition_index: &i32| ListOffsetsPartition {
            partition_index,
            timestamp: which,
            ..ListOffsetsPartition::default()
        };
        let topic =
            ListOffsetsTopic { name: Str::from(name), partitions: partitions.iter().map(wanted).collect() };
        let request =
            ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
        let Response::ListOffsets(response) = self.ask(request, 5)? else {
            return Err(LoadError::unexpected(ApiKey::ListOffsets, "of another kind"));
        };
        let mut found = BTreeMap::new();
        for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
            check(ApiKey::ListOffsets, answer.error_code)?;
            found.insert(answer.partition_index, answer.offset);
        }
        let offsets = partitions.iter().map(|partition| found.get(partition).copied());
        let offsets: Option<Vec<i64>> = offsets.collect();
        offsets.ok_or_else(|| LoadError::unexpected(ApiKey::ListOffsets, "without all partitions"))
    }

    /// Who coordinates each of some groups, in their order. The first question makes the offsets topic.
    ///
    /// # Errors
    /// Some have no coordinator for too long.
    pub fn coordinators(&mut self, groups: &[Str]) -> Result<Vec<SocketAddr>, LoadError> {
        let began = Instant::now();
        loop {
            let request = FindCoordinatorRequest {
                coordinator_keys: groups.to_vec(),
                ..FindCoordinatorRequest::default()
            };
            let Response::FindCoordinator(response) = self.ask(request, 4)? else {
                return Err(LoadError::unexpected(ApiKey::FindCoordinator, "of another kind"));
            };
            let mut found = BTreeMap::new();
            for it in response.coordinators.iter().filter(|it| it.error_code == 0) {
                found.insert(it.key.clone(), address(&it.host, it.port)?);
            }
            let all: Option<Vec<SocketAddr>> = groups.iter().map(|group| found.get(group).copied()).collect();
            match all {
                Some(all) => return Ok(all),
                None if began.elapsed() > PATIENCE => {
                    return Err(LoadError::Refused("some groups have no coordinator".to_owned()));
                }
                None => std::thread::sleep(AGAIN),
            }
        }
    }
}

/// Asks [`Client::offsets`] for the end.
pub const END: i64 = -1;
/// Asks [`Client::offsets`] for the start.
pub const START: i64 = -2;

/// A topic to be created.
#[derive(Debug, Clone)]
pub struct NewTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replicas: i16,
    /// Its settings, where they are not the defaults.
    pub configs: &'a [(&'a str, String)],
}

fn address(host: &str, port: i32) -> Result<SocketAddr, LoadError> {
    let port = u16::try_from(port).unwrap_or(0);
    let address = (host, port).to_socket_addrs()?.find(SocketAddr::is_ipv4);
    address.ok_or_else(|| LoadError::Refused(format!("{host} has no address")))
}

/// A connection with what a load wants of it: no delay.
pub(super) fn connect(address: SocketAddr) -> Result<TcpStream, LoadError> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(super) fn client_id() -> Str {
    Str::from_static("bench")
}

pub(super) fn check(api: ApiKey, code: i16) -> Result<(), LoadError> {
    if code == 0 {
        return Ok(());
    }
    let name = ErrorCode::from_code(code).map_or_else(|| code.to_string(), |code| code.name().to_owned());
    Err(LoadError::Refused(format!("{}: {name}", api.name())))
}
