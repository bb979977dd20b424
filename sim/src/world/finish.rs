//! The end of a run: faults stop, what was begun must end (L1), everything is read once more (S1).

use super::node::State;
use super::queue::What;
use super::{Phase, World};
use crate::clients::Actor;
use crate::judges::truth::TrueLog;
use crate::judges::{Judge, s1};
use crate::plan::{ClientPlan, Role};
use crate::trace::{Kind, NOWHERE};
use seedlog_core::ids::Offset;
use seedlog_core::input::Input;

/// Virtual time that draining may take, and the last reading.
const DRAIN_US: u64 = 60_000_000;
const LOOK_US: u64 = 100_000;

impl World {
    pub(super) fn on_heal(&mut self) {
        self.note(NOWHERE, Kind::Heal, [0, 0, 0]);
        self.phase = Phase::Draining { until_us: self.now_us + DRAIN_US };
        self.heal_links();
        for at in 0..self.nodes.len() {
            if at >= self.plan.nodes.len() {
                self.retire(at);
                continue;
            }
            if matches!(self.nodes[at].state, State::Dead) && self.plan.nodes.len() > 1 {
                // Nothing but another folder helps: that is what its operator gives it.
                self.wipe(at, 100_000, None);
            }
            let node = &mut self.nodes[at];
            node.slow_factor = 1;
            node.sync_fails = false;
            node.disk_full = false;
            node.cut = None;
            self.resume(at);
            self.input_late(at, 0, Input::Space { free_bytes: 1 << 30 });
        }
        for client in 0..self.clients.len() {
            self.act(client, |actor, ctx| actor.behaviour().on_wake(ctx));
        }
        self.queue.push(self.now_us + LOOK_US, What::Finish);
    }

    pub(super) fn on_look_for_the_end(&mut self) {
        let (until_us, reading) = match self.phase {
            Phase::Draining { until_us } => (until_us, false),
            Phase::Reading { until_us } => (until_us, true),
            Phase::Stormy | Phase::Over => return,
        };
        let open = (0..self.clients.len()).find(|&client| !self.is_done(client, reading));
        match open {
            None if reading => self.read_everything(),
            None => self.begin_last_reading(),
            Some(client) if self.now_us > until_us => {
                if reading {
                    self.read_everything();
                }
                let held = &self.clients[client];
                let says = format!(
                    "client {client} does not come to an end: {}",
                    held.actor.as_behaviour().waits_for()
                );
                self.hear(Judge::L1, 0, Err(says));
                self.phase = Phase::Over;
            }
            Some(_) => self.queue.push(self.now_us + LOOK_US, What::Finish),
        }
    }

    /// The folder that came back beside its successor goes for good.
    fn retire(&mut self, at: usize) {
        self.crash(at, false, 0);
        self.nodes[at].state = State::Dead;
    }

    /// Readers of the plan need not reach the end: the last reading is by another one.
    fn is_done(&self, client: usize, reading: bool) -> bool {
        if self.nodes.iter().take(self.plan.nodes.len()).all(|node| matches!(node.state, State::Dead)) {
            return true;
        }
        let held = &self.clients[client];
        match &held.actor {
            Actor::Reader(_) if client < self.plan.clients.len() => true,
            Actor::Reader(reader) => reader.is_at_the_end(|partition| {
                let is_owed = !self.truth.is_beyond(partition);
                is_owed.then(|| self.truth.logs.get(&partition).map_or(Offset::ZERO, TrueLog::end))
            }),
            Actor::Producer(_) | Actor::Admin(_) => reading || held.actor.as_behaviour().is_done(),
        }
    }

    fn begin_last_reading(&mut self) {
        self.phase = Phase::Reading { until_us: self.now_us + DRAIN_US };
        let role =
            Role::Reader { session: false, wait_ms: 10, bytes_min: 0, bytes_max: 1 << 20, version: 13 };
        self.add_client(&ClientPlan { node: 0, pause_ms: 15, breaks_every: 0, role });
        self.queue.push(self.now_us + LOOK_US, What::Finish);
    }

    fn read_everything(&mut self) {
        let mut said = Vec::new();
        for held in &self.clients[self.plan.clients.len()..] {
            let Actor::Reader(reader) = &held.actor else { continue };
            for (partition, read_to, _) in reader.progress() {
                if let Some(truth) = self.truth.logs.get(&partition) {
                    said.push(s1::check_read(truth, partition, read_to));
                }
            }
        }
        for said in said {
            self.hear(Judge::S1, 0, said);
        }
        self.phase = Phase::Over;
    }
}
