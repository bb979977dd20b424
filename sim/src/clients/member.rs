//! A member of a consumer group of the classic protocol: finds its coordinator, joins, assigns if it leads, reads (which is
//! only counted here), commits, stalls, leaves and comes back. Two members of one group never go back in a partition, so that
//! a commit which does is one that a coordinator should have refused (S22, S23).

use super::catalog::{broker_of, stable_name};
use super::{Behaviour, Context};
use crate::judges::groups::Slot;
use crate::judges::{Judge, s23};
use crate::marks::Mark;
use crate::plan::{ClusterPlan, MemberPlan};
use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::group::subscription::CONSUMER_PROTOCOL_TYPE;
use seedlog_core::wire::join_group::JoinGroupRequestProtocol;
use seedlog_core::wire::leave_group::MemberIdentity;
use seedlog_core::wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use seedlog_core::wire::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use seedlog_core::wire::sync_group::SyncGroupRequestAssignment;
use seedlog_core::wire::{
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    Response, Str, SyncGroupRequest, SyncGroupResponse,
};
use std::collections::BTreeMap;

/// How long after a refusal it is tried again, in ms.
const RETRY_MS: u64 = 60;
/// The most that is read between two commits.
const READ_MAX: u64 = 20;

/// See the module.
#[derive(Debug)]
pub struct Member {
    plan: MemberPlan,
    /// When it last asked for a commit: its coordinator knew it then, if it did, and may answer much later.
    committing_us: u64,
    group: Str,
    instance_id: Option<Str>,
    /// All that the group reads.
    slots: Vec<Slot>,
    coordinator: Option<u32>,
    /// Whom to ask who coordinates.
    ask: u32,
    /// As the coordinator calls it; empty for a newcomer.
    id: Str,
    generation: i32,
    /// What it reads, and how far it is.
    positions: BTreeMap<Slot, i64>,
    state: State,
    /// Nothing is done before, in virtual µs.
    rests_until: u64,
    next_beat: u64,
    next_commit: u64,
    /// The request on its way.
    waiting: Option<(u64, u32, Question)>,
}

/// Where a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// It is none, or not in this generation.
    Out,
    /// It joined, and as leader assigns: to these. It may have asked for its part already, and heard nothing.
    Joined { members: Vec<Str>, asked: bool },
    /// It was to assign and never does: it only lets itself be heard.
    Lazy,
    /// It knows what it reads, and not from where.
    Told,
    /// It reads.
    Reading,
    /// It is on its way out.
    Leaving,
    /// It has come to its end.
    Done,
}

/// What an answer must fit.
#[derive(Debug, Clone)]
enum Question {
    Find,
    Join,
    Sync,
    /// With what was acknowledged before.
    Fetch(BTreeMap<Slot, Option<i64>>),
    Beat,
    /// What is committed, and the generation that was in force when it was sent.
    Commit(BTreeMap<Slot, i64>, i32),
    Leave,
}

impl Member {
    /// The member number `client` of a cluster.
    #[must_use]
    pub fn new(plan: MemberPlan, (first, client): (u32, u32), cluster: &ClusterPlan) -> Self {
        let topics = cluster.topics.iter().enumerate();
        let slots = topics.flat_map(|(index, topic)| {
            (0..topic.partitions).map(move |partition| (Str::from(stable_name(index)), partition))
        });
        Self {
            plan,
            committing_us: 0,
            group: format!("g{}", plan.group).into(),
            instance_id: (plan.is_static && !plan.is_old).then(|| format!("place-{client}").into()),
            slots: slots.collect(),
            coordinator: None,
            ask: first,
            id: Str::default(),
            generation: -1,
            positions: BTreeMap::new(),
            state: State::Out,
            rests_until: 0,
            next_beat: 0,
            next_commit: 0,
            waiting: None,
        }
    }

    /// Its group.
    #[must_use]
    pub fn group(&self) -> &Str {
        &self.group
    }

    fn version(&self, old: i16, new: i16) -> i16 {
        if self.plan.is_old { old } else { new }
    }

