//! The metadata log between nodes: sessions, entries, acknowledgements, and what happens when an entry is committed.

use super::Broker;
use crate::cluster::image::Image;
use crate::cluster::records::MetadataRecord;
use crate::ids::{LeaderEpoch, NodeId, Offset, SessionNumber, TopicPartition};
use crate::journal::Entry;
use crate::output::Outputs;
use crate::peer::{Ack, Append, Mark, Open, OpenAnswer, OpenReply, PeerBody};
use crate::quorum::log::MetadataEntry;
use crate::replica::progress::{PeerRun, Progress, find_divergence};
use crate::replica::session::{Intake, WholeReset, cut_point};
use alloc::vec::Vec;

/// Bytes of a snapshot in one message.
pub(super) const RESET_PART_BYTES: usize = 256 << 10;

impl Broker {
    /// A node without a leader and without a vote asks around; one with a leader asks again for what was not answered.
    pub(super) fn resend_metadata(&mut self, out: &mut Outputs) {
        if self.quorum.session().is_some_and(|session| session.open().is_none()) {
            self.open_metadata(out);
        } else if self.seeks_leader() {
            self.seek_leader(out);
        }
        let now = self.now.mono;
        let resend_ms = self.config.timings.resend_ms;
        let Some((leader, _)) = self.quorum.leader_mut() else { return };
        let mut followers = Vec::new();
        for (&node, progress) in &mut leader.followers {
            progress.rewind_if_stalled(now, resend_ms);
            followers.push(node);
        }
        for node in followers {
            self.push_metadata(node, out);
            self.mark_metadata(node, out);
        }
    }

    /// A follower lacks entries, or does not know that they are committed: what it was sent may be lost.
    pub(super) fn owes_metadata(&self) -> bool {
        let (committed, quorum) = (self.quorum.committed(), &self.quorum);
        quorum.leading().is_some_and(|leader| {
            leader.followers.iter().any(|(&node, progress)| {
                !progress.is_quiet(quorum.limit_of(node)) || progress.needs_mark(committed, Offset::ZERO)
            })
        })
    }

    /// Somebody has to be asked who leads: nobody tells a node that has no vote.
    pub(super) fn seeks_leader(&self) -> bool {
        let waits = self.quorum.session().is_some_and(|session| session.open().is_none());
        let asks = self.quorum.cluster.is_some() && self.quorum.leader().is_none() && !self.may_stand();
        waits || asks
    }

    /// Asks one of those that may know who leads, another one each time.
    pub(super) fn seek_leader(&mut self, out: &mut Outputs) {
        let configured = self.config.voters.iter().copied();
        // Of the voters that this node knows none may be left: whoever else is there may know more.
        let heard = self.peers.iter().filter(|(_, peer)| peer.is_heard()).map(|(&node, _)| node);
        let mut known: Vec<NodeId> = self.quorum.other_voters().chain(configured).chain(heard).collect();
        known.retain(|&node| node != self.config.node_id);
        known.sort_unstable();
        known.dedup();
        if known.is_empty() {
            return;
        }
        let number = SessionNumber(self.next_number());
        let index = usize::try_from(number.0).unwrap_or(0) % known.len();
        let open = Open {
            partition: TopicPartition::METADATA,
            epoch: self.quorum.epoch(),
            number,
            last_epoch: None,
            end: Offset::ZERO,
            tombstones_gone_to: Offset::ZERO,
            reset_bytes: None,
        };
        self.send(known[index], None, PeerBody::Open(open), out);
    }

    /// Opens the session with the leader of the quorum, or tries again.
    pub(super) fn open_metadata(&mut self, out: &mut Outputs) {
        self.arm_resend();
        if !self.quorum.log.durable().is_settled() {
            return; // An end is named only once it is on disk.
        }
        let number = SessionNumber(self.next_number());
        let Some((session, log)) = self.quorum.session_mut() else { return };
        let leader = session.leader();
        let mut open = session.ask(TopicPartition::METADATA, number, log.log());
        open.last_epoch = (log.log().end() > Offset::ZERO).then(|| log.last_epoch());
        self.send(leader, None, PeerBody::Open(open), out);
    }

