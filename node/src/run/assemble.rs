//! A node from its parts, in any world: listeners bound, data folder read back, broker built, and all of it run until the
//! broker halts.

use crate::budget::Budget;
use crate::config::{ClusterConfig, Flush, Listener, NodeConfig, TimestampType};
use crate::driver::{Cluster, CountedLease, Driver, Meters, PeerRecords, watch_syncs};
use crate::env::{Env, Listener as _, Seen};
use crate::metrics::{MemoryPart, Metrics};
use crate::net::{Event, Inbox, Keys, Limits, Net, listen};
use crate::peer::{PeerDoor, PeerOptions, Peers};
use crate::store::disk::{Disk, Lane};
use crate::store::{Identity, OpenReport, Store, StoreError, StoreOptions};
use seedlog_core::broker::Broker;
use seedlog_core::config::{AdvertisedListener, Config, FlushMode, Roles, Timings, TopicDefaults};
use seedlog_core::ids::{ListenerId, NodeId, Uuid};
use seedlog_core::output::HaltReason;
use seedlog_core::recovered::{Recovered, lost_offsets};
use seedlog_core::rng::Random;
use seedlog_core::settings::BrokerSetting;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

/// Why a node does not start: a sentence for whoever started it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken.
    #[error(
        "listener {listener}: another process listens there; stop it (`ss -ltnp` names it) or choose another port in \
         `listeners`"
    )]
    InUse {
        /// Name, host and port.
        listener: String,
    },
    /// The address cannot be bound.
    #[error("listener {listener}: {source}; write an address of this machine into `listeners`")]
    Bind {
        /// Name, host and port.
        listener: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `cluster.id` is not an id.
    #[error(
        "cluster.id={0}: is not a cluster's id; write 22 characters as Kafka's `kafka-storage random-uuid` prints them"
    )]
    ClusterId(String),
    /// The folder belongs to another cluster.
    #[error(
        "the data folder {} belongs to cluster {found}, but cluster.id is {expected}; point log.dirs to another folder, or \
         correct cluster.id", path.display()
    )]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// Its cluster.
        found: Uuid,
        /// The configured one.
        expected: Uuid,
    },
    /// The system has no randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(io::Error),
    /// The broker ended before it served anybody.
    #[error("{0}")]
    Halted(String),
}

/// A listener's name and what clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Its name, such as PLAINTEXT.
    pub name: String,
    /// What clients connect to.
    pub advertised: AdvertisedListener,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AdvertisedListener { host, port } = &self.advertised;
        let name = &self.name;
        if host.contains(':') {
            write!(f, "{name}://[{host}]:{port}")
        } else {
            write!(f, "{name}://{host}:{port}")
        }
    }
}

/// A node that is ready to run.
#[derive(Debug)]
pub struct Node<E: Env, D: Disk> {
    driver: Driver<E, D>,
    net: Arc<Net<E, CountedLease<D>>>,
    env: E,
    listeners: Vec<E::Listener>,
    /// Where the other nodes come in.
    peers: Option<(PeerDoor<E>, E::Listener)>,
    addresses: Vec<Address>,
    serving: oneshot::Receiver<()>,
    stopper: Stopper<D>,
}

/// Stops a node; clones stop the same one.
#[derive(Debug)]
pub struct Stopper<D: Disk> {
    inbox: Inbox<CountedLease<D>>,
    is_stopping: watch::Sender<bool>,
}

impl<D: Disk> Clone for Stopper<D> {
    fn clone(&self) -> Self {
        Self { inbox: self.inbox.clone(), is_stopping: self.is_stopping.clone() }
    }
}

impl<D: Disk> Stopper<D> {
    /// Asks the node to stop in order. Asking again changes nothing.
    pub fn stop(&self) {
        if !self.is_stopping.send_replace(true) {
            // Without a driver it has stopped already.
            let _ = self.inbox.send(Event::Stop);
        }
    }
}

