//! The admin port: `/healthz` (also `/livez`), `/readyz`, `/metrics` and `/version`. It reads what the node sets in
//! [`Health`] and [`Metrics`] and changes nothing. It asks for no password, so it binds to loopback only.

use crate::metrics::{CONTENT_TYPE, Metrics};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep};

const CONNECTIONS_MAX: usize = 64;
const BODY_BYTES_MAX: usize = 64 * 1024;
const IDLE_MAX: Duration = Duration::from_secs(75);

/// Where a node is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthState {
    /// It has not looked at its disk.
    Starting,
    /// It reads its journal.
    Recovering,
    /// It serves clients.
    Ready,
    /// It was asked to stop.
    Stopping,
    /// It cannot go on, and says why.
    Halted {
        /// A sentence.
        reason: String,
    },
}

impl HealthState {
    /// The word in `/readyz` and `/healthz`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Recovering => "recovering",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Halted { .. } => "halted",
        }
    }

    fn reasons(&self) -> Vec<&str> {
        match self {
            Self::Starting => vec!["the node is starting"],
            Self::Recovering => vec!["the node is reading its journal"],
            Self::Ready => Vec::new(),
            Self::Stopping => vec!["the node is stopping"],
            Self::Halted { reason } => vec![reason.as_str()],
        }
    }
}

/// The state of a node, set by the node and read by the admin port; a clone is the same state.
#[derive(Debug, Clone)]
pub struct Health(watch::Sender<HealthState>);

impl Health {
    /// A node that starts.
    pub fn new() -> Self {
        Self(watch::Sender::new(HealthState::Starting))
    }

    /// Sets the state. A node that has halted stays so.
    pub fn set(&self, state: HealthState) {
        self.0.send_if_modified(|current| {
            let change = !matches!(current, HealthState::Halted { .. }) && *current != state;
            if change {
                *current = state;
            }
            change
        });
    }

    /// The state.
    pub fn state(&self) -> HealthState {
        self.0.borrow().clone()
    }

    /// For waiting until the state changes.
    pub fn subscribe(&self) -> watch::Receiver<HealthState> {
        self.0.subscribe()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

/// Why the admin port does not open.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is not on loopback.
    #[error(
        "admin.listener={address}: other machines could connect, and the admin port asks for no password; use \
         127.0.0.1 and reach it from elsewhere through a tunnel, or set admin.listener=off"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The system refuses the address.
    #[error("admin.listener={address}: {source}; choose another port, or set admin.listener=off")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The port stopped working.
    #[error("the admin port stopped: {source}")]
    Serve {
        /// The system's reason.
        source: io::Error,
    },
}

/// The admin port, bound and not yet serving.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminServer {
    /// Binds to an address on loopback; port 0 takes any free one.
    pub async fn bind(address: SocketAddr) -> Result<Self, HttpError> {
        if !address.ip().is_loopback() {
            return Err(HttpError::NotLoopback { address });
        }
        let failed = |source| HttpError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is done; requests that have begun are answered.
    pub async fn run(
        self,
        health: Health,
        metrics: Metrics,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), HttpError> {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let listener = Door { listener: self.listener, places };
        let served = axum::serve(listener, router(health, metrics)).with_graceful_shutdown(stop).await;
        served.map_err(|source| HttpError::Serve { source })
    }
}

#[derive(Clone)]
struct Shown {
    health: Health,
    metrics: Metrics,
}

fn router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(live))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/version", get(version))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Shown { health, metrics })
}

/// Alive unless halted: a restart helps nobody while the node starts or stops.
async fn live(State(shown): State<Shown>) -> Response {
    let state = shown.health.state();
    let halted = matches!(state, HealthState::Halted { .. });
    let status = if halted { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let reasons = if halted { state.reasons() } else { Vec::new() };
    (status, Json(json!({ "live": !halted, "state": state.name(), "reasons": reasons }))).into_response()
}

async fn ready(State(shown): State<Shown>) -> Response {
    let state = shown.health.state();
    let ready = state == HealthState::Ready;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "state": state.name(), "reasons": state.reasons() })))
        .into_response()
}

