//! The faults of a plan, and the promise that they stay inside of.
//!
//! # The promise
//!
//! DESIGN 9: with `flush=always` and `min.insync.replicas=m` a record that was acknowledged with acks=all survives the loss of
//! any m-1 disks and any number of power cuts; the metadata survives while a majority of the voters keeps its disk. A plan
//! keeps to that by naming its *losers* before it draws the first fault: the only nodes whose disks may ever lose what was
//! durable on them, or, with `flush=interval`, what was acknowledged on them.
//!
//! * With several nodes there are fewer losers than half of the voters, and fewer than the greatest `min.insync.replicas` of
//!   a topic. They are the same nodes for the whole run, so that it does not matter when a lost copy has been made good.
//! * Only losers are wiped, have bits flipped under vouched entries, or are set aside and replaced. With `flush=interval` only
//!   losers lose power or fail to sync; the others' processes die.
//! * A topic whose own `min.insync.replicas` is not above the number of losers that hold a partition of it is beyond the
//!   promise from the first such loss on: judges ask no longer whether records of that partition survive, only that nothing
//!   wrong is served (`judges::truth`).
//! * A single node has no other copy: bits are flipped under entries of records only, never under the quorum's, and whatever
//!   is hit is beyond the promise.
//!
//! Messages may be lost, late, doubled and reordered without limit until the run heals (SAFETY R9).

use super::{Flush, Plan};
use crate::rng::Stream;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When, in virtual µs.
    pub at_us: u64,
    /// Where. Faults of links name the node whose they are first.
    pub node: u32,
    /// What.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// A fault of whoever was elected just before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blow {
    /// How long after the election, in virtual µs; nothing if this election is let be.
    pub after_us: Option<u64>,
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
    /// The node's folder is lost; it comes back with an empty one.
    Wipe {
        /// How long until the next start.
        down_us: u64,
        /// The folder is not lost but set aside: it comes back under the same node id after so long, beside the new one.
        returns_us: Option<u64>,
    },
    /// Links carry nothing, in the named directions.
    Cut {
        /// From and to.
        pairs: Vec<[u32; 2]>,
        /// For how long.
        for_us: u64,
        /// When both ends hear that the link is gone; never, if it looks open (half-open).
        told_us: Option<u64>,
        /// What is sent meanwhile comes late instead of never.
        keeps: bool,
    },
    /// Links lose, double, delay and reorder.
    Noise {
        /// From and to.
        pairs: Vec<[u32; 2]>,
        /// For how long.
        for_us: u64,
        /// So many in 1,000 messages are lost.
        lost_per_mille: u64,
        /// So many in 1,000 come twice.
        doubled_per_mille: u64,
        /// So many in 1,000 are late.
        late_per_mille: u64,
        /// By this at most.
        late_us: u64,
    },
    /// A node is told that its streams to another one are gone, or there, whether or not it is true.
    Tell {
        /// The other one.
        peer: u32,
        /// They are there.
        is_up: bool,
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
            Self::Wipe { .. } => 9,
            Self::Cut { .. } => 10,
            Self::Noise { .. } => 11,
            Self::Tell { .. } => 12,
        }
    }

    /// A disk may lose what counted as durable on it.
    #[must_use]
    pub fn loses(&self, flush: Flush) -> bool {
        match self {
            Self::BitFlip { .. } | Self::Wipe { .. } => true,
            Self::PowerCut { .. } | Self::SyncError => flush != Flush::Always,
            Self::Kill { .. }
            | Self::DiskFull { .. }
            | Self::SlowDisk { .. }
            | Self::ClockJump { .. }
            | Self::Stop { .. }
            | Self::Pause { .. }
            | Self::Cut { .. }
            | Self::Noise { .. }
            | Self::Tell { .. } => false,
        }
    }
}

impl Plan {
    /// Nodes whose disks lose something.
    #[must_use]
    pub fn losers(&self) -> BTreeSet<u32> {
        let losses = self.faults.iter().filter(|fault| fault.kind.loses(self.cluster.flush));
        losses.map(|fault| fault.node).collect()
    }
}

/// What faults are drawn for.
pub(super) struct Ground<'a> {
    pub(super) count: u32,
    pub(super) flush: Flush,
    pub(super) duration_ms: u64,
    /// See the module.
    pub(super) losers: &'a [u32],
}

