//! What happened, in words: one line a partition, one line a group.

use super::journal::Group;
use super::{consumers, described, groups, partitions, settings};
use seedlog_core::broker::Broker;
use seedlog_core::cluster::records::{MetadataRecord, PartitionState};
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{Lsn, NodeId, Offset, TopicPartition, Uuid};
use seedlog_core::journal::{Entry, Plan};
use seedlog_core::quorum::Role;
use seedlog_core::records::{BATCH_HEADER_BYTES, Batches, RecordIter};
use seedlog_core::wire::create_topics::CreatableTopicResult;
use seedlog_core::wire::delete_records::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use seedlog_core::wire::delete_topics::DeletableTopicResult;
use seedlog_core::wire::describe_topic_partitions::{
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use seedlog_core::wire::fetch::PartitionData;
use seedlog_core::wire::list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use seedlog_core::wire::metadata::{MetadataResponsePartition, MetadataResponseTopic};
use seedlog_core::wire::offset_for_leader_epoch::{EpochEndOffset, OffsetForLeaderTopicResult};
use seedlog_core::wire::produce::{PartitionProduceResponse, TopicProduceResponse};
use seedlog_core::wire::{
    DescribeTopicPartitionsResponse, FetchResponse, ProduceResponse, Records, Response, Str,
};
use std::collections::BTreeMap;

/// The partition by its topic's name.
pub(super) fn partition(names: &BTreeMap<Uuid, String>, partition: TopicPartition) -> String {
    let name = names.get(&partition.topic_id).map_or("?", String::as_str);
    format!("{name}-{}", partition.partition)
}

/// Remembers the names of topics that are journaled.
pub(super) fn learn(names: &mut BTreeMap<Uuid, String>, entry: &Entry) {
    let Entry::Metadata { records, .. } = entry else { return };
    for record in MetadataRecord::decode(records).unwrap_or_default() {
        if let MetadataRecord::Topic { topic_id, name, .. } = record {
            names.insert(topic_id, name);
        }
    }
}

/// A group on its way to the disk.
pub(super) fn group(names: &BTreeMap<Uuid, String>, group: &Group) -> String {
    let entries: Vec<String> = group
        .entries
        .iter()
        .map(|located| format!("{} {}", located.lsn, entry(names, &located.entry)))
        .collect();
    format!("writes a group: {}; it states {} to be on disk", entries.join(", "), group.states)
}

fn entry(names: &BTreeMap<Uuid, String>, entry: &Entry) -> String {
    match entry {
        Entry::Append(append) => {
            let last = Offset(append.next_offset().0 - 1);
            let name = partition(names, append.partition);
            if append.offsets == 1 {
                format!("{name}@{last}")
            } else {
                format!("{name}@{}-{last}", append.base_offset)
            }
        }
        Entry::EpochStart { partition: of, epoch, start } => {
            format!("{} epoch {epoch} from {start}", partition(names, *of))
        }
        Entry::Metadata { offset, records, .. } => {
            let records = MetadataRecord::decode(records).expect("the broker wrote it a moment ago");
            let records: Vec<String> = records.iter().map(metadata).collect();
            format!("metadata@{offset} ({})", records.join(", "))
        }
        Entry::ProducersExpired { .. } => "producers expired".to_owned(),
        Entry::Dropped { .. } => "a topic's files are gone".to_owned(),
        Entry::Started { boot, is_doubtful: false } => format!("run {boot}"),
        Entry::Started { boot, is_doubtful: true } => format!("run {boot}, in doubt"),
        Entry::Stopped => "stopped".to_owned(),
        Entry::Founded { .. } => "the cluster".to_owned(),
        Entry::Vote { epoch, candidate: Some(node) } => format!("vote for {node} in term {epoch}"),
        Entry::Vote { epoch, candidate: None } => format!("term {epoch}"),
        Entry::MetadataCut { to } => format!("metadata cut at {to}"),
        Entry::MetadataImage { end, .. } => format!("a snapshot of the metadata up to {end}"),
        Entry::Cut { partition: of, to } => format!("{} cut at {to}", partition(names, *of)),
        Entry::Reset { partition: of, start, .. } => format!("{} anew from {start}", partition(names, *of)),
        Entry::Dropping { .. } => "a topic's files are to go".to_owned(),
        Entry::Trusted { partition: of } if of.is_data() => format!("{} is trusted", partition(names, *of)),
        Entry::Trusted { .. } => "the metadata is trusted".to_owned(),
        Entry::LogStart { partition: of, start } => format!("{} starts at {start}", partition(names, *of)),
        Entry::Compacted { partition: of, compaction } => {
            format!("{} is compacted to {}", partition(names, *of), compaction.cleaned_to)
        }
        Entry::Damaged { partition: of, from } => format!("{} damaged from {from} on", partition(names, *of)),
    }
}

fn metadata(record: &MetadataRecord) -> String {
    match record {
        MetadataRecord::LeaderChange { epoch, .. } => format!("term {epoch}"),
        MetadataRecord::Voters { voters } => format!("{} voters", voters.len()),
        MetadataRecord::RegisterBroker { node_id, broker_epoch, .. } => {
            format!("broker {node_id} in broker epoch {broker_epoch}")
        }
        MetadataRecord::BrokerState { node_id, fenced: true, .. } => format!("broker {node_id} is fenced"),
        MetadataRecord::BrokerState { node_id, shutting_down: true, .. } => format!("broker {node_id} stops"),
        MetadataRecord::BrokerState { node_id, .. } => format!("broker {node_id} is heard"),
        MetadataRecord::Topic { name, .. } => format!("topic {name}"),
        MetadataRecord::Partition { partition, .. } => format!("its partition {partition}"),
        MetadataRecord::PartitionChange { partition, state, .. } => {
            format!("partition {partition}: {}", state_words(state))
        }
        MetadataRecord::Reassignment { partition, assignment, state, .. } => {
            let replicas: Vec<String> = assignment.replicas().iter().map(ToString::to_string).collect();
            format!("partition {partition}: replicas {}, {}", replicas.join(" "), state_words(state))
        }
        MetadataRecord::RemoveTopic { .. } => "a topic is removed".to_owned(),
        MetadataRecord::ProducerIds { next, .. } => format!("producer ids up to {next}"),
        MetadataRecord::TopicConfig { config, .. } => {
            let own = config.own().iter().map(|(name, value)| format!(" {name}={value}"));
            format!("a topic's settings:{}", own.collect::<String>())
        }
        MetadataRecord::GroupConfig { group, config } => {
            let own = config.own().iter().map(|(name, value)| format!(" {name}={value}"));
            format!("settings of the group {group}:{}", own.collect::<String>())
        }
    }
}

/// Who leads a partition and who may.
pub(super) fn state_words(state: &PartitionState) -> String {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let leader = state.leader.map_or("no leader".to_owned(), |node| format!("leader {node}"));
    let elr = if state.elr.is_empty() { String::new() } else { format!(", ELR {}", nodes(&state.elr)) };
    format!("{leader} in epoch {}, ISR {}{elr}", state.leader_epoch, nodes(&state.isr))
}

/// What recovery made of the journal.
pub(super) fn plan(plan: &Plan) -> Vec<String> {
    let mut said = Vec::new();
    if plan.end.0 == 0 {
        return vec!["an empty disk".to_owned()];
    }
    let ends = if plan.clean { ", stopped in order" } else { "" };
    said.push(format!("journal: entries up to {}, vouched for up to {}{ends}", plan.end, plan.vouched));
    said.extend(plan.damage.iter().map(|hole| format!("damage: lost {}", entries(hole.first, hole.last))));
    for lsn in plan.groups.iter().flat_map(|group| &group.damaged) {
        said.push(format!("damage: the records of entry {lsn} are not what was written"));
    }
    if plan.cut {
        said.push(format!("torn: what stands behind entry {} is cut", plan.end));
    }
    let rewritten: Vec<_> = plan.rewrite().collect();
    if let (Some(first), Some(last)) = (rewritten.first(), rewritten.last()) {
        let (first, last) = (first.prefix.first_lsn, last.prefix.last_lsn());
        said.push(format!("writes again what nothing vouches for: {}", entries(first, last)));
    }
    said
}

fn entries(first: Lsn, last: Lsn) -> String {
    if first == last { format!("entry {first}") } else { format!("entries {first} to {last}") }
}

/// What a node of a cluster is: in the quorum, and for each partition.
pub(super) fn role(broker: &Broker) -> Vec<String> {
    let quorum = broker.quorum();
    let role = match &quorum.role {
        Role::Unattached => "knows no leader".to_owned(),
        Role::Follower(session) => format!("follows {}", session.leader()),
        Role::PreCandidate(_) | Role::Candidate(_) => "stands".to_owned(),
        Role::Leader(_) => "leads the quorum".to_owned(),
    };
    let log = quorum.log.log();
    let mut said = vec![format!(
        "term {}, {role}; metadata up to {}, {} committed",
        quorum.epoch(),
        log.end(),
        quorum.committed()
    )];
    let mut of_partitions = Vec::new();
    for (&partition, replica) in broker.replicas() {
        let name = broker.image().topic(partition.topic_id).map_or("?", |topic| &topic.name);
        let role = match (replica.damage(), replica.leader(), replica.session()) {
            (Some(damage), ..) => format!("lost from {}", damage.from),
            (None, Some(leader), _) => {
                let isr = leader.isr().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                format!("leads in epoch {}, ISR {isr}", leader.epoch)
            }
            (None, None, Some(session)) => {
                format!("follows {} in epoch {}", session.leader(), session.epoch())
            }
            (None, None, None) => "is not led".to_owned(),
        };
        let start = match replica.durable_start() {
            Offset::ZERO => String::new(),
            start => format!("; log start {start}"),
        };
        of_partitions.push(format!(
            "{name}-{}: {role}{start}; log end {}, high watermark {}",
            partition.partition,
            replica.log().end(),
            replica.high_watermark()
        ));
    }
    of_partitions.sort_unstable();
    said.extend(of_partitions);
    said
}

/// Where the logs are.
pub(super) fn logs(broker: &Broker) -> Vec<String> {
    let mut said = Vec::new();
    for (&partition, replica) in broker.replicas() {
        let name = broker.image().topic(partition.topic_id).map_or("?", |topic| &topic.name);
        let log = replica.log();
        said.push(match (replica.damage(), replica.leader()) {
            (Some(damage), _) => format!("{name}-{}: lost from {}", partition.partition, damage.from),
            (None, Some(leader)) => format!(
                "{name}-{}: epoch {}, offsets {} to {}, high watermark {}",
                partition.partition,
                leader.epoch,
                log.start(),
                log.end(),
                replica.high_watermark()
            ),
            (None, None) => format!("{name}-{}: not led", partition.partition),
        });
    }
    said.sort_unstable();
    said
}

/// An answer, as the client reads it.
pub(super) fn response(response: &Response, names: &BTreeMap<Uuid, String>) -> Vec<String> {
    match response {
        Response::Produce(produced) => produced_lines(produced),
        Response::Fetch(fetched) => fetched_lines(fetched),
        Response::ListOffsets(found) => {
            let parts = |topic: &ListOffsetsTopicResponse| {
                topic.partitions.iter().map(|part| offset_line(&topic.name, part)).collect::<Vec<_>>()
            };
            found.topics.iter().flat_map(parts).collect()
        }
        Response::OffsetForLeaderEpoch(found) => {
            let parts = |topic: &OffsetForLeaderTopicResult| {
                topic.partitions.iter().map(|part| epoch_line(&topic.topic, part)).collect::<Vec<_>>()
            };
            found.topics.iter().flat_map(parts).collect()
        }
        Response::InitProducerId(given) => {
            let said = format!("producer {}, epoch {}", given.producer_id, given.producer_epoch);
            vec![or_error(given.error_code, None, said)]
        }
        Response::CreateTopics(created) => {
            let line = |topic: &CreatableTopicResult| {
                let plural = if topic.num_partitions == 1 { "" } else { "s" };
                let said = format!("created with {} partition{plural}", topic.num_partitions);
                format!("{}: {}", topic.name, or_error(topic.error_code, topic.error_message.as_ref(), said))
            };
            created.topics.iter().map(line).collect()
        }
        Response::DeleteTopics(deleted) => {
            let line = |topic: &DeletableTopicResult| {
                let said = or_error(topic.error_code, None, "deleted".to_owned());
                format!("{}: {said}", topic.name.as_deref().unwrap_or("?"))
            };
            deleted.responses.iter().map(line).collect()
        }
        Response::DeleteRecords(deleted) => deleted.topics.iter().flat_map(deleted_lines).collect(),
        Response::Metadata(metadata) => metadata.topics.iter().flat_map(described_lines).collect(),
        Response::FindCoordinator(found) => groups::found(found),
        Response::CreatePartitions(grown) => partitions::grown(grown),
        Response::ElectLeaders(elected) => partitions::elected(elected),
        Response::AlterPartitionReassignments(moved) => partitions::reassigned(moved),
        Response::ListPartitionReassignments(moving) => partitions::moving(moving),
        Response::DescribeConfigs(described) => settings::described(described),
        Response::IncrementalAlterConfigs(altered) => settings::altered(&altered.responses),
        Response::AlterConfigs(altered) => settings::altered(&altered.responses),
        Response::ListConfigResources(list) => settings::listed(list),
        Response::DescribeQuorum(quorum) => described::quorum_lines(quorum),
        Response::DescribeLogDirs(dirs) => described::log_dirs_lines(dirs),
        Response::DescribeProducers(producers) => described::producers_lines(producers),
        Response::DescribeAcls(acls) => described::acls_lines(acls),
        Response::DescribeClientQuotas(quotas) => described::quotas_lines(quotas),
        Response::DescribeUserScramCredentials(users) => described::users_lines(users),
        Response::UpdateFeatures(updated) => described::features_lines(updated),
        Response::ApiVersions(said) => described::features(said),
        Response::DescribeCluster(_) => vec!["answered".to_owned()],
        Response::DescribeTopicPartitions(described) => page(described),
        Response::JoinGroup(joined) => groups::joined(joined),
        Response::SyncGroup(synced) => groups::synced(synced),
        Response::Heartbeat(beaten) => groups::beaten(beaten),
        Response::LeaveGroup(left) => groups::left(left),
        Response::OffsetCommit(commits) => groups::commits(commits),
        Response::OffsetFetch(found) => groups::offsets(found),
        Response::ListGroups(list) => groups::listed(list),
        Response::DescribeGroups(described) => groups::described(described),
        Response::DeleteGroups(deleted) => groups::deleted(deleted),
        Response::OffsetDelete(deleted) => groups::forgotten(deleted),
        Response::ConsumerGroupHeartbeat(said) => consumers::told(said, names),
        Response::ConsumerGroupDescribe(described) => consumers::described(described),
    }
}

fn page(described: &DescribeTopicPartitionsResponse) -> Vec<String> {
    let mut lines: Vec<String> = described.topics.iter().flat_map(paged_lines).collect();
    let next = described.next_cursor.as_ref();
    lines.extend(next.map(|next| format!("more from {}-{} on", next.topic_name, next.partition_index)));
    lines
}

fn deleted_lines(topic: &DeleteRecordsTopicResult) -> Vec<String> {
    let line = |part: &DeleteRecordsPartitionResult| {
        let said = format!("low watermark {}", part.low_watermark);
        format!("{}-{}: {}", topic.name, part.partition_index, or_error(part.error_code, None, said))
    };
    topic.partitions.iter().map(line).collect()
}

fn paged_lines(topic: &DescribeTopicPartitionsResponseTopic) -> Vec<String> {
    let name = topic.name.as_deref().unwrap_or("?");
    if topic.error_code != 0 {
        return vec![format!("{name}: {}", or_error(topic.error_code, None, String::new()))];
    }
    let list = |nodes: &[i32]| match nodes {
        [] => "none".to_owned(),
        nodes => nodes.iter().map(i32::to_string).collect::<Vec<_>>().join(" "),
    };
    let internal = if topic.is_internal { ", internal" } else { "" };
    let line = |part: &DescribeTopicPartitionsResponsePartition| {
        let elr = part.eligible_leader_replicas.as_deref().unwrap_or_default();
        let leader = if part.leader_id < 0 { "none".to_owned() } else { part.leader_id.to_string() };
        format!(
            "{name}-{}: leader {leader}, ISR {}, ELR {}, offline {}{internal}",
            part.partition_index,
            list(&part.isr_nodes),
            list(elr),
            list(&part.offline_replicas)
        )
    };
    topic.partitions.iter().map(line).collect()
}

fn produced_lines(produced: &ProduceResponse) -> Vec<String> {
    let endpoints = produced.node_endpoints.iter();
    let endpoints: Vec<_> = endpoints.map(|it| (it.node_id, format!("{}:{}", it.host, it.port))).collect();
    let parts = |topic: &TopicProduceResponse| {
        let parts = topic.partition_responses.iter();
        parts.map(|part| produced_line(&topic.name, part, &endpoints)).collect::<Vec<_>>()
    };
    produced.responses.iter().flat_map(parts).collect()
}

fn produced_line(topic: &str, part: &PartitionProduceResponse, endpoints: &[(i32, String)]) -> String {
    let time = known(", time ", part.log_append_time_ms);
    let said = format!("offset {}{time}", part.base_offset);
    let leader = hint(part.current_leader.leader_id, part.current_leader.leader_epoch, endpoints);
    format!(
        "{topic}-{}: {}{leader}",
        part.index,
        or_error(part.error_code, part.error_message.as_ref(), said)
    )
}

/// Whom a refusal names instead, and where that broker listens (KIP-951).
fn hint(leader_id: i32, epoch: i32, endpoints: &[(i32, String)]) -> String {
    let place = endpoints.iter().find(|(node, _)| *node == leader_id).map(|(_, place)| place);
    match (leader_id, place) {
        (-1, _) => String::new(),
        (_, Some(place)) => format!("; {leader_id} leads, epoch {epoch}, at {place}"),
        (_, None) => format!("; {leader_id} leads, epoch {epoch}"),
    }
}

fn offset_line(topic: &str, part: &ListOffsetsPartitionResponse) -> String {
    let (time, epoch) = (known(", time ", part.timestamp), known(", epoch ", part.leader_epoch.into()));
    let said =
        if part.offset < 0 { "none".to_owned() } else { format!("offset {}{time}{epoch}", part.offset) };
    format!("{topic}-{}: {}", part.partition_index, or_error(part.error_code, None, said))
}

fn epoch_line(topic: &str, part: &EpochEndOffset) -> String {
    let said = match part.leader_epoch {
        -1 => "there is no such epoch".to_owned(),
        epoch => format!("epoch {epoch} ends at {}", part.end_offset),
    };
    format!("{topic}-{}: {}", part.partition, or_error(part.error_code, None, said))
}

fn described_lines(topic: &MetadataResponseTopic) -> Vec<String> {
    let name = topic.name.as_deref().unwrap_or("?");
    if topic.error_code != 0 {
        return vec![format!("{name}: {}", or_error(topic.error_code, None, String::new()))];
    }
    let internal = if topic.is_internal { ", internal" } else { "" };
    let line = |part: &MetadataResponsePartition| {
        let (leader, epoch) = (part.leader_id, part.leader_epoch);
        format!("{name}-{}: leader {leader}, epoch {epoch}{internal}", part.partition_index)
    };
    topic.partitions.iter().map(line).collect()
}

fn fetched_lines(fetched: &FetchResponse) -> Vec<String> {
    if fetched.error_code != 0 {
        return vec![or_error(fetched.error_code, None, String::new())];
    }
    let endpoints = fetched.node_endpoints.iter();
    let endpoints: Vec<_> = endpoints.map(|it| (it.node_id, format!("{}:{}", it.host, it.port))).collect();
    let topics = fetched.responses.iter();
    let said: Vec<String> = topics
        .flat_map(|topic| {
            // By id there is no name.
            let name = if topic.topic.is_empty() { "?" } else { &*topic.topic };
            let parts = topic.partitions.iter();
            let line = |data: &PartitionData| {
                format!("{name}-{}: {}", data.partition_index, fetched_part(data, &endpoints))
            };
            parts.map(line).collect::<Vec<_>>()
        })
        .collect();
    if said.is_empty() { vec!["nothing new".to_owned()] } else { said }
}

fn fetched_part(data: &PartitionData, endpoints: &[(i32, String)]) -> String {
    if data.error_code != 0 {
        let leader = &data.current_leader;
        let error = or_error(data.error_code, None, String::new());
        return error + &hint(leader.leader_id, leader.leader_epoch, endpoints);
    }
    if data.diverging_epoch.epoch >= 0 {
        let end = &data.diverging_epoch;
        return format!("your log and mine part where epoch {} ends, at {}", end.epoch, end.end_offset);
    }
    let bytes = data.records.as_ref().map(Records::to_bytes).unwrap_or_default();
    let mut records = Vec::new();
    for (header, range) in Batches::new(&bytes) {
        for record in RecordIter::new(&header, &bytes[range][BATCH_HEADER_BYTES..]) {
            let record = record.expect("scenarios write well-formed records");
            let said = groups::record(record.key, record.value);
            let said = said.unwrap_or_else(|| value(record.value.unwrap_or_default()));
            records.push(format!("{} {said}", record.offset));
        }
    }
    let records = if records.is_empty() { "nothing".to_owned() } else { records.join(", ") };
    format!("{records}; high watermark {}", data.high_watermark)
}

pub(super) fn value(value: &[u8]) -> String {
    let first = value.first().copied().unwrap_or_default();
    if value.len() > 8 && value.iter().all(|&byte| byte == first) {
        return format!("'{}'*{}", char::from(first), value.len());
    }
    format!("'{}'", String::from_utf8_lossy(value))
}

/// A number with its name, unless it is -1 for none.
fn known(name: &str, number: i64) -> String {
    if number < 0 { String::new() } else { format!("{name}{number}") }
}

/// Kafka's name of an error and what the broker says of it, or `said` if there is none.
pub(super) fn or_error(code: i16, message: Option<&Str>, said: String) -> String {
    let name = ErrorCode::from_code(code).map_or("?", ErrorCode::name);
    match (code, message) {
        (0, _) => said,
        (_, None) => name.to_owned(),
        (_, Some(message)) => format!("{name} ({message})"),
    }
}
