//! A process: the broker and its driver. Steps it, and carries out what it asks for, in order.

use super::journal::{Index, Journal, Place, incarnation, note, read, write_groups};
use super::words::{Line, number};
use super::{Frame, Letter, World, say};
use bytes::Bytes;
use seedlog_core::broker::Broker;
use seedlog_core::config::{AdvertisedListener, Config, FlushMode};
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{ConnId, ListenerId, NodeId, Offset, RequestNumber, TopicPartition, Uuid};
use seedlog_core::input::{Input, LogDir, ReadResult};
use seedlog_core::journal::Entry;
use seedlog_core::journal::scan::payload_is_intact;
use seedlog_core::log::{CompactionResult, Retention, SegmentAge};
use seedlog_core::output::{Extent, HaltReason, Look, Output, Outputs, PeerBatches, Reply, StoreCommand};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader, find_by_timestamp, max_timestamp_record};
use seedlog_core::recovered::lost_offsets;
use seedlog_core::time::{MonoMs, Now, WallMs};
use seedlog_core::wire::{ApiKey, Records, Response, decode_response, encode_response};
use std::collections::{BTreeMap, VecDeque};

/// What the wall clock shows before the first command.
pub(super) const WALL_START_MS: i64 = 10_000;

/// A broker with its driver.
pub(super) struct Process {
    pub(super) broker: Broker,
    pub(super) journal: Journal,
    index: Index,
    pub(super) clients: BTreeMap<String, Client>,
    started_ms: u64,
    /// What the store has to tell: one thing after the other.
    inputs: VecDeque<Input>,
}

/// A client and its connection.
pub(super) struct Client {
    pub(super) conn: ConnId,
    next_number: u64,
    next_out: u64,
    /// What answers are due to, and how they are read: command, API, version.
    pub(super) due: BTreeMap<u64, (String, ApiKey, i16)>,
    /// Frames whose turn has not come; `None` for an answer that is never sent.
    ready: BTreeMap<u64, Option<Bytes>>,
    /// The fetch session: its id and its next epoch.
    pub(super) session: Option<(i32, i32)>,
}

impl World {
    /// Recovery as a driver does it, then a broker until it serves.
    pub(super) fn start(&mut self, line: &mut Line) -> Result<(), String> {
        if self.up.is_some() {
            return Err("it runs already".to_owned());
        }
        let flush = match line.take("flush").as_deref() {
            None => FlushMode::Always,
            Some("interval") => FlushMode::Interval,
            Some(other) => return Err(format!("flush={other}")),
        };
        for (name, value) in line.take_settings() {
            super::groups::set(&mut self.group_settings, &name, &value)?;
        }
        let reading = match read(&mut self.disk) {
            Ok(reading) => reading,
            Err(why) => {
                self.said.push(format!("refuses to start: {why}"));
                return Ok(());
            }
        };
        self.said.extend(say::plan(&reading.plan));
        let moved = write_groups(&mut self.disk, &reading.plan);
        self.groups.extend(moved);
        if let Some(word) = line.next_plain() {
            let is_killed = word == "killed";
            self.said.push("is killed before the fresh file has its header".to_owned());
            return if is_killed { Ok(()) } else { Err(word) };
        }
        for (partition, damage) in lost_offsets(&reading.recovered) {
            let name = say::partition(&self.names, partition);
            let to = damage.to.map_or(String::new(), |to| format!(" to {to}"));
            self.said.push(format!("{name}: lost from offset {}{to}", damage.from));
        }
        let folder = incarnation(self.node, self.folder);
        let (journal, index) = Journal::begin(&mut self.disk, &reading, flush, (self.node, folder));
        let config = self.config(flush);
        let boot = reading.recovered.boot + 1;
        let seed = boot * 100 + u64::try_from(self.node.0).expect("nodes are numbered from 1") - 1;
        let process = Process {
            broker: Broker::new(config, seed, reading.recovered, self.now_at(self.now_ms)),
            journal,
            index,
            clients: BTreeMap::new(),
            started_ms: self.now_ms,
            inputs: VecDeque::new(),
        };
        self.up = Some(process);
        self.step(Input::Wake);
        // Whatever the script says of the disk later: a node that does not serve has no story.
        let by_hand = std::mem::take(&mut self.by_hand);
        self.settle();
        self.by_hand = by_hand;
        let serves = self.up.as_ref().is_some_and(|process| process.broker.is_serving());
        self.said.push(format!("{}, run {boot}", if serves { "serves" } else { "is up" }));
        Ok(())
    }

