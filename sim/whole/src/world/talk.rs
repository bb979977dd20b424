//! Clients: the bare world's state machines at the end of a byte stream.

use super::{PORT, Phase, Shared, World, number_of};
use crate::net::{Host, SimStream, now_us};
use crate::plan::{WholePlan, Wire};
use bytes::{Buf, Bytes, BytesMut};
use seedlog::env::{Stream as _, StreamReader, StreamWriter};
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::Uuid;
use seedlog_core::records::Batches;
use seedlog_core::wire::{
    ApiKey, FetchResponse, LENGTH_PREFIX_BYTES, Request, Response, Str, decode_response, encode_request,
};
use seedlog_sim::clients::{Actor, Context};
use seedlog_sim::hash::hash64;
use seedlog_sim::judges::shadow::ShadowBatch;
use seedlog_sim::judges::truth::partition_of;
use seedlog_sim::judges::{Judge, s14, s20, s24};
use seedlog_sim::marks::Mark;
use seedlog_sim::plan::ClientPlan;
use seedlog_sim::rng::{Purpose, Stream};
use seedlog_sim::trace::Kind;
use std::collections::{BTreeMap, VecDeque};
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

/// A client and its ends of connections, one to each broker that it talks to.
pub(super) struct Client {
    pub(super) actor: Actor,
    pub(super) wire: Wire,
    rng: Stream,
    pub(super) links: BTreeMap<u32, Link>,
    next_number: u64,
    next_link: u64,
    wake_us: Option<u64>,
    poke: Arc<Notify>,
    pub(super) slow_until: u64,
}

/// A connection at the client's end, from the attempt on.
pub(super) struct Link {
    /// Tells it from others to the same broker.
    token: u64,
    pub(super) conn: Option<u64>,
    /// Requests that wait for an answer, in order: number, API, version, until when.
    waiting: VecDeque<(u64, ApiKey, i16, u64)>,
    /// Frames that the connection has not taken yet.
    frames: Vec<Bytes>,
    /// It ends once they are written.
    breaks: bool,
    /// It ends at once: what was asked on it was about what is gone.
    pub(super) gives_up: bool,
    /// The client is gone without a word.
    pub(super) vanished: bool,
    pub(super) poke: Arc<Notify>,
}

/// What a connection has to do next.
struct Due {
    frames: Vec<Bytes>,
    until_us: Option<u64>,
    breaks: bool,
    gives_up: bool,
    over: bool,
    slow: bool,
}

impl Client {
    pub(super) fn new(plan: &WholePlan, index: u64, client: &ClientPlan) -> Self {
        let usual = Wire { window_bytes: 64 << 10, segment_bytes: 16 << 10 };
        let wire = usize::try_from(index).ok().and_then(|index| plan.wires.get(index)).copied();
        Self {
            actor: Actor::new(client, u32::try_from(index).unwrap_or(0), &plan.base),
            wire: wire.unwrap_or(usual),
            rng: Stream::new(plan.base.seed, Purpose::Workload, index),
            links: BTreeMap::new(),
            next_number: 0,
            next_link: 0,
            wake_us: None,
            poke: Arc::default(),
            slow_until: 0,
        }
    }

    fn link(&mut self, broker: u32, token: u64) -> Option<&mut Link> {
        self.links.get_mut(&broker).filter(|link| link.token == token)
    }
}

/// A client's life: it is woken when it asked to be. Its connections live by themselves.
pub(super) async fn live(shared: Shared, index: usize) {
    let poke = Arc::clone(&shared.lock().clients[index].poke);
    shared.lock().act(index, |actor, ctx| actor.behaviour().on_wake(ctx));
    loop {
        let wake_us = shared.lock().clients[index].wake_us;
        let left = wake_us.map(|at| Duration::from_micros(at.saturating_sub(now_us())));
        tokio::select! {
            biased;
            () = poke.notified() => {}
            () = sleep(left.unwrap_or_default()), if left.is_some() => shared.lock().on_time(index),
        }
    }
}

/// A connection of a client to a broker, from the attempt to its end.
pub(super) async fn connect(shared: Shared, index: usize, broker: u32, token: u64) {
    let net = shared.net();
    let from = Host::Client(number_of(index));
    let wire = shared.lock().clients[index].wire;
    if let Ok(stream) = net.dial(from, (Host::Node(broker), PORT), wire).await {
        shared.lock().on_connected(index, (broker, token), stream.number());
        talk(&shared, index, (broker, token), stream).await;
    }
    shared.lock().on_lost(index, broker, token);
}

