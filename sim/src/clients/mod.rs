//! Simulated clients: small state machines that speak the real wire. A client sees connections, responses and the time; it
//! asks for requests to be sent, for a time to be woken at, and for its connection to be broken.
//!
//! * [`producer`] writes; * [`reader`] reads; * [`admin`] creates, deletes and asks; * [`catalog`]: what a client knows of topics.

pub mod admin;
pub mod catalog;
pub mod producer;
pub mod reader;

use crate::judges::oracle::Oracle;
use crate::judges::s24::Register;
use crate::judges::{Bench, Judge};
use crate::marks::{Mark, Marks};
use crate::plan::{ClientPlan, NodePlan, Role};
use crate::rng::Stream;
use crate::trace::{Event, Kind, Trace};
use admin::Admin;
use producer::Producer;
use reader::Reader;
use seedlog_core::wire::{Request, Response};

/// What a client may look at and do while it handles an event.
pub struct Context<'a> {
    /// Virtual µs.
    pub now_us: u64,
    /// The client's number.
    pub client: u32,
    /// Its node.
    pub node: u32,
    /// Its own randomness.
    pub rng: &'a mut Stream,
    /// The node's truth, for judging only.
    pub oracle: &'a mut Oracle,
    /// What was produced.
    pub register: &'a mut Register,
    /// The judges.
    pub bench: &'a mut Bench,
    /// Coverage.
    pub marks: &'a mut Marks,
    /// The trace.
    pub trace: &'a mut Trace,
    /// No new work is begun.
    pub draining: bool,
    /// The number of its next request.
    pub next_number: u64,
    /// Requests to send, with their numbers and versions.
    pub sends: Vec<(u64, Request, i16)>,
    /// When to be woken, in virtual µs.
    pub wake_at: Option<u64>,
    /// Break the connection after the requests.
    pub disconnect: bool,
}

impl Context<'_> {
    /// Sends a request. Gives back its number among those of this client.
    pub fn send(&mut self, request: impl Into<Request>, version: i16) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.sends.push((number, request.into(), version));
        number
    }

    /// Asks to be woken in `ms`.
    pub fn wake_in_ms(&mut self, ms: u64) {
        let at = self.now_us + ms * 1_000;
        self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
    }

    /// Gives a judge's word on.
    pub fn hear(&mut self, judge: Judge, said: Result<(), String>) {
        self.bench.hear(judge, self.node, self.now_us, said);
    }

    /// Notes an event.
    pub fn note(&mut self, kind: Kind, numbers: [u64; 3]) {
        self.trace.note(Event { at_us: self.now_us, node: self.node, kind, numbers });
    }

    /// Hits a mark.
    pub fn mark(&mut self, mark: Mark) {
        self.marks.hit(mark);
    }
}

/// What a client does when something happens.
pub trait Behaviour {
    /// Its connection is there.
    fn on_connected(&mut self, ctx: &mut Context<'_>);
    /// The answer to the request `number`.
    fn on_response(&mut self, ctx: &mut Context<'_>, number: u64, response: Response);
    /// Its connection is gone, and with it every answer that was due.
    fn on_disconnected(&mut self, ctx: &mut Context<'_>);
    /// The time it asked for has come, or another.
    fn on_wake(&mut self, ctx: &mut Context<'_>);
    /// It has nothing left to do.
    fn is_done(&self) -> bool;
    /// What it is waiting for, for a liveness failure.
    fn waits_for(&self) -> String;
}

/// One client's behaviour.
#[derive(Debug)]
pub enum Actor {
    /// Writes.
    Producer(Box<Producer>),
    /// Reads.
    Reader(Box<Reader>),
    /// Creates, deletes, asks.
    Admin(Box<Admin>),
}

impl Actor {
    /// The actor of a plan.
    #[must_use]
    pub fn new(plan: &ClientPlan, node: &NodePlan) -> Self {
        match &plan.role {
            Role::Producer { .. } => Self::Producer(Box::new(Producer::new(plan, node))),
            Role::Reader { session, wait_ms, bytes_min, bytes_max, version } => {
                Self::Reader(Box::new(Reader::new(
                    reader::Style {
                        session: *session,
                        wait_ms: *wait_ms,
                        bytes_min: *bytes_min,
                        bytes_max: *bytes_max,
                        version: *version,
                        pause_ms: plan.pause_ms,
                    },
                    node,
                )))
            }
            Role::Admin { operations } => Self::Admin(Box::new(Admin::new(*operations, plan.pause_ms, node))),
        }
    }

    /// The behaviour behind it.
    pub fn behaviour(&mut self) -> &mut dyn Behaviour {
        match self {
            Self::Producer(producer) => producer.as_mut(),
            Self::Reader(reader) => reader.as_mut(),
            Self::Admin(admin) => admin.as_mut(),
        }
    }

    /// The same, to look at.
    #[must_use]
    pub fn as_behaviour(&self) -> &dyn Behaviour {
        match self {
            Self::Producer(producer) => producer.as_ref(),
            Self::Reader(reader) => reader.as_ref(),
            Self::Admin(admin) => admin.as_ref(),
        }
    }
}
