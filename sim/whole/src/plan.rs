//! A run as data: the bare world's plan of a cluster of one node, and what only byte streams have.

use seedlog_sim::plan::{Plan, Scenario};
use seedlog_sim::rng::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholePlan {
    /// Nodes, clients, and faults of machines and disks.
    pub base: Plan,
    /// How each client's connections are, by client.
    pub wires: Vec<Wire>,
    /// Faults of connections, in order.
    pub net_faults: Vec<NetFault>,
    /// `connections.max.idle.ms` of each node.
    pub idle_ms: Vec<u64>,
}

/// What a client's connections are like.
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
    /// Draws the plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let base = Plan::draw(Scenario::Alone, seed);
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
        Self { base, wires, net_faults, idle_ms }
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
