//! A member of a consumer group against a coordinator that lies, moves or stays silent: it joins, or ends in an error with a
//! sentence, in bounded time.

#![expect(clippy::unwrap_used, reason = "a helper fails as its test does")]

mod cli_support;

use std::time::Duration;

use bytes::Bytes;
use cli_support::{FakeBroker, Reply, block_on};
use seedlog::client::consumer_protocol::{Assignment, encode_assignment, encode_subscription};
use seedlog::client::{ClientError, Member, MemberOptions, Membership, PartitionName, groups};
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::find_coordinator::Coordinator;
use seedlog_core::wire::join_group::JoinGroupResponseMember;
use seedlog_core::wire::{
    ApiKey, FindCoordinatorResponse, HeartbeatResponse, JoinGroupResponse, Request, Response, Str,
    SyncGroupResponse,
};

/// What the coordinator does about one kind of request, the first time, the second time and so on; the last for ever.
type Script = Vec<(ApiKey, Vec<Reply>)>;

/// A broker that follows the script, and is friendly where it says nothing.
fn broker(mut script: Script) -> FakeBroker {
    FakeBroker::start(move |request: &Request| {
        let Some((_, replies)) = script.iter_mut().find(|(api, _)| *api == request.api_key()) else {
            return Reply::Friendly;
        };
        if replies.len() > 1 { replies.remove(0) } else { repeat(&replies[0]) }
    })
}

fn repeat(reply: &Reply) -> Reply {
    match reply {
        Reply::Answer(response) => Reply::Answer(response.clone()),
        Reply::Close => Reply::Close,
        Reply::Silence => Reply::Silence,
        Reply::WrongCorrelation(_)
        | Reply::Truncated(..)
        | Reply::Raw(_)
        | Reply::Unanswered
        | Reply::Friendly => unreachable!("no script ends so"),
    }
}

fn found(port: u16, code: ErrorCode) -> Reply {
    let coordinator = Coordinator {
        key: Str::from("g"),
        node_id: 1,
        host: Str::from("127.0.0.1"),
        port: i32::from(port),
        error_code: code.code(),
        error_message: None,
    };
    let response = FindCoordinatorResponse { coordinators: vec![coordinator], ..Default::default() };
    Reply::Answer(response.into())
}

fn joined(code: ErrorCode) -> Reply {
    let member = |id: &str, metadata| JoinGroupResponseMember {
        member_id: Str::from(id),
        group_instance_id: None,
        metadata,
    };
    Reply::Answer(
        JoinGroupResponse {
            error_code: code.code(),
            generation_id: 4,
            protocol_name: Some(Str::from("range")),
            leader: Str::from("me"),
            member_id: Str::from("me"),
            members: vec![
                member("me", encode_subscription(["t"].into_iter())),
                member("odd", Bytes::from_static(b"\xff\xff\xff nonsense")),
            ],
            ..Default::default()
        }
        .into(),
    )
}

fn synced(code: ErrorCode, assignment: Bytes) -> Reply {
    let response = SyncGroupResponse { error_code: code.code(), assignment, ..Default::default() };
    Reply::Answer(response.into())
}

fn given() -> Bytes {
    encode_assignment(&Assignment::from([("t".to_owned(), vec![1])]))
}

fn beaten(code: ErrorCode) -> Reply {
    Reply::Answer(Response::from(HeartbeatResponse { error_code: code.code(), ..Default::default() }))
}

/// For what is to succeed, and for what is to fail.
const PATIENT: Duration = Duration::from_secs(20);
const IMPATIENT: Duration = Duration::from_millis(300);

fn member(broker: &FakeBroker, outage_max: Duration) -> Member {
    let options = MemberOptions {
        group: "g".to_owned(),
        instance_id: None,
        topics: vec!["t".to_owned()],
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(10),
        heartbeat_interval: Duration::from_millis(1),
        outage_max,
    };
    Member::new(broker.cluster(), options)
}

/// Joins once. `find` is what FindCoordinator is answered; nothing stands for a coordinator that is there.
fn join(find: &[ErrorCode], script: Script, outage_max: Duration) -> Result<Membership, ClientError> {
    let broker = beside_coordinator(find, script);
    block_on(async { member(&broker, outage_max).join().await })
}

