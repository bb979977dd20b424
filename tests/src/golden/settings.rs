//! Settings in scenarios: from a command to a request, and from an answer to words.

use super::say::or_error;
use super::words::Line;
use seedlog_core::cluster::decide::configs::resource;
use seedlog_core::settings::{BrokerSetting, SettingSource, SettingType};
use seedlog_core::wire::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
};
use seedlog_core::wire::{
    AlterConfigsRequest, DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest,
    ListConfigResourcesRequest, ListConfigResourcesResponse, Request, Str, alter_configs,
    incremental_alter_configs,
};

/// What the broker of a scenario says of its own settings: one that is set, one that is not, and a secret.
pub(super) fn of_broker() -> Vec<BrokerSetting> {
    let setting = |key, value: Option<&str>, default, kind, doc| BrokerSetting {
        key,
        value: value.map(str::to_owned),
        default,
        is_set: value != default,
        kind,
        doc,
    };
    vec![
        setting(
            "log.flush.interval.messages",
            Some("10"),
            Some("9223372036854775807"),
            SettingType::Long,
            "Flushes.",
        ),
        setting("num.partitions", Some("1"), Some("1"), SettingType::Int, "Partitions."),
        setting("sasl.jaas.config", None, Some("secret"), SettingType::Password, "A secret."),
    ]
}

pub(super) fn request(line: &mut Line) -> Result<Request, String> {
    match &*line.verb.clone() {
        "settings" => describe(line),
        "alter" => alter(line),
        "replace-settings" => replace(line),
        _ => list(line),
    }
}

fn kind(word: &str) -> Result<i8, String> {
    Ok(match word {
        "topic" => resource::TOPIC,
        "broker" => resource::BROKER,
        "logger" => resource::BROKER_LOGGER,
        "metrics" => resource::CLIENT_METRICS,
        "group" => resource::GROUP,
        other => super::words::number(other)?,
    })
}

fn resource(line: &mut Line) -> Result<(i8, Str), String> {
    let kind = kind(&line.next_plain().ok_or("of what?")?)?;
    Ok((kind, line.next_plain().map(Str::from).unwrap_or_default()))
}

fn describe(line: &mut Line) -> Result<Request, String> {
    let (resource_type, resource_name) = resource(line)?;
    let configuration_keys =
        line.take("key").map(|keys| keys.split(',').map(Str::from).collect::<Vec<Str>>());
    let wants_all = configuration_keys.is_some();
    let wanted = DescribeConfigsResource { resource_type, resource_name, configuration_keys };
    let request = DescribeConfigsRequest {
        resources: vec![wanted],
        include_synonyms: wants_all,
        include_documentation: wants_all,
    };
    Ok(request.into())
}

fn alter(line: &mut Line) -> Result<Request, String> {
    use incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
    let (resource_type, resource_name) = resource(line)?;
    let change = |name: &str, config_operation, value: Option<&str>| AlterableConfig {
        name: Str::from(name),
        config_operation,
        value: value.map(Str::from),
    };
    let mut configs = Vec::new();
    for (name, value) in line.take_settings() {
        configs.push(change(&name, 0, Some(&*value).filter(|value| *value != "null")));
    }
    for name in line.take("delete").iter().flat_map(|names| names.split(',')) {
        configs.push(change(name, 1, None));
    }
    for (verb, operation) in [("append", 2), ("subtract", 3), ("other", 9)] {
        if let Some(text) = line.take(verb) {
            let (name, value) = text.split_once('/').ok_or_else(|| format!("{verb}=NAME/VALUE"))?;
            configs.push(change(name, operation, Some(value)));
        }
    }
    let validate_only = line.take("only-check").is_some();
    let resource = AlterConfigsResource { resource_type, resource_name, configs };
    let times = line.take_number("times", 1)?;
    Ok(IncrementalAlterConfigsRequest { resources: vec![resource; times], validate_only }.into())
}

