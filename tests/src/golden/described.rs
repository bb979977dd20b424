//! What administrators look at, in scenarios: the quorum, log dirs, producers, ACLs, quotas, features.

use super::node::WALL_START_MS;
use super::say::or_error;
use super::words::{Line, number};
use seedlog_core::wire::describe_client_quotas::ComponentData;
use seedlog_core::wire::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsResult};
use seedlog_core::wire::describe_producers::{PartitionResponse, TopicRequest};
use seedlog_core::wire::describe_quorum::{self, PartitionData, PartitionRequest, ReplicaState};
use seedlog_core::wire::describe_user_scram_credentials::UserName;
use seedlog_core::wire::update_features::FeatureUpdateKey;
use seedlog_core::wire::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeAclsRequest, DescribeAclsResponse,
    DescribeClientQuotasRequest, DescribeClientQuotasResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeProducersRequest, DescribeProducersResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    Request, Str, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

pub(super) fn request(line: &mut Line) -> Result<Request, String> {
    match &*line.verb.clone() {
        "quorum" => quorum(line),
        "log-dirs" => log_dirs(line),
        "producers" => producers(line),
        "acls" => Ok(DescribeAclsRequest::default().into()),
        "quotas" => quotas(line),
        "features" => Ok(ApiVersionsRequest::default().into()),
        "scram-users" => {
            let names = std::iter::from_fn(|| line.next_plain());
            let users: Vec<UserName> = names.map(|name| UserName { name: Str::from(name) }).collect();
            Ok(DescribeUserScramCredentialsRequest { users: Some(users) }.into())
        }
        _ => update_features(line),
    }
}

/// `quorum`, or of another partition than the metadata log's: `quorum orders-0`.
fn quorum(line: &mut Line) -> Result<Request, String> {
    let mut topics = Vec::new();
    while let Some((topic, partition_index)) = line.next_partition()? {
        let partitions = vec![PartitionRequest { partition_index }];
        topics.push(describe_quorum::TopicRequest { topic_name: Str::from(topic), partitions });
    }
    if topics.is_empty() {
        let topic_name = Str::from_static("__cluster_metadata");
        let partitions = vec![PartitionRequest { partition_index: 0 }];
        topics.push(describe_quorum::TopicRequest { topic_name, partitions });
    }
    Ok(DescribeQuorumRequest { topics }.into())
}

/// `log-dirs`, or of some partitions: `log-dirs orders-0`, or of none: `log-dirs none`.
fn log_dirs(line: &mut Line) -> Result<Request, String> {
    let Some(word) = line.next_plain() else { return Ok(DescribeLogDirsRequest { topics: None }.into()) };
    let mut topics = Vec::new();
    let mut next = Some(word).filter(|word| word != "none");
    while let Some(word) = next {
        let (topic, index) = word.rsplit_once('-').ok_or("which partition?")?;
        topics.push(DescribableLogDirTopic { topic: Str::from(topic), partitions: vec![number(index)?] });
        next = line.next_plain();
    }
    Ok(DescribeLogDirsRequest { topics: Some(topics) }.into())
}

fn producers(line: &mut Line) -> Result<Request, String> {
    let mut topics = Vec::new();
    while let Some((topic, index)) = line.next_partition()? {
        topics.push(TopicRequest { name: Str::from(topic), partition_indexes: vec![index] });
    }
    Ok(DescribeProducersRequest { topics }.into())
}

/// `quotas user/any client-id/default ip/10.0.0.1`; a number is a match type without a name, `TYPE/N/NAME` one with a name.
fn quotas(line: &mut Line) -> Result<Request, String> {
    let mut components = Vec::new();
    while let Some(word) = line.next_plain() {
        let (kind, how) = word.split_once('/').ok_or("TYPE/HOW")?;
        let (match_type, name) = match (how, how.split_once('/')) {
            (_, Some((match_type, name))) => (number(match_type)?, Some(Str::from(name))),
            ("default", None) => (1, None),
            ("any", None) => (2, None),
            (name, None) => match name.parse() {
                Ok(match_type) => (match_type, None),
                Err(_) => (0, Some(Str::from(name))),
            },
        };
        components.push(ComponentData { entity_type: Str::from(kind), match_type, name });
    }
    Ok(DescribeClientQuotasRequest { components, strict: false }.into())
}

/// `update-features metadata.version=30 only-check=yes`.
fn update_features(line: &mut Line) -> Result<Request, String> {
    let update = |(feature, level): (String, String)| {
        let max_version_level = number(&level)?;
        Ok(FeatureUpdateKey { feature: Str::from(feature), max_version_level, ..Default::default() })
    };
    let feature_updates = line.take_settings().into_iter().map(update).collect::<Result<_, String>>()?;
    let validate_only = line.take("only-check").is_some();
    Ok(UpdateFeaturesRequest { feature_updates, validate_only, ..Default::default() }.into())
}

pub(super) fn quorum_lines(quorum: &DescribeQuorumResponse) -> Vec<String> {
    if quorum.error_code != 0 {
        return vec![or_error(quorum.error_code, quorum.error_message.as_ref(), String::new())];
    }
    let mut lines = Vec::new();
    for topic in &quorum.topics {
        for part in &topic.partitions {
            lines.extend(quorum_part(&topic.topic_name, part));
        }
    }
    lines.extend(quorum.nodes.iter().map(|node| {
        let listeners = node.listeners.iter();
        let listeners = listeners.map(|it| format!(" {}://{}:{}", it.name, it.host, it.port));
        format!("node {} listens at{}", node.node_id, listeners.collect::<String>())
    }));
    lines
}

