//! S2 log matching (INVARIANTS.md 3a; Raft section 5.3, KIP-101, KIP-279): a leader epoch and an offset name one record for
//! ever, committed or not; and what is below any two nodes' high watermarks is the same on both.

use super::node_log::NodeLog;
use super::shadow::{ShadowBatch, hashes, shadow_of};
use super::truth::TrueLog;
use seedlog_core::ids::{LeaderEpoch, Offset};
use seedlog_core::records::BatchHeader;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every batch that was ever appended to a partition, on whatever node.
#[derive(Debug, Default)]
pub struct Named(BTreeMap<(LeaderEpoch, Offset), Arc<ShadowBatch>>);

impl Named {
    /// A batch is appended somewhere.
    ///
    /// # Errors
    /// Its epoch and one of its offsets name another one.
    pub fn name(&mut self, header: &BatchHeader, bytes: &[u8]) -> Result<Arc<ShadowBatch>, String> {
        let key = (header.leader_epoch, header.base_offset);
        if let Some(known) = self.0.get(&key) {
            let (whole, _) = hashes(header, bytes);
            if known.whole == whole {
                return Ok(Arc::clone(known));
            }
            return Err(format!(
                "epoch {} offset {} names two batches: one of hash {:x}, another of {whole:x}",
                key.0, key.1, known.whole
            ));
        }
        let before = self.0.range(..key).next_back().map(|(_, known)| known);
        let after = self.0.range(key..).next().map(|(_, known)| known);
        for other in before.into_iter().chain(after).map(|known| &known.header) {
            let apart =
                other.next_offset() <= header.base_offset || header.next_offset() <= other.base_offset;
            if other.leader_epoch == header.leader_epoch && !apart {
                return Err(format!(
                    "epoch {} offset {} is in a batch that begins at {} and in another that begins at {}",
                    key.0, key.1, other.base_offset, key.1
                ));
            }
        }
        let batch = Arc::new(shadow_of(header, bytes));
        self.0.insert(key, Arc::clone(&batch));
        Ok(batch)
    }

    /// The batches of an epoch that stand for the offsets of a batch; the first may begin before it, if nothing is left of it.
    /// `None`: there are none, or not for all of them.
    #[must_use]
    pub fn span(&self, header: &BatchHeader) -> Option<Vec<Arc<ShadowBatch>>> {
        let (epoch, end) = (header.leader_epoch, header.next_offset());
        let before = self.0.range(..=(epoch, header.base_offset)).next_back();
        let first = before.filter(|((of, _), _)| *of == epoch).map(|((_, base), _)| *base)?;
        let span: Vec<_> = self.0.range((epoch, first)..(epoch, end)).map(|(_, batch)| batch).collect();
        let mut due = first;
        for batch in &span {
            if batch.header.base_offset != due {
                return None;
            }
            due = batch.header.next_offset();
        }
        let starts = first == header.base_offset || header.record_count == 0;
        (starts && due == end && span.first()?.header.next_offset() > header.base_offset)
            .then(|| span.into_iter().map(Arc::clone).collect())
    }

    /// The batch that an epoch and an offset name.
    #[must_use]
    pub fn get(&self, epoch: LeaderEpoch, base: Offset) -> Option<&Arc<ShadowBatch>> {
        self.0.get(&(epoch, base))
    }
}

/// A node's high watermark is at `end`: what is below it must be what is true.
///
/// # Errors
/// Where the logs differ.
pub fn check_committed(truth: &TrueLog, log: &mut NodeLog, end: Offset) -> Result<(), String> {
    match truth.compare(log) {
        Err(at) if at < end => {
            let (own, held) = (&log.batches[log.matched].batch, &truth.batches[log.matched].batch);
            Err(format!(
                "offset {at} is committed with epoch {} and hash {:x}; this node has it, below its own watermark {end}, \
                 with epoch {} and hash {:x}",
                held.header.leader_epoch, held.whole, own.header.leader_epoch, own.whole
            ))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::{append, batch, batch_in, oracle, partition};
    use crate::judges::truth::tests::true_log;

    #[test]
    fn one_name_for_two_batches_is_found() {
        let mut named = Named::default();
        let (header, bytes) = batch(4, 0);
        assert!(named.name(&header, &bytes).is_ok());
        assert!(named.name(&header, &bytes).is_ok());
        let (header, bytes) = batch(4, 7);
        assert!(named.name(&header, &bytes).unwrap_err().contains("names two batches"));
        let (header, bytes) = batch(5, 0);
        assert!(named.name(&header, &bytes).unwrap_err().contains("begins at 4"));
        let (header, bytes) = batch(3, 0);
        assert!(named.name(&header, &bytes).unwrap_err().contains("begins at 4"));
        let (header, bytes) = batch_in(2, 4, 0);
        assert!(named.name(&header, &bytes).is_ok());
    }

    #[test]
    fn two_logs_that_differ_below_their_watermarks_are_found() {
        let truth = true_log(&oracle(3));
        let mut other = oracle(1);
        append(&mut other, 2, 2);
        let log = other.logs.get_mut(&partition()).unwrap();
        assert_eq!(check_committed(&truth, log, Offset(2)), Ok(()));
        assert!(check_committed(&truth, log, Offset(4)).unwrap_err().contains("offset 2"));
    }
}
