//! Loads by the tools that users measure with: Kafka's own perf tests, and kcat for librdkafka. They are slower than the load of our
//! own, and share the machine with the brokers: what they show is what users see.

use super::{Latency, LoadError, Loaded};
use crate::broker::ended_children_cpu_s;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Bytes of a record's value.
const VALUE_BYTES: usize = 1024;
/// Lines that are given to kcat at once.
const LINES: u64 = 1024;

/// Writes records of 1 KiB with `kafka-producer-perf-test` at its defaults: acks=all, idempotent, batches of 16 KiB. The latency is
/// what it says, in whole milliseconds, from the call to the answer.
///
/// # Errors
/// It cannot be started, ends with an error, or says nothing that can be read.
pub fn java_produce(
    kafka: &Path,
    bootstrap: SocketAddr,
    topic: &str,
    records: u64,
) -> Result<Loaded, LoadError> {
    let (said, own_cpu_s) = java(kafka, PRODUCER, |command| {
        command.args(["org.apache.kafka.tools.ProducerPerformance", "--throughput", "-1", "--topic", topic]);
        command.args(["--num-records", &records.to_string(), "--record-size", &VALUE_BYTES.to_string()]);
        command.args(["--bootstrap-server", &bootstrap.to_string()]);
    })?;
    let summary = Summary::read(&said).ok_or_else(|| unreadable(PRODUCER, &said))?;
    Ok(loaded(records, records as f64 / summary.records_a_second, own_cpu_s, summary.latency))
}

/// Reads a topic from its start with `kafka-consumer-perf-test` at its defaults, as the only member of a group that nobody was in.
/// The time is from when it has all partitions on: before that a group waits for further members, for as long as brokers are told.
/// It tells no latency.
///
/// # Errors
/// As [`java_produce`]; it reads another number of records than `records`.
pub fn java_consume(
    kafka: &Path,
    bootstrap: SocketAddr,
    topic: &str,
    records: u64,
) -> Result<Loaded, LoadError> {
    let (said, own_cpu_s) = java(kafka, CONSUMER, |command| {
        command.args(["org.apache.kafka.tools.ConsumerPerformance", "--topic", topic, "--group", topic]);
        command.args(["--num-records", &records.to_string(), "--bootstrap-server", &bootstrap.to_string()]);
    })?;
    let (found, seconds) = consumed(&said).ok_or_else(|| unreadable(CONSUMER, &said))?;
    if found != records {
        return Err(LoadError::Miscounted { expected: records, found });
    }
    Ok(loaded(records, seconds, own_cpu_s, Latency::default()))
}

const PRODUCER: &str = "kafka-producer-perf-test";
const CONSUMER: &str = "kafka-consumer-perf-test";

/// Runs a tool of Kafka's to its end: what it said, and its processor seconds.
fn java(kafka: &Path, tool: &str, arguments: impl FnOnce(&mut Command)) -> Result<(String, f64), LoadError> {
    let mut command = Command::new("java");
    command.args(["-Xmx512M", "-cp"]).arg(format!("{}/libs/*", kafka.display()));
    arguments(&mut command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|error| cannot_start("java", &error))?;
    let before = ended_children_cpu_s()?;
    let mut said = String::new();
    child.stdout.take().ok_or_else(closed)?.read_to_string(&mut said)?;
    ended(tool, &mut child)?;
    Ok((said, ended_children_cpu_s()? - before))
}

/// Writes records of 1 KiB with `kcat -P` at librdkafka's defaults. It tells no latency.
///
/// # Errors
/// As [`java_produce`].
pub fn kcat_produce(bootstrap: SocketAddr, topic: &str, records: u64) -> Result<Loaded, LoadError> {
    let began = Instant::now();
    let before = ended_children_cpu_s()?;
    let mut child = kcat(bootstrap, topic, &["-P"], Stdio::piped(), Stdio::null())?;
    let mut input = child.stdin.take().ok_or_else(closed)?;
    let line = [vec![b'x'; VALUE_BYTES], vec![b'\n']].concat();
    let lines = line.repeat(usize::try_from(LINES).unwrap_or(0));
    let mut left = records;
    while left > 0 {
        let now = left.min(LINES);
        input.write_all(&lines[..usize::try_from(now).unwrap_or(0) * line.len()])?;
        left -= now;
    }
    drop(input);
    ended("kcat", &mut child)?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(loaded(records, seconds, ended_children_cpu_s()? - before, Latency::default()))
}

