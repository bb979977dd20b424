//! What is asked to judge a cluster's health, beyond what metadata says: who answers, whether there is a controller, and how
//! many in-sync replicas topics ask for. Nothing here changes anything.

use std::collections::BTreeMap;
use std::time::Duration;

use seedlog_core::cluster::decide::configs::resource;
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::describe_configs::DescribeConfigsResource;
use seedlog_core::wire::incremental_alter_configs::AlterConfigsResource;
use seedlog_core::wire::{
    ApiKey, DescribeConfigsRequest, IncrementalAlterConfigsRequest, Request, Response, Str,
};

use super::admin::left_out;
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

/// Whether a controller decides: a change of no setting of `topic` is asked for, only to be checked. Brokers hand that on to
/// the controller, which answers what it has seen committed. What the controller says of the topic does not matter.
///
/// # Errors
/// NOT_CONTROLLER or REQUEST_TIMED_OUT where no controller decides; otherwise whatever keeps the broker from answering.
pub async fn ask_controller(cluster: &Cluster, topic: &str, patience: Duration) -> Result<()> {
    let connection = cluster.any().await?;
    let version = connection.version_of(ApiKey::IncrementalAlterConfigs, i16::MAX)?;
    let resource = AlterConfigsResource {
        resource_type: resource::TOPIC,
        resource_name: Str::from(topic),
        configs: Vec::new(),
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: true };
    let response = connection.call_version(Request::from(request), version, patience).await?;
    let Response::IncrementalAlterConfigs(response) = response else {
        return Err(unexpected(connection.address(), ApiKey::IncrementalAlterConfigs));
    };
    let Some(result) = response.responses.first() else {
        return Err(left_out(connection.address(), ApiKey::IncrementalAlterConfigs));
    };
    match ErrorCode::from_code(result.error_code) {
        Some(ErrorCode::NotController | ErrorCode::RequestTimedOut) => {
            let message = result.error_message.as_deref();
            ClientError::check(result.error_code, message, || "the controller".to_owned())
        }
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
