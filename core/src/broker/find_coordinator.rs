//! FindCoordinator: which broker keeps a group. The first one to ask has the groups' topic created.

use super::Broker;
use crate::cluster::decide::REPLICATION_FACTOR;
use crate::door::{ClientBody, ClientRequest};
use crate::errors::ErrorCode;
use crate::group::{OFFSETS_TOPIC, group_partition};
use crate::ids::{ConnId, PartitionIndex, RequestNumber, TopicPartition};
use crate::output::Outputs;
use crate::wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use crate::wire::find_coordinator::Coordinator;
use crate::wire::{FindCoordinatorRequest, FindCoordinatorResponse, Response, Str};
use alloc::string::ToString;

/// The request names many keys from this version on (KIP-699).
const LISTS_FROM: i16 = 4;
/// The key is a group's id.
const GROUP: i8 = 0;

impl Broker {
    pub(super) fn on_find_coordinator(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: ClientRequest,
        out: &mut Outputs,
    ) {
        let ClientBody::FindCoordinator(find) = &request.body else {
            unreachable!("the caller looked at the body")
        };
        let creates = find.key_type == GROUP
            && self.committed.topic_named(OFFSETS_TOPIC).is_none()
            && self.metadata_refusal().is_none()
            && !self.disk_is_full;
        match creates.then(|| self.offsets_topic()).flatten() {
            Some(topic) => self.create_first(conn, number, alloc::vec![topic], request, out),
            None => self.tell_coordinator(conn, number, request.api_version, find, out),
        }
    }

    /// The groups' topic as it is created; `None`: there are not enough brokers for it yet.
    pub(super) fn offsets_topic(&self) -> Option<CreatableTopic> {
        let settings = &self.config.groups;
        let brokers = self.committed.brokers();
        let active = brokers.values().filter(|broker| broker.is_active()).count();
        // Who votes is a broker as well, where this one is: a cluster that has just begun is not taken for a small one.
        let voters = if self.config.roles.controller { self.committed.voters().len() } else { 0 };
        let expected = brokers.len().max(voters).clamp(1, REPLICATION_FACTOR);
        let factor = match settings.topic_replication_factor {
            Some(factor) => factor,
            None if active < expected => return None,
            None => i16::try_from(expected).expect("a few"),
        };
        let setting = |name: &'static str, value: alloc::string::String| CreatableTopicConfig {
            name: Str::from_static(name),
            value: Some(value.into()),
        };
        Some(CreatableTopic {
            name: Str::from_static(OFFSETS_TOPIC),
            num_partitions: settings.topic_partitions,
            replication_factor: factor,
            configs: alloc::vec![
                setting("cleanup.policy", "compact".to_string()),
                setting("segment.bytes", settings.topic_segment_bytes.to_string()),
            ],
            ..CreatableTopic::default()
        })
    }

    /// The partition that keeps a group; `None`: there is none yet.
    pub(super) fn partition_of_group(&self, group: &str) -> Option<TopicPartition> {
        let (topic_id, topic) = self.committed.topic_named(OFFSETS_TOPIC)?;
        let index = group_partition(group, topic.partitions.len());
        Some(TopicPartition { topic_id, partition: PartitionIndex(i32::try_from(index).ok()?) })
    }

    pub(super) fn tell_coordinator(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        version: i16,
        request: &FindCoordinatorRequest,
        out: &mut Outputs,
    ) {
        let response = if version >= LISTS_FROM {
            let keys = request.coordinator_keys.iter();
            let found = keys.map(|key| self.find_coordinator(conn, version, request.key_type, key));
            FindCoordinatorResponse { coordinators: found.collect(), ..FindCoordinatorResponse::default() }
        } else {
            let found = self.find_coordinator(conn, version, request.key_type, &request.key);
            FindCoordinatorResponse {
                error_code: found.error_code,
                error_message: found.error_message,
                node_id: found.node_id,
                host: found.host,
                port: found.port,
                ..FindCoordinatorResponse::default()
            }
        };
        self.reply(conn, number, Response::FindCoordinator(response), out);
    }

    fn find_coordinator(&self, conn: ConnId, version: i16, key_type: i8, key: &Str) -> Coordinator {
        match self.find_group(conn, key_type, key) {
            Ok(found) => found,
            Err((code, why)) => {
                // Old librdkafka asks as soon as a `transactional.id` is set and takes any other code for final.
                const QUIET_UP_TO: i16 = 2;
                let is_quiet = version <= QUIET_UP_TO && code == ErrorCode::UnsupportedVersion;
                let code = if is_quiet { ErrorCode::CoordinatorNotAvailable } else { code };
                Coordinator {
                    key: key.detached(),
                    node_id: -1,
                    host: Str::default(),
                    port: -1,
                    error_code: code.code(),
                    error_message: Some(Str::from_static(why)),
                }
            }
        }
    }

    fn find_group(
        &self,
        conn: ConnId,
        key_type: i8,
        key: &Str,
    ) -> Result<Coordinator, (ErrorCode, &'static str)> {
        if key_type != GROUP {
            // Clients that read whole lists of keys take this code for final and show the message.
            return Err((ErrorCode::UnsupportedVersion, "Transactions and share groups are not served."));
        }
        let not_there = |why| (ErrorCode::CoordinatorNotAvailable, why);
        let partition = self.partition_of_group(key);
        let partition = partition.ok_or(not_there("The groups' topic waits for its brokers to be there."))?;
        let image = self.committed.partition(partition).expect("a partition of a topic that exists");
        let leader = image.state.leader.ok_or(not_there("The group's partition has no leader."))?;
        let broker = self.committed.brokers().get(&leader).filter(|broker| !broker.fenced);
        let broker = broker.ok_or(not_there("The group's coordinator is not heard of."))?;
        let listener = self.listener_of(conn, leader, &broker.listeners);
        Ok(Coordinator {
            key: key.detached(),
            node_id: leader.0,
            host: listener.host.into(),
            port: i32::from(listener.port),
            error_code: ErrorCode::None.code(),
            error_message: None,
        })
    }
}
