//! Brokers come, go silent, stop: who is part of the cluster, and what that does to the partitions that they hold (KIP-631,
//! KIP-841, KIP-966).
//!
//! What a broker that registers has of a partition it was a member of ([`Held`]):
//!
//! | it says | in the ISR it was | then |
//! |---|---|---|
//! | nothing | anything | it stays; what it led is led in a new epoch (SAFETY R2) |
//! | its folder is a new one | anything | a new replica: out of ISR and ELR |
//! | the partition is `lost` | anything | out of ISR and ELR (SAFETY J5) |
//! | it may lack records (`is_unclean`) | one of several | out of ISR and ELR (SAFETY R5) |
//! | it may lack records (`is_unclean`) | the last of ISR and ELR | known by name; leads in an epoch that is marked unclean |
//! | it ends here, in doubt | anything | out of the ISR; while the ELR holds, in it with its doubt (SAFETY J4) |
//!
//! Doubt ends when the replica is in the ISR again: a leader has seen it catch up, or it was elected as the longest of all.
//! When nobody is left, the partition has no leader: nothing is ever served that may lack what was acknowledged.

use crate::cluster::decide::partitions::{Change, Draft, change_records, standing};
use crate::cluster::image::{BrokerImage, Image, PartitionImage};
use crate::cluster::records::{Doubt, MetadataRecord};
use crate::errors::ErrorCode;
use crate::ids::{BrokerEpoch, LeaderEpoch, NodeId, Offset, RunId, TopicPartition, Uuid};
use crate::museum::exhibit;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// What may be asked of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may lead and be in an ISR.
    Active,
    /// It is about to stop: it leads only what nobody else can.
    Leaving,
    /// It is not heard of.
    Fenced,
}

impl Standing {
    /// How a broker stands.
    pub(crate) fn of(broker: &BrokerImage) -> Self {
        match (broker.fenced, broker.shutting_down) {
            (true, _) => Self::Fenced,
            (false, true) => Self::Leaving,
            (false, false) => Self::Active,
        }
    }
}

/// A broker's run wants to be part of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The broker.
    pub node_id: NodeId,
    /// Its folder's incarnation.
    pub incarnation: Uuid,
    /// The run.
    pub run: RunId,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Advertised hosts and ports, by listener.
    pub listeners: Vec<(String, u16)>,
    /// Where other nodes reach it.
    pub peer_listener: Option<(String, u16)>,
    /// Acknowledged records may be missing (SAFETY R5).
    pub is_unclean: bool,
    /// Partitions that lost records (SAFETY J5).
    pub lost: Vec<TopicPartition>,
    /// The ends of logs that may lack their last records (SAFETY J4).
    pub doubtful: Vec<(TopicPartition, Option<LeaderEpoch>, Offset)>,
}

/// Why a broker is not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterRefusal {
    /// Another folder is registered under this node id, and its broker is heard of.
    NodeIdTaken,
    /// The folder is registered under another node id: it was copied.
    FolderTaken(NodeId),
}

impl RegisterRefusal {
    /// Kafka's code.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::NodeIdTaken | Self::FolderTaken(_) => ErrorCode::DuplicateBrokerRegistration,
        }
    }
}

impl fmt::Display for RegisterRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeIdTaken => {
                f.write_str("another broker with this node id is alive; try again when it is fenced")
            }
            Self::FolderTaken(node) => write!(f, "this folder belongs to node {node}"),
        }
    }
}

impl core::error::Error for RegisterRefusal {}

/// What a registering broker has of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// What it had.
    Whole,
    /// Nothing that counts.
    Lost,
    /// What it had, perhaps without its last records, nobody knows how many.
    Unclean,
    /// Its log up to here, perhaps without its last records.
    Doubtful(Doubt),
}

