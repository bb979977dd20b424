//! Somebody who means harm and needs no password: connections that send what no client would, ask for the most that can be asked
//! for, never read, or break off. In some runs only, from a stream of its own: all others are what they are without.

use super::Scenario;
use crate::rng::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// What is done to the brokers. The bare world's alone: it has no sockets, so what is hostile there begins with a whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostilePlan {
    /// Connections at a time, at most.
    pub connections_max: u32,
    /// Frames in all.
    pub frames: u64,
    /// Time between two acts, about, in µs.
    pub pause_us: u64,
    /// So many in 1,000 of its connections read no answer.
    pub deaf_per_mille: u64,
}

/// Draws whether there is one, and how busy it is.
pub(super) fn draw(scenario: Scenario, seed: u64, duration_ms: u64) -> Option<HostilePlan> {
    let mut rng = Stream::new(seed, Purpose::Hostile, 0);
    let per_mille = match scenario {
        Scenario::Standard | Scenario::Alone => 300,
        Scenario::Quorum => 0,
    };
    if !rng.chance(per_mille) {
        return None;
    }
    let frames = rng.pick(&[100, 300, 600]);
    Some(HostilePlan {
        connections_max: rng.pick(&[1, 4, 12]),
        frames,
        // A burst has several frames: most of them are sent before the faults end.
        pause_us: 2 * duration_ms * 1_000 / frames,
        deaf_per_mille: rng.pick(&[0, 200, 500]),
    })
}
