//! What the driver counts as it happens, and what it looks at when somebody scrapes. Labels are topics' names, of which the
//! registry keeps a bounded number.

use super::census::Census;
use crate::budget::Budget;
use crate::metrics::survey::{StoreState, Survey};
use crate::metrics::{MemoryPart, Metrics, RecentTimes, RequestMetrics, TopicMetrics, consumers_name};
use crate::net;
use crate::store::disk::Disk;
use crate::store::{self, Store};
use bytes::Bytes;
use seedlog_core::broker::Broker;
use seedlog_core::door::ClientBody;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{Offset, Uuid};
use seedlog_core::journal::Entry;
use seedlog_core::records::BatchHeader;
use seedlog_core::time::MonoMs;
use seedlog_core::wire::{ApiKey, ProduceResponse, Response};
use std::collections::BTreeMap;
use std::time::Duration;

/// Quantiles are of the last one or two such times.
const TIMES_WINDOW_MS: u64 = 60_000;

/// The driver's counters.
#[derive(Debug)]
pub struct Meters {
    metrics: Metrics,
    budget: Budget,
    topics: BTreeMap<Uuid, (String, TopicMetrics)>,
    requests: BTreeMap<ApiKey, (RequestMetrics, RecentTimes)>,
    /// When the windows of times began.
    window_from: MonoMs,
    replicated_bytes: u64,
    census: Option<Census>,
    /// The end of the metadata when topics that are gone were forgotten last.
    pruned_at: Offset,
}

impl Meters {
    /// Counts into `metrics`, and watches `budget` for it.
    pub fn new(metrics: Metrics, budget: Budget) -> Self {
        Self {
            metrics,
            budget,
            topics: BTreeMap::new(),
            requests: BTreeMap::new(),
            window_from: MonoMs::default(),
            replicated_bytes: 0,
            census: None,
            pruned_at: Offset::ZERO,
        }
    }

    pub(super) fn opened(&self) {
        self.metrics.connection_opened();
    }

    pub(super) fn closed(&self) {
        self.metrics.connection_closed();
    }

    /// An entry goes to the journal. `is_copy`: it comes from another node, which counted its records.
    pub(super) fn journaled(
        &mut self,
        entry: &Entry,
        batch: Option<&(BatchHeader, Bytes)>,
        is_copy: bool,
        broker: &Broker,
    ) {
        match (entry, batch) {
            (Entry::Append(_), Some((_, bytes))) if is_copy => self.replicated_bytes += bytes.len() as u64,
            (Entry::Append(append), Some((header, bytes))) => {
                let topic_id = append.partition.topic_id;
                let records = u64::try_from(header.record_count).unwrap_or(0);
                if let Some(topic) = self.topic(topic_id, broker) {
                    topic.produced(records, bytes.len() as u64);
                }
            }
            (Entry::Dropped { topic_id }, _) => {
                if let Some((name, _)) = self.topics.remove(topic_id)
                    && broker.image().topic_named(&name).is_none()
                {
                    self.metrics.forget_topic(&name);
                }
            }
            (
                Entry::Append(_)
                | Entry::EpochStart { .. }
                | Entry::Metadata { .. }
                | Entry::ProducersExpired { .. }
                | Entry::Started { .. }
                | Entry::Stopped
                | Entry::Founded { .. }
                | Entry::Vote { .. }
                | Entry::MetadataCut { .. }
                | Entry::MetadataImage { .. }
                | Entry::Cut { .. }
                | Entry::Reset { .. }
                | Entry::Dropping { .. }
                | Entry::Trusted { .. }
                | Entry::Damaged { .. }
                | Entry::LogStart { .. }
                | Entry::Compacted { .. },
                _,
            ) => {}
        }
    }

