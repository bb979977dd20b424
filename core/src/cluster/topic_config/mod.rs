//! A topic's settings: those of its own, those in force, and how clients are told of them. What is not set follows the
//! broker's defaults.
//!
//! ```text
//!   table ---> value              own settings (durable, as text)
//!   every key  types and ranges     '--> typed --> resolve --> TopicSettings: what appends go by
//! ```
//!
//! Not here: who may change them and what follows from it (`decide::configs`), `min.insync.replicas` in force, which is
//! in the metadata ([`crate::cluster::image::TopicImage::min_insync_replicas`]), whatever a node's configuration says.

pub mod table;
mod value;

pub use table::{Effect, TOPIC_KEYS, TopicKey, topic_key};
pub use value::Kind;

use crate::config::{CleanupPolicy, Config, TopicDefaults};
use crate::ids::TopicPartition;
use crate::log::{CompactionRules, SegmentLimits};
use crate::settings::SettingSource;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A topic's own settings, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicConfig {
    /// By Kafka's names, in the spelling that they are told in.
    own: BTreeMap<String, String>,
    /// What appends go by, so that none of them parses text.
    typed: Typed,
}

/// The own settings that change what a broker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Typed {
    segment_bytes: Option<u32>,
    segment_ms: Option<i64>,
    segment_jitter_ms: Option<i64>,
    message_bytes_max: Option<u32>,
    log_append_time: Option<bool>,
    timestamp_before_ms_max: Option<i64>,
    timestamp_after_ms_max: Option<i64>,
    min_insync_replicas: Option<i32>,
    retention_ms: Option<i64>,
    retention_bytes: Option<i64>,
    cleanup: Option<CleanupPolicy>,
    dirty_ppm_min: Option<u32>,
    lag_ms_min: Option<i64>,
    lag_ms_max: Option<i64>,
    delete_retention_ms: Option<i64>,
}

/// The settings in force of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSettings {
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `max.message.bytes`.
    pub message_bytes_max: u32,
    /// `message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_ms_max: i64,
    /// `retention.ms`; `None` for ever, or if `cleanup.policy` is without `delete`.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; `None` without a limit, or if `cleanup.policy` is without `delete`.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy` has `compact`.
    pub is_compacted: bool,
    /// When it is compacted, and what goes.
    pub compaction: CompactionRules,
}

/// One setting of a topic as it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Described<K> {
    /// Its entry in the table.
    pub key: K,
    /// The value in force.
    pub value: String,
    /// Where it comes from.
    pub source: SettingSource,
    /// The places that the value may come from, the one that counts first.
    pub synonyms: Vec<Synonym>,
}

/// A place that a value may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    /// The setting's name there.
    pub name: &'static str,
    /// Its value there.
    pub value: String,
    /// The place.
    pub source: SettingSource,
}

impl TopicConfig {
    /// Takes settings by Kafka's names.
    ///
    /// # Errors
    /// A sentence for the client: a key is unknown, a value is not what it must be, or two do not go together.
    pub fn new(settings: &BTreeMap<String, String>) -> Result<Self, String> {
        // As in Kafka, an unknown name is told before a wrong value.
        if let Some(unknown) = settings.keys().find(|name| topic_key(name).is_none()) {
            return Err(format!("Unknown topic config name: {unknown}"));
        }
        let mut own = BTreeMap::new();
        for (name, value) in settings {
            let Some(key) = topic_key(name) else { continue };
            own.insert(name.clone(), key.parse(value)?);
        }
        check_lags(&own)?;
        Ok(Self { typed: Typed::of(&own), own })
    }

    /// The own settings by name, in order.
    #[must_use]
    pub fn own(&self) -> &BTreeMap<String, String> {
        &self.own
    }

