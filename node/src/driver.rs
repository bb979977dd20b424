//! The driver: one task that owns the broker and the store. It hands events in, carries consequences out in the order
//! they came, and starts one write of the journal for all that was stepped meanwhile.
//!
//! ```text
//!   connections ──Event──► inbox ─┐                      ┌─ Journal, Read, Store ─► store
//!   peers ────────Event──────┘    │                      │
//!   store ─────StoreEvent─────────┼─► Broker::step ──────┼─ Reply, Close ─────────► outboxes of connections
//!   alarm (wake_at) ──────────────┘                      └─ Send ─────────────────► outboxes of peers
//! ```
//!
//! It has one ordering rule, *in order*, and one for groups: it flushes between rounds, never between the outputs of a step
//! (SAFETY J7). What a reply refers to is leased when the reply is taken (SAFETY R8). Nothing here looks at a record.

mod alarm;
mod census;
mod group_census;
mod held;
mod meters;
mod peers;

pub use meters::{CountedLease, Meters, watch_syncs};
pub use peers::{Cluster, PeerRecords};

use crate::env::{Env, Seen};
use crate::net::{Answer, Compacted, Event, Outbox};
use crate::peer::PeerEvent;
use crate::store::disk::Disk;
use crate::store::{Store, StoreEvent};
use alarm::Alarm;
use held::Held;
use seedlog_core::broker::Broker;
use seedlog_core::ids::{ConnId, RequestNumber};
use seedlog_core::input::Input;
use seedlog_core::output::{HaltReason, Output, Outputs, Reply};
use seedlog_core::time::{MonoMs, Now};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

/// Events that are stepped before the journal is flushed and others get their turn.
const ROUND_EVENTS_MAX: usize = 512;
/// How often it is said that appends wait.
const HELD_TELL_INTERVAL_MS: u64 = 10_000;
/// How often a node that does not serve says why.
const WAITING_TELL_INTERVAL_MS: u64 = 5_000;
/// How long connections get to write their last replies when the node stops.
const LAST_REPLIES_MS: u64 = 1_000;

/// The broker's driver in a world `E`, on a disk `D`.
#[derive(Debug)]
pub struct Driver<E: Env, D: Disk> {
    env: E,
    broker: Broker,
    store: Store<D>,
    /// The other nodes; `None` for one that is alone.
    cluster: Option<Cluster<E, D>>,
    inbox: mpsc::UnboundedReceiver<Event<CountedLease<D>>>,
    conns: BTreeMap<ConnId, Arc<Outbox<CountedLease<D>>>>,
    held: Held<CountedLease<D>>,
    alarm: Alarm,
    meters: Meters,
    /// The topics that are compacted, for the connections.
    compacted: Arc<Compacted>,
    /// The number of their last change that is told.
    compacted_told: u64,
    /// Told once clients may be let in.
    serving: Option<oneshot::Sender<()>>,
    /// The outputs of one step; empty between steps.
    outputs: Outputs,
    /// The disk has less room than the core takes appends with.
    disk_is_full: bool,
    /// When it was last said that appends wait.
    held_told: Option<MonoMs>,
    /// When it was last said what the node waits for.
    waiting_told: Option<MonoMs>,
}

/// What a round begins with.
enum Woken {
    Store(StoreEvent),
    Inbox,
    Alarm,
}

impl<E: Env, D: Disk> Driver<E, D> {
    /// A driver that has done nothing yet. `serving` is told when the broker lets clients in.
    pub fn new(
        env: E,
        broker: Broker,
        store: Store<D>,
        cluster: Option<Cluster<E, D>>,
        inbox: mpsc::UnboundedReceiver<Event<CountedLease<D>>>,
        meters: Meters,
        serving: oneshot::Sender<()>,
    ) -> Self {
        Self {
            env,
            broker,
            store,
            cluster,
            inbox,
            conns: BTreeMap::new(),
            held: Held::default(),
            alarm: Alarm::default(),
            meters,
            compacted: Arc::default(),
            compacted_told: 0,
            serving: Some(serving),
            outputs: Outputs::new(),
            disk_is_full: false,
            held_told: None,
            waiting_told: None,
        }
    }

    /// The topics that are compacted, as the driver tells of them.
    pub fn compacted(&self) -> Arc<Compacted> {
        Arc::clone(&self.compacted)
    }

    /// Drives until the broker halts; then everything that was pushed is on the disk, unless that is what failed.
    pub async fn run(mut self) -> HaltReason {
        let reason = self.drive().await;
        match reason {
            HaltReason::Stopped => {
                self.say_goodbye().await;
                match self.store.close().await {
                    Ok(()) => HaltReason::Stopped,
                    Err(reason) => HaltReason::DiskFailed(reason),
                }
            }
            HaltReason::DiskFailed(_) => reason,
        }
    }