    fn config(&self, flush: FlushMode) -> Config {
        let host = if self.voters.len() > 1 { format!("node-{}", self.node) } else { "golden".to_owned() };
        let listener = AdvertisedListener { host, port: 9092 };
        let mut config = Config::new(self.node, incarnation(self.node, self.folder), listener);
        config.flush = flush;
        config.settings = super::settings::of_broker();
        config.cluster_id = Some(Uuid(*b"golden---cluster"));
        config.voters.clone_from(&self.voters);
        if self.voters.len() > 1 {
            let listener = |node: &NodeId| AdvertisedListener { host: format!("node-{node}"), port: 9093 };
            config.voter_listeners = self.voters.iter().map(|node| (*node, listener(node))).collect();
        }
        config.admits_voters = self.joins;
        config.groups = self.group_settings;
        if let Some(expiration_ms) = self.expiration_ms {
            config.producer_id_expiration_ms = expiration_ms;
            config.producer_expiry_check_ms = expiration_ms;
        }
        config
    }

    pub(super) fn now_at(&self, started_ms: u64) -> Now {
        let wall = WALL_START_MS + i64::try_from(self.now_ms).expect("a script is short");
        Now { mono: MonoMs(1_000 + self.now_ms - started_ms), wall: WallMs(wall) }
    }

    pub(super) fn step(&mut self, input: Input) {
        let Some(process) = &self.up else { return };
        let now = self.now_at(process.started_ms);
        let mut outputs = Outputs::new();
        let process = self.up.as_mut().expect("seen above");
        process.broker.step(now, input, &mut outputs);
        for output in outputs {
            self.carry_out(output);
        }
    }

    /// Lets the driver do what it does at once: tell what the store has found, write and sync the journal.
    pub(super) fn settle(&mut self) {
        while let Some(process) = &mut self.up {
            if let Some(input) = process.inputs.pop_front() {
                self.step(input);
            } else if !self.by_hand && process.journal.written > process.journal.synced {
                process.journal.sync(&mut self.disk);
                self.tell_durable();
            } else if !self.by_hand && process.journal.has_entries() {
                let group = process.journal.write(&mut self.disk).expect("groups are written one at a time");
                self.groups.push(group);
                self.index_last();
                self.tell_durable();
            } else {
                break;
            }
        }
    }

    pub(super) fn write(&mut self) -> Result<(), String> {
        let Some(process) = &mut self.up else { return Err("nothing runs".to_owned()) };
        if !process.journal.has_entries() {
            return Err("there is nothing to write".to_owned());
        }
        let group = process.journal.write(&mut self.disk)?;
        self.said.push(say::group(&self.names, &group));
        self.groups.push(group);
        self.index_last();
        self.tell_durable();
        self.settle();
        Ok(())
    }

    pub(super) fn sync(&mut self, line: &mut Line) -> Result<(), String> {
        let Some(process) = &mut self.up else { return Err("nothing runs".to_owned()) };
        match line.next_plain().as_deref() {
            None => {
                process.journal.sync(&mut self.disk);
                self.tell_durable();
            }
            Some("fails") => self.step(Input::DiskFailed { reason: "sync: input/output error".to_owned() }),
            Some(other) => return Err(other.to_owned()),
        }
        self.settle();
        Ok(())
    }

