//! The bare world: nodes, clients and faults on one queue of events, ordered by (virtual µs, sequence number).
//!
//! ```text
//!   clients ──frames──► net ──► node: door, Broker::step ──► store ──► disk
//!      ▲                         │                              │
//!      └───────frames────────────┘◄─────── signals ─────────────┘       judges look at all of it
//! ```
//!
//! * `queue`: events; * `node`: a machine and its process; * `driver`: steps and their outputs; * `answer`: replies and what is
//!   filled into them; * `life`: starts, recoveries, crashes; * `net`: connections and frames; * `faults`: the plan's faults;
//!   * `hostile`: somebody who means harm; * `voters`: changes of the quorum's members; * `finish`: healing, the last reading, the end.
//!
//! Nothing here reads a clock, spawns, or hashes by address: a run is a function of (build, plan).

mod answer;
mod driver;
mod faults;
mod finish;
mod hostile;
mod life;
mod links;
mod net;
mod node;
mod queue;
mod voters;
mod watch;

use crate::history::History;
use crate::judges::groups::Groups;
use crate::judges::s20::Patience;
use crate::judges::s24::Register;
use crate::judges::truth::Truth;
use crate::judges::{Bench, Enabled, Judge, Verdict};
use crate::marks::{Mark, Marks};
use crate::plan::Plan;
use crate::rng::{Purpose, Stream};
use crate::trace::{Event, Kind, NOWHERE, Trace};
use hostile::Hostile;
use links::Links;
use net::Client;
use node::Node;
use queue::{Queue, What};
use seedlog_core::cluster::records::Voter;
use seedlog_core::ids::NodeId;

/// What all clocks show when a run begins, in ms since the epoch.
pub const WALL_START_MS: i64 = 1_750_000_000_000;

/// A run in progress.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    now_us: u64,
    queue: Queue,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    hostile: Option<Hostile>,
    net: Stream,
    next_conn: u64,
    links: Links,
    /// Folders that there were.
    folders: u64,
    /// How often somebody was elected to lead the quorum.
    elections: usize,
    bench: Bench,
    truth: Truth,
    register: Register,
    /// The quorum's members by what is committed; none before the cluster is founded.
    voters: Vec<Voter>,
    marks: Marks,
    trace: Trace,
    phase: Phase,
    steps: u64,
    /// The step under way is none of a request: what it answers has waited.
    answers_late: bool,
    /// Inputs and outputs are told in full.
    aloud: bool,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Faults and work.
    Stormy,
    /// No more faults: what was begun must end.
    Draining { until_us: u64 },
    /// The cluster becomes whole.
    Settling { until_us: u64 },
    /// Everything is read once more.
    Reading { until_us: u64 },
    /// Every node stops.
    Stopping { until_us: u64 },
    /// Done.
    Over,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What was found, if anything.
    pub verdict: Option<Verdict>,
    /// Virtual time.
    pub virtual_us: u64,
    /// Steps of all brokers.
    pub steps: u64,
    /// Batches acknowledged.
    pub acked: u64,
    /// Coverage.
    pub marks: Marks,
    /// The trace.
    pub trace: Trace,
    /// What clients saw.
    pub history: History,
}

impl World {
    /// The world of a plan, before its first event.
    #[must_use]
    pub fn new(plan: Plan, enabled: Enabled, keep_trace: bool) -> Self {
        let node = |(index, numbers)| {
            let node_id = NodeId(i32::try_from(index).unwrap_or(0) + 1);
            Node::new(plan.seed, (index, index), node_id, numbers, &plan.cluster)
        };
        let nodes: Vec<Node> = (0..).zip(&plan.nodes).map(node).collect();
        let clients = (0..)
            .zip(&plan.clients)
            .map(|(index, client)| Client::new(plan.seed, index, client, &plan))
            .collect();
        let mut world = Self {
            now_us: 0,
            queue: Queue::default(),
            folders: nodes.len() as u64,
            elections: 0,
            links: Links::default(),
            truth: Truth {
                allows_unclean: plan.cluster.flush != crate::plan::Flush::Always,
                groups: Groups::new(plan.offsets_kept_us()),
                patience: Patience { now_us: 0, tombstones_us: plan.tombstones_stay_us() },
                ..Truth::default()
            },
            nodes,
            clients,
            hostile: Hostile::new(&plan),
            net: Stream::new(plan.seed, Purpose::Net, 0),
            next_conn: 0,
            bench: Bench::new(enabled),
            register: Register::default(),
            voters: Vec::new(),
            marks: Marks::default(),
            trace: Trace::new(keep_trace),
            phase: Phase::Stormy,
            steps: 0,
            answers_late: false,
            aloud: false,
            plan,
        };
        for node in 0..world.nodes.len() {
            world.schedule_boot(node, 0);
        }
        for client in 0..world.clients.len() {
            let delay = world.net.range(1_000, 50_000);
            world.start_client(client, delay);
        }
        for (index, fault) in world.plan.faults.iter().enumerate() {
            world.queue.push(fault.at_us, What::Fault { index });
        }
        for (index, step) in world.plan.voters.iter().enumerate() {
            world.queue.push(step.at_us, What::Voters { index, tries: 0 });
        }
        world.queue.push(world.plan.duration_ms * 1_000, What::Heal);
        world.schedule_hostile();
        world
    }

