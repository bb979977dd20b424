//! An administrator who gives a topic more and more partitions and writes to them, and who lets the records of the stable topics
//! expire, by time and by size; and checks that what was answered is committed.

use super::alterer::{Alteration, Alterer, Of};
use super::catalog::stable_name;
use super::turns::Turns;
use super::visit::{self, version};
use super::{Behaviour, Context};
use crate::judges::Judge;
use crate::marks::Mark;
use crate::plan::TopicPlan;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{PartitionIndex, TopicPartition};
use seedlog_core::wire::create_partitions::CreatePartitionsTopic;
use seedlog_core::wire::create_topics::CreatableTopic;
use seedlog_core::wire::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, Request, Response, Str,
};

/// The topic that grows.
const GROWING: &str = "growing";
/// Most partitions that it is given.
const PARTITIONS_MAX: i32 = 8;

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    topics: Vec<TopicPlan>,
    turns: Turns<Question>,
    alterer: Alterer,
    written: u64,
}

/// What an answer must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    /// Creates the topic that grows.
    Create,
    /// Gives it so many partitions.
    Grow {
        count: i32,
        validate_only: bool,
    },
    Write {
        partition: TopicPartition,
        payload: u64,
    },
    Read {
        partition: TopicPartition,
    },
    /// Changes how long records are kept.
    Keep(Alteration),
}

impl Keeper {
    /// One of a cluster with these topics, with so many operations.
    #[must_use]
    pub fn new(operations: u64, pause_ms: u64, topics: &[TopicPlan]) -> Self {
        Self {
            topics: topics.to_vec(),
            turns: Turns::new(operations, pause_ms),
            alterer: Alterer::default(),
            written: 0,
        }
    }

    fn go_on(&mut self, ctx: &mut Context<'_>) {
        if !self.turns.is_due(ctx) {
            return;
        }
        if ctx.truth.topic_named(&stable_name(0)).is_none() {
            self.turns.wait(ctx); // Nothing is founded yet.
            return;
        }
        let (question, request, version) = self.ask(ctx);
        let leader = question.partition().and_then(|partition| visit::leader_of(ctx.truth, partition));
        let leader = if ctx.rng.chance(50) { None } else { leader };
        let broker = leader.unwrap_or_else(|| ctx.any_broker());
        self.turns.asked(ctx.send(broker, request, version), broker, question);
    }

    fn ask(&mut self, ctx: &mut Context<'_>) -> (Question, Request, i16) {
        if ctx.rng.chance(400) {
            let alteration = self.any_retention(ctx);
            let request = alteration.request();
            return (Question::Keep(alteration), request.into(), version(ctx, 0, 1));
        }
        let Some(topic_id) = ctx.truth.topic_named(GROWING) else {
            let topic = CreatableTopic {
                name: Str::from_static(GROWING),
                num_partitions: 1,
                replication_factor: -1,
                ..CreatableTopic::default()
            };
            let request =
                CreateTopicsRequest { topics: vec![topic], timeout_ms: 2_000, validate_only: false };
            return (Question::Create, request.into(), 7);
        };
        let count = partitions_of(ctx);
        if ctx.rng.chance(300) {
            let validate_only = ctx.rng.chance(150);
            let wanted = count + i32::try_from(ctx.rng.below(3)).unwrap_or(0);
            let wanted = wanted.min(PARTITIONS_MAX);
            let topic =
                CreatePartitionsTopic { name: Str::from_static(GROWING), count: wanted, assignments: None };
            let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 2_000, validate_only };
            return (Question::Grow { count: wanted, validate_only }, request.into(), version(ctx, 0, 3));
        }
        let index = i32::try_from(ctx.rng.below(u64::from(count.unsigned_abs().max(1)))).unwrap_or(0);
        let partition = TopicPartition { topic_id, partition: PartitionIndex(index) };
        if ctx.rng.chance(300) {
            let request = visit::read(GROWING, partition.partition);
            return (Question::Read { partition }, request.into(), version(ctx, 4, 12));
        }
        self.written += 1;
        let (payload, request) = visit::write(ctx, GROWING, partition.partition, self.written);
        (Question::Write { partition, payload }, request.into(), version(ctx, 3, 12))
    }

    /// Mostly of the stable topics: they have records.
    fn any_retention(&self, ctx: &mut Context<'_>) -> Alteration {
        let of = Of::Topic(stable_name(ctx.rng.index(self.topics.len())));
        let (key, value) = match ctx.rng.below(6) {
            0 | 1 => ("retention.ms", Some(ctx.rng.pick(&[0_i64, 200, 1_000, 5_000]))),
            2 => ("retention.ms", None),
            3 | 4 => ("retention.bytes", Some(ctx.rng.pick(&[0_i64, 3_000, 40_000, 200_000]))),
            _ => ("retention.bytes", ctx.rng.pick(&[None, Some(-1)])),
        };
        Alteration { of, key, value: value.map(|value| value.to_string()) }
    }

    fn on_grown(
        ctx: &mut Context<'_>,
        (count, validate_only): (i32, bool),
        response: &CreatePartitionsResponse,
    ) {
        let Some(answer) = response.results.first() else { return };
        let held = partitions_of(ctx);
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) if validate_only => {}
            Some(ErrorCode::None) => {
                ctx.mark(Mark::TopicGrown);
                if held < count {
                    let says =
                        format!("{GROWING}: {count} partitions are answered, and {held} are committed");
                    ctx.hear(Judge::S1, Err(says));
                }
            }
            Some(ErrorCode::InvalidPartitions) if held < count => {
                let says = format!("{GROWING}: {count} partitions are refused, and {held} are committed");
                ctx.hear(Judge::S1, Err(says));
            }
            _ => {}
        }
    }
}

/// Committed partitions of the topic that grows.
fn partitions_of(ctx: &Context<'_>) -> i32 {
    let held = ctx.truth.image.topic_named(GROWING).map_or(0, |(_, topic)| topic.partitions.len());
    i32::try_from(held).unwrap_or(i32::MAX)
}

impl Question {
    /// The partition that only its leader answers for.
    fn partition(&self) -> Option<TopicPartition> {
        match self {
            Self::Write { partition, .. } | Self::Read { partition } => Some(*partition),
            Self::Create | Self::Grow { .. } | Self::Keep(_) => None,
        }
    }
}

impl Behaviour for Keeper {
    fn on_response(&mut self, ctx: &mut Context<'_>, _broker: u32, number: u64, response: Response) {
        let Some(question) = self.turns.answered(number) else { return };
        match (&question, &response) {
            (Question::Grow { count, validate_only }, Response::CreatePartitions(response)) => {
                Self::on_grown(ctx, (*count, *validate_only), response);
            }
            (Question::Keep(alteration), Response::IncrementalAlterConfigs(response)) => {
                self.alterer.on_altered(ctx, alteration, response);
            }
            (Question::Write { partition, payload }, Response::Produce(response)) => {
                visit::judge_write(ctx, (*partition, *payload), response);
            }
            (Question::Read { partition }, Response::Fetch(response)) => {
                visit::judge_read(ctx, *partition, response);
            }
            _ => {}
        }
        self.turns.rest(ctx);
        self.go_on(ctx);
    }

    fn on_disconnected(&mut self, ctx: &mut Context<'_>, broker: u32) {
        if let Some(Question::Keep(_)) = self.turns.lost(ctx, broker) {
            self.alterer.lose_track();
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