    fn go_on(&mut self, ctx: &mut Context<'_>) {
        if self.waiting.is_some() || self.state == State::Done {
            return;
        }
        if ctx.now_us < self.rests_until
            && !(ctx.draining && self.rests_until > ctx.now_us + RETRY_MS * 1_000)
        {
            ctx.wake_in_ms((self.rests_until - ctx.now_us).div_ceil(1_000));
            return;
        }
        let Some(coordinator) = self.coordinator else {
            let broker = self.ask;
            let request = FindCoordinatorRequest {
                key: self.group.clone(),
                coordinator_keys: vec![self.group.clone()],
                ..FindCoordinatorRequest::default()
            };
            let old = self.plan.is_old;
            let request = if old {
                FindCoordinatorRequest { coordinator_keys: Vec::new(), ..request }
            } else {
                FindCoordinatorRequest { key: Str::default(), ..request }
            };
            let number = ctx.send(broker, request, self.version(1, 6));
            self.waiting = Some((number, broker, Question::Find));
            return;
        };
        match &self.state {
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
            State::Told => self.fetch(ctx, coordinator),
            State::Lazy | State::Reading => self.work(ctx, coordinator),
            State::Leaving => self.leave(ctx, coordinator),
            State::Done => {}
        }
    }

    fn join(&mut self, ctx: &mut Context<'_>, coordinator: u32) {
        let protocols = vec![JoinGroupRequestProtocol {
            name: Str::from_static("even"),
            metadata: Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 2, b't', b'0']),
        }];
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
        let mut parts: BTreeMap<&Str, Vec<u8>> = members.iter().map(|id| (id, Vec::new())).collect();
        for (index, id) in (0..self.slots.len()).zip(members.iter().cycle()) {
            if let Some(part) = parts.get_mut(id) {
                part.push(u8::try_from(index).unwrap_or(u8::MAX));
            }
        }
        let assignments = parts.into_iter().map(|(id, part)| SyncGroupRequestAssignment {
            member_id: id.clone(),
            assignment: Bytes::from(part),
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

    fn fetch(&mut self, ctx: &mut Context<'_>, coordinator: u32) {
        let generation = self.generation;
        let least = {
            let group = ctx.truth.groups.group(&self.group);
            let least = self.positions.keys().map(|slot| {
                let known = group.offsets.get(slot).and_then(|committed| committed.acked(generation));
                (slot.clone(), known)
            });
            least.collect()
        };
        let mut by_topic: BTreeMap<&Str, Vec<i32>> = BTreeMap::new();
        for (topic, index) in self.positions.keys() {
            by_topic.entry(topic).or_default().push(*index);
        }
        let topics = by_topic.into_iter().map(|(name, partition_indexes)| OffsetFetchRequestTopics {
            name: name.clone(),
            partition_indexes,
            ..OffsetFetchRequestTopics::default()
        });
        let group = OffsetFetchRequestGroup {
            group_id: self.group.clone(),
            topics: Some(topics.collect()),
            ..OffsetFetchRequestGroup::default()
        };
        let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
        let number = ctx.send(coordinator, request, self.version(8, 9));
        self.waiting = Some((number, coordinator, Question::Fetch(least)));
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
            self.next_commit = ctx.now_us + ctx.rng.range(500, 1_500) * self.plan.commit_ms;
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

    fn commit(&mut self, ctx: &mut Context<'_>, coordinator: u32) {
        let mut by_topic: BTreeMap<Str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for ((topic, partition_index), position) in &mut self.positions {
            *position += i64::try_from(ctx.rng.below(READ_MAX)).unwrap_or(0);
            by_topic.entry(topic.clone()).or_default().push(OffsetCommitRequestPartition {
                partition_index: *partition_index,
                committed_offset: *position,
                ..OffsetCommitRequestPartition::default()
            });
        }
        let group = ctx.truth.groups.group(&self.group);
        let in_force = group.owners.generation();
        for (slot, position) in &self.positions {
            group.offsets.entry(slot.clone()).or_default().on_asked(*position);
        }
        let topics = by_topic.into_iter().map(|(name, partitions)| OffsetCommitRequestTopic {
            name,
            partitions,
            ..OffsetCommitRequestTopic::default()
        });
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            topics: topics.collect(),
            ..OffsetCommitRequest::default()
        };
        let number = ctx.send(coordinator, request, self.version(2, 9));
        self.committing_us = ctx.now_us;
        self.waiting = Some((number, coordinator, Question::Commit(self.positions.clone(), in_force)));
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

    /// What an answer's code means for the member. `true`: nothing is wrong.
    fn heed(&mut self, ctx: &mut Context<'_>, code: i16) -> bool {
        let now_us = ctx.now_us;
        self.heed_since(ctx, code, now_us)
    }

    /// The same, where all that is sure is that it was known as a member at some time.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "Kafka has a hundred error codes, and all others are the same to this client"
    )]
    fn heed_since(&mut self, ctx: &mut Context<'_>, code: i16, known_us: u64) -> bool {
        let code = ErrorCode::from_code(code).unwrap_or_default();
        if matches!(code, ErrorCode::None | ErrorCode::RebalanceInProgress) {
            // Whoever is told so is known as a member.
            ctx.truth.groups.group(&self.group).contact.on_heard(known_us);
        }
        match code {
            ErrorCode::None => return true,
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => self.state = State::Out,
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.id = Str::default();
                self.state = State::Out;
            }
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                self.coordinator = None;
                self.ask = ctx.any_broker();
                self.rest(ctx, RETRY_MS);
            }
            _ => self.rest(ctx, RETRY_MS),
        }
        false
    }

    fn rest(&mut self, ctx: &Context<'_>, ms: u64) {
        self.rests_until = ctx.now_us + ms * 1_000;
    }

    fn on_found(&mut self, ctx: &mut Context<'_>, response: &FindCoordinatorResponse) {
        let (code, node_id) = match response.coordinators.first() {
            Some(found) => (found.error_code, found.node_id),
            None => (response.error_code, response.node_id),
        };
        match broker_of(node_id).filter(|_| code == 0) {
            Some(broker) => self.coordinator = Some(broker),
            None => {
                self.ask = ctx.any_broker();
                self.rest(ctx, RETRY_MS);
            }
        }
    }

    fn on_joined(&mut self, ctx: &mut Context<'_>, response: &JoinGroupResponse) {
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

    fn on_synced(&mut self, ctx: &mut Context<'_>, response: &SyncGroupResponse) {
        if !self.heed(ctx, response.error_code) {
            return;
        }
        let owned: Vec<Slot> = response
            .assignment
            .iter()
            .filter_map(|&index| self.slots.get(usize::from(index)).cloned())
            .collect();
        if is_judged(ctx) {
            let owners = &ctx.truth.groups.group(&self.group).owners;
            let said = owners.check_told(self.generation, &self.id, &response.assignment);
            ctx.hear(Judge::S23, said);
        }
        ctx.mark(Mark::GroupStable);
        self.positions = owned.into_iter().map(|slot| (slot, 0)).collect();
        self.state = State::Told;
    }

    fn on_fetched(
        &mut self,
        ctx: &mut Context<'_>,
        response: &OffsetFetchResponse,
        least: &BTreeMap<Slot, Option<i64>>,
    ) {
        let Some(group) = response.groups.first() else { return };
        if !self.heed(ctx, group.error_code) {
            return;
        }
        let is_judged = is_judged(ctx);
        for topic in &group.topics {
            for answer in &topic.partitions {
                let slot = (topic.name.detached(), answer.partition_index);
                let Some(position) = self.positions.get_mut(&slot) else { continue };
                let committed = ctx.truth.groups.group(&self.group).offsets.entry(slot.clone()).or_default();
                let said =
                    committed.check_fetched(answer.committed_offset, least.get(&slot).copied().flatten());
                if is_judged {
                    let named = |says| format!("{}: {}-{}: {says}", self.group, slot.0, slot.1);
                    ctx.hear(Judge::S22, said.map_err(named));
                }
                *position = answer.committed_offset.max(0);
            }
        }
        self.state = State::Reading;
        self.next_commit = ctx.now_us + ctx.rng.range(500, 1_500) * self.plan.commit_ms;
    }

    fn on_committed(
        &mut self,
        ctx: &mut Context<'_>,
        response: &OffsetCommitResponse,
        (committed, in_force): (BTreeMap<Slot, i64>, i32),
    ) {
        let answers = response.topics.iter().flat_map(|topic| &topic.partitions);
        let code = answers.map(|answer| answer.error_code).find(|code| *code != 0).unwrap_or(0);
        if !self.heed_since(ctx, code, self.committing_us) {
            ctx.mark(Mark::CommitFenced);
            return;
        }
        if is_judged(ctx) {
            ctx.hear(Judge::S23, s23::check_commit(self.generation, in_force));
            let group = ctx.truth.groups.group(&self.group);
            for (slot, offset) in committed {
                group.offsets.entry(slot).or_default().on_acked(offset, self.generation);
            }
        }
        if ctx.draining {
            self.state = State::Leaving;
        } else if ctx.rng.chance(self.plan.stalls_per_mille) {
            let session_ms = u64::try_from(self.plan.session_ms).unwrap_or(0);
            let silent_ms = session_ms + ctx.rng.below(2 * session_ms);
            self.rest(ctx, silent_ms);
            // The first thing that it does then is what it was about to do.
            self.next_commit = 0;
        } else if ctx.rng.chance(self.plan.leaves_per_mille) {
            if self.instance_id.is_some() {
                // It is restarted, and comes back without its id.
                self.id = Str::default();
                self.state = State::Out;
            } else {
                self.state = State::Leaving;
            }
        }
    }

    fn on_answer(&mut self, ctx: &mut Context<'_>, question: Question, response: &Response) {
        match (question, response) {
            (Question::Find, Response::FindCoordinator(response)) => self.on_found(ctx, response),
            (Question::Join, Response::JoinGroup(response)) => self.on_joined(ctx, response),
            (Question::Sync, Response::SyncGroup(response)) => self.on_synced(ctx, response),
            (Question::Fetch(least), Response::OffsetFetch(response)) => {
                self.on_fetched(ctx, response, &least)
            }
            (Question::Beat, Response::Heartbeat(response)) if !self.heed(ctx, response.error_code) => {
                ctx.mark(Mark::RebalanceHeard);
            }
            (Question::Commit(committed, in_force), Response::OffsetCommit(response)) => {
                self.on_committed(ctx, response, (committed, in_force));
            }
            (Question::Leave, Response::LeaveGroup(response)) => {
                let of_member = response.members.first().map_or(0, |member| member.error_code);
                let code = if response.error_code == 0 { of_member } else { response.error_code };
                let is_over = matches!(
                    ErrorCode::from_code(code),
                    Some(ErrorCode::None | ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId)
                );
                if is_over {
                    self.id = Str::default();
                    self.state = if ctx.draining { State::Done } else { State::Out };
                    let away_ms = ctx.rng.below(3 * u64::try_from(self.plan.session_ms).unwrap_or(0));
                    self.rest(ctx, away_ms);
                } else {
                    self.heed(ctx, code);
                }
            }
            _ => {}
        }
    }
}

