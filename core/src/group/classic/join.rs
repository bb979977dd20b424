//! JoinGroup: who may come in, under which id, and what that means for the others.

use super::member::{MEMBER_BYTES, kept, new_id};
use super::{Begun, Classic, Member, Phase};
use crate::errors::ErrorCode;
use crate::group::records::GroupRecord;
use crate::group::{Caller, Effects, Group, Groups, Topics, Turn};
use crate::ids::Uuid;
use crate::replica::WaiterId;
use crate::time::Now;
use crate::wire::join_group::JoinGroupResponseMember;
use crate::wire::{JoinGroupRequest, JoinGroupResponse, Str};
use alloc::vec::Vec;
use bytes::Bytes;

/// From here on a new member is told its id first, so that clients that try again leave nobody behind (KIP-394).
pub(in crate::group) const MEMBER_ID_FIRST_FROM: i16 = 4;
/// From here on a leader may be told not to assign (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;

impl Groups {
    /// JoinGroup. `fresh` is an id that was never used; `held_bytes` is what members tell of themselves in all partitions here.
    #[must_use]
    pub fn on_join(
        &mut self,
        now: Now,
        request: &JoinGroupRequest,
        caller: &Caller<'_>,
        (fresh, held_bytes): (Uuid, usize),
        topics: &dyn Topics,
    ) -> Effects {
        let id = request.group_id.detached();
        let settings = self.settings;
        if let Some(code) = self.join_refusal(&id, request, caller, held_bytes) {
            let member = if code == ErrorCode::UnknownMemberId { &*request.member_id } else { "" };
            return Effects::answer(id, caller.ticket, refused(member, code));
        }
        // Who is in a consumer group is served there. One that nobody is in, or that only such members are left of, makes way.
        let consumers = self.groups.get(&id).map_or(0, |group| group.consumer.size());
        let mut earlier = if consumers == 0 {
            let tombstones = self.groups.get(&id).map(|group| group.consumer.tombstones(&id));
            let records = tombstones.into_iter().flatten().map(GroupRecord::Consumer).collect();
            Effects { records, ..Effects::default() }
        } else {
            match self.make_way(&id, request, now, topics) {
                Some(effects) => effects,
                None => return self.on_join_to_consumers(now, request, caller, fresh, topics),
            }
        };
        // That there was nothing of it may rest on a record by which it went.
        let rests_on = self.removed_at;
        self.groups.entry(id.clone()).or_insert_with(|| Group { rests_on, ..Group::default() });
        let join = Join::new(request, caller, &settings, fresh);
        let effects = self.at(&id, now, |classic, turn| classic.on_join(join, turn));
        earlier.records.extend(effects.records);
        earlier.answers.extend(effects.answers);
        Effects { group: id, ..earlier }
    }

    /// Why somebody is not let in, whatever the group is doing.
    fn join_refusal(
        &self,
        id: &str,
        request: &JoinGroupRequest,
        caller: &Caller<'_>,
        held_bytes: usize,
    ) -> Option<ErrorCode> {
        let settings = &self.settings;
        let allowed = settings.session_timeout_ms_min..=settings.session_timeout_ms_max;
        let group = self.groups.get(id);
        let protocols = request.protocols.iter().map(|it| it.name.len() + it.metadata.len());
        let names = caller.client_id.len() + request.group_instance_id.as_ref().map_or(0, |name| name.len());
        let bytes = protocols.sum::<usize>() + names + MEMBER_BYTES;
        if id.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if !allowed.contains(&request.session_timeout_ms) {
            Some(ErrorCode::InvalidSessionTimeout)
        } else if request.protocol_type.is_empty() || request.protocols.is_empty() {
            Some(ErrorCode::InconsistentGroupProtocol)
        } else if group.is_none() && !request.member_id.is_empty() {
            Some(ErrorCode::UnknownMemberId)
        } else if (group.is_none() && self.groups.len() >= settings.groups_max)
            || held_bytes + bytes > settings.member_bytes_max
            || group.is_some_and(|group| !group.has_room_for(request, settings.members_max))
        {
            Some(ErrorCode::GroupMaxSizeReached)
        } else {
            None
        }
    }
}

