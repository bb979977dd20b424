//! The client against a broker that lies: every answer ends in an error with a sentence, in time, and never in a panic.

#![expect(clippy::unwrap_used, reason = "a helper fails as its test does")]

mod cli_support;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use cli_support::{FakeBroker, Reply, block_on, friendly, scripted, versions};
use seedlog::client::{ClientError, Consumer, ConsumerOptions};
use seedlog_core::records::{BatchBuilder, Compression};
use seedlog_core::wire::fetch::{FetchableTopicResponse, PartitionData};
use seedlog_core::wire::{ApiKey, FetchResponse, MetadataResponse, Records, Request, Response};

/// Whether a frame of an answer to ApiVersions or Metadata is refused as expected.
fn first_error(api: ApiKey, reply: impl Fn() -> Reply) -> ClientError {
    let broker = FakeBroker::start(scripted(api, vec![reply(), reply()]));
    block_on(async { broker.cluster().fresh_topic("t", false).await.unwrap_err() })
}

#[test]
fn answers_that_break_the_protocol_are_errors() {
    let metadata = || friendly(&Request::from(seedlog_core::wire::MetadataRequest::default()), 1);
    for api in [ApiKey::ApiVersions, ApiKey::Metadata] {
        let good = || if api == ApiKey::Metadata { metadata() } else { versions().into() };
        let wrong = first_error(api, || Reply::WrongCorrelation(good()));
        assert!(matches!(wrong, ClientError::Protocol { .. }), "{wrong}");
        let oversized = first_error(api, || Reply::Raw(i32::MAX.to_be_bytes().to_vec()));
        assert!(matches!(oversized, ClientError::Protocol { .. }), "{oversized}");
        let negative = first_error(api, || Reply::Raw((-5_i32).to_be_bytes().to_vec()));
        assert!(matches!(negative, ClientError::Protocol { .. }), "{negative}");
        let empty = first_error(api, || Reply::Raw(vec![0, 0, 0, 0]));
        assert!(matches!(empty, ClientError::Protocol { .. }), "{empty}");
        let tiny = first_error(api, || Reply::Raw(vec![0, 0, 0, 2, 9, 9]));
        assert!(matches!(tiny, ClientError::Protocol { .. }), "{tiny}");
        let closed = first_error(api, || Reply::Close);
        assert!(matches!(closed, ClientError::Closed { .. }), "{closed}");
        for length in [0, 2, 4, 7, 12, 20] {
            let cut = first_error(api, || Reply::Truncated(good(), length));
            assert!(matches!(cut, ClientError::Closed { .. }), "{length}: {cut}");
        }
    }
    let silent = first_error(ApiKey::Metadata, || Reply::Silence);
    assert!(matches!(silent, ClientError::Timeout { .. }), "{silent}");
    let silent = first_error(ApiKey::ApiVersions, || Reply::Silence);
    assert!(matches!(silent, ClientError::Connect { .. }), "{silent}");
    let http = first_error(ApiKey::ApiVersions, || Reply::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    assert!(matches!(http, ClientError::Protocol { .. }), "{http}");
}

#[test]
fn garbage_of_every_length_is_an_error() {
    for length in (0_usize..200).step_by(7) {
        let garbage = || {
            let mut bytes = (length as u32).to_be_bytes().to_vec();
            // Correlation id 3 is the first after negotiation, so the body is looked at too.
            let body = (0..length).map(|i| if i < 4 { [0, 0, 0, 3][i] } else { (i * 31 + length) as u8 });
            bytes.extend(body);
            Reply::Raw(bytes)
        };
        let error = first_error(ApiKey::Metadata, garbage);
        assert!(matches!(error, ClientError::Protocol { .. }), "{length}: {error}");
    }
}

#[test]
fn a_broker_without_a_common_version_is_named() {
    let mut old = versions();
    old.api_keys.retain(|api| api.api_key != ApiKey::Metadata.as_i16());
    let broker = FakeBroker::start(scripted(ApiKey::ApiVersions, vec![Reply::Answer(old.into())]));
    let error = block_on(async { broker.cluster().fresh_topic("t", false).await.unwrap_err() });
    assert!(
        error.to_string().contains("serves Metadata in versions none, this client speaks 0-13"),
        "{error}"
    );
}

#[test]
fn metadata_that_makes_no_sense_is_an_error() {
    for response in [MetadataResponse::default(), MetadataResponse { error_code: 99, ..Default::default() }] {
        let error = first_error(ApiKey::Metadata, || Reply::Answer(response.clone().into()));
        assert!(matches!(error, ClientError::Broker { .. }), "{error}");
    }
}

/// An answer to a fetch with these bytes as the records of partition 0.
fn fetched(records: Bytes) -> Response {
    let data =
        PartitionData { records: Some(Records::from(records)), high_watermark: 10, ..Default::default() };
    let topic = FetchableTopicResponse {
        topic_id: seedlog_core::ids::Uuid([7; 16]),
        partitions: vec![data],
        ..Default::default()
    };
    FetchResponse { responses: vec![topic], ..Default::default() }.into()
}

fn poll_once(reply: Reply) -> Result<Vec<seedlog::client::FetchedBatch>, ClientError> {
    let broker = FakeBroker::start(scripted(ApiKey::Fetch, vec![reply]));
    block_on(async {
        let options = ConsumerOptions { outage_max: Duration::from_millis(300), ..Default::default() };
        let mut consumer = Consumer::new(broker.cluster(), "t", BTreeMap::from([(0, 0)]), options);
        consumer.poll(Duration::from_secs(2)).await
    })
}

fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for i in 0..5_i64 {
        builder.add(i, None, Some(b"value"), &[]);
    }
    builder.finish().to_vec()
}

