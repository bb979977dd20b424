//! The rows of the table: what is done to a cluster, and what is measured of it.

use crate::broker::{Cluster, Kind, Machine, Usage};
use crate::load::client::{Client, Leaders, NewTopic};
use crate::load::compaction::{self, Compaction};
use crate::load::fetch::{Reading, fetch};
use crate::load::groups::classic::Classic;
use crate::load::groups::commits::Commits;
use crate::load::groups::consumer::Consumer;
use crate::load::groups::{self, Group};
use crate::load::produce::{Shape, produce};
use crate::load::retention::{self, Retention};
use crate::load::roundtrip::roundtrip;
use crate::load::{Latency, LoadError, Loaded, tools};
use clap::ValueEnum;
use serde::Serialize;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Partitions of a row's topic.
const PARTITIONS: i32 = 6;
/// What readers read again and again, of the end of all partitions together.
const TAIL_BYTES: u64 = 48 << 20;
/// What is old, of all partitions together, and as much that is written after it.
const OLD_BYTES: u64 = 512 << 20;
/// A cluster that uses less than this part of a core has done what it put off.
const IDLE_CORES: f64 = 0.04;
/// Rebalances without a pause before the first, and heartbeats as often as the classic protocol's members send them.
const GROUP_SETTINGS: &[(&str, &str)] = &[
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.consumer.heartbeat.interval.ms", "100"),
    ("group.consumer.min.heartbeat.interval.ms", "100"),
    ("group.consumer.assignment.interval.ms", "0"),
];
/// How long that is waited for.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    /// Batches of 64 records of 1 KiB, 5 requests in flight on a connection to each broker.
    #[value(name = "produce-1k")]
    Produce1k,
    /// Batches of 1,000 records of 100 bytes, likewise.
    #[value(name = "produce-100b")]
    Produce100b,
    /// Requests of one record of 100 bytes, 32 in flight.
    Single32,
    /// The same with 256 in flight: on 4 connections to each broker.
    Single256,
    /// 1,000 requests a second of one record of 1 KiB.
    Open1000,
    /// 1,000 records a second, from producer to consumer.
    RoundTrip,
    /// One reader at the end of the logs.
    Tail1,
    /// Ten of them.
    Tail10,
    /// One reader of what is only on disk: the files are put out of the page cache before.
    Cold,
    /// As `produce-1k`, while a reader reads what was written before, from its beginning on.
    Mixed,
    /// 50 members of the classic protocol share 100 partitions: one leaves, another one joins, again and again.
    RebalanceClassic,
    /// The same with the consumer protocol (KIP-848).
    RebalanceConsumer,
    /// 1,000 groups without members commit 6 partitions each, 16 commits in flight on each of 4 connections to each coordinator.
    #[value(name = "commits-1000-groups")]
    Commits1000Groups,
    /// Records of 1 KiB, one to each of 10,000 partitions in turn, while segments grow too old.
    #[value(name = "retention-10000")]
    Retention10000,
    /// A log of which a tenth is left once it is compacted.
    Compaction,
    /// Kafka's `kafka-producer-perf-test`, records of 1 KiB. Needs java and Kafka's jars; not among the rows that run unasked.
    JavaProduce,
    /// Kafka's `kafka-consumer-perf-test`, which reads them as the only member of a group. Likewise.
    JavaConsume,
    /// `kcat -P`, librdkafka: records of 1 KiB. Not among the rows that run unasked.
    KcatProduce,
    /// `kcat -C`, which reads them. Not among the rows that run unasked.
    KcatFetch,
}

/// What a row measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Measured {
    /// Records a second; of a row at a rate, what came of it.
    pub records_a_second: f64,
    /// Requests a second; of rebalances and of commits, their number.
    pub requests_a_second: f64,
    /// How long it took.
    pub seconds: f64,
    /// Of requests; of a round trip, to the consumer.
    pub latency: Latency,
    /// Processor seconds of all brokers for each GB of values, what they put off included.
    pub cpu_s_a_gb: f64,
    /// Processor microseconds of all brokers for each request, likewise.
    pub cpu_us_a_request: f64,
    /// Processor seconds of the load.
    pub own_cpu_s: f64,
    /// The most memory of all brokers together so far, in bytes.
    pub resident_bytes_max: u64,
    /// Bytes that went to disks for each byte of the batches, all replicas together.
    pub written_a_byte: f64,
    /// Processor seconds of all others for each second of the run.
    pub foreign_cores: f64,
}