impl Group {
    /// `group.max.size` leaves room for this member.
    fn has_room_for(&self, request: &JoinGroupRequest, members_max: usize) -> bool {
        let classic = &self.classic;
        // Who takes the place of a static member needs no other one.
        let place =
            request.group_instance_id.as_ref().and_then(|instance_id| classic.statics.get(instance_id));
        let member = place.unwrap_or(&request.member_id);
        let known = classic.members.get(member);
        match classic.phase {
            Phase::Empty => classic.pending.len() < members_max || classic.pending.contains(member),
            Phase::Preparing(_) => {
                let joining = classic.members.values().filter(|member| member.joining.is_some()).count();
                known.is_some_and(|member| member.joining.is_some()) || joining < members_max
            }
            Phase::Completing | Phase::Stable => known.is_some() || classic.members.len() < members_max,
        }
    }
}

/// A JoinGroup that may be considered.
struct Join<'a> {
    request: &'a JoinGroupRequest,
    ticket: WaiterId,
    version: i16,
    /// The id that the member would get.
    new_id: Str,
    member: Member,
}

impl<'a> Join<'a> {
    fn new(
        request: &'a JoinGroupRequest,
        caller: &Caller<'_>,
        settings: &crate::group::GroupSettings,
        fresh: Uuid,
    ) -> Self {
        let instance_id = request.group_instance_id.as_ref().map(Str::detached);
        let name = instance_id.as_deref().unwrap_or(caller.client_id);
        let rebalance_timeout_ms = match request.rebalance_timeout_ms {
            // Before version 1 a session is the time for both.
            -1 => request.session_timeout_ms,
            given => given,
        };
        let member = Member {
            client_id: caller.client_id.into(),
            client_host: caller.host.into(),
            // Timers that never end are nobody's wish.
            rebalance_timeout_ms: rebalance_timeout_ms.clamp(0, i32::MAX),
            session_timeout_ms: request.session_timeout_ms.min(settings.session_timeout_ms_max),
            protocols: kept(&request.protocols),
            assignment: Bytes::new(),
            joining: Some(caller.ticket),
            syncing: None,
            is_new: true,
            instance_id: instance_id.clone(),
        };
        let new_id = new_id(name, fresh);
        Self { request, ticket: caller.ticket, version: caller.version, new_id, member }
    }
}

impl Classic {
    fn on_join(&mut self, join: Join<'_>, turn: &mut Turn<'_>) {
        let given = join.request.member_id.detached();
        if !self.could_agree(join.request) {
            turn.answer(join.ticket, refused(&given, ErrorCode::InconsistentGroupProtocol));
        } else if given.is_empty() {
            self.on_join_new(join, turn);
        } else if self.pending.contains(&given) && join.member.instance_id.is_none() {
            self.admit(given, join, turn);
        } else {
            match self.check_member(&given, join.request.group_instance_id.as_deref()) {
                Ok(()) => self.on_join_again(&given, join, turn),
                Err(code) => turn.answer(join.ticket, refused(&given, code)),
            }
        }
    }

    /// All members speak something in common with this one.
    fn could_agree(&self, request: &JoinGroupRequest) -> bool {
        let is_shared = |name: &Str| self.members.values().all(|member| member.speaks(name));
        self.members.is_empty()
            || (self.protocol_type.as_ref() == Some(&request.protocol_type)
                && request.protocols.iter().any(|protocol| is_shared(&protocol.name)))
    }

    fn on_join_new(&mut self, join: Join<'_>, turn: &mut Turn<'_>) {
        let place = join.member.instance_id.as_ref();
        if let Some(old) = place.and_then(|instance_id| self.statics.get(instance_id)).cloned() {
            self.on_join_in_place(&old, join, turn);
        } else if place.is_none() && join.version >= MEMBER_ID_FIRST_FROM {
            self.insert_pending(join.new_id.clone(), turn);
            turn.arm_session(&join.new_id, join.member.session_ms());
            turn.answer(join.ticket, refused(&join.new_id, ErrorCode::MemberIdRequired));
        } else {
            self.admit(join.new_id.clone(), join, turn);
        }
    }

    fn admit(&mut self, id: Str, join: Join<'_>, turn: &mut Turn<'_>) {
        self.take_pending(&id, turn);
        if self.members.is_empty() {
            self.protocol_type = Some(join.request.protocol_type.detached());
        }
        if let Phase::Preparing(Begun::Empty { has_newcomers, .. }) = &mut self.phase {
            *has_newcomers = true;
        }
        turn.arm_session(&id, turn.settings.new_member_timeout_ms);
        self.insert(id, join.member, turn);
        self.rebalance_or_complete(turn);
    }

