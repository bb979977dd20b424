//! The controller's decisions about brokers and partitions, one story each. A partition's state reads as
//! `leader 1 @0 isr 1 2 3 elr - ...`: the leader, its epoch, the ISR, the ELR, and what else there is to say.

use std::fmt::Write;

use seedlog_core::cluster::decide::{
    AlterRefusal, RegisterRefusal, Registration, decide_alter_partition, decide_elect_leaders, decide_fence,
    decide_lost, decide_producer_ids, decide_rebalance, decide_register, decide_shutdown, decide_sweep,
    decide_unfence,
};
use seedlog_core::cluster::image::Image;
use seedlog_core::cluster::records::{MetadataRecord, PartitionState};
use seedlog_core::cluster::topic_config::TopicConfig;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, ProducerId, RunId,
    TopicPartition, Uuid,
};
use seedlog_core::peer::AlterPartition;
use seedlog_core::wire::ElectLeadersRequest;
use seedlog_core::wire::elect_leaders::ElectLeadersTopic;

const TOPIC: Uuid = Uuid([7; 16]);
const P0: TopicPartition = TopicPartition { topic_id: TOPIC, partition: PartitionIndex(0) };

struct Cluster {
    image: Image,
    runs: u64,
}

impl Cluster {
    /// Brokers 1, 2, .. and a topic with one partition on all of them.
    fn new(brokers: u8, min_insync_replicas: i32) -> Self {
        let mut cluster = Self { image: Image::default(), runs: 0 };
        for node in 1..=brokers {
            let registration = cluster.run(node);
            cluster.register(&registration);
        }
        let replicas: Vec<NodeId> = (1..=i32::from(brokers)).map(NodeId).collect();
        let topic = MetadataRecord::Topic {
            topic_id: TOPIC,
            name: "t".into(),
            config: TopicConfig::default(),
            min_insync_replicas,
        };
        cluster.write(&[topic]);
        cluster.partition(0, &replicas);
        cluster
    }

    fn partition(&mut self, index: i32, replicas: &[NodeId]) {
        let record = MetadataRecord::Partition {
            topic_id: TOPIC,
            partition: PartitionIndex(index),
            replicas: replicas.to_vec(),
            state: PartitionState::first(replicas[0], replicas.to_vec()),
        };
        self.write(&[record]);
    }

    fn write(&mut self, records: &[MetadataRecord]) {
        if !records.is_empty() {
            self.image.replay(self.image.end(), records);
            self.image.check_invariants();
        }
    }

    /// A new run of a node with its old folder.
    fn run(&mut self, node: u8) -> Registration {
        self.runs += 1;
        Registration {
            node_id: NodeId(node.into()),
            incarnation: Uuid([node; 16]),
            run: RunId(self.runs),
            rack: None,
            listeners: vec![("host".into(), 9092)],
            peer_listener: None,
            is_unclean: false,
            lost: Vec::new(),
            doubtful: Vec::new(),
        }
    }

    fn register(&mut self, registration: &Registration) {
        let records =
            decide_register(&self.image, self.image.end(), registration).expect("it is not refused");
        self.write(&records);
    }

    fn restart(&mut self, node: u8) {
        let registration = self.run(node);
        self.register(&registration);
    }

    fn restart_uncleanly(&mut self, node: u8) {
        let registration = Registration { is_unclean: true, ..self.run(node) };
        self.register(&registration);
    }

    /// Comes back after a power cut; its log ends with this epoch, here.
    fn restart_in_doubt(&mut self, node: u8, epoch: i32, end: i64) {
        let doubtful = vec![(P0, Some(LeaderEpoch(epoch)), Offset(end))];
        let registration = Registration { doubtful, ..self.run(node) };
        self.register(&registration);
    }

    /// Comes back with an empty disk, after its session ended.
    fn wipe(&mut self, node: u8) {
        self.fence(&[node.into()]);
        let registration = Registration { incarnation: Uuid([node + 100; 16]), ..self.run(node) };
        self.register(&registration);
    }

