//! The producer against a broker that fails in the middle: nothing twice, nothing missing, nothing out of order.

#![expect(clippy::unwrap_used, reason = "a helper fails as its test does")]

mod cli_support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cli_support::{FakeBroker, Reply, block_on};
use seedlog::client::{Acks, ClientError, Delivery, Producer, ProducerOptions, ProducerRecord};
use seedlog_core::errors::ErrorCode;
use seedlog_core::records::{BatchHeader, RecordIter, next_sequence};
use seedlog_core::wire::produce::{PartitionProduceResponse, TopicProduceResponse};
use seedlog_core::wire::{ProduceRequest, ProduceResponse, Request, Response};
use tokio::sync::mpsc;

/// One partition's log as a broker keeps it: it takes a batch only if its sequence fits, and knows the last five.
#[derive(Default)]
struct FakeLog {
    values: Vec<Vec<u8>>,
    next_sequence: i32,
    recent: Vec<(i32, i64)>,
}

impl FakeLog {
    fn append(&mut self, header: &BatchHeader, payload: &[u8]) -> (ErrorCode, i64) {
        if let Some(&(_, offset)) = self.recent.iter().find(|(sequence, _)| *sequence == header.base_sequence)
        {
            return (ErrorCode::None, offset);
        }
        if header.base_sequence >= 0 && header.base_sequence != self.next_sequence {
            return (ErrorCode::OutOfOrderSequenceNumber, -1);
        }
        let offset = self.values.len() as i64;
        let records = RecordIter::new(header, payload).map(|record| record.unwrap());
        self.values.extend(records.map(|record| record.value.unwrap().to_vec()));
        if header.base_sequence >= 0 {
            self.next_sequence = next_sequence(header.base_sequence, header.record_count);
            self.recent.push((header.base_sequence, offset));
            let old = self.recent.len().saturating_sub(5);
            self.recent.drain(..old);
        }
        (ErrorCode::None, offset)
    }
}

fn answer(request: &ProduceRequest, code: ErrorCode, base_offset: i64) -> Response {
    let topic = &request.topic_data[0];
    let partition = PartitionProduceResponse {
        index: topic.partition_data[0].index,
        error_code: code.code(),
        base_offset,
        ..Default::default()
    };
    let topic = TopicProduceResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: vec![partition],
    };
    ProduceResponse { responses: vec![topic], ..Default::default() }.into()
}

/// What happens to one Produce request.
#[derive(Clone, Copy)]
enum Fate {
    Served,
    /// Written, but the answer never leaves.
    WrittenThenClosed,
    /// Not even looked at.
    Closed,
    /// Written, and answered with an error that asks for another attempt.
    WrittenThenError(ErrorCode),
    /// Refused with an error.
    Refused(ErrorCode),
    /// Written, and not answered while the client waits.
    WrittenThenSilence,
}

/// Writes `records` records of partition 0 while requests meet these fates; the log, the deliveries, the outcome.
fn produce(
    records: usize,
    fates: Vec<Fate>,
    options: ProducerOptions,
) -> (Vec<Vec<u8>>, Vec<Delivery>, Result<(), ClientError>) {
    let log = Arc::new(Mutex::new(FakeLog::default()));
    let shared = Arc::clone(&log);
    let mut fates = fates.into_iter();
    let broker = FakeBroker::start(move |request| {
        let Request::Produce(request) = request else { return Reply::Friendly };
        let batch = request.topic_data[0].partition_data[0].records.as_ref().unwrap().to_bytes();
        let header = BatchHeader::parse(&batch).unwrap();
        let append = || shared.lock().unwrap().append(&header, &batch[61..]);
        match fates.next().unwrap_or(Fate::Served) {
            Fate::Served => {
                let (code, offset) = append();
                if request.acks == 0 {
                    Reply::Unanswered
                } else {
                    Reply::Answer(answer(request, code, offset))
                }
            }
            Fate::Closed => Reply::Close,
            Fate::WrittenThenClosed => {
                append();
                Reply::Close
            }
            Fate::WrittenThenError(code) => {
                append();
                Reply::Answer(answer(request, code, -1))
            }
            Fate::Refused(code) => Reply::Answer(answer(request, code, -1)),
            Fate::WrittenThenSilence => {
                append();
                Reply::Silence
            }
        }
    });
    let (outcome, deliveries) = block_on(async {
        let (sender, mut receiver) = mpsc::channel(1024);
        let collect = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(delivery) = receiver.recv().await {
                all.push(delivery);
            }
            all
        });
        let mut producer = Producer::open(broker.cluster(), "t", options, sender).await.unwrap();
        let outcome = async {
            for number in 0..records {
                let value = Some(Bytes::from(format!("value {number}")));
                producer.send(ProducerRecord { partition: Some(0), value, ..Default::default() }).await?;
            }
            producer.finish().await
        };
        (outcome.await, collect.await.unwrap())
    });
    let values = std::mem::take(&mut log.lock().unwrap().values);
    (values, deliveries, outcome)
}

/// Small batches, so that many are in flight.
fn small() -> ProducerOptions {
    ProducerOptions { batch_bytes: 400, delivery_timeout: Duration::from_secs(10), ..Default::default() }
}

