//! What a node's driver shows, and what the judges say to it.

use super::machine::{Blow, Machine, State, View};
use super::{Shared, World};
use crate::disk::{Files, SimDisk};
use crate::marks::Own;
use crate::net::now_us;
use seedlog::env::Seen;
use seedlog::store::{OpenReport, Store, StoreOptions};
use seedlog_core::broker::Broker;
use seedlog_core::cluster::records::MetadataRecord;
use seedlog_core::door::{Acks, ClientBody};
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{ConnId, Lsn, NodeId, Offset, RequestNumber, TopicPartition, Uuid};
use seedlog_core::input::Input;
use seedlog_core::output::{Output, Outputs, StoreCommand};
use seedlog_core::peer::{HEADER_BYTES_MAX, PeerBody, PeerMessage};
use seedlog_core::recovered::{Recovered, lost_offsets};
use seedlog_core::wire::{ProduceResponse, Response};
use seedlog_sim::judges::assembly::{self, Folder};
use seedlog_sim::judges::s12::{Acked, Copy};
use seedlog_sim::judges::sight::{Seen as SeenBroker, Sight, resolve};
use seedlog_sim::judges::truth::{Life, partition_of};
use seedlog_sim::judges::witness::{Committed, Left, Witness};
use seedlog_sim::judges::{Judge, s12, s18, s33};
use seedlog_sim::marks::Mark;
use seedlog_sim::trace::{Kind, input_number, read_back_numbers};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What stands for a request among inputs.
const REQUEST: u64 = 1;
/// A node that is not founded by then has waited for others.
const FOUNDING_US: u64 = 1_500_000;

impl Shared {
    /// A node's driver shows something.
    pub fn watch(&self, at: usize, life: u64, seen: Seen<'_>) {
        let blow = {
            let mut world = self.lock();
            if world.machines[at].life != life {
                return;
            }
            world.on_seen(at, seen)
        };
        if let Some(blow) = blow {
            // The rest of this step still runs, and reaches nothing.
            self.strike(at, blow);
        }
    }
}

impl World {
    fn on_seen(&mut self, at: usize, seen: Seen<'_>) -> Option<Blow> {
        match seen {
            Seen::Recovered(recovered, report) => self.on_recovered(at, recovered, report),
            Seen::Input(input) => {
                self.machines[at].step = (input_number(input), 0);
                self.steps += 1;
                self.machines[at].note_acks(input);
                self.on_input(at, input);
                if let Input::StoreDone { op, result: Ok(()) } = input
                    && let Some(mark) = self.machines[at].commands.remove(op)
                {
                    self.mark(mark);
                }
            }
            Seen::Decided(broker, outputs) => self.on_decided(at, broker, outputs),
            Seen::Output(broker, output) => {
                let machine = &mut self.machines[at];
                let taken = machine.step.1;
                if taken > 0 && machine.cut.is_some() && machine.chance.chance(500) {
                    let blow = machine.cut.take();
                    self.note_at(at, Kind::CutShort, [taken, 0, 0]);
                    self.mark(Mark::StepCutShort);
                    return blow;
                }
                self.machines[at].step.1 += 1;
                self.on_output(at, broker, output);
            }
            Seen::Stepped => {
                let (input, outputs) = self.machines[at].step;
                let last = self.machines[at].oracle.end().0;
                self.note_at(at, Kind::Step, [input, outputs, last]);
            }
        }
        None
    }