    /// About what they take in a record, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        /// Two lengths.
        const FRAME_BYTES: usize = 6;
        self.own.iter().map(|(name, value)| name.len() + value.len() + FRAME_BYTES).sum()
    }

    /// The settings in force, given the broker's defaults.
    #[must_use]
    pub fn resolve(&self, defaults: &TopicDefaults) -> TopicSettings {
        let own = &self.typed;
        let retention_ms = own.retention_ms.unwrap_or(defaults.retention_ms);
        let retention_bytes = own.retention_bytes.unwrap_or(defaults.retention_bytes);
        let cleanup = own.cleanup.unwrap_or(defaults.cleanup);
        let rules = &defaults.compaction;
        TopicSettings {
            segment_bytes: own.segment_bytes.unwrap_or(defaults.segment_bytes),
            segment_ms: own.segment_ms.unwrap_or(defaults.segment_ms),
            segment_jitter_ms: own.segment_jitter_ms.unwrap_or(defaults.segment_jitter_ms),
            message_bytes_max: own.message_bytes_max.unwrap_or(defaults.message_bytes_max),
            log_append_time: own.log_append_time.unwrap_or(defaults.log_append_time),
            timestamp_before_ms_max: own.timestamp_before_ms_max.unwrap_or(defaults.timestamp_before_ms_max),
            timestamp_after_ms_max: own.timestamp_after_ms_max.unwrap_or(defaults.timestamp_after_ms_max),
            retention_ms: Some(retention_ms).filter(|&ms| ms >= 0 && cleanup.delete),
            retention_bytes: u64::try_from(retention_bytes).ok().filter(|_| cleanup.delete),
            is_compacted: cleanup.compact,
            compaction: CompactionRules {
                dirty_ppm_min: own.dirty_ppm_min.unwrap_or(rules.dirty_ppm_min),
                lag_ms_min: own.lag_ms_min.unwrap_or(rules.lag_ms_min),
                lag_ms_max: own.lag_ms_max.unwrap_or(rules.lag_ms_max),
                delete_retention_ms: own.delete_retention_ms.unwrap_or(rules.delete_retention_ms),
            },
        }
    }

    /// `min.insync.replicas` for a topic with this many replicas: its own, the broker's default, or a majority.
    #[must_use]
    pub fn min_insync_replicas(&self, defaults: &TopicDefaults, replication_factor: usize) -> i32 {
        let majority = i32::try_from(replication_factor / 2 + 1).expect("replicas are few");
        self.typed.min_insync_replicas.or(defaults.min_insync_replicas).unwrap_or(majority)
    }

    /// All settings as clients are told of them, in order. `min_insync_replicas` is the topic's, as the metadata has it.
    pub fn describe<'a>(
        &'a self,
        config: &'a Config,
        min_insync_replicas: i32,
    ) -> impl Iterator<Item = Described<&'static TopicKey>> + 'a {
        TOPIC_KEYS.iter().map(move |key| self.describe_key(key, config, min_insync_replicas))
    }

    fn describe_key(
        &self,
        key: &'static TopicKey,
        config: &Config,
        min_insync_replicas: i32,
    ) -> Described<&'static TopicKey> {
        let own = self.own.get(key.name).map(|value| (key.name, value.as_str(), SettingSource::Topic));
        let synonyms = synonyms_of_broker(config, own, key.synonyms);
        let (kept, source) = described_value(&synonyms, own, config.topic.inherited(key.name), key.default);
        let value = if key.name == "min.insync.replicas" { min_insync_replicas.to_string() } else { kept };
        Described { key, value, source, synonyms }
    }
}

/// A resource's own setting: its name, value and source.
type Own<'a> = (&'static str, &'a str, SettingSource);

/// The places that a value may come from, the one that counts first: the resource's own, and the broker's settings of these
/// names.
pub(super) fn synonyms_of_broker(
    config: &Config,
    own: Option<Own<'_>>,
    names: &'static [&'static str],
) -> Vec<Synonym> {
    let synonym = |(name, value, source): Own<'_>| Synonym { name, value: value.to_string(), source };
    let settings = || names.iter().filter_map(|name| config.setting(name));
    let set = settings().filter(|setting| setting.is_set).map(|setting| {
        synonym((setting.key, setting.value.as_deref().unwrap_or_default(), SettingSource::Broker))
    });
    let defaults = settings()
        .filter_map(|setting| Some(synonym((setting.key, setting.default?, SettingSource::Default))));
    own.map(synonym).into_iter().chain(set).chain(defaults).collect()
}

/// The value in force and where it comes from. `inherited` is what a resource without its own goes by.
pub(super) fn described_value(
    synonyms: &[Synonym],
    own: Option<Own<'_>>,
    inherited: Option<String>,
    default: &str,
) -> (String, SettingSource) {
    let of_broker = synonyms.iter().find(|synonym| synonym.source == SettingSource::Broker);
    match (own, of_broker) {
        (Some((_, value, source)), _) => (value.to_string(), source),
        (None, Some(set)) => (inherited.unwrap_or_else(|| set.value.clone()), SettingSource::Broker),
        (None, None) => (inherited.unwrap_or_else(|| default.to_string()), SettingSource::Default),
    }
}

