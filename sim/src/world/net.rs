//! Connections and frames: every byte that a client sends goes through the door, every answer through the codec.

use super::World;
use super::hostile::is_hostile;
use super::node::{Conn, State};
use super::queue::{Packet, What};
use crate::clients::{Actor, Context};
use crate::hash::hash64;
use crate::judges::Judge;
use crate::plan::{ClientPlan, Plan};
use crate::rng::{Purpose, Stream};
use crate::trace::Kind;
use bytes::Bytes;
use seedlog_core::door::{self, ClientBody};
use seedlog_core::ids::{ConnId, ListenerId, RequestNumber};
use seedlog_core::input::Input;
use seedlog_core::output::Reply;
use seedlog_core::wire::{
    ApiKey, LENGTH_PREFIX_BYTES, Request, Str, decode_response, encode_request, encode_response,
};
use std::collections::{BTreeMap, VecDeque};

/// How long a client waits for an answer before it breaks the connection.
const TIMEOUT_US: u64 = 8_000_000;

/// A client and its ends of connections, one to each broker that it talks to.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) actor: Actor,
    rng: Stream,
    links: BTreeMap<u32, Link>,
    next_number: u64,
    wake_us: Option<u64>,
}

/// A connection at the client's end.
#[derive(Debug)]
struct Link {
    conn: ConnId,
    machine: usize,
    is_open: bool,
    /// Requests that leave when it is open.
    queued: Vec<Bytes>,
    /// Requests that wait for an answer, in order: number, API, version.
    waiting: VecDeque<(u64, ApiKey, i16)>,
    /// Frames of a connection arrive in order.
    to_node_us: u64,
    to_client_us: u64,
}

impl Client {
    pub(super) fn new(seed: u64, index: u64, plan: &ClientPlan, run: &Plan) -> Self {
        Self {
            actor: Actor::new(plan, u32::try_from(index).unwrap_or(0), run),
            rng: Stream::new(seed, Purpose::Workload, index),
            links: BTreeMap::new(),
            next_number: 0,
            wake_us: None,
        }
    }

    fn broker_at(&self, conn: ConnId) -> Option<u32> {
        self.links.iter().find(|(_, link)| link.conn == conn).map(|(&broker, _)| broker)
    }
}

impl World {
    pub(super) fn latency(&mut self) -> u64 {
        let usual = self.net.range(30, 400);
        if self.net.chance(10) { usual + self.net.below(30_000) } else { usual }
    }

    fn carry_to_node(&mut self, client: usize, broker: u32, packet: Packet) {
        let at = self.now_us + self.latency();
        let Some(link) = self.clients[client].links.get_mut(&broker) else { return };
        link.to_node_us = at.max(link.to_node_us);
        let (at, node, conn) = (link.to_node_us, link.machine, link.conn);
        self.queue.push(at, What::ToNode { node, conn, packet });
    }

    fn carry_to_client(&mut self, client: usize, conn: ConnId, packet: Packet) {
        if is_hostile(conn) {
            self.carry_to_hostile(conn, packet);
            return;
        }
        let mut at = self.now_us + self.latency();
        if let Some(broker) = self.clients[client].broker_at(conn)
            && let Some(link) = self.clients[client].links.get_mut(&broker)
        {
            at = at.max(link.to_client_us);
            link.to_client_us = at;
        }
        self.queue.push(at, What::ToClient { client, conn, packet });
    }

    fn connect(&mut self, client: usize, broker: u32) {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let link = Link {
            conn,
            machine: self.machine_of(broker),
            is_open: false,
            queued: Vec::new(),
            waiting: VecDeque::new(),
            to_node_us: 0,
            to_client_us: 0,
        };
        self.clients[client].links.insert(broker, link);
        self.carry_to_node(client, broker, Packet::Open { client });
    }

    pub(super) fn on_node_packet(&mut self, at: usize, conn: ConnId, packet: Packet) {
        match packet {
            Packet::Open { client } => self.on_open(at, conn, client),
            Packet::Frame(frame) => self.on_frame(at, conn, &frame),
            Packet::Closed => {
                let Some(process) = self.nodes[at].process() else { return };
                if process.conns.remove(&conn).is_some() {
                    self.step(at, Input::ConnClosed { conn });
                }
            }
            Packet::Refused => {}
        }
    }

    fn on_open(&mut self, at: usize, conn: ConnId, client: usize) {
        if !self.nodes[at].is_serving() {
            self.carry_to_client(client, conn, Packet::Refused);
            return;
        }
        let new = Conn {
            client,
            next_number: 0,
            next_out: 0,
            due: Default::default(),
            acks: Default::default(),
            ready: Default::default(),
            filling: 0,
            closing: false,
        };
        if let Some(process) = self.nodes[at].process() {
            process.conns.insert(conn, new);
        }
        self.note_at(at, Kind::Connect, [conn.0, client as u64, 0]);
        self.carry_to_client(client, conn, Packet::Open { client });
        let peer = format!("client-{client}");
        self.step(at, Input::ConnOpened { conn, listener: ListenerId(0), peer });
    }

