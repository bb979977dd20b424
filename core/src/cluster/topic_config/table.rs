//! The one table of topic settings: every public one of Kafka 4.3 with its type, range and default, and what this release
//! makes of it. CreateTopics, AlterConfigs, DescribeConfigs and `seedlog config explain` go by it.
//!
//! Names, types, ranges and defaults are those that `LogConfig.configDefCopy()` of 4.3.1 prints.

use super::value::Kind;

/// One setting of a topic.
#[derive(Debug, PartialEq)]
pub struct TopicKey {
    /// Kafka's name.
    pub name: &'static str,
    /// Type and range.
    pub kind: Kind,
    /// Kafka's default.
    pub default: &'static str,
    /// The broker's settings that a topic without its own goes by, the one that counts first.
    pub synonyms: &'static [&'static str],
    /// What comes of setting it.
    pub effect: Effect,
    /// What it does.
    pub doc: &'static str,
}

/// What comes of setting a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does what Kafka says, from the next append on.
    Behaves,
    /// It is kept and told, and nothing goes by it; why.
    Kept(&'static str),
    /// One value only is taken; why.
    Only(&'static str, &'static str),
}

const INT_MAX: i32 = i32::MAX;
const LONG_MAX: i64 = i64::MAX;
const FOREVER: &str = "9223372036854775807";
const NO_RECOMPRESSION: Effect =
    Effect::Kept("This release keeps batches as producers compressed them, and nothing goes by it.");
const NO_TIERS: &str = "this release has no tiered storage";
const SYNCED: Effect = Effect::Kept(
    "Records are on the disk before they are acknowledged, unless the broker's `flush` says otherwise; nothing goes by it.",
);
const UNTHROTTLED: Effect =
    Effect::Kept("This release does not throttle replication, and nothing goes by it.");

