//! `seedlog config`: the settings of topics, groups and nodes: which they are, what they do, and changing a topic's or a
//! group's.

use clap::{ArgGroup, Args, Subcommand};
use seedlog_core::cluster::group_config::{GROUP_KEYS, GroupKey, group_key};
use seedlog_core::cluster::topic_config::{Effect, TOPIC_KEYS, TopicKey, topic_key};
use seedlog_core::settings::{SettingSource, SettingType};
use seedlog_core::wire::describe_configs::DescribeConfigsResourceResult;
use serde::Serialize;

use super::output::{CliError, CliResult, Output};
use super::remote::{RemoteArgs, key_value};
use super::topic::table;
use crate::client::ClientError;
use crate::client::configs::{self, ConfigChanges, ConfigResource};
use crate::config::registry::{self, Entry, Status};
use crate::config::suggest::closest;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show the settings of a topic, group or node: those that somebody set, or all of them.
    Describe(DescribeArgs),
    /// Change settings of a topic or group.
    Alter(AlterArgs),
    /// Say what a setting does, what its values are, and whether it can be changed.
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("of").required(true).args(["topic", "group", "broker"]))]
pub(super) struct DescribeArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The topic's name
    #[arg(long)]
    topic: Option<String>,
    /// The group's name, whether anybody is in it or not
    #[arg(long)]
    group: Option<String>,
    /// The node's number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    broker: Option<i32>,
    /// Also settings that have their defaults
    #[arg(long)]
    all: bool,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("of").required(true).args(["topic", "group"]))]
#[command(group = ArgGroup::new("changes").required(true).multiple(true).args(["set", "delete"]))]
pub(super) struct AlterArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The topic's name
    #[arg(long)]
    topic: Option<String>,
    /// The group's name, whether anybody is in it or not
    #[arg(long)]
    group: Option<String>,
    /// A setting and its new value, such as retention.ms=86400000; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// A setting that is to follow the brokers' again; may be repeated
    #[arg(long, value_name = "KEY")]
    delete: Vec<String>,
    /// Only check whether it would be done
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The setting, such as retention.ms
    key: String,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Described {
    key: String,
    /// `null` where there is none, and for a secret.
    value: Option<String>,
    source: Option<&'static str>,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    read_only: bool,
    sensitive: bool,
    documentation: Option<String>,
}

#[derive(Debug, Serialize)]
struct Explained {
    key: &'static str,
    of: &'static str,
    does: String,
    #[serde(rename = "type")]
    kind: &'static str,
    values: String,
    default: Option<&'static str>,
    changes: &'static str,
    /// The nodes' settings that a topic or group without its own goes by.
    follows: &'static [&'static str],
}

/// Does what `seedlog config ...` says.
pub(super) async fn run(command: &ConfigCommand, output: &mut Output) -> CliResult {
    match command {
        ConfigCommand::Describe(args) => describe(args, output).await,
        ConfigCommand::Alter(args) => alter(args, output).await,
        ConfigCommand::Explain(args) => explain(args, output),
    }
}

async fn describe(args: &DescribeArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    let of = match (&args.topic, &args.group, args.broker) {
        (Some(topic), _, _) => ConfigResource::Topic(topic.clone()),
        (None, Some(group), _) => ConfigResource::Group(group.clone()),
        (None, None, Some(id)) => ConfigResource::Broker(id),
        (None, None, None) => {
            return Err(CliError::Usage("name a --topic, a --group or a --broker".to_owned()));
        }
    };
    let configs = configs::describe_configs(&cluster, &of, args.remote.request_timeout()).await?;
    let is_set = |config: &&DescribeConfigsResourceResult| {
        args.all || config.config_source != SettingSource::Default.code()
    };
    let described: Vec<Described> = configs.iter().filter(is_set).map(Described::of).collect();
    if args.json {
        return output.json(&described);
    }
    if described.is_empty() {
        output.notice(&"nothing is set: all settings have their defaults, which --all shows");
        return Ok(());
    }
    let mut rows = table(["KEY", "VALUE", "SOURCE"]);
    for config in described {
        rows.add_row([config.key.clone(), config.shown(), config.source.unwrap_or("unknown").to_owned()]);
    }
    output.line(&rows.trim_fmt())
}

impl Described {
    fn of(config: &DescribeConfigsResourceResult) -> Self {
        Self {
            key: config.name.to_string(),
            value: config.value.as_ref().map(ToString::to_string),
            source: SettingSource::name_of(config.config_source),
            kind: SettingType::name_of(config.config_type),
            read_only: config.read_only,
            sensitive: config.is_sensitive,
            documentation: config.documentation.as_ref().map(ToString::to_string),
        }
    }

    fn shown(&self) -> String {
        match &self.value {
            Some(value) if value.is_empty() => "''".to_owned(),
            Some(value) => value.clone(),
            None if self.sensitive => "[hidden]".to_owned(),
            None => "none".to_owned(),
        }
    }
}

