//! One partition's way to its leader: records become batches, batches go out in order, and go out again after a failure.
//!
//! ```text
//!   records ──► open batch ──► window: [acked?] [in flight] [in flight] [waiting] ──► deliveries, in order
//! ```
//!
//! With idempotence up to five batches are in flight, as many as a broker remembers (KIP-98). After a failure all of them
//! come back before the first one goes out again: sequence numbers were fixed when the batch was sealed, so the broker
//! recognises what it has. Without idempotence there is one in flight, because only that keeps order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::Uuid;
use seedlog_core::records::{BatchBuilder, Compression, Header, next_sequence};
use seedlog_core::wire::produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData};
use seedlog_core::wire::{ApiKey, MetadataRequest, ProduceRequest, Records, Request, Response, Str};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::cluster::{Backoff, Cluster, TopicView};
use super::connection::{Answer, Connection, unexpected};
use super::error::{ClientError, Result};
use super::producer::{Acks, Delivery, Identity, ProducerOptions, ProducerRecord};
use crate::codec;

/// Batches in flight with idempotence: what a broker remembers of a producer.
const IN_FLIGHT_MAX: usize = 5;
/// The last version of Produce that names topics instead of giving their ids.
const PRODUCE_BY_NAME_MAX: i16 = 12;

/// A record and the memory that it holds.
pub(super) struct LaneRecord {
    pub(super) record: ProducerRecord,
    pub(super) room: OwnedSemaphorePermit,
}

/// One partition's way to its leader.
pub(super) struct Lane {
    cluster: Cluster,
    topic: Arc<str>,
    partition: i32,
    options: Arc<ProducerOptions>,
    identity: Option<Identity>,
    sequence: i32,
    deliveries: mpsc::Sender<Delivery>,
    open: Option<OpenBatch>,
    window: VecDeque<Batch>,
    leader: Option<(Arc<TopicView>, Connection)>,
    backoff: Backoff,
}

struct OpenBatch {
    builder: BatchBuilder,
    room: OwnedSemaphorePermit,
    opened: Instant,
}

struct Batch {
    bytes: Bytes,
    count: i32,
    deadline: Instant,
    state: BatchState,
    _room: OwnedSemaphorePermit,
}

enum BatchState {
    Waiting,
    InFlight { answer: Answer, until: Instant, patience: Duration },
    Acked { base_offset: Option<i64> },
}

impl Lane {
    pub(super) fn new(
        cluster: Cluster,
        topic: Arc<str>,
        partition: i32,
        options: Arc<ProducerOptions>,
        identity: Option<Identity>,
        deliveries: mpsc::Sender<Delivery>,
    ) -> Self {
        Self {
            cluster,
            topic,
            partition,
            options,
            identity,
            sequence: 0,
            deliveries,
            open: None,
            window: VecDeque::new(),
            leader: None,
            backoff: Backoff::default(),
        }
    }

    /// Works until `records` is closed and everything is written, or until the first failure that stays.
    pub(super) async fn run(mut self, mut records: mpsc::Receiver<LaneRecord>) -> Result<()> {
        let mut closed = false;
        loop {
            self.send_waiting().await?;
            self.deliver_acked().await;
            if closed && self.window.is_empty() && self.open.is_none() {
                return self.confirm_unanswered().await;
            }
            let room = self.window.len() < self.window_max();
            let linger_ends = self.open.as_ref().map(|open| open.opened + self.options.linger);
            tokio::select! {
                biased;
                answer = first_answer(&mut self.window) => self.on_answer(answer).await?,
                record = records.recv(), if room && !closed => match record {
                    Some(record) => self.add(record)?,
                    None => closed = true,
                },
                () = sleep_until(linger_ends.unwrap_or_else(Instant::now)), if room && linger_ends.is_some() => {
                    self.seal()?;
                }
            }
            if closed && self.window.len() < self.window_max() {
                self.seal()?;
            }
        }
    }

    fn window_max(&self) -> usize {
        if self.identity.is_some() { IN_FLIGHT_MAX } else { 1 }
    }

