//! A range of seeds without any exhibit: no judge finds anything, and every coverage mark is reached.

use seedlog_sim::judges::Enabled;
use seedlog_sim::marks::{Mark, Marks};
use seedlog_sim::plan::{Plan, Scenario};
use seedlog_sim::run::run_plan;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Enough for nearly every mark, few enough for a debug build. A change of what plans draw may need others.
const SEEDS: Range<u64> = 0..150;
/// What is rare has a seed of its own: a replica in doubt in the metadata, a log that is another one when its cleaning pass ends,
/// a record of groups that nobody could give back.
const RARE_SEEDS: [u64; 3] = [196, 276, 749];
const THREADS: usize = 4;

fn plans() -> impl Iterator<Item = Plan> {
    SEEDS.chain(RARE_SEEDS).map(|seed| Plan::draw(Scenario::Standard, seed))
}

#[test]
fn a_clean_range_finds_nothing_and_sees_everything() {
    let next = AtomicU64::new(0);
    let sum = Mutex::new(Marks::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("small");
                    let Some(plan) = plans().nth(at) else { break };
                    let seed = plan.seed;
                    let outcome = run_plan(plan, Enabled::all(), false);
                    if let Some(verdict) = outcome.verdict {
                        panic!("seed {seed}: {verdict}");
                    }
                    sum.lock().expect("no thread panics while it holds this").add(&outcome.marks);
                }
            });
        }
    });
    let sum = sum.into_inner().expect("no thread panics while it holds this");
    let missed: Vec<&str> = sum.missed().map(Mark::says).collect();
    assert!(missed.is_empty(), "never in seeds {SEEDS:?} and {RARE_SEEDS:?}: {missed:?}");
}