/// What a row needs. What depends on how long it is to run is a function of that.
struct Ground {
    settings: &'static [(&'static str, &'static str)],
    partitions: fn(Duration) -> i32,
    configs: fn(Duration) -> Vec<(&'static str, String)>,
}

impl Row {
    /// Those that need nothing but the brokers.
    pub const OWN: [Self; 15] = [
        Self::Produce1k,
        Self::Produce100b,
        Self::Single32,
        Self::Single256,
        Self::Open1000,
        Self::RoundTrip,
        Self::Tail1,
        Self::Tail10,
        Self::Cold,
        Self::Mixed,
        Self::Commits1000Groups,
        Self::RebalanceClassic,
        Self::RebalanceConsumer,
        Self::Compaction,
        Self::Retention10000,
    ];

    /// Its name in the table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Produce1k => "produce 1 KiB x 64",
            Self::Produce100b => "produce 100 B x 1000",
            Self::Single32 => "100 B requests, 32 in flight",
            Self::Single256 => "100 B requests, 256 in flight",
            Self::Open1000 => "1 KiB requests, 1,000/s",
            Self::RoundTrip => "end to end, 1,000/s",
            Self::Tail1 => "tail fetch, 1 reader",
            Self::Tail10 => "tail fetch, 10 readers",
            Self::Cold => "cold fetch",
            Self::Mixed => "produce 1 KiB x 64, and a reader",
            Self::RebalanceClassic => "rebalance of 50, classic",
            Self::RebalanceConsumer => "rebalance of 50, KIP-848",
            Self::Commits1000Groups => "commits of 1,000 groups",
            Self::Retention10000 => "10,000 partitions and retention",
            Self::Compaction => "compaction",
            Self::JavaProduce => "kafka-producer-perf-test",
            Self::JavaConsume => "kafka-consumer-perf-test",
            Self::KcatProduce => "kcat -P",
            Self::KcatFetch => "kcat -C",
        }
    }

    /// What it needs of brokers and of its topic.
    fn ground(self) -> Ground {
        let plain = Ground { settings: &[], partitions: |_| PARTITIONS, configs: |_| Vec::new() };
        match self {
            Self::RebalanceClassic | Self::RebalanceConsumer => {
                Ground { settings: GROUP_SETTINGS, partitions: |_| groups::PARTITIONS, ..plain }
            }
            Self::Retention10000 => Ground {
                settings: &[("log.retention.check.interval.ms", "1000")],
                partitions: retention::first_partitions,
                configs: retention::configs,
            },
            Self::Compaction => Ground {
                settings: &[("log.cleaner.backoff.ms", "100"), ("log.cleaner.threads", "1")],
                configs: |time| compaction::Size::of(time, PARTITIONS).configs(),
                ..plain
            },
            Self::Produce1k
            | Self::Produce100b
            | Self::Single32
            | Self::Single256
            | Self::Open1000
            | Self::RoundTrip
            | Self::Tail1
            | Self::Tail10
            | Self::Cold
            | Self::Mixed
            | Self::Commits1000Groups
            | Self::JavaProduce
            | Self::JavaConsume
            | Self::KcatProduce
            | Self::KcatFetch => plain,
        }
    }

    /// What both brokers are told where their defaults would hide the row behind timers. Rows that are told the same share clusters.
    #[must_use]
    pub fn settings(self) -> &'static [(&'static str, &'static str)] {
        self.ground().settings
    }

    fn shape(self, time: Duration) -> Shape {
        let batches =
            Shape { value_bytes: 1024, records: 64, in_flight: 5, connections: 1, rate: None, time };
        let single = Shape { value_bytes: 100, records: 1, in_flight: 32, ..batches };
        match self {
            Self::Produce1k
            | Self::Tail1
            | Self::Tail10
            | Self::Cold
            | Self::Mixed
            | Self::RebalanceClassic
            | Self::RebalanceConsumer
            | Self::Commits1000Groups
            | Self::Retention10000
            | Self::Compaction
            | Self::JavaProduce
            | Self::JavaConsume
            | Self::KcatProduce
            | Self::KcatFetch => batches,
            Self::Produce100b => Shape { value_bytes: 100, records: 1000, ..batches },
            Self::Single32 | Self::RoundTrip => single,
            Self::Single256 => Shape { in_flight: 64, connections: 4, ..single },
            Self::Open1000 => Shape { value_bytes: 1024, in_flight: 1000, rate: Some(1000.0), ..single },
        }
    }

    /// Runs it against a cluster, with a topic of its own. `others` runs idle beside.
    ///
    /// # Errors
    /// The load met an error, or a record is missing.
    pub fn run(
        self,
        name: &str,
        cluster: &Cluster,
        others: &[&Cluster],
        time: Duration,
    ) -> Result<Measured, LoadError> {
        // Kafka leaves to the system what it has written: the disk is not to be busy with that while the other one is measured.
        cluster.write_out()?;
        let mut client = Client::connect(cluster.bootstrap())?;
        let replicas = i16::try_from(cluster.plan().nodes().min(3)).unwrap_or(1);
        let ground = self.ground();
        let (partitions, configs) = ((ground.partitions)(time), (ground.configs)(time));
        let topic = NewTopic { name, partitions, replicas, configs: &configs };
        let leaders = client.create_topic(&topic)?;
        let mut prepared = self.prepare(&topic, &leaders, cluster, time)?;
        let (before, machine, others_before) = (cluster.usage()?, Machine::now()?, sum(others)?);
        let began = Instant::now();
        let done = self.load(name, &leaders, &mut prepared, (cluster, time))?;
        settle(cluster)?;
        let (usage, elapsed) = (cluster.usage()?, began.elapsed().as_secs_f64());
        let cpu_s = usage.cpu_s - before.cpu_s;
        let busy_s = Machine::now()?.busy_s - machine.busy_s;
        let foreign_s = busy_s - cpu_s - done.own_cpu_s - (sum(others)?.cpu_s - others_before.cpu_s);
        prepared.check(&mut client)?;
        client.delete_topic(name)?;
        if matches!(prepared, Prepared::Retention(_)) {
            // Whoever is next is not to share the disk with the removal of all these files.
            settle(cluster)?;
        }
        Ok(Measured {
            records_a_second: done.records as f64 / done.seconds,
            requests_a_second: done.requests as f64 / done.seconds,
            seconds: done.seconds,
            latency: done.latency,
            cpu_s_a_gb: each(cpu_s * 1e9, done.value_bytes),
            cpu_us_a_request: each(cpu_s * 1e6, done.requests),
            own_cpu_s: done.own_cpu_s,
            resident_bytes_max: usage.resident_bytes_max,
            written_a_byte: each((usage.written_bytes - before.written_bytes) as f64, done.batch_bytes),
            foreign_cores: foreign_s.max(0.0) / elapsed,
        })
    }

    /// Does what comes before the row: writes what is to be read, forms groups.
    fn prepare(
        self,
        topic: &NewTopic<'_>,
        leaders: &Leaders,
        cluster: &Cluster,
        time: Duration,
    ) -> Result<Prepared, LoadError> {
        let (name, bootstrap) = (topic.name, cluster.bootstrap());
        let prepared = match self {
            Self::Tail1 | Self::Tail10 => {
                let bytes_a_record = self.fill(name, leaders, 0)?;
                settle(cluster)?;
                let records = (TAIL_BYTES as f64 / bytes_a_record / leaders.len() as f64) as i64;
                let ends = ends(name, leaders)?;
                return Ok(Prepared::Parts(
                    ends.into_iter().map(|end| ((end - records).max(0), end)).collect(),
                ));
            }
            Self::Cold | Self::Mixed => {
                let bytes_a_record = self.fill(name, leaders, OLD_BYTES)?;
                let records = (OLD_BYTES as f64 / bytes_a_record / leaders.len() as f64) as i64;
                let old = ends(name, leaders)?.into_iter().map(|end| (0, end.min(records))).collect();
                // What is read is not what was written last.
                self.fill(name, leaders, OLD_BYTES)?;
                settle(cluster)?;
                if self == Self::Cold {
                    cluster.forget_pages()?;
                }
                return Ok(Prepared::Parts(old));
            }
            Self::Produce1k
            | Self::Produce100b
            | Self::Single32
            | Self::Single256
            | Self::Open1000
            | Self::RoundTrip
            | Self::JavaProduce
            | Self::KcatProduce => return Ok(Prepared::Nothing),
            Self::JavaConsume => {
                tools::java_produce(jars(cluster)?, bootstrap, name, tool_records(time))?;
                Prepared::Nothing
            }
            Self::KcatFetch => {
                tools::kcat_produce(bootstrap, name, tool_records(time))?;
                Prepared::Nothing
            }
            Self::RebalanceClassic => Prepared::Classic(Group::formed(bootstrap, name)?),
            Self::RebalanceConsumer => Prepared::Consumer(Group::formed(bootstrap, name)?),
            Self::Commits1000Groups => Prepared::Commits(Commits::prepared(bootstrap, name, PARTITIONS)?),
            Self::Compaction => {
                let size = compaction::Size::of(time, PARTITIONS);
                Prepared::Compaction(Compaction::written(bootstrap, name, leaders, size)?)
            }
            Self::Retention10000 => {
                let mut client = Client::connect(bootstrap)?;
                Prepared::Retention(Retention::prepared(&mut client, (topic, leaders), time)?)
            }
        };
        settle(cluster)?;
        Ok(prepared)
    }

    /// Writes at least so much, for two seconds at least; gives the bytes that a record takes.
    fn fill(self, name: &str, leaders: &Leaders, bytes_min: u64) -> Result<f64, LoadError> {
        let (mut bytes, mut records) = (0, 0);
        while records == 0 || bytes < bytes_min {
            let written = produce(name, leaders, &self.shape(Duration::from_secs(2)))?;
            bytes += written.batch_bytes;
            records += written.records;
        }
        Ok(bytes as f64 / records as f64)
    }

    fn load(
        self,
        name: &str,
        leaders: &Leaders,
        prepared: &mut Prepared,
        (cluster, time): (&Cluster, Duration),
    ) -> Result<Loaded, LoadError> {
        let parts: &[(i64, i64)] = match prepared {
            Prepared::Nothing => &[],
            Prepared::Parts(parts) => parts,
            Prepared::Classic(group) => return group.rebalance(time),
            Prepared::Consumer(group) => return group.rebalance(time),
            Prepared::Commits(commits) => return commits.run(time),
            Prepared::Compaction(compaction) => return compaction.clean(),
            Prepared::Retention(retention) => return retention.run(time),
        };
        let reading = Reading { readers: 1, time, once: false };
        match self {
            Self::RoundTrip => roundtrip(name, leaders, 100, 1000.0, time).map(|(loaded, _)| loaded),
            Self::Tail1 => fetch(name, leaders, parts, &reading),
            Self::Tail10 => fetch(name, leaders, parts, &Reading { readers: 10, ..reading }),
            Self::Cold => {
                let patience = Duration::from_secs(600);
                fetch(name, leaders, parts, &Reading { time: patience, once: true, ..reading })
            }
            Self::Mixed => std::thread::scope(|scope| {
                let reader = scope.spawn(|| fetch(name, leaders, parts, &reading));
                let written = produce(name, leaders, &self.shape(time))?;
                let read =
                    reader.join().map_err(|_| LoadError::Refused("the reader panicked".to_owned()))??;
                Ok(written.with(&read))
            }),
            Self::Produce1k | Self::Produce100b | Self::Single32 | Self::Single256 | Self::Open1000 => {
                produce(name, leaders, &self.shape(time))
            }
            Self::JavaProduce => {
                let records = tool_records(time);
                let loaded = tools::java_produce(jars(cluster)?, cluster.bootstrap(), name, records)?;
                counted(name, leaders, records).map(|()| loaded)
            }
            Self::JavaConsume => {
                tools::java_consume(jars(cluster)?, cluster.bootstrap(), name, tool_records(time))
            }
            Self::KcatProduce => {
                let records = tool_records(time);
                let loaded = tools::kcat_produce(cluster.bootstrap(), name, records)?;
                counted(name, leaders, records).map(|()| loaded)
            }
            Self::KcatFetch => tools::kcat_fetch(cluster.bootstrap(), name, tool_records(time)),
            Self::RebalanceClassic
            | Self::RebalanceConsumer
            | Self::Commits1000Groups
            | Self::Retention10000
            | Self::Compaction => unreachable!("these rows prepare what they load with"),
        }
    }
}

