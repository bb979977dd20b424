//! When the judges look: at every entry, message and answer that leaves a broker, and at what a step made of it. What they ask
//! of one node is in `judges::witness`; here is what takes several of them.

use super::World;
use super::node::{Node, State};
use crate::judges::s12::{Acked, Copy};
use crate::judges::sight::Sight;
use crate::judges::truth::Life;
use crate::judges::witness::{Committed, Left, Witness};
use crate::judges::{Judge, s5, s12, s16, s32};
use crate::marks::Mark;
use seedlog_core::broker::Broker;
use seedlog_core::cluster::records::{MetadataRecord, Voter};
use seedlog_core::ids::{Lsn, NodeId, Offset, TopicPartition, Uuid};
use seedlog_core::journal::Entry;
use seedlog_core::output::Output;
use seedlog_core::peer::{Found, PeerBody, PeerMessage};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader};

impl World {
    /// The entries of a step enter the folder's oracle, before anything of the step leaves.
    pub(super) fn take_entries(&mut self, at: usize, outputs: &[Output]) {
        for output in outputs {
            if let Output::Journal { entry, batch } = output {
                if let Entry::Founded { voters, .. } = entry
                    && self.voters.is_empty()
                {
                    self.voters.clone_from(voters);
                }
                self.witness(at, |witness, _| witness.on_entry(entry, batch.as_ref()));
            }
        }
    }

    /// Lets a node come before the judges.
    fn witness<T>(&mut self, at: usize, look: impl FnOnce(&mut Witness<'_>, Option<&Broker>) -> T) -> T {
        let node = &mut self.nodes[at];
        let broker = match &node.state {
            State::Up(process) => Some(&process.broker),
            State::Down | State::Recovering(_) | State::Dead => None,
        };
        let folder = Voter { node_id: node.node_id, incarnation: node.incarnation };
        let mut witness = Witness {
            truth: &mut self.truth,
            oracle: &mut node.oracle,
            register: &self.register,
            marks: &mut self.marks,
            who: (Life { machine: at, life: node.life }, folder),
            configured: self.plan.nodes.len(),
            heard: Vec::new(),
        };
        let seen = look(&mut witness, broker);
        for (judge, says) in witness.heard {
            self.hear(judge, at, Err(says));
        }
        seen
    }

    /// Looks at what a step changed.
    pub(super) fn observe(&mut self, at: usize) {
        let State::Up(process) = &mut self.nodes[at].state else { return };
        for sight in process.seen.look(&process.broker) {
            self.on_sight(at, &sight);
        }
    }

    fn on_sight(&mut self, at: usize, sight: &Sight) {
        if let Sight::Committed(end) = sight {
            while let Some(committed) = self.witness(at, |witness, _| witness.commit_next(*end)) {
                self.on_metadata_committed(&committed);
            }
        }
        let left = self.witness(at, |witness, broker| {
            broker.map_or(Left::Nothing, |broker| witness.on_sight(sight, broker))
        });
        match left {
            Left::Nothing => {}
            Left::LeadsQuorum => {
                if self.is_true_elsewhere(at, |broker| broker.quorum().leading().is_some()) {
                    self.mark(Mark::TwoQuorumLeaders);
                }
                self.on_quorum_led(at);
            }
            Left::Leads(partition) => {
                let leads = |broker: &Broker| {
                    broker.replicas().get(&partition).is_some_and(|replica| replica.leader().is_some())
                };
                if self.is_true_elsewhere(at, leads) {
                    self.mark(Mark::TwoLeaders);
                }
            }
            Left::Grown(partition) => {
                if let Sight::Watermark { members, .. } = sight {
                    self.judge_backed(at, partition, members);
                }
                self.judge_candidates(partition);
            }
        }
    }

    fn is_true_elsewhere(&self, at: usize, is_true: impl Fn(&Broker) -> bool) -> bool {
        (0..self.nodes.len()).filter(|&other| other != at).any(|other| match &self.nodes[other].state {
            State::Up(process) => is_true(&process.broker),
            State::Down | State::Recovering(_) | State::Dead => false,
        })
    }

    fn on_metadata_committed(&mut self, committed: &Committed) {
        for record in MetadataRecord::decode(&committed.records).unwrap_or_default() {
            if let MetadataRecord::Voters { voters } = record {
                self.on_voters_committed(voters);
            } else if let MetadataRecord::RegisterBroker { node_id, incarnation, run, .. } = record {
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
        for &partition in &committed.touched {
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
    #[expect(clippy::wildcard_enum_match_arm, reason = "only what concerns the question is looked at")]
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
        let leads = |node: &Node| match &node.state {
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
        let durable_of =
            |node: &Node| if node.flushes_always() { node.oracle.durable } else { Lsn(u64::MAX) };
        let copy = |node| Copy { log: Node::log(node, partition), durable: durable_of(node) };
        let own = &self.nodes[at];
        // A duplicate may be acknowledged after a bit of its group was flipped.
        let is_hit = !own.oracle.flips.is_empty();
        let own = Acked { own: copy(own), is_hit, partition, base, acks };
        let said = s12::check_produced(&mut self.truth, own, self.nodes.iter().map(copy));
        self.hear(Judge::S12, at, said);
    }
}
