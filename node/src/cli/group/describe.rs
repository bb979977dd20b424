//! `seedlog group describe`: who is in a group, what each member reads, and how far behind the group is.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::consumer_group_describe::DescribedConsumer;
use seedlog_core::wire::describe_groups::{DescribedGroup, DescribedGroupMember};
use seedlog_core::wire::list_groups::ListedGroup;
use serde::Serialize;

use super::super::output::{CliError, CliResult, Output};
use super::super::remote::RemoteArgs;
use super::super::topic::table;
use crate::client::admin::{self, LATEST};
use crate::client::consumer_protocol::{CONSUMER_PROTOCOL_TYPE, decode_assignment};
use crate::client::groups::{self, Coordinator, GroupFilter};
use crate::client::{ClientError, Cluster, PartitionName};

/// How long a topic's leaders may be without an answer before a group is described without the ends of their logs.
const OFFSETS_PATIENCE: Duration = Duration::from_secs(2);
/// The type of groups whose members assign.
const CLASSIC: &str = "classic";
/// The type of groups whose coordinator assigns (KIP-848).
const CONSUMER: &str = "consumer";
const UNKNOWN: &str = "unknown";

#[derive(Debug, Args)]
pub(in super::super) struct DescribeArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The group; all groups without it
    #[arg(long)]
    group: Option<String>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Described {
    group: String,
    #[serde(rename = "type")]
    kind: String,
    state: String,
    protocol_type: String,
    /// The assignor; `null` while the members agreed on none.
    protocol: Option<String>,
    coordinator: i32,
    coordinator_address: String,
    /// `null` for a group of another type than `classic` and `consumer`.
    members: Option<Vec<DescribedMember>>,
    partitions: Vec<DescribedPartition>,
    /// Of the partitions whose lag is known; `null` if it is known of none.
    total_lag: Option<i64>,
}

#[derive(Debug, Serialize)]
struct DescribedMember {
    member: String,
    group_instance_id: Option<String>,
    client_id: String,
    host: String,
    /// `null` where it is not what consumers tell each other.
    assignment: Option<BTreeMap<String, Vec<i32>>>,
}

#[derive(Debug, Serialize)]
struct DescribedPartition {
    topic: String,
    partition: i32,
    committed_offset: Option<i64>,
    log_end_offset: Option<i64>,
    lag: Option<i64>,
    /// The id of the member that reads it.
    member: Option<String>,
}

