//! Machines, clients, faults and judges of one run, behind one lock that is never held across a wait.
//!
//! * `machine`: a machine and its process's configuration; * `life`: starts, ends and crashes; * `watch`: what the driver shows,
//!   and what the judges say to it; * `talk`: clients and their connections; * `serve`: the disk's workers; * `faults`; * `finish`:
//!   healing, the last reading, the end.
//!
//! A kill of a madsim node reaches the machine through [`Machines`], madsim's plugin: whoever kills says before whether it is
//! the process or the power.

mod faults;
mod finish;
mod life;
mod machine;
mod serve;
mod talk;
mod watch;

pub use life::Machines;

use crate::marks::{Own, OwnMarks};
use crate::net::{Host, Net, now_us};
use crate::plan::{WholePlan, Wire};
use machine::Machine;
use madsim::runtime::Handle;
use madsim::task::NodeId;
use seedlog_sim::history::History;
use seedlog_sim::judges::groups::Groups;
use seedlog_sim::judges::s20::Patience;
use seedlog_sim::judges::s24::Register;
use seedlog_sim::judges::truth::Truth;
use seedlog_sim::judges::{Bench, Enabled, Judge, Verdict};
use seedlog_sim::marks::{Mark, Marks};
use seedlog_sim::plan::Flush;
use seedlog_sim::rng::{Purpose, Stream};
use seedlog_sim::trace::{Event, Kind, NOWHERE, Trace};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use talk::Client;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// The monotonic clock's origin is nobody's business but not 0.
pub(crate) const MONO_ORIGIN_MS: u64 = 1_000;
/// The port that nodes listen on.
pub(crate) const PORT: u16 = 9092;
/// The port that they listen on for each other.
pub(crate) const PEER_PORT: u16 = 9093;

/// The world of a run; clones are the same one.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    world: Mutex<World>,
    net: Net,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// What is behind the lock.
struct World {
    plan: WholePlan,
    machines: Vec<Machine>,
    clients: Vec<Client>,
    net: Net,
    chance: Stream,
    bench: Bench,
    truth: Truth,
    register: Register,
    marks: Marks,
    own: OwnMarks,
    trace: Trace,
    phase: Phase,
    steps: u64,
    /// Folders that were set aside so far.
    set_aside: usize,
    /// How often somebody was elected to lead the quorum.
    elections: usize,
    commands: mpsc::UnboundedSender<Command>,
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

/// What only the main task can do: start tasks outside of the machines.
#[derive(Debug)]
enum Command {
    /// Start a process, unless another start was ordered since.
    Boot { at: usize, token: u64, delay_us: u64 },
    /// Let a client begin.
    Client { index: usize, delay_us: u64 },
    /// Strike whoever was elected.
    Blow { at: usize, index: usize, after_us: u64 },
    /// Connect a client to a broker.
    Link { index: usize, broker: u32, token: u64 },
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
    /// Coverage, as the bare world counts it.
    pub marks: Marks,
    /// Coverage that only this world has.
    pub own: OwnMarks,
    /// The trace.
    pub trace: Trace,
    /// What clients saw.
    pub history: History,
}

/// How often it is looked whether a run has come to its end.
const LOOK_US: u64 = 50_000;

impl Shared {
    /// The world of a plan on machines that madsim knows by these names.
    #[must_use]
    pub fn new(plan: WholePlan, nodes: &[NodeId], enabled: Enabled, keep_trace: bool) -> (Self, Orders) {
        let seed = plan.base.seed;
        let net = Net::new(Stream::new(seed, Purpose::Net, 0));
        let (commands, orders) = mpsc::unbounded_channel();
        let machines = (0..).zip(nodes).map(|(index, &id)| Machine::new(&plan.base, index, id)).collect();
        let clients = (0..).zip(&plan.base.clients);
        let clients = clients.map(|(index, client)| Client::new(&plan, index, client)).collect();
        let world = World {
            machines,
            clients,
            net: net.clone(),
            chance: Stream::new(seed, Purpose::Whole, 1),
            bench: Bench::new(enabled),
            truth: Truth {
                allows_unclean: plan.base.cluster.flush != Flush::Always,
                groups: Groups::new(plan.base.offsets_kept_us()),
                patience: Patience { now_us: 0, tombstones_us: plan.base.tombstones_stay_us() },
                ..Truth::default()
            },
            register: Register::default(),
            marks: Marks::default(),
            own: OwnMarks::default(),
            trace: Trace::new(keep_trace),
            phase: Phase::Stormy,
            steps: 0,
            set_aside: 0,
            elections: 0,
            commands,
            plan,
        };
        (Self(Arc::new(Inner { world: Mutex::new(world), net })), Orders(orders))
    }

