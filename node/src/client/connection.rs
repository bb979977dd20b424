//! One connection to one broker: requests go out one after another without waiting, answers come back in that order.
//!
//! ```text
//!   call() ──► writer task ──► socket ──► reader task ──► each caller's channel
//!                  └── in flight: what was asked, oldest first ──┘
//! ```
//!
//! Whatever goes wrong ends the connection for every caller: a broken promise about order cannot be mended. Bounds: the
//! requests in flight, the bytes of one answer. Who talks to which broker is the business of `cluster`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, LENGTH_PREFIX_BYTES, Request, Response, Str,
    VersionRange, decode_response, encode_request,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{ClientError, Result};

/// Answers larger than this are not read: 100 MiB, Kafka's own limit for a request.
pub const FRAME_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Requests that wait for their answers on one connection.
const IN_FLIGHT_MAX: usize = 64;
/// Capacity that is taken for an answer before any of its bytes are there.
const FRAME_BYTES_AHEAD: usize = 64 * 1024;

/// How long things may take.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// What the client calls itself.
    pub client_id: Str,
    /// For a connection to stand, including the first exchange.
    pub connect_timeout: Duration,
    /// For an answer.
    pub request_timeout: Duration,
    /// Answers larger than this end the connection.
    pub frame_bytes_max: usize,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            client_id: Str::from_static("seedlog-cli"),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            frame_bytes_max: FRAME_BYTES_MAX,
        }
    }
}

/// One connection to one broker. Cheap to clone; closes when the last clone is gone.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
    _tasks: Arc<Tasks>,
}

/// Ends reader and writer with the last clone: either may wait for a broker that stays silent for ever.
struct Tasks([AbortHandle; 2]);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

struct Shared {
    address: String,
    options: ConnectionOptions,
    versions: Vec<(i16, VersionRange)>,
    broken: AtomicBool,
}

/// The answer of one request, some time later.
pub(super) type Answer = oneshot::Receiver<Result<Response>>;

struct Outgoing {
    request: Request,
    version: i16,
    /// `None` where the broker sends no answer: Produce with acks=0.
    reply: Option<oneshot::Sender<Result<Response>>>,
}

struct InFlight {
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    reply: oneshot::Sender<Result<Response>>,
}

impl Connection {
    /// Connects and learns what the broker speaks.
    pub async fn open(address: &str, options: ConnectionOptions) -> Result<Self> {
        let deadline = Instant::now() + options.connect_timeout;
        let late = || ClientError::Connect {
            address: address.to_owned(),
            reason: format!("no answer within {} ms", options.connect_timeout.as_millis()),
        };
        let stream = timeout_at(deadline, TcpStream::connect(address)).await.map_err(|_| late())?;
        let mut stream = stream.map_err(|error| ClientError::connect(address, &error))?;
        stream.set_nodelay(true).map_err(|error| ClientError::connect(address, &error))?;
        let exchange = negotiate(&mut stream, address, &options);
        let versions = timeout_at(deadline, exchange).await.map_err(|_| late())??;

        let shared = Arc::new(Shared {
            address: address.to_owned(),
            options,
            versions,
            broken: AtomicBool::new(false),
        });
        let (read, write) = stream.into_split();
        let (outgoing, requests) = mpsc::channel(IN_FLIGHT_MAX);
        let (in_flight, expected) = mpsc::channel(IN_FLIGHT_MAX);
        let writer = tokio::spawn(write_requests(Arc::clone(&shared), write, requests, in_flight));
        let reader = tokio::spawn(read_answers(Arc::clone(&shared), read, expected));
        let tasks = Tasks([writer.abort_handle(), reader.abort_handle()]);
        Ok(Self { shared, outgoing, _tasks: Arc::new(tasks) })
    }

