//! The configuration of a node as plain values, and the rules that settings must keep together.

use super::cluster::{self, ClusterConfig, is_alone};
use super::error::{ConfigError, ConfigErrors, Warning};
use super::groups;
use super::listeners::{self, Listener, Resolved, parse_admin_listener, parse_endpoints, parse_overrides};
use super::registry::split_list;
use super::settings::Settings;
use seedlog_core::group::GroupSettings;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// What a node is started with. Units stand last in a name; what may be off or unlimited is an `Option`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// `node.id`
    pub node_id: i32,
    /// `cluster.id` in Kafka's form, 22 characters; `None` to take the data folder's.
    pub cluster_id: Option<String>,
    /// `broker.rack`
    pub rack: Option<String>,
    /// What the node is to its cluster.
    pub cluster: ClusterConfig,
    /// The listeners for clients, in the order of `listeners`; empty only for a node that is no broker.
    pub listeners: Vec<Listener>,
    /// `admin.listener`; `None` when it is off.
    pub admin_listener: Option<SocketAddr>,
    /// `log.dirs` or `log.dir`.
    pub log_dir: PathBuf,

    /// `auto.create.topics.enable`
    pub auto_create_topics: bool,
    /// `num.partitions`
    pub partitions_default: u32,
    /// `default.replication.factor`; `None` for the lesser of 3 and the number of brokers.
    pub replication_factor_default: Option<u16>,
    /// `min.insync.replicas`; `None` for a majority of the replicas.
    pub insync_replicas_min: Option<u16>,

    /// `message.max.bytes`
    pub message_bytes_max: u32,
    /// `socket.request.max.bytes`
    pub request_bytes_max: u32,
    /// `fetch.max.bytes`
    pub fetch_bytes_max: u32,
    /// `max.incremental.fetch.session.cache.slots`
    pub fetch_sessions_max: u32,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: u64,
    /// `log.message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `log.message.timestamp.before.max.ms`
    pub timestamp_before_ms_max: u64,
    /// `log.message.timestamp.after.max.ms`
    pub timestamp_after_ms_max: u64,

    /// `log.segment.bytes`
    pub segment_bytes: u32,
    /// `log.roll.ms` or `log.roll.hours`
    pub segment_ms: u64,
    /// `log.roll.jitter.ms` or `log.roll.jitter.hours`
    pub segment_jitter_ms: u64,
    /// `log.retention.ms`, `log.retention.minutes` or `log.retention.hours`; `None` for ever.
    pub retention_ms: Option<u64>,
    /// `log.retention.bytes`; `None` without a limit.
    pub retention_bytes: Option<u64>,
    /// `log.retention.check.interval.ms`.
    pub retention_check_ms: u64,
    /// Consumer groups.
    pub groups: GroupSettings,
    /// `log.index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `flush`
    pub flush: Flush,
    /// `flush.interval.ms`, which counts with [`Flush::Interval`] only.
    pub flush_interval_ms: u64,
    /// `journal.file.bytes`
    pub journal_file_bytes: u64,
    /// `journal.bytes.max`
    pub journal_bytes_max: u64,
    /// `group.bytes.max`
    pub group_bytes_max: u32,
    /// `disk.direct.io`
    pub direct_io: DirectIo,
    /// `disk.free.bytes.min`
    pub disk_free_bytes_min: u64,
    /// `cold.read.threads`
    pub cold_read_threads: u16,

    /// `max.connections`
    pub connections_max: u32,
    /// `max.connections.per.ip`
    pub connections_per_ip_max: u32,
    /// `max.connections.per.ip.overrides`
    pub connections_per_ip_overrides: BTreeMap<IpAddr, u32>,
    /// `max.connection.creation.rate`, in a second.
    pub connection_rate_max: u32,
    /// `connections.max.idle.ms`; `None` for never.
    pub connection_idle_ms_max: Option<u64>,
    /// `request.arrival.ms`
    pub request_arrival_ms: u64,
    /// `queued.max.request.bytes`; `None` for what the memory budget gives.
    pub queued_request_bytes_max: Option<u64>,
    /// `memory.budget.bytes` and its parts.
    pub memory: MemoryBudget,
}

