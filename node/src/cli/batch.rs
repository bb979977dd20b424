//! Record batches as files and frames hold them, for people and for programs. `seedlog log dump` and `seedlog proto decode`
//! print them.

use std::fmt::Write;

use seedlog_core::records::{BatchHeader, NO_TIMESTAMP, RecordIter, TimestampType, verify_crc};
use serde::Serialize;

use super::json::JsonRecordBody;
use crate::codec;

/// What a batch may take when its records are shown.
const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// A batch's header, and what its CRC says.
#[derive(Debug, Serialize)]
pub(super) struct JsonBatch {
    base_offset: i64,
    last_offset: i64,
    record_count: i32,
    leader_epoch: i32,
    batch_bytes: u32,
    /// The bytes match their CRC.
    crc_is_right: bool,
    /// `null` for a number that names none.
    codec: Option<&'static str>,
    timestamp_type: &'static str,
    base_timestamp: Option<i64>,
    max_timestamp: Option<i64>,
    producer_id: Option<i64>,
    producer_epoch: Option<i16>,
    base_sequence: Option<i32>,
    last_sequence: Option<i32>,
    is_transactional: bool,
    is_control: bool,
}

impl JsonBatch {
    /// Describes a whole batch.
    pub(super) fn of(header: &BatchHeader, batch: &[u8]) -> Self {
        let is_idempotent = header.has_producer_id();
        let has_sequence = is_idempotent && header.base_sequence >= 0;
        Self {
            base_offset: header.base_offset.0,
            last_offset: header.last_offset().0,
            record_count: header.record_count,
            leader_epoch: header.leader_epoch.0,
            batch_bytes: header.batch_bytes,
            crc_is_right: verify_crc(batch),
            codec: header.compression().map(codec::name),
            timestamp_type: match header.timestamp_type() {
                TimestampType::CreateTime => "create_time",
                TimestampType::LogAppendTime => "log_append_time",
            },
            base_timestamp: Some(header.base_timestamp).filter(|&time| time != NO_TIMESTAMP),
            max_timestamp: Some(header.max_timestamp).filter(|&time| time != NO_TIMESTAMP),
            producer_id: is_idempotent.then_some(header.producer_id.0),
            producer_epoch: is_idempotent.then_some(header.producer_epoch.0),
            base_sequence: has_sequence.then_some(header.base_sequence),
            last_sequence: has_sequence.then(|| header.last_sequence()),
            is_transactional: header.is_transactional(),
            is_control: header.is_control(),
        }
    }

    /// On one line.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "offsets {}-{}  records {}  epoch {}  bytes {}  codec {}  time {}",
            self.base_offset,
            self.last_offset,
            self.record_count,
            self.leader_epoch,
            self.batch_bytes,
            self.codec.unwrap_or("unknown"),
            self.max_timestamp.map_or_else(|| "none".to_owned(), time),
        );
        let mut add = |words: std::fmt::Arguments<'_>| {
            text.write_fmt(words).expect("writing to a string cannot fail");
        };
        if let (Some(id), Some(epoch)) = (self.producer_id, self.producer_epoch) {
            add(format_args!("  producer {id}/{epoch}"));
        }
        if let (Some(first), Some(last)) = (self.base_sequence, self.last_sequence) {
            add(format_args!("  sequence {first}-{last}"));
        }
        if self.is_transactional {
            add(format_args!("  transactional"));
        }
        if self.is_control {
            add(format_args!("  control"));
        }
        add(format_args!("  crc {}", if self.crc_is_right { "ok" } else { "WRONG" }));
        text
    }
}

/// Milliseconds since 1970 as a time in UTC, where there is one.
pub(super) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

/// Hands each record of a batch to `each`, in order.
///
/// Gives why the rest cannot be read, if so.
pub(super) fn each_record<E>(
    header: &BatchHeader,
    batch: &[u8],
    mut each: impl FnMut(JsonRecordBody<'_>) -> Result<(), E>,
) -> Result<Result<(), String>, E> {
    let Some(compression) = header.compression() else {
        return Ok(Err("its attributes name an unknown codec".to_owned()));
    };
    let payload = batch.get(seedlog_core::records::BATCH_HEADER_BYTES..).unwrap_or(&[]);
    let payload = match codec::decompress(compression, payload, DECOMPRESSED_BYTES_MAX) {
        Ok(payload) => payload,
        Err(error) => return Ok(Err(error.to_string())),
    };
    for record in RecordIter::new(header, &payload) {
        match record {
            Ok(record) => each(JsonRecordBody::new(header.timestamp_type(), &record))?,
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    Ok(Ok(()))
}
