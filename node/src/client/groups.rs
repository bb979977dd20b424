//! What is asked about consumer groups: which there are, who is in them, how far they came. Each question goes to the group's
//! coordinator, which is looked for anew whenever it has moved or is not ready, until the caller's patience is used up.

use std::collections::BTreeMap;
use std::time::Duration;

use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::consumer_group_describe::DescribedConsumerGroup;
use seedlog_core::wire::describe_groups::DescribedGroup;
use seedlog_core::wire::list_groups::ListedGroup;
use seedlog_core::wire::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponseTopic,
};
use seedlog_core::wire::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
};
use seedlog_core::wire::{
    ApiKey, ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse, Request, Response, Str,
};

use super::admin::left_out;
use super::cluster::{Cluster, join_address, retry};
use super::connection::{Connection, unexpected};
use super::error::{ClientError, Result};
use super::partition_name::PartitionName;

/// FindCoordinator: the key is a group.
const KEY_IS_GROUP: i8 = 0;
/// The first version of FindCoordinator that takes several keys.
const FIND_MANY_MIN: i16 = 4;
/// The first version of OffsetFetch that takes several groups.
const FETCH_GROUPS_MIN: i16 = 8;
/// The last version of OffsetFetch and OffsetCommit that names topics instead of giving their ids.
pub(super) const OFFSETS_BY_NAME_MAX: i16 = 9;
/// What a group that is not there is, to brokers that call it no error.
const DEAD: &str = "Dead";

/// The broker that keeps a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinator {
    /// Its id.
    pub broker: i32,
    /// Where it is.
    pub address: String,
}

/// Which groups are wanted.
#[derive(Debug, Clone, Default)]
pub struct GroupFilter {
    /// In these states; none stands for all.
    pub states: Vec<String>,
    /// Of these types; none stands for all.
    pub types: Vec<String>,
}

/// Offsets to be committed.
pub type Commits = BTreeMap<PartitionName, CommitPoint>;

/// How far a partition was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPoint {
    /// The offset of the next record to be read.
    pub offset: i64,
    /// The leader epoch of the last record that was read; -1 if it is not known.
    pub leader_epoch: i32,
}

impl CommitPoint {
    /// An offset that nobody came to by reading.
    #[must_use]
    pub fn at(offset: i64) -> Self {
        Self { offset, leader_epoch: -1 }
    }
}

/// In whose name offsets are committed.
#[derive(Debug, Clone)]
pub(super) struct Committer<'a> {
    pub(super) group: &'a str,
    pub(super) generation: i32,
    pub(super) member_id: &'a str,
    pub(super) instance_id: Option<&'a str>,
}

/// Asks who coordinates a group.
pub async fn find_coordinator(cluster: &Cluster, group: &str) -> Result<Coordinator> {
    let connection = cluster.any().await?;
    let version = connection.version_of(ApiKey::FindCoordinator, i16::MAX)?;
    let mut request = FindCoordinatorRequest { key_type: KEY_IS_GROUP, ..FindCoordinatorRequest::default() };
    if version < FIND_MANY_MIN {
        request.key = Str::from(group);
    } else {
        request.coordinator_keys = vec![Str::from(group)];
    }
    let timeout = cluster.options().request_timeout;
    let response = connection.call_version(Request::from(request), version, timeout).await?;
    let Response::FindCoordinator(response) = response else {
        return Err(unexpected(connection.address(), ApiKey::FindCoordinator));
    };
    let what = || format!("group {group}");
    if version < FIND_MANY_MIN {
        ClientError::check(response.error_code, response.error_message.as_deref(), what)?;
        return Ok(Coordinator {
            broker: response.node_id,
            address: join_address(&response.host, response.port),
        });
    }
    let Some(found) = response.coordinators.into_iter().find(|found| *found.key == *group) else {
        return Err(left_out(connection.address(), ApiKey::FindCoordinator));
    };
    ClientError::check(found.error_code, found.error_message.as_deref(), what)?;
    Ok(Coordinator { broker: found.node_id, address: join_address(&found.host, found.port) })
}

/// The same, asked again until there is one.
pub async fn coordinator_within(cluster: &Cluster, group: &str, patience: Duration) -> Result<Coordinator> {
    retry(patience, async || find_coordinator(cluster, group).await).await
}

/// Asks a group's coordinator, and again after transient errors: it may be another one then.
async fn retry_at_coordinator<T>(
    cluster: &Cluster,
    group: &str,
    patience: Duration,
    ask: impl AsyncFn(&Coordinator, &Connection) -> Result<T>,
) -> Result<T> {
    retry(patience, async || {
        let coordinator = find_coordinator(cluster, group).await?;
        let connection = cluster.connect(&coordinator.address).await?;
        ask(&coordinator, &connection).await
    })
    .await
}

