//! A rebalance: members are called together, and when all have come, or their time is up, a generation begins.

use super::{Begun, Classic, Member, Phase};
use crate::errors::ErrorCode;
use crate::group::Turn;
use crate::group::records::GroupMetadataValue;
use crate::museum::exhibit;
use crate::wire::Str;
use alloc::vec::Vec;
use bytes::Bytes;

impl Classic {
    /// Somebody came, went, or changed.
    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>) {
        match self.phase {
            Phase::Preparing(_) => self.complete_if_all_joined(turn),
            Phase::Empty | Phase::Completing | Phase::Stable => self.prepare(turn),
        }
    }

    /// Calls the members together.
    pub(super) fn prepare(&mut self, turn: &mut Turn<'_>) {
        if self.phase == Phase::Completing {
            self.drop_assignments(ErrorCode::RebalanceInProgress, turn);
        }
        turn.disarm_sync();
        self.unsynced.clear();
        if self.phase == Phase::Empty {
            let delay_ms = turn.settings.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_ms().saturating_sub(delay_ms);
            self.enter(Phase::Preparing(Begun::Empty { remaining_ms, has_newcomers: false }), turn);
            turn.arm_join(delay_ms);
        } else {
            self.enter(Phase::Preparing(Begun::Members), turn);
            turn.arm_join(self.rebalance_ms());
            self.complete_if_all_joined(turn);
        }
    }

    /// Members were adopted with what they read. That is written, without a leader: whoever loads it calls them together, as is
    /// done here.
    pub(in crate::group) fn resume(&mut self, turn: &mut Turn<'_>) {
        if self.members.is_empty() {
            return;
        }
        self.protocol = self.select_protocol();
        self.enter(Phase::Stable, turn);
        let value = self.written(|_, member| member.assignment.clone());
        self.record(turn, GroupMetadataValue { leader: None, ..value });
        self.prepare(turn);
    }

    /// It is a classic group no more: who waits is told to ask again.
    pub(in crate::group) fn dissolve(&mut self, turn: &mut Turn<'_>) {
        turn.disarm_join();
        turn.disarm_sync();
        for id in core::mem::take(&mut self.pending) {
            *turn.member_bytes -= super::MEMBER_BYTES;
            turn.disarm_session(&id);
        }
        for id in self.members.keys().cloned().collect::<Vec<Str>>() {
            let Some(member) = self.take(&id, turn) else { continue };
            if let Some(ticket) = member.joining {
                turn.answer(ticket, super::join::refused(&id, ErrorCode::RebalanceInProgress));
            }
            if let Some(ticket) = member.syncing {
                turn.answer(ticket, super::sync::refused(ErrorCode::RebalanceInProgress));
            }
        }
        *self = Self::default();
    }

    pub(super) fn complete_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        // A group that was empty waits for others until its delay is over.
        let has_all = self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some());
        if has_all && self.phase == Phase::Preparing(Begun::Members) {
            self.begin_generation(turn);
        }
    }

    /// Timer: those who have not joined by now will not.
    pub(in crate::group) fn on_join_due(&mut self, turn: &mut Turn<'_>) {
        match self.phase {
            Phase::Preparing(Begun::Empty { remaining_ms, has_newcomers: true }) if remaining_ms > 0 => {
                let delay_ms = turn.settings.initial_rebalance_delay_ms.min(remaining_ms);
                let remaining_ms = remaining_ms.saturating_sub(turn.settings.initial_rebalance_delay_ms);
                self.phase = Phase::Preparing(Begun::Empty { remaining_ms, has_newcomers: false });
                turn.arm_join(delay_ms);
            }
            Phase::Preparing(_) => self.begin_generation(turn),
            Phase::Empty | Phase::Completing | Phase::Stable => {}
        }
    }

    /// Those who joined are told who leads; those who did not are out, but for static members, whose places are kept until
    /// their sessions end.
    fn begin_generation(&mut self, turn: &mut Turn<'_>) {
        let is_absent = |member: &Member| member.joining.is_none() && member.instance_id.is_none();
        let absent: Vec<Str> =
            self.members.iter().filter(|(_, member)| is_absent(member)).map(|(id, _)| id.clone()).collect();
        for id in absent {
            self.take(&id, turn);
        }
        if !self.elect_leader() && !self.members.is_empty() {
            // Only static members, and none of them is there: their sessions will end this.
            turn.arm_join(self.rebalance_ms().max(1));
            return;
        }
        turn.disarm_join();
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.enter(Phase::Empty, turn);
            let value = self.written(|_, _| Bytes::new());
            self.record(turn, value);
            return;
        }
        self.protocol = self.select_protocol();
        self.enter(Phase::Completing, turn);
        let ids: Vec<Str> = self.members.keys().cloned().collect();
        for id in &ids {
            let response = self.joined(id);
            if let Some(member) = self.members.get_mut(id) {
                member.is_new = false;
                member.assignment = Bytes::new();
                if let Some(ticket) = member.joining.take() {
                    turn.answer(ticket, response);
                }
            }
            self.arm_session(id, turn);
        }
        self.unsynced.extend(ids);
        // G7: nobody looks whether the leader ever assigns.
        if exhibit!(G7, true, false) {
            turn.arm_sync(self.rebalance_ms());
        }
    }

    /// A leader that did not join is replaced by a member that did. `false`: there is none.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &Str| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if !self.leader.as_ref().is_some_and(has_joined) {
            let joined = self.members.iter().find(|(_, member)| member.joining.is_some());
            let Some((id, _)) = joined else { return false };
            self.leader = Some(id.clone());
        }
        true
    }

    /// The protocol that most members like best, of those that all speak; among equals the one that the leader puts first.
    pub(super) fn select_protocol(&self) -> Option<Str> {
        let all_speak = |name: &Str| self.members.values().all(|member| member.speaks(name));
        let favourite = |member: &Member| {
            member.protocols.iter().map(|(name, _)| name).find(|name| all_speak(name)).cloned()
        };
        let votes: Vec<Str> = self.members.values().filter_map(favourite).collect();
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader))?;
        let spoken = leader.protocols.iter().map(|(name, _)| name).filter(|name| all_speak(name));
        let counted = spoken.map(|name| (votes.iter().filter(|vote| *vote == name).count(), name));
        // `max_by_key` takes the last of equals.
        let by_votes: Vec<(usize, &Str)> = counted.collect();
        by_votes.into_iter().rev().max_by_key(|(votes, _)| *votes).map(|(_, name)| name.clone())
    }

    /// What the members were given counts no more; those who wait for it are told `code`.
    pub(super) fn drop_assignments(&mut self, code: ErrorCode, turn: &mut Turn<'_>) {
        let ids: Vec<Str> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.assignment = Bytes::new();
            if let Some(ticket) = member.syncing.take() {
                turn.answer(ticket, super::sync::refused(code));
                self.arm_session(&id, turn);
            }
        }
    }
}