    /// A request was answered, so long after it was read.
    pub(super) fn answered(&mut self, api: ApiKey, took: Duration) {
        let metrics = &self.metrics;
        let new = || (metrics.request(api.name()), RecentTimes::new());
        let (counters, times) = self.requests.entry(api).or_insert_with(new);
        counters.answered(took);
        times.observe(took);
    }

    /// A client asks for something.
    pub(super) fn asked(&mut self, request: &ClientBody, broker: &Broker) {
        let ClientBody::Produce(produce) = request else { return };
        for asked in &produce.topics {
            if let Some(topic) = self.topic_called(asked.topic_id, &asked.name, broker) {
                topic.produce_asked(asked.partitions.len() as u64);
            }
        }
    }

    /// A client is answered; its bytes are still to be read. Gives the counters of the topics in the answer to a Fetch.
    pub(super) fn replied(&mut self, response: &Response, broker: &Broker) -> Vec<Option<TopicMetrics>> {
        if let Response::Produce(produce) = response {
            self.produced(produce, broker);
        }
        let Response::Fetch(fetched) = response else { return Vec::new() };
        let told = fetched.responses.iter().map(|told| {
            let topic = self.topic_called(told.topic_id, &told.topic, broker)?;
            topic.fetch_answered(told.partitions.len() as u64);
            Some(topic.clone())
        });
        told.collect()
    }

    fn produced(&mut self, produce: &ProduceResponse, broker: &Broker) {
        for told in &produce.responses {
            let failed = told.partition_responses.iter().filter(|part| is_failure(part.error_code)).count();
            if failed > 0
                && let Some(topic) = self.topic_called(told.topic_id, &told.name, broker)
            {
                topic.produce_failed(failed as u64);
            }
        }
    }

    /// Somebody scrapes.
    pub(super) fn begin_survey(&mut self, broker: &Broker) {
        if self.census.is_none() {
            self.census = self.metrics.take_wish().map(|wish| Census::new(wish, broker));
        }
    }

    /// A look is under way: [`Meters::survey`] wants to be called again.
    pub(super) fn is_surveying(&self) -> bool {
        self.census.is_some()
    }

    /// Looks at a little more of what is asked for, and gives it away when that was all.
    pub(super) fn survey<D: Disk>(
        &mut self,
        mono: MonoMs,
        store: &Store<D>,
        disk_is_full: bool,
        broker: &Broker,
    ) {
        if !self.census.as_mut().is_some_and(|census| census.advance(broker)) {
            return;
        }
        let Some(census) = self.census.take() else { return };
        let survey = Survey {
            store: store_state(store, disk_is_full),
            memory: self.memory(store),
            replicated_bytes: self.replicated_bytes,
            request_ms: self.request_ms(),
            ..census.finish(broker)
        };
        self.metrics.surveyed(survey);
        if mono - self.window_from >= TIMES_WINDOW_MS {
            self.window_from = mono;
            for (_, times) in self.requests.values_mut() {
                times.rotate();
            }
        }
        self.prune(broker);
        // Whoever came in the meantime.
        self.begin_survey(broker);
    }

    /// Forgets topics that are gone. Those that had records here were forgotten with them.
    fn prune(&mut self, broker: &Broker) {
        let image = broker.image();
        if std::mem::replace(&mut self.pruned_at, image.end()) == image.end() {
            return;
        }
        let metrics = &self.metrics;
        self.topics.retain(|&topic_id, (name, _)| {
            let is_there = image.topic(topic_id).is_some();
            // Its name may be another topic's by now.
            if !is_there && image.topic_named(name).is_none() {
                metrics.forget_topic(name);
            }
            is_there
        });
    }

    fn memory<D: Disk>(&self, store: &Store<D>) -> Vec<(MemoryPart, u64)> {
        let (_, buffers) = store.cache_bytes();
        vec![
            (MemoryPart::TailCache, buffers as u64),
            (MemoryPart::Requests, self.budget.requests.used_bytes() + self.budget.tables.used_bytes()),
            (MemoryPart::Replies, self.budget.replies.used_bytes()),
            (MemoryPart::Peers, self.budget.peers.used_bytes()),
        ]
    }

