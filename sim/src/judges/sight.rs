//! What a step made of a broker. What changed since the step before is told by a comparison with what was seen then, so that a
//! look costs the partitions of one node.

use super::node_log::NodeLog;
use super::oracle::Oracle;
use super::s6;
use super::truth::{image_hash, partition_of};
use seedlog_core::broker::Broker;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicPartition, Uuid};
use seedlog_core::log::Retention;
use seedlog_core::replica::{Leader, Replica};
use seedlog_core::wire::FetchResponse;
use std::collections::{BTreeMap, BTreeSet};

/// What was seen of a broker after its last step.
#[derive(Debug, Default)]
pub struct Seen {
    term: LeaderEpoch,
    leads_quorum: bool,
    committed: Offset,
    image_end: Offset,
    replicas: BTreeMap<TopicPartition, SeenReplica>,
    /// The partitions that it holds by its metadata, once a step was seen.
    held: Option<BTreeSet<TopicPartition>>,
    /// In which epoch a session was asked for last.
    pub opened: BTreeMap<TopicPartition, LeaderEpoch>,
    /// How long records of partitions are kept, as it asked its store last.
    pub asked_expiry: BTreeMap<TopicPartition, Retention>,
    /// What was answered of partitions.
    published: BTreeMap<TopicPartition, s6::Before>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct SeenReplica {
    high_watermark: Offset,
    epoch: Option<LeaderEpoch>,
    leads: Option<(LeaderEpoch, PartitionEpoch)>,
}

/// What a step changed.
#[derive(Debug)]
pub enum Sight {
    /// The quorum's term.
    Term {
        /// As it was.
        before: LeaderEpoch,
        /// As it is.
        now: LeaderEpoch,
    },
    /// It leads the quorum from here on, in this term.
    LeadsQuorum(LeaderEpoch),
    /// It takes the metadata up to here for committed.
    Committed(Offset),
    /// It acts on other metadata.
    Image {
        /// Up to here.
        end: Offset,
        /// Hash of the image.
        hash: u64,
    },
    /// A replica's leader epoch.
    Epoch {
        /// Whose.
        partition: TopicPartition,
        /// As it was.
        before: LeaderEpoch,
        /// As it is.
        now: LeaderEpoch,
    },
    /// It leads a partition from here on.
    Leads {
        /// Which.
        partition: TopicPartition,
        /// In this epoch.
        epoch: LeaderEpoch,
    },
    /// A high watermark rises.
    Watermark {
        /// Whose.
        partition: TopicPartition,
        /// Up to here.
        end: Offset,
        /// The leader's maximal ISR, if it is a leader's, each with its folder as the leader knows it.
        members: Vec<(NodeId, Uuid)>,
    },
}

impl Seen {
    /// In which epoch it leads a partition.
    #[must_use]
    pub fn leads(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        self.replicas.get(&partition)?.leads.map(|(epoch, _)| epoch)
    }

    /// Its high watermark of a partition.
    #[must_use]
    pub fn high_watermark(&self, partition: TopicPartition) -> Option<Offset> {
        Some(self.replicas.get(&partition)?.high_watermark)
    }

    /// It leads some partition.
    #[must_use]
    pub fn leads_any(&self) -> bool {
        self.replicas.values().any(|replica| replica.leads.is_some())
    }

    /// It leads the quorum.
    #[must_use]
    pub fn leads_quorum(&self) -> bool {
        self.leads_quorum
    }

    /// By its metadata it holds a partition, or it was never looked at.
    #[must_use]
    pub fn holds(&self, partition: TopicPartition) -> bool {
        self.held.as_ref().is_none_or(|held| held.contains(&partition))
    }

