//! The broker: one event in, all its consequences out.
//!
//! `step` is one match; each arm's work is in the file named after what it is about. Shared here: the journal's progress,
//! the timers, and what is done once at the end of a step.

mod access;
mod compacted;
mod compaction;
mod configs;
mod controller;
mod coordinators;
mod counts;
mod damage;
mod decided;
mod delete_records;
mod describe_partitions;
mod describe_producers;
mod describe_quorum;
mod features;
mod fetch;
mod find_coordinator;
mod follow;
mod forward;
mod founding;
mod group_refusals;
mod group_topics;
mod groups;
mod held;
mod journal;
mod lead;
mod leader_hints;
mod log_dirs;
mod membership;
mod metadata;
mod metadata_log;
mod offsets;
mod peers;
mod produce;
mod producer_ids;
mod producers;
mod quorum;
mod retention;
mod startup;
mod timers;
mod voters;
mod waits;
mod waits_for;

pub use counts::Counts;

use crate::cluster::image::Image;
use crate::config::Config;
use crate::door::{ClientBody, ClientRequest, ControllerRequest};
use crate::errors::ErrorCode;
use crate::fetch::{SessionKey, Sessions};
use crate::ids::{
    ConnId, LeaderEpoch, ListenerId, Lsn, NodeId, Offset, OpId, ProducerId, RequestNumber, TopicPartition,
    Uuid,
};
use crate::input::{Input, ReadResult};
use crate::journal::Entry;
use crate::output::{HaltReason, Output, Outputs, Reply};
use crate::peer::PeerBody;
use crate::quorum::Quorum;
use crate::replica::progress::PeerRun;
use crate::replica::{Replica, WaiterId};
use crate::rng::Random;
use crate::time::{MonoMs, Now};
use crate::wire::Response;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
pub use compacted::CompactedTopics;
use compaction::CompactionRound;
use controller::Controller;
use coordinators::Coordinators;
use follow::Opening;
use forward::Forwarded;
use founding::Founding;
use journal::JournalProgress;
use log_dirs::LogDirs;
use membership::Membership;
use offsets::OffsetsWait;
use peers::{InTurns, Peer};
use retention::RetentionRound;
use timers::{Timer, Timers};
use waits::PartsWait;

pub use held::Held;
pub use waits_for::WaitsFor;

/// The broker of one node.
#[derive(Debug)]
pub struct Broker {
    config: Config,
    random: Random,
    now: Now,
    phase: Phase,
    /// Number of this run.
    boot: u64,
    journal: JournalProgress,
    /// What brokers act on: committed metadata only (SAFETY Q3).
    committed: Image,
    /// The committed image as it is sent to those that lag far behind, up to an offset.
    encoded_image: Option<(Offset, Vec<u8>)>,
    quorum: Quorum,
    founding: Founding,
    /// The leader of the quorum told this node to stand.
    is_successor: bool,
    /// Only the active controller's.
    controller: Option<Controller>,
    membership: Membership,
    peers: BTreeMap<NodeId, Peer>,
    forwards: BTreeMap<u64, Forwarded>,
    producer_ids: ProducerIds,
    replicas: BTreeMap<TopicPartition, Replica>,
    /// Recovery cut something off that nothing vouched for.
    is_newly_doubtful: bool,
    /// Logs that may lack their last records (SAFETY J4).
    doubtful: BTreeSet<TopicPartition>,
    opening: Opening,
    /// Partitions led here with an ISR that is proposed, or has to be once more.
    proposing: InTurns,
    /// Partitions led here with requests that wait for records to be deleted.
    deleting: BTreeSet<TopicPartition>,
    retention: RetentionRound,
    compaction: CompactionRound,
    compacted: CompactedTopics,
    /// Partitions with producers that may expire.
    with_producers: BTreeSet<TopicPartition>,
    conns: BTreeMap<ConnId, Conn>,
    coordinators: Coordinators,
    parts_waits: BTreeMap<WaiterId, PartsWait>,
    sessions: Sessions,
    offsets_waits: BTreeMap<WaiterId, OffsetsWait>,
    log_dirs: LogDirs,
    /// Look-ups in the store: which request and which of its parts each is for.
    reads: BTreeMap<OpId, (WaiterId, usize)>,
    drops: BTreeMap<Uuid, Drop>,
    drop_ops: BTreeMap<OpId, Uuid>,
    timers: Timers,
    next_number: u64,
    snapshot_op: Option<OpId>,
    disk_is_full: bool,
    counts: Counts,
    /// Why the broker ends with this step.
    halting: Option<HaltReason>,
    /// Partitions whose high watermark moved in this step.
    moved: Vec<TopicPartition>,
}

