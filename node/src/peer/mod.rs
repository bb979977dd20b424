//! Streams to the other nodes of the cluster, and from them.
//!
//! ```text
//!   driver ── send ──► outboxes of a peer ──► dial.rs: two streams that we opened ──► the other node
//!   driver ◄─ PeerEvent ── budget ◄── accept.rs: the streams that others opened ◄── the other node
//! ```
//!
//! Each node dials two streams to each other one, *control* and *bulk*, and sends on those alone; on the streams that it
//! accepted it only answers pings. Nothing rests on any of it (SAFETY R9): a message that finds no stream, or a full queue, is
//! dropped, and the core says it again. The driver is never waited for and never waits.
//!
//! Files: `frame` is the bytes, `outbox` what waits to be sent, `dial` sends, `accept` receives.

mod accept;
mod dial;
pub(crate) mod frame;
mod outbox;

use crate::budget::{Part, Permit};
use crate::env::Env;
use crate::metrics::PeerMetrics;
use bytes::Bytes;
use frame::Stream;
use outbox::{Message, Outbox};
use seedlog_core::ids::NodeId;
use seedlog_core::peer::PeerMessage;
use seedlog_core::records::ProducedBatch;
use seedlog_core::time::MonoMs;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Where a node listens for its peers: host and port.
pub type Address = (String, u16);

/// How peers are treated.
#[derive(Debug, Clone)]
pub struct PeerOptions {
    /// This node.
    pub node_id: NodeId,
    /// Where this node listens for the others, as they are told.
    pub address: Option<Address>,
    /// `cluster.id`, where it is configured: nodes of another cluster are refused.
    pub cluster_id: Option<String>,
    /// Bytes that may wait on a control stream, and on a bulk stream.
    pub queue_bytes_max: (usize, usize),
    /// Bytes of control messages that were read, or are about to be, and are not stepped.
    pub control_bytes_max: u64,
    /// Streams that others may have opened to us.
    pub accepted_max: usize,
    /// The first wait before a peer is dialled again, and the longest.
    pub redial_ms: (u64, u64),
    /// How long dialling and greeting may take.
    pub greeting_ms_max: u64,
    /// How often a stream without traffic is asked for a sign of life.
    pub ping_ms: u64,
    /// A control stream that is silent for so long is broken.
    pub silent_ms_max: u64,
    /// A stream whose writes stand still for so long is broken.
    pub stalled_ms_max: u64,
    /// What is counted.
    pub metrics: PeerMetrics,
}

impl PeerOptions {
    /// The defaults of a node.
    #[must_use]
    pub fn new(node_id: NodeId) -> Self {
        Self {
            node_id,
            address: None,
            cluster_id: None,
            queue_bytes_max: (16 << 20, 32 << 20),
            control_bytes_max: 16 << 20,
            accepted_max: 1_000,
            redial_ms: (50, 1_000),
            greeting_ms_max: 2_000,
            ping_ms: 500,
            silent_ms_max: 5_000,
            stalled_ms_max: 10_000,
            metrics: PeerMetrics::default(),
        }
    }
}

/// What the streams tell the driver.
#[derive(Debug)]
pub enum PeerEvent {
    /// What is sent to the node from here on may arrive.
    Up {
        /// The node.
        node: NodeId,
    },
    /// A node opened a stream to us, and said where it listens itself.
    Greeted {
        /// The node.
        node: NodeId,
        /// Where.
        address: Address,
    },
    /// A node said something.
    Said {
        /// What.
        message: Box<PeerMessage>,
        /// The record batches behind it, checked.
        batches: Vec<ProducedBatch>,
        /// The bytes that it takes from the budget until it was stepped.
        permit: Permit,
    },
    /// The stream to a node broke, or cannot be opened.
    Lost {
        /// The node.
        node: NodeId,
    },
}

/// Record batches that go with a message, as soon as they can be had.
pub trait Records: Send + 'static {
    /// The pieces, if they are in memory.
    fn now(&self) -> Option<Vec<Bytes>>;
    /// How many bytes they may be.
    fn bytes_max(&self) -> usize;
    /// The pieces, wherever they are; `None` when they cannot be had any more.
    fn read(self) -> impl Future<Output = Option<Vec<Bytes>>> + Send;
}

/// The other nodes, as the driver sees them.
#[derive(Debug)]
pub struct Peers<E: Env, R: Records> {
    shared: Arc<Shared<E>>,
    peers: BTreeMap<NodeId, Arc<Peer<R>>>,
}

/// What all streams share.
pub(super) struct Shared<E> {
    env: E,
    options: PeerOptions,
    tell: Box<dyn Fn(PeerEvent) + Send + Sync>,
    control_budget: Part,
    bulk_budget: Part,
    /// Says when a node was heard from: whoever waits to dial it need not wait any longer.
    greeted: watch::Sender<Option<NodeId>>,
    /// The node ends: so do all streams.
    is_closing: watch::Sender<bool>,
    /// When it was last said that something else than a peer came.
    warned: Mutex<Option<MonoMs>>,
}

impl<E> fmt::Debug for Shared<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

/// One other node.
#[derive(Debug)]
struct Peer<R> {
    node: NodeId,
    address: Address,
    control: Outbox<R>,
    bulk: Outbox<R>,
    state: Mutex<PeerState>,
    /// The state changed.
    changed: Notify,
}

#[derive(Debug, Clone, Copy, Default)]
struct PeerState {
    /// Its control stream is there.
    is_up: bool,
    /// It was told that the node cannot be reached, and nothing else since.
    is_told_lost: bool,
    /// Nobody wants to talk to it any more.
    is_dropped: bool,
}

