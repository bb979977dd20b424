//! A look at all partitions for somebody who scrapes, then at all groups: a few at a time, so that thousands of them hold
//! nobody up.

use super::group_census::GroupCensus;
use crate::metrics::survey::{
    ClusterCounts, PARTITIONS_SHOWN_MAX, PartitionDetail, QuorumState, ReplicaCounts, Survey, TopicState,
    Wish,
};
use seedlog_core::broker::Broker;
use seedlog_core::cluster::image::{PartitionImage, TopicImage};
use seedlog_core::ids::{NodeId, PartitionIndex, TopicPartition, Uuid};

/// Topics and partitions that are looked at before the driver does something else: some 50 microseconds.
const STEP_MAX: usize = 512;

/// A look that is under way.
#[derive(Debug)]
pub(super) struct Census {
    wish: Wish,
    me: NodeId,
    /// The topic that is being looked at, and its next partition once it is begun.
    topic: Uuid,
    partition: Option<usize>,
    replicas: ReplicaCounts,
    cluster: ClusterCounts,
    topics: Vec<TopicState>,
    partitions: Vec<PartitionDetail>,
    left_out: u64,
    /// Once all partitions are looked at.
    groups: Option<GroupCensus>,
}

impl Census {
    pub(super) fn new(wish: Wish, broker: &Broker) -> Self {
        Self {
            wish,
            me: broker.config().node_id,
            topic: Uuid::ZERO,
            partition: None,
            replicas: ReplicaCounts::default(),
            cluster: ClusterCounts { is_active: broker.is_controller(), ..ClusterCounts::default() },
            topics: Vec::new(),
            partitions: Vec::new(),
            left_out: 0,
            groups: None,
        }
    }

    /// Looks at some more. `true`: that was all.
    pub(super) fn advance(&mut self, broker: &Broker) -> bool {
        if self.groups.is_none() && self.advance_partitions(broker) {
            self.groups = Some(GroupCensus::default());
            return false;
        }
        self.groups.as_mut().is_some_and(|groups| groups.advance(broker, STEP_MAX))
    }

    fn advance_partitions(&mut self, broker: &Broker) -> bool {
        let mut left = STEP_MAX;
        for (&topic_id, topic) in broker.image().topics().range(self.topic..) {
            if topic_id != self.topic {
                (self.topic, self.partition) = (topic_id, None);
            }
            if left == 0 {
                return false;
            }
            left -= 1;
            if self.partition.is_none() {
                self.on_topic(topic);
            }
            let from = *self.partition.get_or_insert(0);
            for (at, partition) in topic.partitions.iter().enumerate().skip(from) {
                if left == 0 {
                    self.partition = Some(at);
                    return false;
                }
                left -= 1;
                let index = PartitionIndex(i32::try_from(at).unwrap_or(i32::MAX));
                self.on_partition(TopicPartition { topic_id, partition: index }, topic, partition, broker);
            }
            self.partition = Some(usize::MAX); // This one is done.
        }
        true
    }

    fn on_topic(&mut self, topic: &TopicImage) {
        self.cluster.topics += 1;
        if self.cluster.is_active || self.wish.details {
            let partitions = topic.partitions.len() as u64;
            self.topics.push(TopicState { name: topic.name.clone(), partitions });
        }
    }

    fn on_partition(
        &mut self,
        partition: TopicPartition,
        topic: &TopicImage,
        image: &PartitionImage,
        broker: &Broker,
    ) {
        let state = &image.state;
        let is_led_here = state.leader == Some(self.me);
        let is_preferred = state.leader == Some(image.preferred());
        self.cluster.partitions += 1;
        self.cluster.leaderless += u64::from(state.leader.is_none());
        self.cluster.imbalanced += u64::from(!is_preferred);
        let replica = broker.replicas().get(&partition).filter(|_| image.replicas().contains(&self.me));
        self.replicas.here += u64::from(replica.is_some());
        self.replicas.offline += u64::from(replica.is_some_and(|replica| replica.damage().is_some()));
        if is_led_here {
            // As for Kafka: those that a reassignment adds are not missed yet.
            let (in_sync, all) = (state.isr.len(), image.replicas().len() - image.assignment.adding().len());
            // As for Kafka: who asks for more replicas than there are gets all of them.
            let least = usize::try_from(topic.min_insync_replicas).unwrap_or(1).min(all);
            self.replicas.led += 1;
            self.replicas.under_replicated += u64::from(in_sync < all);
            self.replicas.under_min_isr += u64::from(in_sync < least);
            self.replicas.at_min_isr += u64::from(in_sync == least);
            self.replicas.reassigning += u64::from(image.assignment.is_moving());
        }
        let is_ours = is_led_here || self.cluster.is_active && state.leader.is_none();
        if !self.wish.details || !is_ours {
            return;
        }
        if self.partitions.len() >= PARTITIONS_SHOWN_MAX {
            self.left_out += 1;
            return;
        }
        let led = replica.filter(|replica| replica.knows_committed());
        self.partitions.push(PartitionDetail {
            topic: self.topics.len() - 1,
            index: partition.partition.0,
            leader: state.leader.map(|leader| leader.0),
            replicas: image.replicas().len(),
            in_sync: state.isr.len(),
            is_preferred,
            offsets: led.map(|replica| (replica.durable_start().0, replica.high_watermark().0)),
        });
    }

    /// What was found; the rest of the survey is for others to fill in.
    pub(super) fn finish(mut self, broker: &Broker) -> Survey {
        let brokers = broker.image().brokers().values();
        self.cluster.fenced_brokers = brokers.clone().filter(|broker| broker.fenced).count() as u64;
        self.cluster.active_brokers = brokers.len() as u64 - self.cluster.fenced_brokers;
        let (groups, groups_left_out) = self.groups.take().unwrap_or_default().finish(broker);
        let quorum = broker.quorum();
        Survey {
            number: self.wish.number,
            is_serving: broker.is_serving(),
            counts: broker.counts(),
            replicas: self.replicas,
            cluster: broker.config().roles.controller.then_some(self.cluster),
            quorum: QuorumState {
                term: quorum.epoch().0,
                leader: quorum.leader().map(|(leader, _)| leader.0),
                voters: quorum.voters().len() as u64,
                committed: quorum.committed().0,
                end: quorum.log.log().end().0,
            },
            topics: self.topics,
            partitions: self.partitions,
            partitions_left_out: self.left_out,
            groups,
            groups_left_out,
            ..Survey::default()
        }
    }
}
