//! What nodes say to each other: messages, and their bytes.
//!
//! Two streams lead from each node to each other one: *control* for votes, beats, metadata, sessions and acknowledgements,
//! *bulk* for record batches, so that batches never delay an election. [`PeerMessage::is_bulk`] says which. Nothing rests on
//! the streams' order or reliability (SAFETY R9): whatever is lost is said again, and what comes late, twice or from an
//! earlier run is recognised by epochs, runs and session numbers and dropped.
//!
//! On a stream a message is its header ([`PeerMessage::encode`]: format version and postcard), and for
//! [`PeerBody::Append`] the record batches as they are in the log, one after the other, behind it ([`admit_batches`]).

mod batches;

pub use batches::{BatchesError, admit_batches};

use crate::cluster::records::Voter;
use crate::ids::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, ProducerId, RunId, SessionNumber,
    TopicPartition, Uuid,
};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Version of everything that peers say. A node that hears a newer one closes the stream with a sentence.
pub const PEER_FORMAT: u16 = 4;
/// Most bytes of a message's header. Metadata entries and parts of snapshots travel in headers.
pub const HEADER_BYTES_MAX: usize = 8 << 20;
/// Most bytes of record batches behind a header: the largest batch, or a run of smaller ones.
pub const BATCHES_BYTES_MAX: usize = 128 << 20;

/// A message and who says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerMessage {
    /// The sender.
    pub from: NodeId,
    /// The sender's folder.
    pub incarnation: Uuid,
    /// The sender's run.
    pub run: RunId,
    /// The run that it is meant for, where the sender knows and it matters; other runs drop it.
    pub to_run: Option<RunId>,
    /// The sender's cluster; `None` while it belongs to none.
    pub cluster_id: Option<Uuid>,
    /// What is said.
    pub body: PeerBody,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerBody {
    /// Founding (SAFETY Q1).
    Found(Found),
    /// "May I lead the quorum?"
    Vote(Vote),
    /// The answer.
    VoteReply(VoteReply),
    /// The quorum's leader is alive.
    Beat(Beat),
    /// A beat was heard.
    BeatReply(BeatReply),
    /// The quorum's leader stops: the receiver may stand at once, if it is the one named.
    Resign {
        /// The leader's term.
        epoch: LeaderEpoch,
        /// Who should stand.
        successor: NodeId,
    },
    /// A follower opens a session.
    Open(Open),
    /// The leader's answer.
    OpenReply(OpenReply),
    /// Records of a data partition. The batches follow the header.
    Append(Append),
    /// Entries of the metadata log.
    MetadataAppend {
        /// Session and position.
        append: Append,
        /// The entries, each with its term: consecutive offsets from the position on.
        entries: Vec<(LeaderEpoch, Vec<u8>)>,
    },
    /// How far followers got.
    Acks(Vec<Ack>),
    /// Watermarks and log starts that moved without records to send.
    Marks(Vec<Mark>),
    /// To the controller: a broker's run wants to be part of the cluster.
    Register(Register),
    /// To the controller: a broker is alive.
    BrokerBeat(BrokerBeat),
    /// The controller's answer.
    BrokerBeatReply(BrokerBeatReply),
    /// To the controller: a leader wants its ISR changed (KIP-497).
    AlterPartition(AlterPartition),
    /// The controller refuses to; what it accepts shows in the metadata.
    AlterRefused {
        /// The partition.
        partition: TopicPartition,
        /// The state that was to be changed.
        partition_epoch: PartitionEpoch,
    },
    /// To the controller: a broker has no producer ids left.
    WantProducerIds {
        /// The broker's registration.
        broker_epoch: BrokerEpoch,
    },
    /// To the controller: a client's request that it must decide.
    Forward(Forward),
    /// The controller's answer for the client.
    ForwardReply(ForwardReply),
    /// A follower asks which of these producers, idle for long, the leader does not know (SAFETY R10).
    AskProducers(Vec<Producers>),
    /// The leader does not know these.
    ForgetProducers(Vec<Producers>),
}

/// How a cluster is founded: every configured voter, blank, tells the lowest that it is there; that one draws the cluster's
/// id, tells all, and stands for the first term once all have it on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// "I am blank, and configured with these voters."
    Blank {
        /// The configured voters, in order.
        voters: Vec<NodeId>,
    },
    /// "The cluster is this one": from the founder to those who said they are blank, and from any member to a node that is
    /// not one.
    Cluster {
        /// Its id.
        cluster_id: Uuid,
        /// Its first voters.
        voters: Vec<Voter>,
        /// It exists since long: whoever is not among the voters joins as an observer.
        is_founded: bool,
    },
    /// "I have it on disk."
    Written {
        /// The cluster.
        cluster_id: Uuid,
    },
}

