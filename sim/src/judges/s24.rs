//! S24 no silent corruption (INVARIANTS.md 3a): what is appended and what is served hashes to what a client produced.

use super::Judge;
use super::s20::{Patience, recognise};
use super::truth::TrueLog;
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader, verify_crc};
use std::collections::BTreeMap;

/// Payloads that clients produced, by hash: who, and the batch's number.
#[derive(Debug, Default)]
pub struct Register(BTreeMap<u64, (u32, u64)>);

impl Register {
    /// A client is about to send this payload.
    pub fn produced(&mut self, payload: u64, client: u32, number: u64) {
        self.0.insert(payload, (client, number));
    }

    /// Who produced a payload.
    #[must_use]
    pub fn producer_of(&self, payload: u64) -> Option<(u32, u64)> {
        self.0.get(&payload).copied()
    }

    /// Checks a payload that was appended.
    ///
    /// # Errors
    /// Nobody produced it.
    pub fn check(&self, payload: u64, at: Offset) -> Result<(), String> {
        self.find(payload, at).map(|_| ())
    }

    fn find(&self, payload: u64, at: Offset) -> Result<(u32, u64), String> {
        let none = || format!("the batch at offset {at} is none that a client produced");
        self.producer_of(payload).ok_or_else(none)
    }
}

/// Checks a batch that leaves a node for a reader: it is the committed one, of this partition of this topic (S14), or, where
/// committed records were lost beyond what is promised, one that was appended under its epoch.
///
/// # Errors
/// How it differs from what was appended.
pub fn check_served(
    truth: Option<&TrueLog>,
    patience: Patience,
    partition: TopicPartition,
    bytes: &[u8],
) -> Result<(), (Judge, String)> {
    let nothing = TrueLog::default();
    let truth = truth.unwrap_or(&nothing);
    let sent = |says: &str| format!("{partition}: a reader is sent {says}");
    let batches = recognise(truth, patience, bytes).map_err(|(judge, says)| (judge, sent(&says)))?;
    for batch in batches.iter().filter(|_| !truth.is_beyond) {
        let header = &batch.header;
        let (base, epoch) = (header.base_offset, header.leader_epoch);
        let says = match truth.at(base) {
            Some(held) if held.batch.whole == batch.whole => continue,
            Some(held) => {
                let committed = held.batch.header.leader_epoch;
                format!("offset {base} of epoch {epoch}, and the committed one is of epoch {committed}")
            }
            None => format!("offset {base}, and committed is what is below {}", truth.end()),
        };
        return Err((Judge::S24, sent(&says)));
    }
    Ok(())
}

/// Checks a batch as a client received it: it cannot know more than the CRC and what it or others produced. Gives back who
/// produced it, and as which of its batches.
///
/// # Errors
/// What is wrong with it.
pub fn check_received(register: &Register, bytes: &[u8]) -> Result<(BatchHeader, (u32, u64)), String> {
    let header = BatchHeader::parse(bytes).map_err(|error| format!("a reader received no batch: {error}"))?;
    if !verify_crc(bytes) {
        return Err(format!("the batch received at offset {} does not match its CRC", header.base_offset));
    }
    let producer = register.find(crate::hash::hash64(&bytes[BATCH_HEADER_BYTES..]), header.base_offset)?;
    Ok((header, producer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash64;
    use crate::judges::oracle::tests::{batch, batch_in, oracle, partition};
    use crate::judges::truth::tests::true_log;

    #[test]
    fn changed_misplaced_foreign_and_uncommitted_batches_are_found() {
        let mut truth = true_log(&oracle(2));
        for (epoch, base) in [(1, 0), (1, 2), (1, 4), (2, 2)] {
            let (header, bytes) = batch_in(epoch, base, i32::try_from(base).unwrap());
            truth.named.name(&header, &bytes).unwrap();
        }
        let check = |truth: &TrueLog, bytes: &[u8]| {
            check_served(Some(truth), Patience::default(), partition(), bytes).map_err(|(_, says)| says)
        };
        let (_, bytes) = batch(2, 2);
        assert_eq!(check(&truth, &bytes), Ok(()));
        let mut changed = bytes.to_vec();
        changed[70] ^= 1;
        assert!(check(&truth, &changed).unwrap_err().contains("none like it"));
        let (_, elsewhere) = batch(6, 4);
        assert!(check(&truth, &elsewhere).unwrap_err().contains("none like it"));
        assert!(check(&truth, b"short").unwrap_err().contains("no batch"));
        let (_, early) = batch(4, 4);
        assert!(check(&truth, &early).unwrap_err().contains("committed is what is below 4"));
        let (_, other) = batch_in(2, 2, 2);
        assert!(check(&truth, &other).unwrap_err().contains("the committed one is of epoch 1"));
        truth.is_beyond = true;
        assert_eq!(check(&truth, &other), Ok(()));
    }

    #[test]
    fn a_reader_knows_what_was_produced() {
        let (_, bytes) = batch(0, 0);
        let mut register = Register::default();
        assert!(check_received(&register, &bytes).unwrap_err().contains("none that a client produced"));
        register.produced(hash64(&bytes[BATCH_HEADER_BYTES..]), 1, 7);
        assert!(check_received(&register, &bytes).is_ok());
        let mut changed = bytes.to_vec();
        changed[70] ^= 1;
        assert!(check_received(&register, &changed).unwrap_err().contains("CRC"));
    }
}
