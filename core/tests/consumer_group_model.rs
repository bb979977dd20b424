//! Consumer groups (KIP-848) under any sequence of heartbeats, lost answers, silences, changes of topics and restarts, with members of
//! the classic protocol that come and go, so that the group changes from one protocol to the other and back. What is in
//! the log is what is known; nobody reads what another one reads; when nothing happens any more all come to what they are to
//! read, and nothing is left when all are gone.

#[path = "consumer_support/classics.rs"]
mod classics;
#[path = "consumer_support/cluster.rs"]
mod cluster;
#[path = "consumer_support/events.rs"]
mod events;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use seedlog_core::errors::ErrorCode;
use seedlog_core::group::records::GroupRecord;
use seedlog_core::group::{Caller, CommitTopic, Effects, GroupSettings, Groups, OwnSettings, Topics};
use seedlog_core::ids::{Offset, Uuid};
use seedlog_core::replica::WaiterId;
use seedlog_core::time::{MonoMs, Now, WallMs};
use seedlog_core::wire::consumer_group_describe::DescribedConsumerGroup;
use seedlog_core::wire::consumer_group_heartbeat::OwnedPartitions;
use seedlog_core::wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use seedlog_core::wire::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, OffsetCommitRequest, Response, Str,
};

use classics::{Asked, Classic};
use cluster::Cluster;
use events::{Event, event};

const GROUP: Str = Str::from_static("readers");
/// Clients; the last two claim one static place.
const CLIENTS: usize = 5;
/// Clients that speak the classic protocol, as consumers do that let go of everything before they join again.
const CLASSICS: usize = 2;
const TOPICS: usize = 3;
const RETENTION_MS: i64 = 60_000;
const SESSION_MS: u64 = 45_000;
const CLASSIC_SESSION_MS: u64 = 10_000;
/// What the group may have of its own.
const OWN: OwnSettings = OwnSettings {
    session_timeout_ms: Some(60_000),
    heartbeat_interval_ms: Some(7_000),
    assignment_interval_ms: Some(0),
};

type Part = (Uuid, i32);

fn topic(number: usize) -> String {
    ["orders", "orders-eu", "payments"][number].to_owned()
}

/// What clients may want: names, or a pattern.
fn wish(what: usize) -> (Vec<Str>, &'static str) {
    match what {
        0 => (vec!["orders".into()], ""),
        1 => (vec!["orders".into(), "payments".into()], ""),
        2 => (vec!["payments".into(), "nowhere".into()], ""),
        3 => (vec![], "orders.*"),
        4 => (vec!["payments".into()], "orders-.."),
        _ => (vec![], ""),
    }
}

/// What a client knows and does.
#[derive(Debug, Clone, Default)]
struct Client {
    id: Str,
    epoch: i32,
    wants: usize,
    /// It has not said yet what it wants.
    has_news: bool,
    /// What it reads.
    reads: BTreeSet<Part>,
    /// What it was told to read.
    told: BTreeSet<Part>,
    /// When it was heard of last: without that it stops in time.
    heard_at: u64,
}

struct World {
    groups: Groups,
    cluster: Cluster,
    log: Vec<GroupRecord>,
    now: Now,
    clients: Vec<Client>,
    classics: Vec<Classic>,
    asked: BTreeMap<WaiterId, Asked>,
    tickets: u64,
}

fn settings() -> GroupSettings {
    GroupSettings {
        offsets_retention_ms: RETENTION_MS,
        initial_rebalance_delay_ms: 0,
        ..GroupSettings::default()
    }
}

fn instance(client: usize) -> Option<Str> {
    (client >= CLIENTS - 2).then(|| Str::from_static("desk"))
}

impl World {
    fn new() -> Self {
        let client = |number| Client { id: format!("client-{number}").into(), ..Client::default() };
        let mut world = Self {
            groups: Groups::new(settings()),
            cluster: Cluster::default(),
            log: Vec::new(),
            now: Now { mono: MonoMs(0), wall: WallMs(1_000_000) },
            clients: (0..CLIENTS).map(client).collect(),
            classics: vec![Classic::default(); CLASSICS],
            asked: BTreeMap::new(),
            tickets: 0,
        };
        world.change(0);
        world
    }

