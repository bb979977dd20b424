//! How members go: they say so, are silent for too long, or do not let go of what they were told to.

use super::decision::Decision;
use super::heartbeat::{Heard, fenced_place, unknown, unknown_place};
use super::member::{Current, Held, State};
use super::state::Consumer;
use super::{LEAVES_FOR_NOW, Refusal};
use crate::errors::ErrorCode;
use crate::group::topics::Topics;
use crate::group::{Deadline, Effects, Groups};
use crate::time::Now;
use crate::wire::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, Str};
use alloc::collections::BTreeSet;
use alloc::format;

impl Consumer {
    /// Somebody is known by this id.
    pub(in crate::group) fn has(&self, member: &str) -> bool {
        self.members.contains_key(member)
    }

    /// A member has not let go of all that it was told to. Who left for now has.
    pub(in crate::group) fn holds_on(&self, member: &str) -> bool {
        let has_something = |it: &Current| it.state == State::Unrevoked && !it.revoking.is_empty();
        self.has(member) && self.currents.get(member).is_some_and(has_something)
    }
}

impl Groups {
    /// A member says that it goes.
    pub(super) fn on_consumer_leave(&mut self, id: &Str, heard: &Heard<'_>) -> Result<Effects, Refusal> {
        let not_found = |why| Refusal::new(ErrorCode::GroupIdNotFound, why);
        let group = self.groups.get(id).ok_or_else(|| not_found(format!("Group {id} not found.")))?;
        if !group.consumer.is_there() {
            return Err(not_found(format!("Group {id} is not a consumer group.")));
        }
        let (request, member) = (heard.request, &heard.member);
        match &request.instance_id {
            Some(place) => {
                let owner = group.consumer.statics.get(place).ok_or_else(|| unknown_place(place))?;
                if owner != member {
                    return Err(fenced_place(member, place, owner));
                }
            }
            None if !group.consumer.members.contains_key(member) => return Err(unknown(id, member)),
            None => {}
        }
        let mut effects = if request.member_epoch == LEAVES_FOR_NOW {
            self.pause(id, member, heard)
        } else {
            self.fence(id, &BTreeSet::from([member.clone()]), heard.now, heard.topics)
        };
        let response = ConsumerGroupHeartbeatResponse {
            member_id: Some(member.clone()),
            member_epoch: request.member_epoch,
            ..ConsumerGroupHeartbeatResponse::default()
        };
        effects.answers.push((heard.caller.ticket, response.into()));
        Ok(effects)
    }

    /// A static member goes, and its place is kept until its session is over. What it was to let go of, it has let go of.
    fn pause(&self, id: &Str, member: &Str, heard: &Heard<'_>) -> Effects {
        let mut effects = Effects { group: id.clone(), ..Effects::default() };
        if let Some(group) = self.groups.get(id) {
            let mut decision = Decision::new(id, &group.consumer, heard.topics, heard.now.wall);
            let current = group.consumer.current(member);
            let paused = Current { epoch: LEAVES_FOR_NOW, revoking: Held::default(), ..current };
            decision.put_current(member, &paused);
            effects.records = decision.records;
        }
        effects
    }

    /// Timer: a member's time is over, and it is out unless it has done what it was to do.
    pub(in crate::group) fn on_patience_over(
        &mut self,
        (id, member): (&Str, &Str),
        now: Now,
        topics: &dyn Topics,
        is_due: impl FnOnce(&Consumer, &str) -> bool,
    ) -> Effects {
        if self.groups.get(id).is_some_and(|group| is_due(&group.consumer, member)) {
            self.fence(id, &BTreeSet::from([member.clone()]), now, topics)
        } else {
            Effects { group: id.clone(), ..Effects::default() }
        }
    }

    /// Nothing can be written, and a member lets itself be heard: it keeps its session, and its time to let go. What it says is not
    /// looked at, and it is told to come again.
    pub fn on_heartbeat_unheard(
        &mut self,
        now: Now,
        request: &ConsumerGroupHeartbeatRequest,
        topics: &dyn Topics,
    ) {
        let (id, member) = (request.group_id.detached(), request.member_id.detached());
        let Some(group) = self.groups.get(&id).map(|group| &group.consumer) else { return };
        let Some(said) = group.members.get(&member) else { return };
        let current = group.current(&member);
        // It may not have heard of its last epoch.
        if ![current.epoch, current.previous].contains(&request.member_epoch) {
            return;
        }
        let session_ms = said.session_ms(&self.settings_of(&id, topics).consumer);
        let patience_ms = u64::try_from(said.rebalance_timeout_ms).unwrap_or(0);
        if current.state == State::Unrevoked {
            let deadline = Deadline::Revocation(id.clone(), member.clone());
            self.deadlines.arm(now.mono + patience_ms, deadline);
        }
        self.deadlines.arm(now.mono + session_ms, Deadline::Session(id, member));
    }

    /// The log is replayed: each member has a whole session to let itself be heard, and whoever is to let go of something has all
    /// of its time for that.
    pub(in crate::group) fn watch_members(&mut self, id: &Str, now: Now, topics: &dyn Topics) {
        let settings = self.settings_of(id, topics);
        let Some(group) = self.groups.get_mut(id) else { return };
        group.watch.empty_since = now.wall;
        for (member, said) in &group.consumer.members {
            let deadline = Deadline::Session(id.clone(), member.clone());
            self.deadlines.arm(now.mono + said.session_ms(&settings.consumer), deadline);
            let current = group.consumer.currents.get(member);
            if current.is_some_and(|current| current.state == State::Unrevoked) {
                let patience_ms = u64::try_from(said.rebalance_timeout_ms).unwrap_or(0);
                let deadline = Deadline::Revocation(id.clone(), member.clone());
                self.deadlines.arm(now.mono + patience_ms, deadline);
            }
        }
    }
}
