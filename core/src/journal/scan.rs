//! What the bytes of one journal file hold, group by group, without judging what it means.

use super::entry::{Entry, Located};
use super::format::{BLOCK_BYTES, FILE_HEADER_BYTES, FileHeader, FormatError, GroupPrefix, padded, seq_low};
use crate::ids::Lsn;
use crate::records::{BATCH_HEADER_BYTES, BatchHeader, verify_crc};
use alloc::vec::Vec;

/// One group found in a file: its prefix and table are intact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedGroup {
    /// Position in the file in bytes.
    pub position: u64,
    /// The group's prefix.
    pub prefix: GroupPrefix,
    /// Its last entry is [`Entry::Stopped`].
    pub ends_stopped: bool,
    /// Its last [`Entry::Started`]: a run begins there.
    pub start: Option<Lsn>,
    /// Numbers of the entries whose record bytes are not what was written; empty before [`FileScan::verify`].
    pub damaged: Vec<Lsn>,
}

/// What one file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileScan {
    /// The file's number, from its name.
    pub seq: u64,
    /// Its header, when one of the copies is intact and bears the file's number.
    pub header: Option<FileHeader>,
    /// Its groups in file order. Between them there may be holes.
    pub groups: Vec<ScannedGroup>,
}

/// Reads the structure of a file: header, and every intact group that belongs to this life of the file. Payloads are not
/// checked. A file whose header is lost is read by the salt of its first group.
///
/// # Errors
/// [`FormatError::Newer`] if any intact part was written by a newer release.
pub fn scan_file(seq: u64, file: &[u8]) -> Result<FileScan, FormatError> {
    let header = match FileHeader::decode(file) {
        Ok(header) if header.seq == seq => Some(header),
        Ok(_) | Err(FormatError::Invalid) => None,
        Err(other @ (FormatError::Newer { .. } | FormatError::Older { .. })) => return Err(other),
    };
    let mut salt = header.map(|header| header.salt);
    let mut groups = Vec::new();
    let mut position = FILE_HEADER_BYTES;
    while position < file.len() {
        match read_group(&file[position..], position, seq, salt)? {
            Some(group) => {
                salt = Some(group.prefix.salt);
                position += group.prefix.padded_bytes();
                groups.push(group);
            }
            None => position += BLOCK_BYTES,
        }
    }
    Ok(FileScan { seq, header, groups })
}

fn read_group(
    bytes: &[u8],
    position: usize,
    seq: u64,
    salt: Option<u64>,
) -> Result<Option<ScannedGroup>, FormatError> {
    let prefix = match GroupPrefix::read(bytes) {
        Ok(prefix) => prefix,
        Err(FormatError::Invalid) => return Ok(None),
        Err(other @ (FormatError::Newer { .. } | FormatError::Older { .. })) => return Err(other),
    };
    let at_home = prefix.block as usize * BLOCK_BYTES == position
        && prefix.seq_low == seq_low(seq)
        && salt.is_none_or(|salt| salt == prefix.salt);
    // Recovery moves groups with their padding: one that leaves its file is torn.
    if !at_home || prefix.padded_bytes() > bytes.len() {
        return Ok(None);
    }
    let Ok(entries) = prefix.entries(bytes) else {
        return Ok(None);
    };
    let ends_stopped = entries.last().is_some_and(|last| last.entry == Entry::Stopped);
    let mut starts = entries.iter().filter(|located| matches!(located.entry, Entry::Started { .. }));
    let start = starts.next_back().map(|located| located.lsn);
    let position = position as u64;
    Ok(Some(ScannedGroup { position, prefix, ends_stopped, start, damaged: Vec::new() }))
}

impl FileScan {
    /// Checks the record bytes of every group against the table and the batches' own CRCs.
    pub fn verify(&mut self, file: &[u8]) {
        for group in &mut self.groups {
            let start =
                usize::try_from(group.position).expect("a file that is in memory has positions in usize");
            let bytes = file.get(start..).unwrap_or(&[]);
            let entries = group.prefix.entries(bytes).unwrap_or_default();
            group.damaged = entries
                .iter()
                .filter(|found| !payload_is_intact(found, bytes))
                .map(|found| found.lsn)
                .collect();
        }
    }

    /// Bytes of the file that may hold groups of this life: up to the end of the last one found.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.groups
            .last()
            .map_or(FILE_HEADER_BYTES as u64, |last| last.position + last.prefix.padded_bytes() as u64)
    }
}

/// The record bytes of an entry are those that were written: header fields as the table says, CRC as stored.
#[must_use]
pub fn payload_is_intact(found: &Located, group: &[u8]) -> bool {
    let Entry::Append(append) = &found.entry else {
        return true;
    };
    let start = found.payload_at as usize;
    let Some(batch) = group.get(start..start + append.batch_bytes as usize) else {
        return false;
    };
    let Ok(header) = BatchHeader::parse(batch) else {
        return false;
    };
    batch.len() >= BATCH_HEADER_BYTES
        && header.batch_bytes == append.batch_bytes
        && header.base_offset == append.base_offset
        && header.next_offset() == append.next_offset()
        && header.leader_epoch == append.epoch
        && header.crc == append.crc
        && verify_crc(batch)
}

/// Size of the group in whole blocks as its prefix in `bytes` states it, if it is one.
#[must_use]
pub fn group_bytes(prefix: &GroupPrefix) -> usize {
    padded(prefix.table_at as usize + prefix.table_bytes as usize)
}