impl<R: Records> Peer<R> {
    fn outbox(&self, stream: Stream) -> &Outbox<R> {
        match stream {
            Stream::Control => &self.control,
            Stream::Bulk => &self.bulk,
        }
    }

    fn state(&self) -> MutexGuard<'_, PeerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the streams of others are taken in.
#[derive(Debug)]
pub struct PeerDoor<E: Env> {
    shared: Arc<Shared<E>>,
}

impl<E: Env> PeerDoor<E> {
    /// Accepts until [`Peers`] is dropped, which ends the streams as well.
    pub async fn listen(self, listener: E::Listener) {
        accept::listen(self.shared, listener).await;
    }
}

impl<E: Env, R: Records> Peers<E, R> {
    /// Knows no other node. Events go to `tell`, which must not block; record batches take their bytes from `bulk_budget`.
    pub fn new(
        env: E,
        options: PeerOptions,
        bulk_budget: Part,
        tell: impl Fn(PeerEvent) + Send + Sync + 'static,
    ) -> Self {
        let control_budget = Part::new("peer control", options.control_bytes_max);
        let shared = Shared {
            env,
            options,
            tell: Box::new(tell),
            control_budget,
            bulk_budget,
            greeted: watch::Sender::new(None),
            is_closing: watch::Sender::new(false),
            warned: Mutex::new(None),
        };
        Self { shared: Arc::new(shared), peers: BTreeMap::new() }
    }

    /// Where the streams of others are taken in.
    pub fn door(&self) -> PeerDoor<E> {
        PeerDoor { shared: Arc::clone(&self.shared) }
    }

    /// Who the other nodes are, and where. Streams to those that are new, or elsewhere, are opened; those to others are
    /// closed.
    pub fn set_addresses(&mut self, addresses: &BTreeMap<NodeId, Address>) {
        self.peers.retain(|node, peer| {
            let stays = addresses.get(node) == Some(&peer.address);
            if !stays {
                drop_peer(peer);
            }
            stays
        });
        for (&node, address) in addresses {
            if node != self.shared.options.node_id && !self.peers.contains_key(&node) {
                self.peers.insert(node, self.dial(node, address.clone()));
            }
        }
    }

    fn dial(&self, node: NodeId, address: Address) -> Arc<Peer<R>> {
        let (control, bulk) = self.shared.options.queue_bytes_max;
        let peer = Arc::new(Peer {
            node,
            address,
            control: Outbox::new(control),
            bulk: Outbox::new(bulk),
            state: Mutex::default(),
            changed: Notify::new(),
        });
        for stream in [Stream::Control, Stream::Bulk] {
            let keep = dial::keep(Arc::clone(&self.shared), Arc::clone(&peer), stream);
            self.shared.env.spawn(keep);
        }
        peer
    }

    /// Says something to a node. It may be dropped; the records are read when its turn comes, if they are not in memory.
    pub fn send(&self, to: NodeId, message: Box<PeerMessage>, records: Option<R>) {
        let dropped = &self.shared.options.metrics.dropped;
        let Some(peer) = self.peers.get(&to) else {
            dropped.inc();
            return;
        };
        let outbox = peer.outbox(if message.is_bulk() { Stream::Bulk } else { Stream::Control });
        let pieces = match records {
            None => Vec::new(),
            Some(records) => match records.now() {
                // What it was about is not there any more.
                Some(pieces) if pieces.is_empty() => return,
                Some(pieces) => pieces,
                None => {
                    let bytes = records.bytes_max();
                    dropped.inc_by(u64::from(!outbox.push(Message::Unread(message, records), bytes)));
                    return;
                }
            },
        };
        if let Some((pieces, bytes)) = framed(&message, pieces) {
            dropped.inc_by(u64::from(!outbox.push(Message::Ready(pieces), bytes)));
        }
    }

    /// Nodes whose control stream is there.
    pub fn connected(&self) -> Vec<NodeId> {
        self.peers.values().filter(|peer| peer.state().is_up).map(|peer| peer.node).collect()
    }

    /// Bytes that wait to be sent, on control and on bulk streams.
    pub fn queued_bytes(&self) -> (usize, usize) {
        let sum = |bytes: fn(&Peer<R>) -> usize| self.peers.values().map(|peer| bytes(peer)).sum();
        (sum(|peer| peer.control.bytes()), sum(|peer| peer.bulk.bytes()))
    }
}

impl<E: Env, R: Records> Drop for Peers<E, R> {
    fn drop(&mut self) {
        self.peers.values().for_each(drop_peer);
        self.shared.is_closing.send_replace(true);
    }
}

fn drop_peer<R: Records>(peer: &Arc<Peer<R>>) {
    peer.state().is_dropped = true;
    peer.changed.notify_waiters();
}

/// A message as it is written, and its bytes. `None`: larger than a message may be, which is a defect of whoever made it.
fn framed(message: &PeerMessage, pieces: Vec<Bytes>) -> Option<(Vec<Bytes>, usize)> {
    let batches = pieces.iter().map(Bytes::len).sum();
    let Some(header) = frame::encode_frame(message, batches) else {
        tracing::error!("a message to a peer is larger than any may be; it is not sent");
        return None;
    };
    let bytes = header.len() + batches;
    let mut all = Vec::with_capacity(1 + pieces.len());
    all.push(header);
    all.extend(pieces);
    Some((all, bytes))
}

impl Records for Vec<Bytes> {
    fn now(&self) -> Option<Vec<Bytes>> {
        Some(self.clone())
    }

    fn bytes_max(&self) -> usize {
        self.iter().map(Bytes::len).sum()
    }

    async fn read(self) -> Option<Self> {
        Some(self)
    }
}
