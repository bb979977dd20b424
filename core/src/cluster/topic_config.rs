//! A topic's own settings: those that behave. What is not set follows the broker's defaults.

use crate::config::TopicDefaults;
use alloc::format;
use alloc::string::{String, ToString};
use serde::{Deserialize, Serialize};

/// Settings given when the topic was created; `None` follows the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicConfig {
    /// `segment.bytes`.
    pub segment_bytes: Option<u32>,
    /// `max.message.bytes`.
    pub message_bytes_max: Option<u32>,
    /// `message.timestamp.type` is LogAppendTime.
    pub log_append_time: Option<bool>,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_ms_max: Option<i64>,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_ms_max: Option<i64>,
    /// `min.insync.replicas`.
    pub min_insync_replicas: Option<i32>,
}

/// The settings in force of a topic. `min.insync.replicas` is not among them: what is in force is in the metadata
/// ([`crate::cluster::image::TopicImage::min_insync_replicas`]), whatever a node's configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSettings {
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `max.message.bytes`.
    pub message_bytes_max: u32,
    /// `message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_ms_max: i64,
}

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Kafka's name.
    pub name: &'static str,
    /// The value in Kafka's spelling.
    pub value: String,
    /// The topic's own, not the broker's default.
    pub own: bool,
}

/// Keys that Kafka 4.3 knows and that do not behave yet: refused, never silently ignored.
const NOT_YET: [&str; 30] = [
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.zstd.level",
    "delete.retention.ms",
    "errors.deadletterqueue.group.enable",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "max.decompressed.message.bytes",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "preallocate",
    "remote.copy.lag.bytes",
    "remote.copy.lag.ms",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
    "compression.type",
];

impl TopicConfig {
    /// Takes one setting by Kafka's name.
    ///
    /// # Errors
    /// A sentence for the client: the key is unknown, does not behave yet, or its value is out of range.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "segment.bytes" => self.segment_bytes = Some(number(key, value, 1 << 20, 1 << 30)?),
            "max.message.bytes" => self.message_bytes_max = Some(number(key, value, 0, 1 << 30)?),
            "message.timestamp.before.max.ms" => {
                self.timestamp_before_ms_max = Some(number(key, value, 0, i64::MAX)?);
            }
            "message.timestamp.after.max.ms" => {
                self.timestamp_after_ms_max = Some(number(key, value, 0, i64::MAX)?);
            }
            "min.insync.replicas" => self.min_insync_replicas = Some(number(key, value, 1, i32::MAX)?),
            "message.timestamp.type" => {
                self.log_append_time = Some(match value {
                    "CreateTime" => false,
                    "LogAppendTime" => true,
                    _ => return Err(invalid(key, value, "it must be CreateTime or LogAppendTime")),
                });
            }
            "cleanup.policy" if value == "delete" => {}
            "compression.type" if value == "producer" => {}
            "retention.ms" | "retention.bytes" if value == "-1" => {}
            "cleanup.policy" => return Err(invalid(key, value, "only delete is supported by this release")),
            _ if NOT_YET.contains(&key) => {
                return Err(invalid(key, value, "this release does not support changing it"));
            }
            _ => return Err(format!("Unknown topic config name: {key}")),
        }
        Ok(())
    }

    /// The settings in force by Kafka's names, for answers. `min_insync_replicas` is the topic's, as the metadata has it.
    #[must_use]
    pub fn describe(&self, defaults: &TopicDefaults, min_insync_replicas: i32) -> [Setting; 6] {
        let now = self.resolve(defaults);
        let stamp = if now.log_append_time { "LogAppendTime" } else { "CreateTime" };
        let setting = |name, value, own| Setting { name, value, own };
        [
            setting("segment.bytes", now.segment_bytes.to_string(), self.segment_bytes.is_some()),
            setting("max.message.bytes", now.message_bytes_max.to_string(), self.message_bytes_max.is_some()),
            setting("message.timestamp.type", stamp.to_string(), self.log_append_time.is_some()),
            setting(
                "message.timestamp.before.max.ms",
                now.timestamp_before_ms_max.to_string(),
                self.timestamp_before_ms_max.is_some(),
            ),
            setting(
                "message.timestamp.after.max.ms",
                now.timestamp_after_ms_max.to_string(),
                self.timestamp_after_ms_max.is_some(),
            ),
            setting(
                "min.insync.replicas",
                min_insync_replicas.to_string(),
                self.min_insync_replicas.is_some(),
            ),
        ]
    }

    /// The settings in force, given the broker's defaults.
    #[must_use]
    pub fn resolve(&self, defaults: &TopicDefaults) -> TopicSettings {
        TopicSettings {
            segment_bytes: self.segment_bytes.unwrap_or(defaults.segment_bytes),
            message_bytes_max: self.message_bytes_max.unwrap_or(defaults.message_bytes_max),
            log_append_time: self.log_append_time.unwrap_or(defaults.log_append_time),
            timestamp_before_ms_max: self.timestamp_before_ms_max.unwrap_or(defaults.timestamp_before_ms_max),
            timestamp_after_ms_max: self.timestamp_after_ms_max.unwrap_or(defaults.timestamp_after_ms_max),
        }
    }

    /// `min.insync.replicas` for a topic that is created with this many replicas: its own, the broker's default, or a
    /// majority.
    #[must_use]
    pub fn min_insync_replicas(&self, defaults: &TopicDefaults, replication_factor: usize) -> i32 {
        let majority = i32::try_from(replication_factor / 2 + 1).expect("replicas are few");
        self.min_insync_replicas.or(defaults.min_insync_replicas).unwrap_or(majority)
    }
}

fn number<T>(key: &str, value: &str, least: T, most: T) -> Result<T, String>
where
    T: core::str::FromStr + PartialOrd + core::fmt::Display,
{
    match value.parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        Ok(_) | Err(_) => Err(invalid(key, value, &format!("it must be a number from {least} to {most}"))),
    }
}

fn invalid(key: &str, value: &str, why: &str) -> String {
    format!("Invalid value {value} for configuration {key}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_are_ranged_and_unknown_ones_refused_as_kafka_refuses_them() {
        let mut config = TopicConfig::default();
        assert_eq!(config.set("segment.bytes", "1048576"), Ok(()));
        assert_eq!(config.segment_bytes, Some(1 << 20));
        assert!(config.set("segment.bytes", "1048575").is_err());
        assert!(config.set("retention.ms", "1000").unwrap_err().contains("this release"));
        assert_eq!(config.set("prefix", "x"), Err("Unknown topic config name: prefix".into()));
        assert_eq!(config.set("cleanup.policy", "delete"), Ok(()));
        assert!(config.set("cleanup.policy", "compact").is_err());
    }
}
