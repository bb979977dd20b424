//! What happens to a broker: the inputs of [`crate::broker::Broker::step`].

use crate::door::ClientRequest;
use crate::ids::{ConnId, ListenerId, Lsn, NodeId, Offset, OpId, RequestNumber, TopicPartition};
use crate::log::CompactionResult;
use crate::peer::PeerMessage;
use crate::quorum::voters::VoterChange;
use crate::records::ProducedBatch;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a request is moved once, and a box would cost each an allocation"
)]
pub enum Input {
    /// A client connected.
    ConnOpened {
        /// The connection.
        conn: ConnId,
        /// The listener it came through.
        listener: ListenerId,
        /// The other end, for logs: address and port.
        peer: String,
    },
    /// A client's request, decoded and checked at the door.
    Request {
        /// The connection.
        conn: ConnId,
        /// Its place among the connection's requests, from 0 without gaps.
        number: RequestNumber,
        /// What it asks for.
        request: ClientRequest,
    },
    /// A connection ended, from either side. Nothing more is sent to it.
    ConnClosed {
        /// The connection.
        conn: ConnId,
    },
    /// A stream to a node is there, in both directions: what is sent from here on may arrive. May be said again.
    PeerUp {
        /// The node.
        node: NodeId,
    },
    /// A node said something. Its batches are those behind the header, checked by [`crate::peer::admit_batches`]; only an
    /// append of a data partition has any.
    Peer {
        /// What was said, and by whom.
        message: Box<PeerMessage>,
        /// The record batches.
        batches: Vec<ProducedBatch>,
    },
    /// The streams to a node are gone: a hint that it may have died, no proof.
    PeerLost {
        /// The node.
        node: NodeId,
    },
    /// How far the journal got. Both ends only grow; `synced` never passes `written`.
    Durable {
        /// The last lsn handed to the operating system.
        written: Lsn,
        /// The last lsn on disk.
        synced: Lsn,
    },
    /// A look-up in the store ended.
    ReadDone {
        /// The operation, as in [`crate::output::Output::Read`].
        op: OpId,
        /// What was found.
        result: ReadResult,
    },
    /// Batches were read back.
    BatchesRead {
        /// The operation, as in [`crate::output::Output::ReadBatches`].
        op: OpId,
        /// The batches, as the log has them; [`crate::output::Extent::admit`] checked them. `None`: they cannot be read or
        /// are damaged.
        batches: Option<Vec<ProducedBatch>>,
    },
    /// A cleaning pass ended.
    Compacted {
        /// The operation, as in [`crate::output::Output::Compact`].
        op: OpId,
        /// How.
        result: CompactionResult,
    },
    /// The sizes of logs are known.
    LogsMeasured {
        /// The operation, as in [`crate::output::Output::MeasureLogs`].
        op: OpId,
        /// Where they are, and how large.
        dir: LogDir,
    },
    /// A store command ended.
    StoreDone {
        /// The operation, as in [`crate::output::Output::Store`].
        op: OpId,
        /// Done, or why not: the node goes on and the command is tried again later.
        result: Result<(), String>,
    },
    /// A batch that was on disk cannot be read back: its bytes are not those that were written. May be said again, and of
    /// what is cut off by now.
    Damaged {
        /// The partition.
        partition: TopicPartition,
        /// The batch's first offset.
        from: Offset,
    },
    /// A write or sync of the journal failed, or a disk is gone: the node halts (SAFETY J10).
    DiskFailed {
        /// What the operating system said.
        reason: String,
    },
    /// Room that is left on the fullest disk, in bytes. Sent at start, when it changes much, and when room ran out.
    Space {
        /// Bytes that may still be written.
        free_bytes: u64,
    },
    /// An operator wants the quorum's members changed (KIP-853). [`crate::broker::Broker::plan_voters`] tells before why it
    /// would not be done; what is done shows in the metadata.
    ChangeVoters {
        /// The change.
        change: VoterChange,
    },
    /// The time named by [`crate::broker::Broker::wake_at`] has come; may be late or spurious.
    Wake,
    /// Stop in order.
    Stop,
}

/// The folder that holds a node's logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDir {
    /// Its absolute path.
    pub path: String,
    /// Size of the file system that it is on, in bytes; `None` if that cannot be read.
    pub total_bytes: Option<u64>,
    /// What may still be written there, in bytes.
    pub usable_bytes: Option<u64>,
    /// The logs that were asked for: the bytes of all their batches.
    pub sizes: Vec<(TopicPartition, u64)>,
}

/// The outcome of a look-up in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadResult {
    /// The record asked for.
    Found {
        /// Its offset.
        offset: Offset,
        /// Its timestamp in ms since the epoch.
        timestamp_ms: i64,
    },
    /// There is none.
    NotFound,
    /// The bytes cannot be read or are damaged.
    Failed,
}
