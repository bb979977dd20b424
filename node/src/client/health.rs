//! What is asked to judge a cluster's health, beyond what metadata says: who answers, whether there is a controller, and how
//! many in-sync replicas topics ask for. Nothing here changes anything.

use std::collections::BTreeMap;
use std::time::Duration;

use seedlog_core::cluster::decide::configs::resource;
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::describe_configs::DescribeConfigsResource;
use seedlog_core::wire::describe_quorum::{METADATA_TOPIC, PartitionRequest, TopicRequest};
use seedlog_core::wire::{ApiKey, DescribeConfigsRequest, DescribeQuorumRequest, Request, Response, Str};

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

/// Whether there is an active controller: brokers hand a question about the quorum on to it, and nobody else answers that.
///
/// # Errors
/// NOT_CONTROLLER or REQUEST_TIMED_OUT where there is none; otherwise whatever keeps the broker from answering.
pub async fn ask_controller(cluster: &Cluster, patience: Duration) -> Result<()> {
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
    match ErrorCode::from_code(response.error_code) {
        Some(ErrorCode::NotController | ErrorCode::RequestTimedOut) => {
            ClientError::check(response.error_code, message, || "the controller".to_owned())
        }
        // What else it may say, a controller has said.
        Some(_) | None => Ok(()),
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