impl<E: Env, D: Disk> Node<E, D> {
    /// Binds, recovers and builds; nothing is served yet. `settings` is what clients are told of the configuration.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn assemble(
        env: E,
        disk: D,
        config: &NodeConfig,
        settings: Vec<BrokerSetting>,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for listener in &config.listeners {
            let (bound, address) = bind(&env, listener).await?;
            listeners.push(bound);
            addresses.push(address);
        }
        let (peer_listener, peer_address) = match &config.cluster.peer_listener {
            Some(listener) => {
                let (bound, address) = bind(&env, listener).await?;
                (Some(bound), Some(address.advertised))
            }
            None => (None, None),
        };
        let mut random = fresh_random(&env).map_err(StartError::Random)?;
        let options = store_options(config, &mut random);
        let salts = fresh_random(&env).map_err(StartError::Random)?;
        let threads = disk.clone();
        let (mut store, recovered, report) = Store::open(options, disk, salt_source(salts)).await?;
        env.watch(Seen::Recovered(&recovered, &report));
        tell(&report, &recovered);
        let cluster_id = cluster_id(config, &recovered)?;
        watch_syncs(&mut store, metrics);
        let told = addresses.iter().map(|address| address.advertised.clone()).collect();
        let told_peers = peer_address.clone().map(|address| (address.host, address.port));
        let core = core_config(config, store.identity(), cluster_id, told, peer_address);
        let core = Config { settings, ..core };
        let broker = Broker::new(core, random.next_u64(), recovered, env.now());

        let budget = Budget::new(&config.memory, config.queued_request_bytes_max);
        show_budget(config, metrics);
        let (inbox, events) = mpsc::unbounded_channel();
        let (serving_told, serving) = oneshot::channel();
        let (cluster, peers) = match peer_listener {
            Some(listener) => {
                let peers = peers(&env, config, told_peers, &budget, &inbox, metrics);
                let door = peers.door();
                let voters = config.cluster.voters.iter();
                let voters = voters.map(|(&id, address)| (NodeId(id), address.clone())).collect();
                (Some(Cluster::new(peers, voters)), Some((door, listener)))
            }
            None => (None, None),
        };
        let told = inbox.clone();
        metrics.on_wish(move || told.send(Event::Survey).is_ok());
        let meters = Meters::new(metrics.clone(), budget.clone());
        let driver = Driver::new(env.clone(), broker, store, cluster, events, meters, serving_told);
        let keys = Keys::new(driver.compacted(), Box::new(move |work| threads.run(Lane::Cold, work)));
        let net = Net::new(env.clone(), limits(config), budget, inbox.clone(), metrics.net(), keys);
        let stopper = Stopper { inbox, is_stopping: watch::Sender::new(false) };
        Ok(Self { driver, net, env, listeners, peers, addresses, serving, stopper })
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper<D> {
        self.stopper.clone()
    }

    /// Its listeners.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Runs it until it halts. `on_ready` is called once clients are let in.
    pub async fn run(self, on_ready: impl FnOnce(&[Address])) -> HaltReason {
        let Self { driver, net, env, listeners, peers, addresses, serving, stopper } = self;
        // Before anybody is served: nodes must find each other first.
        if let Some((door, listener)) = peers {
            env.spawn(door.listen(listener));
        }
        let mut driving = pin!(driver.run());
        let early = tokio::select! {
            biased;
            reason = &mut driving => Some(reason),
            _ = serving => None,
        };
        if let Some(reason) = early {
            return reason;
        }
        for (at, listener) in listeners.into_iter().enumerate() {
            let id = ListenerId(u16::try_from(at).expect("a configuration has fewer than 65,536 listeners"));
            let mut is_stopping = stopper.is_stopping.subscribe();
            let net = Arc::clone(&net);
            env.spawn(async move {
                tokio::select! {
                    biased;
                    _ = is_stopping.wait_for(|stopping| *stopping) => {}
                    () = listen(net, listener, id) => {}
                }
            });
        }
        on_ready(&addresses);
        driving.await
    }
}

