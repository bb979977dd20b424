//! Members of the classic protocol in a consumer group (KIP-848): the coordinator assigns to them as to all others, and tells them
//! in the words that they know. A heartbeat that says REBALANCE_IN_PROGRESS makes such a member join again; with that it says what
//! it reads, and hears its next epoch; with SyncGroup it hears what it is to read.

use super::decision::Decision;
use super::heartbeat::{fenced_place, unknown, unknown_place};
use super::member::{Current, Said, State};
use super::migrate::{classic_assignment, known, said_of};
use super::state::Consumer;
use super::word::{Speaker, Word};
use super::{Refusal, Watch};
use crate::errors::ErrorCode;
use crate::group::classic::{MEMBER_ID_FIRST_FROM, kept, new_id, refused_heartbeat, refused_join};
use crate::group::settings::MigrationPolicy;
use crate::group::subscription::{CONSUMER_PROTOCOL_TYPE, Subscription, subscription};
use crate::group::topics::Topics;
use crate::group::{Caller, Deadline, Effects, Group, Groups};
use crate::ids::Uuid;
use crate::replica::WaiterId;
use crate::time::Now;
use crate::wire::consumer_group_heartbeat::OwnedPartitions;
use crate::wire::leave_group::MemberIdentity;
use crate::wire::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, Str, SyncGroupRequest, SyncGroupResponse,
};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

impl Consumer {
    /// The protocols suit all classic members that are there.
    fn speaks(&self, request: &JoinGroupRequest) -> bool {
        let spoken = |name: &Str| {
            let classic = self.members.values().filter_map(|said| said.classic_member_metadata.as_ref());
            classic.into_iter().all(|it| it.supported_protocols.iter().any(|other| other.name == *name))
        };
        *request.protocol_type == *CONSUMER_PROTOCOL_TYPE
            && request.protocols.iter().any(|protocol| spoken(&protocol.name))
    }

    /// A classic member that asks, and where it is.
    fn classic(&self, group: &Str, id: &Str, place: Option<&Str>) -> Result<(&Said, Current), Refusal> {
        if let Some(place) = place {
            let owner = self.statics.get(place).ok_or_else(|| unknown_place(place))?;
            if owner != id {
                return Err(fenced_place(id, place, owner));
            }
        }
        let said = self.members.get(id).filter(|said| said.is_classic());
        Ok((said.ok_or_else(|| unknown(group, id))?, self.current(id)))
    }

    /// Somebody else still has what a member is to read.
    fn waits_for_others(&self, id: &Str, current: &Current) -> bool {
        let target = self.targets.get(id);
        target.is_some_and(|target| {
            let is_missing = |(topic_id, partition): (Uuid, i32)| {
                !current.assigned.contains(topic_id, partition) && self.owner(topic_id, partition).is_some()
            };
            current.state == State::Unreleased && target.iter().any(is_missing)
        })
    }

    /// The member that holds a place speaks the consumer protocol.
    fn is_held_by_consumer(&self, place: Option<&Str>) -> Option<&Str> {
        let owner = self.statics.get(place?)?;
        self.members.get(owner).filter(|said| !said.is_classic()).map(|_| owner)
    }
}

impl Watch {
    /// There is something to assign: somebody came or went, or the topics are not what they were.
    fn is_behind(&mut self, id: &Str, group: &Consumer, (now, topics): (Now, &dyn Topics)) -> bool {
        let mut decision = Decision::new(id, group, topics, now.wall);
        if self.seen != Some(topics.version()) {
            decision.update_epoch(false);
        }
        let is_behind = decision.epoch() > group.target_epoch();
        if !is_behind {
            self.seen = Some(topics.version());
        }
        is_behind
    }
}

impl Groups {
    /// A JoinGroup to a consumer group that has members; `None`: it is one no more, and goes on as a classic group's.
    pub(in crate::group) fn on_join_to_consumers(
        &mut self,
        now: Now,
        request: &JoinGroupRequest,
        caller: &Caller<'_>,
        fresh: Uuid,
        topics: &dyn Topics,
    ) -> Effects {
        let id = request.group_id.detached();
        let outcome = self.join_consumers(&id, (now, topics), request, caller, fresh);
        outcome.unwrap_or_else(|refusal| {
            let response = refused_join(&request.member_id, refusal.code);
            Effects::answer(id, caller.ticket, response)
        })
    }

