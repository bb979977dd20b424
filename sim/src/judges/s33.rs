//! S33 no byte leaves a node under another name (INVARIANTS.md, SAFETY R8): a batch that one node sends to another is one that
//! was appended under its epoch and at its offset.

use super::oracle::whole_hash;
use super::truth::TrueLog;
use seedlog_core::ids::TopicPartition;
use seedlog_core::records::BatchHeader;

/// Checks a batch on its way to a peer, as stamped.
///
/// # Errors
/// What it is not.
pub fn check_sent(log: &TrueLog, partition: TopicPartition, bytes: &[u8]) -> Result<(), String> {
    let Ok(header) = BatchHeader::parse(bytes) else {
        return Err(format!("{partition}: a peer is sent bytes that are no batch"));
    };
    let named = log.named.get(header.leader_epoch, header.base_offset);
    if named.is_some_and(|named| named.whole == whole_hash(bytes)) {
        return Ok(());
    }
    Err(format!(
        "{partition}: a peer is sent a batch at offset {} of epoch {}, and none like it was appended there",
        header.base_offset, header.leader_epoch
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::{batch_in, partition};

    #[test]
    fn a_batch_that_was_appended_elsewhere_or_never_is_found() {
        let mut log = TrueLog::default();
        let (header, bytes) = batch_in(1, 4, 4);
        log.named.name(&header, &bytes).unwrap();
        assert_eq!(check_sent(&log, partition(), &bytes), Ok(()));
        let (_, elsewhere) = batch_in(1, 6, 4);
        assert!(check_sent(&log, partition(), &elsewhere).unwrap_err().contains("offset 6 of epoch 1"));
        let mut changed = bytes.to_vec();
        changed[70] ^= 1;
        assert!(check_sent(&log, partition(), &changed).unwrap_err().contains("none like it"));
        assert!(check_sent(&log, partition(), b"short").unwrap_err().contains("no batch"));
    }
}
