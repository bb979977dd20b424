//! Consumer groups: who is in one, who reads what, and how far they got.
//!
//! A group lives in one partition of `__consumer_offsets`; whoever leads that partition is its coordinator, and holds one
//! [`Groups`] for it. What must survive is in the partition's records and comes into [`Groups`] by `replay` alone, at the append
//! and when a new leader loads the log. What may be lost with the leader (who waits for whom, timers) is kept beside it.
//!
//! ```text
//!   request ──► on_* / decide_* ──► Effects { records, answers }
//!                                        │         │
//!                     replay ◄── append ─┘         └─► leaves when the group's last record is committed (SAFETY C1)
//! ```
//!
//! * [`records`]: the log's format;
//! * `classic`: members of the classic protocol and their rebalances; [`subscription`]: what they tell each other;
//! * `consumer`: members of the consumer protocol (KIP-848); [`assignor`]: who of them is to read what; [`topics`]: what that is
//!   made from;
//! * `offsets`: commit, fetch, expiry;
//! * `admin`: list, describe, delete.
//!
//! Not here: topics, connections, partitions of the log. The broker finds the partition, appends, and lets answers leave.

mod admin;
pub mod assignor;
mod classic;
mod consumer;
mod offsets;
pub mod records;
pub mod settings;
pub mod subscription;
pub mod topics;

pub use offsets::{CommitTopic, Committed, FetchTopic};
pub use settings::{Bounds, ConsumerSettings, GroupSettings, MigrationPolicy, OwnSettings};
pub use topics::Topics;

use crate::ids::Offset;
use crate::replica::WaiterId;
use crate::time::{MonoMs, Now};
use crate::timers::Timers;
use crate::wire::{Response, Str};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use classic::Classic;
use consumer::{Consumer, Watch};
use offsets::Offsets;
use records::{ConsumerRecord, GroupMetadataKey, GroupMetadataValue, GroupRecord};

/// The name of the topic that holds the groups.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A topic that brokers keep for themselves: clients read it and do not write to it, and nothing of it is too old or too much.
pub(crate) fn is_internal(topic: &str) -> bool {
    topic == OFFSETS_TOPIC
}

/// Which of so many partitions keeps a group: that of Java's `hashCode`, as in Kafka, so that its tools find it.
#[must_use]
pub fn group_partition(group: &str, partitions: usize) -> usize {
    let hash =
        group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    usize::try_from(hash & i32::MAX).unwrap_or(0) % partitions.max(1)
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The number that an answer is given with.
    pub ticket: WaiterId,
    /// What the client calls itself.
    pub client_id: &'a str,
    /// Its address, as Kafka writes it: `/127.0.0.1`.
    pub host: &'a str,
    /// The version of the request.
    pub version: i16,
}

/// What came of one event at one group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Effects {
    /// The group. Answers rest on what is written of it.
    pub group: Str,
    /// What is written, all or nothing.
    pub records: Vec<GroupRecord>,
    /// What is answered, in the end: now, or to those who waited.
    pub answers: Vec<(WaiterId, Response)>,
}

impl Effects {
    /// Nothing but an answer.
    fn answer(group: Str, ticket: WaiterId, response: impl Into<Response>) -> Self {
        Self { group, records: Vec::new(), answers: alloc::vec![(ticket, response.into())] }
    }
}

/// The groups of one partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    settings: GroupSettings,
    groups: BTreeMap<Str, Group>,
    deadlines: Timers<Deadline>,
    /// Bytes that members of all groups take.
    member_bytes: usize,
    /// Nothing is forgotten before: members of a group that was about to begin, of which the log does not know, come again.
    grace_until: MonoMs,
    /// The end of the last record by which something vanished: that there is no such group rests on it.
    removed_at: Offset,
    /// Part of the log was unreadable.
    has_gaps: bool,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Default)]
struct Group {
    /// What the log says of its members; `None`: nothing. Changed by replay only.
    written: Option<GroupMetadataValue>,
    /// What the log says of its offsets. Changed by replay only.
    offsets: Offsets,
    /// Its members as they are.
    classic: Classic,
    /// What the log says of its members if they speak the consumer protocol. Changed by replay only.
    consumer: Consumer,
    /// What is known of these besides.
    watch: Watch,
    /// The end of the last record about it.
    rests_on: Offset,
}

/// What a group waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    /// Members have had the time to join again.
    Join(Str),
    /// Members have had the time to ask for what they are to read.
    Sync(Str),
    /// A member was silent for too long.
    Session(Str, Str),
    /// A member of a consumer group has had the time to let go of what it was told to.
    Revocation(Str, Str),
    /// A classic member of a consumer group has had the time to join again.
    Rejoin(Str, Str),
    /// Such a member has had the time to ask for what it is to read.
    FirstSync(Str, Str),
    /// Topics of a consumer group's patterns are to be looked for.
    Lookup(Str),
}

