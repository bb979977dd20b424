//! Which partition a record goes to: by its key as Kafka's Java client chooses, or one partition at a time without key.

use std::hash::{BuildHasher, Hasher, RandomState};

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;

/// Murmur2 with Kafka's seed, 32 bits, as `org.apache.kafka.common.utils.Utils.murmur2` computes it.
#[must_use]
pub fn murmur2(bytes: &[u8]) -> i32 {
    let (words, tail) = bytes.as_chunks::<4>();
    // Java's arrays end at 2^31 - 1 bytes, and so do keys.
    let mut hash = SEED ^ bytes.len() as u32;
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        k = (k ^ (k >> 24)).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ k;
    }
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    (hash ^ (hash >> 15)).cast_signed()
}

/// The partition of a key among `partitions`, as Kafka's default partitioner says.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has at least one partition");
    (murmur2(key) & i32::MAX) % partitions
}

/// Records without key stay on one partition until it got a batch's worth of bytes, then move on (KIP-794).
#[derive(Debug)]
pub struct StickyPartitioner {
    random: u64,
    partition: i32,
    bytes_left: usize,
    batch_bytes: usize,
}

impl StickyPartitioner {
    /// Starts at a random partition, so that many short-lived producers spread.
    #[must_use]
    pub fn new(batch_bytes: usize) -> Self {
        Self::seeded(batch_bytes, RandomState::new().build_hasher().finish())
    }

    fn seeded(batch_bytes: usize, seed: u64) -> Self {
        Self { random: seed, partition: -1, bytes_left: 0, batch_bytes }
    }

    /// The partition for a record of so many bytes.
    pub fn choose(&mut self, record_bytes: usize, partitions: i32) -> i32 {
        assert!(partitions > 0, "a topic has at least one partition");
        if self.bytes_left == 0 || self.partition >= partitions {
            self.partition = self.another(partitions);
            self.bytes_left = self.batch_bytes.max(1);
        }
        self.bytes_left = self.bytes_left.saturating_sub(record_bytes.max(1));
        self.partition
    }

    /// Any partition but the present one, if there is another.
    fn another(&mut self, partitions: i32) -> i32 {
        // Splitmix64: good enough to spread load.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        let count = u64::from(partitions.unsigned_abs());
        if self.partition < 0 || partitions == 1 || self.partition >= partitions {
            return (z % count) as i32;
        }
        let step = 1 + z % (count - 1);
        ((u64::from(self.partition.unsigned_abs()) + step) % count) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_that_of_kafkas_java_client() {
        // The vectors of Kafka's UtilsTest.testMurmur2.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn keys_keep_their_partition_and_stay_in_range() {
        for partitions in [1, 2, 3, 7, 100] {
            for key in 0..200_u32 {
                let partition = partition_for_key(&key.to_be_bytes(), partitions);
                assert!((0..partitions).contains(&partition));
            }
        }
        // murmur2 of "21" is negative: the sign bit is cleared, as Java's toPositive does.
        assert_eq!(partition_for_key(b"21", 10), (-973_932_308 & i32::MAX) % 10);
    }

    #[test]
    fn sticky_moves_after_a_batch_and_never_to_itself() {
        let mut sticky = StickyPartitioner::seeded(100, 7);
        let first = sticky.choose(60, 4);
        assert_eq!(sticky.choose(60, 4), first);
        let second = sticky.choose(60, 4);
        assert_ne!(second, first);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let partition = sticky.choose(100, 4);
            assert!((0..4).contains(&partition));
            seen.insert(partition);
        }
        assert_eq!(seen.len(), 4);
        assert_eq!(StickyPartitioner::seeded(1, 1).choose(5, 1), 0);
    }
}
