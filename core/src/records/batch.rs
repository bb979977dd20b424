//! The 61-byte header of a record batch, magic 2, and the checks that need nothing but the header and the bytes.
//!
//! Records inside the payload are the business of `iter`; what a header means for a log is the business of `log`.

use core::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::errors::ErrorCode;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::time::WallMs;

/// Bytes of a batch's header; the records follow.
pub const BATCH_HEADER_BYTES: usize = 61;
/// "No timestamp", in a record and in a header.
pub const NO_TIMESTAMP: i64 = -1;

/// Bytes ahead of what the length field counts: base offset and the length itself.
const LENGTH_PREFIX_BYTES: usize = 12;
/// Where the CRC's cover begins: the attributes. Base offset and leader epoch are outside, so stamping keeps the CRC.
const CRC_COVER_START: usize = 21;
const MAGIC: i8 = 2;
const MAGIC_AT: usize = 16;

/// Why a batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchError {
    /// No batch at all, or fewer bytes than the header or its length field asks for.
    Incomplete,
    /// The length field is below what a header takes.
    LengthTooSmall,
    /// Bytes follow the first batch: a Produce request holds exactly one for each partition.
    NotExactlyOne,
    /// Message format 0 or 1, or one that does not exist.
    UnsupportedMagic(i8),
    /// The bytes do not match their CRC.
    CrcMismatch,
    /// The attributes name a codec that does not exist.
    UnknownCompression,
    /// The batch is over `max.message.bytes`.
    TooLarge,
    /// Base offset other than 0 in a Produce request.
    BaseOffset,
    /// Record count and last offset delta contradict each other, or are negative.
    Count,
    /// A client sent a control batch.
    Control,
    /// A client set a bit that only a broker may set (delete horizon, KIP-534).
    BrokerAttribute,
    /// A client marked its timestamps as log append time.
    TimestampType,
    /// A producer id without sequence or epoch, or a transactional batch without a producer id.
    ProducerFields,
}

impl BatchError {
    /// The code that a Produce response carries.
    ///
    /// Kafka refuses an older magic in a Produce request from version 3 on with INVALID_RECORD, in
    /// `ProduceRequest.validateRecords`; UNSUPPORTED_FOR_MESSAGE_FORMAT is about topics in an older format.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::CrcMismatch | Self::LengthTooSmall => ErrorCode::CorruptMessage,
            Self::UnknownCompression => ErrorCode::UnsupportedCompressionType,
            Self::TooLarge => ErrorCode::MessageTooLarge,
            Self::TimestampType => ErrorCode::InvalidTimestamp,
            Self::Incomplete
            | Self::NotExactlyOne
            | Self::UnsupportedMagic(_)
            | Self::BaseOffset
            | Self::Count
            | Self::Control
            | Self::BrokerAttribute
            | Self::ProducerFields => ErrorCode::InvalidRecord,
        }
    }
}

impl core::fmt::Display for BatchError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "the record batch is missing or cut short",
            Self::LengthTooSmall => "the record batch's length is below that of its header",
            Self::NotExactlyOne => "a partition's records must be exactly one record batch",
            Self::UnsupportedMagic(_) => "only record batches with magic 2 are accepted",
            Self::CrcMismatch => "the record batch does not match its CRC",
            Self::UnknownCompression => "the record batch names an unknown compression codec",
            Self::TooLarge => "the record batch is over max.message.bytes",
            Self::BaseOffset => "the base offset of a produced record batch must be 0",
            Self::Count => "the record batch's count and last offset delta contradict each other",
            Self::Control => "clients may not write control records",
            Self::BrokerAttribute => "the record batch sets an attribute that only brokers set",
            Self::TimestampType => "producers may not mark timestamps as log append time",
            Self::ProducerFields => {
                "the record batch's producer id, epoch and sequence contradict each other"
            }
        })
    }
}

impl core::error::Error for BatchError {}

/// How a batch's payload is compressed: the lowest three attribute bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Compression {
    /// As is.
    None = 0,
    /// gzip.
    Gzip = 1,
    /// Snappy, framed as snappy-java frames it.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard, from Produce version 7 on (KIP-110).
    Zstd = 4,
}

