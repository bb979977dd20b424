//! An administrator: creates the topics, at whatever broker, then creates, writes, reads and deletes others, deletes records, and
//! asks everything that can be asked: ListOffsets of every kind, OffsetForLeaderEpoch, Metadata, DescribeCluster, ApiVersions.

use super::alterer::{Alteration, Alterer};
use super::catalog::{churn_name, stable_name};
use super::deletes::{self, Deletion};
use super::offsets::{acked_end, judge_epoch, judge_offsets};
use super::visit::{self, version};
use super::{Behaviour, Context};
use crate::judges::Judge;
use crate::marks::Mark;
use crate::plan::{ClusterPlan, TopicPlan};
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{Offset, PartitionIndex, TopicPartition};
use seedlog_core::wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use seedlog_core::wire::delete_topics::DeleteTopicState;
use seedlog_core::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use seedlog_core::wire::metadata::MetadataRequestTopic;
use seedlog_core::wire::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use seedlog_core::wire::{
    ApiVersionsRequest, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeClusterRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest, Request,
    Response, Str,
};

/// See the module.
#[derive(Debug)]
pub struct Admin {
    /// Only of one that changes settings.
    alterer: Option<Alterer>,
    topics: Vec<TopicPlan>,
    log_append_time: bool,
    left: u64,
    deletes_per_mille: u64,
    pause_ms: u64,
    paused_until: u64,
    founded: bool,
    waiting: Option<(u64, u32, Question)>,
    written: u64,
}

/// What an answer must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    Founding,
    Create,
    Delete,
    /// Wrote a batch with this payload into a topic that comes and goes.
    Write {
        partition: TopicPartition,
        payload: u64,
    },
    /// Reads such a topic from its start.
    Read {
        partition: TopicPartition,
    },
    /// Asked for a timestamp or a place when the log's acknowledged part ended at `acked`.
    Offsets {
        partition: TopicPartition,
        name: String,
        timestamp: i64,
        acked: Offset,
    },
    /// Asked where an epoch ends, likewise.
    Epoch {
        partition: TopicPartition,
        epoch: i32,
        acked: Offset,
    },
    /// Changed a setting of a topic to this value.
    Alter(Alteration),
    DeleteRecords(Deletion),
    Other,
}

impl Admin {
    /// An administrator of a cluster, with so many operations, of which so many in 1,000 delete records.
    #[must_use]
    pub fn new(
        (operations, alters, deletes_per_mille): (u64, bool, u64),
        pause_ms: u64,
        cluster: &ClusterPlan,
    ) -> Self {
        Self {
            alterer: alters.then(Alterer::default),
            topics: cluster.topics.clone(),
            log_append_time: cluster.log_append_time,
            left: operations,
            deletes_per_mille,
            pause_ms,
            paused_until: 0,
            founded: false,
            waiting: None,
            written: 0,
        }
    }

    fn go_on(&mut self, ctx: &mut Context<'_>) {
        if self.waiting.is_some() {
            return;
        }
        if ctx.now_us < self.paused_until {
            ctx.wake_in_ms((self.paused_until - ctx.now_us).div_ceil(1_000));
            return;
        }
        let (question, request, version): (Question, Request, i16) = if !self.founded {
            (Question::Founding, self.found().into(), 7)
        } else if self.left == 0 || ctx.draining {
            return;
        } else {
            self.left -= 1;
            self.ask(ctx)
        };
        let broker = question.partition().and_then(|partition| visit::leader_of(ctx.truth, partition));
        let broker = if ctx.rng.chance(50) { None } else { broker };
        let broker = broker.unwrap_or_else(|| ctx.any_broker());
        self.waiting = Some((ctx.send(broker, request, version), broker, question));
    }

