//! Two clocks, never mixed. `MonoMs` drives timers; `WallMs` stamps records and decides retention. The core reads
//! neither: both arrive with every step in [`Now`].

use core::ops::{Add, Sub};
use serde::{Deserialize, Serialize};

/// Milliseconds of a monotonic clock with an arbitrary origin. Never goes back within one run of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct MonoMs(pub u64);

/// Milliseconds since the Unix epoch, as Kafka's record timestamps. May jump in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct WallMs(pub i64);

/// The instant of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For timers.
    pub mono: MonoMs,
    /// For record timestamps and retention.
    pub wall: WallMs,
}

impl Add<u64> for MonoMs {
    type Output = Self;
    fn add(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl Sub for MonoMs {
    type Output = u64;
    /// Milliseconds from `earlier` to `self`; 0 when `earlier` is later.
    fn sub(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
