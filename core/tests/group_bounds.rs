//! Members that say more than a group's log takes, or call themselves longer names than any id: they are refused or cut, and the group
//! goes on.

use seedlog_core::errors::ErrorCode;
use seedlog_core::group::records::GroupRecord;
use seedlog_core::group::subscription::assignment_bytes;
use seedlog_core::group::{Caller, Effects, GroupSettings, Groups};
use seedlog_core::ids::{Offset, Uuid};
use seedlog_core::replica::WaiterId;
use seedlog_core::time::{MonoMs, Now, WallMs};
use seedlog_core::wire::join_group::JoinGroupRequestProtocol;
use seedlog_core::wire::sync_group::SyncGroupRequestAssignment;
use seedlog_core::wire::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    Response, Str, SyncGroupRequest,
};

use cluster::Cluster;

#[path = "consumer_support/cluster.rs"]
mod cluster;

const GROUP: Str = Str::from_static("readers");
/// The longest string of the protocol, in bytes.
const STRING_BYTES_MAX: usize = 32_767;
const RECORD_BYTES_MAX: usize = 4_096;
/// What a version 0 subscription to "orders" takes besides what it carries for its user.
const ORDERS: &[u8] = &[0, 0, 0, 0, 0, 1, 0, 6, b'o', b'r', b'd', b'e', b'r', b's'];

struct World {
    groups: Groups,
    cluster: Cluster,
    now: Now,
    fresh: u8,
    end: i64,
    record_bytes_max: usize,
}

impl World {
    fn new(settings: GroupSettings) -> Self {
        let mut cluster = Cluster::default();
        cluster.topics.insert("orders".to_owned(), (Uuid([7; 16]), 2));
        Self {
            groups: Groups::new(GroupSettings { initial_rebalance_delay_ms: 0, ..settings }),
            cluster,
            now: Now { mono: MonoMs(0), wall: WallMs(1_000_000) },
            fresh: 0,
            end: 0,
            record_bytes_max: settings.record_bytes_max,
        }
    }

    /// What was decided is written and read again, as the broker does it.
    fn apply(&mut self, effects: Effects) -> Vec<Response> {
        for record in &effects.records {
            let (key, value) = record.encode();
            let read = GroupRecord::decode(Some(&key), value.as_deref()).expect("what was written is read");
            assert!(record.bytes() <= self.record_bytes_max, "the log takes it");
            self.end += 1;
            self.groups.replay(Offset(self.end), &read);
        }
        effects.answers.into_iter().map(|(_, response)| response).collect()
    }

    fn join(&mut self, name: &str, place: Option<&str>, (member, said): (&Str, usize)) -> JoinGroupResponse {
        self.fresh += 1;
        // User data, with its length.
        let mut metadata = ORDERS.to_vec();
        metadata.extend_from_slice(&i32::try_from(said).expect("a short one").to_be_bytes());
        metadata.resize(metadata.len() + said, 1);
        let request = JoinGroupRequest {
            group_id: GROUP,
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 20_000,
            member_id: member.clone(),
            group_instance_id: place.map(Str::from),
            protocol_type: Str::from_static("consumer"),
            protocols: vec![JoinGroupRequestProtocol {
                name: Str::from_static("range"),
                metadata: metadata.into(),
            }],
            ..JoinGroupRequest::default()
        };
        let caller =
            Caller { ticket: WaiterId(self.fresh.into()), client_id: name, host: "/127.0.0.1", version: 3 };
        let (fresh, held) = (Uuid([self.fresh; 16]), self.groups.member_bytes());
        let effects = self.groups.on_join(self.now, &request, &caller, (fresh, held), &self.cluster);
        let mut answers = self.apply(effects);
        // The first generation begins when its delay is over.
        if let Some(effects) = self.groups.on_due(self.now, &self.cluster) {
            answers.extend(self.apply(effects));
        }
        match answers.pop() {
            Some(Response::JoinGroup(joined)) => joined,
            other => panic!("{other:?}"),
        }
    }

    /// The leader gives all to itself.
    fn sync(&mut self, member: &Str, generation_id: i32) -> ErrorCode {
        let assignment = assignment_bytes(0, &[(Str::from_static("orders"), vec![0, 1])]);
        let request = SyncGroupRequest {
            group_id: GROUP,
            generation_id,
            member_id: member.clone(),
            assignments: vec![SyncGroupRequestAssignment { member_id: member.clone(), assignment }],
            ..SyncGroupRequest::default()
        };
        let effects = self.groups.on_sync(self.now, &request, WaiterId(0), &self.cluster);
        match self.apply(effects).pop() {
            Some(Response::SyncGroup(synced)) => {
                ErrorCode::from_code(synced.error_code).expect("a known code")
            }
            other => panic!("{other:?}"),
        }
    }

