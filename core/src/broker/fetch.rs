//! Fetch: what a reader wants, whether it is there, and the answer, at once or when enough has come (KIP-74, KIP-227).

use super::Broker;
use super::offsets::known_epoch;
use super::timers::Timer;
use crate::cluster::decide::TOPIC_NAME_BYTES_MAX;
use crate::errors::ErrorCode;
use crate::fetch::session::{Part, Session};
use crate::fetch::{PartKey, SessionKey, Waiting};
use crate::ids::{ConnId, LeaderEpoch, Offset, PartitionIndex, RequestNumber, TopicPartition, Uuid};
use crate::output::{Extent, Fill, Outputs, Reply};
use crate::wire::fetch::{EpochEndOffset, FetchPartition, FetchTopic, FetchableTopicResponse, PartitionData};
use crate::wire::{FetchRequest, FetchResponse, Records, Response, Str};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Answers have an error of their own from this version on (KIP-227); before, each partition bears it.
const OWN_ERROR_FROM: i16 = 7;
/// Requests name topics by id from this version on (KIP-516).
const BY_ID_FROM: i16 = 13;
/// The epoch of a request that opens a session, and of one that closes it or does without (KIP-227).
const OPENS: i32 = 0;
const WITHOUT: i32 = -1;
/// The replica id of a consumer that compares replicas (kafka-replica-verification): followers answer it too (SAFETY K4).
const DEBUGGING_CONSUMER: i32 = -2;

/// What can be said of a partition.
enum Say {
    /// Nothing that the reader does not know.
    Nothing,
    /// It cannot be read.
    Error(ErrorCode),
    /// The reader's log and ours part at the end of this epoch.
    Diverging { epoch: LeaderEpoch, end: Offset, high_watermark: Offset, log_start: Offset },
    /// Where it stands, with the records from the wanted offset on, if there are any.
    Data { high_watermark: Offset, log_start: Offset, extent: Option<Extent>, available: u64 },
}

impl Broker {
    pub(super) fn on_fetch(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        version: i16,
        request: &FetchRequest,
        out: &mut Outputs,
    ) {
        let replica_id = request.replica_id.max(request.replica_state.replica_id);
        let code = if replica_id >= 0 {
            // CVE-2018-1288: followers do not come through this door, so whoever says so is none (SAFETY K4).
            Err(ErrorCode::ClusterAuthorizationFailed)
        } else if self.outgrows(request, out) {
            Err(ErrorCode::FetchSessionIdNotFound)
        } else {
            self.session_for(version, request)
        };
        let key = match code {
            Ok(key) => key,
            Err(code) => {
                let response = refused(version, request, code);
                self.reply(conn, number, Response::Fetch(response), out);
                return;
            }
        };
        // One request waits in a session at a time: a reader that sends another gets what is there for the first.
        self.answer_fetch(key, out);
        let waiting = Waiting {
            conn,
            number,
            version,
            bytes_min: u64::try_from(request.min_bytes).unwrap_or(0),
            bytes_max: u32::try_from(request.max_bytes).unwrap_or(0).min(self.config.fetch_bytes_max),
            deadline: self.now.mono + u64::try_from(request.max_wait_ms).unwrap_or(0),
            available: 0,
            read_committed: request.isolation_level == 1,
        };
        self.start_waiting(key, waiting);
        if self.is_worth_an_answer(key, request.max_wait_ms <= 0 || request.min_bytes <= 0) {
            self.answer_fetch(key, out);
        }
    }

