//! Kafka's record batches, magic 2, as bytes: parse and check a header, stamp one, walk batches, read and build records.
//!
//! Nothing here keeps state or knows of partitions; `log` turns headers into a log's numbers. Older message formats are
//! refused at the door (KIP-896), so no other layout exists in Seedlog. The layout is that of KIP-98.

mod batch;
mod build;
mod clean;
mod iter;
mod varint;

pub use batch::{
    Attributes, BATCH_HEADER_BYTES, BatchError, BatchHeader, Batches, Compression, NO_TIMESTAMP,
    ProducedBatch, TimestampType, check_batch, next_sequence, stamped_header, verify_crc,
};
pub use build::{BatchBuilder, Header};
pub use clean::{Cleaner, Cleaning, EMPTY_SPAN_MAX, KeyOffsets, Payload, empty_batch, rest_of_empty};
pub use iter::{
    Headers, Record, RecordError, RecordIter, find_by_timestamp, first_without_key, max_timestamp_record,
};
