//! DescribeLogDirs: how large the logs of this broker are. How many bytes there are on the disk, and how many there may be, the
//! driver knows: the request waits for it.
//!
//! A short request makes the driver walk through all logs. So there is one look at a time: whoever asks meanwhile waits for the
//! next one, together with all others that do.

use super::Broker;
use crate::errors::ErrorCode;
use crate::ids::{ConnId, OpId, PartitionIndex, RequestNumber, TopicPartition};
use crate::input::LogDir;
use crate::output::{Output, Outputs};
use crate::wire::describe_log_dirs::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic};
use crate::wire::{DescribeLogDirsRequest, DescribeLogDirsResponse, Response};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;

/// Requests for the sizes of logs.
#[derive(Debug, Default)]
pub(super) struct LogDirs {
    /// The look under way, and whom it is for.
    looking: Option<(OpId, Vec<Asked>)>,
    /// Who has asked since it began.
    next: Vec<Asked>,
}

/// Who asks, and for what.
#[derive(Debug)]
struct Asked {
    conn: ConnId,
    number: RequestNumber,
    /// `None`: all that there are.
    wanted: Option<BTreeSet<TopicPartition>>,
}

impl LogDirs {
    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.looking.as_ref().map_or(0, |(_, asked)| asked.len()) + self.next.len()
    }

    /// Looks under way.
    pub(super) fn looks(&self) -> usize {
        usize::from(self.looking.is_some())
    }
}

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
        let wanted = self.held_of(request);
        self.log_dirs.next.push(Asked { conn, number, wanted });
        self.look_at_logs(out);
    }

    /// The partitions on this broker that are asked for. Others are left out of the answer, as Kafka does.
    fn held_of(&self, request: &DescribeLogDirsRequest) -> Option<BTreeSet<TopicPartition>> {
        let mut wanted = BTreeSet::new();
        for topic in request.topics.as_ref()? {
            let Some((topic_id, _)) = self.committed.topic_named(&topic.topic) else { continue };
            let named = topic.partitions.iter().map(|&index| PartitionIndex(index));
            let named = named.map(|partition| TopicPartition { topic_id, partition });
            wanted.extend(named.filter(|partition| self.replicas.contains_key(partition)));
        }
        Some(wanted)
    }

    /// Begins the next look, unless one is under way or nobody asks.
    fn look_at_logs(&mut self, out: &mut Outputs) {
        if self.log_dirs.looking.is_some() || self.log_dirs.next.is_empty() {
            return;
        }
        let asked = mem::take(&mut self.log_dirs.next);
        let partitions = if asked.iter().any(|asked| asked.wanted.is_none()) {
            self.replicas.keys().copied().collect()
        } else {
            let wanted: BTreeSet<_> =
                asked.iter().filter_map(|asked| asked.wanted.as_ref()).flatten().collect();
            wanted.into_iter().copied().collect()
        };
        let op = self.next_op();
        self.log_dirs.looking = Some((op, asked));
        out.push(Output::MeasureLogs { op, partitions });
    }

    /// The driver has looked.
    pub(super) fn on_logs_measured(&mut self, op: OpId, dir: &LogDir, out: &mut Outputs) {
        let Some((_, asked)) = self.log_dirs.looking.take_if(|(looking, _)| *looking == op) else { return };
        for Asked { conn, number, wanted } in asked {
            let response = self.log_dirs_of(dir, wanted.as_ref());
            self.reply(conn, number, Response::DescribeLogDirs(response), out);
        }
        self.look_at_logs(out);
    }

    fn log_dirs_of(
        &self,
        dir: &LogDir,
        wanted: Option<&BTreeSet<TopicPartition>>,
    ) -> DescribeLogDirsResponse {
        let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        let is_wanted = |partition: &TopicPartition| wanted.is_none_or(|wanted| wanted.contains(partition));
        for &(partition, bytes) in dir.sizes.iter().filter(|(partition, _)| is_wanted(partition)) {
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
            log_dir: dir.path.as_str().into(),
            topics: topics.collect(),
            total_bytes: dir.total_bytes.map_or(-1, limited),
            usable_bytes: dir.usable_bytes.map_or(-1, limited),
            ..DescribeLogDirsResult::default()
        };
        let results = alloc::vec![result];
        DescribeLogDirsResponse { results, ..DescribeLogDirsResponse::default() }
    }

    /// Its connection is gone.
    pub(super) fn forget_log_dirs(&mut self, conn: ConnId) {
        if let Some((_, asked)) = &mut self.log_dirs.looking {
            asked.retain(|asked| asked.conn != conn);
        }
        self.log_dirs.next.retain(|asked| asked.conn != conn);
    }
}

fn limited(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