    /// Finds or makes the session of a request and puts the request's partitions into it.
    fn session_for(&mut self, version: i16, request: &FetchRequest) -> Result<SessionKey, ErrorCode> {
        let by_id = version >= BY_ID_FROM;
        let named = SessionKey::of(request.session_id);
        let key = match request.session_epoch {
            OPENS | WITHOUT => {
                if let Some(old) = named {
                    self.end_session(old);
                }
                let opens = request.session_epoch == OPENS
                    && self.fits(None, request)
                    && self.sessions.make_room(self.now.mono, self.config.fetch_sessions_max);
                let key = if opens { self.free_session_key() } else { self.sessions.one_shot_key() };
                self.sessions.insert(key, Session::new(by_id, self.now.mono));
                key
            }
            epoch => {
                let key = named.ok_or(ErrorCode::FetchSessionIdNotFound)?;
                let session = self.sessions.session_mut(key).ok_or(ErrorCode::FetchSessionIdNotFound)?;
                if session.by_id != by_id {
                    return Err(ErrorCode::FetchSessionTopicIdError);
                }
                if session.next_epoch != epoch {
                    return Err(ErrorCode::InvalidFetchSessionEpoch);
                }
                session.bump_epoch();
                self.sessions.touch(key, self.now.mono);
                key
            }
        };
        for topic in &request.forgotten_topics_data {
            for &index in &topic.partitions {
                let part_key = PartKey { topic_id: topic.topic_id, name: topic.topic.clone(), index };
                self.sessions.forget(key, &part_key);
            }
        }
        let ids = [request.replica_id, request.replica_state.replica_id];
        let any_replica = ids.contains(&DEBUGGING_CONSUMER);
        for topic in &request.topics {
            for wanted in &topic.partitions {
                self.want(key, (topic.topic_id, &topic.topic), wanted, any_replica);
            }
        }
        Ok(key)
    }

    fn want(
        &mut self,
        key: SessionKey,
        (topic_id, name): (Uuid, &Str),
        wanted: &FetchPartition,
        any_replica: bool,
    ) {
        // Outlives the request: a slice would keep its whole frame in memory.
        let part_key = PartKey { topic_id, name: name.detached(), index: wanted.partition };
        let mut part = Part::new(
            self.resolve_part(&part_key),
            Offset(wanted.fetch_offset),
            u32::try_from(wanted.partition_max_bytes).unwrap_or(0),
        );
        part.current_leader_epoch = known_epoch(wanted.current_leader_epoch);
        part.last_fetched_epoch = known_epoch(wanted.last_fetched_epoch);
        part.any_replica = any_replica;
        self.sessions.want(key, part_key, part);
    }

    /// A request adds more to its session than all sessions may hold: the session ends, and its reader goes on without one.
    fn outgrows(&mut self, request: &FetchRequest, out: &mut Outputs) -> bool {
        let continues = !matches!(request.session_epoch, OPENS | WITHOUT);
        let key = SessionKey::of(request.session_id).filter(|&key| continues && self.sessions.contains(key));
        let Some(key) = key.filter(|&key| !self.fits(Some(key), request)) else { return false };
        self.answer_fetch(key, out);
        self.sessions.remove(key);
        true
    }

    /// What a request names may be remembered in a session, this one or a new one. Names that no topic can have are not.
    fn fits(&self, key: Option<SessionKey>, request: &FetchRequest) -> bool {
        if request.topics.iter().any(|topic| topic.topic.len() > TOPIC_NAME_BYTES_MAX) {
            return false;
        }
        let room = self.config.fetch_session_partitions_max.saturating_sub(self.sessions.parts());
        let named: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        // Most readers name what their session has already: that is looked at when it matters.
        let is_new = |topic: &FetchTopic, index: i32| {
            let part_key = PartKey { topic_id: topic.topic_id, name: topic.topic.clone(), index };
            key.is_none_or(|key| !self.sessions.holds(key, &part_key))
        };
        let new =
            |topic: &FetchTopic| topic.partitions.iter().filter(|part| is_new(topic, part.partition)).count();
        named <= room || request.topics.iter().map(new).sum::<usize>() <= room
    }

