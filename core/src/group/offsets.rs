//! Committed offsets: who may commit, what is told of them, and when they are forgotten.
//!
//! An offset is of a topic, not of a name: what was committed for a topic that is deleted is not told of another one that has
//! taken its name. It does not expire while its group has members, or is about to have some.

use super::classic::Phase;
use super::consumer::MayCommit;
use super::records::GroupRecord;
use super::records::{OffsetCommitKey, OffsetCommitValue};
use super::{Effects, Group, Groups};
use crate::errors::ErrorCode;
use crate::ids::Uuid;
use crate::museum::exhibit;
use crate::replica::WaiterId;
use crate::time::{Now, WallMs};
use crate::wire::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::wire::{OffsetCommitRequest, OffsetCommitResponse, Str};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound::{Excluded, Included, Unbounded};

/// Offsets that are forgotten in one go.
const FORGOTTEN_MAX: usize = 1_000;

/// Members of a group that is not there are told so from this version of OffsetCommit on (KIP-848).
const NOT_FOUND_FROM: i16 = 9;

/// What was committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to be read.
    pub offset: i64,
    /// The leader epoch of the last record that was read; -1 if nobody said.
    pub leader_epoch: i32,
    /// What the client keeps beside it.
    pub metadata: Str,
    /// When it was committed, in ms since the epoch.
    pub at: WallMs,
    /// When it expires, if the client said so.
    pub expires: Option<WallMs>,
    /// The topic; zero where the record does not say.
    pub topic_id: Uuid,
}

/// A group's offsets, by topic and partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Offsets(BTreeMap<Str, BTreeMap<i32, Committed>>);

impl Offsets {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, key: &OffsetCommitKey, value: &OffsetCommitValue) {
        let committed = Committed {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.detached(),
            at: WallMs(value.commit_timestamp),
            // -1 is not a moment in 1969 but none at all (KAFKA-8069).
            expires: Some(WallMs(value.expire_timestamp))
                .filter(|expires| exhibit!(G3, expires.0 >= 0, true)),
            topic_id: value.topic_id,
        };
        let of_topic = self.0.entry(key.topic.detached()).or_default();
        // G1: what was committed later by its clock wins, wherever the log has it.
        if exhibit!(G1, true, of_topic.get(&key.partition).is_none_or(|before| before.at <= committed.at)) {
            of_topic.insert(key.partition, committed);
        }
    }

    pub(super) fn remove(&mut self, topic: &str, partition: i32) {
        if let Some(of_topic) = self.0.get_mut(topic) {
            of_topic.remove(&partition);
            if of_topic.is_empty() {
                self.0.remove(topic);
            }
        }
    }

    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.0.get(topic)?.get(&partition)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Str, i32, &Committed)> {
        self.0.iter().flat_map(|(topic, parts)| parts.iter().map(move |(&index, it)| (topic, index, it)))
    }

    /// Those behind one of them.
    fn iter_after<'a>(
        &'a self,
        after: Option<(&'a Str, i32)>,
    ) -> impl Iterator<Item = (&'a Str, i32, &'a Committed)> {
        let from = after.map_or(Unbounded, |(topic, _)| Included(topic));
        self.0.range::<Str, _>((from, Unbounded)).flat_map(move |(topic, parts)| {
            let from = match after {
                Some((begun, index)) if begun == topic => Excluded(index),
                Some(_) | None => Unbounded,
            };
            parts.range((from, Unbounded)).map(move |(&index, committed)| (topic, index, committed))
        })
    }

    /// The records that they come from.
    pub(super) fn written<'a>(&'a self, group: &'a Str) -> impl Iterator<Item = GroupRecord> + 'a {
        self.iter().map(|(topic, partition, committed)| {
            let key = OffsetCommitKey { group: group.clone(), topic: topic.clone(), partition };
            let value = OffsetCommitValue {
                offset: committed.offset,
                leader_epoch: committed.leader_epoch,
                metadata: committed.metadata.clone(),
                commit_timestamp: committed.at.0,
                expire_timestamp: committed.expires.map_or(-1, |expires| expires.0),
                topic_id: committed.topic_id,
            };
            GroupRecord::Offset(key, Some(value))
        })
    }

    /// Tombstones for some of them.
    pub(super) fn tombstones<'a>(
        &'a self,
        group: &'a Str,
        mut goes: impl FnMut(&Str, i32, &Committed) -> bool + 'a,
    ) -> impl Iterator<Item = GroupRecord> + 'a {
        let going = self.iter().filter(move |&(topic, index, it)| goes(topic, index, it));
        going.map(|(topic, partition, _)| tombstone(group, topic, partition))
    }
}