    /// A client took the place of a static member, under a new id: the old one is fenced (KIP-345).
    fn on_join_in_place(&mut self, old: &Str, join: Join<'_>, turn: &mut Turn<'_>) {
        let was_leader = self.is_leader(old);
        let Some(mut before) = self.take(old, turn) else { return };
        fence(&mut before, old, turn);
        let new_id = join.new_id;
        let mut member = join.member;
        member.assignment = before.assignment;
        member.is_new = false;
        let same_protocols = before.protocols == member.protocols;
        self.insert(new_id.clone(), member, turn);
        if was_leader {
            self.leader = Some(new_id.clone());
        }
        self.arm_session(&new_id, turn);
        let protocol_stays = same_protocols || self.select_protocol() == self.protocol;
        let assigned = |_: &Str, member: &Member| member.assignment.clone();
        match self.phase {
            Phase::Stable if protocol_stays && self.record_if_it_fits(turn, self.written(assigned)) => {
                // Nobody else needs to know: it goes on with what its place had.
                if let Some(member) = self.members.get_mut(&new_id) {
                    member.joining = None;
                }
                let mut response = self.joined(&new_id);
                if was_leader && join.version >= SKIP_ASSIGNMENT_FROM {
                    response.members = self.told_to_leader();
                    response.skip_assignment = true;
                } else if was_leader {
                    // It must not assign anew, so it is told that another one leads (KAFKA-8715).
                    response.leader = old.clone();
                    response.members = Vec::new();
                }
                turn.answer(join.ticket, response);
            }
            // The leader may have been told of the old id: what it assigns would not reach the new one.
            Phase::Stable | Phase::Completing | Phase::Empty | Phase::Preparing(_) => {
                self.rebalance_or_complete(turn);
            }
        }
    }

    /// A member joins again.
    fn on_join_again(&mut self, id: &Str, join: Join<'_>, turn: &mut Turn<'_>) {
        let says_the_same =
            self.members.get(id).is_some_and(|member| member.says_the_same(&join.request.protocols));
        let is_told_again = match self.phase {
            Phase::Preparing(_) => false,
            // Its answer was lost.
            Phase::Completing => says_the_same,
            // A leader that joins wants a rebalance; a follower that says nothing new missed nothing.
            Phase::Stable => says_the_same && !self.is_leader(id),
            Phase::Empty => {
                turn.answer(join.ticket, refused(id, ErrorCode::UnknownMemberId));
                return;
            }
        };
        if is_told_again {
            turn.answer(join.ticket, self.joined(id));
            return;
        }
        if let Some(member) = self.members.get_mut(id) {
            *turn.member_bytes -= member.bytes();
            member.protocols = join.member.protocols;
            member.rebalance_timeout_ms = join.member.rebalance_timeout_ms;
            member.session_timeout_ms = join.member.session_timeout_ms;
            *turn.member_bytes += member.bytes();
            if let Some(earlier) = member.joining.replace(join.ticket) {
                // It asks twice: the first time it did not wait for the answer.
                turn.answer(earlier, refused(id, ErrorCode::RebalanceInProgress));
            }
        }
        self.rebalance_or_complete(turn);
    }

    /// What a member is told when it has joined. The leader is told of all.
    pub(super) fn joined(&self, id: &Str) -> JoinGroupResponse {
        JoinGroupResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::None.code(),
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: Some(self.protocol.clone().unwrap_or_default()),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: id.clone(),
            members: if self.is_leader(id) { self.told_to_leader() } else { Vec::new() },
        }
    }

    fn told_to_leader(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| JoinGroupResponseMember {
            member_id: id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        });
        members.collect()
    }
}

/// Who held a place, and waited, is told that it holds it no more.
fn fence(member: &mut Member, id: &str, turn: &mut Turn<'_>) {
    if let Some(ticket) = member.joining.take() {
        turn.answer(ticket, refused(id, ErrorCode::FencedInstanceId));
    }
    if let Some(ticket) = member.syncing.take() {
        turn.answer(ticket, super::sync::refused(ErrorCode::FencedInstanceId));
    }
}

/// A JoinGroup that comes to nothing.
pub(in crate::group) fn refused(member_id: &str, code: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: code.code(),
        generation_id: -1,
        protocol_name: Some(Str::default()),
        member_id: member_id.into(),
        ..JoinGroupResponse::default()
    }
}