    /// The leader's side: a follower opens a session.
    pub(super) fn on_metadata_open(&mut self, from: NodeId, peer: PeerRun, open: &Open, out: &mut Outputs) {
        // A voter that was removed while it stood may be in a later term than the leader, which does not hear of it otherwise.
        self.enter_if_newer(open.epoch, out);
        let leader = self.quorum.leader();
        if leader != Some((self.config.node_id, open.epoch)) {
            self.reply_open(from, peer, open, OpenAnswer::NotLeader { leader }, out);
            return;
        }
        let now = self.now.mono;
        let Some((leader, log)) = self.quorum.leader_mut() else { return };
        leader.heard.insert(from, now);
        let progress = leader.followers.entry(from).or_insert_with(|| Progress::new(now));
        if !progress.is_news(peer, open.number) {
            return;
        }
        // The entry before this log's start is of a later term than the follower's last: the logs part below the start.
        let parts_below = open.last_epoch.is_some_and(|last| last < log.base_epoch());
        let answer = if parts_below { None } else { find_divergence(log.log(), open) };
        match answer {
            Some(answer) => {
                if answer == OpenAnswer::Agreed {
                    progress.on_opened(now, peer, open);
                }
                let is_open = answer == OpenAnswer::Agreed;
                self.reply_open(from, peer, open, answer, out);
                if is_open {
                    // What it has may be what a majority lacked: its acknowledgement of an earlier session was not heard.
                    self.advance_metadata(out);
                    self.push_metadata(from, out);
                    self.mark_metadata(from, out);
                }
            }
            None => self.send_image_part(from, peer, open, out),
        }
    }

    pub(super) fn reply_open(
        &mut self,
        to: NodeId,
        peer: PeerRun,
        open: &Open,
        answer: OpenAnswer,
        out: &mut Outputs,
    ) {
        let reply = OpenReply { partition: open.partition, epoch: open.epoch, number: open.number, answer };
        self.send(to, Some(peer.run), PeerBody::OpenReply(reply), out);
    }

    /// A follower ends below this log's start: it gets the committed image, a part at a time.
    fn send_image_part(&mut self, to: NodeId, peer: PeerRun, open: &Open, out: &mut Outputs) {
        let end = self.committed.end();
        if self.encoded_image.as_ref().is_none_or(|(of, _)| *of != end) {
            // A follower in the middle of an older one goes on with that, as long as this node remembers it.
            let keeps = open.reset_bytes.is_some_and(|(start, _)| {
                self.encoded_image.as_ref().is_some_and(|(of, _)| *of == start)
                    && start >= self.quorum.log.log().start()
            });
            if !keeps {
                let bytes = postcard::to_allocvec(&self.committed)
                    .expect("in-memory serialisation of plain data cannot fail");
                self.encoded_image = Some((end, bytes));
            }
        }
        let Some((start, bytes)) = &self.encoded_image else { return };
        let start = *start;
        let from = match open.reset_bytes {
            Some((of, have)) if of == start => usize::try_from(have).unwrap_or(usize::MAX).min(bytes.len()),
            Some(_) | None => 0,
        };
        let part = &bytes[from..bytes.len().min(from + RESET_PART_BYTES)];
        let answer = OpenAnswer::Reset {
            start,
            epoch: Some(self.quorum.log.epoch_before(start).unwrap_or_else(|| self.quorum.log.last_epoch())),
            tombstones_gone_to: Offset::ZERO,
            bytes: part.to_vec(),
            from: from as u64,
            total: bytes.len() as u64,
        };
        self.reply_open(to, peer, open, answer, out);
    }

    /// The follower's side: an answer came.
    pub(super) fn on_metadata_open_reply(
        &mut self,
        from: NodeId,
        peer: PeerRun,
        reply: OpenReply,
        out: &mut Outputs,
    ) {
        if let OpenAnswer::NotLeader { leader } = reply.answer {
            self.on_leader_hint(leader, out);
            return;
        }
        if !self.is_writable() {
            return;
        }
        let Some((session, log)) = self.quorum.session_mut() else { return };
        if !session.awaits(from, reply.epoch, reply.number) {
            return;
        }
        match reply.answer {
            OpenAnswer::Agreed => {
                session.on_agreed(peer.run);
                let end = log.log().end();
                self.acknowledge_metadata(from, reply.epoch, reply.number, end, None);
            }
            OpenAnswer::Diverges { epoch, end } => {
                let to = cut_point(log.log(), epoch, end);
                // What is committed is in every later leader's log (SAFETY R7); an older start is no place to cut at.
                if to >= self.quorum.committed() {
                    let cut = self.quorum.log.cut(to);
                    self.journal(cut, out);
                    self.quorum.refresh_voters(&self.committed);
                    self.open_metadata(out);
                }
            }
            OpenAnswer::Reset { start, epoch, bytes, from: at, total, tombstones_gone_to: _ } => {
                match session.on_reset_part(start, epoch, (at, total), &bytes) {
                    Some(whole) => self.install_image(whole, out),
                    None => self.open_metadata(out),
                }
            }
            OpenAnswer::NotLeader { .. } => {}
        }
    }

