//! What is asked about topics: create, delete, offsets. Each call is tried again after transient errors.

use std::collections::BTreeMap;
use std::time::Duration;

use seedlog_core::wire::create_topics::{CreatableTopic, CreatableTopicConfig, CreatableTopicResult};
use seedlog_core::wire::delete_topics::DeleteTopicState;
use seedlog_core::wire::describe_topic_partitions::TopicRequest;
use seedlog_core::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use seedlog_core::wire::{
    ApiKey, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeClusterResponse,
    DescribeTopicPartitionsRequest, ListOffsetsRequest, Request, Response, Str,
};

use super::cluster::{Cluster, retry};
use super::connection::{Connection, unexpected};
use super::error::{ClientError, Result};

/// Asks ListOffsets for the log's end.
pub const LATEST: i64 = -1;
/// Asks ListOffsets for the log's start.
pub const EARLIEST: i64 = -2;

/// The first version of DescribeCluster that tells of fenced brokers.
const DESCRIBE_FENCED_MIN: i16 = 2;

/// A topic to be created.
#[derive(Debug, Clone)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; the broker's default if absent.
    pub partitions: Option<i32>,
    /// How many replicas; the broker's default if absent.
    pub replication_factor: Option<i16>,
    /// Its configuration.
    pub configs: Vec<(String, String)>,
}

/// Creates a topic and waits until the brokers know it, as far as they say.
pub async fn create_topic(
    cluster: &Cluster,
    topic: &NewTopic,
    patience: Duration,
) -> Result<CreatableTopicResult> {
    let config = |(name, value): &(String, String)| CreatableTopicConfig {
        name: Str::from(name.as_str()),
        value: Some(Str::from(value.as_str())),
    };
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: Str::from(topic.name.as_str()),
            num_partitions: topic.partitions.unwrap_or(-1),
            replication_factor: topic.replication_factor.unwrap_or(-1),
            assignments: Vec::new(),
            configs: topic.configs.iter().map(config).collect(),
        }],
        timeout_ms: millis(patience),
        validate_only: false,
    };
    retry_at_controller(cluster, patience, async |connection: &Connection| {
        let Response::CreateTopics(response) = connection.call(request.clone()).await? else {
            return Err(unexpected(connection.address(), ApiKey::CreateTopics));
        };
        let Some(result) = response.topics.into_iter().find(|result| *result.name == *topic.name) else {
            return Err(left_out(connection.address(), ApiKey::CreateTopics));
        };
        ClientError::check(result.error_code, result.error_message.as_deref(), || {
            format!("topic {}", topic.name)
        })?;
        Ok(result)
    })
    .await
}

/// Asks about the brokers, with those that are fenced where the broker tells of them (KIP-1073).
pub async fn describe_cluster(cluster: &Cluster, patience: Duration) -> Result<DescribeClusterResponse> {
    retry(patience, async || {
        let connection = cluster.any().await?;
        let version = connection.version_of(ApiKey::DescribeCluster, i16::MAX)?;
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: false,
            endpoint_type: 1,
            include_fenced_brokers: version >= DESCRIBE_FENCED_MIN,
        };
        let timeout = cluster.options().request_timeout;
        let response = connection.call_version(Request::from(request), version, timeout).await?;
        let Response::DescribeCluster(response) = response else {
            return Err(unexpected(connection.address(), ApiKey::DescribeCluster));
        };
        ClientError::check(response.error_code, response.error_message.as_deref(), || "cluster".to_owned())?;
        Ok(response)
    })
    .await
}

/// Asks for the eligible leader replicas of a topic's partitions (KIP-966). `None`: the broker does not tell.
pub async fn eligible_replicas(
    cluster: &Cluster,
    topic: &str,
    patience: Duration,
) -> Result<Option<BTreeMap<i32, Vec<i32>>>> {
    retry(patience, async || {
        let connection = cluster.any().await?;
        match connection.version_of(ApiKey::DescribeTopicPartitions, i16::MAX) {
            Err(ClientError::NoCommonVersion { .. }) => return Ok(None),
            other => other?,
        };
        let mut found = BTreeMap::new();
        let mut request = DescribeTopicPartitionsRequest {
            topics: vec![TopicRequest { name: Str::from(topic) }],
            ..DescribeTopicPartitionsRequest::default()
        };
        loop {
            let Response::DescribeTopicPartitions(page) = connection.call(request.clone()).await? else {
                return Err(unexpected(connection.address(), ApiKey::DescribeTopicPartitions));
            };
            for described in page.topics {
                ClientError::check(described.error_code, None, || format!("topic {topic}"))?;
                let partitions = described.partitions.into_iter();
                found.extend(
                    partitions
                        .map(|it| (it.partition_index, it.eligible_leader_replicas.unwrap_or_default())),
                );
            }
            let Some(next) = page.next_cursor else { return Ok(Some(found)) };
            let is_further =
                request.cursor.as_ref().is_none_or(|last| last.partition_index < next.partition_index);
            if !is_further {
                return Err(left_out(connection.address(), ApiKey::DescribeTopicPartitions));
            }
            request.cursor = Some(next);
        }
    })
    .await
}