/// What may stand behind `/metrics?`.
#[derive(Deserialize)]
struct MetricsQuery {
    detail: Option<MetricsDetail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum MetricsDetail {
    Partition,
}

async fn metrics_text(State(shown): State<Shown>, Query(query): Query<MetricsQuery>) -> Response {
    match shown.metrics.scrape(query.detail.is_some()).await {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            let text = format!("the metrics cannot be written: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

async fn version() -> Response {
    Json(json!({ "name": "seedlog", "version": env!("CARGO_PKG_VERSION") })).into_response()
}

/// Accepts as many connections as there are places.
struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("nobody closes the semaphore");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Guest { stream, idle: Box::pin(sleep(IDLE_MAX)), _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that gives its place back when it ends or when its peer is silent for too long.
struct Guest {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    /// Passes on what the stream says; a stream that waits for longer than [`IDLE_MAX`] has failed.
    fn limit<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(done) => {
                self.idle.as_mut().reset(Instant::now() + IDLE_MAX);
                Poll::Ready(done)
            }
            Poll::Pending => match self.idle.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.limit(context, polled)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test)
    }

    #[test]
    fn the_paths_answer_as_the_node_lives_and_halts() {
        run(async {
            let (health, metrics) = (Health::new(), Metrics::new());
            let server = AdminServer::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
            let address = server.local_addr();
            let (stop, stopped) = oneshot::channel::<()>();
            let serving = tokio::spawn(server.run(health.clone(), metrics, async move {
                let _ = stopped.await;
            }));
            let answer = ask(address, "/readyz").await;
            assert!(
                answer.starts_with("HTTP/1.1 503") && answer.contains("the node is starting"),
                "{answer}"
            );
            assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
            health.set(HealthState::Recovering);
            assert!(ask(address, "/readyz").await.contains("\"recovering\""));
            health.set(HealthState::Ready);
            let answer = ask(address, "/readyz").await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"ready\":true"), "{answer}");
            assert!(ask(address, "/version").await.contains("\"version\":\"0.1.0\""));
            let answer = ask(address, "/metrics").await;
            assert!(
                answer.contains("application/openmetrics-text") && answer.ends_with("# EOF\n"),
                "{answer}"
            );
            assert!(ask(address, "/nothing").await.starts_with("HTTP/1.1 404"));
            health.set(HealthState::Halted { reason: "a sync failed".to_owned() });
            health.set(HealthState::Ready);
            for path in ["/readyz", "/healthz", "/livez"] {
                let answer = ask(address, path).await;
                assert!(
                    answer.starts_with("HTTP/1.1 503") && answer.contains("a sync failed"),
                    "{path}: {answer}"
                );
            }
            let silent = TcpStream::connect(address).await.unwrap();
            stop.send(()).unwrap();
            let soon = Duration::from_secs(10);
            let served = tokio::time::timeout(soon, serving).await;
            served.expect("a silent connection holds nothing up").unwrap().unwrap();
            drop(silent);
        });
    }

    #[test]
    fn only_loopback_is_bound() {
        run(async {
            for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9644"] {
                let error = AdminServer::bind(address.parse().unwrap()).await.unwrap_err();
                assert!(matches!(error, HttpError::NotLoopback { .. }), "{error}");
            }
            let first = AdminServer::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
            let error = AdminServer::bind(first.local_addr()).await.unwrap_err();
            assert!(error.to_string().contains("choose another port"), "{error}");
        });
    }

    #[test]
    fn silent_connections_give_their_places_back() {
        run(async {
            let server = AdminServer::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
            let address = server.local_addr();
            tokio::spawn(server.run(Health::new(), Metrics::new(), std::future::pending()));
            let mut silent = Vec::new();
            for _ in 0..CONNECTIONS_MAX {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            let mut waiting = Box::pin(ask(address, "/healthz"));
            let soon = Duration::from_millis(200);
            assert!(tokio::time::timeout(soon, &mut waiting).await.is_err(), "all places are taken");
            drop(silent);
            assert!(waiting.await.starts_with("HTTP/1.1 200"));
        });
    }
}