/// An answer with a batch in which one bit of this byte is wrong.
fn flipped(at: usize) -> Reply {
    let mut bytes = batch();
    bytes[at] ^= 0x10;
    Reply::Answer(fetched(Bytes::from(bytes)))
}

#[test]
fn batches_are_checked_before_they_are_handed_out() {
    let batches = poll_once(Reply::Answer(fetched(Bytes::from(batch())))).unwrap();
    assert_eq!(batches.len(), 1);
    assert_eq!(*batches[0].payload(1000).unwrap(), batch()[61..]);

    // The length, the magic, the CRC, and all that the CRC covers.
    for at in (8..12).chain(16..batch().len()) {
        let error = poll_once(flipped(at)).expect_err(&format!("byte {at} is checked"));
        assert!(matches!(error, ClientError::Corrupt { .. }), "byte {at}: {error}");
    }
    // The leader's epoch is a broker's to write, so that no CRC covers it.
    for at in 12..16 {
        assert_eq!(poll_once(flipped(at)).unwrap().len(), 1, "byte {at}");
    }
    // A whole batch and the beginning of another: the rest comes with the next answer.
    let mut two = batch();
    two.extend_from_slice(&batch()[..40]);
    assert_eq!(poll_once(Reply::Answer(fetched(Bytes::from(two)))).unwrap().len(), 1);
    let cut = poll_once(Reply::Answer(fetched(Bytes::from(batch()[..40].to_vec())))).unwrap_err();
    assert!(matches!(cut, ClientError::Corrupt { .. }), "{cut}");
}

#[test]
fn a_batch_that_explodes_stays_within_its_budget() {
    let mut builder = BatchBuilder::new();
    builder.add(0, None, Some(&vec![0; 4 << 20]), &[]);
    let bomb = builder.finish_with(Compression::Gzip, |payload| {
        seedlog::codec::compress(Compression::Gzip, payload).unwrap()
    });
    let batches = poll_once(Reply::Answer(fetched(bomb))).unwrap();
    let error = batches[0].payload(100_000).unwrap_err();
    assert_eq!(error.to_string(), "the batch is larger than 100000 bytes when decompressed");
}

#[test]
fn answers_about_partitions_that_nobody_asked_for_are_dropped() {
    let Response::Fetch(mut response) = fetched(Bytes::from(batch())) else {
        unreachable!("it is a fetch answer")
    };
    response.responses[0].partitions[0].partition_index = 40;
    assert!(poll_once(Reply::Answer(response.into())).unwrap().is_empty());
}
