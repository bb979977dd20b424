//! CreateTopics and DeleteTopics as the controller decides them: Kafka's codes, and our defaults.

use seedlog_core::cluster::decide::{decide_create_partitions, decide_create_topics, decide_delete_topics};
use seedlog_core::cluster::image::Image;
use seedlog_core::cluster::records::{MetadataRecord, PartitionState};
use seedlog_core::config::{AdvertisedListener, Config};
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, RunId, Uuid};
use seedlog_core::wire::create_partitions::CreatePartitionsTopic;
use seedlog_core::wire::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult,
};
use seedlog_core::wire::delete_topics::DeleteTopicState;
use seedlog_core::wire::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, Str};

const ID: Uuid = Uuid([5; 16]);

/// Active brokers with ids from 1.
fn image(brokers: u8) -> Image {
    let mut image = Image::default();
    for node in 1..=brokers {
        let registered = MetadataRecord::RegisterBroker {
            node_id: NodeId(node.into()),
            broker_epoch: BrokerEpoch(image.end().0),
            incarnation: Uuid([node; 16]),
            run: RunId(1),
            rack: None,
            listeners: Vec::new(),
            peer_listener: None,
        };
        image.replay(image.end(), &[registered]);
    }
    image
}

fn fence(image: &mut Image, node: i32) {
    let fenced = MetadataRecord::BrokerState { node_id: NodeId(node), fenced: true, shutting_down: false };
    image.replay(image.end(), &[fenced]);
}

fn config() -> Config {
    Config::new(NodeId(1), Uuid([1; 16]), AdvertisedListener { host: "host".into(), port: 9092 })
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.to_string().into(),
        num_partitions,
        replication_factor,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

fn with(topic: CreatableTopic, key: &'static str, value: &'static str) -> CreatableTopic {
    let config = CreatableTopicConfig { name: Str::from_static(key), value: Some(Str::from_static(value)) };
    CreatableTopic { configs: vec![config], ..topic }
}

fn assigned(name: &str, brokers: &[&[i32]]) -> CreatableTopic {
    let assignment = |(partition_index, ids): (i32, &&[i32])| CreatableReplicaAssignment {
        partition_index,
        broker_ids: ids.to_vec(),
    };
    CreatableTopic { assignments: (0..).zip(brokers).map(assignment).collect(), ..topic(name, -1, -1) }
}

fn create(image: &Image, topic: CreatableTopic) -> (Vec<MetadataRecord>, CreatableTopicResult) {
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, validate_only: false };
    let mut decision = decide_create_topics(image, &config(), &request, || ID);
    (decision.records, decision.response.topics.remove(0))
}

fn code(image: &Image, topic: CreatableTopic) -> ErrorCode {
    let (records, result) = create(image, topic);
    let code = ErrorCode::from_code(result.error_code).expect("it is one of Kafka's");
    assert_eq!(records.is_empty(), code != ErrorCode::None);
    assert_eq!(result.error_message.is_some(), code != ErrorCode::None);
    code
}

fn min_insync(records: &[MetadataRecord]) -> i32 {
    let Some(MetadataRecord::Topic { min_insync_replicas, .. }) = records.first() else {
        panic!("the topic comes first: {records:?}");
    };
    *min_insync_replicas
}

#[test]
fn without_a_factor_a_topic_has_three_replicas_and_needs_a_majority() {
    for (brokers, factor, min_insync_replicas) in [(1, 1, 1), (2, 2, 2), (3, 3, 2), (5, 3, 2)] {
        let (records, result) = create(&image(brokers), topic("t", 2, -1));
        assert_eq!((result.num_partitions, result.replication_factor), (2, factor));
        assert_eq!(min_insync(&records), min_insync_replicas);
        let configs = result.configs.unwrap();
        let shown = configs.iter().find(|config| &*config.name == "min.insync.replicas").unwrap();
        assert_eq!(
            (shown.value.as_deref(), shown.config_source),
            (Some(&*min_insync_replicas.to_string()), 5)
        );
    }
}