    fn fence(&mut self, nodes: &[i32]) {
        let nodes: Vec<NodeId> = nodes.iter().map(|&node| NodeId(node)).collect();
        let records = decide_fence(&self.image, &nodes);
        self.write(&records);
    }

    /// A live broker cannot read back part of what it holds, and knows this leader epoch.
    fn lose(&mut self, node: i32, known: i32) {
        let records = decide_lost(&self.image, NodeId(node), &[(P0, LeaderEpoch(known))]);
        self.write(&records);
    }

    /// Elections of preferred leaders: the records, and a code for each partition.
    fn prefer(&self, partitions: &[i32]) -> (Vec<MetadataRecord>, Vec<ErrorCode>) {
        let topic = ElectLeadersTopic { topic: "t".into(), partitions: partitions.to_vec() };
        let request = ElectLeadersRequest { topic_partitions: Some(vec![topic]), ..Default::default() };
        let decided = decide_elect_leaders(&self.image, &request);
        let results = decided.response.replica_election_results.iter().flat_map(|it| &it.partition_result);
        let codes = results.filter_map(|it| ErrorCode::from_code(it.error_code)).collect();
        (decided.records, codes)
    }

    /// What the leader of partition 0 would send for this ISR.
    fn proposal(&self, isr: &[i32]) -> AlterPartition {
        let state = &self.image.partition(P0).expect("it exists").state;
        AlterPartition {
            broker_epoch: self.image.brokers()[&state.leader.expect("it is led")].epoch,
            partition: P0,
            epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr: isr.iter().map(|&node| (NodeId(node), self.image.brokers()[&NodeId(node)].epoch)).collect(),
            lost: Vec::new(),
        }
    }

    fn propose(&mut self, request: &AlterPartition) -> Result<(), AlterRefusal> {
        let leader =
            self.image.partition(P0).and_then(|partition| partition.state.leader).expect("it is led");
        let records = decide_alter_partition(&self.image, leader, request)?;
        self.write(&records);
        Ok(())
    }

    fn alter(&mut self, isr: &[i32]) {
        let request = self.proposal(isr);
        self.propose(&request).expect("it is accepted");
    }

    fn state(&self) -> String {
        self.state_of(0)
    }

    fn state_of(&self, index: i32) -> String {
        let name = TopicPartition { topic_id: TOPIC, partition: PartitionIndex(index) };
        let state = &self.image.partition(name).expect("it exists").state;
        let list = |nodes: &[NodeId]| match nodes {
            [] => "-".to_string(),
            nodes => nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" "),
        };
        let leader = state.leader.map_or("-".into(), |leader| leader.to_string());
        let mut text = format!(
            "leader {leader} @{} isr {} elr {}",
            state.leader_epoch,
            list(&state.isr),
            list(&state.elr)
        );
        if !state.doubts.is_empty() {
            let doubts: Vec<NodeId> = state.doubts.iter().map(|doubt| doubt.node).collect();
            write!(text, " doubt {}", list(&doubts)).expect("text takes all");
        }
        if let Some(node) = state.last_known {
            write!(text, " last known {node}").expect("text takes all");
        }
        if let Some(epoch) = state.unclean_epoch {
            write!(text, " unclean @{epoch}").expect("text takes all");
        }
        text
    }
}

#[test]
fn a_silent_leader_is_followed_by_the_next_of_the_isr() {
    let mut cluster = Cluster::new(3, 2);
    assert_eq!(cluster.state(), "leader 1 @0 isr 1 2 3 elr -");
    cluster.fence(&[1]);
    assert_eq!(cluster.state(), "leader 2 @1 isr 2 3 elr -");
    assert!(cluster.image.brokers()[&NodeId(1)].fenced);
}

