//! CreatePartitions (KIP-195): topics get more partitions. Refusals have Kafka's codes and, where clients show them, Kafka's
//! words.

use crate::cluster::decide::Decision;
use crate::cluster::decide::assignment::{check_manual, new_partitions, place_new};
use crate::cluster::decide::room::{Room, partition_bytes};
use crate::cluster::decide::topics::{Refusal, check_size};
use crate::cluster::image::Image;
use crate::cluster::records::MetadataRecord;
use crate::config::Config;
use crate::errors::ErrorCode;
use crate::group::is_internal;
use crate::ids::NodeId;
use crate::wire::create_partitions::{CreatePartitionsTopic, CreatePartitionsTopicResult};
use crate::wire::{CreatePartitionsRequest, CreatePartitionsResponse, Str};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

/// What the partitions of one request may still take.
struct Left {
    /// Of the cluster's limit.
    partitions: usize,
    entry: Room,
}

/// CreatePartitions: each topic gets all of its new partitions or none.
#[must_use]
pub fn decide_create_partitions(
    image: &Image,
    config: &Config,
    request: &CreatePartitionsRequest,
) -> Decision<CreatePartitionsResponse> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    let partitions = config.partitions_max.saturating_sub(image.partitions());
    let mut left = Left { partitions, entry: Room::whole() };
    let mut records = Vec::new();
    let mut results = Vec::new();
    for topic in &request.topics {
        let Some(count) = times.remove(&*topic.name) else {
            continue; // Answered at its first mention.
        };
        let decided = if count > 1 {
            Err((ErrorCode::InvalidRequest, "Duplicate topic name.".to_string()))
        } else {
            decide_one(image, config, topic, &mut left)
        };
        let (code, why) = match decided {
            Ok(decided) => {
                records.extend(decided);
                (ErrorCode::None, None)
            }
            Err((code, why)) => (code, Some(Str::from(why))),
        };
        results.push(CreatePartitionsTopicResult {
            // A name outlives the frame that it came in.
            name: topic.name.detached(),
            error_code: code.code(),
            error_message: why,
        });
    }
    if request.validate_only {
        records.clear();
    }
    Decision { records, response: CreatePartitionsResponse { throttle_time_ms: 0, results } }
}

fn decide_one(
    image: &Image,
    config: &Config,
    wanted: &CreatePartitionsTopic,
    left: &mut Left,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let Some((topic_id, topic)) = image.topic_named(&wanted.name) else {
        let why = "This server does not host this topic-partition.";
        return Err((ErrorCode::UnknownTopicOrPartition, why.to_string()));
    };
    if is_internal(&topic.name) {
        // A group is kept in the partition that its name and their number give: in another one nothing is known of it.
        let why = "Groups would be looked for where they are not kept.";
        return Err((ErrorCode::InvalidTopicException, why.to_string()));
    }
    let (existing, count) = (topic.partitions.len(), wanted.count);
    let invalid = |why| Err((ErrorCode::InvalidPartitions, why));
    let all = match usize::try_from(count) {
        Ok(all) if all > existing => all,
        Ok(all) if all == existing => {
            return invalid(format!("Topic already has {existing} partition(s)."));
        }
        Ok(_) | Err(_) => {
            return invalid(format!(
                "The topic {} currently has {existing} partition(s); {count} would not be an increase.",
                wanted.name
            ));
        }
    };
    check_size(config, all)?;
    let new = all - existing;
    if new > left.partitions {
        let why = format!("This broker holds at most {} partitions.", config.partitions_max);
        return Err((ErrorCode::PolicyViolation, why));
    }
    let factor = topic.partitions.first().map_or(1, |partition| partition.assignment.target().len());
    let assignments = match &wanted.assignments {
        Some(given) if given.len() != new => {
            let why = format!(
                "Attempted to add {new} additional partition(s), but only {} assignment(s) were specified.",
                given.len()
            );
            return Err((ErrorCode::InvalidReplicaAssignment, why));
        }
        Some(given) => (existing..)
            .zip(given)
            .map(|(index, replicas)| check_manual(image, index, &replicas.broker_ids, Some(factor)))
            .collect::<Result<Vec<Vec<NodeId>>, Refusal>>()?,
        None => place_new(image, image.partitions(), new, factor)?,
    };
    left.entry.take(assignments.iter().map(|replicas| partition_bytes(replicas.len())).sum())?;
    left.partitions -= new;
    let first = i32::try_from(existing).expect("a topic's size is checked");
    Ok(new_partitions(image, topic_id, first, assignments).collect())
}