impl Ground<'_> {
    /// The faults of processes and disks of one node.
    pub(super) fn draw_node(&self, rng: &mut Stream, node: u32, faults: &mut Vec<Fault>) {
        let last_us = self.duration_ms * 1_000;
        let is_loser = self.losers.contains(&node);
        let may_cut_power = self.flush == Flush::Always || is_loser || self.count == 1;
        let mut at_us = rng.range(200_000, 4_000_000) * u64::from(self.count).isqrt();
        // A node that never fails on its own is needed to see what the others' failures do to it.
        if self.count > 1 && rng.chance(250) {
            at_us = last_us;
        }
        while at_us < last_us {
            let kind = self.draw_kind(rng, may_cut_power, is_loser);
            let next = at_us + rng.range(200_000, 5_000_000) * u64::from(self.count).isqrt();
            let crash = match &kind {
                FaultKind::Kill { down_us, .. } | FaultKind::PowerCut { down_us, .. } => Some(*down_us),
                FaultKind::Stop { down_us } => Some(down_us + 20_000),
                FaultKind::SyncError => Some(150_000),
                FaultKind::DiskFull { .. }
                | FaultKind::SlowDisk { .. }
                | FaultKind::BitFlip { .. }
                | FaultKind::ClockJump { .. }
                | FaultKind::Pause { .. }
                | FaultKind::Wipe { .. }
                | FaultKind::Cut { .. }
                | FaultKind::Noise { .. }
                | FaultKind::Tell { .. } => None,
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
                let kind = if may_cut_power && rng.chance(700) {
                    FaultKind::PowerCut { down_us, mid_step }
                } else {
                    FaultKind::Kill { down_us, mid_step }
                };
                faults.push(Fault { at_us, node, kind });
            }
            at_us = next;
        }
        if is_loser && rng.chance(600) || self.count == 1 && rng.chance(300) {
            let at_us = rng.range(1_000_000, last_us);
            let kind = FaultKind::BitFlip { choice: rng.bits(), cached: rng.chance(500) };
            faults.push(Fault { at_us, node, kind });
        }
    }

    fn draw_kind(&self, rng: &mut Stream, may_cut_power: bool, is_loser: bool) -> FaultKind {
        let down_us = if rng.chance(250) { rng.range(500_000, 9_000_000) } else { rng.range(1_000, 900_000) };
        let down_us = if self.count == 1 { down_us.min(900_000) } else { down_us };
        let mid_step = rng.chance(250);
        let choice = rng.below(100);
        match choice {
            0..25 if is_loser && self.count > 1 => {
                let returns_us = rng.chance(350).then(|| down_us + rng.range(100_000, 8_000_000));
                FaultKind::Wipe { down_us, returns_us }
            }
            28..60 if may_cut_power => FaultKind::PowerCut { down_us, mid_step },
            60..66 if may_cut_power => FaultKind::SyncError,
            0..66 => FaultKind::Kill { down_us, mid_step },
            66..70 => FaultKind::DiskFull { for_us: rng.range(100_000, 2_000_000) },
            70..76 => {
                FaultKind::SlowDisk { for_us: rng.range(100_000, 3_000_000), factor: rng.range(5, 100) }
            }
            76..80 => {
                let by_ms = i64::try_from(rng.range(1, 2_000_000)).unwrap_or(1);
                FaultKind::ClockJump { by_ms: if rng.chance(500) { by_ms } else { -by_ms } }
            }
            80..89 => FaultKind::Stop { down_us },
            _ => FaultKind::Pause {
                for_us: rng.range(10_000, if self.count > 1 { 9_000_000 } else { 2_500_000 }),
            },
        }
    }

    /// The faults of the links between nodes.
    pub(super) fn draw_links(&self, rng: &mut Stream, faults: &mut Vec<Fault>) {
        if self.count < 2 {
            return;
        }
        let last_us = self.duration_ms * 1_000;
        let mut at_us = rng.range(100_000, 6_000_000);
        while at_us < last_us {
            let node = u32::try_from(rng.below(u64::from(self.count))).unwrap_or(0);
            let for_us =
                if rng.chance(250) { rng.range(2_000_000, 15_000_000) } else { rng.range(50_000, 3_000_000) };
            let kind = match rng.below(100) {
                0..45 => FaultKind::Cut {
                    pairs: self.draw_pairs(rng, node),
                    for_us,
                    told_us: rng.chance(500).then(|| rng.below(for_us)),
                    keeps: rng.chance(300),
                },
                45..85 => FaultKind::Noise {
                    pairs: self.draw_pairs(rng, node),
                    for_us,
                    lost_per_mille: rng.pick(&[0, 0, 20, 200, 500]),
                    doubled_per_mille: rng.pick(&[0, 0, 50, 300]),
                    late_per_mille: rng.pick(&[0, 50, 300, 1_000]),
                    late_us: rng.pick(&[2_000, 100_000, 2_000_000, 20_000_000]),
                },
                _ => {
                    let other = (node + 1 + u32::try_from(rng.below(u64::from(self.count - 1))).unwrap_or(0))
                        % self.count;
                    FaultKind::Tell { peer: other, is_up: rng.chance(300) }
                }
            };
            faults.push(Fault { at_us, node, kind });
            at_us += rng.range(200_000, 7_000_000);
        }
    }

    /// What a quorum goes through in Raft's figure 8: leaders die or stand still as soon as they are elected, while messages
    /// are lost and overtake each other.
    pub(super) fn draw_changes_of_leader(&self, rng: &mut Stream, faults: &mut Vec<Fault>) -> Vec<Blow> {
        let all = (0..self.count).flat_map(|from| (0..self.count).map(move |to| [from, to]));
        let noise = FaultKind::Noise {
            pairs: all.filter(|[from, to]| from != to).collect(),
            for_us: self.duration_ms * 1_000,
            lost_per_mille: rng.pick(&[100, 250, 400]),
            doubled_per_mille: 0,
            late_per_mille: rng.pick(&[50, 300]),
            late_us: rng.pick(&[2_000, 100_000, 300_000]),
        };
        faults.push(Fault { at_us: 500_000, node: 0, kind: noise });
        let blow = |rng: &mut Stream| {
            let for_us = rng.range(300_000, 4_000_000);
            let kind = if rng.chance(700) {
                FaultKind::Kill { down_us: for_us, mid_step: rng.chance(250) }
            } else {
                FaultKind::Pause { for_us }
            };
            let within_us = rng.pick(&[1_000, 10_000, 100_000]);
            Blow { after_us: rng.chance(800).then(|| rng.below(within_us)), kind }
        };
        (0..100).map(|_| blow(rng)).collect()
    }

    /// The last replica standing (KIP-966): with flush=interval as many nodes as a quorum can spare die together, one of the
    /// others outlives their sessions as the only member of some ISR, and then loses power.
    pub(super) fn draw_last_standing(&self, rng: &mut Stream, session_us: u64, faults: &mut Vec<Fault>) {
        let spared = self.count.saturating_sub(1) / 2;
        let [last, ..] = *self.losers else { return };
        if self.flush == Flush::Always || spared < 2 {
            return;
        }
        let mut at_us = rng.range(2_000_000, 6_000_000);
        while at_us < self.duration_ms * 1_000 {
            let first = u32::try_from(rng.below(u64::from(self.count))).unwrap_or(0);
            let others = (0..self.count).map(|index| (first + index) % self.count);
            for node in others.filter(|&node| node != last).take(spared as usize) {
                let down_us = session_us + rng.range(1_500_000, 4_000_000);
                let at_us = at_us + rng.below(50_000);
                faults.push(Fault { at_us, node, kind: FaultKind::Kill { down_us, mid_step: false } });
            }
            let cut_us = at_us + session_us + rng.range(100_000, 1_500_000);
            let down_us = rng.range(1_000, 300_000);
            let kind = FaultKind::PowerCut { down_us, mid_step: false };
            faults.push(Fault { at_us: cut_us, node: last, kind });
            at_us = cut_us + rng.range(3_000_000, 8_000_000);
        }
    }

    /// Directions of links: one node from all others, one direction of it, two halves, or single links (a partial
    /// partition).
    fn draw_pairs(&self, rng: &mut Stream, node: u32) -> Vec<[u32; 2]> {
        let others = || (0..self.count).filter(move |&other| other != node);
        let both = |pairs: Vec<[u32; 2]>| {
            pairs.iter().flat_map(|&[from, to]| [[from, to], [to, from]]).collect::<Vec<_>>()
        };
        match rng.below(6) {
            0 | 1 => both(others().map(|other| [node, other]).collect()),
            2 => others().map(|other| [node, other]).collect(),
            3 => others().map(|other| [other, node]).collect(),
            4 => {
                let halves = rng.bits();
                let side = |node: u32| halves >> (node % 64) & 1;
                let all = (0..self.count).flat_map(|from| (0..self.count).map(move |to| [from, to]));
                all.filter(|&[from, to]| side(from) != side(to)).collect()
            }
            _ => {
                let others: Vec<u32> = others().collect();
                let pair = vec![[node, rng.pick(&others)]];
                if rng.chance(500) { both(pair) } else { pair }
            }
        }
    }
}