// KIP-966: the ISR may be empty; those who were in it when it became too small stay eligible.
#[test]
fn members_that_leave_an_isr_below_min_insync_stay_eligible() {
    let mut cluster = Cluster::new(3, 2);
    cluster.fence(&[3]);
    cluster.fence(&[2]);
    assert_eq!(cluster.state(), "leader 1 @0 isr 1 elr 2", "3 left while the watermark could move");
    cluster.fence(&[1]);
    assert_eq!(cluster.state(), "leader - @1 isr - elr 1 2");
    cluster.restart(3);
    assert_eq!(cluster.state(), "leader - @1 isr - elr 1 2", "3 may lack records");
    cluster.restart(2);
    assert_eq!(cluster.state(), "leader 2 @1 isr 2 elr 1", "an ISR of one; 1 is eligible still");
    cluster.alter(&[2, 3]);
    assert_eq!(cluster.state(), "leader 2 @1 isr 2 3 elr -", "the watermark moves without 1 from here on");
}

// C9, KAFKA-13173.
#[test]
fn brokers_that_fall_silent_together_leave_together() {
    let mut cluster = Cluster::new(3, 2);
    cluster.fence(&[1, 2]);
    assert_eq!(cluster.state(), "leader 3 @1 isr 3 elr 1 2");
    let mut cluster = Cluster::new(3, 2);
    cluster.fence(&[1, 2, 3]);
    assert_eq!(cluster.state(), "leader - @1 isr - elr 1 2 3");
}

// SAFETY R2.
#[test]
fn a_restarted_leader_leads_in_a_new_epoch_only() {
    let mut cluster = Cluster::new(1, 1);
    cluster.restart(1);
    assert_eq!(cluster.state(), "leader 1 @1 isr 1 elr -");
    let mut cluster = Cluster::new(3, 2);
    let end = cluster.image.end();
    cluster.restart(1);
    assert_eq!(cluster.state(), "leader 1 @1 isr 1 2 3 elr -", "it has all that it acknowledged");
    assert_eq!(
        cluster.image.brokers()[&NodeId(1)].epoch,
        BrokerEpoch(end.0),
        "KIP-631: the entry's own offset"
    );
}

#[test]
fn a_run_registers_once_and_is_unfenced_when_it_registers_again() {
    let mut cluster = Cluster::new(2, 2);
    let registration = cluster.run(1);
    cluster.register(&registration);
    assert_eq!(decide_register(&cluster.image, cluster.image.end(), &registration), Ok(Vec::new()));
    let epoch = cluster.image.brokers()[&NodeId(1)].epoch;
    cluster.fence(&[1, 2]);
    assert_eq!(cluster.state(), "leader - @2 isr - elr 1 2");
    cluster.register(&registration);
    assert_eq!(cluster.state(), "leader 1 @2 isr 1 elr 2");
    assert_eq!(cluster.image.brokers()[&NodeId(1)].epoch, epoch, "the same registration");
    assert_eq!(decide_unfence(&cluster.image, NodeId(1)), [], "it is not fenced");
}

#[test]
fn a_node_id_belongs_to_a_folder_and_a_folder_to_a_node_id() {
    let mut cluster = Cluster::new(2, 2);
    let other = Registration { incarnation: Uuid([9; 16]), ..cluster.run(1) };
    let refused = decide_register(&cluster.image, cluster.image.end(), &other);
    assert_eq!(refused, Err(RegisterRefusal::NodeIdTaken));
    let copied = Registration { incarnation: Uuid([2; 16]), ..cluster.run(3) };
    let refused = decide_register(&cluster.image, cluster.image.end(), &copied);
    assert_eq!(refused, Err(RegisterRefusal::FolderTaken(NodeId(2))));
}