    fn obey(&mut self, event: Event) {
        match event {
            Event::Beat { client, is_lost } => self.beat(client, is_lost),
            Event::Want { client, what } => {
                self.clients[client].wants = what;
                self.clients[client].has_news = true;
            }
            Event::Revoke { client } => {
                let client = &mut self.clients[client];
                client.reads = client.told.clone();
            }
            Event::Leave { client, comes_back } => self.leave(client, comes_back),
            Event::Forget { client } => {
                let number = self.next_ticket();
                let wants = self.clients[client].wants;
                self.clients[client] =
                    Client { id: format!("client-{client}-{}", number.0).into(), wants, ..Client::default() };
            }
            Event::Commit { client, topic } => self.commit(client, topic),
            Event::Change { topic } => self.change(topic),
            Event::Configure { has_some: false } => self.cluster.own = OwnSettings::default(),
            Event::Configure { has_some: true } => self.cluster.own = OWN,
            Event::Advance { ms } => self.advance(ms),
            Event::Expire => self.expire(),
            Event::Delete => {
                if let Ok(records) = self.groups.decide_delete(&GROUP) {
                    assert_eq!(self.described().members, [], "nobody's group is deleted");
                    self.append(records);
                }
            }
            Event::Join { client } => self.join(client),
            Event::Sync { client } => self.sync(client),
            Event::Heartbeat { client } => self.heartbeat(client),
            Event::LeaveGroup { client } => self.leave_group(client),
            Event::Classics => {
                (0..CLASSICS).for_each(|client| self.heartbeat(client));
                for client in (0..2 * CLASSICS).map(|turn| turn % CLASSICS) {
                    if self.classics[client].generation == 0 {
                        self.join(client);
                    }
                }
                self.advance(0);
                (0..CLASSICS).for_each(|client| self.sync(client));
            }
            Event::Desert => (0..CLIENTS).for_each(|client| self.leave(client, false)),
            Event::Restart => {
                self.groups = self.replayed();
                // They are sent to the new coordinator.
                self.asked.clear();
            }
        }
    }

    fn next_ticket(&mut self) -> WaiterId {
        self.tickets += 1;
        WaiterId(self.tickets)
    }

    fn change(&mut self, number: usize) {
        self.cluster.version += 1;
        let version = u8::try_from(self.cluster.version).expect("a few");
        match self.cluster.topics.get_mut(&topic(number)) {
            None => {
                self.cluster.topics.insert(topic(number), (Uuid([version; 16]), 2));
            }
            Some((_, partitions)) if *partitions < 4 => *partitions += 1,
            Some(_) => {
                self.cluster.topics.remove(&topic(number));
            }
        }
    }

    fn ask(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let ticket = self.next_ticket();
        let caller = Caller { ticket, client_id: "client", host: "/127.0.0.1", version: 1 };
        let held = self.groups.member_bytes();
        let cluster = self.cluster.clone();
        let mut effects =
            self.groups.on_consumer_heartbeat(self.now, request, &caller, (Uuid([9; 16]), held), &cluster);
        let own = effects.answers.iter().position(|(to, _)| *to == ticket).expect("a heartbeat is answered");
        let Response::ConsumerGroupHeartbeat(response) = effects.answers.remove(own).1 else {
            panic!("it is answered as a heartbeat")
        };
        assert!(response.error_code == 0 || effects.records.is_empty(), "what is refused changes nothing");
        if response.error_code == 0 && request.member_epoch >= 0 {
            let own = cluster.own.heartbeat_interval_ms;
            assert_eq!(response.heartbeat_interval_ms, own.unwrap_or(5_000), "the group's own counts");
        }
        self.apply(effects);
        response
    }

    fn beat(&mut self, client: usize, is_lost: bool) {
        let Client { id, epoch, wants, has_news, reads, .. } = self.clients[client].clone();
        let (names, pattern) = wish(wants);
        let says_all = epoch == 0 || has_news;
        let owned = if epoch == 0 { BTreeSet::new() } else { reads };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP,
            member_id: id,
            member_epoch: epoch,
            instance_id: instance(client),
            rebalance_timeout_ms: if epoch == 0 { 30_000 } else { -1 },
            subscribed_topic_names: says_all.then_some(names),
            subscribed_topic_regex: says_all.then(|| pattern.into()),
            topic_partitions: Some(partitions(&owned)),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let response = self.ask(&request);
        if !is_lost {
            self.on_told(client, &response);
        }
    }

