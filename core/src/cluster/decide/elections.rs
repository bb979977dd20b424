//! Elections that are asked for (ElectLeaders, KIP-183, KIP-460), and the controller's own rebalance. Leaders that fail are
//! replaced where brokers are.

use crate::cluster::decide::partitions::{Change, Draft, change_records, standing};
use crate::cluster::decide::room::{Room, partition_bytes};
use crate::cluster::decide::topics::Refusal;
use crate::cluster::decide::{Decision, brokers::Standing};
use crate::cluster::image::{Image, PartitionImage, TopicImage};
use crate::cluster::records::MetadataRecord;
use crate::errors::ErrorCode;
use crate::ids::{PartitionIndex, TopicPartition};
use crate::wire::elect_leaders::{ElectionPartitionResult, ReplicaElectionResult};
use crate::wire::{ElectLeadersRequest, ElectLeadersResponse, Str};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// `leader.imbalance.per.broker.percentage`.
const IMBALANCE_PERCENT_MAX: usize = 10;
/// Most leaderships that one rebalance moves (Kafka's MAX_ELECTIONS_PER_IMBALANCE).
const ELECTIONS_PER_REBALANCE_MAX: usize = 1_000;

/// Kinds of elections, by Kafka's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The preferred replica leads, if it is in sync.
    Preferred,
    /// Somebody leads. Those who may without a loss do so at once, unasked; others never do here.
    Unclean,
}

/// ElectLeaders. Without partitions all are elected, and those that need no election are not mentioned.
#[must_use]
pub fn decide_elect_leaders(image: &Image, request: &ElectLeadersRequest) -> Decision<ElectLeadersResponse> {
    let kind = match request.election_type {
        0 => Kind::Preferred,
        1 => Kind::Unclean,
        _ => {
            let error_code = ErrorCode::InvalidRequest.code();
            let response = ElectLeadersResponse { error_code, ..ElectLeadersResponse::default() };
            return Decision { records: Vec::new(), response };
        }
    };
    let mut elections = Elections { image, kind, room: Room::whole(), changes: BTreeMap::new() };
    let results = match &request.topic_partitions {
        Some(topics) => topics
            .iter()
            .map(|topic| {
                let results = topic.partitions.iter().map(|&index| elections.named(&topic.topic, index));
                // A name outlives the frame that it came in.
                ReplicaElectionResult { topic: topic.topic.detached(), partition_result: results.collect() }
            })
            .collect(),
        None => elections.all(),
    };
    let response =
        ElectLeadersResponse { replica_election_results: results, ..ElectLeadersResponse::default() };
    Decision { records: change_records(elections.changes), response }
}

/// The elections of one request.
struct Elections<'a> {
    image: &'a Image,
    kind: Kind,
    room: Room,
    changes: BTreeMap<TopicPartition, Change>,
}

impl Elections<'_> {
    fn named(&mut self, topic: &str, index: i32) -> ElectionPartitionResult {
        let unknown = |why: String| (ErrorCode::UnknownTopicOrPartition, why);
        let found = self.image.topic_named(topic).ok_or_else(|| unknown(format!("No such topic as {topic}")));
        let elected = found.and_then(|(topic_id, _)| {
            let name = TopicPartition { topic_id, partition: PartitionIndex(index) };
            if self.image.partition(name).is_none() {
                return Err(unknown(format!("No such partition as {topic}-{index}")));
            }
            self.elect(name)
        });
        result(index, elected)
    }

    fn all(&mut self) -> Vec<ReplicaElectionResult> {
        let image = self.image;
        let mut results = Vec::new();
        for (name, &topic_id) in image.names() {
            let partitions = image.topic(topic_id).map_or(0, |topic| topic.partitions.len());
            let mut partition_result = Vec::new();
            for index in (0..).take(partitions) {
                let elected = self.elect(TopicPartition { topic_id, partition: PartitionIndex(index) });
                if !matches!(elected, Err((ErrorCode::ElectionNotNeeded, _))) {
                    partition_result.push(result(index, elected));
                }
            }
            if !partition_result.is_empty() {
                results.push(ReplicaElectionResult { topic: name.as_str().into(), partition_result });
            }
        }
        results
    }

    fn elect(&mut self, name: TopicPartition) -> Result<(), Refusal> {
        let topic = self.image.topic(name.topic_id).expect("the partition was found");
        let partition = self.image.partition(name).expect("the partition was found");
        let change = match self.kind {
            Kind::Preferred => prefer(self.image, topic, partition)?,
            Kind::Unclean if partition.state.leader.is_some() => return Err(not_needed()),
            Kind::Unclean => {
                let why = "No in-sync or eligible replica is alive. Others may lack acknowledged records: they are never \
                           elected. Start a broker of the ISR or the ELR.";
                return Err((ErrorCode::EligibleLeadersNotAvailable, why.to_string()));
            }
        };
        if !self.changes.contains_key(&name) {
            self.room.take(partition_bytes(partition.replicas().len()))?;
            self.changes.insert(name, change);
        }
        Ok(())
    }
}

fn result(partition_id: i32, elected: Result<(), Refusal>) -> ElectionPartitionResult {
    let (code, why) = match elected {
        Ok(()) => (ErrorCode::None, None),
        Err((code, why)) => (code, Some(Str::from(why))),
    };
    ElectionPartitionResult { partition_id, error_code: code.code(), error_message: why }
}

fn not_needed() -> Refusal {
    (ErrorCode::ElectionNotNeeded, "Leader election not needed for topic partition.".to_string())
}

/// The preferred replica leads.
fn prefer(image: &Image, topic: &TopicImage, partition: &PartitionImage) -> Result<Change, Refusal> {
    let preferred = partition.preferred();
    if partition.state.leader == Some(preferred) {
        return Err(not_needed());
    }
    if !partition.state.isr.contains(&preferred) || standing(image, preferred) != Standing::Active {
        let why = format!("The preferred leader, broker {preferred}, is not in sync or not available.");
        return Err((ErrorCode::PreferredLeaderNotAvailable, why));
    }
    let mut draft = Draft::new(topic, partition);
    draft.prefer(preferred);
    Ok(draft.renumbered())
}

/// Gives leaderships back to brokers that lead clearly less than they are preferred for
/// (`leader.imbalance.per.broker.percentage`): over a tenth.
#[must_use]
pub fn decide_rebalance(image: &Image) -> Vec<MetadataRecord> {
    let mut preferred_for: BTreeMap<_, (usize, Vec<TopicPartition>)> = BTreeMap::new();
    for (name, partition) in image.all_partitions() {
        let (all, elsewhere) = preferred_for.entry(partition.preferred()).or_default();
        *all += 1;
        if partition.state.leader != Some(partition.preferred()) {
            elsewhere.push(name);
        }
    }
    let imbalanced = preferred_for
        .into_values()
        .filter(|(all, elsewhere)| elsewhere.len() * 100 > all * IMBALANCE_PERCENT_MAX)
        .flat_map(|(_, elsewhere)| elsewhere);
    let changes = imbalanced.filter_map(|name| {
        let (topic, partition) = (image.topic(name.topic_id)?, image.partition(name)?);
        Some((name, prefer(image, topic, partition).ok()?))
    });
    change_records(changes.take(ELECTIONS_PER_REBALANCE_MAX).collect())
}
