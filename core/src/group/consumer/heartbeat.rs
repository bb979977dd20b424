//! ConsumerGroupHeartbeat: what a member says, what follows for its group, and what it is told (KIP-848).

use super::member::{Current, Said};
use super::migrate::Beginning;
use super::state::Consumer;
use super::word::{Speaker, Step, Word};
use super::{LEAVES, LEAVES_FOR_NOW, Refusal, Watch};
use crate::errors::ErrorCode;
use crate::group::topics::Topics;
use crate::group::{Caller, Effects, Group, GroupSettings, Groups};
use crate::ids::Uuid;
use crate::time::Now;
use crate::wire::consumer_group_heartbeat::{AssignedPartitions, HeartbeatAssignment, OwnedPartitions};
use crate::wire::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, Str};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

/// From here on members make their own ids (KIP-1082).
const OWN_IDS_FROM: i16 = 1;

/// What is needed to judge a heartbeat besides the group.
pub(super) struct Heard<'a> {
    pub(super) now: Now,
    pub(super) request: &'a ConsumerGroupHeartbeatRequest,
    pub(super) caller: &'a Caller<'a>,
    pub(super) topics: &'a dyn Topics,
    /// The member's id: its own, or a fresh one.
    pub(super) member: Str,
}

impl Groups {
    /// ConsumerGroupHeartbeat. `fresh` is an id that was never used; `held_bytes` is what members tell of themselves in all
    /// partitions here.
    #[must_use]
    pub fn on_consumer_heartbeat(
        &mut self,
        now: Now,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller<'_>,
        (fresh, held_bytes): (Uuid, usize),
        topics: &dyn Topics,
    ) -> Effects {
        let id = request.group_id.detached();
        let member = if request.member_id.is_empty() {
            Str::from(fresh.to_string())
        } else {
            request.member_id.detached()
        };
        let heard = Heard { now, request, caller, topics, member };
        let outcome = check(request, caller.version, &self.settings).and_then(|()| {
            if matches!(request.member_epoch, LEAVES | LEAVES_FOR_NOW) {
                self.on_consumer_leave(&id, &heard)
            } else {
                self.on_beat(&id, &heard, held_bytes)
            }
        });
        outcome.unwrap_or_else(|refusal| Effects::answer(id, caller.ticket, refused(&refusal)))
    }

    fn on_beat(&mut self, id: &Str, heard: &Heard<'_>, held_bytes: usize) -> Result<Effects, Refusal> {
        let group = self.groups.get(id);
        let of_group = group.map(|group| &group.consumer).filter(|consumer| consumer.is_there());
        let Beginning { base: begun, mut records } = match of_group {
            Some(_) => Beginning::default(),
            None => self.begin(id, group, heard)?,
        };
        let base = of_group.unwrap_or(&begun);
        self.check_room(base, heard, held_bytes)?;
        let not_seen = Watch::default();
        let watch = group.map_or(&not_seen, |group| &group.watch);
        let speaker = speaker(base, heard)?;
        let after = said(speaker.said.clone().unwrap_or_default(), heard);
        let owned = heard.request.topic_partitions.as_deref();
        let word = Word { member: &heard.member, speaker, after, owned };
        let settings = self.settings_of(id, heard.topics);
        let step = word.decide(id, (base, watch), (heard.now, heard.topics), &settings)?;
        records.extend(step.records.iter().cloned());
        self.check_records(&records)?;
        let is_new = of_group.is_none();
        let response = answer_to(heard, &step, settings.consumer.heartbeat_interval_ms);
        let mut effects = Effects { records, ..Effects::answer(id.clone(), heard.caller.ticket, response) };
        if is_new {
            effects.answers.extend(self.on_upgraded(id, &begun, heard.now));
        }
        self.take_step(id, (heard.now, heard.topics), step);
        Ok(effects)
    }

    /// What a group begins with that was not there, or whose members spoke the classic protocol.
    fn begin(&self, id: &Str, group: Option<&Group>, heard: &Heard<'_>) -> Result<Beginning, Refusal> {
        let not_found = |why| Err(Refusal::new(ErrorCode::GroupIdNotFound, why));
        match group {
            None if heard.request.member_epoch != 0 => not_found(format!("Consumer group {id} not found.")),
            Some(_) if heard.request.member_epoch != 0 => {
                not_found(format!("Group {id} is not a consumer group."))
            }
            None if self.groups.len() >= self.settings.groups_max => {
                Err(Refusal::new(ErrorCode::GroupMaxSizeReached, "There are too many groups."))
            }
            None => Ok(Beginning::default()),
            Some(group) => self.upgrade(id, group, heard.topics),
        }
    }

