//! The core's one source of randomness: a ChaCha8 stream from the seed that a broker is started with (SAFETY C2).

use crate::ids::Uuid;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The stream. Its values for a seed never change between releases: saved seeds replay.
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`; 0 for an `end` of 0. Biased by less than one in 2^32 for ends up to 2^32.
    pub fn below(&mut self, end: u64) -> u64 {
        let scaled = (u128::from(self.next_u64()) * u128::from(end)) >> 64;
        u64::try_from(scaled).expect("below a 64-bit end")
    }

    /// An id that is neither zero nor one of those that Kafka keeps for itself, and does not print with a leading dash.
    pub fn uuid(&mut self) -> Uuid {
        loop {
            let mut bytes = [0; 16];
            self.0.fill_bytes(&mut bytes);
            // RFC 4122 version 4, as Kafka's Uuid.randomUuid draws them.
            bytes[6] = (bytes[6] & 0x0f) | 0x40;
            bytes[8] = (bytes[8] & 0x3f) | 0x80;
            // The first six bits print as the first character; 62 is '-'.
            if bytes[0] >> 2 != 62 {
                return Uuid(bytes);
            }
        }
    }

    /// A positive number for a fetch session's id.
    pub fn session_id(&mut self) -> i32 {
        loop {
            let id = i32::try_from(self.0.next_u64() >> 33).expect("31 bits");
            if id > 0 {
                return id;
            }
        }
    }
}
