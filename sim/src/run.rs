//! One run from its plan to its outcome, with the core's panics as verdicts.

use crate::judges::{Enabled, Judge, Verdict};
use crate::plan::{Plan, Scenario};
use crate::trace::NOWHERE;
use crate::world::{Outcome, World};
use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

thread_local! {
    /// Where this thread panicked last.
    static PANICKED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a plan.
#[must_use]
pub fn run_plan(plan: Plan, enabled: Enabled, keep_trace: bool) -> Outcome {
    run_world(World::new(plan, enabled, keep_trace), enabled)
}

/// Runs a plan and tells every input and output of the brokers in full.
#[must_use]
pub fn run_aloud(plan: Plan, enabled: Enabled) -> Outcome {
    let mut world = World::new(plan, enabled, true);
    world.speak();
    run_world(world, enabled)
}

fn run_world(mut world: World, enabled: Enabled) -> Outcome {
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let at_us = world.now_us();
    let mut outcome = world.into_outcome();
    if let Err(panic) = ended
        && enabled.has(Judge::Panic)
    {
        let says = panic_says(panic.as_ref());
        outcome.verdict = Some(Verdict { judge: Judge::Panic, node: NOWHERE, at_us, says });
    }
    outcome
}

/// A panic of this thread in words, with its place if [`hush_panics`] was called.
#[must_use]
pub fn panic_says(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text =
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
    let place = PANICKED_AT.take();
    if place.is_empty() { text } else { format!("{place}: {text}") }
}

/// Runs a seed of a scenario.
#[must_use]
pub fn run_seed(scenario: Scenario, seed: u64, enabled: Enabled, keep_trace: bool) -> Outcome {
    run_plan(Plan::draw(scenario, seed), enabled, keep_trace)
}

/// Panics print nothing any more, in the whole process: each becomes a verdict, which says where it was.
pub fn hush_panics() {
    set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PANICKED_AT.with(|slot| *slot.borrow_mut() = place);
    }));
}