async fn bind<E: Env>(env: &E, listener: &Listener) -> Result<(E::Listener, Address), StartError> {
    let (name, host) = (&listener.bind.name, listener.bind.host.as_deref());
    let shown = || format!("{name}://{}:{}", host.unwrap_or_default(), listener.bind.port);
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::AddrInUse {
            StartError::InUse { listener: shown() }
        } else {
            StartError::Bind { listener: shown(), source }
        }
    };
    let bound = env.bind(host, listener.bind.port).await.map_err(failed)?;
    let port = bound.local_addr().map_err(failed)?.port();
    let port = if listener.advertised_port == 0 { port } else { listener.advertised_port };
    let advertised = AdvertisedListener { host: listener.advertised_host.clone(), port };
    Ok((bound, Address { name: name.clone(), advertised }))
}

/// The streams to the other nodes; none is opened yet.
fn peers<E: Env, D: Disk>(
    env: &E,
    config: &NodeConfig,
    address: Option<crate::peer::Address>,
    budget: &Budget,
    inbox: &Inbox<CountedLease<D>>,
    metrics: &Metrics,
) -> Peers<E, PeerRecords<D>> {
    let options = PeerOptions {
        address,
        cluster_id: config.cluster_id.clone(),
        metrics: metrics.peers(),
        ..PeerOptions::new(NodeId(config.node_id))
    };
    let inbox = inbox.clone();
    let tell = move |event| {
        // Without a driver the node is ending, and nobody is left to be told.
        let _ = inbox.send(Event::Peer(event));
    };
    Peers::new(env.clone(), options, budget.peers.clone(), tell)
}

/// A stream of its own from the world's randomness: fresh at each start (SAFETY C2).
fn fresh_random<E: Env>(env: &E) -> io::Result<Random> {
    let mut seed = [0; 8];
    env.fill_random(&mut seed)?;
    Ok(Random::new(u64::from_le_bytes(seed)))
}

fn salt_source(mut random: Random) -> Box<dyn FnMut() -> u64 + Send> {
    Box::new(move || random.next_u64())
}

fn store_options(config: &NodeConfig, random: &mut Random) -> StoreOptions {
    let defaults = StoreOptions::new(config.log_dir.clone(), NodeId(config.node_id), random.uuid());
    let core_bytes = usize::try_from(config.memory.core_bytes).unwrap_or(usize::MAX);
    StoreOptions {
        flush: flush_mode(config.flush),
        flush_interval: Duration::from_millis(config.flush_interval_ms),
        journal_file_bytes: config.journal_file_bytes,
        journal_bytes_max: config.journal_bytes_max,
        tail_cache_bytes: usize::try_from(config.memory.tail_cache_bytes).unwrap_or(usize::MAX),
        cold_cache_bytes: usize::try_from(config.memory.cold_cache_bytes).unwrap_or(usize::MAX),
        index_bytes_max: core_bytes / 2,
        reads_ahead: config.cluster.peer_listener.is_some(),
        // Segments must keep up before the journal is full.
        write_behind_bytes: defaults
            .write_behind_bytes
            .min(config.journal_bytes_max / 8)
            .min(config.memory.tail_cache_bytes / 4),
        index_interval_bytes: config.index_interval_bytes,
        cleaner_keys_bytes_max: usize::try_from(config.cleaner.keys_bytes_max).unwrap_or(usize::MAX),
        cleaner_bytes_per_second_max: config.cleaner.bytes_per_second_max,
        free_bytes_min: config.disk_free_bytes_min,
        ..defaults
    }
}

fn flush_mode(flush: Flush) -> FlushMode {
    match flush {
        Flush::Always => FlushMode::Always,
        Flush::Interval => FlushMode::Interval,
    }
}

