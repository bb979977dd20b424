//! Records of one batch's payload, uncompressed or decompressed by the caller. Every length is checked against the bytes
//! that are there: hostile input ends the walk with an error.

use crate::ids::Offset;
use crate::records::batch::{BatchHeader, TimestampType};
use crate::records::varint::{read_int, read_long};

/// The payload is not what the header promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordError {
    /// A record is cut short, or a length in it leads outside.
    Malformed,
    /// A record's offset is outside the batch or does not grow.
    OffsetOrder,
    /// Bytes follow the last record.
    TrailingBytes,
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "a record is malformed",
            Self::OffsetOrder => "a record's offset is outside its batch or out of order",
            Self::TrailingBytes => "bytes follow the last record of a batch",
        })
    }
}

impl core::error::Error for RecordError {}

/// One record, borrowed from the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset in the partition.
    pub offset: Offset,
    /// Its time in milliseconds: its own, or the batch's append time. -1 means none.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers (KIP-82).
    pub headers: Headers<'a>,
}

/// A record's headers: an iterator over (name, value). The names are UTF-8 by convention only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    remaining: u32,
}

impl<'a> Headers<'a> {
    /// Takes the headers, which end the record's bytes. Walks them once, so that iteration cannot fail later.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let count = u32::try_from(read_int(&mut rest)?).ok()?;
        let headers = Self { bytes: rest, remaining: count };
        for _ in 0..count {
            read_header(&mut rest)?;
        }
        rest.is_empty().then_some(headers)
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        Some(read_header(&mut self.bytes).expect("`parse` read these headers before"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining as usize, Some(self.remaining as usize))
    }
}

impl ExactSizeIterator for Headers<'_> {}

fn read_header<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let name = read_bytes(bytes)??;
    Some((name, read_bytes(bytes)?))
}

/// Reads a length and that many bytes; length -1 is null. The outer `None` is malformed input.
#[expect(clippy::option_option, reason = "the outer one is an error, the inner one Kafka's null")]
fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match read_int(bytes)? {
        -1 => Some(None),
        length => {
            let (head, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
            *bytes = rest;
            Some(Some(head))
        }
    }
}

/// Iterates over the records of a payload; ends after the first error.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    header: BatchHeader,
    rest: &'a [u8],
    remaining: i32,
    /// The least offset delta that the next record may have.
    delta_min: i32,
}

impl<'a> RecordIter<'a> {
    /// Starts at the first record of `payload`, the uncompressed bytes behind `header`.
    #[must_use]
    pub fn new(header: &BatchHeader, payload: &'a [u8]) -> Self {
        Self { header: *header, rest: payload, remaining: header.record_count.max(0), delta_min: 0 }
    }

    fn read(&mut self) -> Result<Record<'a>, RecordError> {
        let mut record = read_bytes(&mut self.rest).flatten().ok_or(RecordError::Malformed)?;
        let (timestamp_delta, offset_delta, key, value, headers) =
            read_fields(&mut record).ok_or(RecordError::Malformed)?;
        if offset_delta < self.delta_min || offset_delta > self.header.last_offset_delta {
            return Err(RecordError::OffsetOrder);
        }
        self.delta_min = offset_delta.saturating_add(1);
        let offset =
            self.header.base_offset.0.checked_add(i64::from(offset_delta)).ok_or(RecordError::OffsetOrder)?;
        let timestamp = match self.header.timestamp_type() {
            // Kafka's clients let the sum wrap; a producer that sends such numbers gets back what it sent.
            TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        Ok(Record { offset: Offset(offset), timestamp, key, value, headers })
    }
}

type Fields<'a> = (i64, i32, Option<&'a [u8]>, Option<&'a [u8]>, Headers<'a>);

fn read_fields<'a>(record: &mut &'a [u8]) -> Option<Fields<'a>> {
    // The record's own attributes are a byte that no version has used.
    let (_attributes, rest) = record.split_first()?;
    *record = rest;
    let timestamp_delta = read_long(record)?;
    let offset_delta = read_int(record)?;
    let key = read_bytes(record)?;
    let value = read_bytes(record)?;
    Some((timestamp_delta, offset_delta, key, value, Headers::parse(record)?))
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            let trailing = !self.rest.is_empty();
            self.rest = &[];
            return trailing.then_some(Err(RecordError::TrailingBytes));
        }
        let read = self.read();
        self.remaining -= 1;
        if read.is_err() {
            self.remaining = 0;
            self.rest = &[];
        }
        Some(read)
    }
}

/// The first record from the offset `from` on whose timestamp is `target` or later: (offset, timestamp). `None` when there is
/// none up to the end of the payload or to a record that cannot be read.
#[must_use]
pub fn find_by_timestamp(
    header: &BatchHeader,
    payload: &[u8],
    from: Offset,
    target: i64,
) -> Option<(Offset, i64)> {
    readable(header, payload, from).find(|&(_, timestamp)| timestamp >= target)
}

/// The first record from the offset `from` on with the largest timestamp: (offset, timestamp). Reads up to the end of the
/// payload or to a record that cannot be read.
#[must_use]
pub fn max_timestamp_record(header: &BatchHeader, payload: &[u8], from: Offset) -> Option<(Offset, i64)> {
    readable(header, payload, from).reduce(|best, next| if next.1 > best.1 { next } else { best })
}

fn readable(header: &BatchHeader, payload: &[u8], from: Offset) -> impl Iterator<Item = (Offset, i64)> {
    let records = RecordIter::new(header, payload).map_while(Result::ok).map(|r| (r.offset, r.timestamp));
    records.filter(move |(offset, _)| *offset >= from)
}

/// The place of the first record without a key, or of the first that cannot be read, in a payload that is not compressed or was
/// decompressed; `None`: all have one.
#[must_use]
pub fn first_without_key(header: &BatchHeader, payload: &[u8]) -> Option<i32> {
    let records = RecordIter::new(header, payload).map_while(Result::ok);
    let place = records.take_while(|record| record.key.is_some()).count();
    i32::try_from(place).ok().filter(|place| *place < header.record_count)
}
