//! End to end: records at a steady rate, one request each, and a consumer that waits for them at the end of the log. The time runs
//! from when a record was to be sent to when the consumer has it.

use super::client::{Client, Leaders};
use super::fetch::{self, Answer, Batches};
use super::produce::{self, Shape, check};
use super::socket::{Socket, wait};
use super::{Latencies, Latency, LoadError, Loaded, own_cpu};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Sends so many records of so many bytes a second, for so long, to partition 0, and reads them. Gives the time to the
/// acknowledgement besides.
///
/// # Errors
/// A broker refuses, or a record does not come.
pub fn roundtrip(
    topic: &str,
    leaders: &Leaders,
    value_bytes: usize,
    rate: f64,
    time: Duration,
) -> Result<(Loaded, Latency), LoadError> {
    let leader =
        *leaders.first().ok_or_else(|| LoadError::Refused("the topic has no partition".to_owned()))?;
    let mut next = Client::connect(leader)?.end_offset(topic, 0)?;
    let (mut writer, mut reader) = (Socket::connect(leader)?, Socket::connect(leader)?);
    let shape = Shape { value_bytes, records: 1, in_flight: 1, connections: 1, rate: Some(rate), time };
    let batch = produce::batch(&shape);
    let request = produce::request(topic, 0, &batch)?;
    let (mut unread, mut unacknowledged) = (VecDeque::new(), VecDeque::new());
    let (mut latency, mut acknowledged) = (Latencies::new(), Latencies::new());
    let (cpu, began, mut sent, mut read) = (own_cpu(), Instant::now(), 0_u64, 0);
    let mut readable = Vec::new();
    let mut is_asked = false;
    loop {
        let at = |number: u64| began + Duration::from_secs_f64(number as f64 / rate);
        if !is_asked {
            reader.push(fetch::request(topic, [(0, next)].into_iter(), (500, 1))?);
            reader.flush()?;
            is_asked = true;
        }
        let is_over = began.elapsed() >= time;
        while !is_over && at(sent) <= Instant::now() {
            writer.push(request.clone());
            unread.push_back(at(sent));
            unacknowledged.push_back(at(sent));
            sent += 1;
        }
        writer.flush()?;
        if is_over && unread.is_empty() && unacknowledged.is_empty() {
            break;
        }
        if began.elapsed() > time + Duration::from_secs(30) {
            return Err(LoadError::Miscounted { expected: sent, found: read });
        }
        let until_next = at(sent).saturating_duration_since(Instant::now());
        wait(&[&writer, &reader], until_next.min(Duration::from_millis(50)), &mut readable)?;
        if readable[0] {
            writer.fill()?;
            while let Some(answer) = writer.next() {
                check(answer, topic.len())?;
                if let Some(since) = unacknowledged.pop_front() {
                    acknowledged.add(since.elapsed());
                }
            }
        }
        if readable[1] {
            reader.fill()?;
            if let Some(answer) = reader.next() {
                is_asked = false;
                read += take(answer, topic.len(), &mut next, &mut unread, &mut latency)?;
            }
        }
    }
    let loaded = Loaded {
        requests: read,
        records: read,
        value_bytes: read * value_bytes as u64,
        batch_bytes: read * batch.len() as u64,
        seconds: began.elapsed().as_secs_f64(),
        own_cpu_s: (own_cpu() - cpu).as_secs_f64(),
        latency: latency.summary(),
    };
    Ok((loaded, acknowledged.summary()))
}

/// Takes the records of an answer; gives back how many.
fn take(
    answer: &[u8],
    name_bytes: usize,
    next: &mut i64,
    unread: &mut VecDeque<Instant>,
    latency: &mut Latencies,
) -> Result<u64, LoadError> {
    let mut read = 0;
    let mut answer = Answer::open(answer, name_bytes)?;
    while let Some((_, records)) = answer.partition()? {
        for batch in Batches(records) {
            *next = batch.next;
            read += batch.records;
            if let Some(since) = unread.pop_front() {
                latency.add(since.elapsed());
            }
        }
    }
    Ok(read)
}
