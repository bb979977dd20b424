//! What an operator wants of the quorum's members while the faults go on: voters are removed and come back, and those that lost
//! their disks are admitted anew. In some runs only, from a stream of its own: all others are what they are without.

use super::{Fault, FaultKind, Plan, Scenario};
use crate::rng::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// One wish. It is tried until it is done, or the faults are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterStep {
    /// When, in virtual µs.
    pub at_us: u64,
    /// The node that it is about.
    pub node: u32,
    /// What is wanted.
    pub wish: VoterWish,
    /// The leader that is asked is cut off from all others at that moment, for so long: what it begins may be rolled back.
    pub isolates_us: Option<u64>,
}

/// What is wanted of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VoterWish {
    /// It is a voter no more, with whatever disk.
    Remove,
    /// It is a voter with the disk that it has; one that it had before is removed first.
    Admit,
}

/// Draws the wishes of a plan whose faults are drawn: an operator's, or the configuration's alone.
pub(super) fn draw(plan: &mut Plan) {
    let mut rng = Stream::new(plan.seed, Purpose::Voters, 0);
    let rng = &mut rng;
    let count = plan.nodes.len() as u64;
    let per_mille = match plan.scenario {
        Scenario::Standard => 250,
        Scenario::Quorum | Scenario::Alone => 0,
    };
    if count < 3 || !rng.chance(per_mille) {
        plan.admits_voters = count >= 3 && rng.chance(600);
        return;
    }
    let last_us = plan.duration_ms * 1_000;
    let mut steps = Vec::new();
    for (node, back_us) in plan.faults.iter().filter_map(came_back) {
        if rng.chance(600) {
            let at_us = back_us + rng.range(300_000, 3_000_000);
            steps.push(VoterStep { at_us, node, wish: VoterWish::Admit, isolates_us: None });
        }
    }
    let losers: Vec<u32> = plan.losers().into_iter().collect();
    let mut at_us = rng.range(1_500_000, 4_000_000);
    while at_us < last_us {
        let any = u32::try_from(rng.below(count)).unwrap_or(0);
        let node = if losers.is_empty() || rng.chance(400) { any } else { rng.pick(&losers) };
        let isolates_us = rng.chance(350).then(|| rng.range(300_000, 5_000_000));
        steps.push(VoterStep { at_us, node, wish: VoterWish::Remove, isolates_us });
        let at_back_us = at_us + rng.range(100_000, 4_000_000);
        steps.push(VoterStep { at_us: at_back_us, node, wish: VoterWish::Admit, isolates_us: None });
        at_us += rng.range(1_000_000, 5_000_000);
    }
    steps.retain(|step| step.at_us < last_us);
    steps.sort_by_key(|step| step.at_us);
    plan.voters = steps;
}

/// A node that lost its disk, and when it is back.
fn came_back(fault: &Fault) -> Option<(u32, u64)> {
    let FaultKind::Wipe { down_us, .. } = &fault.kind else { return None };
    Some((fault.node, fault.at_us + down_us))
}