#[test]
fn a_new_partition_is_led_and_in_sync() {
    let (records, _) = create(&image(3), topic("t", 1, 3));
    let state = PartitionState {
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        isr: vec![NodeId(1), NodeId(2), NodeId(3)],
        ..PartitionState::default()
    };
    let replicas = state.isr.clone();
    let partition = PartitionIndex(0);
    assert_eq!(records[1..], [MetadataRecord::Partition { topic_id: ID, partition, replicas, state }]);
}

#[test]
fn replicas_go_to_active_brokers_and_there_must_be_enough() {
    let mut image = image(3);
    fence(&mut image, 1);
    let (records, _) = create(&image, topic("t", 1, -1));
    let Some(MetadataRecord::Partition { replicas, .. }) = records.last() else { panic!("{records:?}") };
    assert_eq!(replicas, &[NodeId(2), NodeId(3)]);
    assert_eq!(code(&image, topic("t", 1, 3)), ErrorCode::InvalidReplicationFactor);
    assert_eq!(code(&image, topic("t", 1, 0)), ErrorCode::InvalidReplicationFactor);
    assert_eq!(code(&image, topic("t", 0, 1)), ErrorCode::InvalidPartitions);
    fence(&mut image, 2);
    fence(&mut image, 3);
    assert_eq!(code(&image, topic("t", 1, -1)), ErrorCode::InvalidReplicationFactor);
}

#[test]
fn min_insync_replicas_must_be_within_reach() {
    let image = image(3);
    let of = |value, factor| with(topic("t", 1, factor), "min.insync.replicas", value);
    assert_eq!(code(&image, of("3", 2)), ErrorCode::InvalidConfig);
    assert_eq!(code(&image, of("0", 2)), ErrorCode::InvalidConfig);
    let (records, _) = create(&image, of("1", 3));
    assert_eq!(min_insync(&records), 1);
}

#[test]
fn a_manual_assignment_needs_one_active_replica() {
    let mut image = image(3);
    fence(&mut image, 2);
    let (records, _) = create(&image, assigned("t", &[&[2, 3], &[1, 2]]));
    let state = |record: &MetadataRecord| {
        let MetadataRecord::Partition { replicas, state, .. } = record else { panic!("{record:?}") };
        (replicas.len(), state.leader, state.isr.clone())
    };
    let states: Vec<_> = records[1..].iter().map(state).collect();
    let alone = |node| (2, Some(NodeId(node)), vec![NodeId(node)]);
    assert_eq!(states, [alone(3), alone(1)]);
    for wrong in [&[&[2][..]][..], &[&[4]], &[&[1, 1]], &[&[1], &[1, 3]], &[&[]]] {
        assert_eq!(code(&image, assigned("t", wrong)), ErrorCode::InvalidReplicaAssignment, "{wrong:?}");
    }
    let both = CreatableTopic { replication_factor: 1, ..assigned("t", &[&[1]]) };
    assert_eq!(code(&image, both), ErrorCode::InvalidRequest);
}

#[test]
fn names_follow_kafkas_rules() {
    let mut image = image(1);
    for wrong in ["", ".", "..", "a b", &"x".repeat(250)] {
        assert_eq!(code(&image, topic(wrong, 1, 1)), ErrorCode::InvalidTopicException, "{wrong:?}");
    }
    let (records, _) = create(&image, topic("a.b", 1, 1));
    image.replay(image.end(), &records);
    assert_eq!(code(&image, topic("a.b", 1, 1)), ErrorCode::TopicAlreadyExists);
    assert_eq!(
        code(&image, topic("a_b", 1, 1)),
        ErrorCode::InvalidTopicException,
        "metric names would collide"
    );
}

