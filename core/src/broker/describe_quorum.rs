//! DescribeQuorum: what the leader of the quorum knows of those that copy its log. Any broker takes the question and passes it
//! on.

use super::{Broker, Requester};
use crate::cluster::records::Voter;
use crate::config::AdvertisedListener;
use crate::errors::ErrorCode;
use crate::ids::{NodeId, Uuid};
use crate::output::Outputs;
use crate::quorum::QuorumLeader;
use crate::time::MonoMs;
use crate::wire::describe_quorum::{Listener, METADATA_TOPIC, Node, PartitionData, ReplicaState, TopicData};
use crate::wire::{DescribeQuorumRequest, DescribeQuorumResponse, Response, Str};
use alloc::vec::Vec;

/// From this version on there are directories and listeners (KIP-853).
const DIRECTORIES_FROM: i16 = 2;

impl Broker {
    /// The leader describes the quorum, for a client here or of another broker. What it says is no decision: nothing has to be
    /// committed first.
    pub(super) fn describe_quorum(
        &mut self,
        to: Requester,
        request: &DescribeQuorumRequest,
        out: &mut Outputs,
    ) {
        let response = self.quorum_as_asked(to.version(), request);
        self.respond(to, Response::DescribeQuorum(response), out);
    }

    fn quorum_as_asked(&self, version: i16, request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
        let has_directories = version >= DIRECTORIES_FROM;
        let is_metadata = matches!(&request.topics[..], [topic] if *topic.topic_name == *METADATA_TOPIC
            && matches!(&topic.partitions[..], [partition] if partition.partition_index == 0));
        let leader = self.quorum.leading().filter(|_| is_metadata);
        let Some(leader) = leader else { return unknown_partitions(request) };
        let mut partition = self.describe_metadata_log(leader);
        let mut nodes: Vec<Node> = Vec::new();
        if has_directories {
            nodes.extend(self.quorum.voters().iter().map(|voter| self.describe_voter(voter.node_id)));
        } else {
            let replicas = partition.current_voters.iter_mut().chain(&mut partition.observers);
            replicas.for_each(|replica| replica.replica_directory_id = Uuid::ZERO);
        }
        let topic_name = Str::from_static(METADATA_TOPIC);
        let topics = alloc::vec![TopicData { topic_name, partitions: alloc::vec![partition] }];
        DescribeQuorumResponse { topics, nodes, ..DescribeQuorumResponse::default() }
    }

    fn describe_metadata_log(&self, leader: &QuorumLeader) -> PartitionData {
        let voters = self.quorum.voters();
        let is_voter = |voter: &Voter| voters.contains(voter);
        // Another folder under a voter's name copies the log without its vote.
        let observers = leader.followers.iter().filter_map(|(&node_id, progress)| {
            let (_, peer) = progress.session()?;
            let observer = Voter { node_id, incarnation: peer.incarnation };
            (!is_voter(&observer)).then_some(observer)
        });
        PartitionData {
            leader_id: self.config.node_id.0,
            leader_epoch: self.quorum.epoch().0,
            high_watermark: self.quorum.committed().0,
            current_voters: voters.iter().map(|voter| self.describe_copy(leader, voter)).collect(),
            observers: observers.map(|observer| self.describe_copy(leader, &observer)).collect(),
            ..PartitionData::default()
        }
    }

    /// How far one node got, with the folder that it has.
    fn describe_copy(&self, leader: &QuorumLeader, member: &Voter) -> ReplicaState {
        let end = self.quorum.log.log().end();
        let mut state = ReplicaState {
            replica_id: member.node_id.0,
            replica_directory_id: member.incarnation,
            log_end_offset: -1,
            ..ReplicaState::default()
        };
        if *member == self.own_voter() {
            state.log_end_offset = end.0;
            state.last_fetch_timestamp = self.now.wall.0;
            state.last_caught_up_timestamp = self.now.wall.0;
            return state;
        }
        let Some(progress) = leader.followers.get(&member.node_id) else { return state };
        if progress.session().is_none_or(|(_, peer)| peer.incarnation != member.incarnation) {
            return state;
        }
        let heard_at = progress.heard_at().max(leader.heard.get(&member.node_id).copied());
        let has_all = progress.acked().is_some_and(|acked| acked >= end);
        // It had all as long as nothing new came, heard or not: told is the last moment that it was there to say so.
        let caught_up_at = if has_all { heard_at } else { progress.was_caught_up_at().min(heard_at) };
        state.log_end_offset = progress.acked().map_or(-1, |acked| acked.0);
        state.last_fetch_timestamp = heard_at.map_or(-1, |at| self.wall_ms(at));
        state.last_caught_up_timestamp = caught_up_at.map_or(-1, |at| self.wall_ms(at));
        state
    }

    fn own_voter(&self) -> Voter {
        Voter { node_id: self.config.node_id, incarnation: self.config.incarnation }
    }

    /// An earlier moment by this node's wall clock.
    fn wall_ms(&self, at: MonoMs) -> i64 {
        let ago_ms = i64::try_from(self.now.mono - at).unwrap_or(i64::MAX);
        self.now.wall.0.saturating_sub(ago_ms)
    }

    fn describe_voter(&self, node: NodeId) -> Node {
        let listener = self.voter_listener(node).map(|listener| Listener {
            name: self.config.peer_listener_name.as_str().into(),
            host: listener.host.into(),
            port: listener.port,
        });
        Node { node_id: node.0, listeners: listener.into_iter().collect() }
    }

    /// Where a voter listens for other nodes: as it registered, or as it is configured. A cluster of one listens nowhere.
    fn voter_listener(&self, node: NodeId) -> Option<AdvertisedListener> {
        let own = self.config.peer_listener.clone().filter(|_| node == self.config.node_id);
        let registered = || {
            let (host, port) = self.committed.brokers().get(&node)?.peer_listener.clone()?;
            Some(AdvertisedListener { host, port })
        };
        own.or_else(registered).or_else(|| self.config.voter_listeners.get(&node).cloned())
    }
}

/// Kafka's answer to a question about anything but the metadata log, and nothing else.
fn unknown_partitions(request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| PartitionData {
            partition_index: partition.partition_index,
            error_code: ErrorCode::UnknownTopicOrPartition.code(),
            error_message: Some(Str::from_static("Only partition 0 of __cluster_metadata has a quorum.")),
            ..PartitionData::default()
        });
        TopicData { topic_name: topic.topic_name.detached(), partitions: partitions.collect() }
    });
    DescribeQuorumResponse { topics: topics.collect(), ..DescribeQuorumResponse::default() }
}

/// The answer where there is no leader to ask.
pub(super) fn refuse_description(code: ErrorCode, why: &'static str) -> DescribeQuorumResponse {
    // The question changes nothing: there is nothing that may have been carried out.
    let why = if code == ErrorCode::RequestTimedOut { "The controller did not answer." } else { why };
    DescribeQuorumResponse {
        error_code: code.code(),
        error_message: Some(Str::from_static(why)),
        ..DescribeQuorumResponse::default()
    }
}
