//! The committed image of the cluster as groups look at it: topics, and settings of a group's own.

use super::Broker;
use crate::cluster::group_config::GroupConfig;
use crate::cluster::image::Image;
use crate::cluster::records::MetadataRecord;
use crate::group::{OwnSettings, Topics};
use crate::ids::Uuid;
use alloc::boxed::Box;

/// The topics of an image.
pub(super) struct GroupTopics<'a> {
    pub(super) image: &'a Image,
    /// The image's end when topics, their partitions or racks changed last.
    pub(super) version: i64,
}

impl Topics for GroupTopics<'_> {
    fn version(&self) -> i64 {
        self.version
    }

    fn id_of(&self, name: &str) -> Option<Uuid> {
        self.image.topic_named(name).map(|(topic_id, _)| topic_id)
    }

    fn name_of(&self, topic_id: Uuid) -> Option<&str> {
        self.image.topic(topic_id).map(|topic| &*topic.name)
    }

    fn partitions(&self, topic_id: Uuid) -> usize {
        self.image.topic(topic_id).map_or(0, |topic| topic.partitions.len())
    }

    fn racks(&self, topic_id: Uuid, partition: usize, visit: &mut dyn FnMut(&str)) {
        let held = self.image.topic(topic_id).and_then(|topic| topic.partitions.get(partition));
        for node in held.into_iter().flat_map(|held| held.replicas()) {
            let rack = self.image.brokers().get(node).and_then(|broker| broker.rack.as_deref());
            rack.into_iter().for_each(&mut *visit);
        }
    }

    fn names_after<'a>(&'a self, after: Option<&str>) -> Box<dyn Iterator<Item = &'a str> + 'a> {
        use core::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        Box::new(self.image.names().range::<str, _>((from, Unbounded)).map(|(name, _)| &**name))
    }

    fn own_settings(&self, group: &str) -> OwnSettings {
        self.image.group_config(group).map(GroupConfig::typed).unwrap_or_default()
    }
}

/// Groups may have to assign anew after this.
pub(super) fn changes_topics(record: &MetadataRecord) -> bool {
    match record {
        MetadataRecord::Topic { .. }
        | MetadataRecord::Partition { .. }
        | MetadataRecord::RemoveTopic { .. }
        | MetadataRecord::Reassignment { .. }
        | MetadataRecord::RegisterBroker { .. } => true,
        MetadataRecord::LeaderChange { .. }
        | MetadataRecord::Voters { .. }
        | MetadataRecord::BrokerState { .. }
        | MetadataRecord::PartitionChange { .. }
        | MetadataRecord::TopicConfig { .. }
        | MetadataRecord::GroupConfig { .. }
        | MetadataRecord::ProducerIds { .. } => false,
    }
}

impl Broker {
    /// The topics by what is committed.
    pub(super) fn group_topics(&self) -> GroupTopics<'_> {
        GroupTopics { image: &self.committed, version: self.coordinators.topics_version }
    }
}
