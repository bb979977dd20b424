//! A run as data: the bare world's plan, and what only byte streams have.

use seedlog_sim::plan::{Fault, FaultKind, Plan, Scenario};
use seedlog_sim::rng::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholePlan {
    /// Nodes, clients, and faults of machines and disks.
    pub base: Plan,
    /// How each client's connections are, by client.
    pub wires: Vec<Wire>,
    /// How the streams between nodes are.
    pub peer_wire: Wire,
    /// Faults of connections, in order.
    pub net_faults: Vec<NetFault>,
    /// `connections.max.idle.ms` of each node.
    pub idle_ms: Vec<u64>,
}

/// What connections are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// Bytes in flight and unread that a direction holds: beyond it the writer waits.
    pub window_bytes: usize,
    /// Bytes that arrive at a time, at most.
    pub segment_bytes: usize,
}

/// A fault of connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetFault {
    /// When, in virtual µs.
    pub at_us: u64,
    /// Whose connection.
    pub client: u32,
    /// What.
    #[serde(flatten)]
    pub kind: NetFaultKind,
}

/// What a fault of a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum NetFaultKind {
    /// Reset from the middle: a part of what is on its way arrives, then both ends are told.
    Reset,
    /// Nothing arrives, in either direction.
    Partition {
        /// For how long.
        for_us: u64,
    },
    /// Nothing arrives at the node; what the node sends does.
    CutToNode {
        /// For how long.
        for_us: u64,
    },
    /// Nothing arrives at the client; what the client sends does.
    CutToClient {
        /// For how long.
        for_us: u64,
    },
    /// The client is gone and the node is not told: half-open until somebody's patience ends.
    HalfOpen,
    /// The client reads a few bytes at a time.
    SlowReader {
        /// For how long.
        for_us: u64,
    },
}

impl NetFaultKind {
    /// What stands for it in events.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Reset => 0,
            Self::Partition { .. } => 1,
            Self::CutToNode { .. } => 2,
            Self::CutToClient { .. } => 3,
            Self::HalfOpen => 4,
            Self::SlowReader { .. } => 5,
        }
    }
}

impl WholePlan {
    /// Draws the plan of a seed. Without a scenario every third one is of a node alone, where most is asked of a single store;
    /// the others are the bare world's standard.
    #[must_use]
    pub fn draw(scenario: Option<Scenario>, seed: u64) -> Self {
        let usual = if seed.is_multiple_of(3) { Scenario::Alone } else { Scenario::Standard };
        let base = Plan::draw(scenario.unwrap_or(usual), seed);
        let mut rng = Stream::new(seed, Purpose::Whole, 0);
        let wires = base.clients.iter().map(|_| Wire {
            window_bytes: rng.pick(&[2 << 10, 16 << 10, 64 << 10, 256 << 10]),
            segment_bytes: rng.pick(&[300, 1_460, 16 << 10, 64 << 10]),
        });
        let wires = wires.collect();
        let idle_ms = base.nodes.iter().map(|_| rng.pick(&[3_000, 600_000])).collect();
        let last_us = base.duration_ms * 1_000;
        let mut net_faults = Vec::new();
        let mut at_us = rng.range(500_000, 3_000_000);
        while at_us < last_us && !base.clients.is_empty() {
            let client = u32::try_from(rng.index(base.clients.len())).unwrap_or(0);
            net_faults.push(NetFault { at_us, client, kind: draw_kind(&mut rng) });
            at_us += rng.range(100_000, 3_000_000);
        }
        let peer_wire = Wire {
            window_bytes: rng.pick(&[2 << 10, 16 << 10, 1 << 20, 1 << 20]),
            segment_bytes: rng.pick(&[100, 1_460, 64 << 10, 64 << 10]),
        };
        Self { base, wires, peer_wire, net_faults, idle_ms }
    }

    /// Nodes of the cluster.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.base.nodes.len()
    }

    /// Machines that there must be: one a node, and one for each folder that is set aside and comes back.
    #[must_use]
    pub fn machines(&self) -> usize {
        let returns = |fault: &&Fault| matches!(fault.kind, FaultKind::Wipe { returns_us: Some(_), .. });
        self.nodes() + self.base.faults.iter().filter(returns).count()
    }
}

fn draw_kind(rng: &mut Stream) -> NetFaultKind {
    let for_us = rng.range(50_000, 4_000_000);
    match rng.below(100) {
        0..35 => NetFaultKind::Reset,
        35..50 => NetFaultKind::Partition { for_us },
        50..60 => NetFaultKind::CutToNode { for_us },
        60..70 => NetFaultKind::CutToClient { for_us },
        70..80 => NetFaultKind::HalfOpen,
        _ => NetFaultKind::SlowReader { for_us },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_function_of_its_seed_and_survives_json() {
        for seed in 0..100 {
            let plan = WholePlan::draw(None, seed);
            assert_eq!(plan, WholePlan::draw(None, seed));
            let json = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<WholePlan>(&json).unwrap(), plan);
        }
        assert_ne!(WholePlan::draw(None, 1).net_faults, WholePlan::draw(None, 2).net_faults);
    }

    #[test]
    fn every_part_of_a_plan_is_inside_its_bounds() {
        let mut sizes = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let plan = WholePlan::draw(None, seed);
            let clients = plan.base.clients.len();
            assert_eq!((plan.wires.len(), plan.idle_ms.len()), (clients, plan.nodes()));
            assert!(
                plan.wires
                    .iter()
                    .chain([&plan.peer_wire])
                    .all(|wire| wire.window_bytes > 0 && wire.segment_bytes > 0)
            );
            assert!(plan.net_faults.is_sorted_by_key(|fault| fault.at_us));
            let last_us = plan.base.duration_ms * 1_000;
            assert!(plan.net_faults.iter().all(|fault| fault.at_us < last_us));
            assert!(plan.net_faults.iter().all(|fault| (fault.client as usize) < clients));
            assert!(plan.machines() >= plan.nodes());
            assert!(!seed.is_multiple_of(3) || plan.nodes() == 1, "every third is of a node alone");
            sizes.insert(plan.nodes());
        }
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [1, 3, 5, 7]);
    }

    #[test]
    fn a_scenario_that_is_named_is_drawn() {
        assert_eq!(WholePlan::draw(Some(Scenario::Alone), 1).nodes(), 1);
        assert_eq!(WholePlan::draw(Some(Scenario::Quorum), 3).nodes(), 5);
    }
}
