//! A run as data: its numbers, its clients and its faults, drawn from the seed before anything happens ([`draw`], [`faults`]).
//! Saved as JSON, a plan replays without its seed's draw; deleting from it makes a smaller run.

mod draw;
mod faults;
mod groups;
mod hostile;
mod tables;
mod voters;

use seedlog_core::log::CompactionRules;
use serde::{Deserialize, Serialize};

pub use faults::{Blow, Fault, FaultKind};
pub use hostile::HostilePlan;
pub use voters::{VoterStep, VoterWish};

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Seeds every other stream of the run.
    pub seed: u64,
    /// The scenario it was drawn for.
    pub scenario: Scenario,
    /// How long faults and new work go on, in ms.
    pub duration_ms: u64,
    /// What all nodes share.
    pub cluster: ClusterPlan,
    /// The nodes: all of them are voters and brokers.
    pub nodes: Vec<NodePlan>,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// The faults, in order.
    pub faults: Vec<Fault>,
    /// What strikes those who are elected to lead the quorum, in the order of the elections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blows: Vec<Blow>,
    /// Changes of the quorum's members, in order. The bare world's alone: nothing outside of the core asks for one yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voters: Vec<VoterStep>,
    /// Nodes that lost their disks become voters again by themselves.
    #[serde(default)]
    pub admits_voters: bool,
    /// So many in 1,000 of an administrator's operations delete records.
    #[serde(default)]
    pub deletes_per_mille: u64,
    /// Somebody who means harm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostile: Option<HostilePlan>,
}

impl Plan {
    /// The same without anybody who lets topics grow and records expire, and without consumer groups and their settings: for
    /// seeds that are older than those.
    #[must_use]
    pub fn without_keeper(mut self) -> Self {
        let is_newer =
            |role: &Role| matches!(role, Role::Keeper { .. } | Role::Member { .. } | Role::Tuner { .. });
        self.clients.retain(|client| !is_newer(&client.role));
        self.cluster.retention_check_ms = None;
        self.cluster.groups = None;
        self.without_tables()
    }
}

/// Scenarios by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// One cluster of one to seven nodes, most of three, all faults: what clean ranges and exhibits run.
    Standard,
    /// Five voters that change their leader all the time, with little else going on: Raft's figure 8 (MUSEUM B2).
    Quorum,
    /// One node that is a cluster of its own: a third of what the whole world runs.
    Alone,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Standard, Self::Quorum, Self::Alone];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Quorum => "quorum",
            Self::Alone => "alone",
        }
    }

    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }
}

/// When data counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flush {
    /// After the sync.
    Always,
    /// After the write; a sync every `sync_ms`.
    Interval {
        /// The interval.
        sync_ms: u64,
    },
}

/// What all nodes of a cluster share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPlan {
    /// `flush`.
    pub flush: Flush,
    /// The topics that are there from the start on.
    pub topics: Vec<TopicPlan>,
    /// Their timestamps are the broker's.
    pub log_append_time: bool,
    /// How long things take.
    pub timings: TimingsPlan,
    /// Entries of the metadata log that a node keeps for those that lag.
    pub metadata_entries_max: usize,
    /// Bytes of record batches on their way to one peer.
    pub peer_window_bytes: u64,
    /// How often leaders look for records that are too old or too many; `None` for as seldom as Kafka, which is never here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_check_ms: Option<u64>,
    /// Consumer groups, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<GroupsPlan>,
    /// Compaction, where there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<TablesPlan>,
}

/// How logs are cleaned: the tables' and those of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablesPlan {
    /// `log.cleaner.backoff.ms`.
    pub backoff_ms: u64,
    /// `log.roll.ms`: what is still written to is not cleaned.
    pub segment_ms: u64,
    /// `log.cleaner.min.cleanable.ratio`, in parts per million.
    pub dirty_ppm: u32,
    /// `log.cleaner.delete.retention.ms`.
    pub delete_retention_ms: u64,
    /// Keys that a pass has room for, in the bare world.
    pub keys_max: usize,
    /// How long a pass takes at most beside its writes, in the bare world.
    pub pass_ms: u64,
}

impl TablesPlan {
    /// So slow, in the whole world, that a pass of a few KB takes about as long.
    #[must_use]
    pub fn bytes_per_second_max(&self) -> Option<u64> {
        const PASS_BYTES: u64 = 8_000;
        (self.pass_ms > 0).then(|| PASS_BYTES * 1_000 / self.pass_ms)
    }

    /// The core's rules.
    #[must_use]
    pub fn rules(&self) -> CompactionRules {
        CompactionRules {
            dirty_ppm_min: self.dirty_ppm,
            lag_ms_min: 0,
            lag_ms_max: i64::MAX,
            delete_retention_ms: i64::try_from(self.delete_retention_ms).unwrap_or(i64::MAX),
        }
    }
}

/// What all consumer groups of a run share, in ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsPlan {
    /// How long an empty group's first members wait for others.
    pub initial_delay_ms: u64,
    /// How long offsets outlive their group; `None` for longer than any run.
    pub retention_ms: Option<u64>,
    /// How often what may be forgotten is looked for.
    pub check_ms: u64,
    /// How long members of consumer groups may be silent, in ms; 0 where there are none.
    #[serde(default)]
    pub consumer_session_ms: u64,
    /// How long consumer groups stay with their targets, in ms.
    #[serde(default)]
    pub assignment_interval_ms: i64,
}

/// One topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPlan {
    /// Its partitions.
    pub partitions: i32,
    /// Its replication factor.
    pub replicas: i16,
    /// `min.insync.replicas`.
    pub min_insync: i32,
}