    fn on_leader_hint(&mut self, leader: Option<(NodeId, LeaderEpoch)>, out: &mut Outputs) {
        let Some((leader, epoch)) = leader else { return };
        if epoch < self.quorum.epoch() || leader == self.config.node_id {
            return;
        }
        self.enter_if_newer(epoch, out);
        if self.quorum.epoch() == epoch && self.quorum.leader().is_none() {
            self.follow_quorum(leader, epoch, out);
        }
    }

    /// A snapshot takes the place of this node's metadata.
    fn install_image(&mut self, whole: WholeReset, out: &mut Outputs) {
        let Ok(image) = postcard::from_bytes::<Image>(&whole.bytes) else {
            self.open_metadata(out);
            return;
        };
        if image.end() != whole.start || image.end() <= self.committed.end() {
            self.open_metadata(out);
            return;
        }
        let epoch = whole.epoch.unwrap_or_default();
        let total = whole.bytes.len() as u64;
        for (index, part) in (0..).zip(whole.bytes.chunks(RESET_PART_BYTES)) {
            let entry = Entry::MetadataImage {
                end: whole.start,
                epoch,
                from: index * RESET_PART_BYTES as u64,
                total,
                bytes: part.to_vec(),
            };
            self.journal(entry, out);
        }
        self.quorum.log.reset(whole.start, epoch);
        self.quorum.commit(whole.start);
        self.replace_image(image, out);
        self.answer_all_deleted(out);
        self.quorum.refresh_voters(&self.committed);
        self.open_metadata(out);
    }

    /// Entries of the leader.
    pub(super) fn on_metadata_append(
        &mut self,
        from: NodeId,
        peer: PeerRun,
        append: &Append,
        entries: Vec<(LeaderEpoch, Vec<u8>)>,
        out: &mut Outputs,
    ) {
        let Some(session) = self.quorum.session() else { return };
        let number = append.number;
        match session.intake(from, peer.run, append, self.quorum.log.log()) {
            Intake::Stale => {}
            Intake::Gap => {
                let end = self.quorum.log.log().end();
                let durable = self.quorum.log.durable().end();
                self.acknowledge_metadata(from, append.epoch, number, durable, Some(end));
            }
            Intake::Reopen => {
                if let Some((session, _)) = self.quorum.session_mut() {
                    session.reopen();
                }
                self.open_metadata(out);
            }
            Intake::Take => {
                self.take_entries(append.previous_offset, entries, out);
                let durable = self.quorum.log.durable().end();
                self.acknowledge_metadata(from, append.epoch, number, durable, None);
                self.commit_metadata_up_to(append.high_watermark.min(self.quorum.log.log().end()), out);
            }
        }
    }

    fn take_entries(&mut self, at: Offset, entries: Vec<(LeaderEpoch, Vec<u8>)>, out: &mut Outputs) {
        for (offset, (epoch, records)) in (at.0..).zip(entries) {
            if Offset(offset) < self.quorum.log.log().end() {
                continue; // There already.
            }
            // A leader of a newer release, or none of ours: nothing of it is taken.
            let fits = epoch >= self.quorum.log.last_epoch() && epoch <= self.quorum.epoch();
            let Ok(decoded) = MetadataRecord::decode(&records) else { return };
            if !fits || !self.quorum.may_follow(&decoded) || !self.is_writable() {
                return;
            }
            self.take_entry(MetadataEntry { epoch, records }, &decoded, out);
        }
    }

    pub(super) fn acknowledge_metadata(
        &mut self,
        leader: NodeId,
        epoch: LeaderEpoch,
        number: SessionNumber,
        durable: Offset,
        resend_from: Option<Offset>,
    ) {
        let partition = TopicPartition::METADATA;
        let high_watermark = self.quorum.committed();
        let log_start = Offset::ZERO;
        let ack = Ack { partition, epoch, number, durable, resend_from, high_watermark, log_start };
        self.acknowledge(leader, ack);
    }

    /// A follower says how far it got.
    pub(super) fn on_metadata_ack(&mut self, from: NodeId, peer: PeerRun, ack: &Ack, out: &mut Outputs) {
        let (now, epoch) = (self.now.mono, self.quorum.epoch());
        if ack.epoch != epoch {
            return;
        }
        let Some((leader, log)) = self.quorum.leader_mut() else { return };
        leader.heard.insert(from, now);
        let end = log.log().end();
        let Some(progress) = leader.followers.get_mut(&from) else { return };
        if progress.on_ack(now, peer, ack, end).is_some() {
            self.advance_metadata(out);
            self.push_metadata(from, out);
        }
    }

