//! A cluster's life: how long it takes to start, to come back after an orderly end and after a crash, to create many partitions;
//! and what it holds and uses while nobody asks for anything.

use crate::broker::{Cluster, Kind, Usage};
use crate::load::LoadError;
use crate::load::client::{Client, Leaders, NewTopic};
use crate::load::produce::{Shape, produce, produce_each};
use crate::rows::settle;
use crate::say::{eprintln, println};
use crate::sides::Sides;
use crate::table::{Cell, table};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Partitions of one topic at most: each is created by one request.
const TOPIC_PARTITIONS_MAX: i32 = 1_000;
/// Partitions that one request writes to.
const REQUEST_PARTITIONS_MAX: usize = 250;
/// Longer than any recovery takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// What to look at.
#[derive(Debug, Args)]
pub struct LifeArgs {
    #[command(flatten)]
    sides: Sides,
    /// GB of records of 1 KiB that a cluster holds when it is ended and started
    #[arg(long, default_value_t = 5.0)]
    gigabytes: f64,
    /// Partitions that a cluster holds when it is ended and started
    #[arg(long, default_value_t = 5_000)]
    partitions: i32,
    /// Seconds for which what an idle cluster uses is counted
    #[arg(long, default_value_t = 20.0)]
    idle_seconds: f64,
}

/// One number.
#[derive(Debug, Clone, Serialize)]
struct Seen {
    whose: Kind,
    nodes: u16,
    pair: usize,
    stage: Stage,
    what: &'static str,
    value: f64,
}

/// What a cluster holds.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Stage {
    /// Nothing: from the first process on.
    Fresh,
    /// Many partitions with little in them.
    Partitions,
    /// Much in few partitions.
    Records,
}

/// Where numbers go.
struct Book<'a> {
    args: &'a LifeArgs,
    seen: Vec<Seen>,
    whose: Kind,
    nodes: u16,
    pair: usize,
}

/// Does what `seedlog-bench life` says.
///
/// # Errors
/// A cluster does not start, does not come back, or refuses what it is asked for.
pub fn run(args: &LifeArgs) -> Result<(), Box<dyn Error>> {
    let programs = args.sides.programs();
    let mut seen = Vec::new();
    for &nodes in &args.sides.nodes {
        for pair in 0..args.sides.pairs {
            for whose in args.sides.kinds() {
                let mut book = Book { args, seen: Vec::new(), whose, nodes, pair };
                if args.partitions > 0 {
                    let mut cluster = Cluster::prepare(args.sides.plan(whose, nodes, &[])?, &programs)?;
                    book.start_fresh(&mut cluster)?;
                    book.fill_with_partitions(&mut cluster)?;
                    cluster.remove()?;
                }
                if args.gigabytes > 0.0 {
                    let mut cluster = Cluster::prepare(args.sides.plan(whose, nodes, &[])?, &programs)?;
                    book.start_fresh(&mut cluster)?;
                    book.fill_with_records(&mut cluster)?;
                    cluster.remove()?;
                }
                seen.append(&mut book.seen);
            }
        }
    }
    args.sides.write_json(&seen)?;
    println(&table(&cells(&seen, args)).to_string());
    Ok(())
}

