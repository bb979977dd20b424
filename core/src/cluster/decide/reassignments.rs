//! Partitions move to other brokers (KIP-455): what is asked for, what is taken back, and what is going on. When a move is
//! done is decided with everything else about a partition, in [`super::partitions`]. Refusals have Kafka's codes.

use crate::cluster::assignment::Assignment;
use crate::cluster::decide::Decision;
use crate::cluster::decide::assignment::check_manual;
use crate::cluster::decide::partitions::{Change, Draft, TooFewInSync, change_records, standing};
use crate::cluster::decide::room::{Room, partition_bytes};
use crate::cluster::decide::topics::Refusal;
use crate::cluster::image::{Image, PartitionImage, TopicImage};
use crate::errors::ErrorCode;
use crate::ids::{NodeId, PartitionIndex, TopicPartition, Uuid};
use crate::wire::alter_partition_reassignments::{
    ReassignablePartition, ReassignablePartitionResponse, ReassignableTopic, ReassignableTopicResponse,
};
use crate::wire::list_partition_reassignments::{OngoingPartitionReassignment, OngoingTopicReassignment};
use crate::wire::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, Str,
};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

/// Most partitions that move at a time: all of them are in one answer to who asks.
const MOVING_MAX: usize = 20_000;

/// AlterPartitionReassignments: each partition begins to move, or moves back, or is refused on its own.
#[must_use]
pub fn decide_alter_partition_reassignments(
    image: &Image,
    request: &AlterPartitionReassignmentsRequest,
) -> Decision<AlterPartitionReassignmentsResponse> {
    let moving = image.all_partitions().filter(|(_, partition)| partition.assignment.is_moving()).count();
    let mut moves = Moves {
        image,
        allow_factor_change: request.allow_replication_factor_change,
        room: Room::whole(),
        left: MOVING_MAX.saturating_sub(moving),
        changes: BTreeMap::new(),
    };
    let responses = request.topics.iter().map(|topic| moves.topic(topic)).collect();
    let response = AlterPartitionReassignmentsResponse {
        throttle_time_ms: 0,
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_code: ErrorCode::None.code(),
        error_message: None,
        responses,
    };
    Decision { records: change_records(moves.changes), response }
}

/// The moves of one request.
struct Moves<'a> {
    image: &'a Image,
    allow_factor_change: bool,
    room: Room,
    /// Partitions that may still begin to move.
    left: usize,
    changes: BTreeMap<TopicPartition, Change>,
}

impl Moves<'_> {
    fn topic(&mut self, asked: &ReassignableTopic) -> ReassignableTopicResponse {
        let partitions = asked.partitions.iter().map(|partition| {
            let (code, why) = match self.partition(&asked.name, partition) {
                Ok(()) => (ErrorCode::None, None),
                Err((code, why)) => (code, Some(Str::from(why))),
            };
            ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code: code.code(),
                error_message: why,
            }
        });
        let partitions = partitions.collect();
        // A name outlives the frame that it came in.
        ReassignableTopicResponse { name: asked.name.detached(), partitions }
    }

    fn partition(&mut self, topic: &str, asked: &ReassignablePartition) -> Result<(), Refusal> {
        let index = asked.partition_index;
        let unknown = |why| (ErrorCode::UnknownTopicOrPartition, why);
        let (topic_id, image) = self
            .image
            .topic_named(topic)
            .ok_or_else(|| unknown(format!("Unable to find a topic named {topic}.")))?;
        let name = TopicPartition { topic_id, partition: PartitionIndex(index) };
        let held = self
            .image
            .partition(name)
            .ok_or_else(|| unknown(format!("Unable to find partition {topic}:{index}.")))?;
        if self.changes.contains_key(&name) {
            let why = format!("Partition {topic}:{index} is named more than once.");
            return Err((ErrorCode::InvalidRequest, why));
        }
        let assignment = match &asked.replicas {
            Some(replicas) => self.moved(image, held, index, replicas)?,
            None => taken_back(held)?,
        };
        let begins = assignment.is_moving() && !held.assignment.is_moving();
        if begins && self.left == 0 {
            let why = format!("At most {MOVING_MAX} partitions move at a time: wait for others.");
            return Err((ErrorCode::PolicyViolation, why));
        }
        if assignment != held.assignment {
            let mut draft = Draft::new(image, held);
            let replicas = assignment.replicas().len();
            draft.reassign(assignment).map_err(|few| too_few(few, index))?;
            draft.settle(|node| standing(self.image, node));
            // In the worst case there are as many that come and as many that go.
            self.room.take(partition_bytes(3 * replicas))?;
            self.changes.insert(name, draft.renumbered());
            self.left -= usize::from(begins);
        }
        Ok(())
    }

    /// Where a partition is to be, as a client says.
    fn moved(
        &self,
        topic: &TopicImage,
        held: &PartitionImage,
        index: i32,
        replicas: &[i32],
    ) -> Result<Assignment, Refusal> {
        let number = usize::try_from(index).unwrap_or_default();
        let target = check_manual(self.image, number, replicas, None)?;
        let (before, after) = (held.assignment.origin().len(), target.len());
        if !self.allow_factor_change && before != after {
            let why = format!("The replication factor is changed from {before} to {after}");
            return Err((ErrorCode::InvalidReplicationFactor, why));
        }
        let least = usize::try_from(topic.min_insync_replicas).unwrap_or_default();
        if after < before && after < least {
            let why = format!(
                "Partition {index} would have {after} replica(s), but its topic's min.insync.replicas is {least}: lower \
                 that first."
            );
            return Err((ErrorCode::InvalidReplicationFactor, why));
        }
        Ok(held.assignment.moving_to(&target))
    }
}