    async fn drive(&mut self) -> HaltReason {
        let mut batch = Vec::with_capacity(ROUND_EVENTS_MAX);
        self.refresh();
        loop {
            let woken = self.wait(&mut batch).await;
            let now = self.env.now();
            let halted = match woken {
                Woken::Store(event) => self.input_of(event).and_then(|input| self.step(now, input)),
                Woken::Inbox => batch.drain(..).find_map(|event| self.on_event(now, event)),
                Woken::Alarm => None,
            };
            let halted = halted.or_else(|| self.on_due(now)).or_else(|| self.release_held(now));
            if let Some(reason) = halted {
                return reason;
            }
            self.store.flush();
            self.refresh();
            self.meters.survey(now.mono, &self.store, self.disk_is_full, &self.broker);
        }
    }

    /// Tells others what they need of the metadata, before any reply of this round is written.
    fn refresh(&mut self) {
        if let Some(cluster) = &mut self.cluster {
            cluster.refresh(&self.broker);
        }
        let topics = self.broker.compacted_topics();
        if self.compacted_told != topics.changes() {
            self.compacted_told = topics.changes();
            self.compacted.set(topics);
        }
    }

    /// Waits for something to do. The store comes first: its events make room and release replies.
    async fn wait(&mut self, batch: &mut Vec<Event<CountedLease<D>>>) -> Woken {
        let wake_at = self.broker.wake_at().map(|(at, _)| at);
        // What others wait for comes first; in between there is time to look at some more.
        let next = if self.meters.is_surveying() { Some(MonoMs::default()) } else { wake_at };
        self.alarm.set(next, || self.env.now().mono);
        tokio::select! {
            biased;
            event = self.store.next_event() => Woken::Store(event),
            _ = self.inbox.recv_many(batch, ROUND_EVENTS_MAX), if !self.inbox.is_closed() => Woken::Inbox,
            () = self.alarm.ring() => Woken::Alarm,
        }
    }

    /// Steps the broker's timers, if they are due.
    fn on_due(&mut self, now: Now) -> Option<HaltReason> {
        let (at, why) = self.broker.wake_at()?;
        if at > now.mono {
            return None;
        }
        debug!(why, "wake");
        self.step(now, Input::Wake)
    }

    fn on_event(&mut self, now: Now, event: Event<CountedLease<D>>) -> Option<HaltReason> {
        // A full store takes no more appends; whoever sent one waits with all that follows on the connection. When it is
        // the disk that is full, the core refuses appends by itself.
        let is_full = !self.disk_is_full && self.store.is_full();
        if let Some(event) = self.held.pass(event, is_full) {
            return self.admit(now, event);
        }
        self.tell_held(now);
        None
    }

    /// Appends that wait for room are no error, but whoever wonders why producers are slow finds a word about it.
    fn tell_held(&mut self, now: Now) {
        if self.held_told.is_none_or(|told| now.mono >= told + HELD_TELL_INTERVAL_MS) {
            self.held_told = Some(now.mono);
            warn!("the disk is behind: appends wait until the journal and segments have room");
        }
    }

    fn release_held(&mut self, now: Now) -> Option<HaltReason> {
        while !self.held.is_empty() && (self.disk_is_full || !self.store.is_full()) {
            let event = self.held.release()?;
            if let Some(reason) = self.admit(now, event) {
                return Some(reason);
            }
        }
        None
    }