/// Deletes a topic.
pub async fn delete_topic(cluster: &Cluster, name: &str, patience: Duration) -> Result<()> {
    // UNKNOWN_TOPIC_OR_PARTITION is transient for readers and writers, but here it is the answer.
    let outcome = retry_at_controller(cluster, patience, async |connection: &Connection| {
        let version = connection.version_of(ApiKey::DeleteTopics, i16::MAX)?;
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(Str::from(name)), ..DeleteTopicState::default() }],
            topic_names: vec![Str::from(name)],
            timeout_ms: millis(patience),
        };
        // Each version has one of the two lists.
        let request = match version {
            ..=5 => DeleteTopicsRequest { topics: Vec::new(), ..request },
            6.. => DeleteTopicsRequest { topic_names: Vec::new(), ..request },
        };
        let patience = cluster.options().request_timeout;
        let response = connection.call_version(Request::from(request), version, patience).await?;
        let Response::DeleteTopics(response) = response else {
            return Err(unexpected(connection.address(), ApiKey::DeleteTopics));
        };
        let result = response.responses.into_iter().next();
        let result = result.ok_or_else(|| left_out(connection.address(), ApiKey::DeleteTopics))?;
        if result.error_code != UNKNOWN {
            let message = result.error_message.as_deref();
            ClientError::check(result.error_code, message, || format!("topic {name}"))?;
        }
        Ok(result.error_code)
    })
    .await?;
    cluster.forget_topic(name);
    ClientError::check(outcome, None, || format!("topic {name}"))
}

pub(super) const UNKNOWN: i16 = seedlog_core::errors::ErrorCode::UnknownTopicOrPartition.code();

/// Offsets found by ListOffsets: for each partition the offset, or `None` if no record is that new.
pub type Offsets = BTreeMap<i32, Option<i64>>;

/// Asks the leaders for offsets: by time in milliseconds, or [`EARLIEST`] or [`LATEST`].
pub async fn list_offsets(
    cluster: &Cluster,
    topic: &str,
    partitions: &BTreeMap<i32, i64>,
    patience: Duration,
) -> Result<Offsets> {
    retry(patience, async || {
        let outcome = list_offsets_each(cluster, topic, partitions).await;
        let outcome = outcome.and_then(|each| each.into_iter().map(|(at, found)| Ok((at, found?))).collect());
        if outcome.is_err() {
            cluster.forget_topic(topic);
        }
        outcome
    })
    .await
}

/// The same, asked once, with a refusal for each partition that has no answer.
pub async fn list_offsets_each(
    cluster: &Cluster,
    topic: &str,
    partitions: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, Result<Option<i64>>>> {
    let view = cluster.topic(topic, false).await?;
    let mut by_leader: BTreeMap<i32, Vec<ListOffsetsPartition>> = BTreeMap::new();
    let mut offsets = BTreeMap::new();
    for (&partition, &timestamp) in partitions {
        let leader = match view.partition(partition)?.leader(topic, partition) {
            Ok(leader) => leader,
            Err(error) => {
                offsets.insert(partition, Err(error));
                continue;
            }
        };
        by_leader.entry(leader).or_default().push(ListOffsetsPartition {
            partition_index: partition,
            timestamp,
            ..ListOffsetsPartition::default()
        });
    }
    for (leader, partitions) in by_leader {
        let connection = cluster.broker(leader).await?;
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic { name: Str::from(topic), partitions }],
            timeout_ms: millis(cluster.options().request_timeout),
            ..ListOffsetsRequest::default()
        };
        let Response::ListOffsets(response) = connection.call(request).await? else {
            return Err(unexpected(connection.address(), ApiKey::ListOffsets));
        };
        for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
            let index = answer.partition_index;
            let refusal = ClientError::check(answer.error_code, None, || format!("{topic}-{index}"));
            let found = refusal.map(|()| Some(answer.offset).filter(|&offset| offset >= 0));
            offsets.insert(index, found);
        }
    }
    if partitions.keys().any(|partition| !offsets.contains_key(partition)) {
        return Err(left_out(topic, ApiKey::ListOffsets));
    }
    Ok(offsets)
}

/// Asks the controller, and again after transient errors: it may be another one then.
pub(super) async fn retry_at_controller<T>(
    cluster: &Cluster,
    patience: Duration,
    ask: impl AsyncFn(&Connection) -> Result<T>,
) -> Result<T> {
    retry(patience, async || {
        let outcome = match cluster.controller().await {
            Ok(connection) => ask(&connection).await,
            Err(error) => Err(error),
        };
        if outcome.as_ref().is_err_and(ClientError::is_transient) {
            cluster.forget_controller();
        }
        outcome
    })
    .await
}

pub(super) fn left_out(address: &str, api: ApiKey) -> ClientError {
    let reason = format!("its {} answer leaves out what was asked for", api.name());
    ClientError::Protocol { address: address.to_owned(), reason }
}

fn millis(patience: Duration) -> i32 {
    i32::try_from(patience.as_millis()).unwrap_or(i32::MAX)
}
