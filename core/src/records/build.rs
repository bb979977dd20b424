//! Builds batches: for the command line, for simulated clients, for tests, and for the broker's own logs.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::records::batch::{
    Attributes, BATCH_HEADER_BYTES, BatchHeader, Compression, NO_TIMESTAMP, TimestampType,
};
use crate::records::varint;

/// A record header: name and value.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Collects records into one batch. Offsets count from the base offset, which is 0 unless set, as in a Produce request.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    attributes: Attributes,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: i32,
    record_count: i32,
    payload: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch without producer.
    #[must_use]
    pub fn new() -> Self {
        Self {
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch(-1),
            attributes: Attributes::default(),
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            producer_id: ProducerId(-1),
            producer_epoch: ProducerEpoch(-1),
            base_sequence: -1,
            record_count: 0,
            payload: Vec::new(),
        }
    }

    /// Sets offset and leader epoch, as a broker does that appends the batch itself.
    #[must_use]
    pub fn stamped(mut self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        self.base_offset = base_offset;
        self.leader_epoch = leader_epoch;
        self
    }

    /// Sets the idempotent producer, its epoch and the first record's sequence number.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.attributes = self.attributes.with_transactional(true);
        self
    }

    /// Marks the batch as control batch.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.attributes = self.attributes.with_control(true);
        self
    }

    /// Marks the timestamps as the broker's.
    #[must_use]
    pub fn log_append_time(mut self) -> Self {
        self.attributes = self.attributes.with_timestamp_type(TimestampType::LogAppendTime);
        self
    }

    /// Adds a record at the next offset. `timestamp` is in milliseconds.
    pub fn add(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> &mut Self {
        if self.record_count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let headers = headers.iter().copied();
        write_record(&mut self.payload, (timestamp_delta, self.record_count), (key, value), headers);
        self.record_count =
            self.record_count.checked_add(1).expect("a batch of 2^31 records does not fit into memory");
        self
    }

    /// Number of records so far.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Bytes that the batch takes without compression.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        BATCH_HEADER_BYTES + self.payload.len()
    }

    /// The batch, uncompressed.
    #[must_use]
    pub fn finish(&self) -> Bytes {
        self.assemble(Compression::None, &self.payload)
    }

    /// The batch with its payload as `compress` returns it, which must be in `codec`'s format.
    #[must_use]
    pub fn finish_with(&self, codec: Compression, compress: impl FnOnce(&[u8]) -> Vec<u8>) -> Bytes {
        self.assemble(codec, &compress(&self.payload))
    }

    fn assemble(&self, codec: Compression, payload: &[u8]) -> Bytes {
        let header = BatchHeader {
            base_offset: self.base_offset,
            batch_bytes: 0,
            leader_epoch: self.leader_epoch,
            crc: 0,
            attributes: self.attributes.with_compression(codec),
            last_offset_delta: (self.record_count - 1).max(0),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.record_count,
        };
        seal(header, payload)
    }
}

/// A batch of a header, whose size and CRC are set here, and of its payload.
pub(super) fn seal(header: BatchHeader, payload: &[u8]) -> Bytes {
    let batch_bytes = i32::try_from(BATCH_HEADER_BYTES + payload.len()).expect("a batch is below 2 GiB");
    let header = BatchHeader { batch_bytes: batch_bytes.unsigned_abs(), ..header };
    let mut bytes = Vec::with_capacity(BATCH_HEADER_BYTES + payload.len());
    let mut head = [0; BATCH_HEADER_BYTES];
    header.write(&mut head);
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(payload);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

/// Appends a record: its deltas of timestamp and offset, key and value, headers.
pub(super) fn write_record<'a>(
    payload: &mut Vec<u8>,
    (timestamp_delta, offset_delta): (i64, i32),
    (key, value): (Option<&[u8]>, Option<&[u8]>),
    headers: impl ExactSizeIterator<Item = Header<'a>>,
) {
    let mut record = Vec::new();
    record.push(0);
    varint::write(&mut record, timestamp_delta);
    varint::write(&mut record, i64::from(offset_delta));
    write_bytes(&mut record, key);
    write_bytes(&mut record, value);
    varint::write(&mut record, headers.len() as i64);
    for (name, value) in headers {
        write_bytes(&mut record, Some(name));
        write_bytes(&mut record, value);
    }
    write_bytes(payload, Some(&record));
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write(out, -1),
        Some(bytes) => {
            varint::write(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}
