//! Where replicas go: evenly, and apart.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use seedlog_core::cluster::decide::placement::{Place, place};
use seedlog_core::ids::NodeId;

const RACKS: [&str; 4] = ["a", "b", "c", "d"];

/// How many of `partitions` each broker has by `pick`: the least and the most.
fn spread<'a>(
    places: &[Place<'_>],
    partitions: &'a [Vec<NodeId>],
    pick: impl Fn(&'a [NodeId]) -> &'a [NodeId],
) -> (usize, usize) {
    let mut counts: BTreeMap<NodeId, usize> = places.iter().map(|place| (place.node, 0)).collect();
    for node in partitions.iter().flat_map(|replicas| pick(replicas)) {
        *counts.entry(*node).or_default() += 1;
    }
    let all = || counts.values().copied();
    (all().min().expect("there are brokers"), all().max().expect("there are brokers"))
}

fn brokers(racks: &[Option<&'static str>]) -> Vec<Place<'static>> {
    (1..).zip(racks).map(|(node, &rack)| Place { node: NodeId(node), rack }).collect()
}

fn ids(partitions: &[Vec<NodeId>]) -> Vec<Vec<i32>> {
    partitions.iter().map(|replicas| replicas.iter().map(|node| node.0).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_placement_is_even_and_as_far_apart_as_it_can_be(
        racks in prop::collection::vec(0_usize..4, 1..12),
        racks_max in 1_usize..5,
        existing in 0_usize..1000,
        partitions in 1_usize..60,
        factor in 1_usize..6,
    ) {
        let names: Vec<_> = racks.iter().map(|rack| RACKS.get(rack % racks_max).copied()).collect();
        let places = brokers(&names);
        let factor = factor.min(places.len());
        let placed = place(&places, existing, partitions, factor);
        prop_assert_eq!(&placed, &place(&places, existing, partitions, factor), "the same again");
        prop_assert_eq!(placed.len(), partitions);
        let rack_of: BTreeMap<NodeId, _> = places.iter().map(|place| (place.node, place.rack)).collect();
        let all_racks: BTreeSet<_> = names.iter().collect();
        for replicas in &placed {
            prop_assert_eq!(replicas.len(), factor);
            prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), factor, "one replica a broker");
            let racks: BTreeSet<_> = replicas.iter().map(|node| rack_of[node]).collect();
            prop_assert_eq!(racks.len(), factor.min(all_racks.len()), "as many racks as there are");
        }
        let (least, most) = spread(&places, &placed, |replicas| &replicas[..1]);
        prop_assert!(most - least <= 1, "leaders: {} to {}", least, most);
    }

    #[test]
    fn replicas_are_even_where_racks_are(
        per_rack in 1_usize..5,
        racks in 1_usize..5,
        existing in 0_usize..1000,
        partitions in 1_usize..60,
        factor in 1_usize..6,
    ) {
        let names: Vec<_> = (0..per_rack * racks).map(|broker| Some(RACKS[broker % racks])).collect();
        let places = brokers(&names);
        let placed = place(&places, existing, partitions, factor.min(places.len()));
        let (least, most) = spread(&places, &placed, |replicas| replicas);
        prop_assert!(most - least <= 2, "replicas: {} to {}", least, most);
    }

    #[test]
    fn many_topics_of_one_partition_spread_too(
        count in 1_usize..8,
        topics in 1_usize..60,
        factor in 1_usize..4,
    ) {
        let places = brokers(&vec![None; count]);
        let factor = factor.min(count);
        let placed: Vec<_> = (0..topics).flat_map(|existing| place(&places, existing, 1, factor)).collect();
        let (least, most) = spread(&places, &placed, |replicas| &replicas[..1]);
        prop_assert!(most - least <= 1, "leaders: {} to {}", least, most);
        let (least, most) = spread(&places, &placed, |replicas| replicas);
        prop_assert!(most - least <= factor, "replicas: {} to {}", least, most);
    }
}

#[test]
fn three_brokers_share_leaders_and_followers() {
    let placed = place(&brokers(&[None; 3]), 0, 6, 2);
    assert_eq!(ids(&placed), [[1, 2], [2, 3], [3, 1], [1, 3], [2, 1], [3, 2]]);
}

#[test]
fn leaders_alternate_racks() {
    let racks = [Some("a"), Some("a"), Some("b"), Some("b")];
    let placed = place(&brokers(&racks), 0, 4, 2);
    assert_eq!(ids(&placed), [[1, 3], [3, 2], [2, 4], [4, 1]]);
}