    fn admit(&mut self, now: Now, event: Event<CountedLease<D>>) -> Option<HaltReason> {
        let input = match event {
            Event::Opened { conn, listener, peer, outbox } => {
                self.conns.insert(conn, outbox);
                self.meters.opened();
                Input::ConnOpened { conn, listener, peer: peer.to_string() }
            }
            Event::Request { conn, number, request } => {
                self.meters.asked(&request.body, &self.broker);
                Input::Request { conn, number, request: *request }
            }
            Event::Closed { conn } => {
                self.conns.remove(&conn);
                self.meters.closed();
                Input::ConnClosed { conn }
            }
            Event::Peer(PeerEvent::Up { node }) => Input::PeerUp { node },
            Event::Peer(PeerEvent::Lost { node }) => Input::PeerLost { node },
            Event::Peer(PeerEvent::Greeted { node, address }) => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.on_greeted(node, address);
                }
                return None;
            }
            // The bytes go back to the budget when the step is done.
            Event::Peer(PeerEvent::Said { message, batches, permit }) => {
                let halted = self.step(now, Input::Peer { message, batches });
                drop(permit);
                return halted;
            }
            Event::Survey => {
                self.meters.begin_survey(&self.broker);
                return None;
            }
            Event::Stop => {
                info!("stopping");
                Input::Stop
            }
        };
        self.step(now, input)
    }

    fn input_of(&mut self, event: StoreEvent) -> Option<Input> {
        Some(match event {
            StoreEvent::Durable { written, synced } => Input::Durable { written, synced },
            StoreEvent::ReadDone { op, result } => Input::ReadDone { op, result },
            StoreEvent::BatchesRead { op, batches } => Input::BatchesRead { op, batches },
            StoreEvent::Compacted { op, result } => Input::Compacted { op, result },
            StoreEvent::LogsMeasured { op, dir } => Input::LogsMeasured { op, dir },
            StoreEvent::StoreDone { op, result } => Input::StoreDone { op, result },
            StoreEvent::Damaged { partition, from } => Input::Damaged { partition, from },
            StoreEvent::DiskFailed { reason } => {
                error!(reason, "the disk failed");
                Input::DiskFailed { reason }
            }
            // What was held back is released after each event.
            StoreEvent::Room => return None,
            StoreEvent::Space { free_bytes } => {
                self.disk_is_full = free_bytes < self.broker.config().disk_free_bytes_min;
                if self.disk_is_full {
                    error!(free_bytes, "the disk is full: appends are refused until there is room");
                }
                Input::Space { free_bytes }
            }
        })
    }

    /// One step and all its consequences, in order.
    fn step(&mut self, now: Now, input: Input) -> Option<HaltReason> {
        let mut outputs = std::mem::take(&mut self.outputs);
        // What a peer makes a log take is a copy of what its leader has.
        let is_copy = matches!(input, Input::Peer { .. });
        self.env.watch(Seen::Input(&input));
        self.broker.step(now, input, &mut outputs);
        self.env.watch(Seen::Decided(&self.broker, &outputs));
        let mut halted = None;
        for output in outputs.drain(..) {
            self.env.watch(Seen::Output(&self.broker, &output));
            if let Some(reason) = self.carry_out(output, is_copy) {
                halted = Some(reason);
            }
        }
        self.outputs = outputs;
        self.env.watch(Seen::Stepped);
        self.store.end_step();
        self.tell_waiting(now);
        if self.serving.is_some() && self.broker.is_serving() {
            // Whoever waited for it may have given up: then the node is ending.
            let _ = self.serving.take().map(|serving| serving.send(()));
        }
        halted
    }

    /// A node that does not serve says what it waits for.
    fn tell_waiting(&mut self, now: Now) {
        if self.serving.is_none() {
            return;
        }
        let told = *self.waiting_told.get_or_insert(now.mono);
        if now.mono >= told + WAITING_TELL_INTERVAL_MS
            && let Some(waits_for) = self.broker.waits_for()
        {
            self.waiting_told = Some(now.mono);
            warn!("this node waits {waits_for}");
        }
    }

    fn carry_out(&mut self, output: Output, is_copy: bool) -> Option<HaltReason> {
        match output {
            Output::Journal { entry, batch } => {
                self.meters.journaled(&entry, batch.as_ref(), is_copy, &self.broker);
                self.store.push(&entry, batch.as_ref().map(|(header, bytes)| (header, bytes)));
            }
            Output::Reply { conn, number, response } => self.reply(conn, number, response),
            Output::Close { conn, reason } => {
                if let Some(outbox) = self.conns.get(&conn) {
                    info!(conn = conn.0, reason, "connection closed by the broker");
                    outbox.close(reason);
                }
            }
            Output::Send { to, message, batches } => {
                if let Some(cluster) = &self.cluster {
                    cluster.send(to, message, batches, &self.store);
                }
            }
            Output::Read { op, extent, look } => self.store.look(op, &extent, look),
            Output::ReadBatches { op, extent } => self.store.read_batches(op, extent),
            Output::FindExpired { op, partition, up_to, retention } => {
                self.store.find_expired(op, partition, up_to, &retention);
            }
            Output::Compact { op, order } => self.store.compact(op, *order),
            Output::MeasureLogs { op, partitions } => self.store.measure(op, &partitions),
            Output::Store { op, command } => self.store.command(op, command),
            Output::Halt { reason } => return Some(reason),
        }
        None
    }

    fn reply(&mut self, conn: ConnId, number: RequestNumber, reply: Option<Box<Reply>>) {
        // A connection may have ended while its request was decided.
        let Some(outbox) = self.conns.get(&conn) else { return };
        let answer = reply.map(|reply| {
            let topics = self.meters.replied(&reply.response, &self.broker);
            let leases = reply.fills.iter().map(|fill| {
                let lease = match &self.cluster {
                    Some(_) => self.store.lease_of_cluster(&fill.extent),
                    None => self.store.lease(&fill.extent),
                };
                CountedLease::new(lease, topics.get(fill.topic).cloned().flatten())
            });
            let leases = leases.collect();
            Answer { reply, leases }
        });
        let (api, took) = outbox.answer(number, answer);
        self.meters.answered(api, took);
    }

    /// Lets connections write what was answered, and ends them.
    async fn say_goodbye(&mut self) {
        for outbox in self.conns.values() {
            outbox.close("the node stops");
        }
        let all_closed = async {
            while !self.conns.is_empty() {
                match self.inbox.recv().await {
                    Some(Event::Closed { conn }) => {
                        self.conns.remove(&conn);
                    }
                    Some(
                        Event::Opened { .. }
                        | Event::Request { .. }
                        | Event::Peer(_)
                        | Event::Survey
                        | Event::Stop,
                    ) => {}
                    None => return,
                }
            }
        };
        // A client that does not read is not waited for.
        let _ = timeout(Duration::from_millis(LAST_REPLIES_MS), all_closed).await;
    }
}