    /// An idle writer adds a group without entries (SAFETY J4).
    pub(super) fn vouch(&mut self) -> Result<(), String> {
        let Some(process) = &mut self.up else { return Err("nothing runs".to_owned()) };
        if process.journal.wants_to_vouch() {
            self.groups.push(process.journal.write(&mut self.disk)?);
            process.journal.sync(&mut self.disk);
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, line: &mut Line) -> Result<(), String> {
        let by: u64 = number(&line.next_plain().ok_or("how far?")?)?;
        if line.next_plain().as_deref() != Some("ms") {
            return Err("in ms".to_owned());
        }
        let end = self.now_ms + by;
        if self.up.is_some() && !self.by_hand {
            self.vouch()?;
        }
        while let Some(process) = &self.up
            && let Some(at) = process.wake_at_ms()
            && at <= end
        {
            self.now_ms = self.now_ms.max(at);
            self.step(Input::Wake);
            self.settle();
        }
        self.now_ms = end;
        Ok(())
    }

    fn tell_durable(&mut self) {
        let Some(process) = &self.up else { return };
        let (written, synced) = (process.journal.written, process.journal.synced);
        self.step(Input::Durable { written, synced });
    }

    fn index_last(&mut self) {
        let (Some(process), Some(group)) = (&mut self.up, self.groups.last()) else { return };
        for located in &group.entries {
            note(&mut process.index, located, group.seq, group.at);
        }
    }

    fn carry_out(&mut self, output: Output) {
        let Some(process) = &mut self.up else { return };
        match output {
            Output::Journal { entry, batch } => {
                say::learn(&mut self.names, &entry);
                process.journal.push(entry, batch.as_ref().map(|(header, bytes)| (header, &bytes[..])));
            }
            Output::Send { to, message, batches } => {
                let bytes = match batches {
                    PeerBatches::None => Some(Bytes::new()),
                    PeerBatches::Fresh(header, bytes) => {
                        let mut stamped = vec![0; BATCH_HEADER_BYTES];
                        header.write((&mut stamped[..]).try_into().expect("a header's length"));
                        stamped.extend_from_slice(&bytes[BATCH_HEADER_BYTES..]);
                        Some(stamped.into())
                    }
                    PeerBatches::Extent(extent) => process.extent_bytes(&self.disk, &extent),
                };
                if let Some(bytes) = bytes {
                    self.outbox.push_back(Letter {
                        from: self.node,
                        to,
                        message: message.encode(),
                        batches: bytes,
                    });
                }
            }
            Output::Reply { conn, number, response } => self.on_reply(conn, number, response),
            Output::Close { conn, reason } => {
                let name = process.name_of(conn);
                process.clients.remove(&name);
                self.said.push(format!("the connection of {name} is closed: {reason}"));
            }
            Output::Read { op, extent, look } => {
                let result = process.look(&self.disk, &extent, look);
                process.inputs.push_back(Input::ReadDone { op, result });
            }
            Output::ReadBatches { op, extent } => {
                let read = process.extent_bytes(&self.disk, &extent).unwrap_or_default();
                process.inputs.push_back(Input::BatchesRead { op, batches: extent.admit(&read) });
            }
            Output::FindExpired { op, partition, up_to, retention } => {
                let result = process.find_expired(&self.disk, partition, up_to, &retention);
                process.inputs.push_back(Input::ReadDone { op, result });
            }
            // Nothing is in segments here.
            Output::Compact { op, .. } => {
                process.inputs.push_back(Input::Compacted { op, result: CompactionResult::NotDue });
            }
            Output::MeasureLogs { op, partitions } => {
                let dir = process.measure(&partitions);
                process.inputs.push_back(Input::LogsMeasured { op, dir });
            }
            Output::Store { op, command } => {
                let result = match command {
                    StoreCommand::Drop { .. } => Ok(()),
                    StoreCommand::Snapshot { .. } => Err("no scenario is that long".to_owned()),
                };
                process.inputs.push_back(Input::StoreDone { op, result });
            }
            Output::Halt { reason } => self.on_halt(&reason),
        }
    }

    fn on_halt(&mut self, reason: &HaltReason) {
        match reason {
            HaltReason::Stopped => {
                self.said.push("halts: stopped in order".to_owned());
                // A mark of the end counts when a later group vouches for it.
                self.vouch().expect("nothing is in flight when the last entry is on disk");
            }
            HaltReason::DiskFailed(why) => self.said.push(format!("halts: the disk failed ({why})")),
        }
        self.up = None;
    }

    fn on_reply(&mut self, conn: ConnId, number: RequestNumber, reply: Option<Box<Reply>>) {
        let Some(process) = &mut self.up else { return };
        let name = process.name_of(conn);
        let response = reply.map(|reply| process.fill(&self.disk, *reply));
        let Some(client) = process.clients.get_mut(&name) else { return };
        let (_, _, version) = client.due[&number.0];
        let frame = response.map(|response| {
            let frame = encode_response(version, i32::try_from(number.0).expect("few requests"), &response);
            frame.expect("the broker answers in the version that it was asked in").to_bytes().slice(4..)
        });
        client.ready.insert(number.0, frame);
        // SAFETY K1: answers leave in the order of the requests.
        let mut heard = Vec::new();
        while let Some(frame) = client.ready.remove(&client.next_out) {
            let due = client.due.remove(&client.next_out).expect("an answer was due");
            heard.push((client.next_out, due, frame));
            client.next_out += 1;
        }
        for (number, due, frame) in heard {
            self.hear(&name, RequestNumber(number), &due, frame);
        }
    }

    fn hear(&mut self, name: &str, number: RequestNumber, due: &(String, ApiKey, i16), frame: Option<Bytes>) {
        let (verb, api, version) = due;
        let lines = match frame {
            None => vec!["no answer is sent".to_owned()],
            Some(frame) => {
                self.frames.push(Frame {
                    api: *api,
                    version: *version,
                    is_answer: true,
                    bytes: frame.clone(),
                });
                let (_, response) =
                    decode_response(*api, *version, frame).expect("it was encoded a moment ago");
                if let (Response::Fetch(fetched), Some(process)) = (&response, &mut self.up)
                    && let Some(client) = process.clients.get_mut(name)
                    && fetched.session_id != 0
                {
                    let next = client
                        .session
                        .filter(|(id, _)| *id == fetched.session_id)
                        .map_or(1, |(_, next)| next + 1);
                    client.session = Some((fetched.session_id, next));
                }
                say::response(&self.with_names(response), &self.names)
            }
        };
        let client = self.up.as_ref().and_then(|process| process.clients.get(name));
        let is_asked = client.is_some_and(|client| self.asked == Some((client.conn, number)));
        let who = if is_asked { String::new() } else { format!("{name}'s {verb}: ") };
        self.said.extend(lines.into_iter().map(|line| format!("{who}{line}")));
    }

    /// The connection of a client, opened if need be.
    pub(super) fn connect(&mut self, name: &str) -> Result<ConnId, String> {
        if let Some(client) = self.process()?.clients.get(name) {
            return Ok(client.conn);
        }
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let client = Client {
            conn,
            next_number: 0,
            next_out: 0,
            due: BTreeMap::new(),
            ready: BTreeMap::new(),
            session: None,
        };
        self.process()?.clients.insert(name.to_owned(), client);
        self.step(Input::ConnOpened { conn, listener: ListenerId(0), peer: name.to_owned() });
        Ok(conn)
    }

    pub(super) fn disconnect(&mut self, line: &Line) -> Result<(), String> {
        let client = self.process()?.clients.remove(&line.client).ok_or("it is not connected")?;
        self.tell(Input::ConnClosed { conn: client.conn })
    }

    pub(super) fn say_state(&mut self) -> Result<(), String> {
        let Some(process) = &self.up else { return Err("nothing runs".to_owned()) };
        let journal = &process.journal;
        self.said.push(format!(
            "journal: {} given out, {} written, {} synced, {} vouched for",
            journal.last(),
            journal.written,
            journal.synced,
            journal.vouched
        ));
        self.said.extend(say::logs(&process.broker));
        Ok(())
    }
}

impl Client {
    /// Numbers a request.
    pub(super) fn send(&mut self, verb: &str, api: ApiKey, version: i16) -> RequestNumber {
        let number = self.next_number;
        self.next_number += 1;
        self.due.insert(number, (verb.to_owned(), api, version));
        RequestNumber(number)
    }
}

impl Process {
    /// When the broker wants to be woken, by the script's clock.
    pub(super) fn wake_at_ms(&self) -> Option<u64> {
        self.broker.wake_at().map(|(at, _)| at.0.saturating_sub(1_000) + self.started_ms)
    }

