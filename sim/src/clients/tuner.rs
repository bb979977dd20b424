//! An administrator who sets and deletes settings of groups that members use, sometimes to what no group may have; and checks
//! that what was answered is committed, and that nothing wrong is taken.

use super::alterer::{Alteration, Alterer, Of};
use super::catalog::stable_name;
use super::turns::Turns;
use super::visit::version;
use super::{Behaviour, Context};
use crate::judges::Judge;
use crate::marks::Mark;
use crate::plan::{GroupsPlan, Plan, Role};
use seedlog_core::errors::ErrorCode;
use seedlog_core::group::Bounds;
use seedlog_core::wire::{IncrementalAlterConfigsResponse, Response};
use std::collections::BTreeSet;

const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";

/// See the module.
#[derive(Debug)]
pub struct Tuner {
    groups: Vec<String>,
    plan: GroupsPlan,
    turns: Turns<Question>,
    alterer: Alterer,
}

/// What an answer must fit.
#[derive(Debug, Clone)]
struct Question {
    alteration: Alteration,
    /// No group may have it.
    is_wrong: bool,
}

impl Tuner {
    /// One of a run with consumer groups, with so many operations.
    #[must_use]
    pub fn new(operations: u64, pause_ms: u64, run: &Plan) -> Self {
        let of_members = run.clients.iter().filter_map(|client| {
            if let Role::Member(member) = &client.role { Some(member.group) } else { None }
        });
        let groups: BTreeSet<u32> = of_members.collect();
        Self {
            groups: groups.into_iter().map(|group| format!("g{group}")).collect(),
            plan: run.cluster.groups.unwrap_or_default(),
            turns: Turns::new(operations, pause_ms),
            alterer: Alterer::default(),
        }
    }

    fn go_on(&mut self, ctx: &mut Context<'_>) {
        if self.groups.is_empty() || !self.turns.is_due(ctx) {
            return;
        }
        if ctx.truth.topic_named(&stable_name(0)).is_none() {
            self.turns.wait(ctx); // Nothing is founded yet.
            return;
        }
        let question = self.ask(ctx);
        let (request, version) = (question.alteration.request(), version(ctx, 0, 1));
        let broker = ctx.any_broker();
        self.turns.asked(ctx.send(broker, request, version), broker, question);
    }

    fn ask(&self, ctx: &mut Context<'_>) -> Question {
        let group = self.groups[ctx.rng.index(self.groups.len())].clone();
        let (key, bounds) = if ctx.rng.chance(500) {
            (SESSION, self.plan.session_bounds())
        } else {
            (HEARTBEAT, self.plan.heartbeat_bounds())
        };
        let is_wrong = ctx.rng.chance(150);
        let value = if is_wrong {
            Some(ctx.rng.pick(&[bounds.min - 1, bounds.max + 1, -1, i32::MAX]).to_string())
        } else {
            ctx.rng.chance(700).then(|| any_within(ctx, bounds).to_string())
        };
        Question { alteration: Alteration { of: Of::Group(group), key, value }, is_wrong }
    }

    fn on_altered(
        &mut self,
        ctx: &mut Context<'_>,
        question: &Question,
        response: &IncrementalAlterConfigsResponse,
    ) {
        let code = response.responses.first().and_then(|answer| ErrorCode::from_code(answer.error_code));
        let Question { alteration, is_wrong } = question;
        match (code, is_wrong) {
            (Some(ErrorCode::InvalidConfig), true) => ctx.mark(Mark::GroupSettingRefused),
            (Some(ErrorCode::InvalidConfig), false) => {
                ctx.hear(Judge::S1, Err(format!("{alteration:?} is refused as wrong, and is not")));
            }
            (Some(ErrorCode::None), true) => {
                ctx.hear(Judge::S1, Err(format!("{alteration:?} is taken, and no group may have it")));
            }
            _ => self.alterer.on_altered(ctx, alteration, response),
        }
    }
}

fn any_within(ctx: &mut Context<'_>, bounds: Bounds) -> u64 {
    let ends = [bounds.min, bounds.max].map(|end| u64::try_from(end).unwrap_or(1));
    ctx.rng.range(ends[0], ends[1].max(ends[0]))
}

impl Behaviour for Tuner {
    fn on_response(&mut self, ctx: &mut Context<'_>, _broker: u32, number: u64, response: Response) {
        let Some(question) = self.turns.answered(number) else { return };
        if let Response::IncrementalAlterConfigs(response) = &response {
            self.on_altered(ctx, &question, response);
        }
        self.turns.rest(ctx);
        self.go_on(ctx);
    }

    fn on_disconnected(&mut self, ctx: &mut Context<'_>, broker: u32) {
        if self.turns.lost(ctx, broker).is_some() {
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
