//! S25 idempotence (INVARIANTS.md 3a, KIP-98): per (producer, epoch, partition) the committed sequences are contiguous and none
//! comes twice. They begin at 0 with an epoch; a partition that does not know a producer takes it at any sequence, as Kafka's
//! does (KIP-360), so that a refused first batch leaves a gap before the second.

use super::shadow::ShadowBatch;
use seedlog_core::ids::{ProducerEpoch, ProducerId};
use seedlog_core::records::{BatchHeader, next_sequence};
use std::collections::BTreeMap;

/// Checks the next committed batch against those before it, and remembers it.
///
/// # Errors
/// The gap or the repetition.
pub fn check_next(
    producers: &mut BTreeMap<ProducerId, (ProducerEpoch, i32)>,
    batch: &ShadowBatch,
) -> Result<(), String> {
    let header = &batch.header;
    if !header.has_producer_id() {
        return Ok(());
    }
    let due = (header.producer_epoch, next_sequence(header.last_sequence(), 1));
    match producers.insert(header.producer_id, due) {
        None => Ok(()),
        Some((epoch, _)) if epoch < header.producer_epoch => first(header),
        Some((epoch, _)) if epoch > header.producer_epoch => Err(format!(
            "producer {} writes in epoch {} after epoch {epoch}",
            header.producer_id, header.producer_epoch
        )),
        Some((_, due)) if header.base_sequence == due => Ok(()),
        Some((_, due)) => Err(format!(
            "offset {}: producer {} writes sequence {} where {due} is due",
            header.base_offset, header.producer_id, header.base_sequence
        )),
    }
}

fn first(header: &BatchHeader) -> Result<(), String> {
    if header.base_sequence == 0 {
        return Ok(());
    }
    Err(format!(
        "offset {}: producer {} begins its epoch at sequence {}: what came before is missing",
        header.base_offset, header.producer_id, header.base_sequence
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::batch;
    use crate::judges::shadow::shadow_of;

    fn check(sequences: &[i32]) -> Result<(), String> {
        let mut producers = BTreeMap::new();
        (0..).zip(sequences).try_for_each(|(index, &sequence)| {
            let (header, bytes) = batch(index * 2, sequence);
            check_next(&mut producers, &shadow_of(&header, &bytes))
        })
    }

    #[test]
    fn gaps_and_repetitions_are_found() {
        assert_eq!(check(&[0, 2, 4]), Ok(()));
        assert_eq!(check(&[6, 8]), Ok(()));
        assert!(check(&[0, 2, 2]).unwrap_err().contains("where 4 is due"));
        assert!(check(&[0, 4]).unwrap_err().contains("where 2 is due"));
    }
}