    /// The broker's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Whether it has ended; a new one is needed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.shared.broken.load(Ordering::Relaxed) || self.outgoing.is_closed()
    }

    /// The highest version of `api` that both sides speak, at most `cap`.
    pub fn version_of(&self, api: ApiKey, cap: i16) -> Result<i16> {
        let ours = api.support().served;
        let theirs =
            self.shared.versions.iter().find(|(key, _)| *key == api.as_i16()).map(|(_, range)| *range);
        let highest = theirs.map(|theirs| (theirs.max.min(ours.max).min(cap), theirs.min.max(ours.min)));
        match highest {
            Some((highest, lowest)) if lowest <= highest => Ok(highest),
            Some(_) | None => Err(ClientError::NoCommonVersion {
                address: self.shared.address.clone(),
                api,
                ours,
                theirs: theirs.map_or_else(|| "none".to_owned(), |range| range.to_string()),
            }),
        }
    }

    /// Asks and waits for the answer, in the highest common version.
    pub async fn call(&self, request: impl Into<Request>) -> Result<Response> {
        let request = request.into();
        let version = self.version_of(request.api_key(), i16::MAX)?;
        self.call_version(request, version, self.shared.options.request_timeout).await
    }

    /// Asks in a certain version and waits no longer than `patience`.
    pub async fn call_version(&self, request: Request, version: i16, patience: Duration) -> Result<Response> {
        let api = request.api_key();
        let answer = self.send(request, version).await?;
        self.await_answer(api, answer, patience).await
    }

    /// Sends without waiting for the answer.
    pub(super) async fn send(&self, request: Request, version: i16) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Outgoing { request, version, reply: Some(reply) }).await?;
        Ok(answer)
    }

    /// Sends what has no answer: Produce with acks=0.
    pub async fn send_unanswered(&self, request: Request, version: i16) -> Result<()> {
        self.enqueue(Outgoing { request, version, reply: None }).await
    }

    /// Waits for an answer. A broker that is late loses the connection, as in Kafka's own clients: what it still sends
    /// belongs to nobody.
    async fn await_answer(&self, api: ApiKey, answer: Answer, patience: Duration) -> Result<Response> {
        match timeout(patience, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.shared.closed("it ended before the answer came")),
            Err(_) => Err(self.give_up(api, patience)),
        }
    }

    /// Ends the connection because an answer is late.
    pub fn give_up(&self, api: ApiKey, patience: Duration) -> ClientError {
        self.shared.broken.store(true, Ordering::Relaxed);
        ClientError::Timeout { address: self.shared.address.clone(), api, timeout: patience }
    }

    async fn enqueue(&self, outgoing: Outgoing) -> Result<()> {
        if self.is_broken() {
            return Err(self.shared.closed("it ended earlier"));
        }
        self.outgoing.send(outgoing).await.map_err(|_| self.shared.closed("it ended earlier"))
    }
}

impl Shared {
    fn closed(&self, reason: impl ToString) -> ClientError {
        ClientError::Closed { address: self.address.clone(), reason: reason.to_string() }
    }
}

async fn write_requests(
    shared: Arc<Shared>,
    mut socket: OwnedWriteHalf,
    mut requests: mpsc::Receiver<Outgoing>,
    in_flight: mpsc::Sender<InFlight>,
) {
    // Negotiation used the ids before this one.
    let mut correlation_id = 2_i32;
    while let Some(Outgoing { request, version, reply }) = requests.recv().await {
        if shared.broken.load(Ordering::Relaxed) {
            break;
        }
        correlation_id = correlation_id.wrapping_add(1);
        let frame = match encode_request(version, correlation_id, Some(&shared.options.client_id), &request) {
            Ok(frame) => frame,
            Err(error) => {
                if let Some(reply) = reply {
                    drop(reply.send(Err(error.into())));
                }
                continue;
            }
        };
        if let Some(reply) = reply {
            let expected = InFlight { api: request.api_key(), version, correlation_id, reply };
            if in_flight.send(expected).await.is_err() {
                break;
            }
        }
        for piece in frame.pieces() {
            if socket.write_all(piece).await.is_err() {
                // The reader finds the same end and tells the callers.
                shared.broken.store(true, Ordering::Relaxed);
                return;
            }
        }
    }
    shared.broken.store(true, Ordering::Relaxed);
}

async fn read_answers(
    shared: Arc<Shared>,
    mut socket: OwnedReadHalf,
    mut expected: mpsc::Receiver<InFlight>,
) {
    let mut ended = None;
    while let Some(InFlight { api, version, correlation_id, reply }) = expected.recv().await {
        let answer = match &ended {
            Some(error) => Err(ClientError::clone(error)),
            None => read_answer(&shared, &mut socket, api, version, correlation_id).await,
        };
        if let Err(error) = &answer {
            shared.broken.store(true, Ordering::Relaxed);
            ended.get_or_insert_with(|| error.clone());
            expected.close();
        }
        drop(reply.send(answer));
    }
}

