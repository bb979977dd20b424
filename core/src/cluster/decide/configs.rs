//! Settings of topics and groups are changed (KIP-133, KIP-339, KIP-848). Refusals have Kafka's codes and, where clients show them, Kafka's words.
//!
//! A resource is changed as a whole or not at all, whatever becomes of the others in the request. Brokers' settings are read
//! when they start and not changed from here.

use crate::cluster::decide::Decision;
use crate::cluster::decide::partitions::{Draft, standing};
use crate::cluster::decide::room::{PARTITION_BYTES, Room, partition_bytes};
use crate::cluster::decide::topics::{Refusal, check_topic_name, min_insync_in_force};
use crate::cluster::group_config::GroupConfig;
use crate::cluster::image::{Image, TopicImage};
use crate::cluster::records::MetadataRecord;
use crate::cluster::topic_config::{TopicConfig, edit_list, topic_key};
use crate::config::Config;
use crate::errors::ErrorCode;
use crate::ids::{PartitionIndex, TopicPartition, Uuid};
use crate::wire::alter_configs::AlterConfigsResourceResponse;
use crate::wire::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, Str,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What has settings, by Kafka's numbers.
pub mod resource {
    /// A topic.
    pub const TOPIC: i8 = 2;
    /// A broker; with an empty name all of them.
    pub const BROKER: i8 = 4;
    /// A broker's loggers.
    pub const BROKER_LOGGER: i8 = 8;
    /// A subscription to clients' metrics.
    pub const CLIENT_METRICS: i8 = 16;
    /// A group.
    pub const GROUP: i8 = 32;
    /// All of them.
    pub const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
}

/// What is to be done to one setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    const SET: i8 = 0;

    fn of(code: i8) -> Option<Self> {
        Some(match code {
            Self::SET => Self::Set,
            1 => Self::Delete,
            2 => Self::Append,
            3 => Self::Subtract,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        }
    }
}

/// One change, as it was asked for.
struct Change<'a> {
    name: &'a str,
    /// By Kafka's number.
    operation: i8,
    value: Option<&'a str>,
}

/// All changes of one resource.
struct Wanted<'a> {
    kind: i8,
    name: &'a Str,
    changes: Vec<Change<'a>>,
    /// Settings that are not named are deleted.
    replaces: bool,
}

/// IncrementalAlterConfigs: what is not named stays.
#[must_use]
pub fn decide_incremental_alter_configs(
    image: &Image,
    config: &Config,
    request: &IncrementalAlterConfigsRequest,
) -> Decision<IncrementalAlterConfigsResponse> {
    let wanted = request.resources.iter().map(|resource| {
        let changes = resource.configs.iter().map(|it| Change {
            name: &it.name,
            operation: it.config_operation,
            value: it.value.as_deref(),
        });
        Wanted {
            kind: resource.resource_type,
            name: &resource.resource_name,
            changes: changes.collect(),
            replaces: false,
        }
    });
    let decision = decide_all(image, config, wanted.collect(), request.validate_only);
    let response = IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses: decision.response };
    Decision { records: decision.records, response }
}

/// AlterConfigs: what is not named is deleted.
#[must_use]
pub fn decide_alter_configs(
    image: &Image,
    config: &Config,
    request: &AlterConfigsRequest,
) -> Decision<AlterConfigsResponse> {
    let wanted = request.resources.iter().map(|resource| {
        let set = resource.configs.iter().map(|it| Change {
            name: &it.name,
            operation: Operation::SET,
            value: it.value.as_deref(),
        });
        Wanted {
            kind: resource.resource_type,
            name: &resource.resource_name,
            changes: set.collect(),
            replaces: true,
        }
    });
    let decision = decide_all(image, config, wanted.collect(), request.validate_only);
    let response = AlterConfigsResponse { throttle_time_ms: 0, responses: decision.response };
    Decision { records: decision.records, response }
}

