//! ConsumerGroupHeartbeat: what a member says, what follows for its group, and what it is told (KIP-848).

use super::decision::Decision;
use super::member::{Current, Said, State};
use super::reconcile::Step;
use super::state::Consumer;
use super::{LEAVES, LEAVES_FOR_NOW, Lookup, Refusal, Watch, patterns};
use crate::errors::ErrorCode;
use crate::group::assignor::Partitions;
use crate::group::classic::Classic;
use crate::group::records::GroupRecord;
use crate::group::topics::Topics;
use crate::group::{Caller, Deadline, Effects, Group, GroupSettings, Groups};
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

/// What comes of a heartbeat.
struct Beat {
    records: Vec<GroupRecord>,
    said: Said,
    /// How far the member was, and is.
    before: Current,
    after: Current,
    /// The member that it takes the place of.
    replaces: Option<Str>,
    /// Topics of patterns that are to be looked for.
    lookup: Option<Lookup>,
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
        let mut records = Vec::new();
        let nothing = Consumer::default();
        let base = match self.groups.get(id) {
            Some(group) if group.consumer.is_there() => &group.consumer,
            group => {
                self.check_beginning(id, group, heard)?;
                // An empty classic group makes way; its offsets stay.
                records.extend(group.filter(|group| group.written.is_some()).map(|_| Group::tombstone(id)));
                &nothing
            }
        };
        self.check_room(base, heard, held_bytes)?;
        let not_seen = Watch::default();
        let watch = self.groups.get(id).map_or(&not_seen, |group| &group.watch);
        let beat = decide_beat(id, (base, watch), heard, &self.settings)?;
        records.extend(beat.records.iter().cloned());
        if records.iter().any(|record| record.bytes() > self.settings.record_bytes_max) {
            // As in Kafka, whose log takes no such record either.
            return Err(Refusal::new(ErrorCode::UnknownServerError, "The group is too large for its log."));
        }
        let response = self.answer_to(heard, &beat);
        self.take_beat(id, heard, beat);
        Ok(Effects { records, ..Effects::answer(id.clone(), heard.caller.ticket, response) })
    }

    /// A group may begin with this member.
    fn check_beginning(&self, id: &Str, group: Option<&Group>, heard: &Heard<'_>) -> Result<(), Refusal> {
        let not_found = |why| Err(Refusal::new(ErrorCode::GroupIdNotFound, why));
        if heard.request.member_epoch != 0 {
            return not_found(match group {
                None => format!("Consumer group {id} not found."),
                Some(_) => format!("Group {id} is not a consumer group."),
            });
        }
        match group {
            None if self.groups.len() >= self.settings.groups_max => {
                Err(Refusal::new(ErrorCode::GroupMaxSizeReached, "There are too many groups."))
            }
            Some(group) if !group.classic.is_empty() => not_found(format!(
                "Cannot upgrade classic group {id} to consumer group because online upgrade is disabled."
            )),
            None | Some(_) => Ok(()),
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
        let more = said.bytes().saturating_sub(known.map_or(0, Said::bytes));
        if more > 0 && held_bytes + more > self.settings.member_bytes_max {
            return full("Members of all groups take all the memory that they may.".into());
        }
        Ok(())
    }

    /// What a heartbeat changes besides the log: timers, and what is looked up.
    fn take_beat(&mut self, id: &Str, heard: &Heard<'_>, beat: Beat) {
        let rests_on = self.removed_at;
        let group = self.groups.entry(id.clone()).or_insert_with(|| Group { rests_on, ..Group::default() });
        if !group.consumer.is_there() {
            group.classic = Classic::default();
            group.watch = Watch::default();
        }
        group.watch.seen = Some(heard.topics.version());
        if beat.lookup.is_some() {
            group.watch.lookup = beat.lookup;
            self.deadlines.arm(heard.now.mono, Deadline::Lookup(id.clone()));
        }
        if let Some(old) = &beat.replaces {
            self.disarm_member(id, old);
        }
        let at = heard.now.mono + self.settings.consumer.session_timeout_ms;
        self.deadlines.arm(at, Deadline::Session(id.clone(), heard.member.clone()));
        if beat.after != beat.before {
            let deadline = Deadline::Revocation(id.clone(), heard.member.clone());
            if beat.after.state == State::Unrevoked {
                let patience_ms = u64::try_from(beat.said.rebalance_timeout_ms).unwrap_or(0);
                self.deadlines.arm(heard.now.mono + patience_ms, deadline);
            } else {
                self.deadlines.disarm(deadline);
            }
        }
    }

    fn answer_to(&self, heard: &Heard<'_>, beat: &Beat) -> ConsumerGroupHeartbeatResponse {
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
            heartbeat_interval_ms: self.settings.consumer.heartbeat_interval_ms,
            assignment: is_told.then(|| HeartbeatAssignment { topic_partitions: topic_partitions.collect() }),
            ..ConsumerGroupHeartbeatResponse::default()
        }
    }

    /// A member's timers are over.
    pub(super) fn disarm_member(&mut self, id: &Str, member: &Str) {
        self.deadlines.disarm(Deadline::Session(id.clone(), member.clone()));
        self.deadlines.disarm(Deadline::Revocation(id.clone(), member.clone()));
    }
}

