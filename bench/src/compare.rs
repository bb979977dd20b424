//! Seedlog and Kafka taking turns: each row some times each, the ratios of neighbours, and what is told of them.

use crate::broker::{Cluster, Kind};
use crate::load::LoadError;
use crate::load::client::{Client, NewTopic};
use crate::load::produce::{Shape, produce};
use crate::rows::{Measured, Row};
use crate::say::{eprintln, println};
use crate::sides::Sides;
use crate::table::{Cell, table};
use clap::Args;
use serde::Serialize;
use std::error::Error;
use std::time::Duration;

/// A run that was disturbed is run again so often.
const ATTEMPTS: usize = 4;

/// What to compare, and how.
#[derive(Debug, Args)]
pub struct CompareArgs {
    #[command(flatten)]
    sides: Sides,
    /// Rows; without it all that need nothing but the brokers
    #[arg(long, value_delimiter = ',')]
    rows: Vec<Row>,
    /// Seconds that a row lasts
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Processor seconds that each of Kafka's brokers gets to warm up
    #[arg(long, default_value_t = 60.0)]
    warm_cpu_s: f64,
    /// Like against like: Seedlog with flush=interval instead of as it is by default
    #[arg(long, conflicts_with = "kafka_synced")]
    seedlog_unsynced: bool,
    /// Like against like: Kafka with log.flush.interval.messages=1 instead of as it is by default
    #[arg(long)]
    kafka_synced: bool,
    /// A run in which others use more of the machine than so many cores is run again, and refused in the end
    #[arg(long, default_value_t = 0.25)]
    foreign_cores_max: f64,
}

/// One run of a row.
#[derive(Debug, Clone, Serialize)]
struct Run {
    row: Row,
    nodes: u16,
    pair: usize,
    whose: Kind,
    measured: Measured,
}

/// Does what `seedlog-bench compare` says.
///
/// # Errors
/// A cluster does not start, or a run met an error.
pub fn run(args: &CompareArgs) -> Result<(), Box<dyn Error>> {
    let rows = if args.rows.is_empty() { Row::OWN.to_vec() } else { args.rows.clone() };
    let mut runs = Vec::new();
    for &nodes in &args.sides.nodes {
        for alike in told_alike(&rows) {
            run_alike(&alike, nodes, args, &mut runs)?;
        }
    }
    args.sides.write_json(&runs)?;
    println(&table(&cells(&runs, &rows, &args.sides.nodes)).to_string());
    Ok(())
}

/// The rows in parts that can share clusters, since brokers are told the same for them.
fn told_alike(rows: &[Row]) -> Vec<Vec<Row>> {
    let mut parts: Vec<Vec<Row>> = Vec::new();
    for &row in rows {
        match parts.iter_mut().find(|part| part[0].settings() == row.settings()) {
            Some(part) => part.push(row),
            None => parts.push(vec![row]),
        }
    }
    parts
}

/// Runs rows for which brokers are told the same, in turns on fresh clusters.
fn run_alike(
    rows: &[Row],
    nodes: u16,
    args: &CompareArgs,
    runs: &mut Vec<Run>,
) -> Result<(), Box<dyn Error>> {
    let programs = args.sides.programs();
    let mut clusters = Vec::new();
    for kind in args.sides.kinds() {
        let settings: &[(&str, &str)] = match kind {
            Kind::Kafka if args.kafka_synced => &[("log.flush.interval.messages", "1")],
            Kind::Seedlog if args.seedlog_unsynced => &[("flush", "interval")],
            Kind::Kafka | Kind::Seedlog => &[],
        };
        let settings = [settings, rows[0].settings()].concat();
        let cluster = Cluster::prepare(args.sides.plan(kind, nodes, &settings)?, &programs)?.started()?;
        if kind == Kind::Kafka {
            warm(&cluster, args.warm_cpu_s * f64::from(nodes))?;
        }
        clusters.push(cluster);
    }
    for pair in 0..args.sides.pairs {
        for &row in rows {
            let mut turns: Vec<usize> = (0..clusters.len()).collect();
            if pair % 2 == 1 {
                turns.reverse();
            }
            for turn in turns {
                let others: Vec<&Cluster> =
                    clusters.iter().enumerate().filter(|(at, _)| *at != turn).map(|(_, it)| it).collect();
                let measured = undisturbed(row, &clusters[turn], &others, pair, args)?;
                let whose = clusters[turn].plan().kind;
                eprintln(&line(row, whose, nodes, &measured));
                runs.push(Run { row, nodes, pair, whose, measured });
            }
        }
    }
    clusters.into_iter().try_for_each(Cluster::remove)?;
    Ok(())
}

/// What is said of a run at once.
fn line(row: Row, whose: Kind, nodes: u16, measured: &Measured) -> String {
    let mut line = format!("{whose:8} {nodes} nodes  {:32}", row.title());
    for (what, number) in columns(row) {
        line += &format!("  {:.1} {what}", number(measured));
    }
    line + &format!("  foreign {:.2}", measured.foreign_cores)
}

