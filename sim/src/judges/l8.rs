//! L8 live brokers are unfenced, and start-up completes (INVARIANTS.md 3a): when all faults have ended every node is registered as
//! the run that it is.

use super::Judge;
use seedlog_core::broker::Broker;
use seedlog_core::cluster::image::Image;
use seedlog_core::ids::{NodeId, RunId};

/// Checks all live nodes against the committed metadata.
///
/// # Errors
/// Who is not registered, or fenced.
pub fn check<'a>(
    image: &Image,
    mut brokers: impl Iterator<Item = (NodeId, &'a Broker)>,
) -> Result<(), (Judge, String)> {
    brokers
        .try_for_each(|(node, broker)| check_run(image, node, broker.run()))
        .map_err(|says| (Judge::L8, says))
}

/// As [`check`], of one node, as it was seen.
///
/// # Errors
/// Why it does not count.
pub fn check_run(image: &Image, node: NodeId, run: RunId) -> Result<(), String> {
    match image.brokers().get(&node) {
        None => Err(format!("node {node} is not registered")),
        Some(known) if known.run != run => Err(format!("node {node} is registered as another run of it")),
        Some(known) if known.fenced => Err(format!("node {node} is fenced")),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::cluster::records::MetadataRecord;
    use seedlog_core::ids::{BrokerEpoch, Offset, Uuid};

    #[test]
    fn a_fenced_or_unknown_broker_is_found() {
        let mut image = Image::default();
        assert!(check_run(&image, NodeId(1), RunId(7)).unwrap_err().contains("not registered"));
        let register = MetadataRecord::RegisterBroker {
            node_id: NodeId(1),
            broker_epoch: BrokerEpoch(0),
            incarnation: Uuid::ZERO,
            run: RunId(7),
            rack: None,
            listeners: Vec::new(),
            peer_listener: None,
        };
        image.replay(Offset(0), &[register]);
        assert_eq!(check_run(&image, NodeId(1), RunId(7)), Ok(()));
        assert!(check_run(&image, NodeId(1), RunId(8)).unwrap_err().contains("another run"));
        let fenced = MetadataRecord::BrokerState { node_id: NodeId(1), fenced: true, shutting_down: false };
        image.replay(Offset(1), &[fenced]);
        assert!(check_run(&image, NodeId(1), RunId(7)).unwrap_err().contains("fenced"));
    }
}
