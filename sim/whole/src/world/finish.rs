//! The end of a run: faults stop; what was begun must end (L1), the cluster must become whole (L2, L3, L4, L8), everything is
//! read once more (S1), and every node must stop when it is asked to (L10).

use super::machine::State;
use super::{Phase, Shared, World, number_of};
use crate::net::now_us;
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_sim::clients::{Actor, Behaviour};
use seedlog_sim::judges::assembly::{self, Folder};
use seedlog_sim::judges::l4::Standing;
use seedlog_sim::judges::truth::TrueLog;
use seedlog_sim::judges::{Judge, l3, l4, l8, s1};
use seedlog_sim::plan::{ClientPlan, Role};
use seedlog_sim::trace::{Kind, NOWHERE};

/// Virtual time that each part of the end may take.
const DRAIN_US: u64 = 60_000_000;
/// How long a node stays down that was stopped at the end.
const STOPPED_US: u64 = 3_600_000_000;

impl Shared {
    pub(super) fn look_for_the_end(&self) {
        let stops = self.lock().go_on();
        if stops {
            self.stop_everybody();
        }
    }

    /// Every node is asked to stop: each must come to its end.
    fn stop_everybody(&self) {
        let stoppers: Vec<_> = {
            let mut world = self.lock();
            let nodes = world.plan.nodes();
            let machines = world.machines.iter_mut().take(nodes);
            machines
                .filter_map(|machine| {
                    machine.stopped_us = STOPPED_US;
                    machine.stopper.clone()
                })
                .collect()
        };
        stoppers.iter().for_each(|stopper| stopper.stop());
    }
}

impl World {
    /// Ends every fault of machines; those of links are the net's.
    pub(super) fn heal(&mut self) {
        self.note(NOWHERE, Kind::Heal, [0, 0, 0]);
        self.phase = Phase::Draining { until_us: now_us() + DRAIN_US };
        for machine in &mut self.machines {
            machine.lanes.slow_factor = 1;
            // A disk whose segments lag for good would lag behind its cluster for longer than is waited for.
            machine.lanes.background_factor = 1;
            machine.lanes.sync_fails = false;
            machine.files.full = false;
            machine.cut = None;
        }
    }

    /// Clients may have waited for the faults to end.
    pub(super) fn wake_clients(&mut self) {
        for index in 0..self.clients.len() {
            self.clients[index].slow_until = 0;
            self.act(index, |actor, ctx| actor.behaviour().on_wake(ctx));
        }
    }

    /// Goes on to the next part of the end once this one is through. Gives back whether everybody is to be stopped.
    fn go_on(&mut self) -> bool {
        let open = match self.phase {
            Phase::Stormy | Phase::Over => return false,
            Phase::Draining { .. } => self.open_client(false),
            Phase::Settling { .. } => self.unhealthy(),
            Phase::Reading { .. } => self.open_client(true),
            Phase::Stopping { .. } => self.still_running(),
        };
        let until_us = now_us() + DRAIN_US;
        match (self.phase, open) {
            (Phase::Draining { .. }, None) => self.phase = Phase::Settling { until_us },
            (Phase::Settling { .. }, None) => self.begin_last_reading(),
            (Phase::Reading { .. }, None) => {
                self.read_everything();
                self.phase = Phase::Stopping { until_us };
                return true;
            }
            (Phase::Stopping { .. }, None) => {
                self.phase = Phase::Over;
                self.bench.judge_history(&self.truth, now_us());
            }
            (
                Phase::Draining { until_us }
                | Phase::Settling { until_us }
                | Phase::Reading { until_us }
                | Phase::Stopping { until_us },
                Some((judge, says)),
            ) if now_us() > until_us => {
                if matches!(self.phase, Phase::Reading { .. }) {
                    self.read_everything();
                }
                self.hear(judge, usize::MAX, Err(says));
                self.phase = Phase::Over;
            }
            (_, Some(_)) | (Phase::Stormy | Phase::Over, None) => {}
        }
        false
    }

    /// A client that has not come to its end.
    fn open_client(&self, reading: bool) -> Option<(Judge, String)> {
        let client = (0..self.clients.len()).find(|&client| !self.is_done(client, reading))?;
        Some(self.clients[client].actor.why_open(client))
    }

    /// What keeps the cluster from being whole again.
    fn unhealthy(&self) -> Option<(Judge, String)> {
        if self.is_dark() || self.has_lost_quorum() {
            return None;
        }
        let nodes = &self.machines[..self.plan.nodes()];
        // One that cannot start again, which S18 has judged, is not waited for.
        let live = nodes.iter().filter(|machine| machine.state != State::Dead);
        let mut views = Vec::new();
        for machine in live {
            let Some(view) = machine.view.filter(|view| view.is_serving) else {
                return Some((Judge::L8, format!("node {} does not come up", machine.node)));
            };
            views.push((machine.node_id(), view));
        }
        let quorum: Vec<l4::View> =
            views.iter().map(|(node, view)| (*node, view.leader, view.is_controller)).collect();
        if let Err(says) = l4::check_views(&quorum) {
            return Some((Judge::L4, says));
        }
        for (node, view) in views {
            if let Err(says) = l8::check_run(&self.truth.image, node, view.run) {
                return Some((Judge::L8, says));
            }
        }
        if nodes.iter().any(|machine| machine.state == State::Dead) {
            return None; // As in the bare world: its copies and its vote are missing for good.
        }
        if let Err(found) = self.check_voters() {
            return Some(found);
        }
        l3::check_all(
            &self.truth,
            |partition| self.is_owed(partition),
            |node, partition| {
                let found = nodes.iter().find(|machine| machine.node_id() == node);
                found.and_then(|machine| machine.oracle.logs.get(&partition))
            },
        )
        .err()
    }