impl Book<'_> {
    fn note(&mut self, stage: Stage, what: &'static str, value: f64) {
        let Self { whose, nodes, pair, .. } = *self;
        let title = title(stage, nodes, self.args);
        eprintln(&format!("{whose:8} {title:40} {what:34} {value:>12.3}"));
        self.seen.push(Seen { whose, nodes, pair, stage, what, value });
    }

    fn replicas(&self) -> i16 {
        i16::try_from(self.nodes.min(3)).unwrap_or(1)
    }

    /// From the first process to the first acknowledged record.
    fn start_fresh(&mut self, cluster: &mut Cluster) -> Result<(), LoadError> {
        let began = Instant::now();
        cluster.start()?;
        let topic = NewTopic { name: "first", partitions: 1, replicas: self.replicas(), configs: &[] };
        Client::connect(cluster.bootstrap())?.create_topic(&topic)?;
        first_record(cluster, &[("first".to_owned(), 1)])?;
        self.note(Stage::Fresh, "s to the first record", began.elapsed().as_secs_f64());
        self.idle(Stage::Fresh, cluster)
    }

    fn fill_with_partitions(&mut self, cluster: &mut Cluster) -> Result<(), LoadError> {
        let stage = Stage::Partitions;
        let before = cluster.usage()?;
        let mut client = Client::connect(cluster.bootstrap())?;
        let began = Instant::now();
        let mut topics = Vec::new();
        let mut left = self.args.partitions;
        while left > 0 {
            let name = format!("many-{}", topics.len());
            let partitions = left.min(TOPIC_PARTITIONS_MAX);
            client.create_topic(&NewTopic {
                name: &name,
                partitions,
                replicas: self.replicas(),
                configs: &[],
            })?;
            topics.push((name, partitions));
            left -= partitions;
        }
        self.note(stage, "s until each has a leader", began.elapsed().as_secs_f64());
        self.note(stage, "CPU-s for that", cluster.usage()?.cpu_s - before.cpu_s);
        for (name, partitions) in &topics {
            // A record in each.
            let leaders = client.leaders(name, usize::try_from(*partitions).unwrap_or(0))?;
            write_once(name, &leaders)?;
        }
        self.idle(stage, cluster)?;
        let grown = cluster.usage()?.resident_bytes.saturating_sub(before.resident_bytes);
        let replicas = f64::from(self.args.partitions) * f64::from(self.replicas());
        self.note(stage, "KiB of memory a replica", grown as f64 / 1024.0 / replicas);
        self.come_back(stage, cluster, &topics, "s after a stop", "CPU-s after a stop", Cluster::stop)?;
        self.come_back(stage, cluster, &topics, "s after kill -9", "CPU-s after kill -9", Cluster::kill)
    }

    fn fill_with_records(&mut self, cluster: &mut Cluster) -> Result<(), LoadError> {
        let stage = Stage::Records;
        let topic = NewTopic { name: "much", partitions: 6, replicas: self.replicas(), configs: &[] };
        let leaders = Client::connect(cluster.bootstrap())?.create_topic(&topic)?;
        let topics = [("much".to_owned(), 6)];
        let mut bytes = 0;
        while (bytes as f64) < self.args.gigabytes * 1e9 {
            bytes += write_for("much", &leaders, Duration::from_secs(1))?;
        }
        let most = cluster.usage()?.resident_bytes_max as f64;
        self.note(stage, "MiB of memory a node, at most", most / 1_048_576.0 / f64::from(self.nodes));
        self.come_back(stage, cluster, &topics, "s after a stop", "CPU-s after a stop", Cluster::stop)?;
        let leaders = Client::connect(cluster.bootstrap())?.leaders("much", 6)?;
        write_for("much", &leaders, Duration::from_secs(2))?;
        self.come_back(stage, cluster, &topics, "s after kill -9", "CPU-s after kill -9", Cluster::kill)
    }

    /// What it uses while nobody asks for anything, once it has come to rest.
    fn idle(&mut self, stage: Stage, cluster: &Cluster) -> Result<(), LoadError> {
        std::thread::sleep(Duration::from_secs(5));
        settle(cluster)?;
        let time = Duration::from_secs_f64(self.args.idle_seconds);
        let before = cluster.usage()?;
        std::thread::sleep(time);
        let Usage { cpu_s, resident_bytes, .. } = cluster.usage()?;
        let cores = (cpu_s - before.cpu_s) / time.as_secs_f64();
        self.note(stage, "% of a core a node, idle", cores * 100.0 / f64::from(self.nodes));
        self.note(
            stage,
            "MiB of memory a node, idle",
            resident_bytes as f64 / 1_048_576.0 / f64::from(self.nodes),
        );
        Ok(())
    }

    /// Ends the cluster, and starts it: the time until all partitions have leaders and a record of each topic is acknowledged.
    fn come_back(
        &mut self,
        stage: Stage,
        cluster: &mut Cluster,
        topics: &[(String, i32)],
        seconds: &'static str,
        cpu_seconds: &'static str,
        end: fn(&mut Cluster) -> std::io::Result<()>,
    ) -> Result<(), LoadError> {
        end(cluster)?;
        let began = Instant::now();
        cluster.start()?;
        first_record(cluster, topics)?;
        self.note(stage, seconds, began.elapsed().as_secs_f64());
        // The processes are new ones, so all they used is theirs.
        self.note(stage, cpu_seconds, cluster.usage()?.cpu_s);
        Ok(())
    }
}

