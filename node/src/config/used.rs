//! The settings that change something: names, types, defaults and what they do. What Kafka has besides is in `accepted.rs`.

use super::registry::{Entry, Kind, Status};

const INT_MAX: i64 = i32::MAX as i64;
const KIB: i64 = 1024;
const MIB: i64 = 1024 * KIB;
const GIB: i64 = 1024 * MIB;
const YEAR_MS: i64 = 366 * 24 * 3600 * 1000;

const fn used(key: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Entry {
    Entry { key, kind, default, doc, since: "0.1", status: Status::Used }
}

/// Every key that changes something, in order.
pub(super) const USED: &[Entry] = &[
    used(
        "admin.listener",
        Kind::AdminListener,
        Some("127.0.0.1:9644"),
        "Where /metrics, /healthz, /readyz and /version answer, on loopback only because the port asks for no \
         password; `off` closes it, port 0 takes any free one.",
    ),
    used(
        "advertised.listeners",
        Kind::Endpoints,
        None,
        "The addresses that clients are told to connect to, one for each listener. Not set: those of `listeners`, with \
         this machine's name where a listener has no host.",
    ),
    used(
        "auto.create.topics.enable",
        Kind::Boolean,
        Some("true"),
        "Whether a producer's or consumer's first word of a topic creates it.",
    ),
    used(
        "auto.leader.rebalance.enable",
        Kind::Boolean,
        Some("true"),
        "Whether leadership goes back to a partition's first replica once that one is in sync again.",
    ),
    used(
        "broker.heartbeat.interval.ms",
        Kind::Int(10, 3_600_000),
        Some("500"),
        "How often a broker tells the controller that it is alive.",
    ),
    used("broker.id", Kind::Int(-1, INT_MAX), Some("-1"), "Kafka's older name of node.id; -1 means not set."),
    used("broker.rack", Kind::Text, None, "The rack, zone or room of this node, told to clients."),
    used(
        "broker.session.timeout.ms",
        Kind::Int(100, 3_600_000),
        Some("9000"),
        "A broker that is silent for so long is taken for dead: others lead what it led.",
    ),
    used(
        "cluster.id",
        Kind::Uuid,
        None,
        "The id of the cluster that this node belongs to. Not set: the one that was chosen when the data folder was \
         founded. Set: a data folder of another cluster is refused.",
    ),
    used(
        "cold.read.threads",
        Kind::Int(1, 64),
        Some("2"),
        "Threads that read records which are no longer in memory.",
    ),
    used(
        "connections.max.idle.ms",
        Kind::Long(-1, YEAR_MS),
        Some("600000"),
        "A connection on which nothing happens for so long is closed; -1 means never.",
    ),
    used(
        "controller.listener.names",
        Kind::List,
        None,
        "The one of `listeners` where the nodes of a cluster talk to each other; every node has one, whatever its roles. \
         Not set: CONTROLLER, where `listeners` has that. It is not opened without controller.quorum.voters.",
    ),
    used(
        "controller.quorum.auto.join.enable",
        Kind::Boolean,
        Some("true"),
        "A node that controller.quorum.voters names, and whose disk was replaced, becomes a voter again once it has the \
         cluster's metadata. With false it only follows, and the quorum stays as much weaker.",
    ),
    used(
        "controller.quorum.election.timeout.ms",
        Kind::Int(50, 600_000),
        Some("1000"),
        "A voter that hears nothing of the quorum's leader for so long, or up to twice that, stands for election.",
    ),
    used(
        "controller.quorum.voters",
        Kind::Voters,
        None,
        "The controllers of the cluster as id@host:port, separated by commas: the ports of their listeners for controllers. \
         All of them found the cluster together, once. Not set: this node is a cluster of its own.",
    ),
    used(
        "default.replication.factor",
        Kind::Int(1, 32767),
        None,
        "Replicas of a topic that is created without a number. Not set: 3, or as many as there are brokers.",
    ),
    used(
        "disk.direct.io",
        Kind::Choice(&["auto", "true", "false"]),
        Some("auto"),
        "Whether journal and segments bypass the page cache. `auto` does where the file system allows it.",
    ),
    used(
        "disk.free.bytes.min",
        Kind::Long(0, i64::MAX),
        Some("268435456"),
        "Records are refused while the disk has less free than this, and no log is cleaned at the cost of it.",
    ),
    used(
        "fetch.max.bytes",
        Kind::Int(1024, INT_MAX),
        Some("57671680"),
        "The most record bytes in one fetch response, whatever the client asks for.",
    ),
    used(
        "flush",
        Kind::Choice(&["always", "interval"]),
        Some("always"),
        "When records are acknowledged: `always` after they are on the disk, `interval` after they are written, \
         with a sync after flush.interval.ms at the latest. `interval` can lose acknowledged records in a power cut.",
    ),
    used(
        "flush.interval.ms",
        Kind::Long(1, 3_600_000),
        Some("1000"),
        "The longest time between two syncs with flush=interval; much that was written is synced sooner.",
    ),
    used(
        "group.bytes.max",
        Kind::Int(64 * KIB, 64 * MIB),
        Some("4194304"),
        "The most bytes that go to the journal in one write, and so the room for the largest record batch.",
    ),
    used(
        "group.consumer.assignment.interval.ms",
        Kind::Int(0, INT_MAX),
        Some("1000"),
        "How long a consumer group goes on with what its members were given before it may assign anew.",
    ),
    used(
        "group.consumer.assignors",
        Kind::List,
        Some("uniform,range"),
        "The assignors that consumer groups may ask for: `uniform`, `range`. The first one is for those that ask for none.",
    ),
    used(
        "group.consumer.heartbeat.interval.ms",
        Kind::Int(1, INT_MAX),
        Some("5000"),
        "How often members of consumer groups are told to let themselves be heard.",
    ),
    used(
        "group.consumer.max.assignment.interval.ms",
        Kind::Int(0, INT_MAX),
        Some("15000"),
        "The most that group.consumer.assignment.interval.ms may be.",
    ),
    used(
        "group.consumer.max.heartbeat.interval.ms",
        Kind::Int(1, INT_MAX),
        Some("15000"),
        "The most that group.consumer.heartbeat.interval.ms may be.",
    ),
    used(
        "group.consumer.max.session.timeout.ms",
        Kind::Int(1, INT_MAX),
        Some("60000"),
        "The most that group.consumer.session.timeout.ms may be.",
    ),
    used(
        "group.consumer.max.size",
        Kind::Int(1, INT_MAX),
        Some("2147483647"),
        "The most members of one consumer group; what they tell of themselves must also fit into memory.budget.bytes.",
    ),
    used(
        "group.consumer.migration.policy",
        Kind::Text,
        Some("bidirectional"),
        "Whether a group whose members speak the classic protocol becomes a consumer group when a member comes that speaks the \
         consumer protocol (`upgrade`), and a classic one when the last such member leaves (`downgrade`); both \
         (`bidirectional`), or neither (`disabled`). A group that nobody is in becomes what its next member speaks.",
    ),
    used(
        "group.consumer.min.assignment.interval.ms",
        Kind::Int(0, INT_MAX),
        Some("0"),
        "The least that group.consumer.assignment.interval.ms may be.",
    ),
    used(
        "group.consumer.min.heartbeat.interval.ms",
        Kind::Int(1, INT_MAX),
        Some("5000"),
        "The least that group.consumer.heartbeat.interval.ms may be.",
    ),
    used(
        "group.consumer.min.session.timeout.ms",
        Kind::Int(1, INT_MAX),
        Some("45000"),
        "The least that group.consumer.session.timeout.ms may be.",
    ),
    used(
        "group.consumer.regex.refresh.interval.ms",
        Kind::Int(10_000, INT_MAX),
        Some("600000"),
        "How often the topics of patterns that members of consumer groups subscribed to are looked for, whatever happens.",
    ),
    used(
        "group.consumer.session.timeout.ms",
        Kind::Int(1, INT_MAX),
        Some("45000"),
        "How long a member of a consumer group may be silent before it is out.",
    ),
    used(
        "group.initial.rebalance.delay.ms",
        Kind::Int(0, INT_MAX),
        Some("3000"),
        "How long the first members of an empty consumer group wait for others before they share its partitions.",
    ),
    used(
        "group.max.session.timeout.ms",
        Kind::Int(0, INT_MAX),
        Some("1800000"),
        "The longest session that a member of a classic group may ask for.",
    ),
    used(
        "group.max.size",
        Kind::Int(1, INT_MAX),
        Some("2147483647"),
        "The most members of one classic group; what they tell of themselves must also fit into memory.budget.bytes.",
    ),
    used(
        "group.min.session.timeout.ms",
        Kind::Int(0, INT_MAX),
        Some("6000"),
        "The shortest session that a member of a classic group may ask for.",
    ),
    used(
        "inter.broker.listener.name",
        Kind::Text,
        None,
        "Kafka's name for the listener where brokers copy records from each other. Here they do it on the listener of \
         controller.listener.names; the name must be one of `listeners`, and has no other effect.",
    ),
    used(
        "journal.bytes.max",
        Kind::Long(4 * MIB, 1024 * GIB),
        Some("1073741824"),
        "The most disk that the journal takes; above it, producers wait until segments are written.",
    ),
    used(
        "journal.file.bytes",
        Kind::Long(MIB, GIB),
        Some("67108864"),
        "The size of one journal file; a multiple of 4096.",
    ),
    used(
        "leader.imbalance.check.interval.seconds",
        Kind::Long(1, 86_400),
        Some("300"),
        "How often leadership is moved back, with auto.leader.rebalance.enable.",
    ),
    used(
        "listener.security.protocol.map",
        Kind::ProtocolMap,
        Some("PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL"),
        "The security protocol of each listener's name. This release speaks PLAINTEXT only.",
    ),
    used(
        "listeners",
        Kind::Endpoints,
        Some("PLAINTEXT://127.0.0.1:9092"),
        "Where clients connect, as NAME://host:port. No host means every interface, port 0 any free one.",
    ),
    used(
        "log.cleaner.backoff.ms",
        Kind::Long(0, i64::MAX),
        Some("15000"),
        "How long the cleaner rests between two rounds through the compacted logs.",
    ),
    used(
        "log.cleaner.dedupe.buffer.size",
        Kind::Long(i64::MIN, i64::MAX),
        Some("134217728"),
        "Memory for the keys of one cleaning pass, taken as they come, some 48 bytes for each. A log with more new keys is cleaned in several passes.",
    ),
    used(
        "log.cleaner.delete.retention.ms",
        Kind::Long(0, i64::MAX),
        Some("86400000"),
        "How long a compacted log keeps the marks of deleted keys, so that readers see them.",
    ),
    used(
        "log.cleaner.enable",
        Kind::Boolean,
        Some("true"),
        "Whether this broker compacts logs at all, those of consumer groups among them.",
    ),
    used(
        "log.cleaner.io.max.bytes.per.second",
        Kind::Double,
        Some("1.7976931348623157E308"),
        "Bytes that the cleaner reads and writes in a second, on average over a pass.",
    ),
    used(
        "log.cleaner.max.compaction.lag.ms",
        Kind::Long(1, i64::MAX),
        Some("9223372036854775807"),
        "The longest time that a record of a compacted log may wait to be looked at by the cleaner.",
    ),
    used(
        "log.cleaner.min.cleanable.ratio",
        Kind::Double,
        Some("0.5"),
        "The part of a compacted log that must be new before the cleaner takes it up, from 0 to 1.",
    ),
    used(
        "log.cleaner.min.compaction.lag.ms",
        Kind::Long(0, i64::MAX),
        Some("0"),
        "How long a record of a compacted log is safe from the cleaner.",
    ),
    used(
        "log.cleanup.policy",
        Kind::List,
        Some("delete"),
        "What happens to old records: delete drops whole segments by age and size, compact keeps the last record of each key.",
    ),
    used("log.dir", Kind::Text, Some("seedlog-data"), "The data folder, when log.dirs is not set."),
    used("log.dirs", Kind::List, None, "The data folder; this release takes one. Not set: that of log.dir."),
    used(
        "log.index.interval.bytes",
        Kind::Int(0, INT_MAX),
        Some("4096"),
        "A segment's index has an entry about every so many bytes of records.",
    ),
    used(
        "log.message.timestamp.after.max.ms",
        Kind::Long(0, i64::MAX),
        Some("3600000"),
        "A record whose timestamp is further in the future than this is refused (with CreateTime).",
    ),
    used(
        "log.message.timestamp.before.max.ms",
        Kind::Long(0, i64::MAX),
        Some("9223372036854775807"),
        "A record whose timestamp is further in the past than this is refused (with CreateTime).",
    ),
    used(
        "log.message.timestamp.type",
        Kind::Choice(&["CreateTime", "LogAppendTime"]),
        Some("CreateTime"),
        "Whether a record keeps its producer's timestamp or gets the time of its append.",
    ),
    used(
        "log.retention.bytes",
        Kind::Long(i64::MIN, i64::MAX),
        Some("-1"),
        "Oldest segments of a partition are dropped as long as the rest is at least as large; below 0 none are.",
    ),
    used(
        "log.retention.check.interval.ms",
        Kind::Long(1, i64::MAX),
        Some("300000"),
        "How often logs are looked at for segments that are too old or too many.",
    ),
    used(
        "log.retention.hours",
        Kind::Int(-INT_MAX - 1, INT_MAX),
        Some("168"),
        "Hours that a segment is kept after its latest record, below 0 for ever; log.retention.minutes and log.retention.ms \
         count before it.",
    ),
    used(
        "log.retention.minutes",
        Kind::Int(-INT_MAX - 1, INT_MAX),
        None,
        "Minutes that a segment is kept after its latest record, below 0 for ever. Not set: log.retention.hours.",
    ),
    used(
        "log.retention.ms",
        Kind::Long(i64::MIN, i64::MAX),
        None,
        "How long a segment is kept after its latest record, below 0 for ever. Not set: log.retention.minutes.",
    ),
    used(
        "log.roll.hours",
        Kind::Int(1, INT_MAX),
        Some("168"),
        "Hours after which a segment file is closed by the next append even if it is not full; log.roll.ms counts before it.",
    ),
    used(
        "log.roll.jitter.hours",
        Kind::Int(0, INT_MAX),
        Some("0"),
        "How many hours sooner than log.roll.ms or log.roll.hours a partition may close its segments; log.roll.jitter.ms \
         counts before it.",
    ),
    used(
        "log.roll.jitter.ms",
        Kind::Long(0, i64::MAX),
        None,
        "How much sooner than log.roll.ms a partition may close its segments, so that not all do it at once. Not set: \
         log.roll.jitter.hours.",
    ),
    used(
        "log.roll.ms",
        Kind::Long(1, i64::MAX),
        None,
        "A segment file is closed by the first append that comes this long after it was begun. Not set: log.roll.hours.",
    ),
    used(
        "log.segment.bytes",
        Kind::Int(MIB, INT_MAX),
        Some("1073741824"),
        "A segment file is closed when the next batch would make it larger than this.",
    ),
    used(
        "max.connection.creation.rate",
        Kind::Int(1, INT_MAX),
        Some("2147483647"),
        "Client connections that are accepted in a second, after a quiet second as many at once; what comes faster waits.",
    ),
    used("max.connections", Kind::Int(1, INT_MAX), Some("10000"), "The most client connections at once."),
    used(
        "max.connections.per.ip",
        Kind::Int(1, INT_MAX),
        Some("2500"),
        "The most client connections from one address at once; what comes beyond them is closed.",
    ),
    used(
        "max.connections.per.ip.overrides",
        Kind::Overrides,
        Some(""),
        "Other numbers than max.connections.per.ip for some addresses, as address:count, separated by commas: \
         10.0.0.7:5000,[fd00::7]:0. An address with 0 is not let in.",
    ),
    used(
        "max.incremental.fetch.session.cache.slots",
        Kind::Int(0, 1_000_000),
        Some("1000"),
        "The most fetch sessions that are remembered (KIP-227); 0 turns them off. All together hold one partition for each 512 \
         bytes of the core's part of memory.budget.bytes; consumers beyond that name theirs in every fetch.",
    ),
    used(
        "memory.budget.bytes",
        Kind::Long(64 * MIB, 1024 * GIB),
        Some("536870912"),
        "What the node may hold in memory for requests, replies, recent records and its own state together.",
    ),
    used(
        "memory.tail.cache.bytes",
        Kind::Long(8 * MIB, 1024 * GIB),
        None,
        "The part of memory.budget.bytes that keeps the newest records. Not set: a quarter of it. A sixteenth keeps what was read of old ones.",
    ),
    used(
        "message.max.bytes",
        Kind::Int(0, INT_MAX),
        Some("1048588"),
        "The largest record batch that a topic takes, unless the topic says otherwise.",
    ),
    used(
        "min.insync.replicas",
        Kind::Int(1, 32767),
        None,
        "How many replicas must have a record with acks=all before it is acknowledged. Not set: a majority of the topic's \
         replicas.",
    ),
    used("node.id", Kind::Int(0, INT_MAX), Some("1"), "The number of this node, unique in its cluster."),
    used(
        "num.partitions",
        Kind::Int(1, 100_000),
        Some("1"),
        "Partitions of a topic created without a number.",
    ),
    used(
        "offset.metadata.max.bytes",
        Kind::Int(0, INT_MAX),
        Some("4096"),
        "The most that a consumer may keep beside a committed offset.",
    ),
    used(
        "offsets.commit.timeout.ms",
        Kind::Int(1, INT_MAX),
        Some("5000"),
        "How long the answer to a consumer group waits for its log; then the client asks anew who coordinates the group.",
    ),
    used(
        "offsets.load.buffer.size",
        Kind::Int(1, INT_MAX),
        Some("5242880"),
        "How much of a log of groups is read at a time by the broker that begins to coordinate them.",
    ),
    used(
        "offsets.retention.check.interval.ms",
        Kind::Long(1, i64::MAX),
        Some("600000"),
        "How often committed offsets are looked at for those that may be forgotten.",
    ),
    used(
        "offsets.retention.minutes",
        Kind::Int(1, INT_MAX),
        Some("10080"),
        "How long the offsets of a group are kept after its last member has left. While it has members they are kept.",
    ),
    used(
        "offsets.topic.num.partitions",
        Kind::Int(1, 100_000),
        Some("50"),
        "Partitions of __consumer_offsets when it is created.",
    ),
    used(
        "offsets.topic.replication.factor",
        Kind::Int(1, 32767),
        None,
        "Replicas of __consumer_offsets when it is created. Not set: 3, or as many as there are brokers in the cluster.",
    ),
    used(
        "offsets.topic.segment.bytes",
        Kind::Int(MIB, INT_MAX),
        Some("104857600"),
        "The size of the segments of __consumer_offsets when it is created.",
    ),
    used(
        "process.roles",
        Kind::Choices(&["broker", "controller"]),
        Some("broker,controller"),
        "What this node does: `broker` holds partitions and serves clients, `controller` decides about the cluster.",
    ),
    used(
        "producer.id.expiration.ms",
        Kind::Int(1, INT_MAX),
        Some("86400000"),
        "How long a silent idempotent producer is remembered; its duplicates are recognised for so long.",
    ),
    used(
        "queued.max.request.bytes",
        Kind::Long(-1, i64::MAX),
        Some("-1"),
        "The most bytes of requests that are read and not answered, where memory.budget.bytes gives them more; -1: as that.",
    ),
    used(
        "replica.lag.time.max.ms",
        Kind::Long(100, 86_400_000),
        Some("30000"),
        "A replica that has not caught up with its leader for so long is no longer in sync.",
    ),
    used(
        "request.arrival.ms",
        Kind::Long(100, YEAR_MS),
        Some("30000"),
        "A request that has begun may take its time for so long; from then on its connection is closed if less than 64 bytes a \
         millisecond have arrived. Where others wait for the memory that it holds, it is 2 seconds and 256 bytes.",
    ),
    used(
        "socket.request.max.bytes",
        Kind::Int(1024, INT_MAX),
        Some("104857600"),
        "The largest request that is read; a longer one closes its connection.",
    ),
];
