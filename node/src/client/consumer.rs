//! Reads partitions from given offsets: one fetch at a time for each leader, batches handed out as they came.
//!
//! Decompression is left to the caller, batch by batch, so that no more than one batch is ever open. Every batch's CRC is
//! checked here. Fetch sessions (KIP-227) are not used: the command line reads few partitions. A leader that moves, a
//! broker that restarts: the consumer goes on where it was, until an outage lasts longer than it may. Who reads what as a
//! member of a group is the business of `member`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::Uuid;
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchError, BatchHeader, Batches, check_batch};
use seedlog_core::wire::fetch::{FetchPartition, FetchTopic, FetchableTopicResponse, PartitionData};
use seedlog_core::wire::{ApiKey, FetchRequest, FetchResponse, Request, Response, Str};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::admin::{self, EARLIEST, LATEST};
use super::cluster::{Backoff, Cluster, TopicView};
use super::connection::unexpected;
use super::error::{ClientError, CorruptBatch, Result};
use super::partition_name::PartitionName;
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
    /// Where to go on with a position behind the log's end: [`EARLIEST`] or [`LATEST`]; without it that is an error.
    pub beyond_end: Option<i64>,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            max_wait: Duration::from_millis(500),
            fetch_bytes: 16 * 1024 * 1024,
            partition_bytes: 1024 * 1024,
            outage_max: Duration::from_secs(120),
            beyond_end: None,
        }
    }
}

/// A batch whose checksum is right.
#[derive(Debug, Clone)]
pub struct FetchedBatch {
    /// The partition.
    pub place: PartitionName,
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

/// Reads partitions.
pub struct Consumer {
    cluster: Cluster,
    options: ConsumerOptions,
    /// The next offset of each partition.
    positions: BTreeMap<PartitionName, i64>,
    /// Partitions that are being asked for.
    busy: BTreeSet<PartitionName>,
    fetches: JoinSet<Fetched>,
    outage: Option<(Instant, Backoff)>,
    notices: Vec<String>,
}

struct Fetched {
    partitions: Vec<PartitionName>,
    /// The topics by their ids: answers from version 13 on say no names.
    topics: Vec<(Uuid, Arc<str>)>,
    outcome: Result<FetchResponse>,
}

impl Fetched {
    /// The partition that a part of the answer is about; `None`: it was not asked for.
    fn place(&self, topic: &FetchableTopicResponse, partition: i32) -> Option<PartitionName> {
        let by_id = |(id, _): &&(Uuid, Arc<str>)| *id == topic.topic_id;
        let name = match topic.topic.as_str() {
            "" => self.topics.iter().find(by_id).map(|(_, name)| Arc::clone(name))?,
            name => Arc::from(name),
        };
        let place = PartitionName { topic: name, partition };
        self.partitions.contains(&place).then_some(place)
    }
}

impl Consumer {
    /// Reads one topic from these offsets.
    #[must_use]
    pub fn new(
        cluster: Cluster,
        topic: &str,
        positions: BTreeMap<i32, i64>,
        options: ConsumerOptions,
    ) -> Self {
        let topic: Arc<str> = Arc::from(topic);
        let place = |partition| PartitionName { topic: Arc::clone(&topic), partition };
        let positions = positions.into_iter().map(|(partition, offset)| (place(partition), offset));
        Self::of(cluster, positions.collect(), options)
    }

