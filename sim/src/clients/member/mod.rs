//! A member of a consumer group: finds its coordinator, joins, reads (which is only counted here), commits, stalls, leaves and
//! comes back; in the `classic` protocol or in the `consumer` protocol (KIP-848), whatever the others of its group speak. Two
//! members of one group never go back in a partition, so that a commit which does is one that a coordinator should have
//! refused (S22, S23).

mod classic;
mod consumer;

use super::catalog::{broker_of, stable_name};
use super::{Behaviour, Context};
use crate::judges::groups::Slot;
use crate::judges::s23::{InForce, Parts, check_commit};
use crate::judges::{Judge, truth};
use crate::marks::Mark;
use crate::plan::{ClusterPlan, MemberPlan};
use consumer::Reconciler;
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use seedlog_core::wire::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use seedlog_core::wire::{
    FindCoordinatorRequest, FindCoordinatorResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, Response, Str,
};
use std::collections::{BTreeMap, BTreeSet};

/// How long after a refusal it is tried again, in ms.
const RETRY_MS: u64 = 60;
/// How long a member of the classic protocol waits before it gives out partitions of new topics, in ms.
const HEARSAY_MS: u64 = 500;
/// The most that is read between two commits.
const READ_MAX: u64 = 20;

/// See the module.
#[derive(Debug)]
pub struct Member {
    plan: MemberPlan,
    /// How it takes what it is given in the consumer protocol; `None`: it speaks the classic one.
    reconciler: Option<Reconciler>,
    /// When it last asked for something: its coordinator knew it then, if it did, and may answer much later.
    asked_us: u64,
    group: Str,
    instance_id: Option<Str>,
    /// All that the group reads.
    slots: Vec<Slot>,
    coordinator: Option<u32>,
    /// Whom to ask who coordinates.
    ask: u32,
    /// It has heard of its topics, and so has its coordinator in all likelihood.
    knows_topics: bool,
    /// As the coordinator calls it; empty for a newcomer.
    id: Str,
    /// Its generation, or its epoch.
    generation: i32,
    /// What it reads, and how far it is.
    positions: BTreeMap<Slot, i64>,
    /// Those of them of which it does not know from where.
    unknown: BTreeSet<Slot>,
    state: State,
    /// Nothing is done before, in virtual µs.
    rests_until: u64,
    /// How often it lets itself be heard, in µs: a quarter of its session, until its coordinator says otherwise.
    beat_us: u64,
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
    /// What is committed, and what was in force when it was sent.
    Commit(BTreeMap<Slot, i64>, InForce),
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
        let reconciler = plan.consumer.map(Reconciler::new);
        // The oldest clients of the classic protocol know nothing of static members.
        let may_be_static = !plan.is_old || reconciler.is_some();
        Self {
            plan,
            reconciler,
            asked_us: 0,
            group: format!("g{}", plan.group).into(),
            instance_id: (plan.is_static && may_be_static).then(|| format!("place-{client}").into()),
            slots: slots.collect(),
            coordinator: None,
            ask: first,
            knows_topics: false,
            id: Str::default(),
            generation: -1,
            positions: BTreeMap::new(),
            unknown: BTreeSet::new(),
            state: State::Out,
            rests_until: 0,
            beat_us: u64::try_from(plan.session_ms).unwrap_or(1) * 250,
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
        if self.plan.is_old && self.reconciler.is_none() { old } else { new }
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
        self.asked_us = ctx.now_us;
        let Some(coordinator) = self.coordinator else {
            self.find(ctx);
            return;
        };
        match &self.state {
            State::Told => self.fetch(ctx, coordinator),
            State::Done => {}
            State::Out | State::Joined { .. } | State::Lazy | State::Reading | State::Leaving => {
                if self.reconciler.is_some() {
                    self.go_on_as_consumer(ctx, coordinator);
                } else {
                    self.go_on_as_classic(ctx, coordinator);
                }
            }
        }
    }

    fn find(&mut self, ctx: &mut Context<'_>) {
        let broker = self.ask;
        let request = if self.version(1, 6) == 1 {
            FindCoordinatorRequest { key: self.group.clone(), ..FindCoordinatorRequest::default() }
        } else {
            let coordinator_keys = vec![self.group.clone()];
            FindCoordinatorRequest { coordinator_keys, ..FindCoordinatorRequest::default() }
        };
        let number = ctx.send(broker, request, self.version(1, 6));
        self.waiting = Some((number, broker, Question::Find));
    }

    /// It reads these from here on, and no others.
    fn read(&mut self, ctx: &mut Context<'_>, positions: BTreeMap<Slot, i64>) {
        self.positions = positions;
        if !self.id.is_empty() {
            let parts = parts_of(ctx, self.positions.keys());
            ctx.truth.groups.group(&self.group).owners.on_reading(&self.id, parts);
        }
    }

