//! Groups of the classic protocol under any sequence of requests, silences and restarts. What is in the log is what is known;
//! nobody reads what another one reads in the same generation; nobody waits for ever, and nothing is left when all are gone.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use seedlog_core::errors::ErrorCode;
use seedlog_core::group::records::GroupRecord;
use seedlog_core::group::{Caller, CommitTopic, Effects, GroupSettings, Groups, OwnSettings, Topics};
use seedlog_core::ids::{Offset, Uuid};
use seedlog_core::replica::WaiterId;
use seedlog_core::time::{MonoMs, Now, WallMs};
use seedlog_core::wire::describe_groups::DescribedGroup;
use seedlog_core::wire::join_group::JoinGroupRequestProtocol;
use seedlog_core::wire::leave_group::MemberIdentity;
use seedlog_core::wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use seedlog_core::wire::sync_group::SyncGroupRequestAssignment;
use seedlog_core::wire::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, Response,
    Str, SyncGroupRequest, SyncGroupResponse,
};

const GROUP: Str = Str::from_static("readers");
const TOPIC: Str = Str::from_static("orders");
const TOPIC_ID: Uuid = Uuid([7; 16]);
const PARTITIONS: usize = 4;
/// Clients; the last two claim one static place.
const CLIENTS: usize = 5;
const MEMBERS_MAX: usize = 4;
const RETENTION_MS: i64 = 60_000;
/// More deadlines than this mean that the group does not come to rest.
const DEADLINES_MAX: usize = 1_000;

#[derive(Debug, Clone, Copy)]
enum Event {
    /// The client joins, with an id if it has one, and says something new or what it said before.
    Join {
        client: usize,
        news: bool,
    },
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    Commit {
        client: usize,
        partition: i32,
    },
    /// Somebody who is no member commits.
    CommitFromOutside {
        partition: i32,
    },
    /// The client begins anew and knows nothing.
    Forget {
        client: usize,
    },
    Advance {
        ms: u64,
    },
    /// What may be forgotten is looked for.
    Expire,
    Delete,
    /// Another node reads the log.
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let client = 0..CLIENTS;
    let partition = 0..i32::try_from(PARTITIONS).expect("a few") + 1;
    prop_oneof![
        8 => (client.clone(), prop::bool::weighted(0.2)).prop_map(|(client, news)| Event::Join { client, news }),
        8 => client.clone().prop_map(|client| Event::Sync { client }),
        4 => client.clone().prop_map(|client| Event::Heartbeat { client }),
        1 => client.clone().prop_map(|client| Event::Leave { client }),
        4 => (client.clone(), partition.clone())
            .prop_map(|(client, partition)| Event::Commit { client, partition }),
        1 => partition.prop_map(|partition| Event::CommitFromOutside { partition }),
        1 => client.prop_map(|client| Event::Forget { client }),
        4 => prop_oneof![Just(1), Just(3_000), Just(7_000), Just(70_000)].prop_map(|ms| Event::Advance { ms }),
        1 => Just(Event::Expire),
        1 => Just(Event::Delete),
        1 => Just(Event::Restart),
    ]
}

/// Members of classic groups look at no topics.
struct NoTopics;

impl Topics for NoTopics {
    fn version(&self) -> i64 {
        0
    }

    fn id_of(&self, _: &str) -> Option<Uuid> {
        None
    }

    fn name_of(&self, _: Uuid) -> Option<&str> {
        None
    }

    fn partitions(&self, _: Uuid) -> usize {
        0
    }

    fn racks(&self, _: Uuid, _: usize, _: &mut dyn FnMut(&str)) {}

    fn own_settings(&self, _: &str) -> OwnSettings {
        OwnSettings::default()
    }

    fn names_after<'a>(&'a self, _: Option<&str>) -> Box<dyn Iterator<Item = &'a str> + 'a> {
        Box::new(std::iter::empty())
    }
}

/// What a client knows.
#[derive(Debug, Clone, Default)]
struct Client {
    member: Str,
    generation: i32,
    /// The members that it was told of, as their leader.
    told: Vec<Str>,
    said: u8,
}

/// A request that was not answered yet.
#[derive(Debug, Clone, Copy)]
struct Asked {
    client: usize,
    generation: i32,
}

struct World {
    groups: Groups,
    log: Vec<GroupRecord>,
    now: Now,
    clients: Vec<Client>,
    asked: BTreeMap<WaiterId, Asked>,
    tickets: u64,
    /// What was committed and not forgotten.
    committed: BTreeMap<i32, i64>,
    /// The last generation that somebody was called to, or that is in the log.
    generation: i32,
    /// Generations are counted from the beginning again after this.
    era: u32,
    /// The number of the assignment that counts, by era and generation.
    assignments: BTreeMap<(u32, i32), u8>,
    /// What each place was given, by era and generation.
    parts: BTreeMap<(u32, i32, Str), Bytes>,
    /// Who has what was assigned: its place, or its id.
    holders: BTreeMap<Bytes, Str>,
    assigned: u8,
}

