//! The page about the protocol, written from the table of APIs.

use seedlog_core::wire::{APIS, ApiKey};

/// APIs of Kafka 4.3 for brokers that are neither served nor advertised, by key, and why not.
pub const ABSENT: &[(&[(i16, &str)], &str)] = &[
    (
        &[
            (24, "AddPartitionsToTxn"),
            (25, "AddOffsetsToTxn"),
            (26, "EndTxn"),
            (27, "WriteTxnMarkers"),
            (28, "TxnOffsetCommit"),
            (65, "DescribeTransactions"),
            (66, "ListTransactions"),
        ],
        "there are no transactions yet",
    ),
    (
        &[
            (17, "SaslHandshake"),
            (36, "SaslAuthenticate"),
            (38, "CreateDelegationToken"),
            (39, "RenewDelegationToken"),
            (40, "ExpireDelegationToken"),
            (41, "DescribeDelegationToken"),
            (51, "AlterUserScramCredentials"),
        ],
        "there is no authentication yet",
    ),
    (&[(30, "CreateAcls"), (31, "DeleteAcls")], "there is no authorizer yet"),
    (&[(49, "AlterClientQuotas")], "there are no quotas yet"),
    (&[(34, "AlterReplicaLogDirs")], "a node has one folder"),
    (&[(64, "UnregisterBroker")], "not there yet"),
    (
        &[(80, "AddRaftVoter"), (81, "RemoveRaftVoter")],
        "voters change by themselves, or not yet by a command",
    ),
    (&[(71, "GetTelemetrySubscriptions"), (72, "PushTelemetry")], "clients' metrics are not taken"),
    (
        &[
            (76, "ShareGroupHeartbeat"),
            (77, "ShareGroupDescribe"),
            (78, "ShareFetch"),
            (79, "ShareAcknowledge"),
            (83, "InitializeShareGroupState"),
            (84, "ReadShareGroupState"),
            (85, "WriteShareGroupState"),
            (86, "DeleteShareGroupState"),
            (87, "ReadShareGroupStateSummary"),
            (90, "DescribeShareGroupOffsets"),
            (91, "AlterShareGroupOffsets"),
            (92, "DeleteShareGroupOffsets"),
        ],
        "there are no share groups",
    ),
    (&[(88, "StreamsGroupHeartbeat"), (89, "StreamsGroupDescribe")], "there are no streams groups"),
];

const PRODUCE: &[&str] = &[
    "tests/golden/acks.txt",
    "tests/golden/idempotence.txt",
    "tests/golden/cluster_min_isr_refusal.txt",
    "tests/golden/cluster_leader_hints.txt",
];
const FETCH: &[&str] = &[
    "tests/golden/fetch_session.txt",
    "tests/golden/long_poll.txt",
    "tests/golden/cluster_kip_101_2.txt",
    "tests/golden/cluster_leader_hints.txt",
];
const REASSIGNMENTS: &[&str] = &[
    "tests/golden/cluster_reassignment.txt",
    "tests/golden/cluster_reassignment_refused.txt",
    "tests/golden/cluster_reassignment_waits.txt",
];

const COORDINATOR: &[&str] = &[
    "tests/golden/coordinator.txt",
    "tests/golden/cluster_group_failover.txt",
    "tests/golden/cluster_group_moves.txt",
];
const JOIN: &[&str] = &[
    "tests/golden/group_of_two.txt",
    "tests/golden/group_newcomer.txt",
    "tests/golden/group_join_refused.txt",
    "tests/golden/group_static_member.txt",
];
const SYNC: &[&str] = &["tests/golden/group_dead_leader.txt", "tests/golden/group_newcomer.txt"];
const HEARTBEAT: &[&str] = &["tests/golden/group_silence.txt", "tests/golden/group_full_disk.txt"];
const COMMIT: &[&str] = &[
    "tests/golden/group_zombie.txt",
    "tests/golden/group_offsets.txt",
    "tests/golden/group_uncommitted.txt",
];
const CONSUMER: &[&str] = &[
    "tests/golden/group_consumer_of_two.txt",
    "tests/golden/group_consumer_fencing.txt",
    "tests/golden/group_consumer_static.txt",
    "tests/golden/group_consumer_patterns.txt",
    "tests/golden/group_consumer_topics.txt",
    "tests/golden/group_consumer_migration.txt",
    "tests/golden/cluster_consumer_group_failover.txt",
    "core/tests/consumer_group_model.rs",
];
const OFFSETS: &[&str] = &["tests/golden/group_offsets.txt", "tests/golden/group_expiry.txt"];

