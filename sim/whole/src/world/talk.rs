//! Clients: the bare world's state machines at the end of a byte stream.

use super::machine::State;
use super::watch::resolve;
use super::{PORT, Phase, Shared, World, host_of};
use crate::net::{Host, SimStream, now_us};
use crate::plan::{WholePlan, Wire};
use bytes::{Buf, Bytes, BytesMut};
use seedlog::env::{Stream as _, StreamReader, StreamWriter};
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{PartitionIndex, TopicPartition};
use seedlog_core::records::Batches;
use seedlog_core::wire::{
    ApiKey, FetchResponse, LENGTH_PREFIX_BYTES, Request, Response, Str, decode_response, encode_request,
};
use seedlog_sim::clients::{Actor, Context};
use seedlog_sim::hash::hash64;
use seedlog_sim::judges::oracle::whole_hash;
use seedlog_sim::judges::{Judge, s24};
use seedlog_sim::marks::Mark;
use seedlog_sim::plan::ClientPlan;
use seedlog_sim::rng::{Purpose, Stream};
use seedlog_sim::trace::Kind;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// How long a client waits for an answer before it breaks the connection.
const TIMEOUT_US: u64 = 8_000_000;
/// Bytes that a slow reader takes at a time, and how long it rests between.
const SLOW_BYTES: usize = 200;
const SLOW_US: u64 = 2_000;
const READ_BYTES: usize = 64 << 10;

/// A client and its end of a connection.
pub(super) struct Client {
    pub(super) node: usize,
    pub(super) actor: Actor,
    pub(super) wire: Wire,
    rng: Stream,
    pub(super) conn: Option<u64>,
    /// Requests that wait for an answer, in order: number, API, version, until when.
    waiting: VecDeque<(u64, ApiKey, i16, u64)>,
    next_number: u64,
    wake_us: Option<u64>,
    /// Frames that its connection has not taken yet.
    frames: Vec<Bytes>,
    /// The connection ends once they are written.
    breaks: bool,
    /// The connection ends at once: what was asked on it was about what is gone.
    pub(super) gives_up: bool,
    /// It is gone without a word.
    pub(super) vanished: bool,
    pub(super) slow_until: u64,
    pub(super) poke: Arc<Notify>,
}

/// What a connection has to do next.
struct Due {
    frames: Vec<Bytes>,
    wake_us: Option<u64>,
    breaks: bool,
    gives_up: bool,
    over: bool,
    slow: bool,
}

impl Client {
    pub(super) fn new(plan: &WholePlan, index: u64, client: &ClientPlan) -> Self {
        let node = client.node as usize;
        let usual = Wire { window_bytes: 64 << 10, segment_bytes: 16 << 10 };
        let wire = usize::try_from(index).ok().and_then(|index| plan.wires.get(index)).copied();
        Self {
            node,
            actor: Actor::new(client, &plan.base.nodes[node]),
            wire: wire.unwrap_or(usual),
            rng: Stream::new(plan.base.seed, Purpose::Workload, index),
            conn: None,
            waiting: VecDeque::new(),
            next_number: 0,
            wake_us: None,
            frames: Vec::new(),
            breaks: false,
            gives_up: false,
            vanished: false,
            slow_until: 0,
            poke: Arc::default(),
        }
    }
}

/// A client's life: connects, talks until the connection ends, and comes back.
pub(super) async fn live(shared: Shared, index: usize) {
    let net = shared.net();
    loop {
        let (node, wire, gone) = {
            let world = shared.lock();
            let client = &world.clients[index];
            (client.node, client.wire, world.machines[client.node].state == State::Dead)
        };
        if gone {
            return;
        }
        let from = Host::Client(u32::try_from(index).unwrap_or(0));
        if let Ok(stream) = net.dial(from, (host_of(node), PORT), wire).await {
            shared.lock().on_connected(index, stream.number());
            talk(&shared, index, stream).await;
            shared.lock().on_lost(index);
        }
        let backoff = shared.lock().chance.range(5_000, 150_000);
        sleep(Duration::from_micros(backoff)).await;
    }
}