    fn on_recovered(&mut self, at: usize, recovered: &Recovered, report: &OpenReport) {
        let machine = &mut self.machines[at];
        let end = recovered.end;
        let replayed = machine.oracle.replay(end);
        let wrong = s18::check_outcome(&machine.oracle, &replayed, recovered);
        machine.incarnation = report.identity.incarnation;
        let again = recover_again(&machine.files, machine.node_id());
        let again = again.and_then(|again| s18::check_same(recovered, &again));
        // A bit that was flipped under the page cache is not recovery's doing.
        let again =
            if machine.oracle.flips.is_empty() || machine.files.disk.is_honest() { again } else { Ok(()) };
        let ghosts = &machine.oracle.journal;
        let durable = ghosts.iter().rposition(|ghost| ghost.durable).map_or(0, |last| last as u64 + 1);
        let killed = std::mem::take(&mut machine.killed);
        let has_snapshot = machine.files.disk.lookup("data/snapshot").is_some();
        let (excused, node) = (machine.oracle.unsynced_excused, machine.node);
        let is_gone = machine.oracle.take_over(recovered);
        let interval_loss = is_gone && !machine.flushes_always();
        machine.oracle.on_platter(end);
        machine.state = State::Up;
        let marks = [
            (Mark::PageCacheSurvivedKill, killed && end.0 > durable),
            (Mark::TornTailCut, report.cut),
            (Mark::DamageFound, !report.damage.is_empty()),
            (Mark::PartitionGivenUp, !lost_offsets(recovered).is_empty()),
            (Mark::RecoveredFromSnapshot, has_snapshot),
            (Mark::CleanStart, report.clean && end.0 > 0),
            (Mark::RecoveryRewrote, report.rewritten > 0),
            (Mark::IntervalLoss, interval_loss),
        ];
        if excused {
            // Who was let in before the recovery asked about a log that flush=interval may have lost.
            for client in &mut self.clients {
                if let Some(link) = client.links.get_mut(&node) {
                    link.gives_up = true;
                    link.poke.notify_one();
                }
            }
        }
        for (mark, _) in marks.into_iter().filter(|(_, hit)| *hit) {
            self.mark(mark);
        }
        self.note_at(at, Kind::Recovered, [end.0, report.rewritten as u64, report.damage.len() as u64]);
        self.hear(Judge::S18, at, wrong);
        self.hear(Judge::S18, at, again);
    }

    /// What other nodes say, and what the streams say of them.
    fn on_input(&mut self, at: usize, input: &Input) {
        self.truth.patience.now_us = now_us();
        if let Input::Peer { message, batches } = input {
            let run = self.machines[at].view.map(|view| view.run);
            if message.to_run.is_some_and(|to_run| run.is_some_and(|run| run != to_run)) {
                self.mark(Mark::StaleDropped);
            }
            if let PeerBody::Append(append) = &message.body {
                // Streams change nothing: what arrives is what left.
                for batch in batches {
                    let patience = self.truth.patience;
                    let log = self.truth.log_mut(append.partition);
                    let said = s33::check_sent(log, patience, append.partition, &batch.bytes);
                    if let Err((judge, says)) = said {
                        self.hear(judge, at, Err(says));
                    }
                }
            }
        }
        if let Input::Request { request, .. } = input
            && let ClientBody::DeleteRecords(request) = &request.body
        {
            assembly::on_delete_records(&mut self.truth, Some(&self.machines[at].seen), request);
        }
        if let Input::BatchesRead { op, batches } = input {
            self.note_at(at, Kind::ReadBack, read_back_numbers(*op, batches.as_deref()));
            self.machines[at].reads_back = true;
        }
        if let Input::PeerLost { node } = input {
            self.machines[at].lost.insert(*node);
            self.mark_own(Own::PeerLost);
        }
        if let Input::PeerUp { node } = input
            && self.machines[at].lost.remove(node)
        {
            self.mark_own(Own::PeerBack);
        }
    }

