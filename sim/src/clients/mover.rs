//! An administrator who moves partitions of the stable topics between brokers, takes moves back, lists them, and has preferred
//! leaders elected; and checks that what was answered is committed.

use super::catalog::stable_name;
use super::turns::Turns;
use super::{Behaviour, Context};
use crate::judges::Judge;
use crate::plan::TopicPlan;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{NodeId, PartitionIndex, TopicPartition};
use seedlog_core::wire::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use seedlog_core::wire::elect_leaders::ElectLeadersTopic;
use seedlog_core::wire::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ElectLeadersRequest,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, Request, Response, Str,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most replicas that a move asks for.
const REPLICAS_MAX: u64 = 4;

/// See the module.
#[derive(Debug)]
pub struct Mover {
    topics: Vec<TopicPlan>,
    turns: Turns<Question>,
    /// Where partitions were sent last; those that are not here were never moved.
    sent: BTreeMap<TopicPartition, Vec<NodeId>>,
    /// Nobody told what became of a move of these: it may be decided at any later time.
    unsure: BTreeSet<TopicPartition>,
}

/// What an answer must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    /// Moves a partition, or takes a move back.
    Move {
        partition: TopicPartition,
        target: Option<Vec<NodeId>>,
    },
    List,
    Elect,
}

impl Mover {
    /// One of a cluster with these topics, with so many operations.
    #[must_use]
    pub fn new(operations: u64, pause_ms: u64, topics: &[TopicPlan]) -> Self {
        Self {
            topics: topics.to_vec(),
            turns: Turns::new(operations, pause_ms),
            sent: BTreeMap::new(),
            unsure: BTreeSet::new(),
        }
    }

    fn go_on(&mut self, ctx: &mut Context<'_>) {
        if !self.turns.is_due(ctx) {
            return;
        }
        let Some((name, partition)) = self.any_partition(ctx) else {
            self.turns.wait(ctx); // Nothing is founded yet.
            return;
        };
        let (question, request, version) = self.ask(ctx, &name, partition);
        let broker = ctx.any_broker();
        self.turns.asked(ctx.send(broker, request, version), broker, question);
    }

    fn any_partition(&self, ctx: &mut Context<'_>) -> Option<(String, TopicPartition)> {
        let index = ctx.rng.index(self.topics.len());
        let name = stable_name(index);
        let partitions = u64::try_from(self.topics[index].partitions).unwrap_or(1);
        let partition = PartitionIndex(i32::try_from(ctx.rng.below(partitions)).unwrap_or(0));
        let topic_id = ctx.truth.topic_named(&name)?;
        Some((name, TopicPartition { topic_id, partition }))
    }

    fn ask(
        &mut self,
        ctx: &mut Context<'_>,
        name: &str,
        partition: TopicPartition,
    ) -> (Question, Request, i16) {
        match ctx.rng.below(10) {
            0..6 => {
                let target = any_brokers(ctx, partition);
                let request = request(name, partition, Some(&target));
                let version = i16::try_from(ctx.rng.below(2)).unwrap_or(0);
                (Question::Move { partition, target: Some(target) }, request.into(), version)
            }
            6 => {
                let request = request(name, partition, None);
                (Question::Move { partition, target: None }, request.into(), 0)
            }
            7 | 8 => {
                let partitions = vec![partition.partition.0];
                let topics = vec![ElectLeadersTopic { topic: Str::from(name), partitions }];
                let request = ElectLeadersRequest { topic_partitions: Some(topics), ..Default::default() };
                (Question::Elect, request.into(), 2)
            }
            _ => (Question::List, ListPartitionReassignmentsRequest::default().into(), 0),
        }
    }