/// Waits until all partitions of the topics have leaders and one record of each topic is acknowledged by all.
fn first_record(cluster: &Cluster, topics: &[(String, i32)]) -> Result<(), LoadError> {
    topics.iter().try_for_each(|(name, partitions)| patiently(|| write_one(cluster, name, *partitions)))
}

/// Tries until it is done: who asks early is refused.
fn patiently(mut attempt: impl FnMut() -> Result<(), LoadError>) -> Result<(), LoadError> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(LoadError::Refused(_) | LoadError::Io(_)) if began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

fn write_one(cluster: &Cluster, name: &str, partitions: i32) -> Result<(), LoadError> {
    let mut client = Client::connect(cluster.bootstrap())?;
    let leaders =
        client.leaders_now(name)?.filter(|leaders| leaders.len() == usize::try_from(partitions).unwrap_or(0));
    let leaders =
        leaders.ok_or_else(|| LoadError::Refused(format!("{name} has partitions without a leader")))?;
    let last = leaders.last().ok_or_else(|| LoadError::Refused(format!("{name} has no partition")))?;
    let refused = produce_each(&mut Client::connect(*last)?, name, &[leaders.len() - 1])?;
    refused.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

/// One small record to each partition, in requests to many of them.
fn write_once(name: &str, leaders: &Leaders) -> Result<(), LoadError> {
    let mut led: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
    for (partition, leader) in leaders.iter().enumerate() {
        led.entry(*leader).or_default().push(partition);
    }
    for (leader, partitions) in led {
        let mut client = Client::connect(leader)?;
        for some in partitions.chunks(REQUEST_PARTITIONS_MAX) {
            let mut left = some.to_vec();
            patiently(|| {
                let mut refused = produce_each(&mut client, name, &left)?;
                left = refused.iter().map(|(partition, _)| *partition).collect();
                refused.pop().map_or(Ok(()), |(_, error)| Err(error))
            })?;
        }
    }
    Ok(())
}

/// Batches of 64 records of 1 KiB, as fast as they are taken; gives the bytes of their values.
fn write_for(name: &str, leaders: &Leaders, time: Duration) -> Result<u64, LoadError> {
    let shape = Shape { value_bytes: 1024, records: 64, in_flight: 5, connections: 1, rate: None, time };
    produce(name, leaders, &shape).map(|loaded| loaded.value_bytes)
}

fn title(stage: Stage, nodes: u16, args: &LifeArgs) -> String {
    let nodes = if nodes == 1 { "one node".to_owned() } else { format!("{nodes} nodes") };
    match stage {
        Stage::Fresh => format!("fresh, {nodes}"),
        Stage::Partitions => format!("{} partitions, {nodes}", args.partitions),
        Stage::Records => format!("{} GB, {nodes}", args.gigabytes),
    }
}

fn cells(seen: &[Seen], args: &LifeArgs) -> Vec<Cell> {
    let cell = |seen: &Seen| Cell {
        row: title(seen.stage, seen.nodes, args),
        what: seen.what,
        pair: seen.pair,
        whose: seen.whose,
        value: seen.value,
    };
    seen.iter().map(cell).collect()
}
