//! What a broker asks for: the outputs of [`crate::broker::Broker::step`].
//!
//! A driver has one ordering rule: *in order*. It takes what an output refers to when it takes the output, before any
//! later one (SAFETY R8). All [`Output::Journal`] entries of one step go into one group.

use crate::cluster::snapshot::Snapshot;
use crate::ids::{ConnId, Generation, NodeId, Offset, OpId, RequestNumber, TopicPartition, Uuid};
use crate::journal::Entry;
use crate::log::{CompactionOrder, Retention};
use crate::peer::{PeerMessage, admit_batches};
use crate::records::{BatchHeader, ProducedBatch};
use crate::wire::Response;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// The collected consequences of one or more steps.
pub type Outputs = Vec<Output>;

/// One consequence.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Answer a request.
    Reply {
        /// The connection.
        conn: ConnId,
        /// The request. Replies of a connection leave in this order, whatever order they come in (SAFETY K1).
        number: RequestNumber,
        /// The answer, or `None` where Kafka sends none (acks=0): the number is then simply done.
        response: Option<Box<Reply>>,
    },
    /// End a connection, after the replies that were given before.
    Close {
        /// The connection.
        conn: ConnId,
        /// Why, for the log.
        reason: &'static str,
    },
    /// Say something to another node, on the stream that [`PeerMessage::is_bulk`] names. May be lost.
    Send {
        /// The node.
        to: NodeId,
        /// What is said.
        message: Box<PeerMessage>,
        /// The record batches behind the header.
        batches: PeerBatches,
    },
    /// Append an entry to the journal; entries are numbered in order.
    Journal {
        /// The entry.
        entry: Entry,
        /// For an append: the stamped header, and the batch as the client sent it.
        batch: Option<(BatchHeader, Bytes)>,
    },
    /// Look something up in the store and report with `ReadDone`.
    Read {
        /// The operation.
        op: OpId,
        /// Where to look: offsets `extent.from` up to `extent.to`.
        extent: Extent,
        /// What to look for.
        look: Look,
    },
    /// Read batches back and report with `BatchesRead`: those that lie in the extent whole, from its start, as many as fit
    /// into its `bytes_max`, at least one if there is one. What stands elsewhere than the first may be left for another
    /// time, so fewer say nothing about the end: whoever wants more asks again from where they end.
    ReadBatches {
        /// The operation.
        op: OpId,
        /// Which batches: leased when the output is taken (SAFETY R8).
        extent: Extent,
    },
    /// Look which segments of a log are too old or too many and report with `ReadDone`: the offset at which the log is to
    /// start, of no record in particular, or nothing.
    FindExpired {
        /// The operation.
        op: OpId,
        /// The log.
        partition: TopicPartition,
        /// Segments that reach behind this offset stay: not all of them is committed.
        up_to: Offset,
        /// What is kept.
        retention: Retention,
    },
    /// Look whether a log is worth a cleaning pass, make it if so, beside all else that is done, and report with `Compacted`.
    /// The new segments are on disk then, and the log's once the journal says so: [`Entry::Compacted`]. Until then the old
    /// ones are, and afterwards until that entry is on disk. New ones that never become the log's are let go with the next
    /// order. There is one at a time.
    Compact {
        /// The operation.
        op: OpId,
        /// Which log, and by what rules.
        order: Box<CompactionOrder>,
    },
    /// Look how large logs are, and how much room there is beside them, and report with `LogsMeasured`.
    MeasureLogs {
        /// The operation.
        op: OpId,
        /// The logs.
        partitions: Vec<TopicPartition>,
    },
    /// Do something to the store and report with `StoreDone`.
    Store {
        /// The operation.
        op: OpId,
        /// What.
        command: StoreCommand,
    },
    /// The broker has ended; no further step is allowed.
    Halt {
        /// Why.
        reason: HaltReason,
    },
}

/// Record batches for a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerBatches {
    /// The message has none.
    None,
    /// A batch that was appended in this step: its stamped header in place of the first bytes, and the batch as it came.
    Fresh(BatchHeader, Bytes),
    /// What is in the log: leased when the output is taken. When nothing of it can be read, nothing is sent (SAFETY R8).
    Extent(Extent),
}

/// An answer, with the record bytes still to be filled in by the driver.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The answer.
    pub response: Response,
    /// Record bytes to put into a Fetch response before it is encoded.
    pub fills: Vec<Fill>,
    /// In a Fetch response: the bytes that all fills together may take. The first non-empty one may exceed it (KIP-74).
    pub fill_bytes_max: u32,
    /// Close the connection after this reply.
    pub close: bool,
    /// Do not read from the connection for this long, in ms (KIP-219).
    pub throttle_ms: u32,
}

