//! Leading: sessions of followers, what is sent to them, what they acknowledge, and the ISR (SAFETY R1, R3, R4).

use super::Broker;
use super::timers::Timer;
use crate::ids::{NodeId, Offset, PartitionEpoch, RunId, TopicPartition};
use crate::museum::exhibit;
use crate::output::{Extent, Outputs, PeerBatches};
use crate::peer::{Ack, AlterPartition, Append, Mark, Open, OpenAnswer, PeerBody};
use crate::records::BatchHeader;
use crate::replica::Replica;
use crate::replica::progress::{PeerRun, Progress, find_divergence};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

/// Producers that travel with a reset, in bytes; a longer table is not sent.
const PRODUCERS_BYTES_MAX: usize = 4 << 20;
/// Sessions of one follower that wait for this node's metadata; beyond that it has to ask again.
const EARLY_OPENS_MAX: usize = 16_384;

impl Broker {
    /// A follower opens a session.
    pub(super) fn on_open(&mut self, from: NodeId, peer: PeerRun, open: &Open, out: &mut Outputs) {
        let partition = open.partition;
        // Both broker epochs belong to the session (R1): only the registered run of a replica is let in.
        if !self.is_registered_run(from, peer) {
            return;
        }
        let now = self.now.mono;
        if self.replicas.get(&partition).is_none_or(|replica| replica.epoch() < Some(open.epoch)) {
            self.keep_early_open(from, peer, open);
            return;
        }
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let high_watermark = replica.high_watermark();
        let Some((leader, log)) = replica.leader_mut() else { return };
        if leader.epoch != open.epoch {
            return; // The follower is behind in its metadata, and asks again.
        }
        let Some(progress) = leader.follower_mut(from) else { return };
        if !progress.is_news(peer, open.number) {
            return;
        }
        // What this log has from its start on is of later epochs than the follower's last: the logs may part below the start,
        // where nobody can tell any more.
        let first = log.epochs().entries().first().filter(|_| log.start() > Offset::ZERO);
        let parts_below = open.last_epoch.is_some_and(|last| first.is_some_and(|first| last < first.epoch));
        let answer = match find_divergence(log, open).filter(|_| !parts_below) {
            Some(answer) => answer,
            None => {
                let producers = log.producers().before(log.start(), high_watermark);
                let bytes = postcard::to_allocvec(&producers).unwrap_or_default();
                let bytes = if bytes.len() <= PRODUCERS_BYTES_MAX { bytes } else { Vec::new() };
                let total = bytes.len() as u64;
                let (start, tombstones_gone_to) = (log.start(), log.tombstones_gone_to());
                OpenAnswer::Reset { start, epoch: None, tombstones_gone_to, bytes, from: 0, total }
            }
        };
        // A11: the end that a follower names counts although its log was found to diverge.
        if answer == OpenAnswer::Agreed || exhibit!(A11, false, open.end <= log.end()) {
            let (freed, has_lost) = progress.on_opened(now, peer, open);
            let known = self.peers.entry(from).or_default();
            known.in_flight_bytes = known.in_flight_bytes.saturating_sub(freed);
            self.reply_open(from, peer, open, answer, out);
            self.on_progress(partition, from, out);
            if has_lost {
                self.review_isr(partition, out);
            }
        } else {
            self.reply_open(from, peer, open, answer, out);
        }
    }

    /// The follower's metadata is ahead: what made this node the leader is on its way. Without this, a partition that is new, or
    /// has a new leader, would stand still until the follower asks again.
    fn keep_early_open(&mut self, from: NodeId, peer: PeerRun, open: &Open) {
        let early = &mut self.peers.entry(from).or_default().early;
        if early.len() < EARLY_OPENS_MAX || early.contains_key(&open.partition) {
            early.insert(open.partition, (peer, open.clone(), self.now.mono));
            self.timers.arm_by(self.now.mono + self.config.timings.resend_ms, Timer::Resend);
        }
    }

