//! Answers of the broker on their way out: what is filled in from the store, late, and what the judges read in them.

use super::World;
use super::node::State;
use super::queue::What;
use crate::judges::sight::resolve;
use crate::judges::truth::partition_of;
use crate::judges::{Judge, assembly, s14, s24};
use crate::marks::Mark;
use crate::trace::{Kind, read_back_numbers};
use seedlog_core::door::Acks;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{ConnId, Offset, RequestNumber, Uuid};
use seedlog_core::input::Input;
use seedlog_core::output::Reply;
use seedlog_core::wire::{DeleteRecordsResponse, FetchResponse, ProduceResponse, Response};

impl World {
    pub(super) fn on_reply(
        &mut self,
        at: usize,
        conn: ConnId,
        number: RequestNumber,
        response: Option<Box<Reply>>,
    ) {
        let Some(reply) = response else {
            self.reply_ready(at, conn, number, None);
            return;
        };
        if self.answers_late {
            self.mark_refusals(&reply.response);
        }
        match &reply.response {
            Response::Produce(produced) => self.judge_acks(at, (conn, number), produced),
            Response::Fetch(fetched) => self.judge_published(at, fetched),
            Response::DeleteRecords(deleted) => self.judge_deleted(at, deleted),
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
        }
        let node = &mut self.nodes[at];
        let (life, late) = (node.life, node.fill_late());
        let State::Up(process) = &mut node.state else { return };
        let pending = process.store.take(*reply);
        if pending.is_empty() {
            let (reply, _) = process.store.fill(pending, &node.disk);
            self.reply_ready(at, conn, number, Some(reply));
            return;
        }
        let id = process.next_id();
        if let Some(conn) = process.conns.get_mut(&conn) {
            conn.filling += 1;
        }
        process.fills.insert(id, (conn, number, pending, late));
        self.queue.push(self.now_us + late, What::Fill { node: at, life, id });
    }

    pub(super) fn on_fill(&mut self, at: usize, id: u64) {
        let node = &mut self.nodes[at];
        let State::Up(process) = &mut node.state else { return };
        let Some((conn, number, pending, late)) = process.fills.remove(&id) else { return };
        let (reply, served) = process.store.fill(pending, &node.disk);
        if let Some(conn) = process.conns.get_mut(&conn) {
            conn.filling -= 1;
        }
        let bytes: usize = served.batches.iter().map(|(_, _, bytes)| bytes.len()).sum();
        self.note_at(at, Kind::Fill, [conn.0, bytes as u64, late]);
        for (mark, count) in
            [Mark::ReadFromTail, Mark::ReadFromJournal, Mark::ReadFromSegment].into_iter().zip(served.sources)
        {
            if count > 0 {
                self.mark(mark);
            }
        }
        if !served.damaged.is_empty() {
            self.mark(Mark::DamageRefusedAtRead);
        }
        for (partition, batch) in &served.damaged {
            self.input_late(at, 0, Input::Damaged { partition: *partition, from: batch.base });
        }
        for (partition, batch, bytes) in &served.batches {
            let patience = self.truth.patience;
            let said = s24::check_served(self.truth.logs.get(partition), patience, *partition, bytes);
            if said.is_err() {
                let said = s14::check_identity(&self.truth.logs, *partition, bytes);
                self.hear(Judge::S14, at, said);
            }
            // With flush=interval what was read may vanish with the power.
            if self.nodes[at].flushes_always()
                && let Some(log) = self.truth.logs.get_mut(partition)
            {
                log.within(batch.base, batch.next).for_each(|held| held.served = true);
            }
            if let Err((judge, says)) = said {
                self.hear(judge, at, Err(says));
            }
        }
        self.reply_ready(at, conn, number, Some(reply));
    }

    pub(super) fn on_look(&mut self, at: usize, id: u64) {
        let node = &mut self.nodes[at];
        let State::Up(process) = &mut node.state else { return };
        let Some((op, pending)) = process.looks.remove(&id) else { return };
        let result = process.store.look(&pending, &node.disk);
        self.step(at, Input::ReadDone { op, result });
    }

    /// Batches that a broker wanted back. What is damaged ends them.
    pub(super) fn on_read_back(&mut self, at: usize, id: u64) {
        let node = &mut self.nodes[at];
        // A store reads from one kind of place at a time: there is more although it stops.
        let stops = node.driver.chance(250);
        let State::Up(process) = &mut node.state else { return };
        let Some((op, extent, pending)) = process.reads.remove(&id) else { return };
        let (mut read, damaged) = process.store.fill_extent(pending, &node.disk);
        if stops {
            read.truncate(1);
        }
        if let Some((partition, from)) = damaged {
            self.input_late(at, 0, Input::Damaged { partition, from });
        }
        let batches = extent.admit(&read.concat().into());
        self.note_at(at, Kind::ReadBack, read_back_numbers(op, batches.as_deref()));
        self.step(at, Input::BatchesRead { op, batches });
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only what concerns the question is looked at")]
    fn mark_refusals(&mut self, response: &Response) {
        match response {
            Response::Produce(produced) => {
                let mut parts = produced.responses.iter().flat_map(|topic| &topic.partition_responses);
                if parts.any(|part| part.error_code == ErrorCode::NotLeaderOrFollower.code()) {
                    self.mark(Mark::FencedWithWaiters);
                }
            }
            Response::CreateTopics(created)
                if created
                    .topics
                    .iter()
                    .any(|topic| topic.error_code == ErrorCode::RequestTimedOut.code()) =>
            {
                self.mark(Mark::Undecided);
            }
            _ => {}
        }
    }

    /// S12, and what S1 will ask for later.
    fn judge_acks(&mut self, at: usize, (conn, number): (ConnId, RequestNumber), response: &ProduceResponse) {
        let State::Up(process) = &self.nodes[at].state else { return };
        let acks = process.conns.get(&conn).and_then(|conn| conn.acks.get(&number.0)).copied();
        let acks = match acks {
            Some(Acks::All) => -1,
            Some(Acks::Leader) => 1,
            Some(Acks::None | Acks::Invalid) | None => 0,
        };
        for topic in &response.responses {
            let Some(topic_id) = self.resolve(at, topic.topic_id, &topic.name) else { continue };
            for part in topic.partition_responses.iter().filter(|part| part.error_code == 0) {
                self.judge_ack_to_client(
                    at,
                    partition_of(topic_id, part.index),
                    Offset(part.base_offset),
                    acks,
                );
            }
        }
    }

    fn judge_published(&mut self, at: usize, response: &FetchResponse) {
        let node = &mut self.nodes[at];
        let State::Up(process) = &mut node.state else { return };
        let said = process.seen.check_published(&process.broker, &node.oracle, response);
        self.hear(Judge::S6, at, said);
    }

    fn judge_deleted(&mut self, at: usize, response: &DeleteRecordsResponse) {
        let State::Up(process) = &self.nodes[at].state else { return };
        let said = assembly::check_deleted(&mut self.truth, &self.nodes, &process.broker, response);
        self.hear(Judge::S6, at, said);
    }

    /// The topic that a broker's answer is about.
    fn resolve(&self, at: usize, topic_id: Uuid, name: &str) -> Option<Uuid> {
        let State::Up(process) = &self.nodes[at].state else { return None };
        resolve(&process.broker, topic_id, name)
    }
}
