//! DescribeLogDirs: how large the logs of this broker are. How many bytes there are on the disk, and how many there may be, the
//! driver knows: the request waits for it.

use super::Broker;
use crate::errors::ErrorCode;
use crate::ids::{ConnId, OpId, PartitionIndex, RequestNumber, TopicPartition};
use crate::input::LogDir;
use crate::output::{Output, Outputs};
use crate::wire::describe_log_dirs::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic};
use crate::wire::{DescribeLogDirsRequest, DescribeLogDirsResponse, Response};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

impl Broker {
    pub(super) fn on_describe_log_dirs(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &DescribeLogDirsRequest,
        out: &mut Outputs,
    ) {
        if !self.has_room_to_wait() {
            let error_code = ErrorCode::ThrottlingQuotaExceeded.code();
            let refused = DescribeLogDirsResponse { error_code, ..DescribeLogDirsResponse::default() };
            self.reply(conn, number, Response::DescribeLogDirs(refused), out);
            return;
        }
        let partitions = self.held_of(request);
        let op = self.next_op();
        self.log_dirs_waits.insert(op, (conn, number));
        out.push(Output::MeasureLogs { op, partitions });
    }

    /// The partitions on this broker that are asked for. Others are left out of the answer, as Kafka does.
    fn held_of(&self, request: &DescribeLogDirsRequest) -> Vec<TopicPartition> {
        let Some(topics) = &request.topics else { return self.replicas.keys().copied().collect() };
        let mut wanted = BTreeSet::new();
        for topic in topics {
            let Some((topic_id, _)) = self.committed.topic_named(&topic.topic) else { continue };
            let named = topic.partitions.iter().map(|&index| PartitionIndex(index));
            let named = named.map(|partition| TopicPartition { topic_id, partition });
            wanted.extend(named.filter(|partition| self.replicas.contains_key(partition)));
        }
        wanted.into_iter().collect()
    }

    /// The driver has looked.
    pub(super) fn on_logs_measured(&mut self, op: OpId, dir: LogDir, out: &mut Outputs) {
        let Some((conn, number)) = self.log_dirs_waits.remove(&op) else { return };
        let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        for &(partition, bytes) in &dir.sizes {
            // It may have been deleted since.
            let Some(topic) = self.committed.topic(partition.topic_id) else { continue };
            let Some(replica) = self.replicas.get(&partition) else { continue };
            let behind = replica.high_watermark().0 - replica.log().end().0;
            topics.entry(&topic.name).or_default().push(DescribeLogDirsPartition {
                partition_index: partition.partition.0,
                partition_size: limited(bytes),
                offset_lag: behind.max(0),
                is_future_key: false,
            });
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            let name = name.into();
            DescribeLogDirsTopic { name, partitions }
        });
        let result = DescribeLogDirsResult {
            log_dir: dir.path.into(),
            topics: topics.collect(),
            total_bytes: dir.total_bytes.map_or(-1, limited),
            usable_bytes: dir.usable_bytes.map_or(-1, limited),
            ..DescribeLogDirsResult::default()
        };
        let results = alloc::vec![result];
        let response = DescribeLogDirsResponse { results, ..DescribeLogDirsResponse::default() };
        self.reply(conn, number, Response::DescribeLogDirs(response), out);
    }

    /// Its connection is gone.
    pub(super) fn forget_log_dirs(&mut self, conn: ConnId) {
        self.log_dirs_waits.retain(|_, (waiting, _)| *waiting != conn);
    }
}

fn limited(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