    fn resolve_part(&self, key: &PartKey) -> Option<TopicPartition> {
        let topic_id = if key.topic_id == Uuid::ZERO {
            self.committed.topic_named(&key.name)?.0
        } else {
            self.committed.topic(key.topic_id)?;
            key.topic_id
        };
        Some(TopicPartition { topic_id, partition: PartitionIndex(key.index) })
    }

    fn free_session_key(&mut self) -> SessionKey {
        loop {
            let id = self.random.session_id();
            let key = SessionKey::of(id).expect("a session id is positive");
            if !self.sessions.contains(key) {
                return key;
            }
        }
    }

    fn start_waiting(&mut self, key: SessionKey, waiting: Waiting) {
        self.timers.arm(waiting.deadline, Timer::Fetch(key));
        if let Some(conn) = self.conns.get_mut(&waiting.conn) {
            conn.fetches.insert(key);
        }
        let session = self.sessions.session_mut(key).expect("the session was found in this step");
        session.start_waiting(waiting);
    }

    /// Looks at what is queued: whether a waiting request should be answered at once.
    fn is_worth_an_answer(&mut self, key: SessionKey, must: bool) -> bool {
        let Some(session) = self.sessions.session_mut(key) else { return false };
        if session.parts.is_empty() || must {
            return true;
        }
        let mut worth = false;
        for part_key in session.take_queue() {
            worth |= self.count_part(key, &part_key);
            if let Some(session) = self.sessions.session_mut(key) {
                session.enqueue(&part_key);
            }
        }
        worth
    }

    /// Counts a partition's bytes for the waiting request. `true`: it should be answered now.
    fn count_part(&mut self, key: SessionKey, part_key: &PartKey) -> bool {
        let (say, resolved) = self.say(key, part_key);
        self.sessions.resolve(key, part_key, resolved);
        let Some(session) = self.sessions.session_mut(key) else { return false };
        match say {
            Say::Nothing => false,
            Say::Error(_) | Say::Diverging { .. } => session.waiting().is_some(),
            Say::Data { available, .. } => session.count(part_key, available),
        }
    }

    /// What can be said of a partition of a session, and what the partition stands for.
    fn say(&mut self, key: SessionKey, part_key: &PartKey) -> (Say, Option<TopicPartition>) {
        let Some(session) = self.sessions.session_mut(key) else { return (Say::Nothing, None) };
        let by_id = session.by_id;
        let Some(part) = session.parts.get(part_key).cloned() else { return (Say::Nothing, None) };
        // A name stands for the topic it was resolved to until that is gone (KIP-516 for readers that know no ids).
        let still = part.partition.filter(|partition| self.committed.topic(partition.topic_id).is_some());
        let Some(partition) = still.or_else(|| self.resolve_part(part_key)) else {
            let code = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            return (Say::Error(code), None);
        };
        let say = self.say_of(partition, &part).unwrap_or_else(Say::Error);
        (say, Some(partition))
    }

    fn say_of(&self, partition: TopicPartition, part: &Part) -> Result<Say, ErrorCode> {
        let replica = if part.any_replica { self.replica_of(partition)? } else { self.leader_of(partition)? };
        Self::check_epoch(replica, part.current_leader_epoch)?;
        let high_watermark = replica.high_watermark();
        let log = replica.log();
        if let Some(last) = part.last_fetched_epoch {
            let end = log.end_offset_for_epoch(last).ok_or(ErrorCode::OffsetOutOfRange)?;
            if end.epoch < last || end.end < part.offset {
                if !replica.knows_committed() {
                    return Ok(Say::Nothing); // Where they part, and what of that counts, it will know (SAFETY R6).
                }
                let (epoch, end) = (end.epoch, end.end.min(high_watermark));
                return Ok(Say::Diverging { epoch, end, high_watermark, log_start: replica.durable_start() });
            }
        }
        if replica.durable_start() <= part.offset && part.offset < log.start() {
            return Ok(Say::Nothing); // It is being deleted: out of range once that is on disk (SAFETY J7).
        }
        if part.offset >= high_watermark && self.is_cut_off(replica) {
            return Err(ErrorCode::NotLeaderOrFollower); // Another leader may have what this one has not.
        }
        if part.offset < log.start() || part.offset > log.end() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        // Between watermark and log end a reader waits; it is never out of range (SAFETY R6).
        let readable = part.offset < high_watermark;
        let extent = readable.then(|| Extent {
            partition,
            generation: log.generation(),
            from: part.offset,
            to: high_watermark,
            bytes_max: part.bytes_max,
        });
        let available = if readable { log.bytes_between(part.offset, high_watermark) } else { 0 };
        Ok(Say::Data { high_watermark, log_start: replica.durable_start(), extent, available })
    }

