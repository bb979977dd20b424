//! Following: this node copies partitions from their leaders (SAFETY R1, R4).

use super::Broker;
use super::journal::Deferred;
use super::peers::InTurns;
use crate::ids::{LeaderEpoch, NodeId, Offset, SessionNumber, TopicPartition};
use crate::museum::exhibit;
use crate::output::Outputs;
use crate::peer::{Ack, Append, Mark, OpenAnswer, OpenReply, PeerBody};
use crate::records::{ProducedBatch, rest_of_empty};
use crate::replica::progress::PeerRun;
use crate::replica::session::{Intake, cut_point};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Partitions whose sessions are being opened here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Opening {
    all: InTurns,
    /// Those of them whose leader may not have been asked: most wait for the disk.
    unasked: BTreeSet<TopicPartition>,
}

impl Opening {
    fn insert(&mut self, partition: TopicPartition) {
        self.all.insert(partition);
        self.unasked.insert(partition);
    }

    pub(super) fn remove(&mut self, partition: TopicPartition) {
        self.all.remove(partition);
        self.unasked.remove(&partition);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn unasked(&self) -> impl Iterator<Item = TopicPartition> {
        self.unasked.iter().copied()
    }
}

impl Broker {
    /// Opens the session of a partition with its leader, or tries again later.
    pub(super) fn open_session(&mut self, partition: TopicPartition, out: &mut Outputs) {
        let number = SessionNumber(self.next_number());
        let is_writable = self.is_writable();
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let settled = replica.durable().is_settled();
        let start = replica.log().start();
        if replica.session().is_none() {
            return;
        }
        self.opening.insert(partition);
        self.timers.arm_by(self.now.mono + self.config.timings.resend_ms, super::timers::Timer::Resend);
        // An end is named only once it is on disk, and no message leaves before the run is known to the controller.
        if !settled || self.membership.broker_epoch.is_none() {
            return;
        }
        if self.is_given_up_and_counted_on(partition) {
            return; // Nothing of it goes before ISR and ELR are left, and the epoch in which it was given up is over.
        }
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        if replica.damage().is_some() && is_writable {
            // What is left of it proves nothing (SAFETY J5): the leader has the rest, and this too.
            self.reset_log(partition, (start, Offset::ZERO), Vec::new(), out);
            return;
        }
        let Some((session, log)) = replica.session_mut() else { return };
        let leader = session.leader();
        let open = session.ask(partition, number, log);
        self.opening.unasked.remove(&partition);
        self.send(leader, None, PeerBody::Open(open), out);
    }

    /// Attempts that were not answered are made again.
    pub(super) fn resend_opens(&mut self, out: &mut Outputs) {
        for partition in self.opening.all.next_turn() {
            self.opening.remove(partition);
            self.open_session(partition, out);
        }
    }

    pub(super) fn on_open_reply(&mut self, from: NodeId, peer: PeerRun, reply: OpenReply, out: &mut Outputs) {
        let partition = reply.partition;
        if !self.is_writable() {
            return;
        }
        let unclean_epoch =
            self.committed.partition(partition).and_then(|partition| partition.state.unclean_epoch);
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let Some((session, log)) = replica.session_mut() else { return };
        if !session.awaits(from, reply.epoch, reply.number) {
            return;
        }
        match reply.answer {
            OpenAnswer::Agreed => {
                session.on_agreed(peer.run);
                self.opening.remove(partition);
                let end = log.end();
                self.trust(partition, out);
                self.acknowledge_log(from, partition, reply.epoch, reply.number, end, None);
            }
            OpenAnswer::Diverges { epoch, end } => {
                let to = cut_point(log, epoch, end);
                let (start, log_end) = (log.start(), log.end());
                if unclean_epoch.is_some() && to < log_end && self.topic_settings(partition).is_compacted {
                    // The cut may fall into an empty batch, whose first offsets nothing would say then.
                    self.reset_log(partition, (start, Offset::ZERO), Vec::new(), out);
                    return;
                }
                let Some(replica) = self.replicas.get_mut(&partition) else { return };
                let was_cut = replica.cut(partition, to, unclean_epoch);
                if let Some(entry) = was_cut {
                    self.journal(entry, out);
                    self.open_session(partition, out);
                }
            }
            OpenAnswer::Reset { start, epoch, tombstones_gone_to, bytes, from: at, total } => {
                match session.on_reset_part(start, epoch, (at, total), &bytes) {
                    Some(whole) => {
                        self.reset_log(partition, (whole.start, tombstones_gone_to), whole.bytes, out);
                    }
                    None => self.open_session(partition, out),
                }
            }
            // The metadata will say who leads.
            OpenAnswer::NotLeader { .. } => {}
        }
    }

    /// Begins the log anew, empty. The session opens once that is on disk.
    fn reset_log(
        &mut self,
        partition: TopicPartition,
        (start, tombstones_gone_to): (Offset, Offset),
        producers: Vec<u8>,
        out: &mut Outputs,
    ) {
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let entry = replica.reset(partition, (start, tombstones_gone_to), producers);
        let lsn = self.journal(entry, out);
        if let Some(replica) = self.replicas.get_mut(&partition) {
            replica.reset_as(lsn);
        }
        self.journal.data.push_back((lsn, partition));
        self.opening.insert(partition);
        self.after_sync(lsn, Deferred::LogStart { partition, start }, out);
    }