#[test]
fn a_topic_named_twice_is_answered_once() {
    let image = image(1);
    let topics = vec![topic("t", 1, 1), topic("u", 1, 1), topic("t", 1, 1)];
    let request = CreateTopicsRequest { topics, timeout_ms: 1000, validate_only: false };
    let decision = decide_create_topics(&image, &config(), &request, || ID);
    let codes: Vec<_> =
        decision.response.topics.iter().map(|topic| (&*topic.name, topic.error_code)).collect();
    assert_eq!(codes, [("t", ErrorCode::InvalidRequest.code()), ("u", 0)]);
    let request =
        CreateTopicsRequest { topics: vec![topic("t", 1, 1)], timeout_ms: 1000, validate_only: true };
    let decision = decide_create_topics(&image, &config(), &request, || panic!("no id is drawn"));
    assert_eq!(decision.records, []);
    assert_eq!(decision.response.topics[0].error_code, 0);
}

#[test]
fn a_topic_is_deleted_by_name_or_by_id() {
    let mut image = image(1);
    let (records, _) = create(&image, topic("t", 1, 1));
    image.replay(image.end(), &records);
    let named =
        |name: &'static str, topic_id| DeleteTopicState { name: Some(Str::from_static(name)), topic_id };
    let by_id = |topic_id| DeleteTopicState { name: None, topic_id };
    let states = [
        named("t", Uuid::ZERO),
        by_id(ID),
        named("u", Uuid::ZERO),
        by_id(Uuid([9; 16])),
        named("t", ID),
        by_id(Uuid::ZERO),
    ];
    let request = DeleteTopicsRequest { topics: states.to_vec(), topic_names: Vec::new(), timeout_ms: 1000 };
    let decision = decide_delete_topics(&image, &request);
    assert_eq!(decision.records, [MetadataRecord::RemoveTopic { topic_id: ID }]);
    let codes: Vec<_> = decision
        .response
        .responses
        .iter()
        .map(|response| ErrorCode::from_code(response.error_code).unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            ErrorCode::None,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::UnknownTopicId,
            ErrorCode::InvalidRequest,
            ErrorCode::InvalidRequest
        ]
    );
}

#[test]
fn a_request_writes_no_more_than_a_peer_takes_at_a_time() {
    let mut image = image(7);
    let names: Vec<String> = (0..4).map(|number| format!("t{number}")).collect();
    let wide = names.iter().map(|name| topic(name, 20_000, 7)).collect();
    let request = CreateTopicsRequest { topics: wide, timeout_ms: 1000, validate_only: false };
    let mut ids = 0;
    let decision = decide_create_topics(&image, &config(), &request, || {
        ids += 1;
        Uuid([ids; 16])
    });
    let codes: Vec<i16> = decision.response.topics.iter().map(|topic| topic.error_code).collect();
    let too_much = ErrorCode::PolicyViolation.code();
    assert_eq!(codes, [0, too_much, too_much, too_much]);
    assert!(MetadataRecord::encode(&decision.records).len() <= 4 << 20);

    for number in 1..4 {
        let narrow = Uuid([number + 100; 16]);
        let request = CreateTopicsRequest {
            topics: vec![topic(&names[usize::from(number)], 1, 7)],
            timeout_ms: 1000,
            validate_only: false,
        };
        let decision = decide_create_topics(&image, &config(), &request, || narrow);
        image.replay(image.end(), &decision.records);
    }
    let grown = names[1..].iter().map(|name| CreatePartitionsTopic {
        name: Str::from(name.as_str()),
        count: 20_000,
        assignments: None,
    });
    let request = CreatePartitionsRequest { topics: grown.collect(), timeout_ms: 1000, validate_only: false };
    let decision = decide_create_partitions(&image, &config(), &request);
    let codes: Vec<i16> = decision.response.results.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, too_much, too_much]);
    assert!(MetadataRecord::encode(&decision.records).len() <= 4 << 20);
}