/// Where the broker is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Nothing was done yet.
    New,
    /// The run's number is not on disk yet: nothing leaves.
    Starting,
    /// It does what it is there for.
    Running,
    /// Its last entry is in the journal and not on disk yet.
    Stopping { last: Lsn },
    /// It has ended.
    Halted,
}

/// A client's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Conn {
    listener: ListenerId,
    /// The other end: address and port.
    peer: String,
    waiters: BTreeSet<WaiterId>,
    fetches: BTreeSet<SessionKey>,
}

/// Who asked for something that the controller decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Requester {
    /// A client of this broker.
    Client { conn: ConnId, number: RequestNumber, version: i16 },
    /// A client of another one.
    Peer { node: NodeId, peer: PeerRun, number: u64, version: i16 },
}

/// An answer that waits for metadata to be committed.
#[derive(Debug, Clone, PartialEq)]
enum Pending {
    /// It is written already; the request tells how to refuse it.
    Decided { to: Requester, request: Box<ControllerRequest>, response: Box<Response> },
    /// Describe topics once those that the request creates are there.
    Metadata { conn: ConnId, number: RequestNumber, request: Box<ClientRequest> },
    /// Another broker is told.
    Peer { to: NodeId, peer: PeerRun, body: Box<PeerBody> },
}

impl Requester {
    /// Of the API, as the client speaks it.
    fn version(self) -> i16 {
        match self {
            Self::Client { version, .. } | Self::Peer { version, .. } => version,
        }
    }
}

/// Producer ids that this broker may give out (SAFETY K2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ProducerIds {
    next: ProducerId,
    /// The end of the block.
    end: ProducerId,
    /// A new block is being committed.
    asked: bool,
    /// Requests that wait for it.
    waiting: VecDeque<(ConnId, RequestNumber)>,
}

/// A deleted topic whose files are being removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Drop {
    partitions: i32,
    op: Option<OpId>,
}

/// How long after a failed removal of files it is tried again, in ms.
const DROP_RETRY_MS: u64 = 10_000;

impl Broker {
    /// Applies one event. Never fails, never blocks, never calls out. All consequences land in `out`.
    ///
    /// # Panics
    /// On our own defects, and when the driver breaks its contract (a step after `Halt`, `Durable` beyond what was given
    /// out, a request of an unknown connection).
    pub fn step(&mut self, now: Now, input: Input, out: &mut Outputs) {
        assert!(self.phase != Phase::Halted, "no step is allowed after Halt");
        assert!(now.mono >= self.now.mono, "the monotonic clock never goes back");
        self.now = now;
        if self.phase == Phase::New {
            self.start(out);
        }
        match input {
            Input::ConnOpened { conn, listener, peer } => self.on_conn_opened(conn, listener, peer),
            Input::Request { conn, number, request } => self.on_request(conn, number, request, out),
            Input::ConnClosed { conn } => self.on_conn_closed(conn),
            Input::PeerUp { node } => self.on_peer_up(node, out),
            Input::Peer { message, batches } => self.on_peer(*message, &batches, out),
            Input::PeerLost { node } => self.on_peer_lost(node, out),
            Input::Durable { written, synced } => self.on_durable(written, synced, out),
            Input::ReadDone { op, result } => self.on_read_done(op, result, out),
            Input::BatchesRead { op, batches } => self.on_batches_read(op, batches, out),
            Input::Compacted { op, result } => self.on_compacted(op, result, out),
            Input::LogsMeasured { op, dir } => self.on_logs_measured(op, &dir, out),
            Input::StoreDone { op, result } => self.on_store_done(op, result, out),
            Input::Damaged { partition, from } => self.on_damaged(partition, from, out),
            Input::DiskFailed { reason } => self.halting = Some(HaltReason::DiskFailed(reason)),
            Input::Space { free_bytes } => self.disk_is_full = free_bytes < self.config.disk_free_bytes_min,
            Input::ChangeVoters { change } => self.on_change_voters(change, out),
            Input::Wake => {}
            Input::Stop => self.on_stop(out),
        }
        self.fire_timers(out);
        self.send_acknowledgements(out);
        self.load_groups(out);
        self.answer_moved_fetches(out);
        self.plan_snapshot(out);
        self.check_invariants();
        if let Some(reason) = self.halting.take() {
            // Nothing comes behind it.
            self.phase = Phase::Halted;
            self.timers.clear();
            out.push(Output::Halt { reason });
        }
    }