/// Nothing is committed for a partition any more.
pub(super) fn tombstone(group: &Str, topic: &Str, partition: i32) -> GroupRecord {
    let key = OffsetCommitKey { group: group.clone(), topic: topic.clone(), partition };
    GroupRecord::Offset(key, None)
}

impl Committed {
    /// It is of this topic.
    #[must_use]
    pub fn is_of(&self, topic_id: Uuid) -> bool {
        self.topic_id == Uuid::ZERO || self.topic_id == topic_id
    }
}

/// A topic that offsets are committed for, as the cluster knows it.
#[derive(Debug, Clone)]
pub struct CommitTopic {
    /// Its name.
    pub name: Str,
    /// Its id.
    pub topic_id: Uuid,
    /// How many partitions it has.
    pub partitions: usize,
}

/// A topic that offsets are asked of, as the cluster knows it.
#[derive(Debug, Clone)]
pub struct FetchTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its id.
    pub topic_id: Uuid,
}

impl Groups {
    /// OffsetCommit. `topics` are those of the request, in its order, as the cluster knows them.
    #[must_use]
    pub fn on_offset_commit(
        &mut self,
        now: Now,
        request: &OffsetCommitRequest,
        topics: &[Result<CommitTopic, ErrorCode>],
        (ticket, version): (WaiterId, i16),
    ) -> Effects {
        let id = request.group_id.detached();
        let judged = self.judge_commit(&id, request, version);
        let decided = self.decide_offset_commit(now, &id, request, (topics, judged));
        if judged == Ok(Committer::Member) {
            // A commit is a sign of life.
            let member = request.member_id.detached();
            self.at(&id, now, |classic, turn| classic.arm_session(&member, turn));
        }
        let (records, response) = decided;
        Effects { records, ..Effects::answer(id, ticket, response) }
    }

