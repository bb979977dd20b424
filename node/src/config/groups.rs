//! The settings of consumer groups, as the core takes them.

use super::error::ConfigError;
use super::node::{conflict, invalid, number, number_if_set};
use super::registry::split_list;
use super::settings::Settings;
use seedlog_core::group::assignor::Assignor;
use seedlog_core::group::{Bounds, ConsumerSettings, GroupSettings, MigrationPolicy};

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
        offset_metadata_units_max: number(settings, "offset.metadata.max.bytes")?,
        offsets_retention_ms: minutes * MINUTE_MS,
        offsets_check_ms: number(settings, "offsets.retention.check.interval.ms")?,
        commit_timeout_ms: number(settings, "offsets.commit.timeout.ms")?,
        record_bytes_max: message_bytes_max as usize,
        topic_partitions: number(settings, "offsets.topic.num.partitions")?,
        topic_replication_factor: number_if_set(settings, "offsets.topic.replication.factor")?,
        topic_segment_bytes: number(settings, "offsets.topic.segment.bytes")?,
        load_bytes: number(settings, "offsets.load.buffer.size")?,
        consumer: consumers(settings)?,
        ..GroupSettings::default()
    })
}

fn consumers(settings: &Settings) -> Result<ConsumerSettings, ConfigError> {
    const ASSIGNORS: &str = "group.consumer.assignors";
    const POLICY: &str = "group.consumer.migration.policy";
    let (session_timeout_ms, session_timeout_ms_bounds) = within(settings, "session.timeout.ms")?;
    let (heartbeat_interval_ms, heartbeat_interval_ms_bounds) = within(settings, "heartbeat.interval.ms")?;
    let (assignment_interval_ms, assignment_interval_ms_bounds) = within(settings, "assignment.interval.ms")?;
    if session_timeout_ms <= heartbeat_interval_ms {
        let rule = "must be greater than group.consumer.heartbeat.interval.ms".to_owned();
        return Err(conflict(settings, "group.consumer.session.timeout.ms", rule));
    }
    let assignors = assignors(settings.text(ASSIGNORS).unwrap_or_default());
    let policy = settings.text(POLICY).and_then(MigrationPolicy::named);
    let policies = "one of disabled, upgrade, downgrade, bidirectional".to_owned();
    Ok(ConsumerSettings {
        session_timeout_ms: u64::try_from(session_timeout_ms).unwrap_or(0),
        session_timeout_ms_bounds,
        heartbeat_interval_ms,
        heartbeat_interval_ms_bounds,
        members_max: number(settings, "group.consumer.max.size")?,
        assignors: assignors
            .ok_or_else(|| invalid(settings, ASSIGNORS, "uniform, range, or both, each once".to_owned()))?,
        assignment_interval_ms: i64::from(assignment_interval_ms),
        assignment_interval_ms_bounds,
        migration: policy.ok_or_else(|| invalid(settings, POLICY, policies))?,
        regex_refresh_ms: number(settings, "group.consumer.regex.refresh.interval.ms")?,
    })
}

/// A setting that has a least and a greatest value in two other ones, which groups' own settings are held to as well.
fn within(settings: &Settings, name: &str) -> Result<(i32, Bounds), ConfigError> {
    let key = format!("group.consumer.{name}");
    let value: i32 = number(settings, &key)?;
    let min: i32 = number(settings, &format!("group.consumer.min.{name}"))?;
    let max: i32 = number(settings, &format!("group.consumer.max.{name}"))?;
    if (min..=max).contains(&value) {
        Ok((value, Bounds { min, max }))
    } else {
        let rule = format!(
            "must be between group.consumer.min.{name} and group.consumer.max.{name}, {min} and {max}"
        );
        Err(conflict(settings, &key, rule))
    }
}

/// By Kafka's names, or the names of its classes.
fn assignors(list: &str) -> Option<&'static [Assignor]> {
    let named = |name: &str| {
        let name = match name {
            "org.apache.kafka.coordinator.group.assignor.UniformAssignor" => "uniform",
            "org.apache.kafka.coordinator.group.assignor.RangeAssignor" => "range",
            name => name,
        };
        Assignor::named(name)
    };
    let wanted: Option<Vec<Assignor>> = split_list(list).into_iter().map(named).collect();
    match wanted?[..] {
        [Assignor::Uniform] => Some(&[Assignor::Uniform]),
        [Assignor::Range] => Some(&[Assignor::Range]),
        [Assignor::Uniform, Assignor::Range] => Some(&[Assignor::Uniform, Assignor::Range]),
        [Assignor::Range, Assignor::Uniform] => Some(&[Assignor::Range, Assignor::Uniform]),
        _ => None,
    }
}