    /// Reads partitions of any topics from these offsets.
    #[must_use]
    pub fn of(cluster: Cluster, positions: BTreeMap<PartitionName, i64>, options: ConsumerOptions) -> Self {
        Self {
            cluster,
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
    pub fn positions(&self) -> &BTreeMap<PartitionName, i64> {
        &self.positions
    }

    /// What a person may want to know, since the last time it was asked for.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// The next batches, or none after `patience`. Positions move behind what is handed out: who gives up waiting for the
    /// answer has to start anew from what it was handed.
    pub async fn poll(&mut self, patience: Duration) -> Result<Vec<FetchedBatch>> {
        if let Err(error) = self.start_fetches().await {
            self.on_outage(error).await?;
        }
        if self.positions.is_empty() {
            // There is nothing to read, and that is no reason to turn in circles.
            sleep(patience).await;
            return Ok(Vec::new());
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
        let idle: Vec<PartitionName> =
            self.positions.keys().filter(|place| !self.busy.contains(*place)).cloned().collect();
        let mut by_leader: BTreeMap<i32, Vec<(Arc<TopicView>, PartitionName)>> = BTreeMap::new();
        let mut missing = None;
        for place in idle {
            let view = match self.cluster.topic(&place.topic, false).await {
                Ok(view) => view,
                Err(error) => {
                    missing = Some(error);
                    continue;
                }
            };
            match view.partition(place.partition)?.leader(&place.topic, place.partition) {
                Ok(leader) => by_leader.entry(leader).or_default().push((view, place)),
                Err(error) => missing = Some(error),
            }
        }
        for (leader, places) in by_leader {
            let request = self.request(&places);
            let by_name = places.iter().any(|(view, _)| view.id == Uuid::ZERO);
            let mut topics: Vec<(Uuid, Arc<str>)> =
                places.iter().map(|(view, place)| (view.id, Arc::clone(&place.topic))).collect();
            topics.dedup();
            let partitions: Vec<PartitionName> = places.into_iter().map(|(_, place)| place).collect();
            self.busy.extend(partitions.iter().cloned());
            let (cluster, max_wait) = (self.cluster.clone(), self.options.max_wait);
            self.fetches.spawn(async move {
                let outcome = fetch(&cluster, leader, request, by_name, max_wait).await;
                Fetched { partitions, topics, outcome }
            });
        }
        missing.map_or(Ok(()), Err)
    }

    /// A request for these partitions, those of a topic side by side.
    fn request(&self, places: &[(Arc<TopicView>, PartitionName)]) -> FetchRequest {
        let of_topic = |places: &[(Arc<TopicView>, PartitionName)]| {
            let wanted = places.iter().map(|(_, place)| FetchPartition {
                partition: place.partition,
                fetch_offset: self.positions[place],
                partition_max_bytes: self.options.partition_bytes,
                ..FetchPartition::default()
            });
            let (view, place) = &places[0];
            FetchTopic { topic: Str::from(&*place.topic), topic_id: view.id, partitions: wanted.collect() }
        };
        FetchRequest {
            max_wait_ms: i32::try_from(self.options.max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: self.options.fetch_bytes,
            topics: places.chunk_by(|(_, a), (_, b)| a.topic == b.topic).map(of_topic).collect(),
            ..FetchRequest::default()
        }
    }

    async fn on_fetched(&mut self, fetched: Fetched) -> Result<Vec<FetchedBatch>> {
        for place in &fetched.partitions {
            self.busy.remove(place);
        }
        let response = match &fetched.outcome {
            Ok(response) => response,
            Err(error) => {
                self.on_outage(error.clone()).await?;
                return Ok(Vec::new());
            }
        };
        let mut batches = Vec::new();
        let mut failure = None;
        for topic in &response.responses {
            for data in &topic.partitions {
                let Some(place) = fetched.place(topic, data.partition_index) else { continue };
                if data.error_code == ErrorCode::OffsetOutOfRange.code() {
                    self.on_out_of_range(&place).await?;
                } else if let Err(error) = self.take(&place, data, &mut batches) {
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) => self.on_outage(error).await?,
            None => self.on_contact(),
        }
        Ok(batches)
    }

    /// Takes the whole batches of a partition and moves its position.
    fn take(
        &mut self,
        place: &PartitionName,
        data: &PartitionData,
        batches: &mut Vec<FetchedBatch>,
    ) -> Result<()> {
        ClientError::check(data.error_code, None, || place.to_string())?;
        let Some(position) = self.positions.get_mut(place) else { return Ok(()) };
        let records = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
        let mut walk = Batches::new(&records);
        let start = *position;
        for (header, range) in walk.by_ref() {
            let corrupt = |reason: String| ClientError::Corrupt {
                partition: place.to_string(),
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
            batches.push(FetchedBatch { place: place.clone(), header, from, bytes: records.slice(range) });
        }
        let nothing_whole = !records.is_empty() && *position == start;
        if nothing_whole {
            // KIP-74: the first batch is sent whole, whatever its size. What starts otherwise is no batch.
            let reason = BatchHeader::parse(&records).err().unwrap_or(BatchError::Incomplete).to_string();
            return Err(ClientError::Corrupt { partition: place.to_string(), offset: start, reason });
        }
        Ok(())
    }

    /// Records before the position were deleted: go on with the first that is left. A position beyond the end is an error,
    /// unless the options say where to go on.
    async fn on_out_of_range(&mut self, place: &PartitionName) -> Result<()> {
        let position = self.positions.get(place).copied().unwrap_or_default();
        let patience = self.options.outage_max;
        let ask = async |at| {
            let wanted = [(place.partition, at)].into();
            let offsets = admin::list_offsets(&self.cluster, &place.topic, &wanted, patience).await?;
            Ok::<i64, ClientError>(offsets.get(&place.partition).copied().flatten().unwrap_or_default())
        };
        let (earliest, latest) = (ask(EARLIEST).await?, ask(LATEST).await?);
        if position < earliest {
            self.notices.push(format!(
                "{place}: offsets {position} to {} were deleted; going on at {earliest}",
                earliest - 1
            ));
            self.positions.insert(place.clone(), earliest);
        } else if position > latest {
            let message = format!("offset {position} was asked for, the log has {earliest} to {latest}");
            let Some(reset) = self.options.beyond_end else {
                return Err(ClientError::Broker {
                    what: place.to_string(),
                    code: ErrorCode::OffsetOutOfRange.code(),
                    message: Some(message),
                });
            };
            let from = if reset == EARLIEST { earliest } else { latest };
            self.notices.push(format!("{place}: {message}; going on at {from}"));
            self.positions.insert(place.clone(), from);
        }
        Ok(())
    }

    async fn on_outage(&mut self, error: ClientError) -> Result<()> {
        if !error.is_transient() {
            return Err(error);
        }
        for place in self.positions.keys() {
            self.cluster.forget_topic(&place.topic);
        }
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