fn settings() -> GroupSettings {
    GroupSettings { members_max: MEMBERS_MAX, offsets_retention_ms: RETENTION_MS, ..GroupSettings::default() }
}

fn instance(client: usize) -> Option<Str> {
    (client >= CLIENTS - 2).then(|| Str::from_static("desk"))
}

impl World {
    fn new() -> Self {
        Self {
            groups: Groups::new(settings()),
            log: Vec::new(),
            now: Now { mono: MonoMs(0), wall: WallMs(1_000_000) },
            clients: vec![Client::default(); CLIENTS],
            asked: BTreeMap::new(),
            tickets: 0,
            committed: BTreeMap::new(),
            generation: 0,
            era: 0,
            assignments: BTreeMap::new(),
            parts: BTreeMap::new(),
            holders: BTreeMap::new(),
            assigned: 0,
        }
    }

    fn obey(&mut self, event: Event) {
        match event {
            Event::Join { client, news } => self.join(client, news),
            Event::Sync { client } => self.sync(client),
            Event::Heartbeat { client } => {
                let ticket = self.ask(client);
                let Client { member, generation, .. } = self.clients[client].clone();
                let request = HeartbeatRequest {
                    group_id: GROUP,
                    generation_id: generation,
                    member_id: member,
                    group_instance_id: instance(client),
                };
                let effects = self.groups.on_heartbeat(self.now, &request, ticket, &NoTopics);
                self.apply(effects);
            }
            Event::Leave { client } => {
                let ticket = self.ask(client);
                let leaving = MemberIdentity {
                    member_id: std::mem::take(&mut self.clients[client].member),
                    group_instance_id: instance(client),
                    reason: None,
                };
                let request =
                    LeaveGroupRequest { group_id: GROUP, members: vec![leaving], ..Default::default() };
                let effects = self.groups.on_leave(self.now, &request, (ticket, 5), &NoTopics);
                self.apply(effects);
            }
            Event::Commit { client, partition } => self.commit(Some(client), partition),
            Event::CommitFromOutside { partition } => self.commit(None, partition),
            Event::Forget { client } => self.clients[client] = Client::default(),
            Event::Advance { ms } => self.advance(ms),
            Event::Expire => self.expire(),
            Event::Delete => {
                if let Ok(records) = self.groups.decide_delete(&GROUP) {
                    assert_eq!(self.described().members, [], "nobody's group is deleted");
                    self.append(records);
                    assert!(self.committed.is_empty(), "its offsets go with it");
                }
            }
            Event::Restart => {
                self.groups = self.replayed();
                // They are sent to the new coordinator.
                self.asked.clear();
                let written = self.log.iter().rev().find_map(|record| match record {
                    GroupRecord::Classic(_, value) => {
                        Some(value.as_ref().map_or(0, |value| value.generation))
                    }
                    GroupRecord::Offset(..) | GroupRecord::Consumer(_) => None,
                });
                self.generation = written.unwrap_or(0);
                self.era += 1;
            }
        }
    }

    fn ask(&mut self, client: usize) -> WaiterId {
        self.tickets += 1;
        let ticket = WaiterId(self.tickets);
        self.asked.insert(ticket, Asked { client, generation: self.clients[client].generation });
        ticket
    }

    fn join(&mut self, client: usize, news: bool) {
        let ticket = self.ask(client);
        let this = &mut self.clients[client];
        this.said += u8::from(news);
        let metadata = Bytes::copy_from_slice(&[this.said]);
        let protocol = |name| JoinGroupRequestProtocol { name, metadata: metadata.clone() };
        let request = JoinGroupRequest {
            group_id: GROUP,
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 20_000,
            member_id: this.member.clone(),
            group_instance_id: instance(client),
            protocol_type: Str::from_static("consumer"),
            protocols: vec![protocol(Str::from_static("range")), protocol(Str::from_static("sticky"))],
            reason: None,
        };
        // Some clients are of before KIP-394.
        let version = if client == 0 { 3 } else { 9 };
        let caller = Caller { ticket, client_id: "client", host: "/127.0.0.1", version };
        let mut fresh = [0; 16];
        fresh[..8].copy_from_slice(&self.tickets.to_be_bytes());
        let held = self.groups.member_bytes();
        let effects = self.groups.on_join(self.now, &request, &caller, (Uuid(fresh), held), &NoTopics);
        self.apply(effects);
    }