/// The settings of a cluster, and what follows from them.
fn timings(cluster: &ClusterConfig) -> Timings {
    let defaults = Timings::default();
    let defaults = match cluster.internals {
        Some(own) => Timings {
            lost_broker_ms: own.lost_broker_ms,
            resend_ms: own.resend_ms,
            forward_ms: own.forward_ms,
            shutdown_ms: own.shutdown_ms,
            ..defaults
        },
        None => defaults,
    };
    let election_timeout_ms = cluster.election_timeout_ms.max(5);
    Timings {
        election_timeout_ms,
        quorum_beat_ms: election_timeout_ms / 5,
        broker_beat_ms: cluster.heartbeat_interval_ms,
        broker_session_ms: cluster.session_timeout_ms,
        lost_broker_ms: defaults.lost_broker_ms.min(cluster.session_timeout_ms),
        replica_lag_ms_max: cluster.replica_lag_ms_max,
        rebalance_ms: cluster.rebalance_interval_ms.unwrap_or(0),
        ..defaults
    }
}

/// The cluster that is configured, unless the folder belongs to another one.
fn cluster_id(config: &NodeConfig, recovered: &Recovered) -> Result<Option<Uuid>, StartError> {
    let Some(text) = &config.cluster_id else { return Ok(None) };
    let expected = Uuid::parse(text).ok_or_else(|| StartError::ClusterId(text.clone()))?;
    match recovered.quorum.cluster.as_ref().map(|cluster| cluster.id) {
        Some(found) if found != expected => {
            Err(StartError::OtherCluster { path: config.log_dir.clone(), found, expected })
        }
        Some(_) | None => Ok(Some(expected)),
    }
}

/// About what a partition takes in a fetch session, with its place in a queue and among those who watch it.
const SESSION_PARTITION_BYTES: u64 = 512;

fn core_config(
    config: &NodeConfig,
    identity: Identity,
    cluster_id: Option<Uuid>,
    listeners: Vec<AdvertisedListener>,
    peer: Option<AdvertisedListener>,
) -> Config {
    let cluster = &config.cluster;
    // A node that is no broker tells no client where it is.
    let nowhere = AdvertisedListener { host: String::new(), port: 0 };
    let first = listeners.first().cloned().unwrap_or(nowhere);
    let defaults = Config::new(identity.node_id, identity.incarnation, first);
    let limited = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Config {
        cluster_id,
        roles: Roles { broker: cluster.is_broker, controller: cluster.is_controller },
        voters: if cluster.voters.is_empty() {
            vec![identity.node_id]
        } else {
            cluster.voters.keys().map(|&id| NodeId(id)).collect()
        },
        admits_voters: cluster.admits_voters,
        timings: timings(cluster),
        peer_listener: peer,
        peer_listener_name: match &cluster.peer_listener {
            Some(listener) => listener.bind.name.clone(),
            None => defaults.peer_listener_name.clone(),
        },
        voter_listeners: cluster
            .voters
            .iter()
            .map(|(&id, (host, port))| (NodeId(id), AdvertisedListener { host: host.clone(), port: *port }))
            .collect(),
        rack: config.rack.clone(),
        listeners,
        flush: flush_mode(config.flush),
        topic: TopicDefaults {
            partitions: i32::try_from(config.partitions_default).unwrap_or(i32::MAX),
            replication_factor: config
                .replication_factor_default
                .map(|factor| i16::try_from(factor).unwrap_or(i16::MAX)),
            min_insync_replicas: config.insync_replicas_min.map(i32::from),
            segment_bytes: config.segment_bytes,
            segment_ms: limited(config.segment_ms).max(1),
            segment_jitter_ms: limited(config.segment_jitter_ms),
            message_bytes_max: config.message_bytes_max,
            log_append_time: config.timestamp_type == TimestampType::LogAppendTime,
            timestamp_before_ms_max: limited(config.timestamp_before_ms_max),
            timestamp_after_ms_max: limited(config.timestamp_after_ms_max),
            retention_ms: config.retention_ms.map_or(-1, limited),
            retention_bytes: config.retention_bytes.map_or(-1, limited),
            cleanup: config.cleaner.policy,
            compaction: config.cleaner.rules,
        },
        cleaner_backoff_ms: config.cleaner.backoff_ms,
        retention_check_ms: config.retention_check_ms,
        groups: config.groups,
        auto_create_topics: config.auto_create_topics,
        producer_id_expiration_ms: config.producer_id_expiration_ms,
        fetch_bytes_max: config.fetch_bytes_max,
        fetch_sessions_max: config.fetch_sessions_max as usize,
        fetch_session_partitions_max: usize::try_from(config.memory.core_bytes / SESSION_PARTITION_BYTES)
            .unwrap_or(usize::MAX),
        peer_window_bytes: cluster.internals.map_or(defaults.peer_window_bytes, |own| own.peer_window_bytes),
        metadata_entries_max: cluster
            .internals
            .map_or(defaults.metadata_entries_max, |own| own.metadata_entries_max),
        disk_free_bytes_min: config.disk_free_bytes_min,
        // A journal that is small needs snapshots sooner.
        snapshot_journal_bytes: defaults.snapshot_journal_bytes.min(config.journal_bytes_max / 4),
        ..defaults
    }
}