    /// Looks at a broker after a step: what has changed since the look before.
    pub fn look(&mut self, broker: &Broker) -> Vec<Sight> {
        let seen = self;
        let mut sights = Vec::new();
        let quorum = broker.quorum();
        let term = quorum.epoch();
        if term != seen.term {
            sights.push(Sight::Term { before: seen.term, now: term });
            seen.term = term;
            seen.leads_quorum = false;
        }
        if quorum.leading().is_some() != seen.leads_quorum {
            seen.leads_quorum = !seen.leads_quorum;
            if seen.leads_quorum {
                sights.push(Sight::LeadsQuorum(term));
            }
        }
        if quorum.committed() != seen.committed {
            seen.committed = quorum.committed();
            sights.push(Sight::Committed(seen.committed));
        }
        if broker.image().end() != seen.image_end {
            seen.image_end = broker.image().end();
            sights.push(Sight::Image { end: seen.image_end, hash: image_hash(broker.image()) });
            seen.held = None;
            seen.replicas.retain(|partition, _| broker.replicas().contains_key(partition));
            // A copy that was let go and is made anew begins where its leader's does (seed 1,779).
            seen.published.retain(|partition, _| broker.replicas().contains_key(partition));
        }
        if seen.held.is_none() {
            let held = broker.image().held_by(broker.config().node_id);
            seen.held = Some(held.map(|(partition, _)| partition).collect());
        }
        for (&partition, replica) in broker.replicas() {
            let leader = replica.leader();
            let now = SeenReplica {
                high_watermark: replica.high_watermark(),
                epoch: replica.epoch(),
                leads: leader.map(|leader| (leader.epoch, leader.partition_epoch)),
            };
            let before = seen.replicas.insert(partition, now).unwrap_or_default();
            if before == now {
                continue;
            }
            if let (Some(before), Some(now)) = (before.epoch, now.epoch)
                && before != now
            {
                sights.push(Sight::Epoch { partition, before, now });
            }
            let new_leader =
                leader.filter(|leader| before.leads.map(|(epoch, _)| epoch) != Some(leader.epoch));
            if let Some(leader) = new_leader {
                sights.push(Sight::Leads { partition, epoch: leader.epoch });
            }
            if now.high_watermark > before.high_watermark {
                let brokers = broker.image().brokers();
                let members = leader.map(Leader::maximal_isr).unwrap_or_default();
                let members =
                    members.into_iter().filter_map(|node| Some((node, brokers.get(&node)?.incarnation)));
                let members = members.collect();
                sights.push(Sight::Watermark { partition, end: now.high_watermark, members });
            }
        }
        sights
    }

    /// Checks what an answer to a reader says of partitions, as they were seen last (S6).
    ///
    /// # Errors
    /// Which order is broken.
    pub fn check_published(
        &mut self,
        broker: &Broker,
        oracle: &Oracle,
        response: &FetchResponse,
    ) -> Result<(), String> {
        for topic in &response.responses {
            let Some(topic_id) = resolve(broker, topic.topic_id, &topic.topic) else { continue };
            for data in topic.partitions.iter().filter(|data| data.error_code == ErrorCode::None.code()) {
                let partition = partition_of(topic_id, data.partition_index);
                let published = s6::Published {
                    log_start: data.log_start_offset,
                    last_stable: data.last_stable_offset,
                    high_watermark: data.high_watermark,
                };
                let log = oracle.logs.get(&partition);
                let own = s6::Own {
                    start: log.map_or(Offset::ZERO, |log| log.start_at(oracle.durable)),
                    end: log.map_or(Offset::ZERO, NodeLog::end),
                };
                let leader = broker.replicas().get(&partition).and_then(Replica::leader);
                let Some(epoch) = leader.map(|leader| leader.epoch) else { continue };
                let before = self.published.entry(partition).or_default();
                s6::check_published(before, epoch, own, published)
                    .map_err(|says| format!("{partition}: {says}"))?;
            }
        }
        Ok(())
    }
}

/// The topic that a broker's answer is about, by id, or by the name that it knows.
#[must_use]
pub fn resolve(broker: &Broker, topic_id: Uuid, name: &str) -> Option<Uuid> {
    if topic_id != Uuid::ZERO {
        return Some(topic_id);
    }
    broker.image().topic_named(name).map(|(topic_id, _)| topic_id)
}
