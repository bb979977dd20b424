//! The classic protocol: one member assigns, and all stop reading while they join again.

use super::{HEARSAY_MS, Member, Question, RETRY_MS, State, is_judged, parts_of};
use crate::clients::Context;
use crate::judges::Judge;
use crate::judges::groups::Slot;
use crate::marks::Mark;
use bytes::{BufMut, Bytes};
use seedlog_core::errors::ErrorCode;
use seedlog_core::group::subscription::{
    CONSUMER_PROTOCOL_TYPE, NamedPartitions, assignment, assignment_bytes,
};
use seedlog_core::wire::join_group::JoinGroupRequestProtocol;
use seedlog_core::wire::leave_group::MemberIdentity;
use seedlog_core::wire::sync_group::SyncGroupRequestAssignment;
use seedlog_core::wire::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, Str, SyncGroupRequest,
    SyncGroupResponse,
};
use std::collections::{BTreeMap, BTreeSet};

impl Member {
    /// The next thing that it asks for.
    pub(super) fn go_on_as_classic(&mut self, ctx: &mut Context<'_>, coordinator: u32) {
        match &self.state {
            State::Out if !self.knows_topics => {
                self.knows_topics =
                    self.slots.iter().all(|(topic, _)| ctx.truth.topic_named(topic).is_some());
                self.rest(ctx, if self.knows_topics { HEARSAY_MS } else { RETRY_MS });
                self.go_on(ctx);
            }
            State::Out => self.join(ctx, coordinator),
            State::Joined { members, asked } => {
                let (members, asked) = (members.clone(), *asked);
                let is_lazy = !asked && !members.is_empty() && !ctx.draining;
                if is_lazy && ctx.rng.chance(self.plan.lazy_per_mille) {
                    self.state = State::Lazy;
                    self.work(ctx, coordinator);
                } else {
                    self.sync(ctx, coordinator, &members);
                    self.state = State::Joined { members, asked: true };
                }
            }
            State::Lazy | State::Reading => self.work(ctx, coordinator),
            State::Leaving => self.leave(ctx, coordinator),
            State::Told | State::Done => {}
        }
    }