    /// A leader's records.
    pub(super) fn on_replica_append(
        &mut self,
        from: NodeId,
        peer: PeerRun,
        append: &Append,
        batches: &[ProducedBatch],
        out: &mut Outputs,
    ) {
        let partition = append.partition;
        if !self.is_writable() {
            return;
        }
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let Some(session) = replica.session() else { return };
        let durable = replica.durable().end();
        let end = replica.log().end();
        match session.intake(from, peer.run, append, replica.log()) {
            Intake::Stale => {}
            Intake::Gap => {
                self.acknowledge_log(from, partition, append.epoch, append.number, durable, Some(end));
            }
            Intake::Reopen => {
                if let Some((session, _)) = replica.session_mut() {
                    session.reopen();
                }
                self.open_session(partition, out);
            }
            Intake::Take => {
                let took = self.take_batches(partition, append, batches, out);
                let Some(replica) = self.replicas.get_mut(&partition) else { return };
                if replica.on_leader_high_watermark(append.high_watermark) {
                    self.moved.push(partition);
                }
                self.advance_start(partition, append.log_start, out);
                if !took {
                    self.acknowledge_log(from, partition, append.epoch, append.number, durable, None);
                }
            }
        }
    }

    /// Appends what is not there yet. `false`: everything was.
    fn take_batches(
        &mut self,
        partition: TopicPartition,
        append: &Append,
        batches: &[ProducedBatch],
        out: &mut Outputs,
    ) -> bool {
        let segment = self.segment_limits(partition);
        let mut took = false;
        for batch in batches {
            let Some(replica) = self.replicas.get_mut(&partition) else { return took };
            let end = replica.log().end();
            // A12: what is all there already still cuts off what comes behind it.
            if exhibit!(A12, false, batch.header.next_offset() < end) {
                let entry = replica.cut_without_asking(partition, batch.header.next_offset());
                self.journal(entry, out);
                continue;
            }
            if batch.header.next_offset() <= end {
                continue;
            }
            // The leader has cleaned its log since this one was copied.
            let rest = rest_of_empty(&batch.header, end);
            let batch = rest.as_ref().unwrap_or(batch);
            // A leader of this epoch stamps no newer one, and what it has lies behind what was checked.
            if batch.header.leader_epoch > append.epoch || !replica.log().follows(&batch.header) {
                return took;
            }
            let output = replica.append_copy(partition, batch, self.now.wall, &segment);
            let has_producer = batch.header.has_producer_id();
            let lsn = self.journal_output(output, u64::from(batch.header.batch_bytes), out);
            self.journal.data.push_back((lsn, partition));
            if let Some(replica) = self.replicas.get_mut(&partition) {
                replica.appended_as(lsn);
            }
            if has_producer {
                self.with_producers.insert(partition);
            }
            took = true;
        }
        took
    }

    /// A copied append is on disk: the leader is told.
    pub(super) fn on_copy_durable(&mut self, partition: TopicPartition) {
        let Some(replica) = self.replicas.get(&partition) else { return };
        let Some(session) = replica.session() else { return };
        let (leader, epoch) = (session.leader(), session.epoch());
        if let Some((number, _)) = session.open() {
            let durable = replica.durable().end();
            self.acknowledge_log(leader, partition, epoch, number, durable, None);
        }
    }

    fn acknowledge_log(
        &mut self,
        leader: NodeId,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        number: SessionNumber,
        durable: Offset,
        resend_from: Option<Offset>,
    ) {
        let Some(replica) = self.replicas.get(&partition) else { return };
        let (high_watermark, log_start) = (replica.high_watermark(), replica.durable_start());
        let ack = Ack { partition, epoch, number, durable, resend_from, high_watermark, log_start };
        self.acknowledge(leader, ack);
    }

    /// Watermarks and log starts that moved.
    pub(super) fn on_marks(&mut self, from: NodeId, peer: PeerRun, marks: &[Mark], out: &mut Outputs) {
        for mark in marks {
            if mark.partition.is_data() {
                self.on_mark(from, peer, mark, out);
            } else {
                self.on_metadata_mark(from, peer, mark, out);
            }
        }
    }

    fn on_mark(&mut self, from: NodeId, peer: PeerRun, mark: &Mark, out: &mut Outputs) {
        let Some(replica) = self.replicas.get_mut(&mark.partition) else { return };
        let is_open = replica
            .session()
            .is_some_and(|session| session.is_open_with(from, peer.run, mark.epoch, mark.number));
        if !is_open {
            return;
        }
        if replica.on_leader_high_watermark(mark.high_watermark) {
            self.moved.push(mark.partition);
        }
        let log = replica.log();
        if mark.log_start > log.end() || log.misses_tombstones(mark.tombstones_gone_to) {
            // What comes next for this log is deleted, or tombstones are: only a session that resets it goes on.
            if let Some((session, _)) = replica.session_mut() {
                session.reopen();
            }
            self.open_session(mark.partition, out);
            return;
        }
        let (end, durable) = (replica.log().end(), replica.durable().end());
        self.advance_start(mark.partition, mark.log_start, out);
        let resend_from = (mark.end > end).then_some(end);
        self.acknowledge_log(from, mark.partition, mark.epoch, mark.number, durable, resend_from);
    }

    /// A leader agrees with what this log holds: it is in doubt no longer (SAFETY J4). Should it hold less than was
    /// acknowledged, the leader takes it out of the ISR.
    pub(super) fn trust(&mut self, partition: TopicPartition, out: &mut Outputs) {
        if self.doubtful.remove(&partition) {
            self.journal(crate::journal::Entry::Trusted { partition }, out);
        }
    }
}
