//! The end of a run: faults stop, what was begun must end (L1), everything is read once more (S1).

use super::machine::State;
use super::{Phase, World, host_of, number_of};
use crate::net::{Host, now_us};
use seedlog_core::ids::Offset;
use seedlog_sim::clients::Actor;
use seedlog_sim::judges::truth::TrueLog;
use seedlog_sim::judges::{Judge, s1};
use seedlog_sim::plan::{ClientPlan, Role};
use seedlog_sim::trace::{Kind, NOWHERE};

/// Virtual time that draining may take, and the last reading.
const DRAIN_US: u64 = 60_000_000;

impl World {
    /// Ends every fault of machines, and names the links to be healed.
    pub(super) fn heal(&mut self, links: &mut Vec<(Host, Host)>) {
        self.note(NOWHERE, Kind::Heal, [0, 0, 0]);
        self.phase = Phase::Draining { until_us: now_us() + DRAIN_US };
        for machine in &mut self.machines {
            machine.lanes.slow_factor = 1;
            machine.lanes.sync_fails = false;
            machine.files.full = false;
            machine.cut = None;
        }
        let nodes = 0..self.machines.len();
        links.extend(nodes.clone().flat_map(|at| nodes.clone().map(move |to| (host_of(at), host_of(to)))));
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            client.slow_until = 0;
            let from = Host::Client(number_of(index));
            links.extend((0..self.machines.len()).map(|at| (from, host_of(at))));
            self.act(index, |actor, ctx| actor.behaviour().on_wake(ctx));
        }
    }

    pub(super) fn look_for_the_end(&mut self) {
        let (until_us, reading) = match self.phase {
            Phase::Draining { until_us } => (until_us, false),
            Phase::Reading { until_us } => (until_us, true),
            Phase::Stormy | Phase::Over => return,
        };
        let open = (0..self.clients.len()).find(|&client| !self.is_done(client, reading));
        match open {
            None if reading => self.read_everything(),
            None => self.begin_last_reading(),
            Some(client) if now_us() > until_us => {
                let held = &self.clients[client];
                let waits_for = held.actor.as_behaviour().waits_for();
                let says = format!("client {client} does not come to an end: {waits_for}");
                if reading {
                    self.read_everything();
                }
                self.hear(Judge::L1, usize::MAX, Err(says));
                self.phase = Phase::Over;
            }
            Some(_) => {}
        }
    }

    /// Nobody will ever serve again.
    fn is_dark(&self) -> bool {
        self.machines.iter().all(|machine| machine.state == State::Dead)
    }

    /// Readers of the plan need not reach the end: the last reading is by others.
    fn is_done(&self, index: usize, reading: bool) -> bool {
        if self.is_dark() {
            return true;
        }
        let client = &self.clients[index];
        let flush = self.plan.base.cluster.flush;
        match &client.actor {
            Actor::Reader(_) if index < self.plan.base.clients.len() => true,
            Actor::Reader(reader) => reader.is_at_the_end(|partition| {
                let is_owed = !self.truth.may_stay_offline(partition, flush);
                is_owed.then(|| self.truth.logs.get(&partition).map_or(Offset::ZERO, TrueLog::end))
            }),
            Actor::Producer(producer) => {
                reading || producer.is_done_but_for(|partition| self.truth.may_stay_offline(partition, flush))
            }
            Actor::Admin(_) => reading || client.actor.as_behaviour().is_done(),
        }
    }

    fn begin_last_reading(&mut self) {
        self.phase = Phase::Reading { until_us: now_us() + DRAIN_US };
        let role =
            Role::Reader { session: false, wait_ms: 10, bytes_min: 0, bytes_max: 1 << 20, version: 13 };
        self.add_client(&ClientPlan { node: 0, pause_ms: 15, breaks_every: 0, role });
    }

    fn read_everything(&mut self) {
        let mut said = Vec::new();
        if self.is_dark() {
            // What a node that does not start any more has acknowledged is read by nobody.
            let live = self.truth.logs.iter().filter(|(partition, _)| self.truth.is_live(**partition));
            said.extend(live.map(|(&partition, truth)| s1::check_read(truth, partition, Offset::ZERO)));
        }
        for client in &self.clients[self.plan.base.clients.len()..] {
            let Actor::Reader(reader) = &client.actor else { continue };
            for (partition, read_to, _) in reader.progress() {
                let is_offline = self.truth.may_stay_offline(partition, self.plan.base.cluster.flush);
                if let Some(truth) = self.truth.logs.get(&partition).filter(|_| !is_offline) {
                    said.push(s1::check_read(truth, partition, read_to));
                }
            }
        }
        for said in said {
            self.hear(Judge::S1, usize::MAX, said);
        }
        self.phase = Phase::Over;
    }
}
