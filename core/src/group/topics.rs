//! What groups look at of the cluster's metadata: its topics, and settings of a group's own.

use super::settings::OwnSettings;
use crate::ids::Uuid;
use alloc::boxed::Box;

/// The topics, and what else groups go by, by what is committed of the metadata log.
pub trait Topics {
    /// How far the metadata log was when topics, their partitions or racks changed last.
    fn version(&self) -> i64;

    /// The topic of a name.
    fn id_of(&self, name: &str) -> Option<Uuid>;

    /// The name of a topic.
    fn name_of(&self, topic_id: Uuid) -> Option<&str>;

    /// How many partitions it has; 0 if it does not exist.
    fn partitions(&self, topic_id: Uuid) -> usize;

    /// Visits the racks of a partition's replicas.
    fn racks(&self, topic_id: Uuid, partition: usize, visit: &mut dyn FnMut(&str));

    /// The names behind one, in their order; from the first on without one.
    fn names_after<'a>(&'a self, after: Option<&str>) -> Box<dyn Iterator<Item = &'a str> + 'a>;

    /// The settings that a group has of its own. It may have some before anybody is in it.
    fn own_settings(&self, group: &str) -> OwnSettings;
}

/// A digest of topics as they are: 0 of none (KIP-1101). Which function it is matters to nobody but who compares it with what
/// it was: Kafka would find another one in its place, and bump the group's epoch once.
#[must_use]
pub fn metadata_hash<'a>(names: impl Iterator<Item = &'a str>, topics: &dyn Topics) -> i64 {
    let mut digest = Digest::default();
    let mut is_empty = true;
    for name in names {
        let Some(topic_id) = topics.id_of(name) else { continue };
        is_empty = false;
        digest.add(&topic_id.0);
        digest.add_text(name);
        let partitions = topics.partitions(topic_id);
        digest.add(&partitions.to_be_bytes());
        for partition in 0..partitions {
            // The order of replicas does not matter, nor does that of what is added up.
            let mut racks: u64 = 0;
            topics.racks(topic_id, partition, &mut |rack| {
                let mut one = Digest::default();
                one.add_text(rack);
                racks = racks.wrapping_add(one.0);
            });
            digest.add(&racks.to_be_bytes());
        }
    }
    if is_empty { 0 } else { i64::from_be_bytes(digest.0.to_be_bytes()) }
}

/// FNV-1a with 64 bits.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn add_text(&mut self, text: &str) {
        self.add(&text.len().to_be_bytes());
        self.add(text.as_bytes());
    }
}
