//! What a client knows of topics and their leaders: learned from Metadata, asked for again when an answer says that it is
//! wrong.

use seedlog_core::ids::{PartitionIndex, TopicPartition, Uuid};
use seedlog_core::wire::metadata::MetadataRequestTopic;
use seedlog_core::wire::{MetadataRequest, MetadataResponse, Str};

/// The topics that are there from the start on.
#[must_use]
pub fn stable_name(index: usize) -> String {
    format!("t{index}")
}

/// The topics that come and go.
#[must_use]
pub fn churn_name(index: u64) -> String {
    format!("x{index}")
}

/// The broker of a node id: they are numbered from 1.
#[must_use]
pub fn broker_of(node_id: i32) -> Option<u32> {
    u32::try_from(node_id.checked_sub(1)?).ok()
}

/// A topic as a client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: Str,
    /// Its id.
    pub topic_id: Uuid,
    /// Leader and leader epoch of its partitions.
    pub leaders: Vec<(Option<u32>, i32)>,
}

/// The topics that a client works on.
#[derive(Debug)]
pub struct Catalog {
    names: Vec<String>,
    known: Vec<Known>,
    is_stale: bool,
    /// Whom to ask next.
    ask: u32,
    /// The request under way.
    asked: Option<(u64, u32)>,
    asked_us: u64,
}

/// How often metadata is asked for, at most, in µs.
const REFRESH_US: u64 = 40_000;

impl Catalog {
    /// A catalog of the stable topics, of which nothing is known yet. `first` is the broker that is asked first.
    #[must_use]
    pub fn new(topics: usize, first: u32) -> Self {
        Self {
            names: (0..topics).map(stable_name).collect(),
            known: Vec::new(),
            is_stale: true,
            ask: first,
            asked: None,
            asked_us: 0,
        }
    }

    /// All topics are known.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.known.len() == self.names.len()
    }

    /// What is known is wrong.
    pub fn doubt(&mut self) {
        self.is_stale = true;
    }

    /// Asks about all topics, if something is wrong. `Err`: there is nothing to be done before that is answered; µs to wait
    /// before it is worth trying again, if it is not under way.
    pub fn refresh(&mut self, ctx: &mut super::Context<'_>) -> Result<(), Option<u64>> {
        if self.asked.is_some() {
            return if self.is_complete() { Ok(()) } else { Err(None) };
        }
        if !self.is_stale {
            return Ok(());
        }
        let due = self.asked_us + REFRESH_US;
        if self.asked_us > 0 && ctx.now_us < due {
            return if self.is_complete() { Ok(()) } else { Err(Some(due - ctx.now_us)) };
        }
        self.asked_us = ctx.now_us;
        let broker = self.ask;
        self.asked = Some((ctx.send(broker, self.request(), 12), broker));
        if self.is_complete() { Ok(()) } else { Err(None) }
    }

    fn request(&self) -> MetadataRequest {
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

    /// Takes an answer, if it is the one that is waited for; topics with errors stay unknown.
    pub fn learn(&mut self, ctx: &mut super::Context<'_>, number: u64, response: &MetadataResponse) -> bool {
        if self.asked.take_if(|(asked, _)| *asked == number).is_none() {
            return false;
        }
        self.is_stale = false;
        let before = std::mem::take(&mut self.known);
        let mut is_outdated = false;
        for topic in response.topics.iter().filter(|topic| topic.error_code == 0) {
            let Some(name) = &topic.name else { continue };
            let mut partitions: Vec<_> = topic.partitions.iter().collect();
            partitions.sort_by_key(|partition| partition.partition_index);
            let mut leaders: Vec<_> =
                partitions.iter().map(|part| (broker_of(part.leader_id), part.leader_epoch)).collect();
            // A broker that is cut off still names the leader of an older epoch (KIP-320).
            let same = before.iter().find(|known| known.topic_id == topic.topic_id);
            for (now, then) in leaders.iter_mut().zip(same.map_or(&[][..], |known| &known.leaders)) {
                if now.1 < then.1 {
                    *now = *then;
                    is_outdated = true;
                }
            }
            self.known.push(Known { name: name.detached(), topic_id: topic.topic_id, leaders });
        }
        if !self.is_complete()
            || is_outdated
            || self.known.iter().any(|topic| topic.leaders.iter().any(|(leader, _)| leader.is_none()))
        {
            // Another broker may know more.
            self.is_stale = true;
            self.ask = ctx.any_broker();
        }
        true
    }

    /// A broker does not answer.
    pub fn on_disconnected(&mut self, ctx: &mut super::Context<'_>, broker: u32) {
        if self.asked.take_if(|(_, asked)| *asked == broker).is_some() || self.ask == broker {
            self.ask = ctx.any_broker();
        }
        self.is_stale = true;
    }

    /// All partitions of all topics known.
    #[must_use]
    pub fn partitions(&self) -> Vec<TopicPartition> {
        let of = |topic: &Known| {
            let topic_id = topic.topic_id;
            (0..i32::try_from(topic.leaders.len()).unwrap_or(0))
                .map(move |index| TopicPartition { topic_id, partition: PartitionIndex(index) })
        };
        self.known.iter().flat_map(of).collect()
    }

    /// Who leads a partition, and in which epoch.
    #[must_use]
    pub fn leader_of(&self, partition: TopicPartition) -> Option<(u32, i32)> {
        let topic = self.known.iter().find(|topic| topic.topic_id == partition.topic_id)?;
        let (leader, epoch) = topic.leaders.get(usize::try_from(partition.partition.0).ok()?)?;
        Some(((*leader)?, *epoch))
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