// DESIGN 4: one that comes back without its disk is a new replica.
#[test]
fn a_wiped_broker_is_a_new_replica() {
    let mut cluster = Cluster::new(2, 2);
    cluster.wipe(2);
    assert_eq!(cluster.state(), "leader 1 @0 isr 1 elr -", "nothing of 2 is left");
    cluster.wipe(1);
    assert_eq!(cluster.state(), "leader - @1 isr - elr -", "nobody has the records");
    assert_eq!(decide_sweep(&cluster.image), []);
}

// SAFETY R5, C5: KIP-966's last replica standing.
#[test]
fn a_last_replica_that_stopped_uncleanly_gives_way_to_the_eligible() {
    let mut cluster = Cluster::new(3, 2);
    cluster.fence(&[1]);
    cluster.fence(&[2]);
    assert_eq!(cluster.state(), "leader 3 @2 isr 3 elr 2");
    cluster.restart_uncleanly(3);
    assert_eq!(cluster.state(), "leader - @3 isr - elr 2");
    cluster.restart(2);
    assert_eq!(cluster.state(), "leader 2 @3 isr 2 elr -");
}

// SAFETY R5: the partition waits for the last one by name, and is not called clean.
#[test]
fn the_last_that_had_everything_leads_by_name() {
    let mut cluster = Cluster::new(2, 1);
    cluster.fence(&[2]);
    cluster.restart_uncleanly(2);
    assert_eq!(cluster.state(), "leader 1 @0 isr 1 elr -");
    cluster.restart_uncleanly(1);
    assert_eq!(cluster.state(), "leader 1 @1 isr 1 elr - unclean @1", "2 is not asked, though it is there");
    cluster.restart(1);
    assert_eq!(cluster.state(), "leader 1 @2 isr 1 elr - unclean @1", "what was cut then stays cut");
}

// SAFETY J5.
#[test]
fn a_replica_that_lost_records_is_out_and_the_last_one_leads_nothing() {
    let mut cluster = Cluster::new(2, 1);
    let lost = vec![P0];
    let registration = Registration { lost: lost.clone(), ..cluster.run(1) };
    cluster.register(&registration);
    assert_eq!(cluster.state(), "leader 2 @1 isr 2 elr -");
    let registration = Registration { lost, is_unclean: true, ..cluster.run(2) };
    cluster.register(&registration);
    assert_eq!(cluster.state(), "leader - @2 isr - elr -");
    cluster.restart(2);
    assert_eq!(cluster.state(), "leader - @2 isr - elr -", "not even by name");
}

// SAFETY J4.
#[test]
fn a_replica_that_rots_under_a_live_broker_is_out_and_another_one_leads() {
    let mut cluster = Cluster::new(3, 2);
    cluster.lose(1, 0);
    assert_eq!(cluster.state(), "leader 2 @1 isr 2 3 elr -");
    cluster.lose(1, 0);
    assert_eq!(cluster.state(), "leader 2 @1 isr 2 3 elr -", "said twice");
    cluster.fence(&[3]);
    cluster.lose(2, 1);
    assert_eq!(cluster.state(), "leader - @2 isr - elr 3", "what was lost is eligible for nothing");
}

// Seed 1,357 of the whole world: the leader went by what the follower had acknowledged, and brought it back at once.
#[test]
fn what_a_replica_acknowledged_before_it_rots_counts_no_more() {
    let mut cluster = Cluster::new(3, 2);
    let before = cluster.proposal(&[1, 2]);
    cluster.lose(3, 0);
    assert_eq!(cluster.state(), "leader 1 @1 isr 1 2 elr -");
    assert_eq!(
        decide_alter_partition(&cluster.image, NodeId(1), &before),
        Err(AlterRefusal::FencedLeaderEpoch)
    );
    let again = cluster.proposal(&[1, 2, 3]);
    cluster.lose(3, 0);
    assert_eq!(cluster.state(), "leader 1 @1 isr 1 2 elr -", "said twice");
    cluster.lose(3, 1);
    assert_eq!(cluster.state(), "leader 1 @2 isr 1 2 elr -", "it was about to be back");
    assert_eq!(
        decide_alter_partition(&cluster.image, NodeId(1), &again),
        Err(AlterRefusal::FencedLeaderEpoch)
    );
    cluster.lose(4, 2);
    assert_eq!(cluster.state(), "leader 1 @2 isr 1 2 elr -", "it is no replica");
}

