//! The memory budget: one number, split into named parts. Who wants bytes takes a permit first and waits until there are
//! some; nobody allocates and hopes. Waiting is in order, so a large permit is not starved by small ones.

use crate::config::MemoryBudget;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The parts of the budget that the door hands out. The tail cache counts its own, the core has limits of its own.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Requests that were read, or are about to be, and are not answered.
    pub requests: Part,
    /// Record bytes of replies that are not written.
    pub replies: Part,
    /// Record batches of other nodes that are not in the journal.
    pub peers: Part,
}

impl Budget {
    /// The budget as configured.
    pub fn new(memory: &MemoryBudget) -> Self {
        Self {
            requests: Part::new("requests", memory.requests_bytes),
            replies: Part::new("replies", memory.replies_bytes),
            peers: Part::new("peers", memory.peers_bytes),
        }
    }
}

/// One part.
#[derive(Debug, Clone)]
pub struct Part {
    name: &'static str,
    units: u32,
    free: Arc<Semaphore>,
}

/// What is counted. It is also the least that a permit costs: a request of a few bytes occupies tables too.
const UNIT_BYTES: u64 = 512;

impl Part {
    /// A part of `bytes`.
    pub fn new(name: &'static str, bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        // A semaphore holds less than 2^61 permits on every platform that has 64 bits, and 2^29 where it has 32.
        let units = units.min(1 << 28);
        Self { name, units, free: Arc::new(Semaphore::new(units as usize)) }
    }

    /// Waits for `bytes`. More than the whole part counts as the whole part: then it is alone.
    pub async fn take(&self, bytes: u64) -> Permit {
        let units = self.units_of(bytes);
        let permit = Arc::clone(&self.free).acquire_many_owned(units).await;
        Permit { _units: permit.expect("a part's semaphore is never closed") }
    }

    /// The bytes if they are there at once.
    pub fn try_take(&self, bytes: u64) -> Option<Permit> {
        let units = self.units_of(bytes);
        Arc::clone(&self.free).try_acquire_many_owned(units).ok().map(|permit| Permit { _units: permit })
    }

    /// The part's name, for metrics.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The size of the part.
    pub fn bytes(&self) -> u64 {
        u64::from(self.units) * UNIT_BYTES
    }

    /// What is taken of it.
    pub fn used_bytes(&self) -> u64 {
        self.bytes() - self.free.available_permits() as u64 * UNIT_BYTES
    }

    fn units_of(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.units)
    }
}

/// Bytes of a part, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    _units: OwnedSemaphorePermit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_hands_out_what_it_has_and_takes_it_back() {
        let part = Part::new("requests", 4096);
        let first = part.try_take(3000).unwrap();
        assert_eq!(part.used_bytes(), 3072);
        assert!(part.try_take(2000).is_none());
        let second = part.try_take(1024).unwrap();
        assert!(part.try_take(0).is_none(), "even nothing costs a unit");
        drop((first, second));
        assert_eq!(part.used_bytes(), 0);
        let whole = part.try_take(1 << 40).unwrap();
        assert_eq!(part.used_bytes(), part.bytes());
        drop(whole);
    }
}
