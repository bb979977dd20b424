//! Draws a plan from a seed.

use super::faults::Ground;
use super::{ClientPlan, ClusterPlan, Fault, Flush, NodePlan, Plan, Role, Scenario, TimingsPlan, TopicPlan};
use crate::rng::{Purpose, Stream};

impl Plan {
    /// Draws the plan of a seed.
    #[must_use]
    pub fn draw(scenario: Scenario, seed: u64) -> Self {
        let mut rng = Stream::new(seed, Purpose::Plan, 0);
        let rng = &mut rng;
        let duration_ms = rng.range(12_000, 30_000);
        let count: u32 = match scenario {
            Scenario::Standard => rng.pick(&[1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 5, 5, 7]),
            Scenario::Quorum => 5,
            Scenario::Alone => 1,
        };
        let mut cluster = draw_cluster(rng, count);
        if scenario == Scenario::Quorum {
            // Every entry of the metadata log travels alone: a leader may die between any two.
            cluster.peer_window_bytes = 1;
        }
        let mut nodes: Vec<NodePlan> = (0..count).map(|_| draw_node(rng)).collect();
        if count == 1 {
            nodes[0].drift_ppm = 0;
        }
        let clients = draw_clients(rng, scenario, &nodes, duration_ms);
        let losers = draw_losers(rng, &cluster, count);
        let ground = Ground { count, flush: cluster.flush, duration_ms, losers: &losers };
        let (mut faults, mut blows) = (Vec::new(), Vec::new());
        if scenario == Scenario::Quorum {
            blows = ground.draw_changes_of_leader(rng, &mut faults);
        } else {
            for node in 0..count {
                ground.draw_node(rng, node, &mut faults);
            }
            ground.draw_links(rng, &mut faults);
            ground.draw_last_standing(rng, cluster.timings.session * 1_000, &mut faults);
        }
        faults.sort_by_key(|fault: &Fault| fault.at_us);
        let (voters, admits_voters) = (Vec::new(), false);
        let mut plan = Self {
            seed,
            scenario,
            duration_ms,
            cluster,
            nodes,
            clients,
            faults,
            blows,
            voters,
            admits_voters,
            deletes_per_mille: 0,
            hostile: super::hostile::draw(scenario, seed, duration_ms),
        };
        super::voters::draw(&mut plan);
        plan.deletes_per_mille = draw_deletes(scenario, seed);
        plan.clients.extend(draw_mover(&plan));
        if let Some((keeper, retention_check_ms)) = draw_keeper(&plan) {
            plan.clients.push(keeper);
            plan.cluster.retention_check_ms = Some(retention_check_ms);
        }
        if let Some((groups, members)) = super::groups::draw(&plan) {
            plan.cluster.groups = Some(groups);
            plan.clients.extend(members);
            plan.clients.extend(super::groups::draw_tuner(&plan));
        }
        if let Some((tables, keeper)) = super::tables::draw(&plan) {
            plan.cluster.tables = Some(tables);
            plan.clients.push(keeper);
        }
        plan
    }
}

/// In some runs only, from a stream of its own: all others are what they are without.
fn draw_deletes(scenario: Scenario, seed: u64) -> u64 {
    let mut rng = Stream::new(seed, Purpose::Deletes, 0);
    match scenario {
        Scenario::Standard | Scenario::Alone if rng.chance(350) => rng.pick(&[100, 300, 600]),
        Scenario::Standard | Scenario::Alone | Scenario::Quorum => 0,
    }
}

/// In some runs only, from a stream of its own, like deletes.
fn draw_mover(plan: &Plan) -> Option<ClientPlan> {
    let mut rng = Stream::new(plan.seed, Purpose::Moves, 0);
    if plan.scenario != Scenario::Standard || plan.nodes.len() == 1 || !rng.chance(300) {
        return None;
    }
    let operations = rng.pick(&[5, 20, 60]);
    let pause_ms = (plan.duration_ms * 7 / 10 / operations).max(1);
    let node = u32::try_from(rng.index(plan.nodes.len())).unwrap_or(0);
    Some(ClientPlan { node, pause_ms, breaks_every: rng.pick(&[0, 0, 10]), role: Role::Mover { operations } })
}

/// Likewise; with how often leaders look for what has expired.
fn draw_keeper(plan: &Plan) -> Option<(ClientPlan, u64)> {
    let mut rng = Stream::new(plan.seed, Purpose::Keeping, 0);
    if plan.scenario == Scenario::Quorum || !rng.chance(250) {
        return None;
    }
    let operations = rng.pick(&[10, 30, 80]);
    let pause_ms = (plan.duration_ms * 7 / 10 / operations).max(1);
    let node = u32::try_from(rng.index(plan.nodes.len())).unwrap_or(0);
    let retention_check_ms = rng.pick(&[100, 500, 2_000]);
    let breaks_every = rng.pick(&[0, 0, 10]);
    Some((ClientPlan { node, pause_ms, breaks_every, role: Role::Keeper { operations } }, retention_check_ms))
}

