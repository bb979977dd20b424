//! Partitions in scenarios: how many there are, and who leads them.

use super::say::or_error;
use super::words::Line;
use seedlog_core::wire::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use seedlog_core::wire::elect_leaders::{ElectLeadersTopic, ElectionPartitionResult, ReplicaElectionResult};
use seedlog_core::wire::{
    CreatePartitionsRequest, CreatePartitionsResponse, ElectLeadersRequest, ElectLeadersResponse, Request,
    Str,
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

/// `elect orders-0 orders-1 kind=1`; without partitions, all of them.
pub(super) fn elect(line: &mut Line) -> Result<Request, String> {
    let election_type = line.take_number("kind", 0)?;
    let mut topics: Vec<ElectLeadersTopic> = Vec::new();
    while let Some((topic, index)) = line.next_partition()? {
        match topics.iter_mut().find(|known| *known.topic == topic) {
            Some(known) => known.partitions.push(index),
            None => topics.push(ElectLeadersTopic { topic: Str::from(topic), partitions: vec![index] }),
        }
    }
    let topic_partitions = Some(topics).filter(|topics| !topics.is_empty());
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
