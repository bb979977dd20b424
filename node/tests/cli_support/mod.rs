//! A broker of lies for the client's tests: it answers with what a script says, on a real socket.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use seedlog::client::{Cluster, ConnectionOptions};
use seedlog_core::ids::Uuid;
use seedlog_core::wire::api_versions::ApiVersion;
use seedlog_core::wire::metadata::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use seedlog_core::wire::{
    APIS, ApiKey, ApiVersionsResponse, DecodedRequest, InitProducerIdResponse, MetadataResponse, Request,
    RequestBody, Response, Str, decode_request, encode_response,
};

/// What the broker does about one request.
#[allow(dead_code, reason = "each test binary uses some of them")]
pub(crate) enum Reply {
    /// Answers.
    Answer(Response),
    /// Answers with another correlation id.
    WrongCorrelation(Response),
    /// Answers, but only the first so many bytes, then closes.
    Truncated(Response, usize),
    /// Sends these bytes as they are, and keeps the connection.
    Raw(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Says nothing, to this request and to every later one of the connection: answers come in the order of requests, so
    /// what is not answered holds up the rest.
    Silence,
    /// Goes on without an answer: Produce with acks=0 has none.
    Unanswered,
    /// What a friendly broker answers.
    Friendly,
}

type Script = Arc<Mutex<dyn FnMut(&Request) -> Reply + Send>>;

/// A broker on a free port of loopback that follows `script`.
pub(crate) struct FakeBroker {
    pub(crate) address: String,
}

impl FakeBroker {
    pub(crate) fn start(script: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script: Script = Arc::new(Mutex::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let script = Arc::clone(&script);
                thread::spawn(move || serve(stream, port, &script));
            }
        });
        Self { address: format!("127.0.0.1:{port}") }
    }

    /// A client of this broker that loses patience quickly.
    pub(crate) fn cluster(&self) -> Cluster {
        let options = ConnectionOptions {
            request_timeout: std::time::Duration::from_millis(400),
            connect_timeout: std::time::Duration::from_millis(400),
            frame_bytes_max: 1 << 20,
            ..ConnectionOptions::default()
        };
        Cluster::new(vec![self.address.clone()], options)
    }
}

fn serve(mut stream: TcpStream, port: u16, script: &Script) -> Option<()> {
    let mut silent = false;
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).ok()?;
        let DecodedRequest { header, body, .. } = decode_request(Bytes::from(frame)).unwrap();
        let RequestBody::Known(request) = body else { return None };
        let reply = (script.lock().unwrap())(&request);
        silent |= matches!(reply, Reply::Silence);
        if silent {
            continue;
        }
        let frame = |response: &Response, correlation_id| {
            encode_response(header.api_version, correlation_id, response).unwrap().to_bytes()
        };
        let bytes = match reply {
            Reply::Friendly => frame(&friendly(&request, port), header.correlation_id).to_vec(),
            Reply::Answer(response) => frame(&response, header.correlation_id).to_vec(),
            Reply::WrongCorrelation(response) => {
                frame(&response, header.correlation_id.wrapping_add(7)).to_vec()
            }
            Reply::Truncated(response, length) => {
                let bytes = frame(&response, header.correlation_id);
                stream.write_all(&bytes[..length.min(bytes.len())]).ok()?;
                return None;
            }
            Reply::Raw(bytes) => bytes,
            Reply::Close => return None,
            Reply::Unanswered => continue,
            Reply::Silence => unreachable!("a silent broker came no further"),
        };
        stream.write_all(&bytes).ok()?;
    }
}

/// What a broker with one topic `t` of two partitions answers.
pub(crate) fn friendly(request: &Request, port: u16) -> Response {
    match request.api_key() {
        ApiKey::ApiVersions => versions().into(),
        ApiKey::Metadata => metadata(port).into(),
        ApiKey::InitProducerId => InitProducerIdResponse { producer_id: 77, ..Default::default() }.into(),
        other @ (ApiKey::Produce
        | ApiKey::Fetch
        | ApiKey::ListOffsets
        | ApiKey::CreateTopics
        | ApiKey::DeleteTopics
        | ApiKey::OffsetForLeaderEpoch
        | ApiKey::FindCoordinator
        | ApiKey::OffsetCommit
        | ApiKey::OffsetFetch
        | ApiKey::JoinGroup
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::SyncGroup
        | ApiKey::DescribeGroups
        | ApiKey::ListGroups
        | ApiKey::DeleteGroups
        | ApiKey::OffsetDelete
        | ApiKey::ConsumerGroupHeartbeat
        | ApiKey::ConsumerGroupDescribe
        | ApiKey::DescribeCluster
        | ApiKey::DescribeTopicPartitions
        | ApiKey::DescribeAcls
        | ApiKey::DescribeLogDirs
        | ApiKey::DescribeClientQuotas
        | ApiKey::DescribeUserScramCredentials
        | ApiKey::DescribeQuorum
        | ApiKey::UpdateFeatures
        | ApiKey::DescribeProducers
        | ApiKey::DeleteRecords
        | ApiKey::DescribeConfigs
        | ApiKey::AlterConfigs
        | ApiKey::CreatePartitions
        | ApiKey::ElectLeaders
        | ApiKey::AlterPartitionReassignments
        | ApiKey::ListPartitionReassignments
        | ApiKey::IncrementalAlterConfigs
        | ApiKey::ListConfigResources) => panic!("the script must answer {}", other.name()),
    }
}

pub(crate) fn versions() -> ApiVersionsResponse {
    let range = |api: &seedlog_core::wire::ApiSupport| ApiVersion {
        api_key: api.api_key.as_i16(),
        min_version: api.advertised.min,
        max_version: api.advertised.max,
    };
    ApiVersionsResponse { api_keys: APIS.iter().map(range).collect(), ..Default::default() }
}

fn metadata(port: u16) -> MetadataResponse {
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        leader_epoch: 0,
        replica_nodes: vec![1],
        isr_nodes: vec![1],
        ..Default::default()
    };
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: 1,
            host: Str::from("127.0.0.1"),
            port: i32::from(port),
            rack: None,
        }],
        controller_id: 1,
        topics: vec![MetadataResponseTopic {
            name: Some(Str::from("t")),
            topic_id: Uuid([7; 16]),
            partitions: vec![partition(0), partition(1)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Runs a test of the client on a runtime like that of the command line; a test that hangs fails.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(30), test)
            .await
            .expect("the client must not hang")
    })
}

/// A script of replies for one API; everything else is answered as by a friendly broker.
#[allow(dead_code, reason = "each test binary uses some of them")]
pub(crate) fn scripted(api: ApiKey, replies: Vec<Reply>) -> impl FnMut(&Request) -> Reply + Send {
    let mut replies: VecDeque<Reply> = replies.into();
    move |request| {
        if request.api_key() == api { replies.pop_front().unwrap_or(Reply::Silence) } else { Reply::Friendly }
    }
}