impl TopicKey {
    /// A value in the spelling that it is kept and told in.
    ///
    /// # Errors
    /// A sentence for the client.
    pub fn parse(&self, value: &str) -> Result<String, String> {
        let invalid = |why: &str| format!("Invalid value {value} for configuration {}: {why}", self.name);
        let parsed = self.kind.parse(value).map_err(|allowed| invalid(&format!("it must be {allowed}")))?;
        match self.effect {
            Effect::Only(only, why) if parsed != only => {
                Err(invalid(&format!("only {only} is supported, because {why}")))
            }
            Effect::Only(..) | Effect::Behaves | Effect::Kept(_) => Ok(parsed),
        }
    }

    /// What it does, and what this release makes of it.
    #[must_use]
    pub fn documentation(&self) -> String {
        match self.effect {
            Effect::Behaves => self.doc.to_string(),
            Effect::Kept(why) => format!("{} {why}", self.doc),
            Effect::Only(only, why) => format!("{} Only {only} is supported, because {why}.", self.doc),
        }
    }

    /// It is a list, which values can be added to and taken from.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.kind, Kind::Words(_) | Kind::Replicas)
    }
}

impl TopicSettings {
    /// When a partition begins a new segment. Each has its own part of `segment.jitter.ms`, the same on all replicas and in
    /// every run, so that partitions that were made together do not begin segments together for ever.
    #[must_use]
    pub fn segment_limits(&self, partition: TopicPartition) -> SegmentLimits {
        // What must be cleaned in time cannot stay in the segment that takes appends.
        let lag_ms_max = if self.is_compacted { self.compaction.lag_ms_max.max(1) } else { i64::MAX };
        let segment_ms = self.segment_ms.min(lag_ms_max);
        let jitter_ms = u64::try_from(self.segment_jitter_ms.min(segment_ms - 1)).unwrap_or(0);
        let own_ms = spread(partition) % (jitter_ms + 1);
        let segment_ms = segment_ms - i64::try_from(own_ms).expect("less than segment.ms");
        SegmentLimits { segment_bytes: u64::from(self.segment_bytes), segment_ms }
    }
}