/// One connection, until either end has enough of it.
async fn talk(shared: &Shared, index: usize, stream: SimStream) {
    let net = shared.net();
    let number = stream.number();
    let poke = Arc::clone(&shared.lock().clients[index].poke);
    let (mut reader, mut writer) = stream.split();
    let mut buffer = BytesMut::new();
    let mut pieces: Vec<Bytes> = Vec::new();
    loop {
        let due = shared.lock().due(index);
        pieces.extend(due.frames);
        if due.over {
            net.vanish(number, 0);
            return;
        }
        if due.gives_up || (due.breaks && pieces.is_empty()) {
            return;
        }
        let left = due.wake_us.map(|at| Duration::from_micros(at.saturating_sub(now_us())));
        let bytes_max = if due.slow { SLOW_BYTES } else { READ_BYTES };
        tokio::select! {
            biased;
            () = poke.notified() => {}
            written = writer.write_chain(&pieces), if !pieces.is_empty() => match written {
                Ok(bytes) => advance(&mut pieces, bytes),
                Err(_) => return,
            },
            read = reader.read_into(&mut buffer, bytes_max) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
                while let Some(frame) = cut_frame(&mut buffer) {
                    shared.lock().on_frame(index, frame);
                }
                if due.slow {
                    sleep(Duration::from_micros(SLOW_US)).await;
                }
            }
            () = sleep(left.unwrap_or_default()), if left.is_some() => {
                if shared.lock().on_time(index) {
                    return;
                }
            }
        }
    }
}

fn advance(pieces: &mut Vec<Bytes>, mut bytes: usize) {
    while let Some(first) = pieces.first_mut() {
        if bytes < first.len() {
            first.advance(bytes);
            return;
        }
        bytes -= first.len();
        pieces.remove(0);
    }
}

fn cut_frame(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = buffer.first_chunk::<LENGTH_PREFIX_BYTES>().map(|prefix| i32::from_be_bytes(*prefix))?;
    let whole = usize::try_from(length).ok()? + LENGTH_PREFIX_BYTES;
    (buffer.len() >= whole).then(|| buffer.split_to(whole).freeze())
}

impl World {
    fn on_connected(&mut self, index: usize, number: u64) {
        let client = &mut self.clients[index];
        client.conn = Some(number);
        (client.breaks, client.gives_up, client.vanished) = (false, false, false);
        client.frames.clear();
        let node = client.node;
        self.note_at(node, Kind::Connect, [number, index as u64, 0]);
        self.act(index, |actor, ctx| actor.behaviour().on_connected(ctx));
    }

    fn on_lost(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let number = client.conn.take().unwrap_or(0);
        client.waiting.clear();
        client.frames.clear();
        let node = client.node;
        self.note_at(node, Kind::Disconnect, [number, index as u64, 0]);
        self.act(index, |actor, ctx| actor.behaviour().on_disconnected(ctx));
    }

    fn due(&mut self, index: usize) -> Due {
        let client = &mut self.clients[index];
        let frames = std::mem::take(&mut client.frames);
        let deadline = client.waiting.front().map(|(.., until)| *until);
        let due = Due {
            wake_us: [client.wake_us, deadline].into_iter().flatten().min(),
            breaks: client.breaks,
            gives_up: client.gives_up,
            over: client.vanished,
            slow: client.slow_until > now_us(),
            frames,
        };
        let node = client.node;
        for frame in &due.frames {
            self.note_at(node, Kind::Frame, [index as u64, frame.len() as u64, hash64(frame)]);
        }
        due
    }

    /// A time has come. `true`: the client has waited for long enough.
    fn on_time(&mut self, index: usize) -> bool {
        let now = now_us();
        let client = &mut self.clients[index];
        if client.waiting.front().is_some_and(|(.., until)| *until <= now) {
            return true;
        }
        if client.wake_us.is_some_and(|at| at <= now) {
            client.wake_us = None;
            self.act(index, |actor, ctx| actor.behaviour().on_wake(ctx));
        }
        false
    }

    fn on_frame(&mut self, index: usize, frame: Bytes) {
        let client = &mut self.clients[index];
        let node = client.node;
        let next = client.waiting.pop_front();
        self.note_at(node, Kind::Reply, [index as u64, frame.len() as u64, hash64(&frame)]);
        let Some((number, api_key, version, _)) = next else {
            self.hear(Judge::L1, node, Err("an answer came that nobody asked for".to_owned()));
            return;
        };
        match decode_response(api_key, version, frame.slice(LENGTH_PREFIX_BYTES..)) {
            Ok((correlation, response)) if u64::try_from(correlation) == Ok(number) => {
                if let Response::Fetch(fetched) = &response {
                    self.judge_served(node, fetched);
                }
                self.act(index, |actor, ctx| actor.behaviour().on_response(ctx, number, response));
            }
            Ok((correlation, _)) => {
                let says = format!("answer {correlation} came where {number} was due");
                self.hear(Judge::L1, node, Err(says));
            }
            Err(error) => self.hear(Judge::L1, node, Err(format!("an answer cannot be read: {error}"))),
        }
    }

