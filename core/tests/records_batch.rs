//! Record batches: built, read, stamped and checked; against a second implementation where there is one, and on bytes
//! that nobody built.

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use proptest::prelude::*;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use seedlog_core::records::{
    Attributes, BATCH_HEADER_BYTES, BatchBuilder, BatchError, BatchHeader, Batches, Compression,
    ProducedBatch, RecordError, RecordIter, TimestampType, check_batch, find_by_timestamp,
    max_timestamp_record, next_sequence, stamped_header, verify_crc,
};
use seedlog_core::time::WallMs;

const MAX: u32 = 1 << 20;

#[derive(Debug, Clone, PartialEq)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn plain_record() -> impl Strategy<Value = Plain> {
    let blob = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    let header = ("[a-z]{0,8}", blob());
    (-1..1_i64 << 45, blob(), blob(), proptest::collection::vec(header, 0..4))
        .prop_map(|(timestamp, key, value, headers)| Plain { timestamp, key, value, headers })
}

fn build(builder: &mut BatchBuilder, records: &[Plain]) {
    for record in records {
        let headers: Vec<_> = record.headers.iter().map(|(n, v)| (n.as_bytes(), v.as_deref())).collect();
        builder.add(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    }
}

fn read(header: &BatchHeader, payload: &[u8]) -> Result<Vec<(Offset, Plain)>, RecordError> {
    let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    RecordIter::new(header, payload)
        .map(|record| {
            record.map(|record| {
                let headers = record
                    .headers
                    .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), own(value)))
                    .collect();
                let (key, value) = (own(record.key), own(record.value));
                (record.offset, Plain { timestamp: record.timestamp, key, value, headers })
            })
        })
        .collect()
}

fn one_record() -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    builder.add(1000, Some(b"k"), Some(b"v"), &[]);
    builder
}

/// Changes header fields and makes the CRC right again.
fn edited(batch: &[u8], edit: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = BatchHeader::parse(batch).expect("tests edit whole batches");
    edit(&mut header);
    rewritten(batch, header)
}

fn rewritten(batch: &[u8], mut header: BatchHeader) -> Bytes {
    let mut bytes = batch.to_vec();
    let mut head = [0; BATCH_HEADER_BYTES];
    header.write(&mut head);
    bytes[..BATCH_HEADER_BYTES].copy_from_slice(&head);
    header.crc = crc32c::crc32c(&bytes[21..]);
    header.write(&mut head);
    bytes[..BATCH_HEADER_BYTES].copy_from_slice(&head);
    bytes.into()
}

