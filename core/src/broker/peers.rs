//! Messages of other nodes: whose they are, whether they still count, and which part of the broker they are for.

use super::Broker;
use super::timers::Timer;
use crate::ids::{NodeId, RunId, TopicPartition};
use crate::output::{Output, Outputs, PeerBatches};
use crate::peer::{Ack, Open, PeerBody, PeerMessage};
use crate::records::ProducedBatch;
use crate::replica::progress::PeerRun;
use crate::time::MonoMs;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

/// What this node knows of another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Peer {
    /// The run that was heard last.
    pub(super) seen: Option<PeerRun>,
    /// When its streams broke; `None` while they are there, or nobody knows.
    pub(super) lost_at: Option<MonoMs>,
    /// Bytes of record batches on their way to it.
    pub(super) in_flight_bytes: u64,
    /// Partitions led here that it has not all of, or whose watermark it does not know.
    pub(super) busy: InTurns,
    /// Partitions that have something for the peer, and found no room in its window. One that has nothing any more may be here.
    pub(super) waiting: BTreeSet<TopicPartition>,
    /// Sessions that it asked for in epochs that this node does not know of yet, and when. Once it would have asked again they are
    /// dropped.
    pub(super) early: BTreeMap<TopicPartition, (PeerRun, Open, MonoMs)>,
    /// Acknowledgements that leave at the end of the step.
    acks: BTreeMap<TopicPartition, Ack>,
}

impl Peer {
    /// It said something, and its streams are not known to be broken.
    pub(super) fn is_heard(&self) -> bool {
        self.seen.is_some() && self.lost_at.is_none()
    }

    /// The copy that was acknowledged is gone.
    pub(super) fn forget_ack(&mut self, partition: TopicPartition) {
        self.acks.remove(&partition);
    }
}

/// Partitions that are looked at again and again, in turns: of many a few at a time, so that who is slow to answer is not asked the
/// more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct InTurns {
    all: BTreeSet<TopicPartition>,
    /// Where the last turn ended.
    last: Option<TopicPartition>,
}

impl InTurns {
    /// Partitions of one turn.
    const PARTITIONS: usize = 4_096;

    pub(super) fn insert(&mut self, partition: TopicPartition) {
        self.all.insert(partition);
    }