/// A broker that only knows where the coordinator is, which follows the script.
fn beside_coordinator(find: &[ErrorCode], script: Script) -> FakeBroker {
    let second = broker(script);
    let port: u16 = second.address.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut replies: Vec<Reply> = find.iter().map(|&code| found(port, code)).collect();
    if find.last().is_none_or(|code| *code == ErrorCode::None) {
        replies.push(found(port, ErrorCode::None));
    }
    broker(vec![(ApiKey::FindCoordinator, replies)])
}

#[test]
fn a_member_joins_in_the_end() {
    use ErrorCode as E;
    let membership = join(
        &[E::CoordinatorNotAvailable, E::CoordinatorLoadInProgress, E::None],
        vec![
            (
                ApiKey::JoinGroup,
                vec![
                    joined(E::NotCoordinator),
                    joined(E::MemberIdRequired),
                    Reply::Close,
                    joined(E::UnknownMemberId),
                    joined(E::RebalanceInProgress),
                    joined(E::None),
                ],
            ),
            (
                ApiKey::SyncGroup,
                vec![
                    synced(E::RebalanceInProgress, Bytes::new()),
                    synced(E::IllegalGeneration, Bytes::new()),
                    synced(E::None, given()),
                ],
            ),
            (ApiKey::Heartbeat, vec![beaten(E::None)]),
        ],
        PATIENT,
    )
    .unwrap();
    assert_eq!(membership.generation, 4);
    assert_eq!(membership.partitions.into_iter().collect::<Vec<_>>(), [PartitionName::new("t", 1)]);
}

#[test]
fn what_does_not_pass_is_an_error_in_bounded_time() {
    use ErrorCode as E;
    let error = join(&[E::CoordinatorNotAvailable], Vec::new(), IMPATIENT).unwrap_err();
    assert_eq!(error.code(), Some(E::CoordinatorNotAvailable));
    for code in [E::MemberIdRequired, E::UnknownMemberId, E::RebalanceInProgress, E::NotCoordinator] {
        let error = join(&[], vec![(ApiKey::JoinGroup, vec![joined(code)])], IMPATIENT).unwrap_err();
        assert_eq!(error.code(), Some(code));
    }
    for code in [E::FencedInstanceId, E::InconsistentGroupProtocol, E::GroupMaxSizeReached, E::InvalidGroupId]
    {
        let error = join(&[], vec![(ApiKey::JoinGroup, vec![joined(code)])], IMPATIENT).unwrap_err();
        assert_eq!(error.code(), Some(code));
    }
    let script = |assignment| {
        vec![
            (ApiKey::JoinGroup, vec![joined(E::None)]),
            (ApiKey::SyncGroup, vec![synced(E::None, Bytes::from_static(assignment))]),
        ]
    };
    for nonsense in
        [&b"\0"[..], b"\xff\xff", b"\0\0\x7f\xff\xff\xff", b"\0\0\0\0\0\x01\0\x01t\x7f\xff\xff\xff"]
    {
        let error = join(&[], script(nonsense), IMPATIENT).unwrap_err();
        assert!(error.to_string().contains("assignment"), "{error}");
    }
    let stranger = FindCoordinatorResponse {
        coordinators: vec![Coordinator { key: Str::from("other"), ..Default::default() }],
        ..Default::default()
    };
    let broker = broker(vec![(ApiKey::FindCoordinator, vec![Reply::Answer(stranger.into())])]);
    let error = block_on(async { groups::find_coordinator(&broker.cluster(), "g").await.unwrap_err() });
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
}

#[test]
fn a_member_is_told_when_its_generation_is_over() {
    use ErrorCode as E;
    for (code, joins_again) in [
        (E::RebalanceInProgress, true),
        (E::IllegalGeneration, true),
        (E::UnknownMemberId, true),
        (E::FencedInstanceId, false),
        (E::GroupAuthorizationFailed, false),
    ] {
        let script = vec![
            (ApiKey::JoinGroup, vec![joined(E::None)]),
            (ApiKey::SyncGroup, vec![synced(E::None, given())]),
            // A coordinator that moves is looked for; one that is silent once is asked again.
            (ApiKey::Heartbeat, vec![beaten(E::None), beaten(E::NotCoordinator), Reply::Close, beaten(code)]),
        ];
        let broker = beside_coordinator(&[], script);
        block_on(async {
            let mut member = member(&broker, PATIENT);
            member.join().await.unwrap();
            let refusal = member.lost().await;
            assert_eq!(refusal.code(), Some(code));
            assert_eq!(member.may_join_again(&refusal), joins_again, "{refusal}");
        });
    }
}
