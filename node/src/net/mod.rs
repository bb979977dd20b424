//! The door to the network: listeners, connections, and the order of requests and replies on each of them.
//!
//! ```text
//!   listener ──accept──► connection task ─┬─ reader: frame ► budget ► door::admit ► outbox slot ► inbox ──► driver
//!                                         └─ writer: slot answered ► fill ► encode ► one write   ◄── outbox ──┘
//! ```
//!
//! A connection is one task that polls its reader and its writer; the core never waits for it. The inbox needs no bound of
//! its own: every request in it holds bytes of the budget and a slot of its connection, and connections are counted.
//!
//! Files: `listener` accepts and counts, `connection` is the task, `frames` and `pool` read, `keys` looks into compressed batches, `outbox` keeps the order, `reply`
//! fills and encodes.

mod connection;
mod frames;
mod keys;
mod listener;
mod outbox;
mod pool;
mod reply;

pub use keys::{Compacted, Keys, Looked, Run, Work};
pub use listener::listen;
pub use outbox::{Answer, Outbox};
pub use reply::Lease;

use crate::budget::Budget;
use crate::env::Env;
use crate::metrics::NetMetrics;
use crate::peer::PeerEvent;
use listener::{Caps, Pace};
use pool::FramePool;
use seedlog_core::door::ClientRequest;
use seedlog_core::ids::{ConnId, ListenerId, RequestNumber};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// What a connection may do.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `socket.request.max.bytes`
    pub request_bytes_max: usize,
    /// `max.connections`
    pub connections_max: u32,
    /// `max.connections.per.ip`
    pub connections_per_ip_max: u32,
    /// `max.connections.per.ip.overrides`
    pub connections_per_ip_overrides: Arc<BTreeMap<IpAddr, u32>>,
    /// `max.connection.creation.rate`, in a second.
    pub connection_rate_max: u32,
    /// `connections.max.idle.ms`; `None` for never.
    pub idle_ms_max: Option<u64>,
    /// Requests of one connection that may be unanswered; what comes after them waits in the socket.
    pub pipeline_max: usize,
    /// The same for all but Produce and Fetch: a short question may have a very long answer.
    pub questions_max: usize,
    /// Encoded bytes that may be unwritten while the connection is still read from.
    pub unwritten_bytes_max: usize,
    /// `request.arrival.ms`: so long, a frame may take its time ...
    pub frame_ms_base: u64,
    /// ... and from then on this rate is the slowest that is borne.
    pub frame_bytes_per_ms_min: u64,
    /// The same when others wait for the memory that is held meanwhile; also of replies with records.
    pub crowded_ms_base: u64,
    /// And the rate.
    pub crowded_bytes_per_ms_min: u64,
    /// How long a connection whose last request was refused may take to get its earlier answers.
    pub drain_ms: u64,
}

impl Limits {
    /// Of a frame that began so long ago, too few bytes have moved.
    fn is_late(&self, elapsed: Duration, bytes: usize, is_crowded: bool) -> bool {
        let allowed_ms = self.frame_ms_base + bytes as u64 / self.frame_bytes_per_ms_min.max(1);
        elapsed > Duration::from_millis(allowed_ms) || is_crowded && self.is_late_in_a_crowd(elapsed, bytes)
    }

    /// The same where others wait for the memory that it holds.
    fn is_late_in_a_crowd(&self, elapsed: Duration, bytes: usize) -> bool {
        let allowed_ms = self.crowded_ms_base + bytes as u64 / self.crowded_bytes_per_ms_min.max(1);
        elapsed > Duration::from_millis(allowed_ms)
    }

    /// How often it is looked at whether somebody is late.
    fn look_ms(&self) -> u64 {
        (self.crowded_ms_base.min(self.frame_ms_base) / 4).clamp(10, 1_000)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: 100 << 20,
            connections_max: 10_000,
            connections_per_ip_max: u32::MAX,
            connections_per_ip_overrides: Arc::default(),
            connection_rate_max: u32::MAX,
            idle_ms_max: Some(600_000),
            pipeline_max: 128,
            questions_max: 4,
            unwritten_bytes_max: 256 << 10,
            frame_ms_base: 30_000,
            frame_bytes_per_ms_min: 64,
            crowded_ms_base: 2_000,
            crowded_bytes_per_ms_min: 256,
            drain_ms: 30_000,
        }
    }
}

/// What connections tell the driver.
#[derive(Debug)]
pub enum Event<L> {
    /// A client connected.
    Opened {
        /// The connection.
        conn: ConnId,
        /// Where it came in.
        listener: ListenerId,
        /// The other end.
        peer: SocketAddr,
        /// Where its replies go.
        outbox: Arc<Outbox<L>>,
    },
    /// A request was admitted.
    Request {
        /// The connection.
        conn: ConnId,
        /// Its place.
        number: RequestNumber,
        /// What it asks.
        request: Box<ClientRequest>,
    },
    /// A connection ended. Comes once for each `Opened`, after everything else of it.
    Closed {
        /// The connection.
        conn: ConnId,
    },
    /// Another node said something, or its streams changed.
    Peer(PeerEvent),
    /// Somebody wishes to know how the node is.
    Survey,
    /// The node is asked to stop.
    Stop,
}

/// Where events go in.
pub type Inbox<L> = mpsc::UnboundedSender<Event<L>>;

/// What all connections share.
#[derive(Debug)]
pub struct Net<E: Env, L> {
    env: E,
    limits: Limits,
    budget: Budget,
    inbox: Inbox<L>,
    pool: FramePool,
    caps: Caps,
    pace: Pace,
    metrics: NetMetrics,
    keys: Keys,
    next_conn: AtomicU64,
}

/// Memory of large frames that is kept for the next ones.
const POOL_BYTES_MAX: usize = 32 << 20;

impl<E: Env, L: Lease> Net<E, L> {
    /// The network of one node; events go to `inbox`.
    pub fn new(
        env: E,
        limits: Limits,
        budget: Budget,
        inbox: Inbox<L>,
        metrics: NetMetrics,
        keys: Keys,
    ) -> Arc<Self> {
        let pace = Pace::new(limits.connection_rate_max);
        Arc::new(Self {
            env,
            limits,
            budget,
            inbox,
            pool: FramePool::new(POOL_BYTES_MAX),
            caps: Caps::default(),
            pace,
            metrics,
            keys,
            next_conn: AtomicU64::new(0),
        })
    }

    fn number_connection(&self) -> ConnId {
        ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed))
    }

    fn tell(&self, event: Event<L>) {
        // Without a driver the node is ending, and nobody is left to be told.
        let _ = self.inbox.send(event);
    }
}
