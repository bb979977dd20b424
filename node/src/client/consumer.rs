//! Reads partitions of one topic from given offsets: one fetch at a time for each leader, batches handed out as they came.
//!
//! Decompression is left to the caller, batch by batch, so that no more than one batch is ever open. Every batch's CRC is
//! checked here. Fetch sessions (KIP-227) are not used: the command line reads few partitions. A leader that moves, a
//! broker that restarts: the consumer goes on where it was, until an outage lasts longer than it may.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::Uuid;
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchError, BatchHeader, Batches, check_batch};
use seedlog_core::wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use seedlog_core::wire::{ApiKey, FetchRequest, FetchResponse, Request, Response, Str};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::admin::{self, EARLIEST, LATEST};
use super::cluster::{Backoff, Cluster, TopicView};
use super::connection::unexpected;
use super::error::{ClientError, CorruptBatch, Result};
use crate::codec;

/// The last version of Fetch that names topics instead of giving their ids.
const FETCH_BY_NAME_MAX: i16 = 12;

/// How records are read.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// How long a broker may wait for new records before it answers.
    pub max_wait: Duration,
    /// Bytes of one answer.
    pub fetch_bytes: i32,
    /// Bytes of one partition in one answer.
    pub partition_bytes: i32,
    /// How long brokers may be out of reach.
    pub outage_max: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            max_wait: Duration::from_millis(500),
            fetch_bytes: 16 * 1024 * 1024,
            partition_bytes: 1024 * 1024,
            outage_max: Duration::from_secs(120),
        }
    }
}

/// A batch whose checksum is right.
#[derive(Debug, Clone)]
pub struct FetchedBatch {
    /// The partition.
    pub partition: i32,
    /// The batch's header.
    pub header: BatchHeader,
    /// The first offset wanted: earlier ones in the batch are to be skipped.
    pub from: i64,
    bytes: Bytes,
}

impl FetchedBatch {
    /// The records' bytes, decompressed to at most `budget`.
    pub fn payload(&self, budget: usize) -> std::result::Result<Cow<'_, [u8]>, CorruptBatch> {
        let codec = self.header.compression().ok_or(BatchError::UnknownCompression)?;
        let payload = self.bytes.get(BATCH_HEADER_BYTES..).ok_or(BatchError::Incomplete)?;
        Ok(codec::decompress(codec, payload, budget)?)
    }
}

/// Reads partitions of one topic.
pub struct Consumer {
    cluster: Cluster,
    topic: Arc<str>,
    options: ConsumerOptions,
    /// The next offset of each partition.
    positions: BTreeMap<i32, i64>,
    /// Partitions that are being asked for.
    busy: BTreeSet<i32>,
    fetches: JoinSet<Fetched>,
    outage: Option<(Instant, Backoff)>,
    notices: Vec<String>,
}

struct Fetched {
    partitions: Vec<i32>,
    outcome: Result<FetchResponse>,
}

impl Consumer {
    /// Starts at these offsets.
    #[must_use]
    pub fn new(
        cluster: Cluster,
        topic: &str,
        positions: BTreeMap<i32, i64>,
        options: ConsumerOptions,
    ) -> Self {
        Self {
            cluster,
            topic: Arc::from(topic),
            options,
            positions,
            busy: BTreeSet::new(),
            fetches: JoinSet::new(),
            outage: None,
            notices: Vec::new(),
        }
    }

    /// The next offset of each partition.
    #[must_use]
    pub fn positions(&self) -> &BTreeMap<i32, i64> {
        &self.positions
    }

    /// What a person may want to know, since the last time it was asked for.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// The next batches, or none after `patience`. Positions move behind what is handed out.
    pub async fn poll(&mut self, patience: Duration) -> Result<Vec<FetchedBatch>> {
        if let Err(error) = self.start_fetches().await {
            self.on_outage(error).await?;
        }
        match timeout(patience, self.fetches.join_next()).await {
            Ok(Some(fetched)) => {
                self.on_fetched(fetched.expect("a fetch neither panics nor is cancelled")).await
            }
            Ok(None) | Err(_) => Ok(Vec::new()),
        }
    }

    /// Asks every leader for those of its partitions that are not being asked for.
    async fn start_fetches(&mut self) -> Result<()> {
        if self.positions.keys().all(|partition| self.busy.contains(partition)) {
            return Ok(());
        }
        let view = self.cluster.topic(&self.topic, false).await?;
        let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        let mut missing = None;
        for &partition in self.positions.keys().filter(|partition| !self.busy.contains(partition)) {
            match view.partition(partition)?.leader(&self.topic, partition) {
                Ok(leader) => by_leader.entry(leader).or_default().push(partition),
                Err(error) => missing = Some(error),
            }
        }
        for (leader, partitions) in by_leader {
            self.busy.extend(&partitions);
            let request = self.request(&view, &partitions);
            let by_name = view.id == Uuid::ZERO;
            let (cluster, max_wait) = (self.cluster.clone(), self.options.max_wait);
            self.fetches.spawn(async move {
                let outcome = fetch(&cluster, leader, request, by_name, max_wait).await;
                Fetched { partitions, outcome }
            });
        }
        missing.map_or(Ok(()), Err)
    }

