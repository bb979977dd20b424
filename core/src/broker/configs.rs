//! Settings: they are described by the broker that is asked, and changed by the controller.

use super::Broker;
use crate::cluster::decide::check_topic_name;
use crate::cluster::decide::configs::resource;
use crate::cluster::group_config::GroupConfig;
use crate::cluster::topic_config::{Described, Kind};
use crate::errors::ErrorCode;
use crate::ids::{ConnId, RequestNumber};
use crate::output::Outputs;
use crate::settings::{BrokerSetting, SettingSource};
use crate::wire::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::wire::list_config_resources::ConfigResource;
use crate::wire::{
    DescribeConfigsRequest, DescribeConfigsResponse, ListConfigResourcesRequest, ListConfigResourcesResponse,
    Response, Str,
};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What one answer may take in memory: a short request can ask for very much.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// About what a setting takes beside its text.
const SETTING_BYTES: usize = 240;

/// Which settings are asked for, and how much of them.
struct Asked<'a> {
    /// `None`: all.
    names: Option<BTreeSet<&'a str>>,
    synonyms: bool,
    documentation: bool,
}

impl Asked<'_> {
    fn has(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(name))
    }
}

impl Broker {
    pub(super) fn on_describe_configs(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &DescribeConfigsRequest,
        out: &mut Outputs,
    ) {
        let mut room = ANSWER_BYTES_MAX;
        let mut seen: BTreeSet<(i8, &str)> = BTreeSet::new();
        let mut results = Vec::new();
        for wanted in &request.resources {
            if !seen.insert((wanted.resource_type, &wanted.resource_name)) {
                continue; // Answered at its first mention.
            }
            let names = wanted.configuration_keys.as_ref().filter(|names| !names.is_empty());
            let asked = Asked {
                names: names.map(|names| names.iter().map(|name| &**name).collect()),
                synonyms: request.include_synonyms,
                documentation: request.include_documentation,
            };
            let configs = self.describe_resource(wanted, &asked).and_then(|configs| {
                let bytes = configs.iter().map(setting_bytes).sum::<usize>();
                room = room.checked_sub(bytes).ok_or_else(|| {
                    let why = "So much does not fit into one answer: ask for fewer resources at a time.";
                    (ErrorCode::PolicyViolation, Some(why.to_string()))
                })?;
                Ok(configs)
            });
            let (code, message, configs) = match configs {
                Ok(configs) => (ErrorCode::None, None, configs),
                Err((code, message)) => (code, message, Vec::new()),
            };
            results.push(DescribeConfigsResult {
                error_code: code.code(),
                error_message: message.map(Str::from),
                resource_type: wanted.resource_type,
                resource_name: wanted.resource_name.detached(),
                configs,
            });
        }
        let response = DescribeConfigsResponse { throttle_time_ms: 0, results };
        self.reply(conn, number, Response::DescribeConfigs(response), out);
    }

