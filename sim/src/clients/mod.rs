//! Simulated clients: small state machines that speak the real wire. A client sees responses, broken connections and the time;
//! it asks for requests to be sent to brokers, for a time to be woken at, and for connections to be broken. It follows leaders
//! by Metadata, as real ones do.
//!
//! * [`producer`] writes; * [`reader`] reads; * [`admin`] creates, deletes and asks, `deletes` for records, `offsets` for what
//!   there is; * [`mover`] moves partitions between brokers; * [`keeper`] gives topics more partitions and has records expire;
//! * [`member`] is in a consumer group; * [`tuner`] sets such groups' own settings; * [`table`] keeps a table in a compacted topic;
//! * [`hostile`] means harm; * [`catalog`]: what a client knows of topics; `visit`: single writes and reads; `turns`: one question
//!   after the other.

pub mod admin;
mod alterer;
pub mod catalog;
mod deletes;
pub mod hostile;
pub mod keeper;
mod lane;
pub mod member;
pub mod mover;
mod offsets;
pub mod producer;
pub mod reader;
pub mod table;
pub mod tuner;
mod turns;
mod visit;

use crate::judges::s24::Register;
use crate::judges::truth::Truth;
use crate::judges::{Bench, Judge};
use crate::marks::{Mark, Marks};
use crate::plan::{ClientPlan, Plan, Role};
use crate::rng::Stream;
use crate::trace::{Event, Kind, NOWHERE, Trace};
use admin::Admin;
use keeper::Keeper;
use member::Member;
use mover::Mover;
use producer::Producer;
use reader::Reader;
use seedlog_core::wire::{Request, Response};
use tuner::Tuner;

/// What a client may look at and do while it handles an event.
pub struct Context<'a> {
    /// Virtual µs.
    pub now_us: u64,
    /// The client's number.
    pub client: u32,
    /// Brokers that there are.
    pub brokers: u32,
    /// Its own randomness.
    pub rng: &'a mut Stream,
    /// What is true, for judging only.
    pub truth: &'a mut Truth,
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
    /// Requests to send, with the broker, their numbers and versions.
    pub sends: Vec<(u32, u64, Request, i16)>,
    /// When to be woken, in virtual µs.
    pub wake_at: Option<u64>,
    /// Break the connection to this broker after the requests.
    pub disconnect: Option<u32>,
}

impl Context<'_> {
    /// Sends a request to a broker, once there is a connection to it. Gives back its number among those of this client.
    pub fn send(&mut self, broker: u32, request: impl Into<Request>, version: i16) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.sends.push((broker, number, request.into(), version));
        number
    }

    /// Any broker.
    pub fn any_broker(&mut self) -> u32 {
        u32::try_from(self.rng.below(u64::from(self.brokers))).unwrap_or(0)
    }

    /// Asks to be woken in `ms`.
    pub fn wake_in_ms(&mut self, ms: u64) {
        let at = self.now_us + ms * 1_000;
        self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
    }

    /// Gives a judge's word on.
    pub fn hear(&mut self, judge: Judge, said: Result<(), String>) {
        self.bench.hear(judge, NOWHERE, self.now_us, said);
    }

    /// Notes an event.
    pub fn note(&mut self, kind: Kind, numbers: [u64; 3]) {
        self.trace.note(Event { at_us: self.now_us, node: NOWHERE, kind, numbers });
    }

    /// Hits a mark.
    pub fn mark(&mut self, mark: Mark) {
        self.marks.hit(mark);
    }
}

/// What a client does when something happens.
pub trait Behaviour {
    /// A broker's answer to the request `number`.
    fn on_response(&mut self, ctx: &mut Context<'_>, broker: u32, number: u64, response: Response);
    /// There is no connection to a broker, or no more, and no answer to what was sent to it.
    fn on_disconnected(&mut self, ctx: &mut Context<'_>, broker: u32);
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
    /// Moves partitions.
    Mover(Box<Mover>),
    /// Gives topics more partitions, has records expire.
    Keeper(Box<Keeper>),
    /// Is in a consumer group.
    Member(Box<Member>),
    /// Keeps a table.
    Table(Box<table::Keeper>),
    /// Sets groups' own settings.
    Tuner(Box<Tuner>),
}

impl Actor {
    /// The actor of a plan, the client number `index` of the run.
    #[must_use]
    pub fn new(plan: &ClientPlan, index: u32, run: &Plan) -> Self {
        let cluster = &run.cluster;
        match &plan.role {
            Role::Producer { .. } => Self::Producer(Box::new(Producer::new(plan, cluster))),
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
                    plan.node,
                    cluster,
                )))
            }
            Role::Admin { operations, alters } => {
                let what = (*operations, *alters, run.deletes_per_mille);
                Self::Admin(Box::new(Admin::new(what, plan.pause_ms, cluster)))
            }
            Role::Mover { operations } => {
                Self::Mover(Box::new(Mover::new(*operations, plan.pause_ms, &cluster.topics)))
            }
            Role::Keeper { operations } => {
                Self::Keeper(Box::new(Keeper::new(*operations, plan.pause_ms, &cluster.topics)))
            }
            Role::Tuner { operations } => Self::Tuner(Box::new(Tuner::new(*operations, plan.pause_ms, run))),
            Role::Table { operations, keys } => {
                let topic = cluster.topics[0];
                Self::Table(Box::new(table::Keeper::new((*operations, *keys), plan.pause_ms, topic)))
            }
            Role::Member(member) => Self::Member(Box::new(Member::new(*member, (plan.node, index), cluster))),
        }
    }

    /// The client number `client` has not come to its end: who finds fault with that, and why.
    #[must_use]
    pub fn why_open(&self, client: usize) -> (Judge, String) {
        let judge = if let Self::Member(_) = self { Judge::L7 } else { Judge::L1 };
        let waits_for = self.as_behaviour().waits_for();
        (judge, format!("client {client} does not come to an end: {waits_for}"))
    }

    /// The behaviour behind it.
    pub fn behaviour(&mut self) -> &mut dyn Behaviour {
        match self {
            Self::Producer(producer) => producer.as_mut(),
            Self::Reader(reader) => reader.as_mut(),
            Self::Admin(admin) => admin.as_mut(),
            Self::Mover(mover) => mover.as_mut(),
            Self::Keeper(keeper) => keeper.as_mut(),
            Self::Member(member) => member.as_mut(),
            Self::Table(keeper) => keeper.as_mut(),
            Self::Tuner(tuner) => tuner.as_mut(),
        }
    }

    /// The same, to look at.
    #[must_use]
    pub fn as_behaviour(&self) -> &dyn Behaviour {
        match self {
            Self::Producer(producer) => producer.as_ref(),
            Self::Reader(reader) => reader.as_ref(),
            Self::Admin(admin) => admin.as_ref(),
            Self::Mover(mover) => mover.as_ref(),
            Self::Keeper(keeper) => keeper.as_ref(),
            Self::Member(member) => member.as_ref(),
            Self::Table(keeper) => keeper.as_ref(),
            Self::Tuner(tuner) => tuner.as_ref(),
        }
    }
}
