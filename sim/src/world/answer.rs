//! Answers of the broker on their way out: what is filled in from the store, late, and what the judges read in them.

use super::World;
use super::node::State;
use super::queue::What;
use crate::judges::oracle::Oracle;
use crate::judges::{Judge, s6, s12, s24};
use crate::marks::Mark;
use crate::trace::Kind;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{ConnId, Lsn, Offset, PartitionIndex, RequestNumber, TopicPartition, Uuid};
use seedlog_core::input::Input;
use seedlog_core::output::Reply;
use seedlog_core::wire::{FetchResponse, ProduceResponse, Response};

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
        match &reply.response {
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
        for (partition, batch, bytes) in &served.batches {
            let oracle = &mut self.nodes[at].oracle;
            let said = s24::check_served(oracle.logs.get(partition), *partition, bytes);
            if let Some(batch) = oracle.logs.get_mut(partition).and_then(|log| log.at_mut(batch.base)) {
                batch.served = true;
            }
            self.hear(Judge::S24, at, said);
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

    /// S12, and what S1 will ask for later.
    fn judge_acks(&mut self, at: usize, response: &ProduceResponse) {
        for topic in &response.responses {
            let Some(topic_id) = resolve(&self.nodes[at].oracle, topic.topic_id, &topic.name) else {
                continue;
            };
            for part in topic.partition_responses.iter().filter(|part| part.error_code == 0) {
                let partition = TopicPartition { topic_id, partition: PartitionIndex(part.index) };
                let base = Offset(part.base_offset);
                let node = &mut self.nodes[at];
                let always = node.flushes_always();
                let State::Up(process) = &node.state else { return };
                let found = process.store.find(partition, base);
                let on_platter = found.map(|batch| process.store.is_on_platter(batch, &node.disk));
                // A duplicate may be acknowledged after a bit of its group was flipped.
                let mut companions = found.into_iter().flat_map(|batch| process.store.companions(batch));
                let hit = companions.any(|lsn| node.oracle.was_hit(Lsn(lsn)));
                let said = s12::check_ack(node.oracle.logs.get(&partition), partition, base, on_platter);
                if let Some(batch) = node.oracle.logs.get_mut(&partition).and_then(|log| log.at_mut(base)) {
                    batch.acked = true;
                }
                if always && !hit {
                    self.hear(Judge::S12, at, said);
                }
            }
        }
    }

    fn judge_published(&mut self, at: usize, response: &FetchResponse) {
        for topic in &response.responses {
            let Some(topic_id) = resolve(&self.nodes[at].oracle, topic.topic_id, &topic.topic) else {
                continue;
            };
            for data in topic.partitions.iter().filter(|data| data.error_code == ErrorCode::None.code()) {
                let partition = TopicPartition { topic_id, partition: PartitionIndex(data.partition_index) };
                let published = s6::Published {
                    log_start: data.log_start_offset,
                    last_stable: data.last_stable_offset,
                    high_watermark: data.high_watermark,
                };
                let log = self.nodes[at].oracle.logs.entry(partition).or_default();
                let said = s6::check_published(log, published).map_err(|says| format!("{partition}: {says}"));
                self.hear(Judge::S6, at, said);
            }
        }
    }
}

/// The topic that an answer is about, by id or name.
fn resolve(oracle: &Oracle, topic_id: Uuid, name: &str) -> Option<Uuid> {
    if topic_id == Uuid::ZERO { oracle.topic_named(name) } else { Some(topic_id) }
}
