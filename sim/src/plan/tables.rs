//! Draws a table in a compacted topic, and how logs are cleaned: in some runs only, from a stream of their own, so that all
//! others are what they are without.

use super::{ClientPlan, FaultKind, Plan, Role, Scenario, TablesPlan};
use crate::rng::{Purpose, Stream};

impl Plan {
    /// How long tombstones stay at least, in µs, where clocks can be trusted.
    #[must_use]
    pub fn tombstones_stay_us(&self) -> Option<u64> {
        let jumps = self.faults.iter().any(|fault| matches!(fault.kind, FaultKind::ClockJump { .. }));
        let drifts = self.nodes.iter().any(|node| node.drift_ppm != 0);
        let tables = self.cluster.tables.filter(|_| !jumps && !drifts)?;
        // A coordinator's or leader's clock may be a little ahead of the one that everything is judged by.
        Some(tables.delete_retention_ms.saturating_sub(100) * 1_000)
    }

    /// The same without tables, and without compaction: for seeds that are older.
    #[must_use]
    pub fn without_tables(mut self) -> Self {
        self.clients.retain(|client| !matches!(client.role, Role::Table { .. }));
        self.cluster.tables = None;
        self
    }
}

pub(super) fn draw(plan: &Plan) -> Option<(TablesPlan, ClientPlan)> {
    let mut rng = Stream::new(plan.seed, Purpose::Tables, 0);
    let rng = &mut rng;
    // Groups that are forgotten leave tombstones, which is what loading a cleaned log is about.
    let forgets = plan.cluster.groups.is_some_and(|groups| groups.retention_ms.is_some());
    if plan.scenario == Scenario::Quorum || !rng.chance(if forgets { 900 } else { 400 }) {
        return None;
    }
    let tables = TablesPlan {
        backoff_ms: rng.pick(&[50, 200, 1_000]),
        segment_ms: rng.pick(&[100, 400, 1_500]),
        dirty_ppm: rng.pick(&[0, 200_000, 500_000]),
        delete_retention_ms: rng.pick(&[0, 300, 2_000, 60_000]),
        keys_max: rng.pick(&[1, 3, 1_000]),
        pass_ms: rng.pick(&[0, 50, 1_000, 4_000]),
    };
    let operations = rng.pick(&[50, 150, 400]);
    let pause_ms = (plan.duration_ms * 7 / 10 / operations).max(1);
    let node = u32::try_from(rng.index(plan.nodes.len())).unwrap_or(0);
    let role = Role::Table { operations, keys: rng.pick(&[2, 5, 20]) };
    Some((tables, ClientPlan { node, pause_ms, breaks_every: rng.pick(&[0, 0, 20]), role }))
}