/// A candidate's request (Raft section 5.2; pre-vote: section 9.6 of the thesis, KIP-996).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The receiver's folder, as the candidate's list of voters has it: another folder under its name votes for nobody
    /// (SAFETY Q1). The receiver's own list does not matter: it may be older than the candidate's.
    pub voter: Uuid,
    /// The term it stands in; for a pre-vote the one that it would stand in.
    pub epoch: LeaderEpoch,
    /// The term of the last entry of its log.
    pub last_epoch: LeaderEpoch,
    /// The end of its log.
    pub end: Offset,
    /// It only asks whether it would be elected; nothing is promised.
    pub is_pre_vote: bool,
    /// The leader itself asked it to stand: whoever still hears the leader may vote.
    pub is_handed_over: bool,
}

/// A voter's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteReply {
    /// The term asked for.
    pub epoch: LeaderEpoch,
    /// The voter's own term.
    pub own_epoch: LeaderEpoch,
    /// It was a pre-vote.
    pub is_pre_vote: bool,
    /// Yes.
    pub is_granted: bool,
    /// The voter's log may lack its last entries: its vote counts only in a unanimous election (SAFETY J4).
    pub is_doubtful: bool,
}

/// The quorum's leader is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Its term.
    pub epoch: LeaderEpoch,
    /// Grows with every beat.
    pub number: u64,
    /// The session that the leader has under the receiver's name, and with which run: another folder may bear that name.
    pub session: Option<(RunId, SessionNumber)>,
}

/// A beat was heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatReply {
    /// The receiver's term.
    pub epoch: LeaderEpoch,
    /// The beat.
    pub number: u64,
}

/// A follower opens a session, or goes on opening it: each attempt has a number of its own (SAFETY R1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The partition.
    pub partition: TopicPartition,
    /// The leader epoch that the follower knows from its committed metadata.
    pub epoch: LeaderEpoch,
    /// This attempt.
    pub number: SessionNumber,
    /// The latest epoch of the follower's log.
    pub last_epoch: Option<LeaderEpoch>,
    /// The end of the follower's log, all of it durable.
    pub end: Offset,
    /// Behind the last tombstone that was dropped from it, or from the log that it was copied from.
    pub tombstones_gone_to: Offset,
    /// Of a reset that comes in parts: the bytes that the follower has.
    pub reset_bytes: Option<(Offset, u64)>,
}

/// A leader's answer to one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenReply {
    /// The partition.
    pub partition: TopicPartition,
    /// The leader epoch.
    pub epoch: LeaderEpoch,
    /// The attempt.
    pub number: SessionNumber,
    /// The answer.
    pub answer: OpenAnswer,
}

/// Where a follower's log and the leader's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenAnswer {
    /// They agree up to the follower's end: the session is open and appends begin there.
    Agreed,
    /// The leader's log has nothing of the follower's last epoch, or less (KIP-101, KIP-279): it ends `epoch` at `end`. The
    /// follower cuts its log to the lesser end of that epoch and tries again.
    Diverges {
        /// The leader's greatest epoch up to the follower's; `None` when it has none.
        epoch: Option<LeaderEpoch>,
        /// Where it ends.
        end: Offset,
    },
    /// The follower ends below the leader's start, or would miss tombstones that the leader has dropped: it starts anew at the
    /// leader's start (SAFETY R7).
    Reset {
        /// The leader's start: for the metadata log, the end of the snapshot.
        start: Offset,
        /// The epoch of the record before it, if there is one.
        epoch: Option<LeaderEpoch>,
        /// Up to where the leader's log has dropped tombstones.
        tombstones_gone_to: Offset,
        /// What comes with it, encoded: the producer table of a data partition, the image of the metadata log. This is a
        /// part of it.
        bytes: Vec<u8>,
        /// Where the part begins.
        from: u64,
        /// All parts.
        total: u64,
    },
    /// The receiver does not lead in this epoch. `leader`: who does, in which epoch, if it knows.
    NotLeader {
        /// The leader that the receiver knows.
        leader: Option<(NodeId, LeaderEpoch)>,
    },
}

/// Records for a follower: what an open session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// The partition.
    pub partition: TopicPartition,
    /// The leader epoch.
    pub epoch: LeaderEpoch,
    /// The session: the attempt that opened it.
    pub number: SessionNumber,
    /// Where the records follow.
    pub previous_offset: Offset,
    /// The epoch of the record before; `None` where the leader's log starts.
    pub previous_epoch: Option<LeaderEpoch>,
    /// The leader's high watermark; of the metadata log, the committed end.
    pub high_watermark: Offset,
    /// The leader's log start.
    pub log_start: Offset,
}

/// How far a follower got in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The partition.
    pub partition: TopicPartition,
    /// The leader epoch.
    pub epoch: LeaderEpoch,
    /// The session.
    pub number: SessionNumber,
    /// The follower's log is checked in this session and durable up to here.
    pub durable: Offset,
    /// Something is missing behind this end: send from here.
    pub resend_from: Option<Offset>,
    /// The follower's high watermark.
    pub high_watermark: Offset,
    /// Where the follower's log starts, on its disk.
    pub log_start: Offset,
}