    fn beat(&mut self, member: &Str, epoch: i32) -> ConsumerGroupHeartbeatResponse {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP,
            member_id: member.clone(),
            member_epoch: epoch,
            rebalance_timeout_ms: 20_000,
            subscribed_topic_names: Some(vec![Str::from_static("orders")]),
            topic_partitions: Some(Vec::new()),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let caller = Caller { ticket: WaiterId(0), client_id: "ann", host: "/127.0.0.1", version: 1 };
        let held = self.groups.member_bytes();
        let fresh = (Uuid([9; 16]), held);
        let effects = self.groups.on_consumer_heartbeat(self.now, &request, &caller, fresh, &self.cluster);
        match self.apply(effects).pop() {
            Some(Response::ConsumerGroupHeartbeat(beaten)) => beaten,
            other => panic!("{other:?}"),
        }
    }
}

fn bounded() -> GroupSettings {
    GroupSettings { record_bytes_max: RECORD_BYTES_MAX, ..GroupSettings::default() }
}

/// An id is made of the client's name or its place: with all of it, it would be longer than any string of the log's format.
#[test]
fn clients_of_the_longest_names_are_members_like_others() {
    let long = "n".repeat(STRING_BYTES_MAX);
    for place in [None, Some(&*long)] {
        let mut world = World::new(GroupSettings::default());
        let joined = world.join(&long, place, (&Str::default(), 0));
        assert_eq!(joined.error_code, 0);
        assert_eq!(world.sync(&joined.member_id, joined.generation_id), ErrorCode::None);

        // And in a consumer group, whether they were there before or come later.
        assert_eq!(world.beat(&Str::from(&*long), 0).error_code, 0);
        let later = place.map(|_| "m".repeat(STRING_BYTES_MAX));
        let joined = world.join(&long, later.as_deref(), (&Str::default(), 0));
        assert_eq!(joined.error_code, 0);
        assert!(joined.member_id.len() < 300, "{}", joined.member_id.len());
    }
}

/// What is said to somebody who is refused may quote its id.
#[test]
fn words_about_the_longest_names_fit_into_an_answer() {
    let long = Str::from("n".repeat(STRING_BYTES_MAX));
    let mut world = World::new(GroupSettings::default());
    assert_eq!(world.beat(&Str::from_static("ann"), 0).error_code, 0);
    let refused = world.beat(&long, 7);
    assert_eq!(refused.error_code, ErrorCode::UnknownMemberId.code());
    assert_eq!(refused.error_message.unwrap().len(), STRING_BYTES_MAX);
}

/// Who takes a static member's place has it at once if all fits into a record; else the group comes together, and its leader hears
/// that it is too large.
#[test]
fn a_place_is_not_taken_with_more_than_a_record_takes() {
    let mut world = World::new(bounded());
    let joined = world.join("ann", Some("desk"), (&Str::default(), 100));
    assert_eq!(world.sync(&joined.member_id, joined.generation_id), ErrorCode::None);
    let again = world.join("ann", Some("desk"), (&Str::default(), 100));
    assert_eq!((again.error_code, again.generation_id), (0, joined.generation_id));
    let again = world.join("ann", Some("desk"), (&Str::default(), 2 * RECORD_BYTES_MAX));
    assert_eq!((again.error_code, again.generation_id), (0, joined.generation_id + 1));
    assert_eq!(world.sync(&again.member_id, again.generation_id), ErrorCode::UnknownServerError);
}

/// A classic group is one record, a consumer group is several: what does not fit into one stays a consumer group.
#[test]
fn a_group_stays_a_consumer_group_that_one_record_does_not_take() {
    let mut world = World::new(bounded());
    let ann = Str::from_static("ann");
    assert_eq!(world.beat(&ann, 0).error_code, 0);
    for name in ["bob", "carl"] {
        assert_eq!(world.join(name, None, (&Str::default(), RECORD_BYTES_MAX / 2)).error_code, 0);
    }
    assert_eq!(world.beat(&ann, -1).error_code, 0);
    let described = world.groups.describe_consumers(&GROUP, &world.cluster);
    assert_eq!((described.error_code, described.members.len()), (0, 2));
    assert_eq!(world.groups.next_after(None), Some((&GROUP, 2)));
}