    /// Runs to the end, or to the first verdict.
    pub async fn run(&self, orders: Orders) {
        self.begin();
        let mut orders = orders.0;
        let mut look_us = 0;
        while !self.is_over() {
            // However many orders there are: clients that find nobody dial without end.
            let now = now_us();
            if now >= look_us {
                look_us = now + LOOK_US;
                self.look_for_the_end();
            }
            tokio::select! {
                biased;
                order = orders.recv() => if let Some(order) = order { self.carry_out(order) },
                () = sleep(Duration::from_micros(look_us - now)) => {}
            }
        }
        let mut world = self.lock();
        let acked = world.acked();
        world.note(NOWHERE, Kind::End, [acked, 0, 0]);
    }

    fn begin(&self) {
        let count = self.lock().machines.len();
        for at in 0..count {
            for lane in crate::disk::LANES {
                drop(tokio::spawn(serve::serve(self.clone(), at, lane)));
            }
        }
        let mut world = self.lock();
        for at in 0..world.plan.nodes() {
            world.schedule_boot(at, 0);
        }
        for index in 0..world.clients.len() {
            let delay_us = world.chance.range(1_000, 50_000);
            world.order(Command::Client { index, delay_us });
        }
        drop(world);
        drop(tokio::spawn(faults::carry_out(self.clone())));
    }

    fn carry_out(&self, order: Command) {
        let shared = self.clone();
        match order {
            Command::Boot { at, token, delay_us } => drop(tokio::spawn(async move {
                sleep(Duration::from_micros(delay_us)).await;
                shared.boot(at, token);
            })),
            Command::Client { index, delay_us } => drop(tokio::spawn(async move {
                sleep(Duration::from_micros(delay_us)).await;
                talk::live(shared, index).await;
            })),
            Command::Blow { at, index, after_us } => self.on_blow(at, index, after_us),
            Command::Link { index, broker, token } => {
                drop(tokio::spawn(talk::connect(shared, index, broker, token)));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The net.
    #[must_use]
    pub fn net(&self) -> Net {
        self.0.net.clone()
    }

    fn is_over(&self) -> bool {
        let world = self.lock();
        world.phase == Phase::Over || world.bench.verdict().is_some()
    }

    /// What a machine's wall clock is off by.
    #[must_use]
    pub fn wall_jump_ms(&self, at: usize) -> i64 {
        self.lock().machines[at].wall_jump_ms
    }

    /// How many parts in a million a machine's clocks run fast, or slow.
    #[must_use]
    pub fn drift_ppm(&self, at: usize) -> i64 {
        self.lock().machines[at].numbers.drift_ppm
    }

    /// How streams between nodes are.
    #[must_use]
    pub fn peer_wire(&self) -> Wire {
        self.lock().plan.peer_wire
    }

    /// Random bytes for a process: fresh at each start (SAFETY C2).
    #[must_use]
    pub fn random(&self, at: usize, len: usize) -> Vec<u8> {
        self.lock().machines[at].seeds.bytes(len)
    }

    /// Takes what the run came to. `panicked` says what the core or the node asserted in vain.
    #[must_use]
    pub fn outcome(&self, virtual_us: u64, panicked: Option<String>) -> Outcome {
        let mut world = self.lock();
        let own_of_net = world.net.marks();
        world.own.add(&own_of_net);
        if let Some(says) = panicked {
            // What a judge said before came first.
            let at_us = world.trace.last().last().map_or(0, |event| event.at_us);
            world.bench.hear(Judge::Panic, NOWHERE, at_us, Err(says));
        }
        let mut history = std::mem::take(&mut world.bench.history);
        history.close(&world.truth);
        Outcome {
            verdict: world.bench.take(),
            virtual_us,
            steps: world.steps,
            acked: world.acked(),
            marks: world.marks.clone(),
            own: world.own.clone(),
            trace: std::mem::take(&mut world.trace),
            history,
        }
    }
}

/// Where the main task hears what it has to do.
#[derive(Debug)]
pub struct Orders(mpsc::UnboundedReceiver<Command>);

impl World {
    fn order(&self, command: Command) {
        // Without a main task the run is over.
        let _ = self.commands.send(command);
    }

    fn note(&mut self, node: u32, kind: Kind, numbers: [u64; 3]) {
        self.trace.note(Event { at_us: now_us(), node, kind, numbers });
    }

    fn note_at(&mut self, at: usize, kind: Kind, numbers: [u64; 3]) {
        self.note(number_of(at), kind, numbers);
    }

    fn mark(&mut self, mark: Mark) {
        self.marks.hit(mark);
    }

    fn mark_own(&mut self, mark: Own) {
        self.own.hit(mark);
    }

    fn hear(&mut self, judge: Judge, at: usize, said: Result<(), String>) {
        self.bench.hear(judge, number_of(at), now_us(), said);
    }

    fn acked(&self) -> u64 {
        self.truth.logs.values().flat_map(|log| &log.batches).filter(|held| held.acked).count() as u64
    }
}

fn number_of(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NOWHERE)
}

fn host_of(at: usize) -> Host {
    Host::Node(number_of(at))
}

/// madsim's handle; every task has one.
fn madsim() -> Handle {
    Handle::current()
}