/// A broker's run registers (KIP-631). `offset` is the one that the entry will have: it is the registration's number. No
/// records: it is registered already.
///
/// # Errors
/// [`RegisterRefusal`].
pub fn decide_register(
    image: &Image,
    offset: Offset,
    registration: &Registration,
) -> Result<Vec<MetadataRecord>, RegisterRefusal> {
    let node = registration.node_id;
    let taken = image
        .brokers()
        .iter()
        .find(|(id, broker)| **id != node && broker.incarnation == registration.incarnation);
    if let Some((&other, _)) = taken {
        return Err(RegisterRefusal::FolderTaken(other));
    }
    let known = image.brokers().get(&node);
    if let Some(known) = known.filter(|known| known.incarnation == registration.incarnation)
        && known.run == registration.run
    {
        return Ok(if known.fenced { decide_unfence(image, node) } else { Vec::new() });
    }
    let is_wiped = known.is_some_and(|known| known.incarnation != registration.incarnation);
    if is_wiped && known.is_some_and(|known| !known.fenced) {
        return Err(RegisterRefusal::NodeIdTaken);
    }
    let mut records = alloc::vec![MetadataRecord::RegisterBroker {
        node_id: node,
        broker_epoch: BrokerEpoch(offset.0),
        incarnation: registration.incarnation,
        run: registration.run,
        rack: registration.rack.clone(),
        listeners: registration.listeners.clone(),
        peer_listener: registration.peer_listener.clone(),
    }];
    let claims = claims(registration);
    let held_of = |partition: &TopicPartition| {
        if is_wiped { Held::Lost } else { claims.get(partition).copied().unwrap_or(Held::Whole) }
    };
    records.extend(change_records(come_back(image, registration, &held_of)));
    Ok(records)
}

/// What the broker says of its copies, the worst of each.
fn claims(registration: &Registration) -> BTreeMap<TopicPartition, Held> {
    let node = registration.node_id;
    let doubts = registration
        .doubtful
        .iter()
        .map(|&(partition, epoch, end)| (partition, Held::Doubtful(Doubt { node, epoch, end })));
    let lost = registration.lost.iter().map(|&partition| (partition, Held::Lost));
    doubts.chain(lost).collect()
}

/// The partitions that a broker holds, from its registration on.
fn come_back(
    image: &Image,
    registration: &Registration,
    held_of: &dyn Fn(&TopicPartition) -> Held,
) -> BTreeMap<TopicPartition, Change> {
    let node = registration.node_id;
    let mut changes = BTreeMap::new();
    for (name, partition) in image.held_by(node) {
        let mut before = partition.state.clone();
        if before.leader == Some(node) {
            before.end_leadership(); // As the registration's replay does.
        }
        let topic = image.topic(name.topic_id).expect("a partition has a topic");
        let mut draft = Draft::over(topic, partition, before);
        let claimed = held_of(&name);
        // C5 (KIP-966, last replica standing): an ISR of one is kept, whoever else is eligible.
        let is_unclean =
            exhibit!(C5, registration.is_unclean, registration.is_unclean && partition.state.isr != [node]);
        let held = match claimed {
            Held::Whole | Held::Doubtful(_) if is_unclean => Held::Unclean,
            Held::Whole | Held::Doubtful(_) | Held::Lost | Held::Unclean => claimed,
        };
        match held {
            Held::Whole => {}
            Held::Lost => draft.forget(node),
            Held::Unclean => draft.distrust(node),
            Held::Doubtful(doubt) => draft.doubt(doubt),
        }
        draft.settle(|other| if other == node { Standing::Active } else { standing(image, other) });
        if let Some(change) = draft.changed() {
            changes.insert(name, change);
        }
    }
    changes
}

/// Part of what a live broker holds cannot be read back (SAFETY J5): it is in no ISR and no ELR of those partitions, and
/// others lead them. Each comes with the leader epoch that the broker knows: where the partition is led in it still, it is led in
/// a new one from here on, in which nothing counts that was acknowledged before.
#[must_use]
pub fn decide_lost(
    image: &Image,
    node: NodeId,
    lost: &[(TopicPartition, LeaderEpoch)],
) -> Vec<MetadataRecord> {
    let mut changes = BTreeMap::new();
    for &(name, epoch) in lost {
        let (Some(topic), Some(partition)) = (image.topic(name.topic_id), image.partition(name)) else {
            continue;
        };
        let mut draft = Draft::new(topic, partition);
        let state = &partition.state;
        // Its leader may have asked already for it to join.
        let may_join =
            partition.replicas().contains(&node) && state.leader.is_some() && state.leader_epoch <= epoch;
        if draft.is_member(node) {
            draft.forget(node);
        } else if !may_join {
            continue;
        }
        draft.end_epoch();
        draft.settle(|other| standing(image, other));
        if let Some(change) = draft.changed() {
            changes.insert(name, change);
        }
    }
    change_records(changes)
}