    fn on_frame(&mut self, at: usize, conn: ConnId, frame: &Bytes) {
        let admitted = door::admit(frame.slice(LENGTH_PREFIX_BYTES..));
        let bytes = frame.len() as u64;
        self.note_at(at, Kind::Frame, [conn.0, bytes, hash64(frame)]);
        let State::Up(process) = &mut self.nodes[at].state else { return };
        if !process.conns.contains_key(&conn) {
            return;
        }
        if is_hostile(conn) {
            self.on_hostile_frame(at, conn, frame, admitted.is_ok());
        }
        let State::Up(process) = &mut self.nodes[at].state else { return };
        let Some(held) = process.conns.get_mut(&conn) else { return };
        match admitted {
            Ok(admitted) => {
                let number = held.next_number;
                held.next_number += 1;
                held.due.insert(number, (admitted.reply_version, admitted.correlation_id));
                let request = admitted.request;
                if let ClientBody::Produce(produce) = &request.body {
                    held.acks.insert(number, produce.acks);
                }
                self.step(at, Input::Request { conn, number: RequestNumber(number), request });
            }
            Err(error) => {
                self.hear(Judge::L1, at, Err(format!("the door refuses a client's frame: {error}")));
            }
        }
    }

    /// An answer is complete: it leaves when those before it have (SAFETY K1).
    pub(super) fn reply_ready(
        &mut self,
        at: usize,
        conn: ConnId,
        number: RequestNumber,
        reply: Option<Reply>,
    ) {
        let State::Up(process) = &mut self.nodes[at].state else { return };
        let Some(held) = process.conns.get_mut(&conn) else { return };
        let Some((version, correlation)) = held.due.remove(&number.0) else {
            self.hear(Judge::L1, at, Err(format!("request {number} of connection {conn} is answered twice")));
            return;
        };
        let close = reply.as_ref().is_some_and(|reply| reply.close);
        let frame =
            match reply.map(|reply| encode_response(version, correlation, &reply.response)).transpose() {
                Ok(chain) => chain.map(|chain| chain.to_bytes()),
                Err(error) => {
                    self.hear(Judge::L1, at, Err(format!("an answer cannot be written: {error}")));
                    return;
                }
            };
        held.ready.insert(number.0, frame);
        held.closing |= close;
        self.flush_conn(at, conn);
    }

    fn flush_conn(&mut self, at: usize, conn: ConnId) {
        loop {
            let State::Up(process) = &mut self.nodes[at].state else { return };
            let Some(held) = process.conns.get_mut(&conn) else { return };
            let client = held.client;
            let Some(frame) = held.ready.remove(&held.next_out) else { break };
            held.next_out += 1;
            if let Some(frame) = frame {
                self.note_at(at, Kind::Reply, [conn.0, frame.len() as u64, hash64(&frame)]);
                self.carry_to_client(client, conn, Packet::Frame(frame));
            }
        }
        let State::Up(process) = &mut self.nodes[at].state else { return };
        if let Some(held) = process.conns.get(&conn)
            && held.closing
            && held.filling == 0
        {
            let client = held.client;
            process.conns.remove(&conn);
            self.carry_to_client(client, conn, Packet::Closed);
        }
    }

    /// The broker ends a connection, after the answers that it gave before.
    pub(super) fn close_conn(&mut self, at: usize, conn: ConnId) {
        if let Some(held) = self.nodes[at].process().and_then(|process| process.conns.get_mut(&conn)) {
            held.closing = true;
        }
        self.flush_conn(at, conn);
    }

    /// The process is gone, and with it every connection.
    pub(super) fn close_all_conns(&mut self, at: usize) {
        let Some(process) = self.nodes[at].process() else { return };
        for (conn, held) in std::mem::take(&mut process.conns) {
            self.carry_to_client(held.client, conn, Packet::Closed);
        }
    }

    pub(super) fn on_client_packet(&mut self, client: usize, conn: ConnId, packet: Packet) {
        if is_hostile(conn) {
            self.on_hostile_packet(conn, packet);
            return;
        }
        // Otherwise it is of a connection that the client has given up.
        let Some(broker) = self.clients[client].broker_at(conn) else { return };
        match packet {
            Packet::Open { .. } => {
                let Some(link) = self.clients[client].links.get_mut(&broker) else { return };
                link.is_open = true;
                for frame in std::mem::take(&mut link.queued) {
                    self.carry_to_node(client, broker, Packet::Frame(frame));
                }
            }
            Packet::Frame(frame) => self.on_answer(client, broker, &frame),
            Packet::Refused | Packet::Closed => self.on_lost(client, broker),
        }
    }

