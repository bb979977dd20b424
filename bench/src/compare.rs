//! Seedlog and Kafka taking turns: each row some times each, the ratios of neighbours, and what is told of them.

use crate::broker::{Cluster, Kind, Plan, Programs, free_ports};
use crate::load::LoadError;
use crate::load::client::{Client, NewTopic};
use crate::load::produce::{Shape, produce};
use crate::rows::{Measured, Row};
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// A run that was disturbed is run again so often.
const ATTEMPTS: usize = 4;

/// What to compare, and how.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The `seedlog` program
    #[arg(long, value_name = "FILE", default_value = "target/release/seedlog")]
    seedlog: PathBuf,
    /// A folder with Kafka's jars in `libs`; without it Seedlog is measured alone
    #[arg(long, value_name = "FOLDER")]
    kafka: Option<PathBuf>,
    /// Where data go: a folder on the disk that is measured
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    folder: PathBuf,
    /// Nodes of each cluster; topics have a replica on each, of three at most
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3])]
    nodes: Vec<u16>,
    /// Rows; without it all of them
    #[arg(long, value_delimiter = ',')]
    rows: Vec<Row>,
    /// How often each of the two runs each row
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Seconds that a row lasts
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Processor seconds that Kafka gets to warm up
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
    /// Where all that was measured is written as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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
    fs::create_dir_all(&args.folder)?;
    let folder = fs::canonicalize(&args.folder)?;
    let programs = Programs { seedlog: args.seedlog.clone(), kafka: args.kafka.clone() };
    let rows = if args.rows.is_empty() { Row::ALL.to_vec() } else { args.rows.clone() };
    let mut runs = Vec::new();
    for &nodes in &args.nodes {
        let plan = |kind, settings| {
            let folder = folder.join(format!("{kind}-{nodes}").to_lowercase());
            free_ports(nodes).map(|ports| Plan { kind, folder, ports, settings })
        };
        let mut clusters = Vec::new();
        if args.kafka.is_some() {
            let synced = ("log.flush.interval.messages".to_owned(), "1".to_owned());
            let settings = if args.kafka_synced { vec![synced] } else { Vec::new() };
            let (cluster, took) = Cluster::start_fresh(plan(Kind::Kafka, settings)?, &programs)?;
            eprintln(&format!("Kafka, {nodes} nodes: started in {:.1} s", took.as_secs_f64()));
            warm(&cluster, args.warm_cpu_s)?;
            clusters.push(cluster);
        }
        let unsynced = ("flush".to_owned(), "interval".to_owned());
        let settings = if args.seedlog_unsynced { vec![unsynced] } else { Vec::new() };
        let (cluster, took) = Cluster::start_fresh(plan(Kind::Seedlog, settings)?, &programs)?;
        eprintln(&format!("Seedlog, {nodes} nodes: started in {:.2} s", took.as_secs_f64()));
        clusters.push(cluster);
        for pair in 0..args.pairs {
            for &row in &rows {
                let mut turns: Vec<usize> = (0..clusters.len()).collect();
                if pair % 2 == 1 {
                    turns.reverse();
                }
                for turn in turns {
                    let others: Vec<&Cluster> =
                        clusters.iter().enumerate().filter(|(at, _)| *at != turn).map(|(_, it)| it).collect();
                    let measured = undisturbed(row, &clusters[turn], &others, pair, args)?;
                    let whose = clusters[turn].plan().kind;
                    eprintln(&format!(
                        "{whose:8} {nodes} nodes  {:32} {:>10.0} records/s  p99 {:>7} us  {:>8.2} CPU-s/GB  {:>7.1} us/request  foreign {:.2}",
                        row.title(),
                        measured.records_a_second,
                        measured.latency.p99_us,
                        measured.cpu_s_a_gb,
                        measured.cpu_us_a_request,
                        measured.foreign_cores
                    ));
                    runs.push(Run { row, nodes, pair, whose, measured });
                }
            }
        }
        clusters.into_iter().try_for_each(Cluster::remove)?;
    }
    if let Some(path) = &args.json {
        fs::write(path, serde_json::to_vec_pretty(&runs)?)?;
    }
    println(&table(&runs, &rows, &args.nodes).to_string());
    Ok(())
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
        let topic = NewTopic { name: &name, partitions: 6, replicas };
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

/// The median and the extremes.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, least, most })
    }
}

/// A number of what was measured.
type Number = fn(&Measured) -> f64;

const COLUMNS: &[(&str, Number)] = &[
    ("records/s", |it| it.records_a_second),
    ("p50 us", |it| it.latency.p50_us as f64),
    ("p99 us", |it| it.latency.p99_us as f64),
    ("p99.9 us", |it| it.latency.p999_us as f64),
    ("CPU-s/GB", |it| it.cpu_s_a_gb),
    ("CPU us/request", |it| it.cpu_us_a_request),
    ("MiB", |it| it.resident_bytes_max as f64 / 1_048_576.0),
    ("written/byte", |it| it.written_a_byte),
];

fn table(runs: &[Run], rows: &[Row], nodes: &[u16]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["row", "", "Seedlog", "Kafka", "ratio", "spread of the ratios"]);
    for &nodes in nodes {
        for &row in rows {
            for (at, (title, number)) in COLUMNS.iter().enumerate() {
                let of = |whose| {
                    let of =
                        runs.iter().filter(move |run| (run.row, run.nodes, run.whose) == (row, nodes, whose));
                    of.map(|run| (run.pair, number(&run.measured)))
                };
                let ratios = of(Kind::Seedlog).filter_map(|(pair, ours)| {
                    let (_, theirs) = of(Kind::Kafka).find(|(other, _)| *other == pair)?;
                    (theirs > 0.0).then(|| ours / theirs)
                });
                let ratio = Spread::of(ratios.collect());
                let median = |whose| {
                    let spread = Spread::of(of(whose).map(|(_, value)| value).collect());
                    spread.map_or_else(String::new, |spread| short(spread.median))
                };
                table.add_row([
                    if at == 0 { format!("{}, RF {}", row.title(), nodes.min(3)) } else { String::new() },
                    (*title).to_owned(),
                    median(Kind::Seedlog),
                    median(Kind::Kafka),
                    ratio.as_ref().map_or_else(String::new, |it| short(it.median)),
                    ratio.map_or_else(String::new, |it| format!("{} to {}", short(it.least), short(it.most))),
                ]);
            }
        }
    }
    table
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[expect(clippy::print_stderr, reason = "how far it is")]
fn eprintln(text: &str) {
    std::eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "the result")]
fn println(text: &str) {
    std::println!("{text}");
}
