//! What rskafka was asked for and saw while nodes go away, as seedlog-checker reads it: one event a line, in the order in which they
//! happened (everything happens on one thread).

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rskafka::chrono::{DateTime, Utc};
use rskafka::client::Client;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient};
use rskafka::record::Record;

use crate::{Outcome, partition};

const PARTITIONS: i32 = 3;
const RECORDS_AT_ONCE: usize = 2;
const PAUSE: Duration = Duration::from_millis(15);
const READ_MAX: Duration = Duration::from_secs(60);

struct History {
    file: RefCell<File>,
    started: Instant,
}

impl History {
    fn write(&self, process: u32, phase: &str, function: &str, records: &[String]) -> Outcome {
        let value = if records.is_empty() {
            String::new()
        } else {
            format!(r#", "value": [{}]"#, records.join(", "))
        };
        let time_us = self.started.elapsed().as_micros();
        let line = format!(
            r#"{{"time_us": {time_us}, "process": {process}, "type": "{phase}", "f": "{function}"{value}}}"#
        );
        Ok(writeln!(self.file.borrow_mut(), "{line}")?)
    }
}

/// A record's line; `more` is its offset, or that it may be there several times.
fn line(topic: &str, partition: i32, value: &str, more: &str) -> String {
    format!(r#"{{"topic": "{topic}", "partition": {partition}, "key": "k", "value": "{value}"{more}}}"#)
}

/// Writes and reads until the file `stop` is there, then reads all to the end. Whether everything was acknowledged.
pub(crate) async fn write(client: &Client, topic: &str, path: &Path, stop: &Path) -> Outcome<bool> {
    let history = History { file: RefCell::new(File::create(path)?), started: Instant::now() };
    client.controller_client()?.create_topic(topic, PARTITIONS, 3, 20_000).await?;
    let mut tail = Tail::open(client, 1, topic, &history).await?;
    let (first, second, third, read) = tokio::join!(
        write_partition(client, topic, 0, &history, stop),
        write_partition(client, topic, 1, &history, stop),
        write_partition(client, topic, 2, &history, stop),
        async {
            while !stop.exists() {
                tail.read().await?;
            }
            Outcome::Ok(())
        },
    );
    read?;
    let written = [first?, second?, third?];
    tail.read_to_ends().await?;
    Tail::open(client, 2, topic, &history).await?.read_to_ends().await?;
    let (sent, acked) = written.iter().fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
    println!("note: {sent} records, {acked} acknowledged");
    Ok(sent == acked)
}

/// Writes some records and waits, again and again: how many were sent, and acknowledged. The library sends again what was not
/// answered, and is not idempotent.
async fn write_partition(
    client: &Client,
    topic: &str,
    index: i32,
    history: &History,
    stop: &Path,
) -> Outcome<(usize, usize)> {
    let log = partition(client, topic, index).await?;
    // A process has an order of its own.
    let process = 10 + u32::try_from(index)?;
    let (mut sent, mut acked) = (0, 0);
    while !stop.exists() {
        let values: Vec<String> =
            (sent..sent + RECORDS_AT_ONCE).map(|number| format!("{index} {number}")).collect();
        sent += RECORDS_AT_ONCE;
        let lines = |more: &dyn Fn(usize) -> String| -> Vec<String> {
            values.iter().enumerate().map(|(at, value)| line(topic, index, value, &more(at))).collect()
        };
        history.write(process, "invoke", "send", &lines(&|_| r#", "repeats": true"#.to_owned()))?;
        let record = |value: &String| Record {
            key: Some(b"k".to_vec()),
            value: Some(value.clone().into_bytes()),
            headers: Default::default(),
            timestamp: now(),
        };
        match log.produce(values.iter().map(record).collect(), Compression::NoCompression).await {
            Ok(offsets) => {
                acked += RECORDS_AT_ONCE;
                history.write(
                    process,
                    "ok",
                    "send",
                    &lines(&|at| format!(r#", "offset": {}"#, offsets[at])),
                )?;
            }
            Err(error) => {
                println!("given up: {error}");
                history.write(process, "info", "send", &lines(&|_| String::new()))?;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok((sent, acked))
}

fn now() -> DateTime<Utc> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    DateTime::from_timestamp_millis(i64::try_from(since.as_millis()).unwrap_or_default()).unwrap_or_default()
}

/// A consumer of all partitions from their starts.
struct Tail<'a> {
    process: u32,
    topic: &'a str,
    history: &'a History,
    logs: Vec<(PartitionClient, i64)>,
}

impl<'a> Tail<'a> {
    async fn open(client: &Client, process: u32, topic: &'a str, history: &'a History) -> Outcome<Self> {
        let start = |index| format!(r#"{{"topic": "{topic}", "partition": {index}, "offset": 0}}"#);
        history.write(process, "ok", "assign", &(0..PARTITIONS).map(start).collect::<Vec<_>>())?;
        let mut logs = Vec::new();
        for index in 0..PARTITIONS {
            logs.push((partition(client, topic, index).await?, 0));
        }
        Ok(Self { process, topic, history, logs })
    }

    /// What each partition has next.
    async fn read(&mut self) -> Outcome {
        for (index, (log, next)) in (0..).zip(&mut self.logs) {
            let (records, _) = log.fetch_records(*next, 1..1_000_000, 20).await?;
            let Some(last) = records.last() else { continue };
            *next = last.offset + 1;
            let lines = records.iter().map(|read| {
                let value = String::from_utf8_lossy(read.record.value.as_deref().unwrap_or_default());
                line(self.topic, index, &value, &format!(r#", "offset": {}"#, read.offset))
            });
            self.history.write(self.process, "ok", "poll", &lines.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    async fn read_to_ends(&mut self) -> Outcome {
        let started = Instant::now();
        for at in 0..self.logs.len() {
            let end = self.logs[at].0.get_offset(OffsetAt::Latest).await?;
            while self.logs[at].1 < end {
                if started.elapsed() > READ_MAX {
                    return Err(format!("not read to the end {end} of partition {at} in {READ_MAX:?}").into());
                }
                self.read().await?;
            }
        }
        self.history.write(self.process, "ok", "final", &[])
    }
}
