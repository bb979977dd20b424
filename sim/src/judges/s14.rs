//! S14 topic identity (INVARIANTS.md 3a): no record of one topic is served as another topic's, whatever their names. What is served
//! is held against the partition's own log by [`super::s24::check_served`]; this says so where it is another topic's record.

use super::shadow::whole_hash;
use super::truth::TrueLog;
use seedlog_core::ids::TopicPartition;
use seedlog_core::records::BatchHeader;
use std::collections::BTreeMap;

/// A batch that leaves a node for a reader of `partition`.
///
/// # Errors
/// It was appended to another topic, at this place in this epoch, and not to this one.
pub fn check_identity(
    logs: &BTreeMap<TopicPartition, TrueLog>,
    partition: TopicPartition,
    bytes: &[u8],
) -> Result<(), String> {
    let Ok(header) = BatchHeader::parse(bytes) else { return Ok(()) };
    let whole = whole_hash(bytes);
    let is_in = |log: &TrueLog| {
        log.named.get(header.leader_epoch, header.base_offset).is_some_and(|named| named.whole == whole)
    };
    if logs.get(&partition).is_some_and(is_in) {
        return Ok(());
    }
    let mut others = logs.iter().filter(|(other, _)| other.topic_id != partition.topic_id);
    match others.find(|(_, log)| is_in(log)) {
        Some((other, _)) => Err(format!(
            "{partition}: a reader is sent the batch at offset {} of {other}, which is another topic",
            header.base_offset
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::{batch, batch_in, partition};
    use seedlog_core::ids::Uuid;

    #[test]
    fn a_record_of_a_deleted_topic_under_its_successors_id_is_found() {
        let former = TopicPartition { topic_id: Uuid([9; 16]), ..partition() };
        let mut logs: BTreeMap<TopicPartition, TrueLog> = BTreeMap::new();
        let (header, bytes) = batch(0, 0);
        logs.entry(former).or_default().named.name(&header, &bytes).unwrap();
        let (own_header, own_bytes) = batch_in(1, 0, 8);
        logs.entry(partition()).or_default().named.name(&own_header, &own_bytes).unwrap();
        assert_eq!(check_identity(&logs, partition(), &own_bytes), Ok(()));
        assert_eq!(check_identity(&logs, former, &bytes), Ok(()));
        assert!(check_identity(&logs, partition(), &bytes).unwrap_err().contains("another topic"));
    }
}