/// One connection, until either end has enough of it.
async fn talk(shared: &Shared, index: usize, link: (u32, u64), stream: SimStream) {
    let net = shared.net();
    let number = stream.number();
    let Some(poke) = shared.lock().poke_of(index, link) else { return };
    let (mut reader, mut writer) = stream.split();
    let mut buffer = BytesMut::new();
    let mut pieces: Vec<Bytes> = Vec::new();
    loop {
        let Some(due) = shared.lock().due(index, link) else { return };
        pieces.extend(due.frames);
        if due.over {
            net.vanish(number, 0);
            return;
        }
        if due.gives_up || (due.breaks && pieces.is_empty()) {
            return;
        }
        let left = due.until_us.map(|at| Duration::from_micros(at.saturating_sub(now_us())));
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
                    shared.lock().on_frame(index, link, frame);
                }
                if due.slow {
                    sleep(Duration::from_micros(SLOW_US)).await;
                }
            }
            // The client has waited for long enough.
            () = sleep(left.unwrap_or_default()), if left.is_some() => return,
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
    fn on_connected(&mut self, index: usize, (broker, token): (u32, u64), number: u64) {
        if let Some(link) = self.clients[index].link(broker, token) {
            link.conn = Some(number);
            self.note(broker, Kind::Connect, [number, index as u64, 0]);
        }
    }

    fn on_lost(&mut self, index: usize, broker: u32, token: u64) {
        let Some(link) = self.clients[index].link(broker, token) else { return };
        let number = link.conn.unwrap_or(0);
        self.clients[index].links.remove(&broker);
        self.note(broker, Kind::Disconnect, [number, index as u64, 0]);
        self.act(index, |actor, ctx| actor.behaviour().on_disconnected(ctx, broker));
    }

    fn poke_of(&mut self, index: usize, (broker, token): (u32, u64)) -> Option<Arc<Notify>> {
        self.clients[index].link(broker, token).map(|link| Arc::clone(&link.poke))
    }

    fn due(&mut self, index: usize, (broker, token): (u32, u64)) -> Option<Due> {
        let client = &mut self.clients[index];
        let slow = client.slow_until > now_us();
        let link = client.link(broker, token)?;
        let due = Due {
            frames: std::mem::take(&mut link.frames),
            until_us: link.waiting.front().map(|(.., until)| *until),
            breaks: link.breaks,
            gives_up: link.gives_up,
            over: link.vanished,
            slow,
        };
        for frame in &due.frames {
            self.note(broker, Kind::Frame, [index as u64, frame.len() as u64, hash64(frame)]);
        }
        Some(due)
    }

    /// A time has come.
    fn on_time(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.wake_us.take_if(|at| *at <= now_us()).is_some() {
            self.act(index, |actor, ctx| actor.behaviour().on_wake(ctx));
        }
    }

    fn on_frame(&mut self, index: usize, (broker, token): (u32, u64), frame: Bytes) {
        let Some(link) = self.clients[index].link(broker, token) else { return };
        let at = broker as usize;
        let next = link.waiting.pop_front();
        self.note(broker, Kind::Reply, [index as u64, frame.len() as u64, hash64(&frame)]);
        let Some((number, api_key, version, _)) = next else {
            self.hear(Judge::L1, at, Err("an answer came that nobody asked for".to_owned()));
            return;
        };
        match decode_response(api_key, version, frame.slice(LENGTH_PREFIX_BYTES..)) {
            Ok((correlation, response)) if u64::try_from(correlation) == Ok(number) => {
                if let Response::Fetch(fetched) = &response {
                    self.judge_served(at, fetched);
                }
                self.act(index, |actor, ctx| actor.behaviour().on_response(ctx, broker, number, response));
            }
            Ok((correlation, _)) => {
                let says = format!("answer {correlation} came where {number} was due");
                self.hear(Judge::L1, at, Err(says));
            }
            Err(error) => self.hear(Judge::L1, at, Err(format!("an answer cannot be read: {error}"))),
        }
    }

    /// What a reader was shown is what was committed, and must stay (S1, S24).
    fn judge_served(&mut self, at: usize, response: &FetchResponse) {
        // With flush=interval what was read may vanish with the power.
        let stays = self.machines[at].flushes_always();
        self.truth.patience.now_us = now_us();
        let patience = self.truth.patience;
        let (mut identity, mut said) = (Ok(()), Ok(()));
        let mut refused = false;
        for topic in &response.responses {
            // By name the topic may be another one of that name since.
            let is_sure = topic.topic_id != Uuid::ZERO;
            let named = || self.truth.topic_named(&topic.topic);
            let Some(topic_id) = Some(topic.topic_id).filter(|_| is_sure).or_else(named) else { continue };
            for data in &topic.partitions {
                let partition = partition_of(topic_id, data.partition_index);
                refused |= data.error_code == ErrorCode::KafkaStorageError.code()
                    && self.machines[at].oracle.logs.get(&partition).is_some_and(|log| !log.given_up);
                let bytes = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
                for (header, range) in Batches::new(&bytes) {
                    let batch = &bytes[range];
                    if is_sure {
                        identity = identity.and(s14::check_identity(&self.truth.logs, partition, batch));
                    }
                    let log = self.truth.logs.get_mut(&partition);
                    if is_sure {
                        said = said.and(s24::check_served(log.as_deref(), patience, partition, batch));
                    }
                    let stands_for = log
                        .as_deref()
                        .and_then(|log| s20::recognise(log, patience, batch).ok())
                        .unwrap_or_default();
                    if let Some(log) = log.filter(|_| stays) {
                        for held in log.within(header.base_offset, header.next_offset()) {
                            let is_it = |batch: &Arc<ShadowBatch>| batch.whole == held.batch.whole;
                            held.served |= stands_for.iter().any(is_it);
                        }
                    }
                }
            }
        }
        if refused {
            self.mark(Mark::DamageRefusedAtRead);
        }
        self.hear(Judge::S14, at, identity);
        if let Err((judge, says)) = said {
            self.hear(judge, at, Err(says));
        }
    }

    /// Lets a client act, and does what it asks for.
    pub(super) fn act(&mut self, index: usize, act: impl FnOnce(&mut Actor, &mut Context<'_>)) {
        let draining = self.phase != Phase::Stormy;
        let now = now_us();
        let brokers = number_of(self.plan.nodes());
        let client = &mut self.clients[index];
        let mut ctx = Context {
            now_us: now,
            client: u32::try_from(index).unwrap_or(0),
            brokers,
            rng: &mut client.rng,
            truth: &mut self.truth,
            register: &mut self.register,
            bench: &mut self.bench,
            marks: &mut self.marks,
            trace: &mut self.trace,
            draining,
            next_number: client.next_number,
            sends: Vec::new(),
            wake_at: None,
            disconnect: None,
        };
        act(&mut client.actor, &mut ctx);
        let Context { next_number, sends, wake_at, disconnect, .. } = ctx;
        client.next_number = next_number;
        if let Some(at_us) = wake_at
            && client.wake_us.is_none_or(|scheduled| at_us < scheduled || scheduled <= now)
        {
            client.wake_us = Some(at_us);
            client.poke.notify_one();
        }
        for (broker, number, request, version) in sends {
            if let Err(says) = self.send(index, broker, number, &request, version) {
                self.hear(Judge::L1, broker as usize, Err(says));
            }
        }
        if let Some(broker) = disconnect
            && let Some(link) = self.clients[index].links.get_mut(&broker)
        {
            link.breaks = true;
            link.poke.notify_one();
        }
    }

    fn send(
        &mut self,
        index: usize,
        broker: u32,
        number: u64,
        request: &Request,
        version: i16,
    ) -> Result<(), String> {
        let correlation = i32::try_from(number).unwrap_or(0);
        let name = Str::from_static("sim");
        let chain = encode_request(version, correlation, Some(&name), request);
        let chain = chain.map_err(|error| format!("a request cannot be written: {error}"))?;
        if !self.clients[index].links.contains_key(&broker) {
            self.open_link(index, broker);
        }
        let Some(link) = self.clients[index].links.get_mut(&broker) else { return Ok(()) };
        link.frames.push(chain.to_bytes());
        link.poke.notify_one();
        if !is_silent(request) {
            link.waiting.push_back((number, request.api_key(), version, now_us() + TIMEOUT_US));
        }
        Ok(())
    }

    fn open_link(&mut self, index: usize, broker: u32) {
        let client = &mut self.clients[index];
        client.next_link += 1;
        let token = client.next_link;
        let link = Link {
            token,
            conn: None,
            waiting: VecDeque::new(),
            frames: Vec::new(),
            breaks: false,
            gives_up: false,
            vanished: false,
            poke: Arc::default(),
        };
        client.links.insert(broker, link);
        self.order(super::Command::Link { index, broker, token });
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
