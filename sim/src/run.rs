//! One run from its plan to its outcome, with the core's panics as verdicts.

use crate::judges::{Enabled, Judge, Verdict};
use crate::plan::{Plan, Scenario};
use crate::world::{Outcome, World};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a plan.
#[must_use]
pub fn run_plan(plan: Plan, enabled: Enabled, keep_trace: bool) -> Outcome {
    let mut world = World::new(plan, enabled, keep_trace);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let at_us = world.now_us();
    let mut outcome = world.into_outcome();
    if let Err(panic) = ended {
        let text = panic.downcast_ref::<String>().cloned();
        let says = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        outcome.verdict = Some(Verdict { judge: Judge::Panic, node: u32::MAX, at_us, says });
    }
    outcome
}

/// Runs a seed of a scenario.
#[must_use]
pub fn run_seed(scenario: Scenario, seed: u64, enabled: Enabled, keep_trace: bool) -> Outcome {
    run_plan(Plan::draw(scenario, seed), enabled, keep_trace)
}