    fn found(&self) -> CreateTopicsRequest {
        let topic = |(index, topic): (usize, &TopicPlan)| {
            let kind = if self.log_append_time { "LogAppendTime" } else { "CreateTime" };
            let config = |name: &'static str, value: String| CreatableTopicConfig {
                name: Str::from_static(name),
                value: Some(Str::from(value)),
            };
            let configs = vec![
                config("message.timestamp.type", kind.to_owned()),
                config("min.insync.replicas", topic.min_insync.to_string()),
            ];
            let replication_factor = topic.replicas;
            CreatableTopic { configs, replication_factor, ..creatable(stable_name(index), topic.partitions) }
        };
        let topics = self.topics.iter().enumerate().map(topic).collect();
        CreateTopicsRequest { topics, timeout_ms: 2_000, validate_only: false }
    }

    fn ask(&mut self, ctx: &mut Context<'_>) -> (Question, Request, i16) {
        if let Some(alterer) = &self.alterer
            && ctx.rng.chance(250)
        {
            let (alteration, request, version) = alterer.ask(ctx, &self.topics);
            return (Question::Alter(alteration), request, version);
        }
        if self.deletes_per_mille > 0 && ctx.rng.chance(self.deletes_per_mille) {
            let (name, partition) = self.any_partition(ctx);
            let (deletion, request) = deletes::ask(ctx, &name, partition);
            return (Question::DeleteRecords(deletion), request.into(), version(ctx, 0, 2));
        }
        let churn = churn_name(ctx.rng.below(3));
        match ctx.rng.below(12) {
            0 | 1 => {
                let topics = vec![creatable(churn, 1)];
                let request = CreateTopicsRequest { topics, timeout_ms: 2_000, validate_only: false };
                (Question::Create, request.into(), version(ctx, 4, 7))
            }
            2 => {
                let name = Str::from(churn.as_str());
                let state = DeleteTopicState { name: Some(name.clone()), ..DeleteTopicState::default() };
                let version = version(ctx, 1, 6);
                let request = if version >= 6 {
                    DeleteTopicsRequest {
                        topics: vec![state],
                        timeout_ms: 2_000,
                        ..DeleteTopicsRequest::default()
                    }
                } else {
                    DeleteTopicsRequest {
                        topic_names: vec![name],
                        timeout_ms: 2_000,
                        ..DeleteTopicsRequest::default()
                    }
                };
                (Question::Delete, request.into(), version)
            }
            3..=5 if ctx.truth.topic_named(&churn).is_some() => self.use_churn(ctx, &churn),
            3..=8 => self.ask_offsets(ctx),
            9 => self.ask_epoch(ctx),
            10 => {
                let topics = ctx.rng.chance(500).then(|| {
                    let name = Some(Str::from(stable_name(0)));
                    vec![MetadataRequestTopic { name, ..MetadataRequestTopic::default() }]
                });
                let request = MetadataRequest { topics, ..MetadataRequest::default() };
                (Question::Other, request.into(), version(ctx, 4, 13))
            }
            _ if ctx.rng.chance(500) => {
                (Question::Other, ApiVersionsRequest::default().into(), version(ctx, 0, 4))
            }
            _ => (Question::Other, DescribeClusterRequest::default().into(), version(ctx, 0, 2)),
        }
    }

    /// Writes to a topic that comes and goes, or reads it.
    fn use_churn(&mut self, ctx: &mut Context<'_>, name: &str) -> (Question, Request, i16) {
        let topic_id = ctx.truth.topic_named(name).unwrap_or_default();
        let partition = TopicPartition { topic_id, partition: PartitionIndex(0) };
        if ctx.rng.chance(300) {
            let request = visit::read(name, partition.partition);
            return (Question::Read { partition }, request.into(), version(ctx, 4, 12));
        }
        self.written += 1;
        let (payload, request) = visit::write(ctx, name, partition.partition, self.written);
        (Question::Write { partition, payload }, request.into(), version(ctx, 3, 12))
    }

    fn any_partition(&self, ctx: &mut Context<'_>) -> (String, TopicPartition) {
        let index = ctx.rng.index(self.topics.len());
        let name = stable_name(index);
        let partitions = u64::try_from(self.topics[index].partitions).unwrap_or(1);
        let partition = i32::try_from(ctx.rng.below(partitions)).unwrap_or(0);
        let topic_id = ctx.truth.topic_named(&name).unwrap_or_default();
        (name, TopicPartition { topic_id, partition: PartitionIndex(partition) })
    }

    fn ask_offsets(&self, ctx: &mut Context<'_>) -> (Question, Request, i16) {
        let (name, partition) = self.any_partition(ctx);
        let log = ctx.truth.logs.get(&partition);
        let known = log.and_then(|log| log.batches.last()).and_then(|held| held.batch.timestamps.first());
        let recent = known.map_or(0, |&at| at - i64::try_from(ctx.rng.below(8_000)).unwrap_or(0));
        let timestamp = ctx.rng.pick(&[-1, -2, -3, recent, recent]);
        let acked = acked_end(log);
        let least = if timestamp == -3 { 7 } else { 1 };
        let wanted = ListOffsetsPartition {
            partition_index: partition.partition.0,
            timestamp,
            ..ListOffsetsPartition::default()
        };
        let topics = vec![ListOffsetsTopic { name: Str::from(name.as_str()), partitions: vec![wanted] }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() };
        let version = version(ctx, least, 11);
        (Question::Offsets { partition, name, timestamp, acked }, request.into(), version)
    }

    fn ask_epoch(&self, ctx: &mut Context<'_>) -> (Question, Request, i16) {
        let (name, partition) = self.any_partition(ctx);
        let epoch = i32::try_from(ctx.rng.below(12)).unwrap_or(0);
        let wanted = OffsetForLeaderPartition {
            partition: partition.partition.0,
            leader_epoch: epoch,
            ..OffsetForLeaderPartition::default()
        };
        let topics = vec![OffsetForLeaderTopic { topic: Str::from(name), partitions: vec![wanted] }];
        let request = OffsetForLeaderEpochRequest { replica_id: -1, topics };
        let acked = acked_end(ctx.truth.logs.get(&partition));
        (Question::Epoch { partition, epoch, acked }, request.into(), version(ctx, 3, 4))
    }

    fn on_created(&mut self, ctx: &mut Context<'_>, question: &Question, response: &CreateTopicsResponse) {
        let mut whole = true;
        for topic in &response.topics {
            let exists = topic.error_code == ErrorCode::TopicAlreadyExists.code();
            whole &= topic.error_code == 0 || exists;
            let of_name = ctx.truth.topics.values().filter(|shadow| topic.name == *shadow.name).count();
            if topic.error_code == 0 && of_name == 0 {
                ctx.hear(
                    Judge::S1,
                    Err(format!("topic {} is created, and that is not committed", topic.name)),
                );
            }
            if topic.error_code == 0 && of_name > 1 {
                ctx.mark(Mark::TopicRecreated);
            }
        }
        if *question == Question::Founding {
            self.founded = whole;
        }
    }

    fn on_deleted(ctx: &mut Context<'_>, response: &DeleteTopicsResponse) {
        if response.responses.iter().any(|topic| topic.error_code == 0) {
            ctx.mark(Mark::TopicDeleted);
        }
    }
}