    pub(super) fn remove(&mut self, partition: TopicPartition) {
        self.all.remove(&partition);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The next ones: all, where they are few, and otherwise those behind the last turn's, and around.
    pub(super) fn next_turn(&mut self) -> Vec<TopicPartition> {
        if self.all.len() <= Self::PARTITIONS {
            self.last = None;
            return self.all.iter().copied().collect();
        }
        let behind = (self.last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut turn: Vec<TopicPartition> = self.all.range(behind).take(Self::PARTITIONS).copied().collect();
        let left = Self::PARTITIONS - turn.len();
        turn.extend(self.all.iter().take(left));
        self.last = turn.last().copied();
        turn
    }
}

impl Broker {
    pub(super) fn on_peer_up(&mut self, node: NodeId, out: &mut Outputs) {
        self.peers.entry(node).or_default().lost_at = None;
        if self.has_started() {
            self.greet(node, out);
        }
    }

    pub(super) fn on_peer_lost(&mut self, node: NodeId, out: &mut Outputs) {
        let now = self.now.mono;
        self.peers.entry(node).or_default().lost_at = Some(now);
        if self.membership.is_stopping && !self.can_hand_over() {
            self.stop_now(out); // They stop as well: nobody is left to decide anything.
            return;
        }
        self.on_leader_lost(node);
        if self.controller.is_some() {
            self.timers.arm_by(now + self.config.timings.lost_broker_ms, Timer::BrokerSessions);
        }
    }

    /// A message arrived. Whatever it is, it is either of this cluster and of a run that still lives, or dropped.
    pub(super) fn on_peer(&mut self, message: PeerMessage, batches: &[ProducedBatch], out: &mut Outputs) {
        let PeerMessage { from, incarnation, run, to_run, cluster_id, body } = message;
        if from == self.config.node_id || !self.has_started() || to_run.is_some_and(|to| to != self.run()) {
            return;
        }
        let founding = matches!(body, PeerBody::Found(_));
        let own_cluster = self.quorum.cluster.as_ref().map(|cluster| cluster.id);
        if !founding && (cluster_id.is_none() || cluster_id != own_cluster) {
            return;
        }
        let peer = PeerRun { incarnation, run };
        let known = self.peers.entry(from).or_default();
        if known.seen.is_some_and(|seen| seen.incarnation == incarnation && seen.run > run) {
            return; // An earlier run of it.
        }
        known.seen = Some(peer);
        known.lost_at = None;
        self.dispatch(from, peer, body, batches, out);
    }

    fn dispatch(
        &mut self,
        from: NodeId,
        peer: PeerRun,
        body: PeerBody,
        batches: &[ProducedBatch],
        out: &mut Outputs,
    ) {
        match body {
            PeerBody::Found(found) => self.on_found(from, peer, found, out),
            PeerBody::Vote(vote) => self.on_vote(from, peer, &vote, out),
            PeerBody::VoteReply(reply) => self.on_vote_reply(from, peer, &reply, out),
            PeerBody::Beat(beat) => self.on_beat(from, peer, &beat, out),
            PeerBody::BeatReply(reply) => self.on_beat_reply(from, &reply, out),
            PeerBody::Resign { epoch, successor } => self.on_resign(from, epoch, successor, out),
            PeerBody::Open(open) if open.partition.is_data() => self.on_open(from, peer, &open, out),
            PeerBody::Open(open) => self.on_metadata_open(from, peer, &open, out),
            PeerBody::OpenReply(reply) if reply.partition.is_data() => {
                self.on_open_reply(from, peer, reply, out);
            }
            PeerBody::OpenReply(reply) => self.on_metadata_open_reply(from, peer, reply, out),
            PeerBody::Append(append) => self.on_replica_append(from, peer, &append, batches, out),
            PeerBody::MetadataAppend { append, entries } => {
                self.on_metadata_append(from, peer, &append, entries, out);
            }
            PeerBody::Acks(acks) => self.on_acks(from, peer, &acks, out),
            PeerBody::Marks(marks) => self.on_marks(from, peer, &marks, out),
            PeerBody::Register(register) => self.on_register(from, peer, register, out),
            PeerBody::BrokerBeat(beat) => self.on_broker_beat(from, peer, &beat, out),
            PeerBody::BrokerBeatReply(reply) => self.on_broker_beat_reply(&reply, out),
            PeerBody::AlterPartition(alter) => self.on_alter_partition(from, peer, &alter, out),
            PeerBody::AlterRefused { partition, partition_epoch } => {
                self.on_alter_refused(partition, partition_epoch);
            }
            PeerBody::WantProducerIds { broker_epoch } => {
                self.on_want_producer_ids(from, broker_epoch, out);
            }
            PeerBody::Forward(forward) => self.on_forward(from, peer, forward, out),
            PeerBody::ForwardReply(reply) => self.on_forward_reply(reply, out),
            PeerBody::AskProducers(questions) => self.on_ask_producers(from, peer, questions, out),
            PeerBody::ForgetProducers(answers) => self.on_forget_producers(from, peer, &answers, out),
        }
    }

    /// Says something to another node.
    pub(super) fn send(&mut self, to: NodeId, to_run: Option<RunId>, body: PeerBody, out: &mut Outputs) {
        self.send_with(to, to_run, body, PeerBatches::None, out);
    }

    pub(super) fn send_with(
        &mut self,
        to: NodeId,
        to_run: Option<RunId>,
        body: PeerBody,
        batches: PeerBatches,
        out: &mut Outputs,
    ) {
        assert!(to != self.config.node_id, "a node does not write to itself");
        assert!(self.has_started(), "nothing leaves before the run has a number on disk");
        let message = PeerMessage {
            from: self.config.node_id,
            incarnation: self.config.incarnation,
            run: self.run(),
            to_run,
            cluster_id: self.quorum.cluster.as_ref().map(|cluster| cluster.id),
            body,
        };
        out.push(Output::Send { to, message: Box::new(message), batches });
    }

    /// Says something to the controller, as far as it is known who that is; whoever needs an answer asks again.
    pub(super) fn send_to_controller(&mut self, body: PeerBody, out: &mut Outputs) {
        let Some((leader, _)) = self.quorum.leader() else { return };
        if leader == self.config.node_id {
            let me = self.own_run();
            self.dispatch(leader, me, body, &[], out);
        } else {
            self.send(leader, None, body, out);
        }
    }

    /// An answer to a node that may be this one.
    pub(super) fn answer_peer(&mut self, to: NodeId, peer: PeerRun, body: PeerBody, out: &mut Outputs) {
        if to == self.config.node_id {
            self.dispatch(to, peer, body, &[], out);
        } else {
            self.send(to, Some(peer.run), body, out);
        }
    }

    /// An acknowledgement leaves at the end of the step; of a partition only the last one.
    pub(super) fn acknowledge(&mut self, leader: NodeId, ack: Ack) {
        let acks = &mut self.peers.entry(leader).or_default().acks;
        if let Some(earlier) = acks.insert(ack.partition, ack)
            && earlier.number == ack.number
            && ack.resend_from.is_none()
            && let Some(held) = acks.get_mut(&ack.partition)
        {
            held.resend_from = earlier.resend_from;
        }
    }

    pub(super) fn send_acknowledgements(&mut self, out: &mut Outputs) {
        let waiting: Vec<(NodeId, Vec<Ack>)> = self
            .peers
            .iter_mut()
            .filter(|(_, peer)| !peer.acks.is_empty())
            .map(|(&node, peer)| (node, core::mem::take(&mut peer.acks).into_values().collect()))
            .collect();
        for (node, acks) in waiting {
            self.send(node, None, PeerBody::Acks(acks), out);
        }
    }

    /// What was sent and not answered, or could not be sent, is looked at again.
    pub(super) fn on_resend(&mut self, out: &mut Outputs) {
        let (now, resend_ms) = (self.now.mono, self.config.timings.resend_ms);
        for peer in self.peers.values_mut() {
            peer.early.retain(|_, (_, _, at)| now - *at < resend_ms);
        }
        self.resend_opens(out);
        self.resend_metadata(out);
        self.resend_records(out);
        self.resend_proposals(out);
        self.resend_registration(out);
        if self.has_to_resend() {
            self.timers.arm_by(self.now.mono + self.config.timings.resend_ms, Timer::Resend);
        }
    }

    fn has_to_resend(&self) -> bool {
        !self.opening.is_empty()
            || !self.proposing.is_empty()
            || self.peers.values().any(|peer| !peer.busy.is_empty() || !peer.early.is_empty())
            || self.owes_metadata()
            || self.seeks_leader()
            || self.seeks_registration()
            || self.producer_ids.asked
    }

    /// This run, as others see it.
    pub(super) fn own_run(&self) -> PeerRun {
        PeerRun { incarnation: self.config.incarnation, run: self.run() }
    }

    /// The number of this run, as other nodes see it.
    #[must_use]
    pub fn run(&self) -> RunId {
        // Two folders that bore one node id count their runs apart: part of the folder's name tells them apart.
        let [.., a, b, c, d] = self.config.incarnation.0;
        RunId(self.boot << 32 | u64::from(u32::from_be_bytes([a, b, c, d])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PartitionIndex, Uuid};

    fn in_turns(indices: core::ops::Range<usize>) -> InTurns {
        let partition = |index| PartitionIndex(i32::try_from(index).expect("few"));
        let all = indices.map(|at| TopicPartition { topic_id: Uuid([1; 16]), partition: partition(at) });
        InTurns { all: all.collect(), last: None }
    }

    #[test]
    fn turns_go_round_and_leave_nobody_out() {
        let mut many = in_turns(0..InTurns::PARTITIONS * 5 / 2);
        let mut seen: BTreeMap<TopicPartition, usize> = BTreeMap::new();
        for _ in 0..5 {
            let turn = many.next_turn();
            assert_eq!(turn.len(), InTurns::PARTITIONS);
            turn.into_iter().for_each(|partition| *seen.entry(partition).or_default() += 1);
        }
        assert!(many.all.iter().all(|partition| seen[partition] == 2));
        // The one that the last turn ended with is settled meanwhile.
        let last = many.next_turn()[InTurns::PARTITIONS - 1];
        many.remove(last);
        assert!(many.next_turn()[0] > last);
        let mut few = in_turns(3..20);
        assert_eq!(few.next_turn(), few.all.iter().copied().collect::<Vec<_>>());
        assert_eq!(few.next_turn().len(), 17, "few are looked at each time");
    }
}
