//! A look at all groups that this node coordinates, for somebody who scrapes: a few at a time, like the look at partitions.
//!
//! How far a group is behind is known where this node knows the end of a log: it leads the partition, or follows and was told
//! of a high watermark that is no older than what the group committed. What it does not know it leaves out.

use crate::metrics::survey::{GROUP_PARTS_SHOWN_MAX, GroupPartition, GroupState, GroupTopic};
use seedlog_core::broker::Broker;
use seedlog_core::group::Committed;
use seedlog_core::ids::{PartitionIndex, TopicPartition};
use seedlog_core::wire::Str;

/// A look that is under way.
#[derive(Debug, Default)]
pub(super) struct GroupCensus {
    /// The partition of the groups' topic that is being looked at, and the group in it that was begun last.
    at: Option<(TopicPartition, Option<Str>)>,
    /// That group is not finished; the last topic and partition of it that was looked at.
    open: Option<Option<(Str, i32)>>,
    shown: Shown,
}

/// What was found so far, within a limit.
#[derive(Debug, Default)]
struct Shown {
    groups: Vec<GroupState>,
    /// Groups and partitions that were found.
    parts: usize,
    is_full: bool,
}

impl GroupCensus {
    /// Looks at so much more. `true`: that was all.
    pub(super) fn advance(&mut self, broker: &Broker, mut left: usize) -> bool {
        while left > 0 && !self.shown.is_full {
            left -= 1;
            let from = self.at.as_ref().map(|(partition, _)| *partition);
            let Some((partition, groups)) = broker.next_coordinated(from) else { return true };
            if from != Some(partition) {
                (self.at, self.open) = (Some((partition, None)), None);
            }
            let group = self.at.as_ref().and_then(|(_, group)| group.clone());
            match (self.open.take(), &group) {
                (Some(after), Some(group)) => {
                    let after = after.as_ref().map(|(topic, index)| (topic, *index));
                    let found = groups.committed_after(group, after).next();
                    if let Some((topic, index, committed)) = found {
                        self.on_committed(broker, topic, index, committed);
                        self.open = Some(Some((topic.clone(), index)));
                    }
                }
                (Some(_) | None, _) => match groups.next_after(group.as_ref()) {
                    Some((id, members)) => {
                        self.shown.begin(id, members);
                        (self.at, self.open) = (Some((partition, Some(id.clone()))), Some(None));
                    }
                    None => self.at = Some((after(partition), None)),
                },
            }
        }
        self.shown.is_full
    }

    fn on_committed(&mut self, broker: &Broker, topic: &Str, index: i32, committed: &Committed) {
        // What was committed for a topic that is gone is forgotten soon.
        let Some((topic_id, _)) = broker.image().topic_named(topic) else { return };
        if committed.is_of(topic_id) {
            let place = TopicPartition { topic_id, partition: PartitionIndex(index) };
            let lag = lag(broker, place, committed.offset);
            self.shown.add(topic, GroupPartition { index, offset: committed.offset, lag });
        }
    }

    /// The groups, and how many are left out.
    pub(super) fn finish(self, broker: &Broker) -> (Vec<GroupState>, u64) {
        let Shown { groups, is_full, .. } = self.shown;
        let all: usize = broker.coordinated().map(|(_, groups)| groups.count()).sum();
        let left_out = if is_full { all.saturating_sub(groups.len()) } else { 0 };
        (groups, left_out as u64)
    }
}

impl Shown {
    fn begin(&mut self, group: &str, members: usize) {
        if self.has_room() {
            let name = group.to_owned();
            self.groups.push(GroupState { name, members: members as u64, topics: Vec::new() });
        }
    }

    /// Adds a partition to the group that was begun last. If there is no room, the group goes: with half of its partitions
    /// it would have wrong sums.
    fn add(&mut self, topic: &str, partition: GroupPartition) {
        if !self.has_room() {
            self.groups.pop();
            return;
        }
        let Some(group) = self.groups.last_mut() else { return };
        match group.topics.last_mut().filter(|last| last.topic == topic) {
            Some(of_topic) => of_topic.partitions.push(partition),
            None => {
                group.topics.push(GroupTopic { topic: topic.to_owned(), partitions: vec![partition] });
            }
        }
    }

    fn has_room(&mut self) -> bool {
        self.is_full = self.parts >= GROUP_PARTS_SHOWN_MAX;
        self.parts += 1;
        !self.is_full
    }
}

fn after(partition: TopicPartition) -> TopicPartition {
    let PartitionIndex(index) = partition.partition;
    TopicPartition { partition: PartitionIndex(index.saturating_add(1)), ..partition }
}

fn lag(broker: &Broker, place: TopicPartition, committed: i64) -> Option<i64> {
    let replica = broker.replicas().get(&place).filter(|replica| replica.damage().is_none())?;
    let behind = replica.high_watermark().0.saturating_sub(committed);
    match replica.leader() {
        Some(_) => replica.knows_committed().then_some(behind.max(0)),
        // A follower hears of the end a little later.
        None => (behind >= 0).then_some(behind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_shown_whole_or_not_at_all() {
        let mut shown = Shown::default();
        let partition = |index| GroupPartition { index, offset: 1, lag: None };
        shown.begin("first", 1);
        shown.add("t", partition(0));
        shown.begin("second", 0);
        for index in 3..GROUP_PARTS_SHOWN_MAX {
            shown.add("t", partition(index as i32));
        }
        assert!(!shown.is_full);
        let names = |shown: &Shown| shown.groups.iter().map(|group| group.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&shown), ["first", "second"]);
        shown.add("u", partition(0));
        assert!(shown.is_full);
        assert_eq!(names(&shown), ["first"]);
    }
}
