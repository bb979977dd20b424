//! Producer ids: given to brokers in blocks, each once (SAFETY K2; Kafka's ProducerIdsBlock, KIP-730).

use crate::cluster::image::Image;
use crate::cluster::records::MetadataRecord;
use crate::ids::{BrokerEpoch, NodeId, ProducerId};

/// Producer ids that a broker takes at a time.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// The next block, for the run of `node` that registered as `broker_epoch`.
#[must_use]
pub fn decide_producer_ids(image: &Image, node: NodeId, broker_epoch: BrokerEpoch) -> MetadataRecord {
    let first = image.next_producer_id();
    let next = first.0.checked_add(PRODUCER_ID_BLOCK).expect("2^63 producer ids are not used up");
    MetadataRecord::ProducerIds { node_id: node, broker_epoch, first, next: ProducerId(next) }
}
