//! S33 no byte leaves a node under another name (INVARIANTS.md, SAFETY R8): a batch that one node sends to another is one that
//! was appended under its epoch and at its offset.

use super::Judge;
use super::s20::{Patience, recognise};
use super::truth::TrueLog;
use seedlog_core::ids::TopicPartition;

/// Checks a batch on its way to a peer, as stamped.
///
/// # Errors
/// What it is not.
pub fn check_sent(
    log: &TrueLog,
    patience: Patience,
    partition: TopicPartition,
    bytes: &[u8],
) -> Result<(), (Judge, String)> {
    match recognise(log, patience, bytes) {
        Ok(_) => Ok(()),
        Err((judge, says)) => {
            let judge = if judge == Judge::S24 { Judge::S33 } else { judge };
            Err((judge, format!("{partition}: a peer is sent {says}")))
        }
    }
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
        let check = |bytes: &[u8]| check_sent(&log, Patience::default(), partition(), bytes);
        assert_eq!(check(&bytes), Ok(()));
        let (_, elsewhere) = batch_in(1, 6, 4);
        assert!(check(&elsewhere).unwrap_err().1.contains("offset 6 of epoch 1"));
        let mut changed = bytes.to_vec();
        changed[70] ^= 1;
        assert!(check(&changed).unwrap_err().1.contains("none like it"));
        assert!(check(b"short").unwrap_err().1.contains("no batch"));
    }
}
