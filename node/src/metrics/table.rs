//! Every metric of a node: its name, what it counts, and when to worry. The registry, the text of a scrape and
//! `docs/metrics.md` are made of this table; a test holds a live node against it.
//!
//! Kafka's names are those that Prometheus' JMX exporter gives with its configuration for Kafka, in lower case, and those of
//! kafka_exporter. A value that a node cannot know today is not there at all, rather than always zero.

/// How a metric's values are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from the start of the process; `_total` in the name of its lines.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by upper bound: `_bucket`, `_sum`, `_count`.
    Histogram,
    /// Always 1; the labels tell. `_info` in the name of its line.
    Info,
}

impl Kind {
    /// OpenMetrics' word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// Which nodes show a metric, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Every node, always.
    Always,
    /// Nodes with the role of a controller.
    ByControllers,
    /// The active controller alone, so that sums over nodes are right.
    ByActiveController,
    /// With `/metrics?detail=partition`: the leader of each partition, and the active controller for those without one.
    PerPartition,
    /// The coordinator of the group.
    ByCoordinator,
    /// With `/metrics?detail=partition`: the coordinator of the group.
    PerGroupPartition,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// The name of the family, without `_total` and the like.
    pub name: &'static str,
    /// How its values are to be read.
    pub kind: Kind,
    /// What is counted.
    pub unit: &'static str,
    /// The labels of its lines.
    pub labels: &'static [&'static str],
    /// Which nodes show it.
    pub shown: Shown,
    /// What it says, as in `# HELP`.
    pub help: &'static str,
    /// What should make whoever runs the node look closer; empty where nothing does.
    pub worry: &'static str,
}

