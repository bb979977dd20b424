//! A run as data: its numbers, its clients and its faults, drawn from the seed before anything happens. Saved as JSON, a
//! plan replays without its seed's draw; deleting from it makes a smaller run.
//!
//! Faults stay within what one copy survives: bits are flipped only under entries that a later group vouches for, and only
//! one group of a node is hit (SAFETY J4 covers the rest once there are other copies).

use crate::rng::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Seeds every other stream of the run.
    pub seed: u64,
    /// The scenario it was drawn for.
    pub scenario: Scenario,
    /// How long faults and new work go on, in ms.
    pub duration_ms: u64,
    /// The nodes.
    pub nodes: Vec<NodePlan>,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// The faults, in order.
    pub faults: Vec<Fault>,
}

/// Scenarios by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// One to three single nodes, all faults: what clean ranges and exhibits run.
    Standard,
}

impl Scenario {
    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        (name == "standard").then_some(Self::Standard)
    }
}

/// When data counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flush {
    /// After the sync.
    Always,
    /// After the write; a sync every `sync_ms`.
    Interval {
        /// The interval.
        sync_ms: u64,
    },
}

/// One node's numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// `flush`.
    pub flush: Flush,
    /// Size of a journal file.
    pub file_bytes: u64,
    /// `log.segment.bytes`.
    pub segment_bytes: u32,
    /// Journal growth between snapshots.
    pub snapshot_bytes: u64,
    /// Segments and snapshots are written so many times slower than the journal: where one takes longer than a process
    /// lives, recovery reads the files of several lives.
    pub background_factor: u64,
    /// Batches in the tail cache.
    pub tail_batches: usize,
    /// The driver's work may be this late, in µs.
    pub late_us: u64,
    /// So many in 1,000 fetches are filled up to a second late.
    pub stalls_per_mille: u64,
    /// Partitions of each of its topics.
    pub topics: Vec<i32>,
    /// Its topics' timestamps are the broker's.
    pub log_append_time: bool,
}

/// One client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientPlan {
    /// The node it talks to.
    pub node: u32,
    /// Milliseconds between its operations, about.
    pub pause_ms: u64,
    /// One in so many of its requests is followed by a broken connection; 0 for none.
    pub breaks_every: u64,
    /// What it does.
    pub role: Role,
}

/// What a client does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "kebab-case")]
pub enum Role {
    /// Writes.
    Producer {
        /// 0, 1 or -1.
        acks: i16,
        /// With a producer id; acks is -1 then.
        idempotent: bool,
        /// Requests in flight.
        in_flight_max: usize,
        /// Batches in all.
        batches: u64,
        /// Records in a batch, at most.
        records_max: u64,
        /// Bytes of a value, at most.
        value_bytes_max: u64,
        /// The version of Produce that it speaks.
        version: i16,
    },
    /// Reads everything from the start on.
    Reader {
        /// Through a fetch session.
        session: bool,
        /// How long a fetch may wait, in ms.
        wait_ms: i32,
        /// Bytes that are worth an answer.
        bytes_min: i32,
        /// Bytes of an answer, at most.
        bytes_max: i32,
        /// The version of Fetch that it speaks.
        version: i16,
    },
    /// Creates the node's topics, then creates and deletes others, and asks about all kinds of things.
    Admin {
        /// Operations in all.
        operations: u64,
    },
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When, in virtual µs.
    pub at_us: u64,
    /// Where.
    pub node: u32,
    /// What.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum FaultKind {
    /// The process dies; the page cache stays. It starts again after `down_us`.
    Kill {
        /// How long until the next start.
        down_us: u64,
        /// Die between two outputs of the next step that has several.
        mid_step: bool,
    },
    /// The machine loses power. It starts again after `down_us`.
    PowerCut {
        /// How long until the next start.
        down_us: u64,
        /// Die between two outputs of the next step that has several.
        mid_step: bool,
    },
    /// The next sync fails.
    SyncError,
    /// No room for new files, and the broker is told.
    DiskFull {
        /// For how long.
        for_us: u64,
    },
    /// Every disk operation takes longer.
    SlowDisk {
        /// For how long.
        for_us: u64,
        /// By this factor.
        factor: u64,
    },
    /// A bit of a durable sector flips.
    BitFlip {
        /// Chooses which, among those that may.
        choice: u64,
        /// The page cache has it too.
        cached: bool,
    },
    /// The wall clock jumps.
    ClockJump {
        /// By this.
        by_ms: i64,
    },
    /// The process is asked to stop. It starts again after `down_us`.
    Stop {
        /// How long until the next start.
        down_us: u64,
    },
    /// The process stands still.
    Pause {
        /// For how long.
        for_us: u64,
    },
}

