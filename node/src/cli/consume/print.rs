//! What `seedlog consume` prints of a record: a line like that of Kafka's console consumer, or a JSON object.

use seedlog_core::records::{Record, RecordIter, TimestampType};

use super::super::json::JsonRecord;
use super::super::output::{CliResult, Output};
use super::ConsumeArgs;
use crate::client::{ClientError, FetchedBatch};

/// Bytes that one batch may have after decompression.
const BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What was printed of a batch.
pub(super) struct Printed {
    /// How many records.
    pub(super) records: u64,
    /// The offset behind the last one that was looked at: where to go on.
    pub(super) next: i64,
}

/// Prints the records of a batch that are wanted. Flush afterwards.
pub(super) fn batch(
    args: &ConsumeArgs,
    batch: &FetchedBatch,
    left: u64,
    output: &mut Output,
) -> CliResult<Printed> {
    let mut printed = Printed { records: 0, next: batch.from };
    if left == 0 {
        return Ok(printed);
    }
    // Markers of transactions are the broker's, not a producer's.
    if batch.header.is_control() {
        printed.next = batch.header.next_offset().0;
        return Ok(printed);
    }
    let corrupt = |reason: &dyn ToString| ClientError::Corrupt {
        partition: batch.place.to_string(),
        offset: batch.header.base_offset.0,
        reason: reason.to_string(),
    };
    let payload = batch.payload(BATCH_BYTES_MAX).map_err(|error| corrupt(&error))?;
    for record in RecordIter::new(&batch.header, &payload) {
        let record = record.map_err(|error| corrupt(&error))?;
        if record.offset.0 < batch.from {
            continue;
        }
        print_record(args, batch, &record, output)?;
        printed.records += 1;
        printed.next = record.offset.0.saturating_add(1);
        if printed.records == left {
            return Ok(printed);
        }
    }
    // Cleaning may have removed the last records of the batch.
    printed.next = batch.header.next_offset().0;
    Ok(printed)
}

fn print_record(
    args: &ConsumeArgs,
    batch: &FetchedBatch,
    record: &Record<'_>,
    output: &mut Output,
) -> CliResult {
    let kind = batch.header.timestamp_type();
    if args.json {
        return output.json_unflushed(&JsonRecord::new(
            &batch.place.topic,
            batch.place.partition,
            kind,
            record,
        ));
    }
    output.bytes(&text_line(args, batch.place.partition, kind, record))
}

/// The line of Kafka's console consumer.
fn text_line(args: &ConsumeArgs, partition: i32, kind: TimestampType, record: &Record<'_>) -> Vec<u8> {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    if args.print_timestamp {
        let whose = match kind {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        };
        let text = if record.timestamp < 0 {
            "NO_TIMESTAMP".to_owned()
        } else {
            format!("{whose}:{}", record.timestamp)
        };
        fields.push(text.into_bytes());
    }
    if args.print_partition {
        fields.push(format!("Partition:{partition}").into_bytes());
    }
    if args.print_offset {
        fields.push(format!("Offset:{}", record.offset.0).into_bytes());
    }
    if args.print_headers {
        let headers: Vec<Vec<u8>> =
            record.headers.map(|(name, value)| [name, b":", value.unwrap_or(b"null")].concat()).collect();
        fields.push(if headers.is_empty() { b"NO_HEADERS".to_vec() } else { headers.join(&b","[..]) });
    }
    if args.print_key {
        fields.push(record.key.unwrap_or(b"null").to_vec());
    }
    fields.push(record.value.unwrap_or(b"null").to_vec());
    let mut line = fields.join(args.key_separator.as_bytes());
    line.push(b'\n');
    line
}