impl Definition {
    const fn new(kind: Kind, name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name, kind, unit, labels: &[], shown: Shown::Always, help, worry: "" }
    }

    const fn by(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    const fn shown(self, shown: Shown) -> Self {
        Self { shown, ..self }
    }

    const fn worry(self, worry: &'static str) -> Self {
        Self { worry, ..self }
    }

    /// The names that its lines have.
    #[must_use]
    pub fn samples(&self) -> Vec<String> {
        let suffixes: &[&str] = match self.kind {
            Kind::Counter => &["_total"],
            Kind::Gauge => &[""],
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Info => &["_info"],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", self.name)).collect()
    }
}

const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> Definition {
    Definition::new(Kind::Counter, name, unit, help)
}

const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> Definition {
    Definition::new(Kind::Gauge, name, unit, help)
}

const fn histogram(name: &'static str, unit: &'static str, help: &'static str) -> Definition {
    Definition::new(Kind::Histogram, name, unit, help)
}

const TOPIC: &[&str] = &["topic"];
const PARTITION: &[&str] = &["topic", "partition"];
const GROUP: &[&str] = &["consumergroup"];
const GROUP_TOPIC: &[&str] = &["consumergroup", "topic"];
const GROUP_PARTITION: &[&str] = &["consumergroup", "topic", "partition"];

macro_rules! definitions {
    ($($name:ident = $definition:expr;)*) => {
        $(pub(super) const $name: Definition = $definition;)*
        /// The table, in the order of the page.
        pub const ALL: &[Definition] = &[$($name),*];
    };
}

definitions! {
    MESSAGES_IN = counter("kafka_server_brokertopicmetrics_messagesin", "records", "Records from producers")
        .by(TOPIC);
    BYTES_IN = counter("kafka_server_brokertopicmetrics_bytesin", "bytes", "Record bytes from producers")
        .by(TOPIC).worry("near what the disks or the network of a node can do");
    BYTES_OUT = counter("kafka_server_brokertopicmetrics_bytesout", "bytes", "Record bytes to consumers")
        .by(TOPIC).worry("far above what comes in times the number of consumers: somebody reads all over again");
    BYTES_REJECTED = counter("kafka_server_brokertopicmetrics_bytesrejected", "bytes",
        "Bytes of batches that are larger than max.message.bytes, of all topics")
        .worry("growing: a producer's max.request.size is larger than what the topic takes");
    PRODUCE_REQUESTS = counter("kafka_server_brokertopicmetrics_totalproducerequests", "partitions in requests",
        "Partitions that producers sent batches to, request by request")
        .by(TOPIC);
    FAILED_PRODUCE_REQUESTS = counter("kafka_server_brokertopicmetrics_failedproducerequests", "partitions in requests",
        "Those of them that failed. As for Kafka these are no failures: another broker leads, the topic is unknown or deleted, \
         the batch is too large or corrupt, the disk failed, waiting for acks=all took too long")
        .by(TOPIC).worry("growing: not enough replicas in sync, or batches that make no sense");
    FETCH_REQUESTS = counter("kafka_server_brokertopicmetrics_totalfetchrequests", "partitions in requests",
        "Partitions that consumers were told of, request by request. In a fetch session those without news are not told of, and \
         not counted, which Kafka does")
        .by(TOPIC);
    REPLICATION_BYTES_IN = counter(
        "kafka_server_brokertopicmetrics_replicationbytesin", "bytes",
        "Record bytes that this node copied from the leaders of its partitions",
    );
    REQUESTS = counter("kafka_network_requestmetrics_requests", "requests",
        "Requests that were answered; what consumers fetch is in Fetch and in FetchConsumer, as in Kafka")
        .by(&["request"]);
    REQUEST_MS = gauge("kafka_network_requestmetrics_totaltimems", "milliseconds",
        "From a request read to its answer, within the last one or two minutes, or since the last scrape but one if that is \
         longer; off by 7 percent at most")
        .by(&["request", "quantile"])
        .worry("Produce above what producers bear: look at seedlog_journal_sync_seconds first. Fetch waits for records, up \
                to the consumer's fetch.max.wait.ms");
    PARTITIONS = gauge("kafka_server_replicamanager_partitioncount", "partitions", "Partitions with a replica on this node")
        .worry("thousands more on one node than on another");
    LEADERS = gauge("kafka_server_replicamanager_leadercount", "partitions", "Partitions that this node leads")
        .worry("0 for long on one node: it takes no load");
    UNDER_REPLICATED = gauge("kafka_server_replicamanager_underreplicatedpartitions", "partitions",
        "Partitions led here with a replica out of sync")
        .worry("above 0 for minutes: a node is down, slow or cut off");
    UNDER_MIN_ISR = gauge("kafka_server_replicamanager_underminisrpartitioncount", "partitions",
        "Partitions led here with fewer replicas in sync than min.insync.replicas")
        .worry("above 0: producers with acks=all are refused");
    AT_MIN_ISR = gauge("kafka_server_replicamanager_atminisrpartitioncount", "partitions",
        "Partitions led here with exactly min.insync.replicas replicas in sync")
        .worry("above 0 where there are more replicas than that: one more loss and writes are refused");
    REASSIGNING = gauge("kafka_server_replicamanager_reassigningpartitions", "partitions",
        "Partitions led here that are on their way to other brokers")
        .worry("the same for hours: a broker that they go to is down, or cannot keep up");
    OFFLINE_REPLICAS = gauge("kafka_server_replicamanager_offlinereplicacount", "partitions",
        "Partitions whose replica on this node is damaged and not served")
        .worry("above 0: the node's log says which records are concerned");
    ISR_SHRINKS = counter("kafka_server_replicamanager_isrshrinks", "times",
        "Times that a partition led here lost a replica from those in sync")
        .worry("growing while all nodes are up: a follower is too slow, or cut off");
    ISR_EXPANDS = counter("kafka_server_replicamanager_isrexpands", "times",
        "Times that a replica of a partition led here came back in sync");
    ACTIVE_CONTROLLER = gauge("kafka_controller_kafkacontroller_activecontrollercount", "nodes",
        "1 on the node that is the active controller")
        .shown(Shown::ByControllers).worry("a sum over all nodes that is not 1 for longer than an election");
    OFFLINE_PARTITIONS = gauge("kafka_controller_kafkacontroller_offlinepartitionscount", "partitions",
        "Partitions of the cluster without a leader")
        .shown(Shown::ByControllers).worry("above 0: they can be neither written nor read");
    PREFERRED_IMBALANCE = gauge("kafka_controller_kafkacontroller_preferredreplicaimbalancecount", "partitions",
        "Partitions of the cluster that are not led by their first replica")
        .shown(Shown::ByControllers).worry("above 0 for longer than leader.imbalance.check.interval.seconds");
    GLOBAL_TOPICS = gauge("kafka_controller_kafkacontroller_globaltopiccount", "topics", "Topics of the cluster")
        .shown(Shown::ByControllers);
    GLOBAL_PARTITIONS = gauge("kafka_controller_kafkacontroller_globalpartitioncount", "partitions",
        "Partitions of the cluster")
        .shown(Shown::ByControllers);
    FENCED_BROKERS = gauge("kafka_controller_kafkacontroller_fencedbrokercount", "brokers",
        "Registered brokers that are not heard of")
        .shown(Shown::ByControllers).worry("above 0: a broker is down or cut off");
    ACTIVE_BROKERS = gauge("kafka_controller_kafkacontroller_activebrokercount", "brokers",
        "Registered brokers that are alive")
        .shown(Shown::ByControllers).worry("below the number of brokers that you run");
    BROKERS = gauge("kafka_brokers", "brokers", "Brokers that clients are told of")
        .shown(Shown::ByActiveController).worry("below the number of brokers that you run");
    TOPIC_PARTITIONS = gauge("kafka_topic_partitions", "partitions", "Partitions of a topic")
        .by(TOPIC).shown(Shown::ByActiveController);
    CURRENT_OFFSET = gauge("kafka_topic_partition_current_offset", "offset",
        "Where the next record that consumers may see will go: the high watermark")
        .by(PARTITION).shown(Shown::PerPartition);
    OLDEST_OFFSET = gauge("kafka_topic_partition_oldest_offset", "offset", "The first record that is still there")
        .by(PARTITION).shown(Shown::PerPartition)
        .worry("close to the offset of a slow consumer: it will miss records");
    PARTITION_LEADER = gauge("kafka_topic_partition_leader", "node id", "Who leads the partition; not there without a leader")
        .by(PARTITION).shown(Shown::PerPartition);
    PARTITION_REPLICAS = gauge("kafka_topic_partition_replicas", "replicas", "Replicas of the partition")
        .by(PARTITION).shown(Shown::PerPartition);
    PARTITION_ISR = gauge("kafka_topic_partition_in_sync_replica", "replicas", "Replicas that are in sync")
        .by(PARTITION).shown(Shown::PerPartition).worry("below kafka_topic_partition_replicas for minutes");
    PARTITION_PREFERRED = gauge("kafka_topic_partition_leader_is_preferred", "0 or 1",
        "1: the partition is led by its first replica")
        .by(PARTITION).shown(Shown::PerPartition);
    PARTITION_UNDER_REPLICATED = gauge("kafka_topic_partition_under_replicated_partition", "0 or 1",
        "1: a replica of the partition is out of sync")
        .by(PARTITION).shown(Shown::PerPartition).worry("1 for minutes");
    GROUP_MEMBERS = gauge("kafka_consumergroup_members", "members", "Members of the group")
        .by(GROUP).shown(Shown::ByCoordinator).worry("0, or fewer than you run");
    GROUP_OFFSET_SUM = gauge("kafka_consumergroup_current_offset_sum", "offsets",
        "What the group committed in a topic, its partitions added up")
        .by(GROUP_TOPIC).shown(Shown::ByCoordinator)
        .worry("the same for minutes while kafka_consumergroup_lag_sum grows: nobody reads, or nobody commits");
    GROUP_LAG_SUM = gauge("kafka_consumergroup_lag_sum", "records",
        "How far the group is behind in a topic, its partitions added up; not there if the end of one of their logs is not known \
         to the coordinator")
        .by(GROUP_TOPIC).shown(Shown::ByCoordinator).worry("growing for longer than a burst of records: the group is too slow");
    GROUP_OFFSET = gauge("kafka_consumergroup_current_offset", "offset", "The next record that the group reads, as committed")
        .by(GROUP_PARTITION).shown(Shown::PerGroupPartition);
    GROUP_LAG = gauge("kafka_consumergroup_lag", "records",
        "How far the group is behind: from what it committed to the high watermark, as far as the coordinator knows it; not there \
         if it has no replica of the partition")
        .by(GROUP_PARTITION).shown(Shown::PerGroupPartition)
        .worry("growing in one partition alone: its member hangs, or one key has most of the records");
    GROUPS_LEFT_OUT = gauge("seedlog_consumergroups_left_out", "groups",
        "Groups coordinated here that are not shown, because there is too much of them")
        .worry("above 0: groups are missing in the sums");
    BUILD = Definition::new(Kind::Info, "seedlog_build", "", "The release that runs").by(&["version"]);
    SERVING = gauge("seedlog_serving", "0 or 1", "1: the node is part of its cluster and lets clients in")
        .worry("0 for longer than a restart takes; the node's log says what it waits for");
    REQUEST_SECONDS = histogram("seedlog_request_seconds", "seconds", "From a request read to its answer")
        .by(&["request"]).worry("as kafka_network_requestmetrics_totaltimems; this one can be added up over nodes");
    JOURNAL_SYNC_SECONDS = histogram("seedlog_journal_sync_seconds", "seconds",
        "Writes of a group to the journal, its sync included")
        .worry("the time that every acknowledgement waits for; its 99th percentile above 50 ms is a slow or a shared disk");
    JOURNAL_GROUPS = counter("seedlog_journal_groups", "groups", "Groups written to the journal");
    JOURNAL_ENTRIES = counter("seedlog_journal_entries", "entries",
        "Entries in those groups: divided by the groups, how many appends share a sync");
    JOURNAL_WRITTEN_BYTES = counter("seedlog_journal_written_bytes", "bytes",
        "Bytes of those groups, padding included");
    JOURNAL_BYTES = gauge("seedlog_journal_bytes", "bytes", "Size of the journal's files")
        .worry("near journal.bytes.max: appends will be held back");
    UNSEGMENTED_BYTES = gauge("seedlog_unsegmented_bytes", "bytes", "Record bytes that are in the journal only")
        .worry("growing for minutes: segments are written more slowly than the journal");
    DISK_WRITTEN_BYTES = counter("seedlog_disk_written_bytes", "bytes",
        "Bytes written to the disk, kind=journal, kind=segments and kind=compaction")
        .by(&["kind"]).worry("near what the disk is rated for");
    COMPACTIONS = counter("seedlog_compactions", "passes",
        "Cleaning passes through compacted logs that wrote them anew");
    COMPACTED_BYTES = counter("seedlog_compacted_bytes", "bytes",
        "Bytes of compacted logs that cleaning passes read; what they left is kind=compaction of seedlog_disk_written_bytes");
    SNAPSHOTS = counter("seedlog_snapshots", "snapshots", "Snapshots written, each of which frees journal files");
    DAMAGED_BATCHES = counter("seedlog_damaged_batches", "batches",
        "Batches that could not be read back from the journal when they were due for a segment")
        .worry("above 0: the disk gives other bytes than it was given");
    APPENDS_HELD = gauge("seedlog_appends_held", "0 or 1",
        "1: appends wait until the journal and the segments have room")
        .worry("1 in several scrapes: the disk is slower than the producers");
    DISK_FULL = gauge("seedlog_disk_full", "0 or 1", "1: the disk has less room than appends are taken with")
        .worry("1: appends are refused");
    MEMORY_BUDGET_BYTES = gauge("seedlog_memory_budget_bytes", "bytes", "Size of a part of the memory budget")
        .by(&["part"]);
    MEMORY_USED_BYTES = gauge("seedlog_memory_used_bytes", "bytes", "What of a part is taken, where that is counted")
        .by(&["part"]).worry("part=requests or part=replies near its budget: clients wait for memory");
    CONNECTIONS = gauge("seedlog_connections", "connections", "Open connections of clients")
        .worry("near max.connections");
    CONNECTIONS_REFUSED = counter("seedlog_connections_refused", "connections", "Connections refused for a limit")
        .worry("growing");
    BAD_REQUESTS = counter("seedlog_bad_requests", "requests",
        "Requests that cannot be read and ended their connection")
        .worry("growing: a client is broken, or something else speaks to this port");
    NETWORK_READ_BYTES = counter("seedlog_network_read_bytes", "bytes", "Bytes read from clients");
    NETWORK_WRITTEN_BYTES = counter("seedlog_network_written_bytes", "bytes", "Bytes written to clients");
    PEERS_CONNECTED = gauge("seedlog_peers_connected", "nodes", "Other nodes that are connected")
        .worry("below the number of other nodes");
    PEER_SENT_BYTES = counter("seedlog_peer_sent_bytes", "bytes", "Bytes written to other nodes");
    PEER_RECEIVED_BYTES = counter("seedlog_peer_received_bytes", "bytes", "Bytes of messages from other nodes");
    PEER_DROPPED = counter("seedlog_peer_messages_dropped", "messages",
        "Messages to other nodes without a stream or room; they are sent again")
        .worry("growing while all nodes are up");
    QUORUM_TERM = gauge("seedlog_quorum_term", "term", "The quorum's term")
        .worry("growing by itself: elections, because voters do not hear each other in time");
    QUORUM_LEADER = gauge("seedlog_quorum_leader", "node id",
        "The quorum's leader as this node knows it; not there while it knows none")
        .worry("not there, or not the same on all nodes, for longer than an election");
    QUORUM_VOTERS = gauge("seedlog_quorum_voters", "nodes", "Members of the quorum");
    QUORUM_COMMITTED = gauge("seedlog_quorum_committed_offset", "offset",
        "End of the metadata that this node knows to be committed")
        .worry("behind other nodes' for long: this one acts on old metadata");
    QUORUM_END = gauge("seedlog_quorum_log_end_offset", "offset", "End of the metadata log on this node")
        .worry("ahead of seedlog_quorum_committed_offset for long: no majority of the voters is there");
    PROCESS_CPU = counter("process_cpu_seconds", "seconds", "CPU time of the process, user and system")
        .worry("one core's worth: the broker itself is one thread");
    PROCESS_MEMORY = gauge("process_resident_memory_bytes", "bytes", "Memory of the process that is in RAM")
        .worry("above memory.budget.bytes by far, or near what the machine has");
    PROCESS_FDS = gauge("process_open_fds", "descriptors", "Open descriptors")
        .worry("near process_max_fds: connections will be refused");
    PROCESS_FDS_MAX = gauge("process_max_fds", "descriptors", "How many there may be, where that is limited");
    PROCESS_START = gauge("process_start_time_seconds", "seconds since 1970", "When the process began")
        .worry("jumping: it is being started again and again");
    PARTITIONS_LEFT_OUT = gauge("seedlog_partitions_left_out", "partitions",
        "Partitions that ?detail=partition does not show, because there are too many")
        .shown(Shown::PerPartition).worry("above 0: do not sum what is per partition");
}