    fn judge_commit<'a>(
        &self,
        id: &Str,
        request: &'a OffsetCommitRequest,
        version: i16,
    ) -> Result<Committer<'a>, ErrorCode> {
        match self.groups.get(id) {
            Some(group) if group.consumer.is_there() => {
                group.consumer.check_commit(request, version).map(Committer::Consumer)
            }
            Some(group) => group.check_commit(request),
            // Whoever commits without being a member needs no group to be there.
            None if request.generation_id_or_member_epoch >= 0 && version >= NOT_FOUND_FROM => {
                Err(ErrorCode::GroupIdNotFound)
            }
            None if request.generation_id_or_member_epoch >= 0 => Err(ErrorCode::IllegalGeneration),
            None if self.groups.len() >= self.settings.groups_max => Err(ErrorCode::GroupMaxSizeReached),
            None => Ok(Committer::Outsider),
        }
    }

    fn decide_offset_commit(
        &self,
        now: Now,
        id: &Str,
        request: &OffsetCommitRequest,
        (topics, judged): (&[Result<CommitTopic, ErrorCode>], Result<Committer<'_>, ErrorCode>),
    ) -> (Vec<GroupRecord>, OffsetCommitResponse) {
        let mut records = Vec::new();
        let answered = request.topics.iter().zip(topics).map(|(topic, known)| {
            let partitions = topic.partitions.iter().map(|partition| {
                let known = judged.and_then(|judged| Ok((judged, known.as_ref().map_err(|code| *code)?)));
                let outcome = known.and_then(|(judged, known)| {
                    self.check_commit_of(id, judged, known, partition)?;
                    let key = OffsetCommitKey {
                        group: id.clone(),
                        topic: known.name.clone(),
                        partition: partition.partition_index,
                    };
                    let value = OffsetCommitValue {
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: partition
                            .committed_metadata
                            .as_ref()
                            .map(Str::detached)
                            .unwrap_or_default(),
                        commit_timestamp: now.wall.0,
                        expire_timestamp: match request.retention_time_ms {
                            ms if ms < 0 => -1,
                            ms => now.wall.0.saturating_add(ms),
                        },
                        topic_id: known.topic_id,
                    };
                    records.push(GroupRecord::Offset(key, Some(value)));
                    Ok(())
                });
                OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: outcome.err().unwrap_or(ErrorCode::None).code(),
                }
            });
            OffsetCommitResponseTopic {
                name: topic.name.detached(),
                topic_id: topic.topic_id,
                partitions: partitions.collect(),
            }
        });
        let response = OffsetCommitResponse { throttle_time_ms: 0, topics: answered.collect() };
        (records, response)
    }

    /// Who commits may, for this partition, with what it keeps beside it.
    fn check_commit_of(
        &self,
        id: &Str,
        committer: Committer<'_>,
        topic: &CommitTopic,
        partition: &OffsetCommitRequestPartition,
    ) -> Result<(), ErrorCode> {
        let index = usize::try_from(partition.partition_index).ok();
        index.filter(|index| *index < topic.partitions).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        // Kafka counts what Java calls characters, whatever the setting's name says.
        let kept =
            partition.committed_metadata.as_ref().map_or(0, |metadata| metadata.encode_utf16().count());
        if kept > self.settings.offset_metadata_units_max {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        match (committer, self.groups.get(id)) {
            (Committer::Consumer(may), Some(group)) => {
                group.consumer.check_partition(may, topic.topic_id, partition.partition_index)
            }
            (Committer::Consumer(_) | Committer::Outsider | Committer::Member, _) => Ok(()),
        }
    }

    /// Whether who asks for offsets may: who says which member it is must be it.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH, ILLEGAL_GENERATION.
    pub fn check_fetch(&self, group: &str, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        let consumer = self.groups.get(group).map(|group| &group.consumer);
        consumer.filter(|consumer| consumer.is_there()).map_or(Ok(()), |it| it.check_fetch(member, epoch))
    }

    /// What a group committed for a partition of a topic.
    ///
    /// `None`: nothing, or for another topic of that name.
    #[must_use]
    pub fn committed(&self, group: &str, topic: &FetchTopic<'_>, partition: i32) -> Option<&Committed> {
        let committed = self.groups.get(group)?.offsets.get(topic.name, partition)?;
        Some(committed).filter(|committed| committed.is_of(topic.topic_id))
    }

    /// All that a group committed, by topic and partition.
    pub fn all_committed(&self, group: &str) -> impl Iterator<Item = (&Str, i32, &Committed)> {
        self.groups.get(group).into_iter().flat_map(|group| group.offsets.iter())
    }

    /// What a group committed behind a topic and partition, in their order; for who looks at a little at a time.
    pub fn committed_after<'a>(
        &'a self,
        group: &str,
        after: Option<(&'a Str, i32)>,
    ) -> impl Iterator<Item = (&'a Str, i32, &'a Committed)> {
        self.groups.get(group).into_iter().flat_map(move |group| group.offsets.iter_after(after))
    }

    /// What may be forgotten of one group behind `after`: offsets whose time is over, or whose topic is gone, and the group
    /// itself once nothing is left of it. `None`: no group is left to look at.
    #[must_use]
    pub fn decide_expiry(
        &self,
        now: Now,
        after: Option<&Str>,
        topic_id: impl Fn(&str) -> Option<Uuid>,
    ) -> Option<(Str, Vec<GroupRecord>)> {
        if now.mono < self.grace_until {
            return None;
        }
        let from = after.map_or(Unbounded, Excluded);
        let (id, group) = self.groups.range::<Str, _>((from, Unbounded)).next()?;
        let retention_ms = self.settings.offsets_retention_ms;
        let expired = |committed: &Committed| group.has_expired(committed, now.wall, retention_ms);
        let mut records: Vec<GroupRecord> = group
            .offsets
            .tombstones(id, |topic, _, committed| {
                let exists = topic_id(topic).is_some_and(|topic_id| committed.is_of(topic_id));
                !exists || expired(committed)
            })
            .take(FORGOTTEN_MAX)
            .collect();
        let is_empty = group.offsets.iter().count() == records.len();
        if is_empty
            && group.written.is_some()
            && group.classic.is_idle()
            && group.classic.phase == Phase::Empty
        {
            records.push(Group::tombstone(id));
        }
        if is_empty && group.consumer.size() == 0 {
            records.extend(group.consumer.tombstones(id).into_iter().map(GroupRecord::Consumer));
        }
        Some((id.clone(), records))
    }
}

