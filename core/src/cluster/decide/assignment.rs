//! Where new partitions go: as a client says, checked, or as placement has it.

use crate::cluster::decide::placement::{Place, place};
use crate::cluster::decide::topics::Refusal;
use crate::cluster::image::{BrokerImage, Image};
use crate::cluster::records::{MetadataRecord, PartitionState};
use crate::errors::ErrorCode;
use crate::ids::{NodeId, PartitionIndex, Uuid};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The broker leads and joins ISRs.
pub(super) fn is_active(image: &Image, node: NodeId) -> bool {
    image.brokers().get(&node).is_some_and(BrokerImage::is_active)
}

/// Replicas of `partitions` new partitions of `factor` replicas each, on active brokers, going on in the ring behind
/// `existing` ones.
pub(super) fn place_new(
    image: &Image,
    existing: usize,
    partitions: usize,
    factor: usize,
) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let active = image.brokers().iter().filter(|(_, broker)| broker.is_active());
    let places: Vec<Place<'_>> =
        active.map(|(&node, broker)| Place { node, rack: broker.rack.as_deref() }).collect();
    let refuse = |why: String| Err((ErrorCode::InvalidReplicationFactor, why));
    if places.is_empty() {
        return refuse("All brokers are currently fenced.".to_string());
    }
    if factor > places.len() {
        let (active, all) = (places.len(), image.brokers().len());
        let state = if active == all { "registered" } else { "neither fenced nor in controlled shutdown" };
        return refuse(format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be \
             reached because only {active} broker(s) are {state}."
        ));
    }
    Ok(place(&places, existing, partitions, factor))
}

/// The replicas that a client names for one partition. `factor`: how many there must be.
pub(super) fn check_manual(
    image: &Image,
    index: usize,
    brokers: &[i32],
    factor: Option<usize>,
) -> Result<Vec<NodeId>, Refusal> {
    let invalid = |why: String| Err((ErrorCode::InvalidReplicaAssignment, why));
    let distinct: BTreeSet<i32> = brokers.iter().copied().collect();
    if brokers.is_empty() || distinct.len() != brokers.len() {
        return invalid(format!("The replicas of partition {index} must be distinct, and at least one."));
    }
    if let Some(factor) = factor.filter(|&factor| factor != brokers.len()) {
        let given = brokers.len();
        return invalid(format!(
            "The manual assignment of partition {index} names {given} replica(s), but the others have {factor}."
        ));
    }
    if let Some(unknown) = brokers.iter().find(|&&id| !image.brokers().contains_key(&NodeId(id))) {
        return invalid(format!(
            "The manual partition assignment includes broker {unknown}, but no such broker is registered."
        ));
    }
    if !brokers.iter().any(|&id| is_active(image, NodeId(id))) {
        return invalid(format!(
            "All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled shutdown."
        ));
    }
    Ok(brokers.iter().map(|&id| NodeId(id)).collect())
}

/// Records of new partitions, the first of which has the index `first`. Each has at least one active replica.
pub(super) fn new_partitions(
    image: &Image,
    topic_id: Uuid,
    first: i32,
    assignments: Vec<Vec<NodeId>>,
) -> impl Iterator<Item = MetadataRecord> + '_ {
    (first..).zip(assignments).map(move |(index, replicas)| {
        let isr: Vec<NodeId> = replicas.iter().copied().filter(|&node| is_active(image, node)).collect();
        let leader = *isr.first().expect("an assignment has at least one active replica");
        let state = PartitionState::first(leader, isr);
        MetadataRecord::Partition { topic_id, partition: PartitionIndex(index), replicas, state }
    })
}
