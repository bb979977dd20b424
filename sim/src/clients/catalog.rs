//! What a client knows of its node's topics: learned from Metadata, forgotten when an answer says that it is wrong.

use seedlog_core::ids::{PartitionIndex, TopicPartition, Uuid};
use seedlog_core::wire::metadata::MetadataRequestTopic;
use seedlog_core::wire::{MetadataRequest, MetadataResponse, Str};

/// The topics that every node has from the start on.
#[must_use]
pub fn stable_name(index: usize) -> String {
    format!("t{index}")
}

/// The topics that come and go.
#[must_use]
pub fn churn_name(index: u64) -> String {
    format!("x{index}")
}

/// A topic as a client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: Str,
    /// Its id.
    pub topic_id: Uuid,
    /// Partitions.
    pub partitions: i32,
}

/// The topics that a client works on.
#[derive(Debug)]
pub struct Catalog {
    names: Vec<String>,
    known: Vec<Known>,
}

impl Catalog {
    /// A catalog of some stable topics, of which nothing is known yet.
    #[must_use]
    pub fn new(topics: usize) -> Self {
        Self { names: (0..topics).map(stable_name).collect(), known: Vec::new() }
    }

    /// All topics are known.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.known.len() == self.names.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// Asks about all topics. In version 12 names and ids are both allowed; 9 is by name only.
    #[must_use]
    pub fn request(&self) -> MetadataRequest {
        let topics = self.names.iter().map(|name| MetadataRequestTopic {
            name: Some(Str::from(name.as_str())),
            ..MetadataRequestTopic::default()
        });
        MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        }
    }

    /// Takes an answer; topics with errors stay unknown.
    pub fn learn(&mut self, response: &MetadataResponse) {
        self.known.clear();
        for topic in response.topics.iter().filter(|topic| topic.error_code == 0) {
            let Some(name) = &topic.name else { continue };
            let partitions = i32::try_from(topic.partitions.len()).unwrap_or(0);
            self.known.push(Known { name: name.detached(), topic_id: topic.topic_id, partitions });
        }
    }

    /// The topics known.
    #[must_use]
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// All partitions of all topics known.
    #[must_use]
    pub fn partitions(&self) -> Vec<TopicPartition> {
        let of = |topic: &Known| {
            let topic_id = topic.topic_id;
            (0..topic.partitions)
                .map(move |index| TopicPartition { topic_id, partition: PartitionIndex(index) })
        };
        self.known.iter().flat_map(of).collect()
    }

    /// The name of a topic.
    #[must_use]
    pub fn name_of(&self, topic_id: Uuid) -> Str {
        self.known
            .iter()
            .find(|topic| topic.topic_id == topic_id)
            .map(|topic| topic.name.clone())
            .unwrap_or_default()
    }

    /// The id of a topic.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<Uuid> {
        self.known.iter().find(|topic| topic.name == *name).map(|topic| topic.topic_id)
    }
}