/// The groups of all brokers with the broker that keeps each, by name.
pub async fn list_groups(
    cluster: &Cluster,
    filter: &GroupFilter,
    patience: Duration,
) -> Result<Vec<(ListedGroup, i32)>> {
    let texts = |texts: &[String]| texts.iter().map(|text| Str::from(text.as_str())).collect();
    let request =
        ListGroupsRequest { states_filter: texts(&filter.states), types_filter: texts(&filter.types) };
    let brokers = retry(patience, async || cluster.metadata(Some(&[]), false).await).await?.brokers;
    let mut listed = BTreeMap::new();
    for broker in brokers.iter().map(|broker| broker.node_id) {
        let groups = retry(patience, async || {
            let connection = cluster.broker(broker).await?;
            let Response::ListGroups(response) = connection.call(request.clone()).await? else {
                return Err(unexpected(connection.address(), ApiKey::ListGroups));
            };
            ClientError::check(response.error_code, None, || format!("groups of broker {broker}"))?;
            Ok(response.groups)
        })
        .await?;
        // A group that moves may be told of twice.
        listed.extend(groups.into_iter().map(|group| (group.group_id.clone(), (group, broker))));
    }
    Ok(listed.into_values().collect())
}

/// The group of that name in a list: also one whose protocol DescribeGroups knows nothing of.
pub async fn listed_group(cluster: &Cluster, group: &str, patience: Duration) -> Result<Option<ListedGroup>> {
    let listed = list_groups(cluster, &GroupFilter::default(), patience).await?;
    Ok(listed.into_iter().map(|(listed, _)| listed).find(|listed| *listed.group_id == *group))
}

/// A group of the classic protocol with its members, and who keeps it.
///
/// # Errors
/// GROUP_ID_NOT_FOUND among others; also if it is of another protocol.
pub async fn describe_group(
    cluster: &Cluster,
    group: &str,
    patience: Duration,
) -> Result<(DescribedGroup, Coordinator)> {
    let request =
        DescribeGroupsRequest { groups: vec![Str::from(group)], ..DescribeGroupsRequest::default() };
    retry_at_coordinator(cluster, group, patience, async |coordinator, connection| {
        let Response::DescribeGroups(response) = connection.call(request.clone()).await? else {
            return Err(unexpected(connection.address(), ApiKey::DescribeGroups));
        };
        let Some(described) = response.groups.into_iter().find(|found| *found.group_id == *group) else {
            return Err(left_out(connection.address(), ApiKey::DescribeGroups));
        };
        let what = || format!("group {group}");
        ClientError::check(described.error_code, described.error_message.as_deref(), what)?;
        if described.group_state == DEAD {
            ClientError::check(ErrorCode::GroupIdNotFound.code(), None, what)?;
        }
        Ok((described, coordinator.clone()))
    })
    .await
}

/// A group of the consumer protocol (KIP-848) with its members, and who keeps it.
///
/// # Errors
/// GROUP_ID_NOT_FOUND among others; also if it is of another protocol.
pub async fn describe_consumer_group(
    cluster: &Cluster,
    group: &str,
    patience: Duration,
) -> Result<(DescribedConsumerGroup, Coordinator)> {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![Str::from(group)],
        include_authorized_operations: false,
    };
    retry_at_coordinator(cluster, group, patience, async |coordinator, connection| {
        let Response::ConsumerGroupDescribe(response) = connection.call(request.clone()).await? else {
            return Err(unexpected(connection.address(), ApiKey::ConsumerGroupDescribe));
        };
        let Some(described) = response.groups.into_iter().find(|found| *found.group_id == *group) else {
            return Err(left_out(connection.address(), ApiKey::ConsumerGroupDescribe));
        };
        ClientError::check(described.error_code, described.error_message.as_deref(), || {
            format!("group {group}")
        })?;
        Ok((described, coordinator.clone()))
    })
    .await
}

/// Deletes a group without members, and what it committed.
pub async fn delete_group(cluster: &Cluster, group: &str, patience: Duration) -> Result<()> {
    let request = DeleteGroupsRequest { groups_names: vec![Str::from(group)] };
    retry_at_coordinator(cluster, group, patience, async |_, connection| {
        let Response::DeleteGroups(response) = connection.call(request.clone()).await? else {
            return Err(unexpected(connection.address(), ApiKey::DeleteGroups));
        };
        let Some(result) = response.results.into_iter().find(|result| *result.group_id == *group) else {
            return Err(left_out(connection.address(), ApiKey::DeleteGroups));
        };
        ClientError::check(result.error_code, None, || format!("group {group}"))
    })
    .await
}