fn assert_exactly_once(values: &[Vec<u8>], deliveries: &[Delivery], records: usize) {
    let expected: Vec<Vec<u8>> = (0..records).map(|number| format!("value {number}").into_bytes()).collect();
    assert_eq!(values, expected);
    let mut next = 0;
    for delivery in deliveries {
        assert_eq!(delivery.base_offset.unwrap_or(next), next, "acknowledged in order, with the true offset");
        next += i64::from(delivery.count);
    }
    assert_eq!(next, records as i64);
}

#[test]
fn a_calm_broker_gets_every_record_once() {
    let (values, deliveries, outcome) = produce(1000, vec![], small());
    outcome.unwrap();
    assert_exactly_once(&values, &deliveries, 1000);
}

#[test]
fn whatever_fails_on_the_way_an_idempotent_producer_writes_once_and_in_order() {
    use Fate::{Closed, Refused, Served, WrittenThenClosed, WrittenThenError, WrittenThenSilence};
    let plans: Vec<Vec<Fate>> = vec![
        vec![Closed, Closed],
        vec![WrittenThenClosed],
        vec![Served, Served, WrittenThenClosed, Served, Closed, WrittenThenClosed],
        vec![Refused(ErrorCode::NotLeaderOrFollower)],
        vec![Served, Refused(ErrorCode::NotEnoughReplicas), Refused(ErrorCode::NotLeaderOrFollower), Served],
        vec![WrittenThenError(ErrorCode::NotEnoughReplicasAfterAppend)],
        vec![Served, WrittenThenError(ErrorCode::RequestTimedOut), Served, Closed],
        vec![Served, WrittenThenSilence, Served],
        vec![Served, WrittenThenError(ErrorCode::DuplicateSequenceNumber)],
    ];
    for (number, plan) in plans.into_iter().enumerate() {
        let (values, deliveries, outcome) = produce(300, plan, small());
        outcome.unwrap_or_else(|error| panic!("plan {number}: {error}"));
        assert_exactly_once(&values, &deliveries, 300);
    }
}

#[test]
fn without_idempotence_order_is_kept_and_repeats_are_possible() {
    let options = ProducerOptions { idempotent: false, acks: Acks::Leader, ..small() };
    let (values, deliveries, outcome) = produce(200, vec![Fate::Served, Fate::WrittenThenClosed], options);
    outcome.unwrap();
    let mut distinct = values.clone();
    distinct.dedup();
    assert!(values.len() >= 200);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for value in &values {
        if !seen.contains(value) {
            seen.push(value.clone());
        }
    }
    let expected: Vec<Vec<u8>> = (0..200).map(|number| format!("value {number}").into_bytes()).collect();
    assert_eq!(seen, expected, "first appearances are in order");
    assert_eq!(deliveries.iter().map(|delivery| delivery.count).sum::<i32>(), 200);
}

#[test]
fn without_acknowledgement_the_broker_has_read_all_before_the_end() {
    let options = ProducerOptions { idempotent: false, acks: Acks::None, ..small() };
    let (values, deliveries, outcome) = produce(500, vec![], options);
    outcome.unwrap();
    assert_eq!(values.len(), 500);
    assert!(deliveries.iter().all(|delivery| delivery.base_offset.is_none()));
}

#[test]
fn a_refusal_that_stays_ends_the_producer() {
    let plan = vec![Fate::Served, Fate::Refused(ErrorCode::MessageTooLarge)];
    let (values, deliveries, outcome) = produce(300, plan, small());
    let error = outcome.unwrap_err().to_string();
    assert_eq!(error, "t-0: MESSAGE_TOO_LARGE; send smaller records, or raise the topic's max.message.bytes");
    let acknowledged: i32 = deliveries.iter().map(|delivery| delivery.count).sum();
    assert!(acknowledged > 0 && (acknowledged as usize) <= values.len());
}

#[test]
fn a_gap_that_the_broker_made_is_not_papered_over() {
    let (_, _, outcome) = produce(300, vec![Fate::Refused(ErrorCode::OutOfOrderSequenceNumber)], small());
    assert_eq!(outcome.unwrap_err().code(), Some(ErrorCode::OutOfOrderSequenceNumber));
}

#[test]
fn a_broker_that_never_answers_well_runs_into_the_delivery_timeout() {
    let options = ProducerOptions { delivery_timeout: Duration::from_millis(600), ..small() };
    let plan = vec![Fate::Refused(ErrorCode::NotEnoughReplicas); 1000];
    let (values, _, outcome) = produce(50, plan, options);
    assert!(values.is_empty());
    let error = outcome.unwrap_err();
    assert!(matches!(error, ClientError::DeliveryTimeout { .. }), "{error}");
    assert!(error.to_string().contains("NOT_ENOUGH_REPLICAS"), "{error}");
}

#[test]
fn no_attempt_outlives_the_delivery_timeout() {
    // The client of the fake broker waits 400 ms for an answer.
    let options = ProducerOptions { delivery_timeout: Duration::from_millis(100), ..small() };
    let (_, deliveries, outcome) = produce(1, vec![Fate::WrittenThenSilence], options);
    assert_eq!(deliveries, []);
    let error = outcome.unwrap_err();
    assert!(matches!(error, ClientError::DeliveryTimeout { .. }), "{error}");
    assert!(!error.to_string().contains("within 400 ms"), "{error}");
}
