//! When the judges look: at every entry, message and answer that leaves a broker, and at what a step made of it. What changed
//! since the step before is told by a comparison with what was seen then, so that a look costs the partitions of one node.

use super::World;
use super::node::State;
use crate::judges::oracle::partition_of;
use crate::judges::s12::Copy;
use crate::judges::truth::{Life, TrueBatch, image_hash};
use crate::judges::{Judge, q1, s1, s2, s5, s6, s7, s9, s12, s13, s16, s25, s32};
use crate::marks::Mark;
use bytes::Bytes;
use seedlog_core::cluster::records::{MetadataRecord, Voter};
use seedlog_core::ids::{LeaderEpoch, Lsn, NodeId, Offset, PartitionEpoch, TopicPartition, Uuid};
use seedlog_core::journal::Entry;
use seedlog_core::output::Output;
use seedlog_core::peer::{Found, PeerBody, PeerMessage};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What was seen of a broker after its last step.
#[derive(Debug, Default)]
pub(super) struct Seen {
    term: LeaderEpoch,
    leads_quorum: bool,
    committed: Offset,
    image_end: Offset,
    replicas: BTreeMap<TopicPartition, SeenReplica>,
    /// In which epoch a session was asked for last.
    opened: BTreeMap<TopicPartition, LeaderEpoch>,
    /// What was answered of partitions.
    pub(super) published: BTreeMap<TopicPartition, s6::Before>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct SeenReplica {
    high_watermark: Offset,
    epoch: Option<LeaderEpoch>,
    leads: Option<(LeaderEpoch, PartitionEpoch)>,
}

/// What a step changed.
enum Sight {
    Term {
        before: LeaderEpoch,
        now: LeaderEpoch,
    },
    LeadsQuorum(LeaderEpoch),
    Committed(Offset),
    Image {
        end: Offset,
        hash: u64,
    },
    Epoch {
        partition: TopicPartition,
        before: LeaderEpoch,
        now: LeaderEpoch,
    },
    Leads {
        partition: TopicPartition,
        epoch: LeaderEpoch,
    },
    /// With the leader's maximal ISR, if it is a leader's, each with its folder as the leader knows it.
    Watermark {
        partition: TopicPartition,
        end: Offset,
        members: Vec<(NodeId, Uuid)>,
    },
}

impl World {
    /// The entries of a step enter the folder's oracle, before anything of the step leaves.
    pub(super) fn take_entries(&mut self, at: usize, outputs: &[Output]) {
        for output in outputs {
            if let Output::Journal { entry, batch } = output {
                self.on_entry(at, entry, batch.as_ref());
            }
        }
    }

    fn on_entry(&mut self, at: usize, entry: &Entry, batch: Option<&(BatchHeader, Bytes)>) {
        self.judge_entry(at, entry);
        let mut shadow = None;
        if let (Some(partition), Some((header, bytes))) = (partition_of(entry), batch) {
            match self.truth.log_mut(partition).named.name(header, bytes) {
                Ok(named) => {
                    let produced = self.register.check(named.payload, header.base_offset);
                    self.hear(Judge::S24, at, produced);
                    shadow = Some(named);
                }
                Err(says) => {
                    self.hear(Judge::S2, at, Err(format!("{partition}: {says}")));
                    shadow = Some(Rc::new(crate::judges::oracle::shadow_of(header, bytes)));
                }
            }
        }
        let oracle = &mut self.nodes[at].oracle;
        let lsn = oracle.end().next();
        oracle.on_entry(lsn, entry, shadow);
    }

