//! What an administrator asks of the model: preferred leaders, moves of partitions, `min.insync.replicas`.

use super::{Failures, NODES, World, count, id, uuid};
use seedlog_core::cluster::decide::configs::resource;
use seedlog_core::cluster::decide::{
    decide_alter_partition_reassignments, decide_elect_leaders, decide_incremental_alter_configs,
};
use seedlog_core::config::{AdvertisedListener, Config};
use seedlog_core::ids::{NodeId, TopicPartition};
use seedlog_core::wire::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use seedlog_core::wire::elect_leaders::ElectLeadersTopic;
use seedlog_core::wire::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use seedlog_core::wire::{
    AlterPartitionReassignmentsRequest, ElectLeadersRequest, IncrementalAlterConfigsRequest, Str,
};

impl World {
    /// An administrator wants the preferred leader back, twice in one request.
    pub(super) fn prefer(&mut self, name: TopicPartition) {
        let Some(topic) = self.image.topic(name.topic_id) else { return };
        let topic = Str::from(topic.name.as_str());
        let wanted = ElectLeadersTopic { topic, partitions: vec![name.partition.0; 2] };
        let request = ElectLeadersRequest { topic_partitions: Some(vec![wanted]), ..Default::default() };
        self.write(&decide_elect_leaders(&self.image, &request).records);
    }

    /// An administrator moves a partition to the nodes whose bits are set, from a node on, or takes a move back. What else is
    /// wrong with it is refused, and changes nothing.
    pub(super) fn reassign(&mut self, name: TopicPartition, target: Option<(u8, u8)>) {
        let Some(topic) = self.image.topic(name.topic_id) else { return };
        let (topic_name, min_insync) = (Str::from(topic.name.as_str()), count(topic.min_insync_replicas));
        let replicas = target.map(|(bits, first)| {
            let from_first = (0..NODES).map(|step| (usize::from(first) + step) % NODES);
            from_first.filter(|at| bits >> at & 1 == 1).map(|at| id(at).0).collect::<Vec<i32>>()
        });
        let partition =
            ReassignablePartition { partition_index: name.partition.0, replicas: replicas.clone() };
        let topics = vec![ReassignableTopic { name: topic_name, partitions: vec![partition] }];
        let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
        let decision = decide_alter_partition_reassignments(&self.image, &request);
        let before = self.image.partition(name).expect("it is there").clone();
        self.write(&decision.records);
        let after = self.image.partition(name).expect("it is there");
        if decision.response.responses[0].partitions[0].error_code != 0 {
            assert_eq!(*after, before, "a refusal changes nothing");
            return;
        }
        let goes_to: Vec<i32> = after.assignment.target().iter().map(|node| node.0).collect();
        match replicas {
            Some(replicas) => assert_eq!(goes_to, replicas),
            None => assert_eq!(after.replicas(), before.assignment.origin()),
        }
        let dropped = before.state.isr.iter().filter(|node| !after.replicas().contains(node)).count();
        assert!(dropped == 0 || after.state.isr.len() >= min_insync, "what is committed keeps its copies");
    }

    /// An administrator sets `min.insync.replicas`.
    pub(super) fn change_min_insync(&mut self, name: TopicPartition, value: i32) {
        let Some(topic) = self.image.topic(name.topic_id) else { return };
        let least = if self.failures == Failures::OneHidden { 2 } else { 1 };
        let replicas = topic.partitions[0].assignment.target().len();
        let value = value.clamp(least, i32::try_from(replicas).expect("replicas are few").max(least));
        let is_raised = value > topic.min_insync_replicas;
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: resource::TOPIC,
                resource_name: Str::from(topic.name.as_str()),
                configs: vec![AlterableConfig {
                    name: Str::from_static("min.insync.replicas"),
                    config_operation: 0,
                    value: Some(value.to_string().into()),
                }],
            }],
            validate_only: false,
        };
        let listener = AdvertisedListener { host: "host".into(), port: 9092 };
        let config = Config::new(NodeId(1), uuid(1, 1), listener);
        let decision = decide_incremental_alter_configs(&self.image, &config, &request);
        assert_eq!(decision.response.responses[0].error_code, 0, "{:?}", decision.response);
        if is_raised {
            self.reached.remove(&name); // More copies are promised only once there are more.
        }
        self.write(&decision.records);
    }
}