/// `log.message.timestamp.type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// A record keeps its producer's timestamp.
    CreateTime,
    /// A record gets the time of its append.
    LogAppendTime,
}

/// `flush`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Acknowledge after the sync.
    Always,
    /// Acknowledge after the write and sync from time to time.
    Interval,
}

/// `disk.direct.io`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectIo {
    /// Where the file system allows it.
    Auto,
    /// Or the node does not start.
    On,
    /// Never.
    Off,
}

/// One budget, split into parts that add up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// The whole.
    pub total_bytes: u64,
    /// The newest records: `memory.tail.cache.bytes`, or a quarter of the whole.
    pub tail_cache_bytes: u64,
    /// Old records that are read from segments, or ahead of their readers: a sixteenth of the whole.
    pub cold_cache_bytes: u64,
    /// Requests that were read and are not answered: half of the rest.
    pub requests_bytes: u64,
    /// Replies that are not written: a third of the rest.
    pub replies_bytes: u64,
    /// Record batches of other nodes that were read and are not in the journal: a twelfth of the rest, if there are any
    /// other nodes.
    pub peers_bytes: u64,
    /// The state of the core, and what is left.
    pub core_bytes: u64,
}

impl MemoryBudget {
    fn split(total_bytes: u64, tail_cache_bytes: u64, is_alone: bool) -> Self {
        let cold_cache_bytes = total_bytes / 16;
        let rest = total_bytes.saturating_sub(tail_cache_bytes + cold_cache_bytes);
        let (requests_bytes, replies_bytes) = (rest / 2, rest / 3);
        let peers_bytes = if is_alone { 0 } else { rest / 12 };
        let core_bytes = rest - requests_bytes - replies_bytes - peers_bytes;
        Self {
            total_bytes,
            tail_cache_bytes,
            cold_cache_bytes,
            requests_bytes,
            replies_bytes,
            peers_bytes,
            core_bytes,
        }
    }
}

/// A group of one batch holds a little more than the batch: its frame and the entry's header, in one block.
const GROUP_OVERHEAD_BYTES: u64 = 4096;
/// The listener for controllers, where nobody says which it is.
const CONTROLLER: &str = "CONTROLLER";
/// Fewer files leave none to write while others wait for their segments.
const JOURNAL_FILES_MIN: u64 = 4;
const HOUR_MS: i64 = 3_600_000;

/// Builds the node's configuration. Values that follow from others are written back, so that `show` has them.
pub(super) fn build(
    settings: &mut Settings,
    hostname: &str,
) -> Result<(NodeConfig, Vec<Warning>), ConfigErrors> {
    derive_values(settings);
    let Resolved { clients, peers, mut warnings, mut errors } = listeners::resolve(settings, hostname);
    let log_dir = log_dir(settings, &mut warnings, &mut errors);
    check_identity(settings, &mut errors);
    let read = cluster::build(settings, peers, &mut errors)
        .and_then(|cluster| read(settings, cluster, clients, log_dir));
    match read {
        Ok(config) => {
            warnings.extend(cluster::warnings(settings, &config.cluster));
            check_sizes(settings, &config, &mut errors);
            if errors.is_empty() { Ok((config, warnings)) } else { Err(ConfigErrors(errors)) }
        }
        Err(error) => {
            errors.push(error);
            Err(ConfigErrors(errors))
        }
    }
}