    /// Tells the sessions that watch the partitions that moved in this step.
    pub(super) fn answer_moved_fetches(&mut self, out: &mut Outputs) {
        let mut moved = core::mem::take(&mut self.moved);
        moved.sort_unstable();
        moved.dedup();
        for partition in moved.drain(..) {
            for (key, part_key) in self.sessions.moved(partition) {
                if self.count_part(key, &part_key) {
                    self.answer_fetch(key, out);
                }
            }
        }
        self.moved = moved; // Keeps its room.
    }

    /// Answers the request that waits in a session, with what is there.
    pub(super) fn answer_fetch(&mut self, key: SessionKey, out: &mut Outputs) {
        let Some(waiting) = self.stop_waiting_keeping(key) else { return };
        let Some(session) = self.sessions.session_mut(key) else { return };
        let incremental = !key.is_one_shot() && session.next_epoch != 1;
        let mut answer = Answer::new(incremental, waiting.read_committed);
        // Every partition once; those with more to say go back to the end of the queue.
        for part_key in session.take_queue() {
            if answer.bytes >= u64::from(waiting.bytes_max) && answer.bytes > 0 && incremental {
                if let Some(session) = self.sessions.session_mut(key) {
                    session.enqueue(&part_key);
                }
                continue;
            }
            let (say, resolved) = self.say(key, &part_key);
            self.sessions.resolve(key, &part_key, resolved);
            self.say_in(&mut answer, key, &part_key, say);
        }
        if key.is_one_shot() {
            self.sessions.remove(key);
        }
        let mut response =
            FetchResponse { session_id: key.wire_id(), responses: answer.topics, ..FetchResponse::default() };
        self.hint_in_fetch(waiting.conn, waiting.version, &mut response);
        let reply = Reply {
            response: Response::Fetch(response),
            fills: answer.fills,
            fill_bytes_max: waiting.bytes_max,
            close: false,
            throttle_ms: 0,
        };
        self.reply_with(waiting.conn, waiting.number, Some(Box::new(reply)), out);
    }

    /// Writes what is said of a partition into the answer and notes that the reader was told.
    fn say_in(&mut self, answer: &mut Answer, key: SessionKey, part_key: &PartKey, say: Say) {
        let Some(session) = self.sessions.session_mut(key) else { return };
        let Some(part) = session.parts.get_mut(part_key) else { return };
        let again = match say {
            Say::Nothing => false,
            Say::Error(code) => {
                answer.add(
                    part_key,
                    PartitionData { high_watermark: -1, ..partition_data(part_key.index, code) },
                );
                true
            }
            Say::Diverging { epoch, end, high_watermark, log_start } => {
                let data = PartitionData {
                    diverging_epoch: EpochEndOffset { epoch: epoch.0, end_offset: end.0 },
                    high_watermark: high_watermark.0,
                    last_stable_offset: high_watermark.0,
                    log_start_offset: log_start.0,
                    ..partition_data(part_key.index, ErrorCode::None)
                };
                answer.add(part_key, data);
                true
            }
            Say::Data { high_watermark, log_start, extent, available } => {
                let news = part.told_high_watermark != Some(high_watermark)
                    || part.told_log_start != Some(log_start);
                if extent.is_none() && !news && answer.incremental {
                    return;
                }
                part.told_high_watermark = Some(high_watermark);
                part.told_log_start = Some(log_start);
                let data = PartitionData {
                    high_watermark: high_watermark.0,
                    last_stable_offset: high_watermark.0,
                    log_start_offset: log_start.0,
                    aborted_transactions: answer.read_committed.then(Vec::new),
                    ..partition_data(part_key.index, ErrorCode::None)
                };
                let (topic, partition) = answer.add(part_key, data);
                if let Some(extent) = extent {
                    answer.bytes += available.min(u64::from(extent.bytes_max));
                    let omit_if_empty = answer.incremental && !news;
                    answer.fills.push(Fill { topic, partition, extent, omit_if_empty });
                }
                extent.is_some()
            }
        };
        if again {
            session.enqueue(part_key);
        }
    }

