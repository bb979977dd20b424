//! What members ask between two rebalances: SyncGroup, Heartbeat, LeaveGroup; and what silence does.

use super::{Classic, Phase};
use crate::errors::ErrorCode;
use crate::group::{Effects, Groups, Topics, Turn};
use crate::replica::WaiterId;
use crate::time::Now;
use crate::wire::leave_group::{MemberIdentity, MemberResponse};
use crate::wire::{
    HeartbeatRequest, HeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse, Str, SyncGroupRequest,
    SyncGroupResponse,
};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

/// Before this version a LeaveGroup is of one member, and its outcome that of the request (KIP-345).
const MANY_LEAVE_FROM: i16 = 3;

impl Groups {
    /// SyncGroup.
    #[must_use]
    pub fn on_sync(
        &mut self,
        now: Now,
        request: &SyncGroupRequest,
        ticket: WaiterId,
        topics: &dyn Topics,
    ) -> Effects {
        let id = request.group_id.detached();
        if self.is_of_consumers(&id) {
            let response = self.sync_with_consumers(&id, request, (now, topics));
            return Effects::answer(id, ticket, response.unwrap_or_else(refused));
        }
        if !self.groups.contains_key(&id) {
            return Effects::answer(id, ticket, refused(ErrorCode::UnknownMemberId));
        }
        self.at(&id, now, |classic, turn| classic.on_sync(request, ticket, turn))
    }

    /// Heartbeat.
    #[must_use]
    pub fn on_heartbeat(
        &mut self,
        now: Now,
        request: &HeartbeatRequest,
        ticket: WaiterId,
        topics: &dyn Topics,
    ) -> Effects {
        let id = request.group_id.detached();
        if self.is_of_consumers(&id) {
            return self.on_heartbeat_to_consumers(now, request, ticket, topics);
        }
        if !self.groups.contains_key(&id) {
            return Effects::answer(id, ticket, heartbeat(ErrorCode::UnknownMemberId));
        }
        self.at(&id, now, |classic, turn| {
            let code = classic.on_heartbeat(request, turn).err().unwrap_or(ErrorCode::None);
            turn.answer(ticket, heartbeat(code));
        })
    }

    /// LeaveGroup.
    #[must_use]
    pub fn on_leave(
        &mut self,
        now: Now,
        request: &LeaveGroupRequest,
        (ticket, version): (WaiterId, i16),
        topics: &dyn Topics,
    ) -> Effects {
        let id = request.group_id.detached();
        let one = MemberIdentity { member_id: request.member_id.clone(), ..MemberIdentity::default() };
        let leaving = if version < MANY_LEAVE_FROM { core::slice::from_ref(&one) } else { &request.members };
        let mut outcomes = Vec::with_capacity(leaving.len());
        let mut effects = if self.is_of_consumers(&id) {
            self.on_leave_consumers(&id, leaving, (now, topics), &mut outcomes)
        } else {
            self.at(&id, now, |classic, turn| {
                let before = classic.members.len();
                outcomes.extend(leaving.iter().map(|member| classic.on_leave(member, turn)));
                if classic.members.len() < before {
                    classic.rebalance_or_complete(turn);
                } else {
                    classic.complete_if_all_joined(turn);
                }
            })
        };
        outcomes.resize(leaving.len(), Err(ErrorCode::UnknownMemberId));
        let codes = outcomes.iter().map(|outcome| outcome.err().unwrap_or(ErrorCode::None));
        let response = if version < MANY_LEAVE_FROM {
            let error_code = codes.map(ErrorCode::code).find(|code| *code != 0).unwrap_or(0);
            LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }
        } else {
            let members = leaving.iter().zip(codes).map(|(member, code)| MemberResponse {
                member_id: member.member_id.detached(),
                group_instance_id: member.group_instance_id.as_ref().map(Str::detached),
                error_code: code.code(),
            });
            LeaveGroupResponse { members: members.collect(), ..LeaveGroupResponse::default() }
        };
        effects.answers.push((ticket, response.into()));
        effects
    }
}