fn quorum_part(topic: &str, part: &PartitionData) -> Vec<String> {
    let name = format!("{topic}-{}", part.partition_index);
    if part.error_code != 0 {
        return vec![format!(
            "{name}: {}",
            or_error(part.error_code, part.error_message.as_ref(), String::new())
        )];
    }
    let (leader, epoch, end) = (part.leader_id, part.leader_epoch, part.high_watermark);
    let mut lines = vec![format!("{name}: leader {leader}, epoch {epoch}, high watermark {end}")];
    lines.extend(part.current_voters.iter().map(|state| replica_line("voter", state)));
    lines.extend(part.observers.iter().map(|state| replica_line("observer", state)));
    lines
}

fn replica_line(what: &str, state: &ReplicaState) -> String {
    let ago = |time: i64| if time < 0 { "?".to_owned() } else { (time - WALL_START_MS).to_string() };
    format!(
        "{what} {} in {}: ends at {}, heard at {}, had all at {}",
        state.replica_id,
        state.replica_directory_id,
        state.log_end_offset,
        ago(state.last_fetch_timestamp),
        ago(state.last_caught_up_timestamp)
    )
}

pub(super) fn log_dirs_lines(dirs: &DescribeLogDirsResponse) -> Vec<String> {
    if dirs.error_code != 0 {
        return vec![or_error(dirs.error_code, None, String::new())];
    }
    let of_dir = |dir: &DescribeLogDirsResult| {
        let (path, usable, total) = (&dir.log_dir, dir.usable_bytes, dir.total_bytes);
        let said = format!("{path}: {usable} of {total} bytes are free");
        let mut lines = vec![or_error(dir.error_code, None, said)];
        for topic in &dir.topics {
            lines.extend(topic.partitions.iter().map(|part| {
                let (index, bytes, lag) = (part.partition_index, part.partition_size, part.offset_lag);
                format!("{}-{index}: {bytes} bytes, lag {lag}", topic.name)
            }));
        }
        lines
    };
    dirs.results.iter().flat_map(of_dir).collect()
}

pub(super) fn producers_lines(described: &DescribeProducersResponse) -> Vec<String> {
    let of_part = |topic: &str, part: &PartitionResponse| {
        let name = format!("{topic}-{}", part.partition_index);
        let lines = part.active_producers.iter().map(|producer| {
            let (id, epoch, sequence) =
                (producer.producer_id, producer.producer_epoch, producer.last_sequence);
            let time = producer.last_timestamp;
            let (coordinator, start) = (producer.coordinator_epoch, producer.current_txn_start_offset);
            format!(
                "{name}: producer {id}, epoch {epoch}, sequence {sequence}, time {time}, coordinator {coordinator}, transaction {start}"
            )
        });
        let lines: Vec<String> = lines.collect();
        if lines.is_empty() {
            let said = "no producers".to_owned();
            return vec![format!("{name}: {}", or_error(part.error_code, part.error_message.as_ref(), said))];
        }
        lines
    };
    let topics = described.topics.iter();
    topics.flat_map(|topic| topic.partitions.iter().flat_map(|part| of_part(&topic.name, part))).collect()
}

pub(super) fn acls_lines(acls: &DescribeAclsResponse) -> Vec<String> {
    let said = format!("rules about {} resources", acls.resources.len());
    vec![or_error(acls.error_code, acls.error_message.as_ref(), said)]
}

pub(super) fn quotas_lines(quotas: &DescribeClientQuotasResponse) -> Vec<String> {
    let said = match &quotas.entries {
        Some(entries) => format!("{} entities have quotas", entries.len()),
        None => "null".to_owned(),
    };
    vec![or_error(quotas.error_code, quotas.error_message.as_ref(), said)]
}

pub(super) fn users_lines(users: &DescribeUserScramCredentialsResponse) -> Vec<String> {
    if users.error_code != 0 || users.results.is_empty() {
        return vec![or_error(users.error_code, users.error_message.as_ref(), "no users".to_owned())];
    }
    let line =
        |user: &seedlog_core::wire::describe_user_scram_credentials::DescribeUserScramCredentialsResult| {
            let said = format!("{} credentials", user.credential_infos.len());
            format!("{}: {}", user.user, or_error(user.error_code, user.error_message.as_ref(), said))
        };
    users.results.iter().map(line).collect()
}

pub(super) fn features_lines(updated: &UpdateFeaturesResponse) -> Vec<String> {
    let mut lines = vec![or_error(updated.error_code, updated.error_message.as_ref(), "updated".to_owned())];
    lines.extend(updated.results.iter().map(|it| {
        format!(
            "{}: {}",
            it.feature,
            or_error(it.error_code, it.error_message.as_ref(), "updated".to_owned())
        )
    }));
    lines
}

/// The features of an ApiVersions response.
pub(super) fn features(said: &ApiVersionsResponse) -> Vec<String> {
    let supported = said.supported_features.iter();
    let supported =
        supported.map(|it| format!("{} can be {} to {}", it.name, it.min_version, it.max_version));
    let finalized = said.finalized_features.iter();
    let finalized =
        finalized.map(|it| format!("{} is {} to {}", it.name, it.min_version_level, it.max_version_level));
    let epoch = format!("as of {}", said.finalized_features_epoch);
    std::iter::once(epoch).chain(supported).chain(finalized).collect()
}
