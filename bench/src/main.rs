//! `seedlog-bench`: Seedlog and Apache Kafka on the same machine, taking turns.

#![expect(clippy::print_stdout, reason = "a command line prints")]

use clap::{Args, Parser, Subcommand};
use seedlog_bench::load::client::{Client, NewTopic};
use seedlog_bench::load::fetch::{Reading, fetch};
use seedlog_bench::load::produce::{Shape, produce};
use seedlog_bench::load::roundtrip::roundtrip;
use seedlog_bench::{compare, life};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Parser)]
#[command(name = "seedlog-bench", about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run Seedlog and Kafka in turns, and tell what each row costs them
    Compare(compare::CompareArgs),
    /// Start, end and crash Seedlog and Kafka in turns, with many partitions and with many records
    Life(life::LifeArgs),
    /// Load a cluster that runs
    Load(LoadArgs),
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// A broker
    #[arg(long, default_value = "127.0.0.1:9092")]
    bootstrap: SocketAddr,
    /// The topic; created if it is not there
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Its partitions
    #[arg(long, default_value_t = 6)]
    partitions: i32,
    /// Replicas of each
    #[arg(long, default_value_t = 1)]
    replicas: i16,
    /// For how many seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Produce requests with acks=all
    Produce {
        /// Bytes of a value
        #[arg(long, default_value_t = 1024)]
        value_bytes: usize,
        /// Records of a batch
        #[arg(long, default_value_t = 64)]
        records: i32,
        /// Requests in flight on each connection
        #[arg(long, default_value_t = 5)]
        in_flight: usize,
        /// Connections to each broker
        #[arg(long, default_value_t = 1)]
        connections: usize,
        /// Requests a second; without it as many as there can be
        #[arg(long)]
        rate: Option<f64>,
    },
    /// Read what is there, again and again
    Fetch {
        /// Readers
        #[arg(long, default_value_t = 1)]
        readers: usize,
    },
    /// From producer to consumer, at a rate
    RoundTrip {
        /// Bytes of a value
        #[arg(long, default_value_t = 100)]
        value_bytes: usize,
        /// Records a second
        #[arg(long, default_value_t = 1000.0)]
        rate: f64,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Compare(args) => compare::run(args),
        Command::Life(args) => life::run(args),
        Command::Load(args) => load_one(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn load_one(args: &LoadArgs) -> Result<(), Box<dyn std::error::Error>> {
    let mut client = Client::connect(args.bootstrap)?;
    let topic =
        NewTopic { name: &args.topic, partitions: args.partitions, replicas: args.replicas, configs: &[] };
    // One that is there is used as it is.
    let leaders = match client.leaders_now(&args.topic)? {
        Some(leaders) => leaders,
        None => client.create_topic(&topic)?,
    };
    let time = Duration::from_secs_f64(args.seconds);
    let said = match args.kind {
        Kind::Produce { value_bytes, records, in_flight, connections, rate } => {
            let shape = Shape { value_bytes, records, in_flight, connections, rate, time };
            let produced = produce(&args.topic, &leaders, &shape)?;
            println!("{:.0} records/s", produced.records as f64 / produced.seconds);
            serde_json::to_string(&produced)?
        }
        Kind::Fetch { readers } => {
            let mut parts = Vec::new();
            for (partition, leader) in (0..).zip(&leaders) {
                parts.push((0, Client::connect(*leader)?.end_offset(&args.topic, partition)?));
            }
            let fetched = fetch(&args.topic, &leaders, &parts, &Reading { readers, time, once: false })?;
            println!("{:.2} GB/s", fetched.batch_bytes as f64 / fetched.seconds / 1e9);
            serde_json::to_string(&fetched)?
        }
        Kind::RoundTrip { value_bytes, rate } => {
            let (loaded, acknowledged) = roundtrip(&args.topic, &leaders, value_bytes, rate, time)?;
            println!("p50 to the acknowledgement {} us", acknowledged.p50_us);
            serde_json::to_string(&loaded)?
        }
    };
    println!("{said}");
    Ok(())
}