    /// Tells every input and output of the brokers in full.
    pub fn speak(&mut self) {
        self.aloud = true;
    }

    /// Runs to the end, or to the first verdict.
    pub fn run(&mut self) {
        while self.phase != Phase::Over && self.bench.verdict().is_none() {
            let Some((at_us, what)) = self.queue.pop() else { break };
            self.now_us = at_us;
            self.truth.patience.now_us = at_us;
            self.dispatch(what);
        }
        let acked = self.acked();
        self.note(NOWHERE, Kind::End, [acked, 0, 0]);
    }

    /// What the run came to.
    #[must_use]
    pub fn into_outcome(mut self) -> Outcome {
        let mut history = std::mem::take(&mut self.bench.history);
        history.close(&self.truth);
        Outcome {
            verdict: self.bench.take(),
            virtual_us: self.now_us,
            steps: self.steps,
            acked: self.acked(),
            marks: self.marks,
            trace: self.trace,
            history,
        }
    }

    /// The events that led here, for a report after a panic.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Virtual time.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    fn dispatch(&mut self, what: What) {
        if let Some((node, life)) = what.addressee() {
            let held = &mut self.nodes[node];
            if life.is_some_and(|life| life != held.life) {
                return; // For a process that is no more.
            }
            if held.paused_until > 0 {
                held.deferred.push(what);
                return;
            }
        }
        match what {
            What::Boot { node, token } => self.on_boot(node, token),
            What::LaneDone { node, lane, .. } => self.on_lane_done(node, lane),
            What::Submit { node, .. } => self.on_submit(node),
            What::Idle { node, .. } => self.on_idle(node),
            What::SyncTick { node, .. } => self.on_sync_tick(node),
            What::Durable { node, .. } => self.on_durable(node),
            What::Input { node, input, .. } => self.step(node, *input),
            What::Wake { node, at_us, .. } => self.on_broker_wake(node, at_us),
            What::Fill { node, id, .. } => self.on_fill(node, id),
            What::Look { node, id, .. } => self.on_look(node, id),
            What::ReadBack { node, id, .. } => self.on_read_back(node, id),
            What::Peer { node, message } => self.on_peer_packet(node, &message),
            What::PeerLink { node, peer, is_up, .. } => self.on_peer_link(node, peer, is_up),
            What::SendFilled { node, id, .. } => self.on_send_filled(node, id),
            What::LinkFaultEnds { id } => self.on_link_fault_ends(id),
            What::LinkLost { id } => self.on_link_lost(id),
            What::Return { node } => self.on_return(node),
            What::ToNode { node, conn, packet } => self.on_node_packet(node, conn, packet),
            What::ToClient { client, conn, packet } => self.on_client_packet(client, conn, packet),
            What::ClientWake { client, at_us } => self.on_client_wake(client, at_us),
            What::Deadline { client, number } => self.on_deadline(client, number),
            What::Fault { index } => self.on_fault(index),
            What::Blow { node, index } => self.on_blow(node, index),
            What::Voters { index, tries } => self.on_voter_step(index, tries),
            What::FaultEnds { node, ends } => self.on_fault_ends(node, ends),
            What::Resume { node } => self.on_resume(node),
            What::Hostile => self.on_hostile(),
            What::Heal => self.on_heal(),
            What::Finish => self.on_look_for_the_end(),
        }
    }

    fn note(&mut self, node: u32, kind: Kind, numbers: [u64; 3]) {
        self.trace.note(Event { at_us: self.now_us, node, kind, numbers });
    }

    fn note_at(&mut self, node: usize, kind: Kind, numbers: [u64; 3]) {
        let node = u32::try_from(node).unwrap_or(NOWHERE);
        self.note(node, kind, numbers);
    }

    fn mark(&mut self, mark: Mark) {
        self.marks.hit(mark);
    }

    fn hear(&mut self, judge: Judge, node: usize, said: Result<(), String>) {
        let node = u32::try_from(node).unwrap_or(NOWHERE);
        self.bench.hear(judge, node, self.now_us, said);
    }

    fn acked(&self) -> u64 {
        self.truth.logs.values().flat_map(|log| &log.batches).filter(|held| held.acked).count() as u64
    }
}