pub(super) async fn run(args: &DescribeArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    let patience = args.remote.request_timeout();
    let names = match &args.group {
        Some(group) => vec![group.clone()],
        None => {
            let listed = groups::list_groups(&cluster, &GroupFilter::default(), patience).await?;
            listed.into_iter().map(|(group, _)| group.group_id.to_string()).collect()
        }
    };
    let (mut described, mut refusals) = (Vec::with_capacity(names.len()), Vec::new());
    for name in &names {
        match describe_one(&cluster, name, patience, &mut refusals).await {
            Ok(group) => described.push(group),
            // It went away since it was listed.
            Err(error) if args.group.is_none() && error.code() == Some(ErrorCode::GroupIdNotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if args.json {
        output.json(&described)?;
    } else {
        for group in &described {
            print(group, output)?;
        }
    }
    if refusals.is_empty() { Ok(()) } else { Err(CliError::Unhealthy(refusals.join("\n"))) }
}

/// Describes a group; `refusals` takes why the ends of logs are missing.
async fn describe_one(
    cluster: &Cluster,
    name: &str,
    patience: Duration,
    refusals: &mut Vec<String>,
) -> Result<Described, ClientError> {
    let group = look(cluster, name, patience).await?;
    let committed = groups::committed_offsets(cluster, name, patience).await?;
    let mut owners: BTreeMap<PartitionName, Option<&str>> =
        committed.keys().map(|place| (place.clone(), None)).collect();
    for member in group.members.iter().flatten() {
        for (topic, partitions) in member.assignment.iter().flatten() {
            let places = partitions.iter().map(|&partition| PartitionName::new(topic, partition));
            owners.extend(places.map(|place| (place, Some(member.member.as_str()))));
        }
    }
    let ends = ends(cluster, owners.keys(), refusals).await;
    let partitions: Vec<DescribedPartition> = owners
        .iter()
        .map(|(place, owner)| {
            let (committed, end) = (committed.get(place).copied(), ends.get(place).copied());
            DescribedPartition {
                topic: place.topic.to_string(),
                partition: place.partition,
                committed_offset: committed,
                log_end_offset: end,
                // Somebody may have committed since the end was asked for.
                lag: committed.zip(end).map(|(committed, end)| end.saturating_sub(committed).max(0)),
                member: owner.map(str::to_owned),
            }
        })
        .collect();
    let lags = partitions.iter().filter_map(|partition| partition.lag);
    let total_lag = lags.fold(None, |sum: Option<i64>, lag| Some(sum.unwrap_or(0).saturating_add(lag)));
    Ok(Described { total_lag, partitions, ..group })
}

/// What is told of a group, without its offsets.
async fn look(cluster: &Cluster, name: &str, patience: Duration) -> Result<Described, ClientError> {
    let (group, coordinator) = match groups::describe_group(cluster, name, patience).await {
        Ok(found) => found,
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {
            // It may be there, with a protocol of which that question knows nothing.
            let listed = groups::listed_group(cluster, name, patience).await?.ok_or(error)?;
            return look_as_listed(cluster, &listed, patience).await;
        }
        Err(error) => return Err(error),
    };
    let members = group.members.iter().map(|member| described_member(&group, member));
    Ok(Described {
        kind: CLASSIC.to_owned(),
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
        protocol: Some(group.protocol_data.to_string()).filter(|protocol| !protocol.is_empty()),
        members: Some(members.collect()),
        ..Described::at(name, coordinator)
    })
}

/// The same for a group that DescribeGroups knows nothing of.
async fn look_as_listed(
    cluster: &Cluster,
    listed: &ListedGroup,
    patience: Duration,
) -> Result<Described, ClientError> {
    let (name, kind) = (&*listed.group_id, super::kind(listed).unwrap_or_else(|| UNKNOWN.to_owned()));
    let protocol_type = listed.protocol_type.to_string();
    if kind == CONSUMER {
        let (group, coordinator) = groups::describe_consumer_group(cluster, name, patience).await?;
        return Ok(Described {
            kind,
            state: group.group_state.to_string(),
            protocol_type,
            protocol: Some(group.assignor_name.to_string()).filter(|assignor| !assignor.is_empty()),
            members: Some(group.members.iter().map(described_consumer).collect()),
            ..Described::at(name, coordinator)
        });
    }
    let coordinator = groups::coordinator_within(cluster, name, patience).await?;
    let state = listed.group_state.to_string();
    Ok(Described { kind, state, protocol_type, members: None, ..Described::at(name, coordinator) })
}

impl Described {
    fn at(group: &str, coordinator: Coordinator) -> Self {
        Self {
            group: group.to_owned(),
            kind: String::new(),
            state: String::new(),
            protocol_type: String::new(),
            protocol: None,
            coordinator: coordinator.broker,
            coordinator_address: coordinator.address,
            members: None,
            partitions: Vec::new(),
            total_lag: None,
        }
    }
}

fn described_member(group: &DescribedGroup, member: &DescribedGroupMember) -> DescribedMember {
    let is_consumer = group.protocol_type == CONSUMER_PROTOCOL_TYPE;
    DescribedMember {
        member: member.member_id.to_string(),
        group_instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assignment: is_consumer.then(|| decode_assignment(&member.member_assignment)).flatten(),
    }
}

fn described_consumer(member: &DescribedConsumer) -> DescribedMember {
    let topics = member.assignment.topic_partitions.iter();
    DescribedMember {
        member: member.member_id.to_string(),
        group_instance_id: member.instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assignment: Some(topics.map(|of| (of.topic_name.to_string(), of.partitions.clone())).collect()),
    }
}

/// Where logs end, as far as their leaders tell.
async fn ends(
    cluster: &Cluster,
    places: impl Iterator<Item = &PartitionName>,
    refusals: &mut Vec<String>,
) -> BTreeMap<PartitionName, i64> {
    let mut by_topic: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
    for place in places {
        by_topic.entry(&place.topic).or_default().insert(place.partition, LATEST);
    }
    let mut ends = BTreeMap::new();
    for (topic, wanted) in by_topic {
        // Together, with patience; if that fails, each by itself, so that one does not hide the others.
        let together = admin::list_offsets(cluster, topic, &wanted, OFFSETS_PATIENCE).await;
        let each = match together {
            Ok(found) => Ok(found.into_iter().map(|(partition, end)| (partition, Ok(end))).collect()),
            Err(_) => admin::list_offsets_each(cluster, topic, &wanted).await,
        };
        match each {
            Ok(each) => {
                for (partition, end) in each {
                    match end {
                        Ok(Some(end)) => drop(ends.insert(PartitionName::new(topic, partition), end)),
                        Ok(None) => {}
                        Err(error) => refusals.push(error.to_string()),
                    }
                }
            }
            Err(error) => refusals.push(error.to_string()),
        }
    }
    ends
}

fn print(group: &Described, output: &mut Output) -> CliResult {
    let Described { group: name, kind, state, coordinator, coordinator_address, partitions, .. } = group;
    let protocol = group.protocol.as_deref().unwrap_or("none");
    let protocol_type = if group.protocol_type.is_empty() { "none" } else { &group.protocol_type };
    let members =
        group.members.as_ref().map_or_else(|| UNKNOWN.to_owned(), |members| members.len().to_string());
    output.line(&format!(
        "group {name}  type {kind}  state {state}  protocol {protocol_type}/{protocol}  members {members}  \
         coordinator {coordinator} ({coordinator_address})"
    ))?;
    if !partitions.is_empty() {
        output.line(&partition_rows(group))?;
        let known = partitions.iter().filter(|partition| partition.lag.is_some()).count();
        let of = if known == partitions.len() {
            String::new()
        } else {
            format!(" in the {known} of {} partitions where it is known", partitions.len())
        };
        output.line(&format!("total lag {}{of}", or_none(group.total_lag)))?;
    }
    let members = group.members.as_deref().unwrap_or_default();
    if members.is_empty() {
        return Ok(());
    }
    let mut rows = table(["MEMBER", "CLIENT", "HOST", "INSTANCE", "READS"]);
    for member in members {
        let reads = member.assignment.as_ref().map_or_else(|| UNKNOWN.to_owned(), reads);
        let DescribedMember { member: id, client_id, host, group_instance_id, .. } = member;
        rows.add_row([id, client_id, host, group_instance_id.as_deref().unwrap_or("none"), &reads]);
    }
    output.line(&rows.trim_fmt())
}

fn partition_rows(group: &Described) -> String {
    let nobody = if group.members.is_some() { "none" } else { UNKNOWN };
    let mut rows = table(["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"]);
    for partition in &group.partitions {
        rows.add_row([
            partition.topic.clone(),
            partition.partition.to_string(),
            or_none(partition.committed_offset),
            or_none(partition.log_end_offset),
            or_none(partition.lag),
            partition.member.clone().unwrap_or_else(|| nobody.to_owned()),
        ]);
    }
    rows.trim_fmt()
}

/// An assignment on one line: `t:0,1 u:4`.
fn reads(assignment: &BTreeMap<String, Vec<i32>>) -> String {
    let of_topic = |(topic, partitions): (&String, &Vec<i32>)| {
        let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        format!("{topic}:{}", partitions.join(","))
    };
    let topics: Vec<String> = assignment.iter().map(of_topic).collect();
    if topics.is_empty() { "nothing".to_owned() } else { topics.join(" ") }
}

fn or_none(number: Option<i64>) -> String {
    number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}
