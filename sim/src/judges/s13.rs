//! S13 the metadata is well formed (INVARIANTS.md 3a): the leader is in the ISR, ISR and ELR are replicas and apart, and no
//! member of the ISR is fenced.

use seedlog_core::cluster::image::Image;
use seedlog_core::ids::TopicPartition;

/// Checks a partition of the committed metadata.
///
/// # Errors
/// What is not well formed.
pub fn check(image: &Image, partition: TopicPartition) -> Result<(), String> {
    let Some(held) = image.partition(partition) else { return Ok(()) };
    let state = &held.state;
    let wrong = |what: String| Err(format!("{partition} in epoch {}: {what}", state.leader_epoch));
    if let Some(leader) = state.leader.filter(|leader| !state.isr.contains(leader)) {
        return wrong(format!("leader {leader} is not in the ISR {:?}", state.isr));
    }
    if let Some(other) = state.isr.iter().chain(&state.elr).find(|node| !held.replicas().contains(node)) {
        return wrong(format!("{other} is in ISR or ELR and no replica"));
    }
    if let Some(both) = state.isr.iter().find(|node| state.elr.contains(node)) {
        return wrong(format!("{both} is in ISR and ELR"));
    }
    let fenced = state.isr.iter().find(|node| image.brokers().get(node).is_none_or(|broker| broker.fenced));
    // The last of an ISR stays in it while it is fenced: nobody else could lead.
    if let Some(fenced) = fenced.filter(|_| state.isr.len() > 1) {
        return wrong(format!("{fenced} is fenced and in the ISR {:?}", state.isr));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::partition;
    use seedlog_core::cluster::records::{MetadataRecord, PartitionState};
    use seedlog_core::cluster::topic_config::TopicConfig;
    use seedlog_core::ids::{NodeId, Offset};

    #[test]
    fn a_leader_outside_of_its_isr_is_found() {
        let image = |state: PartitionState| {
            let mut image = Image::default();
            let partition = partition();
            let topic = MetadataRecord::Topic {
                topic_id: partition.topic_id,
                name: "t".to_owned(),
                config: TopicConfig::default(),
                min_insync_replicas: 1,
            };
            let held = MetadataRecord::Partition {
                topic_id: partition.topic_id,
                partition: partition.partition,
                replicas: vec![NodeId(1), NodeId(2)],
                state,
            };
            image.replay(Offset(0), &[topic, held]);
            check(&image, partition)
        };
        let state = PartitionState::first(NodeId(1), vec![NodeId(1)]);
        assert_eq!(image(state.clone()), Ok(()));
        assert!(
            image(PartitionState { leader: Some(NodeId(2)), ..state.clone() })
                .unwrap_err()
                .contains("leader 2")
        );
        assert!(
            image(PartitionState { elr: vec![NodeId(1)], ..state.clone() })
                .unwrap_err()
                .contains("ISR and ELR")
        );
        assert!(
            image(PartitionState { elr: vec![NodeId(7)], ..state.clone() })
                .unwrap_err()
                .contains("no replica")
        );
        let two = PartitionState { isr: vec![NodeId(1), NodeId(2)], ..state };
        assert!(image(two).unwrap_err().contains("fenced"));
    }
}
