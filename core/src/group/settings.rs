//! What groups may do, and within which limits.

use super::assignor::Assignor;

/// Settings of consumer groups, the same for all groups of a broker.
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
    /// `offset.metadata.max.bytes`: what a client may keep beside an offset.
    pub offset_metadata_bytes_max: usize,
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

/// Settings of consumer groups (KIP-848).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// `group.consumer.session.timeout.ms`: how long a member may be silent.
    pub session_timeout_ms: u64,
    /// `group.consumer.heartbeat.interval.ms`: how often members are to be heard of.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.max.size`: members of one group.
    pub members_max: usize,
    /// `group.consumer.assignors`: the first one is for groups that ask for none.
    pub assignors: &'static [Assignor],
    /// `group.consumer.assignment.interval.ms`: how long a group stays with its targets (KIP-1263).
    pub assignment_interval_ms: i64,
    /// `group.consumer.migration.policy`.
    pub migration: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`: how often topics of patterns are looked for, whatever happens.
    pub regex_refresh_ms: i64,
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
            heartbeat_interval_ms: 5_000,
            members_max: i32::MAX as usize,
            assignors: &[Assignor::Uniform, Assignor::Range],
            assignment_interval_ms: 1_000,
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
            offset_metadata_bytes_max: 4_096,
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