/// Timings of the core's configuration, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimingsPlan {
    /// The quorum's election timeout.
    pub election: u64,
    /// How often a broker is heard of.
    pub broker_beat: u64,
    /// Silence after which a broker is fenced.
    pub session: u64,
    /// The same, when its connection was lost.
    pub lost: u64,
    /// `replica.lag.time.max.ms`.
    pub lag: u64,
    /// How long an answer of a peer is waited for.
    pub resend: u64,
    /// How long a request waits for the controller.
    pub forward: u64,
    /// How long a stopping broker tries to hand over.
    pub shutdown: u64,
    /// How often leadership is moved back; 0 for never.
    pub rebalance: u64,
}

/// One node's numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// Size of a journal file.
    pub file_bytes: u64,
    /// `log.segment.bytes`.
    pub segment_bytes: u32,
    /// Journal growth between snapshots.
    pub snapshot_bytes: u64,
    /// Segments and snapshots are written so many times slower than the journal: where one takes longer than a process
    /// lives, recovery reads the files of several lives.
    pub background_factor: u64,
    /// Batches in the tail cache.
    pub tail_batches: usize,
    /// The driver's work may be this late, in µs.
    pub late_us: u64,
    /// So many in 1,000 fills are up to a second late.
    pub stalls_per_mille: u64,
    /// Its clocks run so many parts in a million fast, or slow.
    pub drift_ppm: i64,
}

/// One client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientPlan {
    /// The node that it asks first.
    pub node: u32,
    /// Milliseconds between its operations, about.
    pub pause_ms: u64,
    /// One in so many of its requests is followed by a broken connection; 0 for none.
    pub breaks_every: u64,
    /// What it does.
    pub role: Role,
}

/// What a client does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "kebab-case")]
pub enum Role {
    /// Writes.
    Producer {
        /// 0, 1 or -1.
        acks: i16,
        /// With a producer id; acks is -1 then.
        idempotent: bool,
        /// Requests in flight to one node.
        in_flight_max: usize,
        /// Batches in all.
        batches: u64,
        /// Records in a batch, at most.
        records_max: u64,
        /// Bytes of a value, at most.
        value_bytes_max: u64,
        /// The version of Produce that it speaks.
        version: i16,
    },
    /// Reads everything from the start on.
    Reader {
        /// Through a fetch session.
        session: bool,
        /// How long a fetch may wait, in ms.
        wait_ms: i32,
        /// Bytes that are worth an answer.
        bytes_min: i32,
        /// Bytes of an answer, at most.
        bytes_max: i32,
        /// The version of Fetch that it speaks.
        version: i16,
    },
    /// Creates the topics, then creates and deletes others, and asks about all kinds of things.
    Admin {
        /// Operations in all.
        operations: u64,
        /// It changes the topics' settings too: what they need in sync never below what the plan says.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        alters: bool,
    },
    /// Moves partitions between brokers, takes moves back, has leaders elected.
    Mover {
        /// Operations in all.
        operations: u64,
    },
    /// Gives a topic more partitions, and has records expire.
    Keeper {
        /// Operations in all.
        operations: u64,
    },
    /// Is a member of a consumer group.
    Member(MemberPlan),
    /// Sets and deletes settings of the groups of members.
    Tuner {
        /// Operations in all.
        operations: u64,
    },
    /// Keeps a table in a compacted topic.
    Table {
        /// How many operations.
        operations: u64,
        /// Keys of the table.
        keys: u64,
    },
}

/// A member of a consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberPlan {
    /// Which group.
    pub group: u32,
    /// It keeps its place when it comes back (KIP-345).
    pub is_static: bool,
    /// It speaks the oldest versions.
    pub is_old: bool,
    /// How long it may be silent, in ms.
    pub session_ms: i32,
    /// How long it may take to join again, in ms.
    pub rebalance_ms: i32,
    /// Milliseconds between two commits, about.
    pub commit_ms: u64,
    /// So many in 1,000 commits are followed by a silence that is longer than its session.
    pub stalls_per_mille: u64,
    /// So many in 1,000 are followed by its leaving, for a while.
    pub leaves_per_mille: u64,
    /// So many in 1,000 times that it is to assign, it never does.
    pub lazy_per_mille: u64,
    /// It speaks the consumer protocol (KIP-848).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<ConsumerPlan>,
}

/// A member of the consumer protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerPlan {
    /// The assignor that it asks for.
    pub assignor: Option<ServerAssignor>,
    /// It names its topics by a pattern.
    pub by_pattern: bool,
}

/// An assignor of coordinators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerAssignor {
    /// Evenly, whatever the topics.
    Uniform,
    /// Of each topic to each member a range.
    Range,
}

impl ServerAssignor {
    /// As the protocol calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_function_of_its_seed_and_survives_json() {
        for scenario in Scenario::ALL {
            for seed in 0..50 {
                let plan = Plan::draw(scenario, seed);
                assert_eq!(plan, Plan::draw(scenario, seed));
                let json = serde_json::to_string(&plan).unwrap();
                assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
                assert!(plan.faults.is_sorted_by_key(|fault| fault.at_us));
            }
            assert_ne!(Plan::draw(scenario, 1), Plan::draw(scenario, 2));
        }
    }

    #[test]
    fn faults_stay_inside_the_promise() {
        for seed in 0..2_000 {
            let plan = Plan::draw(Scenario::Standard, seed);
            let nodes = plan.nodes.len();
            let losers = plan.losers();
            if nodes > 1 {
                assert!(
                    losers.len() < nodes.div_ceil(2),
                    "a majority of voters keeps its disks (seed {seed})"
                );
                let least = plan.cluster.topics.iter().map(|topic| topic.min_insync).max().unwrap_or(1);
                assert!(losers.len() < usize::try_from(least).unwrap_or(1), "seed {seed}");
            }
        }
    }
}
