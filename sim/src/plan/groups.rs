//! Draws consumer groups: in some runs only, from a stream of their own, so that all others are what they are without.

use super::{
    ClientPlan, ConsumerPlan, FaultKind, Flush, GroupsPlan, MemberPlan, Plan, Role, Scenario, ServerAssignor,
};
use crate::rng::{Purpose, Stream};
use seedlog_core::group::{Bounds, ConsumerSettings, GroupSettings};

impl GroupsPlan {
    /// The settings of every node: small numbers, so that every limit is met.
    #[must_use]
    pub fn settings(&self) -> GroupSettings {
        const DAY_MS: i64 = 86_400_000;
        GroupSettings {
            initial_rebalance_delay_ms: self.initial_delay_ms,
            session_timeout_ms_min: 100,
            new_member_timeout_ms: 2_000,
            offsets_retention_ms: self.retention_ms.and_then(|ms| i64::try_from(ms).ok()).unwrap_or(DAY_MS),
            offsets_check_ms: self.check_ms,
            commit_timeout_ms: 2_000,
            topic_partitions: 3,
            topic_segment_bytes: 1 << 20,
            load_bytes: 2_000,
            consumer: ConsumerSettings {
                session_timeout_ms: self.consumer_session_ms,
                session_timeout_ms_bounds: self.session_bounds(),
                heartbeat_interval_ms: self.heartbeat_interval_ms(),
                heartbeat_interval_ms_bounds: self.heartbeat_bounds(),
                assignment_interval_ms: self.assignment_interval_ms,
                regex_refresh_ms: 10_000,
                ..ConsumerSettings::default()
            },
            ..GroupSettings::default()
        }
    }

    /// How often members of consumer groups are told to let themselves be heard, unless their group says otherwise.
    #[must_use]
    pub fn heartbeat_interval_ms(&self) -> i32 {
        i32::try_from(self.consumer_session_ms / 4).unwrap_or(1)
    }

    /// What a group may set its members' session to. The most is far less than what a run waits for at its end.
    #[must_use]
    pub fn session_bounds(&self) -> Bounds {
        let session_ms = i32::try_from(self.consumer_session_ms).unwrap_or(i32::MAX / 4);
        Bounds { min: session_ms * 3 / 4, max: session_ms * 2 }
    }

    /// The same of heartbeats: never as much as a session, whatever that is set to.
    #[must_use]
    pub fn heartbeat_bounds(&self) -> Bounds {
        let heartbeat_ms = self.heartbeat_interval_ms();
        Bounds { min: heartbeat_ms / 2, max: heartbeat_ms * 3 / 2 }
    }
}

impl Plan {
    /// Within how long a silence no group forgets its offsets, in µs; `None` where clocks that jump or drift, or losses, excuse
    /// whatever happens.
    #[must_use]
    pub fn offsets_kept_us(&self) -> Option<u64> {
        let jumps = self.faults.iter().any(|fault| matches!(fault.kind, FaultKind::ClockJump { .. }));
        let drifts = self.nodes.iter().any(|node| node.drift_ppm != 0);
        let loses = self.cluster.flush != Flush::Always;
        let retention_ms = self.cluster.groups.and_then(|groups| groups.retention_ms)?;
        // What is heard of members is heard a little later than by their coordinator.
        (!jumps && !drifts && !loses).then_some(retention_ms * 800)
    }
}

fn draw_consumer(rng: &mut Stream, per_mille: u64) -> Option<ConsumerPlan> {
    let assignor = rng.pick(&[None, Some(ServerAssignor::Uniform), Some(ServerAssignor::Range)]);
    let by_pattern = rng.chance(250);
    rng.chance(per_mille).then_some(ConsumerPlan { assignor, by_pattern })
}

/// The groups of a run and their members.
pub(super) fn draw(plan: &Plan) -> Option<(GroupsPlan, Vec<ClientPlan>)> {
    let mut rng = Stream::new(plan.seed, Purpose::Groups, 0);
    let rng = &mut rng;
    if plan.scenario == Scenario::Quorum || !rng.chance(350) {
        return None;
    }
    let session_ms = rng.pick(&[700, 1_500, 3_000]);
    // A coordinator that is no more, and does not know, may answer for as long as a broker's session.
    let shortest_ms = plan.cluster.timings.session + u64::try_from(session_ms).unwrap_or(0) + 1_500;
    let groups = GroupsPlan {
        initial_delay_ms: rng.pick(&[0, 0, 200, 1_000]),
        retention_ms: rng.chance(500).then_some(shortest_ms),
        check_ms: rng.pick(&[100, 400, 1_500]),
        consumer_session_ms: u64::try_from(session_ms).unwrap_or(0),
        assignment_interval_ms: Stream::new(plan.seed, Purpose::Groups, 2).pick(&[0, 0, 300, 1_000]),
    };
    let mut consumers = Stream::new(plan.seed, Purpose::Groups, 1);
    // Groups of one protocol, of the other, and of both.
    let consumers_per_mille = consumers.pick(&[0, 1_000, 500]);
    let is_idle = rng.chance(250);
    let commit_ms = if is_idle { shortest_ms * 3 / 2 } else { rng.pick(&[60, 200, 600]) };
    let count = rng.range(1, 5);
    let two = rng.chance(300);
    let (stalls_per_mille, leaves_per_mille) = (rng.pick(&[0, 20, 100]), rng.pick(&[0, 20, 100]));
    let lazy_per_mille = rng.pick(&[0, 0, 100]);
    let members = (0..count).map(|index| {
        let role = Role::Member(MemberPlan {
            group: if two { u32::try_from(index % 2).unwrap_or(0) } else { 0 },
            is_static: rng.chance(250),
            is_old: rng.chance(200),
            session_ms,
            rebalance_ms: rng.pick(&[700, 1_500, 2_500]),
            commit_ms,
            stalls_per_mille,
            leaves_per_mille,
            lazy_per_mille,
            consumer: draw_consumer(&mut consumers, consumers_per_mille),
        });
        let node = u32::try_from(rng.index(plan.nodes.len())).unwrap_or(0);
        ClientPlan { node, pause_ms: commit_ms, breaks_every: rng.pick(&[0, 0, 20, 60]), role }
    });
    Some((groups, members.collect()))
}

/// Who sets the groups' own settings, in some of the runs with members that these are for: from a stream of its own, so that all
/// others are what they are without.
pub(super) fn draw_tuner(plan: &Plan) -> Option<ClientPlan> {
    let mut rng = Stream::new(plan.seed, Purpose::Tuning, 0);
    let is_consumer =
        |client: &ClientPlan| matches!(&client.role, Role::Member(member) if member.consumer.is_some());
    if !plan.clients.iter().any(is_consumer) || !rng.chance(400) {
        return None;
    }
    let operations = rng.pick(&[5, 20, 60]);
    let pause_ms = (plan.duration_ms * 7 / 10 / operations).max(1);
    let node = u32::try_from(rng.index(plan.nodes.len())).unwrap_or(0);
    Some(ClientPlan { node, pause_ms, breaks_every: rng.pick(&[0, 0, 10]), role: Role::Tuner { operations } })
}
