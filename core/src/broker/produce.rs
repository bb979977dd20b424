//! Produce: append, wait for what `acks` asks for, answer.

use super::Broker;
use super::waits::{Answer, WaitPart};
use crate::cluster::topic_config::TopicSettings;
use crate::door::{Acks, Produce, ProducePartition, ProduceTopic, Refused};
use crate::errors::ErrorCode;
use crate::group::is_internal;
use crate::ids::{ConnId, PartitionIndex, RequestNumber, TopicPartition, Uuid};
use crate::log::AppendError;
use crate::output::{Output, Outputs};
use crate::records::{BATCH_HEADER_BYTES, Compression, ProducedBatch, first_without_key};
use crate::replica::{Accepted, Leader, Limits, Replica, Until};
use crate::wire::produce::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse};
use crate::wire::{ProduceResponse, Str};
use alloc::string::ToString;
use alloc::vec::Vec;

/// A refusal with what a client may be told in words.
struct Refusal {
    code: ErrorCode,
    message: Option<Str>,
    /// The record that is the reason, by its place in the batch.
    record: Option<i32>,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, record: None }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self { record: refused.record(), ..Self::saying(refused.code(), &refused) }
    }
}

impl Refusal {
    fn saying(code: ErrorCode, message: &impl ToString) -> Self {
        Self { code, message: Some(message.to_string().into()), record: None }
    }
}

impl Broker {
    pub(super) fn on_produce(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        version: i16,
        request: &Produce,
        out: &mut Outputs,
    ) {
        let refused = self.produce_refusal(request);
        let mut failed = false;
        let mut parts = Vec::new();
        let mut responses = Vec::with_capacity(request.topics.len());
        for (topic_at, topic) in request.topics.iter().enumerate() {
            let mut of_topic = Vec::with_capacity(topic.partitions.len());
            let found = refused.map_or_else(|| self.produce_topic(topic, version), Err);
            for (partition_at, part) in topic.partitions.iter().enumerate() {
                let outcome = match found {
                    Ok((topic_id, settings)) => {
                        self.produce_part(topic_id, &settings, part, request.acks, out)
                    }
                    Err(code) => Err(code.into()),
                };
                failed |= outcome.is_err();
                of_topic.push(match outcome {
                    Ok((partition, accepted)) => {
                        let at = (topic_at, partition_at);
                        let until = match request.acks {
                            Acks::Leader => Until::Durable(accepted.end),
                            Acks::All | Acks::None | Acks::Invalid => Until::Committed(accepted.end),
                        };
                        parts.push(WaitPart::new(partition, until, at));
                        self.accepted_response(part.index, partition, &accepted)
                    }
                    Err(refusal) => refusal.response(part.index),
                });
            }
            responses.push(TopicProduceResponse {
                // A slice would keep the frame, with all its records, in memory until they are committed.
                name: topic.name.detached(),
                topic_id: topic.topic_id,
                partition_responses: of_topic,
            });
        }
        if request.acks == Acks::None {
            self.finish_without_acks(conn, number, failed, out);
            return;
        }
        let response = ProduceResponse { responses, ..ProduceResponse::default() };
        let answer = Answer::Produce { version, response };
        self.wait_for_parts(conn, number, (answer, parts), request.timeout_ms, out);
    }

    /// acks=0: nobody is told of an error, so Kafka closes the connection; the client then looks for the reason.
    fn finish_without_acks(&mut self, conn: ConnId, number: RequestNumber, failed: bool, out: &mut Outputs) {
        self.reply_with(conn, number, None, out);
        if failed {
            self.close(conn, "a produce request with acks=0 failed", out);
        }
    }

    /// Why the whole request is refused, if it is.
    fn produce_refusal(&self, request: &Produce) -> Option<ErrorCode> {
        if request.acks == Acks::Invalid {
            Some(ErrorCode::InvalidRequiredAcks)
        } else if request.transactional_id.is_some() {
            Some(ErrorCode::InvalidTxnState)
        } else if !self.is_serving() {
            Some(ErrorCode::NotLeaderOrFollower)
        } else if self.disk_is_full {
            Some(ErrorCode::KafkaStorageError)
        } else if !self.has_room_to_wait() {
            Some(ErrorCode::ThrottlingQuotaExceeded)
        } else {
            None
        }
    }