    /// There is room for what the member says of itself, and for the member.
    fn check_room(&self, base: &Consumer, heard: &Heard<'_>, held_bytes: usize) -> Result<(), Refusal> {
        let full = |why| Err(Refusal::new(ErrorCode::GroupMaxSizeReached, why));
        let request = heard.request;
        let place = request.instance_id.as_ref().and_then(|place| base.statics.get(place));
        let known = base.members.get(&heard.member).or_else(|| base.members.get(place?));
        let max = self.settings.consumer.members_max;
        if known.is_none() && base.size() >= max {
            return full(format!("The consumer group has reached its maximum capacity of {max} members."));
        }
        let said = said(known.cloned().unwrap_or_default(), heard);
        let bytes = heard.member.len() + said.bytes();
        let more = bytes.saturating_sub(known.map_or(0, |known| heard.member.len() + known.bytes()));
        if more > 0 && held_bytes + more > self.settings.member_bytes_max {
            return full("Members of all groups take all the memory that they may.".into());
        }
        Ok(())
    }
}

fn answer_to(heard: &Heard<'_>, beat: &Step, heartbeat_interval_ms: i32) -> ConsumerGroupHeartbeatResponse {
    let request = heard.request;
    let wants = request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some();
    // Who says everything wants to hear everything: it begins, or something went wrong on its way.
    let says_all = request.rebalance_timeout_ms != -1 && wants && request.topic_partitions.is_some();
    let is_told = request.member_epoch == 0 || says_all || beat.after.assigned != beat.before.assigned;
    let topic_partitions = beat.after.assigned.by_topic();
    let topic_partitions =
        topic_partitions.map(|(topic_id, partitions)| AssignedPartitions { topic_id, partitions });
    ConsumerGroupHeartbeatResponse {
        member_id: Some(heard.member.clone()),
        member_epoch: beat.after.epoch,
        heartbeat_interval_ms,
        assignment: is_told.then(|| HeartbeatAssignment { topic_partitions: topic_partitions.collect() }),
        ..ConsumerGroupHeartbeatResponse::default()
    }
}

/// A heartbeat that comes to nothing.
pub(super) fn refused(refusal: &Refusal) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code: refusal.code.code(),
        error_message: Some(Str::message(&refusal.why)),
        ..ConsumerGroupHeartbeatResponse::default()
    }
}

/// The request makes sense, whatever the group.
fn check(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
    settings: &GroupSettings,
) -> Result<(), Refusal> {
    let invalid = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    let is_blank = |text: &str| text.trim().is_empty();
    let is_given_blank = |text: &Option<Str>| text.as_deref().is_some_and(is_blank);
    let epoch = request.member_epoch;
    let needs_id = version >= OWN_IDS_FROM || epoch > 0 || epoch == LEAVES;
    if needs_id && is_blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    } else if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    } else if is_given_blank(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    } else if is_given_blank(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    match epoch {
        0 if request.rebalance_timeout_ms == -1 => {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        0 if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        0 if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() => {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            );
        }
        LEAVES_FOR_NOW if request.instance_id.is_none() => return invalid("InstanceId can't be null."),
        ..LEAVES_FOR_NOW => return invalid("MemberEpoch is invalid."),
        LEAVES_FOR_NOW.. => {}
    }
    let enabled = settings.consumer.assignors;
    match request.server_assignor.as_deref() {
        Some(name) if !enabled.iter().any(|assignor| assignor.name() == name) => {
            let names: Vec<&str> = enabled.iter().map(|assignor| assignor.name()).collect();
            let shown: alloc::string::String = name.chars().take(64).collect();
            let why = format!(
                "ServerAssignor {shown} is not supported. Supported assignors: {}.",
                names.join(", ")
            );
            Err(Refusal::new(ErrorCode::UnsupportedAssignor, why))
        }
        Some(_) | None => Ok(()),
    }
}

