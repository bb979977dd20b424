//! The cluster as the client sees it: known brokers, one connection to each, cached metadata, retries with backoff.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::Uuid;
use seedlog_core::wire::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use seedlog_core::wire::{ApiKey, MetadataRequest, MetadataResponse, Response, Str};
use tokio::time::{Instant, sleep};

use super::connection::{Connection, ConnectionOptions, unexpected};
use super::error::{ClientError, Result};

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A cluster. Cheap to clone; clones share connections and metadata.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    bootstrap: Vec<String>,
    options: ConnectionOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By address, because a bootstrap address has no id.
    connections: BTreeMap<String, Connection>,
    brokers: BTreeMap<i32, String>,
    controller: Option<i32>,
    topics: BTreeMap<String, Arc<TopicView>>,
}

/// A topic as the metadata tells it.
#[derive(Debug, Clone)]
pub struct TopicView {
    /// Its name.
    pub name: Str,
    /// Its id; zero from a broker that has none.
    pub id: Uuid,
    /// Whether the cluster keeps it for itself.
    pub internal: bool,
    /// Its partitions, by index.
    pub partitions: BTreeMap<i32, PartitionView>,
}

/// A partition as the metadata tells it.
#[derive(Debug, Clone)]
pub struct PartitionView {
    /// Its leader, if it has one.
    pub leader: Option<i32>,
    /// Why it has none, as a Kafka error code; 0 when it has one, or nobody said.
    pub error_code: i16,
    /// The leader's epoch; -1 if unknown.
    pub leader_epoch: i32,
    /// Its replicas.
    pub replicas: Vec<i32>,
    /// The ISR.
    pub isr: Vec<i32>,
    /// Replicas that are not to be reached.
    pub offline: Vec<i32>,
}

impl Cluster {
    /// A cluster to be reached by any of these addresses. Does not connect yet.
    #[must_use]
    pub fn new(bootstrap: Vec<String>, options: ConnectionOptions) -> Self {
        Self { inner: Arc::new(Inner { bootstrap, options, state: Mutex::default() }) }
    }

    /// How long requests may take.
    #[must_use]
    pub fn options(&self) -> &ConnectionOptions {
        &self.inner.options
    }

    /// A connection to any broker that answers.
    pub async fn any(&self) -> Result<Connection> {
        let known: Vec<String> = {
            let state = self.state();
            if let Some(connection) = state.connections.values().find(|connection| !connection.is_broken()) {
                return Ok(connection.clone());
            }
            state.brokers.values().chain(&self.inner.bootstrap).cloned().collect()
        };
        let mut last = None;
        for address in known {
            match self.connect(&address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ClientError::Address { address: String::new() }))
    }

    /// A connection to the broker with this id, which the metadata must have named.
    pub async fn broker(&self, id: i32) -> Result<Connection> {
        let address = self.state().brokers.get(&id).cloned();
        match address {
            Some(address) => self.connect(&address).await,
            None => Err(broker_unknown(id)),
        }
    }

    /// A connection to the controller, or to a broker that stands in for it.
    pub async fn controller(&self) -> Result<Connection> {
        if self.state().controller.is_none() {
            self.metadata(Some(&[]), false).await?;
        }
        let controller = self.state().controller;
        match controller {
            Some(id) => match self.broker(id).await {
                // It may be gone: every other broker hands on what is meant for the controller.
                Err(error) if error.is_transient() => {
                    self.forget_controller();
                    self.any().await
                }
                outcome => outcome,
            },
            None => self.any().await,
        }
    }

    /// Forgets who the controller is: whoever is asked next says so.
    pub fn forget_controller(&self) {
        self.state().controller = None;
    }

    /// A connection to the broker at an address that a broker named.
    pub(super) async fn connect(&self, address: &str) -> Result<Connection> {
        if let Some(open) = self.state().connections.get(address).filter(|connection| !connection.is_broken())
        {
            return Ok(open.clone());
        }
        let connection = Connection::open(address, self.inner.options.clone()).await?;
        self.state().connections.insert(address.to_owned(), connection.clone());
        Ok(connection)
    }

    /// Asks for metadata of some topics or (`None`) of all, and remembers the answer. `create` lets the broker create
    /// topics that do not exist, if it is set up to.
    pub async fn metadata(&self, topics: Option<&[&str]>, create: bool) -> Result<MetadataResponse> {
        let request = MetadataRequest {
            topics: topics.map(|topics| {
                let by_name =
                    |name: &&str| MetadataRequestTopic { name: Some(Str::from(*name)), ..Default::default() };
                topics.iter().map(by_name).collect()
            }),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        let connection = self.any().await?;
        let Response::Metadata(response) = connection.call(request).await? else {
            return Err(unexpected(connection.address(), ApiKey::Metadata));
        };
        ClientError::check(response.error_code, None, || "metadata".to_owned())?;
        self.remember(&response);
        Ok(response)
    }

    fn remember(&self, response: &MetadataResponse) {
        let mut state = self.state();
        if !response.brokers.is_empty() {
            state.brokers =
                response.brokers.iter().map(|b| (b.node_id, join_address(&b.host, b.port))).collect();
        }
        state.controller = Some(response.controller_id).filter(|id| state.brokers.contains_key(id));
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            if topic.error_code == ErrorCode::None.code() {
                state.topics.insert(name.to_string(), Arc::new(view(name, topic)));
            } else {
                state.topics.remove(name.as_str());
            }
        }
    }