    /// A change of the quorum's members that was begun is committed or taken back, and who is configured as a voter is one.
    fn check_voters(&self) -> Result<(), (Judge, String)> {
        let voters = self.truth.image.voters();
        for machine in &self.machines[..self.plan.nodes()] {
            let node = machine.node_id();
            if machine.view.is_some_and(|view| view.has_open_voters) {
                return Err((Judge::L4, format!("node {node} has a change of the voters that stays open")));
            }
            if self.plan.base.admits_voters && !voters.contains(&machine.voter()) {
                return Err((Judge::L8, format!("node {node} is no voter")));
            }
        }
        Ok(())
    }

    fn is_owed(&self, partition: TopicPartition) -> bool {
        assembly::is_owed(&self.truth, &self.machines, partition, self.plan.base.cluster.flush)
    }

    fn is_readable(&self, partition: TopicPartition) -> bool {
        assembly::is_readable(&self.truth, &self.machines, partition, self.plan.base.cluster.flush)
    }

    fn has_lost_quorum(&self) -> bool {
        let folders = self.machines.iter().map(|machine| {
            let standing = match (machine.state, machine.view) {
                (State::Dead, _) => Standing::Dead,
                (State::Up, Some(view)) => {
                    Standing::Up { is_controller: view.is_controller, is_doubtful: view.is_doubtful }
                }
                (State::Up, None) | (State::Down | State::Recovering, _) => Standing::Starting,
            };
            (machine.voter(), standing)
        });
        l4::has_lost_quorum(self.truth.image.voters(), folders)
    }

    fn still_running(&self) -> Option<(Judge, String)> {
        let at = self.machines.iter().position(|machine| machine.state == State::Up)?;
        Some((Judge::L10, format!("node {at} was asked to stop and does not")))
    }

    /// Nobody will ever serve again: a node alone that lost what it cannot do without.
    fn is_dark(&self) -> bool {
        self.machines.iter().all(|machine| machine.state == State::Dead)
    }

    /// Readers of the plan need not reach the end: the last reading is by others.
    fn is_done(&self, index: usize, reading: bool) -> bool {
        if self.is_dark() || self.has_lost_quorum() {
            return true;
        }
        let client = &self.clients[index];
        match &client.actor {
            Actor::Reader(_) if index < self.plan.base.clients.len() => true,
            Actor::Reader(reader) => reader.is_at_the_end(|partition| {
                self.is_readable(partition)
                    .then(|| self.truth.logs.get(&partition).map_or(Offset::ZERO, TrueLog::end))
            }),
            Actor::Producer(producer) => {
                reading || producer.is_done_but_for(|partition| !self.is_owed(partition))
            }
            Actor::Member(member) => {
                let log = self.truth.log_of_group(member.group());
                reading || member.is_done() || log.is_some_and(|log| !self.is_owed(log))
            }
            Actor::Admin(_) | Actor::Mover(_) | Actor::Keeper(_) | Actor::Table(_) | Actor::Tuner(_) => {
                reading || client.actor.as_behaviour().is_done()
            }
        }
    }

    fn begin_last_reading(&mut self) {
        self.phase = Phase::Reading { until_us: now_us() + DRAIN_US };
        let role =
            Role::Reader { session: false, wait_ms: 10, bytes_min: 0, bytes_max: 1 << 20, version: 13 };
        self.add_client(&ClientPlan { node: 0, pause_ms: 15, breaks_every: 0, role });
    }

    fn read_everything(&mut self) {
        if !self.is_dark() && self.has_lost_quorum() {
            return;
        }
        let mut said = Vec::new();
        if self.is_dark() {
            // What a node that does not start any more has acknowledged is read by nobody.
            let live = self.truth.logs.iter().filter(|(partition, _)| self.truth.is_live(**partition));
            said.extend(live.map(|(&partition, truth)| s1::check_read(truth, partition, Offset::ZERO)));
        }
        for (index, client) in self.clients.iter().enumerate().skip(self.plan.base.clients.len()) {
            let Actor::Reader(reader) = &client.actor else { continue };
            let mut whole = Vec::new();
            for (partition, read_to, at_end) in reader.progress() {
                let is_readable = self.is_readable(partition);
                if let Some(truth) = self.truth.logs.get(&partition).filter(|_| is_readable) {
                    said.push(s1::check_read(truth, partition, read_to));
                }
                whole.extend((at_end && is_readable).then_some(partition));
            }
            self.bench.history.on_final(now_us(), number_of(index), whole);
        }
        for said in said {
            self.hear(Judge::S1, usize::MAX, said);
        }
    }
}
