//! What groups may do, and within which limits.

use super::assignor::Assignor;

/// Settings of groups, as a broker has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.initial.rebalance.delay.ms`: how long the first members of an empty group wait for others.
    pub initial_rebalance_delay_ms: u64,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_ms_max: i32,
    /// `group.max.size`: members of one classic group.
    pub members_max: usize,
    /// How long a client that knows no member id of its own may wait for a rebalance to end (KAFKA-7610); and how long a new
    /// coordinator waits for members to come back before it forgets anything.
    pub new_member_timeout_ms: u64,
    /// Groups in one partition of the groups' topic.
    pub groups_max: usize,
    /// Bytes that the members of all groups of this broker may have told of themselves.
    pub member_bytes_max: usize,
    /// `offset.metadata.max.bytes`: what a client may keep beside an offset, in units of UTF-16.
    pub offset_metadata_units_max: usize,
    /// `offsets.retention.minutes`, in ms: how long a group's offsets outlive its last member.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_check_ms: u64,
    /// `offsets.commit.timeout.ms`: how long an answer waits for the log.
    pub commit_timeout_ms: u32,
    /// The greatest record that is written, in bytes; what a group's members told each other must fit.
    pub record_bytes_max: usize,
    /// `offsets.topic.num.partitions`.
    pub topic_partitions: i32,
    /// `offsets.topic.replication.factor`; `None` is that of any topic.
    pub topic_replication_factor: Option<i16>,
    /// `offsets.topic.segment.bytes`.
    pub topic_segment_bytes: u32,
    /// `offsets.load.buffer.size`: bytes of the log that are read at a time.
    pub load_bytes: u32,
    /// Those of consumer groups.
    pub consumer: ConsumerSettings,
}

/// Settings of consumer groups (KIP-848), without those that a group has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// `group.consumer.session.timeout.ms`: how long a member may be silent.
    pub session_timeout_ms: u64,
    /// `group.consumer.min.session.timeout.ms` and `.max`.
    pub session_timeout_ms_bounds: Bounds,
    /// `group.consumer.heartbeat.interval.ms`: how often members are to be heard of.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.min.heartbeat.interval.ms` and `.max`.
    pub heartbeat_interval_ms_bounds: Bounds,
    /// `group.consumer.max.size`: members of one group.
    pub members_max: usize,
    /// `group.consumer.assignors`: the first one is for groups that ask for none.
    pub assignors: &'static [Assignor],
    /// `group.consumer.assignment.interval.ms`: how long a group stays with its targets (KIP-1263).
    pub assignment_interval_ms: i64,
    /// `group.consumer.min.assignment.interval.ms` and `.max`.
    pub assignment_interval_ms_bounds: Bounds,
    /// `group.consumer.migration.policy`.
    pub migration: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`: how often topics of patterns are looked for, whatever happens.
    pub regex_refresh_ms: i64,
}

/// The least and the most that a group's own setting may be, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The least.
    pub min: i32,
    /// The most.
    pub max: i32,
}

impl Bounds {
    /// The value, or the bound that it is beyond.
    fn clamp(self, value: i32) -> i32 {
        // Not `Ord::clamp`, which panics where the bounds are in disorder.
        value.min(self.max).max(self.min)
    }
}

/// Settings that a group has of its own (KIP-848, KIP-1263), in ms; `None`: those of the broker count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnSettings {
    /// `consumer.session.timeout.ms`.
    pub session_timeout_ms: Option<i32>,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: Option<i32>,
    /// `consumer.assignment.interval.ms`.
    pub assignment_interval_ms: Option<i32>,
}

impl ConsumerSettings {
    /// Those in force for a group. A value that was taken once may be beyond the bounds of a broker that is configured
    /// otherwise: there the bound counts, as in Kafka.
    #[must_use]
    pub fn with(self, own: OwnSettings) -> Self {
        let session_timeout_ms = own.session_timeout_ms.map(|ms| self.session_timeout_ms_bounds.clamp(ms));
        let heartbeat_interval_ms =
            own.heartbeat_interval_ms.map(|ms| self.heartbeat_interval_ms_bounds.clamp(ms));
        let assignment_interval_ms =
            own.assignment_interval_ms.map(|ms| self.assignment_interval_ms_bounds.clamp(ms));
        Self {
            session_timeout_ms: session_timeout_ms
                .map_or(self.session_timeout_ms, |ms| u64::try_from(ms).unwrap_or(0)),
            heartbeat_interval_ms: heartbeat_interval_ms.unwrap_or(self.heartbeat_interval_ms),
            assignment_interval_ms: assignment_interval_ms.map_or(self.assignment_interval_ms, i64::from),
            ..self
        }
    }
}

/// Whether groups with members change from one protocol to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Neither way.
    Disabled,
    /// From the classic protocol to the consumer protocol.
    Upgrade,
    /// From the consumer protocol to the classic protocol.
    Downgrade,
    /// Both ways.
    Bidirectional,
}

impl MigrationPolicy {
    /// The one of a name, whatever its case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let known = [
            ("disabled", Self::Disabled),
            ("upgrade", Self::Upgrade),
            ("downgrade", Self::Downgrade),
            ("bidirectional", Self::Bidirectional),
        ];
        known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, policy)| policy)
    }

    /// A classic group may become a consumer group.
    #[must_use]
    pub fn upgrades(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    /// A consumer group may become a classic group.
    #[must_use]
    pub fn downgrades(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            session_timeout_ms: 45_000,
            session_timeout_ms_bounds: Bounds { min: 45_000, max: 60_000 },
            heartbeat_interval_ms: 5_000,
            heartbeat_interval_ms_bounds: Bounds { min: 5_000, max: 15_000 },
            members_max: i32::MAX as usize,
            assignors: &[Assignor::Uniform, Assignor::Range],
            assignment_interval_ms: 1_000,
            assignment_interval_ms_bounds: Bounds { min: 0, max: 15_000 },
            migration: MigrationPolicy::Bidirectional,
            regex_refresh_ms: 600_000,
        }
    }
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            initial_rebalance_delay_ms: 3_000,
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            members_max: i32::MAX as usize,
            new_member_timeout_ms: 300_000,
            groups_max: 100_000,
            member_bytes_max: 64 << 20,
            offset_metadata_units_max: 4_096,
            offsets_retention_ms: 604_800_000,
            offsets_check_ms: 600_000,
            commit_timeout_ms: 5_000,
            record_bytes_max: 1_048_588,
            topic_partitions: 50,
            topic_replication_factor: None,
            topic_segment_bytes: 100 << 20,
            load_bytes: 5 << 20,
            consumer: ConsumerSettings::default(),
        }
    }
}