    fn join(&mut self, ctx: &mut Context<'_>, coordinator: u32) {
        // It stops reading before it joins.
        self.read(ctx, BTreeMap::new());
        let name = Str::from_static("even");
        let protocols = vec![JoinGroupRequestProtocol { name, metadata: subscription(&self.slots) }];
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: self.plan.session_ms,
            rebalance_timeout_ms: self.plan.rebalance_ms,
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            protocol_type: Str::from_static(CONSUMER_PROTOCOL_TYPE),
            protocols,
            reason: None,
        };
        let number = ctx.send(coordinator, request, self.version(1, 9));
        self.waiting = Some((number, coordinator, Question::Join));
    }

    fn sync(&mut self, ctx: &mut Context<'_>, coordinator: u32, members: &[Str]) {
        let mut parts: BTreeMap<&Str, NamedPartitions> = members.iter().map(|id| (id, Vec::new())).collect();
        for ((topic, index), id) in self.slots.iter().zip(members.iter().cycle()) {
            let Some(part) = parts.get_mut(id) else { continue };
            match part.last_mut().filter(|(name, _)| name == topic) {
                Some((_, indexes)) => indexes.push(*index),
                None => part.push((topic.clone(), vec![*index])),
            }
        }
        let assignments = parts.into_iter().map(|(id, part)| SyncGroupRequestAssignment {
            member_id: id.clone(),
            assignment: assignment_bytes(0, &part),
        });
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            protocol_type: (!self.plan.is_old).then(|| Str::from_static(CONSUMER_PROTOCOL_TYPE)),
            protocol_name: (!self.plan.is_old).then(|| Str::from_static("even")),
            assignments: assignments.collect(),
        };
        let number = ctx.send(coordinator, request, self.version(0, 5));
        self.waiting = Some((number, coordinator, Question::Sync));
    }

    /// Commits and lets itself be heard, each when it is time.
    fn work(&mut self, ctx: &mut Context<'_>, coordinator: u32) {
        let beat_us = u64::try_from(self.plan.session_ms).unwrap_or(1) * 250;
        let is_due = |at: u64| ctx.now_us >= at;
        if self.state == State::Reading && self.positions.is_empty() && ctx.draining {
            // There are more members than partitions.
            self.state = State::Leaving;
            self.leave(ctx, coordinator);
        } else if self.state == State::Reading
            && !self.positions.is_empty()
            && (is_due(self.next_commit) || ctx.draining)
        {
            self.commit(ctx, coordinator);
        } else if is_due(self.next_beat) {
            self.next_beat = ctx.now_us + beat_us;
            let request = HeartbeatRequest {
                group_id: self.group.clone(),
                generation_id: self.generation,
                member_id: self.id.clone(),
                group_instance_id: self.instance_id.clone(),
            };
            let number = ctx.send(coordinator, request, self.version(0, 4));
            self.waiting = Some((number, coordinator, Question::Beat));
        } else {
            let commits = self.state == State::Reading && !self.positions.is_empty();
            let next = if commits { self.next_beat.min(self.next_commit) } else { self.next_beat };
            ctx.wake_in_ms((next - ctx.now_us).div_ceil(1_000).max(1));
        }
    }

    fn leave(&mut self, ctx: &mut Context<'_>, coordinator: u32) {
        let request = if self.plan.is_old {
            LeaveGroupRequest {
                group_id: self.group.clone(),
                member_id: self.id.clone(),
                ..LeaveGroupRequest::default()
            }
        } else {
            let group_instance_id = self.instance_id.clone();
            let member = MemberIdentity { member_id: self.id.clone(), group_instance_id, reason: None };
            LeaveGroupRequest { group_id: self.group.clone(), members: vec![member], ..Default::default() }
        };
        let number = ctx.send(coordinator, request, self.version(0, 5));
        self.waiting = Some((number, coordinator, Question::Leave));
    }

    pub(super) fn on_joined(&mut self, ctx: &mut Context<'_>, response: &JoinGroupResponse) {
        if ErrorCode::from_code(response.error_code) == Some(ErrorCode::MemberIdRequired) {
            ctx.truth.groups.group(&self.group).contact.on_heard(ctx.now_us);
            self.id = response.member_id.detached();
            return;
        }
        if !self.heed(ctx, response.error_code) {
            return;
        }
        let is_back =
            self.instance_id.is_some() && self.id.is_empty() && response.generation_id == self.generation;
        if is_back {
            ctx.mark(Mark::StaticReturned);
        }
        self.id = response.member_id.detached();
        self.generation = response.generation_id;
        let leads = response.leader == response.member_id && !response.skip_assignment;
        let members = response.members.iter().map(|member| member.member_id.detached());
        self.state =
            State::Joined { members: if leads { members.collect() } else { Vec::new() }, asked: false };
    }

    pub(super) fn on_synced(&mut self, ctx: &mut Context<'_>, response: &SyncGroupResponse) {
        if !self.heed(ctx, response.error_code) {
            return;
        }
        let given = assignment(&response.assignment).unwrap_or_default();
        let given = given.into_iter().flat_map(|(topic, indexes)| {
            let topic = topic.detached();
            indexes.into_iter().map(move |index| (topic.clone(), index))
        });
        let given: BTreeSet<Slot> = given.collect();
        if is_judged(ctx) {
            let parts = parts_of(ctx, &given);
            let owners = &ctx.truth.groups.group(&self.group).owners;
            let said = owners.check_told(self.generation, &self.id, &response.assignment, &parts);
            ctx.hear(Judge::S23, said.map_err(|says| format!("{}: {says}", self.group)));
        }
        ctx.mark(Mark::GroupStable);
        self.unknown.clone_from(&given);
        self.read(ctx, given.into_iter().map(|slot| (slot, 0)).collect());
        self.state = State::Told;
    }
}

/// The topics that a member reads, in the oldest layout: it says nothing of what it owns, and stops reading before it joins.
fn subscription(slots: &[Slot]) -> Bytes {
    let topics: BTreeSet<&Str> = slots.iter().map(|(topic, _)| topic).collect();
    let mut out = Vec::new();
    out.put_i16(0);
    out.put_i32(i32::try_from(topics.len()).unwrap_or(0));
    for topic in topics {
        out.put_i16(i16::try_from(topic.len()).unwrap_or(0));
        out.put_slice(topic.as_bytes());
    }
    out.put_i32(-1);
    Bytes::from(out)
}