/// What is not there of an API that is served, or nothing; and the files of tests that show what is.
#[must_use]
pub fn about(api: ApiKey) -> (&'static str, &'static [&'static str]) {
    match api {
        ApiKey::Produce => ("no transactions", PRODUCE),
        ApiKey::Fetch => ("", FETCH),
        ApiKey::ListOffsets => ("no tiered offsets", &["tests/golden/list_offsets.txt"]),
        ApiKey::Metadata => ("", &["tests/golden/topics.txt", "tests/golden/cluster_failover.txt"]),
        ApiKey::FindCoordinator => ("no transactions", COORDINATOR),
        ApiKey::JoinGroup => ("", JOIN),
        ApiKey::SyncGroup => ("", SYNC),
        ApiKey::Heartbeat => ("", HEARTBEAT),
        ApiKey::LeaveGroup => ("", &["tests/golden/group_leave.txt"]),
        ApiKey::OffsetCommit => ("", COMMIT),
        ApiKey::OffsetFetch => ("", OFFSETS),
        ApiKey::ListGroups => ("", &["tests/golden/group_of_two.txt", "tests/golden/group_expiry.txt"]),
        ApiKey::DescribeGroups => ("", &["tests/golden/group_of_two.txt", "tests/golden/group_restart.txt"]),
        ApiKey::DeleteGroups => ("", &["tests/golden/group_delete.txt"]),
        ApiKey::OffsetDelete => ("", &["tests/golden/group_delete_offsets.txt"]),
        ApiKey::ConsumerGroupHeartbeat => ("", CONSUMER),
        ApiKey::ConsumerGroupDescribe => ("", &["tests/golden/group_consumer_of_two.txt"]),
        ApiKey::ApiVersions => ("", &["core/tests/wire_rules.rs", "node/tests/live_node/hostile.rs"]),
        ApiKey::CreateTopics | ApiKey::DeleteTopics => {
            ("", &["tests/golden/topics.txt", "core/tests/cluster_topics.rs"])
        }
        ApiKey::DeleteRecords => {
            ("", &["tests/golden/cluster_delete_records.txt", "tests/golden/cluster_delete_records_away.txt"])
        }
        ApiKey::InitProducerId => ("no transactional ids", &["tests/golden/idempotence.txt"]),
        ApiKey::OffsetForLeaderEpoch => ("", &["tests/golden/divergence.txt"]),
        ApiKey::DescribeConfigs | ApiKey::AlterConfigs | ApiKey::IncrementalAlterConfigs => (
            "settings of brokers are read when they start",
            &[
                "tests/golden/settings.txt",
                "tests/golden/cluster_settings.txt",
                "tests/golden/group_consumer_configs.txt",
            ],
        ),
        ApiKey::ListConfigResources => {
            ("", &["tests/golden/settings.txt", "tests/golden/group_consumer_configs.txt"])
        }
        ApiKey::DescribeAcls => ("says that there is no authorizer", &["tests/golden/no_access_rules.txt"]),
        ApiKey::DescribeClientQuotas => ("there are no quotas", &["tests/golden/no_access_rules.txt"]),
        ApiKey::DescribeUserScramCredentials => {
            ("there are no credentials", &["tests/golden/no_access_rules.txt"])
        }
        ApiKey::UpdateFeatures => {
            ("metadata.version is what the release has", &["tests/golden/no_access_rules.txt"])
        }
        ApiKey::DescribeLogDirs => ("", &["tests/golden/log_dirs.txt", "node/tests/store_suite/looks.rs"]),
        ApiKey::DescribeProducers => {
            ("", &["tests/golden/producers.txt", "tests/golden/cluster_producers.txt"])
        }
        ApiKey::DescribeQuorum => ("", &["tests/golden/cluster_quorum.txt"]),
        ApiKey::CreatePartitions => {
            ("", &["tests/golden/create_partitions.txt", "tests/golden/cluster_create_partitions.txt"])
        }
        ApiKey::ElectLeaders => ("no unclean elections", &["tests/golden/cluster_elect_leaders.txt"]),
        ApiKey::AlterPartitionReassignments | ApiKey::ListPartitionReassignments => ("", REASSIGNMENTS),
        ApiKey::DescribeCluster => ("", &["clients/cluster/cluster.sh"]),
        ApiKey::DescribeTopicPartitions => ("", &["tests/golden/describe_partitions.txt"]),
    }
}

/// The page.
#[must_use]
pub fn page() -> String {
    let mut text = String::from(
        "# The protocol\n\n\
         Kafka's APIs as this release serves them. Every message is declared as in Kafka 4.3, in every version: a test holds the\n\
         declarations against the schemas inside Kafka's jar (`tests/tests/kafka_schemas.rs`). What is not in the first table is not\n\
         advertised, and a request for it ends the connection, as in Kafka.\n\n\
         This page is generated: `UPDATE_DOCS=1 cargo test -p seedlog-tests --test protocol_doc`.\n\n\
         | key | API | advertised | what is not there | shown by |\n|---|---|---|---|---|\n",
    );
    for api in APIS {
        let (absent, tests) = about(api.api_key);
        let tests: Vec<String> = tests.iter().map(|path| format!("[{}](../{path})", name_of(path))).collect();
        let (key, name) = (api.api_key.as_i16(), api.api_key.name());
        let advertised = api.advertised;
        text += &format!("| {key} | {name} | {advertised} | {absent} | {} |\n", tests.join(", "));
    }
    text.push_str(
        "\nProduce 0 to 2 are advertised and refused, as Kafka does (KAFKA-18659).\n\n\
         ## Not served\n\n| APIs of Kafka 4.3 | why |\n|---|---|\n",
    );
    for (apis, why) in ABSENT {
        let apis: Vec<String> = apis.iter().map(|(key, name)| format!("{name} {key}")).collect();
        text += &format!("| {} | {why} |\n", apis.join(", "));
    }
    text.push_str(
        "\nWhat Kafka's brokers and controllers say to each other (Vote, AlterPartition, BrokerHeartbeat and the like) is not served \
         either:\nnodes of Seedlog speak a protocol of their own.\n",
    );
    text
}

fn name_of(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file)
}