impl Question {
    /// The partition that only its leader answers for.
    fn partition(&self) -> Option<TopicPartition> {
        match self {
            Self::Write { partition, .. }
            | Self::Read { partition }
            | Self::Offsets { partition, .. }
            | Self::Epoch { partition, .. } => Some(*partition),
            Self::DeleteRecords(deletion) => Some(deletion.partition),
            Self::Founding | Self::Create | Self::Delete | Self::Alter(_) | Self::Other => None,
        }
    }
}

/// A topic with the cluster's own replication factor.
fn creatable(name: String, partitions: i32) -> CreatableTopic {
    CreatableTopic {
        name: Str::from(name),
        num_partitions: partitions,
        replication_factor: -1,
        ..CreatableTopic::default()
    }
}

impl Admin {
    fn judge(&mut self, ctx: &mut Context<'_>, question: Question, response: &Response) {
        match response {
            Response::CreateTopics(response) => self.on_created(ctx, &question, response),
            Response::DeleteTopics(response) => Self::on_deleted(ctx, response),
            Response::ListOffsets(response) => {
                if let Question::Offsets { partition, timestamp, acked, .. } = question {
                    judge_offsets(ctx, partition, (timestamp, acked), response);
                }
            }
            Response::OffsetForLeaderEpoch(response) => {
                if let Question::Epoch { partition, epoch, acked } = question {
                    judge_epoch(ctx, partition, (epoch, acked), response);
                }
            }
            Response::DeleteRecords(response) => {
                if let Question::DeleteRecords(deletion) = &question {
                    deletion.judge(ctx, response);
                }
            }
            Response::Produce(response) => {
                if let Question::Write { partition, payload } = question
                    && visit::judge_write(ctx, (partition, payload), response)
                {
                    ctx.mark(Mark::ChurnWritten);
                }
            }
            Response::Fetch(response) => {
                if let Question::Read { partition } = question {
                    visit::judge_read(ctx, partition, response);
                }
            }
            Response::IncrementalAlterConfigs(response) => {
                if let (Some(alterer), Question::Alter(alteration)) = (&mut self.alterer, &question) {
                    alterer.on_altered(ctx, alteration, response);
                }
            }
            Response::Metadata(_)
            | Response::ApiVersions(_)
            | Response::InitProducerId(_)
            | Response::FindCoordinator(_)
            | Response::OffsetCommit(_)
            | Response::OffsetFetch(_)
            | Response::JoinGroup(_)
            | Response::Heartbeat(_)
            | Response::LeaveGroup(_)
            | Response::SyncGroup(_)
            | Response::DescribeGroups(_)
            | Response::ListGroups(_)
            | Response::DeleteGroups(_)
            | Response::OffsetDelete(_)
            | Response::ConsumerGroupHeartbeat(_)
            | Response::ConsumerGroupDescribe(_)
            | Response::DescribeCluster(_)
            | Response::DescribeTopicPartitions(_)
            | Response::DescribeAcls(_)
            | Response::DescribeLogDirs(_)
            | Response::DescribeClientQuotas(_)
            | Response::DescribeUserScramCredentials(_)
            | Response::DescribeQuorum(_)
            | Response::UpdateFeatures(_)
            | Response::DescribeProducers(_)
            | Response::DescribeConfigs(_)
            | Response::AlterConfigs(_)
            | Response::CreatePartitions(_)
            | Response::ElectLeaders(_)
            | Response::AlterPartitionReassignments(_)
            | Response::ListPartitionReassignments(_)
            | Response::ListConfigResources(_) => {}
        }
    }
}