/// One event at one group: when it happens, and where its consequences go.
struct Turn<'a> {
    id: &'a Str,
    now: Now,
    settings: &'a GroupSettings,
    deadlines: &'a mut Timers<Deadline>,
    member_bytes: &'a mut usize,
    effects: &'a mut Effects,
}

impl Turn<'_> {
    fn answer(&mut self, ticket: WaiterId, response: impl Into<Response>) {
        self.effects.answers.push((ticket, response.into()));
    }

    fn record(&mut self, record: GroupRecord) {
        self.effects.records.push(record);
    }

    fn arm_join(&mut self, after_ms: u64) {
        self.deadlines.arm(self.now.mono + after_ms, Deadline::Join(self.id.clone()));
    }

    fn disarm_join(&mut self) {
        self.deadlines.disarm(Deadline::Join(self.id.clone()));
    }

    fn arm_sync(&mut self, after_ms: u64) {
        self.deadlines.arm(self.now.mono + after_ms, Deadline::Sync(self.id.clone()));
    }

    fn disarm_sync(&mut self) {
        self.deadlines.disarm(Deadline::Sync(self.id.clone()));
    }

    fn arm_session(&mut self, member: &Str, after_ms: u64) {
        let deadline = Deadline::Session(self.id.clone(), member.clone());
        self.deadlines.arm(self.now.mono + after_ms, deadline);
    }

    fn disarm_session(&mut self, member: &Str) {
        self.deadlines.disarm(Deadline::Session(self.id.clone(), member.clone()));
    }
}