fn replace(line: &mut Line) -> Result<Request, String> {
    use alter_configs::{AlterConfigsResource, AlterableConfig};
    let (resource_type, resource_name) = resource(line)?;
    let set = |(name, value): (String, String)| AlterableConfig {
        name: Str::from(name),
        value: Some(Str::from(value)),
    };
    let configs = line.take_settings().into_iter().map(set).collect();
    let validate_only = line.take("only-check").is_some();
    let resources = vec![AlterConfigsResource { resource_type, resource_name, configs }];
    Ok(AlterConfigsRequest { resources, validate_only }.into())
}

fn list(line: &mut Line) -> Result<Request, String> {
    let mut resource_types = Vec::new();
    while let Some(word) = line.next_plain() {
        resource_types.push(kind(&word)?);
    }
    Ok(ListConfigResourcesRequest { resource_types }.into())
}

pub(super) fn described(described: &DescribeConfigsResponse) -> Vec<String> {
    described.results.iter().flat_map(described_lines).collect()
}

pub(super) fn altered(each: &[alter_configs::AlterConfigsResourceResponse]) -> Vec<String> {
    let line = |it: &alter_configs::AlterConfigsResourceResponse| {
        altered_line(&it.resource_name, it.error_code, it.error_message.as_ref())
    };
    each.iter().map(line).collect()
}

pub(super) fn listed(list: &ListConfigResourcesResponse) -> Vec<String> {
    let named = list.config_resources.iter();
    let named = named.map(|it| format!("{} {}", kind_name(it.resource_type), it.resource_name));
    let named: Vec<String> = named.collect();
    let said = if named.is_empty() { "nothing".to_owned() } else { named.join(", ") };
    vec![or_error(list.error_code, None, said)]
}

fn kind_name(kind: i8) -> &'static str {
    match kind {
        resource::TOPIC => "topic",
        resource::BROKER => "broker",
        resource::BROKER_LOGGER => "logger",
        resource::CLIENT_METRICS => "metrics",
        resource::GROUP => "group",
        _ => "?",
    }
}

fn altered_line(name: &str, code: i16, message: Option<&Str>) -> String {
    let name = if name.is_empty() { "''" } else { name };
    format!("{name}: {}", or_error(code, message, "altered".to_owned()))
}

fn described_lines(result: &DescribeConfigsResult) -> Vec<String> {
    let name = if result.resource_name.is_empty() { "''" } else { &*result.resource_name };
    if result.error_code != 0 {
        let said = or_error(result.error_code, result.error_message.as_ref(), String::new());
        return vec![format!("{name}: {said}")];
    }
    let is_detailed = result.configs.iter().any(|config| config.documentation.is_some());
    if is_detailed {
        return result.configs.iter().flat_map(|config| detailed(name, config)).collect();
    }
    let of_default =
        |config: &&DescribeConfigsResourceResult| config.config_source == SettingSource::Default.code();
    let defaults = result.configs.iter().filter(of_default).count();
    let mut lines = vec![format!("{name}: {defaults} settings have their defaults")];
    for config in result.configs.iter().filter(|config| !of_default(config)) {
        let value = config.value.as_deref().unwrap_or("none");
        lines.push(format!("{name}: {}={value} ({})", config.name, source(config.config_source)));
    }
    lines
}

fn source(code: i8) -> &'static str {
    SettingSource::name_of(code).unwrap_or("?")
}

fn detailed(name: &str, config: &DescribeConfigsResourceResult) -> Vec<String> {
    let value = config.value.as_deref().unwrap_or("none");
    let kind = SettingType::name_of(config.config_type).unwrap_or("?");
    let mut flags = vec![source(config.config_source), kind];
    flags.extend(config.read_only.then_some("read-only"));
    flags.extend(config.is_sensitive.then_some("secret"));
    let mut lines = vec![format!("{name}: {}={value} ({})", config.name, flags.join(", "))];
    lines.extend(config.synonyms.iter().map(|it| {
        let value = it.value.as_deref().unwrap_or("none");
        format!("  from {}={value} ({})", it.name, source(it.source))
    }));
    lines.extend(config.documentation.iter().map(|doc| format!("  {doc}")));
    lines
}