/// What a member has said, with what it says here. What it leaves out is as before.
fn said(before: Said, heard: &Heard<'_>) -> Said {
    let request = heard.request;
    let detached = |text: &Option<Str>| text.as_ref().map(Str::detached);
    let names = request.subscribed_topic_names.as_ref().map(|names| {
        let mut names: Vec<Str> = names.iter().map(Str::detached).collect();
        names.sort_unstable();
        names.dedup();
        names
    });
    Said {
        instance_id: detached(&request.instance_id).or(before.instance_id),
        rack_id: detached(&request.rack_id).or(before.rack_id),
        client_id: heard.caller.client_id.into(),
        client_host: heard.caller.host.into(),
        subscribed_topic_names: names.unwrap_or(before.subscribed_topic_names),
        subscribed_topic_regex: detached(&request.subscribed_topic_regex).or(before.subscribed_topic_regex),
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => before.rebalance_timeout_ms,
            given => given.max(0),
        },
        server_assignor: detached(&request.server_assignor).or(before.server_assignor),
        classic_member_metadata: None,
    }
}

fn speaker(base: &Consumer, heard: &Heard<'_>) -> Result<Speaker, Refusal> {
    let request = heard.request;
    let known = base.members.get(&heard.member);
    let joins = request.member_epoch == 0;
    let place = request.instance_id.as_ref();
    let held = place.and_then(|place| base.statics.get(place)).filter(|_| place.is_some());
    match (place, held) {
        (Some(place), None) if !joins => Err(unknown_place(place)),
        // Somebody had this place: whoever takes it goes on with what belongs to it.
        (Some(place), Some(old)) if joins && *old != heard.member => {
            let current = base.current(old);
            if current.epoch != LEAVES_FOR_NOW && base.members.get(old).is_some_and(|said| !said.is_classic())
            {
                let (id, group) = (&heard.member, old);
                let why = format!(
                    "Static member {id} with instance id {place} cannot join the group because the instance id is owned by {group} member."
                );
                return Err(Refusal::new(ErrorCode::UnreleasedInstanceId, why));
            }
            let current = Current { epoch: 0, previous: 0, ..current };
            let said = base.members.get(old).cloned();
            Ok(Speaker { said, current, replaces: Some(old.clone()) })
        }
        (Some(place), Some(old)) if *old != heard.member => Err(fenced_place(&heard.member, place, old)),
        _ if known.is_none() && !joins => Err(unknown(&request.group_id, &heard.member)),
        _ => {
            let mut current = base.current(&heard.member);
            check_epoch(&current, request)?;
            if current.epoch == LEAVES_FOR_NOW && joins {
                // It comes back under the id that it had.
                current = Current { epoch: 0, previous: 0, ..current };
            }
            Ok(Speaker { said: known.cloned(), current, replaces: None })
        }
    }
}

/// Nobody is known by this id.
pub(super) fn unknown(group: &Str, member: &Str) -> Refusal {
    Refusal::new(ErrorCode::UnknownMemberId, format!("Member {member} is not a member of group {group}."))
}

/// Nobody has this place.
pub(super) fn unknown_place(place: &Str) -> Refusal {
    Refusal::new(ErrorCode::UnknownMemberId, format!("Instance id {place} is unknown."))
}

/// Somebody else has this place.
pub(super) fn fenced_place(member: &Str, place: &Str, owner: &Str) -> Refusal {
    let why = format!("Static member {member} with instance id {place} was fenced by member {owner}.");
    Refusal::new(ErrorCode::FencedInstanceId, why)
}

/// A member is in the epoch that it was told last, or did not hear of it: then it is in the one before, and reads nothing but what
/// it may.
fn check_epoch(current: &Current, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let (said, known) = (request.member_epoch, current.epoch);
    let fenced = |than: &str| {
        let why = format!(
            "The consumer group member has a {than} member epoch ({said}) than the one known by the group coordinator ({known}). The member must abandon all its partitions and rejoin."
        );
        Err(Refusal::new(ErrorCode::FencedMemberEpoch, why))
    };
    let owned = request.topic_partitions.as_ref();
    let owns_no_more = |owned: &Vec<OwnedPartitions>| {
        let has = |of_topic: &OwnedPartitions| {
            of_topic.partitions.iter().all(|&it| current.assigned.contains(of_topic.topic_id, it))
        };
        owned.iter().all(has)
    };
    if said == 0 || said == known {
        Ok(())
    } else if said > known {
        fenced("greater")
    } else if said != current.previous || !owned.is_some_and(owns_no_more) {
        fenced("smaller")
    } else {
        Ok(())
    }
}