fn limits(config: &NodeConfig) -> Limits {
    Limits {
        request_bytes_max: config.request_bytes_max as usize,
        connections_max: config.connections_max,
        connections_per_ip_max: config.connections_per_ip_max,
        connections_per_ip_overrides: Arc::new(config.connections_per_ip_overrides.clone()),
        connection_rate_max: config.connection_rate_max,
        idle_ms_max: config.connection_idle_ms_max,
        frame_ms_base: config.request_arrival_ms,
        ..Limits::default()
    }
}

fn show_budget(config: &NodeConfig, metrics: &Metrics) {
    let memory = &config.memory;
    metrics.set_memory_budget(MemoryPart::TailCache, memory.tail_cache_bytes);
    metrics.set_memory_budget(MemoryPart::ColdCache, memory.cold_cache_bytes);
    metrics.set_memory_budget(MemoryPart::Requests, memory.requests_bytes);
    metrics.set_memory_budget(MemoryPart::Replies, memory.replies_bytes);
    metrics.set_memory_budget(MemoryPart::Peers, memory.peers_bytes);
    metrics.set_memory_budget(MemoryPart::Core, memory.core_bytes);
}

/// Says what recovery found; damage one line for each partition, with everything that is needed to judge it.
fn tell(report: &OpenReport, recovered: &Recovered) {
    let Identity { incarnation, .. } = report.identity;
    info!(
        %incarnation,
        first_use = report.first_use,
        clean = report.clean,
        journal_files = report.journal_files,
        rewritten_groups = report.rewritten,
        partitions = recovered.partitions.len(),
        end = recovered.end.0,
        "data folder opened"
    );
    if report.cut {
        warn!(
            "the journal's end was torn and has been cut: what was lost there was never acknowledged, unless the disk lost it"
        );
    }
    for range in &report.damage {
        error!(first = range.first.0, last = range.last.0, "journal entries are damaged and lost");
    }
    for (partition, damage) in lost_offsets(recovered) {
        let topic = recovered.topic_name(partition.topic_id).unwrap_or_else(|| "(unknown)".to_owned());
        let to = damage.to.map_or_else(|| "the end".to_owned(), |to| to.to_string());
        error!(
            topic,
            partition = partition.partition.0,
            from = damage.from.0,
            to,
            "records are lost; the partition is not served: restore the folder from a copy, or delete the topic"
        );
    }
    for folder in &report.set_aside {
        warn!(folder, "a partition that nobody knows was moved to `set-aside`");
    }
}