impl FaultKind {
    /// What stands for it in events: an index of [`crate::trace::FAULTS`].
    #[must_use]
    pub fn number(&self) -> u64 {
        match self {
            Self::Kill { .. } => 0,
            Self::PowerCut { .. } => 1,
            Self::SyncError => 2,
            Self::DiskFull { .. } => 3,
            Self::SlowDisk { .. } => 4,
            Self::BitFlip { .. } => 5,
            Self::ClockJump { .. } => 6,
            Self::Stop { .. } => 7,
            Self::Pause { .. } => 8,
        }
    }
}

impl Plan {
    /// Draws the plan of a seed.
    #[must_use]
    pub fn draw(scenario: Scenario, seed: u64) -> Self {
        let mut rng = Stream::new(seed, Purpose::Plan, 0);
        let duration_ms = rng.range(12_000, 30_000);
        let count = u32::try_from([1, 1, 1, 1, 1, 2, 2, 3][rng.index(8)]).unwrap_or(1);
        let nodes: Vec<NodePlan> = (0..count).map(|_| draw_node(&mut rng)).collect();
        let mut clients = Vec::new();
        let mut faults = Vec::new();
        for (node, plan) in (0..).zip(&nodes) {
            draw_clients(&mut rng, node, plan, u64::from(count), duration_ms, &mut clients);
            draw_faults(&mut rng, node, u64::from(count), duration_ms, &mut faults);
        }
        faults.sort_by_key(|fault: &Fault| fault.at_us);
        Self { seed, scenario, duration_ms, nodes, clients, faults }
    }
}

fn draw_node(rng: &mut Stream) -> NodePlan {
    let file_bytes = rng.pick(&[64 << 10, 64 << 10, 128 << 10, 256 << 10]);
    let flush = if rng.chance(200) { Flush::Interval { sync_ms: rng.range(20, 400) } } else { Flush::Always };
    NodePlan {
        flush,
        file_bytes,
        segment_bytes: rng.pick(&[16 << 10, 64 << 10, 256 << 10]),
        snapshot_bytes: rng.pick(&[384 << 10, 1 << 20, 4 << 20, 1 << 30]),
        background_factor: rng.pick(&[1, 1, 300, 3_000, 30_000]),
        tail_batches: rng.pick(&[0, 2, 4, 16]),
        late_us: rng.pick(&[0, 100, 500, 3_000]),
        stalls_per_mille: rng.pick(&[0, 60, 300]),
        topics: (0..rng.range(1, 2)).map(|_| i32::try_from(rng.range(1, 3)).unwrap_or(1)).collect(),
        log_append_time: rng.chance(250),
    }
}

fn draw_clients(
    rng: &mut Stream,
    node: u32,
    plan: &NodePlan,
    count: u64,
    duration_ms: u64,
    clients: &mut Vec<ClientPlan>,
) {
    let mut add = |rng: &mut Stream, operations: u64, role: Role| {
        let breaks_every = if rng.chance(400) { rng.range(5, 60) } else { 0 };
        clients.push(ClientPlan {
            node,
            pause_ms: (duration_ms * 7 / 10 / operations).max(1),
            breaks_every,
            role,
        });
    };
    let producers = rng.range(1, 3);
    for _ in 0..producers {
        let batches = rng.range(60, 260) / (producers * count).isqrt().max(1);
        let idempotent = rng.chance(650);
        let acks = if idempotent { -1 } else { rng.pick(&[-1, 1, 1, 0]) };
        let version = i16::try_from(rng.range(3, 13)).unwrap_or(13);
        let records_max = rng.pick(&[1, 3, 8]);
        let value_bytes_max = rng.pick(&[40, 300, 1_500, 4_000]).min(plan.file_bytes / 16);
        let in_flight_max = usize::try_from(rng.range(1, 5)).unwrap_or(1);
        let role = Role::Producer {
            acks,
            idempotent,
            in_flight_max,
            batches,
            records_max,
            value_bytes_max,
            version,
        };
        add(rng, batches, role);
    }
    for _ in 0..rng.range(1, 2) {
        let role = Role::Reader {
            session: rng.chance(600),
            wait_ms: rng.pick(&[0, 50, 500, 1_500]),
            bytes_min: rng.pick(&[0, 1, 1, 2_000]),
            bytes_max: rng.pick(&[1, 2_000, 50_000, 1 << 20]),
            version: i16::try_from(rng.range(4, 18)).unwrap_or(18),
        };
        add(rng, 150 / count, role);
    }
    add(rng, 40, Role::Admin { operations: 40 });
}