    fn describe_resource(
        &self,
        wanted: &DescribeConfigsResource,
        asked: &Asked<'_>,
    ) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, Option<String>)> {
        let name = &*wanted.resource_name;
        let invalid = |why: &str| Err((ErrorCode::InvalidRequest, Some(why.to_string())));
        match wanted.resource_type {
            resource::TOPIC => self.describe_topic_settings(name, asked),
            // Settings that all brokers share would be dynamic ones.
            resource::BROKER if name.is_empty() => Ok(Vec::new()),
            resource::BROKER => {
                self.check_own_id(name, " or empty string,")?;
                let settings = self.config.settings.iter().filter(|setting| asked.has(setting.key));
                Ok(settings.map(|setting| describe_broker_setting(setting, asked)).collect())
            }
            resource::BROKER_LOGGER if name.is_empty() => invalid("Broker id must not be empty"),
            // The log level is set at the start, for the node as a whole.
            resource::BROKER_LOGGER => self.check_own_id(name, "").map(|()| Vec::new()),
            resource::CLIENT_METRICS if name.is_empty() => {
                invalid("Client metrics subscription name must not be empty")
            }
            resource::GROUP if name.is_empty() => invalid("Group name must not be empty"),
            resource::GROUP => Ok(self.describe_group_settings(name, asked)),
            // There are none, and so none have settings.
            resource::CLIENT_METRICS => Ok(Vec::new()),
            other => invalid(&format!("Unsupported resource type: {other}")),
        }
    }

    /// A broker knows its own settings only: clients ask each one for its own.
    fn check_own_id(&self, name: &str, other: &str) -> Result<(), (ErrorCode, Option<String>)> {
        let own = self.config.node_id.0;
        let why = match name.parse::<i32>() {
            Ok(id) if id == own => return Ok(()),
            Ok(_) => format!("Unexpected broker id, expected {own}{other} but received {name}"),
            Err(_) => format!("Broker id must be an integer, but it is: {name}"),
        };
        Err((ErrorCode::InvalidRequest, Some(why)))
    }

    fn describe_topic_settings(
        &self,
        name: &str,
        asked: &Asked<'_>,
    ) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, Option<String>)> {
        check_topic_name(name).map_err(|why| (ErrorCode::InvalidTopicException, Some(why)))?;
        let Some((_, topic)) = self.committed.topic_named(name) else {
            return Err((ErrorCode::UnknownTopicOrPartition, None));
        };
        let described = topic.config.describe(&self.config, topic.min_insync_replicas);
        let described = described.filter(|setting| asked.has(setting.key.name));
        Ok(described
            .map(|setting| {
                let (name, kind, key) = (setting.key.name, setting.key.kind, setting.key);
                told(asked, (name, kind), setting, || key.documentation())
            })
            .collect())
    }

    /// A group need not exist.
    fn describe_group_settings(&self, name: &str, asked: &Asked<'_>) -> Vec<DescribeConfigsResourceResult> {
        let none = GroupConfig::default();
        let config = self.committed.group_config(name).unwrap_or(&none);
        let described = config.describe(&self.config).filter(|setting| asked.has(setting.key.name));
        described
            .map(|setting| {
                let (name, kind, doc) = (setting.key.name, setting.key.kind, setting.key.doc);
                told(asked, (name, kind), setting, || doc.to_string())
            })
            .collect()
    }

    pub(super) fn on_list_config_resources(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        version: i16,
        request: &ListConfigResourcesRequest,
        out: &mut Outputs,
    ) {
        /// Before this version there were only subscriptions to clients' metrics to list.
        const KINDS_FROM: i16 = 1;
        let kinds: BTreeSet<i8> = match &request.resource_types[..] {
            _ if version < KINDS_FROM => [resource::CLIENT_METRICS].into(),
            [] => resource::ALL.into(),
            kinds => kinds.iter().copied().collect(),
        };
        let mut response = ListConfigResourcesResponse::default();
        let mut list = |resource_type: i8, names: &mut dyn Iterator<Item = Str>| {
            if kinds.contains(&resource_type) {
                let named = names.map(|resource_name| ConfigResource { resource_name, resource_type });
                response.config_resources.extend(named);
            }
        };
        if kinds.iter().all(|kind| resource::ALL.contains(kind)) {
            for resource_type in [resource::BROKER, resource::BROKER_LOGGER] {
                let ids = self.committed.brokers().keys();
                list(resource_type, &mut ids.map(|id| id.0.to_string().into()));
            }
            list(resource::TOPIC, &mut self.committed.names().keys().map(|name| name.as_str().into()));
            list(
                resource::GROUP,
                &mut self.committed.group_configs().keys().map(|name| name.as_str().into()),
            );
        } else {
            response.error_code = ErrorCode::UnsupportedVersion.code();
        }
        self.reply(conn, number, Response::ListConfigResources(response), out);
    }
}

fn synonym(name: &'static str, value: Option<String>, source: SettingSource) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym {
        name: Str::from_static(name),
        value: value.map(Str::from),
        source: source.code(),
    }
}

/// A setting that can be changed, as much of it as is asked for.
fn told<K>(
    asked: &Asked<'_>,
    (name, kind): (&'static str, Kind),
    setting: Described<K>,
    documentation: impl FnOnce() -> String,
) -> DescribeConfigsResourceResult {
    let synonyms = setting.synonyms.into_iter().filter(|_| asked.synonyms);
    DescribeConfigsResourceResult {
        name: Str::from_static(name),
        value: Some(setting.value.into()),
        read_only: false,
        config_source: setting.source.code(),
        is_sensitive: false,
        synonyms: synonyms.map(|it| synonym(it.name, Some(it.value), it.source)).collect(),
        config_type: kind.setting_type().code(),
        documentation: asked.documentation.then(|| documentation().into()),
    }
}

fn describe_broker_setting(setting: &BrokerSetting, asked: &Asked<'_>) -> DescribeConfigsResourceResult {
    let is_sensitive = setting.is_secret();
    let value = setting.value.clone().filter(|_| !is_sensitive);
    let mut synonyms = Vec::new();
    if asked.synonyms && setting.is_set {
        synonyms.push(synonym(setting.key, value.clone(), SettingSource::Broker));
    }
    if let Some(default) = setting.default.filter(|_| asked.synonyms) {
        let default = Some(default.to_string()).filter(|_| !is_sensitive);
        synonyms.push(synonym(setting.key, default, SettingSource::Default));
    }
    DescribeConfigsResourceResult {
        name: Str::from_static(setting.key),
        value: value.map(Str::from),
        // No setting of a broker is dynamic.
        read_only: true,
        config_source: setting.source().code(),
        is_sensitive,
        synonyms,
        config_type: setting.kind.code(),
        documentation: asked.documentation.then(|| Str::from_static(setting.doc)),
    }
}

fn setting_bytes(setting: &DescribeConfigsResourceResult) -> usize {
    let length = |text: &Option<Str>| text.as_ref().map_or(0, |text| text.len());
    let synonyms = setting.synonyms.iter();
    let synonyms = synonyms.map(|it| it.name.len() + length(&it.value) + SETTING_BYTES / 2).sum::<usize>();
    SETTING_BYTES + setting.name.len() + length(&setting.value) + length(&setting.documentation) + synonyms
}