    /// Nobody waits for this session's answer any longer.
    pub(super) fn stop_waiting(&mut self, key: SessionKey) {
        self.stop_waiting_keeping(key);
        if key.is_one_shot() {
            self.sessions.remove(key);
        }
    }

    fn stop_waiting_keeping(&mut self, key: SessionKey) -> Option<Waiting> {
        let session = self.sessions.session_mut(key)?;
        let waiting = session.stop_waiting()?;
        self.timers.disarm(Timer::Fetch(key));
        if let Some(conn) = self.conns.get_mut(&waiting.conn) {
            conn.fetches.remove(&key);
        }
        Some(waiting)
    }

    fn end_session(&mut self, key: SessionKey) {
        // A request that still waits in it is answered by nobody else: its connection numbers it.
        if self.sessions.session_mut(key).is_some_and(|session| session.waiting().is_none()) {
            self.sessions.remove(key);
        }
    }
}

/// A fetch answer under construction.
struct Answer {
    topics: Vec<FetchableTopicResponse>,
    /// Where each topic stands in it.
    places: BTreeMap<(Uuid, Str), usize>,
    fills: Vec<Fill>,
    bytes: u64,
    /// Partitions with nothing new are left out.
    incremental: bool,
    read_committed: bool,
}

impl Answer {
    fn new(incremental: bool, read_committed: bool) -> Self {
        Self {
            topics: Vec::new(),
            places: BTreeMap::new(),
            fills: Vec::new(),
            bytes: 0,
            incremental,
            read_committed,
        }
    }

    fn add(&mut self, key: &PartKey, data: PartitionData) -> (usize, usize) {
        let topics = &mut self.topics;
        let topic = *self.places.entry((key.topic_id, key.name.clone())).or_insert_with(|| {
            topics.push(FetchableTopicResponse {
                topic: key.name.clone(),
                topic_id: key.topic_id,
                partitions: Vec::new(),
            });
            topics.len() - 1
        });
        topics[topic].partitions.push(data);
        (topic, topics[topic].partitions.len() - 1)
    }
}

/// A request is refused as a whole.
fn refused(version: i16, request: &FetchRequest, code: ErrorCode) -> FetchResponse {
    let topic = |topic: &FetchTopic| {
        let refused = |wanted: &FetchPartition| PartitionData {
            high_watermark: -1,
            ..partition_data(wanted.partition, code)
        };
        let partitions = topic.partitions.iter().map(refused).collect();
        FetchableTopicResponse {
            topic: topic.topic.detached(),
            partitions,
            ..FetchableTopicResponse::default()
        }
    };
    let asked = if version < OWN_ERROR_FROM { &request.topics[..] } else { &[] };
    let responses = asked.iter().map(topic).collect();
    FetchResponse { error_code: code.code(), responses, ..FetchResponse::default() }
}

fn partition_data(partition_index: i32, code: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index,
        error_code: code.code(),
        // Clients of every age expect records, if only none of them.
        records: Some(Records::default()),
        ..PartitionData::default()
    }
}
