//! The active controller: the leader of the quorum, from the commit of its first record on (SAFETY Q3, C1).
//!
//! It decides on a working image in which its own records show at once; what leaves waits until the records that it rests on
//! are committed. What it only keeps in memory (who was heard when) a successor learns anew.

use super::timers::Timer;
use super::{Broker, Pending, Requester};
use crate::cluster::decide::{
    Registration, decide_alter_partition, decide_fence, decide_lost, decide_producer_ids, decide_rebalance,
    decide_register, decide_shutdown, decide_sweep, decide_unfence,
};
use crate::cluster::image::Image;
use crate::cluster::records::MetadataRecord;
use crate::errors::ErrorCode;
use crate::ids::{BrokerEpoch, NodeId, Offset};
use crate::output::Outputs;
use crate::peer::{AlterPartition, BrokerBeat, BrokerBeatReply, PeerBody, Register};
use crate::replica::progress::PeerRun;
use crate::time::MonoMs;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// What only the active controller has.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Controller {
    /// The committed image and the controller's own records.
    pub(super) working: Image,
    /// When each broker was heard last.
    heard: BTreeMap<NodeId, MonoMs>,
    /// Answers that leave when the metadata is committed up to their offset.
    undecided: VecDeque<(Offset, Pending)>,
}

impl Broker {
    /// This leader's first record is committed: it decides from here on.
    pub(super) fn become_controller(&mut self, out: &mut Outputs) {
        let now = self.now.mono;
        let heard = self.committed.brokers().keys().map(|&node| (node, now)).collect();
        let working = self.committed.clone();
        self.controller = Some(Controller { working, heard, undecided: VecDeque::new() });
        let timings = self.config.timings;
        self.timers.arm(now + timings.broker_beat_ms, Timer::BrokerSessions);
        if timings.rebalance_ms > 0 {
            self.timers.arm(now + timings.rebalance_ms, Timer::Rebalance);
        }
        let sweep = self.controller.as_ref().map(|controller| decide_sweep(&controller.working));
        self.decide(sweep.unwrap_or_default(), out);
        self.on_controller_known(out);
    }

    /// Another node decides from here on: what was not committed is dropped, and who waits for it is told.
    pub(super) fn resign_controller(&mut self, out: &mut Outputs) {
        let Some(controller) = self.controller.take() else { return };
        self.timers.disarm(Timer::BrokerSessions);
        self.timers.disarm(Timer::Rebalance);
        for (_, pending) in controller.undecided {
            // Whether the records will be committed, nobody here knows.
            self.refuse_pending(pending, ErrorCode::RequestTimedOut, out);
        }
    }

    /// Appends records to the metadata log and shows them in the working image (SAFETY C1: replay at append). Gives back
    /// the offset that must be committed before anything that rests on them leaves.
    pub(super) fn decide(&mut self, records: Vec<MetadataRecord>, out: &mut Outputs) -> Offset {
        let epoch = self.quorum.epoch();
        let end = self.quorum.log.log().end();
        let Some(controller) = &mut self.controller else { unreachable!("only the controller decides") };
        if records.is_empty() || !matches!(self.phase, super::Phase::Running) {
            return end;
        }
        controller.working.replay(end, &records);
        self.append_entry(epoch, &records, out)
    }

    /// Lets an answer leave once the metadata is committed up to `offset`: at once if it is.
    pub(super) fn answer_at(&mut self, offset: Offset, pending: Pending, out: &mut Outputs) {
        if offset <= self.committed.end() {
            self.answer_pending(pending, out);
        } else if let Some(controller) = &mut self.controller {
            controller.undecided.push_back((offset, pending));
        }
    }

    /// Answers everything whose metadata is committed.
    pub(super) fn answer_committed(&mut self, out: &mut Outputs) {
        while let Some(controller) = &mut self.controller
            && controller.undecided.front().is_some_and(|(offset, _)| *offset <= self.committed.end())
            && let Some((_, pending)) = controller.undecided.pop_front()
        {
            self.answer_pending(pending, out);
        }
    }

    /// Connections that ended are answered no more; requests of peers that wait are bounded by their own deadlines.
    pub(super) fn undecided(&self) -> usize {
        self.controller.as_ref().map_or(0, |controller| controller.undecided.len())
    }

    fn answer_pending(&mut self, pending: Pending, out: &mut Outputs) {
        match pending {
            Pending::Decided { to, response, .. } => self.respond(to, *response, out),
            Pending::Metadata { conn, number, request } => self.describe_for(conn, number, &request, out),
            Pending::Peer { to, peer, body } => self.answer_peer(to, peer, *body, out),
        }
    }

    fn refuse_pending(&mut self, pending: Pending, code: ErrorCode, out: &mut Outputs) {
        match pending {
            // Refusals rest on what is not committed as well: that a topic exists already may be the work of a request that
            // comes to nothing (SAFETY C1).
            Pending::Decided { to, request, .. } => {
                let why = "The controller changed; the request may have been carried out.";
                let refused = super::decided::refuse(&request, to.version(), code, why);
                self.respond(to, refused, out);
            }
            Pending::Metadata { conn, number, request } => self.describe_for(conn, number, &request, out),
            Pending::Peer { .. } => {} // It asks the next controller.
        }
    }