    fn request_ms(&self) -> Vec<(&'static str, Vec<(&'static str, f64)>)> {
        let mut shown = Vec::new();
        for (api, (_, times)) in &self.requests {
            let quantiles = times.quantiles_ms();
            if let Some(name) = consumers_name(api.name()) {
                shown.push((name, quantiles.clone()));
            }
            shown.push((api.name(), quantiles));
        }
        shown.retain(|(_, quantiles)| !quantiles.is_empty());
        shown
    }

    /// The topic that a request names, by its id or else by its name (KIP-516).
    fn topic_called(&mut self, topic_id: Uuid, name: &str, broker: &Broker) -> Option<&TopicMetrics> {
        let topic_id = if topic_id == Uuid::ZERO { broker.image().topic_named(name)?.0 } else { topic_id };
        self.topic(topic_id, broker)
    }

    fn topic(&mut self, topic_id: Uuid, broker: &Broker) -> Option<&TopicMetrics> {
        if !self.topics.contains_key(&topic_id) {
            let name = broker.image().topic(topic_id)?.name.clone();
            let metrics = self.metrics.topic(&name);
            self.topics.insert(topic_id, (name, metrics));
        }
        self.topics.get(&topic_id).map(|(_, metrics)| metrics)
    }
}

/// What Kafka calls a failed produce request: nothing that clients get over by themselves, or that the batch itself is to
/// blame for.
fn is_failure(error_code: i16) -> bool {
    let code = ErrorCode::from_code(error_code);
    !matches!(
        code,
        Some(
            ErrorCode::None
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::NotLeaderOrFollower
                | ErrorCode::MessageTooLarge
                | ErrorCode::RecordListTooLarge
                | ErrorCode::CorruptMessage
                | ErrorCode::KafkaStorageError
                | ErrorCode::RequestTimedOut
                | ErrorCode::NotEnoughReplicasAfterAppend
        )
    )
}

/// A claim on record bytes that counts what it gives.
#[derive(Debug)]
pub struct CountedLease<D: Disk> {
    lease: store::Lease<D>,
    topic: Option<TopicMetrics>,
}

impl<D: Disk> CountedLease<D> {
    pub(super) fn new(lease: store::Lease<D>, topic: Option<TopicMetrics>) -> Self {
        Self { lease, topic }
    }
}

impl<D: Disk> net::Lease for CountedLease<D> {
    async fn resolve(self, bytes_max: u32, may_exceed: bool) -> Result<Vec<Bytes>, String> {
        let pieces = self.lease.resolve(bytes_max, may_exceed).await.map_err(|error| error.to_string())?;
        if let Some(topic) = &self.topic {
            topic.consumed(pieces.iter().map(|piece| piece.len() as u64).sum());
        }
        Ok(pieces)
    }
}

fn store_state<D: Disk>(store: &Store<D>, disk_is_full: bool) -> StoreState {
    let counters = store.counters();
    StoreState {
        groups: counters.groups,
        entries: counters.entries,
        written_bytes: counters.journal_bytes,
        segment_bytes: counters.segment_bytes,
        compactions: counters.compactions,
        compacted_bytes: counters.compacted_bytes,
        compaction_written_bytes: counters.compaction_written_bytes,
        snapshots: counters.snapshots,
        damaged_batches: counters.damaged_batches,
        journal_bytes: store.journal_file_bytes(),
        unsegmented_bytes: store.unsegmented_bytes(),
        holds_appends: store.is_full(),
        disk_is_full,
    }
}

/// The time that a sync of the journal took goes into the histogram as it happens.
pub fn watch_syncs<D: Disk>(store: &mut Store<D>, metrics: &Metrics) {
    let metrics = metrics.clone();
    store.counters_mut().on_sync = Some(Box::new(move |took| metrics.journal_synced(took)));
}