    /// Somebody who speaks the classic protocol takes the place of the last one who does not: that one goes.
    pub(in crate::group) fn make_way(
        &mut self,
        id: &Str,
        request: &JoinGroupRequest,
        now: Now,
        topics: &dyn Topics,
    ) -> Option<Effects> {
        let consumer = &self.groups.get(id)?.consumer;
        if !consumer.speaks(request) {
            return None;
        }
        let old = consumer.is_held_by_consumer(request.group_instance_id.as_ref())?.clone();
        let removed = BTreeSet::from([old]);
        self.downgrade(id, &removed, now, topics)
    }

    fn join_consumers(
        &mut self,
        id: &Str,
        (now, topics): (Now, &dyn Topics),
        request: &JoinGroupRequest,
        caller: &Caller<'_>,
        fresh: Uuid,
    ) -> Result<Effects, Refusal> {
        let Some(group) = self.groups.get(id) else { return Ok(Effects::default()) };
        let base = &group.consumer;
        let place = request.group_instance_id.as_ref().map(Str::detached);
        let is_unknown = request.member_id.is_empty();
        let name = place.as_deref().unwrap_or(caller.client_id);
        let member = if is_unknown { new_id(name, fresh) } else { request.member_id.detached() };
        let subscription = self.check_join(base, request, &member, place.as_ref())?;
        if is_unknown && place.is_none() && caller.version >= MEMBER_ID_FIRST_FROM {
            let response = refused_join(&member, ErrorCode::MemberIdRequired);
            return Ok(Effects::answer(id.clone(), caller.ticket, response));
        }
        let speaker = classic_speaker(base, &member, place.as_ref(), is_unknown)?;
        let protocols = kept(&request.protocols);
        let protocol_name = protocols.first().map(|(name, _)| name.clone());
        let after = Said {
            instance_id: place,
            client_id: caller.client_id.into(),
            client_host: caller.host.into(),
            rebalance_timeout_ms: match request.rebalance_timeout_ms {
                -1 => request.session_timeout_ms,
                given => given.max(0),
            },
            ..said_of(&subscription, (request.session_timeout_ms, protocols))
        };
        let patience_ms = u64::try_from(after.rebalance_timeout_ms).unwrap_or(0);
        let owned = known(&subscription.owned, topics);
        let owned: Vec<OwnedPartitions> = owned
            .0
            .into_iter()
            .map(|(topic_id, parts)| OwnedPartitions { topic_id, partitions: parts.into_iter().collect() })
            .collect();
        let word = Word { member: &member, speaker, after, owned: Some(&owned) };
        let not_seen = Watch::default();
        let watch = self.groups.get(id).map_or(&not_seen, |group| &group.watch);
        let step = word.decide(id, (base, watch), (now, topics), &self.settings_of(id, topics))?;
        self.check_records(&step.records)?;
        let response = JoinGroupResponse {
            generation_id: step.after.epoch,
            protocol_type: Some(Str::from_static(CONSUMER_PROTOCOL_TYPE)),
            protocol_name,
            member_id: member.clone(),
            ..JoinGroupResponse::default()
        };
        let records = step.records.clone();
        self.take_step(id, (now, topics), step);
        self.deadlines.disarm(Deadline::Rejoin(id.clone(), member.clone()));
        self.deadlines.arm(now.mono + patience_ms, Deadline::FirstSync(id.clone(), member));
        Ok(Effects { records, ..Effects::answer(id.clone(), caller.ticket, response) })
    }

