//! The end of a run: faults stop; what was begun must end (L1), the cluster must become whole (L2, L3, L4, L8), everything is
//! read once more (S1), and every node must stop when it is asked to (L10).

use super::node::{Node, State};
use super::queue::What;
use super::{Phase, World};
use crate::clients::{Actor, Behaviour};
use crate::judges::assembly::{self, Folder};
use crate::judges::l4::Standing;
use crate::judges::truth::TrueLog;
use crate::judges::{Judge, l3, l4, l8, s1};
use crate::plan::{ClientPlan, Role};
use crate::trace::{Kind, NOWHERE};
use seedlog_core::broker::Broker;
use seedlog_core::ids::{NodeId, Offset, TopicPartition};
use seedlog_core::input::Input;

/// Virtual time that draining may take, and the last reading.
const DRAIN_US: u64 = 60_000_000;
const LOOK_US: u64 = 100_000;

/// A change of the quorum's members that was begun is committed or taken back.
fn check_voters(brokers: &[(NodeId, &Node, &Broker)]) -> Result<(), (Judge, String)> {
    let is_open = |broker: &Broker| broker.quorum().voters() != broker.image().voters();
    match brokers.iter().find(|(.., broker)| is_open(broker)) {
        None => Ok(()),
        Some((node, ..)) => {
            Err((Judge::L4, format!("node {node} has a change of the voters that stays open")))
        }
    }
}

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
            let node = &self.nodes[at];
            let is_up = matches!(node.state, State::Up(_));
            let is_broken = matches!(node.state, State::Dead) || !is_up && !node.oracle.flips.is_empty();
            if is_broken && self.plan.nodes.len() > 1 {
                // A node that does not start, or whose disk rotted before it does, gets another folder from its operator.
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
        let open = match self.phase {
            Phase::Stormy | Phase::Over => return,
            Phase::Draining { .. } => self.open_client(false).or_else(|| self.open_hostile()),
            Phase::Settling { .. } => self.unhealthy(),
            Phase::Reading { .. } => self.open_client(true),
            Phase::Stopping { .. } => self.still_running(),
        };
        let until_us = self.now_us + DRAIN_US;
        match (self.phase, open) {
            (Phase::Draining { .. }, None) => self.phase = Phase::Settling { until_us },
            (Phase::Settling { .. }, None) => self.begin_last_reading(),
            (Phase::Reading { .. }, None) => {
                self.read_everything();
                self.stop_everybody();
            }
            (Phase::Stopping { .. }, None) => {
                self.phase = Phase::Over;
                self.bench.judge_history(&self.truth, self.now_us);
            }
            (
                Phase::Draining { until_us }
                | Phase::Settling { until_us }
                | Phase::Reading { until_us }
                | Phase::Stopping { until_us },
                Some((judge, says)),
            ) if self.now_us > until_us => {
                if matches!(self.phase, Phase::Reading { .. }) {
                    self.read_everything();
                }
                self.hear(judge, usize::MAX, Err(says));
                self.phase = Phase::Over;
            }
            (_, Some(_)) | (Phase::Stormy | Phase::Over, None) => {}
        }
        if self.phase != Phase::Over {
            self.queue.push(self.now_us + LOOK_US, What::Finish);
        }
    }

    /// A client that has not come to its end.
    fn open_client(&self, reading: bool) -> Option<(Judge, String)> {
        let client = (0..self.clients.len()).find(|&client| !self.is_done(client, reading))?;
        Some(self.clients[client].actor.why_open(client))
    }

    /// What keeps the cluster from being whole again.
    fn unhealthy(&self) -> Option<(Judge, String)> {
        let live: Vec<&Node> = self
            .nodes
            .iter()
            .take(self.plan.nodes.len())
            .filter(|node| !matches!(node.state, State::Dead))
            .collect();
        let brokers: Vec<(NodeId, &Node, &Broker)> = live
            .iter()
            .filter_map(|node| match &node.state {
                State::Up(process) => Some((node.node_id, *node, &process.broker)),
                State::Down | State::Recovering(_) | State::Dead => None,
            })
            .collect();
        if brokers.len() < live.len() {
            return Some((Judge::L8, "a node does not come up".to_owned()));
        }
        if live.len() < self.plan.nodes.len() || self.has_lost_quorum() {
            return None; // A single node that lost what it cannot do without, or a cluster that did.
        }
        l4::check(brokers.iter().map(|(node, _, broker)| (*node, *broker)))
            .and_then(|()| {
                l8::check(&self.truth.image, brokers.iter().map(|(node, _, broker)| (*node, *broker)))
            })
            .and_then(|()| check_voters(&brokers))
            .and_then(|()| self.check_voters())
            .and_then(|()| self.check_partitions(&brokers))
            .err()
    }

    /// Who is configured as a voter is one, with the disk that it has.
    fn check_voters(&self) -> Result<(), (Judge, String)> {
        let voters = self.truth.image.voters();
        let is_member = |node: &&Node| voters.contains(&node.voter());
        let planned = self.nodes.iter().take(self.plan.nodes.len());
        match planned.filter(|_| self.plan.admits_voters).find(|node| !is_member(node)) {
            Some(node) => Err((Judge::L8, format!("node {} is no voter", node.node_id))),
            None => Ok(()),
        }
    }

    fn is_owed(&self, partition: TopicPartition) -> bool {
        assembly::is_owed(&self.truth, &self.nodes, partition, self.plan.cluster.flush)
    }

    fn is_readable(&self, partition: TopicPartition) -> bool {
        assembly::is_readable(&self.truth, &self.nodes, partition, self.plan.cluster.flush)
    }

    fn has_lost_quorum(&self) -> bool {
        let folders = self.nodes.iter().map(|node| {
            let standing = match &node.state {
                State::Dead => Standing::Dead,
                State::Down | State::Recovering(_) => Standing::Starting,
                State::Up(process) => Standing::Up {
                    is_controller: process.broker.is_controller(),
                    is_doubtful: process.broker.quorum().is_doubtful,
                },
            };
            (node.voter(), standing)
        });
        l4::has_lost_quorum(self.truth.image.voters(), folders)
    }

    fn check_partitions(&self, brokers: &[(NodeId, &Node, &Broker)]) -> Result<(), (Judge, String)> {
        l3::check_all(
            &self.truth,
            |partition| self.is_owed(partition),
            |node, partition| {
                let found = brokers.iter().find(|(id, ..)| *id == node);
                found.and_then(|(_, node, _)| node.log(partition))
            },
        )
    }

    /// Every node is asked to stop: each must come to its end.
    fn stop_everybody(&mut self) {
        self.phase = Phase::Stopping { until_us: self.now_us + DRAIN_US };
        for at in 0..self.nodes.len() {
            self.nodes[at].stopped_us = u64::MAX / 4;
            self.step(at, Input::Stop);
        }
    }

    fn still_running(&self) -> Option<(Judge, String)> {
        let at = self.nodes.iter().position(|node| matches!(node.state, State::Up(_)))?;
        Some((Judge::L10, format!("node {at} was asked to stop and does not")))
    }

    /// The folder that came back beside its successor goes for good.
    fn retire(&mut self, at: usize) {
        self.crash(at, false, 0);
        self.nodes[at].state = State::Dead;
    }

    /// Readers of the plan need not reach the end: the last reading is by another one.
    fn is_done(&self, client: usize, reading: bool) -> bool {
        let mut planned = self.nodes.iter().take(self.plan.nodes.len());
        if planned.all(|node| matches!(node.state, State::Dead)) || self.has_lost_quorum() {
            return true;
        }
        let held = &self.clients[client];
        match &held.actor {
            Actor::Reader(_) if client < self.plan.clients.len() => true,
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
                reading || held.actor.as_behaviour().is_done()
            }
        }
    }

    fn begin_last_reading(&mut self) {
        self.phase = Phase::Reading { until_us: self.now_us + DRAIN_US };
        let role =
            Role::Reader { session: false, wait_ms: 10, bytes_min: 0, bytes_max: 1 << 20, version: 13 };
        self.add_client(&ClientPlan { node: 0, pause_ms: 15, breaks_every: 0, role });
    }

    fn read_everything(&mut self) {
        if self.has_lost_quorum() {
            return;
        }
        let mut said = Vec::new();
        for (client, held) in self.clients.iter().enumerate().skip(self.plan.clients.len()) {
            let Actor::Reader(reader) = &held.actor else { continue };
            let mut whole = Vec::new();
            for (partition, read_to, at_end) in reader.progress() {
                let is_readable = self.is_readable(partition);
                if let Some(truth) = self.truth.logs.get(&partition).filter(|_| is_readable) {
                    said.push(s1::check_read(truth, partition, read_to));
                }
                whole.extend((at_end && is_readable).then_some(partition));
            }
            let client = u32::try_from(client).unwrap_or(u32::MAX);
            self.bench.history.on_final(self.now_us, client, whole);
        }
        for said in said {
            self.hear(Judge::S1, usize::MAX, said);
        }
    }
}