    /// It is no member, or not in this generation: it stops reading.
    fn fall_out(&mut self, ctx: &mut Context<'_>) {
        self.read(ctx, BTreeMap::new());
        self.state = State::Out;
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.begin_anew();
        }
    }

    /// The same, and who comes back is somebody else.
    fn begin_anew(&mut self, ctx: &mut Context<'_>) {
        self.fall_out(ctx);
        self.id = Str::default();
    }

    fn fetch(&mut self, ctx: &mut Context<'_>, coordinator: u32) {
        let generation = self.generation;
        let least = {
            let group = ctx.truth.groups.group(&self.group);
            let least = self.unknown.iter().map(|slot| {
                let known = group.offsets.get(slot).and_then(|committed| committed.acked(generation));
                (slot.clone(), known)
            });
            least.collect()
        };
        let mut by_topic: BTreeMap<&Str, Vec<i32>> = BTreeMap::new();
        for (topic, index) in &self.unknown {
            by_topic.entry(topic).or_default().push(*index);
        }
        let topics = by_topic.into_iter().map(|(name, partition_indexes)| OffsetFetchRequestTopics {
            name: name.clone(),
            partition_indexes,
            ..OffsetFetchRequestTopics::default()
        });
        let group = OffsetFetchRequestGroup {
            group_id: self.group.clone(),
            member_id: self.reconciler.is_some().then(|| self.id.clone()),
            member_epoch: if self.reconciler.is_some() { generation } else { -1 },
            topics: Some(topics.collect()),
        };
        let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
        let number = ctx.send(coordinator, request, self.version(8, 9));
        self.waiting = Some((number, coordinator, Question::Fetch(least)));
    }

    fn commit(&mut self, ctx: &mut Context<'_>, coordinator: u32) {
        self.next_commit = ctx.now_us + ctx.rng.range(500, 1_500) * self.plan.commit_ms;
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
        let in_force = group.owners.in_force(&self.id);
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
        self.waiting = Some((number, coordinator, Question::Commit(self.positions.clone(), in_force)));
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
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration if self.reconciler.is_none() => {
                self.state = State::Out;
            }
            // In the consumer protocol a member keeps its id (KIP-1082).
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch | ErrorCode::GroupIdNotFound
                if self.reconciler.is_some() =>
            {
                ctx.mark(Mark::MemberFenced);
                self.fall_out(ctx);
            }
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId | ErrorCode::GroupIdNotFound => {
                self.begin_anew(ctx);
            }
            ErrorCode::StaleMemberEpoch => {
                self.next_beat = 0;
                self.rest(ctx, 1);
            }
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                self.lose_coordinator(ctx);
                self.rest(ctx, RETRY_MS);
            }
            _ => self.rest(ctx, RETRY_MS),
        }
        false
    }

    /// Whom it spoke to does not coordinate its group any more.
    fn lose_coordinator(&mut self, ctx: &mut Context<'_>) {
        self.coordinator = None;
        self.ask = ctx.any_broker();
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.tell_all();
        }
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
        let is_beyond = ctx.truth.groups.group(&self.group).owners.is_beyond();
        let is_judged = is_judged(ctx) && !is_beyond;
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
                self.unknown.remove(&slot);
            }
        }
        self.state = State::Reading;
        self.next_commit = ctx.now_us + ctx.rng.range(500, 1_500) * self.plan.commit_ms;
    }

    fn on_committed(
        &mut self,
        ctx: &mut Context<'_>,
        response: &OffsetCommitResponse,
        (mut committed, in_force): (BTreeMap<Slot, i64>, InForce),
    ) {
        let answers = response.topics.iter().flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|answer| (topic.name.detached(), answer.partition_index, answer.error_code))
        });
        let mut wrong = 0;
        for (topic, index, code) in answers {
            if code != 0 {
                wrong = code;
                committed.remove(&(topic, index));
            }
        }
        if is_judged(ctx) && !committed.is_empty() {
            let accepted = parts_of(ctx, committed.keys());
            let said = check_commit(self.generation, &accepted, &in_force);
            ctx.hear(Judge::S23, said.map_err(|says| format!("{} of {}: {says}", self.id, self.group)));
            let group = ctx.truth.groups.group(&self.group);
            for (slot, offset) in committed {
                group.offsets.entry(slot).or_default().on_acked(offset, self.generation);
            }
        }
        if !self.heed_since(ctx, wrong, self.asked_us) {
            ctx.mark(Mark::CommitFenced);
            return;
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
            if self.instance_id.is_some() && (self.reconciler.is_none() || ctx.rng.chance(500)) {
                // It is restarted, and comes back without its id.
                self.begin_anew(ctx);
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
            (Question::Beat, Response::ConsumerGroupHeartbeat(response)) => self.on_told(ctx, response),
            (Question::Leave, Response::ConsumerGroupHeartbeat(response)) => {
                self.on_left(ctx, response.error_code);
            }
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
                self.on_left(ctx, code);
            }
            _ => {}
        }
    }

    fn on_left(&mut self, ctx: &mut Context<'_>, code: i16) {
        let is_over = matches!(
            ErrorCode::from_code(code),
            Some(
                ErrorCode::None
                    | ErrorCode::UnknownMemberId
                    | ErrorCode::FencedInstanceId
                    | ErrorCode::FencedMemberEpoch
                    | ErrorCode::GroupIdNotFound
            )
        );
        if is_over {
            self.begin_anew(ctx);
            self.state = if ctx.draining { State::Done } else { State::Out };
            let away_ms = ctx.rng.below(3 * u64::try_from(self.plan.session_ms).unwrap_or(0));
            self.rest(ctx, away_ms);
        } else {
            self.heed(ctx, code);
        }
    }
}

/// Topics by their ids.
fn parts_of<'a>(ctx: &Context<'_>, slots: impl IntoIterator<Item = &'a Slot>) -> Parts {
    let known = slots
        .into_iter()
        .filter_map(|(topic, index)| Some(truth::partition_of(ctx.truth.topic_named(topic)?, *index)));
    known.collect()
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
            self.lose_coordinator(ctx);
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