/// Whose clock a batch's timestamps come from (KIP-32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum TimestampType {
    /// The producer's: each record has one.
    #[default]
    CreateTime,
    /// The broker's: all records of a batch read as its maximum timestamp.
    LogAppendTime,
}

/// A batch's attribute bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// The codec, or `None` for a number that names none.
    #[must_use]
    pub fn compression(self) -> Option<Compression> {
        match self.0 & Self::CODEC {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The same bits with another codec.
    #[must_use]
    pub fn with_compression(self, codec: Compression) -> Self {
        Self((self.0 & !Self::CODEC) | codec as i16)
    }

    /// Whose clock the timestamps come from.
    #[must_use]
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// The same bits with another timestamp type.
    #[must_use]
    pub fn with_timestamp_type(self, kind: TimestampType) -> Self {
        match kind {
            TimestampType::CreateTime => Self(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::LOG_APPEND_TIME),
        }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// The same bits, marked as part of a transaction or not.
    #[must_use]
    pub fn with_transactional(self, on: bool) -> Self {
        Self(if on { self.0 | Self::TRANSACTIONAL } else { self.0 & !Self::TRANSACTIONAL })
    }

    /// Whether the batch holds a marker of the broker's, which consumers skip.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// The same bits, marked as control batch or not.
    #[must_use]
    pub fn with_control(self, on: bool) -> Self {
        Self(if on { self.0 | Self::CONTROL } else { self.0 & !Self::CONTROL })
    }

    /// The same bits, with the base timestamp marked as the time at which tombstones may go.
    #[must_use]
    pub fn with_delete_horizon(self) -> Self {
        Self(self.0 | Self::DELETE_HORIZON)
    }

    /// Whether the base timestamp is the time at which tombstones may go (KIP-534).
    #[must_use]
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// A batch's header as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; 0 in a Produce request.
    pub base_offset: Offset,
    /// Size of the whole batch, with the 12 bytes ahead of what the length field counts.
    pub batch_bytes: u32,
    /// Epoch of the leader that appended the batch; -1 in a Produce request.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C from the attributes to the end of the payload.
    pub crc: u32,
    /// Codec, timestamp type, flags.
    pub attributes: Attributes,
    /// Last offset less base offset; cleaning keeps it when it removes records.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas count from, in milliseconds.
    pub base_timestamp: i64,
    /// Largest timestamp of the records, or the append time, in milliseconds.
    pub max_timestamp: i64,
    /// The idempotent producer, or -1.
    pub producer_id: ProducerId,
    /// The producer's epoch, or -1.
    pub producer_epoch: ProducerEpoch,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Number of records in the payload; 0 in a batch that cleaning emptied.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`. The payload need not be there.
    ///
    /// # Errors
    /// `Incomplete` below 61 bytes (except where fewer tell an older magic), `UnsupportedMagic`, `LengthTooSmall`, and
    /// `Count` where offsets would be negative or overflow, so that no arithmetic on a parsed header can.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // The magic has its place in common with the older formats, whose messages may be shorter than a header.
        let magic = i8::from_be_bytes(take(bytes, MAGIC_AT)?);
        if magic != MAGIC {
            return Err(BatchError::UnsupportedMagic(magic));
        }
        if bytes.len() < BATCH_HEADER_BYTES {
            return Err(BatchError::Incomplete);
        }
        let length = usize::try_from(i32::from_be_bytes(take(bytes, 8)?)).unwrap_or(0);
        if length < BATCH_HEADER_BYTES - LENGTH_PREFIX_BYTES {
            return Err(BatchError::LengthTooSmall);
        }
        let base_offset = i64::from_be_bytes(take(bytes, 0)?);
        let last_offset_delta = i32::from_be_bytes(take(bytes, 23)?);
        let next_offset = base_offset.checked_add(i64::from(last_offset_delta) + 1);
        if base_offset < 0 || last_offset_delta < 0 || next_offset.is_none() {
            return Err(BatchError::Count);
        }
        Ok(Self {
            base_offset: Offset(base_offset),
            batch_bytes: (length + LENGTH_PREFIX_BYTES) as u32,
            leader_epoch: LeaderEpoch(i32::from_be_bytes(take(bytes, 12)?)),
            crc: u32::from_be_bytes(take(bytes, 17)?),
            attributes: Attributes(i16::from_be_bytes(take(bytes, CRC_COVER_START)?)),
            last_offset_delta,
            base_timestamp: i64::from_be_bytes(take(bytes, 27)?),
            max_timestamp: i64::from_be_bytes(take(bytes, 35)?),
            producer_id: ProducerId(i64::from_be_bytes(take(bytes, 43)?)),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(take(bytes, 51)?)),
            base_sequence: i32::from_be_bytes(take(bytes, 53)?),
            record_count: i32::from_be_bytes(take(bytes, 57)?),
        })
    }

    /// Writes the header in wire form.
    pub fn write(&self, out: &mut [u8; BATCH_HEADER_BYTES]) {
        let length = self.batch_bytes - LENGTH_PREFIX_BYTES as u32;
        out[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        out[16] = MAGIC as u8;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// Offset that the next batch starts at.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// Sequence number of the last record; -1 without sequences.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 { -1 } else { next_sequence(self.base_sequence, self.last_offset_delta) }
    }

    /// Whether an idempotent producer wrote the batch (KIP-98).
    #[must_use]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id.0 >= 0
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    /// Whether the batch holds a marker of the broker's.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// The payload's codec, or `None` for a number that names none.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        self.attributes.compression()
    }

    /// Whose clock the timestamps come from.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    /// Bytes of the records behind the header.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.batch_bytes as usize - BATCH_HEADER_BYTES
    }
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BatchError> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or(BatchError::Incomplete)
}

/// The sequence number `count` after `sequence`. The number after `i32::MAX` is 0 (KIP-98).
#[must_use]
pub fn next_sequence(sequence: i32, count: i32) -> i32 {
    ((i64::from(sequence) + i64::from(count)).rem_euclid(1 << 31)) as i32
}

/// Whether a whole batch (header and payload, nothing behind) matches its CRC. `false` for fewer bytes than a header.
#[must_use]
pub fn verify_crc(batch: &[u8]) -> bool {
    batch.len() >= BATCH_HEADER_BYTES
        && take(batch, 17).map(u32::from_be_bytes) == Ok(crc32c::crc32c(&batch[CRC_COVER_START..]))
}

/// Checks a batch that comes from a log or a peer: `bytes` is exactly one whole batch. A cleaned batch passes, with
/// fewer records than offsets or none at all.
///
/// # Errors
/// What [`BatchHeader::parse`] refuses; `Incomplete` or `NotExactlyOne` by size; `CrcMismatch`; `UnknownCompression`;
/// `Count`.
pub fn check_batch(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = check_size(bytes)?;
    if !verify_crc(bytes) {
        return Err(BatchError::CrcMismatch);
    }
    if header.compression().is_none() {
        return Err(BatchError::UnknownCompression);
    }
    let offsets = i64::from(header.last_offset_delta) + 1;
    if header.record_count < 0 || i64::from(header.record_count) > offsets {
        return Err(BatchError::Count);
    }
    Ok(header)
}

fn check_size(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    match (header.batch_bytes as usize).cmp(&bytes.len()) {
        core::cmp::Ordering::Greater => Err(BatchError::Incomplete),
        core::cmp::Ordering::Equal => Ok(header),
        core::cmp::Ordering::Less => Err(BatchError::NotExactlyOne),
    }
}

/// A partition's records of a Produce request, checked as far as the header tells: nothing is done per record, and the
/// payload stays compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducedBatch {
    /// The header as the client wrote it.
    pub header: BatchHeader,
    /// The whole batch, header first.
    pub bytes: Bytes,
}

impl ProducedBatch {
    /// Checks what a client sent. `message_bytes_max` is the topic's `max.message.bytes`.
    ///
    /// The rules are those of Kafka's `ProduceRequest.validateRecords`, `UnifiedLog` and `LogValidator`, in that order,
    /// with three that are stricter: bytes behind the batch are refused even where they are no whole batch, and so are
    /// the attribute bits for log append time and delete horizon, which only a broker has reason to set. Codec against
    /// request version (zstd from Produce 7 on) is for the caller, who knows the version.
    ///
    /// # Errors
    /// Any [`BatchError`].
    pub fn parse(bytes: Bytes, message_bytes_max: u32) -> Result<Self, BatchError> {
        let header = check_size(&bytes)?;
        if header.base_offset != Offset::ZERO {
            return Err(BatchError::BaseOffset);
        }
        if header.batch_bytes > message_bytes_max {
            return Err(BatchError::TooLarge);
        }
        if !verify_crc(&bytes) {
            return Err(BatchError::CrcMismatch);
        }
        header.check_produced()?;
        Ok(Self { header, bytes })
    }
}

impl BatchHeader {
    /// What a client may say in a header; Kafka's `LogValidator.validateBatch` for clients.
    fn check_produced(&self) -> Result<(), BatchError> {
        if self.compression().is_none() {
            return Err(BatchError::UnknownCompression);
        }
        if i64::from(self.record_count) != i64::from(self.last_offset_delta) + 1 {
            return Err(BatchError::Count);
        }
        if self.is_control() {
            return Err(BatchError::Control);
        }
        if self.attributes.has_delete_horizon() {
            return Err(BatchError::BrokerAttribute);
        }
        if self.timestamp_type() == TimestampType::LogAppendTime {
            return Err(BatchError::TimestampType);
        }
        let numbered = self.base_sequence >= 0 && self.producer_epoch.0 >= 0;
        if self.has_producer_id() && !numbered || self.is_transactional() && !self.has_producer_id() {
            return Err(BatchError::ProducerFields);
        }
        Ok(())
    }
}

/// Plans the header under which a produced batch enters the log: offset, epoch and, when the topic's timestamps are the
/// broker's, the append time. Only these 61 bytes differ from what the client sent (SAFETY K5).
///
/// The CRC follows without the payload. It is linear over bits, so for headers A, A' of one length and payload B,
/// crc(A'B) = crc(AB) xor (crc(A) xor crc(A')) shifted past B.
#[must_use]
pub fn stamped_header(
    header: &BatchHeader,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    append_time: Option<WallMs>,
) -> BatchHeader {
    let mut stamped = BatchHeader { base_offset, leader_epoch, ..*header };
    if let Some(now) = append_time {
        // Kafka's setMaxTimestamp: the base timestamp stays, records read as the maximum (KIP-32).
        stamped.attributes = header.attributes.with_timestamp_type(TimestampType::LogAppendTime);
        stamped.max_timestamp = now.0;
        let changed = covered_header_crc(header) ^ covered_header_crc(&stamped);
        stamped.crc = header.crc ^ crc32c::crc32c_combine(changed, 0, header.payload_bytes());
    }
    assert!(stamped.batch_bytes == header.batch_bytes, "stamping keeps a batch's size");
    stamped
}

/// CRC-32C of the part of a header that a batch's CRC covers.
fn covered_header_crc(header: &BatchHeader) -> u32 {
    let mut bytes = [0; BATCH_HEADER_BYTES];
    header.write(&mut bytes);
    crc32c::crc32c(&bytes[CRC_COVER_START..])
}

/// Walks consecutive batches in a byte slice by their headers. Ends at the first one that is cut short or is no batch;
/// [`Batches::end`] tells how far the whole ones reach.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Batches<'a> {
    /// Starts at the front of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where the last batch that was yielded ends.
    #[must_use]
    pub fn end(&self) -> usize {
        self.at
    }
}

impl Iterator for Batches<'_> {
    type Item = (BatchHeader, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.at..];
        let header = BatchHeader::parse(rest).ok()?;
        let size = header.batch_bytes as usize;
        if size > rest.len() {
            return None;
        }
        let range = self.at..self.at + size;
        self.at = range.end;
        Some((header, range))
    }
}
