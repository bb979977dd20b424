//! The two clocks of the node. Nothing else in this package reads one: everything is told the time, or sleeps.

use seedlog_core::time::{MonoMs, Now, WallMs};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the node started, and milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock whose monotonic side begins at 0.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// What both clocks say.
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: wall() }
    }

    /// What the monotonic clock says.
    pub fn mono(&self) -> MonoMs {
        MonoMs(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// A machine whose clock stands before 1970 counts from zero.
fn wall() -> WallMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_side_never_goes_back() {
        let clock = Clock::start();
        let first = clock.now();
        let second = clock.now();
        assert!(second.mono >= first.mono);
        assert!(first.wall.0 > 0);
    }
}