/// One partition's part of a Fetch response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Index into `responses`.
    pub topic: usize,
    /// Index into its `partitions`.
    pub partition: usize,
    /// What to read.
    pub extent: Extent,
    /// Take the partition out of the response if nothing fits: an incremental fetch session has nothing else to say
    /// about it (KIP-227).
    pub omit_if_empty: bool,
}

/// A run of record batches of one partition: a lease on bytes that are there when the output is taken (SAFETY R8).
/// Starts with the batch that holds `from`, ends before `to` at the latest and never splits a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The partition.
    pub partition: TopicPartition,
    /// The life of its log.
    pub generation: Generation,
    /// The first offset wanted.
    pub from: Offset,
    /// The offset before which the run ends; a batch boundary.
    pub to: Offset,
    /// The most bytes wanted; the first batch may exceed it (KIP-74).
    pub bytes_max: u32,
}

impl Extent {
    /// Takes apart what was read of it and checks that this is what it names: whole batches, the first one holds `from`, none
    /// reaches behind `to`, and every CRC is right. `None`: it is not. The batches are slices of `bytes`.
    #[must_use]
    pub fn admit(&self, bytes: &Bytes) -> Option<Vec<ProducedBatch>> {
        let batches = admit_batches(bytes).ok()?;
        let holds_from = |first: &ProducedBatch| {
            first.header.base_offset <= self.from && self.from < first.header.next_offset()
        };
        // Where nothing is asked for, nothing is right.
        let starts = batches.first().map_or(self.from >= self.to, holds_from);
        let ends = batches.last().is_none_or(|last| last.header.next_offset() <= self.to);
        (starts && ends).then_some(batches)
    }
}

/// What to look for in an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The first record whose timestamp is at least this, in ms.
    Timestamp(i64),
    /// The first record with the greatest timestamp (KIP-734).
    MaxTimestamp,
}

/// A change to the store beyond appending.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreCommand {
    /// Write the snapshot once every batch up to `snapshot.through` is in synced segments, then release the journal
    /// files it covers (SAFETY J9). Until it is done no other snapshot is asked for.
    Snapshot {
        /// The core's part of it.
        snapshot: Box<Snapshot>,
    },
    /// Remove everything of a deleted topic. Repeatable; doing it for a topic that has nothing is success.
    Drop {
        /// The topic.
        topic_id: Uuid,
        /// Its partitions are 0 up to this.
        partitions: i32,
    },
}

/// Why a broker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HaltReason {
    /// It was asked to, and everything is on disk.
    Stopped,
    /// A disk failed (SAFETY J10).
    DiskFailed(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LeaderEpoch, PartitionIndex};
    use crate::records::BatchBuilder;

    /// Batches of two records each, behind each other.
    fn batches(bases: &[i64]) -> Vec<u8> {
        let of = |&base: &i64| {
            let mut builder = BatchBuilder::new().stamped(Offset(base), LeaderEpoch(1));
            builder.add(5, None, Some(b"one"), &[]);
            builder.add(6, None, Some(b"two"), &[]);
            builder.finish()
        };
        bases.iter().flat_map(|base| of(base).to_vec()).collect()
    }

    #[test]
    fn an_extent_admits_what_it_names_and_nothing_else() {
        let partition = TopicPartition { topic_id: Uuid([1; 16]), partition: PartitionIndex(0) };
        let extent = |from, to| Extent {
            partition,
            generation: Generation(0),
            from: Offset(from),
            to: Offset(to),
            bytes_max: 1,
        };
        let admitted = |from, to, bytes: Vec<u8>| {
            let found = extent(from, to).admit(&bytes.into())?;
            Some(found.iter().map(|batch| batch.header.base_offset.0).collect::<Vec<_>>())
        };
        assert_eq!(admitted(4, 8, batches(&[4, 6])), Some([4, 6].into()));
        assert_eq!(
            admitted(5, 8, batches(&[4])),
            Some([4].into()),
            "from the middle of a batch, and not to the end"
        );
        assert_eq!(admitted(6, 8, batches(&[4, 6])), None, "begins too early");
        assert_eq!(admitted(3, 8, batches(&[4, 6])), None, "begins too late");
        assert_eq!(admitted(4, 6, batches(&[4, 6])), None, "ends too late");
        assert_eq!(admitted(4, 8, Vec::new()), None, "nothing where there is something");
        assert_eq!(admitted(8, 8, Vec::new()), Some(Vec::new()));
        let mut cut_short = batches(&[4, 6]);
        cut_short.pop();
        assert_eq!(admitted(4, 8, cut_short), None);
        let mut damaged = batches(&[4, 6]);
        *damaged.last_mut().expect("a batch has bytes") ^= 1;
        assert_eq!(admitted(4, 8, damaged), None);
    }
}