    /// This node leads a partition from now on: the followers that knew it before are let in.
    pub(super) fn admit_early(&mut self, partition: TopicPartition, out: &mut Outputs) {
        let early = self.peers.iter_mut();
        let early = early.filter_map(|(&node, peer)| Some((node, peer.early.remove(&partition)?)));
        for (node, (peer, open, _)) in early.collect::<Vec<_>>() {
            self.on_open(node, peer, &open, out);
        }
    }

    /// The run is the one that the committed metadata knows of the broker.
    fn is_registered_run(&self, node: NodeId, peer: PeerRun) -> bool {
        self.committed
            .brokers()
            .get(&node)
            .is_some_and(|broker| broker.incarnation == peer.incarnation && broker.run == peer.run)
    }

    pub(super) fn on_acks(&mut self, from: NodeId, peer: PeerRun, acks: &[Ack], out: &mut Outputs) {
        for ack in acks {
            if ack.partition.is_data() {
                self.on_ack(from, peer, ack, out);
            } else {
                self.on_metadata_ack(from, peer, ack, out);
            }
        }
    }

    fn on_ack(&mut self, from: NodeId, peer: PeerRun, ack: &Ack, out: &mut Outputs) {
        let now = self.now.mono;
        let Some(replica) = self.replicas.get_mut(&ack.partition) else { return };
        let Some((leader, log)) = replica.leader_mut() else { return };
        if leader.epoch != ack.epoch {
            return;
        }
        let (end, is_later_start) = (log.end(), ack.log_start > log.start());
        let Some(progress) = leader.follower_mut(from) else { return };
        let Some(freed) = progress.on_ack(now, peer, ack, end) else { return };
        let known = self.peers.entry(from).or_default();
        known.in_flight_bytes = known.in_flight_bytes.saturating_sub(freed);
        if is_later_start {
            self.take_over_start(ack.partition, out);
        }
        self.answer_deleted(ack.partition, out);
        self.on_progress(ack.partition, from, out);
    }

    /// A follower got further: the watermark may move, the ISR may grow, and more may be sent.
    fn on_progress(&mut self, partition: TopicPartition, from: NodeId, out: &mut Outputs) {
        self.advance_watermark(partition, out);
        let Some(replica) = self.replicas.get(&partition) else { return };
        let Some(leader) = replica.leader() else { return };
        if leader.isr().len() <= leader.followers().len() {
            self.review_isr(partition, out);
        }
        self.push(partition, from, None, out);
        self.settle(partition, from);
        self.push_waiting(from, out);
    }

    /// Notes whether a follower has everything, so that nothing needs to be looked at again.
    pub(super) fn settle(&mut self, partition: TopicPartition, node: NodeId) {
        let Some(replica) = self.replicas.get(&partition) else { return };
        let Some(leader) = replica.leader() else { return };
        let quiet = leader.followers().get(&node).is_none_or(|progress| {
            let needs_mark = progress.needs_mark(replica.high_watermark(), replica.log().start());
            progress.is_quiet(replica.log().end()) && !needs_mark
        });
        let peer = self.peers.entry(node).or_default();
        if quiet {
            peer.busy.remove(partition);
        } else {
            peer.busy.insert(partition);
            self.timers.arm_by(self.now.mono + self.config.timings.resend_ms, Timer::Resend);
        }
    }

