//! Settings of topics change while nodes crash, lose power and are cut off: no judge finds anything. Other runs leave them
//! alone, so that their seeds stay what they are.

use seedlog_sim::judges::Enabled;
use seedlog_sim::plan::{Plan, Role, Scenario};
use seedlog_sim::run::run_plan;
use std::sync::atomic::{AtomicU64, Ordering};

/// `SETTINGS_SEEDS=1000` runs more.
fn seeds() -> u64 {
    std::env::var("SETTINGS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40)
}

const THREADS: usize = 2;

#[test]
fn settings_change_under_faults() {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds() {
                        break;
                    }
                    let mut plan = Plan::draw(Scenario::Standard, seed);
                    for client in &mut plan.clients {
                        if let Role::Admin { alters, .. } = &mut client.role {
                            *alters = true;
                        }
                    }
                    let outcome = run_plan(plan, Enabled::all(), false);
                    if let Some(verdict) = outcome.verdict {
                        panic!("seed {seed}: {verdict}");
                    }
                }
            });
        }
    });
}