/// A number that differs from partition to partition and is always the same for one (FNV-1a, and a last mixing step).
fn spread(partition: TopicPartition) -> u64 {
    let index = partition.partition.0.to_le_bytes();
    let bytes = partition.topic_id.0.iter().chain(&index);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

/// A list with some items more, each once; or with some less.
#[must_use]
pub fn edit_list(list: &str, items: &str, adds: bool) -> String {
    let mut edited = value::split_list(list);
    for item in value::split_list(items) {
        if !adds {
            edited.retain(|held| *held != item);
        } else if !edited.contains(&item) {
            edited.push(item);
        }
    }
    edited.join(",")
}

impl TopicDefaults {
    /// The value of a topic's setting that goes by these.
    fn inherited(&self, name: &str) -> Option<String> {
        let stamp = if self.log_append_time { "LogAppendTime" } else { "CreateTime" };
        Some(match name {
            "segment.bytes" => self.segment_bytes.to_string(),
            "segment.ms" => self.segment_ms.to_string(),
            "segment.jitter.ms" => self.segment_jitter_ms.to_string(),
            "max.message.bytes" => self.message_bytes_max.to_string(),
            "message.timestamp.type" => stamp.to_string(),
            "message.timestamp.before.max.ms" => self.timestamp_before_ms_max.to_string(),
            "message.timestamp.after.max.ms" => self.timestamp_after_ms_max.to_string(),
            "retention.ms" => self.retention_ms.to_string(),
            "retention.bytes" => self.retention_bytes.to_string(),
            "cleanup.policy" => self.cleanup.words().to_string(),
            "min.compaction.lag.ms" => self.compaction.lag_ms_min.to_string(),
            "max.compaction.lag.ms" => self.compaction.lag_ms_max.to_string(),
            "delete.retention.ms" => self.compaction.delete_retention_ms.to_string(),
            _ => return None,
        })
    }
}

impl Typed {
    fn of(own: &BTreeMap<String, String>) -> Self {
        Self {
            segment_bytes: number(own, "segment.bytes"),
            segment_ms: number(own, "segment.ms"),
            segment_jitter_ms: number(own, "segment.jitter.ms"),
            message_bytes_max: number(own, "max.message.bytes"),
            log_append_time: own.get("message.timestamp.type").map(|kind| kind == "LogAppendTime"),
            timestamp_before_ms_max: number(own, "message.timestamp.before.max.ms"),
            timestamp_after_ms_max: number(own, "message.timestamp.after.max.ms"),
            min_insync_replicas: number(own, "min.insync.replicas"),
            retention_ms: number(own, "retention.ms"),
            retention_bytes: number(own, "retention.bytes"),
            cleanup: own.get("cleanup.policy").map(|words| CleanupPolicy::parse(words)),
            dirty_ppm_min: own.get("min.cleanable.dirty.ratio").and_then(|ratio| parts_per_million(ratio)),
            lag_ms_min: number(own, "min.compaction.lag.ms"),
            lag_ms_max: number(own, "max.compaction.lag.ms"),
            delete_retention_ms: number(own, "delete.retention.ms"),
        }
    }
}

/// A ratio from 0 to 1 in parts per million.
#[must_use]
pub fn parts_per_million(ratio: &str) -> Option<u32> {
    let ratio: f64 = ratio.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to a million")]
    (0.0..=1.0).contains(&ratio).then_some((ratio * 1e6 + 0.5) as u32)
}

fn number<T: FromStr>(own: &BTreeMap<String, String>, key: &str) -> Option<T> {
    own.get(key)?.parse().ok()
}

/// The one rule between two settings, in Kafka's words.
fn check_lags(own: &BTreeMap<String, String>) -> Result<(), String> {
    let (least, most) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
    let least_ms: i64 = number(own, least).unwrap_or(0);
    let most_ms: i64 = number(own, most).unwrap_or(i64::MAX);
    if least_ms > most_ms {
        return Err(format!("conflict topic config setting {least} ({least_ms}) > {most} ({most_ms})"));
    }
    Ok(())
}

/// The first byte of the durable form. The first form had none: it began with an `Option`, so with 0 or 1.
const FORMAT: u8 = 2;

impl Serialize for TopicConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(&FORMAT)?;
        tuple.serialize_element(&self.own)?;
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for TopicConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Elements of the first form: the tag and the value of the first `Option`, and the other five.
        const ELEMENTS_MAX: usize = 7;
        deserializer.deserialize_tuple(ELEMENTS_MAX, Form)
    }
}

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = TopicConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a topic's settings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TopicConfig, A::Error> {
        let own = match next::<u8, A>(&mut seq)? {
            FORMAT => next(&mut seq)?,
            first @ (0 | 1) => first_form(first == 1, &mut seq)?,
            _ => return Err(A::Error::custom("a topic's settings were written by a newer release")),
        };
        Ok(TopicConfig { typed: Typed::of(&own), own })
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| A::Error::custom("a topic's settings end early"))
}

/// The first form: six settings in order, each an `Option`; the tag of the first was read.
fn first_form<'de, A: SeqAccess<'de>>(
    has_first: bool,
    seq: &mut A,
) -> Result<BTreeMap<String, String>, A::Error> {
    let mut own = BTreeMap::new();
    let mut keep = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            own.insert(name.to_string(), value);
        }
    };
    let segment_bytes = if has_first { Some(next::<u32, A>(seq)?) } else { None };
    keep("segment.bytes", segment_bytes.map(|bytes| bytes.to_string()));
    keep("max.message.bytes", next::<Option<u32>, A>(seq)?.map(|bytes| bytes.to_string()));
    let stamp = |appends: bool| if appends { "LogAppendTime" } else { "CreateTime" }.to_string();
    keep("message.timestamp.type", next::<Option<bool>, A>(seq)?.map(stamp));
    keep("message.timestamp.before.max.ms", next::<Option<i64>, A>(seq)?.map(|ms| ms.to_string()));
    keep("message.timestamp.after.max.ms", next::<Option<i64>, A>(seq)?.map(|ms| ms.to_string()));
    keep("min.insync.replicas", next::<Option<i32>, A>(seq)?.map(|count| count.to_string()));
    Ok(own)
}

#[cfg(test)]
mod tests;
