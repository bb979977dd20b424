//! The topics of a cluster, as groups look at them.

use std::collections::BTreeMap;

use seedlog_core::group::{OwnSettings, Topics};
use seedlog_core::ids::Uuid;

/// The cluster's topics.
#[derive(Debug, Clone, Default)]
pub(super) struct Cluster {
    pub(super) topics: BTreeMap<String, (Uuid, usize)>,
    pub(super) version: i64,
    /// Settings of the group's own.
    pub(super) own: OwnSettings,
}

impl Topics for Cluster {
    fn version(&self) -> i64 {
        self.version
    }

    fn id_of(&self, name: &str) -> Option<Uuid> {
        self.topics.get(name).map(|(topic_id, _)| *topic_id)
    }

    fn name_of(&self, topic_id: Uuid) -> Option<&str> {
        self.topics.iter().find(|(_, (id, _))| *id == topic_id).map(|(name, _)| &**name)
    }

    fn partitions(&self, topic_id: Uuid) -> usize {
        self.topics.values().find(|(id, _)| *id == topic_id).map_or(0, |(_, partitions)| *partitions)
    }

    fn racks(&self, _: Uuid, _: usize, visit: &mut dyn FnMut(&str)) {
        visit("here");
    }

    fn own_settings(&self, _: &str) -> OwnSettings {
        self.own
    }

    fn names_after<'a>(&'a self, after: Option<&str>) -> Box<dyn Iterator<Item = &'a str> + 'a> {
        let after = after.map(str::to_owned);
        let is_behind = move |name: &&String| after.as_ref().is_none_or(|after| *name > after);
        Box::new(self.topics.keys().filter(is_behind).map(|name| &**name))
    }
}