async fn read_answer(
    shared: &Shared,
    socket: &mut OwnedReadHalf,
    api: ApiKey,
    version: i16,
    correlation_id: i32,
) -> Result<Response> {
    let frame = read_frame(socket, &shared.address, shared.options.frame_bytes_max).await?;
    decode_answer(&shared.address, api, version, correlation_id, frame)
}

fn decode_answer(address: &str, api: ApiKey, version: i16, expected: i32, frame: Bytes) -> Result<Response> {
    let broken = |reason: String| ClientError::Protocol { address: address.to_owned(), reason };
    let (correlation_id, response) = decode_response(api, version, frame)
        .map_err(|error| broken(format!("its {} answer cannot be read: {error}", api.name())))?;
    if correlation_id != expected {
        return Err(broken(format!("it answered request {correlation_id} where {expected} was next")));
    }
    Ok(response)
}

/// Reads one frame. Memory grows with the bytes that arrive, not with the length that is claimed.
async fn read_frame(
    socket: &mut (impl AsyncReadExt + Unpin),
    address: &str,
    bytes_max: usize,
) -> Result<Bytes> {
    let closed = |reason: String| ClientError::Closed { address: address.to_owned(), reason };
    let mut prefix = [0; LENGTH_PREFIX_BYTES];
    socket.read_exact(&mut prefix).await.map_err(|error| closed(end_of(&error)))?;
    let length = i32::from_be_bytes(prefix);
    let Some(length) = usize::try_from(length).ok().filter(|&length| length <= bytes_max) else {
        return Err(ClientError::Protocol {
            address: address.to_owned(),
            reason: format!("it announced an answer of {length} bytes, and {bytes_max} is the limit"),
        });
    };
    let mut frame = Vec::with_capacity(length.min(FRAME_BYTES_AHEAD));
    let read =
        socket.take(length as u64).read_to_end(&mut frame).await.map_err(|error| closed(end_of(&error)))?;
    if read < length {
        return Err(closed(format!("an answer of {length} bytes ended after {read}")));
    }
    Ok(Bytes::from(frame))
}

fn end_of(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        "end of stream".to_owned()
    } else {
        error.to_string()
    }
}

/// Asks which versions the broker has (KIP-35). A broker that does not know the newest form of the question answers in
/// the oldest with what it knows, and is asked again (KIP-511).
async fn negotiate(
    stream: &mut TcpStream,
    address: &str,
    options: &ConnectionOptions,
) -> Result<Vec<(i16, VersionRange)>> {
    let newest = ApiKey::ApiVersions.support().served.max;
    let mut response = ask_versions(stream, address, options, 1, newest).await?;
    if response.error_code == ErrorCode::UnsupportedVersion.code() {
        let theirs = response.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions.as_i16());
        let version = theirs.map_or(0, |theirs| theirs.max_version).clamp(0, newest);
        response = ask_versions(stream, address, options, 2, version).await?;
    }
    ClientError::check(response.error_code, None, || format!("{address} refused the first request"))?;
    let range = |min, max| VersionRange { min, max };
    Ok(response.api_keys.iter().map(|api| (api.api_key, range(api.min_version, api.max_version))).collect())
}

async fn ask_versions(
    stream: &mut TcpStream,
    address: &str,
    options: &ConnectionOptions,
    correlation_id: i32,
    version: i16,
) -> Result<ApiVersionsResponse> {
    let request = Request::from(ApiVersionsRequest {
        client_software_name: Str::from_static("seedlog"),
        client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
    });
    let frame = encode_request(version, correlation_id, Some(&options.client_id), &request)?;
    let closed =
        |error: std::io::Error| ClientError::Closed { address: address.to_owned(), reason: end_of(&error) };
    stream.write_all(&frame.to_bytes()).await.map_err(closed)?;
    let frame = read_frame(stream, address, options.frame_bytes_max).await?;
    // Behind the correlation id stands the error code, in every version.
    let unsupported = frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
    let version = if unsupported { 0 } else { version };
    let response = decode_answer(address, ApiKey::ApiVersions, version, correlation_id, frame)?;
    let Response::ApiVersions(response) = response else {
        return Err(unexpected(address, ApiKey::ApiVersions));
    };
    Ok(response)
}

/// An answer of another kind than the question. `decode_response` goes by the question, so this cannot come from a
/// broker; it is an error rather than a panic all the same.
pub(super) fn unexpected(address: &str, asked: ApiKey) -> ClientError {
    let reason = format!("it answered {} with something else", asked.name());
    ClientError::Protocol { address: address.to_owned(), reason }
}
