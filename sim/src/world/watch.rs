//! When the judges look: at every entry, message and answer that leaves a broker, and at what a step made of it. What they ask
//! of one node is in `judges::witness`; here is what takes several of them.

use super::World;
use super::node::{Node, State, clock};
use crate::judges::assembly::Folder;
use crate::judges::oracle::Oracle;
use crate::judges::s12::{Acked, Copy};
use crate::judges::sight::{Seen, Sight};
use crate::judges::truth::Life;
use crate::judges::witness::{Committed, Left, Witness};
use crate::judges::{Judge, assembly, s12, s20, s33};
use crate::marks::Mark;
use seedlog_core::broker::Broker;
use seedlog_core::cluster::records::{MetadataRecord, Voter};
use seedlog_core::ids::{Lsn, NodeId, Offset, RunId, TopicPartition};
use seedlog_core::journal::Entry;
use seedlog_core::log::Retention;
use seedlog_core::output::Output;
use seedlog_core::peer::{PeerBody, PeerMessage};

impl Folder for Node {
    fn voter(&self) -> Voter {
        Voter { node_id: self.node_id, incarnation: self.incarnation }
    }

    fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    fn oracle_mut(&mut self) -> &mut Oracle {
        &mut self.oracle
    }

    fn is_suspect(&self) -> bool {
        self.is_suspect
    }

    fn clear(&mut self) {
        self.is_suspect = false;
    }

    fn flushes_always(&self) -> bool {
        Self::flushes_always(self)
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead)
    }

    fn run(&self) -> Option<RunId> {
        match &self.state {
            State::Up(process) => Some(process.broker.run()),
            State::Down | State::Recovering(_) | State::Dead => None,
        }
    }

    fn seen(&self) -> Option<&Seen> {
        match &self.state {
            State::Up(process) => Some(&process.seen),
            State::Down | State::Recovering(_) | State::Dead => None,
        }
    }

    fn seen_mut(&mut self) -> Option<&mut Seen> {
        self.process().map(|process| &mut process.seen)
    }
}

impl World {
    /// The entries of a step enter the folder's oracle, before anything of the step leaves.
    pub(super) fn take_entries(&mut self, at: usize, outputs: &[Output]) {
        for output in outputs {
            if let Output::FindExpired { partition, retention, .. } = output {
                self.judge_retention(at, *partition, *retention);
            }
            if let Output::Journal { entry, batch } = output {
                if let Entry::Founded { voters, .. } = entry
                    && self.voters.is_empty()
                {
                    self.voters.clone_from(voters);
                }
                if let Entry::MetadataCut { .. } = entry
                    && let Some(process) = self.nodes[at].process()
                {
                    process.cuts_metadata = true;
                }
                if assembly::is_taken_over(&self.nodes, at, entry) {
                    self.mark(Mark::StartTakenOver);
                }
                let told = (&mut self.marks, &mut self.bench.history);
                let said =
                    assembly::check_expiry(&mut self.truth, &self.nodes, told, (at, self.now_us), entry);
                self.hear(Judge::S6, at, said);
                self.witness(at, |witness, broker| witness.on_entry(entry, batch.as_ref(), broker));
            }
        }
    }

    /// New segments are on disk: each of their batches is one that the rules let a cleaner make.
    pub(super) fn judge_compaction(&mut self, at: usize, partition: TopicPartition) {
        let node = &mut self.nodes[at];
        let State::Up(process) = &node.state else { return };
        let batches: Vec<_> = process.store.compacted(&node.disk).collect();
        let patience = self.truth.patience;
        for bytes in batches {
            let log = self.truth.log_mut(partition);
            if let Err((judge, says)) = s20::recognise(log, patience, &bytes) {
                self.hear(judge, at, Err(format!("{partition}: a cleaner leaves {says}")));
            }
        }
    }

    fn judge_retention(&mut self, at: usize, partition: TopicPartition, retention: Retention) {
        let clocks = self.nodes[at].clocks();
        let State::Up(process) = &self.nodes[at].state else { return };
        let wall = clock(self.now_us, process.started_us, clocks).wall;
        let kept = assembly::kept_by(process.broker.image(), partition.topic_id);
        let said = assembly::check_retention(&mut self.nodes, at, (partition, retention), kept, Some(wall));
        self.hear(Judge::S6, at, said);
    }