    fn check_join(
        &self,
        base: &Consumer,
        request: &JoinGroupRequest,
        member: &Str,
        place: Option<&Str>,
    ) -> Result<Subscription, Refusal> {
        let inconsistent = |why| Err(Refusal::new(ErrorCode::InconsistentGroupProtocol, why));
        let is_known =
            base.members.contains_key(member) || place.is_some_and(|it| base.statics.contains_key(it));
        if self.settings.consumer.migration == MigrationPolicy::Disabled {
            inconsistent("The group migration is disabled.")
        } else if !is_known && base.size() >= self.settings.consumer.members_max {
            Err(Refusal::new(ErrorCode::GroupMaxSizeReached, "The consumer group is full."))
        } else if !base.speaks(request) {
            inconsistent("The member's protocols are not supported.")
        } else {
            let first = request.protocols.first().and_then(|protocol| subscription(&protocol.metadata));
            first.map_or_else(|| inconsistent("The subscription is malformed."), Ok)
        }
    }

    /// A Heartbeat to a consumer group: a member that is behind is to join again.
    pub(in crate::group) fn on_heartbeat_to_consumers(
        &mut self,
        now: Now,
        request: &HeartbeatRequest,
        ticket: WaiterId,
        topics: &dyn Topics,
    ) -> Effects {
        let (id, member) = (request.group_id.detached(), request.member_id.detached());
        let code = self
            .beat_classic(&id, &member, request, (now, topics))
            .err()
            .map_or(ErrorCode::None, |it| it.code);
        Effects::answer(id, ticket, refused_heartbeat(code))
    }

    fn beat_classic(
        &mut self,
        id: &Str,
        member: &Str,
        request: &HeartbeatRequest,
        (now, topics): (Now, &dyn Topics),
    ) -> Result<(), Refusal> {
        let settings = self.settings_of(id, topics).consumer;
        let Some(Group { consumer: group, watch, .. }) = self.groups.get_mut(id) else {
            return Err(unknown(id, member));
        };
        let (said, current) = group.classic(id, member, request.group_instance_id.as_ref())?;
        if current.epoch != request.generation_id {
            return Err(Refusal::new(ErrorCode::IllegalGeneration, "It is in another epoch."));
        }
        // As long as the group stays with its targets (KIP-1263) there is nothing to join again for. Then it is up to the classic
        // members to come, if they are among themselves: new targets are made when somebody says something.
        let is_behind = current.epoch < group.target_epoch()
            || (group.may_assign(now.wall, &settings) && watch.is_behind(id, group, (now, topics)))
            || current.state == State::Unrevoked
            || (current.state == State::Unreleased && !group.waits_for_others(member, &current));
        let (session_ms, patience_ms) =
            (said.session_ms(&settings), u64::try_from(said.rebalance_timeout_ms).unwrap_or(0));
        self.deadlines.arm(now.mono + session_ms, Deadline::Session(id.clone(), member.clone()));
        if is_behind {
            self.deadlines.arm_by(now.mono + patience_ms, Deadline::Rejoin(id.clone(), member.clone()));
            return Err(Refusal::new(ErrorCode::RebalanceInProgress, "It is to join again."));
        }
        Ok(())
    }