    fn name_of(&self, conn: ConnId) -> String {
        let found = self.clients.iter().find(|(_, client)| client.conn == conn);
        found.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    fn covering(&self, extent: &Extent) -> impl Iterator<Item = &Place> {
        let places = self.index.get(&extent.partition).into_iter().flatten();
        let (from, to) = (extent.from, extent.to);
        places.filter(move |(located, ..)| {
            matches!(&located.entry, Entry::Append(append) if append.next_offset() > from && append.next_offset() <= to)
        })
    }

    /// The batches of an extent, as they stand in the journal; `None`: nothing of it can be read.
    fn extent_bytes(&mut self, disk: &super::Disk, extent: &Extent) -> Option<Bytes> {
        let (mut bytes, mut damaged) = (Vec::new(), None);
        for place in self.covering(extent) {
            let size = place.0.entry.payload_bytes() as usize;
            if !bytes.is_empty() && bytes.len() + size > extent.bytes_max as usize {
                break;
            }
            let Some(batch) = batch_at(disk, place) else {
                damaged = Some(damage_at(extent.partition, place));
                break;
            };
            bytes.extend_from_slice(batch);
        }
        self.inputs.extend(damaged);
        (!bytes.is_empty()).then(|| bytes.into())
    }

    /// Puts the records into a fetch answer: whole batches, checked against the journal's table, within the limits (KIP-74).
    fn fill(&mut self, disk: &super::Disk, reply: Reply) -> Response {
        let Reply { mut response, fills, fill_bytes_max, .. } = reply;
        let Response::Fetch(fetch) = &mut response else { return response };
        let mut left = fill_bytes_max as usize;
        let mut is_first = true;
        let (mut omitted, mut damaged) = (Vec::new(), Vec::new());
        for fill in &fills {
            let most = left.min(fill.extent.bytes_max as usize);
            let mut records = Records::default();
            let mut is_damaged = false;
            for place in self.covering(&fill.extent) {
                let size = place.0.entry.payload_bytes() as usize;
                if records.len() + size > most && !(is_first && records.is_empty()) {
                    break;
                }
                let Some(batch) = batch_at(disk, place) else {
                    is_damaged = records.is_empty();
                    damaged.push(damage_at(fill.extent.partition, place));
                    break;
                };
                records.push(Bytes::copy_from_slice(batch));
            }
            let data = &mut fetch.responses[fill.topic].partitions[fill.partition];
            if is_damaged {
                data.error_code = ErrorCode::KafkaStorageError.code();
                data.high_watermark = -1;
            } else if records.is_empty() && fill.omit_if_empty {
                omitted.push((fill.topic, fill.partition));
            }
            is_first &= records.is_empty();
            left = left.saturating_sub(records.len());
            data.records = Some(records);
        }
        for (topic, partition) in omitted.into_iter().rev() {
            fetch.responses[topic].partitions.remove(partition);
        }
        fetch.responses.retain(|topic| !topic.partitions.is_empty());
        self.inputs.extend(damaged);
        response
    }

    /// A log's segments are what lies between two batches that roll.
    fn find_expired(
        &self,
        disk: &super::Disk,
        partition: TopicPartition,
        up_to: Offset,
        retention: &Retention,
    ) -> ReadResult {
        let mut segments: Vec<SegmentAge> = Vec::new();
        for place in self.index.get(&partition).into_iter().flatten() {
            let (Entry::Append(append), Some(batch)) = (&place.0.entry, batch_at(disk, place)) else {
                continue;
            };
            let header = BatchHeader::parse(batch).expect("an intact batch has a header");
            let bytes = u64::from(append.batch_bytes);
            match segments.last_mut().filter(|_| !append.roll) {
                Some(last) => {
                    last.next = append.next_offset();
                    last.bytes += bytes;
                    last.max_timestamp = last.max_timestamp.max(header.max_timestamp);
                }
                None => segments.push(SegmentAge {
                    next: append.next_offset(),
                    bytes,
                    max_timestamp: header.max_timestamp,
                }),
            }
        }
        let committed = segments.iter().take_while(|segment| segment.next <= up_to).count();
        let rest = segments.split_off(committed).iter().map(|segment| segment.bytes).sum();
        match retention.start(&segments, rest) {
            Some(offset) => ReadResult::Found { offset, timestamp_ms: -1 },
            None => ReadResult::NotFound,
        }
    }

    /// Every log's batches as they were given out, from its start on.
    fn measure(&self, partitions: &[TopicPartition]) -> LogDir {
        let bytes = |partition| {
            let replica = self.broker.replicas().get(partition).expect("the broker asks for what it has");
            let start = replica.log().start();
            let places = self.index.get(partition).into_iter().flatten();
            let places = places.filter(
                |place| matches!(&place.0.entry, Entry::Append(append) if append.next_offset() > start),
            );
            places.map(|place| u64::from(place.0.entry.payload_bytes())).sum()
        };
        LogDir {
            path: "/logs".to_owned(),
            total_bytes: Some(1 << 40),
            usable_bytes: Some(1 << 30),
            sizes: partitions.iter().map(|partition| (*partition, bytes(partition))).collect(),
        }
    }

    fn look(&self, disk: &super::Disk, extent: &Extent, look: Look) -> ReadResult {
        let mut best = None;
        for place in self.covering(extent) {
            let Some(batch) = batch_at(disk, place) else { return ReadResult::Failed };
            let header = BatchHeader::parse(batch).expect("an intact batch has a header");
            let payload = &batch[BATCH_HEADER_BYTES..];
            match look {
                Look::Timestamp(target) => {
                    let found = find_by_timestamp(&header, payload, extent.from, target);
                    if let Some((offset, timestamp_ms)) = found {
                        return ReadResult::Found { offset, timestamp_ms };
                    }
                }
                Look::MaxTimestamp => {
                    let found = max_timestamp_record(&header, payload, extent.from);
                    best = match (best, found) {
                        (Some((_, most)), Some((_, next))) if next <= most => best,
                        (_, Some(_)) => found,
                        (_, None) => best,
                    };
                }
            }
        }
        best.map_or(ReadResult::NotFound, |(offset, timestamp_ms)| ReadResult::Found { offset, timestamp_ms })
    }
}

/// What the core is told of a batch that is not what was written.
fn damage_at(partition: TopicPartition, (located, ..): &Place) -> Input {
    let Entry::Append(append) = &located.entry else { unreachable!("batches are indexed") };
    Input::Damaged { partition, from: append.base_offset }
}

/// The batch at a place, if it is what was written.
fn batch_at<'a>(disk: &'a super::Disk, (located, seq, group): &Place) -> Option<&'a [u8]> {
    let bytes = disk.read(*seq, *group);
    let start = located.payload_at as usize;
    let end = start + located.entry.payload_bytes() as usize;
    payload_is_intact(located, bytes).then(|| &bytes[start..end])
}