fn derive_values(settings: &mut Settings) {
    if settings.text("memory.tail.cache.bytes").is_none() {
        let total: Result<u64, ConfigError> = number(settings, "memory.budget.bytes");
        if let Ok(total) = total {
            settings.derive("memory.tail.cache.bytes", (total / 4).to_string(), "memory.budget.bytes");
        }
    }
    let older = settings.text("broker.id").filter(|_| !settings.origin("node.id").is_explicit());
    if let Some(id) = older.filter(|id| *id != "-1").map(str::to_owned) {
        settings.derive("node.id", id, "broker.id");
    }
    let has_controller_listener = settings
        .text("listeners")
        .and_then(|value| parse_endpoints(value).ok())
        .is_some_and(|endpoints| endpoints.iter().any(|endpoint| endpoint.name == CONTROLLER));
    if settings.text("controller.listener.names").is_none() && has_controller_listener {
        settings.derive("controller.listener.names", CONTROLLER.to_owned(), "listeners");
    }
    if settings.text("log.dirs").is_none()
        && let Some(folder) = settings.text("log.dir").map(str::to_owned)
    {
        settings.derive("log.dirs", folder, "log.dir");
    }
}

fn read(
    settings: &Settings,
    cluster: ClusterConfig,
    listeners: Vec<Listener>,
    log_dir: PathBuf,
) -> Result<NodeConfig, ConfigError> {
    let idle_ms: i64 = number(settings, "connections.max.idle.ms")?;
    let budget = number(settings, "memory.budget.bytes")?;
    let memory =
        MemoryBudget::split(budget, number(settings, "memory.tail.cache.bytes")?, is_alone(settings));
    let message_bytes_max = number(settings, "message.max.bytes")?;
    Ok(NodeConfig {
        node_id: number(settings, "node.id")?,
        cluster_id: settings.text("cluster.id").map(str::to_owned),
        rack: settings.text("broker.rack").map(str::to_owned),
        cluster,
        listeners,
        admin_listener: admin_listener(settings)?,
        log_dir,
        auto_create_topics: word(settings, "auto.create.topics.enable", &[("true", true), ("false", false)])?,
        partitions_default: number(settings, "num.partitions")?,
        replication_factor_default: number_if_set(settings, "default.replication.factor")?,
        insync_replicas_min: number_if_set(settings, "min.insync.replicas")?,
        message_bytes_max,
        groups: groups::read(settings, message_bytes_max, memory.core_bytes)?,
        request_bytes_max: number(settings, "socket.request.max.bytes")?,
        fetch_bytes_max: number(settings, "fetch.max.bytes")?,
        fetch_sessions_max: number(settings, "max.incremental.fetch.session.cache.slots")?,
        producer_id_expiration_ms: number(settings, "producer.id.expiration.ms")?,
        timestamp_type: word(
            settings,
            "log.message.timestamp.type",
            &[("CreateTime", TimestampType::CreateTime), ("LogAppendTime", TimestampType::LogAppendTime)],
        )?,
        timestamp_before_ms_max: number(settings, "log.message.timestamp.before.max.ms")?,
        timestamp_after_ms_max: number(settings, "log.message.timestamp.after.max.ms")?,
        segment_bytes: number(settings, "log.segment.bytes")?,
        segment_ms: duration_ms(settings, &[("log.roll.ms", 1), ("log.roll.hours", HOUR_MS)])?.unwrap_or(1),
        segment_jitter_ms: duration_ms(
            settings,
            &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOUR_MS)],
        )?
        .unwrap_or(0),
        retention_ms: duration_ms(
            settings,
            &[("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", HOUR_MS)],
        )?,
        retention_bytes: u64::try_from(number::<i64>(settings, "log.retention.bytes")?).ok(),
        retention_check_ms: number(settings, "log.retention.check.interval.ms")?,
        index_interval_bytes: number(settings, "log.index.interval.bytes")?,
        flush: word(settings, "flush", &[("always", Flush::Always), ("interval", Flush::Interval)])?,
        flush_interval_ms: number(settings, "flush.interval.ms")?,
        journal_file_bytes: number(settings, "journal.file.bytes")?,
        journal_bytes_max: number(settings, "journal.bytes.max")?,
        group_bytes_max: number(settings, "group.bytes.max")?,
        direct_io: word(
            settings,
            "disk.direct.io",
            &[("auto", DirectIo::Auto), ("true", DirectIo::On), ("false", DirectIo::Off)],
        )?,
        disk_free_bytes_min: number(settings, "disk.free.bytes.min")?,
        cold_read_threads: number(settings, "cold.read.threads")?,
        connections_max: number(settings, "max.connections")?,
        connections_per_ip_max: number(settings, "max.connections.per.ip")?,
        connections_per_ip_overrides: overrides(settings)?,
        connection_rate_max: number(settings, "max.connection.creation.rate")?,
        connection_idle_ms_max: u64::try_from(idle_ms).ok(),
        request_arrival_ms: number(settings, "request.arrival.ms")?,
        queued_request_bytes_max: u64::try_from(number::<i64>(settings, "queued.max.request.bytes")?).ok(),
        memory,
    })
}