/// Every key, in order.
pub const TOPIC_KEYS: &[TopicKey] = &[
    TopicKey {
        name: "cleanup.policy",
        kind: Kind::Words(&["compact", "delete"]),
        default: "delete",
        synonyms: &["log.cleanup.policy"],
        effect: Effect::Behaves,
        doc: "What happens to old records: `delete` drops whole segments by age and size, `compact` keeps the last record of \
              each key.",
    },
    TopicKey {
        name: "compression.gzip.level",
        kind: Kind::IntOr(-1, 1, 9),
        default: "-1",
        synonyms: &["compression.gzip.level"],
        effect: NO_RECOMPRESSION,
        doc: "How hard gzip tries where the broker compresses; -1 leaves it to gzip.",
    },
    TopicKey {
        name: "compression.lz4.level",
        kind: Kind::Int(1, 17),
        default: "9",
        synonyms: &["compression.lz4.level"],
        effect: NO_RECOMPRESSION,
        doc: "How hard lz4 tries where the broker compresses.",
    },
    TopicKey {
        name: "compression.type",
        kind: Kind::Word(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        default: "producer",
        synonyms: &["compression.type"],
        effect: Effect::Only("producer", "this release keeps batches as producers compressed them"),
        doc: "How batches are compressed in the log; `producer` keeps each as it came.",
    },
    TopicKey {
        name: "compression.zstd.level",
        kind: Kind::Int(-131_072, 22),
        default: "3",
        synonyms: &["compression.zstd.level"],
        effect: NO_RECOMPRESSION,
        doc: "How hard zstd tries where the broker compresses.",
    },
    TopicKey {
        name: "delete.retention.ms",
        kind: Kind::Long(0, LONG_MAX),
        default: "86400000",
        synonyms: &["log.cleaner.delete.retention.ms"],
        effect: Effect::Behaves,
        doc: "How long a compacted log keeps the marks of deleted keys, so that readers see them.",
    },
    TopicKey {
        name: "file.delete.delay.ms",
        kind: Kind::Long(0, LONG_MAX),
        default: "60000",
        synonyms: &["log.segment.delete.delay.ms"],
        effect: Effect::Kept("Files go as soon as nobody reads them, and nothing goes by it."),
        doc: "How long a file waits between being dropped from the log and being removed from the disk.",
    },
    TopicKey {
        name: "flush.messages",
        kind: Kind::Long(1, LONG_MAX),
        default: FOREVER,
        synonyms: &["log.flush.interval.messages"],
        effect: SYNCED,
        doc: "How many records may be written before the disk is told to sync.",
    },
    TopicKey {
        name: "flush.ms",
        kind: Kind::Long(0, LONG_MAX),
        default: FOREVER,
        synonyms: &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        effect: SYNCED,
        doc: "How long records may be written before the disk is told to sync.",
    },
    TopicKey {
        name: "follower.replication.throttled.replicas",
        kind: Kind::Replicas,
        default: "",
        synonyms: &[],
        effect: UNTHROTTLED,
        doc: "The replicas that copy no faster than their broker's limit; `*` means all.",
    },
    TopicKey {
        name: "index.interval.bytes",
        kind: Kind::Int(0, INT_MAX),
        default: "4096",
        synonyms: &["log.index.interval.bytes"],
        effect: Effect::Kept("Indexes go by the broker's log.index.interval.bytes."),
        doc: "A segment's index has an entry about every so many bytes of records.",
    },
    TopicKey {
        name: "leader.replication.throttled.replicas",
        kind: Kind::Replicas,
        default: "",
        synonyms: &[],
        effect: UNTHROTTLED,
        doc: "The replicas that are copied from no faster than their broker's limit; `*` means all.",
    },
    TopicKey {
        name: "local.retention.bytes",
        kind: Kind::Long(-2, LONG_MAX),
        default: "-2",
        synonyms: &["log.local.retention.bytes"],
        effect: Effect::Only("-2", NO_TIERS),
        doc: "How many bytes of a tiered partition stay on the broker; -2 means as many as retention.bytes says.",
    },
    TopicKey {
        name: "local.retention.ms",
        kind: Kind::Long(-2, LONG_MAX),
        default: "-2",
        synonyms: &["log.local.retention.ms"],
        effect: Effect::Only("-2", NO_TIERS),
        doc: "How long segments of a tiered topic stay on the broker; -2 means as long as retention.ms says.",
    },
    TopicKey {
        name: "max.compaction.lag.ms",
        kind: Kind::Long(1, LONG_MAX),
        default: FOREVER,
        synonyms: &["log.cleaner.max.compaction.lag.ms"],
        effect: Effect::Behaves,
        doc: "The longest time that a record of a compacted log may wait to be looked at by the cleaner.",
    },
    TopicKey {
        name: "max.message.bytes",
        kind: Kind::Int(0, INT_MAX),
        default: "1048588",
        synonyms: &["message.max.bytes"],
        effect: Effect::Behaves,
        doc: "The largest record batch that is taken, as it is sent: after compression, header included.",
    },
    TopicKey {
        name: "message.timestamp.after.max.ms",
        kind: Kind::Long(0, LONG_MAX),
        default: "3600000",
        synonyms: &["log.message.timestamp.after.max.ms"],
        effect: Effect::Behaves,
        doc: "A record whose timestamp is further in the future than this is refused; only with CreateTime.",
    },
    TopicKey {
        name: "message.timestamp.before.max.ms",
        kind: Kind::Long(0, LONG_MAX),
        default: FOREVER,
        synonyms: &["log.message.timestamp.before.max.ms"],
        effect: Effect::Behaves,
        doc: "A record whose timestamp is further in the past than this is refused; only with CreateTime.",
    },
    TopicKey {
        name: "message.timestamp.type",
        kind: Kind::Word(&["CreateTime", "LogAppendTime"]),
        default: "CreateTime",
        synonyms: &["log.message.timestamp.type"],
        effect: Effect::Behaves,
        doc: "Whether a record keeps its producer's timestamp or gets the time of its append.",
    },
    TopicKey {
        name: "min.cleanable.dirty.ratio",
        kind: Kind::Ratio,
        default: "0.5",
        synonyms: &["log.cleaner.min.cleanable.ratio"],
        effect: Effect::Behaves,
        doc: "The part of a compacted log that must be new before the cleaner takes it up.",
    },
    TopicKey {
        name: "min.compaction.lag.ms",
        kind: Kind::Long(0, LONG_MAX),
        default: "0",
        synonyms: &["log.cleaner.min.compaction.lag.ms"],
        effect: Effect::Behaves,
        doc: "How long a record of a compacted log is safe from the cleaner.",
    },
    TopicKey {
        name: "min.insync.replicas",
        kind: Kind::Int(1, INT_MAX),
        default: "1",
        synonyms: &["min.insync.replicas"],
        effect: Effect::Behaves,
        doc: "How many replicas must be in sync before a record with acks=all is taken, and before any is committed. Without a \
              value here and in the broker's settings it is a majority of the replicas, and it is never more than there are.",
    },
    TopicKey {
        name: "preallocate",
        kind: Kind::Boolean,
        default: "false",
        synonyms: &["log.preallocate"],
        effect: Effect::Kept(
            "The journal's files are always allocated ahead and segments never are; nothing goes by it.",
        ),
        doc: "Whether a segment's file gets its full size when it is made.",
    },
    TopicKey {
        name: "remote.log.copy.disable",
        kind: Kind::Boolean,
        default: "false",
        synonyms: &[],
        effect: Effect::Only("false", NO_TIERS),
        doc: "Whether a tiered topic stops copying segments to the remote store.",
    },
    TopicKey {
        name: "remote.log.delete.on.disable",
        kind: Kind::Boolean,
        default: "false",
        synonyms: &[],
        effect: Effect::Only("false", NO_TIERS),
        doc: "Whether a topic's remote segments are deleted when it is tiered no more.",
    },
    TopicKey {
        name: "remote.storage.enable",
        kind: Kind::Boolean,
        default: "false",
        synonyms: &[],
        effect: Effect::Only("false", NO_TIERS),
        doc: "Whether old segments move to a remote store.",
    },
    TopicKey {
        name: "retention.bytes",
        kind: Kind::Long(i64::MIN, LONG_MAX),
        default: "-1",
        synonyms: &["log.retention.bytes"],
        effect: Effect::Behaves,
        doc: "How many bytes a partition keeps before its oldest segments are dropped; below 0 it keeps all.",
    },
    TopicKey {
        name: "retention.ms",
        kind: Kind::Long(-1, LONG_MAX),
        default: "604800000",
        synonyms: &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
        effect: Effect::Behaves,
        doc: "How long a segment is kept after its newest record; -1 keeps it for ever.",
    },
    TopicKey {
        name: "segment.bytes",
        kind: Kind::Int(1 << 20, INT_MAX),
        default: "1073741824",
        synonyms: &["log.segment.bytes"],
        effect: Effect::Behaves,
        doc: "A segment is closed when the next batch would make it larger than this.",
    },
    TopicKey {
        name: "segment.index.bytes",
        kind: Kind::Int(4, INT_MAX),
        default: "10485760",
        synonyms: &["log.index.size.max.bytes"],
        effect: Effect::Kept("Indexes have no size of their own, and nothing goes by it."),
        doc: "The largest index that a segment may have.",
    },
    TopicKey {
        name: "segment.jitter.ms",
        kind: Kind::Long(0, LONG_MAX),
        default: "0",
        synonyms: &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        effect: Effect::Behaves,
        doc: "How much sooner than segment.ms a partition may close its segments, so that not all do it at once. Each partition \
              has its own part of this, which stays.",
    },
    TopicKey {
        name: "segment.ms",
        kind: Kind::Long(1, LONG_MAX),
        default: "604800000",
        synonyms: &["log.roll.ms", "log.roll.hours"],
        effect: Effect::Behaves,
        doc: "A segment is closed by the first append that comes this long after it was begun, even if it is not full.",
    },
    TopicKey {
        name: "unclean.leader.election.enable",
        kind: Kind::Boolean,
        default: "false",
        synonyms: &["unclean.leader.election.enable"],
        effect: Effect::Only("false", "this release never elects a replica that was out of sync"),
        doc: "Whether a replica that is not in sync may lead when no other is left, which loses acknowledged records.",
    },
];

/// The key with this name.
#[must_use]
pub fn topic_key(name: &str) -> Option<&'static TopicKey> {
    let at = TOPIC_KEYS.binary_search_by(|key| key.name.cmp(name)).ok()?;
    Some(&TOPIC_KEYS[at])
}
