//! The settings of compaction: what the broker's cleaner may take, and what topics without settings of their own go by.

use super::error::ConfigError;
use super::node::{invalid, number};
use super::settings::Settings;
use seedlog_core::cluster::topic_config::parts_per_million;
use seedlog_core::config::CleanupPolicy;
use seedlog_core::log::CompactionRules;

/// Compaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanerSettings {
    /// `log.cleaner.backoff.ms`; `None`: `log.cleaner.enable` is off.
    pub backoff_ms: Option<u64>,
    /// `log.cleaner.dedupe.buffer.size`
    pub keys_bytes_max: u64,
    /// `log.cleaner.io.max.bytes.per.second`; `None` without a limit.
    pub bytes_per_second_max: Option<u64>,
    /// `log.cleanup.policy`
    pub policy: CleanupPolicy,
    /// When logs are compacted, and what goes.
    pub rules: CompactionRules,
}

/// Reads them.
pub(super) fn read(settings: &Settings) -> Result<CleanerSettings, ConfigError> {
    let is_enabled = settings.text("log.cleaner.enable") == Some("true");
    let backoff_ms: u64 = number(settings, "log.cleaner.backoff.ms")?;
    Ok(CleanerSettings {
        backoff_ms: is_enabled.then_some(backoff_ms.max(1)),
        keys_bytes_max: number(settings, "log.cleaner.dedupe.buffer.size")?,
        bytes_per_second_max: bytes_per_second(settings)?,
        policy: policy(settings)?,
        rules: CompactionRules {
            dirty_ppm_min: dirty_ratio(settings)?,
            lag_ms_min: number(settings, "log.cleaner.min.compaction.lag.ms")?,
            lag_ms_max: number(settings, "log.cleaner.max.compaction.lag.ms")?,
            delete_retention_ms: number(settings, "log.cleaner.delete.retention.ms")?,
        },
    })
}

fn policy(settings: &Settings) -> Result<CleanupPolicy, ConfigError> {
    const KEY: &str = "log.cleanup.policy";
    let words = settings.text(KEY).unwrap_or_default();
    let is_known = |word: &str| matches!(word.trim(), "compact" | "delete");
    if words.is_empty() || !words.split(',').all(is_known) {
        return Err(invalid(settings, KEY, "compact, delete, or both".to_owned()));
    }
    Ok(CleanupPolicy::parse(words))
}

fn dirty_ratio(settings: &Settings) -> Result<u32, ConfigError> {
    const KEY: &str = "log.cleaner.min.cleanable.ratio";
    let ratio = settings.text(KEY).and_then(parts_per_million);
    ratio.ok_or_else(|| invalid(settings, KEY, "a decimal number from 0 to 1".to_owned()))
}

/// A rate that no disk reaches is none.
fn bytes_per_second(settings: &Settings) -> Result<Option<u64>, ConfigError> {
    const KEY: &str = "log.cleaner.io.max.bytes.per.second";
    let rate = settings.text(KEY).and_then(|text| text.parse::<f64>().ok()).filter(|rate| *rate >= 1.0);
    let rate = rate.ok_or_else(|| invalid(settings, KEY, "a number of bytes, at least 1".to_owned()))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    let rate = rate as u64;
    Ok(Some(rate).filter(|rate| *rate < u64::MAX))
}
