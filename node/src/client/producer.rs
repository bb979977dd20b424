//! Writes records to one topic: chooses partitions, bounds memory, hands each record to its partition's lane.
//!
//! The first failure of any lane ends the producer: what was acknowledged is known record by record, and nothing is
//! skipped in silence. How a lane batches, sends and retries: `lane`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seedlog_core::ids::{ProducerEpoch, ProducerId};
use seedlog_core::records::Compression;
use seedlog_core::wire::{ApiKey, InitProducerIdRequest, Response};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::cluster::{Cluster, retry};
use super::connection::unexpected;
use super::error::{ClientError, Result};
use super::lane::{Lane, LaneRecord};
use super::partitioner::{StickyPartitioner, partition_for_key};

/// Records that wait in front of one lane.
const LANE_QUEUE_MAX: usize = 1024;
/// What a record costs beyond its own bytes, roughly.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// Who must have a record before it counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// Nobody: there is no answer.
    None,
    /// The partition's leader.
    Leader,
    /// All in-sync replicas.
    All,
}

impl Acks {
    /// Its number on the wire.
    #[must_use]
    pub fn as_i16(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How records are written.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// Who must have a record.
    pub acks: Acks,
    /// How batches are compressed.
    pub codec: Compression,
    /// Whether the broker recognises what was sent twice (KIP-98); needs [`Acks::All`].
    pub idempotent: bool,
    /// Bytes of a batch, before compression.
    pub batch_bytes: usize,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// How long a batch may take altogether, with all attempts.
    pub delivery_timeout: Duration,
    /// Bytes of records that may be under way at once.
    pub buffer_bytes: usize,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            codec: Compression::None,
            idempotent: true,
            batch_bytes: 64 * 1024,
            linger: Duration::from_millis(5),
            delivery_timeout: Duration::from_secs(120),
            buffer_bytes: 32 * 1024 * 1024,
        }
    }
}

/// A record to be written.
#[derive(Debug, Clone, Default)]
pub struct ProducerRecord {
    /// Where to; by key if absent, or anywhere.
    pub partition: Option<i32>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Arc<[(Bytes, Option<Bytes>)]>,
}

/// Consecutive records of one partition that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The partition.
    pub partition: i32,
    /// Offset of the first; unknown without acknowledgement, or if only a later attempt was answered.
    pub base_offset: Option<i64>,
    /// How many.
    pub count: i32,
}

/// A producer's name and incarnation, from the broker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// Writes records to one topic.
pub struct Producer {
    cluster: Cluster,
    topic: Arc<str>,
    partitions: i32,
    options: Arc<ProducerOptions>,
    identity: Option<Identity>,
    room: Arc<Semaphore>,
    sticky: StickyPartitioner,
    deliveries: mpsc::Sender<Delivery>,
    lanes: BTreeMap<i32, mpsc::Sender<LaneRecord>>,
    tasks: JoinSet<Result<()>>,
}

impl Producer {
    /// Finds the topic (or lets the broker create it) and takes a producer id if need be. `deliveries` is told of what is
    /// written, in order for each partition; it must be read meanwhile.
    pub async fn open(
        cluster: Cluster,
        topic: &str,
        options: ProducerOptions,
        deliveries: mpsc::Sender<Delivery>,
    ) -> Result<Self> {
        let patience = Duration::from_secs(5).min(options.delivery_timeout);
        let view = cluster.topic_within(topic, true, patience).await?;
        let identity = match options.idempotent {
            true => Some(retry(patience, async || init_producer_id(&cluster).await).await?),
            false => None,
        };
        let count = view.partitions.keys().next_back().map_or(0, |last| last.saturating_add(1));
        if count == 0 {
            return Err(super::cluster::leaderless(topic, 0));
        }
        Ok(Self {
            cluster,
            topic: Arc::from(topic),
            partitions: count,
            room: Arc::new(Semaphore::new(options.buffer_bytes.min(Semaphore::MAX_PERMITS))),
            sticky: StickyPartitioner::new(options.batch_bytes),
            options: Arc::new(options),
            identity,
            deliveries,
            lanes: BTreeMap::new(),
            tasks: JoinSet::new(),
        })
    }

    /// The number of partitions that the topic had at the start.
    #[must_use]
    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Takes a record; waits while too much is under way.
    pub async fn send(&mut self, record: ProducerRecord) -> Result<()> {
        if let Some(failure) = self.failed() {
            return Err(failure);
        }
        let bytes = record.bytes();
        let partition = self.choose(&record, bytes)?;
        let wanted = bytes.min(self.options.buffer_bytes).min(u32::MAX as usize) as u32;
        let room =
            Arc::clone(&self.room).acquire_many_owned(wanted).await.expect("the semaphore is never closed");
        let lane = self.lane(partition);
        if lane.send(LaneRecord { record, room }).await.is_err() {
            return Err(self.failure().await);
        }
        Ok(())
    }

    /// Waits until everything taken is written.
    pub async fn finish(mut self) -> Result<()> {
        self.lanes.clear();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a lane neither panics nor is cancelled")?;
        }
        Ok(())
    }

    /// Waits for a failure; for ever, if there is none.
    pub async fn failure(&mut self) -> ClientError {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(failure) = ended.expect("a lane neither panics nor is cancelled") {
                return failure;
            }
        }
        std::future::pending().await
    }

    fn failed(&mut self) -> Option<ClientError> {
        let ended = self.tasks.try_join_next()?;
        ended.expect("a lane neither panics nor is cancelled").err()
    }

    fn choose(&mut self, record: &ProducerRecord, bytes: usize) -> Result<i32> {
        match (record.partition, &record.key) {
            (Some(partition), _) if (0..self.partitions).contains(&partition) => Ok(partition),
            (Some(partition), _) => Err(ClientError::NoPartition {
                topic: self.topic.to_string(),
                partition,
                last: self.partitions - 1,
            }),
            (None, Some(key)) => Ok(partition_for_key(key, self.partitions)),
            (None, None) => Ok(self.sticky.choose(bytes, self.partitions)),
        }
    }

    fn lane(&mut self, partition: i32) -> &mpsc::Sender<LaneRecord> {
        self.lanes.entry(partition).or_insert_with(|| {
            let (sender, records) = mpsc::channel(LANE_QUEUE_MAX);
            let lane = Lane::new(
                self.cluster.clone(),
                Arc::clone(&self.topic),
                partition,
                Arc::clone(&self.options),
                self.identity,
                self.deliveries.clone(),
            );
            self.tasks.spawn(lane.run(records));
            sender
        })
    }
}

impl ProducerRecord {
    /// What it weighs in memory and, roughly, on the wire.
    fn bytes(&self) -> usize {
        let optional = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + optional(value)).sum();
        RECORD_OVERHEAD_BYTES + optional(&self.key) + optional(&self.value) + headers
    }
}

async fn init_producer_id(cluster: &Cluster) -> Result<Identity> {
    let connection = cluster.any().await?;
    let request =
        InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..InitProducerIdRequest::default() };
    let Response::InitProducerId(response) = connection.call(request).await? else {
        return Err(unexpected(connection.address(), ApiKey::InitProducerId));
    };
    ClientError::check(response.error_code, None, || "producer id".to_owned())?;
    Ok(Identity { id: ProducerId(response.producer_id), epoch: ProducerEpoch(response.producer_epoch) })
}