/// All that a group committed; nothing of a group that is not there.
pub async fn committed_offsets(
    cluster: &Cluster,
    group: &str,
    patience: Duration,
) -> Result<BTreeMap<PartitionName, i64>> {
    retry_at_coordinator(cluster, group, patience, async |_, connection| {
        let version = connection.version_of(ApiKey::OffsetFetch, OFFSETS_BY_NAME_MAX)?;
        let request = if version < FETCH_GROUPS_MIN {
            OffsetFetchRequest { group_id: Str::from(group), ..OffsetFetchRequest::default() }
        } else {
            let asked = OffsetFetchRequestGroup {
                group_id: Str::from(group),
                topics: None,
                ..OffsetFetchRequestGroup::default()
            };
            OffsetFetchRequest { groups: vec![asked], ..OffsetFetchRequest::default() }
        };
        let request = OffsetFetchRequest { topics: None, ..request };
        let timeout = cluster.options().request_timeout;
        let response = connection.call_version(Request::from(request), version, timeout).await?;
        let Response::OffsetFetch(response) = response else {
            return Err(unexpected(connection.address(), ApiKey::OffsetFetch));
        };
        offsets_of(group, response)
    })
    .await
}

/// The offsets in an answer of either form.
fn offsets_of(group: &str, response: OffsetFetchResponse) -> Result<BTreeMap<PartitionName, i64>> {
    let what = || format!("group {group}");
    ClientError::check(response.error_code, None, what)?;
    let mut offsets = BTreeMap::new();
    let mut take = |topic: &str, partition: i32, offset: i64, error_code: i16| {
        let place = PartitionName::new(topic, partition);
        ClientError::check(error_code, None, || place.to_string())?;
        // -1: nothing was committed.
        if offset >= 0 {
            offsets.insert(place, offset);
        }
        Ok::<(), ClientError>(())
    };
    for topic in &response.topics {
        for OffsetFetchResponsePartition { partition_index, committed_offset, error_code, .. } in
            &topic.partitions
        {
            take(&topic.name, *partition_index, *committed_offset, *error_code)?;
        }
    }
    for found in response.groups.iter().filter(|found| *found.group_id == *group) {
        ClientError::check(found.error_code, None, what)?;
        for topic in &found.topics {
            for OffsetFetchResponsePartitions { partition_index, committed_offset, error_code, .. } in
                &topic.partitions
            {
                take(&topic.name, *partition_index, *committed_offset, *error_code)?;
            }
        }
    }
    Ok(offsets)
}

/// Commits offsets for a group that nobody is in.
///
/// # Errors
/// UNKNOWN_MEMBER_ID: somebody is in it.
pub async fn commit_offsets(
    cluster: &Cluster,
    group: &str,
    offsets: &Commits,
    patience: Duration,
) -> Result<()> {
    let nobody = Committer { group, generation: -1, member_id: "", instance_id: None };
    let request = nobody.request(offsets);
    retry_at_coordinator(cluster, group, patience, async |_, connection| {
        let version = connection.version_of(ApiKey::OffsetCommit, OFFSETS_BY_NAME_MAX)?;
        let timeout = cluster.options().request_timeout;
        let response = connection.call_version(Request::from(request.clone()), version, timeout).await?;
        let Response::OffsetCommit(response) = response else {
            return Err(unexpected(connection.address(), ApiKey::OffsetCommit));
        };
        check_commits(&response.topics)
    })
    .await
}

impl Committer<'_> {
    pub(super) fn request(&self, offsets: &Commits) -> OffsetCommitRequest {
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for (place, point) in offsets {
            if topics.last().is_none_or(|topic| *topic.name != *place.topic) {
                let name = Str::from(&*place.topic);
                topics.push(OffsetCommitRequestTopic { name, ..OffsetCommitRequestTopic::default() });
            }
            let Some(topic) = topics.last_mut() else { continue };
            topic.partitions.push(OffsetCommitRequestPartition {
                partition_index: place.partition,
                committed_offset: point.offset,
                committed_leader_epoch: point.leader_epoch,
                committed_metadata: Some(Str::default()),
            });
        }
        OffsetCommitRequest {
            group_id: Str::from(self.group),
            generation_id_or_member_epoch: self.generation,
            member_id: Str::from(self.member_id),
            group_instance_id: self.instance_id.map(Str::from),
            topics,
            ..OffsetCommitRequest::default()
        }
    }
}

/// The first refusal in an answer to OffsetCommit.
pub(super) fn check_commits(topics: &[OffsetCommitResponseTopic]) -> Result<()> {
    for topic in topics {
        for partition in &topic.partitions {
            ClientError::check(partition.error_code, None, || {
                format!("{}-{}", topic.name, partition.partition_index)
            })?;
        }
    }
    Ok(())
}
