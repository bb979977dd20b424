//! What the driver counts: appends at once, everything that is cheap to ask for once a second while there is something to
//! do. Labels are topics' names, of which the registry keeps a bounded number.

use crate::budget::Budget;
use crate::metrics::{DiskWrite, MemoryPart, Metrics, RequestMetrics, TopicMetrics};
use crate::net;
use crate::store::disk::Disk;
use crate::store::{self, Store};
use bytes::Bytes;
use seedlog_core::broker::Broker;
use seedlog_core::ids::Uuid;
use seedlog_core::journal::Entry;
use seedlog_core::records::BatchHeader;
use seedlog_core::time::MonoMs;
use seedlog_core::wire::ApiKey;
use std::collections::BTreeMap;
use std::time::Duration;

const PUBLISH_INTERVAL_MS: u64 = 1_000;

/// The driver's counters.
#[derive(Debug)]
pub struct Meters {
    metrics: Metrics,
    budget: Budget,
    topics: BTreeMap<Uuid, (String, TopicMetrics)>,
    requests: BTreeMap<ApiKey, RequestMetrics>,
    due: Option<MonoMs>,
    journal_bytes: u64,
    segment_bytes: u64,
    groups: u64,
}

impl Meters {
    /// Counts into `metrics`, and watches `budget` for it.
    pub fn new(metrics: Metrics, budget: Budget) -> Self {
        Self {
            metrics,
            budget,
            topics: BTreeMap::new(),
            requests: BTreeMap::new(),
            due: None,
            journal_bytes: 0,
            segment_bytes: 0,
            groups: 0,
        }
    }

    pub(super) fn opened(&self) {
        self.metrics.connection_opened();
    }

    pub(super) fn closed(&self) {
        self.metrics.connection_closed();
    }

    /// Something happens: numbers will have changed.
    pub(super) fn touch(&mut self, mono: MonoMs) {
        if self.due.is_none() {
            self.due = Some(mono + PUBLISH_INTERVAL_MS);
        }
    }

    /// An entry goes to the journal.
    pub(super) fn journaled(&mut self, entry: &Entry, batch: Option<&(BatchHeader, Bytes)>, broker: &Broker) {
        match (entry, batch) {
            (Entry::Append(append), Some((header, bytes))) => {
                let topic_id = append.partition.topic_id;
                let records = u64::try_from(header.record_count).unwrap_or(0);
                if let Some(topic) = self.topic(topic_id, broker) {
                    topic.produced(records, bytes.len() as u64);
                }
            }
            (Entry::Dropped { topic_id }, _) => {
                if let Some((name, _)) = self.topics.remove(topic_id) {
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
                | Entry::LogStart { .. },
                _,
            ) => {}
        }
    }

    /// A request was answered, so long after it was read.
    pub(super) fn answered(&mut self, api: ApiKey, took: Duration) {
        let metrics = &self.metrics;
        self.requests.entry(api).or_insert_with(|| metrics.request(api.name())).answered(took);
    }

    /// The bytes that the lease gives will count as its topic's.
    pub(super) fn counted<D: Disk>(
        &mut self,
        lease: store::Lease<D>,
        topic_id: Uuid,
        broker: &Broker,
    ) -> CountedLease<D> {
        CountedLease { lease, topic: self.topic(topic_id, broker).cloned() }
    }

    /// When [`Meters::publish_if_due`] wants to be called.
    pub(super) fn due(&self) -> Option<MonoMs> {
        self.due
    }

    /// Copies what others count.
    pub(super) fn publish_if_due<D: Disk>(&mut self, mono: MonoMs, store: &Store<D>, broker: &Broker) {
        if self.due.is_none_or(|due| due > mono) {
            return;
        }
        self.due = None;
        let counters = store.counters();
        // The registry counts a group at a time; the bytes of all since the last time go with the first of them.
        let groups = counters.groups - self.groups;
        for at in 0..groups {
            let bytes = if at == 0 { counters.journal_bytes - self.journal_bytes } else { 0 };
            self.metrics.journal_group_written(bytes);
        }
        self.metrics.disk_written(DiskWrite::Segments, counters.segment_bytes - self.segment_bytes);
        (self.groups, self.journal_bytes) = (counters.groups, counters.journal_bytes);
        self.segment_bytes = counters.segment_bytes;
        let replicas = broker.replicas();
        let led = replicas.values().filter(|replica| replica.damage().is_none()).count();
        self.metrics.set_partitions(replicas.len(), led, 0);
        self.metrics.set_active_controller(broker.is_serving());
        let (_, buffers) = store.cache_bytes();
        self.metrics.memory_used(MemoryPart::TailCache).set(value(buffers as u64));
        for (part, used) in [
            (MemoryPart::Requests, self.budget.requests.used_bytes()),
            (MemoryPart::Replies, self.budget.replies.used_bytes()),
            (MemoryPart::Peers, self.budget.peers.used_bytes()),
        ] {
            self.metrics.memory_used(part).set(value(used));
        }
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

/// A claim on record bytes that counts what it gives.
#[derive(Debug)]
pub struct CountedLease<D: Disk> {
    lease: store::Lease<D>,
    topic: Option<TopicMetrics>,
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

fn value(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The time that a sync of the journal took goes into the histogram as it happens.
pub fn watch_syncs<D: Disk>(store: &mut Store<D>, metrics: &Metrics) {
    let metrics = metrics.clone();
    store.counters_mut().on_sync = Some(Box::new(move |took| metrics.journal_synced(took)));
}