    /// Puts a record into the open batch; one that does not fit closes it first.
    fn add(&mut self, LaneRecord { record, room }: LaneRecord) -> Result<()> {
        let bytes = room.num_permits();
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.builder.batch_bytes() + bytes > self.options.batch_bytes)
        {
            self.seal()?;
        }
        let headers: Vec<Header<'_>> =
            record.headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref())).collect();
        let builder = match &mut self.open {
            Some(open) => {
                open.room.merge(room);
                &mut open.builder
            }
            None => {
                let mut builder = BatchBuilder::new();
                if let Some(identity) = self.identity {
                    builder = builder.producer(identity.id, identity.epoch, self.sequence);
                }
                &mut self.open.insert(OpenBatch { builder, room, opened: Instant::now() }).builder
            }
        };
        builder.add(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
        Ok(())
    }

    /// Closes the open batch: from here on its bytes and sequence numbers stay as they are.
    fn seal(&mut self) -> Result<()> {
        let Some(OpenBatch { builder, room, opened }) = self.open.take() else { return Ok(()) };
        let count = builder.record_count();
        let bytes = match self.options.codec {
            Compression::None => builder.finish(),
            codec @ (Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd) => {
                let mut failed = None;
                let bytes = builder.finish_with(codec, |payload| {
                    codec::compress(codec, payload).unwrap_or_else(|error| {
                        failed = Some(error);
                        Vec::new()
                    })
                });
                if let Some(error) = failed {
                    return Err(
                        self.refused(ErrorCode::UnsupportedCompressionType.code(), Some(&error.to_string()))
                    );
                }
                bytes
            }
        };
        self.sequence = next_sequence(self.sequence, count);
        let deadline = opened + self.options.delivery_timeout;
        self.window.push_back(Batch { bytes, count, deadline, state: BatchState::Waiting, _room: room });
        Ok(())
    }

    /// Sends what waits, in order.
    async fn send_waiting(&mut self) -> Result<()> {
        while let Some(at) = self.window.iter().position(|batch| matches!(batch.state, BatchState::Waiting)) {
            if let Err(error) = self.send(at).await {
                self.go_back(error).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, at: usize) -> Result<()> {
        let (view, connection) = self.leader().await?;
        let id_max = if view.id == Uuid::ZERO { PRODUCE_BY_NAME_MAX } else { i16::MAX };
        let version = connection.version_of(ApiKey::Produce, id_max)?;
        let request_timeout = self.cluster.options().request_timeout;
        let request = Request::from(ProduceRequest {
            transactional_id: None,
            acks: self.options.acks.as_i16(),
            timeout_ms: i32::try_from(request_timeout.as_millis()).unwrap_or(i32::MAX),
            topic_data: vec![TopicProduceData {
                name: Str::from(&*self.topic),
                topic_id: view.id,
                partition_data: vec![PartitionProduceData {
                    index: self.partition,
                    records: Some(Records::from(self.window[at].bytes.clone())),
                }],
            }],
        });
        self.window[at].state = match self.options.acks {
            Acks::None => {
                connection.send_unanswered(request, version).await?;
                BatchState::Acked { base_offset: None }
            }
            Acks::Leader | Acks::All => {
                let answer = connection.send(request, version).await?;
                let now = Instant::now();
                // No attempt outlives the batch.
                let patience = request_timeout.min(self.window[at].deadline.saturating_duration_since(now));
                BatchState::InFlight { answer, until: now + patience, patience }
            }
        };
        Ok(())
    }

    /// The leader that the batches in flight went to; looked up again after a failure only, so that one connection keeps
    /// their order.
    async fn leader(&mut self) -> Result<(Arc<TopicView>, Connection)> {
        match &self.leader {
            Some(leader) => Ok(leader.clone()),
            None => {
                let leader = self.cluster.leader(&self.topic, self.partition).await?;
                Ok(self.leader.insert(leader).clone())
            }
        }
    }

    async fn on_answer(&mut self, answer: Option<Result<Response>>) -> Result<()> {
        match self.outcome(answer) {
            Ok(base_offset) => {
                self.backoff = Backoff::default();
                if let Some(first) = first_in_flight(&mut self.window) {
                    first.state = BatchState::Acked { base_offset };
                }
                Ok(())
            }
            Err(error) => {
                if let Some(first) = first_in_flight(&mut self.window) {
                    first.state = BatchState::Waiting;
                }
                self.go_back(error).await
            }
        }
    }

    /// What an answer says about the batch. `None` is an answer that is late.
    fn outcome(&self, answer: Option<Result<Response>>) -> Result<Option<i64>> {
        let connection = self.leader.as_ref().map(|(_, connection)| connection);
        let address = connection.map_or("the broker", |connection| connection.address());
        let response = match (answer, connection) {
            (Some(answer), _) => answer?,
            (None, Some(connection)) => return Err(connection.give_up(ApiKey::Produce, self.patience())),
            (None, None) => return Err(super::cluster::leaderless(&self.topic, self.partition)),
        };
        let Response::Produce(response) = response else { return Err(unexpected(address, ApiKey::Produce)) };
        let results = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        let Some(result) = results.into_iter().find(|result| result.index == self.partition) else {
            let reason = "its Produce answer leaves out the partition".to_owned();
            return Err(ClientError::Protocol { address: address.to_owned(), reason });
        };
        self.judge(result)
    }

    /// How long the first batch in flight was waited for.
    fn patience(&self) -> Duration {
        let patience = self.window.iter().find_map(|batch| match batch.state {
            BatchState::InFlight { patience, .. } => Some(patience),
            BatchState::Waiting | BatchState::Acked { .. } => None,
        });
        patience.unwrap_or(self.cluster.options().request_timeout)
    }

    fn judge(&self, result: &PartitionProduceResponse) -> Result<Option<i64>> {
        // The broker has the batch already, but no longer knows where (KIP-98).
        if self.identity.is_some() && result.error_code == ErrorCode::DuplicateSequenceNumber.code() {
            return Ok(None);
        }
        if result.error_code != ErrorCode::None.code() {
            let record =
                result.record_errors.iter().find_map(|error| error.batch_index_error_message.as_deref());
            return Err(self.refused(result.error_code, result.error_message.as_deref().or(record)));
        }
        Ok(Some(result.base_offset).filter(|&offset| offset >= 0))
    }

    /// After a failure: everything in flight comes back, then the lane waits a little and starts again from the first
    /// batch that is not written.
    async fn go_back(&mut self, error: ClientError) -> Result<()> {
        if !error.is_transient() {
            return Err(error);
        }
        while first_in_flight(&mut self.window).is_some() {
            let answer = first_answer(&mut self.window).await;
            let state = match self.outcome(answer) {
                Ok(base_offset) => BatchState::Acked { base_offset },
                // A batch behind a gap is refused for its sequence number, and fits once the gap is filled.
                Err(error) if error.is_transient() || out_of_order(&error) => BatchState::Waiting,
                Err(error) => return Err(error),
            };
            if let Some(first) = first_in_flight(&mut self.window) {
                first.state = state;
            }
        }
        self.leader = None;
        self.cluster.forget_topic(&self.topic);
        self.deliver_acked().await;
        let Some(first) = self.window.front() else { return Ok(()) };
        self.backoff.wait(first.deadline).await;
        if Instant::now() >= first.deadline {
            return Err(ClientError::DeliveryTimeout {
                partition: self.name(),
                timeout: self.options.delivery_timeout,
                last: Box::new(error),
            });
        }
        Ok(())
    }

    async fn deliver_acked(&mut self) {
        while let Some(BatchState::Acked { base_offset }) = self.window.front().map(|batch| &batch.state) {
            let base_offset = *base_offset;
            let count = self.window.pop_front().map_or(0, |batch| batch.count);
            // A listener that went away does not want to know.
            self.deliveries.send(Delivery { partition: self.partition, base_offset, count }).await.ok();
        }
    }

    /// Without acknowledgements: the answer to a later request on the same connection says that the broker has read all
    /// that came before it.
    async fn confirm_unanswered(&mut self) -> Result<()> {
        match (&self.leader, self.options.acks) {
            (Some((_, connection)), Acks::None) => connection
                .call(MetadataRequest { topics: Some(Vec::new()), ..Default::default() })
                .await
                .map(drop),
            (_, Acks::None | Acks::Leader | Acks::All) => Ok(()),
        }
    }

    fn name(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }

    fn refused(&self, code: i16, message: Option<&str>) -> ClientError {
        ClientError::Broker { what: self.name(), code, message: message.map(str::to_owned) }
    }
}

fn out_of_order(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::OutOfOrderSequenceNumber)
}

fn first_in_flight(window: &mut VecDeque<Batch>) -> Option<&mut Batch> {
    window.iter_mut().find(|batch| matches!(batch.state, BatchState::InFlight { .. }))
}

/// The answer for the first batch in flight; `None` if it is late. Waits for ever if none is in flight.
async fn first_answer(window: &mut VecDeque<Batch>) -> Option<Result<Response>> {
    let in_flight = window.iter_mut().find_map(|batch| match &mut batch.state {
        BatchState::InFlight { answer, until, .. } => Some((answer, *until)),
        BatchState::Waiting | BatchState::Acked { .. } => None,
    });
    match in_flight {
        Some((answer, until)) => match timeout_at(until, answer).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(_)) => {
                let reason = "the connection ended before the answer came".to_owned();
                Some(Err(ClientError::Closed { address: "the broker".to_owned(), reason }))
            }
            Err(_) => None,
        },
        None => std::future::pending().await,
    }
}