    /// Answers whoever asked, here or through another broker.
    pub(super) fn respond(&mut self, to: Requester, response: crate::wire::Response, out: &mut Outputs) {
        match to {
            Requester::Client { conn, number, .. } => self.reply(conn, number, response, out),
            Requester::Peer { node, peer, number, version } => {
                let body = super::forward::encode_reply(number, version, &response);
                self.answer_peer(node, peer, PeerBody::ForwardReply(body), out);
            }
        }
    }

    /// A broker's run wants to be part of the cluster.
    pub(super) fn on_register(&mut self, from: NodeId, peer: PeerRun, register: Register, out: &mut Outputs) {
        let offset = self.quorum.log.log().end();
        let Some(controller) = &mut self.controller else { return };
        let known = controller.working.brokers().get(&from);
        if known.is_some_and(|known| known.incarnation == peer.incarnation && known.run > peer.run) {
            return; // An earlier run.
        }
        let registration = Registration {
            node_id: from,
            incarnation: peer.incarnation,
            run: peer.run,
            rack: register.rack,
            listeners: register.listeners,
            peer_listener: register.peer_listener,
            is_unclean: register.is_unclean,
            lost: register.lost,
            doubtful: register.doubtful,
        };
        // A refused one tries again: the other broker of its name may be fenced by then.
        let Ok(records) = decide_register(&controller.working, offset, &registration) else { return };
        controller.heard.insert(from, self.now.mono);
        self.decide(records, out);
    }

    /// A broker is alive.
    pub(super) fn on_broker_beat(
        &mut self,
        from: NodeId,
        peer: PeerRun,
        beat: &BrokerBeat,
        out: &mut Outputs,
    ) {
        let now = self.now.mono;
        let Some(controller) = &mut self.controller else { return };
        let Some(broker) = controller.working.brokers().get(&from) else { return };
        if broker.epoch != beat.broker_epoch || broker.run != peer.run {
            return;
        }
        controller.heard.insert(from, now);
        let (records, may_stop) = if beat.wants_to_stop {
            let shutdown = decide_shutdown(&controller.working, from);
            (shutdown.records, shutdown.may_stop)
        } else {
            (decide_unfence(&controller.working, from), false)
        };
        self.decide(records, out);
        let Some(controller) = &self.controller else { return };
        let records = decide_lost(&controller.working, from, &beat.lost);
        let offset = self.decide(records, out);
        let reply = BrokerBeatReply { broker_epoch: beat.broker_epoch, may_stop };
        let body = Box::new(PeerBody::BrokerBeatReply(reply));
        // That it may stop rests on others having taken over.
        let offset = if may_stop { offset } else { Offset::ZERO };
        self.answer_at(offset, Pending::Peer { to: from, peer, body }, out);
    }

    /// Timer: brokers that were silent for too long are fenced, all in one decision (C9).
    pub(super) fn on_broker_sessions(&mut self, out: &mut Outputs) {
        let now = self.now.mono;
        let timings = self.config.timings;
        let peers = &self.peers;
        let Some(controller) = &mut self.controller else { return };
        let is_silent = |node: &NodeId| {
            let heard = controller.heard.get(node).copied().unwrap_or_default();
            let lost = peers.get(node).and_then(|peer| peer.lost_at);
            // Any message from it would have taken the loss back.
            let is_lost = lost.is_some_and(|at| now - at >= timings.lost_broker_ms);
            now - heard >= timings.broker_session_ms || is_lost
        };
        let brokers = controller.working.brokers().iter().filter(|(_, broker)| !broker.fenced);
        let silent: Vec<NodeId> = brokers.map(|(&node, _)| node).filter(is_silent).collect();
        let records = decide_fence(&controller.working, &silent);
        self.decide(records, out);
        self.admit_configured(out);
        self.timers.arm(now + timings.broker_beat_ms, Timer::BrokerSessions);
    }

    /// Timer: leadership goes back to preferred leaders.
    pub(super) fn on_rebalance(&mut self, out: &mut Outputs) {
        let Some(controller) = &self.controller else { return };
        let records = decide_rebalance(&controller.working);
        self.decide(records, out);
        self.timers.arm(self.now.mono + self.config.timings.rebalance_ms, Timer::Rebalance);
    }

    /// A leader wants its ISR changed.
    pub(super) fn on_alter_partition(
        &mut self,
        from: NodeId,
        peer: PeerRun,
        alter: &AlterPartition,
        out: &mut Outputs,
    ) {
        let Some(controller) = &self.controller else { return };
        match decide_alter_partition(&controller.working, from, alter) {
            Ok(records) => {
                self.decide(records, out);
            }
            Err(_) => {
                let refused = PeerBody::AlterRefused {
                    partition: alter.partition,
                    partition_epoch: alter.partition_epoch,
                };
                let seen = controller.working.end();
                self.answer_at(seen, Pending::Peer { to: from, peer, body: Box::new(refused) }, out);
            }
        }
    }

    /// A broker has no producer ids left.
    pub(super) fn on_want_producer_ids(
        &mut self,
        from: NodeId,
        broker_epoch: BrokerEpoch,
        out: &mut Outputs,
    ) {
        let Some(controller) = &self.controller else { return };
        if controller.working.brokers().get(&from).is_some_and(|broker| broker.epoch == broker_epoch) {
            let record = decide_producer_ids(&controller.working, from, broker_epoch);
            self.decide(alloc::vec![record], out);
        }
    }
}
