//! What a journal entry can say. An entry names its effects completely, so that replaying it needs no clock and no choice.

use crate::ids::{LeaderEpoch, Lsn, Offset, ProducerId, TopicPartition, Uuid};
use crate::time::WallMs;
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
    /// A record of the metadata log, in the encoding of `cluster::records`.
    Metadata {
        /// Its offset in the metadata log.
        offset: Offset,
        /// The term of the leader that wrote it.
        epoch: LeaderEpoch,
        /// The encoded record.
        record: Vec<u8>,
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
    },
    /// The broker stopped in order: every entry before this one was durable when it was written.
    Stopped,
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
            | Self::Stopped => 0,
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