fn draw_cluster(rng: &mut Stream, count: u32) -> ClusterPlan {
    let flush = if rng.chance(200) {
        Flush::Interval { sync_ms: rng.pick(&[20, 100, 400, 3_000, 10_000]) }
    } else {
        Flush::Always
    };
    let topics = (0..rng.range(1, 2)).map(|_| {
        let partitions = i32::try_from(rng.range(1, 3)).unwrap_or(1);
        let replicas: i16 = if count == 1 { 1 } else { rng.pick(&[3, 3, 3, 3, 2, 1]) };
        let min_insync: i32 = match replicas {
            3 => rng.pick(&[2, 2, 2, 1, 3]),
            2 => rng.pick(&[1, 2]),
            _ => 1,
        };
        TopicPlan { partitions, replicas, min_insync }
    });
    ClusterPlan {
        flush,
        topics: topics.collect(),
        log_append_time: rng.chance(250),
        timings: draw_timings(rng),
        metadata_entries_max: rng.pick(&[1, 5, 30, 10_000]),
        peer_window_bytes: rng.pick(&[2_000, 30_000, 16 << 20, 16 << 20]),
        retention_check_ms: None,
        groups: None,
        tables: None,
    }
}

fn draw_timings(rng: &mut Stream) -> TimingsPlan {
    let election = rng.pick(&[300, 600, 1_000]);
    let broker_beat = rng.pick(&[100, 300, 500]);
    TimingsPlan {
        election,
        broker_beat,
        session: broker_beat * rng.pick(&[4, 8, 18]),
        lost: rng.pick(&[200, 1_000]),
        lag: rng.pick(&[500, 1_500, 5_000]),
        resend: rng.pick(&[50, 100, 300]),
        forward: rng.pick(&[1_500, 4_000]),
        shutdown: rng.pick(&[500, 2_000, 5_000]),
        rebalance: rng.pick(&[0, 1_500, 6_000]),
    }
}

fn draw_node(rng: &mut Stream) -> NodePlan {
    NodePlan {
        file_bytes: rng.pick(&[64 << 10, 64 << 10, 128 << 10, 256 << 10]),
        segment_bytes: rng.pick(&[16 << 10, 64 << 10, 256 << 10]),
        snapshot_bytes: rng.pick(&[384 << 10, 1 << 20, 4 << 20, 1 << 30]),
        background_factor: rng.pick(&[1, 1, 300, 3_000, 30_000]),
        tail_batches: rng.pick(&[0, 2, 4, 16]),
        late_us: rng.pick(&[0, 100, 500, 3_000]),
        stalls_per_mille: rng.pick(&[0, 60, 300]),
        drift_ppm: if rng.chance(300) { i64::try_from(rng.below(100_000)).unwrap_or(0) - 50_000 } else { 0 },
    }
}

/// See `faults`: fewer than half of the voters, and fewer than some topic needs in sync.
fn draw_losers(rng: &mut Stream, cluster: &ClusterPlan, count: u32) -> Vec<u32> {
    let most_needed = cluster.topics.iter().map(|topic| topic.min_insync).max().unwrap_or(1);
    let most = u32::try_from(most_needed - 1).unwrap_or(0).min(count.saturating_sub(1) / 2);
    let losers = if rng.chance(400) { 0 } else { most };
    let first = u32::try_from(rng.below(u64::from(count))).unwrap_or(0);
    (0..losers).map(|index| (first + index) % count).collect()
}

fn draw_clients(
    rng: &mut Stream,
    scenario: Scenario,
    nodes: &[NodePlan],
    duration_ms: u64,
) -> Vec<ClientPlan> {
    let mut clients = Vec::new();
    let mut add = |rng: &mut Stream, operations: u64, role: Role| {
        let breaks_every = if rng.chance(400) { rng.range(5, 60) } else { 0 };
        let node = u32::try_from(rng.below(nodes.len() as u64)).unwrap_or(0);
        let pause_ms = (duration_ms * 7 / 10 / operations).max(1);
        clients.push(ClientPlan { node, pause_ms, breaks_every, role });
    };
    let file_bytes = nodes.iter().map(|node| node.file_bytes).min().unwrap_or(64 << 10);
    let producers = match scenario {
        Scenario::Standard | Scenario::Alone => rng.range(1, 3),
        Scenario::Quorum => 1,
    };
    for _ in 0..producers {
        let batches = rng.range(60, 260) / producers.isqrt().max(1);
        let idempotent = rng.chance(650);
        let acks = if idempotent { -1 } else { rng.pick(&[-1, -1, 1, 1, 0]) };
        let version = i16::try_from(rng.range(3, 13)).unwrap_or(13);
        let records_max = rng.pick(&[1, 3, 8]);
        let value_bytes_max = rng.pick(&[40, 300, 1_500, 4_000]).min(file_bytes / 16);
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
        add(rng, 100, role);
    }
    let operations = match scenario {
        Scenario::Standard | Scenario::Alone => 40,
        Scenario::Quorum => 200,
    };
    add(rng, operations, Role::Admin { operations, alters: false });
    clients
}
