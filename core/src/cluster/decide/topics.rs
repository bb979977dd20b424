//! Topics are created and deleted (KIP-4, KIP-464, KIP-516). Refusals have Kafka's codes and, where clients show them,
//! Kafka's words.

use crate::cluster::decide::Decision;
use crate::cluster::decide::assignment::{check_manual, new_partitions, place_new};
use crate::cluster::decide::room::{PARTITION_BYTES, Room, partition_bytes};
use crate::cluster::image::Image;
use crate::cluster::records::MetadataRecord;
use crate::cluster::topic_config::TopicConfig;
use crate::config::Config;
use crate::errors::ErrorCode;
use crate::ids::{NodeId, Uuid};
use crate::wire::create_topics::{CreatableTopic, CreatableTopicConfigs, CreatableTopicResult};
use crate::wire::delete_topics::{DeletableTopicResult, DeleteTopicState};
use crate::wire::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, Str,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Kafka's limit on a topic's name.
pub(crate) const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Replicas that a topic has without being told, in a cluster that has as many brokers.
pub(crate) const REPLICATION_FACTOR: usize = 3;

/// A refusal: Kafka's code and a sentence.
pub(super) type Refusal = (ErrorCode, String);

/// CreateTopics. `draw_id` gives a topic id that was never used.
pub fn decide_create_topics(
    image: &Image,
    config: &Config,
    request: &CreateTopicsRequest,
    mut draw_id: impl FnMut() -> Uuid,
) -> Decision<CreateTopicsResponse> {
    let mut records = Vec::new();
    let mut results = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *seen.entry(&topic.name).or_default() += 1;
    }
    let mut room = config.partitions_max.saturating_sub(image.partitions());
    let mut taken = BTreeSet::new();
    let mut entry = Room::whole();
    for topic in &request.topics {
        let Some(count) = seen.remove(&*topic.name) else {
            continue; // Answered at its first mention.
        };
        let planned = if count > 1 {
            Err((ErrorCode::InvalidRequest, "Duplicate topic name.".to_string()))
        } else {
            plan_topic(image, config, topic, room, &taken).and_then(|planned| {
                let partitions = planned.assignments.iter().map(|it| partition_bytes(it.len()));
                entry.take_settings(&planned.config, PARTITION_BYTES + partitions.sum::<usize>())?;
                Ok(planned)
            })
        };
        results.push(match planned {
            Ok(planned) => {
                let topic_id = if request.validate_only { Uuid::ZERO } else { draw_id() };
                room -= planned.assignments.len();
                if let Some(normal) = normalized(&topic.name) {
                    taken.insert(normal);
                }
                let result = created(topic, topic_id, &planned, config);
                if !request.validate_only {
                    planned.push_records(image, topic, topic_id, &mut records);
                }
                result
            }
            Err((code, message)) => CreatableTopicResult {
                name: topic.name.clone(),
                error_code: code.code(),
                error_message: Some(message.into()),
                ..CreatableTopicResult::default()
            },
        });
    }
    Decision { records, response: CreateTopicsResponse { throttle_time_ms: 0, topics: results } }
}

/// A topic about to be created.
struct PlannedTopic {
    config: TopicConfig,
    min_insync_replicas: i32,
    /// Replicas by partition, the preferred leader first.
    assignments: Vec<Vec<NodeId>>,
}

impl PlannedTopic {
    fn push_records(
        self,
        image: &Image,
        topic: &CreatableTopic,
        topic_id: Uuid,
        records: &mut Vec<MetadataRecord>,
    ) {
        records.push(MetadataRecord::Topic {
            topic_id,
            name: topic.name.to_string(),
            config: self.config,
            min_insync_replicas: self.min_insync_replicas,
        });
        records.extend(new_partitions(image, topic_id, 0, self.assignments));
    }
}