    /// The metadata log is further on disk, here or elsewhere.
    pub(super) fn advance_metadata(&mut self, out: &mut Outputs) {
        if let Some(end) = self.quorum.majority_end() {
            self.commit_metadata_up_to(end, out);
            let followers: Vec<NodeId> = self
                .quorum
                .leading()
                .map(|leader| leader.followers.keys().copied().collect())
                .unwrap_or_default();
            for node in followers {
                self.push_metadata(node, out);
                self.mark_metadata(node, out);
            }
            self.step_down_if_removed(out);
        }
    }

    /// Sends a follower what it may see and does not have.
    pub(super) fn push_metadata(&mut self, to: NodeId, out: &mut Outputs) {
        let now = self.now.mono;
        let limit = self.quorum.limit_of(to);
        let (epoch, high_watermark) = (self.quorum.epoch(), self.quorum.committed());
        let run_bytes = self.config.peer_window_bytes;
        while let Some((leader, log)) = self.quorum.leader_mut()
            && let Some(progress) = leader.followers.get_mut(&to)
            && let Some(mut push) = progress.plan(log.log(), limit, run_bytes)
            && let Some((number, peer)) = progress.session()
        {
            let entries = log.read(push.from, push.to, push.bytes);
            push.to = push.from.plus(i64::try_from(entries.len()).expect("a few"));
            let bytes = entries.iter().map(|(_, records)| records.len() as u64).sum();
            let append = Append {
                partition: TopicPartition::METADATA,
                epoch,
                number,
                previous_offset: push.from,
                previous_epoch: log.epoch_before(push.from),
                high_watermark,
                log_start: log.log().start(),
            };
            progress.on_sent(now, &push, Some(bytes));
            self.send(to, Some(peer.run), PeerBody::MetadataAppend { append, entries }, out);
            self.arm_resend();
        }
    }

    /// Tells a follower what is committed, if nothing else does.
    fn mark_metadata(&mut self, to: NodeId, out: &mut Outputs) {
        let (epoch, high_watermark) = (self.quorum.epoch(), self.quorum.committed());
        let end = self.quorum.limit_of(to);
        let Some((leader, log)) = self.quorum.leader_mut() else { return };
        let Some(progress) = leader.followers.get(&to) else { return };
        let Some((number, peer)) = progress.session() else { return };
        // How much of it each node keeps is its own business.
        if progress.needs_mark(high_watermark, Offset::ZERO) {
            let partition = TopicPartition::METADATA;
            let log_start = log.log().start();
            let tombstones_gone_to = Offset::ZERO;
            let mark = Mark { partition, epoch, number, high_watermark, log_start, tombstones_gone_to, end };
            self.send(to, Some(peer.run), PeerBody::Marks(alloc::vec![mark]), out);
            self.arm_resend();
        }
    }

    pub(super) fn on_metadata_mark(&mut self, from: NodeId, peer: PeerRun, mark: &Mark, out: &mut Outputs) {
        let is_open = self
            .quorum
            .session()
            .is_some_and(|session| session.is_open_with(from, peer.run, mark.epoch, mark.number));
        if !is_open {
            return;
        }
        self.quorum.heard_at = Some(self.now.mono);
        let end = self.quorum.log.log().end();
        self.commit_metadata_up_to(mark.high_watermark.min(end), out);
        let durable = self.quorum.log.durable().end();
        let resend_from = (mark.end > end).then_some(end);
        self.acknowledge_metadata(from, mark.epoch, mark.number, durable, resend_from);
    }

    /// Everything up to `end` is committed: the image follows, and the node does what the image says.
    pub(super) fn commit_metadata_up_to(&mut self, end: Offset, out: &mut Outputs) {
        if end <= self.quorum.committed() {
            return;
        }
        self.quorum.commit(end);
        while self.committed.end() < end {
            let offset = self.committed.end();
            let records = self.quorum.log.records_at(offset).expect("what is not committed is not trimmed");
            self.on_entry_committed(offset, &records, out);
        }
        self.quorum.log.trim(end, self.config.metadata_entries_max);
        self.trust_metadata(out);
        self.answer_all_deleted(out);
        self.answer_committed(out);
    }

    /// A leader has brought the log past where this node's recovery ended (SAFETY J4).
    fn trust_metadata(&mut self, out: &mut Outputs) {
        if self.quorum.is_doubtful && self.quorum.is_past_doubt() && self.is_writable() {
            self.quorum.is_doubtful = false;
            self.doubtful.remove(&TopicPartition::METADATA);
            self.journal(Entry::Trusted { partition: TopicPartition::METADATA }, out);
        }
    }
}
