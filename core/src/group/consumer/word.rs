//! A member's word: whatever protocol it came in, the same follows from it for the group.

use super::decision::Decision;
use super::member::{Current, Said, State};
use super::reconcile;
use super::state::Consumer;
use super::{Lookup, Refusal, Watch, patterns};
use crate::errors::ErrorCode;
use crate::group::assignor::Partitions;
use crate::group::records::GroupRecord;
use crate::group::topics::Topics;
use crate::group::{Deadline, Group, GroupSettings, Groups};
use crate::ids::Uuid;
use crate::time::Now;
use crate::wire::Str;
use crate::wire::consumer_group_heartbeat::OwnedPartitions;
use alloc::vec::Vec;

/// Which member speaks, and how far it is.
pub(super) struct Speaker {
    /// What it, or who had its place, said before.
    pub(super) said: Option<Said>,
    pub(super) current: Current,
    /// The member that it takes the place of.
    pub(super) replaces: Option<Str>,
}

/// What a member says.
pub(super) struct Word<'a> {
    pub(super) member: &'a Str,
    pub(super) speaker: Speaker,
    /// All that it has said by now.
    pub(super) after: Said,
    /// What it reads; `None`: it did not say.
    pub(super) owned: Option<&'a [OwnedPartitions]>,
}

/// What comes of it.
pub(super) struct Step {
    pub(super) member: Str,
    pub(super) records: Vec<GroupRecord>,
    said: Said,
    /// How far the member was, and is.
    pub(super) before: Current,
    pub(super) after: Current,
    replaces: Option<Str>,
    /// Topics of patterns that are to be looked for.
    lookup: Option<Lookup>,
}

impl Word<'_> {
    /// What follows, in Kafka's order: what it said, the group's epoch, the targets, the member's next step.
    pub(super) fn decide(
        self,
        id: &Str,
        (base, watch): (&Consumer, &Watch),
        (now, topics): (Now, &dyn Topics),
        settings: &GroupSettings,
    ) -> Result<Step, Refusal> {
        let Speaker { said: before, current, replaces } = &self.speaker;
        let (member, after) = (self.member, &self.after);
        let mut decision = Decision::new(id, base, topics, now.wall);
        if let Some(old) = replaces {
            decision.remove(old);
            if let Some(target) = base.targets.get(old) {
                decision.put_target(member, target);
            }
        }
        if replaces.is_some() || before.as_ref() != Some(after) {
            decision.put_member(member, after.clone());
        }
        let news = News::of(before.as_ref(), after, base);
        if news.pattern {
            decision.forget_patterns();
        }
        if news.has_unknown_pattern {
            after.pattern().map_or(Ok(()), |pattern| patterns::check(pattern))?;
        }
        if news.counts || watch.seen != Some(topics.version()) {
            decision.update_epoch(news.counts);
        }
        let lookup = patterns::lookup(&decision, watch, &settings.consumer, news.has_unknown_pattern);
        let successor = replaces.as_ref().map(|old| (member, old));
        let (target_epoch, target) = decision.target(member, successor, settings);
        let next = self.step(&decision, (target_epoch, &target), news.names || news.pattern)?;
        if replaces.is_some() || next != base.current(member) {
            decision.put_current(member, &next);
        }
        let records = decision.records;
        let (member, before, replaces) = (member.clone(), current.clone(), replaces.clone());
        Ok(Step { member, records, said: self.after, before, after: next, replaces, lookup })
    }

    fn step(
        &self,
        decision: &Decision<'_>,
        (target_epoch, target): (i32, &Partitions),
        subscription_changed: bool,
    ) -> Result<Current, Refusal> {
        let (current, said) = (&self.speaker.current, &self.after);
        if !subscription_changed && current.is_reconciled_to(target_epoch) {
            return Ok(current.clone());
        }
        let of_pattern = said.pattern().and_then(|pattern| decision.topics_of(pattern)).unwrap_or_default();
        let wants = |topic_id: Uuid| {
            decision.topics.name_of(topic_id).is_some_and(|name| {
                let is_listed = |names: &[Str]| names.binary_search_by(|known| (**known).cmp(name)).is_ok();
                is_listed(&said.subscribed_topic_names) || is_listed(of_pattern)
            })
        };
        let step = reconcile::Step {
            target_epoch,
            target,
            owned: self.owned,
            subscription_changed,
            wants: &wants,
            is_owned: &|topic_id, partition| decision.base.owner(topic_id, partition).is_some(),
        };
        step.take(current)
    }
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
        let known = before.map_or(&[][..], |before| &before.subscribed_topic_names[..]);
        let names = known != after.subscribed_topic_names;
        let pattern = before.and_then(Said::pattern) != after.pattern();
        let new_pattern = after.pattern().filter(|_| pattern);
        let is_known = new_pattern.is_none_or(|pattern| base.patterns.contains_key(pattern));
        Self {
            names,
            pattern,
            has_unknown_pattern: new_pattern.is_some_and(|pattern| base.subscribers(pattern) == 0),
            counts: names || (pattern && is_known),
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
        if self.epoch() > base.target_epoch() && base.may_assign(self.now, &settings.consumer) {
            let mut targets = self.retarget(settings.consumer.assignors, successor);
            return (self.epoch(), targets.remove(member).unwrap_or_default());
        }
        let source = successor.map_or(member, |(_, old)| old);
        (base.target_epoch(), base.targets.get(source).cloned().unwrap_or_default())
    }
}

impl Groups {
    /// The log takes these records.
    pub(super) fn check_records(&self, records: &[GroupRecord]) -> Result<(), Refusal> {
        // As in Kafka, whose log takes no greater record either.
        if records.iter().any(|record| record.bytes() > self.settings.record_bytes_max) {
            return Err(Refusal::new(ErrorCode::UnknownServerError, "The group is too large for its log."));
        }
        Ok(())
    }

    /// What a member's word changes besides the log: timers, and what is looked up.
    pub(super) fn take_step(&mut self, id: &Str, (now, topics): (Now, &dyn Topics), step: Step) {
        let rests_on = self.removed_at;
        let group = self.groups.entry(id.clone()).or_insert_with(|| Group { rests_on, ..Group::default() });
        group.watch.seen = Some(topics.version());
        if step.lookup.is_some() {
            group.watch.lookup = step.lookup;
            self.deadlines.arm(now.mono, Deadline::Lookup(id.clone()));
        }
        if let Some(old) = &step.replaces {
            self.disarm_member(id, old);
        }
        let member = step.member;
        let session_ms = step.said.session_ms(&self.settings_of(id, topics).consumer);
        self.deadlines.arm(now.mono + session_ms, Deadline::Session(id.clone(), member.clone()));
        if step.after != step.before && !step.said.is_classic() {
            let deadline = Deadline::Revocation(id.clone(), member);
            if step.after.state == State::Unrevoked {
                let patience_ms = u64::try_from(step.said.rebalance_timeout_ms).unwrap_or(0);
                self.deadlines.arm(now.mono + patience_ms, deadline);
            } else {
                self.deadlines.disarm(deadline);
            }
        }
    }

    /// A member's timers are over.
    pub(super) fn disarm_member(&mut self, id: &Str, member: &Str) {
        let deadlines: [fn(Str, Str) -> Deadline; 4] =
            [Deadline::Session, Deadline::Revocation, Deadline::Rejoin, Deadline::FirstSync];
        for deadline in deadlines {
            self.deadlines.disarm(deadline(id.clone(), member.clone()));
        }
    }
}