/// A fenced broker is heard of again, in the run that it was fenced in.
#[must_use]
pub fn decide_unfence(image: &Image, node: NodeId) -> Vec<MetadataRecord> {
    let Some(broker) = image.brokers().get(&node).filter(|broker| broker.fenced) else {
        return Vec::new();
    };
    let shutting_down = broker.shutting_down;
    let stands = if shutting_down { Standing::Leaving } else { Standing::Active };
    let mut records =
        alloc::vec![MetadataRecord::BrokerState { node_id: node, fenced: false, shutting_down }];
    let changes = settled(image, node, |other| if other == node { stands } else { standing(image, other) });
    records.extend(change_records(changes));
    records
}

/// Brokers are not heard of: they leave every ISR, and others lead what they led (KIP-841, KIP-966). All that are found
/// silent at a time go in one entry.
#[must_use]
pub fn decide_fence(image: &Image, nodes: &[NodeId]) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    let mut changes = BTreeMap::new();
    for &node in nodes {
        let Some(broker) = image.brokers().get(&node).filter(|broker| !broker.fenced) else {
            continue;
        };
        let shutting_down = broker.shutting_down;
        records.push(MetadataRecord::BrokerState { node_id: node, fenced: true, shutting_down });
        // Museum C9 (KAFKA-13173): each of several brokers was taken out of the ISR as it was before the others left.
        let silent = nodes;
        let stands = |other| if silent.contains(&other) { Standing::Fenced } else { standing(image, other) };
        changes.extend(settled(image, node, stands));
    }
    records.extend(change_records(changes));
    records
}

/// What a broker that wants to stop is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// What hands over what it leads.
    pub records: Vec<MetadataRecord>,
    /// Partitions that it leads all the same: nobody else can.
    pub leads: Vec<TopicPartition>,
    /// It gains nothing by waiting: no other active broker holds what it leads.
    pub may_stop: bool,
}

/// A broker wants to stop (controlled shutdown, KIP-841): it joins no ISR any more, others lead where they can, and it
/// leaves the ISRs of what others lead. Where only it can lead it does so until it stops; it may wait for those that are
/// catching up.
#[must_use]
pub fn decide_shutdown(image: &Image, node: NodeId) -> Shutdown {
    let Some(broker) = image.brokers().get(&node).filter(|broker| !broker.fenced) else {
        return Shutdown { records: Vec::new(), leads: Vec::new(), may_stop: true };
    };
    let mut records = Vec::new();
    if !broker.shutting_down {
        records.push(MetadataRecord::BrokerState { node_id: node, fenced: false, shutting_down: true });
    }
    let stands = |other| if other == node { Standing::Leaving } else { standing(image, other) };
    let changes = settled(image, node, stands);
    let (mut leads, mut may_stop) = (Vec::new(), true);
    for (name, partition) in image.held_by(node) {
        let state = changes.get(&name).map_or(&partition.state, |change| &change.state);
        if state.leader == Some(node) {
            leads.push(name);
            may_stop &= !partition.replicas().iter().any(|&other| stands(other) == Standing::Active);
        }
    }
    records.extend(change_records(changes));
    Shutdown { records, leads, may_stop }
}

/// Brings all partitions into line with the brokers: for a new controller, whatever its predecessor left undone.
#[must_use]
pub fn decide_sweep(image: &Image) -> Vec<MetadataRecord> {
    change_records(settle_each(image, image.all_partitions(), |node| standing(image, node)))
}

/// The partitions that a broker holds, settled.
fn settled(
    image: &Image,
    node: NodeId,
    stands: impl Fn(NodeId) -> Standing,
) -> BTreeMap<TopicPartition, Change> {
    settle_each(image, image.held_by(node), stands)
}

fn settle_each<'a>(
    image: &Image,
    partitions: impl Iterator<Item = (TopicPartition, &'a PartitionImage)>,
    stands: impl Fn(NodeId) -> Standing,
) -> BTreeMap<TopicPartition, Change> {
    let mut changes = BTreeMap::new();
    for (name, partition) in partitions {
        let topic = image.topic(name.topic_id).expect("a partition has a topic");
        let mut draft = Draft::new(topic, partition);
        draft.settle(&stands);
        if let Some(change) = draft.changed() {
            changes.insert(name, change);
        }
    }
    changes
}