/// A heartbeat that comes to nothing.
pub(super) fn refused(refusal: &Refusal) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code: refusal.code.code(),
        error_message: Some(Str::from(&*refusal.why)),
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

/// Which member speaks, and how far it is.
struct Speaker {
    said: Option<Said>,
    current: Current,
    replaces: Option<Str>,
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

/// What follows from what a member says, in Kafka's order: what it said, the group's epoch, the targets, its next step.
fn decide_beat(
    id: &Str,
    (base, watch): (&Consumer, &Watch),
    heard: &Heard<'_>,
    settings: &GroupSettings,
) -> Result<Beat, Refusal> {
    let Speaker { said: before, current, replaces } = speaker(base, heard)?;
    let after = said(before.clone().unwrap_or_default(), heard);
    let mut decision = Decision::new(id, base, heard.topics, heard.now.wall);
    if let Some(old) = &replaces {
        decision.remove(old);
        if let Some(target) = base.targets.get(old) {
            decision.put_target(&heard.member, target);
        }
    }
    if replaces.is_some() || before.as_ref() != Some(&after) {
        decision.put_member(&heard.member, after.clone());
    }
    let news = News::of(before.as_ref(), &after, base);
    if news.pattern {
        decision.forget_patterns();
    }
    if news.has_unknown_pattern {
        after.pattern().map_or(Ok(()), |pattern| patterns::check(pattern))?;
    }
    if news.counts || watch.seen != Some(heard.topics.version()) {
        decision.update_epoch(news.counts);
    }
    let lookup = patterns::lookup(&decision, watch, &settings.consumer, news.has_unknown_pattern);
    let successor = replaces.as_ref().map(|old| (&heard.member, old));
    let (target_epoch, target) = decision.target(&heard.member, successor, settings);
    let next = decision.step(heard, &after, &current, (target_epoch, &target), news.names || news.pattern)?;
    if replaces.is_some() || next != base.current(&heard.member) {
        decision.put_current(&heard.member, &next);
    }
    let records = decision.records;
    Ok(Beat { records, said: after, before: current, after: next, replaces, lookup })
}

/// What is new of what a member wants.
struct News {
    names: bool,
    pattern: bool,
    /// Nobody subscribed to its pattern so far.
    has_unknown_pattern: bool,
    /// The group assigns anew. It does not yet for a pattern whose topics are not known: when they are is soon enough.
    counts: bool,
}

impl News {
    fn of(before: Option<&Said>, after: &Said, base: &Consumer) -> Self {
        let names = before.is_none_or(|before| before.subscribed_topic_names != after.subscribed_topic_names);
        let pattern = before.and_then(Said::pattern) != after.pattern();
        let new_pattern = after.pattern().filter(|_| pattern);
        let is_known = new_pattern.is_none_or(|pattern| base.patterns.contains_key(pattern));
        Self {
            names,
            pattern,
            has_unknown_pattern: new_pattern.is_some_and(|pattern| base.subscribers(pattern) == 0),
            counts: base.epoch() == 0 || names || (pattern && is_known),
        }
    }
}

impl Decision<'_> {
    /// What a member is to read in the end, and since which epoch: anew, if the group is in a newer epoch than its targets, and
    /// these are not too young (KIP-1263).
    fn target(
        &mut self,
        member: &Str,
        successor: Option<(&Str, &Str)>,
        settings: &GroupSettings,
    ) -> (i32, Partitions) {
        let base = self.base;
        let (at, now) = (base.assigned_at(), self.now.0);
        // A clock that was set back is no reason to wait.
        let may_assign = at == 0 || now < at || now - at >= settings.consumer.assignment_interval_ms;
        if self.epoch() > base.target_epoch() && may_assign {
            let mut targets = self.retarget(settings.consumer.assignors, successor);
            return (self.epoch(), targets.remove(member).unwrap_or_default());
        }
        let source = successor.map_or(member, |(_, old)| old);
        (base.target_epoch(), base.targets.get(source).cloned().unwrap_or_default())
    }

    fn step(
        &self,
        heard: &Heard<'_>,
        said: &Said,
        current: &Current,
        (target_epoch, target): (i32, &Partitions),
        subscription_changed: bool,
    ) -> Result<Current, Refusal> {
        if !subscription_changed && current.is_reconciled_to(target_epoch) {
            return Ok(current.clone());
        }
        let of_pattern = said.pattern().and_then(|pattern| self.topics_of(pattern)).unwrap_or_default();
        let wants = |topic_id: Uuid| {
            self.topics.name_of(topic_id).is_some_and(|name| {
                let is_listed = |names: &[Str]| names.binary_search_by(|known| (**known).cmp(name)).is_ok();
                is_listed(&said.subscribed_topic_names) || is_listed(of_pattern)
            })
        };
        let step = Step {
            target_epoch,
            target,
            owned: heard.request.topic_partitions.as_deref(),
            subscription_changed,
            wants: &wants,
            is_owned: &|topic_id, partition| self.base.owner(topic_id, partition).is_some(),
        };
        step.take(current)
    }
}
