//! DescribeTopicPartitions (KIP-966): the list of all partitions by topic name and index, in pages.

use super::Broker;
use crate::cluster::decide::check_topic_name;
use crate::cluster::image::{PartitionImage, TopicImage};
use crate::errors::ErrorCode;
use crate::group::is_internal;
use crate::ids::{ConnId, NodeId, RequestNumber, Uuid};
use crate::output::Outputs;
use crate::wire::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::wire::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, Response, Str};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// `max.request.partition.size.limit`, Kafka's default: no page has more partitions.
const PAGE_PARTITIONS_MAX: usize = 2_000;
/// Topics that do not exist count for something too: an answer to many names stays small.
const PAGE_TOPICS_MAX: usize = 2_000;

impl Broker {
    pub(super) fn on_describe_topic_partitions(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &DescribeTopicPartitionsRequest,
        out: &mut Outputs,
    ) {
        let response = self.describe_partitions(request);
        self.reply(conn, number, Response::DescribeTopicPartitions(response), out);
    }

    fn describe_partitions(
        &self,
        request: &DescribeTopicPartitionsRequest,
    ) -> DescribeTopicPartitionsResponse {
        let from = request.cursor.as_ref();
        let asks_all = request.topics.is_empty();
        let asked: BTreeSet<&str> = request.topics.iter().map(|topic| &*topic.name).collect();
        let is_unasked = |cursor: &Cursor| !asks_all && !asked.contains(&*cursor.topic_name);
        if from.is_some_and(|cursor| cursor.partition_index < 0 || is_unasked(cursor)) {
            return refused(&asked, ErrorCode::InvalidRequest);
        }
        let mut names: Vec<&str> = if asks_all {
            self.committed.topics().values().map(|topic| topic.name.as_str()).collect()
        } else {
            asked.into_iter().collect()
        };
        names.sort_unstable();
        names.retain(|&name| from.is_none_or(|cursor| name >= &*cursor.topic_name));
        let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
        self.page(&names, from, limit.clamp(1, PAGE_PARTITIONS_MAX))
    }

    fn page(&self, names: &[&str], from: Option<&Cursor>, limit: usize) -> DescribeTopicPartitionsResponse {
        let mut response = DescribeTopicPartitionsResponse::default();
        let mut room = limit;
        for &name in names {
            if room == 0 || response.topics.len() >= PAGE_TOPICS_MAX {
                response.next_cursor = Some(Cursor { topic_name: Str::from(name), partition_index: 0 });
                break;
            }
            let Some((topic_id, topic)) = self.committed.topic_named(name) else {
                response.topics.push(unknown(name));
                continue;
            };
            let first = from.filter(|cursor| *cursor.topic_name == *name);
            let first = first.map_or(0, |cursor| usize::try_from(cursor.partition_index).unwrap_or(0));
            let described = self.describe_run(topic_id, topic, first, room);
            let next = first.saturating_add(described.partitions.len());
            room -= described.partitions.len();
            response.topics.push(described);
            if next < topic.partitions.len() {
                let partition_index = i32::try_from(next).unwrap_or(i32::MAX);
                response.next_cursor = Some(Cursor { topic_name: Str::from(name), partition_index });
                break;
            }
        }
        response
    }

    fn describe_run(
        &self,
        topic_id: Uuid,
        topic: &TopicImage,
        first: usize,
        room: usize,
    ) -> DescribeTopicPartitionsResponseTopic {
        let partitions = (0_i32..).zip(&topic.partitions).skip(first).take(room);
        DescribeTopicPartitionsResponseTopic {
            name: Some(topic.name.as_str().into()),
            topic_id,
            is_internal: is_internal(&topic.name),
            partitions: partitions
                .map(|(index, partition)| self.describe_partition(index, partition))
                .collect(),
            ..DescribeTopicPartitionsResponseTopic::default()
        }
    }

    fn describe_partition(
        &self,
        partition_index: i32,
        partition: &PartitionImage,
    ) -> DescribeTopicPartitionsResponsePartition {
        let state = &partition.state;
        DescribeTopicPartitionsResponsePartition {
            error_code: ErrorCode::None.code(),
            partition_index,
            leader_id: state.leader.map_or(-1, |node| node.0),
            leader_epoch: state.leader_epoch.0,
            replica_nodes: NodeId::numbers(partition.replicas()),
            isr_nodes: NodeId::numbers(&state.isr),
            eligible_leader_replicas: Some(NodeId::numbers(&state.elr)),
            last_known_elr: Some(state.last_known.iter().map(|node| node.0).collect()),
            offline_replicas: self.offline_replicas(partition),
        }
    }

    /// Replicas on brokers that are not there.
    pub(super) fn offline_replicas(&self, partition: &PartitionImage) -> Vec<i32> {
        let brokers = self.committed.brokers();
        let is_offline = |node: &&NodeId| brokers.get(node).is_none_or(|broker| broker.fenced);
        partition.replicas().iter().filter(is_offline).map(|node| node.0).collect()
    }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = match check_topic_name(name) {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    of_topic(name, code)
}

fn of_topic(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(Str::from(name)),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

/// The answer has no code of its own: each topic gets it.
fn refused(asked: &BTreeSet<&str>, code: ErrorCode) -> DescribeTopicPartitionsResponse {
    DescribeTopicPartitionsResponse {
        topics: asked.iter().map(|name| of_topic(name, code)).collect(),
        ..DescribeTopicPartitionsResponse::default()
    }
}