    fn produce_topic(&self, topic: &ProduceTopic, version: i16) -> Result<(Uuid, TopicSettings), ErrorCode> {
        /// From here on requests name topics by id (KIP-516).
        const BY_ID_FROM: i16 = 13;
        let (topic_id, image) = if version >= BY_ID_FROM {
            let image = self.committed.topic(topic.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
            (topic.topic_id, image)
        } else {
            self.committed.topic_named(&topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)?
        };
        if is_internal(&image.name) {
            // Only its coordinators write to it.
            return Err(ErrorCode::InvalidTopicException);
        }
        Ok((topic_id, image.config.resolve(&self.config.topic)))
    }

    fn produce_part(
        &mut self,
        topic_id: Uuid,
        settings: &TopicSettings,
        part: &ProducePartition,
        acks: Acks,
        out: &mut Outputs,
    ) -> Result<(TopicPartition, Accepted), Refusal> {
        let partition = TopicPartition { topic_id, partition: PartitionIndex(part.index) };
        if self.is_cut_off(self.leader_of(partition)?) {
            return Err(ErrorCode::NotLeaderOrFollower.into());
        }
        let batch = part.batch.as_ref().map_err(|refused| *refused)?;
        if batch.header.batch_bytes > settings.message_bytes_max {
            self.counts.rejected_bytes += u64::from(batch.header.batch_bytes);
            return Err(ErrorCode::MessageTooLarge.into());
        }
        if batch.header.is_transactional() {
            return Err(ErrorCode::InvalidTxnState.into());
        }
        // Compressed batches are looked into before they come here.
        if settings.is_compacted
            && batch.header.compression() == Some(Compression::None)
            && let Some(record) = first_without_key(&batch.header, &batch.bytes[BATCH_HEADER_BYTES..])
        {
            return Err(Refused::WithoutKey(record).into());
        }
        let enough =
            self.replicas.get(&partition).and_then(Replica::leader).is_some_and(Leader::has_enough_in_sync);
        if acks == Acks::All && !enough {
            return Err(ErrorCode::NotEnoughReplicas.into());
        }
        let appended = self.append_batch(partition, settings, batch, out);
        let accepted = appended.map_err(|error| Refusal::saying(error.code(), &error))?;
        Ok((partition, accepted))
    }

    /// Appends a batch to a partition that this node leads, and sends it to the followers.
    pub(super) fn append_batch(
        &mut self,
        partition: TopicPartition,
        settings: &TopicSettings,
        batch: &ProducedBatch,
        out: &mut Outputs,
    ) -> Result<Accepted, AppendError> {
        let limits = Limits {
            topic: *settings,
            segment: settings.segment_limits(partition),
            producers_max: self.config.producers_per_partition_max,
        };
        let replica = self.replicas.get_mut(&partition).expect("a leader was found");
        let (accepted, output) = replica.append(partition, batch, self.now.wall, &limits)?;
        if let Some(Output::Journal { entry, batch: Some((header, bytes)) }) = output {
            let output = Output::Journal { entry, batch: Some((header, bytes.clone())) };
            let lsn = self.journal_output(output, u64::from(header.batch_bytes), out);
            self.journal.data.push_back((lsn, partition));
            self.replicas.get_mut(&partition).expect("a leader was found").appended_as(lsn);
            if header.has_producer_id() {
                self.with_producers.insert(partition);
            }
            self.push_fresh(partition, accepted.base_offset, (&header, &bytes), out);
        }
        Ok(accepted)
    }

    fn accepted_response(
        &self,
        index: i32,
        partition: TopicPartition,
        accepted: &Accepted,
    ) -> PartitionProduceResponse {
        let log_start = self.replicas.get(&partition).map_or(-1, |replica| replica.durable_start().0);
        PartitionProduceResponse {
            index,
            error_code: ErrorCode::None.code(),
            base_offset: accepted.base_offset.0,
            log_append_time_ms: accepted.log_append_time_ms,
            log_start_offset: log_start,
            ..PartitionProduceResponse::default()
        }
    }
}

impl Refusal {
    fn response(self, index: i32) -> PartitionProduceResponse {
        let record_errors = self.record.map(|batch_index| BatchIndexAndErrorMessage {
            batch_index,
            batch_index_error_message: self.message.clone(),
        });
        let response = refused_response(index, self.code, self.message);
        PartitionProduceResponse { record_errors: record_errors.into_iter().collect(), ..response }
    }
}

pub(super) fn refused_response(
    index: i32,
    code: ErrorCode,
    message: Option<Str>,
) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: code.code(),
        base_offset: -1,
        error_message: message,
        ..PartitionProduceResponse::default()
    }
}