fn decide_all(
    image: &Image,
    config: &Config,
    wanted: Vec<Wanted<'_>>,
    validate_only: bool,
) -> Decision<Vec<AlterConfigsResourceResponse>> {
    let mut times: BTreeMap<(i8, &str), usize> = BTreeMap::new();
    for one in &wanted {
        *times.entry((one.kind, &**one.name)).or_default() += 1;
    }
    let mut records = Vec::new();
    let mut room = Room::whole();
    if wanted.iter().any(|one| one.kind == resource::GROUP) {
        room.has_groups(image.group_configs(), config.group_configs_bytes_max);
    }
    let mut answers = Vec::with_capacity(wanted.len());
    for one in &wanted {
        let is_once = times.get(&(one.kind, &**one.name)) == Some(&1);
        let decided = if is_once {
            decide_one(image, config, one, &mut room)
        } else {
            Err((ErrorCode::InvalidRequest, "Each resource must appear at most once.".to_string()))
        };
        let (code, why) = match decided {
            Ok(decided) => {
                records.extend(decided);
                (ErrorCode::None, None)
            }
            Err((code, why)) => (code, Some(why.into())),
        };
        answers.push(AlterConfigsResourceResponse {
            error_code: code.code(),
            error_message: why,
            resource_type: one.kind,
            // A name outlives the frame that it came in.
            resource_name: one.name.detached(),
        });
    }
    if validate_only {
        records.clear();
    }
    Decision { records, response: answers }
}

fn decide_one(
    image: &Image,
    config: &Config,
    wanted: &Wanted<'_>,
    room: &mut Room,
) -> Result<Vec<MetadataRecord>, Refusal> {
    check_form(wanted)?;
    match wanted.kind {
        resource::TOPIC => decide_topic(image, config, wanted, room),
        resource::BROKER => refuse_broker(image, wanted).map(|()| Vec::new()),
        resource::BROKER_LOGGER if !wanted.replaces => {
            Err(invalid("The log level of this release is set when a node starts (--log-level)."))
        }
        resource::CLIENT_METRICS => Err(invalid("This release takes no metrics from clients.")),
        resource::GROUP => decide_group(image, config, wanted, room),
        other => Err(invalid(&format!("Unknown resource type {other}"))),
    }
}

fn invalid(why: &str) -> Refusal {
    (ErrorCode::InvalidRequest, why.to_string())
}

/// What is wrong with a request whatever the resource.
fn check_form(wanted: &Wanted<'_>) -> Result<(), Refusal> {
    let names: BTreeSet<&str> = wanted.changes.iter().map(|change| change.name).collect();
    if names.len() != wanted.changes.len() {
        return Err(invalid("Error due to duplicate config keys"));
    }
    let needs_value = |change: &&Change<'_>| {
        change.value.is_none() && Operation::of(change.operation) != Some(Operation::Delete)
    };
    let nulls: Vec<&str> = wanted.changes.iter().filter(needs_value).map(|change| change.name).collect();
    if !nulls.is_empty() {
        return Err(invalid(&format!("Null value not supported for : {}", nulls.join(", "))));
    }
    match wanted.changes.iter().find(|change| Operation::of(change.operation).is_none()) {
        Some(change) => Err(invalid(&format!("Unknown operations type {}", change.operation))),
        None => Ok(()),
    }
}

/// Brokers' settings are not dynamic here: none is advertised as such.
fn refuse_broker(image: &Image, wanted: &Wanted<'_>) -> Result<(), Refusal> {
    if !wanted.name.is_empty() {
        let Ok(id) = wanted.name.parse::<i32>() else {
            return Err(invalid(&format!("Node id must be an integer, but it is: {}", wanted.name)));
        };
        if !image.brokers().contains_key(&crate::ids::NodeId(id)) {
            let why = format!("No node with id {id} found.");
            return Err((ErrorCode::BrokerIdNotRegistered, why));
        }
    }
    // Nothing is set, so whatever is deleted is gone: tools clear the throttles of a reassignment that way.
    if wanted.changes.iter().all(|change| Operation::of(change.operation) == Some(Operation::Delete)) {
        return Ok(());
    }
    let names: Vec<&str> = wanted.changes.iter().map(|change| change.name).collect();
    Err(invalid(&format!(
        "Cannot update these configs dynamically: [{}]. A broker reads its settings when it starts: change its properties \
         and restart it.",
        names.join(", ")
    )))
}

