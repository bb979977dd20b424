//! Partitions in scenarios: how many there are, who leads them, and where they are.

use super::say::or_error;
use super::words::Line;
use seedlog_core::wire::alter_partition_reassignments::{
    ReassignablePartition, ReassignablePartitionResponse, ReassignableTopic,
};
use seedlog_core::wire::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use seedlog_core::wire::elect_leaders::{ElectLeadersTopic, ElectionPartitionResult, ReplicaElectionResult};
use seedlog_core::wire::list_partition_reassignments::{
    ListPartitionReassignmentsTopics, OngoingPartitionReassignment,
};
use seedlog_core::wire::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, CreatePartitionsRequest,
    CreatePartitionsResponse, ElectLeadersRequest, ElectLeadersResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, Request, Str,
};

/// How long a client waits for the controller.
const TIMEOUT_MS: i32 = 30_000;

/// `grow orders partitions=4 replicas=1,2/2,3 only-check=yes`; several topics share the options.
pub(super) fn grow(line: &mut Line) -> Result<Request, String> {
    let count = line.take_number("partitions", 0)?;
    let assignments = line.take("replicas").map(|text| assignments(&text)).transpose()?;
    let validate_only = line.take("only-check").is_some();
    let topic = |name: String| CreatePartitionsTopic {
        name: Str::from(name),
        count,
        assignments: assignments.clone(),
    };
    let topics = std::iter::from_fn(|| line.next_plain()).map(topic).collect();
    Ok(CreatePartitionsRequest { topics, timeout_ms: TIMEOUT_MS, validate_only }.into())
}

fn assignments(text: &str) -> Result<Vec<CreatePartitionsAssignment>, String> {
    text.split('/').map(|replicas| Ok(CreatePartitionsAssignment { broker_ids: nodes(replicas)? })).collect()
}

fn nodes(text: &str) -> Result<Vec<i32>, String> {
    text.split(',').filter(|word| !word.is_empty()).map(super::words::number).collect()
}

/// `move orders-0 orders-1 to=3,1 keep-factor=yes`; without a place, moves that are going on are taken back.
pub(super) fn reassign(line: &mut Line) -> Result<Request, String> {
    let replicas = line.take("to").map(|text| nodes(&text)).transpose()?;
    let allow_replication_factor_change = line.take("keep-factor").is_none();
    let topics = line.rest_by_topic()?.into_iter().map(|(name, partitions)| ReassignableTopic {
        name,
        partitions: partitions
            .into_iter()
            .map(|partition_index| ReassignablePartition { partition_index, replicas: replicas.clone() })
            .collect(),
    });
    let topics = topics.collect();
    let timeout_ms = TIMEOUT_MS;
    Ok(AlterPartitionReassignmentsRequest { timeout_ms, allow_replication_factor_change, topics }.into())
}

/// `moving orders-0`; without partitions, all of them.
pub(super) fn list_moving(line: &mut Line) -> Result<Request, String> {
    let named = line.rest_by_topic()?.into_iter();
    let topics =
        named.map(|(name, partition_indexes)| ListPartitionReassignmentsTopics { name, partition_indexes });
    let topics = Some(topics.collect::<Vec<_>>()).filter(|topics| !topics.is_empty());
    Ok(ListPartitionReassignmentsRequest { timeout_ms: TIMEOUT_MS, topics }.into())
}

/// `elect orders-0 orders-1 kind=1`; without partitions, all of them.
pub(super) fn elect(line: &mut Line) -> Result<Request, String> {
    let election_type = line.take_number("kind", 0)?;
    let named = line.rest_by_topic()?.into_iter();
    let topics = named.map(|(topic, partitions)| ElectLeadersTopic { topic, partitions });
    let topic_partitions = Some(topics.collect::<Vec<_>>()).filter(|topics| !topics.is_empty());
    Ok(ElectLeadersRequest { election_type, topic_partitions, timeout_ms: TIMEOUT_MS }.into())
}

pub(super) fn grown(grown: &CreatePartitionsResponse) -> Vec<String> {
    let line = |topic: &CreatePartitionsTopicResult| {
        let said = or_error(topic.error_code, topic.error_message.as_ref(), "has more partitions".to_owned());
        format!("{}: {said}", topic.name)
    };
    grown.results.iter().map(line).collect()
}

pub(super) fn elected(elected: &ElectLeadersResponse) -> Vec<String> {
    let line = |topic: &Str, part: &ElectionPartitionResult| {
        let said = or_error(part.error_code, part.error_message.as_ref(), "elected".to_owned());
        format!("{topic}-{}: {said}", part.partition_id)
    };
    let lines = |topic: &ReplicaElectionResult| {
        topic.partition_result.iter().map(|part| line(&topic.topic, part)).collect::<Vec<_>>()
    };
    let all: Vec<String> = elected.replica_election_results.iter().flat_map(lines).collect();
    if elected.error_code == 0 && !all.is_empty() {
        return all;
    }
    let whole = or_error(elected.error_code, None, "nothing to elect".to_owned());
    std::iter::once(whole).chain(all).collect()
}

pub(super) fn reassigned(moved: &AlterPartitionReassignmentsResponse) -> Vec<String> {
    if moved.error_code != 0 {
        return vec![or_error(moved.error_code, moved.error_message.as_ref(), String::new())];
    }
    let parts =
        moved.responses.iter().flat_map(|topic| topic.partitions.iter().map(move |part| (&topic.name, part)));
    let line = |(topic, part): (&Str, &ReassignablePartitionResponse)| {
        let said = or_error(part.error_code, part.error_message.as_ref(), "reassigned".to_owned());
        format!("{topic}-{}: {said}", part.partition_index)
    };
    parts.map(line).collect()
}

pub(super) fn moving(moving: &ListPartitionReassignmentsResponse) -> Vec<String> {
    if moving.error_code != 0 {
        return vec![or_error(moving.error_code, moving.error_message.as_ref(), String::new())];
    }
    let list = |nodes: &[i32]| match nodes {
        [] => "none".to_owned(),
        nodes => nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    };
    let parts =
        moving.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |part| (&topic.name, part)));
    let line = |(topic, part): (&Str, &OngoingPartitionReassignment)| {
        let (replicas, adding) = (list(&part.replicas), list(&part.adding_replicas));
        let removing = list(&part.removing_replicas);
        format!("{topic}-{}: replicas {replicas}, adding {adding}, removing {removing}", part.partition_index)
    };
    let lines: Vec<String> = parts.map(line).collect();
    if lines.is_empty() { vec!["nothing moves".to_owned()] } else { lines }
}
