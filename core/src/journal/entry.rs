//! What a journal entry can say. An entry names its effects completely, so that replaying it needs no clock and no choice.

use crate::cluster::records::Voter;
use crate::ids::{LeaderEpoch, Lsn, NodeId, Offset, ProducerId, TopicPartition, Uuid};
use crate::log::Compaction;
use crate::time::WallMs;
use alloc::boxed::Box;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// One entry of the journal's table. The record bytes of an [`Entry::Append`] stand in the group's payload; everything
/// else is in the entry itself. The order of the variants is part of the durable format: new ones go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A record batch was appended to a data partition.
    Append(AppendEntry),
    /// This node became leader of a partition in `epoch`, whose first offset is `start` (SAFETY R6).
    EpochStart {
        /// The partition.
        partition: TopicPartition,
        /// The new leader epoch.
        epoch: LeaderEpoch,
        /// The log end at which the epoch begins.
        start: Offset,
    },
    /// An entry of the metadata log.
    Metadata {
        /// Its offset in the metadata log.
        offset: Offset,
        /// The term of the leader that wrote it.
        epoch: LeaderEpoch,
        /// Its records, in the encoding of `cluster::records`.
        records: Vec<u8>,
    },
    /// Producers that expired in a partition, by the leader's decision (SAFETY R10).
    ProducersExpired {
        /// The partition.
        partition: TopicPartition,
        /// The producers that vanish.
        producers: Vec<ProducerId>,
    },
    /// The files of a deleted topic are gone (the end of a store command, SAFETY J8).
    Dropped {
        /// The topic.
        topic_id: Uuid,
    },
    /// The journal was read back up to here and a new run of the broker begins.
    Started {
        /// The run's number, from 1.
        boot: u64,
        /// Recovery cut something off behind the journal's end that nothing vouched for: all logs may lack their last
        /// records (SAFETY J4).
        is_doubtful: bool,
    },
    /// The broker stopped in order: every entry before this one was durable when it was written.
    Stopped,
    /// The node belongs to a cluster, which was founded with these voters (SAFETY Q1).
    Founded {
        /// The cluster.
        cluster_id: Uuid,
        /// Its first voters.
        voters: Vec<Voter>,
    },
    /// The node's term in the quorum, and whom it votes for in it (Raft section 5.2).
    Vote {
        /// The term.
        epoch: LeaderEpoch,
        /// Whom it voted for, if for anyone yet.
        candidate: Option<NodeId>,
    },
    /// The metadata log ends at `to`: what a leader of an older term wrote behind it was never committed.
    MetadataCut {
        /// The new end.
        to: Offset,
    },
    /// A part of a snapshot that replaces the metadata log up to `end`: with the last part it takes effect.
    MetadataImage {
        /// The offset after the last entry that shows in it.
        end: Offset,
        /// The term of that entry.
        epoch: LeaderEpoch,
        /// Position of this part in the encoded image, in bytes.
        from: u64,
        /// Size of the encoded image in bytes.
        total: u64,
        /// The part.
        bytes: Vec<u8>,
    },
    /// A partition's log ends at `to`: what lay behind it was never committed (SAFETY R1).
    Cut {
        /// The partition.
        partition: TopicPartition,
        /// The new end; a batch boundary.
        to: Offset,
    },
    /// A partition's log begins anew, empty, at `start` (SAFETY R7), or because its records were lost (SAFETY J5).
    Reset {
        /// The partition.
        partition: TopicPartition,
        /// Start and end of the log from here on.
        start: Offset,
        /// The leader's producers, encoded; empty for none.
        producers: Vec<u8>,
        /// Up to where the leader's log has dropped tombstones.
        tombstones_gone_to: Offset,
    },
    /// The files of a deleted topic are to be removed: nothing of it is read again (the begin of a store command).
    Dropping {
        /// The topic.
        topic_id: Uuid,
        /// Its partitions are 0 up to this.
        partitions: i32,
    },
    /// What a leader has brought past the cut of a recovery is no longer in doubt (SAFETY J4).
    Trusted {
        /// The partition, or the metadata log.
        partition: TopicPartition,
    },
    /// A batch that was on disk cannot be read back: this copy of the log is given up (SAFETY J5), until it is reset.
    Damaged {
        /// The partition.
        partition: TopicPartition,
        /// Where it begins that cannot be read.
        from: Offset,
    },
    /// A partition's log begins at `start`: what lies before is deleted, and segments that hold nothing else may go.
    LogStart {
        /// The partition.
        partition: TopicPartition,
        /// The new start, which may lie within a batch.
        start: Offset,
    },
    /// A cleaning pass was made: its segments, which are on disk, take the place of others (SAFETY J8).
    Compacted {
        /// The partition.
        partition: TopicPartition,
        /// What takes whose place.
        compaction: Box<Compaction>,
    },
}

/// The table's line for one appended batch. Offsets and epoch stand here as well as in the batch's header because the
/// batch's own CRC does not cover them there; the table's CRC covers them here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendEntry {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset of the batch's first record.
    pub base_offset: Offset,
    /// Records in the batch's span of offsets, at least 1.
    pub offsets: u32,
    /// The leader epoch it was appended in.
    pub epoch: LeaderEpoch,
    /// Size of the batch in bytes, header included.
    pub batch_bytes: u32,
    /// The batch's CRC-32C as stored in its header.
    pub crc: u32,
    /// The leader's wall clock at the append: what expiry and segment age count from on every replica.
    pub append_time: WallMs,
    /// The batch opens a new segment.
    pub roll: bool,
}

impl AppendEntry {
    /// The offset after the batch's last.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.offsets))
    }
}

impl Entry {
    /// The quorum rests on it: what a node must not have forgotten of votes, founding and the metadata log (SAFETY J5).
    #[must_use]
    pub fn is_of_quorum(&self) -> bool {
        match self {
            Self::Metadata { .. }
            | Self::MetadataCut { .. }
            | Self::MetadataImage { .. }
            | Self::Founded { .. }
            | Self::Vote { .. } => true,
            Self::Append(_)
            | Self::EpochStart { .. }
            | Self::ProducersExpired { .. }
            | Self::Cut { .. }
            | Self::Reset { .. }
            | Self::Dropped { .. }
            | Self::Dropping { .. }
            | Self::Started { .. }
            | Self::Stopped
            | Self::Trusted { .. }
            | Self::Damaged { .. }
            | Self::LogStart { .. }
            | Self::Compacted { .. } => false,
        }
    }

    /// Bytes that the entry takes in the group's payload.
    #[must_use]
    pub fn payload_bytes(&self) -> u32 {
        match self {
            Self::Append(append) => append.batch_bytes,
            Self::EpochStart { .. }
            | Self::Metadata { .. }
            | Self::ProducersExpired { .. }
            | Self::Dropped { .. }
            | Self::Started { .. }
            | Self::Stopped
            | Self::Founded { .. }
            | Self::Vote { .. }
            | Self::MetadataCut { .. }
            | Self::MetadataImage { .. }
            | Self::Cut { .. }
            | Self::Reset { .. }
            | Self::Dropping { .. }
            | Self::Trusted { .. }
            | Self::Damaged { .. }
            | Self::LogStart { .. }
            | Self::Compacted { .. } => 0,
        }
    }
}

/// An entry with its number and where its payload stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The entry's number.
    pub lsn: Lsn,
    /// The entry.
    pub entry: Entry,
    /// Start of its payload, in bytes from the start of the group. Meaningless when the entry has none.
    pub payload_at: u32,
}
