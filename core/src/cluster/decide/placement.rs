//! Where the replicas of a new topic go: leaders and replicas spread evenly, over as many racks as there are (KIP-36).
//!
//! Brokers stand in a ring in which racks alternate. Leaders follow each other around it, beginning where the partitions that
//! exist leave off, so that many topics of one partition spread as one topic of many does. Each further replica goes to the
//! rack that the partition uses least, there to the broker that the topic uses least, there to the next in the ring; how
//! far the search starts behind the leader changes with each time around, so that a leader's partitions do not all have
//! the same followers.

use crate::ids::NodeId;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A broker that may hold replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The broker.
    pub node: NodeId,
    /// Its rack; brokers that name none are in one rack together.
    pub rack: Option<&'a str>,
}

/// The replicas of each of `partitions` new partitions, the preferred leader first. `existing`: partitions that there are
/// already.
#[must_use]
pub fn place(places: &[Place<'_>], existing: usize, partitions: usize, factor: usize) -> Vec<Vec<NodeId>> {
    assert!(factor >= 1, "a partition has a replica");
    assert!(factor <= places.len(), "a broker holds one replica of a partition at most");
    let ring = ring(places);
    let mut load = alloc::vec![0_usize; ring.len()];
    (existing..existing + partitions)
        .map(|number| {
            let spots = place_one(&ring, &load, number, factor);
            for &spot in &spots {
                load[spot] += 1;
            }
            spots.into_iter().map(|spot| ring[spot].node).collect()
        })
        .collect()
}

/// Spots in the ring for the partition of this number.
fn place_one(ring: &[Place<'_>], load: &[usize], number: usize, factor: usize) -> Vec<usize> {
    let leader = number % ring.len();
    let shift = number / ring.len() % (ring.len() - 1).max(1);
    let mut spots = alloc::vec![leader];
    while spots.len() < factor {
        let in_rack = |rack| spots.iter().filter(|&&spot| ring[spot].rack == rack).count();
        let next = (0..ring.len() - 1)
            .map(|step| (leader + 1 + (shift + step) % (ring.len() - 1)) % ring.len())
            .filter(|spot| !spots.contains(spot))
            .min_by_key(|&spot| (in_rack(ring[spot].rack), load[spot]))
            .expect("there are more brokers than replicas");
        spots.push(next);
    }
    spots
}

/// The brokers, racks alternating as long as they have any.
fn ring<'a>(places: &[Place<'a>]) -> Vec<Place<'a>> {
    let mut racks: BTreeMap<Option<&str>, Vec<Place<'a>>> = BTreeMap::new();
    for place in places {
        racks.entry(place.rack).or_default().push(*place);
    }
    let longest = racks.values().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|depth| racks.values().filter_map(move |rack| rack.get(depth).copied())).collect()
}