/// Who may commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Committer<'a> {
    /// Somebody who is in no group.
    Outsider,
    /// A member of a classic group.
    Member,
    /// Somebody in a consumer group.
    Consumer(MayCommit<'a>),
}

impl Group {
    /// Whether who asks may commit, and as whom.
    fn check_commit<'a>(&self, request: &OffsetCommitRequest) -> Result<Committer<'a>, ErrorCode> {
        let classic = &self.classic;
        let (generation, member) = (request.generation_id_or_member_epoch, &request.member_id);
        let names_itself = generation >= 0 || !member.is_empty() || request.group_instance_id.is_some();
        match classic.phase {
            Phase::Empty if generation < 0 => Ok(Committer::Outsider),
            // Somebody from outside must not move what members read.
            Phase::Preparing(_) | Phase::Completing | Phase::Stable if !names_itself => {
                Err(ErrorCode::UnknownMemberId)
            }
            Phase::Empty | Phase::Preparing(_) | Phase::Completing | Phase::Stable => {
                classic.check_member(member, request.group_instance_id.as_deref())?;
                // G6: a member that was away goes on in a generation that is over.
                if exhibit!(G6, generation != classic.generation, generation > classic.generation) {
                    Err(ErrorCode::IllegalGeneration)
                } else if classic.phase == Phase::Completing {
                    // It was called to this generation, and does not know yet what it reads in it.
                    Err(ErrorCode::RebalanceInProgress)
                } else {
                    Ok(Committer::Member)
                }
            }
        }
    }

    /// Its time is over: nobody was in the group since long before.
    fn has_expired(&self, committed: &Committed, now: WallMs, retention_ms: i64) -> bool {
        let is_alive =
            self.classic.phase != Phase::Empty || !self.classic.is_idle() || self.consumer.size() > 0;
        // G2: members that rebalance are no members.
        if exhibit!(G2, is_alive, self.classic.phase == Phase::Stable) {
            return false;
        }
        let idle_since =
            exhibit!(G2, committed.at.max(self.classic.since).max(self.watch.empty_since), committed.at);
        match committed.expires {
            Some(expires) => expires <= now,
            None => now.0.saturating_sub(idle_since.0) >= retention_ms,
        }
    }

    pub(super) fn tombstone(id: &Str) -> GroupRecord {
        GroupRecord::Classic(super::GroupMetadataKey { group: id.clone() }, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_at_one_after_the_other_finds_each_once() {
        let mut offsets = Offsets::default();
        let places = [("a", 0), ("a", 7), ("b", 0), ("c", 2), ("c", 3)];
        for (topic, partition) in places {
            let key = OffsetCommitKey { group: "g".into(), topic: topic.into(), partition };
            offsets.insert(&key, &OffsetCommitValue::default());
        }
        let next = |after: Option<(&Str, i32)>| {
            offsets.iter_after(after).next().map(|(topic, index, _)| (topic.clone(), index))
        };
        let (mut found, mut after) = (Vec::new(), next(None));
        while let Some((topic, index)) = after {
            after = next(Some((&topic, index)));
            found.push((topic, index));
        }
        assert!(found.iter().map(|(topic, index)| (topic.as_str(), *index)).eq(places));
        // One that went away in the meantime holds nobody up.
        assert_eq!(next(Some((&"a".into(), 3))), Some(("a".into(), 7)));
        assert_eq!(next(Some((&"bb".into(), 3))), Some(("c".into(), 2)));
    }
}