// Seed 772 of the simulator: the last member of the ISR was about to stop when its copy was found to rot.
#[test]
fn a_stopping_leader_that_rots_leads_no_longer() {
    let mut cluster = Cluster::new(3, 2);
    cluster.fence(&[2, 3]);
    let records = decide_shutdown(&cluster.image, NodeId(1)).records;
    cluster.write(&records);
    cluster.lose(1, 0);
    assert_eq!(cluster.state(), "leader - @1 isr - elr 2 3");
}

#[test]
fn doubt_gives_way_to_members_without_and_ends_in_the_isr() {
    let mut cluster = Cluster::new(2, 2);
    cluster.restart_in_doubt(1, 0, 10);
    assert_eq!(cluster.state(), "leader 2 @1 isr 2 elr 1 doubt 1");
    cluster.fence(&[2]);
    assert_eq!(cluster.state(), "leader - @2 isr - elr 1 2 doubt 1", "2 may return");
    cluster.restart(2);
    assert_eq!(cluster.state(), "leader 2 @2 isr 2 elr 1 doubt 1");
    cluster.alter(&[2, 1]);
    assert_eq!(cluster.state(), "leader 2 @2 isr 1 2 elr -", "a leader saw it catch up");
}

// SAFETY J4: only after all have reported, the longest (epoch, end).
#[test]
fn when_all_are_in_doubt_the_longest_leads() {
    let mut cluster = Cluster::new(3, 3);
    cluster.restart_in_doubt(1, 0, 90);
    cluster.restart_in_doubt(2, 0, 91);
    assert_eq!(cluster.state(), "leader 3 @2 isr 3 elr 1 2 doubt 1 2", "nobody knows yet that 3 is down");
    cluster.restart_in_doubt(3, 0, 90);
    assert_eq!(cluster.state(), "leader 2 @3 isr 2 elr 1 3 doubt 1 3");
    cluster.wipe(2);
    assert_eq!(
        cluster.state(),
        "leader 1 @4 isr 1 elr 3",
        "logs that end alike are alike: 3 is as good as 1"
    );
    let mut cluster = Cluster::new(2, 2);
    cluster.restart_in_doubt(2, 4, 50);
    cluster.fence(&[2]);
    cluster.restart_in_doubt(1, 3, 70);
    assert_eq!(cluster.state(), "leader - @1 isr - elr 1 2 doubt 1 2", "the longest is waited for");
    cluster.restart(2);
    assert_eq!(cluster.state(), "leader 2 @1 isr 2 elr 1 doubt 1", "a newer epoch is longer");
}

// KIP-841.
#[test]
fn a_stopping_broker_hands_over_what_others_can_lead() {
    let mut cluster = Cluster::new(3, 2);
    cluster.partition(1, &[NodeId(1)]);
    let shutdown = decide_shutdown(&cluster.image, NodeId(1));
    cluster.write(&shutdown.records);
    assert_eq!(cluster.state(), "leader 2 @1 isr 2 3 elr -");
    assert_eq!(cluster.state_of(1), "leader 1 @0 isr 1 elr -", "nobody else can");
    assert_eq!((shutdown.leads.len(), shutdown.may_stop), (1, true));
    assert_eq!(decide_shutdown(&cluster.image, NodeId(1)).records, [], "asking twice changes nothing");
    let request = cluster.proposal(&[2, 3, 1]);
    assert_eq!(cluster.propose(&request), Err(AlterRefusal::Ineligible(NodeId(1))));
    cluster.restart(1);
    assert!(cluster.image.brokers()[&NodeId(1)].is_active());
}

