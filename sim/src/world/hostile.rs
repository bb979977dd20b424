//! Somebody who means harm, with connections of its own: what it sends is drawn in `clients::hostile`, what it gets back is looked
//! at here. Its randomness is its own as well: how long its frames travel moves nothing of the good clients'.

use super::node::State;
use super::queue::{Packet, What};
use super::{Phase, World};
use crate::clients::hostile::{self, Outcome};
use crate::judges::{Judge, s26, s27};
use crate::marks::Mark;
use crate::plan::{HostilePlan, Plan};
use crate::rng::{Purpose, Stream};
use crate::trace::{Kind, NOWHERE};
use bytes::Bytes;
use seedlog_core::ids::ConnId;
use seedlog_core::input::Input;
use seedlog_core::wire::{LENGTH_PREFIX_BYTES, decode_response};
use std::collections::{BTreeMap, VecDeque};

/// Connections of good clients have lower numbers.
const FIRST_CONN: u64 = 1 << 40;
/// Requests of a connection that a node reads before it has answered: who does not read answers gets no further.
const UNANSWERED_MAX: usize = 16;
/// When it comes, in µs.
const FIRST_US: u64 = 300_000;

/// What it has open.
#[derive(Debug)]
pub(super) struct Hostile {
    plan: HostilePlan,
    rng: Stream,
    frames_left: u64,
    next_conn: u64,
    guests: BTreeMap<ConnId, Guest>,
}

/// One of its connections.
#[derive(Debug)]
struct Guest {
    machine: usize,
    is_open: bool,
    /// It never reads.
    is_deaf: bool,
    /// It asked to be let wait for longer than the run goes on.
    is_patient: bool,
    waiting: VecDeque<Outcome>,
    /// Frames of a connection arrive in order.
    to_node_us: u64,
    to_client_us: u64,
}

/// Whose connection it is.
pub(super) fn is_hostile(conn: ConnId) -> bool {
    conn.0 >= FIRST_CONN
}

impl Hostile {
    pub(super) fn new(plan: &Plan) -> Option<Self> {
        let hostile = plan.hostile?;
        Some(Self {
            plan: hostile,
            rng: Stream::new(plan.seed, Purpose::Hostile, 1),
            frames_left: hostile.frames,
            next_conn: FIRST_CONN,
            guests: BTreeMap::new(),
        })
    }

    fn latency(&mut self) -> u64 {
        self.rng.range(30, 400)
    }

    fn any_guest(&mut self) -> Option<ConnId> {
        let open: Vec<ConnId> =
            self.guests.iter().filter(|(_, guest)| guest.is_open).map(|(&conn, _)| conn).collect();
        (!open.is_empty()).then(|| self.rng.pick(&open))
    }
}

impl World {
    pub(super) fn schedule_hostile(&mut self) {
        let Some(hostile) = &mut self.hostile else { return };
        let pause_us = hostile.plan.pause_us;
        let at_us = self.now_us.max(FIRST_US) + hostile.rng.range(pause_us / 2, pause_us * 3 / 2);
        self.queue.push(at_us, What::Hostile);
    }

    /// It does something, as long as the faults go on; later it only keeps what it has.
    pub(super) fn on_hostile(&mut self) {
        for at in 0..self.nodes.len() {
            self.check_held(at);
        }
        let Some(hostile) = &mut self.hostile else { return };
        if self.phase != Phase::Stormy || hostile.frames_left == 0 {
            return;
        }
        let has_room = hostile.guests.len() < hostile.plan.connections_max as usize;
        if hostile.guests.is_empty() || has_room && hostile.rng.chance(300) {
            self.open_guest();
        } else if let Some(conn) = hostile.any_guest() {
            if hostile.rng.chance(80) { self.break_off(conn) } else { self.burst(conn) }
        }
        self.schedule_hostile();
    }

    fn open_guest(&mut self) {
        let brokers = self.plan.nodes.len() as u64;
        let Some(hostile) = &mut self.hostile else { return };
        let broker = u32::try_from(hostile.rng.below(brokers)).unwrap_or(0);
        let conn = ConnId(hostile.next_conn);
        hostile.next_conn += 1;
        let is_deaf = hostile.rng.chance(hostile.plan.deaf_per_mille);
        let machine = self.machine_of(broker);
        let guest = Guest {
            machine,
            is_open: false,
            is_deaf,
            is_patient: false,
            waiting: VecDeque::new(),
            to_node_us: 0,
            to_client_us: 0,
        };
        if let Some(hostile) = &mut self.hostile {
            hostile.guests.insert(conn, guest);
        }
        // Nobody of the plan's clients.
        self.carry_from_hostile(conn, Packet::Open { client: usize::MAX });
    }

    fn break_off(&mut self, conn: ConnId) {
        self.carry_from_hostile(conn, Packet::Closed);
        let guest = self.hostile.as_mut().and_then(|hostile| hostile.guests.remove(&conn));
        if guest.is_some_and(|guest| !guest.waiting.is_empty()) {
            self.mark(Mark::HostileLeft);
        }
    }