impl Groups {
    /// None yet.
    #[must_use]
    pub fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            groups: BTreeMap::new(),
            deadlines: Timers::default(),
            member_bytes: 0,
            grace_until: MonoMs::default(),
            removed_at: Offset::ZERO,
            has_gaps: false,
        }
    }

    /// Applies a record of the log. `end` is the offset after the batch that it is in.
    pub fn replay(&mut self, end: Offset, record: &GroupRecord) {
        let id = record.group().detached();
        match record {
            // A tombstone may name what is long gone: compaction keeps the last record of a key only (KAFKA-17306).
            GroupRecord::Offset(key, None) => {
                self.removed_at = end;
                if let Some(group) = self.groups.get_mut(&id) {
                    group.offsets.remove(&key.topic, key.partition);
                }
            }
            GroupRecord::Classic(GroupMetadataKey { .. }, None) => {
                self.removed_at = end;
                if let Some(group) = self.groups.get_mut(&id) {
                    group.written = None;
                }
            }
            GroupRecord::Offset(key, Some(value)) => {
                self.groups.entry(id.clone()).or_default().offsets.insert(key, value);
            }
            GroupRecord::Classic(_, Some(value)) => {
                self.groups.entry(id.clone()).or_default().written = Some(value.clone());
            }
            GroupRecord::Consumer(record) => self.replay_consumer(end, &id, record),
        }
        if let Some(group) = self.groups.get_mut(&id) {
            group.rests_on = end;
            if group.is_blank() {
                self.groups.remove(&id);
            }
        }
    }

    fn replay_consumer(&mut self, end: Offset, id: &Str, record: &ConsumerRecord) {
        if record.is_tombstone() {
            self.removed_at = end;
            if !self.groups.contains_key(id) {
                return;
            }
        }
        let group = self.groups.entry(id.clone()).or_default();
        self.member_bytes -= group.consumer.bytes();
        group.consumer.replay(record);
        self.member_bytes += group.consumer.bytes();
    }

    /// A record of the log cannot be read.
    pub fn on_gap(&mut self) {
        self.has_gaps = true;
    }

    /// Part of the log was unreadable: something may be missing here.
    #[must_use]
    pub fn has_gaps(&self) -> bool {
        self.has_gaps
    }

    /// The log is replayed: members go on where it left them, and have a whole session to let themselves be heard.
    pub fn on_loaded(&mut self, now: Now, topics: &dyn Topics) {
        self.grace_until = now.mono + self.settings.new_member_timeout_ms;
        let is_known = |group: &Group| {
            group.written.is_some() || !group.offsets.is_empty() || !group.consumer.is_blank()
        };
        self.groups.retain(|_, group| is_known(group));
        // Where the log says both, which nobody writes, the consumer protocol counts.
        let classic = self.groups.iter().filter(|(_, group)| !group.consumer.is_there());
        let written: Vec<(Str, GroupMetadataValue)> =
            classic.filter_map(|(id, group)| Some((id.clone(), group.written.clone()?))).collect();
        for (id, written) in written {
            let effects = self.at(&id, now, |classic, turn| *classic = Classic::restored(&written, turn));
            assert!(effects.records.is_empty() && effects.answers.is_empty(), "a load has no consequences");
        }
        let ids: Vec<Str> = self
            .groups
            .iter()
            .filter(|(_, group)| group.consumer.is_there())
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            self.watch_members(&id, now, topics);
        }
    }

    /// When something is due.
    #[must_use]
    pub fn next_due(&self) -> Option<MonoMs> {
        self.deadlines.first().map(|(at, _)| at)
    }

    /// Does one thing that is due; `None`: nothing is.
    pub fn on_due(&mut self, now: Now, topics: &dyn Topics) -> Option<Effects> {
        let deadline = self.deadlines.pop_due(now.mono)?;
        Some(match deadline {
            Deadline::Join(id) => self.at(&id, now, Classic::on_join_due),
            Deadline::Sync(id) => self.at(&id, now, Classic::on_sync_due),
            Deadline::Revocation(id, member) => {
                self.on_patience_over((&id, &member), now, topics, Consumer::holds_on)
            }
            Deadline::Lookup(id) => self.on_lookup_due(&id, now, topics),
            Deadline::Rejoin(id, member) | Deadline::FirstSync(id, member) => {
                self.on_patience_over((&id, &member), now, topics, Consumer::has)
            }
            Deadline::Session(id, member) if self.is_of_consumers(&id) => {
                self.on_patience_over((&id, &member), now, topics, Consumer::has)
            }
            Deadline::Session(id, member) => {
                self.at(&id, now, |classic, turn| classic.on_session_due(&member, turn))
            }
        })
    }

    /// The offset that must be committed before anything leaves that was said of a group.
    #[must_use]
    pub fn rests_on(&self, group: &str) -> Offset {
        self.groups.get(group).map_or(self.removed_at, |group| group.rests_on)
    }

    /// The offset that must be committed before anything leaves that was said of all groups.
    #[must_use]
    pub fn all_rest_on(&self) -> Offset {
        self.groups.values().map(|group| group.rests_on).fold(self.removed_at, Offset::max)
    }

    /// What the log adds up to: the last record of every key, in the order of groups.
    pub fn written(&self) -> impl Iterator<Item = GroupRecord> + '_ {
        self.groups.iter().flat_map(|(id, group)| {
            let key = GroupMetadataKey { group: id.clone() };
            let members = group.written.clone().map(|value| GroupRecord::Classic(key, Some(value)));
            let consumer = group.consumer.written(id).map(GroupRecord::Consumer);
            members.into_iter().chain(consumer).chain(group.offsets.written(id))
        })
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Members of all groups.
    #[must_use]
    pub fn members(&self) -> usize {
        self.groups.values().map(Group::size).sum()
    }

    /// Bytes that members told of themselves.
    #[must_use]
    pub fn member_bytes(&self) -> usize {
        self.member_bytes
    }

    /// The group's members speak the consumer protocol, or some of them do.
    fn is_of_consumers(&self, id: &str) -> bool {
        self.groups.get(id).is_some_and(|group| group.consumer.is_there())
    }

    /// The settings in force for a group.
    fn settings_of(&self, id: &str, topics: &dyn Topics) -> GroupSettings {
        GroupSettings { consumer: self.settings.consumer.with(topics.own_settings(id)), ..self.settings }
    }

    /// Something happens to a group's members. The group must exist, or nothing happens.
    fn at(&mut self, id: &Str, now: Now, event: impl FnOnce(&mut Classic, &mut Turn<'_>)) -> Effects {
        let mut effects = Effects { group: id.clone(), ..Effects::default() };
        let Some(group) = self.groups.get_mut(id) else { return effects };
        let mut turn = Turn {
            id,
            now,
            settings: &self.settings,
            deadlines: &mut self.deadlines,
            member_bytes: &mut self.member_bytes,
            effects: &mut effects,
        };
        event(&mut group.classic, &mut turn);
        // Somebody asked to join and never came: nothing of it is kept.
        if effects.records.is_empty() && group.is_blank() {
            self.groups.remove(id);
        }
        effects
    }
}

impl Group {
    /// How many members it has, of either protocol.
    fn size(&self) -> usize {
        self.classic.members.len() + self.consumer.size()
    }

    /// Nothing was ever written of it, and nobody is in it.
    fn is_blank(&self) -> bool {
        self.written.is_none()
            && self.offsets.is_empty()
            && self.classic.is_idle()
            && self.consumer.is_blank()
    }
}

#[cfg(test)]
mod tests {
    use super::group_partition;

    /// As `Utils.abs(group.hashCode()) % 50` in Java.
    #[test]
    fn groups_are_spread_as_kafka_spreads_them() {
        for (group, expected) in
            [("", 0), ("a", 47), ("console-consumer-12345", 6), ("größe", 7), ("\u{1f980}", 2)]
        {
            assert_eq!(group_partition(group, 50), expected, "{group}");
        }
    }
}
