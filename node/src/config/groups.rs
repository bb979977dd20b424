//! The settings of consumer groups, as the core takes them.

use super::error::ConfigError;
use super::node::{number, number_if_set};
use super::settings::Settings;
use seedlog_core::group::GroupSettings;

/// Reads them. `message_bytes_max` and `core_bytes` are the node's: a group's record is a batch like any other, and what members
/// tell of themselves has half of the core's memory.
pub(super) fn read(
    settings: &Settings,
    message_bytes_max: u32,
    core_bytes: u64,
) -> Result<GroupSettings, ConfigError> {
    const MINUTE_MS: i64 = 60_000;
    let minutes: i64 = number(settings, "offsets.retention.minutes")?;
    Ok(GroupSettings {
        initial_rebalance_delay_ms: number(settings, "group.initial.rebalance.delay.ms")?,
        session_timeout_ms_min: number(settings, "group.min.session.timeout.ms")?,
        session_timeout_ms_max: number(settings, "group.max.session.timeout.ms")?,
        members_max: number(settings, "group.max.size")?,
        member_bytes_max: usize::try_from(core_bytes / 2).unwrap_or(usize::MAX),
        offset_metadata_bytes_max: number(settings, "offset.metadata.max.bytes")?,
        offsets_retention_ms: minutes * MINUTE_MS,
        offsets_check_ms: number(settings, "offsets.retention.check.interval.ms")?,
        commit_timeout_ms: number(settings, "offsets.commit.timeout.ms")?,
        record_bytes_max: message_bytes_max as usize,
        topic_partitions: number(settings, "offsets.topic.num.partitions")?,
        topic_replication_factor: number_if_set(settings, "offsets.topic.replication.factor")?,
        topic_segment_bytes: number(settings, "offsets.topic.segment.bytes")?,
        load_bytes: number(settings, "offsets.load.buffer.size")?,
        ..GroupSettings::default()
    })
}