pub(super) fn invalid(settings: &Settings, key: &str, allowed: String) -> ConfigError {
    let value = settings.text(key).unwrap_or_default().to_owned();
    ConfigError::Invalid { key: key.to_owned(), value, origin: settings.origin(key), allowed }
}

/// A whole number. The table has checked its range, which is within that of `T`.
pub(super) fn number<T: TryFrom<i64>>(settings: &Settings, key: &str) -> Result<T, ConfigError> {
    let number = settings.text(key).and_then(|value| value.parse::<i64>().ok());
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| invalid(settings, key, "a whole number in range".to_owned()))
}

/// As [`number`], of a key that may be left out.
pub(super) fn number_if_set<T: TryFrom<i64>>(
    settings: &Settings,
    key: &str,
) -> Result<Option<T>, ConfigError> {
    settings.text(key).is_some().then(|| number(settings, key)).transpose()
}

/// The first of the keys that has a value, in ms; `None` if it is below 0, which means without end.
fn duration_ms(settings: &Settings, keys: &[(&str, i64)]) -> Result<Option<u64>, ConfigError> {
    for &(key, unit_ms) in keys {
        if let Some(count) = number_if_set::<i64>(settings, key)? {
            return Ok(u64::try_from(count.saturating_mul(unit_ms)).ok());
        }
    }
    Ok(None)
}

/// The meaning of a word; `true` and `false` are taken in any case, as Kafka does.
pub(super) fn word<T: Copy>(
    settings: &Settings,
    key: &str,
    meanings: &[(&str, T)],
) -> Result<T, ConfigError> {
    let value = settings.text(key).unwrap_or_default();
    match meanings.iter().find(|(word, _)| word.eq_ignore_ascii_case(value)) {
        Some((_, meaning)) => Ok(*meaning),
        None => Err(invalid(settings, key, "one of its words".to_owned())),
    }
}

fn admin_listener(settings: &Settings) -> Result<Option<SocketAddr>, ConfigError> {
    let value = settings.text("admin.listener").unwrap_or_default();
    parse_admin_listener(value).map_err(|allowed| invalid(settings, "admin.listener", allowed))
}

fn overrides(settings: &Settings) -> Result<BTreeMap<IpAddr, u32>, ConfigError> {
    const KEY: &str = "max.connections.per.ip.overrides";
    let value = settings.text(KEY).unwrap_or_default();
    parse_overrides(value).map_err(|allowed| invalid(settings, KEY, allowed))
}

pub(super) fn conflict(settings: &Settings, key: &str, rule: String) -> ConfigError {
    let value = settings.text(key).unwrap_or_default().to_owned();
    ConfigError::Conflict { key: key.to_owned(), value, origin: settings.origin(key), rule }
}