    fn request(&self, view: &TopicView, partitions: &[i32]) -> FetchRequest {
        let wanted = partitions.iter().map(|&partition| FetchPartition {
            partition,
            fetch_offset: self.positions[&partition],
            partition_max_bytes: self.options.partition_bytes,
            ..FetchPartition::default()
        });
        FetchRequest {
            max_wait_ms: i32::try_from(self.options.max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: self.options.fetch_bytes,
            topics: vec![FetchTopic {
                topic: Str::from(&*self.topic),
                topic_id: view.id,
                partitions: wanted.collect(),
            }],
            ..FetchRequest::default()
        }
    }

    async fn on_fetched(&mut self, Fetched { partitions, outcome }: Fetched) -> Result<Vec<FetchedBatch>> {
        for partition in &partitions {
            self.busy.remove(partition);
        }
        let response = match outcome {
            Ok(response) => response,
            Err(error) => {
                self.on_outage(error).await?;
                return Ok(Vec::new());
            }
        };
        let mut batches = Vec::new();
        let mut failure = None;
        for data in response.responses.iter().flat_map(|topic| &topic.partitions) {
            // An answer about a partition that was not asked for is none.
            if !partitions.contains(&data.partition_index) {
                continue;
            }
            if data.error_code == ErrorCode::OffsetOutOfRange.code() {
                self.on_out_of_range(data.partition_index).await?;
            } else if let Err(error) = self.take(data, &mut batches) {
                failure = Some(error);
            }
        }
        match failure {
            Some(error) => self.on_outage(error).await?,
            None => self.on_contact(),
        }
        Ok(batches)
    }

    /// Takes the whole batches of a partition and moves its position.
    fn take(&mut self, data: &PartitionData, batches: &mut Vec<FetchedBatch>) -> Result<()> {
        let partition = data.partition_index;
        let name = format!("{}-{partition}", self.topic);
        ClientError::check(data.error_code, None, || name.clone())?;
        let Some(position) = self.positions.get_mut(&partition) else { return Ok(()) };
        let records = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
        let mut walk = Batches::new(&records);
        let start = *position;
        for (header, range) in walk.by_ref() {
            let corrupt = |reason: String| ClientError::Corrupt {
                partition: name.clone(),
                offset: header.base_offset.0,
                reason,
            };
            check_batch(&records[range.clone()]).map_err(|error| corrupt(error.to_string()))?;
            let from = *position;
            if header.last_offset().0 < from {
                // A broker may begin with a batch before the one asked for; that is so by design.
                continue;
            }
            *position = header.next_offset().0;
            batches.push(FetchedBatch { partition, header, from, bytes: records.slice(range) });
        }
        let nothing_whole = !records.is_empty() && *position == start;
        if nothing_whole {
            // KIP-74: the first batch is sent whole, whatever its size. What starts otherwise is no batch.
            let reason = BatchHeader::parse(&records).err().unwrap_or(BatchError::Incomplete).to_string();
            return Err(ClientError::Corrupt { partition: name, offset: start, reason });
        }
        Ok(())
    }

    /// Records before the position were deleted: go on with the first that is left. A position beyond the end is an error.
    async fn on_out_of_range(&mut self, partition: i32) -> Result<()> {
        let position = self.positions.get(&partition).copied().unwrap_or_default();
        let patience = self.options.outage_max;
        let ask = async |place| {
            let offsets =
                admin::list_offsets(&self.cluster, &self.topic, &[(partition, place)].into(), patience)
                    .await?;
            Ok::<i64, ClientError>(offsets.get(&partition).copied().flatten().unwrap_or_default())
        };
        let (earliest, latest) = (ask(EARLIEST).await?, ask(LATEST).await?);
        let name = format!("{}-{partition}", self.topic);
        if position < earliest {
            self.notices.push(format!(
                "{name}: offsets {position} to {} were deleted; going on at {earliest}",
                earliest - 1
            ));
            self.positions.insert(partition, earliest);
        } else if position > latest {
            let message = format!("offset {position} was asked for, the log has {earliest} to {latest}");
            return Err(ClientError::Broker {
                what: name,
                code: ErrorCode::OffsetOutOfRange.code(),
                message: Some(message),
            });
        }
        Ok(())
    }

    async fn on_outage(&mut self, error: ClientError) -> Result<()> {
        if !error.is_transient() {
            return Err(error);
        }
        self.cluster.forget_topic(&self.topic);
        let max = self.options.outage_max;
        let (since, backoff) = self.outage.get_or_insert_with(|| (Instant::now(), Backoff::default()));
        if since.elapsed() >= max {
            return Err(error);
        }
        backoff.wait(*since + max).await;
        Ok(())
    }

    fn on_contact(&mut self) {
        if let Some((since, _)) =
            self.outage.take().filter(|(since, _)| since.elapsed() > Duration::from_secs(1))
        {
            self.notices.push(format!(
                "the brokers were out of reach for {} ms; going on",
                since.elapsed().as_millis()
            ));
        }
    }
}

async fn fetch(
    cluster: &Cluster,
    leader: i32,
    request: FetchRequest,
    by_name: bool,
    max_wait: Duration,
) -> Result<FetchResponse> {
    let connection = cluster.broker(leader).await?;
    let version = connection.version_of(ApiKey::Fetch, if by_name { FETCH_BY_NAME_MAX } else { i16::MAX })?;
    let patience = cluster.options().request_timeout + max_wait;
    let response = connection.call_version(Request::from(request), version, patience).await?;
    let Response::Fetch(response) = response else {
        return Err(unexpected(connection.address(), ApiKey::Fetch));
    };
    ClientError::check(response.error_code, None, || "fetch".to_owned())?;
    Ok(response)
}