fn draw_faults(rng: &mut Stream, node: u32, count: u64, duration_ms: u64, faults: &mut Vec<Fault>) {
    let last_us = duration_ms * 1_000;
    let flips = rng.chance(300);
    let mut at_us = rng.range(200_000, 4_000_000);
    while at_us < last_us {
        let kind = draw_fault(rng);
        let next = at_us + rng.range(200_000, 4_000_000) * count.isqrt();
        let crash = match &kind {
            FaultKind::Kill { down_us, .. } | FaultKind::PowerCut { down_us, .. } => Some(*down_us),
            FaultKind::Stop { down_us } => Some(down_us + 20_000),
            FaultKind::SyncError => Some(150_000),
            FaultKind::DiskFull { .. }
            | FaultKind::SlowDisk { .. }
            | FaultKind::BitFlip { .. }
            | FaultKind::ClockJump { .. }
            | FaultKind::Pause { .. } => None,
        };
        faults.push(Fault { at_us, node, kind });
        // A second blow into the recovery from the first, or shortly after it.
        if let Some(down_us) = crash
            && rng.chance(450)
        {
            let after = rng.pick(&[1_500, 4_000, 400_000]);
            let at_us = at_us + down_us + rng.below(after);
            let down_us = rng.range(1_000, 100_000);
            let mid_step = rng.chance(200);
            let kind = if rng.chance(700) {
                FaultKind::PowerCut { down_us, mid_step }
            } else {
                FaultKind::Kill { down_us, mid_step }
            };
            faults.push(Fault { at_us, node, kind });
        }
        at_us = next;
    }
    if flips {
        let at_us = rng.range(1_000_000, last_us);
        let kind = FaultKind::BitFlip { choice: rng.bits(), cached: rng.chance(500) };
        faults.push(Fault { at_us, node, kind });
    }
}

fn draw_fault(rng: &mut Stream) -> FaultKind {
    let down_us = rng.range(1_000, 900_000);
    let mid_step = rng.chance(250);
    match rng.below(100) {
        0..28 => FaultKind::Kill { down_us, mid_step },
        28..60 => FaultKind::PowerCut { down_us, mid_step },
        60..68 => FaultKind::SyncError,
        68..73 => FaultKind::DiskFull { for_us: rng.range(100_000, 2_000_000) },
        73..79 => FaultKind::SlowDisk { for_us: rng.range(100_000, 3_000_000), factor: rng.range(5, 100) },
        79..84 => {
            let by_ms = i64::try_from(rng.range(1, 2_000_000)).unwrap_or(1);
            FaultKind::ClockJump { by_ms: if rng.chance(500) { by_ms } else { -by_ms } }
        }
        84..94 => FaultKind::Stop { down_us },
        _ => FaultKind::Pause { for_us: rng.range(10_000, 2_500_000) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_function_of_its_seed_and_survives_json() {
        for seed in 0..50 {
            let plan = Plan::draw(Scenario::Standard, seed);
            assert_eq!(plan, Plan::draw(Scenario::Standard, seed));
            let json = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
            assert!(plan.faults.is_sorted_by_key(|fault| fault.at_us));
        }
        assert_ne!(Plan::draw(Scenario::Standard, 1), Plan::draw(Scenario::Standard, 2));
    }
}
