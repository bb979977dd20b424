//! S24 no silent corruption (INVARIANTS.md 3a): what is appended and what is served hashes to what a client produced.

use super::oracle::{ShadowLog, whole_hash};
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
        match self.producer_of(payload) {
            Some(_) => Ok(()),
            None => Err(format!("the batch at offset {at} is none that a client produced")),
        }
    }
}

/// Checks a batch that leaves the node.
///
/// # Errors
/// How it differs from what was appended.
pub fn check_served(log: Option<&ShadowLog>, partition: TopicPartition, bytes: &[u8]) -> Result<(), String> {
    let Ok(header) = BatchHeader::parse(bytes) else {
        return Err(format!("{partition}: a reader is sent bytes that are no batch"));
    };
    let base = header.base_offset;
    let Some(batch) = log.and_then(|log| log.at(base)) else {
        return Err(format!(
            "{partition}: a reader is sent a batch at offset {base}, where none was appended"
        ));
    };
    if batch.whole != whole_hash(bytes) {
        return Err(format!("{partition}: the batch at offset {base} is not the one that was appended"));
    }
    Ok(())
}

/// Checks a batch as a client received it: it cannot know more than the CRC and what it or others produced.
///
/// # Errors
/// What is wrong with it.
pub fn check_received(register: &Register, bytes: &[u8]) -> Result<BatchHeader, String> {
    let header = BatchHeader::parse(bytes).map_err(|error| format!("a reader received no batch: {error}"))?;
    if !verify_crc(bytes) {
        return Err(format!("the batch received at offset {} does not match its CRC", header.base_offset));
    }
    register.check(crate::hash::hash64(&bytes[BATCH_HEADER_BYTES..]), header.base_offset)?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash64;
    use crate::judges::oracle::tests::{batch, oracle, partition};

    #[test]
    fn changed_misplaced_and_foreign_batches_are_found() {
        let oracle = oracle(2);
        let log = oracle.logs.get(&partition());
        let (_, bytes) = batch(2, 2);
        assert_eq!(check_served(log, partition(), &bytes), Ok(()));
        let mut changed = bytes.to_vec();
        changed[70] ^= 1;
        assert!(check_served(log, partition(), &changed).unwrap_err().contains("not the one"));
        let (_, elsewhere) = batch(4, 4);
        assert!(check_served(log, partition(), &elsewhere).unwrap_err().contains("where none"));
        assert!(check_served(log, partition(), b"short").unwrap_err().contains("no batch"));
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