    /// Room in a peer's window came free: partitions that waited for it go on. Looks at no others, however many are busy.
    fn push_waiting(&mut self, node: NodeId, out: &mut Outputs) {
        let window = self.config.peer_window_bytes;
        // Half of the window is room enough to go on with what waits.
        if self.peers.get(&node).is_none_or(|peer| peer.in_flight_bytes > window / 2) {
            return;
        }
        while let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.in_flight_bytes < window)
            && let Some(partition) = peer.waiting.pop_first()
        {
            self.push(partition, node, None, out);
        }
    }

    /// The leader's log or a follower's is further: does that commit something?
    pub(super) fn advance_watermark(&mut self, partition: TopicPartition, out: &mut Outputs) {
        let me = self.config.node_id;
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let moved = replica.advance_high_watermark(me);
        let waiters = replica.take_reached();
        if moved {
            self.moved.push(partition);
            let followers: Vec<NodeId> = replica
                .leader()
                .map(|leader| leader.followers().keys().copied().collect())
                .unwrap_or_default();
            for node in followers {
                self.settle(partition, node);
            }
            self.take_over_start(partition, out);
        }
        for waiter in waiters {
            self.on_part_reached(waiter, out);
        }
    }

    /// A start that an earlier leader was asked for, and of which this one heard from a follower: as far as is committed here.
    fn take_over_start(&mut self, partition: TopicPartition, out: &mut Outputs) {
        let Some(replica) = self.replicas.get(&partition) else { return };
        let followers = replica.leader().into_iter().flat_map(|leader| leader.followers().values());
        let told = followers.filter_map(Progress::told_start).max();
        if let Some(start) = told.filter(|start| *start > replica.log().start()) {
            self.advance_start(partition, start, out);
        }
    }

    /// A batch was appended in this step: each follower at the tail gets it.
    pub(super) fn push_fresh(
        &mut self,
        partition: TopicPartition,
        before: Offset,
        batch: (&BatchHeader, &Bytes),
        out: &mut Outputs,
    ) {
        let now = self.now.mono;
        let lag_ms = self.config.timings.replica_lag_ms_max;
        let Some((leader, log)) = self.replicas.get_mut(&partition).and_then(Replica::leader_mut) else {
            return;
        };
        let end = log.end();
        leader.followers_mut().for_each(|(_, progress)| progress.on_appended(now, (before, end)));
        if let Some(deadline) = leader.lag_deadline(lag_ms, end) {
            self.timers.arm_by(deadline, Timer::Lag(partition));
        }
        let followers: Vec<NodeId> = leader.followers().keys().copied().collect();
        for node in followers {
            self.push(partition, node, Some(batch), out);
            self.settle(partition, node);
        }
    }

    /// Sends a follower what it does not have, as far as the peer's window goes.
    fn push(
        &mut self,
        partition: TopicPartition,
        to: NodeId,
        fresh: Option<(&BatchHeader, &Bytes)>,
        out: &mut Outputs,
    ) {
        let now = self.now.mono;
        let in_flight = self.peers.entry(to).or_default().in_flight_bytes;
        let room = self.config.peer_window_bytes.saturating_sub(in_flight);
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let high_watermark = replica.high_watermark();
        let Some((leader, log)) = replica.leader_mut() else { return };
        let epoch = leader.epoch;
        let Some(progress) = leader.follower_mut(to) else { return };
        let Some(push) = progress.plan(log, log.end(), room) else {
            if room == 0 && progress.plan(log, log.end(), u64::MAX).is_some() {
                self.peers.entry(to).or_default().waiting.insert(partition);
            }
            return;
        };
        let Some((_, peer)) = progress.session() else { return };
        let fresh =
            fresh.filter(|(header, _)| header.base_offset == push.from && header.next_offset() == push.to);
        let exact = match fresh {
            Some((header, _)) => Some(u64::from(header.batch_bytes)),
            None => {
                Some(log.bytes_between(push.from, push.to)).filter(|&upper_bound| upper_bound <= push.bytes)
            }
        };
        let before = push.from.0.checked_sub(1).map(Offset);
        let append = Append {
            partition,
            epoch,
            number: push.number,
            previous_offset: push.from,
            previous_epoch: before.and_then(|before| log.epoch_at(before)),
            high_watermark,
            log_start: log.start(),
        };
        let batches = match fresh {
            Some((header, bytes)) => PeerBatches::Fresh(*header, bytes.clone()),
            None => PeerBatches::Extent(Extent {
                partition,
                generation: log.generation(),
                from: push.from,
                to: push.to,
                bytes_max: u32::try_from(push.bytes).expect("a run is small"),
            }),
        };
        let sent = progress.on_sent(now, &push, exact);
        self.peers.entry(to).or_default().in_flight_bytes += sent;
        self.send_with(to, Some(peer.run), PeerBody::Append(append), batches, out);
    }

    /// What was sent and not acknowledged is sent again; watermarks that followers do not know are told.
    pub(super) fn resend_records(&mut self, out: &mut Outputs) {
        let peers = self.peers.iter_mut();
        let busy: Vec<(NodeId, Vec<TopicPartition>)> =
            peers.map(|(&node, peer)| (node, peer.busy.next_turn())).collect();
        let now = self.now.mono;
        let resend_ms = self.config.timings.resend_ms;
        for (node, partitions) in busy {
            let mut marks = Vec::new();
            let mut run = None;
            for partition in partitions {
                let leads = self.replicas.get_mut(&partition).and_then(Replica::leader_mut);
                let Some(progress) = leads.and_then(|(leader, _)| leader.follower_mut(node)) else {
                    self.peers.entry(node).or_default().busy.remove(partition);
                    continue;
                };
                let freed = progress.rewind_if_stalled(now, resend_ms);
                let peer = self.peers.entry(node).or_default();
                peer.in_flight_bytes = peer.in_flight_bytes.saturating_sub(freed);
                self.push(partition, node, None, out);
                if let Some((mark, peer)) = self.plan_mark(partition, node) {
                    marks.push(mark);
                    run = Some(peer.run);
                }
                self.settle(partition, node);
            }
            if !marks.is_empty() {
                self.send(node, run, PeerBody::Marks(marks), out);
            }
        }
    }

    /// The controller is silent: followers in sync that have nothing to say are asked whether they follow still.
    pub(super) fn look_for_followers(&mut self, out: &mut Outputs) {
        let quiet_ms = self.config.timings.broker_session_ms / 3;
        let mut questions: BTreeMap<(NodeId, RunId), Vec<Mark>> = BTreeMap::new();
        for (&partition, replica) in &self.replicas {
            let Some(leader) = replica.leader() else { continue };
            for (&node, progress) in leader.followers().iter().filter(|(node, _)| leader.isr().contains(node))
            {
                let is_quiet = progress.heard_at().is_some_and(|at| self.now.mono - at >= quiet_ms);
                if let Some((mark, peer)) = mark_of(partition, replica, node).filter(|_| is_quiet) {
                    questions.entry((node, peer.run)).or_default().push(mark);
                }
            }
        }
        for ((node, run), marks) in questions {
            self.send(node, Some(run), PeerBody::Marks(marks), out);
        }
    }

    pub(super) fn plan_mark(&self, partition: TopicPartition, node: NodeId) -> Option<(Mark, PeerRun)> {
        let replica = self.replicas.get(&partition)?;
        let (mark, peer) = mark_of(partition, replica, node)?;
        let progress = replica.leader()?.followers().get(&node)?;
        let (high_watermark, log) = (replica.high_watermark(), replica.log());
        // A follower that cannot be brought further is told so: it opens a session that resets it.
        let is_due = progress.is_quiet(log.end()) && progress.needs_mark(high_watermark, log.start());
        (is_due || progress.is_below(log)).then_some((mark, peer))
    }

    /// Timer: somebody in the ISR may have fallen behind.
    pub(super) fn on_lag(&mut self, partition: TopicPartition, out: &mut Outputs) {
        self.review_isr(partition, out);
        let lag_ms = self.config.timings.replica_lag_ms_max;
        let now = self.now.mono;
        let Some(replica) = self.replicas.get(&partition) else { return };
        let deadline = replica.leader().and_then(|leader| leader.lag_deadline(lag_ms, replica.log().end()));
        if let Some(deadline) = deadline {
            self.timers.arm_by(deadline.max(now + self.config.timings.resend_ms), Timer::Lag(partition));
        }
    }

    /// Proposes another ISR to the controller, where it should be another one (KIP-497).
    pub(super) fn review_isr(&mut self, partition: TopicPartition, out: &mut Outputs) {
        let (me, now) = (self.config.node_id, self.now.mono);
        let lag_ms = self.config.timings.replica_lag_ms_max;
        let Some(broker_epoch) = self.membership.broker_epoch else { return };
        let Some(replica) = self.replicas.get(&partition) else { return };
        let Some(leader) = replica.leader() else { return };
        let ends = (replica.log().end(), replica.high_watermark());
        let brokers = self.committed.brokers();
        // KIP-841, KIP-903: a fenced broker, or another run of it, would be refused.
        let eligible = |node: NodeId| {
            let session = leader.followers().get(&node).and_then(|progress| progress.session());
            brokers.get(&node).is_some_and(|broker| {
                let registered = PeerRun { incarnation: broker.incarnation, run: broker.run };
                broker.is_active() && session.is_some_and(|(_, peer)| peer == registered)
            })
        };
        let Some(isr) = leader.plan_isr(me, now, lag_ms, ends, eligible) else { return };
        let members = isr.iter().filter_map(|node| Some((*node, brokers.get(node)?.epoch)));
        let lost = leader.followers().iter().filter(|(_, progress)| progress.has_lost());
        let alter = AlterPartition {
            broker_epoch,
            partition,
            epoch: leader.epoch,
            partition_epoch: leader.partition_epoch,
            isr: members.collect(),
            lost: lost.map(|(&node, _)| node).collect(),
        };
        if let Some((leader, _)) = self.replicas.get_mut(&partition).and_then(Replica::leader_mut) {
            leader.on_proposed(now, &isr);
        }
        self.proposing.insert(partition);
        self.arm_resend();
        self.send_to_controller(PeerBody::AlterPartition(alter), out);
    }

    /// Proposals that nobody answered: the controller may have changed (C14).
    pub(super) fn resend_proposals(&mut self, out: &mut Outputs) {
        let (now, resend_ms) = (self.now.mono, self.config.timings.resend_ms);
        for partition in self.proposing.next_turn() {
            self.proposing.remove(partition);
            let leads = self.replicas.get_mut(&partition).and_then(Replica::leader_mut);
            let Some((leader, _)) = leads else { continue };
            match leader.asked_at() {
                Some(at) if now - at < resend_ms => {
                    self.proposing.insert(partition);
                }
                Some(_) => {
                    leader.on_undecided();
                    self.review_isr(partition, out);
                }
                None => self.review_isr(partition, out),
            }
        }
    }

    /// The controller refuses: asked again later, when its image and this one may agree.
    pub(super) fn on_alter_refused(&mut self, partition: TopicPartition, partition_epoch: PartitionEpoch) {
        let leads = self.replicas.get_mut(&partition).and_then(Replica::leader_mut);
        if let Some((leader, _)) = leads
            && leader.partition_epoch == partition_epoch
        {
            leader.on_undecided();
            self.proposing.insert(partition);
            self.arm_resend();
        }
    }

    /// Bytes on their way to followers of a partition that is no longer led count no more.
    pub(super) fn close_sessions(&mut self, partition: TopicPartition) {
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let Some((leader, _)) = replica.leader_mut() else { return };
        let freed: Vec<(NodeId, u64)> =
            leader.followers_mut().map(|(node, progress)| (node, progress.close())).collect();
        for (node, bytes) in freed {
            let peer = self.peers.entry(node).or_default();
            peer.in_flight_bytes = peer.in_flight_bytes.saturating_sub(bytes);
            peer.busy.remove(partition);
        }
        self.timers.disarm(Timer::Lag(partition));
        self.proposing.remove(partition);
    }
}

/// What there is to tell a follower whose session is open.
fn mark_of(partition: TopicPartition, replica: &Replica, node: NodeId) -> Option<(Mark, PeerRun)> {
    let leader = replica.leader()?;
    let (number, peer) = leader.followers().get(&node)?.session()?;
    let mark = Mark {
        partition,
        epoch: leader.epoch,
        number,
        high_watermark: replica.high_watermark(),
        log_start: replica.log().start(),
        tombstones_gone_to: replica.log().tombstones_gone_to(),
        end: replica.log().end(),
    };
    Some((mark, peer))
}