    fn on_output(&mut self, at: usize, broker: &Broker, output: &Output) {
        // What is answered in another step than the request's has waited.
        if self.machines[at].step.0 != REQUEST
            && let Output::Reply { response: Some(reply), .. } = output
        {
            self.mark_refusals(&reply.response);
        }
        if let Output::Send { to, message, .. } = output {
            self.on_message(at, *to, message);
        }
        match output {
            Output::Reply { conn, number, response: Some(reply) } => match &reply.response {
                Response::Produce(produced) => self.judge_acks(at, broker, (*conn, *number), produced),
                Response::Fetch(fetched) => {
                    let machine = &mut self.machines[at];
                    let said = machine.seen.check_published(broker, &machine.oracle, fetched);
                    self.hear(Judge::S6, at, said);
                }
                Response::DeleteRecords(deleted) => {
                    let said = assembly::check_deleted(&mut self.truth, &self.machines, broker, deleted);
                    self.hear(Judge::S6, at, said);
                }
                Response::ListOffsets(_)
                | Response::Metadata(_)
                | Response::ApiVersions(_)
                | Response::CreateTopics(_)
                | Response::DeleteTopics(_)
                | Response::InitProducerId(_)
                | Response::FindCoordinator(_)
                | Response::OffsetCommit(_)
                | Response::OffsetFetch(_)
                | Response::JoinGroup(_)
                | Response::Heartbeat(_)
                | Response::LeaveGroup(_)
                | Response::SyncGroup(_)
                | Response::DescribeGroups(_)
                | Response::ListGroups(_)
                | Response::DeleteGroups(_)
                | Response::OffsetDelete(_)
                | Response::ConsumerGroupHeartbeat(_)
                | Response::ConsumerGroupDescribe(_)
                | Response::OffsetForLeaderEpoch(_)
                | Response::DescribeCluster(_)
                | Response::DescribeTopicPartitions(_)
                | Response::DescribeAcls(_)
                | Response::DescribeLogDirs(_)
                | Response::DescribeClientQuotas(_)
                | Response::DescribeUserScramCredentials(_)
                | Response::DescribeQuorum(_)
                | Response::UpdateFeatures(_)
                | Response::DescribeProducers(_)
                | Response::DescribeConfigs(_)
                | Response::AlterConfigs(_)
                | Response::CreatePartitions(_)
                | Response::ElectLeaders(_)
                | Response::AlterPartitionReassignments(_)
                | Response::ListPartitionReassignments(_)
                | Response::IncrementalAlterConfigs(_)
                | Response::ListConfigResources(_) => {}
            },
            Output::Store { op, command } => {
                let mark = match command {
                    StoreCommand::Snapshot { .. } => Mark::SnapshotTaken,
                    StoreCommand::Drop { .. } => Mark::FilesDropped,
                };
                self.machines[at].commands.insert(*op, mark);
            }
            Output::Journal { .. }
            | Output::Send { .. }
            | Output::Reply { response: None, .. }
            | Output::Close { .. }
            | Output::Read { .. }
            | Output::ReadBatches { .. }
            | Output::FindExpired { .. }
            | Output::Compact { .. }
            | Output::MeasureLogs { .. }
            | Output::Halt { .. } => {}
        }
    }

    fn mark_refusals(&mut self, response: &Response) {
        if let Response::Produce(produced) = response {
            let mut parts = produced.responses.iter().flat_map(|topic| &topic.partition_responses);
            if parts.any(|part| part.error_code == ErrorCode::NotLeaderOrFollower.code()) {
                self.mark(Mark::FencedWithWaiters);
            }
        }
        if let Response::CreateTopics(created) = response
            && created.topics.iter().any(|topic| topic.error_code == ErrorCode::RequestTimedOut.code())
        {
            self.mark(Mark::Undecided);
        }
    }

    /// A node says something to another one.
    fn on_message(&mut self, at: usize, to: NodeId, message: &PeerMessage) {
        let header = message.encode();
        let to_number = u64::try_from(to.0 - 1).unwrap_or(0);
        self.note_at(at, Kind::Send, [to_number, header.len() as u64, u64::from(message.is_bulk())]);
        let heard =
            assembly::check_message(&self.truth, &mut self.machines, &mut self.marks, (at, to), message);
        for (judge, says) in heard {
            self.hear(judge, at, Err(says));
        }
        if header.len() > HEADER_BYTES_MAX {
            self.hear(Judge::S33, at, Err(format!("a message's header has {} bytes", header.len())));
        }
        if assembly::waits_for_founding(message) && now_us() > FOUNDING_US {
            self.mark(Mark::WaitedForFounding);
        }
    }