#[test]
fn a_stopping_broker_waits_for_one_that_is_catching_up() {
    let mut cluster = Cluster::new(2, 1);
    cluster.alter(&[1]);
    let shutdown = decide_shutdown(&cluster.image, NodeId(1));
    assert_eq!((shutdown.leads.as_slice(), shutdown.may_stop), (&[P0][..], false));
    cluster.write(&shutdown.records);
    assert_eq!(cluster.state(), "leader 1 @0 isr 1 elr -");
    cluster.alter(&[1, 2]);
    assert_eq!(cluster.state(), "leader 2 @1 isr 2 elr -", "it takes over the moment that it can");
    assert!(decide_shutdown(&cluster.image, NodeId(1)).may_stop);
}

#[test]
fn a_stale_or_wrong_proposal_is_refused() {
    let mut cluster = Cluster::new(3, 2);
    let right = cluster.proposal(&[1, 2]);
    let refuse = |cluster: &mut Cluster, request: AlterPartition| cluster.propose(&request).unwrap_err();
    let wrong = AlterPartition { broker_epoch: BrokerEpoch(99), ..right.clone() };
    assert_eq!(refuse(&mut cluster, wrong), AlterRefusal::StaleBrokerEpoch);
    let wrong =
        AlterPartition { partition: TopicPartition { topic_id: Uuid([1; 16]), ..P0 }, ..right.clone() };
    assert_eq!(refuse(&mut cluster, wrong), AlterRefusal::UnknownPartition);
    let wrong = AlterPartition { epoch: LeaderEpoch(1), ..right.clone() };
    assert_eq!(refuse(&mut cluster, wrong), AlterRefusal::NotController);
    let wrong = AlterPartition { partition_epoch: PartitionEpoch(1), ..right.clone() };
    assert_eq!(refuse(&mut cluster, wrong), AlterRefusal::NotController);
    for isr in [&[2, 3][..], &[1, 1], &[]] {
        let wrong = cluster.proposal(isr);
        assert_eq!(refuse(&mut cluster, wrong), AlterRefusal::InvalidIsr);
    }
    cluster.propose(&right).unwrap();
    assert_eq!(refuse(&mut cluster, right.clone()), AlterRefusal::StalePartitionEpoch);
    cluster.fence(&[1]);
    assert_eq!(
        decide_alter_partition(&cluster.image, NodeId(1), &right),
        Err(AlterRefusal::FencedLeaderEpoch)
    );
    let wrong = AlterPartition { epoch: LeaderEpoch(1), ..right };
    assert_eq!(decide_alter_partition(&cluster.image, NodeId(1), &wrong), Err(AlterRefusal::NotLeader));
}

// KIP-903 and KIP-841: C3, C4.
#[test]
fn a_member_is_taken_only_as_the_run_that_the_leader_knows() {
    let mut cluster = Cluster::new(3, 2);
    cluster.alter(&[1, 2]);
    let request = cluster.proposal(&[1, 2, 3]);
    cluster.restart(3);
    assert_eq!(cluster.propose(&request), Err(AlterRefusal::Ineligible(NodeId(3))));
    let request = cluster.proposal(&[1, 2, 3]);
    cluster.fence(&[3]);
    assert_eq!(cluster.propose(&request), Err(AlterRefusal::Ineligible(NodeId(3))));
    assert_eq!(AlterRefusal::Ineligible(NodeId(3)).code(), ErrorCode::IneligibleReplica);
}

#[test]
fn the_same_isr_is_a_new_state_so_that_older_proposals_end() {
    let mut cluster = Cluster::new(2, 1);
    let older = cluster.proposal(&[1]);
    cluster.alter(&[1, 2]);
    assert_eq!(cluster.propose(&older), Err(AlterRefusal::StalePartitionEpoch));
    assert_eq!(cluster.image.partition(P0).unwrap().state.partition_epoch, PartitionEpoch(1));
}

