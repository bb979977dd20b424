//! The consumer protocol (KIP-848): the coordinator assigns, and a member that is to give something up says when it has; the
//! others read on meanwhile.

use super::{Member, Question, State, is_judged, parts_of};
use crate::clients::Context;
use crate::judges::Judge;
use crate::judges::groups::Slot;
use crate::marks::Mark;
use crate::plan::ConsumerPlan;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::Uuid;
use seedlog_core::wire::consumer_group_heartbeat::{HeartbeatAssignment, OwnedPartitions};
use seedlog_core::wire::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, Str};
use std::collections::{BTreeMap, BTreeSet};

/// The epoch of who joins.
const JOINS: i32 = 0;
/// The epoch of who leaves.
const LEAVES: i32 = -1;
/// The epoch of a static member that comes back.
const LEAVES_FOR_A_WHILE: i32 = -2;

/// What a member of a consumer group is to read, and what it has said of it.
#[derive(Debug)]
pub(super) struct Reconciler {
    plan: ConsumerPlan,
    /// What it was told last to read, until it does.
    target: Option<BTreeSet<Slot>>,
    /// What its coordinator was told that it reads; `None`: everything is to be said again.
    said: Option<BTreeSet<Slot>>,
    /// What it is about to give up is committed, or will not be.
    is_handed_over: bool,
}

impl Reconciler {
    pub(super) fn new(plan: ConsumerPlan) -> Self {
        Self { plan, target: None, said: None, is_handed_over: false }
    }

    /// It is no member any more.
    pub(super) fn begin_anew(&mut self) {
        (self.target, self.said, self.is_handed_over) = (None, None, false);
    }

    /// Its coordinator may know nothing of what was said.
    pub(super) fn tell_all(&mut self) {
        self.said = None;
    }
}

impl Member {
    /// The next thing that it asks for.
    pub(super) fn go_on_as_consumer(&mut self, ctx: &mut Context<'_>, coordinator: u32) {
        match self.state {
            State::Out => {
                if self.id.is_empty() && !self.plan.is_old {
                    self.id = format!("{:016x}", ctx.rng.bits()).into();
                }
                self.generation = JOINS;
                self.beat(ctx, coordinator, JOINS);
            }
            State::Leaving => {
                self.read(ctx, BTreeMap::new());
                let comes_back = self.instance_id.is_some() && !ctx.draining;
                self.beat(ctx, coordinator, if comes_back { LEAVES_FOR_A_WHILE } else { LEAVES });
            }
            State::Reading => self.reconcile(ctx, coordinator),
            State::Joined { .. } | State::Lazy | State::Told | State::Done => {}
        }
    }

    /// Gives up what it is to give up, takes what it is to take, and says so; then it commits and lets itself be heard.
    fn reconcile(&mut self, ctx: &mut Context<'_>, coordinator: u32) {
        let Some(reconciler) = &mut self.reconciler else { return };
        if let Some(target) = &reconciler.target {
            let gives_up = self.positions.keys().any(|slot| !target.contains(slot));
            if gives_up && !reconciler.is_handed_over {
                reconciler.is_handed_over = true;
                if ctx.rng.chance(500) {
                    self.commit(ctx, coordinator);
                    return;
                }
            }
            let target = reconciler.target.take().unwrap_or_default();
            reconciler.is_handed_over = false;
            self.unknown = target.iter().filter(|slot| !self.positions.contains_key(slot)).cloned().collect();
            let kept = target.into_iter().map(|slot| (self.positions.get(&slot).copied().unwrap_or(0), slot));
            let kept = kept.map(|(position, slot)| (slot, position)).collect();
            self.read(ctx, kept);
            if gives_up {
                ctx.mark(Mark::PartitionsHandedOver);
            }
            if !self.unknown.is_empty() {
                self.state = State::Told;
                self.fetch(ctx, coordinator);
                return;
            }
        }
        self.work_as_consumer(ctx, coordinator);
    }

    fn work_as_consumer(&mut self, ctx: &mut Context<'_>, coordinator: u32) {
        let has_said = self.reconciler.as_ref().and_then(|reconciler| reconciler.said.as_ref());
        let has_news = has_said.is_none_or(|said| !said.iter().eq(self.positions.keys()));
        let is_settled = || {
            let parts = parts_of(ctx, self.positions.keys());
            let owners = ctx.truth.groups.owners(&self.group);
            !is_judged(ctx) || owners.is_none_or(|owners| owners.is_settled(&self.id, &parts))
        };
        // Who leaves before everybody has what is theirs would hide that somebody never gets it (L7).
        let is_over = ctx.draining && is_settled();
        if has_news || ctx.now_us >= self.next_beat {
            self.next_beat = ctx.now_us + self.beat_us;
            self.beat(ctx, coordinator, self.generation);
        } else if self.positions.is_empty() && is_over {
            self.state = State::Leaving;
            self.go_on_as_consumer(ctx, coordinator);
        } else if !self.positions.is_empty() && (is_over || (ctx.now_us >= self.next_commit && !ctx.draining))
        {
            self.commit(ctx, coordinator);
        } else {
            let commits = !self.positions.is_empty() && !ctx.draining;
            let next = if commits { self.next_beat.min(self.next_commit) } else { self.next_beat };
            let next = if ctx.draining { next.min(ctx.now_us + 100_000) } else { next };
            ctx.wake_in_ms((next - ctx.now_us).div_ceil(1_000).max(1));
        }
    }