fn plan_topic(
    image: &Image,
    config: &Config,
    topic: &CreatableTopic,
    room: usize,
    taken: &BTreeSet<String>,
) -> Result<PlannedTopic, Refusal> {
    check_topic_name(&topic.name).map_err(|why| (ErrorCode::InvalidTopicException, why))?;
    if image.topic_named(&topic.name).is_some() {
        return Err((ErrorCode::TopicAlreadyExists, format!("Topic '{}' already exists.", topic.name)));
    }
    if let Some(normal) = normalized(&topic.name)
        && let Some(other) = image.colliding(&normal).or_else(|| taken.get(&normal).map(String::as_str))
    {
        let why = format!("Topic '{}' collides with existing topic: {other}", topic.name);
        return Err((ErrorCode::InvalidTopicException, why));
    }
    let own = own_settings(topic).map_err(|why| (ErrorCode::InvalidConfig, why))?;
    let assignments = plan_assignments(image, config, topic)?;
    if assignments.len() > room {
        let why = format!("This broker holds at most {} partitions.", config.partitions_max);
        return Err((ErrorCode::PolicyViolation, why));
    }
    let replicas = assignments.first().map_or(0, Vec::len);
    let min_insync_replicas = min_insync_in_force(&own, config, replicas)?;
    Ok(PlannedTopic { config: own, min_insync_replicas, assignments })
}

fn own_settings(topic: &CreatableTopic) -> Result<TopicConfig, String> {
    let nulls: Vec<&str> = topic
        .configs
        .iter()
        .filter(|setting| setting.value.is_none())
        .map(|setting| &*setting.name)
        .collect();
    if !nulls.is_empty() {
        return Err(format!("Null value not supported for topic configs: {}", nulls.join(",")));
    }
    let given = topic.configs.iter();
    let given = given
        .map(|setting| (setting.name.to_string(), setting.value.as_deref().unwrap_or_default().to_string()));
    TopicConfig::new(&given.collect())
}

/// `min.insync.replicas` of a topic with these settings; never more than it has replicas.
pub(super) fn min_insync_in_force(
    own: &TopicConfig,
    config: &Config,
    replicas: usize,
) -> Result<i32, Refusal> {
    let min_insync_replicas = own.min_insync_replicas(&config.topic, replicas);
    if usize::try_from(min_insync_replicas).is_ok_and(|min_insync| min_insync > replicas) {
        let why = format!(
            "min.insync.replicas={min_insync_replicas} cannot be met by a replication factor of {replicas}: no write with acks=all would succeed"
        );
        return Err((ErrorCode::InvalidConfig, why));
    }
    Ok(min_insync_replicas)
}

/// Replicas by partition: as the request says, or as placement has it.
fn plan_assignments(
    image: &Image,
    config: &Config,
    topic: &CreatableTopic,
) -> Result<Vec<Vec<NodeId>>, Refusal> {
    if topic.assignments.is_empty() {
        return automatic_assignments(image, config, topic);
    }
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        let why = "Both an assignment and a number of partitions or a replication factor were given.";
        return Err((ErrorCode::InvalidRequest, why.to_string()));
    }
    let by_index: BTreeMap<i32, &[i32]> =
        topic.assignments.iter().map(|it| (it.partition_index, &it.broker_ids[..])).collect();
    if by_index.len() != topic.assignments.len() || !by_index.keys().copied().eq((0..).take(by_index.len())) {
        let why = "The partitions of a manual assignment must be numbered from 0 without gaps.";
        return Err((ErrorCode::InvalidReplicaAssignment, why.to_string()));
    }
    check_size(config, by_index.len())?;
    let factor = by_index.first_key_value().map_or(0, |(_, brokers)| brokers.len());
    (0..)
        .zip(by_index.values())
        .map(|(index, brokers)| check_manual(image, index, brokers, Some(factor)))
        .collect()
}

fn automatic_assignments(
    image: &Image,
    config: &Config,
    topic: &CreatableTopic,
) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let partitions = if topic.num_partitions == -1 { config.topic.partitions } else { topic.num_partitions };
    let Some(partitions) = usize::try_from(partitions).ok().filter(|&partitions| partitions > 0) else {
        let why = "Number of partitions must be larger than 0.";
        return Err((ErrorCode::InvalidPartitions, why.to_string()));
    };
    check_size(config, partitions)?;
    let active = image.brokers().values().filter(|broker| broker.is_active()).count();
    let factor = match (topic.replication_factor, config.topic.replication_factor) {
        (-1, None) => Some(active.clamp(1, REPLICATION_FACTOR)),
        (-1, Some(factor)) | (factor, _) => usize::try_from(factor).ok().filter(|&factor| factor > 0),
    };
    let Some(factor) = factor else {
        let why = "Replication factor must be larger than 0.";
        return Err((ErrorCode::InvalidReplicationFactor, why.to_string()));
    };
    place_new(image, image.partitions(), partitions, factor)
}