/// A watermark and a log start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The partition.
    pub partition: TopicPartition,
    /// The leader epoch.
    pub epoch: LeaderEpoch,
    /// The session.
    pub number: SessionNumber,
    /// The leader's high watermark; of the metadata log, the committed end.
    pub high_watermark: Offset,
    /// The leader's log start.
    pub log_start: Offset,
    /// Up to where the leader's log has dropped tombstones.
    pub tombstones_gone_to: Offset,
    /// The leader's log end: a follower that has less asks again.
    pub end: Offset,
}

/// Producers of a partition, in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producers {
    /// The partition.
    pub partition: TopicPartition,
    /// The leader epoch.
    pub epoch: LeaderEpoch,
    /// The session.
    pub number: SessionNumber,
    /// The producers.
    pub producers: Vec<ProducerId>,
}

/// A broker's run wants to be part of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Advertised hosts and ports, by listener.
    pub listeners: Vec<(String, u16)>,
    /// Where other nodes reach it.
    pub peer_listener: Option<(String, u16)>,
    /// Acknowledged records may be missing: with `flush=interval` the run before did not stop in order (SAFETY R5).
    pub is_unclean: bool,
    /// Partitions that lost records: it is a replica of them without anything (SAFETY J5).
    pub lost: Vec<TopicPartition>,
    /// Its journal was cut where nothing vouched for the end: the ends of its logs, which may lack their last records
    /// (SAFETY J4). Empty without doubt.
    pub doubtful: Vec<(TopicPartition, Option<LeaderEpoch>, Offset)>,
}

/// A broker is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerBeat {
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// Copies of which part cannot be read back, each with the leader epoch that this broker knows, as long as what it
    /// acknowledged of them may be counted on in that one (SAFETY J5).
    pub lost: Vec<(TopicPartition, LeaderEpoch)>,
    /// It wants to stop: others should lead what it leads.
    pub wants_to_stop: bool,
}

/// The controller heard it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerBeatReply {
    /// The registration.
    pub broker_epoch: BrokerEpoch,
    /// Nothing needs it any more, or nobody could take over.
    pub may_stop: bool,
}

/// A leader wants its ISR changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterPartition {
    /// The leader's registration.
    pub broker_epoch: BrokerEpoch,
    /// The partition.
    pub partition: TopicPartition,
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// The state that is to be changed.
    pub partition_epoch: PartitionEpoch,
    /// The new ISR: members with the registration that the leader knows them by (KIP-903).
    pub isr: Vec<(NodeId, BrokerEpoch)>,
    /// Replicas whose session opened below what they had acknowledged: whatever else, they are not eligible (SAFETY R5).
    pub lost: Vec<NodeId>,
}

/// A client's request on its way to the controller (SAFETY K2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Number of the request at the broker that it came to.
    pub number: u64,
    /// The listener it came through.
    pub listener: u16,
    /// How long its client still waits, in ms.
    pub timeout_ms: u32,
    /// The request as a frame of Kafka's protocol, without its length.
    pub frame: Vec<u8>,
}

/// The controller's answer for the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardReply {
    /// The request.
    pub number: u64,
    /// The response as a frame of Kafka's protocol, without its length; `None`: the receiver is not the controller, and did
    /// nothing.
    pub frame: Option<Vec<u8>>,
}

/// Why a peer's bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerFormatError {
    /// They are not ours.
    Invalid,
    /// A newer release speaks.
    Newer {
        /// Its format version.
        format: u16,
    },
}

impl fmt::Display for PeerFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("a peer's message cannot be read"),
            Self::Newer { format } => write!(
                f,
                "a peer speaks format {format}; this release knows formats up to {PEER_FORMAT}: upgrade this node"
            ),
        }
    }
}

impl core::error::Error for PeerFormatError {}

impl PeerMessage {
    /// The header's bytes: format version and postcard.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, PEER_FORMAT.to_le_bytes().to_vec())
            .expect("in-memory serialisation of plain data cannot fail")
    }

    /// Reads [`PeerMessage::encode`]'s bytes. Never panics, and never allocates more than the bytes justify.
    ///
    /// # Errors
    /// [`PeerFormatError`].
    pub fn decode(header: &[u8]) -> Result<Self, PeerFormatError> {
        let (format, body) = header.split_at_checked(2).ok_or(PeerFormatError::Invalid)?;
        let format = u16::from_le_bytes([format[0], format[1]]);
        if format > PEER_FORMAT {
            return Err(PeerFormatError::Newer { format });
        }
        if format < PEER_FORMAT {
            return Err(PeerFormatError::Invalid);
        }
        postcard::from_bytes(body).map_err(|_| PeerFormatError::Invalid)
    }

    /// It belongs on the bulk stream.
    #[must_use]
    pub fn is_bulk(&self) -> bool {
        matches!(self.body, PeerBody::Append(_))
    }
}