    fn beat(&mut self, ctx: &mut Context<'_>, coordinator: u32, epoch: i32) {
        let Some(reconciler) = &mut self.reconciler else { return };
        let reads: BTreeSet<Slot> = self.positions.keys().cloned().collect();
        let says_all = reconciler.said.is_none();
        let has_news = reconciler.said.as_ref() != Some(&reads);
        let by_pattern = reconciler.plan.by_pattern && !self.plan.is_old;
        let topics: BTreeSet<&Str> = self.slots.iter().map(|(topic, _)| topic).collect();
        let names = || topics.into_iter().cloned().collect();
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.group.clone(),
            member_id: self.id.clone(),
            member_epoch: epoch,
            instance_id: self.instance_id.clone(),
            rebalance_timeout_ms: if says_all { self.plan.rebalance_ms } else { -1 },
            subscribed_topic_names: (says_all && !by_pattern).then(names),
            // Topics that come and go are named otherwise.
            subscribed_topic_regex: (says_all && by_pattern).then(|| Str::from_static("t[0-9]+")),
            server_assignor: reconciler
                .plan
                .assignor
                .filter(|_| says_all)
                .map(|assignor| assignor.name().into()),
            topic_partitions: has_news.then(|| owned(ctx, &reads)),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let is_leaving = epoch < 0;
        if !is_leaving {
            reconciler.said = Some(reads);
        }
        let number = ctx.send(coordinator, request, i16::from(!self.plan.is_old));
        let question = if is_leaving { Question::Leave } else { Question::Beat };
        self.waiting = Some((number, coordinator, question));
    }

    /// An answer to its heartbeat.
    pub(super) fn on_told(&mut self, ctx: &mut Context<'_>, response: &ConsumerGroupHeartbeatResponse) {
        if response.error_code != 0
            && let Some(reconciler) = &mut self.reconciler
        {
            reconciler.tell_all();
        }
        if ErrorCode::from_code(response.error_code) == Some(ErrorCode::UnreleasedInstanceId) {
            ctx.mark(Mark::InstanceUnreleased);
        }
        if !self.heed_since(ctx, response.error_code, self.asked_us) {
            return;
        }
        if let Some(id) = &response.member_id {
            self.id = id.detached();
        }
        self.generation = response.member_epoch;
        self.heed_interval(ctx, response.heartbeat_interval_ms);
        if self.state == State::Out {
            self.state = State::Reading;
        }
        let Some(assignment) = &response.assignment else { return };
        let told = slots(ctx, assignment);
        if is_judged(ctx) {
            let parts = parts_of(ctx, &told);
            let owners = &ctx.truth.groups.group(&self.group).owners;
            let said = owners.check_stage(self.generation, &self.id, &parts);
            ctx.hear(Judge::S23, said.map_err(|says| format!("{}: {says}", self.group)));
        }
        ctx.mark(Mark::ConsumerTold);
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.target = Some(told);
        }
    }

    /// It was told how often to let itself be heard: as the brokers say, or as its group's own settings said at some time.
    fn heed_interval(&mut self, ctx: &mut Context<'_>, told_ms: i32) {
        self.beat_us = u64::try_from(told_ms).unwrap_or(0).max(1) * 1_000;
        if told_ms == self.plan.session_ms / 4 {
            return;
        }
        ctx.mark(Mark::GroupTuned);
        if is_judged(ctx) && !ctx.truth.groups.group(&self.group).heartbeats_ms.contains(&told_ms) {
            let says =
                format!("{}: heartbeats are to come every {told_ms} ms, and no settings said so", self.group);
            ctx.hear(Judge::S19, Err(says));
        }
    }
}

fn owned(ctx: &Context<'_>, reads: &BTreeSet<Slot>) -> Vec<OwnedPartitions> {
    let mut by_topic: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for part in parts_of(ctx, reads) {
        by_topic.entry(part.topic_id).or_default().push(part.partition.0);
    }
    by_topic.into_iter().map(|(topic_id, partitions)| OwnedPartitions { topic_id, partitions }).collect()
}

/// Partitions by the names of their topics.
fn slots(ctx: &Context<'_>, assignment: &HeartbeatAssignment) -> BTreeSet<Slot> {
    let topics = assignment.topic_partitions.iter().filter_map(|topic| {
        let name = Str::from(ctx.truth.image.topic(topic.topic_id)?.name.as_str());
        Some((name, &topic.partitions))
    });
    topics.flat_map(|(name, indexes)| indexes.iter().map(move |index| (name.clone(), *index))).collect()
}