    fn on_moved(
        &mut self,
        ctx: &mut Context<'_>,
        partition: TopicPartition,
        target: Option<&[NodeId]>,
        response: &AlterPartitionReassignmentsResponse,
    ) {
        let answer = response.responses.first().and_then(|topic| topic.partitions.first());
        let code = answer.map_or(response.error_code, |answer| answer.error_code);
        match ErrorCode::from_code(code) {
            Some(ErrorCode::None) => {}
            // It never came to the controller, or was refused there.
            Some(
                ErrorCode::InvalidReplicaAssignment
                | ErrorCode::InvalidReplicationFactor
                | ErrorCode::NoReassignmentInProgress
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::ThrottlingQuotaExceeded,
            ) => return,
            _ => {
                self.unsure.insert(partition);
                return;
            }
        }
        let Some(held) = ctx.truth.image.partition(partition) else { return };
        let goes_to = held.assignment.target();
        match target {
            Some(target) => {
                if goes_to != target && !self.unsure.contains(&partition) {
                    let says = format!(
                        "{partition}: a move to {target:?} is answered, and {goes_to:?} is committed"
                    );
                    ctx.hear(Judge::S1, Err(says));
                }
                self.sent.insert(partition, target.to_vec());
            }
            None => {
                if held.assignment.is_moving() && !self.unsure.contains(&partition) {
                    let says = format!("{partition}: a move is said to be taken back, and goes on");
                    ctx.hear(Judge::S1, Err(says));
                }
                self.sent.insert(partition, goes_to);
            }
        }
    }

    /// What is said to move was sent there.
    fn judge_list(&self, ctx: &mut Context<'_>, response: &ListPartitionReassignmentsResponse) {
        for topic in &response.topics {
            let Some(topic_id) = ctx.truth.topic_named(&topic.name) else { continue };
            for moving in &topic.partitions {
                let partition =
                    TopicPartition { topic_id, partition: PartitionIndex(moving.partition_index) };
                let going = moving.replicas.iter().filter(|id| !moving.removing_replicas.contains(id));
                let target: Vec<NodeId> = going.map(|&id| NodeId(id)).collect();
                if self.sent.get(&partition) != Some(&target) && !self.unsure.contains(&partition) {
                    let says = format!("{partition} is said to move to {target:?}, and nobody sent it there");
                    ctx.hear(Judge::S1, Err(says));
                }
            }
        }
    }
}

/// Brokers for a partition: mostly as many as its topic needs in sync, or more.
fn any_brokers(ctx: &mut Context<'_>, partition: TopicPartition) -> Vec<NodeId> {
    let needed = ctx.truth.image.topic(partition.topic_id).map_or(1, |topic| topic.min_insync_replicas);
    let most = u64::from(ctx.brokers).min(REPLICAS_MAX);
    let least = if ctx.rng.chance(100) { 1 } else { u64::try_from(needed).unwrap_or(1).min(most) };
    let count = usize::try_from(ctx.rng.range(least, most)).unwrap_or(1);
    let mut left: Vec<NodeId> =
        (1..=ctx.brokers).filter_map(|id| i32::try_from(id).ok()).map(NodeId).collect();
    (0..count).map(|_| left.swap_remove(ctx.rng.index(left.len()))).collect()
}

fn request(
    name: &str,
    partition: TopicPartition,
    target: Option<&[NodeId]>,
) -> AlterPartitionReassignmentsRequest {
    let replicas = target.map(|target| target.iter().map(|node| node.0).collect());
    let partition = ReassignablePartition { partition_index: partition.partition.0, replicas };
    let topics = vec![ReassignableTopic { name: Str::from(name), partitions: vec![partition] }];
    AlterPartitionReassignmentsRequest { topics, ..Default::default() }
}

impl Behaviour for Mover {
    fn on_response(&mut self, ctx: &mut Context<'_>, _broker: u32, number: u64, response: Response) {
        let Some(question) = self.turns.answered(number) else { return };
        match (&question, &response) {
            (Question::Move { partition, target }, Response::AlterPartitionReassignments(response)) => {
                self.on_moved(ctx, *partition, target.as_deref(), response)
            }
            (Question::List, Response::ListPartitionReassignments(response)) => {
                self.judge_list(ctx, response);
            }
            _ => {}
        }
        self.turns.rest(ctx);
        self.go_on(ctx);
    }

    fn on_disconnected(&mut self, ctx: &mut Context<'_>, broker: u32) {
        if let Some(Question::Move { partition, .. }) = self.turns.lost(ctx, broker) {
            self.unsure.insert(partition);
        }
        self.go_on(ctx);
    }

    fn on_wake(&mut self, ctx: &mut Context<'_>) {
        self.go_on(ctx);
    }

    fn is_done(&self) -> bool {
        self.turns.is_done()
    }

    fn waits_for(&self) -> String {
        self.turns.waits_for()
    }
}
