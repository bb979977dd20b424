//! Record batches from a leader: taken apart and checked before the core sees them.

use crate::ids::Offset;
use crate::records::{Batches, ProducedBatch, verify_crc};
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// Why a leader's batches are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchesError {
    /// Bytes that are no whole batch.
    Incomplete,
    /// A batch's checksum does not match.
    CrcMismatch {
        /// Its first offset.
        base_offset: Offset,
    },
    /// Offsets or epochs do not grow.
    Order {
        /// The batch's first offset.
        base_offset: Offset,
    },
}

impl fmt::Display for BatchesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("a leader sent bytes that are no whole record batch"),
            Self::CrcMismatch { base_offset } => {
                write!(f, "a leader sent a damaged record batch at offset {base_offset}")
            }
            Self::Order { base_offset } => {
                write!(f, "a leader sent the record batch at offset {base_offset} out of order")
            }
        }
    }
}

impl core::error::Error for BatchesError {}

/// Takes apart what stood behind the header of an [`crate::peer::PeerBody::Append`] and checks every CRC: the core trusts
/// the headers. The batches are slices of `bytes`.
///
/// # Errors
/// [`BatchesError`]; nothing of it is to be used then.
pub fn admit_batches(bytes: &Bytes) -> Result<Vec<ProducedBatch>, BatchesError> {
    let mut found: Vec<ProducedBatch> = Vec::new();
    let mut batches = Batches::new(bytes);
    for (header, range) in batches.by_ref() {
        if !verify_crc(&bytes[range.clone()]) {
            return Err(BatchesError::CrcMismatch { base_offset: header.base_offset });
        }
        let follows = found.last().is_none_or(|last| {
            header.base_offset >= last.header.next_offset() && header.leader_epoch >= last.header.leader_epoch
        });
        if !follows || header.base_offset < Offset::ZERO || header.leader_epoch.0 < 0 {
            return Err(BatchesError::Order { base_offset: header.base_offset });
        }
        found.push(ProducedBatch { header, bytes: bytes.slice(range) });
    }
    if batches.end() == bytes.len() { Ok(found) } else { Err(BatchesError::Incomplete) }
}