    fn judge_entry(&mut self, at: usize, entry: &Entry) {
        match entry {
            Entry::Cut { partition, to } => {
                let truth = self.truth.log_mut(*partition);
                let log = self.nodes[at].oracle.logs.entry(*partition).or_default();
                let had = log.end() > *to;
                let said = s7::check_cut(truth, log, *to).map_err(|says| format!("{partition}: {says}"));
                self.hear(Judge::S7, at, said);
                if had {
                    self.mark(Mark::FollowerCut);
                }
            }
            Entry::Reset { partition, start, .. } => {
                let truth = self.truth.log_mut(*partition);
                let log = self.nodes[at].oracle.logs.entry(*partition).or_default();
                let said = s7::check_cut(truth, log, *start).map_err(|says| format!("{partition}: {says}"));
                self.hear(Judge::S7, at, said);
                self.mark(Mark::LogReset);
            }
            Entry::MetadataCut { to } => {
                let committed = i64::try_from(self.truth.entries.len()).unwrap_or(i64::MAX);
                self.match_metadata(at);
                let matched = self.nodes[at].oracle.metadata.matched.min(committed);
                let node = &self.nodes[at];
                let me = Voter { node_id: node.node_id, incarnation: node.incarnation };
                // An observer's copy counts for nothing: a leader may ask it to begin earlier than it would have to.
                if to.0 < matched && self.truth.image.voters().contains(&me) {
                    let says =
                        format!("the metadata log is cut at {to}, and what is below {matched} is committed");
                    self.hear(Judge::S7, at, Err(says));
                }
            }
            Entry::MetadataImage { from: 0, .. } => self.mark(Mark::MetadataSnapshot),
            Entry::Trusted { .. } => self.mark(Mark::DoubtResolved),
            Entry::Founded { cluster_id, voters } => {
                let said = q1::check(voters, self.plan.nodes.len());
                self.hear(Judge::Q1, at, said);
                self.truth.on_founded(*cluster_id, voters);
                if let Some(first) = self.truth.cluster.filter(|first| first != cluster_id) {
                    let says = format!("cluster {cluster_id} is founded, and {first} was");
                    self.hear(Judge::Q1, at, Err(says));
                }
            }
            Entry::Append(_)
            | Entry::EpochStart { .. }
            | Entry::Metadata { .. }
            | Entry::MetadataImage { .. }
            | Entry::ProducersExpired { .. }
            | Entry::Dropped { .. }
            | Entry::Dropping { .. }
            | Entry::Started { .. }
            | Entry::Stopped
            | Entry::Vote { .. } => {}
        }
    }

    /// Looks at what a step changed.
    pub(super) fn observe(&mut self, at: usize) {
        for sight in self.sights(at) {
            self.on_sight(at, sight);
        }
    }

