//! S12 an ack means copies (INVARIANTS.md 3a): when a success for acks=1 or acks=all leaves a node with flush=always, the
//! record is in the shadow log and its group is on the platter, not merely in the page cache.

use super::oracle::ShadowLog;
use seedlog_core::ids::{Offset, TopicPartition};

/// Checks one acknowledged batch. `on_platter` looks behind the page cache; `None` means the batch is nowhere.
///
/// # Errors
/// What the acknowledgement promised too early.
pub fn check_ack(
    log: Option<&ShadowLog>,
    partition: TopicPartition,
    base: Offset,
    on_platter: Option<bool>,
) -> Result<(), String> {
    if log.and_then(|log| log.at(base)).is_none() {
        return Err(format!("{partition}: offset {base} is acknowledged and no batch begins there"));
    }
    match on_platter {
        Some(true) => Ok(()),
        Some(false) => {
            Err(format!("{partition}: offset {base} is acknowledged before its group is on the platter"))
        }
        None => Err(format!("{partition}: offset {base} is acknowledged before its group is written")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::{oracle, partition};

    #[test]
    fn an_ack_before_the_sync_is_found() {
        let oracle = oracle(1);
        let log = oracle.logs.get(&partition());
        assert_eq!(check_ack(log, partition(), Offset(0), Some(true)), Ok(()));
        assert!(check_ack(log, partition(), Offset(0), Some(false)).unwrap_err().contains("platter"));
        assert!(check_ack(log, partition(), Offset(0), None).unwrap_err().contains("written"));
        assert!(check_ack(log, partition(), Offset(1), Some(true)).unwrap_err().contains("no batch begins"));
    }
}