    /// SyncGroup to a consumer group: what a classic member of it is to read.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION, INCONSISTENT_GROUP_PROTOCOL, REBALANCE_IN_PROGRESS.
    pub(in crate::group) fn sync_with_consumers(
        &mut self,
        id: &Str,
        request: &SyncGroupRequest,
        (now, topics): (Now, &dyn Topics),
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let member = request.member_id.detached();
        let group = self.groups.get(id).map(|group| &group.consumer).ok_or(ErrorCode::UnknownMemberId)?;
        let place = request.group_instance_id.as_ref();
        let (said, current) = group.classic(id, &member, place).map_err(|refusal| refusal.code)?;
        let protocols = said.classic_member_metadata.iter().flat_map(|classic| &classic.supported_protocols);
        let protocol = protocols.map(|protocol| &protocol.name).next();
        let is_other = |theirs: &Option<Str>, ours: Option<&str>| {
            theirs.as_deref().is_some_and(|theirs| Some(theirs) != ours)
        };
        if current.epoch != request.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        } else if is_other(&request.protocol_type, Some(CONSUMER_PROTOCOL_TYPE))
            || is_other(&request.protocol_name, protocol.map(Str::as_str))
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let patience_ms = u64::try_from(said.rebalance_timeout_ms).unwrap_or(0);
        if group.target_epoch() > current.epoch && current.state != State::Unrevoked {
            self.deadlines.arm_by(now.mono + patience_ms, Deadline::Rejoin(id.clone(), member));
            return Err(ErrorCode::RebalanceInProgress);
        }
        let response = SyncGroupResponse {
            protocol_type: request.protocol_type.as_ref().map(Str::detached),
            protocol_name: request.protocol_name.as_ref().map(Str::detached),
            assignment: classic_assignment(said, current.assigned.by_topic(), topics),
            ..SyncGroupResponse::default()
        };
        let session_ms = said.session_ms(&self.settings.consumer);
        self.deadlines.disarm(Deadline::FirstSync(id.clone(), member.clone()));
        self.deadlines.arm(now.mono + session_ms, Deadline::Session(id.clone(), member));
        Ok(response)
    }

    /// Members leave a consumer group: those of the classic protocol say so, and an operator takes out whomever it names (KIP-571).
    pub(in crate::group) fn on_leave_consumers(
        &mut self,
        id: &Str,
        leaving: &[MemberIdentity],
        (now, topics): (Now, &dyn Topics),
        outcomes: &mut Vec<Result<(), ErrorCode>>,
    ) -> Effects {
        let mut removed = BTreeSet::new();
        for identity in leaving {
            let outcome = self.leaving(id, identity).map(|member| {
                removed.insert(member);
            });
            outcomes.push(outcome.map_err(|refusal| refusal.code));
        }
        self.fence(id, &removed, now, topics)
    }

    /// Which member it is, of either protocol.
    fn leaving(&self, id: &Str, identity: &MemberIdentity) -> Result<Str, Refusal> {
        let member = identity.member_id.detached();
        let Some(group) = self.groups.get(id).map(|group| &group.consumer) else {
            return Err(unknown(id, &member));
        };
        let Some(place) = identity.group_instance_id.as_ref() else {
            let is_member = group.members.contains_key(&member);
            return if is_member { Ok(member) } else { Err(unknown(id, &member)) };
        };
        let owner = group.statics.get(place).ok_or_else(|| unknown_place(place))?;
        // An operator knows the place, not the id.
        if member.is_empty() || *owner == member {
            Ok(owner.clone())
        } else {
            Err(fenced_place(&member, place, owner))
        }
    }
}

/// Which member joins, and how far it is.
fn classic_speaker(
    base: &Consumer,
    member: &Str,
    place: Option<&Str>,
    is_unknown: bool,
) -> Result<Speaker, Refusal> {
    let known = |replaces| Speaker {
        said: base.members.get(member).cloned(),
        current: base.current(member),
        replaces,
    };
    let Some(place) = place else { return Ok(known(None)) };
    match base.statics.get(place) {
        Some(old) if is_unknown => {
            let current = Current { epoch: 0, previous: 0, ..base.current(old) };
            Ok(Speaker { said: base.members.get(old).cloned(), current, replaces: Some(old.clone()) })
        }
        None if is_unknown => Ok(known(None)),
        None => Err(unknown_place(place)),
        Some(old) if old != member => Err(fenced_place(member, place, old)),
        Some(_) => Ok(known(None)),
    }
}

impl Groups {
    /// Members are out: others get what they had. If only members of the classic protocol are left, so is their group.
    pub(super) fn fence(
        &mut self,
        id: &Str,
        members: &BTreeSet<Str>,
        now: Now,
        topics: &dyn Topics,
    ) -> Effects {
        let mut effects = Effects { group: id.clone(), ..Effects::default() };
        if members.is_empty() || !self.groups.contains_key(id) {
            return effects;
        }
        if let Some(effects) = self.downgrade(id, members, now, topics) {
            return effects;
        }
        let Some(group) = self.groups.get(id) else { return effects };
        let mut decision = Decision::new(id, &group.consumer, topics, now.wall);
        members.iter().for_each(|member| decision.remove(member));
        decision.forget_patterns();
        decision.update_epoch(true);
        let is_empty = decision.members().next().is_none();
        effects.records = decision.records;
        members.iter().for_each(|member| self.disarm_member(id, member));
        if let Some(group) = self.groups.get_mut(id).filter(|_| is_empty) {
            group.watch.empty_since = now.wall;
        }
        effects
    }
}