/// Runs a row until nobody else used much of the machine meanwhile.
fn undisturbed(
    row: Row,
    cluster: &Cluster,
    others: &[&Cluster],
    pair: usize,
    args: &CompareArgs,
) -> Result<Measured, Box<dyn Error>> {
    let most = args.foreign_cores_max;
    for attempt in 0..ATTEMPTS {
        let name = format!("bench-{row:?}-{pair}-{attempt}").to_lowercase();
        let measured = row.run(&name, cluster, others, Duration::from_secs_f64(args.seconds))?;
        if measured.foreign_cores <= most {
            return Ok(measured);
        }
        eprintln(&format!("again: others used {:.2} cores", measured.foreign_cores));
    }
    Err(format!("others used more than {most} cores in each of {ATTEMPTS} runs: the machine is not quiet")
        .into())
}

/// A JVM compiles what runs often: before that it is not itself.
fn warm(cluster: &Cluster, cpu_s: f64) -> Result<(), LoadError> {
    let mut round = 0;
    while cluster.usage()?.cpu_s < cpu_s {
        let name = format!("warm-{round}");
        let mut client = Client::connect(cluster.bootstrap())?;
        let replicas = i16::try_from(cluster.plan().nodes().min(3)).unwrap_or(1);
        let topic = NewTopic { name: &name, partitions: 6, replicas, configs: &[] };
        let leaders = client.create_topic(&topic)?;
        for (value_bytes, records, in_flight) in [(1024, 64, 5), (100, 1, 32)] {
            let time = Duration::from_secs(4);
            let shape = Shape { value_bytes, records, in_flight, connections: 1, rate: None, time };
            produce(&name, &leaders, &shape)?;
        }
        client.delete_topic(&name)?;
        round += 1;
    }
    Ok(())
}

/// A number of what was measured.
type Number = fn(&Measured) -> f64;

const RECORDS: &[(&str, Number)] = &[
    ("records/s", |it| it.records_a_second),
    ("p50 us", |it| it.latency.p50_us as f64),
    ("p99 us", |it| it.latency.p99_us as f64),
    ("p99.9 us", |it| it.latency.p999_us as f64),
    ("CPU-s/GB", |it| it.cpu_s_a_gb),
    ("CPU us/request", |it| it.cpu_us_a_request),
    ("MiB", mebibytes),
    ("written/byte", |it| it.written_a_byte),
];
const REBALANCES: &[(&str, Number)] = &[
    ("p50 ms", |it| it.latency.p50_us as f64 / 1e3),
    ("max ms", |it| it.latency.max_us as f64 / 1e3),
    ("CPU ms each", |it| it.cpu_us_a_request / 1e3),
    ("MiB", mebibytes),
];
const COMMITS: &[(&str, Number)] = &[
    ("commits/s", |it| it.requests_a_second),
    ("p50 us", |it| it.latency.p50_us as f64),
    ("p99 us", |it| it.latency.p99_us as f64),
    ("CPU-s/100,000 commits", |it| it.cpu_us_a_request / 10.0),
    ("MiB", mebibytes),
];
const CLEANING: &[(&str, Number)] = &[
    ("s", |it| it.seconds),
    ("MB cleaned/CPU-s", |it| 1e3 / it.cpu_s_a_gb),
    ("MiB", mebibytes),
    ("written/byte", |it| it.written_a_byte),
];

fn mebibytes(measured: &Measured) -> f64 {
    measured.resident_bytes_max as f64 / 1_048_576.0
}

/// The numbers that say something of a row.
fn columns(row: Row) -> &'static [(&'static str, Number)] {
    match row {
        Row::RebalanceClassic | Row::RebalanceConsumer => REBALANCES,
        Row::Commits1000Groups => COMMITS,
        Row::Compaction => CLEANING,
        Row::Produce1k
        | Row::Produce100b
        | Row::Single32
        | Row::Single256
        | Row::Open1000
        | Row::RoundTrip
        | Row::Tail1
        | Row::Tail10
        | Row::Cold
        | Row::Mixed
        | Row::Retention10000
        | Row::JavaProduce
        | Row::JavaConsume
        | Row::KcatProduce
        | Row::KcatFetch => RECORDS,
    }
}

/// A row's numbers, by cluster size and row.
fn cells(runs: &[Run], rows: &[Row], nodes: &[u16]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &nodes in nodes {
        for &row in rows {
            for (what, number) in columns(row) {
                let of = runs.iter().filter(|run| (run.row, run.nodes) == (row, nodes));
                // What a row does not have: a tool's latency, what a reader writes.
                let of = of.filter(|run| number(&run.measured) > 0.0);
                cells.extend(of.map(|run| Cell {
                    row: format!("{}, RF {}", row.title(), nodes.min(3)),
                    what,
                    pair: run.pair,
                    whose: run.whose,
                    value: number(&run.measured),
                }));
            }
        }
    }
    cells
}