proptest! {
    #[test]
    fn what_is_built_reads_back(
        records in proptest::collection::vec(plain_record(), 1..20),
        base in 0..1_i64 << 60,
        base_sequence in 0..=i32::MAX,
    ) {
        let mut builder = BatchBuilder::new()
            .stamped(Offset(base), LeaderEpoch(7))
            .producer(ProducerId(9), ProducerEpoch(2), base_sequence);
        build(&mut builder, &records);
        let bytes = builder.finish();
        prop_assert_eq!(bytes.len(), builder.batch_bytes());
        let header = check_batch(&bytes).unwrap();
        prop_assert_eq!(header.last_sequence(), next_sequence(base_sequence, records.len() as i32 - 1));
        let expected: Vec<_> =
            records.iter().enumerate().map(|(i, r)| (Offset(base + i as i64), r.clone())).collect();
        prop_assert_eq!(read(&header, &bytes[BATCH_HEADER_BYTES..]), Ok(expected));

        let latest = records.iter().map(|r| r.timestamp).max().unwrap();
        let first_latest = records.iter().position(|r| r.timestamp == latest).unwrap();
        let payload = &bytes[BATCH_HEADER_BYTES..];
        prop_assert_eq!(
            max_timestamp_record(&header, payload, Offset(base)),
            Some((Offset(base + first_latest as i64), latest))
        );
        prop_assert_eq!(header.max_timestamp, latest);
        let target = records[records.len() / 2].timestamp;
        let at = records.iter().position(|r| r.timestamp >= target).unwrap();
        let found = find_by_timestamp(&header, payload, Offset(base), target);
        prop_assert_eq!(found, Some((Offset(base + at as i64), records[at].timestamp)));
        prop_assert_eq!(find_by_timestamp(&header, payload, Offset(base), latest + 1), None);
        // Of a log that starts within the batch, what is before that is none.
        let from = records.len() / 2;
        let at = from + records[from..].iter().position(|r| r.timestamp >= target).unwrap();
        let found = find_by_timestamp(&header, payload, Offset(base + from as i64), target);
        prop_assert_eq!(found, Some((Offset(base + at as i64), records[at].timestamp)));
        let latest = records[from..].iter().map(|r| r.timestamp).max();
        let found = max_timestamp_record(&header, payload, Offset(base + from as i64));
        prop_assert_eq!(found.map(|found| found.1), latest);
    }

    #[test]
    fn a_second_implementation_reads_the_same(records in proptest::collection::vec(plain_record(), 1..10)) {
        let mut builder = BatchBuilder::new()
            .stamped(Offset(40), LeaderEpoch(3))
            .producer(ProducerId(11), ProducerEpoch(1), 5)
            .transactional();
        build(&mut builder, &records);
        let set = RecordBatchDecoder::decode(&mut builder.finish()).unwrap();
        prop_assert_eq!(set.records.len(), records.len());
        for (i, (theirs, ours)) in set.records.iter().zip(&records).enumerate() {
            prop_assert_eq!(theirs.offset, 40 + i as i64);
            prop_assert_eq!(theirs.timestamp, ours.timestamp);
            prop_assert_eq!(theirs.producer_id, 11);
            prop_assert_eq!(theirs.sequence, 5 + i as i32);
            prop_assert!(theirs.transactional && !theirs.control);
            prop_assert_eq!(theirs.key.as_deref(), ours.key.as_deref());
            prop_assert_eq!(theirs.value.as_deref(), ours.value.as_deref());
        }
    }

    // SAFETY K5: a stamp changes a copy of the header only, and the CRC is that of the whole changed batch.
    #[test]
    fn a_stamp_keeps_the_crc_right(
        records in proptest::collection::vec(plain_record(), 1..10),
        base in 0..1_i64 << 60,
        epoch in 0..i32::MAX,
        append_time in proptest::option::of(any::<i64>()),
    ) {
        let mut builder = BatchBuilder::new();
        build(&mut builder, &records);
        let sent = builder.finish();
        let before = BatchHeader::parse(&sent).unwrap();
        let stamped = stamped_header(&before, Offset(base), LeaderEpoch(epoch), append_time.map(WallMs));
        let mut bytes = sent.to_vec();
        let mut head = [0; BATCH_HEADER_BYTES];
        stamped.write(&mut head);
        bytes[..BATCH_HEADER_BYTES].copy_from_slice(&head);
        prop_assert!(verify_crc(&bytes));
        prop_assert_eq!(check_batch(&bytes), Ok(stamped));
        prop_assert_eq!((stamped.base_offset, stamped.leader_epoch), (Offset(base), LeaderEpoch(epoch)));
        let payload = &bytes[BATCH_HEADER_BYTES..];
        match append_time {
            None => prop_assert_eq!((stamped.crc, stamped.max_timestamp), (before.crc, before.max_timestamp)),
            Some(time) => {
                prop_assert_eq!(stamped.timestamp_type(), TimestampType::LogAppendTime);
                let read = read(&stamped, payload).unwrap();
                prop_assert!(read.iter().all(|(_, record)| record.timestamp == time));
                prop_assert_eq!(find_by_timestamp(&stamped, payload, Offset(base), time), Some((Offset(base), time)));
                prop_assert_eq!(stamped.base_timestamp, before.base_timestamp);
            }
        }
    }

    #[test]
    fn headers_survive_writing_and_parsing(bytes in proptest::array::uniform32(any::<u8>()), tail in any::<[u8; 29]>()) {
        let mut wire = [0; BATCH_HEADER_BYTES];
        wire[..32].copy_from_slice(&bytes);
        wire[32..].copy_from_slice(&tail);
        wire[0] &= 0x3f;
        wire[8] &= 0x7f;
        wire[9] |= 1;
        wire[16] = 2;
        wire[23] &= 0x7f;
        let header = BatchHeader::parse(&wire).unwrap();
        let mut again = [0; BATCH_HEADER_BYTES];
        header.write(&mut again);
        prop_assert_eq!(wire, again);
        prop_assert!(header.next_offset() > header.base_offset);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in -2..50_i32) {
        let header = BatchHeader { record_count: count, ..BatchHeader::parse(&one_record().finish()).unwrap() };
        let mut errors = 0;
        for record in RecordIter::new(&header, &bytes) {
            match record {
                Ok(record) => { let _ = record.headers.count(); }
                Err(_) => errors += 1,
            }
        }
        prop_assert!(errors <= 1);
        let _ = max_timestamp_record(&header, &bytes, Offset::ZERO);
        let _ = check_batch(&bytes);
        let _ = ProducedBatch::parse(bytes.clone().into(), MAX);
        let _ = Batches::new(&bytes).count();
    }

    #[test]
    fn damaged_batches_never_panic_and_never_pass(
        records in proptest::collection::vec(plain_record(), 1..5),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let mut builder = BatchBuilder::new();
        build(&mut builder, &records);
        let mut bytes = builder.finish().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        // Base offset and leader epoch are outside of the CRC, as in Kafka.
        if at < 8 || (12..16).contains(&at) {
            prop_assert!(verify_crc(&bytes));
        } else {
            prop_assert!(ProducedBatch::parse(bytes.clone().into(), MAX).is_err());
        }
        if let Ok(header) = BatchHeader::parse(&bytes) {
            for record in RecordIter::new(&header, &bytes[BATCH_HEADER_BYTES..]).flatten() {
                let _ = record.headers.count();
            }
        }
    }

    #[test]
    fn sequences_wrap_as_kafkas_do(sequence in 0..=i32::MAX, count in 0..=i32::MAX) {
        // DefaultRecordBatch.incrementSequence.
        let kafka = if sequence > i32::MAX - count { count - (i32::MAX - sequence) - 1 } else { sequence + count };
        prop_assert_eq!(next_sequence(sequence, count), kafka);
    }

    #[test]
    fn a_walk_yields_whole_batches_only(counts in proptest::collection::vec(1..5_usize, 0..5), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for count in counts {
            let mut builder = BatchBuilder::new();
            for _ in 0..count {
                builder.add(5, None, Some(b"value"), &[]);
            }
            bytes.extend_from_slice(&builder.finish());
            ends.push(bytes.len());
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let whole = ends.iter().filter(|&&end| end <= bytes.len()).count() - 1;
        let mut walk = Batches::new(&bytes);
        let ranges: Vec<_> = walk.by_ref().map(|(header, range)| {
            assert_eq!(check_batch(&bytes[range.clone()]), Ok(header));
            range
        }).collect();
        prop_assert_eq!(ranges.len(), whole);
        prop_assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        prop_assert_eq!(walk.end(), ends[whole]);
    }
}

#[test]
fn sequence_after_the_largest_is_zero() {
    assert_eq!(next_sequence(i32::MAX, 1), 0);
    assert_eq!(next_sequence(i32::MAX - 1, 3), 1);
}

#[test]
fn codecs_are_kept_with_their_payload() {
    let bytes = one_record().finish_with(Compression::Zstd, |raw| raw.iter().rev().copied().collect());
    let header = ProducedBatch::parse(bytes.clone(), MAX).unwrap().header;
    assert_eq!(header.compression(), Some(Compression::Zstd));
    let payload: Vec<u8> = bytes[BATCH_HEADER_BYTES..].iter().rev().copied().collect();
    assert_eq!(read(&header, &payload).unwrap()[0].1.key.as_deref(), Some(&b"k"[..]));
}

#[test]
fn the_door_refuses_what_kafka_refuses() {
    let good = one_record().finish();
    assert!(ProducedBatch::parse(good.clone(), MAX).is_ok());
    let refused = |bytes: Bytes, error: BatchError, code: ErrorCode| {
        assert_eq!(ProducedBatch::parse(bytes, MAX), Err(error));
        assert_eq!(error.code(), code);
    };
    let invalid = ErrorCode::InvalidRecord;
    refused(Bytes::new(), BatchError::Incomplete, invalid);
    refused(good.slice(..good.len() - 1), BatchError::Incomplete, invalid);
    refused([&good[..], &good[..]].concat().into(), BatchError::NotExactlyOne, invalid);
    refused([&good[..], &[0]].concat().into(), BatchError::NotExactlyOne, invalid);
    let mut old = good.to_vec();
    old[16] = 1;
    refused(old.into(), BatchError::UnsupportedMagic(1), invalid);
    let mut short = good.to_vec();
    short[8..12].copy_from_slice(&48_i32.to_be_bytes());
    refused(short.into(), BatchError::LengthTooSmall, ErrorCode::CorruptMessage);
    let mut rotten = good.to_vec();
    rotten[65] ^= 1;
    refused(rotten.into(), BatchError::CrcMismatch, ErrorCode::CorruptMessage);
    type Edit = fn(&mut BatchHeader);
    let edits: [(Edit, BatchError, ErrorCode); 11] = [
        (|h| h.base_offset = Offset(1), BatchError::BaseOffset, invalid),
        (|h| h.record_count = 0, BatchError::Count, invalid),
        (|h| h.record_count = 2, BatchError::Count, invalid),
        (|h| h.last_offset_delta = -1, BatchError::Count, invalid),
        (
            |h| h.attributes = Attributes(5),
            BatchError::UnknownCompression,
            ErrorCode::UnsupportedCompressionType,
        ),
        (|h| h.attributes = Attributes(0x20), BatchError::Control, invalid),
        (|h| h.attributes = Attributes(0x40), BatchError::BrokerAttribute, invalid),
        (|h| h.attributes = Attributes(0x08), BatchError::TimestampType, ErrorCode::InvalidTimestamp),
        (|h| h.attributes = Attributes(0x10), BatchError::ProducerFields, invalid),
        (|h| h.producer_id = ProducerId(4), BatchError::ProducerFields, invalid),
        (|h| (h.producer_id, h.base_sequence) = (ProducerId(4), 0), BatchError::ProducerFields, invalid),
    ];
    for (edit, error, code) in edits {
        refused(edited(&good, edit), error, code);
    }
    let size = good.len() as u32;
    assert!(ProducedBatch::parse(good.clone(), size).is_ok());
    assert_eq!(ProducedBatch::parse(good, size - 1), Err(BatchError::TooLarge));
    assert_eq!(BatchError::TooLarge.code(), ErrorCode::MessageTooLarge);
}

#[test]
fn a_cleaned_batch_passes_in_a_log_and_not_at_the_door() {
    let mut builder = BatchBuilder::new();
    for _ in 0..3 {
        builder.add(1, None, None, &[]);
    }
    let empty = edited(&builder.finish()[..BATCH_HEADER_BYTES], |header| {
        header.batch_bytes = BATCH_HEADER_BYTES as u32;
        header.record_count = 0;
    });
    let header = check_batch(&empty).unwrap();
    assert_eq!(header.last_offset(), Offset(2));
    assert_eq!(RecordIter::new(&header, &[]).count(), 0);
    assert_eq!(ProducedBatch::parse(empty, MAX), Err(BatchError::Count));
}

#[test]
fn records_that_contradict_their_header_end_the_walk() {
    let bytes = {
        let mut builder = one_record();
        builder.add(1, None, None, &[]);
        builder.finish()
    };
    let header = BatchHeader::parse(&bytes).unwrap();
    let payload = &bytes[BATCH_HEADER_BYTES..];
    assert_eq!(read(&BatchHeader { record_count: 1, ..header }, payload), Err(RecordError::TrailingBytes));
    assert_eq!(read(&BatchHeader { record_count: 3, ..header }, payload), Err(RecordError::Malformed));
    assert_eq!(read(&BatchHeader { last_offset_delta: 0, ..header }, payload), Err(RecordError::OffsetOrder));
    assert_eq!(read(&header, &[payload, payload].concat()), Err(RecordError::TrailingBytes));
    let first = &one_record().finish()[BATCH_HEADER_BYTES..];
    assert_eq!(read(&header, &[first, first].concat()), Err(RecordError::OffsetOrder), "one offset twice");
    // Length, attributes, both deltas, no key, no value, no headers; then a byte too many within the length.
    let bare = BatchHeader { record_count: 1, ..header };
    assert!(read(&bare, &[12, 0, 0, 0, 1, 1, 0]).is_ok());
    assert_eq!(read(&bare, &[14, 0, 0, 0, 1, 1, 0, 9]), Err(RecordError::Malformed));
    // A header without a name, and more headers than there are bytes.
    assert_eq!(read(&bare, &[16, 0, 0, 0, 1, 1, 2, 1, 1]), Err(RecordError::Malformed));
    assert_eq!(read(&bare, &[14, 0, 0, 0, 1, 1, 0x7e, 0]), Err(RecordError::Malformed));
}