impl Classic {
    fn on_sync(&mut self, request: &SyncGroupRequest, ticket: WaiterId, turn: &mut Turn<'_>) {
        let id = request.member_id.detached();
        if let Err(code) = self.check_sync(request) {
            turn.answer(ticket, refused(code));
            return;
        }
        self.unsynced.remove(&id);
        match self.phase {
            Phase::Empty => turn.answer(ticket, refused(ErrorCode::UnknownMemberId)),
            Phase::Preparing(_) => turn.answer(ticket, refused(ErrorCode::RebalanceInProgress)),
            Phase::Completing => {
                let earlier = self.members.get_mut(&id).and_then(|member| member.syncing.replace(ticket));
                if let Some(earlier) = earlier {
                    turn.answer(earlier, refused(ErrorCode::RebalanceInProgress));
                }
                if self.is_leader(&id) {
                    self.assign(request, turn);
                }
            }
            Phase::Stable => {
                let response = self.synced(&id);
                self.arm_session(&id, turn);
                turn.answer(ticket, response);
            }
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        let is_other = |said: &Option<Str>, ours: &Option<Str>| said.is_some() && said != ours;
        if request.generation_id != self.generation {
            Err(ErrorCode::IllegalGeneration)
        } else if is_other(&request.protocol_type, &self.protocol_type)
            || is_other(&request.protocol_name, &self.protocol)
        {
            Err(ErrorCode::InconsistentGroupProtocol)
        } else {
            Ok(())
        }
    }

    /// The leader assigns: it is written, and everybody who waits is told.
    fn assign(&mut self, request: &SyncGroupRequest, turn: &mut Turn<'_>) {
        let given: BTreeMap<&Str, &Bytes> =
            request.assignments.iter().map(|it| (&it.member_id, &it.assignment)).collect();
        let part = |id: &Str| given.get(id).map(|bytes| Bytes::copy_from_slice(bytes)).unwrap_or_default();
        let value = self.written(|id, _| part(id));
        if !self.record_if_it_fits(turn, value) {
            // As in Kafka, whose log takes no such record either.
            self.drop_assignments(ErrorCode::UnknownServerError, turn);
            self.rebalance_or_complete(turn);
            return;
        }
        for (id, member) in &mut self.members {
            member.assignment = part(id);
        }
        self.enter(Phase::Stable, turn);
        let waiting: Vec<(Str, WaiterId)> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| Some((id.clone(), member.syncing.take()?)))
            .collect();
        for (id, ticket) in waiting {
            turn.answer(ticket, self.synced(&id));
            // What ran out while it waited did not count.
            self.arm_session(&id, turn);
        }
    }

    fn synced(&self, id: &Str) -> SyncGroupResponse {
        SyncGroupResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::None.code(),
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    fn on_heartbeat(&mut self, request: &HeartbeatRequest, turn: &mut Turn<'_>) -> Result<(), ErrorCode> {
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        match self.phase {
            Phase::Empty => Err(ErrorCode::UnknownMemberId),
            Phase::Preparing(_) => {
                self.arm_session(&request.member_id.detached(), turn);
                Err(ErrorCode::RebalanceInProgress)
            }
            Phase::Completing | Phase::Stable => {
                self.arm_session(&request.member_id.detached(), turn);
                Ok(())
            }
        }
    }

    /// One member goes. What follows for the others is the caller's.
    fn on_leave(&mut self, leaving: &MemberIdentity, turn: &mut Turn<'_>) -> Result<(), ErrorCode> {
        let instance_id = leaving.group_instance_id.as_deref();
        let id = match instance_id.filter(|_| leaving.member_id.is_empty()) {
            // An operator knows the place, not the id (KIP-571).
            Some(instance_id) => self.statics.get(instance_id).cloned().ok_or(ErrorCode::UnknownMemberId)?,
            None => leaving.member_id.detached(),
        };
        if instance_id.is_none() && self.take_pending(&id, turn) {
            turn.disarm_session(&id);
            return Ok(());
        }
        self.check_member(&id, instance_id)?;
        self.expel(&id, turn);
        Ok(())
    }

    /// Takes a member out and tells it so, if it waits for something.
    fn expel(&mut self, id: &Str, turn: &mut Turn<'_>) {
        let Some(member) = self.take(id, turn) else { return };
        if let Some(ticket) = member.joining {
            turn.answer(ticket, super::join::refused(id, ErrorCode::UnknownMemberId));
        }
        if let Some(ticket) = member.syncing {
            turn.answer(ticket, refused(ErrorCode::UnknownMemberId));
        }
    }

    /// Timer: members that never asked what they are to read are out.
    pub(in crate::group) fn on_sync_due(&mut self, turn: &mut Turn<'_>) {
        match self.phase {
            Phase::Completing | Phase::Stable => {
                let unsynced = core::mem::take(&mut self.unsynced);
                if !unsynced.is_empty() {
                    for id in &unsynced {
                        self.expel(id, turn);
                    }
                    self.rebalance_or_complete(turn);
                }
            }
            Phase::Empty | Phase::Preparing(_) => {}
        }
    }

    /// Timer: a member was silent for its whole session, or an id was not used.
    pub(in crate::group) fn on_session_due(&mut self, id: &Str, turn: &mut Turn<'_>) {
        if self.take_pending(id, turn) {
            self.complete_if_all_joined(turn);
            return;
        }
        let Some(member) = self.members.get(id) else { return };
        // Its request waits here: that is not silence. It gets a new session with the answer.
        let is_waiting = member.joining.is_some() || member.syncing.is_some();
        if member.is_new || !is_waiting {
            self.expel(id, turn);
            self.rebalance_or_complete(turn);
        }
    }
}

/// A SyncGroup that comes to nothing.
pub(super) fn refused(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: code.code(), ..SyncGroupResponse::default() }
}

pub(in crate::group) fn heartbeat(code: ErrorCode) -> HeartbeatResponse {
    HeartbeatResponse { throttle_time_ms: 0, error_code: code.code() }
}