    fn on_told(&mut self, client: usize, response: &ConsumerGroupHeartbeatResponse) {
        let now = self.now.mono.0;
        let client = &mut self.clients[client];
        match ErrorCode::from_code(response.error_code) {
            Some(ErrorCode::None) => {
                client.epoch = response.member_epoch;
                client.heard_at = now;
                client.has_news = false;
                if let Some(assignment) = &response.assignment {
                    let told = assignment.topic_partitions.iter();
                    client.told =
                        told.flat_map(|of| of.partitions.iter().map(|it| (of.topic_id, *it))).collect();
                    // What it gets it may read at once; what it is to let go of it reads until it does.
                    client.reads.extend(client.told.iter().copied());
                }
            }
            Some(
                ErrorCode::FencedMemberEpoch
                | ErrorCode::UnknownMemberId
                | ErrorCode::GroupIdNotFound
                | ErrorCode::FencedInstanceId,
            ) => {
                client.epoch = 0;
                client.reads.clear();
                client.told.clear();
            }
            Some(ErrorCode::UnreleasedInstanceId) => {}
            refused => panic!("{refused:?}: {response:?}"),
        }
    }

    fn leave(&mut self, client: usize, comes_back: bool) {
        let Client { id, epoch, .. } = self.clients[client].clone();
        let place = instance(client);
        if epoch == 0 {
            return;
        }
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP,
            member_id: id,
            member_epoch: if comes_back && place.is_some() { -2 } else { -1 },
            instance_id: place,
            ..ConsumerGroupHeartbeatRequest::default()
        };
        self.ask(&request);
        let client = &mut self.clients[client];
        client.epoch = 0;
        client.reads.clear();
        client.told.clear();
    }

    /// Whoever commits reads the partition, unless it is told not to.
    fn commit(&mut self, client: usize, number: usize) {
        let Some(&(topic_id, partitions)) = self.cluster.topics.get(&topic(number)) else { return };
        let Client { id, epoch, .. } = self.clients[client].clone();
        let ticket = self.next_ticket();
        let committed = OffsetCommitRequestPartition {
            partition_index: 0,
            committed_offset: i64::try_from(self.tickets).expect("a few"),
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: GROUP,
            generation_id_or_member_epoch: epoch,
            member_id: id.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: topic(number).into(),
                partitions: vec![committed],
                ..Default::default()
            }],
            ..Default::default()
        };
        let known = CommitTopic { name: topic(number).into(), topic_id, partitions };
        let described = self.described();
        let effects = self.groups.on_offset_commit(self.now, &request, &[Ok(known)], (ticket, 9));
        let is_accepted = !effects.records.is_empty();
        if is_accepted {
            let member = described.members.iter().find(|member| member.member_id == id);
            let member = member.expect("only members commit");
            assert!(epoch <= member.member_epoch);
            let parts = member.assignment.topic_partitions.iter();
            let has = parts.flat_map(|of| of.partitions.iter().map(|it| (of.topic_id, *it)));
            let may_read: BTreeSet<Part> = has.collect();
            // Behind its epoch it commits only what it has, or has not let go of yet.
            let holds = may_read.contains(&(topic_id, 0)) || epoch == member.member_epoch;
            assert!(holds || self.clients[client].reads.contains(&(topic_id, 0)));
        }
        self.append(effects.records);
    }

    fn expire(&mut self) {
        let has_members = !self.described().members.is_empty();
        let cluster = self.cluster.clone();
        let found = self.groups.decide_expiry(self.now, None, |name| cluster.id_of(name));
        if let Some((_, records)) = found {
            let keeps = |record: &GroupRecord| matches!(record, GroupRecord::Offset(..));
            assert!(!has_members || records.iter().all(keeps), "a group that somebody is in stays");
            self.append(records);
        }
    }

    fn advance(&mut self, ms: u64) {
        let end = self.now.mono + ms;
        while let Some(at) = self.groups.next_due().filter(|at| *at <= end) {
            self.pass_to(at.max(self.now.mono));
            let cluster = self.cluster.clone();
            while let Some(effects) = self.groups.on_due(self.now, &cluster) {
                self.apply(effects);
            }
        }
        self.pass_to(end);
    }

    fn pass_to(&mut self, at: MonoMs) {
        let passed = i64::try_from(at - self.now.mono).expect("a short time");
        self.now = Now { mono: at, wall: WallMs(self.now.wall.0 + passed) };
    }

    fn apply(&mut self, effects: Effects) {
        self.append(effects.records);
        for (ticket, response) in effects.answers {
            let asked = self.asked.remove(&ticket).expect("each request is answered once");
            match (asked, &response) {
                (Asked::Join(client), Response::JoinGroup(joined)) => self.on_joined(client, joined),
                (Asked::Sync(client), Response::SyncGroup(synced)) => self.on_synced(client, synced),
                (asked, response) => panic!("{asked:?} is answered with {response:?}"),
            }
        }
    }

    fn append(&mut self, records: Vec<GroupRecord>) {
        for record in records {
            self.log.push(record.clone());
            self.groups.replay(Offset(i64::try_from(self.log.len()).expect("a short log")), &record);
        }
    }

    fn described(&self) -> DescribedConsumerGroup {
        self.groups.describe_consumers(&GROUP, &self.cluster)
    }

    /// The groups as somebody knows them who reads the log.
    fn replayed(&self) -> Groups {
        let mut groups = Groups::new(settings());
        for (end, record) in (1..).zip(&self.log) {
            let (key, value) = record.encode();
            let read = GroupRecord::decode(Some(&key), value.as_deref()).expect("our own record");
            assert_eq!(read, *record);
            groups.replay(Offset(end), &read);
        }
        groups.on_loaded(self.now, &self.cluster);
        groups
    }

    fn check(&self) {
        let there = self.replayed();
        assert!(self.groups.written().eq(there.written()), "what is replayed at the append is what is read");
        // Of members of a classic group that are about to meet the log knows nothing.
        if self.described().error_code == 0 {
            assert_eq!(self.described(), there.describe_consumers(&GROUP, &self.cluster));
            assert_eq!(self.groups.member_bytes(), there.member_bytes());
            assert_eq!(self.groups.members(), there.members());
        }
        let described = self.described();
        let mut readers: BTreeMap<Part, &Str> = BTreeMap::new();
        for member in &described.members {
            for of_topic in &member.assignment.topic_partitions {
                for &partition in &of_topic.partitions {
                    let other = readers.insert((of_topic.topic_id, partition), &member.member_id);
                    assert_eq!(other, None, "two are told to read the same");
                }
            }
        }
        self.check_readers();
    }

    /// A log of which only the last record of each key is left says the same.
    fn check_compacted(&self) {
        let mut last: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for (at, record) in self.log.iter().enumerate() {
            last.insert(record.encode().0, at);
        }
        let mut kept: Vec<usize> = last.into_values().collect();
        kept.sort_unstable();
        let mut groups = Groups::new(settings());
        for at in kept {
            groups.replay(Offset(i64::try_from(at).expect("a short log") + 1), &self.log[at]);
        }
        assert!(self.groups.written().eq(groups.written()), "compaction changes nothing");
    }

    /// No two clients read the same, as long as each stops in time when nobody answers it.
    fn check_readers(&self) {
        let mut readers: BTreeMap<Part, usize> = BTreeMap::new();
        for (number, client) in self.classics.iter().enumerate() {
            let is_known = self.is_member(&client.id);
            if client.generation > 0 && is_known && self.now.mono.0 - client.heard_at < CLASSIC_SESSION_MS {
                for part in &client.reads {
                    let other = readers.insert(*part, CLIENTS + number);
                    assert_eq!(other, None, "two read {part:?}");
                }
            }
        }
        for (number, client) in self.clients.iter().enumerate() {
            let is_known = self.is_member(&client.id);
            if client.epoch == 0 || !is_known || self.now.mono.0 - client.heard_at >= SESSION_MS {
                continue;
            }
            for part in &client.reads {
                let other = readers.insert(*part, number);
                assert_eq!(other, None, "two read {part:?}");
            }
        }
    }

    fn is_member(&self, id: &Str) -> bool {
        let consumers = self.described();
        let classics = self.groups.describe(&GROUP, 5);
        consumers.members.iter().any(|member| member.member_id == *id)
            || classics.members.iter().any(|member| member.member_id == *id)
    }

    /// All are heard of, again and again, and do what they are told.
    fn come_to_rest(&mut self) {
        self.check_compacted();
        for _ in 0..40 {
            for client in 0..CLIENTS - 1 {
                self.beat(client, false);
                self.clients[client].reads = self.clients[client].told.clone();
            }
            self.advance(5_000);
            self.check();
        }
        let described = self.described();
        assert_eq!(&*described.group_state, "Stable", "{described:?}");
        for member in &described.members {
            assert_eq!(member.assignment, member.target_assignment);
            assert_eq!(member.member_epoch, described.group_epoch);
        }
        assert!(self.asked.is_empty(), "somebody still waits: {:?}", self.asked);
        // Nobody is heard of any more.
        let session_ms =
            self.cluster.own.session_timeout_ms.map_or(SESSION_MS, |ms| u64::from(ms.unsigned_abs()));
        self.advance(session_ms - 5_001);
        assert_eq!(&*self.described().group_state, "Stable", "they were heard of five seconds before");
        self.advance(10_001);
        self.check();
        assert_eq!(&*self.described().group_state, "Empty");
        self.advance(settings().new_member_timeout_ms.max(RETENTION_MS.unsigned_abs()));
        self.expire();
        assert!(self.groups.is_empty(), "nobody needs it any more");
        assert!(self.replayed().is_empty(), "and that is written");
        assert_eq!((self.groups.members(), self.groups.member_bytes()), (0, 0), "something is left");
        assert_eq!(self.groups.next_due(), None, "it comes to rest");
    }
}