/// The data folder. `log.dirs` wins over `log.dir` as in Kafka, but never silently over a place that ranks higher.
fn log_dir(settings: &Settings, warnings: &mut Vec<Warning>, errors: &mut Vec<ConfigError>) -> PathBuf {
    let (one, many) = (settings.origin("log.dir"), settings.origin("log.dirs"));
    if one.is_explicit() && many.is_explicit() {
        if one.rank() > many.rank() {
            let rule = format!("log.dirs ({many}) wins over it; set log.dirs instead");
            errors.push(conflict(settings, "log.dir", rule));
        } else {
            let because = format!("log.dirs is set ({many})");
            warnings.push(Warning::Ineffective { key: "log.dir".to_owned(), origin: one, because });
        }
    }
    match split_list(settings.text("log.dirs").unwrap_or_default()).as_slice() {
        [folder] => PathBuf::from(folder),
        [] => {
            errors.push(conflict(
                settings,
                "log.dirs",
                "must name a folder, such as log.dirs=/var/lib/seedlog".to_owned(),
            ));
            PathBuf::new()
        }
        [..] => {
            errors.push(conflict(settings, "log.dirs", "this release takes one folder; name one".to_owned()));
            PathBuf::new()
        }
    }
}

fn check_identity(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let (id, older) = (settings.text("node.id"), settings.text("broker.id"));
    if older != Some("-1") && older.is_some() && id != older {
        let rule = format!("differs from node.id={}; keep node.id alone", id.unwrap_or_default());
        errors.push(conflict(settings, "broker.id", rule));
    }
}

/// What sizes must keep between them: `(smaller key, its size, larger key, its size, why)`.
fn check_sizes(settings: &Settings, config: &NodeConfig, errors: &mut Vec<ConfigError>) {
    let memory = &config.memory;
    let rules: [(&str, u64, &str, u64, &str); 7] = [
        (
            "message.max.bytes",
            config.message_bytes_max.into(),
            "socket.request.max.bytes",
            config.request_bytes_max.into(),
            "a message comes in one request",
        ),
        (
            "message.max.bytes",
            config.message_bytes_max.into(),
            "group.bytes.max",
            u64::from(config.group_bytes_max).saturating_sub(GROUP_OVERHEAD_BYTES),
            "a message goes to the journal in one group, which takes 4096 bytes itself",
        ),
        (
            "group.bytes.max",
            config.group_bytes_max.into(),
            "journal.file.bytes",
            config.journal_file_bytes.saturating_sub(GROUP_OVERHEAD_BYTES),
            "a group lies in one file, whose first 4096 bytes are taken",
        ),
        (
            "journal.file.bytes",
            config.journal_file_bytes,
            "journal.bytes.max",
            config.journal_bytes_max / JOURNAL_FILES_MIN,
            "the journal needs four files",
        ),
        (
            "memory.tail.cache.bytes",
            memory.tail_cache_bytes,
            "memory.budget.bytes",
            memory.total_bytes / 2,
            "the newest records may take half of the budget",
        ),
        (
            "socket.request.max.bytes",
            config.request_bytes_max.into(),
            "memory.budget.bytes",
            memory.requests_bytes,
            "a request must fit into the half of the budget, without the caches, that requests may take",
        ),
        (
            "fetch.max.bytes",
            config.fetch_bytes_max.into(),
            "memory.budget.bytes",
            memory.replies_bytes,
            "a reply must fit into the third of the budget, without the caches, that replies may take",
        ),
    ];
    for (key, size, larger, size_max, why) in rules {
        if size > size_max {
            let (value, origin) = (settings.text(larger).unwrap_or_default(), settings.origin(larger));
            let rule = format!("may be at most {size_max} with {larger}={value} ({origin}): {why}");
            errors.push(conflict(settings, key, rule));
        }
    }
    if !config.journal_file_bytes.is_multiple_of(4096) {
        errors.push(conflict(settings, "journal.file.bytes", "must be a multiple of 4096".to_owned()));
    }
}