    /// When to call [`Broker::step`] with [`Input::Wake`], and why.
    #[must_use]
    pub fn wake_at(&self) -> Option<(MonoMs, &'static str)> {
        let (at, timer) = self.timers.first()?;
        Some((at, timer.why()))
    }

    /// The registration is committed: clients may be let in.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        let is_ready = self.membership.broker_epoch.is_some() || !self.config.roles.broker;
        self.phase == Phase::Running && self.quorum.cluster.is_some() && is_ready
    }

    /// What a node that does not serve waits for, to be told to whoever runs it.
    #[must_use]
    pub fn waits_for(&self) -> Option<WaitsFor> {
        if self.is_serving() || self.phase != Phase::Running {
            None
        } else if self.quorum.cluster.is_none() {
            Some(WaitsFor::Founding { silent: self.silent_voters() })
        } else if self.quorum.leader().is_none() {
            let voters = self.quorum.other_voters();
            let silent = voters.filter(|node| self.peers.get(node).is_none_or(|peer| !peer.is_heard()));
            Some(WaitsFor::Leader { silent: silent.collect() })
        } else {
            Some(WaitsFor::Registration)
        }
    }

    /// The run has a number on disk.
    fn has_started(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Stopping { .. })
    }

    /// The committed metadata.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.committed
    }

    /// Where the brokers of the committed metadata are reached by other nodes.
    pub fn peers(&self) -> impl Iterator<Item = (NodeId, (String, u16))> {
        self.committed
            .brokers()
            .iter()
            .filter_map(|(&node, broker)| Some((node, broker.peer_listener.clone()?)))
    }

    /// This node's part in the quorum.
    #[must_use]
    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// This node decides: it is the active controller.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        self.controller.is_some()
    }

    /// The partitions on this node.
    #[must_use]
    pub fn replicas(&self) -> &BTreeMap<TopicPartition, Replica> {
        &self.replicas
    }

    /// What it counted since it started.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn on_conn_opened(&mut self, conn: ConnId, listener: ListenerId, peer: String) {
        let new = Conn { listener, peer, waiters: BTreeSet::new(), fetches: BTreeSet::new() };
        let old = self.conns.insert(conn, new);
        assert!(old.is_none(), "connections are numbered once");
    }

    fn on_conn_closed(&mut self, conn: ConnId) {
        let Some(closed) = self.conns.remove(&conn) else { return };
        for waiter in closed.waiters {
            self.forget_parts(waiter);
            self.forget_offsets(waiter);
            self.coordinators.forget(waiter);
        }
        for key in closed.fetches {
            self.stop_waiting(key);
        }
        self.producer_ids.waiting.retain(|(waiting, _)| *waiting != conn);
        self.forget_forwards(conn);
        self.forget_log_dirs(conn);
        // What waits for metadata is answered into nothing: `reply` knows which connections exist.
    }

    fn on_request(&mut self, conn: ConnId, number: RequestNumber, request: ClientRequest, out: &mut Outputs) {
        if !self.conns.contains_key(&conn) {
            return; // Closed by us in an earlier step; the driver had this one on its way.
        }
        let version = request.api_version;
        match request.body {
            ClientBody::Produce(produce) => self.on_produce(conn, number, version, &produce, out),
            ClientBody::Fetch(fetch) => self.on_fetch(conn, number, version, &fetch, out),
            ClientBody::ListOffsets(list) => self.on_list_offsets(conn, number, version, &list, out),
            ClientBody::Metadata(_) => self.on_metadata(conn, number, request, out),
            ClientBody::ApiVersions => self.on_api_versions(conn, number, version, ErrorCode::None, out),
            ClientBody::UnknownApiVersions => {
                self.on_api_versions(conn, number, 0, ErrorCode::UnsupportedVersion, out);
            }
            ClientBody::Controller(request) => {
                self.on_controller_request(conn, number, version, request, out);
            }
            ClientBody::Group(group) => {
                let client = (version, request.client_id);
                self.on_group_request(conn, number, client, group, out);
            }
            ClientBody::InitProducerId(init) => self.on_init_producer_id(conn, number, &init, out),
            ClientBody::FindCoordinator(_) => self.on_find_coordinator(conn, number, request, out),
            ClientBody::DescribeConfigs(describe) => self.on_describe_configs(conn, number, &describe, out),
            ClientBody::ListConfigResources(list) => {
                self.on_list_config_resources(conn, number, version, &list, out);
            }
            ClientBody::DescribeCluster(describe) => self.on_describe_cluster(conn, number, &describe, out),
            ClientBody::DeleteRecords(delete) => self.on_delete_records(conn, number, &delete, out),
            ClientBody::DescribeAcls(_) => self.on_describe_acls(conn, number, out),
            ClientBody::DescribeLogDirs(dirs) => self.on_describe_log_dirs(conn, number, &dirs, out),
            ClientBody::DescribeClientQuotas(quotas) => {
                self.on_describe_client_quotas(conn, number, &quotas, out);
            }
            ClientBody::DescribeUserScramCredentials(users) => {
                self.on_describe_user_scram_credentials(conn, number, &users, out);
            }
            ClientBody::UpdateFeatures(update) => self.on_update_features(conn, number, &update, out),
            ClientBody::DescribeProducers(describe) => {
                self.on_describe_producers(conn, number, &describe, out);
            }
            ClientBody::DescribeTopicPartitions(describe) => {
                self.on_describe_topic_partitions(conn, number, &describe, out);
            }
            ClientBody::OffsetForLeaderEpoch(request) => {
                self.on_offset_for_leader_epoch(conn, number, &request, out);
            }
        }
    }

    fn on_read_done(&mut self, op: OpId, result: ReadResult, out: &mut Outputs) {
        if self.on_expired_found(op, result, out) {
            return;
        }
        if let Some((waiter, part)) = self.reads.remove(&op) {
            self.on_offset_found(waiter, part, result, out);
        }
    }

    fn on_store_done(&mut self, op: OpId, result: Result<(), String>, out: &mut Outputs) {
        if self.snapshot_op == Some(op) {
            // A failed one is planned again when the journal has grown further.
            self.snapshot_op = None;
        } else if let Some(topic_id) = self.drop_ops.remove(&op) {
            match result {
                // Without the entry the next run removes what is not there: that is allowed (SAFETY J8).
                Ok(()) if !self.is_writable() => {}
                Ok(()) => {
                    self.drops.remove(&topic_id);
                    self.journal(Entry::Dropped { topic_id }, out);
                }
                Err(_) => {
                    if let Some(drop) = self.drops.get_mut(&topic_id) {
                        drop.op = None;
                    }
                    self.timers.arm(self.now.mono + DROP_RETRY_MS, Timer::Drop(topic_id));
                }
            }
        }
    }

    fn fire_timers(&mut self, out: &mut Outputs) {
        while let Some(timer) = self.timers.pop_due(self.now.mono) {
            match timer {
                Timer::Start => {}
                Timer::Parts(waiter) => self.on_parts_timeout(waiter, out),
                Timer::Fetch(key) => self.answer_fetch(key, out),
                Timer::Forward(id) => self.give_up_forward(id, out),
                Timer::Drop(topic_id) => self.drop_files(topic_id, out),
                Timer::Retention => self.on_retention(out),
                Timer::Compaction => self.on_compaction(out),
                Timer::ProducerExpiry => self.on_producer_expiry(out),
                // What follows writes or asks others to: a run that ends does neither.
                _ if self.phase != Phase::Running => {}
                Timer::Founding => self.on_founding(out),
                Timer::Election => self.on_election(out),
                Timer::QuorumBeat => self.on_quorum_beat(out),
                Timer::Resend => self.on_resend(out),
                Timer::Lag(partition) => self.on_lag(partition, out),
                Timer::BrokerSessions => self.on_broker_sessions(out),
                Timer::BrokerBeat => self.on_broker_beat_due(out),
                Timer::Rebalance => self.on_rebalance(out),
                Timer::Shutdown => self.stop_now(out),
                Timer::Groups(partition) => self.on_groups_due(partition, out),
                Timer::GroupExpiry => self.on_group_expiry(out),
            }
        }
    }

    /// Entries may still be written: the last one of this run is not.
    fn is_writable(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running)
    }

    fn next_op(&mut self) -> OpId {
        OpId(self.next_number())
    }

    fn next_waiter(&mut self) -> WaiterId {
        WaiterId(self.next_number())
    }

    fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Requests that wait in the core.
    fn waiting(&self) -> usize {
        self.parts_waits.len()
            + self.offsets_waits.len()
            + self.log_dirs.waiting()
            + self.undecided()
            + self.forwards.len()
            + self.producer_ids.waiting.len()
            + self.coordinators.parked()
    }

    fn has_room_to_wait(&self) -> bool {
        self.waiting() < self.config.waiters_max
    }

    /// Answers a request, if its connection still exists.
    fn reply(&mut self, conn: ConnId, number: RequestNumber, response: Response, out: &mut Outputs) {
        let reply = Reply { response, fills: Vec::new(), fill_bytes_max: 0, close: false, throttle_ms: 0 };
        self.reply_with(conn, number, Some(Box::new(reply)), out);
    }

    fn reply_with(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        response: Option<Box<Reply>>,
        out: &mut Outputs,
    ) {
        if self.conns.contains_key(&conn) {
            out.push(Output::Reply { conn, number, response });
        }
    }

    fn close(&mut self, conn: ConnId, reason: &'static str, out: &mut Outputs) {
        self.on_conn_closed(conn);
        out.push(Output::Close { conn, reason });
    }

    /// The leader of a partition, or why this node cannot answer for it.
    fn leader_of(&self, partition: TopicPartition) -> Result<&Replica, ErrorCode> {
        let replica = self.replica_of(partition)?;
        replica.leader().map(|_| replica).ok_or(ErrorCode::NotLeaderOrFollower)
    }

    /// This node's copy of a partition, or why there is none to look at.
    fn replica_of(&self, partition: TopicPartition) -> Result<&Replica, ErrorCode> {
        if self.committed.partition(partition).is_none() {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        let replica = self.replicas.get(&partition).ok_or(ErrorCode::NotLeaderOrFollower)?;
        if replica.damage().is_some() {
            return Err(ErrorCode::KafkaStorageError);
        }
        Ok(replica)
    }

    /// KIP-320: a client that knows an older epoch is fenced, one that knows a newer one is ahead of us.
    fn check_epoch(replica: &Replica, known: Option<LeaderEpoch>) -> Result<(), ErrorCode> {
        let current = replica.leader().map(|leader| leader.epoch);
        match (known, current) {
            (Some(known), Some(current)) if known < current => Err(ErrorCode::FencedLeaderEpoch),
            (Some(known), Some(current)) if known > current => Err(ErrorCode::UnknownLeaderEpoch),
            (Some(_) | None, Some(_)) | (None, None) => Ok(()),
            (Some(_), None) => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// What must hold after every step. The parts that cost more than the step touched run in debug builds and in
    /// simulation only.
    fn check_invariants(&self) {
        assert!(self.journal.synced <= self.journal.written);
        assert!(self.journal.written <= self.journal.last);
        assert!(self.moved.is_empty(), "all who watch a partition were told");
        if cfg!(debug_assertions) {
            self.committed.check_invariants();
            self.quorum.check_invariants();
            assert!(self.quorum.committed() == self.committed.end(), "brokers act on what is committed");
            self.sessions.check_invariants();
            for replica in self.replicas.values() {
                replica.check_invariants();
                replica.log().check_invariants();
            }
        }
    }
}
