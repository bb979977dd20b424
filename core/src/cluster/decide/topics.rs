//! Topics are created and deleted (KIP-4, KIP-464, KIP-516). Refusals have Kafka's codes and, where clients show them,
//! Kafka's words.

use crate::cluster::decide::Decision;
use crate::cluster::decide::placement::{Place, place};
use crate::cluster::image::{BrokerImage, Image};
use crate::cluster::records::{MetadataRecord, PartitionState};
use crate::cluster::topic_config::TopicConfig;
use crate::config::Config;
use crate::errors::ErrorCode;
use crate::ids::{NodeId, PartitionIndex, Uuid};
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
const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Replicas that a topic has without being told, in a cluster that has as many brokers.
const REPLICATION_FACTOR: usize = 3;

/// All topics of a request are one entry of the metadata log, which must fit into one message to a peer.
pub(super) const SETTINGS_BYTES_MAX: usize = 1 << 20;

/// What is said of the topics for which there is no room left.
pub(super) const TOO_MUCH: &str = "One request cannot carry so many settings: send several.";

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
    let mut settings_bytes = 0;
    for topic in &request.topics {
        let Some(count) = seen.remove(&*topic.name) else {
            continue; // Answered at its first mention.
        };
        let planned = if count > 1 {
            Err((ErrorCode::InvalidRequest, "Duplicate topic name.".to_string()))
        } else {
            plan_topic(image, config, topic, room, &taken).and_then(|planned| {
                let bytes = settings_bytes + planned.config.bytes();
                if bytes > SETTINGS_BYTES_MAX {
                    return Err((ErrorCode::PolicyViolation, TOO_MUCH.to_string()));
                }
                settings_bytes = bytes;
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
        for (index, replicas) in (0..).zip(self.assignments) {
            let isr: Vec<NodeId> = replicas.iter().copied().filter(|&node| is_active(image, node)).collect();
            let leader = *isr.first().expect("an assignment has at least one active replica");
            let state = PartitionState::first(leader, isr);
            let partition = PartitionIndex(index);
            records.push(MetadataRecord::Partition { topic_id, partition, replicas, state });
        }
    }
}

fn is_active(image: &Image, node: NodeId) -> bool {
    image.brokers().get(&node).is_some_and(BrokerImage::is_active)
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
    let mut by_index: BTreeMap<i32, &[i32]> = BTreeMap::new();
    for assignment in &topic.assignments {
        by_index.insert(assignment.partition_index, &assignment.broker_ids);
    }
    let invalid = |why: String| (ErrorCode::InvalidReplicaAssignment, why);
    if by_index.len() != topic.assignments.len() || !by_index.keys().copied().eq((0..).take(by_index.len())) {
        return Err(invalid(
            "The partitions of a manual assignment must be numbered from 0 without gaps.".to_string(),
        ));
    }
    let factor = by_index.first_key_value().map_or(0, |(_, brokers)| brokers.len());
    let mut assignments = Vec::with_capacity(by_index.len());
    for (index, brokers) in by_index {
        let distinct: BTreeSet<i32> = brokers.iter().copied().collect();
        if brokers.is_empty() || distinct.len() != brokers.len() || brokers.len() != factor {
            return Err(invalid(format!(
                "The replicas of partition {index} must be distinct, at least one, and as many as those of the others."
            )));
        }
        if let Some(unknown) = brokers.iter().find(|&&id| !image.brokers().contains_key(&NodeId(id))) {
            return Err(invalid(format!(
                "The manual assignment of partition {index} names unknown broker {unknown}."
            )));
        }
        if !brokers.iter().any(|&id| is_active(image, NodeId(id))) {
            return Err(invalid(format!(
                "All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled shutdown."
            )));
        }
        assignments.push(brokers.iter().map(|&id| NodeId(id)).collect());
    }
    Ok(assignments)
}

fn automatic_assignments(
    image: &Image,
    config: &Config,
    topic: &CreatableTopic,
) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let partitions = if topic.num_partitions == -1 { config.topic.partitions } else { topic.num_partitions };
    if partitions < 1 {
        return Err((
            ErrorCode::InvalidPartitions,
            "Number of partitions must be larger than 0.".to_string(),
        ));
    }
    if partitions > config.partitions_per_topic_max {
        let why = format!("Number of partitions must be at most {}.", config.partitions_per_topic_max);
        return Err((ErrorCode::InvalidPartitions, why));
    }
    let places: Vec<Place<'_>> = image
        .brokers()
        .iter()
        .filter(|(_, broker)| broker.is_active())
        .map(|(&node, broker)| Place { node, rack: broker.rack.as_deref() })
        .collect();
    let factor = match (topic.replication_factor, config.topic.replication_factor) {
        (-1, None) => i16::try_from(places.len().min(REPLICATION_FACTOR)).expect("3 at most"),
        (-1, Some(factor)) | (factor, _) => factor,
    };
    let refuse = |why: String| Err((ErrorCode::InvalidReplicationFactor, why));
    if places.is_empty() {
        return refuse("All brokers are currently fenced.".to_string());
    }
    let Some(factor) = usize::try_from(factor).ok().filter(|&factor| factor > 0) else {
        return refuse("Replication factor must be larger than 0.".to_string());
    };
    if factor > places.len() {
        let (active, all) = (places.len(), image.brokers().len());
        let state = if active == all { "registered" } else { "neither fenced nor in controlled shutdown" };
        return refuse(format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be \
             reached because only {active} broker(s) are {state}."
        ));
    }
    let partitions = usize::try_from(partitions).expect("checked to be positive");
    Ok(place(&places, image.partitions(), partitions, factor))
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
        return Err("Topic name is invalid: '.' or '..' is not allowed".to_string());
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
