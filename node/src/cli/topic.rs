//! `seedlog topic`: create, list, describe, delete.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use seedlog_core::errors::ErrorCode;
use serde::Serialize;

use super::output::{CliError, CliResult, Output};
use super::remote::{DeletionArgs, RemoteArgs, key_value};
use crate::client::admin::{self, EARLIEST, LATEST, NewTopic, Offsets};
use crate::client::{ClientError, Cluster, PartitionView, TopicView};

/// How long a topic's leaders may be without an answer before it is described without their offsets.
const OFFSETS_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(super) enum TopicCommand {
    /// Create a topic.
    Create(CreateArgs),
    /// List the topics.
    List(ListArgs),
    /// Show a topic's partitions: leaders, replicas, in-sync and eligible leader replicas, offsets.
    Describe(DescribeArgs),
    /// Delete a topic and its records.
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The topic's name
    #[arg(long)]
    topic: String,
    /// How many partitions; without it the broker decides
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas of each partition; without it the broker decides
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting of the topic, such as retention.ms=86400000; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    config: Vec<(String, String)>,
    /// Accept that the topic exists
    #[arg(long)]
    if_not_exists: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Leave out the topics that the cluster keeps for itself
    #[arg(long)]
    exclude_internal: bool,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DescribeArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The topic's name; all topics without it
    #[arg(long)]
    topic: Option<String>,
    /// Only partitions of which replicas are not in sync
    #[arg(long)]
    under_replicated_partitions: bool,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The topic's name
    #[arg(long)]
    topic: String,
    #[command(flatten)]
    deletion: DeletionArgs,
}

#[derive(Debug, Serialize)]
struct ListedTopic {
    topic: String,
    topic_id: String,
    partition_count: usize,
    replication_factor: usize,
    internal: bool,
}

#[derive(Debug, Serialize)]
struct DescribedTopic {
    topic: String,
    topic_id: String,
    partition_count: usize,
    replication_factor: usize,
    internal: bool,
    partitions: Vec<DescribedPartition>,
}

#[derive(Debug, Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    /// `null` where the broker does not tell.
    elr: Option<Vec<i32>>,
    offline_replicas: Vec<i32>,
    under_replicated: bool,
    earliest_offset: Option<i64>,
    latest_offset: Option<i64>,
}

/// Does what `seedlog topic ...` says.
pub(super) async fn run(command: &TopicCommand, output: &mut Output) -> CliResult {
    match command {
        TopicCommand::Create(args) => create(args, output).await,
        TopicCommand::List(args) => list(args, output).await,
        TopicCommand::Describe(args) => describe(args, output).await,
        TopicCommand::Delete(args) => delete(args, output).await,
    }
}

async fn create(args: &CreateArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    let topic = NewTopic {
        name: args.topic.clone(),
        partitions: args.partitions,
        replication_factor: args.replication_factor,
        configs: args.config.clone(),
    };
    let created = match admin::create_topic(&cluster, &topic, args.remote.request_timeout()).await {
        Err(error) if args.if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => false,
        other => other.map(|_| true)?,
    };
    if args.json {
        return output.json(&serde_json::json!({ "topic": args.topic, "created": created }));
    }
    let verb = if created { "created" } else { "exists already:" };
    output.line(&format!("{verb} topic {}", args.topic))
}

async fn delete(args: &DeleteArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    let outcome = admin::delete_topic(&cluster, &args.topic, args.remote.request_timeout()).await;
    args.deletion.say(("topic", &args.topic), outcome, ErrorCode::UnknownTopicOrPartition, output)
}

async fn list(args: &ListArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    let mut topics = all_topics(&cluster).await?;
    topics.retain(|topic| !(args.exclude_internal && topic.internal));
    let listed: Vec<ListedTopic> = topics
        .iter()
        .map(|topic| ListedTopic {
            topic: topic.name.to_string(),
            topic_id: topic.id.to_string(),
            partition_count: topic.partitions.len(),
            replication_factor: topic.replication_factor(),
            internal: topic.internal,
        })
        .collect();
    if args.json {
        return output.json(&listed);
    }
    if !output.is_terminal() {
        // As Kafka's own tool: names, for scripts that read them.
        return listed.iter().try_for_each(|topic| output.line(&topic.topic));
    }
    let mut table = table(["TOPIC", "PARTITIONS", "REPLICAS", "ID"]);
    for topic in listed {
        let (partitions, replicas) =
            (topic.partition_count.to_string(), topic.replication_factor.to_string());
        table.add_row([topic.topic, partitions, replicas, topic.topic_id]);
    }
    output.line(&table.trim_fmt())
}