    fn burst(&mut self, conn: ConnId) {
        let Some(hostile) = &mut self.hostile else { return };
        let count = hostile.rng.range(1, 6).min(hostile.frames_left);
        let mut frames = Vec::new();
        if let Some(guest) = hostile.guests.get_mut(&conn) {
            for _ in 0..count {
                if guest.waiting.len() < UNANSWERED_MAX {
                    let shot = hostile::draw(&mut hostile.rng);
                    guest.waiting.push_back(shot.outcome);
                    guest.is_patient |= shot.is_patient;
                    frames.push(shot.frame);
                }
            }
        }
        hostile.frames_left -= count;
        for frame in frames {
            self.carry_from_hostile(conn, Packet::Frame(frame));
        }
    }

    fn carry_from_hostile(&mut self, conn: ConnId, packet: Packet) {
        let Some(hostile) = &mut self.hostile else { return };
        let at = self.now_us + hostile.latency();
        let Some(guest) = hostile.guests.get_mut(&conn) else { return };
        guest.to_node_us = at.max(guest.to_node_us);
        let (at, node) = (guest.to_node_us, guest.machine);
        self.queue.push(at, What::ToNode { node, conn, packet });
    }

    pub(super) fn carry_to_hostile(&mut self, conn: ConnId, packet: Packet) {
        let Some(hostile) = &mut self.hostile else { return };
        let at = self.now_us + hostile.latency();
        let Some(guest) = hostile.guests.get_mut(&conn) else { return };
        guest.to_client_us = at.max(guest.to_client_us);
        self.queue.push(guest.to_client_us, What::ToClient { client: usize::MAX, conn, packet });
    }

    /// The door has looked at a frame of a hostile connection. What it refuses ends the connection.
    pub(super) fn on_hostile_frame(&mut self, at: usize, conn: ConnId, frame: &Bytes, is_admitted: bool) {
        if is_admitted {
            self.hear(Judge::S26, at, s26::check_admitted(&frame[LENGTH_PREFIX_BYTES..]));
            return;
        }
        self.mark(Mark::HostileClosed);
        if let Some(process) = self.nodes[at].process() {
            process.conns.remove(&conn);
        }
        self.carry_to_hostile(conn, Packet::Closed);
        self.step(at, Input::ConnClosed { conn });
        self.check_held(at);
    }

    /// Something comes back to a hostile connection.
    pub(super) fn on_hostile_packet(&mut self, conn: ConnId, packet: Packet) {
        let Some(hostile) = &mut self.hostile else { return };
        let Some(guest) = hostile.guests.get_mut(&conn) else { return };
        match packet {
            Packet::Open { .. } => guest.is_open = true,
            Packet::Refused | Packet::Closed => {
                let machine = guest.machine;
                hostile.guests.remove(&conn);
                self.note(NOWHERE, Kind::Disconnect, [conn.0, machine as u64, 0]);
            }
            Packet::Frame(_) if guest.is_deaf => {}
            Packet::Frame(frame) => {
                while guest.waiting.pop_front_if(|due| *due == Outcome::Silent).is_some() {}
                let (due, machine) = (guest.waiting.pop_front(), guest.machine);
                let said = self.judge_answer(due, &frame);
                if let Err((judge, says)) = said {
                    self.hear(judge, machine, Err(says));
                }
            }
        }
    }

    /// Also who means harm gets answers in order, which are answers to its requests.
    fn judge_answer(&mut self, due: Option<Outcome>, frame: &Bytes) -> Result<(), (Judge, String)> {
        let wrong = |says: String| Err((Judge::L1, says));
        let (api, version, due_id, is_forged) = match due {
            Some(Outcome::Answer { api, version, correlation_id, is_forged }) => {
                (api, version, correlation_id, is_forged)
            }
            Some(Outcome::Closed | Outcome::Silent) | None => {
                return wrong("an answer comes to what is no request, or to none".to_owned());
            }
        };
        match decode_response(api, version, frame.slice(LENGTH_PREFIX_BYTES..)) {
            Ok((id, response)) if id == due_id && is_forged => {
                self.mark(Mark::RoleRefused);
                s26::check_forged(version, &response).map_err(|says| (Judge::S26, says))
            }
            Ok((id, _)) if id == due_id => Ok(()),
            Ok((id, _)) => wrong(format!("answer {id} came where {due_id} was due")),
            Err(error) => wrong(format!("an answer of {} cannot be read: {error}", api.name())),
        }
    }

    /// S27: what a broker holds is within its limits, and for somebody who is there.
    pub(super) fn check_held(&mut self, at: usize) {
        let State::Up(process) = &self.nodes[at].state else { return };
        if process.stopped {
            return; // It decides nothing any more, and is not told of who goes.
        }
        let unanswered = process.conns.values().map(|conn| conn.due.len()).sum();
        let (held, limits) = (process.broker.held(), process.broker.config());
        let said = s27::check(held, limits, process.conns.len(), unanswered);
        self.hear(Judge::S27, at, said);
    }

    /// A hostile connection that reads, and waits for an answer that it should have.
    pub(super) fn open_hostile(&self) -> Option<(Judge, String)> {
        let guests = &self.hostile.as_ref()?.guests;
        let waits = |guest: &Guest| guest.waiting.iter().any(|due| *due != Outcome::Silent);
        let (conn, guest) =
            guests.iter().find(|(_, guest)| !guest.is_deaf && !guest.is_patient && waits(guest))?;
        let (machine, due) = (guest.machine, guest.waiting.front());
        Some((
            Judge::L1,
            format!(
                "the hostile connection {conn} of node {machine} is neither answered nor closed: {due:?}"
            ),
        ))
    }
}
