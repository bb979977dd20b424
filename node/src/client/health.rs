//! What is asked to judge a cluster's health, beyond what metadata says: who answers, whether there is a controller, and how
//! many in-sync replicas topics ask for. Nothing here changes anything.

use std::collections::BTreeMap;
use std::time::Duration;

use seedlog_core::cluster::decide::configs::resource;
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::describe_configs::DescribeConfigsResource;
use seedlog_core::wire::describe_quorum::{METADATA_TOPIC, PartitionRequest, TopicRequest};
use seedlog_core::wire::{
    ApiKey, DescribeConfigsRequest, DescribeQuorumRequest, DescribeQuorumResponse, Request, Response, Str,
};

use super::cluster::Cluster;
use super::connection::{Connection, ConnectionOptions, unexpected};
use super::error::{ClientError, Result};

/// Topics in one question about settings.
const TOPICS_A_REQUEST: usize = 500;
/// The setting that says how many in-sync replicas a write with acks=all needs.
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// Connects to a broker and exchanges versions with it, on a connection of its own.
///
/// # Errors
/// It does not answer in time, or not in Kafka's protocol.
pub async fn reach(address: &str, patience: Duration) -> Result<()> {
    let options = ConnectionOptions { connect_timeout: patience, ..ConnectionOptions::default() };
    Connection::open(address, options).await.map(drop)
}

/// When the controller heard of nodes last, in ms since 1970 by its own clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// When it said so.
    pub now_ms: i64,
    /// By node; those that it has not heard of since it became the controller are not here.
    pub last_ms: BTreeMap<i32, i64>,
}

/// Whether there is an active controller: brokers hand a question about the quorum on to it, and nobody else answers that.
/// Gives when it heard of the others last.
///
/// # Errors
/// NOT_CONTROLLER or REQUEST_TIMED_OUT where there is none; otherwise whatever keeps the broker from answering.
pub async fn ask_controller(cluster: &Cluster, patience: Duration) -> Result<Heard> {
    let connection = cluster.any().await?;
    let version = connection.version_of(ApiKey::DescribeQuorum, i16::MAX)?;
    let partitions = vec![PartitionRequest { partition_index: 0 }];
    let topics = vec![TopicRequest { topic_name: Str::from_static(METADATA_TOPIC), partitions }];
    let request = DescribeQuorumRequest { topics };
    let response = connection.call_version(Request::from(request), version, patience).await?;
    let Response::DescribeQuorum(response) = response else {
        return Err(unexpected(connection.address(), ApiKey::DescribeQuorum));
    };
    let message = response.error_message.as_deref();
    // What else it may say, a controller has said.
    let nobody = [ErrorCode::NotController, ErrorCode::RequestTimedOut];
    if nobody.iter().any(|code| code.code() == response.error_code) {
        ClientError::check(response.error_code, message, || "the controller".to_owned())?;
    }
    Ok(Heard::of(&response))
}

impl Heard {
    fn of(response: &DescribeQuorumResponse) -> Self {
        let partition = response.topics.first().and_then(|topic| topic.partitions.first());
        let Some(partition) = partition else { return Self::default() };
        let states = partition.current_voters.iter().chain(&partition.observers);
        let heard = states.filter(|state| state.last_fetch_timestamp > 0);
        let last_ms: BTreeMap<i32, i64> =
            heard.map(|state| (state.replica_id, state.last_fetch_timestamp)).collect();
        // Of itself the controller has heard just now.
        let now_ms = last_ms.get(&partition.leader_id).copied();
        now_ms.map_or_else(Self::default, |now_ms| Self { now_ms, last_ms })
    }
}

/// `min.insync.replicas` of topics, as far as the broker tells.
///
/// # Errors
/// The broker does not answer, or not in its protocol.
pub async fn min_insync_replicas(cluster: &Cluster, topics: &[&str]) -> Result<BTreeMap<String, usize>> {
    let mut found = BTreeMap::new();
    for some in topics.chunks(TOPICS_A_REQUEST) {
        let connection = cluster.any().await?;
        let resources = some.iter().map(|name| DescribeConfigsResource {
            resource_type: resource::TOPIC,
            resource_name: Str::from(*name),
            configuration_keys: Some(vec![Str::from_static(MIN_INSYNC_REPLICAS)]),
        });
        let request = DescribeConfigsRequest { resources: resources.collect(), ..Default::default() };
        let Response::DescribeConfigs(response) = connection.call(request).await? else {
            return Err(unexpected(connection.address(), ApiKey::DescribeConfigs));
        };
        for result in response.results {
            let setting = result.configs.iter().find(|config| config.name == MIN_INSYNC_REPLICAS);
            let value = setting.and_then(|config| config.value.as_ref()?.parse().ok());
            if let Some(value) = value {
                found.insert(result.resource_name.to_string(), value);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::wire::describe_quorum::{PartitionData, ReplicaState, TopicData};

    #[test]
    fn the_controller_tells_whom_it_heard_of_and_when() {
        let state = |replica_id, last_fetch_timestamp| ReplicaState {
            replica_id,
            last_fetch_timestamp,
            ..ReplicaState::default()
        };
        let partition = |leader_id| PartitionData {
            leader_id,
            current_voters: vec![state(1, 5_000), state(2, 3_000), state(3, -1)],
            observers: vec![state(4, 4_000)],
            ..PartitionData::default()
        };
        let answer = |leader_id| DescribeQuorumResponse {
            topics: vec![TopicData { partitions: vec![partition(leader_id)], ..TopicData::default() }],
            ..DescribeQuorumResponse::default()
        };
        let heard = Heard { now_ms: 5_000, last_ms: [(1, 5_000), (2, 3_000), (4, 4_000)].into() };
        assert_eq!(Heard::of(&answer(1)), heard);
        // Kafka's leader tells no time of itself: nobody knows how long ago the others' are.
        assert_eq!(Heard::of(&answer(3)), Heard::default());
    }
}