async fn describe(args: &DescribeArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    let topics = match &args.topic {
        Some(name) => vec![TopicView::clone(&*cluster.fresh_topic(name, false).await?)],
        None => all_topics(&cluster).await?,
    };
    let (mut described, mut refusals) = (Vec::with_capacity(topics.len()), Vec::new());
    for topic in &topics {
        let mut wanted = topic.clone();
        if args.under_replicated_partitions {
            wanted.partitions.retain(|_, partition| is_under_replicated(partition));
        }
        if !wanted.partitions.is_empty() {
            described.push(describe_one(&cluster, &wanted, &mut refusals).await?);
        }
    }
    if args.json {
        output.json(&described)?;
    } else {
        for topic in described {
            let DescribedTopic { topic: name, topic_id, partition_count, replication_factor, .. } = &topic;
            output.line(&format!(
                "topic {name}  id {topic_id}  partitions {partition_count}  replication factor {replication_factor}"
            ))?;
            output.line(&partition_table(&topic).trim_fmt())?;
        }
    }
    if refusals.is_empty() { Ok(()) } else { Err(CliError::Unhealthy(refusals.join("\n"))) }
}

/// Describes a topic; `refusals` takes why offsets are missing.
async fn describe_one(
    cluster: &Cluster,
    topic: &TopicView,
    refusals: &mut Vec<String>,
) -> CliResult<DescribedTopic> {
    let (earliest, refused) = offsets(cluster, topic, EARLIEST, OFFSETS_PATIENCE).await?;
    // Who refused one question is not waited for again.
    let patience = if refused.is_empty() { OFFSETS_PATIENCE } else { Duration::ZERO };
    let (latest, refused_later) = offsets(cluster, topic, LATEST, patience).await?;
    refusals.extend(if refused.is_empty() { refused_later } else { refused });
    let leaderless = topic.partitions.iter().filter_map(|(&index, it)| it.leader(&topic.name, index).err());
    refusals.extend(leaderless.map(|error| error.to_string()));
    let mut eligible = admin::eligible_replicas(cluster, &topic.name, OFFSETS_PATIENCE).await?;
    let offset = |offsets: &Offsets, index: i32| offsets.get(&index).copied().flatten();
    let partitions = topic.partitions.iter().map(|(&index, partition)| DescribedPartition {
        partition: index,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        elr: eligible.as_mut().and_then(|eligible| eligible.remove(&index)),
        offline_replicas: partition.offline.clone(),
        under_replicated: is_under_replicated(partition),
        earliest_offset: offset(&earliest, index),
        latest_offset: offset(&latest, index),
    });
    Ok(DescribedTopic {
        topic: topic.name.to_string(),
        topic_id: topic.id.to_string(),
        partition_count: topic.partitions.len(),
        replication_factor: topic.replication_factor(),
        internal: topic.internal,
        partitions: partitions.collect(),
    })
}

/// The offsets of the partitions that have a leader, as far as the leaders tell them, and why they do not.
async fn offsets(
    cluster: &Cluster,
    topic: &TopicView,
    place: i64,
    patience: Duration,
) -> Result<(Offsets, Vec<String>), ClientError> {
    let led = topic.partitions.iter().filter(|(_, partition)| partition.leader.is_some());
    let led: BTreeMap<i32, i64> = led.map(|(&index, _)| (index, place)).collect();
    match admin::list_offsets(cluster, &topic.name, &led, patience).await {
        Err(ClientError::Broker { .. }) => {
            let each = admin::list_offsets_each(cluster, &topic.name, &led).await?;
            let refusals =
                each.values().filter_map(|found| Some(found.as_ref().err()?.to_string())).collect();
            Ok((
                each.into_iter().map(|(index, found)| (index, found.unwrap_or_default())).collect(),
                refusals,
            ))
        }
        other => Ok((other?, Vec::new())),
    }
}

fn partition_table(topic: &DescribedTopic) -> Table {
    let columns = ["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "ELR", "EARLIEST", "LATEST", "STATE"];
    let mut table = table(columns);
    for partition in &topic.partitions {
        table.add_row([
            partition.partition.to_string(),
            or_none(partition.leader),
            partition.leader_epoch.to_string(),
            join(&partition.replicas),
            join(&partition.isr),
            partition.elr.as_deref().map_or_else(|| "unknown".to_owned(), join_or_none),
            or_none(partition.earliest_offset),
            or_none(partition.latest_offset),
            state(partition).to_owned(),
        ]);
    }
    table
}

/// As Kafka's tools count it: a replica is missing in the ISR.
fn is_under_replicated(partition: &PartitionView) -> bool {
    partition.isr.len() < partition.replicas.len()
}

fn state(partition: &DescribedPartition) -> &'static str {
    match (partition.leader, partition.under_replicated) {
        (None, _) => "no leader",
        (Some(_), true) => "under-replicated",
        (Some(_), false) => "in sync",
    }
}

pub(super) async fn all_topics(cluster: &Cluster) -> CliResult<Vec<TopicView>> {
    let response = cluster.metadata(None, false).await?;
    let mut topics = Vec::with_capacity(response.topics.len());
    for name in response.topics.iter().filter_map(|topic| topic.name.as_ref()) {
        topics.push(TopicView::clone(&*cluster.topic(name, false).await?));
    }
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

pub(super) fn table<const N: usize>(columns: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns);
    table
}

fn or_none(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}

fn join_or_none(ids: &[i32]) -> String {
    if ids.is_empty() { "none".to_owned() } else { join(ids) }
}

fn join(ids: &[i32]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