    /// What a reader was shown is what was appended, and must stay (S1, S24).
    fn judge_served(&mut self, at: usize, response: &FetchResponse) {
        let machine = &mut self.machines[at];
        // With flush=interval it may be gone, and others in its place, while the answer travels.
        let always = machine.flushes_always();
        let mut said = Ok(());
        let mut refused = false;
        for topic in &response.responses {
            let Some(topic_id) = resolve(&machine.oracle, topic.topic_id, &topic.topic) else { continue };
            for data in &topic.partitions {
                let partition = TopicPartition { topic_id, partition: PartitionIndex(data.partition_index) };
                let log = machine.oracle.logs.get(&partition);
                refused |= data.error_code == ErrorCode::KafkaStorageError.code()
                    && log.is_some_and(|log| !log.given_up);
                let bytes = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
                for (header, range) in Batches::new(&bytes) {
                    let batch = &bytes[range];
                    let log = machine.oracle.logs.get_mut(&partition);
                    // By name the topic may be another one of that name since.
                    if always && topic.topic_id == topic_id {
                        let checked = s24::check_served(log.as_deref(), partition, batch);
                        said = said.and(checked);
                    }
                    let shadow = log.and_then(|log| log.at_mut(header.base_offset));
                    if let Some(shadow) = shadow.filter(|shadow| shadow.whole == whole_hash(batch)) {
                        shadow.served = true;
                    }
                }
            }
        }
        if refused {
            self.mark(Mark::DamageRefusedAtRead);
        }
        self.hear(Judge::S24, at, said);
    }

    /// Lets a client act, and does what it asks for.
    pub(super) fn act(&mut self, index: usize, act: impl FnOnce(&mut Actor, &mut Context<'_>)) {
        let draining = self.phase != Phase::Stormy;
        let now = now_us();
        let client = &mut self.clients[index];
        let mut ctx = Context {
            now_us: now,
            client: u32::try_from(index).unwrap_or(0),
            node: u32::try_from(client.node).unwrap_or(0),
            rng: &mut client.rng,
            oracle: &mut self.machines[client.node].oracle,
            register: &mut self.register,
            bench: &mut self.bench,
            marks: &mut self.marks,
            trace: &mut self.trace,
            draining,
            next_number: client.next_number,
            sends: Vec::new(),
            wake_at: None,
            disconnect: false,
        };
        act(&mut client.actor, &mut ctx);
        let Context { next_number, sends, wake_at, disconnect, .. } = ctx;
        client.next_number = next_number;
        if let Some(at_us) = wake_at
            && client.wake_us.is_none_or(|scheduled| at_us < scheduled || scheduled <= now)
        {
            client.wake_us = Some(at_us);
        }
        client.breaks |= disconnect;
        let node = client.node;
        for (number, request, version) in sends {
            if let Err(says) = self.send(index, number, &request, version) {
                self.hear(Judge::L1, node, Err(says));
            }
        }
    }

    fn send(&mut self, index: usize, number: u64, request: &Request, version: i16) -> Result<(), String> {
        let client = &mut self.clients[index];
        if client.conn.is_none() {
            return Ok(());
        }
        let correlation = i32::try_from(number).unwrap_or(0);
        let name = Str::from_static("sim");
        let chain = encode_request(version, correlation, Some(&name), request);
        let chain = chain.map_err(|error| format!("a request cannot be written: {error}"))?;
        client.frames.push(chain.to_bytes());
        if !is_silent(request) {
            client.waiting.push_back((number, request.api_key(), version, now_us() + TIMEOUT_US));
        }
        Ok(())
    }

    /// A client beyond the plan's: the one that reads everything at the end.
    pub(super) fn add_client(&mut self, plan: &ClientPlan) -> usize {
        let index = self.clients.len();
        self.clients.push(Client::new(&self.plan, index as u64, plan));
        self.order(super::Command::Client { index, delay_us: 0 });
        index
    }
}

/// acks=0 has no answer.
fn is_silent(request: &Request) -> bool {
    if let Request::Produce(produce) = request { produce.acks == 0 } else { false }
}
