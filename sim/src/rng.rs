//! Randomness of a run: independent ChaCha8 streams cut from one seed, so that one more draw in one part of the world
//! moves nothing in another.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is drawn for. The number is the stream's: never reused for anything else, or saved seeds change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// The scenario's numbers, the clients and the faults.
    Plan = 1,
    /// What clients send and when.
    Workload = 2,
    /// Which sectors survive, how long the disk takes, salts.
    Disk = 3,
    /// How long messages travel.
    Net = 4,
    /// Seeds of brokers, one a start.
    Brokers = 5,
    /// How late the driver does things.
    Driver = 6,
    /// Changes of the quorum's members.
    Voters = 7,
    /// Whether records are deleted.
    Deletes = 8,
    /// Whether partitions move, and how often.
    Moves = 9,
    /// What somebody does who means harm.
    Hostile = 10,
    /// Whether topics grow and records expire.
    Keeping = 11,
    /// Whether groups consume.
    Groups = 12,
    /// Whether logs are compacted.
    Tables = 13,
    /// Whether groups get settings of their own.
    Tuning = 14,
    /// What only the whole world has: faults of connections, and how its clients read.
    Whole = 32,
}

/// One stream.
#[derive(Debug, Clone)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `seed` for `purpose`, for the node or client `index`.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream((purpose as u64) << 32 | index);
        Self(rng)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "there is no number below 0");
        // The bias of one part in 2^64 / end is of no consequence here.
        ((u128::from(self.0.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `least` to `most`, both included.
    pub fn range(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// An index below `len`, which is not 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// One of `items`, which is not empty.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.index(items.len())]
    }

    /// True in `per_mille` of 1,000 cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_functions_of_seed_purpose_and_index() {
        let draw = |seed, purpose, index| Stream::new(seed, purpose, index).bits();
        assert_eq!(draw(7, Purpose::Disk, 0), draw(7, Purpose::Disk, 0));
        assert_ne!(draw(7, Purpose::Disk, 0), draw(7, Purpose::Disk, 1));
        assert_ne!(draw(7, Purpose::Disk, 0), draw(7, Purpose::Net, 0));
        assert_ne!(draw(7, Purpose::Disk, 0), draw(8, Purpose::Disk, 0));
    }

    #[test]
    fn numbers_stay_in_range() {
        let mut stream = Stream::new(1, Purpose::Plan, 0);
        for _ in 0..1_000 {
            assert!((3..=5).contains(&stream.range(3, 5)));
            assert!(!stream.chance(0));
            assert!(stream.chance(1_000));
        }
    }
}