/// What is acknowledged is promised: no mode that may lose it, and no more losses than the topic survives.
fn is_judged(ctx: &Context<'_>) -> bool {
    let topic_id = ctx.truth.topic_named(seedlog_core::group::OFFSETS_TOPIC);
    let is_beyond =
        ctx.truth.logs.iter().any(|(partition, log)| Some(partition.topic_id) == topic_id && log.is_beyond);
    !ctx.truth.allows_unclean && !is_beyond && ctx.truth.groups.are_judged()
}

impl Behaviour for Member {
    fn on_response(&mut self, ctx: &mut Context<'_>, broker: u32, number: u64, response: Response) {
        let Some((_, _, question)) = self.waiting.take_if(|(asked, to, _)| *asked == number && *to == broker)
        else {
            return;
        };
        self.on_answer(ctx, question, &response);
        self.go_on(ctx);
    }

    fn on_disconnected(&mut self, ctx: &mut Context<'_>, broker: u32) {
        if self.coordinator == Some(broker) {
            self.coordinator = None;
            self.ask = ctx.any_broker();
            ctx.mark(Mark::CoordinatorMoved);
        } else if self.ask == broker {
            self.ask = ctx.any_broker();
        }
        self.waiting.take_if(|(_, to, _)| *to == broker);
        self.rests_until = self.rests_until.max(ctx.now_us + RETRY_MS * 1_000);
        self.go_on(ctx);
    }

    fn on_wake(&mut self, ctx: &mut Context<'_>) {
        self.go_on(ctx);
    }

    fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn waits_for(&self) -> String {
        format!(
            "{} of {} in generation {} is {:?}, coordinator {:?}, waiting for {:?}",
            self.id, self.group, self.generation, self.state, self.coordinator, self.waiting
        )
    }
}
