//! What is kept of a batch that stands in a log: its header, hashes, and what its records say of keys and groups.

use crate::hash::{hash64, mix};
use seedlog_core::group::records::GroupRecord;
use seedlog_core::ids::Offset;
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader, Record, RecordIter};

/// One batch as it stands in a log.
#[derive(Debug, Clone)]
pub struct ShadowBatch {
    /// Its stamped header.
    pub header: BatchHeader,
    /// Hash of all its bytes as stamped.
    pub whole: u64,
    /// Hash of its payload.
    pub payload: u64,
    /// Its records' timestamps.
    pub timestamps: Vec<i64>,
    /// What it says of groups; of other batches nothing, for no client writes keys.
    pub groups: Vec<GroupRecord>,
    /// Its records with keys, in order.
    pub records: Vec<ShadowRecord>,
    /// It has others.
    pub has_keyless: bool,
}

/// One record with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowRecord {
    /// Its offset.
    pub offset: Offset,
    /// Hash of its key.
    pub key: u64,
    /// Hash of all of it.
    pub content: u64,
    /// It deletes the key.
    pub is_tombstone: bool,
}

/// Hash of all that a record says.
#[must_use]
pub fn content_of(record: &Record<'_>) -> u64 {
    let optional = |bytes: Option<&[u8]>| bytes.map_or(1, |bytes| mix(2, hash64(bytes)));
    let of_record = mix(optional(record.key), mix(optional(record.value), record.timestamp.cast_unsigned()));
    record.headers.fold(of_record, |hash, (name, value)| mix(hash, mix(hash64(name), optional(value))))
}

/// The hash of a batch as it stands in a log.
#[must_use]
pub fn whole_hash(stamped: &[u8]) -> u64 {
    let (header, payload) = stamped.split_at(BATCH_HEADER_BYTES.min(stamped.len()));
    mix(hash64(header), hash64(payload))
}

/// Hashes of a batch as stamped: the whole, and the payload.
#[must_use]
pub fn hashes(header: &BatchHeader, bytes: &[u8]) -> (u64, u64) {
    let mut stamped = [0; BATCH_HEADER_BYTES];
    header.write(&mut stamped);
    let payload = hash64(&bytes[BATCH_HEADER_BYTES..]);
    (mix(hash64(&stamped), payload), payload)
}

/// The shadow of a batch.
#[must_use]
pub fn shadow_of(header: &BatchHeader, bytes: &[u8]) -> ShadowBatch {
    let (whole, payload) = hashes(header, bytes);
    let records = RecordIter::new(header, &bytes[BATCH_HEADER_BYTES..]).map_while(Result::ok);
    let (mut timestamps, mut groups, mut keyed) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        timestamps.push(record.timestamp);
        let Some(key) = record.key else { continue };
        groups.extend(GroupRecord::decode(Some(key), record.value).ok());
        keyed.push(ShadowRecord {
            offset: record.offset,
            key: hash64(key),
            content: content_of(&record),
            is_tombstone: record.value.is_none(),
        });
    }
    let has_keyless = keyed.len() < timestamps.len();
    ShadowBatch { header: *header, whole, payload, timestamps, groups, records: keyed, has_keyless }
}