    fn sights(&mut self, at: usize) -> Vec<Sight> {
        let State::Up(process) = &mut self.nodes[at].state else { return Vec::new() };
        let (broker, seen) = (&process.broker, &mut process.seen);
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
                let members = leader.map(seedlog_core::replica::Leader::maximal_isr).unwrap_or_default();
                let members =
                    members.into_iter().filter_map(|node| Some((node, brokers.get(&node)?.incarnation)));
                let members = members.collect();
                sights.push(Sight::Watermark { partition, end: now.high_watermark, members });
            }
        }
        sights
    }

    fn on_sight(&mut self, at: usize, sight: Sight) {
        match sight {
            Sight::Term { before, now } if now < before => {
                self.hear(Judge::S11, at, Err(format!("its term goes back from {before} to {now}")));
            }
            Sight::Term { .. } => {}
            Sight::LeadsQuorum(term) => self.on_quorum_leader(at, term),
            Sight::Committed(end) => self.on_committed(at, end),
            Sight::Image { end, hash } => {
                let index = usize::try_from(end.0 - 1).ok();
                let known = index.and_then(|index| self.truth.entries.get(index)).map(|entry| entry.image);
                let said = match known {
                    Some(image) if image == hash => Ok(()),
                    Some(_) => {
                        Err(format!("its image of the metadata up to {end} is not the one that others have"))
                    }
                    None if end == Offset::ZERO => Ok(()),
                    None => Err(format!("it acts on metadata up to {end}, which is not committed")),
                };
                self.hear(Judge::S15, at, said);
            }
            Sight::Epoch { partition, before, now } => {
                if now < before {
                    let says = format!("{partition}: its leader epoch goes back from {before} to {now}");
                    self.hear(Judge::S11, at, Err(says));
                }
            }
            Sight::Leads { partition, epoch } => self.on_partition_leader(at, partition, epoch),
            Sight::Watermark { partition, end, members } => self.on_watermark(at, partition, end, &members),
        }
    }

    fn life(&self, at: usize) -> Life {
        Life { machine: at, life: self.nodes[at].life }
    }

    fn match_metadata(&mut self, at: usize) -> Option<i64> {
        let metadata = &mut self.nodes[at].oracle.metadata;
        while let Some(own) = metadata.at(metadata.matched)
            && let Some(held) =
                usize::try_from(metadata.matched).ok().and_then(|at| self.truth.entries.get(at))
        {
            if (own.epoch, own.hash) != (held.epoch, held.hash) {
                return Some(metadata.matched);
            }
            metadata.matched += 1;
        }
        None
    }

    fn on_quorum_leader(&mut self, at: usize, term: LeaderEpoch) {
        let life = self.life(at);
        let said = s16::check_leader(&mut self.truth.terms, term, life);
        if let Err((judge, says)) = said {
            self.hear(judge, at, Err(format!("the quorum: {says}")));
        }
        self.match_metadata(at);
        let committed = i64::try_from(self.truth.entries.len()).unwrap_or(i64::MAX);
        let matched = self.nodes[at].oracle.metadata.matched;
        let has_successor = self.truth.terms.keys().next_back().is_some_and(|latest| *latest > term);
        if matched < committed && !has_successor {
            let says = format!(
                "the quorum's leader of term {term} lacks entry {matched} of the metadata; what is below {committed} is committed"
            );
            self.hear(Judge::S1, at, Err(says.clone()));
            self.hear(Judge::S3, at, Err(says));
        }
        let others = (0..self.nodes.len()).filter(|&other| other != at);
        let mut leaders = others.filter(|&other| match &self.nodes[other].state {
            State::Up(process) => process.broker.quorum().leading().is_some(),
            State::Down | State::Recovering(_) | State::Dead => false,
        });
        if leaders.next().is_some() {
            self.mark(Mark::TwoQuorumLeaders);
        }
    }

    /// A node takes the metadata up to `end` for committed.
    fn on_committed(&mut self, at: usize, end: Offset) {
        if let Some(offset) = self.match_metadata(at).filter(|offset| *offset < end.0) {
            let says = format!(
                "entry {offset} of the metadata is committed, and this node has another one committed"
            );
            self.hear(Judge::S2, at, Err(says));
            return;
        }
        loop {
            let next = i64::try_from(self.truth.entries.len()).unwrap_or(i64::MAX);
            if next >= end.0 {
                break;
            }
            let Some(held) = self.nodes[at].oracle.metadata.at(next).cloned() else {
                let says = format!(
                    "metadata up to {end} counts as committed, and this node does not have entry {next}"
                );
                self.hear(Judge::S4, at, Err(says));
                return;
            };
            let (of_elr, unclean) =
                self.truth.elections(&MetadataRecord::decode(&held.records).unwrap_or_default());
            for (mark, hit) in [(Mark::ElrElected, of_elr), (Mark::UncleanElected, unclean)] {
                if hit {
                    self.mark(mark);
                }
            }
            match self.truth.commit(held.epoch, &held.records) {
                Ok(touched) => self.on_metadata_committed(&held.records, &touched),
                Err(says) => self.hear(Judge::S15, at, Err(says)),
            }
            self.nodes[at].oracle.metadata.matched = next + 1;
        }
    }

    fn on_metadata_committed(&mut self, records: &[u8], touched: &[TopicPartition]) {
        for record in MetadataRecord::decode(records).unwrap_or_default() {
            if let MetadataRecord::RegisterBroker { node_id, incarnation, run, .. } = record {
                for node in &mut self.nodes {
                    let is_this = match &node.state {
                        State::Up(process) => process.broker.run() == run,
                        State::Down | State::Recovering(_) | State::Dead => false,
                    };
                    if node.node_id == node_id && node.incarnation == incarnation && is_this {
                        node.is_suspect = false;
                    }
                }
            }
        }
        for &partition in touched {
            let said = s13::check(&self.truth.image, partition);
            self.hear(Judge::S13, 0, said);
            self.mark_state(partition);
            self.judge_candidates(partition);
        }
    }

    fn mark_state(&mut self, partition: TopicPartition) {
        let Some(held) = self.truth.image.partition(partition) else { return };
        let alone = held.replicas.len() > 1 && held.state.isr.len() == 1;
        let (has_elr, doubts) = (!held.state.elr.is_empty(), !held.state.doubts.is_empty());
        for (mark, hit) in
            [(Mark::IsrOfOne, alone), (Mark::HasElr, has_elr), (Mark::DoubtsInMetadata, doubts)]
        {
            if hit {
                self.mark(mark);
            }
        }
    }

    fn judge_epochs(&mut self, at: usize, partition: TopicPartition) {
        let node = &self.nodes[at];
        let State::Up(process) = &node.state else { return };
        let Some(replica) = process.broker.replicas().get(&partition) else { return };
        let Some(log) = node.log(partition).filter(|log| !log.given_up && replica.damage().is_none()) else {
            return;
        };
        let said = s9::check(replica.log(), log).map_err(|says| format!("{partition}: {says}"));
        self.hear(Judge::S9, at, said);
    }

    fn on_partition_leader(&mut self, at: usize, partition: TopicPartition, epoch: LeaderEpoch) {
        self.judge_epochs(at, partition);
        let life = self.life(at);
        let truth = self.truth.log_mut(partition);
        let led = s16::check_leader(&mut truth.leaders, epoch, life);
        let log = self.nodes[at].oracle.logs.entry(partition).or_default();
        let complete = s1::check_leader(truth, log, partition, epoch);
        if let Err((judge, says)) = led {
            self.hear(judge, at, Err(format!("{partition}: {says}")));
        }
        if let Err((judge, says)) = complete {
            self.hear(judge, at, Err(says));
        }
        let leads = |other: usize| match &self.nodes[other].state {
            State::Up(process) => {
                process.broker.replicas().get(&partition).is_some_and(|replica| replica.leader().is_some())
            }
            State::Down | State::Recovering(_) | State::Dead => false,
        };
        if (0..self.nodes.len()).any(|other| other != at && leads(other)) {
            self.mark(Mark::TwoLeaders);
        }
    }

    fn on_watermark(
        &mut self,
        at: usize,
        partition: TopicPartition,
        end: Offset,
        members: &[(NodeId, Uuid)],
    ) {
        let truth = self.truth.log_mut(partition);
        if truth.is_beyond {
            return;
        }
        let log = self.nodes[at].oracle.logs.entry(partition).or_default();
        if log.given_up {
            return;
        }
        if let Err(says) = s2::check_committed(truth, log, end) {
            self.hear(Judge::S2, at, Err(format!("{partition}: {says}")));
            return;
        }
        if log.end() < end {
            let says = format!("{partition}: its watermark is {end}, and its log ends at {}", log.end());
            self.hear(Judge::S4, at, Err(says));
            return;
        }
        let mut sequences = Ok(());
        let grew = truth.end() < end;
        while truth.end() < end
            && let Some(held) = log.batches.get(truth.batches.len())
        {
            sequences = sequences.and_then(|()| s25::check_next(&mut truth.producers, &held.batch));
            truth.batches.push(TrueBatch { batch: Rc::clone(&held.batch), acked: false, served: false });
            log.matched = truth.batches.len();
        }
        self.hear(Judge::S25, at, sequences.map_err(|says| format!("{partition}: {says}")));
        self.judge_epochs(at, partition);
        if grew {
            self.judge_backed(at, partition, members);
            self.judge_candidates(partition);
        }
    }

    /// The machine that has a folder.
    fn machine_with(&self, node_id: NodeId, incarnation: Uuid) -> Option<usize> {
        self.nodes.iter().position(|node| node.node_id == node_id && node.incarnation == incarnation)
    }

    fn judge_backed(&mut self, at: usize, partition: TopicPartition, members: &[(NodeId, Uuid)]) {
        for &(node_id, incarnation) in members {
            // A folder that is lost had what it acknowledged.
            let Some(machine) = self.machine_with(node_id, incarnation) else { continue };
            let node = &mut self.nodes[machine];
            if node.has_dropped(partition) {
                continue;
            }
            let durable = if node.flushes_always() { node.oracle.durable } else { Lsn(u64::MAX) };
            let log = node.oracle.logs.entry(partition).or_default();
            if node.is_suspect || log.given_up {
                continue;
            }
            let truth = &self.truth.logs[&partition];
            let said =
                s5::check_backed(truth, node_id, log, durable).map_err(|says| format!("{partition}: {says}"));
            self.hear(Judge::S5, at, said);
        }
    }

    fn judge_candidates(&mut self, partition: TopicPartition) {
        let Some(held) = self.truth.image.partition(partition) else { return };
        let Some(truth) = self.truth.logs.get(&partition).filter(|log| !log.is_beyond) else { return };
        let brokers = self.truth.image.brokers();
        let candidates = held.state.isr.iter().map(|node| (node, "ISR"));
        let candidates = candidates.chain(held.state.elr.iter().map(|node| (node, "ELR")));
        let mut heard = Vec::new();
        for (&node_id, what) in candidates {
            let Some(incarnation) = brokers.get(&node_id).map(|broker| broker.incarnation) else { continue };
            let found =
                self.nodes.iter().position(|node| node.node_id == node_id && node.incarnation == incarnation);
            let Some(machine) = found else { continue };
            let node = &mut self.nodes[machine];
            if node.has_dropped(partition) {
                continue; // It knows more of the metadata than is looked at here: the topic is gone.
            }
            let log = node.oracle.logs.entry(partition).or_default();
            if !node.is_suspect && !log.given_up {
                let said = s5::check_candidate(truth, node_id, log, what);
                heard.push((machine, said.map_err(|says| format!("{partition}: {says}"))));
            }
        }
        for (machine, said) in heard {
            self.hear(Judge::S8, machine, said);
        }
    }

    /// What a node says to another one.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other messages promise nothing that is judged here"
    )]
    pub(super) fn judge_message(&mut self, at: usize, to: NodeId, message: &PeerMessage) {
        match &message.body {
            PeerBody::VoteReply(reply) if reply.is_granted && !reply.is_pre_vote => {
                let said = s16::check_vote(&self.nodes[at].oracle, reply.epoch, to);
                self.hear(Judge::S16, at, said);
            }
            PeerBody::Vote(vote) if !vote.is_pre_vote => {
                let node = &self.nodes[at];
                let said = s16::check_vote(&node.oracle, vote.epoch, node.node_id);
                self.hear(Judge::S16, at, said);
            }
            PeerBody::Acks(acks) => {
                for ack in acks.iter().filter(|ack| ack.partition.is_data()) {
                    self.judge_ack(at, to, ack);
                }
                if acks.iter().any(|ack| ack.resend_from.is_some()) {
                    self.mark(Mark::GapResend);
                }
            }
            PeerBody::Forward(_) => self.mark(Mark::Forwarded),
            PeerBody::Open(open) if open.partition.is_data() && open.reset_bytes.is_none() => {
                let State::Up(process) = &mut self.nodes[at].state else { return };
                if process.seen.opened.insert(open.partition, open.epoch) == Some(open.epoch) {
                    self.mark(Mark::SessionReopened);
                }
            }
            PeerBody::Register(_) => {
                let node = &self.nodes[at];
                let known = self.truth.image.brokers().get(&node.node_id);
                if known.is_some_and(|known| known.incarnation != node.incarnation && !known.fenced) {
                    self.mark(Mark::IdRefused);
                }
            }
            PeerBody::Found(Found::Blank { .. }) if self.now_us > 1_500_000 => {
                self.mark(Mark::WaitedForFounding);
            }
            _ => {}
        }
    }

    fn judge_ack(&mut self, at: usize, to: NodeId, ack: &seedlog_core::peer::Ack) {
        let leads = |node: &super::node::Node| match &node.state {
            State::Up(process) => process
                .broker
                .replicas()
                .get(&ack.partition)
                .is_some_and(|replica| replica.leader().is_some_and(|leader| leader.epoch == ack.epoch)),
            State::Down | State::Recovering(_) | State::Dead => false,
        };
        let Some(leader) = self.nodes.iter().position(|node| node.node_id == to && leads(node)) else {
            return;
        };
        if leader == at {
            return;
        }
        let Ok([leader, follower]) = self.nodes.get_disjoint_mut([leader, at]) else { return };
        let durable = if follower.flushes_always() { follower.oracle.durable } else { Lsn(u64::MAX) };
        let Some(theirs) = leader.oracle.logs.get(&ack.partition) else { return };
        let own = follower.oracle.logs.entry(ack.partition).or_default();
        if own.given_up || theirs.given_up {
            return;
        }
        let said = s32::check_ack(theirs, own, ack.epoch, ack.durable, durable);
        self.hear(Judge::S32, at, said.map_err(|says| format!("{}: {says}", ack.partition)));
    }

    /// A batch that leaves for a peer is one that was appended under its epoch and offset (S33).
    pub(super) fn judge_sent_batch(&mut self, at: usize, message: &PeerMessage, bytes: &[u8]) {
        let PeerBody::Append(append) = &message.body else { return };
        let Ok(header) = BatchHeader::parse(bytes) else {
            self.hear(Judge::S33, at, Err("a peer is sent bytes that are no batch".to_owned()));
            return;
        };
        let whole = crate::judges::oracle::whole_hash(bytes);
        assert!(bytes.len() >= BATCH_HEADER_BYTES, "it was parsed");
        let log = self.truth.log_mut(append.partition);
        let named = log.named.get(header.leader_epoch, header.base_offset);
        if named.is_none_or(|named| named.whole != whole) {
            let says = format!(
                "{}: a peer is sent a batch at offset {} of epoch {}, and none like it was appended there",
                append.partition, header.base_offset, header.leader_epoch
            );
            self.hear(Judge::S33, at, Err(says));
        }
    }

    /// An acknowledgement leaves for a producer.
    pub(super) fn judge_ack_to_client(
        &mut self,
        at: usize,
        partition: TopicPartition,
        base: Offset,
        acks: i16,
    ) {
        let is_beyond = self.truth.is_beyond(partition);
        let durable_of = |node: &super::node::Node| {
            if node.flushes_always() { node.oracle.durable } else { Lsn(u64::MAX) }
        };
        let copy = |node| Copy { log: super::node::Node::log(node, partition), durable: durable_of(node) };
        let image = &self.truth.image;
        let held = image.partition(partition).filter(|_| acks == -1);
        let needed = held.map(|held| {
            let needed = image.topic(partition.topic_id).map_or(1, |topic| topic.min_insync_replicas);
            let lost = held.replicas.iter().filter(|node| self.truth.losers.contains(node)).count();
            usize::try_from(needed).unwrap_or(1).saturating_sub(lost)
        });
        let all = needed.map(|needed| (self.nodes.iter().map(copy), needed));
        let said = s12::check_ack(copy(&self.nodes[at]), all, base);
        // A duplicate may be acknowledged after a bit of its group was flipped.
        let hit = !self.nodes[at].oracle.flips.is_empty();
        if !is_beyond && !hit {
            self.hear(Judge::S12, at, said.map_err(|says| format!("{partition}: {says}")));
        }
        if acks != -1 {
            return;
        }
        match self.truth.log_mut(partition).at_mut(base) {
            Some(held) => held.acked = true,
            None if is_beyond => {}
            None => {
                let says = format!("{partition}: offset {base} is acknowledged by all, and is not committed");
                self.hear(Judge::S12, at, Err(says));
            }
        }
    }
}