    /// Lets a node come before the judges.
    pub(super) fn witness<T>(
        &mut self,
        at: usize,
        look: impl FnOnce(&mut Witness<'_>, Option<&Broker>) -> T,
    ) -> T {
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
            now_us: self.now_us,
            heard: Vec::new(),
        };
        let seen = look(&mut witness, broker);
        for (judge, says) in witness.heard {
            self.hear(judge, at, Err(says));
        }
        seen
    }

    /// Looks at what a step changed.
    pub(super) fn observe(&mut self, at: usize, outputs: &[Output]) {
        let State::Up(process) = &mut self.nodes[at].state else { return };
        for sight in process.seen.look(&process.broker) {
            self.on_sight(at, &sight);
        }
        // Behind the sights: the watermark may have risen in the same step (seed 1,294 of the whole world).
        for output in outputs {
            if let Output::Compact { order, .. } = output {
                self.witness(at, |witness, _| witness.on_compact(order));
            }
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
                if self.is_true_elsewhere(at, Seen::leads_quorum) {
                    self.mark(Mark::TwoQuorumLeaders);
                }
                self.on_quorum_led(at);
            }
            Left::Leads(partition) => {
                if self.is_true_elsewhere(at, |seen| seen.leads(partition).is_some()) {
                    self.mark(Mark::TwoLeaders);
                }
            }
            Left::Grown(partition) => {
                if let Sight::Watermark { members, .. } = sight {
                    let said = assembly::check_backed(&self.truth, &mut self.nodes, (at, partition), members);
                    self.hear(Judge::S5, at, said);
                }
                self.judge_candidates(partition);
            }
        }
    }

    fn is_true_elsewhere(&self, at: usize, is_true: impl Fn(&Seen) -> bool) -> bool {
        (0..self.nodes.len())
            .filter(|&other| other != at)
            .any(|other| self.nodes[other].seen().is_some_and(&is_true))
    }

    fn on_metadata_committed(&mut self, committed: &Committed) {
        let records = MetadataRecord::decode(&committed.records).unwrap_or_default();
        assembly::clear_registered(&mut self.nodes, &records);
        for record in records {
            if let MetadataRecord::Voters { voters } = record {
                self.on_voters_committed(voters);
            }
        }
        for &partition in &committed.touched {
            self.judge_candidates(partition);
        }
    }

    fn judge_candidates(&mut self, partition: TopicPartition) {
        for (machine, says) in assembly::check_candidates(&self.truth, &mut self.nodes, partition) {
            self.hear(Judge::S8, machine, Err(says));
        }
    }

    /// What a node says to another one.
    pub(super) fn judge_message(&mut self, at: usize, to: NodeId, message: &PeerMessage) {
        let heard = assembly::check_message(&self.truth, &mut self.nodes, &mut self.marks, (at, to), message);
        for (judge, says) in heard {
            self.hear(judge, at, Err(says));
        }
        if assembly::waits_for_founding(message) && self.now_us > 1_500_000 {
            self.mark(Mark::WaitedForFounding);
        }
    }

    /// A batch that leaves for a peer is one that was appended under its epoch and offset (S33).
    pub(super) fn judge_sent_batch(&mut self, at: usize, message: &PeerMessage, bytes: &[u8]) {
        if let PeerBody::Append(append) = &message.body {
            let patience = self.truth.patience;
            let log = self.truth.log_mut(append.partition);
            if let Err((judge, says)) = s33::check_sent(log, patience, append.partition, bytes) {
                self.hear(judge, at, Err(says));
            }
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
        let is_out = matches!(&own.state, State::Up(process) if s12::is_out(&process.broker, partition));
        let own = Acked { own: copy(own), is_out, is_hit, partition, base, acks };
        let said = s12::check_produced(&mut self.truth, own, self.nodes.iter().map(copy));
        self.hear(Judge::S12, at, said);
    }
}