/// A topic has no more than so many partitions.
pub(super) fn check_size(config: &Config, partitions: usize) -> Result<(), Refusal> {
    let max = config.partitions_per_topic_max;
    if usize::try_from(max).is_ok_and(|max| partitions <= max) {
        Ok(())
    } else {
        Err((ErrorCode::InvalidPartitions, format!("Number of partitions must be at most {max}.")))
    }
}

fn created(
    topic: &CreatableTopic,
    topic_id: Uuid,
    planned: &PlannedTopic,
    config: &Config,
) -> CreatableTopicResult {
    let settings = planned.config.describe(config, planned.min_insync_replicas);
    let settings = settings.map(|setting| CreatableTopicConfigs {
        name: Str::from_static(setting.key.name),
        value: Some(setting.value.into()),
        read_only: false,
        config_source: setting.source.code(),
        is_sensitive: false,
    });
    CreatableTopicResult {
        name: topic.name.clone(),
        topic_id,
        error_code: ErrorCode::None.code(),
        error_message: None,
        topic_config_error_code: ErrorCode::None.code(),
        num_partitions: i32::try_from(planned.assignments.len()).unwrap_or(i32::MAX),
        replication_factor: planned
            .assignments
            .first()
            .map_or(-1, |replicas| i16::try_from(replicas.len()).unwrap_or(i16::MAX)),
        configs: Some(settings.collect()),
    }
}

/// DeleteTopics: by name up to version 5, by name or id from version 6.
#[must_use]
pub fn decide_delete_topics(image: &Image, request: &DeleteTopicsRequest) -> Decision<DeleteTopicsResponse> {
    let by_name = request
        .topic_names
        .iter()
        .map(|name| DeleteTopicState { name: Some(name.clone()), topic_id: Uuid::ZERO });
    let mut records = Vec::new();
    let mut removed = BTreeSet::new();
    let mut responses = Vec::new();
    for wanted in by_name.chain(request.topics.iter().cloned()) {
        let mut result =
            DeletableTopicResult { name: wanted.name.clone(), ..DeletableTopicResult::default() };
        match find_topic(image, &wanted) {
            Ok((topic_id, name)) if removed.insert(topic_id) => {
                records.push(MetadataRecord::RemoveTopic { topic_id });
                result.topic_id = topic_id;
                result.name = Some(name.into());
            }
            Ok(_) => continue, // Named twice: answered once.
            Err((code, message)) => {
                result.topic_id = wanted.topic_id;
                result.error_code = code.code();
                result.error_message = Some(message.into());
            }
        }
        responses.push(result);
    }
    Decision { records, response: DeleteTopicsResponse { throttle_time_ms: 0, responses } }
}

fn find_topic<'a>(image: &'a Image, wanted: &DeleteTopicState) -> Result<(Uuid, &'a str), Refusal> {
    match (&wanted.name, wanted.topic_id) {
        (Some(name), Uuid::ZERO) => {
            let found = image.topic_named(name).map(|(topic_id, topic)| (topic_id, topic.name.as_str()));
            found.ok_or_else(|| {
                (
                    ErrorCode::UnknownTopicOrPartition,
                    "This server does not host this topic-partition.".to_string(),
                )
            })
        }
        (Some(_), _) => {
            Err((ErrorCode::InvalidRequest, "Topic name and topic id can not both be given.".to_string()))
        }
        (None, Uuid::ZERO) => {
            Err((ErrorCode::InvalidRequest, "Neither topic name nor id were given.".to_string()))
        }
        (None, topic_id) => {
            let found = image.topic(topic_id).map(|topic| (topic_id, topic.name.as_str()));
            found.ok_or_else(|| {
                (ErrorCode::UnknownTopicId, "This server does not host this topic ID.".to_string())
            })
        }
    }
}

/// Kafka's rules for topic names.
pub(crate) fn check_topic_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Topic name is invalid: the empty string is not allowed".to_string());
    }
    if name == "." || name == ".." {
        return Err(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length {TOPIC_NAME_BYTES_MAX}"
        ));
    }
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        Ok(())
    } else {
        Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ))
    }
}

/// Topics whose names differ only in `.` and `_` collide, because metric names cannot tell them apart. `None` for a name
/// without either.
#[must_use]
pub(crate) fn normalized(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