fn decide_topic(
    image: &Image,
    config: &Config,
    wanted: &Wanted<'_>,
    room: &mut Room,
) -> Result<Vec<MetadataRecord>, Refusal> {
    if wanted.name.is_empty() {
        return Err(invalid("Default topic resources are not allowed."));
    }
    check_topic_name(wanted.name).map_err(|why| (ErrorCode::InvalidTopicException, why))?;
    let found = image.topic_named(wanted.name);
    let held = found.map(|(_, topic)| topic.config.own().clone()).unwrap_or_default();
    let is_list = |name: &str| topic_key(name).filter(|key| key.is_list()).map(|key| key.default);
    let own = changed(wanted, held, is_list)?;
    let own = TopicConfig::new(&own).map_err(|why| (ErrorCode::InvalidConfig, why))?;
    let Some((topic_id, topic)) = found else {
        let why = format!("The topic '{}' does not exist.", wanted.name);
        return Err((ErrorCode::UnknownTopicOrPartition, why));
    };
    let replicas =
        topic.partitions.iter().map(|partition| partition.assignment.target().len()).min().unwrap_or(0);
    let min_insync_replicas = min_insync_in_force(&own, config, replicas)?;
    if own == topic.config && min_insync_replicas == topic.min_insync_replicas {
        return Ok(Vec::new());
    }
    let changes_min_insync = min_insync_replicas != topic.min_insync_replicas;
    let changed = if changes_min_insync { &topic.partitions[..] } else { &[] };
    let of_each = changed.iter().map(|partition| partition_bytes(partition.replicas().len()));
    room.take_settings(&own, PARTITION_BYTES + of_each.sum::<usize>())?;
    let mut records = alloc::vec![MetadataRecord::TopicConfig { topic_id, config: own, min_insync_replicas }];
    if changes_min_insync {
        records.extend(new_min_insync(image, topic_id, topic, min_insync_replicas));
    }
    Ok(records)
}

/// A group's settings may be there before the group is, and stay when it goes: nobody asks the coordinator.
fn decide_group(
    image: &Image,
    config: &Config,
    wanted: &Wanted<'_>,
    room: &mut Room,
) -> Result<Vec<MetadataRecord>, Refusal> {
    if wanted.name.is_empty() {
        return Err(invalid("Default group resources are not allowed."));
    }
    let held = image.group_config(wanted.name);
    let own = changed(wanted, held.map(|held| held.own().clone()).unwrap_or_default(), |_| None)?;
    let own =
        GroupConfig::new(&own, &config.groups.consumer).map_err(|why| (ErrorCode::InvalidConfig, why))?;
    if held.is_some_and(|held| *held == own) || (held.is_none() && own.is_empty()) {
        return Ok(Vec::new());
    }
    room.take_group(wanted.name, held, &own)?;
    Ok(alloc::vec![MetadataRecord::GroupConfig { group: wanted.name.to_string(), config: own }])
}

/// The own settings after the changes. `default_of_list` is the default of a setting that is a list.
fn changed(
    wanted: &Wanted<'_>,
    held: BTreeMap<String, String>,
    default_of_list: impl Fn(&str) -> Option<&'static str>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut own = if wanted.replaces { BTreeMap::new() } else { held };
    for change in &wanted.changes {
        let value = change.value.unwrap_or_default();
        match Operation::of(change.operation) {
            Some(Operation::Set) => {
                own.insert(change.name.to_string(), value.to_string());
            }
            Some(Operation::Delete) => {
                own.remove(change.name);
            }
            Some(operation @ (Operation::Append | Operation::Subtract)) => {
                let Some(default) = default_of_list(change.name) else {
                    let (operation, key) = (operation.name(), change.name);
                    let why = format!("Can't {operation} to key {key} because its type is not LIST.");
                    return Err((ErrorCode::InvalidConfig, why));
                };
                let list = own.get(change.name).map_or(default, String::as_str);
                let edited = edit_list(list, value, operation == Operation::Append);
                own.insert(change.name.to_string(), edited);
            }
            None => unreachable!("the form was checked"),
        }
    }
    Ok(own)
}

/// SAFETY R3: an ELR that the new value does not keep safe is cleared in the same entry, and every partition gets a new
/// partition epoch, from which on its leader goes by the new value. A reassignment that waited for the value is done.
fn new_min_insync<'a>(
    image: &'a Image,
    topic_id: Uuid,
    topic: &'a TopicImage,
    min_insync_replicas: i32,
) -> impl Iterator<Item = MetadataRecord> + 'a {
    assert!(min_insync_replicas != topic.min_insync_replicas, "only a change has consequences");
    (0..).zip(&topic.partitions).map(move |(index, partition)| {
        let mut draft = Draft::new(topic, partition);
        draft.on_min_insync_changed(min_insync_replicas);
        draft.settle(|node| standing(image, node));
        draft.renumbered().record(TopicPartition { topic_id, partition: PartitionIndex(index) })
    })
}