// SAFETY R5: in any mode.
#[test]
fn a_replica_below_what_it_acknowledged_is_not_eligible() {
    let mut cluster = Cluster::new(2, 2);
    let request = AlterPartition { lost: vec![NodeId(2)], ..cluster.proposal(&[1]) };
    cluster.propose(&request).unwrap();
    assert_eq!(cluster.state(), "leader 1 @0 isr 1 elr -");
    let request = AlterPartition { lost: vec![NodeId(2)], ..cluster.proposal(&[1, 2]) };
    assert_eq!(cluster.propose(&request), Err(AlterRefusal::InvalidIsr));
}

#[test]
fn a_new_controller_finishes_what_is_half_done() {
    let mut cluster = Cluster::new(3, 2);
    for node in [1, 2] {
        let fenced =
            MetadataRecord::BrokerState { node_id: NodeId(node), fenced: true, shutting_down: false };
        cluster.write(&[fenced]);
    }
    assert_eq!(cluster.state(), "leader 1 @0 isr 1 2 3 elr -");
    cluster.write(&decide_sweep(&cluster.image));
    assert_eq!(cluster.state(), "leader 3 @1 isr 3 elr 1 2");
    assert_eq!(decide_sweep(&cluster.image), []);
}

#[test]
fn leadership_goes_back_to_preferred_leaders_that_are_in_sync() {
    let mut cluster = Cluster::new(3, 1);
    for index in 1..21 {
        cluster.partition(index, &[NodeId(1), NodeId(2)]);
    }
    cluster.fence(&[1]);
    cluster.restart(1);
    assert_eq!(
        cluster.prefer(&[0, 99]).1,
        [ErrorCode::PreferredLeaderNotAvailable, ErrorCode::UnknownTopicOrPartition]
    );
    assert_eq!(decide_rebalance(&cluster.image), [], "1 is not in sync anywhere");
    cluster.alter(&[2, 3, 1]);
    let (records, codes) = cluster.prefer(&[0, 0]);
    assert_eq!(codes, [ErrorCode::None, ErrorCode::None]);
    assert_eq!(records.len(), 1);
    assert_eq!(decide_rebalance(&cluster.image), records);
    cluster.write(&records);
    assert_eq!(cluster.state(), "leader 1 @2 isr 1 2 3 elr -");
    assert_eq!(cluster.prefer(&[0]), (vec![], vec![ErrorCode::ElectionNotNeeded]));
}

#[test]
fn small_imbalance_is_left_alone() {
    let mut cluster = Cluster::new(2, 1);
    for index in 1..10 {
        cluster.partition(index, &[NodeId(1), NodeId(2)]);
    }
    let state = PartitionState {
        leader: Some(NodeId(2)),
        leader_epoch: LeaderEpoch(1),
        partition_epoch: PartitionEpoch(1),
        ..PartitionState::first(NodeId(1), vec![NodeId(1), NodeId(2)])
    };
    let moved = |partition| MetadataRecord::PartitionChange {
        topic_id: TOPIC,
        partition: PartitionIndex(partition),
        state: state.clone(),
    };
    cluster.write(&[moved(0)]);
    assert_eq!(decide_rebalance(&cluster.image), [], "a tenth is tolerated");
    cluster.write(&[moved(1)]);
    assert_eq!(decide_rebalance(&cluster.image).len(), 2);
}

#[test]
fn producer_ids_are_given_in_blocks() {
    let mut cluster = Cluster::new(1, 1);
    let block = |first, next| MetadataRecord::ProducerIds {
        node_id: NodeId(1),
        broker_epoch: BrokerEpoch(0),
        first: ProducerId(first),
        next: ProducerId(next),
    };
    for (first, next) in [(0, 1000), (1000, 2000)] {
        let record = decide_producer_ids(&cluster.image, NodeId(1), BrokerEpoch(0));
        assert_eq!(record, block(first, next));
        cluster.write(&[record]);
    }
}