    /// A topic from the cache, or freshly asked for.
    pub async fn topic(&self, name: &str, create: bool) -> Result<Arc<TopicView>> {
        let known = self.state().topics.get(name).cloned();
        match known {
            Some(known) => Ok(known),
            None => self.fresh_topic(name, create).await,
        }
    }

    /// A topic, freshly asked for.
    pub async fn fresh_topic(&self, name: &str, create: bool) -> Result<Arc<TopicView>> {
        let response = self.metadata(Some(&[name]), create).await?;
        let answer = response.topics.iter().find(|topic| topic.name.as_deref() == Some(name));
        let code = answer.map_or(ErrorCode::UnknownTopicOrPartition.code(), |topic| topic.error_code);
        ClientError::check(code, None, || format!("topic {name}"))?;
        self.state().topics.get(name).cloned().ok_or_else(|| topic_unknown(name))
    }

    /// The same, tried again while the reason may go away: a new topic takes a moment to be known.
    pub async fn topic_within(&self, name: &str, create: bool, patience: Duration) -> Result<Arc<TopicView>> {
        retry(patience, async || self.fresh_topic(name, create).await).await
    }

    /// Forgets what is known about a topic: the next question goes to a broker.
    pub fn forget_topic(&self, name: &str) {
        self.state().topics.remove(name);
    }

    /// The leader of a partition and a connection to it.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<(Arc<TopicView>, Connection)> {
        let view = self.topic(topic, false).await?;
        let leader = view.partition(partition)?.leader(topic, partition)?;
        Ok((view, self.broker(leader).await?))
    }

    // A panic elsewhere leaves nothing half-done here: every critical section is one insert or lookup.
    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TopicView {
    /// A partition that must exist.
    pub fn partition(&self, index: i32) -> Result<&PartitionView> {
        self.partitions.get(&index).ok_or_else(|| ClientError::NoPartition {
            topic: self.name.to_string(),
            partition: index,
            last: self.partitions.keys().next_back().copied().unwrap_or(-1),
        })
    }

    /// The number of replicas of its first partition.
    #[must_use]
    pub fn replication_factor(&self) -> usize {
        self.partitions.values().next().map_or(0, |partition| partition.replicas.len())
    }
}

impl PartitionView {
    /// Its leader, or why it has none.
    ///
    /// # Errors
    /// What the brokers say of it, or that there is none.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<i32> {
        ClientError::check(self.error_code, None, || format!("{topic}-{partition}"))
            .or_else(|error| if self.leader.is_some() { Ok(()) } else { Err(error) })?;
        self.leader.ok_or_else(|| leaderless(topic, partition))
    }
}

pub(super) fn view(name: &Str, topic: &MetadataResponseTopic) -> TopicView {
    let partitions = topic.partitions.iter().map(|p| {
        let partition = PartitionView {
            leader: Some(p.leader_id).filter(|&id| id >= 0),
            error_code: p.error_code,
            leader_epoch: p.leader_epoch,
            replicas: p.replica_nodes.clone(),
            isr: p.isr_nodes.clone(),
            offline: p.offline_replicas.clone(),
        };
        (p.partition_index, partition)
    });
    TopicView {
        name: name.detached(),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions: partitions.collect(),
    }
}

/// Tries again after every transient error until `patience` is used up; then the last error stands.
pub(super) async fn retry<T>(patience: Duration, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    let mut backoff = Backoff::default();
    loop {
        match attempt().await {
            Err(error) if error.is_transient() && Instant::now() < deadline => backoff.wait(deadline).await,
            other => return other,
        }
    }
}

/// Waits that double from one failure to the next.
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(BACKOFF_MIN)
    }
}

impl Backoff {
    /// Waits, but not beyond the deadline.
    pub(super) async fn wait(&mut self, deadline: Instant) {
        sleep(self.0.min(deadline.saturating_duration_since(Instant::now()))).await;
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
    }
}

/// Splits `host:port,host:port` and checks each.
pub fn parse_addresses(list: &str) -> Result<Vec<String>> {
    let addresses: Vec<String> = list.split(',').map(|address| address.trim().to_owned()).collect();
    for address in &addresses {
        let well_formed = address.rsplit_once(':').is_some_and(|(host, port)| {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            !host.is_empty()
                && (bracketed || !host.contains(':'))
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !well_formed {
            return Err(ClientError::Address { address: address.clone() });
        }
    }
    Ok(addresses)
}

pub(super) fn join_address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn topic_unknown(name: &str) -> ClientError {
    let code = ErrorCode::UnknownTopicOrPartition.code();
    ClientError::Broker { what: format!("topic {name}"), code, message: None }
}

/// The refusal of a partition that nobody leads.
pub(super) fn leaderless(topic: &str, partition: i32) -> ClientError {
    let code = ErrorCode::LeaderNotAvailable.code();
    ClientError::Broker { what: format!("{topic}-{partition}"), code, message: None }
}

fn broker_unknown(id: i32) -> ClientError {
    let code = ErrorCode::BrokerNotAvailable.code();
    ClientError::Broker { what: format!("broker {id}"), code, message: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        assert_eq!(parse_addresses("a:1, [::1]:9092").unwrap(), ["a:1", "[::1]:9092"]);
        for bad in ["", "a", "a:", ":1", "a:0", "a:70000", "a:b", "::1:9092", "a:1,,b:2"] {
            assert!(matches!(parse_addresses(bad), Err(ClientError::Address { .. })), "{bad}");
        }
        assert_eq!(join_address("::1", 9), "[::1]:9");
    }
}