    /// What a step made of the broker, before anything of it leaves.
    fn on_decided(&mut self, at: usize, broker: &Broker, outputs: &Outputs) {
        let sights = self.machines[at].seen.look(broker);
        self.machines[at].view = Some(View {
            run: broker.run(),
            leader: broker.quorum().leader(),
            is_controller: broker.is_controller(),
            is_serving: broker.is_serving(),
            is_doubtful: broker.quorum().is_doubtful,
            has_open_voters: broker.quorum().voters() != broker.image().voters(),
        });
        for output in outputs {
            if let Output::FindExpired { partition, retention, .. } = output {
                let asked = (*partition, *retention);
                let kept = assembly::kept_by(broker.image(), partition.topic_id);
                let said = assembly::check_retention(&mut self.machines, at, asked, kept, None);
                self.hear(Judge::S6, at, said);
            }
            if let Output::Journal { entry, batch } = output {
                if assembly::is_taken_over(&self.machines, at, entry) {
                    self.mark(Mark::StartTakenOver);
                }
                let told = (&mut self.marks, &mut self.bench.history);
                let said =
                    assembly::check_expiry(&mut self.truth, &self.machines, told, (at, now_us()), entry);
                self.hear(Judge::S6, at, said);
                self.witness(at, |witness| witness.on_entry(entry, batch.as_ref(), Some(broker)));
            }
        }
        let was_read = std::mem::take(&mut self.machines[at].reads_back);
        self.witness(at, |witness| witness.on_groups(broker, outputs, was_read));
        for sight in &sights {
            if let Sight::Committed(end) = sight {
                while let Some(committed) = self.commit_next(at, *end) {
                    self.on_metadata_committed(&committed);
                }
            }
            let left = self.witness(at, |witness| witness.on_sight(sight, broker));
            self.on_left(at, &left, sight);
        }
        // Behind the sights: the watermark may have risen in the same step (seed 1,294).
        for output in outputs {
            if let Output::Compact { order, .. } = output {
                self.witness(at, |witness| witness.on_compact(order));
            }
        }
    }