impl Behaviour for Admin {
    fn on_response(&mut self, ctx: &mut Context<'_>, _broker: u32, number: u64, response: Response) {
        let Some((_, _, question)) = self.waiting.take_if(|(asked, ..)| *asked == number) else { return };
        self.judge(ctx, question, &response);
        let pause = if self.founded { self.pause_ms } else { 20 };
        self.paused_until = ctx.now_us + ctx.rng.below(2 * pause * 1_000 + 1);
        self.go_on(ctx);
    }

    fn on_disconnected(&mut self, ctx: &mut Context<'_>, broker: u32) {
        let lost = self.waiting.take_if(|(_, asked, _)| *asked == broker);
        match lost {
            Some((.., Question::Alter(_))) => {
                if let Some(alterer) = &mut self.alterer {
                    alterer.lose_track();
                }
            }
            Some((.., Question::DeleteRecords(deletion))) => deletion.tell_unknown(ctx),
            Some(_) | None => {}
        }
        self.paused_until = self.paused_until.max(ctx.now_us + ctx.rng.range(5_000, 150_000));
        self.go_on(ctx);
    }

    fn on_wake(&mut self, ctx: &mut Context<'_>) {
        self.go_on(ctx);
    }

    fn is_done(&self) -> bool {
        self.founded && self.waiting.is_none()
    }

    fn waits_for(&self) -> String {
        format!("founded {}, waiting for {:?}", self.founded, self.waiting)
    }
}
