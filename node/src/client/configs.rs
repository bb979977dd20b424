//! What is asked about settings: describe, alter. Each call is tried again after transient errors.

use std::time::Duration;

use seedlog_core::cluster::decide::configs::resource;
use seedlog_core::wire::describe_configs::{DescribeConfigsResource, DescribeConfigsResourceResult};
use seedlog_core::wire::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use seedlog_core::wire::{
    ApiKey, DescribeConfigsRequest, IncrementalAlterConfigsRequest, Request, Response, Str,
};

use super::admin::{UNKNOWN, left_out, retry_at_controller};
use super::cluster::{Cluster, retry};
use super::connection::{Connection, unexpected};
use super::error::{ClientError, Result};

/// IncrementalAlterConfigs: the value is replaced.
const SET: i8 = 0;
/// IncrementalAlterConfigs: what the broker says counts again.
const DELETE: i8 = 1;
/// The first version of DescribeConfigs that tells of types.
const DESCRIBE_TYPES_MIN: i16 = 3;

/// What has settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic.
    Topic(String),
    /// A broker, which is the only one that knows its own.
    Broker(i32),
    /// A group, whether it exists or not: it may have settings before anybody is in it.
    Group(String),
}

impl ConfigResource {
    fn kind(&self) -> i8 {
        match self {
            Self::Topic(_) => resource::TOPIC,
            Self::Broker(_) => resource::BROKER,
            Self::Group(_) => resource::GROUP,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Topic(name) | Self::Group(name) => name.clone(),
            Self::Broker(id) => id.to_string(),
        }
    }

    /// For sentences.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::Topic(name) => format!("topic {name}"),
            Self::Broker(id) => format!("broker {id}"),
            Self::Group(name) => format!("group {name}"),
        }
    }
}

/// The settings of a topic, broker or group, in order.
pub async fn describe_configs(
    cluster: &Cluster,
    of: &ConfigResource,
    patience: Duration,
) -> Result<Vec<DescribeConfigsResourceResult>> {
    let (code, message, mut configs) = retry(patience, async || {
        let connection = match of {
            ConfigResource::Topic(_) | ConfigResource::Group(_) => cluster.any().await?,
            ConfigResource::Broker(id) => {
                cluster.metadata(Some(&[]), false).await?;
                cluster.broker(*id).await?
            }
        };
        let version = connection.version_of(ApiKey::DescribeConfigs, i16::MAX)?;
        let wanted = DescribeConfigsResource {
            resource_type: of.kind(),
            resource_name: of.name().into(),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest {
            resources: vec![wanted],
            include_synonyms: false,
            include_documentation: version >= DESCRIBE_TYPES_MIN,
        };
        let request_timeout = cluster.options().request_timeout;
        let response = connection.call_version(Request::from(request), version, request_timeout).await?;
        let Response::DescribeConfigs(response) = response else {
            return Err(unexpected(connection.address(), ApiKey::DescribeConfigs));
        };
        let Some(result) = response.results.into_iter().find(|it| *it.resource_name == *of.name()) else {
            return Err(left_out(connection.address(), ApiKey::DescribeConfigs));
        };
        // For who describes a topic, that it is unknown is the answer.
        if result.error_code != UNKNOWN {
            ClientError::check(result.error_code, result.error_message.as_deref(), || of.what())?;
        }
        Ok((result.error_code, result.error_message, result.configs))
    })
    .await?;
    ClientError::check(code, message.as_deref(), || of.what())?;
    configs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(configs)
}

/// Changes of the settings of a topic or group.
#[derive(Debug, Clone, Default)]
pub struct ConfigChanges {
    /// Keys and values.
    pub set: Vec<(String, String)>,
    /// Keys that are to follow the broker's again.
    pub delete: Vec<String>,
    /// Only check them.
    pub validate_only: bool,
}

/// Changes single settings of a topic or group.
pub async fn alter_configs(
    cluster: &Cluster,
    of: &ConfigResource,
    changes: &ConfigChanges,
    patience: Duration,
) -> Result<()> {
    let set = changes.set.iter().map(|(name, value)| AlterableConfig {
        name: Str::from(name.as_str()),
        config_operation: SET,
        value: Some(Str::from(value.as_str())),
    });
    let delete = changes.delete.iter().map(|name| AlterableConfig {
        name: Str::from(name.as_str()),
        config_operation: DELETE,
        value: None,
    });
    let resource = AlterConfigsResource {
        resource_type: of.kind(),
        resource_name: of.name().into(),
        configs: set.chain(delete).collect(),
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: changes.validate_only };
    let what = || of.what();
    let (code, message) = retry_at_controller(cluster, patience, async |connection: &Connection| {
        let Response::IncrementalAlterConfigs(response) = connection.call(request.clone()).await? else {
            return Err(unexpected(connection.address(), ApiKey::IncrementalAlterConfigs));
        };
        let Some(result) = response.responses.into_iter().next() else {
            return Err(left_out(connection.address(), ApiKey::IncrementalAlterConfigs));
        };
        if result.error_code != UNKNOWN {
            ClientError::check(result.error_code, result.error_message.as_deref(), what)?;
        }
        Ok((result.error_code, result.error_message))
    })
    .await?;
    ClientError::check(code, message.as_deref(), what)
}