async fn alter(args: &AlterArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    let (kind, name, of) = match (&args.topic, &args.group) {
        (Some(topic), _) => ("topic", topic, ConfigResource::Topic(topic.clone())),
        (None, Some(group)) => ("group", group, ConfigResource::Group(group.clone())),
        (None, None) => return Err(CliError::Usage("name a --topic or a --group".to_owned())),
    };
    let changes =
        ConfigChanges { set: args.set.clone(), delete: args.delete.clone(), validate_only: args.dry_run };
    let altered = configs::alter_configs(&cluster, &of, &changes, args.remote.request_timeout()).await;
    altered.map_err(|error| with_advice(error, args))?;
    if args.json {
        return output.json(&serde_json::json!({ (kind): name, "altered": !args.dry_run }));
    }
    let verb = if args.dry_run { "would alter" } else { "altered" };
    output.line(&format!("{verb} {kind} {name}"))
}

/// A refusal, and what was probably meant where the key is one that no topic, or no group, has.
fn with_advice(error: ClientError, args: &AlterArgs) -> CliError {
    let names: Vec<&str> = match args.group {
        Some(_) => GROUP_KEYS.iter().map(|key| key.name).collect(),
        None => TOPIC_KEYS.iter().map(|key| key.name).collect(),
    };
    let unknown = args.set.iter().map(|(key, _)| key).find(|key| !names.contains(&key.as_str()));
    let near = unknown.and_then(|key| closest(key, names.iter().copied()));
    match near {
        Some(near) if error.code().is_some() => CliError::Failed(format!("{error}; did you mean {near}?")),
        Some(_) | None => error.into(),
    }
}

fn explain(args: &ExplainArgs, output: &mut Output) -> CliResult {
    let of_topics = topic_key(&args.key).map(of_topic);
    let of_groups = group_key(&args.key).map(of_group);
    let of_nodes = registry::find(&args.key).map(of_node);
    let explained: Vec<Explained> = of_topics.into_iter().chain(of_groups).chain(of_nodes).collect();
    if explained.is_empty() {
        let dynamic = TOPIC_KEYS.iter().map(|key| key.name).chain(GROUP_KEYS.iter().map(|key| key.name));
        let keys = dynamic.chain(registry::entries().map(|entry| entry.key));
        let advice = closest(&args.key, keys).map(|near| format!("; did you mean {near}?"));
        return Err(CliError::Failed(format!(
            "{}: there is no such setting{}",
            args.key,
            advice.unwrap_or_default()
        )));
    }
    if args.json {
        return output.json(&explained);
    }
    let sections: Vec<String> = explained.iter().map(Explained::text).collect();
    output.line(&sections.join("\n\n"))
}

/// How settings change that brokers do not start with.
const WHILE_IT_RUNS: &str = "while the cluster runs, with `seedlog config alter`";

fn of_topic(key: &'static TopicKey) -> Explained {
    Explained {
        key: key.name,
        of: "topics",
        does: key.documentation(),
        kind: SettingType::name_of(key.kind.setting_type().code()).unwrap_or("unknown"),
        values: match key.effect {
            Effect::Only(only, _) => format!("only {only}"),
            Effect::Behaves | Effect::Kept(_) => key.kind.allowed(),
        },
        // What counts is a majority, which no single word says.
        default: (key.name != "min.insync.replicas").then_some(key.default),
        changes: match key.effect {
            Effect::Behaves => WHILE_IT_RUNS,
            Effect::Kept(_) => "can be changed, and changes nothing",
            Effect::Only(..) => "cannot be changed",
        },
        follows: key.synonyms,
    }
}

fn of_group(key: &'static GroupKey) -> Explained {
    Explained {
        key: key.name,
        of: "groups",
        does: key.doc.to_owned(),
        kind: SettingType::name_of(key.kind.setting_type().code()).unwrap_or("unknown"),
        values: format!(
            "{}, within what the nodes' {} and {} say",
            key.kind.allowed(),
            key.bounds.0,
            key.bounds.1
        ),
        default: Some(key.default),
        changes: WHILE_IT_RUNS,
        follows: key.synonyms,
    }
}

fn of_node(entry: &'static Entry) -> Explained {
    Explained {
        key: entry.key,
        of: "nodes",
        does: entry.doc.to_owned(),
        kind: entry.kind.name(),
        values: entry.kind.values(),
        default: entry.default,
        changes: match entry.status {
            Status::Used => "when a node starts: in its properties, its environment or with --override",
            Status::Accepted => "can be set, and changes nothing",
        },
        follows: &[],
    }
}

impl Explained {
    fn text(&self) -> String {
        let default = match self.default {
            Some("") => "empty",
            Some(default) => default,
            None => "not set",
        };
        let mut lines = vec![
            format!("{} (of {})", self.key, self.of),
            format!("  {}", self.does),
            format!("  type     {}", self.kind),
            format!("  values   {}", self.values),
            format!("  default  {default}"),
            format!("  changes  {}", self.changes),
        ];
        if !self.follows.is_empty() {
            lines.push(format!("  follows  {} of the node", self.follows.join(", ")));
        }
        lines.join("\n")
    }
}