/// Reads a topic from its start to its end with `kcat -C` at librdkafka's defaults.
///
/// # Errors
/// As [`java_produce`]; it reads another number of records than `records`.
pub fn kcat_fetch(bootstrap: SocketAddr, topic: &str, records: u64) -> Result<Loaded, LoadError> {
    let began = Instant::now();
    let before = ended_children_cpu_s()?;
    // A byte for each record: they are counted.
    let arguments = ["-C", "-q", "-e", "-o", "beginning", "-f", "."];
    let mut child = kcat(bootstrap, topic, &arguments, Stdio::null(), Stdio::piped())?;
    let found = io::copy(&mut child.stdout.take().ok_or_else(closed)?, &mut io::sink())?;
    ended("kcat", &mut child)?;
    if found != records {
        return Err(LoadError::Miscounted { expected: records, found });
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(loaded(records, seconds, ended_children_cpu_s()? - before, Latency::default()))
}

fn kcat(
    bootstrap: SocketAddr,
    topic: &str,
    arguments: &[&str],
    input: Stdio,
    output: Stdio,
) -> Result<Child, LoadError> {
    let mut command = Command::new("kcat");
    command.args(["-b", &bootstrap.to_string(), "-t", topic]).args(arguments);
    let child = command.stdin(input).stdout(output).stderr(Stdio::null()).spawn();
    child.map_err(|error| cannot_start("kcat", &error))
}

/// Of a tool nobody sees the requests: its records are counted as such.
fn loaded(records: u64, seconds: f64, own_cpu_s: f64, latency: Latency) -> Loaded {
    let bytes = records * VALUE_BYTES as u64;
    Loaded { requests: records, records, value_bytes: bytes, batch_bytes: bytes, seconds, own_cpu_s, latency }
}

fn ended(program: &str, child: &mut Child) -> Result<(), LoadError> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(LoadError::Refused(format!("{program}: {status}"))) }
}

fn cannot_start(program: &str, error: &io::Error) -> LoadError {
    LoadError::Refused(format!("cannot start {program}, which this row needs: {error}"))
}

fn unreadable(tool: &str, said: &str) -> LoadError {
    LoadError::Refused(format!("{tool} says nothing that can be read: {said}"))
}

fn closed() -> LoadError {
    LoadError::Refused("a pipe to a tool is closed".to_owned())
}

/// What `kafka-producer-perf-test` says at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Summary {
    records_a_second: f64,
    latency: Latency,
}

impl Summary {
    /// Reads the last line: `5000 records sent, 1234.5 records/sec (1.21 MB/sec), 10.00 ms avg latency, 300.00 ms max latency,
    /// 7 ms 50th, 25 ms 95th, 40 ms 99th, 55 ms 99.9th.`
    fn read(said: &str) -> Option<Self> {
        let line = said.lines().rfind(|line| line.contains("99.9th"))?;
        let number = |behind: &str| -> Option<f64> {
            let part = line.split(',').find(|part| part.contains(behind))?;
            part.split_whitespace().next()?.parse().ok()
        };
        let micros = |behind| number(behind).map(|ms| (ms * 1000.0) as u64);
        let latency = Latency {
            p50_us: micros(" 50th")?,
            p99_us: micros(" 99th")?,
            p999_us: micros(" 99.9th")?,
            max_us: micros("max latency")?,
        };
        Some(Self { records_a_second: number("records/sec")?, latency })
    }
}

/// What `kafka-consumer-perf-test` says at its end, under names of columns: records, and seconds without the wait for partitions.
fn consumed(said: &str) -> Option<(u64, f64)> {
    let mut lines = said.lines().skip_while(|line| !line.contains("fetch.time.ms"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |wanted: &str| {
        let at = names.split(',').position(|name| name.trim() == wanted)?;
        values.split(',').nth(at).map(str::trim)
    };
    let seconds = value("fetch.time.ms")?.parse::<f64>().ok()? / 1000.0;
    let records = value("data.consumed.in.nMsg")?.parse().ok()?;
    (seconds > 0.0).then_some((records, seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_perf_tests_last_line_is_read() {
        let said = "10 records sent, 9.0 records/sec (0.01 MB/sec), 1.0 ms avg latency, 2.0 ms max latency.\n\
                    5000 records sent, 1234.5 records/sec (1.21 MB/sec), 10.25 ms avg latency, 300.50 ms max latency, \
                    7 ms 50th, 25 ms 95th, 40 ms 99th, 55 ms 99.9th.\n";
        let latency = Latency { p50_us: 7_000, p99_us: 40_000, p999_us: 55_000, max_us: 300_500 };
        assert_eq!(Summary::read(said), Some(Summary { records_a_second: 1234.5, latency }));
        assert_eq!(Summary::read("Exception in thread \"main\"\n"), None);
    }

    #[test]
    fn the_consumers_columns_are_read_by_their_names() {
        let names = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, \
                     fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec";
        let values = "2026-01-01 00:00:00:000, 2026-01-01 00:00:04:000, 195.3125, 48.8, 200000, 50000.0, 3500, 500, 390.6, \
                      400000.0";
        let said = format!("WARNING: something\n{names}\n{values}\n");
        assert_eq!(consumed(&said), Some((200_000, 0.5)));
        assert_eq!(consumed(names), None);
        assert_eq!(consumed("Exception in thread \"main\"\n"), None);
    }
}