/// What a row goes on from.
enum Prepared {
    Nothing,
    /// From where to where each partition is read.
    Parts(Vec<(i64, i64)>),
    Classic(Group<Classic>),
    Consumer(Group<Consumer>),
    Commits(Commits),
    Compaction(Compaction),
    Retention(Retention),
}

impl Prepared {
    /// Asks, where the load has not, whether the result is right, and removes what is there besides the row's topic.
    fn check(&mut self, client: &mut Client) -> Result<(), LoadError> {
        match self {
            Self::Nothing | Self::Parts(_) => Ok(()),
            Self::Classic(group) => group.check().and_then(|()| group.leave()),
            Self::Consumer(group) => group.check().and_then(|()| group.leave()),
            Self::Commits(commits) => commits.check(),
            Self::Compaction(compaction) => compaction.check(),
            Self::Retention(retention) => {
                retention.check()?;
                retention.delete(client)
            }
        }
    }
}

/// A part of something; nothing where there are no parts.
fn each(all: f64, parts: u64) -> f64 {
    if parts == 0 { 0.0 } else { all / parts as f64 }
}

/// Records that a tool writes or reads in a run of this length: it is told their number, and no time.
fn tool_records(time: Duration) -> u64 {
    (time.as_secs_f64() * 100_000.0) as u64
}

