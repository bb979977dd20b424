//! Who leads instead (KIP-951): a client that asks the wrong broker, or with an epoch that is over, learns from the refusal
//! whom to ask, without a round of Metadata.

use super::Broker;
use crate::errors::ErrorCode;
use crate::ids::{ConnId, LeaderEpoch, NodeId, PartitionIndex, TopicPartition, Uuid};
use crate::wire::{FetchResponse, ProduceResponse, Str, fetch, produce};
use alloc::collections::BTreeSet;

/// From these versions on there is room for it.
const IN_PRODUCE_FROM: i16 = 10;
const IN_FETCH_FROM: i16 = 16;

/// Brokers that hints name, each once.
type Named = BTreeSet<NodeId>;

impl Broker {
    /// Names leaders in an answer to Produce.
    pub(super) fn hint_in_produce(&self, conn: ConnId, version: i16, response: &mut ProduceResponse) {
        if version < IN_PRODUCE_FROM {
            return;
        }
        let mut named = Named::new();
        for topic in &mut response.responses {
            for part in &mut topic.partition_responses {
                let hint = self.leader_hint((topic.topic_id, &topic.name), part.index, part.error_code);
                if let Some((leader, epoch)) = hint {
                    named.insert(leader);
                    part.current_leader =
                        produce::LeaderIdAndEpoch { leader_id: leader.0, leader_epoch: epoch.0 };
                }
            }
        }
        let endpoints = named.into_iter().filter_map(|node| self.endpoint(conn, node));
        response.node_endpoints = endpoints
            .map(|(node_id, host, port, rack)| produce::NodeEndpoint { node_id, host, port, rack })
            .collect();
    }

    /// Names leaders in an answer to Fetch.
    pub(super) fn hint_in_fetch(&self, conn: ConnId, version: i16, response: &mut FetchResponse) {
        if version < IN_FETCH_FROM {
            return;
        }
        let mut named = Named::new();
        for topic in &mut response.responses {
            for part in &mut topic.partitions {
                let hint =
                    self.leader_hint((topic.topic_id, &topic.topic), part.partition_index, part.error_code);
                if let Some((leader, epoch)) = hint {
                    named.insert(leader);
                    part.current_leader =
                        fetch::LeaderIdAndEpoch { leader_id: leader.0, leader_epoch: epoch.0 };
                }
            }
        }
        let endpoints = named.into_iter().filter_map(|node| self.endpoint(conn, node));
        response.node_endpoints = endpoints
            .map(|(node_id, host, port, rack)| fetch::NodeEndpoint { node_id, host, port, rack })
            .collect();
    }

    /// The leader that a refusal should name. Nothing where none is known, or only this one, which has just refused.
    fn leader_hint(
        &self,
        (topic_id, name): (Uuid, &str),
        index: i32,
        error_code: i16,
    ) -> Option<(NodeId, LeaderEpoch)> {
        let is_over = error_code == ErrorCode::FencedLeaderEpoch.code();
        if !is_over && error_code != ErrorCode::NotLeaderOrFollower.code() {
            return None;
        }
        let topic_id = if topic_id == Uuid::ZERO { self.committed.topic_named(name)?.0 } else { topic_id };
        let partition = TopicPartition { topic_id, partition: PartitionIndex(index) };
        let state = &self.committed.partition(partition)?.state;
        let leader = state.leader.filter(|&leader| is_over || leader != self.config.node_id)?;
        Some((leader, state.leader_epoch))
    }

    /// Where a broker that is alive listens, for a client that came through the listener of `conn`.
    fn endpoint(&self, conn: ConnId, node: NodeId) -> Option<(i32, Str, i32, Option<Str>)> {
        let broker = self.committed.brokers().get(&node).filter(|broker| !broker.fenced)?;
        let listener = self.listener_of(conn, node, &broker.listeners);
        Some((node.0, listener.host.into(), listener.port.into(), broker.rack.as_deref().map(Str::from)))
    }
}