    /// Lets a node come before the judges.
    fn witness<T>(&mut self, at: usize, look: impl FnOnce(&mut Witness<'_>) -> T) -> T {
        let machine = &mut self.machines[at];
        let folder = machine.voter();
        let mut witness = Witness {
            truth: &mut self.truth,
            oracle: &mut machine.oracle,
            register: &self.register,
            marks: &mut self.marks,
            who: (Life { machine: at, life: machine.life }, folder),
            configured: self.plan.nodes(),
            now_us: now_us(),
            heard: Vec::new(),
        };
        let seen = look(&mut witness);
        for (judge, says) in witness.heard {
            self.hear(judge, at, Err(says));
        }
        seen
    }

    fn commit_next(&mut self, at: usize, end: Offset) -> Option<Committed> {
        let before = self.truth.image.clone();
        let committed = self.witness(at, |witness| witness.commit_next(end))?;
        let (old, new) = (before.voters(), self.truth.image.voters());
        // Nobody is admitted here but those whose folders were lost.
        let is_admitted = !old.is_empty() && new.iter().any(|voter| !old.contains(voter));
        let marks = [
            (Mark::VoterRemoved, new.len() < old.len()),
            (Mark::VoterAdded, is_admitted),
            (Mark::WipedVoterAdmitted, is_admitted),
        ];
        for (mark, _) in marks.into_iter().filter(|(_, hit)| *hit) {
            self.marks.hit(mark);
        }
        for &partition in &committed.touched {
            let (Some(old), Some(new)) = (before.partition(partition), self.truth.image.partition(partition))
            else {
                continue;
            };
            let (old, new) = (&old.state, &new.state);
            let marks = [
                (Own::LeaderMoved, new.leader.is_some() && new.leader != old.leader),
                (Own::IsrShrank, old.isr.iter().any(|node| !new.isr.contains(node))),
                (Own::IsrGrew, new.isr.iter().any(|node| !old.isr.contains(node))),
            ];
            for (mark, _) in marks.into_iter().filter(|(_, hit)| *hit) {
                self.own.hit(mark);
            }
        }
        Some(committed)
    }

    fn on_metadata_committed(&mut self, committed: &Committed) {
        let records = MetadataRecord::decode(&committed.records).unwrap_or_default();
        assembly::clear_registered(&mut self.machines, &records);
        for &partition in &committed.touched {
            self.judge_candidates(partition);
        }
    }

    fn judge_candidates(&mut self, partition: TopicPartition) {
        for (machine, says) in assembly::check_candidates(&self.truth, &mut self.machines, partition) {
            self.hear(Judge::S8, machine, Err(says));
        }
    }

    /// What takes a look at other nodes.
    fn on_left(&mut self, at: usize, left: &Left, sight: &Sight) {
        match left {
            Left::Nothing => {}
            Left::LeadsQuorum => {
                self.on_elected(at);
                if self.is_true_elsewhere(at, SeenBroker::leads_quorum) {
                    self.mark(Mark::TwoQuorumLeaders);
                }
                if self.truth.terms.len() > 1 {
                    self.mark_own(Own::ControllerMoved);
                }
            }
            Left::Leads(partition) => {
                if self.is_true_elsewhere(at, |seen| seen.leads(*partition).is_some()) {
                    self.mark(Mark::TwoLeaders);
                }
            }
            Left::Grown(partition) => {
                if let Sight::Watermark { members, .. } = sight {
                    let said =
                        assembly::check_backed(&self.truth, &mut self.machines, (at, *partition), members);
                    self.hear(Judge::S5, at, said);
                }
                self.judge_candidates(*partition);
            }
        }
    }

    fn is_true_elsewhere(&self, at: usize, is_true: impl Fn(&SeenBroker) -> bool) -> bool {
        let others = self.machines.iter().enumerate().filter(|(other, _)| *other != at);
        others.filter_map(|(_, machine)| machine.seen()).any(is_true)
    }

    /// S12, and what S1 will ask for later.
    fn judge_acks(
        &mut self,
        at: usize,
        broker: &Broker,
        request: (ConnId, RequestNumber),
        response: &ProduceResponse,
    ) {
        let acks = match self.machines[at].acks.remove(&request) {
            Some(Acks::All) => -1,
            Some(Acks::Leader) => 1,
            Some(Acks::None | Acks::Invalid) | None => 0,
        };
        for topic in &response.responses {
            let Some(topic_id) = resolve(broker, topic.topic_id, &topic.name) else { continue };
            for part in topic.partition_responses.iter().filter(|part| part.error_code == 0) {
                let partition = partition_of(topic_id, part.index);
                let machines = &self.machines;
                let copies = machines.iter().map(|machine| machine.copy_of(partition));
                let own = machines[at].copy_of(partition);
                // A duplicate may be acknowledged after a bit of its group was flipped.
                let is_hit = !machines[at].oracle.flips.is_empty();
                let base = Offset(part.base_offset);
                let acked =
                    Acked { own, is_out: s12::is_out(broker, partition), is_hit, partition, base, acks };
                let said = s12::check_produced(&mut self.truth, acked, copies);
                self.hear(Judge::S12, at, said);
            }
        }
    }
}

impl Machine {
    fn note_acks(&mut self, input: &Input) {
        if let Input::Request { conn, number, request } = input
            && let ClientBody::Produce(produce) = &request.body
        {
            self.acks.insert((*conn, *number), produce.acks);
        }
        if let Input::ConnClosed { conn } = input {
            self.acks.retain(|(of, _), _| of != conn);
        }
    }

    fn copy_of(&self, partition: TopicPartition) -> Copy<'_> {
        let durable = if self.flushes_always() { self.oracle.durable } else { Lsn(u64::MAX) };
        Copy { log: self.oracle.logs.get(&partition), durable }
    }
}

/// The store's own recovery once more, from what is on the platter: nothing may rest on the page cache (SAFETY J2).
fn recover_again(files: &Files, node_id: NodeId) -> Result<Recovered, String> {
    let disk = SimDisk::alone(files.on_platter());
    let options = StoreOptions::new("/data".into(), node_id, Uuid::ZERO);
    let mut salt = 0;
    let salts = Box::new(move || {
        salt += 1;
        salt
    });
    let mut opening = pin!(Store::open(options, disk, salts));
    // This disk takes no time: there is nothing to wait for.
    match opening.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok((_, recovered, _))) => Ok(recovered),
        Poll::Ready(Err(error)) => {
            Err(format!("a second recovery, without the page cache, is refused: {error}"))
        }
        Poll::Pending => Err("a second recovery, without the page cache, does not end".to_owned()),
    }
}