/// Where Kafka's jars are, which its tools need.
fn jars(cluster: &Cluster) -> Result<&Path, LoadError> {
    let kafka = cluster.programs().kafka.as_deref();
    kafka.ok_or_else(|| LoadError::Refused("this row needs --kafka".to_owned()))
}

/// The logs hold exactly what a tool wrote.
fn counted(name: &str, leaders: &Leaders, expected: u64) -> Result<(), LoadError> {
    let found = ends(name, leaders)?.iter().map(|&end| u64::try_from(end).unwrap_or(0)).sum();
    if found == expected { Ok(()) } else { Err(LoadError::Miscounted { expected, found }) }
}

/// Where each partition's log ends.
fn ends(name: &str, leaders: &Leaders) -> Result<Vec<i64>, LoadError> {
    (0..)
        .zip(leaders)
        .map(|(partition, leader)| Client::connect(*leader)?.end_offset(name, partition))
        .collect()
}

/// Waits until a cluster has done what it put off: what a run costs is counted to its end.
pub(crate) fn settle(cluster: &Cluster) -> io::Result<()> {
    let began = Instant::now();
    let look = Duration::from_millis(500);
    loop {
        let before = cluster.usage()?.cpu_s;
        std::thread::sleep(look);
        let cores = (cluster.usage()?.cpu_s - before) / look.as_secs_f64();
        // An idle JVM is never as quiet as that for three of them.
        let idle = match cluster.plan().kind {
            Kind::Seedlog => IDLE_CORES,
            Kind::Kafka => IDLE_CORES * f64::from(cluster.plan().nodes()),
        };
        if cores <= idle || began.elapsed() > SETTLE_MAX {
            return Ok(());
        }
    }
}

fn sum(clusters: &[&Cluster]) -> io::Result<Usage> {
    let mut sum = Usage::default();
    for cluster in clusters {
        sum.add(&cluster.usage()?);
    }
    Ok(sum)
}
