//! One run from its plan to its outcome. A process makes one: nothing of a run outlives it that another could see.

use crate::plan::WholePlan;
use crate::world::{Machines, Outcome, Shared};
use madsim::plugin::simulator;
use madsim::runtime::Runtime;
use madsim::{Config, task::NodeId};
use seedlog_sim::judges::Enabled;
use seedlog_sim::run::panic_says;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a plan.
#[must_use]
pub fn run_plan(plan: WholePlan, enabled: Enabled, keep_trace: bool) -> Outcome {
    let runtime = Runtime::with_seed_and_config(plan.base.seed, Config::default());
    runtime.add_simulator::<Machines>();
    let nodes: Vec<NodeId> = (0..plan.machines()).map(|_| runtime.create_node().build().id()).collect();
    let (shared, orders) = Shared::new(plan, &nodes, enabled, keep_trace);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            simulator::<Machines>().belong_to(shared.clone());
            shared.run(orders).await;
            crate::net::now_us()
        })
    }));
    let outcome = match ended {
        Ok(virtual_us) => shared.outcome(virtual_us, None),
        Err(panic) => shared.outcome(0, Some(panic_says(panic.as_ref()))),
    };
    // What it still holds would be dropped without its clock; the process ends soon.
    std::mem::forget(runtime);
    outcome
}
