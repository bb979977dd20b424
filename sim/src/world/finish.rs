//! The end of a run: faults stop, what was begun must end (L1), everything is read once more (S1).

use super::node::State;
use super::queue::What;
use super::{Phase, World};
use crate::clients::Actor;
use crate::judges::{Judge, s1};
use crate::plan::{ClientPlan, Role};
use crate::trace::{Kind, NOWHERE};
use seedlog_core::input::Input;

/// Virtual time that draining may take, and the last reading.
const DRAIN_US: u64 = 60_000_000;
const LOOK_US: u64 = 100_000;

impl World {
    pub(super) fn on_heal(&mut self) {
        self.note(NOWHERE, Kind::Heal, [0, 0, 0]);
        self.phase = Phase::Draining { until_us: self.now_us + DRAIN_US };
        for at in 0..self.nodes.len() {
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
                let held = &self.clients[client];
                let says = format!(
                    "client {client} does not come to an end: {}",
                    held.actor.as_behaviour().waits_for()
                );
                let node = held.node;
                self.hear(Judge::L1, node, Err(says));
                self.phase = Phase::Over;
            }
            Some(_) => self.queue.push(self.now_us + LOOK_US, What::Finish),
        }
    }

    /// Readers of the plan need not reach the end: the last reading is by others.
    fn is_done(&self, client: usize, reading: bool) -> bool {
        let held = &self.clients[client];
        if matches!(self.nodes[held.node].state, State::Dead) {
            return true;
        }
        match &held.actor {
            Actor::Reader(_) if client < self.plan.clients.len() => true,
            Actor::Reader(reader) => reader.is_at_the_end(),
            Actor::Producer(_) | Actor::Admin(_) => reading || held.actor.as_behaviour().is_done(),
        }
    }

    fn begin_last_reading(&mut self) {
        self.phase = Phase::Reading { until_us: self.now_us + DRAIN_US };
        for at in 0..self.nodes.len() {
            if matches!(self.nodes[at].state, State::Dead) {
                continue;
            }
            let node = u32::try_from(at).unwrap_or(0);
            let role =
                Role::Reader { session: false, wait_ms: 10, bytes_min: 0, bytes_max: 1 << 20, version: 13 };
            self.add_client(&ClientPlan { node, pause_ms: 15, breaks_every: 0, role });
        }
        self.queue.push(self.now_us + LOOK_US, What::Finish);
    }

    fn read_everything(&mut self) {
        let mut said = Vec::new();
        for held in &self.clients[self.plan.clients.len()..] {
            let Actor::Reader(reader) = &held.actor else { continue };
            let oracle = &self.nodes[held.node].oracle;
            for (partition, read_to, lost) in reader.progress() {
                if !lost {
                    said.push((held.node, s1::check_read(oracle, partition, read_to)));
                }
            }
        }
        for (node, said) in said {
            self.hear(Judge::S1, node, said);
        }
        self.phase = Phase::Over;
    }
}
