//! DescribeProducers (KIP-664): which producers a replica remembers. Followers know them as leaders do (SAFETY R10), and clients may
//! ask either.

use super::Broker;
use crate::errors::ErrorCode;
use crate::ids::{ConnId, PartitionIndex, ProducerId, RequestNumber, TopicPartition};
use crate::log;
use crate::output::Outputs;
use crate::wire::describe_producers::{PartitionResponse, ProducerState, TopicResponse};
use crate::wire::{DescribeProducersRequest, DescribeProducersResponse, Response, Str};

/// Producers in one answer: a short request can ask for very many.
const PRODUCERS_MAX: usize = 1_000_000;

impl Broker {
    pub(super) fn on_describe_producers(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &DescribeProducersRequest,
        out: &mut Outputs,
    ) {
        let mut room = PRODUCERS_MAX;
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partition_indexes.iter();
            let partitions = partitions.map(|&index| self.describe_producers(&topic.name, index, &mut room));
            TopicResponse { name: topic.name.detached(), partitions: partitions.collect() }
        });
        let topics = topics.collect();
        let response = DescribeProducersResponse { throttle_time_ms: 0, topics };
        self.reply(conn, number, Response::DescribeProducers(response), out);
    }

    fn describe_producers(&self, topic: &str, index: i32, room: &mut usize) -> PartitionResponse {
        let refused = |code: ErrorCode, why: &'static str| PartitionResponse {
            partition_index: index,
            error_code: code.code(),
            error_message: Some(Str::from_static(why)),
            ..PartitionResponse::default()
        };
        let partition = self
            .committed
            .topic_named(topic)
            .map(|(topic_id, _)| TopicPartition { topic_id, partition: PartitionIndex(index) });
        let Some(partition) = partition.filter(|&it| self.committed.partition(it).is_some()) else {
            return refused(ErrorCode::UnknownTopicOrPartition, "There is no such partition.");
        };
        let Some(replica) = self.replicas.get(&partition) else {
            return refused(ErrorCode::NotLeaderOrFollower, "This broker has no replica of the partition.");
        };
        let producers = replica.log().producers();
        let Some(left) = room.checked_sub(producers.len()) else {
            let why = "So many producers do not fit into one answer: ask for fewer partitions at a time.";
            return refused(ErrorCode::PolicyViolation, why);
        };
        *room = left;
        PartitionResponse {
            partition_index: index,
            active_producers: producers.iter().map(|(id, state)| describe(id, state)).collect(),
            ..PartitionResponse::default()
        }
    }
}

fn describe(id: ProducerId, state: &log::ProducerState) -> ProducerState {
    let last = state.batches().last();
    ProducerState {
        producer_id: id.0,
        producer_epoch: i32::from(state.epoch.0),
        last_sequence: last.map_or(-1, log::KeptBatch::last_sequence),
        last_timestamp: last.map_or(-1, |batch| batch.max_timestamp),
        coordinator_epoch: -1,
        current_txn_start_offset: state.transaction_start.map_or(-1, |start| start.0),
    }
}