    fn on_answer(&mut self, client: usize, broker: u32, frame: &Bytes) {
        let Some(link) = self.clients[client].links.get_mut(&broker) else { return };
        let node = link.machine;
        let Some((number, api_key, version)) = link.waiting.pop_front() else {
            self.hear(Judge::L1, node, Err("an answer came that nobody asked for".to_owned()));
            return;
        };
        match decode_response(api_key, version, frame.slice(LENGTH_PREFIX_BYTES..)) {
            Ok((correlation, response)) if u64::try_from(correlation) == Ok(number) => {
                self.act(client, |actor, ctx| actor.behaviour().on_response(ctx, broker, number, response));
            }
            Ok((correlation, _)) => {
                let says = format!("answer {correlation} came where {number} was due");
                self.hear(Judge::L1, node, Err(says));
            }
            Err(error) => self.hear(Judge::L1, node, Err(format!("an answer cannot be read: {error}"))),
        }
    }

    /// The client has no connection to a broker any more.
    fn on_lost(&mut self, client: usize, broker: u32) {
        let Some(link) = self.clients[client].links.remove(&broker) else { return };
        self.note_at(link.machine, Kind::Disconnect, [link.conn.0, client as u64, 0]);
        self.act(client, |actor, ctx| actor.behaviour().on_disconnected(ctx, broker));
    }

    fn break_connection(&mut self, client: usize, broker: u32) {
        if self.clients[client].links.contains_key(&broker) {
            self.carry_to_node(client, broker, Packet::Closed);
            self.on_lost(client, broker);
        }
    }

    pub(super) fn on_client_wake(&mut self, client: usize, at_us: u64) {
        if self.clients[client].wake_us == Some(at_us) {
            self.clients[client].wake_us = None;
            self.act(client, |actor, ctx| actor.behaviour().on_wake(ctx));
        }
    }

    pub(super) fn on_deadline(&mut self, client: usize, number: u64) {
        let waits = |link: &Link| link.waiting.iter().any(|(waiting, ..)| *waiting == number);
        let late = self.clients[client].links.iter().find(|(_, link)| waits(link)).map(|(&broker, _)| broker);
        if let Some(broker) = late {
            self.break_connection(client, broker);
        }
    }

    /// Lets a client act, and does what it asks for.
    pub(super) fn act(&mut self, client: usize, act: impl FnOnce(&mut Actor, &mut Context<'_>)) {
        let draining = self.phase != super::Phase::Stormy;
        let brokers = u32::try_from(self.plan.nodes.len()).unwrap_or(1);
        let held = &mut self.clients[client];
        let mut ctx = Context {
            now_us: self.now_us,
            client: u32::try_from(client).unwrap_or(0),
            brokers,
            rng: &mut held.rng,
            truth: &mut self.truth,
            register: &mut self.register,
            bench: &mut self.bench,
            marks: &mut self.marks,
            trace: &mut self.trace,
            draining,
            next_number: held.next_number,
            sends: Vec::new(),
            wake_at: None,
            disconnect: None,
        };
        act(&mut held.actor, &mut ctx);
        let Context { next_number, sends, wake_at, disconnect, .. } = ctx;
        held.next_number = next_number;
        for (broker, number, request, version) in sends {
            self.send(client, broker, number, &request, version);
        }
        let held = &mut self.clients[client];
        if let Some(at_us) = wake_at
            && held.wake_us.is_none_or(|scheduled| at_us < scheduled || scheduled <= self.now_us)
        {
            held.wake_us = Some(at_us);
            self.queue.push(at_us, What::ClientWake { client, at_us });
        }
        if let Some(broker) = disconnect {
            self.break_connection(client, broker);
        }
    }

    fn send(&mut self, client: usize, broker: u32, number: u64, request: &Request, version: i16) {
        let correlation = i32::try_from(number).unwrap_or(0);
        let name = Str::from_static("sim");
        let frame = match encode_request(version, correlation, Some(&name), request) {
            Ok(chain) => chain.to_bytes(),
            Err(error) => {
                self.hear(Judge::L1, 0, Err(format!("a request cannot be written: {error}")));
                return;
            }
        };
        if !self.clients[client].links.contains_key(&broker) {
            self.connect(client, broker);
        }
        let Some(link) = self.clients[client].links.get_mut(&broker) else { return };
        if !is_silent(request) {
            link.waiting.push_back((number, request.api_key(), version));
            self.queue.push(self.now_us + TIMEOUT_US, What::Deadline { client, number });
        }
        if link.is_open {
            self.carry_to_node(client, broker, Packet::Frame(frame));
        } else {
            link.queued.push(frame);
        }
    }
}

/// acks=0 has no answer.
fn is_silent(request: &Request) -> bool {
    if let Request::Produce(produce) = request { produce.acks == 0 } else { false }
}

impl World {
    /// A client beyond the plan's: the one that reads everything at the end.
    pub(super) fn add_client(&mut self, plan: &ClientPlan) -> usize {
        let index = self.clients.len();
        self.clients.push(Client::new(self.plan.seed, index as u64, plan, &self.plan));
        let at_us = self.now_us;
        self.start_client(index, at_us);
        index
    }

    /// A client begins.
    pub(super) fn start_client(&mut self, client: usize, at_us: u64) {
        self.clients[client].wake_us = Some(at_us);
        self.queue.push(at_us, What::ClientWake { client, at_us });
    }
}