fn partitions(parts: &BTreeSet<Part>) -> Vec<OwnedPartitions> {
    let mut of_topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic_id, partition) in parts {
        of_topics.entry(*topic_id).or_default().push(*partition);
    }
    of_topics.into_iter().map(|(topic_id, partitions)| OwnedPartitions { topic_id, partitions }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn a_consumer_group_is_what_its_log_says(events in prop::collection::vec(event(), 1..100)) {
        let mut world = World::new();
        for event in events {
            world.obey(event);
            world.check();
        }
        world.come_to_rest();
    }
}

/// A tombstone may name what is long gone: compaction keeps the last record of a key only.
#[test]
fn what_is_not_there_may_be_gone() {
    use seedlog_core::group::records::ConsumerRecord;
    use seedlog_core::group::records::consumer::{
        ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataValue, GroupKey, MemberKey, PatternKey,
    };
    let key = || GroupKey { group: GROUP };
    let member = || MemberKey { group: GROUP, member: "m".into() };
    let gone = [
        ConsumerRecord::Current(member(), None),
        ConsumerRecord::Target(member(), None),
        ConsumerRecord::Member(member(), None),
        ConsumerRecord::TargetEpoch(key(), None),
        ConsumerRecord::Pattern(PatternKey { group: GROUP, pattern: "p".into() }, None),
        ConsumerRecord::PartitionMetadata(key(), None),
        ConsumerRecord::Group(key(), None),
    ];
    let mut groups = Groups::new(settings());
    for (end, record) in (1..).zip(&gone) {
        groups.replay(Offset(end), &GroupRecord::Consumer(record.clone()));
        assert!(groups.is_empty(), "{record:?}");
        assert_eq!(groups.rests_on(&GROUP), Offset(end), "that it is not there rests on it");
    }
    // What Kafka wrote before 4.1 goes when the group changes (KIP-1101).
    let head = ConsumerGroupMetadataValue { epoch: 4, metadata_hash: 0 };
    let old = ConsumerGroupPartitionMetadataValue::default();
    let mut world = World::new();
    world.append(vec![
        GroupRecord::Consumer(ConsumerRecord::Group(key(), Some(head))),
        GroupRecord::Consumer(ConsumerRecord::PartitionMetadata(key(), Some(old))),
    ]);
    world.beat(0, false);
    assert_eq!(world.clients[0].epoch, 5);
    let last = ConsumerRecord::PartitionMetadata(key(), None);
    assert!(world.log.contains(&GroupRecord::Consumer(last)));
    world.check();
}
