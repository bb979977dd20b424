//! What a node's driver shows, and what the judges say to it.

use super::machine::{Blow, State};
use super::{Shared, World};
use crate::disk::{Files, SimDisk};
use bytes::Bytes;
use seedlog::env::Seen;
use seedlog::store::{OpenReport, Store, StoreOptions};
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{NodeId, Offset, PartitionIndex, TopicPartition, Uuid};
use seedlog_core::input::Input;
use seedlog_core::journal::Entry;
use seedlog_core::output::{Output, StoreCommand};
use seedlog_core::records::BatchHeader;
use seedlog_core::recovered::{Recovered, lost_offsets};
use seedlog_core::wire::{FetchResponse, ProduceResponse, Response};
use seedlog_sim::judges::oracle::Oracle;
use seedlog_sim::judges::{Judge, s1, s6, s12, s18, s25};
use seedlog_sim::marks::Mark;
use seedlog_sim::trace::{Kind, input_number};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

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
                if let Input::StoreDone { op, result: Ok(()) } = input
                    && let Some(mark) = self.machines[at].commands.remove(op)
                {
                    self.mark(mark);
                }
            }
            Seen::Output(output) => {
                let machine = &mut self.machines[at];
                let taken = machine.step.1;
                if taken > 0 && machine.cut.is_some() && machine.chance.chance(500) {
                    let blow = machine.cut.take();
                    self.note_at(at, Kind::CutShort, [taken, 0, 0]);
                    self.mark(Mark::StepCutShort);
                    return blow;
                }
                self.machines[at].step.1 += 1;
                self.on_output(at, output);
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
        let lost = s1::check_recovered(&machine.oracle, recovered);
        let wrong = s18::check_outcome(&machine.oracle, recovered);
        let again = recover_again(&machine.files, NodeId(i32::try_from(machine.index).unwrap_or(0) + 1));
        let again = again.and_then(|again| s18::check_same(recovered, &again));
        // A bit that was flipped under the page cache is not recovery's doing.
        let again =
            if machine.oracle.flips.is_empty() || machine.files.disk.is_honest() { again } else { Ok(()) };
        let ghosts = &machine.oracle.journal;
        let durable = ghosts.iter().rposition(|ghost| ghost.durable).map_or(0, |last| last as u64 + 1);
        let killed = std::mem::take(&mut machine.killed);
        let has_snapshot = machine.files.disk.lookup("data/snapshot").is_some();
        let excused = machine.oracle.unsynced_excused;
        let interval_loss = machine.oracle.take_over(recovered);
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
            for client in self.clients.iter_mut().filter(|client| client.node == at) {
                client.gives_up = true;
                client.poke.notify_one();
            }
        }
        for (mark, _) in marks.into_iter().filter(|(_, hit)| *hit) {
            self.mark(mark);
        }
        self.note_at(at, Kind::Recovered, [end.0, report.rewritten as u64, report.damage.len() as u64]);
        self.hear(Judge::S1, at, lost);
        self.hear(Judge::S18, at, wrong);
        self.hear(Judge::S18, at, again);
    }

    fn on_output(&mut self, at: usize, output: &Output) {
        match output {
            Output::Journal { entry, batch } => self.on_entry(at, entry, batch.as_ref()),
            Output::Reply { response: Some(reply), .. } => match &reply.response {
                Response::Produce(produced) => self.judge_acks(at, produced),
                Response::Fetch(fetched) => self.judge_published(at, fetched),
                Response::ListOffsets(_)
                | Response::Metadata(_)
                | Response::ApiVersions(_)
                | Response::CreateTopics(_)
                | Response::DeleteTopics(_)
                | Response::InitProducerId(_)
                | Response::FindCoordinator(_)
                | Response::OffsetForLeaderEpoch(_)
                | Response::DescribeCluster(_) => {}
            },
            Output::Store { op, command } => {
                let mark = match command {
                    StoreCommand::Snapshot { .. } => Mark::SnapshotTaken,
                    StoreCommand::Drop { .. } => Mark::FilesDropped,
                };
                self.machines[at].commands.insert(*op, mark);
            }
            Output::Reply { response: None, .. }
            | Output::Close { .. }
            | Output::Read { .. }
            | Output::Halt { .. } => {}
        }
    }

    fn on_entry(&mut self, at: usize, entry: &Entry, batch: Option<&(BatchHeader, Bytes)>) {
        let oracle = &mut self.machines[at].oracle;
        let batch = batch.map(|(header, bytes)| (header, &bytes[..]));
        let shadow = oracle.on_entry(oracle.end().next(), entry, batch);
        if let (Entry::Append(append), Some(shadow)) = (entry, shadow) {
            let said = s25::check_last(&oracle.logs[&append.partition]);
            let produced = self.register.check(shadow.payload, append.base_offset);
            self.hear(Judge::S25, at, said);
            self.hear(Judge::S24, at, produced);
        }
    }

    /// S12, and what S1 will ask for later.
    fn judge_acks(&mut self, at: usize, response: &ProduceResponse) {
        for topic in &response.responses {
            let machine = &mut self.machines[at];
            let Some(topic_id) = resolve(&machine.oracle, topic.topic_id, &topic.name) else { continue };
            let always = machine.flushes_always();
            let mut said = Ok(());
            for part in topic.partition_responses.iter().filter(|part| part.error_code == 0) {
                let partition = TopicPartition { topic_id, partition: PartitionIndex(part.index) };
                let base = Offset(part.base_offset);
                let oracle = &mut machine.oracle;
                let lsn = oracle.logs.get(&partition).and_then(|log| log.at(base)).map(|batch| batch.lsn);
                let on_platter = lsn.and_then(|lsn| oracle.ghost(lsn)).map(|ghost| ghost.durable);
                said = said
                    .and_then(|()| s12::check_ack(oracle.logs.get(&partition), partition, base, on_platter));
                if let Some(batch) = oracle.logs.get_mut(&partition).and_then(|log| log.at_mut(base)) {
                    batch.acked = true;
                }
            }
            if always {
                self.hear(Judge::S12, at, said);
            }
        }
    }

    fn judge_published(&mut self, at: usize, response: &FetchResponse) {
        for topic in &response.responses {
            let oracle = &mut self.machines[at].oracle;
            let Some(topic_id) = resolve(oracle, topic.topic_id, &topic.topic) else { continue };
            let mut said = Ok(());
            for data in topic.partitions.iter().filter(|data| data.error_code == ErrorCode::None.code()) {
                let partition = TopicPartition { topic_id, partition: PartitionIndex(data.partition_index) };
                let published = s6::Published {
                    log_start: data.log_start_offset,
                    last_stable: data.last_stable_offset,
                    high_watermark: data.high_watermark,
                };
                let log = oracle.logs.entry(partition).or_default();
                let checked = s6::check_published(log, published);
                said = said.and_then(|()| checked.map_err(|says| format!("{partition}: {says}")));
            }
            self.hear(Judge::S6, at, said);
        }
    }
}

/// The topic that an answer is about, by id or name.
pub(super) fn resolve(oracle: &Oracle, topic_id: Uuid, name: &str) -> Option<Uuid> {
    if topic_id == Uuid::ZERO { oracle.topic_named(name) } else { Some(topic_id) }
}

/// The store's own recovery once more, from what is on the platter: nothing may rest on the page cache (SAFETY J2).
fn recover_again(files: &Files, node_id: NodeId) -> Result<Recovered, String> {
    let disk = SimDisk::alone(files.on_platter());
    let options = StoreOptions::new("/data".into(), node_id, Uuid::ZERO, Uuid::ZERO);
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