    fn sync(&mut self, client: usize) {
        let ticket = self.ask(client);
        let Client { member, generation, told, .. } = self.clients[client].clone();
        self.assigned = self.assigned.wrapping_add(1);
        let part = |(slot, member_id): (u8, &Str)| SyncGroupRequestAssignment {
            member_id: member_id.clone(),
            assignment: Bytes::copy_from_slice(&[self.assigned, slot]),
        };
        let request = SyncGroupRequest {
            group_id: GROUP,
            generation_id: generation,
            member_id: member,
            group_instance_id: instance(client),
            assignments: (0..).zip(&told).map(part).collect(),
            ..Default::default()
        };
        let effects = self.groups.on_sync(self.now, &request, ticket, &NoTopics);
        self.apply(effects);
    }

    fn commit(&mut self, client: Option<usize>, partition: i32) {
        self.tickets += 1;
        let offset = i64::try_from(self.tickets).expect("a few");
        let of_member = client.map(|client| (client, self.clients[client].clone()));
        let committed = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            ..Default::default()
        };
        let topic =
            OffsetCommitRequestTopic { name: TOPIC, partitions: vec![committed], ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: GROUP,
            generation_id_or_member_epoch: of_member.as_ref().map_or(-1, |(_, client)| client.generation),
            member_id: of_member.as_ref().map(|(_, client)| client.member.clone()).unwrap_or_default(),
            group_instance_id: of_member.as_ref().and_then(|(client, _)| instance(*client)),
            retention_time_ms: -1,
            topics: vec![topic],
        };
        let members = self.described().members;
        let known = CommitTopic { name: TOPIC, topic_id: TOPIC_ID, partitions: PARTITIONS };
        let effects =
            self.groups.on_offset_commit(self.now, &request, &[Ok(known)], (WaiterId(self.tickets), 9));
        let [(_, Response::OffsetCommit(response))] = &effects.answers[..] else {
            panic!("a commit is answered, and nobody else is: {effects:?}")
        };
        let is_accepted = response.topics[0].partitions[0].error_code == ErrorCode::None.code();
        assert_eq!(is_accepted, !effects.records.is_empty(), "what is accepted is written");
        if is_accepted {
            if members.is_empty() {
                assert!(request.generation_id_or_member_epoch < 0, "a group that is empty has no generation");
            } else {
                assert_eq!(request.generation_id_or_member_epoch, self.generation, "of an old generation");
                assert!(members.iter().any(|it| it.member_id == request.member_id), "it is no member");
            }
        }
        self.append(effects.records);
        assert_eq!(is_accepted, self.committed.get(&partition) == Some(&offset));
    }

    fn expire(&mut self) {
        let has_members = !self.described().members.is_empty();
        let found = self.groups.decide_expiry(self.now, None, |_| Some(TOPIC_ID));
        if let Some((_, records)) = found {
            assert!(
                !has_members || records.is_empty(),
                "offsets of a group that somebody is in do not expire"
            );
            self.append(records);
        }
    }

    fn advance(&mut self, ms: u64) {
        let end = self.now.mono + ms;
        while let Some(at) = self.groups.next_due().filter(|at| *at <= end) {
            self.pass_to(at.max(self.now.mono));
            while let Some(effects) = self.groups.on_due(self.now, &NoTopics) {
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
        assert!(effects.records.is_empty() || effects.group == GROUP);
        self.append(effects.records);
        for (ticket, response) in effects.answers {
            let asked = self.asked.remove(&ticket).expect("each request is answered once");
            if let Response::JoinGroup(joined) = &response {
                self.on_joined(asked, joined);
            } else if let Response::SyncGroup(synced) = &response {
                self.on_synced(asked, synced);
            }
        }
    }

    fn append(&mut self, records: Vec<GroupRecord>) {
        for record in records {
            self.log.push(record.clone());
            let end = Offset(i64::try_from(self.log.len()).expect("a short log"));
            self.groups.replay(end, &record);
            match record {
                GroupRecord::Offset(key, Some(value)) => {
                    self.committed.insert(key.partition, value.offset);
                }
                GroupRecord::Offset(key, None) => {
                    self.committed.remove(&key.partition);
                }
                GroupRecord::Classic(_, Some(value)) => self.generation = value.generation,
                GroupRecord::Classic(_, None) | GroupRecord::Consumer(_) => {}
            }
        }
        assert_eq!(self.groups.rests_on(&GROUP).0, i64::try_from(self.log.len()).expect("a short log"));
    }

    fn on_joined(&mut self, asked: Asked, joined: &JoinGroupResponse) {
        let client = &mut self.clients[asked.client];
        match ErrorCode::from_code(joined.error_code) {
            Some(ErrorCode::None) => {
                client.member = joined.member_id.clone();
                client.generation = joined.generation_id;
                client.told = if joined.skip_assignment { Vec::new() } else { members_of(joined) };
                self.generation = joined.generation_id;
            }
            Some(ErrorCode::MemberIdRequired) => client.member = joined.member_id.clone(),
            Some(ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId) => {
                client.member = Str::default();
            }
            Some(ErrorCode::GroupMaxSizeReached | ErrorCode::RebalanceInProgress) => {}
            refused => panic!("{refused:?}"),
        }
    }

    fn on_synced(&mut self, asked: Asked, synced: &SyncGroupResponse) {
        if synced.error_code != 0 || synced.assignment.is_empty() {
            return;
        }
        let (number, place) = (synced.assignment[0], (self.era, asked.generation));
        let counts = *self.assignments.entry(place).or_insert(number);
        assert_eq!(counts, number, "a generation is assigned once");
        let who = instance(asked.client).unwrap_or_else(|| format!("client {}", asked.client).into());
        let holder = self.holders.entry(synced.assignment.clone()).or_insert_with(|| who.clone());
        assert_eq!(*holder, who, "two read the same");
    }

    fn described(&self) -> DescribedGroup {
        self.groups.describe(&GROUP, 5)
    }

    /// The groups as somebody knows them who reads the log.
    fn replayed(&self) -> Groups {
        let mut groups = Groups::new(settings());
        for (end, record) in (1..).zip(&self.log) {
            let (key, value) = record.encode();
            let read = GroupRecord::decode(Some(&key), value.as_deref()).expect("our own record");
            groups.replay(Offset(end), &read);
        }
        groups.on_loaded(self.now, &NoTopics);
        groups
    }

    fn check(&mut self) {
        let (here, there) = (self.described(), self.replayed());
        let written = there.describe(&GROUP, 5);
        match &*here.group_state {
            // What all act on is in the log.
            "Stable" => {
                assert_eq!(here, written);
                self.check_parts(&here);
            }
            "CompletingRebalance" => {
                assert!(here.members.len() <= MEMBERS_MAX + 1, "a static member's place is kept beside them");
            }
            "Empty" => assert_eq!(written.members, []),
            "Dead" => assert_eq!(&*written.group_state, "Dead"),
            "PreparingRebalance" => {}
            state => panic!("{state}"),
        }
        assert!(self.groups.written().eq(there.written()), "what is replayed at the append is what is read");
        for groups in [&self.groups, &there] {
            let known: BTreeMap<i32, i64> =
                groups.all_committed(&GROUP).map(|(_, partition, it)| (partition, it.offset)).collect();
            assert_eq!(known, self.committed);
        }
        assert_eq!(self.groups.members(), here.members.len());
        if &*here.group_state == "Dead" {
            self.generation = 0;
            self.era += 1;
        }
    }

    /// A place keeps what it was given as long as the generation lasts, whoever takes it.
    fn check_parts(&mut self, described: &DescribedGroup) {
        for member in &described.members {
            let place = member.group_instance_id.clone().unwrap_or_else(|| member.member_id.clone());
            let part = self.parts.entry((self.era, self.generation, place));
            let part = part.or_insert_with(|| member.member_assignment.clone());
            assert_eq!(*part, member.member_assignment);
        }
    }

    /// Nothing happens any more but that time passes.
    fn come_to_rest(&mut self) {
        for _ in 0..DEADLINES_MAX {
            let Some(at) = self.groups.next_due() else { break };
            self.advance(at.max(self.now.mono) - self.now.mono);
            self.check();
        }
        assert_eq!(self.groups.next_due(), None, "it comes to rest");
        assert!(self.asked.is_empty(), "somebody still waits: {:?}", self.asked);
        assert!(matches!(&*self.described().group_state, "Empty" | "Dead"), "{:?}", self.described());
        assert_eq!((self.groups.members(), self.groups.member_bytes()), (0, 0), "something is left");
        // Neither the retention nor what a loaded log is spared for is longer.
        self.advance(settings().new_member_timeout_ms.max(RETENTION_MS.unsigned_abs()));
        self.expire();
        assert!(self.groups.is_empty(), "nobody needs it any more");
        assert!(self.replayed().is_empty(), "and that is written");
    }
}

fn members_of(joined: &JoinGroupResponse) -> Vec<Str> {
    joined.members.iter().map(|member| member.member_id.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_group_is_what_its_log_says(events in prop::collection::vec(event(), 1..120)) {
        let mut world = World::new();
        for event in events {
            world.obey(event);
            world.check();
        }
        world.come_to_rest();
    }
}
