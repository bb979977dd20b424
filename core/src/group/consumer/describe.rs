//! Consumer groups as administrators see them.

use super::member::{Held, Said};
use super::state::Consumer;
use super::target::preferred;
use crate::errors::ErrorCode;
use crate::group::Groups;
use crate::group::assignor::Assignor;
use crate::group::topics::Topics;
use crate::wire::Str;
use crate::wire::consumer_group_describe::{
    DescribedAssignment, DescribedConsumer, DescribedConsumerGroup, DescribedPartitions,
};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

/// A member of the classic protocol (KIP-1099).
const CLASSIC_MEMBER: i8 = 0;
/// A member of the consumer protocol.
const CONSUMER_MEMBER: i8 = 1;

impl Consumer {
    /// Kafka's name of its state.
    pub(in crate::group) fn state(&self) -> &'static str {
        let target_epoch = self.target_epoch();
        let is_there = |id: &Str| self.currents.get(id).is_some_and(|it| it.is_reconciled_to(target_epoch));
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch() > target_epoch {
            "Assigning"
        } else if self.members.keys().all(is_there) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// What members want, by name or by pattern.
    pub(in crate::group) fn subscribed_topics(&self) -> BTreeSet<Str> {
        let names = self.members.values().flat_map(|said| &said.subscribed_topic_names);
        let patterns = self.patterns.iter().filter(|(pattern, _)| self.subscribers(pattern) > 0);
        names.chain(patterns.flat_map(|(_, found)| &found.topics)).cloned().collect()
    }

    fn describe(&self, id: &Str, enabled: &[Assignor], topics: &dyn Topics) -> DescribedConsumerGroup {
        let members = self.members.iter().map(|(member, said)| self.describe_member(member, said, topics));
        DescribedConsumerGroup {
            error_code: ErrorCode::None.code(),
            group_id: id.detached(),
            group_state: Str::from_static(self.state()),
            group_epoch: self.epoch(),
            assignment_epoch: self.target_epoch(),
            assignor_name: Str::from_static(preferred(self.members.values(), enabled).name()),
            members: members.collect(),
            ..DescribedConsumerGroup::default()
        }
    }

    fn describe_member(&self, id: &Str, said: &Said, topics: &dyn Topics) -> DescribedConsumer {
        let current = self.current(id);
        let target = self.targets.get(id).map(|target| Held::in_epoch(target, 0)).unwrap_or_default();
        DescribedConsumer {
            member_id: id.clone(),
            instance_id: said.instance_id.clone(),
            rack_id: said.rack_id.clone(),
            member_epoch: current.epoch,
            client_id: said.client_id.clone(),
            client_host: said.client_host.clone(),
            subscribed_topic_names: said.subscribed_topic_names.clone(),
            subscribed_topic_regex: said.pattern().cloned(),
            assignment: described(&current.assigned, topics),
            target_assignment: described(&target, topics),
            member_type: if said.is_classic() { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
        }
    }
}

/// Partitions of topics that exist.
fn described(held: &Held, topics: &dyn Topics) -> DescribedAssignment {
    let of_topics = held.by_topic().filter_map(|(topic_id, partitions)| {
        let topic_name = Str::from(topics.name_of(topic_id)?);
        Some(DescribedPartitions { topic_id, topic_name, partitions })
    });
    DescribedAssignment { topic_partitions: of_topics.collect::<Vec<_>>() }
}

impl Groups {
    /// ConsumerGroupDescribe, of one group.
    #[must_use]
    pub fn describe_consumers(&self, id: &Str, topics: &dyn Topics) -> DescribedConsumerGroup {
        let why = match self.groups.get(id) {
            Some(group) if group.consumer.is_there() => {
                return group.consumer.describe(id, self.settings.consumer.assignors, topics);
            }
            Some(_) => format!("Group {id} is not a consumer group."),
            None => format!("Group {id} not found."),
        };
        DescribedConsumerGroup {
            error_code: ErrorCode::GroupIdNotFound.code(),
            error_message: Some(Str::message(&why)),
            group_id: id.detached(),
            ..DescribedConsumerGroup::default()
        }
    }
}
