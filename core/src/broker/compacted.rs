//! Which topics are compacted, for whoever looks into batches before the core sees them: it has no codecs, and so cannot tell
//! whether a compressed record has a key.

use super::Broker;
use crate::cluster::image::Image;
use crate::config::TopicDefaults;
use crate::ids::Uuid;
use alloc::collections::BTreeMap;
use alloc::string::String;

/// The topics with `cleanup.policy=compact`, by what is committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompactedTopics {
    names: BTreeMap<Uuid, String>,
    changes: u64,
}

impl CompactedTopics {
    /// All of an image.
    pub(super) fn of(image: &Image, defaults: &TopicDefaults, changes: u64) -> Self {
        let mut found = Self { names: BTreeMap::new(), changes };
        image.topics().keys().for_each(|&topic_id| found.look_at(topic_id, image, defaults));
        found.changes += 1;
        found
    }

    /// A topic came, went, or has other settings.
    fn look_at(&mut self, topic_id: Uuid, image: &Image, defaults: &TopicDefaults) {
        let topic = image.topic(topic_id).filter(|topic| topic.config.resolve(defaults).is_compacted);
        let name = topic.map(|topic| topic.name.clone());
        if self.names.get(&topic_id) == name.as_ref() {
            return;
        }
        self.changes += 1;
        match name {
            Some(name) => self.names.insert(topic_id, name),
            None => self.names.remove(&topic_id),
        };
    }

    /// Their names, by id.
    #[must_use]
    pub fn names(&self) -> &BTreeMap<Uuid, String> {
        &self.names
    }

    /// How often they changed: who has seen this number knows them.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }
}

impl Broker {
    /// The topics that are compacted, by what is committed.
    #[must_use]
    pub fn compacted_topics(&self) -> &CompactedTopics {
        &self.compacted
    }

    /// A topic came, went, or has other settings.
    pub(super) fn on_topic_settings(&mut self, topic_id: Uuid) {
        self.compacted.look_at(topic_id, &self.committed, &self.config.topic);
    }

    /// Another image took the place of the committed one.
    pub(super) fn find_compacted(&mut self) {
        let changes = self.compacted.changes;
        self.compacted = CompactedTopics::of(&self.committed, &self.config.topic, changes);
    }
}
