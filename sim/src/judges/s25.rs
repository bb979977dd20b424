//! S25 idempotence (INVARIANTS.md 3a, KIP-98): per (producer, epoch, partition) the sequences in a log are contiguous and none
//! comes twice. They begin at 0 with an epoch and in an empty log; a log that holds others' records takes a producer that it
//! does not know at any sequence, as Kafka's does (KIP-360), so there a refused first batch leaves a gap before the second.

use super::oracle::ShadowLog;
use seedlog_core::records::{BatchHeader, next_sequence};

/// Checks the log's last batch against those before it.
///
/// # Errors
/// The gap or the repetition.
pub fn check_last(log: &ShadowLog) -> Result<(), String> {
    let Some((last, before)) = log.batches.split_last() else { return Ok(()) };
    let header = &last.header;
    if !header.has_producer_id() {
        return Ok(());
    }
    let earlier =
        before.iter().rev().map(|batch| &batch.header).find(|other| other.producer_id == header.producer_id);
    match earlier {
        None if !before.is_empty() || log.forgotten.contains(&header.producer_id) => Ok(()),
        None => first(header),
        Some(earlier) if earlier.producer_epoch < header.producer_epoch => first(header),
        Some(earlier) if earlier.producer_epoch > header.producer_epoch => Err(format!(
            "producer {} writes in epoch {} after epoch {}",
            header.producer_id, header.producer_epoch, earlier.producer_epoch
        )),
        Some(earlier) => {
            let due = next_sequence(earlier.last_sequence(), 1);
            if header.base_sequence == due {
                return Ok(());
            }
            Err(format!(
                "offset {}: producer {} writes sequence {} where {due} is due",
                header.base_offset, header.producer_id, header.base_sequence
            ))
        }
    }
}

fn first(header: &BatchHeader) -> Result<(), String> {
    if header.base_sequence == 0 {
        return Ok(());
    }
    Err(format!(
        "offset {}: producer {} begins at sequence {}: what came before is missing",
        header.base_offset, header.producer_id, header.base_sequence
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::Oracle;
    use crate::judges::oracle::tests::{batch, entry, partition};
    use seedlog_core::ids::Offset;

    #[test]
    fn a_producer_of_which_flush_interval_lost_everything_goes_on_anywhere() {
        let mut late = log(&[2]);
        late.excuse(Offset(0));
        assert_eq!(check_last(&late), Ok(()));
        let mut gap = log(&[0, 4]);
        gap.excuse(Offset(2));
        assert!(check_last(&gap).is_err());
    }

    fn log(sequences: &[i32]) -> ShadowLog {
        let mut oracle = Oracle::default();
        for (index, &sequence) in (0..).zip(sequences) {
            let (header, bytes) = batch(index * 2, sequence);
            let lsn = oracle.end().next();
            oracle.on_entry(lsn, &entry(&header), Some((&header, &bytes)));
        }
        oracle.logs.remove(&partition()).unwrap()
    }

    #[test]
    fn gaps_repetitions_and_late_beginnings_are_found() {
        assert_eq!(check_last(&log(&[0, 2, 4])), Ok(()));
        assert!(check_last(&log(&[0, 2, 2])).unwrap_err().contains("where 4 is due"));
        assert!(check_last(&log(&[0, 4])).unwrap_err().contains("where 2 is due"));
        assert!(check_last(&log(&[2])).unwrap_err().contains("begins at sequence 2"));
    }
}