/// Where a partition was before it began to move.
fn taken_back(held: &PartitionImage) -> Result<Assignment, Refusal> {
    if held.assignment.is_moving() {
        return Ok(Assignment::settled(held.assignment.origin()));
    }
    let why = "No partition reassignment is in progress.";
    Err((ErrorCode::NoReassignmentInProgress, why.to_string()))
}

fn too_few(TooFewInSync { others, min_insync }: TooFewInSync, index: i32) -> Refusal {
    let why = format!(
        "Replicas of partition {index} that would be dropped are counted on: of those that stay, {others} are in sync, and \
         min.insync.replicas is {min_insync}. Wait until more are."
    );
    (ErrorCode::InvalidReplicaAssignment, why)
}

/// ListPartitionReassignments: what moves, of all partitions or of those that are named. Others are not mentioned.
#[must_use]
pub fn list_partition_reassignments(
    image: &Image,
    request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let topics = match &request.topics {
        Some(topics) => {
            let mut wanted: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
            for topic in topics {
                wanted.entry(&topic.name).or_default().extend(&topic.partition_indexes);
            }
            let known = wanted.into_iter().filter_map(|(name, mut indexes)| {
                indexes.sort_unstable();
                indexes.dedup();
                ongoing(image, name, image.topic_named(name)?.0, indexes.into_iter())
            });
            known.collect()
        }
        None => {
            let all = image.names().iter().filter_map(|(name, &topic_id)| {
                let partitions = image.topic(topic_id)?.partitions.len();
                ongoing(image, name, topic_id, (0..).take(partitions))
            });
            all.collect()
        }
    };
    ListPartitionReassignmentsResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::None.code(),
        error_message: None,
        topics,
    }
}

fn ongoing(
    image: &Image,
    name: &str,
    topic_id: Uuid,
    indexes: impl Iterator<Item = i32>,
) -> Option<OngoingTopicReassignment> {
    let moving = indexes.filter_map(|index| {
        let partition = TopicPartition { topic_id, partition: PartitionIndex(index) };
        let assignment = &image.partition(partition)?.assignment;
        assignment.is_moving().then(|| OngoingPartitionReassignment {
            partition_index: index,
            replicas: NodeId::numbers(assignment.replicas()),
            adding_replicas: NodeId::numbers(assignment.adding()),
            removing_replicas: NodeId::numbers(assignment.removing()),
        })
    });
    let partitions: Vec<OngoingPartitionReassignment> = moving.collect();
    (!partitions.is_empty()).then(|| OngoingTopicReassignment { name: name.into(), partitions })
}
